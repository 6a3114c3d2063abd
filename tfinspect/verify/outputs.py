"""The verdict on one output: agreement first, then whether the agreement means anything."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from tfinspect.verify import evidence
from tfinspect.verify.causes import likely_cause
from tfinspect.verify.compare import (
    Item,
    Scales,
    difference,
    dtype_of,
    exact_difference,
    float64,
    follows_batch,
    is_exact,
    is_finite,
    items_of,
    mismatches,
    scales_of,
)
from tfinspect.verify.report import OutputReport
from tfinspect.verify.tolerance import Override, Precision, Tolerance, precision_of, tolerance_for
from tfinspect.verify.verdict import Verdict, combine

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy.typing as npt

    from tfinspect.verify.compare import Difference

_SELF_CONTRADICTION = 1e-2  # no rounding makes that much noise: something in the model is random
_GROSS_NOISE_FACTOR = 30.0
_MOST_NUDGED = 0.04  # of the greatest tolerance: an estimate must not hide a weight that is one per cent off
_CONSTANT_RTOL = 1e-3
_MARGIN = 3.0
_CONSTANT_ATOL = 1e-6
_ROUNDED_SHARE = 1e-3
_TINIEST = 1e-37  # about the least normal float32


@dataclass(frozen=True, slots=True)
class Series:
    """One tensor on both sides over the runs that both answered, in the form `compare.plain_array` gives.

    Attributes:
        name: in the reference.
        candidate_name: in the candidate.
        op: the op that computes it, empty where it is not known.
        reference: (run, array) of the reference.
        candidate: the same runs of the candidate.
        leads: first dimensions of the inputs, a run each.
        layouts: shapes of the inputs, by run.
        repeats: runs that were fed what an earlier run was fed already.
        reference_again: (run, array) of the reference in another variant, for some runs.
        candidate_again: the same of the candidate.
        reference_nudged: (run, array) of the reference where it was fed values a few rounding steps away.
    """

    name: str
    candidate_name: str
    op: str
    reference: Sequence[tuple[int, npt.NDArray[Any]]]
    candidate: Sequence[tuple[int, npt.NDArray[Any]]]
    leads: Sequence[frozenset[int]]
    layouts: Mapping[int, object]
    repeats: frozenset[int] = frozenset()
    reference_again: Sequence[tuple[int, npt.NDArray[Any]]] = ()
    candidate_again: Sequence[tuple[int, npt.NDArray[Any]]] = ()
    reference_nudged: Sequence[tuple[int, npt.NDArray[Any]]] = ()


@np.errstate(all="ignore")  # infinities are found by looking for them, squares may overflow
def judge_output(
    series: Series, override: Override | None = None, logits: tuple[Series, OutputReport] | None = None
) -> OutputReport:
    """Judge one output.

    Args:
        series: both sides' arrays.
        override: the caller's tolerance.
        logits: the tensor that feeds it and the report on that, where it was compared as well.
    """
    own = _judge_alone(series, override, None if logits is None else logits[1])
    if logits is None:
        return own
    feeding, report = logits
    own = dataclasses.replace(own, logits=report, relaxed=own.relaxed or report.relaxed)
    if report.verdict is not Verdict.PASS:
        verdict = combine((own.verdict, report.verdict))
        word = "differs" if report.verdict is Verdict.FAIL else "proves nothing"
        return _with(own, verdict, f"what feeds it, `{report.name}`, {word}")
    if own.verdict is Verdict.PASS or series.op not in {"", *evidence.SQUASHING_OPS}:
        return own
    if _explained(series, feeding):
        note = f"judged by what feeds it, `{report.name}`"
        return _with(dataclasses.replace(own, via_logits=True), Verdict.PASS, note)
    return own


def _with(report: OutputReport, verdict: Verdict, *reasons: str) -> OutputReport:
    return dataclasses.replace(report, verdict=verdict, reasons=(*report.reasons, *(r for r in reasons if r)))


def _judge_alone(series: Series, override: Override | None, logits: OutputReport | None) -> OutputReport:
    report = OutputReport(series.name, series.candidate_name)
    if not series.reference:
        return _with(report, Verdict.INCONCLUSIVE, "no run was answered by both")
    different = tuple(mismatches(series.reference, series.candidate))
    if different:
        return _with(report, Verdict.FAIL, *different)
    arrays = [array for _, array in series.reference]
    report = dataclasses.replace(report, compared=sum(array.size for array in arrays))
    if report.compared == 0:
        return _with(report, Verdict.INCONCLUSIVE, "it has no elements")
    if is_exact(dtype_of(arrays[0])):
        return _judge_exact(report, series, logits)
    return _judge_floats(report, series, override)


def _items(series: Series) -> tuple[list[Item], list[Item], bool]:
    rows = follows_batch([array for _, array in series.reference], series.leads)
    return items_of(series.reference, rows=rows), items_of(series.candidate, rows=rows), rows


def _fresh(series: Series, items: Sequence[Item]) -> list[Item]:
    """Leave out what was fed before: it is no evidence that two inputs give two answers."""
    return [item for item in items if item.run not in series.repeats]


def _judge_exact(report: OutputReport, series: Series, logits: OutputReport | None) -> OutputReport:
    want, got, rows = _items(series)
    found = exact_difference(want, got)
    report = dataclasses.replace(report, max_abs=found.max_abs, worst=found.worst)
    if found.unequal:
        share = f"{found.unequal:,} of {found.size:,} elements differ"
        if _is_unsteady(series, rows=rows):
            return _with(report, Verdict.INCONCLUSIVE, f"{share}, and the reference differs from itself between runs")
        few = found.unequal <= _ROUNDED_SHARE * found.size and 0 < found.max_abs <= 1
        if not (few and logits is not None and logits.verdict is Verdict.PASS):
            hint = "few, and by one step: what is rounded here has to be compared as well" if few else ""
            return _with(report, Verdict.FAIL, share, hint)
        note = f"{share} by one step, as rounding allows where what is rounded agrees"
        report = dataclasses.replace(report, via_logits=True, reasons=(note,))
    want, got = _fresh(series, want), _fresh(series, got)
    if evidence.distinct(want) == 1:
        return _with(report, Verdict.INCONCLUSIVE, "it does not change with the input")
    blind = evidence.blind_exact(want, got, series.layouts)
    if blind is not None:
        return _with(report, Verdict.INCONCLUSIVE, blind)
    return _with(report, Verdict.PASS)


def _again(
    side: Sequence[tuple[int, npt.NDArray[Any]]], repeated: Sequence[tuple[int, npt.NDArray[Any]]], *, rows: bool
) -> tuple[list[Item], list[Item]] | None:
    """Return the items of both variants over the runs that have both, or None where even their shapes differ."""
    default = dict(side)
    again = [(run, array) for run, array in repeated if run in default]
    before = [(run, default[run]) for run, _ in again]
    if any(mismatches(before, again)):
        return None
    return items_of(before, rows=rows), items_of(again, rows=rows)


def _is_unsteady(series: Series, *, rows: bool) -> bool:
    both = _again(series.reference, series.reference_again, rows=rows)
    return both is None or exact_difference(*both).unequal > 0


def _noise(series: Series, want: Sequence[Item], scales: Scales, precision: Precision, *, rows: bool) -> float:
    """Return the noise to reckon with, relative to the scale of an item: measured, and never less than rounding."""
    own = {(item.run, item.row): scale for item, scale in zip(want, scales.own, strict=True)}

    def between(side: Sequence[tuple[int, npt.NDArray[Any]]], again: Sequence[tuple[int, npt.NDArray[Any]]]) -> float:
        both = _again(side, again, rows=rows)
        if both is None:
            return math.inf
        of_both = Scales(scales.typical, tuple(own[item.run, item.row] for item in both[0]), scales.magnitude)
        found = difference(*both, of_both)
        return math.inf if found.mismatched_nonfinite else found.rms

    noise = max(
        precision.floor * precision.epsilon * scales.magnitude,
        between(series.reference, series.reference_again),
        between(series.candidate, series.candidate_again),
    )
    nudged = between(series.reference, series.reference_nudged)
    if nudged > precision.most:  # that is no rounding: the graph rounds or compares what it is fed, and took a step
        return noise
    return max(noise, min(nudged, _MOST_NUDGED * precision.most))


def _judge_floats(report: OutputReport, series: Series, override: Override | None) -> OutputReport:
    want, got, rows = _items(series)
    steps = evidence.takes_steps(want)
    scales = scales_of(want, steps=steps)
    precision = precision_of(dtype_of(series.reference[0][1]))
    tolerance = tolerance_for(_noise(series, want, scales, precision, rows=rows), precision, override)
    found = difference(want, got, scales, tolerance)
    report = dataclasses.replace(
        report, max_abs=found.max_abs, max_rel=found.max_rel, worst=found.worst,
        rms=found.rms, noise=tolerance.noise, tolerance=None if override is not None else tolerance.value,
    )  # fmt: skip
    if found.mismatched_nonfinite and any(is_finite(item.values) for item in want):
        where = f"first at {list(found.nonfinite_at or ())}"
        count = f"{found.mismatched_nonfinite:,} elements are NaN or infinite and not in the same way on both sides"
        return _with(report, Verdict.FAIL, f"{count}, {where}")
    too_few = evidence.finite_enough(want)
    if too_few is not None:
        return _with(report, Verdict.INCONCLUSIVE, too_few)
    set_aside = sum(not is_finite(item.values) for item in want)
    if set_aside:
        note = f"{set_aside} of {len(want)} inputs give NaN or infinity, the same on both sides, and prove nothing"
        report = dataclasses.replace(report, reasons=(note,))
    fresh = _fresh(series, want)
    vacuous = evidence.unvaried(fresh, scales) or evidence.saturated(fresh, series.op)
    if vacuous is not None:
        return _judge_vacuous(report, series, vacuous)
    if override is not None:
        report = _judge_override(report, series, tolerance, precision, scales)
    else:
        report = _judge_distance(report, series, found, tolerance, precision)
    if report.verdict is not Verdict.PASS:
        return report
    blind = evidence.blind_floats(
        fresh, _fresh(series, got), scales_of(fresh, steps=steps), tolerance, steps=steps, layouts=series.layouts
    )
    return report if blind is None else _with(report, Verdict.INCONCLUSIVE, blind)


def _judge_vacuous(report: OutputReport, series: Series, why: str) -> OutputReport:
    """Fail what differs even where the reference proves nothing; leave the rest undecided."""
    finite = [float64(array)[np.isfinite(float64(array))] for _, array in series.reference]
    largest = max((float(np.abs(values).max()) for values in finite if values.size), default=0.0)
    if (report.max_abs or 0.0) > _CONSTANT_RTOL * largest + _CONSTANT_ATOL:
        return _with(report, Verdict.FAIL, why, "and yet it differs", _cause(series))
    return _with(report, Verdict.INCONCLUSIVE, why)


def _judge_distance(
    report: OutputReport, series: Series, found: Difference, tolerance: Tolerance, precision: Precision
) -> OutputReport:
    noise = tolerance.noise
    if noise > precision.most:
        if found.rms > max(_GROSS_NOISE_FACTOR * noise, precision.most):
            return _with(report, Verdict.FAIL, _too_far(found, tolerance), _cause(series))
        if noise > _SELF_CONTRADICTION:
            return _with(
                report,
                Verdict.INCONCLUSIVE,
                f"a runtime does not repeat itself (noise {noise:.1e}): random, or ill-conditioned",
            )
        return _with(
            report, Verdict.INCONCLUSIVE,
            f"ill-conditioned: rounding alone makes {noise:.1e} of how much it varies (limit {precision.most:.0e})",
        )  # fmt: skip
    if found.rms > tolerance.value or found.excess > 1:
        return _with(report, Verdict.FAIL, _too_far(found, tolerance), _cause(series))
    close = tolerance.value < _MARGIN * noise
    return _with(report, Verdict.PASS, "little margin: the noise is over a third of the tolerance" if close else "")


def _judge_override(
    report: OutputReport, series: Series, tolerance: Tolerance, precision: Precision, scales: Scales
) -> OutputReport:
    want, got, _ = _items(series)
    ours = tolerance_for(tolerance.noise, precision)
    found = difference(want, got, scales, ours)
    relaxed = found.rms > ours.value or tolerance.noise > precision.most
    for item, scale in zip(want, scales.own, strict=True):
        if relaxed:
            break
        values = float64(item.values)
        with np.errstate(invalid="ignore"):
            relaxed = bool((tolerance.element_bounds(values, scale) > ours.element_bounds(values, scale)).any())
    report = dataclasses.replace(report, relaxed=relaxed)
    excess = difference(want, got, scales, tolerance).excess
    if excess > 1:
        return _with(
            report, Verdict.FAIL, f"an element differs by {excess:.3g} times what rtol and atol allow", _cause(series)
        )
    return _with(report, Verdict.PASS, "judged by a looser tolerance than ours" if relaxed else "")


def _too_far(found: Difference, tolerance: Tolerance) -> str:
    if found.rms > tolerance.value:
        return f"it differs by {found.rms:.3g} of how much it varies, tolerance {tolerance.value:.1e}"
    return f"one element differs by {found.excess:.3g} times what is allowed, at {list(found.worst or ())}"


def _cause(series: Series) -> str:
    cause = likely_cause([array for _, array in series.reference], [array for _, array in series.candidate])
    return f"likely cause: {cause}" if cause else ""


def _explained(series: Series, feeding: Series) -> bool:
    """Whether the difference of a softmax or sigmoid follows from the measured difference of what feeds it.

    If no logit moves by more than d, no probability p moves by more than p * (exp(2 d) - 1); computing it adds
    rounding, relative to its exponent.
    """
    if not series.reference or any(mismatches(series.reference, series.candidate)):
        return False
    moved = {
        run: float(np.max(np.abs(float64(a) - float64(b)), initial=0.0))
        for (run, a), (_, b) in zip(feeding.reference, feeding.candidate, strict=True)
    }
    epsilon = precision_of(dtype_of(series.reference[0][1])).epsilon
    for (run, want), (_, got) in zip(series.reference, series.candidate, strict=True):
        p, q = float64(want), float64(got)
        if not (is_finite(p) and is_finite(q)) or p.min(initial=0.0) < 0 or not math.isfinite(moved.get(run, math.inf)):
            return False
        relative = np.expm1(2 * moved[run]) + epsilon * (16 - np.log(np.maximum(p, _TINIEST)))
        if (np.abs(p - q) > p * relative + _TINIEST).any():
            return False
    return True
