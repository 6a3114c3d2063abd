"""Builds small models with Keras itself, saves them, and what they give: `keras_trunks_oracle.py LIBRARY FOLDER`."""

from __future__ import annotations

import importlib
import os
import sys
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"


def plain(keras: Any) -> Any:
    layer = keras.layers
    start = layer.Input((16, 16, 3), name="image")
    x = layer.Conv2D(4, 3, activation="relu", padding="same", name="block1_conv1")(start)
    x = layer.BatchNormalization(name="bn")(x)
    x = layer.Dropout(0.3, name="drop")(x)
    x = layer.MaxPooling2D(name="block1_pool")(x)
    x = layer.SeparableConv2D(5, 3, name="sep")(x)
    y = layer.Conv2D(5, 3, padding="same", name="side-1")(layer.Activation("relu", name="act")(x))
    x = layer.GlobalAveragePooling2D(name="avg_pool")(layer.Add(name="add")([x, y]))
    return keras.Model(start, layer.Dense(3, activation="softmax", name="predictions")(x), name="plain")


def nested(keras: Any) -> Any:
    layer = keras.layers
    inner = [layer.Input((16, 16, 3)), layer.Conv2D(4, 3, name="c1"), layer.BatchNormalization(name="b1")]
    inner += [layer.ReLU(6.0, name="r1"), layer.DepthwiseConv2D(3, name="d1"), layer.BatchNormalization(name="b2")]
    base = keras.Sequential(inner, name="base")
    base.trainable = False
    outer = [layer.Input((16, 16, 3)), base, layer.BatchNormalization(name="b3"), layer.Flatten(name="flat")]
    return keras.Sequential([*outer, layer.Dense(4, name="fc")], name="nested")


def text(keras: Any) -> Any:
    layer = keras.layers
    start = layer.Input((7,), dtype="int32", name="words")
    x = layer.Embedding(11, 6, name="emb")(start)
    x = layer.Bidirectional(layer.LSTM(5, return_sequences=True), name="bi")(x)
    x = layer.TimeDistributed(layer.Dense(4, activation="tanh"), name="td")(x)
    x = layer.SimpleRNN(3, name="srnn")(layer.GRU(3, return_sequences=True, name="gru")(x))
    return keras.Model(start, layer.Dense(2, name="out")(x), name="text")


def two(keras: Any) -> Any:
    layer = keras.layers
    a, b = layer.Input((6, 4), name="a"), layer.Input((6, 4), name="b")
    x = layer.LayerNormalization(name="ln")(layer.MultiHeadAttention(2, 3, name="mha")(a, b))
    y = layer.GlobalMaxPooling1D(name="fb")(layer.Conv1D(3, 2, name="c1d")(b))
    shared = layer.Dense(4, name="shared")
    z = layer.Subtract(name="diff")([shared(a), shared(b)])
    return keras.Model([a, b], [layer.Flatten(name="fa")(x), y, z], name="two")


def operations(keras: Any) -> Any:
    import tensorflow as tf

    layer = keras.layers
    start = layer.Input((8, 8, 3), name="pix")
    x = layer.Rescaling(1 / 127.5, offset=-1, name="scale")(start)
    if keras.__version__.startswith("3"):
        x = x * 2.0 + keras.ops.mean(x, axis=1, keepdims=True)
    else:
        x = tf.math.subtract(tf.math.truediv(x, 2.0), 1.0)[:, 1:]
    return keras.Model(start, layer.GlobalAveragePooling2D(name="gp")(layer.Conv2D(3, 3, name="cc")(x)))


def first(keras: Any, order: str = "channels_first") -> Any:
    """Channels first; its twin with channels last has the same weights and gives the same."""
    layer = keras.layers
    is_first = order == "channels_first"
    start = layer.Input((3, 12, 14) if is_first else (12, 14, 3), name="image")
    x = layer.Conv2D(4, 3, data_format=order, name="c")(start)
    x = layer.BatchNormalization(axis=1 if is_first else -1, name="b")(x)
    x = layer.MaxPooling2D(data_format=order, name="p")(layer.ZeroPadding2D((1, 2), data_format=order, name="z")(x))
    x = x if is_first else layer.Permute((3, 1, 2))(x)
    x = layer.Flatten(name="f", data_format="channels_last")(x)
    return keras.Model(start, layer.Dense(2, name="o")(x), name="first")


def models(keras: Any) -> Iterator[tuple[str, Any, Any]]:
    """Yield (name, model to save, model to run)."""
    for make in (plain, nested, text, two, operations):
        model = make(keras)
        yield make.__name__, model, model
    yield "first", first(keras), first(keras, "channels_last")


def main(library: str, folder: str) -> None:
    keras: Any = importlib.import_module(library)
    import tensorflow as tf

    rng = np.random.default_rng(0)
    for name, model, twin in models(keras):
        values = []
        for variable, old in zip(model.weights, model.get_weights(), strict=True):
            new = rng.standard_normal(old.shape) * 0.4
            values.append((np.abs(new) + 0.1 if "variance" in variable.name else new).astype(old.dtype))
        model.set_weights(values)
        twin.set_weights(values)
        feeds = []
        for tensor in twin.inputs:
            shape = [3, *tensor.shape[1:]]
            is_index = tensor.dtype in ("int32", tf.int32)
            feeds.append(rng.integers(0, 11, shape, "int32") if is_index else rng.standard_normal(shape).astype("f4"))
        given = tf.nest.flatten(twin(feeds if len(feeds) > 1 else feeds[0], training=False))
        for suffix in ("h5", "keras"):
            model.save(f"{folder}/{library}_{name}.{suffix}")
        found = {f"in{n}": feed for n, feed in enumerate(feeds)}
        found |= {f"out{n}": np.asarray(value) for n, value in enumerate(given)}
        np.savez(f"{folder}/{library}_{name}.npz", **found)


if __name__ == "__main__":
    main(*sys.argv[1:])
