"""The batch dimension: set where it is asked for, freed where the graph pins it, refused where there is none."""

from __future__ import annotations

import numpy as np
import pytest

from tfinspect.errors import UsageError
from tfinspect.ir.attrs import Attr
from tfinspect.ir.dtypes import DType
from tfinspect.ir.graph import Graph, Node, const, placeholder
from tfinspect.ir.refs import TensorRef
from tfinspect.ir.signature import TensorSpec
from tfinspect.ir.tensors import Tensor
from tfinspect.surgery.batch import set_batch

T = {"T": Attr.of(DType.FLOAT)}
X = TensorSpec(TensorRef("x"), DType.FLOAT, (1, 2, 3))


def pinned(target: list[int]) -> Graph:
    """x [1, 2, 3] reshaped."""
    return Graph(
        [
            placeholder("x", DType.FLOAT, (1, 2, 3)),
            const("shape", Tensor.of(np.array(target, "i4"))),
            Node("y", "Reshape", ("x", "shape"), T),
        ]
    )


def target_of(graph: Graph) -> list[int]:
    tensor = graph.node("shape").tensor()
    assert tensor is not None
    return tensor.numpy().tolist()


@pytest.mark.parametrize("batch", ["dynamic", "4"])
@pytest.mark.parametrize(
    ("target", "freed"),
    [([1, 6], [-1, 6]), ([1, -1], [-1, 6]), ([1, 3, -1], [-1, 3, 2]), ([-1, 6], [-1, 6]), ([2, 3], [2, 3]), ([6], [6])],
)
def test_a_pinned_batch_is_freed_and_nothing_else(batch: str, target: list[int], freed: list[int]) -> None:
    graph, (spec,) = set_batch(pinned(target), [X], batch)
    assert target_of(graph) == freed
    assert spec.shape == (None if batch == "dynamic" else 4, 2, 3)
    assert graph.node("x").value("shape") == spec.shape


def test_a_batch_of_one_frees_nothing() -> None:
    graph, (spec,) = set_batch(pinned([1, 6]), [X], "1")
    assert target_of(graph) == [1, 6]
    assert spec.shape == (1, 2, 3)


def test_without_a_batch_the_graph_is_the_same_object() -> None:
    graph = pinned([1, 6])
    assert set_batch(graph, [X], None) == (graph, (X,))


def test_a_constant_that_is_also_data_stays() -> None:
    graph = pinned([1, 6])
    graph = graph.replace(nodes=[*graph.nodes, Node("z", "Identity", ("shape",), {"T": Attr.of(DType.INT32)})])
    assert target_of(set_batch(graph, [X], "dynamic")[0]) == [1, 6]


def test_an_open_rest_that_cannot_be_told_stays() -> None:
    graph = pinned([1, -1])
    graph = graph.replace(nodes=[placeholder("x", DType.FLOAT, (1, None, 3)), *graph.nodes[1:]])
    spec = TensorSpec(TensorRef("x"), DType.FLOAT, (1, None, 3))
    assert target_of(set_batch(graph, [spec], "dynamic")[0]) == [1, -1]


@pytest.mark.parametrize("batch", ["0", "-1", "x", "", "1.5", "\N{SUPERSCRIPT TWO}"])
def test_what_is_no_size_is_refused(batch: str) -> None:
    with pytest.raises(UsageError, match="is not a batch size"):
        set_batch(pinned([1, 6]), [X], batch)


@pytest.mark.parametrize("shape", [(), None, (5,)])
def test_an_input_without_a_batch_is_refused(shape: tuple[int, ...] | None) -> None:
    spec = TensorSpec(TensorRef("x"), DType.FLOAT, shape)
    with pytest.raises(UsageError, match="no input has a batch dimension") as caught:
        set_batch(pinned([1, 6]), [spec], "dynamic")
    assert caught.value.details[0].startswith("x:0")
