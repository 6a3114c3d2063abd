"""Arrays of NumPy's `.npz` archives, read under checks; nothing is ever unpickled."""

from __future__ import annotations

import io
import json
import lzma
import math
import os
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path
from tokenize import TokenError
from typing import IO, TYPE_CHECKING, Any, Final

from tfinspect.errors import CorruptFileError, InputError, LimitError
from tfinspect.formats import _atomic
from tfinspect.formats._file import open_regular

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    import numpy.typing as npt


@dataclass(frozen=True, slots=True)
class Pieces:
    """An array that is never in memory as a whole: parts of its first dimension, one after the other."""

    shape: tuple[int, ...]
    dtype: str
    parts: Iterable[npt.NDArray[Any]]

    @property
    def nbytes(self) -> int:
        """Bytes of its elements."""
        import numpy as np

        return math.prod(self.shape) * np.dtype(self.dtype).itemsize


_EPOCH: Final = (1980, 1, 1, 0, 0, 0)  # the first day a zip archive knows
_MAX_RATIO = 1000
_MAX_HEADER_NBYTES = 1 << 16  # NumPy refuses longer ones
# what NumPy lets through of reading a header as Python's words for a dictionary
_HEADER_ERRORS: Final = (ValueError, TypeError, SyntaxError, TokenError, MemoryError, RecursionError, EOFError)


def read_arrays(path: str, *, max_nbytes: int) -> dict[str, npt.NDArray[Any]]:
    """Read every array of an archive, by name.

    Args:
        path: the archive.
        max_nbytes: bytes of all arrays; an archive that unpacks to more is refused.

    Raises:
        CorruptFileError: the archive is damaged.
        InputError: an array is pickled, or its header does not fit its bytes; file and array are named.
        LimitError: the archive unpacks to more than `max_nbytes`, or to far more than its size.
    """
    with os.fdopen(open_regular(path), "rb") as file:
        size = os.fstat(file.fileno()).st_size
        try:
            with zipfile.ZipFile(file) as archive:
                members = [info for info in archive.infolist() if info.filename.endswith(".npy")]
                total = sum(info.file_size for info in archive.infolist())
                if total > max_nbytes or total > max(_MAX_RATIO * size, 1 << 20):
                    raise LimitError(
                        f"{path} has {size:,} bytes and would unpack to {total:,}",
                        evidence={"path": path, "nbytes": size, "unpacked": total},
                    )
                arrays: dict[str, npt.NDArray[Any]] = {}
                for info in members:
                    name = info.filename.removesuffix(".npy")
                    if name in arrays:
                        raise InputError(f"{path} holds `{name}` twice", evidence={"path": path, "array": name})
                    with archive.open(info) as member:
                        arrays[name] = _array(path, name, member, info.file_size)
        except (
            zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, OSError, NotImplementedError, RuntimeError
        ) as error:  # fmt: skip
            words = str(error).lower() or "damage"
            raise CorruptFileError(path, 0, "a zip archive of arrays", words, structure="zip") from None
        except (ValueError, OverflowError) as error:
            raise InputError(f"{path} is no archive of arrays: {_line(error)}", evidence={"path": path}) from None
    return arrays


def _line(error: Exception) -> str:
    first = (str(error).splitlines() or [""])[0].lower()
    return first or type(error).__name__


def _array(path: str, name: str, member: IO[bytes], nbytes: int) -> npt.NDArray[Any]:
    """Read one array; what its header declares is compared with its size before memory is taken for it."""
    import numpy as np

    what, evidence = f"{path}: `{name}`", {"path": path, "array": name}
    header = io.BytesIO(member.read(_MAX_HEADER_NBYTES))
    try:
        version = np.lib.format.read_magic(header)
        read = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}.get(version)
        if read is None:
            raise InputError(f"{what} is of version {version[0]}.{version[1]} of the .npy format", evidence=evidence)
        shape, fortran, dtype = read(header)
    except _HEADER_ERRORS as error:
        raise InputError(f"{what} is no array: {_line(error)}", evidence=evidence) from None
    if dtype.hasobject:
        raise InputError(
            f"{what} holds pickled Python objects, and reading those would run code from the file", evidence=evidence
        )
    wanted, found = math.prod(shape) * dtype.itemsize, nbytes - header.tell()
    if min(shape, default=0) < 0 or wanted != found:
        raise InputError(
            f"{what} is {dtype} of shape {list(shape)}, {wanted:,} bytes, but has {found:,}",
            evidence={**evidence, "shape": list(shape), "expected": wanted, "found": found},
        )
    data = header.read() + member.read()
    if len(data) != found:
        raise EOFError(f"`{name}` is cut short")
    array: npt.NDArray[Any] = np.frombuffer(data, dtype) if data else np.empty(0, dtype)
    return array.reshape(shape, order="F" if fortran else "C")


def read_json(path: str, arrays: Mapping[str, npt.NDArray[Any]], key: str) -> dict[str, Any]:
    """Return the JSON object that an array holds as text; empty where there is no such array.

    Raises:
        InputError: it is no JSON object.
    """
    found = arrays.get(key)
    if found is None:
        return {}
    try:
        content = json.loads(str(found.reshape(-1)[0]))
    except (ValueError, IndexError, RecursionError):
        content = None
    if not isinstance(content, dict):
        raise InputError(
            f"{path}: `{key}` is not the JSON object that it should be", evidence={"path": path, "array": key}
        )
    return content


def write_arrays(
    path: str | os.PathLike[str], arrays: Mapping[str, npt.NDArray[Any] | Pieces], *, force: bool = False
) -> int:
    """Write an archive, whole or not at all, and return its size in bytes; the same arrays give the same bytes.

    Raises:
        OutputExistsError: the file exists and `force` is not set.
        OutputError: it cannot be written; nothing is left behind.
    """
    target = Path(path)
    _atomic.ensure_absent(target, force=force)
    with _atomic.staged(target) as temporary, _atomic.output_errors(target):
        with temporary.open("xb") as file:
            dump_arrays(file, arrays)
        _atomic.publish(temporary, target, force=force)
    return target.stat().st_size


def _write_pieces(file: IO[bytes], array: Pieces) -> None:
    import numpy as np

    dtype = np.dtype(array.dtype)
    header = {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False, "shape": array.shape}
    np.lib.format.write_array_header_1_0(file, header)
    for part in array.parts:
        file.write(np.ascontiguousarray(part, dtype).data)


def dump_arrays(out: IO[bytes], arrays: Mapping[str, npt.NDArray[Any] | Pieces]) -> None:
    """Write an archive into an open file; the same arrays give the same bytes."""
    import numpy as np

    with zipfile.ZipFile(out, "w", allowZip64=True) as archive:
        for name, array in arrays.items():
            member = zipfile.ZipInfo(f"{name}.npy", _EPOCH)
            member.file_size = array.nbytes + _MAX_HEADER_NBYTES  # so that zipfile knows if it needs 64 bits
            with archive.open(member, "w") as file:
                if isinstance(array, Pieces):
                    _write_pieces(file, array)
                else:
                    np.lib.format.write_array(file, np.asarray(array), allow_pickle=False)
