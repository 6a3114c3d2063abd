#!/usr/bin/env python3
"""`nodes` against a bare protobuf script on a graph of many nodes, and on files of few nodes with much weight.

usage: python benchmarks/listing.py [--nodes 200000] [--repeat 3] [--only many,large]

`many`: a training graph of NODES nodes, written here; the bare script parses it with protobuf, in message classes of
its own, and prints name, op and inputs of each node. `nodes` prints dtype and shape as well, and may take three times
as long. `large`: `nodes` on a `.pb` of 1.9 GB and on one of 95 MB with the same nodes; the large one may take half as
long again, and 200 MiB of memory, mapped pages included.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from measure import Measured, best

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

TFINSPECT = (sys.executable, "-m", "tfinspect")
MIB = 1 << 20
FLOAT, INT32 = 1, 3
_SCALARS = {"int32": 5, "int64": 3, "bool": 8, "float": 2, "string": 9, "bytes": 12}
_MESSAGES = {
    "Dim": "size:int64:1 name:string:2",
    "Shape": "dim:*Dim:2 unknown_rank:bool:3",
    "Tensor": "dtype:int32:1 shape:Shape:2 content:bytes:4 floats:*float:5 ints:*int32:7",
    "Values": "s:*bytes:2 i:*int64:3 f:*float:4 b:*bool:5 type:*int32:6 shape:*Shape:7 tensor:*Tensor:8",
    "Value": "list:Values:1 s:bytes:2 i:int64:3 f:float:4 b:bool:5 type:int32:6 shape:Shape:7 tensor:Tensor:8",
    "Node": "name:string:1 op:string:2 input:*string:3 device:string:4 attr:%Value:5",
    "Graph": "node:*Node:1 version:int32:3",
}


def graph_class() -> Any:  # noqa: ANN401 - made at run time
    """Return a message class for GraphDef, with the fields the graphs made here use."""
    file = descriptor_pb2.FileDescriptorProto(name="bare.proto", package="bare", syntax="proto3")
    for name, fields in _MESSAGES.items():
        message = file.message_type.add(name=name)
        for text in fields.split():
            field_name, kind, number = text.split(":")
            field = message.field.add(name=field_name, number=int(number), label=3 if kind[0] in "*%" else 1)
            base = kind.strip("*%")
            if kind[0] == "%":
                entry = message.nested_type.add(name=f"{field_name.title()}Entry")
                entry.options.map_entry = True
                entry.field.add(name="key", number=1, label=1, type=9)
                entry.field.add(name="value", number=2, label=1, type=11, type_name=f".bare.{base}")
                base = f"{name}.{entry.name}"
            if base in _SCALARS:
                field.type = _SCALARS[base]
            else:
                field.type, field.type_name = 11, f".bare.{base}"
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("bare.Graph"))


def bare(path: str) -> None:
    """Print a graph the shortest way there is."""
    graph = graph_class().FromString(Path(path).read_bytes())
    for node in graph.node:
        print(node.name, node.op, ", ".join(node.input), sep="\t")


class Writer:
    """A graph in the making.

    Attributes:
        message: the GraphDef.
    """

    def __init__(self) -> None:
        self.message = graph_class()(version=24)

    def node(self, op: str, name: str, *inputs: str, **attrs: object) -> str:
        """Add a node; an attribute is a type, a text, a bool, a list of ints, or a tuple for a shape."""
        node = self.message.node.add(name=name, op=op, input=inputs)
        for key, value in attrs.items():
            target = node.attr[key]
            if isinstance(value, bool):
                target.b = value
            elif isinstance(value, int):
                setattr(target, "i" if key in ("N", "axis") or key.endswith("mask") else "type", value)
            elif isinstance(value, str):
                target.s = value.encode()
            elif isinstance(value, list):
                target.list.i.extend(value)
            else:
                for size in value:  # type: ignore[attr-defined]
                    target.shape.dim.add(size=size)
        return name

    def floats(self, name: str, *shape: int) -> str:
        """Add a constant filled with one number."""
        self.node("Const", name, dtype=FLOAT)
        tensor = self.message.node[-1].attr["value"].tensor
        tensor.dtype = FLOAT
        tensor.floats.append(0.5)
        for size in shape:
            tensor.shape.dim.add(size=size)
        return name

    def ints(self, name: str, *values: int) -> str:
        """Add a vector of integers."""
        self.node("Const", name, dtype=INT32)
        tensor = self.message.node[-1].attr["value"].tensor
        tensor.dtype = INT32
        tensor.shape.dim.add(size=len(values))
        tensor.content = b"".join(v.to_bytes(4, "little", signed=True) for v in values)
        return name

    def variable(self, name: str, *shape: int) -> str:
        """Add a variable, its initial value and what reads it."""
        self.node("VariableV2", name, shape=shape, dtype=FLOAT, container="", shared_name="")
        start = self.floats(f"{name}/initial", *shape)
        self.node("Assign", f"{name}/Assign", name, start, T=FLOAT, validate_shape=True, use_locking=True, _class=[])
        return self.node("Identity", f"{name}/read", name, T=FLOAT)

    def block(self, name: str, image: str) -> str:
        """Add a convolution, a classifier beside it, and their gradients; return the image it gives."""
        conv = {"strides": [1, 1, 1, 1], "padding": "SAME", "data_format": "NHWC", "T": FLOAT}
        weights, bias = self.variable(f"{name}/conv/weights", 3, 3, 16, 16), self.variable(f"{name}/conv/biases", 16)
        out = self.node("Conv2D", f"{name}/conv/Conv2D", image, weights, **conv)
        added = self.node("BiasAdd", f"{name}/conv/BiasAdd", out, bias, T=FLOAT, data_format="NHWC")
        relu = self.node("Relu", f"{name}/conv/Relu", added, T=FLOAT)
        dense = self.variable(f"{name}/fc/weights", 1024, 4)
        flat = self.node("Reshape", f"{name}/fc/Reshape", relu, self.ints(f"{name}/fc/shape", -1, 1024), T=FLOAT)
        logits = self.node("MatMul", f"{name}/fc/MatMul", flat, dense, T=FLOAT, transpose_a=False, transpose_b=False)
        back = f"gradients/{name}"
        ones = self.node("Fill", f"{back}/ones", self.node("Shape", f"{back}/shape", logits, T=FLOAT, out_type=INT32),
                         self.floats(f"{back}/one"), T=FLOAT)  # fmt: skip
        grad = self.node("MatMul", f"{back}/MatMul", ones, dense, T=FLOAT, transpose_a=False, transpose_b=True)
        self.node("MatMul", f"{back}/MatMul_1", flat, ones, T=FLOAT, transpose_a=True, transpose_b=False)
        wide = self.node("Reshape", f"{back}/Reshape", grad, self.node(
            "Shape", f"{back}/flat_shape", relu, T=FLOAT, out_type=INT32), T=FLOAT)  # fmt: skip
        relus = self.node("ReluGrad", f"{back}/ReluGrad", wide, relu, T=FLOAT)
        biases = self.node("BiasAddGrad", f"{back}/BiasAddGrad", relus, T=FLOAT, data_format="NHWC")
        group = self.node("NoOp", f"{back}/group_deps", f"^{relus}", f"^{biases}")
        kept = self.node("Identity", f"{back}/control_dependency", relus, f"^{group}", T=FLOAT, _class=[])
        shapes = self.node("ShapeN", f"{back}/ShapeN", image, weights, T=FLOAT, out_type=INT32, N=2)
        self.node("Conv2DBackpropInput", f"{back}/Conv2DBackpropInput", shapes, weights, kept, **conv)
        self.node("Conv2DBackpropFilter", f"{back}/Conv2DBackpropFilter", image, f"{shapes}:1", kept, **conv)
        return relu


def many(count: int) -> bytes:
    """Return a training graph of about that many nodes."""
    writer = Writer()
    image = writer.node("Placeholder", "input", dtype=FLOAT, shape=(32, 8, 8, 16))
    number = 0
    while len(writer.message.node) < count:
        image = writer.block(f"tower_{number % 4}/layer_{number}", image)
        number += 1
    return bytes(writer.message.SerializeToString())


def large(nbytes: int, count: int = 20) -> Iterator[bytes]:
    """Yield a graph of `count` large constants, in all `nbytes`, added up."""
    each = nbytes // count // 4 * 4
    for number in range(count):
        writer = Writer()
        writer.message.ClearField("version")
        writer.floats(f"weights_{number}", each // 4)
        tensor = writer.message.node[0].attr["value"].tensor
        tensor.ClearField("floats")
        tensor.content = bytes(each)
        writer.node("Identity", f"weights_{number}/read", f"weights_{number}", T=FLOAT)
        yield bytes(writer.message.SerializeToString())


def main() -> None:
    """Run what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--nodes", type=int, default=200_000)
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--only", default="many,large")
    parser.add_argument("--bare", metavar="GRAPH", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.bare:
        bare(options.bare)
        return
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        if "many" in options.only:
            graph = folder / "many.pb"
            graph.write_bytes(many(options.nodes))
            bare_script = (sys.executable, __file__, "--bare", str(graph))
            ours, theirs = in_turn(((*TFINSPECT, "nodes", str(graph)), bare_script), options.repeat)
            report(f"{options.nodes:,} nodes", ours, "bare script", theirs)
        if "large" in options.only:
            files = {}
            for word, nbytes in (("95 MB", 95_000_000), ("1.9 GB", 1_900_000_000)):
                path = files[word] = folder / f"{nbytes}.pb"
                with path.open("wb") as file:
                    file.writelines(large(nbytes))
            small, big = in_turn([(*TFINSPECT, "nodes", str(f)) for f in files.values()], 2 * options.repeat)
            report("1.9 GB", big, "95 MB", small)


def in_turn(commands: Sequence[Sequence[str]], repeat: int) -> list[Measured]:
    """Run commands one after the other, again and again, so that a busy moment hurts both; return the best of each."""
    runs = [[best(command, repeat=1) for command in commands] for _ in range(repeat)]
    return [
        Measured(min(r.seconds for r in column), max(r.peak_nbytes for r in column), 0)
        for column in zip(*runs, strict=True)
    ]


def report(task: str, ours: Measured, other: str, theirs: Measured) -> None:
    """Print one line."""
    print(
        f"{task:<14} {ours.seconds:6.2f} s {ours.peak_nbytes / MIB:6.0f} MiB   "
        f"{other} {theirs.seconds:6.2f} s {theirs.peak_nbytes / MIB:6.0f} MiB   "
        f"time ratio {ours.seconds / theirs.seconds:.2f}, memory ratio {ours.peak_nbytes / theirs.peak_nbytes:.2f}"
    )


if __name__ == "__main__":
    main()
