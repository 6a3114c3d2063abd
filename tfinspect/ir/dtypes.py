"""Element types, numbered as TensorFlow's `types.proto` numbers them."""

from __future__ import annotations

import functools
from enum import IntEnum
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np

_REF_OFFSET = 100  # a reference type is its base type plus 100


class DType(IntEnum):
    """An element type. `str()` gives TensorFlow's name for it: `float32`, `string`, `int64`."""

    INVALID = 0
    FLOAT = 1
    DOUBLE = 2
    INT32 = 3
    UINT8 = 4
    INT16 = 5
    INT8 = 6
    STRING = 7
    COMPLEX64 = 8
    INT64 = 9
    BOOL = 10
    QINT8 = 11
    QUINT8 = 12
    QINT32 = 13
    BFLOAT16 = 14
    QINT16 = 15
    QUINT16 = 16
    UINT16 = 17
    COMPLEX128 = 18
    HALF = 19
    RESOURCE = 20
    VARIANT = 21
    UINT32 = 22
    UINT64 = 23
    FLOAT8_E5M2 = 24
    FLOAT8_E4M3FN = 25
    FLOAT8_E4M3FNUZ = 26
    FLOAT8_E4M3B11FNUZ = 27
    FLOAT8_E5M2FNUZ = 28
    INT4 = 29
    UINT4 = 30
    INT2 = 31
    UINT2 = 32
    FLOAT4_E2M1FN = 33

    def __str__(self) -> str:
        """Return TensorFlow's name, e.g. `float32`."""
        return _NAMES.get(self, self.name.lower())

    @property
    def itemsize(self) -> int:
        """Bytes of one element as checkpoints and tensor_content store it; 0 where it has no fixed size."""
        return _ITEMSIZE[self]

    @property
    def is_floating(self) -> bool:
        """Whether it is a real floating-point type."""
        return self in _FLOATING

    @property
    def is_integer(self) -> bool:
        """Whether it is a plain (not quantised) integer type."""
        return self in _INTEGER

    @property
    def numpy(self) -> np.dtype[Any]:
        """The NumPy type of the stored elements; strings are `object` (of bytes), quantised types plain integers."""
        return _numpy_dtype(self)

    @classmethod
    def from_number(cls, number: int) -> DType:
        """Return the type of a number in a file, reference types as their base; unknown numbers are INVALID."""
        base = number - _REF_OFFSET if number > _REF_OFFSET else number
        return cls(base) if base in cls._value2member_map_ else cls.INVALID

    @classmethod
    def from_numpy(cls, dtype: np.dtype[Any]) -> DType:
        """Return the type whose elements NumPy stores as `dtype`.

        Raises:
            ValueError: TensorFlow has no such type.
        """
        if dtype.kind in "OSU":
            return cls.STRING
        name = _BY_NUMPY_NAME.get(dtype.name)
        if name is None:
            raise ValueError(f"no TensorFlow dtype stores {dtype}")
        return name


_NAMES = {DType.FLOAT: "float32", DType.DOUBLE: "float64", DType.HALF: "float16"}
_FLOATING = {
    DType.FLOAT, DType.DOUBLE, DType.HALF, DType.BFLOAT16, DType.FLOAT8_E5M2, DType.FLOAT8_E4M3FN,
    DType.FLOAT8_E4M3FNUZ, DType.FLOAT8_E4M3B11FNUZ, DType.FLOAT8_E5M2FNUZ, DType.FLOAT4_E2M1FN,
}  # fmt: skip
_INTEGER = {
    DType.INT8, DType.INT16, DType.INT32, DType.INT64, DType.UINT8, DType.UINT16, DType.UINT32, DType.UINT64,
    DType.INT4, DType.UINT4, DType.INT2, DType.UINT2,
}  # fmt: skip
_ITEMSIZE = {
    dtype: size
    for size, dtypes in {
        0: (DType.INVALID, DType.STRING, DType.RESOURCE, DType.VARIANT),
        1: (
            DType.UINT8, DType.INT8, DType.BOOL, DType.QINT8, DType.QUINT8, DType.INT4, DType.UINT4, DType.INT2,
            DType.UINT2, DType.FLOAT4_E2M1FN, DType.FLOAT8_E5M2, DType.FLOAT8_E4M3FN, DType.FLOAT8_E4M3FNUZ,
            DType.FLOAT8_E4M3B11FNUZ, DType.FLOAT8_E5M2FNUZ,
        ),
        2: (DType.INT16, DType.BFLOAT16, DType.QINT16, DType.QUINT16, DType.UINT16, DType.HALF),
        4: (DType.FLOAT, DType.INT32, DType.QINT32, DType.UINT32),
        8: (DType.DOUBLE, DType.INT64, DType.UINT64, DType.COMPLEX64),
        16: (DType.COMPLEX128,),
    }.items()
    for dtype in dtypes
}  # fmt: skip
_PLAIN = {
    DType.QINT8: "int8", DType.QUINT8: "uint8", DType.QINT32: "int32", DType.QINT16: "int16", DType.QUINT16: "uint16",
    DType.FLOAT: "float32", DType.DOUBLE: "float64", DType.HALF: "float16",
}  # fmt: skip
_ML_DTYPES = {
    DType.BFLOAT16, DType.FLOAT8_E5M2, DType.FLOAT8_E4M3FN, DType.FLOAT8_E4M3FNUZ, DType.FLOAT8_E4M3B11FNUZ,
    DType.FLOAT8_E5M2FNUZ, DType.INT4, DType.UINT4, DType.INT2, DType.UINT2, DType.FLOAT4_E2M1FN,
}  # fmt: skip
_BY_NUMPY_NAME = {
    str(d): d for d in DType if d not in (DType.INVALID, DType.RESOURCE, DType.VARIANT) and not d.name.startswith("Q")
}


@functools.cache
def _numpy_dtype(dtype: DType) -> np.dtype[Any]:
    import numpy as np

    if dtype in (DType.STRING, DType.RESOURCE, DType.VARIANT, DType.INVALID):
        return np.dtype(object)
    if dtype in _ML_DTYPES:
        import ml_dtypes

        exotic: np.dtype[Any] = np.dtype(getattr(ml_dtypes, dtype.name.lower()))
        return exotic
    return np.dtype(_PLAIN.get(dtype, dtype.name.lower()))
