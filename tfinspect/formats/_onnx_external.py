"""Weights of an ONNX model in files beside it, which must not lead out of its folder."""

from __future__ import annotations

import os
import re
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, Final

from tfinspect.errors import CorruptFileError, FileMissingError, InputError, TfinspectError
from tfinspect.formats._file import MappedFile, open_beneath
from tfinspect.ir.tensors import CHUNK_NBYTES

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_SIZE: Final = re.compile(r"[0-9]{1,20}")
_IN_MEMORY: Final = "_ORT_MEM_ADDR_"
_STRING: Final = 8


class ExternalFiles:
    """The files that the weights of one model stand in.

    Args:
        path: the model.
    """

    def __init__(self, path: str) -> None:
        self._path = path
        self._folder = str(Path(path).parent)
        self._mapped: dict[str, MappedFile] = {}
        self._sizes: dict[str, int | TfinspectError] = {}

    @property
    def paths(self) -> tuple[str, ...]:
        """Files in the model's folder that `problem` was asked about, those that are missing included."""
        return tuple(
            str(Path(self._folder, name))
            for name, size in self._sizes.items()
            if isinstance(size, (int, FileMissingError))
        )

    def data(self, message: Any, nbytes: int) -> bytes | memoryview:  # noqa: ANN401 - made at run time
        """Return the bytes of a weight.

        Raises:
            InputError: they are not there, not as many as the weight takes, or outside the model's folder.
        """
        place = _Place(self._path, message, nbytes)
        if nbytes == place.length == 0:
            return b""
        file = self._mapped.get(place.name)
        if file is None:
            file = self._mapped[place.name] = MappedFile(place.name, within=self._folder)
        place.check(file.size)
        return file.view[place.start : place.start + nbytes]

    def chunks(self, message: Any, nbytes: int) -> Iterator[bytes]:  # noqa: ANN401 - made at run time
        """Yield the bytes of a weight piece by piece, without mapping the file.

        Raises:
            InputError: as `data`.
        """
        place = _Place(self._path, message, nbytes)
        if nbytes == place.length == 0:
            return
        descriptor = open_beneath(self._folder, place.name)
        try:
            place.check(os.fstat(descriptor).st_size)
            position, end = place.start, place.start + nbytes
            while position < end:
                piece = os.pread(descriptor, min(CHUNK_NBYTES, end - position), position)
                if not piece:
                    raise CorruptFileError(
                        str(Path(self._folder, place.name)), position, f"{end - position:,} more bytes", "its end"
                    )
                position += len(piece)
                yield piece
        finally:
            os.close(descriptor)

    def problem(self, message: Any, nbytes: int | None) -> str:  # noqa: ANN401 - made at run time
        """Return why the place a weight is said to stand at is refused, empty where it is not.

        The file is looked at, but not read; that it is missing is no such reason.
        """
        try:
            place = _Place(self._path, message, nbytes)
            size = self._size(place.name)
            if isinstance(size, int) and not (nbytes == place.length == 0):
                place.check(size)
        except TfinspectError as error:
            return error.message.removeprefix(f"{self._path}: ")
        return "" if isinstance(size, (int, FileMissingError)) else size.message

    def _size(self, name: str) -> int | TfinspectError:
        found = self._sizes.get(name)
        if found is None:
            try:
                descriptor = open_beneath(self._folder, name)
            except TfinspectError as error:
                found = error
            else:
                found = os.fstat(descriptor).st_size
                os.close(descriptor)
            self._sizes[name] = found
        return found


class _Place:
    """Where the bytes of a weight are said to stand.

    Raises:
        InputError: it is outside the model's folder, or no place at all.
    """

    def __init__(self, path: str, message: Any, nbytes: int | None) -> None:  # noqa: ANN401 - made at run time
        what = f"{path}: `{message.name}`"
        entries = {entry.key: entry.value for entry in message.external_data}
        location = entries.get("location", "")
        self._what, self._nbytes = what, nbytes
        self._evidence = {"path": path, "name": message.name, "location": location}
        if message.data_type == _STRING:
            raise InputError(
                f"{what} keeps strings in another file, which ONNX does not allow", evidence=self._evidence
            )
        if _IN_MEMORY in location:
            raise InputError(
                f"{what} is said to stand in the memory of the program that loads it, at `{location}`",
                evidence=self._evidence,
            )
        name = str(PurePosixPath(location))  # "./weights.bin" is the same file
        if not location or name.startswith("/") or ".." in name.split("/"):
            raise InputError(f"{what} points out of the model's folder, at `{location}`", evidence=self._evidence)
        self.name = name
        self.start = _number(what, entries, "offset", 0)
        self.length = _number(what, entries, "length", nbytes or 0)

    def check(self, size: int) -> None:
        """Refuse a place that a file of that size does not have.

        Raises:
            InputError: the weight does not lie in the file, or takes another number of bytes.
        """
        nbytes = self.length if self._nbytes is None else self._nbytes
        if self.length != nbytes or self.start + nbytes > size:
            location = self._evidence["location"]
            raise InputError(
                f"{self._what} takes {nbytes:,} bytes, but is said to be {self.length:,} at byte {self.start:,} of "
                f"{location}, which has {size:,}",
                evidence={
                    **self._evidence, "offset": self.start, "length": self.length, "nbytes": nbytes, "size": size
                },
            )  # fmt: skip


def _number(what: str, entries: Mapping[str, str], key: str, default: int) -> int:
    text = entries.get(key, str(default))
    if not _SIZE.fullmatch(text):
        raise InputError(f"{what} has the external {key} `{text[:40]}`, which is no size", evidence={key: text[:200]})
    return int(text)
