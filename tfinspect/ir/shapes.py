"""Shapes that may be partly or wholly unknown."""

from __future__ import annotations

import math
from typing import TypeAlias

Shape: TypeAlias = tuple[int | None, ...] | None
"""Dimensions, `None` for one that is unknown; `None` as a whole for unknown rank; `()` is a scalar."""


def format_shape(shape: Shape) -> str:
    """Return `1x299x299x3`, `?x5`, `scalar`, or `?` for unknown rank."""
    if shape is None:
        return "?"
    return "x".join("?" if d is None else str(d) for d in shape) if shape else "scalar"


def is_static(shape: Shape) -> bool:
    """Whether every dimension is known."""
    return shape is not None and None not in shape


def size_of(shape: Shape) -> int | None:
    """Return the number of elements, or None where a dimension is unknown."""
    if shape is None:
        return None
    dims = [d for d in shape if d is not None]
    return math.prod(dims) if len(dims) == len(shape) else None


def compatible(a: Shape, b: Shape) -> bool:
    """Whether some tensor could have both shapes."""
    if a is None or b is None:
        return True
    return len(a) == len(b) and all(x is None or y is None or x == y for x, y in zip(a, b, strict=True))


def merge(a: Shape, b: Shape) -> Shape:
    """Return what both shapes together say; `a` where they contradict each other."""
    if a is None:
        return b
    if b is None or not compatible(a, b):
        return a
    return tuple(y if x is None else x for x, y in zip(a, b, strict=True))
