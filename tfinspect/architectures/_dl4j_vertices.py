"""What joins the layers of a Deeplearning4j network: preprocessors, and the vertices of its graphs."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final

from tfinspect.architectures._dl4j_layers import cropped, flattened, in_own_order, sliced
from tfinspect.architectures._dl4j_nodes import Value, shown
from tfinspect.ir.dtypes import DType

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tfinspect.architectures._dl4j_layers import Call
    from tfinspect.architectures._dl4j_nodes import Settings

TO_ROWS: Final = frozenset({"CnnToFeedForwardPreProcessor", "TensorFlowCnnToFeedForwardPreProcessor"})
TO_IMAGES: Final = "FeedForwardToCnnPreProcessor"
_SHORT: Final = {"cnnToFeedForward": "CnnToFeedForwardPreProcessor", "feedForwardToCnn": TO_IMAGES}
_JOINED_BY: Final = {"Add": "AddV2", "Average": "AddV2", "Max": "Maximum", "Product": "Mul", "Subtract": "Sub"}
_LEAST_NORM = 1e-8


# ------------------------------------------------------------------------------------------------------ preprocessors


def preprocess(call: Call, x: Value, key: str = "preprocessor") -> Value:
    """Apply the preprocessor that stands before a layer, where there is one.

    Raises:
        UnsupportedOpsError: it has no form here.
        InvalidGraphError: it does not fit what it is given.
    """
    word = call.settings.word(key)
    word = _SHORT.get(word, word)
    if not word:
        return x
    if word in TO_ROWS:
        return _rows(call, x, key, channels_last=word.startswith("TensorFlow"))
    if word == TO_IMAGES:
        return _images(call, x, key)
    raise call.settings.refused(f"stands behind a {word[:60]}")


def size_of(settings: Settings, key: str) -> tuple[int | None, int | None, int | None]:
    """Return height, width and channels as a preprocessor says them; what it leaves out or calls 0 is unknown."""
    names = ("inputHeight", "inputWidth", "numChannels")
    height, width, channels = (settings.count(f"{key}.{name}") or None for name in names)
    return height, width, channels


def _rows(call: Call, x: Value, key: str, *, channels_last: bool) -> Value:
    if not x.is_image:
        return x
    size = [told or known for told, known in zip(size_of(call.settings, key), x.shape, strict=True)]
    clash = any(known not in {None, n} for known, n in zip(x.shape, size, strict=True))
    height, width, channels = size
    if clash or height is None or width is None or channels is None:
        told = "x".join(str(n or "?") for n in size)
        raise call.settings.wrong(f"the preprocessor before it flattens images of {told}, and is given {shown(x)}")
    rows = flattened(call, x, (height, width, channels))
    keeps = channels_last or call.settings.word(f"{key}.format") == "NHWC"
    return replace(rows, flattened=None) if keeps else rows


def _images(call: Call, x: Value, key: str) -> Value:
    size = [
        told or known
        for told, known in zip(size_of(call.settings, key), x.shape if x.is_image else (None,) * 3, strict=True)
    ]
    height, width, channels = size
    if height is None or width is None or channels is None:
        raise call.settings.wrong("the preprocessor before it does not say the size of its images")
    if x.is_image:
        if any(known not in {None, n} for known, n in zip(x.shape, size, strict=True)):
            raise call.settings.wrong(f"the preprocessor before it makes images of {size}, and is given {shown(x)}")
        return x
    if x.shape != (height * width * channels,):
        raise call.settings.wrong(f"the preprocessor before it makes images of {size}, and is given {shown(x)}")
    nodes = call.nodes
    if x.flattened == (height, width, channels):
        shape = nodes.integers(f"{call.out}/image", [-1, height, width, channels])
        return Value(call.op("unflatten", "Reshape", x.ref, shape, Tshape=DType.INT32), (height, width, channels))
    x = in_own_order(call, x)
    shape = nodes.integers(f"{call.out}/image", [-1, channels, height, width])
    images = call.op("unflatten", "Reshape", x.ref, shape, Tshape=DType.INT32)
    last = nodes.integers(f"{call.out}/channels_last", [0, 2, 3, 1])
    return Value(call.op("Transpose", "Transpose", images, last, Tperm=DType.INT32), (height, width, channels))


# ----------------------------------------------------------------------------------------------------------- vertices


def _of_one_kind(call: Call, xs: Sequence[Value]) -> list[Value]:
    if not xs:
        raise call.settings.wrong("it takes nothing")
    if len({len(x.shape) for x in xs}) != 1:
        raise call.settings.wrong("it joins " + " and ".join(map(shown, xs[:2])))
    return [in_own_order(call, x) for x in xs]


def _merge(call: Call, xs: Sequence[Value]) -> Value:
    xs = _of_one_kind(call, xs)
    if len(xs) == 1:
        return replace(xs[0], ref=call.nodes.op(call.out, "Identity", xs[0].ref))
    sizes = [_agreed(call, [x.shape[axis] for x in xs], xs) for axis in range(len(xs[0].shape) - 1)]
    last = [x.shape[-1] for x in xs]
    axis = call.nodes.integers(f"{call.out}/axis", len(xs[0].shape))
    call.nodes.op(call.out, "ConcatV2", *(x.ref for x in xs), axis, N=len(xs), Tidx=DType.INT32)
    known = [n for n in last if n is not None]
    total = sum(known) if len(known) == len(last) else None
    return Value(call.out, (*sizes, total), trail=xs[0].trail)


def _agreed(call: Call, sizes: list[int | None], xs: Sequence[Value]) -> int | None:
    known = {size for size in sizes if size is not None}
    if len(known) > 1:
        raise call.settings.wrong("it joins " + " and ".join(dict.fromkeys(map(shown, xs))))
    return next(iter(known), None)


def _element_wise(call: Call, xs: Sequence[Value]) -> Value:
    xs = _of_one_kind(call, xs)
    word = call.settings.word("op")
    if word not in _JOINED_BY:
        raise call.settings.refused(f"joins by {word[:40] or 'nothing that is said'}")
    if word == "Subtract" and len(xs) != 2:  # noqa: PLR2004 - what is subtracted from, and what is
        raise call.settings.wrong(f"it subtracts, and is given {len(xs)} inputs")
    shape = tuple(_agreed(call, [x.shape[axis] for x in xs], xs) for axis in range(len(xs[0].shape)))
    ref = xs[0].ref
    for i, x in enumerate(xs[1:], 2):
        is_last = i == len(xs) and word != "Average"
        name = call.out if is_last else call.nodes.fresh(f"{call.out}/{word}")
        ref = call.nodes.op(name, _JOINED_BY[word], ref, x.ref)
    if word == "Average":
        call.nodes.op(call.out, "Mul", ref, call.nodes.number(f"{call.out}/share", 1 / len(xs)))
    elif len(xs) == 1:
        call.nodes.op(call.out, "Identity", ref)
    return Value(call.out, shape, trail=xs[0].trail)


def _only(call: Call, xs: Sequence[Value]) -> Value:
    if len(xs) != 1:
        raise call.settings.wrong(f"it takes one input, and is given {len(xs)}")
    return xs[0]


def _subset(call: Call, xs: Sequence[Value]) -> Value:
    x = in_own_order(call, _only(call, xs))
    first, last = call.settings.count("from"), call.settings.count("to")
    whole = x.shape[-1]
    if first is None or last is None or first > last or (whole is not None and last >= whole):
        raise call.settings.wrong(f"it takes {first} to {last} of {shown(x)}")
    before = [0] * len(x.shape)
    mask = (1 << len(before)) - 1
    sliced(call, x.ref, [*before, first], [*before, last + 1], begin_mask=mask, end_mask=mask)
    return Value(call.out, (*x.shape[:-1], last + 1 - first), trail=x.trail)


def _scale(call: Call, xs: Sequence[Value]) -> Value:
    x = _only(call, xs)
    factor = call.nodes.number(f"{call.out}/factor", call.settings.number("scaleFactor", 1.0))
    return replace(x, ref=call.nodes.op(call.out, "Mul", x.ref, factor))


def _shift(call: Call, xs: Sequence[Value]) -> Value:
    x = _only(call, xs)
    added = call.nodes.number(f"{call.out}/added", call.settings.number("shiftFactor", 0.0))
    return replace(x, ref=call.nodes.op(call.out, "AddV2", x.ref, added))


def _unit_length(call: Call, xs: Sequence[Value]) -> Value:
    x = _only(call, xs)
    dimensions = call.settings.layer.settings.get("dimension")
    axes = list(range(1, len(x.shape) + 1))
    if dimensions not in (None, [], axes):
        raise call.settings.refused("normalises over some dimensions only")
    square = call.op("Square", "Square", x.ref)
    over = call.nodes.integers(f"{call.out}/axes", axes)
    total = call.op("Sum", "Sum", square, over, Tidx=DType.INT32, keep_dims=True)
    least = call.nodes.number(f"{call.out}/least", call.settings.number("eps", _LEAST_NORM))
    norm = call.op("Maximum", "Maximum", call.op("Sqrt", "Sqrt", total), least)
    return replace(x, ref=call.nodes.op(call.out, "RealDiv", x.ref, norm))


def _preprocessor(call: Call, xs: Sequence[Value]) -> Value:
    x = preprocess(call, _only(call, xs), "preProcessor")
    return replace(x, ref=call.nodes.op(call.out, "Identity", x.ref))


def _pool_helper(call: Call, xs: Sequence[Value]) -> Value:
    return cropped(call, _only(call, xs), (1, 0, 1, 0))


VERTICES: Final[dict[str, Callable[[Call, Sequence[Value]], Value]]] = {
    "ElementWiseVertex": _element_wise,
    "L2NormalizeVertex": _unit_length,
    "MergeVertex": _merge,
    "PoolHelperVertex": _pool_helper,
    "PreprocessorVertex": _preprocessor,
    "ScaleVertex": _scale,
    "ShiftVertex": _shift,
    "SubsetVertex": _subset,
}
KEEPING_CHANNELS: Final = frozenset({"ElementWiseVertex", "PoolHelperVertex", "ScaleVertex", "ShiftVertex"})
