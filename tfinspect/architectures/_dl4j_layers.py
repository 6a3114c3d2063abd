"""Deeplearning4j's layers as TensorFlow ops, channels last. What it calls a convolution is one to TensorFlow too."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from tfinspect.architectures._dl4j_activations import activate, before
from tfinspect.architectures._dl4j_nodes import Settings, Step, Trail, Value, shown
from tfinspect.ir.dtypes import DType

if TYPE_CHECKING:
    from collections.abc import Callable

    from tfinspect.architectures._dl4j_nodes import Nodes
    from tfinspect.ir.layers import Layer

_LOWEST = -3.4028234663852886e38
_EPSILON = 1e-5


@dataclass(frozen=True, slots=True)
class Call:
    """A layer to be added.

    Attributes:
        nodes: the graph so far.
        layer: what to add.
        settings: of the layer.
        out: name of the node that must give the result.
    """

    nodes: Nodes
    layer: Layer
    settings: Settings
    out: str

    def op(self, name: str, op: str, *inputs: str, **attrs: DType | str | float | list[int]) -> str:
        """Add a node of the layer, called `LAYER/name`."""
        return self.nodes.op(self.nodes.fresh(f"{self.out}/{name}"), op, *inputs, **attrs)

    def image(self, x: Value) -> tuple[int | None, int | None, int | None]:
        """Return height, width and channels of what must be an image."""
        if not x.is_image:
            raise self.settings.wrong(f"it takes images, and is given rows of {shown(x)} numbers")
        height, width, channels = x.shape
        return height, width, channels

    def finish(self, x: str, value: Value) -> Value:
        """Add the bias where the layer has one, and its activation."""
        target = before(self.out, self.settings)
        if self.nodes.shape_of(self.layer, "b") is not None:
            bias = self.nodes.weight(self.layer, "b")
            x = self.nodes.op(target if target == self.out else self.nodes.fresh(target), "BiasAdd", x, bias)
        return replace(value, ref=activate(self.nodes, x, self.out, self.settings))


# --------------------------------------------------------------------------------------------------------- on images


def _window(
    call: Call, x: Value, kernel: tuple[int, ...], dilation: tuple[int, ...], filler: float = 0.0
) -> tuple[str, str, tuple[int | None, int | None], Trail]:
    """Return the tensor a window slides over, TensorFlow's word for the padding, the new size, and the trail."""
    settings = call.settings
    stride, padding = settings.counts("stride", 2), settings.counts("padding", 2, (0, 0))
    mode = settings.word("convolutionMode", "Truncate")
    if 0 in (*kernel, *stride, *dilation):
        raise settings.wrong("a kernel, stride or dilation is 0")
    if mode not in {"Same", "Truncate", "Strict"}:
        raise settings.refused(f"has the convolution mode {mode[:40]}")
    spans = [(k - 1) * d + 1 for k, d in zip(kernel, dilation, strict=True)]
    same = mode == "Same"
    height, width = (
        Step(span, s, 0 if same else 2 * p, same=same) for span, s, p in zip(spans, stride, padding, strict=True)
    )
    if mode == "Strict":
        for size, step in zip(x.shape, (height, width), strict=False):
            if size is not None and not step.is_exact(size):
                raise settings.wrong(f"its strict mode does not allow an image of {shown(x)}")
    ref = x.ref if same else padded(call, x.ref, (padding[0], padding[0], padding[1], padding[1]), filler)
    sizes, trail = moved(call, x, height, width)
    return ref, "SAME" if same else "VALID", sizes, trail


def moved(call: Call, x: Value, height: Step, width: Step) -> tuple[tuple[int | None, int | None], Trail]:
    """Return the size of an image after a step on each axis, and the longer trail."""
    sizes = [None if size is None else step.size(size) for size, step in zip(x.shape, (height, width), strict=False)]
    if any(size is not None and size <= 0 for size in sizes):
        raise call.settings.wrong(f"nothing is left of an image of {shown(x)}")
    return (sizes[0], sizes[1]), Trail(height, width, x.trail)


def padded(call: Call, x: str, sides: tuple[int, int, int, int], filler: float = 0.0) -> str:
    """Put zeros, or another number, around images."""
    if not any(sides):
        return x
    top, bottom, left, right = sides
    around = call.nodes.integers(f"{call.out}/paddings", [[0, 0], [top, bottom], [left, right], [0, 0]])
    if filler == 0.0:
        return call.op("Pad", "Pad", x, around, Tpaddings=DType.INT32)
    number = call.nodes.number(f"{call.out}/filler", filler)
    return call.op("PadV2", "PadV2", x, around, number, Tpaddings=DType.INT32)


def _convolution(call: Call, x: Value) -> Value:
    out_channels, in_channels, *kernel = call.nodes.shape_of(call.layer, "W") or ()
    _check_channels(call, x, in_channels)
    dilation = call.settings.counts("dilation", 2, (1, 1))
    ref, padding, sizes, trail = _window(call, x, tuple(kernel), dilation)
    shape = (*kernel, in_channels, out_channels)
    weights = call.nodes.weight(call.layer, "W", shape, lambda w: w.transpose(2, 3, 1, 0))
    stride = call.settings.counts("stride", 2)
    done = _result(call, "Conv2D", ref, weights, padding, stride, dilation=dilation)
    return call.finish(done, Value("", (*sizes, out_channels), trail=trail))


def _result(
    call: Call, op: str, x: str, weights: str, padding: str, stride: tuple[int, ...], dilation: tuple[int, ...] = (1, 1)
) -> str:
    return call.op(
        op, op, x, weights, strides=[1, *stride, 1], padding=padding, dilations=[1, *dilation, 1], data_format="NHWC"
    )


def _depthwise(call: Call, x: Value) -> Value:
    *kernel, in_channels, times = call.nodes.shape_of(call.layer, "W") or ()
    weights = call.nodes.weight(call.layer, "W")
    done, value = _each_channel(call, x, tuple(kernel), in_channels, times, weights)
    return call.finish(done, value)


def _separable(call: Call, x: Value) -> Value:
    times, in_channels, *kernel = call.nodes.shape_of(call.layer, "W") or ()
    shape = (*kernel, in_channels, times)
    weights = call.nodes.weight(call.layer, "W", shape, lambda w: w.transpose(2, 3, 1, 0))
    each, value = _each_channel(call, x, tuple(kernel), in_channels, times, weights)
    channels, between, *one = call.nodes.shape_of(call.layer, "pW") or ()
    points = call.nodes.weight(call.layer, "pW", (*one, between, channels), lambda w: w.transpose(2, 3, 1, 0))
    done = _result(call, "Conv2D", each, points, "VALID", (1, 1))
    return call.finish(done, replace(value, shape=(*value.shape[:2], channels)))


def _each_channel(
    call: Call, x: Value, kernel: tuple[int, ...], in_channels: int, times: int, weights: str
) -> tuple[str, Value]:
    _check_channels(call, x, in_channels)
    dilation, stride = call.settings.counts("dilation", 2, (1, 1)), call.settings.counts("stride", 2)
    if dilation != (1, 1) or stride[0] != stride[1]:
        raise call.settings.refused("is a depthwise convolution with dilation or unequal strides")
    ref, padding, sizes, trail = _window(call, x, kernel, dilation)
    done = _result(call, "DepthwiseConv2dNative", ref, weights, padding, stride)
    return done, Value(done, (*sizes, in_channels * times), trail=trail)


def _check_channels(call: Call, x: Value, wanted: int) -> None:
    *_, channels = call.image(x)
    if channels not in {None, wanted}:
        raise call.settings.wrong(f"it takes {wanted:,} channels, and is given images of {shown(x)}")


def _pooling(call: Call, x: Value) -> Value:
    settings = call.settings
    height, width, channels = call.image(x)
    kind = settings.word("poolingType")
    kernel, stride = settings.counts("kernelSize", 2), settings.counts("stride", 2)
    if settings.counts("dilation", 2, (1, 1)) != (1, 1):
        raise settings.refused("is a pooling layer with dilation")
    if kind not in {"MAX", "AVG", "SUM"}:
        raise settings.refused(f"pools by {kind[:40]}")
    ref, padding, sizes, trail = _window(call, x, kernel, (1, 1), _LOWEST if kind == "MAX" else 0.0)
    value = Value(call.out, (*sizes, channels), trail=trail)
    window: dict[str, list[int] | str] = {
        "ksize": [1, *kernel, 1], "strides": [1, *stride, 1], "data_format": "NHWC"
    }  # fmt: skip
    if kind == "MAX":
        call.nodes.op(call.out, "MaxPool", ref, padding=padding, **window)
        return value
    # the files of 1.0.0-beta4 and before do not say it, and their versions counted the padding
    counted = kind == "SUM" or settings.flag("avgPoolIncludePadInDivisor", default=True)
    if padding == "SAME":
        if not counted:
            call.nodes.op(call.out, "AvgPool", ref, padding=padding, **window)
            return value
        sides = [_same_sides(n, k, s) for n, k, s in zip((height, width), kernel, stride, strict=True)]
        if None in sides:
            raise settings.refused("counts the padding around images of unknown size")
        (top, bottom), (left, right) = (side or (0, 0) for side in sides)
        ref = padded(call, ref, (top, bottom, left, right))
    if kind == "SUM":
        mean = call.op("AvgPool", "AvgPool", ref, padding="VALID", **window)
        size = call.nodes.number(f"{call.out}/size", math.prod(kernel))
        call.nodes.op(call.out, "Mul", mean, size)
    elif counted or ref == x.ref:
        call.nodes.op(call.out, "AvgPool", ref, padding="VALID", **window)
    else:  # only TensorFlow's SAME padding is left out of its averages
        mean = call.op("AvgPool", "AvgPool", ref, padding="VALID", **window)
        ones = padded(call, call.op("OnesLike", "OnesLike", x.ref), settings.sides("padding"))
        share = call.op("AvgPool", "AvgPool", ones, padding="VALID", **window)
        call.nodes.op(call.out, "RealDiv", mean, share)
    return value


def _same_sides(size: int | None, kernel: int, stride: int) -> tuple[int, int] | None:
    if size is None and stride != 1:
        return None
    need = kernel - 1 if size is None else max((-(-size // stride) - 1) * stride + kernel - size, 0)
    return need // 2, need - need // 2


def _upsampling(call: Call, x: Value) -> Value:
    _, _, channels = call.image(x)
    times = call.settings.counts("size", 2)
    if 0 in times:
        raise call.settings.wrong("`size` has a 0")
    sizes, trail = moved(call, x, Step(times=times[0]), Step(times=times[1]))
    if None in sizes:
        whole = call.op("Shape", "Shape", x.ref, out_type=DType.INT32)
        bounds = [call.nodes.integers(f"{call.out}/{name}", value) for name, value in _BETWEEN.items()]
        now = call.op(
            "StridedSlice", "StridedSlice", whole, *bounds, T=DType.INT32, Index=DType.INT32,
            begin_mask=0, end_mask=0, ellipsis_mask=0, new_axis_mask=0, shrink_axis_mask=0,
        )  # fmt: skip
        size = call.op("Mul", "Mul", now, call.nodes.integers(f"{call.out}/times", list(times)), T=DType.INT32)
    else:
        size = call.nodes.integers(f"{call.out}/size", [n or 0 for n in sizes])
    call.nodes.op(
        call.out, "ResizeNearestNeighbor", x.ref, size, align_corners=False, half_pixel_centers=False
    )  # fmt: skip
    return Value(call.out, (*sizes, channels), trail=trail)


_BETWEEN: Final = {"begin": [1], "end": [3], "strides": [1]}  # height and width of a shape


def _zero_padding(call: Call, x: Value) -> Value:
    _, _, channels = call.image(x)
    top, bottom, left, right = call.settings.sides("padding")
    sizes, trail = moved(call, x, Step(added=top + bottom), Step(added=left + right))
    around = call.nodes.integers(f"{call.out}/paddings", [[0, 0], [top, bottom], [left, right], [0, 0]])
    call.nodes.op(call.out, "Pad", x.ref, around, Tpaddings=DType.INT32)
    return Value(call.out, (*sizes, channels), trail=trail)


def _cropping(call: Call, x: Value) -> Value:
    return cropped(call, x, call.settings.sides("cropping"))


def cropped(call: Call, x: Value, sides: tuple[int, int, int, int]) -> Value:
    """Take rows and columns of pixels off images."""
    _, _, channels = call.image(x)
    top, bottom, left, right = sides
    sizes, trail = moved(call, x, Step(added=-top - bottom), Step(added=-left - right))
    ends = 9 | (2 if not bottom else 0) | (4 if not right else 0)  # an end of 0 is the end of the axis
    sliced(call, x.ref, [0, top, left, 0], [0, -bottom, -right, 0], begin_mask=9, end_mask=ends)
    return Value(call.out, (*sizes, channels), trail=trail)


def sliced(call: Call, x: str, begin: list[int], end: list[int], *, begin_mask: int, end_mask: int) -> None:
    """Add a slice as the node of the layer."""
    bounds = {"begin": begin, "end": end, "strides": [1] * len(begin)}
    inputs = [call.nodes.integers(f"{call.out}/{name}", value) for name, value in bounds.items()]
    call.nodes.op(
        call.out, "StridedSlice", x, *inputs, Index=DType.INT32, begin_mask=begin_mask, end_mask=end_mask,
        ellipsis_mask=0, new_axis_mask=0, shrink_axis_mask=0,
    )  # fmt: skip


def _global_pooling(call: Call, x: Value) -> Value:
    _, _, channels = call.image(x)
    kind = call.settings.word("poolingType")
    ops = {"MAX": "Max", "AVG": "Mean", "SUM": "Sum"}
    if kind not in ops:
        raise call.settings.refused(f"pools by {kind[:40]}")
    if "poolingDimensions" in call.settings and call.settings.counts("poolingDimensions", 2) != (2, 3):
        raise call.settings.refused("pools over other dimensions than height and width")
    collapses = call.settings.flag("collapseDimensions", default=True)
    axes = call.nodes.integers(f"{call.out}/axes", [1, 2])
    call.nodes.op(call.out, ops[kind], x.ref, axes, Tidx=DType.INT32, keep_dims=not collapses)
    return Value(call.out, (channels,) if collapses else (1, 1, channels))


def _response_normalization(call: Call, x: Value) -> Value:
    call.image(x)
    s = call.settings
    call.nodes.op(
        call.out, "LRN", x.ref, depth_radius=int(s.number("n", 5.0)) // 2, bias=s.number("k", 2.0),
        alpha=s.number("alpha", 1e-4), beta=s.number("beta", 0.75),
    )  # fmt: skip
    return replace(x, ref=call.out)


# ------------------------------------------------------------------------------------------------- on rows and on both


def _dense(call: Call, x: Value) -> Value:
    n_in, n_out = call.nodes.shape_of(call.layer, "W") or (0, 0)
    if call.settings.flag("hasLayerNorm", default=False):
        raise call.settings.refused("normalises its layer")
    x = _as_rows(call, x, n_in)
    if x.shape != (n_in,):
        raise call.settings.wrong(f"it takes {n_in:,} numbers, and is given {shown(x)}")
    if x.flattened is None:
        weights = call.nodes.weight(call.layer, "W")
    else:  # the rows of the matrix go where the numbers stand now
        height, width, channels = x.flattened
        weights = call.nodes.weight(
            call.layer, "W", None,
            lambda w: w.reshape(channels, height, width, n_out).transpose(1, 2, 0, 3).reshape(n_in, n_out),
        )  # fmt: skip
    done = call.op("MatMul", "MatMul", x.ref, weights, transpose_a=False, transpose_b=False)
    return call.finish(done, Value("", (n_out,)))


def _as_rows(call: Call, x: Value, n_in: int) -> Value:
    """Flatten images that reach a dense layer without a preprocessor, as old versions did."""
    if not x.is_image:
        return x
    height, width, channels = x.shape
    if channels and (height is None or width is None):
        side = math.isqrt(n_in // channels)
        height, width = side, side
    if not channels or height is None or width is None or height * width * channels != n_in:
        raise call.settings.wrong(f"it takes rows of {n_in:,} numbers, and is given images of {shown(x)}")
    return flattened(call, x, (height, width, channels))


def flattened(call: Call, x: Value, size: tuple[int, int, int]) -> Value:
    """Make rows of images; the numbers stand channels last."""
    count = math.prod(size)
    if None in x.shape[:2]:
        call.nodes.want(x.trail, size[:2])
    shape = call.nodes.integers(f"{call.out}/rows", [-1, count])
    ref = call.op("flatten", "Reshape", x.ref, shape, Tshape=DType.INT32)
    return Value(ref, (count,), flattened=size, trail=x.trail)


def _embedding(call: Call, x: Value) -> Value:
    rows, n_out = call.nodes.shape_of(call.layer, "W") or (0, 0)
    if x.shape != (1,):
        raise call.settings.wrong(f"it takes one of {rows:,} indices, and is given {shown(x)}")
    ref = x.ref
    if x.dtype is not DType.INT32:
        ref = call.op("Cast", "Cast", ref, T="", SrcT=x.dtype, DstT=DType.INT32)
    flat = call.op("indices", "Reshape", ref, call.nodes.integers(f"{call.out}/all", [-1]), T=DType.INT32,
                   Tshape=DType.INT32)  # fmt: skip
    axis = call.nodes.integers(f"{call.out}/axis", 0)
    done = call.op(
        "GatherV2", "GatherV2", call.nodes.weight(call.layer, "W"), flat, axis, T="", Tparams=DType.FLOAT,
        Tindices=DType.INT32, Taxis=DType.INT32, batch_dims=0,
    )  # fmt: skip
    return call.finish(done, Value("", (n_out,)))


def _element_wise_product(call: Call, x: Value) -> Value:
    (_, count) = call.nodes.shape_of(call.layer, "W") or (0, 0)
    x = in_own_order(call, x)
    if x.shape != (count,):
        raise call.settings.wrong(f"it takes {count:,} numbers, and is given {shown(x)}")
    done = call.op("Mul", "Mul", x.ref, call.nodes.weight(call.layer, "W"))
    return call.finish(done, Value("", (count,)))


def in_own_order(call: Call, x: Value) -> Value:
    """Bring the numbers of flattened images into the order that Deeplearning4j has them in: channels first."""
    if x.flattened is None:
        return x
    height, width, channels = x.flattened
    nodes = call.nodes
    image = nodes.integers(f"{call.out}/image", [-1, height, width, channels])
    images = call.op("unflatten", "Reshape", x.ref, image, Tshape=DType.INT32)
    first = nodes.integers(f"{call.out}/channels_first", [0, 3, 1, 2])
    turned = call.op("Transpose", "Transpose", images, first, Tperm=DType.INT32)
    rows = nodes.integers(f"{call.out}/rows", [-1, height * width * channels])
    ref = call.op("reflatten", "Reshape", turned, rows, Tshape=DType.INT32)
    return Value(ref, x.shape, trail=x.trail)


def _batch_norm(call: Call, x: Value) -> Value:
    nodes, layer, settings = call.nodes, call.layer, call.settings
    x = in_own_order(call, x)
    (size,) = nodes.shape_of(layer, "mean") or (0,)
    if x.shape[-1] not in {None, size}:
        raise settings.wrong(f"it normalises {size:,} channels, and is given {shown(x)}")
    if nodes.shape_of(layer, "gamma") is None:
        gamma = nodes.full(f"{call.out}/gamma", settings.number("gamma", 1.0), size)
        beta = nodes.full(f"{call.out}/beta", settings.number("beta", 0.0), size)
    else:
        gamma, beta = nodes.weight(layer, "gamma"), nodes.weight(layer, "beta")
    mean = nodes.weight(layer, "mean")
    if nodes.shape_of(layer, "var") is None:
        spread = nodes.weight(layer, "log10stdev", None, lambda s: 100.0 ** s.astype("float64"))
    else:
        spread = nodes.weight(layer, "var")
    # what wrote no `useLogStd` had its epsilon in the variance already, and divided by the root of that
    epsilon = settings.number("eps", _EPSILON) if "useLogStd" in settings else 0.0
    if x.is_image:
        nodes.op(
            call.out, "FusedBatchNormV3", x.ref, gamma, beta, mean, spread, U=DType.FLOAT, epsilon=epsilon,
            is_training=False, data_format="NHWC", exponential_avg_factor=1.0,
        )  # fmt: skip
        return replace(x, ref=call.out)
    wide = call.op("Add", "AddV2", spread, nodes.number(f"{call.out}/epsilon", epsilon))
    scale = call.op("Mul", "Mul", call.op("Rsqrt", "Rsqrt", wide), gamma)
    centred = call.op("Sub", "Sub", x.ref, mean)
    nodes.op(call.out, "AddV2", call.op("Mul", "Mul", centred, scale), beta)
    return replace(x, ref=call.out)


def _prelu(call: Call, x: Value) -> Value:
    x = in_own_order(call, x)
    shape = call.nodes.shape_of(call.layer, "W") or ()
    if len(shape) != len(x.shape):
        raise call.settings.wrong(f"its slopes have {len(shape)} dimensions, and it is given {shown(x)}")
    last = (*shape[1:], shape[0])
    slopes = call.nodes.weight(call.layer, "W", last, lambda w: w.transpose(*range(1, w.ndim), 0))
    if any(n is not None and s not in {1, n} for s, n in zip(last, x.shape, strict=True)):
        raise call.settings.wrong(f"its slopes do not fit {shown(x)}")
    below = call.op("Relu", "Relu", call.op("Neg", "Neg", x.ref))
    call.nodes.op(call.out, "Sub", call.op("Relu", "Relu", x.ref), call.op("Mul", "Mul", below, slopes))
    return replace(x, ref=call.out)


def _activation(call: Call, x: Value) -> Value:
    return replace(x, ref=activate(call.nodes, x.ref, call.out, call.settings))


def _nothing(call: Call, x: Value) -> Value:
    return replace(x, ref=call.nodes.op(call.out, "Identity", x.ref, T=x.dtype))


ON_IMAGES: Final[dict[str, Callable[[Call, Value], Value]]] = {
    "ConvolutionLayer": _convolution,
    "Convolution2D": _convolution,
    "Cropping2D": _cropping,
    "DepthwiseConvolution2D": _depthwise,
    "GlobalPoolingLayer": _global_pooling,
    "LocalResponseNormalization": _response_normalization,
    "SeparableConvolution2D": _separable,
    "SubsamplingLayer": _pooling,
    "Upsampling2D": _upsampling,
    "ZeroPaddingLayer": _zero_padding,
}
ON_ROWS: Final[dict[str, Callable[[Call, Value], Value]]] = {
    "AutoEncoder": _dense,
    "CenterLossOutputLayer": _dense,
    "DenseLayer": _dense,
    "ElementWiseMultiplicationLayer": _element_wise_product,
    "EmbeddingLayer": _embedding,
    "OutputLayer": _dense,
}
ON_BOTH: Final[dict[str, Callable[[Call, Value], Value]]] = {
    "ActivationLayer": _activation,
    "BatchNormalization": _batch_norm,
    "CnnLossLayer": _activation,
    "DropoutLayer": _nothing,
    "LossLayer": _activation,
    "PReLULayer": _prelu,
}
LAYERS: Final = {**ON_IMAGES, **ON_ROWS, **ON_BOTH}
