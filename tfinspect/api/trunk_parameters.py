"""A trunk opened for learning: from prepared images to the bottleneck, and which of its constants are to be learned."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from tfinspect.api.load import open_for_images
from tfinspect.api.locate import locate
from tfinspect.api.prepare import fold, model_graph, prepare
from tfinspect.api.recipe import check_one_entry, image_entry, is_hub, recipe_beside
from tfinspect.api.usual_pixels import assumption
from tfinspect.errors import IncompatibleGraftError, UsageError
from tfinspect.ir.refs import TensorRef
from tfinspect.ir.shapes import format_shape
from tfinspect.learn.photo_store import Entry
from tfinspect.surgery.batch import set_batch
from tfinspect.surgery.modernize import modernize
from tfinspect.surgery.prune import check_ref
from tfinspect.surgery.shapes import TensorTypes
from tfinspect.surgery.trainable import behind, find_parameters, matching

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tfinspect.api.load import PathLike
    from tfinspect.ir.dtypes import DType
    from tfinspect.ir.graph import Graph
    from tfinspect.ir.model import Model
    from tfinspect.ir.shapes import Shape
    from tfinspect.surgery.trainable import Parameters

_FLAT, _POOLED = 2, 4  # ranks of a bottleneck that a dense layer can follow


@dataclass(frozen=True, slots=True)
class Layers:
    """Which layers are trained; without any of these, all of them.

    Attributes:
        start: those after this tensor.
        scopes: those in these scopes, or whose weights fit these patterns.
        everything: all.
        head_only: none of the trunk.
    """

    start: str | None = None
    scopes: tuple[str, ...] = ()
    everything: bool = False
    head_only: bool = False

    def check(self) -> None:
        """Refuse two choices at once.

        Raises:
            UsageError: more than one is made.
        """
        flags = {
            "--from": self.start is not None, "--scope": bool(self.scopes), "--all": self.everything,
            "--head-only": self.head_only,
        }  # fmt: skip
        given = [flag for flag, is_given in flags.items() if is_given]
        if len(given) > 1:
            raise UsageError(f"`{given[0]}` and `{given[1]}` both say which layers are trained; give one")

    def of(self, graph: Graph, parameters: Parameters) -> list[str]:
        """Return the names of the constants that are meant.

        Raises:
            NameNotFoundError: a tensor or scope is not there.
            UsageError: no weights come after the tensor.
        """
        if self.head_only:
            return []
        if self.start is not None:
            return behind(graph, parameters, TensorRef.parse(self.start))
        if self.scopes:
            return matching(parameters, self.scopes)
        return [t.name for t in parameters.trainable]


@dataclass(frozen=True, slots=True)
class OpenTrunk:
    """A trunk ready to be trained.

    Attributes:
        model: as found, variables folded in.
        graph: from `start` to the bottleneck, batch free, ops of 2015 made new.
        start: a Placeholder that takes a batch of prepared images.
        bottleneck: what a head takes.
        width: number of features.
        entry: how images reach `start`.
        parameters: what can be learned.
        notes: what was concluded or assumed, for the user.
    """

    model: Model
    graph: Graph
    start: TensorRef
    bottleneck: TensorRef
    width: int
    entry: Entry
    parameters: Parameters
    notes: tuple[str, ...]


def open_trainable(
    path: PathLike | Graph | Model,
    bottleneck: str,
    *,
    inputs: Sequence[str] = (),
    size: tuple[int, int] | None = None,
    mean: Sequence[float] | None = None,
    scale: Sequence[float] | None = None,
    bgr: bool | None = None,
    settings: Sequence[str] = (),
) -> OpenTrunk:
    """Open a trunk.

    Args:
        path: a graph, or anything `open_graph` opens.
        bottleneck: tensor a head takes, or the key of a signature's output.
        inputs: the tensor that takes images, optionally with its shape; none: what the graph itself says.
        size: (height, width) of images, where the graph does not say.
        mean: what is subtracted from each pixel.
        scale: what the difference is multiplied by.
        bgr: whether blue comes first.
        settings: `NAME=VALUE`, placeholders to fix.

    Raises:
        NodeNotFoundError: the bottleneck is not in the graph.
        IncompatibleGraftError: the bottleneck is not one vector of float32 an image.
        UsageError: no input takes images, or no weights stand before the bottleneck.
    """
    found, ref = locate(open_for_images(path, size), bottleneck)
    check_ref(model_graph(found), ref)
    recorded = recipe_beside(found.path) if found.path and not inputs else None
    notes = list[str]()
    check_one_entry(inputs)
    if inputs:
        begun = prepare(found, inputs=inputs, outputs=[str(ref)], settings=settings)
        notes, settings = [f"fixed {setting}" for setting in begun.settings], ()
        found = replace(found, graph=begun.graph, checkpoint=None)
    folded = fold(found, [ref])
    model = replace(found, graph=folded, checkpoint=None)
    whole = prepare(model, outputs=[str(ref)], settings=settings)
    place = image_entry(
        whole.graph, [ref], size=size, mean=mean, scale=scale, bgr=bgr, recorded=recorded, from_hub=is_hub(found)
    )
    if place.recipe.size is None:
        raise UsageError("the graph takes images of any size, and a batch needs one", hint="--size HEIGHTxWIDTH")
    ready = prepare(model, inputs=[str(place.ready)], outputs=[str(ref)], settings=settings)
    graph, _ = modernize(ready.graph)
    graph, taken = set_batch(graph, ready.inputs, "dynamic")
    if len(taken) != 1:
        others = [spec.name for spec in taken if spec.ref != ready.held.get(place.ready)]
        raise UsageError(
            f"`{ref}` needs more than images: `{others[0]}`",
            hint=f"fix it: --set {others[0]}=VALUE",
            details=others[1:],
        )
    start = taken[0].ref
    kind = TensorTypes(graph).type_of(ref)
    parameters = find_parameters(graph, [start], [ref])
    own = {node.name for node in folded.nodes}  # what modernising added is no weight of the model
    parameters = replace(parameters, trainable=tuple(t for t in parameters.trainable if t.name in own))
    notes += [*whole.notes, *(f"fixed {setting}" for setting in ready.settings)]
    if place.recipe.origin == "assumed":
        notes.append(assumption(place.recipe, place.network))
    decoder = None if place.decoder is None else whole.graph.node(place.decoder.ref.name)
    accurate = decoder is not None and decoder.text("dct_method") == "INTEGER_ACCURATE"
    return OpenTrunk(
        model,
        graph,
        start,
        ref,
        _width(ref, kind.dtype, kind.shape),
        Entry(place.recipe, place.dtype.numpy, not accurate),
        parameters,
        tuple(notes),
    )


def _width(ref: TensorRef, dtype: DType | None, shape: Shape) -> int:
    flat = shape is not None and len(shape) == _FLAT
    pooled = shape is not None and len(shape) == _POOLED and shape[1:3] == (1, 1)
    width = shape[-1] if shape is not None and (flat or pooled) else None
    if width is None or str(dtype) != "float32":
        raise IncompatibleGraftError(
            f"`{ref}` is {'of unknown type' if dtype is None else dtype} {format_shape(shape)}; "
            "a head takes float32, one row of features an image",
            hint="choose another: tfinspect nodes GRAPH --only bottlenecks",
            evidence={"bottleneck": str(ref), "shape": None if shape is None else list(shape)},
        )
    return width
