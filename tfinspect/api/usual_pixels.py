"""How the pixels of known networks are scaled, where neither the model nor the caller says it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from tfinspect.architectures.recognize import family_of

if TYPE_CHECKING:
    from tfinspect.architectures.family import Pixels
    from tfinspect.ir.graph import Graph
    from tfinspect.learn.preprocess import Recipe


@dataclass(frozen=True, slots=True)
class Usual:
    """What is usually done to pixels before a network: (pixel - mean) * scale.

    Attributes:
        network: what the network is called; empty where it is not known.
        mean: one number, or one a channel.
        scale: likewise.
        bgr: whether blue comes first.
        size: (height, width) of the images, where a graph leaves it open; None where networks of the name differ.
    """

    network: str
    mean: tuple[float, ...]
    scale: tuple[float, ...]
    bgr: bool = False
    size: tuple[int, int] | None = None


_HALF_RANGE: Final = (127.5,)
_FACTOR: Final = (1 / 127.5,)
UNKNOWN: Final = Usual("", _HALF_RANGE, _FACTOR)
"""Most networks of TensorFlow take pixels from -1 to 1."""
HUB: Final = Usual("modules of TensorFlow Hub", (0.0,), (1 / 255,))
"""Their signatures for images ask for pixels from 0 to 1."""
_CAFFE: Final = Usual("networks from Caffe", (103.939, 116.779, 123.68), (1.0,), bgr=True, size=(224, 224))
_CAFFE_LAYERS: Final = (
    ("block1_conv1", "block1_conv2", "block1_pool"),  # VGG16, VGG19
    ("conv1_conv", "conv1_bn", "conv2_block1_out"),  # ResNet50, 101 and 152; their second version has no conv1_bn
    ("conv1", "bn_conv1", "res2a_branch2a"),  # ResNet50 until Keras 2.2
)
"""Layers of networks in keras.applications that take blue, green, red less their mean, as Caffe did."""
_SLIM: Final[dict[Pixels, tuple[tuple[float, ...], tuple[float, ...]]]] = {
    "half range": (_HALF_RANGE, _FACTOR),
    "less mean": ((123.68, 116.78, 103.94), (1.0,)),
}


def usual(graph: Graph) -> Usual:
    """Return what is usually done to pixels before a graph, told by the names of its nodes."""
    if any(all(name in graph for name in names) for names in _CAFFE_LAYERS):
        return _CAFFE
    family = family_of(graph)
    if family is None:
        return UNKNOWN
    return Usual(f"{family.title} (slim)", *_SLIM[family.pixels])


def formula(recipe: Recipe) -> str:
    """Return how a recipe scales pixels, such as `(pixel - 127.5) / 127.5`."""
    if (recipe.mean, recipe.scale) == (_HALF_RANGE, _FACTOR):
        return "(pixel - 127.5) / 127.5"
    if (recipe.mean, recipe.scale, recipe.bgr) == (HUB.mean, HUB.scale, HUB.bgr):
        return "pixel / 255"
    mean, scale = (
        f"({', '.join(f'{v:g}' for v in vs)})" if len(vs) > 1 else f"{vs[0]:g}" for vs in (recipe.mean, recipe.scale)
    )
    order = ", blue first," if recipe.bgr else ""
    return f"pixel - {mean}{order}" if recipe.scale == (1.0,) else f"(pixel - {mean}) * {scale}{order}"


def assumption(recipe: Recipe, network: str) -> str:
    """Say what is assumed about pixels, and for which network that is usual."""
    why = f", as is usual for {network}" if network else ""
    return f"the graph does not say how pixels are scaled: {formula(recipe)} is assumed{why}; see --mean"
