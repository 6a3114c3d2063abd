"""Which known network a checkpoint without a graph holds, told from the names and shapes of its variables."""

from __future__ import annotations

import importlib
import re
import shlex
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from tfinspect.errors import UnrestoredVariablesError, UsageError, counted
from tfinspect.ir.dtypes import DType
from tfinspect.ir.shapes import compatible, format_shape

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tfinspect.architectures.family import Family
    from tfinspect.ir.checkpoint import Checkpoint
    from tfinspect.ir.graph import Graph

FAMILIES: Final = {
    "InceptionV1": "inception_v1",
    "InceptionV3": "inception_v3",
    "MobilenetV1": "mobilenet_v1",
    "MobilenetV2": "mobilenet_v2",
    **{f"resnet_{version}_{depth}": f"resnet_{version}" for version in ("v1", "v2") for depth in (50, 101, 152)},
    **{f"vgg_{depth}": "vgg" for depth in (16, 19)},
}
"""The module that knows a network, by the scope that the network's variables stand in."""
_SCOPE: Final = re.compile(rf"(?<![^/])(?:{'|'.join(map(re.escape, FAMILIES))})(?=/)")
_PRODUCER = 134  # of TensorFlow 1.15: every op here is known to it and to all since
_MOST_SCOPES = 8  # a checkpoint of more copies of networks is looked at no further
_SHOWN = 8


@dataclass(frozen=True, slots=True)
class Recognized:
    """A network that a checkpoint holds, whole or not.

    Attributes:
        family: which.
        scope: that its variables stand in, with whatever comes before.
        classes: units of its classifier, None where there is none at its place.
        width: multiplier of its numbers of channels.
        size: height and width of the images it takes.
        assumed: whether the size is the usual one, which no variable decides.
        graph: the network.
        wanted: number of variables it needs.
        missing: names of those that the checkpoint lacks.
        wrong: by name, what is wrong with those that it holds in another shape or type.
        spare: names of weights that the network does not need.
    """

    family: Family
    scope: str
    classes: int | None
    width: float
    size: tuple[int, int]
    assumed: bool
    graph: Graph
    wanted: int
    missing: tuple[str, ...]
    wrong: Mapping[str, str]
    spare: tuple[str, ...]

    @property
    def is_whole(self) -> bool:
        """Whether the checkpoint has all that the network needs."""
        return not self.missing and not self.wrong

    def __str__(self) -> str:
        """Return `Inception v3 (slim), 1001 classes, input 299x299 assumed`."""
        words = [f"{self.family.title}{f' {self.width:g}' if self.width != 1 else ''} (slim)"]
        words.append(f"{self.classes} classes" if self.classes else "no classifier")
        words.append(f"input {self.size[0]}x{self.size[1]}{' assumed' if self.assumed else ''}")
        return ", ".join(words)


def recognize(checkpoint: Checkpoint, size: tuple[int, int] | None = None) -> Recognized | None:
    """Return the network that a checkpoint holds at least half of, or None.

    Slots, averages and counters of a trainer do not matter, nor what else the checkpoint holds.

    Args:
        checkpoint: its variables; no value is read.
        size: height and width of the images, instead of the usual ones.

    Raises:
        UsageError: images of that size do not fit the weights, or are too small.
    """
    scopes = dict.fromkeys(
        (name[: match.end()], match.group()) for name in checkpoint.variables for match in _SCOPE.finditer(name)
    )
    best: tuple[int, Recognized] | None = None
    for scope, word in list(scopes)[:_MOST_SCOPES]:
        found = _built(checkpoint, scope, word, size)
        present = found.wanted - len(found.missing)
        if 2 * present >= found.wanted and (best is None or present > best[0]):
            best = present, found
    return None if best is None else best[1]


def family_of(graph: Graph) -> Family | None:
    """Return the network whose names the convolutions of a graph have, or None; nothing else is looked at."""
    for node in graph.nodes:
        if node.op == "Conv2D":
            found = _SCOPE.search(node.name)
            if found is not None:
                return _family(found.group())
    return None


def _family(word: str) -> Family:
    families: tuple[Family, ...] = importlib.import_module(f"tfinspect.architectures.{FAMILIES[word]}").FAMILIES
    return next(one for one in families if one.scope == word)


def _built(checkpoint: Checkpoint, scope: str, word: str, size: tuple[int, int] | None) -> Recognized:
    from tfinspect.architectures._slim import Net
    from tfinspect.ir.graph import Graph, Versions

    family = _family(word)
    variables = checkpoint.variables
    net = Net({name: info.shape for name, info in variables.items()}, scope, family.style)
    fixed = None if family.fixed_size is None else family.fixed_size(net)
    if fixed is not None and size not in (None, fixed):
        raise UsageError(
            f"{checkpoint.path} takes images of {fixed[0]}x{fixed[1]}: its weights allow no other size",
            hint="leave out --size",
            evidence={"path": checkpoint.path, "size": list(fixed)},
        )
    height, width = size or fixed or family.size
    family.build(net, net.input(height, width))
    wrong = {
        name: f"{format_shape(shape)} expected, found {variables[name].dtype} {format_shape(variables[name].shape)}"
        for name, shape in net.wanted.items()
        if name in variables and not (compatible(shape, variables[name].shape) and variables[name].dtype is DType.FLOAT)
    }
    return Recognized(
        family,
        scope,
        net.classes,
        net.width,
        (height, width),
        size is None and fixed is None,
        Graph(net.nodes, versions=Versions(_PRODUCER, 12)),
        len(net.wanted),
        tuple(name for name in net.wanted if name not in variables),
        wrong,
        tuple(name for name, info in variables.items() if info.role == "weight" and name not in net.wanted),
    )


def check_whole(checkpoint: Checkpoint, found: Recognized) -> None:
    """Refuse a checkpoint that does not hold all of the network that it looks like.

    Raises:
        UnrestoredVariablesError: variables are missing or of another shape or type; the first are named.
    """
    if found.is_whole:
        return
    rows = [f"{name}  (missing)" for name in found.missing]
    rows += [f"{name}  ({what})" for name, what in found.wrong.items()]
    lacks = f"lacks {len(found.missing):,} of its {counted(found.wanted, 'variable')}" if found.missing else ""
    differs = f"holds {len(found.wrong):,} of its {counted(found.wanted, 'variable')} in another shape or type"
    raise UnrestoredVariablesError(
        f"{checkpoint.path} looks like {found.family.title} (slim), but {lacks or differs}",
        details=rows[:_SHOWN] + ([f"... and {len(rows) - _SHOWN:,} more"] if len(rows) > _SHOWN else []),
        hint=f"list what it holds: tfinspect vars {shlex.quote(checkpoint.path)}",
        evidence={"path": checkpoint.path, "missing": list(found.missing), "differing": dict(found.wrong)},
    )
