"""Where the chunks of an HDF5 dataset are: one reader an index."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final, NamedTuple

from tfinspect.formats._hdf5_bytes import Fields
from tfinspect.formats._hdf5_heap import tree_v1, tree_v2

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tfinspect.formats._hdf5_bytes import Space

_TYPE_CHUNK = 1
_PLAIN_RECORD, _FILTERED_RECORD = 10, 11
_CHECKSUM_NBYTES = 4
_MAX_BITS = 64
TREE_V1, SINGLE, IMPLICIT, FIXED, EXTENSIBLE, TREE_V2 = range(6)
INDEXES: Final = ("B-tree v1", "single chunk", "implicit", "fixed array", "extensible array", "B-tree v2")


class Chunk(NamedTuple):
    """A stored chunk.

    Attributes:
        place: number of the chunk along each dimension.
        at: address of its bytes.
        nbytes: bytes stored.
        skipped: bit i set: filter i was not applied.
    """

    place: tuple[int, ...]
    at: int
    nbytes: int
    skipped: int


class ChunkIndex(NamedTuple):
    """An index, as the layout message gives it.

    Attributes:
        kind: number of the index in `INDEXES`.
        root: its address; None where nothing is stored.
        chunk: shape of a chunk.
        nbytes: bytes of a whole chunk.
        dims: shape of the dataset.
        limits: how far each dimension may grow; None without limit.
        filtered: whether chunks go through filters, so that their sizes are stored.
        single: of a single chunk that is filtered, its bytes and the filters it skipped.
    """

    kind: int
    root: int | None
    chunk: tuple[int, ...]
    nbytes: int
    dims: tuple[int, ...]
    limits: tuple[int | None, ...]
    filtered: bool
    single: tuple[int, int] | None = None

    @property
    def grid(self) -> tuple[int, ...]:
        """Number of chunks along each dimension."""
        return tuple(-(-dim // size) for dim, size in zip(self.dims, self.chunk, strict=True))

    def chunks(self, space: Space) -> Iterator[Chunk]:
        """Yield the chunks that are stored.

        Raises:
            CorruptFileError: the index is damaged, or points out of the dataset.
        """
        if self.root is None or 0 in self.dims:
            return
        grid = self.grid
        if self.kind == TREE_V1:
            yield from self._tree_v1(space, grid)
        elif self.kind == SINGLE:
            nbytes, skipped = self.single or (self.nbytes, 0)
            yield Chunk((0,) * len(grid), self.root, nbytes, skipped)
        elif self.kind == TREE_V2:
            yield from self._tree_v2(space, grid)
        else:
            yield from self._by_number(space, grid)

    def _tree_v1(self, space: Space, grid: tuple[int, ...]) -> Iterator[Chunk]:
        rank = len(grid)
        root = self.root or 0
        for leaf in tree_v1(space, root, _TYPE_CHUNK, 8 + 8 * (rank + 1)):
            key = Fields(space, leaf.key, leaf.at, "chunk key")
            nbytes, skipped = key.uint(4), key.uint(4)
            place = []
            for size, count in zip(self.chunk, grid, strict=True):
                number, rest = divmod(key.uint(8), size)
                if rest or number >= count:
                    raise key.corrupt(f"the corner of a chunk of {list(self.chunk)}", "another place")
                place.append(number)
            yield Chunk(tuple(place), leaf.child, nbytes, skipped)

    def _tree_v2(self, space: Space, grid: tuple[int, ...]) -> Iterator[Chunk]:
        root = self.root or 0
        for record in tree_v2(space, root, _FILTERED_RECORD if self.filtered else _PLAIN_RECORD):
            at = record.address()
            nbytes, skipped = self.nbytes, 0
            if self.filtered:
                nbytes = record.uint(record.left - 4 - 8 * len(grid))
                skipped = record.uint(4)
            place = tuple(record.uint(8) for _ in grid)
            if any(number >= count for number, count in zip(place, grid, strict=True)):
                raise record.corrupt(f"a chunk of a grid of {list(grid)}", f"{list(place)}")
            if at is not None:
                yield Chunk(place, at, nbytes, skipped)

    def _by_number(self, space: Space, grid: tuple[int, ...]) -> Iterator[Chunk]:
        """Yield chunks of the indexes that count: numbers go by how far the dataset may grow, not by its shape."""
        limits = [
            None if limit is None else -(-limit // size) for limit, size in zip(self.limits, self.chunk, strict=True)
        ]
        order = list(range(len(grid)))
        if self.kind == EXTENSIBLE:  # the dimension that grows without limit comes first
            free = next((i for i, limit in enumerate(limits) if limit is None), 0)
            order = [free, *order[:free], *order[free + 1 :]]
        counts = [limits[i] or grid[i] for i in order]
        steps = [math.prod(counts[i + 1 :]) for i in range(len(counts))]
        last = sum((grid[i] - 1) * step for i, step in zip(order, steps, strict=True))
        if self.kind == IMPLICIT:
            space.take(self.root or 0, (last + 1) * self.nbytes, "chunks")
        found = self._implicit(last) if self.kind == IMPLICIT else self._arrays(space, last)
        for number, at, nbytes, skipped in found:
            place = [0] * len(grid)
            rest = number
            for i, step in zip(order, steps, strict=True):
                place[i], rest = divmod(rest, step)
            if all(here < count for here, count in zip(place, grid, strict=True)):
                yield Chunk(tuple(place), at, nbytes, skipped)

    def _implicit(self, last: int) -> Iterator[tuple[int, int, int, int]]:
        root = self.root or 0
        for number in range(last + 1):
            yield number, root + number * self.nbytes, self.nbytes, 0

    def _arrays(self, space: Space, last: int) -> Iterator[tuple[int, int, int, int]]:
        parts = _fixed(space, self.root or 0) if self.kind == FIXED else _extensible(space, self.root or 0)
        number, left = 0, len(space.view)  # blocks do not overlap, so together they are no larger than the file
        for count, fields, element_nbytes, filtered in parts:
            if filtered != self.filtered:
                raise space.corrupt(self.root or 0, "an index for the dataset's filters", "another", "chunk index")
            if fields is None:
                number += count
                continue
            left -= count * element_nbytes
            if left < 0:
                raise fields.corrupt("blocks that do not overlap", f"more than {len(space.view):,} bytes of them")
            for _ in range(count):
                at = fields.address()
                nbytes, skipped = self.nbytes, 0
                if filtered:
                    nbytes, skipped = fields.uint(element_nbytes - space.offset_nbytes - 4), fields.uint(4)
                if at is not None:
                    yield number, at, nbytes, skipped
                number += 1
            if number > last:
                return


_Part = tuple[int, "Fields | None", int, bool]
"""Elements: how many, their reader (None where they are not stored), bytes of one, whether chunks are filtered."""


def _fixed(space: Space, at: int) -> Iterator[_Part]:
    """Yield the parts of a fixed array."""
    o = space.offset_nbytes
    size = 8 + space.length_nbytes + o + _CHECKSUM_NBYTES
    head = space.block(at, b"FAHD", size, "fixed array")
    space.check(at, size, "fixed array")
    head.version(0)
    filtered, element, page_bits, count = bool(head.uint(1)), head.uint(1), head.uint(1), head.length()
    block = head.address()
    _fits(head, element, filtered)
    if block is None:
        return
    before = 6 + o
    if page_bits < _MAX_BITS and count > 1 << page_bits:
        page = 1 << page_bits
        pages = -(-count // page)
        space.block(block, b"FADB", before, "fixed array block")
        bitmap_nbytes = -(-pages // 8)
        bitmap = space.take(block + before, bitmap_nbytes, "fixed array block")
        space.check(block, before + bitmap_nbytes + _CHECKSUM_NBYTES, "fixed array block")
        start = block + before + bitmap_nbytes + _CHECKSUM_NBYTES
        yield from _pages(space, start, bitmap, 0, count, page, element, filtered=filtered)
        return
    nbytes = before + count * element + _CHECKSUM_NBYTES
    fields = space.block(block, b"FADB", nbytes, "fixed array block")
    space.check(block, nbytes, "fixed array block")
    fields.raw(before - 4)
    yield count, fields, element, filtered


def _pages(
    space: Space, start: int, bitmap: memoryview, first: int, count: int, page: int, element: int, *, filtered: bool
) -> Iterator[_Part]:
    """Yield the pages of a block, each with a checksum of its own; a bit says whether one was ever written."""
    full = page * element + _CHECKSUM_NBYTES
    for number in range(-(-count // page)):
        size = min(page, count - number * page)
        bit = first + number
        if not bitmap[bit // 8] & (0x80 >> bit % 8):
            yield size, None, element, filtered
            continue
        at = start + number * full
        space.check(at, size * element + _CHECKSUM_NBYTES, "array page")
        yield size, space.fields(at, size * element, "array page"), element, filtered


def _fits(head: Fields, element: int, filtered: bool) -> None:  # noqa: FBT001
    o = head.space.offset_nbytes
    if (not filtered and element != o) or (filtered and not o + 5 <= element <= o + 12):
        raise head.corrupt(f"elements of {o} bytes and more", f"{element}")


def _extensible(space: Space, at: int) -> Iterator[_Part]:
    """Yield the parts of an extensible array: elements in the index block, then data blocks, then super blocks."""
    o, n = space.offset_nbytes, space.length_nbytes
    size = 12 + 6 * n + o + _CHECKSUM_NBYTES
    head = space.block(at, b"EAHD", size, "extensible array")
    space.check(at, size, "extensible array")
    head.version(0)
    filtered, element, max_bits, in_index = bool(head.uint(1)), head.uint(1), head.uint(1), head.uint(1)
    min_elements, min_pointers, page_bits = head.uint(1), head.uint(1), head.uint(1)
    for _ in range(6):
        head.length()
    index = head.address()
    _fits(head, element, filtered)
    powers = (min_elements, min_pointers)
    if any(p < 1 or p & (p - 1) for p in powers) or not 0 < max_bits <= _MAX_BITS or page_bits >= _MAX_BITS:
        raise head.corrupt("block sizes that are powers of two", ", ".join(map(str, powers)))
    if index is None:
        return
    supers = 1 + max_bits - (min_elements.bit_length() - 1)
    first_super = 2 * (min_pointers.bit_length() - 1)
    sizes = [(1 << (i // 2), min_elements << ((i + 1) // 2)) for i in range(max(supers, first_super))]
    blocks = [elements for count, elements in sizes[:first_super] for _ in range(count)]
    before = 6 + o
    nbytes = before + in_index * element + (len(blocks) + max(0, supers - first_super)) * o + _CHECKSUM_NBYTES
    fields = space.block(index, b"EAIB", nbytes, "extensible array index")
    space.check(index, nbytes, "extensible array index")
    fields.raw(before - 4)
    yield in_index, Fields(space, fields.raw(in_index * element), index + before, "index block"), element, filtered
    offset_nbytes = -(-max_bits // 8)
    page = 1 << page_bits
    for elements in blocks:
        yield from _data_block(space, fields.address(), elements, offset_nbytes, page, element, None, filtered=filtered)
    for count, elements in sizes[first_super:supers]:
        child = fields.address()
        if child is None:
            yield count * elements, None, element, filtered
            continue
        pages = -(-elements // page) if elements > page else 0
        bitmap_nbytes = -(-pages // 8)
        head_nbytes = before + offset_nbytes
        nbytes = head_nbytes + count * (bitmap_nbytes + o) + _CHECKSUM_NBYTES
        rows = space.block(child, b"EASB", nbytes, "extensible array super block")
        space.check(child, nbytes, "extensible array super block")
        rows.raw(head_nbytes - 4)
        bitmap = rows.raw(count * bitmap_nbytes)  # the bits of one block follow those of the one before
        for number in range(count):
            block = rows.address()
            written = (bitmap, number * pages) if pages else None
            yield from _data_block(space, block, elements, offset_nbytes, page, element, written, filtered=filtered)


def _data_block(
    space: Space,
    at: int | None,
    elements: int,
    offset_nbytes: int,
    page: int,
    element: int,
    written: tuple[memoryview, int] | None,
    *,
    filtered: bool,
) -> Iterator[_Part]:
    if at is None:
        yield elements, None, element, filtered
        return
    before = 6 + space.offset_nbytes + offset_nbytes
    if written is not None:
        bitmap, first = written
        space.block(at, b"EADB", before, "extensible array block")
        space.check(at, before + _CHECKSUM_NBYTES, "extensible array block")
        yield from _pages(
            space, at + before + _CHECKSUM_NBYTES, bitmap, first, elements, page, element, filtered=filtered
        )
        return
    nbytes = before + elements * element + _CHECKSUM_NBYTES
    fields = space.block(at, b"EADB", nbytes, "extensible array block")
    space.check(at, nbytes, "extensible array block")
    fields.raw(before - 4)
    yield elements, fields, element, filtered
