"""Which functions of the library a signature runs."""

from __future__ import annotations

from pathlib import Path

from tests.graph_models import ZOO, needs_zoo
from tfinspect import formats
from tfinspect.formats._schema import message_class
from tfinspect.ir.attrs import Attr, AttrList, FuncRef
from tfinspect.ir.functions import Function, FunctionBody
from tfinspect.ir.graph import Graph, Node
from tfinspect.ir.refs import TensorRef
from tfinspect.surgery.reached_functions import functions_of_signatures, reached_functions

FIXTURES = Path(__file__).parent.parent / "fixtures"


def function(name: str, *nodes: Node) -> Function:
    return Function(name, lambda: FunctionBody((), (), nodes, {}))


def calls(name: str, op: str, *inputs: str, **functions: str) -> Node:
    return Node(name, op, inputs, {key: Attr.of(FuncRef(value, {})) for key, value in functions.items()})


def library(*functions: Function) -> dict[str, Function]:
    return {one.name: one for one in functions}


def test_a_saved_model_of_tensorflow_2() -> None:
    model = formats.open_model(FIXTURES / "tf2_saved_model")
    assert model.graph is not None
    assert len(model.graph.functions) > 9  # among them those that save and restore
    found = functions_of_signatures(model.graph, model.signatures)
    short = {key: [name.rstrip("0123456789") for name in names] for key, names in found.items()}
    assert short["serving_default"] == [
        "__inference_signature_wrapper_score_", "__inference_score_", "cond_true_", "cond_false_", "while_cond_", "while_body_",
    ]  # fmt: skip
    assert short["scale"] == ["__inference_signature_wrapper_scale_", "__inference_scale_"]


def test_only_what_the_outputs_need_is_followed() -> None:
    graph = Graph(
        [
            calls("other", "PartitionedCall", f="unused"),
            calls("a", "PartitionedCall", f="f"),
            Node("out", "Identity", ("a", "^b")),
            calls("b", "StatefulPartitionedCall", f="g"),
            calls("optimizer", "PartitionedCall", "out", f="unused"),
        ],
        functions=library(*(function(name) for name in ("f", "g", "unused"))),
    )
    assert reached_functions(graph, [TensorRef("out")]) == ("f", "g")
    assert reached_functions(graph, [TensorRef("gone")]) == ()


def test_lists_ops_named_after_functions_and_recursion() -> None:
    branches = Attr.of(AttrList("func", (FuncRef("one", {}), FuncRef("two", {}), FuncRef("gone", {}))))
    graph = Graph(
        [Node("out", "Case", ("x",), {"branches": branches}), Node("x", "Defun")],
        functions=library(
            function("one", calls("n", "PartitionedCall", f="deep")),
            function("two"),
            function("deep", calls("n", "PartitionedCall", f="one")),
            function("Defun", Node("n", "two")),
        ),
    )
    assert reached_functions(graph, [TensorRef("out")]) == ("one", "deep", "two", "Defun")


def test_the_condition_stands_before_the_body() -> None:
    node = calls("out", "While", body="body", cond="cond")
    graph = Graph([node], functions=library(function("body"), function("cond")))
    assert reached_functions(graph, [TensorRef("out")]) == ("cond", "body")


def test_a_long_chain_of_calls_and_of_nodes_is_quick(tmp_path: Path) -> None:
    count = 5_000
    message = message_class("GraphDef")()
    for number in range(count):
        message.node.add(name=f"n{number}", op="Conv2D", input=[f"n{number - 1}"] if number else []).attr["T"].type = 1
        made = message.library.function.add()
        made.signature.name = f"f{number}"
        if number + 1 < count:
            made.node_def.add(name="c", op="PartitionedCall").attr["f"].func.name = f"f{number + 1}"
    message.node.add(name="out", op="PartitionedCall", input=[f"n{count - 1}"]).attr["f"].func.name = "f0"
    (tmp_path / "g.pb").write_bytes(message.SerializeToString())
    graph = formats.read_graph(tmp_path / "g.pb")
    assert reached_functions(graph, [TensorRef("out")]) == tuple(f"f{number}" for number in range(count))


@needs_zoo
def test_real_models() -> None:
    for place in ("savedmodel_tf2", "savedmodel_tf1", "savedmodel_serving"):
        for file in (ZOO / place).rglob("saved_model.pb"):
            model = formats.open_model(file.parent, problems=[])
            assert model.graph is not None
            for name, functions in functions_of_signatures(model.graph, model.signatures).items():
                assert set(functions) <= set(model.graph.functions), (file, name)
                if model.graph.functions and any(
                    s.ref.name.startswith("StatefulPartitionedCall") for s in model.signatures[name].outputs
                ):
                    assert functions, (file, name)
