"""Features of a list of images on this machine: decoding beside computing, what was computed before taken as it is."""

from __future__ import annotations

import itertools
import time
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from tfinspect.errors import TfinspectError
from tfinspect.learn.cache import content_key
from tfinspect.learn.images import read_image
from tfinspect.learn.worker import Failure, Prepared, Row

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tfinspect.learn.cache import FeatureCache
    from tfinspect.learn.images import ImageFile
    from tfinspect.learn.job import Job

    _Look = tuple[bytes | None, Prepared | Failure | None]

_BATCHES_AHEAD = 2


class Computer(Protocol):
    """What `learn.worker.Worker` is."""

    job: Job

    def prepare(self, name: str, data: bytes) -> Prepared | Failure:
        """Decode an image and make of it what the trunk takes."""

    def load(self) -> None:
        """Load what computes, so that the first batch need not."""

    def compute(self, images: Sequence[Prepared]) -> list[Row]:
        """Return the features of prepared images, in the same order."""


@dataclass(slots=True)
class Progress:
    """How far it has come."""

    total: int
    done: int = 0
    computed: int = 0
    cached: int = 0


@dataclass(frozen=True, slots=True)
class Extraction:
    """What came of it; the rows are in the cache.

    Attributes:
        keys: content key of each image, None where there is no row.
        failures: images without a row.
        computed: rows that were computed now.
        cached: images whose rows were there before, or came with another image of the same content.
        loading: seconds that loading the runtime and the trunk took, while nothing else was done.
    """

    keys: tuple[bytes | None, ...]
    failures: tuple[Failure, ...]
    computed: int
    cached: int
    loading: float = field(default=0.0, kw_only=True)


def extract(
    images: Sequence[ImageFile],
    cache: FeatureCache,
    worker: Computer,
    *,
    workers: int,
    progress: Callable[[Progress], None] = lambda _: None,
) -> Extraction:
    """Compute what the cache does not have yet, and put it there batch by batch.

    Threads read and decode a few batches ahead, never more: memory does not grow with the number of images. Nothing is
    loaded where all is in the cache.

    Args:
        images: the files.
        cache: of this trunk; rows go there as soon as they are computed.
        worker: prepares images, and computes them in batches of `worker.job.batch`.
        workers: threads that read and decode.
        progress: told after each image or batch.

    Raises:
        OutputError: the cache cannot be written.
        RuntimeFailedError: the runtime refused or died.
    """
    run = _Run(cache, worker, Progress(len(images)), progress)
    room = worker.job.batch * _BATCHES_AHEAD
    following = iter(images)
    pool = ThreadPoolExecutor(workers, thread_name_prefix="tfinspect-images")
    try:
        ahead = deque(pool.submit(run.look_at, image) for image in itertools.islice(following, workers))
        while ahead:
            found = ahead.popleft().result()
            more = 1
            if run.loading is None and isinstance(found[1], Prepared):
                run.load()
                more += room
            ahead.extend(pool.submit(run.look_at, image) for image in itertools.islice(following, more))
            run.take(found)
        run.compute()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
    return Extraction(
        tuple(run.keys), tuple(run.failures), run.state.computed, run.state.cached, loading=run.loading or 0.0
    )


@dataclass(slots=True)
class _Run:
    """One extraction; `look_at` is called by the threads, the rest by the one that waits for them."""

    cache: FeatureCache
    worker: Computer
    state: Progress
    progress: Callable[[Progress], None]
    keys: list[bytes | None] = field(default_factory=list)
    failures: list[Failure] = field(default_factory=list)
    batch: dict[bytes, Prepared] = field(default_factory=dict)
    loading: float | None = None  # seconds; None before it was necessary

    def load(self) -> None:
        start = time.perf_counter()
        self.worker.load()
        self.loading = time.perf_counter() - start

    def look_at(self, image: ImageFile) -> _Look:
        try:
            data = read_image(image.path)
        except TfinspectError as error:
            return None, Failure(image.name, error.message)
        key = content_key(data)
        return key, None if key in self.cache else self.worker.prepare(image.name, data)

    def take(self, found: _Look) -> None:
        key, got = found
        if isinstance(got, Failure):
            self.failures.append(got)
            key = None
        elif got is None or key is None or key in self.batch or key in self.cache:
            self.state.cached += 1
        else:
            self.keys.append(key)
            self.batch[key] = got
            if len(self.batch) >= self.worker.job.batch:
                self.compute()
            return
        self.keys.append(key)
        self.state.done += 1
        self.progress(self.state)

    def compute(self) -> None:
        import numpy as np

        if not self.batch:
            return
        rows = self.worker.compute(list(self.batch.values()))
        self.cache.add(list(self.batch), np.stack([row.features for row in rows]))
        self.state.computed += len(rows)
        self.state.done += len(rows)
        self.batch.clear()
        self.progress(self.state)
