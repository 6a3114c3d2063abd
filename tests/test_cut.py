"""Cutting: both halves, leaks, and that putting the halves together gives the whole."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tfinspect.errors import LeakyCutError, NodeNotFoundError, UsageError
from tfinspect.formats import graphdef
from tfinspect.ir.attrs import Attr
from tfinspect.ir.dtypes import DType
from tfinspect.ir.graph import Graph, Node, const, placeholder
from tfinspect.ir.head import GraphHead
from tfinspect.ir.refs import TensorRef
from tfinspect.ir.tensors import Tensor
from tfinspect.surgery.cut import cut
from tfinspect.surgery.graft import graft
from tfinspect.surgery.shapes import TensorTypes

ZOO = Path(__file__).parents[2] / "shared" / "zoo"
F = Attr.of(DType.FLOAT)
X, Y = TensorRef("x"), TensorRef("y")


def op(name: str, kind: str, *inputs: str, **attrs: Attr) -> Node:
    return Node(name, kind, inputs, {"T": F, **attrs})


def straight(*extra: Node) -> Graph:
    return Graph(
        [
            placeholder("x", DType.FLOAT, (None, 2)),
            const("shared", Tensor.of([1.0, 2.0], DType.FLOAT)),
            op("a", "AddV2", "x", "shared"),
            op("neck", "Relu", "a"),
            op("b", "Mul", "neck", "shared"),
            op("y", "Neg", "b"),
            *extra,
        ]
    )


def test_the_trunk_ends_and_the_rest_begins_at_the_bottleneck() -> None:
    graph = straight()
    trunk, rest = cut(graph, TensorRef("neck"), [X], [Y])
    assert [n.name for n in trunk.nodes] == ["x", "shared", "a", "neck"]
    assert sorted(n.name for n in rest.nodes) == ["b", "neck", "shared", "y"]
    assert rest.node("neck").op == "Placeholder"
    assert rest.node("neck").dtype("dtype") == DType.FLOAT
    assert rest.node("neck").attrs["shape"].value == (None, 2)
    assert all(node is graph.node(node.name) for node in trunk.nodes)
    assert all(node is graph.node(node.name) for node in rest.nodes if node.name != "neck")


def test_given_shapes_reach_the_bottleneck() -> None:
    _, rest = cut(straight(), TensorRef("neck"), [X], [Y], given={X: (5, 2)})
    assert rest.node("neck").attrs["shape"].value == (5, 2)


def test_another_output_than_the_first_gets_a_name_of_its_own() -> None:
    graph = Graph(
        [
            placeholder("x", DType.FLOAT, (4, 2)),
            const("axis", Tensor.of(0, DType.INT32)),
            op("split", "Split", "axis", "x", num_split=Attr.of(2)),
            op("y", "Neg", "split:1"),
        ]
    )
    trunk, rest = cut(graph, TensorRef("split", 1), [X], [Y])
    assert rest.node("y").inputs == ("split_1",)
    assert rest.node("split_1").op == "Placeholder"
    assert "split" in trunk


def test_a_path_round_the_cut_is_shown() -> None:
    graph = straight(op("z", "AddV2", "y", "a"))
    with pytest.raises(LeakyCutError, match="cutting at `neck:0` leaks") as caught:
        cut(graph, TensorRef("neck"), [X], [TensorRef("z")])
    assert " -> " in caught.value.details[0]
    assert "neck" not in caught.value.details[0]
    assert "a:0" in caught.value.evidence["path"]  # type: ignore[operator]


def test_names_that_are_not_there_and_cuts_at_the_end_are_refused() -> None:
    with pytest.raises(NodeNotFoundError):
        cut(straight(), TensorRef("nack"), [X], [Y])
    with pytest.raises(UsageError, match="is an output already"):
        cut(straight(), Y, [X], [Y])


def evaluate(graph: Graph, ref: TensorRef, x: float) -> float:
    """The value of a tensor, by a second and much simpler executor."""
    values: dict[str, float] = {}
    for node in graph.topological():
        args = [values[r.name] for r in node.data_inputs]
        match node.op:
            case "Placeholder":
                values[node.name] = x
            case "Const":
                tensor = node.tensor()
                values[node.name] = float(tensor.numpy()) if tensor is not None else 0.0
            case "Neg":
                values[node.name] = -args[0]
            case "AddV2":
                values[node.name] = args[0] + args[1]
            case _:
                values[node.name] = args[0] * args[1]
    return values[ref.name]


@st.composite
def graphs(draw: st.DrawFn) -> Graph:
    """Random graphs of scalars whose node `y` depends on `x`."""
    nodes = [placeholder("x", DType.FLOAT, ())]
    for k in range(draw(st.integers(1, 10))):
        names = [node.name for node in nodes]
        kind = draw(st.sampled_from(["Const", "Neg", "AddV2", "Mul"]))
        if kind == "Const":
            nodes.append(const(f"n{k}", Tensor.of(float(k), DType.FLOAT)))
        else:
            count = 1 if kind == "Neg" else 2
            nodes.append(op(f"n{k}", kind, *(draw(st.sampled_from(names)) for _ in range(count))))
    last = draw(st.sampled_from([node.name for node in nodes]))
    return Graph([*nodes, op("y", "AddV2", "x" if draw(st.booleans()) else last, last)])


@given(graphs(), st.data())
@settings(max_examples=200, deadline=None)
def test_cutting_and_grafting_gives_the_whole_again(graph: Graph, data: st.DataObject) -> None:
    neck = TensorRef(
        data.draw(st.sampled_from([n.name for n in graph.nodes if n.name != "y" and n.op != "Placeholder"] or ["x"]))
    )
    whole = evaluate(graph, Y, 3.0)
    try:
        trunk, rest = cut(graph, neck, [X], [Y])
    except LeakyCutError as error:
        path = [str(step).split(":", maxsplit=1)[0] for step in error.evidence["path"]]  # type: ignore[attr-defined]
        assert neck.name not in path
        assert all(a in graph.node(b).input_names for a, b in itertools.pairwise(path))
        return
    if neck.name not in rest:
        assert evaluate(rest, Y, 0.0) == whole
        return
    head = GraphHead(rest, neck, (Y,), ())
    grafted = graft(trunk, head, neck, types=TensorTypes(trunk))
    assert evaluate(grafted.graph, grafted.outputs[0], 3.0) == whole


@pytest.mark.tensorflow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.skipif(not ZOO.exists(), reason="the collection of real models is not beside the repository")
def test_a_real_model_cut_and_grafted_computes_the_same_bits() -> None:
    import tensorflow as tf

    def run(graph: Graph, name: str, feeds: dict[str, Any]) -> Any:
        definition = tf.compat.v1.GraphDef.FromString(b"".join(map(bytes, graphdef.encode(graph))))
        with tf.Graph().as_default() as imported:
            tf.import_graph_def(definition, name="")
        config = tf.compat.v1.ConfigProto(intra_op_parallelism_threads=1, inter_op_parallelism_threads=1)
        config.graph_options.rewrite_options.disable_meta_optimizer = True
        with tf.compat.v1.Session(graph=imported, config=config) as session:
            return session.run(name, feeds)

    graph = graphdef.read(ZOO / "frozen_pb/mobilenet_v1_025_128/frozen_graph.pb")
    pool, output = TensorRef("MobilenetV1/Logits/AvgPool_1a/AvgPool"), TensorRef("MobilenetV1/Predictions/Softmax")
    x = np.random.default_rng(0).uniform(-1, 1, (1, 128, 128, 3)).astype("f")
    trunk, rest = cut(graph, pool, [TensorRef("input")], [output])
    features = run(trunk, str(pool), {"input:0": x})
    expected = run(graph, str(output), {"input:0": x})
    assert run(rest, str(output), {str(pool): features}).tobytes() == expected.tobytes()
    grafted = graft(trunk, GraphHead(rest, pool, (output,), ()), pool, types=TensorTypes(trunk))
    assert run(grafted.graph, str(grafted.outputs[0]), {"input:0": x}).tobytes() == expected.tobytes()
