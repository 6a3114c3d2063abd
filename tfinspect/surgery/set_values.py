"""Fix placeholders to values (`is_training=False`, `keep_prob=1.0`), and drop the branches that are then dead."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tfinspect.errors import NodeNotFoundError, UsageError
from tfinspect.ir.dtypes import DType
from tfinspect.ir.graph import Graph, Node, const
from tfinspect.ir.refs import TensorRef
from tfinspect.ir.shapes import Shape, compatible, format_shape
from tfinspect.ir.tensors import Tensor
from tfinspect.surgery._edges import fresh_name, redirect, used_tensors
from tfinspect.surgery.fold_switches import fold_switches
from tfinspect.surgery.prune import check_ref

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

__all__ = ["defaults_to_values", "fold_switches", "parse_setting", "set_values"]

_TYPE_ATTRS = ("dtype", "T", "DstT", "out_type")
_TRUE, _FALSE = frozenset({"true", "yes", "1"}), frozenset({"false", "no", "0"})


def parse_setting(text: str, graph: Graph) -> tuple[TensorRef, Any]:
    """Read `NAME=VALUE`, the value in the dtype of the tensor.

    Numbers, `true`/`false`, text, and lists of them as in `[1, 2, 3]`.

    Returns:
        The tensor and a Python value.

    Raises:
        NodeNotFoundError: no such tensor is in the graph; carries near names, placeholders first.
        UsageError: the text has another form, or the value is none of that dtype.
    """
    name, equals, written = text.partition("=")
    if not equals or not name:
        raise UsageError(f"`{text}` is not a setting", hint="write NAME=VALUE, as in --set is_training=False")
    ref = TensorRef.parse(name.strip())
    if ref.name not in graph:
        placeholders = [node.name for node in graph.nodes if node.op.startswith("Placeholder")]
        raise NodeNotFoundError(
            f"no node named `{ref.name}` to set", name=ref.name, known=[*placeholders, *graph.by_name]
        )
    dtype = _dtype_of(check_ref(graph, ref))
    return ref, _parse_value(written.strip(), dtype, ref)


def _dtype_of(node: Node) -> DType | None:
    return next((node.dtype(attr) for attr in _TYPE_ATTRS if node.dtype(attr) is not None), None)


def _parse_value(text: str, dtype: DType | None, ref: TensorRef) -> Any:  # noqa: ANN401 - any value a tensor can have
    if text.startswith("[") and text.endswith("]"):
        inner = text[1:-1].strip()
        return [_parse_value(part.strip(), dtype, ref) for part in inner.split(",")] if inner else []
    lowered = text.lower()
    try:
        if dtype == DType.BOOL:
            if lowered not in _TRUE | _FALSE:
                raise ValueError  # noqa: TRY301 - answered like the conversions below
            return lowered in _TRUE
        if dtype is None:
            return _guess(text)
        if dtype == DType.STRING:
            return text.encode()
        return int(text, 0) if dtype.is_integer else float(text)
    except ValueError:
        raise UsageError(
            f"`{text}` is no {dtype} value for `{ref}`", evidence={"name": str(ref), "dtype": str(dtype), "value": text}
        ) from None


def _guess(text: str) -> bool | int | float:
    if text.lower() in ("true", "false"):
        return text.lower() == "true"
    try:
        return int(text)
    except ValueError:
        return float(text)


def set_values(graph: Graph, values: Mapping[TensorRef, Any]) -> Graph:
    """Make tensors constants.

    A node of which nothing but that output is used becomes a Const of the same name; else a new Const takes its
    consumers over.

    Args:
        graph: the graph.
        values: Python values or arrays by tensor.

    Raises:
        NodeNotFoundError: a tensor is not in the graph.
        UsageError: a value does not fit the placeholder's shape or dtype.
    """
    if not values:
        return graph
    used = used_tensors(graph.nodes)
    taken = set(graph.by_name)
    in_place: dict[str, Node] = {}
    added: list[Node] = []
    moved: dict[TensorRef, TensorRef] = {}
    for ref, value in values.items():
        node = check_ref(graph, ref)
        tensor = _tensor(node, ref, value)
        if ref.index == 0 and not any(r.name == ref.name and r != ref for r in used):
            in_place[ref.name] = const(ref.name, tensor).replace(device=node.device)
        else:
            made = const(fresh_name(f"{ref.name}_{ref.index}", taken), tensor)
            taken.add(made.name)
            added.append(made)
            moved[ref] = TensorRef(made.name)
    nodes = [in_place.get(node.name, node) for node in redirect(graph.nodes, moved)]
    return graph.replace(nodes=[*added, *nodes])


def _tensor(node: Node, ref: TensorRef, value: Any) -> Tensor:  # noqa: ANN401 - any value a tensor can have
    if isinstance(value, Tensor):
        return value
    dtype = _dtype_of(node)
    try:
        tensor = Tensor.of(value, dtype)
    except (TypeError, ValueError):
        raise UsageError(f"`{value}` is no {dtype} value for `{ref}`", evidence={"name": str(ref)}) from None
    attr = node.attrs.get("shape") if node.op.startswith("Placeholder") else None
    shape: Shape = attr.value if attr is not None and attr.kind == "shape" else None
    # before producer version 22 an empty shape of a placeholder meant an unknown one
    if shape != () and not compatible(shape, tensor.shape):
        raise UsageError(
            f"`{ref}` has the shape {format_shape(shape)}, the value given {format_shape(tensor.shape)}",
            evidence={"name": str(ref)},
        )
    return tensor


def defaults_to_values(graph: Graph, keep: Collection[TensorRef] = ()) -> Graph:
    """Give every PlaceholderWithDefault its default, but for those to keep: it becomes an Identity of the same name."""
    kept = {ref.name for ref in keep}
    if not any(node.op == "PlaceholderWithDefault" and node.name not in kept for node in graph.nodes):
        return graph
    return graph.replace(
        nodes=[
            Node(node.name, "Identity", node.inputs, {"T": node.attrs["dtype"]}, device=node.device)
            if node.op == "PlaceholderWithDefault" and node.name not in kept
            else node
            for node in graph.nodes
        ]
    )
