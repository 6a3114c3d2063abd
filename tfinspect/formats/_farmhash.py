"""FarmHash's 64-bit fingerprint, which TensorFlow takes of the files of a SavedModel."""

from __future__ import annotations

import struct
from typing import Final

_ALL: Final = (1 << 64) - 1
_K0: Final = 0xC3A5C85C97CB3127
_K1: Final = 0xB492B66FBE98F273
_K2: Final = 0x9AE16A3B2F90404F
_SEED: Final = 81
_BLOCK: Final = struct.Struct("<8Q")
_SHORT, _MIDDLE, _LONG = 16, 32, 64  # lengths up to which a way of its own is used
_WORD, _HALF = 8, 4

_State = tuple[int, int, int, int, int, int, int]  # x, y, z, both halves of v, both halves of w


def fingerprint64(data: bytes | memoryview) -> int:
    """Return the fingerprint of some bytes, as an unsigned number."""
    size = len(data)
    if size <= _SHORT:
        return _up_to_16(bytes(data))
    if size <= _LONG:
        return _up_to_64(bytes(data))
    last = (size - 1) // _BLOCK.size * _BLOCK.size  # where the last block would start; the one used ends with the data
    rest = (size - 1) % _BLOCK.size
    y = (_SEED * _K1 + 113) & _ALL
    z = _shift_mix((y * _K2 + 113) & _ALL) * _K2 & _ALL
    x = (_SEED * _K2 + int.from_bytes(data[:_WORD], "little")) & _ALL
    state: _State = (x, y, z, 0, 0, 0, 0)
    for words in _BLOCK.iter_unpack(data[:last]):
        state = _mixed(state, words, _K1, 1)
    x, y, z, v0, v1, w0, w1 = state
    factor = (_K1 + ((z & 0xFF) << 1)) & _ALL
    w0 = w0 + rest & _ALL
    v0 = v0 + w0 & _ALL
    w0 = w0 + v0 & _ALL
    state = _mixed((x, y, z, v0, v1, w0, w1), _BLOCK.unpack(data[size - _BLOCK.size :]), factor, 9)
    x, y, z, v0, v1, w0, w1 = state
    return _joined(_joined(v0, w0, factor) + _shift_mix(y) * _K0 + z & _ALL, _joined(v1, w1, factor) + x & _ALL, factor)


def _mixed(state: _State, words: tuple[int, ...], factor: int, weight: int) -> _State:
    """Take in one block of eight words."""
    x, y, z, v0, v1, w0, w1 = state
    x = _rotated(x + y + v0 + words[1] & _ALL, 37) * factor & _ALL
    y = _rotated(y + v1 + words[6] & _ALL, 42) * factor & _ALL
    x ^= w1 * weight & _ALL
    y = y + v0 * weight + words[5] & _ALL
    z = _rotated(z + w0 & _ALL, 33) * factor & _ALL
    v0, v1 = _weak(words[:4], v1 * factor, x + w0)
    w0, w1 = _weak(words[4:], z + w1, y + words[2])
    return z, y, x, v0, v1, w0, w1


def _weak(words: tuple[int, ...], first: int, second: int) -> tuple[int, int]:
    """Hash four words with two seeds, quickly rather than well."""
    first = first + words[0] & _ALL
    second = _rotated(second + first + words[3] & _ALL, 21)
    total = first + words[1] + words[2] & _ALL
    return total + words[3] & _ALL, second + _rotated(total, 44) + first & _ALL


def _up_to_16(data: bytes) -> int:
    size = len(data)
    factor = _K2 + 2 * size & _ALL
    if size >= _WORD:
        first = int.from_bytes(data[:_WORD], "little") + _K2 & _ALL
        last = int.from_bytes(data[-_WORD:], "little")
        return _joined(_rotated(last, 37) * factor + first & _ALL, (_rotated(first, 25) + last) * factor & _ALL, factor)
    if size >= _HALF:
        first, last = int.from_bytes(data[:_HALF], "little"), int.from_bytes(data[-_HALF:], "little")
        return _joined(size + (first << 3), last, factor)
    if size:
        ends = (data[0] + (data[size // 2] << 8)) * _K2 & _ALL
        return _shift_mix(ends ^ (size + (data[-1] << 2)) * _K0 & _ALL) * _K2 & _ALL
    return _K2


def _up_to_64(data: bytes) -> int:
    size = len(data)
    factor = _K2 + 2 * size & _ALL

    def word(at: int) -> int:
        return int.from_bytes(data[at : at + _WORD], "little")

    first = word(0) * (_K1 if size <= _MIDDLE else _K2) & _ALL
    second, third = word(8), word(size - 8) * factor & _ALL
    low = _rotated(first + second & _ALL, 43) + _rotated(third, 30) + word(size - 16) * _K2 & _ALL
    high = first + _rotated(second + _K2 & _ALL, 18) + third & _ALL
    if size <= _MIDDLE:
        return _joined(low, high, factor)
    inner = _joined(low, high, factor)
    fifth, sixth = word(16) * factor & _ALL, word(24)
    seventh, eighth = (low + word(size - 32)) * factor & _ALL, (inner + word(size - 24)) * factor & _ALL
    return _joined(
        _rotated(fifth + sixth & _ALL, 43) + _rotated(seventh, 30) + eighth & _ALL,
        fifth + _rotated(sixth + first & _ALL, 18) + seventh & _ALL,
        factor,
    )


def _joined(low: int, high: int, factor: int) -> int:
    """Hash two words into one."""
    mixed = (low ^ high) * factor & _ALL
    mixed = (high ^ mixed ^ mixed >> 47) * factor & _ALL
    return (mixed ^ mixed >> 47) * factor & _ALL


def _rotated(word: int, count: int) -> int:
    return word >> count | word << 64 - count & _ALL


def _shift_mix(word: int) -> int:
    return word ^ word >> 47
