"""Bodies of library functions as graphs of their own: read safely, and with the calls in them replaced.

Inputs stay as a FunctionDef writes them (`argument`, `node:output_name:index`, `^node`), so that no table of output
names is needed. What a body does besides computing its results is left out: this is for inference.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from tfinspect.errors import InvalidGraphError, LimitError, SurgeryError
from tfinspect.surgery._edges import fresh_name
from tfinspect.surgery.rename import prefix_node

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from tfinspect.ir.attrs import Attr
    from tfinspect.ir.functions import Function, FunctionBody
    from tfinspect.ir.graph import Node

CALLS: Final = frozenset({"PartitionedCall", "StatefulPartitionedCall"})
BRANCHES: Final = frozenset({"If", "StatelessIf", "Case", "StatelessCase"})
LOOPS: Final = frozenset({"While", "StatelessWhile"})
MAX_NODES: Final = 250_000  # of all bodies put in place of calls; functions that call one another twice grow fast


def called(library: Mapping[str, Function], node: Node) -> str | None:
    """Return the name of the library function a node calls, if it is a plain call: If, While and Case are not."""
    name = node.op
    if node.op in CALLS:
        attr = node.attrs.get("f")
        name = attr.value.name if attr is not None and attr.kind == "func" else ""
    return name if name in library else None


def split_text(text: str) -> tuple[str, str, int]:
    """Return (node or argument, output name, index) of a data input of a body; `x` and `x:y` mean the first tensor."""
    name, _, rest = text.partition(":")
    output, _, index = rest.partition(":")
    return name, output, int(index) if index.isascii() and index.isdigit() and len(index) < 10 else 0  # noqa: PLR2004


def canonical(text: str) -> str:
    """Write a data input in the one way that compares: `argument`, or `node:output_name:index`."""
    name, output, index = split_text(text)
    return f"{name}:{output}:{index}" if output else name


def bound_inputs(call: Node, function: Function) -> dict[str, str]:
    """Return the data input a call gives for each argument.

    Raises:
        InvalidGraphError: it gives more or fewer than the function takes.
    """
    inputs = [text for text in call.inputs if not text.startswith("^")]
    names = [name for name, _ in function.body.args]
    if len(names) != len(inputs) or len(set(names)) != len(names):
        raise InvalidGraphError(
            f"`{call.name}` ({call.op}) gives {len(inputs)} inputs to the function `{function.name}`, "
            f"which takes {len(set(names))}",
            evidence={"node": call.name, "function": function.name},
        )
    return dict(zip(names, inputs, strict=True))


def substituted(node: Node, given: Mapping[str, Attr], call: str) -> dict[str, Attr]:
    """Return a body node's attributes with those that the function leaves to its caller filled in.

    Raises:
        SurgeryError: the caller does not give one.
    """
    attrs = dict(node.attrs)
    for name, attr in node.attrs.items():
        if attr.kind == "placeholder":
            if attr.value not in given:
                raise SurgeryError(f"`{call}` does not give the attribute `{attr.value}` its function needs")
            attrs[name] = given[attr.value]
    return attrs


def refuse_recursion(
    library: Mapping[str, Function], names: Iterable[str], calls: Callable[[str], Sequence[str]]
) -> None:
    """Check that no function calls itself, directly or through others.

    Args:
        library: the functions.
        names: where to start.
        calls: the functions that one of the library refers to, by its name.

    Raises:
        LimitError: one does; the circle is named.
    """
    for _ in postorder(library, names, calls):
        pass


def postorder(
    library: Mapping[str, Function], names: Iterable[str], calls: Callable[[str], Sequence[str]]
) -> Iterator[str]:
    """Yield functions, each after all it calls."""
    done: set[str] = set()
    path: dict[str, Iterator[str]] = {}
    for start in names:
        if start in done or start not in library:
            continue
        path[start] = iter(calls(start))
        while path:
            name = next(reversed(path))
            inner = next((n for n in path[name] if n in library and n not in done), None)
            if inner is None:
                done.add(name)
                del path[name]
                yield name
            elif inner in path:
                circle = [*list(path)[list(path).index(inner) :], inner]
                raise LimitError(
                    f"the function `{inner}` calls itself, which no frozen graph can hold",
                    details=[" -> ".join(circle)],
                    evidence={"functions": circle},
                )
            else:
                path[inner] = iter(calls(inner))


@dataclass(frozen=True, slots=True)
class Flat:
    """A body without calls, pruned to what its results need.

    Attributes:
        function: the function it is the body of.
        nodes: the nodes.
        results: the body tensor of each result, in the order of the function's outputs.
    """

    function: Function
    nodes: tuple[Node, ...]
    results: tuple[str, ...]


class FlatBodies:
    """The bodies of a library with all plain calls in them replaced by what is called; each is made once."""

    def __init__(self, library: Mapping[str, Function]) -> None:
        self.library = library
        self._made: dict[str, Flat] = {}
        self._count = 0

    def get(self, name: str) -> Flat:
        """Return the flat body of a function.

        Raises:
            LimitError: functions call one another in a circle, or the bodies would take too many nodes.
            InvalidGraphError: a body refers to what is not in it.
            SurgeryError: a call does not give an attribute that its function needs.
        """
        if name not in self._made:
            for each in postorder(self.library, [name], self._callees):
                if each not in self._made:
                    self._made[each] = self._make(self.library[each])
        return self._made[name]

    def spend(self, count: int, name: str) -> None:
        """Count nodes that take the place of a call.

        Raises:
            LimitError: they are too many.
        """
        self._count += count
        if self._count > MAX_NODES:
            raise LimitError(
                f"putting the functions that `{name}` calls in place of the calls takes more than {MAX_NODES:,} nodes",
                evidence={"function": name, "limit": MAX_NODES},
            )

    def _callees(self, name: str) -> list[str]:
        if name in self._made:
            return []
        found = (called(self.library, node) for node in self.library[name].body.nodes)
        return list(dict.fromkeys(inner for inner in found if inner is not None))

    def _make(self, function: Function) -> Flat:
        body = function.body
        results = _results(function, body)
        kept = needed(function, body.nodes, results)
        nodes: list[Node] = []
        moved: dict[str, str] = {}
        waits: dict[str, str] = {}
        taken = {name for name, _ in body.args} | {node.name for node in body.nodes}
        for node in kept:
            inner = called(self.library, node)
            if inner is None:
                nodes.append(node)
                continue
            flat = self._made[inner]
            self.spend(len(flat.nodes), function.name)
            placed = _Placed(node, flat, taken)
            nodes += placed.nodes
            outputs = ["output"] * len(flat.results) if node.op in CALLS else [n for n, _ in flat.function.body.outputs]
            for index, text in enumerate(placed.results):
                at = index if node.op in CALLS else 0
                moved[f"{node.name}:{outputs[index]}:{at}"] = text
            waits[node.name] = placed.wait
        if moved or waits:
            nodes = redirected(nodes, moved, waits)
            results = tuple(_moved(canonical(text), moved) for text in results)
            nodes = needed(function, nodes, results)
        return Flat(function, tuple(nodes), results)


class _Placed:
    """The nodes of a flat body in the place of one call."""

    def __init__(self, call: Node, flat: Flat, taken: set[str]) -> None:
        self._args = bound_inputs(call, flat.function)
        self._names: dict[str, str] = {}
        for node in flat.nodes:
            self._names[node.name] = fresh_name(f"{call.name}/{node.name}", taken)
            taken.add(self._names[node.name])
        controls = [text for text in call.inputs if text.startswith("^")]
        self.nodes = []
        for node in flat.nodes:
            inputs = [self._input(text) for text in node.inputs] or controls
            attrs = substituted(node, call.attrs, call.name)
            renamed = prefix_node(node.replace(inputs=[], attrs=attrs), call.name, self._names)
            self.nodes.append(renamed.replace(inputs=inputs, device=node.device or call.device))
        self.results = [self._input(text) for text in flat.results]
        first = self.results[0].partition(":") if self.results else ("", "", "")
        self.wait = first[0] if first[1] else ""  # an argument is nothing to wait for

    def _input(self, text: str) -> str:
        if text.startswith("^"):
            name = text[1:]
            return "^" + (self._args[name].partition(":")[0] if name in self._args else self._names[name])
        name, _, rest = text.partition(":")
        return self._args[name] if name in self._args else f"{self._names[name]}:{rest}"


def _results(function: Function, body: FunctionBody) -> tuple[str, ...]:
    missing = next((name for name, _ in body.outputs if name not in body.results), None)
    if missing is not None:
        raise InvalidGraphError(
            f"the function `{function.name}` does not say what its result `{missing}` is",
            evidence={"function": function.name, "result": missing},
        )
    return tuple(body.results[name] for name, _ in body.outputs)


def needed(function: Function, nodes: Sequence[Node], results: Iterable[str]) -> list[Node]:
    """Return the nodes of a body that some tensors of it need.

    Raises:
        InvalidGraphError: a name in it is that of two nodes, or of none.
    """
    table = {node.name: node for node in nodes}
    args = {name for name, _ in function.body.args}
    if len(table) != len(nodes) or not args.isdisjoint(table):
        raise InvalidGraphError(
            f"two nodes or arguments of the function `{function.name}` have one name",
            evidence={"function": function.name},
        )
    found: set[str] = set()
    waiting = [("its results", text) for text in results]
    while waiting:
        user, text = waiting.pop()
        name = text[1:] if text.startswith("^") else text.partition(":")[0]
        if name in found or name in args:
            continue
        if name not in table:
            raise InvalidGraphError(
                f"in the function `{function.name}`, {user} take `{name}`, which is not in it",
                evidence={"function": function.name, "missing": name},
            )
        found.add(name)
        waiting += [(f"the inputs of `{name}`", inner) for inner in table[name].inputs]
    return [node for node in nodes if node.name in found]


def redirected(nodes: Iterable[Node], moved: Mapping[str, str], waits: Mapping[str, str]) -> list[Node]:
    """Make the nodes of a body take other tensors, and wait for other nodes.

    Args:
        nodes: the nodes.
        moved: canonical tensor -> what to take instead; followed to the end.
        waits: node -> node to wait for instead; empty text to wait for nothing.
    """
    made = []
    for node in nodes:
        inputs: list[str] = []
        for text in node.inputs:
            if not text.startswith("^"):
                end = canonical(text)
                inputs.append(_moved(end, moved) if end in moved else text)
                continue
            name = text[1:]
            for _ in waits:  # a circle of calls that wait for each other ends as well
                if name not in waits:
                    break
                name = waits[name]
            if name and name not in waits and f"^{name}" not in inputs:
                inputs.append(f"^{name}")
        made.append(node if tuple(inputs) == node.inputs else node.replace(inputs=inputs))
    return made


def _moved(text: str, moved: Mapping[str, str]) -> str:
    seen = set()
    while text in moved and text not in seen:
        seen.add(text)
        text = canonical(moved[text])
    return text
