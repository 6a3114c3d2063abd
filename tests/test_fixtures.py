"""The files in fixtures/ are what their script writes, small, and cover every format."""

from __future__ import annotations

import runpy
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
