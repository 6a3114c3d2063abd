"""What a model could do to whoever runs or loads it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

KINDS: Final = {
    "file-read": "reads files",
    "file-write": "writes files",
    "process": "starts or ends processes",
    "network": "talks to other machines",
    "python-code": "needs Python code that is not in the file",
    "custom-code": "runs compiled code of its own",
    "bytecode": "carries Python bytecode",
    "outside-path": "names or links a path outside its folder",
    "serialized-object": "carries serialized objects, which run code when loaded",
    "hidden-file": "has hidden files in its folder",
}
"""Kinds of risk that are looked for, and what each means."""


@dataclass(frozen=True, slots=True)
class Risk:
    """One thing to know before a model is run or loaded; found by reading, nothing was executed.

    Attributes:
        kind: slug, a key of `KINDS`.
        where: node, layer, member or path it stands at.
        what: one lower-case sentence.
    """

    kind: str
    where: str
    what: str
