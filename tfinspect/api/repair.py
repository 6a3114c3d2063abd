"""From a training graph to what it computes in inference: before its variables are folded in, and after."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from tfinspect.errors import SurgeryError, UsageError
from tfinspect.ir.refs import TensorRef, split_input
from tfinspect.surgery._edges import colocations
from tfinspect.surgery.batch_statistics import batch_dependent, shaped_from, uses_moving_statistics
from tfinspect.surgery.fold_switches import fold_switches
from tfinspect.surgery.inline_functions import inline_functions
from tfinspect.surgery.modernize.vocabulary import current_vocabulary
from tfinspect.surgery.moving_averages import without_updates
from tfinspect.surgery.ops import CODE_OPS, RANDOM, SWITCHES, VARIABLES
from tfinspect.surgery.partition_ends import plain_ends, plain_names
from tfinspect.surgery.phase import phase_flags
from tfinspect.surgery.pipelines import pipeline_ends
from tfinspect.surgery.prune import prune
from tfinspect.surgery.repairs import Refusal, Repair, summary
from tfinspect.surgery.set_values import parse_setting, set_values
from tfinspect.surgery.shapes import TensorTypes
from tfinspect.surgery.strip_checks import take_out_checks
from tfinspect.surgery.strip_dropout import take_out_dropout
from tfinspect.surgery.well_formed import check_nodes

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from tfinspect.ir.graph import Graph, Node
    from tfinspect.ir.model import Saver
    from tfinspect.surgery.moving_averages import Average

__all__ = [
    "Repair", "Repaired", "after_folding", "before_folding", "plain_whole", "random_nodes", "refuse", "summary",
    "unfit_for_inference", "with_plain_names",
]  # fmt: skip
_CONDITIONALS = SWITCHES | {"If", "StatelessIf", "Select", "SelectV2"}
_MOST_ROUNDS = 64  # conditionals within functions within conditionals


@dataclass(frozen=True, slots=True)
class Repaired:
    """A graph on its way to inference.

    Attributes:
        graph: as it is now.
        repairs: what was done.
        refusals: what could not be done, and must be.
        notes: what could not be done, in words.
        values: what the caller gave variables.
    """

    graph: Graph
    repairs: tuple[Repair, ...] = ()
    refusals: tuple[Refusal, ...] = ()
    notes: tuple[str, ...] = ()
    values: Mapping[str, Any] = field(default_factory=dict)


def before_folding(
    whole: Graph,
    outputs: Sequence[TensorRef],
    starts: Sequence[TensorRef],
    settings: Sequence[str],
    *,
    kept: Sequence[Average] = (),
    saver: Saver | None = None,
    initializers: Sequence[str] = (),
    keep_training: bool = False,
) -> Repaired:
    """Fix phase flags, end input pipelines in placeholders, fold conditionals, turn batch norms to moving statistics.

    Args:
        whole: the whole graph: what restores and updates its variables tells what belongs to what.
        outputs: tensors to keep.
        starts: tensors that will be fed; none: where input pipelines end.
        settings: `NAME=VALUE`, placeholders to fix and variables to fill.
        kept: the moving averages of the whole graph.
        saver: how the graph restores itself; the nodes it names are kept.
        initializers: nodes that run when the model is loaded, which are kept.
        keep_training: only fix what `settings` says and end pipelines.

    Returns:
        The graph with all that freezing asks of it: the outputs, the restore nodes and the variables.

    Raises:
        UsageError: a setting or a tensor is not there.
        InvalidGraphError: a node that is needed has an input that is not in the graph.
    """
    feeds = list(starts) or _typed(whole, pipeline_ends(whole, outputs))
    needed = prune(whole, outputs, feeds)
    roots = [*outputs, *_roots(whole, needed, saver, kept, initializers)]
    feeds = list(starts) or _typed(whole, pipeline_ends(whole, roots))
    chosen = _chosen(whole, feeds, settings)
    graph = prune(whole, roots, feeds)
    check_nodes(graph)
    repairs = [
        Repair("pipeline", name, f"{whole.by_name[ref.name].op} {ref}")
        for ref in ([] if starts else feeds)
        if (name := _placeholder(graph, ref)) is not None
    ]
    values: dict[TensorRef, Any] = {}
    variables: dict[str, Any] = {}
    for ref, value in chosen.items():
        if whole.by_name[ref.name].op in VARIABLES:
            variables[ref.name] = value
        elif ref.name in graph:
            values[ref] = value
            repairs.append(Repair("phase-flag", str(ref), f"= {value}, as told"))
    if not keep_training:
        for flag in phase_flags(needed, TensorTypes(needed)):
            if flag.ref not in chosen and flag.ref not in feeds:
                values[flag.ref] = flag.value
                repairs.append(Repair("phase-flag", str(flag.ref), f"= {flag.value}, {flag.why}"))
    graph, folded = _folded(set_values(graph, values))
    repairs += folded
    if not keep_training:
        graph, normed = uses_moving_statistics(graph, outputs, kept, TensorTypes(graph))
        repairs += normed
        graph, waited = without_updates(graph, kept)
        repairs += [Repair("update", *each) for each in waited if each[0] in needed]
    return Repaired(graph, tuple(repairs), values=variables)


def _placeholder(graph: Graph, fed: TensorRef) -> str | None:
    """Return the name of the placeholder that `prune` put in the place of a tensor."""
    names = (fed.name, f"{fed.name}_{fed.index}")
    return next((name for name in names if name in graph and graph.by_name[name].op == "Placeholder"), None)


def _typed(graph: Graph, refs: Sequence[TensorRef]) -> list[TensorRef]:
    if not refs:
        return []
    types = TensorTypes(graph)
    return [ref for ref in refs if types.type_of(ref).dtype is not None]


def _chosen(whole: Graph, feeds: Sequence[TensorRef], settings: Sequence[str]) -> dict[TensorRef, Any]:
    chosen = dict(parse_setting(text, whole) for text in settings)
    for ref in chosen:
        if ref in feeds:
            raise UsageError(f"`{ref}` is given both as an input and as a setting")
    return chosen


def _roots(
    whole: Graph, needed: Graph, saver: Saver | None, kept: Iterable[Average], initializers: Iterable[str]
) -> list[TensorRef]:
    """Return what is kept besides the outputs.

    That is the nodes which restore and initialise, and averages of what the outputs are computed from.
    """
    roots = [] if saver is None else [TensorRef(split_input(saver.restore_op)[0])]
    roots += map(TensorRef, initializers)
    for average in kept:
        if any(ref.name in needed for ref in shaped_from(whole, average.value)):
            roots += [TensorRef(average.variable), average.value]
    return [ref for ref in dict.fromkeys(roots) if ref.name in whole]


def _folded(graph: Graph) -> tuple[Graph, list[Repair]]:
    """Fold the conditionals that can only go one way now."""
    done = fold_switches(graph)
    if done is graph:
        return graph, []
    return done, [
        Repair("dead-branch", node.name, node.op)
        for node in graph.nodes
        if node.op in _CONDITIONALS and node.name in done and done.by_name[node.name].op != node.op
    ]


def after_folding(graph: Graph, outputs: Sequence[TensorRef], whole: Graph, *, keep_training: bool = False) -> Repaired:
    """Take out dropout and checks, bring ops and attributes to the current vocabulary, and unpin nodes.

    Args:
        graph: a frozen graph.
        outputs: tensors to keep.
        whole: the graph it was made of.
        keep_training: only what no importer would take is changed.

    Returns:
        The graph; refusals name what still normalises by the batch, notes the ops that nothing knows any more.
    """
    repairs: list[Repair] = []
    refusals: list[Refusal] = []
    if not keep_training:
        graph, folded = _conditionals(graph, outputs)
        repairs += folded
        graph, dropped = take_out_dropout(graph, outputs)
        repairs += [Repair("dropout", name) for name in dropped]
        graph, checks = take_out_checks(graph, keep={ref.name for ref in outputs})
        repairs += [Repair("check", node.name, node.op) for node in checks]
        graph = prune(graph, outputs)
    graph, changed, unknown = current_vocabulary(graph)
    graph = prune(graph, outputs)
    repairs += changed
    if not keep_training:
        refusals += unfit_for_inference(graph)
        pinned = [node.name for node in graph.nodes if node.device]
        repairs += [Repair("device", name, whole.by_name[name].device if name in whole else "") for name in pinned]
        if pinned:
            graph = graph.replace(nodes=[node.replace(device="") if node.device else node for node in graph.nodes])
    repairs += [Repair("colocation", node.name) for node in graph.nodes if _lost_colocation(whole, node)]
    return Repaired(graph, tuple(repairs), tuple(refusals), tuple(unknown))


def unfit_for_inference(graph: Graph) -> list[Refusal]:
    """Return what of a graph that was pruned to its outputs cannot work in inference, whatever its weights are."""
    code = [
        Refusal("op", node.name, f"`{node.name}` ({node.op}) runs code that is not in the file")
        for node in graph.nodes
        if node.op in CODE_OPS
    ]
    return [*batch_dependent(graph, TensorTypes(graph)), *code]


def _lost_colocation(whole: Graph, node: Node) -> bool:
    before = whole.by_name.get(node.name)
    return before is not None and before.op == node.op and len(colocations(before)) > len(colocations(node))


def _conditionals(graph: Graph, outputs: Sequence[TensorRef]) -> tuple[Graph, list[Repair]]:
    """Fold what functions brought in, until nothing is left to fold."""
    repairs: list[Repair] = []
    for _ in range(_MOST_ROUNDS):
        done, found = _folded(graph)
        if done is graph:
            break
        repairs += found
        graph = inline_functions(done, outputs)
    return graph, repairs


def plain_whole(graph: Graph) -> tuple[Graph, list[Repair]]:
    """Return the whole graph with the ends of a partition made plain nodes; see `partition_ends`."""
    return plain_ends(graph)


def with_plain_names(graph: Graph, outputs: Sequence[TensorRef]) -> tuple[Graph, list[TensorRef], Mapping[str, str]]:
    """Return the graph and its outputs under names that importers take, and the new names by old."""
    graph, renamed = plain_names(graph)
    return graph, [TensorRef(renamed.get(ref.name, ref.name), ref.index) for ref in outputs], renamed


def random_nodes(graph: Graph) -> list[str]:
    """Return the nodes of a frozen graph that draw random numbers."""
    return [node.name for node in graph.nodes if node.op in RANDOM]


def refuse(refusals: Sequence[Refusal]) -> None:
    """Raise one error that names all refusals.

    Raises:
        SurgeryError: there is one.
    """
    if not refusals:
        return
    raise SurgeryError(
        refusals[0].reason if len(refusals) == 1 else f"{len(refusals):,} nodes cannot be made to work in inference",
        details=[refusal.reason for refusal in refusals[:20]] if len(refusals) > 1 else [],
        hint=f"feed what it gives with --inputs {refusals[0].node}, or keep it as it is with --keep-training"
        if refusals[0].what == "op"
        else "keep what training does with --keep-training, or name outputs that need less with --outputs",
        evidence={"refused": [{"what": r.what, "node": r.node, "reason": r.reason} for r in refusals]},
    )
