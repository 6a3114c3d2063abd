"""The only place that writes to stdout and stderr.

stdout is the answer, stderr is the conversation. A terminal gets aligned columns, a pipe tab-separated lines with full
values and no header, `--json` one object.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
from typing import TYPE_CHECKING, Any, TextIO

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from tfinspect.errors import TfinspectError

_STYLES = {"error": "31;1", "hint": "36", "name": "36", "good": "32", "warn": "33", "dim": "2"}
_MAX_TEXT = 300
_FLUSH_LINES = 4096


def escape(text: str) -> str:
    """Return text from a file as it may be shown: control, bidi and other invisible characters written out."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def shorten(text: str, limit: int = _MAX_TEXT) -> str:
    """Cut a long text in the middle."""
    if len(text) <= limit:
        return text
    half = (limit - 3) // 2
    return f"{text[:half]}...{text[-half:]}"


class Terminal:
    """Where a command writes.

    Attributes:
        json_mode: whether the answer is one JSON object.
        quiet: whether notes and hints are left out; errors never are.
        verbose: whether details that are usually left out are told.
    """

    def __init__(
        self,
        *,
        json_mode: bool = False,
        quiet: bool = False,
        verbose: bool = False,
        stdout: TextIO | None = None,
        stderr: TextIO | None = None,
    ) -> None:
        self.json_mode = json_mode
        self.quiet = quiet
        self.verbose = verbose
        self._out = stdout or sys.stdout
        self._err = stderr or sys.stderr
        self.is_tty = self._out.isatty()
        self._err_tty = self._err.isatty()

    def _paint(self, text: str, style: str, stream: TextIO) -> str:
        plain = os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb" or not stream.isatty()
        return text if plain else f"\x1b[{_STYLES[style]}m{text}\x1b[0m"

    def json(self, schema: str, content: Mapping[str, object]) -> None:
        """Print the answer as one object with the schema's name first."""
        json.dump({"schema": f"tfinspect/{schema}", **content}, self._out, indent=None if not self.is_tty else 2)
        self._out.write("\n")

    def line(self, text: str = "", style: str | None = None) -> None:
        """Print one line of the answer."""
        self._out.write((self._paint(text, style, self._out) if style else text) + "\n")

    def table(self, header: Sequence[str], rows: Iterable[Sequence[str]], *, right: Sequence[int] = ()) -> None:
        """Print rows: aligned under a header on a terminal, tab-separated in a pipe.

        Args:
            header: column names.
            rows: full values, not yet escaped.
            right: columns that are aligned to the right.
        """
        if not self.is_tty:
            self._pipe(rows)
            return
        shown = [[escape(cell) for cell in row] for row in rows]
        widths = [max(len(h), *(len(row[i]) for row in shown)) if shown else len(h) for i, h in enumerate(header)]
        self._shrink(widths)
        last = len(header) - 1

        def layout(cells: Sequence[str]) -> str:
            parts = []
            for i, cell in enumerate(cells):
                short = shorten(cell, widths[i])
                parts.append(short.rjust(widths[i]) if i in right else short if i == last else short.ljust(widths[i]))
            return "  ".join(parts).rstrip()

        self.line(layout(header), "dim")
        for row in shown:
            self.line(layout(row))

    def _shrink(self, widths: list[int]) -> None:
        """Take from the widest columns what does not fit the terminal; a name keeps at least 24 characters."""
        import shutil

        room = max(40, shutil.get_terminal_size().columns) - 2 * (len(widths) - 1)
        least = 24
        while sum(widths) > room and max(widths) > least:
            widest = widths.index(max(widths))
            second = max([w for i, w in enumerate(widths) if i != widest] or [least])
            widths[widest] = max(
                least,
                second - 1 if second < widths[widest] else widths[widest] - 1,
                widths[widest] - (sum(widths) - room),
            )

    def _pipe(self, rows: Iterable[Sequence[str]]) -> None:
        lines: list[str] = []
        for row in rows:
            line = "\t".join(row)
            if not line.isascii() or "\n" in line or "\r" in line or not line.replace("\t", " ").isprintable():
                line = "\t".join(map(escape, row))
            lines.append(line)
            if len(lines) >= _FLUSH_LINES:
                self._out.write("\n".join(lines) + "\n")
                lines.clear()
        if lines:
            self._out.write("\n".join(lines) + "\n")

    def note(self, text: str) -> None:
        """Say something on stderr; not with --quiet, and not with --json, whose answer holds it already."""
        if not (self.quiet or self.json_mode):
            self._err.write(escape(text) + "\n")

    def detail(self, text: str) -> None:
        """Say something on stderr that only --verbose asks for."""
        if self.verbose:
            self.note(text)

    def next_step(self, command: str) -> None:
        """Suggest what to run next; on a terminal only."""
        if self.is_tty and self._err_tty:
            self.note(f"next: {command}")

    def error(self, error: TfinspectError) -> None:
        """Show an error: one sentence, its evidence, and what mends it."""
        if self.json_mode:
            content: dict[str, Any] = {
                "slug": error.slug,
                "message": error.message,
                "details": list(error.details),
                "hint": error.hint,
                "evidence": error.evidence,
                "exit_status": int(error.exit_status),
            }
            self._err.write(json.dumps({"error": content}, default=str) + "\n")
            return
        lines = [f"{self._paint('error:', 'error', self._err)} {shorten(escape(error.message))}"]
        lines += [f"         {shorten(escape(line))}" for line in error.details]
        if error.hint:
            lines += ["", f"{self._paint('hint:', 'hint', self._err)} {escape(error.hint)}"]
        self._err.write("\n".join(lines) + "\n")

    @contextlib.contextmanager
    def phase(self, text: str) -> Iterator[None]:
        """Show what takes its time, on a terminal's stderr only; it vanishes when done."""
        if not self._err_tty or self.quiet or self.json_mode:
            yield
            return
        from rich.console import Console

        with Console(file=self._err).status(text):
            yield
