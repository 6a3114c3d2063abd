"""The byte strings under which checkpoints store slices of variables.

TensorFlow builds these keys with an encoding whose byte order is the order of the values (`OrderedCode`), so that a
sorted table keeps the slices of one variable together. A key is: the number 0, the variable's name, the rank, and for
each dimension where the slice starts and how long it is.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

WHOLE = -1  # the length that stands for "all of this dimension"


def slice_key(name: bytes, extents: Iterable[tuple[int, int]]) -> bytes:
    """Return the key of a slice.

    Args:
        name: the variable's name.
        extents: (start, length) of each dimension, exactly as the checkpoint's own list of slices has them: a whole
            dimension may be written as (0, `WHOLE`) or as (0, its size), and the two give different keys.
    """
    dimensions = list(extents)
    key = bytearray(unsigned(0) + string(name) + unsigned(len(dimensions)))
    for start, length in dimensions:
        key += signed(start)
        key += signed(length)
    return bytes(key)


def string(value: bytes) -> bytes:
    """Encode a byte string: 00 becomes 00 ff, ff becomes ff 00, and 00 01 ends it."""
    return re.sub(rb"[\x00\xff]", _escape, value) + b"\x00\x01"


def _escape(match: re.Match[bytes]) -> bytes:
    return b"\x00\xff" if match[0] == b"\x00" else b"\xff\x00"


def unsigned(value: int) -> bytes:
    """Encode a number from 0 to 2^64 - 1: its length in bytes, then its bytes, the high ones first."""
    size = (value.bit_length() + 7) // 8
    return bytes([size]) + value.to_bytes(size, "big")


def signed(value: int) -> bytes:
    """Encode a number from -2^63 to 2^63 - 1.

    As many leading ones as there are bytes, a zero, then the bits of the number, the high ones first. A negative number
    is the complement of what stands for its complement.
    """
    if value < 0:
        return bytes(0xFF ^ byte for byte in signed(~value))
    size = value.bit_length() // 7 + 1  # the leading ones and the zero take 1 bit a byte and 1 more
    header = ((1 << size) - 1) << 7 * size
    return (header | value).to_bytes(size, "big")
