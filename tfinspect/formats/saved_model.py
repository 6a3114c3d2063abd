"""SavedModel: reading its first MetaGraph, and writing a frozen graph as one, without TensorFlow."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tfinspect.errors import CorruptFileError, FileMissingError, LimitError
from tfinspect.formats import _atomic, graphdef, metagraph, pbtxt
from tfinspect.formats._attrs import encode_shape
from tfinspect.formats._file import MappedFile
from tfinspect.formats._schema import message_class
from tfinspect.formats._wire import LEN, Cursor, len_header
from tfinspect.formats.identify import Sample, is_text
from tfinspect.ir.graph import Source

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from tfinspect.ir.graph import Graph
    from tfinspect.ir.model import Model
    from tfinspect.ir.signature import Signature, TensorSpec

_META_GRAPHS, _META_INFO, _GRAPH_DEF = 2, 1, 2
_SCHEMA_VERSION = 1
_NAMES = ("saved_model.pb", "saved_model.pbtxt")


def read(path: str | os.PathLike[str]) -> Model:
    """Read the first MetaGraph of a SavedModel folder, or of its `saved_model.pb`.

    Raises:
        FileMissingError: the folder holds no SavedModel.
        CorruptFileError: the file is not well formed.
    """
    place = Path(path)
    if place.is_dir():
        found = next((place / name for name in _NAMES if (place / name).is_file()), None)
        if found is None:
            raise FileMissingError(f"{place} holds no saved_model.pb", evidence={"path": str(place)})
    else:
        found = place
    file = MappedFile(found)
    view = file.view
    if is_text(Sample(file.path)):
        view = memoryview(pbtxt.parse(file, "SavedModel").SerializeToString())
    cursor = Cursor(view, file.path)
    for number, kind, _, first, last in cursor.fields(0, len(view), "SavedModel"):
        if number == _META_GRAPHS and kind == LEN:
            model = metagraph.decode(cursor, first, last, os.fspath(path), "saved_model")
            if model.graph is not None:
                model.graph.source = Source(file.path, file.size, file.sha256)
            return model
    raise CorruptFileError(file.path, file.size, "a MetaGraphDef", "the end of the file", structure="SavedModel")


def write(
    graph: Graph,
    path: str | os.PathLike[str],
    *,
    signature: Signature,
    assets: Mapping[str, bytes] | None = None,
    tags: Sequence[str] = ("serve",),
    force: bool = False,
) -> None:
    """Write a frozen graph as a SavedModel folder, whole or not at all.

    Args:
        graph: a graph without variables.
        path: the folder.
        signature: what it takes and gives; every input and output needs a key.
        assets: files for the `assets` folder, by name.
        tags: of the MetaGraph.
        force: replace the folder if it exists.

    Raises:
        LimitError: it would be 2 GiB or more.
        OutputExistsError: the folder exists and `force` is not set.
        OutputError: it cannot be written.
    """
    _atomic.ensure_absent(path, force=force)
    with _atomic.staged(path) as temporary, _atomic.output_errors(Path(path)):
        (temporary / "variables").mkdir(parents=True)
        if assets:
            (temporary / "assets").mkdir()
            for name, content in assets.items():
                (temporary / "assets" / Path(name).name).write_bytes(content)
        with (temporary / "saved_model.pb").open("xb") as file:
            for piece in _encode(graph, signature, tags):
                file.write(piece)
        _atomic.publish(temporary, path, force=force)


def _encode(graph: Graph, signature: Signature, tags: Sequence[str]) -> Iterator[bytes | memoryview]:
    size = graphdef.encoded_size(graph)
    info = message_class("MetaGraphDef")()
    info.meta_info_def.tags.extend(tags)
    info.meta_info_def.meta_graph_version = "1"
    rest = message_class("MetaGraphDef")()
    target = rest.signature_def[signature.name]
    target.method_name = signature.method
    for entries, specs in ((target.inputs, signature.inputs), (target.outputs, signature.outputs)):
        for spec in specs:
            _fill(entries[spec.key or spec.name], spec)
    head, tail = info.SerializeToString(deterministic=True), rest.SerializeToString(deterministic=True)
    graph_header = len_header(_GRAPH_DEF, size)
    total = len(head) + len(graph_header) + size + len(tail)
    if total > graphdef.MAX_NBYTES:
        raise LimitError(
            f"the graph takes {size:,} bytes, and a saved_model.pb cannot exceed {graphdef.MAX_NBYTES:,}",
            evidence={"nbytes": size, "limit": graphdef.MAX_NBYTES},
        )
    yield message_class("SavedModel")(saved_model_schema_version=_SCHEMA_VERSION).SerializeToString()
    yield len_header(_META_GRAPHS, total)
    yield head
    yield graph_header
    yield from graphdef.encode(graph)
    yield tail


def _fill(info: Any, spec: TensorSpec) -> None:  # noqa: ANN401 - made at run time
    info.name = spec.name
    if spec.dtype is not None:
        info.dtype = int(spec.dtype)
    info.tensor_shape.CopyFrom(encode_shape(spec.shape))
