"""Draws photos of five flowers: the same ones for the same seed, no two alike."""

from __future__ import annotations

import io
import math
import random
from typing import TYPE_CHECKING, Final

from tfinspect.errors import RuntimeUnavailableError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from PIL.Image import Image
    from PIL.ImageDraw import ImageDraw

Colour = tuple[int, int, int]
Point = tuple[float, float]

_FINE: Final = 2  # lines are drawn this much larger, and smooth when reduced
_PALETTES: Final[dict[str, tuple[Colour, ...]]] = {
    "daisy": ((245, 245, 240), (250, 240, 225), (240, 215, 230)),
    "dandelion": ((245, 205, 30), (250, 185, 20), (235, 215, 60)),
    "rose": ((200, 25, 45), (225, 90, 125), (240, 190, 195), (245, 225, 150), (235, 140, 90)),
    "sunflower": ((245, 190, 20), (250, 170, 10), (240, 210, 60)),
    "tulip": ((205, 30, 50), (240, 120, 160), (245, 200, 40), (130, 50, 140), (245, 235, 230), (240, 130, 40)),
}
_BACKGROUNDS: Final[tuple[Colour, ...]] = (
    (60, 105, 45), (90, 130, 60), (40, 70, 40), (110, 85, 60), (150, 175, 200), (70, 70, 75), (170, 160, 140),
)  # fmt: skip
_GREENS: Final[tuple[Colour, ...]] = ((50, 110, 40), (80, 140, 60), (40, 85, 45))


class _Canvas:
    """Draws in a flower's own coordinates: the middle is 0, the tips of the petals are at 1."""

    def __init__(self, draw: ImageDraw, middle: Point, radius: float, angle: float, tilt: float) -> None:
        self._draw, self._middle, self._radius, self._tilt = draw, middle, radius, tilt
        self._cos, self._sin = math.cos(angle), math.sin(angle)

    def place(self, point: Point) -> Point:
        """Return where a point of the flower is on the photo: seen from the side, then turned."""
        x, y = point[0] * self._radius, point[1] * self._radius * self._tilt
        return (
            self._middle[0] + x * self._cos - y * self._sin,
            self._middle[1] + x * self._sin + y * self._cos,
        )

    def shape(self, points: Iterable[Point], fill: Colour, outline: Colour | None = None) -> None:
        self._draw.polygon([self.place(point) for point in points], fill=fill, outline=outline)

    def disc(self, middle: Point, radius: float, fill: Colour, outline: Colour | None = None) -> None:
        turns = [math.tau * i / 20 for i in range(20)]
        points = ((middle[0] + radius * math.cos(t), middle[1] + radius * math.sin(t)) for t in turns)
        self.shape(points, fill, outline)

    def petal(self, angle: float, ends: Point, width: float, fill: Colour, *, pointed: float = 1.0) -> None:
        """Draw one petal that points away from the middle, from one radius to another."""
        inner, outer = ends
        along = [i / 8 for i in range(9)]
        # a sine is a round petal; a power of it moves the widest place towards the middle
        half = [width / 2 * math.sin(math.pi * t**pointed) for t in along]
        reach = [inner + (outer - inner) * t for t in along]
        cos, sin = math.cos(angle), math.sin(angle)
        sides = [*zip(reach, half, strict=True), *((r, -h) for r, h in zip(reach[::-1], half[::-1], strict=True))]
        light = tuple(min(255, int(part * 0.75)) for part in fill)
        self.shape([(r * cos - h * sin, r * sin + h * cos) for r, h in sides], fill, (light[0], light[1], light[2]))

    def line(self, points: Sequence[Point], width: float, fill: Colour) -> None:
        self._draw.line(
            [self.place(point) for point in points], fill=fill, width=max(1, round(width * self._radius)), joint="curve"
        )


def _shade(rng: random.Random, colour: Colour, spread: float = 0.12) -> Colour:
    light = 1 + rng.uniform(-spread, spread)
    red, green, blue = (max(0, min(255, int(part * light + rng.uniform(-8, 8)))) for part in colour)
    return red, green, blue


def _ring(rng: random.Random, count: int) -> list[float]:
    """Return about evenly spread angles."""
    start = rng.uniform(0, math.tau)
    return [start + math.tau * (i + rng.uniform(-0.25, 0.25)) / count for i in range(count)]


def _daisy(canvas: _Canvas, rng: random.Random, colour: Colour) -> None:
    count, heart = rng.randint(13, 21), rng.uniform(0.24, 0.34)
    width = rng.uniform(0.85, 1.15) * math.tau * 0.6 / count
    for angle in _ring(rng, count):
        canvas.petal(angle, (heart * 0.7, rng.uniform(0.9, 1)), width, _shade(rng, colour, 0.06), pointed=1.4)
    yellow = _shade(rng, (235, 185, 35))
    canvas.disc((0, 0), heart, yellow)
    canvas.disc((-0.05, -0.05), heart * 0.6, _shade(rng, yellow))


def _dandelion(canvas: _Canvas, rng: random.Random, colour: Colour) -> None:
    if rng.random() < 0.3:  # noqa: PLR2004 - some are seed heads already
        grey = _shade(rng, (225, 225, 220), 0.08)
        for angle in _ring(rng, rng.randint(45, 70)):
            far = rng.uniform(0.55, 1)
            tip = (far * math.cos(angle), far * math.sin(angle))
            canvas.line([(0, 0), tip], 0.015, grey)
            canvas.disc(tip, 0.05, _shade(rng, grey, 0.05))
        canvas.disc((0, 0), 0.14, _shade(rng, (130, 110, 80)))
        return
    for layer in (1.0, 0.82, 0.64, 0.46, 0.28):
        for angle in _ring(rng, rng.randint(26, 36)):
            fill = _shade(rng, colour, 0.16)
            canvas.petal(angle, (layer * 0.3, layer * rng.uniform(0.82, 1)), 0.1, fill, pointed=1.6)
    canvas.disc((0, 0), 0.1, _shade(rng, (225, 150, 20)))


def _rose(canvas: _Canvas, rng: random.Random, colour: Colour) -> None:
    dark = tuple(int(part * 0.6) for part in colour)
    edge = (dark[0], dark[1], dark[2])
    for layer, count in ((0.62, rng.randint(6, 8)), (0.44, 6), (0.28, 5), (0.14, 4)):
        for angle in _ring(rng, count):
            middle = (layer * math.cos(angle), layer * math.sin(angle))
            canvas.disc(middle, rng.uniform(0.34, 0.4) * (0.5 + layer * 0.8), _shade(rng, colour), edge)
    turn = rng.uniform(0, math.tau)
    spiral = [(0.022 * t, turn + 0.9 * t) for t in range(14)]
    canvas.line([(r * math.cos(a), r * math.sin(a)) for r, a in spiral], 0.045, edge)


def _sunflower(canvas: _Canvas, rng: random.Random, colour: Colour) -> None:
    heart = rng.uniform(0.4, 0.52)
    for reach in (1.0, 0.9):
        for angle in _ring(rng, rng.randint(15, 20)):
            fill = _shade(rng, colour)
            canvas.petal(angle, (heart * 0.8, reach * rng.uniform(0.93, 1)), 0.26, fill, pointed=0.8)
    brown = _shade(rng, (75, 45, 20))
    canvas.disc((0, 0), heart, brown)
    for i in range(1, 70):
        far, angle = heart * 0.95 * math.sqrt(i / 70), 2.39996 * i  # seeds stand a golden angle apart
        canvas.disc((far * math.cos(angle), far * math.sin(angle)), 0.02, _shade(rng, (120, 85, 40), 0.3))


def _tulip(canvas: _Canvas, rng: random.Random, colour: Colour) -> None:
    green = _shade(rng, rng.choice(_GREENS))
    bend = rng.uniform(-0.3, 0.3)
    canvas.line([(0, 0.3), (bend * 0.4, 1.0), (bend, 2.2)], 0.1, green)
    for side in (-1, 1):
        tip = (side * rng.uniform(0.5, 0.9), rng.uniform(0.5, 0.9))
        canvas.shape([(bend * 0.6, 1.9), tip, (bend * 0.5 + side * 0.22, 1.6)], _shade(rng, green))
    high, wide = rng.uniform(0.8, 0.95), rng.uniform(0.55, 0.68)
    back = _shade(rng, colour)
    canvas.shape([(-wide * 0.6, 0.2), (-wide * 0.45, -high * 0.9), (0, -0.3), (wide * 0.45, -high * 0.9),
                  (wide * 0.6, 0.2)], (int(back[0] * 0.8), int(back[1] * 0.8), int(back[2] * 0.8)))  # fmt: skip
    for side in (-1, 1):
        outer = [(0, 0.5), (side * wide * 0.7, 0.35), (side * wide, -0.1), (side * wide * 0.95, -high * 0.8),
                 (side * wide * 0.4, -0.35)]  # fmt: skip
        canvas.shape(outer, _shade(rng, colour), (int(colour[0] * 0.7), int(colour[1] * 0.7), int(colour[2] * 0.7)))
    canvas.shape([(0, 0.52), (-wide * 0.5, 0.1), (0, -high * 0.85), (wide * 0.5, 0.1)], _shade(rng, colour),
                 (int(colour[0] * 0.7), int(colour[1] * 0.7), int(colour[2] * 0.7)))  # fmt: skip


_DRAWN: Final[dict[str, Callable[[_Canvas, random.Random, Colour], None]]] = {
    "daisy": _daisy, "dandelion": _dandelion, "rose": _rose, "sunflower": _sunflower, "tulip": _tulip
}  # fmt: skip

FLOWERS: Final = tuple(_DRAWN)
"""The classes."""


def photo(flower: str, seed: int) -> bytes:
    """Return a JPEG file with a drawn flower: another position, size, turn, colour, background for each seed.

    Raises:
        RuntimeUnavailableError: Pillow is not installed.
    """
    try:
        from PIL import Image, ImageDraw
    except ImportError:
        raise RuntimeUnavailableError(
            "drawing photos needs pillow, which is not installed",
            hint="pip install 'tfinspect[learn]'",
            evidence={"package": "pillow"},
        ) from None
    rng = random.Random(f"{flower} {seed}")  # noqa: S311 - the same photo again is the purpose
    size = rng.choice(((96, 96), (112, 88), (88, 112), (120, 96)))
    image = _background(rng, size).resize((size[0] * _FINE, size[1] * _FINE), Image.Resampling.BICUBIC)
    draw = ImageDraw.Draw(image)
    side = min(image.size)
    _grass(draw, rng, image.size)
    radius = side * rng.uniform(0.34, 0.48)
    middle = (image.width * rng.uniform(0.4, 0.6), image.height * rng.uniform(0.4, 0.6))
    if flower == "tulip":
        canvas = _Canvas(draw, middle, radius * 1.15, rng.uniform(-0.45, 0.45), 1)
    else:
        canvas = _Canvas(draw, middle, radius, rng.uniform(0, math.tau), rng.uniform(0.7, 1))
        foot = (middle[0] + side * rng.uniform(-0.2, 0.2), float(image.height))
        draw.line([middle, foot], fill=_shade(rng, rng.choice(_GREENS)), width=round(side * 0.03))
    _DRAWN[flower](canvas, rng, rng.choice(_PALETTES[flower]))
    return _developed(rng, image.resize(size, Image.Resampling.BOX))


def _background(rng: random.Random, size: tuple[int, int]) -> Image:
    """Return something out of focus, small; enlarging makes it soft."""
    from PIL import Image

    colour = rng.choice(_BACKGROUNDS)
    small = Image.new("RGB", (max(3, size[0] // 16), max(3, size[1] // 16)))
    small.putdata([_shade(rng, colour, 0.35) for _ in range(small.width * small.height)])
    return small


def _grass(draw: ImageDraw, rng: random.Random, size: tuple[int, int]) -> None:
    for _ in range(rng.randint(0, 8)):
        foot = (rng.uniform(0, size[0]), float(size[1]))
        tip = (foot[0] + rng.uniform(-0.2, 0.2) * size[0], size[1] * rng.uniform(0.3, 0.9))
        draw.line([foot, tip], fill=_shade(rng, rng.choice(_GREENS), 0.25), width=rng.randint(2, 6))


def _developed(rng: random.Random, image: Image) -> bytes:
    """Return the file as a camera leaves it: with noise, in another light, compressed."""
    import numpy as np
    from PIL import Image

    noise = np.random.default_rng(rng.getrandbits(32))
    pixels = np.asarray(image, dtype=np.float32) * np.float32(rng.uniform(0.8, 1.15))
    pixels = pixels * noise.uniform(0.92, 1.08, 3).astype(np.float32)  # the white balance
    pixels = pixels + noise.normal(0, rng.uniform(1, 9), pixels.shape).astype(np.float32)
    file = io.BytesIO()
    Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(file, "JPEG", quality=rng.randint(80, 95))
    return file.getvalue()
