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
from tfinspect.surgery.bottlenecks import Bottleneck, find_bottlenecks
from tfinspect.surgery.endpoints import Endpoint, find_inputs, find_outputs
from tfinspect.surgery.ops import blockers
from tfinspect.surgery.phase import PhaseFlag, phase_flags
from tfinspect.surgery.shapes import TensorTypes

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tfinspect.api.load import PathLike
    from tfinspect.ir.checkpoint import Checkpoint
    from tfinspect.ir.graph import Graph
    from tfinspect.ir.model import Model
    from tfinspect.ir.signature import Signature
    from tfinspect.surgery.ops import Blocker

_MANY = 1024  # a constant of fewer elements is an axis or a shape, not a parameter


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
        parameters: number of elements of all float constants that can be weights.
        inputs: tensors that people feed, phase flags apart.
        outputs: tensors that people fetch.
        outputs_certain: whether the outputs leave no choice.
        bottlenecks: where the graph can be cut, best first.
        flags: placeholders that switch between training and inference.
        blockers: ops that a current TensorFlow refuses or ONNX has no word for.
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
    signatures: dict[str, Signature] = field(default_factory=dict)
    tags: tuple[str, ...] = ()
    assets: tuple[str, ...] = ()
    next: str = ""


def info(path: PathLike, *, inputs: Sequence[str] = ()) -> Info:
    """Describe whatever stands under a path, without a runtime.

    Raises:
        InputError: it cannot be read, or is of no format known here.
    """
    kind = formats.identify(path)
    model = formats.open_model(path)
    graph = None if model.graph is None else describe_graph(model.graph, inputs)
    checkpoint = None if model.checkpoint is None else _describe_checkpoint(model.checkpoint)
    return Info(
        model.path,
        model.format,
        kind.title,
        _size(path, model.checkpoint),
        model.tensorflow_version,
        graph,
        checkpoint,
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
    constants = [t for node in graph.nodes if node.op == "Const" and (t := node.tensor()) is not None]
    return GraphInfo(
        len(graph),
        dict(counts.most_common()),
        graph.versions.producer,
        graph.versions.min_consumer,
        len(graph.functions),
        sum(counts[op] for op in ("Variable", "VariableV2", "VarHandleOp")),
        sum(t.nbytes for t in constants),
        sum(t.size for t in constants if t.dtype.is_floating and (t.size >= _MANY or len(t.shape) == 1)),
        tuple(data),
        tuple(ends),
        ends.certain,
        tuple(cuts),
        tuple(flags),
        tuple(blockers(graph)),
    )


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


def _size(path: PathLike, checkpoint: Checkpoint | None) -> int:
    place = Path(path)
    if place.is_file():
        return place.stat().st_size
    if checkpoint is not None:
        return sum(Path(f).stat().st_size for f in checkpoint.files if Path(f).exists())
    return sum(p.stat().st_size for p in place.rglob("*") if p.is_file())


def _next(model: Model, graph: GraphInfo | None) -> str:
    path = shlex.quote(model.path)
    if graph is None:
        return f"tfinspect vars {path}" if model.checkpoint is not None else ""
    if model.format == "saved_model":
        return ""
    if graph.variable_count and model.checkpoint is None:
        return f"tfinspect freeze CHECKPOINT --graph {path} -o frozen.pb"
    if not graph.outputs_certain:
        return f"tfinspect nodes {path} --only outputs"
    if graph.bottlenecks:
        return f"tfinspect cut {path} --bottleneck {shlex.quote(str(graph.bottlenecks[0].ref))} -o trunk.pb"
    return f"tfinspect export {path} --onnx"
