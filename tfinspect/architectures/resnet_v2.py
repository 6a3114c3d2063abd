"""ResNet v2 50, 101, 152 and 200 of slim, from the paper "Identity Mappings in Deep Residual Networks".

Batch norm and activation come before the convolutions of a unit, and once more after the last unit; what no norm
follows has biases: the very first layer, the last of each unit, and shortcuts. Strides are where `resnet_v1` has them.
Slim published these networks with images and pixels as Inception takes them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from tfinspect.architectures._residual import BASE, EXPANSION, classify, families, padded_conv, shortcut, units
from tfinspect.architectures._slim import NONE

if TYPE_CHECKING:
    from tfinspect.architectures._slim import Net, Value


def _build(net: Net, x: Value, *, depth: int) -> None:
    x = net.max_pool(padded_conv(net, x, "conv1", BASE, 7, 2, bare=True), "pool1", 3, 2)
    for unit, channels, stride, first in units(depth, "bottleneck_v2"):
        wide = channels * EXPANSION
        active = net.batch_norm(x, f"{unit}/preact")
        if first:
            way = net.conv2d(active, f"{unit}/shortcut", wide, 1, stride, activation=NONE, norm=False)
        else:
            way = shortcut(net, x, unit, stride)
        x = net.conv2d(active, f"{unit}/conv1", channels, 1)
        x = padded_conv(net, x, f"{unit}/conv2", channels, 3, stride)
        x = net.conv2d(x, f"{unit}/conv3", wide, 1, activation=NONE, norm=False)
        x = net.add(way, x, f"{unit}/add")
    classify(net, net.batch_norm(x, "postnorm"))


FAMILIES: Final = families(2, 299, "half range", _build)
