"""A SavedModel, loaded by TensorFlow and called by signature. In the child only."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tfinspect.errors import NameNotFoundError
from tfinspect.runtimes import _graph_file
from tfinspect.runtimes._reports import message_lines

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    import numpy.typing as npt

    Array = npt.NDArray[Any]


def open_saved_model(path: str, signature: str, config: Callable[[str], Any]) -> FunctionModel | SessionModel:
    """Load one signature: in a session where the model comes from TensorFlow 1, as functions where it has objects.

    `tf.saved_model.load` takes TensorFlow 1 models too, but not those with reference variables or with one tensor under
    two keys, so they are run as they were meant to be.

    Args:
        path: folder.
        signature: name.
        config: variant -> ConfigProto.

    Raises:
        NameNotFoundError: there is no such signature.
        UnsupportedFeatureError: calling it would write files or call out of TensorFlow.
    """
    from tensorflow.python.saved_model import loader_impl

    found = loader_impl.parse_saved_model(path)
    known = [name for meta in found.meta_graphs for name in meta.signature_def]
    meta = next((m for m in found.meta_graphs if signature in m.signature_def), None)
    if meta is None:
        hint = f"it has {', '.join(f'`{name}`' for name in known)}" if known else None
        raise NameNotFoundError(f"no signature named `{signature}` in {path}", name=signature, known=known, hint=hint)
    ends = meta.signature_def[signature]
    _graph_file.refuse_side_effects(
        meta.graph_def, path, [t.name for t in ends.outputs.values()], [t.name for t in ends.inputs.values()]
    )
    model = SessionModel(path, list(meta.meta_info_def.tags), meta.signature_def[signature], config)
    if not meta.HasField("object_graph_def"):
        model.load()
        return model
    try:
        functions = FunctionModel(path, signature)
    except Exception as error:  # noqa: BLE001 - TensorFlow raises ImportError where an optimizer needs an old Keras
        model.load()
        model.notes.append(f"run in a session, for tf.saved_model.load failed: {message_lines(error)[0]}")
        return model
    return functions


class _Keyed:
    """What both kinds share: tensors are named by the signature's keys."""

    def __init__(self, path: str, inputs: Mapping[str, Any], outputs: Mapping[str, Any]) -> None:
        self.path = path
        self.notes: list[str] = []
        self.inputs = inputs
        self.outputs = outputs

    def describe(self) -> tuple[list[Any], list[Any]]:
        """Inputs and outputs: name, key, dtype, shape."""
        return [_spec(k, v) for k, v in self.inputs.items()], [_spec(k, v) for k, v in self.outputs.items()]

    def types(self, names: Sequence[str]) -> list[Any]:
        """Dtype and static shape of inputs and outputs."""
        both = {**self.inputs, **self.outputs}
        return [_spec("", both[self.key(name, both)])[2:] for name in names]

    def key(self, name: str, table: Mapping[str, Any]) -> str:
        """Return the key a caller means by `key` or `key:0`."""
        for key in (name, name.removesuffix(":0")):
            if key in table:
                return key
        raise NameNotFoundError(f"the signature of {self.path} has no tensor `{name}`", name=name, known=table)


class FunctionModel(_Keyed):
    """A signature as a function of a loaded object."""

    def __init__(self, path: str, signature: str) -> None:
        from tensorflow.python.compat import v2_compat
        from tensorflow.python.saved_model import load

        v2_compat.enable_v2_behavior()
        self._loaded = load.load(path)  # the function holds its variables only weakly
        self._function = self._loaded.signatures[signature]
        super().__init__(path, self._function.structured_input_signature[1], self._function.structured_outputs)

    def run(self, fetches: Sequence[str], feeds: Mapping[str, Array], variant: str) -> list[Array]:
        """Call the signature once."""
        from tensorflow.python.eager import context
        from tensorflow.python.framework import constant_op

        wanted = [self.key(name, self.outputs) for name in fetches]
        arguments = {}
        for name, value in feeds.items():
            key = self.key(name, self.inputs)
            arguments[key] = constant_op.constant(value, dtype=self.inputs[key].dtype)
        context.context().set_optimizer_experimental_options({"disable_meta_optimizer": variant == "plain"})
        values = self._function(**arguments)
        return [values[key].numpy() for key in wanted]

    def close(self) -> None:
        """Give the memory back."""
        self._loaded = self._function = None


class SessionModel(_Keyed):
    """A signature as tensors of a graph, run in a session; variables and tables are initialised by the model itself."""

    def __init__(self, path: str, tags: list[str], signature: Any, config: Callable[[str], Any]) -> None:  # noqa: ANN401
        from tensorflow.python.client.session import Session
        from tensorflow.python.framework import ops
        from tensorflow.python.saved_model import loader_impl

        def start(variant: str) -> Any:  # noqa: ANN401 - TensorFlow's
            session = Session(graph=ops.Graph(), config=config(variant))
            with session.graph.as_default():
                loader_impl.load(session, tags, path)
            return session

        self._start = start
        self._signature = signature
        self._sessions: dict[str, Any] = {}
        super().__init__(path, {}, {})

    def load(self) -> None:
        """Load the graph and its variables."""
        graph = self._session("default").graph
        self.inputs = {k: graph.get_tensor_by_name(v.name) for k, v in sorted(self._signature.inputs.items())}
        self.outputs = {k: graph.get_tensor_by_name(v.name) for k, v in sorted(self._signature.outputs.items())}

    def run(self, fetches: Sequence[str], feeds: Mapping[str, Array], variant: str) -> list[Array]:
        """Run once; inner tensors of the graph may be fetched too, as `name:index`."""
        session = self._session(variant)
        wanted = [self._tensor(name) for name in fetches]
        given = {self.inputs[self.key(name, self.inputs)].name: value for name, value in feeds.items()}
        return session.run(wanted, given)  # type: ignore[no-any-return]

    def _tensor(self, name: str) -> str:
        try:
            return str(self.outputs[self.key(name, self.outputs)].name)
        except NameNotFoundError:
            node, colon, _ = name.rpartition(":")
            if not colon or node not in self._session("default").graph._nodes_by_name:  # noqa: SLF001 - no public way
                raise
            return name

    def close(self) -> None:
        """Give the memory back."""
        for session in self._sessions.values():
            session.close()
        self._sessions.clear()

    def _session(self, variant: str) -> Any:  # noqa: ANN401 - TensorFlow's
        if variant not in self._sessions:
            self._sessions[variant] = self._start(variant)
        return self._sessions[variant]


def _spec(key: str, spec: Any) -> list[Any]:  # noqa: ANN401 - TensorFlow's
    shape = None if spec.shape.rank is None else list(spec.shape.as_list())
    return [key, key, int(spec.dtype.base_dtype.as_datatype_enum), shape]
