"""A contact sheet: photos with what a model says of each, as one picture."""

from __future__ import annotations

import importlib.util
import io
import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from tfinspect.errors import RuntimeUnavailableError
from tfinspect.learn.images import decode, read_image

if TYPE_CHECKING:
    from collections.abc import Sequence

MOST_CELLS: Final = 1000
"""Photos on one sheet; more make a picture that few programs open."""

_WIDTH, _PICTURE, _HEIGHT = 216, 162, 230  # of a card; height of the picture on it
_GAP, _MARGIN, _PAD, _HEADER = 14, 24, 12, 64
_MOST_COLUMNS = 12
_PAGE, _CARD, _EDGE, _BEHIND = "#f3f3f0", "#ffffff", "#dededa", "#eaeae6"
_INK, _DIM, _TRACK = "#1f2328", "#6b7075", "#e6e6e2"
_RIGHT, _WRONG, _PLAIN = "#1a7f37", "#cf222e", "#3b6ea8"
_FONTS: Final = {False: "DejaVuSans.ttf", True: "DejaVuSans-Bold.ttf"}


@dataclass(frozen=True, slots=True)
class Cell:
    """One photo.

    Attributes:
        image: the file.
        label: what the model takes it for.
        probability: how sure it is, from 0 to 1; None where the label says all.
        truth: the class it is of, None where that is not known.
    """

    image: str
    label: str
    probability: float | None
    truth: str | None = None


def draw(cells: Sequence[Cell], *, title: str, count: int | None = None) -> bytes:
    """Return a PNG file with a card for each photo, a heading, and how many are right where that is known.

    Args:
        cells: the photos.
        title: first word of the heading.
        count: how many photos there are in all, where not all are drawn.

    Raises:
        InputError: a photo cannot be read any more.
        RuntimeUnavailableError: Pillow is not installed.
    """
    try:
        from PIL import Image, ImageDraw
    except ImportError:
        raise RuntimeUnavailableError(
            "drawing a contact sheet needs pillow, which is not installed",
            hint="pip install 'tfinspect[learn]'",
            evidence={"package": "pillow"},
        ) from None
    columns = _columns(len(cells))
    rows = max(1, math.ceil(len(cells) / columns))
    size = (
        2 * _MARGIN + columns * (_WIDTH + _GAP) - _GAP,
        _HEADER + _MARGIN + rows * (_HEIGHT + _GAP) - _GAP,
    )
    page = Image.new("RGB", size, _PAGE)
    pen = ImageDraw.Draw(page)
    heading, about = _heading(cells, _shown(title), len(cells) if count is None else count)
    room = size[0] - 2 * _MARGIN
    pen.text((_MARGIN, 15), _fitted(pen, heading, _font(18, bold=True), room), _INK, _font(18, bold=True))
    pen.text((_MARGIN, 40), _fitted(pen, about, _font(12), room), _DIM, _font(12))
    for number, cell in enumerate(cells):
        row, column = divmod(number, columns)
        _card(page, pen, cell, _MARGIN + column * (_WIDTH + _GAP), _HEADER + row * (_HEIGHT + _GAP))
    file = io.BytesIO()
    page.save(file, "PNG", optimize=False)
    return file.getvalue()


def _columns(count: int) -> int:
    """Return how many cards stand side by side: a page a little wider than high, with few gaps in its last row."""
    wanted = max(2, min(_MOST_COLUMNS, math.ceil(math.sqrt(count * _HEIGHT / _WIDTH * 1.3))))
    return min((wanted, wanted - 1, wanted + 1), key=lambda n: (-count % n if n > 1 else count, abs(n - wanted)))


def _heading(cells: Sequence[Cell], title: str, count: int) -> tuple[str, str]:
    known = [cell for cell in cells if cell.truth is not None]
    about = f"{count:,} photo{'' if count == 1 else 's'}"
    if count > len(cells):
        about += f", the first {len(cells):,} shown"
    if known:
        right = sum(cell.truth == cell.label for cell in known)
        about += f"; right {right:,} of {len(known):,} ({100 * right / len(known):.1f} %), by the name of the folder"
    return title, about


def _card(page: Any, pen: Any, cell: Cell, left: int, top: int) -> None:  # noqa: ANN401 - Pillow's
    from PIL import Image

    colour = _PLAIN if cell.truth is None else _RIGHT if cell.truth == cell.label else _WRONG
    pen.rounded_rectangle((left, top, left + _WIDTH - 1, top + _HEIGHT - 1), 8, _CARD, _EDGE)
    pen.rectangle((left + 1, top + 8, left + _WIDTH - 2, top + _PICTURE), _BEHIND)
    pen.rounded_rectangle((left + 1, top + 1, left + _WIDTH - 2, top + 20), 7, _BEHIND)
    photo = Image.fromarray(decode(read_image(cell.image), cell.image))
    scale = min((_WIDTH - 2) / photo.width, _PICTURE / photo.height)
    shape = (max(1, round(photo.width * scale)), max(1, round(photo.height * scale)))
    photo = photo.resize(shape, Image.Resampling.LANCZOS if scale < 1 else Image.Resampling.NEAREST, reducing_gap=2.0)
    corners = Image.new("L", (_WIDTH - 2, _PICTURE + 20))
    _rounded(corners)
    at = ((_WIDTH - 2 - photo.width) // 2, (_PICTURE - photo.height) // 2)
    mask = corners.crop((*at, at[0] + photo.width, at[1] + photo.height))
    page.paste(photo, (left + 1 + at[0], top + 1 + at[1]), mask)
    _caption(pen, cell, colour, left + _PAD, top + _PICTURE)


def _rounded(mask: Any) -> None:  # noqa: ANN401 - Pillow's
    from PIL import ImageDraw

    ImageDraw.Draw(mask).rounded_rectangle((0, 0, mask.width - 1, mask.height - 1), 7, 255)


def _caption(pen: Any, cell: Cell, colour: str, left: int, top: int) -> None:  # noqa: ANN401 - Pillow's
    width = _WIDTH - 2 * _PAD
    figure = "" if cell.probability is None else f"{100 * cell.probability:.1f} %"
    strong, plain, small = _font(14, bold=True), _font(13), _font(11)
    room = width - pen.textlength(figure, plain) - 8
    pen.text((left, top + 11), _fitted(pen, _shown(cell.label), strong, room, tail=False), colour, strong)
    pen.text((left + width, top + 12), figure, _INK, plain, anchor="ra")
    if cell.probability is not None:
        place = (left, top + 34, left + width, top + 38)
        pen.rounded_rectangle(place, 2, _TRACK)
        filled = round(width * min(1.0, max(0.0, cell.probability)))
        if filled:
            pen.rounded_rectangle((left, top + 34, left + max(filled, 4), top + 38), 2, colour)
    wrong = cell.truth is not None and cell.truth != cell.label
    note = f"is: {_shown(cell.truth or '')}" if wrong else ""
    pen.text((left, top + 46), note, _WRONG, small)
    used = pen.textlength(note, small) + 8 if note else 0
    name = _fitted(pen, _shown(Path(cell.image).name), small, width - used)
    pen.text((left + width, top + 46) if note else (left, top + 46), name, _DIM, small, anchor="ra" if note else "la")


def _shown(text: str) -> str:
    """Return text as it may be drawn: on one line, without invisible characters."""
    return "".join(c if c.isprintable() else "?" for c in text)


def _fitted(pen: Any, text: str, font: Any, room: float, *, tail: bool = True) -> str:  # noqa: ANN401 - Pillow's
    """Cut a text so that it is no wider than `room`: in the middle, or at the end where that does not count."""
    if pen.textlength(text, font) <= room:
        return text
    kept = min(len(text), 200)
    while kept > 1:
        kept -= 1
        cut = f"{text[: (kept + 1) // 2]}…{text[len(text) - kept // 2 :]}" if tail else f"{text[:kept].rstrip()}…"
        if pen.textlength(cut, font) <= room:
            return cut
    return "…"


def _font(size: int, *, bold: bool = False) -> Any:  # noqa: ANN401 - Pillow's
    """Return matplotlib's DejaVu, which knows most scripts, where it is installed; else Pillow's own."""
    from PIL import ImageFont

    found = importlib.util.find_spec("matplotlib")
    for folder in (found.submodule_search_locations or ()) if found is not None else ():
        file = Path(folder, "mpl-data", "fonts", "ttf", _FONTS[bold])
        if file.is_file():
            return ImageFont.truetype(str(file), size)
    return ImageFont.load_default(size)
