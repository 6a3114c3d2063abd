"""Writing an ONNX file whose weights are streamed from elsewhere, so that no second copy of them is in memory.

A ModelProto is written field by field: everything small is serialised by onnx, the length of the graph is computed, and
the weights' TensorProtos follow as its last fields. Field numbers are those of onnx.proto: `ModelProto.graph` = 7,
`GraphProto.initializer` = 5, `TensorProto.raw_data` = 9.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tfinspect.errors import OutputError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from typing import BinaryIO

    from tfinspect.runtimes._onnx_weights import Derived
    from tfinspect.runtimes._weights import Weight

_GRAPH, _INITIALIZER, _RAW_DATA = 7, 5, 9
_LEN = 2  # wire type
_MAX_NBYTES = (2 << 30) - 1  # protobuf's limit on a message
_ALIGNMENT = 4096  # bytes; lets a runtime map external data page by page
_PIECE_NBYTES = 16 << 20


def write(
    model: Any,  # noqa: ANN401 - a ModelProto without the weights
    initializers: Mapping[str, Derived],
    weights: Mapping[str, Weight],
    output: str,
    *,
    external_data: str,
    force_external: bool,
) -> bool:
    """Write the model with its weights, flushed to disk.

    Args:
        model: complete but for the weights.
        initializers: source of each further initializer.
        weights: values by weight name.
        output: path of the ONNX file.
        external_data: name of a file beside it for the weights.
        force_external: use that file even if one file would do.

    Returns:
        Whether the external file was written.

    Raises:
        OutputError: the file cannot be written; nothing is left of it.
    """
    size = sum(d.dtype.itemsize * int(np.prod(d.shape, dtype=np.int64)) for d in initializers.values())
    # the descriptions of initializers take some hundred bytes each
    external = force_external or model.ByteSize() + size + 1024 * len(initializers) > _MAX_NBYTES
    places = [Path(output), Path(output).with_name(external_data)] if external else [Path(output)]
    try:
        if external:
            _write_external(model, initializers, weights, places[1], external_data)
            initializers = {}
        with places[0].open("wb") as file:
            _write_model(file, model, initializers, weights)
            _flush(file)
    except OSError as error:
        for place in places:
            place.unlink(missing_ok=True)
        reason = (error.strerror or str(error)).lower()
        raise OutputError(f"{output} cannot be written: {reason}", evidence={"path": output}) from error
    return external


def _write_model(
    file: BinaryIO,
    model: Any,  # noqa: ANN401 - a ModelProto
    initializers: Mapping[str, Derived],
    weights: Mapping[str, Weight],
) -> None:
    graph = model.graph.SerializeToString()
    heads = [_head(name, derived) for name, derived in initializers.items()]
    length = len(graph) + sum(len(head) + derived_nbytes for head, derived_nbytes in heads)
    rest = type(model)()
    rest.CopyFrom(model)
    rest.ClearField("graph")
    file.write(rest.SerializeToString())
    file.write(_key(_GRAPH) + _varint(length))
    file.write(graph)
    for (head, _), derived in zip(heads, initializers.values(), strict=True):
        file.write(head)
        file.writelines(_pieces(derived, weights[derived.weight]))


def _head(name: str, derived: Derived) -> tuple[bytes, int]:
    """Everything of a `GraphProto.initializer` field before the raw bytes, and the number of those."""
    nbytes = derived.dtype.itemsize * int(np.prod(derived.shape, dtype=np.int64))
    inner = _tensor(name, derived).SerializeToString() + _key(_RAW_DATA) + _varint(nbytes)
    return _key(_INITIALIZER) + _varint(len(inner) + nbytes) + inner, nbytes


def _tensor(name: str, derived: Derived) -> Any:  # noqa: ANN401 - a TensorProto
    from onnx import TensorProto, helper

    number = helper.np_dtype_to_tensor_dtype(derived.dtype.numpy)
    return TensorProto(name=name, data_type=number, dims=derived.shape)


def _write_external(
    model: Any,  # noqa: ANN401 - a ModelProto
    initializers: Mapping[str, Derived],
    weights: Mapping[str, Weight],
    place: Path,
    name_in_file: str,
) -> None:
    from onnx import TensorProto

    with place.open("wb") as file:
        for name, derived in initializers.items():
            file.write(bytes(-file.tell() % _ALIGNMENT))
            offset = file.tell()
            for piece in _pieces(derived, weights[derived.weight]):
                file.write(piece)
            tensor = model.graph.initializer.add()
            tensor.CopyFrom(_tensor(name, derived))
            tensor.data_location = TensorProto.EXTERNAL
            where = {"location": name_in_file, "offset": str(offset), "length": str(file.tell() - offset)}
            for key, value in where.items():
                tensor.external_data.add(key=key, value=value)
        _flush(file)


def _pieces(derived: Derived, weight: Weight) -> Iterator[memoryview]:
    from tfinspect.runtimes._onnx_weights import values

    flat = np.ascontiguousarray(values(derived, weight)).reshape(-1)
    if not flat.size:
        return
    data = flat.view(np.uint8).data
    for start in range(0, len(data), _PIECE_NBYTES):
        yield data[start : start + _PIECE_NBYTES]


def _flush(file: BinaryIO) -> None:
    file.flush()
    os.fsync(file.fileno())


def _key(number: int) -> bytes:
    return _varint(number << 3 | _LEN)


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:  # noqa: PLR2004 - seven bits a byte, the top bit says that more follow
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)
