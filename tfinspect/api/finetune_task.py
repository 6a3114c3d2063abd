"""What of a trunk is trained, and the task that this is for a trainer."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tfinspect.api.trunk_parameters import Layers
from tfinspect.errors import counted
from tfinspect.ir.trainer import Task
from tfinspect.learn.finetune import LEAST_FACTOR
from tfinspect.surgery.trainable import rates

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from tfinspect.api.trunk_parameters import OpenTrunk
    from tfinspect.learn.finetune import Settings


def chosen_layers(layers: Layers, trunk: OpenTrunk, settings: Settings, note: Callable[[str], None]) -> list[str]:
    """Return the names of the constants that are trained: where none are named, those whose steps are worth a gradient.

    Gradients of the first layers, which work on the largest images, cost as much as those of all others.

    Args:
        layers: what was asked for.
        trunk: the trunk.
        settings: the decay that decides where nothing was.
        note: is told what stays.

    Raises:
        NameNotFoundError: a tensor or scope is not there.
        UsageError: no weights come after the tensor.
    """
    names = layers.of(trunk.graph, trunk.parameters)
    if layers != Layers():
        return names
    factors = rates(trunk.parameters, names, settings.decay)
    last = {t.name for t in trunk.parameters.trainable if t.depth == 0}
    found = [name for name in names if factors[name] >= LEAST_FACTOR or name in last]
    if len(found) < len(names):
        depths = {t.name: t.depth for t in trunk.parameters.trainable}
        trained = len({depths[name] for name in found})
        note(
            f"the last {counted(trained, 'layer')} of {trunk.parameters.layers} are trained; the others would take "
            f"steps of less than {LEAST_FACTOR:g} of the head's (--all trains them too)"
        )
    return found


def task_of(
    trunk: OpenTrunk, chosen: Sequence[str], settings: Settings, shapes: Sequence[tuple[int, str]], file: Path
) -> Task:
    """Return what a trainer is to do.

    Args:
        trunk: the trunk.
        chosen: names of the constants that are trained.
        settings: how.
        shapes: units and activation of each layer of the head.
        file: where the trunk is written.
    """
    by_name = {t.name: t for t in trunk.parameters.trainable}
    deepest = max((by_name[name].depth for name in chosen), default=-1)
    norms = [n for n in trunk.parameters.norms if n.depth <= deepest] if settings.batch_norm == "updated" else []
    return Task(
        str(file),
        str(trunk.start),
        str(trunk.bottleneck),
        rates(trunk.parameters, chosen, settings.decay),
        [name for name in chosen if by_name[name].decays],
        norms,
        [*((units, activation) for units, activation in shapes[:-1]), (shapes[-1][0], "linear")],
        settings.optimizer,
        settings.l2,
        seed=settings.seed,
    )
