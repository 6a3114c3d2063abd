"""Heads without hidden layers: one minimum, found by L-BFGS, and the penalty chosen on images held out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from tfinspect.learn import dense
from tfinspect.learn.dense import Layer, Loss
from tfinspect.learn.lbfgs import minimise

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy.typing as npt

    from tfinspect.learn.dense import Kind
    from tfinspect.learn.problem import Epoch, Problem
    from tfinspect.learn.settings import Settings

    Array = npt.NDArray[Any]

L2_GRID: Final = (1.0, 0.5, 0.2, 0.1, 0.05, 0.02, 0.01, 5e-3, 2e-3, 1e-3, 5e-4, 2e-4, 1e-4)
"""Penalties to choose from, the strongest first."""
ITERATIONS: Final = 1000
"""Most steps, where the settings name no other number."""

_FOLDS: Final = 5
_ENOUGH_WATCHED: Final = 200  # validation images that choose a penalty by themselves
_ERRORS: Final = 2  # standard errors
_WORSE: Final = 3  # penalties in a row that do worse: weaker ones are not tried
_BIAS_L2: Final = 1e-8  # keeps the bias finite of a class that has no image
_TOLERANCE: Final = 1e-5
_PATH_TOLERANCE: Final = 1e-4  # while a penalty is only being chosen


def solve(
    problem: Problem, settings: Settings, progress: Callable[[str], None]
) -> tuple[list[Layer], list[Epoch], float]:
    """Find the weights that make loss and penalty smallest.

    Returns:
        The layer for scaled features, the curve, and the penalty.
    """
    import numpy as np

    l2 = settings.l2
    if l2 is None:
        l2 = _choose_l2(problem, progress)
    progress(f"training with l2 {l2:g}")
    width, outputs = problem.features.shape[1], problem.targets.shape[1]
    curve: list[Epoch] = []

    def seen(point: Array, _: float) -> None:
        curve.append(problem.epoch(len(curve) + 1, _unpacked(point, width, outputs, problem)))

    everything = np.arange(len(problem.features))
    start = np.zeros((width + 1) * outputs)
    point = _minimum(problem, everything, l2, start, _TOLERANCE, settings.epochs or ITERATIONS, seen)
    return _unpacked(point, width, outputs, problem), curve, l2


def _unpacked(point: Array, width: int, outputs: int, problem: Problem) -> list[Layer]:
    values = point.astype(problem.features.dtype, copy=False)
    split = width * outputs
    return [Layer(values[:split].reshape(width, outputs), values[split:], problem.loss.kind)]


def _minimum(
    problem: Problem,
    rows: Array,
    l2: float,
    start: Array,
    tolerance: float,
    iterations: int = ITERATIONS,
    seen: Callable[[Array, float], None] | None = None,
) -> Array:
    import numpy as np

    everything = len(rows) == len(problem.features)
    features, targets, weights = (
        part if everything else part[rows] for part in (problem.features, problem.targets, problem.weights)
    )
    width, outputs = features.shape[1], targets.shape[1]

    def function(point: Array) -> tuple[float, Array]:
        layers = _unpacked(point, width, outputs, problem)
        value, slopes = dense.gradients(layers, features, targets, weights, problem.loss, l2=l2)
        slope = np.concatenate([part.ravel() for part in slopes]).astype(np.float64, copy=False)
        biases = point[width * outputs :]
        slope[width * outputs :] += 2 * _BIAS_L2 * biases
        return value + _BIAS_L2 * float(biases @ biases), slope

    return minimise(function, start, tolerance=tolerance, iterations=iterations, seen=seen).point


def held_out(problem: Problem, l2: float) -> Array:
    """Return for each training image what a head gives that was trained on the others, a fifth of them at a time."""
    import numpy as np

    everything = np.arange(len(problem.features))
    fold = _folds(problem.truth, problem.loss.kind, problem.seed)
    width, outputs = problem.features.shape[1], problem.targets.shape[1]
    found = np.empty((len(everything), outputs))
    for number in range(int(fold.max()) + 1):
        out = fold == number
        point = _minimum(problem, everything[~out], l2, np.zeros((width + 1) * outputs), _PATH_TOLERANCE)
        found[out] = dense.forward(_unpacked(point, width, outputs, problem), problem.features[out])
    return found


def _choose_l2(problem: Problem, progress: Callable[[str], None]) -> float:
    """Choose the penalty by the loss on images that the head was not trained on.

    Those are the validation images and, where they are few, the training images too, each fifth of them judged by a
    head trained on the others. Of all penalties that are not surely worse than the best (within two standard errors of
    it, measured image by image) the strongest is taken, after Breiman's rule, which has one: the log loss likes a
    little less penalty than the accuracy does.
    """
    import numpy as np

    everything = np.arange(len(problem.features))
    fold = _folds(problem.truth, problem.loss.kind, problem.seed)
    width, outputs = problem.features.shape[1], problem.targets.shape[1]
    parts: list[tuple[Array, Array, Array]] = []  # rows to train on, features and targets to judge by
    if problem.has_validation:
        parts.append((everything, problem.watched, problem.watched_targets))
    if not problem.has_validation or len(problem.watched) < _ENOUGH_WATCHED:
        for number in range(int(fold.max()) + 1):
            out = fold == number
            parts.append((everything[~out], problem.features[out], problem.truth[out]))
    points = [np.zeros((width + 1) * outputs)] * len(parts)
    losses: list[Array] = []
    worse = 0
    for number, l2 in enumerate(L2_GRID):
        progress(f"choosing l2: {number + 1} of {len(L2_GRID)}")
        found = []
        for i, (rows, features, targets) in enumerate(parts):
            points[i] = _minimum(problem, rows, l2, points[i], _PATH_TOLERANCE)
            values = dense.logits(_unpacked(points[i], width, outputs, problem), features)
            found.append(Loss(problem.loss.kind).each(values, targets).mean(1))
        losses.append(np.concatenate(found))
        best = min(float(each.mean()) for each in losses)
        worse = worse + 1 if float(losses[-1].mean()) > best else 0
        if worse == _WORSE:
            break
    means = [float(each.mean()) for each in losses]
    least = int(np.argmin(means))
    for number, each in enumerate(losses):
        error = float((each - losses[least]).std()) / len(each) ** 0.5
        if means[number] <= means[least] + _ERRORS * error:
            return L2_GRID[number]
    return L2_GRID[least]


def _folds(targets: Array, kind: Kind, seed: int) -> Array:
    """Return the number of the fold of each image; each class is spread evenly."""
    import numpy as np

    rng = np.random.default_rng([seed, 1])
    order = rng.permutation(len(targets))
    if kind == "softmax":
        order = order[np.argsort(targets[order].argmax(1), kind="stable")]
    fold = np.empty(len(targets), np.int64)
    fold[order] = np.arange(len(targets)) % min(_FOLDS, len(targets))
    return fold
