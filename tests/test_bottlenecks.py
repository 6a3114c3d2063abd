"""Bottlenecks: dominators against brute force, the one people want first, whatever things are named."""

from __future__ import annotations

import itertools
from collections import deque
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.graph_models import (
    const,
    conv,
    dense,
    feed,
    graph,
    needs_zoo,
    op,
    ref,
    scrambled,
    small_inception,
    weights,
    zoo_graph,
)
from tfinspect.ir.dtypes import DType
from tfinspect.surgery.bottlenecks import Bottleneck, find_bottlenecks, separates
from tfinspect.surgery.endpoints import find_inputs, find_outputs
from tfinspect.surgery.shapes import TensorTypes

if TYPE_CHECKING:
    from tfinspect.ir.graph import Graph

F = DType.FLOAT


def bottlenecks(source: Graph) -> list[Bottleneck]:
    types = TensorTypes(source)
    outputs = [end.ref for end in find_outputs(source, types)]
    inputs = [end.ref for end in find_inputs(source, types, outputs) if end.kind != "phase"]
    return find_bottlenecks(source, types, inputs, outputs)


def test_small_inception() -> None:
    best, *rest = bottlenecks(small_inception())
    assert best == Bottleneck(
        ref("pool/_reshape"),
        F,
        (1, 40),
        40,
        "every path from inputs to outputs runs through it; 40 wide; a MatMul to 10 classes follows",
        "logits/MatMul",
    )
    assert [str(b.ref) for b in rest] == ["join:0", "stem:0", "logits/add:0"]
    assert "b" not in {b.ref.name for b in rest}


def test_names_play_no_part() -> None:
    source = small_inception()
    renamed, names = scrambled(source)
    assert [b.ref.name for b in bottlenecks(renamed)] == [names[b.ref.name] for b in bottlenecks(source)]


def test_a_dropout_and_identities_before_the_classifier_are_looked_through() -> None:
    source = graph(
        feed("x", (None, 6)),
        dense("hidden", "x", 6, 4),
        op("Relu", "features", "hidden/add", T=F),
        op("Shape", "shape", "features", T=F),
        op("RandomUniform", "random", "shape", T=DType.INT32, dtype=F),
        const("keep", 0.5, F),
        op("Add", "sum", "random", "keep", T=F),
        op("Floor", "floor", "sum", T=F),
        op("RealDiv", "div", "features", "keep", T=F),
        op("Mul", "dropped", "div", "floor", T=F),
        op("Identity", "kept", "dropped", T=F),
        dense("scores", "kept", 4, 3),
        op("Softmax", "y", "scores/add", T=F),
    )
    assert str(bottlenecks(source)[0].ref) == "features:0"


def test_one_by_one_convolution_as_classifier_in_nchw() -> None:
    source = graph(
        feed("x", (None, 3, 8, 8)),
        weights("w1", 3, 3, 3, 16),
        op("Conv2D", "c", "x", "w1", T=F, strides=[1, 1, 1, 1], padding="SAME", data_format="NCHW"),
        op("AvgPool", "pool", "c", T=F, ksize=[1, 1, 8, 8], strides=[1, 1, 8, 8], padding="VALID", data_format="NCHW"),
        weights("w2", 1, 1, 16, 5),
        op("Conv2D", "scores", "pool", "w2", T=F, strides=[1, 1, 1, 1], padding="SAME", data_format="NCHW"),
        op("Squeeze", "flat", "scores", T=F, squeeze_dims=[2, 3]),
        op("Softmax", "y", "flat", T=F),
    )
    best = bottlenecks(source)[0]
    assert (str(best.ref), best.shape, best.width) == ("pool:0", (None, 16, 1, 1), 16)
    assert "16 wide; a Conv2D to 5 classes follows" in best.reason


def test_a_graph_that_branches_gives_the_last_tensor_before_the_branches() -> None:
    source = graph(
        feed("x", (1, 8, 8, 3)),
        conv("a", "x", 3, 8),
        conv("b", "a", 8, 8),
        conv("boxes", "b", 8, 4),
        conv("scores", "b", 8, 2),
    )
    found = bottlenecks(source)
    assert [str(b.ref) for b in found] == ["b:0", "a:0"]
    assert found[0].follows in {"boxes/Conv2D", "scores/Conv2D"}


def test_only_weights_that_do_not_depend_on_the_input_make_a_layer() -> None:
    source = graph(
        feed("x", (4, 4)),
        dense("d", "x", 4, 4),
        op("Relu", "features", "d/add", T=F),
        dense("scores", "features", 4, 2),
        op("MatMul", "gram", "scores/add", "scores/add", T=F, transpose_b=True),
    )
    assert str(bottlenecks(source)[0].ref) == "features:0"


def test_a_default_that_comes_from_an_input_is_no_input() -> None:
    source = graph(
        feed("x", (None, 6)),
        dense("d", "x", 6, 4),
        op("Relu", "features", "d/add", T=F),
        op("PlaceholderWithDefault", "fed", "features", dtype=F, shape=(None, 4)),
        dense("scores", "fed", 4, 2),
        op("Softmax", "y", "scores/add", T=F),
    )
    assert str(bottlenecks(source)[0].ref) == "features:0"
    assert separates(source, ref("features"), [ref("x"), ref("fed")], [ref("y")]) is None
    assert separates(source, ref("features"), [ref("fed")], [ref("y")]) == [
        "fed:0", "scores/MatMul:0", "scores/add:0", "y:0",
    ]  # fmt: skip


def test_inside_of_a_loop_is_no_place_to_cut() -> None:
    source = graph(
        feed("x", (2, 4)),
        dense("d", "x", 4, 4),
        op("Enter", "enter", "d/add", T=F, frame_name="loop"),
        op("Merge", "merge", "enter", "next", T=F, N=2),
        op("LoopCond", "cond", "go"),
        feed("go", (), DType.BOOL),
        op("Switch", "switch", "merge", "cond", T=F),
        op("Tanh", "step", "switch:1", T=F),
        op("NextIteration", "next", "step", T=F),
        op("Exit", "exit", "switch", T=F),
        dense("scores", "exit", 4, 2),
        op("Softmax", "y", "scores/add", T=F),
    )
    types = TensorTypes(source)
    found = find_bottlenecks(source, types, [ref("x")], [ref("y")])
    assert str(found[0].ref) == "exit:0"
    assert {b.ref.name for b in found} == {"exit", "d/add", "scores/add"}
    assert separates(source, ref("merge"), [ref("x")], [ref("y")]) is None
    assert separates(source, ref("step"), [ref("x")], [ref("y")]) is not None


def test_leaking_path_is_the_shortest() -> None:
    source = graph(
        feed("x", (1, 4)),
        dense("d", "x", 4, 4),
        op("Relu", "features", "d/add", T=F),
        op("Neg", "long1", "x", T=F),
        op("Neg", "long2", "long1", T=F),
        op("Neg", "short", "x", T=F),
        op("AddN", "y", "features", "long2", "short", T=F, N=3),
    )
    assert separates(source, ref("features"), [ref("x")], [ref("y")]) == ["x:0", "short:0", "y:0"]
    assert separates(source, ref("y"), [ref("x")], [ref("y")]) is None
    assert separates(source, ref("x"), [ref("x")], [ref("y")]) is None
    assert separates(source, ref("features"), [ref("x")], [ref("x")]) == ["x:0"]
    assert bottlenecks(source) == []


def test_another_output_of_the_same_node_goes_round() -> None:
    source = graph(
        feed("x", (2, 4)),
        const("axis", 1),
        op("Split", "parts", "axis", "x", T=F, num_split=2),
        op("Neg", "a", "parts", T=F),
        op("Add", "y", "a", "parts:1", T=F),
    )
    assert separates(source, ref("parts:0"), [ref("x")], [ref("y")]) == ["x:0", "parts:1", "y:0"]


@st.composite
def wired(draw: st.DrawFn) -> tuple[Graph, list[str], list[str]]:
    """A graph of AddN and two-output nodes, with some back edges, and its inputs and outputs."""
    count = draw(st.integers(2, 12))
    nodes = [feed("n0", (2, 2)), feed("n1", (2, 2))]
    for i in range(2, count):
        near = st.integers(max(0, i - 4), i - 1)
        sources = [
            f"n{s}" + draw(st.sampled_from(["", ":1"] if nodes[s].op == "Split" else [""]))
            for s in draw(st.lists(near, min_size=1, max_size=3))
        ]
        if draw(st.integers(0, 4)) == 0:
            nodes.append(op("Split", f"n{i}", *sources[:1], T=F, num_split=2))
        else:
            late = draw(st.lists(st.integers(i, count - 1), max_size=1)) if draw(st.booleans()) else []
            nodes.append(op("AddN", f"n{i}", *sources, *(f"n{s}" for s in late), T=F))
    inputs = draw(st.sampled_from([["n0"], ["n0", "n1"]]))
    outputs = draw(st.lists(st.sampled_from([n.name for n in nodes[1:]]), min_size=1, max_size=2, unique=True))
    return graph(*nodes), inputs, outputs


def avoiding(source: Graph, blocked: str, inputs: list[str], outputs: list[str]) -> bool:
    """Whether a path avoids a tensor; straight from the definition."""
    ready = deque(f"{name}:0" for name in inputs if f"{name}:0" != blocked)
    seen = set(ready)
    while ready:
        tensor = ready.popleft()
        if tensor in {f"{name}:0" for name in outputs}:
            return True
        for node in source.nodes:
            if tensor in {str(r) for r in node.data_inputs}:
                for index in range(2 if node.op == "Split" else 1):
                    out = f"{node.name}:{index}"
                    if out != blocked and out not in seen:
                        seen.add(out)
                        ready.append(out)
    return False


@settings(max_examples=120, deadline=None)
@given(wired())
def test_dominators_are_what_brute_force_finds(case: tuple[Graph, list[str], list[str]]) -> None:
    source, inputs, outputs = case
    starts, ends = [ref(n) for n in inputs], [ref(n) for n in outputs]
    found = {str(b.ref) for b in find_bottlenecks(source, TensorTypes(source), starts, ends)}
    tensors = [f"{n.name}:{i}" for n in source.nodes for i in range(2 if n.op == "Split" else 1)]
    connected = avoiding(source, "", inputs, outputs)
    for tensor in tensors:
        cuts = not avoiding(source, tensor, inputs, outputs)
        assert (separates(source, ref(tensor), starts, ends) is None) == cuts
        if tensor in found:
            assert cuts
            assert connected
    expected = {
        t
        for t in tensors
        if connected and not avoiding(source, t, inputs, outputs) and t.removesuffix(":0") not in (*inputs, *outputs)
    }
    # sums in the middle of a layer are left out of the answer, never a tensor that every path needs and none follows
    assert found <= expected
    if expected:
        assert found


@settings(max_examples=80, deadline=None)
@given(wired())
def test_a_leaking_path_is_a_path(case: tuple[Graph, list[str], list[str]]) -> None:
    source, inputs, outputs = case
    for node in source.nodes:
        path = separates(source, ref(node.name), [ref(n) for n in inputs], [ref(n) for n in outputs])
        if path is None:
            continue
        assert path[0].removesuffix(":0") in inputs
        assert path[-1].removesuffix(":0") in outputs
        assert f"{node.name}:0" not in path
        for before, after in itertools.pairwise(path):
            assert before in {str(r) for r in source.node(ref(after).name).data_inputs}


def test_long_graphs() -> None:
    nodes = [feed("n0", (None, 4))]
    nodes += [op("Add", f"n{i}", f"n{i - 1}", f"n{max(0, i - 1 - i % 2)}", T=F) for i in range(1, 30_000)]
    source = graph(*nodes)
    types = TensorTypes(source)
    assert all(end.ref.name in source for end in find_bottlenecks(source, types, [ref("n0")], [ref("n29999")]))
    around = separates(source, ref("n15000"), [ref("n0")], [ref("n29999")])
    assert around is not None
    assert {"n14999:0", "n15001:0"} <= set(around)


@needs_zoo
@pytest.mark.parametrize(
    ("name", "expected", "width"),
    [
        ("frozen_pb/mobilenet_v1_025_128/frozen_graph.pb", "MobilenetV1/Logits/AvgPool_1a/AvgPool:0", 256),
        ("frozen_pb/mobilenet_v1_025_128/quantized_graph.pb", "MobilenetV1/Logits/AvgPool_1a/AvgPool:0", 256),
        ("frozen_pb/retrained_mobilenet_poets/retrained_graph.pb", "MobilenetV1/Predictions/Reshape:0", 1001),
        ("frozen_pb/retrained_mobilenet_poets/optimized_graph.pb", "MobilenetV1/Predictions/Reshape:0", 1001),
        ("frozen_pb/chen0040_image_cnn/cnn_cifar10.pb", "activation_5/Relu:0", 512),
        ("frozen_pb/kws/DS_CNN_S.pb", "MobileNet/SpatialSqueeze:0", 64),
        ("frozen_pb/tf2onnx_gru/frozen.pb", "model/rnn/gru_cell/add_27:0", 128),
        ("frozen_pb/dl4j_lenet/lenet_frozen.pb", "Lenet/fc7_1/Relu:0", 84),
        ("savedmodel_tf1/mlnet/mnist_conv_model/saved_model.pb", "Relu_3:0", 200),
        (
            "pbtxt/mobilenet_v1_1.0_224_eval/mobilenet_v1_1.0_224_eval.pbtxt",
            "MobilenetV1/Logits/AvgPool_1a/AvgPool:0",
            1024,
        ),
    ],
)
def test_real_graphs(name: str, expected: str, width: int) -> None:
    source = zoo_graph(name)
    best = bottlenecks(source)[0]
    assert (str(best.ref), best.width) == (expected, width)
    renamed, names = scrambled(source)
    assert bottlenecks(renamed)[0].ref.name == names[best.ref.name]
