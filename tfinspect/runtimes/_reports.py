"""Exceptions on their way from a child to us."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from tfinspect.errors import RuntimeFailedError, TfinspectError, error_classes

if TYPE_CHECKING:
    from collections.abc import Mapping

_DETAILS_KEPT = 8
# where TensorFlow says which of its own Python made the node: ours, not the user's
_HISTORY = re.compile(r"\s*($|Graph execution error:|Detected at node|Node: '|File \"|Original stack trace)")


def report(error: Exception) -> dict[str, Any]:
    """Describe an exception in JSON: one of this program's with all it holds, a runtime's by type and message."""
    if isinstance(error, TfinspectError):
        return {
            "slug": error.slug,
            "message": error.message,
            "details": list(error.details),
            "hint": error.hint,
            "evidence": error.evidence,
        }
    return {"type": type(error).__name__, "message": "\n".join(message_lines(error))}


def message_lines(error: Exception) -> list[str]:
    """Return what a runtime's exception says, at least one line."""
    # TensorFlow's errors keep the message apart from the repetition of what was called
    message = getattr(error, "message", None)
    lines = (message if isinstance(message, str) else str(error)).splitlines()
    return [line.strip() for line in lines if not _HISTORY.match(line)] or [type(error).__name__]


def revive(reported: Mapping[str, Any], runtime: str, about: str) -> TfinspectError:
    """Make the exception of what the child reported: one of ours again, or the runtime's as RuntimeFailedError.

    Args:
        reported: from `report`.
        runtime: name of the child's kind.
        about: ` on FILE`, or empty.
    """
    by_slug = {cls.slug: cls for cls in error_classes()}
    cls = by_slug.get(reported.get("slug", ""))
    if cls is None:
        first, *rest = reported["message"].splitlines()
        return RuntimeFailedError(
            f"{runtime} failed{about}: {first}",
            details=rest[:_DETAILS_KEPT],
            evidence={"runtime": runtime, "type": reported["type"]},
        )
    revived = cls.__new__(cls)  # subclasses have constructors of their own; all facts are here already
    TfinspectError.__init__(
        revived, reported["message"], details=reported["details"], hint=reported["hint"], evidence=reported["evidence"]
    )
    for name in ("name", "near"):  # what NameNotFoundError promises
        if name in reported["evidence"]:
            setattr(revived, name, reported["evidence"][name])
    return revived
