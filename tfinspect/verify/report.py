"""What is said at the end: one report a comparison, one entry an output, everything JSON can hold."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING, Any

from tfinspect.verify.verdict import Verdict

if TYPE_CHECKING:
    from tfinspect.errors import ExitStatus
    from tfinspect.verify.weights import WeightsReport

RESIDUAL_RISK = (
    "not shown: inputs outside the tested range, control flow the inputs did not take, other hardware and providers"
)


@dataclass(frozen=True, slots=True)
class Subject:
    """One side of a comparison.

    Attributes:
        path: the file that was run.
        sha256: of that file, empty where it was not computed.
        runtime: name and version of what ran it.
    """

    path: str = ""
    sha256: str = ""
    runtime: str = ""


@dataclass(frozen=True, slots=True)
class Divergence:
    """The first tensor, in the order of computation, that differs.

    Attributes:
        reference: `name:index` in the reference.
        candidate: its counterpart.
        node: name of the reference's node that computes it.
        op: that node's operation.
        rms: error relative to how much the tensor varies.
        max_abs: greatest absolute difference.
        cause: the likely cause, in words.
        agreeing: name of the last tensor before it that agrees, None where there is none.
        compared: number of tensors looked at.
    """

    reference: str
    candidate: str
    node: str
    op: str
    rms: float
    max_abs: float
    cause: str
    agreeing: str | None = None
    compared: int = 0


@dataclass(frozen=True, slots=True)
class OutputReport:
    """What is known about one output.

    Attributes:
        name: `name:index` in the reference.
        candidate_name: its name in the candidate.
        verdict: of this output alone.
        reasons: why, in words; notes where it passed.
        max_abs: greatest absolute difference.
        max_rel: greatest difference relative to the reference's element, where that is not zero.
        rms: greatest RMS error over the inputs, relative to how much the output varies over them.
        noise: the runtimes' own noise, on the scale of `rms`.
        tolerance: what `rms` was held to; None where values must be equal or the caller gave rtol and atol.
        worst: run number and index of the element that differs most.
        compared: number of elements compared.
        via_logits: whether the verdict rests on the tensor that feeds the output.
        logits: the report on that tensor.
        relaxed: whether the caller's tolerance let pass what ours might not have.
    """

    name: str
    candidate_name: str
    verdict: Verdict = Verdict.INCONCLUSIVE
    reasons: tuple[str, ...] = ()
    max_abs: float | None = None
    max_rel: float | None = None
    rms: float | None = None
    noise: float | None = None
    tolerance: float | None = None
    worst: tuple[int, ...] | None = None
    compared: int = 0
    via_logits: bool = False
    logits: OutputReport | None = None
    relaxed: bool = False

    def to_json(self) -> dict[str, object]:
        """Return the fields as JSON-able values; numbers that are not finite become null."""
        return _jsonable(self)  # type: ignore[no-any-return]


@dataclass(frozen=True, slots=True)
class Report:
    """The whole comparison.

    Attributes:
        verdict: PASS only where every output passed and no weight is missing.
        outputs: one entry each.
        reasons: what made the verdict, beyond the outputs.
        seed: what the feeds were made from, None for the caller's own data.
        samples: number of runs that both sides answered.
        reference: what is right.
        candidate: what was judged.
        weights: how the candidate's weights are accounted for, None where that was not looked at.
        divergence: the first tensor that differs, where it was looked for.
        relaxed: whether a tolerance given by the caller was looser than ours.
    """

    verdict: Verdict = Verdict.INCONCLUSIVE
    outputs: tuple[OutputReport, ...] = ()
    reasons: tuple[str, ...] = ()
    seed: int | None = None
    samples: int = 0
    reference: Subject = field(default_factory=Subject)
    candidate: Subject = field(default_factory=Subject)
    weights: WeightsReport | None = None
    divergence: Divergence | None = None
    relaxed: bool = False

    @property
    def exit_status(self) -> ExitStatus:
        """0, 1 or 6."""
        return self.verdict.exit_status

    def with_divergence(self, divergence: Divergence | None) -> Report:
        """Return a copy that names the first tensor that differs."""
        return dataclasses.replace(self, divergence=divergence)

    def to_json(self) -> dict[str, object]:
        """Return everything as JSON-able values; `output` is the candidate's file."""
        return {"output": self.candidate.path, **_jsonable(self), "residual_risk": RESIDUAL_RISK}


def _jsonable(value: object) -> Any:  # noqa: ANN401 - JSON has no narrower type
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        out = {f.name: _jsonable(getattr(value, f.name)) for f in dataclasses.fields(value)}
        for extra in getattr(value, "json_properties", ()):
            out[extra] = _jsonable(getattr(value, extra))
        return out
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, (list, tuple)):
        return [_jsonable(v) for v in value]
    if isinstance(value, dict):
        return {str(k): _jsonable(v) for k, v in value.items()}
    return value
