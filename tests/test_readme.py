"""README.md is true: every console block runs as typed and prints what it shows, and so does the Python one."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import struct
import subprocess
import sys
import tempfile
import termios
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
BLOCKS = re.findall(r"```console\n(.*?)```", README, re.DOTALL)


def _commands(block: str) -> list[tuple[str, list[str]]]:
    """Split a block into (command, lines shown below it)."""
    found: list[tuple[str, list[str]]] = []
    for line in block.splitlines():
        if line.startswith("$ "):
            found.append((line[2:], []))
        else:
            found[-1][1].append(line)
    return found


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give a folder that looks like a fresh clone to the commands; later blocks use what earlier ones wrote."""
    folder = tmp_path_factory.mktemp("readme")
    (folder / "fixtures").symlink_to(ROOT / "fixtures")
    return folder


def _environment() -> dict[str, str]:
    inherited = {name: value for name, value in os.environ.items() if name not in {"COLUMNS", "LINES"}}
    return {
        **inherited,
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT),
        "NO_COLOR": "1",
    }


def _in_terminal(typed: str, place: Path) -> tuple[int, list[str]]:
    """Run a command line with a terminal of 120 columns as its output, and return status and lines printed."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 120, 0, 0))
    with tempfile.TemporaryFile() as errors:
        process = subprocess.Popen(
            ["bash", "-o", "pipefail", "-c", typed], cwd=place, env=_environment(), stdout=theirs, stderr=errors
        )
        os.close(theirs)
        printed = b""
        while True:
            try:
                piece = os.read(ours, 65536)
            except OSError:  # how a pseudo-terminal says that nobody writes to it any more
                break
            if not piece:
                break
            printed += piece
        os.close(ours)
        status = process.wait()
        errors.seek(0)
        lines = printed.decode().replace("\r\n", "\n").splitlines()
        return status, lines if status == 0 else [*lines, errors.read().decode()]


@pytest.mark.tensorflow
def test_every_console_block_runs_and_prints_what_it_shows(place: Path) -> None:
    assert len(BLOCKS) >= 4
    for command, shown in [pair for block in BLOCKS for pair in _commands(block)]:
        assert command.startswith("tfinspect "), command
        typed = command.replace("tfinspect ", f"{sys.executable} -m tfinspect ", 1)
        status, printed = _in_terminal(typed, place)
        assert status == 0, (command, printed)
        assert printed[: len(shown)] == shown, command


@pytest.mark.tensorflow
def test_the_python_block_runs(place: Path) -> None:
    (block,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    for name in ("flowers.pb", "flowers.onnx"):
        (place / name).unlink(missing_ok=True)
    done = subprocess.run(
        [sys.executable, "-c", block], cwd=place, env=_environment(), capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert (place / "flowers.onnx").is_file()


def test_links_lead_somewhere() -> None:
    links = re.findall(r"\]\(([^)]+)\)", README)
    assert links
    for link in links:
        assert (ROOT / link).exists(), link
