"""The main graph and the bodies of its functions together: what is reached from where, and what a tensor is set to."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Final, Literal

from tfinspect.errors import TfinspectError
from tfinspect.ir.attrs import AttrList, FuncRef
from tfinspect.ir.dtypes import DType
from tfinspect.ir.refs import split_input

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from tfinspect.ir.graph import Graph, Node
    from tfinspect.ir.tensors import Tensor

MAIN: Final = ""
"""Name of the main graph among the places."""

ValueKind = Literal["const", "default", "fed", "argument", "asset", "computed", "unreadable", "none"]
_PASSING = frozenset({"Identity", "Reshape", "ExpandDims", "Squeeze", "Snapshot", "StopGradient", "EnsureShape"})
_ARGUMENT_OFFSET = {"If": 1, "StatelessIf": 1, "_If": 1, "Case": 1, "StatelessCase": 1, "RemoteCall": 1}
_MOST_ELEMENTS = 1000
_MOST_STEPS = 5_000  # for one tensor
_MOST_STEPS_OF_ALL = 300_000  # a hostile graph must not keep us busy for ever
_MOST_CALLERS = 100


@dataclass(frozen=True, slots=True)
class Place:
    """The main graph, or the body of one function.

    Attributes:
        function: name of the function, `MAIN` for the main graph.
        nodes: in the order of the file.
        by_name: the same by name; of two with one name the first.
        args: names of the function's arguments, in order.
    """

    function: str
    nodes: tuple[Node, ...]
    by_name: Mapping[str, Node]
    args: tuple[str, ...]

    def where(self, node: Node) -> str:
        """Return how a person is told of a node."""
        return f"function {self.function}: {node.name}" if self.function else node.name


@dataclass(frozen=True, slots=True)
class Value:
    """What is known of a string tensor.

    Attributes:
        kind: how it comes to be.
        names: its elements, where they stand in the file.
    """

    kind: ValueKind
    names: tuple[str, ...] = ()


def bodies(graph: Graph) -> tuple[Place, ...]:
    """Return the main graph and every function of the library, reached or not."""
    return (
        _place(MAIN, graph.nodes, ()),
        *(
            _place(name, function.body.nodes, tuple(arg for arg, _ in function.body.args))
            for name, function in graph.functions.items()
        ),
    )


def _place(name: str, nodes: tuple[Node, ...], args: tuple[str, ...]) -> Place:
    by_name: dict[str, Node] = {}
    for node in nodes:
        by_name.setdefault(node.name, node)
    return Place(name, nodes, by_name, args)


def called(graph: Graph, node: Node) -> Iterator[str]:
    """Yield the names of the library functions a node refers to, its own op included."""
    if node.op in graph.functions:
        yield node.op
    waiting = [attr.value for attr in node.attrs.values() if attr.kind in {"func", "list"}]
    while waiting:
        value = waiting.pop()
        if isinstance(value, FuncRef):
            if value.name in graph.functions:
                yield value.name
            waiting += [attr.value for attr in value.attrs.values() if attr.kind in {"func", "list"}]
        elif isinstance(value, AttrList):
            waiting += [item for item in value.values if isinstance(item, FuncRef)]


class Reached:
    """The nodes that some nodes of the main graph need; a function that one of them calls is needed as a whole.

    Args:
        graph: the graph.
        roots: names of nodes; without any that exists, everything counts as reached.
        uncalled: whether functions that nothing in the file calls count as reached: they are there to be called from
            Python, some of them by the loader itself.
    """

    def __init__(self, graph: Graph, roots: Iterable[str], *, uncalled: bool = True) -> None:
        table = {node.name: node for node in graph.nodes}
        waiting = [name for name in roots if name in table]
        self._all = not waiting
        self._nodes: set[str] = set(waiting)
        self._functions: set[str] = set()
        if uncalled:
            self._add(graph, _uncalled(graph))
        while waiting:
            node = table[waiting.pop()]
            self._call(graph, node)
            for name in node.input_names:
                if name in table and name not in self._nodes:
                    self._nodes.add(name)
                    waiting.append(name)

    def _call(self, graph: Graph, node: Node) -> None:
        self._add(graph, called(graph, node))

    def _add(self, graph: Graph, functions: Iterable[str]) -> None:
        waiting = [name for name in functions if name not in self._functions]
        while waiting:
            name = waiting.pop()
            if name in self._functions:
                continue
            self._functions.add(name)
            for inner in graph.functions[name].body.nodes:
                waiting += [other for other in called(graph, inner) if other not in self._functions]

    def has(self, place: Place, node: Node) -> bool:
        """Whether a node is among them."""
        return self._all or (place.function in self._functions if place.function else node.name in self._nodes)


def _uncalled(graph: Graph) -> set[str]:
    found = {name for node in graph.nodes for name in called(graph, node)}
    for function in graph.functions.values():
        found |= {name for node in function.body.nodes for name in called(graph, node)}
    return set(graph.functions) - found


class Names:
    """What string tensors are set to, as far as the file tells; function arguments are followed to their callers.

    Args:
        graph: the graph.
        places: its bodies.
        assets: asset by the name of the tensor its path is given to.
        captured: by function, the tensors of the main graph that its last arguments are bound to when it is called
            from Python; empty text where that is no such tensor.
    """

    def __init__(
        self,
        graph: Graph,
        places: tuple[Place, ...],
        assets: Mapping[str, str],
        captured: Mapping[str, tuple[str, ...]],
    ) -> None:
        self.functions = graph.functions
        self._main = places[0]
        self._captured = captured
        self._steps = 0
        self._known: dict[tuple[str, str], Value] = {}
        self._written: dict[str, dict[str, list[str]]] = {}
        self._assets = {split_input(name)[0]: asset for name, asset in assets.items()}
        self._calls: dict[str, list[tuple[Place, Node]]] = {}
        for place in places:
            for node in place.nodes:
                for name in dict.fromkeys(called(graph, node)):
                    self._calls.setdefault(name, []).append((place, node))

    def attribute(self, node: Node, attr: str) -> Value:
        """Return a string attribute."""
        text = node.text(attr)
        return Value("const", (text,)) if text else Value("none")

    def of_input(self, place: Place, node: Node, index: int) -> Value:
        """Return what a data input is set to."""
        data = [text for text in node.inputs if not text.startswith("^")]
        if index >= len(data):
            return Value("none")
        key = (place.function, data[index])
        if key not in self._known:
            self._known[key] = self._value(place, data[index])
        return self._known[key]

    def _value(self, place: Place, text: str) -> Value:
        found: list[Value] = []
        waiting = [(place, text)]
        seen: set[tuple[str, str]] = set()
        while waiting and len(seen) < _MOST_STEPS and self._steps < _MOST_STEPS_OF_ALL:
            self._steps += 1
            where, name = waiting.pop()
            name = name.split(":", 1)[0] if where.function else split_input(name)[0]
            if (where.function, name) in seen:
                continue
            seen.add((where.function, name))
            node = where.by_name.get(name)
            if node is None:
                callers = list(islice(self._callers(where, name), _MOST_CALLERS))
                waiting += callers
                found += [] if callers else [Value("argument")]
            elif node.op in _PASSING and node.inputs and not self._is_asset(where, node):
                waiting.append((where, node.inputs[0]))
            elif node.op == "ReadVariableOp" and (written := self._assigned(where, node)):
                waiting += written
            else:
                found.append(self._source(where, node))
        return Value("computed") if waiting else _together(found)

    def _callers(self, place: Place, argument: str) -> Iterator[tuple[Place, str]]:
        """Yield what the callers of a function give it for an argument."""
        if argument not in place.args:
            return
        index = place.args.index(argument)
        bound = self._captured.get(place.function, ())
        at = index - (len(place.args) - len(bound))
        if 0 <= at < len(bound) and bound[at]:
            yield self._main, bound[at]
        for where, node in self._calls.get(place.function, ()):
            data = [text for text in node.inputs if not text.startswith("^")]
            at = index + _ARGUMENT_OFFSET.get(node.op, 0)
            if not node.op.endswith("Dataset") and not node.op.endswith("DatasetV2") and at < len(data):
                yield where, data[at]

    def _assigned(self, place: Place, read: Node) -> list[tuple[Place, str]]:
        """Return what a variable is set to in the body it is read in."""
        table = self._written.get(place.function)
        if table is None:
            table = self._written[place.function] = {}
            for node in place.nodes:
                if node.op == "AssignVariableOp" and len(node.inputs) > 1:
                    table.setdefault(node.inputs[0], []).append(node.inputs[1])
        handle = read.inputs[0] if read.inputs else ""
        return [(place, text) for text in table.get(handle, ())]

    def _is_asset(self, place: Place, node: Node) -> bool:
        return place.function == MAIN and node.name in self._assets

    def _source(self, place: Place, node: Node) -> Value:
        if self._is_asset(place, node):
            return Value("asset", (self._assets[node.name],))
        if node.op == "Const":
            return _constant(node)
        if node.op in {"Placeholder", "PlaceholderV2", "_Arg"}:
            return Value("fed")
        if node.op == "PlaceholderWithDefault" and node.inputs:
            default = place.by_name.get(node.inputs[0].split(":", 1)[0])
            known = _constant(default) if default is not None and default.op == "Const" else Value("fed")
            return Value("default", known.names) if known.names else Value("fed")
        if node.op in {"StringJoin", "Pack"}:
            return _joined(place, node)
        return Value("computed")


def _constant(node: Node) -> Value:
    tensor = node.tensor()
    if tensor is None:
        return Value("unreadable")
    if tensor.dtype is not DType.STRING:
        return Value("computed")
    if tensor.size > _MOST_ELEMENTS:
        return Value("computed")
    try:
        return Value("const", _strings(tensor))
    except TfinspectError:  # a constant that is broken is still no reason to keep quiet about the op
        return Value("unreadable")


def _strings(tensor: Tensor) -> tuple[str, ...]:
    return tuple(v.decode("utf-8", "backslashreplace") for v in tensor.numpy().reshape(-1).tolist())


def _joined(place: Place, node: Node) -> Value:
    """Return the text of a StringJoin, or the elements of a Pack, whose parts all are constants."""
    parts: list[str] = []
    for text in node.inputs:
        part = place.by_name.get(text.split(":", 1)[0])
        known = _constant(part) if part is not None and part.op == "Const" else Value("computed")
        if len(known.names) != 1:
            return Value("computed")
        parts += known.names
    return Value("const", tuple(parts) if node.op == "Pack" else (node.text("separator").join(parts),))


def _together(found: list[Value]) -> Value:
    """Return the one value of a tensor that several callers may set."""
    if not found:
        return Value("computed")
    kinds = {value.kind for value in found}
    if kinds == {"asset"}:
        return Value("asset", tuple(dict.fromkeys(name for value in found for name in value.names)))
    names = tuple(dict.fromkeys(name for value in found if value.kind != "asset" for name in value.names))
    if names:
        return Value("default" if "default" in kinds else "const", names)
    rest = [value.kind for value in found if value.kind != "asset"]
    return Value(rest[0])
