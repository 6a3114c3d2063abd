"""Nodes that restore the variables of a graph from a checkpoint, under the names that tf.train.Saver gives them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tfinspect.ir.attrs import Attr, AttrList
from tfinspect.ir.dtypes import DType
from tfinspect.ir.graph import Node, const
from tfinspect.ir.tensors import Tensor

if TYPE_CHECKING:
    from tfinspect.ir.graph import Graph

RESTORE = "save/restore_all"
"""The node that restores everything; the checkpoint's prefix is fed to `save/Const:0`."""


def add_saver(graph: Graph) -> Graph:
    """Return a graph that can restore its variables, each from the key that has its name.

    Args:
        graph: without a Saver of its own; its variables are of the op VariableV2.
    """
    variables = [node for node in graph.nodes if node.op == "VariableV2"]
    kinds = [node.dtype("dtype") or DType.FLOAT for node in variables]
    names = Tensor.of([node.name.encode() for node in variables], DType.STRING)
    whole = Tensor.of([b""] * len(variables), DType.STRING)
    added = [
        const("save/Const", Tensor.of(b"model", DType.STRING)),
        const("save/RestoreV2/tensor_names", names),
        const("save/RestoreV2/shape_and_slices", whole),
        Node(
            "save/RestoreV2",
            "RestoreV2",
            ("save/Const", "save/RestoreV2/tensor_names", "save/RestoreV2/shape_and_slices"),
            {"dtypes": Attr.of(AttrList("type", tuple(kinds)))},
        ),
    ]
    for number, (variable, kind) in enumerate(zip(variables, kinds, strict=True)):
        source = f"save/RestoreV2:{number}" if number else "save/RestoreV2"
        name = f"save/Assign_{number}" if number else "save/Assign"
        added.append(Node(name, "Assign", (variable.name, source), {"T": Attr.of(kind)}))
    done = tuple(f"^{node.name}" for node in added if node.op == "Assign")
    return graph.replace(nodes=[*graph.nodes, *added, Node(RESTORE, "NoOp", done)])
