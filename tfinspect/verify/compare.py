"""Differences between two series of arrays, measured against how much the reference varies over the inputs.

An *item* is what belongs to one input: a row of an output whose first dimension follows the batch, else the output of
a whole run. The *scale* of an item is the RMS of its distance from the median item of its shape; the typical scale is
that of three quarters of the items, so that a few inputs of high amplitude do not make everything else look small.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from tfinspect.ir.dtypes import DType

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import numpy.typing as npt

    from tfinspect.verify.tolerance import Tolerance

_BLOCK_NBYTES = 32 << 20  # of float64 held at a time while medians are taken
_TYPICAL_SHARE = 0.75


@dataclass(frozen=True, slots=True)
class Item:
    """What one input gave.

    Attributes:
        run: number of the run.
        row: number of the row within the run, None where the run is one item.
        values: the elements in their own dtype, with their shape.
    """

    run: int
    row: int | None
    values: npt.NDArray[Any]

    def position(self, flat: int) -> tuple[int, ...]:
        """Return the index within the run's whole array of an element given by its flat index in the item."""
        index = tuple(int(i) for i in np.unravel_index(flat, self.values.shape)) if self.values.shape else ()
        return index if self.row is None else (self.row, *index)


def plain_array(array: npt.ArrayLike) -> npt.NDArray[Any]:
    """Return an array as it is compared: strings as bytes, complex numbers as pairs in a last dimension of 2."""
    out = np.asarray(array)
    if out.dtype.kind in "OSU":
        flat = [v.encode() if isinstance(v, str) else bytes(v) for v in out.reshape(-1).tolist()]
        strings = np.empty(len(flat), dtype=object)
        strings[:] = flat
        return strings.reshape(out.shape)
    if out.dtype.kind == "c":
        parts = np.stack((out.real, out.imag), axis=-1)
        return np.asarray(parts)
    return out


def dtype_of(array: npt.NDArray[Any]) -> DType:
    """Return the element type; INVALID for one TensorFlow does not have."""
    try:
        return DType.from_numpy(array.dtype)
    except ValueError:
        return DType.INVALID


def is_exact(dtype: DType) -> bool:
    """Whether values of that type must be equal to the bit."""
    return not (dtype.is_floating or dtype in (DType.COMPLEX64, DType.COMPLEX128))


def follows_batch(arrays: Sequence[npt.NDArray[Any]], leads: Sequence[frozenset[int]]) -> bool:
    """Whether the first dimension is the batch: it changes over the runs, and always is that of an input.

    Args:
        arrays: one tensor over the runs.
        leads: first dimensions of the inputs of each run.
    """
    sizes = {array.shape[0] for array in arrays if array.ndim}
    return len(sizes) > 1 and all(a.ndim > 0 and a.shape[0] in lead for a, lead in zip(arrays, leads, strict=True))


def items_of(arrays: Sequence[tuple[int, npt.NDArray[Any]]], *, rows: bool) -> list[Item]:
    """Cut the arrays of several (numbered) runs into items."""
    if not rows:
        return [Item(run, None, array) for run, array in arrays]
    return [Item(run, row, array[row]) for run, array in arrays for row in range(array.shape[0])]


def float64(values: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    """Return the values flat, as float64."""
    return np.asarray(values.reshape(-1), dtype=np.float64)


@dataclass(frozen=True, slots=True)
class Scales:
    """How much the items of a tensor vary.

    Attributes:
        typical: RMS distance from the median item of the same shape (or, where no two have the same, from the median
            element), over the three quarters of the items that vary least; 0 where most are the same, NaN where none
            is finite.
        own: the scale every item is measured with, never below the typical one.
        magnitude: largest RMS of an item, relative to its scale.
    """

    typical: float
    own: tuple[float, ...]
    magnitude: float


def scales_of(items: Sequence[Item], *, steps: bool = False) -> Scales:
    """Measure how much items vary; those that are not finite throughout take no part.

    Args:
        items: of one tensor.
        steps: the tensor takes whole numbers only, so that many items may well be equal: use all of them.
    """
    groups: dict[tuple[int, ...], list[int]] = {}
    for at, item in enumerate(items):
        if is_finite(item.values):
            groups.setdefault(item.values.shape, []).append(at)
    distance = [math.nan] * len(items)
    for members in groups.values():
        if len(members) > 1:
            for at, value in zip(members, _distances([items[m].values for m in members]), strict=True):
                distance[at] = value
    if groups and all(len(members) == 1 for members in groups.values()):
        # every item has a shape of its own: all that is left to measure from is their common level
        everything = [float64(items[members[0]].values) for members in groups.values()]
        level = float(np.median(np.concatenate(everything))) if any(e.size for e in everything) else 0.0
        for (at,), values in zip(groups.values(), everything, strict=True):
            distance[at] = _rms(values - level)
    known = sorted(d for d in distance if not math.isnan(d))
    kept = known if steps else known[: math.ceil(len(known) * _TYPICAL_SHARE)]
    typical = math.sqrt(sum(d * d for d in kept) / len(kept)) if kept else math.nan
    own = tuple(typical if math.isnan(d) else max(d, typical) for d in distance)
    magnitude = 0.0
    for item, scale in zip(items, own, strict=True):
        if scale > 0 and is_finite(item.values):
            magnitude = max(magnitude, _rms(float64(item.values)) / scale)
    return Scales(typical, own, magnitude)


def is_finite(values: npt.NDArray[Any]) -> bool:
    """Whether there is neither NaN nor infinity."""
    return bool(np.isfinite(values).all())


def _distances(arrays: list[npt.NDArray[Any]]) -> list[float]:
    """Return the RMS distance of each array from their elementwise median, block by block."""
    flat = [array.reshape(-1) for array in arrays]
    size = flat[0].size
    total = np.zeros(len(flat))
    block = max(1, _BLOCK_NBYTES // (8 * len(flat)))
    for start in range(0, size, block):
        stack = np.stack([f[start : start + block] for f in flat]).astype(np.float64)
        stack -= np.median(stack, axis=0)
        total += np.einsum("ij,ij->i", stack, stack)
    return [float(value) for value in np.sqrt(total / max(1, size))]


def _rms(values: npt.NDArray[np.float64]) -> float:
    return float(np.sqrt(np.mean(values * values))) if values.size else 0.0


@dataclass(frozen=True, slots=True)
class Difference:
    """How one series of items differs from another.

    Attributes:
        max_abs: greatest absolute difference.
        max_rel: greatest difference relative to the reference's element, where that is not zero.
        rms: greatest RMS difference of an item, relative to the item's scale.
        excess: greatest difference of an element relative to its own bound; above 1 is too much.
        worst: (run, *index) of the element with the greatest difference, None where all are equal.
        mismatched_nonfinite: how many elements are NaN or infinite on one side and not in the same way on the other.
        nonfinite_at: (run, *index) of the first of them.
        unequal: number of elements that are not equal.
    """

    max_abs: float = 0.0
    max_rel: float = 0.0
    rms: float = 0.0
    excess: float = 0.0
    worst: tuple[int, ...] | None = None
    mismatched_nonfinite: int = 0
    nonfinite_at: tuple[int, ...] | None = None
    unequal: int = 0


def difference(
    reference: Sequence[Item], candidate: Sequence[Item], scales: Scales, tolerance: Tolerance | None = None
) -> Difference:
    """Compare floating-point items one by one; both series have the same shapes.

    Args:
        reference: what is right.
        candidate: what is judged.
        scales: how much the reference's items vary.
        tolerance: what element bounds come from; without it `excess` stays 0.
    """
    max_abs = max_rel = rms = excess = 0.0
    worst: tuple[int, ...] | None = None
    mismatched = unequal = 0
    nonfinite_at: tuple[int, ...] | None = None
    for want, got, scale in zip(reference, candidate, scales.own, strict=True):
        a, b = float64(want.values), float64(got.values)
        finite = np.isfinite(a) & np.isfinite(b)
        if not finite.all():
            # equal infinities compare equal; two NaN agree
            odd = ~finite & ~((a == b) | (np.isnan(a) & np.isnan(b)))
            count = int(odd.sum())
            if count and nonfinite_at is None:
                nonfinite_at = (want.run, *want.position(int(np.flatnonzero(odd)[0])))
            mismatched += count
            a, b = np.where(finite, a, 0.0), np.where(finite, b, 0.0)
        d = np.abs(a - b)
        if not d.size or not d.any():
            continue
        unequal += int(np.count_nonzero(d))
        top = int(d.argmax())
        if d[top] > max_abs:
            max_abs, worst = float(d[top]), (want.run, *want.position(top))
        nonzero = a != 0
        if nonzero.any():
            max_rel = max(max_rel, float((d[nonzero] / np.abs(a[nonzero])).max()))
        error = _rms(d)
        rms = max(rms, error / scale if scale > 0 else (math.inf if error > 0 else 0.0))
        if tolerance is not None:
            with np.errstate(divide="ignore", invalid="ignore"):
                share = d / tolerance.element_bounds(a, scale)
            excess = max(excess, float(np.nanmax(np.where(d == 0, 0.0, share))))
    return Difference(max_abs, max_rel, rms, excess, worst, mismatched, nonfinite_at, unequal)


@dataclass(frozen=True, slots=True)
class ExactDifference:
    """How exact values differ.

    Attributes:
        unequal: number of elements that differ.
        size: number of elements compared.
        max_abs: greatest difference of numbers; 0 for strings.
        worst: (run, *index) of the first element that differs.
    """

    unequal: int
    size: int
    max_abs: float
    worst: tuple[int, ...] | None


def exact_difference(reference: Sequence[Item], candidate: Sequence[Item]) -> ExactDifference:
    """Compare integers, booleans or strings, all of which must be equal."""
    unequal = size = 0
    max_abs = 0.0
    worst: tuple[int, ...] | None = None
    for want, got in zip(reference, candidate, strict=True):
        a, b = want.values.reshape(-1), got.values.reshape(-1)
        size += a.size
        odd = np.asarray(a != b, dtype=bool)
        count = int(odd.sum())
        if not count:
            continue
        unequal += count
        if worst is None:
            worst = (want.run, *want.position(int(np.flatnonzero(odd)[0])))
        if not a.dtype.hasobject:
            # as Python integers would be exact, as float64 it is exact enough to be shown
            max_abs = max(max_abs, float(np.abs(a[odd].astype(np.float64) - b[odd].astype(np.float64)).max()))
    return ExactDifference(unequal, size, max_abs, worst)


def mismatches(
    reference: Sequence[tuple[int, npt.NDArray[Any]]], candidate: Sequence[tuple[int, npt.NDArray[Any]]]
) -> Iterator[str]:
    """Yield, in words, every difference in dtype or shape between arrays of the same runs; dtypes first, each once."""
    dtypes = {(dtype_of(a), dtype_of(b)) for (_, a), (_, b) in zip(reference, candidate, strict=True)}
    for want, got in sorted(dtypes):
        if want != got:
            yield f"dtype is {got}, the reference's {want}"
    shapes = {(a.shape, b.shape): run for (run, a), (_, b) in reversed(list(zip(reference, candidate, strict=True)))}
    for (shape, other), run in sorted(shapes.items(), key=lambda entry: entry[1]):
        if shape != other:
            yield f"shape is {list(other)} in run {run}, the reference's {list(shape)}"
