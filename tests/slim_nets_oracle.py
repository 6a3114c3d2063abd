"""Runs rebuilt slim networks in TensorFlow and says, as JSON, how far they are from what they should compute.

usage: slim_nets_oracle.py TASK...

keras:NAME           keras.applications, whose random weights are carried over to slim's names
reference:NAME       the published network in NumPy
frozen:A.pb:B.pb:N   two frozen graphs of MobileNet v1, on an image of NxN
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
os.environ["CUDA_VISIBLE_DEVICES"] = "-1"

import numpy as np

from tests import slim_reference as reference
from tfinspect import formats
from tfinspect.api.freeze import freeze_model
from tfinspect.architectures.recognize import recognize
from tfinspect.ir.model import Model

Array = np.ndarray[Any, Any]
BATCH_NORM = ("gamma", "beta", "moving_mean", "moving_variance")
CLASSES = 7


class Carried:
    """Takes a Keras model's weights over to slim's names."""

    def __init__(self, model: Any, scope: str) -> None:
        self.model, self.scope = model, scope
        self.variables: dict[str, Array] = {}

    def conv(self, name: str, scope: str, shape: tuple[int, ...] | None = None, *, depthwise: bool = False) -> None:
        kernel, *bias = self.model.get_layer(name).get_weights()
        word = "depthwise_weights" if depthwise else "weights"
        self.variables[f"{self.scope}/{scope}/{word}"] = kernel.reshape(shape or kernel.shape)
        if bias:
            self.variables[f"{self.scope}/{scope}/biases"] = bias[0]

    def norm(self, name: str, scope: str) -> None:
        for word, value in zip(BATCH_NORM, self.model.get_layer(name).get_weights(), strict=True):
            self.variables[f"{self.scope}/{scope}/{word}"] = value

    def both(self, conv: str, norm: str, scope: str, *, depthwise: bool = False) -> None:
        self.conv(conv, scope, depthwise=depthwise)
        self.norm(norm, f"{scope}/BatchNorm")

    def dense(self, name: str, scope: str, kernel: int = 1) -> None:
        rows, columns = self.model.get_layer(name).get_weights()[0].shape
        self.conv(name, scope, (kernel, kernel, rows // kernel**2, columns))


def randomized(model: Any, epsilon: float, rng: np.random.Generator) -> Any:
    """Give every weight a value that keeps activations of ordinary size; biases of convolutions before a norm none."""
    import keras

    for layer in model.layers:
        values = []
        for variable in layer.weights:
            shape, kind = tuple(variable.shape), variable.name
            if kind in ("kernel", "depthwise_kernel"):
                fan_in = np.prod(shape[:2]) if isinstance(layer, keras.layers.DepthwiseConv2D) else np.prod(shape[:-1])
                values.append(rng.standard_normal(shape, "f4") * np.float32(np.sqrt(1.5 / fan_in)))
            elif kind in ("gamma", "moving_variance"):
                values.append(rng.uniform(0.6, 1.4, shape).astype("f4"))
            else:
                values.append((rng.standard_normal(shape) * 0.2).astype("f4"))
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.epsilon = epsilon
        layer.set_weights(values)
    return model


def vgg(depth: int, rng: np.random.Generator) -> tuple[Any, Carried]:
    import keras

    make = {16: keras.applications.VGG16, 19: keras.applications.VGG19}[depth]
    trunk = make(weights=None, include_top=False, input_shape=(64, 64, 3))
    x = keras.layers.Flatten()(trunk.output)  # what follows is Keras's own, but for 4096 units
    for name in ("fc1", "fc2"):
        x = keras.layers.Dense(80, activation="relu", name=name)(x)
    model = keras.Model(trunk.input, keras.layers.Dense(CLASSES, name="predictions")(x))
    carried = Carried(randomized(model, 0, rng), f"vgg_{depth}")
    for block, count in enumerate(reference.VGG_CONVOLUTIONS[depth], 1):
        for number in range(1, count + 1):
            carried.conv(f"block{block}_conv{number}", f"conv{block}/conv{block}_{number}")
    carried.dense("fc1", "fc6", 2)
    carried.dense("fc2", "fc7")
    carried.dense("predictions", "fc8")
    return carried.model, carried


def resnet(version: int, depth: int, rng: np.random.Generator) -> tuple[Any, Carried]:
    """Keras puts the stride of version 1 at the start of the next block, where it comes to the same.

    It pads pool1 with zeros on both sides; with an odd size, and nothing negative before the pool, that is slim's.
    """
    import keras

    make = getattr(keras.applications, f"ResNet{depth}" + ("V2" if version == 2 else ""))
    model = make(weights=None, input_shape=(65, 65, 3), classes=CLASSES, classifier_activation=None)
    carried = Carried(randomized(model, 1e-5, rng), f"resnet_v{version}_{depth}")
    if version == 2:
        kernel, bias = model.get_layer("conv1_conv").get_weights()
        model.get_layer("conv1_conv").set_weights([kernel, bias + 20])
    for layer in model.layers:  # what a norm follows has no bias in slim
        if version == 1 and layer.name.endswith("_conv"):
            layer.set_weights([layer.get_weights()[0], 0 * layer.get_weights()[1]])
    carried.conv("conv1_conv", "conv1")
    if version == 1:
        carried.norm("conv1_bn", "conv1/BatchNorm")
    for block, count in enumerate(reference.RESNET_UNITS[depth], 1):
        for unit in range(1, count + 1):
            name, scope = f"conv{block + 1}_block{unit}", f"block{block}/unit_{unit}/bottleneck_v{version}"
            parts = {"shortcut": 0, "conv1": 1, "conv2": 2, "conv3": 3}
            for part, number in parts.items():
                if part == "shortcut" and unit > 1:
                    continue
                carried.conv(f"{name}_{number}_conv", f"{scope}/{part}")
                if version == 1 or part in ("conv1", "conv2"):
                    carried.norm(f"{name}_{number}_bn", f"{scope}/{part}/BatchNorm")
            if version == 2:
                carried.norm(f"{name}_preact_bn", f"{scope}/preact")
    if version == 2:
        carried.norm("post_bn", "postnorm")
    else:
        for name in [name for name in carried.variables if name.endswith("/biases")]:
            assert not carried.variables.pop(name).any()
    carried.dense("predictions", "logits")
    return model, carried


def mobilenet_v1(width: float, rng: np.random.Generator) -> tuple[Any, Carried]:
    import keras

    options = {"input_shape": (64, 64, 3), "classes": CLASSES, "classifier_activation": None}
    model = keras.applications.MobileNet(alpha=width, weights=None, **options)
    carried = Carried(randomized(model, 1e-3, rng), "MobilenetV1")
    carried.both("conv1", "conv1_bn", "Conv2d_0")
    for number in range(1, 14):
        carried.both(f"conv_dw_{number}", f"conv_dw_{number}_bn", f"Conv2d_{number}_depthwise", depthwise=True)
        carried.both(f"conv_pw_{number}", f"conv_pw_{number}_bn", f"Conv2d_{number}_pointwise")
    carried.conv("conv_preds", "Logits/Conv2d_1c_1x1")
    return model, carried


def mobilenet_v2(width: float, rng: np.random.Generator) -> tuple[Any, Carried]:
    import keras

    options = {"input_shape": (64, 64, 3), "classes": CLASSES, "classifier_activation": None}
    model = keras.applications.MobileNetV2(alpha=width, weights=None, **options)
    carried = Carried(randomized(model, 1e-3, rng), "MobilenetV2")
    carried.both("Conv1", "bn_Conv1", "Conv")
    for number in range(17):
        name, scope = (f"block_{number}", f"expanded_conv_{number}") if number else ("expanded_conv", "expanded_conv")
        if number:
            carried.both(f"{name}_expand", f"{name}_expand_BN", f"{scope}/expand")
        carried.both(f"{name}_depthwise", f"{name}_depthwise_BN", f"{scope}/depthwise", depthwise=True)
        carried.both(f"{name}_project", f"{name}_project_BN", f"{scope}/project")
    carried.both("Conv_1", "Conv_1_bn", "Conv_1")
    carried.dense("predictions", "Logits/Conv2d_1c_1x1")
    return model, carried


def frozen(variables: dict[str, Array], size: int, path: Path, expected: str) -> tuple[str, str]:
    """Rebuild the network that variables belong to, freeze it, write it; return its last node and that of its logits."""
    checkpoint = reference.checkpoint(variables)
    found = recognize(checkpoint, None if expected.startswith("VGG") else (size, size))
    assert found is not None
    assert found.is_whole, (found.missing[:3], dict(found.wrong))
    assert not found.spare
    assert str(found) == expected.format(f"input {size}x{size}"), str(found)
    done = freeze_model(Model(path="", format="checkpoint_v2", graph=found.graph, checkpoint=checkpoint))
    assert set(done.report.restored.values()) == set(variables)
    formats.write_graph(done.graph, path, force=True)
    (output,) = done.outputs
    logits = next(node.name for node in done.graph.nodes if node.op == "Squeeze")
    return output.ref.name, logits


def run(path: Path, fetches: list[str], images: Array) -> list[Array]:
    import tensorflow as tf

    graph = tf.Graph()
    with graph.as_default():
        tf.graph_util.import_graph_def(tf.compat.v1.GraphDef.FromString(path.read_bytes()), name="")
    with tf.compat.v1.Session(graph=graph) as session:
        found: list[Array] = session.run([f"{name}:0" for name in fetches], {"input:0": images})
    return found


def compared(expected: Array, given: Array) -> dict[str, float]:
    """Say how far apart two results are, and how far apart the images of one are, both against the largest number."""
    assert expected.shape == given.shape
    scale = np.abs(expected).max()
    return {
        "error": float(np.abs(expected - given).max() / scale),
        "spread": float(np.ptp(expected, axis=0).max() / scale),
    }


def rebuilt(variables: dict[str, Array], images: Array, wanted: Array, folder: Path, expected: str) -> dict[str, float]:
    path = folder / "rebuilt.pb"
    output, logits = frozen(variables, images.shape[1], path, expected)
    given, before = run(path, [output, logits], images)
    if output == logits:
        assert output.endswith("/fc8/squeezed")
    else:
        np.testing.assert_allclose(given, reference.softmax(before), rtol=1e-5, atol=1e-7)
    return compared(wanted, before)


KERAS = {
    "vgg_16": (lambda rng: vgg(16, rng), 64, "VGG 16 (slim), 7 classes, {}"),
    "vgg_19": (lambda rng: vgg(19, rng), 64, "VGG 19 (slim), 7 classes, {}"),
    "resnet_v1_50": (lambda rng: resnet(1, 50, rng), 65, "ResNet v1 50 (slim), 7 classes, {}"),
    "resnet_v2_50": (lambda rng: resnet(2, 50, rng), 65, "ResNet v2 50 (slim), 7 classes, {}"),
    "mobilenet_v1_0.25": (lambda rng: mobilenet_v1(0.25, rng), 64, "MobileNet v1 0.25 (slim), 7 classes, {}"),
    "mobilenet_v1_1.0": (lambda rng: mobilenet_v1(1.0, rng), 64, "MobileNet v1 (slim), 7 classes, {}"),
    "mobilenet_v2_0.35": (lambda rng: mobilenet_v2(0.35, rng), 64, "MobileNet v2 0.35 (slim), 7 classes, {}"),
    "mobilenet_v2_1.0": (lambda rng: mobilenet_v2(1.0, rng), 64, "MobileNet v2 (slim), 7 classes, {}"),
}
PUBLISHED = {
    "resnet_v1_50": (reference.resnet_v1, {"depth": 50}, 64, "ResNet v1 50 (slim), 7 classes, {}"),
    "resnet_v2_50": (reference.resnet_v2, {"depth": 50}, 64, "ResNet v2 50 (slim), 7 classes, {}"),
    "resnet_v1_101": (reference.resnet_v1, {"depth": 101}, 33, "ResNet v1 101 (slim), 7 classes, {}"),
    "resnet_v2_101": (reference.resnet_v2, {"depth": 101}, 48, "ResNet v2 101 (slim), 7 classes, {}"),
    "resnet_v1_152": (reference.resnet_v1, {"depth": 152}, 48, "ResNet v1 152 (slim), 7 classes, {}"),
    "resnet_v2_152": (reference.resnet_v2, {"depth": 152}, 33, "ResNet v2 152 (slim), 7 classes, {}"),
    "MobilenetV1": (reference.mobilenet_v1, {"width": 0.5}, 96, "MobileNet v1 0.5 (slim), 7 classes, {}"),
    "MobilenetV2": (reference.mobilenet_v2, {"width": 0.5}, 97, "MobileNet v2 0.5 (slim), 7 classes, {}"),
}


def against_keras(name: str, folder: Path) -> dict[str, float]:
    make, size, expected = KERAS[name]
    rng = np.random.default_rng(4)
    model, carried = make(rng)
    images = rng.standard_normal((2, size, size, 3), "f4") * 2
    return rebuilt(carried.variables, images, np.asarray(model(images, training=False)), folder, expected)


def against_reference(name: str, folder: Path) -> dict[str, float]:
    make, options, size, expected = PUBLISHED[name]
    net = reference.Network(name, seed=6)
    images = np.random.default_rng(7).standard_normal((2, size, size, 3), "f4") * 2
    wanted = make(net, images, classes=CLASSES, **options)
    return rebuilt(net.variables, images, wanted, folder, expected)


def against_frozen(original: Path, rebuilt_from_checkpoint: Path, size: int) -> dict[str, float]:
    """Compare two frozen graphs of MobileNet v1, by their logits and by their predictions."""
    images = np.random.default_rng(8).uniform(-1, 1, (1, size, size, 3)).astype("f4")
    fetches = ["MobilenetV1/Logits/SpatialSqueeze", "MobilenetV1/Predictions/Reshape_1"]
    wanted, given = run(original, fetches, images), run(rebuilt_from_checkpoint, fetches, images)
    found = compared(wanted[0], given[0])
    return {**found, "predictions": float(np.abs(wanted[1] - given[1]).max())}


def main(*tasks: str) -> None:
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        for task in tasks:
            kind, name, *rest = task.split(":")
            if kind == "frozen":
                found[kind] = against_frozen(Path(name), Path(rest[0]), int(rest[1]))
            else:
                found[task] = (against_keras if kind == "keras" else against_reference)(name, Path(folder))
    json.dump(found, sys.stdout)


if __name__ == "__main__":
    main(*sys.argv[1:])
