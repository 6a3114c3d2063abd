"""Nodes read without protobuf are the nodes protobuf would read, and types told once are the types told each time."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.graph_models import ZOO, needs_zoo, read_any
from tfinspect import formats
from tfinspect.errors import CorruptFileError, InputError
from tfinspect.formats import graphdef
from tfinspect.formats._schema import message_class
from tfinspect.formats._wire import Cursor, len_header, varint_bytes
from tfinspect.ir.refs import TensorRef
from tfinspect.surgery.shapes import TensorTypes

if TYPE_CHECKING:
    from tfinspect.ir.graph import Graph

FIXTURES = Path(__file__).parent.parent / "fixtures"


def decode(data: bytes, path: str = "g.pb") -> Graph:
    return graphdef.decode(Cursor(memoryview(data), path), 0, len(data))


def field(number: int, payload: bytes) -> bytes:
    return len_header(number, len(payload)) + payload


def long_length(payload: bytes) -> bytes:
    """A name whose length is written with more bytes than it takes."""
    size = len(payload)
    return b"\x0a" + bytes((size & 0x7F | 0x80, size >> 7 & 0x7F | 0x80, size >> 14)) + payload


TEXT = st.one_of(
    st.text(max_size=6),
    st.text("abc/", min_size=120, max_size=140),
    st.just("n" * 5000),
    st.just("é" * 70),
    st.just("x" * 16_000),
)
ATTR = st.sampled_from(
    [
        field(1, b"T") + field(2, b"\x30\x01"),
        field(1, b"T") + field(2, b"\x30\x03"),
        field(1, b"padding") + field(2, field(2, b"SAME")),
        field(2, field(7, field(2, b"\x08\x05"))) + field(1, b"shape"),  # the value before the key
        field(1, b"empty"),
    ]
)
FIELDS = st.one_of(
    TEXT.map(lambda t: field(1, t.encode())),
    TEXT.map(lambda t: long_length(t.encode())),
    TEXT.map(lambda t: field(2, t.encode())),
    TEXT.map(lambda t: field(3, t.encode())),
    TEXT.map(lambda t: field(4, t.encode())),
    ATTR.map(lambda a: field(5, a)),
    st.just(field(6, field(1, b"before"))),
    st.sampled_from([b"\x08\x2a", b"\x10\x80\x01", b"\x0d1234", b"\x1912345678", b"\xa2\x06\x03new"]),
)


@given(st.lists(st.lists(FIELDS, max_size=8), min_size=1, max_size=6))
@settings(max_examples=250, deadline=None)
def test_nodes_are_what_protobuf_reads(parts: list[list[bytes]]) -> None:
    bodies = [b"".join([field(1, b"first"), *fields]) for fields in parts]
    data = b"".join(field(1, body) for body in bodies)
    messages = message_class("GraphDef").FromString(data).node
    if not all(m.name for m in messages):
        with pytest.raises(CorruptFileError, match="expected a node with a name, found one without"):
            decode(data)
        return
    graph = decode(data)
    for node, message, body in zip(graph.nodes, messages, bodies, strict=True):
        assert (node.name, node.op, node.device) == (message.name, message.op, message.device)
        assert node.inputs == tuple(message.input)
        assert list(node.attrs) == sorted(message.attr)
        assert len(node.attrs) == len(message.attr)
        for name, attr in node.attrs.items():
            assert attr.kind == (message.attr[name].WhichOneof("value") or "none")
        assert bytes(node.wire.span) == body  # type: ignore[attr-defined]
        assert node.wire.message == message  # type: ignore[attr-defined]


def test_texts_that_are_not_utf8_are_refused() -> None:
    for number in (1, 2, 3, 4):
        data = field(1, field(1, b"ok")) + field(1, field(1, b"b") + field(number, b"\xff"))
        with pytest.raises(CorruptFileError, match=r"expected UTF-8 in (name|op|input|device), found byte 0xff"):
            decode(data)


def constant(name: bytes, value: bytes) -> bytes:
    tensor = b"\x08\x03" + field(2, field(2, b"\x08\x02")) + field(4, value)
    attrs = field(5, field(1, b"dtype") + field(2, b"\x30\x03")) + field(
        5, field(1, b"value") + field(2, field(8, tensor))
    )
    return field(1, field(1, name) + field(2, b"Const") + attrs)


def test_constants_of_the_same_bytes_are_told_apart_by_name() -> None:
    broken = b"\1\0\0\0"  # one number where the shape says two
    graph = decode(constant(b"one", broken) + constant(b"two", broken))
    for name in ("one", "two"):
        tensor = graph.node(name).tensor()
        assert tensor is not None
        with pytest.raises(InputError, match=re.escape(f"g.pb: attribute `value` of `{name}` is int32 of shape [2]")):
            tensor.numpy()


def test_nodes_of_the_same_attributes_share_them() -> None:
    node = b"".join(
        field(1, field(1, name) + field(2, b"Relu") + field(5, field(1, b"T") + field(2, b"\x30\x01")))
        for name in (b"a", b"b")
    )
    a, b = decode(node).nodes
    assert a.attrs is b.attrs
    changed = a.replace(attrs={})
    assert (len(changed.attrs), len(b.attrs)) == (0, 1)


class Forgetful(dict[Any, Any]):
    """Remembers nothing."""

    def get(self, _: object, default: object = None) -> object:
        return default


def assert_types_do_not_depend_on_what_was_judged_before(graph: Graph) -> None:
    fresh = TensorTypes(graph)
    fresh._verdicts = Forgetful()
    remembering = TensorTypes(graph)
    firsts = list(remembering.first_types(graph.nodes))
    for node, first in zip(graph.nodes, firsts, strict=True):
        assert remembering.outputs_of(node.name) == fresh.outputs_of(node.name), node.name
        assert first == fresh.type_of(TensorRef(node.name)), node.name
        assert remembering.value_of(TensorRef(node.name)) == fresh.value_of(TensorRef(node.name)), node.name


@pytest.mark.parametrize(
    "name", ["inception_tiny.pb", "inception_scaled.pb", "scrambled.pb", "training/model.ckpt-3.meta"]
)
def test_types_of_fixtures_do_not_depend_on_what_was_judged_before(name: str) -> None:
    graph = formats.open_model(FIXTURES / name).graph
    assert graph is not None
    assert_types_do_not_depend_on_what_was_judged_before(graph)


@needs_zoo
@pytest.mark.parametrize(
    "path", sorted([*ZOO.glob("frozen_pb/*/*.pb"), *ZOO.glob("meta_only/**/*.meta")]), ids=lambda p: p.name
)
def test_types_of_real_graphs_do_not_depend_on_what_was_judged_before(path: Path) -> None:
    assert_types_do_not_depend_on_what_was_judged_before(read_any(path))


def reshape_to(name: bytes, target: bytes) -> bytes:
    return field(1, field(1, name) + field(2, b"Reshape") + field(3, b"x") + field(3, target))


def test_values_of_inputs_decide_between_nodes_that_are_otherwise_alike() -> None:
    attrs = field(5, field(1, b"dtype") + field(2, b"\x30\x01"))
    graph = decode(
        field(1, field(1, b"x") + field(2, b"Placeholder") + attrs)
        + constant(b"wide", b"\2\0\0\0\3\0\0\0")
        + constant(b"tall", b"\3\0\0\0\2\0\0\0")
        + b"".join(reshape_to(b"r%d" % i, (b"wide", b"tall")[i % 2]) for i in range(6))
    )
    shapes = [kind.shape for kind in TensorTypes(graph).first_types(graph.nodes[3:])]
    assert shapes == [(2, 3), (3, 2)] * 3


def test_large_constants_are_not_read(tmp_path: Path) -> None:
    nbytes = 1_900_000_000
    shape = field(2, field(2, b"\x08" + varint_bytes(nbytes // 4)))
    tensor = b"\x08\x01" + shape + len_header(4, nbytes)
    value = len_header(8, len(tensor) + nbytes) + tensor
    entry = field(1, b"value") + len_header(2, len(value) + nbytes) + value
    node = field(1, b"big") + field(2, b"Const") + len_header(5, len(entry) + nbytes) + entry
    head = len_header(1, len(node) + nbytes) + node
    path = tmp_path / "large.pb"
    with path.open("wb") as file:  # a hole of 1.9 GB, which takes no place on the disk
        file.write(head)
        file.seek(len(head) + nbytes)
        file.write(field(1, field(1, b"read") + field(2, b"Identity") + field(3, b"big")))
    script = (
        "import resource, subprocess, sys\n"
        "done = subprocess.run([sys.executable, '-m', 'tfinspect', 'nodes', sys.argv[1]], stdout=subprocess.PIPE)\n"
        "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss, done.returncode, done.stdout)\n"
    )
    done = subprocess.run([sys.executable, "-c", script, str(path)], capture_output=True, text=True, check=True)
    peak, status, out = done.stdout.split(" ", 2)
    assert (int(status), out) == (
        0,
        repr(b"big\tConst\tfloat32\t475000000\t\nread\tIdentity\tfloat32\t475000000\tbig\n") + "\n",
    )
    assert int(peak) < 200 << 10  # KiB, mapped pages included


def test_a_claim_of_outputs_without_end_takes_no_memory() -> None:
    count = b"\x18" + varint_bytes(1 << 40)
    ops = ((b"Unpack", b"num"), (b"Split", b"num_split"), (b"SplitV", b"num_split"), (b"_SwitchN", b"num_outs"))
    ops = (*ops, (b"DynamicPartition", b"num_partitions"))
    data = b"".join(
        field(1, field(1, op) + field(2, op) + field(3, b"x") + field(5, field(1, attr) + field(2, count)))
        for op, attr in ops
    )
    graph = decode(data)
    types = TensorTypes(graph)
    for node in graph.nodes:
        assert len(types.outputs_of(node.name)) <= 1024
