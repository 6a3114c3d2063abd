"""Messages between this process and a child: a JSON header, then the arrays it names as raw bytes. No pickle.

    u64 little-endian   length of the header in bytes
    header              JSON; `arrays` holds dtype (TensorFlow's name), shape and nbytes of each array
    arrays              little-endian C-order elements, one array after the other

A string array is the u64 lengths of its elements and then the elements themselves.
"""

from __future__ import annotations

import itertools
import json
import struct
import sys
from typing import TYPE_CHECKING, Any

import numpy as np

from tfinspect.ir.dtypes import DType

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    import numpy.typing as npt

    Array = npt.NDArray[Any]

_LENGTH = struct.Struct("<Q")
_MAX_HEADER_NBYTES = 1 << 30
_BY_NAME = {str(dtype): dtype for dtype in DType}


class ProtocolError(Exception):
    """The other side sent something that is no message."""


def encode(header: Mapping[str, object], arrays: Sequence[Array] = ()) -> list[memoryview]:
    """Return a message as buffers to be written one after the other; contiguous arrays are not copied."""
    described: list[dict[str, object]] = []
    payload: list[memoryview] = []
    for array in arrays:
        dtype, buffers = _flatten(array)
        nbytes = sum(b.nbytes for b in buffers)
        described.append({"dtype": str(dtype), "shape": list(array.shape), "nbytes": nbytes})
        payload += [b for b in buffers if b.nbytes]
    text = json.dumps({**header, "arrays": described}, allow_nan=True).encode()
    return [memoryview(_LENGTH.pack(len(text)) + text), *payload]


def decode(read_into: Callable[[memoryview], None]) -> tuple[dict[str, Any], list[Array]]:
    """Read one message.

    Args:
        read_into: fills the whole buffer it is given, or raises.

    Raises:
        ProtocolError: the bytes are no message.
    """
    size = bytearray(_LENGTH.size)
    read_into(memoryview(size))
    (count,) = _LENGTH.unpack(size)
    if count > _MAX_HEADER_NBYTES:
        raise ProtocolError(f"a header of {count:,} bytes")
    text = bytearray(count)
    read_into(memoryview(text))
    try:
        header = json.loads(text)
        described = header.pop("arrays")
    except (ValueError, KeyError, AttributeError, TypeError):
        raise ProtocolError("a header that is not JSON") from None
    arrays = []
    for entry in described:
        flat = np.empty(entry["nbytes"], np.uint8)
        if flat.size:
            read_into(flat.data)
        arrays.append(_unflatten(_BY_NAME[entry["dtype"]], tuple(entry["shape"]), flat))
    return header, arrays


def _flatten(array: Array) -> tuple[DType, list[memoryview]]:
    dtype = DType.from_numpy(array.dtype)
    if dtype is DType.STRING:
        elements = [e.encode() if isinstance(e, str) else bytes(e) for e in array.reshape(-1).tolist()]
        lengths = np.array([len(e) for e in elements], "<u8")
        return dtype, [lengths.view(np.uint8).data, memoryview(b"".join(elements))]
    flat = np.ascontiguousarray(array).reshape(-1)
    swapped = flat.dtype.byteorder == ">" or (flat.dtype.byteorder == "=" and sys.byteorder == "big")
    if swapped:
        flat = flat.astype(flat.dtype.newbyteorder("<"))
    return dtype, [flat.view(np.uint8).data]


def _unflatten(dtype: DType, shape: tuple[int, ...], flat: npt.NDArray[np.uint8]) -> Array:
    if dtype is not DType.STRING:
        return flat.view(dtype.numpy).reshape(shape)
    count = int(np.prod(shape, dtype=np.int64))
    lengths = flat[: count * 8].view("<u8").tolist()
    ends = list(itertools.accumulate(lengths, initial=count * 8))
    strings = np.empty(count, object)
    data = flat.tobytes()
    for i, (start, end) in enumerate(itertools.pairwise(ends)):
        strings[i] = data[start:end]
    return strings.reshape(shape)
