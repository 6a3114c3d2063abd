"""Tensors whose values are read when asked for."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from tfinspect.ir.dtypes import DType
from tfinspect.ir.tensor_parts import cut_chunks

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    import numpy as np
    import numpy.typing as npt

Bytes = bytes | memoryview
CHUNK_NBYTES = 4 << 20


class Tensor:
    """A dtype, a shape, and values behind a function that reads them.

    Nothing is read, mapped or allocated before `numpy()` or `chunks()` is called.

    Attributes:
        dtype: element type.
        shape: dimensions, all known.
    """

    __slots__ = ("_chunks", "_cut", "_integers", "_load", "dtype", "shape")

    def __init__(
        self,
        dtype: DType,
        shape: tuple[int, ...],
        load: Callable[[], npt.NDArray[Any]],
        chunks: Callable[[], Iterable[Bytes]] | None = None,
        *,
        integers: Callable[[], tuple[int, ...]] | None = None,
        cut: Callable[[tuple[int, ...], tuple[int, ...]], Tensor] | None = None,
    ) -> None:
        self.dtype = dtype
        self.shape = shape
        self._load = load
        self._chunks = chunks
        self._integers = integers
        self._cut = cut

    @classmethod
    def of(cls, value: npt.ArrayLike, dtype: DType | None = None) -> Tensor:
        """Wrap values that are in memory already; strings must be `bytes`."""
        import numpy as np

        array = np.asarray(value, dtype=None if dtype is None else dtype.numpy)
        if array.dtype.kind in "SU":
            array = array.astype(object)
        return cls(dtype or DType.from_numpy(array.dtype), array.shape, lambda: array)

    @property
    def size(self) -> int:
        """Number of elements."""
        return math.prod(self.shape)

    @property
    def nbytes(self) -> int:
        """Bytes of the elements; 0 for strings, whose length only their values tell."""
        return self.size * self.dtype.itemsize

    def numpy(self) -> npt.NDArray[Any]:
        """Return the values as an array of `shape`, a view of the file where that is possible.

        Raises:
            InputError: the values cannot be read, or fail their checksum.
        """
        return self._load()

    def repeated(self) -> npt.NDArray[Any] | None:
        """Return the one value that all elements have, as a scalar, where it is stored once for all of them.

        A few bytes can declare any number of such elements, so they must not be gone through one by one.

        Raises:
            InputError: the values cannot be read, or fail their checksum.
        """
        if self._chunks is not None or self.size <= 1:
            return None
        array = self.numpy()
        return array[(0,) * array.ndim] if not any(array.strides) else None

    def integers(self) -> tuple[int, ...]:
        """Return the elements of an integer tensor in row-major order as plain ints.

        Readers that can do so without NumPy say how: axes and shapes are asked for by every listing, and importing
        NumPy takes longer than the rest of it.

        Raises:
            InputError: the values cannot be read, or fail their checksum.
        """
        if self._integers is not None:
            return self._integers()
        return tuple(int(v) for v in self.numpy().reshape(-1).tolist())

    def chunks(self) -> Iterator[Bytes]:
        """Yield the elements as little-endian C-order bytes, piece by piece, for writing.

        Raises:
            InputError: the values cannot be read, or fail their checksum.
            TypeError: strings have no such form.
        """
        if self.dtype.itemsize == 0:
            raise TypeError(f"a {self.dtype} tensor has no flat bytes")
        if self._chunks is not None:
            yield from self._chunks()
            return
        import numpy as np

        array: np.ndarray[Any, Any] = np.ascontiguousarray(self.numpy()).reshape(-1)
        if array.dtype.byteorder == ">":
            array = array.astype(array.dtype.newbyteorder("<"))
        if array.size:
            flat = memoryview(array.view(np.uint8).data)
            for start in range(0, len(flat), CHUNK_NBYTES):
                yield flat[start : start + CHUNK_NBYTES]

    def part(self, start: tuple[int, ...], size: tuple[int, ...]) -> Tensor:
        """Return a rectangular part of `size` that begins at `start`; nothing is read here.

        Its `chunks` never hold the whole, though they may have to read it: a checksum is one of all its bytes.
        """
        if self._cut is not None:
            return self._cut(start, size)
        whole, read = self, self._chunks
        place = tuple(slice(begin, begin + length) for begin, length in zip(start, size, strict=True))
        if read is None:
            return Tensor(self.dtype, size, lambda: whole.numpy()[place])
        return Tensor(
            self.dtype,
            size,
            lambda: whole.numpy()[place],
            lambda: cut_chunks(read(), whole.shape, whole.dtype.itemsize, start, size),
        )

    def reshaped(self, shape: tuple[int, ...]) -> Tensor:
        """Return the same elements in another shape."""
        return Tensor(self.dtype, shape, lambda: self.numpy().reshape(shape), self._chunks)

    def __repr__(self) -> str:
        """Name dtype and shape, never the values."""
        return f"Tensor({self.dtype}, {self.shape})"


def same_tensor(a: Tensor, b: Tensor) -> bool:
    """Whether two tensors have the same dtype, shape and bit pattern (so NaN equals itself)."""
    if a.dtype != b.dtype or a.shape != b.shape:
        return False
    x, y = a.repeated(), b.repeated()
    if x is None or y is None:
        x, y = a.numpy(), b.numpy()
    if x.dtype.hasobject:
        return x.tolist() == y.tolist()  # type: ignore[no-any-return]
    return x.tobytes() == y.tobytes()
