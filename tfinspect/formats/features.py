"""Bottleneck features as `.npz`: `features`, `labels`, `classes`, `files`, `split`, and `made`, which is JSON text."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any, cast

from tfinspect.errors import InputError
from tfinspect.formats._npz import Pieces, read_arrays, read_json, write_arrays
from tfinspect.ir.features import SPLITS, Features

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    import numpy as np
    import numpy.typing as npt

    from tfinspect.ir.features import Split

_MAX_NBYTES = 1 << 36
_MATRIX_RANK = 2
_WORDS_AT_ONCE = 4096


def read(path: str | os.PathLike[str]) -> Features:
    """Read features.

    Raises:
        CorruptFileError: the archive is damaged.
        InputError: an array is missing, of the wrong kind, or does not fit the others; file and array are named.
    """
    name = os.fspath(path)
    arrays = read_arrays(name, max_nbytes=_MAX_NBYTES)
    features, labels = _array(name, arrays, "features", "f", _MATRIX_RANK), _array(name, arrays, "labels", "iuf", 0)
    classes, files, split = (_words(name, arrays, key) for key in ("classes", "files", "split"))
    count = len(features)
    for key, length in (("labels", len(labels)), ("files", len(files)), ("split", len(split))):
        if length != count:
            raise _wrong(name, key, f"has {length:,} entries for {count:,} images")
    unknown = sorted(set(split) - set(SPLITS))
    if unknown:
        raise _wrong(name, "split", f"has the word `{unknown[0][:40]}`; {', '.join(SPLITS)} were expected")
    if (
        labels.ndim == 1
        and labels.dtype.kind in "iu"
        and count
        and not 0 <= labels.min() <= labels.max() < len(classes)
    ):
        raise _wrong(name, "labels", f"has numbers from {labels.min()} to {labels.max()} for {len(classes)} classes")
    import numpy as np

    return Features(
        features.astype(np.float32, copy=False),
        labels.astype(np.float32 if labels.dtype.kind == "f" else np.int64, copy=False),
        classes,
        files,
        cast("tuple[Split, ...]", split),
        read_json(name, arrays, "made"),
    )


def write(features: Features, path: str | os.PathLike[str], *, force: bool = False) -> int:
    """Write features, whole or not at all, and return the size of the file in bytes.

    Raises:
        OutputExistsError: the file exists and `force` is not set.
        OutputError: it cannot be written; nothing is left behind.
    """
    return write_rows(
        [features.features],
        features.features.shape,
        path,
        labels=features.labels,
        classes=features.classes,
        files=features.files,
        split=features.split,
        made=features.made,
        force=force,
    )


def write_rows(
    rows: Iterable[npt.NDArray[np.float32]],
    shape: tuple[int, ...],
    path: str | os.PathLike[str],
    *,
    labels: npt.NDArray[Any],
    classes: Sequence[str],
    files: Sequence[str],
    split: Sequence[str],
    made: Mapping[str, Any],
    force: bool = False,
) -> int:
    """Write features that need not be in memory together, and return the size of the file in bytes.

    Args:
        rows: parts of `Features.features`, in order.
        shape: of all of them together.
        path: the file.
        labels: as `Features.labels`, and likewise the others.
        classes: names of the classes.
        files: names of the images.
        split: part each image belongs to.
        made: what made them.
        force: replace the file if it exists.

    Raises:
        OutputExistsError: the file exists and `force` is not set.
        OutputError: it cannot be written; nothing is left behind.
    """
    import numpy as np

    arrays: dict[str, npt.NDArray[Any] | Pieces] = {
        "features": Pieces(shape, "<f4", rows),
        "labels": labels,
        "classes": np.array(classes, np.str_),
        "files": _in_pieces(files),
        "split": _in_pieces(split),
        "made": np.array(json.dumps(dict(made))),
    }
    return write_arrays(path, arrays, force=force)


def _in_pieces(words: Sequence[str]) -> Pieces:
    """Return what `np.array(words, str)` is, never whole: it takes four bytes a letter of the longest word."""
    import numpy as np

    dtype = f"<U{max(map(len, words), default=0) or 1}"
    parts = (np.array(words[i : i + _WORDS_AT_ONCE], dtype) for i in range(0, len(words), _WORDS_AT_ONCE))
    return Pieces((len(words),), dtype, parts)


def _array(path: str, arrays: dict[str, npt.NDArray[Any]], key: str, kinds: str, rank: int) -> npt.NDArray[Any]:
    found = arrays.get(key)
    if found is None:
        raise _wrong(path, key, "is missing")
    if found.dtype.kind not in kinds or found.ndim < 1 or (rank and found.ndim != rank):
        raise _wrong(path, key, f"is {found.dtype} of shape {list(found.shape)}, which it cannot be")
    return found


def _words(path: str, arrays: dict[str, npt.NDArray[Any]], key: str) -> tuple[str, ...]:
    found = _array(path, arrays, key, "US", 1)
    return tuple(v.decode("utf-8", "replace") if isinstance(v, bytes) else str(v) for v in found.tolist())


def _wrong(path: str, key: str, what: str) -> InputError:
    return InputError(f"{path}: `{key}` {what}", evidence={"path": path, "array": key})
