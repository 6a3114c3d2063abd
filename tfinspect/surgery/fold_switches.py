"""Conditionals whose predicate is constant: the branch taken stays, the other one goes.

1. A predicate is constant if it is a boolean Const, or computed from such by Identity, LogicalNot, LogicalAnd and
   LogicalOr, or a constant number that is cast to bool or compared with another.
2. The Switch becomes an Identity of its data, under its own name; consumers of the output taken read that.
3. Whatever consumes the other output, directly or not, is dead up to the next Merge, as TensorFlow's executor has it.
4. A Merge with one live input left becomes an Identity of it, under its own name; its second output, the index of the
   input, becomes a constant.
5. If and StatelessIf become calls of the branch taken.
6. Select between tensors of one shape becomes an Identity of the one that is taken.
"""

from __future__ import annotations

import operator
from typing import TYPE_CHECKING

from tfinspect.errors import SurgeryError
from tfinspect.ir.attrs import Attr
from tfinspect.ir.dtypes import DType
from tfinspect.ir.graph import MERGING_OPS, Graph, Node, const
from tfinspect.ir.refs import TensorRef
from tfinspect.ir.shapes import is_static
from tfinspect.ir.tensors import Tensor
from tfinspect.surgery._edges import as_input, drop_dangling, fresh_name, redirect
from tfinspect.surgery.scalars import scalar
from tfinspect.surgery.shapes import TensorTypes

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

_SWITCHES = frozenset({"Switch", "RefSwitch"})
_MERGES = frozenset({"Merge", "RefMerge"})
_SELECTS = frozenset({"Select", "SelectV2"})
_COMPARISONS: dict[str, Callable[[float, float], bool]] = {
    "Equal": operator.eq, "NotEqual": operator.ne, "Greater": operator.gt, "GreaterEqual": operator.ge,
    "Less": operator.lt, "LessEqual": operator.le,
}  # fmt: skip
_CALLS = {"If": "StatefulPartitionedCall", "StatelessIf": "PartitionedCall"}


def fold_switches(graph: Graph) -> Graph:
    """Remove conditionals that can only go one way.

    Raises:
        SurgeryError: a Merge of more than two inputs would have to keep its output of the input's index.
        InvalidGraphError: the graph has a cycle that is no loop.
    """
    if not any(node.op in _SWITCHES or node.op in _SELECTS or node.op in _CALLS for node in graph.nodes):
        return graph
    folding = _Folding(graph)
    folding.run()
    return folding.result()


class _Folding:
    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.truth: dict[TensorRef, bool] = {}
        self.dead: set[TensorRef] = set()
        self.dead_nodes: set[str] = set()
        self.replaced: dict[str, Node] = {}
        self.moved: dict[TensorRef, TensorRef] = {}
        self.added: list[Node] = []
        self.taken = set(graph.by_name)
        self.types: TensorTypes | None = None

    def run(self) -> None:
        for node in self.graph.topological():
            if node.op in _MERGES:
                self._merge(node)
            elif self._is_dead(node):
                self.dead_nodes.add(node.name)
            elif node.op in _SWITCHES:
                self._switch(node)
            elif node.op in _CALLS:
                self._call(node)
            elif node.op in _SELECTS:
                self._select(node)
            else:
                self._evaluate(node)

    def result(self) -> Graph:
        if not self.replaced:
            return self.graph
        nodes = [self.replaced.get(n.name, n) for n in self.graph.nodes if n.name not in self.dead_nodes]
        return self.graph.replace(nodes=drop_dangling(redirect([*self.added, *nodes], self.moved)))

    def _gone(self, ref: TensorRef) -> bool:
        return ref in self.dead or ref.name in self.dead_nodes

    def _is_dead(self, node: Node) -> bool:
        # a back edge is reached later; it is dead only if the loop is, and then its Merge says so
        return any(map(self._gone, node.data_inputs)) or any(name in self.dead_nodes for name in node.control_inputs)

    def _evaluate(self, node: Node) -> None:
        inputs = node.data_inputs
        out = TensorRef(node.name)
        if node.op == "Const" and node.dtype("dtype") == DType.BOOL:
            tensor = node.tensor()
            if tensor is not None and tensor.size == 1:
                self.truth[out] = bool(tensor.numpy().reshape(-1)[0])
        elif node.op in ("Identity", "LogicalNot") and inputs and inputs[0] in self.truth:
            self.truth[out] = self.truth[inputs[0]] != (node.op == "LogicalNot")
        elif node.op in ("LogicalAnd", "LogicalOr"):
            decisive = node.op == "LogicalOr"
            values = [self.truth.get(ref) for ref in inputs]
            if decisive in values:
                self.truth[out] = decisive
            elif None not in values:
                self.truth[out] = not decisive
        elif node.op == "ToBool" or (node.op == "Cast" and node.dtype("DstT") == DType.BOOL):
            number = scalar(self.graph, inputs[0])
            if number is not None:
                self.truth[out] = number != 0
        elif node.op in _COMPARISONS:
            numbers = [scalar(self.graph, ref) for ref in inputs]
            if len(numbers) == 2 and numbers[0] is not None and numbers[1] is not None:  # noqa: PLR2004 - two operands
                self.truth[out] = _COMPARISONS[node.op](numbers[0], numbers[1])

    def _switch(self, node: Node) -> None:
        data, predicate = node.data_inputs[:2]
        value = self.truth.get(predicate)
        if value is None:
            return
        self.dead.add(TensorRef(node.name, int(not value)))
        controls = [text for text in node.inputs if text.startswith("^")]
        attrs = {"T": node.attrs["T"]}
        self.replaced[node.name] = Node(node.name, "Identity", (as_input(data), *controls), attrs, device=node.device)
        if value:
            self.moved[TensorRef(node.name, 1)] = TensorRef(node.name)
        if data in self.truth:
            self.truth[TensorRef(node.name, int(value))] = self.truth[data]

    def _select(self, node: Node) -> None:
        predicate, *branches = node.data_inputs
        value = self.truth.get(predicate)
        if value is None or len(branches) != 2:  # noqa: PLR2004 - one for true, one for false
            return
        if node.op == "SelectV2":  # which gives the shape that both fit into
            self.types = self.types or TensorTypes(self.graph)
            shapes = [self.types.type_of(ref).shape for ref in branches]
            if shapes[0] != shapes[1] or not is_static(shapes[0]):
                return
        taken = branches[0] if value else branches[1]
        controls = [text for text in node.inputs if text.startswith("^")]
        attrs = {"T": node.attrs["T"]}
        self.replaced[node.name] = Node(node.name, "Identity", (as_input(taken), *controls), attrs, device=node.device)

    def _merge(self, node: Node) -> None:
        inputs = node.data_inputs
        forward = [ref for ref in inputs if self.graph.by_name[ref.name].op not in MERGING_OPS]
        if all(map(self._gone, forward)) or any(name in self.dead_nodes for name in node.control_inputs):
            self.dead_nodes.add(node.name)
            return
        live = [ref for ref in inputs if not self._gone(ref)]
        if len(live) == len(inputs):
            return
        controls = [text for text in node.inputs if text.startswith("^")]
        index = TensorRef(node.name, 1)
        if len(live) == 1:
            attrs = {"T": node.attrs["T"]}
            source = as_input(live[0])
            self.replaced[node.name] = Node(node.name, "Identity", (source, *controls), attrs, device=node.device)
            if live[0] in self.truth:
                self.truth[TensorRef(node.name)] = self.truth[live[0]]
            if self._is_used(index):
                made = const(
                    fresh_name(f"{node.name}/value_index", self.taken), Tensor.of(inputs.index(live[0]), DType.INT32)
                )
                self.taken.add(made.name)
                self.added.append(made)
                self.moved[index] = TensorRef(made.name)
            return
        if self._is_used(index):
            raise SurgeryError(
                f"`{node.name}` ({node.op}) still has {len(live)} of {len(inputs)} inputs, and `{index}` counts them",
                evidence={"node": node.name},
            )
        attrs = {**node.attrs, "N": Attr.of(len(live))}
        self.replaced[node.name] = node.replace(inputs=(*map(as_input, live), *controls), attrs=attrs)

    def _is_used(self, ref: TensorRef) -> bool:
        return any(ref in user.data_inputs for user in self.graph.consumers.get(ref.name, ()))

    def _call(self, node: Node) -> None:
        value = self.truth.get(node.data_inputs[0])
        branch = node.attrs.get("then_branch" if value else "else_branch")
        if value is None or branch is None:
            return
        attrs: Mapping[str, Attr] = {"f": branch, "Tin": node.attrs["Tin"], "Tout": node.attrs["Tout"]}
        self.replaced[node.name] = Node(node.name, _CALLS[node.op], node.inputs[1:], attrs, device=node.device)
