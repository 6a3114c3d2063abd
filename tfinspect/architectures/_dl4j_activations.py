"""Deeplearning4j's activation functions as TensorFlow ops."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from tfinspect.ir.dtypes import DType

if TYPE_CHECKING:
    from collections.abc import Callable

    from tfinspect.architectures._dl4j_nodes import Nodes, Settings

    _Make = Callable[[Nodes, str, str, Settings], str]

_PLAIN: Final = {
    "elu": "Elu", "relu6": "Relu6", "selu": "Selu", "sigmoid": "Sigmoid", "softmax": "Softmax",
    "softplus": "Softplus", "softsign": "Softsign", "tanh": "Tanh",
}  # fmt: skip
_SATURATING: Final = frozenset({"softmax", "sigmoid"})
_LEAK = 0.01
_LEAST_RANDOM_LEAK, _MOST_RANDOM_LEAK = 1 / 8, 1 / 3
_SIX = 6.0


def before(out: str, settings: Settings) -> str:
    """Return the name of the node that the activation of the node `out` takes."""
    word = settings.word("activation")
    if word == "identity":
        return out
    return f"{out}/logits" if word in _SATURATING else f"{out}/preactivation"


def activate(nodes: Nodes, x: str, out: str, settings: Settings) -> str:
    """Add the activation that a layer says, as the node `out`; where it is the identity and `x` is that node, nothing.

    Raises:
        UnsupportedOpsError: it has no form here.
        InvalidGraphError: the layer does not say one.
    """
    word = settings.word("activation")
    if not word:
        raise settings.wrong("its activation is not given")
    if word == "identity":
        return out if x == out else nodes.op(out, "Identity", x)
    if word in _PLAIN:
        if settings.number("activation.alpha", 1.0) != 1.0 and word == "elu":
            raise settings.refused("has an elu activation with an alpha other than 1")
        return nodes.op(out, _PLAIN[word], x)
    if word not in _MADE:
        raise settings.refused(f"has the activation {word[:40]}")
    return _MADE[word](nodes, x, out, settings)


def _relu(nodes: Nodes, x: str, out: str, settings: Settings) -> str:
    if settings.number("activation.threshold", 0.0) or settings.number("activation.negativeSlope", 0.0):
        raise settings.refused("has a relu activation with a threshold or slope")
    if "activation.max" not in settings:
        return nodes.op(out, "Relu", x)
    most = settings.number("activation.max", 0.0)
    if most == _SIX:
        return nodes.op(out, "Relu6", x)
    positive = nodes.op(nodes.fresh(f"{out}/Relu"), "Relu", x)
    return nodes.op(out, "Minimum", positive, nodes.number(f"{out}/max", most))


def _leaky(nodes: Nodes, x: str, out: str, settings: Settings) -> str:
    return nodes.op(out, "LeakyRelu", x, alpha=settings.number("activation.alpha", _LEAK))


def _random_leak(nodes: Nodes, x: str, out: str, settings: Settings) -> str:
    least, most = (settings.number(f"activation.{k}", v) for k, v in (("l", 1 / 8), ("u", 1 / 3)))
    return nodes.op(out, "LeakyRelu", x, alpha=(least + most) / 2)  # what it draws from, on average


def _clipped(nodes: Nodes, x: str, out: str, least: float) -> str:
    below = nodes.op(nodes.fresh(f"{out}/Minimum"), "Minimum", x, nodes.number(f"{out}/max", 1.0))
    return nodes.op(out, "Maximum", below, nodes.number(f"{out}/min", least))


def _hard_sigmoid(nodes: Nodes, x: str, out: str, _settings: Settings) -> str:
    scaled = nodes.op(nodes.fresh(f"{out}/Mul"), "Mul", x, nodes.number(f"{out}/slope", 0.2))
    line = nodes.op(nodes.fresh(f"{out}/Add"), "AddV2", scaled, nodes.number(f"{out}/half", 0.5))
    return _clipped(nodes, line, out, 0.0)


def _cube(nodes: Nodes, x: str, out: str, _settings: Settings) -> str:
    return nodes.op(out, "Mul", nodes.op(nodes.fresh(f"{out}/Square"), "Square", x), x)


def _swish(nodes: Nodes, x: str, out: str, _settings: Settings) -> str:
    return nodes.op(out, "Mul", x, nodes.op(nodes.fresh(f"{out}/Sigmoid"), "Sigmoid", x))


def _rectified_tanh(nodes: Nodes, x: str, out: str, _settings: Settings) -> str:
    return nodes.op(out, "Relu", nodes.op(nodes.fresh(f"{out}/Tanh"), "Tanh", x))


def _thresholded(nodes: Nodes, x: str, out: str, settings: Settings) -> str:
    theta = nodes.number(f"{out}/theta", settings.number("activation.theta", 1.0))
    above = nodes.op(nodes.fresh(f"{out}/Greater"), "Greater", x, theta)
    ones = nodes.op(nodes.fresh(f"{out}/Cast"), "Cast", above, T="", SrcT=DType.BOOL, DstT=DType.FLOAT)
    return nodes.op(out, "Mul", x, ones)


def _rational_tanh(nodes: Nodes, x: str, out: str, _settings: Settings) -> str:
    """1.7159 times a tanh of 2x/3 that is made of a fraction: sign(y) (1 - 1 / (1 + |y| + y**2 + 1.41645 y**4))."""

    def op(name: str, *inputs: str) -> str:
        return nodes.op(nodes.fresh(f"{out}/{name}"), name, *inputs)

    def number(value: float) -> str:
        return nodes.number(f"{out}/number", value)

    y = op("Mul", x, number(2 / 3))
    square = op("Square", y)
    fourth = op("Mul", op("Square", square), number(1.41645))
    below = op("AddV2", op("AddV2", op("Abs", y), number(1.0)), op("AddV2", square, fourth))
    curve = op("Mul", op("Sign", y), op("Sub", number(1.0), op("RealDiv", number(1.0), below)))
    return nodes.op(out, "Mul", curve, number(1.7159))


_MADE: Final[dict[str, _Make]] = {
    "cube": _cube,
    "hardsigmoid": _hard_sigmoid,
    "hardtanh": lambda nodes, x, out, _: _clipped(nodes, x, out, -1.0),
    "leakyrelu": _leaky,
    "rationaltanh": _rational_tanh,
    "rectifiedtanh": _rectified_tanh,
    "relu": _relu,
    "rrelu": _random_leak,
    "swish": _swish,
    "thresholdedrelu": _thresholded,
}
