"""The ONNX reader, against the onnx package and onnxruntime."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tfinspect import formats
from tfinspect.errors import (
    CorruptFileError,
    FileMissingError,
    InputError,
    TfinspectError,
    UnknownFormatError,
    UnsupportedFeatureError,
)
from tfinspect.formats import onnx
from tfinspect.formats._onnx_schema import message_class
from tfinspect.formats._onnx_tensors import DTYPES
from tfinspect.formats._packed import PACKED_BITS
from tfinspect.formats._wire import len_header
from tfinspect.ir.attrs import Attr, AttrList, FuncRef
from tfinspect.ir.dtypes import DType
from tfinspect.ir.refs import TensorRef
from tfinspect.ir.risks import Risk
from tfinspect.ir.tensors import Tensor

FIXTURES = Path(__file__).parent.parent / "fixtures"
FLOAT, INT64, STRING, COMPLEX64, E8M0 = 1, 7, 8, 14, 24


def model(*initializers: Any, **graph: Any) -> Any:
    message = message_class("ModelProto")(ir_version=8)
    message.opset_import.add(version=15)
    message.graph.name = "g"
    message.graph.node.add(name="n", op_type="Identity", input=["w"], output=["y"])
    message.graph.initializer.extend(initializers)
    message.graph.MergeFrom(message_class("GraphProto")(**graph))
    return message


def tensor(name: str, data_type: int, dims: tuple[int, ...], **fields: Any) -> Any:
    return message_class("TensorProto")(name=name, data_type=data_type, dims=dims, **fields)


def external(name: str, dims: tuple[int, ...], data_type: int = FLOAT, **entries: str) -> Any:
    made = tensor(name, data_type, dims, data_location=1)
    for key, value in entries.items():
        made.external_data.add(key=key, value=value)
    return made


def write(folder: Path, message: Any) -> Path:
    path = folder / "m.onnx"
    path.write_bytes(message.SerializeToString())
    return path


def value(folder: Path, made: Any) -> np.ndarray:
    return onnx.read(write(folder, model(made))).initializers[made.name].numpy()


def test_the_fixture() -> None:
    found = onnx.read(FIXTURES / "dense.onnx")
    assert found.opsets == {"": 15}
    assert [(str(s.ref), s.dtype, s.shape) for s in found.inputs] == [("x:0", DType.FLOAT, (None, 4))]
    assert [node.op for node in found.nodes] == ["Gemm", "Softmax"]
    assert {name: t.shape for name, t in found.initializers.items()} == {"w": (4, 3), "b": (3,)}
    assert found.tensor_names == {"logits:0", "y:0"}
    assert found.behind("y:0", {"Softmax"}) == "logits:0"
    assert found.behind("logits:0", {"Softmax"}) is None
    assert found.behind("nothing", {"Softmax"}) is None


def test_names_inputs_and_shapes(tmp_path: Path) -> None:
    message = model(tensor("w", FLOAT, (1,), float_data=[1]))
    names = ["w", "x:0", "x:01", "x:\N{SUPERSCRIPT TWO}", "x:" + "9" * 5000, "plain", "a:b:3"]
    for name in names:
        entry = message.graph.input.add(name=name)
        entry.type.tensor_type.elem_type = FLOAT
    shape = message.graph.input[1].type.tensor_type.shape
    shape.dim.add(dim_param="batch")
    shape.dim.add(dim_value=3)
    shape.dim.add()
    found = onnx.read(write(tmp_path, message)).inputs
    assert [(s.ref, s.key) for s in found] == [
        (TensorRef("x"), None),
        (TensorRef("x", 1), "x:01"),
        (TensorRef("x:\N{SUPERSCRIPT TWO}"), "x:\N{SUPERSCRIPT TWO}"),
        (TensorRef("x:" + "9" * 5000), "x:" + "9" * 5000),
        (TensorRef("plain"), "plain"),
        (TensorRef("a:b", 3), None),
    ]
    assert [s.shape for s in found[:2]] == [(None, 3, None), None]


def test_constants_of_every_kind(tmp_path: Path) -> None:
    message = model()
    kinds: dict[str, tuple[dict[str, Any], Any]] = {
        "value": ({"t": tensor("", INT64, (2,), int64_data=[4, -5])}, [4, -5]),
        "value_float": ({"f": 1.5}, 1.5),
        "value_floats": ({"floats": [0.5, 2.0]}, [0.5, 2.0]),
        "value_int": ({"i": -7}, -7),
        "value_ints": ({"ints": [1, 2, 3]}, [1, 2, 3]),
        "value_string": ({"s": b"\xff"}, b"\xff"),
        "value_strings": ({"strings": [b"a", b""]}, [b"a", b""]),
    }
    for name, (fields, _) in kinds.items():
        node = message.graph.node.add(op_type="Constant", output=[name])
        node.attribute.add(name=name, **fields)
    message.graph.node.add(op_type="Constant").attribute.add(name="value", t=tensor("", INT64, (), int64_data=[1]))
    message.graph.node.add(op_type="Constant", output=["sparse"]).attribute.add(name="sparse_value")
    found = onnx.read(write(tmp_path, message)).initializers
    assert set(found) == set(kinds)
    for name, (_, expected) in kinds.items():
        assert found[name].numpy().tolist() == expected
        assert found[name].numpy().shape == found[name].shape == np.shape(expected)


@pytest.mark.parametrize(
    ("made", "words"),
    [
        (tensor("w", FLOAT, (-1,), float_data=[1]), "`w` has the impossible shape [-1]"),
        (tensor("w", FLOAT, (0, 1 << 62, 1 << 62)), "`w` has the impossible shape [0, "),
        (tensor("w", FLOAT, (1 << 40,)), "`w` of shape [1099511627776] has 0 values"),
        (tensor("w", FLOAT, (3,), float_data=[1, 2]), "`w` of shape [3] has 2 values"),
        (tensor("w", COMPLEX64, (1,), float_data=[1]), "`w` of shape [1] has 0 values"),
        (tensor("w", STRING, (2,), string_data=[b"a"]), "`w` of shape [2] has 1 values"),
        (tensor("w", FLOAT, (2,), raw_data=b"abc"), "`w` of shape [2] takes 8 bytes, but has 3"),
        (tensor("w", FLOAT, (9000,), raw_data=b"abc" * 1000), "`w` of shape [9000] takes 36,000 bytes, but has 3,000"),
        (tensor("w", E8M0, (2,), raw_data=b"ab"), "`w` has the ONNX type 24, which is not read here"),
        (external("w", (2,)), "`w` points out of the model's folder, at ``"),
        (external("w", (2,), location="../w.bin"), "points out of the model's folder, at `../w.bin`"),
        (external("w", (2,), location="a/../../w.bin"), "points out of the model's folder, at `a/../../w.bin`"),
        (external("w", (2,), location="/etc/passwd"), "points out of the model's folder, at `/etc/passwd`"),
        (external("w", (2,), location="gone.bin"), "gone.bin does not exist"),
        (
            external("w", (2,), location="*/_ORT_MEM_ADDR_/*"),
            "is said to stand in the memory of the program that loads it",
        ),
        (external("w", (2,), location="a\\b"), "does not name a file inside"),
        (external("w", (2,), location="sub"), "sub is not a regular file"),
        (external("w", (2,), location="fifo"), "fifo is not a regular file"),
        (external("w", (2,), location="link"), "is reached through a symbolic link"),
        (external("w", (2,), location="linked/w.bin"), "is reached through a symbolic link"),
        (external("w", (2,), location="w.bin", offset="12"), "takes 8 bytes, but is said to be 8 at byte 12 of w.bin"),
        (external("w", (2,), location="w.bin", length="4"), "takes 8 bytes, but is said to be 4 at byte 0 of w.bin"),
        (external("w", (2,), location="w.bin", offset="-1"), "has the external offset `-1`, which is no size"),
        (external("w", (2,), location="w.bin", length="9" * 30), "has the external length `9999"),
        (external("w", (2,), location="w.bin", offset="\N{SUPERSCRIPT TWO}"), "which is no size"),
        (external("w", (1 << 40,), location="w.bin"), "takes 4,398,046,511,104 bytes"),
        (external("w", (1,), STRING, location="w.bin"), "keeps strings in another file, which ONNX does not allow"),
    ],
    ids=lambda v: v if isinstance(v, str) else "",
)
def test_refusals(made: Any, words: str, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    (folder / "sub").mkdir(parents=True)
    os.mkfifo(folder / "fifo")
    (tmp_path / "w.bin").write_bytes(bytes(100))
    (folder / "w.bin").write_bytes(bytes(16))
    (folder / "link").symlink_to("../w.bin")
    (folder / "linked").symlink_to("..")
    found = onnx.read(write(folder, model(made))).initializers["w"]
    assert found.shape == tuple(made.dims)  # it is listed all the same
    with pytest.raises(InputError) as caught:
        found.numpy()
    assert words in caught.value.message
    assert str(folder) in caught.value.message
    assert isinstance(caught.value, UnsupportedFeatureError) == ("24" in words)
    assert isinstance(caught.value, FileMissingError) == ("not exist" in words or "regular" in words)


def test_external_data_inside_the_folder(tmp_path: Path) -> None:
    values = np.arange(6, dtype="<f4")
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub/w.bin").write_bytes(b"skip" + values.tobytes() + b"rest")
    (tmp_path / "empty.bin").touch()
    for entries in ({"location": "sub/w.bin"}, {"location": "./sub/w.bin", "length": "24"}):
        found = value(tmp_path, external("w", (2, 3), offset="4", **entries))
        assert found.tolist() == values.reshape(2, 3).tolist()
    assert value(tmp_path, external("w", (0, 3), location="empty.bin")).shape == (0, 3)
    moved = tmp_path / "elsewhere"
    moved.mkdir()
    (moved / "m.onnx").symlink_to(write(tmp_path, model(external("w", (6,), location="sub/w.bin", offset="4"))))
    with pytest.raises(FileMissingError):  # it is looked for beside the path that was typed
        onnx.read(moved / "m.onnx").initializers["w"].numpy()


def test_damage_and_other_files(tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    path.write_bytes(b"")
    with pytest.raises(UnknownFormatError, match="is empty"):
        onnx.read(path)
    data = (FIXTURES / "dense.onnx").read_bytes()
    path.write_bytes(data[:-1])
    with pytest.raises(CorruptFileError):
        onnx.read(path)
    deep = b""
    for _ in range(70):  # a graph in an attribute of a node of a graph
        for number in (6, 5, 1):
            deep = len_header(number, len(deep)) + deep
    path.write_bytes(b"\x08\x08" + len_header(7, len(deep)) + deep)
    assert len(onnx.read(path).nodes) == 1
    with pytest.raises(CorruptFileError) as caught:
        onnx.read_model(path)
    assert caught.value.message == (
        f"{path} is damaged at byte {caught.value.offset} (AttributeProto): expected at most 64 graphs one within the "
        "other, found one more"
    )


def test_metadata_is_appended(tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    shutil.copy(FIXTURES / "dense.onnx", path)
    onnx.append_metadata(path, {"labels": "a\nb", "ç": ""})
    onnx.append_metadata(path, {"more": "x" * 300})
    found = onnx.read(path)
    assert found.metadata == {"labels": "a\nb", "ç": "", "more": "x" * 300}
    assert (
        found.initializers["w"].numpy().tolist()
        == onnx.read(FIXTURES / "dense.onnx").initializers["w"].numpy().tolist()
    )
    assert found.sha256() != onnx.read(FIXTURES / "dense.onnx").sha256()


# ------------------------------------------------------------------------------------------------ whole models


def model_of(path: Path) -> Any:
    found = onnx.read_model(path)
    assert found.checkpoint is not None
    return found


def test_every_graph_of_the_fixture() -> None:
    found = formats.open_model(FIXTURES / "branches.onnx")
    assert [(o.name, o.op, o.inputs, o.outputs, o.body) for o in found.operators] == [
        ("gemm", "Gemm", ("x", "weights", "bias"), ("dense",), ""),
        ("choice", "If", ("choose",), ("chosen",), ""),
        ("repeat", "Loop", ("times", "", "chosen"), ("looped",), ""),
        ("scale", "fixture::Scale", ("looped",), ("y",), ""),
        ("choice/else_branch/scaled", "Div", ("dense", "scale"), ("else_out",), "choice/else_branch"),
        ("choice/then_branch/scaled", "Mul", ("dense", "scale"), ("then_out",), "choice/then_branch"),
        ("repeat/body/add", "Add", ("sum_in", "step"), ("sum_out",), "repeat/body"),
        ("repeat/body/go_on_out", "Identity", ("go_on",), ("go_on_out",), "repeat/body"),
        ("fixture::Scale/c", "Constant", (), ("c",), "fixture::Scale"),
        ("fixture::Scale/mul", "Mul", ("a", "c"), ("b",), "fixture::Scale"),
    ]
    by_name = {o.name: o for o in found.operators}
    assert (by_name["gemm"].dtype, by_name["gemm"].shape) == (DType.FLOAT, (None, 3))
    assert (by_name["choice"].dtype, by_name["choice"].shape) == (None, None)
    assert (by_name["repeat/body/go_on_out"].dtype, by_name["repeat/body/go_on_out"].shape) == (DType.BOOL, ())
    assert by_name["choice"].attrs["then_branch"] == Attr.of(FuncRef("choice/then_branch", {}))
    assert by_name["fixture::Scale/c"].attrs["value"].value.numpy().tolist() == [0.5]
    assert found.facts == {
        "ir_version": "10",
        "opset": "ai.onnx 21, fixture 1",
        "producer": "fixtures",
        "functions": "fixture::Scale",
        "metadata.labels": "daisy\nroses",
    }
    assert found.risks == ()
    assert found.checkpoint is not None
    assert found.checkpoint.files == tuple(str(FIXTURES / name) for name in ("branches.onnx", "branches.bin"))
    assert {v.name: (str(v.dtype), v.shape, v.nbytes) for v in found.checkpoint.variables.values()} == {
        "weights": ("float32", (4, 3), 48),
        "bias": ("float32", (3,), 12),
        "choose": ("bool", (), 1),
        "times": ("int64", (), 8),
        "packed": ("int4", (5,), 3),
        "brain": ("bfloat16", (2,), 4),
        "tiny": ("float8_e4m3fn", (3,), 3),
        "sparse": ("float32", (2, 3), 24),
        "choice/else_branch/scale": ("float32", (3,), 12),
        "choice/then_branch/scale": ("float32", (3,), 12),
        "repeat/body/step": ("float32", (3,), 12),
    }
    assert found.checkpoint.read("sparse").tolist() == [[0, 1.5, 0], [0, 0, -2.5]]
    assert found.checkpoint.read("packed").tolist() == [1, -2, 3, -8, 7]


def test_attributes_of_every_kind(tmp_path: Path) -> None:
    message = model()
    node = message.graph.node.add(name="all", op_type="All", output=["z"])
    small = tensor("t", INT64, (2,), int64_data=[4, -5])
    kinds: dict[str, tuple[dict[str, Any], Any]] = {
        "number": ({"i": -3, "type": 2}, Attr.of(-3)),
        "zero": ({"type": 2}, Attr.of(0)),
        "real": ({"f": 0.5, "type": 1}, Attr.of(0.5)),
        "text": ({"s": b"\xff", "type": 3}, Attr.of(b"\xff")),
        "numbers": ({"ints": [1, 2], "type": 7}, Attr.ints([1, 2])),
        "reals": ({"floats": [1.5], "type": 6}, Attr.of(AttrList("f", (1.5,)))),
        "texts": ({"strings": [b"a", b""], "type": 8}, Attr.of(AttrList("s", (b"a", b"")))),
        "none": ({"ints": [], "type": 7}, Attr.of(AttrList("none", ()))),
        "old number": ({"i": 7}, Attr.of(7)),
        "old real": ({"f": 7.5}, Attr.of(7.5)),
        "old text": ({"s": b"old"}, Attr.of(b"old")),
        "old numbers": ({"ints": [3]}, Attr.ints([3])),
        "unsaid": ({}, Attr("none")),
        "tensor": ({"t": small, "type": 4}, Attr.of(Tensor.of([4, -5], DType.INT64))),
        "graph": ({"g": message_class("GraphProto")(), "type": 5}, Attr.of(FuncRef("all/graph", {}))),
        "graphs": (
            {"graphs": [message_class("GraphProto")(name="g")] * 2, "type": 10},
            Attr.of(AttrList("func", (FuncRef("all/graphs/0", {}), FuncRef("all/graphs/1", {})))),
        ),
    }
    for name, (fields, _) in kinds.items():
        node.attribute.add(name=name, **fields)
    data = message.SerializeToString()
    path = tmp_path / "m.onnx"
    path.write_bytes(data)
    (found,) = (o for o in onnx.read_model(path).operators if o.name == "all")
    assert list(found.attrs) == list(kinds)
    for name, (_, expected) in kinds.items():
        if name == "graph":  # an empty message is still a graph on the wire
            assert found.attrs[name] in (expected, Attr("none"))
        else:
            assert found.attrs[name] == expected, name


def test_operators_that_nobody_defines_are_risks(tmp_path: Path) -> None:
    message = model()
    for domain in ("", "ai.onnx", "ai.onnx.ml", "com.microsoft", "mine", "mine", "ai.onnx.contrib"):
        message.graph.node.add(op_type="Op", domain=domain, output=["z"])
    found = onnx.read_model(write(tmp_path, message))
    assert found.risks == (
        Risk("custom-code", "mine::Op", "`mine::Op` (2 operators) needs a custom operator library"),
        Risk(
            "custom-code", "ai.onnx.contrib::Op", "`ai.onnx.contrib::Op` (1 operator) needs a custom operator library"
        ),
    )
    names = [o.name for o in found.operators]
    assert len(set(names)) == len(names)


def test_several_graph_fields_are_one_graph(tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    first, second = model(tensor("w", FLOAT, (1,), float_data=[1])), model(tensor("v", FLOAT, (1,), float_data=[2]))
    path.write_bytes(first.SerializeToString() + second.SerializeToString())
    assert list(model_of(path).checkpoint.variables) == ["w", "v"]
    assert set(onnx.read(path).initializers) == {"w", "v"}


@pytest.mark.parametrize(
    ("indices", "dims", "words"),
    [
        (([0, 9], (2,)), (2, 3), "has indices that do not fit its values"),
        (([-1, 2], (2,)), (2, 3), "has indices that do not fit its values"),
        (([0], (1,)), (2, 3), "has indices that do not fit its values"),
        (([0, 0, 2, 0], (2, 2)), (2, 3), "has indices that do not fit its values"),
        (([0, 1], (2,)), (1 << 40,), "takes more than 268,435,456 bytes in full"),
        (([0, 1], (2,)), (-1,), "has an impossible shape"),
        (([0, 1], (2,)), (0, 1 << 62), "has indices that do not fit its values"),
    ],
)
def test_sparse_tensors_that_do_not_fit(
    indices: tuple[list[int], tuple[int, ...]], dims: tuple[int, ...], words: str, tmp_path: Path
) -> None:
    sparse = message_class("SparseTensorProto")(
        values=tensor("s", FLOAT, (2,), float_data=[1, 2]),
        indices=tensor("i", INT64, indices[1], int64_data=indices[0]),
        dims=dims,
    )
    path = tmp_path / "m.onnx"
    data = sparse.SerializeToString()
    graph = len_header(15, len(data)) + data
    path.write_bytes(model().SerializeToString() + len_header(7, len(graph)) + graph)
    found = model_of(path)
    assert found.checkpoint.variables["s"].shape == dims
    with pytest.raises(TfinspectError) as caught:
        found.checkpoint.read("s")
    assert caught.value.message == f"{path}: `s`, sparse of shape {list(dims)}, {words}"


def test_large_values_stay_in_the_file(tmp_path: Path) -> None:
    big = np.arange(3 << 20, dtype="<f4")
    message = model(tensor("raw", FLOAT, big.shape, raw_data=big.tobytes()))
    message.graph.initializer.append(tensor("typed", FLOAT, (5000,), float_data=big[:5000]))
    message.graph.node.add(op_type="Constant", output=["c"]).attribute.add(
        name="value", t=tensor("", FLOAT, big.shape, raw_data=big.tobytes())
    )
    path = write(tmp_path, message)
    found = model_of(path)
    raw = found.checkpoint.tensor("raw")
    assert not raw.numpy().flags.owndata
    assert [len(piece) for piece in raw.chunks()] == [4 << 20] * 3
    assert b"".join(raw.chunks()) == big.tobytes()
    assert found.checkpoint.read("typed").tolist() == big[:5000].tolist()
    assert found.operators[1].attrs["value"].value.numpy().tobytes() == big.tobytes()
    assert (found.operators[1].dtype, found.operators[1].shape) == (DType.FLOAT, big.shape)
    assert onnx.read(path).initializers["c"].numpy().tobytes() == big.tobytes()


def ask_for_everything(path: Path) -> None:
    found = model_of(path)
    for operator in found.operators:
        for attr in operator.attrs.values():
            if attr.kind == "tensor":
                attr.value.numpy()
    for name in found.checkpoint.variables:
        found.checkpoint.read(name)


def test_truncation_at_every_offset(tmp_path: Path) -> None:
    shutil.copy(FIXTURES / "branches.bin", tmp_path)
    data = (FIXTURES / "branches.onnx").read_bytes()
    path = tmp_path / "m.onnx"
    refused = 0
    for length in range(len(data)):
        path.write_bytes(data[:length])
        try:
            ask_for_everything(path)
        except TfinspectError:
            refused += 1
    assert refused > len(data) - 12  # the rest ends between two fields


@pytest.mark.parametrize("seed", range(3))
def test_flipped_bits(seed: int, tmp_path: Path) -> None:
    shutil.copy(FIXTURES / "branches.bin", tmp_path)
    rng = np.random.default_rng(seed)
    original = (FIXTURES / "branches.onnx").read_bytes()
    path = tmp_path / "m.onnx"
    refused = 0
    for _ in range(150):
        data = bytearray(original)
        for _ in range(rng.integers(1, 4)):
            data[rng.integers(len(data))] ^= 1 << int(rng.integers(8))
        path.write_bytes(data)
        try:
            ask_for_everything(path)
        except TfinspectError:
            refused += 1
    assert 50 < refused < 150


def test_long_names_do_not_pile_up(tmp_path: Path) -> None:
    """Bodies are called by the nodes around them: one long name must not be repeated for each of many."""
    inner = message_class("GraphProto")(name="g")
    message = model()
    node = message.graph.node.add(name="n" * (1 << 20), op_type="Many", output=["z"])
    for _ in range(5000):
        node.attribute.add(name="a", g=inner)
    found = onnx.read_model(write(tmp_path, message))
    assert len(found.operators) == 2
    assert len(next(iter(found.operators[1].attrs.values())).value.name) < 500


# ---------------------------------------------------------------------------------------------------- oracles


@pytest.mark.tensorflow
@pytest.mark.filterwarnings("ignore")
def test_every_dtype_agrees_with_the_onnx_package(tmp_path: Path) -> None:
    import onnx as oracle
    from onnx import helper, numpy_helper

    compared = 0
    for number in DTYPES:
        numpy_type = helper.tensor_dtype_to_np_dtype(number)
        if number == STRING:
            values = np.array([b"ab", b"\xff", b""], object)
        else:
            values = np.array([1, 0, 3, 2], np.float32).astype(numpy_type)
            if values.dtype.kind == "c":
                values = values * np.asarray(1 - 2j, values.dtype)
        for shape in ((len(values),), (len(values), 1), (1, 1, len(values))):
            array = values.reshape(shape)
            typed = [v.decode("latin-1").encode() for v in values] if number == STRING else values.tolist()
            made = [helper.make_tensor("w", number, shape, typed)]
            if number != STRING:
                plain = numpy_helper.from_array(array, "w").raw_data
                assert (len(plain) == array.nbytes) == (DTYPES[number] not in PACKED_BITS)
                made.append(helper.make_tensor("w", number, shape, plain, raw=True))
            for proto in made:
                theirs = numpy_helper.to_array(proto)
                graph = helper.make_graph([], "g", [], [], initializer=[proto])
                (tmp_path / "m.onnx").write_bytes(oracle.helper.make_model(graph, ir_version=8).SerializeToString())
                ours = onnx.read(tmp_path / "m.onnx").initializers["w"].numpy()
                assert ours.shape == theirs.shape
                if number != STRING:
                    assert ours.tobytes() == theirs.tobytes() == array.tobytes(), number
                compared += 1
    assert compared == 3 * (2 * len(DTYPES) - 1)


@pytest.mark.tensorflow
@pytest.mark.filterwarnings("ignore")
def test_external_data_and_metadata_with_onnx_and_onnxruntime(tmp_path: Path) -> None:
    import onnx as oracle
    import onnxruntime

    large = np.arange(5000, dtype=np.float32)
    helper = oracle.helper
    graph = helper.make_graph(
        [helper.make_node("Add", ["x", "w"], ["y"])],
        "g",
        [helper.make_tensor_value_info("x", 1, [5000])],
        [helper.make_tensor_value_info("y", 1, [5000])],
        initializer=[oracle.numpy_helper.from_array(large, "w")],
    )
    made = helper.make_model(graph, ir_version=8, opset_imports=[helper.make_opsetid("", 15)])
    oracle.save_model(made, tmp_path / "inside.onnx")
    oracle.save_model(made, tmp_path / "outside.onnx", save_as_external_data=True, location="w.bin", size_threshold=0)
    for name in ("inside.onnx", "outside.onnx"):
        path = tmp_path / name
        assert onnx.read(path).initializers["w"].numpy().tolist() == large.tolist()
        onnx.append_metadata(path, {"labels": "a\nb"})
        oracle.checker.check_model(str(path))
        session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
        assert session.get_modelmeta().custom_metadata_map == {"labels": "a\nb"}
        (found,) = session.run(None, {"x": np.ones(5000, np.float32)})
        assert found.tolist() == (large + 1).tolist()
        assert {p.key: p.value for p in oracle.load(path).metadata_props} == onnx.read(path).metadata


@pytest.mark.tensorflow
@pytest.mark.filterwarnings("ignore")
def test_graphs_within_graphs_agree_with_the_onnx_package(tmp_path: Path) -> None:
    import onnx as oracle

    path = FIXTURES / "branches.onnx"
    theirs = oracle.load(path)
    oracle.checker.check_model(str(path))
    found = model_of(path)
    graphs = [("", theirs.graph)]
    operators, weights = [], {}
    for body, graph in graphs:
        prefix = f"{body}/" if body else ""
        operators += [(node.op_type, tuple(node.input), tuple(node.output), body) for node in graph.node]
        graphs += [
            (f"{prefix}{node.name}/{attribute.name}", attribute.g)
            for node in graph.node
            for attribute in node.attribute
            if attribute.HasField("g")
        ]
        weights |= {prefix + t.name: oracle.numpy_helper.to_array(t) for t in graph.initializer}
        for sparse in graph.sparse_initializer:
            dense = np.zeros(int(np.prod(sparse.dims)), np.float32)
            dense[oracle.numpy_helper.to_array(sparse.indices)] = oracle.numpy_helper.to_array(sparse.values)
            weights[sparse.values.name] = dense.reshape(tuple(sparse.dims))
    for function in theirs.functions:
        body = f"{function.domain}::{function.name}"
        operators += [(node.op_type, tuple(node.input), tuple(node.output), body) for node in function.node]
    ours = [(o.op.rpartition("::")[2], o.inputs, o.outputs, o.body) for o in found.operators]
    assert sorted(ours) == sorted(operators)
    assert set(found.checkpoint.variables) == set(weights)
    for name, expected in weights.items():
        value = found.checkpoint.read(name)
        assert (value.shape, value.dtype) == (expected.shape, expected.dtype), name
        assert value.tobytes() == expected.tobytes(), name
