"""Find a classifier that was trained beside the trunk but never connected to it, and connect it.

Retraining scripts of 2016 ran the trunk once over all images, stored the bottlenecks, and trained a classifier that
reads them from a placeholder. The checkpoint then holds two graphs that do not touch.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from tfinspect.errors import AlreadyConnectedError, UsageError
from tfinspect.ir.refs import TensorRef
from tfinspect.ir.shapes import Shape, compatible, format_shape
from tfinspect.surgery._edges import behind_identities, drop_dangling, redirect
from tfinspect.surgery.drop_updates import is_update
from tfinspect.surgery.ops import DEQUEUES, ITERATOR_GETS, ITERATORS, PLACEHOLDERS, QUEUES
from tfinspect.surgery.prune import check_ref

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tfinspect.ir.graph import Graph, Node
    from tfinspect.surgery.shapes import TensorTypes

_SOURCES = PLACEHOLDERS | QUEUES | DEQUEUES | ITERATOR_GETS | ITERATORS
_TRAINED = frozenset({"Const", "Variable", "VariableV2", "VarHandleOp"})
_LAYERS = frozenset({"MatMul", "BatchMatMul", "BatchMatMulV2", "Conv2D"})
_SOFTMAX = frozenset({"Softmax", "LogSoftmax", "Sigmoid"})
_NOT_RESULTS = frozenset(
    {"HistogramSummary", "ScalarSummary", "ImageSummary", "MergeSummary", "Assert", "Print", "NoOp", "Shape", "Rank"}
)


@dataclass(frozen=True, slots=True)
class UnconnectedHead:
    """A classifier that waits for bottlenecks.

    Attributes:
        placeholder: what its bottlenecks were fed to.
        outputs: logits and softmax, or whatever it ends in.
    """

    placeholder: TensorRef
    outputs: tuple[TensorRef, ...]


def find_unconnected_head(graph: Graph, bottleneck: TensorRef, types: TensorTypes) -> UnconnectedHead:
    """Find the classifier that was trained beside the trunk.

    It starts at a Placeholder, or a PlaceholderWithDefault that the trunk does not feed, of the bottleneck's dtype and
    shape, runs through at least one layer with trained weights, and ends where nothing but labels could follow.

    Args:
        graph: trunk and classifier, frozen or not.
        bottleneck: the trunk's tensor.
        types: dtypes and shapes of the graph.

    Raises:
        AlreadyConnectedError: the only classifier there is hangs on the trunk already; names it.
        UsageError: there is none, or several; lists them.
        NodeNotFoundError: the bottleneck is not in the graph.
    """
    check_ref(graph, bottleneck)
    behind = downstream(graph, [bottleneck])
    above = _upstream(graph, bottleneck.name)
    kind = types.type_of(bottleneck)
    heads: list[UnconnectedHead] = []
    looked: list[str] = []
    for node in graph.nodes:
        if node.op not in PLACEHOLDERS or node.name in behind or node.name in above:
            continue
        ref = TensorRef(node.name)
        own = types.type_of(ref)
        if kind.dtype is not None and own.dtype != kind.dtype:
            continue
        looked.append(f"{ref}  {own.dtype} {format_shape(own.shape)}")
        if not _fits(own.shape, kind.shape):
            continue
        outputs = _classifier(graph, ref)
        if outputs:
            heads.append(UnconnectedHead(ref, outputs))
    if len(heads) == 1:
        return heads[0]
    if heads:
        raise UsageError(
            f"{len(heads)} classifiers could be connected to `{bottleneck}`",
            details=[f"{head.placeholder} -> {', '.join(map(str, head.outputs))}" for head in heads],
            hint="freeze the one you mean by itself and give it with --head",
            evidence={"candidates": [str(head.placeholder) for head in heads]},
        )
    connected = _classifier(graph, bottleneck)
    if connected:
        raise AlreadyConnectedError(
            f"the classifier `{connected[-1]}` hangs on `{bottleneck}` already, and no other one is in the graph",
            hint="nothing is left to join: export it as it is, or give another head with --head",
            evidence={"bottleneck": str(bottleneck), "outputs": [str(ref) for ref in connected]},
        )
    wanted = f"{kind.dtype} {format_shape(kind.shape)}"
    raise UsageError(
        f"no classifier that takes `{bottleneck}` ({wanted}) is in the graph",
        details=looked[:8],
        hint="give one with --head: an .npz of weights and biases, or a frozen graph",
        evidence={"bottleneck": str(bottleneck), "placeholders": looked},
    )


def _fits(own: Shape, wanted: Shape) -> bool:
    """Whether a placeholder's shape is the bottleneck's: its rank and last dimension must be written down."""
    if own is None or not own or own[-1] is None:
        return False
    return compatible(own, wanted)


def downstream(graph: Graph, refs: Sequence[TensorRef]) -> set[str]:
    """Return the nodes that are computed from some tensors."""
    found: set[str] = set()
    waiting: list[str] = []

    def visit(user: Node) -> None:
        if user.name not in found:
            found.add(user.name)
            waiting.append(user.name)

    for ref in refs:
        for user in graph.consumers.get(ref.name, ()):
            if ref in user.data_inputs:
                visit(user)
    while waiting:
        name = waiting.pop()
        for user in graph.consumers.get(name, ()):
            if any(ref.name == name for ref in user.data_inputs):
                visit(user)
    return found


def _upstream(graph: Graph, name: str) -> set[str]:
    found = {name}
    waiting = [name]
    while waiting:
        node = graph.by_name.get(waiting.pop())
        for above in node.input_names if node is not None else ():
            if above not in found:
                found.add(above)
                waiting.append(above)
    return found


def _classifier(graph: Graph, ref: TensorRef) -> tuple[TensorRef, ...]:
    """Return what a trained classifier fed by `ref` ends in, or nothing where no trained layer follows."""
    reached = _inference_part(graph, ref)
    layers = [node for node in reached.values() if node.op in _LAYERS and _has_trained_weights(graph, node)]
    if not layers:
        return ()
    behind = downstream(graph, [TensorRef(node.name) for node in layers])
    ends = [node for node in reached.values() if node.op in _SOFTMAX and node.name in behind]
    names = {node.name for node in ends}
    last = [node for node in ends if names.isdisjoint(downstream(graph, [TensorRef(node.name)]))]
    if last:
        logits = {behind_identities(graph, node.data_inputs[0]): None for node in last}
        return (*logits, *(TensorRef(node.name) for node in last))
    return tuple(
        TensorRef(node.name)
        for node in reached.values()
        if (node.name in behind or node in layers)
        and node.op not in _NOT_RESULTS
        and not any(user.name in reached and user.op not in _NOT_RESULTS for user in graph.consumers.get(node.name, ()))
    )


def _inference_part(graph: Graph, start: TensorRef) -> dict[str, Node]:
    """Return the nodes computed from a tensor and from nothing else that varies.

    What needs labels (the loss, its gradients) or changes variables (the optimizer) is no part of it; scalar
    placeholders (`keep_prob`) do not count as varying.
    """
    reachable = downstream(graph, [start])
    varying = _varying(graph, start, reachable)
    return {node.name: node for node in graph.nodes if node.name in reachable and node.name not in varying}


def _varying(graph: Graph, start: TensorRef, reachable: set[str]) -> set[str]:
    sources = [
        TensorRef(node.name)
        for node in graph.nodes
        if node.name != start.name and node.name not in reachable and node.op in _SOURCES and not _is_scalar(node)
    ]
    # what the start itself is computed from does not count: beyond the start everything comes through it
    above = _upstream(graph, start.name) if graph.by_name[start.name].op not in PLACEHOLDERS else set()
    sources = [ref for ref in sources if ref.name not in above]
    found = downstream(graph, sources) | {node.name for node in graph.nodes if is_update(node)}
    waiting = [TensorRef(name) for name in found if is_update(graph.by_name[name])]
    return found | downstream(graph, waiting)


def _is_scalar(node: Node) -> bool:
    attr = node.attrs.get("shape")
    if node.dtype("dtype") is not None and str(node.dtype("dtype")) == "bool":
        return True
    # an absent or unknown shape of a float is how 2016 wrote `tf.placeholder(tf.float32)`, mostly a keep_prob
    return attr is None or attr.kind != "shape" or attr.value is None or attr.value == ()


def _has_trained_weights(graph: Graph, node: Node) -> bool:
    for ref in node.data_inputs[1:2]:
        source = graph.by_name.get(_behind_reads(graph, ref).name)
        if source is not None and source.op in _TRAINED:
            return True
    return False


def _behind_reads(graph: Graph, ref: TensorRef) -> TensorRef:
    ref = behind_identities(graph, ref)
    node = graph.by_name.get(ref.name)
    if node is not None and node.op == "ReadVariableOp":
        return behind_identities(graph, node.data_inputs[0])
    return ref


def join(graph: Graph, placeholder_ref: TensorRef, bottleneck: TensorRef) -> Graph:
    """Feed the bottleneck to whatever a placeholder fed, and remove the placeholder.

    Raises:
        NodeNotFoundError: either is not in the graph.
    """
    check_ref(graph, placeholder_ref)
    check_ref(graph, bottleneck)
    gone = placeholder_ref.name
    kept = [node for node in graph.nodes if node.name != gone]
    nodes = redirect(kept, {placeholder_ref: bottleneck}, {gone: bottleneck.name})
    return graph.replace(nodes=drop_dangling(nodes))
