"""Two graphs name by name: nodes, functions, signatures; operator and layer lists are compared as nodes are."""

from __future__ import annotations

import itertools
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from tfinspect.ir.attrs import Attr, AttrList, FuncRef

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from tfinspect.ir.functions import Function, FunctionBody
    from tfinspect.ir.layers import Layer
    from tfinspect.ir.operators import Operator
    from tfinspect.ir.signature import Signature, TensorSpec
    from tfinspect.surgery.pair_names import Pairing

_NUMBERED = re.compile(r"_\d+(?=_|$)")
_COLOCATED = "_class"
_LOC = b"loc:@"


class Part(Protocol):
    """What nodes, operators and layers have in common; values of `attrs` are `Attr` or plain."""

    @property
    def name(self) -> str:
        """Name, unique in its model."""

    @property
    def op(self) -> str:
        """What it does."""

    @property
    def inputs(self) -> tuple[str, ...]:
        """What it takes."""

    @property
    def device(self) -> str:
        """Where it is pinned to."""

    @property
    def attrs(self) -> Mapping[str, Any]:
        """Attribute values by name."""


@dataclass(frozen=True, slots=True)
class PlainPart:
    """An operator or a layer as a `Part`."""

    name: str
    op: str
    inputs: tuple[str, ...]
    attrs: Mapping[str, Any]
    device: str = ""


@dataclass(frozen=True, slots=True)
class Change:
    """One field that differs.

    Attributes:
        name: in the first model.
        field: `op`, `inputs`, `device`, or the name of an attribute.
        a: value in the first model, None where it has none.
        b: value in the second.
    """

    name: str
    field: str
    a: object
    b: object


@dataclass(frozen=True, slots=True)
class PartsDifference:
    """How two sets of named things differ.

    Attributes:
        count_a: how many the first has.
        count_b: how many the second has.
        paired: how many have a counterpart.
        added: names that only the second has.
        removed: names that only the first has.
        changed: what differs in those that both have.
        renamed: (name in the first, name in the second), recognised by what they are alone.
        ops: operation by name, of those added and removed.
        reordered: whether those that both have come in another order, which is no difference.
    """

    count_a: int = 0
    count_b: int = 0
    paired: int = 0
    added: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    changed: tuple[Change, ...] = ()
    renamed: tuple[tuple[str, str], ...] = ()
    ops: Mapping[str, str] = field(default_factory=dict)
    reordered: bool = False

    @property
    def differs(self) -> bool:
        """Whether there is any difference."""
        return bool(self.added or self.removed or self.changed or self.renamed)


def compare_parts(
    a: Mapping[str, Part],
    b: Mapping[str, Part],
    pairing: Pairing,
    *,
    functions: Mapping[str, str] | None = None,
    keep: Callable[[str], bool] = lambda _: True,
) -> PartsDifference:
    """Compare nodes, operators or layers.

    Args:
        a: those of the first model, by name, in file order.
        b: those of the second.
        pairing: which is which.
        functions: name in the first model of each function of the second.
        keep: whether a name is asked for; a pair is where either name is.

    Raises:
        InputError: an attribute cannot be read.
    """
    back = {other: name for name, other in pairing.names.items()}
    pairs = [(name, other) for name, other in pairing.names.items() if keep(name) or keep(other)]
    changed: list[Change] = []
    for name, other in sorted(pairs, key=_order_in(a)):
        changed += _changes(a[name], b[other], back, functions or {})
    added = tuple(name for name in b if name not in back and keep(name))
    removed = tuple(name for name in a if name not in pairing.names and keep(name))
    ops = {name: b[name].op for name in added} | {name: a[name].op for name in removed}
    order_b = {name: place for place, name in enumerate(b)}
    places = [order_b[pairing.names[name]] for name in a if name in pairing.names]
    return PartsDifference(
        count_a=sum(map(keep, a)),
        count_b=sum(map(keep, b)),
        paired=len(pairs),
        added=added,
        removed=removed,
        changed=tuple(changed),
        renamed=tuple((name, other) for name, other in pairs if name in pairing.renamed),
        ops=ops,
        reordered=any(later < earlier for earlier, later in itertools.pairwise(places)),
    )


def _order_in(a: Mapping[str, object]) -> Callable[[tuple[str, str]], int]:
    places = {name: place for place, name in enumerate(a)}
    return lambda pair: places[pair[0]]


def _changes(x: Part, y: Part, back: Mapping[str, str], functions: Mapping[str, str]) -> Iterator[Change]:
    for word, mine, theirs in (("op", x.op, y.op), ("device", x.device, y.device)):
        if mine != theirs:
            yield Change(x.name, word, mine, theirs)
    if x.inputs != y.inputs or back:
        data_x, control_x = _inputs(x.inputs, {})
        data_y, control_y = _inputs(y.inputs, back)
        if (data_x, control_x) != (data_y, control_y):
            yield Change(x.name, "inputs", x.inputs, y.inputs)
    elsewhere = _kept_as_weight(x, y)
    for key in dict.fromkeys([*x.attrs, *y.attrs]):
        if key in elsewhere:
            continue
        if not same_attr(x.attrs.get(key), y.attrs.get(key), back if key == _COLOCATED else {}, functions):
            yield Change(x.name, key, x.attrs.get(key), y.attrs.get(key))


def _kept_as_weight(x: Part, y: Part) -> set[str]:
    """Return the attributes of two constants that are compared among the weights: value, and dtype where it is that."""
    if not x.op == y.op == "Const":
        return set()
    values = [part.attrs.get("value") for part in (x, y)]
    tensors = [value.value for value in values if isinstance(value, Attr) and value.kind == "tensor"]
    if len(tensors) < len(values):
        return set()
    dtypes = [part.attrs.get("dtype") for part in (x, y)]
    said = [attr.value if isinstance(attr, Attr) else None for attr in dtypes]
    return {"value", "dtype"} if said == [tensor.dtype for tensor in tensors] else {"value"}


def _inputs(texts: Iterable[str], back: Mapping[str, str]) -> tuple[list[str], list[str]]:
    """Return data inputs in order and control inputs sorted, by their names in the first model."""
    data, control = [], []
    for text in texts:
        if text.startswith("^"):
            control.append(back.get(text[1:], text[1:]))
            continue
        name, colon, index = text.rpartition(":")
        if colon and name in back:
            text = f"{back[name]}:{index}"  # noqa: PLW2901 - the same input by its other name
        elif text in back:
            text = back[text]  # noqa: PLW2901 - as above
        data.append(text.removesuffix(":0"))
    return data, sorted(control)


def same_attr(a: object, b: object, back: Mapping[str, str], functions: Mapping[str, str]) -> bool:
    """Whether two attribute values are the same; names in the second are replaced as the mappings say."""
    if not (isinstance(a, Attr) and isinstance(b, Attr)):
        return type(a) is type(b) and (a == b or repr(a) == repr(b))  # repr: NaN in settings
    if a.kind != b.kind:
        return False
    if a.kind == "tensor":
        return a == b
    return _same(a.value, b.value, back, functions)


def _same(x: Any, y: Any, back: Mapping[str, str], functions: Mapping[str, str]) -> bool:  # noqa: ANN401
    if isinstance(x, AttrList) and isinstance(y, AttrList):
        return len(x.values) == len(y.values) and all(
            _same(p, q, back, functions) for p, q in zip(x.values, y.values, strict=True)
        )
    if isinstance(x, FuncRef) and isinstance(y, FuncRef):
        if x.name != functions.get(y.name, y.name) or set(x.attrs) != set(y.attrs):
            return False
        return all(same_attr(x.attrs[key], y.attrs[key], back, functions) for key in x.attrs)
    if back and isinstance(y, bytes) and y.startswith(_LOC):
        name = y.removeprefix(_LOC).decode("utf-8", "replace")
        y = _LOC + back.get(name, name).encode()
    return bool(x == y or (x != x and y != y))  # noqa: PLR0124 - NaN


def operator_parts(operators: Iterable[Operator]) -> dict[str, Part]:
    """Return operators as parts by name; those of a body under `BODY/NAME`."""
    found: dict[str, Part] = {}
    for operator in operators:
        name = f"{operator.body}/{operator.name}" if operator.body else operator.name
        extra = {"outputs": operator.outputs, "result_dtype": operator.dtype, "result_shape": operator.shape}
        attrs = {**operator.attrs, **extra}
        found[_free(name, found)] = PlainPart(name, operator.op, operator.inputs, attrs)
    return found


def layer_parts(layers: Iterable[Layer]) -> dict[str, Part]:
    """Return layers as parts by name."""
    found: dict[str, Part] = {}
    for layer in layers:
        attrs = {**layer.settings, "result_shape": layer.shape, "weight_names": layer.weights}
        attrs.pop("name", None)  # said already, and no change where the layer was renamed
        found[_free(layer.name, found)] = PlainPart(layer.name, layer.kind, layer.inputs, attrs)
    return found


def _free(name: str, taken: Mapping[str, object]) -> str:
    number, free = 1, name
    while free in taken:
        number += 1
        free = f"{name}#{number}"
    return free


def pair_functions(a: Iterable[str], b: Iterable[str]) -> dict[str, str]:
    """Pair functions by name, and those left by name without the numbers that TensorFlow puts in it."""
    names_a, names_b = list(a), list(b)
    pairs = {name: name for name in names_a if name in set(names_b)}
    plain: dict[str, tuple[list[str], list[str]]] = {}
    for side, names in enumerate((names_a, names_b)):
        for name in names:
            if name not in pairs:
                plain.setdefault(_NUMBERED.sub("", name), ([], []))[side].append(name)
    for mine, theirs in plain.values():
        if len(mine) == len(theirs) == 1:
            pairs[mine[0]] = theirs[0]
    return pairs


def compare_functions(
    a: Mapping[str, Function], b: Mapping[str, Function], keep: Callable[[str], bool] = lambda _: True
) -> PartsDifference:
    """Compare two function libraries; a change inside is in the field `NODE.FIELD`.

    Raises:
        InputError: a function cannot be read.
    """
    pairs = pair_functions(a, b)
    back = {other: name for name, other in pairs.items()}
    changed = [
        change
        for name, other in pairs.items()
        if keep(name) or keep(other)
        for change in _function_changes(name, a[name].body, b[other].body, back)
    ]
    return PartsDifference(
        count_a=sum(map(keep, a)),
        count_b=sum(map(keep, b)),
        paired=sum(keep(name) or keep(other) for name, other in pairs.items()),
        added=tuple(name for name in b if name not in back and keep(name)),
        removed=tuple(name for name in a if name not in pairs and keep(name)),
        changed=tuple(changed),
        renamed=tuple((n, o) for n, o in pairs.items() if n != o and (keep(n) or keep(o))),
    )


def _function_changes(name: str, a: FunctionBody, b: FunctionBody, back: Mapping[str, str]) -> Iterator[Change]:
    for word, mine, theirs in (("args", a.args, b.args), ("outputs", a.outputs, b.outputs)):
        if mine != theirs:
            yield Change(name, word, _typed(mine), _typed(theirs))
    if a.results != b.results:
        yield Change(name, "results", _listed(a.results), _listed(b.results))
    nodes_a, nodes_b = ({node.name: node for node in body.nodes} for body in (a, b))
    for node in nodes_a.values():
        other = nodes_b.get(node.name)
        if other is None:
            yield Change(name, node.name, node.op, None)
            continue
        for change in _changes(node, other, {}, back):
            yield Change(name, f"{node.name}.{change.field}", change.a, change.b)
        if node.op == other.op == "Const" and not same_attr(node.attrs.get("value"), other.attrs.get("value"), {}, {}):
            yield Change(name, f"{node.name}.value", node.attrs.get("value"), other.attrs.get("value"))
    for node in nodes_b.values():
        if node.name not in nodes_a:
            yield Change(name, node.name, None, node.op)


def _typed(pairs: Iterable[tuple[str, object]]) -> tuple[str, ...]:
    return tuple(name if dtype is None else f"{name} {dtype}" for name, dtype in pairs)


def _listed(results: Mapping[str, str]) -> tuple[str, ...]:
    return tuple(f"{name}={tensor}" for name, tensor in results.items())


def compare_signatures(
    a: Mapping[str, Signature],
    b: Mapping[str, Signature],
    back: Mapping[str, str],
    keep: Callable[[str], bool] = lambda _: True,
) -> PartsDifference:
    """Compare signatures by name, and their inputs and outputs by key.

    Args:
        a: those of the first model.
        b: those of the second.
        back: name in the first model of each node of the second that has another one.
        keep: whether a name is asked for.
    """
    both = [name for name in a if name in b and keep(name)]
    changed: list[Change] = []
    for name in both:
        if a[name].method != b[name].method:
            changed.append(Change(name, "method", a[name].method, b[name].method))
        for word in ("inputs", "outputs"):
            mine = {spec.key or spec.name: spec for spec in getattr(a[name], word)}
            theirs = {spec.key or spec.name: spec for spec in getattr(b[name], word)}
            for key in dict.fromkeys([*mine, *theirs]):
                x, y = _spec(mine.get(key), {}), _spec(theirs.get(key), back)
                if x != y:
                    changed.append(Change(name, f"{word}.{key}", x, _spec(theirs.get(key), {})))
    return PartsDifference(
        count_a=sum(map(keep, a)),
        count_b=sum(map(keep, b)),
        paired=len(both),
        added=tuple(name for name in b if name not in a and keep(name)),
        removed=tuple(name for name in a if name not in b and keep(name)),
        changed=tuple(changed),
    )


def _spec(spec: TensorSpec | None, back: Mapping[str, str]) -> str | None:
    from tfinspect.ir.shapes import format_shape

    if spec is None:
        return None
    name = back.get(spec.ref.name, spec.ref.name)
    return f"{name}:{spec.ref.index} {'?' if spec.dtype is None else spec.dtype} {format_shape(spec.shape)}"
