"""What `info --risks` prints. Never that a model is safe: only what was looked for, and what of it was found."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tfinspect.cli.render import plural
from tfinspect.ir.risks import KINDS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tfinspect.cli.terminal import Terminal
    from tfinspect.ir.risks import Risk

_SHOWN = 20  # of one kind on a terminal


def risks_json(risks: Sequence[Risk]) -> dict[str, object]:
    """Return the risks as `--json` has them, to be put into an answer."""
    rows = [{"kind": risk.kind, "where": risk.where, "what": risk.what} for risk in risks]
    return {"risks": rows, "risk_kinds": list(KINDS)}


def show_risks(terminal: Terminal, risks: Sequence[Risk]) -> None:
    """Print the risks: grouped by kind on a terminal, `risk`, kind, place and sentence a line in a pipe."""
    if terminal.json_mode:
        terminal.json("risks/1", risks_json(risks))
        return
    if not terminal.is_tty:
        for risk in risks:
            terminal.entry("risk", risk.kind, risk.where, risk.what)
        terminal.note(_summary(risks))
        return
    kinds = dict.fromkeys([*KINDS, *(risk.kind for risk in risks)])
    for kind in kinds:
        found = [risk for risk in risks if risk.kind == kind]
        shown = found if terminal.verbose else found[:_SHOWN]
        for risk in shown:
            terminal.entry("risk", kind, risk.where, note=risk.what, style="warn")
        if len(shown) < len(found):
            terminal.entry("", f"and {len(found) - len(shown):,} more of {kind}, with --verbose")
    terminal.note(_summary(risks))


def _summary(risks: Sequence[Risk]) -> str:
    if risks:
        return f"{plural(len(risks), 'risk')} found; looked for: {', '.join(KINDS)}"
    return f"nothing found of {plural(len(KINDS), 'kind')} of risk looked for: {', '.join(KINDS)}"
