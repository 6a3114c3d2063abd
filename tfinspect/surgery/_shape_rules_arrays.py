"""Types of the outputs of single ops: arrays and arithmetic, as TensorFlow's op documentation has them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tfinspect.ir.dtypes import DType
from tfinspect.ir.shapes import is_static, size_of
from tfinspect.ir.shapes import merge as merge_shapes
from tfinspect.surgery._shape_arithmetic import (
    MAX_OUTPUTS,
    alike,
    axis_of,
    broadcast,
    dims_of,
    element,
    fixed,
    gathered,
    merged,
    plus,
    same,
    table,
    times,
    typed,
    with_dim,
)
from tfinspect.surgery.shapes import TensorType

if TYPE_CHECKING:
    from tfinspect.ir.shapes import Shape
    from tfinspect.surgery._shape_arithmetic import Rule
    from tfinspect.surgery.shapes import Call

_UNARY = (
    "Identity RefIdentity StopGradient PreventGradient CheckNumerics CheckNumericsV2 Print Snapshot DebugIdentity "
    "Relu Relu6 Elu Selu LeakyRelu Softplus Softsign Sigmoid Tanh Exp Expm1 Log Log1p Neg Abs Square Sqrt Rsqrt "
    "Reciprocal Inv Sign Floor Ceil Round Rint Sin Cos Tan Asin Acos Atan Sinh Cosh Asinh Acosh Atanh Erf Erfc Erfinv "
    "Ndtri Lgamma Digamma LogicalNot Invert Softmax LogSoftmax LRN ZerosLike OnesLike ClipByValue Reverse "
    "ReverseV2 ReverseSequence Cumsum Cumprod RandomShuffle InvertPermutation FakeQuantWithMinMaxArgs "
    "FakeQuantWithMinMaxVars FakeQuantWithMinMaxVarsPerChannel QuantizeAndDequantize QuantizeAndDequantizeV2 "
    "QuantizeAndDequantizeV3 MatrixBandPart BatchMatrixBandPart MatrixInverse Cholesky Roll Conj AdjustContrast "
    "AdjustContrastv2 AdjustHue AdjustSaturation RGBToHSV HSVToRGB Enter RefEnter Exit RefExit "
    "DeepCopy Betainc  TensorScatterUpdate TensorScatterAdd TensorScatterSub MatrixSetDiag "
    "ScatterNdNonAliasingAdd"
)
_BINARY = (
    "Add AddV2 Sub Mul Div RealDiv DivNoNan MulNoNan FloorDiv TruncateDiv Mod FloorMod TruncateMod Pow Maximum Minimum "
    "SquaredDifference Atan2 Xdivy Xlogy Xlog1py LeftShift RightShift BitwiseAnd BitwiseOr BitwiseXor"
)
_COMPARE = "Equal NotEqual Less LessEqual Greater GreaterEqual LogicalAnd LogicalOr ApproximateEqual"


def _binary(call: Call) -> list[TensorType]:
    return [TensorType(element(call) or call.dtype(1), broadcast(call.shape(0), call.shape(1)))]


def _binary_bool(call: Call) -> list[TensorType]:
    return [TensorType(DType.BOOL, broadcast(call.shape(0), call.shape(1)))]


def _const(call: Call) -> tuple[TensorType]:
    tensor = call.node.tensor()
    if tensor is None:
        return (TensorType(call.node.dtype("dtype"), None),)
    shape = tensor.shape
    return (TensorType(tensor.dtype, None if shape and min(shape) < 0 else shape),)


def _reshape(call: Call) -> list[TensorType]:
    value, source = call.value(1), call.shape(0)
    shape = dims_of(value, call.shape(1))
    if value is not None and value.count(-1) == 1 and None not in value and shape is not None:
        size, rest = size_of(source), times(*(d for d in shape if d is not None))
        if size is not None and rest and size % rest == 0:
            shape = tuple(size // rest if d is None else d for d in shape)
    return [TensorType(element(call), shape)]


def _squeeze(call: Call) -> list[TensorType]:
    shape = call.shape(0)
    axes = call.node.value("squeeze_dims") or call.node.value("axis") or ()
    if shape is not None and axes:
        drop = {axis_of(a, len(shape)) for a in axes}
        shape = None if None in drop else tuple(d for i, d in enumerate(shape) if i not in drop)
    elif shape is not None:
        shape = tuple(d for d in shape if d != 1) if is_static(shape) else None
    return [TensorType(element(call), shape)]


def _expand_dims(call: Call) -> list[TensorType]:
    shape = call.shape(0)
    if shape is not None:
        axis = axis_of(call.scalar(1), len(shape) + 1)
        shape = (None,) * (len(shape) + 1) if axis is None else (*shape[:axis], 1, *shape[axis:])
    return [TensorType(element(call), shape)]


def _transpose(call: Call) -> list[TensorType]:
    shape, order = call.shape(0), call.value(1)
    if shape is None:
        shape = dims_of(None, call.shape(1))
    elif order is None or None in order:
        shape = (None,) * len(shape)
    else:
        shape = tuple(shape[i] for i in order if i is not None)
    return [TensorType(element(call), shape)]


def _concat(tensors: slice, axis: int) -> Rule:
    def rule(call: Call) -> list[TensorType]:
        parts = call.ins[tensors]
        dtype = next((p.dtype for p in parts if p.dtype is not None), call.node.dtype("T"))
        ranks = {len(p.shape) for p in parts if p.shape is not None}
        if len(ranks) != 1:
            return [TensorType(dtype, None)]
        rank = ranks.pop()
        where = axis_of(call.scalar(axis), rank)
        if where is None:
            return [TensorType(dtype, (None,) * rank)]
        shapes = [p.shape if p.shape is not None else (None,) * rank for p in parts]
        joined = merged(with_dim(s, where, None) for s in shapes)
        total = plus(*(s[where] for s in shapes))
        return [TensorType(dtype, None if joined is None else with_dim(joined, where, total))]

    return rule


def _split(call: Call) -> list[TensorType]:
    count, shape = call.node.value("num_split"), call.shape(1)
    dtype = call.dtype(1) or call.node.dtype("T")
    if shape is not None:
        axis = axis_of(call.scalar(0), len(shape))
        if axis is None:
            shape = (None,) * len(shape)
        else:
            dim = shape[axis]
            shape = with_dim(shape, axis, None if dim is None else dim // count)
    return alike(TensorType(dtype, shape), count)


def _split_v(call: Call) -> list[TensorType]:
    count, shape, sizes = call.node.value("num_split"), call.shape(0), call.value(1)
    if shape is None:
        return alike(TensorType(element(call), None), count)
    axis = axis_of(call.scalar(2), len(shape))
    if axis is None:
        return alike(TensorType(element(call), (None,) * len(shape)), count)
    if sizes is None or len(sizes) != count:
        sizes = (None,) * min(count, MAX_OUTPUTS)
    dim = shape[axis]
    if dim is not None and sizes.count(-1) == 1 and None not in sizes:
        rest = dim - sum(s for s in sizes if s is not None and s >= 0)
        sizes = tuple(rest if s == -1 else s for s in sizes)
    return [TensorType(element(call), with_dim(shape, axis, None if s is None or s < 0 else s)) for s in sizes]


def _unpack(call: Call) -> list[TensorType]:
    shape, count = call.shape(0), call.node.value("num")
    if shape is not None:
        axis = axis_of(call.node.value("axis", 0), len(shape))
        shape = None if axis is None else (*shape[:axis], *shape[axis + 1 :])
    return alike(TensorType(element(call), shape), count)


def _pack(call: Call) -> list[TensorType]:
    shape = merged(t.shape for t in call.ins)
    if shape is not None:
        axis = axis_of(call.node.value("axis", 0), len(shape) + 1)
        shape = (None,) * (len(shape) + 1) if axis is None else (*shape[:axis], len(call.ins), *shape[axis:])
    return [TensorType(element(call), shape)]


def _reduced(call: Call) -> Shape:
    shape, axes = call.shape(0), call.value(1)
    keep = bool(call.node.value("keep_dims", call.node.value("keepdims", default=False)))
    if shape is None:
        return None
    drop = {None} if axes is None else {axis_of(a, len(shape)) for a in axes}
    if None in drop:
        return (None,) * len(shape) if keep else None
    if keep:
        return tuple(1 if i in drop else d for i, d in enumerate(shape))
    return tuple(d for i, d in enumerate(shape) if i not in drop)


def _reduce(call: Call) -> list[TensorType]:
    return [TensorType(element(call), _reduced(call))]


def _arg_reduce(call: Call) -> list[TensorType]:
    shape = call.shape(0)
    if shape is not None:
        axis = axis_of(call.scalar(1), len(shape)) if shape else None
        rank = max(len(shape) - 1, 0)
        shape = (None,) * rank if axis is None else (*shape[:axis], *shape[axis + 1 :])
    return [TensorType(call.node.dtype("output_type") or DType.INT64, shape)]


def _pad(call: Call) -> list[TensorType]:
    shape, pads = call.shape(0), call.value(1)
    if shape is None:
        length = call.shape(1)
        return [TensorType(element(call), None if not length or length[0] is None else (None,) * length[0])]
    if pads is None:
        return [TensorType(element(call), (None,) * len(shape))]
    return [TensorType(element(call), tuple(plus(d, pads[2 * i], pads[2 * i + 1]) for i, d in enumerate(shape)))]


def _slice(call: Call) -> list[TensorType]:
    shape, begin, size = call.shape(0), call.value(1), call.value(2)
    if shape is None:
        return [TensorType(element(call), dims_of(size, call.shape(2)))]
    if size is None:
        return [TensorType(element(call), (None,) * len(shape))]
    begins = begin or (None,) * len(shape)
    out = []
    for dim, first, count in zip(shape, begins, size, strict=True):
        if count == -1:
            out.append(None if dim is None or first is None else dim - first)
        else:
            out.append(count)
    return [TensorType(element(call), tuple(out))]


def _gather(call: Call) -> list[TensorType]:
    return [TensorType(call.dtype(0), gathered(call.shape(0), call.shape(1), 0, 0))]


def _gather_v2(call: Call) -> list[TensorType]:
    shape, indices = call.shape(0), call.shape(1)
    axis = None if shape is None else axis_of(call.scalar(2), len(shape))
    batch = call.node.value("batch_dims", 0)
    if indices is not None and batch < 0:
        batch += len(indices)
    if shape is None or indices is None:
        return [TensorType(call.dtype(0), None)]
    if axis is None:
        return [TensorType(call.dtype(0), (None,) * (len(shape) - 1 + len(indices) - batch))]
    return [TensorType(call.dtype(0), gathered(shape, indices, axis, batch))]


def _gather_nd(call: Call) -> list[TensorType]:
    shape, indices = call.shape(0), call.shape(1)
    depth = indices[-1] if indices else None
    if shape is None or indices is None or depth is None:
        return [TensorType(call.dtype(0), None)]
    return [TensorType(call.dtype(0), (*indices[:-1], *shape[depth:]))]


def _tile(call: Call) -> list[TensorType]:
    shape, counts = call.shape(0), call.value(1)
    if shape is None:
        return [TensorType(element(call), dims_of(None, call.shape(1)))]
    counts = counts or (None,) * len(shape)
    return [TensorType(element(call), tuple(times(d, n) for d, n in zip(shape, counts, strict=True)))]


def _filled(call: Call) -> list[TensorType]:
    return [TensorType(call.dtype(1) or call.node.dtype("T"), dims_of(call.value(0), call.shape(0)))]


def _broadcast_to(call: Call) -> list[TensorType]:
    return [TensorType(element(call), dims_of(call.value(1), call.shape(1)))]


def _random(attr: str) -> Rule:
    return lambda call: [TensorType(call.node.dtype(attr), dims_of(call.value(0), call.shape(0)))]


def _range(call: Call) -> list[TensorType]:
    start, limit, delta = (call.scalar(i) for i in range(3))
    count = None
    if start is not None and limit is not None and delta:
        count = max(0, -((start - limit) // delta))
    return [TensorType(call.node.dtype("Tidx") or call.dtype(0), (count,))]


def _shape(call: Call) -> list[TensorType]:
    dtype = call.node.dtype("out_type") or DType.INT32
    return [TensorType(dtype, (None if t.shape is None else len(t.shape),)) for t in call.ins]


def _one_hot(call: Call) -> list[TensorType]:
    shape, depth = call.shape(0), call.scalar(1)
    if shape is not None:
        axis = call.node.value("axis", -1)
        axis = len(shape) if axis == -1 else axis
        shape = (*shape[:axis], depth, *shape[axis:])
    return [TensorType(call.dtype(2) or call.node.dtype("T"), shape)]


def _top_k(call: Call) -> list[TensorType]:
    shape = call.shape(0)
    count = call.node.value("k") if call.node.op == "TopK" else call.scalar(1)
    if shape is not None:
        shape = (*shape[:-1], count)
    return [TensorType(element(call), shape), TensorType(call.node.dtype("index_type") or DType.INT32, shape)]


def _where(call: Call) -> list[TensorType]:
    shape = call.shape(0)
    return [TensorType(DType.INT64, (None, None if shape is None else len(shape)))]


def _select(call: Call) -> list[TensorType]:
    dtype = call.dtype(1) or call.dtype(2) or call.node.dtype("T")
    if call.node.op == "SelectV2":
        return [TensorType(dtype, broadcast(call.shape(0), broadcast(call.shape(1), call.shape(2))))]
    return [TensorType(dtype, merge_shapes(call.shape(1), call.shape(2)))]


def _cast(call: Call) -> list[TensorType]:
    return [TensorType(call.node.dtype("DstT"), call.shape(0))]


def _merged(call: Call) -> list[TensorType]:
    return [TensorType(element(call), merged(t.shape for t in call.ins))]


def _einsum(call: Call) -> list[TensorType]:
    equation = call.node.text("equation").replace(" ", "")
    if "." in equation or "->" not in equation:
        return [TensorType(element(call), None)]
    left, right = equation.split("->")
    dims: dict[str, int | None] = {}
    for labels, kind in zip(left.split(","), call.ins, strict=True):
        for label, dim in zip(labels, kind.shape or (None,) * len(labels), strict=True):
            dims[label] = dim if dims.get(label) is None else dims[label]
    return [TensorType(element(call), tuple(dims[label] for label in right))]


def _strided_slice(call: Call) -> list[TensorType]:
    from tfinspect.surgery._shape_values import sliced_shape

    return [TensorType(element(call), sliced_shape(call))]


def _unique(call: Call) -> list[TensorType]:
    index = call.node.dtype("out_idx") or DType.INT32
    shape = (None,) if call.shape(0) is not None and len(call.shape(0) or ()) == 1 else None
    return [TensorType(element(call), shape), TensorType(index, call.shape(0)), TensorType(index, shape)]


def _complex_part(call: Call) -> list[TensorType]:
    return [TensorType(call.node.dtype("Tout") or DType.FLOAT, call.shape(0))]


def _dynamic_partition(call: Call) -> list[TensorType]:
    data, parts = call.shape(0), call.shape(1)
    shape = None if data is None or parts is None else (None, *data[len(parts) :])
    return alike(TensorType(element(call), shape), call.node.value("num_partitions"))


def _ensure_shape(call: Call) -> list[TensorType]:
    return [TensorType(element(call), merge_shapes(call.shape(0), call.node.shape()))]


def _scatter_nd(call: Call) -> list[TensorType]:
    return [TensorType(call.dtype(1) or call.node.dtype("T"), dims_of(call.value(2), call.shape(2)))]


def _segment(call: Call) -> list[TensorType]:
    data, ids = call.shape(0), call.shape(1)
    if data is None or ids is None:
        return [TensorType(element(call), None)]
    lead = call.scalar(2) if call.node.op.startswith("Unsorted") else None
    rank = len(ids) if call.node.op.startswith("Unsorted") else 1
    return [TensorType(element(call), (lead, *data[rank:]))]


def _list_diff(call: Call) -> list[TensorType]:
    return [TensorType(element(call), (None,)), TensorType(call.node.dtype("out_idx") or DType.INT32, (None,))]


def _diag_part(call: Call) -> list[TensorType]:
    shape = call.shape(0)
    if shape is None or len(shape) < 2:  # noqa: PLR2004 - a matrix
        return [TensorType(element(call), None)]
    rows, columns = shape[-2:]
    size = None if rows is None or columns is None else min(rows, columns)
    return [TensorType(element(call), (*shape[:-2], size))]


def _diag(call: Call) -> list[TensorType]:
    shape = call.shape(0)
    return [TensorType(element(call), (*shape, shape[-1]) if shape else None)]


ARRAY_RULES: dict[str, Rule] = {
    **table(_UNARY, same),
    **table(_BINARY, _binary),
    **table(_COMPARE, _binary_bool),
    **table("IsNan IsInf IsFinite", typed(DType.BOOL)),
    **table("Sum Mean Max Min Prod EuclideanNorm", _reduce),
    **table("All Any", lambda call: [TensorType(DType.BOOL, _reduced(call))]),
    **table("ArgMax ArgMin", _arg_reduce),
    **table("Pad PadV2 MirrorPad", _pad),
    **table("RandomUniform RandomStandardNormal TruncatedNormal ParameterizedTruncatedNormal", _random("dtype")),
    **table("StatelessRandomUniform StatelessRandomNormal StatelessTruncatedNormal Empty", _random("dtype")),
    **table("Shape ShapeN", _shape),
    **table("TopK TopKV2", _top_k),
    **table("AddN AccumulateNV2", _merged),
    **table("Real Imag Angle ComplexAbs", _complex_part),
    **table("SegmentSum SegmentMean SegmentMax SegmentMin SegmentProd", _segment),
    **table("UnsortedSegmentSum UnsortedSegmentMax UnsortedSegmentMin UnsortedSegmentProd", _segment),
    **table("Unique UniqueWithCounts", _unique),
    **table("Select SelectV2", _select),
    **table("MatrixDiagPart BatchMatrixDiagPart", _diag_part),
    **table("MatrixDiag BatchMatrixDiag", _diag),
    **table("StringToHashBucket StringToHashBucketFast StringToHashBucketStrong", typed(DType.INT64)),
    **table("AsString Substr StaticRegexReplace RegexReplace StringStrip StringLower", typed(DType.STRING)),
    **table("StringUpper EncodeBase64 DecodeBase64", typed(DType.STRING)),
    "RandomUniformInt": _random("Tout"),
    "Concat": _concat(slice(1, None), 0),
    "ConcatV2": _concat(slice(0, -1), -1),
    "Const": _const,
    "Reshape": _reshape,
    "Squeeze": _squeeze,
    "ExpandDims": _expand_dims,
    "Transpose": _transpose,
    "Split": _split,
    "SplitV": _split_v,
    "Unpack": _unpack,
    "Pack": _pack,
    "Slice": _slice,
    "StridedSlice": _strided_slice,
    "Gather": _gather,
    "GatherV2": _gather_v2,
    "GatherNd": _gather_nd,
    "ScatterNd": _scatter_nd,
    "Tile": _tile,
    "Fill": _filled,
    "BroadcastTo": _broadcast_to,
    "Range": _range,
    "Size": lambda call: [TensorType(call.node.dtype("out_type") or DType.INT32, ())],
    "Rank": fixed(DType.INT32, ()),
    "OneHot": _one_hot,
    "Where": _where,
    "Cast": _cast,
    "Bitcast": fixed("type", None),
    "EnsureShape": _ensure_shape,
    "DynamicPartition": _dynamic_partition,
    "StringToNumber": lambda call: [TensorType(call.node.dtype("out_type") or DType.FLOAT, call.shape(0))],
    "ListDiff": _list_diff,
    "Einsum": _einsum,
}
