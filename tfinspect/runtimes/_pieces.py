"""A batch of images that do not depend on each other, run a few at a time, several such pieces at once.

What a few images need in between stays in a processor's cache, and a run with one thread waits for no other: measured,
a tenth to a third less work than one run over the whole batch with all threads. All pieces have the same size, so that
the values of an image do not depend on its place.
"""

from __future__ import annotations

import functools
import os
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    import numpy.typing as npt

    Array = npt.NDArray[Any]
    Run = Callable[[Mapping[str, Array]], Sequence[Any]]

_AT_ONCE = 8  # pieces; of the usual batch there are no more
_LARGEST = 4


def threads_of_a_run() -> int:
    """Return how many threads one session should have, those that call it included."""
    return max(1, _processors() - _AT_ONCE + 1)


def run_in_pieces(run: Run, feeds: Mapping[str, Array], *, at_once: int | None = None) -> list[Any]:
    """Run a batch.

    Args:
        run: runs the model once; may be called by several threads.
        feeds: values by name; where they do not all have the same number of images first, they are run as they are.
        at_once: pieces; None: one a processor.

    Returns:
        What `run` returns for the whole batch.
    """
    counts = {len(values) if values.ndim else 0 for values in feeds.values()}
    count = counts.pop() if len(counts) == 1 else 0
    size = max((n for n in range(1, _LARGEST + 1) if not count % n), default=count)
    if count <= size:
        return list(run(feeds))
    parts = [{name: values[i : i + size] for name, values in feeds.items()} for i in range(0, count, size)]
    wanted = min(_AT_ONCE, _processors() if at_once is None else at_once)
    found = list(map(run, parts)) if wanted == 1 else list(_pool(wanted).map(run, parts))
    if any(not isinstance(value, np.ndarray) or not value.ndim or len(value) != size for value in found[0]):
        return list(run(feeds))  # something that is no row an image: the caller must see it as it is
    return [np.concatenate(values) for values in zip(*found, strict=True)]


@functools.cache
def _pool(size: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(size, thread_name_prefix="tfinspect-pieces")


def _processors() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
