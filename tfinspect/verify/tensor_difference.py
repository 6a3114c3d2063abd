"""How far two tensors are apart, read piece by piece: neither is ever in memory as a whole."""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from tfinspect.ir.tensors import Tensor

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy.typing as npt

    from tfinspect.ir.dtypes import DType
    from tfinspect.ir.tensors import Bytes

_BLOCK_SIZE = 1 << 16  # elements measured at a time: a few arrays of float64 that stay in the cache
_WORD = 8
_MANY = 1 << 24  # elements from which one value over and over is not hashed as often as it is there
_EXACT = "iub"


@dataclass(frozen=True, slots=True)
class TensorDifference:
    """How two tensors of one shape differ; a NaN equals itself.

    Attributes:
        size: number of elements.
        differing: how many differ: in any bit, or by more than the tolerances where some were given.
        max_abs: largest absolute difference where both are finite; None where they are no numbers.
        rel_rms: root mean square of the difference over that of the first tensor, finite elements only; None where the
            first is all zeros or they are no numbers.
        not_finite_a: elements of the first that are NaN or infinite.
        not_finite_b: likewise of the second.
    """

    size: int
    differing: int
    max_abs: float | None = None
    rel_rms: float | None = None
    not_finite_a: int = 0
    not_finite_b: int = 0


def same_values(a: Tensor, b: Tensor) -> bool:
    """Whether two tensors of one dtype and shape have the same bits; both are read to their end, checksums included.

    Raises:
        InputError: one of them cannot be read.
    """
    ones = _repeated(a, b)
    if ones is not None:
        return same_values(*ones)
    if not a.dtype.itemsize:
        return bool(_strings(a) == _strings(b))
    width = a.dtype.itemsize
    same = True
    for x, y in _paired(a.chunks(), b.chunks(), width, width, None):
        same = same and _same_bytes(x, y)
        if not same:
            return False
    return same


def difference(a: Tensor, b: Tensor, *, rtol: float = 0.0, atol: float = 0.0) -> TensorDifference:
    """Measure how two tensors of one shape differ.

    Elements are within the tolerances where `|a - b| <= atol + rtol * max(|a|, |b|)`, whichever comes first.
    Tensors of different dtypes are compared by value, strings and numbers not at all.

    Raises:
        InputError: one of them cannot be read.
    """
    ones = _repeated(a, b)
    if ones is not None:
        found = difference(*ones, rtol=rtol, atol=atol)
        return TensorDifference(
            a.size,
            found.differing * a.size,
            found.max_abs,
            found.rel_rms,
            found.not_finite_a * a.size,
            found.not_finite_b * a.size,
        )
    if not a.dtype.itemsize or not b.dtype.itemsize:
        if a.dtype != b.dtype:
            return TensorDifference(a.size, a.size)
        return TensorDifference(a.size, sum(x != y for x, y in zip(_strings(a), _strings(b), strict=True)))
    sums = _Sums(a.dtype, b.dtype, rtol, atol)
    for x, y in _paired(a.chunks(), b.chunks(), a.dtype.itemsize, b.dtype.itemsize, _BLOCK_SIZE):
        sums.add(x, y)
    return sums.result(a.size)


def digest(tensor: Tensor) -> bytes:
    """Return a hash of dtype, shape and values.

    Raises:
        InputError: the values cannot be read.
    """
    found = hashlib.sha256(f"{tensor.dtype} {tensor.shape}".encode())
    one = tensor.repeated() if tensor.size > _MANY else None
    if one is not None:
        return hashlib.sha256(found.digest() + digest(Tensor.of(one, tensor.dtype))).digest()
    if tensor.dtype.itemsize:
        for chunk in tensor.chunks():
            found.update(chunk)
    else:
        for text in _strings(tensor):
            found.update(len(text).to_bytes(_WORD, "little") + text)
    return found.digest()


def _repeated(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor] | None:
    """Return the two values where each tensor is one value over and over."""
    x = a.repeated()
    y = None if x is None else b.repeated()
    return None if x is None or y is None else (Tensor.of(x, a.dtype), Tensor.of(y, b.dtype))


def _strings(tensor: Tensor) -> list[bytes]:
    values: list[Any] = tensor.numpy().reshape(-1).tolist()
    return [value if isinstance(value, bytes) else str(value).encode() for value in values]


def _paired(
    a: Iterator[Bytes], b: Iterator[Bytes], width_a: int, width_b: int, most: int | None
) -> Iterator[tuple[memoryview, memoryview]]:
    """Cut two streams into blocks of the same number of elements, and run both to their end."""
    x = y = memoryview(b"")
    while True:
        x, y = _filled(a, x, width_a), _filled(b, y, width_b)
        count = min(len(x) // width_a, len(y) // width_b, most or len(x))
        if count == 0:
            return
        yield x[: count * width_a], y[: count * width_b]
        x, y = x[count * width_a :], y[count * width_b :]


def _filled(stream: Iterator[Bytes], rest: memoryview, width: int) -> memoryview:
    while len(rest) < width:
        piece = next(stream, None)
        if piece is None:
            break
        view = memoryview(piece).cast("B")
        rest = memoryview(bytes(rest) + bytes(view)) if len(rest) else view
    return rest


def _same_bytes(x: memoryview, y: memoryview) -> bool:
    word = np.uint64 if len(x) % _WORD == 0 else np.uint8
    return bool(np.array_equal(np.frombuffer(x, word), np.frombuffer(y, word)))


class _Sums:
    """What is known of two streams so far."""

    def __init__(self, a: DType, b: DType, rtol: float, atol: float) -> None:
        self._a, self._b = a, b
        self._rtol, self._atol = rtol, atol
        self._is_plain = a == b and a.is_floating and not rtol and not atol
        self.differing = 0
        self.max_abs: float = 0
        self.squares = self.squares_a = 0.0
        self.not_finite_a = self.not_finite_b = 0

    def add(self, x: memoryview, y: memoryview) -> None:
        """Take two blocks of as many elements into account."""
        with np.errstate(all="ignore"):  # overflow gives infinity, which is what is reported
            p = _numbers(x, self._a)
            if self._is_plain and self._add_plain(x, y, p):
                return
            finite_p = np.isfinite(p)
            self.not_finite_a += int(p.size - np.count_nonzero(finite_p))
            self.squares_a += _sum_of_squares(p[finite_p])
            if self._a == self._b and _same_bytes(x, y):
                self.not_finite_b += int(p.size - np.count_nonzero(finite_p))
                return
            q = _numbers(y, self._b)
            finite_q = np.isfinite(q)
            self.not_finite_b += int(q.size - np.count_nonzero(finite_q))
            both = finite_p & finite_q
            distance = _distance(p, q, both)
            self.max_abs = max(self.max_abs, distance.max(initial=0).item())
            self.squares += _sum_of_squares(distance)
            self.differing += int(np.count_nonzero(self._unequal(x, y, p, q, both, distance)))

    def _add_plain(self, x: memoryview, y: memoryview, p: npt.NDArray[Any]) -> bool:
        """Take two blocks of floating-point numbers into account, or say that not all of them are finite."""
        distance = p - _numbers(y, self._b)
        squares_a, squares = _sum_of_squares(p), _sum_of_squares(distance)
        if not (math.isfinite(squares_a) and math.isfinite(squares)):
            return False
        self.squares_a += squares_a
        self.squares += squares
        self.max_abs = max(self.max_abs, distance.max(initial=0).item(), -distance.min(initial=0).item())
        bits = f"u{self._a.itemsize}"
        self.differing += int(np.count_nonzero(np.frombuffer(x, bits) != np.frombuffer(y, bits)))
        return True

    def _unequal(
        self,
        x: memoryview,
        y: memoryview,
        p: npt.NDArray[Any],
        q: npt.NDArray[Any],
        both: npt.NDArray[Any],
        distance: npt.NDArray[Any],
    ) -> npt.NDArray[Any]:
        if self._a == self._b:
            width = self._a.itemsize
            word = min(width, _WORD)
            bits = [np.frombuffer(v, f"u{word}").reshape(-1, width // word) for v in (x, y)]
            unequal: npt.NDArray[Any] = (bits[0] != bits[1]).any(axis=1)
        else:
            unequal = (p != q) & ~(np.isnan(p) & np.isnan(q))
        if self._rtol or self._atol:
            larger = np.maximum(np.abs(p[both]).astype(np.float64), np.abs(q[both]).astype(np.float64))
            within = (p == q) | (np.isnan(p) & np.isnan(q))
            within[both] |= distance <= self._atol + self._rtol * larger
            unequal &= ~within
        return unequal

    def result(self, size: int) -> TensorDifference:
        """Return what was found."""
        rel_rms: float | None = 0.0
        if self.squares:
            usable = self.squares_a > 0 and math.isfinite(self.squares_a) and math.isfinite(self.squares)
            rel_rms = math.sqrt(self.squares / self.squares_a) if usable else None
        return TensorDifference(size, self.differing, self.max_abs, rel_rms, self.not_finite_a, self.not_finite_b)


def _numbers(view: memoryview, dtype: DType) -> npt.NDArray[Any]:
    stored = dtype.numpy
    array = np.frombuffer(view, stored.newbyteorder("<") if stored.kind in "iufc" else stored)
    if stored.kind in _EXACT:
        return array.astype(np.uint64 if stored.kind == "u" else np.int64)
    if stored.kind == "c":
        return array.astype(np.complex128)
    return array.astype(np.float64)


def _distance(p: npt.NDArray[Any], q: npt.NDArray[Any], both: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Return |p - q| of the elements that are finite in both; exact for integers of one kind."""
    p, q = p[both], q[both]
    if (
        p.dtype == q.dtype and p.dtype.kind in _EXACT
    ):  # the difference of two int64 needs all 64 bits of an unsigned one
        larger, smaller = np.maximum(p, q).view(np.uint64), np.minimum(p, q).view(np.uint64)
        exact: npt.NDArray[Any] = larger - smaller
        return exact
    if p.dtype.kind in _EXACT and q.dtype.kind in _EXACT:
        p, q = p.astype(np.float64), q.astype(np.float64)
    distance: npt.NDArray[Any] = np.abs(p - q)
    return distance


def _sum_of_squares(values: npt.NDArray[Any]) -> float:
    flat = values if values.dtype == np.float64 else np.abs(values).astype(np.float64)
    return float(np.einsum("i,i->", flat, flat))  # not `dot`: the threads of a BLAS take longer to meet than this does
