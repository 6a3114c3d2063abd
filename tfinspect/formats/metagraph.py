"""MetaGraphDef: the `.meta` beside a checkpoint, and each graph of a SavedModel."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from google.protobuf.message import DecodeError

from tfinspect.errors import CorruptFileError, InputError, UsageError, WrongKindError
from tfinspect.formats import _tags, graphdef, hub, pbtxt, session_bundle
from tfinspect.formats._file import MappedFile
from tfinspect.formats._schema import message_class
from tfinspect.formats._tensor_proto import decode_shape
from tfinspect.formats._wire import LEN, Cursor
from tfinspect.ir.dtypes import DType
from tfinspect.ir.graph import Graph, Source
from tfinspect.ir.model import Model, Saver
from tfinspect.ir.refs import TensorRef
from tfinspect.ir.signature import Signature, TensorSpec

if TYPE_CHECKING:
    import os

_META_INFO, _GRAPH_DEF, _OBJECT_GRAPH = 1, 2, 7
_TAGS = 4  # of MetaInfoDef
_OBJECT_NODES = 1  # of SavedObjectGraph


def read(path: str | os.PathLike[str]) -> Model:
    """Read a MetaGraphDef, binary or text; the checkpoint beside it is not looked for.

    Raises:
        InputError: the file cannot be read, or is not one.
    """
    file = MappedFile(path)
    source = Source(file.path, file.size, file.sha256)
    view = file.view
    if _tags.is_text(view):
        view = memoryview(pbtxt.parse(file, "MetaGraphDef").SerializeToString())
    model = decode(Cursor(view, file.path), 0, len(view), file.path, "metagraph")
    if model.graph is None:
        raise WrongKindError(f"{file.path} is a MetaGraphDef without a graph", evidence={"path": file.path})
    model.graph.source = source
    return model


def tags(cursor: Cursor, start: int, end: int) -> tuple[str, ...]:
    """Return the tags of the MetaGraphDef in [start, end), without reading the rest of it.

    Raises:
        CorruptFileError: the bytes are no MetaGraphDef.
    """
    found = []
    for number, kind, _, first, last in cursor.fields(start, end, "MetaGraphDef"):
        if (number, kind) == (_META_INFO, LEN):
            for inner, wire, at, begin, stop in cursor.fields(first, last, "MetaInfoDef"):
                if (inner, wire) == (_TAGS, LEN):
                    try:
                        found.append(bytes(cursor.view[begin:stop]).decode())
                    except UnicodeDecodeError:
                        raise CorruptFileError(
                            cursor.path, at, "a tag", "bytes that are not UTF-8", structure="MetaInfoDef"
                        ) from None
    return tuple(found)


def decode(cursor: Cursor, start: int, end: int, path: str, format_name: str) -> Model:
    """Read the MetaGraphDef that stands in [start, end) of a mapped file; its graph is not copied.

    Raises:
        CorruptFileError: the bytes are no MetaGraphDef.
        InputError: a signature names a tensor in a way that is none, or a collection holds what does not belong in it.
    """
    graph: Graph | None = None
    facts: dict[str, str] = {}
    rest = bytearray()
    for number, kind, at, first, last in cursor.fields(start, end, "MetaGraphDef"):
        if number == _GRAPH_DEF and kind == LEN:
            graph = graphdef.decode(cursor, first, last)
        elif number == _OBJECT_GRAPH and kind == LEN:
            facts |= _about_objects(cursor, first, last)
        else:
            rest += cursor.view[at:last]
    try:
        message = message_class("MetaGraphDef").FromString(bytes(rest))
    except DecodeError:
        raise CorruptFileError(path, start, "a MetaGraphDef", "bytes that are not one") from None
    saver = message.saver_def
    collections = message.collection_def
    signatures = {
        name: _signature(cursor.path, name, message.signature_def[name]) for name in sorted(message.signature_def)
    }
    if not signatures and session_bundle.SIGNATURES in collections:
        signatures = session_bundle.signatures(collections[session_bundle.SIGNATURES], graph, cursor.path)
        facts["session_bundle"] = "export of TensorFlow Serving from before SavedModel"
    if hub.ATTACHMENTS in collections:
        facts |= hub.attachments(collections[hub.ATTACHMENTS].bytes_list.value, cursor.path)
    return Model(
        path,
        format_name,
        graph=graph,
        signatures=signatures,
        collections={
            name: tuple(collections[name].node_list.value)
            for name in sorted(collections)
            if collections[name].WhichOneof("value") == "node_list"
        },
        saver=Saver(saver.restore_op_name, saver.filename_tensor_name, saver.save_tensor_name)
        if saver.restore_op_name
        else None,
        tags=tuple(message.meta_info_def.tags),
        tensorflow_version=message.meta_info_def.tensorflow_version,
        assets=session_bundle.assets(collections, cursor.path)
        | {asset.filename: asset.tensor_info.name for asset in message.asset_file_def},
        facts=facts,
    )


def _about_objects(cursor: Cursor, start: int, end: int) -> dict[str, str]:
    """Tell what the first object of a SavedObjectGraph is; the others are not read."""
    for number, kind, _, first, last in cursor.fields(start, end, "SavedObjectGraph"):
        if (number, kind) == (_OBJECT_NODES, LEN):
            try:
                root = message_class("SavedObject").FromString(bytes(cursor.view[first:last]))
            except DecodeError:
                raise CorruptFileError(cursor.path, first, "a SavedObject", "bytes that are not one") from None
            return {"saved_by": "TensorFlow 2: objects and functions", **hub.reusable(root)}
    return {}


def _signature(path: str, name: str, message: Any) -> Signature:  # noqa: ANN401 - made at run time
    try:
        return Signature(
            name,
            tuple(_spec(key, message.inputs[key]) for key in sorted(message.inputs)),
            tuple(_spec(key, message.outputs[key]) for key in sorted(message.outputs)),
            message.method_name,
        )
    except UsageError as error:
        raise InputError(
            f"{path}: the signature `{name}` is not well formed: {error.message}",
            evidence={"path": path, "signature": name},
        ) from None


def _spec(key: str, info: Any) -> TensorSpec:  # noqa: ANN401 - made at run time
    kind = info.WhichOneof("value")
    if kind == "coo_sparse":
        name = info.coo_sparse.values_tensor_name
    elif kind == "composite_tensor" and info.composite_tensor.components:
        name = info.composite_tensor.components[0].name  # the values come first
    else:
        name = info.name
    ref = TensorRef.parse(name) if name else TensorRef(key)
    dtype = DType.from_number(info.dtype)
    shape = decode_shape(info.tensor_shape) if info.HasField("tensor_shape") else None
    return TensorSpec(ref, None if dtype is DType.INVALID else dtype, shape, key)
