"""Every graph of a SavedModel: a loader picks one by its tags, whoever looks for risks must see them all."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from google.protobuf.message import DecodeError

from tfinspect.formats import _tags, metagraph, pbtxt
from tfinspect.formats._file import MappedFile
from tfinspect.formats._schema import message_class
from tfinspect.formats._wire import LEN, VARINT, Cursor

if TYPE_CHECKING:
    import os
    from collections.abc import Iterator, Mapping

    from tfinspect.ir.model import Model

_META_GRAPHS = 2
_COLLECTIONS, _OBJECT_GRAPH = 4, 7  # fields of MetaGraphDef
_OBJECTS, _FUNCTIONS = 1, 2  # of SavedObjectGraph
_ASSET, _CONSTANT = 5, 9  # of SavedObject
_BOUND_INPUTS = 2  # of SavedConcreteFunction
_OLD_ASSETS = b"saved_model_assets"
NAMES = ("saved_model.pb", "saved_model.pbtxt")


@dataclass(frozen=True, slots=True)
class MetaGraph:
    """One graph of a SavedModel.

    Attributes:
        model: the graph with its signatures; its variables are not looked for.
        captured: by function, what its last arguments are bound to when it is called from Python: the tensor in the
            main graph that an asset's path or a constant is written to, empty where it is something else.
    """

    model: Model
    captured: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


def read_all(path: str | os.PathLike[str]) -> list[MetaGraph]:
    """Read every MetaGraph of a SavedModel, given by its folder or its `saved_model.pb`.

    Raises:
        FileMissingError: the folder holds no SavedModel.
        CorruptFileError: the file is not well formed.
    """
    place = Path(path)
    if place.is_dir():
        place = next((place / name for name in NAMES if (place / name).is_file()), place / NAMES[0])
    file = MappedFile(place)
    view = file.view
    if _tags.is_text(view):
        view = memoryview(pbtxt.parse(file, "SavedModel").SerializeToString())
    cursor = Cursor(view, file.path)
    return [
        _meta_graph(cursor, first, last)
        for number, kind, _, first, last in cursor.fields(0, len(view), "SavedModel")
        if number == _META_GRAPHS and kind == LEN
    ]


def _meta_graph(cursor: Cursor, start: int, end: int) -> MetaGraph:
    model = metagraph.decode(cursor, start, end, cursor.path, "saved_model")
    assets = dict(model.assets)
    captured: dict[str, tuple[str, ...]] = {}
    for number, kind, _, first, last in cursor.fields(start, end, "MetaGraphDef"):
        if kind == LEN and number == _COLLECTIONS:
            assets.update(_old_assets(cursor, first, last))
        elif kind == LEN and number == _OBJECT_GRAPH:
            captured = _captured(cursor, first, last, list(model.assets.values()))
    return MetaGraph(replace(model, assets=assets), captured)


def _old_assets(cursor: Cursor, start: int, end: int) -> dict[str, str]:
    """Return the assets that TensorFlow 1 kept in a collection: name, and the tensor its path is written to."""
    key, value = b"", (0, 0)
    for number, kind, _, first, last in cursor.fields(start, end, "CollectionDef entry"):
        if number == 1 and kind == LEN:
            key = bytes(cursor.view[first : min(last, first + len(_OLD_ASSETS) + 1)])
        elif kind == LEN:
            value = (first, last)
    if key != _OLD_ASSETS:
        return {}
    try:
        content = message_class("CollectionDef").FromString(bytes(cursor.view[slice(*value)]))
        assets = [message_class("AssetFileDef").FromString(item.value) for item in content.any_list.value]
    except DecodeError:  # then nothing is taken for an asset
        return {}
    return {asset.filename: asset.tensor_info.name for asset in assets}


def _captured(cursor: Cursor, start: int, end: int, assets: list[str]) -> dict[str, tuple[str, ...]]:
    objects: list[str] = []
    functions: list[tuple[str, list[int]]] = []
    for number, kind, _, first, last in cursor.fields(start, end, "SavedObjectGraph"):
        if kind == LEN and number == _OBJECTS:
            objects.append(_bound_tensor(cursor, first, last, assets))
        elif kind == LEN and number == _FUNCTIONS:
            functions.append(_function(cursor, first, last))
    return {name: tuple(objects[i] if i < len(objects) else "" for i in bound) for name, bound in functions}


def _bound_tensor(cursor: Cursor, start: int, end: int, assets: list[str]) -> str:
    for number, kind, _, first, last in cursor.fields(start, end, "SavedObject"):
        if kind == LEN and number == _ASSET:
            index = next((_number(cursor, a, z) for n, k, _, a, z in _inside(cursor, first, last) if k == VARINT), 0)
            return assets[index] if index < len(assets) else ""
        if kind == LEN and number == _CONSTANT:
            text = next((cursor.view[a:z] for n, k, _, a, z in _inside(cursor, first, last) if k == LEN), b"")
            return bytes(text).decode("utf-8", "replace")
    return ""


def _function(cursor: Cursor, start: int, end: int) -> tuple[str, list[int]]:
    name, bound = "", list[int]()
    for number, kind, _, first, last in cursor.fields(start, end, "SavedConcreteFunction entry"):
        if kind == LEN and number == 1:
            name = bytes(cursor.view[first:last]).decode("utf-8", "replace")
        elif kind == LEN:
            for field_number, wire, _, a, z in _inside(cursor, first, last):
                if field_number == _BOUND_INPUTS and wire in {LEN, VARINT}:
                    bound += _numbers(cursor, a, z)
    return name, bound


def _inside(cursor: Cursor, start: int, end: int) -> Iterator[tuple[int, int, int, int, int]]:
    return cursor.fields(start, end, "SavedObjectGraph")


def _number(cursor: Cursor, start: int, end: int) -> int:
    return cursor.varint(start, end, "SavedObjectGraph")[0]


def _numbers(cursor: Cursor, start: int, end: int) -> Iterator[int]:
    while start < end:
        value, start = cursor.varint(start, end, "SavedObjectGraph")
        yield value
