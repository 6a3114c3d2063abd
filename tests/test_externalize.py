"""Large weights become placeholders of the same name, and nothing else changes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tfinspect.formats import graphdef
from tfinspect.ir.attrs import Attr
from tfinspect.ir.dtypes import DType
from tfinspect.ir.graph import Graph, Node, const, placeholder
from tfinspect.ir.refs import TensorRef
from tfinspect.ir.tensors import Tensor
from tfinspect.surgery.externalize import externalize

ZOO = Path(__file__).parents[2] / "shared" / "zoo"
F = Attr.of(DType.FLOAT)


def op(name: str, kind: str, *inputs: str) -> Node:
    return Node(name, kind, inputs, {"T": F})


def graph(*extra: Node, size: int = 200, dtype: str = "f4") -> Graph:
    return Graph(
        [
            placeholder("x", DType.FLOAT, (None, size)),
            const("w", Tensor.of(np.ones((size, size), dtype))),
            op("w/read", "Identity", "w"),
            op("y", "MatMul", "x", "w/read"),
            *extra,
        ]
    )


def test_a_weight_becomes_a_placeholder_and_its_identity_goes() -> None:
    before = graph()
    after, weights = externalize(before)
    assert list(weights) == ["w"]
    assert weights["w"] is before.node("w").tensor()
    assert after.node("w").op == "Placeholder"
    assert after.node("w").attrs["shape"].value == (200, 200)
    assert after.node("y").inputs == ("x", "w")
    assert "w/read" not in after
    assert after.node("x") is before.node("x")


@pytest.mark.parametrize(
    ("before", "why"),
    [
        (graph(size=20), "small"),
        (graph(dtype="i4"), "integer"),
        (graph(op("s", "Shape", "w")), "read by something else"),
        (graph(op("s", "Relu", "w/read")), "read by something else behind its identity"),
        (graph(op("o", "Identity", "w")), "an identity that may be an output"),
        (graph(op("o", "Relu", "x", "^w/read")), "waited for"),
        (graph(op("e", "Enter", "x")), "a loop"),
        (graph(op("t", "TensorArrayV3", "x")), "a loop"),
    ],
)
def test_what_does_not_qualify_stays(before: Graph, why: str) -> None:
    assert externalize(before) == (before, {}), why


def test_outputs_stay_what_they_are() -> None:
    before = graph()
    assert externalize(before, keep=[TensorRef("w/read")])[1] == {}
    assert externalize(before, min_nbytes=200 * 200 * 4 + 1)[1] == {}
    assert list(externalize(before, min_nbytes=200 * 200 * 4)[1]) == ["w"]


@pytest.mark.skipif(not ZOO.exists(), reason="the collection of real models is not beside the repository")
def test_a_real_model_gives_its_weights_back_unchanged() -> None:
    before = graphdef.read(ZOO / "frozen_pb/mobilenet_v1_025_128/frozen_graph.pb")
    after, weights = externalize(before, min_nbytes=4096)
    assert len(weights) > 5
    assert all(name in after for node in after.nodes for name in node.input_names)
    for name, tensor in weights.items():
        assert tensor is before.node(name).tensor()
        assert after.node(name).attrs["shape"].value == tensor.shape
    rest = {node.name: node.op for node in after.nodes if node.name not in weights}
    assert all(before.node(name).op == kind for name, kind in rest.items())
