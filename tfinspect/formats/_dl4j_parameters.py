"""Which parameters a Deeplearning4j layer has, in the order they stand in the one row that holds them all.

Matrices are stored column by column ("F"), kernels row by row ("C"); a convolution's bias stands before its kernel.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    _Body = Mapping[str, Any]

_MAX_NUMBER = 1 << 40
_MAX_AXES = 4
_PEEPHOLES = 3  # columns that GravesLSTM puts after its recurrent weights


@dataclass(frozen=True, slots=True)
class Parameter:
    """One array of a layer.

    Attributes:
        name: as Deeplearning4j calls it: `W`, `b`, `RW`, `gamma`.
        shape: dimensions.
        order: how its elements are stored, "C" row by row or "F" column by column.
    """

    name: str
    shape: tuple[int, ...]
    order: Literal["C", "F"] = "C"


class SizeUnknownError(ValueError):
    """A layer does not say how large it is; the words say what is missing."""


def _count(body: _Body, *keys: str) -> int:
    for key in keys:
        value = body.get(key)
        if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < _MAX_NUMBER:
            return value
        if value is not None:
            raise SizeUnknownError(f"`{key}` is {value!r:.40}, a number was expected")
    raise SizeUnknownError(f"`{keys[0]}` is not given")


def _counts(body: _Body, key: str) -> tuple[int, ...]:
    values = body.get(key)
    numbers = values if isinstance(values, list) and len(values) <= _MAX_AXES else []
    if numbers and all(type(value) is int and 0 <= value < _MAX_NUMBER for value in numbers):
        return tuple(numbers)
    raise SizeUnknownError(f"`{key}` is {values!r:.40}, a list of numbers was expected")


def _n_in(body: _Body) -> int:
    return _count(body, "nin", "nIn")


def _n_out(body: _Body) -> int:
    return _count(body, "nout", "nOut")


def _bias(body: _Body) -> list[Parameter]:
    return [] if body.get("hasBias") is False else [Parameter("b", (_n_out(body),))]


def _matrix(name: str, rows: int, columns: int) -> Parameter:
    return Parameter(name, (rows, columns), "F")


def _dense(body: _Body) -> list[Parameter]:
    gain = [Parameter("g", (_n_out(body),))] if body.get("hasLayerNorm") is True else []
    return [_matrix("W", _n_in(body), _n_out(body)), *_bias(body), *gain]


def _center_loss(body: _Body) -> list[Parameter]:
    n_in, n_out = _n_in(body), _n_out(body)
    return [_matrix("W", n_in, n_out), Parameter("b", (n_out,)), Parameter("cL", (n_out, n_in))]


def _pretrained(body: _Body) -> list[Parameter]:
    n_in, n_out = _n_in(body), _n_out(body)
    return [_matrix("W", n_in, n_out), Parameter("b", (n_out,)), Parameter("vb", (n_in,))]


def _element_wise(body: _Body) -> list[Parameter]:
    n_in = _n_in(body)
    return [Parameter("W", (1, n_in)), Parameter("b", (n_in,))]


def _convolution(body: _Body) -> list[Parameter]:
    return [*_bias(body), Parameter("W", (_n_out(body), _n_in(body), *_counts(body, "kernelSize")))]


def _convolution_1d(body: _Body) -> list[Parameter]:
    kernel = _counts(body, "kernelSize")
    return [*_bias(body), Parameter("W", (_n_out(body), _n_in(body), kernel[0], 1))]


def _deconvolution(body: _Body) -> list[Parameter]:
    return [*_bias(body), Parameter("W", (_n_in(body), _n_out(body), *_counts(body, "kernelSize")))]


def _depthwise(body: _Body) -> list[Parameter]:
    times = _count(body, "depthMultiplier")
    return [*_bias(body), Parameter("W", (*_counts(body, "kernelSize"), _n_in(body), times))]


def _separable(body: _Body) -> list[Parameter]:
    n_in, n_out, times = _n_in(body), _n_out(body), _count(body, "depthMultiplier")
    depthwise = Parameter("W", (times, n_in, *_counts(body, "kernelSize")))
    return [*_bias(body), depthwise, Parameter("pW", (n_out, n_in * times, 1, 1))]


def _batch_norm(body: _Body) -> list[Parameter]:
    names = [] if body.get("lockGammaBeta") is True else ["gamma", "beta"]
    spread = "log10stdev" if body.get("useLogStd") is True else "var"
    return [Parameter(name, (_n_out(body),)) for name in (*names, "mean", spread)]


def _gates(body: _Body, gates: int, *, peepholes: int = 0, suffix: str = "") -> list[Parameter]:
    n_in, n_out = _n_in(body), _n_out(body)
    return [
        _matrix(f"W{suffix}", n_in, gates * n_out),
        _matrix(f"RW{suffix}", n_out, gates * n_out + peepholes),
        Parameter(f"b{suffix}", (gates * n_out,)),
    ]


def _simple_rnn(body: _Body) -> list[Parameter]:
    gain = [Parameter("g", (2 * _n_out(body),))] if body.get("hasLayerNorm") is True else []
    return [*_gates(body, 1), *gain]


def _both_ways(body: _Body) -> list[Parameter]:
    return [one for way in "FB" for one in _gates(body, 4, peepholes=_PEEPHOLES, suffix=way)]


def _prelu(body: _Body) -> list[Parameter]:
    shape = list(_counts(body, "inputShape"))
    for axis in body.get("sharedAxes") or ():
        if type(axis) is not int or not 1 <= axis <= len(shape):
            raise SizeUnknownError(f"`sharedAxes` has {axis!r:.40}")
        shape[axis - 1] = 1
    return [Parameter("W", tuple(shape), "F")]


_WITH: Final[dict[str, Callable[[_Body], list[Parameter]]]] = {
    "DenseLayer": _dense,
    "OutputLayer": _dense,
    "RnnOutputLayer": _dense,
    "EmbeddingLayer": _dense,
    "EmbeddingSequenceLayer": _dense,
    "CenterLossOutputLayer": _center_loss,
    "AutoEncoder": _pretrained,
    "RBM": _pretrained,
    "ElementWiseMultiplicationLayer": _element_wise,
    "ConvolutionLayer": _convolution,
    "Convolution2D": _convolution,
    "Convolution3D": _convolution,
    "Convolution1DLayer": _convolution_1d,
    "Convolution1D": _convolution_1d,
    "Deconvolution2D": _deconvolution,
    "DepthwiseConvolution2D": _depthwise,
    "SeparableConvolution2D": _separable,
    "BatchNormalization": _batch_norm,
    "LSTM": lambda body: _gates(body, 4),
    "GravesLSTM": lambda body: _gates(body, 4, peepholes=_PEEPHOLES),
    "GravesBidirectionalLSTM": _both_ways,
    "GRU": lambda body: _gates(body, 3),
    "SimpleRnn": _simple_rnn,
    "PReLULayer": _prelu,
}
WITHOUT: Final = frozenset(
    {
        "ActivationLayer", "Cnn3DLossLayer", "CnnLossLayer", "Cropping1D", "Cropping2D", "Cropping3D", "DropoutLayer",
        "GlobalPoolingLayer", "LocalResponseNormalization", "LossLayer", "MaskLayer", "RepeatVector", "RnnLossLayer",
        "SpaceToBatchLayer", "SpaceToDepthLayer", "Subsampling1DLayer", "Subsampling3DLayer", "SubsamplingLayer",
        "Upsampling1D", "Upsampling2D", "Upsampling3D", "Yolo2OutputLayer", "ZeroPadding1DLayer", "ZeroPadding3DLayer",
        "ZeroPaddingLayer",
    }
)  # fmt: skip
"""Layers that have no parameters."""


def parameters(kind: str, body: _Body) -> list[Parameter] | None:
    """Return the parameters of a layer in the order they are stored; None where the layer is not known here.

    Raises:
        SizeUnknownError: the layer does not say how large they are.
    """
    if kind in WITHOUT:
        return []
    return _WITH[kind](body) if kind in _WITH else None


def has_bias_switch(kind: str) -> bool:
    """Whether layers of this kind have a bias unless they say otherwise."""
    return _WITH.get(kind) in {_dense, _convolution, _convolution_1d, _deconvolution, _depthwise, _separable}
