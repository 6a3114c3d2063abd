"""Opening files: regular files only, mapped read-only, never blocking on a pipe or a device."""

from __future__ import annotations

import errno
import hashlib
import mmap
import os
import shlex
import stat
from pathlib import Path

from tfinspect.errors import FileMissingError, InputError, UnknownFormatError

_BLOCK_NBYTES = 1 << 20


class MappedFile:
    """A file opened once. `view` is its bytes, mapped; nothing is read before it is touched.

    Args:
        path: the file, as the caller wrote it; with `within`, its name inside that folder, with `/` between parts.
        within: the model's folder, which the file must not lead out of.

    Attributes:
        path: the file's path.
        size: bytes when it was opened.
        view: the whole file.

    Raises:
        FileMissingError: nothing is there, it is no regular file, or it may not be read.
        UnknownFormatError: it is empty.
        InputError: it lies outside `within`.
    """

    def __init__(self, path: str | os.PathLike[str], *, within: str | None = None) -> None:
        name = os.fspath(path)
        self.path = name if within is None else str(Path(within, name))
        self._name, self._within = name, within
        descriptor = self._open()
        try:
            status = os.fstat(descriptor)
            self.size = status.st_size
            self._stamp = (status.st_ino, status.st_size, status.st_mtime_ns)
            if self.size == 0:
                raise UnknownFormatError(
                    f"{self.path} is empty (0 bytes)", hint="copy or download it again", evidence={"path": self.path}
                )
            try:
                self.view = memoryview(mmap.mmap(descriptor, 0, access=mmap.ACCESS_READ))
            except (OSError, ValueError, OverflowError) as error:
                raise FileMissingError(
                    f"{self.path} cannot be mapped into memory: {error}", evidence={"path": self.path}
                ) from None
        finally:
            os.close(descriptor)

    def _open(self) -> int:
        return open_regular(self._name) if self._within is None else open_beneath(self._within, self._name)

    def sha256(self) -> str:
        """Return the hex digest of the file.

        Raises:
            InputError: the file has changed since it was opened.
        """
        digest = hashlib.sha256()
        descriptor = self._open()
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
        if os.path.islink(path):  # noqa: PTH114 - Path.is_symlink raises where a parent may not be searched
            target = os.readlink(path)  # noqa: PTH115 - as above
            raise FileMissingError(
                f"{path} is a link to {target}, which does not exist", evidence={"path": path, "target": target}
            ) from None
        raise FileMissingError(f"{path} does not exist", hint=_near_file(path), evidence={"path": path}) from None
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        raise FileMissingError(f"{path} cannot be opened: {_reason(error)}", evidence={"path": path}) from None
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        kind = "a folder" if stat.S_ISDIR(os.fstat(descriptor).st_mode) else "not a regular file"
        os.close(descriptor)
        raise FileMissingError(f"{path} is {kind}", evidence={"path": path})
    return descriptor


def open_beneath(folder: str, name: str) -> int:
    """Open a regular file inside a model's folder and return its descriptor.

    Each part of the name is opened from the folder before it and no symbolic link is followed, so neither `..` nor a
    link can lead out, and nothing can be swapped between looking and opening. The folder itself may be a link: its
    path was typed by the user.

    Raises:
        InputError: the name is absolute, has `..` in it, or passes through a symbolic link.
        FileMissingError: nothing is there, it is no regular file, or it may not be read.
    """
    shown = f"{folder}/{name}"
    parts = name.split("/")
    if not name or any(part in {"", ".", ".."} for part in parts) or "\0" in name or "\\" in name:
        raise InputError(f"`{name}` does not name a file inside {folder}", evidence={"folder": folder, "name": name})
    flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
    try:
        descriptor = os.open(folder, os.O_RDONLY | os.O_CLOEXEC | os.O_DIRECTORY)
        for depth, part in enumerate(parts, 1):
            is_last = depth == len(parts)
            parent = descriptor
            try:
                descriptor = os.open(part, flags if is_last else flags | os.O_DIRECTORY, dir_fd=parent)
            finally:
                os.close(parent)
    except OSError as error:
        if error.errno in {errno.ELOOP, errno.ENOTDIR} and _has_link(folder, parts):
            raise InputError(
                f"{shown} is reached through a symbolic link, which could lead out of the model's folder",
                hint=f"copy the folder with what the links point to: cp -rL {shlex.quote(folder)} COPY",
                evidence={"path": shown},
            ) from None
        if error.errno == errno.ENOENT:
            raise FileMissingError(f"{shown} does not exist", evidence={"path": shown}) from None
        raise FileMissingError(f"{shown} cannot be opened: {_reason(error)}", evidence={"path": shown}) from None
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise FileMissingError(f"{shown} is not a regular file", evidence={"path": shown})
    return descriptor


def _has_link(folder: str, parts: list[str]) -> bool:
    return any(Path(folder, *parts[:count]).is_symlink() for count in range(1, len(parts) + 1))


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


def _near_file(path: str) -> str | None:
    import difflib

    try:
        beside = sorted(os.listdir(Path(path).parent))  # noqa: PTH208 - names are all that is needed
    except OSError:
        return None
    near = difflib.get_close_matches(Path(path).name, beside[:2000], n=3, cutoff=0.6)
    return "beside it: " + ", ".join(near) if near else None


def _reason(error: OSError | ValueError) -> str:
    return (getattr(error, "strerror", None) or str(error)).lower()
