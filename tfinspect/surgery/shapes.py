"""Types and shapes of tensors without running anything.

A tensor's type follows from its node's attributes, from the types of the node's inputs, and, where shapes are computed
by the graph itself (Shape, StridedSlice, Pack, Reshape...), from the small integer values that can be told in advance.
The rules for single ops are in `_shape_rules*` and `_shape_values`; this module walks the graph.

What is said is never more than TensorFlow's own inference would accept; what cannot be told is unknown, not an error.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from tfinspect.errors import InputError, InvalidGraphError
from tfinspect.ir.dtypes import DType
from tfinspect.ir.graph import MERGING_OPS
from tfinspect.ir.refs import TensorRef, split_input
from tfinspect.ir.shapes import Shape, is_static, merge

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from tfinspect.ir.attrs import Attr
    from tfinspect.ir.functions import Function
    from tfinspect.ir.graph import Graph, Node

Value = tuple[int | None, ...]
"""Elements in row-major order; None for one that cannot be told."""

VALUE_SIZE = 64  # values are followed up to this many elements: shapes, axes, permutations, paddings
_INTEGERS = frozenset({DType.INT32, DType.INT64})
# what a rule may trip over in a graph that breaks the rules of its ops: missing inputs, attributes of another kind
_MALFORMED = (TypeError, ValueError, IndexError, KeyError, AttributeError, ZeroDivisionError, OverflowError, InputError)


class TensorType(NamedTuple):
    """What is known of a tensor.

    Attributes:
        dtype: element type, None where it cannot be told.
        shape: as far as it is known.
    """

    dtype: DType | None
    shape: Shape


UNKNOWN = TensorType(None, None)


class Call:
    """One node about to be judged by a rule.

    Attributes:
        node: the node.
        ins: types of its data inputs.
        asked: the values a rule has asked for, by input.
        looked_around: whether a rule has asked for more than types, attributes and values.
    """

    __slots__ = ("_refs", "_types", "asked", "ins", "looked_around", "node")

    def __init__(self, types: TensorTypes, node: Node, ins: Sequence[TensorType]) -> None:
        self._types = types
        self.node = node
        self.ins = ins
        self.asked: dict[int, Value | None] = {}
        self.looked_around = False
        self._refs: list[tuple[str, int]] | None = None

    @property
    def producer(self) -> int:
        """GraphDef version of the graph."""
        return self._types.graph.versions.producer

    @property
    def functions(self) -> Mapping[str, Function]:
        """The graph's library."""
        return self._types.graph.functions

    @property
    def refs(self) -> list[tuple[str, int]]:
        """Name and index of its data inputs."""
        if self._refs is None:
            parts = map(split_input, self.node.inputs)
            self._refs = [(name, index) for name, index, control in parts if not control]
        return self._refs

    def shape(self, index: int) -> Shape:
        """Shape of an input; unknown where there is no such input."""
        return self.ins[index].shape if index < len(self.ins) else None

    def dtype(self, index: int = 0) -> DType | None:
        """Type of an input; unknown where there is no such input."""
        return self.ins[index].dtype if index < len(self.ins) else None

    def value(self, index: int) -> Value | None:
        """Elements of an integer input of at most `VALUE_SIZE` elements, or None."""
        at = index + len(self.refs) if index < 0 else index
        value = self._types.value_at(*self.refs[at]) if 0 <= at < len(self.refs) else None
        self.asked[index] = value
        return value

    def scalar(self, index: int) -> int | None:
        """Value of an integer input of one element, or None."""
        value = self.value(index)
        return value[0] if value is not None and len(value) == 1 else None

    def handle(self, index: int = 0) -> TensorType:
        """Type of the variable behind a resource input."""
        self.looked_around = True
        return self._types.handle_of(self.refs[index][0]) if index < len(self.refs) else UNKNOWN

    def source(self, index: int) -> Node | None:
        """Node behind an input."""
        self.looked_around = True
        return self._types.nodes.get(self.refs[index][0]) if index < len(self.refs) else None


class TensorTypes:
    """Types of the tensors of a graph, each told when asked for.

    Args:
        graph: the graph.
        given: shapes the caller knows; they replace what the graph says of these tensors.

    Attributes:
        graph: the graph.
        nodes: its nodes by name; the last one where a broken graph has two.
    """

    def __init__(self, graph: Graph, given: Mapping[TensorRef, Shape] | None = None) -> None:
        from tfinspect.surgery._shape_rules import RULES, fallback
        from tfinspect.surgery._shape_values import VALUES

        self.graph = graph
        try:
            self.nodes: Mapping[str, Node] = graph.by_name
        except InvalidGraphError:
            self.nodes = {node.name: node for node in graph.nodes}
        self._given: dict[str, dict[int, Shape]] = {}
        for ref, shape in ({} if given is None else given).items():
            self._given.setdefault(ref.name, {})[ref.index] = shape
        self._rules, self._fallback, self._value_rules = RULES, fallback, VALUES
        self._known: dict[str, tuple[TensorType, ...]] = {}
        self._values: dict[tuple[str, int], Value | None] = {}
        self._constants: dict[int, Value | None] = {}
        self._handles: dict[str, TensorType] = {}
        self._kept: dict[TensorType, TensorType] = {}
        self._verdicts: dict[tuple[object, ...], _Verdicts] = {}

    def first_types(self, nodes: Iterable[Node]) -> Iterator[TensorType]:
        """Yield what is known of the first output of each of some nodes of the graph."""
        known = self._known
        for node in nodes:
            outs = known.get(node.name)
            if outs is None:
                outs = self._evaluate(node.name)
            yield outs[0] if outs else UNKNOWN

    def type_of(self, ref: TensorRef) -> TensorType:
        """Return what is known of a tensor.

        Raises:
            NodeNotFoundError: the graph has no such node.
        """
        name, index = ref.name, ref.index
        outs = self._known.get(name)
        if outs is None:
            if name not in self.nodes:
                self.graph.node(name)
            outs = self._evaluate(name)
        return outs[index] if index < len(outs) else UNKNOWN

    def outputs_of(self, name: str) -> tuple[TensorType, ...]:
        """Return what is known of each output of a node; outputs it is not known to have are left out.

        Raises:
            NodeNotFoundError: the graph has no such node.
        """
        self.type_of(TensorRef(name))
        return self._known[name]

    def value_of(self, ref: TensorRef) -> Value | None:
        """Return the elements of a small integer tensor where they can be told in advance, else None.

        Raises:
            NodeNotFoundError: the graph has no such node.
        """
        self.type_of(ref)
        return self.value_at(ref.name, ref.index)

    def value_at(self, name: str, index: int) -> Value | None:
        """As `value_of`, for a node that was judged already."""
        key = (name, index)
        if key in self._values:
            return self._values[key]
        node = self.nodes.get(name)
        value = None
        if node is not None and node.op == "Const" and not index:
            shared = id(_shared(node.attrs))
            if shared not in self._constants:
                self._constants[shared] = _constant(node)
            value = self._constants[shared]
        self._values[key] = value
        return value

    def handle_of(self, name: str) -> TensorType:
        """Return the type of the variable whose handle a node gives, for a node that was judged already."""
        return self._handles.get(name, UNKNOWN)

    def _evaluate(self, wanted: str) -> tuple[TensorType, ...]:
        known, nodes = self._known, self.nodes
        node = nodes[wanted]
        given = self._known_inputs(node)
        if given is not None:  # as nearly always where nodes are asked for in the order of the file
            outs = known[wanted] = self._judge(node, given)
            return outs
        opened: set[str] = set()
        stack = [wanted]
        while stack:
            name = stack[-1]
            if name in known:
                stack.pop()
                continue
            node = nodes[name]
            again = name in opened
            opened.add(name)
            waiting = False
            ins: list[TensorType] = []
            for text in node.inputs:
                index = 0
                found = known.get(text)
                if found is None:
                    source, index, control = split_input(text)
                    if control:
                        continue
                    found = known.get(source)
                    if found is None and not again and self._can_follow(source, opened):
                        stack.append(source)
                        waiting = True
                ins.append(found[index] if found is not None and index < len(found) else UNKNOWN)
            if not waiting:
                stack.pop()
                known[name] = self._judge(node, ins)
        return known[wanted]

    def _known_inputs(self, node: Node) -> list[TensorType] | None:
        """Return the types of a node's data inputs, or None where one was not judged yet."""
        known = self._known
        ins = []
        for text in node.inputs:
            index, outs = 0, known.get(text)
            if outs is None:
                source, index, control = split_input(text)
                if control:
                    continue
                outs = known.get(source)
                if outs is None:
                    return None
            ins.append(outs[index] if index < len(outs) else UNKNOWN)
        return ins

    def _can_follow(self, name: str, opened: set[str]) -> bool:
        """Whether an input can be judged first; one that is opened already closes a loop and stays unknown."""
        node = None if name in opened else self.nodes.get(name)
        return node is not None and node.op not in MERGING_OPS

    def _judge(self, node: Node, ins: Sequence[TensorType]) -> tuple[TensorType, ...]:
        # networks repeat themselves: nodes of one op that share attributes and the types of their inputs are judged
        # once. Types are kept once each, so that they can be told by identity.
        op = node.op
        key = (op, id(_shared(node.attrs)), *map(id, ins))
        verdicts = self._verdicts.get(key)
        outs = call = None
        if verdicts is None:
            verdicts = self._verdicts[key] = _Verdicts()
        elif verdicts.needs is not None:
            call = Call(self, node, ins)
            outs = verdicts.by_values.get(tuple([call.value(index) for index in verdicts.needs]))
        else:
            outs = verdicts.outs
        if outs is None:
            call = Call(self, node, ins)
            outs = self._apply_rule(call)
            if not call.looked_around:
                verdicts.learn(call.asked, outs)
        if self._given and node.name in self._given:
            outs = _with_shapes(outs, self._given[node.name])
        if outs:
            dtype = outs[0].dtype
            if dtype is DType.RESOURCE:
                self._follow_handles(call or Call(self, node, ins))
            elif dtype in _INTEGERS and op in self._value_rules:
                self._follow_values(call or Call(self, node, ins), outs)
        return outs

    def _apply_rule(self, call: Call) -> tuple[TensorType, ...]:
        node, kept = call.node, self._kept
        rule = self._rules.get(node.op, self._fallback)
        try:
            outs = tuple(rule(call))
            if outs and not self._given and not is_static(outs[0].shape) and "_output_shapes" in node.attrs:
                outs = _with_hints(outs, node)
            return tuple([kept.setdefault(out, out) for out in outs])
        except _MALFORMED:
            return ()

    def _follow_values(self, call: Call, outs: tuple[TensorType, ...]) -> None:
        try:
            values = self._value_rules[call.node.op](call, outs)
        except _MALFORMED:
            return
        for index, value in enumerate(values):
            if value is not None and len(value) <= VALUE_SIZE:
                self._values[call.node.name, index] = value

    def _follow_handles(self, call: Call) -> None:
        node = call.node
        if node.op == "VarHandleOp":
            self._handles[node.name] = TensorType(node.dtype("dtype"), node.shape())
        elif call.refs and node.op not in ("TensorArrayV3", "StackV2"):
            self._handles[node.name] = self.handle_of(call.refs[0][0])


def _shared(attrs: Mapping[str, Attr]) -> object:
    """Return what nodes whose attributes are the same have in common, where their reader knows that of them."""
    return getattr(attrs, "twin", attrs)


class _Verdicts:
    """What a rule said of nodes that differ in nothing but the values of their inputs.

    Attributes:
        outs: types of the outputs where no value was asked for.
        needs: inputs whose values were asked for, None where none was.
        by_values: types of the outputs by these values.
    """

    __slots__ = ("by_values", "needs", "outs")

    def __init__(self) -> None:
        self.outs: tuple[TensorType, ...] | None = None
        self.needs: tuple[int, ...] | None = None
        self.by_values: dict[tuple[Value | None, ...], tuple[TensorType, ...]] = {}

    def learn(self, asked: Mapping[int, Value | None], outs: tuple[TensorType, ...]) -> None:
        """Remember one verdict."""
        if not asked and self.needs is None:
            self.outs = outs
            return
        needs = tuple(asked)
        if needs != self.needs:  # what else is asked for may depend on what the first values are
            self.needs, self.by_values = needs, {}
        self.by_values[tuple(asked.values())] = outs


def _with_shapes(outs: tuple[TensorType, ...], given: Mapping[int, Shape]) -> tuple[TensorType, ...]:
    wide = list(outs) + [UNKNOWN] * (max(given) + 1 - len(outs))
    for index, shape in given.items():
        wide[index] = TensorType(wide[index].dtype, shape)
    return tuple(wide)


def _with_hints(outs: tuple[TensorType, ...], node: Node) -> tuple[TensorType, ...]:
    """Add what the program that wrote the graph noted of the output shapes."""
    attr = node.attrs["_output_shapes"]
    hints = node.value("_output_shapes") if attr.kind == "list" and attr.value.kind == "shape" else ()
    return tuple(
        TensorType(out.dtype, merge(out.shape, hints[index]) if index < len(hints) else out.shape)
        for index, out in enumerate(outs)
    )


def _constant(node: Node) -> Value | None:
    tensor = node.tensor()
    if tensor is None or tensor.dtype not in _INTEGERS or tensor.size > VALUE_SIZE:
        return None
    try:
        return tensor.integers()
    except InputError:
        return None
