"""A trunk of two convolutions, small enough to be trained in a test, and photos that it can tell apart."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from tfinspect.ir.attrs import Attr, AttrList
from tfinspect.ir.dtypes import DType
from tfinspect.ir.graph import Graph, Node, Versions, const, placeholder
from tfinspect.ir.refs import TensorRef
from tfinspect.ir.tensors import Tensor

if TYPE_CHECKING:
    from pathlib import Path

F = Attr.of(DType.FLOAT)
SIZE = 16
START, NECK = TensorRef("photos"), TensorRef("pool")
WEIGHTS = [
    "first/weights",
    "first/gamma",
    "first/beta",
    "second/weights",
    "second/biases",
    "second/gamma",
    "second/beta",
]
STATISTICS = ["first/mean", "first/variance", "second/mean", "second/variance"]


def op(name: str, kind: str, *inputs: str, **attrs: Attr) -> Node:
    return Node(name, kind, inputs, {"T": F, **attrs})


def conv(name: str, source: str, weights: str) -> Node:
    strides = Attr.of(AttrList("i", (1, 2, 2, 1)))
    return op(name, "Conv2D", source, weights, strides=strides, padding=Attr.of(b"SAME"), data_format=Attr.of(b"NHWC"))


def values(*shape: int, seed: int, scale: float = 0.4) -> Tensor:
    return Tensor.of((np.random.default_rng(seed).normal(size=shape) * scale).astype(np.float32))


def full(value: float, *shape: int) -> Tensor:
    return Tensor.of(np.full(shape, value, np.float32))


def trunk(*, scaled: bool = False) -> Graph:
    """Return photos -> conv, batch norm written out -> conv, bias, fused batch norm -> average -> an old classifier."""
    nodes = [placeholder("photos", DType.FLOAT, (1, SIZE, SIZE, 3))]
    source = "photos"
    if scaled:
        nodes += [const("shift", full(0.5, 3)), op("shifted", "Sub", "photos", "shift")]
        source = "shifted"
    nodes += [
        const("first/weights", values(3, 3, 3, 6, seed=1)),
        op("first/weights/read", "Identity", "first/weights"),
        conv("first/conv", source, "first/weights/read"),
        const("first/gamma", values(6, seed=2, scale=1.0)),
        const("first/beta", full(0.1, 6)),
        const("first/mean", full(0.05, 6)),
        const("first/variance", full(1.5, 6)),
        const("first/epsilon", full(0.001)),
        op("first/add", "Add", "first/variance", "first/epsilon"),
        op("first/rsqrt", "Rsqrt", "first/add"),
        op("first/mul", "Mul", "first/rsqrt", "first/gamma"),
        op("first/mul_1", "Mul", "first/conv", "first/mul"),
        op("first/mul_2", "Mul", "first/mean", "first/mul"),
        op("first/sub", "Sub", "first/beta", "first/mul_2"),
        op("first/norm", "Add", "first/mul_1", "first/sub"),
        op("first/relu", "Relu6", "first/norm"),
        const("second/weights", values(3, 3, 6, 8, seed=3)),
        conv("second/conv", "first/relu", "second/weights"),
        const("second/biases", values(8, seed=4)),
        op("second/biased", "BiasAdd", "second/conv", "second/biases", data_format=Attr.of(b"NHWC")),
        *(
            const(f"second/{role}", full(value, 8))
            for role, value in (("gamma", 1.0), ("beta", 0.2), ("mean", 0.1), ("variance", 0.9))
        ),
        op(
            "second/norm", "FusedBatchNorm", "second/biased", "second/gamma", "second/beta", "second/mean",
            "second/variance", epsilon=Attr.of(0.001), is_training=Attr.of(value=False), data_format=Attr.of(b"NHWC"),
        ),
        op("second/relu", "Relu", "second/norm"),
        op(
            "pool", "AvgPool", "second/relu", ksize=Attr.of(AttrList("i", (1, 4, 4, 1))),
            strides=Attr.of(AttrList("i", (1, 1, 1, 1))), padding=Attr.of(b"VALID"), data_format=Attr.of(b"NHWC"),
        ),
        const("flat/shape", Tensor.of([1, 8], DType.INT32)),
        op("flat", "Reshape", "pool", "flat/shape", Tshape=Attr.of(DType.INT32)),
        const("old/weights", values(8, 4, seed=5)),
        op("old/logits", "MatMul", "flat", "old/weights"),
        op("old/softmax", "Softmax", "old/logits"),
    ]  # fmt: skip
    return Graph(nodes, versions=Versions(21))


def photos(folder: Path, count: int = 20, classes: tuple[str, ...] = ("bars", "dots", "plain")) -> Path:
    """Write PNGs of stripes, of dots and of nothing, in colours that say nothing, with noise."""
    random = np.random.default_rng(7)
    for name in classes:
        (folder / name).mkdir(parents=True)
        for number in range(count):
            image = np.full((24, 24, 3), 1.0) * random.uniform(40, 200, 3)
            other = random.uniform(40, 200, 3)
            if name == "bars":
                image[:, random.integers(0, 3) :: 4] = other
            elif name == "dots":
                image[random.integers(0, 3) :: 5, random.integers(0, 3) :: 5] = other
            image += random.normal(0, 6, image.shape)
            Image.fromarray(image.clip(0, 255).astype(np.uint8)).save(folder / name / f"{number:03}.png")
    return folder
