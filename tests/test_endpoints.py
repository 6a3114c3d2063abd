"""Inputs and outputs, frozen graphs and training graphs; logits behind an activation; image preprocessing."""

from __future__ import annotations

import pytest

from tests.graph_models import (
    const,
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
from tfinspect.errors import NodeNotFoundError
from tfinspect.ir.dtypes import DType
from tfinspect.ir.graph import Graph, Node
from tfinspect.surgery.endpoints import Outputs, find_inputs, find_outputs, softmax_logits
from tfinspect.surgery.images import pixels, preprocessing
from tfinspect.surgery.ops import Blocker, blockers
from tfinspect.surgery.shapes import TensorTypes

F = DType.FLOAT


def outputs(source: Graph) -> tuple[list[str], bool]:
    found = find_outputs(source, TensorTypes(source))
    return [str(end.ref) for end in found], found.certain


def inputs(source: Graph, *ends: str) -> list[tuple[str, str]]:
    found = find_inputs(source, TensorTypes(source), [ref(e) for e in ends] if ends else None)
    return [(str(end.ref), end.kind) for end in found]


def variable(name: str, *shape: int) -> list[Node]:
    return [op("VariableV2", name, dtype=F, shape=shape), op("Identity", f"{name}/read", name, T=F)]


def trained() -> Graph:
    """Two dense layers with labels, loss, accuracy, gradients, summaries and a saver around them."""
    return graph(
        feed("x", (None, 6)),
        feed("labels", (None,), DType.INT64),
        feed("learning_rate", ()),
        variable("w1", 6, 4),
        op("MatMul", "m1", "x", "w1/read", T=F),
        op("Relu", "hidden", "m1", T=F),
        op("HistogramSummary", "seen", "tag", "hidden", T=F),
        const("tag", b"hidden", DType.STRING),
        variable("w2", 4, 3),
        op("MatMul", "scores", "hidden", "w2/read", T=F),
        op("SparseSoftmaxCrossEntropyWithLogits", "xent", "scores", "labels", T=F, Tlabels=DType.INT64),
        const("all", [0]),
        op("Mean", "loss", "xent", "all", T=F),
        op("ScalarSummary", "loss_seen", "tag", "loss", T=F),
        const("one", 1),
        op("ArgMax", "guess", "scores", "one", T=F),
        op("Equal", "right", "guess", "labels", T=DType.INT64),
        op("Cast", "right_float", "right", SrcT=DType.BOOL, DstT=F),
        op("Mean", "accuracy", "right_float", "all", T=F),
        op("Mul", "g", "loss", "xent:1", T=F),
        op("MatMul", "g_w2", "hidden", "g", T=F, transpose_a=True),
        op("MatMul", "g_h", "g", "w2/read", T=F, transpose_b=True),
        op("ReluGrad", "g_m1", "g_h", "hidden", T=F),
        op("MatMul", "g_w1", "x", "g_m1", T=F, transpose_a=True),
        op("ApplyGradientDescent", "step1", "w1", "learning_rate", "g_w1", T=F),
        op("ApplyGradientDescent", "step2", "w2", "learning_rate", "g_w2", T=F),
        op("NoOp", "train", "^step1", "^step2"),
        const("path", b"model", DType.STRING),
        op("SaveV2", "save", "path", "path", "path", "w1", "w2", dtypes=[F, F]),
        op("Identity", "saved", "path", "^save", T=DType.STRING),
    )


def test_frozen_graph_with_bytes() -> None:
    source = small_inception()
    assert outputs(source) == (["softmax:0"], True)
    assert inputs(source) == [("contents:0", "bytes")]


def test_all_sinks_of_a_frozen_graph_are_its_outputs() -> None:
    source = graph(feed("x", (1, 4)), dense("boxes", "x", 4, 8), dense("scores", "x", 4, 2), op("NoOp", "init"))
    assert outputs(source) == (["boxes/add:0", "scores/add:0"], True)


def test_every_output_of_a_sink_but_no_reserve() -> None:
    source = graph(
        feed("x", (4, 6)),
        const("axis", 1),
        op("Split", "parts", "axis", "x", T=F, num_split=3),
        feed("image", (1, 2, 2, 3)),
        weights("s", 3),
        op("FusedBatchNorm", "norm", "image", "s", "s", "s", "s", T=F, is_training=False),
    )
    assert outputs(source)[0] == ["parts:0", "parts:1", "parts:2", "norm:0"]


def test_a_check_is_no_output_and_a_constant_is_one_only_where_there_is_nothing_else() -> None:
    assert outputs(graph(feed("x", (1,)), op("Neg", "y", "x", T=F), op("CheckNumerics", "c", "x", T=F))) == (
        ["y:0"],
        True,
    )
    assert outputs(graph(weights("w", 2), op("Identity", "y", "w", T=F))) == (["y:0"], True)
    assert outputs(graph(weights("w", 2))) == ([], False)


@pytest.mark.parametrize("names_say_nothing", [False, True])
def test_training_graph(names_say_nothing: bool) -> None:  # noqa: FBT001
    source = trained()
    table = {n.name: n.name for n in source}
    if names_say_nothing:
        source, table = scrambled(source)
    assert outputs(source) == ([f"{table['scores']}:0"], True)
    assert inputs(source, f"{table['scores']}:0") == [(f"{table['x']}:0", "placeholder")]
    assert len(inputs(source)) == 3


def test_an_activation_comes_before_the_logarithm_a_loss_makes_of_it() -> None:
    source = graph(
        feed("x", (None, 6)),
        feed("y", (None, 3)),
        variable("w", 6, 3),
        op("MatMul", "scores", "x", "w/read", T=F),
        op("Softmax", "prediction", "scores", T=F),
        op("Log", "log", "prediction", T=F),
        op("Mul", "mul", "y", "log", T=F),
        const("all", [0, 1]),
        op("Sum", "loss", "mul", "all", T=F),
        op("LogGrad", "g", "loss", "log", T=F),
    )
    assert outputs(source)[0] == ["prediction:0"]


def test_moving_averages_and_summaries_are_no_outputs() -> None:
    source = graph(
        feed("x", (None, 6)),
        variable("w", 6, 3),
        op("MatMul", "scores", "x", "w/read", T=F),
        variable("moving", 3),
        const("zero", [0]),
        op("Mean", "batch_mean", "scores", "zero", T=F),
        op("Sub", "delta", "moving/read", "batch_mean", T=F),
        op("AssignSub", "update", "moving", "delta", T=F),
        op("Softmax", "y", "scores", T=F),
        const("all", [0, 1]),
        op("Mean", "figure", "y", "all", T=F),
        op("ScalarSummary", "seen", "zero", "figure", T=F),
    )
    assert outputs(source) == (["y:0"], True)


def test_queue_and_iterator_components() -> None:
    source = graph(
        op("FIFOQueueV2", "queue", component_types=[F, DType.INT64], shapes=[(4, 4, 3), ()]),
        const("n", 8),
        op("QueueDequeueManyV2", "batch", "queue", "n", component_types=[F, DType.INT64]),
        op("Neg", "y", "batch", T=F),
        op("Neg", "z", "batch:1", T=DType.INT64),
        op("IteratorGetNext", "next", "iterator", output_types=[F], output_shapes=[(2, None)]),
        op("IteratorV2", "iterator", output_types=[F], output_shapes=[(2, None)]),
        op("Neg", "t", "next", T=F),
    )
    found = find_inputs(source, TensorTypes(source))
    assert [(str(e.ref), e.kind, e.dtype, e.shape) for e in found] == [
        ("batch:0", "queue", F, (8, 4, 4, 3)),
        ("batch:1", "queue", DType.INT64, (8,)),
        ("next:0", "iterator", F, (2, None)),
    ]
    assert inputs(source, "z:0") == [("batch:1", "queue")]


def test_string_constants_are_inputs_only_where_their_bytes_are_read() -> None:
    source = graph(
        const("serialized", [b""], DType.STRING),
        const("names", [b""], DType.STRING),
        const("key", b"x", DType.STRING),
        weights("default", 1),
        op("ParseExample", "parse", "serialized", "names", "key", "default", Tdense=[F], dense_shapes=[(1,)]),
    )
    assert inputs(source) == [("serialized:0", "bytes")]


def test_outputs_is_a_sequence() -> None:
    found = find_outputs(trained(), TensorTypes(trained()))
    assert len(found) == 1
    assert found[0].kind == "output"
    assert found[:1] == (found[0],)
    assert "scores:0" in repr(found)
    assert not Outputs([], certain=True).certain


@pytest.mark.parametrize("shifted", [False, True])
def test_logits_of_a_written_out_softmax(shifted: bool) -> None:  # noqa: FBT001
    source = graph(
        feed("x", (None, 5)),
        dense("scores", "x", 5, 3),
        const("last", -1),
        op("Max", "max", "scores/add", "last", T=F, keep_dims=True),
        op("Sub", "shifted", "scores/add", "max", T=F),
        op("Exp", "exp", "shifted" if shifted else "scores/add", T=F),
        op("Sum", "sum", "exp", "last", T=F, keep_dims=True),
        op("RealDiv", "softmax", "exp", "sum", T=F),
        op("Identity", "y", "softmax", T=F),
    )
    assert softmax_logits(source, ref("y")) == ref("scores/add")


@pytest.mark.parametrize("activation", ["Softmax", "LogSoftmax", "Sigmoid"])
def test_logits_of_an_activation_op(activation: str) -> None:
    source = graph(
        feed("x", (None, 5)),
        dense("scores", "x", 5, 3),
        op(activation, "act", "scores/add", T=F),
        const("shape", [-1, 3]),
        op("Reshape", "y", "act", "shape", T=F),
    )
    assert softmax_logits(source, ref("y")) == ref("scores/add")
    assert softmax_logits(source, ref("scores/add")) is None


def test_logits_of_a_node_that_is_not_there() -> None:
    with pytest.raises(NodeNotFoundError):
        softmax_logits(small_inception(), ref("sotfmax"))


def test_pixels_and_preprocessing() -> None:
    source = small_inception()
    types = TensorTypes(source)
    found = pixels(source, types)
    assert found is not None
    assert (str(found.ref), str(found.contents), found.op, found.channels) == (
        "decode:0",
        "contents:0",
        "DecodeJpeg",
        3,
    )
    done = preprocessing(source, types, found.ref)
    assert done is not None
    assert (str(done.ref), done.size, done.method, done.mean, done.scale) == (
        "Mul:0",
        (99, 99),
        "bilinear",
        (128.0,),
        (1 / 128,),
    )
    assert done.steps == ("Cast", "ExpandDims", "ResizeBilinear", "Sub", "Mul")


def test_preprocessing_with_a_mean_per_channel_and_a_division() -> None:
    source = graph(
        feed("x", (None, 8, 8, 3)),
        const("std", 2.0, DType.FLOAT),
        op("RealDiv", "div", "x", "std", T=F),
        const("mean", [1.0, 2.0, 3.0], DType.FLOAT),
        op("Sub", "sub", "div", "mean", T=F),
        weights("w", 1, 1, 3, 4),
        op("Conv2D", "y", "sub", "w", T=F, strides=[1, 1, 1, 1], padding="SAME"),
    )
    done = preprocessing(source, TensorTypes(source), ref("x"))
    assert done is not None
    assert (done.mean, done.scale, done.size) == ((2.0, 4.0, 6.0), (0.5,), None)
    assert preprocessing(source, TensorTypes(source), ref("sub")) is None
    assert pixels(source, TensorTypes(source)) is None


def test_blockers() -> None:
    source = small_inception()
    assert blockers(source) == [
        Blocker("DecodeJpeg", 1, "ONNX has no word for decoding image files: cut behind it and feed pixels")
    ]
    newer = Graph(source.nodes, versions=graph(producer=27).versions)
    assert {b.op: b.count for b in blockers(newer)} == {"DecodeJpeg": 1, "BatchNormWithGlobalNormalization": 3}
    assert [b.op for b in blockers(graph(op("Resampler", "r"), op("PyFunc", "f"), op("MyOwnOp", "m")))] == [
        "Resampler",
        "PyFunc",
    ]


@needs_zoo
@pytest.mark.parametrize(
    ("name", "expected", "certain"),
    [
        ("frozen_pb/opencv_face_detector/opencv_face_detector_uint8.pb", ["mbox_loc:0", "mbox_conf_flatten:0"], True),
        ("frozen_pb/retrained_mobilenet_poets/retrained_graph.pb", ["final_result:0"], True),
        ("frozen_pb/utensor_quant/test_cnn.pb", ["pred_label:0"], True),
        (
            "ckpt_v1/steering_angle_matched/model.ckpt.meta",
            ["linear_regression/add:0", "linear_regression_1/add:0"],
            False,
        ),
        ("ckpt_v2_meta/mlnet_cifar/model.ckpt.meta", ["add_1:0"], True),
        ("savedmodel_tf1/mlnet/mnist_conv_model/saved_model.pb", ["Prediction:0"], True),
        ("savedmodel_tf1/mlnet/mnist_lr_model/saved_model.pb", ["Prediction:0"], True),
        ("savedmodel_tf1/mlnet/sentiment_model/saved_model.pb", ["Prediction/Softmax:0"], True),
    ],
)
def test_real_graphs(name: str, expected: list[str], certain: bool) -> None:  # noqa: FBT001
    assert outputs(zoo_graph(name)) == (expected, certain)


@needs_zoo
def test_real_hub_module() -> None:
    found, certain = outputs(zoo_graph("meta_only/tfnet_graphs/InceptionV3.meta"))
    assert "module_apply_default/hub_output/feature_vector/SpatialSqueeze:0" in found
    assert len(found) <= 10
    assert not certain
