"""Writers of tables and checkpoints for the tests: small, and able to write what TensorFlow would not."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any

import cramjam
import numpy as np
from crc32c import crc32c

from tfinspect.formats._ordered_code import slice_key
from tfinspect.formats._schema import message_class
from tfinspect.ir.dtypes import DType

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from pathlib import Path

MAGIC = struct.pack("<Q", 0xDB4775248B80FB57)
Extents = tuple[tuple[int, int], ...]

V1_FIELDS = {
    "float32": "float_val",
    "float64": "double_val",
    "complex64": "scomplex_val",
    "complex128": "dcomplex_val",
    "int64": "int64_val",
    "bool": "bool_val",
    "float16": "half_val",
    "bfloat16": "half_val",
    "uint32": "uint32_val",
    "uint64": "uint64_val",
}


def varint(number: int) -> bytes:
    out = bytearray()
    while number >= 128:
        out.append(number & 127 | 128)
        number >>= 7
    return bytes([*out, number])


def masked(data: bytes) -> int:
    crc = crc32c(data)
    return (((crc >> 15) | (crc << 17) & 0xFFFFFFFF) + 0xA282EAD8) & 0xFFFFFFFF


def block(entries: Sequence[tuple[bytes, bytes]], interval: int = 16) -> bytes:
    body, restarts, last = bytearray(), [], b""
    for number, (key, value) in enumerate(entries):
        shared = 0
        if number % interval == 0:
            restarts.append(len(body))
        else:
            while shared < min(len(key), len(last)) and key[shared] == last[shared]:
                shared += 1
        body += varint(shared) + varint(len(key) - shared) + varint(len(value)) + key[shared:] + value
        last = key
    restarts = restarts or [0]
    return bytes(body) + struct.pack(f"<{len(restarts) + 1}I", *restarts, len(restarts))


def stored(contents: bytes, *, snappy: bool = False) -> bytes:
    if snappy:
        contents = bytes(cramjam.snappy.compress_raw(contents))
    contents += bytes([snappy])
    return contents + struct.pack("<I", masked(contents))


def table(
    entries: Iterable[tuple[bytes, bytes]], *, block_nbytes: int = 4096, interval: int = 16, snappy: bool = False
) -> bytes:
    """Write entries, in the order given."""
    groups: list[list[tuple[bytes, bytes]]] = [[]]
    size = 0
    for entry in entries:
        if groups[-1] and size >= block_nbytes:
            groups.append([])
            size = 0
        groups[-1].append(entry)
        size += len(entry[0]) + len(entry[1])
    return assemble([(group[-1][0] if group else b"", block(group, interval)) for group in groups], snappy=snappy)


def assemble(blocks: Sequence[tuple[bytes, bytes]], *, snappy: bool = False) -> bytes:
    """Write (limit, contents) of blocks as a table file."""
    out, index = bytearray(), []

    def add(contents: bytes) -> bytes:
        piece = stored(contents, snappy=snappy)
        handle = varint(len(out)) + varint(len(piece) - 5)
        out.extend(piece)
        return handle

    for limit, contents in blocks:
        index.append((limit, add(contents)))
    metaindex = add(block([]))
    footer = metaindex + add(block(index, 1))
    return bytes(out) + footer.ljust(40, b"\0") + MAGIC


def shape_proto(shape: Sequence[int]) -> Any:
    message = message_class("TensorShapeProto")()
    for size in shape:
        message.dim.add(size=size)
    return message


def slice_proto(extents: Extents) -> Any:
    message = message_class("TensorSliceProto")()
    for start, length in extents:
        extent = message.extent.add(start=start)
        if length >= 0:
            extent.length = length
    return message


def part(array: np.ndarray, extents: Extents) -> np.ndarray:
    place = tuple(slice(s, None if n < 0 else s + n) for s, n in extents)
    return array[place] if place else array  # indexing would make a scalar of it


def dtype_of(array: np.ndarray) -> DType:
    return DType.from_numpy(array.dtype)


def payload(array: np.ndarray, *, big_endian: bool = False) -> tuple[bytes, int]:
    """Return the bytes of a tensor in a V2 shard, and their checksum."""
    if array.dtype != object:
        data = array.astype(array.dtype.newbyteorder(">")).tobytes() if big_endian else array.tobytes()
        return data, masked(data)
    order = ">" if big_endian else "<"
    strings = array.reshape(-1).tolist()
    lengths = b"".join(struct.pack(order + "I", len(s)) for s in strings)
    check = struct.pack(order + "I", masked(lengths))
    rest = b"".join(strings)
    return b"".join(varint(len(s)) for s in strings) + check + rest, masked(lengths + check + rest)


def write_bundle(
    prefix: Path,
    arrays: dict[str, np.ndarray],
    *,
    slices: dict[str, list[Extents]] | None = None,
    num_shards: int = 1,
    big_endian: bool = False,
    dtypes: dict[str, DType] | None = None,
    edit: Callable[[dict[bytes, Any]], None] | None = None,
    gap: int = 0,
) -> dict[bytes, Any]:
    """Write a V2 checkpoint; tensors go to the shards in turn. `edit` may change the entries before they are written."""
    data = [bytearray() for _ in range(num_shards)]
    entries: dict[bytes, Any] = {
        b"": message_class("BundleHeaderProto")(num_shards=num_shards, endianness=int(big_endian))
    }
    entries[b""].version.producer = 1

    def add(key: bytes, array: np.ndarray, dtype: DType) -> None:
        shard = len(entries) % num_shards
        data[shard] += bytes(gap)
        body, crc = payload(array, big_endian=big_endian)
        entries[key] = message_class("BundleEntryProto")(
            dtype=int(dtype),
            shape=shape_proto(array.shape),
            shard_id=shard,
            offset=len(data[shard]),
            size=len(body),
            crc32c=crc,
        )
        data[shard] += body

    for name, array in arrays.items():
        dtype = (dtypes or {}).get(name) or dtype_of(array)
        if slices and name in slices:
            for extents in slices[name]:
                add(slice_key(name.encode(), extents), part(array, extents), dtype)
            entries[name.encode()] = message_class("BundleEntryProto")(
                dtype=int(dtype), shape=shape_proto(array.shape), slices=[slice_proto(e) for e in slices[name]]
            )
        else:
            add(name.encode(), array, dtype)
    if edit:
        edit(entries)
    rows = sorted((key, e if isinstance(e, bytes) else e.SerializeToString()) for key, e in entries.items())
    prefix.with_name(prefix.name + ".index").write_bytes(table(rows))
    for number, shard in enumerate(data):
        prefix.with_name(f"{prefix.name}.data-{number:05d}-of-{num_shards:05d}").write_bytes(shard)
    return entries


def v1_values(array: np.ndarray, dtype: DType | None = None) -> Any:
    message = message_class("TensorProto")()
    name = array.dtype.name
    flat = array.reshape(-1)
    if array.dtype == object:
        message.string_val.extend(flat.tolist())
    elif name.startswith("complex"):
        getattr(message, V1_FIELDS[name]).extend(flat.view("f4" if name == "complex64" else "f8").tolist())
    elif name in ("float16", "bfloat16"):
        message.half_val.extend(flat.view(np.uint16).tolist())
    else:
        getattr(message, V1_FIELDS.get(name, "int_val")).extend(flat.tolist())
    return message


def v1_rows(
    arrays: dict[str, tuple[np.ndarray, list[Extents]]],
    *,
    dtypes: dict[str, DType] | None = None,
    edit: Callable[[Any], None] | None = None,
) -> list[tuple[bytes, bytes]]:
    """Return the entries of a V1 table that holds the given slices of arrays (`[]` for all of one)."""
    head = message_class("SavedTensorSlices")()
    rows = []
    for name, (array, slices) in arrays.items():
        meta = head.meta.tensor.add(name=name, shape=shape_proto(array.shape))
        meta.type = int((dtypes or {}).get(name) or dtype_of(array))
        for extents in slices or [((0, -1),) * array.ndim]:
            meta.slice.add().CopyFrom(slice_proto(extents))
            value = message_class("SavedTensorSlices")()
            value.data.name = name
            value.data.slice.CopyFrom(slice_proto(extents))
            value.data.data.CopyFrom(v1_values(np.ascontiguousarray(part(array, extents))))
            rows.append((slice_key(name.encode(), extents), value.SerializeToString()))
    head.meta.versions.producer = 1
    if edit:
        edit(head)
    return sorted([(b"", head.SerializeToString()), *rows])


def same(a: np.ndarray, b: np.ndarray) -> bool:
    if a.shape != b.shape or a.dtype != b.dtype:
        return False
    return a.tolist() == b.tolist() if a.dtype == object else a.tobytes() == b.tobytes()


def samples() -> dict[str, np.ndarray]:
    """One array of every element type, with extreme values, several shapes, and nothing in some."""
    import ml_dtypes

    rng = np.random.default_rng(5)
    arrays: dict[str, np.ndarray] = {
        "f32": rng.normal(size=(2, 3)).astype("f4"),
        "f64": np.array([np.nan, -0.0, np.inf, 1e300]),
        "f16": np.array([[0.5, -65504, np.nan]], "f2"),
        "c64": np.array([1 + 2j, -3j], "c8"),
        "c128": np.array(1.5 - 2.5j),
        "i8": np.array([-128, -1, 0, 127], "i1"),
        "i16": np.array([-(2**15), 2**15 - 1], "i2"),
        "i32": np.array([[-(2**31)], [2**31 - 1]], "i4"),
        "i64": np.array([-(2**63), -1, 0, 127, 128, 2**63 - 1]),
        "u8": np.arange(256, dtype="u1").reshape(4, 64),
        "u16": np.array([0, 2**16 - 1], "u2"),
        "bool": np.array([[True, False], [False, True]]),
        "step": np.array(123456, "i8"),
        "empty": np.empty((0, 3), "f4"),
        "strings": np.array([b"", b"\x00\xff", b"x" * 300], object),
        "string": np.array(b"one", object),
        "bf16": np.array([1.5, -2.5], ml_dtypes.bfloat16),
        "u32": np.array([0, 2**32 - 1], "u4"),
        "u64": np.array([0, 2**64 - 1], "u8"),
    }
    for name in ("float8_e5m2", "float8_e4m3fn", "float8_e4m3fnuz", "float8_e4m3b11fnuz", "float8_e5m2fnuz"):
        arrays[name] = np.arange(8, dtype="u1").view(getattr(ml_dtypes, name))
    for name in ("int4", "uint4", "int2", "uint2"):
        arrays[name] = np.array([0, 1, 1], getattr(ml_dtypes, name))
    return arrays
