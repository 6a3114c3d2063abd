"""Finding the model that is meant, and opening it."""

from __future__ import annotations

import contextlib
import os
import shlex
from pathlib import Path
from typing import TYPE_CHECKING

from tfinspect import formats
from tfinspect.api import keras
from tfinspect.api.rebuild import is_rebuilt, rebuild
from tfinspect.errors import TfinspectError, UsageError, WrongKindError
from tfinspect.ir.graph import Graph
from tfinspect.ir.model import Model

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tfinspect.ir.refs import TensorRef

PathLike = str | os.PathLike[str]
_CANDIDATE_SUFFIXES = (".pb", ".pbtxt", ".meta")
_PLACEHOLDERS = frozenset({"Placeholder", "PlaceholderV2", "PlaceholderWithDefault"})
_GRAPH_FORMATS = frozenset({"graphdef", "graphdef_text", "metagraph"})


def open_graph(path: PathLike | Graph | Model, *, size: tuple[int, int] | None = None) -> Model:
    """Open whatever holds a graph: `.pb`, `.pbtxt`, `.meta`, or a checkpoint with its `.meta` beside it.

    A `.meta` comes with the checkpoint of the same name where one stands beside it. A Deeplearning4j network becomes a
    graph whose weights are constants. Of a checkpoint without a graph that is known to be a network of slim's, the
    graph is built; `facts` says under `architecture` which one.

    Args:
        path: a path, or what was opened already.
        size: height and width of the images that such a network takes, instead of those usual for it.

    Raises:
        InputError: it cannot be read.
        SurgeryError: a layer has no form in TensorFlow, or the layers do not fit each other.
        UnrestoredVariablesError: a checkpoint without a graph holds a known network, but not all of it.
        UsageError: `size` is given, and there is no network to build, or none that takes such images.
        WrongKindError: it is readable, but holds no graph.
    """
    if isinstance(path, Graph):
        found = Model(path=path.source.path if path.source else "", format="graphdef", graph=path)
    elif isinstance(path, Model):
        found = rebuild(path, size) or path
    else:
        found = _opened(path, size)
    if size is not None and not is_rebuilt(found):
        raise UsageError(
            f"{found.path or 'the graph'} has a graph of its own, which says how large its images are",
            hint="leave out --size",
        )
    return found


def open_for_images(path: PathLike | Graph | Model, size: tuple[int, int] | None) -> Model:
    """Open as `open_graph` does; a graph that is rebuilt from the file takes images of `size`, any other is as it is.

    Raises:
        TfinspectError: as `open_graph`.
    """
    found = open_graph(path)
    if size is None or not is_rebuilt(found) or isinstance(path, Graph | Model):
        return found
    return open_graph(path, size=size)


def _opened(path: PathLike, size: tuple[int, int] | None) -> Model:
    model = formats.open_model(path)
    if keras.is_keras(model):
        return keras.graph_model(model)
    if model.format == "dl4j":
        from tfinspect.architectures import dl4j

        return dl4j.convert(model)
    if model.graph is None:
        rebuilt = rebuild(model, size)
        if rebuilt is not None:
            return rebuilt
        name = os.fspath(path)
        row = formats.BY_NAME[model.format]
        if row.kinds == ("checkpoint",) and model.checkpoint is not None:
            raise WrongKindError(
                f"{name} is a checkpoint without a graph: no {model.checkpoint.path}.meta stands beside it",
                hint=f"list its variables: tfinspect vars {shlex.quote(name)}",
                evidence={"path": name, "format": model.format},
            )
        raise formats.no_graph(name, row, "a TensorFlow graph")
    return model


def graph_of(path: PathLike | Graph | Model) -> Graph:
    """Open whatever holds a graph, and return the graph.

    Raises:
        InputError: it cannot be read.
        WrongKindError: it is readable, but holds no graph.
    """
    graph = open_graph(path).graph
    if graph is None:
        raise WrongKindError("the model holds no graph")
    return graph


def newest_model(
    folder: PathLike = ".", *, containing: TensorRef | None = None, excluding: Iterable[PathLike] = ()
) -> str:
    """Return the newest `.pb`, `.pbtxt` or `.meta` of a folder, by modification time.

    Args:
        folder: where to look.
        containing: only graphs that compute this tensor; one that is fed it is a head.
        excluding: files that are not meant: the head, the output.

    Raises:
        UsageError: there is none.
    """
    others = [Path(path) for path in excluding]
    for path in _newest_first(Path(folder)):
        if any(other.exists() and path.samefile(other) for other in others):
            continue
        try:
            if formats.identify(path).name not in _GRAPH_FORMATS:
                continue
            if containing is None or _computes(path, containing):
                return path.name if os.fspath(folder) == "." else str(path)
        except TfinspectError:
            continue  # a broken file beside the model is no reason to refuse the model
    what = ".pb, .pbtxt or .meta file" + (f" that computes `{containing}`" if containing else "")
    raise UsageError(f"no {what} in {Path(folder).resolve()}", hint="name the model, before the options")


def _newest_first(folder: Path) -> list[Path]:
    found = []
    for path in folder.iterdir():
        if path.suffix in _CANDIDATE_SUFFIXES and path.is_file():
            with contextlib.suppress(OSError):  # removed meanwhile
                found.append((path.stat().st_mtime_ns, path.name, path))
    return [path for *_, path in sorted(found, reverse=True)]


def _computes(path: Path, ref: TensorRef) -> bool:
    graph = formats.open_model(path).graph
    return graph is not None and ref.name in graph and graph.node(ref.name).op not in _PLACEHOLDERS
