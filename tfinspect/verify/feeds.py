"""What both models are fed: deterministic, plausible, and hard on the usual mistakes.

Images are 1/f noise, as photographs are, so that deep activations look as they do in use; beside them impulses in
corners and on edges (padding, shifts, swapped axes), ramps (resizing), high amplitudes (clips), negative ones (ReLUs).
Dynamic batches run as 1, 2 and 3, so that a batch size baked into one model is found; dynamic heights and widths are
odd and differ from each other.
"""

from __future__ import annotations

import math
import zlib
from typing import TYPE_CHECKING, Any

import numpy as np

from tfinspect.errors import UsageError
from tfinspect.ir.dtypes import DType
from tfinspect.verify import _jpeg, _patterns
from tfinspect.verify.data import feeds_from
from tfinspect.verify.feed_spec import IMAGE_RANKS, FeedSpec, concrete, fixed_value, likely_kind

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy.typing as npt

__all__ = ["FeedSpec", "feeds_from", "likely_kind", "make_feeds"]

FEW_SAMPLES, MANY_SAMPLES = 8, 16
_TINY_SIZE = 4096  # elements over all inputs below which twice the samples cost nothing
_HIGHEST_ID = 3  # vocabularies and axes are rarely shorter, so that a gather stays in range
_JPEG_SIZES = ((40, 48), (48, 33), (37, 64), (32, 32))
_WORDS = (b"cat", b"a small dog", b"Zebra 7", b"", b"tulips, red", b"caf\xc3\xa9", b"the quick brown fox", b"0.5")


def make_feeds(
    specs: Sequence[FeedSpec], *, seed: int = 0, samples: int | None = None
) -> list[Mapping[str, npt.NDArray[Any]]]:
    """Make the feeds of every run; the same arguments always give the same bytes.

    Args:
        specs: the inputs.
        seed: any non-negative number.
        samples: number of runs; by default 8, or 16 where the inputs are tiny.

    Returns:
        One mapping from input name to array a run.

    Raises:
        UsageError: a fixed value does not fit its input, or an input is of a type that cannot be fed.
    """
    for spec in specs:
        if spec.dtype in (DType.RESOURCE, DType.VARIANT, DType.INVALID):
            raise UsageError(f"`{spec.name}` is a {spec.dtype} and cannot be fed", evidence={"name": spec.name})
    if samples is None:
        tiny = all(math.prod(concrete(spec, 0)) <= _TINY_SIZE for spec in specs)
        samples = MANY_SAMPLES if tiny else FEW_SAMPLES
    # arithmetic on arrays of no dimensions gives scalars, which no runtime takes
    return [{spec.name: np.asarray(_make(spec, seed, run)) for spec in specs} for run in range(samples)]


def _make(spec: FeedSpec, seed: int, run: int) -> npt.NDArray[Any]:
    shape = concrete(spec, run)
    if spec.value is not None:
        return fixed_value(spec, run)
    # the name takes part, so that two inputs of one shape do not get the same values
    rng = np.random.default_rng([seed, run, zlib.crc32(spec.name.encode())])
    if spec.dtype is DType.STRING:
        return _strings(spec, shape, rng)
    if spec.dtype is DType.BOOL or (spec.kind == "flag" and spec.dtype.is_integer):
        # two flags must not always be true together
        return _truths(shape, rng, run >> (zlib.crc32(spec.name.encode()) & 1)).astype(spec.dtype.numpy)
    if spec.kind in {"image", "pixels"} and len(shape) in IMAGE_RANKS:
        return _image(spec, shape, rng, run)
    if spec.kind == "ids" or spec.dtype.is_integer or not (spec.dtype.is_floating or _is_complex(spec.dtype)):
        return _integers(spec, shape, rng, run)
    values = _patterns.numbers(shape, rng, run)
    if _is_complex(spec.dtype):
        return np.asarray(values + 1j * _patterns.numbers(shape, rng, run)).astype(spec.dtype.numpy)
    return _into_range(values, spec).astype(spec.dtype.numpy)


def _is_complex(dtype: DType) -> bool:
    return dtype in (DType.COMPLEX64, DType.COMPLEX128)


def _strings(spec: FeedSpec, shape: tuple[int, ...], rng: np.random.Generator) -> npt.NDArray[Any]:
    out = np.empty(shape, dtype=object)
    flat = out.reshape(-1)
    for at in range(flat.size):
        if spec.kind == "jpeg":
            height, width = _JPEG_SIZES[int(rng.integers(len(_JPEG_SIZES)))]
            pixels = _patterns.natural((height, width, 3), rng) * 127.5 + 127.5
            flat[at] = _jpeg.encode(pixels.astype(np.uint8))
        else:
            word = _WORDS[int(rng.integers(len(_WORDS)))]
            flat[at] = word + b" %d" % rng.integers(100) if word else word
    return out


def _truths(shape: tuple[int, ...], rng: np.random.Generator, run: int) -> npt.NDArray[np.bool_]:
    if math.prod(shape) == 1:
        return np.full(shape, run % 2 == 1)
    # all false, all true and mixtures in between: `any` and `all` must change as well
    share = (0.5, 0.2, 0.8, 0.5, 1.0, 0.4, 0.0, 0.6)[run % 8]
    return np.asarray(rng.random(shape) < share)


def _integers(spec: FeedSpec, shape: tuple[int, ...], rng: np.random.Generator, run: int) -> npt.NDArray[Any]:
    # `any` starts at 1: an integer division by zero kills some runtimes instead of failing
    low = int(spec.low) if spec.low is not None else (0 if spec.kind == "ids" else 1)
    high = int(spec.high) if spec.high is not None else max(low, _HIGHEST_ID)
    if spec.kind == "pixels":
        low, high = int(spec.low or 0), 255 if spec.high is None else int(spec.high)
    top = high if run % 3 != 1 else max(low, (low + high) // 2)  # some runs use short vocabularies only
    values = rng.integers(low, top, shape, endpoint=True)
    if len(shape) == 1 and run % 2:
        values = np.sort(values)  # segment ids must ascend
    return np.asarray(values).astype(spec.dtype.numpy)


def _image(spec: FeedSpec, shape: tuple[int, ...], rng: np.random.Generator, run: int) -> npt.NDArray[Any]:
    bounded = spec.low is not None or spec.high is not None or spec.kind == "pixels" or spec.dtype.is_integer
    images = shape if len(shape) == max(IMAGE_RANKS) else (1, *shape)
    out = np.empty(images)
    if not out.size:
        return out.reshape(shape).astype(spec.dtype.numpy)
    for at in range(images[0]):
        # members of a batch differ in kind as well, so that a batch that is mixed up shows
        out[at] = _patterns.image(images[1:], rng, run + 3 * at, bounded=bounded)
    values = out.reshape(shape)
    if bounded:
        default = (0.0, 255.0) if spec.kind == "pixels" or spec.dtype.is_integer else (-1.0, 1.0)
        low = default[0] if spec.low is None else spec.low
        high = default[1] if spec.high is None else spec.high
        values = np.clip((values + 1) / 2, 0, 1) * (high - low) + low
    if spec.dtype.is_integer:
        values = np.rint(values)
    return values.astype(spec.dtype.numpy)


def _into_range(values: npt.NDArray[np.float64], spec: FeedSpec) -> npt.NDArray[np.float64]:
    if spec.low is None and spec.high is None:
        return values * 255.0 if spec.kind == "pixels" else values
    low = spec.low if spec.low is not None else (spec.high or 0.0) - 1.0
    high = spec.high if spec.high is not None else low + 1.0
    # a smooth squeeze keeps different values different, as a clip would not
    return low + (high - low) * (0.5 + np.arctan(values) / np.pi)
