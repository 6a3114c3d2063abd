"""What a comparison ends with."""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING

from tfinspect.errors import ExitStatus

if TYPE_CHECKING:
    from collections.abc import Iterable


class Verdict(Enum):
    """PASS is earned: whatever was not shown is INCONCLUSIVE."""

    PASS = "PASS"  # noqa: S105 - no password
    FAIL = "FAIL"
    INCONCLUSIVE = "INCONCLUSIVE"

    def __str__(self) -> str:
        """Return the name."""
        return self.value

    @property
    def exit_status(self) -> ExitStatus:
        """What a process that ends with this verdict returns."""
        return _EXIT_STATUS[self]


_EXIT_STATUS = {
    Verdict.PASS: ExitStatus.OK,
    Verdict.FAIL: ExitStatus.DIFFERENT,
    Verdict.INCONCLUSIVE: ExitStatus.INCONCLUSIVE,
}


def combine(verdicts: Iterable[Verdict]) -> Verdict:
    """Return the verdict of the whole: one FAIL fails it, and only PASS throughout, of at least one part, passes it."""
    found = set(verdicts)
    if Verdict.FAIL in found:
        return Verdict.FAIL
    return Verdict.PASS if found == {Verdict.PASS} else Verdict.INCONCLUSIVE
