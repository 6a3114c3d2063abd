"""Grafting: names, shapes, proof of structure; finding and joining a classifier that was never connected."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tfinspect.errors import (
    AlreadyConnectedError,
    IncompatibleGraftError,
    InvalidGraphError,
    NameCollisionError,
    UnsupportedOpsError,
    UsageError,
)
from tfinspect.formats import graphdef
from tfinspect.ir.attrs import Attr, AttrList
from tfinspect.ir.dtypes import DType
from tfinspect.ir.functions import Function, FunctionBody
from tfinspect.ir.graph import Graph, Node, Versions, const, placeholder
from tfinspect.ir.head import DenseHead, DenseLayer, GraphHead
from tfinspect.ir.refs import TensorRef
from tfinspect.ir.tensors import Tensor
from tfinspect.surgery.connect import find_unconnected_head, join
from tfinspect.surgery.graft import Grafted, assert_structure, graft
from tfinspect.surgery.prune import prune
from tfinspect.surgery.shapes import TensorTypes

ZOO = Path(__file__).parents[2] / "shared" / "zoo"
needs_zoo = pytest.mark.skipif(not ZOO.exists(), reason="the collection of real models is not beside the repository")
F = Attr.of(DType.FLOAT)
NECK = TensorRef("neck")
RANDOM = np.random.default_rng(3)


def op(name: str, kind: str, *inputs: str, **attrs: Attr) -> Node:
    return Node(name, kind, inputs, {"T": F, **attrs})


def tensor(*shape: int, dtype: str = "f4") -> Tensor:
    return Tensor.of(RANDOM.normal(size=shape).astype(dtype))


def trunk(shape: tuple[int | None, ...] = (None, 4), producer: int = 8) -> Graph:
    return Graph(
        [
            placeholder("x", DType.FLOAT, shape),
            op("neck", "Relu", "x"),
            const("softmax/weights", tensor(4, 2)),
            op("softmax/logits", "MatMul", "neck", "softmax/weights"),
            op("softmax", "Softmax", "softmax/logits"),
        ],
        versions=Versions(producer),
    )


def dense(*sizes: int, activation: str = "softmax", dtype: str = "f4") -> DenseHead:
    pairs = list(itertools.pairwise(sizes))
    layers = [
        DenseLayer(tensor(a, b, dtype=dtype), tensor(b, dtype=dtype), "relu" if k < len(pairs) - 1 else activation)
        for k, (a, b) in enumerate(pairs)
    ]
    return DenseHead(tuple(layers), ())


def graph_head(producer: int = 8, **changes: Any) -> GraphHead:
    graph = Graph(
        [
            placeholder("features", changes.get("dtype", DType.FLOAT), changes.get("shape", (None, 4))),
            const("w", tensor(4, 3)).replace(inputs=["^features"]),
            op("logits", "MatMul", "features", "w", _class=Attr.of(AttrList("s", (b"loc:@w", b"loc:@features")))),
            op("probabilities", "Softmax", "logits"),
            op("unused", "Neg", "logits"),
            *changes.get("nodes", ()),
        ],
        versions=Versions(producer),
        functions=changes.get("functions"),
    )
    outputs = changes.get("outputs", (TensorRef("logits"), TensorRef("probabilities")))
    return GraphHead(graph, TensorRef("features"), outputs, ())


def do(base: Graph, head: DenseHead | GraphHead, **options: Any) -> Grafted:
    return graft(base, head, NECK, types=TensorTypes(base), **options)


def test_one_layer_lies_under_the_name_and_the_old_head_goes() -> None:
    base, head = trunk(), dense(4, 3)
    grafted = do(base, head)
    assert grafted.outputs == (TensorRef("head/logits"), TensorRef("head/softmax"))
    assert [n.name for n in grafted.graph.nodes] == ["x", "neck", *grafted.added]
    assert set(grafted.added) == {"head/weights", "head/MatMul", "head/biases", "head/logits", "head/softmax"}
    assert grafted.graph.node("x") is base.node("x")
    assert grafted.graph.node("head/MatMul").inputs == ("neck", "head/weights")
    assert grafted.graph.node("head/weights").tensor() is head.layers[0].weights
    assert grafted.graph.versions.producer == 8


def test_several_layers_and_another_name() -> None:
    grafted = do(trunk(), dense(4, 5, 3), name="flowers")
    assert grafted.outputs == (TensorRef("flowers/logits"), TensorRef("flowers/softmax"))
    assert grafted.graph.node("flowers/layer_0/relu").op == "Relu"
    assert grafted.graph.node("flowers/MatMul").inputs[0] == "flowers/layer_0/relu"


def test_layers_without_biases_and_without_activation() -> None:
    head = DenseHead((DenseLayer(tensor(4, 3), None, "linear"),), ())
    grafted = do(trunk(), head)
    assert grafted.outputs == (TensorRef("head/logits"),)
    assert grafted.graph.node("head/logits").op == "MatMul"


def test_keep_leaves_the_old_head_in() -> None:
    grafted = do(trunk(), dense(4, 3), keep=True)
    assert "softmax" in grafted.graph
    assert "head/softmax" in grafted.graph


def test_a_pooled_bottleneck_is_reshaped() -> None:
    grafted = do(trunk((None, 1, 1, 4)), dense(4, 3))
    shape = grafted.graph.node("head/reshape/shape").tensor()
    assert shape is not None
    assert shape.numpy().tolist() == [-1, 4]
    assert grafted.graph.node("head/MatMul").inputs[0] == "head/reshape"


@pytest.mark.parametrize(
    ("base", "head", "message"),
    [
        (
            trunk(),
            dense(5, 3),
            r"cannot graft onto `neck:0`: the trunk gives float32 \?x4, the head wants float32 \?x5",
        ),
        (trunk(), dense(4, 3, dtype="f8"), r"the trunk gives float32 \?x4, the head wants float64 \?x4"),
        (trunk((None, 8, 8, 4)), dense(4, 3), r"the trunk gives float32 \?x8x8x4, the head wants float32 \?x4"),
        (trunk(), graph_head(shape=(None, 5)), r"the head wants float32 \?x5 \(`features:0`\)"),
        (trunk(), graph_head(dtype=DType.DOUBLE), r"the head wants float64 \?x4 \(`features:0`\)"),
    ],
)
def test_both_sides_are_named_where_they_do_not_fit(base: Graph, head: DenseHead | GraphHead, message: str) -> None:
    with pytest.raises(IncompatibleGraftError, match=message):
        do(base, head)


def test_layers_that_do_not_fit_each_other_are_refused() -> None:
    one, two = dense(4, 3).layers[0], dense(5, 2).layers[0]
    with pytest.raises(
        IncompatibleGraftError, match="layer 1 of the head has weights of shape 5x2, 3 features expected"
    ):
        do(trunk(), DenseHead((one, two), ()))
    with pytest.raises(IncompatibleGraftError, match="biases of shape 2"):
        do(trunk(), DenseHead((DenseLayer(one.weights, two.biases, "softmax"),), ()))
    with pytest.raises(UsageError, match="`maxout` is not known"):
        do(trunk(), dense(4, 3, activation="maxout"))


def test_a_name_in_use_is_refused_and_a_free_one_offered() -> None:
    base = Graph([*trunk().nodes, op("head/logits", "Neg", "neck"), op("head_1/x", "Neg", "neck")])
    with pytest.raises(NameCollisionError, match="`head/logits`") as caught:
        do(base, dense(4, 3), keep=True)
    assert caught.value.hint == "put the head elsewhere: --name head_2"
    assert "head/softmax" in do(base, dense(4, 3)).graph  # what collides goes with the old head
    with pytest.raises(UsageError, match="is not a name for a scope"):
        do(base, dense(4, 3), name="a:0")


def test_a_graph_goes_under_the_prefix_whole() -> None:
    head = graph_head()
    grafted = do(trunk(), head)
    assert set(grafted.added) == {"head/w", "head/logits", "head/probabilities"}
    assert grafted.outputs == (TensorRef("head/logits"), TensorRef("head/probabilities"))
    assert grafted.graph.node("head/logits").inputs == ("neck", "head/w")
    assert grafted.graph.node("head/w").inputs == ("^neck",)
    assert grafted.graph.node("head/logits").value("_class") == (b"loc:@head/w",)
    assert grafted.graph.node("head/w").tensor() is head.graph.node("w").tensor()


def test_loops_of_a_head_keep_apart_from_those_of_the_trunk() -> None:
    enter = op("enter", "Enter", "logits", frame_name=Attr.of("while"))
    grafted = do(trunk(), graph_head(nodes=[enter], outputs=(TensorRef("enter"),)))
    assert grafted.graph.node("head/enter").text("frame_name") == "head/while"


def test_old_ops_do_not_get_into_a_newer_graph() -> None:
    old = op("norm", "BatchNormWithGlobalNormalization", "logits", "w", "w", "w", "w")
    head = graph_head(8, nodes=[old], outputs=(TensorRef("norm"),))
    assert "head/norm" in do(trunk(producer=8), head).graph
    with pytest.raises(UnsupportedOpsError, match="`norm`"):
        do(trunk(producer=27), head)


def test_functions_of_one_name_must_be_the_same() -> None:
    def library(wire: bytes) -> dict[str, Function]:
        return {"f": Function("f", lambda: FunctionBody((), (), (), {}), wire=wire)}

    base = Graph([*trunk().nodes, Node("call", "f", ("neck",))], functions=library(b"1"))
    head = graph_head(nodes=[Node("call", "f", ("logits",))], outputs=(TensorRef("call"),), functions=library(b"2"))
    with pytest.raises(NameCollisionError, match="function `f`"):
        do(base, head, keep=True)
    same = graph_head(nodes=[Node("call", "f", ("logits",))], outputs=(TensorRef("call"),), functions=library(b"1"))
    assert set(do(base, same, keep=True).graph.functions) == {"f"}


def tampered(grafted: Grafted, name: str, **changes: Any) -> Grafted:
    nodes = [n.replace(**changes) if n.name == name else n for n in grafted.graph.nodes]
    return Grafted(grafted.graph.replace(nodes=nodes), grafted.outputs, grafted.added)


@pytest.mark.parametrize("head", [dense(4, 3), graph_head()], ids=["dense", "graph"])
def test_the_proof_notices_every_kind_of_change(head: DenseHead | GraphHead) -> None:
    base = trunk()
    grafted = do(base, head)
    assert_structure(grafted, base, head, NECK)
    last = grafted.outputs[0].name
    weights = next(name for name in grafted.added if grafted.graph.node(name).op == "Const")
    product = next(name for name in grafted.added if grafted.graph.node(name).op == "MatMul")
    other = {"dtype": F, "value": Attr.of(tensor(4, 3))}
    for broken in (
        tampered(grafted, "neck", op="Elu"),
        tampered(grafted, "neck", device="/gpu:0"),
        tampered(grafted, "x", attrs={"dtype": F}),
        tampered(grafted, weights, attrs=other),
        tampered(grafted, product, inputs=["x", weights]),
        Grafted(grafted.graph.replace(nodes=[n for n in grafted.graph.nodes if n.name != last]), (), grafted.added),
        Grafted(grafted.graph.replace(nodes=[*grafted.graph.nodes, op("stray", "Neg", "x")]), (), grafted.added),
    ):
        with pytest.raises(InvalidGraphError):
            assert_structure(broken, base, head, NECK)


# --- a classifier that was trained beside the trunk ----------------------------------------------------------------


def retraining(kind: str = "Placeholder", *, shape: tuple[int | None, ...] | None = (None, 4)) -> Graph:
    """Trunk with its old head, and beside it a classifier in training, with loss, gradients and optimizer."""
    inputs = {"Placeholder": (), "PlaceholderWithDefault": ("stored",), "fed": ("neck",)}[kind]
    name = "Placeholder" if kind == "Placeholder" else "PlaceholderWithDefault"
    stored = [const("stored", tensor(1, 4))] if kind == "PlaceholderWithDefault" else []
    return Graph(
        [
            *trunk().nodes,
            *stored,
            Node("bottleneck_input", name, inputs, {"dtype": F, "shape": Attr.of_shape(shape)}),
            placeholder("labels", DType.FLOAT, (None, 3)),
            placeholder("keep_prob", DType.FLOAT, ()),
            Node("new/w", "VariableV2", (), {"dtype": F, "shape": Attr.of_shape((4, 3))}),
            op("new/w/read", "Identity", "new/w"),
            op("scaled", "Mul", "bottleneck_input", "keep_prob"),
            op("new/logits", "MatMul", "scaled", "new/w/read"),
            op("final_result", "Softmax", "new/logits"),
            Node("summary", "HistogramSummary", ("tag", "final_result"), {"T": F}),
            const("tag", Tensor.of(b"t", DType.STRING)),
            op("loss", "SoftmaxCrossEntropyWithLogits", "new/logits", "labels"),
            op("gradients/w", "MatMul", "bottleneck_input", "loss:1", transpose_a=Attr.of(value=True)),
            op("train", "ApplyGradientDescent", "new/w", "rate", "gradients/w"),
            const("rate", Tensor.of(0.1, DType.FLOAT)),
        ]
    )


@pytest.mark.parametrize("kind", ["Placeholder", "PlaceholderWithDefault"])
def test_the_unconnected_classifier_is_found_and_joined(kind: str) -> None:
    graph = retraining(kind)
    head = find_unconnected_head(graph, NECK, TensorTypes(graph))
    assert head.placeholder == TensorRef("bottleneck_input")
    assert head.outputs == (TensorRef("new/logits"), TensorRef("final_result"))
    joined = prune(join(graph, head.placeholder, NECK), head.outputs)
    assert joined.node("scaled").inputs == ("neck", "keep_prob")
    assert "bottleneck_input" not in joined
    assert joined.node("x") is graph.node("x")
    assert "labels" not in joined


def test_one_that_hangs_on_the_trunk_is_named() -> None:
    graph = retraining("fed")
    with pytest.raises(AlreadyConnectedError, match="hangs on `neck:0` already") as caught:
        find_unconnected_head(graph, NECK, TensorTypes(graph))
    assert "final_result:0" in caught.value.evidence["outputs"]  # type: ignore[operator]


@pytest.mark.parametrize("shape", [None, (None, 5), (None,), (None, None)])
def test_a_placeholder_of_another_shape_is_no_candidate(shape: tuple[int | None, ...] | None) -> None:
    graph = retraining(shape=shape)
    graph = prune(graph, [TensorRef("final_result"), NECK])
    with pytest.raises(UsageError, match="no classifier that takes `neck:0`") as caught:
        find_unconnected_head(graph, NECK, TensorTypes(graph))
    assert not isinstance(caught.value, AlreadyConnectedError)
    assert caught.value.details[0].startswith("bottleneck_input:0")


def test_several_classifiers_are_listed() -> None:
    graph = retraining()
    twin = [
        placeholder("other", DType.FLOAT, (None, 4)),
        op("o", "MatMul", "other", "new/w/read"),
        op("p", "Softmax", "o"),
    ]
    with pytest.raises(UsageError, match="2 classifiers could be connected") as caught:
        find_unconnected_head(Graph([*graph.nodes, *twin]), NECK, TensorTypes(Graph([*graph.nodes, *twin])))
    assert caught.value.details == ("bottleneck_input:0 -> new/logits:0, final_result:0", "other:0 -> o:0, p:0")


@needs_zoo
@pytest.mark.parametrize("name", ["retrained_graph.pb", "optimized_graph.pb"])
def test_a_real_retrained_graph_is_connected_already(name: str) -> None:
    graph = graphdef.read(ZOO / "frozen_pb/retrained_mobilenet_poets" / name)
    fed = next(n for n in graph.nodes if n.op == "PlaceholderWithDefault")
    with pytest.raises(AlreadyConnectedError, match="`final_result:0`"):
        find_unconnected_head(graph, fed.data_inputs[0], TensorTypes(graph))


@needs_zoo
@pytest.mark.tensorflow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", ["dense", "graph", "joined"])
def test_a_new_head_on_a_real_trunk_computes_what_both_compute(kind: str) -> None:
    import tensorflow as tf

    def run(graph: Graph, fetches: list[str], feeds: dict[str, Any]) -> Any:
        definition = tf.compat.v1.GraphDef.FromString(b"".join(map(bytes, graphdef.encode(graph))))
        with tf.Graph().as_default() as imported:
            tf.import_graph_def(definition, name="")
        with tf.compat.v1.Session(graph=imported) as session:
            return session.run(fetches, feeds)

    base = graphdef.read(ZOO / "frozen_pb/mobilenet_v1_025_128/frozen_graph.pb")
    pool = TensorRef("MobilenetV1/Logits/AvgPool_1a/AvgPool")
    x = RANDOM.uniform(-1, 1, size=(1, 128, 128, 3)).astype("f")
    (features,) = run(base, [str(pool)], {"input:0": x})
    flat = features.reshape(1, -1)
    if kind == "dense":
        head: DenseHead | GraphHead = dense(256, 7, 5)
        one, two = head.layers  # type: ignore[union-attr]
        hidden = np.maximum(flat @ one.weights.numpy() + one.biases.numpy(), 0)  # type: ignore[union-attr]
        expected = hidden @ two.weights.numpy() + two.biases.numpy()  # type: ignore[union-attr]
        grafted = graft(base, head, pool, types=TensorTypes(base), name="flowers")
        graph, output = grafted.graph, grafted.outputs[0]
    else:
        weights = tensor(256, 5)
        nodes = [
            placeholder("features", DType.FLOAT, (None, 1, 1, 256)),
            const("size", Tensor.of([-1, 256], DType.INT32)),
            op("flat", "Reshape", "features", "size"),
            const("w", weights),
            op("out", "MatMul", "flat", "w"),
            op("prob", "Softmax", "out"),
        ]
        expected = flat @ weights.numpy()
        if kind == "graph":
            outputs = (TensorRef("out"), TensorRef("prob"))
            grafted = graft(
                base, GraphHead(Graph(nodes), TensorRef("features"), outputs, ()), pool, types=TensorTypes(base)
            )
            graph, output = grafted.graph, grafted.outputs[0]
        else:
            whole = Graph([*base.nodes, *nodes], versions=base.versions)
            found = find_unconnected_head(whole, pool, TensorTypes(whole))
            output = found.outputs[0]
            graph = prune(join(whole, found.placeholder, pool), found.outputs)
    assert "MobilenetV1/Predictions/Softmax" not in graph
    np.testing.assert_allclose(run(graph, [str(output)], {"input:0": x})[0], expected, rtol=1e-4, atol=1e-4)
