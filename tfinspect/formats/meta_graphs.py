"""Every graph of a SavedModel: a loader picks one by its tags, whoever looks for risks must see them all."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from tfinspect.formats import _tags, metagraph, pbtxt
from tfinspect.formats._file import MappedFile
from tfinspect.formats._wire import LEN, Cursor

if TYPE_CHECKING:
    import os

    from tfinspect.ir.model import Model

_META_GRAPHS = 2
NAMES = ("saved_model.pb", "saved_model.pbtxt")


def read_all(path: str | os.PathLike[str]) -> list[Model]:
    """Read every MetaGraph of a SavedModel, given by its folder or its `saved_model.pb`, without its variables.

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
        metagraph.decode(cursor, first, last, file.path, "saved_model")
        for number, kind, _, first, last in cursor.fields(0, len(view), "SavedModel")
        if number == _META_GRAPHS and kind == LEN
    ]
