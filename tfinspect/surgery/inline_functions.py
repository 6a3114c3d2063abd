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

from tfinspect.errors import LimitError, SurgeryError
from tfinspect.ir.attrs import Attr, AttrList
from tfinspect.ir.graph import Graph, Node
from tfinspect.ir.refs import TensorRef
from tfinspect.surgery._edges import as_input, drop_dangling, fresh_name, redirect, resolve
from tfinspect.surgery._op_outputs import OUTPUTS, VARIABLE
from tfinspect.surgery.prune import prune
from tfinspect.surgery.rename import prefix_node

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tfinspect.ir.functions import Function, FunctionBody

_CALLS = frozenset({"PartitionedCall", "StatefulPartitionedCall"})
_MAX_DEPTH = 64  # calls within calls; deeper ones are recursion, which a graph cannot inline


def inline_functions(graph: Graph, outputs: Sequence[TensorRef]) -> Graph:
    """Inline every call that the outputs need.

    Args:
        graph: the graph; comes back pruned to the outputs.
        outputs: tensors to keep, under their names.

    Raises:
        LimitError: calls are nested too deeply, as by a function that calls itself.
        SurgeryError: a body refers to an output that cannot be told, or to an attribute the call does not give.
        NodeNotFoundError: an output is not in the graph.
    """
    graph = prune(graph, outputs)
    for _ in range(_MAX_DEPTH):
        calls = {node.name: found for node in graph.nodes if (found := _called(graph, node)) is not None}
        if not calls:
            return graph
        graph = prune(_inline(graph, calls, {ref.name for ref in outputs}), outputs)
    raise LimitError(
        f"functions call one another more than {_MAX_DEPTH} deep, as `{next(iter(calls))}` does",
        evidence={"nodes": list(calls)[:20]},
    )


def _called(graph: Graph, node: Node) -> Function | None:
    if node.op in _CALLS:
        attr = node.attrs.get("f")
        return graph.functions.get(attr.value.name) if attr is not None and attr.kind == "func" else None
    return graph.functions.get(node.op)


def _inline(graph: Graph, calls: Mapping[str, Function], kept: set[str]) -> Graph:
    taken = set(graph.by_name)
    nodes: list[Node] = []
    moved: dict[TensorRef, TensorRef] = {}
    waits: dict[str, str | None] = {}
    for node in graph.nodes:
        function = calls.get(node.name)
        if function is None:
            nodes.append(node)
            continue
        body = _Body(node, function.body, taken)
        nodes += body.nodes
        results = body.results
        if node.name in kept:
            nodes.append(_kept(node, function.body, results))
        else:
            moved.update({TensorRef(node.name, k): ref for k, ref in enumerate(results)})
            waits[node.name] = resolve(results[0], moved).name if results else None
    return graph.replace(nodes=drop_dangling(redirect(nodes, moved, waits)))


def _kept(call: Node, body: FunctionBody, results: Sequence[TensorRef]) -> Node:
    types = call.listed("Tout", "type") or tuple(dtype for _, dtype in body.outputs)
    inputs = tuple(map(as_input, results))
    if len(results) == 1:
        return Node(call.name, "Identity", inputs, {"T": Attr.of(types[0])}, device=call.device)
    return Node(call.name, "IdentityN", inputs, {"T": Attr.of(AttrList("type", tuple(types)))}, device=call.device)


class _Body:
    """The nodes of one call, renamed and joined to the caller's tensors."""

    def __init__(self, call: Node, body: FunctionBody, taken: set[str]) -> None:
        self._call = call
        self._body = {node.name: node for node in body.nodes}
        self._args = dict(zip((name for name, _ in body.args), call.data_inputs, strict=True))
        self._names: dict[str, str] = {}
        for name in self._body:
            self._names[name] = fresh_name(f"{call.name}/{name}", taken)
            taken.add(self._names[name])
        self.nodes = [self._node(node) for node in body.nodes]
        self.results = [self._tensor(body.results[name]) for name, _ in body.outputs]

    def _node(self, node: Node) -> Node:
        inputs = [self._input(text) for text in node.inputs]
        if not node.inputs:
            inputs = [f"^{name}" for name in self._call.control_inputs]
        attrs = dict(node.attrs)
        for name, attr in node.attrs.items():
            if attr.kind == "placeholder":
                if attr.value not in self._call.attrs:
                    raise SurgeryError(
                        f"`{self._call.name}` does not give the attribute `{attr.value}` its function needs"
                    )
                attrs[name] = self._call.attrs[attr.value]
        renamed = prefix_node(node.replace(inputs=[], attrs=attrs), self._call.name, self._names)
        return Node(renamed.name, node.op, tuple(inputs), renamed.attrs, device=node.device or self._call.device)

    def _input(self, text: str) -> str:
        if not text.startswith("^"):
            return as_input(self._tensor(text))
        name = text[1:]
        return f"^{self._args[name].name}" if name in self._args else f"^{self._names[name]}"

    def _tensor(self, text: str) -> TensorRef:
        name, *rest = text.split(":")
        if name in self._args:
            return self._args[name]
        index = int(rest[-1]) if rest and rest[-1].isascii() and rest[-1].isdigit() else 0
        node = self._body[name]
        if node.op in VARIABLE:
            raise SurgeryError(f"cannot tell which output of `{name}` ({node.op}) `{text}` is")
        names = OUTPUTS.get(node.op, "").split()
        if len(rest) > 1 and rest[0] in names:
            index += names.index(rest[0])
        return TensorRef(self._names[name], index)
