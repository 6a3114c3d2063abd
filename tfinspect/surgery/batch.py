"""The batch dimension: given by the caller, or set free where the graph pins it."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from tfinspect.errors import UsageError
from tfinspect.ir.attrs import Attr
from tfinspect.ir.graph import Graph, const
from tfinspect.ir.tensors import Tensor

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tfinspect.ir.signature import TensorSpec


def set_batch(graph: Graph, inputs: Sequence[TensorSpec], batch: str | None) -> tuple[Graph, tuple[TensorSpec, ...]]:
    """Set the first dimension of every input that has one.

    A graph written for one image often pins the batch again further on, by a Reshape to `[1, 2048]`; with a dynamic
    batch such a leading 1 becomes -1, which is the same for a batch of one.

    Args:
        graph: a graph whose inputs are Placeholders.
        inputs: those inputs.
        batch: "dynamic", a positive number, or None to leave everything as it is.

    Returns:
        The graph and its inputs.

    Raises:
        UsageError: `batch` is neither.
    """
    if batch is None:
        return graph, tuple(inputs)
    if batch != "dynamic" and not (batch.isascii() and batch.isdigit() and int(batch) > 0):
        raise UsageError(f"`{batch}` is not a batch size", hint="--batch dynamic, or a number as in --batch 1")
    size = None if batch == "dynamic" else int(batch)
    changed = {}
    for spec in inputs:
        if spec.shape and len(spec.shape) > 1 and spec.ref.index == 0:
            changed[spec.ref.name] = replace(spec, shape=(size, *spec.shape[1:]))
    pinned = {
        node.data_inputs[1].name
        for node in graph.nodes
        if node.op == "Reshape" and len(node.data_inputs) > 1 and _pins_one(graph, node.data_inputs[1].name)
    }
    nodes = []
    for node in graph.nodes:
        if node.name in changed:
            nodes.append(node.replace(attrs={**node.attrs, "shape": Attr.of_shape(changed[node.name].shape)}))
        elif node.name in pinned and size != 1 and (value := node.tensor()) is not None:
            dims = value.numpy().copy()
            dims[0] = -1
            nodes.append(const(node.name, Tensor.of(dims, value.dtype)).replace(device=node.device))
        else:
            nodes.append(node)
    return graph.replace(nodes=nodes), tuple(changed.get(spec.ref.name, spec) for spec in inputs)


def _pins_one(graph: Graph, name: str) -> bool:
    """Whether a constant is a shape that begins with 1, only used by Reshape, and nowhere leaves a dimension open."""
    node = graph.by_name.get(name)
    value = node.tensor() if node is not None and node.op == "Const" else None
    if value is None or len(value.shape) != 1 or any(user.op != "Reshape" for user in graph.consumers.get(name, ())):
        return False
    dims = value.numpy().tolist()
    return len(dims) > 1 and dims[0] == 1 and -1 not in dims
