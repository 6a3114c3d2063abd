"""Handles of resource variables: where they go, and the plain form of what reads through them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tfinspect.errors import SurgeryError
from tfinspect.ir.attrs import Attr, AttrList
from tfinspect.ir.dtypes import DType
from tfinspect.ir.graph import Graph, Node, const
from tfinspect.ir.refs import TensorRef
from tfinspect.ir.tensors import Tensor
from tfinspect.surgery._bodies import BRANCHES, LOOPS
from tfinspect.surgery._edges import fresh_name

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

HINTS = ("_output_shapes", "_class", "_handle_shapes", "_handle_dtypes")
# ops that pass a tensor on, and how many of their outputs carry it
PASSING = {
    "Identity": 1, "StopGradient": 1, "Snapshot": 1, "Enter": 1, "Exit": 1, "NextIteration": 1, "Switch": 2, "Merge": 1,
}  # fmt: skip
READING = frozenset(
    {
        "ReadVariableOp", "VariableShape", "ResourceGather", "ResourceGatherNd", "VarIsInitializedOp",
        "DisableCopyOnRead", "_ReadVariablesOp",
    }
)  # fmt: skip


def follow_handles(graph: Graph) -> dict[TensorRef, tuple[str, DType]]:
    """Return every tensor that carries a handle, with the variable's name and dtype.

    Raises:
        SurgeryError: a handle goes into a node that cannot be rewritten, such as an update.
    """
    found: dict[TensorRef, tuple[str, DType]] = {}
    waiting: list[TensorRef] = []
    for node in graph.nodes:
        if node.op == "VarHandleOp":
            ref = TensorRef(node.name)
            found[ref] = (node.name, node.dtype("dtype") or DType.INVALID)
            waiting.append(ref)
    while waiting:
        ref = waiting.pop()
        for user in graph.consumers.get(ref.name, ()):
            if ref not in user.data_inputs or user.op in READING:
                continue
            for index in _passed(user, ref, found[ref][0]):
                out = TensorRef(user.name, index)
                if out not in found:
                    found[out] = found[ref]
                    waiting.append(out)
    return found


def _passed(user: Node, ref: TensorRef, variable: str) -> Iterable[int]:
    """Return which outputs of a node carry a handle it takes; a loop gives every handle back where it took it."""
    if user.op in LOOPS:
        return [index for index, given in enumerate(user.data_inputs) if given == ref]
    if user.op in BRANCHES and user.data_inputs[0] != ref:
        return ()
    if user.op not in PASSING:
        _refuse(user, variable)
    return range(PASSING[user.op])


def _refuse(user: Node, variable: str) -> None:
    raise SurgeryError(
        f"cannot freeze `{variable}`: its handle goes into `{user.name}` ({user.op}), where it cannot be followed",
        hint="choose outputs that do not need it with --outputs",
        evidence={"variable": variable, "node": user.name, "op": user.op},
    )


def without_hints(node: Node, changes: Mapping[str, Attr]) -> dict[str, Attr]:
    """Return a node's attributes with some changed and those gone that described what it was before."""
    return {**{name: attr for name, attr in node.attrs.items() if name not in HINTS}, **changes}


def plain_read(
    node: Node, handles: Mapping[TensorRef, tuple[str, DType]], taken: set[str], *, in_body: bool = False
) -> list[Node] | None:
    """Return what replaces a node that takes a handle, now that the handle is the value itself.

    Args:
        node: any node.
        handles: from `follow_handles`.
        taken: names in use; those of new nodes are added.
        in_body: whether it stands in the body of a function, whose inputs name the outputs of nodes.

    Returns:
        The nodes, of which the last has the old one's name; None where the node takes no handle.
    """
    inputs = node.data_inputs
    if not inputs or inputs[0] not in handles:
        return None
    dtype = handles[inputs[0]][1]
    if node.op in PASSING:
        return [node.replace(attrs=without_hints(node, {"T": Attr.of(dtype)}))]
    match node.op:
        case "ReadVariableOp":
            return [_made(node, "Identity", {"T": Attr.of(dtype)})]
        case "VariableShape":
            out = node.dtype("out_type") or DType.INT32
            return [_made(node, "Shape", {"T": Attr.of(dtype), "out_type": Attr.of(out)})]
        case "ResourceGatherNd":
            attrs = {"Tparams": Attr.of(dtype), "Tindices": Attr.of(node.dtype("Tindices") or DType.INT32)}
            return [_made(node, "GatherNd", attrs)]
        case "ResourceGather":
            return _gather(node, dtype, taken, in_body=in_body)
        case "_ReadVariablesOp":
            dtypes = tuple(handles[ref][1] for ref in inputs)
            return [_made(node, "IdentityN", {"T": Attr.of(AttrList("type", dtypes))})]
        case "VarIsInitializedOp":
            return [true_like(node)]
        case _:  # DisableCopyOnRead has no outputs
            return []


def _made(node: Node, op: str, attrs: Mapping[str, Attr]) -> Node:
    return Node(node.name, op, node.inputs, attrs, device=node.device)


def _gather(node: Node, dtype: DType, taken: set[str], *, in_body: bool) -> list[Node]:
    batch_dims = node.value("batch_dims", 0)
    axis = const(fresh_name(f"{node.name}/axis", taken), Tensor.of(batch_dims, DType.INT32))
    axis = axis.replace(device=node.device, inputs=tuple(f"^{name}" for name in node.control_inputs))
    taken.add(axis.name)
    data = [text for text in node.inputs if not text.startswith("^")]
    controls = [text for text in node.inputs if text.startswith("^")]
    attrs = {
        "Tparams": Attr.of(dtype),
        "Tindices": Attr.of(node.dtype("Tindices") or DType.INT32),
        "Taxis": Attr.of(DType.INT32),
        "batch_dims": Attr.of(batch_dims),
    }
    at = f"{axis.name}:output:0" if in_body else axis.name
    return [axis, Node(node.name, "GatherV2", (*data, at, *controls), attrs, device=node.device)]


def true_like(node: Node) -> Node:
    """Return a true constant of a node's name, with its control inputs."""
    made = const(node.name, Tensor.of(value=True, dtype=DType.BOOL))
    return made.replace(inputs=[text for text in node.inputs if text.startswith("^")], device=node.device)
