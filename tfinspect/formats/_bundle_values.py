"""The values of a tensor bundle: where in which shard the bytes of a tensor are, read and checked when asked for."""

from __future__ import annotations

import glob
import itertools
import math
import os
import re
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from crc32c import crc32c

from tfinspect.errors import (
    CorruptFileError,
    FileMissingError,
    IncompleteCheckpointError,
    LimitError,
    UnsupportedFeatureError,
)
from tfinspect.formats._pread import PreadFile
from tfinspect.formats._schema import message_class
from tfinspect.formats._table import mask
from tfinspect.formats._varints import leading_varints
from tfinspect.ir.dtypes import DType
from tfinspect.ir.tensors import CHUNK_NBYTES

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy as np
    import numpy.typing as npt

_CRC_NBYTES = 4
_MAX_LISTED = 20
_MAX_SHORT = (1 << 32) - 1  # of a string: its length is summed as four bytes


def shard_files(prefix: str, num_shards: int) -> tuple[str, ...]:
    """Name the shards; a merged checkpoint may number its files by another total than its header has."""
    place = Path(prefix)
    pattern = re.compile(re.escape(place.name) + r"\.data-(\d{5,})-of-\d{5,}")
    present: dict[int, list[str]] = {}
    if place.parent.is_dir():
        for name in os.listdir(place.parent):  # noqa: PTH208 - names are all that is needed
            if match := pattern.fullmatch(name):
                present.setdefault(int(match[1]), []).append(name)
    files = []
    for number in range(num_shards):
        name = f"{place.name}.data-{number:05d}-of-{num_shards:05d}"
        found = present.get(number, [])
        files.append(str(place.with_name(found[0] if len(found) == 1 and name not in found else name)))
    return tuple(files)


class Stored(NamedTuple):
    """A decoded entry of the index, the key it stands under, and the byte of the file it stands at.

    `wire` is the entry as it stands there: what a listing does not need is decoded when it is asked for.
    """

    dtype: DType
    shape: tuple[int, ...]
    num_slices: int
    nbytes: int
    wire: bytes
    key: bytes
    at: int

    @property
    def end(self) -> int:
        """The byte of the shard after its last."""
        return int(self.message.offset + self.message.size)

    @property
    def message(self) -> Any:  # noqa: ANN401 - made at run time
        return message_class("BundleEntryLazyShape").FromString(self.wire)


class Shards:
    """The data files of a checkpoint.

    Args:
        prefix: what names the checkpoint.
        paths: of all shards, those missing included.
        big_endian: byte order of the values.
    """

    __slots__ = ("_opened", "big_endian", "paths", "prefix")

    def __init__(self, prefix: str, paths: tuple[str, ...], *, big_endian: bool) -> None:
        self.prefix = prefix
        self.paths = paths
        self.big_endian = big_endian
        self._opened: dict[int, PreadFile] = {}

    def file(self, number: int) -> PreadFile:
        """Return a shard; one that changes after it was asked for the first time is refused when it is read.

        Raises:
            FileMissingError: it is not there, or cannot be opened.
        """
        file = self._opened.get(number)
        if file is None:
            file = self._opened[number] = PreadFile(self.paths[number])
        return file


class Source:
    """The bytes of one tensor in its shard; it reads them, and checks them, as often as it is asked."""

    __slots__ = ("_entry", "_name", "_shards")

    def __init__(self, shards: Shards, name: str, entry: Stored) -> None:
        self._shards = shards
        self._name = name
        self._entry = entry

    def chunks(self, nbytes: int = CHUNK_NBYTES) -> Iterator[bytes]:
        """Yield the elements as little-endian bytes; the checksum is compared after the last piece."""
        crc = 0
        width = _component_nbytes(self._entry.dtype)
        swap = self._shards.big_endian and width > 1
        message = self._entry.message
        for piece in self._pieces(message, nbytes):
            crc = crc32c(piece, crc)
            yield _swapped(piece, width) if swap else piece
        self._check(message, crc)

    def array(self) -> npt.NDArray[Any]:
        import numpy as np

        self._shard(self._entry.message)  # a size is believed only once the file is known to be that large
        flat = _empty(self._entry.nbytes, self._name)
        position = 0
        for piece in self.chunks():
            flat[position : position + len(piece)] = np.frombuffer(piece, np.uint8)
            position += len(piece)
        return flat.view(self._entry.dtype.numpy).reshape(self._entry.shape)

    def check_shard(self) -> None:
        """Open the shard, and see that it is as long as this tensor needs.

        Raises:
            InputError: it is missing, too short, or something else.
        """
        self._shard(self._entry.message)

    def strings(self) -> npt.NDArray[Any]:
        import numpy as np

        texts = self.texts()
        array: npt.NDArray[Any] = np.empty(len(texts), object)
        array[:] = texts
        return array.reshape(self._entry.shape)

    def texts(self) -> list[bytes]:
        """Decode string lengths, their checksum, and the strings.

        The checksum runs over the lengths as 4-byte numbers (8 bytes for those that need them), not as the varints that
        stand in the file; over the checksum of the lengths; and over the strings.
        """
        import numpy as np

        message = self._entry.message
        size = math.prod(self._entry.shape)
        if size + _CRC_NBYTES > message.size:
            raise self._corrupt(message, 0, f"lengths of {size:,} strings", f"{message.size:,} bytes in all")
        payload = b"".join(self._pieces(message))
        order: Literal["little", "big"] = "big" if self._shards.big_endian else "little"
        found = leading_varints(np.frombuffer(payload, np.uint8), size)
        if found is None:
            raise self._corrupt(message, 0, f"lengths of {size:,} strings", "bytes that are not")
        lengths, position = found
        start = position + _CRC_NBYTES
        stored = payload[position:start]
        crc = crc32c(_as_summed(lengths, order))
        if stored != mask(crc).to_bytes(_CRC_NBYTES, order):
            expected = f"checksum {mask(crc):08x} of the string lengths"
            raise self._corrupt(message, position, expected, stored.hex() or "nothing")
        ends = list(itertools.accumulate(lengths.tolist(), initial=start))  # Python's numbers do not overflow
        if ends[-1] != len(payload):
            raise self._corrupt(message, start, f"{ends[-1] - start:,} bytes of strings", f"{len(payload) - start:,}")
        self._check(message, crc32c(memoryview(payload)[start:], crc32c(stored, crc)))
        return [payload[begin:end] for begin, end in itertools.pairwise(ends)]

    def unreadable(self) -> npt.NDArray[Any]:
        dtype = self._entry.dtype
        raise UnsupportedFeatureError(
            f"`{self._name}` of {self._shards.prefix} holds {dtype} values, which this program does not read",
            evidence={"name": self._name, "dtype": str(dtype)},
        )

    def _shard(self, message: Any) -> PreadFile:  # noqa: ANN401 - made at run time
        path = self._shards.paths[message.shard_id]
        try:
            file = self._shards.file(message.shard_id)
        except FileMissingError:
            if os.path.lexists(path):
                raise
            raise self._missing(path) from None
        end = message.offset + message.size
        if end > file.size:
            file.check_not_pointer()
            raise CorruptFileError(
                path,
                file.size,
                f"`{self._name}` in bytes {message.offset:,} to {end:,}",
                "the end of the file",
                structure=f"tensor `{self._name}`",
                hint="the file may have been cut short: copy or download it again",
            )
        return file

    def _missing(self, path: str) -> IncompleteCheckpointError:
        prefix = self._shards.prefix
        beside = sorted(p.name for p in Path(path).parent.glob(f"{glob.escape(Path(prefix).name)}*"))
        return IncompleteCheckpointError(
            f"{path} is missing, and the value of `{self._name}` is in it",
            details=[f"beside it: {name}" for name in beside[:_MAX_LISTED]],
            hint=f"tfinspect vars {shlex.quote(prefix)}  # lists the variables without it",
            evidence={"missing": path, "variable": self._name, "beside": beside[:_MAX_LISTED]},
        )

    def _pieces(self, message: Any, nbytes: int = CHUNK_NBYTES) -> Iterator[bytes]:  # noqa: ANN401
        return self._shard(message).pieces(message.offset, message.offset + message.size, nbytes)

    def _check(self, message: Any, crc: int) -> None:  # noqa: ANN401
        if mask(crc) != message.crc32c:
            raise self._corrupt(
                message, 0, f"{message.size:,} bytes with checksum {message.crc32c:08x}", f"checksum {mask(crc):08x}"
            )

    def _corrupt(self, message: Any, position: int, expected: str, found: str) -> CorruptFileError:  # noqa: ANN401
        path = self._shards.paths[message.shard_id]
        return CorruptFileError(path, message.offset + position, expected, found, structure=f"tensor `{self._name}`")


def _as_summed(lengths: npt.NDArray[np.uint64], order: Literal["little", "big"]) -> bytes:
    """Return string lengths as their checksum is made of them."""
    if not lengths.size or int(lengths.max()) <= _MAX_SHORT:
        return lengths.astype("<u4" if order == "little" else ">u4").tobytes()
    numbers = (int(n) for n in lengths)
    return b"".join(n.to_bytes(_CRC_NBYTES if n <= _MAX_SHORT else 2 * _CRC_NBYTES, order) for n in numbers)


def _component_nbytes(dtype: DType) -> int:
    """Bytes of the numbers that byte order applies to: a complex element is two of them."""
    return dtype.itemsize // 2 if dtype in (DType.COMPLEX64, DType.COMPLEX128) else dtype.itemsize


def _swapped(piece: bytes, width: int) -> bytes:
    import numpy as np

    return np.frombuffer(piece, f"u{width}").byteswap().tobytes()


def _empty(size: int, name: str) -> npt.NDArray[Any]:
    import numpy as np

    try:
        return np.empty(size, np.uint8)
    except MemoryError:
        raise LimitError(
            f"`{name}` takes {size:,} bytes, which is more memory than there is", evidence={"nbytes": size}
        ) from None
