"""Runs graphs that were rebuilt from checkpoints beside references of the same networks: `slim_oracle.py FOLDER`.

For each NAME it reads NAME.pb, a frozen graph, and NAME.npz: the weights by slim's names, and the images. It writes
NAME.out.npz: what the graph gives and what the reference gives, before the softmax and before the classifier.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
os.environ["TF_ENABLE_ONEDNN_OPTS"] = "0"
import tensorflow as tf

if TYPE_CHECKING:
    from collections.abc import Mapping

    Weights = Mapping[str, np.ndarray]

# Table 1 of "Going deeper with convolutions": 1x1, 3x3 reduced, 3x3, 5x5 reduced, 5x5, behind the pool
GOOGLENET = {
    "3b": (64, 96, 128, 16, 32, 32), "3c": (128, 128, 192, 32, 96, 64), "4b": (192, 96, 208, 16, 48, 64),
    "4c": (160, 112, 224, 24, 64, 64), "4d": (128, 128, 256, 24, 64, 64), "4e": (112, 144, 288, 32, 64, 64),
    "4f": (256, 160, 320, 32, 128, 128), "5b": (256, 160, 320, 32, 128, 128), "5c": (384, 192, 384, 48, 128, 128),
}  # fmt: skip


def inception_v1(weights: Weights, images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    def conv(x: Any, name: str, units: int, stride: int = 1) -> Any:
        layer = f"InceptionV1/{name}"
        kernel = weights[f"{layer}/weights"]
        assert kernel.shape[-1] == units, (name, kernel.shape)
        x = tf.nn.conv2d(x, kernel, stride, "SAME")
        mean, variance, beta = (weights[f"{layer}/BatchNorm/{n}"] for n in ("moving_mean", "moving_variance", "beta"))
        return tf.nn.relu((x - mean) / tf.sqrt(variance + 0.001) + beta)

    x = conv(images, "Conv2d_1a_7x7", 64, 2)
    x = tf.nn.max_pool2d(x, 3, 2, "SAME")
    x = conv(conv(x, "Conv2d_2b_1x1", 64), "Conv2d_2c_3x3", 192)
    x = tf.nn.max_pool2d(x, 3, 2, "SAME")
    for block, (one, reduced_3, three, reduced_5, five, pooled) in GOOGLENET.items():
        if block in ("4b", "5b"):
            x = tf.nn.max_pool2d(x, 3 if block == "4b" else 2, 2, "SAME")
        at = f"Mixed_{block}/Branch_"
        small = conv(x, f"{at}2/Conv2d_0a_1x1", reduced_5)
        x = tf.concat(
            [
                conv(x, f"{at}0/Conv2d_0a_1x1", one),
                conv(conv(x, f"{at}1/Conv2d_0a_1x1", reduced_3), f"{at}1/Conv2d_0b_3x3", three),
                conv(small, f"{at}2/Conv2d_0{'a' if block == '5b' else 'b'}_3x3", five),
                conv(tf.nn.max_pool2d(x, 3, 1, "SAME"), f"{at}3/Conv2d_0b_1x1", pooled),
            ],
            3,
        )
    pooled = tf.reduce_mean(x, (1, 2))
    kernel, biases = (weights[f"InceptionV1/Logits/Conv2d_0c_1x1/{name}"] for name in ("weights", "biases"))
    return (pooled @ kernel[0, 0] + biases).numpy(), pooled.numpy()


def inception_v3(weights: Weights, images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    import keras

    kernel, biases = (weights[f"InceptionV3/Logits/Conv2d_1c_1x1/{name}"] for name in ("weights", "biases"))
    shape = images.shape[1:]
    model = keras.applications.InceptionV3(
        weights=None, input_shape=shape, classes=len(biases), classifier_activation=None
    )

    def numbered(kind: type) -> list[Any]:
        found = [layer for layer in model.layers if isinstance(layer, kind)]
        return sorted(found, key=lambda layer: int(layer.name.rpartition("_")[2]) if "_" in layer.name[-4:] else 0)

    # both libraries made their layers in the order of the paper, so the files' order of names is that of the layers
    layers = [name.removesuffix("/weights") for name in weights if name.endswith("/weights") and "Logits" not in name]
    convolutions = numbered(keras.layers.Conv2D)
    norms = numbered(keras.layers.BatchNormalization)
    assert len(layers) == len(convolutions) == len(norms)
    for name, convolution, norm in zip(layers, convolutions, norms, strict=True):
        convolution.set_weights([weights[f"{name}/weights"]])
        assert norm.epsilon == 0.001
        norm.set_weights([weights[f"{name}/BatchNorm/{n}"] for n in ("beta", "moving_mean", "moving_variance")])
    model.get_layer("predictions").set_weights([kernel[0, 0], biases])
    both = keras.Model(model.input, [model.output, model.get_layer("avg_pool").output])
    logits, pooled = both(images, training=False)
    return logits.numpy(), pooled.numpy()


ROOTS = {"inception_v1": "InceptionV1/Logits", "inception_v3": "InceptionV3/Logits"}
REFERENCES = {
    "inception_v1": (inception_v1, ("SpatialSqueeze:0", "AvgPool_0a_7x7/AvgPool:0")),
    "inception_v3": (inception_v3, ("SpatialSqueeze:0", "AvgPool_1a_3x3/AvgPool:0")),  # of images of 139x139
}


def run(graph: Path, images: np.ndarray, fetches: list[str]) -> list[np.ndarray]:
    definition = tf.compat.v1.GraphDef.FromString(graph.read_bytes())
    with tf.Graph().as_default() as imported, tf.compat.v1.Session(graph=imported) as session:
        tf.import_graph_def(definition, name="")
        return session.run(fetches, {"input:0": images})


def main(folder: Path) -> None:
    for graph in sorted(folder.glob("*.pb")):
        reference, fetches = REFERENCES[graph.stem]
        found = dict(np.load(graph.with_suffix(".npz")))
        images = found.pop("images")
        logits, pooled = run(graph, images, [f"{ROOTS[graph.stem]}/{name}" for name in fetches])
        expected, features = reference(found, images)
        np.savez(
            graph.with_suffix(".out.npz"),
            logits=logits,
            pooled=pooled.reshape(len(images), -1),
            expected=expected,
            features=features.reshape(len(images), -1),
        )


main(Path(sys.argv[1]))
