"""What TensorFlow Serving kept in collections of a graph before SavedModel: signatures, and files beside the model.

An export of 2016 (a "session bundle") is a folder with `export.meta` and a checkpoint named `export`. Early SavedModels
keep their list of assets in a collection as well.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from google.protobuf.message import DecodeError

from tfinspect.errors import InputError, UsageError
from tfinspect.formats._schema import message_class
from tfinspect.ir.refs import TensorRef
from tfinspect.ir.signature import Signature, TensorSpec

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from tfinspect.ir.graph import Graph

SIGNATURES: Final = "serving_signatures"
_ASSETS: Final = {"serving_assets": "ServingAssetFile", "saved_model_assets": "AssetFileDef"}
_FED: Final = frozenset({"Placeholder", "PlaceholderV2", "PlaceholderWithDefault"})
_SCALARS_SINCE: Final = 24  # version of graphs; before it a placeholder of unknown shape had an empty one
_METHOD: Final = "tensorflow/serving/"
_DEFAULT: Final = "default"
_PREDICT: Final = ("inputs", "outputs")  # names of the two signatures that make up one for prediction


def signatures(collection: Any, graph: Graph | None, path: str) -> dict[str, Signature]:  # noqa: ANN401
    """Return the signatures of a session bundle, by name; the nameless one is called `default`.

    Raises:
        InputError: the collection holds something else, or a tensor's name is none.
    """
    found: dict[str, Signature] = {}
    for message in _messages(collection, "Signatures", SIGNATURES, path):
        named = {name: message.named_signatures[name] for name in sorted(message.named_signatures)}
        if message.HasField("default_signature"):
            named[_DEFAULT] = message.default_signature
        bound = {name: one for name, one in named.items() if one.WhichOneof("value") == "generic_signature"}
        if all(name in bound for name in _PREDICT):
            takes, gives = (_tensors(bound[name].generic_signature.map) for name in _PREDICT)
            found["predict"] = _signature("predict", takes, gives, "predict", graph, path)
            named = {name: one for name, one in named.items() if name not in _PREDICT}
        for name, one in named.items():
            kind = one.WhichOneof("value")
            if kind is not None:
                found[name] = _of_kind(name, kind, getattr(one, kind), graph, path)
    return found


def _of_kind(name: str, kind: str, message: Any, graph: Graph | None, path: str) -> Signature:  # noqa: ANN401
    if kind == "generic_signature":  # a name for each tensor, and no word on which of them are fed
        tensors = _tensors(message.map)
        fed = {key: tensor for key, tensor in tensors.items() if _is_fed(tensor, graph)}
        given = {key: tensor for key, tensor in tensors.items() if key not in fed}
        return _signature(name, fed, given, "", graph, path)
    keys = ("classes", "scores") if kind == "classification_signature" else ("output",)
    given = {key: getattr(message, key).tensor_name for key in keys if getattr(message, key).tensor_name}
    method = "classify" if kind == "classification_signature" else "regress"
    return _signature(name, {"input": message.input.tensor_name}, given, method, graph, path)


def _tensors(bindings: Mapping[str, Any]) -> dict[str, str]:
    return {key: bindings[key].tensor_name for key in sorted(bindings)}


def _is_fed(tensor: str, graph: Graph | None) -> bool:
    name = tensor.partition(":")[0]
    return graph is not None and name in graph and graph.node(name).op in _FED


def _signature(
    name: str, takes: Mapping[str, str], gives: Mapping[str, str], method: str, graph: Graph | None, path: str
) -> Signature:
    try:
        return Signature(
            name,
            tuple(_spec(key, tensor, graph) for key, tensor in takes.items()),
            tuple(_spec(key, tensor, graph) for key, tensor in gives.items()),
            _METHOD + method if method else "",
        )
    except UsageError as error:
        raise InputError(
            f"{path}: the signature `{name}` is not well formed: {error.message}",
            evidence={"path": path, "signature": name},
        ) from None


def _spec(key: str, tensor: str, graph: Graph | None) -> TensorSpec:
    """Describe a tensor; only of placeholders does the graph say dtype and shape right away."""
    ref = TensorRef.parse(tensor)
    if graph is None or not _is_fed(tensor, graph):
        return TensorSpec(ref, None, None, key)
    node = graph.node(ref.name)
    shape = node.shape()
    if shape == () and graph.versions.producer < _SCALARS_SINCE:
        shape = None
    return TensorSpec(ref, node.dtype("dtype"), shape, key)


def assets(collections: Any, path: str) -> dict[str, str]:  # noqa: ANN401 - made at run time
    """Return the tensor each file beside the model is fed to, by the name of the file.

    Raises:
        InputError: the collection holds something else.
    """
    found = {}
    for collection, kind in _ASSETS.items():
        if collection in collections:
            for message in _messages(collections[collection], kind, collection, path):
                tensor = message.tensor_binding.tensor_name if kind != "AssetFileDef" else message.tensor_info.name
                found[message.filename] = tensor
    return found


def _messages(collection: Any, kind: str, name: str, path: str) -> Iterable[Any]:  # noqa: ANN401
    for value in collection.any_list.value:
        try:
            yield message_class(kind).FromString(value.value)
        except DecodeError:
            raise InputError(
                f"{path}: the collection `{name}` holds bytes that are no {kind}",
                evidence={"path": path, "collection": name},
            ) from None
