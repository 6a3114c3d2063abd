"""References to tensors: `name:index`."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tfinspect.errors import UsageError

if TYPE_CHECKING:
    from tfinspect.ir.shapes import Shape

_INDEX_DIGITS = 9  # of an int32
_SHAPED = re.compile(r"^(?P<ref>[^\[\]]+)(?:\[(?P<dims>[^\[\]]*)\])?$")


@dataclass(frozen=True, slots=True, order=True)
class TensorRef:
    """One output of one node. `str()` always writes the index: `pool_3/_reshape:0`."""

    name: str
    index: int = 0

    def __str__(self) -> str:
        """Return `name:index`."""
        return f"{self.name}:{self.index}"

    @classmethod
    def parse(cls, text: str) -> TensorRef:
        """Read `name` or `name:index`.

        Raises:
            UsageError: the text is empty, a control input, or has an index that is not a number.
        """
        name, colon, index = text.rpartition(":")
        if not colon:
            name, index = text, "0"
        if not name or name.startswith("^") or not _is_index(index):
            raise UsageError(f"`{text}` is not a tensor name", hint="write `name` or `name:index`, as in `pool_3:0`")
        return cls(name, int(index))


def parse_shaped(text: str) -> tuple[TensorRef, Shape]:
    """Read `X:0[1,28,28,1]`: a tensor and the shape given to it; `?` or `-1` is an unknown dimension.

    Returns:
        The reference, and the shape or None where no brackets stand.

    Raises:
        UsageError: the text has another form.
    """
    match = _SHAPED.match(text)
    if match is None:
        raise UsageError(f"`{text}` is not a tensor name", hint="write `name:index` or `name:index[1,28,28,1]`")
    ref = TensorRef.parse(match["ref"])
    if match["dims"] is None:
        return ref, None
    dims: list[int | None] = []
    for part in filter(None, (p.strip() for p in match["dims"].split(","))):
        if part in {"?", "-1", "None"}:
            dims.append(None)
        elif part.isascii() and part.isdigit():
            dims.append(int(part))
        else:
            raise UsageError(f"`{part}` in `{text}` is not a dimension", hint="write numbers, or ? where it is free")
    return ref, tuple(dims)


def _is_index(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= _INDEX_DIGITS


def split_input(text: str) -> tuple[str, int, bool]:
    """Return (node name, output index, is control) of an input as a NodeDef writes it: `x`, `x:1`, `^x`."""
    if text.startswith("^"):
        return text[1:], -1, True
    name, colon, index = text.rpartition(":")
    if colon and _is_index(index):
        return name, int(index), False
    return text, 0, False
