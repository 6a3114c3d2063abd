"""Names of TensorFlow Lite's schema, version 3: operators, and the options they are given.

The order of the names and the numbers of the fields are those of tensorflow/lite/schema/schema.fbs, which only ever
grows at its end. Options without fields, or with fields that are tables themselves, are left out here.

One line a table of options: `Name: field=number type`, with `=default` where that is not 0; a type is struct's letter,
`P` for a padding, `A` an activation function, `T` an element type, `G` the number of a subgraph, `s` a string, and with
`*` before it a list.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Final

from tfinspect.ir.dtypes import DType

_OPERATORS_IN_ORDER: Final = """
ADD AVERAGE_POOL_2D CONCATENATION CONV_2D DEPTHWISE_CONV_2D DEPTH_TO_SPACE DEQUANTIZE EMBEDDING_LOOKUP FLOOR
FULLY_CONNECTED HASHTABLE_LOOKUP L2_NORMALIZATION L2_POOL_2D LOCAL_RESPONSE_NORMALIZATION LOGISTIC
LSH_PROJECTION LSTM MAX_POOL_2D MUL RELU RELU_N1_TO_1 RELU6 RESHAPE RESIZE_BILINEAR RNN SOFTMAX SPACE_TO_DEPTH
SVDF TANH CONCAT_EMBEDDINGS SKIP_GRAM CALL CUSTOM EMBEDDING_LOOKUP_SPARSE PAD UNIDIRECTIONAL_SEQUENCE_RNN
GATHER BATCH_TO_SPACE_ND SPACE_TO_BATCH_ND TRANSPOSE MEAN SUB DIV SQUEEZE UNIDIRECTIONAL_SEQUENCE_LSTM
STRIDED_SLICE BIDIRECTIONAL_SEQUENCE_RNN EXP TOPK_V2 SPLIT LOG_SOFTMAX DELEGATE BIDIRECTIONAL_SEQUENCE_LSTM
CAST PRELU MAXIMUM ARG_MAX MINIMUM LESS NEG PADV2 GREATER GREATER_EQUAL LESS_EQUAL SELECT SLICE SIN
TRANSPOSE_CONV SPARSE_TO_DENSE TILE EXPAND_DIMS EQUAL NOT_EQUAL LOG SUM SQRT RSQRT SHAPE POW ARG_MIN FAKE_QUANT
REDUCE_PROD REDUCE_MAX PACK LOGICAL_OR ONE_HOT LOGICAL_AND LOGICAL_NOT UNPACK REDUCE_MIN FLOOR_DIV REDUCE_ANY
SQUARE ZEROS_LIKE FILL FLOOR_MOD RANGE RESIZE_NEAREST_NEIGHBOR LEAKY_RELU SQUARED_DIFFERENCE MIRROR_PAD ABS
SPLIT_V UNIQUE CEIL REVERSE_V2 ADD_N GATHER_ND COS WHERE RANK ELU REVERSE_SEQUENCE MATRIX_DIAG QUANTIZE
MATRIX_SET_DIAG ROUND HARD_SWISH IF WHILE NON_MAX_SUPPRESSION_V4 NON_MAX_SUPPRESSION_V5 SCATTER_ND SELECT_V2
DENSIFY SEGMENT_SUM BATCH_MATMUL PLACEHOLDER_FOR_GREATER_OP_CODES CUMSUM CALL_ONCE BROADCAST_TO RFFT2D CONV_3D
IMAG REAL COMPLEX_ABS HASHTABLE HASHTABLE_FIND HASHTABLE_IMPORT HASHTABLE_SIZE REDUCE_ALL CONV_3D_TRANSPOSE
VAR_HANDLE READ_VARIABLE ASSIGN_VARIABLE BROADCAST_ARGS RANDOM_STANDARD_NORMAL BUCKETIZE RANDOM_UNIFORM
MULTINOMIAL GELU DYNAMIC_UPDATE_SLICE RELU_0_TO_1 UNSORTED_SEGMENT_PROD UNSORTED_SEGMENT_MAX
UNSORTED_SEGMENT_SUM ATAN2 UNSORTED_SEGMENT_MIN SIGN BITCAST BITWISE_XOR RIGHT_SHIFT STABLEHLO_LOGISTIC
STABLEHLO_ADD STABLEHLO_DIVIDE STABLEHLO_MULTIPLY STABLEHLO_MAXIMUM STABLEHLO_RESHAPE STABLEHLO_CLAMP
STABLEHLO_CONCATENATE STABLEHLO_BROADCAST_IN_DIM STABLEHLO_CONVOLUTION STABLEHLO_SLICE STABLEHLO_CUSTOM_CALL
STABLEHLO_REDUCE STABLEHLO_ABS STABLEHLO_AND STABLEHLO_COSINE STABLEHLO_EXPONENTIAL STABLEHLO_FLOOR
STABLEHLO_LOG STABLEHLO_MINIMUM STABLEHLO_NEGATE STABLEHLO_OR STABLEHLO_POWER STABLEHLO_REMAINDER
STABLEHLO_RSQRT STABLEHLO_SELECT STABLEHLO_SUBTRACT STABLEHLO_TANH STABLEHLO_SCATTER STABLEHLO_COMPARE
STABLEHLO_CONVERT STABLEHLO_DYNAMIC_SLICE STABLEHLO_DYNAMIC_UPDATE_SLICE STABLEHLO_PAD STABLEHLO_IOTA
STABLEHLO_DOT_GENERAL STABLEHLO_REDUCE_WINDOW STABLEHLO_SORT STABLEHLO_WHILE STABLEHLO_GATHER
STABLEHLO_TRANSPOSE DILATE STABLEHLO_RNG_BIT_GENERATOR REDUCE_WINDOW STABLEHLO_COMPOSITE STABLEHLO_SHIFT_LEFT
STABLEHLO_CBRT STABLEHLO_CASE
"""
OPERATORS: Final = tuple(_OPERATORS_IN_ORDER.split())
_OPTIONS_IN_ORDER: Final = """
NONE Conv2DOptions DepthwiseConv2DOptions ConcatEmbeddingsOptions LSHProjectionOptions Pool2DOptions
SVDFOptions RNNOptions FullyConnectedOptions SoftmaxOptions ConcatenationOptions AddOptions L2NormOptions
LocalResponseNormalizationOptions LSTMOptions ResizeBilinearOptions CallOptions ReshapeOptions SkipGramOptions
SpaceToDepthOptions EmbeddingLookupSparseOptions MulOptions PadOptions GatherOptions BatchToSpaceNDOptions
SpaceToBatchNDOptions TransposeOptions ReducerOptions SubOptions DivOptions SqueezeOptions SequenceRNNOptions
StridedSliceOptions ExpOptions TopKV2Options SplitOptions LogSoftmaxOptions CastOptions DequantizeOptions
MaximumMinimumOptions ArgMaxOptions LessOptions NegOptions PadV2Options GreaterOptions GreaterEqualOptions
LessEqualOptions SelectOptions SliceOptions TransposeConvOptions SparseToDenseOptions TileOptions
ExpandDimsOptions EqualOptions NotEqualOptions ShapeOptions PowOptions ArgMinOptions FakeQuantOptions
PackOptions LogicalOrOptions OneHotOptions LogicalAndOptions LogicalNotOptions UnpackOptions FloorDivOptions
SquareOptions ZerosLikeOptions FillOptions BidirectionalSequenceLSTMOptions BidirectionalSequenceRNNOptions
UnidirectionalSequenceLSTMOptions FloorModOptions RangeOptions ResizeNearestNeighborOptions LeakyReluOptions
SquaredDifferenceOptions MirrorPadOptions AbsOptions SplitVOptions UniqueOptions ReverseV2Options AddNOptions
GatherNdOptions CosOptions WhereOptions RankOptions ReverseSequenceOptions MatrixDiagOptions QuantizeOptions
MatrixSetDiagOptions HardSwishOptions IfOptions WhileOptions DepthToSpaceOptions NonMaxSuppressionV4Options
NonMaxSuppressionV5Options ScatterNdOptions SelectV2Options DensifyOptions SegmentSumOptions BatchMatMulOptions
CumsumOptions CallOnceOptions BroadcastToOptions Rfft2dOptions Conv3DOptions HashtableOptions
HashtableFindOptions HashtableImportOptions HashtableSizeOptions VarHandleOptions ReadVariableOptions
AssignVariableOptions RandomOptions BucketizeOptions GeluOptions DynamicUpdateSliceOptions
UnsortedSegmentProdOptions UnsortedSegmentMaxOptions UnsortedSegmentMinOptions UnsortedSegmentSumOptions
ATan2Options SignOptions BitcastOptions BitwiseXorOptions RightShiftOptions
"""
OPTIONS: Final = tuple(_OPTIONS_IN_ORDER.split())
_OPTIONS_2_IN_ORDER: Final = """
NONE StablehloConcatenateOptions StablehloBroadcastInDimOptions StablehloSliceOptions
StablehloConvolutionOptions StablehloCustomCallOptions StablehloReduceOptions StablehloScatterOptions
StablehloCompareOptions StablehloDynamicSliceOptions StablehloPadOptions StablehloIotaOptions
StablehloDotGeneralOptions StablehloReduceWindowOptions StablehloSortOptions StablehloWhileOptions
StablehloGatherOptions StablehloTransposeOptions DilateOptions StablehloRngBitGeneratorOptions
ReduceWindowOptions StableHLOCompositeOptions StablehloShiftLeftOptions StablehloCaseOptions
"""
OPTIONS_2: Final = tuple(_OPTIONS_2_IN_ORDER.split())
PADDINGS: Final = ("SAME", "VALID")
ACTIVATIONS: Final = ("NONE", "RELU", "RELU_N1_TO_1", "RELU6", "TANH", "SIGN_BIT")
DTYPES: Final = (
    DType.FLOAT, DType.HALF, DType.INT32, DType.UINT8, DType.INT64, DType.STRING, DType.BOOL, DType.INT16,
    DType.COMPLEX64, DType.INT8, DType.DOUBLE, DType.COMPLEX128, DType.UINT64, DType.RESOURCE, DType.VARIANT,
    DType.UINT32, DType.UINT16, DType.INT4, DType.BFLOAT16, DType.INT2, DType.UINT4,
)  # fmt: skip

_FIELDS: Final = """
Conv2DOptions: padding=0P, stride_w=1i, stride_h=2i, fused_activation_function=3A, dilation_w_factor=4i=1, dilation_h_factor=5i=1, quantized_bias_type=6T
DepthwiseConv2DOptions: padding=0P, stride_w=1i, stride_h=2i, depth_multiplier=3i, fused_activation_function=4A, dilation_w_factor=5i=1, dilation_h_factor=6i=1
ConcatEmbeddingsOptions: num_channels=0i, num_columns_per_channel=1*i, embedding_dim_per_channel=2*i
LSHProjectionOptions: type=0b
Pool2DOptions: padding=0P, stride_w=1i, stride_h=2i, filter_width=3i, filter_height=4i, fused_activation_function=5A
SVDFOptions: rank=0i, fused_activation_function=1A, asymmetric_quantize_inputs=2?
RNNOptions: fused_activation_function=0A, asymmetric_quantize_inputs=1?
FullyConnectedOptions: fused_activation_function=0A, weights_format=1b, keep_num_dims=2?, asymmetric_quantize_inputs=3?, quantized_bias_type=4T
SoftmaxOptions: beta=0f
ConcatenationOptions: axis=0i, fused_activation_function=1A
AddOptions: fused_activation_function=0A, pot_scale_int16=1?=1
L2NormOptions: fused_activation_function=0A
LocalResponseNormalizationOptions: radius=0i, bias=1f, alpha=2f, beta=3f
LSTMOptions: fused_activation_function=0A, cell_clip=1f, proj_clip=2f, kernel_type=3b, asymmetric_quantize_inputs=4?
ResizeBilinearOptions: align_corners=2?, half_pixel_centers=3?
CallOptions: subgraph=0G
ReshapeOptions: new_shape=0*i
SkipGramOptions: ngram_size=0i, max_skip_size=1i, include_all_ngrams=2?
SpaceToDepthOptions: block_size=0i
EmbeddingLookupSparseOptions: combiner=0b
MulOptions: fused_activation_function=0A
GatherOptions: axis=0i, batch_dims=1i
ReducerOptions: keep_dims=0?
SubOptions: fused_activation_function=0A, pot_scale_int16=1?=1
DivOptions: fused_activation_function=0A
SqueezeOptions: squeeze_dims=0*i
SequenceRNNOptions: time_major=0?, fused_activation_function=1A, asymmetric_quantize_inputs=2?
StridedSliceOptions: begin_mask=0i, end_mask=1i, ellipsis_mask=2i, new_axis_mask=3i, shrink_axis_mask=4i, offset=5?
SplitOptions: num_splits=0i
CastOptions: in_data_type=0T, out_data_type=1T
ArgMaxOptions: output_type=0T
TransposeConvOptions: padding=0P, stride_w=1i, stride_h=2i, fused_activation_function=3A, quantized_bias_type=4T
SparseToDenseOptions: validate_indices=0?
ShapeOptions: out_type=0T
ArgMinOptions: output_type=0T
FakeQuantOptions: min=0f, max=1f, num_bits=2i, narrow_range=3?
PackOptions: values_count=0i, axis=1i
OneHotOptions: axis=0i
UnpackOptions: num=0i, axis=1i
BidirectionalSequenceLSTMOptions: fused_activation_function=0A, cell_clip=1f, proj_clip=2f, merge_outputs=3?, time_major=4?=1, asymmetric_quantize_inputs=5?
BidirectionalSequenceRNNOptions: time_major=0?, fused_activation_function=1A, merge_outputs=2?, asymmetric_quantize_inputs=3?
UnidirectionalSequenceLSTMOptions: fused_activation_function=0A, cell_clip=1f, proj_clip=2f, time_major=3?, asymmetric_quantize_inputs=4?, diagonal_recurrent_tensors=5?
ResizeNearestNeighborOptions: align_corners=0?, half_pixel_centers=1?
LeakyReluOptions: alpha=0f
MirrorPadOptions: mode=0b
SplitVOptions: num_splits=0i
UniqueOptions: idx_out_type=0T=2
ReverseSequenceOptions: seq_dim=0i, batch_dim=1i
IfOptions: then_subgraph_index=0G, else_subgraph_index=1G
WhileOptions: cond_subgraph_index=0G, body_subgraph_index=1G
DepthToSpaceOptions: block_size=0i
BatchMatMulOptions: adj_x=0?, adj_y=1?, asymmetric_quantize_inputs=2?
CumsumOptions: exclusive=0?, reverse=1?
CallOnceOptions: init_subgraph_index=0G
Conv3DOptions: padding=0P, stride_d=1i, stride_w=2i, stride_h=3i, fused_activation_function=4A, dilation_d_factor=5i=1, dilation_w_factor=6i=1, dilation_h_factor=7i=1
HashtableOptions: table_id=0i, key_dtype=1T, value_dtype=2T
VarHandleOptions: container=0s, shared_name=1s
RandomOptions: seed=0q, seed2=1q
BucketizeOptions: boundaries=0*f
GeluOptions: approximate=0?
StablehloConcatenateOptions: dimension=0q
StablehloBroadcastInDimOptions: broadcast_dimensions=0*q
StablehloSliceOptions: start_indices=0*q, limit_indices=1*q, strides=2*q
StablehloConvolutionOptions: window_strides=0*q, padding=1*q, lhs_dilation=2*q, rhs_dilation=3*q, window_reversal=4*?, input_batch_dimension=5q, input_feature_dimension=6q, input_spatial_dimensions=7*q, kernel_input_feature_dimension=8q, kernel_output_feature_dimension=9q, kernel_spatial_dimensions=10*q, output_batch_dimension=11q, output_feature_dimension=12q, output_spatial_dimensions=13*q, feature_group_count=14q, batch_group_count=15q, precision_config=16*I
StablehloCustomCallOptions: call_target_name=0s, has_side_effect=1?, backend_config=2s, api_version=3i, called_computations=4*i, custom_attributes=5*B
StablehloReduceOptions: dimensions=0*q, body_subgraph_index=1G
StablehloScatterOptions: indices_are_sorted=0?, update_window_dims=1*q, inserted_window_dims=2*q, scatter_dims_to_operand_dims=3*q, index_vector_dim=4q, unique_indices=5?, update_computation_subgraph_index=6G
StablehloCompareOptions: comparison_direction=0I, compare_type=1I
StablehloDynamicSliceOptions: slice_sizes=0*q
StablehloPadOptions: edge_padding_low=0*q, edge_padding_high=1*q, interior_padding=2*q
StablehloIotaOptions: iota_dimension=0q
StablehloDotGeneralOptions: lhs_batching_dimensions=0*q, rhs_batching_dimensions=1*q, lhs_contracting_dimensions=2*q, rhs_contracting_dimensions=3*q, precision_config=4*I
StablehloReduceWindowOptions: window_dimensions=0*q, window_strides=1*q, base_dilations=2*q, window_dilations=3*q, padding=4*q, body_subgraph_index=5G
StablehloSortOptions: dimension=0q, is_stable=1?, comparator_subgraph_index=2G
StablehloWhileOptions: cond_subgraph_index=0G, body_subgraph_index=1G
StablehloGatherOptions: offset_dims=0*q, collapsed_slice_dims=1*q, start_index_map=2*q, index_vector_dim=3q, slice_sizes=4*q, indices_are_sorted=5?
StablehloTransposeOptions: permutation=0*q
StablehloRngBitGeneratorOptions: algorithm=0b
ReduceWindowOptions: reduce_function=0i
StableHLOCompositeOptions: name=0s, decomposition_subgraph_index=1G, composite_attributes=2*B, composite_attributes_format=3b, version=4i
StablehloCaseOptions: branch_subgraph_indices=0*G
"""  # noqa: E501 - one line a table


@dataclass(frozen=True, slots=True)
class OptionField:
    """One field of a table of options.

    Attributes:
        name: as the schema calls it.
        number: its place in the vtable.
        kind: the letter of its type, see above.
        is_list: whether it is a list of these.
        default: its value where it is left out.
    """

    name: str
    number: int
    kind: str
    is_list: bool
    default: int


@functools.cache
def option_fields() -> dict[str, tuple[OptionField, ...]]:
    """Return the fields of each table of options, by its name."""
    tables = {}
    for line in _FIELDS.split("\n"):
        table, _, fields = line.partition(": ")
        tables[table] = tuple(_field(text) for text in fields.split(", ") if text)
    return tables


def _field(text: str) -> OptionField:
    name, kind, *default = text.split("=")
    letter = kind[-1]
    digits = kind[:-1].removesuffix("*")
    return OptionField(name, int(digits), letter, "*" in kind, int(default[0]) if default else 0)
