from __future__ import annotations

import tracemalloc
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.checkpoint_writers import (
    part,
    same,
    samples,
    slice_proto,
    table,
    v1_rows,
    v1_values,
    varint,
)
from tfinspect.errors import CorruptFileError, IncompleteCheckpointError, InputError, UnsupportedFeatureError
from tfinspect.formats import checkpoint
from tfinspect.formats._ordered_code import slice_key
from tfinspect.formats._schema import message_class
from tfinspect.formats._varints import varints as _varints
from tfinspect.ir.dtypes import DType
from tfinspect.ir.tensors import CHUNK_NBYTES

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.checkpoint_writers import Extents

ZOO = Path(__file__).parents[2] / "shared" / "zoo"
STORABLE = {n: a for n, a in samples().items() if not n.startswith(("float8", "int4", "uint4", "int2", "uint2"))}
SMALL = {
    "w": (np.array([[1, -2, 3.5]], "f4"), []),
    "n": (np.array([1, -1, 300]), []),
    "s": (np.array(b"ab", object), []),
}


def write(path: Path, arrays: dict[str, tuple[np.ndarray, list[Extents]]], **options: Any) -> Path:
    table_options = {k: options.pop(k) for k in ("snappy", "block_nbytes") if k in options}
    path.write_bytes(table(v1_rows(arrays, **options), **table_options))
    return path


def read_all(path: Path) -> None:
    found = checkpoint.read(path)
    for name in found.variables:
        found.read(name)


@pytest.mark.parametrize("snappy", [False, True])
@pytest.mark.parametrize("block_nbytes", [1, 1 << 20])
def test_every_dtype_reads_back(tmp_path: Path, *, snappy: bool, block_nbytes: int) -> None:
    arrays = {n: (a, []) for n, a in STORABLE.items()}
    found = checkpoint.read(write(tmp_path / "m.ckpt", arrays, snappy=snappy, block_nbytes=block_nbytes))
    assert found.format == "checkpoint_v1"
    assert found.files == (str(tmp_path / "m.ckpt"),)
    assert list(found.variables) == list(arrays)
    for name, array in STORABLE.items():
        info = found.variables[name]
        assert (str(info.dtype), info.shape, info.slices) == (str(DType.from_numpy(array.dtype)), array.shape, 0)
        assert same(found.read(name), array)
        if array.dtype != object:
            assert info.nbytes == array.nbytes
            assert b"".join(found.tensor(name).chunks()) == array.tobytes()


@pytest.mark.parametrize(("dtype", "plain"), [(DType.QINT8, "i1"), (DType.QUINT8, "u1"), (DType.QINT32, "i4")])
def test_quantised_types_read_as_plain_integers(tmp_path: Path, dtype: DType, plain: str) -> None:
    array = np.array([0, 1, 100], plain)
    found = checkpoint.read(write(tmp_path / "m", {"q": (array, [])}, dtypes={"q": dtype}))
    assert found.variables["q"].dtype is dtype
    assert same(found.read("q"), array)


GRID = np.arange(24, dtype="f4").reshape(4, 6)
TILES: list[Extents] = [((1, 3), (0, 2)), ((0, 1), (0, 6)), ((1, 3), (2, 4))]


@pytest.mark.parametrize("dtype", ["f4", "f2", "c8", "i1", "i8", "?", "O"])
def test_slices_over_several_shards(tmp_path: Path, dtype: str) -> None:
    array = GRID.astype(dtype) if dtype != "O" else np.vectorize(lambda x: b"s%d" % x, otypes=[object])(GRID)
    for number, tile in enumerate(TILES):
        arrays = {"p": (array, [tile]), f"own{number}": (np.array([number], "i4"), [])}
        write(tmp_path / f"m.ckpt-7-{number:05d}-of-00003", arrays, snappy=number == 1)
    found = checkpoint.read(tmp_path / "m.ckpt-7")
    assert found.path == str(tmp_path / "m.ckpt-7-?????-of-00003")
    assert list(found.variables) == ["p", "own0", "own1", "own2"]
    assert found.variables["p"].slices == 3
    assert same(found.read("p"), array)
    assert [found.read(f"own{n}").item() for n in range(3)] == [0, 1, 2]
    if dtype != "O":
        assert b"".join(found.tensor("p").chunks()) == array.tobytes()


def test_a_missing_shard_hides_names_and_is_an_error(tmp_path: Path) -> None:
    write(tmp_path / "m-00001-of-00002", SMALL)
    with pytest.raises(IncompleteCheckpointError, match="m-00000-of-00002 is missing"):
        checkpoint.read(tmp_path / "m")


def test_shards_that_disagree(tmp_path: Path) -> None:
    write(tmp_path / "m-00000-of-00002", {"p": (GRID, [TILES[0]])})
    write(tmp_path / "m-00001-of-00002", {"p": (GRID.T.copy(), [((0, -1), (0, -1))])})
    with pytest.raises(CorruptFileError, match=r"`p` as float32\[4, 6\], as before, found float32\[6, 4\]"):
        checkpoint.read(tmp_path / "m")


def value_of(name: str, extents: Extents, data: Any) -> tuple[bytes, bytes]:
    value = message_class("SavedTensorSlices")()
    value.data.name = name
    value.data.slice.CopyFrom(slice_proto(extents))
    value.data.data.CopyFrom(data)
    return slice_key(name.encode(), extents), value.SerializeToString()


def with_wire(folder: Path, array: np.ndarray, data: bytes) -> Path:
    """Write a checkpoint of one variable `v` whose TensorProto is the given bytes."""
    extents = ((0, -1),) * array.ndim

    def field(number: int, body: bytes) -> bytes:
        return varint(number << 3 | 2) + varint(len(body)) + body

    rows = [row for row in v1_rows({"v": (array, [])}) if not row[0]]
    rows.append((slice_key(b"v", extents), field(2, field(1, b"v") + field(3, data))))
    (folder / "m").write_bytes(table(rows))
    return folder / "m"


@pytest.mark.parametrize("name", ["f32", "f64", "c64", "i8", "i64", "bool", "f16", "u8"])
def test_values_that_are_not_packed(tmp_path: Path, name: str) -> None:
    array = STORABLE[name]
    packed = v1_values(array).SerializeToString()  # one field: a tag of one byte, a length, the values
    field = packed[0] >> 3
    body = packed[2 if packed[1] < 128 else 3 :]
    width = {"f32": 4, "f64": 8, "c64": 4}.get(name, 0)
    wire, position = b"", 0
    while position < len(body):
        size = width or next(n for n in range(1, 11) if body[position + n - 1] < 128)
        wire += varint(field << 3 | {4: 5, 8: 1}.get(width, 0)) + body[position : position + size]
        position += size
    assert same(checkpoint.read(with_wire(tmp_path, array, wire)).read("v"), array)


@pytest.mark.parametrize(
    ("array", "wire", "message"),
    [
        (np.zeros(3, "f4"), b"\x2a\x08" + bytes(8), "expected 12 bytes of values, found 8"),
        (np.zeros(1, "f4"), b"\x2a\x08" + bytes(8), "expected 4 bytes of values, found more"),
        (np.zeros(3, "f4"), b"", "at least 12 bytes"),
        (np.zeros(2, "i4"), b"\x3a\x01\x05", "expected 8 bytes of values, found 4"),
        (np.zeros(2, "i4"), b"\x3a\x03\x05\x06\x07", "found more"),
        (np.zeros(2, "i4"), b"\x3a\x03\x05\x06\x80", "expected a varint, found the end"),
        (np.zeros(2, "i4"), b"\x3a\x0d\x05" + b"\xff" * 11 + b"\x01", "at most 10 bytes"),
        (np.zeros(2, "i4"), b"\x3a\x0d\x05" + b"\xff" * 12, "at most 10 bytes"),
        (np.zeros(2, "i4"), b"\x3a\x09\x05", "9 bytes of field 7"),
        (np.array([b"", b""], object), b"\x42\x01a", "expected 2 strings, found 1"),
    ],
)
def test_values_that_do_not_fit(tmp_path: Path, array: np.ndarray, wire: bytes, message: str) -> None:
    path = with_wire(tmp_path, array, wire)
    with pytest.raises(CorruptFileError, match=message):
        read_all(path)


def dim(size: int) -> Callable[[Any], None]:
    return lambda head: setattr(head.meta.tensor[0].shape.dim[0], "size", size)


def extent(**fields: int) -> Callable[[Any], None]:
    def edit(head: Any) -> None:
        place = head.meta.tensor[0].slice[0].extent[0]
        for name, value in fields.items():
            setattr(place, name, value)

    return edit


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (dim(-1), r"a shape with known dimensions, found \[-1, 3\]"),
        (dim(2**62), "at least"),
        (extent(start=1), r"a slice of \[1, 3\]"),
        (extent(start=-1, length=1), r"\[\(-1, 1\)"),
        (extent(start=1, length=2**63 - 1), r"a slice of \[1, 3\]"),
        (extent(length=-5), r"a slice of \[1, 3\]"),
        (extent(length=0), "pieces with 0 elements for 3"),
        (lambda h: h.meta.tensor[0].slice.pop(), "pieces with 0 elements for 3"),
        (lambda h: h.meta.tensor[0].slice[0].extent.pop(), r"a slice of \[1, 3\]"),
        (lambda h: h.meta.tensor[0].slice.append(h.meta.tensor[0].slice[0]), "pieces with 6 elements for 3"),
        (lambda h: setattr(h.meta.tensor[0], "type", 0), "a dtype, found none"),
        (lambda h: setattr(h.meta.tensor[0], "name", "other"), "values of `other`.*no such key"),
        (lambda h: setattr(h.meta.tensor[0].shape, "unknown_rank", True), "unknown rank"),
        (lambda h: h.ClearField("meta"), "the list of variables"),
    ],
)
def test_a_list_of_variables_that_cannot_be_true(tmp_path: Path, edit: Callable[[Any], None], message: str) -> None:
    path = write(tmp_path / "m", SMALL, edit=edit)
    with pytest.raises(CorruptFileError, match=message):
        read_all(path)


@pytest.mark.parametrize("number", [int(DType.VARIANT), int(DType.FLOAT8_E5M2), 99])
def test_types_that_v1_cannot_hold_are_listed(tmp_path: Path, number: int) -> None:
    path = write(tmp_path / "m", SMALL, edit=lambda h: setattr(h.meta.tensor[0], "type", number))
    found = checkpoint.read(path)
    assert found.variables["w"].shape == (1, 3)
    with pytest.raises(UnsupportedFeatureError, match="`w`"):
        found.read("w")


@pytest.mark.parametrize("snappy", [False, True])
def test_every_flipped_bit_is_noticed(tmp_path: Path, *, snappy: bool) -> None:
    path = write(tmp_path / "m", SMALL, snappy=snappy, block_nbytes=60)
    content = path.read_bytes()
    for bit in range(8 * len(content)):
        damaged = bytearray(content)
        damaged[bit // 8] ^= 1 << bit % 8
        path.write_bytes(damaged)
        with pytest.raises(InputError):
            read_all(path)


def test_every_shorter_file_is_noticed(tmp_path: Path) -> None:
    path = write(tmp_path / "m", SMALL)
    content = path.read_bytes()
    for size in range(len(content)):
        path.write_bytes(content[:size])
        with pytest.raises(InputError):
            read_all(path)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=200)
@given(st.integers(0, 3), st.data())
def test_values_changed_under_a_right_checksum_give_no_other_error(tmp_path: Path, row: int, data: Any) -> None:
    rows = v1_rows(SMALL)
    wire = bytearray(rows[row][1])
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, max(0, len(wire) - 1)))
        wire[at : at + data.draw(st.integers(0, 2))] = data.draw(st.binary(max_size=3))
    rows[row] = (rows[row][0], bytes(wire))
    (tmp_path / "m").write_bytes(table(rows))
    try:
        found = checkpoint.read(tmp_path / "m")
    except InputError:
        return
    for name, info in found.variables.items():
        try:
            assert found.read(name).shape == info.shape
        except InputError:
            continue


@given(st.lists(st.integers(0, 2**64 - 1)))
def test_varints_decode_as_they_were_encoded(numbers: list[int]) -> None:
    run = np.frombuffer(b"".join(map(varint, numbers)), np.uint8)
    found = _varints(run, np.flatnonzero(run < 128) + 1)
    assert found is not None
    assert found.tolist() == numbers


def test_listing_reads_no_values(tmp_path: Path) -> None:
    path = write(tmp_path / "m", {"big": (np.arange(1000, dtype="f4"), []), **SMALL}, block_nbytes=1)
    content = bytearray(path.read_bytes())
    where = content.index(np.arange(1000, dtype="f4").tobytes())
    content[where + 50] ^= 1
    path.write_bytes(content)
    found = checkpoint.read(path)
    assert len(found.variables) == 4
    with pytest.raises(CorruptFileError, match="checksum"):
        found.read("big")
    assert same(found.read("n"), SMALL["n"][0])


def test_large_blocks_are_streamed(tmp_path: Path) -> None:
    floats = np.arange(3 * CHUNK_NBYTES // 4, dtype="f4")
    numbers = np.arange(CHUNK_NBYTES // 2, dtype="i4") * 37 - 50_000
    strings = np.array([b"x" * 70_000] * 80, object)
    arrays = {"a": (np.ones(3, "f4"), []), "f": (floats, []), "i": (numbers, []), "s": (strings, [])}
    found = checkpoint.read(write(tmp_path / "m", arrays, block_nbytes=1 << 18))
    for name in ("f", "i"):
        array = arrays[name][0]
        flat = memoryview(array.view(np.uint8))
        position = 0
        tracemalloc.start()
        for piece in found.tensor(name).chunks():
            assert len(piece) <= CHUNK_NBYTES
            assert flat[position : position + len(piece)] == piece
            position += len(piece)
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert position == array.nbytes
        assert peak < 6 * CHUNK_NBYTES
        assert same(found.read(name), array)
    assert same(found.read("s"), strings)
    assert same(found.read("a"), np.ones(3, "f4"))


def test_damage_in_a_large_block_shows_at_the_end_of_a_stream(tmp_path: Path) -> None:
    path = write(tmp_path / "m", {"f": (np.zeros(2 * CHUNK_NBYTES // 4, "f4"), [])}, block_nbytes=1)
    content = bytearray(path.read_bytes())
    content[CHUNK_NBYTES] ^= 1
    path.write_bytes(content)
    pieces = checkpoint.read(path).tensor("f").chunks()
    assert len(next(pieces)) == CHUNK_NBYTES
    with pytest.raises(CorruptFileError, match="checksum"):
        for _ in pieces:
            pass


# TensorFlow as oracle; it cannot read V1 float16, uint16, complex, or sliced tensors itself, so those are compared with the truth

TRUTH = {n: a for n, a in STORABLE.items() if n not in ("bf16", "u32", "u64")}
NOT_THEIRS = ("f16", "c64", "c128", "u16", "p")


@pytest.fixture(scope="session")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    import tensorflow as tf

    folder = tmp_path_factory.mktemp("tf_v1")
    names, arrays = list(TRUTH), list(TRUTH.values())
    values = [tf.constant(a.tolist() if a.dtype == object else a) for a in arrays]
    pieces = [tf.constant(part(GRID, tile)) for tile in TILES]
    tiles = ["4 6 " + ":".join(f"{s},{n}" for s, n in tile) for tile in TILES]
    tf.raw_ops.SaveSlices(
        filename=str(folder / "all"),
        tensor_names=[*names, "p", "p", "p"],
        shapes_and_slices=[""] * len(names) + tiles,
        data=[*values, *pieces],
    )
    for shard in range(2):
        tf.raw_ops.SaveSlices(
            filename=str(folder / f"cut-{shard:05d}-of-00002"),
            tensor_names=[*names[shard::2], *["p"] * len(tiles[shard::2])],
            shapes_and_slices=[""] * len(names[shard::2]) + tiles[shard::2],
            data=[*values[shard::2], *pieces[shard::2]],
        )
    for name in ("saver", "sharded"):
        (folder / name).mkdir()
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        variables = [tf.compat.v1.get_variable(n, initializer=TRUTH[n]) for n in ("f32", "i32", "f64")]
        session.run(tf.compat.v1.global_variables_initializer())
        version = tf.compat.v1.train.SaverDef.V1
        saver = tf.compat.v1.train.Saver(variables, write_version=version)
        saver.save(session, str(folder / "saver" / "model.ckpt"), global_step=7)
        sharded = tf.compat.v1.train.Saver(variables, write_version=version, sharded=True)
        sharded.save(session, str(folder / "sharded" / "model.ckpt"), global_step=7)
    return folder


def assert_as_tensorflow_reads(path: str) -> int:
    import tensorflow as tf

    theirs, ours = tf.train.load_checkpoint(path), checkpoint.read(path)
    shapes, dtypes = theirs.get_variable_to_shape_map(), theirs.get_variable_to_dtype_map()
    assert {n: list(i.shape) for n, i in ours.variables.items()} == shapes
    assert {n: int(i.dtype) for n, i in ours.variables.items()} == {n: d.as_datatype_enum for n, d in dtypes.items()}
    for name in shapes:
        if name not in NOT_THEIRS:
            wanted = np.asarray(theirs.get_tensor(name), object if dtypes[name] == tf.string else None)
            assert same(ours.read(name), wanted), name
    return len(shapes)


@pytest.mark.tensorflow
@pytest.mark.filterwarnings("ignore")
def test_what_tensorflow_writes_reads_as_it_reads_it(written: Path) -> None:
    assert assert_as_tensorflow_reads(str(written / "all")) == len(TRUTH) + 1
    for name in ("all", "cut"):
        found = checkpoint.read(written / name)
        assert all(same(found.read(n), a) for n, a in {**TRUTH, "p": GRID}.items())


@pytest.mark.tensorflow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("folder", ["saver", "sharded"])
def test_what_savers_write_is_found_by_folder(written: Path, folder: str) -> None:
    located = checkpoint.resolve(written / folder)
    assert located.version == 1
    assert located.meta == str(written / folder / "model.ckpt-7.meta")
    assert assert_as_tensorflow_reads(located.prefix) == 3


@pytest.mark.tensorflow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("snappy", [False, True])
def test_the_test_writer_writes_as_tensorflow_reads(tmp_path: Path, *, snappy: bool) -> None:
    write(tmp_path / "m", {n: (a, []) for n, a in TRUTH.items()}, snappy=snappy, block_nbytes=100)
    assert assert_as_tensorflow_reads(str(tmp_path / "m")) == len(TRUTH)


REAL = [
    "ckpt_v1/steering_angle_matched/model.ckpt",
    "ckpt_v1/tf_tfprof_2016/ckpt",
    "ckpt_v1/session_bundle_half_plus_two_serving/00000123/export-00000-of-00001",
    "session_bundle_mixed/tf_contrib_session_bundle/half_plus_two/00000123/export-00000-of-00001",
    "savedmodel_tf1/tf_half_plus_two_early0/variables/variables",
    "savedmodel_tf1/tf_half_plus_two_early1/variables/variables",
]


@pytest.mark.tensorflow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.skipif(not ZOO.is_dir(), reason="needs the collection of real models beside the repository")
def test_real_checkpoints_read_as_tensorflow_reads_them() -> None:
    assert [assert_as_tensorflow_reads(str(ZOO / path)) for path in REAL] == [51, 2, 2, 2, 2, 2]
