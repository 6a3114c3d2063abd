"""What `freeze` answers."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING

from tfinspect.cli.render import plural, print_change

if TYPE_CHECKING:
    from tfinspect.api.freeze import Frozen
    from tfinspect.cli.terminal import Terminal


def show(terminal: Terminal, done: Frozen, output: str, *, dry_run: bool) -> None:
    """Print the ends of the frozen graph, and say what was done to it."""
    from tfinspect.api.repair import summary

    report = done.report
    extra: dict[str, object] = {
        "variables": dict(report.restored),
        "unused": list(report.unused),
        "repairs": [{"what": r.what, "node": r.node, "detail": r.detail} for r in done.repairs],
        "notes": list(done.notes),
    }
    for note in done.notes:
        terminal.note(note)
    if terminal.verbose:
        for repair in done.repairs:
            terminal.note(str(repair))
    else:
        for line in summary(done.repairs):
            terminal.note(line)
    unused = f"{plural(len(report.unused), 'weight')} of the checkpoint not needed"
    terminal.note(f"restored {plural(len(report.restored), 'variable')}; {unused}")
    print_change(terminal, "freeze", output, done.graph, done.inputs, done.outputs, dry_run=dry_run, extra=extra)
    terminal.next_step(f"tfinspect export {shlex.quote(output)} --onnx")
