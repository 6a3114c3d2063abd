"""What the `tensorflow` child serves: a graph or SavedModel of the user's, run by TensorFlow itself."""

from __future__ import annotations

import os
from collections import OrderedDict
from typing import TYPE_CHECKING, Any

import numpy as np

from tfinspect.errors import NodeNotFoundError, RuntimeFailedError
from tfinspect.ir.refs import split_input
from tfinspect.runtimes import _graph_file, _lean, _restore, _saved_model
from tfinspect.runtimes._reports import message_lines

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy.typing as npt

    Array = npt.NDArray[Any]

_MODELS_KEPT = 2  # a reference and what it is compared with
_LARGE_NBYTES = 1 << 10
_PLACEHOLDERS = frozenset({"Placeholder", "PlaceholderV2", "PlaceholderWithDefault"})
_NO_OUTPUTS = frozenset({"Const", "NoOp", "Assert", "Assign", "AssignVariableOp", "Placeholder", "VarHandleOp"})


class _GraphModel:
    """A graph file, imported whole where TensorFlow knows all of its ops, and piece by piece where it does not."""

    def __init__(self, path: str, checkpoint: str | None) -> None:
        self.path = path
        self.checkpoint = checkpoint
        self.proto, self.saver = _graph_file.read(path)
        self.notes: list[str] = []
        self._sessions: dict[tuple[str, bool], Any] = {}
        self._part: Any = None
        self._safe: set[frozenset[str]] = set()
        for node in self.proto.node:
            node.device = ""  # devices and clusters of the machine it was trained on
        held = _graph_file.hold_variables(self.proto, _restore.saver_names(self.saver)[0])
        if held:
            self.notes.append(f"updates of variables beside the forward pass were not run: {', '.join(held[:4])}")
        try:
            self._whole: Any = _import(self.proto)
            self.proto = _without_weights(self.proto)
        except Exception as error:  # noqa: BLE001 - TensorFlow raises ValueError, KeyError, TypeError and its own here
            self._whole = None
            self._refusal = message_lines(error)[0]
            self.notes.append(
                f"TensorFlow imports only the part that is run, for the whole is refused: {self._refusal}"
            )

    def describe(self) -> tuple[list[Any], list[Any]]:
        """Placeholders, and the nodes nobody consumes."""
        used = {split_input(text)[0] for node in self.proto.node for text in node.input}
        inputs = [f"{n.name}:0" for n in self.proto.node if n.op in _PLACEHOLDERS]
        outputs = [f"{n.name}:0" for n in self.proto.node if n.name not in used and n.op not in _NO_OUTPUTS]
        return self._specs(inputs), self._specs(outputs)

    def types(self, names: Sequence[str]) -> list[Any]:
        """Dtype and static shape of tensors."""
        graph, _ = self._graph(names, {})
        return [_spec(self._tensor(graph, name)) for name in names]

    def run(self, fetches: Sequence[str], feeds: Mapping[str, Array], variant: str) -> list[Array]:
        """Run once."""
        graph, whole = self._graph(fetches, feeds)
        for name in (*fetches, *feeds):
            self._tensor(graph, name)
        wanted = frozenset((*fetches, *feeds))
        if wanted not in self._safe:
            _graph_file.refuse_side_effects(self.proto, self.path, fetches, feeds)
            self._safe.add(wanted)
        session = self._session(graph, variant, whole=whole, fetches=fetches, feeds=feeds)
        return session.run(list(fetches), dict(feeds))  # type: ignore[no-any-return]

    def close(self) -> None:
        """Give the memory back."""
        for session in self._sessions.values():
            session.close()
        self._sessions.clear()

    def _graph(self, fetches: Sequence[str], feeds: Mapping[str, Array]) -> tuple[Any, bool]:
        if self._whole is not None:
            return self._whole, True
        names = {split_input(f)[0] for f in (*fetches, *feeds)}
        known = {node.name for node in self.proto.node}
        for name in names:
            if name not in known:
                raise NodeNotFoundError(f"no node named `{name}` in {self.path}", name=name, known=known)
        extra = _restore.needed_nodes(self.proto, self.saver) if self.checkpoint else []
        pruned = _graph_file.prune(self.proto, [*fetches, *extra], feeds)
        if self._part is None or not (
            names <= {n.name for n in self._part[1].node} and self._part[2] == frozenset(feeds)
        ):
            for key in [k for k in self._sessions if not k[1]]:
                self._sessions.pop(key).close()
            self._part = (_import(pruned), pruned, frozenset(feeds))
        return self._part[0], False

    def _session(
        self,
        graph: Any,  # noqa: ANN401 - TensorFlow's
        variant: str,
        *,
        whole: bool,
        fetches: Sequence[str],
        feeds: Mapping[str, Array],
    ) -> Any:  # noqa: ANN401 - TensorFlow's
        from tensorflow.python.client.session import Session

        found = self._sessions.get((variant, whole))
        if found is None:
            found = Session(graph=graph, config=_config(variant))
            try:
                if self.checkpoint is not None:
                    note = _restore.restore(
                        found, self.proto, self.saver, self.checkpoint, fetches=fetches, feeds=feeds
                    )
                    if note and note not in self.notes:
                        self.notes.append(note)
            except BaseException:
                found.close()
                raise
            self._sessions[variant, whole] = found
        return found

    def _tensor(self, graph: Any, name: str) -> Any:  # noqa: ANN401 - TensorFlow's
        try:
            return graph.get_tensor_by_name(name)
        except (KeyError, ValueError):
            known = [node.name for node in self.proto.node]
            node = split_input(name)[0]
            raise NodeNotFoundError(f"no tensor named `{name}` in {self.path}", name=node, known=known) from None

    def _specs(self, names: Sequence[str]) -> list[Any]:
        specs = []
        for name in names:
            try:
                found = _spec(self._whole.get_tensor_by_name(name)) if self._whole is not None else [0, None]
            except (KeyError, ValueError):  # a node without outputs
                continue
            specs.append([name, None, *found])
        return specs


def _without_weights(proto: Any) -> Any:  # noqa: ANN401 - TensorFlow's
    """Copy a GraphDef without its large numeric constants: the imported graph has them, once is enough."""
    light = type(proto)()
    light.library.CopyFrom(proto.library)
    light.versions.CopyFrom(proto.versions)
    for node in proto.node:
        copy = light.node.add(name=node.name, op=node.op, input=node.input, device=node.device)
        for key, value in node.attr.items():
            if not (value.HasField("tensor") and len(value.tensor.tensor_content) > _LARGE_NBYTES):
                copy.attr[key].CopyFrom(value)
    return light


def _import(proto: Any) -> Any:  # noqa: ANN401 - TensorFlow's
    from tensorflow.python.framework import importer, ops

    graph = ops.Graph()
    with graph.as_default():
        importer.import_graph_def(proto, name="")
    return graph


def _config(variant: str) -> Any:  # noqa: ANN401 - TensorFlow's
    from tensorflow.core.protobuf import config_pb2, rewriter_config_pb2

    config = config_pb2.ConfigProto(allow_soft_placement=True)
    # Grappler rewrites the graph first, which takes longer than running it and several copies of every weight
    config.graph_options.rewrite_options.disable_meta_optimizer = True
    if variant == "plain":
        config.intra_op_parallelism_threads = 1
        config.inter_op_parallelism_threads = 1
        options = config.graph_options
        options.optimizer_options.opt_level = config_pb2.OptimizerOptions.L0
        options.optimizer_options.do_constant_folding = False
        options.optimizer_options.do_common_subexpression_elimination = False
        options.rewrite_options.constant_folding = rewriter_config_pb2.RewriterConfig.OFF
    return config


def _spec(tensor: Any) -> list[Any]:  # noqa: ANN401 - TensorFlow's
    shape = tensor.shape
    dims = None if shape.rank is None else list(shape.as_list())
    return [int(tensor.dtype.base_dtype.as_datatype_enum), dims]


def _plain_array(value: Any, name: str) -> Array:  # noqa: ANN401 - whatever a fetch gives
    if isinstance(value, bytes | str):
        return np.array(value, object)
    array = np.asarray(value)
    if array.dtype.names is not None:  # quantised types come as records of one integer field
        return array[array.dtype.names[0]]
    if array.dtype.kind == "V":
        raise RuntimeFailedError(f"`{name}` has no numbers: it is a handle or a variant")
    return array


_models: OrderedDict[tuple[Any, ...], Any] = OrderedDict()


def _model(params: Mapping[str, Any]) -> Any:  # noqa: ANN401 - one of the models
    path = params["path"]
    watched = [path, f"{path}/saved_model.pb", *(f"{params['checkpoint']}{s}" for s in ("", ".index"))]
    stamps = [(s.st_mtime_ns, s.st_size, s.st_ino) for s in map(os.stat, filter(os.path.exists, watched))]
    key = (path, params["checkpoint"], params["signature"], *stamps)
    if key not in _models:
        while len(_models) >= _MODELS_KEPT:
            _models.popitem(last=False)[1].close()
        if params["signature"] is not None:
            _models[key] = _saved_model.open_saved_model(path, params["signature"], _config)
        else:
            _models[key] = _GraphModel(path, params["checkpoint"])
    _models.move_to_end(key)
    return _models[key]


def describe(params: Mapping[str, Any], _: list[Array]) -> tuple[Any, list[Array]]:
    """Load; runtime, inputs, outputs, notes."""
    import tensorflow as tf

    model = _model(params)
    inputs, outputs = model.describe()
    runtime = f"tensorflow {tf.__version__}"
    return {"runtime": runtime, "inputs": inputs, "outputs": outputs, "notes": model.notes}, []


def types(params: Mapping[str, Any], _: list[Array]) -> tuple[Any, list[Array]]:
    """Dtypes and static shapes."""
    return _model(params).types(params["names"]), []


def run(params: Mapping[str, Any], arrays: list[Array]) -> tuple[Any, list[Array]]:
    """Run; notes and the fetched arrays."""
    model = _model(params)
    feeds = dict(zip(params["feeds"], arrays, strict=True))
    values = model.run(params["fetches"], feeds, params["variant"])
    fetched = [_plain_array(v, name) for v, name in zip(values, params["fetches"], strict=True)]
    return {"notes": model.notes}, fetched


def load() -> None:
    """Import what a session needs of TensorFlow."""
    _lean.lean()
    import tensorflow.core.protobuf.meta_graph_pb2
    import tensorflow.python.client.session
    import tensorflow.python.framework.importer  # noqa: F401 - so that the first call need not


METHODS = {"describe": describe, "types": types, "run": run}
