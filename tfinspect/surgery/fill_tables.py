"""Lookup tables: what fills them at load goes along, so that nothing has to be run before a frozen graph.

1. Table ops of TensorFlow 1.0 take the form of those that replaced them (`HashTable` -> `HashTableV2`).
2. Behind each table that an output needs, an Identity `TABLE/filled` waits for the node that fills the table, and what
   took the table takes that. Filling a full table again changes nothing, so this holds for every run.
3. A table that changes (`MutableHashTable`) is filled with what the checkpoint holds of it.
4. A table, or another thing of that kind, that nothing in the model fills is refused by name.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from tfinspect.errors import SurgeryError
from tfinspect.ir.attrs import Attr
from tfinspect.ir.dtypes import DType
from tfinspect.ir.graph import Graph, Node, const
from tfinspect.ir.refs import TensorRef
from tfinspect.surgery._bodies import FlatBodies, bound_inputs, called, canonical
from tfinspect.surgery._edges import IDENTITIES, behind_identities, fresh_name, redirect
from tfinspect.surgery.prune import needed
from tfinspect.surgery.reconcile import restored, restored_in_body

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping, Sequence

    from tfinspect.ir.checkpoint import Checkpoint
    from tfinspect.surgery.reconcile import Key

_NEWER: Final = {
    name: f"{name}V2"
    for name in (
        "HashTable", "MutableHashTable", "MutableHashTableOfTensors", "MutableDenseHashTable", "InitializeTable",
        "InitializeTableFromTextFile", "LookupTableExport", "LookupTableFind", "LookupTableImport", "LookupTableInsert",
        "LookupTableSize",
    )
}  # fmt: skip
TABLES: Final = frozenset({"HashTableV2", *(new for new in _NEWER.values() if new.startswith("Mutable"))})
FILLS: Final = frozenset({"InitializeTableV2", "InitializeTableFromTextFileV2", "LookupTableImportV2"})
_ANONYMOUS = frozenset({"AnonymousHashTable", "AnonymousMutableHashTable", "AnonymousMutableHashTableOfTensors",
                        "AnonymousMutableDenseHashTable"})  # fmt: skip
# endings of the names of ops that make a thing which only an op of its own kind fills, from files or from a checkpoint
_OTHERS = ("CreateModelResource", "EnsembleResourceHandleOp", "StreamResourceHandleOp", "TreeVariable")


@dataclass(frozen=True, slots=True)
class _Filler:
    """What fills a table.

    Attributes:
        node: to wait for; empty where the checkpoint holds the contents.
        keys: key in the checkpoint.
        values: likewise.
        types: dtypes of keys and values.
    """

    node: str
    keys: Key | None = None
    values: Key | None = None


def fill_tables(
    graph: Graph, checkpoint: Checkpoint, outputs: Sequence[TensorRef], feeds: Collection[TensorRef] = ()
) -> tuple[Graph, dict[str, str]]:
    """Make tables wait for what fills them.

    Args:
        graph: the whole graph: what fills a table at load is not behind the outputs.
        checkpoint: holds the contents of tables that change.
        outputs: only tables that these need.
        feeds: nothing behind these is needed.

    Returns:
        The graph, and for each table the node that fills it.

    Raises:
        SurgeryError: nothing fills a table, as far as can be told.
        NodeNotFoundError: an output is not in the graph.
    """
    names = needed(graph, outputs, feeds)
    if not any(_is_table(node) for node in graph.nodes if node.name in names):
        return graph, {}
    graph = _modern(graph)
    bodies = FlatBodies(graph.functions)
    taken = set(graph.by_name)
    moved: dict[TensorRef, TensorRef] = {}
    added: list[Node] = []
    filled: dict[str, str] = {}
    for node in graph.nodes:
        if node.name not in names or node.op not in TABLES:
            continue
        found = _filler(graph, node, bodies, names, checkpoint)
        if found is None:
            continue  # whether it is in the way is known once functions are replaced by their bodies
        name = found.node
        if found.keys is not None and found.values is not None:
            nodes = _imported(node, found.keys, found.values, checkpoint, taken)
            added += nodes
            name = nodes[-1].name
        ready = fresh_name(f"{node.name}/filled", taken)
        taken.add(ready)
        added.append(Node(ready, "Identity", (node.name, f"^{name}"), {"T": Attr.of(DType.RESOURCE)}))
        moved[TensorRef(node.name)] = TensorRef(ready)
        filled[node.name] = name
    nodes = redirect([node for node in graph.nodes if node.name in names], moved)
    kept = {node.name: node for node in nodes if node.op not in FILLS}
    return graph.replace(nodes=[*(kept.get(node.name, node) for node in graph.nodes), *added]), filled


def filling(graph: Graph) -> list[str]:
    """Return the names of the nodes that fill tables, of any version; functions are not looked into."""
    return [node.name for node in graph.nodes if _NEWER.get(node.op, node.op) in FILLS]


def refuse_empty_tables(graph: Graph) -> None:
    """Check that each table of a pruned graph without calls is filled.

    Raises:
        SurgeryError: one is not, or there is another thing that only loading the model fills.
    """
    filled = {behind_identities(graph, node.data_inputs[0]).name for node in graph.nodes if node.op in FILLS}
    for node in graph.nodes:
        if node.op in TABLES | _ANONYMOUS and node.name not in filled:
            why = "nothing in the model says what it holds"
        elif node.op.endswith(_OTHERS):
            why = "it is filled from files when the model is loaded, which a graph alone cannot do"
        else:
            continue
        users = [user.name for user in graph.consumers.get(node.name, ())]
        raise SurgeryError(
            f"cannot freeze: the outputs need `{node.name}` ({node.op}), and {why}",
            details=[f"used by {user}" for user in users[:5]],
            hint="choose outputs that do not need it with --outputs",
            evidence={"node": node.name, "op": node.op, "users": users},
        )


def _is_table(node: Node) -> bool:
    return node.op in TABLES or _NEWER.get(node.op, "") in TABLES


def _modern(graph: Graph) -> Graph:
    """Give table ops of TensorFlow 1.0, whose handles are references to strings, the form with resource handles."""
    old = {node.name for node in graph.nodes if _NEWER.get(node.op, "") in TABLES}
    if not old:
        return graph
    nodes = []
    for node in graph.nodes:
        if node.op in _NEWER:
            nodes.append(node.replace(op=_NEWER[node.op]))
        elif node.op in IDENTITIES and behind_identities(graph, TensorRef(node.name)).name in old:
            nodes.append(node.replace(op="Identity", attrs={**node.attrs, "T": Attr.of(DType.RESOURCE)}))
        else:
            nodes.append(node)
    return graph.replace(nodes=nodes)


def _filler(
    graph: Graph, table: Node, bodies: FlatBodies, names: Collection[str], checkpoint: Checkpoint
) -> _Filler | None:
    """Return what fills a table; of what a checkpoint holds and an initialiser, the first where it can change."""
    found = list(_fillers(graph, table, bodies, names))
    restoring = [each for each in found if each.keys is not None and each.keys.name in checkpoint.variables]
    running = [each for each in found if each.keys is None]
    ordered = running + restoring if table.op == "HashTableV2" else restoring + running
    return next(iter(ordered), None)


def _fillers(graph: Graph, table: Node, bodies: FlatBodies, names: Collection[str]) -> Iterator[_Filler]:
    waiting = [table.name]
    seen = {table.name}
    while waiting:
        name = waiting.pop(0)
        for user in graph.consumers.get(name, ()):
            inputs = user.data_inputs
            if user.op in IDENTITIES and user.name not in seen:
                seen.add(user.name)
                waiting.append(user.name)
            elif user.op in FILLS and inputs and inputs[0].name == name:
                if user.op == "LookupTableImportV2" and (key := restored(graph, inputs[1])) is not None:
                    yield _Filler("", key, restored(graph, inputs[2]))
                else:
                    yield _Filler(user.name)
            elif (function := called(graph.functions, user)) is not None and user.name not in names:
                yield from _in_call(user, name, function, bodies)


def _in_call(call: Node, table: str, function: str, bodies: FlatBodies) -> Iterator[_Filler]:
    """Yield what a call fills a table with."""
    flat = bodies.get(function)
    handles = {arg for arg, text in bound_inputs(call, flat.function).items() if text in (table, f"{table}:0")}
    nodes = {node.name: node for node in flat.nodes}
    for node in flat.nodes:
        inputs = [text for text in node.inputs if not text.startswith("^")]
        if node.op not in FILLS or not inputs or _source(nodes, inputs[0]) not in handles:
            continue
        key = restored_in_body(nodes, inputs[1])
        yield _Filler(call.name) if key is None else _Filler("", key, restored_in_body(nodes, inputs[2]))


def _source(nodes: Mapping[str, Node], text: str) -> str:
    for _ in nodes:
        name = canonical(text).partition(":")[0]
        if name not in nodes or nodes[name].op not in IDENTITIES:
            break
        text = nodes[name].inputs[0]
    return canonical(text).partition(":")[0]


def _imported(table: Node, keys: Key, values: Key, checkpoint: Checkpoint, taken: set[str]) -> list[Node]:
    nodes = []
    for part, key in (("keys", keys), ("values", values)):
        name = fresh_name(f"{table.name}/{part}", taken)
        taken.add(name)
        nodes.append(const(name, checkpoint.tensor(key.name)))
    fill = fresh_name(f"{table.name}/fill", taken)
    taken.add(fill)
    types = [checkpoint.variable(key.name).dtype for key in (keys, values)]
    attrs = {"Tin": Attr.of(types[0]), "Tout": Attr.of(types[1])}
    return [*nodes, Node(fill, "LookupTableImportV2", (table.name, nodes[0].name, nodes[1].name), attrs)]
