"""Attributes of the ops of TensorFlow 2.21 that inference graphs are made of.

From the operation registry; ops for training, data sets, summaries and accelerators left out. Lines: `attributes: ops`.
"""

from __future__ import annotations

from typing import Final

_ATTRS: Final = """
DstT SrcT Truncate: Cast
Index T: Slice
Index T begin_mask ellipsis_mask end_mask new_axis_mask shrink_axis_mask: ResourceStridedSliceAssign StridedSlice
  StridedSliceAssign TensorStridedSliceUpdate
M N T: InPolymorphicTwice
N T: AddN Concat DynamicStitch ListInput Merge ParallelDynamicStitch QuantizedConcat RefMerge RefSelect
N T Tidx: ConcatV2 QuantizedConcatV2
N T axis: Pack
N T concat_dim: SparseConcat
N T equation: Einsum
N T num_concats paddings: AssignVariableXlaConcatND
N T num_splits paddings: ReadVariableXlaSplitND
N T out_type: ShapeN
N T shape: AccumulateNV2 ParallelConcat
N dense_types hash_key hashed_output internal_type num_buckets out_type sparse_types: SparseCross
N dense_types sparse_types: SparseCrossHashed SparseCrossV2
N separator: StringJoin
N shape_type: ConcatOffset
Ncontext_dense Ncontext_sparse Nfeature_list_dense Nfeature_list_sparse Tcontext_dense context_dense_keys
  context_dense_shapes context_sparse_keys context_sparse_types feature_list_dense_keys
  feature_list_dense_missing_assumed_empty feature_list_dense_shapes feature_list_dense_types feature_list_sparse_keys
  feature_list_sparse_types: ParseSequenceExample
Ncontext_dense Ncontext_sparse Nfeature_list_dense Nfeature_list_sparse Tcontext_dense context_dense_shapes
  context_sparse_types feature_list_dense_shapes feature_list_dense_types feature_list_sparse_types:
  ParseSingleSequenceExample
Ncontext_sparse Nfeature_list_dense Nfeature_list_sparse Tcontext_dense context_dense_shapes context_ragged_split_types
  context_ragged_value_types context_sparse_types feature_list_dense_shapes feature_list_dense_types
  feature_list_ragged_split_types feature_list_ragged_value_types feature_list_sparse_types: ParseSequenceExampleV2
Ndense Nsparse Tdense dense_shapes sparse_types: ParseExample
Nsparse dense_types hash_key hashed_output input_order num_buckets out_row_splits_type out_values_type
  ragged_splits_types ragged_values_types sparse_values_types: RaggedCross
OUTPUT_RAGGED_RANK PARAMS_RAGGED_RANK Tindices Tsplits Tvalues: RaggedGather
OUT_TYPE field_delim na_value select_cols use_quote_delim: DecodeCSV
R S dtype seed seed2: RandomPoissonV2
RAGGED_RANK T Tsplits: RaggedTensorToSparse
RAGGED_RANK Tsplits Tvalues batched_input: RaggedTensorToVariant
Rtype T Tseed dtype: StatelessRandomPoisson
S T Tseed dtype: StatelessRandomBinomial
S T direction dropout input_mode num_proj rnn_mode seed seed2: CudnnRNNParamsSize
S T dtype: StatefulRandomBinomial
S T seed seed2: RandomGamma
S Tseed dtype: StatelessParameterizedTruncatedNormal
S dtype seed seed2: RandomPoisson
T: Abs Acos Acosh Add AddV2 AdjustContrast AdjustContrastv2 AdjustHue AdjustSaturation Asin Asinh Atan2 Atan Atanh
  BatchCholesky BatchMatrixBandPart BatchMatrixDeterminant BatchMatrixDiag BatchMatrixDiagPart BatchMatrixSetDiag
  BatchSelfAdjointEig BesselI0 BesselI0e BesselI1 BesselI1e BesselJ0 BesselJ1 BesselK0 BesselK0e BesselK1 BesselK1e
  BesselY0 BesselY1 Betainc BiasAddV1 Binary Bincount BitwiseAnd BitwiseOr BitwiseXor BroadcastArgs
  BroadcastGradientArgs Ceil CheckPinned Cholesky ClipByValue Conj CopyOp Cos Cosh Cross CrossReplicaSum Dawsn
  DebugGradientIdentity DebugGradientRefIdentity DeepCopy DenseToCSRSparseMatrix Diag DiagPart Digamma Div DivNoNan
  DrawBoundingBoxes DrawBoundingBoxesV2 DtypeWithDefaultOp Elu Erf Erfc Erfinv Exit Exp Expint Expm1 Fingerprint Floor
  FloorDiv FloorMod FresnelCos FresnelSin GRUBlockCell GetSessionHandle GetSessionHandleV2 Greater GreaterEqual
  GuaranteeConst HSVToRGB Identity IdentityN Igamma IgammaGradA Igammac InTopKV2 InplaceAdd InplaceSub InplaceUpdate Inv
  Invert InvertPermutation IsFinite IsInf IsNan L2Loss LeftShift Less LessEqual Lgamma ListOutput Log1p Log
  LogMatrixDeterminant LogSoftmax MatrixDeterminant MatrixDiag MatrixDiagPart MatrixDiagPartV2 MatrixDiagV2
  MatrixExponential MatrixLogarithm MatrixSetDiag MatrixSetDiagV2 MatrixSquareRoot Maximum Minimum Mod Mul MulNoNan
  Ndtri Neg NextAfter NextIteration OnesLike OutT OutTypeList Polygamma Polymorphic PolymorphicDefaultOut PolymorphicOut
  PopulationCount Pow RGBToHSV RaggedFillEmptyRows Rank RealDiv Reciprocal RefExit RefIdentity RefNextIteration
  RefSwitch Relu6 Relu Restrict Reverse RightShift Rint Round Rsqrt Save SaveSlices Select SelectV2 SelfAdjointEig Selu
  SerializeTensor Sigmoid Sign Sin Sinh SleepIdentityOp Snapshot Softmax SoftmaxCrossEntropyWithLogits Softplus Softsign
  SparseDenseCwiseAdd SparseDenseCwiseDiv SparseDenseCwiseMul SparseFillEmptyRows SparseMatrixAdd SparseMatrixMul
  SparseReorder SparseSlice SparseSoftmax SparseSparseMaximum SparseSparseMinimum SparseTensorToCSRSparseMatrix Spence
  Sqrt Square SquaredDifference StatelessShuffle StopGradient Sub Switch Tan Tanh TensorArrayScatter
  TensorArrayScatterV2 TensorArrayScatterV3 TensorArraySplit TensorArraySplitV2 TensorArraySplitV3 TensorArrayUnpack
  TensorArrayWrite TensorArrayWriteV2 TensorArrayWriteV3 ToBool TridiagonalMatMul TruncateDiv TruncateMod TwoRefsIn
  TypeList TypeListRestrict TypeListTwice Unary Where Xdivy Xlog1py Xlogy ZerosLike Zeta
T TI axis: OneHot
T T_threshold: NonMaxSuppressionV2 NonMaxSuppressionV3
T T_threshold pad_to_max_output_size: NonMaxSuppressionV4
T Targmax include_batch_in_index ksize padding strides: MaxPoolGradGradWithArgmax MaxPoolGradWithArgmax
  MaxPoolWithArgmax
T Taxis Tshift: Roll
T Taxis out_idx: UniqueV2 UniqueWithCountsV2
T Tblock_shape Tcrops: BatchToSpaceND
T Tblock_shape Tpaddings: SpaceToBatchND
T Tdim: ExpandDims
T Tidx: BroadcastTo LinSpace ReverseV2
T Tidx Tnumsegments Tsegmentids sparse_gradient: SparseSegmentMeanWithNumSegments SparseSegmentSqrtNWithNumSegments
  SparseSegmentSumWithNumSegments
T Tidx Tsegmentids sparse_gradient: SparseSegmentMean SparseSegmentSqrtN SparseSegmentSum
T Tidx binary_output: DenseBincount RaggedBincount SparseBincount
T Tidx block_size: BatchToSpace
T Tidx exclusive reverse: Cumprod Cumsum CumulativeLogsumexp
T Tidx keep_dims: EuclideanNorm Max Mean Min Prod Sum
T Tidx output_type: ArgMax ArgMin
T Tindex: MatrixBandPart
T Tindex Tshape num_row_partition_tensors row_partition_types: RaggedTensorToTensor
T Tindices: SegmentMax SegmentMean SegmentMin SegmentProd SegmentSum SparseTensorDenseAdd
T Tindices Tnumsegments: SegmentMaxV2 SegmentMinV2 SegmentProdV2 SegmentSumV2 UnsortedSegmentMax UnsortedSegmentMin
  UnsortedSegmentProd UnsortedSegmentSum
T Tindices adjoint_a adjoint_b: SparseTensorDenseMatMul
T Tindices bad_indices_policy: ScatterNd ScatterNdNonAliasingAdd TensorScatterAdd TensorScatterMax TensorScatterMin
  TensorScatterSub TensorScatterUpdate
T Tindices bad_indices_policy use_locking: ResourceScatterNdAdd ResourceScatterNdMax ResourceScatterNdMin
  ResourceScatterNdSub ResourceScatterNdUpdate ScatterNdAdd ScatterNdMax ScatterNdMin ScatterNdSub ScatterNdUpdate
T Tindices use_locking: ScatterAdd ScatterDiv ScatterMax ScatterMin ScatterMul ScatterSub ScatterUpdate
T Tindices validate_indices: SparseToDense
T Tk index_type sorted: TopKV2
T Tlabels: SparseSoftmaxCrossEntropyWithLogits
T Tlen batch_dim seq_dim: ReverseSequence
T Tlen num_split: SplitV
T Tmultiples: Tile
T Tout: Angle Complex ComplexAbs Imag Real
T Tout compute_v: Eig
T Tout seed seed2: RandomUniformInt
T Tpaddings: Pad PadV2
T Tpaddings block_size: SpaceToBatch
T Tpaddings mode: MirrorPad
T Tperm: ConjugateTranspose Transpose
T Treal: SparseAdd
T Tseed area_range aspect_ratio_range max_attempts use_image_if_no_bounding_boxes: StatelessSampleDistortedBoundingBox
T Tseed dtype: StatelessRandomGammaV2 StatelessRandomNormal StatelessRandomUniform StatelessRandomUniformFullInt
  StatelessRandomUniformInt StatelessTruncatedNormal
T Tseed output_dtype: StatelessMultinomial
T Tshape: QuantizedReshape Reshape
T Tshape data_format dilations padding strides: Conv3DBackpropInputV2
T Tsplits: RaggedRange
T U: RelayoutLike
T U data_format epsilon exponential_avg_factor is_training: FusedBatchNormV2 FusedBatchNormV3
T U first_n message summarize: Print
T adj_x adj_y grad_x grad_y: BatchMatMul BatchMatMulV2
T adjoint: BatchMatrixInverse BatchMatrixSolve MatrixInverse MatrixSolve
T adjoint lower: BandedTriangularSolve BatchMatrixTriangularSolve MatrixTriangularSolve
T adjoint_a adjoint_b conjugate_output transpose_a transpose_b transpose_output: SparseMatrixMatMul
T aggregate_to_topk is_max_k k recall_target reduction_dimension reduction_input_size_override: ApproxTopK
T align: MatrixDiagPartV3 MatrixDiagV3 MatrixSetDiagV3
T align_corners: ResizeArea
T align_corners half_pixel_centers: QuantizedResizeBilinear ResizeBicubic ResizeBilinear ResizeNearestNeighbor
T allowed_batch_sizes batch_timeout_micros batching_queue container grad_timeout_micros max_batch_size
  max_enqueued_batches num_batch_threads shared_name: Batch
T alpha: LeakyRelu
T alpha beta bias depth_radius: LRN
T antialias kernel_type: ScaleAndTranslate
T area_range aspect_ratio_range max_attempts min_object_covered seed seed2 use_image_if_no_bounding_boxes:
  SampleDistortedBoundingBox
T area_range aspect_ratio_range max_attempts seed seed2 use_image_if_no_bounding_boxes: SampleDistortedBoundingBoxV2
T axis dtype mode narrow_range: Dequantize
T axis ensure_minimum_range mode narrow_range round_mode: QuantizeV2
T axis narrow_range num_bits range_given round_mode signed_input: QuantizeAndDequantizeV2 QuantizeAndDequantizeV4
T axis narrow_range range_given signed_input: QuantizeAndDequantizeV3
T axis num: Unpack
T batch_dims data_format dilations explicit_paddings groups padding strides: Conv
T beam_width merge_repeated top_paths: CTCBeamSearchDecoder
T binary_output maxlength minlength output_type: DenseCountSparseOutput RaggedCountSparseOutput SparseCountSparseOutput
T blank_index merge_repeated: CTCGreedyDecoder
T block_size data_format: DepthToSpace SpaceToDepth
T body: For
T body cond output_shapes parallel_iterations: StatelessWhile While
T boundaries: Bucketize
T cell_clip forget_bias use_peephole: BlockLSTM LSTMBlockCell
T cell_clip use_peephole: BlockLSTMV2
T circular_buffer_size debug_urls op_name output_slot tensor_debug_mode tfdbg_context_id tfdbg_run_id: DebugIdentityV2
T client_terminated recv_device send_device send_device_incarnation tensor_name: Send
T clip_value_max: RequantizationRangePerChannel
T compression: EncodePng
T compute_uv full_matrices: BatchSvd Svd
T compute_v: BatchSelfAdjointEigV2 SelfAdjointEigV2
T concat_dimension split_count split_dimension: AllToAll
T container shared_name: AddManySparseToTensorsMap AddSparseToTensorsMap
T container shared_name timeout_micros: Unbatch
T ctc_merge_repeated ignore_longer_outputs_than_inputs preprocess_collapse_repeated: CTCLoss
T data_format: BiasAdd
T data_format dilations explicit_paddings padding strides: DepthwiseConv2dNative DepthwiseConv2dNativeBackpropFilter
  DepthwiseConv2dNativeBackpropInput
T data_format dilations explicit_paddings padding strides use_cudnn_on_gpu: Conv2D Conv2DBackpropFilter
  Conv2DBackpropFilterV2 Conv2DBackpropInput Conv2DBackpropInputV2
T data_format dilations padding strides: Conv3D Conv3DBackpropFilterV2
T data_format epsilon exponential_avg_factor is_training: FusedBatchNorm
T data_format explicit_paddings ksize padding strides: MaxPool
T data_format ksize padding strides: AvgPool3D AvgPool MaxPool3D
T data_format padding: MaxPoolV2
T debug_ops_spec tensor_name: Copy CopyHost
T debug_urls device_name gated_grpc io_index io_of_node is_input tensor_name: DebugIdentityV3
T debug_urls device_name gated_grpc tensor_name: DebugIdentity DebugNanCount
T deterministic overlapping pooling_ratio pseudo_random seed seed2: FractionalAvgPool FractionalMaxPool
T dilations padding strides: Conv3DBackpropFilter Conv3DBackpropInput
T direction dropout input_mode is_training num_proj rnn_mode seed seed2 time_major: CudnnRNNV3
T direction dropout input_mode is_training rnn_mode seed seed2: CudnnRNN CudnnRNNV2
T direction dropout input_mode num_params rnn_mode seed seed2: CudnnRNNCanonicalToParams CudnnRNNParamsToCanonical
T direction dropout input_mode num_params_biases num_params_weights num_proj rnn_mode seed seed2:
  CudnnRNNCanonicalToParamsV2 CudnnRNNParamsToCanonicalV2
T direction dropout input_mode num_proj rnn_mode seed seed2 time_major: CudnnRNNBackpropV3
T direction dropout input_mode rnn_mode seed seed2: CudnnRNNBackprop CudnnRNNBackpropV2
T dst_format src_format: DataFormatDimMap DataFormatVecPermute
T dtype: HistogramFixedWidth
T dtype seed seed2: ParameterizedTruncatedNormal RandomStandardNormal RandomUniform TruncatedNormal
T enabled file_name func_name log_dir_path node_name: DumpTensor
T extrapolation_value method: CropAndResize
T fast: BatchMatrixSolveLs MatrixSolveLs
T fill precision scientific shortest width: AsString
T frame_name is_constant parallel_iterations: Enter RefEnter
T full_matrices: Qr
T given_y_max given_y_min min_separation output_range_given variance_epsilon: QuantizedInstanceNorm
T grad_a grad_b transpose_a transpose_b: MatMul
T incompatible_shape_error: Equal NotEqual
T index_type: Fill
T input_max input_min num_bits range_given signed_input: QuantizeAndDequantize
T k: InTopK
T k sorted: TopK
T keep_dims: SparseReduceMax SparseReduceMaxSparse SparseReduceSum SparseReduceSumSparse
T ksize padding strides: QuantizedAvgPool QuantizedMaxPool
T ksizes padding rates strides: ExtractImagePatches
T ksizes padding strides: ExtractVolumePatches
T layout: Relayout
T limit: CountUpTo ResourceCountUpTo
T mesh: CopyToMesh
T message: CheckNumerics CheckNumericsV2 PreventGradient
T method: CropAndResizeGradBoxes CropAndResizeGradImage
T mode padding resize_align_corners strides: FusedResizeAndPadConv2D
T mode padding strides: FusedPadConv2D
T normalize: EditDistance
T num_devices reduction: NcclReduce
T num_devices reduction shared_name: NcclAllReduce
T num_partitions: DynamicPartition
T num_split: SparseSplit Split
T out_idx: ListDiff Unique UniqueWithCounts
T out_type: LowerBound RequantizePerChannel SerializeManySparse SerializeSparse Shape Size UpperBound
T output_dtype: IsotonicRegression
T output_dtype seed seed2: Multinomial
T output_idx_type: Lu
T pad_to_max_output_size: NonMaxSuppressionV5
T padding rates strides: Dilation2D Dilation2DBackpropFilter Dilation2DBackpropInput
T partial_pivoting perturb_singular: TridiagonalSolve
T placeholder summarize template: StringFormat
T reverse: NthElement
T scale_after_normalization variance_epsilon: BatchNormWithGlobalNormalization
T seed seed2: RandomCrop RandomShuffle
T set_operation validate_indices: DenseToDenseSetOperation DenseToSparseSetOperation SparseToSparseSetOperation
T shape: EnsureShape NcclBroadcast
T squeeze_dims: Squeeze
T summarize: Assert
T swap_memory: StackPush StackPushV2
T tolerance: ApproximateEqual
T type: Bitcast
T unit: Substr
T use_locking: AssignAdd AssignSub
T use_locking validate_shape: Assign
T validate_indices: SetSize
T var_name: DestroyTemporaryVariable
T1 T2 Tactivation Toutput transpose_a transpose_b: QuantizedMatMul
T1 T2 Tbias Toutput input_quant_mode transpose_a transpose_b: QuantizedMatMulWithBias
  QuantizedMatMulWithBiasAndDequantize QuantizedMatMulWithBiasAndReluAndRequantize QuantizedMatMulWithBiasAndRequantize
T1 T2 Toutput: QuantizedAdd QuantizedMul
T1 T2 Toutput input_quant_mode transpose_a transpose_b: QuantizedMatMulWithBiasAndRelu
T1 T2 out_type: QuantizedBiasAdd
Ta Tb Tout adj_x adj_y grad_x grad_y: BatchMatMulV3
Ta Tb a_is_sparse b_is_sparse transpose_a transpose_b: SparseMatMul
Targuments Tcaptured f max_intra_op_parallelism output_shapes output_types: MapDefun
Taxis Tindices Tparams batch_dims: GatherV2
Tbias Tfilter Tinput Tsummand dilations out_type padding padding_list strides:
  QuantizedConv2DWithBiasSignedSumAndReluAndRequantize QuantizedConv2DWithBiasSumAndReluAndRequantize
Tbias Tfilter Tinput dilations out_type padding padding_list strides: QuantizedConv2DWithBiasAndReluAndRequantize
  QuantizedConv2DWithBiasAndRequantize QuantizedDepthwiseConv2DWithBiasAndReluAndRequantize
Tcaptured Tin Tout allowed_batch_sizes batch_padding_policy batch_timeout_micros batching_queue container
  enable_large_batch_splitting f low_priority_allowed_batch_sizes low_priority_batch_timeout_micros
  low_priority_max_batch_size low_priority_max_enqueued_batches max_batch_size max_enqueued_batches
  mixed_priority_policy num_batch_threads shared_name: BatchFunction
Tcomplex: FFT2D FFT3D FFT FFTND IFFT2D IFFT3D IFFT IFFTND
Tcomplex Treal: IRFFT2D IRFFT3D IRFFT IRFFTND RFFT2D RFFT3D RFFT RFFTND
Tcomponents metadata: CompositeTensorVariantFromComponents CompositeTensorVariantToComponents
Tcomponents timeout_ms: QueueEnqueue QueueEnqueueMany QueueEnqueueManyV2 QueueEnqueueV2
Tcond Tin Tout else_branch output_shapes then_branch: If StatelessIf
Tdense dense_keys dense_shapes num_sparse sparse_keys sparse_types: ParseSingleExample
Tdense dense_shapes num_sparse ragged_split_types ragged_value_types sparse_types: ParseExampleV2
Tfilter Tinput dilations out_type padding padding_list strides: QuantizedConv2DAndRelu
  QuantizedConv2DAndReluAndRequantize QuantizedConv2DAndRequantize QuantizedConv2DWithBias
  QuantizedConv2DWithBiasAndRelu QuantizedConv2DWithBiasSumAndRelu QuantizedDepthwiseConv2DWithBiasAndRelu
Tfilter Tinput dilations out_type padding strides: QuantizedConv2D QuantizedConv2DPerChannel QuantizedDepthwiseConv2D
  QuantizedDepthwiseConv2DWithBias
Tidx: Range UnravelIndex
Tidx keep_dims: All Any
Tin: LookupTableRemoveV2
Tin Tout: LookupTableFind LookupTableFindV2 LookupTableImport LookupTableImportV2 LookupTableInsert LookupTableInsertV2
  StochasticCastToInt
Tin Tout branches output_shapes: Case StatelessCase
Tin Tout config config_proto executor_type f: PartitionedCall StatefulPartitionedCall
Tin Tout f: RemoteCall SymbolicGradient
Tin Tout input_quantization_axis input_quantization_max_val input_quantization_min_val output_quantization_axis
  output_quantization_max_val output_quantization_min_val: UniformRequantize
Tin Tout is_async token: EagerPyFunc
Tin Tout quantization_axis quantization_max_val quantization_min_val: UniformDequantize UniformQuantize
Tin Tout token: PyFunc PyFuncStateless
Tin calibration_methods ids output_file_path: CalibrationStatisticsSaver
Tindices Tnumsegments separator: UnsortedSegmentJoin
Tindices Tparams bad_indices_policy: GatherNd
Tindices Tparams validate_indices: Gather
Tindices batch_dims dtype validate_indices: ResourceGather
Tindices dtype: ResourceGatherNd ResourceScatterAdd ResourceScatterDiv ResourceScatterMax ResourceScatterMin
  ResourceScatterMul ResourceScatterSub ResourceScatterUpdate
Tinput: RequantizationRange
Tinput out_type: QuantizeDownAndShrinkRange QuantizedRelu6 QuantizedRelu QuantizedReluX Requantize
Tinput out_type scale_after_normalization variance_epsilon: QuantizedBatchNormWithGlobalNormalization
Tinput_types descriptor_source field_names message_type: EncodeProto
Tinputs Toutputs mlir_module: MlirPassthroughOp
Tinputs output_shapes output_types: WindowOp
Tkey Tval: InitializeTable InitializeTableV2
Tkeys Tvalues: LookupTableExport LookupTableExportV2
Toutput_types: OptionalFromValue
Tseed: StatelessRandomGetKeyCounter StatelessRandomGetKeyCounterAlg
Tseed dtype rounds: RandomIndexShuffle
Tserialized dtype: DeserializeSparse
Tshape dtype: StatelessRandomNormalV2 StatelessRandomUniformFullIntV2 StatelessRandomUniformIntV2
  StatelessRandomUniformV2 StatelessTruncatedNormalV2
Tshape element_dtype: TensorListGetItem
Tsplits Tvalues: RaggedTensorToVariantGradient
Tsplits Tvalues input_ragged_rank output_ragged_rank: RaggedTensorFromVariant
Tsplits errors input_encoding replace_control_characters replacement_char: UnicodeDecode UnicodeDecodeWithOffsets
Tsplits errors output_encoding replacement_char: UnicodeEncode
Tsplits left_pad ngram_widths pad_width preserve_short_sequences right_pad separator: StringNGrams
a b: StringListAttr
acceptable_fraction channels dct_method fancy_upscaling ratio try_recover_truncated: DecodeAndCropJpeg DecodeJpeg
adjoint_a adjoint_b transpose_a transpose_b type: SparseMatrixSparseMatMul
allow_missing_files delete_old_dirs: MergeV2Checkpoints
allowed_devices container debug_name dtype shape shared_name: VarHandleOp
batch_size compression_type file_buffer_size file_parallelism file_pattern file_random_seed file_shuffle_shift_ratio:
  RecordInput
batch_size filename min_count subsample window_size: Skipgram
bool_list_val bool_val float_list_val float_val int_list_val int_val shape_list_val shape_val string_list_val string_val
  tensor_list_val tensor_val type_list_val type_val: DefaultAttrs
calibration_method id max_percentile min_percentile num_bins: CustomAggregator
cancel_pending_enqueues: QueueClose QueueCloseV2
capacity component_types container min_after_dequeue seed seed2 shapes shared_name: RandomShuffleQueue
  RandomShuffleQueueV2
capacity component_types container shapes shared_name: FIFOQueue FIFOQueueV2 PaddingFIFOQueue PaddingFIFOQueueV2
  PriorityQueue PriorityQueueV2
capacity container dtypes fake_dtypes memory_limit shared_name: MapStage OrderedMapStage
capacity container dtypes memory_limit shared_name: MapClear MapIncompleteSize MapPeek MapSize MapUnstage
  MapUnstageNoKey OrderedMapClear OrderedMapIncompleteSize OrderedMapPeek OrderedMapSize OrderedMapUnstage
  OrderedMapUnstageNoKey Stage StageClear StagePeek StageSize Unstage
centered noise normalized uniform_noise: ExtractGlimpse ExtractGlimpseV2
channels: DecodeBmp
channels dtype: DecodeJxl DecodePng DecodeWebP
channels dtype expand_animations: DecodeImage
chroma_downsampling density_unit format optimize_size progressive quality x_density xmp_metadata y_density: EncodeJpeg
clear_after_read dtype dynamic_size element_shape identical_element_shapes tensor_array_name: TensorArrayV3
clear_after_read dtype dynamic_size element_shape tensor_array_name: TensorArray TensorArrayV2
client_terminated recv_device send_device send_device_incarnation tensor_name tensor_type: Recv
clip_boxes pad_per_class: CombinedNonMaxSuppression
combiner sample_count: ConvertToCooTensor
component_types timeout_ms: QueueDequeue QueueDequeueMany QueueDequeueManyV2 QueueDequeueUpTo QueueDequeueUpToV2
  QueueDequeueV2
compression_type: DecodeCompressed
compression_type container shared_name: TFRecordReader TFRecordReaderV2
config: ComputeDedupDataSize ComputeDedupDataTupleMask
config embedding_partitions hbm_buffers_config tpu_topology: ComputeDedupDataSizeV2 ComputeDedupDataTupleMaskV2
config float_type integer_type tuple_mask: MergeDedupData SplitDedupData
conjugate type: SparseMatrixTranspose
container display_name max_intra_op_parallelism num_threads shared_name: ThreadPoolHandle
container dtype shape shared_name: Variable VariableV2
container dtype shared_name: TakeManySparseFromTensorsMap
container encoding footer_bytes header_bytes hop_bytes record_bytes shared_name: FixedLengthRecordReaderV2
container footer_bytes header_bytes hop_bytes record_bytes shared_name: FixedLengthRecordReader
container initial_num_buckets key_dtype max_load_factor shared_name use_node_name_sharing value_dtype value_shape:
  MutableDenseHashTable MutableDenseHashTableV2
container key_dtype shared_name use_node_name_sharing value_dtype: HashTable HashTableV2 MutableHashTable
  MutableHashTableV2
container key_dtype shared_name use_node_name_sharing value_dtype value_shape: MutableHashTableOfTensors
  MutableHashTableOfTensorsV2
container shared_name: IdentityReader IdentityReaderV2 LMDBReader MutexV2 StubResourceHandleOp WholeFileReader
  WholeFileReaderV2
container shared_name skip_header_lines: TextLineReader TextLineReaderV2
ctc_merge_repeated ignore_longer_outputs_than_inputs preprocess_collapse_repeated: CTCLossV2
dct_coefficient_count filterbank_channel_count lower_frequency_limit upper_frequency_limit: Mfcc
default_float: OpWithDefaultAttr
delimiter key_index offset value_index vocab_size: InitializeTableFromTextFile InitializeTableFromTextFileV2
descriptor_source field_names message_format message_type output_types sanitize: DecodeProtoV2
desired_channels desired_samples: DecodeWav
device_names: DeviceIndex
device_ordinal: InfeedEnqueuePrelinearizedBuffer
device_ordinal dtype layout shape: InfeedEnqueue
device_ordinal dtype shape: OutfeedDequeue
device_ordinal dtypes layouts shapes: InfeedEnqueueTuple
device_ordinal dtypes shapes: OutfeedDequeueTuple
distortion num_reserved_ids num_sampled num_shards num_true range_max seed seed2 shard unigrams unique vocab_file:
  FixedUnigramCandidateSampler
dt preferred_shard: Restore RestoreSlice
dtype: AssignAddVariableOp AssignSubVariableOp DeserializeManySparse GetSessionTensor IsVariableInitialized
  OutfeedEnqueue ReadVariableOp SobolSample TensorArrayRead TensorArrayReadV2 TensorArrayReadV3
dtype element_shape: TensorArrayGather TensorArrayGatherV2 TensorArrayGatherV3 TensorArrayPack
dtype element_shape_except0: TensorArrayConcat TensorArrayConcatV2 TensorArrayConcatV3
dtype fill_mode interpolation: ImageProjectiveTransformV2 ImageProjectiveTransformV3
dtype init: Empty
dtype layout shape: Prelinearize
dtype memory_region_name shape: ImmutableConst
dtype shape: FakeParam InfeedDequeue OutfeedDequeueV2 Placeholder PlaceholderV2 PlaceholderWithDefault
dtype shape var_name: TemporaryVariable
dtype shape_dtype: NonDeterministicInts StatefulStandardNormal StatefulStandardNormalV2 StatefulTruncatedNormal
  StatefulUniform StatefulUniformFullInt StatefulUniformInt StatelessRandomGammaV3
dtype validate_shape: AssignVariableOp
dtype value: Const HostConst
dtypes: OutfeedEnqueueTuple RestoreV2 SaveV2
dtypes layouts shapes: PrelinearizeTuple
dtypes shapes: InfeedDequeueTuple OutfeedDequeueTupleV2
elem_type: StackPop StackPopV2
elem_type stack_name: Stack StackV2
element_dtype: TensorListConcatLists TensorListGather TensorListPopBack TensorListPushBack TensorListPushBackBatch
  TensorListScatterIntoExistingList
element_dtype element_shape: TensorListConcat
element_dtype num_elements: TensorListStack
element_dtype resize_if_index_out_of_bounds: TensorListSetItem
element_dtype shape_type: EmptyTensorList TensorListConcatV2 TensorListFromTensor TensorListReserve TensorListScatter
  TensorListScatterV2 TensorListSplit
enable_log enable_pcan even_smoothing frame_stride gain_bits left_context lower_band_limit min_signal_remaining
  num_channels odd_smoothing out_scale out_type pcan_offset pcan_strength right_context sample_rate scale_shift
  smoothing_bits upper_band_limit window_size window_step zero_padding: AudioMicrofrontend
encoding: StringLower StringUpper
end output_stream: PrintV2
error_msg exit_without_error: Abort
errors input_encoding output_encoding replace_control_characters replacement_char: UnicodeTranscode
f: FuncAttr FuncListAttr
feature_width max_ids_per_chip_per_sample max_minibatches_per_sc mini_batch_in_csr num_replica num_sc_per_chip
  sample_count table_name table_vocab_size: GetMinibatchesInCsrWithPhysicalReplica
feature_width mini_batch_splits num_replica num_sc_per_chip sample_count table_name: StoreMinibatchStatisticsInFdo
feature_width mini_batch_splits num_replica num_sc_per_chip sample_count table_name table_vocab_size:
  GetMinibatchSplitsWithPhysicalReplica
foo: IntAttr
ignore_lookup_error: DestroyResourceOp
initial_num_buckets key_dtype max_load_factor value_dtype value_shape: AnonymousMutableDenseHashTable
input_types: CompressElement
iou_threshold: NonMaxSuppression
k: KthOrderStatistic TopKUnique TopKWithUnique
keep_dims separator: ReduceJoin
key num_buckets: StringToHashBucketStrong
key_dtype: TensorMapHasKey TensorMapStackKeys
key_dtype value_dtype: AnonymousHashTable AnonymousMutableHashTable TensorMapErase TensorMapInsert TensorMapLookup
key_dtype value_dtype value_shape: AnonymousMutableHashTableOfTensors
little_endian out_type: DecodePaddedRaw DecodeRaw
magnitude_squared stride window_size: AudioSpectrogram
max min narrow_range num_bits: FakeQuantWithMinMaxArgs FakeQuantWithMinMaxArgsGradient
max_rows_in_memory num_cols num_rows: LoadAndRemapMatrix
maxsplit: StringSplitV2
metadata: DistributedSave
n_a: MixedStruct SimpleStruct
n_a n_b t_c: ComplexStruct
narrow_range num_bits: FakeQuantWithMinMaxVars FakeQuantWithMinMaxVarsGradient FakeQuantWithMinMaxVarsPerChannel
  FakeQuantWithMinMaxVarsPerChannelGradient
new_vocab_offset num_new_vocab old_vocab_size: GenerateVocabRemapping
num_buckets: StringToHashBucket StringToHashBucketFast
num_negative_samples vocab_count: NegTrain
num_sampled num_true range_max seed seed2 unique: LearnedUnigramCandidateSampler LogUniformCandidateSampler
  ThreadUnsafeUnigramCandidateSampler UniformCandidateSampler
num_sampled num_true seed seed2 unique: AllCandidateSampler
num_true seed seed2: ComputeAccidentalHits
out_type: ParseTensor StringToNumber VariableShape
output_shapes output_types: GetElementAtIndex OptionalGetValue UncompressElement
output_type: ExtractJpegShape
pad: EncodeBase64
pattern: StaticRegexFullMatch
pattern replace_global rewrite: StaticRegexReplace
post_nms_topn: GenerateBoundingBoxProposals
range: ReservedAttr
replace_global: RegexReplace
shape_type: TensorListElementShape
skip_empty: StringSplit
source: TensorArrayGradWithShape
t: OutTypeListRestrict
task_count: UpdateTaskIdAndGlobalCoreArray
type: CSRSparseMatrixComponents CSRSparseMatrixToDense CSRSparseMatrixToSparseTensor SparseMatrixSoftmax
  SparseMatrixSparseCholesky SparseMatrixZeros
unit: StringLength
"""


def _table() -> dict[str, frozenset[str]]:
    found: dict[str, frozenset[str]] = {}
    for row in _ATTRS.replace("\n  ", " ").strip().splitlines():
        attrs, _, ops = row.partition(": ")
        found.update(dict.fromkeys(ops.split(), frozenset(attrs.split())))
    return found


ATTRS: Final = _table()
