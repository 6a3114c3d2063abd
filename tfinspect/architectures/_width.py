"""How wide a network is: what its numbers of channels are multiplied by."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence


def scaled(units: int, width: float, least: int) -> int:
    """Return the number of channels of a layer in a narrower or wider network."""
    return max(int(units * width), least) if width != 1 else units


def best_width(pairs: Sequence[tuple[int, int]], channels: Callable[[int, float], int]) -> float:
    """Return the multiplier that explains the most layers, of several such the roundest number.

    Args:
        pairs: of each layer the number of channels in the published network, and in the checkpoint.
        channels: says how many channels a layer has whose number was multiplied.
    """
    best, most = 1.0, -1
    # 1 first; then what single layers say, rounded and not, so that one damaged layer does not decide
    tries = dict.fromkeys([1.0, *(round(found / told, n) for n in (2, 3, 6) for told, found in dict.fromkeys(pairs))])
    for width in tries:
        right = sum(channels(told, width) == found for told, found in pairs)
        if right > most:
            best, most = width, right
        if most == len(pairs):
            break
    return best
