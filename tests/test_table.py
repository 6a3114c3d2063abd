from __future__ import annotations

import struct
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.checkpoint_writers import MAGIC, assemble, block, stored, table, varint
from tfinspect.errors import CorruptFileError, FileMissingError, InputError
from tfinspect.formats._table import Table, mask
from tfinspect.ir.tensors import CHUNK_NBYTES

if TYPE_CHECKING:
    from pathlib import Path

ROWS = [(f"layer_{i:03d}/weights".encode(), bytes([i]) * (i % 7)) for i in range(40)]
SHARED = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)


def opened(folder: Path, content: bytes) -> Table:
    path = folder / "table"
    path.write_bytes(content)
    return Table(str(path))


def rows(found: Table) -> list[tuple[bytes, bytes]]:
    return [(key, value) for key, value, _ in found.entries()]


def read_all(path: Path) -> None:
    for _ in Table(str(path)).entries():
        pass


@SHARED
@given(
    entries=st.dictionaries(st.binary(max_size=40), st.binary(max_size=200), max_size=60),
    block_nbytes=st.integers(1, 400),
    interval=st.integers(1, 20),
    snappy=st.booleans(),
)
def test_what_was_written_is_read(
    tmp_path: Path, *, entries: dict[bytes, bytes], block_nbytes: int, interval: int, snappy: bool
) -> None:
    wanted = sorted(entries.items())
    found = opened(tmp_path, table(wanted, block_nbytes=block_nbytes, interval=interval, snappy=snappy))
    assert rows(found) == wanted
    for key, value in wanted:
        place = found.find(key)
        assert place is not None
        assert place.read() == value
        assert (missing := key + b"\0") in entries or found.find(missing) is None


def test_long_keys_and_values_take_longer_varints(tmp_path: Path) -> None:
    wanted = [(b"k" * 300, b"v" * 70_000), (b"k" * 300 + b"l" * 200, b"w")]
    assert rows(opened(tmp_path, table(wanted, block_nbytes=1 << 20))) == wanted


def test_offsets_are_those_of_the_values(tmp_path: Path) -> None:
    content = table(ROWS, block_nbytes=300)
    for _, value, at in opened(tmp_path, content).entries():
        assert content[at : at + len(value)] == value


@pytest.mark.parametrize("snappy", [False, True])
def test_every_flipped_bit_is_noticed(tmp_path: Path, *, snappy: bool) -> None:
    content = table(ROWS[:6], block_nbytes=60, snappy=snappy)
    path = tmp_path / "table"
    for bit in range(8 * len(content)):
        damaged = bytearray(content)
        damaged[bit // 8] ^= 1 << bit % 8
        path.write_bytes(damaged)
        with pytest.raises(InputError):
            read_all(path)


def test_every_shorter_file_is_noticed(tmp_path: Path) -> None:
    content = table(ROWS, block_nbytes=100)
    path = tmp_path / "table"
    for size in range(len(content)):
        path.write_bytes(content[:size])
        with pytest.raises(InputError):
            read_all(path)


@SHARED
@given(st.binary(max_size=80), st.integers(0, 40))
def test_hostile_block_contents_give_no_other_error(tmp_path: Path, contents: bytes, cut: int) -> None:
    good = block([(b"", b"x"), (b"key", b"value" * 9)])
    path = tmp_path / "table"
    for body in (contents, good[:cut] + contents + good[cut:], good[:cut] + good[cut + len(contents) :]):
        path.write_bytes(assemble([(b"zz", body)]))
        try:
            read_all(path)
            Table(str(path)).find(b"key")
        except InputError:
            pass
    assert path.stat().st_size > 48


def large(size: int) -> tuple[list[tuple[bytes, bytes]], bytes]:
    wanted = [(b"", b"head"), (b"big", bytes(range(256)) * (size // 256)), (b"c", b"after")]
    return wanted, table(wanted, block_nbytes=1 << 30)


def test_a_large_block_is_read_in_pieces(tmp_path: Path) -> None:
    wanted, content = large(3 * CHUNK_NBYTES)
    found = opened(tmp_path, content)
    for key, value in wanted:
        place = found.find(key)
        assert place is not None
        assert place.read() == value
        assert content[place.offset : place.offset + len(value)] == value
    place = found.find(b"big")
    assert place is not None
    spans = [(place.start + 5, place.start + 9), (place.start + 2 * CHUNK_NBYTES, place.stop - 3)]
    pieces = list(place.pieces(spans))
    assert max(map(len, pieces)) <= CHUNK_NBYTES
    assert b"".join(pieces) == wanted[1][1][5:9] + wanted[1][1][2 * CHUNK_NBYTES : -3]


@pytest.mark.parametrize("where", [20, CHUNK_NBYTES, 2 * CHUNK_NBYTES + 7, -200])
def test_damage_in_a_large_block_is_noticed_at_its_end(tmp_path: Path, where: int) -> None:
    _, content = large(2 * CHUNK_NBYTES)
    damaged = bytearray(content)
    damaged[where] ^= 4
    with pytest.raises(CorruptFileError) as raised:
        read_value(opened(tmp_path, bytes(damaged)), b"big")
    assert "checksum" in raised.value.expected or raised.value.structure


def read_value(found: Table, key: bytes) -> bytes:
    place = found.find(key)
    assert place is not None
    return place.read()


def test_a_snappy_block_that_declares_too_much_is_refused_unread(tmp_path: Path) -> None:
    body = varint(1 << 31) + b"\x00a" + b"\x01"
    piece = body + struct.pack("<I", mask_of(body))
    index = stored(block([(b"z", varint(0) + varint(len(piece) - 5))]))
    meta = stored(block([]))
    footer = varint(len(piece)) + varint(len(meta) - 5) + varint(len(piece) + len(meta)) + varint(len(index) - 5)
    found = opened(tmp_path, piece + meta + index + footer.ljust(40, b"\0") + MAGIC)
    with pytest.raises(CorruptFileError, match="declared size of 2,147,483,648"):
        list(found.entries())


def mask_of(body: bytes) -> int:
    from crc32c import crc32c

    return mask(crc32c(body))


@pytest.mark.parametrize(
    ("blocks", "message"),
    [
        ([(b"b", block([(b"b", b""), (b"a", b"")], 1))], "sorts before its predecessor"),
        ([(b"b", block([(b"b", b""), (b"b", b"")], 1))], "the same key twice"),
        ([(b"b", block([(b"b", b"")])), (b"c", block([(b"a", b"")]))], "sorts before its predecessor"),
        ([(b"b", block([(b"a", b"")])), (b"a", block([(b"c", b"")]))], "keys in increasing order"),
        ([(b"b", b"\x05\x01\x01kv" + struct.pack("<II", 0, 1))], "sharing 5"),
        ([(b"b", b"\x00\x01\x7fkv" + struct.pack("<II", 0, 1))], r"1 \+ 127 bytes"),
        ([(b"b", b"\x00\x01\x01kv" + struct.pack("<II", 9, 1))], "restart points"),
        ([(b"b", b"\x00\x01\x01kv" + struct.pack("<I", 1 << 30))], "restart points"),
        ([(b"b", b"\x00\x01\x01kv" + struct.pack("<I", 0))], "restart points"),
        ([(b"b", b"")], "restart points"),
        ([(b"b", b"\xff" * 20 + struct.pack("<II", 0, 1))], "varint"),
    ],
)
def test_blocks_that_break_the_rules(tmp_path: Path, blocks: list[tuple[bytes, bytes]], message: str) -> None:
    with pytest.raises(CorruptFileError, match=message):
        list(opened(tmp_path, assemble(blocks)).entries())


def test_bytes_that_no_block_owns_are_refused(tmp_path: Path) -> None:
    content = bytearray(table(ROWS))
    content[-48:-48] = b"12345"
    with pytest.raises(CorruptFileError, match="footer"):
        opened(tmp_path, bytes(content))


def test_padding_of_the_footer_must_be_zero(tmp_path: Path) -> None:
    content = bytearray(table(ROWS))
    content[-9] = 1
    with pytest.raises(CorruptFileError, match="zeros up to the magic number"):
        opened(tmp_path, bytes(content))


def test_an_unknown_compression_is_named(tmp_path: Path) -> None:
    body = block([(b"", b"")]) + b"\x07"
    piece = body + struct.pack("<I", mask_of(body))
    index = stored(block([(b"z", varint(0) + varint(len(piece) - 5))]))
    meta = stored(block([]))
    footer = varint(len(piece)) + varint(len(meta) - 5) + varint(len(piece) + len(meta)) + varint(len(index) - 5)
    found = opened(tmp_path, piece + meta + index + footer.ljust(40, b"\0") + MAGIC)
    with pytest.raises(CorruptFileError, match="type 7"):
        found.find(b"")


def test_a_git_lfs_pointer_is_called_one(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="Git LFS pointer") as raised:
        opened(tmp_path, b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 123\n")
    assert raised.value.hint == "git lfs pull"


def test_a_file_that_changes_meanwhile_is_noticed(tmp_path: Path) -> None:
    found = opened(tmp_path, table(ROWS))
    (tmp_path / "table").write_bytes(table(ROWS[:30]))
    with pytest.raises(InputError, match="changed while it was being read"):
        list(found.entries())


def test_no_file(tmp_path: Path) -> None:
    with pytest.raises(FileMissingError, match="does not exist"):
        Table(str(tmp_path / "none"))
    with pytest.raises(FileMissingError, match="is a folder"):
        Table(str(tmp_path))
