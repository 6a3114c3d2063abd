"""A trunk that photos go into: found, cut behind what is done to pixels, its batch set free, and put onto a runtime."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import tempfile
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal

from tfinspect import __version__, formats, runtimes
from tfinspect.api import proof
from tfinspect.api.export_onnx import convert_graph, convertible_graph
from tfinspect.api.load import PathLike, open_for_images
from tfinspect.api.locate import locate
from tfinspect.api.prepare import Prepared, model_graph, prepare
from tfinspect.api.recipe import check_one_entry, image_entry, is_hub, recipe_beside
from tfinspect.api.usual_pixels import assumption
from tfinspect.errors import UnsupportedOpsError, UsageError
from tfinspect.formats import _atomic, graphdef
from tfinspect.ir.dtypes import DType
from tfinspect.ir.refs import TensorRef, parse_shaped
from tfinspect.ir.shapes import format_shape
from tfinspect.learn.job import Job
from tfinspect.learn.preprocess import METHODS, Recipe
from tfinspect.surgery.batch import set_batch
from tfinspect.surgery.images import pixels, preprocessing
from tfinspect.surgery.prune import check_ref
from tfinspect.surgery.shapes import TensorTypes

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from contextlib import AbstractContextManager

    from tfinspect.ir.graph import Graph
    from tfinspect.ir.model import Model
    from tfinspect.surgery.images import Pixels

Runtime = Literal["onnxruntime", "tensorflow"]
DYNAMIC: Final = "dynamic"
_ONE: Final = "1"
_FED: Final = frozenset({"Placeholder", "PlaceholderV2"})
_ACCURATE: Final = b"INTEGER_ACCURATE"


@dataclass(frozen=True, slots=True)
class Trunk:
    """A graph from photos to a bottleneck.

    Attributes:
        model: as it was found.
        whole: from the model's own inputs to the bottleneck.
        cut: from the tensor that takes prepared pixels to the bottleneck, or `whole` where the graph prepares them in a
            way that is not computed here.
        recipe: what is done to pixels before `cut`; None where the graph does everything by itself.
        ready: what takes prepared pixels, or the decoded image where the graph does everything by itself.
        dtype: element type of `ready`.
        decoder: where the graph decodes an image file, None where it does not.
        bottleneck: what is wanted.
        batch: "dynamic", or "1" where the graph takes one image at a time.
        fast_dct: how the graph decodes JPEG; see `learn.images.decode`.
        sha256: of the cut graph as it would be written, weights included.
        notes: what was concluded, in words.
    """

    model: Model
    whole: Prepared
    cut: Prepared
    recipe: Recipe | None
    ready: TensorRef
    dtype: DType
    decoder: Pixels | None
    bottleneck: TensorRef
    batch: str
    fast_dct: bool
    sha256: str
    notes: tuple[str, ...] = field(default=())

    def key(self, runtime: Runtime) -> str:
        """Return what features of this trunk are kept under: same key, same features for the same image."""
        recipe = None if self.recipe is None else {**self.recipe.to_json(), "origin": ""}
        parts = [self.sha256, str(self.ready), str(self.bottleneck), recipe, self.fast_dct, runtime]
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def open_trunk(
    path: PathLike | Graph | Model,
    *,
    bottleneck: str,
    inputs: Sequence[str] = (),
    size: tuple[int, int] | None = None,
    mean: Sequence[float] | None = None,
    scale: Sequence[float] | None = None,
    bgr: bool | None = None,
    settings: Sequence[str] = (),
) -> Trunk:
    """Find how photos reach a tensor of a model, and cut what computes it.

    Args:
        path: anything `open_graph` opens, or what it returned.
        bottleneck: the tensor, `name` or `name:index`.
        inputs: the tensor that takes images, optionally with its shape; none: what the graph itself says.
        size: (height, width) to resize to.
        mean: what is subtracted from each pixel.
        scale: what the difference is multiplied by.
        bgr: whether blue comes first.
        settings: `NAME=VALUE`, placeholders to fix.

    Raises:
        NodeNotFoundError: the tensor is not in the graph.
        UsageError: no input takes images, or further inputs need values.
        InputError, SurgeryError: as `prepare`.
    """
    model, ref = locate(open_for_images(path, size), bottleneck)
    check_ref(model_graph(model), ref)
    check_one_entry(inputs)
    starts = [parse_shaped(text)[0] for text in inputs]
    whole = prepare(model, inputs=inputs, outputs=[str(ref)], settings=settings)
    given = {"--size": size, "--mean": mean, "--scale": scale, "--bgr": bgr or None}
    flags = [flag for flag, value in given.items() if value is not None]
    decoder = None if starts else _decoder(whole)
    if decoder is not None:
        if flags:
            raise UsageError(
                f"the graph decodes and prepares images by itself (`{decoder.ref}`), so {flags[0]} has no place",
                hint="start behind it: --inputs T, with the tensor that takes prepared pixels",
            )
        if not _is_plain(whole, decoder):
            return _by_itself(model, whole, decoder, ref)
    entry = image_entry(
        whole.graph,
        [ref],
        inputs=[whole.held[start] for start in starts],
        size=size,
        mean=mean,
        scale=scale,
        bgr=bgr,
        recorded=recipe_beside(model.path) if model.path and not starts else None,
        from_hub=is_hub(model),
    )
    recipe = entry.recipe
    shape = (1, *(recipe.size or (None, None)), recipe.channels)
    words = ",".join("?" if n is None else str(n) for n in shape)
    cut = prepare(whole.graph, inputs=[f"{entry.ready}[{words}]"], outputs=[str(ref)])
    _refuse_others(cut.graph, cut.held.get(entry.ready, entry.ready))
    graph, _ = set_batch(cut.graph, cut.inputs, DYNAMIC)
    told = TensorTypes(graph).type_of(ref).shape
    batch = _ONE if told is not None and (not told or told[0] is not None) else DYNAMIC
    notes = [*whole.notes, *(f"fixed {setting}" for setting in whole.settings)]
    if batch == _ONE:
        notes.append(f"`{ref}` is of shape {format_shape(told)} whatever the batch: one image at a time")
    if recipe.origin == "assumed":
        notes.append(assumption(recipe, entry.network))
    return Trunk(
        model,
        whole,
        cut,
        recipe,
        entry.ready,
        entry.dtype,
        entry.decoder,
        ref,
        batch,
        decoder is None or _fast_dct(whole.graph, decoder),
        _sha256(cut.graph),
        tuple(notes),
    )


def _decoder(whole: Prepared) -> Pixels | None:
    """Return where the graph turns the bytes of an image file, which it is fed, into pixels."""
    found = pixels(whole.graph, TensorTypes(whole.graph))
    return found if found is not None and any(spec.ref == found.contents for spec in whole.inputs) else None


def _is_plain(whole: Prepared, decoder: Pixels) -> bool:
    """Whether what the graph does to the bytes of an image is computed here as well."""
    node = whole.graph.node(decoder.ref.name)
    if node.value("ratio", default=1) != 1 or node.value("fancy_upscaling", default=True) is False:
        return False
    if node.op in {"DecodeAndCropJpeg", "DecodeGif"} or node.dtype("dtype") not in (None, DType.UINT8):
        return False
    done = preprocessing(whole.graph, TensorTypes(whole.graph), decoder.ref)
    return done is not None and done.method in METHODS


def _fast_dct(graph: Graph, decoder: Pixels) -> bool:
    method = graph.node(decoder.ref.name).value("dct_method", default=b"")
    return method not in (_ACCURATE, _ACCURATE.decode())


def _by_itself(model: Model, whole: Prepared, decoder: Pixels, ref: TensorRef) -> Trunk:
    """Take a graph whose own ops must prepare the images."""
    _refuse_others(whole.graph, whole.held.get(decoder.contents, decoder.contents))
    note = f"the graph prepares images in a way of its own behind `{decoder.ref}`: TensorFlow runs it, one at a time"
    notes = (*whole.notes, *(f"fixed {setting}" for setting in whole.settings), note)
    return Trunk(
        model, whole, whole, None, decoder.ref, DType.UINT8, decoder, ref, _ONE,
        _fast_dct(whole.graph, decoder), _sha256(whole.graph), notes,
    )  # fmt: skip


def _refuse_others(graph: Graph, image: TensorRef) -> None:
    """Refuse a graph that must be fed more than images."""
    types = TensorTypes(graph)
    others = [
        (TensorRef(node.name), types.type_of(TensorRef(node.name)))
        for node in graph.nodes
        if node.op in _FED and node.name != image.name
    ]
    if others:
        raise UsageError(
            f"beside the image the graph needs `{others[0][0]}`",
            details=[f"{ref}  {known.dtype} {format_shape(known.shape)}" for ref, known in others],
            hint=f"fix it: --set {others[0][0].name}=VALUE",
            evidence={"inputs": [str(ref) for ref, _ in others]},
        )


def _sha256(graph: Graph) -> str:
    digest = hashlib.sha256()
    for piece in graphdef.encode(graph):
        digest.update(piece)
    return digest.hexdigest()


def onnx_trunk(
    trunk: Trunk, folder: PathLike, *, phase: Callable[[str], AbstractContextManager[None]] = proof.silent
) -> Job:
    """Convert the cut graph to ONNX, once: it is kept in a folder.

    Args:
        trunk: with a recipe.
        folder: where it is kept, and looked for first.
        phase: called with what is being done.

    Returns:
        The job of a worker that runs it; `model` is the file.

    Raises:
        UnsupportedOpsError: ONNX has no word for an op.
        RuntimeUnavailableError: the converter is not installed.
        RuntimeFailedError: it refused.
        OutputError: the folder cannot be written.
    """

    def make(path: Path) -> None:
        runtimes.warm("tf2onnx", "onnxruntime", "tensorflow")
        convertible = convertible_graph(trunk.cut, trunk.batch)
        metadata = {"tfinspect.trunk_sha256": trunk.sha256, "tfinspect.version": __version__}
        with phase("converting the trunk (TensorFlow and tf2onnx are loading)"):
            convert_graph(convertible, trunk.cut.outputs, path, path, None, metadata, trunk.model.path)
            runtimes.check_onnx(path)

    return job_of(trunk, _kept(trunk, Path(folder), "trunk.onnx", make))


def tensorflow_trunk(trunk: Trunk, folder: PathLike) -> Job:
    """Write the cut graph, its batch set free, for TensorFlow, once: it is kept in a folder.

    Returns:
        The job of a worker that runs it; `model` is the file.

    Raises:
        OutputError: the folder cannot be written.
        LimitError: the graph is too large for one file.
    """

    def make(path: Path) -> None:
        graph, _ = set_batch(trunk.cut.graph, trunk.cut.inputs, trunk.batch)
        formats.write_graph(graph, path)

    return job_of(trunk, _kept(trunk, Path(folder), "trunk.pb", make))


def _kept(trunk: Trunk, folder: Path, file: str, make: Callable[[Path], None]) -> Path:
    """Return a file made of the trunk; it is made in a folder that appears whole or not at all."""
    parts = f"{__version__} {trunk.sha256} {trunk.bottleneck} {trunk.batch} {file}"
    place = folder / hashlib.sha256(parts.encode()).hexdigest()
    refused = place.with_suffix(".refused.json")
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError):  # made anew where it cannot be read
        found = json.loads(refused.read_text(encoding="utf-8"))
        raise UnsupportedOpsError(str(found["message"]), evidence=dict(found["evidence"]))
    if (place / file).is_file():
        return place / file
    with _atomic.output_errors(folder):
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".making-", dir=folder) as made:
        staged = Path(made, place.name)
        staged.mkdir(mode=0o700)
        try:
            make(staged / file)
        except UnsupportedOpsError as error:
            text = json.dumps({"message": error.message, "evidence": error.evidence}, default=str)
            _atomic.write_file(refused, [text.encode()], force=True)
            raise
        _atomic.publish(staged, place, force=True)
    return place / file


def job_of(trunk: Trunk, path: PathLike) -> Job:
    """Return the job of a worker that runs the cut graph kept under a path."""
    recipe = trunk.recipe or Recipe(None, "", channels=(trunk.decoder.channels if trunk.decoder else None) or 3)
    held = trunk.cut.held.get(trunk.ready, trunk.ready)
    dtype = trunk.dtype.numpy.name
    job = Job(os.fspath(path), str(held), str(trunk.bottleneck), recipe, dtype, fast_dct=trunk.fast_dct)
    return replace(job, batch=1) if trunk.batch == _ONE else job
