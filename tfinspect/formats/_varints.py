"""Many varints at a time, by NumPy."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy.typing as npt

MAX_NBYTES = 10
_MORE = 0x80  # the continuation bit
_FEW_NBYTES = 4  # those fit 32 bits, of which half as much memory moves


def varint_ends(run: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Return the positions after the last byte of each varint in a run of bytes."""
    import numpy as np

    return np.flatnonzero(run < _MORE) + 1


def varints(run: npt.NDArray[Any], ends: npt.NDArray[Any]) -> npt.NDArray[Any] | None:
    """Return the numbers, unsigned, of varints that end before `ends`, the first beginning at 0.

    None where one is longer than ten bytes.
    """
    import numpy as np

    if len(ends) == 0:
        return np.zeros(0, np.uint64)
    starts = np.concatenate(([0], ends[:-1]))
    sizes = ends - starts
    longest = int(sizes.max())
    if longest > MAX_NBYTES:
        return None
    if longest == 1:
        return run[: len(ends)].astype(np.uint64)
    word = np.uint32 if longest <= _FEW_NBYTES else np.uint64
    numbers: Any = (run[starts] & 0x7F).astype(word)
    for place in range(1, longest):
        if longest <= _FEW_NBYTES:  # most have all of these bytes: sorting out those that have not would take longer
            more: Any = run.take(starts + place, mode="clip").astype(word)
            more &= 0x7F
            more <<= word(7 * place)
            more *= sizes > place
            numbers |= more
        else:
            long = np.flatnonzero(sizes > place)
            numbers[long] |= (run[starts[long] + place] & 0x7F).astype(word) << word(7 * place)
    found: npt.NDArray[Any] = numbers
    return found


def leading_varints(run: npt.NDArray[Any], count: int) -> tuple[npt.NDArray[Any], int] | None:
    """Return the first `count` numbers, unsigned 64-bit, and where they end; None where there are not as many."""
    import numpy as np

    found: list[npt.NDArray[Any]] = []
    position, missing = 0, count
    while missing:
        window = run[position : position + missing]  # it cannot hold the ends of more varints than are missing
        if not len(window):
            return None
        ends = varint_ends(window)
        found.append(ends + position)
        position += len(window)
        missing -= len(ends)
    ends = np.concatenate(found) if found else np.zeros(0, np.intp)
    numbers = varints(run, ends)
    return None if numbers is None else (numbers.astype(np.uint64), int(ends[-1]) if count else 0)
