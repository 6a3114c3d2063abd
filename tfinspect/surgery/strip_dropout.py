"""Take out dropout: in inference every value is kept.

A dropout multiplies by a random mask of zeros and ones and divides by the share that it keeps. All that has been called
so since 2015, by TensorFlow or by hand:

* mask: `floor(keep + u)`, a cast of `u >= rate`, `u < keep` and the like, u drawn from [0, 1)
* `x / keep * mask`, `x * (1 / keep) * mask`, `(x * mask) / keep`, `where(u >= rate, x / keep, 0)`; the factors in any
  order, keep perhaps worked out as `1 - rate`

What keeps everything (`keep` is one, as the flags of the training phase are set for inference) is taken out as well:
another runtime may round `1 + u` to 2, or draw from [0, 1], and then drops or doubles an element now and then.

A mask without the division is no dropout of this kind. What its author does in inference cannot be told: it stays.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tfinspect.ir.attrs import Attr
from tfinspect.surgery._edges import as_input, behind_identities
from tfinspect.surgery.prune import prune
from tfinspect.surgery.scalars import scalar

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from tfinspect.ir.graph import Graph, Node
    from tfinspect.ir.refs import TensorRef

_ADDS = frozenset({"Add", "AddV2"})
_DIVIDES = frozenset({"RealDiv", "Div"})
_UNIFORM = frozenset({"RandomUniform", "StatelessRandomUniform", "StatelessRandomUniformV2", "StatefulUniform"})
_ABOVE = frozenset({"GreaterEqual", "Greater"})
_BELOW = frozenset({"Less", "LessEqual"})
_NEAR = 1e-3  # a share and its inverse, each rounded to half precision perhaps
_EXACT = 1e-6


def strip_dropout(graph: Graph, outputs: Sequence[TensorRef]) -> tuple[Graph, int]:
    """Take out what keeps everything, and say how much there was; for export, which changes nothing of a model."""
    graph, names = take_out_dropout(graph, outputs, idle=True)
    return graph, len(names)


def take_out_dropout(graph: Graph, outputs: Sequence[TensorRef], *, idle: bool = False) -> tuple[Graph, list[str]]:
    """Replace each dropout by an Identity of what it drops from.

    Args:
        graph: a frozen graph.
        outputs: tensors to keep.
        idle: only what keeps everything.

    Returns:
        The graph, itself where there was nothing to do, and the names of the last nodes of the dropouts taken out.
    """
    if not any(node.op in _UNIFORM for node in graph.nodes):
        return graph, []
    found: dict[str, TensorRef] = {}
    for node in graph.nodes:
        dropout = _dropped_from(graph, node)
        if dropout is not None and (not idle or abs(dropout[1] - 1) < _EXACT):
            found[node.name] = dropout[0]
    inner = {name for name in found for user in graph.consumers.get(name, ()) if _is_rest_of(graph, user, name, found)}
    found = {name: kept for name, kept in found.items() if name not in inner}
    if not found:
        return graph, []
    nodes = [node if node.name not in found else _passing(node, found[node.name]) for node in graph.nodes]
    return prune(graph.replace(nodes=nodes), outputs), list(found)


def _is_rest_of(graph: Graph, user: Node, name: str, found: dict[str, TensorRef]) -> bool:
    """Whether a node ends the very dropout that another one, of keeping everything, seems to end."""
    return user.name in found and found[user.name] == found[name] and len(graph.consumers[name]) == 1


def _passing(node: Node, kept: TensorRef) -> Node:
    controls = [text for text in node.inputs if text.startswith("^")]
    dtype = node.dtype()
    attrs = {} if dtype is None else {"T": Attr.of(dtype)}
    return node.replace(op="Identity", inputs=[as_input(kept), *controls], attrs=attrs)


def _dropped_from(graph: Graph, node: Node) -> tuple[TensorRef, float] | None:
    """Return what a node that ends a dropout drops from and the share that it keeps, or None where it ends none."""
    inputs = node.data_inputs
    if node.op == "Mul":
        for product, mask in _both(inputs):
            keep = _keep_of_mask(graph, mask)
            if keep is not None:
                return _undo(graph, product, keep)
        return _scaled_after(graph, node)
    if node.op in _DIVIDES:
        return _scaled_after(graph, node)
    if node.op in ("Select", "SelectV2") and len(inputs) == 3:  # noqa: PLR2004 - condition and two branches
        return _selected(graph, inputs)
    return None


def _undo(graph: Graph, scaled: TensorRef, keep: float) -> tuple[TensorRef, float] | None:
    """Return x and keep of `x / keep` or `x * (1 / keep)`; x itself where keep is one."""
    node = graph.by_name.get(behind_identities(graph, scaled).name)
    inputs = node.data_inputs if node is not None else []
    if node is not None and node.op in _DIVIDES and _is_near(scalar(graph, inputs[1]), keep):
        return inputs[0], keep
    if node is not None and node.op == "Mul":
        for x, factor in _both(inputs):
            if _is_near(scalar(graph, factor), 1 / keep):
                return x, keep
    return (scaled, keep) if abs(keep - 1) < _EXACT else None


def _scaled_after(graph: Graph, node: Node) -> tuple[TensorRef, float] | None:
    """Return x and keep of `(x * mask) / keep` or `(x * mask) * (1 / keep)`."""
    inputs = node.data_inputs
    for product, by in [(inputs[0], inputs[1])] if node.op in _DIVIDES else _both(inputs):
        value = scalar(graph, by)
        masked = graph.by_name.get(behind_identities(graph, product).name)
        if value is None or masked is None or masked.op != "Mul":
            continue
        factors = masked.data_inputs
        for x, mask in _both(factors):
            keep = _keep_of_mask(graph, mask)
            if keep is not None and _is_near(value if node.op in _DIVIDES else 1 / value if value else 0.0, keep):
                return x, keep
    return None


def _selected(graph: Graph, inputs: Sequence[TensorRef]) -> tuple[TensorRef, float] | None:
    """Return x and keep of `where(mask, x / keep, 0)` or `where(dropped, 0, x / keep)`."""
    keep = _share_of_test(graph, inputs[0])
    if keep is None:
        return None
    if _is_zero(graph, inputs[2]) and keep > 0:
        return _undo(graph, inputs[1], keep)
    if _is_zero(graph, inputs[1]) and keep < 1:
        return _undo(graph, inputs[2], 1 - keep)
    return None


def _is_zero(graph: Graph, ref: TensorRef) -> bool:
    node = graph.by_name.get(behind_identities(graph, ref).name)
    if node is None:
        return False
    if node.op == "ZerosLike" or (node.op == "Fill" and len(node.data_inputs) > 1):
        return node.op == "ZerosLike" or scalar(graph, node.data_inputs[1]) == 0
    return scalar(graph, ref) == 0


def _keep_of_mask(graph: Graph, ref: TensorRef) -> float | None:
    """Return the share of ones of a random mask of zeros and ones, or None where it is no such mask."""
    node = graph.by_name.get(behind_identities(graph, ref).name)
    if node is None or not node.data_inputs:
        return None
    share = None
    if node.op == "Floor":
        total = graph.by_name.get(behind_identities(graph, node.data_inputs[0]).name)
        if total is not None and total.op in _ADDS:
            share = next((scalar(graph, x) for x, y in _both(total.data_inputs) if _is_uniform(graph, y)), None)
    elif node.op == "Cast":
        share = _share_of_test(graph, node.data_inputs[0])
    return share if share is not None and 0 < share <= 1 else None


def _share_of_test(graph: Graph, ref: TensorRef) -> float | None:
    """Return how often a comparison of a random number with a constant comes out true, or None."""
    node = graph.by_name.get(behind_identities(graph, ref).name)
    if node is None or node.op not in _ABOVE | _BELOW:
        return None
    left, right = node.data_inputs
    above = node.op in _ABOVE
    if not _is_uniform(graph, left):
        left, right, above = right, left, not above
    bound = scalar(graph, right) if _is_uniform(graph, left) else None
    if bound is None or not 0 <= bound <= 1:
        return None
    return 1 - bound if above else bound


def _is_uniform(graph: Graph, ref: TensorRef) -> bool:
    """Whether a tensor is drawn from [0, 1), as `RandomUniform * (1 - 0) + 0` perhaps."""
    node = graph.by_name.get(behind_identities(graph, ref).name)
    if node is not None and node.op in _ADDS:
        ref = next((x for x, y in _both(node.data_inputs) if scalar(graph, y) == 0), ref)
        node = graph.by_name.get(behind_identities(graph, ref).name)
    if node is not None and node.op == "Mul":
        ref = next((x for x, y in _both(node.data_inputs) if scalar(graph, y) == 1), ref)
        node = graph.by_name.get(behind_identities(graph, ref).name)
    return node is not None and node.op in _UNIFORM


def _both(inputs: Sequence[TensorRef]) -> Iterable[tuple[TensorRef, TensorRef]]:
    a, b = inputs
    return (a, b), (b, a)


def _is_near(value: float | None, other: float) -> bool:
    return value is not None and abs(value - other) <= _NEAR * max(1.0, abs(other))
