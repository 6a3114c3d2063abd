"""SavedModel: reading the MetaGraph meant for serving, and writing a frozen graph as one, without TensorFlow."""

from __future__ import annotations

import os
import shlex
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tfinspect.errors import CorruptFileError, FileMissingError, InputError, LimitError, UsageError
from tfinspect.formats import (
    _assets,
    _atomic,
    _fingerprint,
    _tags,
    checkpoint,
    graphdef,
    hub,
    metagraph,
    object_graph,
    pbtxt,
)
from tfinspect.formats._bundle_writer import write_bundle
from tfinspect.formats._file import MappedFile
from tfinspect.formats._fingerprint import check_fingerprint
from tfinspect.formats._problems import noted
from tfinspect.formats._schema import message_class
from tfinspect.formats._tensor_proto import encode_shape
from tfinspect.formats._wire import LEN, Cursor, len_header
from tfinspect.ir.checkpoint import OBJECT_GRAPH
from tfinspect.ir.graph import Source
from tfinspect.ir.model import for_serving

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from tfinspect.errors import TfinspectError
    from tfinspect.ir.checkpoint import Checkpoint
    from tfinspect.ir.graph import Graph
    from tfinspect.ir.model import Model, Saver
    from tfinspect.ir.signature import Signature, TensorSpec
    from tfinspect.ir.tensors import Tensor

__all__ = ["check_fingerprint", "read", "read_model", "read_variables", "write"]

_META_GRAPHS, _GRAPH_DEF, _OBJECT_GRAPH = 2, 2, 7
_SCHEMA_VERSION = 1
_SAVER_VERSION = 2  # SaverDef.V2: checkpoints in the format that is written here
_NAMES = ("saved_model.pb", "saved_model.pbtxt")
_VARIABLES = ("variables", "variables")  # folder, and prefix in it


def read(path: str | os.PathLike[str], *, problems: list[TfinspectError] | None = None) -> Model:
    """Read a SavedModel folder, or its `saved_model.pb`, and its variables where it has any.

    Of several MetaGraphs, that for serving is taken; else that without tags, which Hub modules have; else the first.

    Args:
        path: the folder or the file.
        problems: where to note what is wrong with one part while the rest is wanted all the same. Assets that are
            missing are noted there too; without a list they are nobody's concern.

    Raises:
        FileMissingError: the folder holds no SavedModel.
        CorruptFileError: the file is not well formed.
        InputError: the variables, the fingerprint or the definition of a Hub module cannot be read, or lie outside the
            folder, and there is no list to note it in.
    """
    model = read_model(path)
    folder = _folder(path)
    if folder is None:
        return model
    facts = dict(model.facts)
    facts |= noted(problems, lambda: hub.read(folder)) or {}
    fingerprint = noted(problems, lambda: _fingerprint.read(folder))
    if fingerprint is not None:
        facts["fingerprint"] = str(fingerprint)
    variables = noted(problems, lambda: read_variables(path))
    if variables is not None and _is_nameless(variables):
        variables = variables.labelled(_names(path, variables.variables))
    risks = (*model.risks, *_assets.risks(str(folder), model.assets))
    if problems is not None:
        problems.extend(_assets.missing(str(folder), model.assets, risks))
    return replace(model, checkpoint=variables, facts=facts, risks=risks)


def read_model(path: str | os.PathLike[str]) -> Model:
    """Read as `read` does, without looking for anything beside the graph.

    Raises:
        FileMissingError: the folder holds no SavedModel.
        CorruptFileError: the file is not well formed.
    """
    file = MappedFile(_file(path))
    view = file.view
    if _tags.is_text(view):
        view = memoryview(pbtxt.parse(file, "SavedModel").SerializeToString())
    cursor = Cursor(view, file.path)
    places = [
        (first, last)
        for number, kind, _, first, last in cursor.fields(0, len(view), "SavedModel")
        if (number, kind) == (_META_GRAPHS, LEN)
    ]
    if not places:
        raise CorruptFileError(file.path, file.size, "a MetaGraphDef", "the end of the file", structure="SavedModel")
    tag_sets = tuple(metagraph.tags(cursor, first, last) for first, last in places)
    model = metagraph.decode(cursor, *places[for_serving(tag_sets)], os.fspath(path), "saved_model")
    if model.graph is not None:
        model.graph.source = Source(file.path, file.size, file.sha256)
    return replace(model, tag_sets=tag_sets)


def _is_nameless(variables: Checkpoint) -> bool:
    """Whether the names of the objects are lost: they stand in a shard."""
    found = variables.variables
    return OBJECT_GRAPH in found and not any(info.label for info in found.values())


def _names(path: str | os.PathLike[str], keys: Iterable[str]) -> dict[str, str]:
    """Return the names that the SavedModel itself has for the keys of its checkpoint."""
    file = MappedFile(_file(path))
    if _tags.is_text(file.view):
        return {}
    cursor = Cursor(file.view, file.path)
    for number, kind, _, start, stop in cursor.fields(0, file.size, "SavedModel"):
        if (number, kind) == (_META_GRAPHS, LEN):
            for inner, wire, _, first, last in cursor.fields(start, stop, "MetaGraphDef"):
                if (inner, wire) == (_OBJECT_GRAPH, LEN):
                    return object_graph.names_in_model(bytes(file.view[first:last]), keys)
    return {}


def _folder(path: str | os.PathLike[str]) -> Path | None:
    """Return the folder of a SavedModel; None where its file was moved, and what stands beside it may be another's."""
    place = Path(path)
    if place.is_dir():
        return place
    return place.parent if place.name in _NAMES else None


def _file(path: str | os.PathLike[str]) -> Path:
    place = Path(path)
    if not place.is_dir():
        return place
    found = next((place / name for name in _NAMES if (place / name).is_file()), None)
    if found is None:
        raise FileMissingError(f"{place} holds no saved_model.pb", evidence={"path": str(place)})
    return found


def read_variables(path: str | os.PathLike[str]) -> Checkpoint | None:
    """Read the variables of a SavedModel, given by its folder or its `saved_model.pb`: None where it has none.

    Raises:
        InputError: they cannot be read, or a symbolic link leads out of the folder.
    """
    place = _folder(path)
    if place is None:
        return None
    prefix = place.joinpath(*_VARIABLES)
    if not checkpoint.is_checkpoint(prefix):
        return None
    located = checkpoint.resolve(prefix)
    whole = place.resolve()
    for name in filter(None, (located.index, *located.data)):
        if not Path(name).resolve().is_relative_to(whole):
            raise InputError(
                f"{name} lies outside of {place}: a symbolic link leads there",
                hint=f"copy the folder with what the links point to: cp -rL {shlex.quote(str(place))} COPY",
                evidence={"path": name, "folder": str(place)},
            )
    return checkpoint.read(prefix)


def write(
    graph: Graph,
    path: str | os.PathLike[str],
    *,
    signature: Signature,
    assets: Mapping[str, bytes] | None = None,
    tags: Sequence[str] = ("serve",),
    variables: Mapping[str, Tensor] | None = None,
    saver: Saver | None = None,
    force: bool = False,
) -> None:
    """Write a graph as a SavedModel folder, whole or not at all.

    Args:
        graph: a graph without variables, or one with its saver.
        path: the folder.
        signature: what it takes and gives; every input and output needs a key.
        assets: files for the `assets` folder, by name.
        tags: of the MetaGraph.
        variables: the values of the graph's variables, by the key that its saver has for them.
        saver: how the graph restores them.
        force: replace the folder if it exists.

    Raises:
        LimitError: it would be 2 GiB or more, which variables do not count for.
        InputError: a value cannot be read.
        UsageError: two inputs or two outputs have one key.
        OutputExistsError: the folder exists and `force` is not set.
        OutputError: it cannot be written; nothing is left behind.
    """
    _atomic.ensure_absent(path, force=force)
    before, after = _frame(graph, signature, tags, saver)
    with _atomic.staged(path) as temporary, _atomic.output_errors(Path(path)):
        (temporary / _VARIABLES[0]).mkdir(parents=True)
        if assets:
            (temporary / "assets").mkdir()
            for name, content in assets.items():
                (temporary / "assets" / Path(name).name).write_bytes(content)
        if variables:
            write_bundle(temporary.joinpath(*_VARIABLES), variables)
        with (temporary / _NAMES[0]).open("xb") as file:
            for piece in _pieces(before, graph, after):
                file.write(piece)
        _atomic.publish(temporary, path, force=force)


def _frame(graph: Graph, signature: Signature, tags: Sequence[str], saver: Saver | None) -> tuple[bytes, bytes]:
    """Return what stands before the graph in the file, and what after it."""
    size = graphdef.encoded_size(graph)
    info = message_class("MetaGraphDef")()
    info.meta_info_def.tags.extend(tags)
    info.meta_info_def.meta_graph_version = "1"
    rest = message_class("MetaGraphDef")()
    if saver is not None:
        rest.saver_def.filename_tensor_name = saver.filename_tensor
        rest.saver_def.save_tensor_name = saver.save_tensor
        rest.saver_def.restore_op_name = saver.restore_op
        rest.saver_def.version = _SAVER_VERSION
    target = rest.signature_def[signature.name]
    target.method_name = signature.method
    for entries, specs in ((target.inputs, signature.inputs), (target.outputs, signature.outputs)):
        for spec in specs:
            key = spec.key or spec.name
            if key in entries:
                raise UsageError(f"two tensors of the signature `{signature.name}` have the key `{key}`")
            _fill(entries[key], spec)
    head, after = info.SerializeToString(deterministic=True), rest.SerializeToString(deterministic=True)
    graph_header = len_header(_GRAPH_DEF, size)
    inside = len(head) + len(graph_header) + size + len(after)
    version = message_class("SavedModel")(saved_model_schema_version=_SCHEMA_VERSION).SerializeToString()
    before: bytes = version + len_header(_META_GRAPHS, inside) + head + graph_header
    total = len(before) + size + len(after)
    if total > graphdef.MAX_NBYTES:
        raise LimitError(
            f"the graph takes {size:,} bytes, and a saved_model.pb cannot exceed {graphdef.MAX_NBYTES:,}",
            hint="export it as ONNX, which keeps large weights in a file of their own: tfinspect export GRAPH --onnx",
            evidence={"nbytes": total, "limit": graphdef.MAX_NBYTES},
        )
    return before, after


def _pieces(before: bytes, graph: Graph, after: bytes) -> Iterator[bytes | memoryview]:
    yield before
    yield from graphdef.encode(graph)
    yield after


def _fill(info: Any, spec: TensorSpec) -> None:  # noqa: ANN401 - made at run time
    info.name = spec.name
    if spec.dtype is not None:
        info.dtype = int(spec.dtype)
    info.tensor_shape.CopyFrom(encode_shape(spec.shape))
