"""Freezing: a graph and its checkpoint become one graph."""

from __future__ import annotations

import contextlib
import os
import shlex
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from tfinspect import formats
from tfinspect.api import keras
from tfinspect.api.load import PathLike, open_graph
from tfinspect.api.prepare import choose_outputs, inputs_of, model_graph
from tfinspect.errors import LimitError, UsageError, VariableNotFoundError, WrongKindError
from tfinspect.ir.refs import parse_shaped
from tfinspect.ir.signature import TensorSpec
from tfinspect.surgery.endpoints import find_inputs
from tfinspect.surgery.fold_variables import fold_variables
from tfinspect.surgery.ops import VARIABLES
from tfinspect.surgery.shapes import TensorTypes

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from tfinspect.ir.checkpoint import Checkpoint
    from tfinspect.ir.graph import Graph
    from tfinspect.ir.model import Model
    from tfinspect.ir.refs import TensorRef
    from tfinspect.ir.tensors import Tensor
    from tfinspect.surgery.fold_variables import FreezeReport


_PIPELINES = frozenset({"queue", "iterator"})


@dataclass(frozen=True, slots=True)
class Frozen:
    """A frozen graph, what it takes and gives, what was done to it, and in words what else was changed."""

    graph: Graph
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    report: FreezeReport
    notes: tuple[str, ...] = ()


def freeze(
    graph: PathLike | Graph | Model,
    checkpoint: PathLike | Checkpoint | None = None,
    *,
    outputs: Sequence[str] = (),
    inputs: Sequence[str] = (),
    rename: Mapping[str, str] | None = None,
    averages: bool = False,
) -> Graph:
    """Return the graph with every variable that the outputs need as a constant.

    What an input queue or an iterator delivers becomes a Placeholder of the same name.

    Args:
        graph: a graph, or the path of one; of a checkpoint with its `.meta` beside it that alone is enough.
        checkpoint: where the values come from.
        outputs: tensors the graph must still compute; none: its own outputs, where they are clear.
        inputs: tensors that will be fed, which become Placeholders; nothing behind them needs a value.
        rename: name or leading scope in the graph -> name or scope in the checkpoint.
        averages: take a variable's exponential moving average wherever the checkpoint has one.

    Raises:
        InputError: graph or checkpoint cannot be read.
        AmbiguousOutputsError: the outputs must be chosen.
        UnrestoredVariablesError: variables are missing or of another shape or dtype; all are listed.
    """
    return freeze_model(graph, checkpoint, outputs=outputs, inputs=inputs, rename=rename, averages=averages).graph


def freeze_model(
    graph: PathLike | Graph | Model,
    checkpoint: PathLike | Checkpoint | None = None,
    *,
    outputs: Sequence[str] = (),
    inputs: Sequence[str] = (),
    rename: Mapping[str, str] | None = None,
    averages: bool = False,
) -> Frozen:
    """Freeze as `freeze` does, and say what was done."""
    model = open_graph(graph)
    whole = model_graph(model)
    refs = choose_outputs(model, outputs)
    if checkpoint is None and model.format in keras.FORMATS:  # Keras's variables are constants already
        values = keras.no_variables(model)
    else:
        values = _checkpoint(model, checkpoint)
    feeds = [parse_shaped(text)[0] for text in inputs]
    if not feeds:
        found = find_inputs(whole, TensorTypes(whole), refs)
        feeds = [end.ref for end in found if end.kind in _PIPELINES and end.dtype is not None]
    frozen, report = fold_variables(
        whole, values, refs, saver=model.saver, rename=rename, averages=averages, feeds=feeds
    )
    if model.format in keras.FORMATS:
        report = replace(report, restored=keras.restored_by(model))
    elif values is model.checkpoint and model.layers:  # their weights became constants as the graph was built
        restored = {name: name for name in values.variables if name in frozen}
        report = replace(report, restored=restored, unused=tuple(n for n in report.unused if n not in restored))
    taken, given = ends_of(frozen, refs)
    return Frozen(frozen, taken, given, report, keras.changes(model))


def ends_of(graph: Graph, outputs: Sequence[TensorRef]) -> tuple[tuple[TensorSpec, ...], tuple[TensorSpec, ...]]:
    """Return the inputs and the given outputs of a graph, with dtype and shape."""
    types = TensorTypes(graph)
    return (
        tuple(TensorSpec(e.ref, e.dtype, e.shape) for e in inputs_of(graph, types)),
        tuple(TensorSpec(r, types.type_of(r).dtype, types.type_of(r).shape) for r in outputs),
    )


def _checkpoint(model: Model, given: PathLike | Checkpoint | None) -> Checkpoint:
    if given is None:
        if model.checkpoint is None:
            raise UsageError(
                f"{model.path or 'the graph'} has no checkpoint beside it",
                hint="name it: tfinspect freeze CKPT --graph GRAPH -o OUT.pb",
            )
        return model.checkpoint
    if isinstance(given, (str, os.PathLike)):
        return formats.read_checkpoint(given)
    return given


def freeze_file(
    checkpoint: PathLike,
    output: PathLike,
    *,
    graph: PathLike | None = None,
    outputs: Sequence[str] = (),
    inputs: Sequence[str] = (),
    rename: Mapping[str, str] | None = None,
    averages: bool = False,
    force: bool = False,
    dry_run: bool = False,
) -> Frozen:
    """Freeze a checkpoint and write the graph.

    Args:
        checkpoint: prefix, `.index`, `.meta`, V1 file or folder.
        output: the `.pb` to write.
        graph: the graph, where the checkpoint has no `.meta` beside it or another one is meant.
        outputs: as `freeze`.
        inputs: as `freeze`.
        rename: as `freeze`.
        averages: as `freeze`.
        force: replace `output` if it exists.
        dry_run: do everything but write.

    Raises:
        WrongKindError: the first argument is a graph that holds no variables to fill.
        LimitError: the graph would be 2 GiB or more; said before any weight is read.
        OutputExistsError: `output` exists and `force` is not set.
    """
    from tfinspect.formats import _atomic

    if not dry_run:
        _atomic.ensure_absent(output, force=force)
    if graph is None:
        model = open_graph(checkpoint)
        if model.checkpoint is None and _is_whole(model) and model.format not in keras.FORMATS:
            model = replace(model, checkpoint=_no_values(model))
        if model.checkpoint is None and model.format not in keras.FORMATS:
            raise _nothing_to_freeze(model, os.fspath(checkpoint), os.fspath(output))
        frozen = freeze_model(model, outputs=outputs, inputs=inputs, rename=rename, averages=averages)
    else:
        frozen = freeze_model(graph, checkpoint, outputs=outputs, inputs=inputs, rename=rename, averages=averages)
    if not dry_run:
        with _way_out(checkpoint if graph is None else None):
            formats.write_graph(frozen.graph, output, force=force)
    return frozen


@contextlib.contextmanager
def _way_out(source: PathLike | None) -> Iterator[None]:
    """Where one file cannot hold the graph, say what can, in a command that works as typed."""
    try:
        yield
    except LimitError as error:
        if source is not None:
            name = shlex.quote(os.fspath(source))
            error.hint = f"keep the weights in files of their own: tfinspect export {name} --onnx, or --saved-model"
        raise


def _is_whole(model: Model) -> bool:
    """Whether it is a SavedModel without variables; what its signature computes can be taken out all the same."""
    return model.format == "saved_model" and not any(node.op in VARIABLES for node in model.graph or ())


def _no_values(model: Model) -> Checkpoint:
    """Return the checkpoint of a SavedModel without variables: an empty one."""
    from tfinspect.ir.checkpoint import Checkpoint

    def none(name: str) -> Tensor:
        raise VariableNotFoundError(f"{model.path} has no variables", name=name)

    return Checkpoint(model.path, model.format, {}, none)


def _nothing_to_freeze(model: Model, path: str, output: str) -> WrongKindError:
    name = shlex.quote(path)
    if not any(node.op in VARIABLES for node in model.graph or ()):
        return WrongKindError(
            f"{path} is frozen already: it has no variables", hint=f"tfinspect info {name}", evidence={"path": path}
        )
    return WrongKindError(
        f"{path} is a graph and no checkpoint stands beside it",
        hint=f"name its checkpoint: tfinspect freeze CHECKPOINT --graph {name} -o {shlex.quote(output)}",
        evidence={"path": path},
    )
