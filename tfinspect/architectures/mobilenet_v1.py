"""MobileNet v1 of slim at any width, from the paper "MobileNets" of Howard and others."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from tfinspect.architectures._multiplied import multiplied
from tfinspect.architectures._slim import Style
from tfinspect.architectures._width import scaled
from tfinspect.architectures.family import Family

if TYPE_CHECKING:
    from tfinspect.architectures._slim import Net, Value

_SIZE: Final = 224
_LEAST: Final = 8  # channels of the narrowest layers
_FIRST: Final = 32
_LAYERS: Final = (  # stride of the depthwise convolution, channels after the pointwise one
    (1, 64), (2, 128), (1, 128), (2, 256), (1, 256), (2, 512), *((1, 512),) * 5, (2, 1024), (1, 1024),
)  # fmt: skip
_WINDOW: Final = 7  # of the last pooling, or as large as the image where that is smaller
_CLASSIFIER: Final = "Logits/Conv2d_1c_1x1"


def _channels(published: int, width: float) -> int:
    return scaled(published, width, _LEAST)


def _build(net: Net, x: Value) -> None:
    published = {f"Conv2d_{number}_pointwise": channels for number, (_, channels) in enumerate(_LAYERS, 1)}
    channels = multiplied(net, {"Conv2d_0": _FIRST, **published}, _channels)
    with net.inside("MobilenetV1"):
        x = net.conv2d(x, "Conv2d_0", channels["Conv2d_0"], 3, 2)
        for number, (stride, _) in enumerate(_LAYERS, 1):
            x = net.depthwise(x, f"Conv2d_{number}_depthwise", 3, stride)
            layer = f"Conv2d_{number}_pointwise"
            x = net.conv2d(x, layer, channels[layer], 1)
    if max(x.height, x.width) <= _WINDOW:
        x = net.avg_pool(x, "Logits/AvgPool_1a", (x.height, x.width), 2, "VALID")
    else:
        x = net.mean(x, "Logits/global_pool")
    if net.has(_CLASSIFIER):
        x = net.identity(x, "Logits/Dropout_1b/Identity")
        net.predictions(net.logits(x, _CLASSIFIER, "Logits/SpatialSqueeze"), "Predictions")


FAMILIES: Final = (
    Family(
        name="mobilenet_v1",
        title="MobileNet v1",
        scope="MobilenetV1",
        size=(_SIZE, _SIZE),
        style=Style("Relu6", gamma=True),
        pixels="half range",
        build=_build,
    ),
)
