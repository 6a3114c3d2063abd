"""What was done to a training graph to make it compute what it computes in inference."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

_SHOWN = 3

KINDS: Final = {
    "phase-flag": ("placeholder fixed", "placeholders fixed"),
    "argument": ("argument or result made a plain node", "arguments and results made plain nodes"),
    "pipeline": ("output of an input pipeline made a placeholder", "outputs of input pipelines made placeholders"),
    "dead-branch": ("conditional folded", "conditionals folded"),
    "batch-norm": ("batch norm turned to its moving statistics", "batch norms turned to their moving statistics"),
    "dropout": ("dropout removed", "dropouts removed"),
    "check": ("check or summary dropped", "checks and summaries dropped"),
    "update": ("update of a variable dropped", "updates of variables dropped"),
    "device": ("node no longer pinned to a device", "nodes no longer pinned to devices"),
    "colocation": (
        "node no longer colocated with one that is gone",
        "nodes no longer colocated with ones that are gone",
    ),
    "attribute": ("attribute of another version dropped", "attributes of another version dropped"),
    "op": ("op of another version rewritten", "ops of another version rewritten"),
}
"""Kinds of repair, and what one and several of a kind are called."""


@dataclass(frozen=True, slots=True)
class Repair:
    """One change.

    Attributes:
        what: its kind, a key of `KINDS`.
        node: the node that was changed, or went.
        detail: what it was and what became of it, a phrase; empty where the kind says it all.
    """

    what: str
    node: str
    detail: str = ""

    def __str__(self) -> str:
        """Return `dropout removed: node (detail)`."""
        return f"{KINDS[self.what][0]}: {self.node}" + (f" ({self.detail})" if self.detail else "")


@dataclass(frozen=True, slots=True)
class Refusal:
    """What stands in the way of a repair.

    Attributes:
        what: the kind of repair.
        node: where.
        reason: why it cannot be done, a phrase that names the node.
    """

    what: str
    node: str
    reason: str


def summary(repairs: Iterable[Repair]) -> list[str]:
    """Return a line for each kind of repair, in the order of `KINDS`: how many, and the first of them by name."""
    by_kind: dict[str, list[Repair]] = {what: [] for what in KINDS}
    for repair in repairs:
        by_kind[repair.what].append(repair)
    return [_line(what, found) for what, found in by_kind.items() if found]


def _line(what: str, found: Sequence[Repair]) -> str:
    one, many = KINDS[what]
    head = f"{len(found):,} {one if len(found) == 1 else many}"
    details = Counter(repair.detail for repair in found)
    same = f" ({next(iter(details))})" if len(details) == 1 and found[0].detail else ""
    names = [r.node if same or not r.detail else f"{r.node} ({r.detail})" for r in found[:_SHOWN]]
    more = f" and {len(found) - _SHOWN:,} more" if len(found) > _SHOWN else ""
    return f"{head}{same}: {', '.join(names)}{more}"
