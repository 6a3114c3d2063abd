"""Arithmetic on shapes that are partly unknown, and the shapes of rules that many ops share."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

from tfinspect.ir.shapes import merge as merge_shapes
from tfinspect.surgery.shapes import UNKNOWN, TensorType

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from tfinspect.ir.dtypes import DType
    from tfinspect.ir.shapes import Shape
    from tfinspect.surgery.shapes import Call, Value

MAX_OUTPUTS = 1 << 10  # a few bytes of an attribute can claim any number of outputs; of more, the types are not told

Rule: TypeAlias = "Callable[[Call], Iterable[TensorType]]"
"""Gives the types of a node's outputs; may raise what `shapes` lists as malformed."""


def broadcast(a: Shape, b: Shape) -> Shape:
    """Return the shape two operands broadcast to."""
    if a is None or b is None:
        return None
    rank = max(len(a), len(b))
    pairs = zip((1,) * (rank - len(a)) + a, (1,) * (rank - len(b)) + b, strict=True)
    return tuple(_broadcast_dim(x, y) for x, y in pairs)


def _broadcast_dim(x: int | None, y: int | None) -> int | None:
    if x == 1:
        return y
    if y in (1, x):
        return x
    if x is None or y is None:
        return x if y is None else y
    return None


def common(shapes: Sequence[Shape]) -> Shape:
    """Return what holds for every one of some shapes: the dimensions they agree on."""
    if not shapes or any(s is None for s in shapes):
        return None
    known = [s for s in shapes if s is not None]
    if any(len(s) != len(known[0]) for s in known):
        return None
    return tuple(dims[0] if all(d == dims[0] for d in dims) else None for dims in zip(*known, strict=True))


def merged(shapes: Iterable[Shape]) -> Shape:
    """Return what several shapes that must be one say together."""
    result: Shape = None
    for shape in shapes:
        result = merge_shapes(result, shape)
    return result


def dims_of(value: Value | None, length: Shape) -> Shape:
    """Return the shape an integer vector stands for; at least its rank where only the vector's length is known."""
    if value is not None:
        return tuple(None if d is None or d < 0 else d for d in value)
    if length is not None and len(length) == 1 and length[0] is not None:
        return (None,) * length[0]
    return None


def axis_of(axis: int | None, rank: int) -> int | None:
    """Return an axis counted from the front, or None where it is unknown or out of range."""
    if axis is None or not -rank <= axis < rank:
        return None
    return axis + rank if axis < 0 else axis


def with_dim(shape: tuple[int | None, ...], axis: int, dim: int | None) -> tuple[int | None, ...]:
    """Return the shape with one dimension replaced."""
    return (*shape[:axis], dim, *shape[axis + 1 :])


def times(*dims: int | None) -> int | None:
    """Return the product of dimensions, None where one is unknown."""
    result = 1
    for dim in dims:
        if dim is None:
            return None
        result *= dim
    return result


def plus(*dims: int | None) -> int | None:
    """Return the sum of dimensions, None where one is unknown."""
    known = [d for d in dims if d is not None]
    return sum(known) if len(known) == len(dims) else None


def element(call: Call) -> DType | None:
    """Type of the first input, or the attribute `T`."""
    return call.dtype(0) or call.node.dtype("T")


def same(call: Call) -> tuple[TensorType]:
    """The output is as the first input."""
    first = call.ins[0] if call.ins else UNKNOWN
    return (first if first.dtype is not None else TensorType(call.node.dtype("T"), first.shape),)


def alike(kind: TensorType, count: int) -> list[TensorType]:
    """Return outputs that are all of one type."""
    return [kind] * min(count, MAX_OUTPUTS)


def gathered(shape: Shape, indices: Shape, axis: int, batch: int) -> Shape:
    """Return the shape of slices taken along one axis."""
    if shape is None or indices is None or not shape:
        return None
    return (*shape[:axis], *indices[batch:], *shape[axis + 1 :])


def typed(dtype: DType) -> Rule:
    """The output has a type of its own and the shape of the first input."""
    return lambda call: [TensorType(dtype, call.shape(0))]


def fixed(dtype: DType | str, shape: Shape) -> Rule:
    """The output always has one shape; its type is given, or stands in that attribute."""
    if isinstance(dtype, str):
        return lambda call: [TensorType(call.node.dtype(dtype), shape)]
    return lambda _: [TensorType(dtype, shape)]


def table(names: str, rule: Rule) -> dict[str, Rule]:
    """Give several ops, separated by blanks, one rule."""
    return dict.fromkeys(names.split(), rule)
