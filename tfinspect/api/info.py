"""What `info` answers: what this is, what goes in and out, where it can be cut, what stands in the way."""

from __future__ import annotations

import contextlib
import shlex
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from tfinspect import formats
from tfinspect.api import keras, rebuild
from tfinspect.api.describe import (
    CheckpointInfo,
    GraphInfo,
    HeadInfo,
    LayerInfo,
    describe_checkpoint,
    describe_graph,
    describe_head,
    describe_layers,
    describe_operators,
)
from tfinspect.api.labels import labels_beside
from tfinspect.api.load import open_graph
from tfinspect.api.locate import called
from tfinspect.errors import AlreadyConnectedError, FileMissingError, TfinspectError, UsageError
from tfinspect.ir.signature import TensorSpec
from tfinspect.surgery.reached_functions import functions_of_signatures
from tfinspect.surgery.shapes import TensorTypes

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tfinspect.api.load import PathLike
    from tfinspect.ir.graph import Graph
    from tfinspect.ir.model import Model
    from tfinspect.ir.refs import TensorRef
    from tfinspect.ir.risks import Risk
    from tfinspect.ir.signature import Signature
    from tfinspect.surgery.endpoints import Endpoint

_SERVING = "serving_default"


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
        functions: names of the library functions that each signature runs, by the signature's name.
        tags: of a SavedModel's MetaGraph.
        tag_sets: of every MetaGraph of it.
        assets: files beside the model.
        labels: names of the classes, kept beside the model or in its assets.
        layers: of a Keras or Deeplearning4j model.
        operators: of an ONNX or TensorFlow Lite model: operator types and how often each occurs.
        training: how it was trained, as the file says.
        facts: what else the format says of itself.
        risks: what reading met that could harm whoever loads the model; `api.risks` looks for more.
        missing: files that the model names and that are not there, without which it can still be read.
        problems: parts that could not be read.
        next: command that works as typed.
    """

    path: str
    format: str
    title: str
    nbytes: int
    tensorflow_version: str
    graph: GraphInfo | None = None
    checkpoint: CheckpointInfo | None = None
    head: HeadInfo | None = None
    inputs: tuple[TensorSpec, ...] = ()
    outputs: tuple[TensorSpec, ...] = ()
    signatures: dict[str, Signature] = field(default_factory=dict)
    functions: dict[str, tuple[str, ...]] = field(default_factory=dict)
    tags: tuple[str, ...] = ()
    tag_sets: tuple[tuple[str, ...], ...] = ()
    assets: tuple[str, ...] = ()
    labels: tuple[str, ...] = ()
    layers: tuple[LayerInfo, ...] = ()
    operators: dict[str, int] = field(default_factory=dict)
    training: dict[str, object] = field(default_factory=dict)
    facts: dict[str, str] = field(default_factory=dict)
    risks: tuple[Risk, ...] = ()
    missing: tuple[str, ...] = ()
    problems: tuple[TfinspectError, ...] = ()
    next: str = ""


def info(path: PathLike, *, inputs: Sequence[str] = ()) -> Info:
    """Describe whatever stands under a path, without a runtime.

    A part that cannot be read does not hide the rest: it is in `problems`.

    Raises:
        InputError: it cannot be read, or is of no format known here.
        NameNotFoundError: a tensor of `inputs` is not in the graph.
    """
    kind = formats.identify(path)
    model = formats.open_model(path, problems=[])
    if rebuild.is_bare(model):
        model = rebuild.described(model)
    graph = None if model.graph is None else describe_graph(model.graph, inputs, called=_called(model))
    starts, ends = _ends(model, graph)
    return Info(
        model.path,
        model.format,
        kind.title,
        _size(path, model),
        model.tensorflow_version,
        graph,
        None if model.checkpoint is None else describe_checkpoint(model.checkpoint),
        describe_head(path) if kind.kinds == ("head",) else None,
        starts,
        ends,
        dict(model.signatures),
        {} if model.graph is None else functions_of_signatures(model.graph, model.signatures),
        model.tags,
        model.tag_sets,
        tuple(model.assets),
        labels_beside(path) if model.graph is not None else (),
        describe_layers(model),
        describe_operators(model),
        dict(model.training),
        dict(model.facts),
        model.risks,
        tuple(str(p.evidence["path"]) for p in model.problems if isinstance(p, FileMissingError)),
        tuple(p for p in model.problems if not isinstance(p, FileMissingError)),
        rebuild.next_step(model.path) if rebuild.is_rebuilt(model) else _next(model, graph),
    )


def _ends(model: Model, graph: GraphInfo | None) -> tuple[tuple[TensorSpec, ...], tuple[TensorSpec, ...]]:
    signature = _signature(model)
    if signature is not None:
        return signature.inputs, signature.outputs
    if graph is None:
        return (), ()
    return _specs(graph.inputs), _specs(graph.outputs)


def _signature(model: Model) -> Signature | None:
    """Return the signature that is meant where none is named: the default one, or the only one."""
    if len(model.signatures) == 1:
        return next(iter(model.signatures.values()))
    return model.signatures.get(_SERVING)


def _specs(ends: tuple[Endpoint, ...]) -> tuple[TensorSpec, ...]:
    return tuple(TensorSpec(end.ref, end.dtype, end.shape) for end in ends)


def _size(path: PathLike, model: Model) -> int:
    place = Path(path)
    if place.is_file():
        return place.stat().st_size
    if model.checkpoint is not None and model.format != "saved_model":
        files = [Path(name) for name in model.checkpoint.files]
    else:
        files = list(place.rglob("*"))
    return sum(file.stat().st_size for file in files if file.is_file())


def _called(model: Model) -> Graph | None:
    """Return what the signature computes with its functions' bodies in place; None where that tells nothing more."""
    if model.graph is None or not model.graph.functions:
        return None
    with contextlib.suppress(TfinspectError):  # a call that cannot be followed hides what stands behind it, no more
        return called(model)
    return None


def _next(model: Model, graph: GraphInfo | None) -> str:
    """Return the command that leads on from here; what it names is there, so that it works as typed."""
    path = shlex.quote(model.path)
    if keras.is_keras(model):
        return f"tfinspect {f'info --risks {path}' if keras.code_risk(model) else f'nodes {path} --only bottlenecks'}"
    if model.format == "dl4j":
        with contextlib.suppress(TfinspectError):  # with layers that TensorFlow lacks it is still good for its weights
            open_graph(model.path)
            return f"tfinspect nodes {path} --only bottlenecks"
    if graph is None or model.graph is None:
        return f"tfinspect vars {path}" if model.checkpoint is not None else ""
    if graph.variable_count and model.checkpoint is None:
        return f"tfinspect nodes {path} --only outputs"
    if not graph.outputs_certain and _signature(model) is None:
        joint = _unconnected(model.graph, graph)
        if joint is not None:
            return f"tfinspect graft {path} --bottleneck {shlex.quote(str(joint))} -o connected.pb"
        if graph.outputs and model.checkpoint is not None:
            return f"tfinspect freeze {path} --outputs {shlex.quote(str(graph.outputs[0].ref))} -o frozen.pb"
        return f"tfinspect nodes {path} --only outputs"
    if graph.bottlenecks:
        output = "trunk.pb" if Path(model.path).name != "trunk.pb" else "cut.pb"
        return f"tfinspect cut {path} --bottleneck {shlex.quote(str(graph.bottlenecks[0].ref))} -o {output}"
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
