from __future__ import annotations

import struct
import zipfile
import zlib
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tfinspect.errors import FileMissingError, LimitError, UsageError, WrongKindError
from tfinspect.ir.dtypes import DType
from tfinspect.verify import data
from tfinspect.verify._jpeg import encode
from tfinspect.verify.data import feeds_from
from tfinspect.verify.feeds import FeedSpec, likely_kind, make_feeds

if TYPE_CHECKING:
    from pathlib import Path

FED = [DType.FLOAT, DType.DOUBLE, DType.HALF, DType.BFLOAT16, DType.INT32, DType.INT64, DType.UINT8, DType.INT8, DType.BOOL,
       DType.STRING, DType.COMPLEX64]  # fmt: skip


def one(dtype: DType, shape: tuple[int | None, ...] | None, kind: str = "any", **options: object) -> list[np.ndarray]:
    feeds = make_feeds([FeedSpec("x:0", dtype, shape, kind, **options)], seed=5, samples=8)
    return [feed["x:0"] for feed in feeds]


@settings(deadline=None, max_examples=60)
@given(
    dtype=st.sampled_from(FED),
    shape=st.none() | st.lists(st.none() | st.integers(0, 4), max_size=4).map(tuple),
    kind=st.sampled_from(["image", "pixels", "ids", "flag", "text", "any"]),
    seed=st.integers(0, 2**32),
)
def test_feeds_are_deterministic_and_fit_their_spec(
    dtype: DType, shape: tuple[int | None, ...] | None, kind: str, seed: int
) -> None:
    spec = FeedSpec("scope/x:0", dtype, shape, kind)
    first, second = (make_feeds([spec], seed=seed, samples=4) for _ in range(2))
    for a, b in zip(first, second, strict=True):
        x, y = a["scope/x:0"], b["scope/x:0"]
        assert isinstance(x, np.ndarray)
        assert x.dtype == dtype.numpy
        assert x.tolist() == y.tolist() if x.dtype.hasobject else x.tobytes() == y.tobytes()
        if shape is not None:
            assert x.ndim == len(shape)
            assert all(d is None or d == n for d, n in zip(shape, x.shape, strict=True))


def test_another_seed_gives_other_feeds_and_names_do_too() -> None:
    specs = [FeedSpec("a:0", DType.FLOAT, (4,)), FeedSpec("b:0", DType.FLOAT, (4,))]
    feeds, others = make_feeds(specs, seed=1), make_feeds(specs, seed=2)
    assert not np.array_equal(feeds[0]["a:0"], others[0]["a:0"])
    assert not np.array_equal(feeds[0]["a:0"], feeds[0]["b:0"])


def test_dynamic_batches_run_as_one_two_and_three() -> None:
    assert {len(x) for x in one(DType.FLOAT, (None, 4))} == {1, 2, 3}
    assert {len(x) for x in one(DType.FLOAT, (2, 4))} == {2}


def test_dynamic_images_are_odd_and_not_square_and_every_size_comes_twice() -> None:
    sizes = [x.shape[1:] for x in one(DType.UINT8, (None, None, None, 3), "pixels")]
    assert all(h % 2 and w % 2 and h != w for h, w, _ in sizes)
    assert all(sizes.count(size) >= 2 for size in sizes)
    assert one(DType.FLOAT, (1, None, None, 3), "image", sizes=(None, 140, 150, None))[0].shape == (1, 140, 150, 3)


def test_images_reach_beyond_the_usual_range_unless_bounded() -> None:
    free = np.concatenate([x.reshape(-1) for x in one(DType.FLOAT, (1, 32, 30, 3), "image")])
    assert free.max() > 4
    assert free.min() < -4
    bounded = np.concatenate([x.reshape(-1) for x in one(DType.FLOAT, (1, 32, 30, 3), "image", low=0.0, high=1.0)])
    assert bounded.min() >= 0
    assert bounded.max() <= 1
    pixels = np.concatenate([x.reshape(-1) for x in one(DType.UINT8, (1, 32, 30, 3), "pixels")])
    assert pixels.max() == 255
    assert pixels.min() == 0


def test_images_have_the_spectrum_of_photographs() -> None:
    (x, *_) = one(DType.FLOAT, (1, 64, 64, 1), "image")
    power = np.abs(np.fft.fft2(x[0, :, :, 0])) ** 2
    assert power[1:4, 1:4].mean() > 30 * power[24:32, 24:32].mean()


def test_numbers_serve_logarithms_and_inverse_functions() -> None:
    samples = one(DType.FLOAT, (3, 3))
    assert sum(bool((x > 0).all()) for x in samples) >= 4
    assert sum(bool((x > 1).all()) for x in samples) >= 2
    assert sum(bool((np.abs(x) < 1).all() and (x < 0).any()) for x in samples) >= 1


def test_ids_stay_in_range_and_other_integers_are_no_divisors_of_zero() -> None:
    ids = np.stack(one(DType.INT32, (6,), "ids"))
    assert ids.min() == 0
    assert ids.max() == 3
    assert np.stack(one(DType.INT32, (6,))).min() >= 1
    assert np.stack(one(DType.INT64, (6,), "ids", low=10, high=90)).max() <= 90


def test_flags_take_both_values_and_fixed_values_stay() -> None:
    assert {bool(x) for x in one(DType.BOOL, (), "flag")} == {True, False}
    assert all(not x for x in one(DType.BOOL, (), "flag", value=False))
    assert one(DType.FLOAT, (2,), value=0.5)[0].tolist() == [0.5, 0.5]
    with pytest.raises(UsageError, match="does not fit"):
        one(DType.FLOAT, (2,), value="high")


def test_a_resource_cannot_be_fed() -> None:
    with pytest.raises(UsageError, match="cannot be fed"):
        one(DType.RESOURCE, ())


@pytest.mark.parametrize(
    ("dtype", "shape", "kind"),
    [
        (DType.FLOAT, (None, 299, 299, 3), "image"), (DType.UINT8, (None, None, None, 3), "pixels"), (DType.INT32, (None, 128), "ids"),
        (DType.BOOL, (), "flag"), (DType.STRING, (None,), "text"), (DType.FLOAT, (2, 4, 3, 2), "any"), (DType.FLOAT, None, "any"),
        (DType.FLOAT, (2, 4, 5, 3), "any"),
    ],
)  # fmt: skip
def test_likely_kinds(dtype: DType, shape: tuple[int | None, ...] | None, kind: str) -> None:
    assert likely_kind(dtype, shape) == kind


def test_jpegs_are_whole_files_that_vary() -> None:
    files = [x.item() for x in one(DType.STRING, (), "jpeg")]
    assert len(set(files)) == len(files)
    for file in files:
        assert file.startswith(b"\xff\xd8\xff\xe0")
        assert file.endswith(b"\xff\xd9")
        at = file.index(b"\xff\xc0")
        height, width = struct.unpack(">HH", file[at + 5 : at + 9])
        assert min(height, width) >= 32


def test_only_images_are_encoded() -> None:
    with pytest.raises(ValueError, match="not an image"):
        encode(np.zeros((8, 8, 2), np.uint8))


@pytest.mark.tensorflow
@pytest.mark.filterwarnings("ignore")
def test_tensorflow_decodes_our_jpegs() -> None:
    import tensorflow as tf

    y, x = np.mgrid[0:37, 0:50]
    smooth = np.stack((x * 5, y * 6, (x + y) * 2), axis=-1).astype(np.uint8)
    back = tf.io.decode_jpeg(encode(smooth), dct_method="INTEGER_ACCURATE").numpy().astype(int)
    assert back.shape == smooth.shape
    assert np.abs(back - smooth).max() <= 8
    grey = tf.io.decode_jpeg(encode(smooth[:, :, :1])).numpy()
    assert grey.shape == (37, 50, 1)
    for file in one(DType.STRING, (), "jpeg"):
        assert tf.io.decode_jpeg(file.item()).numpy().std() > 5


def test_user_data_is_cut_into_runs(tmp_path: Path) -> None:
    path = tmp_path / "x.npy"
    np.save(path, np.arange(28, dtype=np.float64).reshape(7, 4))
    runs = feeds_from(path, [FeedSpec("in:0", DType.FLOAT, (None, 4))])
    assert [run["in:0"].shape[0] for run in runs] == [1, 2, 3, 1]
    assert runs[0]["in:0"].dtype == np.float32
    static = feeds_from(path, [FeedSpec("in:0", DType.FLOAT, (1, 4)), FeedSpec("keep:0", DType.FLOAT, (), value=1.0)])
    assert len(static) == 7
    assert static[3]["keep:0"] == 1.0
    assert len(feeds_from(path, [FeedSpec("in:0", DType.FLOAT, (4,))])) == 7


def test_user_data_by_name(tmp_path: Path) -> None:
    path = tmp_path / "x.npz"
    np.savez(path, **{"scope/a:0": np.zeros((3, 2, 2), np.float32), "b": np.arange(3)})
    specs = [FeedSpec("scope/a:0", DType.FLOAT, (2, 2)), FeedSpec("scope/b:0", DType.INT32, ())]
    assert [int(run["scope/b:0"]) for run in feeds_from(path, specs)] == [0, 1, 2]
    with pytest.raises(UsageError, match="no array for the input `c:0`"):
        feeds_from(path, [*specs, FeedSpec("c:0", DType.FLOAT, ())])
    with pytest.raises(UsageError, match="3x2x2, the input"):
        feeds_from(path, [FeedSpec("a:0", DType.FLOAT, (5, 5)), FeedSpec("scope/a:0", DType.FLOAT, (7,))][1:])


def test_user_data_of_the_wrong_kind_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = FeedSpec("x:0", DType.INT32, (None,))
    np.save(tmp_path / "pickled.npy", np.array([{}], dtype=object), allow_pickle=True)
    (tmp_path / "text.npy").write_text("hello")
    np.save(tmp_path / "float.npy", np.ones(3))
    for name in ("pickled.npy", "text.npy"):
        with pytest.raises(WrongKindError, match=r"no \.npy or \.npz"):
            feeds_from(tmp_path / name, [spec])
    with pytest.raises(UsageError, match="is float64, the input int32"):
        feeds_from(tmp_path / "float.npy", [spec])
    with pytest.raises(FileMissingError):
        feeds_from(tmp_path / "none.npy", [spec])
    np.savez_compressed(tmp_path / "big.npz", x=np.zeros(1 << 20))
    monkeypatch.setattr(data, "MAX_NBYTES", 1 << 20)
    with pytest.raises(LimitError, match="unpacks to"):
        feeds_from(tmp_path / "big.npz", [spec])
    with zipfile.ZipFile(tmp_path / "other.npz", "w") as archive:
        archive.writestr("x.npy", zlib.compress(b"not an array"))
    with pytest.raises(WrongKindError):
        feeds_from(tmp_path / "other.npz", [spec])
