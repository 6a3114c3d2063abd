"""What an input is, as far as feeding it goes, and the sizes chosen where it leaves them open."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from tfinspect.errors import UsageError
from tfinspect.ir.dtypes import DType
from tfinspect.ir.shapes import format_shape

if TYPE_CHECKING:
    import numpy.typing as npt

    from tfinspect.ir.shapes import Shape

Kind = Literal["image", "pixels", "jpeg", "ids", "flag", "text", "any"]
BATCHES = (1, 2, 3, 1, 2, 1, 3, 2)
IMAGE_SIZES = ((65, 81), (65, 81), (97, 129))  # height, width; odd, so that rounding of paddings and strides shows
OTHER_SIZE = 5
_IMAGE_CHANNELS = (1, 3, 4)
_SMALLEST_IMAGE = 16
IMAGE_RANKS = (3, 4)


@dataclass(frozen=True, slots=True)
class FeedSpec:
    """One input, and what to feed it.

    Attributes:
        name: `name:index`, the key of the feeds made.
        dtype: element type.
        shape: as far as it is known.
        kind: `image` (floats around [-1, 1]), `pixels` (0 to 255), `jpeg` (encoded files), `ids` (small indices from
            0), `flag` (both truth values), `text`, or `any`.
        low: least value, where the model demands one; with `high` it keeps every sample inside.
        high: greatest value, inclusive.
        value: a value that is always fed (phase flags); broadcast to the shape where that is known.
        sizes: sizes for unknown dimensions, by axis; None keeps the default for that axis.
    """

    name: str
    dtype: DType
    shape: Shape
    kind: Kind = "any"
    low: float | None = None
    high: float | None = None
    value: npt.ArrayLike | None = None
    sizes: tuple[int | None, ...] = ()


def likely_kind(dtype: DType, shape: Shape) -> Kind:
    """Return the kind an input of that dtype and shape most likely is; `jpeg` cannot be told from them."""
    if dtype is DType.STRING:
        return "text"
    if dtype is DType.BOOL:
        return "flag"
    if shape is not None and len(shape) in IMAGE_RANKS and (shape[-1] is None or shape[-1] in _IMAGE_CHANNELS):
        height, width = shape[-3:-1]
        if all(size is None or size >= _SMALLEST_IMAGE for size in (height, width)):
            return "pixels" if dtype.is_integer else "image"
    return "ids" if dtype.is_integer else "any"


def concrete(spec: FeedSpec, run: int) -> tuple[int, ...]:
    """Return the shape of one run, every unknown dimension chosen."""
    shape = spec.shape
    if shape is None:
        if spec.kind in {"flag", "jpeg", "text"} or spec.value is not None:
            return ()
        shape = (None,) * 4 if spec.kind in {"image", "pixels"} else (None,) * (len(spec.sizes) or 2)
    rank = len(shape)
    image = spec.kind in {"image", "pixels"} and rank in IMAGE_RANKS
    height_width = IMAGE_SIZES[run % len(IMAGE_SIZES)]
    chosen = []
    for axis, size in enumerate(shape):
        hint = spec.sizes[axis] if axis < len(spec.sizes) else None
        if size is not None:
            chosen.append(size)
        elif hint is not None:
            chosen.append(hint)
        elif image and axis >= rank - 3:
            chosen.append((*height_width, 3)[axis - (rank - 3)])
        elif axis == 0:
            chosen.append(BATCHES[run % len(BATCHES)])
        else:
            chosen.append(OTHER_SIZE)
    return tuple(chosen)


def fixed_value(spec: FeedSpec, run: int) -> npt.NDArray[Any]:
    """Return the value of an input that always gets the same, in the shape of one run.

    Raises:
        UsageError: it does not fit the input.
    """
    shape = concrete(spec, run)
    try:
        value = np.asarray(spec.value, dtype=spec.dtype.numpy)
        return np.broadcast_to(value, shape).copy() if spec.shape is not None else value
    except (ValueError, TypeError, OverflowError):
        raise UsageError(
            f"the value given for `{spec.name}` does not fit {spec.dtype} {format_shape(spec.shape)}",
            evidence={"name": spec.name, "dtype": str(spec.dtype)},
        ) from None
