"""Weights as `.safetensors`: eight bytes that say how long the header is, the header as JSON, and the tensors' bytes.

The header maps each name to `dtype`, `shape` and `data_offsets`, and `__metadata__` to texts. The tensors fill what
follows it without holes and without overlap, so a file that is too short, too long or otherwise touched is noticed
before any value is read; the format has no checksum, so a changed value is not.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from tfinspect.errors import CorruptFileError, InputError, LimitError
from tfinspect.formats import _atomic
from tfinspect.formats._pread import PreadFile
from tfinspect.ir.checkpoint import Checkpoint, VariableInfo, describe
from tfinspect.ir.dtypes import DType
from tfinspect.ir.tensors import Tensor

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    import numpy.typing as npt

    from tfinspect.ir.tensors import Bytes

FORMAT = "safetensors"
MAX_HEADER_NBYTES: Final = 100_000_000  # the format's own limit
_LENGTH_NBYTES = 8
_METADATA = "__metadata__"
_MAX_DIMS = 64  # NumPy's limit
_MAX_NBYTES = 1 << 63  # of an array in memory, whatever its zeros
_KEYS: Final = {"dtype", "shape", "data_offsets"}
DTYPES: Final = {
    DType.DOUBLE: "F64", DType.FLOAT: "F32", DType.HALF: "F16", DType.BFLOAT16: "BF16", DType.INT64: "I64",
    DType.INT32: "I32", DType.INT16: "I16", DType.INT8: "I8", DType.UINT64: "U64", DType.UINT32: "U32",
    DType.UINT16: "U16", DType.UINT8: "U8", DType.BOOL: "BOOL", DType.FLOAT8_E4M3FN: "F8_E4M3",
    DType.FLOAT8_E5M2: "F8_E5M2",
}  # fmt: skip
"""Name of each element type the format has, and nothing for those it has not."""
_BY_NAME: Final = {name: dtype for dtype, name in DTYPES.items()}


def looks_like(view: memoryview) -> bool:
    """Whether a file begins as these do; one that breaks off is recognised, so that reading can say where."""
    start = bytes(view[: _LENGTH_NBYTES + 400])
    size = int.from_bytes(start[:_LENGTH_NBYTES], "little")
    header = start[_LENGTH_NBYTES : _LENGTH_NBYTES + size]
    if not 1 < size <= MAX_HEADER_NBYTES or not header.startswith(b"{"):
        return False
    return header.strip() == b"{}" or any(b'"%s"' % key.encode() in header for key in (*_KEYS, _METADATA))


def write(
    path: str | os.PathLike[str],
    tensors: Sequence[tuple[str, Tensor]],
    metadata: Mapping[str, str],
    *,
    force: bool = False,
) -> int:
    """Write tensors, piece by piece, whole or not at all; each must be of a type in `DTYPES`.

    Wide elements come first, so that each tensor begins at a multiple of its element's size.

    Returns:
        Bytes written.

    Raises:
        LimitError: the header would be longer than the format allows, or a name is one the format keeps for itself.
        InputError: a value cannot be read, or fails its checksum.
        OutputExistsError: the file exists and `force` is not set.
        OutputError: it cannot be written; nothing is left behind.
    """
    _atomic.ensure_absent(path, force=force)
    ordered = sorted(tensors, key=lambda pair: -pair[1].dtype.itemsize)
    entries: dict[str, object] = {_METADATA: dict(metadata)}
    position = 0
    for name, tensor in ordered:
        if name == _METADATA:
            raise LimitError(
                f"a variable is named `{_METADATA}`, a name that .safetensors keeps for itself",
                hint="leave it out with --match or --read, or write an .npz",
                evidence={"name": name},
            )
        end = position + tensor.nbytes
        entries[name] = {"dtype": DTYPES[tensor.dtype], "shape": list(tensor.shape), "data_offsets": [position, end]}
        position = end
    header = json.dumps(entries, separators=(",", ":"), ensure_ascii=False).encode()
    header = header.ljust(-(-len(header) // _LENGTH_NBYTES) * _LENGTH_NBYTES)
    if len(header) > MAX_HEADER_NBYTES:
        raise LimitError(
            f"the names of {len(ordered):,} variables make a header of {len(header):,} bytes; .safetensors allows "
            f"{MAX_HEADER_NBYTES:,}",
            hint="write fewer of them with --match or --role, or an .npz",
            evidence={"nbytes": len(header), "limit": MAX_HEADER_NBYTES},
        )
    return _atomic.write_file(path, _pieces(header, ordered), force=force)


def _pieces(header: bytes, tensors: Iterable[tuple[str, Tensor]]) -> Iterator[Bytes]:
    yield len(header).to_bytes(_LENGTH_NBYTES, "little")
    yield header
    for name, tensor in tensors:
        size = 0
        for piece in tensor.chunks():
            size += len(piece)
            yield piece
        if size != tensor.nbytes:
            raise InputError(
                f"`{name}` gave {size:,} bytes, and its shape takes {tensor.nbytes:,}", evidence={"name": name}
            )


class _Entry(NamedTuple):
    """A tensor of a file: where its bytes begin and end, counted from the start of the file."""

    dtype: DType
    shape: tuple[int, ...]
    start: int
    stop: int


def read(path: str | os.PathLike[str]) -> Checkpoint:
    """Read the header of a file; values are read when asked for.

    Raises:
        FileMissingError: there is no such file.
        CorruptFileError: the header is damaged, or does not fit the file.
    """
    name = os.fspath(path)
    file = PreadFile(name)
    entries = _entries(file)
    said = describe((key, entry.dtype, entry.shape) for key, entry in entries.items())
    variables = {
        key: VariableInfo(key, entry.dtype, entry.shape, entry.stop - entry.start, said[key][0], serves=said[key][1])
        for key, entry in entries.items()
    }
    return Checkpoint(name, FORMAT, variables, lambda key: _tensor(file, key, entries[key]), (name,))


def _entries(file: PreadFile) -> dict[str, _Entry]:
    size = int.from_bytes(file.read(0, min(_LENGTH_NBYTES, file.size)), "little")
    begin = _LENGTH_NBYTES + size
    if file.size < _LENGTH_NBYTES or size > MAX_HEADER_NBYTES or begin > file.size:
        raise CorruptFileError(
            file.path,
            0,
            f"the length of a header of at most {max(0, min(file.size - _LENGTH_NBYTES, MAX_HEADER_NBYTES)):,} bytes",
            f"{size:,}",
            structure="header length",
            hint="the file may have been cut short: copy or download it again",
        )
    entries = {name: _entry(file, begin, name, value) for name, value in _header(file, begin).items()}
    position = begin
    for name, entry in sorted(entries.items(), key=lambda item: (item[1].start, item[1].stop)):
        if entry.start != position:
            raise CorruptFileError(
                file.path, position, "a tensor", f"`{name}` at byte {entry.start:,}", structure="data"
            )
        position = entry.stop
    if position != file.size:
        raise CorruptFileError(
            file.path,
            min(position, file.size),
            f"the end of the file at byte {position:,}, where the last tensor ends",
            f"the end at byte {file.size:,}",
            structure="data",
            hint="the file may have been cut short: copy or download it again" if position > file.size else None,
        )
    return entries


class _TwiceError(ValueError):
    """A name stands in an object of JSON more than once."""


def _unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
    found = dict(pairs)
    if len(found) != len(pairs):
        names = Counter(name for name, _ in pairs)
        raise _TwiceError(names.most_common(1)[0][0])
    return found


def _header(file: PreadFile, begin: int) -> dict[str, object]:
    def wrong(expected: str, found: str, at: int = 0) -> CorruptFileError:
        return CorruptFileError(file.path, _LENGTH_NBYTES + at, expected, found, structure="header")

    try:
        text = file.read(_LENGTH_NBYTES, begin).decode()
        header = json.loads(text, object_pairs_hook=_unique)
    except _TwiceError as error:
        raise wrong("names that differ", f"`{error}` twice") from None
    except json.JSONDecodeError as error:
        raise wrong("an object of JSON", error.msg.lower(), len(text[: error.pos].encode())) from None
    except UnicodeDecodeError as error:
        raise wrong("text in UTF-8", "bytes that are not", error.start) from None
    except (ValueError, RecursionError):  # a number of thousands of digits, brackets in thousands of brackets
        raise wrong("an object of JSON", "one that is far too deep or large") from None
    if not isinstance(header, dict):
        raise wrong("an object of JSON", "another value")
    metadata = header.pop(_METADATA, {})
    if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
        raise wrong(f"texts by name under `{_METADATA}`", "something else")
    return header


def _entry(file: PreadFile, begin: int, name: str, value: object) -> _Entry:
    def wrong(expected: str, found: object) -> CorruptFileError:
        text = str(found) if isinstance(found, str) else json.dumps(found)
        return CorruptFileError(
            file.path,
            _LENGTH_NBYTES,
            expected,
            text if len(text) < 100 else text[:100] + "...",  # noqa: PLR2004 - it is shown to a person
            structure=f"header, tensor `{name}`",
        )

    if not isinstance(value, dict) or set(value) != _KEYS:
        raise wrong("dtype, shape and data_offsets", sorted(value) if isinstance(value, dict) else value)
    kind, shape, span = value["dtype"], value["shape"], value["data_offsets"]
    dtype = _BY_NAME.get(kind) if isinstance(kind, str) else None
    if dtype is None:
        raise wrong(f"a dtype of {', '.join(_BY_NAME)}", kind)
    if not _is_numbers(shape) or len(shape) > _MAX_DIMS:
        raise wrong(f"a shape of at most {_MAX_DIMS} dimensions", shape)
    if not _is_numbers(span) or len(span) != 2 or span[0] > span[1]:  # noqa: PLR2004 - where it begins and ends
        raise wrong("two offsets in rising order", span)
    nbytes = dtype.itemsize
    for size in shape:
        nbytes *= size or 1
        if nbytes >= _MAX_NBYTES:
            raise wrong("a shape that memory can hold", shape)
    nbytes = 0 if 0 in shape else nbytes
    if nbytes != span[1] - span[0]:
        raise wrong(f"{nbytes:,} bytes for {dtype}{shape}", f"{span[1] - span[0]:,} bytes")
    return _Entry(dtype, tuple(shape), begin + span[0], begin + span[1])


def _is_numbers(value: object) -> bool:
    return isinstance(value, list) and all(type(n) is int and 0 <= n < _MAX_NBYTES for n in value)


def _tensor(file: PreadFile, name: str, entry: _Entry) -> Tensor:
    def load() -> npt.NDArray[Any]:
        import numpy as np

        try:
            flat = np.empty(entry.stop - entry.start, np.uint8)
        except MemoryError:
            raise LimitError(
                f"`{name}` takes {entry.stop - entry.start:,} bytes, which is more memory than there is",
                evidence={"nbytes": entry.stop - entry.start},
            ) from None
        position = 0
        for piece in file.pieces(entry.start, entry.stop):
            flat[position : position + len(piece)] = np.frombuffer(piece, np.uint8)
            position += len(piece)
        return flat.view(entry.dtype.numpy).reshape(entry.shape)

    return Tensor(entry.dtype, entry.shape, load, lambda: file.pieces(entry.start, entry.stop))
