"""GraphDef: what is read and not changed is written byte for byte; what is damaged is said to be, and where."""

from __future__ import annotations

import random
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.graph_models import ZOO, needs_zoo
from tfinspect import formats
from tfinspect.errors import (
    CorruptFileError,
    InputError,
    InvalidGraphError,
    LimitError,
    TfinspectError,
)
from tfinspect.formats import graphdef, onnx
from tfinspect.formats._schema import message_class
from tfinspect.formats._wire import Cursor, len_header, varint_bytes
from tfinspect.ir.attrs import Attr
from tfinspect.ir.dtypes import DType
from tfinspect.ir.functions import Function, FunctionBody
from tfinspect.ir.graph import Graph, Node, Versions, const
from tfinspect.ir.tensors import Tensor, same_tensor

if TYPE_CHECKING:
    from collections.abc import Callable

FIXTURES = Path(__file__).parent.parent / "fixtures"
UNKNOWN = b"\xa2\x06\x03new" + b"\xa8\x06\x2a" + b"\xb5\x06abcd" + b"\xb9\x06abcdefgh"  # fields 100, 101, 102, 103


def decode(data: bytes, path: str = "g.pb") -> Graph:
    return graphdef.decode(Cursor(memoryview(data), path), 0, len(data))


def encode(graph: Graph) -> bytes:
    data = b"".join(graphdef.encode(graph))
    assert len(data) == graphdef.encoded_size(graph)
    return data


def field(number: int, payload: bytes) -> bytes:
    return len_header(number, len(payload)) + payload


def same_node(a: Node, b: Node) -> bool:
    if (a.name, a.op, a.inputs, a.device, sorted(a.attrs)) != (b.name, b.op, b.inputs, b.device, sorted(b.attrs)):
        return False
    return all(a.attrs[name] == b.attrs[name] for name in a.attrs)


def same_graph(a: Graph, b: Graph) -> bool:
    return (
        len(a) == len(b)
        and all(map(same_node, a.nodes, b.nodes))
        and a.versions == b.versions
        and list(a.functions) == list(b.functions)
    )


NAMES = st.text(st.characters(codec="utf-8", exclude_characters="^:"), min_size=1, max_size=12)


@st.composite
def tensors(draw: st.DrawFn) -> Tensor:
    kind = draw(st.sampled_from([np.float32, np.int32, np.uint8, np.bool_, np.float16, np.complex64, object]))
    shape = draw(st.lists(st.integers(0, 3), max_size=3).map(tuple))
    if draw(st.integers(0, 5)) == 0:
        shape = (draw(st.integers(300, 6000)),)  # large enough to stay in the file
    values = np.arange(int(np.prod(shape)))
    made = np.array([b"%d" % v for v in values] + [b""], object)[:-1] if kind is object else values.astype(kind)
    return Tensor.of(made.reshape(shape), DType.STRING if kind is object else None)


ATTRS = st.one_of(
    st.binary(max_size=40).map(Attr.of),
    st.integers(-(1 << 63), (1 << 63) - 1).map(Attr.of),
    st.floats(width=32, allow_nan=False).map(Attr.of),
    st.booleans().map(Attr.of),
    st.sampled_from(DType).map(Attr.of),
    st.none().map(Attr.of_shape) | st.lists(st.none() | st.integers(0, 9), max_size=4).map(tuple).map(Attr.of_shape),
    st.lists(st.integers(-5, 5), min_size=1, max_size=4).map(Attr.ints),
    tensors().map(Attr.of),
)


@st.composite
def graphs(draw: st.DrawFn) -> Graph:
    """Draw an acyclic graph of nodes with attributes, data edges and control edges."""
    names = draw(st.lists(NAMES, max_size=8, unique=True))
    nodes = []
    for i, name in enumerate(names):
        inputs = draw(st.lists(st.sampled_from(names[:i]), max_size=3)) if i else []
        ports = [f"{text}:{port}" if port else text for text in inputs if (port := draw(st.integers(0, 2))) >= 0]
        controls = [f"^{text}" for text in (draw(st.sets(st.sampled_from(names[:i]), max_size=2)) if i else [])]
        attrs = draw(st.dictionaries(NAMES, ATTRS, max_size=3))
        nodes.append(Node(name, draw(NAMES), (*ports, *sorted(controls)), attrs, device=draw(st.just("") | NAMES)))
    producer = draw(st.integers(0, 3000))
    return Graph(draw(st.permutations(nodes)), versions=Versions(producer, draw(st.integers(0, producer)), (7,)))


@given(graphs())
@settings(max_examples=60, deadline=None)
def test_what_is_written_reads_back(graph: Graph) -> None:
    data = encode(graph)
    found = decode(data)
    assert same_graph(found, graph)
    assert encode(found) == data
    assert len(found.topological()) == len(graph)
    assert message_class("GraphDef").FromString(data).versions.producer == graph.versions.producer


@given(graphs(), st.data())
@settings(max_examples=30, deadline=None)
def test_a_changed_node_leaves_the_others_as_they_are(graph: Graph, data: st.DataObject) -> None:
    found = decode(encode(graph))
    if not found.nodes:
        return
    chosen = data.draw(st.integers(0, len(found) - 1))
    changed = found.replace(nodes=[n.replace(device="/gpu:1") if i == chosen else n for i, n in enumerate(found.nodes)])
    again = decode(encode(changed))
    for i, (node, before) in enumerate(zip(again.nodes, found.nodes, strict=True)):
        if i == chosen:
            assert same_node(node, before.replace(device="/gpu:1"))
        else:
            assert bytes(node.wire.span) == bytes(before.wire.span)  # type: ignore[attr-defined]
    assert same_graph(decode(encode(changed.replace())), again)


@pytest.mark.parametrize("name", ["inception_tiny.pb", "inception_scaled.pb", "scrambled.pb"])
def test_fixtures_are_written_byte_for_byte(name: str, tmp_path: Path) -> None:
    graph = formats.read_graph(FIXTURES / name)
    size = formats.write_graph(graph, tmp_path / "copy.pb")
    assert (tmp_path / "copy.pb").read_bytes() == (FIXTURES / name).read_bytes()
    assert size == graph.source.size if graph.source else False
    # node by node as well, as a graph is written after surgery
    rebuilt = graph.replace(nodes=list(graph.nodes))
    assert same_graph(decode(encode(rebuilt)), graph)
    renewed = graph.replace(nodes=[node.replace(name=node.name) for node in graph.nodes])
    assert same_graph(decode(encode(renewed)), graph)


def with_unknown_fields() -> bytes:
    """A graph with fields of the future in every message of it, and old unpacked repeated fields."""
    shape = b"".join(field(2, b"\x08" + varint_bytes(size)) for size in (2, 3)) + UNKNOWN
    unpacked = b"".join(b"\x2d" + np.float32(v).tobytes() for v in (1, 2, 3))  # float_val as protobuf 2 writes it
    tensor = b"\x08\x01" + field(2, shape) + unpacked + UNKNOWN
    large = b"\x08\x01" + field(2, field(2, b"\x08" + varint_bytes(9000))) + UNKNOWN
    large += field(4, np.arange(9000, dtype=np.float32).tobytes())
    strides = field(1, b"".join(b"\x18" + varint_bytes(v) for v in (1, 2, 2, 1)) + UNKNOWN)  # list(int), not packed

    def attr(name: bytes, value: bytes) -> bytes:
        return field(5, field(1, name) + field(2, value + UNKNOWN))

    nodes = [
        field(1, b"w") + field(2, b"Const") + attr(b"value", field(8, tensor)) + UNKNOWN,
        field(1, b"large") + field(2, b"Const") + attr(b"value", field(8, large)) + UNKNOWN,
        field(2, b"Conv2D") + UNKNOWN + field(1, b"conv") + field(3, b"w") + attr(b"strides", strides),
    ]
    function = field(1, field(1, b"f") + UNKNOWN) + field(3, nodes[0]) + UNKNOWN
    library = field(1, function) + UNKNOWN
    versions = b"\x08\x15\x10\x0c\x18\x07\x18\x09" + UNKNOWN  # bad_consumers twice, not packed
    return b"".join(field(1, n) for n in nodes) + UNKNOWN + field(2, library) + field(4, versions)


def test_unknown_and_unpacked_fields_survive_reading_and_writing() -> None:
    data = with_unknown_fields()
    graph = decode(data)
    assert encode(graph) == data
    assert graph.versions == Versions(21, 12, (7, 9))
    assert graph.node("conv").value("strides") == (1, 2, 2, 1)
    assert list(graph.functions) == ["f"]
    assert graph.functions["f"].body.nodes[0].name == "w"
    small, large = graph.node("w").tensor(), graph.node("large").tensor()
    assert small is not None
    assert large is not None
    assert small.numpy().tolist() == [[1, 2, 3], [3, 3, 3]]
    assert large.numpy()[-1] == 8999


@pytest.mark.parametrize("name", ["w", "large", "conv"])
def test_a_changed_node_keeps_unknown_fields(name: str) -> None:
    graph = decode(with_unknown_fields())
    moved = graph.replace(nodes=[n.replace(device="/cpu:0") if n.name == name else n for n in graph.nodes])
    data = encode(moved)
    before, after = (message_class("GraphDef").FromString(d) for d in (with_unknown_fields(), data))
    for ours, theirs in zip(after.node, before.node, strict=True):
        ours.device = ""
        assert ours.SerializeToString(deterministic=True) == theirs.SerializeToString(deterministic=True)
    assert data.count(UNKNOWN) == with_unknown_fields().count(UNKNOWN)


def test_the_rest_of_a_graph_stays_when_nodes_go() -> None:
    graph = decode(with_unknown_fields())
    data = encode(graph.replace(nodes=[n for n in graph.nodes if n.name != "conv"]))
    tail = with_unknown_fields()
    assert data.endswith(tail[tail.index(UNKNOWN + b"\x12") :])  # the graph's own unknown fields, library, versions


def test_a_changed_library_is_written() -> None:
    graph = decode(with_unknown_fields())
    body = FunctionBody(
        (("x", DType.FLOAT),), (("y", DType.FLOAT),), (Node("id", "Identity", ("x",)),), {"y": "id:output:0"}
    )
    changed = graph.replace(functions={**graph.functions, "g": Function("g", lambda: body)})
    again = decode(encode(changed))
    assert list(again.functions) == ["f", "g"]
    assert bytes(again.functions["f"].wire) == bytes(graph.functions["f"].wire)  # type: ignore[call-overload]
    found = again.functions["g"].body
    assert (found.args, found.outputs, found.results) == (body.args, body.outputs, body.results)
    assert same_node(found.nodes[0], body.nodes[0])
    assert list(decode(encode(graph.replace(functions={}))).functions) == []
    open_body = FunctionBody((("x", None),), (), (), {})
    with pytest.raises(ValueError, match="dtype of `x` of function `h`"):
        encode(graph.replace(functions={"h": Function("h", lambda: open_body)}))


def test_versions_of_old_graphs() -> None:
    node = field(1, field(1, b"a") + field(2, b"NoOp"))
    assert decode(node + b"\x18\x08").versions == Versions(8)  # GraphDef.version, before VersionDef
    assert decode(node + b"\x18\x08" + field(4, b"\x08\x15")).versions == Versions(21)
    assert encode(decode(node + b"\x18\x08")) == node + b"\x18\x08"


@needs_zoo
@pytest.mark.parametrize("path", sorted(ZOO.glob("frozen_pb/*/*.pb")), ids=lambda p: p.name)
def test_real_graphs_are_written_byte_for_byte(path: Path) -> None:
    graph = graphdef.read(path)
    data = path.read_bytes()
    assert encode(graph) == data
    renewed = decode(encode(graph.replace(nodes=[node.replace(name=node.name) for node in graph.nodes])))
    assert same_graph(renewed, graph)


# ---------------------------------------------------------------------------------------------------------- damage

SOURCES = ["inception_tiny.pb", "training/model.ckpt-3.meta", "saved_model/saved_model.pb", "dense.onnx"]


def touch(path: Path) -> None:
    """Open a file and ask for everything in it."""
    if formats.identify(path).name == "onnx":
        for name, tensor in onnx.read(path).initializers.items():
            ask(tensor, name)
        return
    graph = formats.open_model(path).graph
    if graph is None:
        return
    for node in graph.nodes:
        for attr in node.attrs.values():
            assert attr.value is not None or attr.kind in {"none", "shape"}
        tensor = node.tensor()
        if tensor is not None:
            ask(tensor, path.name)
    assert all(function.body is not None for function in graph.functions.values())
    b"".join(graphdef.encode(graph.replace(nodes=[node.replace(name=node.name) for node in graph.nodes])))


def ask(tensor: Tensor, name: str) -> None:
    try:
        tensor.numpy()
    except InputError as error:
        assert name in str(error)  # noqa: PT017 - most of them succeed


def boundaries(data: bytes, inner: tuple[int, ...]) -> list[int]:
    """Where the fields of the outermost level begin and end, and those of the messages in some of them."""
    cursor, found = Cursor(memoryview(data), ""), set()
    for number, kind, at, first, last in cursor.fields(0, len(data), ""):
        found |= {at, first, last}
        if kind == 2 and number in inner:
            found |= {p for _, _, a, f, end in cursor.fields(first, last, "") for p in (a, f, end)}
    return sorted(found)


@pytest.mark.parametrize("name", SOURCES)
def test_truncated_files(name: str, tmp_path: Path) -> None:
    data = (FIXTURES / name).read_bytes()
    edges = boundaries(data, (7,) if name.endswith(".onnx") else (1, 2) if name.endswith(".meta") else ())
    near = {p + d for p in edges[:: max(1, len(edges) // 80)] for d in (-1, 0, 1)}
    step = max(1, len(data) // 100)
    path, whole = tmp_path / Path(name).name, 0
    for end in sorted({p for p in near if 0 <= p < len(data)} | set(range(0, len(data), step))):
        path.write_bytes(data[:end])
        try:
            touch(path)
        except InputError as error:
            assert path.name in str(error)  # noqa: PT017 - a prefix may be a whole message
            assert error.evidence.get("offset", 0) <= end  # noqa: PT017 - as above
        else:
            whole += 1
            assert end in edges
    assert whole < len(edges)


def test_every_prefix_of_a_graph_is_refused_or_a_shorter_graph() -> None:
    data = (FIXTURES / "inception_tiny.pb").read_bytes()
    ends = {last for *_, last in Cursor(memoryview(data), "").fields(0, len(data), "")}
    nodes = 0
    for end in range(1, len(data), 3):
        if end in ends:
            assert len(decode(data[:end])) >= nodes
            nodes = len(decode(data[:end]))
        else:
            with pytest.raises(CorruptFileError) as caught:
                decode(data[:end])
            assert caught.value.offset <= end


def test_a_graph_cut_between_two_nodes_is_reported_by_its_dangling_inputs() -> None:
    first = field(1, field(1, b"sum") + field(2, b"Neg") + field(3, b"x"))
    with pytest.raises(InvalidGraphError, match="node `sum` takes `x`, which is not in the graph"):
        decode(first).topological()


@pytest.mark.parametrize("name", SOURCES)
def test_flipped_bits_raise_nothing_but_our_own_errors(name: str, tmp_path: Path) -> None:
    data = (FIXTURES / name).read_bytes()
    rng = random.Random(name)  # noqa: S311 - the same each time
    path = tmp_path / Path(name).name
    refused = 0
    for _ in range(60):
        flipped = bytearray(data)
        for _ in range(rng.randint(1, 3)):
            flipped[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
        path.write_bytes(flipped)
        try:
            touch(path)
        except TfinspectError as error:
            refused += 1
            assert path.name in str(error)  # noqa: PT017 - some flips hurt nothing
    assert refused > 0


HOSTILE: dict[str, tuple[bytes, str]] = {
    "varint of 11 bytes": (b"\x0a" + b"\xff" * 11, "byte 1 (GraphDef): expected a varint of at most 10 bytes"),
    "length of 2^63": (b"\x0a" + varint_bytes(1 << 63) + b"x", "byte 0 (GraphDef): expected 9,223,372,036,854,775,808"),
    "field number 0": (field(1, field(1, b"a")) + b"\x02\x01x", "byte 5 (GraphDef): expected a protobuf field"),
    "group": (b"\x0b\x0c", "byte 0 (GraphDef): expected a protobuf field, found wire type 3 (byte 0x0b)"),
    "fixed64 cut short": (b"\x19abc", "byte 0 (GraphDef): expected 8 bytes of field 3, found 3 bytes"),
    "no name": (field(1, field(2, b"NoOp")), "byte 2 (NodeDef): expected a node with a name, found one without"),
    "large node without a name": (
        field(1, field(2, b"Const") + field(5, field(1, b"v") + field(2, field(2, b"x" * 20000)))),
        "(NodeDef): expected a node with a name",
    ),
    "name not UTF-8": (field(1, field(1, b"a\xff")), "byte 2 (NodeDef): expected UTF-8 in name, found byte 0xff"),
    "attribute cut short": (
        field(1, field(1, b"a") + field(5, field(1, b"T") + field(2, b"\x30"))),
        "(AttrValue): expected a varint, found the end of the data",
    ),
    "large attribute with a name not UTF-8": (
        field(1, field(1, b"a") + field(5, field(1, b"\xff") + field(2, field(2, b"x" * 20000)))),
        "expected an attribute name in UTF-8",
    ),
    "library cut short": (field(1, field(1, b"a")) + field(2, b"\x0a\x05x"), "(FunctionDefLibrary): expected 5 bytes"),
    "function not one": (
        field(1, field(1, b"a")) + field(2, field(1, b"\x0a\x05x")),
        "(FunctionDef): expected 5 bytes",
    ),
    "versions not ones": (field(1, field(1, b"a")) + field(4, b"\x08"), "(VersionDef): expected a varint"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_graphs(name: str) -> None:
    data, words = HOSTILE[name]
    with pytest.raises(CorruptFileError, match=re.escape(words)) as caught:
        decode(data)
    assert str(caught.value).startswith("g.pb is damaged at byte ")
    assert 0 <= caught.value.offset <= len(data)


def nested(depth: int) -> bytes:
    """A node with functions as attributes of functions."""
    value = b"\x28\x01"
    for _ in range(depth):
        value = field(10, field(1, b"f") + field(2, field(1, b"a") + field(2, value)))
    return field(1, field(1, b"deep") + field(2, b"Op") + field(5, field(1, b"f") + field(2, value)))


def test_deep_nesting_is_refused_without_recursion() -> None:
    assert len(decode(nested(10))) == 1
    for depth in range(28, 40):
        try:
            graph = decode(nested(depth))
        except CorruptFileError as error:
            assert "g.pb" in str(error)  # noqa: PT017 - protobuf's limit is its own
        else:
            assert decode(encode(graph.replace(nodes=[graph.nodes[0].replace(device="x")]))).nodes[0].device == "x"
    for depth in (40, 100, 3000):
        with pytest.raises(CorruptFileError):
            decode(nested(depth))


def test_a_run_of_nodes_deep_only_together_is_refused() -> None:
    limit = next(depth for depth in range(20, 60) if _fails(lambda d=depth: decode(nested(d))))
    assert _fails(lambda: decode(nested(limit) + field(1, field(1, b"b"))))
    assert not _fails(lambda: decode(nested(limit - 1) + field(1, field(1, b"b"))))


def _fails(action: Callable[[], Any]) -> bool:
    try:
        action()
    except CorruptFileError:
        return True
    return False


def test_two_hundred_thousand_nodes_and_names_twice() -> None:
    data = field(1, field(1, b"a") + field(2, b"NoOp")) * 200_000
    graph = decode(data)
    assert len(graph) == 200_000
    assert encode(graph) == data
    with pytest.raises(InvalidGraphError, match="two nodes are named `a`"):
        graph.node("a")


def test_inputs_that_look_like_tensors_but_are_none() -> None:
    node = Node("n", "Op", ("x:\N{SUPERSCRIPT TWO}", "y:" + "9" * 5000, "z:1"))
    assert [(r.name, r.index) for r in node.data_inputs] == [
        ("x:\N{SUPERSCRIPT TWO}", 0),
        ("y:" + "9" * 5000, 0),
        ("z", 1),
    ]


def test_a_graph_of_2_gib_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    def never() -> Any:
        pytest.fail("the values were asked for")

    half = Tensor(DType.FLOAT, (1 << 28,), never, never)
    graph = Graph([const("a", half), const("b", half)])
    assert graphdef.encoded_size(graph) > 2 << 30
    with pytest.raises(
        LimitError, match=r"takes 2,147,483,\d\d\d bytes, and a GraphDef file cannot exceed 2,147,483,647"
    ):
        formats.write_graph(graph, tmp_path / "large.pb")
    assert list(tmp_path.iterdir()) == []


def test_weights_are_views_of_the_file() -> None:
    graph = decode(with_unknown_fields())
    tensor = graph.node("large").tensor()
    assert tensor is not None
    assert not tensor.numpy().flags.owndata
    assert not tensor.numpy().flags.writeable
    assert [type(chunk) for chunk in tensor.chunks()] == [memoryview]


def test_a_constant_that_does_not_fit_its_shape_is_kept_as_it_is() -> None:
    wrong = b"\x08\x01" + field(2, field(2, b"\x08\x05")) + field(4, b"\1" * 20_001)
    node = field(1, b"w") + field(2, b"Const") + field(5, field(1, b"value") + field(2, field(8, wrong)))
    graph = decode(field(1, node))
    tensor = graph.node("w").tensor()
    assert tensor is not None
    with pytest.raises(
        InputError, match=r"g.pb: attribute `value` of `w` is float32 of shape \[5\], 20 bytes, but its"
    ):
        tensor.numpy()
    again = decode(encode(graph.replace(nodes=[graph.nodes[0].replace(device="/cpu:0")])))
    assert again.nodes[0].device == "/cpu:0"
    assert bytes(again.nodes[0].wire.span).count(b"\1" * 20_001) == 1  # type: ignore[attr-defined]


def test_a_changed_graph_has_no_source_but_the_same_weights() -> None:
    graph = formats.read_graph(FIXTURES / "inception_tiny.pb")
    assert graph.source is not None
    assert len(graph.source.sha256) == 64
    changed = graph.replace(nodes=graph.nodes[:3])
    assert changed.source is None
    first = next(n for n in graph.nodes if n.tensor() is not None)
    one, two = first.tensor(), first.replace(name="x").tensor()
    assert one is not None
    assert two is not None
    assert same_tensor(one, two)


def test_a_file_that_changes_after_reading_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "g.pb"
    path.write_bytes((FIXTURES / "inception_tiny.pb").read_bytes())
    graph = formats.read_graph(path)
    with path.open("ab") as file:
        file.write(field(1, field(1, b"late")))
    assert graph.source is not None
    with pytest.raises(InputError, match="changed while it was being read"):
        _ = graph.source.sha256
