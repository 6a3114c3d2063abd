"""A file says what it is by its bytes, whatever it is called; what is no model is told by name."""

from __future__ import annotations

import gzip
import io
import os
import pickle
import random
import shlex
import shutil
import tarfile
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from tests.checkpoint_writers import write_bundle
from tests.graph_models import ZOO, needs_zoo
from tfinspect import formats
from tfinspect.cli.app import COMMANDS, run
from tfinspect.errors import (
    FileMissingError,
    IncompleteCheckpointError,
    InputError,
    TfinspectError,
    UnknownFormatError,
    UnsupportedFeatureError,
    WrongKindError,
)
from tfinspect.formats import _foreign, _identify, onnx

if TYPE_CHECKING:
    from collections.abc import Callable

FIXTURES = Path(__file__).parent.parent / "fixtures"
FILES = {
    "inception_tiny.pb": "graphdef",
    "graph.pbtxt": "graphdef_text",
    "training/model.ckpt-3.meta": "metagraph",
    "training_v1/model.ckpt-3": "checkpoint_v1",
    "training/model.ckpt-3.index": "checkpoint_v2",
    "dense.onnx": "onnx",
    "saved_model/saved_model.pb": "saved_model",
    "head.npz": "head_npz",
    "features.npz": "features_npz",
    "dl4j.zip": "dl4j",
    "branches.tflite": "tflite",
    "weights.safetensors": "safetensors",
    "keras/model.h5": "keras_h5",
    "keras/model.keras": "keras_archive",
    "keras/model.weights.h5": "keras_weights_h5",
}
NAMES = {
    **FILES,
    "training/model.ckpt-3": "checkpoint_v2",
    "training/model.ckpt-3.data-00000-of-00001": "checkpoint_v2",
    "training/checkpoint": "checkpoint_v2",
    "training": "checkpoint_v2",
    "training_v1": "checkpoint_v1",
    "saved_model": "saved_model",
    "partitioned": "checkpoint_v2",
    "partitioned/model.ckpt.data-00001-of-00002": "checkpoint_v2",
}


def test_every_format_has_a_fixture_and_a_module() -> None:
    assert {row.name for row in formats.FORMATS} == set(FILES.values())
    assert {name: row.name for name, row in _identify.BY_NAME.items()} == {n: n for n in _identify.BY_NAME}
    assert callable(formats.identify)


@pytest.mark.parametrize("name", NAMES)
def test_fixtures_are_identified_and_open(name: str) -> None:
    row = formats.identify(FIXTURES / name)
    assert row.name == NAMES[name]
    model = formats.open_model(FIXTURES / name)
    assert (model.path, model.format) == (str(FIXTURES / name), row.name)
    if "graph" in row.kinds:
        assert model.graph is not None
    if "checkpoint" in row.kinds:
        assert model.checkpoint is not None


@pytest.mark.parametrize("name", FILES)
def test_exactly_one_format_claims_a_file(name: str) -> None:
    sample = _identify.Sample(str(FIXTURES / name))
    claims = [row.name for row in formats.FORMATS if row.matches(sample)]
    assert claims == [FILES[name]]


@pytest.mark.parametrize("suffix", ["", ".bin", ".pb", ".onnx", ".h5", ".jpg"])
@pytest.mark.parametrize("name", FILES)
def test_the_suffix_does_not_matter(name: str, suffix: str, tmp_path: Path) -> None:
    shutil.copy(FIXTURES / name, tmp_path / f"model{suffix}")
    assert formats.identify(tmp_path / f"model{suffix}").name == FILES[name]


def test_a_text_graph_named_pb_reads(tmp_path: Path) -> None:
    shutil.copy(FIXTURES / "graph.pbtxt", tmp_path / "graph.pb")
    assert len(formats.read_graph(tmp_path / "graph.pb")) == len(formats.read_graph(FIXTURES / "graph.pbtxt"))


# ----------------------------------------------------------------------------------------------- what is no model


def gzipped(data: bytes) -> bytes:
    return gzip.compress(data)


def tarred(data: bytes) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        info = tarfile.TarInfo("graph.pb")
        info.size = len(data)
        archive.addfile(info, io.BytesIO(data))
    return out.getvalue()


def zipped(*names: str) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for name in names:
            archive.writestr(name, b"content")
    return out.getvalue()


def npz(**arrays: Any) -> bytes:
    out = io.BytesIO()
    np.savez(out, **arrays)
    return out.getvalue()


GRAPH = (FIXTURES / "inception_tiny.pb").read_bytes()
EXPORT = "where the model was made, write it as a SavedModel: model.export('FOLDER')"
PYTORCH = "loading it would run code from it; export the model to ONNX where it was made"
FOREIGN: dict[str, tuple[bytes, str, str | None]] = {
    "HTML": (
        b"\n<!DOCTYPE html><html><body>404</body></html>",
        "is an HTML page",
        "a page was saved in place of the file: download it again, with curl -fL from the file's own address",
    ),
    "XML": (
        b"<?xml version='1.0'?><Error><Code>AccessDenied</Code></Error>",
        "is XML text",
        "a page was saved in place of the file: download it again, with curl -fL from the file's own address",
    ),
    "Git LFS": (
        b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 9\n",
        "is a Git LFS pointer, not the file itself",
        "git lfs pull",
    ),
    "gzip": (gzipped(GRAPH), "is compressed with gzip", "gunzip -c {path} > {stem}"),
    "tar.gz": (
        gzipped(tarred(GRAPH)), "is a gzip-compressed tar archive",
        "mkdir -p {stem} && tar -xzf {path} -C {stem} && tfinspect info {inside}",

    ),
    "tar": (tarred(GRAPH), "is a tar archive", "mkdir -p {stem} && tar -xf {path} -C {stem} && tfinspect info {inside}"),
    "zip": (zipped("graph.pb"), "is a zip archive", "unzip {path} -d {stem} && tfinspect info {inside}"),
    "damaged zip": (zipped("graph.pb")[:-30], "is a damaged zip archive", "copy or download it again"),
    "Keras 3": (zipped("m/metadata.json", "m/config.json"), "is a zip archive with a Keras 3 model (.keras) unpacked in it", EXPORT),
    "PyTorch zip": (zipped("archive/data.pkl", "archive/version"), "is a PyTorch file", PYTORCH),
    "old PyTorch": (pickle.dumps(0x1950A86A20F9469CFC6C, 2), "is a PyTorch file", PYTORCH),
    "pickle": (
        pickle.dumps({"a": [1, 2]}),
        "is a Python pickle",
        "loading it would run code from it; export the model to ONNX where it was made",
    ),
    "JPEG": ((FIXTURES / "photo.jpg").read_bytes(), "is a JPEG image", "name the model, not what it is fed with"),
    "NumPy": (
        b"\x93NUMPY\x01\0" + bytes(40),
        "is a NumPy array (.npy)",
        "a head is an .npz file with the arrays `weights` and `biases`",
    ),
    "features": (
        npz(features=np.zeros((2, 3)), labels=np.zeros(2)),
        "is a NumPy archive of features",
        "a head is an .npz file with the arrays `weights` and `biases`",
    ),
    "other npz": (
        npz(a=np.zeros(2), **{"b{}": np.zeros(1)}),
        "is a NumPy archive, but not a head: it has no array named `weights` or `0/weights`",
        "arrays in it: a, b()",
    ),
    "JSON": (b'{"model": 1}\n', "is JSON text", None),
    "words": (b"just some words\nand more\n", "is text, but not the text of a graph", None),
    "numbers": (b"1\n5\n5\n3\n", "is text, but not the text of a graph", None),
    "zeros": (
        bytes(3000),
        "is not a model: its first 1,024 bytes are all zero",
        "the download broke off; download it again",
    ),
    "noise": (random.Random(5).randbytes(500), "is of no format that tfinspect knows", None),  # noqa: S311
    "one byte": (b"\n", "is text, but not the text of a graph", None),
}  # fmt: skip


@pytest.mark.parametrize("name", FOREIGN)
def test_what_is_no_model_is_told_by_name(name: str, tmp_path: Path) -> None:
    data, words, hint = FOREIGN[name]
    path = tmp_path / "my model.pb"
    path.write_bytes(data)
    for opener in (formats.identify, formats.open_model, formats.read_graph, formats.read_checkpoint):
        with pytest.raises(UnknownFormatError) as caught:
            opener(path)
        assert caught.value.message == f"{path} {words}"
        assert caught.value.details[0] == f"{len(data):,} bytes"
        assert caught.value.details[1] == f"first bytes {data[:16].hex(' ')}"
        assert caught.value.details[2] == f"last bytes  {data[-16:].hex(' ')}"
    stem = path.with_suffix("")
    places = {
        word: shlex.quote(str(at)) for word, at in (("path", path), ("stem", stem), ("inside", stem / "graph.pb"))
    }
    assert caught.value.hint == (
        hint.format(**places) if (hint and "inside" in hint) or "gunzip" in str(hint) else hint
    )


def test_the_hint_for_gzip_works_as_typed(tmp_path: Path) -> None:
    (tmp_path / "a b.pb.gz").write_bytes(gzipped(GRAPH))
    with pytest.raises(UnknownFormatError) as caught:
        formats.read_graph(tmp_path / "a b.pb.gz")
    assert os.system(str(caught.value.hint)) == 0  # noqa: S605 - our own words
    assert len(formats.read_graph(tmp_path / "a b.pb")) > 10


def test_no_hint_names_a_command_that_is_not_there() -> None:
    hints = [kind.hint for _, _, kind in _foreign._MAGIC] + [str(hint) for *_, hint in FOREIGN.values()]
    for hint in hints:
        words = hint.split("tfinspect ")[1:]
        assert all(w.split()[0] in {*COMMANDS, "reads"} for w in words), hint


# ------------------------------------------------------------------------------------------------------ odd places


def empty_file(place: Path) -> Path:
    (place / "empty.pb").touch()
    return place / "empty.pb"


def fifo(place: Path) -> Path:
    os.mkfifo(place / "fifo.pb")
    return place / "fifo.pb"


def broken_link(place: Path) -> Path:
    (place / "link.pb").symlink_to("nowhere.pb")
    return place / "link.pb"


def near_miss(place: Path) -> Path:
    (place / "inception.pb").write_bytes(GRAPH)
    return place / "inceptoin.pb"


def folder_of_text(place: Path) -> Path:
    for i in range(10):
        (place / f"notes{i}.txt").touch()
    return place


def folder_with_graph(place: Path) -> Path:
    (place / "sub").mkdir()
    (place / "graph one.pb").write_bytes(GRAPH)
    return place


def empty_folder(place: Path) -> Path:
    return place


def chunked(place: Path) -> Path:
    (place / "saved_model.cpb").write_bytes(b"riegeli")
    return place


def graph_called_saved_model(place: Path) -> Path:
    (place / "saved_model.pb").write_bytes(GRAPH)
    return place


def pointer_called_saved_model(place: Path) -> Path:
    (place / "saved_model.pb").write_bytes(FOREIGN["Git LFS"][0])
    return place


def data_alone(place: Path) -> Path:
    shutil.copy(FIXTURES / "training/model.ckpt-3.data-00000-of-00001", place)
    return place / "model.ckpt-3.data-00000-of-00001"


def meta_and_data(place: Path) -> Path:
    shutil.copy(FIXTURES / "training/model.ckpt-3.meta", place)
    return data_alone(place).with_name("model.ckpt-3.meta")


ODD: list[tuple[Callable[[Path], Path], type[InputError], str, str | None]] = [
    (empty_file, UnknownFormatError, "{path} is empty (0 bytes)", "copy or download it again"),
    (fifo, FileMissingError, "{path} is not a regular file", None),
    (broken_link, FileMissingError, "{path} is a link to nowhere.pb, which does not exist", None),
    (near_miss, FileMissingError, "{path} does not exist", "beside it: inception.pb"),
    (lambda _: Path("/dev/null"), FileMissingError, "{path} is not a regular file", None),
    (lambda place: place / "a\0b", FileMissingError, "{path} cannot be opened: embedded null byte", None),
    (lambda place: place / ("x" * 300), FileMissingError, "{path} cannot be opened: file name too long", None),
    (empty_folder, UnknownFormatError, "{path} is an empty folder", None),
    (folder_of_text, UnknownFormatError, "{path} is a folder without a model", None),
    (
        folder_with_graph,
        UnknownFormatError,
        "{path} is a folder without a model",
        "tfinspect info '{path}/graph one.pb'",
    ),
    (
        chunked,
        UnsupportedFeatureError,
        "{path} is a SavedModel split into chunks (saved_model.cpb), which tfinspect does not read",
        "write it again with less than 2 GB of constants in its graph",
    ),
    (
        graph_called_saved_model,
        WrongKindError,
        "{path}/saved_model.pb is a frozen graph or graph definition (GraphDef), not a SavedModel",
        "tfinspect info {path}/saved_model.pb",
    ),
    (
        pointer_called_saved_model,
        UnknownFormatError,
        "{path}/saved_model.pb is a Git LFS pointer, not the file itself",
        "git lfs pull",
    ),
    (
        data_alone,
        IncompleteCheckpointError,
        "{folder}/model.ckpt-3.index is missing, which says what is in the checkpoint",
        "copy it from where the checkpoint was saved",
    ),
]


@pytest.mark.parametrize(("make", "cls", "words", "hint"), ODD, ids=[getattr(o[0], "__name__", "?") for o in ODD])
def test_odd_places(
    make: Callable[[Path], Path], cls: type[InputError], words: str, hint: str | None, tmp_path: Path
) -> None:
    path = make(tmp_path)
    for opener in (formats.identify, formats.open_model):
        with pytest.raises(cls) as caught:
            opener(path)
        assert caught.value.message == words.format(path=path, folder=path.parent)
        assert caught.value.hint == (hint.format(path=path) if hint else None)


def test_a_long_folder_is_not_listed_whole(tmp_path: Path) -> None:
    with pytest.raises(UnknownFormatError) as caught:
        formats.identify(folder_of_text(tmp_path))
    assert caught.value.details == (*(f"notes{i}.txt" for i in range(8)), "and 2 more")


def test_what_may_not_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The tests may run as root, whom no file is closed to."""
    (tmp_path / "closed.pb").write_bytes(GRAPH)

    def refuse(*_: object, **__: object) -> Any:
        raise PermissionError(13, "Permission denied")

    with monkeypatch.context() as patch:
        patch.setattr(os, "open", refuse)
        with pytest.raises(FileMissingError, match=r"closed.pb cannot be opened: permission denied$"):
            formats.identify(tmp_path / "closed.pb")
    with monkeypatch.context() as patch:
        patch.setattr(os, "scandir", refuse)
        with pytest.raises(FileMissingError, match=r"cannot be listed: permission denied$"):
            formats.identify(tmp_path)


def test_a_sparse_terabyte_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "sparse.pb"
    with path.open("wb") as file:
        file.write(b"\xff\xfe")
        try:
            file.truncate(1 << 40)
        except OSError:
            pytest.skip("no room for a sparse file")
    with pytest.raises(InputError):
        formats.open_model(path)


# ------------------------------------------------------------------------------------------------------ wrong kinds


WRONG = [
    ("saved_model", "graph", "is a SavedModel, not a graph"),
    ("saved_model/saved_model.pb", "graph", "is a SavedModel, not a graph"),
    ("training", "graph", "is a checkpoint, V2, not a graph"),
    ("training/model.ckpt-3", "graph", "is a checkpoint, V2, not a graph"),
    ("training_v1/model.ckpt-3", "graph", "is a checkpoint, V1 (2015-2016), not a graph"),
    ("dense.onnx", "graph", "is an ONNX model, not a graph"),
    ("head.npz", "graph", "is a classifier head (.npz), not a graph"),
    (
        "inception_tiny.pb",
        "checkpoint",
        "is a frozen graph or graph definition (GraphDef), not a checkpoint",
    ),
    ("graph.pbtxt", "checkpoint", "is a graph as text (GraphDef), not a checkpoint"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "wanted", "words"), WRONG)
def test_wrong_kinds_are_refused_with_a_command_that_works(
    name: str, wanted: str, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    reader = {"graph": formats.read_graph, "checkpoint": formats.read_checkpoint}[wanted]
    with pytest.raises(WrongKindError) as caught:
        reader(FIXTURES / name)
    assert caught.value.message == f"{FIXTURES / name} {words}"
    assert caught.value.hint is not None
    program, *arguments = shlex.split(caught.value.hint)
    assert program == "tfinspect"
    assert run(arguments) == 0, capsys.readouterr().err
    assert capsys.readouterr().out


@pytest.mark.parametrize(
    "name",
    [
        "training/model.ckpt-3.meta",
        "training_v1/model.ckpt-3.meta",
        "training/checkpoint",
        "saved_model",
        "training_v1",
    ],
)
def test_a_checkpoint_by_any_name(name: str) -> None:
    assert formats.read_checkpoint(FIXTURES / name).variables


def test_a_saved_model_without_variables_is_no_checkpoint(tmp_path: Path) -> None:
    shutil.copy(FIXTURES / "saved_model/saved_model.pb", tmp_path)
    with pytest.raises(WrongKindError, match="is a SavedModel without variables"):
        formats.read_checkpoint(tmp_path)


def test_a_meta_without_its_checkpoint_opens_as_a_graph(tmp_path: Path) -> None:
    shutil.copy(FIXTURES / "training/model.ckpt-3.meta", tmp_path)
    path = tmp_path / "model.ckpt-3.meta"
    assert formats.identify(path).name == "metagraph"
    assert formats.open_model(path).checkpoint is None
    assert len(formats.read_graph(path)) > 10
    with pytest.raises(IncompleteCheckpointError, match=r"model\.ckpt-3\.index is missing"):
        formats.read_checkpoint(path)


def test_a_meta_with_half_a_checkpoint_says_so_but_gives_its_graph(tmp_path: Path) -> None:
    path = meta_and_data(tmp_path)
    with pytest.raises(IncompleteCheckpointError, match=r"model\.ckpt-3\.index is missing"):
        formats.open_model(path)
    assert len(formats.read_graph(path)) > 10


def test_a_data_shard_that_looks_like_a_graph_is_a_shard(tmp_path: Path) -> None:
    write_bundle(tmp_path / "m", {"w": np.frombuffer(GRAPH, np.uint8)})
    shard = tmp_path / "m.data-00000-of-00001"
    assert shard.read_bytes() == GRAPH
    assert formats.identify(shard).name == "checkpoint_v2"
    (tmp_path / "m.index").unlink()
    with pytest.raises(IncompleteCheckpointError):
        formats.identify(shard)


# ------------------------------------------------------------------------------------------------ the real ones

KINDS = {
    ".pb": {"graphdef", "graphdef_text", "saved_model"},
    ".pbtxt": {"graphdef_text", "saved_model"},
    ".meta": {"metagraph"},
    ".index": {"checkpoint_v1", "checkpoint_v2"},
}
BAD = {
    "bad/lfs_pointer_savedmodel": "unknown-format",
    "bad/lfs_pointer_savedmodel/keras_metadata.pb": "unknown-format",
    "bad/lfs_pointer_savedmodel/saved_model.pb": "unknown-format",
    "bad/lfs_pointer_savedmodel/variables/variables.data-00000-of-00001": "input",
    "bad/lfs_pointer_savedmodel/variables/variables.index": "input",
    "pbtxt/tf_graphdef2mlir/graph-malformed.pbtxt": "unknown-format",
}
NOT_MODELS = {".txt", ".csv", ".json", ".md", ".README", ".gz", ".npy", ".gitkeep", ".shape"}
OTHER_NAMES = {
    "run_meta", "tfprof_log", "fingerprint.pb", "keras_metadata.pb", "saved_model_config.pb", "mlmd_uuid",
}  # fmt: skip
GROUPS = (
    "frozen_pb", "meta_only", "pbtxt", "bad", "ckpt_v1", "ckpt_v2_meta", "ckpt_v2_nometa", "ckpt_v2_missing_shard",
    "ckpt_tf2_object", "session_bundle_mixed", "savedmodel_serving", "savedmodel_tf1", "savedmodel_tf2",
)  # fmt: skip


def zoo_files() -> list[str]:
    found = [p for group in GROUPS for p in sorted((ZOO / group).rglob("*"))]
    found += sorted(ZOO.glob("golden_tf_graphs/*/*/*"))[::9]
    return [str(p.relative_to(ZOO)) for p in found if p.is_file() or (p / "saved_model.pb").is_file()]


@needs_zoo
@pytest.mark.parametrize("name", zoo_files())
def test_real_files(name: str) -> None:
    path = ZOO / name
    expected = BAD.get(name)
    if path.suffix in NOT_MODELS or path.name in OTHER_NAMES or path.parent.name == "assets":
        expected = "unknown-format"
    if expected is None:
        row = formats.identify(path)
        assert row.name in KINDS.get(path.suffix, {row.name})
        model = formats.open_model(path)
        if model.graph is not None:
            assert len(model.graph) > 0
            assert model.graph.source is not None
        return
    with pytest.raises(TfinspectError) as caught:
        formats.open_model(path)
    assert caught.value.slug == expected
    assert name.rsplit("/", maxsplit=1)[-1].partition(".data")[0] in caught.value.message
    assert "\n" not in caught.value.message
    assert caught.value.message[-1] not in ".!"


@needs_zoo
@pytest.mark.parametrize(
    ("name", "version", "count"),
    [
        ("savedmodel_tf1/tf_half_plus_two_early0", "checkpoint_v1", 2),
        ("savedmodel_tf1/tf_half_plus_two_early1", "checkpoint_v1", 2),
        ("savedmodel_tf1/tf_half_plus_two_sharded_v0", "checkpoint_v2", 2),
        ("savedmodel_tf1/tf_half_plus_two_pbtxt/00000123", "checkpoint_v2", 3),
        ("savedmodel_tf1/tfx_chicago_taxi_models/tfma_saved_model", "checkpoint_v2", 21),  # a compressed index
    ],
)
def test_variables_of_real_saved_models(name: str, version: str, count: int) -> None:
    found = formats.open_model(ZOO / name).checkpoint
    assert found is not None
    assert (found.format, len(found.variables)) == (version, count)
    assert len(formats.read_checkpoint(ZOO / name).variables) == count


def test_an_onnx_file_opens_with_a_signature() -> None:
    model = formats.open_model(FIXTURES / "dense.onnx")
    written = onnx.read(FIXTURES / "dense.onnx")
    assert model.signatures["main"].inputs == written.inputs
    assert model.graph is None
