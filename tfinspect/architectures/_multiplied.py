"""Numbers of channels of networks that come in many widths: what a multiplier makes of the published ones."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tfinspect.architectures._width import best_width

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from tfinspect.architectures._slim import Net


def multiplied(
    net: Net, published: Mapping[str, int], channels: Callable[[int, float], int]
) -> Mapping[str, int | None]:
    """Return the number of channels of each layer, and set the width of the network.

    A multiplier that explains most layers of the checkpoint decides them all, so that one that differs shows. Where
    none does, somebody changed the table or the rule: then each layer is as wide as its weights say, which is None
    here, and layers need only fit each other.

    Args:
        net: the network.
        published: number of channels of each layer at width 1.
        channels: says how many channels a layer has whose number was multiplied.
    """
    pairs = [(told, found) for layer, told in published.items() if (found := net.units(layer))]
    width = best_width(pairs, channels)
    right = sum(channels(told, width) == found for told, found in pairs)
    if 4 * right < 3 * len(pairs):
        return dict.fromkeys(published)
    net.width = width
    return {layer: channels(told, width) for layer, told in published.items()}
