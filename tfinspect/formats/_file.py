"""Opening files: regular files only, mapped read-only, never blocking on a pipe or a device."""

from __future__ import annotations

import hashlib
import mmap
import os
import stat
from pathlib import Path

from tfinspect.errors import FileMissingError, InputError, UnknownFormatError

_BLOCK_NBYTES = 1 << 20


class MappedFile:
    """A file opened once. `view` is its bytes, mapped; nothing is read before it is touched.

    Attributes:
        path: as the caller wrote it.
        size: bytes when it was opened.
        view: the whole file.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = os.fspath(path)
        descriptor = open_regular(self.path)
        try:
            status = os.fstat(descriptor)
            self.size = status.st_size
            self._stamp = (status.st_ino, status.st_size, status.st_mtime_ns)
            if self.size == 0:
                raise UnknownFormatError(
                    f"{self.path} is empty (0 bytes)", hint="copy or download it again", evidence={"path": self.path}
                )
            self.view = memoryview(mmap.mmap(descriptor, 0, access=mmap.ACCESS_READ))
        finally:
            os.close(descriptor)

    def sha256(self) -> str:
        """Return the hex digest of the file.

        Raises:
            InputError: the file has changed since it was opened.
        """
        digest = hashlib.sha256()
        descriptor = open_regular(self.path)
        with os.fdopen(descriptor, "rb", buffering=0) as file:
            status = os.fstat(descriptor)
            if (status.st_ino, status.st_size, status.st_mtime_ns) != self._stamp:
                raise InputError(f"{self.path} changed while it was being read", evidence={"path": self.path})
            while block := file.read(_BLOCK_NBYTES):
                digest.update(block)
        return digest.hexdigest()


def open_regular(path: str) -> int:
    """Open a regular file for reading and return its descriptor.

    Raises:
        FileMissingError: nothing is there, it is no regular file, or it may not be read.
    """
    flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK  # O_NONBLOCK: a FIFO must not hang us
    try:
        descriptor = os.open(path, flags)
    except FileNotFoundError:
        beside = sorted(p.name for p in Path(path).parent.glob("*"))[:200] if Path(path).parent.is_dir() else []
        raise FileMissingError(
            f"{path} does not exist", hint=_near_file(path, beside), evidence={"path": path}
        ) from None
    except OSError as error:
        raise FileMissingError(f"{path} cannot be opened: {_reason(error)}", evidence={"path": path}) from None
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        kind = "a folder" if stat.S_ISDIR(os.fstat(descriptor).st_mode) else "not a regular file"
        os.close(descriptor)
        raise FileMissingError(f"{path} is {kind}", evidence={"path": path})
    return descriptor


def head_and_tail(path: str, count: int = 16) -> tuple[bytes, bytes, int]:
    """Return the first and last `count` bytes of a file, and its size in bytes.

    Raises:
        FileMissingError: as `open_regular`.
    """
    descriptor = open_regular(path)
    try:
        size = os.fstat(descriptor).st_size
        return os.pread(descriptor, count, 0), os.pread(descriptor, count, max(0, size - count)), size
    finally:
        os.close(descriptor)


def _near_file(path: str, beside: list[str]) -> str | None:
    import difflib

    near = difflib.get_close_matches(Path(path).name, beside, n=3, cutoff=0.6)
    return "beside it: " + ", ".join(near) if near else None


def _reason(error: OSError) -> str:
    return (error.strerror or str(error)).lower()
