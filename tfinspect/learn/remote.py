"""Folders of photos anywhere: on this machine, or behind an fsspec URL (`s3://bucket/photos`, `zip://photos::a.zip`)."""

from __future__ import annotations

import os
import re
import sys
import time
from pathlib import Path, PurePosixPath
from typing import Any, Final

from tfinspect.errors import (
    FileMissingError,
    InputError,
    LimitError,
    RuntimeFailedError,
    RuntimeUnavailableError,
    UsageError,
)
from tfinspect.learn.images import MAX_NBYTES, ImageFolder, grouped, image_folder, read_image

_URL: Final = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*(::|://)")
_LOCAL: Final = frozenset({"file", "local"})
_FOR_GOOD: Final = (FileNotFoundError, PermissionError, IsADirectoryError, NotADirectoryError)
_PAUSES: Final = (0.5, 2.0, 5.0)  # seconds before a read that the network broke is tried again


def is_url(path: str | os.PathLike[str]) -> bool:
    """Whether a path is fsspec's to open, and not simply a file name."""
    return _URL.match(os.fspath(path)) is not None and not Path(path).is_dir()


class Place:
    """A folder, local or remote, whose files can be listed and read.

    Args:
        path: path or fsspec URL.

    Attributes:
        path: the same; that of a folder on this machine without its `file://`.
        local: whether the files are this machine's own, and others may not see them.
        private: whether only this process sees them, as those of `memory://`.

    Raises:
        UsageError: fsspec knows no such kind of URL.
        RuntimeUnavailableError: fsspec, or its driver for that kind, is not installed.
        FileMissingError: the driver cannot open it.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = os.fspath(path)
        self._files: Any = None
        self._top = ""
        schemes = [part.partition("://")[0] if "://" in part else "" for part in self.path.split("::")]
        self.local = not is_url(path) or schemes[-1] in {"", *_LOCAL}
        self.private = is_url(path) and "memory" in schemes
        if is_url(path):
            self._open()

    def _open(self) -> None:
        protocol, mark, rest = self.path.partition("://")
        if mark and protocol in _LOCAL and "::" not in self.path:
            self.path = rest
            return
        try:
            import fsspec
        except ImportError:
            raise RuntimeUnavailableError(
                f"reading {self.path} needs fsspec, which is not installed",
                hint="pip install 'tfinspect[ray]'",
                evidence={"package": "fsspec"},
            ) from None
        evidence = {"path": self.path}
        try:
            self._files, self._top = fsspec.core.url_to_fs(self.path)
        except ImportError as error:
            raise RuntimeUnavailableError(
                f"{self.path} cannot be opened: {_line(error)}",
                hint=_driver(error),
                evidence=evidence,
            ) from None
        except ValueError as error:
            if "rotocol" in str(error):
                raise UsageError(
                    f"{self.path} is of a kind that fsspec does not know",
                    hint="a folder, or a URL such as s3://bucket/photos, gs://bucket/photos, zip://photos::photos.zip",
                    evidence=evidence,
                ) from None
            raise FileMissingError(f"{self.path} cannot be opened: {_line(error)}", evidence=evidence) from None
        except Exception as error:  # noqa: BLE001 - what drivers raise has no base of its own
            raise FileMissingError(f"{self.path} cannot be opened: {_line(error)}", evidence=evidence) from None

    @property
    def remote(self) -> bool:
        """Whether it takes fsspec to read the files."""
        return self._files is not None

    def folder(self) -> ImageFolder:
        """List the photos; the same names in the same order as `learn.images.image_folder` gives of a copy on disk.

        Raises:
            FileMissingError: there is no such folder, or it cannot be listed.
            UsageError: it has no sub-folder with images, or just one.
        """
        if self._files is None:
            return image_folder(self.path)
        evidence = {"path": self.path}
        try:
            found = self._files.find(self._top)
            there = bool(found) or self._files.isdir(self._top)
        except Exception as error:  # noqa: BLE001 - as above
            if isinstance(error, FileNotFoundError):
                raise FileMissingError(f"{self.path} is not a folder", evidence=evidence) from None
            raise FileMissingError(f"{self.path} cannot be listed: {_line(error)}", evidence=evidence) from None
        top = self._top.rstrip("/")
        inside = dict(_parts(str(path), len(top)) for path in found if str(path) != top)
        if not there or (found and not inside):
            raise FileMissingError(f"{self.path} is not a folder", evidence=evidence)
        names = sorted((name for name in inside if not _escapes(name)), key=_order)
        return grouped(self.path, names, lambda name: inside[name])

    def read(self, path: str) -> bytes:
        """Return the bytes of a file that `folder` listed; a connection that breaks is tried again.

        Raises:
            FileMissingError: it is not there, or may not be read.
            InputError: it is empty.
            LimitError: it is larger than any photo.
            RuntimeFailedError: the place cannot be reached.
        """
        if self._files is None:
            return read_image(path)
        pauses = list(_PAUSES)
        while True:
            try:
                with self._files.open(path, "rb") as file:
                    data: bytes = file.read(MAX_NBYTES + 1)
                break
            except _FOR_GOOD as error:
                reason = (error.strerror or str(error) or type(error).__name__).lower()
                raise FileMissingError(f"{path} cannot be read: {reason}", evidence={"path": path}) from None
            except Exception as error:  # noqa: BLE001 - as above
                if not pauses:
                    raise RuntimeFailedError(
                        f"{path} cannot be read: {_line(error)}",
                        details=[f"tried {len(_PAUSES) + 1} times"],
                        evidence={"path": path},
                    ) from None
                time.sleep(pauses.pop(0))
        if len(data) > MAX_NBYTES:
            raise LimitError(
                f"{path} has more than {MAX_NBYTES:,} bytes; an image of that size is not read", evidence={"path": path}
            )
        if not data:
            raise InputError(f"{path} is empty (0 bytes)", evidence={"path": path})
        return data


def _parts(path: str, top: int) -> tuple[str, str]:
    """Return the name of a file, and what stands before it in its path, which is one object for many files."""
    name = path[top:].lstrip("/")
    return name, sys.intern(path[: len(path) - len(name)])


def _order(name: str) -> list[tuple[bool, str]]:
    """As a walk over folders goes: the classes by name; in each folder first its files, then its folders."""
    parts = PurePosixPath(name).parts
    return [(i < len(parts) - 1, part) for i, part in enumerate(parts)]


def _escapes(name: str) -> bool:
    return ".." in PurePosixPath(name).parts or "\0" in name


def _line(error: Exception) -> str:
    first = (str(error).splitlines() or [""])[0].strip().rstrip(".")
    return first or type(error).__name__


def _driver(error: Exception) -> str:
    """Fsspec's words are "Install s3fs to access S3", and the like."""
    match = re.search(r"[Ii]nstall (?:the )?[`\"']?([a-z0-9_-]+)", str(error))
    return f"pip install {match[1]}" if match else "pip install the fsspec driver that it names"
