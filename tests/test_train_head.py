"""train-head: gradients, minima, the command and what it writes, and every refusal."""

from __future__ import annotations

import hashlib
import json
import os
import resource
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression, Ridge

from tests.cli_calls import FIXTURES, ROOT, Caller
from tfinspect.api.train_head import train_head, train_head_file
from tfinspect.cli import completion
from tfinspect.errors import InputError, OutputError, OutputExistsError, TfinspectError, UsageError, WrongKindError
from tfinspect.formats import features as format_
from tfinspect.formats import heads
from tfinspect.ir.features import Features
from tfinspect.learn import dense, metrics
from tfinspect.learn.dense import Layer, Loss
from tfinspect.learn.prepared import Scaling
from tfinspect.learn.regime import regime
from tfinspect.learn.settings import Settings, check_settings
from tfinspect.learn.train import Trained, train

BESIDE = ["confusion.png", "curves.png", "metrics.json", "mistakes.tsv", "roc.png"]
RECIPE = {"size": [128, 128], "method": "bilinear"}


@pytest.fixture
def call(monkeypatch: pytest.MonkeyPatch) -> Caller:
    return Caller(monkeypatch)


def blobs(count: int = 150, width: int = 8, classes: int = 3, *, apart: float = 2.0, seed: int = 0) -> Features:
    """Clouds of points, one a class, at places far from 0 and of different size in each feature."""
    rng = np.random.default_rng(seed)
    labels = np.arange(count) % classes
    values = rng.standard_normal((count, width)) + apart * rng.standard_normal((classes, width))[labels]
    values = values * np.logspace(-2, 2, width) + np.logspace(-1, 3, width)
    split = np.array(["train", "train", "train", "validation", "test"])[np.arange(count) // classes % 5]
    names = tuple(f"class {i}" for i in range(classes))
    files = tuple(f"{names[label]}/{i:03d}.jpg" for i, label in enumerate(labels.tolist()))
    made = {"trunk": "net.pb", "trunk_sha256": "ab" * 32, "bottleneck": "pool:0", "preprocessing": RECIPE}
    return Features(values.astype("f4"), labels, names, files, tuple(split.tolist()), made)


def accuracy(data: Features, trained: Trained, part: str = "test") -> float:
    rows = data.part(part)  # type: ignore[arg-type]
    return float(
        metrics.evaluate(trained.kind, trained.outputs(data.features[rows]), data.labels[rows], data.classes)[
            "accuracy"
        ]
    )


# -- gradients ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("activation", dense.HIDDEN_ACTIVATIONS)
@pytest.mark.parametrize("kind", dense.KINDS)
def test_gradients_are_what_small_steps_measure(kind: dense.Kind, activation: str) -> None:
    rng = np.random.default_rng(1)
    layers = dense.new_layers((5, 4, 6, 3), activation, kind, rng, "f8")
    for layer in layers:
        layer.biases[:] = rng.standard_normal(layer.biases.shape)  # with 0 a unit may stand where relu has no slope
    features = rng.standard_normal((7, 5)) * 2
    raw = np.eye(3)[rng.integers(0, 3, 7)] if kind == "softmax" else (rng.random((7, 3)) < 0.5).astype("f8")
    loss = Loss(kind, 0.0 if kind == "linear" else 0.1)
    targets = loss.smoothed(raw)
    weights = rng.random((7, 1 if kind == "softmax" else 3)) + 0.5

    def value() -> float:
        return dense.gradients(layers, features, targets, weights, loss, l2=0.03)[0]

    _, slopes = dense.gradients(layers, features, targets, weights, loss, l2=0.03)
    arrays = [array for layer in layers for array in (layer.weights, layer.biases)]
    for array, slope in zip(arrays, slopes, strict=True):
        assert array.shape == slope.shape
        for place in list(np.ndindex(array.shape))[::3]:
            before, step = array[place], 1e-6
            array[place] = before + step
            up = value()
            array[place] = before - step
            down = value()
            array[place] = before
            assert (up - down) / (2 * step) == pytest.approx(slope[place], rel=1e-4, abs=1e-7)


def test_activations_and_losses_hold_at_the_ends_of_float32() -> None:
    ends = np.array([[-3e38, -90.0, 0.0, 90.0, 3e38]], "f4")
    with np.errstate(all="raise", under="ignore"):
        assert dense.sigmoid(ends).tolist() == [[0.0, pytest.approx(8.2e-40, rel=0.1), 0.5, 1.0, 1.0]]
        assert dense.softmax(ends / 2)[0, 4] == 1.0
    for kind in ("softmax", "sigmoid"):
        assert np.isfinite(Loss(kind).each(np.array([[-800.0, 800.0]]), np.array([[1.0, 0.0]]))).all()  # type: ignore[arg-type]


def test_labels_are_smoothed_as_keras_smooths_them() -> None:
    one = np.array([[0.0, 1.0, 0.0, 0.0]])
    assert Loss("softmax", 0.2).smoothed(one).tolist() == [[0.05, pytest.approx(0.85), 0.05, 0.05]]
    assert Loss("sigmoid", 0.2).smoothed(one).tolist() == [[0.1, pytest.approx(0.9), 0.1, 0.1]]
    assert Loss("softmax").smoothed(one) is one


def test_dropout_keeps_the_mean_and_leaves_out_its_share() -> None:
    layers = [Layer(np.eye(4000, 1, dtype="f4") * 0 + 1, np.zeros(1, "f4"), "linear")]
    ones = np.ones((1, 4000), "f4")
    loss = Loss("linear")
    rng = np.random.default_rng(0)
    _, (slope, _) = dense.gradients(
        layers, ones, np.zeros((1, 1), "f4"), np.ones((1, 1), "f4"), loss, dropout=0.25, rng=rng
    )
    kept = slope[:, 0] != 0
    assert 0.72 < kept.mean() < 0.78
    out = slope[kept][0, 0] / 2 / (1 / 0.75)
    assert out == pytest.approx(4000, rel=0.02)


# -- minima ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("weights", ["none", "balanced"])
def test_a_softmax_is_scikit_learns_logistic_regression(weights: Any) -> None:
    data = blobs(120, apart=0.7)
    data = replace(data, labels=np.where(np.arange(120) % 4 == 0, 0, data.labels))
    train_ = data.part("train")
    scaled = Scaling.of(data.features[train_]).apply(data.features, "f8")
    reference = LogisticRegression(C=1 / (2 * 0.01 * train_.sum()), tol=1e-8, max_iter=5000,
                                   class_weight=None if weights == "none" else weights)  # fmt: skip
    reference.fit(scaled[train_], data.labels[train_])
    found = train(data, Settings(l2=0.01, class_weights=weights))
    assert found.settings.optimizer == "lbfgs"
    np.testing.assert_allclose(found.outputs(data.features), reference.predict_proba(scaled), atol=2e-4)


def test_a_sigmoid_is_a_logistic_regression_for_each_class() -> None:
    data = blobs(90, apart=0.7)
    labels = np.stack([data.labels == 0, data.labels != 1], 1).astype(np.int64)
    data = replace(data, labels=labels, classes=("a", "b"))
    train_ = data.part("train")
    scaled = Scaling.of(data.features[train_]).apply(data.features, "f8")
    found = train(data, Settings(l2=0.01)).outputs(data.features)
    for i in range(2):
        # the loss is the mean over classes, so each has half of it
        reference = LogisticRegression(C=1 / (2 * 2 * 0.01 * train_.sum()), tol=1e-8, max_iter=5000)
        reference.fit(scaled[train_], labels[train_, i])
        np.testing.assert_allclose(found[:, i], reference.predict_proba(scaled)[:, 1], atol=2e-4)


def test_a_linear_head_is_ridge_regression_in_the_units_of_the_target() -> None:
    data = blobs(90)
    rng = np.random.default_rng(2)
    target = (data.features @ rng.standard_normal((8, 2)) / 50 + 1000 * rng.standard_normal((90, 2)) + 5e4).astype("f4")
    data = replace(data, labels=target, classes=("x", "y"))
    rows = data.part("train")
    scaled, wanted = (Scaling.of(part[rows]) for part in (data.features, target))
    reference = Ridge(alpha=0.01 * rows.sum() * 2)
    reference.fit(scaled.apply(data.features, "f8")[rows], wanted.apply(target, "f8")[rows])
    expected = reference.predict(scaled.apply(data.features, "f8")) / wanted.inverse + wanted.mean
    found = train(data, Settings(l2=0.01))
    assert found.kind == "linear"
    np.testing.assert_allclose(found.outputs(data.features), expected, rtol=1e-3)


def test_the_default_is_as_good_as_a_well_tuned_logistic_regression() -> None:
    digits = load_digits()
    rng = np.random.default_rng(0)
    split = rng.choice(["train", "validation", "test"], len(digits.data), p=[0.15, 0.15, 0.7])
    data = Features(digits.data.astype("f4"), digits.target, tuple("0123456789"),
                    tuple(map(str, range(len(split)))), tuple(split.tolist()))  # fmt: skip
    train_, watch, test = (data.part(part) for part in ("train", "validation", "test"))
    scaled = Scaling.of(data.features[train_]).apply(data.features, "f8")
    models = [
        LogisticRegression(C=c, max_iter=2000).fit(scaled[train_], data.labels[train_]) for c in np.logspace(-3, 2, 6)
    ]
    best = max(models, key=lambda model: model.score(scaled[watch], data.labels[watch]))
    reached = best.score(scaled[test], data.labels[test])
    assert reached > 0.9
    # 1,272 images are told apart to within half a point (less than one standard error of either)
    assert accuracy(data, train(data)) >= reached - 0.005


def test_hidden_layers_learn_what_a_linear_head_cannot() -> None:
    rng = np.random.default_rng(0)
    points = rng.uniform(-1, 1, (300, 2)).astype("f4")
    labels = (points[:, 0] * points[:, 1] > 0).astype(np.int64)
    split = ("train", "train", "train", "validation", "test") * 60
    data = Features(points, labels, ("no", "yes"), tuple(map(str, range(300))), split)  # type: ignore[arg-type]
    deep = train(data, Settings(hidden=(16, 8), learning_rate=0.02, l2=1e-5, epochs=60))
    assert [layer.weights.shape for layer in deep.layers] == [(2, 16), (16, 8), (8, 2)]
    assert [layer.activation for layer in deep.layers] == ["relu", "relu", "softmax"]
    assert accuracy(data, deep) > 0.9
    assert accuracy(data, train(data)) < 0.75


@pytest.mark.parametrize("name", ["adam", "sgd", "momentum", "nesterov", "rmsprop", "adagrad", "adadelta", "ftrl"])
def test_the_optimizer_that_is_named_is_the_one_that_runs(name: Any) -> None:
    data = blobs(90)
    rate = {"adam": 0.05, "rmsprop": 0.05, "adadelta": 30.0, "ftrl": 0.5}.get(name, 0.2)
    settings = Settings(optimizer=name, learning_rate=rate, l2=1e-3, epochs=25)
    found = train(data, settings)
    assert found.settings.optimizer == name
    assert accuracy(data, found) > 0.8
    other = "momentum" if name == "nesterov" else "nesterov"
    assert not np.array_equal(
        found.layers[0].weights, train(data, replace(settings, optimizer=other)).layers[0].weights
    )


def test_training_stops_early_and_keeps_the_best_weights() -> None:
    data = blobs(60, apart=0.4, width=30)
    found = train(data, Settings(optimizer="adam", learning_rate=0.05, l2=0.0, patience=4, epochs=100))
    losses = [epoch.validation_loss for epoch in found.curve]
    assert len(losses) == found.best_epoch + 4 < 100
    best = min(losses)  # type: ignore[type-var]
    assert losses[found.best_epoch - 1] == best
    rows = data.part("validation")
    truth = found.outputs(data.features[rows])[np.arange(rows.sum()), data.labels[rows]]
    assert -np.log(truth).mean() == pytest.approx(best, rel=1e-3)


def test_a_learning_rate_that_is_too_high_is_said() -> None:
    with pytest.raises(UsageError, match=r"the learning rate of 1e[+]30 is too high") as caught:
        train(blobs(60), Settings(optimizer="sgd", learning_rate=1e30, l2=1.0))
    assert caught.value.hint == "--learning-rate 1e+29"


def test_features_that_never_change_get_no_weight() -> None:
    data = blobs(90)
    data.features[:, 3] = 7.25
    head = train(data)
    assert not head.layers[0].weights[3].any()
    data.features[-1, 3] = 1e6
    assert np.isfinite(head.outputs(data.features)).all()
    assert head.warnings == ()


def test_weights_that_float32_cannot_hold_are_said() -> None:
    data = blobs(90)
    data = replace(data, features=(data.features * 1e-1 + 100).astype("f4"))
    data.features[:, 0] = 30_000 + 0.05 * (np.arange(90) % 3)
    (warning,) = train(data).warnings
    assert warning.startswith("written for raw features in float32 the head gives up to ")


# -- the regime --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("count", "apart", "name", "suggestion"),
    [
        (150, 2.0, "few images, near", "head"),
        (900, 2.0, "many images, near", "finetune-top"),
        (150, 0.0, "few images, far", "earlier-features"),
        (900, 0.0, "many images, far", "finetune-all"),
    ],
)
def test_the_four_regimes(count: int, apart: float, name: str, suggestion: str) -> None:
    found = regime(blobs(count, apart=apart))
    assert (found.name, found.suggestion) == (name, suggestion)
    assert found.images == count * 3 // 5
    assert found.smallest_class == count // 5
    assert found.to_json()["separation"] == found.separation
    assert found.advice


def test_the_regime_of_several_labels_of_quantities_and_of_too_few_images() -> None:
    data = blobs(150)
    several = regime(replace(data, labels=np.eye(3, dtype=np.int64)[data.labels]))
    assert several.near is True
    quantity = regime(replace(data, labels=data.features[:, :1] * 2, classes=("size",)))
    assert (quantity.near, quantity.smallest_class) == (True, None)
    assert quantity.separation == pytest.approx(1, abs=0.02)
    few = replace(data, split=("train",) * 3 + ("test",) * 147)
    assert regime(few).name == "few images, distance unknown"
    assert regime(few).suggestion == "head"


# -- the command ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def file(tmp_path: Path) -> Path:
    format_.write(blobs(), tmp_path / "f.npz")
    return tmp_path / "f.npz"


def test_all_is_written_and_the_answer_says_what(call: Caller, file: Path) -> None:
    head = file.with_name("h.npz")
    done = call("train-head", file, "-o", head, "--json")
    assert (done.status, done.err) == (0, "")
    answer = done.answer
    assert answer["schema"] == "tfinspect/train-head/1"
    assert (answer["output"], answer["kind"], answer["width"]) == (str(head), "softmax", 8)
    assert sorted(path.name for path in file.parent.iterdir()) == sorted(
        ["f.npz", "h.npz", *(f"h.{e}" for e in BESIDE)]
    )
    assert Path(answer["files"][0]).name == "h.npz"
    test = answer["metrics"]["test"]
    assert test["images"] == 30
    assert answer["regime"]["name"] == "few images, near"
    assert answer["training"]["optimizer"] == "lbfgs"
    # what is said of the head is true of the file
    found, data = heads.read(head), blobs()
    rows = data.part("test")
    logits = data.features[rows] @ found.layers[0].weights.numpy() + found.layers[0].biases.numpy()  # type: ignore[union-attr]
    assert test["accuracy"] == (logits.argmax(1) == data.labels[rows]).mean()
    assert found.labels == ("class 0", "class 1", "class 2")
    assert {key: found.made[key] for key in data.made} == data.made
    assert found.made["training"]["l2"] == answer["training"]["l2"]
    summary = json.loads(file.with_name("h.metrics.json").read_text())
    assert summary["metrics"] == answer["metrics"]
    assert len(summary["curve"]) == answer["training"]["epochs_run"]
    for end in ("curves", "confusion", "roc"):
        assert file.with_name(f"h.{end}.png").read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"


def test_mistakes_are_listed_the_surest_first(call: Caller, tmp_path: Path) -> None:
    data = blobs(apart=0.6)
    data = replace(data, files=("new\nline\t.jpg", *data.files[1:]), labels=np.array([1, *data.labels[1:]]))
    format_.write(data, tmp_path / "f.npz")
    assert call("train-head", tmp_path / "f.npz", "-o", tmp_path / "h.npz", "-q").status == 0
    head, *rows = [line.split("\t") for line in (tmp_path / "h.mistakes.tsv").read_text().splitlines()]
    assert head == ["file", "true", "predicted", "probability", "split"]
    assert len(rows) > 5
    assert all(row[1] != row[2] and len(row) == 5 for row in rows)
    assert [float(row[3]) for row in rows] == sorted((float(row[3]) for row in rows), reverse=True)
    assert [r"new\nline\t.jpg", "class 1"] in [row[:2] for row in rows]


def test_a_pipe_gets_rows_and_a_terminal_tables(call: Caller, file: Path) -> None:
    done = call("train-head", file, "-o", file.with_name("a.npz"))
    assert [row[:3] for row in done.rows][:5] == [
        ["train", "*", "90"], ["train", "class 0", "30"], ["train", "class 1", "30"], ["train", "class 2", "30"],
        ["validation", "*", "30"],
    ]  # fmt: skip
    assert {len(row) for row in done.rows} == {7}
    assert "few images, near: 90 training images for 8 features, 30 of the smallest class" in done.err
    assert f"wrote {file.with_name('a.confusion.png')}" in done.err
    done = call("train-head", file, "-o", file.with_name("b.npz"), tty=True, columns=100)
    lines = done.out.splitlines()
    assert lines[0].split() == ["images", "accuracy", "95", "%", "log", "loss", "ROC", "AUC"]
    assert lines[3].split()[:2] == ["test", "30"]
    assert lines[-4].split() == ["is", "\\", "taken", "for", "class", "0", "class", "1", "class", "2"]
    assert f"next: tfinspect graft net.pb --bottleneck pool:0 --head {file.with_name('b.npz')} -o OUT.pb" in done.err


def test_the_same_command_gives_the_same_bytes(file: Path) -> None:
    found = []
    for name, options in (("a", []), ("b", []), ("c", ["--seed", "1"])):
        words = [
            "train-head",
            "f.npz",
            "-o",
            f"{name}.npz",
            "--hidden",
            "5",
            "--dropout",
            "0.3",
            "--epochs",
            "3",
            *options,
        ]
        subprocess.run([sys.executable, "-m", "tfinspect", *words], cwd=file.parent, check=True, capture_output=True,
                       env={**os.environ, "PYTHONPATH": str(ROOT)})  # fmt: skip
        with np.load(file.with_name(f"{name}.npz")) as head:
            found.append(
                hashlib.sha256(b"".join(head[key].tobytes() for key in head.files if key != "made")).hexdigest()
            )
    assert found[0] == found[1] != found[2]


def test_lbfgs_gives_the_same_head_twice_and_other_seeds_only_choose_otherwise() -> None:
    data = blobs()
    first, second = train(data), train(data)
    assert np.array_equal(first.layers[0].weights, second.layers[0].weights)
    fixed = [train(data, Settings(l2=0.05, seed=seed)).layers[0].weights for seed in (0, 9)]
    assert np.array_equal(*fixed)


def test_the_test_part_is_never_looked_at_in_training() -> None:
    data = blobs()
    spoilt = replace(data, features=data.features.copy(), labels=data.labels.copy())
    rows = data.part("test")
    spoilt.features[rows] *= -3
    spoilt.labels[rows] = 0
    for settings in (Settings(), Settings(optimizer="adam", epochs=3)):
        ours, theirs = train(data, settings), train(spoilt, settings)
        assert np.array_equal(ours.layers[0].weights, theirs.layers[0].weights)
    assert regime(data) == regime(spoilt)


def test_the_head_is_grafted(call: Caller, tmp_path: Path) -> None:
    done = call("train-head", "features.npz", "-o", tmp_path / "h.npz", "--json")
    assert done.answer["metrics"]["test"]["accuracy"] == 1.0
    words = ["graft", "inception_tiny.pb", "--bottleneck", "pool_3/_reshape", "--head", tmp_path / "h.npz"]
    done = call(*words, "-o", tmp_path / "g.pb", "--json")
    assert done.status == 0
    assert done.answer["labels"] == ["daisy", "dandelion", "roses", "sunflowers", "tulips"]


def test_a_head_with_hidden_layers_is_read_back_and_info_shows_it(call: Caller, file: Path) -> None:
    words = ["--hidden", "6", "--activation", "tanh", "--epochs", "2", "--l2", "0"]
    assert call("train-head", file, "-o", file.with_name("h.npz"), *words, "-q").status == 0
    head = heads.read(file.with_name("h.npz"))
    assert [(layer.features, layer.units, layer.activation) for layer in head.layers] == [
        (8, 6, "tanh"),
        (6, 3, "softmax"),
    ]
    assert ["layer", "8 features", "6 units", "tanh"] in call("info", file.with_name("h.npz")).rows


def test_nothing_is_overwritten_unless_forced(call: Caller, file: Path) -> None:
    file.with_name("h.roc.png").write_bytes(b"mine")
    done = call("train-head", file, "-o", file.with_name("h.npz"))
    assert done.status == 5
    assert done.err.splitlines()[0] == f"error: {file.with_name('h.roc.png')} exists"
    assert sorted(path.name for path in file.parent.iterdir()) == ["f.npz", "h.roc.png"]
    assert call("train-head", file, "-o", file.with_name("h.npz"), "--force").status == 0
    assert file.with_name("h.roc.png").read_bytes() != b"mine"


def test_the_report_goes_to_its_folder(call: Caller, file: Path) -> None:
    words = ["train-head", file, "-o", file.with_name("h.npz"), "--report", file.with_name("report")]
    assert call(*words).status == 0
    assert sorted(path.name for path in file.with_name("report").iterdir()) == [f"h.{end}" for end in BESIDE]
    assert sorted(path.name for path in file.parent.iterdir()) == ["f.npz", "h.npz", "report"]
    done = call("train-head", file, "-o", file.with_name("i.npz"), "--report", file)
    assert done.err.splitlines()[0] == f"error: {file} exists"


def test_the_features_are_never_replaced_by_the_head(file: Path) -> None:
    with pytest.raises(OutputError, match="is the file of features itself"):
        train_head_file(file, file, force=True)
    assert format_.read(file).width == 8


def test_a_full_disk_leaves_nothing(file: Path) -> None:
    def small_files() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, 10_000))  # the head fits, the pictures do not

    done = subprocess.run(
        [sys.executable, "-m", "tfinspect", "train-head", "f.npz", "-o", "h.npz", "--report", "r"], check=False, cwd=file.parent,
        capture_output=True, text=True, preexec_fn=small_files, env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert done.returncode == 5, done.stderr
    assert "cannot be written: file too large" in done.stderr
    assert [path.name for path in file.parent.iterdir()] == ["f.npz"]


def test_without_matplotlib_all_but_the_pictures_is_there(
    call: Caller, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [name for name in sys.modules if name.split(".")[0] == "matplotlib"] + ["matplotlib"]:
        monkeypatch.setitem(sys.modules, name, None)
    done = call("train-head", file, "-o", file.with_name("h.npz"))
    assert done.status == 0
    message = "warning: no pictures: drawing needs matplotlib, which is not installed; pip install 'tfinspect[learn]'"
    assert message in done.err.splitlines()
    names = sorted(path.name for path in file.parent.iterdir())
    assert names == ["f.npz", "h.metrics.json", "h.mistakes.tsv", "h.npz"]


def test_quantities_and_several_labels_on_the_command_line(call: Caller, tmp_path: Path) -> None:
    data = blobs()
    format_.write(replace(data, labels=data.features[:, 0], classes=("size",)), tmp_path / "l.npz")
    done = call("train-head", tmp_path / "l.npz", "-o", tmp_path / "lh.npz", "--json")
    assert done.answer["metrics"]["test"]["r2"] > 0.99
    assert heads.read(tmp_path / "lh.npz").layers[0].activation == "linear"
    assert not (tmp_path / "lh.confusion.png").exists()
    rows = call("train-head", tmp_path / "l.npz", "-o", tmp_path / "lh.npz", "-f").rows
    assert rows[-1][:3] == ["test", "size", "30"]
    assert call("train-head", tmp_path / "l.npz", "-o", tmp_path / "lh.npz", "-f", tty=True).out.split()[0] == "images"
    format_.write(replace(data, labels=np.eye(3, dtype=np.int64)[data.labels]), tmp_path / "s.npz")
    done = call("train-head", tmp_path / "s.npz", "-o", tmp_path / "sh.npz", "--json", "--class-weights", "balanced")
    assert done.answer["kind"] == "sigmoid"
    assert done.answer["metrics"]["test"]["roc_auc"] > 0.9
    assert (tmp_path / "sh.roc.png").exists()


def test_options_complete_by_name() -> None:
    def offered(*words: str) -> list[str]:
        return [offer.value for offer in completion.complete(words[:-1], words[-1])]

    assert offered("train-h") == ["train-head"]
    assert offered("train-head", "--opt") == ["--optimizer"]
    assert offered("train-head", "--optimizer", "ada") == ["adam", "adagrad", "adadelta"]
    assert offered("train-head", "--kind=s") == ["--kind=softmax", "--kind=sigmoid"]


# -- refusals ------------------------------------------------------------------------------------------------------------


def only(data: Features, **changes: Any) -> Features:
    return replace(data, features=data.features.copy(), **changes)


def _nan() -> Features:
    data = only(blobs())
    data.features[4, 2] = np.nan
    data.features[9, 0] = np.inf
    return data


REFUSED: dict[str, tuple[Features, Settings, str]] = {
    "no images": (replace(blobs(), features=np.empty((0, 8), "f4"), labels=np.empty(0, np.int64), files=(), split=()),
                  Settings(), "F holds no images"),
    "no features": (replace(blobs(), features=np.empty((150, 0), "f4")), Settings(), "F holds no features"),
    "nan": (_nan(), Settings(),
            "F: `features` has nan at [4, 2], of class 1/004.jpg, and more in 1 other image"),
    "constant": (replace(blobs(), features=np.full((150, 8), 0.3, "f4")), Settings(),
                 "F: every feature has the same value for all 90 training images"),
    "one class": (replace(blobs(), labels=np.ones(150, np.int64)), Settings(),
                  "F has training images of one class only, `class 1`"),
    "nothing to train on": (replace(blobs(), split=("test",) * 150), Settings(),
                            "F has no image in its training part"),
    "kind of labels": (blobs(), Settings(kind="sigmoid"),
                       "F: a sigmoid head needs 0 or 1 for each class, [images, classes] of integers; `labels` is int64 of shape [150]"),
    "quantities for classes": (replace(blobs(), labels=np.ones(150, "f4")), Settings(kind="softmax"),
                               "F: a softmax head needs one class number an image, [images] of integers; `labels` is float32 of shape [150]"),
    "numbers for labels": (replace(blobs(), labels=np.arange(450).reshape(150, 3)), Settings(),
                           "F: `labels` has numbers from 0 to 449, where each is 0 or 1"),
    "columns": (replace(blobs(), labels=np.eye(2, dtype=np.int64)[blobs().labels % 2]), Settings(),
                "F: `labels` has 2 columns for 3 names"),
    "same labels": (replace(blobs(), labels=np.ones((150, 3), np.int64)), Settings(),
                    "F has the same labels for every training image"),
    "same quantity": (replace(blobs(), labels=np.ones(150, "f4")), Settings(),
                      "F: the target has the same value for every training image"),
    "rank": (replace(blobs(), labels=np.ones((150, 2, 2), np.int64)), Settings(),
             "F: `labels` has the shape [150, 2, 2], which no head gives"),
    "smoothed quantities": (replace(blobs(), labels=blobs().features[:, 0]), Settings(label_smoothing=0.1),
                            "`--label-smoothing` means nothing for a linear head, which gives quantities"),
    "weighed quantities": (replace(blobs(), labels=blobs().features[:, 0]), Settings(class_weights="balanced"),
                           "`--class-weights` means nothing for a linear head, which gives quantities"),
}  # fmt: skip


@pytest.mark.parametrize("what", REFUSED)
def test_what_no_head_can_be_trained_on_is_refused_in_one_line(what: str) -> None:
    data, settings, message = REFUSED[what]
    with pytest.raises((InputError, UsageError)) as caught:
        train_head(data, settings, where="F")
    assert caught.value.message == message


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (Settings(dropout=1.0), "`--dropout` takes a share from 0 up to, not including, 1, not 1"),
        (Settings(label_smoothing=-0.1), "`--label-smoothing` takes a share from 0 up to, not including, 1, not -0.1"),
        (Settings(batch=0), "`--batch` takes a whole number from 1, not 0"),
        (Settings(hidden=(5, 0)), "`--hidden` takes a whole number from 1, not 0"),
        (Settings(learning_rate=float("nan")), "`--learning-rate` takes a number above 0, not nan"),
        (Settings(l2=-1.0), "`--l2` takes `auto` or a number from 0, not -1"),
        (Settings(seed=-1), "`--seed` takes a whole number from 0, not -1"),
        (Settings(activation="softmax"), "a hidden layer has no activation `softmax`"),
        (Settings(optimizer="lbfgs", hidden=(3,)), "`--optimizer lbfgs` has no use for `--hidden`"),
        (Settings(optimizer="lbfgs", batch=8), "`--optimizer lbfgs` has no use for `--batch`"),
    ],
)
def test_settings_that_make_no_sense_are_refused(settings: Settings, message: str) -> None:
    with pytest.raises(UsageError) as caught:
        check_settings(settings)
    assert caught.value.message == message


def test_options_of_steps_choose_adam() -> None:
    assert check_settings(Settings()).optimizer == "lbfgs"
    for settings in (Settings(hidden=(3,)), Settings(epochs=3), Settings(batch=8), Settings(dropout=0.1)):
        assert check_settings(settings).optimizer == "adam"


def test_what_must_be_known_before_trusting_the_result_is_said(call: Caller, tmp_path: Path) -> None:
    data = blobs(60)
    split = ["train" if label == 0 else "test" for label in data.labels.tolist()]
    split[1] = split[4] = "train"  # two of class 1, none of class 2
    format_.write(replace(data, split=tuple(split)), tmp_path / "f.npz")  # type: ignore[arg-type]
    done = call("train-head", tmp_path / "f.npz", "-o", tmp_path / "h.npz", "-q")
    assert done.status == 0
    assert done.err.splitlines() == [
        "warning: class `class 2` has no training image",
        "warning: class `class 1` has only one or two training images",
        "warning: there are no validation images: what is chosen is chosen on the training images themselves",
    ]
    found = call(
        "train-head",
        tmp_path / "f.npz",
        "-o",
        tmp_path / "h.npz",
        "-f",
        "--json",
        "--optimizer",
        "adam",
        "--epochs",
        "2",
    )
    assert found.answer["training"]["l2"] == 1e-3
    assert len(found.answer["warnings"]) == 3
    assert np.isfinite(heads.read(tmp_path / "h.npz").layers[0].weights.numpy()).all()
    format_.write(replace(data, split=("train", "train", "validation") * 20), tmp_path / "g.npz")
    done = call("train-head", tmp_path / "g.npz", "-o", tmp_path / "i.npz", "-q")
    assert (
        "warning: there are no test images: how good the head is on new images was not measured"
        in done.err.splitlines()
    )


@pytest.mark.parametrize(
    ("words", "status", "message"),
    [
        (["head.npz", "-o", "{tmp}/h.npz"], 3, "head.npz is a classifier head (.npz), not a file of features"),
        (["absent.npz", "-o", "{tmp}/h.npz"], 3, "absent.npz does not exist"),
        (["features.npz", "-o", "{tmp}/h.pb"], 3, "train-head writes a .npz, not `h.pb`"),
        (["features.npz", "-o", "{tmp}/no/h.npz"], 5, "{tmp}/no is not a folder"),
        (["features.npz", "-o", "{tmp}/h.npz", "--l2", "much"], 2, "`--l2` takes `auto` or a number, not `much`"),
        (["features.npz", "-o", "{tmp}/h.npz", "--optimizer", "newton"], 2,
         "`--optimizer` takes lbfgs, adam, sgd, momentum, nesterov, rmsprop, adagrad, adadelta or ftrl, not `newton`"),
        (["features.npz", "-o", "{tmp}/h.npz", "--kind", "linear"], 2,
         "features.npz: a linear head needs quantities, [images] or [images, targets] of floats; `labels` is int64 of shape [30]"),
    ],
)  # fmt: skip
def test_the_command_refuses_in_one_line(
    call: Caller, tmp_path: Path, words: list[str], status: int, message: str
) -> None:
    done = call("train-head", *(word.format(tmp=tmp_path) for word in words))
    assert (done.status, done.out) == (status, "")
    assert done.err.splitlines()[0] == f"error: {message.format(tmp=tmp_path)}"
    assert list(tmp_path.iterdir()) == []


def test_a_damaged_file_of_features_is_one_error(tmp_path: Path) -> None:
    data = (FIXTURES / "features.npz").read_bytes()
    for end in range(0, len(data), 97):
        (tmp_path / "f.npz").write_bytes(data[:end])
        with pytest.raises(TfinspectError):
            train_head(tmp_path / "f.npz")


def test_a_head_is_written_as_it_was(tmp_path: Path) -> None:
    found = train_head(blobs()).head
    size = heads.write(found, tmp_path / "h.npz")
    assert (tmp_path / "h.npz").read_bytes() == heads.encode(found)
    assert size == len(heads.encode(found))
    again = heads.read(tmp_path / "h.npz")
    assert (again.labels, again.layers[0].activation) == (found.labels, "softmax")
    assert again.made == json.loads(json.dumps(found.made))
    assert np.array_equal(again.layers[0].weights.numpy(), found.layers[0].weights.numpy())
    with pytest.raises(OutputExistsError):
        heads.write(found, tmp_path / "h.npz")
    with np.load(tmp_path / "h.npz") as arrays:
        np.savez(tmp_path / "i.npz", **{**arrays, "made": np.array("[1]")})
    with pytest.raises(InputError, match="`made` is not the JSON object that it should be"):
        heads.read(tmp_path / "i.npz")
    with pytest.raises(WrongKindError):
        train_head(tmp_path / "h.npz")
