"""Features are read as they were written, and files that only look like features are refused in one line."""

from __future__ import annotations

import zipfile
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from tfinspect import formats
from tfinspect.errors import CorruptFileError, InputError, OutputExistsError
from tfinspect.formats import features as format_
from tfinspect.ir.features import Features

if TYPE_CHECKING:
    from pathlib import Path

GIVEN = Features(
    np.arange(12, dtype="f4").reshape(4, 3),
    np.array([0, 1, 1, 0]),
    ("daisy", "röses"),
    ("daisy/a.jpg", "röses/b.jpg", "röses/c.jpg", "daisy/d.jpg"),
    ("train", "validation", "test", "train"),
    {"bottleneck": "pool:0", "skipped": []},
)


def test_what_was_written_is_read(tmp_path: Path) -> None:
    size = format_.write(GIVEN, tmp_path / "f.npz")
    assert size == (tmp_path / "f.npz").stat().st_size
    found = format_.read(tmp_path / "f.npz")
    np.testing.assert_array_equal(found.features, GIVEN.features)
    np.testing.assert_array_equal(found.labels, GIVEN.labels)
    assert replace(found, features=GIVEN.features, labels=GIVEN.labels) == GIVEN
    assert found.part("train").tolist() == [True, False, False, True]
    assert formats.identify(tmp_path / "f.npz").name == "features_npz"


def test_numpy_reads_it_without_pickles_and_words_compare(tmp_path: Path) -> None:
    format_.write(GIVEN, tmp_path / "f.npz")
    with np.load(tmp_path / "f.npz", allow_pickle=False) as found:
        assert (found["split"] == "train").tolist() == [True, False, False, True]
        assert found["classes"].tolist() == ["daisy", "röses"]
        assert found["labels"].dtype.kind == "i"


def test_the_same_features_give_the_same_bytes_and_nothing_is_overwritten(tmp_path: Path) -> None:
    format_.write(GIVEN, tmp_path / "a.npz")
    format_.write(GIVEN, tmp_path / "b.npz")
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()
    with pytest.raises(OutputExistsError):
        format_.write(GIVEN, tmp_path / "a.npz")
    format_.write(GIVEN, tmp_path / "a.npz", force=True)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.npz", "b.npz"]


def test_many_words_are_written_as_numpy_writes_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    words = ["é" * (i % 7) for i in range(10)]
    monkeypatch.setattr(format_, "_WORDS_AT_ONCE", 3)
    format_.write_rows(
        [np.zeros((10, 1), np.float32)],
        (10, 1),
        tmp_path / "f.npz",
        labels=np.arange(10) % 2,
        classes=["a", "b"],
        files=words,
        split=["train"] * 10,
        made={},
    )
    np.savez(tmp_path / "numpy.npz", files=np.array(words))
    with zipfile.ZipFile(tmp_path / "f.npz") as ours, zipfile.ZipFile(tmp_path / "numpy.npz") as theirs:
        assert ours.read("files.npy") == theirs.read("files.npy")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"labels": None}, "`labels` is missing"),
        ({"labels": np.array([0, 1, 2, 0])}, "`labels` has numbers from 0 to 2 for 2 classes"),
        ({"labels": np.array([0, 1])}, "`labels` has 2 entries for 4 images"),
        ({"features": np.zeros(4, "f4")}, "`features` is float32 of shape [4], which it cannot be"),
        (
            {"split": np.array(["train", "train", "dev", "test"])},
            "`split` has the word `dev`; train, validation, test were expected",
        ),
        ({"made": np.array("[]")}, "`made` is not the JSON object that it should be"),
        ({"files": np.array([1, 2, 3, 4])}, "`files` is int64 of shape [4], which it cannot be"),
    ],
)
def test_what_does_not_fit_is_named(change: dict[str, Any], message: str, tmp_path: Path) -> None:
    format_.write(GIVEN, tmp_path / "f.npz")
    with np.load(tmp_path / "f.npz") as found:
        arrays = {**found, **change}
    np.savez(tmp_path / "g.npz", **{key: value for key, value in arrays.items() if value is not None})
    with pytest.raises(InputError) as caught:
        format_.read(tmp_path / "g.npz")
    assert caught.value.message == f"{tmp_path / 'g.npz'}: {message}"


def test_a_pickle_inside_is_never_loaded(tmp_path: Path) -> None:
    format_.write(GIVEN, tmp_path / "f.npz")
    with np.load(tmp_path / "f.npz") as found:
        np.savez(tmp_path / "g.npz", **{**found, "files": np.array([object()] * 4, object)})
    with pytest.raises(InputError, match="pickled Python objects"):
        format_.read(tmp_path / "g.npz")


def test_truncated_at_every_few_bytes(tmp_path: Path) -> None:
    format_.write(GIVEN, tmp_path / "f.npz")
    data = (tmp_path / "f.npz").read_bytes()
    for end in range(0, len(data) - 1, 37):
        (tmp_path / "g.npz").write_bytes(data[:end])
        with pytest.raises((CorruptFileError, InputError)):
            format_.read(tmp_path / "g.npz")
