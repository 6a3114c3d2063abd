"""How photos reach a trunk: read off its graph, recorded with the model, given, or assumed and said to be."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

from tfinspect.api.labels import asset, folder_of, is_folder, text_of
from tfinspect.api.usual_pixels import HUB, UNKNOWN, usual
from tfinspect.errors import InputError, LimitError, UsageError
from tfinspect.formats import _atomic
from tfinspect.ir.dtypes import DType
from tfinspect.ir.shapes import format_shape
from tfinspect.learn.preprocess import METHODS, Recipe
from tfinspect.surgery.endpoints import find_inputs
from tfinspect.surgery.images import pixels, preprocessing
from tfinspect.surgery.shapes import TensorTypes

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tfinspect.api.load import PathLike
    from tfinspect.api.usual_pixels import Usual
    from tfinspect.ir.graph import Graph
    from tfinspect.ir.model import Model
    from tfinspect.ir.refs import TensorRef
    from tfinspect.ir.shapes import Shape
    from tfinspect.surgery.images import Pixels, Preprocessing

ASSET_NAME = "preprocess.json"
METADATA_KEY = "preprocess"
_IMAGE_RANK: Final = 4
_CHANNELS: Final = (1, 3)
_MOST_PIXELS = 1 << 24  # 4,096 x 4,096, several times what any network takes
_IMAGE_TYPES: Final = (DType.FLOAT, DType.HALF, DType.DOUBLE, DType.BFLOAT16, DType.UINT8)


@dataclass(frozen=True, slots=True)
class ImageEntry:
    """Where photos enter a graph.

    Attributes:
        recipe: what is done to pixels outside the graph.
        ready: the tensor that takes a batch of what the recipe gives, [batch, height, width, channels].
        dtype: its element type.
        decoder: where the graph itself decodes an image file, None where it does not.
        network: whose usual scaling was assumed, where one is known by its names; empty otherwise.
    """

    recipe: Recipe
    ready: TensorRef
    dtype: DType
    decoder: Pixels | None
    network: str = ""


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
    from_hub: bool = False,
) -> ImageEntry:
    """Find where photos enter a graph and what must be done to them before.

    Of several sources for the same fact what the caller gives comes first, then what the model has recorded, then what
    the graph does itself; where nothing says how pixels are scaled, what is usual for the network is assumed, and -1 to
    1 where its names are not known.

    Args:
        graph: without variables.
        outputs: the tensors that are wanted of it: bottleneck, or probabilities.
        inputs: where the photos enter, if the caller knows.
        size: (height, width) to resize to.
        mean: what is subtracted from each pixel, one number or one a channel.
        scale: what the difference is multiplied by, likewise.
        bgr: whether blue comes first.
        recorded: recipe kept with the model.
        from_hub: whether it is a module of TensorFlow Hub; see `is_hub`.

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
    known_as = HUB if from_hub else usual(graph)
    recipe = input_recipe(
        str(start),
        known.dtype,
        known.shape,
        inside=preprocessing(graph, types, start),
        size=size,
        mean=mean,
        scale=scale,
        bgr=bgr,
        recorded=recorded,
        known_as=known_as,
    )
    network = known_as.network if recipe.origin == "assumed" else ""
    return ImageEntry(recipe, start, known.dtype or DType.FLOAT, None, network)


def check_one_entry(inputs: Sequence[str]) -> None:
    """Refuse several places for images to enter at.

    Raises:
        UsageError: there are.
    """
    if len(inputs) > 1:
        raise UsageError("images enter at one tensor; --inputs is given several times")


def input_recipe(
    name: str,
    dtype: DType | None,
    shape: Shape,
    *,
    inside: Preprocessing | None = None,
    size: tuple[int, int] | None = None,
    mean: Sequence[float] | None = None,
    scale: Sequence[float] | None = None,
    bgr: bool | None = None,
    recorded: Recipe | None = None,
    known_as: Usual = UNKNOWN,
) -> Recipe:
    """Return what must be done to pixels before an input takes them; see `image_entry` for what comes first.

    Args:
        name: of the input, for messages.
        dtype: its element type.
        shape: [batch, height, width, channels], or without the batch.
        inside: what the model itself does to its input, where that is known.
        size: (height, width) to resize to.
        mean: what is subtracted from each pixel, one number or one a channel.
        scale: what the difference is multiplied by, likewise.
        bgr: whether blue comes first.
        recorded: recipe kept with the model.
        known_as: what is done to pixels where nothing says it, and how large images are.

    Raises:
        UsageError: no image is of that type or shape, or the size is neither known nor given.
        LimitError: the images are larger than any network takes.
    """
    if dtype not in _IMAGE_TYPES:
        raise UsageError(f"`{name}` takes {dtype}, which no image is")
    of_any_size = recorded.size is None if recorded is not None else inside is not None and inside.size is not None
    open_size = known_as.size if shape is not None and None in shape[-3:-1] else None
    wanted = size or (open_size if recorded is None else recorded.size)
    found, channels = _sizes(name, shape, wanted, any_size=of_any_size)
    if recorded is not None:
        if recorded.channels != channels:
            raise UsageError(
                f"`{name}` takes {channels} channels, its recorded preprocessing is for {recorded.channels}"
            )
        recipe = replace(recorded, size=found)
    elif dtype is DType.UINT8 or (inside is not None and (inside.mean != (0.0,) or inside.scale != (1.0,))):
        by = HUB.scale if dtype is not DType.UINT8 and inside is not None and _takes_shares(inside) else (1.0,)
        recipe = Recipe(found, scale=by, channels=channels, origin="graph")  # the graph scales by itself
    else:
        way = known_as if len(known_as.mean) in (1, channels) else UNKNOWN
        recipe = Recipe(found, mean=way.mean, scale=way.scale, channels=channels, bgr=way.bgr, origin="assumed")
    if mean is not None or scale is not None or bgr is not None:
        recipe = replace(
            recipe,
            mean=_per_channel("--mean", mean if mean is not None else (0.0,), channels),
            scale=_per_channel("--scale", scale if scale is not None else (1.0,), channels),
            bgr=recipe.bgr if bgr is None else bgr,
            origin="given",
        )
    return recipe


def _takes_shares(inside: Preprocessing) -> bool:
    """Whether what a graph does to its input shows that it takes pixels from 0 to 1, not to 255: x * 2 - 1, say."""
    return all(0 <= mean <= 1 for mean in inside.mean) and all(abs(scale) >= 1 for scale in inside.scale)


def is_hub(model: Model) -> bool:
    """Whether a model is a module of TensorFlow Hub of the first kind."""
    return model.facts.get("hub", "").startswith("TF1")


def carried(
    model: Model, outputs: Sequence[TensorRef], inputs: Sequence[TensorRef], *, as_graph: bool = False
) -> Recipe | None:
    """Return the recipe to keep with what is made from a model, for the tensors it starts at.

    An assumption is no knowledge, and is not kept; what is usual for a network known by its names is, for in another
    format it may have lost them.

    Args:
        model: what it is made from.
        outputs: what is wanted of it.
        inputs: where the new model starts, in the names of the old.
        as_graph: the new model is a graph: what it does itself can be read off it again, and need not be kept.

    Raises:
        InputError: a recipe stands beside the model and cannot be read.
    """
    recorded = recipe_beside(model.path) if model.path else None
    if model.graph is None:
        return recorded
    try:
        entry = image_entry(model.graph, outputs, recorded=recorded, from_hub=is_hub(model))
    except (UsageError, LimitError):
        return None  # it takes no images, or does not say of which size
    if entry.decoder is not None and entry.decoder.contents in inputs:
        return recorded
    if entry.decoder is not None and entry.decoder.ref in inputs:
        return None if as_graph else Recipe(None, "", channels=entry.recipe.channels, origin="graph")
    if entry.ready not in inputs or (entry.recipe.origin == "assumed" and not entry.network):
        return None
    return None if as_graph and recorded is None and entry.decoder is None else entry.recipe


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


def _sizes(
    name: str, shape: Shape, wanted: tuple[int, int] | None, *, any_size: bool
) -> tuple[tuple[int, int] | None, int]:
    known = shape is not None and len(shape) in (_IMAGE_RANK - 1, _IMAGE_RANK)
    height, width, channels = shape[-3:] if shape is not None and known else (None, None, _CHANNELS[1])
    if channels not in (*_CHANNELS, None):
        raise UsageError(f"`{name}` takes {format_shape(shape)}; images have 1 or 3 channels in the last place")
    if wanted is not None:
        if (height not in (None, wanted[0])) or (width not in (None, wanted[1])):
            raise UsageError(f"`{name}` takes {format_shape(shape)}, not images of {wanted[0]} x {wanted[1]}")
        height, width = wanted
    if height is not None and width is not None:
        if height * width > _MOST_PIXELS:
            raise LimitError(
                f"`{name}` takes images of {height:,} x {width:,}; more than {_MOST_PIXELS:,} pixels are not made",
                evidence={"name": name, "height": height, "width": width},
            )
        return (height, width), channels or _CHANNELS[1]
    if any_size:
        return None, channels or _CHANNELS[1]
    raise UsageError(
        f"the graph does not say what size of images `{name}` takes ({format_shape(shape)})",
        hint="give it: --size 224 or --size 224x224",
        evidence={"name": name},
    )


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
    text = asset(model, ASSET_NAME) if is_folder(model) else text_of(recipe_path(model))
    return None if text is None else parse_recipe(text, str(where(model)))


def where(model: PathLike) -> Path:
    """Return where the recipe of a model stands: beside a file, or in the assets of a folder."""
    return folder_of(model) / "assets" / ASSET_NAME if is_folder(model) else recipe_path(model)


def write_recipe(model: PathLike, recipe: Recipe, *, force: bool) -> Path:
    """Write a recipe beside a model file and return where.

    Raises:
        OutputExistsError: there is one and `force` is not set.
        OutputError: it cannot be written.
    """
    place = recipe_path(model)
    _atomic.write_file(place, [format_recipe(recipe).encode(), b"\n"], force=force)
    return place


def parse_recipe(text: str, source: str) -> Recipe:
    """Read a recipe from its JSON text.

    Raises:
        InputError: it is none; `source` is named.
    """
    try:
        found = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{source} is not JSON: {error}", evidence={"path": source}) from None
    if not isinstance(found, dict):
        raise InputError(f"{source} holds no preprocessing", evidence={"path": source})
    return Recipe.from_json(found, source)


def format_recipe(recipe: Recipe) -> str:
    """Return a recipe as JSON text."""
    return json.dumps(recipe.to_json())
