"""TensorFlow graph to ONNX file, by tf2onnx in a child process; its patches, log and memory stay there."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from tfinspect.runtimes import _process

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tfinspect.ir.shapes import Shape

DEFAULT_OPSET = 15  # tf2onnx's own default, the one its users test
MAX_OPSET = 18  # the last that tf2onnx has an IR version for


@dataclass(frozen=True, slots=True, kw_only=True)
class ConversionRequest:
    """What to convert.

    Attributes:
        graph: a frozen binary GraphDef, the inputs of which are Placeholders.
        inputs: tensors `name:index` and the shapes given to them; None keeps the graph's own.
        outputs: tensors `name:index`, which keep these names.
        output: where the ONNX file goes; written over, so give a temporary name.
        weights: folder of `write_weights`: values of the Placeholders that stand for large constants.
        opset: version of the default ONNX domain.
        metadata: goes into the file's metadata_props.
        producer_version: of this program, for the file's producer field.
        description: the file's doc_string.
        external_data: name of the file, beside `output`, that takes the weights if one file cannot hold them; the
            name is written into the ONNX file. Default: `NAME.data`.
        force_external_data: use it whatever the size.
        time_limit: seconds.
    """

    graph: str | os.PathLike[str]
    inputs: Mapping[str, Shape]
    outputs: Sequence[str]
    output: str | os.PathLike[str]
    weights: str | os.PathLike[str] | None = None
    opset: int = DEFAULT_OPSET
    metadata: Mapping[str, str] = field(default_factory=dict)
    producer_version: str = ""
    description: str = ""
    external_data: str | None = None
    force_external_data: bool = False
    time_limit: float = _process.TIME_LIMIT


@dataclass(frozen=True, slots=True)
class InitializerSource:
    """Where an initializer made from an externalised weight comes from.

    Attributes:
        weight: name of the Placeholder.
        steps: what was done to its values, in order, as `(op, argument)`: `("Transpose", (3, 2, 0, 1))`,
            `("Reshape", (32, 1, 3, 3))` (Squeeze, Unsqueeze and Flatten are said as Reshape),
            `("Cast", ("float16",))`.
    """

    weight: str
    steps: tuple[tuple[str, tuple[int | str, ...]], ...]


@dataclass(frozen=True, slots=True)
class Conversion:
    """What came of it.

    Attributes:
        path: the ONNX file.
        external_data: the file beside it that holds the weights, or None.
        opset: of the default domain.
        ir_version: of the file.
        node_count: nodes, those in bodies included.
        op_counts: nodes by op.
        seconds: conversion alone, without imports.
        peak_nbytes: highest resident memory of the child so far.
        inputs: names of the file's inputs, in order.
        outputs: names of its outputs, in order.
        initializers: sources by initializer name, of the weights that were kept out; none where `inlined`.
        unused_weights: weights that nothing in the result uses.
        inlined: whether tf2onnx needed the weights as constants, so that it was run again with them.
        warnings: what tf2onnx warned of.
    """

    path: str
    external_data: str | None
    opset: int
    ir_version: int
    node_count: int
    op_counts: Mapping[str, int]
    seconds: float
    peak_nbytes: int
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    initializers: Mapping[str, InitializerSource]
    unused_weights: tuple[str, ...]
    inlined: bool
    warnings: tuple[str, ...]


def convert(request: ConversionRequest) -> Conversion:
    """Convert.

    Raises:
        UnsupportedOpsError: ops that ONNX or tf2onnx cannot express; `evidence["ops"]` lists op -> node names.
        LimitError: the opset is beyond what tf2onnx writes, or the graph beyond what it takes.
        OutputError: the file cannot be written.
        RuntimeFailedError: tf2onnx failed in another way.
        RuntimeUnavailableError: tf2onnx, TensorFlow or onnx is not installed.
    """
    output = os.path.abspath(request.output)  # noqa: PTH100 - links stay links
    params = {
        "graph": os.path.abspath(request.graph),  # noqa: PTH100
        "weights": None if request.weights is None else os.path.abspath(request.weights),  # noqa: PTH100
        "inputs": {name: None if shape is None else list(shape) for name, shape in request.inputs.items()},
        "outputs": list(request.outputs),
        "output": output,
        "opset": request.opset,
        "max_opset": MAX_OPSET,
        "metadata": dict(request.metadata),
        "producer_version": request.producer_version,
        "description": request.description,
        "external_data": request.external_data or os.path.basename(output) + ".data",  # noqa: PTH119
        "force_external_data": request.force_external_data,
    }
    found, _ = _process.child("tf2onnx").call(
        "convert", params, subject=os.fspath(request.graph), timeout=request.time_limit
    )
    initializers = {
        name: InitializerSource(weight, tuple((op, tuple(argument)) for op, argument in steps))
        for name, (weight, steps) in found["initializers"].items()
    }
    return Conversion(
        path=os.fspath(request.output),
        external_data=found["external_data"],
        opset=request.opset,
        ir_version=found["ir_version"],
        node_count=found["node_count"],
        op_counts=found["op_counts"],
        seconds=found["seconds"],
        peak_nbytes=found["peak_nbytes"],
        inputs=tuple(found["inputs"]),
        outputs=tuple(found["outputs"]),
        initializers=initializers,
        unused_weights=tuple(found["unused_weights"]),
        inlined=found["inlined"],
        warnings=tuple(found["warnings"]),
    )
