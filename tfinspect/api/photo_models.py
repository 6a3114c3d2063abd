"""Models that take photos and give class probabilities, opened so that all of them are fed and asked alike."""

from __future__ import annotations

import contextlib
import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Literal

from tfinspect import formats, runtimes
from tfinspect.api import proof
from tfinspect.api.labels import METADATA_KEY as LABELS_KEY
from tfinspect.api.labels import labels_beside, parse_labels
from tfinspect.api.load import open_for_images
from tfinspect.api.locate import DEFAULT_SIGNATURE
from tfinspect.api.prepare import prepare
from tfinspect.api.recipe import METADATA_KEY as RECIPE_KEY
from tfinspect.api.recipe import carried, image_entry, input_recipe, is_hub, parse_recipe, recipe_beside
from tfinspect.errors import NameNotFoundError, UsageError
from tfinspect.ir.dtypes import DType
from tfinspect.ir.refs import parse_shaped
from tfinspect.ir.shapes import format_shape
from tfinspect.surgery.ops import DECODERS
from tfinspect.surgery.shapes import TensorTypes

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    import numpy.typing as npt

    from tfinspect.api.load import PathLike
    from tfinspect.api.prepare import Prepared
    from tfinspect.api.recipe import ImageEntry
    from tfinspect.ir.graph import Graph
    from tfinspect.ir.model import Model
    from tfinspect.ir.runner import Runner
    from tfinspect.ir.shapes import Shape
    from tfinspect.ir.signature import Signature, TensorSpec
    from tfinspect.learn.preprocess import Recipe

    Array = npt.NDArray[Any]

Activation = Literal["softmax", "sigmoid", "log-softmax", "none", "unknown"]
_ACTIVATIONS: Final[Mapping[str, Activation]] = {
    "Softmax": "softmax", "Sigmoid": "sigmoid", "Logistic": "sigmoid", "LogSoftmax": "log-softmax"
}  # fmt: skip
_IMAGE, _SINGLE = 4, 3  # ranks of a batch of images, and of one
_CHANNELS: Final = (1, 3)


@dataclass(frozen=True, slots=True)
class Way:
    """How photos get into a model.

    Attributes:
        kind: "values": prepared by the recipe; "bytes": as the file holds them.
        name: of the tensor that is fed.
        dtype: its element type.
        recipe: what is done to pixels; None where the model decodes.
        rank: of the tensor: a batch of images has 4, one image 3; a batch of files 1, one file 0.
        batch: whether several images may be fed at once.
        first: whether the channels come before height and width.
        decoded: where bytes enter, the tensor that takes pixels instead; empty where there is none.
        channels: 1 or 3.
    """

    kind: Literal["values", "bytes"]
    name: str
    dtype: DType
    recipe: Recipe | None
    rank: int
    batch: bool = False
    first: bool = False
    decoded: str = ""
    channels: int = 3


@dataclass(frozen=True, slots=True)
class PhotoModel:
    """A model, ready to be asked.

    Attributes:
        path: as the caller wrote it.
        runner: makes what runs it.
        way: how photos get in.
        output: name of the tensor that is asked for.
        activation: what makes it, "none" where it ends in logits, "unknown" where that cannot be seen.
        labels: of the classes, in order; may be empty.
        always: values that are fed in any case, such as a phase flag.
        notes: what was concluded, in words.
        runs_on: what runs it.
    """

    path: str
    runner: Callable[[], Runner]
    way: Way
    output: str
    activation: Activation
    labels: tuple[str, ...] = ()
    always: Mapping[str, Array] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    runs_on: str = "TensorFlow"


@dataclass(frozen=True, slots=True, kw_only=True)
class Wishes:
    """What the caller says about a model's ends and its preprocessing; see `predict`."""

    inputs: Sequence[str] = ()
    outputs: Sequence[str] = ()
    settings: Sequence[str] = ()
    size: tuple[int, int] | None = None
    mean: Sequence[float] | None = None
    scale: Sequence[float] | None = None
    bgr: bool | None = None

    def recipe_words(self) -> dict[str, Any]:
        """Return what the caller says of preprocessing."""
        return {"size": self.size, "mean": self.mean, "scale": self.scale, "bgr": self.bgr}


@contextlib.contextmanager
def open_photo_model(path: PathLike, wishes: Wishes) -> Iterator[PhotoModel]:
    """Open whatever takes photos: a graph, a checkpoint with its graph, a SavedModel or an ONNX file.

    Raises:
        InputError: it cannot be read.
        UsageError: input or output must be chosen, or it takes no images.
        RuntimeUnavailableError: the runtime it needs is not installed.
    """
    for flag, names in (("--inputs", wishes.inputs), ("--outputs", wishes.outputs)):
        if len(names) > 1:
            raise UsageError(f"one tensor is expected at {flag}, not {len(names)}", evidence={"names": list(names)})
    kind = formats.identify(path).name
    if kind == "onnx":
        yield _onnx(os.fspath(path), wishes)
    elif kind == "saved_model":
        yield _saved_model(os.fspath(path), wishes)
    else:
        model = open_for_images(path, wishes.size)
        ready = prepare(model, inputs=wishes.inputs, outputs=wishes.outputs, settings=wishes.settings)
        with proof.reference_of(model) as reference:
            yield _graph(os.fspath(path), ready, reference.runner, wishes)


# -- graphs ------------------------------------------------------------------------------------------------------------


def _graph(path: str, ready: Prepared, runner: Callable[[], Runner], wishes: Wishes) -> PhotoModel:
    output = _only({str(spec.ref): spec for spec in ready.outputs}, path)
    ref = next(spec.ref for spec in ready.outputs if str(spec.ref) == output)
    starts = [parse_shaped(text)[0] for text in wishes.inputs]
    way, used = _way_into(ready, [ready.held.get(start, start) for start in starts], [ref], wishes)
    others = [spec for spec in ready.inputs if ready.held[spec.ref] not in used]
    if others:
        raise UsageError(
            f"{path} takes more than photos: `{others[0].ref}` must be fed too",
            details=[f"{spec.ref}  {spec.dtype} {format_shape(spec.shape)}" for spec in others],
            hint=f"fix it: --set {others[0].ref.name}=VALUE, or start behind it: --inputs T",
            evidence={"inputs": [str(spec.ref) for spec in others]},
        )
    always = proof.reference_feeds([{}], ready)[0]
    op = proof.producing_op(ready.graph, ref)
    activation = _ACTIVATIONS.get(op, "softmax" if proof.logits_of(ready, ref) is not None else "none")
    return PhotoModel(
        path,
        runner,
        way,
        output,
        activation,
        labels_beside(path),
        always,
        (*ready.notes, *(f"fixed {setting}" for setting in ready.settings)),
    )


def _way_into(ready: Prepared, starts: Sequence[Any], outputs: Sequence[Any], wishes: Wishes) -> tuple[Way, list[Any]]:
    """Return how photos get into a graph, in the names of the file, and the inputs of the graph that are fed so."""
    names = {str(held): str(ref) for ref, held in ready.held.items()}
    types = TensorTypes(ready.graph)
    strings = [spec for spec in ready.inputs if spec.dtype is DType.STRING]
    start = starts[0] if starts else None
    if len(strings) == 1 and start in (None, ready.held[strings[0].ref]):
        _refuse_recipe(wishes, str(strings[0].ref))
        entry = None
        with contextlib.suppress(UsageError):  # decoded in a function or loop: only the bytes can be fed
            entry = image_entry(ready.graph, outputs)
        word = str(strings[0].ref)
        _refuse_text(ready.graph, word)
        if entry is None or entry.decoder is None:
            return _bytes(word, strings[0].shape, wishes), [ready.held[strings[0].ref]]
        decoded, channels = str(entry.decoder.ref), entry.recipe.channels
        way = Way("bytes", word, DType.STRING, entry.recipe, 0, decoded=decoded, channels=channels)
        return way, [ready.held[strings[0].ref]]
    given = [parse_shaped(text)[0] for text in wishes.inputs]
    if given:  # elsewhere than the model's own images enter, what is recorded for those does not hold
        recorded = carried(ready.model, [spec.ref for spec in ready.outputs], given)
    else:
        recorded = recipe_beside(ready.model.path) if ready.model.path else None
    shape = None if start is None else types.type_of(start).shape
    if start is not None and shape is not None and len(shape) == _SINGLE:
        return _values(names.get(str(start), str(start)), types.type_of(start).dtype, shape, wishes, recorded), [start]
    entry = image_entry(ready.graph, outputs, inputs=starts, recorded=recorded, **wishes.recipe_words())
    name = names.get(str(entry.ready), str(entry.ready))
    return _entered(entry, name, types.type_of(entry.ready).shape), [entry.ready]


def _entered(entry: ImageEntry, name: str, shape: Shape) -> Way:
    free = shape is None or shape[0] is None
    recipe = entry.recipe
    return Way("values", name, entry.dtype, recipe, _IMAGE, free and recipe.size is not None, channels=recipe.channels)


# -- SavedModels and ONNX ----------------------------------------------------------------------------------------------


def _saved_model(path: str, wishes: Wishes) -> PhotoModel:
    model = formats.open_model(path)
    signature = _signature(model, path)
    spec = _chosen(signature.inputs, wishes.inputs, path, "input")
    word = spec.key or spec.name
    recorded = recipe_beside(path)
    if spec.dtype is DType.STRING:
        if model.graph is not None:
            _refuse_text(model.graph, word)
        way = _bytes(word, spec.shape, wishes)
    elif model.graph is not None and spec.ref.name in model.graph and len(spec.shape or ()) in (0, _IMAGE):
        entry = image_entry(
            model.graph, (), inputs=[spec.ref], recorded=recorded, from_hub=is_hub(model), **wishes.recipe_words()
        )
        way = _entered(entry, word, spec.shape)
    else:
        way = _values(word, spec.dtype, spec.shape, wishes, recorded)
    outputs = {entry.key or entry.name: entry for entry in signature.outputs}
    output = _named(wishes.outputs, outputs, signature.outputs, path) or _only(outputs, path)
    return PhotoModel(
        path,
        lambda: runtimes.tensorflow_saved_model(path, signature.name),
        way,
        output,
        _activation_in(model, outputs[output]),
        labels_beside(path),
    )


def _activation_in(model: Model, spec: TensorSpec) -> Activation:
    graph = model.graph
    if graph is None or spec.ref.name not in graph:
        return "unknown"
    op = proof.producing_op(graph, spec.ref)
    if op in {"PartitionedCall", "StatefulPartitionedCall"}:
        return "unknown"
    from tfinspect.surgery.endpoints import softmax_logits

    return _ACTIVATIONS.get(op, "softmax" if softmax_logits(graph, spec.ref) is not None else "none")


def _signature(model: Model, path: str) -> Signature:
    known = {name: found for name, found in model.signatures.items() if found.inputs and found.outputs}
    for name in (DEFAULT_SIGNATURE, "default"):
        if name in known:
            return known[name]
    if len(known) == 1:
        return next(iter(known.values()))
    raise UsageError(
        f"{path} has {len(known)} signatures, none of them `{DEFAULT_SIGNATURE}`" if known
        else f"{path} has no signature to be called by",
        details=list(known),
        hint=f"freeze what is meant: tfinspect freeze {path} --outputs T -o frozen.pb",
        evidence={"signatures": list(known)},
    )  # fmt: skip


def _onnx(path: str, wishes: Wishes) -> PhotoModel:
    from tfinspect.formats import onnx

    written = onnx.read(path)
    spec = _chosen(written.inputs, wishes.inputs, path, "input")
    word = spec.key or spec.name
    text = written.metadata.get(RECIPE_KEY)
    recorded = None if text is None else parse_recipe(text, path)
    way = _bytes(word, spec.shape, wishes) if spec.dtype is DType.STRING else _values(
        word, spec.dtype, spec.shape, wishes, recorded
    )  # fmt: skip
    outputs = {entry.key or entry.name: entry for entry in written.outputs}
    inner = {name: None for name in written.tensor_names if name not in outputs}
    output = _named(wishes.outputs, {**outputs, **inner}, written.outputs, path) or _only(outputs, path)
    activation: Activation = "none"
    for op, name in _ACTIVATIONS.items():
        if written.behind(output, {op}) is not None:
            activation = name
    labels = written.metadata.get(LABELS_KEY)
    names = labels_beside(path) if labels is None else parse_labels(labels, path)
    return PhotoModel(path, lambda: runtimes.onnx_model(path), way, output, activation, names, runs_on="onnxruntime")


def _bytes(word: str, shape: Shape, wishes: Wishes) -> Way:
    _refuse_recipe(wishes, word)
    rank = 1 if shape is None else len(shape)
    return Way("bytes", word, DType.STRING, None, rank, rank > 0 and (shape is None or shape[0] is None))


def _values(word: str, dtype: DType | None, shape: Shape, wishes: Wishes, recorded: Recipe | None) -> Way:
    """Return how images get into an input of which no more than type and shape is known."""
    rank = _IMAGE if shape is None else len(shape)
    if rank not in (_SINGLE, _IMAGE):
        raise UsageError(f"`{word}` takes {dtype} {format_shape(shape)}, which no image is", evidence={"name": word})
    first = shape is not None and shape[-3] in _CHANNELS and shape[-1] not in _CHANNELS
    if first and shape is not None:
        shape = (*shape[:-3], *shape[-2:], shape[-3])
    if rank == _SINGLE and dtype is DType.UINT8 and recorded is None and wishes.size is None and None in (shape or ()):
        from tfinspect.learn.preprocess import Recipe

        recorded = Recipe(None, "", origin="graph")  # an image as it was decoded: the model resizes it
    recipe = input_recipe(word, dtype, shape, recorded=recorded, **wishes.recipe_words())
    free = rank == _IMAGE and (shape is None or shape[0] is None) and recipe.size is not None
    return Way("values", word, dtype or DType.FLOAT, recipe, rank, free, first, channels=recipe.channels)


def _refuse_text(graph: Graph, word: str) -> None:
    """Refuse a graph that takes strings and decodes no images: they are texts, or examples in a format of their own."""
    bodies = (function.body.nodes for function in graph.functions.values())
    if not any(node.op in DECODERS for nodes in (graph.nodes, *bodies) for node in nodes):
        raise UsageError(
            f"`{word}` takes strings, and nothing behind it decodes images",
            hint="start at the tensor that takes pixels: --inputs T",
            evidence={"name": word},
        )


def _refuse_recipe(wishes: Wishes, word: str) -> None:
    given = [f"--{name}" for name, value in wishes.recipe_words().items() if value is not None]
    if given:
        raise UsageError(
            f"the model takes image files at `{word}` and prepares their pixels itself: {given[0]} cannot be used",
            hint="start behind its preprocessing: --inputs T",
            evidence={"name": word, "options": given},
        )


# -- choosing ----------------------------------------------------------------------------------------------------------


def _chosen(specs: Sequence[TensorSpec], wanted: Sequence[str], path: str, what: str) -> TensorSpec:
    """Return the input that was named, else the only one that can take images."""
    by_word = {entry.key or entry.name: entry for entry in specs}
    named = _named(wanted, by_word, specs, path, what)
    if named is not None:
        return by_word[named]
    able = [s for s in specs if s.dtype is DType.STRING or len(s.shape or (0,) * _IMAGE) in (_SINGLE, _IMAGE)]
    if len(able) == 1 and len(specs) == 1:
        return able[0]
    lines = [f"{entry.key or entry.name}  {entry.dtype} {format_shape(entry.shape)}" for entry in specs]
    if len(specs) > 1:
        message = f"{path} takes {len(specs)} inputs, which photos alone do not fill"
    else:
        message = f"{path} takes no images"
    raise UsageError(message, details=lines, evidence={"inputs": list(by_word)})


def _named(
    wanted: Sequence[str], table: Mapping[str, object], specs: Sequence[TensorSpec], path: str, what: str = "output"
) -> str | None:
    if not wanted:
        return None
    text = parse_shaped(wanted[0])[0]
    words = {str(text): None, text.name: None, wanted[0]: None}
    for word in words:
        if word in table:
            return word
    for spec in specs:
        if spec.name in words or spec.ref.name in words:
            return spec.key or spec.name
    raise NameNotFoundError(f"{path} has no {what} `{wanted[0]}`", name=text.name, known=table)


def _only(outputs: Mapping[str, TensorSpec], path: str) -> str:
    """Return the only output, or the only one of floats: names and numbers of the best classes may stand beside it."""
    floats = [name for name, spec in outputs.items() if spec.dtype is None or spec.dtype.is_floating]
    for names in (list(outputs), floats):
        if len(names) == 1:
            return names[0]
    raise UsageError(
        f"{path} has {len(outputs)} outputs",
        details=[f"{name}  {spec.dtype} {format_shape(spec.shape)}" for name, spec in outputs.items()],
        hint=f"choose the probabilities: --outputs {next(iter(outputs))}" if outputs else None,
        evidence={"outputs": list(outputs)},
    )
