"""Values written as `.npy`, `.npz` and `.safetensors`, read back by NumPy, by hand and by our own reader."""

from __future__ import annotations

import json
import math
import os
import resource
import runpy
import subprocess
import sys
import zipfile
from typing import TYPE_CHECKING, Any

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.checkpoint_writers import same, samples, write_bundle
from tests.cli_calls import FIXTURES, ROOT, Caller
from tfinspect import formats
from tfinspect.api import weights_out
from tfinspect.errors import CorruptFileError, InputError, LimitError, OutputError, TfinspectError, UsageError
from tfinspect.formats import npy, safetensors
from tfinspect.ir.checkpoint import Checkpoint, VariableInfo
from tfinspect.ir.dtypes import DType
from tfinspect.ir.tensors import Tensor

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

NUMPY = {
    "F64": "<f8", "F32": "<f4", "F16": "<f2", "I64": "<i8", "I32": "<i4", "I16": "<i2", "I8": "i1", "U64": "<u8",
    "U32": "<u4", "U16": "<u2", "U8": "u1", "BOOL": "?", "BF16": ml_dtypes.bfloat16,
    "F8_E4M3": ml_dtypes.float8_e4m3fn, "F8_E5M2": ml_dtypes.float8_e5m2,
}  # fmt: skip


@pytest.fixture
def call(monkeypatch: pytest.MonkeyPatch) -> Caller:
    return Caller(monkeypatch)


def by_hand(path: Path) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """Read a .safetensors file as its format is published, and demand all that it demands."""
    data = path.read_bytes()
    size = int.from_bytes(data[:8], "little")
    assert size % 8 == 0
    header = json.loads(data[8 : 8 + size])
    metadata = header.pop("__metadata__")
    body, arrays, spans = data[8 + size :], {}, []
    for name, entry in header.items():
        start, stop = entry["data_offsets"]
        dtype = np.dtype(NUMPY[entry["dtype"]])
        assert start % dtype.itemsize == 0
        arrays[name] = np.frombuffer(body[start:stop], dtype).reshape(entry["shape"])
        spans.append((start, stop))
    position = 0
    for start, stop in sorted(spans):
        assert start == position
        position = stop
    assert position == len(body)
    return arrays, metadata


def fitting(suffix: str) -> dict[str, np.ndarray]:
    holds = safetensors.DTYPES.__contains__ if suffix == ".safetensors" else npy.holds
    return {k: v for k, v in samples().items() if holds(DType.from_numpy(v.dtype))}


@pytest.mark.parametrize("big_endian", [False, True])
def test_safetensors_hold_what_the_checkpoint_holds(call: Caller, tmp_path: Path, *, big_endian: bool) -> None:
    arrays = fitting(".safetensors")
    write_bundle(tmp_path / "m", arrays, big_endian=big_endian, num_shards=3)
    out = tmp_path / "m.safetensors"
    done = call("vars", tmp_path / "m", "-o", out)
    assert (done.status, done.out) == (0, "")
    assert done.err.startswith(f"wrote {out} ({len(arrays)} variables, ")
    found, metadata = by_hand(out)
    assert metadata == {"source": "m", "format": "checkpoint_v2"}
    assert sorted(found) == sorted(arrays)
    assert all(same(found[name], arrays[name]) for name in arrays)
    again = formats.read_checkpoint(out)
    assert again.format == "safetensors"
    for name, array in arrays.items():
        assert same(again.read(name), array), name
        assert b"".join(map(bytes, again.tensor(name).chunks())) == array.tobytes()


@pytest.mark.parametrize("big_endian", [False, True])
def test_npz_holds_what_the_checkpoint_holds(call: Caller, tmp_path: Path, *, big_endian: bool) -> None:
    arrays = fitting(".npz")
    arrays["deep/scope/name"] = np.arange(3)
    arrays["a.npy"] = np.arange(2)
    write_bundle(tmp_path / "m", arrays, big_endian=big_endian)
    for name in ("one.npz", "two.npz"):
        assert call("vars", tmp_path / "m", "-o", tmp_path / name).status == 0
    assert (tmp_path / "one.npz").read_bytes() == (tmp_path / "two.npz").read_bytes()
    with np.load(tmp_path / "one.npz", allow_pickle=False) as found:
        assert sorted(found) == sorted(arrays)
        for name, array in arrays.items():
            if array.dtype == object:
                assert found[name].dtype.kind == "S"
                assert found[name].tolist() == array.tolist()
            else:
                assert same(found[name], array), name
    with zipfile.ZipFile(tmp_path / "one.npz") as archive:
        assert {i.compress_type for i in archive.infolist()} == {zipfile.ZIP_STORED}
        assert archive.testzip() is None


def test_npy_holds_one(call: Caller, tmp_path: Path) -> None:
    out = tmp_path / "w.npy"
    assert call("vars", "training", "--read", "conv/weights", "-o", out).status == 0
    assert same(np.load(out), formats.read_checkpoint(FIXTURES / "training").read("conv/weights"))
    assert call("vars", "partitioned", "--read", "words", "-o", tmp_path / "s.npy").status == 0
    assert np.load(tmp_path / "s.npy").tolist() == [b"daisy", b"", b"tulips"]
    done = call("vars", "training", "--read", "conv/weights", "--read", "conv/beta", "-o", tmp_path / "x.npy")
    assert done.status == 2
    assert "an .npy file holds one array, and 2 variables would go into it" in done.err
    assert call("vars", "training", "-o", tmp_path / "x.npy", "--json").error["slug"] == "usage"


def test_chosen_ones_alone(call: Caller, tmp_path: Path) -> None:
    out = tmp_path / "w.safetensors"
    assert call("vars", "training", "--role", "weight", "-o", out).status == 0
    assert sorted(by_hand(out)[0]) == sorted(row[0] for row in call("vars", "training", "--role", "weight").rows)
    done = call("vars", "training", "--match", "conv/w*", "-o", out)
    assert (done.status, done.err.splitlines()[0]) == (5, f"error: {out} exists")
    answer = call("vars", "training", "--match", "conv/weights", "-o", out, "--force", "--json").answer
    assert answer == {
        "schema": "tfinspect/vars-written/1", "output": str(out), "nbytes": out.stat().st_size,
        "variables": ["conv/weights"], "left_out": [],
    }  # fmt: skip
    two = call("vars", "training", "--read", "conv/beta", "--read", "conv/weights", "-o", out, "-f")
    assert two.status == 0
    assert sorted(by_hand(out)[0]) == ["conv/beta", "conv/weights"]
    assert call("vars", "training", "--match", "nothing*", "-o", tmp_path / "n.npz").status == 2


def test_several_values_to_read(call: Caller) -> None:
    done = call("vars", "training", "--read", "global_step", "--read", "conv/beta")
    assert done.out.splitlines()[:3] == ["global_step", "3", "conv/beta"]
    answer = call("vars", "training", "--read", "global_step", "--read", "conv/beta", "--json").answer
    assert answer["schema"] == "tfinspect/values/1"
    assert [(v["name"], v["shape"]) for v in answer["values"]] == [("global_step", []), ("conv/beta", [6])]


def test_what_a_file_cannot_hold_is_named(call: Caller, tmp_path: Path) -> None:
    write_bundle(tmp_path / "m", samples())
    error = call("vars", tmp_path / "m", "-o", tmp_path / "m.safetensors", "--json").error
    assert (error["slug"], error["exit_status"]) == ("limit", 4)
    refused = {k for k, v in samples().items() if DType.from_numpy(v.dtype) not in safetensors.DTYPES}
    assert set(error["evidence"]["variables"]) == refused
    assert {"c64", "c128", "strings", "int4", "float8_e5m2fnuz"} <= refused
    assert error["message"].startswith(
        f".safetensors has no type for {len(refused)} of {len(samples())} variables: `c128` ("
    )
    write_bundle(tmp_path / "s", {"w": np.zeros(2, "f4"), "words": np.array([b"a"], object)})
    done = call("vars", tmp_path / "s", "-o", tmp_path / "s.safetensors")
    assert ".safetensors has no type for 1 of 2 variables: `words` (string)\n" in done.err
    assert f"hint: write them as .npz: -o {tmp_path}/s.npz\n" in done.err
    write_bundle(tmp_path / "b", {"w": np.zeros(2, ml_dtypes.bfloat16)})
    done = call("vars", tmp_path / "b", "-o", tmp_path / "b.npz")
    assert ".npz has no type for 1 of 1 variable: `w` (bfloat16)\n" in done.err
    assert "hint: write them as .safetensors: " in done.err
    names = ["_CHECKPOINTABLE_OBJECT_GRAPH", "w"]
    write_bundle(tmp_path / "o", {names[0]: np.array(b"graph", object), "w": np.zeros(2, "f4")})
    done = call("vars", tmp_path / "o", "--match", "*", "-o", tmp_path / "o.safetensors")
    hint = done.err.splitlines()[-1]
    assert hint == f"hint: leave them out: tfinspect vars {tmp_path}/o --role weight -o {tmp_path}/o.safetensors"
    assert call(*hint.split("tfinspect ")[1].split()).status == 0
    assert not list(tmp_path.glob("*.np?")) + list(tmp_path.glob(".*"))


def test_strings_that_numpy_cannot_hold(tmp_path: Path) -> None:
    with pytest.raises(LimitError, match="`s` has a string that ends with a zero byte"):
        npy.write_npy(tmp_path / "s.npy", "s", Tensor.of(np.array([b"a\0"], object)))
    ragged = np.array([b"x" * 100_000] + [b""] * 1000, object)
    with pytest.raises(LimitError, match="would take 100,100,000 bytes"):
        npy.write_npz(tmp_path / "s.npz", [("s", Tensor.of(ragged))])
    with pytest.raises(LimitError, match="no name that a zip archive can hold"):
        npy.write_npz(tmp_path / "s.npz", [("a\0b", Tensor.of(np.zeros(1)))])
    with pytest.raises(LimitError, match="keeps for itself"):
        safetensors.write(tmp_path / "s.safetensors", [("__metadata__", Tensor.of(np.zeros(1)))], {})
    assert list(tmp_path.iterdir()) == []


def test_a_header_beyond_the_format_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(safetensors, "MAX_HEADER_NBYTES", 100)
    with pytest.raises(LimitError, match=r"make a header of \d+ bytes; .safetensors allows 100"):
        safetensors.write(tmp_path / "s.safetensors", [("x" * 50, Tensor.of(np.zeros(1)))], {})
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("suffix", [".safetensors", ".npz", ".npy"])
def test_nothing_is_left_of_a_write_that_fails(tmp_path: Path, suffix: str) -> None:
    def chunks() -> Iterator[bytes]:
        yield bytes(4000)
        raise InputError("the value broke off")

    tensor = Tensor(DType.FLOAT, (2000,), lambda: np.zeros(2000, "f4"), chunks)
    short = Tensor(DType.FLOAT, (2000,), lambda: np.zeros(2000, "f4"), lambda: [bytes(4000)])
    out = tmp_path / f"w{suffix}"
    out.write_bytes(b"old")
    for bad, text in ((tensor, "broke off"), (short, "gave 4,000 bytes, and its shape takes 8,000")):
        both = [("v", Tensor.of(np.zeros(3))), ("w", bad)]
        write = {
            ".npy": lambda pairs: npy.write_npy(out, *pairs[1], force=True),
            ".npz": lambda pairs: npy.write_npz(out, pairs, force=True),
            ".safetensors": lambda pairs: safetensors.write(out, pairs, {}, force=True),
        }[suffix]
        with pytest.raises(InputError, match=text):
            write(both)
    assert [p.name for p in tmp_path.iterdir()] == [out.name]
    assert out.read_bytes() == b"old"


@pytest.mark.parametrize("suffix", [".safetensors", ".npz"])
def test_a_full_disk_leaves_nothing(tmp_path: Path, suffix: str) -> None:
    write_bundle(tmp_path / "m", {f"v{i}": np.zeros(100_000, "f4") for i in range(4)})
    before = sorted(p.name for p in tmp_path.iterdir())
    for limit in (100, 1_599_000):
        done = subprocess.run(
            [sys.executable, "-m", "tfinspect", "vars", tmp_path / "m", "-o", tmp_path / f"m{suffix}", "--json"],
            capture_output=True, text=True, check=False, env={**os.environ, "PYTHONPATH": str(ROOT)},
            preexec_fn=lambda n=limit: resource.setrlimit(resource.RLIMIT_FSIZE, (n, n)),
        )  # fmt: skip
        assert done.returncode == 5, done.stderr
        assert json.loads(done.stderr)["error"]["message"] == f"{tmp_path}/m{suffix} cannot be written: file too large"
        assert sorted(p.name for p in tmp_path.iterdir()) == before


def test_the_output_is_named_before_anything_is_read(call: Caller, tmp_path: Path) -> None:
    done = call("vars", tmp_path / "not there", "-o", "weights.bin")
    assert (done.status, done.err) == (2, "error: weights.bin: values are written as .npy, .npz or .safetensors\n")
    with pytest.raises(UsageError):
        weights_out.check_name("x.h5")
    with pytest.raises(OutputError, match="is not a folder"):
        npy.write_npz(tmp_path / "no" / "x.npz", [])


def test_a_missing_shard_writes_nothing(call: Caller, tmp_path: Path) -> None:
    write_bundle(tmp_path / "m", {"a": np.zeros(3), "b": np.zeros(3)}, num_shards=2)
    (tmp_path / "m.data-00001-of-00002").unlink()
    for suffix in ("npz", "safetensors"):
        done = call("vars", tmp_path / "m", "-o", tmp_path / f"m.{suffix}")
        assert done.status == 3
        assert "m.data-00001-of-00002 is missing" in done.err
    assert sorted(p.name for p in tmp_path.iterdir()) == ["m.data-00000-of-00002", "m.index"]


def test_memory_stays_small(tmp_path: Path) -> None:
    write_bundle(tmp_path / "m", {"v": np.zeros(50 << 20, "f4")})
    script = (
        "import sys\nfrom tfinspect.cli.app import run\nstatus = run(sys.argv[1:])\n"
        "peak = next(line.split()[1] for line in open('/proc/self/status') if line.startswith('VmHWM'))\n"
        "print(status, peak, file=sys.stderr)"
    )
    for suffix in ("npz", "safetensors"):
        done = subprocess.run(
            [sys.executable, "-c", script, "vars", str(tmp_path / "m"), "-o", str(tmp_path / f"m.{suffix}")],
            capture_output=True, text=True, check=True, env={**os.environ, "PYTHONPATH": str(ROOT)},
        )  # fmt: skip
        status, kib = done.stderr.splitlines()[-1].split()
        assert status == "0"
        assert int(kib) < 100 << 10
        (tmp_path / f"m.{suffix}").unlink()


def file_of(header: Any, data: bytes = b"", *, length: int | None = None) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return (len(text) if length is None else length).to_bytes(8, "little") + text + data


def entry(dtype: Any = "F32", shape: Any = (2,), offsets: Any = (0, 8)) -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape, "data_offsets": offsets}


EIGHT = bytes(8)
DEEP = b'{"a":' + b"[" * 100_000
BAD = {
    "length beyond the file": (file_of({"a": entry()}, EIGHT, length=1000), "header length", "expected the length of a header"),
    "length beyond the limit": (file_of({"a": entry()}, EIGHT, length=1 << 60), "header length", "at most"),
    "no JSON": (file_of(b'{"dtype', EIGHT), "header", "unterminated string"),
    "not UTF-8": (file_of(b'{"\xff": 1}'), "header", "expected text in UTF-8"),
    "too deep": (file_of(DEEP), "header", "far too deep"),
    "a long number": (file_of(b'{"a": ' + b"9" * 5000 + b"}"), "header", "far too deep or large"),
    "a name twice": (file_of(b'{"a": {}, "a": {}}'), "header", "found `a` twice"),
    "metadata of numbers": (file_of({"__metadata__": {"a": 1}}), "header", "texts by name"),
    "no object": (file_of({"a": 3}), "tensor `a`", "dtype, shape and data_offsets, found 3"),
    "a key more": (file_of({"a": {**entry(), "x": 1}}, EIGHT), "tensor `a`", "data_offsets"),
    "no such type": (file_of({"a": entry("F4")}, EIGHT), "tensor `a`", "found F4"),
    "a type that is no text": (file_of({"a": entry(["F32"])}, EIGHT), "tensor `a`", "a dtype of F64"),
    "negative shape": (file_of({"a": entry(shape=[-2])}, EIGHT), "tensor `a`", "a shape of at most 64 dimensions"),
    "shape of truths": (file_of({"a": entry(shape=[True])}, EIGHT), "tensor `a`", "a shape of at most 64"),
    "many dimensions": (file_of({"a": entry(shape=[1] * 65)}, EIGHT), "tensor `a`", "a shape of at most 64"),
    "huge shape": (file_of({"a": entry(shape=[1 << 62, 1 << 62])}, EIGHT), "tensor `a`", "that memory can hold"),
    "huge and empty": (file_of({"a": entry(shape=[0, 1 << 62, 4], offsets=[0, 0])}), "tensor `a`", "memory can hold"),
    "shape and size differ": (file_of({"a": entry(shape=[3])}, EIGHT), "tensor `a`", "12 bytes for float32[3], found 8"),
    "offsets fall": (file_of({"a": entry(offsets=[8, 0])}, EIGHT), "tensor `a`", "two offsets in rising order"),
    "three offsets": (file_of({"a": entry(offsets=[0, 4, 8])}, EIGHT), "tensor `a`", "two offsets"),
    "a hole": (file_of({"a": entry(offsets=[8, 16])}, EIGHT * 2), "data", "expected a tensor, found `a` at byte"),
    "overlap": (file_of({"a": entry(), "b": entry(offsets=[4, 12])}, bytes(12)), "data", "found `b` at byte"),
    "bytes left over": (file_of({"a": entry()}, bytes(9)), "data", "where the last tensor ends"),
    "cut short": (file_of({"a": entry()}, bytes(7)), "data", "the end of the file at byte"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_bad_files_are_refused(tmp_path: Path, name: str) -> None:
    data, structure, text = BAD[name]
    path = tmp_path / "w.safetensors"
    path.write_bytes(data)
    with pytest.raises(CorruptFileError) as caught:
        safetensors.read(path)
    assert structure in str(caught.value)
    assert text in str(caught.value)
    assert str(path) in str(caught.value)
    assert len(str(caught.value)) < 500


def test_truncated_and_flipped(tmp_path: Path) -> None:
    data = (FIXTURES / "weights.safetensors").read_bytes()
    path = tmp_path / "w.safetensors"
    for size in [*range(1, 24), *range(24, len(data), 7)]:
        path.write_bytes(data[:size])
        with pytest.raises(TfinspectError):
            formats.read_checkpoint(path)
    size = 8 + int.from_bytes(data[:8], "little")
    accepted = 0
    for bit in range(0, 8 * size, 7):
        flipped = bytearray(data)
        flipped[bit // 8] ^= 1 << bit % 8
        path.write_bytes(bytes(flipped))
        try:
            checkpoint = formats.read_checkpoint(path)
            for name in checkpoint.variables:
                checkpoint.read(name)
        except TfinspectError:
            continue
        accepted += 1  # another name, or another type of the same size
    assert accepted < 8 * size / 7 / 3


@settings(max_examples=40, deadline=None)
@given(
    st.dictionaries(
        st.text(min_size=1, max_size=12).filter(lambda s: s != "__metadata__"),
        st.tuples(st.sampled_from(sorted(NUMPY)), st.lists(st.integers(0, 4), max_size=3)),
        max_size=6,
    ),
    st.dictionaries(st.text(max_size=8), st.text(max_size=8), max_size=3),
)
def test_written_is_read(
    tmp_path_factory: pytest.TempPathFactory, found: dict[str, Any], facts: dict[str, str]
) -> None:
    path = tmp_path_factory.mktemp("w") / "w.safetensors"
    rng = np.random.default_rng(4)
    arrays = {}
    for name, (dtype, shape) in found.items():
        size = math.prod(shape) * np.dtype(NUMPY[dtype]).itemsize
        arrays[name] = rng.integers(0, 2, size, "u1").view(NUMPY[dtype]).reshape(shape)
    nbytes = safetensors.write(path, [(k, Tensor.of(v)) for k, v in arrays.items()], facts)
    assert nbytes == path.stat().st_size
    assert by_hand(path)[1] == facts
    checkpoint = safetensors.read(path)
    assert sorted(checkpoint.variables) == sorted(arrays)
    assert all(same(checkpoint.read(name), array) for name, array in arrays.items())
    assert formats.identify(path).name == "safetensors"


def test_listing_verifying_and_info_of_safetensors(call: Caller) -> None:
    rows = call("vars", "weights.safetensors").rows
    assert rows[0] == ["conv/weights", "float32", "3x3x2x4", "288", "weight"]
    assert call("vars", "weights.safetensors", "--read", "brain").out == "[1 -2]\n"
    done = call("info", "weights.safetensors", "--json")
    assert (done.status, done.answer["format"]) == (0, "safetensors")


@pytest.mark.parametrize("suffix", [".safetensors", ".npz"])
def test_an_interrupt_leaves_nothing(tmp_path: Path, suffix: str) -> None:
    def chunks() -> Iterator[bytes]:
        yield bytes(4000)
        raise KeyboardInterrupt

    tensor = Tensor(DType.FLOAT, (2000,), lambda: np.zeros(2000, "f4"), chunks)
    info = VariableInfo("v", DType.FLOAT, (2000,), 8000)
    checkpoint = Checkpoint("m", "checkpoint_v2", {"v": info}, lambda _: tensor)
    with pytest.raises(KeyboardInterrupt):
        weights_out.write(checkpoint, [info], tmp_path / f"w{suffix}")
    assert list(tmp_path.iterdir()) == []


def test_the_fixture_is_what_its_script_writes(tmp_path: Path) -> None:
    runpy.run_path(str(FIXTURES / "make_safetensors.py"))["write"](tmp_path)
    assert (tmp_path / "weights.safetensors").read_bytes() == (FIXTURES / "weights.safetensors").read_bytes()


def test_a_whole_object_checkpoint_goes_out_without_the_text_about_its_objects(tmp_path: Path, call: Caller) -> None:
    target = tmp_path / "w.safetensors"
    done = call("vars", "objects", "-o", target)
    assert done.status == 0, done.err
    assert done.err.splitlines()[0] == (
        "left out _CHECKPOINTABLE_OBJECT_GRAPH: a record of the trainer, which has no place there"
    )
    expected = set(formats.read_checkpoint(FIXTURES / "objects").variables) - {"_CHECKPOINTABLE_OBJECT_GRAPH"}
    assert set(formats.read_checkpoint(target).variables) == expected
    named = call("vars", "objects", "--read", "_CHECKPOINTABLE_OBJECT_GRAPH", "-o", tmp_path / "x.safetensors")
    assert named.status == 4
