"""BatchNormWithGlobalNormalization, the batch norm of 2015, in ops that are still accepted.

1. float32 inputs: FusedBatchNorm of the same name, NHWC, `is_training` false; where the old op did not scale
   (`scale_after_normalization` false, its gamma unused), a gamma of ones.
2. Any other dtype, or parameters of unknown size without scaling: written out as the old kernel computed it,
   `(t - mean) * (rsqrt(variance + epsilon) * gamma) + beta`, the last node with the old name.

The old op has one output, so tensors keep their names. Parameters may be computed; nothing is folded here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tfinspect.errors import counted
from tfinspect.ir.attrs import Attr
from tfinspect.ir.dtypes import DType
from tfinspect.ir.graph import Graph, Node, const
from tfinspect.ir.tensors import Tensor
from tfinspect.surgery._edges import as_input, constant_behind, fresh_name

if TYPE_CHECKING:
    from tfinspect.ir.refs import TensorRef

OLD = "BatchNormWithGlobalNormalization"


def modernize_batch_norm(graph: Graph) -> tuple[Graph, list[str]]:
    """Rewrite every batch norm of 2015; the graph itself comes back where there is none."""
    if not any(node.op == OLD for node in graph.nodes):
        return graph, []
    taken = set(graph.by_name)
    nodes: list[Node] = []
    fused = written = 0
    for node in graph.nodes:
        if node.op != OLD:
            nodes.append(node)
            continue
        made = _fused(graph, node, taken)
        if made is None:
            made = _written_out(node, taken)
            written += 1
        else:
            fused += 1
        nodes += made
    notes = []
    if fused:
        notes.append(f"rewrote {counted(fused, OLD + ' node')} as FusedBatchNorm")
    if written:
        notes.append(f"wrote out {counted(written, OLD + ' node')} as Sub, Rsqrt, Mul and Add")
    return graph.replace(nodes=nodes), notes


def epsilon(node: Node) -> float:
    """Return what is added to the variance."""
    return float(node.value("variance_epsilon", 0.0))


def scales(node: Node) -> bool:
    """Whether the old op multiplies by gamma."""
    return node.value("scale_after_normalization") is True


def _fused(graph: Graph, node: Node, taken: set[str]) -> list[Node] | None:
    if node.dtype() != DType.FLOAT:
        return None
    t, mean, variance, beta, gamma = node.data_inputs
    made: list[Node] = []
    scale = as_input(gamma)
    if not scales(node):
        channels = _channels(graph, (beta, mean, variance))
        if channels is None:
            return None
        import numpy as np

        ones = const(fresh_name(f"{node.name}/ones", taken), Tensor.of(np.ones(channels, np.float32)))
        taken.add(ones.name)
        made.append(ones)
        scale = ones.name
    attrs = {
        "T": Attr.of(DType.FLOAT),
        "epsilon": node.attrs["variance_epsilon"] if "variance_epsilon" in node.attrs else Attr.of(0.0),
        "data_format": Attr.of("NHWC"),
        "is_training": Attr.of(value=False),
    }
    inputs = (as_input(t), scale, as_input(beta), as_input(mean), as_input(variance), *_controls(node))
    return [*made, Node(node.name, "FusedBatchNorm", inputs, attrs, device=node.device)]


def _channels(graph: Graph, parameters: tuple[TensorRef, ...]) -> int | None:
    for ref in parameters:
        source = constant_behind(graph, ref)
        tensor = None if source is None else source.tensor()
        if tensor is not None and len(tensor.shape) == 1:
            return tensor.shape[0]
    return None


def _controls(node: Node) -> tuple[str, ...]:
    return tuple(text for text in node.inputs if text.startswith("^"))


def _written_out(node: Node, taken: set[str]) -> list[Node]:
    t, mean, variance, beta, gamma = map(as_input, node.data_inputs)
    dtype = node.dtype() or DType.FLOAT
    attrs = {"T": Attr.of(dtype)}
    made: list[Node] = []

    def add(leaf: str, op: str, *inputs: str) -> str:
        name = fresh_name(f"{node.name}/{leaf}", taken)
        taken.add(name)
        made.append(Node(name, op, inputs, attrs, device=node.device))
        return name

    small = const(fresh_name(f"{node.name}/epsilon", taken), Tensor.of(epsilon(node), dtype))
    taken.add(small.name)
    made.append(small)
    factor = add("rsqrt", "Rsqrt", add("add", "Add", variance, small.name))
    if scales(node):
        factor = add("mul", "Mul", factor, gamma)
    product = add("mul_1", "Mul", add("sub", "Sub", t, mean), factor)
    return [*made, Node(node.name, "Add", (product, beta, *_controls(node)), attrs, device=node.device)]
