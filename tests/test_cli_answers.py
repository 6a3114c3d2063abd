"""What each command answers: on a terminal, in a pipe, and as JSON."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

from tests.cli_calls import FIXTURES, ROOT, Caller, Stream
from tfinspect.cli.render import format_nbytes, json_values
from tfinspect.cli.terminal import Terminal, shorten, widths_that_fit
from tfinspect.formats import graphdef
from tfinspect.ir.attrs import Attr
from tfinspect.ir.dtypes import DType
from tfinspect.ir.graph import Graph, Node, placeholder

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def call(monkeypatch: pytest.MonkeyPatch) -> Caller:
    return Caller(monkeypatch)


NODES = """\
NAME                       OP      DTYPE    SHAPE       INPUTS
conv/Conv2D                Conv2D  float32  1x37x37x8   Mul, conv/conv2d_params
conv_1/Conv2D              Conv2D  float32  1x35x35x8   conv, conv_...v2d_params
mixed/conv/Conv2D          Conv2D  float32  1x17x17x8   pool, mixed...v2d_params
mixed/tower/conv/Conv2D    Conv2D  float32  1x17x17x6   pool, mixed...v2d_params
mixed/tower/conv_1/Conv2D  Conv2D  float32  1x17x17x12  mixed/tower...v2d_params
mixed/tower_1/conv/Conv2D  Conv2D  float32  1x17x17x12  mixed/tower...v2d_params
"""
VARS = """\
NAME                                     DTYPE    SHAPE     SIZE  ROLE
conv/beta/ExponentialMovingAverage       float32  6         24 B  slot
conv/beta/Momentum                       float32  6         24 B  slot
conv/weights/ExponentialMovingAverage    float32  3x3x3x6  648 B  slot
conv/weights/Momentum                    float32  3x3x3x6  648 B  slot
logits/biases/ExponentialMovingAverage   float32  5         20 B  slot
logits/biases/Momentum                   float32  5         20 B  slot
logits/weights/ExponentialMovingAverage  float32  6x5      120 B  slot
logits/weights/Momentum                  float32  6x5      120 B  slot
"""
INFO = """\
frozen graph or graph definition (GraphDef), 16.2 KiB, producer 8
  83 nodes, 19 ops, 0 variables, 39 constants (8.3 KiB, 2,128 parameters)
  input       DecodeJpeg/contents:0  string scalar
                a constant meant to be fed: the bytes that DecodeJpeg reads
  output      softmax:0  float32 1x8   probabilities
  bottleneck  pool_3/_reshape:0  float32 1x32
"""
SHOW = """\
softmax/logits/MatMul  MatMul  float32 1x8
  input       pool_3/_reshape:0  float32 1x32
  input       softmax/weights:0  float32 32x8
  attr        T = float32
  consumer    softmax/logits  takes softmax/logits/MatMul
"""


def test_nodes_on_a_terminal(call: Caller) -> None:
    done = call("nodes", "inception_tiny.pb", "--op", "Conv2D", tty=True)
    assert (done.status, done.out, done.err) == (0, NODES, "6 nodes\n")


def test_vars_on_a_terminal(call: Caller) -> None:
    done = call("vars", "training", "--role", "slot", tty=True)
    assert (done.status, done.out, done.err) == (0, VARS, "8 variables, 1.6 KiB (8 slot)\n")


def test_info_on_a_terminal(call: Caller) -> None:
    done = call("info", "inception_tiny.pb", tty=True)
    assert done.status == 0
    assert done.out.startswith(INFO)
    assert "  old op      BatchNormWithGlobalNormalization x6\n" in done.out
    assert done.out.endswith("\nnext: tfinspect cut inception_tiny.pb --bottleneck pool_3/_reshape:0 -o trunk.pb\n")
    assert done.err == ""


def test_show_on_a_terminal(call: Caller) -> None:
    done = call("show", "inception_tiny.pb", "softmax/logits/MatMul", tty=True)
    assert (done.status, done.out, done.err) == (0, SHOW, "")


def test_help_alone_and_version(call: Caller) -> None:
    alone, asked, version = call(), call("--help"), call("--version")
    assert (alone.status, asked.status, version.status) == (0, 0, 0)
    assert alone.out == asked.out
    assert alone.out.startswith("Look inside TensorFlow models")
    assert max(map(len, alone.out.splitlines())) <= 80
    assert version.out.startswith("tfinspect ")


def test_pipe_gets_full_values_with_tabs_and_no_header(call: Caller) -> None:
    done = call("nodes", "inception_tiny.pb", "--op", "Conv2D")
    assert done.rows[4] == [
        "mixed/tower/conv_1/Conv2D",
        "Conv2D",
        "float32",
        "1x17x17x12",
        "mixed/tower/conv, mixed/tower/conv_1/conv2d_params",
    ]
    assert done.err == ""
    done = call("vars", "training", "--match", "conv/w*")
    assert done.out.splitlines()[0] == "conv/weights\tfloat32\t3x3x3x6\t648\tweight"


def test_description_in_a_pipe_has_one_fact_a_line(call: Caller) -> None:
    rows = call("info", "inception_tiny.pb").rows
    assert rows[:3] == [["format", "graphdef"], ["nbytes", "16614"], ["producer", "8"]]
    about = "a constant meant to be fed: the bytes that DecodeJpeg reads"
    assert ["input", "DecodeJpeg/contents:0", "string", "scalar", about] in rows
    assert ["bottleneck", "pool_3/_reshape:0", "float32", "1x32"] in [row[:4] for row in rows]
    assert rows[-1] == ["next", "tfinspect cut inception_tiny.pb --bottleneck pool_3/_reshape:0 -o trunk.pb"]
    assert not any(row[0] == "next" for row in call("info", "inception_tiny.pb", "-q").rows)
    assert call("show", "inception_tiny.pb", "softmax/logits/MatMul").rows == [
        ["node", "softmax/logits/MatMul", "MatMul", "float32", "1x8"],
        ["input", "pool_3/_reshape:0", "float32", "1x32"],
        ["input", "softmax/weights:0", "float32", "32x8"],
        ["attr", "T", "float32"],
        ["consumer", "softmax/logits", "softmax/logits/MatMul"],
    ]


def test_changes_say_what_they_wrote(call: Caller, tmp_path: Path) -> None:
    done = call("cut", "inception_tiny.pb", "--bottleneck", "pool_3/_reshape", "-o", tmp_path / "t.pb", tty=True)
    assert done.out == "  input    DecodeJpeg/contents:0  string scalar\n  output   pool_3/_reshape:0  float32 1x32\n"
    assert done.err == f"wrote {tmp_path / 't.pb'} (78 nodes)\n"
    piped = call("cut", "inception_tiny.pb", "--bottleneck", "pool_3/_reshape", "-o", tmp_path / "u.pb", "-q")
    assert piped.rows == [
        ["DecodeJpeg/contents:0", "input", "string", "scalar"],
        ["pool_3/_reshape:0", "output", "float32", "1x32"],
    ]
    assert piped.err == ""
    dry = call("cut", "inception_tiny.pb", "--bottleneck", "pool_3/_reshape", "-o", tmp_path / "v.pb", "-n")
    assert dry.err == f"would write {tmp_path / 'v.pb'} (78 nodes)\n"
    assert not (tmp_path / "v.pb").exists()


def test_empty_list_is_no_error(call: Caller) -> None:
    done = call("nodes", "inception_tiny.pb", "--op", "LSTMBlockCell")
    assert (done.status, done.out, done.err) == (0, "", "0 nodes\n")
    done = call("vars", "training", "--match", "nothing*", tty=True)
    assert (done.status, done.out, done.err) == (0, "", "0 variables, 0 B\n")


def test_quiet_and_verbose(call: Caller) -> None:
    assert call("nodes", "graph.pbtxt", tty=True, columns=120).err == "6 nodes\n"
    assert call("nodes", "graph.pbtxt", "-q", tty=True, columns=120).err == ""
    assert call("nodes", "graph.pbtxt", "-v").err == "6 nodes\n"
    short, long = call("info", "inception_tiny.pb", tty=True), call("info", "inception_tiny.pb", "-v", tty=True)
    assert "and 1 more, with --verbose" in short.out
    assert long.out.count("  bottleneck  ") == short.out.count("  bottleneck  ") + 1


# -- JSON ---------------------------------------------------------------------------------------------------------------


def is_end(value: dict[str, Any]) -> bool:
    """{key, name, dtype, shape}, perhaps with more."""
    return (
        list(value)[:4] == ["key", "name", "dtype", "shape"]
        and (value["key"] is None or isinstance(value["key"], str))
        and value["name"].rpartition(":")[2].isdigit()
        and (value["dtype"] is None or isinstance(value["dtype"], str))
        and is_shape(value["shape"])
    )


def is_shape(value: object) -> bool:
    return value is None or (isinstance(value, list) and all(d is None or isinstance(d, int) for d in value))


def keys_are_snake_case(value: object) -> bool:
    if isinstance(value, dict):
        return all(k == k.lower() and "-" not in k and " " not in k for k in value)
    return True


def test_json_nodes(call: Caller) -> None:
    answer = call("nodes", "inception_tiny.pb", "--json").answer
    assert list(answer) == ["schema", "nodes"]
    assert answer["schema"] == "tfinspect/nodes/1"
    assert len(answer["nodes"]) == 83
    for node in answer["nodes"]:
        assert list(node) == ["name", "op", "inputs", "control_inputs", "dtype", "shape"]
        assert is_shape(node["shape"])
        assert all(ref.rpartition(":")[2].isdigit() for ref in node["inputs"])
    by_name = {node["name"]: node for node in answer["nodes"]}
    assert by_name["conv/control_dependency"] == {
        "name": "conv/control_dependency",
        "op": "Identity",
        "inputs": ["conv/batchnorm:0"],
        "control_inputs": ["conv/CheckNumerics"],
        "dtype": "float32",
        "shape": [1, 37, 37, 8],
    }
    assert by_name["DecodeJpeg"]["shape"] == [None, None, 3]
    assert by_name["DecodeJpeg/contents"]["shape"] == []


def test_json_vars(call: Caller) -> None:
    answer = call("vars", "training", "--json").answer
    assert answer["schema"] == "tfinspect/vars/1"
    assert answer["missing_files"] == []
    assert {
        "name": "conv/weights",
        "dtype": "float32",
        "shape": [3, 3, 3, 6],
        "nbytes": 648,
        "role": "weight",
        "label": None,
        "serves": None,
    } in answer["variables"]
    assert {v["role"] for v in answer["variables"]} == {"weight", "slot", "step"}
    value = call("vars", "training", "--read", "global_step", "--json").answer
    assert value == {"schema": "tfinspect/value/1", "name": "global_step", "dtype": "int64", "shape": [], "value": 3}
    words = call("vars", "partitioned", "--read", "words", "--json").answer
    assert words["value"] == ["daisy", "", "tulips"]


def test_one_value(call: Caller) -> None:
    assert call("vars", "training", "--read", "global_step").out == "3\n"
    full = call("vars", "training", "--read", "conv/weights").out
    assert len(full.replace("[", " ").replace("]", " ").split()) == 162
    assert call("vars", "partitioned", "--read", "words").out == "[b'daisy' b'' b'tulips']\n"
    refused = call("vars", "training", "--read", "global_step", "--role", "step")
    assert refused.status == 2


def test_values_as_json() -> None:
    import ml_dtypes
    import numpy as np

    assert json_values(np.array([[1, 2]], "i8")) == [[1, 2]]
    assert json_values(np.array([1 + 2j], "c8")) == [[1.0, 2.0]]
    assert json_values(np.array([b"a", b"\xff"], object)) == ["a", "\\xff"]
    assert json_values(np.array(0.5, ml_dtypes.bfloat16)) == 0.5
    assert json_values(np.array([True])) == [True]


@pytest.mark.parametrize(
    ("path", "format_", "inputs", "outputs"),
    [
        ("inception_tiny.pb", "graphdef", ["DecodeJpeg/contents:0"], ["softmax:0"]),
        ("graph.pbtxt", "graphdef_text", ["x:0"], ["y:0"]),
        ("training", "checkpoint_v2", ["queue_Dequeue:0"], ["softmax:0"]),
        ("training_v1/model.ckpt-3", "checkpoint_v1", ["queue_Dequeue:0"], ["softmax:0"]),
        ("training/model.ckpt-3.meta", "metagraph", ["queue_Dequeue:0"], ["softmax:0"]),
        ("saved_model", "saved_model", ["x:0"], ["y:0"]),
        ("dense.onnx", "onnx", ["x:0"], ["y:0"]),
        ("branches.tflite", "tflite", ["x:0"], ["y:0"]),
        ("head.npz", "head_npz", [], []),
    ],
)
def test_json_info(call: Caller, path: str, format_: str, inputs: list[str] | None, outputs: list[str] | None) -> None:
    answer = call("info", path, "--json").answer
    assert answer["schema"] == "tfinspect/info/1"
    assert answer["format"] == format_
    assert answer["nbytes"] > 0
    for key in ("inputs", "outputs", "bottlenecks"):
        assert all(map(is_end, answer[key]))
    if inputs is not None:
        assert [end["name"] for end in answer["inputs"]] == inputs
        assert [end["name"] for end in answer["outputs"]] == outputs
    assert keys_are_snake_case({k: v for k, v in answer.items() if k != "ops"})
    assert (answer["next"] is None) == (format_ == "head_npz")


def test_json_info_says_more_where_there_is_more(call: Caller) -> None:
    tiny = call("info", "inception_tiny.pb", "--json").answer
    assert tiny["bottlenecks"][0]["name"] == "pool_3/_reshape:0"
    assert tiny["bottlenecks"][0]["width"] == 32
    assert "runs through" in tiny["bottlenecks"][0]["reason"]
    assert tiny["inputs"][0]["kind"] == "bytes"
    assert tiny["parameters"] == 2128
    assert tiny["old_ops"] == [{"op": "BatchNormWithGlobalNormalization", "count": 6, "refused_since": 9}]
    assert [b["op"] for b in tiny["blockers"]] == ["DecodeJpeg"]
    saved = call("info", "saved_model", "--json").answer
    assert saved["inputs"][0]["key"] == "x"
    assert saved["tags"] == ["serve"]
    assert saved["signatures"]["serving_default"]["outputs"][0]["name"] == "y:0"
    head = call("info", "head.npz", "--json").answer["head"]
    assert (head["features"], head["classes"]) == (32, 5)
    onnx = call("info", "dense.onnx", "--json").answer
    assert onnx["inputs"][0]["shape"] == [None, 4]
    flags = call("info", "training", "--json").answer["flags"]
    assert {f["name"]: f["value"] for f in flags} == {"is_training:0": False, "keep_prob:0": 1.0}


@pytest.mark.parametrize(
    ("verb", "words"),
    [
        ("freeze", ["training", "--outputs", "softmax"]),
        ("cut", ["inception_tiny.pb", "--bottleneck", "pool_3/_reshape"]),
        (
            "graft",
            ["inception_tiny.pb", "--bottleneck", "pool_3/_reshape", "--head", "head.npz", "--labels", "labels.txt"],
        ),
    ],
)
def test_json_changes(call: Caller, tmp_path: Path, verb: str, words: list[str]) -> None:
    output = tmp_path / "out.pb"
    done = call(verb, *words, "-o", output, "--json")
    answer = done.answer
    assert done.err == ""
    assert answer["schema"] == f"tfinspect/{verb}/1"
    assert answer["output"] == str(output)
    assert answer["written"] is True
    assert answer["inputs"]
    assert answer["outputs"]
    for end in (*answer["inputs"], *answer["outputs"]):
        assert is_end(end)
        assert len(end) == 4
    assert output.stat().st_size > 0
    assert answer["node_count"] == len(graphdef.read(output))


def test_json_show(call: Caller) -> None:
    answer = call("show", "inception_tiny.pb", "Sub/y", "--json").answer
    assert answer["schema"] == "tfinspect/show/1"
    assert answer["attrs"]["value"] == {"kind": "tensor", "value": {"dtype": "float32", "shape": [], "first": [128.0]}}
    assert answer["consumers"] == [{"node": "Sub", "input": "Sub/y"}]


def test_json_is_strict_even_over_nan() -> None:
    out = Stream(tty=False)
    Terminal(json_mode=True, stdout=out, stderr=out).json("x/1", {"a": [float("nan"), 1.5], "b": {"c": float("-inf")}})
    assert out.getvalue() == '{"schema": "tfinspect/x/1", "a": ["nan", 1.5], "b": {"c": "-inf"}}\n'


# -- the terminal -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("columns", [40, 60, 80, 200])
def test_tables_fit_the_terminal(call: Caller, columns: int) -> None:
    done = call("nodes", "inception_tiny.pb", tty=True, columns=columns)
    lines = done.out.splitlines()
    assert len(lines) == 84
    assert max(map(len, lines)) <= columns
    assert ("too narrow for" in done.err) == (columns <= 60)


def test_sizes() -> None:
    sizes = [format_nbytes(n) for n in (0, 1023, 1024, 1536, 1 << 20, (1 << 30) - 1, 5 << 50, 5 << 60)]
    assert sizes == ["0 B", "1023 B", "1.0 KiB", "1.5 KiB", "1.0 MiB", "1.0 GiB", "5.0 PiB", "5120.0 PiB"]


def test_widths_that_fit() -> None:
    assert widths_that_fit([10, 5, 8], [4, 4, 4], 100) == [10, 5, 8]
    assert widths_that_fit([100, 5, 30], [4, 4, 4], 45) == [20, 5, 20]
    assert widths_that_fit([100, 5, 30], [24, 4, 4], 45) == [24, 5, 16]
    assert widths_that_fit([100, 50], [24, 8], 10) == [24, 8]
    assert widths_that_fit([], [], 10) == []
    assert shorten("abcdefghij", 7) == "ab...ij"
    assert shorten("abc", 3) == "abc"


def test_colour_only_where_it_is_wanted(call: Caller, monkeypatch: pytest.MonkeyPatch) -> None:
    words = ("nodes", "inception_tiny.pb", "--op", "Relu")
    assert "\x1b" not in call(*words, tty=True).out
    monkeypatch.delenv("NO_COLOR")
    monkeypatch.setenv("TERM", "xterm")
    assert call(*words, tty=True).out.startswith("\x1b[2mNAME")
    assert "\x1b" not in call(*words).out
    assert "\x1b[31;1merror:" in call("info", "nothing", tty=True).err
    monkeypatch.setenv("TERM", "dumb")
    assert "\x1b" not in call(*words, tty=True).out


@pytest.fixture
def hostile(tmp_path: Path) -> Path:
    """A graph whose names try to write to the terminal."""
    names = ["a\nb", "c\x1b[31md", "e\u202ef", "g\th", "i\u200bj", "k\rl", "m\x9bn"]
    nodes = [Node("x", "Placeholder", (), placeholder("x", DType.FLOAT, (1, 2)).attrs)]
    nodes += [Node(name, "Relu", ("x",), {"T": Attr.of(DType.FLOAT)}, device="\x1b]0;title\x07") for name in names]
    graphdef.write(Graph(nodes), tmp_path / "hostile.pb")
    return tmp_path / "hostile.pb"


@pytest.mark.parametrize("tty", [False, True])
def test_text_from_files_is_escaped(call: Caller, hostile: Path, *, tty: bool) -> None:
    done = call("nodes", hostile, tty=tty)
    assert len(done.out.splitlines()) == 8 + tty
    for shown in ("a\\nb", "c\\x1b[31md", "e\\u202ef", "g\\th", "i\\u200bj", "k\\rl", "m\\x9bn"):
        assert shown in done.out
    for words in (("info", hostile), ("show", hostile, "c\x1b[31md"), ("show", hostile, "x")):
        done = call(*words, tty=tty)
        assert done.status == 0
        assert done.out.replace("\n", "").replace("\t", "").isprintable()
    error = call("show", hostile, "c\x1b[31mz", tty=tty)
    assert error.status == 2
    assert error.err.replace("\n", "").isprintable()
    assert "`c\\x1b[31md`" in error.err


def test_wide_details_of_an_error_are_wrapped(call: Caller, tmp_path: Path) -> None:
    words = ("cut", "inception_tiny.pb", "--bottleneck", "mixed/conv", "-o", tmp_path / "x.pb")
    done = call(*words, tty=True)
    assert done.status == 4
    message, *evidence, _, hint = done.err.splitlines()
    assert "leaks" in message
    assert len(evidence) > 1
    assert max(map(len, evidence)) <= 80
    assert hint.endswith("tfinspect nodes inception_tiny.pb --only bottlenecks")  # a command is never broken
    assert len(call(*words).err.splitlines()) == 4


# -- pipes --------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def big(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("big") / "big.pb"
    nodes = [placeholder("x", DType.FLOAT, (1,))]
    nodes += [Node(f"scope/of/a/node/{i}", "NoOp", ("^x",)) for i in range(20_000)]
    graphdef.write(Graph(nodes), path)
    return path


@pytest.mark.parametrize("extra", [[], ["--json"]])
def test_reader_that_has_enough_is_no_failure(big: Path, extra: list[str]) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "tfinspect", "nodes", str(big), *extra],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=ROOT,
    )  # fmt: skip
    assert process.stdout is not None
    assert process.stderr is not None
    assert process.stdout.read(10)
    process.stdout.close()
    assert process.stderr.read() == b""
    assert process.wait(60) == 0
    process.stderr.close()


def test_closed_stdout_is_no_failure() -> None:
    command = f"'{sys.executable}' -m tfinspect nodes '{FIXTURES / 'graph.pbtxt'}' >&-"
    done = subprocess.run(["sh", "-c", command], check=False, capture_output=True, text=True, cwd=ROOT)
    assert (done.returncode, done.stderr) == (0, "")


def test_letters_the_terminal_does_not_know(tmp_path: Path) -> None:
    graphdef.write(Graph([Node("blüte", "NoOp")]), tmp_path / "g.pb")
    environment = {**os.environ, "PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"}
    done = subprocess.run(
        [sys.executable, "-m", "tfinspect", "nodes", str(tmp_path / "g.pb")],
        check=False, capture_output=True, text=True, cwd=ROOT, env=environment,
    )  # fmt: skip
    assert done.returncode == 0
    assert done.stdout.startswith("bl\\xfcte\tNoOp")
