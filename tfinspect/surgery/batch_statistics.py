"""Batch norm in training mode, which normalises by the batch it is given, made to use its moving statistics.

1. `FusedBatchNorm*` with `is_training` set takes the variables that average its outputs 1 and 2 for mean and variance;
   where it updates the averages itself (`exponential_avg_factor`), or has them as inputs already, those.
2. A mean or variance that is written out as reductions (`tf.nn.moments`) is replaced, for all that use it, by the
   variable that averages it.
3. What is left and has no average is refused by name: nothing in the graph says what to use in its place.

The averages are found in the whole graph, for updates are seldom on the way to an output.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from tfinspect.ir.attrs import Attr
from tfinspect.ir.dtypes import DType
from tfinspect.ir.graph import Graph, Node, const
from tfinspect.ir.refs import TensorRef
from tfinspect.ir.shapes import is_static
from tfinspect.ir.tensors import Tensor
from tfinspect.surgery._edges import fresh_name, redirect
from tfinspect.surgery._flow import Flow
from tfinspect.surgery.moving_averages import read_variable
from tfinspect.surgery.ops import PLACEHOLDERS, is_update
from tfinspect.surgery.reconcile import declared_shape
from tfinspect.surgery.repairs import Refusal, Repair

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tfinspect.ir.shapes import Shape
    from tfinspect.surgery.moving_averages import Average
    from tfinspect.surgery.shapes import TensorTypes

FUSED = frozenset({"FusedBatchNorm", "FusedBatchNormV2", "FusedBatchNormV3", "_FusedBatchNormEx"})
_REDUCTIONS = frozenset({"Mean", "Sum"})
# between a reduction and the statistic that is averaged
_SHAPING = frozenset({"Squeeze", "Reshape", "Identity", "StopGradient", "Cast", "ExpandDims"})
# between a reduction over the batch and the inverse square root of a variance
_ARITHMETIC = _SHAPING | {"Add", "AddV2", "Sub", "Mul", "RealDiv", "Div", "Square", "Reciprocal", "Inv", "Squeeze"}
_STEPS = 40


def uses_moving_statistics(
    graph: Graph, outputs: Sequence[TensorRef], kept: Sequence[Average], types: TensorTypes
) -> tuple[Graph, list[Repair]]:
    """Make every batch norm that the outputs need use its moving statistics, where it keeps such.

    Args:
        graph: a graph that has the variables the averages are kept in, their values not yet folded in.
        outputs: what is wanted of it.
        kept: the moving averages of the whole graph, from `moving_averages`.
        types: dtypes and shapes of the graph.

    Returns:
        The graph, itself where nothing had to be done, and what was done.
    """
    needed = _needed(graph, outputs)
    averages: dict[TensorRef, str] = {}
    for average in kept:
        if average.value.name in graph and average.variable in graph:
            averages.setdefault(average.value, average.variable)
    pass_ = _Pass(graph, averages, types)
    for node in graph.nodes:
        if node.name not in needed:
            continue
        if node.op in FUSED and node.value("is_training", default=True):
            pass_.fused(node)
    for value, variable in averages.items():
        if graph.by_name[value.name].op not in FUSED and not needed.isdisjoint(
            r.name for r in shaped_from(graph, value)
        ):
            pass_.written_out(value, variable)
    return pass_.result()


def shaped_from(graph: Graph, ref: TensorRef) -> list[TensorRef]:
    """Return a tensor, what it is reshaped from, what that is, and so on."""
    chain = [ref]
    while len(chain) <= _STEPS:
        node = graph.by_name.get(chain[-1].name)
        if node is None or node.op not in _SHAPING or not node.data_inputs:
            break
        chain.append(node.data_inputs[0])
    return chain


def _needed(graph: Graph, outputs: Sequence[TensorRef]) -> set[str]:
    """Return what the outputs are computed from; what they only wait for, updates perhaps, is not among it."""
    flow = Flow(graph)
    starts = [flow.number[ref.name] for ref in outputs if ref.name in flow.number]
    return {flow.nodes[i].name for i in flow.upstream(starts)}


class _Pass:
    def __init__(self, graph: Graph, averages: dict[TensorRef, str], types: TensorTypes) -> None:
        self._graph = graph
        self._averages = averages
        self._types = types
        self._taken = set(graph.by_name)
        self._reads: dict[str, str] = {}
        self._added: list[Node] = []
        self._changed: dict[str, Node] = {}
        self._moved: dict[TensorRef, TensorRef] = {}
        self._repairs: list[Repair] = []

    def fused(self, node: Node) -> None:
        """Turn one FusedBatchNorm to its moving statistics, or leave it."""
        mean = self._averages.get(TensorRef(node.name, 1))
        variance = self._averages.get(TensorRef(node.name, 2))
        inputs = list(node.inputs)
        if mean is not None and variance is not None:
            inputs[3], inputs[4] = self._read(mean), self._read(variance)
        else:
            held = [_stored(self._graph, ref) for ref in node.data_inputs[3:5]]
            if None in held:
                return
            mean, variance = held
        attrs = {k: a for k, a in node.attrs.items() if k != "exponential_avg_factor"}
        attrs["is_training"] = Attr.of(value=False)
        self._changed[node.name] = node.replace(inputs=inputs, attrs=attrs)
        self._repairs.append(Repair("batch-norm", node.name, f"{node.op}, by {mean} and {variance}"))

    def written_out(self, value: TensorRef, variable: str) -> None:
        """Put a variable in the place of the statistic of a batch, wherever that is used, in whatever shape."""
        chain = shaped_from(self._graph, value)
        if not _reductions(self._graph, chain[-1], self._types):
            return
        names = {ref.name for ref in chain}
        used = False
        for ref in chain:
            users = [u for u in self._graph.consumers.get(ref.name, ()) if ref in u.data_inputs]
            if all(u.name in names or is_update(u.op) for u in users):
                continue
            source = self._shaped(ref, variable)
            if source is not None:
                self._moved[ref] = TensorRef(source)
                used = True
        if used:
            self._repairs.append(Repair("batch-norm", value.name, f"statistic of the batch, by {variable}"))

    def _shaped(self, ref: TensorRef, variable: str) -> str | None:
        """Return the variable's value in the shape and dtype of a tensor, or None where those cannot be told."""
        node = self._graph.by_name[variable]
        kind = self._types.type_of(ref)
        own = declared_shape(node)
        source = self._read(variable)
        dtype = node.dtype("dtype")
        if kind.dtype is not None and dtype is not None and kind.dtype != dtype:
            attrs = {"SrcT": Attr.of(dtype), "DstT": Attr.of(kind.dtype)}
            source = self._add(Node(self._name(f"{ref.name}/cast"), "Cast", (source,), attrs))
            dtype = kind.dtype
        if kind.shape is None or own is None or kind.shape == own:
            return source
        if len(kind.shape) == len(own) and not is_static(kind.shape):
            return source
        if not _same_size(kind.shape, own):
            return None
        dims = Tensor.of([-1 if d is None else d for d in kind.shape], DType.INT32)
        shape = self._add(const(self._name(f"{ref.name}/moving/shape"), dims))
        attrs = {"T": Attr.of(dtype or DType.FLOAT), "Tshape": Attr.of(DType.INT32)}
        return self._add(Node(self._name(f"{ref.name}/moving"), "Reshape", (source, shape), attrs))

    def _read(self, variable: str) -> str:
        """Return the name of a tensor that is the variable's value."""
        node = self._graph.by_name[variable]
        if node.op != "VarHandleOp":
            return variable
        if variable not in self._reads:
            attrs = {"dtype": node.attrs["dtype"]}
            self._reads[variable] = self._add(
                Node(self._name(f"{variable}/moving/read"), "ReadVariableOp", (variable,), attrs)
            )
        return self._reads[variable]

    def _name(self, base: str) -> str:
        name = fresh_name(base, self._taken)
        self._taken.add(name)
        return name

    def _add(self, node: Node) -> str:
        self._added.append(node)
        return node.name

    def result(self) -> tuple[Graph, list[Repair]]:
        """Return the graph as it is now, and what was done."""
        if not self._repairs:
            return self._graph, []
        nodes = [self._changed.get(node.name, node) for node in self._graph.nodes]
        moved = {old: new for old, new in self._moved.items() if old != new}
        return self._graph.replace(nodes=[*self._added, *redirect(nodes, moved)]), self._repairs


def _stored(graph: Graph, ref: TensorRef) -> str | None:
    """Return the variable or the constant with elements that a tensor is read from, or None."""
    variable = read_variable(graph, ref)
    if variable is not None:
        return variable
    node = graph.by_name.get(ref.name)
    tensor = node.tensor() if node is not None and node.op == "Const" else None
    return ref.name if tensor is not None and tensor.size else None


def _same_size(shape: Shape, own: Shape) -> bool:
    if shape is None or own is None or not is_static(own):
        return False
    known = math.prod(d for d in shape if d is not None)
    total = math.prod(d for d in own if d is not None)
    unknown = shape.count(None)
    return known == total if not unknown else unknown == 1 and known > 0 and total % known == 0


def _reductions(graph: Graph, ref: TensorRef, types: TensorTypes) -> list[Node]:
    """Return the reductions over a batch, not over all of a tensor, that a tensor is made of by plain arithmetic."""
    found: list[Node] = []
    seen: set[str] = set()
    waiting = [ref]
    while waiting and len(seen) < _STEPS:
        node = graph.by_name.get(waiting.pop().name)
        if node is None or node.name in seen:
            continue
        seen.add(node.name)
        if node.op in _REDUCTIONS:
            if _is_over_batch(graph, node, types):
                found.append(node)
        elif node.op in _ARITHMETIC:
            waiting += node.data_inputs
    return found


def _is_over_batch(graph: Graph, node: Node, types: TensorTypes) -> bool:
    inputs = node.data_inputs
    if len(inputs) < 2 or any(ref.name not in graph for ref in inputs):  # noqa: PLR2004 - data and axes
        return False
    axes, shape = types.value_of(inputs[1]), types.type_of(inputs[0]).shape
    rank = None if shape is None else len(shape)
    found = {axis + rank if rank is not None and axis < 0 else axis for axis in axes or () if axis is not None}
    return 0 in found and (rank is None or len(found) < rank)


def batch_dependent(graph: Graph, types: TensorTypes) -> list[Refusal]:
    """Return what of a graph that was pruned to its outputs still normalises by the batch it is given."""
    found: list[Refusal] = []
    flow: Flow | None = None
    for node in graph.nodes:
        if node.op in FUSED and node.value("is_training", default=True):
            reason = (
                f"`{node.name}` ({node.op}) normalises by the statistics of its batch, and no moving average of them "
                "is kept in the graph"
            )
            found.append(Refusal("batch-norm", node.name, reason))
        elif node.op == "Rsqrt" or (node.op == "Sqrt" and _divides(graph, node)):
            flow = flow or Flow(graph)
            reductions = [n for n in _reductions(graph, node.data_inputs[0], types) if _depends_on_input(flow, n)]
            if reductions:
                reason = (
                    f"`{node.name}` ({node.op}) normalises by the statistics of its batch ({reductions[0].name}), "
                    "and no moving average of them is kept in the graph"
                )
                found.append(Refusal("batch-norm", node.name, reason))
    return found


def _divides(graph: Graph, node: Node) -> bool:
    """Whether something is divided by what a node gives."""
    own = TensorRef(node.name)
    users = graph.consumers.get(node.name, ())
    return any(u.op in ("RealDiv", "Div") and u.data_inputs[1:2] == [own] for u in users) or any(
        u.op in ("Inv", "Reciprocal") for u in users
    )


def _depends_on_input(flow: Flow, node: Node) -> bool:
    upstream = flow.upstream([flow.number[node.name]])
    return any(flow.nodes[i].op in PLACEHOLDERS for i in upstream)
