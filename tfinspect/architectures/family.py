"""What is to be known of a family of networks, and what was found out about one checkpoint of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Callable

    from tfinspect.architectures._slim import Net, Style, Value

Pixels = Literal["half range", "less mean"]
"""What slim's trainers did to pixels: from -1 to 1, or red, green and blue less their mean over ImageNet."""


@dataclass(frozen=True, slots=True)
class Family:
    """One network of slim.

    Attributes:
        name: short name, such as `inception_v3`.
        title: what people call it.
        scope: that its variables stand in, whatever may come before: `InceptionV3`.
        size: height and width of the images it was published for.
        style: what its layers have in common.
        pixels: how images are prepared.
        build: adds its layers to a network that has its input already; ends with the predictions, or where the
            checkpoint has no classifier with the pooled features. It may set `Net.width`.
        fixed_size: says the size of images where the shape of a variable decides it; None where none does.
    """

    name: str
    title: str
    scope: str
    size: tuple[int, int]
    style: Style
    pixels: Pixels
    build: Callable[[Net, Value], None]
    fixed_size: Callable[[Net], tuple[int, int] | None] | None = None
