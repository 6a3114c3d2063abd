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

    from tfinspect.ir.dtypes import DType
    from tfinspect.ir.graph import Graph
    from tfinspect.ir.shapes import Shape

    _Fed = Mapping[str, tuple[DType | None, Shape]]

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
    fed = _placeholders(graph)
    found: dict[str, Signature] = {}
    for message in _messages(collection, "Signatures", SIGNATURES, path):
        named = {name: message.named_signatures[name] for name in sorted(message.named_signatures)}
        if message.HasField("default_signature"):
            named[_DEFAULT] = message.default_signature
        bound = {name: one for name, one in named.items() if one.WhichOneof("value") == "generic_signature"}
        if all(name in bound for name in _PREDICT):
            takes, gives = (_tensors(bound[name].generic_signature.map) for name in _PREDICT)
            found["predict"] = _signature("predict", takes, gives, "predict", fed, path)
            named = {name: one for name, one in named.items() if name not in _PREDICT}
        for name, one in named.items():
            kind = one.WhichOneof("value")
            if kind is not None:
                found[name] = _of_kind(name, kind, getattr(one, kind), fed, path)
    return found


def _placeholders(graph: Graph | None) -> _Fed:
    """Return dtype and shape of what can be fed; only of placeholders does a graph say them right away."""
    found: dict[str, tuple[DType | None, Shape]] = {}
    if graph is not None:
        old = graph.versions.producer < _SCALARS_SINCE
        for node in graph:
            if node.op in _FED:
                shape = node.shape()
                found[node.name] = (node.dtype("dtype"), None if old and shape == () else shape)
    return found


def _of_kind(name: str, kind: str, message: Any, fed: _Fed, path: str) -> Signature:  # noqa: ANN401
    if kind == "generic_signature":  # a name for each tensor, and no word on which of them are fed
        tensors = _tensors(message.map)
        takes = {key: tensor for key, tensor in tensors.items() if tensor.partition(":")[0] in fed}
        gives = {key: tensor for key, tensor in tensors.items() if key not in takes}
        return _signature(name, takes, gives, "", fed, path)
    keys = ("classes", "scores") if kind == "classification_signature" else ("output",)
    gives = {key: getattr(message, key).tensor_name for key in keys if getattr(message, key).tensor_name}
    method = "classify" if kind == "classification_signature" else "regress"
    return _signature(name, {"input": message.input.tensor_name}, gives, method, fed, path)


def _tensors(bindings: Mapping[str, Any]) -> dict[str, str]:
    return {key: bindings[key].tensor_name for key in sorted(bindings)}


def _signature(
    name: str, takes: Mapping[str, str], gives: Mapping[str, str], method: str, fed: _Fed, path: str
) -> Signature:
    try:
        return Signature(
            name,
            tuple(_spec(key, tensor, fed) for key, tensor in takes.items()),
            tuple(_spec(key, tensor, fed) for key, tensor in gives.items()),
            _METHOD + method if method else "",
        )
    except UsageError as error:
        raise InputError(
            f"{path}: the signature `{name}` is not well formed: {error.message}",
            evidence={"path": path, "signature": name},
        ) from None


def _spec(key: str, tensor: str, fed: _Fed) -> TensorSpec:
    ref = TensorRef.parse(tensor)
    return TensorSpec(ref, *fed.get(ref.name, (None, None)), key)


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
