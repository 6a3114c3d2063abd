"""Files beside a model that its graph reads: vocabularies, labels. They are never opened here for what is in them."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Final

from tfinspect.errors import InputError
from tfinspect.formats._file import open_beneath
from tfinspect.ir.risks import Risk

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

_FOLDER: Final = "assets"


def risks(folder: str, assets: Mapping[str, str]) -> tuple[Risk, ...]:
    """Return the assets of a model's folder whose names lead out of it; TensorFlow follows them when it loads it."""
    found = []
    for name in assets:
        parts = name.split("/")
        why = ""
        if any(part in {"", ".", ".."} for part in parts) or "\\" in name or "\0" in name:
            why = "does not name a file in the folder of assets"
        elif _leads_out(folder, parts):
            why = "is reached through a symbolic link that leads out of the folder"
        if why:
            found.append(Risk("outside-path", name, f"the asset `{name}` {why}"))
    return tuple(found)


def missing(folder: str, assets: Mapping[str, str], known: Iterable[Risk]) -> list[InputError]:
    """Return a complaint for each asset that is not there, or no regular file, but for those known to lead out."""
    found: list[InputError] = []
    outside = {risk.where for risk in known}
    for name in assets:
        if name not in outside:
            try:
                os.close(open_beneath(folder, f"{_FOLDER}/{name}"))
            except InputError as error:
                found.append(error)
    return found


def _leads_out(folder: str, parts: list[str]) -> bool:
    places = [Path(folder, _FOLDER, *parts[:count]) for count in range(len(parts) + 1)]
    try:
        link = next((place for place in places if place.is_symlink()), None)
        return link is not None and not link.resolve().is_relative_to(Path(folder).resolve())
    except (OSError, RuntimeError):  # a name that is too long, a link that leads to itself
        return False


def read(folder: str, name: str) -> bytes:
    """Return the content of an asset of the model in a folder.

    Raises:
        InputError: it is not there, or not inside the folder.
    """
    descriptor = open_beneath(folder, f"{_FOLDER}/{name}")
    with os.fdopen(descriptor, "rb") as file:
        return file.read()
