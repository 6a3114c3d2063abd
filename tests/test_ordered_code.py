from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tfinspect.formats._ordered_code import signed, slice_key, string, unsigned

INT64 = st.integers(-(2**63), 2**63 - 1)
UINT64 = st.integers(0, 2**64 - 1)


def decode_string(data: bytes) -> tuple[bytes, bytes]:
    out = bytearray()
    position = 0
    while True:
        pair = data[position : position + 2]
        if pair == b"\x00\x01":
            return bytes(out), data[position + 2 :]
        if pair == b"\x00\xff":
            out += b"\x00"
        elif pair == b"\xff\x00":
            out += b"\xff"
        else:
            assert pair[0] not in (0, 0xFF)
            out += pair[:1]
            position -= 1
        position += 2


def decode_unsigned(data: bytes) -> tuple[int, bytes]:
    return int.from_bytes(data[1 : 1 + data[0]], "big"), data[1 + data[0] :]


def decode_signed(data: bytes) -> tuple[int, bytes]:
    bits = "".join(f"{byte:08b}" for byte in data[:11])
    size = len(bits) - len(bits.lstrip(bits[0]))
    body = bits[size + 1 : 8 * size]
    sign = "0" if bits[0] == "1" else "1"
    value = int(sign + body, 2) - (1 << len(body) + 1 if sign == "1" else 0)
    return value, data[size:]


@pytest.mark.parametrize(
    ("value", "code"),
    [
        (0, "80"),
        (4, "84"),
        (-1, "7f"),
        (63, "bf"),
        (64, "c040"),
        (-64, "40"),
        (-65, "3fbf"),
        (334, "c14e"),
        (0x424242, "f0424242"),
        (-0x800, "3800"),
        (2**63 - 1, "ffc07fffffffffffffff"),
        (-(2**63), "003f8000000000000000"),
    ],
)
def test_signed_numbers_are_the_bytes_tensorflow_writes(value: int, code: str) -> None:
    assert signed(value).hex() == code


def test_a_slice_key_is_the_bytes_tensorflow_writes() -> None:
    assert slice_key(b"part", [(0, 4), (0, 4)]).hex(" ") == "00 70 61 72 74 00 01 01 02 80 84 80 84"
    assert slice_key(b"s", []).hex(" ") == "00 73 00 01 00"
    assert slice_key(b"w", [(0, -1)]).hex(" ") == "00 77 00 01 01 01 80 7f"


@given(st.lists(INT64, min_size=2))
def test_signed_codes_sort_as_their_numbers(values: list[int]) -> None:
    assert sorted(values, key=signed) == sorted(values)


@given(st.lists(UINT64, min_size=2))
def test_unsigned_codes_sort_as_their_numbers(values: list[int]) -> None:
    assert sorted(values, key=unsigned) == sorted(values)


@given(st.lists(st.binary(max_size=6), min_size=2))
def test_string_codes_sort_as_their_strings(values: list[bytes]) -> None:
    assert sorted(values, key=string) == sorted(values)


@given(st.lists(st.sampled_from([b"", b"\0", b"\xff", b"\0\xff", b"\xff\0", b"\0\1", b"a"])), INT64, UINT64)
def test_codes_read_back_whatever_follows(texts: list[bytes], number: int, size: int) -> None:
    text = b"".join(texts)
    rest = string(text) + signed(number) + unsigned(size) + b"tail"
    found, rest = decode_string(rest)
    assert found == text
    value, rest = decode_signed(rest)
    assert value == number
    assert decode_unsigned(rest) == (size, b"tail")
