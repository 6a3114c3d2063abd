"""Deeplearning4j networks as TensorFlow graphs: the same numbers, channels last, and every refusal by name."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tfinspect as ti
from tests.cli_calls import FIXTURES, ZOO, Caller
from tests.dl4j_networks import (
    ACTIVATIONS,
    activation,
    chain,
    conv,
    dense,
    forward,
    graph,
    layer,
    network,
    pool,
    to_images,
    to_rows,
    vertex,
    write,
)
from tfinspect import formats, runtimes
from tfinspect.api.load import open_graph
from tfinspect.architectures._dl4j_nodes import Step, Trail
from tfinspect.architectures.dl4j import _side_before, convert
from tfinspect.errors import InvalidGraphError, TfinspectError, UnsupportedOpsError
from tfinspect.formats import _nd4j
from tfinspect.ir.dtypes import DType

if TYPE_CHECKING:
    from pathlib import Path

    import numpy.typing as npt

    from tfinspect.ir.graph import Graph
    from tfinspect.ir.model import Model

    Array = npt.NDArray[Any]

DL4J = ZOO / "dl4j"
FIXTURE = FIXTURES / "dl4j.zip"
needs_zoo = pytest.mark.skipif(not ZOO.is_dir(), reason="the collection of real models is not beside the repository")
SMALL_IMAGES = (9, 10)


def last(x: Array) -> Array:
    """Channels last, as TensorFlow has them."""
    return x.transpose(0, 2, 3, 1) if x.ndim == 4 else x


def first(x: Array) -> Array:
    return x.transpose(0, 3, 1, 2) if x.ndim == 4 else x


def graph_of(model: Model) -> Graph:
    assert model.graph is not None
    return model.graph


def computed(model: Model, folder: Path, *xs: Array, also: tuple[str, ...] = ()) -> list[Array]:
    """What TensorFlow computes from the written graph, channels first: the outputs, then other tensors."""
    path = folder / "converted.pb"
    formats.write_graph(graph_of(model), path, force=True)
    (signature,) = model.signatures.values()
    feeds = {
        spec.name: last(x).astype(spec.dtype.numpy) for spec, x in zip(signature.inputs, xs, strict=True) if spec.dtype
    }
    with runtimes.tensorflow_graph(path) as runner:
        return [first(y) for y in runner.run([spec.name for spec in signature.outputs] + list(also), feeds)]


def inputs_for(model: Model, batch: int = 3, seed: int = 1) -> list[Array]:
    """Random inputs as Deeplearning4j takes them, channels first; where the size is open, one is chosen."""
    random = np.random.default_rng(seed)
    (signature,) = model.signatures.values()
    found: list[Array] = []
    for spec in signature.inputs:
        assert spec.shape is not None
        if spec.dtype is DType.INT32:
            found.append(random.integers(0, 5, (batch, 1)))
            continue
        *sizes, channels = spec.shape[1:]
        whole = [batch, channels or 2, *(n or m for n, m in zip(sizes, SMALL_IMAGES, strict=False))]
        found.append(random.normal(size=whole).astype(np.float32))
    return found


def check(source: Model, folder: Path, *, within: float = 1e-5, batch: int = 3) -> dict[str, Array]:
    """Convert, run, and compare all outputs with the computation in NumPy; shapes are those that were promised."""
    model = convert(source)
    xs = inputs_for(model, batch)
    (signature,) = model.signatures.values()
    wanted = forward(source, *[x.reshape(len(x), -1) if _takes_rows(source, i) else x for i, x in enumerate(xs)])
    for spec, got in zip(signature.outputs, computed(model, folder, *xs), strict=True):
        want = wanted[str(spec.key)]
        assert got.shape == want.shape
        assert spec.shape is not None
        assert all(n in {None, m} for n, m in zip(spec.shape, last(got).shape, strict=True))
        assert np.abs(got - want).max() <= within * max(np.abs(want).max(), 1e-3)
        assert want.std() > 1e-4
    return wanted


def _takes_rows(source: Model, number: int) -> bool:
    """Whether the file wants the images of an input as rows of numbers."""
    names = [one.name for one in source.layers if one.kind == "Input"]
    takers = [one for one in source.layers if (names[number] in one.inputs if names else not one.inputs)]
    return any(one.settings.get("preprocessor") == "FeedForwardToCnnPreProcessor" for one in takers)


# ------------------------------------------------------------------------------------------------------------- goldens


@needs_zoo
@pytest.mark.tensorflow
@pytest.mark.parametrize(
    ("net", "given", "wanted", "size"),
    [
        ("100a/upsampling/net.bin", "100a/upsampling/in.bin", "100a/upsampling/out.bin", (None, 28, 28, 1)),
        ("100b4/SyntheticCNN_100b4.bin", "100b4/SyntheticCNN_Input_100b4.bin", "100b4/SyntheticCNN_Output_100b4.bin",
         (None, None, None, 1)),
    ],
)  # fmt: skip
def test_golden_outputs(net: str, given: str, wanted: str, size: tuple[int | None, ...], tmp_path: Path) -> None:
    x, y = (_nd4j.read_array(DL4J / name).numpy() for name in (given, wanted))
    model = open_graph(DL4J / net)
    (signature,) = model.signatures.values()
    assert signature.inputs[0].shape == size
    (found,) = computed(model, tmp_path, x)
    assert found.shape == y.shape
    assert np.abs(found - y).max() < 1e-5 * np.abs(y).max()
    assert y.std() > 1e-3


@needs_zoo
@pytest.mark.tensorflow
@pytest.mark.parametrize(
    "name",
    [
        "050/050_ModelSerializer_Regression_CNN_1.zip", "050/050_ModelSerializer_Regression_MLP_1.zip",
        "050/050_ModelSerializer_Regression_MLP_2.zip", "071/071_ModelSerializer_Regression_MLP_1.zip",
        "071/071_ModelSerializer_Regression_MLP_2.zip", "080/080_ModelSerializer_Regression_MLP_1.zip",
        "080/080_ModelSerializer_Regression_MLP_2.zip", "MLPMnist/Model_RANDOM_INIT_UNTRAINED.zip",
        "mnist-model.zip",
    ],
)  # fmt: skip
def test_real_models(name: str, tmp_path: Path) -> None:
    source = formats.open_model(DL4J / name)
    if "Regression" in name:  # their weights are 1, 2, 3...: outputs saturate
        model = convert(source)
        xs = [x * 1e-5 for x in inputs_for(model)]
        wanted = forward(source, *xs)
        found = computed(model, tmp_path, *xs)[0]
        want = wanted[source.layers[-1].name]
        assert np.abs(found - want).max() <= 1e-5 * np.abs(want).max()
    else:
        check(source, tmp_path)


@needs_zoo
@pytest.mark.parametrize(
    ("name", "error", "words"),
    [
        ("071/071_ModelSerializer_Regression_LSTM_1.zip", UnsupportedOpsError,
         "`layer0` is a GravesLSTM, which tfinspect does not convert to a TensorFlow graph"),
        ("080/080_ModelSerializer_Regression_CG_LSTM_1.zip", UnsupportedOpsError,
         "`0` is a GravesLSTM, which tfinspect does not convert to a TensorFlow graph"),
        ("071/071_ModelSerializer_Regression_CNN_1.zip", InvalidGraphError,
         "`layer2`: it takes 2,028 numbers, and is given 2352"),
        ("080/080_ModelSerializer_Regression_CNN_1.zip", InvalidGraphError,
         "`layer2`: it takes 2,028 numbers, and is given 2352"),
    ],
)  # fmt: skip
def test_real_models_that_are_refused(name: str, error: type[TfinspectError], words: str) -> None:
    with pytest.raises(error) as caught:
        open_graph(DL4J / name)
    assert caught.value.message == f"{DL4J / name}: {words}"


# ------------------------------------------------------------------------------------------------------------- layers


IN = {0: to_images(9, 10, 2)}
NORM = {"nin": 4, "nout": 4, "eps": 0.01, "decay": 0.9}
CHAINS: dict[str, Any] = {
    "convolution, same": chain(conv(2, 4, mode="Same"), before=IN),
    "convolution, same, stride 2": chain(conv(2, 4, s=2, mode="Same"), before=IN),
    "convolution, even kernel, same": chain(conv(2, 4, k=4, s=3, mode="Same"), before=IN),
    "convolution, padded": chain(conv(2, 4, "tanh", p=2), before=IN),
    "convolution, padded, stride 2": chain(conv(2, 4, "identity", s=2, p=1), before=IN),
    "convolution, strict": chain(conv(2, 4, k=3, mode="Strict"), before=IN),
    "convolution, dilated": chain(conv(2, 4, dilation=[2, 3]), before=IN),
    "convolution, dilated, same": chain(conv(2, 4, dilation=[2, 2], mode="Same"), before=IN),
    "convolution, without bias": chain(conv(2, 4, "sigmoid", hasBias=False), before=IN),
    "convolution, unequal sides": chain(
        conv(2, 4, kernelSize=[2, 5], stride=[2, 1], padding=[0, 3]), before=IN
    ),
    "frozen": chain({"layer": {"@class": "FrozenLayer", "layer": conv(2, 4)["layer"]}}, before=IN),
    "depthwise": chain(
        layer("DepthwiseConvolution2D", 2, 6, "relu", depthMultiplier=3, kernelSize=[3, 3], stride=[2, 2],
              padding=[1, 1], convolutionMode="Truncate"), before=IN,
    ),
    "separable": chain(
        layer("SeparableConvolution2D", 2, 5, "relu", depthMultiplier=3, kernelSize=[3, 2], stride=[1, 1],
              padding=[0, 0], convolutionMode="Same"), before=IN,
    ),
    "max, padded": chain(pool("MAX", 3, 2, 1), before=IN),
    "max, same": chain(pool("MAX", 3, 2, mode="Same"), before=IN),
    "average": chain(pool("AVG", 3, 2), before=IN),
    "average, padded": chain(pool("AVG", 3, 2, 1), before=IN),
    "average, padding left out": chain(pool("AVG", 3, 2, 1, avgPoolIncludePadInDivisor=False), before=IN),
    "average, same": chain(pool("AVG", 3, 2, mode="Same"), before=IN),
    "average, same, padding left out": chain(
        pool("AVG", 3, 2, mode="Same", avgPoolIncludePadInDivisor=False), before=IN
    ),
    "average, same, any size": chain(conv(2, 4), pool("AVG", 3, 1, mode="Same")),
    "sum": chain(pool("SUM", 3, 2, 1), before=IN),
    "sum, same": chain(pool("SUM", 2, 2, mode="Same"), before=IN),
    "upsampling": chain(layer("Upsampling2D", size=[2, 3]), before=IN),
    "upsampling, any size": chain(conv(2, 4), layer("Upsampling2D", size=[2, 3])),
    "zero padding": chain(layer("ZeroPaddingLayer", padding=[1, 2, 0, 3]), before=IN),
    "cropping": chain(layer("Cropping2D", cropping=[1, 0, 2, 3]), before=IN),
    "normalised images": chain(conv(2, 4), layer("BatchNormalization", **NORM, useLogStd=False), before=IN),
    "normalised images, first": chain(layer("BatchNormalization", **{**NORM, "nin": 2, "nout": 2}), pool(), before=IN),
    "normalised images, as written before useLogStd": chain(conv(2, 4), layer("BatchNormalization", **NORM)),
    "normalised images, fixed": chain(
        conv(2, 4), layer("BatchNormalization", **NORM, lockGammaBeta=True, gamma=0.5, beta=2.0, useLogStd=False)
    ),
    "normalised images, logarithm": chain(conv(2, 4), layer("BatchNormalization", **NORM, useLogStd=True)),
    "normalised rows": chain(dense(7, 4), layer("BatchNormalization", **NORM, useLogStd=False)),
    "normalised rows, first": chain(layer("BatchNormalization", **NORM), dense(4, 3)),
    "normalised rows of images": chain(
        conv(2, 1, "tanh", k=8), layer("BatchNormalization", 6, 6, eps=1e-5), dense(6, 2, "tanh"),
        before={**IN, 1: to_rows(2, 3, 1)},
    ),
    "normalised rows of flattened images": chain(
        conv(2, 3, "tanh", k=8), layer("BatchNormalization", 18, 18, eps=1e-5), dense(18, 2, "tanh"),
        before={**IN, 1: to_rows(2, 3, 3)},
    ),
    "response": chain(
        conv(2, 6, "identity"), layer("LocalResponseNormalization", n=5, k=2, alpha=0.1, beta=0.75), before=IN
    ),
    "global average": chain(conv(2, 4), layer("GlobalPoolingLayer", poolingType="AVG", collapseDimensions=True)),
    "global max, kept": chain(conv(2, 4), layer("GlobalPoolingLayer", poolingType="MAX", collapseDimensions=False)),
    "global sum": chain(
        conv(2, 4), layer("GlobalPoolingLayer", poolingType="SUM", poolingDimensions=[2, 3]), dense(4, 3, "softmax")
    ),
    "dense": chain(dense(7, 5), dense(5, 3, "softmax", "OutputLayer")),
    "dense, without bias": chain(dense(7, 5, hasBias=False), dense(5, 3, "identity", "OutputLayer")),
    "dense behind images": chain(conv(2, 3), dense(3 * 7 * 8, 5, "tanh"), before={**IN, 1: to_rows(7, 8, 3)}),
    "dense behind images, no preprocessor": chain(conv(2, 3), dense(3 * 7 * 8, 5, "tanh"), before=IN),
    "dense behind images, channels last": chain(
        conv(2, 3), dense(3 * 7 * 8, 5, "tanh"),
        before={**IN, 1: to_rows(7, 8, 3, "TensorFlowCnnToFeedForwardPreProcessor")},
    ),
    "dense behind images, channels last since beta7": chain(
        conv(2, 3), dense(3 * 7 * 8, 5, "tanh"), before={**IN, 1: to_rows(7, 8, 3, format="NHWC")}
    ),
    "dense behind dropped out images": chain(
        conv(2, 3), layer("DropoutLayer", dropOut=0.5), layer("ActivationLayer", act="tanh"), dense(168, 5, "tanh"),
        before={**IN, 1: to_rows(7, 8, 3)},
    ),
    "images behind dense": chain(dense(7, 24), conv(2, 3, k=2), before={1: to_images(3, 4, 2)}),
    "images flattened and back": chain(
        conv(2, 3), layer("ActivationLayer", act="tanh"), conv(3, 2), before={**IN, 1: to_rows(7, 8, 3), 2: to_images(7, 8, 3)}
    ),
    "images flattened and back as others": chain(
        conv(2, 3), layer("ActivationLayer", act="tanh"), conv(2, 2), before={**IN, 1: to_rows(7, 8, 3), 2: to_images(7, 12, 2)}
    ),
    "loss layers": chain(conv(2, 4, "identity"), layer("CnnLossLayer", act="softmax"), before=IN),
    "rows of loss": chain(dense(7, 4, "identity"), layer("LossLayer", act="softmax")),
    "center loss": chain(dense(7, 4), dense(4, 3, "softmax", "CenterLossOutputLayer")),
    "encoder": chain(dense(7, 4, "sigmoid", "AutoEncoder"), dense(4, 3, "softmax", "OutputLayer")),
    "embedding": chain(layer("EmbeddingLayer", 5, 4, "tanh"), dense(4, 3, "softmax")),
    "embedding without bias": chain(layer("EmbeddingLayer", 5, 4, "identity", hasBias=False), dense(4, 3, "tanh")),
    "weighted": chain(layer("ElementWiseMultiplicationLayer", 7, 7, "tanh"), dense(7, 3)),
    "slopes of images": chain(conv(2, 4, "identity"), layer("PReLULayer", inputShape=[4, 7, 8]), before=IN),
    "shared slopes of images": chain(
        conv(2, 4, "identity"), layer("PReLULayer", inputShape=[4, 7, 8], sharedAxes=[2, 3]), before=IN
    ),
    "slopes of rows": chain(dense(7, 4, "identity"), layer("PReLULayer", inputShape=[4])),
}  # fmt: skip


@pytest.mark.tensorflow
@pytest.mark.parametrize("name", CHAINS)
def test_layers(name: str, tmp_path: Path) -> None:
    check(network(tmp_path, CHAINS[name]), tmp_path)


@pytest.mark.tensorflow
@pytest.mark.parametrize("name", ACTIVATIONS)
def test_activations(name: str, tmp_path: Path) -> None:
    wanted = check(
        network(tmp_path, chain(dense(7, 6, "identity"), layer("ActivationLayer", act=name))), tmp_path, batch=50
    )
    assert np.abs(wanted["layer0"]).max() > 2  # both sides of every bend
    check(network(tmp_path, chain(conv(2, 6, name))), tmp_path)


@pytest.mark.tensorflow
@pytest.mark.parametrize(
    "act",
    [
        activation("leakyrelu", alpha=0.3), activation("elu", alpha=1.0), activation("relu", max=0.7),
        activation("relu", max=6.0), activation("rrelu", l=0.1, u=0.5), activation("thresholdedrelu", theta=0.2),
    ],
    ids=json.dumps,
)  # fmt: skip
def test_activations_with_settings(act: dict[str, Any], tmp_path: Path) -> None:
    check(network(tmp_path, chain(dense(7, 6, "identity"), layer("ActivationLayer", act=act))), tmp_path, batch=50)


@pytest.mark.tensorflow
@pytest.mark.parametrize("dtype", ["f8", "f2"])
def test_weights_of_other_types_become_float32(dtype: str, tmp_path: Path) -> None:
    source = network(tmp_path, CHAINS["dense behind images"], dtype=dtype)
    assert {node.dtype("dtype") for node in graph_of(convert(source)) if node.op == "Const"} == {
        DType.FLOAT,
        DType.INT32,
    }
    check(source, tmp_path)


# ------------------------------------------------------------------------------------------------------------- graphs


IMAGES = {"a": to_images(6, 5, 3)}
GRAPHS: dict[str, Any] = {
    "residual": graph(["in"], ["out"], {
        "a": (conv(3, 4, mode="Same"), ["in"]), "b": (conv(4, 4, mode="Same"), ["a"]),
        "sum": (vertex("ElementWiseVertex", op="Add"), ["a", "b"]),
        "pool": (layer("GlobalPoolingLayer", poolingType="AVG"), ["sum"]),
        "out": (dense(4, 3, "softmax", "OutputLayer"), ["pool"]),
    }),
    "merged images": graph(["in"], ["out"], {
        "a": (conv(3, 4, mode="Same"), ["in"]), "b": (conv(3, 2, k=1), ["in"]),
        "both": (vertex("MergeVertex"), ["a", "b", "in"]), "out": (conv(9, 2, "tanh"), ["both"]),
    }),
    "merged flattened images": graph(["in"], ["out"], {
        "a": (conv(3, 4, "tanh", mode="Same"), ["in"]), "b": (conv(3, 2, "tanh", k=2), ["in"]),
        "flat": (vertex("PreprocessorVertex", preProcessor=to_rows(6, 5, 4)), ["a"]),
        "flat2": (vertex("PreprocessorVertex", preProcessor=to_rows(5, 4, 2)), ["b"]),
        "both": (vertex("MergeVertex"), ["flat", "flat2"]), "out": (dense(160, 2, "tanh"), ["both"]),
    }, {"a": to_images(6, 5, 3), "b": to_images(6, 5, 3)}),
    "two inputs and outputs": graph(["in", "more"], ["out", "b"], {
        "a": (conv(3, 4), ["in"]), "b": (dense(4 * 4 * 3, 5, "tanh"), ["a"]), "c": (dense(7, 5, "tanh"), ["more"]),
        "both": (vertex("MergeVertex"), ["b", "c"]), "out": (dense(10, 3, "softmax", "OutputLayer"), ["both"]),
    }, {**IMAGES, "b": to_rows(4, 3, 4)}),
    "subset of images": graph(["in"], ["out"], {
        "a": (conv(3, 6), ["in"]), "some": (vertex("SubsetVertex", **{"from": 1, "to": 3}), ["a"]),
        "out": (conv(3, 2, "tanh"), ["some"]),
    }),
    "subset of flattened images": graph(["in"], ["out"], {
        "a": (conv(3, 2, "tanh"), ["in"]),
        "flat": (vertex("PreprocessorVertex", preProcessor=to_rows(4, 3, 2)), ["a"]),
        "some": (vertex("SubsetVertex", **{"from": 5, "to": 14}), ["flat"]), "out": (dense(10, 2, "tanh"), ["some"]),
    }, IMAGES),
    "scaled and shifted": graph(["in"], ["out"], {
        "a": (vertex("ScaleVertex", scaleFactor=0.25), ["in"]), "b": (vertex("ShiftVertex", shiftFactor=-0.5), ["a"]),
        "out": (conv(3, 2, "tanh"), ["b"]),
    }),
    "unit length": graph(["in"], ["out"], {
        "a": (dense(7, 4, "tanh"), ["in"]), "out": (vertex("L2NormalizeVertex", eps=1e-8), ["a"]),
    }),
    "unit length of images": graph(["in"], ["out"], {
        "a": (conv(3, 4, "tanh"), ["in"]), "out": (vertex("L2NormalizeVertex", eps=1e-8), ["a"]),
    }),
    "pool helper": graph(["in"], ["out"], {
        "a": (conv(3, 4), ["in"]), "b": (vertex("PoolHelperVertex"), ["a"]), "out": (conv(4, 2, "tanh"), ["b"]),
    }),
    **{
        f"joined by {op}": graph(["in"], ["out"], {
            "a": (dense(7, 4, "tanh"), ["in"]), "b": (dense(7, 4, "tanh"), ["in"]), "c": (dense(7, 4, "tanh"), ["in"]),
            "out": (vertex("ElementWiseVertex", op=op), ["a", "b", "c"][: 2 if op == "Subtract" else 3]),
        })
        for op in ("Add", "Average", "Max", "Product", "Subtract")
    },
}  # fmt: skip


@pytest.mark.tensorflow
@pytest.mark.parametrize("name", GRAPHS)
def test_graphs(name: str, tmp_path: Path) -> None:
    check(network(tmp_path, GRAPHS[name]), tmp_path)


def test_the_older_styles_give_the_same_graph(tmp_path: Path) -> None:
    names = {"ConvolutionLayer": "convolution", "DenseLayer": "dense", "OutputLayer": "output",
             "CnnToFeedForwardPreProcessor": "cnnToFeedForward", "FeedForwardToCnnPreProcessor": "feedForwardToCnn"}  # fmt: skip

    def older(item: Any) -> Any:
        if isinstance(item, list):
            return [older(one) for one in item]
        if not isinstance(item, dict):
            return item
        fields = {key: older(value) for key, value in item.items() if key != "@class"}
        if "@class" not in item:
            return fields
        name = item["@class"].rpartition(".")[2].removeprefix("Activation")
        return {names.get(name, name): fields}

    for name in ("merged flattened images", "two inputs and outputs", "subset of images", "joined by Average"):
        one, other = tmp_path / "new.zip", tmp_path / "old.zip"
        write(one, GRAPHS[name])
        write(other, older(GRAPHS[name]), weights_of=GRAPHS[name])
        a, b = (graph_of(open_graph(path)) for path in (one, other))
        assert [(n.name, n.op, n.inputs) for n in a] == [(n.name, n.op, n.inputs) for n in b]
        assert all(x.attrs == y.attrs for x, y in zip(a, b, strict=True))


def vgg(width: int = 4, classes: int = 5) -> dict[str, Any]:
    """The network of VGG-16: 13 convolutions, 5 poolings, 3 dense layers, of images of 64x64."""
    vertices: dict[str, tuple[Any, list[str]]] = {}
    before, channels, size = "in", 3, 64
    for block, count in enumerate((2, 2, 3, 3, 3), 1):
        for i in range(1, count + 1):
            wide = width * min(2 ** (block - 1), 8)
            vertices[name := f"block{block}_conv{i}"] = conv(channels, wide, mode="Same"), [before]
            before, channels = name, wide
        vertices[name := f"block{block}_pool"] = pool(), [before]
        before, size = name, size // 2
    count = size * size * channels
    vertices["fc1"] = dense(count, 24), [before]
    vertices["fc2"] = dense(24, 24), ["fc1"]
    vertices["predictions"] = dense(24, classes, "softmax", "OutputLayer"), ["fc2"]
    return graph(["in"], ["predictions"], vertices, {"fc1": to_rows(size, size, channels)})


@pytest.mark.tensorflow
def test_a_network_like_vgg(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path / "vgg.zip", vgg())
    model = open_graph(path)
    (signature,) = model.signatures.values()
    assert [(s.name, s.shape) for s in signature.inputs] == [("in:0", (None, 64, 64, 3))]
    assert model.facts["image_size"] == "64x64 (64x64 to 95x95 would fit)"
    check(formats.open_model(path), tmp_path, batch=2)

    call = Caller(monkeypatch)
    found = [row[0] for row in call("nodes", path, "--only", "bottlenecks").rows]
    assert {"fc1/flatten", "fc1", "fc2"} <= set(found)
    frozen = call("freeze", path, "-o", tmp_path / "frozen.pb", "--json").answer
    assert len(frozen["variables"]) == 32
    assert frozen["unused"] == []
    assert call("cut", path, "--bottleneck", "block5_pool", "-o", tmp_path / "trunk.pb").status == 0
    np.savez(tmp_path / "head.npz", weights=np.ones((24, 3), np.float32), biases=np.zeros(3, np.float32))
    grafted = call(
        "graft", path, "--bottleneck", "fc2", "--head", tmp_path / "head.npz", "-o", tmp_path / "new.pb", "--json"
    )
    assert [o["name"] for o in grafted.answer["outputs"]] == ["head/logits:0", "head/softmax:0"]
    exported = call("export", path, "--onnx", "-o", tmp_path / "vgg.onnx", "--batch", "dynamic", "--json").answer
    assert exported["verdict"] == "PASS"
    assert exported["inputs"][0]["shape"] == [None, 64, 64, 3]
    served = call("export", path, "--saved-model", "-o", tmp_path / "served", "--json").answer
    assert served["verdict"] == "PASS"
    assert call("verify", path, tmp_path / "vgg.onnx").status == 0
    assert call("verify", path, tmp_path / "new.pb", "--match", "predictions=head/softmax").status == 1


# ---------------------------------------------------------------------------------------------- without a runtime


def test_the_graph_of_the_fixture() -> None:
    model = open_graph(FIXTURE)
    (signature,) = model.signatures.values()
    assert [(s.name, s.shape, s.key) for s in signature.inputs] == [("input:0", (None, 8, 8, 1), "input")]
    assert [(s.name, s.shape, s.key) for s in signature.outputs] == [("output:0", (None, 2), "output")]
    assert [(n.name, n.op) for n in graph_of(model) if n.op != "Const"] == [
        ("input", "Placeholder"), ("conv/Conv2D", "Conv2D"), ("conv/preactivation", "BiasAdd"), ("conv", "Relu"),
        ("pool", "MaxPool"), ("dense/flatten", "Reshape"), ("dense/MatMul", "MatMul"),
        ("dense/preactivation", "BiasAdd"), ("dense", "Tanh"), ("output/MatMul", "MatMul"),
        ("output/logits", "BiasAdd"), ("output", "Softmax"),
    ]  # fmt: skip
    row = np.arange(1, 183, dtype=np.float32) / 64
    kernel = graph_of(model).node("conv/W").tensor()
    assert kernel is not None
    assert np.array_equal(kernel.numpy(), row[3:30].reshape(3, 1, 3, 3).transpose(2, 3, 1, 0))
    matrix = graph_of(model).node("dense/W").tensor()
    assert matrix is not None
    by_channel = row[30:165].reshape(5, 3, 3, 3)  # unit, channel, height, width
    assert np.array_equal(matrix.numpy(), by_channel.transpose(2, 3, 1, 0).reshape(27, 5))


def test_the_commands(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    call = Caller(monkeypatch)
    done = call("freeze", FIXTURE, "-o", tmp_path / "frozen.pb")
    assert (done.status, done.err.splitlines()[0]) == (
        0,
        "restored 6 variables; 0 weights of the checkpoint not needed",
    )
    assert [node.name for node in ti.read_graph(tmp_path / "frozen.pb")] == [
        n.name for n in graph_of(open_graph(FIXTURE))
    ]
    assert call("nodes", FIXTURE).rows[0][:2] == ["conv", "ConvolutionLayer"]
    assert call("nodes", FIXTURE, "--only", "bottlenecks").rows[0][:2] == ["dense", "Tanh"]
    done = call("cut", FIXTURE, "--bottleneck", "dense", "-o", tmp_path / "trunk.pb", "--json")
    assert [o["name"] for o in done.answer["outputs"]] == ["dense:0"]
    done = call("cut", FIXTURE, "--bottleneck", "dence", "-o", tmp_path / "x.pb", "--json")
    assert (done.status, done.error["evidence"]["near"][:1]) == (2, ["dense"])


def test_names_that_are_none_in_tensorflow(tmp_path: Path) -> None:
    config = chain(
        layer("DenseLayer", 2, 3, "tanh", layerName="my layer:0"), layer("DenseLayer", 3, 3, "tanh", layerName="my_layer_0"),
        layer("DenseLayer", 3, 3, "tanh", layerName="_a"), layer("DenseLayer", 3, 3, "tanh", layerName="input"),
        layer("DenseLayer", 3, 3, "tanh", layerName="_a/W"),
    )  # fmt: skip
    model = convert(network(tmp_path, config))
    made = [node.name for node in graph_of(model) if node.op in {"Tanh", "Placeholder"}]
    assert made == ["input_", "my_layer_0", "my_layer_0_1", "layer_a", "input", "layer_a/W"]
    assert len(graph_of(model).topological()) == len(graph_of(model))


def test_outputs_are_those_the_file_names(tmp_path: Path) -> None:
    model = convert(network(tmp_path, GRAPHS["two inputs and outputs"]))
    (signature,) = model.signatures.values()
    assert [s.name for s in signature.outputs] == ["out:0", "b:0"]
    assert [(s.name, s.shape) for s in signature.inputs] == [("in:0", (None, 6, 5, 3)), ("more:0", (None, 7))]


def test_nothing_is_read_before_it_is_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = network(tmp_path, CHAINS["dense behind images"])

    def fail(*_: object) -> None:
        raise AssertionError("read")

    monkeypatch.setattr("tfinspect.formats.dl4j._Row.part", fail)
    model = convert(source)
    assert sum(node.op == "Const" for node in graph_of(model)) == 5
    with pytest.raises(AssertionError, match="read"):
        graph_of(model).node("layer0/W").tensor().numpy()  # type: ignore[union-attr]


# ------------------------------------------------------------------------------------------------- the size of images


@pytest.mark.parametrize(
    ("config", "size"),
    [
        (chain(conv(1, 2, k=5), pool(), conv(2, 3, k=5), pool(), dense(48, 2), before={4: to_rows(4, 4, 3)}),
         "28x28 (28x28 to 31x31 would fit)"),
        (chain(conv(1, 2, s=2, mode="Same"), dense(24, 2), before={1: to_rows(3, 4, 2)}), "6x8 (5x7 to 6x8 would fit)"),
        (chain(conv(1, 2), layer("Upsampling2D", size=[2, 2]), dense(48, 2), before={2: to_rows(4, 6, 2)}), "4x5"),
        (chain(layer("ZeroPaddingLayer", padding=[1, 2, 3, 4]), conv(1, 2), dense(40, 2), before={2: to_rows(4, 5, 2)}),
         "3x0"),
        (chain(conv(1, 2), dense(2 * 49, 2)), "9x9"),
    ],
)  # fmt: skip
def test_the_size_follows_from_the_rows(config: dict[str, Any], size: str, tmp_path: Path) -> None:
    source = network(tmp_path, config)
    if "0" in size.split("x")[1]:
        with pytest.raises(InvalidGraphError, match="no image becomes one of 4x5 later"):
            convert(source)
    else:
        assert convert(source).facts["image_size"] == size


steps = st.builds(
    Step, window=st.integers(1, 7), stride=st.integers(1, 3), added=st.integers(-2, 6), same=st.booleans(),
    times=st.integers(1, 3),
)  # fmt: skip


@settings(max_examples=200, deadline=None)
@given(st.lists(steps, min_size=1, max_size=6), st.integers(1, 9))
def test_sizes_backwards_are_those_forwards(path: list[Step], wanted: int) -> None:
    trail: Trail | str = "in"
    for step in path:
        trail = Trail(step, Step(), trail)

    def forwards(size: int) -> int:
        for step in path:
            size = step.size(size) if size > 0 else 0
        return size

    fitting = [size for size in range(1, 20_000) if forwards(size) == wanted]
    assert isinstance(trail, Trail)
    found = _side_before(trail, 0, wanted)
    if found is None:
        assert fitting == []
    else:
        assert (found[1], found[2]) == (fitting[0], fitting[-1])
        assert found[0] in fitting


# ------------------------------------------------------------------------------------------------------------ refusals


REFUSED: dict[str, tuple[Any, type[TfinspectError], str]] = {
    "layer": (chain(layer("LSTM", 3, 4, "tanh"), dense(4, 2)), UnsupportedOpsError, "`layer0` is a LSTM"),
    "wrapper": (
        chain(dense(3, 4), {"layer": {"@class": "Bidirectional", "fwd": layer("LSTM", 4, 4, "tanh")["layer"]}}),
        UnsupportedOpsError, "`layer1` is a Bidirectional",
    ),
    "vertex": (
        graph(["in"], ["out"], {"a": (dense(3, 4), ["in"]), "out": (vertex("StackVertex"), ["a", "a"])}),
        UnsupportedOpsError, "`out` is a StackVertex",
    ),
    "activation": (
        chain(dense(3, 4, "Maxout")), UnsupportedOpsError, "`layer0` has the activation maxout",
    ),
    "alpha": (
        chain(layer("DenseLayer", 3, 4, activation("elu", alpha=2.0))), UnsupportedOpsError,
        "`layer0` has an elu activation with an alpha other than 1",
    ),
    "slope": (
        chain(layer("DenseLayer", 3, 4, activation("relu", negativeSlope=0.1))), UnsupportedOpsError,
        "`layer0` has a relu activation with a threshold or slope",
    ),
    "pooling": (chain(conv(1, 2), pool("PNORM")), UnsupportedOpsError, "`layer1` pools by PNORM"),
    "dilated pooling": (
        chain(conv(1, 2), pool(dilation=[2, 2])), UnsupportedOpsError, "`layer1` is a pooling layer with dilation"
    ),
    "global pooling": (
        chain(conv(1, 2), layer("GlobalPoolingLayer", poolingType="PNORM")), UnsupportedOpsError, "`layer1` pools by PNORM"
    ),
    "pooling of channels": (
        chain(conv(1, 2), layer("GlobalPoolingLayer", poolingType="AVG", poolingDimensions=[1, 2])), UnsupportedOpsError,
        "`layer1` pools over other dimensions than height and width",
    ),
    "mode": (chain(conv(1, 2, mode="Causal")), UnsupportedOpsError, "`layer0` has the convolution mode Causal"),
    "depthwise": (
        chain(layer("DepthwiseConvolution2D", 2, 6, "relu", depthMultiplier=3, kernelSize=[3, 3], stride=[2, 1])),
        UnsupportedOpsError, "`layer0` is a depthwise convolution with dilation or unequal strides",
    ),
    "preprocessor": (
        chain(dense(3, 4), dense(4, 2), before={1: to_rows(1, 1, 1, "RnnToFeedForwardPreProcessor")}),
        UnsupportedOpsError, "`layer1` stands behind a RnnToFeedForwardPreProcessor",
    ),
    "layer norm": (chain(dense(3, 4, hasLayerNorm=True)), UnsupportedOpsError, "`layer0` normalises its layer"),
    "sum of unknown padding": (
        chain(conv(1, 2), pool("SUM", mode="Same")), UnsupportedOpsError,
        "`layer1` counts the padding around images of unknown size",
    ),
}  # fmt: skip
WRONG: dict[str, tuple[Any, str]] = {
    "no activation": (chain(layer("DenseLayer", 3, 4)), "`layer0`: its activation is not given"),
    "channels": (chain(conv(1, 2), conv(3, 2)), "`layer1`: it takes 3 channels, and is given images of ?x?x2"),
    "rows": (chain(dense(3, 4), dense(5, 2)), "`layer1`: it takes 5 numbers, and is given 4"),
    "images of rows": (chain(dense(3, 4), conv(1, 2)), "`layer1`: it takes images, and is given rows of 4 numbers"),
    "rows of images": (
        chain(conv(1, 2), dense(7, 2)), "`layer1`: it takes rows of 7 numbers, and is given images of ?x?x2"
    ),
    "flattened": (
        chain(conv(1, 2), dense(18, 2), before={0: to_images(9, 9, 1), 1: to_rows(3, 3, 2)}),
        "`layer1`: the preprocessor before it flattens images of 3x3x2, and is given 7x7x2",
    ),
    "too small": (
        chain(conv(1, 2), conv(2, 2), before={0: to_images(4, 4, 1)}), "`layer1`: nothing is left of an image of 2x2x2"
    ),
    "strict": (
        chain(pool(mode="Strict"), before={0: to_images(5, 4, 1)}),
        "`layer0`: its strict mode does not allow an image of 5x4x1",
    ),
    "stride": (chain(conv(1, 2, s=0)), "`layer0`: a kernel, stride or dilation is 0"),
    "padding": (chain(conv(1, 2, padding=[1, -1])), "`layer0`: `padding` is [1, -1], whole numbers were expected"),
    "stride of one": (chain(conv(1, 2, stride=[1])), "`layer0`: `stride` is [1], a list of 2 numbers was expected"),
    "epsilon": (
        chain(dense(2, 3), layer("BatchNormalization", 3, 3, eps="1", useLogStd=False)),
        "`layer1`: `eps` is '1', a number was expected",
    ),
    "norm": (
        chain(dense(2, 3), layer("BatchNormalization", 4, 4)), "`layer1`: it normalises 4 channels, and is given 3"
    ),
    "nothing to go by": (chain(layer("ActivationLayer", act="tanh")), "`input`: no layer says what it takes"),
    "merge": (
        graph(["in"], ["out"], {"a": (dense(3, 4), ["in"]), "b": (dense(3, 5), ["in"]),
                                "out": (vertex("ElementWiseVertex", op="Add"), ["a", "b"])}),
        "`out`: it joins 4 and 5",
    ),
    "subset": (
        graph(["in"], ["out"], {"a": (dense(3, 4), ["in"]), "out": (vertex("SubsetVertex", **{"from": 2, "to": 4}), ["a"])}),
        "`out`: it takes 2 to 4 of 4",
    ),
    "two inputs": (
        graph(["in"], ["out"], {"a": (dense(3, 4), ["in"]), "out": (dense(4, 2), ["a", "a"])}),
        "`out`: it takes one input, and is given 2",
    ),
    "order": (
        graph(["in"], ["out"], {"a": (dense(3, 4), ["in"]), "out": (dense(4, 2), ["a"])})
        | {"topologicalOrderStr": ["in", "out", "a"]},
        "`out`: it stands before `a`, which it takes",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_what_has_no_form_is_named(name: str, tmp_path: Path) -> None:
    config, error, words = REFUSED[name]
    with pytest.raises(error) as caught:
        convert(network(tmp_path, config))
    path = tmp_path / "net.zip"
    assert caught.value.message == f"{path}: {words}, which tfinspect does not convert to a TensorFlow graph"
    assert caught.value.hint == f"its weights can be read: tfinspect vars {path}"


@pytest.mark.parametrize("name", WRONG)
def test_what_does_not_fit_is_named(name: str, tmp_path: Path) -> None:
    config, words = WRONG[name]
    with pytest.raises(InvalidGraphError) as caught:
        convert(network(tmp_path, config))
    assert caught.value.message == f"{tmp_path / 'net.zip'}: {words}"


def test_parameters_that_cannot_be_told_apart(tmp_path: Path) -> None:
    source = network(tmp_path, chain(dense(3, 4), layer("CapsuleLayer", 3, 4)))
    with pytest.raises(
        TfinspectError, match="`layer1` is a CapsuleLayer, whose parameters tfinspect cannot tell apart"
    ):
        convert(source)


values = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 1 << 40) | st.floats() | st.sampled_from(["", "Same", "MAX", "x"]),
    lambda inner: st.lists(inner, max_size=4),
    max_leaves=4,
)
MIXED = {**CHAINS, **GRAPHS}


@settings(max_examples=300, deadline=None)
@given(data=st.data(), name=st.sampled_from(sorted(MIXED)))
def test_any_setting_gives_a_graph_or_one_error(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject, name: str
) -> None:
    config = json.loads(json.dumps(MIXED[name]))
    places = []
    waiting: list[Any] = [config]
    while waiting:
        item = waiting.pop()
        keys = item if isinstance(item, dict) else range(len(item)) if isinstance(item, list) else ()
        for key in keys:
            waiting.append(item[key])
            if key != "@class":
                places.append((item, key))
    item, key = data.draw(st.sampled_from(range(len(places))).map(places.__getitem__))
    item[key] = data.draw(values)
    model, said = None, ""
    try:
        model = convert(network(tmp_path_factory.getbasetemp(), config, weights_of=MIXED[name]))
    except TfinspectError as error:
        said = error.message
    if model is None:
        assert len(said.splitlines()) == 1
    else:
        assert len(graph_of(model).topological()) == len(graph_of(model))
