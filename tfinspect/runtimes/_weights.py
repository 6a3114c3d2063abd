"""Weights on their way to a converter: raw little-endian bytes in one flat file, and a manifest beside it.

weights.bin     elements of one tensor after the other, C order, each tensor at a multiple of 64 bytes
weights.json    {"weights": {name: {"dtype": "float32", "shape": [3, 3, 3, 32], "offset": 0, "nbytes": 3456}}}
"""

from __future__ import annotations

import json
import mmap
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tfinspect.errors import OutputError
from tfinspect.ir.dtypes import DType

if TYPE_CHECKING:
    import os
    from collections.abc import Mapping

    import numpy.typing as npt

    from tfinspect.ir.tensors import Tensor

_DATA, _MANIFEST = "weights.bin", "weights.json"
_ALIGNMENT = 64  # bytes; a cache line, and a multiple of every element's size
_BY_NAME = {str(dtype): dtype for dtype in DType}


def write_weights(folder: str | os.PathLike[str], weights: Mapping[str, Tensor]) -> int:
    """Write tensors for `convert`, piece by piece, so that none is ever in memory as a whole.

    Args:
        folder: an existing folder of the caller's.
        weights: values by the name of the Placeholder node that stands for each in the graph.

    Returns:
        Bytes written.

    Raises:
        InputError: a value cannot be read.
        OutputError: the file cannot be written.
    """
    entries: dict[str, dict[str, object]] = {}
    place = Path(folder)
    try:
        with (place / _DATA).open("wb") as file:
            for name, tensor in weights.items():
                file.write(bytes(-file.tell() % _ALIGNMENT))
                offset = file.tell()
                for piece in tensor.chunks():
                    file.write(piece)
                entries[name] = {
                    "dtype": str(tensor.dtype),
                    "shape": list(tensor.shape),
                    "offset": offset,
                    "nbytes": file.tell() - offset,
                }
            size = file.tell()
        (place / _MANIFEST).write_text(json.dumps({"weights": entries}))
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise OutputError(f"{place / _DATA} cannot be written: {reason}", evidence={"path": str(place)}) from error
    return size


@dataclass(frozen=True, slots=True)
class Weight:
    """A weight in a mapped file.

    Attributes:
        name: of the Placeholder that stands for it.
        dtype: element type.
        shape: dimensions.
        values: a read-only view of the file.
    """

    name: str
    dtype: DType
    shape: tuple[int, ...]
    values: npt.NDArray[Any]


def open_weights(folder: str | os.PathLike[str] | None) -> dict[str, Weight]:
    """Map what `write_weights` wrote; nothing is read before it is touched."""
    if folder is None:
        return {}
    manifest = json.loads((Path(folder) / _MANIFEST).read_text())
    with (Path(folder) / _DATA).open("rb") as file:
        size = file.seek(0, 2)
        mapped = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) if size else b"")
    weights = {}
    for name, entry in manifest["weights"].items():
        dtype, shape = _BY_NAME[entry["dtype"]], tuple(entry["shape"])
        flat = np.frombuffer(mapped[entry["offset"] : entry["offset"] + entry["nbytes"]], np.uint8)
        weights[name] = Weight(name, dtype, shape, flat.view(dtype.numpy).reshape(shape))
    return weights
