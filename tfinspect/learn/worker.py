"""Images to features: decoded, prepared, and computed a batch at a time by whatever runs the trunk."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tfinspect.errors import RuntimeFailedError, TfinspectError
from tfinspect.learn.images import decode

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import numpy as np
    import numpy.typing as npt

    from tfinspect.learn.job import Job

    Array = npt.NDArray[Any]
    Run = Callable[[Array], Array]


@dataclass(frozen=True, slots=True)
class Row:
    """The features of one image, a vector."""

    name: str
    features: npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Failure:
    """An image that could not be used, and why, in one line."""

    name: str
    reason: str


@dataclass(frozen=True, slots=True)
class Prepared:
    """The input of the trunk for one image, [height, width, channels]; and its file where that is wanted too."""

    name: str
    values: Array
    data: bytes = b""


def _as(values: Array, dtype: str) -> Array:
    """Convert; resized pixels are rounded where the trunk takes whole numbers."""
    import numpy as np

    wanted = np.dtype(dtype)
    return (np.rint(values) if wanted.kind in "iu" else values).astype(wanted, copy=False)


class Worker:
    """Computes the features of images; the same worker may be called any number of times.

    Args:
        job: what to compute.
        run: runs the trunk: a batch [n, height, width, channels] in, [n, ...] out. It does not keep what it is given.
        load: loads the trunk, so that the first run need not.
    """

    def __init__(self, job: Job, run: Run, load: Callable[[], None] = lambda: None) -> None:
        self.job = job
        self._run = run
        self.load = load
        self._kept: Array | None = None  # the last batch: fresh pages for each cost more than the copying

    def __call__(self, images: Sequence[tuple[str, bytes]]) -> list[Row | Failure]:
        """Return a row or a failure for each (name, bytes of the file), in the same order.

        Raises:
            RuntimeFailedError: the runtime refused or died, or gave something that is no row an image.
        """
        prepared = [self.prepare(name, data) for name, data in images]
        rows = iter(self.compute([image for image in prepared if isinstance(image, Prepared)]))
        return [next(rows) if isinstance(image, Prepared) else image for image in prepared]

    def prepare(self, name: str, data: bytes) -> Prepared | Failure:
        """Decode an image and make of it what the trunk takes; may be called from many threads."""
        recipe = self.job.recipe
        try:
            pixels = decode(data, name, channels=recipe.channels, fast_dct=self.job.fast_dct)
            values = recipe.apply(pixels)
        except TfinspectError as error:
            return Failure(name, error.message)
        except MemoryError:
            return Failure(name, f"{name} does not fit into memory")
        return Prepared(name, _as(values, self.job.dtype))

    def compute(self, images: Sequence[Prepared]) -> list[Row]:
        """Return the features of prepared images, in the same order.

        Raises:
            RuntimeFailedError: the runtime refused or died, or gave something that is no row an image.
        """
        # images of any size cannot share a batch
        step = 1 if self.job.recipe.size is None else self.job.batch
        rows: list[Row] = []
        for start in range(0, len(images), step):
            rows += self._batch(images[start : start + step], step)
        return rows

    def _batch(self, images: Sequence[Prepared], size: int) -> list[Row]:
        import numpy as np

        shape = (size, *images[0].values.shape)
        if self._kept is None or self._kept.shape != shape:
            self._kept = np.empty(shape, self.job.dtype)
        batch = self._kept
        for i in range(size):
            batch[i] = images[min(i, len(images) - 1)].values
        found = self._run(batch)
        if found.ndim == 0 or len(found) != size:
            raise RuntimeFailedError(
                f"`{self.job.output}` is of shape {list(found.shape)} for a batch of {size} images",
                hint="one image at a time: --batch 1",
                evidence={"shape": list(found.shape), "batch": size},
            )
        values = found.reshape(size, -1).astype(np.float32, copy=False)
        return [Row(image.name, values[i]) for i, image in enumerate(images)]


class GraphWorker:
    """Computes features with a graph that decodes and prepares images by itself, one at a time.

    Args:
        job: what to compute; its recipe says the number of channels.
        run: runs the graph on one image: its name, the bytes of the file and its pixels in, the bottleneck out.
    """

    def __init__(self, job: Job, run: Callable[[str, bytes, Array], Array]) -> None:
        self.job = job
        self._run = run

    def load(self) -> None:
        """The graph is loaded already."""

    def prepare(self, name: str, data: bytes) -> Prepared | Failure:
        """Decode an image, to know that it can be; may be called from many threads."""
        try:
            pixels = decode(data, name, channels=self.job.recipe.channels, fast_dct=self.job.fast_dct)
        except TfinspectError as error:
            return Failure(name, error.message)
        except MemoryError:
            return Failure(name, f"{name} does not fit into memory")
        return Prepared(name, pixels, data)

    def compute(self, images: Sequence[Prepared]) -> list[Row]:
        """Return the features of images, in the same order.

        Raises:
            RuntimeFailedError: the runtime refused or died.
        """
        import numpy as np

        return [
            Row(image.name, self._run(image.name, image.data, image.values).reshape(-1).astype(np.float32, copy=False))
            for image in images
        ]
