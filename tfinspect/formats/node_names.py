"""Names and operation types of a graph's nodes, and nothing else of it: what completion reads while a person types."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from tfinspect.errors import InputError
from tfinspect.formats import _tags, identify
from tfinspect.formats._file import MappedFile
from tfinspect.formats._wire import LEN, Cursor

if TYPE_CHECKING:
    import os

_NODE, _NAME, _OP = 0x0A, 0x0A, 0x12  # tags: GraphDef.node, NodeDef.name, NodeDef.op
_LONG = 0x80
_GRAPH_FIELD = 2  # of MetaGraphDef, and of SavedModel the MetaGraphDef


def read(path: str | os.PathLike[str]) -> list[tuple[str, str]] | None:
    """Return (name, op) of each node of a binary graph, a `.meta`, a checkpoint that has one, or a SavedModel.

    Returns:
        None where the file is something else, or unusual in any way: then it must be read as a whole.

    Raises:
        InputError: it cannot be read.
    """
    kind = identify(path).name
    place = Path(path)
    if kind == "saved_model" and place.is_dir():
        place /= "saved_model.pb"
    elif kind in {"checkpoint_v1", "checkpoint_v2"}:
        from tfinspect.formats import checkpoint

        meta = checkpoint.resolve(path).meta
        if meta is None:
            return None
        place, kind = Path(meta), "metagraph"
    depth = {"graphdef": 0, "metagraph": 1, "saved_model": 2}.get(kind)
    if depth is None or not place.is_file():
        return None
    file = MappedFile(place)
    if _tags.is_text(file.view):
        return None
    cursor, region = Cursor(file.view, file.path), (0, file.size)
    for _ in range(depth):
        inner = next(
            ((a, z) for n, k, _, a, z in cursor.fields(*region, "model") if (n, k) == (_GRAPH_FIELD, LEN)), None
        )
        if inner is None:
            return None
        region = inner
    return _nodes(cursor, *region)


def _nodes(cursor: Cursor, start: int, end: int) -> list[tuple[str, str]] | None:
    view = cursor.view
    found: list[tuple[str, str]] = []
    position = start
    try:
        while position < end:
            if view[position] != _NODE:
                # the library and the versions; a node among them is looked for in the slow way
                return found if _no_more_nodes(cursor, position, end) else None
            size, position = view[position + 1], position + 2
            if size >= _LONG:
                size, position = cursor.varint(position - 1, end, "NodeDef")
            stop = position + size
            if stop > end:
                return None
            if size == 0 or view[position] != _NAME or (length := view[position + 1]) >= _LONG:
                return None
            first = position + 2
            last = first + length
            if last + 2 > stop or view[last] != _OP or (op_length := view[last + 1]) >= _LONG:
                return None
            op_last = last + 2 + op_length
            if op_last > stop:
                return None
            found.append((str(view[first:last], "utf-8"), str(view[last + 2 : op_last], "utf-8")))
            position = stop
    except (IndexError, UnicodeDecodeError, InputError):
        return None
    return found


def _no_more_nodes(cursor: Cursor, start: int, end: int) -> bool:
    return all(number != 1 for number, *_ in cursor.fields(start, end, "GraphDef"))
