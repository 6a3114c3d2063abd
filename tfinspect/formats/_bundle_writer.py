"""Writing a checkpoint of TensorFlow's current format ("tensor bundle"), values streamed into one shard.

Layout: see `checkpoint_v2` and `_table`. The index is written without compression, as TensorFlow writes it.
"""

from __future__ import annotations

import os
import struct
from typing import TYPE_CHECKING, Any, Final

from crc32c import crc32c

from tfinspect.errors import InputError, LimitError
from tfinspect.formats._schema import message_class
from tfinspect.formats._table import MAGIC, mask
from tfinspect.formats._tensor_proto import encode_shape
from tfinspect.formats._wire import varint_bytes

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from tfinspect.ir.tensors import Tensor

_BLOCK_NBYTES: Final = 1 << 18
_RESTART_INTERVAL: Final = 16
_HANDLES_NBYTES: Final = 40
_PRODUCER: Final = 1  # of the bundle format


def write_bundle(prefix: Path, tensors: Mapping[str, Tensor]) -> int:
    """Write `PREFIX.index` and `PREFIX.data-00000-of-00001`, both flushed to disk.

    Args:
        prefix: in an existing folder, which is the caller's to remove if this fails.
        tensors: numbers by name, read one piece after the other.

    Returns:
        Bytes of the values.

    Raises:
        InputError: a value cannot be read.
        LimitError: one is of strings or of another type without a size.
        OSError: the disk refuses.
    """
    entries: dict[bytes, bytes] = {}
    position = 0
    with prefix.with_name(f"{prefix.name}.data-00000-of-00001").open("xb") as file:
        for name, tensor in tensors.items():
            if not tensor.dtype.itemsize:
                raise LimitError(
                    f"`{name}` is of type {tensor.dtype}, which is not written to checkpoints", evidence={"name": name}
                )
            crc, size = 0, 0
            for piece in tensor.chunks():
                crc = crc32c(piece, crc)
                size += file.write(piece)
            if size != tensor.nbytes:
                raise InputError(f"`{name}` of {tensor.nbytes:,} bytes gave {size:,}", evidence={"name": name})
            entry: Any = message_class("BundleEntryProto")(
                dtype=int(tensor.dtype), offset=position, size=size, crc32c=mask(crc)
            )
            entry.shape.CopyFrom(encode_shape(tensor.shape))
            entries[name.encode()] = entry.SerializeToString(deterministic=True)
            position += size
        file.flush()
        os.fsync(file.fileno())
    header: Any = message_class("BundleHeaderProto")(num_shards=1)
    header.version.producer = _PRODUCER
    rows = [(b"", header.SerializeToString(deterministic=True)), *sorted(entries.items())]
    with prefix.with_name(f"{prefix.name}.index").open("xb") as file:
        file.write(_table(rows))
        file.flush()
        os.fsync(file.fileno())
    return position


def _table(rows: Iterable[tuple[bytes, bytes]]) -> bytes:
    """Return a table of rows that are sorted by key."""
    out = bytearray()
    handles: list[tuple[bytes, bytes]] = []
    block: list[tuple[bytes, bytes]] = []
    size = 0
    for key, value in rows:
        if size >= _BLOCK_NBYTES:
            handles.append((block[-1][0], _append(out, _block(block, _RESTART_INTERVAL))))
            block, size = [], 0
        block.append((key, value))
        size += len(key) + len(value)
    handles.append((block[-1][0], _append(out, _block(block, _RESTART_INTERVAL))))
    metaindex = _append(out, _block([], 1))
    index = _append(out, _block(handles, 1))
    out += (metaindex + index).ljust(_HANDLES_NBYTES, b"\0") + MAGIC
    return bytes(out)


def _append(out: bytearray, block: bytes) -> bytes:
    """Append a block, the type of its compression and its checksum; return where it stands, as a table says it."""
    handle = varint_bytes(len(out)) + varint_bytes(len(block))
    stored = block + b"\0"
    out += stored + struct.pack("<I", mask(crc32c(stored)))
    return handle


def _block(rows: Iterable[tuple[bytes, bytes]], interval: int) -> bytes:
    body = bytearray()
    restarts: list[int] = []
    last = b""
    for number, (key, value) in enumerate(rows):
        shared = 0
        if number % interval == 0:
            restarts.append(len(body))
        else:
            most = min(len(last), len(key))
            shared = next((n for n in range(most) if last[n] != key[n]), most)
        body += varint_bytes(shared) + varint_bytes(len(key) - shared) + varint_bytes(len(value)) + key[shared:] + value
        last = key
    restarts = restarts or [0]
    return bytes(body) + struct.pack(f"<{len(restarts) + 1}I", *restarts, len(restarts))
