"""Where the bytes of an image file become pixels, and what a graph does to pixels before its first layer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from tfinspect.errors import InputError
from tfinspect.ir.dtypes import DType
from tfinspect.surgery._flow import Flow
from tfinspect.surgery.ops import DECODERS, IDENTITIES, LAYERS

if TYPE_CHECKING:
    from collections.abc import Callable

    from tfinspect.ir.graph import Graph
    from tfinspect.ir.refs import TensorRef
    from tfinspect.surgery._flow import Tensor
    from tfinspect.surgery.shapes import TensorTypes

_RESIZES = {
    "ResizeBilinear": "bilinear", "ResizeNearestNeighbor": "nearest", "ResizeBicubic": "bicubic", "ResizeArea": "area"
}  # fmt: skip
_FED = frozenset({"Const", "Placeholder", "PlaceholderV2", "PlaceholderWithDefault"})
_MEASURES = frozenset({"Shape", "Size", "Rank"})
_MAX_CHANNELS = 8  # a constant of more elements is no mean of channels


@dataclass(frozen=True, slots=True)
class Pixels:
    """Where an image file is decoded.

    Attributes:
        ref: the pixels, [height, width, channels] of uint8 (or uint16).
        contents: the bytes of the file.
        op: the op that decodes, e.g. `DecodeJpeg`.
        channels: number of colour channels, None where the file decides.
    """

    ref: TensorRef
    contents: TensorRef
    op: str
    channels: int | None


@dataclass(frozen=True, slots=True)
class Preprocessing:
    """What happens to pixels before the first layer: resizing, and (pixel - mean) * scale.

    Attributes:
        ref: the tensor that is ready for the first layer.
        size: (height, width) the image is resized to, None where it is not resized.
        method: how it is resized: `bilinear`, `nearest`, `bicubic` or `area`; empty where it is not.
        align_corners: the resize op's attribute of that name.
        half_pixel_centers: the resize op's attribute of that name.
        mean: what is subtracted, one number, or one a channel.
        scale: what the difference is multiplied by, likewise.
        channels: number of colour channels, None where it cannot be told.
        steps: the ops in order.
    """

    ref: TensorRef
    size: tuple[int, int] | None
    method: str
    align_corners: bool
    half_pixel_centers: bool
    mean: tuple[float, ...]
    scale: tuple[float, ...]
    channels: int | None
    steps: tuple[str, ...]


def pixels(graph: Graph, types: TensorTypes) -> Pixels | None:
    """Return where the bytes of an image become pixels, or None where the graph decodes none.

    Of several decoders, one whose bytes can be fed and whose pixels a learned layer sees comes first.
    """
    flow = Flow(graph)
    found = []
    for i, node in enumerate(flow.nodes):
        if node.op in DECODERS and flow.inputs[i] and flow.inputs[i][0][0] >= 0:
            contents = flow.inputs[i][0]
            fed = flow.nodes[contents[0]].op in _FED
            seen = any(flow.nodes[user].op in LAYERS for user in flow.downstream([(i, 0)]))
            found.append((not (fed and seen), not fed, i, contents))
    if not found:
        return None
    _, _, decoder, contents = min(found)
    ref = flow.ref((decoder, 0))
    shape = types.type_of(ref).shape
    return Pixels(ref, flow.ref(contents), flow.nodes[decoder].op, shape[-1] if shape else None)


def preprocessing(graph: Graph, types: TensorTypes, ref: TensorRef) -> Preprocessing | None:
    """Return what a graph does to pixels between a tensor and its first layer.

    Args:
        graph: the graph.
        types: its types.
        ref: the pixels, or the graph's image input.

    Returns:
        The recovered steps, or None where nothing is done or something is done that has no place in this form.

    Raises:
        NodeNotFoundError: the graph has no such node.
    """
    graph.node(ref.name)
    flow = Flow(graph)
    chain = _Chain(flow, (flow.number[ref.name], ref.index))
    while chain.advance():
        pass
    if not chain.steps or not chain.reaches_layer():
        return None
    shape = types.type_of(flow.ref(chain.at)).shape
    channels = shape[-1] if shape else None
    # the steps compose to x * factor + offset, that is (x - mean) * scale
    if any(f == 0 for f in chain.factor):
        return None
    count = max(len(chain.factor), len(chain.offset))
    factor, offset = _spread(chain.factor, count), _spread(chain.offset, count)
    mean = tuple(-o / f + 0.0 for o, f in zip(offset, factor, strict=True))
    return Preprocessing(
        flow.ref(chain.at),
        chain.size,
        chain.method,
        chain.align_corners,
        chain.half_pixel_centers,
        _shared(mean),
        _shared(factor),
        channels,
        tuple(chain.steps),
    )


def _spread(values: tuple[float, ...], count: int) -> tuple[float, ...]:
    return values * count if len(values) == 1 else values


def _shared(values: tuple[float, ...]) -> tuple[float, ...]:
    return values[:1] if len(set(values)) == 1 else values


class _Chain:
    """A walk from a tensor along its only consumer, which notes what each op does to the values."""

    def __init__(self, flow: Flow, start: Tensor) -> None:
        self.flow = flow
        self.at = start
        self.steps: list[str] = []
        self.factor: tuple[float, ...] = (1.0,)
        self.offset: tuple[float, ...] = (0.0,)
        self.size: tuple[int, int] | None = None
        self.method = ""
        self.align_corners = self.half_pixel_centers = False

    def _users(self) -> list[int]:
        users = dict.fromkeys(user for user, index in self.flow.users[self.at[0]] if index == self.at[1])
        return [user for user in users if self.flow.nodes[user].op not in _MEASURES]

    def reaches_layer(self) -> bool:
        """Whether a layer, or what pads its input, takes the tensor the walk has come to."""
        ops = {self.flow.nodes[user].op for user in self._users()}
        return bool(ops & (LAYERS | {"Pad", "PadV2", "SpaceToBatchND", "QuantizeV2", "MaxPool", "AvgPool"}))

    def advance(self) -> bool:
        """Go over one op; False where there is none that can be understood."""
        users = self._users()
        if len(users) != 1:
            return False
        (number,) = users
        node = self.flow.nodes[number]
        step = self._steps().get(node.op)
        if step is None or not step(number):
            return False
        if node.op not in IDENTITIES:
            self.steps.append(node.op)
        self.at = (number, 0)
        return True

    def _steps(self) -> dict[str, Callable[[int], bool]]:
        shapeless = dict.fromkeys(("ExpandDims", "Squeeze", "Reshape", *IDENTITIES), self._first_input)
        arithmetic = dict.fromkeys(("Add", "AddV2", "Sub", "Mul", "RealDiv", "Div"), self._arithmetic)
        return {**shapeless, **arithmetic, **dict.fromkeys(_RESIZES, self._resize), "Cast": self._cast}

    def _first_input(self, number: int) -> bool:
        return self.flow.inputs[number][0] == self.at

    def _cast(self, number: int) -> bool:
        kind = self.flow.nodes[number].dtype("DstT")
        return kind is not None and kind.is_floating

    def _resize(self, number: int) -> bool:
        node = self.flow.nodes[number]
        size = self._constant(number, 1)
        if not self._first_input(number) or size is None or len(size) != 2 or self.size is not None:  # noqa: PLR2004
            return False
        self.size = (int(size[0]), int(size[1]))
        self.method = _RESIZES[node.op]
        self.align_corners = bool(node.value("align_corners", default=False))
        self.half_pixel_centers = bool(node.value("half_pixel_centers", default=False))
        return True

    def _arithmetic(self, number: int) -> bool:
        op = self.flow.nodes[number].op
        sources = self.flow.inputs[number]
        if len(sources) != 2:  # noqa: PLR2004 - two operands
            return False
        mine = 0 if sources[0] == self.at else 1
        other = self._constant(number, 1 - mine)
        if other is None or (mine == 1 and op in ("RealDiv", "Div")) or 0 in (other if "Div" in op else ()):
            return False
        count = max(len(other), len(self.factor), len(self.offset))
        values, factor, offset = (_spread(v, count) for v in (other, self.factor, self.offset))
        if any(len(v) != count for v in (values, factor, offset)):
            return False
        if op == "Mul" or "Div" in op:
            by = values if op == "Mul" else tuple(1 / v for v in values)
            self.factor = tuple(f * v for f, v in zip(factor, by, strict=True))
            self.offset = tuple(o * v for o, v in zip(offset, by, strict=True))
        elif op == "Sub":
            sign = 1 if mine == 0 else -1
            self.factor = tuple(sign * f for f in factor)
            self.offset = tuple(sign * (o - v) for o, v in zip(offset, values, strict=True))
        else:
            self.offset = tuple(o + v for o, v in zip(offset, values, strict=True))
        return True

    def _constant(self, number: int, index: int) -> tuple[float, ...] | None:
        """Return the values of a small constant operand: one number, or one a channel."""
        source = self.flow.inputs[number][index][0] if index < len(self.flow.inputs[number]) else -1
        while source >= 0 and self.flow.nodes[source].op == "Identity":
            source = self.flow.inputs[source][0][0]
        tensor = self.flow.nodes[source].tensor() if source >= 0 else None
        if tensor is None or not 0 < tensor.size <= _MAX_CHANNELS or tensor.size != (tensor.shape or (1,))[-1]:
            return None
        if not (tensor.dtype.is_floating or tensor.dtype in (DType.INT32, DType.INT64)):
            return None
        try:
            return tuple(float(v) for v in tensor.numpy().reshape(-1).tolist())
        except InputError:
            return None
