"""Facts about operation types: what holds state, what feeds, what only training needs, what no longer runs."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from tfinspect.ir.graph import Graph, Node

VARIABLES: Final = frozenset({"Variable", "VariableV2", "VarHandleOp", "TemporaryVariable"})
PLACEHOLDERS: Final = frozenset({"Placeholder", "PlaceholderV2", "PlaceholderWithDefault", "_Arg"})
QUEUES: Final = frozenset(
    {
        "FIFOQueue", "FIFOQueueV2", "PaddingFIFOQueue", "PaddingFIFOQueueV2", "RandomShuffleQueue",
        "RandomShuffleQueueV2", "PriorityQueue", "PriorityQueueV2", "Barrier",
    }
)  # fmt: skip
DEQUEUES: Final = frozenset(
    {
        "QueueDequeue", "QueueDequeueV2", "QueueDequeueMany", "QueueDequeueManyV2", "QueueDequeueUpTo",
        "QueueDequeueUpToV2", "ReaderRead", "ReaderReadV2", "ReaderReadUpTo", "ReaderReadUpToV2", "Unstage",
        "BarrierTakeMany",
    }
)  # fmt: skip
ITERATOR_GETS: Final = frozenset(
    {"IteratorGetNext", "IteratorGetNextSync", "MultiDeviceIteratorGetNextFromShard", "DatasetToSingleElement"}
)
ITERATORS: Final = frozenset({"Iterator", "IteratorV2", "OneShotIterator", "AnonymousIterator", "AnonymousIteratorV2"})

RANDOM: Final = frozenset(
    {
        "RandomUniform", "RandomUniformInt", "RandomStandardNormal", "TruncatedNormal", "ParameterizedTruncatedNormal",
        "RandomShuffle", "RandomGamma", "RandomPoisson", "RandomPoissonV2", "Multinomial", "RandomCrop",
        "StatelessRandomUniform", "StatelessRandomUniformV2", "StatelessRandomNormal", "StatelessRandomNormalV2",
        "StatelessTruncatedNormal", "StatelessTruncatedNormalV2", "StatelessMultinomial", "StatelessRandomUniformInt",
        "StatelessRandomUniformIntV2", "StatefulUniform", "StatefulStandardNormal", "StatefulStandardNormalV2",
        "StatefulTruncatedNormal", "StatefulUniformInt", "LogUniformCandidateSampler", "UniformCandidateSampler",
        "LearnedUnigramCandidateSampler", "ThreadUnsafeUnigramCandidateSampler", "FixedUnigramCandidateSampler",
        "AllCandidateSampler",
    }
)  # fmt: skip

# ops with an is_ref argument or result in TensorFlow's op registry, apart from the optimizers' Apply* (see is_update)
REFERENCE_OPS: Final = frozenset(
    {
        "RefSwitch", "RefMerge", "RefEnter", "RefExit", "RefNextIteration", "RefSelect", "RefIdentity", "Assign",
        "AssignAdd", "AssignSub", "ScatterAdd", "ScatterDiv", "ScatterMax", "ScatterMin", "ScatterMul", "ScatterSub",
        "ScatterUpdate", "ScatterNdAdd", "ScatterNdSub", "ScatterNdUpdate", "ScatterNdMax", "ScatterNdMin",
        "StridedSliceAssign", "CountUpTo", "IsVariableInitialized", "Variable", "VariableV2", "TemporaryVariable",
        "DestroyTemporaryVariable",
    }
)  # fmt: skip

_CHECKS = {"Assert", "CheckNumerics", "CheckNumericsV2", "Print", "PrintV2", "Abort", "ControlTrigger", "Timestamp"}
_SAVERS = {
    "Save", "SaveSlices", "SaveV2", "MergeV2Checkpoints", "ShardedFilename", "ShardedFilespec", "Restore",
    "RestoreSlice", "RestoreV2", "WriteFile", "WriteGraphSummary", "WriteSummary", "WriteScalarSummary",
    "WriteHistogramSummary", "WriteImageSummary", "WriteAudioSummary", "WriteRawProtoSummary", "CloseSummaryWriter",
    "FlushSummaryWriter", "CreateSummaryFileWriter", "ImportEvent",
}  # fmt: skip
_SUMMARIES = {
    "ScalarSummary", "HistogramSummary", "ImageSummary", "AudioSummary", "AudioSummaryV2", "TensorSummary",
    "TensorSummaryV2", "MergeSummary",
}  # fmt: skip
_QUEUE_ACTIONS = {
    "QueueEnqueue", "QueueEnqueueV2", "QueueEnqueueMany", "QueueEnqueueManyV2", "QueueClose", "QueueCloseV2",
    "QueueSize", "QueueSizeV2", "QueueIsClosed", "QueueIsClosedV2", "Stage", "BarrierClose", "BarrierInsertMany",
    "BarrierIncompleteSize", "BarrierReadySize",
}  # fmt: skip
_TABLE_ACTIONS = {
    "InitializeTable", "InitializeTableV2", "InitializeTableFromTextFile", "InitializeTableFromTextFileV2",
    "LookupTableImport", "LookupTableImportV2", "LookupTableInsert", "LookupTableInsertV2", "LookupTableExport",
    "LookupTableExportV2", "LookupTableRemoveV2", "MakeIterator", "IteratorToStringHandle",
}  # fmt: skip
_UPDATES = {
    "Assign", "AssignAdd", "AssignSub", "AssignVariableOp", "AssignAddVariableOp", "AssignSubVariableOp",
    "AssignVariableXlaConcatND", "StridedSliceAssign", "ResourceStridedSliceAssign", "CountUpTo",
    "ResourceCountUpTo", "IsVariableInitialized", "VarIsInitializedOp", "DestroyResourceOp", "NegTrain",
    "DestroyTemporaryVariable",
}  # fmt: skip
_UPDATE_PREFIXES = ("Apply", "ResourceApply", "SparseApply", "ResourceSparseApply", "ResourceScatter")
_REF_SCATTERS = {op for op in REFERENCE_OPS if op.startswith("Scatter")}

LOSSES: Final = frozenset(
    {
        "SoftmaxCrossEntropyWithLogits", "SparseSoftmaxCrossEntropyWithLogits", "CTCLoss", "CTCLossV2", "InTopK",
        "InTopKV2",
    }
)  # fmt: skip
_GRADIENTS = {
    "BroadcastGradientArgs", "Conv2DBackpropFilter", "Conv2DBackpropFilterV2", "Conv3DBackpropFilter",
    "Conv3DBackpropFilterV2", "DepthwiseConv2dNativeBackpropFilter", "DepthwiseConv2dNativeBackpropInput",
    "Dilation2DBackpropFilter", "Dilation2DBackpropInput", "SymbolicGradient", "CudnnRNNBackprop",
    "CudnnRNNBackpropV2", "CudnnRNNBackpropV3", "TensorArrayGrad", "TensorArrayGradV2", "TensorArrayGradV3",
    "TensorArrayGradWithShape", "StackPush", "StackPushV2", "StackPop", "StackPopV2", "MaxPoolGradWithArgmax",
    "CropAndResizeGradImage", "CropAndResizeGradBoxes", "FakeQuantWithMinMaxVarsGradient",
    "FakeQuantWithMinMaxVarsPerChannelGradient", "FakeQuantWithMinMaxArgsGradient"
}  # fmt: skip
# ops that read, write or name files, or run code that the graph brings along
FILE_OPS: Final = frozenset(
    {
        "ReadFile", "WriteFile", "MatchingFiles", "WholeFileReader", "WholeFileReaderV2", "TextLineReader",
        "TextLineReaderV2", "TFRecordReader", "TFRecordReaderV2", "FixedLengthRecordReader",
        "FixedLengthRecordReaderV2", "LMDBReader", "TextLineDataset", "TFRecordDataset", "FixedLengthRecordDataset",
        "FixedLengthRecordDatasetV2", "InitializeTableFromTextFile", "InitializeTableFromTextFileV2", "SaveV2",
        "Save", "SaveSlices", "MergeV2Checkpoints", "CreateSummaryFileWriter", "ImportEvent", "DebugIdentity",
        "DebugIdentityV2", "DebugIdentityV3", "PrintV2", "CacheDataset", "CacheDatasetV2", "SaveDataset",
        "SaveDatasetV2", "LoadDataset", "SnapshotDataset", "SnapshotDatasetV2",
    }
)  # fmt: skip
CODE_OPS: Final = frozenset({"PyFunc", "PyFuncStateless", "EagerPyFunc", "GeneratorDataset", "RemoteCall", "RpcCall"})

IDENTITIES: Final = frozenset(
    {
        "Identity", "RefIdentity", "StopGradient", "PreventGradient", "CheckNumerics", "CheckNumericsV2", "Print",
        "PlaceholderWithDefault", "Snapshot", "DebugIdentity", "DebugIdentityV2", "EnsureShape", "ReadVariableOp",
    }
)  # fmt: skip
SWITCHES: Final = frozenset({"Switch", "RefSwitch"})
MERGES: Final = frozenset({"Merge", "RefMerge"})
LOOP_CARRIERS: Final = frozenset({"Enter", "RefEnter", "Exit", "RefExit", "NextIteration", "RefNextIteration"})

# operand of a learned layer, by op: which input holds the weights where it is the usual one
LAYERS: Final = frozenset(
    {
        "MatMul", "BatchMatMul", "BatchMatMulV2", "BatchMatMulV3", "Conv2D", "Conv3D", "DepthwiseConv2dNative",
        "Conv2DBackpropInput", "Conv3DBackpropInput", "Conv3DBackpropInputV2", "QuantizedConv2D", "QuantizedMatMul",
        "SparseMatMul", "SparseTensorDenseMatMul", "Einsum", "Dilation2D", "_FusedConv2D",
        "_FusedMatMul", "_FusedDepthwiseConv2dNative",
    }
)  # fmt: skip
EMBEDDINGS: Final = frozenset({"Gather", "GatherV2", "ResourceGather", "GatherNd", "ResourceGatherNd"})
SOFTMAXES: Final = frozenset({"Softmax", "LogSoftmax"})
DECODERS: Final = frozenset({"DecodeJpeg", "DecodePng", "DecodeImage", "DecodeBmp", "DecodeGif", "DecodeAndCropJpeg"})
# ops that turn fed bytes into values; the bytes are input 0
BYTES_READERS: Final = DECODERS | {
    "DecodeRaw", "DecodePaddedRaw", "DecodeWav", "DecodeCSV", "DecodeBase64", "DecodeCompressed", "ParseExample",
    "ParseExampleV2", "ParseSingleExample", "ParseSequenceExample", "ParseSequenceExampleV2",
    "ParseSingleSequenceExample", "ParseTensor", "ExtractJpegShape", "DecodeProtoV2",
}  # fmt: skip

# op -> GraphDef version from which importers refuse it (OpDef.deprecation.version of TensorFlow 2.21)
DEPRECATED: Final = {
    op: version
    for version, ops in {
        2: "AdjustContrast",
        3: "TileGrad",
        7: "TopK",
        8: "RandomCrop",
        9: "BatchNormWithGlobalNormalization BatchNormWithGlobalNormalizationGrad",
        10: "Conv3DBackpropFilter Conv3DBackpropInput",
        11: "SelfAdjointEig BatchSelfAdjointEig",
        13: "BatchCholesky BatchCholeskyGrad BatchMatrixDeterminant BatchMatrixInverse BatchMatrixSolve "
        "BatchMatrixSolveLs BatchMatrixTriangularSolve BatchSelfAdjointEigV2 BatchSvd",
        14: "BatchMatrixDiag BatchMatrixDiagPart BatchMatrixBandPart BatchMatrixSetDiag",
        15: "BatchFFT BatchFFT2D BatchFFT3D BatchIFFT BatchIFFT2D BatchIFFT3D AudioSummary",
        16: "TensorArray TensorArrayGrad TensorArrayWrite TensorArrayRead TensorArrayGather TensorArrayPack "
        "TensorArrayConcat TensorArraySplit TensorArraySize TensorArrayClose",
        19: "NegTrain Skipgram TensorArrayScatter",
        20: "TensorArrayUnpack",
        22: "QuantizeAndDequantize",
        23: "PlaceholderV2",
        25: "RandomPoisson",
        26: "FixedLengthRecordReader TFRecordReader TextLineReader IdentityReader TensorArrayV2 TensorArrayGradV2 "
        "TensorArrayReadV2 TensorArrayWriteV2 TensorArrayGatherV2 TensorArrayScatterV2 TensorArraySplitV2 "
        "TensorArraySizeV2 TensorArrayCloseV2",
        27: "MatrixExponential",
        29: "StatefulStandardNormal",
    }.items()
    for op in ops.split()
}

# ops of tf.contrib, which TensorFlow 2 dropped, and of projects that bring their own kernels: package that knew them
_FOREIGN = {
    op: package
    for package, ops in {
        "tf.contrib.image": "ImageProjectiveTransform BipartiteMatch ImageConnectedComponents "
        "SingleImageRandomDotStereograms",
        "tf.contrib.seq2seq": "GatherTree",
        "tf.contrib.resampler": "Resampler ResamplerGrad",
        "tf.contrib.factorization": "MaskedMatmul WALSComputePartialLhsAndRhs",
        "tf.contrib.periodic_resample": "PeriodicResample PeriodicResampleOpGrad",
        "tf.contrib.reduce_slice_ops": "ReduceSliceSum ReduceSliceProd ReduceSliceMax ReduceSliceMin",
        "tf.contrib.text": "SkipGramGenerateCandidates",
        "tf.contrib.ffmpeg": "DecodeAudio DecodeAudioV2 DecodeVideo EncodeAudio",
        "tf.contrib.tensor_forest": "HardRoutingFunction StochasticHardRoutingFunction KFeatureGradient UnpackPath "
        "RoutingFunction KFeatureRoutingFunction TreePredictionsV4",
        "tf.contrib.boosted_trees": "GradientTreesPrediction GradientTreesPartitionExamples",
        "TensorFlow-TensorRT": "TRTEngineOp",
        "TensorFlow Lite": "TFLite_Detection_PostProcess",
    }.items()
    for op in ops.split()
}
_FOREIGN_PREFIXES = {
    "SentencepieceOp": "tensorflow_text", "SentencepieceTokenize": "tensorflow_text", "WordpieceTokenize":
    "tensorflow_text", "RegexSplitWithOffsets": "tensorflow_text", "SimpleML": "tensorflow_decision_forests",
    "Addons>": "tensorflow_addons", "IO>": "tensorflow_io", "Horovod": "Horovod", "edgetpu-": "the Edge TPU compiler",
}  # fmt: skip
_UNEXPORTABLE = {
    **dict.fromkeys(DECODERS, "ONNX has no word for decoding image files: cut behind it and feed pixels"),
    **dict.fromkeys(
        ("DecodeWav", "AudioSpectrogram", "Mfcc"), "ONNX has no word for it: cut behind it and feed features"
    ),
    **dict.fromkeys(
        ("ParseExample", "ParseExampleV2", "ParseSingleExample", "DecodeRaw", "DecodeCSV", "ParseSequenceExample"),
        "ONNX has no word for parsing records: cut behind it and feed the values",
    ),
    **dict.fromkeys(sorted(DEQUEUES | ITERATOR_GETS), "feeds from an input pipeline: cut behind it and feed the batch"),
}


@dataclass(frozen=True, slots=True)
class Blocker:
    """An op that stands in the way.

    Attributes:
        op: operation type.
        count: number of nodes.
        reason: who refuses it and why, as a phrase.
    """

    op: str
    count: int
    reason: str


def blockers(graph: Graph) -> list[Blocker]:
    """Return ops that a current TensorFlow refuses or ONNX has no word for, in the order they occur."""
    counts = Counter(node.op for node in graph.nodes)
    found = []
    for op, count in counts.items():
        reason = refusal(op, graph.versions.producer) or _UNEXPORTABLE.get(op)
        if reason is None and op in CODE_OPS:
            reason = "runs code that is not in the file"
        if reason is not None and op not in graph.functions:
            found.append(Blocker(op, count, reason))
    return found


def refusal(op: str, producer: int) -> str | None:
    """Say why a current TensorFlow does not load an op of a graph of that producer version, or return None.

    Ops of unknown origin are not refused: nobody can list what a user's own library registers.
    """
    since = DEPRECATED.get(op)
    if since is not None and producer >= since:
        return f"TensorFlow refuses it in graphs of version {since} and later (this one is {producer})"
    package = _FOREIGN.get(op)
    if package is None:
        package = next((p for prefix, p in _FOREIGN_PREFIXES.items() if op.startswith(prefix)), None)
    if package is not None and since is None:
        gone = ", which TensorFlow 2 dropped" if package.startswith("tf.contrib") else ""
        return f"not an op of TensorFlow itself but of {package}{gone}"
    return None


def is_update(op: str) -> bool:
    """Whether the op changes or only asks about the state of a variable: assignments, scatters, optimizer steps."""
    return op in _UPDATES or op in _REF_SCATTERS or op.startswith(_UPDATE_PREFIXES)


def is_gradient(op: str) -> bool:
    """Whether the op exists only to compute gradients. Conv2DBackpropInput does not count: it is a deconvolution."""
    return op in _GRADIENTS or op.endswith(("Grad", "GradV2", "GradV3", "GradGrad"))


def is_summary(op: str) -> bool:
    """Whether the op makes a summary for TensorBoard."""
    return op in _SUMMARIES


def is_side_effect(op: str) -> bool:
    """Whether nobody wants the op's result as an output of a model: it acts, checks, saves or logs."""
    return (
        op == "NoOp"
        or op in _CHECKS
        or op in _SAVERS
        or op in _SUMMARIES
        or op in _QUEUE_ACTIONS
        or op in _TABLE_ACTIONS
        or is_update(op)
    )


def is_training_only(op: str) -> bool:
    """Whether the op has a place in training alone: gradients, optimizer steps, losses over labels, summaries."""
    return (
        is_gradient(op)
        or op in _SUMMARIES
        or op in LOSSES
        or op.startswith(("Apply", "ResourceApply", "SparseApply", "ResourceSparseApply"))
    )


def is_stateful(op: str) -> bool:
    """Whether two runs may give different results: state, randomness, queues, iterators, files."""
    return (
        op in VARIABLES
        or op in RANDOM
        or op in QUEUES
        or op in DEQUEUES
        or op in ITERATOR_GETS
        or op in ITERATORS
        or op in FILE_OPS
        or op in CODE_OPS
        or is_update(op)
    )


_OUTPUT_COUNTS = {
    op: count
    for count, ops in {
        2: "TensorArrayConcatV3 "
        "Switch RefSwitch Merge RefMerge TopK TopKV2 Unique UniqueV2 SoftmaxCrossEntropyWithLogits "
        "SparseSoftmaxCrossEntropyWithLogits DecodeWav ListDiff RequantizationRange BroadcastGradientArgs "
        "TensorArrayV3 CTCLoss CTCLossV2 MaxPoolWithArgmax SelfAdjointEigV2 NonMaxSuppressionV4 "
        "SparseReshape LogMatrixDeterminant Qr Lu ReaderRead ReaderReadV2",
        3: "DenseToDenseSetOperation "
        "UniqueWithCounts UniqueWithCountsV2 QuantizeV2 QuantizedConv2D QuantizedMatMul QuantizedRelu "
        "QuantizedRelu6 QuantizedMaxPool QuantizedAvgPool QuantizedBiasAdd QuantizedAdd QuantizedMul "
        "QuantizedConcat QuantizedReshape Requantize QuantizeDownAndShrinkRange Svd NonMaxSuppressionV5 "
        "SampleDistortedBoundingBox SampleDistortedBoundingBoxV2 StringSplit StringSplitV2",
        4: "GRUBlockCell CTCGreedyDecoder CudnnRNN CombinedNonMaxSuppression SparseFillEmptyRows",
        5: "FusedBatchNorm FusedBatchNormV2 CudnnRNNV2 CudnnRNNV3",
        6: "FusedBatchNormV3",
        7: "LSTMBlockCell BlockLSTM BlockLSTMV2",
    }.items()
    for op in ops.split()
}
_COUNTED_BY = {
    "Split": "num_split", "SplitV": "num_split", "Unpack": "num", "ShapeN": "N", "ConcatOffset": "N",
    "DynamicPartition": "num_partitions", "_VarHandlesOp": "N", "_SwitchN": "num_outs",
}  # fmt: skip
_CALLS = frozenset(
    {
        "PartitionedCall", "StatefulPartitionedCall", "TPUPartitionedCall", "RemoteCall", "SymbolicGradient", "PyFunc",
        "PyFuncStateless", "EagerPyFunc", "If", "StatelessIf", "Case", "StatelessCase", "BatchFunction", "_If",
    }
)  # fmt: skip
_LISTED_BY = {
    **dict.fromkeys(_CALLS, "Tout"),
    **dict.fromkeys(("IdentityN", "While", "StatelessWhile", "_While", "For"), "T"),
    **dict.fromkeys(DEQUEUES, "component_types"),
    **dict.fromkeys(ITERATOR_GETS, "output_types"),
    **dict.fromkeys(("RestoreV2", "Unstage", "_ReadVariablesOp"), "dtypes"),
    "DecodeCSV": "OUT_TYPE",
}


def output_count(node: Node) -> int:
    """Return how many outputs a node has, by its op and attributes; 1 where that is not known."""
    op = node.op
    known = _OUTPUT_COUNTS.get(op)
    if known is not None:
        return known
    if op in _COUNTED_BY:
        count = node.value(_COUNTED_BY[op])
        return count if isinstance(count, int) and count > 0 else 1
    if op in _LISTED_BY:
        return max(1, _length(node, _LISTED_BY[op]))
    if op.startswith(("ParseExample", "ParseSingleExample")):
        dense = sum(_length(node, attr) for attr in ("Tdense", "ragged_value_types", "ragged_split_types"))
        return max(1, 3 * _length(node, "sparse_types") + dense)
    return 1


def _length(node: Node, attr: str) -> int:
    found = node.attrs.get(attr)
    return len(found.value.values) if found is not None and found.kind == "list" else 0
