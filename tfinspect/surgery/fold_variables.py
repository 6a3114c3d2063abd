"""Freezing: variables become constants that hold the checkpoint's values.

Done without running anything. What TensorFlow's own freezer gets wrong is done here as well: the `Variable` op of 2015
and reference-typed control flow (`tf.cond` around a variable) have plain forms, updates that only a control input asks
for are dropped, and an update on the way to an output is refused by name.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from tfinspect.errors import SurgeryError
from tfinspect.ir.graph import Graph, Node, const
from tfinspect.surgery._edges import drop_dangling
from tfinspect.surgery.drop_updates import drop_updates, refuse_updates
from tfinspect.surgery.handles import follow_handles, plain_read, true_like
from tfinspect.surgery.inline_functions import inline_functions
from tfinspect.surgery.modernize.reference_ops import plain_form
from tfinspect.surgery.plain_functions import CONTROL_FLOW, PlainFunctions
from tfinspect.surgery.prune import prune
from tfinspect.surgery.reconcile import VARIABLES, declared_shape, value_of, variable_keys
from tfinspect.surgery.restorable import check_restorable

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from tfinspect.ir.checkpoint import Checkpoint
    from tfinspect.ir.dtypes import DType
    from tfinspect.ir.model import Saver
    from tfinspect.ir.refs import TensorRef
    from tfinspect.ir.tensors import Tensor

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
    keys = variable_keys(graph, checkpoint, saver=saver, rename=rename, averages=averages)
    check_restorable(variables, keys, checkpoint)
    folded = {node.name: _constant(node, value_of(node, keys[node.name], checkpoint)) for node in variables}
    taken = set(kept.by_name)
    functions = PlainFunctions(kept.functions)
    nodes: list[Node] = []
    for node in kept.nodes:
        if node.op in VARIABLES:
            nodes += [folded[node.name]] if node.name in folded else []
        elif node.op == "IsVariableInitialized":
            nodes.append(true_like(node))
        elif node.op in CONTROL_FLOW:
            nodes.append(_plain_call(kept, node, handles, functions))
        else:
            plain = plain_read(node, handles, taken)
            nodes += plain_form(kept, node, taken) if plain is None else plain
    library = {**kept.functions, **functions.made()}
    frozen = prune(kept.replace(nodes=drop_dangling(nodes), functions=library), outputs)
    _refuse_variables(frozen)
    restored = {name: keys[name].name for name in folded}
    return frozen, FreezeReport(restored, updates, _unused(checkpoint, set(restored.values())))


def _plain_call(
    graph: Graph, node: Node, handles: Mapping[TensorRef, tuple[str, DType]], functions: PlainFunctions
) -> Node:
    """Return an If, Case or While that takes values instead of handles."""
    found = [handles.get(ref) for ref in node.data_inputs]
    if not any(found):
        return node
    carried = tuple(None if one is None else one[1] for one in found)
    return functions.call(node, carried, [None if one is None else declared_shape(graph.node(one[0])) for one in found])


def _refuse_variables(graph: Graph) -> None:
    """Check that no function that is still called makes a variable of its own."""
    for name, function in graph.functions.items():
        made = next((node for node in function.body.nodes if node.op in VARIABLES), None)
        if made is not None:
            raise SurgeryError(
                f"cannot freeze: the function `{name}` makes the variable `{made.name}` ({made.op}) itself",
                hint="choose outputs that do not need it with --outputs",
                evidence={"function": name, "node": made.name},
            )


def _constant(variable: Node, value: Tensor) -> Node:
    controls = [text for text in variable.inputs if text.startswith("^")]
    return const(variable.name, value).replace(inputs=controls, device=variable.device)


def _unused(checkpoint: Checkpoint, taken: Collection[str]) -> tuple[str, ...]:
    return tuple(n for n, info in checkpoint.variables.items() if info.role == "weight" and n not in taken)


def _read(graph: Graph, outputs: Sequence[TensorRef]) -> set[str]:
    """Return the nodes whose value matters: those that something other than an is-initialised test consumes."""
    consumed = {ref.name for node in graph.nodes if node.op not in _INITIALIZED for ref in node.data_inputs}
    return consumed | {ref.name for ref in outputs}
