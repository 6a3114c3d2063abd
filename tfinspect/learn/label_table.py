"""Labels of images from a table, where folders do not say them: several labels an image, or quantities.

file,label                 one class an image, or several with | between them
daisy/a.jpg,wild|white

file,wild,white            0 and 1: several labels an image; other numbers: quantities to be predicted
daisy/a.jpg,1,1
"""

from __future__ import annotations

import csv
import math
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, Final

from tfinspect.errors import FileMissingError, InputError, UsageError
from tfinspect.learn.images import ImageFile, before_names

if TYPE_CHECKING:
    import os
    from collections.abc import Sequence

    import numpy.typing as npt

_BETWEEN: Final = "|"
_MAX_NBYTES: Final = 1 << 30


@dataclass(frozen=True, slots=True)
class LabelTable:
    """What a table says.

    Attributes:
        files: the images, in the table's order.
        classes: names of the classes, or of the quantities.
        labels: one row an image, as `ir.features.Features.labels`.
    """

    files: tuple[ImageFile, ...]
    classes: tuple[str, ...]
    labels: npt.NDArray[Any]


def read_label_table(path: str | os.PathLike[str], folder: str | os.PathLike[str]) -> LabelTable:
    """Read a table of labels with a header; its first column is the path of an image from the folder.

    Raises:
        FileMissingError: the table is not there, or is no text.
        InputError: a row has too few or too many cells, or leads out of the folder; the line is named.
        UsageError: there is nothing to tell apart.
    """
    header, rows = _rows(Path(path))
    names = _names(Path(path), rows)
    columns = [column.strip() for column in header[1:]]
    cells = [[cell.strip() for cell in row[1:]] for _, row in rows]
    if len(columns) == 1 and not (columns[0] != "label" and _numbers(cells)):
        classes, labels = _of_words(path, [row[0] for row in cells])
    else:
        classes, labels = tuple(columns), _of_numbers(path, rows, cells)
    numbers = labels.tolist() if labels.ndim == 1 and labels.dtype.kind == "i" else [0] * len(names)
    before = before_names(folder)
    files = tuple(ImageFile(before, n, label) for n, label in zip(names, numbers, strict=True))
    return LabelTable(files, classes, labels)


def _rows(path: Path) -> tuple[list[str], list[tuple[int, list[str]]]]:
    try:
        if path.stat().st_size > _MAX_NBYTES:
            raise InputError(f"{path} has more than {_MAX_NBYTES:,} bytes", evidence={"path": str(path)})
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file, strict=True)
            header = next(reader, [])
            rows = [(reader.line_num, row) for row in reader if row]
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise FileMissingError(f"{path} cannot be read: {reason}", evidence={"path": str(path)}) from None
    except UnicodeDecodeError as error:
        raise FileMissingError(f"{path} is not UTF-8 text (byte {error.start})", evidence={"path": str(path)}) from None
    except csv.Error as error:
        raise InputError(f"{path} is no table: {error}", evidence={"path": str(path)}) from None
    if len(header) < 2:  # noqa: PLR2004 - a file and a label
        raise InputError(f"{path} needs a header of two columns or more: file,label", evidence={"path": str(path)})
    for line, row in rows:
        if len(row) != len(header):
            raise InputError(
                f"{path} has {len(row)} cells in line {line:,} and {len(header)} in its header",
                evidence={"path": str(path), "line": line},
            )
    if not rows:
        raise InputError(f"{path} has no rows", evidence={"path": str(path)})
    return header, rows


def _names(path: Path, rows: Sequence[tuple[int, list[str]]]) -> list[str]:
    lines: dict[str, int] = {}
    for line, row in rows:
        name = PurePosixPath(row[0].strip())
        if name.is_absolute() or ".." in name.parts or not name.name:
            raise InputError(
                f"{path} names `{row[0]}` in line {line:,}, which is no file of the folder",
                evidence={"path": str(path), "line": line},
            )
        if str(name) in lines:
            raise InputError(
                f"{path} has `{name}` in line {lines[str(name)]:,} and again in line {line:,}",
                evidence={"path": str(path), "line": line},
            )
        lines[str(name)] = line
    return list(lines)


def _numbers(cells: Sequence[Sequence[str]]) -> bool:
    return all(_number(cell) is not None for row in cells for cell in row)


def _number(cell: str) -> float | None:
    try:
        value = float(cell)
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def _of_words(path: str | os.PathLike[str], cells: Sequence[str]) -> tuple[tuple[str, ...], npt.NDArray[Any]]:
    import numpy as np

    words = [[word.strip() for word in cell.split(_BETWEEN) if word.strip()] for cell in cells]
    classes = tuple(sorted({word for row in words for word in row}))
    if len(classes) < 2:  # noqa: PLR2004
        raise UsageError(f"{path} has {len(classes)} label only; there is nothing to tell apart")
    number = {name: i for i, name in enumerate(classes)}
    if all(len(row) == 1 for row in words):
        return classes, np.array([number[row[0]] for row in words], np.int64)
    labels = np.zeros((len(words), len(classes)), np.int64)
    for i, row in enumerate(words):
        labels[i, [number[word] for word in row]] = 1
    return classes, labels


def _of_numbers(
    path: str | os.PathLike[str], rows: Sequence[tuple[int, list[str]]], cells: Sequence[Sequence[str]]
) -> npt.NDArray[Any]:
    import numpy as np

    for (line, _), row in zip(rows, cells, strict=True):
        for cell in row:
            if _number(cell) is None:
                raise InputError(
                    f"{path} has `{cell[:40]}` in line {line:,}, where a number was expected",
                    evidence={"path": str(path), "line": line},
                )
    values = np.array([[float(cell) for cell in row] for row in cells], np.float32)
    if values.shape[1] > 1 and np.isin(values, (0, 1)).all():
        return values.astype(np.int64)
    return values[:, 0] if values.shape[1] == 1 else values
