"""The TensorFlow Lite reader, against TensorFlow Lite's own interpreter."""

from __future__ import annotations

import importlib.util
import json
import runpy
import struct
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tfinspect import formats
from tfinspect.errors import CorruptFileError, InputError, TfinspectError, UnsupportedFeatureError
from tfinspect.formats import _flatbuffers, _tflite_schema, tflite
from tfinspect.ir.attrs import Attr, FuncRef
from tfinspect.ir.dtypes import DType
from tfinspect.ir.risks import Risk

from .cli_calls import FIXTURES, ZOO, Caller

if TYPE_CHECKING:
    from tfinspect.ir.model import Model

WRITER = runpy.run_path(str(FIXTURES / "make_tflite.py"))
Table, Number, Numbers = WRITER["Table"], WRITER["Number"], WRITER["Numbers"]
REAL = sorted(ZOO.glob("savedmodel_serving/**/*.tflite"))
needs_zoo = pytest.mark.skipif(not REAL, reason="the zoo of real models is not here")


def write(folder: Path, root: Any, tail: bytes = b"") -> Path:
    path = folder / "m.tflite"
    path.write_bytes(WRITER["flatbuffer"](root) + tail)
    return path


def model(**changes: Any) -> Any:
    """Return the fixture's model with other fields; names as the schema has them."""
    numbers = {"version": 0, "codes": 1, "subgraphs": 2, "buffers": 4, "metadata": 6, "signatures": 7}
    return Table(WRITER["branches"]() | {numbers[name]: value for name, value in changes.items()})


def one_tensor(dtype: int, shape: tuple[int, ...], content: bytes, **more: Any) -> Any:
    """Return a model with a constant, `w`, and nothing else."""
    made = WRITER["tensor"]("w", dtype, shape, 1)
    made.fields |= more.get("fields", {})
    return Table(
        {
            0: Number("I", 3),
            2: [Table({0: [made], 1: Numbers("i", ()), 2: Numbers("i", ()), 3: []})],
            4: WRITER["buffers"](content),
        }
    )


def everything(found: Model) -> None:
    """Ask for all that can be asked for."""
    for operator in found.operators:
        for attr in operator.attrs.values():
            assert attr.value is not None
    assert found.checkpoint is not None
    for name in found.checkpoint.variables:
        try:
            value = found.checkpoint.read(name)
        except TfinspectError:
            continue
        assert value.shape == found.checkpoint.variables[name].shape


# ------------------------------------------------------------------------------------------------- what is read


def test_the_fixture() -> None:
    found = formats.open_model(FIXTURES / "branches.tflite")
    assert found.facts == {
        "schema_version": "3",
        "description": "fixture",
        "subgraphs": "twice, thrice",
        "min_runtime_version": "1.14.0",
        "associated_files": "labels.txt",
    }
    assert [(o.name, o.op, o.inputs, o.outputs, o.dtype, o.shape, o.body) for o in found.operators] == [
        (
            "dense/out",
            "FULLY_CONNECTED",
            ("x", "dense/weights", "dense/bias"),
            ("dense/out",),
            DType.FLOAT,
            (None, 3),
            "",
        ),
        ("y", "IF", ("twice", "dense/out"), ("y",), DType.FLOAT, (None, 3), ""),
        ("twice/y", "MUL", ("twice/x", "twice/factor"), ("twice/y",), DType.FLOAT, (None, 3), "twice"),
        ("thrice/y", "MUL", ("thrice/x", "thrice/factor"), ("thrice/y",), DType.FLOAT, (None, 3), "thrice"),
    ]
    assert found.operators[0].attrs["fused_activation_function"] == Attr.of(b"RELU")
    assert found.operators[0].attrs["keep_num_dims"] == Attr.of(value=False)
    assert found.operators[1].attrs == {
        "then_subgraph_index": Attr.of(FuncRef("twice", {})),
        "else_subgraph_index": Attr.of(FuncRef("thrice", {})),
    }
    (signature,) = found.signatures.values()
    assert (signature.name, [s.key for s in signature.inputs], [s.name for s in signature.inputs]) == (
        "classify",
        ["features"],
        ["x:0"],
    )
    assert found.risks == ()
    checkpoint = found.checkpoint
    assert checkpoint is not None
    assert {v.name: (str(v.dtype), v.shape, v.nbytes) for v in checkpoint.variables.values()} == {
        "dense/weights": ("float32", (3, 4), 48),
        "dense/bias": ("float32", (3,), 12),
        "twice": ("bool", (), 1),
        "half": ("float16", (2,), 4),
        "labels": ("string", (3,), 30),
        "quantised": ("int8", (2, 2), 4),
        "packed": ("int4", (5,), 3),
        "twice/factor": ("float32", (), 4),
        "thrice/factor": ("float32", (), 4),
    }
    values = {name: checkpoint.read(name).tolist() for name in checkpoint.variables if name != "dense/weights"}
    assert values == {
        "dense/bias": [0.5, -1, 2],
        "twice": True,
        "half": [1.5, -2],
        "labels": [b"daisy", b"", b"roses"],
        "quantised": [[1, -2], [3, -4]],
        "packed": [1, 2, -8, -1, 7],
        "twice/factor": 2,
        "thrice/factor": 3,
    }


@pytest.mark.tensorflow
def test_the_fixture_is_what_its_script_writes(tmp_path: Path) -> None:
    WRITER["write"](tmp_path)
    for name in ("branches.tflite", "branches.bin"):
        assert (tmp_path / name).read_bytes() == (FIXTURES / name).read_bytes()


def test_weights_are_views_of_the_file_and_stream(tmp_path: Path) -> None:
    big = np.arange(3 << 20, dtype="<f4")
    path = write(tmp_path, one_tensor(WRITER["FLOAT32"], (3 << 20,), big.tobytes()))
    tensor = formats.read_checkpoint(path).tensor("w")
    assert not tensor.numpy().flags.owndata
    pieces = list(tensor.chunks())
    assert len(pieces) == 3
    assert b"".join(pieces) == big.tobytes()


def test_buffers_behind_the_model(tmp_path: Path) -> None:
    """Models of more than 2 GiB keep their weights outside of the FlatBuffer."""
    values = np.array([1, 2, 3], "<f4").tobytes()

    def built(offset: int, size: int) -> Any:
        made = one_tensor(WRITER["FLOAT32"], (3,), b"")
        made.fields[4] = [Table(), Table({1: Number("Q", offset), 2: Number("Q", size)})]
        return made

    end = len(WRITER["flatbuffer"](built(2, 12)))
    assert formats.read_checkpoint(write(tmp_path, built(end, 12), values)).read("w").tolist() == [1, 2, 3]
    for offset, size in ((end + 1, 12), (2**64 - 1, 12), (end, 2**64 - 1)):
        path = write(tmp_path, built(offset, size), values)
        with pytest.raises(CorruptFileError) as caught:
            tflite.read(path)
        assert caught.value.message == (
            f"{path} is damaged at byte {caught.value.offset:,} (buffer): expected a buffer inside the file of "
            f"{end + 12:,} bytes, found {size:,} bytes at byte {offset:,}"
        )


def test_custom_operators_are_risks(tmp_path: Path) -> None:
    op_code, operator, custom = WRITER["op_code"], WRITER["operator"], WRITER["CUSTOM"]
    main = Table(
        {
            0: [WRITER["tensor"](name, 0, (1,)) for name in ("x", "a", "b", "")],
            1: Numbers("i", (0,)),
            2: Numbers("i", (2,)),
            3: [
                operator(0, (0, -1), (1,), {5: b"\1\2"}),
                operator(0, (1,), (2,)),
                operator(1, (1,), (-1, 3)),
                operator(2, (1,), ()),
            ],
        }
    )
    codes = [op_code(custom, "Mine"), op_code(custom, "FlexAdd"), op_code(1000)]
    found = tflite.read(write(tmp_path, model(codes=codes, subgraphs=[main], signatures=[])))
    assert [(o.name, o.op, o.inputs, o.outputs) for o in found.operators] == [
        ("a", "custom::Mine", ("x", ""), ("a",)),
        ("b", "custom::Mine", ("a",), ("b",)),
        ("tensor_3", "custom::FlexAdd", ("a",), ("", "tensor_3")),
        ("BUILTIN_1000_3", "BUILTIN_1000", ("a",), ()),
    ]
    assert found.operators[0].attrs == {"custom_options": Attr.of(b"\1\2")}
    assert found.risks == (
        Risk("custom-code", "custom::Mine", "`Mine` (2 operators) needs a custom operator library"),
        Risk("custom-code", "custom::FlexAdd", "`FlexAdd` (1 operator) needs TensorFlow's own kernels"),
    )
    assert list(found.signatures) == ["main"]
    assert [s.name for s in found.signatures["main"].outputs] == ["b:0"]


def test_names_are_made_unique(tmp_path: Path) -> None:
    tensors = [WRITER["tensor"](name, 0, (1,), 1) for name in ("w", "w", "w#2", "", "")]
    subgraph = Table({0: tensors, 1: Numbers("i", ()), 2: Numbers("i", ()), 3: []})
    made = model(subgraphs=[subgraph, subgraph], buffers=WRITER["buffers"](bytes(4)), metadata=[], signatures=[])
    checkpoint = formats.read_checkpoint(write(tmp_path, made))
    first = ["w", "w#2", "w#2#2", "tensor_3", "tensor_4"]
    assert list(checkpoint.variables) == first + [f"subgraph_1/{name}" for name in first]


def test_quantisation_is_an_attribute_of_the_operator_that_computes(tmp_path: Path) -> None:
    tensor = WRITER["tensor"]
    main = Table(
        {
            0: [tensor("x", 9, (1,), scale=(0.5,), zero_point=(3,)), tensor("y", 9, (2,), scale=(0.5, 2), zero_point=(0, -1))],
            1: Numbers("i", (0,)),
            2: Numbers("i", (1,)),
            3: [WRITER["operator"](2, (0,), (1,))],
        }
    )  # fmt: skip
    (operator,) = tflite.read(write(tmp_path, model(subgraphs=[main], signatures=[]))).operators
    assert {name: attr.value for name, attr in operator.attrs.items() if name == "quantized_dimension"} == {
        "quantized_dimension": 0
    }
    assert operator.attrs["scale"].value.values == (0.5, 2)
    assert operator.attrs["zero_point"].value.values == (0, -1)


# ------------------------------------------------------------------------------------------------ what is refused


REFUSED = [
    ((0, (3,), bytes(11)), "expected 12 bytes of `w`, float32 of shape [3], found a buffer of 11"),
    ((17, (5,), bytes(4)), "expected 3 bytes of `w`, int4 of shape [5], found a buffer of 4"),
    ((0, (-1,), bytes(4)), "`w` has the impossible shape [-1]"),
    ((0, (1,) * 100, bytes(4)), "`w` has the impossible shape [1, "),
    ((13, (1,), bytes(4)), "`w` is of type resource, which has no values to read"),
    ((99, (1,), bytes(4)), "`w` is of type invalid, which has no values to read"),
    ((5, (2,), b"\1\0\0\0"), "(strings of `w`): expected the number of its strings, 2, found 1"),
    ((5, (2,), b"\2"), "(strings of `w`): expected the number of its strings, 2, found -1"),
    ((5, (2,), b"\2\0\0\0" + bytes(4)), "(strings of `w`): expected 16 bytes of offsets, found a buffer of 8"),
    ((5, (1,), struct.pack("<4i", 1, 12, 99, 0)), "(strings of `w`): expected rising offsets from 12 to 16, found others"),
    ((5, (1,), struct.pack("<4i", 1, 14, 12, 0)), "(strings of `w`): expected rising offsets from 12 to 16, found others"),
    ((5, (1,), struct.pack("<4i", 1, -4, 12, 0)), "(strings of `w`): expected rising offsets from 12 to 16, found others"),
]  # fmt: skip


@pytest.mark.parametrize(("made", "words"), REFUSED, ids=lambda v: v if isinstance(v, str) else "")
def test_values_that_do_not_fit(made: tuple[int, tuple[int, ...], bytes], words: str, tmp_path: Path) -> None:
    path = write(tmp_path, one_tensor(*made))
    checkpoint = formats.read_checkpoint(path)
    assert checkpoint.variables["w"].nbytes == len(made[2])  # it is listed all the same
    with pytest.raises(InputError) as caught:
        checkpoint.read("w")
    assert words in caught.value.message
    assert caught.value.message.startswith(str(path))


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({6: Table({0: Numbers("i", (0,))})}, "`w` is stored sparse, which tfinspect does not read"),
        ({10: Number("I", 1)}, "`w` stands in another file, which tfinspect does not read"),
    ],
)
def test_what_is_not_read(fields: dict[int, Any], words: str, tmp_path: Path) -> None:
    path = write(tmp_path, one_tensor(0, (1,), bytes(4), fields=fields))
    with pytest.raises(UnsupportedFeatureError) as caught:
        formats.read_checkpoint(path).read("w")
    assert caught.value.message == f"{path}: {words}"


def test_other_versions_of_the_schema(tmp_path: Path) -> None:
    path = write(tmp_path, model(version=Number("I", 2)))
    with pytest.raises(UnsupportedFeatureError) as caught:
        tflite.read(path)
    assert caught.value.message == f"{path} is of version 2 of TensorFlow Lite's schema, of which only 3 is read"


def numbered(**where: int) -> Any:
    tensor, operator = WRITER["tensor"], WRITER["operator"]
    main = Table(
        {
            0: [tensor("x", 0, (1,), where.get("buffer", 0))],
            1: Numbers("i", (0,)),
            2: Numbers("i", (where.get("output", 0),)),
            3: [operator(where.get("code", 0), (where.get("input", 0),), (0,))],
        }
    )
    signatures = [WRITER["signature"]("s", {"x": where.get("entry", 0)}, {}, where.get("subgraph", 0))]
    return model(
        subgraphs=[main],
        codes=[WRITER["op_code"](0)],
        signatures=[] if "output" in where else signatures,
        metadata=[Table({0: "m", 1: Number("I", where.get("metadata", 0))})],
        buffers=[Table()],
    )


@pytest.mark.parametrize(
    ("where", "words"),
    [
        ({"buffer": 1}, "(tensor): expected the number of one of 1 buffer, found 1"),
        ({"code": 7}, "(operator): expected the number of one of 1 operator code, found 7"),
        ({"input": 3}, "(operator): expected the number of one of 1 tensor, found 3"),
        ({"input": -2}, "(operator): expected the number of one of 1 tensor, found -2"),
        ({"output": 3}, "(subgraph): expected the number of one of 1 tensor, found 3"),
        ({"entry": 4}, "(signature entry): expected the number of one of 1 tensor, found 4"),
        ({"subgraph": 1}, "(signature): expected the number of one of 1 subgraph, found 1"),
        ({"metadata": 9}, "(metadata): expected the number of one of 1 buffer, found 9"),
    ],
)
def test_numbers_of_things_that_are_not_there(where: dict[str, int], words: str, tmp_path: Path) -> None:
    path = write(tmp_path, numbered(**where))
    with pytest.raises(CorruptFileError) as caught:
        tflite.read(path)
    assert caught.value.message == f"{path} is damaged at byte {caught.value.offset:,} {words}"


ROOT = b"TFL3" + bytes(4)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"\0\0\0\0" + ROOT, "byte 0 (model): expected an offset inside the file, found 0"),
        (b"\xff\xff\xff\xff" + ROOT, "byte 0 (model): expected an offset inside the file, found 4,294,967,295"),
        (b"\x06\0\0\0" + ROOT, "byte 0 (model): expected an offset to a multiple of 4 bytes, found byte 6"),
        (b"\x0c\0\0\0" + ROOT + b"\x64\0\0\0", "byte 12 (model): expected an offset to a vtable inside the file, found 100"),
        (b"\x0c\0\0\0" + ROOT + b"\xf6\xff\xff\xff", "byte 12 (model): expected an offset to a vtable inside the file, found -10"),
        (b"\x0c\0\0\0" + ROOT + b"\x03\0\0\0", "byte 12 (model): expected an offset to a vtable inside the file, found 3"),
        (b"\x10\0\0\0TFL3\x64\0\4\0\0\0\0\0\x08\0\0\0", "byte 8 (model): expected a vtable inside the file, found one of 100 bytes"),
        (b"\x10\0\0\0TFL3\3\0\4\0\0\0\0\0\x08\0\0\0", "byte 8 (model): expected a vtable inside the file, found one of 3 bytes"),
        (b"\x10\0\0\0TFL3\6\0\4\0\4\0\0\0\x08\0\0\0", "byte 8 (model): expected fields inside their table, found a table of 4 bytes"),
        (b"\x10\0\0\0TFL3\6\0\x20\0\4\0\0\0\x08\0\0\0", "byte 16 (model): expected a table of 32 bytes, found 4 bytes to the end"),
    ],
)  # fmt: skip
def test_damaged_roots(data: bytes, words: str, tmp_path: Path) -> None:
    path = tmp_path / "m.tflite"
    path.write_bytes(data)
    with pytest.raises(CorruptFileError) as caught:
        formats.open_model(path)
    assert caught.value.message == f"{path} is damaged at {words}"


def test_a_vector_that_is_longer_than_the_file(tmp_path: Path) -> None:
    path = write(tmp_path, model())
    data = bytearray(path.read_bytes())
    at = data.index(struct.pack("<I", 7) + b"fixture\0")
    struct.pack_into("<I", data, at, 1 << 31)
    path.write_bytes(data)
    with pytest.raises(CorruptFileError) as caught:
        tflite.read(path)
    assert caught.value.message == (
        f"{path} is damaged at byte {at:,} (model): expected 2,147,483,648 elements of 1 bytes, found "
        f"{len(data) - at - 4:,} bytes to the end"
    )


LONG = Table({3: "n" * 100_000})
WIDE = Table({0: [Table()] * 3000, 3: []})


@pytest.mark.parametrize("subgraphs", [[WIDE] * 3000, [Table({0: [LONG] * 500})]], ids=["subgraphs", "names"])
def test_parts_that_are_listed_again_and_again(subgraphs: list[Any], tmp_path: Path) -> None:
    """A small file must not become a large listing: every entry of a vector may point at the same part."""
    path = write(tmp_path, model(subgraphs=subgraphs, signatures=[]))
    assert path.stat().st_size < 150_000
    with pytest.raises(CorruptFileError, match="expected parts that are listed once, found the same ones listed again"):
        tflite.read(path)


def test_truncation_at_every_offset(tmp_path: Path) -> None:
    data = (FIXTURES / "branches.tflite").read_bytes()
    path = tmp_path / "m.tflite"
    refused = 0
    for length in range(len(data)):
        path.write_bytes(data[:length])
        try:
            everything(tflite.read(path))
        except TfinspectError:
            refused += 1
    assert refused > 2000  # what lies behind the FlatBuffer is not needed


@pytest.mark.parametrize("seed", range(4))
def test_flipped_bits(seed: int, tmp_path: Path) -> None:
    rng = np.random.default_rng(seed)
    original = (FIXTURES / "branches.tflite").read_bytes()
    path = tmp_path / "m.tflite"
    refused = 0
    for _ in range(300):
        data = bytearray(original)
        for _ in range(rng.integers(1, 4)):
            data[rng.integers(8, 2800)] ^= 1 << int(rng.integers(8))
        path.write_bytes(data)
        try:
            everything(tflite.read(path))
        except TfinspectError:
            refused += 1
    assert 20 < refused < 300


@settings(max_examples=300, deadline=None)
@given(data=st.binary(min_size=1, max_size=200), at=st.integers(0, 60), offset=st.integers(0, 2**32 - 1))
def test_any_bytes_are_walked_or_refused(data: bytes, at: int, offset: int) -> None:
    view = bytearray(data)
    if at + 4 <= len(view):
        struct.pack_into("<I", view, at, offset % (len(view) + 8))
    buffer = _flatbuffers.Buffer(memoryview(bytes(view)), "m")
    try:
        root = buffer.root("model")
        for number in range(4):
            for child in root.tables(number, "child"):
                child.text(0)
                child.numbers(1, "q")
                child.number(2, "Q")
                child.table(3, "grandchild")
            root.octets(number)
    except CorruptFileError as error:
        assert 0 <= error.offset <= len(view)  # noqa: PT017 - most inputs are refused, not all


SCALARS = {
    "b": st.integers(-128, 127),
    "H": st.integers(0, 2**16 - 1),
    "i": st.integers(-(2**31), 2**31 - 1),
    "Q": st.integers(0, 2**64 - 1),
}
VALUES = st.one_of(
    *(values.map(lambda v, code=code: Number(code, v)) for code, values in SCALARS.items()),
    *(st.lists(values, max_size=5).map(lambda v, code=code: Numbers(code, v)) for code, values in SCALARS.items()),
    st.text(max_size=8),
    st.binary(max_size=20),
)  # fmt: skip
TABLES = st.recursive(
    st.dictionaries(st.integers(0, 9), VALUES, max_size=5).map(Table),
    lambda inner: st.dictionaries(st.integers(0, 9), st.one_of(VALUES, inner, st.lists(inner, max_size=3)), max_size=4).map(Table),
    max_leaves=8,
)  # fmt: skip


def compare(found: _flatbuffers.Table, made: Any) -> None:
    for number in range(11):
        assert found.has(number) == (number in made.fields)
        value = made.fields.get(number)
        if isinstance(value, Number):
            assert found.number(number, value.code) == value.value
        elif isinstance(value, Numbers):
            assert found.numbers(number, value.code) == tuple(value.values)
        elif isinstance(value, str):
            assert found.text(number) == value
        elif isinstance(value, bytes):
            assert found.octets(number) == value
        elif isinstance(value, list):
            inner = list(found.tables(number, "inner"))
            assert len(inner) == len(value)
            for one, other in zip(inner, value, strict=True):
                compare(one, other)
        elif value is not None:
            inside = found.table(number, "inside")
            assert inside is not None
            compare(inside, value)


@settings(max_examples=150, deadline=None)
@given(made=TABLES)
def test_what_is_written_is_read(made: Any) -> None:
    data = WRITER["flatbuffer"](made)
    compare(_flatbuffers.Buffer(memoryview(data), "m").root("root"), made)


# ---------------------------------------------------------------------------------------------------- commands


@pytest.fixture
def call(monkeypatch: pytest.MonkeyPatch) -> Caller:
    return Caller(monkeypatch)


def test_commands_answer(call: Caller) -> None:
    answer = call("info", "branches.tflite", "--json").answer
    assert (answer["format"], [i["key"] for i in answer["inputs"]]) == ("tflite", ["features"])
    assert call("vars", "branches.tflite", "--match", "*factor").rows == [
        ["twice/factor", "float32", "scalar", "4", "weight"],
        ["thrice/factor", "float32", "scalar", "4", "weight"],
    ]
    assert call("vars", "branches.tflite", "--read", "dense/bias", "--json").status == 0


@pytest.mark.parametrize("name", ["branches.tflite", "branches.onnx"])
def test_listing_loads_no_numpy(name: str) -> None:
    script = (
        "import sys\nfrom tfinspect.cli.app import run\nstatus = run(sys.argv[1:])\n"
        "heavy = {'numpy', 'rich', 'tensorflow', 'onnx'} & set(sys.modules)\n"
        "sys.exit(f'{status} {heavy}' if status or heavy else 0)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, "vars", name], check=False, cwd=FIXTURES, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) in {9, 11}


# ---------------------------------------------------------------------------------------------------- oracles

ORACLE = """
import json, sys
import tensorflow as tf
answers = []
for path in sys.argv[1:]:
    found = tf.lite.Interpreter(path)
    tensors = []
    for index in range(found._interpreter.NumSubgraphs()):
        for d in found.get_tensor_details(index):
            tensors.append([index, d["name"], d["shape"].tolist(), d["shape_signature"].tolist(), d["dtype"].__name__,
                            [float(v) for v in d["quantization_parameters"]["scales"]]])
    values = {}
    try:
        found.allocate_tensors()
    except RuntimeError:
        pass
    for d in found.get_tensor_details():
        try:
            values[d["name"]] = found.get_tensor(d["index"]).tolist()
        except ValueError:
            continue
    values = {k: v for k, v in values.items() if "bytes" not in repr(type(v)) and "b'" not in repr(v)}
    ops = [d["op_name"] for d in found._get_ops_details()]
    answers.append({"signatures": found.get_signature_list(), "tensors": tensors, "values": values, "ops": ops})
print(json.dumps(answers))
"""


@pytest.mark.tensorflow
def test_everything_agrees_with_the_interpreter(tmp_path: Path) -> None:
    paths = [FIXTURES / "branches.tflite", *(p for p in REAL if "parse_example" not in str(p))]
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", ORACLE, *map(str, paths)],
        capture_output=True, text=True, check=True, cwd=tmp_path,
    )  # fmt: skip
    compared = 0
    for path, theirs in zip(paths, json.loads(done.stdout.splitlines()[-1]), strict=True):
        ours = formats.open_model(path)
        assert ours.checkpoint is not None
        named = {key: {"inputs": [s.key for s in found.inputs], "outputs": [s.key for s in found.outputs]} for key, found in ours.signatures.items()}  # fmt: skip
        assert theirs["signatures"] in ({}, named)
        assert [o.op for o in ours.operators if not o.body] == [op for op in theirs["ops"] if op != "DELEGATE"]
        bodies = ["", *filter(None, ours.facts.get("subgraphs", "").split(", "))]
        known = {o.outputs[0]: (str(o.dtype), o.shape) for o in ours.operators}
        for subgraph, name, shape, free, dtype, scales in theirs["tensors"]:
            full = f"{bodies[subgraph]}/{name}" if subgraph else name
            variable = ours.checkpoint.variables.get(full)
            if variable is not None:
                assert list(variable.shape) == shape
                assert str(variable.dtype) in {dtype, "string" if dtype == "bytes_" else "int4"}
                compared += 1
            elif full in known:
                assert known[full][0] == dtype
                found_shape = known[full][1]
                assert found_shape is None or [-1 if d is None else d for d in found_shape] == (free or shape)
                compared += 1
            assert scales in ([], [0.5, 0.25])
        for name, value in theirs["values"].items():
            if name in ours.checkpoint.variables and ours.checkpoint.variables[name].dtype is not DType.INT4:
                assert np.array_equal(ours.checkpoint.read(name).astype(float), np.array(value, float)), name
                compared += 1
    assert compared >= 20


CONVERT = """
import sys
import numpy as np
import tensorflow as tf

class Net(tf.Module):
    def __init__(self):
        self.kernel = tf.Variable(np.linspace(-1, 1, 72, dtype="f").reshape(3, 3, 2, 4), name="kernel")
        self.count = tf.Variable(0.5)

    @tf.function(input_signature=[tf.TensorSpec([None, 4, 4, 2], tf.float32)])
    def look(self, x):
        return {"out": tf.nn.relu(tf.nn.conv2d(x, self.kernel, 2, "VALID"))}

    @tf.function(input_signature=[tf.TensorSpec([], tf.int32)])
    def step(self, n):
        done, total = tf.constant(0), tf.constant(1.0)
        while done < n:
            done, total = done + 1, total * 2.0 + self.count
        self.count.assign_add(total)
        return {"total": total}

net = Net()
tf.saved_model.save(net, "sm", {"look": net.look, "step": net.step})
both = tf.lite.TFLiteConverter.from_saved_model("sm", signature_keys=["look", "step"])
both.experimental_enable_resource_variables = True
outside = tf.lite.TFLiteConverter.from_saved_model("sm", signature_keys=["look"])
outside._experimental_use_buffer_offset = True
for name, converter in {"both": both, "outside": outside}.items():
    open(name + ".tflite", "wb").write(converter.convert())
    found = tf.lite.Interpreter(name + ".tflite")
    values = {}
    for d in found.get_tensor_details():
        try:
            values[d["name"].replace("/", "|")] = found.get_tensor(d["index"])
        except ValueError:
            continue
    np.savez(name, **{name: value for name, value in values.items() if value.dtype.kind in "fi"})
"""


@pytest.mark.tensorflow
def test_what_the_converter_writes(tmp_path: Path) -> None:
    script = tmp_path / "convert.py"
    script.write_text(CONVERT)  # TensorFlow wants to see the source of a loop
    subprocess.run([sys.executable, "-W", "ignore", script], check=True, capture_output=True, cwd=tmp_path)
    both, outside = (tflite.read(tmp_path / f"{name}.tflite") for name in ("both", "outside"))
    assert {key: [s.key for s in (*found.inputs, *found.outputs)] for key, found in both.signatures.items()} == {
        "look": ["x", "out"],
        "step": ["n", "total"],
    }
    assert {"CONV_2D", "CALL_ONCE", "WHILE", "VAR_HANDLE", "READ_VARIABLE", "ASSIGN_VARIABLE"} <= {
        o.op for o in both.operators
    }
    (convolution,) = (o for o in both.operators if o.op == "CONV_2D")
    assert (convolution.shape, convolution.attrs["stride_w"].value) == ((None, 1, 1, 4), 2)
    assert convolution.attrs["padding"].value == b"VALID"
    (loop,) = (o for o in both.operators if o.op == "WHILE")
    assert {o.body for o in both.operators} >= {loop.attrs["body_subgraph_index"].value.name}
    assert outside.facts["buffer_location"] == "outside flatbuffers"
    for name, model in (("both", both), ("outside", outside)):
        theirs = np.load(tmp_path / f"{name}.npz")
        assert model.checkpoint is not None
        known = [key for key in model.checkpoint.variables if key.replace("/", "|") in theirs]
        for key in known:
            value = model.checkpoint.read(key)
            assert value.shape == theirs[key.replace("/", "|")].shape
            assert value.tobytes() == theirs[key.replace("/", "|")].tobytes()
        # TensorFlow Lite has the output channel first
        kernel = np.linspace(-1, 1, 72, dtype="f").reshape(3, 3, 2, 4).transpose(3, 0, 1, 2)
        assert sum(np.array_equal(model.checkpoint.read(key), kernel) for key in known) == 1


@needs_zoo
@pytest.mark.parametrize("path", REAL, ids=lambda p: p.parent.parent.name)
def test_real_models(path: Path) -> None:
    found = formats.open_model(path)
    everything(found)
    assert found.operators
    if "half_plus_two" in str(path):
        assert found.checkpoint is not None
        assert {name: found.checkpoint.read(name).tolist() for name in found.checkpoint.variables} == {"a": 0.5, "b": 2}
    else:
        assert [risk.where for risk in found.risks] == ["custom::ParseExampleV2"]


@pytest.mark.tensorflow
def test_names_of_the_schema() -> None:
    found = importlib.util.find_spec("tensorflow")
    assert found is not None
    assert found.origin is not None
    # the module needs nothing of TensorFlow, which takes seconds to import
    generated = SimpleNamespace(**runpy.run_path(str(Path(found.origin).parent / "lite/python/schema_py_generated.py")))

    def named(kind: type) -> dict[str, int]:
        return {name: number for name, number in vars(kind).items() if isinstance(number, int)}

    for ours, theirs in (
        (_tflite_schema.OPERATORS, generated.BuiltinOperator),
        (_tflite_schema.OPTIONS, generated.BuiltinOptions),
        (_tflite_schema.OPTIONS_2, generated.BuiltinOptions2),
        (_tflite_schema.PADDINGS, generated.Padding),
        (_tflite_schema.ACTIVATIONS, generated.ActivationFunctionType),
    ):
        assert {name: number for number, name in enumerate(ours)} == named(theirs)
    types = named(generated.TensorType)
    assert len(types) == len(_tflite_schema.DTYPES)
    for name, number in types.items():
        assert str(_tflite_schema.DTYPES[number]) == name.lower()
    assert set(_tflite_schema.option_fields()) <= {*_tflite_schema.OPTIONS, *_tflite_schema.OPTIONS_2, ""}
