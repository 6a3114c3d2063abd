"""Figures of a variable's values, in one pass over its bytes and in little memory."""

from __future__ import annotations

import math
from collections import Counter, deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from tfinspect.errors import InputError, TfinspectError, counted
from tfinspect.ir.dtypes import DType

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from concurrent.futures import Executor, Future

    import numpy.typing as npt

    from tfinspect.ir.checkpoint import Checkpoint, VariableInfo
    from tfinspect.ir.tensors import Bytes, Tensor

    Array = npt.NDArray[Any]

_BLOCK = 1 << 18  # elements that are looked at together: few calls from Python, and passes that stay in the cache
_ROW = 1 << 13  # elements that are added up by one call of BLAS; a block is a whole number of them
_PARALLEL_NBYTES = 1 << 18  # a smaller piece is counted sooner than it is handed to another thread
_SAFE_EXPONENT: Final = 400  # squares of larger (and smaller) numbers, added up, could leave the range of float64
_BYTE_VALUES = 256
_KEPT_NBYTES = 16 << 20
_MESSAGES_SHOWN = 8
_NAMES_LISTED = 200
_BFLOAT16_SHIFT = 16  # a bfloat16 is the upper half of a float32


@dataclass(frozen=True, slots=True)
class Stats:
    """Figures of one variable; None where it has no such figure.

    Of complex numbers the magnitude counts; one whose magnitude is beyond float64 counts as infinite.

    Attributes:
        size: number of elements.
        min: least finite value; of integers exact.
        max: greatest finite value; of integers exact.
        mean: mean of the finite values.
        std: their standard deviation, that of a whole population.
        zeros: elements equal to zero; of booleans those that are false.
        nan: elements that are not a number.
        inf: elements that are infinite.
        string_nbytes: of strings, the sum of their lengths.
    """

    size: int
    min: int | float | None = None
    max: int | float | None = None
    mean: float | None = None
    std: float | None = None
    zeros: int | None = None
    nan: int | None = None
    inf: int | None = None
    string_nbytes: int | None = None

    def to_json(self) -> dict[str, object]:
        """Return the figures as the command-line contract writes them."""
        figures: dict[str, object] = {
            "min": self.min,
            "max": self.max,
            "mean": self.mean,
            "std": self.std,
            "zeros": self.zeros,
            "nan": self.nan,
            "inf": self.inf,
            "size": self.size,
        }
        if self.string_nbytes is not None:
            figures["string_nbytes"] = self.string_nbytes
        return figures


class StatsRow(NamedTuple):
    """A variable with its figures, or with what kept its values from being read."""

    variable: VariableInfo
    stats: Stats | None
    error: TfinspectError | None


def stats_of(tensor: Tensor) -> Stats:
    """Return the figures of one tensor.

    Raises:
        InputError: the values cannot be read, or fail their checksum.
    """
    return _stats(tensor, None)


def each(checkpoint: Checkpoint, variables: Sequence[VariableInfo]) -> Iterator[StatsRow]:
    """Yield the figures of variables, in the order given; one that cannot be read does not keep the others back."""
    from concurrent.futures import ThreadPoolExecutor

    # glibc gives memory back, and must ask for it again page by page, unless blocks as large as this were seen to go;
    # the pages of this one are never touched
    bytes(_KEPT_NBYTES)
    with ThreadPoolExecutor(
        max_workers=1
    ) as pool:  # beside this thread, which reads, and counts what is too much for it
        for variable in variables:
            try:
                yield StatsRow(variable, _stats(checkpoint.tensor(variable.name), pool), None)
            except TfinspectError as error:
                yield StatsRow(variable, None, error)


def _stats(tensor: Tensor, pool: Executor | None) -> Stats:
    from concurrent.futures import Future

    size = tensor.size
    if not tensor.dtype.itemsize:
        strings = tensor.numpy().reshape(-1).tolist()
        return Stats(size, string_nbytes=sum(len(s) for s in strings if isinstance(s, bytes)))
    count = _counter(tensor.dtype)
    total = _Part()
    waiting: deque[Future[_Part]] = deque()  # merged in their order, so that the figures are the same each time
    for piece in _whole_elements(tensor.chunks(), tensor.dtype.itemsize):
        while waiting and waiting[0].done():
            total = total.merged(waiting.popleft().result())
        if pool is not None and len(piece) >= _PARALLEL_NBYTES and not _is_busy(waiting):
            waiting.append(pool.submit(count, piece))
            continue
        # the other thread has its share already: more pieces in memory would cost more than they gain
        part: Future[_Part] = Future()
        part.set_result(count(piece))
        waiting.append(part)
    for future in waiting:
        total = total.merged(future.result())
    return total.stats(size)


def _is_busy(waiting: deque[Future[_Part]]) -> bool:
    return any(not future.done() for future in waiting)


def _whole_elements(pieces: Iterable[Bytes], itemsize: int) -> Iterator[Bytes]:
    """Cut pieces anew where one ends in the middle of an element."""
    rest = b""
    for piece in pieces:
        whole = rest + bytes(piece) if rest else piece
        end = len(whole) - len(whole) % itemsize
        rest = bytes(whole[end:])
        if end:
            yield whole if end == len(whole) else whole[:end]


class _Part(NamedTuple):
    """Figures of some of the elements, which can be joined with those of others.

    Mean and sum of squared differences are those of the values times 2 to the power of -`exponent`: squares of the
    greatest numbers of float64 are beyond it, and those of the least are zero.
    """

    finite: int = 0  # elements
    low: int | float = 0
    high: int | float = 0
    mean: float = 0.0
    squares: float = 0.0  # of the differences to the mean
    exponent: int = 0
    zeros: int = 0
    nan: int = 0
    inf: int = 0

    def merged(self, other: _Part) -> _Part:
        zeros, nan, inf = self.zeros + other.zeros, self.nan + other.nan, self.inf + other.inf
        if not self.finite or not other.finite:
            filled = self if self.finite else other
            return filled._replace(zeros=zeros, nan=nan, inf=inf)
        # zeros alone have no scale: they must not take from small numbers the one that keeps their squares
        exponent = max((part.exponent for part in (self, other) if part.mean or part.squares), default=0)
        a, b = self._scaled(exponent), other._scaled(exponent)
        count = a.finite + b.finite
        share = b.finite / count
        apart = b.mean - a.mean
        mean = a.mean + apart * share
        squares = a.squares + b.squares + apart * apart * a.finite * share
        return _Part(
            count, min(a.low, b.low), max(a.high, b.high), mean, squares, exponent, zeros, nan, inf
        )  # fmt: skip

    def _scaled(self, exponent: int) -> _Part:
        if exponent == self.exponent or not (self.mean or self.squares):
            return self
        down = self.exponent - exponent
        return self._replace(
            mean=math.ldexp(self.mean, down), squares=math.ldexp(self.squares, 2 * down), exponent=exponent
        )

    def stats(self, size: int) -> Stats:
        if not self.finite:
            return Stats(size, zeros=self.zeros, nan=self.nan, inf=self.inf)
        mean = min(max(math.ldexp(self.mean, self.exponent), self.low), self.high)
        std = 0.0
        if self.low != self.high:
            std = math.ldexp(math.sqrt(self.squares / self.finite), self.exponent)
        return Stats(size, self.low, self.high, float(mean), std, self.zeros, self.nan, self.inf)


def _counter(dtype: DType) -> Callable[[Bytes], _Part]:
    import numpy as np

    if dtype.itemsize == 1:
        return lambda piece: _of_bytes(piece, dtype)
    element = dtype.numpy.newbyteorder("<") if dtype is not DType.BFLOAT16 else np.dtype("<u2")
    block = {DType.HALF: _of_half, DType.BFLOAT16: _of_bfloat16}.get(dtype)
    if block is None:
        block = {"f": _of_floats, "c": _of_complex}.get(element.kind, _of_integers)

    def count(piece: Bytes) -> _Part:
        flat = np.frombuffer(piece, element)
        total = _Part()
        room = np.empty(-(-min(flat.size, _BLOCK) // _ROW) * _ROW)
        with np.errstate(all="ignore"):  # a NaN that signals is a NaN all the same
            for start in range(0, flat.size, _BLOCK):
                total = total.merged(block(flat[start : start + _BLOCK], room))
        return total

    return count


def _of_half(block: Array, room: Array) -> _Part:
    import numpy as np

    return _of_floats(block.astype(np.float32), room)


def _of_bfloat16(block: Array, room: Array) -> _Part:
    import numpy as np

    return _of_floats((block.astype(np.uint32) << np.uint32(_BFLOAT16_SHIFT)).view(np.float32), room)


def _of_complex(block: Array, room: Array) -> _Part:
    import numpy as np

    magnitude = np.abs(block.astype(np.complex128))
    magnitude[np.isnan(block)] = np.nan  # of infinity and no number together the magnitude is infinite
    return _of_floats(magnitude, room)


def _of_floats(block: Array, room: Array) -> _Part:
    import numpy as np

    nan = inf = 0
    low, high = float(block.min()), float(block.max())  # either is NaN if any element is
    if not (math.isfinite(low) and math.isfinite(high)):
        finite = np.isfinite(block)
        nan = int(np.count_nonzero(np.isnan(block)))
        inf = block.size - int(np.count_nonzero(finite)) - nan
        block = block[finite]
        if not block.size:
            return _Part(nan=nan, inf=inf)
        low, high = float(block.min()), float(block.max())
    zeros = int(np.count_nonzero(block == 0)) if low <= 0 <= high else 0
    mean, squares, exponent = _moments(block, room, low, high)
    return _Part(block.size, low, high, mean, squares, exponent, zeros, nan, inf)


def _of_integers(block: Array, room: Array) -> _Part:
    import numpy as np

    low, high = int(block.min()), int(block.max())
    zeros = int(np.count_nonzero(block == 0)) if low <= 0 <= high else 0
    mean, squares, exponent = _moments(block, room, float(low), float(high))
    return _Part(block.size, low, high, mean, squares, exponent, zeros)


def _moments(block: Array, room: Array, low: float, high: float) -> tuple[float, float, int]:
    """Return mean and sum of squared differences of finite values, scaled, and the exponent of the scale.

    They are computed in `room`: memory that is asked for anew for each block costs as much as the computing.
    """
    import numpy as np

    values = room[: block.size]
    np.copyto(values, block, casting="unsafe")
    largest = max(-low, high)
    exponent = math.frexp(largest)[1] if largest else 0
    if abs(exponent) > _SAFE_EXPONENT:
        np.ldexp(values, -exponent, out=values)
        low, high = math.ldexp(low, -exponent), math.ldexp(high, -exponent)
    else:
        exponent = 0
    if low == high:
        return low, 0.0, exponent
    # BLAS adds fastest, but above some 10,000 elements it would start threads, which wait for ours and ours for them
    end = -(-block.size // _ROW) * _ROW
    room[block.size : end] = 0
    rows = room[:end].reshape(-1, _ROW)
    mean = float(np.vecdot(rows, np.ones(_ROW)).sum()) / block.size
    mean = min(max(mean, low), high)
    sum_of_squares = float(np.vecdot(rows, rows).sum())
    squares = sum_of_squares - mean * mean * block.size
    if squares < sum_of_squares / 4:  # the difference of two large numbers: it must be added up anew
        values -= mean
        values *= values
        squares = float(np.add.reduce(values))
    return mean, squares, exponent


def _of_bytes(piece: Bytes, dtype: DType) -> _Part:
    """Count how often each of the 256 bytes occurs; their values do the rest."""
    import numpy as np

    flat = np.frombuffer(piece, np.uint8)
    times = np.zeros(_BYTE_VALUES, np.int64)
    for start in range(0, flat.size, _BLOCK):
        times += np.bincount(flat[start : start + _BLOCK], minlength=_BYTE_VALUES)
    every = np.arange(_BYTE_VALUES, dtype=np.uint8)
    values = every.astype(bool) if dtype is DType.BOOL else every.view(dtype.numpy)
    values = values.astype(np.float64)
    finite = np.isfinite(values)
    nan = int(times[np.isnan(values)].sum())
    inf = int(times[~finite].sum()) - nan
    present = finite & (times > 0)
    if not present.any():
        return _Part(nan=nan, inf=inf)
    values, times = values[present], times[present]
    low, high = float(values.min()), float(values.max())
    if not dtype.is_floating:
        low, high = int(low), int(high)
    count = int(times.sum())
    mean = float(np.dot(values, times)) / count
    away = values - mean
    zeros = int(times[values == 0].sum())
    return _Part(count, low, high, mean, float(np.dot(away * away, times)), 0, zeros, nan, inf)


def failure(path: str, rows: Sequence[StatsRow]) -> TfinspectError | None:
    """Return one error for all variables that could not be read, or None."""
    failed = [row for row in rows if row.error is not None]
    if not failed:
        return None
    errors = [row.error for row in failed if row.error is not None]
    if len(failed) == 1:
        return errors[0]
    lost = Counter(str(error.evidence["missing"]) for error in errors if "missing" in error.evidence)
    messages = [f"{file} is missing, and {counted(count, 'value')} in it" for file, count in lost.items()]
    messages += dict.fromkeys(error.message for error in errors if "missing" not in error.evidence)
    shown = messages[:_MESSAGES_SHOWN]
    if len(messages) > len(shown):
        shown.append(f"and {len(messages) - len(shown):,} more")
    return InputError(
        f"{path}: the values of {len(failed):,} of {len(rows):,} variables cannot be read",
        details=shown,
        hint=next((error.hint for error in errors if error.hint), None),
        evidence={"path": path, "variables": [row.variable.name for row in failed[:_NAMES_LISTED]]},
    )
