"""Options of commands that take photos."""

from __future__ import annotations

import re
from typing import Annotated

import typer

from tfinspect.errors import UsageError

_SIZE = re.compile(r"([0-9]{1,5})(?:x([0-9]{1,5}))?")

Size = Annotated[
    str | None,
    typer.Option("--size", metavar="N|HxW", help="Resize photos to this, as 224 or 192x256", show_default=False),
]
Mean = Annotated[
    list[float] | None,
    typer.Option("--mean", metavar="X", help="Subtract it from pixels; repeat for each channel", show_default=False),
]
Scale = Annotated[
    list[float] | None,
    typer.Option("--scale", metavar="X", help="Then multiply by it; repeat for each channel", show_default=False),
]
Bgr = Annotated[bool, typer.Option("--bgr", help="Blue comes first, red last", show_default=False)]

Validation = Annotated[float, typer.Option("--validation", metavar="X", help="Share to watch training on")]
Test = Annotated[float, typer.Option("--test", metavar="X", help="Share to judge the result on")]
SplitSeed = Annotated[
    str, typer.Option("--split-seed", metavar="TEXT", help="Another text, another split", show_default=False)
]


def parse_size(text: str | None) -> tuple[int, int] | None:
    """Return (height, width) of `224` or `192x256`.

    Raises:
        UsageError: it is neither.
    """
    if text is None:
        return None
    match = _SIZE.fullmatch(text)
    height, width = (int(match[1]), int(match[2] or match[1])) if match else (0, 0)
    if not height or not width:
        raise UsageError(f"`--size` takes 224 or HEIGHTxWIDTH as 192x256, not `{text}`")
    return height, width
