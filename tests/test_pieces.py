"""A batch in pieces is the same batch: every image in its place, and pieces of one size."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tfinspect import runtimes
from tfinspect.runtimes import _pieces
from tfinspect.runtimes._pieces import run_in_pieces, threads_of_a_run

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path


@given(count=st.integers(1, 70), at_once=st.integers(1, 9))
def test_every_image_is_run_once_in_pieces_of_one_size(count: int, at_once: int) -> None:
    sizes: list[int] = []

    def run(feeds: Mapping[str, Any]) -> list[Any]:
        sizes.append(len(feeds["x"]))
        return [feeds["x"] * 2, feeds["x"].sum(axis=1)]

    x = np.arange(count * 3, dtype=np.float32).reshape(count, 3)
    doubled, sums = run_in_pieces(run, {"x": x}, at_once=at_once)
    assert (doubled == x * 2).all()
    assert (sums == x.sum(axis=1)).all()
    assert sum(sizes) == count
    assert len(set(sizes)) == 1
    assert max(sizes) <= 4


@pytest.mark.parametrize(
    ("feeds", "answer"),
    [
        ({"x": np.zeros((8, 2)), "y": np.zeros((2, 2))}, np.ones(8)),
        ({"x": np.zeros(())}, np.ones(1)),
        ({}, np.ones(1)),
        ({"x": np.zeros((8, 2))}, np.float32(1)),
        ({"x": np.zeros((8, 2))}, np.ones((1, 5))),
        ({"x": np.zeros((8, 2))}, ["a", "list"]),
    ],
)
def test_what_is_no_batch_is_run_as_it_is(feeds: dict[str, Any], answer: object) -> None:
    whole = []

    def run(given: Mapping[str, Any]) -> list[Any]:
        whole.append(given is feeds)
        return [answer]

    (found,) = run_in_pieces(run, feeds)
    assert found is answer
    assert whole[-1]


def test_pieces_run_at_once() -> None:
    together = threading.Barrier(3, timeout=20)

    def run(feeds: Mapping[str, Any]) -> list[Any]:
        together.wait()
        return [feeds["x"]]

    x = np.arange(24, dtype=np.float32)
    (found,) = run_in_pieces(run, {"x": x}, at_once=3)
    assert (found == x).all()


def test_a_failure_is_the_callers(monkeypatch: pytest.MonkeyPatch) -> None:
    def run(_: Mapping[str, Any]) -> list[Any]:
        raise ValueError("refused")

    monkeypatch.setattr(_pieces, "_processors", lambda: 2)
    with pytest.raises(ValueError, match=r"^refused$"):
        run_in_pieces(run, {"x": np.zeros((8, 2))})


@pytest.mark.parametrize(("processors", "threads"), [(1, 1), (2, 1), (8, 1), (9, 2), (64, 57)])
def test_processors_beyond_the_pieces_help_each_run(
    processors: int, threads: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_pieces, "_processors", lambda: processors)
    assert threads_of_a_run() == threads


def test_onnxruntime_gives_the_same_bits_in_pieces(tmp_path: Path) -> None:
    from onnx import TensorProto, checker, helper, numpy_helper, save

    rng = np.random.default_rng(3)
    weights = {
        "k": rng.normal(size=(16, 3, 3, 3)).astype("f4"),
        "d": rng.normal(size=(16, 1, 3, 3)).astype("f4"),
    }
    nodes = [
        helper.make_node("Transpose", ["x"], ["t"], perm=[0, 3, 1, 2]),
        helper.make_node("Conv", ["t", "k"], ["c"], strides=[2, 2]),
        helper.make_node("Relu", ["c"], ["r"]),
        helper.make_node("Conv", ["r", "d"], ["e"], group=16),
        helper.make_node("GlobalAveragePool", ["e"], ["y"]),
    ]
    graph = helper.make_graph(
        nodes,
        "small",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 19, 19, 3])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", 16, 1, 1])],
        [numpy_helper.from_array(value, name) for name, value in weights.items()],
    )
    model = helper.make_model(graph, ir_version=8, opset_imports=[helper.make_opsetid("", 15)])
    checker.check_model(model)
    save(model, tmp_path / "small.onnx")
    x = rng.normal(size=(12, 19, 19, 3)).astype("f4")
    runner = runtimes.onnx_model(tmp_path / "small.onnx")
    runner.load(variant="shared")
    (whole,) = runner.run(["y"], {"x": x})
    (pieces,) = runner.run(["y"], {"x": x}, variant="shared")
    assert (pieces == whole).all()
    assert np.ptp(whole) > 1
