"""Networks of TensorFlow-Slim as graphs, layer by layer, under the node names that slim gave them.

A family's module says which layers there are; this one knows what each becomes: which nodes, and which variables of
which shape. What a layer needs of the checkpoint is noted with the shape it must have, so that building a network is
also the way to tell whether a checkpoint holds it.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final, Literal

from tfinspect.errors import UsageError
from tfinspect.ir.attrs import Attr
from tfinspect.ir.dtypes import DType
from tfinspect.ir.graph import Node, const, placeholder
from tfinspect.ir.tensors import Tensor

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from typing import Any

    import numpy as np
    import numpy.typing as npt

    from tfinspect.ir.shapes import Shape

Padding = Literal["SAME", "VALID"]
Pair = tuple[int, int]
INPUT: Final = "input"
NONE: Final = ""
"""No activation."""


@dataclass(frozen=True, slots=True)
class Value:
    """A tensor on its way through a network: a batch of images.

    Attributes:
        ref: name of the node that gives it.
        height: of an image.
        width: of an image.
        channels: None where the variable that decides it is missing.
    """

    ref: str
    height: int
    width: int
    channels: int | None


@dataclass(frozen=True, slots=True)
class Style:
    """What the layers of a network have in common; slim called it an arg_scope.

    Attributes:
        activation: op after each layer, `NONE` for none.
        norm: whether layers are batch-normalised; those that are not have biases.
        gamma: whether batch norms must have a gamma. Where it is False, one that the checkpoint has is used all the
            same.
        epsilon: of batch norms.
    """

    activation: str = "Relu"
    norm: bool = True
    gamma: bool = False
    epsilon: float = 0.001


class Net:
    """A network as it grows. What adds a layer takes a `Value` and returns one.

    Layers are named relative to the network: of the layer `Conv2d_1a_3x3` of Inception v3 the variables are called
    `InceptionV3/Conv2d_1a_3x3/...`, and so are the nodes, unless `inside` puts a scope between: slim opened the scope
    of most networks twice, and then nodes are called `InceptionV3/InceptionV3/Conv2d_1a_3x3/...`.

    Attributes:
        nodes: the graph so far.
        wanted: the shape of each variable that layers took, by its name in the checkpoint. None stands for a dimension
            that only a variable could tell which is missing.
        scope: of the variables, with whatever the checkpoint has before the network's own name.
        classes: units of the classifier, None while there is none.
        width: multiplier of all numbers of channels, where a family has one; set by its module.
    """

    def __init__(self, shapes: Mapping[str, tuple[int, ...]], scope: str, style: Style | None = None) -> None:
        """Begin a network.

        Args:
            shapes: of every variable of the checkpoint, by name.
            scope: of the network's variables, such as `InceptionV3` or `module/InceptionV3`.
            style: what layers have in common.
        """
        self.nodes: list[Node] = []
        self.wanted: dict[str, Shape] = {}
        self.scope = scope
        self.classes: int | None = None
        self.width = 1.0
        self.style = style or Style()
        self._shapes = shapes
        self._names: set[str] = set()
        self._inside = ""

    # ------------------------------------------------------------------------------------------------ the checkpoint

    def shape(self, name: str) -> tuple[int, ...] | None:
        """Return the shape of a variable of the checkpoint, named relative to the network; None where it has none."""
        return self._shapes.get(f"{self.scope}/{name}")

    def has(self, layer: str) -> bool:
        """Whether the checkpoint has the weights of a layer."""
        return self.shape(f"{layer}/weights") is not None

    def units(self, layer: str) -> int | None:
        """Return the number of units of a layer, the last dimension of its weights; None where it is not there."""
        shape = self.shape(f"{layer}/weights")
        return shape[-1] if shape else None

    def variable(self, name: str, shape: Shape) -> str:
        """Add a variable and its reading, and return the node that gives the value.

        Args:
            name: relative to the network, such as `Conv2d_1a_3x3/weights`.
            shape: that it must have; a dimension that is None may be anything.
        """
        full = f"{self.scope}/{name}"
        self.wanted[full] = shape
        kind = Attr.of(DType.FLOAT)
        self._add(Node(full, "VariableV2", (), {"dtype": kind, "shape": Attr.of_shape(shape)}))
        return self._add(Node(f"{full}/read", "Identity", (full,), {"T": kind}))

    # -------------------------------------------------------------------------------------------------------- nodes

    @contextlib.contextmanager
    def inside(self, scope: str) -> Iterator[None]:
        """Give the nodes that are added meanwhile one scope more in their names; variables do not get it."""
        before, self._inside = self._inside, f"{self._inside}{scope}/"
        try:
            yield
        finally:
            self._inside = before

    def name(self, layer: str) -> str:
        """Return what a node of a layer is called in full."""
        return f"{self.scope}/{self._inside}{layer}"

    def op(self, name: str, op: str, *inputs: str, **attrs: Attr | DType | str | float | list[int]) -> str:
        """Add a node and return its full name; its element type is float32 unless `T` is another, or empty.

        Args:
            name: relative to the network.
            op: operation type.
            inputs: full names, of nodes or of their outputs.
            attrs: attribute values.

        Raises:
            ValueError: a node of that name is there already; a family's table is wrong.
        """
        given = {"T": DType.FLOAT, **attrs}
        kept = {key: _attr(value) for key, value in given.items() if not (isinstance(value, str) and not value)}
        return self._add(Node(self.name(name), op, inputs, kept))

    def integers(self, name: str, values: list[int] | list[list[int]] | int) -> str:
        """Add a constant of int32, named relative to the network."""
        return self._add(const(self.name(name), _integers(values)))

    def _add(self, node: Node) -> str:
        if node.name in self._names:
            raise ValueError(f"two nodes are named {node.name}")
        self._names.add(node.name)
        self.nodes.append(node)
        return node.name

    # ------------------------------------------------------------------------------------------------------- layers

    def input(self, height: int, width: int, channels: int = 3) -> Value:
        """Add the input, a batch of images."""
        return Value(
            self._add(placeholder(INPUT, DType.FLOAT, (None, height, width, channels))), height, width, channels
        )

    def conv2d(
        self,
        x: Value,
        layer: str,
        units: int | None,
        kernel: int | Pair,
        stride: int = 1,
        padding: Padding = "SAME",
        *,
        activation: str | None = None,
        norm: bool | None = None,
    ) -> Value:
        """Add a convolution, `LAYER/Conv2D`, with its batch norm or its biases, and its activation.

        Args:
            x: what it takes.
            layer: its name.
            units: number of output channels; None: as many as the checkpoint says.
            kernel: height and width of its window, or one number for both.
            stride: of the window, both ways.
            padding: as TensorFlow calls it.
            activation: op, `NONE` for none; None: as the style says.
            norm: whether it is batch-normalised, or has biases; None: as the style says.

        Raises:
            UsageError: nothing is left of the images.
        """
        high, wide = _pair(kernel)
        units = self.units(layer) if units is None else units
        weights = self.variable(f"{layer}/weights", (high, wide, x.channels, units))
        ref, height, width = self._slid(x, layer, "Conv2D", weights, (high, wide), stride, padding)
        return self._finish(Value(ref, height, width, units), layer, activation=activation, norm=norm)

    def depthwise(
        self,
        x: Value,
        layer: str,
        kernel: int | Pair,
        stride: int = 1,
        padding: Padding = "SAME",
        *,
        multiplier: int = 1,
        activation: str | None = None,
        norm: bool | None = None,
    ) -> Value:
        """Add a depthwise convolution, `LAYER/depthwise`, with its batch norm or its biases, and its activation.

        Its variable is `LAYER/depthwise_weights`, [height, width, channels, multiplier]. The arguments are those of
        `conv2d`, and `multiplier`, the number of output channels for each one of the input.

        Raises:
            UsageError: nothing is left of the images.
        """
        high, wide = _pair(kernel)
        weights = self.variable(f"{layer}/depthwise_weights", (high, wide, x.channels, multiplier))
        units = None if x.channels is None else x.channels * multiplier
        op = "DepthwiseConv2dNative"
        ref, height, width = self._slid(x, layer, op, weights, (high, wide), stride, padding)
        return self._finish(Value(ref, height, width, units), layer, activation=activation, norm=norm)

    def _slid(
        self, x: Value, layer: str, op: str, weights: str, kernel: Pair, stride: int, padding: Padding
    ) -> tuple[str, int, int]:
        """Add the op of a convolution; return its node and the size of the images it gives."""
        height, width = self._size(x, layer, kernel, stride, padding)
        name = f"{layer}/{op if op == 'Conv2D' else 'depthwise'}"
        strides = [1, stride, stride, 1]
        ones = [1, 1, 1, 1]
        ref = self.op(name, op, x.ref, weights, strides=strides, padding=padding, dilations=ones, data_format="NHWC")
        return ref, height, width

    def _finish(self, x: Value, layer: str, *, activation: str | None, norm: bool | None) -> Value:
        """Add what follows the op of a convolution."""
        if self.style.norm if norm is None else norm:
            x = self.batch_norm(x, f"{layer}/BatchNorm", activation=NONE)
        else:
            biases = self.variable(f"{layer}/biases", (x.channels,))
            x = replace(x, ref=self.op(f"{layer}/BiasAdd", "BiasAdd", x.ref, biases, data_format="NHWC"))
        return self.activate(x, layer, self.style.activation if activation is None else activation)

    def batch_norm(self, x: Value, layer: str, *, activation: str | None = None, gamma: bool | None = None) -> Value:
        """Add a batch norm, `LAYER/FusedBatchNormV3`, over moving statistics, and its activation.

        Args:
            x: what it takes.
            layer: its name, such as `Conv2d_1a_3x3/BatchNorm`.
            activation: op, `NONE` for none; None: as the style says.
            gamma: whether it must have one; None: as the style says.
        """
        shape = (x.channels,)
        if (self.style.gamma if gamma is None else gamma) or self.shape(f"{layer}/gamma") is not None:
            factor = self.variable(f"{layer}/gamma", shape)
        else:
            factor = self._add(const(self.name(f"{layer}/Const"), _ones(x.channels or 1)))
        offset, mean, variance = (
            self.variable(f"{layer}/{name}", shape) for name in ("beta", "moving_mean", "moving_variance")
        )
        ref = self.op(
            f"{layer}/FusedBatchNormV3",
            "FusedBatchNormV3",
            x.ref,
            factor,
            offset,
            mean,
            variance,
            U=DType.FLOAT,
            epsilon=self.style.epsilon,
            data_format="NHWC",
            is_training=False,
        )
        return self.activate(replace(x, ref=ref), layer, self.style.activation if activation is None else activation)

    def activate(self, x: Value, layer: str, op: str) -> Value:
        """Add an activation, `LAYER/OP`; with the layer "" just `OP`. `NONE` adds nothing."""
        return x if op == NONE else replace(x, ref=self.op(f"{layer}/{op}" if layer else op, op, x.ref))

    def max_pool(self, x: Value, layer: str, kernel: int | Pair, stride: int = 1, padding: Padding = "SAME") -> Value:
        """Add `LAYER/MaxPool`.

        Raises:
            UsageError: nothing is left of the images.
        """
        return self._pool(x, layer, "MaxPool", _pair(kernel), stride, padding)

    def avg_pool(self, x: Value, layer: str, kernel: int | Pair, stride: int = 1, padding: Padding = "SAME") -> Value:
        """Add `LAYER/AvgPool`.

        Raises:
            UsageError: nothing is left of the images.
        """
        return self._pool(x, layer, "AvgPool", _pair(kernel), stride, padding)

    def _pool(self, x: Value, layer: str, op: str, kernel: Pair, stride: int, padding: Padding) -> Value:
        height, width = self._size(x, layer, kernel, stride, padding)
        ref = self.op(
            f"{layer}/{op}",
            op,
            x.ref,
            ksize=[1, *kernel, 1],
            strides=[1, stride, stride, 1],
            padding=padding,
            data_format="NHWC",
        )
        return Value(ref, height, width, x.channels)

    def mean(self, x: Value, name: str) -> Value:
        """Add the mean over height and width, which stay as dimensions of one element."""
        axes = self.integers(f"{name}/reduction_indices", [1, 2])
        ref = self.op(name, "Mean", x.ref, axes, Tidx=DType.INT32, keep_dims=True)
        return Value(ref, 1, 1, x.channels)

    def global_pool(self, x: Value, layer: str, kernel: int, *, shrinks: bool = True) -> Value:
        """Add the pooling that leaves one element of each channel.

        Args:
            x: what it takes.
            layer: such as `Logits/AvgPool_1a_{}x{}`, where the braces stand for the window; of an image larger than
                the window the mean is taken instead, called `global_pool` in the scope of the layer.
            kernel: height and width of the usual window.
            shrinks: whether slim made the window smaller for smaller images; otherwise the mean is taken of them too.
        """
        size = (x.height, x.width)
        if size == (kernel, kernel) or (shrinks and max(size) <= kernel):
            return self.avg_pool(x, layer.format(*size), size, 1, "VALID")
        parent = layer.rpartition("/")[0]
        return self.mean(x, f"{parent}/global_pool" if parent else "global_pool")

    def pad(self, x: Value, name: str, before: int, after: int) -> Value:
        """Add zeros around images, `before` at the top and the left, `after` at the bottom and the right."""
        sides = [before, after]
        around = self.integers(f"{name}/paddings", [[0, 0], sides, sides, [0, 0]])
        ref = self.op(name, "Pad", x.ref, around, Tpaddings=DType.INT32)
        return replace(x, ref=ref, height=x.height + before + after, width=x.width + before + after)

    def concat(self, xs: Sequence[Value], name: str) -> Value:
        """Join images along their channels."""
        axis = self.integers(f"{name}/axis", 3)
        ref = self.op(name, "ConcatV2", *(x.ref for x in xs), axis, N=len(xs), Tidx=DType.INT32)
        known = [x.channels for x in xs if x.channels is not None]
        return replace(xs[0], ref=ref, channels=sum(known) if len(known) == len(xs) else None)

    def add(self, x: Value, y: Value, name: str) -> Value:
        """Add up two batches of images of the same size."""
        channels = x.channels if y.channels is None else y.channels
        return replace(x, ref=self.op(name, "AddV2", x.ref, y.ref), channels=channels)

    def identity(self, x: Value, name: str) -> Value:
        """Add a node that gives what it takes: slim's dropout when nothing is trained, or a name of an end point."""
        return replace(x, ref=self.op(name, "Identity", x.ref))

    def logits(self, x: Value, layer: str, squeeze: str) -> str:
        """Add the classifier, a convolution of 1x1 with biases, and what makes rows of its result; return that node.

        Args:
            x: images of one pixel.
            layer: name of the classifier.
            squeeze: name of the node that makes rows.
        """
        done = self.conv2d(x, layer, None, 1, activation=NONE, norm=False)
        return self.rows(done, squeeze)

    def rows(self, x: Value, name: str) -> str:
        """Make rows of images of one pixel, which are logits; return the node."""
        self.classes = x.channels
        return self.op(name, "Squeeze", x.ref, squeeze_dims=[1, 2])

    def predictions(self, logits: str, scope: str) -> str:
        """Add the softmax of logits as slim wrote it, `SCOPE/Reshape_1` in the end, and return that node."""
        rows = self.integers(f"{scope}/Reshape/shape", [-1, self.classes or 1])
        flat = self.op(f"{scope}/Reshape", "Reshape", logits, rows, Tshape=DType.INT32)
        softmax = self.op(f"{scope}/Softmax", "Softmax", flat)
        shape = self.op(f"{scope}/Shape", "Shape", logits, out_type=DType.INT32)
        return self.op(f"{scope}/Reshape_1", "Reshape", softmax, shape, Tshape=DType.INT32)

    def _size(self, x: Value, layer: str, kernel: Pair, stride: int, padding: Padding) -> Pair:
        """Return height and width after a window slid over images."""
        if padding == "SAME":
            return -(-x.height // stride), -(-x.width // stride)
        height, width = ((size - k) // stride + 1 for size, k in zip((x.height, x.width), kernel, strict=True))
        if height < 1 or width < 1:
            start = next(node for node in self.nodes if node.name == INPUT).shape()
            asked = f"{start[1]}x{start[2]}" if start else "?"
            raise UsageError(
                f"images of {asked} are too small: nothing is left of them at `{self.name(layer)}`",
                evidence={"size": asked, "node": self.name(layer)},
            )
        return height, width


def _pair(kernel: int | Pair) -> Pair:
    return (kernel, kernel) if isinstance(kernel, int) else kernel


def _integers(values: list[int] | list[list[int]] | int) -> Tensor:
    """Wrap numbers without NumPy, which takes longer to import than a network to build."""
    rows = values if isinstance(values, list) else [values]
    flat = tuple(number for row in rows for number in (row if isinstance(row, list) else [row]))
    shape = () if not isinstance(values, list) else (len(rows),)
    shape = (*shape, len(flat) // len(rows)) if isinstance(rows[0], list) else shape

    def load() -> npt.NDArray[np.int32]:
        import numpy as np

        return np.asarray(values, np.int32)

    return Tensor(DType.INT32, shape, load, integers=lambda: flat)


def _ones(size: int) -> Tensor:
    def load() -> npt.NDArray[np.float32]:
        import numpy as np

        return np.ones(size, np.float32)

    return Tensor(DType.FLOAT, (size,), load)


def _attr(value: Any) -> Attr:  # noqa: ANN401 - what `Net.op` takes
    if isinstance(value, Attr):
        return value
    return Attr.ints(value) if isinstance(value, list) else Attr.of(value)
