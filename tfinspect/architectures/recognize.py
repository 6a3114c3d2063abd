"""Which known network a checkpoint without a graph holds, told from the names and shapes of its variables."""

from __future__ import annotations

import importlib
import re
import shlex
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from tfinspect.errors import UnrestoredVariablesError, UsageError, counted
from tfinspect.ir.dtypes import DType
from tfinspect.ir.shapes import compatible, format_shape

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from tfinspect.architectures.family import Family
    from tfinspect.ir.checkpoint import Checkpoint, VariableInfo
    from tfinspect.ir.graph import Graph

FAMILIES: Final = {
    "InceptionV1": "inception_v1",
    "InceptionV3": "inception_v3",
    "MobilenetV1": "mobilenet_v1",
    "MobilenetV2": "mobilenet_v2",
    **{f"resnet_{version}_{depth}": f"resnet_{version}" for version in ("v1", "v2") for depth in (50, 101, 152, 200)},
    **{f"vgg_{word}": "vgg" for word in ("a", "16", "19")},
}
"""The module that knows a network, by the scope that the network's variables stand in."""
_MARKS: Final = {
    "Mixed_3b/Branch_0/Conv2d_0a_1x1/weights": ("inception_v1", "Inception v1"),
    "Mixed_7c/Branch_0/Conv2d_0a_1x1/weights": ("inception_v3", "Inception v3"),
    "Conv2d_1_depthwise/depthwise_weights": ("mobilenet_v1", "MobileNet v1"),
    "expanded_conv/depthwise/depthwise_weights": ("mobilenet_v2", "MobileNet v2"),
    "block1/unit_1/bottleneck_v1/conv1/weights": ("resnet_v1", "ResNet v1"),
    "block1/unit_1/bottleneck_v2/conv1/weights": ("resnet_v2", "ResNet v2"),
    "fc6/weights": ("vgg", "VGG"),
}
"""By a variable that all networks of a module have: the module, and what they are called, whatever their scope is."""
_SCOPE: Final = re.compile(rf"(?<![^/])(?:{'|'.join(map(re.escape, FAMILIES))})(?=/)")
_PRODUCER = 134  # of TensorFlow 1.15: every op here is known to it and to all since
_MOST_SCOPES = 8  # a checkpoint of more copies of networks is looked at no further
_SHOWN = 8
_LEAVES: Final = frozenset(
    {"weights", "depthwise_weights", "pointwise_weights", "biases", "gamma", "beta", "moving_mean", "moving_variance"}
)


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
        strange: names of weights by which it would be another network: of more layers, or biases beside a norm.
        spare: names of other weights that the network does not need.
        other: name of one of those that may be the weights of a classifier, where none is at its place; else empty.
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
    strange: tuple[str, ...]
    spare: tuple[str, ...]
    other: str

    @property
    def is_whole(self) -> bool:
        """Whether the checkpoint has all that the network needs, and no layers that it has not."""
        return not self.missing and not self.wrong and not self.strange

    def __str__(self) -> str:
        """Return `Inception v3 (slim), 1001 classes, input 299x299 assumed`."""
        words = [f"{self.family.title}{f' {self.width:g}' if self.width != 1 else ''} (slim)"]
        instead = f" at its place, `{self.other}` may be one" if self.other else ""
        words.append(f"{self.classes} classes" if self.classes else f"no classifier{instead}")
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
    if size is not None and min(size) < 1:
        raise UsageError(f"no image is of the size {size[0]}x{size[1]}")
    best: tuple[int, Recognized] | None = None
    for scope, words, is_usual in _places(checkpoint):
        for word in words:
            found = _built(checkpoint, scope, _family(word), size if is_usual else None)
            if size is not None and not is_usual and found.is_whole:  # a size is no fault of what it may not be
                found = _built(checkpoint, scope, _family(word), size)
            score = found.wanted - 2 * len(found.missing) - len(found.strange)
            is_told = 2 * len(found.missing) <= found.wanted if is_usual else found.is_whole
            if is_told and (best is None or score > best[0]):
                best = score, found
            if is_usual and not found.strange and 10 * len(found.missing) < found.wanted:
                break  # the depth is that of its name
    return None if best is None else best[1]


def _places(checkpoint: Checkpoint) -> list[tuple[str, list[str], bool]]:
    """Return where networks may be: the scope, the words of those to try there, and whether the scope is slim's own."""
    own: dict[str, str] = {}
    others: dict[str, str] = {}
    ends = tuple(f"/{mark}" for mark in _MARKS)
    for name in checkpoint.variables:
        for match in _SCOPE.finditer(name):
            own.setdefault(name[: match.end()], match.group())
        if name.endswith(ends):
            mark = next(mark for mark in _MARKS if name.endswith(f"/{mark}"))
            others.setdefault(name.removesuffix(f"/{mark}"), _MARKS[mark][0])
    found = [(scope, [word, *_alike(FAMILIES[word], word)], True) for scope, word in own.items()][:_MOST_SCOPES]
    rest = [(scope, _alike(module), False) for scope, module in others.items() if scope not in own]
    return found + rest[:_MOST_SCOPES]


def _alike(module: str, but: str = "") -> list[str]:
    return [word for word, known in FAMILIES.items() if known == module and word != but]


def family_of(graph: Graph) -> Family | None:
    """Return the network whose names the layers of a graph have, or None; nothing else is looked at."""
    for node in graph.nodes:
        if node.op == "Conv2D":
            found = _SCOPE.search(node.name)
            if found is not None:
                return _family(found.group())
    for mark, (module, title) in _MARKS.items():
        # a layer fc6 is in other networks as well
        ends = (f"/{mark}", "/conv3/conv3_1/weights") if module == "vgg" else (f"/{mark}",)
        if all(any(node.name.endswith(end) for node in graph.nodes) for end in ends):
            return replace(_family(_alike(module)[0]), title=title)
    return None


def _family(word: str) -> Family:
    families: tuple[Family, ...] = importlib.import_module(f"tfinspect.architectures.{FAMILIES[word]}").FAMILIES
    return next(one for one in families if one.scope == word)


def _built(checkpoint: Checkpoint, scope: str, family: Family, size: tuple[int, int] | None) -> Recognized:
    from tfinspect.architectures._slim import Net
    from tfinspect.ir.graph import Graph, Versions

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
    spare = [name for name, info in variables.items() if info.role == "weight" and name not in net.wanted]
    strange = _strange(spare, net.wanted, scope, family)
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
        tuple(strange),
        tuple(name for name in spare if name not in set(strange)),
        "" if net.classes or not net.features else _classifier(variables, spare, net.features),
    )


def _strange(spare: Sequence[str], wanted: Iterable[str], scope: str, family: Family) -> list[str]:
    """Return the weights that change what a network computes: more of one of its layers, or further such layers."""
    known = {_layer(name) for name in wanted}
    return [
        name
        for name in spare
        if (_layer(name) in known and name.rpartition("/")[2] in _LEAVES)
        or (family.layers and name.startswith(f"{scope}/") and family.layers.fullmatch(name, len(scope) + 1))
    ]


def _layer(name: str) -> str:
    return name.rpartition("/")[0].removesuffix("/BatchNorm")


def _classifier(variables: Mapping[str, VariableInfo], spare: Sequence[str], features: int) -> str:
    """Return the first of some weights that could make classes of features; empty where there is none."""
    for name in spare:
        shape = variables[name].shape
        if len(shape) in (2, 4) and shape[-2] == features and all(n == 1 for n in shape[:-2]):
            return name
    return ""


def check_whole(checkpoint: Checkpoint, found: Recognized) -> None:
    """Refuse a checkpoint that does not hold all of the network that it looks like, or more layers than it has.

    Raises:
        UnrestoredVariablesError: variables are missing, of another shape or type, or too many; the first are named.
    """
    if found.is_whole:
        return
    rows = [f"{name}  (missing)" for name in found.missing]
    rows += [f"{name}  ({what})" for name, what in found.wrong.items()]
    rows += [f"{name}  (not in the published network)" for name in found.strange]
    lacks = f"lacks {len(found.missing):,} of its {counted(found.wanted, 'variable')}" if found.missing else ""
    differs = f"holds {len(found.wrong):,} of its {counted(found.wanted, 'variable')} in another shape or type"
    more = f"holds {counted(len(found.strange), 'variable')} that the published network has not"
    raise UnrestoredVariablesError(
        f"{checkpoint.path} looks like {found.family.title} (slim), but {lacks or (differs if found.wrong else more)}",
        details=rows[:_SHOWN] + ([f"... and {len(rows) - _SHOWN:,} more"] if len(rows) > _SHOWN else []),
        hint=f"list what it holds: tfinspect vars {shlex.quote(checkpoint.path)}",
        evidence={
            "path": checkpoint.path,
            "missing": list(found.missing),
            "differing": dict(found.wrong),
            "strange": list(found.strange),
        },
    )
