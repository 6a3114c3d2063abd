"""Calls the command line inside this process, with streams that may pretend to be a terminal."""

from __future__ import annotations

import io
import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tfinspect.cli.app import run

if TYPE_CHECKING:
    import pytest

ROOT = Path(__file__).parent.parent
FIXTURES = ROOT / "fixtures"
ZOO = ROOT.parent / "shared" / "zoo"


class Stream(io.StringIO):
    """Text that was written, by a program that may believe in a terminal."""

    def __init__(self, *, tty: bool) -> None:
        super().__init__()
        self._tty = tty

    def isatty(self) -> bool:
        return self._tty


@dataclass(frozen=True)
class Done:
    """How a call ended."""

    status: int
    out: str
    err: str

    @property
    def answer(self) -> Any:
        """stdout as the one JSON object it must be."""
        return json.loads(self.out)

    @property
    def error(self) -> dict[str, Any]:
        """The error object that `--json` puts on stderr."""
        assert self.out == ""
        assert len(self.err.splitlines()) == 1
        found = json.loads(self.err)
        assert list(found) == ["error"]
        return dict(found["error"])

    @property
    def rows(self) -> list[list[str]]:
        """stdout as tab-separated lines."""
        return [line.split("\t") for line in self.out.splitlines()]


class Caller:
    """Calls `tfinspect` in a folder."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.monkeypatch = monkeypatch
        for name in ("FORCE_COLOR", "TFINSPECT_DEBUG"):
            monkeypatch.delenv(name, raising=False)
        monkeypatch.setenv("NO_COLOR", "1")
        monkeypatch.chdir(FIXTURES)

    def __call__(self, *words: str | Path, tty: bool = False, columns: int = 80) -> Done:
        out, err = Stream(tty=tty), Stream(tty=tty)
        with self.monkeypatch.context() as patch:
            patch.setenv("COLUMNS", str(columns))
            patch.setattr("sys.stdout", out)
            patch.setattr("sys.stderr", err)
            status = run([str(word) for word in words])
        return Done(status, out.getvalue(), err.getvalue())
