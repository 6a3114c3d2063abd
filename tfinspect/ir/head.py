"""Heads: what turns the features of a trunk into classes."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tfinspect.ir.graph import Graph
    from tfinspect.ir.refs import TensorRef
    from tfinspect.ir.tensors import Tensor

ACTIVATIONS: Final = {
    "linear": "", "relu": "Relu", "relu6": "Relu6", "elu": "Elu", "selu": "Selu", "sigmoid": "Sigmoid",
    "softmax": "Softmax", "softplus": "Softplus", "softsign": "Softsign", "tanh": "Tanh",
}  # fmt: skip
"""TensorFlow's op by the name of an activation; linear needs none."""


@dataclass(frozen=True, slots=True)
class DenseLayer:
    """One fully connected layer: `activation(x @ weights + biases)`.

    Attributes:
        weights: [features, units].
        biases: [units], or None where the layer has none.
        activation: a key of `ACTIVATIONS`.
    """

    weights: Tensor
    biases: Tensor | None
    activation: str

    @property
    def features(self) -> int:
        """Number of inputs."""
        return self.weights.shape[0]

    @property
    def units(self) -> int:
        """Number of outputs."""
        return self.weights.shape[1]


@dataclass(frozen=True, slots=True)
class DenseHead:
    """Fully connected layers, one after the other.

    Attributes:
        layers: at least one; each takes as many features as the one before it gives.
        labels: names of the classes, in the order of the last layer's units; empty where they are not known.
        made: what made it: `trunk`, `trunk_sha256`, `bottleneck` and `preprocessing` as `ir.features.Features.made` has
            them, and how it was trained; empty where that is not recorded.
    """

    layers: tuple[DenseLayer, ...]
    labels: tuple[str, ...] = ()
    made: Mapping[str, Any] = field(default_factory=dict)

    @property
    def features(self) -> int:
        """Number of features it takes."""
        return self.layers[0].features

    @property
    def classes(self) -> int:
        """Number of classes it gives."""
        return self.layers[-1].units


@dataclass(frozen=True, slots=True)
class GraphHead:
    """A head that is a graph of its own.

    Attributes:
        graph: the graph.
        input: the tensor that takes the features.
        outputs: the tensors it gives.
        labels: names of the classes; empty where they are not known.
    """

    graph: Graph
    input: TensorRef
    outputs: tuple[TensorRef, ...]
    labels: tuple[str, ...] = ()
