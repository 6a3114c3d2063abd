"""TensorFlow Lite models: operators of all subgraphs, signatures, and weights that stay in the file."""

from __future__ import annotations

import os
import zipfile
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from tfinspect.errors import UnsupportedFeatureError, counted
from tfinspect.formats import _tflite_schema as schema
from tfinspect.formats._collector import held_back
from tfinspect.formats._file import MappedFile, open_regular
from tfinspect.formats._flatbuffers import Buffer, Table
from tfinspect.formats._tflite_options import Options
from tfinspect.formats._tflite_tensors import Stored, value_of
from tfinspect.formats._unique import UniqueNames
from tfinspect.ir.attrs import Attr, AttrList
from tfinspect.ir.checkpoint import Checkpoint, VariableInfo
from tfinspect.ir.dtypes import DType
from tfinspect.ir.model import Model
from tfinspect.ir.operators import Operator
from tfinspect.ir.refs import TensorRef, split_input
from tfinspect.ir.risks import Risk
from tfinspect.ir.signature import Signature, TensorSpec

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tfinspect.ir.shapes import Shape

_VERSION: Final = 3
_ZIP_TAIL_NBYTES: Final = 22 + (1 << 16)  # of a zip archive's last record, with the longest comment
_WORDS_NBYTES: Final = 64  # of a metadata entry that is shown as text
_NAME_LENGTH: Final = 200  # of what stands before many names
_CUSTOM: Final = frozenset({"CUSTOM", "DELEGATE"})


@dataclass(frozen=True, slots=True)
class _Tensor:
    """A tensor of a subgraph."""

    name: str
    dtype: DType
    shape: Shape
    buffer: int
    quantization: Table | None


@dataclass(frozen=True, slots=True)
class _Subgraph:
    """A subgraph, with the name its operators carry as their body."""

    table: Table
    name: str
    tensors: tuple[_Tensor, ...]

    def tensor(self, index: int, where: Table) -> _Tensor:
        if not 0 <= index < len(self.tensors):
            raise where.damaged(f"the number of one of {counted(len(self.tensors), 'tensor')}", f"{index:,}")
        return self.tensors[index]

    def names(self, indices: Sequence[int], where: Table) -> tuple[str, ...]:
        """Return names of tensors; -1 is an optional one that is left out."""
        return tuple("" if index == -1 else self.tensor(index, where).name for index in indices)


@held_back()
def read(path: str | os.PathLike[str]) -> Model:
    """Read a TensorFlow Lite model; weights stay where they are until asked for.

    Raises:
        InputError: the file cannot be read, or is not one.
    """
    return _Reader(MappedFile(path)).model()


class _Reader:
    def __init__(self, file: MappedFile) -> None:
        self._file = file
        self._root = Buffer(file.view, file.path).root("model")
        version = self._root.number(0, "I")
        if version != _VERSION:
            raise UnsupportedFeatureError(
                f"{file.path} is of version {version:,} of TensorFlow Lite's schema, of which only {_VERSION} is read",
                evidence={"path": file.path, "version": version},
            )
        self._buffers = tuple(self._root.tables(4, "buffer"))
        self._variables: dict[str, VariableInfo] = {}
        self._stored: dict[str, Stored] = {}

    def model(self) -> Model:
        names = UniqueNames()
        bodies = UniqueNames()
        subgraphs = []
        for index, table in enumerate(self._root.tables(2, "subgraph")):
            body = bodies.take(table.text(4)[:_NAME_LENGTH] or (f"subgraph_{index}" if index else "main"))
            subgraphs.append(_Subgraph(table, body, self._tensors(table, body if index else "", names)))
        operators = self._operators(subgraphs)
        signatures = self._signatures(subgraphs)
        path = self._file.path
        return Model(
            path,
            "tflite",
            checkpoint=Checkpoint(path, "tflite", self._variables, lambda name: value_of(self._stored[name]), (path,)),
            signatures=signatures,
            operators=operators,
            facts=self._facts(subgraphs),
            risks=tuple(_risks(operators)),
        )

    def _tensors(self, subgraph: Table, scope: str, names: UniqueNames) -> tuple[_Tensor, ...]:
        found = []
        for index, table in enumerate(subgraph.tables(0, "tensor")):
            name = names.take(table.text(3) or f"tensor_{index}", scope)
            number = table.number(1, "b")
            dtype = schema.DTYPES[number] if 0 <= number < len(schema.DTYPES) else DType.INVALID
            stored = self._constant(table, name, dtype)
            shape = table.numbers(0, "i")
            if stored is not None:
                self._stored[name] = stored
                self._variables[name] = VariableInfo(name, dtype, stored.shape, stored.nbytes)
            found.append(
                _Tensor(
                    name,
                    dtype,
                    shape if stored is not None else _shape(table, shape),
                    table.number(2, "I"),
                    table.table(4, "quantization"),
                )
            )
        return tuple(found)

    def _constant(self, table: Table, name: str, dtype: DType) -> Stored | None:
        """Return where the value of a tensor lies, None where it has none."""
        index = table.number(2, "I")
        shape = table.numbers(0, "i")
        if table.number(10, "I"):
            return Stored(self._file, name, dtype, shape, table.position, 0, "external")
        if index == 0:
            return None
        start, nbytes = self._buffer(index, table)
        if nbytes == 0:
            return None
        return Stored(self._file, name, dtype, shape, start, nbytes, "sparse" if table.has(6) else "")

    def _buffer(self, index: int, where: Table) -> tuple[int, int]:
        """Return where a buffer begins and how many bytes it has."""
        if index >= len(self._buffers):
            raise where.damaged(f"the number of one of {counted(len(self._buffers), 'buffer')}", f"{index:,}")
        buffer = self._buffers[index]
        offset, size = buffer.number(1, "Q"), buffer.number(2, "Q")
        if offset <= 1:  # 0 and 1 say that it stands in the FlatBuffer itself
            return buffer.stretch(0) or (0, 0)
        if offset + size > self._file.size:
            raise buffer.damaged(
                f"a buffer inside the file of {self._file.size:,} bytes", f"{size:,} bytes at byte {offset:,}"
            )
        return offset, size

    def _operators(self, subgraphs: Sequence[_Subgraph]) -> tuple[Operator, ...]:
        codes = [_op(table) for table in self._root.tables(1, "operator code")]
        options = Options([subgraph.name for subgraph in subgraphs])
        names = UniqueNames()
        found = []
        for position, subgraph in enumerate(subgraphs):
            body = subgraph.name if position else ""
            for index, table in enumerate(subgraph.table.tables(3, "operator")):
                code = table.number(0, "I")
                if code >= len(codes):
                    raise table.damaged(f"the number of one of {counted(len(codes), 'operator code')}", f"{code:,}")
                outputs = table.numbers(2, "i")
                shown = subgraph.names(outputs, table)
                first = subgraph.tensor(outputs[0], table) if outputs and outputs[0] != -1 else None
                named = next(filter(None, shown), f"{codes[code][:_NAME_LENGTH]}_{index}")
                attrs = options.of(table)
                if first is not None and first.quantization is not None:
                    attrs |= _quantization(first.quantization)
                found.append(
                    Operator(
                        names.take(named, "" if any(shown) else body),
                        codes[code],
                        subgraph.names(table.numbers(1, "i"), table),
                        shown,
                        None if first is None else first.dtype,
                        None if first is None else first.shape,
                        attrs,
                        body,
                    )
                )
        return tuple(found)

    def _signatures(self, subgraphs: Sequence[_Subgraph]) -> Mapping[str, Signature]:
        names = UniqueNames()
        found = {}
        for table in self._root.tables(7, "signature"):
            index = table.number(4, "I")
            if index >= len(subgraphs):
                raise table.damaged(f"the number of one of {counted(len(subgraphs), 'subgraph')}", f"{index:,}")
            key = names.take(table.text(2) or "main")
            found[key] = Signature(key, _specs(table, 0, subgraphs[index]), _specs(table, 1, subgraphs[index]))
        if not found and subgraphs:
            found["main"] = Signature("main", _ends(subgraphs[0], 1), _ends(subgraphs[0], 2))
        return found

    def _facts(self, subgraphs: Sequence[_Subgraph]) -> dict[str, str]:
        facts = {
            "schema_version": str(_VERSION),
            "description": self._root.text(3),
            "subgraphs": ", ".join(subgraph.name for subgraph in subgraphs[1:]),
        }
        metadata = []
        for table in self._root.tables(6, "metadata"):
            name = table.text(0)
            start, nbytes = self._buffer(table.number(1, "I"), table)
            content = bytes(self._file.view[start : start + min(nbytes, _WORDS_NBYTES + 1)]).rstrip(b"\0")
            if content and len(content) <= _WORDS_NBYTES and content.isascii() and content.decode().isprintable():
                facts.setdefault(name, content.decode())
            else:
                metadata.append(name)
        facts["metadata"] = ", ".join(metadata)
        if b"PK\x05\x06" in bytes(self._file.view[-_ZIP_TAIL_NBYTES:]):
            facts["associated_files"] = ", ".join(_appended(self._file.path))
        return {key: value for key, value in facts.items() if value}


def _appended(path: str) -> list[str]:
    """Return the names in a zip archive appended to a model, as its metadata tool does; nothing is unpacked."""
    with os.fdopen(open_regular(path), "rb") as file:
        try:
            with zipfile.ZipFile(file) as archive:  # it knows that offsets count from where the archive begins
                return archive.namelist()
        except (zipfile.BadZipFile, ValueError, NotImplementedError, OSError):
            return []


def _op(table: Table) -> str:
    number = max(table.number(0, "b"), table.number(3, "i"))
    if not 0 <= number < len(schema.OPERATORS):
        return f"BUILTIN_{number}"  # of a newer TensorFlow
    name = schema.OPERATORS[number]
    return f"custom::{table.text(1)}" if name in _CUSTOM else name


def _shape(table: Table, shape: tuple[int, ...]) -> Shape:
    """Return the shape of a tensor that is computed; only its signature tells which dimensions are free."""
    free = table.numbers(7, "i")
    if len(free) == len(shape):
        shape = free
    if not shape and not table.number(8, "?"):  # what files write for scalars and for unknown ranks alike
        return None
    return tuple(size if size >= 0 else None for size in shape)


def _quantization(table: Table) -> dict[str, Attr]:
    scale = table.numbers(2, "f")
    if not scale:
        return {}
    zero_point = table.numbers(3, "q")
    found = {"scale": Attr.of(AttrList("f", scale)), "zero_point": Attr.ints(zero_point)}
    if len(scale) > 1:
        found["quantized_dimension"] = Attr.of(int(table.number(6, "i")))
    return found


def _ends(main: _Subgraph, field: int) -> tuple[TensorSpec, ...]:
    return tuple(_spec(main.tensor(index, main.table)) for index in main.table.numbers(field, "i"))


def _specs(table: Table, field: int, subgraph: _Subgraph) -> tuple[TensorSpec, ...]:
    return tuple(
        _spec(subgraph.tensor(entry.number(1, "I"), entry), entry.text(0))
        for entry in table.tables(field, "signature entry")
    )


def _spec(tensor: _Tensor, key: str | None = None) -> TensorSpec:
    name, index, is_control = split_input(tensor.name)
    ref = TensorRef(tensor.name) if is_control else TensorRef(name, index)
    if key is None and str(ref) != tensor.name:
        key = tensor.name  # a name without an index is its own word for the tensor
    return TensorSpec(ref, tensor.dtype, tensor.shape, key)


def _risks(operators: Sequence[Operator]) -> list[Risk]:
    counts: Counter[str] = Counter(op.op for op in operators if op.op.startswith(("custom::", "STABLEHLO_CUSTOM_CALL")))
    found = []
    for op, count in counts.items():
        name = op.removeprefix("custom::")
        needs = "needs TensorFlow's own kernels" if name.startswith("Flex") else "needs a custom operator library"
        found.append(Risk("custom-code", op, f"`{name}` ({counted(count, 'operator')}) {needs}"))
    return found
