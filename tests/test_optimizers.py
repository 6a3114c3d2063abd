"""Optimizers step as Keras' do, and L-BFGS finds minima."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING

import numpy as np
import pytest

from tfinspect.learn.lbfgs import minimise
from tfinspect.learn.optimizers import METHODS, Optimizer

if TYPE_CHECKING:
    from pathlib import Path

STEPS = 25
_KERAS = """
import json, os, sys
os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
import numpy as np
import tensorflow as tf

given = np.load(sys.argv[1])
make = {
    "adam": lambda rate: tf.keras.optimizers.Adam(rate),
    "sgd": lambda rate: tf.keras.optimizers.SGD(rate),
    "momentum": lambda rate: tf.keras.optimizers.SGD(rate, momentum=0.9),
    "nesterov": lambda rate: tf.keras.optimizers.SGD(rate, momentum=0.9, nesterov=True),
    "rmsprop": lambda rate: tf.keras.optimizers.RMSprop(rate),
    "adagrad": lambda rate: tf.keras.optimizers.Adagrad(rate),
    "adadelta": lambda rate: tf.keras.optimizers.Adadelta(rate),
    "ftrl": lambda rate: tf.keras.optimizers.Ftrl(rate),
}
found = {}
for name, rate in json.loads(sys.argv[2]):
    weights, biases = tf.Variable(given["weights"]), tf.Variable(given["biases"])
    optimizer = make[name](rate)
    for step in range(len(given["weight_slopes"])):
        slopes = [tf.constant(given["weight_slopes"][step]), tf.constant(given["bias_slopes"][step])]
        optimizer.apply_gradients(zip(slopes, [weights, biases]))
    found[f"{name}/weights"], found[f"{name}/biases"] = weights.numpy(), biases.numpy()
np.savez(sys.argv[3], **found)
"""


def drawn() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(3)
    return {
        "weights": rng.standard_normal((6, 4)).astype("f4"),
        "biases": rng.standard_normal(4).astype("f4"),
        "weight_slopes": (rng.standard_normal((STEPS, 6, 4)) * 10 ** rng.uniform(-3, 1, (STEPS, 1, 1))).astype("f4"),
        "bias_slopes": rng.standard_normal((STEPS, 4)).astype("f4"),
    }


@pytest.mark.tensorflow
def test_every_optimizer_steps_as_keras_does(tmp_path: Path) -> None:
    given = drawn()
    np.savez(tmp_path / "given.npz", **given)
    wanted = [(name, method.learning_rate) for name, method in METHODS.items()]
    subprocess.run(
        [sys.executable, "-c", _KERAS, tmp_path / "given.npz", json.dumps(wanted), tmp_path / "found.npz"],
        check=True, capture_output=True,
    )  # fmt: skip
    with np.load(tmp_path / "found.npz") as keras:
        for name, rate in wanted:
            weights, biases = given["weights"].copy(), given["biases"].copy()
            optimizer = Optimizer(name, rate)
            for step in range(STEPS):
                optimizer.apply([weights, biases], [given["weight_slopes"][step], given["bias_slopes"][step]])
            moved = np.abs(keras[f"{name}/weights"] - given["weights"]).max()
            assert moved > 1e-3, name
            np.testing.assert_allclose(weights, keras[f"{name}/weights"], rtol=1e-5, atol=1e-5, err_msg=name)
            np.testing.assert_allclose(biases, keras[f"{name}/biases"], rtol=1e-5, atol=1e-5, err_msg=name)


def test_first_steps_by_hand() -> None:
    found = {}
    for name in METHODS:
        weights = np.array([1.0])
        Optimizer(name, 0.1).apply([weights], [np.array([2.0])])
        found[name] = float(weights[0])
    assert found["sgd"] == found["momentum"] == pytest.approx(0.8)
    assert found["nesterov"] == pytest.approx(1 - 0.2 - 0.9 * 0.2)
    assert found["adam"] == pytest.approx(0.9)  # the first step goes the whole learning rate
    assert found["rmsprop"] == pytest.approx(1 - 0.2 / 0.4**0.5)
    assert found["adagrad"] == pytest.approx(1 - 0.2 / 4.1**0.5)
    assert found["adadelta"] == pytest.approx(1 - 0.1 * 2 * (1e-7 / 0.2) ** 0.5, rel=1e-6)
    # z = 2 - (sqrt(4.1) - sqrt(0.1)) / 0.1, and the weight is -z * 0.1 / sqrt(4.1)
    assert found["ftrl"] == pytest.approx(-(2 - (4.1**0.5 - 0.1**0.5) / 0.1) * 0.1 / 4.1**0.5)


@pytest.mark.parametrize("name", METHODS)
def test_every_optimizer_goes_down(name: str) -> None:
    weights = np.array([3.0, -2.0])
    optimizer = Optimizer(name, METHODS[name].learning_rate)  # type: ignore[arg-type]
    for _ in range(100):
        optimizer.apply([weights], [2 * weights])
    assert optimizer.step == 100
    assert float(weights @ weights) < 13 * 0.95


def test_lbfgs_finds_the_minimum_of_a_badly_scaled_bowl() -> None:
    scales = np.logspace(0, 2, 30)
    target = np.linspace(-1, 1, 30)

    def bowl(point: np.ndarray) -> tuple[float, np.ndarray]:
        away = point - target
        return float(0.5 * (scales * away**2).sum()), scales * away

    values: list[float] = []
    found = minimise(bowl, np.zeros(30), tolerance=1e-8, seen=lambda _, value: values.append(value))
    assert found.converged
    np.testing.assert_allclose(found.point, target, atol=1e-7)
    assert found.iterations == len(values)
    assert values == sorted(values, reverse=True)


def test_lbfgs_stops_where_it_is_told() -> None:
    def bowl(point: np.ndarray) -> tuple[float, np.ndarray]:
        return float((point**4).sum()), 4 * point**3

    found = minimise(bowl, np.full(5, 10.0), tolerance=1e-12, iterations=3)
    assert (found.iterations, found.converged) == (3, False)
    assert minimise(bowl, np.zeros(5)).iterations == 0
