"""Metrics: the same numbers as scikit-learn's, and sense at the edges."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as oracle

from tfinspect.learn import dense
from tfinspect.learn.metrics import evaluate, interval, mistakes, roc_auc, roc_curve

NAMES = ("daisy", "roses", "tulips", "sunflowers")


def drawn(seed: int, count: int = 60, width: int = 4) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, width, count)
    outputs = dense.softmax(rng.standard_normal((count, width)) + np.eye(width)[labels])
    return outputs, labels


@pytest.mark.parametrize("seed", range(3))
def test_a_softmax_is_measured_as_scikit_learn_measures_it(seed: int) -> None:
    outputs, labels = drawn(seed)
    found = evaluate("softmax", outputs, labels, NAMES)
    called = outputs.argmax(1)
    assert found["accuracy"] == pytest.approx(oracle.accuracy_score(labels, called))
    assert found["balanced_accuracy"] == pytest.approx(oracle.balanced_accuracy_score(labels, called))
    assert found["log_loss"] == pytest.approx(oracle.log_loss(labels, outputs, labels=range(4)))
    assert found["confusion"] == oracle.confusion_matrix(labels, called, labels=range(4)).tolist()
    assert found["roc_auc"] == pytest.approx(oracle.roc_auc_score(labels, outputs, multi_class="ovr"))
    for k in (2, 3):
        assert found["top_k"][str(k)] == pytest.approx(oracle.top_k_accuracy_score(labels, outputs, k=k))
    precision, recall, f1, support = oracle.precision_recall_fscore_support(labels, called, labels=range(4))
    for i, row in enumerate(found["per_class"]):
        assert row["name"] == NAMES[i]
        assert (row["precision"], row["recall"], row["f1"]) == pytest.approx((precision[i], recall[i], f1[i]))
        assert row["support"] == support[i]
    assert found["f1"] == pytest.approx(f1.mean())


def test_several_labels_are_measured_as_scikit_learn_measures_them() -> None:
    rng = np.random.default_rng(5)
    labels = (rng.random((50, 3)) < 0.4).astype(np.int64)
    outputs = dense.sigmoid(rng.standard_normal((50, 3)) + 2 * labels - 1)
    found = evaluate("sigmoid", outputs, labels, NAMES[:3])
    called = outputs >= 0.5
    assert found["accuracy"] == pytest.approx((called == labels).mean())
    assert found["exact_match"] == pytest.approx(oracle.accuracy_score(labels, called))
    assert found["roc_auc"] == pytest.approx(oracle.roc_auc_score(labels, outputs))
    assert found["confusion"] == oracle.multilabel_confusion_matrix(labels, called).tolist()
    losses = [oracle.log_loss(labels[:, i], outputs[:, i]) for i in range(3)]
    assert found["log_loss"] == pytest.approx(np.mean(losses))


def test_quantities_are_measured_as_scikit_learn_measures_them() -> None:
    rng = np.random.default_rng(6)
    truth = rng.standard_normal((40, 2)).astype("f4") * 7
    outputs = (truth + rng.standard_normal((40, 2))).astype("f4")
    found = evaluate("linear", outputs, truth, ("height", "width"))
    assert found["mse"] == pytest.approx(oracle.mean_squared_error(truth, outputs), rel=1e-5)
    assert found["mae"] == pytest.approx(oracle.mean_absolute_error(truth, outputs), rel=1e-5)
    assert found["r2"] == pytest.approx(oracle.r2_score(truth, outputs), rel=1e-5)
    assert [row["name"] for row in found["per_target"]] == ["height", "width"]
    assert evaluate("linear", outputs[:, :1], truth[:, 0], ())["per_target"][0]["name"] == "target 0"
    assert evaluate("linear", np.ones((3, 1)), np.ones(3), ("a",))["r2"] is None


def test_nothing_to_measure() -> None:
    assert evaluate("softmax", np.empty((0, 4)), np.empty(0, np.int64), NAMES) == {"images": 0}


def test_a_class_without_images_has_no_numbers() -> None:
    outputs = np.array([[0.9, 0.1, 0.0, 0.0], [0.2, 0.8, 0.0, 0.0]])
    found = evaluate("softmax", outputs, np.array([0, 1]), NAMES)
    row = found["per_class"][2]
    assert row == {"name": "tulips", "support": 0, "precision": None, "recall": None, "f1": None, "roc_auc": None}
    assert found["balanced_accuracy"] == found["f1"] == 1.0
    assert evaluate("softmax", np.array([[0.0, 1.0]]), np.array([0]), NAMES[:2])["log_loss"] == pytest.approx(
        34.5, 0.01
    )


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 6), st.booleans()), min_size=2, max_size=40))
def test_the_area_is_that_of_all_pairs(rows: list[tuple[int, bool]]) -> None:
    values, positive = np.array([r[0] for r in rows], float), np.array([r[1] for r in rows])
    found, curve = roc_auc(values, positive), roc_curve(values, positive)
    pairs = [(a > b) + 0.5 * (a == b) for a in values[positive] for b in values[~positive]]
    if not pairs:
        assert found is curve is None
        return
    assert found == pytest.approx(np.mean(pairs))
    assert curve is not None
    assert float(np.trapezoid(curve[1], curve[0])) == pytest.approx(np.mean(pairs))


def test_a_long_curve_is_thinned_and_keeps_its_ends() -> None:
    values = np.arange(10_000.0)
    curve = roc_curve(values, values % 3 == 0)
    assert curve is not None
    assert len(curve[0]) <= 101
    assert [curve[0][0], curve[1][0], curve[0][-1], curve[1][-1]] == [0, 0, 1, 1]


def test_an_interval_is_wilsons() -> None:
    low, high = interval(33, 42)
    assert (low, high) == pytest.approx((0.6406, 0.8829), abs=1e-4)  # computed by hand from Wilson's formula
    assert interval(0, 5)[0] == 0.0
    assert interval(5, 5)[1] == pytest.approx(1.0)


def test_mistakes_come_surest_first_and_name_what_was_meant() -> None:
    outputs = np.array([[0.6, 0.4], [0.05, 0.95], [0.3, 0.7]])
    rows = mistakes("softmax", outputs, np.array([1, 0, 1]), ("cat", "dog"), ("a", "b", "c"))
    assert rows == [("b", "cat", "dog", 0.95), ("a", "dog", "cat", 0.6)]
    rows = mistakes("sigmoid", outputs, np.array([[1, 1], [0, 1], [1, 0]]), ("cat", "dog"), ("a", "b", "c"))
    assert rows == [("c", "cat", "not cat", 0.7), ("c", "not dog", "dog", 0.7), ("a", "dog", "not dog", 0.6)]
    rows = mistakes("linear", np.array([[1.0], [5.0]]), np.array([1.5, 2.0]), (), ("a", "b"))
    assert rows == [("b", "2", "5", 3.0), ("a", "1.5", "1", 0.5)]
    assert len(mistakes("softmax", outputs, np.array([1, 0, 1]), ("cat", "dog"), ("a", "b", "c"), limit=1)) == 1
