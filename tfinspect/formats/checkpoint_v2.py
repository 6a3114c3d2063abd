"""Checkpoints of TensorFlow 0.12 and later ("tensor bundle"): `P.index` and `P.data-00000-of-00001`.

The index is a sorted table from the name of a variable to its dtype, shape, and where in which shard its bytes are. The
key "" holds a header; keys that begin with a zero byte hold the pieces of variables that are stored in slices.
"""

from __future__ import annotations

import gc
import math
import operator
import re
from typing import TYPE_CHECKING, NamedTuple

from google.protobuf.message import DecodeError

from tfinspect.errors import (
    CorruptFileError,
    InputError,
    UnsupportedFeatureError,
)
from tfinspect.formats import _tensor_slices, object_graph
from tfinspect.formats._bundle_values import Shards, Source, Stored, shard_files
from tfinspect.formats._ordered_code import slice_key
from tfinspect.formats._schema import message_class
from tfinspect.formats._table import Table
from tfinspect.ir.checkpoint import OBJECT_GRAPH, Checkpoint, VariableInfo, describe
from tfinspect.ir.dtypes import DType
from tfinspect.ir.tensors import Tensor

if TYPE_CHECKING:
    from collections.abc import Iterator


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
        return shard_files(prefix, _header(index, key, value, at).num_shards)
    raise _no_header(index)


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
        self._entries: dict[str, Stored] = {}
        self._pieces: dict[bytes, Stored] = {}
        self._problems: list[InputError] = []
        self._shapes: dict[bytes, tuple[tuple[int, ...], int]] = {}
        entries = Table(index).entries()
        first = next(entries, None)
        if first is None:
            raise _no_header(index)
        self.header = _header(index, *first)
        self.shards = shard_files(prefix, self.header.num_shards)
        self._values = Shards(prefix, self.shards, big_endian=self.header.big_endian)
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
                entry = Stored(dtype, shape, 0, nbytes, value, key, at)
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

    def _entry(self, key: bytes, value: bytes, at: int) -> Stored:
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
        return Stored(dtype, shape, num_slices, nbytes, value, key, at)

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
            (payload,) = Source(self._values, OBJECT_GRAPH, entry).texts()
        except InputError as error:  # the shard may be elsewhere
            self._problems.append(error)
            return object_graph.NOTHING
        objects = object_graph.describe(payload, self._entries, self.index)
        self._problems.extend(objects.problems)
        return objects

    def faults(self) -> list[InputError]:
        """Return what is wrong with the shards, told by their sizes, and with the object graph."""
        last: dict[int, Stored] = {}  # of each shard, the tensor that ends it
        for entry in (*self._entries.values(), *self._pieces.values()):
            message = entry.message
            before = last.get(message.shard_id)
            if not entry.num_slices and (before is None or message.offset + message.size > before.end):
                last[message.shard_id] = entry
        found: list[InputError] = []
        for _, entry in sorted(last.items(), key=operator.itemgetter(0)):
            try:
                Source(self._values, entry.key.decode("utf-8", "backslashreplace"), entry).check_shard()
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
            chunks = Source(self._values, name, piece).chunks if piece.dtype.itemsize else None
            tiles.append(_tensor_slices.Tile(box, self._stored(name, piece), chunks))
        fault = _tensor_slices.fault([tile.box for tile in tiles], entry.shape)
        if fault:
            raise self._corrupt(entry.at, entry.key, f"slices that cover {list(entry.shape)} once", fault)
        return _tensor_slices.joined(entry.dtype, entry.shape, tiles)

    def _stored(self, name: str, entry: Stored) -> Tensor:
        dtype, shape = entry.dtype, entry.shape
        source = Source(self._values, name, entry)
        if dtype is DType.STRING:
            return Tensor(dtype, shape, source.strings)
        if not dtype.itemsize:
            return Tensor(dtype, shape, source.unreadable)
        return Tensor(dtype, shape, source.array, source.chunks)
