"""Recording what each side answers, and judging two recordings.

The sides never meet before `judge`: `record` may run for both in threads of their own.
"""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from tfinspect.errors import RuntimeFailedError, UsageError
from tfinspect.verify.compare import plain_array
from tfinspect.verify.outputs import Series, judge_output
from tfinspect.verify.report import OutputReport, Report, Subject
from tfinspect.verify.verdict import Verdict, combine

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    import numpy.typing as npt

    from tfinspect.ir.runner import Runner
    from tfinspect.verify.tolerance import Override
    from tfinspect.verify.weights import WeightsReport


_NUDGED = "nudged"


@dataclass(frozen=True, slots=True)
class Pair:
    """Two tensors that should be the same.

    Attributes:
        reference: `name:index` in the reference.
        candidate: its name in the candidate.
        logits: the tensors that feed the two, where they are a softmax or sigmoid, or a value rounded to integers.
        op: the op of the reference that computes the tensor, seen through Identity and Reshape; empty where not known,
            and then whatever sticks to 0 and 1 is suspected to be a saturated softmax.
    """

    reference: str
    candidate: str
    logits: tuple[str, str] | None = None
    op: str = ""


def fetches_of(pairs: Iterable[Pair]) -> tuple[list[str], list[str]]:
    """Return what has to be recorded of the reference, and of the candidate, each name once."""
    reference: dict[str, None] = {}
    candidate: dict[str, None] = {}
    for pair in pairs:
        for want, got in filter(None, ((pair.reference, pair.candidate), pair.logits)):
            reference[want] = None
            candidate[got] = None
    return list(reference), list(candidate)


@dataclass(frozen=True, slots=True)
class Run:
    """What one side answered to one feed.

    Attributes:
        arrays: by fetched name; empty where the runtime refused.
        refusal: the runtime's words, empty where it answered.
        digest: of the values fed, so that repetitions are known.
        shapes: of the values fed.
    """

    arrays: Mapping[str, npt.NDArray[Any]]
    refusal: str
    digest: str
    shapes: tuple[tuple[int, ...], ...]


@dataclass(frozen=True, slots=True)
class Recording:
    """One side's answers; holds no array of the other side.

    Attributes:
        subject: file and runtime.
        runs: one a feed.
        again: arrays of other variants by variant and run number, for the runtime's own noise.
        nudged: arrays by run number for feeds some rounding steps away, for how far rounding carries.
    """

    subject: Subject
    runs: tuple[Run, ...]
    again: Mapping[str, Mapping[int, Mapping[str, npt.NDArray[Any]]]] = field(default_factory=dict)
    nudged: Mapping[int, Mapping[str, npt.NDArray[Any]]] = field(default_factory=dict)


def record(
    runner: Runner,
    fetches: Sequence[str],
    feeds: Sequence[Mapping[str, npt.NDArray[Any]]],
    *,
    variants: Sequence[str] = ("default", "plain"),
    variant_runs: int = 3,
    longest_sum: int = 0,
    path: str = "",
    sha256: str = "",
    progress: Callable[[int, int], None] | None = None,
    may_refuse: bool = False,
) -> Recording:
    """Run one side over all feeds.

    Args:
        runner: the side.
        fetches: tensors, in its own names.
        feeds: one mapping a run, in its own names.
        variants: the first runs over all feeds and is what is judged, the others only measure noise.
        variant_runs: how many feeds the other variants run over.
        longest_sum: number of products that the longest sum in the model adds up (a column of a matrix, a filter).
            Where given, some feeds are also run as far away as rounding in such a sum is worth, the root of its length
            in steps: variants of a runtime that sum in the same order do not show how far rounding carries.
        path: the file, for the report.
        sha256: of that file.
        progress: called with (runs done, runs in all) after each.
        may_refuse: keep a recording in which every feed was refused, for `judge` to fail; right for a candidate.

    Raises:
        RuntimeFailedError: the runtime refused every feed, and `may_refuse` is not set.
    """
    default, *others = variants
    runs: list[Run] = []
    again: dict[str, dict[int, Mapping[str, npt.NDArray[Any]]]] = {}
    errors: list[RuntimeFailedError] = []
    total = len(feeds) + min(variant_runs, len(feeds)) * (len(others) + bool(longest_sum))
    done = 0
    for feed in feeds:
        digest, shapes = _digest(feed.values()), tuple(np.shape(value) for value in feed.values())
        try:
            answer = runner.run(fetches, feed, variant=default)
        except RuntimeFailedError as error:
            errors.append(error)
            runs.append(Run({}, error.message, digest, shapes))
        else:
            runs.append(Run(_named(fetches, answer), "", digest, shapes))
        done += 1
        if progress is not None:
            progress(done, total)
    if errors and len(errors) == len(feeds) and not may_refuse:
        raise errors[0]
    answered = [number for number, run in enumerate(runs) if not run.refusal][:variant_runs]
    for variant in [*others, *([_NUDGED] if longest_sum else [])]:
        again[variant] = {}
        for number in answered:
            fed = _nudged(feeds[number], longest_sum, number) if variant == _NUDGED else feeds[number]
            try:
                answer = runner.run(fetches, fed, variant=default if variant == _NUDGED else variant)
                again[variant][number] = _named(fetches, answer)
            except RuntimeFailedError:
                break  # a variant may lack kernels (NCHW without oneDNN); less noise measured, a stricter tolerance
            done += 1
            if progress is not None:
                progress(done, total)
    off = again.pop(_NUDGED, {})
    return Recording(Subject(path, sha256, runner.runtime), tuple(runs), again, off)


def _nudged(feed: Mapping[str, npt.NDArray[Any]], longest_sum: int, seed: int) -> dict[str, npt.NDArray[Any]]:
    """Return a feed whose floating-point values are off as two sums of that length are off from each other.

    Each sum is off by about the root of its length in rounding steps, and two of them by root two more.
    """
    rng = np.random.default_rng(seed)
    most = math.sqrt(2 * 3 * longest_sum)  # a uniform distribution reaches root three times its RMS
    nudged = {}
    for name, value in feed.items():
        array = np.asarray(value)
        if array.dtype.kind == "f":
            steps = rng.uniform(-most, most, array.shape) * np.finfo(array.dtype).eps
            array = (array * (1 + steps)).astype(array.dtype)
        nudged[name] = array
    return nudged


def _named(fetches: Sequence[str], answer: Sequence[npt.NDArray[Any]]) -> dict[str, npt.NDArray[Any]]:
    return {name: plain_array(array) for name, array in zip(fetches, answer, strict=True)}


def _digest(values: Iterable[npt.NDArray[Any]]) -> str:
    digest = hashlib.blake2b(digest_size=16)
    for value in values:
        array = plain_array(value)
        digest.update(f"{array.dtype}{array.shape}".encode())
        digest.update(repr(array.tolist()).encode() if array.dtype.hasobject else array.tobytes())
    return digest.hexdigest()


def judge(
    reference: Recording,
    candidate: Recording,
    pairs: Sequence[Pair],
    *,
    override: Override | None = None,
    weights: WeightsReport | None = None,
    partial_weights: bool = False,
    seed: int | None = None,
) -> Report:
    """Compare two recordings.

    Args:
        reference: what is right.
        candidate: what is judged, over the same feeds in the same order.
        pairs: which tensors belong together.
        override: the caller's rtol and atol in place of the measured tolerance.
        weights: how the candidate's weights are accounted for.
        partial_weights: PASS even where a large weight was not found in the reference.
        seed: what the feeds were made from, for the report.

    Raises:
        UsageError: the recordings are not over the same number of feeds, or lack a tensor of a pair.
    """
    if len(reference.runs) != len(candidate.runs):
        raise UsageError(
            f"the reference was recorded over {len(reference.runs)} feeds, the candidate over {len(candidate.runs)}"
        )
    reasons: list[str] = []
    refused_by_both = refused_by_candidate = 0
    first_refusal = ""
    common: list[int] = []
    for number, (want, got) in enumerate(zip(reference.runs, candidate.runs, strict=True)):
        if want.refusal:
            refused_by_both += 1
        elif got.refusal:
            refused_by_candidate += 1
            first_refusal = first_refusal or f"run {number}: {got.refusal}"
        else:
            common.append(number)
    if refused_by_both:
        reasons.append(f"the reference refused {refused_by_both} of {len(reference.runs)} feeds, which prove nothing")
    verdicts: list[Verdict] = []
    if refused_by_candidate:
        verdicts.append(Verdict.FAIL)
        reasons.append(
            f"the candidate refused {refused_by_candidate} feeds that the reference answers; {first_refusal}"
        )
    outputs = tuple(_judge_pair(pair, reference, candidate, common, override) for pair in pairs)
    if not outputs:
        reasons.append("no output was compared")
    verdicts += [output.verdict for output in outputs]
    if weights is not None:
        verdicts.append(_judge_weights(weights, reasons, partial=partial_weights))
    return Report(
        combine(verdicts) if outputs else combine((*verdicts, Verdict.INCONCLUSIVE)), outputs, tuple(reasons), seed,
        len(common), reference.subject, candidate.subject, weights,
        relaxed=any(output.relaxed for output in outputs),
    )  # fmt: skip


def _judge_weights(weights: WeightsReport, reasons: list[str], *, partial: bool) -> Verdict:
    if weights.wrong:
        reasons.append(f"{len(weights.wrong)} weights are not what they should be: {weights.wrong[0]}")
        return Verdict.FAIL
    if weights.complete:
        return Verdict.PASS
    reasons.append(
        f"{len(weights.unaccounted)} weights of the candidate come from nowhere in the reference, "
        f"the first `{weights.unaccounted[0]}`"
    )
    return Verdict.PASS if partial else Verdict.INCONCLUSIVE


def _judge_pair(
    pair: Pair, reference: Recording, candidate: Recording, common: Sequence[int], override: Override | None
) -> OutputReport:
    series = _series(reference, candidate, (pair.reference, pair.candidate), common, pair.op)
    if pair.logits is None:
        return judge_output(series, override)
    # nothing is known of the op before the softmax, and its values are no probabilities
    feeding = _series(reference, candidate, pair.logits, common, "logits")
    return judge_output(series, override, (feeding, judge_output(feeding, override)))


def _series(
    reference: Recording, candidate: Recording, names: tuple[str, str], common: Sequence[int], op: str
) -> Series:
    def arrays(side: Recording, name: str) -> list[tuple[int, npt.NDArray[Any]]]:
        for number in common:
            if name not in side.runs[number].arrays:
                raise UsageError(f"`{name}` was not recorded", evidence={"name": name, "path": side.subject.path})
        return [(number, side.runs[number].arrays[name]) for number in common]

    def again(side: Recording, name: str) -> list[tuple[int, npt.NDArray[Any]]]:
        usable = set(common)
        return [
            (number, arrays[name])
            for runs in side.again.values() for number, arrays in runs.items() if number in usable and name in arrays
        ]  # fmt: skip

    seen: set[str] = set()
    repeats = set()
    for number in common:
        digest = reference.runs[number].digest
        if digest in seen:
            repeats.add(number)
        seen.add(digest)
    return Series(
        names[0], names[1], op, arrays(reference, names[0]), arrays(candidate, names[1]),
        [frozenset(shape[0] for shape in reference.runs[number].shapes if shape) for number in common],
        {number: reference.runs[number].shapes for number in common}, frozenset(repeats),
        again(reference, names[0]), again(candidate, names[1]),
        [(n, arrays[names[0]]) for n, arrays in reference.nudged.items() if n in set(common) and names[0] in arrays],
    )  # fmt: skip
