"""Which checkpoint key each variable of a graph is restored from.

The restore operation of the graph's Saver is the only authority: an evaluation graph may load the moving average
`w/ExponentialMovingAverage` into `w`, and only its restore nodes tell. Where there is no Saver, the key is the name of
the variable, or its `shared_name` (resource variables), or for `name/part_k` a slice of `name`.
"""

from __future__ import annotations

import functools
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tfinspect.ir.dtypes import DType
from tfinspect.ir.refs import TensorRef, split_input
from tfinspect.ir.shapes import Shape, is_static
from tfinspect.surgery._edges import IDENTITIES, behind_identities, constant_behind

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from tfinspect.ir.checkpoint import Checkpoint, VariableInfo
    from tfinspect.ir.graph import Graph, Node
    from tfinspect.ir.model import Saver
    from tfinspect.ir.tensors import Tensor

VARIABLES = frozenset({"Variable", "VariableV2", "VarHandleOp"})
_RESTORES = frozenset({"RestoreV2", "Restore", "RestoreSlice"})
_ASSIGNS = frozenset({"Assign", "AssignVariableOp"})
_CALLS = frozenset({"StatefulPartitionedCall", "PartitionedCall"})
_SLICE = re.compile(r"([0-9]{1,18} )+(-|[0-9]{1,18},[0-9]{1,18})(:(-|[0-9]{1,18},[0-9]{1,18}))*")
_PART = re.compile(r"^(?P<whole>.+)/part_(?P<part>\d+)$")


@dataclass(frozen=True, slots=True)
class Key:
    """Where a variable's value stands in a checkpoint.

    Attributes:
        name: key.
        begin: first element in each dimension, where only a slice of the key's value is meant.
        size: extent of the slice in each dimension.
        reshaped: whether the value is reshaped to that of the variable (`Saver(reshape=True)`).
    """

    name: str
    begin: tuple[int, ...] | None = None
    size: tuple[int, ...] | None = None
    reshaped: bool = False


def saver_keys(graph: Graph, saver: Saver | None) -> dict[str, Key]:
    """Return the key each variable node is restored from, as the graph's own restore nodes say.

    Args:
        graph: the whole graph, restore nodes included.
        saver: names the restore operation; None, or one that is not in the graph, gives an empty answer.
    """
    if saver is None:
        return {}
    start = split_input(saver.restore_op)[0]
    found: dict[str, Key] = {}
    waiting = [start]
    seen = {start}
    while waiting:
        node = graph.by_name.get(waiting.pop())
        if node is None:
            continue
        if node.op in _ASSIGNS:
            _add_assign(graph, node, found)
        elif node.op in _CALLS:
            _add_call(graph, node, found)
        for name in node.input_names:
            if name not in seen:
                seen.add(name)
                waiting.append(name)
    return found


def _add_assign(graph: Graph, node: Node, found: dict[str, Key]) -> None:
    inputs = node.data_inputs
    if len(inputs) < 2:  # noqa: PLR2004 - variable and value
        return
    variable = graph.by_name.get(behind_identities(graph, inputs[0]).name)
    key = restored(graph, inputs[1])
    if variable is not None and key is not None:
        found.setdefault(variable.name, key)


def restored(graph: Graph, ref: TensorRef) -> Key | None:
    """Return the key that a value is read from; None where something else than a restore node makes it."""
    reshaped = False
    ref = behind_identities(graph, ref)
    node = graph.by_name.get(ref.name)
    while node is not None and node.op == "Reshape":
        reshaped = True
        ref = behind_identities(graph, node.data_inputs[0])
        node = graph.by_name.get(ref.name)
    if node is None or node.op not in _RESTORES:
        return None
    inputs = node.data_inputs
    names = _strings(graph, inputs[1]) if len(inputs) > 1 else None
    slices: tuple[str, ...] | None = ("",) * len(names or ())
    if node.op != "Restore":
        slices = _strings(graph, inputs[2]) if len(inputs) > 2 else None  # noqa: PLR2004 - file, names, slices
    if names is None or slices is None or ref.index >= min(len(names), len(slices)):
        return None
    return _key(names[ref.index], slices[ref.index], reshaped=reshaped)


def _strings(graph: Graph, ref: TensorRef) -> tuple[str, ...] | None:
    node = constant_behind(graph, ref)
    tensor = None if node is None else node.tensor()
    return None if tensor is None or tensor.dtype is not DType.STRING else _decode(tensor)


@functools.lru_cache(maxsize=8)  # every variable of a graph asks for the same two tensors
def _decode(tensor: Tensor) -> tuple[str, ...]:
    return tuple(bytes(value).decode("utf-8", "surrogateescape") for value in tensor.numpy().reshape(-1).tolist())


def _key(name: str, spec: str, *, reshaped: bool = False) -> Key | None:
    """Read a shape-and-slice: "" for all, or full shape and slice as in `10 4 0,4:-`; None where it is neither."""
    if not spec:
        return Key(name, reshaped=reshaped)
    if not _SLICE.fullmatch(spec) or spec.count(" ") != spec.count(":") + 1:
        return None
    *dims, extents = spec.split(" ")
    begin, size = [], []
    for dim, extent in zip(dims, extents.split(":"), strict=True):
        start, comma, length = extent.partition(",")
        begin.append(int(start) if comma else 0)
        size.append(int(length) if comma else int(dim))
    if all(b == 0 for b in begin) and list(map(int, dims)) == size:
        return Key(name, reshaped=reshaped)
    return Key(name, tuple(begin), tuple(size), reshaped=reshaped)


def _add_call(graph: Graph, call: Node, found: dict[str, Key]) -> None:
    """Read the restore function of a TF2 SavedModel: its arguments are the file prefix and the variables' handles."""
    attr = call.attrs.get("f")
    function = graph.functions.get(attr.value.name) if attr is not None and attr.kind == "func" else None
    if function is None:
        return
    body = function.body
    nodes = {node.name: node for node in body.nodes}
    handles = dict(zip((name for name, _ in body.args), call.data_inputs, strict=False))
    for node in body.nodes:
        if node.op == "AssignVariableOp" and len(node.inputs) > 1:
            handle = handles.get(_source(nodes, node.inputs[0])[0])
            key = restored_in_body(nodes, node.inputs[1])
            if handle is not None and key is not None:
                found.setdefault(behind_identities(graph, handle).name, key)


def _source(nodes: Mapping[str, Node], text: str) -> tuple[str, int]:
    """Return the node or argument of a body that a tensor comes from, Identity nodes looked through, and its number."""
    for _ in range(len(nodes) + 1):  # a circle of them ends as well
        name, _, rest = text.partition(":")
        node = nodes.get(name)
        if node is None or node.op not in IDENTITIES or not node.inputs:
            break
        text = node.inputs[0]
    name, _, rest = text.partition(":")
    index = rest.rpartition(":")[2]
    return name, int(index) if index.isascii() and index.isdigit() else 0


def restored_in_body(nodes: Mapping[str, Node], text: str) -> Key | None:
    """Return the key that a tensor of a function's body is read from; None where no restore node makes it.

    Args:
        nodes: the body, by name.
        text: the tensor, as an input of the body.
    """
    maker, index = _source(nodes, text)
    restore = nodes.get(maker)
    if restore is None or restore.op != "RestoreV2":
        return None
    lists = [nodes.get(_source(nodes, text)[0]) for text in restore.inputs[1:3]]
    values = [None if n is None or n.op != "Const" else n.tensor() for n in lists]
    texts = [_decode(value) for value in values if value is not None and value.dtype is DType.STRING]
    if len(texts) < 2:  # noqa: PLR2004 - names and slices
        return None
    names, slices = texts
    return _key(names[index], slices[index]) if index < min(len(names), len(slices)) else None


def variable_keys(
    graph: Graph,
    checkpoint: Checkpoint,
    *,
    saver: Saver | None = None,
    rename: Mapping[str, str] | None = None,
) -> dict[str, Key]:
    """Return the checkpoint key of each variable node of a graph; whether the checkpoint has it is not checked.

    Args:
        graph: the whole graph, restore nodes included.
        checkpoint: where the values stand.
        saver: how the graph restores itself.
        rename: name or leading scope in the graph -> name or scope in the checkpoint; the longest match wins.
    """
    known = checkpoint.variables
    restored = saver_keys(graph, saver)
    variables = [node for node in graph.nodes if node.op in VARIABLES]
    parts = _partitions(variables)
    keys: dict[str, Key] = {}
    for node in variables:
        key = restored.get(node.name)
        if key is None:
            key = _by_name(node, known, parts, rename or {})
        else:
            key = Key(renamed(key.name, rename or {}), key.begin, key.size, key.reshaped)
        keys[node.name] = key
    return keys


def renamed(name: str, rename: Mapping[str, str]) -> str:
    """Apply the longest entry of `rename` that is the name or a leading scope of it; an empty one matches all."""
    best = max(
        (old for old in rename if old in ("", name) or name.startswith(old.rstrip("/") + "/")), key=len, default=None
    )
    if best is None:
        return name
    rest = name if best == "" else name[len(best.rstrip("/")) :].lstrip("/")
    return "/".join(part for part in (rename[best].rstrip("/"), rest) if part)


def _by_name(
    node: Node, known: Mapping[str, VariableInfo], parts: Mapping[str, list[Node]], rename: Mapping[str, str]
) -> Key:
    shared = node.text("shared_name")
    names = [shared, node.name] if node.op == "VarHandleOp" else [node.name, shared]
    names = [renamed(name, rename) for name in names if name]
    found = next((name for name in names if name in known), None)
    if found is not None:
        return Key(found)
    match = _PART.match(node.name)
    if match is not None:
        whole = renamed(match["whole"], rename)
        key = _slice(node, parts[match["whole"]], known.get(whole))
        if key is not None:
            return key
    return Key(names[0])


def _partitions(variables: Iterable[Node]) -> dict[str, list[Node]]:
    """Return the parts of each partitioned variable, in the order of their numbers."""
    parts: dict[str, dict[int, Node]] = {}
    for node in variables:
        match = _PART.match(node.name)
        if match is not None:
            parts.setdefault(match["whole"], {})[int(match["part"])] = node
    return {whole: [found[k] for k in sorted(found)] for whole, found in parts.items()}


def _slice(node: Node, parts: Sequence[Node], whole: VariableInfo | None) -> Key | None:
    """Return the slice a part stands for; the parts must fill the whole along one axis."""
    shapes = [declared_shape(part) for part in parts]
    own = declared_shape(node)
    if whole is None or own is None:
        return None
    static = [tuple(d for d in shape if d is not None) for shape in shapes if shape is not None and is_static(shape)]
    if len(static) != len(parts) or any(len(shape) != len(whole.shape) for shape in static):
        return None
    for axis in range(len(whole.shape)):
        rest = whole.shape[:axis] + whole.shape[axis + 1 :]
        fits = all(shape[:axis] + shape[axis + 1 :] == rest for shape in static)
        if fits and sum(shape[axis] for shape in static) == whole.shape[axis]:
            at = next(k for k, part in enumerate(parts) if part.name == node.name)
            begin = [0] * len(rest) + [0]
            begin[axis] = sum(shape[axis] for shape in static[:at])
            return Key(whole.name, tuple(begin), static[at])
    return None


def declared_shape(node: Node) -> Shape:
    """Return the shape a variable node declares."""
    attr = node.attrs.get("shape")
    return attr.value if attr is not None and attr.kind == "shape" else None


def value_of(node: Node, key: Key, checkpoint: Checkpoint) -> Tensor:
    """Return a variable's value, which is not read before it is asked for.

    Raises:
        VariableNotFoundError: the checkpoint does not have the key.
    """
    tensor = checkpoint.tensor(key.name)
    if key.begin is not None and key.size is not None:
        tensor = tensor.part(key.begin, key.size)
    shape = declared_shape(node)
    if key.reshaped and shape is not None and is_static(shape) and shape != tensor.shape:
        tensor = tensor.reshaped(tuple(d for d in shape if d is not None))
    return tensor
