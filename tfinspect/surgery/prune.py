"""Keep what the outputs need, and put placeholders where values will be fed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tfinspect.errors import InvalidGraphError, OutputIndexError, UsageError
from tfinspect.ir.attrs import AttrList, FuncRef
from tfinspect.ir.graph import Graph, Node, placeholder
from tfinspect.ir.refs import TensorRef, split_input
from tfinspect.surgery._edges import drop_dangling, fresh_name, redirect, used_tensors
from tfinspect.surgery._op_outputs import OUTPUTS, VARIABLE
from tfinspect.surgery.ops import output_count
from tfinspect.surgery.shapes import TensorTypes

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence

    from tfinspect.ir.attrs import Attr
    from tfinspect.ir.dtypes import DType
    from tfinspect.ir.functions import Function
    from tfinspect.ir.shapes import Shape

_PLACEHOLDERS = frozenset({"Placeholder", "PlaceholderV2"})  # one with a default becomes one without when it is fed


def prune(
    graph: Graph,
    outputs: Sequence[TensorRef],
    feeds: Collection[TensorRef] = (),
    *,
    types: TensorTypes | None = None,
) -> Graph:
    """Return the graph without what the outputs do not need.

    Control inputs are followed as well, because TensorFlow runs what they name: they carry `tf.cond` and loop contexts,
    assertions and updates. Nodes keep their order and, unless something they referred to has gone, their identity.

    Args:
        graph: the graph.
        outputs: tensors (or, for an operation without outputs, its name with index 0) to keep.
        feeds: tensors whose values will come from outside. Nothing behind them is kept for their sake, and those that
            are no placeholders yet become placeholders of the dtype and shape they have, as
            `replace_with_placeholders` does it.
        types: dtypes and shapes of the graph, where they are at hand.

    Raises:
        NodeNotFoundError: an output or a feed is not in the graph.
        InvalidGraphError: a kept node has an input that is not in the graph.
        UsageError: the dtype of a feed cannot be told.
    """
    made = _types_of(graph, [ref for ref in feeds if check_ref(graph, ref).op not in _PLACEHOLDERS], types)
    nodes = needed(graph, outputs, feeds)
    kept = [node for node in graph.nodes if node.name in nodes]
    if made:
        pruned = graph.replace(nodes=kept)
        read = used_tensors(kept) | set(outputs)
        kept = list(replace_with_placeholders(pruned, {ref: kind for ref, kind in made.items() if ref in read}).nodes)
    kept = drop_dangling(kept)
    functions = reachable_functions(kept, graph.functions)
    if len(kept) == len(graph.nodes) and functions is graph.functions and all(map(_same, kept, graph.nodes)):
        return graph
    return graph.replace(nodes=kept, functions=functions)


def _types_of(
    graph: Graph, refs: Sequence[TensorRef], types: TensorTypes | None
) -> dict[TensorRef, tuple[DType, Shape]]:
    if not refs:
        return {}
    types = types or TensorTypes(graph)
    found: dict[TensorRef, tuple[DType, Shape]] = {}
    for ref in refs:
        kind = types.type_of(ref)
        if kind.dtype is None:
            raise UsageError(f"the dtype of `{ref}` cannot be told, so it cannot become an input")
        found[ref] = (kind.dtype, kind.shape)
    return found


def _same(a: Node, b: Node) -> bool:
    return a is b


def needed(graph: Graph, outputs: Sequence[TensorRef], feeds: Collection[TensorRef] = ()) -> set[str]:
    """Return the names of the nodes that the outputs need, feeds not looked past.

    Raises:
        NodeNotFoundError: an output is not in the graph.
        InvalidGraphError: a needed node has an input that is not in the graph.
    """
    fed = frozenset(feeds)
    fed_nodes = {ref.name for ref in fed}
    for ref in outputs:
        check_ref(graph, ref)
    table = graph.by_name
    found = {ref.name for ref in outputs if ref not in fed or table[ref.name].op in _PLACEHOLDERS}
    waiting = list(found)
    while waiting:
        node = table[waiting.pop()]
        if node.name in fed_nodes and node.op in _PLACEHOLDERS:
            continue
        for text in node.inputs:
            name, index, control = split_input(text)
            if name in found:
                continue
            if name not in table:
                raise InvalidGraphError(
                    f"node `{node.name}` takes `{name}`, which is not in the graph",
                    evidence={"node": node.name, "missing": name},
                )
            # waiting for a fed node means waiting for its placeholder, which has nothing behind it
            is_fed = name in fed_nodes if control else TensorRef(name, index) in fed
            if is_fed and table[name].op not in _PLACEHOLDERS:
                continue
            found.add(name)
            waiting.append(name)
    return found


def check_ref(graph: Graph, ref: TensorRef) -> Node:
    """Return the node a tensor comes from.

    Raises:
        NodeNotFoundError: the graph has no such node.
        OutputIndexError: the node's operation is known not to have that output.
    """
    node = graph.node(ref.name)
    count = max(output_count(node), len(OUTPUTS.get(node.op, "").split()))
    if ref.index >= count and not _may_have_more(graph, node, ref.index):
        raise OutputIndexError(
            f"node `{ref.name}` ({node.op}) has {count} output{'s' * (count > 1)}, so there is no `{ref}`",
            name=str(ref),
            known=[f"{ref.name}:{index}" for index in range(count)],
        )
    return node


def _may_have_more(graph: Graph, node: Node, index: int) -> bool:
    """Whether a node may have that output although its operation is not known for it: it is used, or nobody knows."""
    from tfinspect.surgery._shape_rules import RULES

    if node.op in VARIABLE or node.op not in (RULES.keys() | OUTPUTS.keys()):
        return True
    users = graph.consumers.get(node.name, ())
    return any((node.name, index, False) in map(split_input, user.inputs) for user in users)


def reachable_functions(nodes: Iterable[Node], functions: Mapping[str, Function]) -> Mapping[str, Function]:
    """Return the library functions that nodes call, directly or through one another.

    A function is called by a function attribute or by a node whose operation is its name. The mapping given comes back
    itself where all of it is needed.
    """
    if not functions:
        return functions
    found: set[str] = set()
    waiting: list[str] = []

    def visit(node: Node) -> None:
        for name in called_functions(node, functions):
            if name not in found:
                found.add(name)
                waiting.append(name)

    for node in nodes:
        visit(node)
    while waiting:
        for node in functions[waiting.pop()].body.nodes:
            visit(node)
    if len(found) == len(functions):
        return functions
    return {name: function for name, function in functions.items() if name in found}


def called_functions(node: Node, functions: Mapping[str, Function]) -> list[str]:
    """Return the library functions a node refers to, its own operation included."""
    names = [node.op]
    for attr in node.attrs.values():
        if attr.kind in ("func", "list"):
            names += _called(attr)
    return [name for name in names if name in functions]


def _called(attr: Attr) -> list[str]:
    names: list[str] = []
    waiting: list[Any] = [attr.value]
    while waiting:
        value = waiting.pop()
        if isinstance(value, AttrList):
            waiting.extend(value.values if value.kind == "func" else ())
        elif isinstance(value, FuncRef):
            names.append(value.name)
            waiting.extend(inner.value for inner in value.attrs.values() if inner.kind in ("func", "list"))
    return names


def placeholder_refs(graph: Graph, feeds: Collection[TensorRef]) -> dict[TensorRef, TensorRef]:
    """Return, for each tensor that will be fed, the tensor `replace_with_placeholders` puts in its place."""
    others = {ref.name for ref in used_tensors(graph.nodes) if ref not in feeds}
    taken = set(graph.by_name)
    refs: dict[TensorRef, TensorRef] = {}
    for ref in feeds:
        if ref.index == 0 and ref.name not in others:
            refs[ref] = ref
        else:
            refs[ref] = TensorRef(fresh_name(f"{ref.name}_{ref.index}", taken))
            taken.add(refs[ref].name)
    return refs


def replace_with_placeholders(graph: Graph, feeds: Mapping[TensorRef, tuple[DType, Shape]]) -> Graph:
    """Put a Placeholder in the place of each tensor that will be fed.

    The placeholder takes the node's name where the tensor is output 0 and no other output of the node is used, so that
    the tensor keeps its name; else it is named `node_0`, `node_1`... after the output, and consumers are redirected
    (`placeholder_refs` tells). What the tensors were computed from stays: prune afterwards.
    """
    refs = placeholder_refs(graph, feeds)
    in_place: dict[str, Node] = {}
    added: list[Node] = []
    for ref, (dtype, shape) in feeds.items():
        made = _placeholder_for(graph.by_name.get(ref.name), refs[ref].name, dtype, shape)
        if refs[ref] == ref:
            in_place[ref.name] = made
        else:
            added.append(made)
    moved = {old: new for old, new in refs.items() if old != new}
    nodes = [in_place.pop(node.name, node) for node in redirect(graph.nodes, moved)]
    return graph.replace(nodes=[*in_place.values(), *added, *nodes])


def _placeholder_for(node: Node | None, name: str, dtype: DType, shape: Shape) -> Node:
    if node is not None and node.op == "Placeholder" and node.name == name and node.dtype("dtype") == dtype:
        attr = node.attrs.get("shape")
        if attr is not None and attr.kind == "shape" and attr.value == shape:
            return node
    return placeholder(name, dtype, shape)
