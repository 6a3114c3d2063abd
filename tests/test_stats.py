"""Figures of values, against NumPy's over the whole array."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.checkpoint_writers import samples, write_bundle
from tests.cli_calls import FIXTURES, ROOT, Caller, Stream
from tfinspect import formats
from tfinspect.api import stats
from tfinspect.cli import listings
from tfinspect.cli.terminal import Terminal
from tfinspect.errors import InputError, VariableNotFoundError
from tfinspect.ir.checkpoint import Checkpoint, VariableInfo
from tfinspect.ir.dtypes import DType
from tfinspect.ir.tensors import Tensor

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def call(monkeypatch: pytest.MonkeyPatch) -> Caller:
    return Caller(monkeypatch)


def in_pieces(array: np.ndarray, sizes: list[int], dtype: DType | None = None) -> Tensor:
    """A tensor whose bytes come in pieces of these sizes, again and again, wherever elements end."""

    def chunks() -> Any:
        data, at, turn = array.tobytes(), 0, 0
        while at < len(data):
            size = sizes[turn % len(sizes)]
            yield data[at : at + size]
            at, turn = at + size, turn + 1

    def load() -> np.ndarray:
        raise AssertionError("the whole array was asked for")

    return Tensor(dtype or DType.from_numpy(array.dtype), array.shape, load, chunks)


def expected(array: np.ndarray) -> dict[str, Any]:
    flat = array.reshape(-1)
    if flat.dtype.kind == "c":
        wide = np.abs(flat.astype("c16"))
        wide[np.isnan(flat)] = np.nan
    elif flat.dtype.kind in "iu":
        wide = flat
    else:
        wide = flat.astype("f8")
    finite = wide[np.isfinite(wide)]
    exact = [int(v) for v in finite.tolist()] if flat.dtype.kind in "iu" else finite.tolist()
    counts = {"nan": int(np.isnan(wide).sum()), "inf": int(np.isinf(wide).sum()), "zeros": int((flat == 0).sum())}
    if not exact:
        return {"min": None, "max": None, "mean": None, "std": None, **counts}
    mean = sum(map(Fraction, exact)) / len(exact)
    exponent = math.frexp(float(max(abs(v) for v in exact)))[1]
    variance = sum(((Fraction(v) - mean) / Fraction(2) ** exponent) ** 2 for v in exact) / len(exact)
    std = math.ldexp(math.sqrt(variance), exponent)
    return {"min": min(exact), "max": max(exact), "mean": float(mean), "std": std, **counts}


def check(tensor: Tensor, array: np.ndarray) -> None:
    found, wanted = stats.stats_of(tensor).to_json(), expected(array)
    assert found.pop("size") == array.size
    spread = 0.0 if wanted["std"] is None else max(abs(wanted["min"]), abs(wanted["max"]))
    for key, value in wanted.items():
        if key in {"mean", "std"} and value is not None:
            assert found[key] == pytest.approx(value, rel=1e-9, abs=max(1e-13 * spread, 1e-323)), key
        else:
            assert found[key] == value, key
            assert type(found[key]) is type(value), key


any_float = st.floats(width=64) | st.sampled_from([0.0, -0.0, 5e-324, -1e-310, 1.7e308, -1.7e308, 1e-200])


@settings(max_examples=100, deadline=None)
@given(st.lists(any_float, max_size=30), st.lists(st.integers(1, 40), min_size=1, max_size=4))
def test_float64(values: list[float], sizes: list[int]) -> None:
    array = np.array(values, "f8")
    check(in_pieces(array, sizes), array)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.floats(width=32), max_size=30), st.sampled_from(["f4", "f2", "bfloat16"]), st.integers(1, 50))
def test_narrow_floats(values: list[float], kind: str, size: int) -> None:
    with np.errstate(all="ignore"):
        array = np.array(values, "f4").astype(getattr(ml_dtypes, kind, kind))
    check(in_pieces(array, [size]), array)


@settings(max_examples=100, deadline=None)
@given(st.data(), st.sampled_from(["i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8"]), st.integers(1, 50))
def test_integers_are_exact_at_both_ends(data: st.DataObject, kind: str, size: int) -> None:
    range_ = np.iinfo(kind)
    numbers = st.integers(int(range_.min), int(range_.max)) | st.sampled_from([int(range_.min), int(range_.max), 0])
    array = np.array(data.draw(st.lists(numbers, max_size=30)), kind)
    check(in_pieces(array, [size]), array)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.complex_numbers(width=64), max_size=30), st.sampled_from(["c8", "c16"]), st.integers(1, 50))
def test_complex_numbers_count_by_their_magnitude(values: list[complex], kind: str, size: int) -> None:
    array = np.array(values, kind)
    check(in_pieces(array, [size]), array)


@pytest.mark.parametrize(
    "kind", ["float8_e5m2", "float8_e4m3fn", "float8_e4m3fnuz", "float8_e4m3b11fnuz", "float8_e5m2fnuz", "bool"]
)
def test_every_byte(kind: str) -> None:
    array = np.arange(256, dtype="u1").view(getattr(ml_dtypes, kind, kind))
    if kind == "bool":
        array = np.array([True, False, True])
    found, wide = stats.stats_of(in_pieces(array, [7])), array.astype("f8")
    finite = wide[np.isfinite(wide)]
    assert (found.min, found.max) == (finite.min(), finite.max())
    assert (found.nan, found.inf, found.zeros) == (
        np.isnan(wide).sum(), np.isinf(wide).sum(), (wide == 0).sum(),
    )  # fmt: skip
    assert found.mean == pytest.approx(finite.mean(), abs=1e-9)
    assert found.std == pytest.approx(finite.std(), rel=1e-12)


@pytest.mark.parametrize("kind", ["f4", "f8", "f2", "i4", "c8"])
def test_pieces_and_blocks_do_not_change_the_figures(kind: str) -> None:
    rng = np.random.default_rng(3)
    array = (
        rng.normal(1e3, 1e-1, 3 * stats._BLOCK + 17) if kind != "f2" else rng.normal(size=stats._BLOCK + 200_001)
    ).astype(kind)
    array[stats._BLOCK - 1 : stats._BLOCK + 1] = 0
    if array.dtype.kind == "f":
        array[[5, stats._BLOCK, -1]] = [np.nan, np.inf, -np.inf]
    check(in_pieces(array, [array.itemsize * stats._BLOCK - 3, 1, 100_003]), array)


def test_neither_the_mean_cancels_nor_the_squares_overflow() -> None:
    array = np.full(300_000, 1e8)
    array[::2] += 1e-3
    found = stats.stats_of(in_pieces(array, [1 << 16]))
    assert found.std == pytest.approx(5e-4, rel=1e-3)
    tiny = np.concatenate([np.zeros(1000), np.full(1000, 2e-250)])
    found = stats.stats_of(in_pieces(tiny, [800]))
    assert (found.mean, found.std) == (pytest.approx(1e-250), pytest.approx(1e-250))
    huge = np.array([1.7e308, -1.7e308] * 50)
    found = stats.stats_of(in_pieces(huge, [24]))
    assert (found.mean, found.std) == (0.0, pytest.approx(1.7e308))
    same = np.full(1001, 0.1)
    found = stats.stats_of(in_pieces(same, [56]))
    assert (found.mean, found.std) == (0.1, 0.0)


def test_nothing_and_strings() -> None:
    empty = stats.stats_of(Tensor.of(np.empty((0, 3), "f4")))
    figures = dict.fromkeys(("min", "max", "mean", "std", "zeros", "nan", "inf"))
    assert empty.to_json() == {**figures, "zeros": 0, "nan": 0, "inf": 0, "size": 0}
    words = stats.stats_of(Tensor.of(np.array([b"daisy", b"", b"\x00\xff"], object)))
    assert words.to_json() == {**figures, "size": 3, "string_nbytes": 7}
    lost = stats.stats_of(Tensor.of(np.array([np.nan, np.inf, np.nan])))
    assert lost.to_json() == {**figures, "zeros": 0, "nan": 2, "inf": 1, "size": 3}


@pytest.mark.parametrize("big_endian", [False, True])
def test_every_type_from_a_checkpoint(tmp_path: Path, *, big_endian: bool) -> None:
    arrays = samples()
    write_bundle(tmp_path / "m", arrays, big_endian=big_endian)
    checkpoint = formats.read_checkpoint(tmp_path / "m")
    rows = list(stats.each(checkpoint, list(checkpoint.variables.values())))
    assert [row.variable.name for row in rows] == list(checkpoint.variables)
    assert stats.failure("m", rows) is None
    for row in rows:
        array = arrays[row.variable.name]
        assert row.stats is not None
        assert row.stats.size == array.size
        if array.dtype.kind in "biufc" and array.size and array.dtype != bool:
            wanted = expected(array)
            assert row.stats.to_json()["max"] == wanted["max"], row.variable.name
            assert row.stats.nan == wanted["nan"], row.variable.name


def test_threads_give_what_one_gives(tmp_path: Path) -> None:
    rng = np.random.default_rng(8)
    arrays = {f"v{i}": rng.normal(size=n).astype("f4") for i, n in enumerate((1_300_000, 7, 90_000, 2_600_000))}
    write_bundle(tmp_path / "m", arrays)
    checkpoint = formats.read_checkpoint(tmp_path / "m")
    for row in stats.each(checkpoint, list(checkpoint.variables.values())):
        assert row.stats == stats.stats_of(checkpoint.tensor(row.variable.name))
        assert row.stats is not None
        assert row.stats.mean == pytest.approx(float(arrays[row.variable.name].mean(dtype="f8")), rel=1e-12)


HEADER = "NAME DTYPE SHAPE MIN MAX MEAN STD ZEROS NAN INF"


def test_on_a_terminal(call: Caller) -> None:
    done = call("vars", "training", "--stats", "--match", "*weights", tty=True, columns=120)
    lines = done.out.splitlines()
    assert done.status == 0
    assert lines[0].split() == HEADER.split()
    assert [line.split()[0] for line in lines[1:]] == ["conv/weights", "logits/weights"]
    value = formats.read_checkpoint(FIXTURES / "training").read("conv/weights")
    assert lines[1].split()[3:7] == [
        f"{float(n):.6g}" for n in (value.min(), value.max(), value.mean(dtype="f8"), value.std(dtype="f8"))
    ]
    assert done.err.endswith("2 variables, 768 B read and checked\n")


def test_in_a_pipe_and_as_json(call: Caller) -> None:
    rows = call("vars", "training", "--stats", "--role", "step").rows
    assert rows == [["global_step", "int64", "scalar", "3", "3", "3.0", "0.0", "0", "0", "0"]]
    answer = call("vars", "training", "--stats", "--role", "step", "--json").answer
    assert answer["variables"] == [
        {
            "name": "global_step", "dtype": "int64", "shape": [], "nbytes": 8, "role": "step", "label": None,
            "serves": None, "error": None,
            "stats": {"min": 3, "max": 3, "mean": 3.0, "std": 0.0, "zeros": 0, "nan": 0, "inf": 0, "size": 1},
        }
    ]  # fmt: skip
    words = call("vars", "partitioned", "--stats", "--match", "words").rows
    assert words == [["words", "string", "3", *["-"] * 7]]


def damaged(folder: Path) -> Path:
    arrays = {name: np.arange(6, dtype="f4") for name in ("a", "b", "c", "d")}
    write_bundle(folder / "m", arrays, num_shards=2)
    (folder / "m.data-00000-of-00002").unlink()
    shard = folder / "m.data-00001-of-00002"
    data = bytearray(shard.read_bytes())
    data[-1] ^= 1
    shard.write_bytes(bytes(data))
    return folder / "m"


def test_what_cannot_be_read_keeps_nothing_back(call: Caller, tmp_path: Path) -> None:
    prefix = damaged(tmp_path)
    done = call("vars", prefix, "--stats")
    words = {row[0]: row[3] for row in done.rows}
    assert done.status == 3
    assert sorted(words.values()) == ["0.0", "damaged", "missing", "missing"]
    assert f"error: {prefix}: the values of 3 of 4 variables cannot be read\n" in done.err
    assert f"       {prefix}.data-00000-of-00002 is missing, and 2 values in it\n" in done.err
    answer = json.loads(call("vars", prefix, "--stats", "--json").out)
    slugs = [v["error"] and v["error"]["slug"] for v in answer["variables"]]
    assert sorted(map(str, slugs)) == ["None", "corrupt-file", "incomplete-checkpoint", "incomplete-checkpoint"]
    assert [v["stats"] is None for v in answer["variables"]] == [slug is not None for slug in slugs]
    bad = next(name for name, word in words.items() if word == "damaged")
    alone = call("vars", prefix, "--stats", "--match", bad)
    assert (alone.status, len(alone.rows)) == (3, 1)
    assert "is damaged at byte" in alone.err


def test_flags_that_do_not_go_together(call: Caller) -> None:
    for words in (["--read", "global_step"], ["-o", "x.npz"]):
        done = call("vars", "training", "--stats", *words)
        assert done.status == 2
        assert f"--stats prints figures, {words[0]} gives the values themselves" in done.err


def test_failure_names_a_few() -> None:
    rows = [stats.StatsRow(None, None, InputError(f"fault {n}")) for n in range(20)]  # type: ignore[arg-type]
    for row in rows:
        assert row.error is not None
    named = [row._replace(variable=type("V", (), {"name": f"v{n}"})()) for n, row in enumerate(rows)]
    error = stats.failure("p", named)
    assert error is not None
    assert error.details[-1] == "and 12 more"


SCRIPT = """
import sys
opened = []
sys.addaudithook(lambda event, args: opened.append(str(args[0])) if event == "open" else None)
from tfinspect.cli import quick
from tfinspect.cli.app import run
status = quick.run(sys.argv[1:])
status = run(sys.argv[1:]) if status is None else status
print(status, sum(".data-" in name for name in opened), any(n.endswith(".index") for n in opened),
      next(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM")), file=sys.stderr)
"""


def _run(*words: str) -> tuple[int, int, bool, int]:
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, *words], capture_output=True, text=True, check=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    status, shards, index, kib = done.stderr.splitlines()[-1].split()
    return int(status), int(shards), index == "True", int(kib)


def test_a_large_checkpoint_is_listed_without_its_shards_and_counted_in_little_memory(tmp_path: Path) -> None:
    prefix = tmp_path / "large"
    size = 256 << 20
    array = np.zeros(1, "f4")
    # one variable of 256 MiB: its bytes are a hole in the file, which costs no disk
    checksum = _checksum_of_zeros(size)

    def enlarge(entries: dict[bytes, Any]) -> None:
        entry = entries[b"v"]
        entry.size = size
        entry.shape.dim[0].size = size // 4
        entry.crc32c = checksum

    write_bundle(prefix, {"v": array}, edit=enlarge)
    os.truncate(f"{prefix}.data-00000-of-00001", size)
    assert _run("vars", str(prefix))[:3] == (0, 0, True)
    assert _run("vars", str(prefix), "--json")[:3] == (0, 0, True)
    status, shards, _, kib = _run("vars", str(prefix), "--stats")
    assert (status, shards > 0) == (0, True)
    assert kib < 200 << 10


def _checksum_of_zeros(size: int) -> int:
    from crc32c import crc32c

    from tfinspect.formats._table import mask

    crc, block = 0, bytes(1 << 20)
    for _ in range(size >> 20):
        crc = crc32c(block, crc)
    return mask(crc)


@pytest.fixture(autouse=True)
def wide(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "160")
    monkeypatch.setenv("NO_COLOR", "1")


def labelled(*said: tuple[str, str]) -> tuple[Checkpoint, list[VariableInfo]]:
    infos = {
        f"v{n}": VariableInfo(f"v{n}", DType.INT32, (2,), 8, label=label, serves=serves)
        for n, (label, serves) in enumerate(said)
    }
    tensor = Tensor.of(np.array([4, 4], "i4"))
    return Checkpoint("m", "checkpoint_v2", infos, lambda _: tensor), list(infos.values())


@pytest.mark.parametrize(
    ("said", "titles", "cells"),
    [
        ([("", ""), ("", "")], "", [[], []]),
        ([("dense/kernel", ""), ("", "")], "KEY", [["dense/kernel"], []]),
        ([("", ""), ("", "v0")], "OF", [[], ["", "v0"]]),
        ([("a", ""), ("b", "v0")], "OF KEY", [["a"], ["b", "v0"]]),
    ],
)
def test_labels_and_what_slots_serve(said: list[tuple[str, str]], titles: str, cells: list[list[str]]) -> None:
    checkpoint, found = labelled(*said)
    rows = list(stats.each(checkpoint, found))
    for show, content, columns, width in (
        (listings.show_variables, found, "NAME DTYPE SHAPE SIZE ROLE", 5),
        (listings.show_stats, rows, HEADER, 10),
    ):
        screen, pipe, answer = Stream(tty=True), Stream(tty=False), Stream(tty=False)
        show(Terminal(stdout=screen, stderr=Stream(tty=True)), checkpoint, content)
        show(Terminal(stdout=pipe, stderr=Stream(tty=False)), checkpoint, content)
        show(Terminal(json_mode=True, stdout=answer), checkpoint, content)
        assert screen.getvalue().splitlines()[0].split() == f"{columns} {titles}".split()
        called = [line.split()[0] for line in screen.getvalue().splitlines()[1:]]
        assert called == [label or f"v{n}" for n, (label, _) in enumerate(said)]
        assert [line.split("\t")[width:] for line in pipe.getvalue().splitlines()] == cells
        assert [(v["label"], v["serves"]) for v in json.loads(answer.getvalue())["variables"]] == [
            (label or None, serves or None) for label, serves in said
        ]


def test_a_label_names_its_variable() -> None:
    checkpoint = formats.read_checkpoint(FIXTURES / "objects")
    by_label = checkpoint.read("dense/kernel")
    np.testing.assert_array_equal(by_label, checkpoint.read("model/w/.ATTRIBUTES/VARIABLE_VALUE"))
    twice, _ = labelled(("same", ""), ("same", ""))
    with pytest.raises(VariableNotFoundError, match="no variable named `same`"):
        twice.variable("same")
    with pytest.raises(VariableNotFoundError) as caught:
        checkpoint.variable("dense/kernal")
    assert caught.value.near[0] == "dense/kernel"


def test_plain_figures_need_no_typer_and_no_runtime() -> None:
    script = (
        "import sys\nfrom tfinspect.cli import quick\nstatus = quick.run(sys.argv[1:])\n"
        "extra = {'typer', 'tensorflow', 'h5py', 'rich'} & set(sys.modules)\n"
        "sys.exit(f'{status} {extra}' if status != 0 or extra else 0)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, "vars", "training", "--stats"],
        cwd=FIXTURES, check=False, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) == len(formats.read_checkpoint(FIXTURES / "training").variables)
