"""Inception v1 of slim, from the paper "Going deeper with convolutions"."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from tfinspect.architectures._branches import Conv, Pool, mixed, multiplier
from tfinspect.architectures._slim import Style
from tfinspect.architectures.family import Family

if TYPE_CHECKING:
    from tfinspect.architectures._branches import Branch
    from tfinspect.architectures._slim import Net, Value

_STEM: Final[Branch] = (
    Conv("Conv2d_1a_7x7", 64, stride=2),
    Pool("MaxPool_2a_3x3", stride=2),
    Conv("Conv2d_2b_1x1", 64),
    Conv("Conv2d_2c_3x3", 192),
    Pool("MaxPool_3a_3x3", stride=2),
)


def _block(
    single: int, three: tuple[int, int], five: tuple[int, int], pooled: int, last: str = "Conv2d_0b_3x3"
) -> tuple[Branch, ...]:
    """Return the branches of a block; what the paper does with windows of 5x5, slim does with 3x3."""
    return (
        (Conv("Conv2d_0a_1x1", single),),
        (Conv("Conv2d_0a_1x1", three[0]), Conv("Conv2d_0b_3x3", three[1])),
        (Conv("Conv2d_0a_1x1", five[0]), Conv(last, five[1])),
        (Pool("MaxPool_0a_3x3"), Conv("Conv2d_0b_1x1", pooled)),
    )


_BLOCKS: Final[dict[str, tuple[Branch, ...] | Pool]] = {
    "Mixed_3b": _block(64, (96, 128), (16, 32), 32),
    "Mixed_3c": _block(128, (128, 192), (32, 96), 64),
    "MaxPool_4a_3x3": Pool("MaxPool_4a_3x3", stride=2),
    "Mixed_4b": _block(192, (96, 208), (16, 48), 64),
    "Mixed_4c": _block(160, (112, 224), (24, 64), 64),
    "Mixed_4d": _block(128, (128, 256), (24, 64), 64),
    "Mixed_4e": _block(112, (144, 288), (32, 64), 64),
    "Mixed_4f": _block(256, (160, 320), (32, 128), 128),
    "MaxPool_5a_2x2": Pool("MaxPool_5a_2x2", stride=2),
    "Mixed_5b": _block(256, (160, 320), (32, 128), 128, "Conv2d_0a_3x3"),  # the letter is slim's slip
    "Mixed_5c": _block(384, (192, 384), (48, 128), 128),
}
_CLASSIFIER: Final = "Logits/Conv2d_0c_1x1"


def _build(net: Net, x: Value) -> None:
    net.width = multiplier(net, _STEM, _BLOCKS)
    with net.inside(FAMILY.scope):
        x = mixed(net, x, _STEM, _BLOCKS)
    x = net.global_pool(x, "Logits/AvgPool_0a_7x7", 7, shrinks=False)
    if net.has(_CLASSIFIER):
        x = net.identity(x, "Logits/Dropout_0b/Identity")
        net.predictions(net.logits(x, _CLASSIFIER, "Logits/SpatialSqueeze"), "Predictions")


FAMILY: Final = Family("inception_v1", "Inception v1", "InceptionV1", (224, 224), Style(), "half range", _build)
FAMILIES: Final = (FAMILY,)
