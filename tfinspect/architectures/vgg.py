"""VGG 16 and 19 of slim, from the paper "Very Deep Convolutional Networks for Large-Scale Image Recognition".

The fully connected layers are convolutions, and the window of the first, which covers all that five poolings leave,
decides the size of the images. Slim ended the network with its logits: there is no softmax.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Final

from tfinspect.architectures._slim import Style
from tfinspect.architectures.family import Family

if TYPE_CHECKING:
    from tfinspect.architectures._slim import Net, Value

_SIZE: Final = 224
_SHRINKS: Final = 32  # five poolings, each of which halves
_LARGEST: Final = 64  # window of fc6; no network has one nearly as large
_CONVOLUTIONS: Final = {16: (2, 2, 3, 3, 3), 19: (2, 2, 4, 4, 4)}  # layers of each block, by the depth of the network
_CHANNELS: Final = (64, 128, 256, 512, 512)


def _build(net: Net, x: Value, *, depth: int) -> None:
    for block, (layers, channels) in enumerate(zip(_CONVOLUTIONS[depth], _CHANNELS, strict=True), 1):
        for number in range(1, layers + 1):
            x = net.conv2d(x, f"conv{block}/conv{block}_{number}", channels, 3)
        x = net.max_pool(x, f"pool{block}", 2, 2, "VALID")
    if not any(map(net.has, ("fc6", "fc7", "fc8"))):
        return
    x = net.conv2d(x, "fc6", None, (x.height, x.width), padding="VALID")
    x = net.identity(x, "dropout6/Identity")
    x = net.conv2d(x, "fc7", None, 1)
    if net.has("fc8"):
        x = net.identity(x, "dropout7/Identity")
        net.logits(x, "fc8", "fc8/squeezed")


def _fixed_size(net: Net) -> tuple[int, int] | None:
    shape = net.shape("fc6/weights") or ()
    if len(shape) != len(("height", "width", "channels", "units")) or not all(0 < n <= _LARGEST for n in shape[:2]):
        return None
    return _SHRINKS * shape[0], _SHRINKS * shape[1]


def _family(depth: int) -> Family:
    build = functools.partial(_build, depth=depth)
    return Family(
        name=f"vgg_{depth}",
        title=f"VGG {depth}",
        scope=f"vgg_{depth}",
        size=(_SIZE, _SIZE),
        style=Style(norm=False),
        pixels="less mean",
        build=build,
        fixed_size=_fixed_size,
    )


FAMILIES: Final = tuple(map(_family, _CONVOLUTIONS))
