"""Types of the outputs of single ops: layers of networks, images, audio, quantised arithmetic."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tfinspect.ir.dtypes import DType
from tfinspect.ir.shapes import Shape
from tfinspect.ir.shapes import merge as merge_shapes
from tfinspect.surgery._shape_arithmetic import broadcast, dims_of, element, plus, same, table, times, with_dim
from tfinspect.surgery.shapes import UNKNOWN, TensorType

if TYPE_CHECKING:
    from tfinspect.surgery._shape_arithmetic import Rule
    from tfinspect.surgery.shapes import Call

Dims = tuple[int | None, ...]
_IMAGE, _VIDEO, _MATRIX = 4, 5, 2


def _layout(call: Call, rank: int) -> tuple[int, tuple[int, ...]]:
    """Return the channel axis and the spatial axes of a batch of images or volumes."""
    if call.node.text("data_format").startswith("NC"):
        return 1, tuple(range(2, rank))
    return rank - 1, tuple(range(1, rank - 1))


def _window(call: Call, axis: int, size: int | None, kernel: int | None) -> int | None:
    """Return the size of one spatial dimension after a window has moved over it."""
    node = call.node
    stride: int = node.value("strides")[axis]
    padding = node.text("padding")
    if size is None:
        return None
    if padding == "SAME":
        return -(-size // stride)
    if kernel is None:
        return None
    dilations = node.value("dilations") or ()
    dilation: int = dilations[axis] if len(dilations) > axis else 1
    if padding == "EXPLICIT":
        before, after = node.value("explicit_paddings")[2 * axis : 2 * axis + 2]
        size += before + after
    span = (kernel - 1) * dilation + 1
    return max(0, (size - span) // stride + 1)


def _convolved(call: Call, rank: int, out_channels: int | None, kernel: Dims) -> Shape:
    shape = call.shape(0)
    if shape is None:
        shape = (None,) * rank
    if len(shape) != rank:
        return None
    channel, spatial = _layout(call, rank)
    out = [shape[0]] * rank
    out[channel] = out_channels
    for axis, size in zip(spatial, kernel, strict=True):
        out[axis] = _window(call, axis, shape[axis], size)
    return tuple(out)


def _conv(rank: int) -> Rule:
    def rule(call: Call) -> list[TensorType]:
        kernel = call.shape(1) or (None,) * rank
        shape = _convolved(call, rank, kernel[-1], kernel[: rank - 2])
        return [TensorType(element(call) or call.dtype(1), shape)]

    return rule


def _depthwise(call: Call) -> list[TensorType]:
    kernel = call.shape(1) or (None,) * _IMAGE
    return [TensorType(element(call), _convolved(call, _IMAGE, times(*kernel[2:]), kernel[:2]))]


def _deconv(call: Call) -> list[TensorType]:
    kernel, grad = call.shape(1), call.shape(2)
    shape = dims_of(call.value(0), call.shape(0))
    rank = len(kernel or grad or ()) or None
    if shape is None and rank:
        shape = (None,) * rank
    if shape is not None and len(shape) >= _IMAGE and grad is not None:
        shape = with_dim(shape, 0, grad[0] if shape[0] is None else shape[0])
    return [TensorType(call.dtype(1) or call.node.dtype("T"), shape)]


def _from_sizes(index: int) -> Rule:
    return lambda call: [
        TensorType(call.dtype(0) or call.node.dtype("T"), dims_of(call.value(index), call.shape(index)))
    ]


def _pool(rank: int) -> Rule:
    def rule(call: Call) -> list[TensorType]:
        shape = call.shape(0) or (None,) * rank
        sizes = call.node.value("ksize")
        if sizes is None:
            return [TensorType(element(call), (None,) * rank)]
        out = tuple(
            _window(call, axis, dim, sizes[axis]) if sizes[axis] != 1 or call.node.value("strides")[axis] != 1 else dim
            for axis, dim in enumerate(shape)
        )
        return [TensorType(element(call), out)]

    return rule


def _pool_v2(call: Call) -> list[TensorType]:
    shape = call.shape(0)
    return [TensorType(element(call), None if shape is None else (None,) * len(shape))]


def _max_pool_argmax(call: Call) -> list[TensorType]:
    (out,) = _pool(_IMAGE)(call)
    return [out, TensorType(call.node.dtype("Targmax") or DType.INT64, out.shape)]


def _batch_norm(call: Call) -> list[TensorType]:
    shape, scale = call.shape(0), call.shape(1)
    channels: int | None = scale[0] if scale else None
    if shape is not None and len(shape) in (_IMAGE, _VIDEO):
        axis, _ = _layout(call, len(shape))
        channels = shape[axis] if channels is None else channels
        shape = with_dim(shape, axis, channels)
    moments = TensorType(call.node.dtype("U") or call.dtype(1) or DType.FLOAT, (channels,))
    reserve = [TensorType(moments.dtype, None)] if call.node.op == "FusedBatchNormV3" else []
    return [TensorType(element(call), shape), *([moments] * 4), *reserve]


def _batch_norm_2015(call: Call) -> list[TensorType]:
    shape, mean = call.shape(0), call.shape(1)
    if shape is not None and mean and shape[-1] is None:
        shape = with_dim(shape, len(shape) - 1, mean[0])
    return [TensorType(element(call), shape)]


def _bias(call: Call) -> list[TensorType]:
    shape, bias = call.shape(0), call.shape(1)
    if shape is not None and bias and len(shape) > 1:
        axis = 1 if call.node.text("data_format").startswith("NC") else len(shape) - 1
        if shape[axis] is None:
            shape = with_dim(shape, axis, bias[0])
    return [TensorType(element(call), shape)]


def _matmul(call: Call) -> list[TensorType]:
    a, b = call.shape(0), call.shape(1)
    rows = columns = None
    if a is not None and len(a) == _MATRIX:
        rows = a[1 if call.node.value("transpose_a", default=False) else 0]
    if b is not None and len(b) == _MATRIX:
        columns = b[0 if call.node.value("transpose_b", default=False) else 1]
    return [TensorType(call.node.dtype("Toutput") or element(call) or call.dtype(1), (rows, columns))]


def _batch_matmul(call: Call) -> list[TensorType]:
    a, b = call.shape(0), call.shape(1)
    dtype = call.node.dtype("Tout") or element(call)
    if a is None or b is None or min(len(a), len(b)) < _MATRIX:
        return [TensorType(dtype, None)]
    rows = a[-1 if call.node.value("adj_x", default=False) else -2]
    columns = b[-2 if call.node.value("adj_y", default=False) else -1]
    old = call.node.op == "BatchMatMul"
    batch = merge_shapes(a[:-2], b[:-2]) if old else broadcast(a[:-2], b[:-2])
    return [TensorType(dtype, None if batch is None else (*batch, rows, columns))]


def _resize(dtype: DType | None) -> Rule:
    def rule(call: Call) -> list[TensorType]:
        shape = call.shape(0) or (None,) * _IMAGE
        height, width = call.value(1) or (None, None)
        return [TensorType(dtype or element(call), (shape[0], height, width, shape[3]))]

    return rule


def _decode_image(call: Call) -> list[TensorType]:
    channels = call.node.value("channels", 0) or None
    dtype = call.node.dtype("dtype") or DType.UINT8
    if call.node.op == "DecodeGif":
        return [TensorType(dtype, (None, None, None, 3))]
    if call.node.op == "DecodeImage":  # a GIF gives four dimensions
        return [TensorType(dtype, None)]
    return [TensorType(dtype, (None, None, channels))]


def _decode_raw(call: Call) -> list[TensorType]:
    shape = call.shape(0)
    return [TensorType(call.node.dtype("out_type"), None if shape is None else (*shape, None))]


def _decode_wav(call: Call) -> list[TensorType]:
    counts = tuple(
        count if count > 0 else None
        for count in (_or_minus_one(call, "desired_samples"), _or_minus_one(call, "desired_channels"))
    )
    return [TensorType(DType.FLOAT, counts), TensorType(DType.INT32, ())]


def _or_minus_one(call: Call, attr: str) -> int:
    value = call.node.value(attr, -1)
    return value if isinstance(value, int) else -1


def _spectrogram(call: Call) -> list[TensorType]:
    samples, channels = call.shape(0) or (None, None)
    window, stride = call.node.value("window_size"), call.node.value("stride")
    length = None if samples is None else max(0, (samples - window) // stride + 1)
    bins = (1 << (window - 1).bit_length()) // 2 + 1  # the window is padded to a power of two
    return [TensorType(DType.FLOAT, (channels, length, bins))]


def _mfcc(call: Call) -> list[TensorType]:
    channels, length, _ = call.shape(0) or (None, None, None)
    return [TensorType(DType.FLOAT, (channels, length, call.node.value("dct_coefficient_count", 13)))]


def _space_to_batch(call: Call) -> list[TensorType]:
    shape, block, pads = call.shape(0), call.value(1), call.value(2)
    if shape is None:
        return [TensorType(element(call), None)]
    if block is None or None in block:
        return [TensorType(element(call), (None,) * len(shape))]
    known = pads or (None,) * (2 * len(block))
    out = [times(shape[0], *block)]
    for i, size in enumerate(block):
        padded = plus(shape[i + 1], known[2 * i], known[2 * i + 1])
        out.append(None if padded is None or not size else padded // size)
    return [TensorType(element(call), (*out, *shape[len(block) + 1 :]))]


def _batch_to_space(call: Call) -> list[TensorType]:
    shape, block, crops = call.shape(0), call.value(1), call.value(2)
    if shape is None:
        return [TensorType(element(call), None)]
    if block is None or None in block:
        return [TensorType(element(call), (None,) * len(shape))]
    known = crops or (None,) * (2 * len(block))
    count = times(*block)
    out = [None if shape[0] is None or not count else shape[0] // count]
    for i, size in enumerate(block):
        full, start, end = times(shape[i + 1], size), known[2 * i], known[2 * i + 1]
        out.append(None if full is None or start is None or end is None else full - start - end)
    return [TensorType(element(call), (*out, *shape[len(block) + 1 :]))]


def _rearrange(*, to_depth: bool) -> Rule:
    def rule(call: Call) -> list[TensorType]:
        shape, size = call.shape(0) or (None,) * _IMAGE, call.node.value("block_size")
        if len(shape) != _IMAGE:
            return [TensorType(element(call), None)]
        channel, spatial = _layout(call, _IMAGE)
        out = list(shape)
        for axis in (*spatial, channel):
            grows, factor = (axis == channel) == to_depth, size * size if axis == channel else size
            dim = shape[axis]
            out[axis] = None if dim is None else dim * factor if grows else dim // factor
        return [TensorType(element(call), tuple(out))]

    return rule


def _patches(call: Call) -> list[TensorType]:
    shape = call.shape(0)
    return [TensorType(element(call), None if shape is None else (shape[0], None, None, None))]


def _cross_entropy(call: Call) -> list[TensorType]:
    logits, labels = call.shape(0), call.shape(1)
    if call.node.op == "SoftmaxCrossEntropyWithLogits":
        logits = broadcast(logits, labels)
    batch = logits[0] if logits else None
    return [TensorType(element(call), (batch,)), TensorType(element(call), logits)]


def _in_top_k(call: Call) -> list[TensorType]:
    targets = call.shape(1)
    return [TensorType(DType.BOOL, targets if targets is None or len(targets) == 1 else None)]


def _crop_and_resize(call: Call) -> list[TensorType]:
    image, boxes = call.shape(0) or (None,) * _IMAGE, call.shape(1)
    height, width = call.value(3) or (None, None)
    return [TensorType(DType.FLOAT, (boxes[0] if boxes else None, height, width, image[3]))]


def _quantize(call: Call) -> list[TensorType]:
    axis = call.node.value("axis", -1)
    bound = TensorType(DType.FLOAT, () if axis == -1 else None)
    return [TensorType(call.node.dtype("T"), call.shape(0)), bound, bound]


def _dequantize(call: Call) -> list[TensorType]:
    return [TensorType(call.node.dtype("dtype") or DType.FLOAT, call.shape(0))]


_BOUND = TensorType(DType.FLOAT, ())


def _quantized(rule: Rule | None, attr: str, default: DType | None = None) -> Rule:
    """The float op's shape, the attribute's type, and the range that goes along."""

    def quantized(call: Call) -> list[TensorType]:
        first = next(iter(rule(call)), UNKNOWN) if rule is not None else TensorType(None, call.shape(0))
        return [TensorType(call.node.dtype(attr) or default, first.shape), _BOUND, _BOUND]

    return quantized


def _quantized_binary(call: Call) -> list[TensorType]:
    return [
        TensorType(call.node.dtype("Toutput") or DType.QINT32, broadcast(call.shape(0), call.shape(1))),
        _BOUND,
        _BOUND,
    ]


def _quantized_reshape(call: Call) -> list[TensorType]:
    return [TensorType(call.dtype(0), dims_of(call.value(1), call.shape(1))), _BOUND, _BOUND]


def _quantized_rank(call: Call) -> list[TensorType]:
    return [TensorType(call.node.dtype("T"), None), _BOUND, _BOUND]


def _block_cell(call: Call) -> list[TensorType]:
    # every output is a batch of cell states, as the previous state (input 1) is
    return [TensorType(element(call), call.shape(1))] * (7 if call.node.op == "LSTMBlockCell" else 4)


LAYER_RULES: dict[str, Rule] = {
    **table("Conv2D _FusedConv2D", _conv(_IMAGE)),
    **table("AvgPool MaxPool", _pool(_IMAGE)),
    **table("AvgPool3D MaxPool3D", _pool(_VIDEO)),
    **table("FusedBatchNorm FusedBatchNormV2 FusedBatchNormV3", _batch_norm),
    **table("Conv2DBackpropInput Conv3DBackpropInputV2 DepthwiseConv2dNativeBackpropInput", _deconv),
    **table("BiasAdd BiasAddV1", _bias),
    **table("MatMul SparseMatMul _FusedMatMul", _matmul),
    **table("BatchMatMul BatchMatMulV2 BatchMatMulV3", _batch_matmul),
    **table("ResizeBilinear ResizeBicubic ResizeArea", _resize(DType.FLOAT)),
    **table("DecodeJpeg DecodePng DecodeBmp DecodeImage DecodeGif DecodeAndCropJpeg", _decode_image),
    **table("SoftmaxCrossEntropyWithLogits SparseSoftmaxCrossEntropyWithLogits", _cross_entropy),
    **table("InTopK InTopKV2", _in_top_k),
    **table("QuantizedRelu QuantizedRelu6 QuantizedReluX", _quantized(None, "out_type", DType.QUINT8)),
    **table("QuantizedAvgPool QuantizedMaxPool", _quantized(_pool(_IMAGE), "T")),
    **table("QuantizedAdd QuantizedMul", _quantized_binary),
    **table("Requantize QuantizeDownAndShrinkRange", _quantized(None, "out_type")),
    "Conv3D": _conv(_VIDEO),
    "DepthwiseConv2dNative": _depthwise,
    "Conv2DBackpropFilter": _from_sizes(1),
    "DepthwiseConv2dNativeBackpropFilter": _from_sizes(1),
    "MaxPoolV2": _pool_v2,
    "MaxPoolWithArgmax": _max_pool_argmax,
    "BatchNormWithGlobalNormalization": _batch_norm_2015,
    "L2Loss": lambda call: [TensorType(element(call), ())],
    "ResizeNearestNeighbor": _resize(None),
    "DecodeRaw": _decode_raw,
    "DecodeWav": _decode_wav,
    "AudioSpectrogram": _spectrogram,
    "Mfcc": _mfcc,
    "SpaceToBatchND": _space_to_batch,
    "BatchToSpaceND": _batch_to_space,
    "SpaceToDepth": _rearrange(to_depth=True),
    "DepthToSpace": _rearrange(to_depth=False),
    "ExtractImagePatches": _patches,
    "CropAndResize": _crop_and_resize,
    "NonMaxSuppression": lambda _: [TensorType(DType.INT32, (None,))],
    "NonMaxSuppressionV2": lambda _: [TensorType(DType.INT32, (None,))],
    "NonMaxSuppressionV3": lambda _: [TensorType(DType.INT32, (None,))],
    "QuantizeV2": _quantize,
    "Dequantize": _dequantize,
    "QuantizedConv2D": _quantized(_conv(_IMAGE), "out_type", DType.QINT32),
    "QuantizedMatMul": _quantized(_matmul, "Toutput", DType.QINT32),
    "QuantizedBiasAdd": _quantized(_bias, "out_type"),
    "QuantizedReshape": _quantized_reshape,
    "QuantizedConcat": _quantized_rank,
    "RequantizationRange": lambda _: [_BOUND, _BOUND],
    **table("ReluGrad Relu6Grad EluGrad SeluGrad MaxPoolGrad", same),
    **table("LSTMBlockCell GRUBlockCell", _block_cell),
    "BiasAddGrad": lambda call: [TensorType(element(call), (None,))],
}
