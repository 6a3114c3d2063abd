"""Replace calls of library functions by the functions' nodes, so that variables can be followed into them.

1. PartitionedCall, StatefulPartitionedCall and nodes whose operation is a function (Defun of TF1) are inlined until
   none is left; the nodes of a body go under `call/`. If, While and Case stay calls.
2. Consumers of a call's outputs take the body's tensors; a call that is itself an output stays, an Identity or
   IdentityN of its name, so that `StatefulPartitionedCall:1` keeps its name.
3. What a body does besides computing its results (updates, assertions that its `control_ret` names) is not kept:
   this is for inference.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tfinspect.errors import SurgeryError
from tfinspect.ir.attrs import Attr, AttrList
from tfinspect.ir.graph import Graph, Node
from tfinspect.ir.refs import TensorRef, split_input
from tfinspect.surgery._bodies import FlatBodies, bound_inputs, called, split_text, substituted
from tfinspect.surgery._edges import as_input, drop_dangling, fresh_name, redirect, resolve
from tfinspect.surgery._op_outputs import first_output
from tfinspect.surgery.prune import prune
from tfinspect.surgery.rename import prefix_node

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tfinspect.ir.functions import Function
    from tfinspect.surgery._bodies import Flat


def inline_functions(graph: Graph, outputs: Sequence[TensorRef]) -> Graph:
    """Inline every call that the outputs need.

    Args:
        graph: the graph; comes back pruned to the outputs.
        outputs: tensors to keep, under their names.

    Raises:
        LimitError: a function calls itself, or the bodies would take too many nodes.
        InvalidGraphError: a call or a body is not well formed.
        SurgeryError: a body refers to an output that cannot be told, or to an attribute the call does not give.
        NodeNotFoundError: an output is not in the graph.
    """
    graph = prune(graph, outputs)
    calls = {node.name: found for node in graph.nodes if (found := called(graph.functions, node)) is not None}
    if not calls:
        return graph
    return prune(_inline(graph, calls, {ref.name for ref in outputs}), outputs)


def _inline(graph: Graph, calls: Mapping[str, str], kept: set[str]) -> Graph:
    bodies = FlatBodies(graph.functions)
    taken = set(graph.by_name)
    nodes: list[Node] = []
    moved: dict[TensorRef, TensorRef] = {}
    waits: dict[str, str | None] = {}
    for node in graph.nodes:
        name = calls.get(node.name)
        if name is None:
            nodes.append(node)
            continue
        flat = bodies.get(name)
        bodies.spend(len(flat.nodes), name)
        body = _Body(node, flat, taken)
        nodes += body.nodes
        results = body.results
        if node.name in kept:
            nodes.append(_kept(node, flat.function, results))
        else:
            moved.update({TensorRef(node.name, k): ref for k, ref in enumerate(results)})
            waits[node.name] = resolve(results[0], moved).name if results else None
    return graph.replace(nodes=drop_dangling(redirect(nodes, moved, waits)))


def _kept(call: Node, function: Function, results: Sequence[TensorRef]) -> Node:
    types = call.listed("Tout", "type") or tuple(dtype for _, dtype in function.body.outputs)
    if len(types) != len(results) or None in types:
        raise SurgeryError(f"the types of the {len(results)} outputs of `{call.name}` cannot be told")
    inputs = tuple(map(as_input, results))
    if not results:
        return Node(call.name, "NoOp", (), device=call.device)
    if len(results) == 1:
        return Node(call.name, "Identity", inputs, {"T": Attr.of(types[0])}, device=call.device)
    return Node(call.name, "IdentityN", inputs, {"T": Attr.of(AttrList("type", tuple(types)))}, device=call.device)


class _Body:
    """The nodes of one call, renamed and joined to the caller's tensors."""

    def __init__(self, call: Node, flat: Flat, taken: set[str]) -> None:
        self._call = call
        self._function = flat.function.name
        self._body = {node.name: node for node in flat.nodes}
        self._args = {name: _ref(text) for name, text in bound_inputs(call, flat.function).items()}
        self._names: dict[str, str] = {}
        for name in self._body:
            self._names[name] = fresh_name(f"{call.name}/{name}", taken)
            taken.add(self._names[name])
        self.nodes = [self._node(node) for node in flat.nodes]
        self.results = [self._tensor(text) for text in flat.results]

    def _node(self, node: Node) -> Node:
        inputs = [self._input(text) for text in node.inputs]
        if not node.inputs:
            inputs = [f"^{name}" for name in self._call.control_inputs]
        attrs = substituted(node, self._call.attrs, self._call.name)
        renamed = prefix_node(node.replace(inputs=[], attrs=attrs), self._call.name, self._names)
        return Node(renamed.name, node.op, tuple(inputs), renamed.attrs, device=node.device or self._call.device)

    def _input(self, text: str) -> str:
        if not text.startswith("^"):
            return as_input(self._tensor(text))
        name = text[1:]
        return f"^{self._args[name].name}" if name in self._args else f"^{self._names[name]}"

    def _tensor(self, text: str) -> TensorRef:
        name, output, index = split_text(text)
        if name in self._args:
            return self._args[name]
        node = self._body[name]
        first = first_output(node, output) if output else 0
        if first is None:
            raise SurgeryError(
                f"in the function `{self._function}`, which output of `{name}` ({node.op}) `{text}` is cannot be told"
            )
        return TensorRef(self._names[name], first + index)


def _ref(text: str) -> TensorRef:
    name, index, _ = split_input(text)
    return TensorRef(name, index)
