"""Whether an agreement means anything: what cannot tell one input from another is no proof."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from tfinspect.errors import counted
from tfinspect.verify.compare import Item, Scales, float64, is_finite

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    import numpy.typing as npt

    from tfinspect.verify.tolerance import Tolerance

SQUASHING_OPS = frozenset({"Softmax", "Sigmoid"})  # give (0, 1), and hide their input where they reach its ends
_SATURATED_WITHIN = 1e-6
_SATURATED_SHARE = 0.75
_LEAST_ITEMS = 3  # finite ones; with two, a constant factor and an offset already explain everything
_LEAST_FINITE_SHARE = 0.25
_PROBED_ELEMENTS = 1 << 16
_PROBED_ITEMS = 24
_MANY_ELEMENTS = 16
_SHARE_MANY, _SHARE_FEW, _SHARE_STEPS = 0.9, 0.5, 0.1  # of the pairs that must be told apart
_INT_EXACT_MAX = 2.0**24  # whole numbers above are what float32 gives for any large value


def takes_steps(items: Sequence[Item]) -> bool:
    """Whether floating-point items hold whole numbers only (counts, masks, rounded values), where ties are natural."""
    return all(
        bool((values == np.rint(values)).all() and (np.abs(values) < _INT_EXACT_MAX).all())
        for values in (np.asarray(item.values, dtype=np.float64) for item in items if is_finite(item.values))
    )


def distinct(items: Sequence[Item]) -> int:
    """Return how many different items there are."""
    return len({_key(item.values) for item in items})


def _key(values: npt.NDArray[Any]) -> object:
    if values.dtype.hasobject:
        return values.shape, tuple(values.reshape(-1).tolist())
    return values.shape, hash(values.tobytes())


def finite_enough(items: Sequence[Item]) -> str | None:
    """Return why too few items are finite, or None."""
    finite = sum(is_finite(item.values) for item in items)
    if finite == len(items):
        return None
    if finite < _LEAST_ITEMS or finite < _LEAST_FINITE_SHARE * len(items):
        return f"the reference is NaN or infinite for {len(items) - finite} of {len(items)} inputs"
    return None


def saturated(items: Sequence[Item], op: str) -> str | None:
    """Return why a squashed output hides what feeds it, or None.

    Args:
        items: the reference's.
        op: the op that computes the tensor; empty where it is not known, and then any tensor in [0, 1] is suspected.
    """
    if op and op not in SQUASHING_OPS:
        return None
    stuck = 0
    for item in items:
        values = float64(item.values)
        if not values.size or not is_finite(values) or values.min() < 0 or values.max() > 1:
            return None
        stuck += bool(np.minimum(values, 1 - values).max() <= _SATURATED_WITHIN)
    if stuck < _SATURATED_SHARE * len(items):
        return None
    return f"saturated: every element is 0 or 1 (within {_SATURATED_WITHIN:g}) for {stuck} of {len(items)} inputs"


def unvaried(items: Sequence[Item], scales: Scales) -> str | None:
    """Return why the reference does not vary enough over the inputs to prove anything, or None."""
    if sum(item.values.size for item in items) == 0:
        return "it has no elements"
    if len(items) < _LEAST_ITEMS:
        return f"only {counted(len(items), 'input')} could be compared"
    if distinct(items) == 1:
        return "it does not change with the input"
    if not scales.typical > 0:
        return "it does not change with the input for most inputs"
    return None


def blind_floats(
    reference: Sequence[Item],
    candidate: Sequence[Item],
    scales: Scales,
    tolerance: Tolerance,
    *,
    steps: bool,
    layouts: Mapping[int, object],
) -> str | None:
    """Negative control: the candidate's answer to one input must fail against the reference's answer to another.

    Args:
        reference: its items.
        candidate: its items.
        scales: of the reference's items.
        tolerance: the one the output is held to.
        steps: whether the items hold whole numbers only.
        layouts: shapes of what was fed, by run. Answers of another shape differ, unless that follows from the feeds'.

    Returns:
        Why the check is blind, or None where it sees.
    """
    usable = [at for at, item in enumerate(reference) if is_finite(item.values)]
    want = {at: _probe(reference[at].values) for at in usable}
    got = {at: _probe(candidate[at].values) for at in usable}

    def passes(i: int, j: int) -> bool:
        d = np.abs(got[i] - want[j])
        if tolerance.override is not None:
            return bool((d <= tolerance.element_bounds(want[j], scales.own[j])).all())
        return bool(np.sqrt(np.mean(d * d)) <= tolerance.value * scales.own[j])

    size = max((reference[at].values.size for at in usable), default=0)
    needed = _SHARE_STEPS if steps else (_SHARE_MANY if size >= _MANY_ELEMENTS else _SHARE_FEW)
    return _blind(reference, usable, passes, needed, layouts)


def blind_exact(reference: Sequence[Item], candidate: Sequence[Item], layouts: Mapping[int, object]) -> str | None:
    """Do the negative control for integers, booleans and strings, which repeat by their nature."""
    keys = [_key(item.values) for item in reference]
    others = [_key(item.values) for item in candidate]
    return _blind(reference, list(range(len(reference))), lambda i, j: others[i] == keys[j], _SHARE_STEPS, layouts)


def _probe(values: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    flat = values.reshape(-1)
    return float64(flat[:: max(1, flat.size // _PROBED_ELEMENTS)])


def _blind(
    items: Sequence[Item],
    usable: list[int],
    passes: Callable[[int, int], bool],
    needed: float,
    layouts: Mapping[int, object],
) -> str | None:
    stride = max(1, math.ceil(len(usable) / _PROBED_ITEMS))
    probed = usable[::stride]
    pairs = [(i, j) for i in probed for j in probed if i != j and items[i].values.shape == items[j].values.shape]
    told_apart = sum(not passes(i, j) for i, j in pairs)
    others = sum(
        layouts[items[i].run] == layouts[items[j].run]
        for i in probed
        for j in probed
        if items[i].values.shape != items[j].values.shape
    )
    if not pairs and not others:
        return "no two inputs give the same shape, so that the check cannot be tested against itself"
    total = len(pairs) + others
    if told_apart + others >= needed * total:
        return None
    return (
        "the check is blind: the answer to one input would pass for the answer to another in "
        f"{len(pairs) - told_apart} of {total} pairs"
    )
