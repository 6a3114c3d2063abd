"""A minimal baseline JPEG encoder, so that models which decode their own input can be fed.

One scan, 4:4:4, one flat quantisation table. The Huffman tables are not the usual ones of ITU-T T.81 Annex K: every
symbol of a table has a code of the same length, which is legal, tiny to write and a little larger on disk.
"""

from __future__ import annotations

import functools
import struct
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt

_QUANTUM = 4  # flat quantisation step: fine enough to keep edges, coarse enough to keep files small
_DC_SYMBOLS = tuple(range(12))  # size in bits of a DC difference
_DC_NBITS = 4
_AC_SYMBOLS = (0x00, 0xF0, *(run << 4 | size for run in range(16) for size in range(1, 11)))
_AC_NBITS = 8
_END_OF_BLOCK, _SIXTEEN_ZEROS = 0x00, 0xF0
# Luma and colour difference of JFIF 1.02 (ITU-R BT.601, full range)
_TO_YCBCR = np.array([[0.299, 0.587, 0.114], [-0.168736, -0.331264, 0.5], [0.5, -0.418688, -0.081312]])


def encode(pixels: npt.NDArray[np.uint8]) -> bytes:
    """Encode one image.

    Args:
        pixels: [height, width, 3] (RGB) or [height, width, 1] (grey), uint8.

    Returns:
        A baseline JFIF file.

    Raises:
        ValueError: the array has another shape or dtype.
    """
    if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] not in {1, 3} or 0 in pixels.shape:  # noqa: PLR2004
        raise ValueError(f"not an image: {pixels.dtype} {pixels.shape}")
    height, width, channels = pixels.shape
    planes = pixels.astype(np.float64)
    if channels > 1:
        planes = planes @ _TO_YCBCR.T + (0.0, 128.0, 128.0)
    coefficients = [_coefficients(planes[:, :, c]) for c in range(channels)]
    bits: list[str] = []
    previous = [0] * channels
    for at in range(len(coefficients[0])):
        for c in range(channels):
            block = coefficients[c][at]
            _encode_block(bits, block, int(block[0]) - previous[c])
            previous[c] = int(block[0])
    return b"".join((_headers(height, width, channels), _pack("".join(bits)), b"\xff\xd9"))


def _coefficients(plane: npt.NDArray[np.float64]) -> npt.NDArray[np.int64]:
    """Return the quantised DCT coefficients [blocks, 64] in zigzag order, edges repeated to whole blocks."""
    height, width = plane.shape
    padded = np.pad(plane - 128.0, ((0, -height % 8), (0, -width % 8)), mode="edge")
    rows, columns = padded.shape[0] // 8, padded.shape[1] // 8
    blocks = padded.reshape(rows, 8, columns, 8).transpose(0, 2, 1, 3)
    basis = _dct_basis()
    spectrum = np.rint(basis @ blocks @ basis.T / _QUANTUM).astype(np.int64)
    flat: npt.NDArray[np.int64] = np.clip(spectrum.reshape(-1, 64)[:, _zigzag()], -1023, 1023)
    return flat


@functools.cache
def _dct_basis() -> npt.NDArray[np.float64]:
    frequency, position = np.mgrid[0:8, 0:8]
    basis: npt.NDArray[np.float64] = np.cos((2 * position + 1) * frequency * np.pi / 16) / 2
    basis[0] /= np.sqrt(2)
    return basis


@functools.cache
def _zigzag() -> npt.NDArray[Any]:
    """Return the flat index of each coefficient along the diagonals, alternately downwards and upwards."""
    order = sorted(
        ((row, column) for row in range(8) for column in range(8)),
        key=lambda at: (at[0] + at[1], at[0] if (at[0] + at[1]) % 2 else at[1]),
    )
    return np.array([row * 8 + column for row, column in order])


def _encode_block(bits: list[str], block: npt.NDArray[np.int64], difference: int) -> None:
    size = abs(difference).bit_length()
    bits.append(f"{size:0{_DC_NBITS}b}" + _magnitude(difference, size))
    run = 0
    last = int(np.flatnonzero(block)[-1]) if block.any() else 0
    for value in block[1 : last + 1].tolist():
        if value == 0:
            run += 1
            continue
        while run > 15:  # noqa: PLR2004 - the run is a 4-bit field
            bits.append(_ac_code(_SIXTEEN_ZEROS))
            run -= 16
        size = abs(value).bit_length()
        bits.append(_ac_code(run << 4 | size) + _magnitude(value, size))
        run = 0
    if last < 63:  # noqa: PLR2004 - the last of 64 coefficients
        bits.append(_ac_code(_END_OF_BLOCK))


def _ac_code(symbol: int) -> str:
    return _ac_codes()[symbol]


@functools.cache
def _ac_codes() -> dict[int, str]:
    return {symbol: f"{code:0{_AC_NBITS}b}" for code, symbol in enumerate(_AC_SYMBOLS)}


def _magnitude(value: int, size: int) -> str:
    """Return the bits after a size: the value itself, or its ones' complement where it is negative."""
    return f"{value if value > 0 else value + (1 << size) - 1:0{size}b}" if size else ""


def _pack(bits: str) -> bytes:
    """Return the entropy-coded bytes, filled up with ones, a zero byte after each 0xFF."""
    bits += "1" * (-len(bits) % 8)
    return int(bits, 2).to_bytes(len(bits) // 8, "big").replace(b"\xff", b"\xff\x00") if bits else b""


def _headers(height: int, width: int, channels: int) -> bytes:
    def segment(marker: int, payload: bytes) -> bytes:
        return struct.pack(">BBH", 0xFF, marker, len(payload) + 2) + payload

    def table(kind: int, symbols: tuple[int, ...], nbits: int) -> bytes:
        counts = bytearray(16)
        counts[nbits - 1] = len(symbols)
        return bytes((kind,)) + bytes(counts) + bytes(symbols)

    components = b"".join(bytes((c + 1, 0x11, 0)) for c in range(channels))
    selectors = b"".join(bytes((c + 1, 0x00)) for c in range(channels))
    return b"".join(
        (
            b"\xff\xd8",
            segment(0xE0, b"JFIF\0" + bytes((1, 2, 0, 0, 1, 0, 1, 0, 0))),
            segment(0xDB, bytes((0,)) + bytes((_QUANTUM,)) * 64),
            segment(0xC0, struct.pack(">BHHB", 8, height, width, channels) + components),
            segment(0xC4, table(0x00, _DC_SYMBOLS, _DC_NBITS)),
            segment(0xC4, table(0x10, _AC_SYMBOLS, _AC_NBITS)),
            segment(0xDA, bytes((channels,)) + selectors + bytes((0, 63, 0))),
        )
    )
