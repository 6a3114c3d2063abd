"""The batch dimension: given by the caller, or set free where the graph pins it."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from tfinspect.errors import UsageError
from tfinspect.ir.attrs import Attr
from tfinspect.ir.graph import Graph, const
from tfinspect.ir.refs import TensorRef
from tfinspect.ir.tensors import Tensor
from tfinspect.surgery.shapes import TensorTypes

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tfinspect.ir.graph import Node
    from tfinspect.ir.signature import TensorSpec


def set_batch(graph: Graph, inputs: Sequence[TensorSpec], batch: str | None) -> tuple[Graph, tuple[TensorSpec, ...]]:
    """Set the first dimension of every input that has one.

    A graph written for one image often pins the batch again further on, by a Reshape to `[1, 2048]` or `[1, -1]`; there
    the leading 1 becomes -1, which is the same for a batch of one.

    Args:
        graph: a graph whose inputs are Placeholders.
        inputs: those inputs.
        batch: "dynamic", a positive number, or None to leave everything as it is.

    Returns:
        The graph and its inputs.

    Raises:
        UsageError: `batch` is neither, or no input has a batch dimension.
    """
    if batch is None:
        return graph, tuple(inputs)
    if batch != "dynamic" and not (batch.isascii() and batch.isdigit() and int(batch) > 0):
        raise UsageError(f"`{batch}` is not a batch size", hint="--batch dynamic, or a number as in --batch 1")
    size = None if batch == "dynamic" else int(batch)
    changed = {
        spec.ref.name: replace(spec, shape=(size, *spec.shape[1:]))
        for spec in inputs
        if spec.shape and len(spec.shape) > 1 and spec.ref.index == 0
    }
    if not changed:
        raise UsageError(
            "no input has a batch dimension that --batch could set",
            details=[f"{spec.name}  {list(spec.shape) if spec.shape is not None else 'any shape'}" for spec in inputs],
            hint="start behind the decoding of images, or give a shape: --inputs T[SHAPE]",
        )
    freed = _freed(graph) if size != 1 else {}
    nodes = []
    for node in graph.nodes:
        if node.name in changed:
            nodes.append(node.replace(attrs={**node.attrs, "shape": Attr.of_shape(changed[node.name].shape)}))
        else:
            nodes.append(freed.get(node.name, node))
    return graph.replace(nodes=nodes), tuple(changed.get(spec.ref.name, spec) for spec in inputs)


def _freed(graph: Graph) -> dict[str, Node]:
    """Return, by name, constants that pin a batch of one, with that dimension left open."""
    types = TensorTypes(graph)
    freed: dict[str, Node] = {}
    for node in graph.nodes:
        target = node.data_inputs[1].name if node.op == "Reshape" and len(node.data_inputs) > 1 else ""
        constant = graph.by_name.get(target)
        if constant is None or constant.op != "Const" or not _is_only_a_shape(graph, target):
            continue
        value = constant.tensor()
        if value is None or len(value.shape) != 1 or value.size < 2:  # noqa: PLR2004 - a batch and something else
            continue
        dims = list(value.integers())
        if dims[0] != 1:
            continue
        if -1 in dims:
            # what is left over must be said, as only one dimension may be open
            told = types.type_of(TensorRef(node.name)).shape
            if told is None or None in told[1:] or len(graph.consumers[target]) > 1:
                continue
            dims = [1, *(size for size in told[1:] if size is not None)]
        opened = Tensor.of([-1, *dims[1:]], value.dtype)
        freed[target] = const(target, opened).replace(device=constant.device)
    return freed


def _is_only_a_shape(graph: Graph, name: str) -> bool:
    return all(
        user.op == "Reshape" and all(ref.name != name for ref in user.data_inputs[:1])
        for user in graph.consumers.get(name, ())
    )
