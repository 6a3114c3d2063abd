"""The tensors people feed and fetch, found by structure.

A frozen graph computes nothing that nobody wants: its outputs are its sinks. A graph that was saved while it was being
trained also holds labels, losses, gradients, summaries and savers; there the outputs are the last tensors that depend
on the features but on no label. Features are told from labels by whether they meet a learned weight on the way.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeAlias, overload

from tfinspect.ir.dtypes import DType
from tfinspect.ir.refs import TensorRef
from tfinspect.surgery._flow import Flow
from tfinspect.surgery.ops import (
    BYTES_READERS,
    DEQUEUES,
    EMBEDDINGS,
    IDENTITIES,
    ITERATOR_GETS,
    LAYERS,
    LOSSES,
    SOFTMAXES,
    VARIABLES,
    is_gradient,
    is_side_effect,
    is_summary,
    is_training_only,
    output_count,
)
from tfinspect.surgery.phase import phase_flags

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tfinspect.ir.graph import Graph, Node
    from tfinspect.ir.shapes import Shape
    from tfinspect.surgery._flow import Tensor
    from tfinspect.surgery.shapes import TensorTypes

InputKind: TypeAlias = Literal["placeholder", "default", "bytes", "queue", "iterator", "phase"]
_PLACEHOLDERS = frozenset({"Placeholder", "PlaceholderV2", "_Arg"})
_NOT_DATA = (DType.RESOURCE, DType.VARIANT)
_MANY = 10  # while training, more candidates than this are no answer
# what a layer's activation goes through to become a decision or a figure for the log; nobody's output while training
_DECISIONS = frozenset(
    {
        "ArgMax", "ArgMin", "Equal", "NotEqual", "Greater", "GreaterEqual", "Less", "LessEqual", "Round", "Rint",
        "InTopK", "InTopKV2", "TopK", "TopKV2", "Where",
    }
)  # fmt: skip
_MEASURES = frozenset({"Shape", "ShapeN", "Size", "Rank", "ZerosLike", "OnesLike"})
_ACTIVATIONS = SOFTMAXES | {"Sigmoid"}
_REMAINS = frozenset({"QuantizeV2", "Requantize"})  # of a conversion to 8 bits that was not pruned
_MANY_SINKS = 40
_GRADIENT_SCOPE = re.compile(r"(^|/)gradients(_\d+)?/")
_PASSING = frozenset({"Identity", "Reshape", "Squeeze", "ExpandDims", "StopGradient", "Cast", "Transpose"})


@dataclass(frozen=True, slots=True)
class Endpoint:
    """An input or output of a graph.

    Attributes:
        ref: the tensor.
        dtype: element type, None where it cannot be told.
        shape: as far as it is known.
        kind: of inputs how they are fed (see `InputKind`), of outputs "output".
        note: what it seems to be, a phrase; empty where there is nothing to say.
    """

    ref: TensorRef
    dtype: DType | None
    shape: Shape
    kind: str
    note: str = ""


class Outputs(Sequence[Endpoint]):
    """Candidates for the outputs of a graph, best first.

    Attributes:
        certain: whether they leave no choice, so that all of them are the outputs.
    """

    def __init__(self, endpoints: Iterable[Endpoint], *, certain: bool) -> None:
        self._endpoints = tuple(endpoints)
        self.certain = certain and bool(self._endpoints)

    @overload
    def __getitem__(self, index: int) -> Endpoint: ...

    @overload
    def __getitem__(self, index: slice) -> tuple[Endpoint, ...]: ...

    def __getitem__(self, index: int | slice) -> Endpoint | tuple[Endpoint, ...]:
        """Return one candidate, or some."""
        return self._endpoints[index]

    def __len__(self) -> int:
        """Number of candidates."""
        return len(self._endpoints)

    def __repr__(self) -> str:
        """Show the candidates."""
        return f"Outputs({list(map(str, (e.ref for e in self)))}, certain={self.certain})"


def find_inputs(graph: Graph, types: TensorTypes, outputs: Iterable[TensorRef] | None = None) -> list[Endpoint]:
    """Return what can be fed, phase flags included, in file order.

    Args:
        graph: the graph.
        types: its types.
        outputs: where given, only inputs on which one of these tensors depends.
    """
    flow = Flow(graph)
    wanted = None if outputs is None else set(flow.tensors(outputs))
    needed = flow.upstream(i for i, _ in wanted or ())
    flags = {flag.ref: flag for flag in phase_flags(graph, types)}
    found = []
    for tensor, fed_by, said in _inputs(flow, types):
        ref = flow.ref(tensor)
        users = [user for user, index in flow.users[tensor[0]] if index == tensor[1]]
        if wanted is not None and tensor not in wanted and needed.isdisjoint(users):
            continue
        flag = flags.get(ref)
        told = types.type_of(ref)
        kind, note = fed_by, said
        if flag is not None:
            kind, note = "phase", f"{flag.value} in inference: {flag.why}"
        found.append(Endpoint(ref, told.dtype, told.shape, kind, note))
    return found


def _inputs(flow: Flow, types: TensorTypes) -> list[tuple[Tensor, InputKind, str]]:
    found: list[tuple[Tensor, InputKind, str]] = []
    for i, node in enumerate(flow.nodes):
        op = node.op
        if op in _PLACEHOLDERS:
            if types.type_of(TensorRef(node.name)).dtype not in _NOT_DATA:
                found.append(((i, 0), "placeholder", ""))
        elif op == "PlaceholderWithDefault":
            found.append(((i, 0), "default", "has a default"))
        elif op == "Const":
            reader = _bytes_reader(flow, i, node)
            if reader is not None:
                found.append(((i, 0), "bytes", f"a constant meant to be fed: the bytes that {reader} reads"))
        elif op in DEQUEUES or op in ITERATOR_GETS:
            kind: InputKind = "queue" if op in DEQUEUES else "iterator"
            used = sorted({index for _, index in flow.users[i]})
            found += [((i, index), kind, "comes from an input pipeline") for index in used]
    return found


def _bytes_reader(flow: Flow, number: int, node: Node) -> str | None:
    if node.dtype("dtype") is not DType.STRING:
        return None
    for user, _ in flow.users[number]:
        if flow.nodes[user].op in BYTES_READERS and flow.inputs[user][0] == (number, 0):
            return flow.nodes[user].op
    return None


def find_outputs(graph: Graph, types: TensorTypes) -> Outputs:
    """Return what can be fetched, best first."""
    flow = Flow(graph)
    flags = {flag.ref for flag in phase_flags(graph, types)}
    starts = [t for t, _, _ in _inputs(flow, types) if flow.ref(t) not in flags]
    training = any(is_training_only(node.op) for node in flow.nodes)
    stateful = any(node.op in VARIABLES for node in flow.nodes)
    if not training and not stateful:
        sinks = _sinks(flow, starts)
        return Outputs(_endpoints(flow, types, sinks), certain=len(sinks) <= _MANY_SINKS)
    found = _predictions(flow, types, starts)
    if found:
        best = [tensor for tensor in found if _is_prediction(flow, tensor)]
        ranked = best + [tensor for tensor in found if tensor not in best]
    else:
        ranked = _sinks(flow, starts)
    return Outputs(_endpoints(flow, types, ranked[:_MANY]), certain=len(ranked) == 1)


def _endpoints(flow: Flow, types: TensorTypes, tensors: Iterable[Tensor]) -> list[Endpoint]:
    found = []
    for tensor in tensors:
        ref = flow.ref(tensor)
        told = types.type_of(ref)
        note = _note(flow, tensor) if told.dtype is None or told.dtype.is_floating or told.dtype.is_integer else ""
        found.append(Endpoint(ref, told.dtype, told.shape, "output", note))
    return found


def _note(flow: Flow, tensor: Tensor) -> str:
    number = _behind(flow, tensor[0])
    op = flow.nodes[number].op
    if op in SOFTMAXES:
        return "probabilities" if op == "Softmax" else "log probabilities"
    if op == "Sigmoid":
        return "independent probabilities"
    if op in ("ArgMax", "ArgMin"):
        return "index of the best class"
    if op in ("BiasAdd", "Add", "AddV2"):
        source = flow.source(number, 0)
        op = op if source is None else source.op
    if op in LAYERS:
        return "logits or features: a layer without activation"
    return ""


def _behind(flow: Flow, node: int) -> int:
    """Return the node whose values a node hands on, as they are or in another shape."""
    seen = set()
    while flow.nodes[node].op in _PASSING and node not in seen:
        seen.add(node)
        sources = flow.inputs[node]
        if not sources or sources[0][0] < 0:
            break
        node = sources[0][0]
    return node


def _sinks(flow: Flow, starts: Sequence[Tensor]) -> list[Tensor]:
    """Return the tensors of a graph that nothing consumes and that compute something."""
    fed = flow.downstream(starts)
    sinks = [i for i, node in enumerate(flow.nodes) if not flow.users[i] and _computes(node)]
    moved = [i for i in sinks if i in fed] or [i for i in sinks if _computes(flow.nodes[_behind(flow, i)])] or sinks
    kept = [i for i in moved if flow.nodes[i].op not in _REMAINS] or moved
    return [(i, index) for i in kept for index in _wanted(flow.nodes[i])]


def _computes(node: Node) -> bool:
    return not (
        node.op in ("Const", "Placeholder", "PlaceholderV2", "PlaceholderWithDefault")
        or node.op in VARIABLES
        or is_side_effect(node.op)
        or is_gradient(node.op)
    )


def _wanted(node: Node) -> range:
    """Return the outputs of a sink that are results: not what a batch norm saves for its gradient, nor ranges."""
    single = node.op.startswith(("FusedBatchNorm", "Quantize")) or node.op in ("Merge", "RefMerge", *_REMAINS, *LOSSES)
    return range(1 if single else output_count(node))


def _predictions(flow: Flow, types: TensorTypes, starts: Sequence[Tensor]) -> list[Tensor]:
    """Return the last tensors that depend on features and not on labels."""
    backward = _backward(flow)
    reached = {tensor: flow.downstream([tensor], stop=lambda i: i in backward or _ends(flow, i)) for tensor in starts}
    features = {t for t, nodes in reached.items() if any(_meets_weight(flow, i) for i in nodes)}
    if not features:
        features = set(reached)
    tainted = set().union(*(nodes for t, nodes in reached.items() if t not in features))
    inner = set().union(*(reached[t] for t in features)) - tainted - backward
    inner -= {i for i in inner if _is_figure(flow, types, i)}
    inner -= flow.downstream(((i, 0) for i in inner if flow.nodes[i].op in _DECISIONS), stop=lambda i: i not in inner)
    inner = {i for i in inner if flow.nodes[i].op not in _DECISIONS}
    last = [i for i in sorted(inner) if not any(user in inner for user, _ in flow.users[i])]
    last = [i for i in last if not _only_updates(flow, i) and not _only_gradients(flow, i, backward)]
    last = list(dict.fromkeys(found for i in last for found in _activations(flow, i)))
    return [(i, index) for i in last for index in _wanted(flow.nodes[i])]


def _only_gradients(flow: Flow, node: int, backward: set[int]) -> bool:
    """Whether all that comes of a node goes into gradients: a partial derivative made ready beforehand."""
    return bool(flow.users[node]) and all(user in backward for user, _ in flow.users[node])


def _activations(flow: Flow, node: int) -> list[int]:
    """Return the activations that a part of a loss, such as a logarithm, is made of; the node itself where none are."""
    if not flow.users[node] or flow.nodes[_behind(flow, node)].op in _ACTIVATIONS:
        return [node]
    if all(flow.nodes[user].op in LOSSES for user, _ in flow.users[node]):
        return [_behind(flow, node)]
    made_of = flow.upstream([node], stop=lambda i: flow.nodes[i].op in LAYERS or flow.nodes[i].op in _ACTIVATIONS)
    return sorted(i for i in made_of if flow.nodes[i].op in _ACTIVATIONS) or [node]


def _ends(flow: Flow, node: int) -> bool:
    op = flow.nodes[node].op
    return is_side_effect(op) or is_gradient(op) or op in LOSSES or op in _MEASURES


def _backward(flow: Flow) -> set[int]:
    """Return the nodes of the backward pass: what depends on an op that only gradients use."""
    seeds = {i for i, node in enumerate(flow.nodes) if is_gradient(node.op)}
    for i, node in enumerate(flow.nodes):
        if node.op in LOSSES and not node.op.startswith("InTopK"):
            seeds.update(user for user, index in flow.users[i] if index == 1)  # the gradient, computed beside the loss
    if seeds:  # TensorFlow puts gradients into a scope; structure misses factors that are made before any gradient
        seeds.update(i for i, node in enumerate(flow.nodes) if _GRADIENT_SCOPE.search(node.name))
    return seeds | flow.downstream((i, index) for i in seeds for index in range(output_count(flow.nodes[i])))


def _meets_weight(flow: Flow, node: int) -> bool:
    """Whether a node combines what it is fed with a learned weight."""
    op = flow.nodes[node].op
    if op in LAYERS:
        return any(_is_stored(flow, source) for source, _ in flow.inputs[node])
    if op in EMBEDDINGS:
        kind = flow.nodes[node].dtype("Tparams") or flow.nodes[node].dtype("dtype")
        return kind is not None and kind.is_floating and _is_stored(flow, flow.inputs[node][0][0])
    return op in ("CudnnRNN", "CudnnRNNV2", "CudnnRNNV3", "LSTMBlockCell", "BlockLSTM", "BlockLSTMV2", "GRUBlockCell")


def _is_stored(flow: Flow, node: int) -> bool:
    seen: set[int] = set()
    while node >= 0 and node not in seen:
        seen.add(node)
        op = flow.nodes[node].op
        if op in VARIABLES or op in ("Const", "Dequantize"):
            return True
        if op not in IDENTITIES and op not in _PASSING and op not in ("Enter", "RefEnter", "Switch", "RefSwitch"):
            return False
        sources = flow.inputs[node]
        node = sources[0][0] if sources else -1
    return False


def _is_figure(flow: Flow, types: TensorTypes, node: int) -> bool:
    """Whether a node gives one number for the whole batch: a loss, a mean for the log."""
    return types.type_of(TensorRef(flow.nodes[node].name)).shape == ()


def _only_updates(flow: Flow, node: int) -> bool:
    """Whether all that comes of a node goes into variables, queues or checks."""
    users = [flow.nodes[user].op for user, _ in flow.users[node]]
    return bool(users) and all(is_side_effect(op) and not is_summary(op) for op in users)


def _is_prediction(flow: Flow, tensor: Tensor) -> bool:
    return flow.nodes[_behind(flow, tensor[0])].op in _ACTIVATIONS


def softmax_logits(graph: Graph, output: TensorRef) -> TensorRef | None:
    """Return the logits behind an output: what feeds the Softmax, Sigmoid or written-out softmax it is made by.

    Identity, Reshape and the like between the activation and the output are looked through.

    Returns:
        The tensor, or None where no such activation is found.

    Raises:
        NodeNotFoundError: the graph has no such node.
    """
    graph.node(output.name)
    flow = Flow(graph)
    number = _behind(flow, flow.number[output.name])
    node, sources = flow.nodes[number], flow.inputs[number]
    if node.op in _ACTIVATIONS:
        return flow.ref(sources[0]) if sources and sources[0][0] >= 0 else None
    if node.op in ("RealDiv", "Div", "Mul") and len(sources) > 1:
        return _written_out(flow, sources)
    return None


def _written_out(flow: Flow, sources: Sequence[Tensor]) -> TensorRef | None:
    """Read exp(x - max(x)) / sum(exp(x - max(x))), or the same with x alone."""
    top, bottom = sources[:2]
    exponential = flow.nodes[top[0]] if top[0] >= 0 else None
    total = _behind(flow, bottom[0]) if bottom[0] >= 0 else -1
    if total >= 0 and flow.nodes[total].op == "Reciprocal":
        total = flow.inputs[total][0][0]
    if exponential is None or exponential.op != "Exp" or total < 0 or flow.nodes[total].op != "Sum":
        return None
    if not flow.inputs[total] or flow.inputs[total][0] != top or not flow.inputs[top[0]]:
        return None
    logits = flow.inputs[top[0]][0]
    if logits[0] >= 0 and flow.nodes[logits[0]].op == "Sub":
        shifted, shift = flow.inputs[logits[0]][:2]
        largest = _behind(flow, shift[0]) if shift[0] >= 0 else -1
        if largest >= 0 and flow.nodes[largest].op == "Max" and flow.inputs[largest][0] == shifted:
            logits = shifted
    return flow.ref(logits) if logits[0] >= 0 else None
