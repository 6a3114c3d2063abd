"""Checks that were made on request, each with its answer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Status = Literal["ok", "failed", "not checked"]


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was looked at, or could not be.

    Attributes:
        what: file, tensor or field.
        status: "not checked" where it says neither that it is well nor that it is not.
        detail: what was compared, what was found, or why nothing was.
    """

    what: str
    status: Status
    detail: str
