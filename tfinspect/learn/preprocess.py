"""From the pixels of a photo to what a trunk takes: resized, shifted and scaled, as the graph itself would do it."""

from __future__ import annotations

import functools
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Final, Literal

from tfinspect.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy as np
    import numpy.typing as npt

    Array = npt.NDArray[Any]

Origin = Literal["graph", "given", "assumed", "model"]
METHODS: Final = frozenset({"bilinear", "nearest", ""})
"""Ways of resizing that are computed here as TensorFlow's kernels compute them."""


@dataclass(frozen=True, slots=True)
class Recipe:
    """What is done to pixels: resize, reverse the channels where wanted, then (pixel - mean) * scale.

    Attributes:
        size: (height, width), None where the trunk takes images of any size.
        method: `bilinear` or `nearest`; empty where nothing is resized.
        align_corners: as the attribute of TensorFlow's resize ops.
        half_pixel_centers: likewise.
        mean: one number, or one a channel.
        scale: likewise.
        channels: 1 or 3.
        bgr: whether blue comes first, as in networks that came from Caffe.
        origin: where this is known from: read off the graph, given by the caller, assumed, or recorded with the model.
    """

    size: tuple[int, int] | None
    method: str = "bilinear"
    align_corners: bool = False
    half_pixel_centers: bool = False
    mean: tuple[float, ...] = (0.0,)
    scale: tuple[float, ...] = (1.0,)
    channels: int = 3
    bgr: bool = False
    origin: Origin = "given"

    def apply(self, pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        """Return [height, width, channels] of float32, ready for the trunk."""
        import numpy as np

        values = pixels if self.size is None else resize(pixels, self)
        values = values.astype(np.float32, copy=False)
        if self.bgr:
            values = values[..., ::-1]
        mean, scale = np.asarray(self.mean, np.float32), np.asarray(self.scale, np.float32)
        return np.ascontiguousarray((values - mean) * scale)

    def to_json(self) -> dict[str, object]:
        """Return it as plain values, to be kept beside features, heads and models."""
        return {key: list(value) if isinstance(value, tuple) else value for key, value in asdict(self).items()}

    @classmethod
    def from_json(cls, found: Mapping[str, Any], where: str) -> Recipe:
        """Read what `to_json` wrote.

        Raises:
            InputError: it is something else; `where` is named.
        """
        try:
            size = found["size"]
            recipe = cls(
                None if size is None else (int(size[0]), int(size[1])),
                str(found["method"]),
                bool(found["align_corners"]),
                bool(found["half_pixel_centers"]),
                tuple(float(v) for v in found["mean"]),
                tuple(float(v) for v in found["scale"]),
                int(found["channels"]),
                bool(found["bgr"]),
                "model",
            )
        except (KeyError, TypeError, ValueError, IndexError) as error:
            raise InputError(f"{where} has no preprocessing as it is written here: {error!r}") from None
        if recipe.method not in METHODS or recipe.channels not in (1, 3) or (size is not None and min(size) < 1):
            raise InputError(f"{where} has a preprocessing that is not known here", evidence=dict(found))
        return recipe


def resize(pixels: Array, recipe: Recipe) -> Array:
    """Resize as ResizeBilinear and ResizeNearestNeighbor do (tensorflow/core/kernels/image), in float32.

    Args:
        pixels: [height, width, channels].
        recipe: size, method and the two attributes.

    Returns:
        The resized image; of float32 where it was interpolated.
    """
    import numpy as np

    if recipe.size is None:
        return pixels
    rows = _samples(pixels.shape[0], recipe.size[0], recipe.method, recipe.align_corners, recipe.half_pixel_centers)
    columns = _samples(pixels.shape[1], recipe.size[1], recipe.method, recipe.align_corners, recipe.half_pixel_centers)
    if recipe.method == "nearest":
        return pixels[rows[0]][:, columns[0]]
    if pixels.shape[:2] == recipe.size:
        return pixels.astype(np.float32)
    above, below, down = rows
    left, right, across = columns
    down, across = down[:, None, None], across[None, :, None]
    upper, lower = pixels[above], pixels[below]
    top_left, top_right = upper[:, left].astype(np.float32), upper[:, right].astype(np.float32)
    bottom_left, bottom_right = lower[:, left].astype(np.float32), lower[:, right].astype(np.float32)
    top = top_left + (top_right - top_left) * across
    bottom = bottom_left + (bottom_right - bottom_left) * across
    return np.asarray(top + (bottom - top) * down, np.float32)


@functools.lru_cache(maxsize=4096)
def _samples(given: int, wanted: int, method: str, align_corners: bool, half_pixel: bool) -> tuple[Array, Array, Array]:  # noqa: FBT001 - a cache key
    """Return for each output position the two input positions it lies between, and how far from the first."""
    import numpy as np

    single = np.float32
    step = single(given - 1) / single(wanted - 1) if align_corners and wanted > 1 else single(given) / single(wanted)
    place = np.arange(wanted, dtype=np.float32)
    if method == "nearest":
        place = (place + single(0.5)) * step if half_pixel else place * step
        # half away from zero, as the C function does, not to the even neighbour
        at = np.floor(place + single(0.5)) if align_corners else np.floor(place)
        nearest = np.clip(at, 0, given - 1).astype(np.int64)
        return nearest, nearest, np.zeros(wanted, np.float32)
    place = (place + single(0.5)) * step - single(0.5) if half_pixel else place * step
    floor = np.floor(place)
    first = np.maximum(floor, 0).astype(np.int64)
    second = np.minimum(np.ceil(place), given - 1).astype(np.int64)
    return first, second, (place - floor).astype(np.float32)
