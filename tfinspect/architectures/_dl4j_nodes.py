"""What converting a Deeplearning4j network works with: settings that are checked, tensors on their way, new nodes."""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from tfinspect.errors import InvalidGraphError, UnsupportedOpsError
from tfinspect.ir.attrs import Attr
from tfinspect.ir.dtypes import DType
from tfinspect.ir.graph import Node, const
from tfinspect.ir.shapes import format_shape
from tfinspect.ir.tensors import Tensor

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    import numpy.typing as npt

    from tfinspect.ir.checkpoint import Checkpoint
    from tfinspect.ir.layers import Layer

    Array = npt.NDArray[Any]

IMAGE_RANK: Final = 3  # height, width, channels
_LEGAL_FIRST = re.compile(r"[A-Za-z0-9.]")
_ILLEGAL = re.compile(r"[^A-Za-z0-9_.\\/>-]")
_MOST = 1 << 31
_SHOWN = 60


@dataclass(frozen=True, slots=True)
class Step:
    """What happens to one axis of an image, so that the size of the input can be found from a later one.

    Attributes:
        window: size of what slides over it, dilation included.
        stride: of the window.
        added: elements put at its two ends together; negative where they are cut off.
        same: the window is placed as often as the stride fits, whatever must be added.
        times: each element is repeated so often.
    """

    window: int = 1
    stride: int = 1
    added: int = 0
    same: bool = False
    times: int = 1

    def size(self, before: int) -> int:
        """Return the size afterwards; 0 or less where nothing is left."""
        if self.same:
            return -(-before // self.stride) * self.times
        room = before + self.added - self.window
        return (room // self.stride + 1) * self.times if room >= 0 else 0

    def is_exact(self, before: int) -> bool:
        """Whether no element at the end is left out by the stride."""
        return self.same or (before + self.added - self.window) % self.stride == 0


@dataclass(frozen=True, slots=True)
class Trail:
    """The steps of both axes since an input, the last one first."""

    height: Step
    width: Step
    before: Trail | str


@dataclass(frozen=True, slots=True)
class Value:
    """A tensor on its way through the network.

    Attributes:
        ref: the node that gives it.
        shape: without the batch: (height, width, channels) of images, (features,) of rows.
        flattened: (height, width, channels) of the image that a row was, which stands there channels last; None where
            the numbers stand in the order that Deeplearning4j gives them.
        trail: what happened to an image since an input; or that input.
        dtype: element type.
    """

    ref: str
    shape: tuple[int | None, ...]
    flattened: tuple[int, int, int] | None = None
    trail: Trail | str = ""
    dtype: DType = DType.FLOAT

    @property
    def is_image(self) -> bool:
        """Whether it has height and width."""
        return len(self.shape) == IMAGE_RANK


class Settings:
    """The settings of one layer, checked when they are asked for; what is wrong names the layer."""

    def __init__(self, path: str, layer: Layer) -> None:
        self.path, self.layer, self._values = path, layer, layer.settings

    def __contains__(self, key: object) -> bool:
        """Whether the file says it."""
        return key in self._values

    def word(self, key: str, default: str = "") -> str:
        """Return a word."""
        value = self._values.get(key, default)
        return value if isinstance(value, str) else default

    def flag(self, key: str, *, default: bool) -> bool:
        """Return a yes or no."""
        value = self._values.get(key, default)
        return value if isinstance(value, bool) else default

    def number(self, key: str, default: float) -> float:
        """Return a number.

        Raises:
            InvalidGraphError: it is none.
        """
        value = self._values.get(key, default)
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise self.wrong(f"`{key}` is {value!r:.40}, a number was expected")
        return float(value)

    def count(self, key: str) -> int | None:
        """Return a number of things, None where the file does not say it.

        Raises:
            InvalidGraphError: it is none.
        """
        value = self._values.get(key)
        if value is None:
            return None
        if type(value) is not int or not 0 <= value < _MOST:
            raise self.wrong(f"`{key}` is {value!r:.40}, a whole number was expected")
        return value

    def counts(self, key: str, length: int, default: tuple[int, ...] | None = None) -> tuple[int, ...]:
        """Return a list of so many whole numbers.

        Raises:
            InvalidGraphError: it is none.
        """
        value = self._values.get(key, default)
        if not isinstance(value, list | tuple) or len(value) != length:
            raise self.wrong(f"`{key}` is {value!r:.40}, a list of {length} numbers was expected")
        numbers = [number for number in value if type(number) is int and 0 <= number < _MOST]
        if len(numbers) != length:
            raise self.wrong(f"`{key}` is {value!r:.40}, whole numbers were expected")
        return tuple(numbers)

    def sides(self, key: str) -> tuple[int, int, int, int]:
        """Return what is done at the top, the bottom, the left and the right; two numbers stand for both of each.

        Raises:
            InvalidGraphError: there are neither two nor four.
        """
        value = self._values.get(key)
        if isinstance(value, list) and len(value) == 2:  # noqa: PLR2004 - one for each axis
            up, left = self.counts(key, 2)
            return up, up, left, left
        top, bottom, left, right = self.counts(key, 4)
        return top, bottom, left, right

    def wrong(self, what: str) -> InvalidGraphError:
        """Return the error that says what does not fit."""
        return InvalidGraphError(
            f"{self.path}: `{self.layer.name[:_SHOWN]}`: {what}",
            evidence={"path": self.path, "layer": self.layer.name, "kind": self.layer.kind},
        )

    def refused(self, what: str) -> UnsupportedOpsError:
        """Return the error that says what has no TensorFlow form here."""
        return UnsupportedOpsError(
            f"{self.path}: `{self.layer.name[:_SHOWN]}` {what}, which tfinspect does not convert to a TensorFlow graph",
            hint=f"its weights can be read: tfinspect vars {shlex.quote(self.path)}",
            evidence={"path": self.path, "layer": self.layer.name, "ops": {self.layer.kind: [self.layer.name]}},
        )


class Nodes:
    """The graph as it grows."""

    def __init__(self, checkpoint: Checkpoint, layers: Iterable[Layer]) -> None:
        self.nodes: list[Node] = []
        self.names: dict[str, str] = {}
        """The node of each layer."""
        self.wanted: dict[str, tuple[Trail, tuple[int, int]]] = {}
        """By input of unknown size: the size an image must have later, and how it comes to it."""
        self._checkpoint = checkpoint
        self._taken: set[str] = set()
        for layer in layers:
            self.names[layer.name] = self.fresh(_legal(layer.name))

    def fresh(self, wanted: str) -> str:
        """Return a name that no node has."""
        name, number = wanted, 0
        while name in self._taken:
            number += 1
            name = f"{wanted}_{number}"
        self._taken.add(name)
        return name

    def want(self, trail: Trail | str, size: tuple[int, int]) -> None:
        """Note the size that an image must have; the first such wish of each input counts."""
        start = trail
        while isinstance(start, Trail):
            start = start.before
        if isinstance(trail, Trail) and start:
            self.wanted.setdefault(start, (trail, size))

    def op(self, name: str, op: str, *inputs: str, **attrs: Attr | DType | str | float | list[int]) -> str:
        """Add a node and return its name; the element type is float32 unless `T` says otherwise, or is empty."""
        given: dict[str, Any] = {"T": DType.FLOAT, **attrs}
        kept = {key: _attr(value) for key, value in given.items() if not (key == "T" and value == "")}
        self.nodes.append(Node(name, op, inputs, kept))
        return name

    def integers(self, wanted: str, values: list[int] | list[list[int]] | int) -> str:
        """Add a constant of int32."""
        name = self.fresh(wanted)
        self.nodes.append(const(name, Tensor.of(values, DType.INT32)))
        return name

    def number(self, wanted: str, value: float) -> str:
        """Add a float32 scalar."""
        name = self.fresh(wanted)
        self.nodes.append(const(name, Tensor.of(value, DType.FLOAT)))
        return name

    def full(self, wanted: str, value: float, size: int) -> str:
        """Add a float32 vector whose elements are all the same."""
        import numpy as np

        name = self.fresh(wanted)
        value = float(value)
        self.nodes.append(const(name, Tensor(DType.FLOAT, (size,), lambda: np.full(size, value, np.float32))))
        return name

    def shape_of(self, layer: Layer, key: str) -> tuple[int, ...] | None:
        """Return the shape of a weight of a layer, None where the layer has no such weight."""
        name = _weight(layer, key)
        return None if name is None else self._checkpoint.variable(name).shape

    def weight(
        self,
        layer: Layer,
        key: str,
        shape: tuple[int, ...] | None = None,
        change: Callable[[Array], Array] | None = None,
    ) -> str:
        """Add a weight of a layer as a constant, read when it is asked for.

        Args:
            layer: whose.
            key: as Deeplearning4j calls it.
            shape: after the change; none: as it is stored.
            change: brings it to TensorFlow's order.
        """
        found = _weight(layer, key)
        stored = self._checkpoint.tensor(found or key)

        def load() -> Array:
            import numpy as np

            value = stored.numpy()
            return np.ascontiguousarray(value if change is None else change(value), np.float32)

        name = self.fresh(f"{self.names[layer.name]}/{key}")
        self.nodes.append(const(name, Tensor(DType.FLOAT, stored.shape if shape is None else shape, load)))
        return name


def _weight(layer: Layer, key: str) -> str | None:
    return next((name for name in layer.weights if name.rpartition("/")[2] == key), None)


def _attr(value: Attr | DType | str | float | list[int]) -> Attr:
    if isinstance(value, Attr):
        return value
    return Attr.ints(value) if isinstance(value, list) else Attr.of(value)


def _legal(name: str) -> str:
    legal = _ILLEGAL.sub("_", name)
    return legal if _LEGAL_FIRST.match(legal) else f"layer{legal}"


def shown(value: Value) -> str:
    """Return the shape in words, height before width before channels."""
    return format_shape(value.shape)
