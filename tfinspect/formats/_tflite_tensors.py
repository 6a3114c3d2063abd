"""Values of TensorFlow Lite's tensors, where they lie in the file."""

from __future__ import annotations

import itertools
import math
import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from tfinspect.errors import CorruptFileError, InputError, UnsupportedFeatureError, counted
from tfinspect.formats._packed import PACKED_BITS, packed_nbytes, unpack
from tfinspect.ir.dtypes import DType
from tfinspect.ir.tensors import CHUNK_NBYTES, Tensor

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy.typing as npt

    from tfinspect.formats._file import MappedFile

_UNREAD: Final = {
    "external": "stands in another file, which tfinspect does not read",
    "sparse": "is stored sparse, which tfinspect does not read",
}


@dataclass(frozen=True, slots=True)
class Stored:
    """Where the value of a tensor lies.

    Attributes:
        file: the model.
        name: of the tensor.
        dtype: element type.
        shape: dimensions.
        start: first byte.
        nbytes: number of bytes.
        unread: why it cannot be read, as a key of `_UNREAD`; else empty.
    """

    file: MappedFile
    name: str
    dtype: DType
    shape: tuple[int, ...]
    start: int
    nbytes: int
    unread: str = ""


def value_of(stored: Stored) -> Tensor:
    """Return the value; it is read, and checked against its shape, when asked for."""
    if stored.dtype.itemsize and stored.dtype not in PACKED_BITS and not stored.unread:
        return Tensor(stored.dtype, stored.shape, lambda: _load(stored), lambda: _chunks(stored))
    return Tensor(stored.dtype, stored.shape, lambda: _load(stored))


def _check(stored: Stored) -> None:
    if stored.unread:
        raise UnsupportedFeatureError(
            f"{stored.file.path}: `{stored.name}` {_UNREAD[stored.unread]}",
            evidence={"path": stored.file.path, "name": stored.name},
        )
    if any(size < 0 for size in stored.shape):
        raise _impossible(stored)
    if stored.dtype is DType.STRING:
        return
    wanted = packed_nbytes(stored.dtype, math.prod(stored.shape))
    if not stored.dtype.itemsize:
        raise InputError(
            f"{stored.file.path}: `{stored.name}` is of type {stored.dtype}, which has no values to read",
            evidence={"path": stored.file.path, "name": stored.name, "dtype": str(stored.dtype)},
        )
    if stored.nbytes != wanted:
        raise CorruptFileError(
            stored.file.path,
            stored.start,
            f"{counted(wanted, 'byte')} of `{stored.name}`, {stored.dtype} of shape {list(stored.shape)}",
            f"a buffer of {stored.nbytes:,}",
            structure="buffer",
        )


def _impossible(stored: Stored) -> InputError:
    return InputError(
        f"{stored.file.path}: `{stored.name}` has the impossible shape {list(stored.shape)}",
        evidence={"path": stored.file.path, "name": stored.name, "shape": list(stored.shape)},
    )


def _chunks(stored: Stored) -> Iterator[memoryview]:
    _check(stored)
    for start in range(stored.start, stored.start + stored.nbytes, CHUNK_NBYTES):
        yield stored.file.view[start : min(start + CHUNK_NBYTES, stored.start + stored.nbytes)]


def _load(stored: Stored) -> npt.NDArray[Any]:
    import numpy as np

    _check(stored)
    data = stored.file.view[stored.start : stored.start + stored.nbytes]
    if stored.dtype is DType.STRING:
        strings = _strings(stored, data)
        flat: npt.NDArray[Any] = np.empty(len(strings), object)
        flat[:] = strings
    elif stored.dtype in PACKED_BITS:
        flat = unpack(data, stored.dtype, math.prod(stored.shape))
    else:
        flat = np.frombuffer(data, stored.dtype.numpy)
    try:
        return flat.reshape(stored.shape)
    except ValueError:  # more dimensions than NumPy has
        raise _impossible(stored) from None


def _strings(stored: Stored, data: memoryview) -> list[bytes]:
    """Return the strings of a buffer: their number, where each begins and the last ends, and then their bytes."""

    def damaged(expected: str, found: str) -> CorruptFileError:
        return CorruptFileError(
            stored.file.path, stored.start, expected, found, structure=f"strings of `{stored.name}`"
        )

    count = struct.unpack_from("<i", data)[0] if len(data) >= 4 else -1  # noqa: PLR2004 - the number itself
    wanted = math.prod(stored.shape)
    if count != wanted:
        raise damaged(f"the number of its strings, {wanted:,}", f"{count:,}")
    first = 4 * (count + 2)
    if first > len(data):
        raise damaged(f"{first:,} bytes of offsets", f"a buffer of {len(data):,}")
    bounds = struct.unpack_from(f"<{count + 1}i", data, 4)
    if bounds[0] < first or bounds[-1] > len(data) or any(a > b for a, b in itertools.pairwise(bounds)):
        raise damaged(f"rising offsets from {first:,} to {len(data):,}", "others")
    return [bytes(data[a:b]) for a, b in itertools.pairwise(bounds)]
