"""Comparisons as text, JSON and HTML."""

from __future__ import annotations

import html
import json
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import typer

from tfinspect.cli.render import format_nbytes, spec_json
from tfinspect.cli.terminal import escape
from tfinspect.errors import ExitStatus, UsageError

if TYPE_CHECKING:
    from tfinspect.api.export import ExportReport
    from tfinspect.cli.terminal import Terminal
    from tfinspect.verify.report import OutputReport, Report

_WORDS = {"PASS": "verified", "FAIL": "MISMATCH", "INCONCLUSIVE": "UNPROVED"}


def exit_with(report: Report, *, accepted: bool) -> NoReturn:
    """Leave with the status that goes with the verdict; a file kept on request counts as done."""
    status = ExitStatus.OK if accepted else report.exit_status
    raise typer.Exit(int(status))


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.2g}"


def _output_line(output: OutputReport) -> str:
    word = _WORDS[output.verdict.name]
    figures = f"max abs {_number(output.max_abs)}, error {_number(output.rms)} of its variation"
    bound = "" if output.tolerance is None else f" (allowed {_number(output.tolerance)}, noise {_number(output.noise)})"
    via = ", judged by its logits" if output.via_logits else ""
    return f"{word} {escape(output.name)}  {figures}{bound}{via}"


def show_comparison(terminal: Terminal, report: Report) -> None:
    """Print one line an output, the reasons, and the first tensor that differs."""
    for output in report.outputs:
        style = {"PASS": "good", "FAIL": "error"}.get(output.verdict.name, "warn")
        if terminal.is_tty:
            terminal.line(f"  {_output_line(output)}", style)
        else:
            cells = (
                output.name,
                output.verdict.name,
                _number(output.max_abs),
                _number(output.max_rel),
                _number(output.rms),
            )
            terminal.line("\t".join(map(escape, cells)))
        if output.verdict.name != "PASS" or terminal.verbose:
            for reason in output.reasons:
                terminal.note(f"    {output.name}: {reason}")
        if output.logits is not None and terminal.verbose:
            terminal.note(f"    behind it: {_output_line(output.logits)}")
    for reason in report.reasons:
        terminal.note(f"  {reason}")
    weights = report.weights
    if weights is not None:
        found = len(weights.identical) + len(weights.permuted) + len(weights.joined)
        terminal.note(
            f"  weights: {found} the same, {len(weights.folded)} folded and recomputed, "
            f"{len(weights.trivial) + len(weights.small)} small or uniform, {len(weights.unaccounted)} not found, "
            f"{len(weights.wrong)} wrong"
        )
    if report.divergence is not None:
        first = report.divergence
        terminal.line(
            f"  first difference: {escape(first.reference)} ({escape(first.op)}), "
            f"error {_number(first.rms)} of its variation: {escape(first.cause)}"
        )
    terminal.note(
        f"  {report.samples} runs, "
        + ("the caller's inputs" if report.seed is None else f"seed {report.seed}")
        + f"; {report.reference.runtime} against {report.candidate.runtime}"
        + ("; tolerance relaxed by the caller" if report.relaxed else "")
    )


def show_export(terminal: Terminal, done: ExportReport, model: str) -> None:
    """Print what was written, how, and whether it is proved."""
    for note in done.notes:
        terminal.note(f"  {note}")
    show_comparison(terminal, done.report)
    nbytes = done.details.get("nbytes")
    size = f" ({format_nbytes(nbytes)})" if isinstance(nbytes, int) else ""
    if done.accepted:
        suffix = "" if done.verdict.name == "PASS" else f", not proved: {done.verdict.name}"
        terminal.note(f"wrote {done.output}{size}{suffix}")
        return
    what = "does not compute what the model computes" if done.verdict.name == "FAIL" else "could not be proved"
    terminal.note(f"the result {what}; kept as {done.output}{size}")
    if done.verdict.name == "FAIL":
        terminal.next_step(shlex.join(["tfinspect", "verify", model, str(done.output), "--bisect"]))


def export_json(done: ExportReport, model: str) -> dict[str, object]:
    """Return an export as the contract writes it."""
    return {
        **done.report.to_json(),
        "model": model,
        "output": done.output,
        "accepted": done.accepted,
        "inputs": [spec_json(s) for s in done.inputs],
        "settings": [{"name": str(s.ref), "value": s.value, "why": s.why} for s in done.settings],
        "notes": list(done.notes),
        **done.details,
    }


def write_report(report: Report, path: str) -> None:
    """Write a report to a file, as its suffix says.

    Raises:
        UsageError: the suffix is neither `.json` nor `.html`.
        OutputError: the file cannot be written.
    """
    from tfinspect.formats import write_text

    suffix = Path(path).suffix
    if suffix == ".json":
        write_text(path, json.dumps(report.to_json(), indent=2) + "\n")
    elif suffix == ".html":
        write_text(path, _html(report))
    else:
        raise UsageError(f"a report is .json or .html, not `{suffix}`")


def _html(report: Report) -> str:
    cell = html.escape
    rows = "".join(
        f"<tr><td>{cell(o.name)}</td><td>{o.verdict.name}</td><td>{_number(o.max_abs)}</td><td>{_number(o.rms)}</td>"
        f"<td>{_number(o.tolerance)}</td><td>{cell('; '.join(o.reasons))}</td></tr>"
        for o in report.outputs
    )
    reasons = "".join(f"<li>{cell(reason)}</li>" for reason in report.reasons)
    first = report.divergence
    diverges = (
        f"<p>First difference: <code>{cell(first.reference)}</code> ({cell(first.op)}): {cell(first.cause)}</p>"
        if first
        else ""
    )
    subjects = "".join(
        f"<li>{word}: <code>{cell(side.path)}</code>, {cell(side.runtime)}, "
        f"sha256 <code>{cell(side.sha256)}</code></li>"
        for word, side in (("Reference", report.reference), ("Candidate", report.candidate))
    )
    return (
        "<!doctype html><meta charset=utf-8><title>tfinspect verify</title>"
        "<style>body{font:15px sans-serif;margin:2em}td,th{padding:.3em .8em;border-bottom:1px solid #ccc;"
        "text-align:left}</style>"
        f"<h1>{report.verdict.name}</h1><ul>{subjects}</ul><table><tr><th>Output<th>Verdict<th>Max abs"
        f"<th>Error / variation<th>Allowed<th>Why</tr>{rows}</table><ul>{reasons}</ul>{diverges}\n"
    )
