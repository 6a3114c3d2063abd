"""The default head against scikit-learn's logistic regression, on the same features and the same images.

    python benchmarks/flowers.py F.npz [--folds 5] [--seeds 3]

F.npz is what `tfinspect features` wrote; its own split is not used. Every image is a test image once a seed; an eighth
of the others is the validation part. scikit-learn's C (13 values from 1e-4 to 100) is the one with the best validation
accuracy, the smallest of equals, as GridSearchCV has it; our penalty is chosen by `train-head` itself. scikit-learn
gets the features as they are and, as one should, scaled to mean 0 and deviation 1.
"""

from __future__ import annotations

import argparse
import time
import warnings
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold, train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from tfinspect.formats import features as format_
from tfinspect.learn.settings import Settings
from tfinspect.learn.train import train

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy.typing as npt

    from tfinspect.ir.features import Features

    Array = npt.NDArray[Any]

STRENGTHS = np.logspace(-4, 2, 13)
REFERENCES = ("scikit-learn, features as they are", "scikit-learn, features scaled")


def parts(data: Features, folds: int, seed: int) -> Iterator[Features]:
    """Yield the data with another fold as its test part each time."""
    labels = data.labels
    for rest, test in StratifiedKFold(folds, shuffle=True, random_state=seed).split(data.features, labels):
        _, validation = train_test_split(rest, test_size=0.125, stratify=labels[rest], random_state=seed)
        split: Any = np.full(len(labels), "train", "U10")
        split[test], split[validation] = "test", "validation"
        yield replace(data, split=tuple(split.tolist()))


def reference(data: Features, *, scaled: bool) -> tuple[float, float]:
    """Return the test accuracy of scikit-learn's logistic regression, and its log loss."""
    train_, watch, test = (data.part(part) for part in ("train", "validation", "test"))
    best, chosen = -1.0, None
    for strength in STRENGTHS:
        model = LogisticRegression(C=strength, max_iter=5000)
        model = make_pipeline(StandardScaler(), model) if scaled else model
        model.fit(data.features[train_], data.labels[train_])
        score = model.score(data.features[watch], data.labels[watch])
        if score > best:
            best, chosen = score, model
    return _judged(chosen.predict_proba(data.features[test]), data.labels[test])


def ours(data: Features, settings: Settings) -> tuple[float, float]:
    """Return the test accuracy of our head, and its log loss."""
    test = data.part("test")
    return _judged(train(data, settings).outputs(data.features[test]), data.labels[test])


def _judged(outputs: Array, labels: Array) -> tuple[float, float]:
    truth = outputs[np.arange(len(labels)), labels]
    return float((outputs.argmax(1) == labels).mean()), float(-np.log(np.maximum(truth, 1e-15)).mean())


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("features")
    parser.add_argument("--folds", type=int, default=5)
    parser.add_argument("--seeds", type=int, default=3)
    given = parser.parse_args()
    data = format_.read(given.features)
    rows: dict[str, list[tuple[float, float]]] = {}
    seconds: dict[str, float] = {}
    warnings.simplefilter("ignore")
    for seed in range(given.seeds):
        for fold in parts(data, given.folds, seed):
            for name, run in (
                (REFERENCES[0], lambda fold=fold: reference(fold, scaled=False)),
                (REFERENCES[1], lambda fold=fold: reference(fold, scaled=True)),
                ("train-head", lambda fold=fold, seed=seed: ours(fold, Settings(seed=seed))),
                ("train-head --optimizer adam", lambda f=fold, s=seed: ours(f, Settings(optimizer="adam", seed=s))),
                ("train-head --hidden 64", lambda f=fold, s=seed: ours(f, Settings(hidden=(64,), seed=s))),
            ):
                start = time.perf_counter()
                rows.setdefault(name, []).append(run())
                seconds[name] = seconds.get(name, 0.0) + time.perf_counter() - start
    count = given.seeds * given.folds
    print(f"{len(data.files)} images, {data.width} features, {given.folds} folds, {given.seeds} seeds")
    print(f"{'':36} {'accuracy':>9} {'log loss':>9} {'s a run':>8}   by seed")
    for name, found in rows.items():
        accuracy, loss = np.array(found).T
        by_seed = " ".join(f"{100 * value:.2f}" for value in accuracy.reshape(given.seeds, -1).mean(1))
        each = seconds[name] / count
        print(f"{name:36} {100 * accuracy.mean():7.2f} % {loss.mean():9.3f} {each:8.2f}   {by_seed}")


if __name__ == "__main__":
    main()
