"""Zip archives: what the directory declares is never believed before the file has confirmed it."""

from __future__ import annotations

import io
import os
import re
import struct
import tracemalloc
import zipfile
import zlib
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.cli_calls import ZOO
from tfinspect.errors import (
    CorruptFileError,
    InputError,
    LimitError,
    NameNotFoundError,
    TfinspectError,
    UnsupportedFeatureError,
)
from tfinspect.formats._zip import Archive

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

STORED, DEFLATED = zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED
LIMIT = 1 << 30
TEXT = b"weights and biases, " * 40
Patch = dict[str, dict[str, int | bytes]]


class Member:
    """One entry, written by hand so that every field can be made wrong."""

    CENTRAL = "<4s6H3L5H2L"
    LOCAL = "<4s5H3L2H"

    def __init__(
        self, name: str, data: bytes, *, method: int = DEFLATED, local: Patch | None = None, **fields: int
    ) -> None:
        engine = zlib.compressobj(9, wbits=-15)
        self.packed = data if method == STORED else engine.compress(data) + engine.flush()
        self.name = name.encode()
        self.wrong_local = local or {}
        self.fields = {
            "made_by": 3 << 8, "flags": 0x800, "method": method, "crc": zlib.crc32(data), "packed": len(self.packed),
            "size": len(data), "attributes": 0o100644 << 16, **fields,
        }  # fmt: skip

    def local(self) -> bytes:
        f = {**self.fields, "name": self.name, **self.wrong_local}
        sizes = (0, 0, 0) if f["flags"] & 8 else (f["crc"], f["packed"], f["size"])
        head = struct.pack(self.LOCAL, b"PK\3\4", 20, f["flags"], f["method"], 0, 33, *sizes, len(f["name"]), 0)
        after = struct.pack("<4s3L", b"PK\7\x08", *(f[k] for k in ("crc", "packed", "size"))) if f["flags"] & 8 else b""
        return head + f["name"] + self.packed + after

    def central(self, at: int) -> bytes:
        f = {"offset": at, "disk": 0, "name": self.name, **self.fields}
        return struct.pack(
            self.CENTRAL, b"PK\1\2", f["made_by"], 20, f["flags"], f["method"], 0, 33, f["crc"], f["packed"], f["size"],
            len(f["name"]), 0, 0, f["disk"], 0, f["attributes"], f["offset"],
        ) + f["name"]  # fmt: skip


def build(*members: Member, gap: bytes = b"", comment: bytes = b"", **end: int) -> bytes:
    body, directory = b"", b""
    for member in members:
        directory += member.central(len(body))
        body += member.local()
    body += gap
    f = {"disk": 0, "here": len(members), "count": len(members), "nbytes": len(directory), "start": len(body), **end}
    tail = struct.pack(
        "<4s4H2LH", b"PK\5\6", f["disk"], f["disk"], f["here"], f["count"], f["nbytes"], f["start"], len(comment)
    )
    return body + directory + tail + comment


def opened(folder: Path, data: bytes) -> Archive:
    path = folder / "model.zip"
    path.write_bytes(data)
    return Archive(path)


def standard(names_and_data: dict[str, bytes], method: int, *, unseekable: bool = False) -> bytes:
    class Pipe(io.BytesIO):
        def seekable(self) -> bool:
            return not unseekable

    out = Pipe()
    with zipfile.ZipFile(out, "w", method) as archive:
        for name, data in names_and_data.items():
            archive.writestr(name, data)
    return out.getvalue()


@pytest.mark.parametrize("method", [STORED, DEFLATED])
@pytest.mark.parametrize("unseekable", [False, True])
def test_reads_what_was_written(method: int, *, unseekable: bool, tmp_path: Path) -> None:
    content = {
        "a.bin": TEXT,
        "folder/b ü.json": b"{}",
        "folder/empty": b"",
        "big": os.urandom(1 << 21) + bytes(1 << 22),
    }
    archive = opened(tmp_path, standard(content | {"folder/": b""}, method, unseekable=unseekable))
    assert archive.names == tuple(content)
    assert archive.risks == ()
    for name, data in content.items():
        assert archive.read(name, limit=LIMIT) == data
        pieces = list(archive.pieces(name, limit=LIMIT))
        assert max(map(len, pieces), default=0) <= 1 << 20
        assert b"".join(pieces) == data
        view = archive.stored(name)
        assert (view is None) == (method == DEFLATED)
        assert view is None or bytes(view) == data
        if view is not None:
            archive.check(name)
    with pytest.raises(NameNotFoundError, match=r"^no member named `a.bni` in .*model.zip$") as caught:
        archive.read("a.bni", limit=LIMIT)
    assert caught.value.near == ["a.bin"]


def test_zip64_as_numpy_and_keras_write_it(tmp_path: Path) -> None:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", DEFLATED) as archive, archive.open("weights.npy", "w", force_zip64=True) as member:
        member.write(TEXT)
    assert opened(tmp_path, out.getvalue()).read("weights.npy", limit=LIMIT) == TEXT


def test_zip64_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(zipfile, "ZIP_FILECOUNT_LIMIT", 2)
    data = standard({f"{i}.npy": TEXT for i in range(5)}, DEFLATED)
    assert b"PK\6\6" in data
    data = data[:-14] + struct.pack("<2H2L", 0xFFFF, 0xFFFF, 0xFFFFFFFF, 0xFFFFFFFF) + data[-2:]
    archive = opened(tmp_path, data)
    assert len(archive.names) == 5
    assert archive.read("4.npy", limit=LIMIT) == TEXT
    record = data.index(b"PK\6\7") + 8
    wrong = data[:record] + struct.pack("<Q", 1 << 60) + data[record + 8 :]
    with pytest.raises(CorruptFileError, match="expected the offset of the zip64 end record, found 1,152,921,504,606"):
        opened(tmp_path, wrong)


def test_a_comment_that_looks_like_an_end_record(tmp_path: Path) -> None:
    archive = opened(tmp_path, build(Member("a", TEXT), comment=b"x" * 30 + b"PK\5\6" + b"y" * 40))
    assert archive.read("a", limit=LIMIT) == TEXT


A = Member("a.bin", TEXT)
HEADER = 30 + len("a.bin")
DIRECTORY = len(A.local())
DAMAGE: dict[str, tuple[Callable[[], bytes], int, str]] = {
    "no end record": (
        lambda: build(A)[:-22], len(build(A)) - 22,
        "(zip directory): expected the end record of a zip archive (PK 5 6), found none in the last bytes",
    ),
    "directory elsewhere": (
        lambda: build(A, start=5), len(build(A)) - 22,
        f"(zip directory): expected a directory that ends at byte {len(build(A)) - 22:,}, found 5 to 56",
    ),
    "more members than bytes": (
        lambda: build(A, here=9, count=9), len(build(A)) - 22,
        "(zip directory): expected a directory of 9 members, found 51 bytes",
    ),
    "fewer members than bytes": (
        lambda: build(A, Member("b", b""), here=1, count=1), len(A.local()) + len(Member("b", b"").local()) + 51,
        "(zip directory): expected the end of the directory, found 47 bytes more",
    ),
    "member beyond the file": (
        lambda: build(Member("a.bin", b"abc", method=STORED, packed=10**9, size=10**9)), 38,
        f"(zip member `a.bin`): expected a member that ends before byte 38, found 1,000,000,000 bytes from {HEADER}",
    ),
    "header beyond the file": (
        lambda: build(Member("a.bin", TEXT, offset=10**8)), 10**8,
        f"(zip member `a.bin`): expected a local header before byte {DIRECTORY}, found one at 100,000,000",
    ),
    "no local header": (
        lambda: build(Member("a.bin", TEXT, offset=1)), 1,
        "(zip member `a.bin`): expected a local header (PK 3 4), found 4b 03 04 14",
    ),
    "another name": (
        lambda: build(Member("a.bin", TEXT, local={"name": b"../.b"})), 30,
        "(zip member `a.bin`): expected the name that the directory gives, found `../.b`",
    ),
    "another method": (
        lambda: build(Member("a.bin", TEXT, local={"method": 0})), 0,
        "(zip member `a.bin`): expected method 8, found method 0",
    ),
    "another size": (
        lambda: build(Member("a.bin", TEXT, local={"size": 7})), 0,
        "(zip member `a.bin`): expected the size that the directory gives, 800, found 7",
    ),
    "another packed size": (
        lambda: build(Member("a.bin", TEXT, local={"packed": 7})), 0,
        f"(zip member `a.bin`): expected the packed size that the directory gives, {len(A.packed)}, found 7",
    ),
    "encrypted in one place only": (
        lambda: build(Member("a.bin", TEXT, local={"flags": 0x801})), 0,
        "(zip member `a.bin`): expected method 8, found method 8, encrypted",
    ),
    "overlap": (
        lambda: build(Member("a.bin", b"x" * 90, method=STORED, packed=100, size=100, local={}),
                      Member("b.bin", b"y", method=STORED)), HEADER + 90,
        "(zip member `b.bin`): expected bytes after the end of `a.bin`, found bytes of it",
    ),
    "the same bytes twice": (
        lambda: build(Member("a.bin", TEXT), Member("a.bin", TEXT, offset=0)), 2 * DIRECTORY + 102,
        "(zip directory): expected a name that is not there yet, found `a.bin` again",
    ),
    "stored, two sizes": (
        lambda: build(Member("a.bin", b"abc", method=STORED, size=4)), 38,
        "(zip member `a.bin`): expected 3 unpacked bytes, as it is stored, found 4",
    ),
    "broken name": (
        lambda: build(Member("aé", b"")).replace("é".encode(), b"\xc3("), 35 + 46,
        "(zip directory): expected a name in utf-8, found 61 c3 28",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", DAMAGE)
def test_damage_is_named_with_its_offset(name: str, tmp_path: Path) -> None:
    make, offset, words = DAMAGE[name]
    with pytest.raises(CorruptFileError) as caught:
        opened(tmp_path, make())
    assert caught.value.message == f"{tmp_path / 'model.zip'} is damaged at byte {offset:,} {words}"


CONTENT: dict[str, tuple[Member, type[TfinspectError], str]] = {
    "checksum": (
        Member("a.bin", TEXT, crc=7), CorruptFileError,
        (f"is damaged at byte {HEADER} (zip member `a.bin`): expected bytes with the checksum 00000007, found"
        f" {zlib.crc32(TEXT):08x}"),
    ),
    "stored checksum": (
        Member("a.bin", TEXT, method=STORED, crc=7), CorruptFileError,
        (f"is damaged at byte {HEADER} (zip member `a.bin`): expected bytes with the checksum 00000007, found"
        f" {zlib.crc32(TEXT):08x}"),
    ),
    "more than declared": (
        Member("a.bin", TEXT, size=100), CorruptFileError,
        f"is damaged at byte {HEADER} (zip member `a.bin`): expected 100 unpacked bytes, found more",
    ),
    "less than declared": (
        Member("a.bin", TEXT, size=900), CorruptFileError,
        f"is damaged at byte {DIRECTORY} (zip member `a.bin`): expected 900 unpacked bytes, found 800",
    ),
    "encrypted": (
        Member("a.bin", TEXT, flags=0x801), UnsupportedFeatureError, f": `a.bin` at byte {HEADER} is encrypted",
    ),
    "LZMA": (
        Member("a.bin", b"x", method=14), UnsupportedFeatureError,
        f": `a.bin` at byte {HEADER} is compressed with LZMA; stored or deflated was expected",
    ),
    "unknown method": (
        Member("a.bin", b"x", method=77), UnsupportedFeatureError,
        f": `a.bin` at byte {HEADER} is compressed with method 77; stored or deflated was expected",
    ),
    "link": (
        Member("a.bin", b"/etc/passwd", method=STORED, attributes=0o120777 << 16), InputError,
        ": `a.bin` is a symbolic link, which could lead out of the folder it is unpacked to",
    ),
    "bomb": (
        Member("a.bin", TEXT, size=1 << 31), LimitError,
        f": `a.bin` has {len(A.packed)} bytes and would unpack to 2,147,483,648",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CONTENT)
def test_what_cannot_be_read_is_listed_and_refused(name: str, tmp_path: Path) -> None:
    member, kind, words = CONTENT[name]
    archive = opened(tmp_path, build(member))
    assert archive.names == ("a.bin",)
    with pytest.raises(kind) as caught:
        archive.read("a.bin", limit=1 << 40)
    assert type(caught.value) is kind
    gap = "" if words.startswith(":") else " "
    assert caught.value.message == f"{tmp_path / 'model.zip'}{gap}{words}"


@pytest.mark.parametrize("name", ["../x", "/etc/x", "a/../../x", "..", "a\\b", "C:x", "c:/x", "a/.."])
def test_names_that_climb_out_are_refused_and_reported(name: str, tmp_path: Path) -> None:
    archive = opened(tmp_path, build(Member(name, b"x"), Member("fine", b"y")))
    assert [(risk.kind, risk.where) for risk in archive.risks] == [("outside-path", name)]
    assert archive.risks[0].what == "would be unpacked outside its folder"
    for reader in (lambda: archive.read(name, limit=9), lambda: archive.stored(name)):
        with pytest.raises(InputError, match=re.escape(f"`{name}` would be unpacked outside its folder")):
            reader()
    assert archive.read("fine", limit=9) == b"y"


def test_the_limit_is_the_callers(tmp_path: Path) -> None:
    archive = opened(tmp_path, build(Member("a.bin", TEXT)))
    with pytest.raises(LimitError, match=r"`a.bin` unpacks to 800 bytes, at most 799 are read$"):
        archive.read("a.bin", limit=799)
    assert archive.read("a.bin", limit=800) == TEXT


def test_one_part_of_several(tmp_path: Path) -> None:
    with pytest.raises(UnsupportedFeatureError, match="is one part of an archive of several files"):
        opened(tmp_path, build(A, disk=1))


def test_bytes_after_the_deflated_ones(tmp_path: Path) -> None:
    member = Member("a.bin", TEXT)
    member.packed += b"more"
    member.fields["packed"] += 4
    archive = opened(tmp_path, build(member))
    with pytest.raises(CorruptFileError, match=r"expected the end of the member, found 4 bytes more$"):
        archive.read("a.bin", limit=LIMIT)


def test_a_deflated_stream_that_lies_takes_no_memory(tmp_path: Path) -> None:
    engine = zlib.compressobj(9, wbits=-15)
    packed = b"".join(engine.compress(bytes(1 << 20)) for _ in range(48)) + engine.flush()
    member = Member("a.bin", b"")
    member.packed = packed
    member.fields |= {"packed": len(packed), "size": 1000}
    archive = opened(tmp_path, build(member))
    tracemalloc.start()
    with pytest.raises(CorruptFileError, match="expected 1,000 unpacked bytes, found more"):
        archive.read("a.bin", limit=LIMIT)
    assert tracemalloc.get_traced_memory()[1] < 8 << 20
    tracemalloc.stop()


def test_many_members(tmp_path: Path) -> None:
    data = build(*(Member(f"{i}", b"", method=STORED) for i in range(10_000)))
    assert len(opened(tmp_path, data).names) == 10_000


WHOLE = standard({"a.bin": TEXT, "b.json": b"[1, 2]", "c/d": b""}, DEFLATED)
HARD = build(Member("a.bin", TEXT, flags=0x808), Member("b.json", b"[1, 2]", method=STORED))


def contents(folder: Path, data: bytes) -> dict[str, bytes] | None:
    """Everything in an archive; None where it is refused, which must be by one of our errors."""
    try:
        archive = opened(folder, data)
        return {name: archive.read(name, limit=1 << 20) for name in archive.names}
    except TfinspectError:
        return None


@pytest.mark.parametrize("data", [WHOLE, HARD], ids=["whole", "hard"])
def test_truncation_anywhere_is_refused(data: bytes, tmp_path: Path) -> None:
    assert contents(tmp_path, data)
    assert [cut for cut in range(1, len(data)) if contents(tmp_path, data[:cut]) is not None] == []


@pytest.mark.parametrize("data", [WHOLE, HARD], ids=["whole", "hard"])
def test_no_flipped_bit_gives_other_bytes(data: bytes, tmp_path: Path) -> None:
    right = contents(tmp_path, data)
    assert right
    for at in range(len(data)):
        broken = bytearray(data)
        broken[at] ^= 1 << at % 8
        found = contents(tmp_path, bytes(broken))
        if found is not None:  # a date, an attribute, the kind of a name
            assert list(found.values()) == list(right.values()), at


@settings(max_examples=150, deadline=None)
@given(st.binary(max_size=200), st.integers(0, len(WHOLE)), st.integers(0, 1))
def test_bytes_written_anywhere_only_raise_our_errors(
    tmp_path_factory: pytest.TempPathFactory, noise: bytes, at: int, keep: int
) -> None:
    folder = tmp_path_factory.getbasetemp()
    contents(folder, (WHOLE[:at] + noise + WHOLE[at if keep else at + len(noise) :]) or b"x")


@pytest.mark.skipif(not ZOO.is_dir(), reason="the collection of real models is not beside the repository")
def test_real_archives_read_as_the_standard_library_reads_them() -> None:
    seen = 0
    for path in [*sorted(ZOO.glob("dl4j/**/*.*")), *sorted(ZOO.glob("keras/**/*.keras"))]:
        if path.is_file() and zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as expected:
                archive = Archive(path)
                assert list(archive.names) == expected.namelist()
                assert all(archive.read(name, limit=LIMIT) == expected.read(name) for name in archive.names)
            seen += 1
    assert seen == 19
