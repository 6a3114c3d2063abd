"""Settings, defaults, and conditionals that can only go one way."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tfinspect.errors import NodeNotFoundError, SurgeryError, UsageError
from tfinspect.formats import graphdef
from tfinspect.ir.attrs import Attr, AttrList, FuncRef
from tfinspect.ir.dtypes import DType
from tfinspect.ir.graph import Graph, Node, const, placeholder
from tfinspect.ir.refs import TensorRef
from tfinspect.ir.tensors import Tensor
from tfinspect.surgery.prune import prune
from tfinspect.surgery.set_values import defaults_to_values, fold_switches, parse_setting, set_values

ZOO = Path(__file__).parents[2] / "shared" / "zoo"
F = Attr.of(DType.FLOAT)


def op(name: str, kind: str, *inputs: str, **attrs: Attr) -> Node:
    return Node(name, kind, inputs, {"T": F, **attrs})


def logical(name: str, kind: str, *inputs: str) -> Node:
    return Node(name, kind, inputs, {})


def conditional() -> Graph:
    """`tf.cond(training, x * 2, -x)` as TF1 wrote it, with a constant pinned to its branch."""
    boolean = {"T": Attr.of(DType.BOOL)}
    return Graph(
        [
            placeholder("x", DType.FLOAT, (2,)),
            placeholder("training", DType.BOOL, ()),
            Node("cond/Switch", "Switch", ("training", "training"), boolean),
            Node("cond/switch_t", "Identity", ("cond/Switch:1",), boolean),
            Node("cond/switch_f", "Identity", ("cond/Switch",), boolean),
            Node("cond/pred_id", "Identity", ("training",), boolean),
            const("cond/two", Tensor.of(2.0, DType.FLOAT)).replace(inputs=["^cond/switch_t"]),
            op("cond/mul/Switch", "Switch", "x", "cond/pred_id"),
            op("cond/mul", "Mul", "cond/mul/Switch:1", "cond/two"),
            op("cond/neg/Switch", "Switch", "x", "cond/pred_id"),
            op("cond/neg", "Neg", "cond/neg/Switch"),
            op("cond/Merge", "Merge", "cond/neg", "cond/mul", N=Attr.of(2)),
            Node("which", "Identity", ("cond/Merge:1",), {"T": Attr.of(DType.INT32)}),
            op("y", "Relu", "cond/Merge"),
        ]
    )


@pytest.mark.parametrize(
    ("dtype", "text", "expected"),
    [
        (DType.BOOL, "False", False),
        (DType.BOOL, "1", True),
        (DType.FLOAT, "1.0", 1.0),
        (DType.FLOAT, "1", 1.0),
        (DType.INT32, "-3", -3),
        (DType.STRING, "a=b", b"a=b"),
        (DType.INT64, "[1, 2]", [1, 2]),
        (DType.INT64, "[]", []),
    ],
)
def test_values_are_read_in_the_dtype_of_the_tensor(dtype: DType, text: str, expected: object) -> None:
    graph = Graph([placeholder("p", dtype, None)])
    assert parse_setting(f"p={text}", graph) == (TensorRef("p"), expected)
    assert parse_setting(f"p:0 = {text}", graph) == (TensorRef("p"), expected)


def test_settings_of_another_form_are_refused() -> None:
    graph = Graph([placeholder("is_training", DType.BOOL, ()), placeholder("n", DType.INT32, ())])
    with pytest.raises(NodeNotFoundError) as caught:
        parse_setting("is_trainin=False", graph)
    assert caught.value.near[0] == "is_training"
    with pytest.raises(UsageError, match="is not a setting"):
        parse_setting("is_training", graph)
    with pytest.raises(UsageError, match="`maybe` is no bool value for `is_training:0`"):
        parse_setting("is_training=maybe", graph)
    with pytest.raises(UsageError, match=r"`1\.5` is no int32 value"):
        parse_setting("n=1.5", graph)


def test_a_placeholder_becomes_a_constant_of_its_dtype() -> None:
    graph = Graph([placeholder("keep_prob", DType.FLOAT, ()), op("y", "Neg", "keep_prob")])
    fixed = set_values(graph, {TensorRef("keep_prob"): 1})
    tensor = fixed.node("keep_prob").tensor()
    assert tensor is not None
    assert (tensor.dtype, tensor.shape, tensor.numpy().tolist()) == (DType.FLOAT, (), 1.0)
    assert fixed.node("y") is graph.node("y")
    assert set_values(graph, {}) is graph


def test_one_output_of_several_gets_a_constant_of_its_own() -> None:
    graph = Graph([op("s", "Split", "s/axis", "s/x"), op("y", "AddV2", "s", "s:1")])
    fixed = set_values(graph, {TensorRef("s", 1): 2.0})
    assert fixed.node("y").inputs == ("s", "s_1")
    assert fixed.node("s_1").op == "Const"


def test_a_value_of_the_wrong_shape_is_refused() -> None:
    with pytest.raises(UsageError, match="has the shape 2, the value given 3"):
        set_values(Graph([placeholder("x", DType.FLOAT, (2,))]), {TensorRef("x"): [1, 2, 3]})


def test_defaults_take_the_place_of_placeholders_not_named() -> None:
    nodes = [Node(n, "PlaceholderWithDefault", ("c",), {"dtype": F}) for n in ("a", "b")]
    graph = Graph([const("c", Tensor.of(1.0, DType.FLOAT)), *nodes])
    fixed = defaults_to_values(graph, keep=[TensorRef("b")])
    assert (fixed.node("a").op, fixed.node("a").inputs) == ("Identity", ("c",))
    assert fixed.node("b") is graph.node("b")
    assert defaults_to_values(fixed, keep=[TensorRef("b")]) is fixed


@pytest.mark.parametrize(
    ("training", "kept", "dead", "index"), [(True, "cond/mul", "cond/neg", 1), (False, "cond/neg", "cond/mul", 0)]
)
def test_the_branch_taken_stays_and_the_other_goes(training: bool, kept: str, dead: str, index: int) -> None:  # noqa: FBT001
    graph = fold_switches(set_values(conditional(), {TensorRef("training"): training}))
    assert (graph.node("cond/Merge").op, graph.node("cond/Merge").inputs) == ("Identity", (kept,))
    assert dead not in graph
    assert not {"Switch", "Merge"} & {node.op for node in graph.nodes}
    assert all(name in graph for node in graph.nodes for name in node.input_names)
    which = graph.node(graph.node("which").inputs[0]).tensor()
    assert which is not None
    assert which.numpy().tolist() == index


def test_what_is_not_constant_is_not_folded() -> None:
    graph = conditional()
    assert fold_switches(graph) is graph


@pytest.mark.parametrize(("op_name", "other", "value"), [("LogicalAnd", False, False), ("LogicalOr", True, True)])
def test_predicates_are_computed(op_name: str, other: bool, value: bool) -> None:  # noqa: FBT001
    graph = set_values(conditional(), {})
    nodes = [n for n in graph.nodes if n.name != "training"]
    nodes += [
        placeholder("fed", DType.BOOL, ()),
        const("known", Tensor.of(other)),
        logical("either", op_name, "fed", "known"),
    ]
    nodes += [
        logical("not", "LogicalNot", "either"),
        Node("training", "Identity", ("not",), {"T": Attr.of(DType.BOOL)}),
    ]
    folded = fold_switches(Graph(nodes))
    assert folded.node("cond/Merge").inputs == (("cond/neg",) if value else ("cond/mul",))


def test_nested_conditionals_and_loops_in_dead_branches_go() -> None:
    loop = [
        op("enter", "Enter", "cond/mul", frame_name=Attr.of("f")),
        op("merge", "Merge", "enter", "next", N=Attr.of(2)),
        logical("less", "Less", "merge", "merge"),
        logical("loop", "LoopCond", "less"),
        op("switch", "Switch", "merge", "loop"),
        op("body", "Neg", "switch:1"),
        op("next", "NextIteration", "body"),
        op("exit", "Exit", "switch"),
    ]
    graph = conditional()
    nodes = [n.replace(inputs=["cond/neg", "exit"]) if n.name == "cond/Merge" else n for n in graph.nodes]
    whole = Graph([*nodes, *loop])
    folded = fold_switches(set_values(whole, {TensorRef("training"): False}))
    assert not {node.name for node in loop} & set(folded.by_name)
    kept = fold_switches(set_values(whole, {TensorRef("training"): True}))
    assert {node.name for node in loop} <= set(kept.by_name)
    assert kept.node("merge").inputs == ("enter", "next")


def test_a_merge_of_three_keeps_its_live_inputs() -> None:
    graph = conditional()
    extra = [op("third", "Abs", "x")]
    nodes = [n.replace(inputs=["cond/neg", "cond/mul", "third"]) if n.name == "cond/Merge" else n for n in graph.nodes]
    whole = set_values(Graph([*nodes, *extra]), {TensorRef("training"): True})
    with pytest.raises(SurgeryError, match="counts them"):
        fold_switches(whole)
    folded = fold_switches(prune(whole, [TensorRef("y")]))
    assert folded.node("cond/Merge").inputs == ("cond/mul", "third")
    assert folded.node("cond/Merge").value("N") == 2


def test_functional_conditionals_become_calls() -> None:
    branches = {"then_branch": Attr.of(FuncRef("t", {})), "else_branch": Attr.of(FuncRef("e", {}))}
    types = {"Tin": Attr.of(AttrList("type", (DType.FLOAT,))), "Tout": Attr.of(AttrList("type", (DType.FLOAT,)))}
    nodes = [
        const("p", Tensor.of(value=False)),
        placeholder("x", DType.FLOAT, ()),
        Node("y", "StatelessIf", ("p", "x"), {**branches, **types}),
    ]
    node = fold_switches(Graph(nodes)).node("y")
    assert (node.op, node.inputs, node.attrs["f"].value.name) == ("PartitionedCall", ("x",), "e")


@pytest.mark.tensorflow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.skipif(not ZOO.exists(), reason="the collection of real models is not beside the repository")
def test_a_real_graph_with_learning_phase_switches_computes_the_same() -> None:
    import tensorflow as tf

    def run(graph: Graph, feeds: dict[str, Any]) -> Any:
        definition = tf.compat.v1.GraphDef.FromString(b"".join(map(bytes, graphdef.encode(graph))))
        with tf.Graph().as_default() as imported:
            tf.import_graph_def(definition, name="")
        with tf.compat.v1.Session(graph=imported) as session:
            return session.run(f"{output}:0", feeds)

    graph = graphdef.read(ZOO / "frozen_pb/chen0040_image_cnn/cnn_cifar10.pb")
    output = next(n.name for n in graph.nodes if n.op == "Softmax")
    (phase,) = [n.name for n in graph.nodes if n.op == "Placeholder" and n.dtype("dtype") == DType.BOOL]
    (data,) = [n.name for n in graph.nodes if n.op == "Placeholder" and n.dtype("dtype") == DType.FLOAT]
    fixed = prune(fold_switches(set_values(graph, {TensorRef(phase): False})), [TensorRef(output)])
    assert not {"Switch", "Merge", "RandomUniform"} & {node.op for node in fixed.nodes}
    x = np.random.default_rng(0).normal(size=(2, 32, 32, 3)).astype("f")
    assert np.array_equal(run(fixed, {f"{data}:0": x}), run(graph, {f"{data}:0": x, f"{phase}:0": False}))
