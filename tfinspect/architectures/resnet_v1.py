"""ResNet v1 50, 101, 152 and 200 of slim, from the paper "Deep Residual Learning for Image Recognition".

Slim's own: a block's stride is in its last unit, on the 3x3 convolution, after zeros on all sides. It comes to the
same as the published stride in the first unit of the next block.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from tfinspect.architectures._residual import BASE, EXPANSION, classify, families, padded_conv, shortcut, units
from tfinspect.architectures._slim import NONE

if TYPE_CHECKING:
    from tfinspect.architectures._slim import Net, Value


def _build(net: Net, x: Value, *, depth: int) -> None:
    x = net.max_pool(padded_conv(net, x, "conv1", BASE, 7, 2), "pool1", 3, 2)
    for unit, channels, stride, first in units(depth, "bottleneck_v1"):
        if first:
            way = net.conv2d(x, f"{unit}/shortcut", channels * EXPANSION, 1, stride, activation=NONE)
        else:
            way = shortcut(net, x, unit, stride)
        x = net.conv2d(x, f"{unit}/conv1", channels, 1)
        x = padded_conv(net, x, f"{unit}/conv2", channels, 3, stride)
        x = net.conv2d(x, f"{unit}/conv3", channels * EXPANSION, 1, activation=NONE)
        x = net.activate(net.add(way, x, f"{unit}/add"), unit, "Relu")
    classify(net, x)


FAMILIES: Final = families(1, 224, "less mean", _build)
