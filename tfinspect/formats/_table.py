"""The sorted string table: the container of V1 checkpoint files and of V2 `.index` files.

A table is a run of blocks and a footer. A block is its contents, a byte that says how they are compressed, and a masked
crc32c of both; the footer says where the index block and the (empty) metaindex block lie. The layout is LevelDB's.

Nothing in it is taken on trust: every block that is used is checked against its checksum, the blocks must fill the file
from its first byte to the footer, and the footer must be padded with zeros; so there is no bit in a table whose change
goes unnoticed. What a table declares is compared with the size of the file before anything is allocated.
"""

from __future__ import annotations

import bisect
import functools
import itertools
import struct
from typing import TYPE_CHECKING, Final, NamedTuple

from crc32c import crc32c

from tfinspect.errors import CorruptFileError, InputError
from tfinspect.formats._file import MappedFile
from tfinspect.formats._pread import PreadFile
from tfinspect.formats._wire import Cursor, varint_bytes
from tfinspect.ir.tensors import CHUNK_NBYTES

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

MAGIC: Final = bytes.fromhex("57fb808b247547db")  # 0xdb4775248b80fb57, little-endian
_FOOTER_NBYTES, _HANDLES_NBYTES = 48, 40
_TYPE_NBYTES, _TRAILER_NBYTES = 1, 5
_RAW, _SNAPPY = 0, 1
_SNAPPY_MAX_RATIO = 64  # three bytes of Snappy give at most 64
_MORE = 0x80  # the continuation bit of a varint


def mask(crc: int) -> int:
    """Return a crc32c as files store it: rotated right by 15 bits, plus a constant."""
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF


class Handle(NamedTuple):
    """Where a block lies: `offset` and `size` of its contents, in bytes, without the trailer."""

    offset: int
    size: int


class _Block(NamedTuple):
    """The contents of a block: `[start, stop)` of `buffer`, which the cursor looks at too.

    `origin` is the byte of the file at position 0, or None where the block was compressed. `checked` says whether the
    checksum has been compared.
    """

    handle: Handle
    buffer: bytes | memoryview
    cursor: Cursor
    start: int
    stop: int
    origin: int | None
    checked: bool

    def where(self, position: int) -> int:
        return self.handle.offset if self.origin is None else self.origin + position


class Value:
    """The value of one key: `[start, stop)`, in memory and checked, or, in a large block, still in the file.

    A block of more than `CHUNK_NBYTES` is not brought into memory. Its checksum is compared when `pieces` has read the
    last of it; what was read before that is not to be used before.
    """

    __slots__ = ("_block", "_file", "start", "stop")

    def __init__(self, file: PreadFile, block: _Block, start: int, stop: int) -> None:
        self._file = file
        self._block = block
        self.start = start
        self.stop = stop

    @property
    def offset(self) -> int:
        """Byte of the file where the value starts (where its block does, if that is compressed)."""
        return self._block.where(self.start)

    def fields(self, start: int, stop: int, structure: str) -> Iterator[tuple[int, int, int, int, int]]:
        """Walk protobuf fields as `Cursor.fields` does.

        Raises:
            CorruptFileError: they are not well formed.
        """
        try:
            yield from self._block.cursor.fields(start, stop, structure)
        except CorruptFileError as error:
            raise CorruptFileError(
                error.path, self._block.where(error.offset), error.expected, error.found, structure=structure
            ) from None

    def pieces(self, spans: Iterable[tuple[int, int]], nbytes: int = CHUNK_NBYTES) -> Iterator[bytes | memoryview]:
        """Yield the bytes of increasing spans within the value, in pieces of at most `nbytes`.

        Raises:
            CorruptFileError: the block fails its checksum, which may be known only after the last piece.
        """
        block = self._block
        if block.checked:
            view = memoryview(block.buffer)
            for start, stop in spans:
                for at in range(start, stop, CHUNK_NBYTES):
                    yield view[at : min(at + CHUNK_NBYTES, stop)]
            return
        crc, position = 0, block.start
        for start, stop in spans:
            for piece in self._file.pieces(position, start):
                crc = crc32c(piece, crc)
            for piece in self._file.pieces(start, stop, nbytes):
                crc = crc32c(piece, crc)
                yield piece
            position = stop
        for piece in self._file.pieces(position, block.stop + _TYPE_NBYTES):
            crc = crc32c(piece, crc)
        stored = self._file.read(block.stop + _TYPE_NBYTES, block.stop + _TRAILER_NBYTES)
        _check_crc(self._file.path, block.handle, crc, stored, "data block")

    def read(self) -> bytes:
        """Return the whole value, checked.

        Raises:
            CorruptFileError: the block fails its checksum.
        """
        return b"".join(self.pieces([(self.start, self.stop)]))


class Table:
    """A table file, its footer, index and metaindex checked; the data blocks are checked when they are read.

    Attributes:
        path: the file, as the caller wrote it.

    Raises:
        FileMissingError: there is no such file.
        CorruptFileError: it is not a table, or is a damaged one.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        self._file = PreadFile(path)
        self._last: _Block | None = None
        metaindex, index = self._footer()
        block = self._checked_block(index, "index block")
        self._limits: list[bytes] = []  # no key of a block is greater than its limit
        self._handles: list[Handle] = []
        for key, start, stop in _entries(block, "index block"):
            handle, end = _handle(block.cursor, start, stop, "index block")
            if end != stop:
                raise CorruptFileError(
                    path,
                    block.where(end),
                    "the end of a block handle",
                    f"{stop - end} more bytes",
                    structure="index block",
                )
            if self._limits and key <= self._limits[-1]:
                raise CorruptFileError(
                    path, block.where(start), "keys in increasing order", "one that is not", structure="index block"
                )
            self._limits.append(key)
            self._handles.append(handle)
        self._check_layout([*self._handles, metaindex, index])
        self._checked_block(metaindex, "metaindex block")

    def entries(self) -> Iterator[tuple[bytes, bytes, int]]:
        """Yield (key, value, byte of the file) of all entries in the order of their keys, every block checked.

        The byte is where the value stands, or where its block does, if that is compressed.

        Raises:
            CorruptFileError: a block fails its checksum or is not well formed, or keys are not in increasing order.
        """
        last: bytes | None = None
        for handle in self._handles:
            block = self._checked_block(handle, "data block")
            contents = bytes(block.buffer)
            origin, at = (block.origin, 1) if block.origin is not None else (handle.offset, 0)
            for key, start, stop in _entries(block, "data block"):
                if last is not None and key <= last:
                    raise CorruptFileError(
                        self.path,
                        origin + at * start,
                        "keys in increasing order",
                        "the same key twice" if key == last else "one that sorts before its predecessor",
                        structure="data block",
                    )
                last = key
                yield key, contents[start:stop], origin + at * start

    def find(self, key: bytes) -> Value | None:
        """Return the value of a key, or None; only the block it can stand in is looked at.

        Raises:
            CorruptFileError: that block fails its checksum or is not well formed.
        """
        number = bisect.bisect_left(self._limits, key)
        if number == len(self._limits):
            return None
        handle = self._handles[number]
        block = self._last
        if block is None or block.handle != handle:
            block = self._last = self._block(handle, "data block")
        for found, start, stop in _entries(block, "data block"):
            if found == key:
                return Value(self._file, block, start, stop)
        return None

    @functools.cached_property
    def _mapped(self) -> memoryview:
        file = MappedFile(self.path)
        if file.size != self._file.size:
            raise InputError(f"{self.path} changed while it was being read", evidence={"path": self.path})
        return file.view

    def _footer(self) -> tuple[Handle, Handle]:
        size = self._file.size
        footer = self._file.read(max(0, size - _FOOTER_NBYTES), size)
        if footer[_HANDLES_NBYTES:] != MAGIC:
            self._file.check_not_pointer()
            raise CorruptFileError(
                self.path,
                max(0, size - len(MAGIC)),
                f"the magic number of a checkpoint table, {MAGIC.hex(' ')}, in the last 8 bytes",
                footer[-len(MAGIC) :].hex(" ") or "an empty file",
                structure="footer",
                hint="the file may have been cut short: copy or download it again",
            )
        at = size - _FOOTER_NBYTES
        cursor = Cursor(memoryview(footer), self.path)
        try:
            metaindex, position = _handle(cursor, 0, _HANDLES_NBYTES, "footer")
            index, position = _handle(cursor, position, _HANDLES_NBYTES, "footer")
        except CorruptFileError as error:
            raise CorruptFileError(
                self.path, at + error.offset, error.expected, error.found, structure="footer"
            ) from None
        shortest = b"".join(varint_bytes(number) for number in (*metaindex, *index))
        if footer[:_HANDLES_NBYTES] != shortest.ljust(_HANDLES_NBYTES, b"\0"):  # a varint can hide a bit of padding
            raise CorruptFileError(
                self.path,
                at + min(position, len(shortest)),
                "zeros up to the magic number",
                footer[len(shortest) : _HANDLES_NBYTES].hex(),
                structure="footer",
            )
        for handle in (metaindex, index):
            self._check_bounds(handle, "footer")
        return metaindex, index

    def _check_bounds(self, handle: Handle, structure: str) -> None:
        end = self._file.size - _FOOTER_NBYTES
        if handle.offset + handle.size + _TRAILER_NBYTES > end:
            raise CorruptFileError(
                self.path,
                handle.offset,
                f"a block of {handle.size:,} bytes",
                f"the footer at byte {end:,}",
                structure=structure,
            )

    def _check_layout(self, handles: list[Handle]) -> None:
        position = 0
        for handle in handles:
            if handle.offset != position:
                raise CorruptFileError(
                    self.path, position, "a block", f"the next one at byte {handle.offset:,}", structure="index block"
                )
            self._check_bounds(handle, "index block")
            position += handle.size + _TRAILER_NBYTES
        if position != self._file.size - _FOOTER_NBYTES:
            raise CorruptFileError(
                self.path,
                position,
                "the footer",
                f"{self._file.size - _FOOTER_NBYTES - position:,} bytes more",
                structure="footer",
            )

    def _block(self, handle: Handle, structure: str) -> _Block:
        """Return a block, in memory and checked unless it is large and not compressed."""
        end = handle.offset + handle.size
        if handle.size <= CHUNK_NBYTES or self._file.read(end, end + _TYPE_NBYTES) != bytes([_RAW]):
            return self._checked_block(handle, structure)
        cursor = Cursor(self._mapped, self.path)
        return _Block(handle, cursor.view, cursor, handle.offset, end, 0, checked=False)

    def _checked_block(self, handle: Handle, structure: str) -> _Block:
        end = handle.offset + handle.size
        contents = self._file.read(handle.offset, end)
        trailer = self._file.read(end, end + _TRAILER_NBYTES)
        kind, stored = trailer[0], trailer[_TYPE_NBYTES:]
        _check_crc(self.path, handle, crc32c(trailer[:_TYPE_NBYTES], crc32c(contents)), stored, structure)
        if kind not in (_RAW, _SNAPPY):
            raise CorruptFileError(
                self.path, end, "compression type 0 (none) or 1 (Snappy)", f"type {kind}", structure=structure
            )
        if kind == _SNAPPY:
            contents = _decompress(self.path, handle, contents, structure)
        origin = handle.offset if kind == _RAW else None
        cursor = Cursor(memoryview(contents), self.path)
        return _Block(handle, contents, cursor, 0, len(contents), origin, checked=True)


def _check_crc(path: str, handle: Handle, crc: int, stored: bytes, structure: str) -> None:
    wanted = int.from_bytes(stored, "little")
    if mask(crc) != wanted:
        raise CorruptFileError(
            path,
            handle.offset,
            f"{handle.size:,} bytes with checksum {wanted:08x}",
            f"checksum {mask(crc):08x}",
            structure=structure,
        )


def _decompress(path: str, handle: Handle, contents: bytes, structure: str) -> bytes:
    from cramjam import DecompressionError, snappy

    try:
        size = snappy.decompress_raw_len(contents)
        if size > _SNAPPY_MAX_RATIO * len(contents):
            raise CorruptFileError(
                path,
                handle.offset,
                f"at most {_SNAPPY_MAX_RATIO * len(contents):,} bytes out of {len(contents):,} bytes of Snappy",
                f"a declared size of {size:,}",
                structure=structure,
            )
        return bytes(snappy.decompress_raw(contents))
    except DecompressionError:
        raise CorruptFileError(
            path, handle.offset, "a block compressed with Snappy", "bytes that are not", structure=structure
        ) from None


def _handle(cursor: Cursor, start: int, stop: int, structure: str) -> tuple[Handle, int]:
    offset, position = cursor.varint(start, stop, structure)
    size, position = cursor.varint(position, stop, structure)
    return Handle(offset, size), position


def _entries(block: _Block, structure: str) -> Iterator[tuple[bytes, int, int]]:
    """Yield (key, value start, value stop) of each entry; a key shares its first bytes with the one before it."""
    cursor, buffer, position = block.cursor, block.buffer, block.start
    end = _entries_end(block, structure)
    key = b""
    while position < end:
        at = position
        shared, unshared, size = buffer[position], buffer[position + 1], buffer[position + 2]
        if (shared | unshared | size) < _MORE:
            position += 3
        else:
            try:
                shared, position = cursor.varint(position, end, structure)
                unshared, position = cursor.varint(position, end, structure)
                size, position = cursor.varint(position, end, structure)
            except CorruptFileError as error:
                raise CorruptFileError(
                    error.path, block.where(error.offset), error.expected, error.found, structure=structure
                ) from None
        value = position + unshared
        last = value + size
        if last > end or shared > len(key):
            raise CorruptFileError(
                cursor.path,
                block.where(at),
                f"an entry within its block, its key sharing at most {len(key)} bytes with the one before",
                f"one of {unshared:,} + {size:,} bytes sharing {shared:,}, {end - position:,} bytes before the end",
                structure=structure,
            )
        key = key[:shared] + bytes(buffer[position:value])
        yield key, value, last
        position = last


def _entries_end(block: _Block, structure: str) -> int:
    """Return where the entries of a block end and its restart offsets begin."""
    buffer, start, stop = block.buffer, block.start, block.stop
    word = 4
    if stop - start >= word:
        count = int.from_bytes(buffer[stop - word : stop], "little")
        end = stop - word * (count + 1)
        if count and end >= start:
            restarts = struct.unpack(f"<{count}I", buffer[end : stop - word])
            rising = all(a < b for a, b in itertools.pairwise(restarts))
            if restarts[0] == 0 and rising and restarts[-1] < max(1, end - start):
                return end
    raise CorruptFileError(
        block.cursor.path,
        block.where(max(start, stop - word)),
        "offsets of restart points and their number at the end of the block",
        "none that fit it",
        structure=structure,
    )
