"""Reading stretches of a file by position, without mapping it.

The pages of a mapped file count as resident memory once they are touched, so a checkpoint that is larger than memory
is read piece by piece instead. The file is opened for one piece at a time: a checkpoint may have more shards, and a
variable more pieces, than a process may have open files.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from tfinspect.errors import CorruptFileError, InputError
from tfinspect.formats._file import open_regular
from tfinspect.ir.tensors import CHUNK_NBYTES

if TYPE_CHECKING:
    from collections.abc import Iterator

_LFS_POINTER = b"version https://git-lfs.github.com/spec/"


class PreadFile:
    """A regular file, read by position.

    Attributes:
        path: as the caller wrote it.
        size: bytes when it was first opened.
    """

    __slots__ = ("_stamp", "path", "size")

    def __init__(self, path: str) -> None:
        self.path = path
        descriptor = open_regular(path)
        try:
            status = os.fstat(descriptor)
        finally:
            os.close(descriptor)
        self.size = status.st_size
        self._stamp = (status.st_ino, status.st_size, status.st_mtime_ns)

    def pieces(self, start: int, stop: int, nbytes: int = CHUNK_NBYTES) -> Iterator[bytes]:
        """Yield the bytes of [start, stop) in pieces of at most `nbytes`.

        Raises:
            FileMissingError: the file is gone.
            InputError: the file changed since it was first opened, or the disk fails.
        """
        while start < stop:
            descriptor = self._open()
            try:
                piece = self._pread(descriptor, min(nbytes, stop - start), start)
            finally:
                os.close(descriptor)
            start += len(piece)
            yield piece

    def read(self, start: int, stop: int) -> bytes:
        """Return the bytes of [start, stop).

        Raises:
            FileMissingError: the file is gone.
            InputError: the file changed since it was first opened, or the disk fails.
        """
        return b"".join(self.pieces(start, stop))

    def check_not_pointer(self) -> None:
        """Refuse what Git leaves in place of a large file that was not fetched.

        Raises:
            InputError: the file is a Git LFS pointer.
        """
        if self.read(0, min(self.size, len(_LFS_POINTER))) == _LFS_POINTER:
            raise InputError(
                f"{self.path} is a Git LFS pointer ({self.size:,} bytes) in place of the file itself",
                hint="git lfs pull",
                evidence={"path": self.path, "size": self.size},
            )

    def _open(self) -> int:
        descriptor = open_regular(self.path)
        status = os.fstat(descriptor)
        if (status.st_ino, status.st_size, status.st_mtime_ns) != self._stamp:
            os.close(descriptor)
            raise InputError(f"{self.path} changed while it was being read", evidence={"path": self.path})
        return descriptor

    def _pread(self, descriptor: int, count: int, position: int) -> bytes:
        piece = b""
        while len(piece) < count:  # a read may give less than was asked for
            try:
                more = os.pread(descriptor, count - len(piece), position + len(piece))
            except OSError as error:
                reason = (error.strerror or str(error)).lower()
                raise InputError(
                    f"{self.path} cannot be read at byte {position:,}: {reason}", evidence={"path": self.path}
                ) from error
            if not more:
                missing = count - len(piece)
                raise CorruptFileError(
                    self.path, position + len(piece), f"{missing:,} more bytes", "the end of the file"
                )
            piece = piece + more if piece else more
        return piece
