"""Parts cut out and put together while their bytes pass by: the same as slicing and assigning whole arrays."""

from __future__ import annotations

import itertools
import math
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tfinspect.errors import InputError
from tfinspect.formats._varints import leading_varints
from tfinspect.ir import tensor_parts
from tfinspect.ir.dtypes import DType
from tfinspect.ir.tensor_parts import Part, cut_chunks, joined_chunks
from tfinspect.ir.tensors import Tensor

if TYPE_CHECKING:
    from collections.abc import Iterator

DTYPES = st.sampled_from(["u1", "f2", "f4", "f8", "c16", "bool"])
SHAPES = st.lists(st.integers(0, 6), max_size=4).map(tuple)


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    # so that small arrays go through in many blocks
    monkeypatch.setattr(tensor_parts, "BLOCK_NBYTES", 24)
    monkeypatch.setattr(tensor_parts, "_LEAST_NBYTES", 3)


def numbered(shape: tuple[int, ...], dtype: str) -> np.ndarray:
    return np.arange(math.prod(shape)).reshape(shape).astype(dtype)


def pieces(array: np.ndarray, size: int) -> Iterator[bytes]:
    data = array.tobytes()
    for at in range(0, len(data), size):
        yield data[at : at + size]


@st.composite
def boxes(draw: st.DrawFn, shape: tuple[int, ...]) -> tuple[tuple[int, ...], tuple[int, ...]]:
    start = tuple(draw(st.integers(0, size)) for size in shape)
    return start, tuple(draw(st.integers(0, size - begin)) for size, begin in zip(shape, start, strict=True))


def place(start: tuple[int, ...], size: tuple[int, ...]) -> tuple[slice, ...]:
    return tuple(slice(b, b + s) for b, s in zip(start, size, strict=True))


@settings(deadline=None)
@given(SHAPES, DTYPES, st.integers(1, 40), st.data())
def test_a_part_is_what_slicing_gives(shape: tuple[int, ...], dtype: str, size: int, data: st.DataObject) -> None:
    array = numbered(shape, dtype)
    start, length = data.draw(boxes(shape))
    found = b"".join(cut_chunks(pieces(array, size), shape, array.itemsize, start, length))
    assert found == array[place(start, length)].tobytes()
    whole = Tensor(DType.from_numpy(array.dtype), shape, lambda: array, lambda: pieces(array, size))
    part = whole.part(start, length)
    assert part.shape == length
    assert b"".join(part.chunks()) == found
    assert part.numpy().tobytes() == found


def cuts(draw: st.DrawFn, size: int) -> list[int]:
    inner = draw(st.sets(st.integers(1, max(1, size - 1)), max_size=3)) if size > 1 else set()
    return [0, *sorted(inner), size]


@st.composite
def tilings(draw: st.DrawFn) -> tuple[tuple[int, ...], list[tuple[tuple[int, ...], tuple[int, ...]]]]:
    shape = draw(SHAPES)
    axes = [list(itertools.pairwise(cuts(draw, size))) for size in shape]
    found = [(tuple(a for a, _ in sides), tuple(b - a for a, b in sides)) for sides in itertools.product(*axes)]
    return shape, draw(st.permutations(found))


@settings(deadline=None)
@given(tilings(), DTYPES)
def test_parts_put_together_are_the_whole(
    tiling: tuple[tuple[int, ...], list[tuple[tuple[int, ...], tuple[int, ...]]]], dtype: str
) -> None:
    shape, tiles = tiling
    array = numbered(shape, dtype)
    asked: list[int] = []
    ended: list[tuple[int, ...]] = []

    def part(start: tuple[int, ...], size: tuple[int, ...]) -> Part:
        def chunks(nbytes: int) -> Iterator[bytes]:
            asked.append(nbytes)
            yield from pieces(array[place(start, size)], nbytes)
            ended.append(start)

        return Part(start, size, chunks)

    parts = [part(start, size) for start, size in tiles]
    assert b"".join(joined_chunks(parts, shape, array.itemsize)) == array.tobytes()
    full = sorted(p.start for p in parts if math.prod(p.shape))
    assert sorted(ended) == full, "each is read to its end, where its checksum is compared"
    assert all(nbytes >= 3 for nbytes in asked)


def test_a_part_that_ends_early_is_an_error() -> None:
    array = numbered((4, 6), "f4")
    with pytest.raises(InputError, match=r"^a tensor ended 4 bytes early$"):
        list(cut_chunks(iter([array.tobytes()[:-4]]), (4, 6), 4, (0, 1), (4, 2)))
    short = Part((0, 0), (4, 6), lambda _: iter([array.tobytes()[:90]]))
    with pytest.raises(InputError, match=r"^a tensor ended 6 bytes early$"):
        list(joined_chunks([short], (4, 6), 4))


def test_a_checksum_at_the_end_is_reached_though_the_part_ends_before() -> None:
    def broken() -> Iterator[bytes]:
        yield numbered((4, 6), "f4").tobytes()
        raise InputError("checksum")

    with pytest.raises(InputError, match="checksum"):
        list(cut_chunks(broken(), (4, 6), 4, (0, 0), (1, 1)))


def varint(number: int) -> bytes:
    out = bytearray()
    while number > 127:
        out.append(number & 127 | 128)
        number >>= 7
    return bytes([*out, number])


@given(st.lists(st.integers(0, 2**64 - 1) | st.integers(0, 300), max_size=50), st.binary(max_size=20))
def test_leading_varints_end_where_they_end(numbers: list[int], rest: bytes) -> None:
    data = b"".join(map(varint, numbers))
    found = leading_varints(np.frombuffer(data + rest, np.uint8), len(numbers))
    assert found is not None
    assert found[0].tolist() == numbers
    assert found[1] == len(data)
    assert leading_varints(np.frombuffer(data, np.uint8), len(numbers) + 1) is None
