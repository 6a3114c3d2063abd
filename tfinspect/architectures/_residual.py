"""What the residual networks of slim have in common: blocks of bottleneck units, the last of which has the stride."""

from __future__ import annotations

import functools
import re
from typing import TYPE_CHECKING, Final

from tfinspect.architectures._slim import Style
from tfinspect.architectures.family import Family

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Protocol

    from tfinspect.architectures._slim import Net, Value
    from tfinspect.architectures.family import Pixels

    class Build(Protocol):
        """Adds a network of a depth behind its input."""

        def __call__(self, net: Net, x: Value, *, depth: int) -> None: ...


_UNITS: Final = {50: (3, 4, 6, 3), 101: (3, 4, 23, 3), 152: (3, 8, 36, 3), 200: (3, 24, 36, 3)}  # in blocks, by depth
_LAYERS: Final = re.compile(r"block\d+/unit_\d+/bottleneck_v\d/.*/weights")
BASE: Final = 64  # channels of the first layer, and of the narrow layers of the first block
EXPANSION: Final = 4  # how many times as wide the result of a unit is as its narrow layers
_EPSILON: Final = 1e-5
_LOGITS: Final = "logits"


def units(depth: int, word: str) -> Iterator[tuple[str, int, int, bool]]:
    """Yield the scope of each unit, the channels of its narrow layers, its stride, and whether it begins a block."""
    for block, count in enumerate(_UNITS[depth]):
        for number in range(1, count + 1):
            last = number == count and block + 1 < len(_UNITS[depth])
            yield f"block{block + 1}/unit_{number}/{word}", BASE << block, 2 if last else 1, number == 1


def padded_conv(
    net: Net, x: Value, layer: str, channels: int, kernel: int, stride: int = 1, *, bare: bool = False
) -> Value:
    """Add a convolution that centres its window on every other pixel of an image, whatever its size: after zeros.

    Args:
        net: the network.
        x: what it takes.
        layer: its name; the zeros are a node `Pad` in the scope it stands in.
        channels: of its result.
        kernel: height and width of its window, odd.
        stride: of the window; without one, `SAME` is that.
        bare: whether it has biases, and neither batch norm nor activation.
    """
    activation, norm = ("", False) if bare else (None, None)
    if stride == 1:
        return net.conv2d(x, layer, channels, kernel, activation=activation, norm=norm)
    scope = layer.rpartition("/")[0]
    x = net.pad(x, f"{scope}/Pad" if scope else "Pad", kernel // 2, kernel // 2)
    return net.conv2d(x, layer, channels, kernel, stride, "VALID", activation=activation, norm=norm)


def shortcut(net: Net, x: Value, unit: str, stride: int) -> Value:
    """Return what a unit that changes no number of channels adds to its result: what it takes, every other pixel."""
    return x if stride == 1 else net.max_pool(x, f"{unit}/shortcut", 1, stride)


def classify(net: Net, x: Value) -> None:
    """Add the mean over the image, and the classifier where the checkpoint has one."""
    x = net.mean(x, "pool5")
    if net.has(_LOGITS):
        net.predictions(net.logits(x, _LOGITS, "SpatialSqueeze"), "predictions")


def families(version: int, size: int, pixels: Pixels, build: Build) -> tuple[Family, ...]:
    """Return a version of the network in all its depths.

    Args:
        version: 1 or 2.
        size: of images, both ways.
        pixels: how they are scaled, as `family` calls it.
        build: adds the network.
    """
    return tuple(
        Family(
            name=f"resnet_v{version}_{depth}",
            title=f"ResNet v{version} {depth}",
            scope=f"resnet_v{version}_{depth}",
            size=(size, size),
            style=Style(gamma=True, epsilon=_EPSILON),
            pixels=pixels,
            build=functools.partial(build, depth=depth),
            layers=_LAYERS,
        )
        for depth in _UNITS
    )
