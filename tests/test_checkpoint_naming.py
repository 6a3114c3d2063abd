from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from tests.checkpoint_writers import table, v1_rows, write_bundle
from tfinspect import formats
from tfinspect.errors import (
    CorruptFileError,
    FileMissingError,
    IncompleteCheckpointError,
    InputError,
    UsageError,
    WrongKindError,
)
from tfinspect.formats import checkpoint

if TYPE_CHECKING:
    from collections.abc import Callable

ZOO = Path(__file__).parents[2] / "shared" / "zoo"
ARRAYS = {"w": np.ones((2, 2), "f4"), "global_step": np.array(7, "i8")}


def v2(folder: Path, name: str, *, num_shards: int = 1, meta: bool = False) -> Path:
    write_bundle(folder / name, ARRAYS, num_shards=num_shards)
    if meta:
        (folder / f"{name}.meta").write_bytes(b"\x0a\x00")
    return folder / name


def v1(path: Path, *, snappy: bool = False) -> Path:
    path.write_bytes(table(v1_rows({n: (a, []) for n, a in ARRAYS.items()}), snappy=snappy))
    return path


def state(folder: Path, latest: str) -> None:
    (folder / "checkpoint").write_text(
        f'model_checkpoint_path: "{latest}"\nall_model_checkpoint_paths: "{latest}"\n'
        "all_model_checkpoint_timestamps: 1479800000.5\nlast_preserved_timestamp: 1.0\n"
    )


@pytest.mark.parametrize("suffix", ["", ".index", ".data-00000-of-00002", ".data-00001-of-00002", ".meta"])
def test_v2_by_every_name(tmp_path: Path, suffix: str) -> None:
    prefix = v2(tmp_path, "model.ckpt-7", num_shards=2, meta=True)
    located = checkpoint.resolve(f"{prefix}{suffix}")
    assert located == checkpoint.Located(
        prefix=str(prefix),
        version=2,
        index=f"{prefix}.index",
        data=(f"{prefix}.data-00000-of-00002", f"{prefix}.data-00001-of-00002"),
        meta=f"{prefix}.meta",
    )
    assert located.missing == ()
    assert list(checkpoint.read(f"{prefix}{suffix}").variables) == ["global_step", "w"]
    assert checkpoint.is_checkpoint(f"{prefix}{suffix}") is (suffix != ".meta")


@pytest.mark.parametrize("snappy", [False, True])
@pytest.mark.parametrize("name", ["model.ckpt", "variables", "model.index"])
def test_v1_file_by_itself_and_its_graph(tmp_path: Path, *, name: str, snappy: bool) -> None:
    path = v1(tmp_path / name, snappy=snappy)
    (tmp_path / f"{name}.meta").write_bytes(b"\x0a\x00")
    wanted = checkpoint.Located(str(path), 1, None, (str(path),), f"{path}.meta")
    assert checkpoint.resolve(path) == wanted
    assert checkpoint.resolve(f"{path}.meta") == wanted
    assert checkpoint.is_checkpoint(path)
    assert len(checkpoint.read(path).variables) == 2


@pytest.mark.parametrize("name", ["m", "m-00000-of-00002", "m-00001-of-00002", "m-?????-of-00002", "m.meta"])
def test_v1_shards_by_every_name(tmp_path: Path, name: str) -> None:
    for number in range(2):
        v1(tmp_path / f"m-{number:05d}-of-00002")
    (tmp_path / "m.meta").write_bytes(b"\x0a\x00")
    located = checkpoint.resolve(tmp_path / name)
    assert located.prefix == str(tmp_path / "m-?????-of-00002")
    assert located.data == (str(tmp_path / "m-00000-of-00002"), str(tmp_path / "m-00001-of-00002"))
    assert located.meta == str(tmp_path / "m.meta")


def test_an_index_that_lost_its_suffix(tmp_path: Path) -> None:
    v2(tmp_path, "m")
    (tmp_path / "m.index").rename(tmp_path / "renamed")
    located = checkpoint.resolve(tmp_path / "renamed")
    assert (located.version, located.index) == (2, str(tmp_path / "renamed"))
    assert located.missing == (str(tmp_path / "renamed.data-00000-of-00001"),)


def test_v2_goes_before_a_v1_file_of_the_same_name(tmp_path: Path) -> None:
    v1(tmp_path / "m")
    v2(tmp_path, "m")
    assert checkpoint.resolve(tmp_path / "m").version == 2


def test_relative_names_stay_relative(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    v2(tmp_path, "m")
    monkeypatch.chdir(tmp_path)
    assert checkpoint.resolve("m").index == "m.index"
    assert checkpoint.resolve(".").index == "m.index"
    assert len(checkpoint.read(Path("m")).variables) == 2


def test_a_link_that_was_typed_is_followed(tmp_path: Path) -> None:
    (tmp_path / "cache").mkdir()
    prefix = v2(tmp_path / "cache", "m")
    for suffix in (".index", ".data-00000-of-00001"):
        (tmp_path / f"link{suffix}").symlink_to(f"{prefix}{suffix}")
    assert checkpoint.read(tmp_path / "link").read("global_step").item() == 7


@pytest.mark.parametrize("name", ["m", "m.index", "m.data-00000-of-00002"])
def test_shards_without_their_index(tmp_path: Path, name: str) -> None:
    v2(tmp_path, "m", num_shards=2)
    (tmp_path / "m.index").unlink()
    (tmp_path / "unrelated").touch()
    with pytest.raises(IncompleteCheckpointError, match=r"m\.index is missing") as raised:
        checkpoint.read(tmp_path / name)
    assert raised.value.details == ("beside it: m.data-00000-of-00002", "beside it: m.data-00001-of-00002")
    assert raised.value.exit_status == 3
    assert checkpoint.is_checkpoint(tmp_path / name)


@pytest.mark.parametrize("name", ["m", "m.meta"])
def test_a_graph_without_values(tmp_path: Path, name: str) -> None:
    (tmp_path / "m.meta").write_bytes(b"\x0a\x00")
    with pytest.raises(IncompleteCheckpointError, match=r"a `\.meta` file holds the graph alone"):
        checkpoint.resolve(tmp_path / name)


def test_missing_v2_shards_are_located(tmp_path: Path) -> None:
    prefix = v2(tmp_path, "m", num_shards=3)
    (tmp_path / "m.data-00001-of-00003").unlink()
    assert checkpoint.resolve(prefix).missing == (f"{prefix}.data-00001-of-00003",)


@pytest.mark.parametrize(
    ("content", "expected"),
    [(b"", "0 bytes"), (b"\x0a\x05hello", "0a 05 68"), (b"\x00\x00\x01\x00", "00 00 01 00")],
)
def test_other_files_are_shown_by_their_bytes(tmp_path: Path, content: bytes, expected: str) -> None:
    (tmp_path / "file.pb").write_bytes(content)
    with pytest.raises(WrongKindError, match="is not a checkpoint") as raised:
        checkpoint.resolve(tmp_path / "file.pb")
    assert expected in raised.value.details[0]
    assert not checkpoint.is_checkpoint(tmp_path / "file.pb")


def test_other_files_in_shards_are_no_checkpoint(tmp_path: Path) -> None:
    (tmp_path / "train-00000-of-00002").write_bytes(b"a TFRecord file" * 9)
    assert not checkpoint.is_checkpoint(tmp_path / "train-00000-of-00002")
    assert not checkpoint.is_checkpoint(tmp_path)
    with pytest.raises(WrongKindError):
        checkpoint.resolve(tmp_path / "train-00000-of-00002")


def test_nothing_there(tmp_path: Path) -> None:
    v2(tmp_path, "model.ckpt-7")
    with pytest.raises(FileMissingError, match="does not exist") as raised:
        checkpoint.resolve(tmp_path / "model.ckpt-8.index")
    assert raised.value.hint is not None
    assert "model.ckpt-7.index" in raised.value.hint
    assert not checkpoint.is_checkpoint(tmp_path / "model.ckpt-8")
    with pytest.raises(FileMissingError, match="zero byte"):
        checkpoint.resolve("a\0b")
    assert not checkpoint.is_checkpoint("a\0b")


def test_a_pipe_blocks_nobody(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    assert not checkpoint.is_checkpoint(tmp_path / "pipe")
    with pytest.raises(FileMissingError, match="not a regular file"):
        checkpoint.resolve(tmp_path / "pipe")


# Folders and state files


@pytest.mark.parametrize("latest", ["model.ckpt-8", "/home/them/train/model.ckpt-8", "C:\\\\train\\\\model.ckpt-8"])
def test_the_state_file_names_the_latest(tmp_path: Path, latest: str) -> None:
    v2(tmp_path, "model.ckpt-7")
    v2(tmp_path, "model.ckpt-8")
    state(tmp_path, latest)
    located = checkpoint.resolve(tmp_path)
    assert located.prefix == str(tmp_path / "model.ckpt-8")
    assert located.state == str(tmp_path / "checkpoint")
    assert located.stale == (None if latest == "model.ckpt-8" else latest.replace("\\\\", "\\"))
    assert checkpoint.is_checkpoint(tmp_path)


def test_the_state_file_itself_may_be_named(tmp_path: Path) -> None:
    v2(tmp_path, "m-1")
    v2(tmp_path, "m-2")
    state(tmp_path, "m-1")
    assert checkpoint.resolve(tmp_path / "checkpoint") == checkpoint.resolve(tmp_path)
    assert checkpoint.is_checkpoint(tmp_path / "checkpoint")
    (tmp_path / "checkpoint").write_bytes(b"\x80\x02}q\x00.")
    assert not checkpoint.is_checkpoint(tmp_path / "checkpoint")


def test_a_state_file_may_name_v1_shards_by_pattern(tmp_path: Path) -> None:
    for number in range(2):
        v1(tmp_path / f"m-7-{number:05d}-of-00002")
    state(tmp_path, "/gone/m-7-?????-of-00002")
    assert checkpoint.resolve(tmp_path).data == tuple(str(tmp_path / f"m-7-{n:05d}-of-00002") for n in range(2))


def test_a_state_file_may_name_a_folder_below(tmp_path: Path) -> None:
    (tmp_path / "below").mkdir()
    prefix = v2(tmp_path / "below", "m")
    state(tmp_path, "below/m")
    assert checkpoint.resolve(tmp_path).prefix == str(prefix)
    state(tmp_path, str(prefix))  # absolute, but in the folder
    assert checkpoint.resolve(tmp_path).stale is None


@pytest.mark.parametrize("form", ["../outside/m", "{outside}/m", "link/m", "below/../../outside/m", "./../outside/m"])
@pytest.mark.parametrize("decoy", [False, True])
def test_a_state_file_leads_nowhere_else(tmp_path: Path, *, form: str, decoy: bool) -> None:
    outside, folder = tmp_path / "outside", tmp_path / "folder"
    outside.mkdir()
    (folder / "below").mkdir(parents=True)
    v2(outside, "m")
    (folder / "link").symlink_to(outside)
    state(folder, form.format(outside=outside))
    opened: list[str] = []
    watching = True

    def watch(event: str, arguments: tuple[object, ...]) -> None:
        if watching and event == "open":
            opened.append(str(arguments[0]))

    if decoy:
        v2(folder, "m")
    sys.addaudithook(watch)
    try:
        if decoy:
            located = checkpoint.resolve(folder)
            assert located.prefix == str(folder / "m")
            assert located.stale == form.format(outside=outside)
        else:
            with pytest.raises(IncompleteCheckpointError, match="which is not in"):
                checkpoint.resolve(folder)
    finally:
        watching = False
    assert any(path.endswith("checkpoint") for path in opened)
    assert not [path for path in opened if "outside" in path or "link" in path]


def test_a_state_file_that_names_what_is_gone_says_what_is_there(tmp_path: Path) -> None:
    v2(tmp_path, "m-1")
    v2(tmp_path, "m-10")
    v2(tmp_path, "m-9")
    state(tmp_path, "m-99")
    with pytest.raises(IncompleteCheckpointError, match="names the checkpoint `m-99`") as raised:
        checkpoint.resolve(tmp_path)
    assert raised.value.details == ("in it: m-1", "in it: m-9", "in it: m-10")
    assert raised.value.hint == f"tfinspect vars {tmp_path / 'm-10'}"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "a model_checkpoint_path, found none"),
        (b'model_checkpoint_path: "m', "damaged at byte 23 .line 1."),
        (b"last_preserved_timestamp: 1\nmodel_checkpoint_path: 5\n", "line 2"),
        (b'model_checkpoint_path: "\xff"', "byte 0xff"),
        (b'model_checkpoint_path: "m\\000x"', "a model_checkpoint_path"),
        (b"#" * (2 << 20), "2,097,152 bytes in all"),
        (b"[" * 9000, "text form"),
    ],
)
def test_damaged_state_files(tmp_path: Path, content: bytes, message: str) -> None:
    v2(tmp_path, "m")
    (tmp_path / "checkpoint").write_bytes(content)
    with pytest.raises(CorruptFileError, match=message):
        checkpoint.resolve(tmp_path)


@pytest.mark.parametrize("name", ["", ".", "..", "/", "x/.."])
def test_state_files_that_name_no_checkpoint(tmp_path: Path, name: str) -> None:
    state(tmp_path, name)
    with pytest.raises(InputError):
        checkpoint.resolve(tmp_path)


def test_a_folder_with_one_checkpoint_needs_no_state_file(tmp_path: Path) -> None:
    (tmp_path / "photo.jpg").write_bytes(b"\xff\xd8\xff")
    v2(tmp_path, "m", meta=True)
    assert checkpoint.resolve(tmp_path).prefix == str(tmp_path / "m")


@pytest.mark.parametrize("make", [v1, lambda path: v1(path, snappy=True)])
def test_a_folder_with_one_v1_file(tmp_path: Path, make: Callable[[Path], Path]) -> None:
    path = make(tmp_path / "checkpoint")  # the very name of the state file
    assert checkpoint.resolve(tmp_path).data == (str(path),)


def test_a_folder_with_several_lists_them_in_order(tmp_path: Path) -> None:
    for name in ("m-9", "m-10", "m-100"):
        v2(tmp_path, name)
    v1(tmp_path / "old-00000-of-00001")
    with pytest.raises(UsageError, match="holds 4 checkpoints") as raised:
        checkpoint.resolve(tmp_path)
    assert raised.value.details == ("m-9", "m-10", "m-100", "old-?????-of-00001")
    assert checkpoint.is_checkpoint(tmp_path)


def test_a_folder_with_none(tmp_path: Path) -> None:
    with pytest.raises(WrongKindError, match="holds no checkpoint"):
        checkpoint.resolve(tmp_path)
    assert not checkpoint.is_checkpoint(tmp_path)


def test_a_folder_and_a_checkpoint_of_one_name(tmp_path: Path) -> None:
    prefix = v2(tmp_path, "m")
    prefix.mkdir()
    assert checkpoint.resolve(prefix).index == f"{prefix}.index"
    assert checkpoint.is_checkpoint(prefix)
    v2(prefix, "inner")
    assert checkpoint.resolve(prefix).prefix == str(prefix / "inner")


@pytest.mark.skipif(not ZOO.is_dir(), reason="needs the collection of real models beside the repository")
def test_everything_real_that_is_claimed_is_read_or_refused_in_a_sentence() -> None:
    claimed = 0
    for folder in sorted(ZOO.glob("*")):
        if folder.name in ("golden_tf_graphs", "flower_photos"):
            continue
        for path in folder.rglob("*"):
            if checkpoint.is_checkpoint(path):
                claimed += 1
                if "lfs_pointer" in str(path):
                    with pytest.raises(InputError, match="Git LFS pointer"):
                        checkpoint.read(path)
                else:
                    assert checkpoint.read(path).variables
    assert claimed > 100


def test_graph_beside_v1_shards_is_found() -> None:
    bundle = (
        Path(__file__).parents[2] / "shared" / "zoo" / "ckpt_v1" / "session_bundle_half_plus_two_serving" / "00000123"
    )
    if not bundle.is_dir():
        pytest.skip("the zoo of real models is not here")
    model = formats.open_model(bundle)
    assert model.checkpoint is not None
    assert model.graph is not None
    assert {"a", "b"} <= set(model.checkpoint.variables)
    assert all(name in model.graph for name in model.checkpoint.variables)
