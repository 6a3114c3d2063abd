"""Finding the model that is meant, and opening it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from tfinspect import formats
from tfinspect.errors import TfinspectError, UsageError, WrongKindError
from tfinspect.ir.graph import Graph
from tfinspect.ir.model import Model

if TYPE_CHECKING:
    from collections.abc import Callable

    from tfinspect.ir.refs import TensorRef

PathLike = str | os.PathLike[str]
_CANDIDATE_SUFFIXES = (".pb", ".pbtxt", ".meta")
_GRAPH_FORMATS = frozenset({"graphdef", "graphdef_text", "metagraph", "metagraph_text"})


def open_graph(path: PathLike | Graph | Model) -> Model:
    """Open whatever holds a graph: `.pb`, `.pbtxt`, `.meta`, or a checkpoint with its `.meta` beside it.

    A `.meta` comes with the checkpoint of the same name where one stands beside it.

    Raises:
        InputError: it cannot be read.
        WrongKindError: it is readable, but holds no graph.
    """
    if isinstance(path, Model):
        return path
    if isinstance(path, Graph):
        return Model(path=path.source.path if path.source else "", format="graphdef", graph=path)
    model = formats.open_model(path)
    if model.graph is None:
        name = os.fspath(path)
        if model.checkpoint is not None:
            raise WrongKindError(
                f"{name} is a checkpoint without a graph: no {model.checkpoint.path}.meta stands beside it",
                hint=f"list its variables: tfinspect vars {name}",
                evidence={"path": name, "format": model.format},
            )
        raise WrongKindError(
            f"{name} holds no graph", hint=f"tfinspect info {name}", evidence={"path": name, "format": model.format}
        )
    return model


def newest_model(folder: PathLike = ".", *, containing: TensorRef | None = None) -> str:
    """Return the newest `.pb`, `.pbtxt` or `.meta` of a folder, by modification time.

    Args:
        folder: where to look.
        containing: only graphs that have this tensor's node.

    Raises:
        UsageError: there is none.
    """
    has_node = None if containing is None else _contains(containing)
    paths = [p for p in Path(folder).iterdir() if p.suffix in _CANDIDATE_SUFFIXES and p.is_file()]
    for path in sorted(paths, key=lambda p: (p.stat().st_mtime_ns, p.name), reverse=True):
        try:
            if formats.identify(path).name not in _GRAPH_FORMATS:
                continue
            if has_node is None or has_node(path):
                return str(path) if os.fspath(folder) != "." else path.name
        except TfinspectError:
            continue  # a broken file beside the model is no reason to refuse the model
    what = ".pb, .pbtxt or .meta file" + (f" with a node `{containing.name}`" if containing else "")
    raise UsageError(f"no {what} in {Path(folder).resolve()}", hint="name the model: tfinspect export GRAPH --onnx")


def _contains(ref: TensorRef) -> Callable[[Path], bool]:
    def has_node(path: Path) -> bool:
        graph = formats.open_model(path).graph
        return graph is not None and ref.name in graph

    return has_node
