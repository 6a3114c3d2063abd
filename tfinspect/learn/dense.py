"""Fully connected layers in NumPy: forward, backward, and the losses they are trained on."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import numpy as np
    import numpy.typing as npt

    Array = npt.NDArray[Any]

Kind = Literal["softmax", "sigmoid", "linear"]
KINDS: Final[tuple[Kind, ...]] = ("softmax", "sigmoid", "linear")

_SELU_ALPHA: Final = 1.6732632423543772
_SELU_SCALE: Final = 1.0507009873554805
_RELU6_TOP: Final = 6.0


def softmax(logits: Array) -> Array:
    """Return probabilities along the last axis."""
    import numpy as np

    powers = np.exp(logits - logits.max(-1, keepdims=True))
    found: Array = powers / powers.sum(-1, keepdims=True)
    return found


def sigmoid(values: Array) -> Array:
    """Return 1 / (1 + exp(-x)), without overflow."""
    import numpy as np

    small = np.exp(-np.abs(values))
    return np.where(values >= 0, 1 / (1 + small), small / (1 + small)).astype(values.dtype, copy=False)


def _softplus(values: Array) -> Array:
    import numpy as np

    found: Array = np.maximum(values, 0) + np.log1p(np.exp(-np.abs(values)))
    return found


def _elu(values: Array) -> Array:
    import numpy as np

    return np.where(values > 0, values, np.expm1(np.minimum(values, 0))).astype(values.dtype, copy=False)


def _selu(values: Array) -> Array:
    import numpy as np

    low = _SELU_ALPHA * np.expm1(np.minimum(values, 0))
    return (_SELU_SCALE * np.where(values > 0, values, low)).astype(values.dtype, copy=False)


def _selu_slope(x: Array) -> Array:
    import numpy as np

    return _SELU_SCALE * np.where(x > 0, 1.0, _SELU_ALPHA * np.exp(np.minimum(x, 0)))


def _elu_slope(x: Array) -> Array:
    import numpy as np

    return np.where(x > 0, 1.0, np.exp(np.minimum(x, 0)))


def _tanh(x: Array) -> Array:
    import numpy as np

    found: Array = np.tanh(x)
    return found


def _relu(x: Array) -> Array:
    import numpy as np

    found: Array = np.maximum(x, 0)
    return found


# each with its slope, from the values it is applied to
_ACTIVATIONS: Final[dict[str, tuple[Callable[[Array], Array], Callable[[Array], Any]]]] = {
    "linear": (lambda x: x, lambda x: x * 0 + 1),
    "relu": (_relu, lambda x: x > 0),
    "relu6": (lambda x: x.clip(0, _RELU6_TOP), lambda x: (x > 0) & (x < _RELU6_TOP)),
    "elu": (_elu, _elu_slope),
    "selu": (_selu, _selu_slope),
    "sigmoid": (sigmoid, lambda x: sigmoid(x) * (1 - sigmoid(x))),
    "softplus": (_softplus, sigmoid),
    "softsign": (lambda x: x / (1 + abs(x)), lambda x: 1 / (1 + abs(x)) ** 2),
    "tanh": (_tanh, lambda x: 1 - _tanh(x) ** 2),
    "softmax": (softmax, lambda _: None),
}
HIDDEN_ACTIVATIONS: Final = tuple(name for name in _ACTIVATIONS if name != "softmax")
"""What a hidden layer may have."""


@dataclass(frozen=True, slots=True)
class Layer:
    """One layer, `activation(x @ weights + biases)`.

    Attributes:
        weights: [features, units].
        biases: [units].
        activation: as `ir.head.ACTIVATIONS` has it.
    """

    weights: Array
    biases: Array
    activation: str


def new_layers(
    widths: Sequence[int], activation: str, kind: Kind, rng: np.random.Generator, dtype: npt.DTypeLike = "f4"
) -> list[Layer]:
    """Return layers with Glorot's uniform weights and biases of 0, as Keras starts a Dense layer.

    Args:
        widths: number of features, units of each hidden layer, number of outputs.
        activation: of the hidden layers.
        kind: activation of the last one.
        rng: where the numbers come from.
        dtype: of all arrays.
    """
    import numpy as np

    layers = []
    for number, (given, units) in enumerate(itertools.pairwise(widths)):
        limit = (6 / (given + units)) ** 0.5
        weights = rng.uniform(-limit, limit, (given, units)).astype(dtype)
        last = number == len(widths) - 2
        layers.append(Layer(weights, np.zeros(units, dtype), kind if last else activation))
    return layers


def forward(layers: Sequence[Layer], features: Array) -> Array:
    """Return what the head gives: probabilities, or quantities."""
    values = features
    for layer in layers:
        values = _ACTIVATIONS[layer.activation][0](values @ layer.weights + layer.biases)
    return values


def logits(layers: Sequence[Layer], features: Array) -> Array:
    """Return what the last activation is applied to."""
    return forward(layers[:-1], features) @ layers[-1].weights + layers[-1].biases


@dataclass(frozen=True, slots=True)
class Loss:
    """What the training makes small, besides the penalty on weights.

    Attributes:
        kind: cross-entropy of a softmax or of each sigmoid, or squared error, as Keras has them.
        smoothing: share of the truth that is spread evenly over all classes.
    """

    kind: Kind
    smoothing: float = 0.0

    def smoothed(self, targets: Array) -> Array:
        """Return targets with label smoothing, as Keras smooths them."""
        if not self.smoothing:
            return targets
        even = 0.5 if self.kind == "sigmoid" else 1 / targets.shape[1]
        found: Array = (targets * (1 - self.smoothing) + self.smoothing * even).astype(targets.dtype)
        return found

    def each(self, values: Array, targets: Array) -> Array:
        """Return the loss of each image, [n, 1], or of each output, [n, outputs].

        Args:
            values: what the last activation is applied to, [n, outputs].
            targets: [n, outputs], smoothed already.
        """
        import numpy as np

        if self.kind == "softmax":
            shifted = values - values.max(1, keepdims=True)
            total = np.log(np.exp(shifted).sum(1, keepdims=True))
            found: Array = targets.sum(1, keepdims=True) * total - (targets * shifted).sum(1, keepdims=True)
            return found
        return _softplus(values) - targets * values if self.kind == "sigmoid" else (values - targets) ** 2

    def mean(self, values: Array, targets: Array, weights: Array) -> float:
        """Return the mean of the loss; `weights` is [n, 1] or [n, outputs]."""
        import numpy as np

        each = self.each(values, targets)
        return float((each * weights).sum(dtype=np.float64)) / each.size

    def slope(self, values: Array, targets: Array, weights: Array) -> Array:
        """Return the gradient of the mean to `values`."""
        import numpy as np

        if self.kind == "softmax":
            found: Array = (softmax(values) * targets.sum(1, keepdims=True) - targets) * (
                weights / values.dtype.type(len(values))
            )
            return found
        slope = sigmoid(values) - targets if self.kind == "sigmoid" else 2 * (values - targets)
        return np.asarray(slope * (weights / values.dtype.type(values.size)))


def gradients(
    layers: Sequence[Layer],
    features: Array,
    targets: Array,
    weights: Array,
    loss: Loss,
    *,
    l2: float = 0.0,
    dropout: float = 0.0,
    rng: np.random.Generator | None = None,
) -> tuple[float, list[Array]]:
    """Return the loss, penalty included, and its gradients: weights, biases of the first layer, then of the next.

    Args:
        layers: the head.
        features: [n, width].
        targets: [n, outputs], smoothed already.
        weights: of each image, [n, 1] or [n, outputs].
        loss: what is made small.
        l2: the penalty is `l2` times the sum of the squares of all weights; biases are free.
        dropout: share of what enters the last layer that is left out.
        rng: where dropout takes its numbers from.
    """
    inputs, before = [], []
    values = features
    mask = None
    for number, layer in enumerate(layers):
        if dropout and rng is not None and number == len(layers) - 1:
            mask = (rng.random(values.shape, "f4") >= dropout) / values.dtype.type(1 - dropout)
            values = (values * mask).astype(features.dtype, copy=False)
        inputs.append(values)
        before.append(values @ layer.weights + layer.biases)
        if number < len(layers) - 1:
            values = _ACTIVATIONS[layer.activation][0](before[-1])
    total, slope = loss.mean(before[-1], targets, weights), loss.slope(before[-1], targets, weights)
    found: list[Array] = []
    for number in range(len(layers) - 1, -1, -1):
        layer = layers[number]
        weight_slope = inputs[number].T @ slope
        if l2:
            total += l2 * float((layer.weights**2).sum())
            weight_slope += layer.weights.dtype.type(2 * l2) * layer.weights
        found[:0] = [weight_slope, slope.sum(0)]
        if number:
            slope = slope @ layer.weights.T
            if mask is not None and number == len(layers) - 1:
                slope = slope * mask
            slope = (slope * _ACTIVATIONS[layers[number - 1].activation][1](before[number - 1])).astype(
                features.dtype, copy=False
            )
    return total, found
