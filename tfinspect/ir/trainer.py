"""What `api` needs of a runtime that trains; `runtimes` implements it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Protocol, Self

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from types import TracebackType

    import numpy.typing as npt

    Array = npt.NDArray[Any]

Optimizer = Literal["adam", "sgd", "momentum"]


def head_name(layer: int, leaf: Literal["weights", "biases"]) -> str:
    """Return the name of a variable of the head in a trainer's state; no node of a graph can have a name like it.

    Variables of the trunk are named as its constants.
    """
    return f":head/{layer}/{leaf}"


@dataclass(frozen=True, slots=True)
class Trainable:
    """A constant of a graph that may become a variable.

    Attributes:
        name: of the Const node.
        role: what it is to the op that takes it.
        depth: number of layers with weights between it and the bottleneck; 0 for those of the last one.
        decays: whether L2 regularisation is for it: the weights of layers, not biases and not batch norms.
    """

    name: str
    role: Literal["weights", "bias", "gamma", "beta", "parameter"]
    depth: int
    decays: bool


@dataclass(frozen=True, slots=True)
class Norm:
    """A batch norm whose statistics can be measured anew.

    Attributes:
        input: the tensor that is normalised, `name:index`.
        mean: name of the Const node that holds the moving mean.
        variance: name of the Const node that holds the moving variance.
        channel_axis: place of the channels in the input's shape, -1 for the last.
        depth: number of layers with weights between it and the bottleneck.
    """

    input: str
    mean: str
    variance: str
    channel_axis: int
    depth: int = 0


@dataclass(frozen=True, slots=True)
class Task:
    """What is to be trained.

    Attributes:
        graph: file of the trunk: from `start`, a Placeholder, to `bottleneck`.
        start: the tensor that takes a batch of prepared images.
        bottleneck: the tensor that the head takes.
        rates: factor of the learning rate for each constant that becomes a variable, by the name of its node.
        decaying: those of them that L2 regularisation is for.
        norms: batch norms whose statistics follow the data; none where they are frozen.
        head: units and activation of each fully connected layer of the head, of the last one without its softmax.
        optimizer: how steps are taken.
        l2: factor of half the sum of squares of the weights in the loss.
        momentum: of the moving statistics of batch norms.
        seed: of whatever is random in the runtime.
    """

    graph: str
    start: str
    bottleneck: str
    rates: Mapping[str, float]
    decaying: Sequence[str] = ()
    norms: Sequence[Norm] = ()
    head: Sequence[tuple[int, str]] = ()
    optimizer: Optimizer = "adam"
    l2: float = 0.0
    momentum: float = 0.99
    seed: int = 0


class Trainer(Protocol):
    """A trunk with a softmax head, in a process of its own. Use it as a context manager."""

    @property
    def runtime(self) -> str:
        """Name and version, e.g. `tensorflow 2.21.0`."""

    def features(self, images: Array) -> Array:
        """Return [batch, features] at the bottleneck.

        Raises:
            RuntimeFailedError: the runtime refused or died.
        """

    def logits(self, images: Array) -> Array:
        """Return [batch, classes] before the softmax.

        Raises:
            RuntimeFailedError: the runtime refused or died.
        """

    def step(self, images: Array, targets: Array, rate: float) -> tuple[float, int]:
        """Take one step, and return the loss before it and how many images were right.

        Args:
            images: a batch, as the start of the task takes it.
            targets: [batch, classes], each row adds up to 1.
            rate: learning rate of the head.

        Raises:
            RuntimeFailedError: the runtime refused or died.
        """

    def state(self) -> dict[str, Array]:
        """Return variables, moving statistics and what the optimizer remembers, by name.

        Raises:
            RuntimeFailedError: the runtime refused or died.
        """

    def restore(self, state: Mapping[str, Array]) -> None:
        """Set what `state` returned; names that are left out stay as they are.

        Raises:
            RuntimeFailedError: the runtime refused or died.
        """

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...
