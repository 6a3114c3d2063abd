"""Limited-memory BFGS, for heads without hidden layers: their loss has one minimum, and this goes straight to it."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy.typing as npt

    Array = npt.NDArray[Any]

_PAIRS: Final = 12  # steps that are remembered
_ENOUGH: Final = 1e-4  # of the decrease that the slope promises (Armijo)
_CURVATURE: Final = 0.9  # of the slope, at most, may be left after a step (Wolfe)
_TRIES: Final = 30


@dataclass(frozen=True, slots=True)
class Minimum:
    """Where the search ended.

    Attributes:
        point: the argument.
        value: the function there.
        iterations: steps taken.
        converged: whether the slope is as small as was asked.
    """

    point: Array
    value: float
    iterations: int
    converged: bool


def minimise(
    function: Callable[[Array], tuple[float, Array]],
    start: Array,
    *,
    tolerance: float = 1e-5,
    iterations: int = 500,
    seen: Callable[[Array, float], None] | None = None,
) -> Minimum:
    """Find the minimum of a smooth convex function.

    Args:
        function: returns value and gradient at a point.
        start: where to begin, a vector of float64.
        tolerance: no component of the gradient is larger at the end.
        iterations: most steps.
        seen: is told point and value after each step.
    """
    import numpy as np

    point = start.copy()
    value, slope = function(point)
    pairs: deque[tuple[Array, Array, float]] = deque(maxlen=_PAIRS)
    for number in range(iterations):
        if float(np.abs(slope).max(initial=0.0)) <= tolerance:
            return Minimum(point, value, number, converged=True)
        direction = -_scaled(slope, pairs)
        rate = float(direction @ slope)
        if rate >= 0:  # rounding has eaten the curvature: begin anew
            pairs.clear()
            direction, rate = -slope, -float(slope @ slope)
        first = 1.0 if pairs else min(1.0, 1.0 / float(slope @ slope) ** 0.5)
        step = _search(function, point, value, direction, rate, first)
        if step is None:
            return Minimum(point, value, number, converged=False)
        moved, value, new_slope = step
        change, bend = moved - point, new_slope - slope
        curvature = float(change @ bend)
        if curvature > np.finfo(np.float64).eps * float(bend @ bend):
            pairs.append((change, bend, 1 / curvature))
        point, slope = moved, new_slope
        if seen is not None:
            seen(point, value)
    return Minimum(point, value, iterations, converged=bool(float(np.abs(slope).max(initial=0.0)) <= tolerance))


def _scaled(slope: Array, pairs: deque[tuple[Array, Array, float]]) -> Array:
    """Return the inverse Hessian's estimate times the slope: the two loops of Nocedal."""
    vector = slope.copy()
    shares = []
    for change, bend, inverse in reversed(pairs):
        share = inverse * float(change @ vector)
        vector -= share * bend
        shares.append(share)
    if pairs:
        _, bend, inverse = pairs[-1]
        vector *= 1 / (inverse * float(bend @ bend))
    for (change, bend, inverse), share in zip(pairs, reversed(shares), strict=True):
        vector += (share - inverse * float(bend @ vector)) * change
    return vector


def _search(
    function: Callable[[Array], tuple[float, Array]],
    point: Array,
    value: float,
    direction: Array,
    rate: float,
    step: float,
) -> tuple[Array, float, Array] | None:
    """Find a step that goes down enough and leaves little of the slope, by halving and doubling (weak Wolfe)."""
    low, high = 0.0, float("inf")
    best: tuple[Array, float, Array] | None = None
    for _ in range(_TRIES):
        moved = point + step * direction
        found, slope = function(moved)
        if not found <= value + _ENOUGH * step * rate:
            high = step
        else:
            best = (moved, found, slope)
            if float(slope @ direction) >= _CURVATURE * rate:
                return best
            low = step
        step = (low + high) / 2 if high < float("inf") else 2 * low
    return best
