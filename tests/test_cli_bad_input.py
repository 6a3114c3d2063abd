"""What a person reads when something is wrong, and that nothing is written then."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import struct
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.cli_calls import FIXTURES, ZOO, Caller, Done

if TYPE_CHECKING:
    from collections.abc import Callable

TINY = FIXTURES / "inception_tiny.pb"


@pytest.fixture
def call(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Caller:
    caller = Caller(monkeypatch)
    monkeypatch.chdir(tmp_path)
    return caller


def files(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def make_files() -> dict[str, Callable[[Path], object]]:
    """Broken inputs by name."""
    index = (FIXTURES / "training" / "model.ckpt-3.index").read_bytes()
    v1 = (FIXTURES / "training_v1" / "model.ckpt-3").read_bytes()
    meta = (FIXTURES / "training" / "model.ckpt-3.meta").read_bytes()
    tiny = TINY.read_bytes()
    return {
        "empty.pb": lambda p: p.write_bytes(b""),
        "cut.pb": lambda p: p.write_bytes(tiny[:9001]),
        "cut.meta": lambda p: p.write_bytes(meta[:9001]),
        "cut.index": lambda p: p.write_bytes(index[:-9]),
        "cut_v1": lambda p: p.write_bytes(v1[:-9]),
        "page.pb": lambda p: p.write_bytes(b"<!DOCTYPE html>\n<html><head><title>404</title></head></html>\n"),
        "pointer.pb": lambda p: p.write_bytes(
            b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"0" * 64 + b"\nsize 95673916\n"
        ),
        "zeros.pb": lambda p: p.write_bytes(bytes(4096)),
        "folder": lambda p: p.mkdir(),
    }


# command words ({f} is the broken file), slug, exit status, offset or None, words that the first line must hold
BROKEN = [
    ("info", "empty.pb", "unknown-format", None, "is empty (0 bytes)"),
    ("nodes", "empty.pb", "unknown-format", None, "is empty (0 bytes)"),
    ("vars", "empty.pb", "unknown-format", None, "is empty (0 bytes)"),
    ("nodes", "cut.pb", "corrupt-file", range(8000, 9002), "is damaged at byte"),
    ("nodes", "cut.meta", "corrupt-file", range(9002), "is damaged at byte"),
    ("vars", "cut.index", "corrupt-file", range(1200), "is damaged at byte"),
    ("info", "page.pb", "unknown-format", None, "is an HTML page"),
    ("nodes", "pointer.pb", "unknown-format", None, "is a Git LFS pointer, not the file itself"),
    ("info", "zeros.pb", "unknown-format", None, "is not a model: its first 1,024 bytes are all zero"),
    ("info", "folder", "unknown-format", None, "is an empty folder"),
    ("info", "nothing_there", "file-missing", None, "does not exist"),
]


@pytest.mark.parametrize(("verb", "name", "slug", "offset", "words"), BROKEN, ids=lambda v: str(v)[:20])
def test_input_that_cannot_be_read(
    call: Caller, tmp_path: Path, verb: str, name: str, slug: str, offset: range | None, words: str
) -> None:
    make = make_files().get(name)
    if make is not None:
        make(tmp_path / name)
    before = files(tmp_path)
    error = call(verb, name, "--json").error
    assert error["slug"] == slug
    assert error["exit_status"] == 3
    assert error["message"].startswith(name)
    assert words in error["message"]
    if offset is not None:
        assert error["evidence"]["offset"] in offset
    plain = call(verb, name)
    assert plain.status == 3
    assert plain.out == ""
    assert plain.err.startswith(f"error: {name}")
    assert "Traceback" not in plain.err
    assert files(tmp_path) == before


def test_a_damaged_v1_checkpoint_is_not_taken_for_something_else(call: Caller, tmp_path: Path) -> None:
    make_files()["cut_v1"](tmp_path / "cut_v1")
    error = call("vars", "cut_v1", "--json").error
    assert error["exit_status"] == 3
    assert error["message"].startswith("cut_v1")


def test_text_graph_named_pb_works(call: Caller, tmp_path: Path) -> None:
    shutil.copy(FIXTURES / "graph.pbtxt", tmp_path / "g.pb")
    assert [row[0] for row in call("nodes", "g.pb").rows] == ["x", "w", "MatMul", "b", "logits", "y"]


def test_saved_model_is_a_graph_for_looking(call: Caller) -> None:
    assert ["x", "Placeholder", "float32", "?x4", ""] in call("nodes", FIXTURES / "saved_model").rows


@pytest.mark.parametrize("verb", ["nodes", "vars", "cut", "freeze"])
def test_shard_without_its_index(call: Caller, tmp_path: Path, verb: str) -> None:
    name = "model.ckpt-3.data-00000-of-00001"
    shutil.copy(FIXTURES / "training" / name, tmp_path / name)
    more = {"cut": ["--bottleneck", "x", "-o", "out.pb"], "freeze": ["-o", "out.pb"]}.get(verb, [])
    error = call(verb, name, *more, "--json").error
    assert error["slug"] == "incomplete-checkpoint"
    assert error["message"].startswith("model.ckpt-3.index is missing")
    assert error["evidence"]["beside"] == [name]
    assert list(tmp_path.iterdir()) == [tmp_path / name]


def test_index_without_its_shard_still_lists(call: Caller, tmp_path: Path) -> None:
    for name in ("model.ckpt.index", "model.ckpt.data-00000-of-00002"):
        shutil.copy(FIXTURES / "partitioned" / name, tmp_path / name)
    missing = "model.ckpt.data-00001-of-00002"
    done = call("vars", "model.ckpt")
    assert done.status == 0
    assert [row[0] for row in done.rows] == ["embedding/table", "words"]
    assert done.err == f"warning: {missing} is missing, and the values in it cannot be read\n"
    assert call("vars", "model.ckpt", "--json").answer["missing_files"] == [missing]
    failed = [call("vars", "model.ckpt", "--read", name) for name in ("embedding/table", "words")]
    assert [done.status for done in failed].count(3) >= 1
    assert all(missing in done.err for done in failed if done.status)
    info = call("info", "model.ckpt", "--json").answer
    assert info["checkpoint"]["missing_files"] == [missing]


def test_one_flipped_bit_is_found_where_it_is(call: Caller, tmp_path: Path) -> None:
    shutil.copytree(FIXTURES / "training", tmp_path, dirs_exist_ok=True)
    shard = tmp_path / "model.ckpt-3.data-00000-of-00001"
    data = bytearray(shard.read_bytes())
    data[100] ^= 0x10
    shard.write_bytes(data)
    outcomes = {row[0]: call("vars", "model.ckpt-3", "--read", row[0], "--json") for row in call("vars", ".").rows}
    broken = {name: done for name, done in outcomes.items() if done.status}
    assert len(outcomes) == 15
    assert len(broken) == 1
    ((name, done),) = broken.items()
    assert done.error["exit_status"] == 3
    assert done.error["slug"] == "corrupt-file"
    assert done.error["evidence"]["path"] == shard.name
    assert name in done.error["message"]
    first = done.error["evidence"]["offset"]
    size = struct.calcsize("f") * 162
    assert first <= 100 < first + size


# -- names that are not there -------------------------------------------------------------------------------------------

NAMES = [
    (["show", TINY, "pool_3/reshape"], "node-not-found", "pool_3/_reshape"),
    (["cut", TINY, "--bottleneck", "reshape", "-o", "o.pb"], "node-not-found", None),
    (["nodes", TINY, "--inputs", "mul:0[1,2]"], "node-not-found", "Mul"),
    (["info", TINY, "--inputs", "mul:0"], "node-not-found", "Mul"),
    (["vars", FIXTURES / "training", "--read", "weights"], "variable-not-found", "conv/weights"),
    (["vars", FIXTURES / "training", "--read", "conv/wieghts"], "variable-not-found", "conv/weights"),
    (["freeze", FIXTURES / "training", "--outputs", "softmx", "-o", "o.pb"], "node-not-found", "softmax"),
    (["cut", TINY, "--bottleneck", "softmax:7", "-o", "o.pb"], "output-index", "softmax:0"),
    (["cut", TINY, "--bottleneck", "pool_3", "--outputs", "softmax:1", "-o", "o.pb"], "output-index", "softmax:0"),
    (["show", TINY, "softmax:7"], "output-index", "softmax:0"),
    (["nodes", TINY, "--inputs", "Mul:3[1,2]"], "output-index", "Mul:0"),
    (["freeze", FIXTURES / "training", "--outputs", "softmax:7", "-o", "o.pb"], "output-index", "softmax:0"),
    (["graft", TINY, "--bottleneck", "softmax:7", "-o", "o.pb"], "output-index", "softmax:0"),
]


@pytest.mark.parametrize(("words", "slug", "near"), NAMES, ids=lambda v: str(v[-1]) if isinstance(v, list) else None)
def test_name_that_is_not_in_the_file(
    call: Caller, tmp_path: Path, words: list[str], slug: str, near: str | None
) -> None:
    error = call(*words, "--json").error
    assert (error["slug"], error["exit_status"]) == (slug, 2)
    if near is not None:
        assert near in error["evidence"]["near"]
        assert f"`{near}`" in error["hint"]
    assert files(tmp_path) == {}


def test_outputs_that_must_be_chosen(call: Caller, tmp_path: Path) -> None:
    words = ("freeze", FIXTURES / "retrained" / "retrained.ckpt", "-o", "o.pb")
    error = call(*words, "--json").error
    assert (error["slug"], error["exit_status"]) == ("ambiguous-outputs", 2)
    assert error["evidence"]["candidates"] == ["final_result:0", "pool_3/_reshape:0"]
    assert files(tmp_path) == {}
    assert call(*words, "--outputs", error["evidence"]["candidates"][0]).status == 0


# -- word for word ------------------------------------------------------------------------------------------------------

WORD_FOR_WORD = [
    (["info", "absent"], 3, "error: absent does not exist\n"),
    (["info", "tinny.pb"], 3, "error: tinny.pb does not exist\n\nhint: beside it: tiny.pb\n"),
    (
        ["show", "tiny.pb", "pool_3/reshape"],
        2,
        (
            "error: no node named `pool_3/reshape` in tiny.pb (83 nodes)\n\n"
            "hint: did you mean `pool_3/_reshape` or `pool_3/_reshape/shape` or `pool_3`?\n"
        ),
    ),
    (
        ["cut", "tiny.pb", "--bottleneck", "softmax:7", "-o", "o.pb"],
        2,
        "error: node `softmax` (Softmax) has 1 output, so there is no `softmax:7`\n\nhint: did you mean `softmax:0`?\n",
    ),
    (
        ["noodes", "tiny.pb"],
        2,
        "error: no such command `noodes`\n\nhint: did you mean `tfinspect nodes tiny.pb`?\n",
    ),
    (["tiny.pb"], 2, "error: no such command `tiny.pb`\n\nhint: tfinspect info tiny.pb\n"),
    (["frobnicate"], 2, "error: no such command `frobnicate`\n\nhint: tfinspect --help\n"),
    (
        ["nodes", "tiny.pb", "--mach", "x"],
        2,
        "error: no such option `--mach`\n\nhint: did you mean `--match`? all: tfinspect nodes --help\n",
    ),
    (["nodes"], 2, "error: missing argument `GRAPH`\n\nhint: tfinspect nodes --help\n"),
    (
        ["cut", "tiny.pb", "--bottleneck", "pool_3"],
        2,
        "error: missing option `-o` / `--output`\n\nhint: tfinspect cut --help\n",
    ),
    (["cut", "tiny.pb", "-o"], 2, "error: option `-o` requires an argument\n\nhint: tfinspect cut --help\n"),
    (
        ["nodes", "tiny.pb", "--only", "nonsense"],
        2,
        "error: `--only` takes inputs, outputs or bottlenecks, not `nonsense`\n\nhint: tfinspect nodes --help\n",
    ),
    (
        ["export", "tiny.pb", "--onnx", "--opset", "new"],
        2,
        "error: `--opset` takes a whole number, not `new`\n\nhint: tfinspect export --help\n",
    ),
    (
        ["nodes", "tiny.pb", "other.pb"],
        2,
        "error: got unexpected extra argument(s) (other.pb)\n\nhint: tfinspect nodes --help\n",
    ),
    (
        ["cut", "tiny.pb", "--bottleneck", "pool_3", "-o", "tiny.pb"],
        5,
        "error: tiny.pb exists\n\nhint: add --force to replace it, or -o for another name\n",
    ),
    (
        ["cut", "tiny.pb", "--bottleneck", "pool_3", "-o", "no/such/o.pb"],
        5,
        "error: no/such is not a folder\n\nhint: mkdir -p no/such\n",
    ),
    (
        ["nodes", "head.npz"],
        3,
        "error: head.npz is a classifier head (.npz), not a TensorFlow graph\n\nhint: tfinspect info head.npz\n",
    ),
    (
        ["vars", "tiny.pb"],
        3,
        (
            "error: tiny.pb is a frozen graph or graph definition (GraphDef), not a checkpoint\n\n"
            "hint: tfinspect nodes tiny.pb --op Const\n"
        ),
    ),
    (
        ["graft", "--bottleneck", "nowhere", "-o", "o.pb"],
        2,
        (
            "error: no .pb, .pbtxt or .meta file that computes `nowhere:0` in {cwd}\n\n"
            "hint: name the model, before the options\n"
        ),
    ),
    (
        ["export", "tiny.pb"],
        2,
        "error: say what to write: --onnx or --saved-model\n\nhint: tfinspect export tiny.pb --onnx\n",
    ),
]


@pytest.mark.parametrize(
    ("words", "status", "text"), WORD_FOR_WORD, ids=lambda v: " ".join(v) if isinstance(v, list) else ""
)
def test_error_word_for_word(call: Caller, tmp_path: Path, words: list[str], status: int, text: str) -> None:
    shutil.copy(TINY, tmp_path / "tiny.pb")
    shutil.copy(FIXTURES / "head.npz", tmp_path / "head.npz")
    before = files(tmp_path)
    done = call(*words)
    assert done == Done(status, "", text.format(cwd=tmp_path))
    assert files(tmp_path) == before


# -- outputs that cannot be written -------------------------------------------------------------------------------------

WRITERS = [
    ["freeze", FIXTURES / "training", "--outputs", "softmax"],
    ["cut", TINY, "--bottleneck", "pool_3/_reshape"],
    ["graft", TINY, "--bottleneck", "pool_3/_reshape", "--head", FIXTURES / "head.npz"],
]


@pytest.mark.parametrize("words", WRITERS, ids=lambda w: str(w[0]))
def test_nothing_is_overwritten_without_force(call: Caller, tmp_path: Path, words: list[str]) -> None:
    (tmp_path / "out.pb").write_text("precious")
    error = call(*words, "-o", "out.pb", "--json").error
    assert (error["slug"], error["exit_status"]) == ("output-exists", 5)
    assert files(tmp_path) == {"out.pb": b"precious"}
    assert call(*words, "-o", "out.pb", "--force").status == 0
    assert (tmp_path / "out.pb").stat().st_size > 1000


@pytest.mark.parametrize("words", WRITERS, ids=lambda w: str(w[0]))
def test_folder_that_takes_no_files(
    call: Caller, tmp_path: Path, words: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.access

    def access(path: str | Path, mode: int) -> bool:
        return real(path, mode) and not (mode & os.W_OK and Path(path) == Path("sealed"))

    (tmp_path / "sealed").mkdir()
    monkeypatch.setattr("os.access", access)
    error = call(*words, "-o", "sealed/out.pb", "--json").error
    assert (error["slug"], error["exit_status"]) == ("output", 5)
    assert error["message"] == "sealed is not writable"
    assert files(tmp_path) == {}


def test_place_that_takes_no_files_even_from_root(call: Caller) -> None:
    error = call(*WRITERS[1], "-o", "/proc/self/out.pb", "--json").error
    assert (error["slug"], error["exit_status"]) == ("output", 5)
    assert "/proc/self" in error["message"]


# -- hints --------------------------------------------------------------------------------------------------------------


def command_in(hint: str) -> list[str] | None:
    """The command that a hint or `next:` names, as a shell would split it."""
    found = re.search(r"tfinspect (?!COMMAND)[a-z].*|tfinspect --help", hint.replace("`", "").removesuffix("?"))
    return None if found is None else shlex.split(found[0])[1:]


HINTED = [
    ["my models/tiny.pb"],
    ["vars", "my models/tiny.pb"],
    ["nodes", "my models/head.npz"],
    ["nodes", "my models/step.index"],
    ["cut", "my models/tiny.pb", "--bottleneck", "mixed/conv", "-o", "o.pb"],
    ["export", "my models/tiny.pb"],
    ["nodes"],
    ["noodes", "my models/tiny.pb", "--op", "Conv2D"],
    ["nodes", "my models/tiny.pb", "--frob"],
    ["vars", "my models/head.npz"],
    ["cut", "my models/step.index", "--bottleneck", "x", "-o", "o.pb"],
    ["freeze", "my models/step.index", "-o", "o.pb"],
]


@pytest.mark.parametrize("words", HINTED, ids=" ".join)
def test_command_in_a_hint_works_as_typed(call: Caller, tmp_path: Path, words: list[str]) -> None:
    folder = tmp_path / "my models"
    folder.mkdir()
    shutil.copy(TINY, folder / "tiny.pb")
    shutil.copy(FIXTURES / "head.npz", folder / "head.npz")
    for suffix in (".index", ".data-00000-of-00001"):
        shutil.copy(FIXTURES / "training" / f"model.ckpt-3{suffix}", folder / f"step{suffix}")
    done = call(*words)
    assert done.status > 1
    hint = done.err.rpartition("hint: ")[2].splitlines()[0]
    command = command_in(hint)
    assert command is not None, done.err
    again = call(*command)
    assert again.status == 0, (hint, again.err)


NEXT = [
    "inception_tiny.pb",
    "inception_scaled.pb",
    "scrambled.pb",
    "graph.pbtxt",
    "training",
    "training_v1",
    "training/model.ckpt-3.meta",
    "retrained/retrained.ckpt.meta",
    "partitioned",
    "saved_model",
]
NEXT_ZOO = [
    "frozen_pb/retrained_mobilenet_poets",
    "frozen_pb/kws",
    "frozen_pb/foolnltk",
    "meta_only",
    "ckpt_v2_nometa",
    "savedmodel_tf1/tf_half_plus_two",
    "ckpt_v1/steering_angle_matched/model.ckpt",
]


@pytest.mark.parametrize("name", NEXT)
def test_next_command_of_info_works_as_typed(call: Caller, tmp_path: Path, name: str) -> None:
    place = tmp_path / "a b"
    shutil.copytree(FIXTURES, place, ignore=shutil.ignore_patterns("*.py"))
    follow(call, str(place / name))
    assert {p.name for p in tmp_path.iterdir()} <= {"a b", "trunk.pb", "frozen.pb", "connected.pb"}


@pytest.mark.skipif(not ZOO.exists(), reason="the collection of real models is not beside the repository")
@pytest.mark.parametrize("name", NEXT_ZOO)
def test_next_command_of_info_works_on_real_models(call: Caller, tmp_path: Path, name: str) -> None:
    place = ZOO / name
    models = [place] if place.is_file() or (place / "saved_model.pb").exists() else sorted(place.rglob("*"))
    kinds = {".pb", ".pbtxt", ".meta", ".index", ".ckpt", ""}
    chosen = [p for p in models if (p.is_file() and p.suffix in kinds and p.name != "checkpoint") or p == place]
    assert chosen
    for model in chosen[:3]:
        follow(call, str(model))
        for made in tmp_path.iterdir():
            made.unlink()


def follow(call: Caller, path: str) -> None:
    told = call("info", path, "--json")
    assert told.status == 0, told.err
    command = told.answer["next"]
    assert command is not None
    words = shlex.split(command)
    assert words[0] == "tfinspect"
    if words[1] == "export":
        words.append("--help")  # starts TensorFlow, and has its own tests
    done = call(*words[1:])
    assert done.status == 0, (command, done.err)


# -- bugs ---------------------------------------------------------------------------------------------------------------


def test_a_bug_is_one_line_and_debug_shows_where(call: Caller, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object, **__: object) -> None:
        raise ZeroDivisionError("a\nb")

    monkeypatch.setattr("tfinspect.api.listing.nodes", broken)
    done = call("nodes", TINY)
    assert done.status == 70
    assert re.fullmatch(
        r"error: a bug in tfinspect: ZeroDivisionError: a \(test_cli_bad_input\.py:\d+\)\n\n"
        r"hint: add --debug for the traceback, and report it\n",
        done.err,
    )
    for words in (("nodes", TINY, "--debug"), ("--debug", "nodes", TINY)):
        done = call(*words)
        assert done.status == 70
        assert done.err.startswith("Traceback")
    assert call("nodes", TINY, "--json").error["exit_status"] == 70


def test_debug_shows_where_a_foreseen_error_comes_from(call: Caller, monkeypatch: pytest.MonkeyPatch) -> None:
    done = call("info", "nothing", "--debug")
    assert done.status == 3
    assert done.err.startswith("Traceback")
    assert done.err.endswith("error: nothing does not exist\n")
    monkeypatch.setenv("TFINSPECT_DEBUG", "1")
    assert call("info", "nothing").err.startswith("Traceback")


def test_interrupt_and_lack_of_memory(call: Caller, monkeypatch: pytest.MonkeyPatch) -> None:
    def raising(error: type[BaseException]) -> Callable[..., None]:
        def raise_it(*_: object, **__: object) -> None:
            raise error

        return raise_it

    monkeypatch.setattr("tfinspect.api.listing.nodes", raising(KeyboardInterrupt))
    assert call("nodes", TINY).status == 130
    monkeypatch.setattr("tfinspect.api.listing.nodes", raising(MemoryError))
    done = call("nodes", TINY)
    assert (done.status, done.err) == (4, "error: out of memory\n")
