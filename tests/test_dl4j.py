"""Deeplearning4j model files: layers, parameters in their places, and what is refused."""

from __future__ import annotations

import json
import math
import runpy
import struct
import zipfile
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.lib.stride_tricks import sliding_window_view

from tests.cli_calls import FIXTURES, ZOO, Caller
from tfinspect import formats
from tfinspect.errors import CorruptFileError, InputError, LimitError, TfinspectError, UnsupportedFeatureError
from tfinspect.formats import _nd4j, dl4j
from tfinspect.ir.dtypes import DType

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import numpy.typing as npt

    from tfinspect.ir.model import Model

    Array = npt.NDArray[Any]

MAKE = runpy.run_path(str(FIXTURES / "make_dl4j.py"))
FIXTURE = FIXTURES / "dl4j.zip"
DL4J = ZOO / "dl4j"
needs_zoo = pytest.mark.skipif(not ZOO.is_dir(), reason="the collection of real models is not beside the repository")


def written(folder: Path, method: int = zipfile.ZIP_DEFLATED, **members: bytes | None) -> Path:
    """The fixture's archive, with members replaced, or left out where None is given; `_` stands for the dot."""
    replaced = {name.replace("_", "."): data for name, data in members.items()}
    whole = {**MAKE["members"](), **replaced}
    path = folder / "model.zip"
    path.write_bytes(MAKE["archive"]({k: v for k, v in whole.items() if v is not None}, method))
    return path


def network(folder: Path, config: object, count: int, **members: bytes | None) -> Model:
    row = MAKE["nd4j"](np.arange(count, dtype=np.float32)[None, :])
    text = config if isinstance(config, bytes) else json.dumps(config).encode()
    given: dict[str, Any] = {"configuration_json": text, "coefficients_bin": row, "updaterState_bin": None, **members}
    return dl4j.read(written(folder, **given))


def chain(*layers: dict[str, Any], **config: Any) -> dict[str, Any]:
    return {"confs": [{"layer": layer} for layer in layers], **config}


# -------------------------------------------------------------------------------------------------------- the fixture


def test_the_script_writes_the_fixture(tmp_path: Path) -> None:
    MAKE["write"](tmp_path)
    assert (tmp_path / "dl4j.zip").read_bytes() == FIXTURE.read_bytes()


def test_the_fixture() -> None:
    model = formats.open_model(FIXTURE)
    assert model.format == "dl4j"
    assert [(layer.name, layer.kind, layer.inputs, layer.weights, layer.shape) for layer in model.layers] == [
        ("conv", "ConvolutionLayer", (), ("conv/b", "conv/W"), None),
        ("pool", "SubsamplingLayer", ("conv",), (), None),
        ("dense", "DenseLayer", ("pool",), ("dense/W", "dense/b"), (None, 5)),
        ("output", "OutputLayer", ("dense",), ("output/W", "output/b"), (None, 2)),
    ]
    assert model.layers[0].settings == {
        "activation": "relu", "convolutionMode": "Truncate", "dilation": [1, 1], "hasBias": True, "kernelSize": [3, 3],
        "nIn": 1, "nOut": 3, "padding": [0, 0], "stride": [1, 1], "preprocessor": "FeedForwardToCnnPreProcessor",
        "preprocessor.inputHeight": 8, "preprocessor.inputWidth": 8, "preprocessor.numChannels": 1,
    }  # fmt: skip
    assert model.layers[1].settings == {
        "convolutionMode": "Truncate", "dilation": [1, 1], "eps": 1e-08, "kernelSize": [2, 2], "padding": [0, 0],
        "pnorm": 0, "poolingType": "MAX", "stride": [2, 2],
    }  # fmt: skip
    assert model.layers[3].settings == {
        "activation": "softmax", "hasBias": True, "loss": "mcxent", "loss.softmaxClipEps": 1e-10, "nIn": 5, "nOut": 2
    }  # fmt: skip
    assert model.training == {
        "optimizer": "Nesterovs", "learning_rate": 0.01, "momentum": 0.9, "loss": "mcxent", "seed": 7,
        "iterations": 40, "epochs": 2, "algorithm": "STOCHASTIC_GRADIENT_DESCENT", "backprop": "Standard",
    }  # fmt: skip
    assert model.facts == {
        "network": "MultiLayerNetwork", "input_type": "rows of 1x8x8 numbers (channels, height, width)",
        "data_type": "float", "written_by": "Deeplearning4j 1.0.0-beta4 or later", "parameters": "182",
    }  # fmt: skip
    assert model.risks == model.problems == ()


def test_values_of_the_fixture_stand_where_the_layers_take_them() -> None:
    checkpoint = formats.read_checkpoint(FIXTURE)
    row = np.arange(1, 183, dtype=np.float32) / 64
    assert np.array_equal(checkpoint.read("conv/b"), row[:3])
    assert np.array_equal(checkpoint.read("conv/W"), row[3:30].reshape(3, 1, 3, 3))
    assert np.array_equal(checkpoint.read("dense/W"), row[30:165].reshape(5, 27).T)
    assert np.array_equal(checkpoint.read("dense/W/Nesterovs"), -row[30:165].reshape(5, 27).T)
    slot = checkpoint.variables["dense/W/Nesterovs"]
    assert (slot.role, slot.serves, slot.nbytes) == ("slot", "dense/W", 540)
    assert b"".join(map(bytes, checkpoint.tensor("dense/W").chunks())) == row[30:165].reshape(5, 27).T.tobytes()


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
@pytest.mark.parametrize("allocation", ["HEAP", "DIRECT", "JAVACPP", "LONG_SHAPE", "MIXED_DATA_TYPES"])
@pytest.mark.parametrize("dtype", ["f2", "f4", "f8"])
def test_every_way_to_write_the_row(allocation: str, dtype: str, method: int, tmp_path: Path) -> None:
    row = np.linspace(-1, 1, 182).astype(dtype)
    model = dl4j.read(written(tmp_path, method, coefficients_bin=MAKE["nd4j"](row[None, :], allocation)))
    assert model.checkpoint is not None
    assert model.checkpoint.variables["output/b"].dtype == DType.from_numpy(np.dtype(dtype))
    assert np.array_equal(model.checkpoint.read("output/b"), row[-2:])
    assert model.checkpoint.read("output/b").dtype == np.dtype(dtype)


def test_the_commands_take_it(monkeypatch: pytest.MonkeyPatch) -> None:
    call = Caller(monkeypatch)
    assert call("vars", FIXTURE).rows[1][:5] == ["conv/W", "float32", "3x1x3x3", "108", "weight"]
    done = call("vars", FIXTURE, "--json")
    assert [v["name"] for v in done.answer["variables"] if v["role"] == "weight"] == [
        "conv/b", "conv/W", "dense/W", "dense/b", "output/W", "output/b"
    ]  # fmt: skip
    assert call("info", FIXTURE).status == 0


# ------------------------------------------------------------------------------------------------------- real models


REAL = {
    "050/050_ModelSerializer_Regression_CNN_1.zip": "ConvolutionLayer SubsamplingLayer OutputLayer",
    "050/050_ModelSerializer_Regression_MLP_1.zip": "DenseLayer OutputLayer",
    "050/050_ModelSerializer_Regression_MLP_2.zip": "DenseLayer OutputLayer",
    "071/071_ModelSerializer_Regression_CG_LSTM_1.zip": "Input GravesLSTM GravesBidirectionalLSTM RnnOutputLayer",
    "071/071_ModelSerializer_Regression_CNN_1.zip": "ConvolutionLayer SubsamplingLayer OutputLayer",
    "071/071_ModelSerializer_Regression_LSTM_1.zip": "GravesLSTM GravesBidirectionalLSTM RnnOutputLayer",
    "071/071_ModelSerializer_Regression_MLP_1.zip": "DenseLayer OutputLayer",
    "071/071_ModelSerializer_Regression_MLP_2.zip": "DenseLayer OutputLayer",
    "080/080_ModelSerializer_Regression_CG_LSTM_1.zip": "Input GravesLSTM GravesBidirectionalLSTM RnnOutputLayer",
    "080/080_ModelSerializer_Regression_CNN_1.zip": "ConvolutionLayer SubsamplingLayer OutputLayer",
    "080/080_ModelSerializer_Regression_LSTM_1.zip": "GravesLSTM GravesBidirectionalLSTM RnnOutputLayer",
    "080/080_ModelSerializer_Regression_MLP_1.zip": "DenseLayer OutputLayer",
    "080/080_ModelSerializer_Regression_MLP_2.zip": "DenseLayer OutputLayer",
    "100a/upsampling/net.bin": "ConvolutionLayer Upsampling2D ConvolutionLayer OutputLayer",
    "100b4/SyntheticCNN_100b4.bin": "ConvolutionLayer SeparableConvolution2D SubsamplingLayer ZeroPaddingLayer"
    " Upsampling2D DepthwiseConvolution2D SubsamplingLayer Cropping2D ConvolutionLayer CnnLossLayer",
    "MLPMnist/Model_RANDOM_INIT_UNTRAINED.zip": "DenseLayer OutputLayer",
    "mnist-model.zip": "ConvolutionLayer SubsamplingLayer ConvolutionLayer SubsamplingLayer DenseLayer OutputLayer",
}


def raw_row(path: Path, member: str = "coefficients.bin") -> Array:
    """The numbers of a member, by a reading of its own: they are its last `count` times four bytes."""
    with zipfile.ZipFile(path) as archive:
        data = archive.read(member)
    at = data.rindex(b"\0\5FLOAT") + 7
    return np.array(struct.unpack(f">{(len(data) - at) // 4}f", data[at:]), np.float32)


@needs_zoo
def test_every_real_model_is_in_the_table() -> None:
    found = {str(p.relative_to(DL4J)) for p in DL4J.rglob("*") if p.is_file() and zipfile.is_zipfile(p)}
    assert found == set(REAL)


@needs_zoo
@pytest.mark.parametrize("name", REAL)
def test_real_models(name: str) -> None:
    path = DL4J / name
    assert formats.identify(path).name == "dl4j"
    model = formats.open_model(path)
    assert " ".join(layer.kind for layer in model.layers) == REAL[name]
    assert model.risks == model.problems == ()
    assert model.checkpoint is not None
    weights = {v.name: v for v in model.checkpoint.variables.values() if v.role == "weight"}
    row = raw_row(path)
    assert sum(math.prod(v.shape) for v in weights.values()) == len(row)
    assert [w for layer in model.layers for w in layer.weights] == list(weights)
    flat = []
    for key in weights:
        value = model.checkpoint.read(key)
        kernel = value.ndim != 2  # matrices stand column by column, all else row by row
        flat.append(value.ravel(order="C" if kernel else "F"))
    assert np.array_equal(np.concatenate(flat), row)


@needs_zoo
def test_state_of_the_optimizer() -> None:
    lenet = formats.read_checkpoint(DL4J / "mnist-model.zip")
    state = raw_row(DL4J / "mnist-model.zip", "updaterState.bin")
    assert np.array_equal(lenet.read("layer5/b/Nesterovs"), state[-10:])
    adam = formats.read_checkpoint(DL4J / "MLPMnist/Model_RANDOM_INIT_UNTRAINED.zip")
    assert adam.variables["updater_state"].shape == (2 * 50890,)
    assert adam.variables["updater_state"].role == "slot"


@needs_zoo
def test_what_real_models_say_of_themselves() -> None:
    lenet = formats.open_model(DL4J / "mnist-model.zip")
    assert lenet.training == {
        "optimizer": "Nesterovs", "learningRateSchedule": "MapSchedule", "learningRateSchedule.scheduleType":
        "ITERATION", "learningRateSchedule.values.0": 0.06, "learningRateSchedule.values.800": 0.006,
        "learningRateSchedule.values.200": 0.05, "learningRateSchedule.values.600": 0.028,
        "learningRateSchedule.values.1000": 0.001, "momentum": 0.9, "loss": "negativeloglikelihood", "seed": 1234,
        "iterations": 1112, "epochs": 1, "algorithm": "STOCHASTIC_GRADIENT_DESCENT", "backprop": "Standard",
    }  # fmt: skip
    assert lenet.layers[4].settings["preprocessor"] == "CnnToFeedForwardPreProcessor"
    old = formats.open_model(DL4J / "050/050_ModelSerializer_Regression_MLP_2.zip")
    assert (old.training["optimizer"], old.training["learning_rate"], old.training["rms_decay"]) == (
        "RmsProp", 0.15, 0.96
    )  # fmt: skip
    versions = {name: formats.open_model(DL4J / name).facts["written_by"].removeprefix("Deeplearning4j ")
                for name in REAL}  # fmt: skip
    assert {versions[n] for n in REAL if n[:3] in {"050", "071"}} == {"0.7.1 or earlier"}
    assert {versions[n] for n in REAL if n[:3] == "080"} == {"0.7.2 to 0.8"}
    assert [versions[n] for n in list(REAL)[13:]] == [
        "0.9 to 1.0.0-alpha", "1.0.0-beta4 or later", "1.0.0-beta to 1.0.0-beta3", "1.0.0-beta4 or later"
    ]  # fmt: skip
    graph = formats.open_model(DL4J / "080/080_ModelSerializer_Regression_CG_LSTM_1.zip")
    assert [(layer.name, layer.inputs) for layer in graph.layers] == [
        ("in", ()), ("0", ("in",)), ("1", ("0",)), ("2", ("1",))
    ]  # fmt: skip
    assert (graph.facts["inputs"], graph.facts["outputs"]) == ("in", "2")


# ---- the golden outputs beside two models prove the place of every parameter: a network computed with NumPy from what
# ---- the reader gives must give them


def same_padding(x: Array, kernel: list[int], stride: list[int]) -> Array:
    pads = []
    for size, k, s in zip(x.shape[2:], kernel, stride, strict=True):
        need = max((math.ceil(size / s) - 1) * s + k - size, 0)
        pads.append((need // 2, need - need // 2))
    return np.pad(x, [(0, 0), (0, 0), *pads])


def windows(x: Array, settings: Any) -> Array:
    kernel, stride = settings["kernelSize"], settings["stride"]
    if settings["convolutionMode"] == "Same":
        x = same_padding(x, kernel, stride)
    return sliding_window_view(x, kernel, axis=(2, 3))[:, :, :: stride[0], :: stride[1]]


def activated(x: Array, name: str) -> Array:
    if name == "softmax":
        e = np.exp(x - x.max(1, keepdims=True))
        return e / e.sum(1, keepdims=True)
    return {
        "tanh": np.tanh,
        "relu": lambda v: np.maximum(v, 0),
        "sigmoid": lambda v: 1 / (1 + np.exp(-v)),
        "identity": lambda v: v,
    }[name](x)


def forward(model: Model, x: Array) -> Array:
    assert model.checkpoint is not None
    x = x.astype(np.float64)
    for layer in model.layers:
        s = layer.settings
        w: dict[str, Array] = {k.rpartition("/")[2]: model.checkpoint.read(k) for k in layer.weights}
        if s.get("preprocessor") == "CnnToFeedForwardPreProcessor":
            x = x.reshape(len(x), -1)
        match layer.kind:
            case "ConvolutionLayer":
                x = np.einsum("nchwkl,ockl->nohw", windows(x, s), w["W"]) + w["b"][:, None, None]
            case "SeparableConvolution2D":
                x = np.einsum("nchwkl,mckl->ncmhw", windows(x, s), w["W"])
                x = np.einsum("nchw,oc->nohw", x.reshape(len(x), -1, *x.shape[3:]), w["pW"][..., 0, 0])
                x += w["b"][:, None, None]
            case "DepthwiseConvolution2D":
                x = np.einsum("nchwkl,klcm->ncmhw", windows(x, s), w["W"])
                x = x.reshape(len(x), -1, *x.shape[3:]) + w["b"][:, None, None]
            case "SubsamplingLayer":
                x = windows(x, s).max((-1, -2))
            case "Upsampling2D":
                x = x.repeat(s["size"][0], 2).repeat(s["size"][1], 3)
            case "ZeroPaddingLayer":
                top, bottom, left, right = s["padding"]
                x = np.pad(x, [(0, 0), (0, 0), (top, bottom), (left, right)])
            case "Cropping2D":
                top, bottom, left, right = s["cropping"]
                x = x[:, :, top : x.shape[2] - bottom, left : x.shape[3] - right]
            case "DenseLayer" | "OutputLayer":
                x = x @ w["W"] + w["b"]
            case other:
                assert other == "CnnLossLayer"
        x = activated(x, str(s.get("activation", "identity")))
    return x


@needs_zoo
@pytest.mark.parametrize(
    ("net", "given", "wanted"),
    [
        ("100a/upsampling/net.bin", "100a/upsampling/in.bin", "100a/upsampling/out.bin"),
        ("100b4/SyntheticCNN_100b4.bin", "100b4/SyntheticCNN_Input_100b4.bin", "100b4/SyntheticCNN_Output_100b4.bin"),
    ],
)
def test_golden_outputs_follow_from_what_was_read(net: str, given: str, wanted: str) -> None:
    x, y = (_nd4j.read_array(DL4J / name).numpy() for name in (given, wanted))
    found = forward(formats.open_model(DL4J / net), x)
    assert found.shape == y.shape
    assert np.abs(found - y).max() < 2e-6
    assert y.std() > 1e-3


# ------------------------------------------------------------------------------------------------------------ arrays


@pytest.mark.parametrize("order", ["c", "f"])
@pytest.mark.parametrize("allocation", ["JAVACPP", "LONG_SHAPE", "MIXED_DATA_TYPES"])
@settings(max_examples=15, deadline=None)
@given(shape=st.lists(st.integers(1, 4), max_size=5), dtype=st.sampled_from(["f4", "f8", "f2", "i4", "i8", "u1"]))
def test_arrays_come_back(
    tmp_path_factory: pytest.TempPathFactory, allocation: str, order: str, shape: list[int], dtype: str
) -> None:
    values = np.arange(math.prod(shape), dtype=dtype).reshape(shape)
    path = tmp_path_factory.getbasetemp() / "array.bin"
    path.write_bytes(MAKE["nd4j"](values, allocation, order))
    tensor = _nd4j.read_array(path)
    assert tensor.shape == values.shape
    assert np.array_equal(tensor.numpy(), values)
    assert tensor.numpy().dtype == values.dtype


ARRAY: bytes = MAKE["nd4j"](np.arange(6, dtype=np.float32).reshape(2, 3))
BAD_ARRAYS: dict[str, tuple[Callable[[bytes], bytes], type[InputError], str]] = {
    "cut short": (
        lambda b: b[:-1], CorruptFileError,
        "is damaged at byte 129 (ND4J array): expected 6 float32 values, 24 bytes, found 23 bytes",
    ),
    "too long": (
        lambda b: b + b"x", CorruptFileError,
        "is damaged at byte 129 (ND4J array): expected 6 float32 values, 24 bytes, found 25 bytes",
    ),
    "no array": (
        lambda _: b"\0\7nothing" + bytes(40), CorruptFileError,
        ("is damaged at byte 0 (ND4J array): expected the allocation mode of the shape as a Java string, found"
        " 00 07 6e 6f 74 68 69 6e 67 00"),
    ),
    "other allocation": (
        lambda b: b.replace(b"MIXED_DATA_TYPES", b"MIXED_DATA_TYPEZ"), CorruptFileError,
        ("is damaged at byte 0 (ND4J array): expected one of DIRECT, HEAP, JAVACPP, LONG_SHAPE, MIXED_DATA_TYPES, found"
        " `MIXED_DATA_TYPEZ`"),
    ),
    "compressed": (
        lambda b: b.replace(b"\0\5FLOAT", b"\0\nCOMPRESSED"), UnsupportedFeatureError,
        "holds the values as COMPRESSED (byte 122), which tfinspect does not read",
    ),
    "other type": (
        lambda b: b.replace(b"\0\5FLOAT", b"\0\5FLOAD"), CorruptFileError,
        "is damaged at byte 122 (ND4J array): expected an element type of ND4J, found `FLOAD`",
    ),
    "a shape larger than the values": (
        lambda b: b[:40] + struct.pack(">q", 1 << 40) + b[48:], CorruptFileError,
        ("is damaged at byte 129 (ND4J array): expected values for the shape [1099511627776, 3] with strides [3, 1],"
        " found 6"),
    ),
    "strides beyond the values": (
        lambda b: b[:56] + struct.pack(">q", 1 << 40) + b[64:], CorruptFileError,
        ("is damaged at byte 129 (ND4J array): expected values for the shape [2, 3] with strides [1099511627776, 1],"
        " found 6"),
    ),
    "negative length": (
        lambda b: b[:114] + struct.pack(">q", -6) + b[122:], CorruptFileError,
        "is damaged at byte 114 (ND4J array): expected a length of the values, found -6",
    ),
    "a length of 2**62": (
        lambda b: b[:114] + struct.pack(">q", 1 << 62) + b[122:], CorruptFileError,
        ("is damaged at byte 129 (ND4J array): expected 4,611,686,018,427,387,904 float32 values,"
        " 18,446,744,073,709,551,616 bytes, found 24 bytes"),
    ),
    "other rank": (
        lambda b: b[:32] + struct.pack(">q", 3) + b[40:], CorruptFileError,
        "is damaged at byte 32 (ND4J array): expected a shape of 2 dimensions, found 3",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD_ARRAYS)
def test_arrays_that_are_none(name: str, tmp_path: Path) -> None:
    spoil, kind, words = BAD_ARRAYS[name]
    path = tmp_path / "in.bin"
    path.write_bytes(spoil(ARRAY))
    with pytest.raises(kind) as caught:
        _nd4j.read_array(path)
    assert caught.value.message == f"{path} {words}"


# ------------------------------------------------------------------------------------------------- other networks


def n(kind: str, nin: int, nout: int, **fields: Any) -> dict[str, Any]:
    return {kind: {"nin": nin, "nout": nout, **fields}}


LAYERS: list[tuple[dict[str, Any], str, dict[str, tuple[int, ...]]]] = [
    (n("LSTM", 2, 3), "LSTM", {"W": (2, 12), "RW": (3, 12), "b": (12,)}),
    (n("gravesLSTM", 2, 3), "GravesLSTM", {"W": (2, 12), "RW": (3, 15), "b": (12,)}),
    (n("SimpleRnn", 2, 3), "SimpleRnn", {"W": (2, 3), "RW": (3, 3), "b": (3,)}),
    (n("gru", 2, 3), "GRU", {"W": (2, 9), "RW": (3, 9), "b": (9,)}),
    (n("batchNormalization", 3, 3, eps=1e-5, decay=0.9), "BatchNormalization",
     {"gamma": (3,), "beta": (3,), "mean": (3,), "var": (3,)}),
    (n("batchNormalization", 3, 3, lockGammaBeta=True), "BatchNormalization", {"mean": (3,), "var": (3,)}),
    (n("dense", 2, 3, hasBias=False), "DenseLayer", {"W": (2, 3)}),
    (n("dense", 2, 3, hasLayerNorm=True), "DenseLayer", {"W": (2, 3), "b": (3,), "g": (3,)}),
    (n("embedding", 9, 4), "EmbeddingLayer", {"W": (9, 4), "b": (4,)}),
    (n("autoEncoder", 5, 4), "AutoEncoder", {"W": (5, 4), "b": (4,), "vb": (5,)}),
    (n("CenterLossOutputLayer", 5, 4), "CenterLossOutputLayer", {"W": (5, 4), "b": (4,), "cL": (4, 5)}),
    (n("convolution1d", 5, 4, kernelSize=[3, 1]), "Convolution1DLayer", {"b": (4,), "W": (4, 5, 3, 1)}),
    (n("Deconvolution2D", 5, 4, kernelSize=[3, 2]), "Deconvolution2D", {"b": (4,), "W": (5, 4, 3, 2)}),
    ({"@class": "org.deeplearning4j.nn.conf.layers.PReLULayer", "inputShape": [3, 4, 5], "sharedAxes": [2, 3]},
     "PReLULayer", {"W": (3, 1, 1)}),
    ({"FrozenLayer": {"layer": n("dense", 2, 3)}}, "FrozenLayer", {"W": (2, 3), "b": (3,)}),
    ({"@class": "org.deeplearning4j.nn.conf.layers.recurrent.Bidirectional", "mode": "CONCAT",
      "fwd": {"@class": "org.deeplearning4j.nn.conf.layers.LSTM", "nin": 2, "nout": 1},
      "bwd": {"@class": "org.deeplearning4j.nn.conf.layers.LSTM", "nin": 2, "nout": 1}}, "Bidirectional",
     {"fW": (2, 4), "fRW": (1, 4), "fb": (4,), "bW": (2, 4), "bRW": (1, 4), "bb": (4,)}),
    ({"localResponseNormalization": {"n": 5.0, "k": 2.0, "alpha": 1e-4, "beta": 0.75, "activationFunction": "relu"}},
     "LocalResponseNormalization", {}),
]  # fmt: skip


@pytest.mark.parametrize(("layer", "kind", "shapes"), LAYERS)
def test_parameters_of_a_layer(layer: dict[str, Any], kind: str, shapes: dict[str, Any], tmp_path: Path) -> None:
    count = sum(math.prod(shape) for shape in shapes.values())
    model = network(tmp_path, chain(layer), count)
    assert [found.kind for found in model.layers] == [kind]
    assert model.checkpoint is not None
    assert {key: v.shape for key, v in model.checkpoint.variables.items()} == {
        f"layer0/{name}": shape for name, shape in shapes.items()
    }
    assert list(model.layers[0].weights) == list(model.checkpoint.variables)
    assert "activation" not in model.layers[0].settings
    if kind == "Bidirectional":
        assert model.layers[0].settings == {"layer": "LSTM", "mode": "CONCAT", "gateActivation": "sigmoid", "nIn": 2,
                                            "nOut": 1}  # fmt: skip


def graph(vertices: dict[str, Any], wires: dict[str, list[str]], **config: Any) -> dict[str, Any]:
    return {"networkInputs": ["x"], "networkOutputs": ["out"], "vertices": vertices, "vertexInputs": wires, **config}


def dense_vertex(nin: int, nout: int, **more: Any) -> dict[str, Any]:
    return {"LayerVertex": {"layerConf": {"layer": n("dense", nin, nout)}, **more}}


def test_a_graph_with_branches(tmp_path: Path) -> None:
    config = graph(
        {
            "out": dense_vertex(5, 1, preProcessor={"cnnToFeedForward": {"inputHeight": 1}}),
            "left": dense_vertex(4, 2),
            "right": dense_vertex(4, 3),
            "both": {"MergeVertex": {}},
            "sum": {"@class": "org.deeplearning4j.nn.conf.graph.ElementWiseVertex", "op": "Add"},
        },
        {"left": ["x"], "right": ["x"], "both": ["left", "right"], "sum": ["both", "both"], "out": ["sum"]},
    )
    model = network(tmp_path, config, 8 + 2 + 12 + 3 + 5 + 1)
    assert [(layer.name, layer.kind, layer.inputs) for layer in model.layers] == [
        ("x", "Input", ()),
        ("left", "DenseLayer", ("x",)),
        ("right", "DenseLayer", ("x",)),
        ("both", "MergeVertex", ("left", "right")),
        ("sum", "ElementWiseVertex", ("both", "both")),
        ("out", "DenseLayer", ("sum",)),
    ]
    assert model.layers[4].settings == {"op": "Add"}
    assert model.layers[5].settings["preprocessor"] == "CnnToFeedForwardPreProcessor"
    assert model.checkpoint is not None
    assert model.checkpoint.read("out/b").tolist() == [30.0]
    told = [*("x", "right", "left", "both", "sum", "out")]
    again = network(tmp_path, config | {"topologicalOrderStr": told}, 31)
    assert [layer.name for layer in again.layers] == told


def test_ties_are_broken_as_java_would(tmp_path: Path) -> None:
    """A set of the numbers 5 and 20 gives 20 first: its table has 16 slots, and 20 falls into the fourth."""
    idle = {f"v{i}": {"MergeVertex": {}} for i in range(19)}
    vertices = {**dict(list(idle.items())[:4]), "five": dense_vertex(1, 1), **dict(list(idle.items())[4:18])}
    vertices["twenty"] = dense_vertex(1, 1)
    assert [*vertices].index("five") + 1 == 5
    assert [*vertices].index("twenty") + 1 == 20
    wires = {name: ["x"] if name in {"five", "twenty"} else ["five"] for name in vertices}
    names = [layer.name for layer in network(tmp_path, graph(vertices, wires), 4).layers]
    assert names[:3] == ["x", "twenty", "five"]


def test_a_layer_that_is_not_known_is_a_problem_and_its_class_a_risk(tmp_path: Path) -> None:
    config = chain(n("dense", 2, 3), {"@class": "com.example.Magic", "nin": 3}, n("output", 3, 1))
    model = network(tmp_path, config, 50)
    assert model.checkpoint is not None
    assert {k: v.shape for k, v in model.checkpoint.variables.items()} == {"coefficients": (50,)}
    assert [layer.weights for layer in model.layers] == [(), (), ()]
    assert [str(problem) for problem in model.problems] == [
        f"{tmp_path / 'model.zip'}: `layer1` is a Magic, whose parameters tfinspect cannot tell apart"
    ]
    assert [(risk.kind, risk.where, risk.what) for risk in model.risks] == [
        ("custom-code", "com.example.Magic", "is a class of the model's author, which Deeplearning4j would load")
    ]


def test_serialized_objects_are_named_and_left_alone(tmp_path: Path) -> None:
    extra: dict[str, Any] = {"preprocessor_bin": b"\xac\xed\0\5sr", "normalizer_bin": b"", "labels_txt": b"cat"}
    model = dl4j.read(written(tmp_path, **extra))
    assert [(risk.kind, risk.where, risk.what) for risk in model.risks] == [
        ("serialized-object", "preprocessor.bin", "is a serialized Java object, and reading it could run code"),
        ("serialized-object", "normalizer.bin", "is read by Deeplearning4j as an object, and was not here"),
    ]
    assert model.facts["other_members"] == "preprocessor.bin, normalizer.bin, labels.txt"


# -------------------------------------------------------------------------------------------------------- bad files


START = "unpacked `configuration.json`"
BAD: dict[str, tuple[object, int, str]] = {
    "no JSON": (b"{'a': 1}", 1, f"is damaged at byte 1 ({START}): expected JSON text, found expecting property name"),
    "not UTF-8": (b'{"\xff": 1}', 1, f"is damaged at byte 2 ({START}): expected JSON text, found other bytes"),
    "nesting": (b"[" * 100_000, 1, f"is damaged at byte 0 ({START}): expected JSON text, found objects nested too deep"),
    "digits": (b"1" * 10_000, 1, f"({START}): expected JSON text, found a number too long to be one"),
    "a list": ([], 1, "expected the configuration of a network, found an object was expected"),
    "no network": ({"a": 1}, 1, "found neither `confs` nor `vertices` is there"),
    "no layer": ({"confs": [{}]}, 1, "found `layer0` has no layer"),
    "no object": ({"confs": [3]}, 1, "found `confs` has no object at 0"),
    "no size": (chain({"dense": {"nin": 3}}), 1, "found `layer0` (DenseLayer): `nout` is not given"),
    "size of words": (chain(n("dense", 3, "x")), 1, "(DenseLayer): `nout` is 'x', a number was expected"),  # type: ignore[arg-type]
    "negative": (chain(n("dense", 3, -1)), 1, "(DenseLayer): `nout` is -1, a number was expected"),
    "kernel": (chain(n("convolution", 3, 1, kernelSize=[1.5])), 1, "`kernelSize` is [1.5], a list of numbers was"),
    "too few": (chain(n("dense", 3, 2)), 7, "(`coefficients.bin`): expected 8 parameters, as the layers take, found 7"),
    "huge": (chain(n("dense", 1 << 39, 1 << 39)), 7, "expected 302,231,454,904,207,049,490,432 parameters, as"),
    "names twice": (
        chain(n("dense", 3, 2, layerName="a"), n("dense", 3, 2, layerName="a")), 1, "found two layers are named `a`"
    ),
    "cycle": (
        graph({"a": dense_vertex(1, 1), "b": dense_vertex(1, 1)}, {"a": ["b", "x"], "b": ["a"]}), 1,
        "found `a` is part of a cycle",
    ),
    "dangling": (graph({"a": dense_vertex(1, 1)}, {"a": ["y"]}), 1, "found `a` takes `y`, which is not there"),
    "no names": (graph({"a": dense_vertex(1, 1)}, {"a": 3}), 1, "found `vertexInputs.a` is no list of names"),  # type: ignore[dict-item]
    "around nothing": (chain({"FrozenLayer": {}}), 1, "found `layer0` is a FrozenLayer around nothing"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_configurations_that_are_none(name: str, tmp_path: Path) -> None:
    config, count, words = BAD[name]
    with pytest.raises(CorruptFileError) as caught:
        network(tmp_path, config, count)
    assert words in caught.value.message
    assert caught.value.message.startswith(str(tmp_path / "model.zip"))


def test_wrapped_without_end(tmp_path: Path) -> None:
    layer: dict[str, Any] = n("dense", 1, 1)
    for _ in range(30):
        layer = {"FrozenLayer": {"layer": layer}}
    model = network(tmp_path, chain(layer), 2)
    assert len(model.problems) == 1


def test_a_bomb_in_place_of_the_row(tmp_path: Path) -> None:
    bomb = bytes(80 << 20)
    with pytest.raises(LimitError, match=r"`coefficients.bin` has [\d,]+ bytes and would unpack to 83,886,080$"):
        dl4j.read(written(tmp_path, coefficients_bin=bomb))


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_damaged_files_only_raise_our_errors(method: int, tmp_path: Path) -> None:
    data = written(tmp_path, method).read_bytes()
    path = tmp_path / "broken.zip"
    refused = 0
    for at in range(0, len(data), 23):
        for broken in (data[: at + 1], data[:at] + bytes([data[at] ^ 1 << at % 8]) + data[at + 1 :]):
            path.write_bytes(broken)
            try:
                checkpoint = dl4j.read(path).checkpoint
                assert checkpoint is not None
                for key in checkpoint.variables:
                    checkpoint.read(key)
            except TfinspectError:
                refused += 1
    assert refused > len(data) / 23
