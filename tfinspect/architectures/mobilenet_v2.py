"""MobileNet v2 of slim at any width, from the paper "Inverted Residuals and Linear Bottlenecks"."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from tfinspect.architectures._multiplied import multiplied
from tfinspect.architectures._slim import NONE, Style
from tfinspect.architectures.family import Family

if TYPE_CHECKING:
    from tfinspect.architectures._slim import Net, Value

_SIZE: Final = 224
_FIRST: Final = 32
_DIVISOR: Final = 8  # of all numbers of channels
_STAGES: Final = (  # channels, number of units, stride of the first
    (16, 1, 1), (24, 2, 2), (32, 3, 2), (64, 4, 2), (96, 3, 1), (160, 3, 2), (320, 1, 1),
)  # fmt: skip
_EXPANSION: Final = 6  # how many times as wide a unit is inside as what it takes; the first is as wide
_CLASSIFIER: Final = "Logits/Conv2d_1c_1x1"


def _channels(published: int, width: float) -> int:
    """Return the multiple of the divisor that is nearest, or the next one where that takes away more than a tenth."""
    wanted = published * width
    rounded = max(int(wanted + _DIVISOR / 2) // _DIVISOR * _DIVISOR, _DIVISOR)
    return rounded if rounded >= 0.9 * wanted else rounded + _DIVISOR


def _units() -> list[tuple[str, int, int]]:
    """Return the scope, channels and stride of each unit."""
    rows = [(channels, stride if not n else 1) for channels, count, stride in _STAGES for n in range(count)]
    scopes = ["expanded_conv", *(f"expanded_conv_{number}" for number in range(1, len(rows)))]
    return [(scope, *row) for scope, row in zip(scopes, rows, strict=True)]


def _build(net: Net, x: Value) -> None:
    units = _units()
    published = {f"{unit}/project": channels for unit, channels, _ in units}
    channels = multiplied(net, {"Conv": _FIRST, **published}, _channels)
    x = net.conv2d(net.identity(x, "input"), "Conv", channels["Conv"], 3, 2)
    for number, (unit, _, stride) in enumerate(units):
        x = net.identity(x, f"{unit}/input")
        y = x
        if number:
            exact = None if x.channels is None or channels["Conv"] is None else x.channels * _EXPANSION
            y = net.identity(net.conv2d(y, f"{unit}/expand", exact, 1), f"{unit}/expansion_output")
        y = net.identity(net.depthwise(y, f"{unit}/depthwise", 3, stride), f"{unit}/depthwise_output")
        y = net.conv2d(y, f"{unit}/project", channels[f"{unit}/project"], 1, activation=NONE)
        y = net.identity(y, f"{unit}/project/Identity")
        if stride == 1 and x.channels == y.channels:
            y = net.add(y, x, f"{unit}/add")
        x = net.identity(y, f"{unit}/output")
    # as wide as the weights say: slim left it at 1280 in narrow networks, unless told otherwise
    x = net.identity(net.conv2d(x, "Conv_1", None, 1), "embedding")
    x = net.avg_pool(x, "Logits", (x.height, x.width), 1, "VALID")
    if net.has(_CLASSIFIER):
        rows = net.logits(net.identity(x, "Logits/Dropout/Identity"), _CLASSIFIER, "Logits/Squeeze")
        net.predictions(net.op("Logits/output", "Identity", rows), "Predictions")


FAMILIES: Final = (
    Family(
        name="mobilenet_v2",
        title="MobileNet v2",
        scope="MobilenetV2",
        size=(_SIZE, _SIZE),
        style=Style("Relu6", gamma=True),
        pixels="half range",
        build=_build,
    ),
)
