"""Inception v3 of slim, from the paper "Rethinking the Inception Architecture for Computer Vision"."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from tfinspect.architectures._branches import Conv, Pool, Split, mixed, multiplier
from tfinspect.architectures._slim import Style
from tfinspect.architectures.family import Family

if TYPE_CHECKING:
    from tfinspect.architectures._branches import Branch, Step
    from tfinspect.architectures._slim import Net, Value

_LEAST = 16  # channels of the narrowest layers
_STEM: Final[Branch] = (
    Conv("Conv2d_1a_3x3", 32, stride=2, padding="VALID"),
    Conv("Conv2d_2a_3x3", 32, padding="VALID"),
    Conv("Conv2d_2b_3x3", 64),
    Pool("MaxPool_3a_3x3", stride=2, padding="VALID"),
    Conv("Conv2d_3b_1x1", 80, padding="VALID"),
    Conv("Conv2d_4a_3x3", 192, padding="VALID"),
    Pool("MaxPool_5a_3x3", stride=2, padding="VALID"),
)


def _at_35(pooled: int, second: str = "Conv2d_0a_1x1", third: str = "Conv2d_0b_5x5") -> tuple[Branch, ...]:
    return (
        (Conv("Conv2d_0a_1x1", 64),),
        (Conv(second, 48), Conv(third, 64)),
        (Conv("Conv2d_0a_1x1", 64), Conv("Conv2d_0b_3x3", 96), Conv("Conv2d_0c_3x3", 96)),
        _pooled(pooled),
    )


def _at_17(between: int) -> tuple[Branch, ...]:
    return (
        (Conv("Conv2d_0a_1x1", 192),),
        (Conv("Conv2d_0a_1x1", between), Conv("Conv2d_0b_1x7", between), Conv("Conv2d_0c_7x1", 192)),
        (
            Conv("Conv2d_0a_1x1", between),
            Conv("Conv2d_0b_7x1", between),
            Conv("Conv2d_0c_1x7", between),
            Conv("Conv2d_0d_7x1", between),
            Conv("Conv2d_0e_1x7", 192),
        ),
        _pooled(192),
    )


def _at_8(tall: str) -> tuple[Branch, ...]:
    return (
        (Conv("Conv2d_0a_1x1", 320),),
        (Conv("Conv2d_0a_1x1", 384), Split(Conv("Conv2d_0b_1x3", 384), Conv(tall, 384))),
        (
            Conv("Conv2d_0a_1x1", 448),
            Conv("Conv2d_0b_3x3", 384),
            Split(Conv("Conv2d_0c_1x3", 384), Conv("Conv2d_0d_3x1", 384)),
        ),
        _pooled(192),
    )


def _pooled(units: int) -> tuple[Step, ...]:
    return (Pool("AvgPool_0a_3x3"), Conv("Conv2d_0b_1x1", units))


_MIXED: Final[dict[str, tuple[Branch, ...]]] = {
    "Mixed_5b": _at_35(32),
    "Mixed_5c": _at_35(64, "Conv2d_0b_1x1", "Conv_1_0c_5x5"),
    "Mixed_5d": _at_35(64),
    "Mixed_6a": (
        (Conv("Conv2d_1a_1x1", 384, (3, 3), stride=2, padding="VALID"),),  # called 1x1, and is none
        (
            Conv("Conv2d_0a_1x1", 64),
            Conv("Conv2d_0b_3x3", 96),
            Conv("Conv2d_1a_1x1", 96, (3, 3), stride=2, padding="VALID"),
        ),
        (Pool("MaxPool_1a_3x3", stride=2, padding="VALID"),),
    ),
    "Mixed_6b": _at_17(128),
    "Mixed_6c": _at_17(160),
    "Mixed_6d": _at_17(160),
    "Mixed_6e": _at_17(192),
    "Mixed_7a": (
        (Conv("Conv2d_0a_1x1", 192), Conv("Conv2d_1a_3x3", 320, stride=2, padding="VALID")),
        (
            Conv("Conv2d_0a_1x1", 192),
            Conv("Conv2d_0b_1x7", 192),
            Conv("Conv2d_0c_7x1", 192),
            Conv("Conv2d_1a_3x3", 192, stride=2, padding="VALID"),
        ),
        (Pool("MaxPool_1a_3x3", stride=2, padding="VALID"),),
    ),
    "Mixed_7b": _at_8("Conv2d_0b_3x1"),
    "Mixed_7c": _at_8("Conv2d_0c_3x1"),
}
_CLASSIFIER: Final = "Logits/Conv2d_1c_1x1"


def _build(net: Net, x: Value) -> None:
    net.width = multiplier(net, _STEM, _MIXED, _LEAST)
    with net.inside(FAMILY.scope):
        x = mixed(net, x, _STEM, _MIXED, _LEAST)
    x = net.global_pool(x, "Logits/AvgPool_1a_{}x{}", 8)
    if net.has(_CLASSIFIER):
        x = net.identity(x, "Logits/Dropout_1b/Identity")
        net.predictions(net.logits(x, _CLASSIFIER, "Logits/SpatialSqueeze"), "Predictions")


FAMILY: Final = Family(
    "inception_v3",
    "Inception v3",
    "InceptionV3",
    (299, 299),
    Style(),
    "half range",
    _build,
)
FAMILIES: Final = (FAMILY,)
