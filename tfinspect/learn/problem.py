"""What a training works on: scaled features, targets and weights of the images, and the loss."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from tfinspect.learn import dense
from tfinspect.learn.dense import Loss
from tfinspect.learn.prepared import Scaling

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    from tfinspect.ir.features import Features
    from tfinspect.learn.dense import Kind, Layer
    from tfinspect.learn.prepared import Prepared
    from tfinspect.learn.settings import Settings

    Array = npt.NDArray[Any]

_DOUBLE_NBYTES: Final = 1 << 25  # features that take more than this as float64 stay float32


@dataclass(frozen=True, slots=True)
class Epoch:
    """How far the training was after a pass, or after a step of L-BFGS; None where it was not measured.

    Attributes:
        number: from 1.
        loss: of the training images, penalty left out.
        validation_loss: of the validation images.
        accuracy: share of training images that are right.
        validation_accuracy: likewise.
    """

    number: int
    loss: float
    validation_loss: float | None
    accuracy: float | None
    validation_accuracy: float | None


@dataclass(frozen=True, slots=True)
class Problem:
    """Scaled features and targets of the images that train and of those that watch."""

    features: Array
    targets: Array
    truth: Array
    weights: Array
    watched: Array
    watched_targets: Array
    has_validation: bool
    loss: Loss
    scaling: Scaling
    target_scaling: Scaling | None
    seed: int

    @classmethod
    def of(cls, data: Features, ready: Prepared, settings: Settings) -> Problem:
        """Scale features and targets by what the training images are like."""
        import numpy as np

        scaling = Scaling.of(data.features[ready.train])
        double = settings.optimizer == "lbfgs" and data.features.size * np.dtype(np.float64).itemsize <= _DOUBLE_NBYTES
        dtype = np.float64 if double else np.float32
        targets, target_scaling = ready.targets, None
        if ready.kind == "linear":
            target_scaling = Scaling.of(targets[ready.train])
            targets = target_scaling.apply(targets, np.float64)
        targets = targets.astype(dtype)
        loss = Loss(ready.kind, settings.label_smoothing)
        return cls(
            scaling.apply(data.features[ready.train], dtype),
            loss.smoothed(targets[ready.train]),
            targets[ready.train],
            _weights(targets[ready.train], ready.kind, balanced=settings.class_weights == "balanced").astype(dtype),
            scaling.apply(data.features[ready.watch], dtype),
            targets[ready.watch],
            ready.has_validation,
            loss,
            scaling,
            target_scaling,
            settings.seed,
        )

    def epoch(self, number: int, layers: Sequence[Layer]) -> Epoch:
        """Measure how far the training is."""
        ours = dense.logits(layers, self.features)
        loss = self.loss.mean(ours, self.truth, self.weights)
        if not self.has_validation:
            return Epoch(number, loss, None, _accuracy(self.loss.kind, ours, self.truth), None)
        theirs = dense.logits(layers, self.watched)
        return Epoch(
            number,
            loss,
            self.loss.mean(theirs, self.watched_targets, _ones(theirs)),
            _accuracy(self.loss.kind, ours, self.truth),
            _accuracy(self.loss.kind, theirs, self.watched_targets),
        )


def _ones(values: Array) -> Array:
    import numpy as np

    return np.ones((len(values), 1), values.dtype)


def _weights(targets: Array, kind: Kind, *, balanced: bool) -> Array:
    """Return the weight of each image, or of each image and class; their mean is 1."""
    import numpy as np

    if not balanced:
        return np.ones((len(targets), 1))
    count = targets.sum(0)
    if kind == "softmax":
        by_class = len(targets) / (np.count_nonzero(count) * np.maximum(count, 1))
        found: Array = (targets * by_class).sum(1, keepdims=True)
        return found
    rest = len(targets) - count
    both = np.where((count > 0) & (rest > 0), 2, 1)
    ours, others = (len(targets) / (both * np.maximum(part, 1)) for part in (count, rest))
    return np.asarray(np.where(targets > 0, ours, others))


def _accuracy(kind: Kind, values: Array, targets: Array) -> float | None:
    if kind == "softmax":
        return float((values.argmax(1) == targets.argmax(1)).mean())
    return float(((values > 0) == (targets > 0)).mean()) if kind == "sigmoid" else None
