"""Freezing: variables become constants that hold the checkpoint's values.

Done without running anything. What TensorFlow's own freezer gets wrong is done here as well: the `Variable` op of 2015
and reference-typed control flow (`tf.cond` around a variable) have plain forms, updates that only a control input asks
for are dropped, and an update on the way to an output is refused by name.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from tfinspect.ir.graph import Graph, Node, const
from tfinspect.surgery._edges import drop_dangling
from tfinspect.surgery.drop_updates import drop_updates, refuse_updates
from tfinspect.surgery.handles import follow_handles, plain_read, true_like
from tfinspect.surgery.inline_functions import inline_functions
from tfinspect.surgery.modernize.reference_ops import plain_form
from tfinspect.surgery.prune import prune
from tfinspect.surgery.reconcile import VARIABLES, value_of, variable_keys
from tfinspect.surgery.restorable import check_restorable

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from tfinspect.ir.checkpoint import Checkpoint
    from tfinspect.ir.model import Saver
    from tfinspect.ir.refs import TensorRef
    from tfinspect.ir.tensors import Tensor
    from tfinspect.surgery.reconcile import Key

_INITIALIZED = frozenset({"IsVariableInitialized", "VarIsInitializedOp", "DisableCopyOnRead"})


@dataclass(frozen=True, slots=True)
class FreezeReport:
    """What freezing did.

    Attributes:
        restored: checkpoint key by variable node.
        updates: control inputs to state updates that were dropped, as (node, update).
        unused: checkpoint keys of weights that no kept variable takes.
    """

    restored: Mapping[str, str]
    updates: tuple[tuple[str, str], ...]
    unused: tuple[str, ...]


def fold_variables(
    graph: Graph,
    checkpoint: Checkpoint,
    outputs: Sequence[TensorRef],
    *,
    saver: Saver | None = None,
    rename: Mapping[str, str] | None = None,
    averages: bool = False,
    feeds: Collection[TensorRef] = (),
    keys: Mapping[str, Key] | None = None,
) -> tuple[Graph, FreezeReport]:
    """Freeze a graph for some outputs.

    Args:
        graph: the whole graph, restore nodes included: they tell which key belongs to which variable.
        checkpoint: the values; none is read here.
        outputs: tensors to keep.
        saver: how the graph restores itself; without it variables are looked up by name.
        rename: name or leading scope in the graph -> name or scope in the checkpoint.
        averages: take a variable's exponential moving average wherever the checkpoint has one.
        feeds: tensors that will be fed, such as what a queue delivers; nothing behind them needs a value.
        keys: the checkpoint key of each variable, where it is known already.

    Raises:
        UnrestoredVariablesError: variables are missing, or held in another shape or dtype; all are listed.
        SurgeryError: an output depends on an update of a variable, or a handle goes where it cannot be followed.
        NodeNotFoundError: an output is not in the graph.
    """
    kept, updates = drop_updates(inline_functions(prune(graph, outputs, feeds), outputs), outputs)
    kept = prune(kept, outputs)
    refuse_updates(kept, outputs)
    read = _read(kept, outputs)
    variables = [node for node in kept.nodes if node.op in VARIABLES and node.name in read]
    handles = follow_handles(kept)
    if keys is None:
        keys = variable_keys(graph, checkpoint, saver=saver, rename=rename, averages=averages)
    check_restorable(variables, keys, checkpoint)
    folded = {node.name: _constant(node, value_of(node, keys[node.name], checkpoint)) for node in variables}
    taken = set(kept.by_name)
    nodes: list[Node] = []
    for node in kept.nodes:
        if node.op in VARIABLES:
            nodes += [folded[node.name]] if node.name in folded else []
        elif node.op == "IsVariableInitialized":
            nodes.append(true_like(node))
        else:
            plain = plain_read(node, handles, taken)
            nodes += plain_form(kept, node, taken) if plain is None else plain
    frozen = prune(kept.replace(nodes=drop_dangling(nodes)), outputs)
    restored = {name: keys[name].name for name in folded}
    return frozen, FreezeReport(restored, updates, _unused(checkpoint, set(restored.values())))


def _constant(variable: Node, value: Tensor) -> Node:
    controls = [text for text in variable.inputs if text.startswith("^")]
    return const(variable.name, value).replace(inputs=controls, device=variable.device)


def _unused(checkpoint: Checkpoint, taken: Collection[str]) -> tuple[str, ...]:
    return tuple(n for n, info in checkpoint.variables.items() if info.role == "weight" and n not in taken)


def _read(graph: Graph, outputs: Sequence[TensorRef]) -> set[str]:
    """Return the nodes whose value matters: those that something other than an is-initialised test consumes."""
    consumed = {ref.name for node in graph.nodes if node.op not in _INITIALIZED for ref in node.data_inputs}
    return consumed | {ref.name for ref in outputs}
