"""Values of HDF5 datasets: views of the file where they are stored in one piece, else put together from chunks."""

from __future__ import annotations

import functools
import math
import zlib
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from tfinspect.errors import InputError, LimitError
from tfinspect.formats._hdf5_chunks import EXTENSIBLE, FIXED, INDEXES, SINGLE, TREE_V1, TREE_V2, ChunkIndex
from tfinspect.formats._hdf5_heap import local_text
from tfinspect.formats._hdf5_types import strings
from tfinspect.ir.dtypes import DType

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from tfinspect.formats._hdf5 import Object
    from tfinspect.formats._hdf5_bytes import Fields
    from tfinspect.formats._hdf5_types import Dataspace, Datatype

_COMPACT, _CONTIGUOUS, _CHUNKED, _VIRTUAL = range(4)
_OPAQUE = 5  # datatype class
_DEFLATE, _SHUFFLE, _FLETCHER32 = 1, 2, 3
_FILTER_NAMES: Final = {
    4: "szip",
    5: "nbit",
    6: "scale-offset",
    32000: "LZF",
    32001: "Blosc",
    32004: "LZ4",
    32015: "Zstandard",
}
_SUM_NBYTES = 4
_MAX_FILTERS = 32
MAX_RATIO: Final = 1000
SMALL_NBYTES: Final = 64 << 20
"""What may be unpacked from however little is stored."""


class _Filter(NamedTuple):
    number: int
    name: str
    values: tuple[int, ...]


class _Layout(NamedTuple):
    """Where values are stored.

    Attributes:
        kind: compact, contiguous, chunked or virtual.
        data: the bytes, where they are in one piece; None where they were never written.
        chunks: where they are.
    """

    kind: int
    data: memoryview | None = None
    chunks: ChunkIndex | None = None


class Dataset:
    """A dataset.

    Attributes:
        datatype: type of its elements.
        dataspace: shape, before dimensions of array elements.
        shape: shape.
        dtype: element type; INVALID where TensorFlow has none.
        outside: what other file its values are in, or empty.

    Raises:
        CorruptFileError: the header is damaged, or values go over the end of the file.
    """

    def __init__(self, owner: Object) -> None:
        self._owner = owner
        self._space = owner.space
        self.datatype: Datatype = owner.datatype()
        self.dataspace: Dataspace = owner.dataspace()
        self.shape = (0,) if self.dataspace.is_null else self.dataspace.dims + self.datatype.dims
        self.outside = self._outside()
        self._layout = _Layout(_CONTIGUOUS) if self.outside else self._read_layout()

    @functools.cached_property
    def dtype(self) -> DType:
        """Element type; bytes that an attribute says are bfloat16 are that."""
        kind = self.datatype
        if kind.dtype is DType.INVALID and kind.kind == _OPAQUE and kind.size == 2:  # noqa: PLR2004
            mark = self._owner.attributes.get("dtype")
            if mark is not None and mark.text() == "bfloat16":
                return DType.BFLOAT16
        return kind.dtype

    def declare(self, dtype: DType) -> None:
        """Say what the elements are, where HDF5 has no type for them and theirs is as large."""
        if self.dtype is DType.INVALID and self.datatype.kind == _OPAQUE and dtype.itemsize == self.datatype.size:
            self.dtype = dtype

    @property
    def nbytes(self) -> int:
        """Bytes of the values; of strings of variable length, of their references."""
        return self.dataspace.count * self.datatype.size

    @property
    def structure(self) -> str:
        """How messages call it."""
        return f"dataset `{self._owner.name}`"

    def _outside(self) -> str:
        layout = self._owner.message(8, "layout")
        if layout is not None and layout.uint(1) > 2 and layout.uint(1) == _VIRTUAL:  # noqa: PLR2004
            return "a virtual dataset, whose values are in other files"
        files = self._owner.message(7, "external files")
        if files is None:
            return ""
        files.version(1)
        files.raw(7)
        heap, name = files.address(), files.length()
        where = "another file" if heap is None else f"the file `{local_text(self._space, heap, name)}`"
        return f"a dataset whose values are in {where}"

    def _read_layout(self) -> _Layout:
        fields = self._owner.message(8, "layout")
        if fields is None:
            raise self._space.corrupt(self._owner.address, f"a layout of `{self._owner.name}`", "none", "object header")
        version = fields.uint(1)
        if version > 4:  # noqa: PLR2004
            raise self._space.unsupported(f"version {version} of the layout message, at `{self._owner.name}`")
        if version < 3:  # noqa: PLR2004
            return self._old_layout(fields)
        kind = fields.uint(1)
        if kind == _COMPACT:
            return self._compact(fields.raw(fields.uint(2)), fields)
        if kind == _CONTIGUOUS:
            return self._contiguous(fields.address())
        if kind != _CHUNKED:
            raise fields.corrupt("a compact, contiguous or chunked layout", f"class {kind}")
        if version == 3:  # noqa: PLR2004
            rank = fields.uint(1)
            root = fields.address()
            return self._chunked(TREE_V1, root, [fields.uint(4) for _ in range(rank)], fields)
        return self._new_chunked(fields)

    def _old_layout(self, fields: Fields) -> _Layout:
        rank, kind = fields.uint(1), fields.uint(1)
        fields.raw(5)
        address = None if kind == _COMPACT else fields.address()
        dims = [fields.uint(4) for _ in range(rank)]
        if kind == _CHUNKED:
            return self._chunked(TREE_V1, address, dims, fields)
        if kind == _CONTIGUOUS:
            return self._contiguous(address)
        return self._compact(fields.raw(fields.uint(4)), fields)

    def _new_chunked(self, fields: Fields) -> _Layout:
        flags, rank, size_nbytes = fields.uint(1), fields.uint(1), fields.uint(1)
        dims = [fields.uint(size_nbytes) for _ in range(rank)]
        kind = fields.uint(1)
        single = None
        if kind == SINGLE and flags & 2:
            single = (fields.length(), fields.uint(4))
        elif kind == FIXED:
            fields.raw(1)
        elif kind == EXTENSIBLE:
            fields.raw(5)
        elif kind == TREE_V2:
            fields.raw(6)
        elif not 0 < kind < len(INDEXES):
            raise self._space.unsupported(f"chunk index {kind}, at `{self._owner.name}`")
        return self._chunked(kind, fields.address(), dims, fields, single)

    def _compact(self, data: memoryview, fields: Fields) -> _Layout:
        if len(data) < self.nbytes:
            raise fields.corrupt(f"{self.nbytes:,} bytes of `{self._owner.name}`", f"{len(data):,}")
        return _Layout(_COMPACT, data[: self.nbytes])

    def _contiguous(self, address: int | None) -> _Layout:
        if address is None or not self.nbytes:
            return _Layout(_CONTIGUOUS)
        return _Layout(_CONTIGUOUS, self._space.take(address, self.nbytes, self.structure))

    def _chunked(
        self, kind: int, root: int | None, dims: list[int], fields: Fields, single: tuple[int, int] | None = None
    ) -> _Layout:
        shape = self.dataspace.dims
        if len(dims) != len(shape) + 1 or 0 in dims or dims[-1] != self.datatype.size:
            raise fields.corrupt(f"chunks for {list(shape)} of {self.datatype.size} bytes", f"{dims}")
        chunk = tuple(dims[:-1])
        limits = self.dataspace.limits or shape
        index = ChunkIndex(kind, root, chunk, math.prod(dims), shape, limits, bool(self._filters), single)
        return _Layout(_CHUNKED, chunks=index)

    @functools.cached_property
    def _filters(self) -> tuple[_Filter, ...]:
        fields = self._owner.message(11, "filters")
        if fields is None:
            return ()
        version, count = fields.version(1, 2), fields.uint(1)
        if count > _MAX_FILTERS:
            raise fields.corrupt(f"at most {_MAX_FILTERS} filters", f"{count}")
        if version == 1:
            fields.raw(6)
        found = []
        for _ in range(count):
            number = fields.uint(2)
            name_nbytes = fields.uint(2) if version == 1 or number >= 256 else 0  # noqa: PLR2004
            fields.uint(2)
            values_count = fields.uint(2)
            name_nbytes += -name_nbytes % 8 if version == 1 else 0
            name = bytes(fields.raw(name_nbytes)).partition(b"\0")[0].decode("utf-8", "replace")
            values = tuple(fields.uint(4) for _ in range(values_count))
            if version == 1 and values_count % 2:
                fields.uint(4)
            found.append(_Filter(number, name, values))
        return tuple(found)

    def _fill(self) -> bytes | None:
        """Return the bytes of an element that was never written; None where they are zeros."""
        fields = self._owner.message(5, "fill value")
        if fields is None:
            fields = self._owner.message(4, "fill value")
            return None if fields is None else bytes(fields.raw(fields.uint(4))) or None
        version = fields.version(1, 2, 3)
        if version == 3:  # noqa: PLR2004
            is_set = bool(fields.uint(1) & 0x20)
        else:
            fields.raw(2)
            is_set = bool(fields.uint(1)) or version == 1
        if not is_set:
            return None
        value = bytes(fields.raw(fields.uint(4)))
        if value and len(value) != self.datatype.size:
            raise fields.corrupt(f"a fill value of {self.datatype.size} bytes", f"{len(value)}")
        return value or None

    def check(self, file_nbytes: int) -> None:
        """Refuse values that unpack to far more than is stored, before memory is taken for them.

        Args:
            file_nbytes: bytes of the file, more than which cannot be stored.

        Raises:
            LimitError: they do.
        """
        if self.nbytes <= SMALL_NBYTES or self._layout.data is not None or self.outside:
            return
        stored, where = file_nbytes, f"the file has {file_nbytes:,}"
        if self.nbytes <= MAX_RATIO * file_nbytes:
            chunks = () if self._layout.chunks is None else self._layout.chunks.chunks(self._space)
            stored = min(file_nbytes, sum(chunk.nbytes for chunk in chunks))
            where = f"{stored:,} are stored"
        if self.nbytes > MAX_RATIO * stored:
            raise LimitError(
                f"{self._space.path}: `{self._owner.name}` of shape {list(self.shape)} takes {self.nbytes:,} bytes, "
                f"but {where}",
                evidence={"path": self._space.path, "name": self._owner.name, "nbytes": self.nbytes, "stored": stored},
            )

    def numpy(self) -> npt.NDArray[Any]:
        """Return the values, a view of the file where they are in one piece; strings as bytes objects.

        Raises:
            CorruptFileError: the bytes are damaged.
            UnsupportedFeatureError: they are of a type, or behind a filter, that is not read here.
            LimitError: they unpack to far more than is stored.
            InputError: they are in another file.
        """
        import numpy as np

        if self.outside:
            raise InputError(
                f"{self._space.path}: `{self._owner.name}` is {self.outside}, which is not followed",
                evidence={"path": self._space.path, "name": self._owner.name},
            )
        kind = self.datatype
        if self.dtype is DType.INVALID:
            raise self._space.unsupported(f"{kind.title}, in `{self._owner.name}`")
        self.check(len(self._space.view))
        raw = self._stored()
        if self.dtype is DType.STRING:
            data = memoryview(raw.tobytes()) if isinstance(raw, np.ndarray) else raw
            found = np.empty(self.dataspace.count, object)
            found[:] = strings(self._space, self._owner.file.heap, kind, data, self._owner.address)
            return self._shaped(found)
        element = self.dtype.numpy
        if kind.big_endian and element.itemsize > 1:
            element = element.newbyteorder(">")
        return self._shaped(np.frombuffer(raw, element) if len(raw) else np.empty(0, element))

    def _shaped(self, flat: npt.NDArray[Any]) -> npt.NDArray[Any]:
        try:
            return flat.reshape(self.shape)
        except ValueError as error:  # a zero beside sizes no machine can address
            raise InputError(
                f"{self._space.path}: `{self._owner.name}` has the impossible shape {list(self.shape)}: {error}",
                evidence={"path": self._space.path, "name": self._owner.name},
            ) from None

    def _stored(self) -> memoryview | npt.NDArray[Any]:
        """Return the bytes of all elements, in order."""
        import numpy as np

        layout = self._layout
        if not self.nbytes:
            return memoryview(b"")
        if layout.data is not None:
            return layout.data
        fill, size = self._fill(), self.datatype.size
        count = self.dataspace.count
        element = np.dtype((np.void, size))
        values = np.full(count, np.frombuffer(fill, element)[0], element) if fill else np.zeros(count, element)
        if layout.chunks is not None:
            self._assemble(layout.chunks, values.reshape(self.dataspace.dims))
        return values.view(np.uint8)

    def _assemble(self, index: ChunkIndex, values: npt.NDArray[np.void]) -> None:
        import numpy as np

        limit = max(SMALL_NBYTES, MAX_RATIO * len(self._space.view))
        if index.nbytes > limit:
            raise LimitError(
                f"{self._space.path}: `{self._owner.name}` has chunks of {index.nbytes:,} bytes",
                evidence={"path": self._space.path, "name": self._owner.name, "nbytes": index.nbytes},
            )
        left = math.prod(index.grid)
        for chunk in index.chunks(self._space):
            left -= 1
            if left < 0:
                raise self._space.corrupt(chunk.at, f"at most {math.prod(index.grid):,} chunks", "more", self.structure)
            stored = self._space.take(chunk.at, chunk.nbytes, self.structure)
            block = np.frombuffer(self._unfiltered(stored, chunk.skipped, index.nbytes, chunk.at), values.dtype)
            places, inside = [], []
            for number, size, dim in zip(chunk.place, index.chunk, index.dims, strict=True):
                start = number * size
                places.append(slice(start, min(start + size, dim)))
                inside.append(slice(0, min(size, dim - start)))
            values[tuple(places)] = block.reshape(index.chunk)[tuple(inside)]

    def _unfiltered(self, stored: memoryview, skipped: int, nbytes: int, at: int) -> bytes | memoryview:
        """Undo the filters of a chunk, last one first."""
        data: bytes | memoryview = stored
        for number, step in reversed(list(enumerate(self._filters))):
            if skipped >> number & 1:
                continue
            if step.number == _DEFLATE:
                data = self._inflated(data, nbytes + _SUM_NBYTES * len(self._filters), at)
            elif step.number == _SHUFFLE:
                data = _unshuffled(data, step.values[0] if step.values else self.datatype.size)
            elif step.number == _FLETCHER32:
                data = self._summed(data, at)
            else:
                name = _FILTER_NAMES.get(step.number) or step.name[:40] or str(step.number)
                raise self._space.unsupported(f"the filter {name}, in `{self._owner.name}`")
        if len(data) != nbytes:
            raise self._space.corrupt(at, f"a chunk of {nbytes:,} bytes", f"{len(data):,}", self.structure)
        return data

    def _inflated(self, data: bytes | memoryview, limit: int, at: int) -> bytes:
        stream = zlib.decompressobj()
        try:
            found = stream.decompress(data, limit + 1)
        except zlib.error as error:
            raise self._space.corrupt(at, "deflated bytes", str(error), self.structure) from None
        if len(found) > limit or not stream.eof:
            what = "more" if len(found) > limit else f"{len(found):,} before the end of the stream"
            raise self._space.corrupt(at, f"at most {limit:,} bytes", what, self.structure)
        return found

    def _summed(self, data: bytes | memoryview, at: int) -> bytes | memoryview:
        if len(data) < _SUM_NBYTES:
            raise self._space.corrupt(at, "a checksum", f"{len(data)} bytes", self.structure)
        body, stored = data[:-_SUM_NBYTES], int.from_bytes(data[-_SUM_NBYTES:], "little")
        computed = fletcher32(body)
        # old versions of HDF5 wrote the halves of each sum in the other order
        other = (computed & 0x00FF00FF) << 8 | (computed >> 8 & 0x00FF00FF)
        if stored not in (computed, other):
            raise self._space.corrupt(at, f"the checksum {computed:#010x}", f"{stored:#010x}", self.structure)
        return body


def _unshuffled(data: bytes | memoryview, size: int) -> bytes | memoryview:
    """Put the bytes of each element together again; what is left over at the end was not shuffled."""
    import numpy as np

    count = len(data) // size if size > 1 else 0
    if count < 2:  # noqa: PLR2004
        return data
    flat = np.frombuffer(data, np.uint8)
    whole = flat[: count * size].reshape(size, count).T.tobytes()
    return whole + bytes(data[count * size :])


def fletcher32(data: bytes | memoryview) -> int:
    """Return Fletcher's checksum of big-endian 16-bit words, as HDF5 computes it."""
    import numpy as np

    padded = bytes(data) + b"\0" * (len(data) % 2)
    words = np.frombuffer(padded, ">u2").astype(np.uint64)
    if len(data) % 2:
        words[-1] = data[-1] << 8
    count = len(words)
    first = int(words.sum())
    weights = np.arange(count, 0, -1, dtype=np.uint64)
    second = 0
    for start in range(0, count, 1 << 20):  # 2**20 words, each below 2**16, times less than 2**28
        second += int((words[start : start + (1 << 20)] * weights[start : start + (1 << 20)]).sum())
    return _folded(second) << 16 | _folded(first)


def _folded(total: int) -> int:
    """Return a sum modulo 65,535, with 65,535 for a multiple that is not zero."""
    return (total - 1) % 0xFFFF + 1 if total else 0
