"""Large constants become variables that a checkpoint beside the graph restores: a graph file ends at 2 GiB."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tfinspect.ir.attrs import Attr, AttrList
from tfinspect.ir.dtypes import DType
from tfinspect.ir.graph import Graph, Node, const
from tfinspect.ir.model import Saver
from tfinspect.ir.tensors import Tensor

if TYPE_CHECKING:
    from collections.abc import Sequence

MIN_NBYTES = 65_536
_SCOPE = "save"


def hold_apart(graph: Graph, min_nbytes: int = MIN_NBYTES) -> tuple[Graph, dict[str, Tensor], Saver | None]:
    """Replace large constants by variables of the same name, and add what restores and saves them.

    The node that was the constant reads the variable now, so that nothing behind it changes. Constants in function
    bodies stay.

    Args:
        graph: a frozen graph.
        min_nbytes: smallest constant that becomes a variable.

    Returns:
        The graph; the values by the key they have in the checkpoint; and the nodes that save and restore, None where
        no constant is large enough.
    """
    taken = set(graph.by_name)
    values: dict[str, Tensor] = {}
    handles: dict[str, str] = {}
    nodes: list[Node] = []
    for node in graph.nodes:
        tensor = node.tensor() if node.op == "Const" else None
        if tensor is None or not tensor.dtype.itemsize or tensor.nbytes < min_nbytes:
            nodes.append(node)
            continue
        handle = _unique(f"{node.name}/variable", taken)
        dtype = {"dtype": Attr.of(tensor.dtype)}
        named = {"shared_name": Attr.of(node.name), "container": Attr.of("")}
        shaped = {"shape": Attr.of_shape(tensor.shape)}
        nodes.append(Node(handle, "VarHandleOp", (), {**dtype, **named, **shaped}, device=node.device))
        controls = [text for text in node.inputs if text.startswith("^")]
        nodes.append(Node(node.name, "ReadVariableOp", (handle, *controls), dtype, device=node.device))
        values[node.name], handles[node.name] = tensor, handle
    if not values:
        return graph, {}, None
    added, saver = _saver(values, handles, _unique(_SCOPE, {name.split("/")[0] for name in taken}))
    return graph.replace(nodes=[*nodes, *added]), values, saver


def _unique(name: str, taken: set[str]) -> str:
    number, found = 0, name
    while found in taken:
        number += 1
        found = f"{name}_{number}"
    taken.add(found)
    return found


def _saver(values: dict[str, Tensor], handles: dict[str, str], scope: str) -> tuple[list[Node], Saver]:
    names = list(values)
    dtypes = Attr("list", AttrList("type", tuple(values[name].dtype for name in names)))
    path = f"{scope}/Const"
    key_names, slices, restore = f"{scope}/tensor_names", f"{scope}/shape_and_slices", f"{scope}/RestoreV2"
    nodes = [
        const(f"{scope}/filename", _texts(["model"], ())),
        Node(
            path,
            "PlaceholderWithDefault",
            (f"{scope}/filename",),
            {"dtype": Attr.of(DType.STRING), "shape": Attr.of_shape(())},
        ),
        const(key_names, _texts(names, (len(names),))),
        const(slices, _texts([""] * len(names), (len(names),))),
        Node(restore, "RestoreV2", (path, key_names, slices), {"dtypes": dtypes}),
    ]
    assigns, reads = [], []
    for number, name in enumerate(names):
        dtype = {"dtype": Attr.of(values[name].dtype)}
        assigns.append(f"{scope}/assign_{number}")
        reads.append(f"{scope}/read_{number}")
        value = f"{restore}:{number}" if number else restore
        nodes.append(Node(assigns[-1], "AssignVariableOp", (handles[name], value), dtype))
        nodes.append(Node(reads[-1], "ReadVariableOp", (handles[name],), dtype))
    saving = f"{scope}/SaveV2"
    nodes += [
        Node(f"{scope}/restore_all", "NoOp", tuple(f"^{name}" for name in assigns)),
        Node(saving, "SaveV2", (path, key_names, slices, *reads), {"dtypes": dtypes}),
        Node(f"{scope}/saved", "Identity", (path, f"^{saving}"), {"T": Attr.of(DType.STRING)}),
    ]
    return nodes, Saver(f"{scope}/restore_all", f"{path}:0", f"{scope}/saved:0")


def _texts(texts: Sequence[str], shape: tuple[int, ...]) -> Tensor:
    import numpy as np

    array = np.empty(len(texts), object)
    array[:] = [text.encode() for text in texts]
    return Tensor.of(array.reshape(shape), DType.STRING)
