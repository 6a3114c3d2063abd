"""Where an input pipeline ends: the tensors that take the place of queues, iterators and files that are read."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tfinspect.ir.refs import TensorRef
from tfinspect.surgery.ops import DECODERS, DEQUEUES, ITERATOR_GETS
from tfinspect.surgery.prune import check_ref

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tfinspect.ir.graph import Graph, Node

_SOURCES = DEQUEUES | ITERATOR_GETS
_PASSING = frozenset({"Identity", "Reshape", "Squeeze", "ExpandDims", "StridedSlice", "Substr"})


def pipeline_ends(graph: Graph, outputs: Iterable[TensorRef]) -> list[TensorRef]:
    """Return the tensors that some outputs need and that come from an input pipeline, in file order.

    What a queue or an iterator delivers is one; so are the pixels of an image file that the graph itself reads.
    """
    seen: set[str] = set()
    found: set[TensorRef] = set()
    waiting = list(outputs)
    for ref in waiting:
        check_ref(graph, ref)
    while waiting:
        ref = waiting.pop()
        node = graph.by_name.get(ref.name)
        if node is None:
            continue
        if node.op in _SOURCES or (node.op in DECODERS and _reads_file(graph, node)):
            found.add(ref)
        elif node.name not in seen:
            seen.add(node.name)
            waiting += node.data_inputs
    place = {node.name: i for i, node in enumerate(graph.nodes)}
    return sorted(found, key=lambda ref: (place[ref.name], ref.index))


def _reads_file(graph: Graph, decoder: Node) -> bool:
    seen: set[str] = set()
    ref = decoder.data_inputs[0] if decoder.data_inputs else TensorRef("")
    while ref.name not in seen:
        seen.add(ref.name)
        node = graph.by_name.get(ref.name)
        if node is None:
            return False
        if node.op == "ReadFile" or node.op in _SOURCES:
            return True
        if node.op not in _PASSING or not node.data_inputs:
            return False
        ref = node.data_inputs[0]
    return False
