"""FlatBuffers, walked with every offset checked before it is followed.

A table begins with a signed offset back to its vtable, which says where in the table each field stands. Offsets to
strings, vectors and tables are unsigned and point forward, so nothing can point round in a circle; but many offsets may
point at the same part, and a small file can so describe more than any machine could list. What is read in vectors and
strings is therefore counted against the size of the file.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any

from tfinspect.errors import CorruptFileError

if TYPE_CHECKING:
    from collections.abc import Iterator

_TIMES_READ = 4  # how often the whole file may be read over; tables of real files are not shared at all
_FREE_NBYTES = 1 << 20
_LITTLE = {code: struct.Struct(f"<{code}") for code in "bBhHiIqQ?fd"}


class Buffer:
    """A FlatBuffer in a file.

    Attributes:
        view: the whole file.
        path: its name.
    """

    __slots__ = ("_budget", "_vtables", "path", "view")

    def __init__(self, view: memoryview, path: str) -> None:
        self.view = view
        self.path = path
        self._budget = _TIMES_READ * len(view) + _FREE_NBYTES
        self._vtables: dict[int, tuple[int, tuple[int, ...]]] = {}

    def root(self, structure: str) -> Table:
        """Return the table the file begins with.

        Raises:
            CorruptFileError: the file has none.
        """
        return Table(self, self.follow(0, structure), structure)

    def number(self, position: int, code: str, structure: str) -> int:
        """Return the number at a position; `code` is struct's letter for its type.

        Raises:
            CorruptFileError: it lies outside the file.
        """
        kind = _LITTLE[code]
        if position < 0 or position + kind.size > len(self.view):
            raise self.damaged(position, f"{kind.size} bytes", "the end of the file", structure)
        value: int = kind.unpack_from(self.view, position)[0]
        return value

    def follow(self, position: int, structure: str) -> int:
        """Return where the offset at a position leads.

        Raises:
            CorruptFileError: it leads outside the file, or nowhere that a number could stand.
        """
        offset = self.number(position, "I", structure)
        target = position + offset
        if not offset or target + 4 > len(self.view):
            raise self.damaged(position, "an offset inside the file", f"{offset:,}", structure)
        if target % 4:
            raise self.damaged(position, "an offset to a multiple of 4 bytes", f"byte {target:,}", structure)
        return target

    def vector(self, position: int, width: int, structure: str) -> tuple[int, int]:
        """Return where the elements of a vector begin, and how many there are.

        Raises:
            CorruptFileError: it runs over the end of the file.
        """
        count = self.number(position, "I", structure)
        start = position + 4
        if start + count * width > len(self.view):
            raise self.damaged(
                position,
                f"{count:,} elements of {width} bytes",
                f"{len(self.view) - start:,} bytes to the end",
                structure,
            )
        return start, count

    def spend(self, nbytes: int, position: int, structure: str) -> None:
        """Count what is read.

        Raises:
            CorruptFileError: the same bytes were read over and over.
        """
        self._budget -= nbytes
        if self._budget < 0:
            raise self.damaged(
                position, "parts that are listed once", "the same ones listed again and again", structure
            )

    def vtable(self, table: int, structure: str) -> tuple[int, ...]:
        """Return where in a table each field stands; 0 for one that is left out.

        Raises:
            CorruptFileError: the vtable, or a field of it, lies outside the file or the table.
        """
        back = self.number(table, "i", structure)
        position = table - back
        if position < 0 or position % 2 or position + 4 > len(self.view):
            raise self.damaged(table, "an offset to a vtable inside the file", f"{back:,}", structure)
        known = self._vtables.get(position)
        if known is None:
            size = self.number(position, "H", structure)
            extent = self.number(position + 2, "H", structure)
            if size < 4 or size % 2 or position + size > len(self.view):  # noqa: PLR2004 - its own two numbers
                raise self.damaged(position, "a vtable inside the file", f"one of {size:,} bytes", structure)
            fields = struct.unpack_from(f"<{size // 2 - 2}H", self.view, position + 4)
            if extent < 4 or any(field >= extent for field in fields):  # noqa: PLR2004 - the offset to the vtable
                raise self.damaged(position, "fields inside their table", f"a table of {extent:,} bytes", structure)
            self.spend(size, position, structure)
            known = self._vtables[position] = extent, fields
        extent, fields = known
        if table + extent > len(self.view):
            raise self.damaged(
                table, f"a table of {extent:,} bytes", f"{len(self.view) - table:,} bytes to the end", structure
            )
        return fields

    def damaged(self, position: int, expected: str, found: str, structure: str) -> CorruptFileError:
        """Return the error that says what is wrong at a position."""
        return CorruptFileError(self.path, position, expected, found, structure=structure)


class Table:
    """One table.

    Attributes:
        position: where in the file it stands.
        structure: what it is, to say in an error message.
    """

    __slots__ = ("_buffer", "_fields", "position", "structure")

    def __init__(self, buffer: Buffer, position: int, structure: str) -> None:
        self._buffer = buffer
        self.position = position
        self.structure = structure
        self._fields = buffer.vtable(position, structure)
        buffer.spend(4, position, structure)

    def damaged(self, expected: str, found: str) -> CorruptFileError:
        """Return the error that says what is wrong with the table."""
        return self._buffer.damaged(self.position, expected, found, self.structure)

    def _at(self, field: int) -> int:
        """Return where a field stands; 0 where it is left out."""
        offset = self._fields[field] if field < len(self._fields) else 0
        return self.position + offset if offset else 0

    def has(self, field: int) -> bool:
        """Whether the field is there."""
        return bool(self._at(field))

    def number(self, field: int, code: str, default: Any = 0) -> Any:  # noqa: ANN401 - int, bool or float by its code
        """Return a number; `code` is struct's letter for its type.

        Raises:
            CorruptFileError: it lies outside the file.
        """
        at = self._at(field)
        return self._buffer.number(at, code, self.structure) if at else default

    def text(self, field: int) -> str:
        """Return a string, empty where it is left out; what is not UTF-8 in it is replaced.

        Raises:
            CorruptFileError: it lies outside the file.
        """
        return bytes(self.octets(field) or b"").decode("utf-8", "replace")

    def octets(self, field: int) -> memoryview | None:
        """Return the bytes of a string or a vector of bytes, None where it is left out. They count as read.

        Raises:
            CorruptFileError: they lie outside the file.
        """
        found = self.stretch(field)
        if found is None:
            return None
        self._buffer.spend(found[1], found[0], self.structure)
        return self._buffer.view[found[0] : found[0] + found[1]]

    def stretch(self, field: int) -> tuple[int, int] | None:
        """Return where the bytes of a vector begin and how many there are, None where it is left out.

        Raises:
            CorruptFileError: they lie outside the file.
        """
        at = self._at(field)
        return self._buffer.vector(self._buffer.follow(at, self.structure), 1, self.structure) if at else None

    def numbers(self, field: int, code: str) -> tuple[Any, ...]:
        """Return a vector of numbers, empty where it is left out.

        Raises:
            CorruptFileError: it lies outside the file.
        """
        at = self._at(field)
        if not at:
            return ()
        width = _LITTLE[code].size
        start, count = self._buffer.vector(self._buffer.follow(at, self.structure), width, self.structure)
        self._buffer.spend(count * width, start, self.structure)
        return struct.unpack_from(f"<{count}{code}", self._buffer.view, start)

    def table(self, field: int, structure: str) -> Table | None:
        """Return the table a field leads to, None where it is left out.

        Raises:
            CorruptFileError: it lies outside the file.
        """
        at = self._at(field)
        return Table(self._buffer, self._buffer.follow(at, self.structure), structure) if at else None

    def tables(self, field: int, structure: str) -> Iterator[Table]:
        """Yield the tables of a vector.

        Raises:
            CorruptFileError: one of them lies outside the file.
        """
        at = self._at(field)
        if not at:
            return
        start, count = self._buffer.vector(self._buffer.follow(at, self.structure), 4, self.structure)
        for index in range(count):
            position = start + 4 * index
            self._buffer.spend(4, position, self.structure)
            yield Table(self._buffer, self._buffer.follow(position, structure), structure)
