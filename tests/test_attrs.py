"""Attributes and tensors: every dtype in every place a TensorProto keeps values."""

from __future__ import annotations

import itertools
import math
import tracemalloc
from typing import TYPE_CHECKING, Any

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tfinspect.errors import InputError
from tfinspect.formats import _attrs, _tensor_proto, graphdef
from tfinspect.formats._schema import message_class
from tfinspect.formats._wire import Cursor, varint_bytes
from tfinspect.ir.attrs import Attr, AttrList, FuncRef
from tfinspect.ir.dtypes import DType
from tfinspect.ir.graph import Graph, Node, const
from tfinspect.ir.tensors import Tensor, same_tensor

if TYPE_CHECKING:
    from tfinspect.ir.tensors import Bytes

# values for every dtype that has any; numbers that the type holds exactly
SIGNED, UNSIGNED = [-3, 0, 7, 1], [3, 0, 7, 1]
REAL, COMPLEX = [-1.5, 0.0, 2.0, 0.5], [1 - 2j, 0j, 3j, 4 + 0j]
VALUES: dict[DType, list[Any]] = {
    **dict.fromkeys(
        [DType.INT8, DType.INT16, DType.INT32, DType.INT64, DType.QINT8, DType.QINT16, DType.QINT32], SIGNED
    ),
    **dict.fromkeys([DType.UINT8, DType.UINT16, DType.UINT32, DType.UINT64, DType.QUINT8, DType.QUINT16], UNSIGNED),
    **dict.fromkeys([DType.FLOAT, DType.DOUBLE, DType.HALF, DType.BFLOAT16], REAL),
    **dict.fromkeys([DType.FLOAT8_E5M2, DType.FLOAT8_E4M3FN, DType.FLOAT8_E4M3FNUZ], REAL),
    **dict.fromkeys([DType.FLOAT8_E4M3B11FNUZ, DType.FLOAT8_E5M2FNUZ, DType.FLOAT4_E2M1FN], REAL),
    **dict.fromkeys([DType.COMPLEX64, DType.COMPLEX128], COMPLEX),
    DType.INT4: [-8, 0, 7, 1],
    DType.UINT4: [15, 0, 7, 1],
    DType.INT2: [-2, 0, 1, -1],
    DType.UINT2: [3, 0, 2, 1],
    DType.BOOL: [True, False, True, True],
    DType.STRING: [b"ab", b"", b"\xff\x00", b"c"],
}
INTEGERS = [DType.INT32, DType.INT64]
FIELDS = {
    DType.FLOAT: "float_val", DType.DOUBLE: "double_val", DType.STRING: "string_val", DType.INT64: "int64_val",
    DType.BOOL: "bool_val", DType.UINT32: "uint32_val", DType.UINT64: "uint64_val", DType.COMPLEX64: "scomplex_val",
    DType.COMPLEX128: "dcomplex_val", DType.HALF: "half_val", DType.BFLOAT16: "half_val",
    **dict.fromkeys([d for d in VALUES if d.name.startswith("FLOAT") and d.itemsize == 1], "float8_val"),
}  # fmt: skip


def proto(dtype: DType, shape: tuple[int, ...], **fields: Any) -> Any:
    message = message_class("TensorProto")(dtype=int(dtype), **fields)
    for size in shape:
        message.tensor_shape.dim.add(size=size)
    return message


def array(dtype: DType, values: list[Any]) -> np.ndarray:
    out = np.empty(len(values), dtype.numpy)
    out[:] = values
    return out


def typed(dtype: DType, values: list[Any]) -> dict[str, Any]:
    """The typed field of a TensorProto with these values, as formats write it."""
    name = FIELDS.get(dtype, "int_val")
    held = array(dtype, values)
    if name == "float8_val":
        return {name: held.tobytes()}
    if name == "half_val":
        return {name: held.view(np.uint16).tolist()}
    if name.endswith("complex_val"):
        return {name: [part for v in values for part in (v.real, v.imag)]}
    if name == "int_val":
        return {name: held.astype(np.int32).tolist()}
    return {name: values}


def decode(message: Any) -> np.ndarray:
    return _tensor_proto.decode_tensor(message).numpy()


@pytest.mark.parametrize("dtype", VALUES, ids=str)
def test_typed_fields_with_short_and_long_lists(dtype: DType) -> None:
    values = VALUES[dtype]
    whole = array(dtype, values)
    empty = array(dtype, [b"" if dtype is DType.STRING else 0])[0]
    for count in range(len(values) + 1):
        found = decode(proto(dtype, (2, 2), **typed(dtype, values[:count])))
        expected = [*whole[:count], *[whole[count - 1] if count else empty] * (4 - count)]
        assert found.dtype == dtype.numpy
        assert found.shape == (2, 2)
        assert found.reshape(-1).tolist() == array(dtype, expected).tolist()
    assert decode(proto(dtype, (2,), **typed(dtype, values))).tolist() == whole[:2].tolist()  # too many
    assert decode(proto(dtype, (), **typed(dtype, values[:1]))).tolist() == whole[0:1].tolist()[0]
    assert decode(proto(dtype, (0, 3), **typed(dtype, values))).shape == (0, 3)
    assert decode(proto(dtype, (0,))).shape == (0,)


@pytest.mark.parametrize("dtype", [d for d in VALUES if d.itemsize], ids=str)
def test_tensor_content(dtype: DType) -> None:
    whole = array(dtype, VALUES[dtype])
    content = whole.tobytes()
    assert len(content) == 4 * dtype.itemsize
    found = decode(proto(dtype, (4, 1), tensor_content=content, float_val=[9.0]))  # it wins over typed values
    assert found.tobytes() == content
    assert found.shape == (4, 1)
    for wrong in (content[:-1], content + b"\0", content * 2, content[: dtype.itemsize]):  # no broadcast
        with pytest.raises(InputError, match="but its tensor_content has"):
            decode(proto(dtype, (4, 1), tensor_content=wrong))


def test_odd_halves_of_complex_numbers_are_dropped() -> None:
    assert decode(proto(DType.COMPLEX64, (2,), scomplex_val=[1, 2, 3])).tolist() == [1 + 2j, 1 + 2j]


def test_int_val_wraps_as_in_tensorflow() -> None:
    assert decode(proto(DType.UINT8, (2,), int_val=[300, -1])).tolist() == [44, 255]
    assert decode(proto(DType.INT8, (2,), int_val=[200, -129])).tolist() == [-56, 127]
    assert decode(proto(DType.UINT16, (1,), int_val=[65537])).tolist() == [1]


def test_strings_in_tensor_content() -> None:
    strings = [b"ab", b"", b"x" * 200]
    content = b"".join(varint_bytes(len(s)) for s in strings) + b"".join(strings)
    assert decode(proto(DType.STRING, (3,), tensor_content=content)).tolist() == strings
    for wrong, size in ((content[:-1], 3), (content + b"y", 3), (content, 2), (b"\x05", 1), (b"\xff", 1), (content, 4)):
        with pytest.raises(InputError):
            decode(proto(DType.STRING, (size,), tensor_content=wrong))


def test_a_large_string_constant_cut_out_of_its_node_is_not_empty() -> None:
    strings = [b"label %d" % i for i in range(5000)]
    content = b"".join(varint_bytes(len(s)) for s in strings) + b"".join(strings)
    message = message_class("GraphDef")()
    node = message.node.add(name="labels", op="Const")
    node.attr["value"].tensor.CopyFrom(proto(DType.STRING, (5000,), tensor_content=content))
    data = message.SerializeToString()
    graph = graphdef.decode(Cursor(memoryview(data), "g.pb"), 0, len(data))
    tensor = graph.node("labels").tensor()
    assert tensor is not None
    assert tensor.numpy().tolist() == strings


@pytest.mark.parametrize("dtype", INTEGERS, ids=str)
@given(data=st.data())
@settings(max_examples=60, deadline=None)
def test_integers_equal_numpy(dtype: DType, data: st.DataObject) -> None:
    bits = 8 * dtype.itemsize - 1
    shape = tuple(data.draw(st.lists(st.integers(0, 4), max_size=3)))
    size = math.prod(shape)
    values = data.draw(st.lists(st.integers(-(1 << bits), (1 << bits) - 1), max_size=size + 2))
    message = proto(dtype, shape, **typed(dtype, values))
    if data.draw(st.booleans()) and size:
        message = proto(dtype, shape, tensor_content=np.resize(array(dtype, values or [5]), size).tobytes())
    tensor = _tensor_proto.decode_tensor(message)
    assert tensor.integers() == tuple(tensor.numpy().reshape(-1).tolist())
    assert Tensor(dtype, shape, tensor.numpy).integers() == tensor.integers()


@pytest.mark.parametrize("dtype", INTEGERS, ids=str)
def test_integers_refuse_what_numpy_refuses(dtype: DType) -> None:
    for message in (
        proto(dtype, (-1,)),
        proto(dtype, (2, -1, -1)),
        proto(dtype, (3,), tensor_content=b"\0" * 7),
        proto(dtype, (1 << 40,)),
    ):
        tensor = _tensor_proto.decode_tensor(message)
        for ask in (tensor.integers, tensor.numpy):
            with pytest.raises(InputError):
                ask()
    large = proto(dtype, (4000,), **typed(dtype, [3]))
    assert _tensor_proto.decode_tensor(large).integers() == (3,) * 4000


def test_a_few_bytes_that_declare_16_gib_are_listed_but_not_allocated() -> None:
    message = message_class("GraphDef")()
    tensor = message.node.add(name="bomb", op="Const").attr["value"].tensor
    tensor.CopyFrom(proto(DType.FLOAT, (1 << 16, 1 << 16)))
    data = message.SerializeToString()
    graph = graphdef.decode(Cursor(memoryview(data), "bomb.pb"), 0, len(data))
    found = graph.node("bomb").tensor()
    assert found is not None
    assert (found.shape, found.nbytes) == ((65536, 65536), 16 << 30)
    tracemalloc.start()
    try:
        for ask in (found.numpy, lambda: list(found.chunks())):
            with pytest.raises(InputError) as caught:
                ask()
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
    finally:
        tracemalloc.stop()
    assert str(caught.value) == (
        "bomb.pb: attribute `value` of `bomb` is float32 of shape [65536, 65536], 17,179,869,184 bytes, "
        "but stands in 16 bytes"
    )
    assert b"".join(graphdef.encode(graph)) == data


def test_a_splat_is_a_view_and_repeating_the_last_of_several_is_limited() -> None:
    splat = decode(proto(DType.FLOAT, (1 << 28,), float_val=[1.5]))
    assert (splat.nbytes, splat.strides, float(splat[-1])) == (1 << 30, (0,), 1.5)
    with pytest.raises(InputError, match="stands in"):
        decode(proto(DType.FLOAT, (1 << 28,), float_val=[1.5, 2.5]))


@pytest.mark.parametrize(
    "shape", [(-1,), (2, -3), (0, -1), (1,) * 70, (0, 1 << 62, 1 << 62), (-(1 << 62), 1 << 62)], ids=str
)
@pytest.mark.parametrize("dtype", [DType.FLOAT, DType.STRING, DType.INT32], ids=str)
def test_impossible_shapes(dtype: DType, shape: tuple[int, ...]) -> None:
    with pytest.raises(InputError, match="impossible shape"):
        decode(proto(dtype, shape))


@pytest.mark.parametrize("dtype", [DType.RESOURCE, DType.VARIANT, DType.INVALID], ids=str)
def test_types_without_values(dtype: DType) -> None:
    with pytest.raises(InputError, match="has no values to read"):
        decode(proto(dtype, ()))


def test_unknown_and_reference_dtypes() -> None:
    assert _tensor_proto.decode_tensor(message_class("TensorProto")(dtype=999)).dtype is DType.INVALID
    assert decode(message_class("TensorProto")(dtype=101, float_val=[2.0])).tolist() == 2.0


@given(st.none() | st.lists(st.none() | st.integers(0, 1 << 40), max_size=5).map(tuple))
def test_shapes_round_trip(shape: tuple[int | None, ...] | None) -> None:
    message = _tensor_proto.encode_shape(shape)
    assert (
        _tensor_proto.decode_shape(message_class("TensorShapeProto").FromString(message.SerializeToString())) == shape
    )


ATTRS = {
    "s": Attr.of(b"\xffx"),
    "i": Attr.of(-5),
    "f": Attr.of(1.5),
    "b": Attr.of(value=False),
    "type": Attr.of(DType.HALF),
    "shape": Attr.of_shape((None, 3)),
    "rank": Attr.of_shape(None),
    "scalar": Attr.of_shape(()),
    "tensor": Attr.of(Tensor.of(np.arange(3, dtype=np.int64))),
    "strings": Attr.of(Tensor.of(np.array([b"a", b"\xff"], object))),
    "large": Attr.of(Tensor.of(np.arange(3000, dtype=np.float32))),
    "func": Attr.of(FuncRef("f", {"T": Attr.of(DType.FLOAT)})),
    "placeholder": Attr("placeholder", "T"),
    "none": Attr("none"),
    "empty": Attr.of(AttrList("none", ())),
    "list_s": Attr.of(AttrList("s", (b"a", b""))),
    "list_i": Attr.ints([1, -2]),
    "list_f": Attr.of(AttrList("f", (0.5,))),
    "list_b": Attr.of(AttrList("b", (True, False))),
    "list_type": Attr.of(AttrList("type", (DType.FLOAT, DType.STRING))),
    "list_shape": Attr.of(AttrList("shape", ((None,), None, ()))),
    "list_func": Attr.of(AttrList("func", (FuncRef("g", {}),))),
}


def through_bytes(graph: Graph) -> Graph:
    data = b"".join(graphdef.encode(graph))
    assert len(data) == graphdef.encoded_size(graph)
    return graphdef.decode(Cursor(memoryview(data), "g.pb"), 0, len(data))


def plain(attr: Attr) -> Any:
    """Function attributes as a dict: a FuncRef's own are compared lazily."""
    value = attr.value
    if attr.kind == "func":
        return value.name, {name: plain(inner) for name, inner in value.attrs.items()}
    if attr.kind == "list" and value.kind == "func":
        return [(f.name, dict(f.attrs)) for f in value.values]
    return attr


@pytest.mark.parametrize("name", ATTRS)
def test_attributes_made_here_read_back(name: str) -> None:
    found = through_bytes(Graph([Node("n", "Op", (), {name: ATTRS[name]})])).node("n").attrs[name]
    assert found.kind == ATTRS[name].kind
    assert plain(found) == plain(ATTRS[name])


def test_all_attributes_of_one_node() -> None:
    node = through_bytes(Graph([Node("n", "Op", ("a", "^b"), ATTRS, device="/cpu:0")])).node("n")
    assert (node.inputs, node.device, list(node.attrs)) == (("a", "^b"), "/cpu:0", sorted(ATTRS))
    assert "absent" not in node.attrs
    with pytest.raises(KeyError):
        node.attrs["absent"]
    assert len(node.attrs) == len(ATTRS)  # asking for one that is absent does not make it


@pytest.mark.parametrize("dtype", VALUES, ids=str)
def test_constants_made_here_read_back(dtype: DType) -> None:
    for count in (4, 4000):
        made = Tensor.of(np.resize(array(dtype, VALUES[dtype]), count), dtype)
        found = through_bytes(Graph([const("c", made)])).node("c").tensor()
        assert found is not None
        assert found.dtype is dtype
        assert same_tensor(found, made)


def test_a_tensor_that_gives_fewer_bytes_than_it_declares_is_not_written() -> None:
    def short() -> list[Bytes]:
        return [b"\0" * 100]

    lying = Tensor(DType.UINT8, (5000,), lambda: np.zeros(5000, np.uint8), short)
    with pytest.raises(InputError, match="a tensor of 5,000 bytes gave 100"):
        list(graphdef.encode(Graph([const("c", lying)])))


@pytest.mark.tensorflow
@pytest.mark.filterwarnings("ignore")
def test_agrees_with_make_ndarray() -> None:
    import tensorflow as tf
    from tensorflow.core.framework import tensor_pb2

    make, compared = tf.make_ndarray, 0
    unsupported: set[DType] = set()
    for dtype, values in VALUES.items():
        whole = array(dtype, values)
        fields = [typed(dtype, values[:count]) for count in range(5)]
        fields += [{"tensor_content": whole.tobytes()}] if dtype.itemsize else []
        for kept in fields:
            message = proto(dtype, (2, 2), **kept)
            try:
                theirs = make(tensor_pb2.TensorProto.FromString(message.SerializeToString()))
            except TypeError:  # of newer types it reads tensor_content alone
                unsupported.add(dtype)
                continue
            if dtype is DType.STRING and not kept["string_val"]:
                theirs = np.full((2, 2), b"", object)  # it gives a `str` there
            if theirs.dtype.fields:  # quantised types are structures of one field there
                theirs = theirs[theirs.dtype.names[0]]
            ours = decode(message)
            assert ours.tolist() == theirs.tolist(), (dtype, kept)
            assert ours.astype(theirs.dtype).tobytes() == theirs.tobytes() or ours.dtype == object
            compared += 1
        for shape, item in itertools.product([(4,), (2, 2), (1, 4)], [whole, np.repeat(whole[:1], 4)]):
            if dtype.name.startswith("Q"):
                continue  # make_tensor_proto takes those as pairs
            if dtype in unsupported:
                continue
            theirs = tf.make_tensor_proto(item.reshape(shape), dtype=int(dtype))
            message = message_class("TensorProto").FromString(theirs.SerializeToString())
            assert decode(message).tolist() == item.reshape(shape).tolist(), dtype
            compared += 1
    assert compared > 250
    assert len(unsupported) < 6


def test_ml_dtypes_are_those_of_the_files() -> None:
    assert DType.BFLOAT16.numpy == np.dtype(ml_dtypes.bfloat16)
    assert [d for d in DType if d.itemsize and d not in VALUES] == []


def test_an_attribute_written_twice_counts_as_protobuf_counts_it() -> None:
    """A tensor overruled within its oneof, or merged from two pieces, must not keep the bytes that were cut out."""
    big = np.arange(20_000, dtype=np.float32)
    first = message_class("AttrValue")()
    first.tensor.CopyFrom(proto(DType.FLOAT, (20_000,), tensor_content=big.tobytes()))
    for second in (message_class("AttrValue")(i=7), message_class("AttrValue")(), first):
        value = first.SerializeToString() + second.SerializeToString()
        entry = b"\x0a\x05value\x12" + varint_bytes(len(value)) + value
        node = b"\x0a\x01c\x12\x05Const\x2a" + varint_bytes(len(entry)) + entry
        data = b"\x0a" + varint_bytes(len(node)) + node
        expected = message_class("NodeDef").FromString(node).attr["value"]
        found = graphdef.decode(Cursor(memoryview(data), "g.pb"), 0, len(data)).node("c").attrs["value"]
        assert found.kind == expected.WhichOneof("value")
        if found.kind == "tensor":
            whole = _attrs.decode_attr(expected).value
            assert found.value.shape == whole.shape
            if whole.shape == (20_000,):
                assert same_tensor(found.value, whole)
