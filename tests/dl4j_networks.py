"""Deeplearning4j networks for tests: written from a list of layers, and computed with NumPy as Deeplearning4j does.

The computation is channels first and in float64, and shares nothing with the conversion but the reader of the file.
"""

from __future__ import annotations

import json
import math
import runpy
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from tests.cli_calls import FIXTURES
from tfinspect.formats import dl4j
from tfinspect.formats._dl4j_network import read_network

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    import numpy.typing as npt

    from tfinspect.ir.layers import Layer
    from tfinspect.ir.model import Model

    Array = npt.NDArray[Any]

MAKE = runpy.run_path(str(FIXTURES / "make_dl4j.py"))
_PACKAGE = "org.deeplearning4j.nn.conf."
ACTIVATIONS = {
    "cube": "Cube", "elu": "ELU", "hardsigmoid": "HardSigmoid", "hardtanh": "HardTanH", "identity": "Identity",
    "leakyrelu": "LReLU", "rationaltanh": "RationalTanh", "rectifiedtanh": "RectifiedTanh", "relu": "ReLU",
    "relu6": "ReLU6", "rrelu": "RReLU", "selu": "SELU", "sigmoid": "Sigmoid", "softmax": "Softmax",
    "softplus": "SoftPlus", "softsign": "SoftSign", "swish": "Swish", "tanh": "TanH",
    "thresholdedrelu": "ThresholdedReLU",
}  # fmt: skip


def activation(name: str, **fields: Any) -> dict[str, Any]:
    return {"@class": f"org.nd4j.linalg.activations.impl.Activation{ACTIVATIONS.get(name, name)}", **fields}


def layer(kind: str, nin: int = 0, nout: int = 0, act: str | dict[str, Any] | None = None, **fields: Any) -> Any:
    """A layer, as `confs` and `layerConf` hold it."""
    body: dict[str, Any] = {"@class": f"{_PACKAGE}layers.{kind}", **fields}
    if nout:
        body |= {"nin": nin, "nout": nout}
    if act is not None:
        body["activationFn"] = activation(act) if isinstance(act, str) else act
    return {"layer": body}


def conv(
    nin: int, nout: int, act: str = "relu", k: int = 3, s: int = 1, p: int = 0, mode: str = "Truncate", **f: Any
) -> Any:
    f = {"kernelSize": [k, k], "stride": [s, s], "padding": [p, p], "convolutionMode": mode, **f}
    return layer("ConvolutionLayer", nin, nout, act, **f)


def pool(kind: str = "MAX", k: int = 2, s: int = 2, p: int = 0, mode: str = "Truncate", **f: Any) -> Any:
    return layer("SubsamplingLayer", poolingType=kind, kernelSize=[k, k], stride=[s, s], padding=[p, p],
                 convolutionMode=mode, **f)  # fmt: skip


def dense(nin: int, nout: int, act: str = "relu", kind: str = "DenseLayer", **f: Any) -> Any:
    return layer(kind, nin, nout, act, **f)


def to_rows(h: int, w: int, c: int, kind: str = "CnnToFeedForwardPreProcessor", **f: Any) -> dict[str, Any]:
    return {"@class": f"{_PACKAGE}preprocessor.{kind}", "inputHeight": h, "inputWidth": w, "numChannels": c, **f}


def to_images(h: int, w: int, c: int) -> dict[str, Any]:
    return to_rows(h, w, c, "FeedForwardToCnnPreProcessor")


def chain(*layers: Any, before: Mapping[int, Any] | None = None) -> dict[str, Any]:
    """A MultiLayerNetwork."""
    return {"confs": list(layers), "inputPreProcessors": {str(i): p for i, p in (before or {}).items()}}


def vertex(kind: str, **fields: Any) -> dict[str, Any]:
    return {"@class": f"{_PACKAGE}graph.{kind}", **fields}


def graph(
    inputs: list[str],
    outputs: list[str],
    vertices: Mapping[str, tuple[Any, list[str]]],
    before: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """A ComputationGraph."""
    bodies = {}
    for name, (body, _) in vertices.items():
        bodies[name] = body if "@class" in body else vertex("LayerVertex", layerConf=body)
        if before and name in before:
            bodies[name]["preProcessor"] = before[name]
    return {"networkInputs": inputs, "networkOutputs": outputs, "vertices": bodies,
            "vertexInputs": {name: sources for name, (_, sources) in vertices.items()}}  # fmt: skip


def write(
    path: Path,
    config: Any,
    seed: int = 0,
    dtype: str = "f4",
    allocation: str = "MIXED_DATA_TYPES",
    weights_of: Any = None,
) -> Path:
    """Write a network with random weights, those of another configuration if so wanted; variances are positive."""
    units = read_network(config if weights_of is None else weights_of, "").units
    random = np.random.default_rng(seed)
    row: list[Array] = []
    for unit in units:
        for one in unit.parameters or ():
            count = math.prod(one.shape)
            wide = math.prod(one.shape[1:]) if len(one.shape) > 2 else one.shape[0]
            value = random.normal(size=count) * (1.5 / math.sqrt(max(wide, 1)) if len(one.shape) > 1 else 0.3)
            row.append(np.abs(value) + 0.5 if one.name in {"var", "gamma"} else value)
    values = np.concatenate([*row, np.zeros(0)]).astype(dtype)[None, :]
    path.write_bytes(MAKE["archive"]({
        "configuration.json": json.dumps(config).encode(), "coefficients.bin": MAKE["nd4j"](values, allocation),
    }))  # fmt: skip
    return path


def network(folder: Path, config: Any, **given: Any) -> Model:
    return dl4j.read(write(folder / "net.zip", config, **given))


# ------------------------------------------------------------------------------------------------ computed with NumPy


def softmax(x: Array) -> Array:
    e = np.exp(x - x.max(1, keepdims=True))
    return e / e.sum(1, keepdims=True)


def activated(x: Array, s: Mapping[str, Any]) -> Array:
    alpha = s.get("activation.alpha")
    y = 2 * x / 3
    values: dict[str, Any] = {
        "cube": lambda: x**3,
        "elu": lambda: np.where(x > 0, x, np.expm1(x)),
        "hardsigmoid": lambda: np.clip(0.2 * x + 0.5, 0, 1),
        "hardtanh": lambda: np.clip(x, -1, 1),
        "identity": lambda: x,
        "leakyrelu": lambda: np.where(x > 0, x, (0.01 if alpha is None else alpha) * x),
        "rationaltanh": lambda: 1.7159 * np.sign(y) * (1 - 1 / (1 + abs(y) + y**2 + 1.41645 * y**4)),
        "rectifiedtanh": lambda: np.maximum(np.tanh(x), 0),
        "relu": lambda: np.clip(x, 0, s.get("activation.max", np.inf)),
        "relu6": lambda: np.clip(x, 0, 6),
        "rrelu": lambda: np.where(x > 0, x, x * (s.get("activation.l", 1 / 8) + s.get("activation.u", 1 / 3)) / 2),
        "selu": lambda: 1.0507009873554805 * np.where(x > 0, x, 1.6732632423543772 * np.expm1(x)),
        "sigmoid": lambda: 1 / (1 + np.exp(-x)),
        "softmax": lambda: softmax(x),
        "softplus": lambda: np.log1p(np.exp(x)),
        "softsign": lambda: x / (1 + abs(x)),
        "swish": lambda: x / (1 + np.exp(-x)),
        "tanh": lambda: np.tanh(x),
        "thresholdedrelu": lambda: np.where(x > s.get("activation.theta", 1.0), x, 0),
    }
    return np.asarray(values[s["activation"]]())


def _windows(x: Array, s: Mapping[str, Any], kernel: Any, filler: float = 0.0) -> tuple[Array, Array]:
    """Windows of the padded image, and of ones where it is none of the padding."""
    stride, dilation = s["stride"], s.get("dilation", [1, 1])
    spans = [(k - 1) * d + 1 for k, d in zip(kernel, dilation, strict=True)]
    sides = []
    for size, span, step, given in zip(x.shape[2:], spans, stride, s["padding"], strict=True):
        if s["convolutionMode"] == "Same":
            need = max((-(-size // step) - 1) * step + span - size, 0)
            sides.append((need // 2, need - need // 2))
        else:
            sides.append((given, given))
    around = [(0, 0), (0, 0), *sides]

    def view(padded: Array) -> Array:
        found = sliding_window_view(padded, spans, axis=(2, 3))
        return found[:, :, :: stride[0], :: stride[1], :: dilation[0], :: dilation[1]]

    return view(np.pad(x, around, constant_values=filler)), view(np.pad(np.ones_like(x), around))


def _one(one: Layer, x: Array, w: dict[str, Array]) -> Array:  # noqa: C901, PLR0912, PLR0915 - a layer a case
    s: Any = one.settings
    kind = s["layer"] if one.kind == "FrozenLayer" else one.kind
    match kind:
        case "ConvolutionLayer":
            x = np.einsum("nchwkl,ockl->nohw", _windows(x, s, w["W"].shape[2:])[0], w["W"])
        case "SeparableConvolution2D":
            x = np.einsum("nchwkl,mckl->ncmhw", _windows(x, s, w["W"].shape[2:])[0], w["W"])
            x = np.einsum("nchw,oc->nohw", x.reshape(len(x), -1, *x.shape[3:]), w["pW"][..., 0, 0])
        case "DepthwiseConvolution2D":
            x = np.einsum("nchwkl,klcm->ncmhw", _windows(x, s, w["W"].shape[:2])[0], w["W"])
            x = x.reshape(len(x), -1, *x.shape[3:])
        case "SubsamplingLayer":
            if s["poolingType"] == "MAX":
                x = _windows(x, s, s["kernelSize"], -np.inf)[0].max((-1, -2))
            else:
                found, inside = _windows(x, s, s["kernelSize"])
                total = found.sum((-1, -2))
                counted = s.get("avgPoolIncludePadInDivisor", True)
                share = math.prod(s["kernelSize"]) if counted else inside.sum((-1, -2))
                x = total if s["poolingType"] == "SUM" else total / share
        case "Upsampling2D":
            x = x.repeat(s["size"][0], 2).repeat(s["size"][1], 3)
        case "ZeroPaddingLayer":
            top, bottom, left, right = s["padding"]
            x = np.pad(x, [(0, 0), (0, 0), (top, bottom), (left, right)])
        case "Cropping2D":
            top, bottom, left, right = s["cropping"]
            x = x[:, :, top : x.shape[2] - bottom, left : x.shape[3] - right]
        case "GlobalPoolingLayer":
            reduce = {"MAX": np.max, "AVG": np.mean, "SUM": np.sum}[s["poolingType"]]
            x = np.asarray(reduce(x, axis=(2, 3), keepdims=not s.get("collapseDimensions", True)))
        case "LocalResponseNormalization":
            half = int(s["n"]) // 2
            square = np.pad(x**2, [(0, 0), (half, half), (0, 0), (0, 0)])
            total = sliding_window_view(square, 2 * half + 1, axis=1).sum(-1)
            x = x * (s["k"] + s["alpha"] * total) ** -s["beta"]
        case "BatchNormalization":
            var = w["var"] if "var" in w else 10 ** (2 * w["log10stdev"])
            var = var + (s["eps"] if "useLogStd" in s else 0)
            axes = (slice(None), *[None] * (x.ndim - 2))
            gamma, beta = (
                w.get("gamma", np.full(len(var), s.get("gamma"))),
                w.get("beta", np.full(len(var), s.get("beta"))),
            )
            x = (x - w["mean"][axes]) / np.sqrt(var)[axes] * gamma[axes] + beta[axes]
        case "EmbeddingLayer":
            x = w["W"][x[:, 0].astype(int)]
        case "ElementWiseMultiplicationLayer":
            x = x * w["W"]
        case "PReLULayer":
            x = np.where(x > 0, x, x * w["W"])
        case "DenseLayer" | "OutputLayer" | "CenterLossOutputLayer" | "AutoEncoder":
            x = x.reshape(len(x), -1) @ w["W"]
        case other:
            assert other in {"ActivationLayer", "DropoutLayer", "LossLayer", "CnnLossLayer"}
    if "b" in w:
        x = x + w["b"][:, None, None] if x.ndim == 4 else x + w["b"]
    return activated(x, s) if "activation" in s else x


def _preprocessed(x: Array, s: Mapping[str, Any], key: str = "preprocessor") -> Array:
    h, w, c = (s.get(f"{key}.{name}") for name in ("inputHeight", "inputWidth", "numChannels"))
    match s.get(key):
        case "CnnToFeedForwardPreProcessor":
            x = x.transpose(0, 2, 3, 1) if s.get(f"{key}.format") == "NHWC" else x
            return x.reshape(len(x), -1)
        case "TensorFlowCnnToFeedForwardPreProcessor":
            return x.transpose(0, 2, 3, 1).reshape(len(x), -1)
        case "FeedForwardToCnnPreProcessor":
            return x.reshape(len(x), c, h, w)
    return x


def _vertex(one: Layer, xs: list[Array]) -> Array:
    s: Any = one.settings
    x = xs[0]
    match one.kind:
        case "MergeVertex":
            return np.concatenate(xs, 1)
        case "ElementWiseVertex":
            joined: dict[str, Any] = {
                "Add": lambda: sum(xs), "Average": lambda: sum(xs) / len(xs), "Subtract": lambda: xs[0] - xs[1],
                "Product": lambda: math.prod(xs), "Max": lambda: np.maximum.reduce(xs),
            }  # fmt: skip
            return np.asarray(joined[s["op"]]())
        case "SubsetVertex":
            return x[:, s["from"] : s["to"] + 1]
        case "ScaleVertex":
            return np.asarray(x * s["scaleFactor"])
        case "ShiftVertex":
            return np.asarray(x + s["shiftFactor"])
        case "L2NormalizeVertex":
            norm = np.sqrt((x**2).sum(tuple(range(1, x.ndim)), keepdims=True))
            return np.asarray(x / np.maximum(norm, s["eps"]))
        case "PreprocessorVertex":
            return _preprocessed(x, s, "preProcessor")
        case "PoolHelperVertex":
            return x[:, :, 1:, 1:]
    raise AssertionError(one.kind)


def forward(model: Model, *given: Array) -> dict[str, Array]:
    """Compute every layer, channels first."""
    assert model.checkpoint is not None
    values: dict[str, Array] = {}
    rest = list(given)
    for one in model.layers:
        if one.kind == "Input":
            values[one.name] = rest.pop(0).astype(np.float64)
            continue
        xs = [values[name] for name in one.inputs] or [rest.pop(0).astype(np.float64)]
        if one.kind.endswith("Vertex"):
            values[one.name] = _vertex(one, xs)
            continue
        w = {key.rpartition("/")[2]: model.checkpoint.read(key).astype(np.float64) for key in one.weights}
        values[one.name] = _one(one, _preprocessed(xs[0], one.settings), w)
    return values
