"""`nodes` and `show` in the bodies of library functions."""

from __future__ import annotations

import json
import subprocess
import sys
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from tests.cli_calls import ZOO, Caller
from tfinspect import formats
from tfinspect.api import listing
from tfinspect.cli import complete
from tfinspect.errors import NameNotFoundError, NodeNotFoundError, TfinspectError
from tfinspect.formats import graphdef
from tfinspect.formats._schema import message_class
from tfinspect.formats._wire import Cursor
from tfinspect.ir.graph import Graph

if TYPE_CHECKING:
    from pathlib import Path

FLOAT, INT32 = 1, 3
needs_zoo = pytest.mark.skipif(not ZOO.exists(), reason="the collection of real models is not beside the repository")


@pytest.fixture
def call(monkeypatch: pytest.MonkeyPatch) -> Caller:
    return Caller(monkeypatch)


def node(target: Any, name: str, op: str, *inputs: str, **types: int) -> Any:
    made = target.add(name=name, op=op, input=inputs)
    for key, value in types.items():
        made.attr[key].type = value
    return made


def function(graph: Any, name: str, arguments: dict[str, int], results: dict[str, str]) -> Any:
    made = graph.library.function.add()
    made.signature.name = name
    for index, (argument, dtype) in enumerate(arguments.items()):
        made.signature.input_arg.add(name=argument, type=dtype)
        made.arg_attr[index].attr["_output_shapes"].list.shape.add().dim.add(size=8)
    for result, tensor in results.items():
        made.signature.output_arg.add(name=result, type=FLOAT)
        made.ret[result] = tensor
    return made


def message() -> Any:
    """A graph with a function `inner` that `outer` calls, one that calls itself, and one of any type."""
    graph = message_class("GraphDef")()
    graph.versions.producer = 27
    node(graph.node, "x", "Placeholder", dtype=FLOAT)
    node(graph.node, "top/MatMul", "MatMul", "x", "x", T=FLOAT)
    node(graph.node, "call", "outer", "x")
    inner = function(graph, "inner", {"a": FLOAT, "b": FLOAT}, {"sum": "dense/add:z:0", "mean": "stats:batch_mean:0"})
    node(inner.node_def, "dense/MatMul", "MatMul", "a", "b", T=FLOAT)
    node(inner.node_def, "dense/add", "AddV2", "a", "b", "^dense/MatMul", T=FLOAT)
    node(inner.node_def, "stats", "FusedBatchNormV3", "a", "b", "b", "b", "b", T=FLOAT, U=FLOAT)
    outer = function(graph, "outer", {"x": FLOAT}, {"inner": "inner:mean:0"})
    node(outer.node_def, "inner", "inner", "x", "x")
    node(outer.node_def, "two", "Neg", "inner:mean:0", T=FLOAT)
    again = function(graph, "again", {"x": FLOAT}, {"y": "again:y:0"})
    node(again.node_def, "again", "again", "x")
    any_type = function(graph, "any", {}, {})
    any_type.signature.input_arg.add(name="t", type_attr="T")
    any_type.signature.output_arg.add(name="u", type_attr="T")
    any_type.ret["u"] = "same:output:0"
    node(any_type.node_def, "same", "Identity", "t").attr["T"].placeholder = "T"
    return graph


@pytest.fixture
def model(tmp_path: Path) -> Path:
    path = tmp_path / "functions.pb"
    path.write_bytes(message().SerializeToString())
    return path


INNER = [
    ["a", "_Arg", "float32", "8", ""],
    ["b", "_Arg", "float32", "8", ""],
    ["dense/MatMul", "MatMul", "float32", "?x?", "a, b"],
    ["dense/add", "AddV2", "float32", "8", "a, b, ^dense/MatMul"],
    ["stats", "FusedBatchNormV3", "float32", "8", "a, b, b, b, b"],
    ["sum", "_Retval", "float32", "8", "dense/add:z:0"],
    ["mean", "_Retval", "float32", "8", "stats:batch_mean:0"],
]


def test_a_body_is_listed_as_the_file_writes_it(call: Caller, model: Path) -> None:
    assert call("nodes", model, "--function", "inner").rows == INNER
    assert call("nodes", model, "--function", "outer").rows == [
        ["x", "_Arg", "float32", "8", ""],
        ["inner", "inner", "float32", "?", "x, x"],
        ["two", "Neg", "float32", "?", "inner:mean:0"],
        ["inner", "_Retval", "float32", "?", "inner:mean:0"],
    ]
    assert call("nodes", model, "--function", "any").rows == [
        ["t", "_Arg", "?", "?", ""],
        ["same", "Identity", "?", "?", "t"],
        ["u", "_Retval", "?", "?", "same:output:0"],
    ]
    assert call("nodes", model, "--function", "again").rows[1] == ["again", "again", "float32", "?", "x"]


def test_filters_hold_in_bodies(call: Caller, model: Path) -> None:
    assert call("nodes", model, "--function", "inner", "--op", "MatMul").rows == [INNER[2]]
    assert call("nodes", model, "--function", "inner", "--scope", "dense").rows == INNER[2:4]
    assert call("nodes", model, "--function", "inner", "--match", "*a*").rows == [*INNER[:1], *INNER[2:5], INNER[6]]
    assert call("nodes", model, "--function", "inner", "--only", "inputs").rows == INNER[:2]
    assert call("nodes", model, "--function", "inner", "--only", "outputs").rows == INNER[5:]
    every = call("nodes", model, "--all", "--op", "MatMul").rows
    assert [(row[0], row[5]) for row in every] == [("top/MatMul", ""), ("dense/MatMul", "inner")]


def test_all_bodies_name_their_function_last(call: Caller, model: Path) -> None:
    rows = call("nodes", model, "--all").rows
    assert [row[0] for row in rows[:3]] == ["x", "top/MatMul", "call"]
    assert {len(row) for row in rows} == {6}
    assert [row[:5] for row in rows if row[5] == "inner"] == INNER
    assert list(dict.fromkeys(row[5] for row in rows)) == ["", "inner", "outer", "again", "any"]
    answer = call("nodes", model, "--all", "--json").answer
    assert answer["schema"] == "tfinspect/nodes/1"
    assert [n["function"] for n in answer["nodes"]] == [row[5] or None for row in rows]
    assert answer["nodes"][1]["inputs"] == ["x:0", "x:0"]
    assert call("nodes", model, "--function", "inner", "--json").answer["nodes"][3] == {
        "name": "dense/add",
        "op": "AddV2",
        "inputs": ["a", "b"],
        "control_inputs": ["dense/MatMul"],
        "dtype": "float32",
        "shape": [8],
        "function": "inner",
    }
    assert "function" not in call("nodes", model, "--json").answer["nodes"][0]


def test_a_terminal_gets_a_heading_for_each_function(call: Caller, model: Path) -> None:
    done = call("nodes", model, "--all", tty=True, columns=120)
    lines = done.out.splitlines()
    assert [line for line in lines if line.startswith("function ")] == [
        "function inner",
        "function outer",
        "function again",
        "function any",
    ]
    assert lines[0].split() == ["NAME", "OP", "DTYPE", "SHAPE", "INPUTS"]
    assert lines[lines.index("function inner") - 1] == ""
    assert done.err == "20 nodes\n"
    no_library = call("nodes", "graph.pbtxt", "--all", tty=True, columns=120)
    assert no_library.out == call("nodes", "graph.pbtxt", tty=True, columns=120).out


def test_what_does_not_fit_together_is_refused(call: Caller, model: Path) -> None:
    for words, text in (
        (("--function", "inner", "--all"), "`--function` lists one function and `--all` every one"),
        (("--all", "--only", "inputs"), "`--only` looks for the ends of one graph"),
        (("--function", "inner", "--only", "bottlenecks"), "bottlenecks are looked for in the main graph"),
        (("--function", "inner", "--inputs", "x:0[8]"), "`--inputs` gives shapes to the main graph"),
    ):
        done = call("nodes", model, *words)
        assert (done.status, done.out) == (2, "")
        assert text in done.err


def test_near_names_of_functions(call: Caller, model: Path) -> None:
    done = call("nodes", model, "--function", "iner", "--json")
    assert done.status == 2
    assert done.error["slug"] == "name-not-found"
    assert done.error["message"] == f"no function named `iner` in {model} (4 functions)"
    assert done.error["evidence"]["near"] == ["inner"]
    assert call("show", model, "x", "--function", "iner").status == 2
    assert "no function named `f` in graph.pbtxt (0 functions)" in call("nodes", "graph.pbtxt", "--function", "f").err


def test_show_in_a_body(call: Caller, model: Path) -> None:
    assert call("show", model, "dense/add", "--function", "inner").rows == [
        ["node", "dense/add", "AddV2", "float32", "8"],
        ["input", "a", "float32", "8"],
        ["input", "b", "float32", "8"],
        ["after", "dense/MatMul"],
        ["attr", "T", "float32"],
        ["consumer", "sum", "dense/add:z:0"],
    ]
    assert call("show", model, "b", "--function", "inner").rows == [
        ["node", "b", "_Arg", "float32", "8"],
        ["consumer", "dense/MatMul", "b"],
        ["consumer", "dense/add", "b"],
        *[["consumer", "stats", "b"]] * 4,
    ]
    mean = [["node", "mean", "_Retval", "float32", "8"], ["input", "stats:batch_mean:0", "float32", "8"]]
    assert call("show", model, "mean", "--function", "inner").rows == mean
    # a tensor as the body writes it stands for its node; a node goes before a result of its name
    assert call("show", model, "dense/add:z:0", "--function", "inner").rows[0][1] == "dense/add"
    assert call("show", model, "inner", "--function", "outer").rows[0] == ["node", "inner", "inner", "float32", "?"]
    answer = call("show", model, "same", "--function", "any", "--json").answer
    assert answer["attrs"] == {"T": {"kind": "placeholder", "value": "T"}}
    assert (answer["function"], answer["consumers"]) == ("any", [{"node": "u", "input": "same:output:0"}])
    missing = call("show", model, "dense/ad", "--function", "inner", "--json").error
    assert missing["message"] == "no node named `dense/ad` in function `inner` (7 nodes)"
    assert missing["evidence"]["near"][0] == "dense/add"


def test_names_are_looked_up_where_they_are_asked_for(model: Path) -> None:
    with pytest.raises(NodeNotFoundError, match="no node named `dense/add`"):
        listing.show(model, "dense/add")
    with pytest.raises(NameNotFoundError):
        listing.nodes(model, function="dense/add")
    assert listing.function_names(model) == ["inner", "outer", "again", "any"]


def test_functions_are_completed(model: Path) -> None:
    context: Any = SimpleNamespace(params={"graph": str(model)})
    assert complete.functions(context, "") == ["again", "any", "inner", "outer"]
    assert complete.functions(context, "a") == ["again", "any"]
    nothing: Any = SimpleNamespace(params={"graph": str(model.parent / "none.pb")})
    assert complete.functions(nothing, "") == []


def test_hostile_bodies_give_an_answer() -> None:
    graph = message_class("GraphDef")()
    node(graph.node, "n", "NoOp")
    loops = function(graph, "loops", {"x": FLOAT}, {"y": "b:output:0", "z": "nowhere:output:3", "w": "a::", "v": ""})
    node(loops.node_def, "a", "Identity", "b:output:0", T=FLOAT)
    node(loops.node_def, "b", "Identity", "a:output:0", T=FLOAT)
    node(loops.node_def, "b", "Neg", "x:0", "^", "", ":", "b:y:99999999999999999999", T=FLOAT)
    node(loops.node_def, "x", "Neg", "missing", T=FLOAT)
    node(loops.node_def, "", "", "")
    data = graph.SerializeToString()
    found = graphdef.decode(Cursor(memoryview(data), "g.pb"), 0, len(data))
    rows = list(listing.nodes(found, function="loops"))
    assert [row.name for row in rows] == ["x", "a", "b", "b", "x", "", "y", "z", "w", "v"]
    assert all(row.shape is None or isinstance(row.shape, tuple) for row in rows)
    for row in rows:
        if row.name:
            assert listing.show(found, row.name, function="loops").row.name == row.name


def test_calls_in_a_circle_and_a_deep_chain_end() -> None:
    graph = message_class("GraphDef")()
    node(graph.node, "n", "f0")
    for i in range(2000):
        made = function(graph, f"f{i}", {"x": FLOAT}, {"y": "call:y:0"})
        node(made.node_def, "call", f"f{(i + 1) % 2000}", "x")
    data = graph.SerializeToString()
    found = graphdef.decode(Cursor(memoryview(data), "g.pb"), 0, len(data))
    assert len(list(listing.nodes(found, everywhere=True))) == 1 + 3 * 2000


def test_a_constant_that_claims_more_than_a_file_holds(call: Caller, tmp_path: Path) -> None:
    graph = message_class("GraphDef")()
    big = node(graph.node, "big", "Const", dtype=FLOAT)
    big.attr["value"].tensor.dtype = FLOAT
    big.attr["value"].tensor.tensor_shape.dim.add(size=1 << 32)
    path = tmp_path / "splat.pb"
    path.write_bytes(graph.SerializeToString())
    done = call("show", path, "big")
    assert (done.status, done.err) == (0, "")
    assert done.rows[2] == ["attr", "value", "float32 4294967296, 17,179,869,184 bytes, which no file holds"]
    value = call("show", path, "big", "--json").answer["attrs"]["value"]["value"]
    assert value == {"dtype": "float32", "shape": [4294967296], "first": None}


def test_a_broken_constant_shows_an_error_and_nothing_else(call: Caller, tmp_path: Path) -> None:
    graph = message_class("GraphDef")()
    bad = node(graph.node, "bad", "Const", dtype=INT32)
    bad.attr["value"].tensor.dtype = INT32
    bad.attr["value"].tensor.tensor_shape.dim.add(size=3)
    bad.attr["value"].tensor.tensor_content = b"1234"
    path = tmp_path / "bad.pb"
    path.write_bytes(graph.SerializeToString())
    for tty in (False, True):
        done = call("show", path, "bad", tty=tty)
        assert (done.status, done.out) == (3, "")
        assert "attribute `value` of `bad` is int32 of shape [3], 12 bytes, but its tensor_content has 4" in done.err


# -- against TensorFlow's own messages ----------------------------------------------------------------------------------

ORACLE = """
import json, sys
from google.protobuf import text_format
from tensorflow.core.framework import graph_pb2
from tensorflow.core.protobuf import saved_model_pb2
for path in sys.argv[1:]:
    if path.endswith(".pbtxt"):
        try:
            graph = text_format.Parse(open(path).read(), graph_pb2.GraphDef())
        except text_format.ParseError:
            print(json.dumps({"path": path, "refused": True}))
            continue
    else:
        graph = saved_model_pb2.SavedModel.FromString(open(path, "rb").read()).meta_graphs[0].graph_def
    functions = [
        {
            "name": f.signature.name,
            "arguments": [[a.name, a.type] for a in f.signature.input_arg],
            "nodes": [[n.name, n.op, list(n.input)] for n in f.node_def],
            "results": [[a.name, f.ret[a.name]] for a in f.signature.output_arg],
        }
        for f in graph.library.function
    ]
    print(json.dumps({"path": path, "main": [[n.name, n.op, list(n.input)] for n in graph.node], "functions": functions}))
"""


def library_models() -> list[Path]:
    return sorted([*ZOO.glob("savedmodel_tf2/**/saved_model.pb"), *ZOO.glob("pbtxt/**/*.pbtxt")])


@needs_zoo
@pytest.mark.tensorflow
def test_bodies_are_those_that_tensorflow_reads() -> None:
    paths = library_models()
    assert len(paths) > 10
    done = subprocess.run([sys.executable, "-c", ORACLE, *map(str, paths)], capture_output=True, text=True, check=True)
    bodies = 0
    for line in done.stdout.splitlines():
        expected = json.loads(line)
        if "refused" in expected:
            with pytest.raises(TfinspectError):
                formats.open_model(expected["path"])
            continue
        graph = formats.open_model(expected["path"]).graph
        assert isinstance(graph, Graph)
        every = list(listing.nodes(graph, everywhere=True))
        main = [[row.name, row.op, list(row.inputs)] for row in every if row.function == ""]
        assert main == expected["main"], expected["path"]
        assert listing.function_names(graph) == [f["name"] for f in expected["functions"]]
        for wanted in expected["functions"]:
            rows = list(listing.nodes(graph, function=wanted["name"]))
            assert rows == [row for row in every if row.function == wanted["name"]]
            count, total = len(wanted["arguments"]), len(wanted["arguments"]) + len(wanted["nodes"])
            assert [[row.name, int(row.dtype or 0)] for row in rows[:count]] == [
                [name, dtype % 100] for name, dtype in wanted["arguments"]
            ]
            assert all(row.op == "_Arg" for row in rows[:count])
            assert [[row.name, row.op, list(row.inputs)] for row in rows[count:total]] == wanted["nodes"]
            assert [[row.name, row.inputs[0]] for row in rows[total:]] == wanted["results"]
            assert all(row.op == "_Retval" for row in rows[total:])
            bodies += 1
    assert bodies > 100
