"""Moving averages that a training graph keeps: which variable averages which tensor, told from the updates.

The forms, v the variable, x the tensor, r and d numbers or scalars:

* `v -= (v - x) * r`, of assign_moving_average and the layers built on it
* `v = v * d + x * (1 - d)`, and `v += (x - v) * r`, as written by hand
* `v = b / c` or `v -= v - b / c`, where `b -= (b - x) * r`: the first form with its bias taken out (zero_debias)
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from tfinspect.surgery._edges import behind_identities
from tfinspect.surgery.ops import VARIABLES
from tfinspect.surgery.scalars import scalar

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tfinspect.ir.graph import Graph, Node
    from tfinspect.ir.refs import TensorRef

_SUBTRACTS = frozenset({"AssignSub", "AssignSubVariableOp"})
_ADDS_TO = frozenset({"AssignAdd", "AssignAddVariableOp"})
_ASSIGNS = frozenset({"Assign", "AssignVariableOp"})
_ADDS = frozenset({"Add", "AddV2", "AddN"})
_DIVIDES = frozenset({"RealDiv", "Div"})
_READS = frozenset({"Identity", "ReadVariableOp", "RefIdentity", "Enter", "RefEnter", "Switch", "RefSwitch"})
_TAKING_IN = frozenset({"Switch", "RefSwitch", "Identity"})
_NEAR = 1e-4


@dataclass(frozen=True, slots=True)
class Average:
    """A variable that follows a tensor.

    Attributes:
        variable: name of the node of the variable.
        value: what it averages.
        update: the node that moves it.
    """

    variable: str
    value: TensorRef
    update: str


def moving_averages(graph: Graph) -> list[Average]:
    """Return the moving averages of a graph, in file order of their updates."""
    found: list[Average] = []
    biased: set[str] = set()
    for node in graph.nodes:
        inputs = node.data_inputs
        if len(inputs) < 2 or node.op not in _SUBTRACTS | _ADDS_TO | _ASSIGNS:  # noqa: PLR2004 - variable and value
            continue
        variable = read_variable(graph, inputs[0])
        if variable is None:
            continue
        value = _averaged(graph, node, variable)
        if value is None and node.op in _SUBTRACTS | _ASSIGNS:
            unbiased = _unbiased(graph, node, variable)
            if unbiased is not None:
                value = unbiased[0]
                biased.add(unbiased[1])
        value = None if value is None else _outside(graph, value)
        if value is not None and read_variable(graph, value) != variable:
            found.append(Average(variable, value, node.name))
    return [average for average in found if average.variable not in biased]


def without_updates(graph: Graph, averages: Iterable[Average]) -> tuple[Graph, list[tuple[str, str]]]:
    """Let nothing wait for averages to be moved any more, which is what training hangs on the way to its outputs.

    Returns:
        The graph, and what waited, as (node, update).
    """
    waits = {f"^{average.update}" for average in averages}
    found = [(node, text) for node in graph.nodes for text in node.inputs if text in waits]
    if not found:
        return graph, []
    changed = {node.name for node, _ in found}
    nodes = [
        node.replace(inputs=[text for text in node.inputs if text not in waits]) if node.name in changed else node
        for node in graph.nodes
    ]
    return graph.replace(nodes=nodes), [(node.name, text[1:]) for node, text in found]


def _outside(graph: Graph, ref: TensorRef) -> TensorRef:
    """Return the tensor that a conditional around an update took in."""
    seen: set[str] = set()
    while ref.name not in seen:
        seen.add(ref.name)
        node = graph.by_name.get(ref.name)
        if node is None or node.op not in _TAKING_IN or not node.data_inputs:
            break
        ref = node.data_inputs[0]
    return ref


def read_variable(graph: Graph, ref: TensorRef) -> str | None:
    """Return the variable node whose value or handle a tensor is, or None."""
    seen: set[str] = set()
    while ref.name not in seen:
        seen.add(ref.name)
        node = graph.by_name.get(ref.name)
        if node is None:
            return None
        if node.op in VARIABLES:
            return node.name
        if node.op not in _READS or not node.data_inputs:
            return None
        ref = node.data_inputs[0]
    return None


def _averaged(graph: Graph, update: Node, variable: str) -> TensorRef | None:
    delta = update.data_inputs[1]
    if update.op in _ASSIGNS:
        return _weighted(graph, delta, variable)
    return _scaled_difference(graph, delta, variable, minuend=update.op in _SUBTRACTS)


def _of(graph: Graph, ref: TensorRef, ops: frozenset[str]) -> list[TensorRef] | None:
    """Return the operands of the node behind a tensor if it is of these ops and takes two."""
    node = graph.by_name.get(behind_identities(graph, ref).name)
    inputs = node.data_inputs if node is not None and node.op in ops else []
    return inputs if len(inputs) == 2 else None  # noqa: PLR2004 - a binary op


def _scaled_difference(graph: Graph, ref: TensorRef, variable: str, *, minuend: bool) -> TensorRef | None:
    """Match `(v - x) * rate`, or `(x - v) * rate` where v is not the minuend, and return x."""
    factors = _of(graph, ref, frozenset({"Mul"}))
    for difference in factors or ():
        operands = _of(graph, difference, frozenset({"Sub"}))
        if operands is not None:
            own, other = operands if minuend else operands[::-1]
            if read_variable(graph, own) == variable:
                return other
    return None


def _weighted(graph: Graph, ref: TensorRef, variable: str) -> TensorRef | None:
    """Match `v * d + x * e` with d + e = 1, in any order, and return x."""
    terms = _of(graph, ref, _ADDS)
    products = [_of(graph, term, frozenset({"Mul"})) for term in terms or ()]
    for own, other in (products, products[::-1]) if len(products) == 2 else ():  # noqa: PLR2004 - two terms
        if own is None or other is None:
            continue
        decay = next((own[1 - i] for i in (0, 1) if read_variable(graph, own[i]) == variable), None)
        if decay is None:
            continue
        for value, weight in ((other[0], other[1]), (other[1], other[0])):
            if _complements(graph, decay, weight):
                return value
    return None


def _complements(graph: Graph, decay: TensorRef, weight: TensorRef) -> bool:
    a, b = scalar(graph, decay), scalar(graph, weight)
    if a is not None and b is not None:
        return abs(a + b - 1) < _NEAR
    for whole, part in ((weight, decay), (decay, weight)):
        operands = _of(graph, whole, frozenset({"Sub"}))
        if operands is not None and scalar(graph, operands[0]) == 1:
            return behind_identities(graph, operands[1]) == behind_identities(graph, part)
    return False


def _unbiased(graph: Graph, update: Node, variable: str) -> tuple[TensorRef, str] | None:
    """Match `v = b / c` or `v -= v - b / c`, b updated on the way, and return what b averages, and b's variable."""
    value = update.data_inputs[1]
    if update.op in _SUBTRACTS:
        operands = _of(graph, value, frozenset({"Sub"}))
        if operands is None or read_variable(graph, operands[0]) != variable:
            return None
        value = operands[1]
    quotient = _of(graph, value, _DIVIDES)
    if quotient is None:
        return None
    biased = graph.by_name.get(behind_identities(graph, quotient[0]).name)
    if biased is not None and biased.op == "ReadVariableOp":  # read again after the update it waits for
        handle = read_variable(graph, biased.data_inputs[0])
        waits = [graph.by_name.get(name) for name in biased.control_inputs]
        biased = next((n for n in waits if n is not None and _updates(graph, n, handle)), None)
    if biased is None or biased.op not in _SUBTRACTS:
        return None
    name = read_variable(graph, biased.data_inputs[0])
    averaged = None if name is None else _scaled_difference(graph, biased.data_inputs[1], name, minuend=True)
    return None if name is None or averaged is None else (averaged, name)


def _updates(graph: Graph, node: Node, variable: str | None) -> bool:
    return node.op in _SUBTRACTS and variable is not None and read_variable(graph, node.data_inputs[0]) == variable
