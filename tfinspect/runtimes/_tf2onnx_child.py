"""What the `tf2onnx` child serves: one graph in, one ONNX file out."""

from __future__ import annotations

import gc
import logging
import resource
import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tfinspect.errors import (
    LimitError,
    NodeNotFoundError,
    RuntimeFailedError,
    TfinspectError,
    UnsupportedOpsError,
    UsageError,
)
from tfinspect.ir.refs import TensorRef
from tfinspect.runtimes import _graph_file, _lean, _onnx_file, _onnx_schema, _onnx_weights, _tensorflow_child, _weights
from tfinspect.runtimes._reports import message_lines

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    import numpy.typing as npt

_MIN_OPSET = 7  # what onnxruntime still loads
_MAX_INLINE_NBYTES = 1 << 30  # weights put back as constants; tf2onnx copies each a dozen times
_WARNINGS_KEPT = 20
_PLACEHOLDERS = frozenset({"Placeholder", "PlaceholderV2", "PlaceholderWithDefault"})

# ops without a converter that tf2onnx knows how to rewrite, or that it leaves out
_REWRITTEN = frozenset(
    {
        "Placeholder", "PlaceholderV2", "PlaceholderWithDefault", "Const", "NoOp", "Assert", "Print", "PrintV2",
        "Enter", "Exit", "Switch", "Merge", "NextIteration", "LoopCond", "GRUBlockCell", "LSTMBlockCell",
        "FakeQuantWithMinMaxArgs", "FakeQuantWithMinMaxVars", "Dequantize", "QuantizeV2",
        "QuantizeAndDequantizeV2", "QuantizeAndDequantizeV3",
    }
)  # fmt: skip


class _Log(logging.Handler):
    """What tf2onnx says only to its log: ops without a converter, converters that failed, warnings."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.unsupported: dict[str, list[str]] = {}
        self.failed: dict[str, str] = {}
        self.warnings: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Sort a record in; those of `tensorflow_onnx_mapping` have node names among their arguments."""
        arguments = record.args if isinstance(record.args, tuple) else ()
        if record.levelno < logging.ERROR:
            self.warnings.append(record.getMessage())
        elif record.funcName == "tensorflow_onnx_mapping" and record.exc_info:
            self.failed[str(arguments[0])] = str(record.exc_info[1])
        elif record.funcName == "tensorflow_onnx_mapping" and len(arguments) > 1:
            self.unsupported.setdefault(str(arguments[1]), []).append(str(arguments[0]))
        else:
            self.warnings.append(record.getMessage())


def convert(params: Mapping[str, Any], _: list[npt.NDArray[Any]]) -> tuple[Any, list[npt.NDArray[Any]]]:
    """Convert and write; facts about the result."""
    started = time.monotonic()
    if not _MIN_OPSET <= params["opset"] <= params["max_opset"]:
        raise LimitError(
            f"tf2onnx writes opset {_MIN_OPSET} to {params['max_opset']}, not {params['opset']}",
            hint="add --opset 15",
            evidence={"opset": params["opset"], "limit": params["max_opset"]},
        )
    weights = _weights.open_weights(params["weights"])
    graph = _read(params)
    log = _Log()
    logger = logging.getLogger("tf2onnx")
    logger.addHandler(log)
    inlined = False
    gc.disable()  # a third of the time would go into looking at objects that are all alive
    try:
        try:
            model = _to_onnx(graph, params, weights, log)
        except Exception:
            # a converter may want a weight to be a constant: an LSTM does, a Gather by constant indices may
            total = sum(w.values.nbytes for w in weights.values())
            if not weights or total > _MAX_INLINE_NBYTES:
                raise
            log.unsupported, log.failed = {}, {}
            model = _to_onnx(_inlined(graph, weights), params, {}, log)
            inlined = True
    finally:
        gc.enable()
        logger.removeHandler(log)
    if inlined:
        weights = {}
    initializers = _onnx_weights.attach(model, weights)
    _onnx_weights.tidy(model)
    _label(model, params)
    external = _onnx_file.write(
        model,
        initializers,
        weights,
        params["output"],
        external_data=params["external_data"],
        force_external=params["force_external_data"],
    )
    used = {derived.weight for derived in initializers.values()}
    counts = Counter(node.op_type for node in _onnx_schema.nodes(model.graph))
    return {
        "external_data": str(Path(params["output"]).with_name(params["external_data"])) if external else None,
        "ir_version": model.ir_version,
        "node_count": counts.total(),
        "op_counts": dict(sorted(counts.items())),
        "seconds": time.monotonic() - started,
        "peak_nbytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
        "inputs": [value.name for value in model.graph.input],
        "outputs": [value.name for value in model.graph.output],
        "initializers": {name: [d.weight, d.steps] for name, d in initializers.items()},
        "unused_weights": [name for name in weights if name not in used],
        "inlined": inlined,
        "warnings": log.warnings[:_WARNINGS_KEPT],
    }, []


def _read(params: Mapping[str, Any]) -> Any:  # noqa: ANN401 - a GraphDef
    """Read the graph, keep what the outputs need, and put the given shapes on its inputs."""
    graph, _ = _graph_file.read(params["graph"])
    ops = {node.name: node.op for node in graph.node}
    for text in (*params["inputs"], *params["outputs"]):
        name = TensorRef.parse(text).name
        if name not in ops:
            raise NodeNotFoundError(f"no node named `{name}` in {params['graph']}", name=name, known=ops)
        if text in params["inputs"] and ops[name] not in _PLACEHOLDERS:
            raise UsageError(
                f"input `{name}` is a {ops[name]}, not a Placeholder", hint="cut the graph there before it is converted"
            )
    pruned = _graph_file.prune(graph, [*params["outputs"], *params["inputs"]], {})
    shapes = {TensorRef.parse(text).name: shape for text, shape in params["inputs"].items()}
    for node in pruned.node:
        node.device = ""
        shape = shapes.get(node.name)
        if shape is not None:
            attr = node.attr["shape"].shape
            attr.Clear()
            for size in shape:
                attr.dim.add(size=-1 if size is None else size)
    return pruned


def _to_onnx(graph: Any, params: Mapping[str, Any], weights: Mapping[str, _weights.Weight], log: _Log) -> Any:  # noqa: ANN401
    """Run tf2onnx; a ModelProto in which weights are inputs."""
    present = {node.name for node in graph.node}
    inputs = [*params["inputs"], *(f"{name}:0" for name in weights if name in present)]
    try:
        translated = _translate(graph, params, inputs)
        _raise_unsupported(graph, log)
        try:
            model = _optimize(translated, copies=False)
        except Exception:  # noqa: BLE001 - an optimizer failed half way: again, with tf2onnx's own remedy
            model = _optimize(_translate(graph, params, inputs), copies=True)
    except TfinspectError:
        raise
    except Exception as error:
        _raise_unsupported(graph, log)
        _raise_without_converter(graph, error)
        lines = message_lines(error)
        raise RuntimeFailedError(
            f"tf2onnx failed on {params['graph']}: {lines[0]}",
            details=lines[1:9],
            evidence={"runtime": "tf2onnx", "type": type(error).__name__},
        ) from error
    unknown = _onnx_schema.unknown_ops(model)
    if unknown:
        raise _unsupported(unknown, {})
    return model


def _translate(graph: Any, params: Mapping[str, Any], inputs: Sequence[str]) -> Any:  # noqa: ANN401 - tf2onnx's Graph
    """Every node by its converter."""
    import tensorflow as tf
    from tf2onnx import tf_loader, tfonnx

    outputs = list(params["outputs"])
    # a converter reads shapes from the graph, which constant folding completes
    with tf.Graph().as_default():
        try:
            optimized = tf_loader.tf_optimize(list(inputs), outputs, graph)
        except RuntimeError:  # it says only that it could not import the graph; the import below says why
            optimized = graph
    with tf.Graph().as_default() as tf_graph:
        tf.import_graph_def(optimized, name="")
        return tfonnx.process_tf_graph(tf_graph, opset=params["opset"], input_names=list(inputs), output_names=outputs)


def _optimize(translated: Any, *, copies: bool) -> Any:  # noqa: ANN401 - tf2onnx's Graph; a ModelProto
    """Remove needless Transposes and the like.

    Args:
        translated: changed in place.
        copies: let tf2onnx duplicate the graph before each of a dozen optimizers, several times over, so that one which
            fails can be left out.
    """
    from tf2onnx import optimizer

    return optimizer.optimize_graph(translated, catch_errors=copies).make_model("", graph_name="tfinspect")


def _raise_unsupported(graph: Any, log: _Log) -> None:  # noqa: ANN401 - a GraphDef
    ops = {op: list(names) for op, names in log.unsupported.items()}
    by_name = {node.name: node.op for node in _all_nodes(graph)}
    for name in log.failed:
        # rewritten nodes are called after their origin, with a number behind
        op = by_name.get(name) or by_name.get(name.rsplit("__", 1)[0], "a node made by tf2onnx")
        ops.setdefault(op, []).append(name)
    if ops:
        raise _unsupported(ops, log.failed)


def _raise_without_converter(graph: Any, error: Exception) -> None:  # noqa: ANN401 - a GraphDef
    """Blame ops that no converter knows for a failure that names something else: shapes, types, an import."""
    from tf2onnx.handler import tf_op

    known = {op for versions in tf_op.get_opsets().values() for version in versions for op in version}
    ops: dict[str, list[str]] = {}
    for node in graph.node:
        if node.op not in known and node.op not in _REWRITTEN and not node.op.startswith("TensorArray"):
            ops.setdefault(node.op, []).append(node.name)
    if ops:
        reason = message_lines(error)[0]
        raise _unsupported(ops, {name: reason for names in ops.values() for name in names[:1]}) from error


def _all_nodes(graph: Any) -> Iterator[Any]:  # noqa: ANN401 - a GraphDef
    yield from graph.node
    for function in graph.library.function:
        yield from function.node_def


def _unsupported(ops: Mapping[str, list[str]], reasons: Mapping[str, str]) -> UnsupportedOpsError:
    count = sum(map(len, ops.values()))
    details = []
    for op, names in sorted(ops.items()):
        shown = ", ".join(f"`{name}`" for name in names[:4]) + (" ..." if len(names) > 4 else "")  # noqa: PLR2004 - a line
        reason = next((reasons[name] for name in names if name in reasons), "")
        details.append(f"{op}: {shown}" + (f" ({reason.splitlines()[0]})" if reason else ""))
    listed = ", ".join(f"`{op}`" for op in sorted(ops))
    nodes = f"{count} nodes" if count > 1 else "1 node"
    return UnsupportedOpsError(
        f"tf2onnx cannot express {nodes} in ONNX: {listed}",
        details=details,
        evidence={"ops": {op: list(names) for op, names in sorted(ops.items())}},
    )


def _inlined(graph: Any, weights: Mapping[str, _weights.Weight]) -> Any:  # noqa: ANN401 - GraphDefs
    whole = type(graph)()
    whole.CopyFrom(graph)
    for node in whole.node:
        weight = weights.get(node.name)
        if weight is None:
            continue
        node.op = "Const"
        node.attr.clear()
        node.attr["dtype"].type = weight.dtype
        tensor = node.attr["value"].tensor
        tensor.dtype = weight.dtype
        for size in weight.shape:
            tensor.tensor_shape.dim.add(size=size)
        tensor.tensor_content = weight.values.tobytes()
    return whole


def _label(model: Any, params: Mapping[str, Any]) -> None:  # noqa: ANN401 - a ModelProto
    from onnx import helper

    model.producer_name = "tfinspect"
    model.producer_version = params["producer_version"]
    model.doc_string = params["description"]
    helper.set_model_props(model, params["metadata"])
    _name_batch(model.graph)


def _name_batch(graph: Any) -> None:  # noqa: ANN401 - a GraphProto
    """Call the one free leading dimension of the one input that has it `batch`, instead of `unk__12`."""
    free = [
        (value.name, axis, dim)
        for value in graph.input
        for axis, dim in enumerate(value.type.tensor_type.shape.dim)
        if not dim.HasField("dim_value")
    ]
    if len(free) == 1 and free[0][1] == 0:
        free[0][2].dim_param = "batch"


def load() -> None:
    """Import what a conversion needs."""
    _lean.lean()
    import tensorflow.python.grappler.tf_optimizer  # noqa: F401 - so that the first call need not
    from tf2onnx import optimizer, tfonnx  # noqa: F401 - as above

    # the record of what failed comes by the log, whatever level tf2onnx was configured for
    logging.getLogger("tf2onnx").setLevel(logging.WARNING)


METHODS = {"convert": convert, **_tensorflow_child.METHODS}  # it has loaded TensorFlow anyway
