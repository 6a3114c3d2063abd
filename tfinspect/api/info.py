"""What `info` answers: what this is, what goes in and out, where it can be cut, what stands in the way."""

from __future__ import annotations

import math
import shlex
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from tfinspect import formats
from tfinspect.api.listing import fetched, given_shapes
from tfinspect.errors import AlreadyConnectedError, UsageError
from tfinspect.ir.dtypes import DType
from tfinspect.ir.signature import TensorSpec
from tfinspect.surgery.bottlenecks import Bottleneck, find_bottlenecks
from tfinspect.surgery.endpoints import Endpoint, find_inputs, find_outputs
from tfinspect.surgery.ops import DEPRECATED, blockers
from tfinspect.surgery.phase import PhaseFlag, phase_flags
from tfinspect.surgery.shapes import TensorTypes

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tfinspect.api.load import PathLike
    from tfinspect.ir.checkpoint import Checkpoint
    from tfinspect.ir.graph import Graph
    from tfinspect.ir.model import Model
    from tfinspect.ir.refs import TensorRef
    from tfinspect.ir.signature import Signature
    from tfinspect.surgery.ops import Blocker

_SERVING = "serving_default"
_QUANTISED = frozenset({DType.QINT8, DType.QUINT8, DType.QINT16, DType.QUINT16, DType.QINT32})


@dataclass(frozen=True, slots=True)
class OldOp:
    """An op that importers refuse in graphs of later versions; in this one it is still accepted.

    Attributes:
        op: operation type.
        count: number of nodes.
        version: GraphDef version from which it is refused.
    """

    op: str
    count: int
    version: int


@dataclass(frozen=True, slots=True)
class GraphInfo:
    """What a graph says of itself.

    Attributes:
        node_count: number of nodes.
        ops: operation types and how often each occurs.
        producer: GraphDef version of the program that wrote it.
        min_consumer: oldest version that may read it.
        functions: number of library functions.
        variable_count: number of variable nodes.
        constant_nbytes: bytes of all constants.
        parameters: number of elements of all float and quantised constants that are more than a single number.
        inputs: tensors that people feed, phase flags apart.
        outputs: tensors that people fetch.
        outputs_certain: whether the outputs leave no choice.
        bottlenecks: where the graph can be cut, best first.
        flags: placeholders that switch between training and inference.
        blockers: ops that a current TensorFlow refuses or ONNX has no word for.
        old_ops: ops that later versions of TensorFlow dropped, but not for graphs as old as this one.
    """

    node_count: int
    ops: dict[str, int]
    producer: int
    min_consumer: int
    functions: int
    variable_count: int
    constant_nbytes: int
    parameters: int
    inputs: tuple[Endpoint, ...]
    outputs: tuple[Endpoint, ...]
    outputs_certain: bool
    bottlenecks: tuple[Bottleneck, ...]
    flags: tuple[PhaseFlag, ...]
    blockers: tuple[Blocker, ...]
    old_ops: tuple[OldOp, ...]


@dataclass(frozen=True, slots=True)
class CheckpointInfo:
    """What a checkpoint holds: the number of variables by role, their bytes and parameters."""

    path: str
    format: str
    roles: dict[str, int]
    nbytes: int
    parameters: int
    missing_files: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class HeadInfo:
    """What a classifier head takes and gives.

    Attributes:
        features: number of features it takes.
        classes: number of classes it gives.
        layers: (features, units, activation) of each layer.
        labels: names of the classes; empty where the file has none.
    """

    features: int
    classes: int
    layers: tuple[tuple[int, int, str], ...]
    labels: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Info:
    """The answer of `info`.

    Attributes:
        path: as the caller wrote it.
        format: name of the format.
        title: the format in words.
        nbytes: size of the file; of a checkpoint, of all its files.
        tensorflow_version: version that wrote it, where it says so.
        graph: None where there is no graph.
        checkpoint: None where there is no checkpoint.
        head: None where it is no head.
        inputs: what it takes: of the signature where there is one, else of the graph, phase flags apart.
        outputs: what it gives.
        signatures: by name.
        tags: of a SavedModel.
        assets: files beside the model.
        next: command that works as typed.
    """

    path: str
    format: str
    title: str
    nbytes: int
    tensorflow_version: str
    graph: GraphInfo | None
    checkpoint: CheckpointInfo | None
    head: HeadInfo | None = None
    inputs: tuple[TensorSpec, ...] = ()
    outputs: tuple[TensorSpec, ...] = ()
    signatures: dict[str, Signature] = field(default_factory=dict)
    tags: tuple[str, ...] = ()
    assets: tuple[str, ...] = ()
    next: str = ""


def info(path: PathLike, *, inputs: Sequence[str] = ()) -> Info:
    """Describe whatever stands under a path, without a runtime.

    Raises:
        InputError: it cannot be read, or is of no format known here.
        NameNotFoundError: a tensor of `inputs` is not in the graph.
    """
    kind = formats.identify(path)
    model = formats.open_model(path)
    graph = None if model.graph is None else describe_graph(model.graph, inputs)
    checkpoint = None if model.checkpoint is None else _describe_checkpoint(model.checkpoint)
    starts, ends = _ends(model, graph)
    return Info(
        model.path,
        model.format,
        kind.title,
        _size(path, model),
        model.tensorflow_version,
        graph,
        checkpoint,
        _describe_head(path) if kind.kinds == ("head",) else None,
        starts,
        ends,
        dict(model.signatures),
        model.tags,
        tuple(model.assets),
        _next(model, graph),
    )


def describe_graph(graph: Graph, inputs: Sequence[str] = ()) -> GraphInfo:
    """Describe a graph; `inputs` are tensors with shapes, as `X:0[1,28,28,1]`."""
    types = TensorTypes(graph, given_shapes(graph, inputs))
    ends = find_outputs(graph, types)
    starts = find_inputs(graph, types, [e.ref for e in ends] or None)
    flags = phase_flags(graph, types)
    data = [e for e in starts if e.kind != "phase"]
    cuts = find_bottlenecks(graph, types, [e.ref for e in data], fetched(ends)) if data and ends else []
    counts = Counter(node.op for node in graph.nodes)
    blocking = blockers(graph)
    refused = {blocker.op for blocker in blocking}
    constants = [t for node in graph.nodes if node.op == "Const" and (t := node.tensor()) is not None]
    return GraphInfo(
        len(graph),
        dict(counts.most_common()),
        graph.versions.producer,
        graph.versions.min_consumer,
        len(graph.functions),
        sum(counts[op] for op in ("Variable", "VariableV2", "VarHandleOp")),
        sum(t.nbytes for t in constants),
        sum(t.size for t in constants if t.size > 1 and (t.dtype.is_floating or t.dtype in _QUANTISED)),
        tuple(data),
        tuple(ends),
        ends.certain,
        tuple(cuts),
        tuple(flags),
        tuple(blocking),
        tuple(OldOp(op, n, DEPRECATED[op]) for op, n in counts.items() if op in DEPRECATED and op not in refused),
    )


def _ends(model: Model, graph: GraphInfo | None) -> tuple[tuple[TensorSpec, ...], tuple[TensorSpec, ...]]:
    signature = model.signatures.get(_SERVING)
    if signature is None and len(model.signatures) == 1:
        (signature,) = model.signatures.values()
    if signature is not None:
        return signature.inputs, signature.outputs
    if graph is None:
        return (), ()
    return _specs(graph.inputs), _specs(graph.outputs)


def _specs(ends: tuple[Endpoint, ...]) -> tuple[TensorSpec, ...]:
    return tuple(TensorSpec(end.ref, end.dtype, end.shape) for end in ends)


def _describe_head(path: PathLike) -> HeadInfo:
    from tfinspect.formats import heads

    head = heads.read(path)
    layers = tuple((layer.features, layer.units, layer.activation) for layer in head.layers)
    return HeadInfo(head.features, head.classes, layers, head.labels)


def _describe_checkpoint(checkpoint: Checkpoint) -> CheckpointInfo:
    variables = checkpoint.variables.values()
    return CheckpointInfo(
        checkpoint.path,
        checkpoint.format,
        dict(Counter(v.role for v in variables)),
        sum(v.nbytes for v in variables),
        sum(math.prod(v.shape) for v in variables if v.role == "weight"),
        tuple(f for f in checkpoint.files if not Path(f).exists()),
    )


def _size(path: PathLike, model: Model) -> int:
    place = Path(path)
    if place.is_file():
        return place.stat().st_size
    if model.checkpoint is not None and model.format != "saved_model":
        files = [Path(name) for name in model.checkpoint.files]
    else:
        files = list(place.rglob("*"))
    return sum(file.stat().st_size for file in files if file.is_file())


def _next(model: Model, graph: GraphInfo | None) -> str:
    """Return the command that leads on from here; what it names is there, so that it works as typed."""
    path = shlex.quote(model.path)
    if graph is None or model.graph is None:
        return f"tfinspect vars {path}" if model.checkpoint is not None else ""
    if graph.variable_count and model.checkpoint is None:
        return f"tfinspect nodes {path} --only outputs"
    if not graph.outputs_certain:
        joint = _unconnected(model.graph, graph)
        if joint is not None:
            return f"tfinspect graft {path} --bottleneck {shlex.quote(str(joint))} -o connected.pb"
        if graph.outputs and model.checkpoint is not None:
            return f"tfinspect freeze {path} --outputs {shlex.quote(str(graph.outputs[0].ref))} -o frozen.pb"
        return f"tfinspect nodes {path} --only outputs"
    if graph.bottlenecks:
        return f"tfinspect cut {path} --bottleneck {shlex.quote(str(graph.bottlenecks[0].ref))} -o trunk.pb"
    return f"tfinspect export {path} --onnx"


def _unconnected(graph: Graph, described: GraphInfo) -> TensorRef | None:
    """Return the output that a classifier beside it waits for, where a retraining script left the two apart."""
    from tfinspect.surgery.connect import find_unconnected_head

    types = TensorTypes(graph)
    for end in described.outputs:
        try:
            find_unconnected_head(graph, end.ref, types)
        except (AlreadyConnectedError, UsageError):  # none that takes this one
            continue
        return end.ref
    return None
