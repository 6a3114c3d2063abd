"""What `freeze` answers."""

from __future__ import annotations

import shlex
from collections import Counter
from typing import TYPE_CHECKING

from tfinspect.cli.render import plural, print_change, spec_json
from tfinspect.ir.shapes import format_shape

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tfinspect.api.freeze import Frozen, Plan
    from tfinspect.api.match_variables import Row
    from tfinspect.api.repair import Repair
    from tfinspect.cli.terminal import Terminal


def show(terminal: Terminal, done: Frozen, output: str) -> None:
    """Print the ends of the frozen graph that was written, and say what was done to it."""
    show_repairs(terminal, done.repairs, done.notes)
    terminal.note(_restored(done))
    extra = _details(done)
    print_change(terminal, "freeze", output, done.graph, done.inputs, done.outputs, dry_run=False, extra=extra)
    terminal.next_step(f"tfinspect export {shlex.quote(output)} --onnx")


def show_plan(terminal: Terminal, plan: Plan, output: str) -> None:
    """Print what each variable would get, and say what would be done."""
    done = plan.frozen
    if terminal.json_mode:
        answer: dict[str, object] = {"output": output, "written": False}
        if done is not None:
            answer["node_count"] = len(done.graph)
            answer["inputs"] = [spec_json(spec) for spec in done.inputs]
            answer["outputs"] = [spec_json(spec) for spec in done.outputs]
            answer.update(_details(done))
        else:
            answer["repairs"] = _repairs(plan.repairs)
        terminal.json("freeze/1", {**answer, "reconciliation": [_row(row) for row in plan.table]})
        return
    show_repairs(terminal, plan.repairs, () if done is None else done.notes)
    terminal.table(("variable", "graph", "checkpoint", "holds", "status", "near"), [_cells(r) for r in plan.table])
    counts = Counter(row.status for row in plan.table)
    terminal.note(", ".join(f"{count:,} {status}" for status, count in counts.items()) or "no variables")
    if done is None:
        return
    for word, specs in (("input", done.inputs), ("output", done.outputs)):
        for spec in specs:
            terminal.note(f"{word} {spec.name}  {spec.dtype or '?'} {format_shape(spec.shape)}")
    terminal.note(f"would write {output} ({plural(len(done.graph), 'node')})")


def show_repairs(terminal: Terminal, repairs: Sequence[Repair], notes: Sequence[str]) -> None:
    """Say on stderr what was done: each kind with the first by name, all with --verbose."""
    from tfinspect.api.repair import summary

    for note in notes:
        terminal.note(note)
    for line in map(str, repairs) if terminal.verbose else summary(repairs):
        terminal.note(line)


def _restored(done: Frozen) -> str:
    report = done.report
    unused = f"{plural(len(report.unused), 'weight')} of the checkpoint not needed"
    return f"restored {plural(len(report.restored), 'variable')}; {unused}"


def _details(done: Frozen) -> dict[str, object]:
    report = done.report
    return {
        "variables": dict(report.restored),
        "averages": [{"variable": v, "key": key, "found_by": by} for v, (key, by) in done.averages.items()],
        "unused": list(report.unused),
        "repairs": _repairs(done.repairs),
        "notes": list(done.notes),
    }


def _repairs(repairs: Sequence[Repair]) -> list[dict[str, object]]:
    return [{"what": r.what, "node": r.node, "detail": r.detail} for r in repairs]


def _row(row: Row) -> dict[str, object]:
    return {
        "variable": row.variable or None,
        "dtype": None if row.dtype is None else str(row.dtype),
        "shape": None if row.shape is None else list(row.shape),
        "key": row.key,
        "key_dtype": None if row.key_dtype is None else str(row.key_dtype),
        "key_shape": None if row.key_shape is None else list(row.key_shape),
        "status": row.status,
        "fitted": row.fitted,
        "near": list(row.near),
    }


def _cells(row: Row) -> tuple[str, ...]:
    """Return a row's cells; the dtype and shape of either side are one cell."""
    wanted = "-" if not row.variable else f"{row.dtype or '?'} {format_shape(row.shape)}"
    held = "-" if row.key_dtype is None else f"{row.key_dtype} {format_shape(row.key_shape)}"
    status = f"{row.status}, fitted" if row.fitted else row.status
    return (row.variable or row.key, wanted, row.key, held, status, " ".join(row.near))
