"""What an export answers, whatever it writes."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tfinspect.api.prepare import Setting
    from tfinspect.ir.signature import TensorSpec
    from tfinspect.verify.report import Report
    from tfinspect.verify.verdict import Verdict


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
