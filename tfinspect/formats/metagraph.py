"""MetaGraphDef: the `.meta` beside a checkpoint, and each graph of a SavedModel."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from google.protobuf.message import DecodeError

from tfinspect.errors import CorruptFileError, InputError, UsageError, WrongKindError
from tfinspect.formats import _tags, graphdef, pbtxt
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

_GRAPH_DEF = 2
_OBJECT_GRAPH = 7


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


def decode(cursor: Cursor, start: int, end: int, path: str, format_name: str) -> Model:
    """Read the MetaGraphDef that stands in [start, end) of a mapped file; its graph is not copied.

    Raises:
        CorruptFileError: the bytes are no MetaGraphDef.
        InputError: a signature names a tensor in a way that is none.
    """
    graph: Graph | None = None
    rest = bytearray()
    for number, kind, at, first, last in cursor.fields(start, end, "MetaGraphDef"):
        if number == _GRAPH_DEF and kind == LEN:
            graph = graphdef.decode(cursor, first, last)
        elif number != _OBJECT_GRAPH:
            rest += cursor.view[at:last]
    try:
        message = message_class("MetaGraphDef").FromString(bytes(rest))
    except DecodeError:
        raise CorruptFileError(path, start, "a MetaGraphDef", "bytes that are not one") from None
    saver = message.saver_def
    return Model(
        path,
        format_name,
        graph=graph,
        signatures={
            name: _signature(cursor.path, name, message.signature_def[name]) for name in sorted(message.signature_def)
        },
        collections={
            name: tuple(message.collection_def[name].node_list.value)
            for name in sorted(message.collection_def)
            if message.collection_def[name].WhichOneof("value") == "node_list"
        },
        saver=Saver(saver.restore_op_name, saver.filename_tensor_name, saver.save_tensor_name)
        if saver.restore_op_name
        else None,
        tags=tuple(message.meta_info_def.tags),
        tensorflow_version=message.meta_info_def.tensorflow_version,
        assets={asset.filename: asset.tensor_info.name for asset in message.asset_file_def},
    )


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
    return TensorSpec(ref, None if dtype is DType.INVALID else dtype, decode_shape(info.tensor_shape), key)
