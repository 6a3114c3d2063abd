"""Checkpoints of slim's networks for the tests, written without TensorFlow: every variable a network needs, at random."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from tests.checkpoint_writers import write_bundle
from tfinspect.architectures._slim import Net

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from tfinspect.architectures.family import Family

Shapes = dict[str, tuple[int, ...]]


def shapes_of(family: Family, told: Mapping[str, tuple[int, ...]], scope: str | None = None) -> Shapes:
    """Return the shapes of all variables of a network.

    Args:
        family: which network.
        told: variables that decide what the family leaves open: of the classifier, and of a layer for the width.
        scope: where the variables stand; none: where slim has them.
    """
    root = scope or family.scope
    net = Net({f"{root}/{name}": shape for name, shape in told.items()}, root, family.style)
    family.build(net, net.input(*family.size))
    found = {}
    for name, shape in net.wanted.items():
        assert shape is not None
        assert None not in shape, name
        found[name] = tuple(d for d in shape if d is not None)
    return found


def values_of(shapes: Shapes, seed: int = 0) -> dict[str, np.ndarray]:
    """Return values under which activations neither die nor grow from layer to layer."""
    rng = np.random.default_rng(seed)
    found = {}
    for name, shape in shapes.items():
        if name.endswith("weights"):
            spread = np.sqrt(2 / np.prod(shape[:-1] if "depthwise" not in name else shape[:2]))
            value = rng.normal(size=shape) * spread
        elif name.endswith(("variance", "gamma")):
            value = rng.uniform(0.5, 1.5, shape)
        else:
            value = rng.normal(size=shape) * 0.1
        found[name] = value.astype(np.float32)
    return found


def write_checkpoint(prefix: Path, shapes: Shapes, seed: int = 0) -> dict[str, np.ndarray]:
    """Write a checkpoint with such values and a step, and return them."""
    values = values_of(shapes, seed)
    write_bundle(prefix, {**values, "global_step": np.array(7, np.int64)})
    return values
