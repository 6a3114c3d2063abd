"""The protobuf wire format, read just as far as needed to find and jump over large fields."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tfinspect.errors import CorruptFileError

if TYPE_CHECKING:
    from collections.abc import Iterator

VARINT, FIXED64, LEN, FIXED32 = 0, 1, 2, 5
_MAX_VARINT_NBYTES = 10


class Cursor:
    """A region of a mapped file and the words to complain about it with.

    Attributes:
        view: the whole file.
        path: the file's name.
    """

    __slots__ = ("path", "view")

    def __init__(self, view: memoryview, path: str) -> None:
        self.view = view
        self.path = path

    def varint(self, position: int, end: int, structure: str) -> tuple[int, int]:
        """Return the varint at `position` and the position after it; `end` is where the region stops.

        Raises:
            CorruptFileError: the region stops in the middle, or it is longer than ten bytes.
        """
        view = self.view
        shift = result = 0
        start = position
        while position < end:
            byte = view[position]
            position += 1
            result |= (byte & 0x7F) << shift
            if byte < 0x80:  # noqa: PLR2004 - the continuation bit
                return result, position
            shift += 7
            if shift >= 7 * _MAX_VARINT_NBYTES:
                raise CorruptFileError(
                    self.path, start, "a varint of at most 10 bytes", "a longer one", structure=structure
                )
        raise CorruptFileError(self.path, start, "a varint", "the end of the data", structure=structure)

    def fields(self, start: int, end: int, structure: str) -> Iterator[tuple[int, int, int, int, int]]:
        """Yield (field number, wire type, field start, payload start, payload end) of each field in [start, end).

        A varint's payload is the varint itself.

        Raises:
            CorruptFileError: a field runs over `end`, or has a wire type that does not exist.
        """
        view = self.view
        position = start
        while position < end:
            at = position
            tag = view[position]
            if tag < 0x80:  # noqa: PLR2004 - one-byte tags are nearly all there are
                position += 1
            else:
                tag, position = self.varint(position, end, structure)
            number, kind = tag >> 3, tag & 7
            if number == 0:
                raise CorruptFileError(
                    self.path, at, "a protobuf field", f"field number 0 (byte {tag:#04x})", structure=structure
                )
            if kind == LEN:
                size, position = self.varint(position, end, structure)
                stop = position + size
            elif kind == VARINT:
                _, stop = self.varint(position, end, structure)
            elif kind == FIXED64:
                stop = position + 8
            elif kind == FIXED32:
                stop = position + 4
            else:
                raise CorruptFileError(
                    self.path, at, "a protobuf field", f"wire type {kind} (byte {tag & 0xFF:#04x})", structure=structure
                )
            if stop > end:
                raise CorruptFileError(
                    self.path,
                    at,
                    f"{stop - position:,} bytes of field {number}",
                    f"{max(0, end - position):,} bytes before the end",
                    structure=structure,
                )
            yield number, kind, at, position, stop
            position = stop


def varint_bytes(value: int) -> bytes:
    """Encode a non-negative varint."""
    out = bytearray()
    while value >= 0x80:  # noqa: PLR2004 - the continuation bit
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def len_header(number: int, size: int) -> bytes:
    """Encode the tag and length that stand before `size` bytes of a length-delimited field."""
    return varint_bytes(number << 3 | LEN) + varint_bytes(size)
