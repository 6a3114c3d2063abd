"""What loading a Keras model with Keras would run, import or open, told from its configuration alone.

Code in it is measured and hashed, never decoded further; a module or class is named, never imported.
"""

from __future__ import annotations

import binascii
import hashlib
import re
from typing import Any, Final

from tfinspect.ir.risks import Risk

_SHOWN = 80
_MODULES: Final = re.compile(r"(?:keras|tf_keras|keras_core|tensorflow\.keras|tensorflow\.python\.keras)(?:\.[\w.]+)?")
_OPERATIONS: Final = re.compile(r"keras\.src\.ops\.\w+")
_PLAIN_MODULES: Final = frozenset({"numpy", "tensorflow", "ml_dtypes"})
_PLAIN_BUILTINS: Final = frozenset({"slice", "tuple", "set", "frozenset", "dict", "list", "complex", "ellipsis"})
_LOOKUPS: Final = frozenset({"StringLookup", "IntegerLookup", "TextVectorization", "HashedCrossing", "IndexLookup"})
_LAYER_KEYS: Final = frozenset({"layer", "backward_layer", "forward_layer", "cell", "cells"})
_CODE_KEYS: Final = ("function", "output_shape", "mask")
_NOT_CLASSES: Final = frozenset(
    {"__lambda__", "__keras_tensor__", "__tensor__", "__numpy__", "__bytes__", "__ellipsis__", "__typespec__"}
)
BUILTIN_LAYERS: Final = frozenset(
    """
    Activation ActivityRegularization AdaptiveAveragePooling1D AdaptiveAveragePooling2D AdaptiveAveragePooling3D
    AdaptiveMaxPooling1D AdaptiveMaxPooling2D AdaptiveMaxPooling3D Add AdditiveAttention AddLoss AddMetric AlphaDropout
    AtrousConvolution1D AtrousConvolution2D Attention AugMix AutoContrast AutoEncoder Average AveragePooling1D
    AveragePooling2D AveragePooling3D BatchNormalization BatchNormalizationV1 BatchNormalizationV2 Bidirectional
    CategoryEncoding CenterCrop Concatenate ConvLSTM1D ConvLSTM2D ConvLSTM2DCell ConvLSTM3D ConvRNN2D Conv1D
    Conv1DTranspose Conv2D Conv2DTranspose Conv3D Conv3DTranspose Convolution1D Convolution2D Convolution3D Cropping1D
    Cropping2D Cropping3D CuDNNGRU CuDNNLSTM CutMix Deconvolution2D Deconvolution3D Dense DenseFeatures DepthwiseConv1D
    DepthwiseConv2D Discretization Dot Dropout ELU EinsumDense Embedding Equalization Flatten FlaxLayer Functional GRU
    GRUCell GRUV2 GaussianDropout GaussianNoise GlobalAveragePooling1D GlobalAveragePooling2D GlobalAveragePooling3D
    GlobalMaxPooling1D GlobalMaxPooling2D GlobalMaxPooling3D Graph GroupNormalization GroupQueryAttention HashedCrossing
    Hashing Highway Identity InputLayer IntegerLookup InstanceMethod JaxLayer LSTM LSTMCell LSTMV2 Lambda Layer
    LayerNormalization LeakyReLU LocallyConnected1D LocallyConnected2D Masking MaxNumBoundingBoxes MaxPooling1D
    MaxPooling2D MaxPooling3D MaxoutDense Maximum MelSpectrogram Merge Minimum MixUp Model MultiHeadAttention Multiply
    Normalization PReLU ParametricSoftplus Permute Pipeline RMSNormalization RNN RandAugment RandomBrightness
    RandomColorDegeneration RandomColorJitter RandomContrast RandomCrop RandomElasticTransform RandomErasing RandomFlip
    RandomFourierFeatures RandomGaussianBlur RandomGrayscale RandomHeight RandomHue RandomInvert RandomPerspective
    RandomPosterization RandomRotation RandomSaturation RandomSharpness RandomShear RandomTranslation RandomWidth
    RandomZoom ReLU RepeatVector Rescaling Reshape Resizing ReversibleEmbedding SReLU STFTSpectrogram SeparableConv1D
    SeparableConv2D SeparableConvolution1D SeparableConvolution2D Sequential SimpleRNN SimpleRNNCell SlicingOpLambda
    Softmax Solarization SpatialDropout1D SpatialDropout2D SpatialDropout3D SpectralNormalization StackedRNNCells
    StringLookup Subtract SyncBatchNormalization SyncedBatchNormalization TFOpLambda TFSMLayer TensorFlowOpLayer
    TextVectorization ThresholdedReLU TimeDistributed TimeDistributedDense TorchModuleWrapper UnitNormalization
    UpSampling1D UpSampling2D UpSampling3D Wrapper ZeroPadding1D ZeroPadding2D ZeroPadding3D
    """.split()  # noqa: SIM905 - a quarter of the lines
)
"""Layers that some Keras of 2015 and later brings itself."""


def of_layer(where: str, layer: dict[str, Any]) -> list[Risk]:
    """Return what a layer or model, as its JSON has it, would make Keras run, import or open.

    Args:
        where: its name.
        layer: `class_name`, `config` and what else there is; layers it holds left out.
    """
    found: dict[Risk, None] = {}
    waiting: list[tuple[object, bool]] = [(layer, True)]
    while waiting:
        item, is_layer = waiting.pop()
        if isinstance(item, list):
            waiting.extend((inner, is_layer) for inner in reversed(item))
        elif isinstance(item, dict):
            waiting.extend((inner, key in _LAYER_KEYS) for key, inner in reversed(list(item.items())))
            if isinstance(item.get("class_name"), str):
                found.update(dict.fromkeys(_of_object(where, item, is_layer=is_layer)))
    return list(found)


def _of_object(where: str, item: dict[str, Any], *, is_layer: bool) -> list[Risk]:
    kind, inner = item["class_name"], item.get("config")
    settings: dict[str, Any] = inner if isinstance(inner, dict) else {}
    if kind == "__lambda__":
        return _code(where, settings.get("code"), None, is_main=True)
    if kind in _NOT_CLASSES:
        return []
    found = _of_class(where, item, kind, is_layer=is_layer)
    if found:
        return found
    if kind == "Lambda":
        for key in _CODE_KEYS:
            found += _code(where, settings.get(key), settings.get(f"{key}_type"), is_main=key == "function")
    elif kind == "TFSMLayer":
        what = f"loads the SavedModel at `{_short(settings.get('filepath'))}` and runs it"
        found.append(Risk("file-read", where, what))
    elif kind == "TorchModuleWrapper":
        found.append(Risk("serialized-object", where, "holds a pickled PyTorch module, which loading it would run"))
    elif kind in _LOOKUPS and isinstance(settings.get("vocabulary"), str):
        found.append(Risk("file-read", where, f"reads its vocabulary from the file `{_short(settings['vocabulary'])}`"))
    return found


def _of_class(where: str, item: dict[str, Any], kind: str, *, is_layer: bool) -> list[Risk]:
    """Return the risk of a class or function that is not Keras's own."""
    module, registered = item.get("module"), item.get("registered_name")
    if isinstance(module, str) and not _MODULES.fullmatch(module) and module not in _PLAIN_MODULES:
        if module == "builtins" and kind in _PLAIN_BUILTINS:
            return []
        name = item.get("config") if kind == "function" else kind
        if module == "builtins" and kind == "function":
            return [Risk("custom-code", where, f"calls the function `{_short(name)}`: its code is needed")]
        return [Risk("python-code", where, f"names `{_short(name)}` of the Python module `{_short(module)}`")]
    custom = ""
    if isinstance(registered, str) and registered and not _is_keras(registered, kind, module):
        custom = registered
    elif isinstance(module, str) and _OPERATIONS.fullmatch(module) and registered == kind:
        return []  # an operation of Keras 3 between layers
    elif ">" in kind or (kind not in BUILTIN_LAYERS and (is_layer or (module is None and "module" in item))):
        custom = kind
    if not custom:
        return []
    what = f"is of the class `{_short(custom)}`, which is not Keras's own: its code is needed"
    return [Risk("custom-code", where, what)]


def _is_keras(registered: str, kind: str, module: object) -> bool:
    """Whether a registered name is one that Keras gives its own classes."""
    package, mark, _ = registered.rpartition(">")
    if mark:
        return package in {"keras", "Keras", "keras.src"}
    return isinstance(module, str) and bool(_MODULES.fullmatch(module)) and registered == kind


def _code(where: str, value: object, word: object, *, is_main: bool) -> list[Risk]:
    """Return the risk of a function as Keras stores it: marshalled code, or the name of one."""
    if isinstance(value, dict):  # Keras 3 wraps it; what is inside is met as an object of its own
        return []
    text = value[0] if isinstance(value, list) and value else value
    if not isinstance(text, str) or not text or (not is_main and word not in {"lambda", "function"}):
        return []
    code = _bytes(text) if isinstance(value, list) or word is None else None
    if code is None or (word == "function" and not isinstance(value, list)):
        return [Risk("python-code", where, f"calls the Python function `{_short(text)}`")]
    digest = hashlib.sha256(code).hexdigest()
    return [Risk("bytecode", where, f"holds {len(code):,} bytes of marshalled Python code, sha256 {digest}")]


def _bytes(text: str) -> bytes | None:
    """Return the bytes of marshalled code: base64, or text of one character a byte as Keras wrote until 2017."""
    try:
        found = binascii.a2b_base64("".join(text.split()).encode("ascii"), strict_mode=True)
    except (ValueError, UnicodeEncodeError):
        found = text.encode("raw_unicode_escape")
    return found if found[:1] in (b"c", b"\xe3") else None  # a code object, plain or flagged for reference


def _short(value: object) -> str:
    text = value if isinstance(value, str) else "?"
    return text if len(text) <= _SHOWN else text[:_SHOWN] + "..."
