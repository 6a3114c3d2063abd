"""Graphs for the tests of the static analysis: real ones of any format, and small ones made here."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from google.protobuf import text_format

from tfinspect.formats import graphdef
from tfinspect.formats._file import MappedFile
from tfinspect.formats._schema import message_class
from tfinspect.formats._wire import Cursor
from tfinspect.ir.attrs import Attr, AttrList
from tfinspect.ir.dtypes import DType
from tfinspect.ir.graph import Graph, Node, Versions
from tfinspect.ir.graph import const as const_node
from tfinspect.ir.refs import TensorRef
from tfinspect.ir.tensors import Tensor

if TYPE_CHECKING:
    from tfinspect.ir.shapes import Shape

ZOO = Path(__file__).parents[2] / "shared" / "zoo"
INCEPTION_TOOL = Path(__file__).parents[2] / "shared" / "tools" / "make_inception2015.py"
needs_zoo = pytest.mark.skipif(not ZOO.exists(), reason="the collection of real models is not beside the repository")


@functools.cache
def zoo_graph(name: str) -> Graph:
    """Read the graph of a file of the collection, whatever its format."""
    return read_any(ZOO / name)


def read_any(path: Path) -> Graph:
    if path.suffix == ".pbtxt":
        message = text_format.Parse(path.read_text(), message_class("GraphDef")())
        data = message.SerializeToString()
        return graphdef.decode(Cursor(memoryview(data), str(path)), 0, len(data))
    if path.suffix == ".meta" or path.name == "saved_model.pb":
        file = MappedFile(path)
        cursor, region = Cursor(file.view, file.path), (0, file.size)
        for _ in range(1 if path.suffix == ".meta" else 2):
            region = next((s, e) for n, _, _, s, e in cursor.fields(*region, "model") if n == 2)
        return graphdef.decode(cursor, *region)
    return graphdef.read(path)


def ref(text: str) -> TensorRef:
    return TensorRef.parse(text)


def attr(value: object) -> Attr:
    """Make an attribute of plain Python values; a tuple of ints or None is a shape."""
    if isinstance(value, list):
        kind = (
            "type"
            if value and isinstance(value[0], DType)
            else "shape"
            if value and isinstance(value[0], tuple)
            else "i"
        )
        return Attr.of(AttrList(kind, tuple(value)))
    if value is None or isinstance(value, tuple):
        return Attr.of_shape(value)
    return Attr.of(value)  # type: ignore[arg-type]


def op(kind: str, name: str, *inputs: str, **attrs: object) -> Node:
    return Node(name, kind, inputs, {key: attr(value) for key, value in attrs.items()})


def const(name: str, value: object, dtype: DType | None = None) -> Node:
    return const_node(name, Tensor.of(np.asarray(value, None if dtype else np.int32), dtype))


def weights(name: str, *shape: int) -> Node:
    return const_node(name, Tensor.of(np.zeros(shape, np.float32)))


def feed(name: str, shape: Shape, dtype: DType = DType.FLOAT) -> Node:
    return op("Placeholder", name, dtype=dtype, shape=shape)


def graph(*nodes: Node | list[Node], producer: int = 27) -> Graph:
    flat = [n for item in nodes for n in (item if isinstance(item, list) else [item])]
    return Graph(flat, versions=Versions(producer))


def dense(name: str, source: str, inputs: int, outputs: int) -> list[Node]:
    """A layer `name/add` of a MatMul and a bias."""
    return [
        weights(f"{name}/w", inputs, outputs),
        weights(f"{name}/b", outputs),
        op("MatMul", f"{name}/MatMul", source, f"{name}/w", T=DType.FLOAT),
        op("BiasAdd", f"{name}/add", f"{name}/MatMul", f"{name}/b", T=DType.FLOAT),
    ]


def conv(name: str, source: str, inputs: int, outputs: int, size: int = 3, stride: int = 1) -> list[Node]:
    """A layer `name` as in the 2015 Inception: convolution, batch norm, check, activation."""
    norm = [weights(f"{name}/{part}", outputs) for part in ("mean", "variance", "beta", "gamma")]
    return [
        weights(f"{name}/w", size, size, inputs, outputs),
        *norm,
        op(
            "Conv2D",
            f"{name}/Conv2D",
            source,
            f"{name}/w",
            T=DType.FLOAT,
            strides=[1, stride, stride, 1],
            padding="SAME",
        ),
        op(
            "BatchNormWithGlobalNormalization", f"{name}/norm", f"{name}/Conv2D", *(n.name for n in norm), T=DType.FLOAT
        ),
        op("CheckNumerics", f"{name}/check", f"{name}/norm", T=DType.FLOAT),
        op("Identity", f"{name}/kept", f"{name}/norm", f"^{name}/check", T=DType.FLOAT),
        op("Relu", name, f"{name}/kept", T=DType.FLOAT),
    ]


def small_inception() -> Graph:
    """The form of the 2015 Inception-v3: bytes in, two towers joined, pool, reshape, MatMul, Softmax; producer 8."""
    return graph(
        const("contents", b"", DType.STRING),
        op("DecodeJpeg", "decode", "contents", channels=3),
        op("Cast", "Cast", "decode", SrcT=DType.UINT8, DstT=DType.FLOAT),
        const("dim", 0),
        op("ExpandDims", "ExpandDims", "Cast", "dim", T=DType.FLOAT),
        const("size", [99, 99]),
        op("ResizeBilinear", "Resize", "ExpandDims", "size", T=DType.FLOAT),
        const("mean", 128.0, DType.FLOAT),
        op("Sub", "Sub", "Resize", "mean", T=DType.FLOAT),
        const("scale", 0.0078125, DType.FLOAT),
        op("Mul", "Mul", "Sub", "scale", T=DType.FLOAT),
        conv("stem", "Mul", 3, 8, stride=2),
        conv("a", "stem", 8, 16),
        conv("b", "stem", 8, 24),
        const("axis", 3),
        op("Concat", "join", "axis", "a", "b", T=DType.FLOAT, N=2),
        op("AvgPool", "pool", "join", T=DType.FLOAT, ksize=[1, 50, 50, 1], strides=[1, 1, 1, 1], padding="VALID"),
        const("flat", [1, 40]),
        op("Reshape", "pool/_reshape", "pool", "flat", T=DType.FLOAT),
        dense("logits", "pool/_reshape", 40, 10),
        op("Softmax", "softmax", "logits/add", T=DType.FLOAT),
        producer=8,
    )


def scrambled(source: Graph) -> tuple[Graph, dict[str, str]]:
    """Give every node a name that says nothing."""
    names = {node.name: f"n{(i * 7919) % 1_000_003}" for i, node in enumerate(source.nodes)}

    def rename(text: str) -> str:
        mark = "^" if text.startswith("^") else ""
        name, colon, index = text.removeprefix("^").partition(":")
        return f"{mark}{names[name]}{colon}{index}"

    nodes = [
        node.replace(name=names[node.name], inputs=[rename(text) for text in node.inputs]) for node in source.nodes
    ]
    return source.replace(nodes=nodes), names
