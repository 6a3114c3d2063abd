"""Training of a head on features: one minimum found by L-BFGS, or steps of an optimizer over batches."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

from tfinspect.errors import UsageError
from tfinspect.learn import dense, steps, straight
from tfinspect.learn.dense import Layer
from tfinspect.learn.prepared import prepare
from tfinspect.learn.problem import Epoch, Problem
from tfinspect.learn.settings import Settings, check_settings

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import numpy.typing as npt

    from tfinspect.ir.features import Features
    from tfinspect.learn.dense import Kind

    Array = npt.NDArray[Any]

_FOLD_LIMIT: Final = 1e-3  # by how much rounding of the written weights may move a probability before it is said


@dataclass(frozen=True, slots=True)
class Trained:
    """A trained head.

    Attributes:
        layers: float32, for raw features.
        settings: what was used; nothing is None but what its optimizer does not have.
        classes: names of the outputs; empty where quantities have no names.
        curve: one entry a pass or step.
        best_epoch: the pass whose weights were kept.
        seconds: time it took.
        warnings: what a person must know before trusting it.
    """

    layers: tuple[Layer, ...]
    settings: Settings
    classes: tuple[str, ...]
    curve: tuple[Epoch, ...]
    best_epoch: int
    seconds: float
    warnings: tuple[str, ...] = ()

    @property
    def kind(self) -> Kind:
        """What the head gives."""
        assert self.settings.kind is not None  # noqa: S101 - `train` filled it in
        return self.settings.kind

    def outputs(self, features: Array) -> Array:
        """Return what the head gives for raw features."""
        import numpy as np

        return dense.forward(self.layers, features.astype(np.float32, copy=False))


def train(
    data: Features,
    settings: Settings | None = None,
    *,
    where: str = "the features",
    progress: Callable[[str], None] = lambda _: None,
) -> Trained:
    """Train a head; the same features and settings give the same weights, bit for bit on one machine.

    Args:
        data: features, whose `split` says which images train and which watch; those of the test part are not used.
        settings: how.
        where: what the features are called in messages.
        progress: is told what is going on.

    Raises:
        InputError: there is nothing to train on, or numbers that no head can be trained on.
        UsageError: the settings do not go together, do not fit the labels, or let the loss grow without end.
    """
    settings = check_settings(settings or Settings())
    start = time.perf_counter()
    ready = prepare(data, where, settings.kind)
    settings = replace(settings, kind=ready.kind)
    if ready.kind == "linear":
        for flag, wanted in (
            ("--label-smoothing", settings.label_smoothing),
            ("--class-weights", settings.class_weights == "balanced"),
        ):
            if wanted:
                raise UsageError(f"`{flag}` means nothing for a linear head, which gives quantities")
    problem = Problem.of(data, ready, settings)
    warnings = list(ready.warnings)
    if settings.optimizer == "lbfgs":
        layers, curve, l2 = straight.solve(problem, settings, progress)
        best, settings = len(curve), replace(settings, l2=l2, epochs=settings.epochs or straight.ITERATIONS)
    else:
        settings = steps.filled(settings, problem)
        layers, curve, best, l2 = steps.descend(problem, settings, progress)
        settings = replace(settings, l2=l2)
    folded = _folded(problem, layers)
    drift = _drift(problem, layers, folded, data.features)
    if drift > _FOLD_LIMIT:
        warnings.append(
            f"written for raw features in float32 the head gives up to {drift:.1e} other values: some features change "
            "by far less than their size"
        )
    return Trained(
        tuple(folded), settings, ready.classes, tuple(curve), best, time.perf_counter() - start, tuple(warnings)
    )


def _folded(problem: Problem, layers: Sequence[Layer]) -> list[Layer]:
    import numpy as np

    wide = [Layer(la.weights.astype(np.float64), la.biases.astype(np.float64), la.activation) for la in layers]
    wide[0] = problem.scaling.fold(wide[0])
    if problem.target_scaling is not None:
        shift, last = problem.target_scaling, wide[-1]
        deviation = np.where(shift.inverse > 0, 1 / np.where(shift.inverse > 0, shift.inverse, 1), 0.0)
        wide[-1] = Layer(last.weights * deviation, last.biases * deviation + shift.mean, last.activation)
    return [Layer(la.weights.astype(np.float32), la.biases.astype(np.float32), la.activation) for la in wide]


def _drift(problem: Problem, layers: Sequence[Layer], folded: Sequence[Layer], features: Array) -> float:
    """Return the largest difference between the head that was trained and the one that is written.

    Of quantities it is in units of their deviation.
    """
    wanted = dense.forward(layers, problem.scaling.apply(features, problem.features.dtype))
    found = dense.forward(folded, features)
    if problem.target_scaling is not None:
        found = problem.target_scaling.apply(found, found.dtype)
    return float(abs(wanted - found).max())
