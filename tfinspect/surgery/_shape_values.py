"""Values of small integer tensors that can be told in advance: the arithmetic by which graphs compute shapes.

A value is a tuple of plain ints in row-major order, None where an element is not known. A rule gives one value, or
None, for each output; it is asked only where the first output is an integer tensor.
"""

from __future__ import annotations

import math
import operator
from typing import TYPE_CHECKING, TypeAlias

from tfinspect.ir.shapes import is_static
from tfinspect.surgery.shapes import VALUE_SIZE

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tfinspect.ir.shapes import Shape
    from tfinspect.surgery.shapes import Call, TensorType, Value

ValueRule: TypeAlias = "Callable[[Call, Sequence[TensorType]], Sequence[Value | None]]"
_NEW_AXIS = object()
_ELLIPSIS = object()


def _same(call: Call, _: Sequence[TensorType]) -> Sequence[Value | None]:
    return (call.value(0),)


def _shape(call: Call, _: Sequence[TensorType]) -> Sequence[Value | None]:
    return [t.shape for t in call.ins]


def _variable_shape(call: Call, _: Sequence[TensorType]) -> Sequence[Value | None]:
    return (call.handle().shape,)


def _size(call: Call, _: Sequence[TensorType]) -> Sequence[Value | None]:
    shape = call.shape(0)
    dims = [d for d in shape or () if d is not None]
    return (None if shape is None or len(dims) != len(shape) else (math.prod(dims),),)


def _rank(call: Call, _: Sequence[TensorType]) -> Sequence[Value | None]:
    shape = call.shape(0)
    return (None if shape is None else (len(shape),),)


def _pack(call: Call, _: Sequence[TensorType]) -> Sequence[Value | None]:
    # all have one shape, so that one scalar among them makes them all scalars
    if any(t.shape not in ((), None) for t in call.ins) or all(t.shape is None for t in call.ins):
        return (None,)
    return (tuple(call.scalar(i) for i in range(len(call.ins))),)


def _concat(first: int, last: int) -> ValueRule:
    def rule(call: Call, _: Sequence[TensorType]) -> Sequence[Value | None]:
        joined: list[int | None] = []
        for index in range(first, len(call.ins) + last):
            shape = call.shape(index)
            if shape is None or len(shape) != 1 or shape[0] is None or shape[0] > VALUE_SIZE:
                return (None,)
            joined += call.value(index) or (None,) * shape[0]
        return (tuple(joined),)

    return rule


def _elementwise(compute: Callable[[int, int], int]) -> ValueRule:
    def rule(call: Call, _: Sequence[TensorType]) -> Sequence[Value | None]:
        shapes = call.shape(0), call.shape(1)
        if any(s is None or len(s) > 1 or not is_static(s) for s in shapes):
            return (None,)
        a, b = call.value(0), call.value(1)
        if a is None and b is None:
            return (None,)
        count = max(math.prod(d or 0 for d in s or ()) for s in shapes)
        if count > VALUE_SIZE:
            return (None,)
        wide = [_spread(v, count) for v in (a, b)]
        return (tuple(None if x is None or y is None else compute(x, y) for x, y in zip(*wide, strict=True)),)

    return rule


def _spread(value: Value | None, count: int) -> Value:
    if value is None:
        return (None,) * count
    return value * count if len(value) == 1 else value


def _truncated(a: int, b: int) -> int:
    return abs(a) // abs(b) * (1 if (a < 0) == (b < 0) else -1)


def _negated(call: Call, _: Sequence[TensorType]) -> Sequence[Value | None]:
    value = call.value(0)
    return (None if value is None else tuple(None if v is None else -v for v in value),)


def _reduced(compute: Callable[[Sequence[int]], int]) -> ValueRule:
    def rule(call: Call, outs: Sequence[TensorType]) -> Sequence[Value | None]:
        value, shape = call.value(0), call.shape(0)
        axes = call.value(1)
        if value is None or shape is None or len(shape) > 1 or axes is None:
            return (None,)
        if not axes or not shape:
            return (value,)
        known = [v for v in value if v is not None]
        return ((compute(known) if len(known) == len(value) else None,) if outs[0].shape in ((), (1,)) else None,)

    return rule


def _range(call: Call, outs: Sequence[TensorType]) -> Sequence[Value | None]:
    (count,) = outs[0].shape or (None,)
    start, delta = call.scalar(0), call.scalar(2)
    if count is None or count > VALUE_SIZE or start is None or delta is None:
        return (None,)
    return (tuple(start + i * delta for i in range(count)),)


def _gather(call: Call, outs: Sequence[TensorType]) -> Sequence[Value | None]:
    value, shape, indices = call.value(0), call.shape(0), call.value(1)
    if value is None or shape is None or len(shape) != 1 or indices is None or outs[0].shape is None:
        return (None,)
    return (tuple(None if i is None else value[i] for i in indices),)


def _fill(call: Call, outs: Sequence[TensorType]) -> Sequence[Value | None]:
    shape = outs[0].shape
    dims = [d for d in shape or () if d is not None]
    if shape is None or len(dims) != len(shape) or math.prod(dims) > VALUE_SIZE:
        return (None,)
    return ((call.scalar(1),) * math.prod(dims),)


def _unpack(call: Call, outs: Sequence[TensorType]) -> Sequence[Value | None]:
    value, shape = call.value(0), call.shape(0)
    if value is None or shape is None or len(shape) != 1:
        return (None,) * len(outs)
    return [(v,) for v in value]


def _split(data: int) -> ValueRule:
    def rule(call: Call, outs: Sequence[TensorType]) -> Sequence[Value | None]:
        value, shape = call.value(data), call.shape(data)
        sizes = [t.shape[0] if t.shape else None for t in outs]
        if value is None or shape is None or len(shape) != 1 or None in sizes:
            return (None,) * len(outs)
        parts, at = [], 0
        for size in sizes:
            parts.append(value[at : at + (size or 0)])
            at += size or 0
        return parts

    return rule


def _reverse(call: Call, _: Sequence[TensorType]) -> Sequence[Value | None]:
    value, shape = call.value(0), call.shape(0)
    if value is None or shape is None or len(shape) != 1 or not call.value(1):
        return (None,)
    return (value[::-1],)


def _slice(call: Call, outs: Sequence[TensorType]) -> Sequence[Value | None]:
    value, shape, begin = call.value(0), call.shape(0), call.scalar(1)
    size = outs[0].shape[0] if outs[0].shape else None
    if value is None or shape is None or len(shape) != 1 or begin is None or size is None:
        return (None,)
    return (value[begin : begin + size],)


def _strided_slice(call: Call, _: Sequence[TensorType]) -> Sequence[Value | None]:
    value, shape = call.value(0), call.shape(0)
    spec = slice_spec(call)
    if value is None or shape is None or len(shape) != 1 or spec is None or len(spec) != 1:
        return (None,)
    (item,) = spec
    if isinstance(item, int):
        return ((value[item],),)
    return (value[item] if isinstance(item, slice) and not _is_vague(item) else None,)


def slice_spec(call: Call) -> list[object] | None:
    """Return what a StridedSlice takes of each dimension, or None where even their number is not known.

    Elements are `slice`, an int for a dimension that goes, or one of two markers for `...` and a new axis. A bound that
    is not known is written as a slice of step 0.
    """
    begin, end, step = (call.value(i) for i in (1, 2, 3))
    lengths = [s[0] for s in map(call.shape, (1, 2, 3)) if s]
    known = [len(v) for v in (begin, end, step) if v is not None] + [n for n in lengths if n is not None]
    if not known:
        return None
    count = known[0]
    masks = {m: call.node.value(f"{m}_mask", 0) for m in ("begin", "end", "ellipsis", "new_axis", "shrink_axis")}
    columns = [v if v is not None else (None,) * count for v in (begin, end, step)]
    spec: list[object] = []
    for i, (first, last, by) in enumerate(zip(*columns, strict=True)):
        bit = 1 << i
        if masks["ellipsis"] & bit:
            spec.append(_ELLIPSIS)
        elif masks["new_axis"] & bit:
            spec.append(_NEW_AXIS)
        elif masks["shrink_axis"] & bit:
            spec.append(first if first is not None else slice(0, 1, None))
        else:
            open_first, open_last = bool(masks["begin"] & bit), bool(masks["end"] & bit)
            vague = by is None or (first is None and not open_first) or (last is None and not open_last)
            spec.append(
                slice(0, 0, 0) if vague else slice(None if open_first else first, None if open_last else last, by)
            )
    return spec


def _is_vague(item: slice) -> bool:
    return bool(item.step == 0)


def sliced_shape(call: Call) -> Shape:
    """Return the shape a StridedSlice gives."""
    shape, spec = call.shape(0), slice_spec(call)
    if shape is None or spec is None:
        return None
    shrinks = call.node.value("shrink_axis_mask", 0)
    ellipsis = call.node.value("ellipsis_mask", 0)
    used = sum(1 for item in spec if item is not _ELLIPSIS and item is not _NEW_AXIS)
    out: list[int | None] = []
    axis = 0
    for i, item in enumerate(spec):
        if item is _ELLIPSIS:
            rest = len(shape) - used
            out += shape[axis : axis + rest]
            axis += rest
        elif item is _NEW_AXIS:
            out.append(1)
        else:
            if isinstance(item, slice) and not shrinks & ~ellipsis & (1 << i):
                out.append(_sliced_dim(shape[axis], item))
            axis += 1
    return (*out, *shape[axis:])


def _sliced_dim(dim: int | None, item: slice) -> int | None:
    if _is_vague(item):
        return None
    if dim is not None:
        return len(range(*item.indices(dim)))
    return None


VALUES: dict[str, ValueRule] = {
    **dict.fromkeys(("Identity", "Reshape", "Squeeze", "ExpandDims", "StopGradient", "Enter", "Cast"), _same),
    "Shape": _shape,
    "ShapeN": _shape,
    "VariableShape": _variable_shape,
    "Size": _size,
    "Rank": _rank,
    "Pack": _pack,
    "Concat": _concat(1, 0),
    "ConcatV2": _concat(0, -1),
    "Add": _elementwise(operator.add),
    "AddV2": _elementwise(operator.add),
    "Sub": _elementwise(operator.sub),
    "Mul": _elementwise(operator.mul),
    "FloorDiv": _elementwise(operator.floordiv),
    "Div": _elementwise(_truncated),
    "FloorMod": _elementwise(operator.mod),
    "Maximum": _elementwise(max),
    "Minimum": _elementwise(min),
    "Neg": _negated,
    "Prod": _reduced(math.prod),
    "Sum": _reduced(sum),
    "Max": _reduced(max),
    "Min": _reduced(min),
    "Range": _range,
    "Gather": _gather,
    "GatherV2": _gather,
    "Fill": _fill,
    "Unpack": _unpack,
    "Split": _split(1),
    "SplitV": _split(0),
    "Reverse": _reverse,
    "ReverseV2": _reverse,
    "Slice": _slice,
    "StridedSlice": _strided_slice,
}
