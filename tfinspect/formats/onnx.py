"""ONNX files: what goes in and out, nodes, and weights that stay in the file until they are asked for."""

from __future__ import annotations

import math
import os
import re
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, Final

from google.protobuf.message import DecodeError

from tfinspect.errors import CorruptFileError, InputError, UnsupportedFeatureError
from tfinspect.formats._file import MappedFile
from tfinspect.formats._onnx_schema import message_class
from tfinspect.formats._wire import LEN, Cursor, len_header
from tfinspect.ir.dtypes import DType
from tfinspect.ir.refs import TensorRef
from tfinspect.ir.signature import TensorSpec
from tfinspect.ir.tensors import Tensor

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    import numpy.typing as npt

    from tfinspect.ir.shapes import Shape

_DTYPES: Final = {
    1: DType.FLOAT, 2: DType.UINT8, 3: DType.INT8, 4: DType.UINT16, 5: DType.INT16, 6: DType.INT32, 7: DType.INT64,
    8: DType.STRING, 9: DType.BOOL, 10: DType.HALF, 11: DType.DOUBLE, 12: DType.UINT32, 13: DType.UINT64,
    14: DType.COMPLEX64, 15: DType.COMPLEX128, 16: DType.BFLOAT16, 17: DType.FLOAT8_E4M3FN, 18: DType.FLOAT8_E4M3FNUZ,
    19: DType.FLOAT8_E5M2, 20: DType.FLOAT8_E5M2FNUZ,
}  # fmt: skip
"""ONNX's element types (onnx.proto, TensorProto.DataType) with one byte or more an element."""
_CONSTANTS: Final = {
    "value_float": ("f", DType.FLOAT), "value_floats": ("floats", DType.FLOAT), "value_int": ("i", DType.INT64),
    "value_ints": ("ints", DType.INT64), "value_string": ("s", DType.STRING),
    "value_strings": ("strings", DType.STRING),
}  # fmt: skip
"""Field and element type by the attribute that holds the value of a Constant."""
_MODEL_GRAPH, _MODEL_METADATA = 7, 14
_GRAPH_INITIALIZER = 5
_TENSOR_RAW = 9
_LARGE_NBYTES = 1 << 10
_INDEX: Final = re.compile(r"[0-9]{1,9}")
_SIZE: Final = re.compile(r"[0-9]{1,20}")
_EXTERNAL = 1
_ONNX_STRING = 8
_PASSING = frozenset({"Identity", "Reshape", "Squeeze", "Unsqueeze", "Flatten", "Transpose", "Cast"})


@dataclass(frozen=True, slots=True)
class OnnxNode:
    """A node of the main graph."""

    name: str
    op: str
    domain: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class OnnxFile:
    """What an ONNX file holds.

    Attributes:
        path: the file.
        ir_version: version of the file format.
        producer: name and version of what wrote it.
        opsets: version by domain; the default domain is "".
        inputs: what it takes, initializers apart.
        outputs: what it gives.
        nodes: of the main graph.
        initializers: weights, and the values of Constant nodes, by tensor name.
        metadata: the file's metadata_props.
    """

    path: str
    ir_version: int
    producer: str
    opsets: Mapping[str, int]
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    nodes: tuple[OnnxNode, ...]
    initializers: Mapping[str, Tensor]
    metadata: Mapping[str, str]

    @property
    def tensor_names(self) -> frozenset[str]:
        """Names of everything a node computes."""
        return frozenset(name for node in self.nodes for name in node.outputs if name)

    def behind(self, output: str, ops: set[str] | frozenset[str]) -> str | None:
        """Return the tensor that feeds the first of `ops` behind an output, seen through reshaping, or None."""
        makers = {name: node for node in self.nodes for name in node.outputs}
        node = makers.get(output)
        while node is not None and node.inputs:
            if node.op in ops:
                return node.inputs[0]
            node = makers.get(node.inputs[0]) if node.op in _PASSING else None
        return None

    def sha256(self) -> str:
        """Return the hex digest of the file."""
        return MappedFile(self.path).sha256()


def read(path: str | os.PathLike[str]) -> OnnxFile:
    """Read an ONNX file; weights stay where they are until asked for.

    Raises:
        InputError: the file cannot be read, or is not one.
    """
    file = MappedFile(path)
    cursor = Cursor(file.view, file.path)
    large: list[tuple[Any, memoryview | None]] = []
    kept = bytearray()
    for number, kind, at, first, last in cursor.fields(0, file.size, "ModelProto"):
        if number == _MODEL_GRAPH and kind == LEN:
            graph = _strip_graph(cursor, first, last, large)
            kept += len_header(_MODEL_GRAPH, len(graph)) + graph
        else:
            kept += cursor.view[at:last]
    model = _parse(file.path, "ModelProto", bytes(kept), 0)
    initializers = {message.name: _tensor(file.path, message, raw) for message, raw in large}
    for node in model.graph.node:
        if node.op_type == "Constant":
            initializers.update(_constant(file.path, node))
    return OnnxFile(
        file.path,
        model.ir_version,
        " ".join(filter(None, (model.producer_name, model.producer_version))),
        {entry.domain: entry.version for entry in model.opset_import},
        tuple(_spec(v) for v in model.graph.input if v.name not in initializers),
        tuple(_spec(v) for v in model.graph.output),
        tuple(OnnxNode(n.name, n.op_type, n.domain, tuple(n.input), tuple(n.output)) for n in model.graph.node),
        initializers,
        {entry.key: entry.value for entry in model.metadata_props},
    )


def _constant(path: str, node: Any) -> Iterator[tuple[str, Tensor]]:  # noqa: ANN401 - made at run time
    """Yield name and value of a Constant node; sparse ones are left out."""
    for attribute in node.attribute:
        for name in node.output:
            if attribute.name == "value":
                yield name, _tensor(path, attribute.t, None)
            elif attribute.name in _CONSTANTS:
                field, dtype = _CONSTANTS[attribute.name]
                yield name, _plain(getattr(attribute, field), dtype)


def _plain(value: Any, dtype: DType) -> Tensor:  # noqa: ANN401 - a number, bytes, or a list of them
    shape = () if isinstance(value, (int, float, bytes)) else (len(value),)

    def load() -> npt.NDArray[Any]:
        import numpy as np

        return np.array(value if shape == () else list(value), dtype.numpy).reshape(shape)

    return Tensor(dtype, shape, load)


def _strip_graph(cursor: Cursor, start: int, end: int, large: list[tuple[Any, memoryview | None]]) -> bytes:
    """Copy a GraphProto without its initializers, which go to `large` with their bytes left in the file."""
    kept = bytearray()
    for number, kind, at, first, last in cursor.fields(start, end, "GraphProto"):
        if number != _GRAPH_INITIALIZER or kind != LEN:
            kept += cursor.view[at:last]
            continue
        tensor, raw = bytearray(), None
        for inner, inner_kind, begin, value, stop in cursor.fields(first, last, "TensorProto"):
            if inner == _TENSOR_RAW and inner_kind == LEN and stop - value > _LARGE_NBYTES:
                raw = cursor.view[value:stop]
            else:
                tensor += cursor.view[begin:stop]
        large.append((_parse(cursor.path, "TensorProto", bytes(tensor), first), raw))
    return bytes(kept)


def _parse(path: str, name: str, data: bytes, offset: int) -> Any:  # noqa: ANN401 - made at run time
    try:
        return message_class(name).FromString(data)
    except DecodeError:
        raise CorruptFileError(path, offset, f"an ONNX {name}", "bytes that are not one") from None


def _spec(value: Any) -> TensorSpec:  # noqa: ANN401 - made at run time
    kind = value.type.tensor_type
    shape: Shape = None
    if kind.HasField("shape"):
        shape = tuple(d.dim_value if d.WhichOneof("value") == "dim_value" else None for d in kind.shape.dim)
    name, colon, index = value.name.rpartition(":")
    named = TensorRef(name, int(index)) if colon and _INDEX.fullmatch(index) else TensorRef(value.name)
    # a name without an index is its own word for the tensor
    return TensorSpec(named, _DTYPES.get(kind.elem_type), shape, None if str(named) == value.name else value.name)


def _tensor(path: str, message: Any, raw: memoryview | None) -> Tensor:  # noqa: ANN401 - made at run time
    dtype = _DTYPES.get(message.data_type)
    shape = tuple(message.dims)
    if dtype is None:
        number = message.data_type

        def refuse() -> npt.NDArray[Any]:
            raise UnsupportedFeatureError(
                f"{path}: `{message.name}` has the ONNX type {number}, which is not read here"
            )

        return Tensor(DType.INVALID, shape, refuse)
    return Tensor(dtype, shape, lambda: _values(path, message, dtype, shape, raw))


def _values(path: str, message: Any, dtype: DType, shape: tuple[int, ...], raw: memoryview | None) -> npt.NDArray[Any]:  # noqa: ANN401
    import numpy as np

    what = f"{path}: `{message.name}` of shape {list(shape)}"
    evidence = {"path": path, "name": message.name, "shape": list(shape)}
    if any(d < 0 for d in shape):
        raise InputError(f"{path}: `{message.name}` has the impossible shape {list(shape)}", evidence=evidence)
    size = math.prod(shape)
    data: bytes | memoryview = raw if raw is not None else message.raw_data
    if message.data_location == _EXTERNAL:
        data = _external(path, message, size * dtype.itemsize)
        found = np.frombuffer(data, dtype.numpy) if data else np.empty(0, dtype.numpy)
    elif dtype is DType.STRING:
        found = np.empty(len(message.string_data), object)
        found[:] = list(message.string_data)
    elif data:
        if len(data) != size * dtype.itemsize:
            raise InputError(
                f"{what} takes {size * dtype.itemsize:,} bytes, but has {len(data):,}",
                evidence=evidence,
            )
        found = np.frombuffer(data, dtype.numpy)
    else:
        found = _typed(message, dtype)
    if len(found) != size:
        raise InputError(f"{what} has {len(found):,} values", evidence=evidence)
    try:
        return found.reshape(shape)
    except ValueError as error:  # more dimensions than NumPy has, or a zero beside sizes no machine can address
        raise InputError(
            f"{path}: `{message.name}` has the impossible shape {list(shape)}: {error}", evidence=evidence
        ) from None


def _typed(message: Any, dtype: DType) -> npt.NDArray[Any]:  # noqa: ANN401 - made at run time
    import numpy as np

    if dtype in (DType.FLOAT, DType.DOUBLE):
        return np.array(message.float_data if dtype is DType.FLOAT else message.double_data, dtype.numpy)
    if dtype in (DType.COMPLEX64, DType.COMPLEX128):
        is_single = dtype is DType.COMPLEX64
        parts = np.array(
            message.float_data if is_single else message.double_data, np.float32 if is_single else np.float64
        )
        return parts[: len(parts) // 2 * 2].view(dtype.numpy)
    if dtype is DType.INT64:
        return np.array(message.int64_data, np.int64)
    if dtype in (DType.UINT32, DType.UINT64):
        return np.array(message.uint64_data, np.uint64).astype(dtype.numpy)
    values = np.array(message.int32_data, np.int32)
    if dtype in (DType.HALF, DType.BFLOAT16):
        return values.astype(np.uint16).view(dtype.numpy)
    if dtype.is_floating:
        return values.astype(np.uint8).view(dtype.numpy)
    return values.astype(dtype.numpy)


def _external(path: str, message: Any, nbytes: int) -> bytes | memoryview:  # noqa: ANN401 - made at run time
    """Return the bytes of a weight in the file beside the model that the model names."""
    what = f"{path}: `{message.name}`"
    entries = {entry.key: entry.value for entry in message.external_data}
    location = entries.get("location", "")
    evidence = {"path": path, "name": message.name, "location": location}
    if message.data_type == _ONNX_STRING:
        raise InputError(f"{what} keeps strings in another file, which ONNX does not allow", evidence=evidence)
    folder = Path(path).parent
    name = str(PurePosixPath(location))  # "./weights.bin" is the same file
    if not location or name.startswith("/") or ".." in name.split("/"):
        raise InputError(f"{what} points out of the model's folder, at `{location}`", evidence=evidence)
    start = _number(what, entries, "offset", 0)
    length = _number(what, entries, "length", nbytes)
    if nbytes == length == 0:
        return b""
    file = MappedFile(name, within=str(folder))
    if length != nbytes or start + nbytes > file.size:
        raise InputError(
            f"{what} takes {nbytes:,} bytes, but is said to be {length:,} at byte {start:,} of {location}, "
            f"which has {file.size:,}",
            evidence={**evidence, "offset": start, "length": length, "nbytes": nbytes, "size": file.size},
        )
    return file.view[start : start + nbytes]


def _number(what: str, entries: Mapping[str, str], key: str, default: int) -> int:
    text = entries.get(key, str(default))
    if not _SIZE.fullmatch(text):
        raise InputError(f"{what} has the external {key} `{text[:40]}`, which is no size", evidence={key: text[:200]})
    return int(text)


def append_metadata(path: str | os.PathLike[str], entries: Mapping[str, str]) -> None:
    """Add entries to the metadata_props of a file, by appending: fields of a message may come in any order.

    Raises:
        OSError: the file cannot be written.
    """
    entry = message_class("StringStringEntryProto")
    with Path(path).open("ab") as file:
        for key, value in entries.items():
            data = entry(key=key, value=value).SerializeToString()
            file.write(len_header(_MODEL_METADATA, len(data)) + data)
        file.flush()
        os.fsync(file.fileno())
