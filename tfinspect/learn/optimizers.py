"""Ways to change weights by their gradients, each computed as Keras defines it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Literal

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import numpy.typing as npt

    Array = npt.NDArray[Any]
    Slots = list[Array]
    Rule = Callable[[Array, Array, Slots, float, int], None]

OptimizerName = Literal["adam", "sgd", "momentum", "nesterov", "rmsprop", "adagrad", "adadelta", "ftrl"]

_EPSILON: Final = 1e-7
_BETA_1, _BETA_2 = 0.9, 0.999  # of adam
_MOMENTUM: Final = 0.9
_RMSPROP_RHO: Final = 0.9
_ADADELTA_RHO: Final = 0.95
_ACCUMULATOR: Final = 0.1  # what adagrad and ftrl start from


def _sgd(weights: Array, gradient: Array, _: Slots, rate: float, __: int) -> None:
    weights -= gradient * weights.dtype.type(rate)


def _momentum(weights: Array, gradient: Array, slots: Slots, rate: float, _: int) -> None:
    velocity = slots[0]
    velocity *= _MOMENTUM
    velocity -= gradient * weights.dtype.type(rate)
    weights += velocity


def _nesterov(weights: Array, gradient: Array, slots: Slots, rate: float, _: int) -> None:
    velocity, step = slots[0], gradient * weights.dtype.type(rate)
    velocity *= _MOMENTUM
    velocity -= step
    weights += velocity * _MOMENTUM - step


def _adam(weights: Array, gradient: Array, slots: Slots, rate: float, step: int) -> None:
    import numpy as np

    mean, square = slots
    mean += (gradient - mean) * (1 - _BETA_1)
    square += (gradient * gradient - square) * (1 - _BETA_2)
    unbiased = rate * (1 - _BETA_2**step) ** 0.5 / (1 - _BETA_1**step)
    weights -= mean * weights.dtype.type(unbiased) / (np.sqrt(square) + _EPSILON)


def _rmsprop(weights: Array, gradient: Array, slots: Slots, rate: float, _: int) -> None:
    import numpy as np

    square = slots[0]
    square *= _RMSPROP_RHO
    square += gradient * gradient * (1 - _RMSPROP_RHO)
    weights -= gradient * weights.dtype.type(rate) / np.sqrt(square + _EPSILON)


def _adagrad(weights: Array, gradient: Array, slots: Slots, rate: float, _: int) -> None:
    import numpy as np

    total = slots[0]
    total += gradient * gradient
    weights -= gradient * weights.dtype.type(rate) / np.sqrt(total + _EPSILON)


def _adadelta(weights: Array, gradient: Array, slots: Slots, rate: float, _: int) -> None:
    import numpy as np

    square, moved = slots
    square *= _ADADELTA_RHO
    square += gradient * gradient * (1 - _ADADELTA_RHO)
    delta = -np.sqrt(moved + _EPSILON) * gradient / np.sqrt(square + _EPSILON)
    moved *= _ADADELTA_RHO
    moved += delta * delta * (1 - _ADADELTA_RHO)
    weights += delta * weights.dtype.type(rate)


def _ftrl(weights: Array, gradient: Array, slots: Slots, rate: float, _: int) -> None:
    """Follow the regularised leader, learning rate power -0.5, without penalties of its own."""
    import numpy as np

    total, linear = slots
    grown = total + gradient * gradient
    inverse = weights.dtype.type(rate)
    linear += gradient - (np.sqrt(grown) - np.sqrt(total)) / inverse * weights
    weights[...] = -linear / (np.sqrt(grown) / inverse)
    total[...] = grown


@dataclass(frozen=True, slots=True)
class Method:
    """How one optimizer works.

    Attributes:
        rule: changes weights and slots in place, given gradient, learning rate and number of the step from 1.
        slots: what each array it keeps beside the weights starts from.
        learning_rate: what it takes where none is given, for features of mean 0 and deviation 1.
    """

    rule: Rule
    slots: tuple[float, ...]
    learning_rate: float


METHODS: Final[dict[OptimizerName, Method]] = {
    "adam": Method(_adam, (0.0, 0.0), 1e-3),
    "sgd": Method(_sgd, (), 1e-2),
    "momentum": Method(_momentum, (0.0,), 1e-2),
    "nesterov": Method(_nesterov, (0.0,), 1e-2),
    "rmsprop": Method(_rmsprop, (0.0,), 1e-3),
    "adagrad": Method(_adagrad, (_ACCUMULATOR,), 1e-2),
    "adadelta": Method(_adadelta, (0.0, 0.0), 1.0),  # Zeiler's paper has no rate at all; Keras' 0.001 hardly moves
    "ftrl": Method(_ftrl, (_ACCUMULATOR, 0.0), 1e-1),
}


@dataclass(slots=True)
class Optimizer:
    """Changes a list of arrays by their gradients.

    Attributes:
        name: a key of `METHODS`.
        learning_rate: how far a step goes.
        step: number of steps done.
    """

    name: OptimizerName
    learning_rate: float
    step: int = 0
    _slots: list[Slots] = field(default_factory=list)

    def apply(self, weights: Sequence[Array], gradients: Sequence[Array]) -> None:
        """Change the weights in place; always the same arrays, in the same order."""
        import numpy as np

        method = METHODS[self.name]
        if not self._slots:
            self._slots = [[np.full_like(array, start) for start in method.slots] for array in weights]
        self.step += 1
        for array, gradient, slots in zip(weights, gradients, self._slots, strict=True):
            method.rule(array, gradient, slots, self.learning_rate, self.step)
