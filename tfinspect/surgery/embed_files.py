"""Files of a model that its graph reads become constants, since a graph has no files of its own.

1. A table filled from a text file is filled from constants that hold what the file does (`TABLE/keys`, `TABLE/values`).
2. A ReadFile of an asset becomes a constant of its content.

What else takes the path of an asset is refused by name.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from tfinspect.errors import InputError, SurgeryError
from tfinspect.ir.attrs import Attr
from tfinspect.ir.dtypes import DType
from tfinspect.ir.graph import Graph, Node, const
from tfinspect.ir.tensors import Tensor
from tfinspect.surgery._edges import behind_identities, fresh_name
from tfinspect.surgery.prune import prune

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    from tfinspect.ir.refs import TensorRef
    from tfinspect.surgery.at_load import Asset, AtLoad

_LINE_NUMBER: Final = -1
_WHOLE_LINE: Final = -2
_TAKEN_FROM_TEXT: Final = {
    DType.INT32: int, DType.INT64: int, DType.FLOAT: float, DType.DOUBLE: float, DType.STRING: bytes,
}  # fmt: skip


def embed_files(graph: Graph, load: AtLoad, outputs: Sequence[TensorRef]) -> tuple[Graph, list[str]]:
    """Put the contents of assets in the graph.

    Args:
        graph: a graph without calls, pruned.
        load: the assets.
        outputs: tensors to keep.

    Returns:
        The graph, and in words what was put in.

    Raises:
        InputError: an asset cannot be read, or does not hold what the table wants.
        SurgeryError: something else takes the path of an asset.
    """
    if not any(name in graph for name in load.assets):
        return graph, []
    taken = set(graph.by_name)
    nodes: list[Node] = []
    notes: list[str] = []
    for node in graph.nodes:
        at = {"InitializeTableFromTextFileV2": 1, "ReadFile": 0}.get(node.op)
        source = None if at is None else behind_identities(graph, node.data_inputs[at]).name
        asset = None if source is None else load.assets.get(source)
        if asset is None:
            nodes.append(node)
        elif node.op == "ReadFile":
            nodes.append(_constant(node, node.name, Tensor.of(asset.read(), DType.STRING)))
            notes.append(f"{asset.name} is in the graph: `{node.name}` read it")
        else:
            made, count = _from_constants(graph, node, asset, taken)
            nodes += made
            table = behind_identities(graph, node.data_inputs[0]).name
            notes.append(
                f"{asset.name} is in the graph: {count:,} entr{'y' if count == 1 else 'ies'} of the table `{table}`"
            )
    done = prune(graph.replace(nodes=nodes), outputs)
    _refuse_paths(done, load)
    return done, notes


def _refuse_paths(graph: Graph, load: AtLoad) -> None:
    for name, asset in load.assets.items():
        if name in graph:
            users = [user.name for user in graph.consumers.get(name, ())]
            raise SurgeryError(
                f"cannot freeze: `{users[0] if users else name}` takes the path of the asset {asset.name}, "
                "which no frozen graph has beside it",
                hint="choose outputs that do not need it with --outputs",
                evidence={"asset": asset.name, "nodes": users},
            )


def _constant(node: Node, name: str, value: Tensor) -> Node:
    return const(name, value).replace(inputs=[text for text in node.inputs if text.startswith("^")], device=node.device)


def _from_constants(graph: Graph, node: Node, asset: Asset, taken: set[str]) -> tuple[list[Node], int]:
    table = graph.by_name[behind_identities(graph, node.data_inputs[0]).name]
    types = [table.dtype(attr) or DType.INVALID for attr in ("key_dtype", "value_dtype")]
    columns = [node.value("key_index"), node.value("value_index")]
    rows = list(_rows(node, asset, types, columns))
    made: list[Node] = []
    for part, dtype, values in zip(("keys", "values"), types, zip(*rows, strict=True), strict=True):
        name = fresh_name(f"{table.name}/{part}", taken)
        taken.add(name)
        made.append(_constant(node, name, Tensor.of(_array(values, dtype, asset), dtype)))
    attrs = {"Tkey": Attr.of(types[0]), "Tval": Attr.of(types[1])}
    inputs = (node.inputs[0], made[0].name, made[1].name, *(text for text in node.inputs if text.startswith("^")))
    return [*made, Node(node.name, "InitializeTableV2", inputs, attrs, device=node.device)], len(rows)


def _array(values: Sequence[object], dtype: DType, asset: Asset) -> npt.NDArray[Any]:
    import numpy as np

    try:
        return np.array(values, dtype.numpy)
    except OverflowError:
        raise InputError(f"the asset {asset.name} holds numbers too large for {dtype}") from None


def _rows(node: Node, asset: Asset, types: Sequence[DType], columns: Sequence[int]) -> list[tuple[object, ...]]:
    """Read a text file as TensorFlow fills a table from it.

    Raises:
        InputError: it is not such a file.
    """
    lines = asset.read().replace(b"\r", b"").split(b"\n")
    if lines[-1] == b"":
        lines.pop()
    size = node.value("vocab_size", -1)
    if size != -1 and len(lines) < size:
        raise InputError(f"the asset {asset.name} has {len(lines):,} lines, and `{node.name}` wants {size:,}")
    delimiter = node.text("delimiter", "\t").encode()
    offset = node.value("offset", 0)
    found: dict[tuple[object, ...], None] = {}  # an entry that stands there twice counts once
    for number, line in enumerate(lines if size == -1 else lines[:size]):
        if not line:
            raise InputError(f"line {number + 1:,} of the asset {asset.name} is empty, which no table can hold")
        row = []
        for dtype, column in zip(types, columns, strict=True):
            try:
                row.append(_field(line, number, dtype, column, delimiter, offset))
            except (ValueError, IndexError, KeyError):
                raise InputError(
                    f"line {number + 1:,} of the asset {asset.name} has no {dtype} where `{node.name}` wants one",
                    evidence={"asset": asset.name, "line": number + 1, "column": column},
                ) from None
        found[tuple(row)] = None
    if not found:
        raise InputError(f"the asset {asset.name} is empty, and the table that `{node.name}` fills cannot be")
    return list(found)


def _field(line: bytes, number: int, dtype: DType, column: int, delimiter: bytes, offset: int) -> object:
    if column == _LINE_NUMBER and dtype is DType.INT64:
        return number + offset
    text = line if column == _WHOLE_LINE else line.split(delimiter)[column]
    if column < 0 and column != _WHOLE_LINE:
        raise KeyError(column)
    if b"_" in text and dtype is not DType.STRING:  # Python reads 1_000 as a number
        raise ValueError(text)
    value = _TAKEN_FROM_TEXT[dtype](text)
    return value + offset if dtype is DType.INT32 else value
