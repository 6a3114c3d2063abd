"""The bytes of an HDF5 file: every read is checked against the end of the file, every checksum against its block."""

from __future__ import annotations

from typing import Final

from tfinspect.errors import CorruptFileError, LimitError, UnsupportedFeatureError

_MASK = 0xFFFFFFFF
_SEED = 0xDEADBEEF
_SUM_NBYTES = 4
_SLACK_NBYTES: Final = 4 << 20
_MAX_READS: Final = 16
_MAX_TEXT_NBYTES: Final = 1 << 16


class Space:
    """The address space of a file: bytes from its superblock on.

    Attributes:
        path: the file, for messages.
        view: its bytes, from the base address on.
        base: where in the file they begin.
        offset_nbytes: bytes of an address.
        length_nbytes: bytes of a length.
        undefined: the address that stands for none.
    """

    def __init__(self, view: memoryview, path: str, base: int, offset_nbytes: int, length_nbytes: int) -> None:
        self.path = path
        self.view = view
        self.base = base
        self.offset_nbytes = offset_nbytes
        self.length_nbytes = length_nbytes
        self.undefined = (1 << (8 * offset_nbytes)) - 1
        self._budget = _SLACK_NBYTES + _MAX_READS * len(view)

    def corrupt(self, at: int, expected: str, found: str, structure: str) -> CorruptFileError:
        """Return the error for an address."""
        return CorruptFileError(self.path, self.base + at, expected, found, structure=structure)

    def unsupported(self, what: str) -> UnsupportedFeatureError:
        """Return the error for a feature that is not read here."""
        return UnsupportedFeatureError(
            f"{self.path} uses {what}, which is not read here", evidence={"path": self.path, "feature": what}
        )

    def spend(self, nbytes: int) -> None:
        """Count bytes of names and headers that were read; where parts overlap, they come to far more than the file.

        Raises:
            LimitError: they do.
        """
        self._budget -= nbytes
        if self._budget < 0:
            raise LimitError(
                f"{self.path} has the same bytes in more than {_MAX_READS} parts", evidence={"path": self.path}
            )

    def take(self, at: int, count: int, structure: str) -> memoryview:
        """Return `count` bytes at an address.

        Raises:
            CorruptFileError: they go over the end of the file.
        """
        if at > len(self.view) or count > len(self.view) - at:
            left = f"{max(0, len(self.view) - at):,} before the end of the file"
            at = min(at, len(self.view))
            raise self.corrupt(at, f"{count:,} bytes", left, structure)
        return self.view[at : at + count]

    def fields(self, at: int, count: int, structure: str) -> Fields:
        """Return a reader of `count` bytes at an address.

        Raises:
            CorruptFileError: they go over the end of the file.
        """
        return Fields(self, self.take(at, count, structure), at, structure)

    def block(self, at: int, magic: bytes, count: int, structure: str) -> Fields:
        """Return a reader of a block of `count` bytes that begins with four letters, placed behind them.

        Raises:
            CorruptFileError: the letters are others, or it goes over the end of the file.
        """
        fields = self.fields(at, count, structure)
        found = bytes(fields.raw(len(magic)))
        if found != magic:
            raise self.corrupt(at, f"`{magic.decode()}`", found.hex(" "), structure)
        return fields

    def check(self, at: int, count: int, structure: str) -> None:
        """Check the checksum that stands in the last four of `count` bytes.

        Raises:
            CorruptFileError: it does not match.
        """
        data = self.take(at, count, structure)
        if count < _SUM_NBYTES:
            raise self.corrupt(at, "a block with a checksum", f"{count} bytes", structure)
        stored = int.from_bytes(data[-_SUM_NBYTES:], "little")
        computed = lookup3(bytes(data[:-_SUM_NBYTES]))
        if stored != computed:
            raise self.corrupt(at + count - _SUM_NBYTES, f"the checksum {computed:#010x}", f"{stored:#010x}", structure)


class Fields:
    """Reads the fields of one structure, one after the other.

    Attributes:
        space: the file.
        at: address of the first byte.
        structure: for messages.
        position: bytes read so far.
    """

    __slots__ = ("_view", "at", "position", "space", "structure")

    def __init__(self, space: Space, view: memoryview, at: int, structure: str) -> None:
        self.space = space
        self.at = at
        self.structure = structure
        self.position = 0
        self._view = view

    @property
    def left(self) -> int:
        """Bytes not read yet."""
        return len(self._view) - self.position

    @property
    def here(self) -> int:
        """Address of the next byte."""
        return self.at + self.position

    def raw(self, count: int) -> memoryview:
        """Read `count` bytes.

        Raises:
            CorruptFileError: the structure has not that many left.
        """
        end = self.position + count
        if end > len(self._view):
            raise self.corrupt(f"{count:,} bytes", f"{self.left:,} before the end of the {self.structure}")
        found = self._view[self.position : end]
        self.position = end
        return found

    def uint(self, nbytes: int) -> int:
        """Read an unsigned number.

        Raises:
            CorruptFileError: the structure has not that many bytes left.
        """
        return int.from_bytes(self.raw(nbytes), "little")

    def address(self) -> int | None:
        """Read an address; None for the undefined one.

        Raises:
            CorruptFileError: the structure ends before it.
        """
        found = self.uint(self.space.offset_nbytes)
        return None if found == self.space.undefined else found

    def length(self) -> int:
        """Read a length.

        Raises:
            CorruptFileError: the structure ends before it.
        """
        return self.uint(self.space.length_nbytes)

    def text(self) -> bytes:
        """Read bytes up to a zero byte, which is read as well.

        Raises:
            CorruptFileError: the structure has none.
        """
        for nbytes in (64, _MAX_TEXT_NBYTES):
            found, end, _ = bytes(self._view[self.position : self.position + nbytes]).partition(b"\0")
            if end:
                self.position += len(found) + 1
                return found
        raise self.corrupt("text that ends with a zero byte", f"none within {_MAX_TEXT_NBYTES:,} bytes")

    def version(self, *known: int) -> int:
        """Read the one-byte version of the structure.

        Raises:
            CorruptFileError: it is none of those known.
        """
        found = self.uint(1)
        if found not in known:
            self.position -= 1
            raise self.corrupt("version " + " or ".join(map(str, known)), f"{found}")
        return found

    def corrupt(self, expected: str, found: str) -> CorruptFileError:
        """Return the error for the next byte."""
        return self.space.corrupt(self.here, expected, found, self.structure)


def width(limit: int) -> int:
    """Return the number of bytes HDF5 gives to numbers up to `limit`."""
    return (max(limit, 1).bit_length() - 1) // 8 + 1


def lookup3(data: bytes) -> int:
    """Return Bob Jenkins' lookup3 hash, the checksum of HDF5's metadata.

    Everything is 32-bit arithmetic on little-endian words; a last block of 1 to 12 bytes is mixed differently.
    """
    size = len(data)
    a = b = c = (_SEED + size) & _MASK
    if not size:
        return c
    whole = (size - 1) // 12 * 12
    words: Final = memoryview(data[:whole]).cast("I") if whole else ()
    for i in range(0, len(words), 3):
        a = (a + words[i]) & _MASK
        b = (b + words[i + 1]) & _MASK
        c = (c + words[i + 2]) & _MASK
        a = (a - c) & _MASK ^ ((c << 4 | c >> 28) & _MASK)
        c = (c + b) & _MASK
        b = (b - a) & _MASK ^ ((a << 6 | a >> 26) & _MASK)
        a = (a + c) & _MASK
        c = (c - b) & _MASK ^ ((b << 8 | b >> 24) & _MASK)
        b = (b + a) & _MASK
        a = (a - c) & _MASK ^ ((c << 16 | c >> 16) & _MASK)
        c = (c + b) & _MASK
        b = (b - a) & _MASK ^ ((a << 19 | a >> 13) & _MASK)
        a = (a + c) & _MASK
        c = (c - b) & _MASK ^ ((b << 4 | b >> 28) & _MASK)
        b = (b + a) & _MASK
    tail = data[whole:].ljust(12, b"\0")
    a = (a + int.from_bytes(tail[0:4], "little")) & _MASK
    b = (b + int.from_bytes(tail[4:8], "little")) & _MASK
    c = (c + int.from_bytes(tail[8:12], "little")) & _MASK
    for turn in (14, 11, 25, 16, 4, 14, 24):  # c by b, a by c, b by a, and again, and c once more
        c = (c ^ b) - ((b << turn | b >> (32 - turn)) & _MASK) & _MASK
        a, b, c = b, c, a
    return b
