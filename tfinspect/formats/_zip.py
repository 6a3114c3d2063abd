"""Zip archives read under checks: what a directory declares is compared with the file before it is believed.

Only stored and deflated members are read, as TensorFlow-era writers make no others. Nothing is ever unpacked to disk.
"""

from __future__ import annotations

import itertools
import re
import stat
import struct
import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from tfinspect.errors import (
    CorruptFileError,
    InputError,
    LimitError,
    NameNotFoundError,
    UnsupportedFeatureError,
    counted,
)
from tfinspect.formats._file import MappedFile
from tfinspect.ir.risks import Risk

if TYPE_CHECKING:
    import os
    from collections.abc import Iterator

_END: Final = b"PK\x05\x06"
_END_FORM: Final = struct.Struct("<4s4H2LH")
_END64_LOCATOR: Final = struct.Struct("<4sLQL")
_END64: Final = struct.Struct("<4sQ2H2L4Q")
_CENTRAL: Final = struct.Struct("<4s6H3L5H2L")
_LOCAL: Final = struct.Struct("<4s5H3L2H")
_EXTRA: Final = struct.Struct("<2H")
_MAX_COMMENT = 0xFFFF
_ELSEWHERE_16 = 0xFFFF  # the number stands in the zip64 record instead
_ELSEWHERE_32 = 0xFFFFFFFF
_ENCRYPTED = 1 << 0
_DESCRIPTOR = 1 << 3  # sizes follow the data, the local header has none
_STRONG_ENCRYPTION = 1 << 6
_UTF8 = 1 << 11
_UNIX = 3
_STORED, _DEFLATED = 0, 8
_METHODS: Final = {9: "Deflate64", 12: "bzip2", 14: "LZMA", 93: "Zstandard", 95: "xz", 99: "AES encryption"}
_MAX_RATIO = 100  # deflate itself reaches 1,032
_SMALL_NBYTES = 64 << 20  # what unpacks to no more than this may have any ratio
_PIECE_NBYTES = 1 << 20
_MAX_ENTRIES = 200_000
_DRIVE: Final = re.compile(r"[A-Za-z]:")


@dataclass(frozen=True, slots=True)
class Member:
    """One entry of the central directory, checked against its local header.

    Attributes:
        name: as written in the archive, `/` between parts.
        method: 0 stored, 8 deflated; others are listed but not read.
        crc: CRC-32 of the unpacked bytes.
        header: offset of its local header in the file.
        start: offset of its first packed byte in the file.
        packed: number of packed bytes.
        size: declared number of unpacked bytes.
        is_encrypted: whether a password is needed.
        is_link: whether it stands for a symbolic link.
    """

    name: str
    method: int
    crc: int
    header: int
    start: int
    packed: int
    size: int
    is_encrypted: bool
    is_link: bool

    @property
    def is_inside(self) -> bool:
        """Whether its name stays in the folder it would be unpacked to, and it is no link."""
        parts = self.name.split("/")
        name_is_odd = "\\" in self.name or "\0" in self.name or bool(_DRIVE.match(self.name))
        return not (self.is_link or name_is_odd or not self.name or self.name.startswith("/") or ".." in parts)


class Archive:
    """A zip archive; its directory is read and checked when it is opened, a member when it is asked for.

    Args:
        path: the file, as the caller wrote it; with `within`, its name inside that folder.
        within: the model's folder, which the file must not lead out of.

    Attributes:
        path: the file.
        size: bytes of the file.
        names: of its members, in the order of the directory; folders are left out.
        risks: members that would be written outside the folder they are unpacked to.

    Raises:
        CorruptFileError: the directory breaks the rules of the format, or does not fit the file.
        UnsupportedFeatureError: the archive is one part of several.
        LimitError: it has more than 200,000 members.
        InputError: the file cannot be opened.
    """

    def __init__(self, path: str | os.PathLike[str], *, within: str | None = None) -> None:
        file = MappedFile(path, within=within)
        self.path, self.size, self._view = file.path, file.size, file.view
        self._members: dict[str, Member] = {}
        self._checked: set[str] = set()
        self._read_directory()
        self.names = tuple(name for name in self._members if not name.endswith("/"))
        self.risks = tuple(
            Risk("outside-path", member.name, _why_outside(member))
            for member in self._members.values()
            if not member.is_inside
        )

    def __contains__(self, name: object) -> bool:
        """Whether there is a member of that name."""
        return name in self._members

    def member(self, name: str) -> Member:
        """Return what the directory says of a member.

        Raises:
            NameNotFoundError: there is none of that name.
        """
        found = self._members.get(name)
        if found is None:
            raise NameNotFoundError(f"no member named `{name}` in {self.path}", name=name, known=self.names)
        return found

    def read(self, name: str, *, limit: int) -> bytes:
        """Return the unpacked bytes of a member, its checksum checked.

        Raises:
            LimitError: it has more than `limit` bytes, or unpacks to far more than it takes in the file.
            NameNotFoundError: there is none of that name.
            InputError: it is damaged, encrypted, packed in a way not read here, or would lie outside its folder.
        """
        return b"".join(self.pieces(name, limit=limit))

    def stored(self, name: str) -> memoryview | None:
        """Return a view of the bytes of a member that is not compressed; None where it is.

        The checksum is checked by `check`: a view touches only what is looked at.

        Raises:
            NameNotFoundError: there is none of that name.
            InputError: it is encrypted, packed in a way not read here, or would lie outside its folder.
        """
        member = self._readable(name)
        if member.method != _STORED:
            return None
        return self._view[member.start : member.start + member.packed]

    def check(self, name: str) -> None:
        """Compare a stored member with its checksum, once.

        Raises:
            CorruptFileError: they differ.
        """
        if name not in self._checked:
            for _ in self.pieces(name, limit=self.size):
                pass
            self._checked.add(name)

    def pieces(self, name: str, *, limit: int) -> Iterator[bytes | memoryview]:
        """Yield the unpacked bytes of a member, a megabyte at a time; the last step compares the checksum.

        Raises:
            LimitError: it has more than `limit` bytes, or unpacks to far more than it takes in the file.
            NameNotFoundError: there is none of that name.
            InputError: it is damaged, encrypted, packed in a way not read here, or would lie outside its folder.
        """
        member = self._readable(name)
        evidence = {"path": self.path, "member": name, "packed": member.packed, "nbytes": member.size, "limit": limit}
        if member.size > limit:
            raise LimitError(
                f"{self.path}: `{name}` unpacks to {member.size:,} bytes, at most {limit:,} are read",
                evidence=evidence,
            )
        if member.size > max(_SMALL_NBYTES, _MAX_RATIO * member.packed):
            raise LimitError(
                f"{self.path}: `{name}` has {member.packed:,} bytes and would unpack to {member.size:,}",
                evidence=evidence,
            )
        crc = 0
        for piece in self._plain(member) if member.method == _STORED else self._inflated(member):
            crc = zlib.crc32(piece, crc)
            yield piece
        if crc != member.crc:
            raise self._damage(member.start, f"bytes with the checksum {member.crc:08x}", f"{crc:08x}", name)

    def _readable(self, name: str) -> Member:
        member = self.member(name)
        evidence = {"path": self.path, "member": name}
        if not member.is_inside:
            raise InputError(
                f"{self.path}: `{name}` {_why_outside(member)}", hint="do not unpack this archive", evidence=evidence
            )
        if member.is_encrypted:
            raise UnsupportedFeatureError(
                f"{self.path}: `{name}` at byte {member.start:,} is encrypted", evidence=evidence
            )
        if member.method not in {_STORED, _DEFLATED}:
            method = _METHODS.get(member.method, f"method {member.method}")
            raise UnsupportedFeatureError(
                f"{self.path}: `{name}` at byte {member.start:,} is compressed with {method}; stored or deflated was"
                " expected",
                evidence={**evidence, "method": member.method},
            )
        return member

    def _plain(self, member: Member) -> Iterator[memoryview]:
        for at in range(member.start, member.start + member.packed, _PIECE_NBYTES):
            yield self._view[at : min(at + _PIECE_NBYTES, member.start + member.packed)]

    def _inflated(self, member: Member) -> Iterator[bytes]:
        """Inflate no more than one byte over the declared size, whatever the stream holds."""
        engine = zlib.decompressobj(wbits=-15)
        done, at, end = 0, member.start, member.start + member.packed
        waiting: bytes | memoryview = b""
        while not engine.eof:
            if not waiting:
                waiting = self._view[at : min(at + _PIECE_NBYTES, end)]
                at += len(waiting)
            before = len(waiting)
            try:
                piece = engine.decompress(waiting, min(_PIECE_NBYTES, member.size - done + 1))
            except zlib.error as error:
                words = str(error).rpartition(": ")[2]
                raise self._damage(at - before, "deflated bytes", words, member.name) from None
            waiting = engine.unconsumed_tail
            done += len(piece)
            if done > member.size:
                raise self._damage(member.start, f"{member.size:,} unpacked bytes", "more", member.name)
            if piece:
                yield piece
            elif before == 0:
                break
        left = len(waiting) + len(engine.unused_data) + end - at
        if not engine.eof or done != member.size:
            raise self._damage(end, f"{member.size:,} unpacked bytes", f"{done:,}", member.name)
        if left:
            raise self._damage(end - left, "the end of the member", f"{counted(left, 'byte')} more", member.name)

    def _damage(self, offset: int, expected: str, found: str, name: str | None = None) -> CorruptFileError:
        structure = "zip directory" if name is None else f"zip member `{name}`"
        return CorruptFileError(self.path, offset, expected, found, structure=structure)

    def _read_directory(self) -> None:
        count, start, end = self._extent()
        at = start
        for _ in range(count):
            if at + _CENTRAL.size > end:
                raise self._damage(at, f"the header of {counted(count, 'member')}", "the end of the directory")
            at, member = self._entry(at, end, start)
            if member.name in self._members:
                raise self._damage(at, "a name that is not there yet", f"`{member.name}` again")
            self._members[member.name] = member
        if at != end:
            raise self._damage(at, "the end of the directory", f"{counted(end - at, 'byte')} more")
        ordered = sorted(self._members.values(), key=lambda member: member.header)
        for before, after in itertools.pairwise(ordered):
            if before.start + before.packed > after.header:
                raise self._damage(after.header, f"bytes after the end of `{before.name}`", "bytes of it", after.name)

    def _extent(self) -> tuple[int, int, int]:
        """Return the number of members, and where the directory begins and ends."""
        tail = max(0, self.size - _MAX_COMMENT - _END_FORM.size)
        last = bytes(self._view[tail:])
        at = last.rfind(_END)
        while at >= 0:
            fits = len(last) - at >= _END_FORM.size
            if fits and at + _END_FORM.size + int.from_bytes(last[at + 20 : at + 22], "little") == len(last):
                break
            at = last.rfind(_END, 0, at)
        if at < 0:
            raise self._damage(self.size, "the end record of a zip archive (PK 5 6)", "none in the last bytes")
        end = tail + at
        _, disk, first_disk, here, count, nbytes, start, _ = _END_FORM.unpack_from(last, at)
        directory_end = end
        if _ELSEWHERE_16 in {here, count} or _ELSEWHERE_32 in {nbytes, start}:
            directory_end, (disk, first_disk, here, count, nbytes, start) = self._extent64(
                end, (disk, first_disk, here, count, nbytes, start)
            )
        if disk or first_disk or here != count:
            raise UnsupportedFeatureError(
                f"{self.path} is one part of an archive of several files", evidence={"path": self.path}
            )
        if start + nbytes != directory_end:
            found = f"{start:,} to {start + nbytes:,}"
            raise self._damage(end, f"a directory that ends at byte {directory_end:,}", found)
        if count * _CENTRAL.size > nbytes:
            raise self._damage(end, f"a directory of {counted(count, 'member')}", counted(nbytes, "byte"))
        if count > _MAX_ENTRIES:
            raise LimitError(
                f"{self.path} has {count:,} members, at most {_MAX_ENTRIES:,} are read", evidence={"path": self.path}
            )
        return count, start, directory_end

    def _extent64(self, end: int, plain: tuple[int, ...]) -> tuple[int, tuple[int, ...]]:
        at = end - _END64_LOCATOR.size
        if at < 0 or bytes(self._view[at : at + 4]) != b"PK\x06\x07":
            return end, plain  # 65,535 members, exactly
        _, _, record, _ = _END64_LOCATOR.unpack_from(self._view, at)
        if record + _END64.size > at or bytes(self._view[record : record + 4]) != b"PK\x06\x06":
            raise self._damage(at, "the offset of the zip64 end record", f"{record:,}")
        return record, _END64.unpack_from(self._view, record)[4:]

    def _entry(self, at: int, end: int, directory: int) -> tuple[int, Member]:
        (
            magic, made_by, _, flags, method, _, _, crc, packed, size, name_nbytes, extra_nbytes, comment_nbytes, disk,
            _, attributes, local,
        ) = _CENTRAL.unpack_from(self._view, at)  # fmt: skip
        if magic != b"PK\x01\x02":
            raise self._damage(at, "the header of a member (PK 1 2)", magic.hex(" "))
        name_at = at + _CENTRAL.size
        after = name_at + name_nbytes + extra_nbytes + comment_nbytes
        if after > end:
            raise self._damage(at, "a header inside the directory", f"one of {counted(after - at, 'byte')}")
        raw = bytes(self._view[name_at : name_at + name_nbytes])
        name = self._name(raw, flags, name_at)
        wide = self._wide(name_at + name_nbytes, extra_nbytes, name)
        numbers = []
        for number in (size, packed, local):
            if number == _ELSEWHERE_32 and wide:
                number = wide.pop(0)  # noqa: PLW2901 - zip64 keeps those that do not fit in 32 bits, in this order
            numbers.append(number)
        size, packed, local = numbers
        if disk not in {0, _ELSEWHERE_16}:
            raise UnsupportedFeatureError(
                f"{self.path}: `{name}` stands in another file of the archive", evidence={"path": self.path}
            )
        start = self._local(local, directory, name, raw, (flags, method, crc, packed, size))
        if start + packed > directory:
            found = f"{counted(packed, 'byte')} from {start:,}"
            raise self._damage(at, f"a member that ends before byte {directory:,}", found, name)
        is_encrypted = bool(flags & (_ENCRYPTED | _STRONG_ENCRYPTION))
        if method == _STORED and packed != size and not is_encrypted:
            raise self._damage(at, f"{packed:,} unpacked bytes, as it is stored", f"{size:,}", name)
        return after, Member(
            name, method, crc, local, start, packed, size,
            is_encrypted=is_encrypted,
            is_link=made_by >> 8 == _UNIX and stat.S_ISLNK(attributes >> 16),
        )  # fmt: skip

    def _name(self, raw: bytes, flags: int, at: int) -> str:
        try:
            return raw.decode("utf-8" if flags & _UTF8 else "cp437")
        except UnicodeDecodeError:
            raise self._damage(at, "a name in utf-8", raw[:16].hex(" ")) from None

    def _wide(self, at: int, nbytes: int, name: str) -> list[int]:
        """Return the 64-bit numbers of a zip64 extra field."""
        end = at + nbytes
        while at + _EXTRA.size <= end:
            kind, length = _EXTRA.unpack_from(self._view, at)
            at += _EXTRA.size
            if at + length > end:
                raise self._damage(at, f"an extra field of at most {end - at:,} bytes", f"{length:,}", name)
            if kind == 1:
                return [v for (v,) in struct.iter_unpack("<Q", self._view[at : at + length // 8 * 8])]
            at += length
        return []

    def _local(self, at: int, directory: int, name: str, raw: bytes, central: tuple[int, ...]) -> int:
        """Compare a local header with the directory and return where the member's bytes begin."""
        if at + _LOCAL.size > directory:
            raise self._damage(at, f"a local header before byte {directory:,}", f"one at {at:,}", name)
        magic, _, flags, method, _, _, crc, packed, size, name_nbytes, extra_nbytes = _LOCAL.unpack_from(self._view, at)
        if magic != b"PK\x03\x04":
            raise self._damage(at, "a local header (PK 3 4)", magic.hex(" "), name)
        name_at = at + _LOCAL.size
        start = name_at + name_nbytes + extra_nbytes
        if start > directory:
            raise self._damage(at, f"a local header that ends before byte {directory:,}", f"{start:,}", name)
        found = bytes(self._view[name_at : name_at + name_nbytes])
        if found != raw:
            text = found[:80].decode("cp437")
            raise self._damage(name_at, "the name that the directory gives", f"`{text}`", name)
        central_flags, central_method, *expected = central
        secret = _ENCRYPTED | _STRONG_ENCRYPTION
        if method != central_method or (flags ^ central_flags) & secret:
            words = f"method {central_method}{', encrypted' * bool(central_flags & secret)}"
            raise self._damage(at, words, f"method {method}{', encrypted' * bool(flags & secret)}", name)
        wide = self._wide(name_at + name_nbytes, extra_nbytes, name)
        if wide and size == _ELSEWHERE_32:
            size = wide.pop(0)
        if wide and packed == _ELSEWHERE_32:
            packed = wide.pop(0)
        for word, here, there in zip(("checksum", "packed size", "size"), (crc, packed, size), expected, strict=True):
            if here != there and not (flags & _DESCRIPTOR and here in {0, _ELSEWHERE_32}):
                raise self._damage(at, f"the {word} that the directory gives, {there:,}", f"{here:,}", name)
        return int(start)


def _why_outside(member: Member) -> str:
    return (
        "is a symbolic link, which could lead out of the folder it is unpacked to"
        if member.is_link
        else "would be unpacked outside its folder"
    )
