"""Control flow over references to variables (2015-2018), which needs variables on its inputs, becomes plain.

1. RefSwitch, RefMerge, RefEnter, RefExit, RefNextIteration and RefIdentity take their plain forms, same name.
2. RefSelect of a constant index becomes an Identity of that input; of any other index, a Pack and a GatherV2, which
   needs all its inputs to be constants of one shape.

Nodes whose input is still a reference (a `Variable` is in the graph) are left alone: a following update needs it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tfinspect.errors import UnsupportedOpsError, counted
from tfinspect.ir.attrs import Attr
from tfinspect.ir.dtypes import DType
from tfinspect.ir.graph import Graph, Node, const
from tfinspect.ir.tensors import Tensor
from tfinspect.surgery._edges import as_input, constant_behind, fresh_name

if TYPE_CHECKING:
    from tfinspect.ir.shapes import Shape

_PLAIN = {
    "RefSwitch": "Switch", "RefMerge": "Merge", "RefEnter": "Enter", "RefExit": "Exit",
    "RefNextIteration": "NextIteration", "RefIdentity": "Identity",
}  # fmt: skip
_REFERENCES = frozenset({"Variable", "VariableV2", "TemporaryVariable"})


def modernize_reference_ops(graph: Graph) -> tuple[Graph, list[str]]:
    """Give reference-typed control flow its plain form.

    Raises:
        UnsupportedOpsError: a RefSelect chooses between inputs of different or unknown shapes.
    """
    if not any(node.op in _PLAIN or node.op == "RefSelect" for node in graph.nodes):
        return graph, []
    if any(node.op in _REFERENCES for node in graph.nodes):
        return graph, []
    taken = set(graph.by_name)
    nodes: list[Node] = []
    count = 0
    for node in graph.nodes:
        plain = plain_form(graph, node, taken)
        count += plain[-1] is not node
        nodes += plain
    return graph.replace(nodes=nodes), [f"gave {counted(count, 'reference-typed control flow node')} their plain form"]


def plain_form(graph: Graph, node: Node, taken: set[str]) -> list[Node]:
    """Return what replaces a node whose inputs are no references any more; the node itself where nothing needs to.

    Args:
        graph: the graph it stands in.
        node: any node.
        taken: names in use; those of new nodes are added.

    Raises:
        UnsupportedOpsError: a RefSelect chooses between inputs of different or unknown shapes.
    """
    if node.op in _PLAIN:
        attrs = {name: attr for name, attr in node.attrs.items() if name not in ("_class", "_output_shapes")}
        return [node.replace(op=_PLAIN[node.op], attrs=attrs)]
    if node.op == "RefSelect":
        return _select(graph, node, taken)
    return [node]


def _select(graph: Graph, node: Node, taken: set[str]) -> list[Node]:
    index, *choices = node.data_inputs
    controls = [text for text in node.inputs if text.startswith("^")]
    dtype = node.attrs["T"]
    chosen = constant_behind(graph, index)
    value = None if chosen is None else chosen.tensor()
    if value is not None and 0 <= int(value.numpy().reshape(-1)[0]) < len(choices):
        only = choices[int(value.numpy().reshape(-1)[0])]
        return [Node(node.name, "Identity", (as_input(only), *controls), {"T": dtype}, device=node.device)]
    shapes = [_shape(graph.by_name.get(ref.name)) for ref in choices]
    if shapes[0] is None or None in shapes[0] or any(shape != shapes[0] for shape in shapes):
        raise UnsupportedOpsError(
            f"`{node.name}` (RefSelect) chooses between tensors of different shapes, which has no plain form",
            hint="set what it chooses by with --set NAME=VALUE",
            evidence={"RefSelect": [node.name]},
        )
    pack, axis = fresh_name(f"{node.name}/pack", taken), fresh_name(f"{node.name}/axis", taken)
    taken.update((pack, axis))
    return [
        Node(
            pack,
            "Pack",
            tuple(map(as_input, choices)),
            {"N": Attr.of(len(choices)), "T": dtype, "axis": Attr.of(0)},
            device=node.device,
        ),
        const(axis, Tensor.of(0, DType.INT32)),
        Node(
            node.name,
            "GatherV2",
            (pack, as_input(index), axis, *controls),
            {"Tparams": dtype, "Tindices": Attr.of(DType.INT32), "Taxis": Attr.of(DType.INT32)},
            device=node.device,
        ),
    ]


def _shape(node: Node | None) -> Shape:
    if node is None:
        return None
    tensor = node.tensor() if node.op == "Const" else None
    if tensor is not None:
        return tensor.shape
    attr = node.attrs.get("shape")
    return attr.value if attr is not None and attr.kind == "shape" else None
