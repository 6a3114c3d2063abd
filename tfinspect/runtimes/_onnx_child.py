"""What the `onnxruntime` child serves: an ONNX file, read back from disk, run and checked."""

from __future__ import annotations

import functools
import os
import re
from collections import Counter, OrderedDict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tfinspect.errors import NodeNotFoundError, RuntimeFailedError, UnsupportedOpsError
from tfinspect.ir.dtypes import DType
from tfinspect.runtimes import _onnx_schema
from tfinspect.runtimes._pieces import run_in_pieces, threads_of_a_run
from tfinspect.runtimes._reports import message_lines

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy.typing as npt

    Array = npt.NDArray[Any]

_SESSIONS_KEPT = 4
_LARGE_NBYTES = 64 << 20  # of files above, one session at a time
_FATAL = 4  # log level: errors come as exceptions, which carry the same text
# onnxruntime's words for element types, where they are not NumPy's
_TYPES = {"float": "float32", "double": "float64"}

_sessions: OrderedDict[tuple[Any, ...], Any] = OrderedDict()
_outputs: dict[tuple[Any, ...], frozenset[str]] = {}


def _session(path: str, variant: str, extra: tuple[str, ...] = ()) -> Any:  # noqa: ANN401 - onnxruntime's
    """Load a file, or find it loaded.

    Args:
        path: the file.
        variant: "default"; "plain", without optimisation and threads; or "shared", for batches in pieces, whose threads
            sleep when they have nothing to do, as others need the processors.
        extra: inner tensors that are wanted as outputs.
    """
    import onnxruntime

    status = os.stat(path)  # noqa: PTH116 - one call, three facts
    key = (path, status.st_mtime_ns, status.st_size, status.st_ino, variant, extra)
    if key not in _sessions:
        options = onnxruntime.SessionOptions()
        options.log_severity_level = _FATAL
        if variant == "plain":
            options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
            options.intra_op_num_threads = options.inter_op_num_threads = 1
        elif variant == "shared":
            options.intra_op_num_threads, options.inter_op_num_threads = threads_of_a_run(), 1
            options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        source: str | bytes = path
        if extra:
            source = _with_outputs(path, extra)
            options.add_session_config_entry(
                "session.model_external_initializers_file_folder_path", str(Path(path).parent)
            )
        while len(_sessions) >= (1 if _nbytes(path) > _LARGE_NBYTES else _SESSIONS_KEPT):
            _sessions.popitem(last=False)
        _sessions[key] = onnxruntime.InferenceSession(source, options, providers=["CPUExecutionProvider"])
    _sessions.move_to_end(key)
    return _sessions[key]


def _nbytes(path: str) -> int:
    """The size of a file and of those beside it that hold its weights."""
    size: int = os.stat(path).st_size  # noqa: PTH116 - as above
    if size > _LARGE_NBYTES:
        return size
    import onnx

    folder = Path(path).parent
    names = {
        entry.value
        for tensor in onnx.load(path, load_external_data=False).graph.initializer
        for entry in tensor.external_data
        if entry.key == "location"
    }
    size += sum(place.stat().st_size for name in names if (place := folder / name).is_file())
    return size


def _with_outputs(path: str, names: Sequence[str]) -> bytes:
    """The model with inner tensors as further outputs; their types are left to the runtime's own inference."""
    import onnx

    model = onnx.load(path, load_external_data=False)
    produced = {name for node in model.graph.node for name in node.output if name}
    produced |= {value.name for value in (*model.graph.input, *model.graph.initializer)}
    for name in names:
        if name not in produced:
            raise NodeNotFoundError(f"no tensor named `{name}` in {path}", name=name, known=produced)
    model.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names)
    return bytes(model.SerializeToString())


def _spec(value: Any) -> list[Any]:  # noqa: ANN401 - onnxruntime's NodeArg
    kind = value.type.removeprefix("tensor(").removesuffix(")")
    numbers = {str(dtype): dtype for dtype in DType}
    shape = None if value.shape is None else [d if isinstance(d, int) else None for d in value.shape]
    return [value.name, value.name, int(numbers.get(_TYPES.get(kind, kind), DType.INVALID)), shape]


def describe(params: Mapping[str, Any], _: list[Array]) -> tuple[Any, list[Array]]:
    """Load; runtime, inputs, outputs."""
    import onnxruntime

    session = _session(params["path"], params.get("variant", "default"))
    return {
        "runtime": f"onnxruntime {onnxruntime.__version__}",
        "inputs": [_spec(v) for v in session.get_inputs()],
        "outputs": [_spec(v) for v in session.get_outputs()],
        "notes": [],
    }, []


def types(params: Mapping[str, Any], _: list[Array]) -> tuple[Any, list[Array]]:
    """Dtypes and static shapes, inner tensors included."""
    session = _session(params["path"], "default")
    known = {v.name: v for v in (*session.get_inputs(), *session.get_outputs())}
    extra = tuple(sorted({name for name in params["names"] if name not in known}))
    if extra:
        known.update((v.name, v) for v in _session(params["path"], "default", extra).get_outputs())
    return [_spec(known[name])[2:] for name in params["names"]], []


def _output_names(path: str, variant: str) -> frozenset[str]:
    """The file's own outputs, without keeping a session for that: each takes the model's size in memory."""
    status = os.stat(path)  # noqa: PTH116 - one call, three facts
    key = (path, status.st_mtime_ns, status.st_size, status.st_ino)
    if key not in _outputs:
        _outputs.clear()
        _outputs[key] = frozenset(v.name for v in _session(path, variant).get_outputs())
    return _outputs[key]


def run(params: Mapping[str, Any], arrays: list[Array]) -> tuple[Any, list[Array]]:
    """Run; the fetched arrays."""
    path, variant, fetches = params["path"], params["variant"], params["fetches"]
    known = _output_names(path, variant)
    session = _session(path, variant, tuple(sorted({name for name in fetches if name not in known})))
    feeds = {n: _to_text(a) for n, a in zip(params["feeds"], arrays, strict=True)}
    inputs = {v.name for v in session.get_inputs()} | {v.name for v in session.get_overridable_initializers()}
    for name in feeds:
        if name not in inputs:
            raise NodeNotFoundError(f"{path} takes no input `{name}`", name=name, known=inputs)
    # asked for once each: onnxruntime refuses repetitions
    names = list(dict.fromkeys(fetches))
    once = functools.partial(session.run, names)
    values = dict(zip(names, run_in_pieces(once, feeds) if variant == "shared" else once(feeds), strict=True))
    return {"notes": []}, [_to_array(values[name], name) for name in fetches]


def _to_text(array: Array) -> Array:
    if array.dtype != object:
        return array
    strings = np.empty(array.shape, object)
    strings.reshape(-1)[:] = [s.decode() for s in array.reshape(-1).tolist()]
    return strings


def _to_array(value: Any, name: str) -> Array:  # noqa: ANN401 - arrays, or lists where the output is a sequence
    if not isinstance(value, np.ndarray | np.generic | str):
        raise RuntimeFailedError(f"`{name}` is no tensor but a {type(value).__name__}")
    return np.asarray(value, dtype=object) if isinstance(value, str) else np.asarray(value)


def check(params: Mapping[str, Any], _: list[Array]) -> tuple[Any, list[Array]]:
    """Hold a file against the standard and load it; what it is made of."""
    import onnx

    path = params["path"]
    model = onnx.load(path, load_external_data=False)
    unknown = _onnx_schema.unknown_ops(model)
    if unknown:
        raise UnsupportedOpsError(
            f"{path} is not valid ONNX: {len(unknown)} ops are not in the standard",
            details=[f"{op}: {', '.join(f'`{n}`' for n in names[:4])}" for op, names in unknown.items()],
            evidence={"ops": unknown},
        )
    try:
        onnx.checker.check_model(path, full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        lines = message_lines(error)
        raise RuntimeFailedError(f"{path} is not valid ONNX: {lines[0]}", details=lines[1:9]) from None
    _load_checked(path)
    counts = Counter(node.op_type for node in _onnx_schema.nodes(model.graph))
    opsets = {entry.domain: entry.version for entry in model.opset_import}
    return {"ir_version": model.ir_version, "opsets": opsets, "ops": dict(sorted(counts.items()))}, []


def _load_checked(path: str) -> None:
    from onnxruntime.capi.onnxruntime_pybind11_state import NotImplemented as NoKernel

    try:
        _session(path, "default")
    except NoKernel as error:
        # valid ONNX, but no kernel for that element type: "Could not find an implementation for Softsign(1) node with
        # name 'rnn/Softsign'"
        match = re.search(r"for (\w+)\(\d+\) node with name '([^']*)'", str(error))
        op, node = match.groups() if match else ("an op", "?")
        raise UnsupportedOpsError(
            f"onnxruntime has no kernel for `{op}` at its element type in {path}",
            details=[f"{op}: `{node}`"],
            evidence={"ops": {op: [node]}},
        ) from None


def limits(_: Mapping[str, Any], __: list[Array]) -> tuple[Any, list[Array]]:
    """The highest IR version and opset that the installed onnxruntime loads, found by trying."""
    import onnx

    newest_opset = onnx.defs.onnx_opset_version()
    opset = next(n for n in range(newest_opset, 0, -1) if _loads(8, n))
    ir = next(n for n in range(onnx.IR_VERSION, 0, -1) if _loads(n, opset))
    return {"ir": ir, "opset": opset}, []


def _loads(ir_version: int, opset: int) -> bool:
    import onnxruntime
    from onnx import TensorProto, helper

    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, [1]) for name in "xy")
    graph = helper.make_graph([helper.make_node("Identity", ["x"], ["y"])], "probe", [x], [y])
    model = helper.make_model(graph, ir_version=ir_version, opset_imports=[helper.make_opsetid("", opset)])
    options = onnxruntime.SessionOptions()
    options.log_severity_level = _FATAL
    try:
        onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    except Exception:  # noqa: BLE001 - onnxruntime's exceptions share no base but this; a refusal is the answer
        return False
    return True


def load() -> None:
    """Import both."""
    import onnx  # noqa: F401 - so that the first call need not
    import onnxruntime

    onnxruntime.set_default_logger_severity(_FATAL)


METHODS = {"describe": describe, "types": types, "run": run, "check": check, "limits": limits}
