"""Object headers of HDF5: the messages that say what an object is, of both versions."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tfinspect.formats._hdf5_bytes import Space

CONTINUATION: Final = 16
_MAX_MESSAGES: Final = 1 << 17
_OLD_MESSAGE: Final = struct.Struct("<HHB")
_NEW_MESSAGE: Final = struct.Struct("<BHB")


class Message(NamedTuple):
    """A message of an object header."""

    kind: int
    flags: int
    at: int
    nbytes: int


def header_messages(space: Space, address: int) -> list[Message]:
    """Read the messages of an object header and of its continuations.

    Raises:
        CorruptFileError: the header is damaged.
    """
    return (
        _new_messages(space, address)
        if bytes(space.take(address, 4, "object header")) == b"OHDR"
        else _old(space, address)
    )


def _old(space: Space, address: int) -> list[Message]:
    head = space.fields(address, 16, "object header")
    head.version(1)
    head.uint(1)
    head.uint(2)  # number of messages: old files count those that were deleted
    head.uint(4)
    blocks = _Blocks(space, address + 16, head.uint(4))
    for at, view in blocks:
        blocks.read(at, view, _OLD_MESSAGE, 8)
    return blocks.found


def _new_messages(space: Space, address: int) -> list[Message]:
    head = space.fields(address, 6, "object header")
    head.uint(4)
    head.version(2)
    flags = head.uint(1)
    before = 6 + 16 * bool(flags & 0x20) + 4 * bool(flags & 0x10)
    size_nbytes = 1 << (flags & 3)
    size = int.from_bytes(space.take(address + before, size_nbytes, "object header"), "little")
    start = before + size_nbytes
    space.check(address, start + size + 4, "object header")
    blocks = _Blocks(space, address + start, size)
    for at, view in blocks:
        if at == address + start:
            blocks.read(at, view, _NEW_MESSAGE, 6 if flags & 4 else 4)
        else:  # a continuation, with letters and checksum of its own
            space.block(at, b"OCHK", len(view), "object header continuation")
            space.check(at, len(view), "object header continuation")
            blocks.read(at + 4, view[4:-4], _NEW_MESSAGE, 6 if flags & 4 else 4)
    return blocks.found


class _Blocks:
    """The blocks of an object header; iterating over them meets those that reading adds.

    Attributes:
        found: messages read so far.
    """

    def __init__(self, space: Space, at: int, nbytes: int) -> None:
        self.found: list[Message] = []
        self._space = space
        self._waiting = [(at, nbytes)]
        self._seen = {at}

    def __iter__(self) -> Iterator[tuple[int, memoryview]]:
        for at, nbytes in self._waiting:
            yield at, self._space.take(at, nbytes, "object header")

    def read(self, at: int, view: memoryview, form: struct.Struct, prefix: int) -> None:
        """Read the messages of a block; a continuation among them adds its block."""
        position, end = 0, len(view)
        while end - position >= prefix:
            kind, nbytes, flags = form.unpack_from(view, position)
            position += prefix
            if nbytes > end - position:
                raise self._space.corrupt(
                    at + position, f"a message of {nbytes:,} bytes", f"{end - position:,}", "object header"
                )
            if kind == CONTINUATION:
                self._continue(at + position, nbytes)
            elif kind:
                self.found.append(Message(kind, flags, at + position, nbytes))
            position += nbytes
        if len(self.found) > _MAX_MESSAGES:
            raise self._space.corrupt(at, f"at most {_MAX_MESSAGES:,} messages", "more", "object header")

    def _continue(self, at: int, nbytes: int) -> None:
        inside = self._space.fields(at, nbytes, "object header continuation")
        block, size = inside.address(), inside.length()
        if block is None or size < 8 or block in self._seen:  # noqa: PLR2004
            raise inside.corrupt("the address of a block not met before", f"{block}")
        self._seen.add(block)
        self._waiting.append((block, size))
