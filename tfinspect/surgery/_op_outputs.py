"""Names of the outputs of operations that have several: what a function body's `node:name:index` refers to.

From the operation registry of TensorFlow 2.21, operations for training and for accelerators left out. All but the last
output of each are single tensors.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from tfinspect.ir.graph import Node

OUTPUTS: Final = {
    "AllCandidateSampler": "sampled_candidates true_expected_count sampled_expected_count",
    "ApproxTopK": "values indices",
    "BatchSvd": "s u v",
    "BlockLSTM": "i cs f o ci co h",
    "BlockLSTMV2": "i cs f o ci co h",
    "CSRSparseMatrixComponents": "row_ptrs col_inds values",
    "CSRSparseMatrixToSparseTensor": "indices values dense_shape",
    "CTCGreedyDecoder": "decoded_indices decoded_values decoded_shape log_probability",
    "CTCLoss": "loss gradient",
    "CTCLossV2": "loss gradient",
    "CombinedNonMaxSuppression": "nmsed_boxes nmsed_scores nmsed_classes valid_detections",
    "ComputeAccidentalHits": "indices ids weights",
    "CudnnRNN": "output output_h output_c reserve_space",
    "CudnnRNNV2": "output output_h output_c reserve_space host_reserved",
    "CudnnRNNV3": "output output_h output_c reserve_space host_reserved",
    "DecodeProtoV2": "sizes values",
    "DecodeWav": "audio sample_rate",
    "DenseCountSparseOutput": "output_indices output_values output_dense_shape",
    "DenseToDenseSetOperation": "result_indices result_values result_shape",
    "DenseToSparseSetOperation": "result_indices result_values result_shape",
    "DeserializeManySparse": "sparse_indices sparse_values sparse_shape",
    "DeserializeSparse": "sparse_indices sparse_values sparse_shape",
    "Eig": "e v",
    "FixedUnigramCandidateSampler": "sampled_candidates true_expected_count sampled_expected_count",
    "FractionalAvgPool": "output row_pooling_sequence col_pooling_sequence",
    "FractionalMaxPool": "output row_pooling_sequence col_pooling_sequence",
    "FusedBatchNorm": "y batch_mean batch_variance reserve_space_1 reserve_space_2",
    "FusedBatchNormV2": "y batch_mean batch_variance reserve_space_1 reserve_space_2",
    "FusedBatchNormV3": "y batch_mean batch_variance reserve_space_1 reserve_space_2 reserve_space_3",
    "GRUBlockCell": "r u c h",
    "GenerateBoundingBoxProposals": "rois roi_probabilities",
    "IsotonicRegression": "output segments",
    "LSTMBlockCell": "i cs f o ci co h",
    "LearnedUnigramCandidateSampler": "sampled_candidates true_expected_count sampled_expected_count",
    "ListDiff": "out idx",
    "LogMatrixDeterminant": "sign log_abs_determinant",
    "LogUniformCandidateSampler": "sampled_candidates true_expected_count sampled_expected_count",
    "LookupTableExport": "keys values",
    "LookupTableExportV2": "keys values",
    "Lu": "lu p",
    "MaxPoolWithArgmax": "output argmax",
    "Merge": "output value_index",
    "NearestNeighbors": "nearest_center_indices nearest_center_distances",
    "NonMaxSuppressionV4": "selected_indices valid_outputs",
    "NonMaxSuppressionV5": "selected_indices selected_scores valid_outputs",
    "Qr": "q r",
    "QuantizeDownAndShrinkRange": "output output_min output_max",
    "QuantizeV2": "output output_min output_max",
    "QuantizedAdd": "z min_z max_z",
    "QuantizedAvgPool": "output min_output max_output",
    "QuantizedBatchNormWithGlobalNormalization": "result result_min result_max",
    "QuantizedBiasAdd": "output min_out max_out",
    "QuantizedConcat": "output output_min output_max",
    "QuantizedConcatV2": "output output_min output_max",
    "QuantizedConv2D": "output min_output max_output",
    "QuantizedConv2DAndRelu": "output min_output max_output",
    "QuantizedConv2DAndReluAndRequantize": "output min_output max_output",
    "QuantizedConv2DAndRequantize": "output min_output max_output",
    "QuantizedConv2DPerChannel": "output min_output max_output",
    "QuantizedConv2DWithBias": "output min_output max_output",
    "QuantizedConv2DWithBiasAndRelu": "output min_output max_output",
    "QuantizedConv2DWithBiasAndReluAndRequantize": "output min_output max_output",
    "QuantizedConv2DWithBiasAndRequantize": "output min_output max_output",
    "QuantizedConv2DWithBiasSignedSumAndReluAndRequantize": "output min_output max_output",
    "QuantizedConv2DWithBiasSumAndRelu": "output min_output max_output",
    "QuantizedConv2DWithBiasSumAndReluAndRequantize": "output min_output max_output",
    "QuantizedDepthwiseConv2D": "output min_output max_output",
    "QuantizedDepthwiseConv2DWithBias": "output min_output max_output",
    "QuantizedDepthwiseConv2DWithBiasAndRelu": "output min_output max_output",
    "QuantizedDepthwiseConv2DWithBiasAndReluAndRequantize": "output min_output max_output",
    "QuantizedInstanceNorm": "y y_min y_max",
    "QuantizedMatMul": "out min_out max_out",
    "QuantizedMatMulWithBias": "out min_out max_out",
    "QuantizedMatMulWithBiasAndRelu": "out min_out max_out",
    "QuantizedMatMulWithBiasAndReluAndRequantize": "out min_out max_out",
    "QuantizedMatMulWithBiasAndRequantize": "out min_out max_out",
    "QuantizedMaxPool": "output min_output max_output",
    "QuantizedMul": "z min_z max_z",
    "QuantizedRelu": "activations min_activations max_activations",
    "QuantizedRelu6": "activations min_activations max_activations",
    "QuantizedReluX": "activations min_activations max_activations",
    "QuantizedReshape": "output output_min output_max",
    "QuantizedResizeBilinear": "resized_images out_min out_max",
    "RaggedCountSparseOutput": "output_indices output_values output_dense_shape",
    "RaggedCross": "output_values output_row_splits",
    "RaggedFillEmptyRows": "output_value_rowids output_values empty_row_indicator reverse_index_map",
    "RaggedRange": "rt_nested_splits rt_dense_values",
    "RaggedTensorToSparse": "sparse_indices sparse_values sparse_dense_shape",
    "RefMerge": "output value_index",
    "RefSwitch": "output_false output_true",
    "RequantizationRange": "output_min output_max",
    "RequantizationRangePerChannel": "output_min output_max",
    "Requantize": "output output_min output_max",
    "RequantizePerChannel": "output output_min output_max",
    "SampleDistortedBoundingBox": "begin size bboxes",
    "SampleDistortedBoundingBoxV2": "begin size bboxes",
    "SelfAdjointEigV2": "e v",
    "SoftmaxCrossEntropyWithLogits": "loss backprop",
    "SortListOfSparseCoreCooTensors": "sorted_row_ids sorted_col_ids sorted_gains id_counts",
    "SparseAdd": "sum_indices sum_values sum_shape",
    "SparseConcat": "output_indices output_values output_shape",
    "SparseCountSparseOutput": "output_indices output_values output_dense_shape",
    "SparseCross": "output_indices output_values output_shape",
    "SparseCrossHashed": "output_indices output_values output_shape",
    "SparseCrossV2": "output_indices output_values output_shape",
    "SparseFillEmptyRows": "output_indices output_values empty_row_indicator reverse_index_map",
    "SparseReduceMaxSparse": "output_indices output_values output_shape",
    "SparseReduceSumSparse": "output_indices output_values output_shape",
    "SparseReorder": "output_indices output_values",
    "SparseReshape": "output_indices output_shape",
    "SparseSlice": "output_indices output_values output_shape",
    "SparseSoftmaxCrossEntropyWithLogits": "loss backprop",
    "SparseSparseMaximum": "output_indices output_values",
    "SparseSparseMinimum": "output_indices output_values",
    "SparseToSparseSetOperation": "result_indices result_values result_shape",
    "StatelessRandomGetKeyCounter": "key counter",
    "StatelessRandomGetKeyCounterAlg": "key counter alg",
    "StatelessSampleDistortedBoundingBox": "begin size bboxes",
    "StringNGrams": "ngrams ngrams_splits",
    "StringSplit": "indices values shape",
    "StringSplitV2": "indices values shape",
    "Svd": "s u v",
    "Switch": "output_false output_true",
    "TakeManySparseFromTensorsMap": "sparse_indices sparse_values sparse_shape",
    "TensorArrayConcat": "value lengths",
    "TensorArrayConcatV2": "value lengths",
    "TensorArrayConcatV3": "value lengths",
    "TensorArrayV3": "handle flow",
    "TensorListConcat": "tensor lengths",
    "TensorListConcatV2": "tensor lengths",
    "TensorListPopBack": "output_handle tensor",
    "ThreadUnsafeUnigramCandidateSampler": "sampled_candidates true_expected_count sampled_expected_count",
    "TopK": "values indices",
    "TopKUnique": "topk topk_indices",
    "TopKV2": "values indices",
    "TopKWithUnique": "topk topk_indices",
    "UnicodeDecode": "row_splits char_values",
    "UnicodeDecodeWithOffsets": "row_splits char_values char_to_byte_starts",
    "UniformCandidateSampler": "sampled_candidates true_expected_count sampled_expected_count",
    "Unique": "y idx",
    "UniqueV2": "y idx",
    "UniqueWithCounts": "y idx count",
    "UniqueWithCountsV2": "y idx count",
}
"""Output names, separated by blanks, by operation."""

LISTS: Final = {
    "CTCBeamSearchDecoder": (
        "decoded_indices top_paths", "decoded_values top_paths", "decoded_shape top_paths", "log_probability",
    ),
    "ParseExample": (
        "sparse_indices Nsparse", "sparse_values sparse_types", "sparse_shapes Nsparse", "dense_values Tdense",
    ),
    "ParseExampleV2": (
        "sparse_indices num_sparse", "sparse_values sparse_types", "sparse_shapes num_sparse", "dense_values Tdense",
        "ragged_values ragged_value_types", "ragged_row_splits ragged_split_types",
    ),
    "ParseSequenceExample": (
        "context_sparse_indices Ncontext_sparse", "context_sparse_values context_sparse_types",
        "context_sparse_shapes Ncontext_sparse", "context_dense_values Tcontext_dense",
        "feature_list_sparse_indices Nfeature_list_sparse", "feature_list_sparse_values feature_list_sparse_types",
        "feature_list_sparse_shapes Nfeature_list_sparse", "feature_list_dense_values feature_list_dense_types",
        "feature_list_dense_lengths Nfeature_list_dense",
    ),
    "ParseSequenceExampleV2": (
        "context_sparse_indices Ncontext_sparse", "context_sparse_values context_sparse_types",
        "context_sparse_shapes Ncontext_sparse", "context_dense_values Tcontext_dense",
        "context_ragged_values context_ragged_value_types", "context_ragged_row_splits context_ragged_split_types",
        "feature_list_sparse_indices Nfeature_list_sparse", "feature_list_sparse_values feature_list_sparse_types",
        "feature_list_sparse_shapes Nfeature_list_sparse", "feature_list_dense_values feature_list_dense_types",
        "feature_list_dense_lengths Nfeature_list_dense", "feature_list_ragged_values feature_list_ragged_value_types",
        "feature_list_ragged_outer_splits feature_list_ragged_split_types",
        "feature_list_ragged_inner_splits feature_list_ragged_split_types",
    ),
    "ParseSingleExample": (
        "sparse_indices num_sparse", "sparse_values sparse_types", "sparse_shapes num_sparse", "dense_values Tdense",
    ),
    "ParseSingleSequenceExample": (
        "context_sparse_indices Ncontext_sparse", "context_sparse_values context_sparse_types",
        "context_sparse_shapes Ncontext_sparse", "context_dense_values Tcontext_dense",
        "feature_list_sparse_indices Nfeature_list_sparse", "feature_list_sparse_values feature_list_sparse_types",
        "feature_list_sparse_shapes Nfeature_list_sparse", "feature_list_dense_values feature_list_dense_types",
    ),
    "RaggedGather": ("output_nested_splits OUTPUT_RAGGED_RANK", "output_dense_values"),
    "RaggedTensorFromVariant": ("output_nested_splits output_ragged_rank", "output_dense_values"),
    "SparseSplit": ("output_indices num_split", "output_values num_split", "output_shape num_split"),
}  # fmt: skip
"""Operations whose outputs are lists, so that attributes decide where one begins: each output with the attribute that
is its length, or has its length; none where the output is a single tensor."""

VARIABLE: Final = frozenset(LISTS)
"""The operations of `LISTS`."""

_MOST_OUTPUTS = 1 << 20  # a hostile attribute can say any number


def first_output(node: Node, name: str) -> int | None:
    """Return the number of the first tensor of an output that a function body refers to by name.

    An operation that is in no table here has one output, or one list of them, which begins at 0.

    Returns:
        The number; None where the operation has no output of that name, or its attributes do not tell.
    """
    if node.op not in LISTS:
        names = OUTPUTS.get(node.op, "").split()
        return names.index(name) if name in names else 0
    at = 0
    for entry in LISTS[node.op]:
        output, _, attr = entry.partition(" ")
        if output == name:
            return at
        count = node.value(attr) if attr else 1
        count = len(count) if isinstance(count, tuple) else count
        if not isinstance(count, int) or not 0 <= count <= _MOST_OUTPUTS:
            return None
        at += count
    return None
