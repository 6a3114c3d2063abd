"""What a model could do to whoever runs or loads it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Risk:
    """One thing to know before a model is run or loaded; found by reading, nothing was executed.

    Attributes:
        kind: slug: "file-read", "file-write", "process", "network", "python-code", "custom-code", "bytecode",
            "outside-path", "serialized-object".
        where: node, layer, member or path it stands at.
        what: one lower-case sentence.
    """

    kind: str
    where: str
    what: str
