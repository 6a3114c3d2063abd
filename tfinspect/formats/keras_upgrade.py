"""Configurations and weights of Keras 1, and of models that ran on Theano, brought up to date."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any, Final

from tfinspect.errors import UnsupportedFeatureError
from tfinspect.ir.tensors import Tensor

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import numpy.typing as npt

    from tfinspect.formats._keras_json import Json

    Array = npt.NDArray[Any]
    Weights = list[tuple[str, Tensor]]

_CLASSES: Final = {
    "Convolution1D": "Conv1D", "Convolution2D": "Conv2D", "Convolution3D": "Conv3D", "AtrousConvolution1D": "Conv1D",
    "AtrousConvolution2D": "Conv2D", "Deconvolution2D": "Conv2DTranspose", "SeparableConvolution2D": "SeparableConv2D",
    "TimeDistributedDense": "Dense", "Model": "Model",
}  # fmt: skip
_RENAMED: Final = {
    "output_dim": "units", "nb_filter": "filters", "border_mode": "padding", "subsample": "strides",
    "bias": "use_bias", "inner_activation": "recurrent_activation", "p": "rate", "sigma": "stddev", "atrous_rate":
    "dilation_rate", "depth_multiplier": "depth_multiplier", "length": "pool_size", "stride": "strides",
    "pool_length": "pool_size", "filter_length": "kernel_size", "subsample_length": "strides",
}  # fmt: skip
_TRAINING_ONLY: Final = frozenset(
    """
    init inner_init forget_bias_init beta_init gamma_init W_regularizer b_regularizer U_regularizer W_constraint
    b_constraint U_constraint depthwise_regularizer pointwise_regularizer depthwise_constraint pointwise_constraint
    gamma_regularizer beta_regularizer activity_regularizer weights consume_less dropout_W dropout_U dropout input_dtype
    sparse_input shared_weights
    """.split()  # noqa: SIM905
)
_ORDERS: Final = {"th": "channels_first", "tf": "channels_last"}
_MERGES: Final = {
    "sum": "Add", "mul": "Multiply", "ave": "Average", "max": "Maximum", "concat": "Concatenate", "dot": "Dot",
    "cos": "Dot",
}  # fmt: skip
_GATES: Final = {"LSTM": (0, 2, 1, 3), "GRU": (0, 1, 2)}
"""Where the gates of Keras 1 stand in Keras 2: i, c, f, o became i, f, c, o."""
_CONVOLUTIONS: Final = frozenset(
    {"Conv1D", "Conv2D", "Conv3D", "Conv2DTranspose", "Conv3DTranspose", "SeparableConv2D", "ConvLSTM2D"}
)
_WORDS: Final = {
    "W": "kernel", "b": "bias", "gamma": "gamma", "beta": "beta", "running_mean": "moving_mean",
    "running_std": "moving_variance",
}  # fmt: skip


def layer_of_keras_1(path: str, item: Json) -> None:
    """Bring one layer of Keras 1 up to date, in place.

    Raises:
        UnsupportedFeatureError: later versions of Keras have no such layer, or none that works in that way.
    """
    settings = item["config"]
    kind = str(item.get("class_name"))
    name = settings.get("name") or item.get("name") or kind
    item["class_name"] = _CLASSES.get(kind, kind)
    if kind == "Merge":
        _merge(path, str(name), item)
        settings = item["config"]
    if kind == "BatchNormalization" and settings.pop("mode", 0):
        raise UnsupportedFeatureError(
            f"{path}: the layer `{name}` normalises by the statistics of each batch, as no later Keras does",
            evidence={"path": path, "layer": name},
        )
    is_table = kind == "Embedding"
    old = dict(settings)
    settings.clear()
    if isinstance(old.get("input_dtype"), str):
        settings["dtype"] = old["input_dtype"]
    for key, value in old.items():
        if key in _TRAINING_ONLY or (key in {"input_dim", "input_length", "mask_zero"} and not is_table):
            continue
        if key == "dim_ordering":
            settings["data_format"] = _ORDERS.get(str(value), "channels_last")
        elif key in {"nb_row", "nb_col", "kernel_dim1", "kernel_dim2", "kernel_dim3", "output_shape"}:
            continue
        else:
            settings[key if is_table else _RENAMED.get(key, key)] = value
    kernel = [old[key] for key in ("nb_row", "nb_col") if key in old]
    kernel = kernel or [old[key] for key in ("kernel_dim1", "kernel_dim2", "kernel_dim3") if key in old]
    if kernel:
        settings["kernel_size"] = kernel
    if kind == "ZeroPadding2D" and isinstance(settings.get("padding"), dict):
        sides = settings["padding"]
        settings["padding"] = [
            [sides.get("top_pad", 0), sides.get("bottom_pad", 0)],
            [sides.get("left_pad", 0), sides.get("right_pad", 0)],
        ]
    if kind == "Reshape" and "target_shape" not in settings and "dims" in settings:
        settings["target_shape"] = settings.pop("dims")
    if kind == "RepeatVector" and "n" not in settings and "units" in settings:
        settings["n"] = settings.pop("units")
    if item["class_name"] == "Dense" and settings.get("data_format"):
        del settings["data_format"]


def _merge(path: str, name: str, item: Json) -> None:
    settings = item["config"]
    mode = settings.get("mode")
    if settings.get("layers") or mode not in _MERGES or settings.get("mode_type", "raw") != "raw":
        raise UnsupportedFeatureError(
            f"{path}: the layer `{name}` merges by code or merges whole models, as no later Keras does",
            evidence={"path": path, "layer": name},
        )
    item["class_name"] = _MERGES[mode]
    kept: Json = {"name": name}
    if mode == "concat":
        kept["axis"] = settings.get("concat_axis", -1)
    if mode in {"dot", "cos"}:
        kept["axes"] = settings.get("dot_axes", -1)
        kept["normalize"] = mode == "cos"
    item["config"] = kept


def weights_of_keras_1(kind: str, settings: Json, weights: Weights) -> Weights:
    """Return the weights of a layer of Keras 1 in the form and order of Keras 2.

    Args:
        kind: its class, as `layer_of_keras_1` left it.
        settings: likewise.
        weights: as stored.
    """
    gates = _GATES.get(kind)
    if gates is not None and len(weights) == 3 * len(gates):
        tensors = [tensor for _, tensor in weights]
        return [
            (word, _joined([tensors[3 * gate + number] for gate in gates]))
            for number, word in enumerate(("kernel", "recurrent_kernel", "bias"))
        ]
    if kind in _CONVOLUTIONS and weights:
        (word, kernel), *rest = weights
        return _named([(word, _kernel(kind, settings, kernel)), *rest])
    return _named(weights)


def _named(weights: Weights) -> Weights:
    found = []
    for name, tensor in weights:
        word = next((new for old, new in _WORDS.items() if name.endswith(f"_{old}") or name == old), name)
        found.append((word, tensor))
    return found


def _kernel(kind: str, settings: Json, kernel: Tensor) -> Tensor:
    """Return a kernel with its dimensions in the order of Keras 2: rows, columns, channels in, channels out."""
    first = settings.get("data_format") == "channels_first"
    rank = len(kernel.shape)
    order: tuple[int, ...] | None = None
    if kind == "Conv1D" and rank == 4:  # noqa: PLR2004 - a dimension of one beside the length
        is_old = kernel.shape[0] == settings.get("filters") and kernel.shape[1] != 1
        return _changed(kernel, lambda a: a.transpose(2, 3, 1, 0)[:, 0] if is_old else a[:, 0])
    if kind == "Conv2D" and first:
        order = (2, 3, 1, 0)
    elif kind == "Conv2DTranspose":
        order = (2, 3, 0, 1) if first else (0, 1, 3, 2)
    elif kind == "Conv3D" and first:
        order = (2, 3, 4, 1, 0)
    return kernel if order is None or rank != len(order) else _changed(kernel, lambda a: a.transpose(order))


def turned(kind: str, weights: Weights) -> Weights:
    """Return the weights of a layer that Theano ran: it convolves with the kernel turned round."""
    if kind not in _CONVOLUTIONS or not weights:
        return weights
    (word, kernel), *rest = weights
    axes = max(len(kernel.shape) - 2, 0)
    return [(word, _changed(kernel, lambda a: a[(slice(None, None, -1),) * axes])), *rest]


def _changed(tensor: Tensor, change: Callable[[Array], Array]) -> Tensor:
    """Return a tensor whose values are changed when they are asked for; the change is tried on an empty stand-in."""
    import numpy as np

    shape = change(np.broadcast_to(np.zeros((), np.int8), tensor.shape)).shape
    return Tensor(tensor.dtype, shape, functools.partial(_apply, tensor, change))


def _apply(tensor: Tensor, change: Callable[[Array], Array]) -> Array:
    import numpy as np

    return np.ascontiguousarray(change(tensor.numpy()))


def _joined(tensors: Sequence[Tensor]) -> Tensor:
    import numpy as np

    first = tensors[0]
    width = sum(tensor.shape[-1] if tensor.shape else 0 for tensor in tensors)
    return Tensor(
        first.dtype,
        (*first.shape[:-1], width),
        lambda: np.concatenate([tensor.numpy() for tensor in tensors], axis=-1),
    )
