"""Phase flags by structure, the value that means inference, and names as the last resort."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.graph_models import const, feed, graph, needs_zoo, op, scrambled, weights, zoo_graph
from tfinspect.ir.dtypes import DType
from tfinspect.surgery.phase import phase_flags
from tfinspect.surgery.shapes import TensorTypes

if TYPE_CHECKING:
    from tfinspect.ir.graph import Graph, Node

F, B = DType.FLOAT, DType.BOOL


def flags(source: Graph) -> dict[str, object]:
    return {flag.ref.name: flag.value for flag in phase_flags(source, TensorTypes(source))}


def switched(flag: str, *, random_if: bool = True) -> list[Node]:
    """A dropout on one side of a Switch, nothing on the other."""
    side, other = ("switch:1", "switch") if random_if else ("switch", "switch:1")
    return [
        feed("x", (None, 4)),
        op("Switch", "switch", "x", flag, T=F),
        op("Identity", "pivot", "pivots:1" if random_if else "pivots", T=B),
        op("Switch", "pivots", flag, flag, T=B),
        const("shape", [2, 4]),
        op("RandomUniform", "random", "shape", "^pivot", T=DType.INT32, dtype=F),
        op("Mul", "dropped", side, "random", T=F),
        op("Merge", "y", "dropped", other, T=F, N=2),
    ]


@pytest.mark.parametrize("random_if", [True, False])
def test_bool_that_steers_a_switch(random_if: bool) -> None:  # noqa: FBT001
    assert flags(graph(feed("flag", (), B), switched("flag", random_if=random_if))) == {"flag": not random_if}


def test_negated_flag() -> None:
    source = graph(feed("is_test", (), B), op("LogicalNot", "not", "is_test"), switched("not"))
    assert flags(source) == {"is_test": True}


def test_number_that_is_cast_to_a_predicate() -> None:
    source = graph(
        feed("phase", (), DType.INT32), op("Cast", "flag", "phase", SrcT=DType.INT32, DstT=B), switched("flag")
    )
    (found,) = phase_flags(source, TensorTypes(source))
    assert found.value == 0
    assert type(found.value) is int


def test_default_and_functional_control_flow() -> None:
    source = graph(
        const("no", value=False, dtype=B),
        op("PlaceholderWithDefault", "training", "no", dtype=B, shape=()),
        feed("x", (None, 4)),
        op("StatelessIf", "y", "training", "x", Tcond=B, Tin=[F], Tout=[F]),
    )
    assert flags(source) == {"training": False}


def keep_prob_dropout(keep: str) -> list[Node]:
    """tf.nn.dropout of TensorFlow 1.0-1.12: x / keep * floor(keep + random)."""
    return [
        feed("x", (None, 4)),
        const("shape", [2, 4]),
        op("RandomUniform", "random", "shape", T=DType.INT32, dtype=F),
        weights("span", 1),
        op("Mul", "scaled", "random", "span", T=F),
        op("Add", "sum", keep, "scaled", T=F),
        op("Floor", "floor", "sum", T=F),
        op("RealDiv", "div", "x", keep, T=F),
        op("Mul", "y", "div", "floor", T=F),
    ]


def rate_dropout(rate: str, compare: str = "GreaterEqual", *, swapped: bool = False) -> list[Node]:
    """tf.nn.dropout from TensorFlow 1.13 on: x * scale * cast(random >= rate)."""
    operands = (rate, "random") if swapped else ("random", rate)
    return [
        feed("x", (None, 4)),
        const("shape", [2, 4]),
        op("RandomUniform", "random", "shape", T=DType.INT32, dtype=F),
        op(compare, "kept", *operands, T=F),
        op("Cast", "mask", "kept", SrcT=B, DstT=F),
        op("Mul", "y", "x", "mask", T=F),
    ]


def test_keep_probability_and_rate() -> None:
    assert flags(graph(feed("p", ()), keep_prob_dropout("p"))) == {"p": 1.0}
    assert flags(graph(feed("p", ()), rate_dropout("p"))) == {"p": 0.0}
    assert flags(graph(feed("p", ()), rate_dropout("p", "Less"))) == {"p": 1.0}
    assert flags(graph(feed("p", ()), rate_dropout("p", "LessEqual", swapped=True))) == {"p": 0.0}
    one_minus = [const("one", 1.0, F), op("Sub", "rate", "one", "p", T=F)]
    assert flags(graph(feed("p", ()), one_minus, rate_dropout("rate"))) == {"p": 1.0}


def test_structure_beats_names() -> None:
    # a placeholder called dropout that holds the share to keep, as several published models have it
    assert flags(graph(feed("dropout_rate", ()), keep_prob_dropout("dropout_rate"))) == {"dropout_rate": 1.0}
    source, names = scrambled(graph(feed("keep_prob", None), keep_prob_dropout("keep_prob")))
    assert flags(source) == {names["keep_prob"]: 1.0}


def test_names_where_structure_says_nothing() -> None:
    def used(name: str, dtype: DType) -> Graph:
        return graph(feed(name, (), dtype), op("SomeOp", "y", name))

    assert flags(used("model/is_training", B)) == {"model/is_training": False}
    assert flags(used("d/keras_learning_phase_1", B)) == {"d/keras_learning_phase_1": False}
    assert flags(used("phase_train", DType.INT32)) == {"phase_train": 0}
    assert flags(used("keep_prob", F)) == {"keep_prob": 1.0}
    assert flags(used("dropout_rate", F)) == {"dropout_rate": 0.0}
    assert flags(used("dropout", F)) == {}
    assert flags(used("temperature", F)) == {}


def test_data_is_no_flag() -> None:
    source = graph(feed("x", (None, 4)), feed("mask", (None,), B), op("Select", "y", "mask", "x", "x", T=F))
    assert flags(source) == {}
    assert flags(graph(feed("is_training", (), B))) == {}  # used by nothing


@needs_zoo
@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("frozen_pb/chen0040_image_cnn/cnn_cifar10.pb", {"dropout_1/keras_learning_phase": False}),
        ("frozen_pb/foolnltk/seg.pb", {"dropout": 1.0, "input_dropout_keep_prob": 1.0}),
        ("frozen_pb/tf2onnx_lstm/frozen.pb", {"keep_prob": 1.0}),
        ("savedmodel_tf1/mlnet/mnist_conv_model/saved_model.pb", {"DropoutProb": 1.0}),
        ("savedmodel_tf1/mlnet/sentiment_model/saved_model.pb", {"batch_normalization/keras_learning_phase": False}),
        ("frozen_pb/mobilenet_v1_025_128/frozen_graph.pb", {}),
    ],
)
def test_real_graphs(name: str, expected: dict[str, object]) -> None:
    assert flags(zoo_graph(name)) == expected


@needs_zoo
def test_names_play_no_part_in_real_graphs() -> None:
    source, names = scrambled(zoo_graph("frozen_pb/chen0040_image_cnn/cnn_cifar10.pb"))
    assert flags(source) == {names["dropout_1/keras_learning_phase"]: False}
