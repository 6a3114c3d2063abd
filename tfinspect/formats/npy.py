"""Arrays as NumPy's `.npy` and `.npz`, written piece by piece.

What NumPy has no type for (bfloat16, float8, int4) is refused by the caller: NumPy's own `save` would write it as raw
bytes. Strings are written as `S` arrays, never as Python objects, which only a pickle could hold.
"""

from __future__ import annotations

import contextlib
import io
import os
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from tfinspect.errors import InputError, LimitError
from tfinspect.formats import _atomic
from tfinspect.ir.dtypes import DType

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from tfinspect.ir.tensors import Bytes, Tensor

_EPOCH: Final = (1980, 1, 1, 0, 0, 0)  # the first day a zip archive knows: the same weights give the same bytes
_MAX_NAME_NBYTES = (1 << 16) - 1
_PADDING_RATIO = 16  # strings are all made as long as the longest
_SMALL_NBYTES = 1 << 20
_NO_NUMPY: Final = {
    DType.BFLOAT16, DType.FLOAT8_E5M2, DType.FLOAT8_E4M3FN, DType.FLOAT8_E4M3FNUZ, DType.FLOAT8_E4M3B11FNUZ,
    DType.FLOAT8_E5M2FNUZ, DType.INT4, DType.UINT4, DType.INT2, DType.UINT2, DType.FLOAT4_E2M1FN, DType.RESOURCE,
    DType.VARIANT, DType.INVALID,
}  # fmt: skip


def holds(dtype: DType) -> bool:
    """Whether NumPy's files have a type for these elements."""
    return dtype not in _NO_NUMPY


class _Array(NamedTuple):
    """What one `.npy` file is made of."""

    header: bytes
    tensor: Tensor
    nbytes: int
    strings: bytes | None

    def pieces(self, name: str) -> Iterator[Bytes]:
        yield self.header
        if self.strings is not None:
            yield self.strings
            return
        size = 0
        for piece in self.tensor.chunks():
            size += len(piece)
            yield piece
        if size != self.nbytes:
            raise InputError(f"`{name}` gave {size:,} bytes, and its shape takes {self.nbytes:,}")


def write_npy(path: str | os.PathLike[str], name: str, tensor: Tensor, *, force: bool = False) -> int:
    """Write one array, whole or not at all, and return the bytes written.

    Raises:
        LimitError: they are strings that an `S` array cannot hold.
        InputError: the value cannot be read, or fails its checksum.
        OutputExistsError: the file exists and `force` is not set.
        OutputError: it cannot be written; nothing is left behind.
    """
    _atomic.ensure_absent(path, force=force)
    return _atomic.write_file(path, _array(name, tensor).pieces(name), force=force)


def write_npz(path: str | os.PathLike[str], tensors: Sequence[tuple[str, Tensor]], *, force: bool = False) -> int:
    """Write arrays into one archive, not compressed, whole or not at all, and return the bytes written.

    Raises:
        LimitError: a name is too long for an archive, or strings are ones that an `S` array cannot hold.
        InputError: a value cannot be read, or fails its checksum.
        OutputExistsError: the file exists and `force` is not set.
        OutputError: it cannot be written; nothing is left behind.
    """
    _atomic.ensure_absent(path, force=force)
    for name, _ in tensors:
        if "\0" in name or len(f"{name}.npy".encode()) > _MAX_NAME_NBYTES:
            raise LimitError(
                f"`{name}` is no name that a zip archive can hold",
                hint="leave it out with --match or --read, or write a .safetensors",
                evidence={"name": name},
            )
    target = Path(path)
    with _atomic.staged(target) as temporary, _atomic.output_errors(target):
        with temporary.open("xb") as file:
            with _archive(file) as archive:
                for name, tensor in tensors:
                    _add(archive, name, tensor)
            file.flush()
            os.fsync(file.fileno())
            size = file.tell()
        _atomic.publish(temporary, target, force=force)
    return size


@contextlib.contextmanager
def _archive(file: Any) -> Iterator[zipfile.ZipFile]:  # noqa: ANN401 - a binary file
    """Give an archive that is closed only if all went well: its end is of no use to one that is thrown away."""
    archive = zipfile.ZipFile(file, "w", zipfile.ZIP_STORED, allowZip64=True)
    try:
        yield archive
    except BaseException:
        archive.fp = None
        raise
    archive.close()


def _add(archive: zipfile.ZipFile, name: str, tensor: Tensor) -> None:
    array = _array(name, tensor)
    member = zipfile.ZipInfo(f"{name}.npy", _EPOCH)
    member.file_size = len(array.header) + array.nbytes  # so that zipfile knows whether it needs 64 bits
    with archive.open(member, "w") as file:
        for piece in array.pieces(name):
            file.write(piece)


def _array(name: str, tensor: Tensor) -> _Array:
    import numpy as np

    if tensor.dtype is DType.STRING:
        descr, strings = _strings(name, tensor)
        nbytes = len(strings)
    else:
        descr, strings, nbytes = tensor.dtype.numpy.newbyteorder("<").str, None, tensor.nbytes
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": descr, "fortran_order": False, "shape": tensor.shape})
    return _Array(header.getvalue(), tensor, nbytes, strings)


def _strings(name: str, tensor: Tensor) -> tuple[str, bytes]:
    values = [value for value in tensor.numpy().reshape(-1).tolist() if isinstance(value, bytes)]
    width = max(map(len, values), default=0) or 1
    if any(value.endswith(b"\0") for value in values):
        raise LimitError(
            f"`{name}` has a string that ends with a zero byte, which NumPy would drop",
            hint="leave it out with --match, --role or --read",
            evidence={"name": name},
        )
    nbytes = width * len(values)
    if nbytes > _SMALL_NBYTES and nbytes > _PADDING_RATIO * sum(map(len, values)):
        raise LimitError(
            f"the strings of `{name}`, each made as long as the longest, would take {nbytes:,} bytes",
            hint="leave it out with --match, --role or --read",
            evidence={"name": name, "nbytes": nbytes},
        )
    return f"|S{width}", b"".join(value.ljust(width, b"\0") for value in values)
