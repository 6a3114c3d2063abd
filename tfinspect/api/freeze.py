"""Freezing: a graph and its checkpoint become one graph."""

from __future__ import annotations

import os
import shlex
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from tfinspect import formats
from tfinspect.api import keras, rebuild
from tfinspect.api.at_load import at_load, is_whole, no_values
from tfinspect.api.load import PathLike, open_graph
from tfinspect.api.match_variables import match_variables
from tfinspect.api.prepare import choose_outputs, inputs_of, model_graph
from tfinspect.api.repair import after_folding, before_folding, plain_whole, random_nodes, refuse, with_plain_names
from tfinspect.errors import (
    IncompleteCheckpointError,
    LimitError,
    SurgeryError,
    UsageError,
    WrongKindError,
)
from tfinspect.formats import graphdef
from tfinspect.ir.dtypes import DType
from tfinspect.ir.refs import parse_shaped
from tfinspect.ir.signature import TensorSpec
from tfinspect.surgery.fill_tables import filling
from tfinspect.surgery.fold_variables import fold_variables
from tfinspect.surgery.ops import VARIABLES
from tfinspect.surgery.repairs import Repair
from tfinspect.surgery.shapes import TensorTypes

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tfinspect.errors import TfinspectError
    from tfinspect.ir.checkpoint import Checkpoint
    from tfinspect.ir.graph import Graph
    from tfinspect.ir.model import Model
    from tfinspect.ir.refs import TensorRef
    from tfinspect.surgery.fold_variables import FreezeReport
    from tfinspect.surgery.reconciliation import Row


_TRIMMING = frozenset({"check", "device", "colocation"})  # no reason alone to write a frozen graph once more


@dataclass(frozen=True, slots=True)
class Frozen:
    """A frozen graph and how it came about.

    Attributes:
        graph: the graph.
        inputs: what it takes.
        outputs: what it gives.
        report: which values went where.
        notes: what else was changed or is worth knowing, in words.
        repairs: what was done to make it compute what it computes in inference.
        table: a row for each variable the outputs need, and for each weight of the checkpoint that nothing takes.
        averages: of each variable that took its moving average, the key, and how it was found: "graph" or "name".
    """

    graph: Graph
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    report: FreezeReport
    notes: tuple[str, ...] = ()
    repairs: tuple[Repair, ...] = ()
    table: tuple[Row, ...] = ()
    averages: Mapping[str, tuple[str, str]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Plan:
    """What freezing comes to.

    Attributes:
        table: a row for each variable the outputs need, and for each weight of the checkpoint that nothing takes.
        repairs: what was done as far as it went.
        frozen: the result, where nothing is in the way.
        error: else an account of all that is.
    """

    table: tuple[Row, ...]
    repairs: tuple[Repair, ...]
    frozen: Frozen | None = None
    error: TfinspectError | None = None

    def done(self) -> Frozen:
        """Return the result.

        Raises:
            TfinspectError: what is in the way.
        """
        if self.frozen is None:
            raise self.error or AssertionError("a plan has a result or an error")
        return self.frozen


@dataclass(frozen=True, slots=True)
class Options:
    """What the caller of `freeze` may choose; see there."""

    outputs: Sequence[str] = ()
    inputs: Sequence[str] = ()
    settings: Sequence[str] = ()
    rename: Mapping[str, str] = field(default_factory=dict)
    averages: bool = False
    keep_training: bool = False
    size: tuple[int, int] | None = None


def freeze(
    graph: PathLike | Graph | Model,
    checkpoint: PathLike | Checkpoint | None = None,
    *,
    outputs: Sequence[str] = (),
    inputs: Sequence[str] = (),
    settings: Sequence[str] = (),
    rename: Mapping[str, str] | None = None,
    averages: bool = False,
    keep_training: bool = False,
    size: tuple[int, int] | None = None,
) -> Graph:
    """Return the graph as it is in inference, with every variable that the outputs need as a constant.

    Flags of the training phase are set, dead branches and dropout go, batch norms use their moving statistics, and what
    an input pipeline delivers becomes a Placeholder of the same name.

    Args:
        graph: a graph, or the path of one; of a checkpoint with its `.meta` beside it that alone is enough, and of one
            without a graph where it is a network that is known.
        checkpoint: where the values come from.
        outputs: tensors the graph must still compute; none: its own outputs, where they are clear.
        inputs: tensors that will be fed, which become Placeholders; nothing behind them needs a value.
        settings: `NAME=VALUE`, placeholders to fix; flags of the training phase default to inference.
        rename: name, leading scope or pattern (`old/*`) in the graph -> what the checkpoint calls it.
        averages: take a variable's exponential moving average wherever the checkpoint has one.
        keep_training: leave flags, dropout, batch statistics and checks as they are.
        size: height and width of the images, where the graph of a known network is rebuilt.

    Raises:
        InputError: graph or checkpoint cannot be read.
        AmbiguousOutputsError: the outputs must be chosen.
        UnrestoredVariablesError: variables are missing or of another shape or dtype; all are listed.
        SurgeryError: something the outputs need cannot be frozen, or normalises by its batch and keeps no average.
    """
    options = Options(outputs, inputs, settings, rename or {}, averages, keep_training, size)
    return freeze_model(graph, checkpoint, options).graph


def freeze_model(
    graph: PathLike | Graph | Model, checkpoint: PathLike | Checkpoint | None = None, options: Options | None = None
) -> Frozen:
    """Freeze as `freeze` does, and say what was done."""
    return plan_model(graph, checkpoint, options).done()


def plan_model(
    graph: PathLike | Graph | Model, checkpoint: PathLike | Checkpoint | None = None, options: Options | None = None
) -> Plan:
    """Do all of `freeze`, and return what is in the way of it, if something is, instead of raising it.

    What makes no sense of itself is raised all the same: a file that cannot be read, a name that is not there.
    """
    options = options or Options()
    model = open_graph(graph, size=options.size)
    load = at_load(model)
    whole, repairs = plain_whole(model_graph(model))
    model = replace(model, graph=whole)
    outputs = choose_outputs(model, options.outputs)
    if checkpoint is None and model.checkpoint is None and is_whole(model):
        values = no_values(model)
    elif checkpoint is None and model.format in keras.FORMATS:  # Keras's variables are constants already
        values = keras.no_variables(model)
    else:
        values = _checkpoint(model, checkpoint)
    matched = match_variables(whole, values, saver=model.saver, rename=options.rename, averages=options.averages)
    ready = before_folding(
        whole,
        outputs,
        [parse_shaped(text)[0] for text in options.inputs],
        options.settings,
        kept=() if options.keep_training else matched.kept,
        saver=model.saver,
        initializers=[*load.initializers, *filling(whole)],
        keep_training=options.keep_training,
    )
    ledger = matched.ledger(ready.graph, outputs, ready.values)
    try:
        folded, report = fold_variables(ready.graph, ledger.checkpoint, outputs, keys=ledger.keys, load=load)
        ledger.check_readable(report.restored)
        done = after_folding(folded, outputs, whole, keep_training=options.keep_training)
        refuse(done.refusals)
    except (SurgeryError, LimitError, IncompleteCheckpointError) as error:
        return Plan(ledger.rows(), tuple(repairs) + ready.repairs, error=ledger.account(error, ready.graph, outputs))
    frozen, outputs, renamed = with_plain_names(done.graph, outputs)
    repairs += [r for r in ready.repairs if r.what != "pipeline" or r.node in frozen]
    repairs += [*(Repair("update", *update) for update in report.updates), *done.repairs]
    if model.format in keras.FORMATS:
        report = replace(report, restored=keras.restored_by(model))
    elif values is model.checkpoint and model.layers:  # their weights became constants as the graph was built
        restored = {name: name for name in values.variables if name in frozen}
        report = replace(report, restored=restored, unused=tuple(n for n in report.unused if n not in restored))
    taken, given = ends_of(frozen, outputs)
    notes = [*keras.changes(model), *rebuild.changes(model), *report.notes]
    notes += [*(f"`{old}` is now `{new}`" for old, new in renamed.items())]
    notes += [*ledger.notes(report.restored), *done.notes]
    drawing = random_nodes(frozen)
    if drawing and not options.keep_training:
        notes.append(f"the outputs still depend on random numbers, drawn by {_some(drawing)}")
    rows = ledger.rows(report.restored)
    frozen_model = Frozen(
        frozen, taken, given, report, tuple(notes), tuple(repairs), rows, ledger.averages(report.restored)
    )
    return Plan(rows, tuple(repairs), frozen_model)


def _some(names: Sequence[str]) -> str:
    shown = ", ".join(f"`{name}`" for name in names[:3])
    return shown if len(names) <= 3 else f"{shown} and {len(names) - 3:,} more"  # noqa: PLR2004 - as many as shown


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
    options: Options | None = None,
    force: bool = False,
) -> Frozen:
    """Freeze a checkpoint and write the graph.

    Args:
        checkpoint: prefix, `.index`, `.meta`, V1 file or folder; or a graph without variables that has something left
            to repair.
        output: the `.pb` to write.
        graph: the graph, where the checkpoint has no `.meta` beside it or another one is meant.
        options: as the arguments of `freeze`.
        force: replace `output` if it exists.

    Raises:
        WrongKindError: the first argument is a graph that holds no variables to fill, and nothing to repair.
        LimitError: the graph would be 2 GiB or more; said before any weight is read.
        OutputExistsError: `output` exists and `force` is not set.
    """
    from tfinspect.formats import _atomic

    _atomic.ensure_absent(output, force=force)
    frozen = plan_file(checkpoint, graph, options or Options(), output).done()
    formats.write_graph(frozen.graph, output, force=force)
    return frozen


def plan_file(checkpoint: PathLike, graph: PathLike | None, options: Options, output: PathLike = "OUT.pb") -> Plan:
    """Do all that `freeze_file` does before it writes, and return what is in the way instead of raising it.

    Raises:
        WrongKindError: the first argument is a graph that holds no variables to fill, and nothing to repair.
    """
    if graph is not None:
        return _within_limit(plan_model(graph, checkpoint, options))
    model = open_graph(checkpoint, size=options.size)
    if model.checkpoint is not None or model.format in keras.FORMATS:
        return _within_limit(plan_model(model, options=options), checkpoint)
    if model.graph is None or _has_variables(model):
        raise _nothing_to_freeze(model, os.fspath(checkpoint), os.fspath(output))
    plan = plan_model(replace(model, checkpoint=no_values(model)), options=options)
    if model.format != "saved_model" and plan.error is None and _TRIMMING.issuperset(r.what for r in plan.repairs):
        raise _nothing_to_freeze(model, os.fspath(checkpoint), os.fspath(output))
    return plan


def _within_limit(plan: Plan, source: PathLike | None = None) -> Plan:
    """Return the plan, or where one file cannot hold its graph what can, in a command that works as typed."""
    if plan.frozen is None:
        return plan
    try:
        graphdef.check_size(plan.frozen.graph)
    except LimitError as error:
        if source is not None:
            name = shlex.quote(os.fspath(source))
            error.hint = f"keep the weights in files of their own: tfinspect export {name} --onnx, or --saved-model"
        return Plan(plan.table, plan.repairs, error=error)
    return plan


def _has_variables(model: Model) -> bool:
    return any(
        node.op in VARIABLES or (node.op == "_Arg" and node.dtype("T") == DType.RESOURCE) for node in model.graph or ()
    )


def _nothing_to_freeze(model: Model, path: str, output: str) -> WrongKindError:
    name = shlex.quote(path)
    if not _has_variables(model):
        return WrongKindError(
            f"{path} is frozen already: it has no variables", hint=f"tfinspect info {name}", evidence={"path": path}
        )
    return WrongKindError(
        f"{path} is a graph and no checkpoint stands beside it",
        hint=f"name its checkpoint: tfinspect freeze CHECKPOINT --graph {name} -o {shlex.quote(output)}",
        evidence={"path": path},
    )
