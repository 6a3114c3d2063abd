"""Heads as `.npz`: what is read, and every refusal by name."""

from __future__ import annotations

import io
import lzma
import random
import re
import tracemalloc
import warnings
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tfinspect import formats
from tfinspect.errors import CorruptFileError, FileMissingError, InputError, LimitError, TfinspectError
from tfinspect.formats import heads
from tfinspect.ir.dtypes import DType
from tfinspect.ir.head import ACTIVATIONS

FIXTURES = Path(__file__).parent.parent / "fixtures"
W, B = np.arange(6, dtype="f4").reshape(2, 3), np.arange(3, dtype="f4")
W2, B2 = np.ones((3, 4), "f4"), np.zeros(4, "f4")


def write(folder: Path, arrays: dict[str, Any]) -> Path:
    path = folder / "head.npz"
    np.savez(path, **arrays)
    return path


def raw(folder: Path, members: dict[str, bytes] | list[tuple[str, bytes]], method: int = zipfile.ZIP_STORED) -> Path:
    path = folder / "head.npz"
    pairs = members.items() if isinstance(members, dict) else members
    with zipfile.ZipFile(path, "w", method) as archive, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # names that stand there twice
        for name, data in pairs:
            archive.writestr(name, data)
    return path


def npy(array: np.ndarray) -> bytes:
    out = io.BytesIO()
    np.save(out, array)
    return out.getvalue()


def header(text: str, data: bytes = b"") -> bytes:
    padded = text.encode("latin-1").ljust(-(-(len(text) + 11) // 64) * 64 - 11) + b"\n"
    return b"\x93NUMPY\x01\x00" + len(padded).to_bytes(2, "little") + padded + data


def test_one_layer(tmp_path: Path) -> None:
    head = heads.read(write(tmp_path, {"weights": W, "biases": B, "labels": np.array(["a", "b", "ç"])}))
    assert (head.features, head.classes, head.labels) == (2, 3, ("a", "b", "ç"))
    (layer,) = head.layers
    assert layer.activation == "softmax"
    assert layer.weights.numpy().tolist() == W.tolist()
    assert layer.biases is not None
    assert layer.biases.numpy().tolist() == B.tolist()


def test_several_layers(tmp_path: Path) -> None:
    arrays = {"0/weights": W, "0/biases": B, "1/weights": W2, "1/biases": B2, "1/activation": np.array("sigmoid")}
    head = heads.read(write(tmp_path, arrays))
    assert [layer.activation for layer in head.layers] == ["relu", "sigmoid"]
    assert (head.features, head.classes) == (2, 4)


@pytest.mark.parametrize("dtype", ["f2", "f4", "f8", ">f4", ">f8"])
@pytest.mark.parametrize("order", ["C", "F"])
def test_dtypes_and_orders(dtype: str, order: str, tmp_path: Path) -> None:
    weights = np.asarray(W, dtype, order=order)  # type: ignore[call-overload]
    (layer,) = heads.read(write(tmp_path, {"weights": weights, "biases": B.astype(">f8")})).layers
    native = np.dtype(dtype).newbyteorder("=")
    assert layer.weights.numpy().tolist() == W.tolist()
    assert layer.weights.dtype is DType.from_numpy(native)
    assert b"".join(layer.weights.chunks()) == np.ascontiguousarray(W).astype(native).tobytes()
    assert layer.biases is not None
    assert layer.biases.dtype is layer.weights.dtype


@pytest.mark.parametrize("word", [*ACTIVATIONS, "none", "identity", ""])
def test_activations(word: str, tmp_path: Path) -> None:
    for held in (np.array(word), np.array([word.encode()])):
        (layer,) = heads.read(write(tmp_path, {"weights": W, "activation": held})).layers
        assert layer.activation == (word if word in ACTIVATIONS else "linear")
        assert layer.biases is None


@pytest.mark.parametrize(
    "labels", [np.array([b"a", b"b", b"\xff"]), np.array([1, 2, 3]), np.array([["a"], ["b"], ["c"]])]
)
def test_labels_of_any_type(labels: np.ndarray, tmp_path: Path) -> None:
    assert len(heads.read(write(tmp_path, {"weights": W, "classes": labels})).labels) == 3


def test_the_fixture() -> None:
    assert formats.identify(FIXTURES / "head.npz").name == "head_npz"
    assert heads.read(FIXTURES / "head.npz").features == 32


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "nothing": ({"kernel": W}, "has neither `weights` nor `0/weights`\nit has kernel [2, 3]"),
    "a gap": ({"0/weights": W, "2/weights": W2}, "has the layers [0, 2], which do not count up from 0"),
    "both": ({"weights": W, "0/weights": W}, "has both `weights` and `0/weights`: one layer, or several?"),
    "odd number": ({"00/weights": W}, "has neither `weights` nor `0/weights`\nit has 00/weights [2, 3]"),
    "integers": ({"weights": W.astype("i4")}, "`weights` is int32; float32, float64 or float16 was expected"),
    "long doubles": ({"weights": W.astype("g")}, "float32, float64 or float16 was expected"),
    "strings": ({"weights": np.array([["a"]])}, "`weights` is <U1; float32, float64 or float16 was expected"),
    "integer biases": ({"weights": W, "biases": np.arange(3)}, "`biases` is int64; float32"),
    "a vector": ({"weights": B}, "`weights` has the shape [3], 2 dimensions were expected"),
    "a matrix of biases": ({"weights": W, "biases": W}, "`biases` has the shape [2, 3], 1 dimensions were expected"),
    "too few biases": ({"weights": W, "biases": B[:2]}, "`weights` gives 3 classes, `biases` has 2"),
    "no features": ({"weights": W[:0]}, "`weights` has the shape [0, 3]: no features, or no classes"),
    "no classes": ({"0/weights": W[:, :0]}, "`0/weights` has the shape [2, 0]: no features, or no classes"),
    "layers apart": ({"0/weights": W, "1/weights": W}, "layer 0 gives 3 features, layer 1 takes 2"),
    "activation": ({"weights": W, "activation": np.array("swish")}, "`activation` is `swish`, which is no activation"),
    "activations": ({"weights": W, "activation": np.array(["relu", "elu"])}, "`activation` has 2 values, one word"),
    "labels": ({"weights": W, "labels": np.array(["a"])}, "has 1 labels for 3 classes"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refusals(name: str, tmp_path: Path) -> None:
    arrays, words = REFUSED[name]
    path = write(tmp_path, arrays)
    with pytest.raises(InputError, match=re.escape(words)) as caught:
        heads.read(path)
    assert str(caught.value).startswith(str(path))
    assert caught.value.evidence["path"] == str(path)


GOOD = npy(W)
HOSTILE: dict[str, tuple[bytes, str]] = {
    "pickle": (npy(np.array([{"a": 1}], object)), "`weights` holds pickled Python objects"),
    "shape bomb": (
        header("{'descr': '<f4', 'fortran_order': False, 'shape': (1099511627776, 1024)}"),
        "`weights` is float32 of shape [1099511627776, 1024], 4,503,599,627,370,496 bytes, but has 0",
    ),
    "negative shape": (
        header("{'descr': '<f4', 'fortran_order': False, 'shape': (-2, -1)}", b"\0" * 8),
        "`weights` is float32 of shape [-2, -1], 8 bytes, but has 8",
    ),
    "cut short": (GOOD[:-1], "24 bytes, but has 23"),
    "too long": (GOOD + b"\0", "24 bytes, but has 25"),
    "no header": (b"\x93NUMPY\x01", "`weights` is no array: "),
    "other magic": (b"not an array at all", "`weights` is no array: the magic string is not correct"),
    "version 9": (b"\x93NUMPY\x09\x00" + bytes(20), "`weights` is of version 9.0 of the .npy format"),
    "no dictionary": (header("[1, 2]"), "`weights` is no array: "),
    "code": (header("__import__('os').system('false')"), "`weights` is no array: "),
    "deep": (header("(" * 3000), "`weights` is no array: "),
    "minus signs": (header("-" * 6000 + "1"), "`weights` is no array: "),
    "no dtype": (header("{'descr': 'nonsense', 'fortran_order': False, 'shape': ()}"), "`weights` is no array: "),
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_arrays(name: str, tmp_path: Path) -> None:
    data, words = HOSTILE[name]
    path = raw(tmp_path, {"weights.npy": data})
    tracemalloc.start()
    try:
        with pytest.raises(InputError, match=re.escape(words)) as caught:
            heads.read(path)
        assert tracemalloc.get_traced_memory()[1] < 16 << 20
    finally:
        tracemalloc.stop()
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in caught.value.message


@pytest.mark.parametrize("method", [zipfile.ZIP_DEFLATED, zipfile.ZIP_LZMA, zipfile.ZIP_BZIP2])
def test_a_bomb_is_refused_before_it_unpacks(method: int, tmp_path: Path) -> None:
    path = raw(tmp_path, {"weights.npy": header("{}") + bytes(24 << 20)}, method)
    with pytest.raises(LimitError, match=r"bytes and would unpack to 25,165,\d\d\d$"):
        heads.read(path)


@pytest.mark.parametrize("method", [zipfile.ZIP_DEFLATED, zipfile.ZIP_LZMA, zipfile.ZIP_BZIP2])
def test_damaged_compression(method: int, tmp_path: Path) -> None:
    rng = random.Random(method)  # noqa: S311 - the same each time
    whole = raw(tmp_path, {"weights.npy": npy(np.asarray([[rng.random()] * 30 for _ in range(30)], "f4"))}, method)
    data = whole.read_bytes()
    refused = 0
    for place in range(40, len(data), max(1, len(data) // 60)):
        whole.write_bytes(data[:place] + bytes([data[place] ^ 0x55]) + data[place + 1 :])
        try:
            heads.read(whole)
        except TfinspectError as error:
            refused += 1
            assert str(whole) in error.message  # noqa: PT017 - some bytes do not matter
    assert refused > 20
    assert issubclass(lzma.LZMAError, Exception)


def test_names_twice(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="holds `weights` twice"):
        heads.read(raw(tmp_path, [("weights.npy", GOOD), ("weights.npy", GOOD)]))


def test_no_archive_and_no_file(tmp_path: Path) -> None:
    path = tmp_path / "head.npz"
    path.write_bytes(b"PK\x03\x04 but no more")
    with pytest.raises(CorruptFileError, match="expected a zip archive of arrays, found file is not a zip file"):
        heads.read(path)
    with pytest.raises(FileMissingError):
        heads.read(tmp_path / "none.npz")


def test_an_encrypted_archive(tmp_path: Path) -> None:
    data = bytearray(raw(tmp_path, {"weights.npy": GOOD}).read_bytes())
    for signature, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        data[data.index(signature) + offset] |= 1
    (tmp_path / "head.npz").write_bytes(data)
    with pytest.raises(CorruptFileError, match="is encrypted, password required"):
        heads.read(tmp_path / "head.npz")
