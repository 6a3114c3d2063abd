"""The published slim networks in plain NumPy: what they compute, and which variables they have under which names.

Written from the papers and the published tables, apart from `tfinspect.architectures`, so that each checks the other.
With no images (`zeros((0, size, size, 3))`) nothing is computed, and the variables are shapes that take no memory.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from tfinspect.ir.checkpoint import Checkpoint, VariableInfo, describe
from tfinspect.ir.dtypes import DType
from tfinspect.ir.tensors import Tensor

if TYPE_CHECKING:
    from collections.abc import Mapping

Array = np.ndarray[Any, Any]
RESNET_UNITS = {50: (3, 4, 6, 3), 101: (3, 4, 23, 3), 152: (3, 8, 36, 3)}
VGG_CONVOLUTIONS = {16: (2, 2, 3, 3, 3), 19: (2, 2, 4, 4, 4)}
MOBILENET_V1 = ((1, 64), (2, 128), (1, 128), (2, 256), (1, 256), (2, 512), *((1, 512),) * 5, (2, 1024), (1, 1024))
MOBILENET_V2 = (  # expansion, filters, repetitions, stride of the first
    (1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1),
)  # fmt: skip


def checkpoint(variables: Mapping[str, Array], path: str = "bare.ckpt") -> Checkpoint:
    """Return a checkpoint in memory."""
    roles = describe((name, DType.from_numpy(array.dtype), array.shape) for name, array in variables.items())
    found = {
        name: VariableInfo(name, DType.from_numpy(array.dtype), array.shape, array.nbytes, *roles[name])
        for name, array in variables.items()
    }
    return Checkpoint(path, "checkpoint_v2", found, lambda name: Tensor.of(variables[name]))


def relu6(x: Array) -> Array:
    return np.clip(x, 0, 6)


def relu(x: Array) -> Array:
    return np.maximum(x, 0)


def softmax(x: Array) -> Array:
    power = np.exp(x - x.max(-1, keepdims=True))
    return power / power.sum(-1, keepdims=True)


def windows(x: Array, kernel: int, stride: int, padding: str | int, fill: float = 0.0) -> Array:
    """Return [batch, rows, columns, channels, kernel, kernel]; SAME pads more at the end than at the start."""
    pads = []
    for side in x.shape[1:3]:
        if padding == "SAME":
            total = max((-(-side // stride) - 1) * stride + kernel - side, 0)
            pads.append((total // 2, total - total // 2))
        else:
            pads.append((0, 0) if padding == "VALID" else (int(padding), int(padding)))
    x = np.pad(x, ((0, 0), *pads, (0, 0)), constant_values=fill)
    return sliding_window_view(x, (kernel, kernel), axis=(1, 2))[:, ::stride, ::stride]


class Network:
    """Variables, made when first asked for, and the layers that use them."""

    def __init__(self, scope: str, seed: int | None = None, variables: dict[str, Array] | None = None) -> None:
        self.scope = scope
        self.rng = None if seed is None else np.random.default_rng(seed)
        self.variables: dict[str, Array] = {} if variables is None else variables
        self.seen: dict[str, Array] = {}  # what layers gave, by scope

    def variable(self, name: str, shape: tuple[int, ...]) -> Array:
        name = f"{self.scope}/{name}"
        if name not in self.variables:
            if self.rng is None:
                value = np.broadcast_to(np.float32(0), shape)
            elif len(shape) > 1:
                fan_in = np.prod(shape[:-1]) if "depthwise_weights" not in name else np.prod(shape[:2])
                value = self.rng.standard_normal(shape, "f4") * np.float32(np.sqrt(2 / fan_in))
            elif name.endswith(("gamma", "variance")):
                value = self.rng.uniform(0.6, 1.6, shape).astype("f4")
            else:
                value = (self.rng.standard_normal(shape) * 0.3).astype("f4")
            self.variables[name] = value
        assert self.variables[name].shape == shape, name
        return self.variables[name]

    def norm(self, x: Array, scope: str, epsilon: float) -> Array:
        names = ("gamma", "beta", "moving_mean", "moving_variance")
        gamma, beta, mean, variance = (self.variable(f"{scope}/{name}", x.shape[-1:]).astype("f8") for name in names)
        return (x - mean) / np.sqrt(variance + epsilon) * gamma + beta

    def conv(
        self, x: Array, scope: str, filters: int | None, kernel: int, stride: int = 1, padding: str | int = "SAME",
        epsilon: float | None = None, act: Any = None,
    ) -> Array:  # fmt: skip
        """Convolve; depthwise where `filters` is None; with batch norm where `epsilon` is given, else with biases."""
        channels = x.shape[-1]
        name, shape = ("weights", (kernel, kernel, channels, filters or 1))
        weights = self.variable(f"{scope}/{name if filters else 'depthwise_weights'}", shape)
        patches = windows(x, kernel, stride, padding)
        if not len(x):
            x = np.empty((*patches.shape[:3], filters or channels))
        elif filters:
            x = np.tensordot(patches, weights.astype("f8"), ((4, 5, 3), (0, 1, 2)))
        else:
            x = np.einsum("nhwcij,ijc->nhwc", patches, weights[..., 0].astype("f8"))
        if epsilon is None:
            x = x + self.variable(f"{scope}/biases", x.shape[-1:])
        else:
            x = self.norm(x, f"{scope}/BatchNorm", epsilon)
        self.seen[scope] = x if act is None else act(x)
        return self.seen[scope]


def max_pool(x: Array, kernel: int, stride: int, padding: str = "SAME") -> Array:
    return windows(x, kernel, stride, padding, -np.inf).max((4, 5), initial=-np.inf)


def vgg(net: Network, x: Array, *, depth: int, classes: int, fc: int = 4096) -> Array:
    for block, count in enumerate(VGG_CONVOLUTIONS[depth], 1):
        for number in range(1, count + 1):
            x = net.conv(x, f"conv{block}/conv{block}_{number}", min(32 << block, 512), 3, act=relu)
        x = max_pool(x, 2, 2, "VALID")
    x = net.conv(x, "fc6", fc, x.shape[1], padding="VALID", act=relu)
    x = net.conv(x, "fc7", fc, 1, act=relu)
    return net.conv(x, "fc8", classes, 1)[:, 0, 0]


def resnet_v1(net: Network, x: Array, *, depth: int, classes: int) -> Array:
    x = max_pool(net.conv(x, "conv1", 64, 7, 2, 3, 1e-5, relu), 3, 2)
    for block, count in enumerate(RESNET_UNITS[depth], 1):
        for number in range(1, count + 1):
            scope, base = f"block{block}/unit_{number}/bottleneck_v1", 32 << block
            stride = 2 if number == count and block < 4 else 1
            way = x[:, ::stride, ::stride]
            if number == 1:
                way = net.conv(x, f"{scope}/shortcut", base * 4, 1, stride, epsilon=1e-5)
            x = net.conv(x, f"{scope}/conv1", base, 1, epsilon=1e-5, act=relu)
            x = net.conv(x, f"{scope}/conv2", base, 3, stride, 1, 1e-5, relu)
            x = relu(way + net.conv(x, f"{scope}/conv3", base * 4, 1, epsilon=1e-5))
    return net.conv(x.sum((1, 2), keepdims=True) / (x.shape[1] * x.shape[2]), "logits", classes, 1)[:, 0, 0]


def resnet_v2(net: Network, x: Array, *, depth: int, classes: int) -> Array:
    x = max_pool(net.conv(x, "conv1", 64, 7, 2, 3), 3, 2)
    for block, count in enumerate(RESNET_UNITS[depth], 1):
        for number in range(1, count + 1):
            scope, base = f"block{block}/unit_{number}/bottleneck_v2", 32 << block
            stride = 2 if number == count and block < 4 else 1
            before = relu(net.norm(x, f"{scope}/preact", 1e-5))
            if number == 1:
                way = net.conv(before, f"{scope}/shortcut", base * 4, 1, stride)
            else:
                way = x[:, ::stride, ::stride]
            x = net.conv(before, f"{scope}/conv1", base, 1, epsilon=1e-5, act=relu)
            x = net.conv(x, f"{scope}/conv2", base, 3, stride, 1, 1e-5, relu)
            x = way + net.conv(x, f"{scope}/conv3", base * 4, 1)
    x = relu(net.norm(x, "postnorm", 1e-5))
    return net.conv(x.sum((1, 2), keepdims=True) / (x.shape[1] * x.shape[2]), "logits", classes, 1)[:, 0, 0]


def mobilenet_v1(net: Network, x: Array, *, width: float, classes: int) -> Array:
    x = net.conv(x, "Conv2d_0", max(int(32 * width), 8), 3, 2, epsilon=1e-3, act=relu6)
    for number, (stride, filters) in enumerate(MOBILENET_V1, 1):
        x = net.conv(x, f"Conv2d_{number}_depthwise", None, 3, stride, epsilon=1e-3, act=relu6)
        x = net.conv(x, f"Conv2d_{number}_pointwise", max(int(filters * width), 8), 1, epsilon=1e-3, act=relu6)
    x = x.sum((1, 2), keepdims=True) / (x.shape[1] * x.shape[2])
    return net.conv(x, "Logits/Conv2d_1c_1x1", classes, 1)[:, 0, 0]


def divisible(wanted: float) -> int:
    """Return the multiple of 8 that MobileNet v2 has for a width: near it, and not below nine tenths of it."""
    rounded = max(8, int(wanted + 4) // 8 * 8)
    return rounded + 8 if rounded < 0.9 * wanted else rounded


def mobilenet_v2(net: Network, x: Array, *, width: float, classes: int, last: int | None = None) -> Array:
    x = net.conv(x, "Conv", divisible(32 * width), 3, 2, epsilon=1e-3, act=relu6)
    number = 0
    for expansion, filters, count, first in MOBILENET_V2:
        for repeat in range(count):
            scope = f"expanded_conv_{number}" if number else "expanded_conv"
            stride, y = first if repeat == 0 else 1, x
            if expansion > 1:
                y = net.conv(y, f"{scope}/expand", x.shape[-1] * expansion, 1, epsilon=1e-3, act=relu6)
            y = net.conv(y, f"{scope}/depthwise", None, 3, stride, epsilon=1e-3, act=relu6)
            y = net.conv(y, f"{scope}/project", divisible(filters * width), 1, epsilon=1e-3)
            x = x + y if stride == 1 and x.shape[-1] == y.shape[-1] else y
            number += 1
    x = net.conv(x, "Conv_1", last or divisible(1280 * max(width, 1.0)), 1, epsilon=1e-3, act=relu6)
    x = x.sum((1, 2), keepdims=True) / (x.shape[1] * x.shape[2])
    return net.conv(x, "Logits/Conv2d_1c_1x1", classes, 1)[:, 0, 0]
