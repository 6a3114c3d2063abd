"""Variables that are read after an update of the same run: their frozen value would be the one before it.

`counter.assign_add(1)` and then `counter.read_value()` gives a number that no checkpoint holds. Order is what control
inputs say, in the main graph and in the bodies of functions; a call updates and reads what its function does. An update
that stands behind a Switch may not run at all, and is left to those who know what the Switch is set to.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from tfinspect.errors import SurgeryError
from tfinspect.surgery._bodies import LOOPS, canonical, postorder
from tfinspect.surgery.drop_updates import is_update
from tfinspect.surgery.handles import PASSING, READING
from tfinspect.surgery.prune import called_functions, needed
from tfinspect.surgery.reconcile import VARIABLES

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence

    from tfinspect.ir.functions import Function
    from tfinspect.ir.graph import Graph, Node
    from tfinspect.ir.refs import TensorRef

_FIRST: Final = {"If": 1, "StatelessIf": 1, "Case": 1, "StatelessCase": 1}  # inputs that are no arguments
_TESTS: Final = frozenset({"VarIsInitializedOp", "DisableCopyOnRead", "VariableShape", "IsVariableInitialized"})
_REFERENCES: Final = frozenset({"Variable", "VariableV2"})
_SWITCHES: Final = frozenset({"Switch", "RefSwitch"})


@dataclass(frozen=True, slots=True)
class _Effects:
    """What a function does with its arguments, by their number.

    Attributes:
        reads: those whose value its results depend on.
        writes: those it updates, with the node that does.
    """

    reads: frozenset[int]
    writes: Mapping[int, Node]


def refuse_stale_reads(graph: Graph, outputs: Sequence[TensorRef], feeds: Collection[TensorRef] = ()) -> None:
    """Check that nothing the outputs need reads a variable after it was updated.

    Args:
        graph: the graph, calls and all.
        outputs: the tensors that are wanted.
        feeds: nothing behind these is needed.

    Raises:
        SurgeryError: something does; names it and the update.
        LimitError: a function calls itself.
        NodeNotFoundError: an output is not in the graph.
    """
    names = needed(graph, outputs, feeds)
    nodes = [node for node in graph.nodes if node.name in names]
    if not _may_update(nodes, graph.functions):
        return
    effects = _of_functions(graph, nodes)
    roots = {node.name: node.name for node in nodes if node.op in VARIABLES}
    _Body("", nodes, roots, effects, graph.functions).check([str(ref) for ref in outputs])


def _may_update(nodes: Sequence[Node], library: Mapping[str, Function]) -> bool:
    if any(is_update(node) for node in nodes):
        return True
    called = any(called_functions(node, library) for node in nodes) if library else False
    return called and any(is_update(node) for function in library.values() for node in function.body.nodes)


def _of_functions(graph: Graph, nodes: Iterable[Node]) -> dict[str, _Effects]:
    library = graph.functions

    def callees(name: str) -> list[str]:
        return list(dict.fromkeys(n for node in library[name].body.nodes for n in called_functions(node, library)))

    starts = dict.fromkeys(name for node in nodes for name in called_functions(node, library))
    everywhere = [*nodes, *(node for function in library.values() for node in function.body.nodes)]
    loops = {name for node in everywhere if node.op in LOOPS for name in called_functions(node, library)}
    found: dict[str, _Effects] = {}
    for name in postorder(library, starts, callees):
        body = library[name].body
        args = {arg: arg for arg, _ in body.args}
        numbers = {arg: number for number, arg in enumerate(args)}
        inside = _Body(name, body.nodes, args, found, library)
        inside.check(list(body.results.values()), in_loop=name in loops)
        found[name] = _Effects(
            frozenset(numbers[root] for root in inside.read if root in numbers),
            {numbers[root]: node for root, node in inside.written.items() if root in numbers},
        )
    return found


class _Body:
    """The main graph or one function: which of its variables, or arguments, each node reads and writes."""

    def __init__(
        self,
        function: str,
        nodes: Sequence[Node],
        roots: Mapping[str, str],
        effects: Mapping[str, _Effects],
        library: Mapping[str, Function],
    ) -> None:
        self._function = function
        self._nodes = {node.name: node for node in nodes}
        self._roots = roots
        self._effects = effects
        self._library = library
        self.read: set[str] = set()
        self.written: dict[str, Node] = {}
        self._writes: dict[str, set[str]] = {}
        for node in nodes:
            for root, update in self._writes_of(node):
                self._writes.setdefault(node.name, set()).add(root)
                self.written.setdefault(root, update)

    def check(self, results: Sequence[str], *, in_loop: bool = False) -> None:
        """Note what the results depend on, and refuse a read that an update of the same variable comes before.

        A loop that updates a variable is refused as such, if it is needed at all.

        Raises:
            SurgeryError: there is one.
        """
        before = self._updated_before() if self._writes and not in_loop else {}
        for name in self._behind(results):
            node = self._nodes[name]
            for root in self._reads_of(node):
                self.read.add(root)
                if root in before.get(name, ()):
                    self._refuse(node, root)

    def _refuse(self, node: Node, root: str) -> None:
        update = self.written[root]
        where = f" in the function `{self._function}`" if self._function else ""
        raise SurgeryError(
            f"cannot freeze: `{node.name}` ({node.op}){where} reads `{root}` after `{update.name}` ({update.op}) has "
            "changed it, and no checkpoint holds that value",
            hint="choose outputs that do not need it with --outputs",
            evidence={"node": node.name, "variable": root, "update": update.name, "function": self._function},
        )

    def _root(self, text: str) -> str | None:
        """Return the variable or argument whose handle a tensor is."""
        for _ in range(len(self._nodes) + 1):
            name = canonical(text).partition(":")[0]
            node = self._nodes.get(name)
            if name in self._roots:
                return self._roots[name]
            if node is None or not node.inputs or node.op not in PASSING:
                return None
            text = node.inputs[0]
        return None

    def _reads_of(self, node: Node) -> Iterable[str]:
        inputs = [text for text in node.inputs if not text.startswith("^")]
        callees = called_functions(node, self._library) if self._library else []
        for name in callees:
            first = _FIRST.get(node.op, 0)
            for number in self._effects[name].reads if name in self._effects else ():
                if number + first < len(inputs) and (root := self._root(inputs[number + first])) is not None:
                    yield root
        if callees or node.op in _TESTS or is_update(node):
            return
        for text in inputs:
            name = canonical(text).partition(":")[0]
            is_reference = name in self._nodes and self._nodes[name].op in _REFERENCES
            if (node.op in READING or is_reference) and (root := self._root(text)) is not None:
                yield root

    def _writes_of(self, node: Node) -> Iterable[tuple[str, Node]]:
        inputs = [text for text in node.inputs if not text.startswith("^")]
        if is_update(node) and inputs and (root := self._root(inputs[0])) is not None:
            yield root, node
        for name in called_functions(node, self._library) if self._library else ():
            first = _FIRST.get(node.op, 0)
            for number, update in self._effects[name].writes.items() if name in self._effects else ():
                if number + first < len(inputs) and (root := self._root(inputs[number + first])) is not None:
                    yield root, update

    def _behind(self, results: Sequence[str]) -> Iterable[str]:
        """Yield the nodes that some tensors are computed from."""
        waiting = [canonical(text).partition(":")[0] for text in results]
        seen: set[str] = set()
        while waiting:
            name = waiting.pop()
            if name in seen or name not in self._nodes:
                continue
            seen.add(name)
            yield name
            waiting += [canonical(t).partition(":")[0] for t in self._nodes[name].inputs if not t.startswith("^")]

    def _updated_before(self) -> dict[str, frozenset[str]]:
        """Return for each node the variables that are sure to be updated before it runs."""
        users: dict[str, list[str]] = {}
        left: dict[str, int] = {}
        for node in self._nodes.values():
            names = {text.removeprefix("^").partition(":")[0] for text in node.inputs} & self._nodes.keys()
            names = {name for name in names if not self._nodes[name].op.endswith("NextIteration")}
            left[node.name] = len(names)
            for name in names:
                users.setdefault(name, []).append(node.name)
        none: frozenset[str] = frozenset()
        before: dict[str, frozenset[str]] = {}
        guarded: set[str] = set()
        ready = [name for name, count in left.items() if not count]
        for name in ready:
            after = before.get(name, none)
            if name in self._writes and name not in guarded:
                after |= self._writes[name]
            switched = name in guarded or self._nodes[name].op in _SWITCHES
            for user in users.get(name, ()):
                known = before.get(user, none)
                before[user] = after if not known or known is after else known | after
                if switched:
                    guarded.add(user)
                left[user] -= 1
                if not left[user]:
                    ready.append(user)
        return before
