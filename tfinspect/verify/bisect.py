"""The first tensor, in the order of computation, in which two models differ."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from tfinspect.verify.causes import likely_cause
from tfinspect.verify.compare import (
    Scales,
    difference,
    dtype_of,
    exact_difference,
    is_exact,
    items_of,
    plain_array,
    scales_of,
)
from tfinspect.verify.report import Divergence

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy.typing as npt

    from tfinspect.ir.runner import Runner

TOLERANCE = 1e-4  # of how much a tensor varies: the most that noise is allowed anywhere
# channels last to channels first and back, for one, two and three dimensions in space
_LAYOUTS = {
    3: ((0, 2, 1),),
    4: ((0, 2, 3, 1), (0, 3, 1, 2)),
    5: ((0, 2, 3, 4, 1), (0, 4, 1, 2, 3)),
}


class Tap(NamedTuple):
    """A tensor that both sides have."""

    reference: str
    candidate: str
    node: str
    op: str


@dataclass(frozen=True, slots=True)
class _Distance:
    rms: float
    max_abs: float
    candidate: list[npt.NDArray[Any]]


@np.errstate(all="ignore")  # infinities are found by looking for them, squares may overflow
def first_divergence(
    reference: Runner,
    candidate: Runner,
    order: Sequence[Tap],
    feeds: Sequence[Mapping[str, npt.NDArray[Any]]],
    tolerance: float = TOLERANCE,
    *,
    candidate_feeds: Sequence[Mapping[str, npt.NDArray[Any]]] | None = None,
) -> Divergence | None:
    """Find the first tensor that differs; each side is asked once a feed for all of them.

    What the reference draws at random, so that it differs from itself, is passed over. A tensor in the other of
    channels first and channels last counts as the same. One whose counterpart has the same number of elements in a
    shape of another kind is passed over unless it agrees as it stands.

    Args:
        reference: what is right.
        candidate: what is judged; it must be able to fetch the tensors named.
        order: the tensors, in topological order.
        feeds: at least two, that differ, or the variation cannot be told.
        tolerance: RMS error relative to how much a tensor varies.
        candidate_feeds: the feeds in the candidate's names, where those are others.

    Returns:
        The first tensor over the tolerance, or None where all agree.

    Raises:
        RuntimeFailedError: a side refused.
    """
    if not order:
        return None
    names = [tap.reference for tap in order]
    wants = [reference.run(names, feed) for feed in feeds]
    again = [plain_array(array) for array in reference.run(names, feeds[0])]
    gots = [candidate.run([tap.candidate for tap in order], feed) for feed in (candidate_feeds or feeds)]
    agreeing: str | None = None
    for at, tap in enumerate(order):
        a = [plain_array(run[at]) for run in wants]
        b = [plain_array(run[at]) for run in gots]
        found = _distance(a, b) if _repeats(a[0], again[at]) else None
        if found is None:
            continue
        if found.rms <= tolerance:
            agreeing = tap.reference
            continue
        if found.candidate:
            cause = likely_cause(a, found.candidate) or "none of the usual ones"
        else:
            cause = f"shape is {list(b[0].shape)}, the reference's {list(a[0].shape)}"
        return Divergence(*tap, found.rms, found.max_abs, cause, agreeing, len(order))
    return None


def _repeats(first: npt.NDArray[Any], second: npt.NDArray[Any]) -> bool:
    if first.shape != second.shape:
        return False
    if is_exact(dtype_of(first)):
        return bool((first == second).all())
    # threads add in any order
    return bool(np.allclose(first, second, rtol=1e-3, atol=1e-3 * float(np.abs(first).max(initial=0)), equal_nan=True))


def _distance(a: list[npt.NDArray[Any]], b: list[npt.NDArray[Any]]) -> _Distance | None:
    """Return the distance in the layout that fits best, or None where it cannot be told which that is."""
    aligned = []
    for layout in (None, *_LAYOUTS.get(b[0].ndim, ())):
        turned = b if layout is None else [np.transpose(array, layout) for array in b]
        if all(x.shape == y.shape for x, y in zip(a, turned, strict=True)):
            aligned.append(_measure(a, turned))
    if aligned:
        return min(aligned, key=lambda found: found.rms)
    if all(x.size == y.size for x, y in zip(a, b, strict=True)):
        found = _measure(a, [y.reshape(x.shape) for x, y in zip(a, b, strict=True)])
        return found if found.rms == 0 or found.rms <= TOLERANCE else None
    return _Distance(math.inf, math.inf, [])


def _measure(a: list[npt.NDArray[Any]], b: list[npt.NDArray[Any]]) -> _Distance:
    want, got = items_of(list(enumerate(a)), rows=False), items_of(list(enumerate(b)), rows=False)
    if is_exact(dtype_of(a[0])) or is_exact(dtype_of(b[0])):
        exact = exact_difference(want, got)
        return _Distance(math.inf if exact.unequal else 0.0, exact.max_abs, b)
    scales = scales_of(want)
    if not scales.typical > 0:
        # a constant: measured against its own size
        sizes = [float(np.sqrt(np.mean(np.square(x, dtype=np.float64)))) if x.size else 0.0 for x in a]
        scales = Scales(0.0, tuple(sizes), 1.0)
    found = difference(want, got, scales)
    return _Distance(math.inf if found.mismatched_nonfinite else found.rms, found.max_abs, b)
