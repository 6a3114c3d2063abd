"""Tensor arrays of 2015-2017, whose handles were strings, as the third version, whose handles are resources.

1. `TensorArray` and `TensorArrayV2` and their reads, writes, gathers, scatters, splits and sizes become those of V3; so
   do the types of what passes a handle on: Enter, Switch, Merge, Identity.
2. `TensorArrayPack` and `TensorArrayUnpack` become a gather and a scatter of all indices.

V3 has a second output, the flow, which old graphs made by other means and go on using.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tfinspect.errors import counted
from tfinspect.ir.attrs import Attr
from tfinspect.ir.dtypes import DType
from tfinspect.ir.graph import Graph, Node, const
from tfinspect.ir.refs import TensorRef
from tfinspect.ir.tensors import Tensor
from tfinspect.surgery._edges import as_input, fresh_name
from tfinspect.surgery.ops import DEPRECATED

if TYPE_CHECKING:
    from collections.abc import Sequence

_MAKERS = frozenset({"TensorArray", "TensorArrayV2"})
_PASSING = {
    "Enter": 1, "RefEnter": 1, "Identity": 1, "RefIdentity": 1, "Switch": 2, "RefSwitch": 2, "Merge": 1, "RefMerge": 1,
    "NextIteration": 1, "RefNextIteration": 1, "Exit": 1, "RefExit": 1,
}  # fmt: skip
_PLAIN = ("Read", "Write", "Gather", "Scatter", "Concat", "Split", "Size", "Close")
_OLD = {f"TensorArray{verb}{version}": f"TensorArray{verb}V3" for verb in _PLAIN for version in ("", "V2")}
_WHOLE = {"TensorArrayPack": "TensorArrayGatherV3", "TensorArrayUnpack": "TensorArrayScatterV3"}


def modernize_tensor_arrays(graph: Graph) -> tuple[Graph, list[str]]:
    """Rewrite old tensor arrays that importers refuse; the graph itself comes back where there is none."""
    graph, changed = rewrite_tensor_arrays(graph)
    return graph, [
        f"made {counted(len(changed), 'node')} of old tensor arrays those of TensorArrayV3"
    ] if changed else []


def rewrite_tensor_arrays(graph: Graph) -> tuple[Graph, list[tuple[str, str, str]]]:
    """Rewrite old tensor arrays that importers refuse.

    Returns:
        The graph, and (node, old op, new op) of each change.
    """
    producer = graph.versions.producer
    if not any(n.op.startswith("TensorArray") and producer >= DEPRECATED.get(n.op, 1 << 40) for n in graph.nodes):
        return graph, []
    handles = _handles(graph)
    taken = set(graph.by_name)
    nodes: list[Node] = []
    changed: list[tuple[str, str, str]] = []
    for node in graph.nodes:
        made = _made(node, handles, taken)
        nodes += made
        if made[-1] is not node:
            changed.append((node.name, node.op, made[-1].op))
    return graph.replace(nodes=nodes), changed


def _handles(graph: Graph) -> set[TensorRef]:
    found = {TensorRef(node.name) for node in graph.nodes if node.op in _MAKERS}
    waiting = sorted(found)
    while waiting:
        ref = waiting.pop()
        for user in graph.consumers.get(ref.name, ()):
            count = _PASSING.get(user.op, 0) if ref in user.data_inputs else 0
            for out in (TensorRef(user.name, index) for index in range(count)):
                if out not in found:
                    found.add(out)
                    waiting.append(out)
    return found


def _made(node: Node, handles: set[TensorRef], taken: set[str]) -> Sequence[Node]:
    if node.op in _MAKERS:
        return [node.replace(op="TensorArrayV3")]
    inputs = node.data_inputs
    if not inputs or inputs[0] not in handles:
        return [node]
    if node.op in _PASSING:
        return [node.replace(op=node.op.removeprefix("Ref"), attrs={**node.attrs, "T": Attr.of(DType.RESOURCE)})]
    if node.op in _OLD:
        return [node.replace(op=_OLD[node.op])]
    if node.op in _WHOLE:
        return _whole(node, taken)
    return [node]


def _whole(node: Node, taken: set[str]) -> list[Node]:
    """Write out a pack or an unpack: all indices, then a gather or a scatter."""
    handle, *rest = map(as_input, node.data_inputs)
    flow = rest[-1]
    controls = [text for text in node.inputs if text.startswith("^")]
    made: list[Node] = []
    index = Attr.of(DType.INT32)

    def add(leaf: str, op: str, *inputs: str, **attrs: Attr) -> str:
        name = fresh_name(f"{node.name}/{leaf}", taken)
        taken.add(name)
        made.append(Node(name, op, inputs, attrs, device=node.device))
        return name

    def number(leaf: str, value: object) -> str:
        name = fresh_name(f"{node.name}/{leaf}", taken)
        taken.add(name)
        made.append(const(name, Tensor.of(value, DType.INT32)).replace(inputs=[f"^{handle.partition(':')[0]}"]))  # type: ignore[arg-type]
        return name

    if node.op == "TensorArrayPack":
        size = add("size", "TensorArraySizeV3", handle, flow)
    else:
        dtype = Attr.of(node.dtype("T") or DType.FLOAT)
        shape = add("shape", "Shape", rest[0], T=dtype, out_type=index)
        begin, end, step = number("begin", [0]), number("end", [1]), number("step", [1])
        size = add(
            "size", "StridedSlice", shape, begin, end, step, T=index, Index=index, shrink_axis_mask=Attr.of(1)
        )  # fmt: skip
    indices = add("range", "Range", number("start", 0), size, number("delta", 1), Tidx=index)
    return [*made, node.replace(op=_WHOLE[node.op], inputs=[handle, indices, *rest, *controls])]
