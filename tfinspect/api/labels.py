"""Class labels, kept with the model: beside a file, in the assets of a SavedModel, in the metadata of ONNX."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Final

from tfinspect.errors import FileMissingError, InputError, LimitError, UsageError
from tfinspect.formats import _atomic
from tfinspect.formats._file import open_beneath, open_regular

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tfinspect.api.load import PathLike

ASSET_NAME = "labels.txt"
METADATA_KEY = "labels"
_MAX_NBYTES: Final = 16 << 20  # a hundred thousand labels of a hundred letters take 10 MB
_SAVED_MODEL_FILES: Final = frozenset({"saved_model.pb", "saved_model.pbtxt"})


def labels_path(model: PathLike) -> Path:
    """Return where the labels of a model file stand."""
    place = Path(model)
    return place.with_name(place.stem + ".labels.txt")


def read_labels(path: PathLike) -> tuple[str, ...]:
    """Read one label a line; empty lines at the end do not count.

    Raises:
        FileMissingError: the file is not there or is not text.
        LimitError: it is larger than any list of labels.
    """
    return split_labels(_text(open_regular(os.fspath(path)), os.fspath(path)))


def split_labels(text: str) -> tuple[str, ...]:
    """Return one label a line; empty lines at the end do not count, nor numbers before labels (`0:background`)."""
    lines = [line.strip() for line in text.rstrip().splitlines()]
    if all(line.startswith(f"{number}:") for number, line in enumerate(lines)):
        lines = [line.partition(":")[2].strip() for line in lines]
    return tuple(lines)


def parse_labels(text: str, source: str) -> tuple[str, ...]:
    """Read labels from JSON text, as ONNX metadata has them.

    Raises:
        InputError: it is no list of texts; `source` is named.
    """
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, list) or not all(isinstance(label, str) for label in found):
        raise InputError(f"{source} has labels that are no JSON list of texts", evidence={"path": source})
    return tuple(found)


def labels_beside(model: PathLike) -> tuple[str, ...]:
    """Return the labels that stand beside a model file, or in the assets of a SavedModel, or none.

    Raises:
        InputError: there are some, and they cannot be read.
    """
    text = asset(model, ASSET_NAME) if is_folder(model) else text_of(labels_path(model))
    return () if text is None else split_labels(text)


def write_labels(model: PathLike, labels: Sequence[str], *, force: bool) -> Path:
    """Write labels beside a model file and return where.

    Raises:
        OutputExistsError: there are some and `force` is not set.
        OutputError: they cannot be written.
    """
    place = labels_path(model)
    _atomic.write_file(place, ["\n".join([*labels, ""]).encode()], force=force)
    return place


def check_labels(labels: Sequence[str], classes: int | None) -> None:
    """Refuse labels that are not as many as the classes.

    Raises:
        UsageError: the numbers differ.
    """
    if labels and classes is not None and len(labels) != classes:
        raise UsageError(
            f"{len(labels)} labels do not fit {classes} classes", evidence={"labels": len(labels), "classes": classes}
        )


def is_folder(model: PathLike) -> bool:
    """Whether a model is a folder with assets of its own, as a SavedModel is."""
    place = Path(model)
    return place.is_dir() or place.name in _SAVED_MODEL_FILES


def folder_of(model: PathLike) -> Path:
    """Return the folder of a SavedModel, given by it or by its `saved_model.pb`."""
    place = Path(model)
    return place if place.is_dir() else place.parent


def asset(model: PathLike, name: str) -> str | None:
    """Return the text of a file in the assets of a SavedModel, None where there is none.

    Raises:
        InputError: it cannot be read, or a symbolic link leads to it.
    """
    folder = folder_of(model)
    if not os.path.lexists(folder / "assets" / name):
        return None
    return _text(open_beneath(str(folder), f"assets/{name}"), str(folder / "assets" / name))


def text_of(path: PathLike) -> str | None:
    """Return the text of a small file, None where nothing stands under the path.

    Raises:
        FileMissingError: it is no regular file, may not be read, or is not UTF-8.
        LimitError: it is larger than what is kept beside a model.
    """
    if not os.path.lexists(path):
        return None
    return _text(open_regular(os.fspath(path)), os.fspath(path))


def _text(descriptor: int, path: str) -> str:
    with os.fdopen(descriptor, "rb") as file:
        content = file.read(_MAX_NBYTES + 1)
    if len(content) > _MAX_NBYTES:
        raise LimitError(
            f"{path} is larger than {_MAX_NBYTES:,} bytes, which no list of labels is", evidence={"path": path}
        )
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise FileMissingError(f"{path} is not UTF-8 text (byte {error.start})", evidence={"path": path}) from None
