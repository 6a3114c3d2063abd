"""The only place that writes to stdout and stderr.

stdout is the answer, stderr is the conversation. A terminal gets aligned columns, a pipe tab-separated lines with full
values and no header (a list one line an element, a description one a fact), `--json` one object.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import sys
from typing import TYPE_CHECKING, Any, TextIO

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from tfinspect.errors import TfinspectError

_STYLES = {"error": "31;1", "hint": "36", "name": "36", "good": "32", "warn": "33", "dim": "2"}
_MAX_TEXT = 300
_MAX_MESSAGE = 1000
_FLUSH_LINES = 4096
_NARROWEST = 20  # a terminal that says it is narrower does not know its size
_LEAST_NAME = 24
_LEAST_CELL = 8
_LABEL_WIDTH = 12
_INDENT = " " * 7


def escape(text: str) -> str:
    """Return text from a file as it may be shown: control, bidi and other invisible characters written out."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def shorten(text: str, limit: int = _MAX_TEXT) -> str:
    """Cut a long text in the middle."""
    if len(text) <= limit:
        return text
    kept = max(0, limit - 3)
    tail = kept // 2
    return text[: kept - tail] + "..." + text[len(text) - tail :]


def widths_that_fit(widths: Sequence[int], least: Sequence[int], room: int) -> list[int]:
    """Return how wide each column may be so that all fit into `room`, or as little more as `least` allows.

    The widest columns give way first, down to a common width, and none below its least.
    """

    def cut_to(cap: int) -> list[int]:
        return [min(width, max(cap, floor)) for width, floor in zip(widths, least, strict=True)]

    cap = min(max(widths, default=0), room)
    while cap > 0 and sum(cut_to(cap)) > room:
        cap -= 1
    return cut_to(cap)


def forget_output() -> None:
    """Send what is left to nowhere: the interpreter flushes it at its end, which must not fail once more."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:
            os.dup2(nowhere, stream.fileno())


class Terminal:
    """Where a command writes.

    Attributes:
        json_mode: whether the answer is one JSON object.
        quiet: whether notes and hints are left out; errors never are.
        verbose: whether details that are usually left out are told.
        is_tty: whether the answer goes to a person's screen.
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

    @property
    def columns(self) -> int:
        """Width of the terminal in characters; COLUMNS overrules it."""
        import shutil

        return max(_NARROWEST, shutil.get_terminal_size().columns)

    def _paint(self, text: str, style: str, stream: TextIO) -> str:
        plain = os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb" or not stream.isatty()
        return text if plain else f"\x1b[{_STYLES[style]}m{text}\x1b[0m"

    def json(self, schema: str, content: Mapping[str, object]) -> None:
        """Print the answer as one object with the schema's name first."""
        answer = {"schema": f"tfinspect/{schema}", **content}
        indent = 2 if self.is_tty else None
        try:
            text = json.dumps(answer, indent=indent, allow_nan=False)
        except ValueError:  # looked through only where it must be: a listing can hold a million values
            text = json.dumps(_without_nan(answer), indent=indent, allow_nan=False)
        self._out.write(text + "\n")

    def line(self, text: str = "", style: str | None = None) -> None:
        """Print one line of the answer."""
        self._out.write((self._paint(text, style, self._out) if style else text) + "\n")

    def entry(self, label: str, *cells: str, note: str = "", style: str | None = None) -> None:
        """Print one fact: as `label  cells   note` on a terminal, tab-separated in a pipe.

        Args:
            label: what it is, one word.
            cells: the fact, not yet escaped.
            note: what there is to say about it; on a terminal it goes to lines of its own where it does not fit.
            style: colour of the label.
        """
        if not self.is_tty:
            self._pipe([(label.strip(), *cells, *([note] if note else []))])
            return
        word = f"{label:<{_LABEL_WIDTH - 1}} "
        text = "  ".join(escape(cell) for cell in cells)
        beside = f"   {escape(note)}" if note else ""
        fits = 2 + len(word) + len(text) + len(beside) <= self.columns
        painted = self._paint(word, style, self._out) if style else word
        self.line(f"  {painted}{text}{beside if fits else ''}".rstrip())
        if not fits and note:
            indent = " " * (_LABEL_WIDTH + 4)
            for row in _wrap(escape(note), self.columns - len(indent)):
                self.line(indent + row)

    def table(self, header: Sequence[str], rows: Iterable[Sequence[str]], *, right: Sequence[int] = ()) -> None:
        """Print rows: aligned under a header on a terminal, tab-separated in a pipe.

        On a terminal too narrow for all columns the last ones are left out; the first is always there.

        Args:
            header: column names.
            rows: full values, not yet escaped.
            right: columns that are aligned to the right.
        """
        if not self.is_tty:
            self._pipe(rows)
            return
        shown = [[escape(cell) for cell in row] for row in rows]
        if not shown:
            return
        natural = [max(len(name), *(len(row[i]) for row in shown)) for i, name in enumerate(header)]
        least = [max(len(name), _LEAST_CELL) for name in header]
        least[0] = max(_LEAST_NAME, self.columns // 2)
        count = len(header)
        while count > 1 and sum(map(min, natural, least[:count])) + 2 * (count - 1) > self.columns:
            count -= 1
        widths = widths_that_fit(natural[:count], least[:count], self.columns - 2 * (count - 1))

        def layout(cells: Sequence[str]) -> str:
            parts = []
            for i, width in enumerate(widths):
                cell = shorten(cells[i], width)
                parts.append(cell.rjust(width) if i in right else cell.ljust(width))
            return "  ".join(parts).rstrip()

        self.line(layout(header), "dim")
        for row in shown:
            self.line(layout(row))
        if count < len(header):
            self.note(f"too narrow for {', '.join(header[count:])}")

    def _pipe(self, rows: Iterable[Sequence[str]]) -> None:
        waiting = iter(rows)
        while batch := list(itertools.islice(waiting, _FLUSH_LINES)):
            lines = ["\t".join(row) for row in batch]
            text = "\n".join(lines)
            tabs = sum(map(len, batch)) - len(batch)
            # nearly always nothing is to be escaped, and that is told sooner of all lines than of each
            if (
                text.count("\t") != tabs
                or text.count("\n") != len(batch) - 1
                or not text.replace("\t", " ").replace("\n", " ").isprintable()
            ):
                text = "\n".join("\t".join(map(escape, row)) for row in batch)
            self._out.write(text + "\n")

    def note(self, text: str) -> None:
        """Say something on stderr; not with --quiet, and not with --json, whose answer holds it already."""
        if not (self.quiet or self.json_mode):
            self._err.write(escape(text) + "\n")

    def warn(self, text: str) -> None:
        """Say on stderr what a person must not overlook; not with --json, whose answer holds it already."""
        if not self.json_mode:
            self._err.write(f"{self._paint('warning:', 'warn', self._err)} {escape(text)}\n")

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
            self._err.write(json.dumps({"error": _without_nan(content)}, default=str) + "\n")
            return
        lines = [f"{self._paint('error:', 'error', self._err)} {shorten(escape(error.message), _MAX_MESSAGE)}"]
        for detail in error.details:
            text = shorten(escape(detail))
            wrapped = _wrap(text, self.columns - len(_INDENT)) if self._err_tty else [text]
            lines += [_INDENT + wrapped[0], *(f"{_INDENT}  {row}" for row in wrapped[1:])]
        if error.hint:
            lines += ["", f"{self._paint('hint:', 'hint', self._err)} {escape(error.hint)}"]
        self._err.write("\n".join(lines) + "\n")

    @contextlib.contextmanager
    def phase(self, text: str) -> Iterator[None]:
        """Show what takes its time, on a terminal's stderr only; it vanishes when done."""
        with self.progress(text):
            yield

    @contextlib.contextmanager
    def progress(self, text: str) -> Iterator[Callable[[str], None]]:
        """Show what takes its time, as `phase` does; what is yielded changes the text."""
        if not self._err_tty or self.quiet or self.json_mode or os.environ.get("TERM") == "dumb":
            yield lambda _: None
            return
        from rich.console import Console

        with Console(file=self._err).status(text) as status:
            yield status.update


def _wrap(text: str, width: int) -> list[str]:
    import textwrap

    return textwrap.wrap(text, max(width, _LEAST_NAME), break_long_words=False, break_on_hyphens=False) or [""]


def _without_nan(value: Any) -> Any:  # noqa: ANN401 - anything that JSON can hold
    """Replace numbers that JSON has no word for by their names: "nan", "inf", "-inf"."""
    if isinstance(value, float) and (value != value or value in (float("inf"), float("-inf"))):  # noqa: PLR0124
        return str(value)
    if isinstance(value, dict):
        return {key: _without_nan(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_without_nan(item) for item in value]
    return value
