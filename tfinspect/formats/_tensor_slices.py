"""Variables that checkpoints store in rectangular pieces.

A partitioned variable is cut along one axis; other writers cut along several, and spread the pieces over shards.
"""

from __future__ import annotations

import itertools
import math
from collections import Counter
from typing import TYPE_CHECKING, Any, NamedTuple

from tfinspect.formats._ordered_code import WHOLE
from tfinspect.ir.tensor_parts import Part, joined_chunks
from tfinspect.ir.tensors import Tensor

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    import numpy.typing as npt

    from tfinspect.ir.dtypes import DType
    from tfinspect.ir.tensors import Bytes

_MAX_CUT_AXES = 8  # TensorFlow's own limit for slices; the corners of a piece are 2 to this power


class Box(NamedTuple):
    """Where a piece lies in its variable."""

    start: tuple[int, ...]
    shape: tuple[int, ...]


class Tile(NamedTuple):
    """A piece: where it lies, its values, and what yields their bytes in pieces of a size; None of strings."""

    box: Box
    tensor: Tensor
    chunks: Callable[[int], Iterable[Bytes]] | None


def extents(message: Any) -> tuple[tuple[int, int], ...]:  # noqa: ANN401 - made at run time
    """Return (start, length) of each dimension of a TensorSliceProto; the length is `WHOLE` where it gives none."""
    return tuple((e.start, e.length if e.WhichOneof("value") else WHOLE) for e in message.extent)


def box(dimensions: Sequence[tuple[int, int]], shape: tuple[int, ...]) -> Box | None:
    """Return where a slice lies in a variable of `shape`, or None where it does not fit one."""
    if len(dimensions) != len(shape):
        return None
    lengths = []
    for (start, length), size in zip(dimensions, shape, strict=True):
        if length == WHOLE and start == 0:
            lengths.append(size)
        elif start >= 0 and length >= 0 and start + length <= size:
            lengths.append(length)
        else:
            return None
    return Box(tuple(start for start, _ in dimensions), tuple(lengths))


def fault(boxes: Sequence[Box], shape: tuple[int, ...]) -> str | None:
    """Say what keeps boxes from covering `shape` exactly once, or None where nothing does.

    Each box is the sum of its corners, with signs that alternate: the mixed difference of its indicator function. Boxes
    add up to the whole exactly where their corners do, so this takes time linear in their number.
    """
    axes = [a for a in range(len(shape)) if any(b.start[a] or b.shape[a] != shape[a] for b in boxes)]
    if len(axes) > _MAX_CUT_AXES:
        return f"cuts along {len(axes)} axes where at most {_MAX_CUT_AXES} are possible"
    corners: Counter[tuple[int, ...]] = Counter()
    whole = Box((0,) * len(shape), shape)
    for sign, piece in [(-1, whole), *((1, b) for b in boxes)]:
        sides = [(piece.start[a], piece.start[a] + piece.shape[a]) for a in axes]
        for ends in itertools.product((0, 1), repeat=len(axes)):
            corners[tuple(side[end] for side, end in zip(sides, ends, strict=True))] += (-1) ** sum(ends) * sign
    if not any(corners.values()) or not math.prod(shape):
        return None
    covered, size = sum(math.prod(b.shape) for b in boxes), math.prod(shape)
    return f"pieces with {covered:,} elements for {size:,}" if covered != size else "pieces that overlap and leave gaps"


def joined(dtype: DType, shape: tuple[int, ...], tiles: Sequence[Tile]) -> Tensor:
    """Return the tensor that tiles make up; they must cover it exactly once."""
    ordered = sorted(tiles, key=lambda tile: tile.box.start)
    parts = [Part(*tile.box, tile.chunks) for tile in ordered if tile.chunks is not None]
    chunks: Callable[[], Iterator[Bytes]] | None = None
    if all(tile.box.shape[1:] == shape[1:] for tile in ordered):  # cut along the first axis: end to end
        chunks = lambda: itertools.chain.from_iterable(tile.tensor.chunks() for tile in ordered)  # noqa: E731
    elif len(parts) == len(ordered):
        chunks = lambda: joined_chunks(parts, shape, dtype.itemsize)  # noqa: E731
    return Tensor(
        dtype,
        shape,
        lambda: _assemble(dtype, shape, ordered),
        chunks if dtype.itemsize else None,
        cut=lambda start, size: _cut(dtype, Box(start, size), ordered),
    )


def _cut(dtype: DType, wanted: Box, tiles: Sequence[Tile]) -> Tensor:
    """Return a part of the tensor that tiles make up, out of those tiles alone that have some of it."""
    kept = []
    for tile in tiles:
        begin = tuple(map(max, tile.box.start, wanted.start))
        end = tuple(min(a + n, b + m) for a, n, b, m in zip(*tile.box, *wanted, strict=True))
        shape = tuple(stop - start for start, stop in zip(begin, end, strict=True))
        if tile.box == wanted:
            return tile.tensor
        if min(shape, default=1) > 0:
            inside = tuple(a - b for a, b in zip(begin, tile.box.start, strict=True))
            piece = tile.tensor if shape == tile.box.shape else tile.tensor.part(inside, shape)
            place = Box(tuple(a - b for a, b in zip(begin, wanted.start, strict=True)), shape)
            whole = tile.chunks is not None and piece is tile.tensor
            kept.append(Tile(place, piece, tile.chunks if whole else None if tile.chunks is None else _pieces(piece)))
    return joined(dtype, wanted.shape, kept)


def _pieces(tensor: Tensor) -> Callable[[int], Iterator[Bytes]]:
    return lambda _: tensor.chunks()


def _assemble(dtype: DType, shape: tuple[int, ...], tiles: Sequence[Tile]) -> npt.NDArray[Any]:
    import numpy as np

    array: npt.NDArray[Any] = np.empty(shape, dtype.numpy)
    for tile in tiles:
        place = tuple(slice(s, s + n) for s, n in zip(tile.box.start, tile.box.shape, strict=True))
        array[place] = tile.tensor.numpy()
    return array
