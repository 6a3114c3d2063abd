"""Features that were computed before, by the content of the image: written as they come, kept whatever happens.

    KEY/1764081300-4711-0.rows
        header    8 bytes "TFIROWS2", width of a row in elements as u32, 4 bytes zero; little-endian
        records   16 bytes of the SHA-256 of the image file, CRC-32 of the features as u32, then the features as float32

A folder belongs to one trunk, recipe and runtime. Each run appends to a file of its own, so that runs do not wait for
each other, and a record counts only if it is whole: what a killed run, a full disk or a power failure left of the last
one is passed over. Nothing is ever rewritten.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import stat
import struct
import time
import zlib
from collections import OrderedDict
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Self

from tfinspect.errors import OutputError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from types import TracebackType

    import numpy as np
    import numpy.typing as npt

    Rows = npt.NDArray[np.float32]

SUFFIX: Final = ".rows"
KEY_NBYTES: Final = 16
_HEADER: Final = struct.Struct("<8sII")
_MAGIC: Final = b"TFIROWS2"
_CHECK_NBYTES: Final = 4
_ELEMENT_NBYTES: Final = 4
_MAX_WIDTH: Final = 1 << 26
_CHUNK_NBYTES: Final = 4 << 20
_OPEN_FILES: Final = 16
_NUMBER_BITS: Final = 40  # of a record in its file; the file's own number stands above


def content_key(data: bytes) -> bytes:
    """Return what an image file is known by: its content, not its name."""
    return hashlib.sha256(data).digest()[:KEY_NBYTES]  # processors have instructions for it


class FeatureCache:
    """Rows of features by content key, in a folder.

    Attributes:
        width: elements of a row; 0 while there is none.
    """

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        self.folder = Path(folder)
        self.width = 0
        self._paths: list[Path] = []
        self._open: OrderedDict[int, int] = OrderedDict()  # descriptors, by number of the file
        self._places: dict[bytes, int] = {}
        self._own = -1  # descriptor of the file that this run writes
        self._own_number = self._own_count = 0
        with self._output_errors():
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        for path in sorted(self.folder.glob(f"*{SUFFIX}")):
            self._index(path)

    def __enter__(self) -> Self:
        """Use it as a context manager, so that its files are closed."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the files."""
        self.close()

    def close(self) -> None:
        """Close the files."""
        for descriptor in self._open.values():
            os.close(descriptor)
        self._open.clear()
        self._paths.clear()
        self._places.clear()
        if self._own >= 0:
            os.close(self._own)
        self._own = -1

    def __len__(self) -> int:
        return len(self._places)

    def __contains__(self, key: object) -> bool:
        return key in self._places

    def keys(self) -> Iterable[bytes]:
        """Return the content keys of all rows."""
        return self._places.keys()

    def add(self, keys: Sequence[bytes], rows: Rows) -> None:
        """Keep rows; when this returns, a kill of this process cannot lose them.

        Args:
            keys: content keys.
            rows: [number of keys, width].

        Raises:
            OutputError: they cannot be written.
        """
        import numpy as np

        width = rows.shape[1]
        if self.width not in (0, width):
            raise OutputError(
                f"{self.folder} holds rows of {self.width:,} features, not of {width:,}",
                hint="another folder: --cache DIR, or --no-cache",
                evidence={"path": str(self.folder), "width": self.width, "given": width},
            )
        self.width = width
        payload = np.ascontiguousarray(rows, "<f4")
        pieces = []
        for key, row in zip(keys, payload, strict=True):
            data = row.tobytes()
            pieces.append(key + zlib.crc32(data).to_bytes(_CHECK_NBYTES, "little") + data)
        with self._output_errors():
            if self._own < 0:
                self._start()
            _write(self._own, b"".join(pieces))
        for key in keys:
            self._places.setdefault(key, self._own_number << _NUMBER_BITS | self._own_count)
            self._own_count += 1

    def rows(self, keys: Sequence[bytes]) -> Iterator[Rows]:
        """Yield the rows of keys that are there, in that order, in pieces of a few megabytes.

        Raises:
            KeyError: one is not there.
            OutputError: the files cannot be read any more.
        """
        import numpy as np

        size = _record_nbytes(self.width)
        step = max(1, _CHUNK_NBYTES // size)
        for start in range(0, len(keys), step):
            part = keys[start : start + step]
            found = np.empty((len(part), self.width), "<f4")
            for i, key in enumerate(part):
                place = self._places[key]
                number = place & ((1 << _NUMBER_BITS) - 1)
                offset = _HEADER.size + number * size + KEY_NBYTES + _CHECK_NBYTES
                with self._output_errors():
                    descriptor = self._descriptor(place >> _NUMBER_BITS)
                    data = os.pread(descriptor, size - KEY_NBYTES - _CHECK_NBYTES, offset)
                if len(data) != self.width * _ELEMENT_NBYTES:
                    raise OutputError(f"{self.folder} was cut short while it was read", evidence=self._evidence())
                found[i] = np.frombuffer(data, "<f4")
            yield found.astype(np.float32, copy=False)

    def _evidence(self) -> dict[str, object]:
        return {"path": str(self.folder)}

    def _start(self) -> None:
        name = f"{int(time.time())}-{os.getpid()}"
        for number in range(1000):
            path = self.folder / f"{name}-{number}{SUFFIX}"
            with contextlib.suppress(FileExistsError):
                flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW
                self._own = os.open(path, flags, 0o600)
                self._own_number = len(self._paths)
                self._paths.append(path)
                _write(self._own, _HEADER.pack(_MAGIC, self.width, 0))
                return
        raise FileExistsError(17, "no name is free", str(self.folder))

    def _index(self, path: Path) -> None:
        """Take in the whole records of a file that another run wrote, or is writing."""
        number = len(self._paths)
        # removed meanwhile, somebody else's, no file at all: those images are computed again
        with contextlib.suppress(OSError), os.fdopen(_open(path), "rb") as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                return
            header = file.read(_HEADER.size)
            magic, width, _ = _HEADER.unpack(header) if len(header) == _HEADER.size else (b"", 0, 0)
            if magic != _MAGIC or not 0 < width <= _MAX_WIDTH or self.width not in (0, width):
                return
            self._paths.append(path)
            for count, (key, whole) in enumerate(_records(file, _record_nbytes(width))):
                if whole:
                    self.width = width
                    self._places.setdefault(key, number << _NUMBER_BITS | count)

    def _descriptor(self, number: int) -> int:
        """Open a file for reading; only a few stay open."""
        if number not in self._open:
            if len(self._open) >= _OPEN_FILES:
                os.close(self._open.popitem(last=False)[1])
            self._open[number] = _open(self._paths[number])
        self._open.move_to_end(number)
        return self._open[number]

    @contextlib.contextmanager
    def _output_errors(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            reason = (error.strerror or str(error)).lower()
            raise OutputError(
                f"the cache {self.folder} cannot be written: {reason}",
                hint="another folder: --cache DIR, or --no-cache",
                evidence={**self._evidence(), "errno": error.errno},
            ) from error


def _record_nbytes(width: int) -> int:
    return KEY_NBYTES + _CHECK_NBYTES + width * _ELEMENT_NBYTES


def _open(path: Path) -> int:
    return os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)


def _records(file: Any, size: int) -> Iterator[tuple[bytes, bool]]:  # noqa: ANN401 - a binary file
    """Yield the key of each record, and whether its features are what was written."""
    start = KEY_NBYTES + _CHECK_NBYTES
    step = max(1, _CHUNK_NBYTES // size) * size
    while True:
        data = memoryview(file.read(step))
        for offset in range(0, len(data) - size + 1, size):
            record = data[offset : offset + size]
            check = int.from_bytes(record[KEY_NBYTES:start], "little")
            yield bytes(record[:KEY_NBYTES]), zlib.crc32(record[start:]) == check
        if len(data) < step:
            return


def _write(descriptor: int, data: bytes) -> None:
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(descriptor, rest) :]
