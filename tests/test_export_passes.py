"""Small passes of the export: dropout that keeps everything, 8-bit weights, constants, what inputs must be."""

from __future__ import annotations

import numpy as np
import pytest

from tfinspect.ir.attrs import Attr
from tfinspect.ir.dtypes import DType
from tfinspect.ir.graph import Graph, Node, const, placeholder
from tfinspect.ir.refs import TensorRef
from tfinspect.ir.tensors import Tensor
from tfinspect.surgery.constant_tensors import constant_tensors
from tfinspect.surgery.cut import tensors_behind
from tfinspect.surgery.demands import holds_images, holds_lengths, holds_pixels, implied_shape, vocabulary
from tfinspect.surgery.fold_dequantize import fold_dequantize
from tfinspect.surgery.shapes import TensorTypes
from tfinspect.surgery.strip_dropout import strip_dropout

T = {"T": Attr.of(DType.FLOAT)}
Y = TensorRef("y")
X = TensorRef("x")


def number(name: str, value: object) -> Node:
    return const(name, Tensor.of(np.array(value, "f4")))


def integers(name: str, value: object) -> Node:
    return const(name, Tensor.of(np.array(value, "i4")))


def dropout(keep: float, *, low: float = 0.0, swapped: bool = False) -> Graph:
    """x / keep * floor(keep + uniform), as TensorFlow 1 wrote it."""
    factors = ["floor", "div"] if swapped else ["div", "floor"]
    return Graph(
        [
            placeholder("x", DType.FLOAT, (None, 4)),
            number("keep", keep), number("low", low), number("high", 1.0),
            Node("shape", "Shape", ("x",), T),
            Node("u/uniform", "RandomUniform", ("shape",), {"dtype": Attr.of(DType.FLOAT), "T": Attr.of(DType.INT32)}),
            Node("u/sub", "Sub", ("high", "low"), T),
            Node("u/mul", "Mul", ("u/uniform", "u/sub"), T),
            Node("u", "Add", ("u/mul", "low"), T),
            Node("add", "Add", ("keep", "u"), T),
            Node("floor", "Floor", ("add",), T),
            Node("div", "RealDiv", ("x", "keep"), T),
            Node("y", "Mul", factors, T),
        ]
    )  # fmt: skip


@pytest.mark.parametrize("swapped", [False, True])
def test_dropout_that_keeps_everything_goes(*, swapped: bool) -> None:
    graph, count = strip_dropout(dropout(1.0, swapped=swapped), [Y])
    assert count == 1
    assert (graph.node("y").op, graph.node("y").inputs) == ("Identity", ("x",))
    assert "RandomUniform" not in {node.op for node in graph.nodes}


@pytest.mark.parametrize("graph", [dropout(0.9), dropout(1.0, low=0.5), Graph([placeholder("y", DType.FLOAT, ())])])
def test_other_dropout_stays(graph: Graph) -> None:
    assert strip_dropout(graph, [Y]) == (graph, 0)


@pytest.mark.parametrize(("rate", "count"), [(0.0, 1), (0.2, 0)])
def test_dropout_by_rate(rate: float, count: int) -> None:
    graph = Graph(
        [
            placeholder("x", DType.FLOAT, (None, 4)),
            number("rate", rate),
            Node("shape", "Shape", ("x",), T),
            Node("u", "RandomUniform", ("shape",), {"dtype": Attr.of(DType.FLOAT), "T": Attr.of(DType.INT32)}),
            Node("test", "GreaterEqual", ("u", "rate"), T),
            Node("mask", "Cast", ("test",), {"SrcT": Attr.of(DType.BOOL), "DstT": Attr.of(DType.FLOAT)}),
            Node("y", "Mul", ("x", "mask"), T),
        ]
    )
    assert strip_dropout(graph, [Y])[1] == count


def quantized(mode: str | None, low: float, high: float) -> Graph:
    values = Tensor.of(np.array([0, 1, 184, 255], "u1"), DType.QUINT8)
    attrs = {"T": Attr.of(DType.QUINT8), **({"mode": Attr.of(mode)} if mode else {})}
    return Graph(
        [
            const("q", values),
            number("low", low),
            number("high", high),
            Node("y", "Dequantize", ("q", "low", "high"), attrs),
        ]
    )


@pytest.mark.parametrize(
    ("mode", "first", "last"),
    [(None, -8.6, 3.2), ("MIN_COMBINED", -8.6, 3.2), ("MIN_FIRST", np.rint(-8.6 / (11.8 / 255)) * 11.8 / 255, None)],
)
def test_bytes_become_floats(mode: str | None, first: float, last: float | None) -> None:
    graph, count = fold_dequantize(quantized(mode, -8.6, 3.2))
    value = graph.node("y").tensor()
    assert count == 1
    assert value is not None
    array = value.numpy()
    assert array.dtype == np.float32
    assert array[0] == pytest.approx(first, rel=1e-6)
    assert array[3] - array[0] == pytest.approx(11.8, rel=1e-6)
    assert last is None or array[3] == pytest.approx(last, rel=1e-6)
    if mode == "MIN_FIRST":  # zero lies on a step
        assert array / (11.8 / 255) == pytest.approx(np.rint(array / (11.8 / 255)), abs=1e-4)


def test_other_modes_stay() -> None:
    graph = quantized("SCALED", -1, 1)
    assert fold_dequantize(graph) == (graph, 0)


@pytest.mark.tensorflow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("mode", ["MIN_COMBINED", "MIN_FIRST"])
def test_bytes_become_the_floats_of_tensorflow(mode: str) -> None:
    import tensorflow as tf

    rng = np.random.default_rng(0)
    for _ in range(20):
        low, high = np.sort(rng.normal(0, 3, 2)).astype("f4")
        want = tf.quantization.dequantize(
            tf.constant([0, 1, 184, 255], tf.quint8), min(low, 0), max(high, 0), mode=mode
        ).numpy()
        value = fold_dequantize(quantized(mode, min(low, 0), max(high, 0)))[0].node("y").tensor()
        assert value is not None
        assert value.numpy().tobytes() == want.tobytes()


def test_constants_that_something_else_reads() -> None:
    graph = Graph(
        [
            placeholder("x", DType.FLOAT, (4,)),
            number("a", [1, 2, 3, 4]), number("b", [1, 1, 1, 1]),
            Node("sum", "Add", ("a", "b"), T),
            Node("twice", "Add", ("sum", "sum"), T),
            Node("y", "Mul", ("x", "twice"), T),
            Node("z", "Mul", ("x", "a"), T),
        ]
    )  # fmt: skip
    assert constant_tensors(graph) == [TensorRef("twice")]
    assert tensors_behind(graph, ["sum"]) == [TensorRef("sum")]
    assert tensors_behind(graph, ["nowhere"]) == []


def demanding(op: str, *others: Node, **attrs: Attr) -> tuple[Graph, TensorTypes]:
    nodes = [
        Node("x", "Placeholder", (), {"dtype": Attr.of(DType.FLOAT)}),
        *others,
        Node("y", op, ("x", *(o.name for o in others)), {**T, **attrs}),
    ]
    graph = Graph(nodes)
    return graph, TensorTypes(graph)


@pytest.mark.parametrize(
    ("op", "others", "attrs", "shape"),
    [
        ("Reshape", [integers("to", [-1, 28, 28, 1])], {}, (None, 28, 28, 1)),
        ("Reshape", [integers("to", [1, 2048])], {}, (1, 2048)),
        ("Reshape", [integers("to", [28, -1])], {}, None),
        ("Conv2D", [number("w", np.zeros((3, 3, 5, 2)))], {"strides": Attr.ints([1, 1, 1, 1])}, (None, None, None, 5)),
        ("Conv2D", [number("w", np.zeros((3, 3, 5, 2)))], {"data_format": Attr.of("NCHW")}, (None, 5, None, None)),
        ("MatMul", [number("w", np.zeros((7, 2)))], {}, (None, 7)),
        ("MatMul", [number("w", np.zeros((2, 7)))], {"transpose_b": Attr.of(value=True)}, (None, 7)),
        ("MaxPool", [], {}, (None,) * 4),
        ("Relu", [], {}, None),
    ],
)
def test_shapes_that_a_consumer_demands(
    op: str, others: list[Node], attrs: dict[str, Attr], shape: tuple[int | None, ...] | None
) -> None:
    graph, types = demanding(op, *others, **attrs)
    assert implied_shape(graph, X, types) == shape


def test_what_values_an_input_holds() -> None:
    indices = {"Tparams": Attr.of(DType.FLOAT), "Tindices": Attr.of(DType.INT32)}
    graph = Graph(
        [
            placeholder("x", DType.FLOAT, (None, 3)),
            number("table", np.zeros((11, 2))),
            Node("cast", "Cast", ("x",), {"SrcT": Attr.of(DType.FLOAT), "DstT": Attr.of(DType.INT32)}),
            Node("rows", "Gather", ("table", "cast"), indices),
            placeholder("image", DType.FLOAT, (1, 8, 8, 3)),
            number("mean", 128.0),
            Node("centred", "Sub", ("image", "mean"), T),
            placeholder("bytes", DType.STRING, ()),
            Node("DecodeJpeg", "DecodeJpeg", ("bytes",)),
            placeholder("lengths", DType.INT32, (None,)),
            Node("turned", "ReverseSequence", ("rows", "lengths"), T),
        ]
    )
    types = TensorTypes(graph)
    assert vocabulary(graph, X, types) == 11
    assert vocabulary(graph, TensorRef("image"), types) is None
    assert [holds_pixels(graph, TensorRef(n), types) for n in ("image", "x", "centred")] == [True, False, False]
    assert [holds_images(graph, TensorRef(n)) for n in ("bytes", "x")] == [True, False]
    assert [holds_lengths(graph, TensorRef(n)) for n in ("lengths", "rows")] == [True, False]
