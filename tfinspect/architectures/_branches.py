"""Inception's blocks: branches that all take the same images, and whose results are joined."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final, NamedTuple

from tfinspect.architectures._width import best_width, scaled

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from tfinspect.architectures._slim import Net, Padding, Pair, Value

_WINDOW: Final = re.compile(r"_(\d+)x(\d+)$")


class Conv(NamedTuple):
    """A convolution; its window is what its name says, unless `kernel` is another."""

    name: str
    units: int
    kernel: Pair | None = None
    stride: int = 1
    padding: Padding = "SAME"


class Pool(NamedTuple):
    """A pooling, of the kind and with the window that its name says."""

    name: str
    stride: int = 1
    padding: Padding = "SAME"


class Split(NamedTuple):
    """Two convolutions of the same images, joined."""

    first: Conv
    second: Conv


Step = Conv | Pool | Split
Branch = tuple[Step, ...]


def mixed(net: Net, x: Value, stem: Branch, blocks: Mapping[str, Sequence[Branch] | Pool], least: int = 1) -> Value:
    """Add a stem and blocks, whose layers are called `BLOCK/Branch_N/LAYER` and whose results are joined in `concat`.

    Args:
        net: the network; all numbers of channels are multiplied by its width.
        x: what the stem takes.
        stem: first layers.
        blocks: by name; a pooling stands for itself.
        least: number of channels that no layer goes below, of a network narrower than the published one.
    """
    for step in stem:
        x = _step(net, x, "", step, least)
    for name, branches in blocks.items():
        if isinstance(branches, Pool):
            x = _step(net, x, "", branches, least)
            continue
        ends = []
        for number, branch in enumerate(branches):
            end, scope = x, f"{name}/Branch_{number}/"
            for step in branch:
                end = _step(net, end, scope, step, least)
            ends.append(end)
        x = net.concat(ends, f"{name}/concat")
    return x


def _step(net: Net, x: Value, scope: str, step: Step, least: int) -> Value:
    if isinstance(step, Split):
        return net.concat([_step(net, x, scope, conv, least) for conv in step], f"{scope}concat")
    if isinstance(step, Conv):
        units = scaled(step.units, net.width, least)
        return net.conv2d(x, scope + step.name, units, step.kernel or _window(step.name), step.stride, step.padding)
    add = net.avg_pool if step.name.startswith("AvgPool") else net.max_pool
    return add(x, scope + step.name, _window(step.name), step.stride, step.padding)


def _window(name: str) -> Pair:
    found = _WINDOW.search(name)
    if found is None:
        raise ValueError(f"{name} does not say its window; the table is wrong")
    return int(found[1]), int(found[2])


def multiplier(net: Net, stem: Branch, blocks: Mapping[str, Sequence[Branch] | Pool], least: int = 1) -> float:
    """Return the width of a network: the one that explains the most layers of the checkpoint."""
    pairs = [(conv.units, net.units(scope + conv.name)) for scope, conv in _convolutions(stem, blocks)]
    return best_width([(told, found) for told, found in pairs if found], lambda u, w: scaled(u, w, least))


def _convolutions(stem: Branch, blocks: Mapping[str, Sequence[Branch] | Pool]) -> Iterator[tuple[str, Conv]]:
    every = [("", stem)]
    for name, branches in blocks.items():
        if not isinstance(branches, Pool):
            every += [(f"{name}/Branch_{number}/", branch) for number, branch in enumerate(branches)]
    for scope, branch in every:
        for step in branch:
            if isinstance(step, Conv):
                yield scope, step
            elif isinstance(step, Split):
                yield from ((scope, conv) for conv in step)
