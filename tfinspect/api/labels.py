"""Class labels, kept with the model: `STEM.labels.txt` beside a file, one a line."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from tfinspect.errors import FileMissingError, UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tfinspect.api.load import PathLike

ASSET_NAME = "labels.txt"
METADATA_KEY = "labels"


def labels_path(model: PathLike) -> Path:
    """Return where the labels of a model file stand."""
    place = Path(model)
    return place.with_name(place.stem + ".labels.txt")


def read_labels(path: PathLike) -> tuple[str, ...]:
    """Read one label a line; empty lines at the end do not count.

    Raises:
        FileMissingError: the file is not there or is not text.
    """
    try:
        text = Path(path).read_text(encoding="utf-8")
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise FileMissingError(f"{path} cannot be read: {reason}", evidence={"path": str(path)}) from None
    except UnicodeDecodeError as error:
        raise FileMissingError(f"{path} is not UTF-8 text (byte {error.start})", evidence={"path": str(path)}) from None
    return tuple(line.strip() for line in text.rstrip().splitlines())


def labels_beside(model: PathLike) -> tuple[str, ...]:
    """Return the labels that stand beside a model, or none."""
    place = labels_path(model)
    return read_labels(place) if place.is_file() else ()


def check_labels(labels: Sequence[str], classes: int | None) -> None:
    """Refuse labels that are not as many as the classes.

    Raises:
        UsageError: the numbers differ.
    """
    if labels and classes is not None and len(labels) != classes:
        raise UsageError(
            f"{len(labels)} labels do not fit {classes} classes", evidence={"labels": len(labels), "classes": classes}
        )
