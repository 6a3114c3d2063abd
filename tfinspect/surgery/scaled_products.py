"""Convolutions whose result is multiplied by a constant: graph optimizers put the factor into the kernel."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from tfinspect.surgery._edges import constant_behind

if TYPE_CHECKING:
    from tfinspect.ir.graph import Graph

_CONVOLUTIONS = frozenset({"Conv2D", "Conv3D"})


class ScaledProduct(NamedTuple):
    """A convolution, and the constants that make one kernel: its own, and the factor of what it gives."""

    product: str
    kernel: str
    factor: str


def scaled_products(graph: Graph) -> list[ScaledProduct]:
    """Return the convolutions that nothing but a multiplication by a constant takes up."""
    found = []
    for node in graph.nodes:
        if node.op not in _CONVOLUTIONS or len(node.data_inputs) < 2:  # noqa: PLR2004 - input and kernel
            continue
        users = graph.consumers.get(node.name, ())
        kernel = constant_behind(graph, node.data_inputs[1])
        if len(users) != 1 or users[0].op != "Mul" or kernel is None:
            continue
        others = [ref for ref in users[0].data_inputs if ref.name != node.name]
        factor = constant_behind(graph, others[0]) if len(others) == 1 else None
        if factor is not None:
            found.append(ScaledProduct(node.name, kernel.name, factor.name))
    return found
