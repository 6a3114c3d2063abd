"""How photos reach a trunk: read off its graph, recorded with the model, given, or assumed and said to be."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

from tfinspect.errors import FileMissingError, InputError, UsageError
from tfinspect.ir.dtypes import DType
from tfinspect.ir.shapes import format_shape
from tfinspect.learn.preprocess import METHODS, Recipe
from tfinspect.surgery.endpoints import find_inputs
from tfinspect.surgery.images import pixels, preprocessing
from tfinspect.surgery.shapes import TensorTypes

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tfinspect.api.load import PathLike
    from tfinspect.ir.graph import Graph
    from tfinspect.ir.refs import TensorRef
    from tfinspect.ir.shapes import Shape
    from tfinspect.surgery.images import Pixels, Preprocessing

ASSET_NAME = "preprocess.json"
METADATA_KEY = "preprocess"
_IMAGE_RANK: Final = 4
_CHANNELS: Final = (1, 3)
_HALF_RANGE = 127.5  # the slim networks take pixels from -1 to 1
_CAFFE_MEAN = (103.939, 116.779, 123.68)  # blue, green, red
_CAFFE_SIZE = (224, 224)
_CAFFE_LAYERS: Final = (
    ("block1_conv1", "block1_conv2", "block1_pool"),  # VGG16, VGG19
    ("conv1_conv", "conv1_bn", "conv2_block1_out"),  # ResNet50, 101 and 152; their second version has no conv1_bn
    ("conv1", "bn_conv1", "res2a_branch2a"),  # ResNet50 until Keras 2.2
)
"""Layers of networks in keras.applications that take blue, green, red less their mean, as Caffe did."""
_IMAGE_TYPES: Final = (DType.FLOAT, DType.HALF, DType.DOUBLE, DType.BFLOAT16, DType.UINT8)


@dataclass(frozen=True, slots=True)
class ImageEntry:
    """Where photos enter a graph.

    Attributes:
        recipe: what is done to pixels outside the graph.
        ready: the tensor that takes a batch of what the recipe gives, [batch, height, width, channels].
        dtype: its element type.
        decoder: where the graph itself decodes an image file, None where it does not.
    """

    recipe: Recipe
    ready: TensorRef
    dtype: DType
    decoder: Pixels | None


def image_entry(
    graph: Graph,
    outputs: Sequence[TensorRef],
    *,
    inputs: Sequence[TensorRef] = (),
    size: tuple[int, int] | None = None,
    mean: Sequence[float] | None = None,
    scale: Sequence[float] | None = None,
    bgr: bool | None = None,
    recorded: Recipe | None = None,
) -> ImageEntry:
    """Find where photos enter a graph and what must be done to them before.

    Of several sources for the same fact what the caller gives comes first, then what the model has recorded, then what
    the graph does itself; where nothing says how pixels are scaled, it is assumed: as Caffe did for VGG16 and ResNet50
    of keras.applications, told by their layers' names, and from -1 to 1 for others.

    Args:
        graph: without variables.
        outputs: the tensors that are wanted of it: bottleneck, or probabilities.
        inputs: where the photos enter, if the caller knows.
        size: (height, width) to resize to.
        mean: what is subtracted from each pixel, one number or one a channel.
        scale: what the difference is multiplied by, likewise.
        bgr: whether blue comes first.
        recorded: recipe kept with the model.

    Raises:
        UsageError: no input takes images, or their size is neither known nor given.
    """
    types = TensorTypes(graph)
    decoder = None if inputs else pixels(graph, types)
    if decoder is not None and any(ref == decoder.contents for ref in _starts(graph, types, outputs)):
        done = preprocessing(graph, types, decoder.ref)
        if done is not None and done.method in METHODS:
            return _behind_decoder(types, decoder, done, size)
    start = inputs[0] if inputs else _image_input(graph, types, outputs)
    known = types.type_of(start)
    from_caffe = recorded is None and _is_from_caffe(graph)
    usual = recorded.size if recorded is not None else _CAFFE_SIZE if from_caffe and _is_open(known.shape) else None
    height, width, channels = _sizes(start, known.shape, size or usual)
    if known.dtype not in _IMAGE_TYPES:
        raise UsageError(f"`{start}` takes {known.dtype}, which no image is")
    inside = preprocessing(graph, types, start)
    if recorded is not None:
        recipe = replace(recorded, size=(height, width), channels=channels)
    elif known.dtype is DType.UINT8 or (inside is not None and (inside.mean != (0.0,) or inside.scale != (1.0,))):
        recipe = Recipe((height, width), channels=channels, origin="graph")  # the graph scales by itself
    elif from_caffe and channels == len(_CAFFE_MEAN):
        recipe = Recipe((height, width), mean=_CAFFE_MEAN, bgr=True, origin="assumed")
    else:
        half = (_HALF_RANGE,)
        recipe = Recipe((height, width), mean=half, scale=(1 / _HALF_RANGE,), channels=channels, origin="assumed")
    if mean is not None or scale is not None or bgr is not None:
        recipe = replace(
            recipe,
            mean=_per_channel("--mean", mean if mean is not None else (0.0,), channels),
            scale=_per_channel("--scale", scale if scale is not None else (1.0,), channels),
            bgr=recipe.bgr if bgr is None else bgr,
            origin="given",
        )
    return ImageEntry(recipe, start, known.dtype, None)


def _behind_decoder(
    types: TensorTypes, decoder: Pixels, done: Preprocessing, size: tuple[int, int] | None
) -> ImageEntry:
    channels = done.channels or decoder.channels or _CHANNELS[1]
    recipe = Recipe(
        size or done.size,
        done.method,
        done.align_corners,
        done.half_pixel_centers,
        done.mean,
        done.scale,
        channels,
        origin="graph" if size is None else "given",
    )
    return ImageEntry(recipe, done.ref, types.type_of(done.ref).dtype or DType.FLOAT, decoder)


def _starts(graph: Graph, types: TensorTypes, outputs: Sequence[TensorRef]) -> list[TensorRef]:
    return [end.ref for end in find_inputs(graph, types, list(outputs) or None) if end.kind != "phase"]


def _image_input(graph: Graph, types: TensorTypes, outputs: Sequence[TensorRef]) -> TensorRef:
    starts = _starts(graph, types, outputs)
    images = [ref for ref in starts if len(types.type_of(ref).shape or ()) == _IMAGE_RANK]
    open_ones = [ref for ref in starts if types.type_of(ref).shape is None and types.type_of(ref).dtype in _IMAGE_TYPES]
    found = images or open_ones
    if len(found) == 1:
        return found[0]
    raise UsageError(
        "several inputs take images" if found else "no input takes images",
        details=[
            f"{ref}  {types.type_of(ref).dtype} {format_shape(types.type_of(ref).shape)}" for ref in (found or starts)
        ],
        hint="name the one that does: --inputs T[1,HEIGHT,WIDTH,3]",
        evidence={"inputs": [str(ref) for ref in starts]},
    )


def _sizes(ref: TensorRef, shape: Shape, wanted: tuple[int, int] | None) -> tuple[int, int, int]:
    dims = shape if shape is not None and len(shape) == _IMAGE_RANK else (None, None, None, _CHANNELS[1])
    height, width, channels = dims[1:]
    if channels not in (*_CHANNELS, None):
        raise UsageError(f"`{ref}` takes {format_shape(shape)}; images have 1 or 3 channels in the last place")
    if wanted is not None:
        if (height not in (None, wanted[0])) or (width not in (None, wanted[1])):
            raise UsageError(f"`{ref}` takes {format_shape(shape)}, not images of {wanted[0]} x {wanted[1]}")
        height, width = wanted
    if height is None or width is None:
        raise UsageError(
            f"the graph does not say what size of images `{ref}` takes ({format_shape(shape)})",
            hint="give it: --size 224 or --size 224x224",
            evidence={"name": str(ref)},
        )
    return height, width, channels or _CHANNELS[1]


def _is_from_caffe(graph: Graph) -> bool:
    """Whether a graph has the layers of a network whose weights Keras took from Caffe, told by their names."""
    return any(all(name in graph for name in names) for names in _CAFFE_LAYERS)


def _is_open(shape: Shape) -> bool:
    return shape is None or (len(shape) == _IMAGE_RANK and None in shape[1:3])


def _per_channel(flag: str, values: Sequence[float], channels: int) -> tuple[float, ...]:
    found = tuple(float(v) for v in values)
    if len(found) not in (1, channels):
        raise UsageError(f"{flag} takes one number, or {channels}, not {len(found)}")
    return found


def recipe_path(model: PathLike) -> Path:
    """Return where the recipe of a model file stands."""
    place = Path(model)
    return place.with_name(f"{place.stem}.{ASSET_NAME}")


def recipe_beside(model: PathLike) -> Recipe | None:
    """Return the recipe kept with a `.pb` (beside it) or a SavedModel (in its assets), or None.

    Raises:
        InputError: there is one, and it cannot be read.
    """
    place = Path(model)
    file = place / "assets" / ASSET_NAME if place.is_dir() else recipe_path(place)
    if not file.is_file():
        return None
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise FileMissingError(f"{file} cannot be read: {error}", evidence={"path": str(file)}) from None
    return parse_recipe(text, str(file))


def parse_recipe(text: str, where: str) -> Recipe:
    """Read a recipe from its JSON text.

    Raises:
        InputError: it is none; `where` is named.
    """
    try:
        found = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{where} is not JSON: {error}", evidence={"path": where}) from None
    if not isinstance(found, dict):
        raise InputError(f"{where} holds no preprocessing", evidence={"path": where})
    return Recipe.from_json(found, where)


def format_recipe(recipe: Recipe) -> str:
    """Return a recipe as JSON text."""
    return json.dumps(recipe.to_json())
