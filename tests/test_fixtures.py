"""The files in fixtures/ are what their script writes, small, and cover every format."""

from __future__ import annotations

import os
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

from tfinspect import formats
from tfinspect.errors import TfinspectError
from tfinspect.formats import graphdef

FIXTURES = Path(__file__).parent.parent / "fixtures"


@pytest.fixture(scope="module")
def script() -> dict[str, object]:
    return runpy.run_path(str(FIXTURES / "make_fixtures.py"))


@pytest.mark.parametrize(("name", "scale"), [("inception_tiny.pb", False), ("inception_scaled.pb", True)])
def test_graphs_are_what_the_script_builds(script: dict, name: str, *, scale: bool) -> None:
    built = script["Inception"](scale=scale).build()
    assert b"".join(map(bytes, graphdef.encode(built))) == (FIXTURES / name).read_bytes()


def test_scrambled_graph_is_the_small_one_under_other_names(script: dict) -> None:
    tiny, scrambled = (formats.read_graph(FIXTURES / name) for name in ("inception_tiny.pb", "scrambled.pb"))
    assert not {node.name for node in tiny} & {node.name for node in scrambled}
    assert [node.op for node in tiny] == [node.op for node in scrambled]
    assert b"".join(map(bytes, graphdef.encode(script["scramble"](tiny)))) == (FIXTURES / "scrambled.pb").read_bytes()


@pytest.mark.parametrize("name", ["dl4j", "safetensors", "tflite"])
def test_scripts_that_need_no_runtime_write_the_same_bytes(name: str, tmp_path: Path) -> None:
    runpy.run_path(str(FIXTURES / f"make_{name}.py"))["write"](tmp_path)
    written = contents(tmp_path)
    assert written
    assert written == {path: data for path, data in contents(FIXTURES).items() if path in written}


def test_heads_and_features_are_the_same_bytes(script: dict, tmp_path: Path) -> None:
    script["write_head"](tmp_path)
    script["write_features"](tmp_path)
    written = contents(tmp_path)
    assert sorted(written) == ["features.npz", "head.npz", "labels.txt"]
    assert written == {path: data for path, data in contents(FIXTURES).items() if path in written}


@pytest.mark.slow
@pytest.mark.tensorflow
def test_the_whole_folder_is_written_again_byte_for_byte(tmp_path: Path) -> None:
    command = [sys.executable, str(FIXTURES / "make_fixtures.py"), str(tmp_path)]
    environment = {**os.environ, "PYTHONPATH": str(FIXTURES.parent)}
    subprocess.run(command, check=True, env=environment, capture_output=True, timeout=1800)
    written, committed = contents(tmp_path), contents(FIXTURES)
    scripts = {path for path in committed if path.endswith((".py", ".sh"))}
    assert sorted(written) == sorted(committed.keys() - scripts)
    assert [path for path, data in written.items() if data != committed[path]] == []


def contents(folder: Path) -> dict[str, bytes]:
    files = [path for path in folder.rglob("*") if path.is_file() and "__pycache__" not in path.parts]
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def test_every_format_has_a_fixture_and_all_are_small() -> None:
    files = [path for path in FIXTURES.rglob("*") if path.is_file() and "__pycache__" not in path.parts]
    assert sum(path.stat().st_size for path in files) < 10 << 20
    found = set()
    for path in files:
        try:
            found.add(formats.identify(path).name)
        except TfinspectError:
            continue  # labels, photo, script
    assert found == {row.name for row in formats.FORMATS}
