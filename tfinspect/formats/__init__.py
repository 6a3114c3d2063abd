"""Bytes to models and back, one module a format behind the table `FORMATS`; what a file is, its bytes say.

A new format is one module with `read(path)` and one row in `_identify.FORMATS`.
"""

from __future__ import annotations

import importlib
import os
from dataclasses import replace
from typing import TYPE_CHECKING

from tfinspect.errors import IncompleteCheckpointError
from tfinspect.formats._identify import BY_NAME, FORMATS, Format, identify
from tfinspect.formats._problems import noted
from tfinspect.formats._wrong_kind import no_checkpoint, no_graph
from tfinspect.ir.model import Model

if TYPE_CHECKING:
    from tfinspect.errors import TfinspectError
    from tfinspect.ir.checkpoint import Checkpoint
    from tfinspect.ir.graph import Graph

__all__ = [
    "BY_NAME",
    "FORMATS",
    "Format",
    "identify",
    "no_graph",
    "open_model",
    "read_checkpoint",
    "read_graph",
    "write_graph",
    "write_text",
]

PathLike = str | os.PathLike[str]


def open_model(path: PathLike, *, problems: list[TfinspectError] | None = None) -> Model:
    """Read whatever stands under a path.

    A `.meta` comes with the checkpoint of the same name where one stands beside it, a checkpoint with its graph, and a
    SavedModel with its variables.

    Args:
        path: file, folder or prefix.
        problems: where to note what is wrong with one part of several (the variables of a SavedModel, the graph beside
            a checkpoint, a missing shard), while the rest is returned; the model has them too.

    Raises:
        InputError: it cannot be read, or is of no format known here; or a part of it cannot, and there is no list.
    """
    row = identify(path)
    model = _open(path, row, problems)
    if problems is None:
        return model
    if model.checkpoint is not None:
        # what is missing can still be listed, and is told by `Checkpoint.files`; what is damaged cannot be trusted
        faults = model.checkpoint.faults()
        problems.extend(fault for fault in faults if not isinstance(fault, IncompleteCheckpointError))
    return replace(model, problems=(*model.problems, *problems))


def _open(path: PathLike, row: Format, problems: list[TfinspectError] | None = None) -> Model:
    name = os.fspath(path)
    module = importlib.import_module(f"tfinspect.formats.{row.module}")
    if row.kinds == ("graph",):
        return Model(name, row.name, graph=module.read(path))
    if row.kinds == ("checkpoint",):
        checkpoint = module.read(path)
        if row.module != "checkpoint":
            return Model(name, row.name, checkpoint=checkpoint)
        return _with_graph(name, row, checkpoint, problems)
    if row.kinds in {("head",), ("features",)}:
        return Model(name, row.name)
    if row.name == "onnx":
        onnx: Model = module.read_model(path)
        return onnx
    if row.name == "saved_model":
        return module.read(path, problems=problems)  # type: ignore[no-any-return]
    model: Model = module.read(path)
    return replace(model, checkpoint=noted(problems, lambda: _beside(name))) if row.name == "metagraph" else model


def _with_graph(name: str, row: Format, checkpoint: Checkpoint, problems: list[TfinspectError] | None) -> Model:
    from tfinspect.formats import checkpoint as naming
    from tfinspect.formats import metagraph

    meta = naming.resolve(name).meta  # of V1 shards `export-00000-of-00001` it is `export.meta`
    graph = None if meta is None else noted(problems, lambda: metagraph.read(meta))
    if graph is None:
        return Model(name, row.name, checkpoint=checkpoint)
    return replace(_with_assets(graph, meta, problems), path=name, format=row.name, checkpoint=checkpoint)


def _with_assets(model: Model, meta: str | None, problems: list[TfinspectError] | None) -> Model:
    """Look for the files that the graph of a session bundle reads."""
    if meta is None or not model.assets:
        return model
    from tfinspect.formats import _assets

    folder = os.path.dirname(meta) or "."  # noqa: PTH120 - as short as it was written
    risks = _assets.risks(folder, model.assets)
    if problems is not None:
        problems.extend(_assets.missing(folder, model.assets, risks))
    return replace(model, risks=(*model.risks, *risks))


def _beside(meta: str) -> Checkpoint | None:
    """Read the checkpoint that a `.meta` file stands beside; None where no file of it is there."""
    from tfinspect.formats import _checkpoint_names, checkpoint

    prefix = meta.removesuffix(".meta")
    if prefix == meta or not (_checkpoint_names.named(prefix) or _checkpoint_names.data_shards(prefix)):
        return None
    return checkpoint.read(prefix)


def read_graph(path: PathLike) -> Graph:
    """Read a graph: GraphDef or MetaGraphDef, binary or text. A checkpoint beside it is not looked for.

    Raises:
        WrongKindError: it is readable, but no graph.
        InputError: it cannot be read.
    """
    row = identify(path)
    name = os.fspath(path)
    if "graph" not in row.kinds or row.name == "saved_model":
        raise no_graph(name, row)
    found = importlib.import_module(f"tfinspect.formats.{row.module}").read(path)
    graph: Graph = found if row.kinds == ("graph",) else found.graph
    return graph


def read_checkpoint(path: PathLike) -> Checkpoint:
    """Read a checkpoint.

    It is named by prefix, `.index`, `.data-*`, `.meta`, V1 file, folder with a `checkpoint` file, or by the SavedModel
    that holds it.

    Raises:
        WrongKindError: it is readable, but no checkpoint.
        IncompleteCheckpointError: a file that listing needs is missing.
        InputError: it cannot be read.
    """
    from tfinspect.formats import checkpoint

    name = os.fspath(path)
    if checkpoint.is_checkpoint(name) and not os.path.isdir(name):  # noqa: PTH112 - see `identify`
        return checkpoint.read(path)
    row = identify(path)
    found: Checkpoint | None = None
    if row.kinds == ("checkpoint",):
        found = importlib.import_module(f"tfinspect.formats.{row.module}").read(path)
    elif "graph" not in row.kinds and "checkpoint" in row.kinds:
        found = _open(path, row).checkpoint
    elif row.name == "saved_model":
        from tfinspect.formats import saved_model

        found = saved_model.read_variables(path)
    elif row.name == "metagraph" and name.endswith(".meta"):
        found = checkpoint.read(path)  # says which file is missing
    if found is not None:
        return found
    raise no_checkpoint(name, row)


def write_graph(graph: Graph, path: PathLike, *, force: bool = False) -> int:
    """Write a binary GraphDef, whole or not at all, and return its size in bytes.

    Raises:
        LimitError: it would be 2 GiB or more.
        OutputExistsError: the file exists and `force` is not set.
        OutputError: it cannot be written.
    """
    from tfinspect.formats import graphdef

    return graphdef.write(graph, path, force=force)


def write_text(path: PathLike, text: str, *, force: bool = False) -> None:
    """Write a UTF-8 text file, whole or not at all.

    Raises:
        OutputExistsError: the file exists and `force` is not set.
        OutputError: it cannot be written.
    """
    from tfinspect.formats import _atomic

    _atomic.write_file(path, [text.encode()], force=force)
