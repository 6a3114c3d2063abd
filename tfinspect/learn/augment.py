"""Photos seen anew in every epoch: mirrored, cropped and zoomed, their colours shifted.

What is done to an image is decided by seed, epoch and the number of the image alone, so that it does not matter which
thread does it, nor in which order.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Array = npt.NDArray[Any]

_GRAY = (0.299, 0.587, 0.114)  # how bright an eye finds red, green and blue


@dataclass(frozen=True, slots=True)
class Augmentation:
    """What may happen to an image.

    Attributes:
        flip: mirror every second one.
        least_area: smallest part of the image that a crop keeps, 1 for no crops.
        ratio: how much wider or higher a crop may be than the image.
        brightness: factor of all channels, as much above or below 1.
        contrast: factor of the distance from the mean, likewise.
        saturation: factor of the distance from gray, likewise.
    """

    flip: bool = True
    least_area: float = 0.3
    ratio: float = 4 / 3
    brightness: float = 0.2
    contrast: float = 0.2
    saturation: float = 0.3

    def apply(self, pixels: Array, size: tuple[int, int], *, seed: int, epoch: int, number: int) -> Array:
        """Return one view of an image.

        Args:
            pixels: [height, width, channels], 0 to 255.
            size: (height, width) of the view.
            seed: of the whole training.
            epoch: number of the epoch.
            number: of the image.

        Returns:
            float32, 0 to 255, of `size`.
        """
        import numpy as np

        random = np.random.default_rng((seed, epoch, number))
        top, left, height, width = self._box(random, pixels.shape[0], pixels.shape[1])
        view = crop(pixels, top, left, height, width, size)
        if self.flip and random.random() < 0.5:  # noqa: PLR2004 - every second one
            view = view[:, ::-1]
        return self._colour(view, random)

    def _box(self, random: np.random.Generator, height: int, width: int) -> tuple[float, float, float, float]:
        import math

        area = random.uniform(self.least_area, 1.0)
        ratio = math.exp(random.uniform(-1.0, 1.0) * math.log(self.ratio)) if area < 1 else 1.0
        rows = min(1.0, math.sqrt(area / ratio)) * height
        columns = min(1.0, math.sqrt(area * ratio)) * width
        return random.uniform(0.0, height - rows), random.uniform(0.0, width - columns), rows, columns

    def _colour(self, view: Array, random: np.random.Generator) -> Array:
        import numpy as np

        bright, contrast, saturation = (
            np.float32(1 + random.uniform(-1.0, 1.0) * most)
            for most in (self.brightness, self.contrast, self.saturation)
        )
        if view.shape[-1] == len(_GRAY) and saturation != 1:
            gray = (view @ np.asarray(_GRAY, np.float32))[..., None]
            view = gray + (view - gray) * saturation
        mean = view.mean(dtype=np.float32)
        view = (mean + (view - mean) * contrast) * bright
        return np.clip(view, 0, 255, out=np.ascontiguousarray(view, np.float32))


def crop(pixels: Array, top: float, left: float, height: float, width: float, size: tuple[int, int]) -> Array:
    """Return a part of an image, resized with bilinear interpolation between pixel centres.

    Args:
        pixels: [height, width, channels].
        top: upper edge of the part; edges may lie between pixels.
        left: left edge.
        height: of the part.
        width: of the part.
        size: (height, width) of the result.
    """
    import numpy as np

    above, below, down = _places(top, height, size[0], pixels.shape[0])
    before, behind, across = _places(left, width, size[1], pixels.shape[1])
    # whole lines side by side: taking pixels of three channels one by one costs twice as much
    channels = pixels.shape[2]
    lines = np.ascontiguousarray(pixels).reshape(pixels.shape[0], -1)
    rows = lines.take(above, axis=0).astype(np.float32)
    lower = lines.take(below, axis=0).astype(np.float32)
    lower -= rows
    lower *= down[:, None]
    rows += lower
    first, second = (rows.take(_elements(place, channels), axis=1, mode="clip") for place in (before, behind))
    second -= first
    second *= np.repeat(across, channels)
    second += first
    return second.reshape(*size, channels)


def _elements(places: Array, channels: int) -> Array:
    """Return where the channels of pixels are in a line."""
    import numpy as np

    return np.asarray((places[:, None] * channels + np.arange(channels)).reshape(-1))


def _places(start: float, length: float, count: int, limit: int) -> tuple[Array, Array, Array]:
    import numpy as np

    place = np.clip(start + (np.arange(count) + 0.5) * (length / count) - 0.5, 0, limit - 1)
    first = np.floor(place).astype(np.int64)
    return first, np.minimum(first + 1, limit - 1), (place - first).astype(np.float32)
