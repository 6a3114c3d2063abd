"""HDF5 files as Keras and h5py write them: groups, attributes and datasets, found without any native code.

Nothing outside the file is ever opened: links that lead out, external storage and virtual datasets are seen and named,
never followed. Addresses count from the superblock, which a user block may precede.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

from tfinspect.errors import LimitError
from tfinspect.formats._file import MappedFile
from tfinspect.formats._hdf5_bytes import Fields, Space
from tfinspect.formats._hdf5_headers import Message, header_messages
from tfinspect.formats._hdf5_heap import GlobalHeap, group_entries, heap_objects
from tfinspect.formats._hdf5_types import Attribute, Dataspace, Datatype, read_dataspace, read_datatype

if TYPE_CHECKING:
    import os
    from collections.abc import Iterator, Mapping

    from tfinspect.formats._hdf5_data import Dataset

MAGIC: Final = b"\x89HDF\r\n\x1a\n"
_LINK_NBYTES = 32  # at least, of one in the file
_MAX_OBJECTS: Final = 1 << 20
_MAX_DEPTH: Final = 64
_SIZES: Final = frozenset({2, 4, 8})
_MUST_UNDERSTAND = 0x80
_SHARED = 0x02
_NEW_SUPERBLOCK = 2
_HARD, _SOFT, _EXTERNAL = 0, 1, 64
_NAME_TREE, _ATTRIBUTE_TREE = 5, 8

SPACE, LINK_INFO, TYPE, LINK, LAYOUT, ATTRIBUTE, TABLE, ATTRIBUTE_INFO = 1, 2, 3, 6, 8, 12, 17, 21
_KNOWN: Final = frozenset(range(0x19))


@dataclass(frozen=True, slots=True)
class Link:
    """A name in a group.

    Attributes:
        name: the name.
        kind: "hard" for an object of this file; the others are never followed.
        address: of the object's header, of a hard link.
        target: what another link says it leads to.
    """

    name: str
    kind: Literal["hard", "soft", "external", "user-defined"]
    address: int = 0
    target: str = ""


def find_superblock(view: memoryview) -> int | None:
    """Return where the superblock is: at 0, 512, 1024, 2048 and so on; None where there is none."""
    at = 0
    while at + len(MAGIC) <= len(view):
        if bytes(view[at : at + len(MAGIC)]) == MAGIC:
            return at
        at = 2 * at or 512
    return None


class Hdf5:
    """An HDF5 file.

    Args:
        path: the file; for messages alone where `view` is given.
        view: its bytes, where they are at hand already.

    Attributes:
        path: as given.
        view: the whole file.

    Raises:
        CorruptFileError: the superblock is damaged, or the file has been cut short.
        UnsupportedFeatureError: it is of a later version.
    """

    def __init__(self, path: str | os.PathLike[str], view: memoryview | None = None) -> None:
        import os

        self.path = os.fspath(path)
        self.view = MappedFile(path).view if view is None else view
        at = find_superblock(self.view)
        probe = Space(self.view, self.path, 0, 8, 8)
        if at is None:
            raise probe.corrupt(0, "the signature of HDF5", bytes(self.view[:8]).hex(" "), "superblock")
        self.space, self._root = self._superblock(probe, at)
        self.heap = GlobalHeap(self.space)
        self._objects: dict[int, Object] = {}

    def _superblock(self, probe: Space, at: int) -> tuple[Space, int]:
        version = probe.take(at, 9, "superblock")[8]
        if version > 3:  # noqa: PLR2004
            raise probe.unsupported(f"version {version} of HDF5's superblock")
        is_new = version >= _NEW_SUPERBLOCK
        sizes = probe.take(at + (9 if is_new else 13), 2, "superblock")
        o, n = sizes[0], sizes[1]
        if o not in _SIZES or n not in _SIZES:
            raise probe.corrupt(
                at + (9 if is_new else 13), "addresses and lengths of 2, 4 or 8 bytes", f"{o} and {n}", "superblock"
            )
        probe = Space(self.view, self.path, 0, o, n)
        if is_new:
            probe.check(at, 16 + 4 * o, "superblock")
            fields = probe.fields(at + 12, 4 * o, "superblock")
            base, _, end, root = (fields.address() for _ in range(4))
        else:
            start = at + (28 if version == 1 else 24)
            fields = probe.fields(start, 4 * o + 2 * o, "superblock")
            base, _, end, _, _, root = (fields.address() for _ in range(6))
        if base is None or end is None or root is None:
            raise fields.corrupt("the addresses of base, end and root group", "none")
        if base != at:  # a user block was put before a finished file: HDF5 goes by where the superblock is
            end = end + at - base if end >= base else end
            base = at
        if end > len(self.view):
            raise probe.corrupt(
                len(self.view), f"{end:,} bytes, as the superblock says", "the end of the file", "superblock"
            )
        return Space(self.view[base:end], self.path, base, o, n), root

    @property
    def root(self) -> Object:
        """The root group.

        Raises:
            CorruptFileError: its header is damaged.
        """
        return self.object(self._root, "/")

    def object(self, address: int, name: str) -> Object:
        """Return the object whose header is at an address; read once.

        Raises:
            CorruptFileError: its header is damaged.
        """
        found = self._objects.get(address)
        if found is None:
            if len(self._objects) >= _MAX_OBJECTS:
                raise LimitError(f"{self.path} has more than {_MAX_OBJECTS:,} objects", evidence={"path": self.path})
            found = self._objects[address] = Object(self, address, name)
        return found

    def walk(self, start: Object | None = None) -> Iterator[tuple[str, Object | Link]]:
        """Yield (path, object) for everything below a group, and (path, link) for links that are not followed.

        Each group is entered once, so a group that holds itself ends nothing.

        Raises:
            CorruptFileError: an object is damaged.
            LimitError: groups are nested deeper than any model's.
        """
        first = self.root if start is None else start
        entered = {first.address}
        waiting: list[tuple[str, Object, int]] = [("", first, 0)]
        while waiting:
            prefix, group, depth = waiting.pop()
            if depth > _MAX_DEPTH:
                raise LimitError(
                    f"{self.path} nests groups more than {_MAX_DEPTH} deep, at `{prefix[:80]}`",
                    evidence={"path": self.path, "name": prefix},
                )
            below = []
            for link in group.links.values():
                path = f"{prefix}/{link.name}" if prefix else link.name
                if link.kind != "hard":
                    yield path, link
                    continue
                found = self.object(link.address, path)
                if found.is_group:
                    if found.address in entered:
                        continue
                    entered.add(found.address)
                    below.append((path, found, depth + 1))
                yield path, found
            waiting += reversed(below)


class Object:
    """A group or dataset.

    Attributes:
        file: its file.
        address: of its header.
        name: path it was first met under.
        messages: of its header.
    """

    def __init__(self, file: Hdf5, address: int, name: str) -> None:
        self.file = file
        self.space = file.space
        self.address = address
        self.name = name
        self.messages = header_messages(file.space, address)
        file.space.spend(sum(m.nbytes + 4 for m in self.messages))
        unknown = next((m for m in self.messages if m.kind not in _KNOWN and m.flags & _MUST_UNDERSTAND), None)
        if unknown is not None:
            raise self.space.unsupported(f"header messages of type {unknown.kind} at `{name}`")

    @property
    def is_group(self) -> bool:
        """Whether it holds other objects."""
        return any(m.kind in (TABLE, LINK_INFO) for m in self.messages)

    @property
    def is_dataset(self) -> bool:
        """Whether it holds values."""
        return any(m.kind == LAYOUT for m in self.messages)

    def message(self, kind: int, structure: str) -> Fields | None:
        """Return a reader of its first message of a kind, or None; one that is shared is looked up.

        Raises:
            CorruptFileError: the object it is shared from has none.
            UnsupportedFeatureError: it is shared through a table of the whole file.
        """
        for found in self.messages:
            if found.kind == kind:
                return self._body(found, structure)
        return None

    def _body(self, message: Message, structure: str) -> Fields:
        fields = self.space.fields(message.at, message.nbytes, structure)
        return self._shared(fields, message.kind, structure) if message.flags & _SHARED else fields

    def _shared(self, fields: Fields, kind: int, structure: str) -> Fields:
        version = fields.version(1, 2, 3)
        where = fields.uint(1)
        if version == 1:
            fields.uint(6)
        elif where == 1:
            raise self.space.unsupported("messages shared through a table (SOHM)")
        address = fields.address()
        if address is None:
            raise fields.corrupt("the address of a shared message", "none")
        for found in header_messages(self.space, address):
            if found.kind == kind and not found.flags & _SHARED:
                return self.space.fields(found.at, found.nbytes, structure)
        raise fields.corrupt(f"an object with a {structure}", "one without")

    @functools.cached_property
    def links(self) -> Mapping[str, Link]:
        """What the group holds, by name; empty for a dataset.

        Raises:
            CorruptFileError: the group is damaged.
        """
        found: dict[str, Link] = {}
        for link in self._links():
            self.space.spend(_LINK_NBYTES + len(link.name) + len(link.target))
            found.setdefault(link.name, link)
        return found

    def _links(self) -> Iterator[Link]:
        o = self.space.offset_nbytes
        for message in self.messages:
            if message.kind == TABLE:
                fields = self.space.fields(message.at, 2 * o, "symbol table")
                tree, heap = fields.address(), fields.address()
                if tree is None or heap is None:
                    raise fields.corrupt("the addresses of a tree and its names", "none")
                for name, address, target in group_entries(self.space, tree, heap):
                    yield Link(name, "hard", address) if target is None else Link(name, "soft", target=target)
            elif message.kind == LINK:
                yield _link(self._body(message, "link"))
            elif message.kind == LINK_INFO:
                fields = self.space.fields(message.at, message.nbytes, "link info")
                fields.version(0)
                if fields.uint(1) & 1:
                    fields.uint(8)
                heap, tree = fields.address(), fields.address()
                if heap is not None and tree is not None:
                    for entry in heap_objects(self.space, heap, tree, _NAME_TREE, 4):
                        yield _link(entry)

    @functools.cached_property
    def attributes(self) -> Mapping[str, Attribute]:
        """Its attributes, by name.

        Raises:
            CorruptFileError: one is damaged.
        """
        found: dict[str, Attribute] = {}
        for message in self.messages:
            if message.kind == ATTRIBUTE:
                attribute = self._attribute(self._body(message, "attribute"))
                found[attribute.name] = attribute
            elif message.kind == ATTRIBUTE_INFO:
                fields = self.space.fields(message.at, message.nbytes, "attribute info")
                fields.version(0)
                if fields.uint(1) & 1:
                    fields.uint(2)
                heap, tree = fields.address(), fields.address()
                if heap is not None and tree is not None:
                    for entry in heap_objects(self.space, heap, tree, _ATTRIBUTE_TREE, 0):
                        attribute = self._attribute(entry)
                        found[attribute.name] = attribute
        return found

    def _attribute(self, fields: Fields) -> Attribute:
        version = fields.version(1, 2, 3)
        flags = fields.uint(1) if version > 1 else fields.uint(1) & 0
        name_nbytes, type_nbytes, space_nbytes = fields.uint(2), fields.uint(2), fields.uint(2)
        if version > _NEW_SUPERBLOCK:
            fields.uint(1)
        parts = []
        for nbytes in (name_nbytes, type_nbytes, space_nbytes):
            parts.append(Fields(self.space, fields.raw(nbytes), fields.here - nbytes, "attribute"))
            if version == 1:
                fields.raw(-nbytes % 8)
        name = bytes(parts[0].raw(name_nbytes)).partition(b"\0")[0].decode("utf-8", "replace")
        kind = read_datatype(self._shared(parts[1], TYPE, "datatype") if flags & 1 else parts[1])
        shape = read_dataspace(self._shared(parts[2], SPACE, "dataspace") if flags & 2 else parts[2])
        at = fields.here
        self.space.spend(name_nbytes + type_nbytes + space_nbytes)
        return Attribute(name, kind, shape, fields.raw(fields.left), at, self.space, self.file.heap)

    def datatype(self) -> Datatype:
        """Return the type of its elements.

        Raises:
            CorruptFileError: it has none.
        """
        return read_datatype(self._needed(TYPE, "datatype"))

    def dataspace(self) -> Dataspace:
        """Return its shape.

        Raises:
            CorruptFileError: it has none.
        """
        return read_dataspace(self._needed(SPACE, "dataspace"))

    def _needed(self, kind: int, structure: str) -> Fields:
        fields = self.message(kind, structure)
        if fields is None:
            raise self.space.corrupt(self.address, f"a {structure} of `{self.name}`", "none", "object header")
        return fields

    @functools.cached_property
    def dataset(self) -> Dataset:
        """Its values.

        Raises:
            CorruptFileError: it has none, or they go over the end of the file.
        """
        from tfinspect.formats._hdf5_data import Dataset

        return Dataset(self)

    def find(self, path: str) -> Object | Link | None:
        """Return what stands under a path below this group; the link where one on the way is not followed.

        Raises:
            CorruptFileError: a group on the way is damaged.
        """
        place: Object = self
        for part in path.split("/"):
            if part in ("", "."):
                continue
            link = place.links.get(part)
            if link is None or link.kind != "hard":
                return link
            place = self.file.object(link.address, f"{place.name}/{part}".lstrip("/"))
        return place


def _link(fields: Fields) -> Link:
    fields.version(1)
    flags = fields.uint(1)
    kind = fields.uint(1) if flags & 8 else _HARD
    if flags & 4:
        fields.uint(8)
    if flags & 16:
        fields.uint(1)
    name = bytes(fields.raw(fields.uint(1 << (flags & 3)))).decode("utf-8", "replace")
    if kind == _HARD:
        address = fields.address()
        if address is None:
            raise fields.corrupt(f"the address of `{name[:80]}`", "none")
        return Link(name, "hard", address)
    value = bytes(fields.raw(fields.uint(2)))
    if kind == _SOFT:
        return Link(name, "soft", target=value.decode("utf-8", "replace"))
    if kind == _EXTERNAL:
        file, _, inside = value[1:].partition(b"\0")
        target = f"{file.decode('utf-8', 'replace')}:{inside.rstrip(bytes(1)).decode('utf-8', 'replace')}"
        return Link(name, "external", target=target)
    return Link(name, "user-defined", target=f"link class {kind}")
