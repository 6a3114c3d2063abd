"""ONNX files: what goes in and out, nodes, and weights that stay in the file until they are asked for."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from tfinspect.errors import counted
from tfinspect.formats._collector import held_back
from tfinspect.formats._file import MappedFile
from tfinspect.formats._onnx_attrs import OnnxAttrs
from tfinspect.formats._onnx_bodies import Body, NodePart, Scan, qualified, scan
from tfinspect.formats._onnx_external import ExternalFiles
from tfinspect.formats._onnx_schema import message_class
from tfinspect.formats._onnx_tensors import DTYPES, SparsePart
from tfinspect.formats._unique import UniqueNames
from tfinspect.formats._wire import Cursor, len_header
from tfinspect.ir.checkpoint import Checkpoint, VariableInfo
from tfinspect.ir.dtypes import DType
from tfinspect.ir.model import Model
from tfinspect.ir.operators import Operator
from tfinspect.ir.refs import TensorRef
from tfinspect.ir.risks import Risk
from tfinspect.ir.signature import Signature, TensorSpec
from tfinspect.ir.tensors import Tensor

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    import numpy.typing as npt

    from tfinspect.formats._onnx_tensors import TensorPart
    from tfinspect.ir.shapes import Shape

_CONSTANTS: Final = {
    "value_float": ("f", DType.FLOAT), "value_floats": ("floats", DType.FLOAT), "value_int": ("i", DType.INT64),
    "value_ints": ("ints", DType.INT64), "value_string": ("s", DType.STRING),
    "value_strings": ("strings", DType.STRING),
}  # fmt: skip
"""Field and element type by the attribute that holds the value of a Constant."""
_MODEL_METADATA: Final = 14
_INDEX: Final = re.compile(r"[0-9]{1,9}")
_PASSING = frozenset({"Identity", "Reshape", "Squeeze", "Unsqueeze", "Flatten", "Cast"})
_KNOWN_DOMAINS: Final = frozenset(
    {
        "", "ai.onnx", "ai.onnx.ml", "ai.onnx.preview", "ai.onnx.preview.training", "ai.onnx.training",
        "com.microsoft", "com.microsoft.experimental", "com.microsoft.nchwc", "com.ms.internal.nhwc",
    }
)  # fmt: skip
"""Domains whose operators ONNX defines or onnxruntime brings."""


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
        """Return the tensor that feeds the first of `ops` behind an output, seen through reshaping, or None.

        Not through a Transpose: what stands behind it is laid out in another way than the output.
        """
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


@held_back()
def read(path: str | os.PathLike[str]) -> OnnxFile:
    """Read the main graph of an ONNX file; weights stay where they are until asked for.

    Raises:
        InputError: the file cannot be read, or is not one.
    """
    file = MappedFile(path)
    found = scan(Cursor(file.view, file.path), main_only=True)
    body = _main(found)
    files = ExternalFiles(file.path)
    header = found.header
    initializers = {part.message.name: part.tensor(files) for part in body.tensors}
    for node in body.nodes:
        if node.message.op_type == "Constant":
            initializers.update(_constant(node, files))
    return OnnxFile(
        file.path,
        header.ir_version,
        _producer(header),
        {entry.domain: entry.version for entry in header.opset_import},
        tuple(_spec(v) for v in body.message.input if v.name not in initializers),
        tuple(_spec(v) for v in body.message.output),
        tuple(
            OnnxNode(n.name, n.op_type, n.domain, tuple(n.input), tuple(n.output))
            for n in (node.message for node in body.nodes)
        ),
        initializers,
        {entry.key: entry.value for entry in header.metadata_props},
    )


@held_back()
def read_model(path: str | os.PathLike[str]) -> Model:
    """Read an ONNX file with every graph in it; weights stay where they are until asked for.

    Raises:
        InputError: the file cannot be read, or is not one.
    """
    file = MappedFile(path)
    found = scan(Cursor(file.view, file.path))
    files = ExternalFiles(file.path)
    risks = _outside(found.bodies, files)
    stored = _stored(found.bodies)
    main = _main(found)
    held = {part.message.name for part in main.tensors} | {part.values.message.name for part in main.sparse}
    operators = _operators(found.bodies, files)
    return Model(
        file.path,
        "onnx",
        checkpoint=Checkpoint(
            file.path,
            "onnx",
            {
                name: VariableInfo(name, part.values.dtype, part.shape, part.stored_nbytes)
                if isinstance(part, SparsePart)
                else VariableInfo(name, part.dtype, part.shape, part.stored_nbytes)
                for name, part in stored.items()
            },
            lambda name: stored[name].tensor(files),
            (file.path, *files.paths),
        ),
        signatures={
            "main": Signature(
                "main",
                tuple(_spec(value) for value in main.message.input if value.name not in held),
                tuple(_spec(value) for value in main.message.output),
            )
        },
        operators=operators,
        facts=_facts(found),
        risks=(*risks, *_custom(operators, found.bodies)),
    )


def _main(found: Scan) -> Body:
    first = next(iter(found.bodies), None)
    if first is None or first.name:
        return Body("", message_class("LazyGraph")(), [], [], [])
    return first


def _stored(bodies: Sequence[Body]) -> dict[str, TensorPart | SparsePart]:
    """Return the initializers of all graphs, those of the main graph by their own names."""
    names = UniqueNames()
    found: dict[str, TensorPart | SparsePart] = {}
    for body in bodies:
        for part in body.tensors:
            found[names.take(part.message.name, body.name)] = part
        for sparse in body.sparse:
            found[names.take(sparse.values.message.name, body.name)] = sparse
    return found


def _operators(bodies: Sequence[Body], files: ExternalFiles) -> tuple[Operator, ...]:
    names = UniqueNames()
    found = []
    for body in bodies:
        types = {value.name: value.type.tensor_type for value in body.values}
        for index, node in enumerate(body.nodes):
            message = node.message
            outputs = tuple(message.output)
            first = next(filter(None, outputs), "")
            dtype, shape = _type_of(types.get(outputs[0]) if outputs else None, node)
            found.append(
                Operator(
                    names.take(message.name or first or f"{message.op_type[:200]}_{index}", body.name),
                    qualified(message.domain, message.op_type),
                    tuple(message.input),
                    outputs,
                    dtype,
                    shape,
                    OnnxAttrs(node, files) if message.attribute else {},
                    body.name,
                )
            )
    return tuple(found)


def _type_of(kind: Any, node: NodePart) -> tuple[DType | None, Shape]:  # noqa: ANN401 - made at run time
    """Return dtype and shape of a node's first output; a constant has those of its value."""
    if kind is not None:
        return DTYPES.get(kind.elem_type), _shape(kind)
    if node.message.op_type == "Constant" and node.deep:
        part = next((part for deep in node.deep.values() for part in deep.tensors), None)
        if part is not None:
            return part.dtype, part.shape
    return None, None


def _outside(bodies: Sequence[Body], files: ExternalFiles) -> list[Risk]:
    """Return the tensors that are said to stand where no file of the model can be."""
    found = []
    for body in bodies:
        for part in body.stored:
            if part.is_external:
                problem = files.problem(part.message, part.nbytes)
                if problem:
                    name = part.message.name
                    found.append(Risk("outside-path", f"{body.name}/{name}" if body.name else name, problem))
    return found


def _custom(operators: Sequence[Operator], bodies: Sequence[Body]) -> list[Risk]:
    """Return the operators that neither ONNX, nor onnxruntime, nor the file itself defines."""
    own = {qualified(body.message.domain, body.message.name) for body in bodies if body.is_function}
    counts: dict[str, int] = {}
    for operator in operators:
        domain = operator.op.rpartition("::")[0]
        if domain not in _KNOWN_DOMAINS and operator.op not in own:
            counts[operator.op] = counts.get(operator.op, 0) + 1
    return [
        Risk("custom-code", op, f"`{op}` ({counted(count, 'operator')}) needs a custom operator library")
        for op, count in counts.items()
    ]


def _facts(found: Scan) -> dict[str, str]:
    header = found.header
    functions = [body.name for body in found.bodies if body.is_function]
    facts = {
        "ir_version": str(header.ir_version) if header.ir_version else "",
        "opset": ", ".join(f"{entry.domain or 'ai.onnx'} {entry.version}" for entry in header.opset_import),
        "producer": _producer(header),
        "domain": header.domain,
        "model_version": str(header.model_version) if header.model_version else "",
        "description": header.doc_string,
        "functions": ", ".join(functions),
        "training": "has graphs for training" if found.has_training else "",
    }
    facts |= {f"metadata.{entry.key}": entry.value for entry in header.metadata_props}
    return {key: value for key, value in facts.items() if value}


def _producer(header: Any) -> str:  # noqa: ANN401 - made at run time
    return " ".join(filter(None, (header.producer_name, header.producer_version)))


def _constant(node: NodePart, files: ExternalFiles) -> Iterator[tuple[str, Tensor]]:
    """Yield name and value of a Constant node; sparse ones are left out."""
    for position, attribute in enumerate(node.message.attribute):
        deep = node.deep.get(position)
        for name in node.message.output:
            if attribute.name == "value" and deep is not None and deep.tensors:
                yield name, deep.tensors[0].tensor(files)
            elif attribute.name in _CONSTANTS:
                field, dtype = _CONSTANTS[attribute.name]
                yield name, _plain(getattr(attribute, field), dtype)


def _plain(value: Any, dtype: DType) -> Tensor:  # noqa: ANN401 - a number, bytes, or a list of them
    shape = () if isinstance(value, (int, float, bytes)) else (len(value),)

    def load() -> npt.NDArray[Any]:
        import numpy as np

        return np.array(value if shape == () else list(value), dtype.numpy).reshape(shape)

    return Tensor(dtype, shape, load)


def _shape(kind: Any) -> Shape:  # noqa: ANN401 - made at run time
    if not kind.HasField("shape"):
        return None
    return tuple(d.dim_value if d.WhichOneof("value") == "dim_value" else None for d in kind.shape.dim)


def _spec(value: Any) -> TensorSpec:  # noqa: ANN401 - made at run time
    kind = value.type.tensor_type
    name, colon, index = value.name.rpartition(":")
    named = TensorRef(name, int(index)) if colon and _INDEX.fullmatch(index) else TensorRef(value.name)
    # a name without an index is its own word for the tensor
    return TensorSpec(named, DTYPES.get(kind.elem_type), _shape(kind), None if str(named) == value.name else value.name)


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
