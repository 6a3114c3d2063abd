"""Training of a head by an optimizer over batches, stopped early, the best weights kept."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Final

from tfinspect.errors import UsageError
from tfinspect.learn import dense
from tfinspect.learn.dense import Layer
from tfinspect.learn.optimizers import METHODS, Optimizer

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import numpy.typing as npt

    from tfinspect.learn.problem import Epoch, Problem
    from tfinspect.learn.settings import Settings

    Array = npt.NDArray[Any]

L2_GRID: Final = (1e-1, 1e-2, 1e-3)
"""Penalties to choose from: each is a whole training."""
L2_UNWATCHED: Final = 1e-3
"""Penalty where no validation part can choose one."""

_BATCH, _EPOCHS, _PATIENCE = 32, 200, 20


def filled(settings: Settings, problem: Problem) -> Settings:
    """Return the settings with what they leave open chosen; the penalty only where nothing can choose it."""
    assert settings.optimizer is not None  # noqa: S101 - `check_settings` chose one
    assert settings.optimizer != "lbfgs"  # noqa: S101 - that one goes another way
    method = METHODS[settings.optimizer]
    return replace(
        settings,
        learning_rate=method.learning_rate if settings.learning_rate is None else settings.learning_rate,
        batch=min(settings.batch or _BATCH, len(problem.features)),
        epochs=settings.epochs or _EPOCHS,
        patience=settings.patience or _PATIENCE,
        l2=settings.l2 if settings.l2 is not None or problem.has_validation else L2_UNWATCHED,
    )


def _prefixed(progress: Callable[[str], None], prefix: str) -> Callable[[str], None]:
    return lambda text: progress(prefix + text)


@dataclass(slots=True)
class _Run:
    """One training with one penalty."""

    layers: list[Layer]
    curve: list[Epoch] = field(default_factory=list)
    best: int = 0
    least: float = float("inf")


def descend(
    problem: Problem, settings: Settings, progress: Callable[[str], None]
) -> tuple[list[Layer], list[Epoch], int, float]:
    """Train a head, once for each penalty that is to be tried.

    Returns:
        Layers for scaled features, the curve, the pass whose weights were kept, and the penalty.

    Raises:
        UsageError: the loss grows without end.
    """
    grid = L2_GRID if settings.l2 is None else (settings.l2,)
    best: tuple[_Run, float] | None = None
    for number, l2 in enumerate(grid):
        prefix = f"l2 {number + 1} of {len(grid)}, " if len(grid) > 1 else ""
        run = _run(problem, settings, l2, _prefixed(progress, prefix))
        if best is None or run.least < best[0].least:
            best = run, l2
    assert best is not None  # noqa: S101 - the grid is not empty
    run, l2 = best
    return run.layers, run.curve, run.best, l2


def _run(problem: Problem, settings: Settings, l2: float, progress: Callable[[str], None]) -> _Run:
    import numpy as np

    rate, batch, epochs, patience = settings.learning_rate, settings.batch, settings.epochs, settings.patience
    name = settings.optimizer
    assert rate and batch and epochs and patience and name and name != "lbfgs"  # noqa: S101, PT018 - `_filled`
    rng = np.random.default_rng([settings.seed, 0])
    widths = (problem.features.shape[1], *settings.hidden, problem.targets.shape[1])
    layers = dense.new_layers(widths, settings.activation, problem.loss.kind, rng)
    arrays = [array for layer in layers for array in (layer.weights, layer.biases)]
    optimizer = Optimizer(name, rate)
    run = _Run(_copies(layers))
    for number in range(1, epochs + 1):
        order = rng.permutation(len(problem.features))
        with np.errstate(over="ignore", invalid="ignore"):  # seen below, as a loss that is no number
            for start in range(0, len(order), batch):
                rows = order[start : start + batch]
                _, slopes = dense.gradients(
                    layers,
                    problem.features[rows],
                    problem.targets[rows],
                    problem.weights[rows],
                    problem.loss,
                    l2=l2,
                    dropout=settings.dropout,
                    rng=rng,
                )
                optimizer.apply(arrays, slopes)
            epoch = problem.epoch(number, layers)
        run.curve.append(epoch)
        watched = epoch.loss if epoch.validation_loss is None else epoch.validation_loss
        if not np.isfinite(epoch.loss + watched):
            raise UsageError(
                f"the loss is {epoch.loss + watched:g} after pass {number}: the learning rate of {rate:g} is too high",
                hint=f"--learning-rate {rate / 10:g}",
                evidence={"epoch": number, "learning_rate": rate},
            )
        progress(f"pass {number} of {epochs}, loss {watched:.4f}")
        if watched < run.least:
            run.least, run.best, run.layers = watched, number, _copies(layers)
        elif number - run.best >= patience:
            break
    return run


def _copies(layers: Sequence[Layer]) -> list[Layer]:
    return [Layer(layer.weights.copy(), layer.biases.copy(), layer.activation) for layer in layers]
