"""Tensors that are the same whatever is fed: what a converter may compute beforehand and keep as a weight."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tfinspect.ir.graph import MERGING_OPS
from tfinspect.surgery.ops import LOOP_CARRIERS, MERGES, PLACEHOLDERS, RANDOM, SWITCHES, VARIABLES, is_stateful

if TYPE_CHECKING:
    from tfinspect.ir.graph import Graph, Node
    from tfinspect.ir.refs import TensorRef

_VARYING = PLACEHOLDERS | RANDOM | VARIABLES | SWITCHES | MERGES | LOOP_CARRIERS | MERGING_OPS


def constant_tensors(graph: Graph) -> list[TensorRef]:
    """Return what is computed from constants alone and consumed by something that is not, constants themselves apart.

    Raises:
        InvalidGraphError: the graph has a cycle or an input that is not there.
    """
    constant: set[str] = set()
    found: dict[TensorRef, None] = {}
    for node in graph.topological():
        inputs = node.data_inputs
        if _is_constant(node, constant):
            constant.add(node.name)
        else:
            found.update(
                (ref, None) for ref in inputs if ref.name in constant and graph.by_name[ref.name].op != "Const"
            )
    return list(found)


def _is_constant(node: Node, constant: set[str]) -> bool:
    if node.op == "Const":
        return True
    if node.op in _VARYING or is_stateful(node.op) or not node.data_inputs:
        return False
    return all(name in constant for name in node.input_names)
