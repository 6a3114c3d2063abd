"""Freezing through functions, without TensorFlow: what changes together, and what is refused, word for word."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.graph_models import ZOO, needs_zoo
from tfinspect import api
from tfinspect.api.freeze import freeze, freeze_model
from tfinspect.errors import (
    AmbiguousOutputsError,
    InputError,
    LimitError,
    SurgeryError,
    TfinspectError,
    UnrestoredVariablesError,
)
from tfinspect.formats import graphdef
from tfinspect.ir.attrs import Attr, AttrList, FuncRef
from tfinspect.ir.checkpoint import Checkpoint, VariableInfo, describe
from tfinspect.ir.dtypes import DType
from tfinspect.ir.functions import Function, FunctionBody
from tfinspect.ir.graph import Graph, Node, const, placeholder
from tfinspect.ir.refs import TensorRef
from tfinspect.ir.tensors import Tensor
from tfinspect.surgery._bodies import MAX_NODES
from tfinspect.surgery.at_load import Asset, AtLoad
from tfinspect.surgery.fold_variables import fold_variables
from tfinspect.surgery.inline_functions import inline_functions

FIXTURES = Path(__file__).parent.parent / "fixtures"
F, INT, R = (Attr.of(dtype) for dtype in (DType.FLOAT, DType.INT32, DType.RESOURCE))
W = np.arange(6, dtype=np.float32).reshape(2, 3)
Y = [TensorRef("y")]


def types(*found: DType) -> Attr:
    return Attr.of(AttrList("type", found))


def ref(name: str) -> Attr:
    return Attr.of(FuncRef(name, {}))


def function(
    name: str, args: dict[str, DType], nodes: list[Node], results: dict[str, str], out: DType = DType.FLOAT
) -> Function:
    outputs = tuple((key, DType.INT32 if key.startswith("i_") else DType.RESOURCE if key.startswith("h_") else out)
                    for key in results)  # fmt: skip
    body = FunctionBody(tuple(args.items()), outputs, tuple(nodes), results)
    return Function(name, lambda: body)


def variable(name: str, dtype: DType = DType.FLOAT) -> Node:
    return Node(name, "VarHandleOp", (), {"dtype": Attr.of(dtype), "shape": Attr.of_shape((2, 3))})


def checkpoint(**arrays: Any) -> Checkpoint:
    values = {name: np.asarray(value) for name, value in arrays.items()}
    infos = {n: VariableInfo(n, DType.from_numpy(v.dtype), v.shape, v.nbytes) for n, v in values.items()}
    return Checkpoint("model.ckpt-7", "checkpoint_v2", infos, lambda name: Tensor.of(values[name]))


def read(name: str = "read", handle: str = "h", dtype: DType = DType.FLOAT) -> Node:
    return Node(name, "ReadVariableOp", (handle,), {"dtype": Attr.of(dtype)})


def reader(name: str, dtype: DType = DType.FLOAT) -> Function:
    nodes = [read(dtype=dtype), Node("back", "Cast", ("read:value:0",), {"SrcT": Attr.of(dtype), "DstT": F})]
    return function(name, {"x": DType.FLOAT, "h": DType.RESOURCE}, nodes, {"out": "back:y:0"})


def choice(*inputs: str, then: str = "reads", other: str = "reads", **attrs: Attr) -> Node:
    made = {
        "Tcond": Attr.of(DType.BOOL),
        "Tin": types(DType.FLOAT, DType.RESOURCE),
        "Tout": types(DType.FLOAT),
        "then_branch": ref(then),
        "else_branch": ref(other),
    }
    return Node("y", "If", inputs, made | attrs)


def branching(*functions: Function, node: Node | None = None, more: tuple[Node, ...] = ()) -> Graph:
    nodes = [placeholder("go", DType.BOOL, ()), placeholder("x", DType.FLOAT, (2, 3)), variable("w"), *more]
    return Graph([*nodes, node or choice("go", "x", "w")], functions={each.name: each for each in functions})


def looping(body: Function, *others: Function, **attrs: Attr) -> Graph:
    args = {"i": DType.INT32, "h": DType.RESOURCE}
    cond = function(
        "cond", args, [const("n", Tensor.of(3, DType.INT32)), Node("less", "Less", ("i", "n:output:0"), {"T": INT})],
        {"go": "less:z:0"}, DType.BOOL,
    )  # fmt: skip
    made = {"T": types(DType.INT32, DType.RESOURCE), "cond": ref("cond"), "body": ref("body")}
    nodes = [
        const("zero", Tensor.of(0, DType.INT32)),
        variable("w"),
        Node("loop", "While", ("zero", "w"), made | attrs),
        Node("value", "ReadVariableOp", ("loop:1",), {"dtype": F}),
        Node("y", "Identity", ("value",), {"T": F}),
    ]
    return Graph(nodes, functions={each.name: each for each in (body, cond, *others)})


def step(*nodes: Node, handle: str = "h") -> Function:
    args = {"i": DType.INT32, "h": DType.RESOURCE}
    made = [const("one", Tensor.of(1, DType.INT32)), Node("next", "AddV2", ("i", "one:output:0"), {"T": INT}), *nodes]
    return function("body", args, made, {"i_out": "next:z:0", "h_out": handle})


# --- what changes together -----------------------------------------------------------------------------------------


def test_types_of_a_loop_its_condition_and_its_body_change_together() -> None:
    shapes = Attr.of(AttrList("shape", ((), ())))
    graph = looping(step(), output_shapes=shapes, _lower_using_switch_merge=Attr.of(value=True))
    frozen, _ = fold_variables(graph, checkpoint(w=W), Y)
    loop = frozen.node("loop")
    assert loop.value("T") == (DType.INT32, DType.FLOAT)
    assert loop.value("output_shapes") == ((), (2, 3))
    assert "_lower_using_switch_merge" not in loop.attrs
    assert loop.value("body").name == "body_frozen"
    assert set(frozen.functions) == {"body_frozen", "cond_frozen"}
    body, cond = frozen.functions["body_frozen"].body, frozen.functions["cond_frozen"].body
    assert body.args == (("i", DType.INT32), ("h", DType.FLOAT))
    assert body.outputs == (("i_out", DType.INT32), ("h_out", DType.FLOAT))
    assert cond.args == body.args
    assert cond.outputs == (("go", DType.BOOL),)
    assert frozen.node("value").op == "Identity"
    assert frozen.node("w").op == "Const"


def test_callers_with_variables_of_other_types_get_other_copies_and_those_of_one_type_share_one() -> None:
    def call(name: str, handle: str) -> Node:
        return Node(name, "If", ("go", "x", handle), choice().attrs)

    both = function(
        "reads",
        {"x": DType.FLOAT, "h": DType.RESOURCE},
        [
            Node("size", "VariableShape", ("h",), {"out_type": INT}),
            Node("f", "Cast", ("size:output:0",), {"SrcT": INT}),
        ],
        {"out": "f:y:0"},
    )
    more = (variable("v"), variable("d", DType.DOUBLE), call("a", "w"), call("b", "v"), call("c", "d"))
    node = Node("y", "AddN", ("a", "b", "c"), {"N": Attr.of(3), "T": F})
    frozen, _ = fold_variables(branching(both, node=node, more=more), checkpoint(w=W, v=W, d=W.astype("f8")), Y)
    names = [frozen.node(name).value("then_branch").name for name in "abc"]
    assert names[0] == names[1] != names[2]
    assert set(frozen.functions) == {"reads_frozen", "reads_frozen_1"}
    assert frozen.functions[names[0]].body.args[1] == ("h", DType.FLOAT)
    assert frozen.functions[names[2]].body.args[1] == ("h", DType.DOUBLE)
    assert frozen.node("c").value("Tin") == (DType.FLOAT, DType.DOUBLE)
    shape = frozen.functions[names[2]].body.nodes[0]
    assert (shape.op, shape.dtype("T"), shape.dtype("out_type")) == ("Shape", DType.DOUBLE, DType.INT32)


def test_reads_in_a_body_take_their_plain_form_and_what_takes_them_follows() -> None:
    nodes = [
        Node("same", "Identity", ("h",), {"T": R, "_output_shapes": Attr.of(AttrList("shape", ((),)))}),
        read(handle="same:output:0"),
        Node("rows", "ResourceGather", ("h", "zero:output:0"), {"dtype": F, "Tindices": INT}),
        const("zero", Tensor.of([0], DType.INT32)),
        Node("known", "VarIsInitializedOp", ("h", "^copied"), {}),
        Node("copied", "DisableCopyOnRead", ("h",), {}),
        Node("sum", "AddV2", ("read:value:0", "rows:output:0", "^known", "^copied"), {"T": F}),
        Node("lost", "Neg", ("sum:z:0",), {"T": F}),
    ]
    reads = function("reads", {"x": DType.FLOAT, "h": DType.RESOURCE}, nodes, {"out": "sum:z:0"})
    frozen, _ = fold_variables(branching(reads), checkpoint(w=W), Y)
    found = {node.name: node for node in frozen.functions["reads_frozen"].body.nodes}
    assert {name: node.op for name, node in found.items()} == {
        "same": "Identity", "read": "Identity", "rows/axis": "Const", "rows": "GatherV2", "zero": "Const",
        "known": "Const", "sum": "AddV2",
    }  # fmt: skip
    assert found["same"].dtype() == DType.FLOAT
    assert "_output_shapes" not in found["same"].attrs
    assert found["rows"].inputs == ("h", "zero:output:0", "rows/axis:output:0")
    assert found["sum"].inputs == ("read:output:0", "rows:output:0", "^known")


def test_calls_in_a_body_are_replaced_by_what_they_call() -> None:
    call = Node("call", "StatefulPartitionedCall", ("x", "h", "^first"), {"f": ref("inner")})
    named = Node("named", "inner", ("call:output:0", "h"), {})
    outer = function(
        "reads", {"x": DType.FLOAT, "h": DType.RESOURCE},
        [Node("first", "NoOp"), call, named, Node("last", "Neg", ("named:out:0", "^call"), {"T": F})],
        {"out": "last:y:0"},
    )  # fmt: skip
    frozen, _ = fold_variables(branching(outer, reader("inner")), checkpoint(w=W), Y)
    assert set(frozen.functions) == {"reads_frozen"}
    found = {node.name: node for node in frozen.functions["reads_frozen"].body.nodes}
    assert set(found) == {"call/read", "call/back", "named/read", "named/back", "last", "first"} - {"first"}
    assert found["last"].inputs == ("named/back:y:0", "^call/back")


def test_an_output_of_a_list_in_a_body_is_counted() -> None:
    parse = {
        "num_sparse": Attr.of(2),
        "sparse_types": types(DType.INT64, DType.STRING),
        "Tdense": types(DType.FLOAT, DType.FLOAT),
        "ragged_value_types": types(),
        "ragged_split_types": types(),
    }
    nodes = [
        Node("parse", "ParseExampleV2", ("x",), parse),
        Node("sum", "AddN", ("parse:dense_values:1", "parse:sparse_shapes:0"), {"T": F}),
    ]
    graph = Graph(
        [
            placeholder("x", DType.STRING, ()),
            Node("y", "PartitionedCall", ("x",), {"f": ref("f"), "Tout": types(DType.FLOAT)}),
        ],
        functions={"f": function("f", {"x": DType.STRING}, nodes, {"out": "sum:sum:0"})},
    )
    assert inline_functions(graph, Y).node("y/sum").inputs == ("y/parse:7", "y/parse:4")
    parse["num_sparse"] = Attr.of("two")
    with pytest.raises(
        SurgeryError, match=r"which output of `parse` \(ParseExampleV2\) `parse:dense_values:1` is cannot"
    ):
        inline_functions(graph, Y)


def test_a_frozen_library_is_read_back_as_it_was_written(tmp_path: Path) -> None:
    frozen, _ = fold_variables(branching(reader("reads")), checkpoint(w=W), Y)
    graphdef.write(frozen, tmp_path / "f.pb")
    again = graphdef.read(tmp_path / "f.pb")
    assert again.functions["reads_frozen"].body.args == (("x", DType.FLOAT), ("h", DType.FLOAT))
    assert [node.op for node in again.functions["reads_frozen"].body.nodes] == ["Identity", "Cast"]


# --- what is refused -----------------------------------------------------------------------------------------------

ARGS = {"x": DType.FLOAT, "h": DType.RESOURCE}
UPDATE = Node("update", "AssignAddVariableOp", ("h", "x"), {"dtype": F})
REFUSED = {
    "an update in a loop": (
        looping(step(Node("update", "AssignVariableOp", ("h", "i")))),
        "cannot freeze: the loop `loop` (While) changes a variable: `update` (AssignVariableOp) in the function `body`",
    ),
    "an update in what a loop calls": (
        looping(
            step(Node("call", "PartitionedCall", ("h", "h"), {"f": ref("inner")})),
            function("inner", ARGS, [UPDATE], {"out": "x"}),
        ),
        "cannot freeze: the loop `loop` (While) changes a variable: `update` (AssignAddVariableOp) in the function `inner`",
    ),
    "a loop that gives back another handle": (
        looping(step(Node("other", "FIFOQueueV2"), handle="other:handle:0")),
        "cannot freeze: the function `body` gives a handle as its result `h_out`, which is not the one it was given there",
    ),
    "a branch that gives a handle": (
        branching(function("reads", ARGS, [], {"out": "h"})),
        "cannot freeze: the function `reads` gives a handle as its result `out`, which is not the one it was given there",
    ),
    "a handle where it cannot be followed": (
        branching(function("reads", ARGS, [Node("odd", "RngReadAndSkip", ("h",))], {"out": "odd:value:0"})),
        ("cannot freeze: in the function `reads`, the handle `h` goes into `odd` (RngReadAndSkip), where it cannot be "
        "followed"),
    ),
    "a result that is an update": (
        branching(function("reads", ARGS, [Node("up", "ResourceCountUpTo", ("h",))], {"out": "up:output:0"})),
        ("cannot freeze: a result of the function `reads` depends on `up` (ResourceCountUpTo), which changes a variable at "
        "every run"),
    ),
    "a read after an update": (
        branching(
            function("reads", ARGS, [UPDATE, read().replace(inputs=("h", "^update"))], {"out": "read:value:0"})
        ),
        ("cannot freeze: `read` (ReadVariableOp) in the function `reads` reads `h` after `update` (AssignAddVariableOp) has "
        "changed it, and no checkpoint holds that value"),
    ),
    "too few arguments": (
        branching(function("reads", {"h": DType.RESOURCE}, [read()], {"out": "read:value:0"})),
        "`y` (If) gives 2 inputs to the function `reads`, which takes 1",
    ),
    "types of fewer inputs": (
        branching(reader("reads"), node=choice("go", "x", "w", Tin=types(DType.FLOAT))),
        "`y` (If) takes 2 inputs and has the types of 1",
    ),
    "shapes of fewer outputs": (
        looping(step(), output_shapes=Attr.of(AttrList("shape", ((),)))),
        "`loop` (While) has 2 outputs and the shapes of 1",
    ),
    "a function that is not there": (
        branching(reader("reads"), node=choice("go", "x", "w", other="nowhere")),
        "`y` (If) calls the function `nowhere`, which is not in the library",
    ),
    "a choice by a handle": (
        branching(reader("reads"), node=choice("w", "x", "w")),
        "cannot freeze `w`: its handle goes into `y` (If), where it cannot be followed",
    ),
    "a node that is not there": (
        branching(function("reads", ARGS, [read()], {"out": "nothing:y:0"})),
        "in the function `reads`, its results take `nothing`, which is not in it",
    ),
    "an input that is not there": (
        branching(function("reads", ARGS, [Node("n", "Neg", ("gone:y:0",))], {"out": "n:y:0"})),
        "in the function `reads`, the inputs of `n` take `gone`, which is not in it",
    ),
    "two nodes of one name": (
        branching(function("reads", ARGS, [read(), read()], {"out": "read:value:0"})),
        "two nodes or arguments of the function `reads` have one name",
    ),
    "a variable made in a function": (
        branching(function("reads", ARGS, [variable("own"), read(handle="own:resource:0")], {"out": "read:value:0"})),
        "cannot freeze: the function `reads_frozen` makes the variable `own` (VarHandleOp) itself",
    ),
    "a table that nothing fills": (
        branching(reader("reads"), node=Node("y", "LookupTableSizeV2", ("t",)), more=(Node("t", "HashTableV2"),)),
        "cannot freeze: the outputs need `t` (HashTableV2), and nothing in the model says what it holds",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_refused_is_named(name: str) -> None:
    graph, message = REFUSED[name]
    with pytest.raises(SurgeryError) as caught:
        fold_variables(graph, checkpoint(w=W), Y)
    assert caught.value.message == message


def test_a_function_that_calls_itself_through_a_branch_is_refused() -> None:
    again = function("reads", ARGS, [choice("x", "x", "h")], {"out": "y:output:0"})
    with pytest.raises(LimitError, match="the function `reads` calls itself, which no frozen graph can hold") as caught:
        fold_variables(branching(again), checkpoint(w=W), Y)
    assert caught.value.details == ("reads -> reads",)


def test_functions_that_double_one_another_do_not_take_all_memory() -> None:
    library = {}
    for level in range(64):
        calls = [Node(f"c{k}", "PartitionedCall", ("x",), {"f": ref(f"f{level + 1}")}) for k in range(2)]
        total = Node("sum", "AddV2", ("c0:output:0", "c1:output:0"), {"T": F})
        library[f"f{level}"] = function(f"f{level}", {"x": DType.FLOAT}, [*calls, total], {"out": "sum:z:0"})
    library["f64"] = function("f64", {"x": DType.FLOAT}, [Node("n", "Neg", ("x",), {"T": F})], {"out": "n:y:0"})
    call = Node("y", "PartitionedCall", ("x",), {"f": ref("f0"), "Tout": types(DType.FLOAT)})
    with pytest.raises(LimitError, match=f"takes more than {MAX_NODES:,} nodes"):
        inline_functions(Graph([placeholder("x", DType.FLOAT, ()), call], functions=library), Y)


def test_a_long_chain_of_functions_is_no_problem() -> None:
    library = {
        f"f{k}": function(
            f"f{k}",
            {"x": DType.FLOAT},
            [Node("c", "PartitionedCall", ("x",), {"f": ref(f"f{k + 1}")})],
            {"o": "c:output:0"},
        )
        for k in range(300)
    }
    library["f300"] = function("f300", {"x": DType.FLOAT}, [Node("n", "Neg", ("x",), {"T": F})], {"out": "n:y:0"})
    call = Node("y", "PartitionedCall", ("x",), {"f": ref("f0"), "Tout": types(DType.FLOAT)})
    flat = inline_functions(Graph([placeholder("x", DType.FLOAT, ()), call], functions=library), Y)
    assert [node.op for node in flat.nodes] == ["Placeholder", "Neg", "Identity"]


# --- tables, files, values set at load -----------------------------------------------------------------------------


def table_graph(kind: str = "HashTableV2", **attrs: Attr) -> Graph:
    of = {"key_dtype": Attr.of(DType.STRING), "value_dtype": Attr.of(DType.INT64)}
    fill = {"vocab_size": Attr.of(-1), "key_index": Attr.of(-2), "value_index": Attr.of(-1), "delimiter": Attr.of("\t")}
    suffix = "V2" if kind.endswith("V2") else ""
    return Graph(
        [
            placeholder("x", DType.STRING, (None,)),
            Node("path", "Placeholder", (), {"dtype": Attr.of(DType.STRING)}),
            Node("t", kind, (), of | {"shared_name": Attr.of("t")}),
            Node("fill", f"InitializeTableFromTextFile{suffix}", ("t", "path"), fill | attrs),
            const("none", Tensor.of(-1, DType.INT64)),
            Node(
                "y", f"LookupTableFind{suffix}", ("t", "x", "none"), {"Tin": of["key_dtype"], "Tout": of["value_dtype"]}
            ),
        ]
    )


def loading(content: bytes) -> AtLoad:
    return AtLoad((), {"path": Asset("words.txt", lambda: content)})


@pytest.mark.parametrize("kind", ["HashTable", "HashTableV2"])
def test_a_table_is_filled_in_the_graph_from_constants_that_hold_its_file(kind: str) -> None:
    frozen, report = fold_variables(table_graph(kind), checkpoint(), Y, load=loading(b"one\r\ntwo words\nthree"))
    assert [node.op for node in frozen.nodes] == [
        "Placeholder", "HashTableV2", "Const", "Const", "InitializeTableV2", "Const", "LookupTableFindV2", "Identity",
    ]  # fmt: skip
    assert frozen.node("y").inputs == ("t/filled", "x", "none")
    assert frozen.node("t/filled").inputs == ("t", "^fill")
    assert frozen.node("fill").inputs == ("t", "t/keys", "t/values")
    keys, values = frozen.node("t/keys").tensor(), frozen.node("t/values").tensor()
    assert keys is not None
    assert values is not None
    assert keys.numpy().tolist() == [b"one", b"two words", b"three"]
    assert (values.dtype, values.numpy().tolist()) == (DType.INT64, [0, 1, 2])
    assert report.notes == ("words.txt is in the graph: 3 entries of the table `t`",)


@pytest.mark.parametrize(
    ("content", "attrs", "message"),
    [
        (b"one\n\ntwo\n", {}, "line 2 of the asset words.txt is empty, which no table can hold"),
        (b"", {}, "the asset words.txt is empty, and the table that `fill` fills cannot be"),
        (b"one\n", {"vocab_size": 2}, "the asset words.txt has 1 lines, and `fill` wants 2"),
        (b"one\n", {"value_index": 1}, "line 1 of the asset words.txt has no int64 where `fill` wants one"),
        (b"a\t1_0\n", {"value_index": 1}, "line 1 of the asset words.txt has no int64 where `fill` wants one"),
        (b"a\t1\n", {"value_index": -3}, "line 1 of the asset words.txt has no int64 where `fill` wants one"),
        (b"a\t99999999999999999999\n", {"value_index": 1}, "the asset words.txt holds numbers too large for int64"),
    ],
)
def test_a_file_that_fills_no_table(content: bytes, attrs: dict[str, int], message: str) -> None:
    graph = table_graph(**{name: Attr.of(value) for name, value in attrs.items()})
    with pytest.raises(InputError) as caught:
        fold_variables(graph, checkpoint(), Y, load=loading(content))
    assert caught.value.message == message


def test_a_vocabulary_that_is_cut_short_starts_counting_elsewhere_and_repeats_itself() -> None:
    graph = table_graph(vocab_size=Attr.of(2), offset=Attr.of(10))
    frozen, _ = fold_variables(graph, checkpoint(), Y, load=loading(b"a\nb\nc\n"))
    values = frozen.node("t/values").tensor()
    assert values is not None
    assert values.numpy().tolist() == [10, 11]
    graph = table_graph(value_index=Attr.of(1))
    frozen, report = fold_variables(graph, checkpoint(), Y, load=loading(b"a\t1\na\t1\nb\t2\n"))
    assert report.notes == ("words.txt is in the graph: 2 entries of the table `t`",)


def test_a_file_that_is_read_is_a_constant_and_any_other_use_of_its_path_is_refused() -> None:
    path = Node("path", "Placeholder", (), {"dtype": Attr.of(DType.STRING)})
    frozen, _ = fold_variables(
        Graph([path, Node("y", "ReadFile", ("path",))]), checkpoint(), Y, load=loading(b"content")
    )
    assert [(node.name, node.op) for node in frozen.nodes] == [("y", "Const")]
    value = frozen.node("y").tensor()
    assert value is not None
    assert value.numpy().tolist() == b"content"
    odd = Graph([path, Node("y", "StringLength", ("path",))])
    with pytest.raises(SurgeryError, match=r"`y` takes the path of the asset words\.txt, which no frozen graph has"):
        fold_variables(odd, checkpoint(), Y, load=loading(b""))


def test_a_variable_that_loading_sets_has_that_value_and_no_other_initial_value_counts() -> None:
    nodes = [
        Node("total", "VariableV2", (), {"dtype": F, "shape": Attr.of_shape(())}),
        const("zero", Tensor.of(0.0, DType.FLOAT)),
        Node("set", "Assign", ("total", "zero"), {"T": F}),
        Node("init", "NoOp", ("^set",)),
        Node("y", "Neg", ("total",), {"T": F}),
    ]
    frozen, report = fold_variables(Graph(nodes), checkpoint(), Y, load=AtLoad(("init",)))
    assert {node.name: node.op for node in frozen.nodes} == {"total": "Identity", "zero": "Const", "y": "Neg"}
    assert report.restored == {}
    assert report.notes == ("`total` is no weight: it has the value that loading gives it",)
    with pytest.raises(UnrestoredVariablesError, match="needs 1 variable"):
        fold_variables(Graph(nodes), checkpoint(), Y)


# --- keys of objects -----------------------------------------------------------------------------------------------

VALUE = "/.ATTRIBUTES/VARIABLE_VALUE"


def objects(**labels: str) -> Checkpoint:
    names = [name.replace("__", "/") + VALUE for name in labels]
    roles = describe((name, DType.FLOAT, (2, 3)) for name in names)
    infos = {
        name: VariableInfo(name, DType.FLOAT, (2, 3), 24, roles[name][0], 0, label)
        for name, label in zip(names, labels.values(), strict=True)
    }
    return Checkpoint("ckpt-1", "checkpoint_v2", infos, lambda _: Tensor.of(W))


def restoring(*keys: str) -> tuple[Graph, Any]:
    from tests.test_freeze import saved
    from tfinspect.ir.model import Saver

    names = [f"v{k}" for k in range(len(keys))]
    nodes = [variable(name).replace(op="VariableV2") for name in names]
    total = Node("y", "AddN", tuple(names), {"N": Attr.of(len(keys)), "T": F})
    restore = saved([key + VALUE for key in keys], ["" for _ in keys], names)
    return Graph([*nodes, *restore, total]), Saver("save/restore_all")


@pytest.mark.parametrize(
    ("keys", "held", "found"),
    [
        (("w", "in/b"), {"net__w": "", "net__in__b": "", "step": ""}, ("net/w", "net/in/b")),
        (("net/w", "net/in/b"), {"w": "", "in__b": ""}, ("w", "in/b")),
        (("w", "b"), {"x__w": "v0", "z__b": "v1"}, ("x/w", "z/b")),
    ],
)
def test_keys_under_another_path(keys: tuple[str, ...], held: dict[str, str], found: tuple[str, ...]) -> None:
    graph, saver = restoring(*keys)
    _, report = fold_variables(graph, objects(**held), Y, saver=saver)
    assert report.restored == {f"v{k}": key + VALUE for k, key in enumerate(found)}


@pytest.mark.parametrize("held", [{"a__w": "", "b__w": ""}, {"a__w": "v0", "b__w": "v0"}])
def test_a_path_that_could_be_two_is_not_guessed(held: dict[str, str]) -> None:
    graph, saver = restoring("w")
    with pytest.raises(UnrestoredVariablesError):
        fold_variables(graph, objects(**held), Y, saver=saver)


# --- files ---------------------------------------------------------------------------------------------------------


def test_a_model_with_several_signatures_says_what_each_gives(tmp_path: Path) -> None:
    del tmp_path
    model = api.load.open_graph(FIXTURES / "tf2_saved_model")
    without = {f"{name}_1": one for name, one in model.signatures.items() if not name.startswith("__")}
    from dataclasses import replace

    with pytest.raises(AmbiguousOutputsError, match="has 2 signatures, and none is called serving_default") as caught:
        freeze_model(replace(model, signatures=without))
    assert "StatefulPartitionedCall:0  float32 scalar  `scaled` of scale_1" in caught.value.details


@needs_zoo
def test_real_models_freeze_or_say_why() -> None:
    tfdf = ZOO / "savedmodel_tf2/tfdf_adult_rf/saved_model_adult_rf"
    with pytest.raises(SurgeryError, match="is filled from files when the model is loaded"):
        freeze_model(tfdf)
    tft = freeze_model(ZOO / "savedmodel_tf1/tfx_chicago_taxi_models/tft_saved_model")
    assert len(tft.notes) == 2
    assert all(" entries of the table `" in note for note in tft.notes)
    metrics = freeze_model(ZOO / "savedmodel_tf1/tfx_chicago_taxi_models/tfma_saved_model")
    assert sum("no weight" in note for note in metrics.notes) == 19
    assert metrics.report.restored


@settings(deadline=None, max_examples=60)
@given(data=st.data())
def test_damage_is_refused_as_such(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    content = bytearray((FIXTURES / "tf2_saved_model" / "saved_model.pb").read_bytes())
    for _ in range(data.draw(st.integers(1, 3))):
        content[data.draw(st.integers(0, len(content) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    if data.draw(st.booleans()):
        del content[data.draw(st.integers(0, len(content) - 1)) :]
    folder = tmp_path_factory.mktemp("damaged")
    (folder / "saved_model.pb").write_bytes(content)
    for name in ("variables", "assets"):
        (folder / name).symlink_to(FIXTURES / "tf2_saved_model" / name, target_is_directory=True)
    try:  # whatever else is raised fails the test
        frozen = freeze(folder, FIXTURES / "tf2_saved_model" / "variables", outputs=["StatefulPartitionedCall_1:1"])
    except TfinspectError:
        pass
    else:
        assert b"".join(map(bytes, graphdef.encode(frozen)))
