"""Layers, as Keras and Deeplearning4j files tell of a network."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tfinspect.ir.shapes import Shape


@dataclass(frozen=True, slots=True)
class Layer:
    """One layer.

    Attributes:
        name: unique in its model; layers of a nested model are `outer/inner`.
        kind: class, as the file calls it: `Conv2D`, `Dense`, `Lambda`.
        weights: names of its variables in the model's checkpoint, in the order the layer takes them.
        inputs: names of the layers it takes; empty where the file does not say.
        shape: of its output, batch dimension included, where the file says.
        settings: its configuration, as far as it is plain: strings, numbers, booleans and lists of these.
    """

    name: str
    kind: str
    weights: tuple[str, ...] = ()
    inputs: tuple[str, ...] = ()
    shape: Shape = None
    settings: Mapping[str, object] = field(default_factory=dict)
