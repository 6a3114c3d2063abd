"""Elements of less than a byte, as ONNX and TensorFlow Lite store them: the first of a byte in its lowest bits."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from tfinspect.ir.dtypes import DType

if TYPE_CHECKING:
    import numpy.typing as npt

PACKED_BITS: Final = {DType.INT4: 4, DType.UINT4: 4, DType.FLOAT4_E2M1FN: 4, DType.INT2: 2, DType.UINT2: 2}
"""Bits of one element, of those types that are packed."""


def packed_nbytes(dtype: DType, size: int) -> int:
    """Return the bytes that `size` elements take in a file."""
    bits = PACKED_BITS.get(dtype)
    return size * dtype.itemsize if bits is None else -(-size * bits // 8)


def unpack(data: bytes | memoryview, dtype: DType, size: int) -> npt.NDArray[Any]:
    """Return the first `size` elements, one to a byte as NumPy holds them."""
    import numpy as np

    bits = PACKED_BITS[dtype]
    packed = np.frombuffer(data, np.uint8)
    shifts = np.array(range(0, 8, bits), np.uint8)
    plain: npt.NDArray[Any] = (packed[:, None] >> shifts & ((1 << bits) - 1)).reshape(-1)[:size]
    if dtype in (DType.INT4, DType.INT2):
        half = np.int8(1 << bits - 1)
        plain = (plain.astype(np.int8) ^ half) - half  # extends the sign
    found: npt.NDArray[Any] = plain.view(dtype.numpy) if dtype.is_floating else plain.astype(dtype.numpy)
    return found
