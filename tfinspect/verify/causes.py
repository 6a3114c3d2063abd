"""What a difference looks like, in words: simple tests for the faults conversions make."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    Floats = npt.NDArray[np.float64]

_RUNS = 3
_EXPLAINED = 1e-2  # what a cause leaves over of the difference, at most
_FACTOR_SPREAD = 0.5
_HALF_STEP = 2.0**-10
_SMALL = 1e-2
_MOST_CHANNELS = 4096
_IMAGE_RANK = 4
_MOST_AXES = 4
_MOST_NAMED = 4


@np.errstate(all="ignore")  # a guess that overflows explains nothing
def likely_cause(reference: Sequence[npt.NDArray[Any]], candidate: Sequence[npt.NDArray[Any]]) -> str:
    """Return the likely cause of a difference as a noun phrase, empty where no test fits.

    Args:
        reference: one tensor over the runs.
        candidate: the same, of the same shapes and layout.
    """
    if not reference or any(a.shape != b.shape or a.dtype.hasobject for a, b in zip(reference, candidate, strict=True)):
        return ""
    wants = [np.asarray(a, dtype=np.float64) for a in reference]
    gots = [np.asarray(b, dtype=np.float64) for b in candidate]
    if not all(np.isfinite(a).all() for a in wants):
        return ""
    if not all(np.isfinite(b).all() for b in gots):
        return "NaN or infinity in the candidate only"
    if not any(b.any() for b in gots):
        return "the candidate is zero everywhere"
    if _is_constant(gots) and not _is_constant(wants):
        return "the candidate does not depend on the input"
    worst = max(range(len(wants)), key=lambda at: float(np.abs(wants[at] - gots[at]).max(initial=0.0)))
    alike = [at for at in range(len(wants)) if wants[at].shape == wants[worst].shape and at != worst]
    chosen = [worst, *alike[: _RUNS - 1]]
    a, b = np.stack([wants[at] for at in chosen]), np.stack([gots[at] for at in chosen])
    if not np.any(a != b):
        return ""
    tests = (_batch, _moved_axes, _one_place, _shift, _channels, _clip, _border, _factor, _affine, _small)
    return next(filter(None, (test(a, b) for test in tests)), "")


def _is_constant(arrays: Sequence[Floats]) -> bool:
    same = [array for array in arrays if array.shape == arrays[0].shape]
    return len(same) > 1 and all(np.array_equal(array, same[0]) for array in same[1:])


def _rms(values: Floats) -> float:
    return float(np.sqrt(np.mean(values * values))) if values.size else 0.0


def _explains(a: Floats, b: Floats, guess: Floats) -> bool:
    """Whether a guess at the candidate leaves next to nothing of its difference from the reference."""
    return _rms(b - guess) <= _EXPLAINED * _rms(b - a)


def _differs(a: Floats, b: Floats) -> npt.NDArray[np.bool_]:
    d = np.abs(a - b)
    return np.asarray(d > _EXPLAINED * d.max())


def _batch(a: Floats, b: Floats) -> str:
    if a.ndim < 3 or a.shape[1] < 2:  # noqa: PLR2004 - run, batch and something in it
        return ""
    rows = np.asarray(_differs(a, b).any(axis=(0, *range(2, a.ndim))))
    return "only the first row of a batch agrees: a batch size is baked in" if not rows[0] and rows[1:].all() else ""


def _moved_axes(a: Floats, b: Floats) -> str:
    axes = range(1, a.ndim)
    if len(axes) > _MOST_AXES:
        return ""
    for i, j in itertools.combinations(axes, 2):
        if a.shape[i] == a.shape[j] > 1 and _explains(a, b, np.swapaxes(a, i, j)):
            return f"axes {i - 1} and {j - 1} are swapped"
    for axis in axes:
        if a.shape[axis] > 1 and _explains(a, b, np.flip(a, axis)):
            return f"axis {axis - 1} is reversed"
    return ""


def _one_place(a: Floats, b: Floats) -> str:
    """Say where a difference is confined to a single channel, and what it is there."""
    for axis in _channel_axes(a):
        touched = _differs(a, b).any(axis=tuple(k for k in range(a.ndim) if k != axis))
        if touched.sum() == 1 and touched.size > 1:
            channel = int(np.flatnonzero(touched)[0])
            inside = _factor(np.take(a, [channel], axis), np.take(b, [channel], axis))
            return f"only channel {channel} of axis {axis - 1} differs: a weight of that filter" + (
                f" ({inside})" if inside else ""
            )
    return ""


def _channel_axes(a: Floats) -> list[int]:
    """Return the axes that may hold channels, the last one first; the batch is none where there is more than it."""
    if a.ndim < 2:  # noqa: PLR2004 - runs of scalars
        return []
    return [a.ndim - 1] if a.ndim < _IMAGE_RANK else [a.ndim - 1, 2]


def _channels(a: Floats, b: Floats) -> str:
    for axis in _channel_axes(a):
        count = a.shape[axis]
        if not 1 < count <= _MOST_CHANNELS:
            continue
        x = np.moveaxis(a, axis, 0).reshape(count, -1)
        y = np.moveaxis(b, axis, 0).reshape(count, -1)
        moved = np.flatnonzero(_differs(x, y).any(axis=1))
        # a fingerprint finds the counterparts, the full comparison confirms them
        weights = np.cos(np.arange(x.shape[1]) * 1.7)
        mine, theirs = x[moved] @ weights, y[moved] @ weights
        order = moved[[int(np.abs(mine - value).argmin()) for value in theirs]] if moved.size else moved
        if len(set(order.tolist())) != moved.size or (order == moved).any():
            continue
        guess = x.copy()
        guess[moved] = x[order]
        if _explains(x, y, guess):
            named = ", ".join(str(c) for c in moved[:_MOST_NAMED].tolist()) + (
                ", ..." if moved.size > _MOST_NAMED else ""
            )
            word = "swapped" if moved.size == 2 else "in another order"  # noqa: PLR2004
            return f"channels {named} of axis {axis - 1} are {word}"
    return ""


def _clip(a: Floats, b: Floats) -> str:
    if _explains(a, b, np.clip(a, b.min(), b.max())):
        return f"the candidate is clipped to [{b.min():.4g}, {b.max():.4g}], the reference is not"
    if _explains(b, a, np.clip(b, a.min(), a.max())):
        return f"the reference is clipped to [{a.min():.4g}, {a.max():.4g}], the candidate is not: a clip was dropped"
    return ""


def _border(a: Floats, b: Floats) -> str:
    if a.ndim != _IMAGE_RANK + 1:
        return ""
    for rows, columns in ((2, 3), (3, 4)):  # NHWC, NCHW, behind the axis of runs
        height, width = a.shape[rows], a.shape[columns]
        margin_rows, margin_columns = height // 4, width // 4
        if not (margin_rows and margin_columns):
            continue
        inner: list[Any] = [slice(None)] * a.ndim
        inner[rows] = slice(margin_rows, height - margin_rows)
        inner[columns] = slice(margin_columns, width - margin_columns)
        if not _differs(a, b)[tuple(inner)].any():
            return "only the border differs: padding"
    return ""


def _shift(a: Floats, b: Floats) -> str:
    for axis in range(2, a.ndim):
        if a.shape[axis] < 3:  # noqa: PLR2004 - nothing would be left to compare
            continue
        before, after = _slice(axis, a.ndim, None, -1), _slice(axis, a.ndim, 1, None)
        for x, y in ((before, after), (after, before)):
            if _explains(a[y], b[y], a[x]):
                return f"shifted by one along axis {axis - 1}"
    return ""


def _slice(axis: int, rank: int, start: int | None, stop: int | None) -> tuple[slice, ...]:
    return tuple(slice(start, stop) if k == axis else slice(None) for k in range(rank))


def _factor(a: Floats, b: Floats) -> str:
    power = float(np.vdot(a, a))
    factor = float(np.vdot(a, b)) / power if power else 0.0
    if factor and _explains(a, b, factor * a):
        return f"a constant factor of {factor:.6g}"
    offset = float(np.mean(b - a))
    return f"a constant offset of {offset:.6g}" if _explains(a, b, a + offset) else ""


def _affine(a: Floats, b: Floats) -> str:
    """Test for a factor and an offset a channel, as a wrong normalisation gives."""
    for axis in _channel_axes(a):
        x = np.moveaxis(a, axis, 0).reshape(a.shape[axis], -1)
        y = np.moveaxis(b, axis, 0).reshape(a.shape[axis], -1)
        if x.shape[1] < 8:  # noqa: PLR2004 - two unknowns fit few points by chance
            continue
        middle, other = x.mean(axis=1, keepdims=True), y.mean(axis=1, keepdims=True)
        power = np.maximum(((x - middle) ** 2).sum(axis=1, keepdims=True), 1e-300)
        slope = ((x - middle) * (y - other)).sum(axis=1, keepdims=True) / power
        if _explains(x, y, (x - middle) * slope + other):
            low, high = float(slope.min()), float(slope.max())
            if low > 0 and high - low < _FACTOR_SPREAD:
                return f"a factor and an offset a channel ({low:.4g} to {high:.4g}): normalisation or its epsilon"
    return ""


def _small(a: Floats, b: Floats) -> str:
    nonzero = a != 0
    relative = np.abs(a - b)[nonzero] / np.abs(a[nonzero])
    if relative.size and relative.max() <= _HALF_STEP:
        return "of the size of float16 rounding"
    if _rms(a - b) <= _SMALL * _rms(a):
        return "small everywhere: an epsilon, a rounding, an approximated function or a few weights"
    return ""
