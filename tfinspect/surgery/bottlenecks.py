"""Tensors that every path from inputs to outputs runs through, and which of them is the feature vector people want.

Names play no part: a bottleneck is a dominator of the outputs, and the best one is what the last learned layer before
the outputs, the classifier, is fed.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tfinspect.ir.dtypes import DType
from tfinspect.surgery._flow import Flow
from tfinspect.surgery.ops import EMBEDDINGS, IDENTITIES, LAYERS, RANDOM, SOFTMAXES

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from tfinspect.ir.graph import Graph, Node
    from tfinspect.ir.refs import TensorRef
    from tfinspect.ir.shapes import Shape
    from tfinspect.surgery._flow import Tensor
    from tfinspect.surgery.shapes import TensorType, TensorTypes

_CELLS = frozenset(
    {"LSTMBlockCell", "BlockLSTM", "BlockLSTMV2", "GRUBlockCell", "CudnnRNN", "CudnnRNNV2", "CudnnRNNV3"}
)
# a layer is not over where one of these follows
_CONTINUES = IDENTITIES | {
    "BiasAdd", "BiasAddV1", "FusedBatchNorm", "FusedBatchNormV2", "FusedBatchNormV3", "Relu", "Relu6", "Elu", "Selu",
    "LeakyRelu", "Tanh", "Sigmoid", "Softplus", "BatchNormWithGlobalNormalization", "Add", "AddV2", "Sub", "Mul",
    "Reshape", "Squeeze", "Pad", "PadV2", "SpaceToBatchND", "BatchToSpaceND", "Dequantize", "QuantizeV2", "Requantize",
    "QuantizedBiasAdd", "QuantizedRelu", "QuantizedRelu6", "Transpose", "Maximum", "Minimum", "RealDiv", "ExpandDims",
}  # fmt: skip
_QUANTISED = frozenset({DType.QUINT8, DType.QINT8, DType.QINT32, DType.QINT16, DType.QUINT16})
_DROPOUT_NODES = 40  # dropout, with its Switch and Merge, is smaller than this
_IMAGE = 4
_DECIDES = SOFTMAXES | {"Sigmoid", "ArgMax", "Exp"}


@dataclass(frozen=True, slots=True)
class Bottleneck:
    """A tensor at which a graph can be cut in two.

    Attributes:
        ref: the tensor.
        dtype: element type, None where it cannot be told.
        shape: as far as it is known.
        width: number of features (channels), None where it cannot be told.
        reason: why it is one, a phrase.
        follows: name of the learned layer that follows, None where none does.
    """

    ref: TensorRef
    dtype: DType | None
    shape: Shape
    width: int | None
    reason: str
    follows: str | None


def find_bottlenecks(
    graph: Graph, types: TensorTypes, inputs: Sequence[TensorRef], outputs: Sequence[TensorRef]
) -> list[Bottleneck]:
    """Return the tensors that every path from inputs to outputs runs through, the most useful first.

    Inputs and outputs themselves are left out, and so is what comes before the first learned layer.

    Args:
        graph: the graph.
        types: its types.
        inputs: data inputs; not the flags of the training phase, nor labels.
        outputs: its outputs.
    """
    flow = Flow(graph)
    sources, sinks = _sources(flow, inputs), flow.tensors(outputs)
    part = _Part(flow, sources, sinks)
    chain, place = part.dominators()
    if not chain:
        return []
    return _Ranking(flow, types, part, chain, place).bottlenecks(set(flow.tensors(inputs)) | set(sinks))


def separates(
    graph: Graph, ref: TensorRef, inputs: Sequence[TensorRef], outputs: Sequence[TensorRef]
) -> list[str] | None:
    """Tell whether every path from inputs to outputs runs through a tensor.

    A placeholder whose default depends on another of the inputs is not taken for an input of its own.

    Returns:
        None if the tensor separates them, else the tensors of a shortest path that goes round it, as `name:index`.
    """
    flow = Flow(graph)
    blocked = flow.tensor(ref)
    ends = set(flow.tensors(outputs))
    before: dict[Tensor, Tensor | None] = {}
    ready: deque[Tensor] = deque()
    for start in _sources(flow, inputs):
        if start != blocked and start not in before:
            before[start] = None
            ready.append(start)
    used = _used_outputs(flow, ends)
    entered: set[int] = set()
    while ready:
        tensor = ready.popleft()
        if tensor in ends:
            return _path(flow, before, tensor)
        for user, index in flow.users[tensor[0]]:
            if index != tensor[1] or user in entered:
                continue
            entered.add(user)
            for out in used[user]:
                if (user, out) != blocked and (user, out) not in before:
                    before[user, out] = tensor
                    ready.append((user, out))
    return None


def _path(flow: Flow, before: dict[Tensor, Tensor | None], end: Tensor) -> list[str]:
    path: list[str] = []
    at: Tensor | None = end
    while at is not None:
        path.append(str(flow.ref(at)))
        at = before[at]
    return path[::-1]


def _used_outputs(flow: Flow, ends: Iterable[Tensor]) -> list[list[int]]:
    """Return for each node the outputs that are consumed or fetched."""
    used = [dict.fromkeys(index for _, index in users) for users in flow.users]
    for node, index in ends:
        used[node][index] = None
    return [list(outs) for outs in used]


def _sources(flow: Flow, inputs: Sequence[TensorRef]) -> list[Tensor]:
    """Return the inputs that do not take their default from another one."""
    starts = list(dict.fromkeys(flow.tensors(inputs)))
    defaults = [t for t in starts if flow.nodes[t[0]].op == "PlaceholderWithDefault"]
    fed = flow.downstream(t for t in starts if t not in defaults) if defaults else set()
    return [t for t in starts if t not in defaults or t[0] not in fed]


class _Part:
    """The part of a graph between some tensors and some others, as a graph of nodes and tensors.

    Vertices are numbers: nodes as in `flow`, tensors from `len(flow.nodes)` on, a virtual source and a virtual sink.

    Attributes:
        reached: nodes that depend on the sources.
    """

    def __init__(self, flow: Flow, sources: Sequence[Tensor], sinks: Sequence[Tensor]) -> None:
        self.flow = flow
        self.reached = flow.downstream(sources)
        needed = flow.upstream(i for i, _ in sinks)
        inside = self.reached & needed
        self._tensors: list[Tensor] = []
        self._numbers: dict[Tensor, int] = {}
        self._next: dict[int, list[int]] = {}
        ends = set(sinks)
        self.start = self._vertex((-1, 0))
        self.end = self._vertex((-1, 1))
        used = _used_outputs(flow, ends)
        self._next[self.start] = [self._vertex(t) for t in sources if t in ends or t[0] in needed]
        givers = dict.fromkeys([*sources, *((i, out) for i in sorted(inside) for out in used[i])])
        for tensor in givers:
            users = dict.fromkeys(u for u, index in flow.users[tensor[0]] if index == tensor[1] and u in inside)
            following = list(users)
            if tensor in ends:
                following.append(self.end)
            self._next[self._vertex(tensor)] = following
        for i in inside:
            self._next[i] = [self._vertex((i, out)) for out in used[i]]

    def _vertex(self, tensor: Tensor) -> int:
        number = self._numbers.get(tensor)
        if number is None:
            number = self._numbers[tensor] = len(self.flow.nodes) + len(self._tensors)
            self._tensors.append(tensor)
        return number

    def tensor(self, vertex: int) -> Tensor | None:
        """Return the tensor a vertex stands for, None for a node."""
        first = len(self.flow.nodes)
        return self._tensors[vertex - first] if vertex >= first else None

    def nodes(self) -> list[int]:
        """Return the nodes of the part."""
        return [v for v in self._next if v < len(self.flow.nodes)]

    def dominators(self) -> tuple[list[int], dict[int, int]]:
        """Return the vertices every path from source to sink runs through, and where each vertex lies.

        One path is walked from end to end; all that can be reached from its first steps without using the rest of it
        is explored, each vertex once. Where nothing explored so far jumps beyond the next step, that step cannot be
        avoided. So the whole takes time linear in vertices and edges, loops or not.

        Returns:
            The dominators in order, source and sink left out, and for each explored vertex how many of them come
            before it, itself included.
        """
        path = self._shortest()
        if path is None:
            return [], {}
        step = {vertex: i for i, vertex in enumerate(path)}
        chain: list[int] = []
        place: dict[int, int] = {}
        furthest = 0
        for i, vertex in enumerate(path):
            if furthest == i and 0 < i < len(path) - 1:
                chain.append(vertex)
            place[vertex] = len(chain)
            ready = [vertex]
            while ready:
                for after in self._next.get(ready.pop(), ()):
                    if after in step:
                        furthest = max(furthest, step[after])
                    elif after not in place:
                        place[after] = len(chain)
                        ready.append(after)
        return chain, place

    def _shortest(self) -> list[int] | None:
        before = {self.start: self.start}
        ready = deque([self.start])
        while ready:
            vertex = ready.popleft()
            if vertex == self.end:
                path = [vertex]
                while path[-1] != self.start:
                    path.append(before[path[-1]])
                return path[::-1]
            for after in self._next.get(vertex, ()):
                if after not in before:
                    before[after] = vertex
                    ready.append(after)
        return None


class _Ranking:
    """The dominators of the outputs, and what is known of the layers between them."""

    def __init__(self, flow: Flow, types: TensorTypes, part: _Part, chain: list[int], place: dict[int, int]) -> None:
        self.flow, self.types, self.part, self.chain = flow, types, part, chain
        learned = [v for v in part.nodes() if v in place and self._is_learned(v)]
        self._looping = _loop_nodes(flow)
        self._layers = sorted((place[v], v) for v in learned)
        on_chain = {v: i for i, v in enumerate(chain)}
        in_line = [on_chain[v] for v in learned if v in on_chain]
        self.classifier = max(in_line, default=None)
        if self.classifier is not None and any(at > self.classifier + 1 for at, _ in self._layers):
            self.classifier = None  # the graph branches behind it: there is no single last layer
        line = len(chain) if self.classifier is None else self.classifier + 1
        self._decides = any(flow.nodes[v].op in _DECIDES for v in part.nodes() if place.get(v, 0) > line)

    def _is_learned(self, number: int) -> bool:
        """Whether a node combines data with a weight, that is with something that does not depend on the inputs."""
        op = self.flow.nodes[number].op
        if op in _CELLS:
            return True
        sources = [s for s, _ in self.flow.inputs[number]]
        if op in EMBEDDINGS:
            return bool(sources) and sources[0] not in self.part.reached
        return op in LAYERS and any(s not in self.part.reached for s in sources[:3])

    def bottlenecks(self, ends: set[Tensor]) -> list[Bottleneck]:
        """Return the candidates but for `ends`, best first."""
        tensors = [(i, t) for i, v in enumerate(self.chain) if (t := self.part.tensor(v)) is not None]
        first = self._layers[0][0] if self._layers else 0
        fit = [(i, t) for i, t in tensors if t not in ends and i >= first and self._is_feature(t)]
        best = self._best(fit)
        rest = [(i, t) for i, t in fit if t != best and self._ends_layer(i)]
        if self.classifier is not None:
            line = self.classifier
            rest.sort(key=lambda item: (item[0] > line, not self._is_flat(item[1]), -item[0]))
        else:
            rest.sort(key=lambda item: -item[0])
        places = {t: i for i, t in fit}
        order = ([] if best is None else [best]) + [t for _, t in rest]
        return [self._describe(places[t], t) for t in order]

    def _is_feature(self, tensor: Tensor) -> bool:
        if tensor[0] in self._looping:
            return False  # it has a value in every turn of the loop
        dtype, shape = self._type(tensor)
        return shape != () and (dtype is None or dtype.is_floating or dtype in _QUANTISED)

    def _type(self, tensor: Tensor) -> TensorType:
        return self.types.type_of(self.flow.ref(tensor))

    def _best(self, fit: list[tuple[int, Tensor]]) -> Tensor | None:
        if not fit:
            return None
        if self.classifier is None:
            ending = [t for i, t in fit if self._ends_layer(i)]
            return ending[-1] if ending else fit[-1][1]
        before = [(i, t) for i, t in fit if i < self.classifier]
        if not before:
            return None
        kept = dict(before)
        at = before[-1][0]
        while (back := self._unchanged_since(at)) is not None and back in kept:
            at = back
        return kept[at]

    def _unchanged_since(self, at: int) -> int | None:
        """Return where on the chain the tensor stands that a tensor repeats: before an Identity or a dropout."""
        earlier = [i for i in range(max(0, at - 2), at) if self.part.tensor(self.chain[i]) is not None]
        if not earlier:
            return None
        back = earlier[-1]
        tensor, previous = self.part.tensor(self.chain[at]), self.part.tensor(self.chain[back])
        if tensor is None or previous is None:
            return None
        if self.flow.nodes[tensor[0]].op in IDENTITIES and previous in self.flow.inputs[tensor[0]]:
            return back
        return back if self._is_dropout(tensor[0], previous) else None

    def _is_dropout(self, number: int, start: Tensor) -> bool:
        """Whether the nodes between a tensor and a node only zero some of its values at random."""
        seen, ready, random = {number}, [number], False
        while ready:
            current = ready.pop()
            node = self.flow.nodes[current]
            random = random or node.op in RANDOM
            if node.op in LAYERS or len(seen) > _DROPOUT_NODES:
                return False
            for source in self.flow.inputs[current]:
                if source != start and source[0] >= 0 and source[0] not in seen:
                    seen.add(source[0])
                    ready.append(source[0])
        return random

    def _ends_layer(self, at: int) -> bool:
        """Whether a tensor is the result of a layer, neither in the middle of one nor a copy of another tensor."""
        tensor = self.part.tensor(self.chain[at])
        if tensor is not None and self.flow.nodes[tensor[0]].op in IDENTITIES:
            return False
        for i in range(at + 1, len(self.chain)):
            vertex = self.chain[i]
            if self.part.tensor(vertex) is None:
                op = self.flow.nodes[vertex].op
                if op not in IDENTITIES:
                    return op not in _CONTINUES
        return True

    def _is_flat(self, tensor: Tensor) -> bool:
        shape = self._type(tensor).shape
        if shape is None or len(shape) < 2:  # noqa: PLR2004 - batch and features
            return False
        axis = self._channel_axis(tensor, len(shape))
        return all(d == 1 for i, d in enumerate(shape) if i not in (0, axis))

    def _channel_axis(self, tensor: Tensor, rank: int) -> int:
        if rank >= _IMAGE:
            around = [self.flow.nodes[tensor[0]], *(self.flow.nodes[user] for user, _ in self.flow.users[tensor[0]])]
            if any(node.text("data_format").startswith("NC") for node in around):
                return 1
        return rank - 1

    def _describe(self, at: int, tensor: Tensor) -> Bottleneck:
        dtype, shape = self._type(tensor)
        width = shape[self._channel_axis(tensor, len(shape))] if shape else None
        reasons = ["every path from inputs to outputs runs through it"]
        if width is not None:
            reasons.append(f"{width:,} {'wide' if self._is_flat(tensor) else 'channels'}")
        following = next((v for place, v in self._layers if place > at), None)
        follows = None if following is None else self.flow.nodes[following]
        if follows is not None and following is not None:
            reasons.append(self._what_follows(follows, following))
        elif self.classifier is not None:
            reasons.append("the last learned layer stands before it")
        name = None if follows is None else follows.name
        return Bottleneck(self.flow.ref(tensor), dtype, shape, width, "; ".join(reasons), name)

    def _what_follows(self, node: Node, number: int) -> str:
        article = "an" if node.op[0] in "AEIOU" else "a"
        shape = self._type((number, 0)).shape
        count = shape[self._channel_axis((number, 0), len(shape))] if shape else None
        last = self.classifier is not None and self.chain[self.classifier] == number
        if count is None:
            return f"{article} {node.op} follows"
        if not last:
            return f"{article} {node.op} to {count:,} {'channels' if 'Conv' in node.op else 'features'} follows"
        return f"{article} {node.op} to {count:,} {'classes' if self._decides else 'outputs'} follows"


def _loop_nodes(flow: Flow) -> set[int]:
    """Return the nodes inside while loops, Enter included and Exit not."""
    enters = [i for i, node in enumerate(flow.nodes) if node.op in ("Enter", "RefEnter")]
    exits = {i for i, node in enumerate(flow.nodes) if node.op in ("Exit", "RefExit")}
    return flow.downstream(((i, 0) for i in enters), stop=lambda i: i in exits).union(enters)
