"""The value of a scalar that is computed from constants alone."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from tfinspect.ir.graph import Graph, Node
    from tfinspect.ir.refs import TensorRef

_STEPS = 200  # nodes looked at for one number; what takes more is no number somebody wrote down
_PASSING = frozenset(
    {"Identity", "StopGradient", "Cast", "Reshape", "Squeeze", "ExpandDims", "Snapshot", "EnsureShape"}
)
_BINARY: dict[str, Callable[[float, float], float]] = {
    "Add": lambda a, b: a + b,
    "AddV2": lambda a, b: a + b,
    "Sub": lambda a, b: a - b,
    "Mul": lambda a, b: a * b,
    "RealDiv": lambda a, b: a / b,
    "Div": lambda a, b: a / b,
    "Maximum": max,
    "Minimum": min,
}
_UNARY: dict[str, Callable[[float], float]] = {
    "Neg": lambda a: -a,
    "Inv": lambda a: 1 / a,
    "Reciprocal": lambda a: 1 / a,
}


def scalar(graph: Graph, ref: TensorRef) -> float | None:
    """Return the value of a floating-point scalar (or tensor of one element) made of constants, or None.

    Constants are read, and Identity, Cast, Reshape and plain arithmetic between them worked out in double precision.
    """
    known: dict[TensorRef, float | None] = {}
    waiting = [ref]
    entered: set[TensorRef] = set()
    steps = 0
    while waiting:
        at = waiting[-1]
        if at in known:
            waiting.pop()
            continue
        steps += 1
        if steps > _STEPS:
            return None
        node = graph.by_name.get(at.name)
        needs = _operands(node)
        if node is None or needs is None:
            known[at] = None if node is None else _constant(node)
            continue
        missing = [need for need in needs if need not in known]
        if missing and at not in entered:
            entered.add(at)
            waiting += missing
            continue
        if missing:  # a loop
            known[at] = None
            continue
        known[at] = _worked_out(node.op, [known[need] for need in needs])
    return known[ref]


def _operands(node: Node | None) -> list[TensorRef] | None:
    if node is None:
        return None
    inputs = node.data_inputs
    if node.op in _PASSING or node.op in _UNARY:
        return inputs[:1] or None
    return inputs if node.op in _BINARY and len(inputs) == 2 else None  # noqa: PLR2004 - a binary op


def _constant(node: Node) -> float | None:
    tensor = node.tensor() if node.op == "Const" else None
    if tensor is None or tensor.size != 1 or not (tensor.dtype.is_floating or tensor.dtype.is_integer):
        return None
    return float(tensor.numpy().reshape(-1)[0])


def _worked_out(op: str, values: list[float | None]) -> float | None:
    given = [value for value in values if value is not None]
    if len(given) != len(values):
        return None
    try:
        if op in _UNARY:
            return _UNARY[op](given[0])
        return _BINARY[op](given[0], given[1]) if op in _BINARY else given[0]
    except (ZeroDivisionError, OverflowError):
        return None
