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
from tfinspect.surgery.at_load import AtLoad, initial_value, initial_values
from tfinspect.surgery.drop_updates import drop_updates, is_update, refuse_updates
from tfinspect.surgery.embed_files import embed_files
from tfinspect.surgery.fill_tables import fill_tables, refuse_empty_tables
from tfinspect.surgery.handles import follow_handles, plain_read, true_like
from tfinspect.surgery.inline_functions import inline_functions
from tfinspect.surgery.modernize.reference_ops import plain_form
from tfinspect.surgery.object_paths import found_elsewhere
from tfinspect.surgery.plain_functions import CONTROL_FLOW, PlainFunctions
from tfinspect.surgery.prune import prune
from tfinspect.surgery.reconcile import VARIABLES, declared_shape, value_of, variable_keys
from tfinspect.surgery.restorable import check_restorable
from tfinspect.surgery.stale_reads import refuse_stale_reads

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from tfinspect.ir.checkpoint import Checkpoint
    from tfinspect.ir.dtypes import DType
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
        updates: control inputs to state updates that were dropped, as (node, update), and updates that functions make
            besides computing their results, as (function, update).
        unused: checkpoint keys of weights that no kept variable takes.
        notes: what was put in the graph besides, in words.
    """

    restored: Mapping[str, str]
    updates: tuple[tuple[str, str], ...]
    unused: tuple[str, ...]
    notes: tuple[str, ...] = ()


def fold_variables(
    graph: Graph,
    checkpoint: Checkpoint,
    outputs: Sequence[TensorRef],
    *,
    saver: Saver | None = None,
    feeds: Collection[TensorRef] = (),
    load: AtLoad | None = None,
    keys: Mapping[str, Key] | None = None,
) -> tuple[Graph, FreezeReport]:
    """Freeze a graph for some outputs.

    Args:
        graph: the whole graph, restore nodes included: they tell which key belongs to which variable.
        checkpoint: the values; none is read here.
        outputs: tensors to keep.
        saver: how the graph restores itself; without it variables are looked up by name.
        feeds: tensors that will be fed, such as what a queue delivers; nothing behind them needs a value.
        load: what loading the model does besides restoring it.
        keys: the checkpoint key of each variable, where it is known already.

    Raises:
        UnrestoredVariablesError: variables are missing, or held in another shape or dtype; all are listed.
        SurgeryError: an output depends on an update of a variable, a handle goes where it cannot be followed, or a
            table is not filled by anything in the model.
        InputError: an asset that the graph reads cannot be read.
        NodeNotFoundError: an output is not in the graph.
    """
    load = load or AtLoad()
    refuse_stale_reads(graph, outputs, feeds)
    graph, _ = fill_tables(graph, checkpoint, outputs, feeds)
    pruned = prune(graph, outputs, feeds)
    kept, updates = drop_updates(inline_functions(pruned, outputs), outputs)
    updates += _updates_in_functions(pruned, [update for _, update in updates])
    kept, notes = embed_files(prune(kept, outputs), load, outputs)
    refuse_updates(kept, outputs)
    refuse_empty_tables(kept)
    read = read_nodes(kept, outputs)
    variables = [node for node in kept.nodes if node.op in VARIABLES and node.name in read]
    if keys is None:
        keys = variable_keys(graph, checkpoint, saver=saver)
    keys = {**keys, **found_elsewhere(keys, variables, checkpoint.variables)}
    missing = {node.name for node in variables if keys[node.name].name not in checkpoint.variables}
    setting, initial = initial_values(graph, load, missing)
    check_restorable([node for node in variables if node.name not in initial], keys, checkpoint)
    values = {
        node.name: initial_value(node, initial[node.name])
        if node.name in initial
        else _constant(node, value_of(node, keys[node.name], checkpoint))
        for node in variables
    }
    plain = _plain(kept, values)
    if initial:
        added = [node for node in setting.nodes if node.name not in plain]
        plain, more = embed_files(prune(plain.replace(nodes=[*plain.nodes, *added]), outputs), load, outputs)
        notes += [*more, *(f"`{name}` is no weight: it has the value that loading gives it" for name in initial)]
    else:
        plain = prune(plain, outputs)
    _refuse_variables(plain)
    restored = {name: keys[name].name for name in values if name not in initial}
    return plain, FreezeReport(restored, updates, _unused(checkpoint, set(restored.values())), tuple(notes))


def _updates_in_functions(graph: Graph, known: Sequence[str]) -> tuple[tuple[str, str], ...]:
    """Return the updates that a run of the functions would make and a frozen graph does not, as (function, update)."""
    found = [(name, node) for name, each in graph.functions.items() for node in each.body.nodes if is_update(node)]
    return tuple((name, n.name) for name, n in found if not any(each.endswith(f"/{n.name}") for each in known))


def _plain(graph: Graph, values: Mapping[str, Node]) -> Graph:
    """Put values in the place of variables, and the plain form of what reads them in its place."""
    handles = follow_handles(graph)
    taken = set(graph.by_name)
    functions = PlainFunctions(graph.functions)
    nodes: list[Node] = []
    for node in graph.nodes:
        if node.op in VARIABLES:
            nodes += [values[node.name]] if node.name in values else []
        elif node.op == "IsVariableInitialized":
            nodes.append(true_like(node))
        elif node.op in CONTROL_FLOW:
            nodes.append(_plain_call(graph, node, handles, functions))
        else:
            plain = plain_read(node, handles, taken)
            nodes += plain_form(graph, node, taken) if plain is None else plain
    return graph.replace(nodes=drop_dangling(nodes), functions={**graph.functions, **functions.made()})


def _plain_call(
    graph: Graph, node: Node, handles: Mapping[TensorRef, tuple[str, DType]], functions: PlainFunctions
) -> Node:
    """Return an If, Case or While that takes values instead of handles."""
    found = [handles.get(ref) for ref in node.data_inputs]
    carried = tuple(None if one is None else one[1] for one in found)
    if not functions.concerns(node, carried):
        return node
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


def read_nodes(graph: Graph, outputs: Sequence[TensorRef]) -> set[str]:
    """Return the nodes whose value matters: those that something other than an is-initialised test consumes."""
    consumed = {ref.name for node in graph.nodes if node.op not in _INITIALIZED for ref in node.data_inputs}
    return consumed | {ref.name for ref in outputs}
