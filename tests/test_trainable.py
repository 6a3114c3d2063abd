"""Which constants may be trained, how deep they lie, and which are meant."""

from __future__ import annotations

import numpy as np
import pytest

from tests.small_trunk import NECK, START, STATISTICS, WEIGHTS, F, op, trunk, values
from tfinspect.errors import NameNotFoundError, UsageError
from tfinspect.ir.dtypes import DType
from tfinspect.ir.graph import Graph, const, placeholder
from tfinspect.ir.refs import TensorRef
from tfinspect.surgery.trainable import Parameters, behind, find_parameters, matching, rates, with_values


def parameters(graph: Graph | None = None) -> Parameters:
    return find_parameters(graph or trunk(), [START], [NECK])


def test_weights_are_found_and_statistics_left_out() -> None:
    found = parameters()
    assert sorted(t.name for t in found.trainable) == sorted(WEIGHTS)
    assert [(n.mean, n.variance, n.input, n.depth) for n in found.norms] == [
        ("first/mean", "first/variance", "first/conv:0", 1),
        ("second/mean", "second/variance", "second/biased:0", 0),
    ]
    assert not {t.name for t in found.trainable} & set(STATISTICS)


def test_roles_depths_and_what_decays() -> None:
    found = {t.name: t for t in parameters().trainable}
    assert {name: t.role for name, t in found.items()} == {
        "first/weights": "weights", "first/gamma": "gamma", "first/beta": "beta", "second/weights": "weights",
        "second/biases": "bias", "second/gamma": "gamma", "second/beta": "beta",
    }  # fmt: skip
    assert {name for name, t in found.items() if t.depth == 1} == {"first/weights", "first/gamma", "first/beta"}
    assert {name for name, t in found.items() if t.decays} == {"first/weights", "second/weights"}
    assert parameters().layers == 2


def test_what_is_done_to_pixels_before_the_first_layer_is_no_weight() -> None:
    found = parameters(trunk(scaled=True))
    assert sorted(t.name for t in found.trainable) == sorted(WEIGHTS)


def test_layers_of_branches_have_the_depth_of_the_longer_way() -> None:
    graph = Graph(
        [
            placeholder("photos", DType.FLOAT, (None, 4)),
            const("w0", values(4, 4, seed=0)),
            op("m0", "MatMul", "photos", "w0"),
            const("w1", values(4, 4, seed=1)),
            op("m1", "MatMul", "m0", "w1"),
            op("pool", "AddV2", "m0", "m1"),
        ]
    )
    assert {t.name: t.depth for t in parameters(graph).trainable} == {"w0": 1, "w1": 0}


def test_rates_fall_with_every_layer_from_the_head() -> None:
    found = rates(parameters(), ["first/weights", "second/beta"], 0.5)
    assert found == {"first/weights": 0.25, "second/beta": 0.5}


def test_what_comes_after_a_tensor() -> None:
    assert sorted(behind(trunk(), parameters(), TensorRef("first/relu"))) == sorted(WEIGHTS[3:])
    assert sorted(behind(trunk(), parameters(), TensorRef("second/biased"))) == ["second/beta", "second/gamma"]
    assert len(behind(trunk(), parameters(), START)) == len(WEIGHTS)


@pytest.mark.parametrize("name", ["second/relu", "pool", "old/logits"])
def test_nothing_comes_after_the_last_layer(name: str) -> None:
    with pytest.raises(UsageError, match=f"no weights stand between `{name}:0` and the bottleneck"):
        behind(trunk(), parameters(), TensorRef(name))


@pytest.mark.parametrize(
    ("patterns", "names"),
    [
        (["second"], WEIGHTS[3:]),
        (["second/"], WEIGHTS[3:]),
        (["*/weights"], ["first/weights", "second/weights"]),
        (["second/biases", "first/b*"], ["first/beta", "second/biases"]),
    ],
)
def test_scopes_and_patterns(patterns: list[str], names: list[str]) -> None:
    assert sorted(matching(parameters(), patterns)) == sorted(names)


def test_a_scope_that_is_not_there_has_near_names() -> None:
    with pytest.raises(NameNotFoundError) as caught:
        matching(parameters(), ["secnd"])
    assert caught.value.message == "no weights on the way to the bottleneck are in the scope `secnd`"
    assert caught.value.near[0] == "second"
    with pytest.raises(NameNotFoundError):
        matching(parameters(), ["old"])  # behind the bottleneck


def test_a_bottleneck_before_all_weights_is_refused() -> None:
    with pytest.raises(UsageError) as caught:
        find_parameters(trunk(scaled=True), [START], [TensorRef("shifted")])
    assert caught.value.message == (
        "no float32 weights stand between `photos:0` and `shifted:0`, so there is nothing to train"
    )


def test_values_are_changed_and_nothing_else() -> None:
    graph = trunk()
    new = np.full(8, 7, np.float32)
    changed = with_values(graph, {"second/biases": new})
    for old, node in zip(graph.nodes, changed.nodes, strict=True):
        if node.name != "second/biases":
            assert node is old
    held = changed.node("second/biases").tensor()
    assert held is not None
    assert np.array_equal(held.numpy(), new)
    assert changed.node("second/biases").attrs["dtype"] == F


@pytest.mark.parametrize("value", [np.zeros(9, np.float32), np.zeros(8, np.float64)])
def test_values_that_do_not_fit_are_refused(value: np.ndarray) -> None:
    with pytest.raises(UsageError, match="`second/biases` is no constant of type"):
        with_values(trunk(), {"second/biases": value})
