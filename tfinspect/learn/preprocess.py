"""From the pixels of a photo to what a trunk takes: resized, shifted and scaled, as the graph itself would do it."""

from __future__ import annotations

import functools
import threading
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple

from tfinspect.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy as np
    import numpy.typing as npt

    Array = npt.NDArray[Any]

Origin = Literal["graph", "given", "assumed", "model"]
METHODS: Final = frozenset({"bilinear", "nearest", ""})
"""Ways of resizing that are computed here as TensorFlow's kernels compute them."""

_SCRATCH_NBYTES: Final = 16 << 20  # a thread keeps no more than this of each kind


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
        ours = self.bgr or values is not pixels
        if self.bgr:
            values = values[..., ::-1]
        mean, scale = _along(self.mean, values.shape), _along(self.scale, values.shape)
        # whole lines at once: a loop over three channels costs several times as much
        lines: npt.NDArray[np.float32] = np.ascontiguousarray(values).reshape(len(values), -1)
        lines = np.subtract(lines, mean, out=lines if ours else None)
        lines *= scale
        return lines.reshape(values.shape)

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
        counts = {len(recipe.mean), len(recipe.scale)}
        if (
            recipe.method not in METHODS
            or recipe.channels not in (1, 3)
            or not counts <= {1, recipe.channels}
            or (recipe.size is not None and min(recipe.size) < 1)
        ):
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
    if recipe.method == "nearest":
        rows = _samples(pixels.shape[0], recipe.size[0], recipe.method, recipe.align_corners, recipe.half_pixel_centers)
        columns = _samples(
            pixels.shape[1], recipe.size[1], recipe.method, recipe.align_corners, recipe.half_pixel_centers
        )
        return pixels[rows[0]][:, columns[0]]
    if pixels.shape[:2] == recipe.size:
        return pixels.astype(np.float32)
    return _interpolate(pixels, recipe)


def _interpolate(pixels: Array, recipe: Recipe) -> Array:
    """Interpolate along each line that is needed, once, and then between lines: the kernel's order, and its values."""
    import numpy as np

    height, width, channels = pixels.shape
    size = recipe.size or (height, width)
    found = _lines(height, width, channels, *size, recipe.align_corners, recipe.half_pixel_centers)
    count, length = len(found.needed), len(found.left)
    source = _scratch("source", (count, width * channels), pixels.dtype)
    pixels.reshape(height, width * channels).take(found.needed, axis=0, out=source, mode="clip")
    taken = _scratch("taken", (count, length), pixels.dtype)
    left, lines = (_scratch(name, (count, length), np.float32) for name in ("left", "lines"))
    np.copyto(left, source.take(found.left, axis=1, out=taken, mode="clip"))
    np.copyto(lines, source.take(found.right, axis=1, out=taken, mode="clip"))
    lines -= left
    lines *= found.across
    lines += left
    top = lines.take(found.above, axis=0, out=_scratch("top", (size[0], length), np.float32), mode="clip")
    between = lines.take(found.below, axis=0, mode="clip")
    between -= top
    between *= found.down
    between += top
    return between.reshape(*size, channels)


_kept = threading.local()


def _scratch(name: str, shape: tuple[int, int], dtype: npt.DTypeLike) -> Array:
    """Return memory of this thread for results in between: fresh pages for each photo would cost more than the work."""
    import numpy as np

    nbytes = shape[0] * shape[1] * np.dtype(dtype).itemsize
    if nbytes > _SCRATCH_NBYTES:
        return np.empty(shape, dtype)
    found: Array | None = getattr(_kept, name, None)
    if found is None or found.nbytes < nbytes:
        found = np.empty(nbytes, np.uint8)
        setattr(_kept, name, found)
    return found[:nbytes].view(dtype).reshape(shape)


def _along(values: tuple[float, ...], shape: tuple[int, ...]) -> Array:
    """Return one number, or one for each element of a line."""
    import numpy as np

    single = np.asarray(values, np.float32)
    return single if len(single) == 1 else np.tile(single, shape[1])


class _Lines(NamedTuple):
    """Where the values of a resized image come from, its channels side by side.

    Attributes:
        needed: lines of the image.
        above: for each line of the result the one of `needed` above it, and so `below`.
        below: see `above`.
        down: how far from the first to the second.
        left: for each element of a line the one to its left, and so `right`.
        right: see `left`.
        across: how far from the first to the second.
    """

    needed: Array
    above: Array
    below: Array
    down: Array
    left: Array
    right: Array
    across: Array


@functools.lru_cache(maxsize=256)
def _lines(
    height: int,
    width: int,
    channels: int,
    rows: int,
    columns: int,
    align_corners: bool,  # noqa: FBT001 - a cache key
    half_pixel: bool,  # noqa: FBT001 - likewise
) -> _Lines:
    import numpy as np

    above, below, down = _samples(height, rows, "bilinear", align_corners, half_pixel)
    left, right, across = _samples(width, columns, "bilinear", align_corners, half_pixel)
    needed, places = np.unique(np.concatenate([above, below]), return_inverse=True)
    channel = np.arange(channels)
    return _Lines(
        needed,
        places[:rows],
        places[rows:],
        down[:, None],
        (left[:, None] * channels + channel).reshape(-1),
        (right[:, None] * channels + channel).reshape(-1),
        np.repeat(across, channels),
    )


@functools.lru_cache(maxsize=1024)
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
