"""Checkpoints of TensorFlow 0.12 and later ("tensor bundle"): `P.index` and `P.data-00000-of-00001`.

The index is a sorted table from the name of a variable to its dtype, shape, and where in which shard its bytes are. The
key "" holds a header; keys that begin with a zero byte hold the pieces of variables that are stored in slices.
"""

from __future__ import annotations

import gc
import glob
import math
import operator
import os
import re
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from crc32c import crc32c
from google.protobuf.message import DecodeError

from tfinspect.errors import (
    CorruptFileError,
    FileMissingError,
    IncompleteCheckpointError,
    InputError,
    LimitError,
    UnsupportedFeatureError,
)
from tfinspect.formats import _tensor_slices, object_graph
from tfinspect.formats._ordered_code import slice_key
from tfinspect.formats._pread import PreadFile
from tfinspect.formats._schema import message_class
from tfinspect.formats._table import Table, mask
from tfinspect.formats._wire import Cursor
from tfinspect.ir.checkpoint import OBJECT_GRAPH, Checkpoint, VariableInfo, describe
from tfinspect.ir.dtypes import DType
from tfinspect.ir.tensors import Tensor

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy.typing as npt

FORMAT = "checkpoint_v2"
_VERSION = 1  # of the format; a file that says it needs a later one is refused, as TensorFlow does
_MAX_SHARDS = 99_999  # what the five digits of a shard's name hold
_BIG = 1
_SLICE_MARK = b"\x00"
_CRC_NBYTES = 4
_MAX_LISTED = 20
_MAX_OBJECTS_NBYTES = 1 << 28  # some two million objects


class Header(NamedTuple):
    """What the index says about the whole checkpoint."""

    num_shards: int
    big_endian: bool


def read(prefix: str, index: str) -> Checkpoint:
    """Read the index of a checkpoint; its data shards are opened only when a value is asked for.

    Args:
        prefix: what names the checkpoint.
        index: its index, normally `prefix` with `.index` after it.

    Raises:
        FileMissingError: there is no index.
        CorruptFileError: the index is damaged.
        UnsupportedFeatureError: the index asks for a later version of the format.
    """
    collects = gc.isenabled()
    gc.disable()  # of a large index, nearly half the time would go into looking at objects that are all alive
    try:
        bundle = _Bundle(prefix, index)
        return Checkpoint(prefix, FORMAT, bundle.variables(), bundle.tensor, (index, *bundle.shards), bundle.faults)
    finally:
        if collects:
            gc.enable()


def shards(prefix: str, index: str) -> tuple[str, ...]:
    """Return the paths of all data shards the header promises, those missing included.

    Raises:
        InputError: the index cannot be read.
    """
    for key, value, at in Table(index).entries():
        return _shard_files(prefix, _header(index, key, value, at).num_shards)
    raise _no_header(index)


def _shard_files(prefix: str, num_shards: int) -> tuple[str, ...]:
    """Name the shards; a merged checkpoint may number its files by another total than its header has."""
    place = Path(prefix)
    pattern = re.compile(re.escape(place.name) + r"\.data-(\d{5,})-of-\d{5,}")
    present: dict[int, list[str]] = {}
    if place.parent.is_dir():
        for name in os.listdir(place.parent):  # noqa: PTH208 - names are all that is needed
            if match := pattern.fullmatch(name):
                present.setdefault(int(match[1]), []).append(name)
    files = []
    for number in range(num_shards):
        name = f"{place.name}.data-{number:05d}-of-{num_shards:05d}"
        found = present.get(number, [])
        files.append(str(place.with_name(found[0] if len(found) == 1 and name not in found else name)))
    return tuple(files)


def _no_header(index: str) -> CorruptFileError:
    return CorruptFileError(index, 0, "a checkpoint header under the empty key", "none", structure="index")


def _header(index: str, key: bytes, value: bytes, at: int) -> Header:
    if key:
        raise _no_header(index)
    try:
        message = message_class("BundleHeaderProto").FromString(value)
    except DecodeError:
        raise CorruptFileError(index, at, "a checkpoint header", "bytes that are not one", structure="index") from None
    if not 0 < message.num_shards <= _MAX_SHARDS or message.endianness not in (0, _BIG):
        raise CorruptFileError(
            index,
            at,
            f"1 to {_MAX_SHARDS:,} shards, little-endian or big-endian",
            f"{message.num_shards:,} shards of byte order {message.endianness}",
            structure="header",
        )
    if message.version.min_consumer > _VERSION or _VERSION in message.version.bad_consumers:
        raise UnsupportedFeatureError(
            f"{index} asks for version {message.version.min_consumer} of the checkpoint format; "
            f"{_VERSION} is the latest this program reads",
            evidence={"path": index, "min_consumer": message.version.min_consumer},
        )
    return Header(message.num_shards, message.endianness == _BIG)


class _Stored(NamedTuple):
    """A decoded entry of the index, the key it stands under, and the byte of the file it stands at.

    `wire` is the entry as it stands there: what a listing does not need is decoded when it is asked for.
    """

    dtype: DType
    shape: tuple[int, ...]
    num_slices: int
    nbytes: int
    wire: bytes
    key: bytes
    at: int

    @property
    def end(self) -> int:
        """The byte of the shard after its last."""
        return int(self.message.offset + self.message.size)

    @property
    def message(self) -> Any:  # noqa: ANN401 - made at run time
        return message_class("BundleEntryLazyShape").FromString(self.wire)


# An entry as TensorFlow writes it: tag and dtype, tag, length and bytes of the shape; then shard, offset and size, each
# left out where it is zero, and the checksum. Nine bytes of varint hold 63 bits, so no number in it is negative.
_TAGS = (0x08, 0x12)
_SHAPE_AT = 4
_SHORT = 0x80  # a varint below it is one byte
_REST = re.compile(
    rb"(?s)((?:\x18[\x80-\xff]{0,8}[\x00-\x7f])?)(?:\x20[\x80-\xff]{0,8}[\x00-\x7f])?"
    rb"((?:\x28[\x80-\xff]{0,8}[\x00-\x7f])?)\x35.{4}"
)


class _Bundle:
    """The index, decoded: variables by name, slices by key."""

    def __init__(self, prefix: str, index: str) -> None:
        self.prefix = prefix
        self.index = index
        self._entries: dict[str, _Stored] = {}
        self._pieces: dict[bytes, _Stored] = {}
        self._problems: list[InputError] = []
        self._shapes: dict[bytes, tuple[tuple[int, ...], int]] = {}
        entries = Table(index).entries()
        first = next(entries, None)
        if first is None:
            raise _no_header(index)
        self.header = _header(index, *first)
        self.shards = _shard_files(prefix, self.header.num_shards)
        self._decode(entries)

    def _decode(self, entries: Iterator[tuple[bytes, bytes, int]]) -> None:
        # dtype, shape, size and shard repeat themselves in a model: each of the few different sets of them is decoded
        # once. An entry in another form than that in which TensorFlow writes it goes the long way each time.
        usual: dict[tuple[bytes, bytes, bytes], tuple[DType, tuple[int, ...], int]] = {}
        stored, rest = self._entries, _REST.fullmatch
        for key, value, at in entries:
            mark = None
            if len(value) > _SHAPE_AT and (value[1] | value[3]) < _SHORT and (value[0], value[2]) == _TAGS:
                end = _SHAPE_AT + value[3]
                if match := rest(value, end):
                    mark = value[:end], match[1], match[2]
            if mark in usual:
                dtype, shape, nbytes = usual[mark]
                entry = _Stored(dtype, shape, 0, nbytes, value, key, at)
            else:
                entry = self._entry(key, value, at)
                if mark is not None:
                    usual[mark] = entry.dtype, entry.shape, entry.nbytes
            if key[:1] == _SLICE_MARK:
                self._pieces[key] = entry
                continue
            name = key.decode("utf-8", "backslashreplace")
            if name in stored:
                raise self._corrupt(at, key, "names that differ", "the same name twice")
            stored[name] = entry

    def _entry(self, key: bytes, value: bytes, at: int) -> _Stored:
        try:
            message = message_class("BundleEntryLazyShape").FromString(value)
        except DecodeError:
            raise self._corrupt(at, key, "a BundleEntryProto", "bytes that are not one") from None
        wire = message.shape
        if wire not in self._shapes:
            self._shapes[wire] = self._shape(wire, key, at)
        shape, size = self._shapes[wire]
        dtype = DType.from_number(message.dtype)
        itemsize, nbytes, num_slices = dtype.itemsize, message.size, len(message.slices)
        if nbytes != size * itemsize and itemsize and not num_slices:
            raise self._corrupt(at, key, f"{size * itemsize:,} bytes for {dtype}{list(shape)}", f"{nbytes:,} bytes")
        if not 0 <= message.shard_id < self.header.num_shards:
            raise self._corrupt(at, key, f"a shard from 0 to {self.header.num_shards - 1}", f"shard {message.shard_id}")
        if nbytes < 0 or message.offset < 0:
            raise self._corrupt(at, key, "an offset and a size", f"{message.offset} and {nbytes}")
        return _Stored(dtype, shape, num_slices, nbytes, value, key, at)

    def _shape(self, wire: bytes, key: bytes, at: int) -> tuple[tuple[int, ...], int]:
        try:
            message = message_class("TensorShapeProto").FromString(wire)
        except DecodeError:
            raise self._corrupt(at, key, "a TensorShapeProto", "bytes that are not one") from None
        shape = tuple(dim.size for dim in message.dim)
        if message.unknown_rank or any(dim < 0 for dim in shape):
            found = "one of unknown rank" if message.unknown_rank else str(list(shape))
            raise self._corrupt(at, key, "a shape with known dimensions", found)
        return shape, math.prod(shape)

    def _corrupt(self, at: int, key: bytes, expected: str, found: str) -> CorruptFileError:
        name = key.decode("utf-8", "backslashreplace")
        return CorruptFileError(self.index, at, expected, found, structure=f"entry `{name}`")

    def variables(self) -> dict[str, VariableInfo]:
        said = describe((name, entry.dtype, entry.shape) for name, entry in self._entries.items())
        objects = self._objects() if OBJECT_GRAPH in self._entries else object_graph.NOTHING
        infos = {}
        for name, (dtype, shape, num_slices, size, _, _, _) in self._entries.items():
            nbytes = self._nbytes(name) if num_slices else size
            role, serves = said[name]
            if objects.labels:
                role, serves = objects.slots.get(name, (role, serves))
            infos[name] = VariableInfo(
                name, dtype, shape, nbytes, role, num_slices, objects.labels.get(name, ""), serves
            )
        return infos

    def _objects(self) -> object_graph.Described:
        """Read what the checkpoint says about the objects it was saved from; its variables are listed without it."""
        entry = self._entries[OBJECT_GRAPH]
        if entry.dtype is not DType.STRING or entry.shape != () or entry.num_slices:
            fault = self._corrupt(entry.at, entry.key, "one string", f"{entry.dtype}{list(entry.shape)}")
            self._problems.append(fault)
            return object_graph.NOTHING
        if entry.message.size > _MAX_OBJECTS_NBYTES:
            expected = f"a graph of objects of at most {_MAX_OBJECTS_NBYTES:,} bytes"
            self._problems.append(self._corrupt(entry.at, entry.key, expected, f"{entry.message.size:,} bytes"))
            return object_graph.NOTHING
        try:
            (payload,) = _Source(self, OBJECT_GRAPH, entry).texts()
        except InputError as error:  # the shard may be elsewhere
            self._problems.append(error)
            return object_graph.NOTHING
        objects = object_graph.describe(payload, self._entries, self.index)
        self._problems.extend(objects.problems)
        return objects

    def faults(self) -> list[InputError]:
        """Return what is wrong with the shards, told by their sizes, and with the object graph."""
        last: dict[int, _Stored] = {}  # of each shard, the tensor that ends it
        for entry in (*self._entries.values(), *self._pieces.values()):
            message = entry.message
            before = last.get(message.shard_id)
            if not entry.num_slices and (before is None or message.offset + message.size > before.end):
                last[message.shard_id] = entry
        found: list[InputError] = []
        for _, entry in sorted(last.items(), key=operator.itemgetter(0)):
            try:
                _Source(self, entry.key.decode("utf-8", "backslashreplace"), entry).check_shard()
            except InputError as error:
                found.append(error)
        return found or self._problems

    def _nbytes(self, name: str) -> int:
        stored = [self._pieces.get(key) for key, _ in self._slices(name)]
        return sum(piece.nbytes for piece in stored if piece is not None)

    def _slices(self, name: str) -> Iterator[tuple[bytes, tuple[tuple[int, int], ...]]]:
        entry = self._entries[name]
        for message in entry.message.slices:
            dimensions = _tensor_slices.extents(message)
            yield slice_key(entry.key, dimensions), dimensions

    def tensor(self, name: str) -> Tensor:
        entry = self._entries[name]
        if not entry.num_slices:
            return self._stored(name, entry)
        tiles = []
        for key, dimensions in self._slices(name):
            box = _tensor_slices.box(dimensions, entry.shape)
            if box is None:
                raise self._corrupt(
                    entry.at, entry.key, f"a slice of {list(entry.shape)}", f"(start, length) {list(dimensions)}"
                )
            piece = self._pieces.get(key)
            if piece is None or piece.dtype != entry.dtype or piece.shape != box.shape or piece.num_slices:
                found = "none" if piece is None else f"{piece.dtype}{list(piece.shape)}"
                raise self._corrupt(
                    entry.at, entry.key, f"{entry.dtype}{list(box.shape)} for the slice {list(dimensions)}", found
                )
            tiles.append(_tensor_slices.Tile(box, self._stored(name, piece)))
        fault = _tensor_slices.fault([tile.box for tile in tiles], entry.shape)
        if fault:
            raise self._corrupt(entry.at, entry.key, f"slices that cover {list(entry.shape)} once", fault)
        return _tensor_slices.joined(entry.dtype, entry.shape, tiles)

    def _stored(self, name: str, entry: _Stored) -> Tensor:
        dtype, shape = entry.dtype, entry.shape
        source = _Source(self, name, entry)
        if dtype is DType.STRING:
            return Tensor(dtype, shape, source.strings)
        if not dtype.itemsize:
            return Tensor(dtype, shape, source.unreadable)
        return Tensor(dtype, shape, source.array, source.chunks)


class _Source:
    """The bytes of one tensor in its shard; it reads them, and checks them, as often as it is asked."""

    def __init__(self, bundle: _Bundle, name: str, entry: _Stored) -> None:
        self._bundle = bundle
        self._name = name
        self._dtype, self._shape, self._message = entry.dtype, entry.shape, entry.message

    def chunks(self) -> Iterator[bytes]:
        """Yield the elements as little-endian bytes; the checksum is compared after the last piece."""
        crc = 0
        swap = self._bundle.header.big_endian and _component_nbytes(self._dtype) > 1
        for piece in self._pieces():
            crc = crc32c(piece, crc)
            yield _swapped(piece, _component_nbytes(self._dtype)) if swap else piece
        self._check(crc)

    def array(self) -> npt.NDArray[Any]:
        import numpy as np

        self._shard()  # a size is believed only once the file is known to be that large
        flat = _empty(self._message.size, self._name)
        position = 0
        for piece in self.chunks():
            flat[position : position + len(piece)] = np.frombuffer(piece, np.uint8)
            position += len(piece)
        return flat.view(self._dtype.numpy).reshape(self._shape)

    def check_shard(self) -> None:
        """Open the shard, and see that it is as long as this tensor needs.

        Raises:
            InputError: it is missing, too short, or something else.
        """
        self._shard()

    def strings(self) -> npt.NDArray[Any]:
        import numpy as np

        texts = self.texts()
        array: npt.NDArray[Any] = np.empty(len(texts), object)
        array[:] = texts
        return array.reshape(self._shape)

    def texts(self) -> list[bytes]:
        """Decode string lengths, their checksum, and the strings.

        The checksum runs over the lengths as 4-byte numbers (8 bytes for those that need them), not as the varints that
        stand in the file; over the checksum of the lengths; and over the strings.
        """
        size = math.prod(self._shape)
        if size + _CRC_NBYTES > self._message.size:
            raise self._corrupt(0, f"lengths of {size:,} strings", f"{self._message.size:,} bytes in all")
        payload = b"".join(self._pieces())
        cursor = Cursor(memoryview(payload), self._shard().path)
        order: Literal["little", "big"] = "big" if self._bundle.header.big_endian else "little"
        lengths, position, fed = [], 0, bytearray()
        try:
            for _ in range(size):
                length, position = cursor.varint(position, len(payload), "string lengths")
                lengths.append(length)
                fed += length.to_bytes(_CRC_NBYTES if length < 1 << 32 else 2 * _CRC_NBYTES, order)
        except (CorruptFileError, OverflowError):
            raise self._corrupt(position, f"lengths of {size:,} strings", "bytes that are not") from None
        start = position + _CRC_NBYTES
        stored = payload[position:start]
        crc = crc32c(fed)
        if stored != mask(crc).to_bytes(_CRC_NBYTES, order):
            raise self._corrupt(position, f"checksum {mask(crc):08x} of the string lengths", stored.hex() or "nothing")
        if sum(lengths) != len(payload) - start:
            raise self._corrupt(start, f"{sum(lengths):,} bytes of strings", f"{len(payload) - start:,}")
        self._check(crc32c(payload[start:], crc32c(stored, crc)))
        texts = []
        for length in lengths:
            texts.append(payload[start : start + length])
            start += length
        return texts

    def unreadable(self) -> npt.NDArray[Any]:
        raise UnsupportedFeatureError(
            f"`{self._name}` of {self._bundle.prefix} holds {self._dtype} values, which this program does not read",
            evidence={"name": self._name, "dtype": str(self._dtype)},
        )

    def _shard(self) -> PreadFile:
        path = self._bundle.shards[self._message.shard_id]
        try:
            file = PreadFile(path)
        except FileMissingError:
            if os.path.lexists(path):
                raise
            raise self._missing(path) from None
        end = self._message.offset + self._message.size
        if end > file.size:
            file.check_not_pointer()
            raise CorruptFileError(
                path,
                file.size,
                f"`{self._name}` in bytes {self._message.offset:,} to {end:,}",
                "the end of the file",
                structure=f"tensor `{self._name}`",
                hint="the file may have been cut short: copy or download it again",
            )
        return file

    def _missing(self, path: str) -> IncompleteCheckpointError:
        folder = Path(path).parent
        beside = sorted(p.name for p in folder.glob(f"{glob.escape(Path(self._bundle.prefix).name)}*"))
        return IncompleteCheckpointError(
            f"{path} is missing, and the value of `{self._name}` is in it",
            details=[f"beside it: {name}" for name in beside[:_MAX_LISTED]],
            hint=f"tfinspect vars {shlex.quote(self._bundle.prefix)}  # lists the variables without it",
            evidence={"missing": path, "variable": self._name, "beside": beside[:_MAX_LISTED]},
        )

    def _pieces(self) -> Iterator[bytes]:
        start = self._message.offset
        return self._shard().pieces(start, start + self._message.size)

    def _check(self, crc: int) -> None:
        if mask(crc) != self._message.crc32c:
            raise self._corrupt(
                0,
                f"{self._message.size:,} bytes with checksum {self._message.crc32c:08x}",
                f"checksum {mask(crc):08x}",
            )

    def _corrupt(self, position: int, expected: str, found: str) -> CorruptFileError:
        path = self._bundle.shards[self._message.shard_id]
        return CorruptFileError(
            path, self._message.offset + position, expected, found, structure=f"tensor `{self._name}`"
        )


def _component_nbytes(dtype: DType) -> int:
    """Bytes of the numbers that byte order applies to: a complex element is two of them."""
    return dtype.itemsize // 2 if dtype in (DType.COMPLEX64, DType.COMPLEX128) else dtype.itemsize


def _swapped(piece: bytes, width: int) -> bytes:
    import numpy as np

    return np.frombuffer(piece, f"u{width}").byteswap().tobytes()


def _empty(size: int, name: str) -> npt.NDArray[Any]:
    import numpy as np

    try:
        return np.empty(size, np.uint8)
    except MemoryError:
        raise LimitError(
            f"`{name}` takes {size:,} bytes, which is more memory than there is", evidence={"nbytes": size}
        ) from None
