"""What the parts of a model say of themselves: graph, checkpoint, head, layers, operators."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tfinspect.api.listing import fetched, given_shapes
from tfinspect.ir.dtypes import DType
from tfinspect.surgery.bottlenecks import find_bottlenecks
from tfinspect.surgery.endpoints import find_inputs, find_outputs
from tfinspect.surgery.ops import DEPRECATED, blockers
from tfinspect.surgery.phase import phase_flags
from tfinspect.surgery.shapes import TensorTypes

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tfinspect.api.load import PathLike
    from tfinspect.ir.checkpoint import Checkpoint
    from tfinspect.ir.graph import Graph
    from tfinspect.ir.model import Model
    from tfinspect.ir.shapes import Shape
    from tfinspect.surgery.bottlenecks import Bottleneck
    from tfinspect.surgery.endpoints import Endpoint
    from tfinspect.surgery.ops import Blocker
    from tfinspect.surgery.phase import PhaseFlag

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
class LayerInfo:
    """One layer of a Keras or Deeplearning4j model.

    Attributes:
        name: of the layer.
        kind: its class.
        shape: of its output, where the file says.
        parameters: number of elements of all its weights.
        inputs: names of the layers it takes.
        weights: names of its variables.
        settings: its configuration.
    """

    name: str
    kind: str
    shape: Shape
    parameters: int
    inputs: tuple[str, ...]
    weights: tuple[str, ...]
    settings: dict[str, object]


def describe_graph(graph: Graph, inputs: Sequence[str] = (), *, called: Graph | None = None) -> GraphInfo:
    """Describe a graph.

    Args:
        graph: the graph.
        inputs: tensors with shapes, as `X:0[1,28,28,1]`.
        called: where its functions compute, in which bottlenecks are looked for instead.
    """
    types = TensorTypes(graph, given_shapes(graph, inputs))
    ends = find_outputs(graph, types)
    starts = find_inputs(graph, types, [e.ref for e in ends] or None)
    flags = phase_flags(graph, types)
    data = [e for e in starts if e.kind != "phase"]
    cuts = find_bottlenecks(graph, types, [e.ref for e in data], fetched(ends)) if data and ends else []
    if called is not None and not inputs:
        cuts = _bottlenecks(called)
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


def _bottlenecks(graph: Graph) -> list[Bottleneck]:
    types = TensorTypes(graph)
    ends = find_outputs(graph, types)
    data = [e.ref for e in find_inputs(graph, types, [e.ref for e in ends] or None) if e.kind != "phase"]
    return find_bottlenecks(graph, types, data, fetched(ends)) if data and ends else []


def describe_head(path: PathLike) -> HeadInfo:
    """Describe a classifier head.

    Raises:
        InputError: it cannot be read.
    """
    from tfinspect.formats import heads

    head = heads.read(path)
    layers = tuple((layer.features, layer.units, layer.activation) for layer in head.layers)
    return HeadInfo(head.features, head.classes, layers, head.labels)


def describe_checkpoint(checkpoint: Checkpoint) -> CheckpointInfo:
    """Count what a checkpoint holds."""
    variables = checkpoint.variables.values()
    return CheckpointInfo(
        checkpoint.path,
        checkpoint.format,
        dict(Counter(v.role for v in variables)),
        sum(v.nbytes for v in variables),
        sum(math.prod(v.shape) for v in variables if v.role == "weight"),
        tuple(f for f in checkpoint.files if not Path(f).exists()),
    )


def describe_layers(model: Model) -> tuple[LayerInfo, ...]:
    """Describe the layers of a model, in its order."""
    known = model.checkpoint.variables if model.checkpoint is not None else {}
    return tuple(
        LayerInfo(
            layer.name,
            layer.kind,
            layer.shape,
            sum(math.prod(known[name].shape) for name in layer.weights if name in known),
            layer.inputs,
            layer.weights,
            dict(layer.settings),
        )
        for layer in model.layers
    )


def describe_operators(model: Model) -> dict[str, int]:
    """Return the operator types of a model and how often each occurs."""
    return dict(Counter(operator.op for operator in model.operators).most_common())
