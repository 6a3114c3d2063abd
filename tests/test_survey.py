"""`info` on a folder of models, and on models of which a part is broken: the rest is told all the same."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import pytest

from tests.cli_calls import FIXTURES, ZOO, Caller
from tfinspect.api.survey import survey

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def call(monkeypatch: pytest.MonkeyPatch) -> Caller:
    return Caller(monkeypatch)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder as people keep them: models, a checkpoint, a SavedModel further down, and files that are none."""
    top = tmp_path / "models"
    shutil.copytree(FIXTURES / "training_v1", top / "old")
    shutil.copytree(FIXTURES / "saved_model", top / "served" / "1")
    shutil.copy(FIXTURES / "inception_tiny.pb", top / "a.pb")
    shutil.copy(FIXTURES / "head.npz", top / "head.npz")
    for path in (FIXTURES / "training").glob("model.ckpt-3.*"):
        shutil.copy(path, top / path.name)
    (top / "notes.txt").write_text("what we know\n")
    return top


def test_each_model_gets_a_line(folder: Path, call: Caller) -> None:
    done = call("info", folder)
    assert done.status == 0, done.err
    assert [row[:2] for row in done.rows] == [
        ["a.pb", "graphdef"],
        ["head.npz", "head_npz"],
        ["model.ckpt-3.index", "checkpoint_v2"],
        ["old/model.ckpt-3", "checkpoint_v1"],
        ["served/1", "saved_model"],
    ]
    size = (FIXTURES / "inception_tiny.pb").stat().st_size
    assert done.rows[0][2:] == [str(size), "83 nodes"]
    files = [path for path in folder.glob("model.ckpt-3.*") if path.suffix != ".meta"]
    assert int(done.rows[2][2]) == sum(path.stat().st_size for path in files)
    assert done.err == "5 models, 1 other file\n"


def test_a_broken_member_does_not_hide_the_rest(folder: Path, call: Caller) -> None:
    graph = folder / "a.pb"
    graph.write_bytes(graph.read_bytes()[:-7])
    done = call("info", folder)
    assert done.status == 3
    assert done.rows[0] == ["a.pb", "graphdef", str(graph.stat().st_size), "cannot be read"]
    assert len(done.rows) == 5
    assert done.err.splitlines()[1].startswith(f"error: {graph} is damaged at byte ")
    listed = call("info", folder, "--json")
    assert listed.status == 3
    answer = listed.answer
    assert answer["members"][0]["problem"]["slug"] == "corrupt-file"
    assert [m["problem"] for m in answer["members"][1:]] == [None] * 4
    assert listed.err.count("\n") == 1


def test_an_lfs_pointer_among_models_is_named(folder: Path, call: Caller) -> None:
    (folder / "big.pb").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n")
    done = call("info", folder)
    assert done.status == 3
    assert f"error: {folder / 'big.pb'} is a Git LFS pointer, not the file itself" in done.err


def test_a_missing_shard_is_counted(folder: Path, call: Caller) -> None:
    (folder / "model.ckpt-3.data-00000-of-00001").unlink()
    done = call("info", folder)
    assert done.status == 0
    assert done.rows[2][3].endswith("1 file missing")


def test_links_to_folders_are_not_followed(folder: Path, tmp_path: Path, call: Caller) -> None:
    (folder / "loop").symlink_to(folder)
    elsewhere = tmp_path / "elsewhere"
    shutil.copytree(FIXTURES / "saved_model", elsewhere)
    (folder / "away").symlink_to(elsewhere)
    assert len(call("info", folder).rows) == 5


def test_a_folder_that_is_a_model_or_has_none_is_no_survey(folder: Path, tmp_path: Path) -> None:
    assert survey(folder / "served" / "1") is None
    assert survey(FIXTURES / "training") is None
    assert survey(folder / "a.pb") is None
    (tmp_path / "empty").mkdir()
    assert survey(tmp_path / "empty") is None


@pytest.mark.skipif(not ZOO.is_dir(), reason=f"no real models at {ZOO}")
def test_the_whole_collection_in_one_go(call: Caller) -> None:
    done = call("info", ZOO / "savedmodel_tf2")
    assert done.status == 0, done.err
    assert {row[1] for row in done.rows} == {"saved_model"}
    assert len(done.rows) >= 10
