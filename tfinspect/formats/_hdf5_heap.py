"""The trees and heaps that HDF5 keeps names, attributes and long values in."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from tfinspect.formats._hdf5_bytes import lookup3, width

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tfinspect.formats._hdf5_bytes import Fields, Space

MAX_NODES: Final = 1 << 20  # of one tree; a file of that many pieces is no model
_MAX_DEPTH = 64
_CHECKSUM_NBYTES = 4
_TREE_HEAD_NBYTES = 10  # letters, version, type and checksum of a node of a B-tree v2
_MANAGED, _HUGE, _TINY = range(3)
_HUGE_BY_ID = 1
_TYPE_GROUP = 0


def group_entries(space: Space, tree: int, heap: int) -> Iterator[tuple[str, int, str | None]]:
    """Yield (name, address of the object, target of a soft link or None) of an old-style group.

    Raises:
        CorruptFileError: the tree, the heap or a node is damaged.
    """
    names = _LocalHeap(space, heap)
    o, n = space.offset_nbytes, space.length_nbytes
    for leaf in tree_v1(space, tree, _TYPE_GROUP, n):
        head = space.block(leaf.child, b"SNOD", 8, "symbol node")
        head.version(1)
        head.uint(1)
        count = head.uint(2)
        rows = space.fields(leaf.child + 8, count * (2 * o + 24), "symbol node")
        for _ in range(count):
            name = names.text(rows.uint(o))
            target = rows.uint(o)
            kind = rows.uint(4)
            rows.uint(4)
            scratch = bytes(rows.raw(16))
            soft = names.text(int.from_bytes(scratch[:4], "little")) if kind == 2 else None  # noqa: PLR2004
            yield name, target, soft


class _LocalHeap:
    def __init__(self, space: Space, at: int) -> None:
        head = space.block(at, b"HEAP", 8 + 2 * space.length_nbytes + space.offset_nbytes, "local heap")
        head.version(0)
        head.uint(3)
        size = head.length()
        head.length()
        start = head.address()
        if start is None:
            raise head.corrupt("the address of the heap's names", "none")
        self._start = start
        self._size = size
        self._space = space
        space.take(start, size, "local heap")

    def text(self, offset: int) -> str:
        """Return the name at an offset."""
        if offset >= self._size:
            raise self._space.corrupt(
                self._start, f"a name at {offset:,}", f"a heap of {self._size:,} bytes", "local heap"
            )
        fields = self._space.fields(self._start + offset, self._size - offset, "local heap")
        return fields.text().decode("utf-8", "replace")


def local_text(space: Space, heap: int, offset: int) -> str:
    """Return a name of a local heap.

    Raises:
        CorruptFileError: the heap is damaged, or has none there.
    """
    return _LocalHeap(space, heap).text(offset)


class Leaf(NamedTuple):
    """An entry of the lowest level of a B-tree v1: its key, and what it points to."""

    key: memoryview
    child: int
    at: int


def tree_v1(space: Space, root: int, kind: int, key_nbytes: int) -> Iterator[Leaf]:
    """Yield the entries of the lowest level of a B-tree v1, in order.

    Raises:
        CorruptFileError: a node is damaged, or the tree leads back to itself.
    """
    o = space.offset_nbytes
    seen: set[int] = set()
    left = len(space.view)  # nodes do not overlap, so together they are no larger than the file
    waiting: list[tuple[int, int | None]] = [(root, None)]
    while waiting:
        at, expected = waiting.pop()
        if at in seen or len(seen) > MAX_NODES:
            raise space.corrupt(at, "a node of its own", "one met before", "B-tree")
        seen.add(at)
        head = space.block(at, b"TREE", 8 + 2 * o, "B-tree")
        if (found := head.uint(1)) != kind:
            raise head.corrupt(f"a node of type {kind}", f"{found}")
        level, count = head.uint(1), head.uint(2)
        if level > _MAX_DEPTH or (expected is not None and level != expected):
            raise head.corrupt(f"a node of level {expected or 0}", f"{level}")
        nbytes = count * (key_nbytes + o) + key_nbytes
        left -= nbytes
        if left < 0:
            raise head.corrupt("nodes that do not overlap", f"more than {len(space.view):,} bytes of them")
        rows = space.fields(at + 8 + 2 * o, nbytes, "B-tree")
        children = []
        for _ in range(count):
            where = rows.here
            key = rows.raw(key_nbytes)
            child = rows.address()
            if child is None:
                raise rows.corrupt("the address of a node", "none")
            children.append(Leaf(key, child, where))
        if level == 0:
            yield from children
        else:
            waiting += [(leaf.child, level - 1) for leaf in reversed(children)]


def tree_v2(space: Space, at: int, *kinds: int) -> Iterator[Fields]:
    """Yield the records of a B-tree v2, in order, each as a reader.

    Raises:
        CorruptFileError: a node is damaged, of another type, or the tree leads back to itself.
    """
    o = space.offset_nbytes
    size = 16 + o + 2 + space.length_nbytes + _CHECKSUM_NBYTES
    head = space.block(at, b"BTHD", size, "B-tree header")
    space.check(at, size, "B-tree header")
    head.version(0)
    kind = head.uint(1)
    if kind not in kinds:
        raise head.corrupt(f"a tree of type {' or '.join(map(str, kinds))}", f"{kind}")
    node_nbytes, record_nbytes, depth = head.uint(4), head.uint(2), head.uint(2)
    head.uint(2)
    root, count = head.address(), head.uint(2)
    if root is None:
        return
    pointers = _pointer_sizes(head, node_nbytes, record_nbytes, depth)
    seen: set[int] = set()
    left = len(space.view)  # as above
    # entries are nodes to read (address, records, level), or records to yield
    waiting: list[tuple[int, int, int] | Fields] = [(root, count, depth)]
    while waiting:
        item = waiting.pop()
        if not isinstance(item, tuple):
            yield item
            continue
        node, records, level = item
        if node in seen or len(seen) > MAX_NODES:
            raise space.corrupt(node, "a node of its own", "one met before", "B-tree")
        seen.add(node)
        nbytes = _TREE_HEAD_NBYTES + records * record_nbytes
        nbytes += (records + 1) * (o + sum(pointers[level])) if level else 0
        left -= nbytes
        if left < 0:
            raise space.corrupt(node, "nodes that do not overlap", f"more than {len(space.view):,} bytes", "B-tree")
        if nbytes > node_nbytes:
            raise space.corrupt(node, f"a node of {node_nbytes:,} bytes", f"{records:,} records", "B-tree")
        fields = space.block(node, b"BTIN" if level else b"BTLF", nbytes, "B-tree")
        space.check(node, nbytes, "B-tree")
        fields.version(0)
        if (found := fields.uint(1)) != kind:
            raise fields.corrupt(f"a node of type {kind}", f"{found}")
        rows: list[tuple[int, int, int] | Fields] = []
        for _ in range(records):
            rows.append(space.fields(fields.here, record_nbytes, "B-tree record"))
            fields.raw(record_nbytes)
        if level:
            below: list[tuple[int, int, int] | Fields] = []
            for _ in range(records + 1):
                child, children = fields.address(), fields.uint(pointers[level][0])
                fields.uint(pointers[level][1])
                if child is None:
                    raise fields.corrupt("the address of a node", "none")
                below.append((child, children, level - 1))
            rows = [row for pair in zip(below, [*rows, below[-1]], strict=True) for row in pair][:-1]
        waiting += reversed(rows)


def _pointer_sizes(head: Fields, node_nbytes: int, record_nbytes: int, depth: int) -> list[tuple[int, int]]:
    """Return, by level, the bytes of a child's number of records, and of the number of records below it."""
    if record_nbytes == 0 or node_nbytes < _TREE_HEAD_NBYTES + record_nbytes or depth > _MAX_DEPTH:
        raise head.corrupt("a tree whose records fit its nodes", f"{record_nbytes} of {node_nbytes} bytes")
    most = (node_nbytes - _TREE_HEAD_NBYTES) // record_nbytes
    count_nbytes = width(most)
    sizes, below, below_nbytes = [(0, 0)], most, 0
    for _ in range(depth):
        sizes.append((count_nbytes, below_nbytes))
        pointer = head.space.offset_nbytes + count_nbytes + below_nbytes
        most = max(0, node_nbytes - _TREE_HEAD_NBYTES - pointer) // (record_nbytes + pointer)
        below = (most + 1) * below + most
        below_nbytes = width(below)
    return sizes


class FractalHeap:
    """A heap of objects named by IDs: what new-style groups keep links in, and objects many or large attributes.

    Raises:
        CorruptFileError: its header is damaged.
        UnsupportedFeatureError: it is compressed.
    """

    def __init__(self, space: Space, at: int) -> None:
        o, n = space.offset_nbytes, space.length_nbytes
        size = 22 + 12 * n + 3 * o + _CHECKSUM_NBYTES
        head = space.block(at, b"FRHP", size, "fractal heap")
        head.version(0)
        self._id_nbytes = head.uint(2)
        if head.uint(2):
            raise space.unsupported("a compressed fractal heap")
        space.check(at, size, "fractal heap")
        self._has_checksums = bool(head.uint(1) & 2)
        largest = head.uint(4)
        head.length()
        self._huge_tree = head.address()
        head.length()
        head.address()
        for _ in range(8):
            head.length()
        self._width, self._start, self._max_direct = head.uint(2), head.length(), head.length()
        max_bits = head.uint(2)
        head.uint(2)
        self._root, self._root_rows = head.address(), head.uint(2)
        powers = (self._start, self._max_direct, self._width)
        if any(p < 1 or p & (p - 1) for p in powers) or self._max_direct < self._start or not 0 < max_bits <= 64:  # noqa: PLR2004
            raise head.corrupt("block sizes that are powers of two", ", ".join(map(str, powers)))
        self._offset_nbytes = (max_bits + 7) // 8
        self._length_nbytes = min((self._max_direct.bit_length() + 6) // 8, width(largest))
        self._direct_rows = self._max_direct.bit_length() - self._start.bit_length() + 2
        self._space = space
        self._at = at
        self._checked: set[int] = set()
        self._huge: dict[int, tuple[int, int]] | None = None

    def object(self, name: Fields) -> Fields:
        """Return a reader of the object that an ID (`name`, read up to its end) stands for.

        Raises:
            CorruptFileError: there is none.
            UnsupportedFeatureError: the ID is of a later version.
        """
        bits = name.uint(1)
        kind = bits >> 4 & 3
        if bits >> 6:
            raise self._space.unsupported(f"heap IDs of version {bits >> 6}")
        if kind == _TINY:
            size = (bits & 15) + 1
            found = self._space.fields(name.here, size, "heap object")
            name.raw(size)
            return found
        if kind == _HUGE:
            return self._huge_object(name)
        if kind != _MANAGED:
            raise name.corrupt("a heap ID", f"one of type {kind}")
        where = name.here
        offset, size = name.uint(self._offset_nbytes), name.uint(self._length_nbytes)
        block, start, nbytes = self._block(offset)
        if size > nbytes - (offset - start):
            raise self._space.corrupt(where, f"an object inside its block of {nbytes:,}", f"{size:,} bytes", "heap ID")
        return self._space.fields(block + offset - start, size, "heap object")

    def _block(self, offset: int) -> tuple[int, int, int]:
        """Return (address, first heap offset, bytes) of the direct block that an offset lies in."""
        at, rows, start = self._root, self._root_rows, 0
        if at is None:
            raise self._space.corrupt(self._at, "a block of objects", "none", "fractal heap")
        if rows == 0:
            self._check_direct(at, self._start)
            return at, 0, self._start
        for _ in range(_MAX_DEPTH):
            row, column, first, nbytes = self._place(offset - start)
            if row >= rows:
                raise self._space.corrupt(at, f"a block that holds heap offset {offset:,}", f"{rows} rows", "heap ID")
            child = self._child(at, rows, row, column)
            start += first
            if row < self._direct_rows:
                self._check_direct(child, nbytes)
                return child, start, nbytes
            at = child
            rows = nbytes.bit_length() - (self._start * self._width).bit_length() + 1
        raise self._space.corrupt(at, "a heap of some depth", "one without end", "fractal heap")

    def _place(self, offset: int) -> tuple[int, int, int, int]:
        """Return (row, column, first offset, bytes) of the block of a doubling table that an offset lies in."""
        one = self._start * self._width
        row = 0 if offset < one else offset.bit_length() - one.bit_length() + 1
        nbytes = self._start << max(0, row - 1)
        first = 0 if row == 0 else one << (row - 1)
        column = (offset - first) // nbytes
        return row, column, first + column * nbytes, nbytes

    def _child(self, at: int, rows: int, row: int, column: int) -> int:
        o = self._space.offset_nbytes
        head = 5 + o + self._offset_nbytes
        size = head + rows * self._width * o + _CHECKSUM_NBYTES
        if at not in self._checked:
            self._space.block(at, b"FHIB", size, "indirect block")
            self._space.check(at, size, "indirect block")
            self._checked.add(at)
        entry = self._space.fields(at + head + (row * self._width + column) * o, o, "indirect block")
        found = entry.address()
        if found is None:
            raise self._space.corrupt(entry.at, "the address of a block", "none", "indirect block")
        return found

    def _check_direct(self, at: int, nbytes: int) -> None:
        if at in self._checked:
            return
        head = self._space.block(at, b"FHDB", nbytes, "direct block")
        if self._has_checksums:
            # the checksum stands behind the head and is taken with zeros in its own place
            where = 5 + self._space.offset_nbytes + self._offset_nbytes
            data = bytearray(self._space.take(at, nbytes, "direct block"))
            stored = int.from_bytes(data[where : where + _CHECKSUM_NBYTES], "little")
            data[where : where + _CHECKSUM_NBYTES] = bytes(_CHECKSUM_NBYTES)
            computed = lookup3(bytes(data))
            if computed != stored:
                raise self._space.corrupt(
                    at + where, f"the checksum {computed:#010x}", f"{stored:#010x}", "direct block"
                )
        head.version(0)
        self._checked.add(at)

    def _huge_object(self, name: Fields) -> Fields:
        o, n = self._space.offset_nbytes, self._space.length_nbytes
        if self._id_nbytes - 1 >= o + n:
            address, size = name.uint(o), name.length()
            return self._space.fields(address, size, "heap object")
        key = name.uint(min(n, self._id_nbytes - 1))
        if self._huge is None:
            self._huge = {}
            if self._huge_tree is not None:
                for record in tree_v2(self._space, self._huge_tree, _HUGE_BY_ID):
                    address, size = record.uint(o), record.length()
                    self._huge[record.length()] = (address, size)
        if key not in self._huge:
            raise name.corrupt("the ID of a large object", f"{key:,}, which the heap has not")
        return self._space.fields(*self._huge[key], "heap object")


def heap_objects(space: Space, heap: int, tree: int, kind: int, skip: int) -> Iterator[Fields]:
    """Yield a reader of every object of a fractal heap that a tree of names lists.

    Args:
        space: the file.
        heap: address of the heap.
        tree: address of the tree.
        kind: type of the tree's records.
        skip: bytes of a record before its heap ID.

    Raises:
        CorruptFileError: tree or heap are damaged.
    """
    objects = FractalHeap(space, heap)
    for record in tree_v2(space, tree, kind):
        record.raw(skip)
        yield objects.object(record)


class GlobalHeap:
    """Where strings of variable length are kept, in collections of many."""

    def __init__(self, space: Space) -> None:
        self._space = space
        self._collections: dict[int, dict[int, tuple[int, int]]] = {}

    def object(self, collection: int, index: int) -> memoryview:
        """Return the bytes of an object.

        Raises:
            CorruptFileError: there is none, or the collection is damaged.
        """
        found = self._collections.get(collection)
        if found is None:
            found = self._collections[collection] = self._read(collection)
        if index not in found:
            raise self._space.corrupt(collection, f"the object {index:,}", "none of that number", "global heap")
        return self._space.take(*found[index], "global heap")

    def _read(self, at: int) -> dict[int, tuple[int, int]]:
        n = self._space.length_nbytes
        head = self._space.block(at, b"GCOL", 8 + n, "global heap")
        head.version(1)
        head.uint(3)
        size = head.length()
        if size < 8 + n:
            raise head.corrupt("the size of the collection", f"{size:,}")
        rows = self._space.fields(at, size, "global heap")
        rows.raw(8 + n)
        self._space.spend(size)
        objects: dict[int, tuple[int, int]] = {}
        while rows.left >= 8 + n:
            index = rows.uint(2)
            rows.uint(6)
            nbytes = rows.length()
            if index == 0:  # what is left of the collection
                break
            objects[index] = (rows.here, nbytes)
            rows.raw(nbytes)
            rows.raw(min(-nbytes % 8, rows.left))
        return objects
