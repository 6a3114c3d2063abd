"""The arrays behind the feeds, all as float64 around [-1, 1]."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt

_HIGH_AMPLITUDE = 6.0  # times the usual range: over the 6 of a Relu6 after any sensible first layer


def natural(shape: tuple[int, int, int], rng: np.random.Generator) -> npt.NDArray[np.float64]:
    """Return 1/f noise [height, width, channels], the spectrum of photographs, over most of [-1, 1].

    Channels are correlated, as colours are; brightness and contrast differ from one image to the next.
    """
    height, width, channels = shape
    frequency = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width)[None, :])
    frequency[0, 0] = 1.0
    noise = rng.standard_normal((channels + 1, height, width))
    field = np.fft.irfft2(np.fft.rfft2(noise) / frequency, s=(height, width))
    mixed = field[:-1] + 1.5 * field[-1:]
    mixed -= mixed.mean(axis=(1, 2), keepdims=True)
    mixed /= max(float(np.abs(mixed).max()), 1e-12)
    contrast = rng.uniform(0.6, 1.0)
    brightness = rng.uniform(-1.0, 1.0, (channels, 1, 1)) * (1 - contrast)
    image: npt.NDArray[np.float64] = (mixed * contrast + brightness).transpose(1, 2, 0)
    return image


def image(shape: tuple[int, ...], rng: np.random.Generator, number: int, *, bounded: bool) -> npt.NDArray[np.float64]:
    """Return one image [height, width, channels].

    Args:
        shape: height, width, channels.
        rng: source of chance.
        number: which of the kinds: half of any eight are plain 1/f noise.
        bounded: stay within [-1, 1].
    """
    height, width, channels = shape
    base = natural((height, width, channels), rng)
    kind = number % 8
    if kind == 2:  # noqa: PLR2004 - the kinds are numbered, as the docstring says
        return _impulses(base, rng)
    if kind == 3:  # noqa: PLR2004
        return _ramps(base, rng)
    if kind == 4:  # noqa: PLR2004
        wide = base * _HIGH_AMPLITUDE
        return np.clip(wide, -1, 1) if bounded else wide
    if kind == 6:  # noqa: PLR2004
        return -np.abs(base)
    return base


def _impulses(base: npt.NDArray[np.float64], rng: np.random.Generator) -> npt.NDArray[np.float64]:
    """Put bright and dark points into corners, onto edges and beside the middle, no two of them symmetric."""
    height, width, channels = base.shape
    out = base * 0.25
    points = [(0, 0), (0, width - 1), (height - 1, 0), (height - 1, width - 1)]
    points += [(0, width // 3), (height // 3, 0), (height - 1, width // 4), (height // 4, width - 1)]
    points += [(height // 2, max(0, width // 2 - 1))]
    for row, column in points:
        out[row, column] = rng.choice((-1.0, 1.0), channels) * rng.uniform(0.5, 1.0, channels)
    return out


def _ramps(base: npt.NDArray[np.float64], rng: np.random.Generator) -> npt.NDArray[np.float64]:
    """Return slopes, another direction for every channel, with a little noise on top."""
    height, width, channels = base.shape
    down = np.linspace(-1, 1, height)[:, None, None]
    across = np.linspace(-1, 1, width)[None, :, None]
    angle = rng.uniform(0, 2 * np.pi) + np.arange(channels) * 2.1
    return np.asarray(0.45 * (down * np.sin(angle) + across * np.cos(angle)) + 0.1 * base)


def numbers(shape: tuple[int, ...], rng: np.random.Generator, run: int) -> npt.NDArray[np.float64]:
    """Return numbers of no known meaning.

    Half of the runs are positive, so that logarithms and roots have something to say; a quarter lies above one (inverse
    hyperbolic functions), half strictly between -1 and 1 (inverse trigonometric ones); a quarter holds zeros, so
    that what counts or finds them has something to do. Levels differ between runs, so that means vary too.
    """
    kind = run % 8
    if kind in {0, 4}:
        return rng.uniform(0.05, 0.95, shape) * rng.uniform(0.5, 1.0)
    if kind in {2, 6}:
        return 1.05 + rng.uniform(0, 3, shape) * rng.uniform(0.5, 1.0)
    if kind in {1, 5}:
        return rng.uniform(-0.95, 0.95 if kind == 1 else -0.05, shape)
    scale = 1.0 if kind == 3 else 4.0  # noqa: PLR2004 - run 7 reaches into clips
    values = rng.standard_normal(shape) * scale + rng.uniform(-0.5, 0.5)
    share = rng.uniform(0.1, 0.6)
    zeros = rng.random(shape) < share if values.size > 1 else kind == 3  # noqa: PLR2004 - a lone number is 0 in run 3
    return np.asarray(np.where(zeros, 0.0, values))
