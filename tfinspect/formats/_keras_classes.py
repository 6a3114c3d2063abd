"""What may be built of a Keras configuration: layers whose code is Keras's own, and what stands in their settings."""

from __future__ import annotations

from typing import Final

MODELS: Final = frozenset({"Sequential", "Functional", "Model"})
LAYERS: Final = frozenset(
    """
    Activation ActivityRegularization Add AdditiveAttention AlphaDropout Attention Average AveragePooling1D
    AveragePooling2D AveragePooling3D BatchNormalization Bidirectional CategoryEncoding CenterCrop Concatenate
    ConvLSTM1D ConvLSTM2D ConvLSTM3D Conv1D Conv1DTranspose Conv2D Conv2DTranspose Conv3D Conv3DTranspose Cropping1D
    Cropping2D Cropping3D Dense DepthwiseConv1D DepthwiseConv2D Discretization Dot Dropout ELU EinsumDense Embedding
    Flatten GRU GRUCell GaussianDropout GaussianNoise GlobalAveragePooling1D GlobalAveragePooling2D
    GlobalAveragePooling3D GlobalMaxPooling1D GlobalMaxPooling2D GlobalMaxPooling3D GroupNormalization
    GroupQueryAttention Identity InputLayer LSTM LSTMCell LayerNormalization LeakyReLU LocallyConnected1D
    LocallyConnected2D Masking MaxPooling1D MaxPooling2D MaxPooling3D Maximum Minimum MultiHeadAttention Multiply
    Normalization PReLU Permute RMSNormalization RNN RandomBrightness RandomContrast RandomCrop RandomFlip RandomHeight
    RandomRotation RandomTranslation RandomWidth RandomZoom ReLU RepeatVector Rescaling Reshape Resizing SeparableConv1D
    SeparableConv2D SimpleRNN SimpleRNNCell Softmax SpatialDropout1D SpatialDropout2D SpatialDropout3D
    SpectralNormalization StackedRNNCells Subtract SyncBatchNormalization ThresholdedReLU TimeDistributed
    UnitNormalization UpSampling1D UpSampling2D UpSampling3D ZeroPadding1D ZeroPadding2D ZeroPadding3D
    """.split()  # noqa: SIM905 - a quarter of the lines
)
OPERATIONS: Final = {
    "keras.src.ops.numpy": frozenset(
        """
        Abs Absolute Add Amax Amin Average Clip Concatenate Divide Exp ExpandDims Log Max Maximum Mean Min Minimum
        Multiply Negative Pad Power Prod Reshape Sqrt Square Squeeze Stack Subtract Sum Tanh Transpose TrueDivide
        """.split()  # noqa: SIM905
    ),
    "keras.src.ops.nn": frozenset(
        "Elu Gelu HardSigmoid HardSilu HardSwish LeakyRelu LogSoftmax Relu Relu6 Sigmoid Silu Softmax Softplus".split()  # noqa: SIM905
    ),
}
"""Operations of Keras 3 that a model may call between its layers, by module."""
TENSORFLOW_FUNCTIONS: Final = frozenset(
    """
    __operators__.add __operators__.getitem cast clip_by_value compat.v1.transpose concat expand_dims image.resize
    math.abs math.add math.divide math.divide_no_nan math.exp math.l2_normalize math.log math.maximum math.minimum
    math.multiply math.negative math.pow math.reduce_max math.reduce_mean math.reduce_min math.reduce_sum math.rsqrt
    math.sigmoid math.sqrt math.square math.subtract math.tanh math.truediv nn.bias_add nn.relu nn.relu6 nn.sigmoid
    nn.silu nn.softmax reshape squeeze stack transpose
    """.split()  # noqa: SIM905
)
"""TensorFlow functions that a model of Keras 2 may call between its layers, as Keras writes their names."""
CALLS: Final = frozenset({"TFOpLambda", "SlicingOpLambda"})
PLAIN: Final = frozenset({"__keras_tensor__", "__ellipsis__"})
ACTIVATIONS: Final = frozenset(
    """
    celu elu exponential gelu glu hard_shrink hard_sigmoid hard_silu hard_swish hard_tanh leaky_relu linear log_sigmoid
    log_softmax mish relu relu6 selu sigmoid silu soft_shrink softmax softplus softsign sparse_plus sparse_sigmoid
    sparsemax squareplus swish tanh tanh_shrink threshold
    """.split()  # noqa: SIM905
)
