"""Photos decoded once and kept at hand: in memory, or where they are many in a temporary file."""

from __future__ import annotations

import collections
import itertools
import os
import tempfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

from tfinspect.errors import InputError, LimitError, OutputError, TfinspectError
from tfinspect.learn.augment import crop
from tfinspect.learn.images import decode, read_image

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import numpy as np
    import numpy.typing as npt

    from tfinspect.learn.images import ImageFile
    from tfinspect.learn.preprocess import Recipe

    Array = npt.NDArray[Any]

IN_MEMORY_NBYTES: Final = 1 << 30
"""What is larger goes into a temporary file."""
_CHUNK: Final = 32
_AHEAD: Final = 2


class Store:
    """Room for images of one size and type; what was never written takes no room on disk."""

    def __init__(self, count: int, shape: Sequence[int], dtype: npt.DTypeLike) -> None:
        import math

        import numpy as np

        whole = (count, *shape)
        self.file: Any = None
        if math.prod(whole) * np.dtype(dtype).itemsize <= IN_MEMORY_NBYTES:
            self.array: Array = np.empty(whole, dtype)
            return
        self.file = tempfile.TemporaryFile(prefix="tfinspect-photos-")  # noqa: SIM115 - lives as long as the map
        self.array = np.memmap(self.file, dtype, "w+", shape=whole)

    def put(self, place: int, image: Array) -> None:
        """Keep an image.

        Raises:
            OutputError: the disk that holds temporary files is full.
        """
        if self.file is not None:
            offset, nbytes = place * image.nbytes, image.nbytes
            try:  # a write to a map of a full disk would be a signal that ends the process
                os.posix_fallocate(self.file.fileno(), offset, nbytes)
            except OSError as error:
                reason = (error.strerror or str(error)).lower()
                raise OutputError(f"no room for decoded photos in {tempfile.gettempdir()}: {reason}") from None
        self.array[place] = image


@dataclass(frozen=True, slots=True)
class Entry:
    """How images reach a trunk.

    Attributes:
        recipe: what is done to pixels; its size is known.
        dtype: what the trunk takes.
        fast_dct: see `images.decode`.
    """

    recipe: Recipe
    dtype: np.dtype[Any]
    fast_dct: bool = True

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) of what the trunk takes."""
        assert self.recipe.size is not None  # noqa: S101 - asked for before anything is loaded
        return self.recipe.size

    def ready(self, pixels: Array) -> Array:
        """Return what the trunk takes of a whole image."""
        return self._cast(self.recipe.apply(pixels))

    def finish(self, view: Array) -> Array:
        """Return what the trunk takes of a view that has its size already."""
        return self._cast(replace(self.recipe, size=None).apply(view))

    def _cast(self, values: Array) -> Array:
        import numpy as np

        return (np.rint(values) if self.dtype.kind == "u" else values).astype(self.dtype, copy=False)


@dataclass(frozen=True, slots=True)
class Loaded:
    """One photo.

    Attributes:
        file: where it is from.
        ready: what the trunk takes of it.
        spare: the whole image, uint8, somewhat larger than the trunk takes it, to be cropped.
    """

    file: ImageFile
    ready: Array
    spare: Array


def load(files: Sequence[ImageFile], entry: Entry, spare_size: tuple[int, int]) -> Iterator[Loaded | TfinspectError]:
    """Decode photos in several threads, and give them in order; of one that cannot be read the reason.

    Args:
        files: the photos.
        entry: how they reach the trunk.
        spare_size: size of the larger copies.

    Raises:
        RuntimeUnavailableError: the image libraries are not installed.
    """
    import numpy as np

    def one(file: ImageFile) -> Loaded | TfinspectError:
        try:
            data = read_image(file.path)
            pixels = decode(data, file.path, channels=entry.recipe.channels, fast_dct=entry.fast_dct)
        except (InputError, LimitError) as error:
            return error
        spare = crop(pixels, 0, 0, pixels.shape[0], pixels.shape[1], spare_size)
        return Loaded(file, entry.ready(pixels), np.rint(spare).astype(np.uint8))

    def chunk(part: Sequence[ImageFile]) -> list[Loaded | TfinspectError]:
        return [one(file) for file in part]

    parts = iter([files[start : start + _CHUNK] for start in range(0, len(files), _CHUNK)])
    workers = os.cpu_count() or 1
    with ThreadPoolExecutor(workers) as pool:
        waiting = collections.deque(pool.submit(chunk, part) for part in itertools.islice(parts, workers * _AHEAD))
        while waiting:
            yield from waiting.popleft().result()
            waiting.extend(pool.submit(chunk, part) for part in itertools.islice(parts, 1))
