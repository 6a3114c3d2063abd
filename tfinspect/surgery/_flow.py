"""Who feeds whom: a graph's edges as numbers, and walks along them. Every walk is iterative and linear."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tfinspect.errors import InvalidGraphError
from tfinspect.ir.refs import TensorRef, split_input

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from tfinspect.ir.graph import Graph, Node

Tensor = tuple[int, int]
"""Number of a node, index of its output."""

NOWHERE: Tensor = (-1, 0)
"""Stands for an input that is not in the graph."""


class Flow:
    """The edges of a graph, nodes numbered in file order.

    Attributes:
        nodes: the nodes.
        number: number of a node by name.
        inputs: for each node the tensors it consumes, in order, `NOWHERE` for those that are not in the graph.
        users: for each node the (consumer, output index) of each data edge.
        waiters: for each node those that wait for it by a control edge.
    """

    def __init__(self, graph: Graph) -> None:
        self.nodes: tuple[Node, ...] = graph.nodes
        try:
            graph.by_name  # noqa: B018 - only asks whether names are unique
        except InvalidGraphError:
            self.nodes = tuple({node.name: node for node in graph.nodes}.values())
        self.number = {node.name: i for i, node in enumerate(self.nodes)}
        self.inputs: list[list[Tensor]] = []
        # nobody waits for most nodes, and most edges are of a first output: what is equal is shared
        alone: list[Tensor] = []
        idle: list[int] = []
        self.users: list[list[Tensor]] = [alone] * len(self.nodes)
        self.waiters: list[list[int]] = [idle] * len(self.nodes)
        firsts: list[Tensor] = [(i, 0) for i in range(len(self.nodes))]
        for i, node in enumerate(self.nodes):
            sources: list[Tensor] = []
            for text in node.inputs:
                name, index, control = split_input(text)
                source = self.number.get(name, -1)
                if control:
                    if source >= 0:
                        if self.waiters[source] is idle:
                            self.waiters[source] = []
                        self.waiters[source].append(i)
                    continue
                if source < 0:
                    sources.append(NOWHERE)
                    continue
                sources.append((source, index) if index else firsts[source])
                if self.users[source] is alone:
                    self.users[source] = []
                self.users[source].append((i, index) if index else firsts[i])
            self.inputs.append(sources)

    def tensor(self, ref: TensorRef) -> Tensor | None:
        """Return a tensor as numbers, or None where the graph has no such node."""
        found = self.number.get(ref.name)
        return None if found is None else (found, ref.index)

    def tensors(self, refs: Iterable[TensorRef]) -> list[Tensor]:
        """Return those tensors that the graph has."""
        return [found for found in map(self.tensor, refs) if found is not None]

    def ref(self, tensor: Tensor) -> TensorRef:
        """Return a tensor as `name:index`."""
        return TensorRef(self.nodes[tensor[0]].name, tensor[1])

    def downstream(
        self, starts: Iterable[Tensor], *, stop: Callable[[int], bool] | None = None, control: bool = False
    ) -> set[int]:
        """Return the nodes that depend on some tensors.

        Args:
            starts: the tensors; the nodes that give them are not among the answer unless they depend on one another.
            stop: nodes that are neither entered nor passed.
            control: whether to follow control edges as well.
        """
        seen: set[int] = set()
        ready: list[int] = []

        def enter(nodes: Iterable[int]) -> None:
            for node in nodes:
                if node not in seen and (stop is None or not stop(node)):
                    seen.add(node)
                    ready.append(node)

        for source, index in starts:
            enter(user for user, i in self.users[source] if i == index)
            if control:
                enter(self.waiters[source])
        while ready:
            node = ready.pop()
            enter(user for user, _ in self.users[node])
            if control:
                enter(self.waiters[node])
        return seen

    def upstream(self, nodes: Iterable[int], *, stop: Callable[[int], bool] | None = None) -> set[int]:
        """Return some nodes and all they depend on through data edges; nodes that `stop` names are not passed."""
        seen = set(nodes)
        ready = list(seen)
        while ready:
            node = ready.pop()
            if stop is not None and stop(node):
                continue
            for source, _ in self.inputs[node]:
                if source >= 0 and source not in seen:
                    seen.add(source)
                    ready.append(source)
        return seen

    def source(self, node: int, index: int) -> Node | None:
        """Return the node behind an input of a node."""
        sources = self.inputs[node]
        if index >= len(sources) or sources[index][0] < 0:
            return None
        return self.nodes[sources[index][0]]
