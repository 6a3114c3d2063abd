"""Cutting a part out of a tensor, and joining parts, while the bytes pass by: neither is ever in memory as a whole.

An array is gone through in blocks of rows, a row being all that its first axes leave: as many of them are counted as
"leading" as it takes for a row to be small.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, NamedTuple

from tfinspect.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    import numpy as np
    import numpy.typing as npt

    Bytes = bytes | memoryview

BLOCK_NBYTES = 4 << 20
_JOINING_NBYTES = 64 << 20  # what all the parts that are read at the same time may hold together
_LEAST_NBYTES = 16 << 10
_WORDS = {1: "u1", 2: "<u2", 4: "<u4", 8: "<u8", 16: "<c16"}


class Part(NamedTuple):
    """A rectangular part of a larger array.

    Attributes:
        start: where it begins.
        shape: how large it is.
        chunks: gives its elements as little-endian bytes, in pieces of at most so many.
    """

    start: tuple[int, ...]
    shape: tuple[int, ...]
    chunks: Callable[[int], Iterable[Bytes]]


class _Rows(NamedTuple):
    """How an array is gone through: rows of shape `rest`, counted along the axes `lead`."""

    lead: tuple[int, ...]
    rest: tuple[int, ...]
    nbytes: int

    @property
    def total(self) -> int:
        return math.prod(self.lead)

    @property
    def at_a_time(self) -> int:
        return max(1, BLOCK_NBYTES // max(1, self.nbytes))

    def within(self, first: int, last: int, start: Sequence[int], shape: Sequence[int]) -> npt.NDArray[np.intp]:
        """Return which of the rows [first, last) a part has, counted from `first`."""
        import numpy as np

        if not self.lead:
            return np.zeros(1, np.intp)
        places = np.unravel_index(np.arange(first, last), self.lead)
        inside = np.ones(last - first, bool)
        for place, begin, size in zip(places, start, shape, strict=False):
            inside &= (place >= begin) & (place < begin + size)
        return np.flatnonzero(inside)

    def ends(self, start: Sequence[int], shape: Sequence[int]) -> tuple[int, int]:
        """Return the first row of a part, and the one after its last."""
        first = last = 0
        for size, begin, length in zip(self.lead, start, shape, strict=False):
            first, last = first * size + begin, last * size + begin + length - 1
        return first, last + 1


def _rows(shape: tuple[int, ...], itemsize: int) -> _Rows:
    count = 0
    while math.prod(shape[count:]) * itemsize > BLOCK_NBYTES and count < len(shape):
        count += 1
    return _Rows(shape[:count], shape[count:], math.prod(shape[count:]) * itemsize)


class _Stream:
    """Bytes that come in pieces of any size, taken in pieces of another."""

    def __init__(self, pieces: Iterable[Bytes]) -> None:
        self._pieces = iter(pieces)
        self._rest = memoryview(b"")

    def take(self, count: int) -> Bytes:
        """Return the next `count` bytes.

        Raises:
            InputError: there are not as many.
        """
        if len(self._rest) < count:
            parts, missing = [self._rest], count - len(self._rest)
            while missing > 0:
                piece = next(self._pieces, None)
                if piece is None:
                    raise InputError(f"a tensor ended {missing:,} bytes early")
                view = memoryview(piece)
                parts.append(view[:missing])
                self._rest = view[missing:]
                missing -= len(parts[-1])
            return b"".join(parts)
        taken, self._rest = self._rest[:count], self._rest[count:]
        return taken

    def finish(self) -> None:
        """Go to the end: a checksum is compared only there."""
        for _ in self._pieces:
            pass


def cut_chunks(
    pieces: Iterable[Bytes], shape: tuple[int, ...], itemsize: int, start: tuple[int, ...], size: tuple[int, ...]
) -> Iterator[Bytes]:
    """Yield the bytes of a part of an array whose own bytes come in pieces; all of them are read.

    Args:
        pieces: of the whole array, row-major.
        shape: of the whole array.
        itemsize: bytes of an element.
        start: where the part begins.
        size: how large it is.

    Raises:
        InputError: the whole cannot be read.
    """
    import numpy as np

    rows = _rows(shape, itemsize)
    within = tuple(slice(b, b + s) for b, s in zip(start[len(rows.lead) :], size[len(rows.lead) :], strict=True))
    stream = _Stream(pieces)
    begin, end = rows.ends(start, size) if math.prod(size) else (0, 0)
    for first in range(0, rows.total if rows.nbytes else 0, rows.at_a_time):
        last = min(first + rows.at_a_time, rows.total)
        data = stream.take((last - first) * rows.nbytes)
        if last <= begin or first >= end:
            continue
        block = np.frombuffer(data, _WORDS[itemsize]).reshape(last - first, *rows.rest)
        chosen = block[rows.within(first, last, start, size)][(slice(None), *within)]
        if chosen.size:
            yield np.ascontiguousarray(chosen).reshape(-1).view(np.uint8).data
    stream.finish()


def joined_chunks(parts: Sequence[Part], shape: tuple[int, ...], itemsize: int) -> Iterator[Bytes]:
    """Yield the bytes of the array that parts make up; they must cover it exactly once.

    Each part is read once, from its first byte to its last.

    Raises:
        InputError: a part cannot be read.
    """
    import numpy as np

    rows = _rows(shape, itemsize)
    lead = len(rows.lead)
    waiting = sorted(
        ((*rows.ends(part.start, part.shape), part) for part in parts if math.prod(part.shape)),
        key=lambda entry: entry[0],
        reverse=True,
    )
    piece_nbytes = max(_LEAST_NBYTES, min(BLOCK_NBYTES, _JOINING_NBYTES // _most_at_once(waiting, rows.at_a_time)))
    open_ones: list[tuple[int, Part, _Stream]] = []
    for first in range(0, rows.total if waiting else 0, rows.at_a_time):
        last = min(first + rows.at_a_time, rows.total)
        while waiting and waiting[-1][0] < last:
            _, end, part = waiting.pop()
            open_ones.append((end, part, _Stream(part.chunks(piece_nbytes))))
        block: npt.NDArray[Any] = np.empty((last - first, *rows.rest), _WORDS[itemsize])
        for _, part, stream in open_ones:
            chosen = rows.within(first, last, part.start, part.shape)
            inner = part.shape[lead:]
            data = stream.take(len(chosen) * math.prod(inner) * itemsize)
            place: Any = (chosen, *(slice(b, b + s) for b, s in zip(part.start[lead:], inner, strict=True)))
            block[place] = np.frombuffer(data, block.dtype).reshape(len(chosen), *inner)
        for end, _, stream in open_ones:
            if end <= last:
                stream.finish()
        open_ones = [entry for entry in open_ones if entry[0] > last]
        yield block.reshape(-1).view(np.uint8).data


def _most_at_once(parts: Sequence[tuple[int, int, Part]], at_a_time: int) -> int:
    """Return how many parts are open at the same time, when rows are gone through so many at a time."""
    changes: list[tuple[int, int]] = []
    for first, end, _ in parts:
        changes += [(first // at_a_time, 1), (-(-end // at_a_time), -1)]
    most = now = 0
    for _, change in sorted(changes):
        now += change
        most = max(most, now)
    return max(1, most)
