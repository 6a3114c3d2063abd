"""Which moving average in a checkpoint belongs to which variable."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tfinspect.surgery.moving_averages import read_variable

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from tfinspect.ir.checkpoint import Checkpoint
    from tfinspect.ir.graph import Graph
    from tfinspect.surgery.moving_averages import Average
    from tfinspect.surgery.reconcile import Key

_ENDINGS = ("ExponentialMovingAverage", "EMA", "ema", "average", "shadow")


def average_pairs(
    graph: Graph, kept: Iterable[Average], keys: Mapping[str, Key], checkpoint: Checkpoint
) -> dict[str, tuple[str, str]]:
    """Return the key of the average of each variable that has one, and how it was found: "graph" or "name".

    Args:
        graph: the whole graph.
        kept: the moving averages it keeps.
        keys: of each variable, the key of its raw value.
        checkpoint: where the averages stand.
    """
    found: dict[str, tuple[str, str]] = {}
    for average in kept:
        variable = read_variable(graph, average.value)
        if variable is None or variable not in keys or average.variable not in keys:
            continue
        if keys[average.variable].name in checkpoint.variables:
            found.setdefault(variable, (keys[average.variable].name, "graph"))
    for variable, key in keys.items():
        if variable in found:
            continue
        name = next((n for n in _names(key.name) if n in checkpoint.variables), None)
        if name is not None:
            found[variable] = (name, "name")
    return found


def _names(key: str) -> Sequence[str]:
    return [f"{key}/{ending}" for ending in _ENDINGS] + [f"ema/{key}", f"{key}_ema"]
