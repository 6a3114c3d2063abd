"""What every export has in common: written beside its place, proved against the file given, and only then published."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Literal

from tfinspect.api import proof
from tfinspect.formats import _atomic
from tfinspect.verify import run as verify_run
from tfinspect.verify.verdict import Verdict

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from contextlib import AbstractContextManager
    from pathlib import Path

    from tfinspect.api.load import PathLike
    from tfinspect.api.prepare import Prepared, Setting
    from tfinspect.api.proof import Feeds, Reference
    from tfinspect.ir.runner import Runner
    from tfinspect.ir.signature import TensorSpec
    from tfinspect.verify.report import Report
    from tfinspect.verify.run import Pair
    from tfinspect.verify.weights import WeightsReport

Require = Literal["pass", "written"]


@dataclass(frozen=True, slots=True)
class ExportReport:
    """An export and its proof.

    Attributes:
        output: where it stands: the name asked for, or `NAME.rejected` where it did not pass.
        accepted: whether it stands under the name asked for.
        report: the comparison with the file it was made from.
        inputs: what it takes.
        outputs: what it gives.
        settings: placeholders that were fixed.
        notes: what was done to the graph on the way, in words.
        details: figures of the conversion.
    """

    output: str
    accepted: bool
    report: Report
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    settings: tuple[Setting, ...] = ()
    notes: tuple[str, ...] = ()
    details: dict[str, object] = field(default_factory=dict)

    @property
    def verdict(self) -> Verdict:
        """PASS, FAIL or INCONCLUSIVE."""
        return self.report.verdict


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """On what terms a result is proved and kept; see `export_onnx` for each."""

    seed: int = 0
    rtol: float | None = None
    atol: float | None = None
    inputs_from: PathLike | None = None
    require: Require = "pass"
    force: bool = False
    phase: Callable[[str], AbstractContextManager[None]] = proof.silent

    @property
    def seed_used(self) -> int | None:
        """The seed, None where the inputs are the caller's own."""
        return None if self.inputs_from is not None else self.seed


@dataclass(frozen=True, slots=True)
class Candidate:
    """What was written, and how it is held against the reference.

    Attributes:
        runner: loads it.
        feeds: the test inputs in its own names.
        pairs: which tensors of both belong together.
        weights: accounts for its weights; None where they are the same file's.
        stamp: writes into it what was proved about it; None where it has no room for that.
        path: the file to publish, where what was written is a folder with more than that in it.
        beside: names in that folder of the files that go beside it.
    """

    runner: Callable[[], Runner]
    feeds: Feeds
    pairs: Sequence[Pair]
    weights: Callable[[], WeightsReport] | None = None
    stamp: Callable[[Report], None] | None = None
    path: Path | None = None
    beside: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class Published:
    """Where the result stands, whether under the name asked for, and the proof."""

    place: Path
    accepted: bool
    report: Report


def publish_proved(
    ready: Prepared,
    target: Path,
    feeds: Feeds,
    write: Callable[[Path, Reference], Candidate],
    terms: Terms,
    *,
    one_by_one: bool = False,
) -> Published:
    """Write a candidate beside its place, prove it, and publish it: under its name, or as `NAME.rejected`.

    TensorFlow runs the reference while the candidate is being made. Whatever fails, nothing is left behind.

    Args:
        ready: the model, opened; its graph says which tensors feed a softmax.
        target: the name asked for.
        feeds: the test inputs, in the names of `ready.graph`.
        write: makes the candidate under the path it is given.
        terms: on what terms.
        one_by_one: the reference may take one sample at a time only: batches that it refuses are split.

    Raises:
        RuntimeFailedError: a runtime refused the reference, or the candidate could not be made.
        OutputError: the candidate cannot be written.
    """
    with (
        proof.reference_of(ready.model) as reference,
        _atomic.staged(target) as staged,
        proof.hint_at_shapes(ready.inputs),
        proof.recording(
            lambda: proof.SampleBySample(reference.runner()) if one_by_one else reference.runner(),
            proof.reference_fetches(ready),
            proof.reference_feeds(feeds, ready),
            path=reference.path,
            sha256=reference.sha256,
            longest_sum=proof.longest_sum(ready.graph),
        ) as truth,
    ):
        with proof.named({staged / target.name: target, staged: target}):
            with _atomic.output_errors(target):
                candidate = write(staged, reference)
            with ThreadPoolExecutor(1, thread_name_prefix="tfinspect-weights") as other:
                # the runtimes compute in processes of their own, and leave this one idle
                accounted = None if candidate.weights is None else other.submit(candidate.weights)
                answers = _answers(candidate, target)
        with terms.phase("running the reference in TensorFlow"):
            expected = truth()
        with terms.phase("comparing"), _atomic.output_errors(target):
            report = verify_run.judge(
                expected,
                answers,
                candidate.pairs,
                override=proof.override_of(terms.rtol, terms.atol),
                weights=None if accounted is None else accounted.result(),
                seed=terms.seed_used,
            )
            if candidate.stamp is not None:
                candidate.stamp(report)
        accepted = report.verdict is Verdict.PASS or terms.require == "written"
        place = target if accepted else target.with_name(target.name + ".rejected")
        _publish(candidate, staged, place, force=terms.force or not accepted)
    return Published(place, accepted, replace(report, candidate=replace(report.candidate, path=str(place))))


def _publish(candidate: Candidate, staged: Path, place: Path, *, force: bool) -> None:
    """Move the result to its place, after the files it needs beside it: it never stands there without them."""
    moved: list[Path] = []
    try:
        for name in candidate.beside:
            _atomic.publish(staged / name, place.with_name(name), force=False)
            moved.append(place.with_name(name))
        _atomic.publish(candidate.path or staged, place, force=force)
    except BaseException:
        for file in moved:
            file.unlink(missing_ok=True)
        raise


def _answers(candidate: Candidate, target: Path) -> verify_run.Recording:
    _, fetches = verify_run.fetches_of(candidate.pairs)
    with candidate.runner() as runner:
        known = {word for spec in runner.inputs for word in (spec.name, spec.key)}
        # the converter drops an input that nothing depends on
        feeds = [{name: value for name, value in feed.items() if name in known} for feed in candidate.feeds]
        return verify_run.record(runner, fetches, feeds, path=str(target), may_refuse=True)
