"""Which library functions a signature runs: those that are called on the way to its outputs, and those they call.

The library of a SavedModel holds several copies of most functions, traced for training, for serving and for loading
again; names do not tell which of them is meant. Calls do.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tfinspect.ir.refs import split_input

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from tfinspect.ir.attrs import Attr
    from tfinspect.ir.functions import Function
    from tfinspect.ir.graph import Graph, Node
    from tfinspect.ir.refs import TensorRef
    from tfinspect.ir.signature import Signature

_FIRST = frozenset({"cond", "then_branch"})  # attributes that name what runs, or is written, before the other


def reached_functions(graph: Graph, refs: Iterable[TensorRef]) -> tuple[str, ...]:
    """Return the functions that computing some tensors runs, each once, a caller before what it calls.

    Args:
        graph: the graph; inputs that are not in it are passed over.
        refs: the tensors.
    """
    return _Calls(graph).reached(refs)


def functions_of_signatures(graph: Graph, signatures: Mapping[str, Signature]) -> dict[str, tuple[str, ...]]:
    """Return for each signature the functions that its outputs run, in the order they are called."""
    calls = _Calls(graph)
    return {name: calls.reached(spec.ref for spec in one.outputs) for name, one in signatures.items()}


class _Calls:
    """Who calls whom; each function is looked into once, and only if something reaches it."""

    def __init__(self, graph: Graph) -> None:
        self._nodes = {node.name: node for node in graph}  # of two of one name, either
        self._library = graph.functions
        self._places: dict[str, tuple[str, ...]] = {}  # by op, the attributes that name functions
        self._called: dict[str, tuple[str, ...]] = {}
        self._in_file = {name: number for number, name in enumerate(self._nodes)} if graph.functions else {}

    def reached(self, refs: Iterable[TensorRef]) -> tuple[str, ...]:
        if not self._library:
            return ()
        found: dict[str, None] = {}
        calling = [node for node in self._behind(refs) if self._names(node)]
        calling.sort(key=lambda node: self._in_file[node.name])
        stack = [name for node in reversed(calling) for name in reversed(self._names(node))]
        while stack:
            name = stack.pop()
            if name not in found:
                found[name] = None
                stack.extend(reversed(self._calls_of(name, self._library[name])))
        return tuple(found)

    def _behind(self, refs: Iterable[TensorRef]) -> Iterator[Node]:
        """Yield the nodes that the tensors need, in no order."""
        waiting = [ref.name for ref in refs]
        seen = set(waiting)
        while waiting:
            node = self._nodes.get(waiting.pop())
            if node is None:
                continue
            yield node
            for text in node.inputs:
                name, _, _ = split_input(text)
                if name not in seen:
                    seen.add(name)
                    waiting.append(name)

    def _calls_of(self, name: str, function: Function) -> tuple[str, ...]:
        called = self._called.get(name)
        if called is None:
            names = (callee for node in function.body.nodes for callee in self._names(node))
            called = self._called[name] = tuple(dict.fromkeys(names))
        return called

    def _names(self, node: Node) -> tuple[str, ...]:
        """Return the library functions a node calls: those among its attributes, and the one it is named after.

        An op has the same attributes in every node, so one node of an op that takes no function is enough to look at.
        """
        own = (node.op,) if node.op in self._library else ()
        places = self._places.get(node.op)
        if places is None:
            attrs = node.attrs
            found = (name for name in attrs if attrs[name].kind == "func" or _may_list_functions(attrs[name]))
            places = self._places[node.op] = tuple(sorted(found, key=lambda name: (name not in _FIRST, name)))
        if not places:
            return own
        names = list(own)
        for name in places:
            attr = node.attrs.get(name)
            if attr is not None and attr.kind == "func":
                names.append(attr.value.name)
            elif attr is not None and _may_list_functions(attr):
                names.extend(one.name for one in attr.value.values)
        return tuple(name for name in names if name in self._library)


def _may_list_functions(attr: Attr) -> bool:
    return attr.kind == "list" and attr.value.kind in {"func", "none"}
