"""README.md is true: every console block runs as typed and prints what it shows, and so does the Python one."""

from __future__ import annotations

import os
import re
import subprocess
import sys
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
    return {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", "PYTHONPATH": str(ROOT)}


@pytest.mark.tensorflow
def test_every_console_block_runs_and_prints_what_it_shows(place: Path) -> None:
    assert len(BLOCKS) >= 5
    for command, shown in [pair for block in BLOCKS for pair in _commands(block)]:
        assert command.startswith("tfinspect "), command
        typed = command.replace("tfinspect ", f"{sys.executable} -m tfinspect ", 1)
        done = subprocess.run(
            ["bash", "-o", "pipefail", "-c", typed],
            cwd=place,
            env=_environment(),
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, (command, done.stderr)
        assert done.stdout.splitlines()[: len(shown)] == shown, command


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
