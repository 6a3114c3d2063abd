from __future__ import annotations

import itertools
import subprocess
import sys
import tracemalloc
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.checkpoint_writers import MAGIC, same, samples, write_bundle
from tfinspect.errors import (
    CorruptFileError,
    IncompleteCheckpointError,
    InputError,
    UnsupportedFeatureError,
    VariableNotFoundError,
)
from tfinspect.formats import checkpoint
from tfinspect.formats._ordered_code import slice_key
from tfinspect.ir.dtypes import DType
from tfinspect.ir.tensors import CHUNK_NBYTES

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.checkpoint_writers import Extents

ZOO = Path(__file__).parents[2] / "shared" / "zoo"
PLAIN = {"w": np.arange(6, dtype="f4").reshape(2, 3), "b": np.array([1, 2], "i8"), "s": np.array([b"ab", b""], object)}


def as_read(array: np.ndarray, dtype: DType) -> np.ndarray:
    return array if array.dtype == object else array.astype(dtype.numpy, copy=False)


def read_all(path: Path) -> None:
    found = checkpoint.read(path)
    for name in found.variables:
        found.read(name)


@pytest.mark.parametrize("num_shards", [1, 3])
@pytest.mark.parametrize("gap", [0, 5])
def test_every_dtype_reads_back(tmp_path: Path, num_shards: int, gap: int) -> None:
    arrays = samples()
    write_bundle(tmp_path / "m", arrays, num_shards=num_shards, gap=gap)
    found = checkpoint.read(tmp_path / "m")
    assert found.format == "checkpoint_v2"
    assert list(found.variables) == sorted(arrays)
    assert len(found.files) == 1 + num_shards
    for name, array in arrays.items():
        info = found.variables[name]
        assert (str(info.dtype), info.shape, info.slices) == (str(DType.from_numpy(array.dtype)), array.shape, 0)
        assert same(found.read(name), array)
        if array.dtype != object:
            assert info.nbytes == array.nbytes
            assert b"".join(found.tensor(name).chunks()) == array.tobytes()


@pytest.mark.parametrize(("dtype", "plain"), [(DType.QINT8, "i1"), (DType.QUINT16, "u2"), (DType.QINT32, "i4")])
def test_quantised_types_read_as_plain_integers(tmp_path: Path, dtype: DType, plain: str) -> None:
    array = np.array([[1, 2, 100]], plain)
    write_bundle(tmp_path / "m", {"q": array}, dtypes={"q": dtype})
    found = checkpoint.read(tmp_path / "m")
    assert found.variables["q"].dtype is dtype
    assert same(found.read("q"), array)


def test_reference_types_read_as_their_base(tmp_path: Path) -> None:
    write_bundle(tmp_path / "m", PLAIN, edit=lambda e: setattr(e[b"w"], "dtype", 101))
    assert checkpoint.read(tmp_path / "m").variables["w"].dtype is DType.FLOAT


def test_big_endian_checkpoints(tmp_path: Path) -> None:
    arrays = {n: a for n, a in samples().items() if a.dtype.isbuiltin or a.dtype == object}
    write_bundle(tmp_path / "m", arrays, big_endian=True)
    found = checkpoint.read(tmp_path / "m")
    assert {"c64", "c128", "f16", "strings", "i64", "u8"} <= set(found.variables)
    for name, array in arrays.items():
        assert same(found.read(name), array)


def test_no_such_variable(tmp_path: Path) -> None:
    write_bundle(tmp_path / "m", PLAIN)
    with pytest.raises(VariableNotFoundError, match="no variable named `ww`"):
        checkpoint.read(tmp_path / "m").read("ww")


def test_listing_opens_no_shard_and_imports_no_numpy(tmp_path: Path) -> None:
    write_bundle(tmp_path / "m", PLAIN, num_shards=2)
    for shard in tmp_path.glob("m.data-*"):
        shard.unlink()
    code = (
        "import sys; from tfinspect.formats import checkpoint as c; v = c.read(sys.argv[1]).variables;"
        "print(*v, 'numpy' in sys.modules, 'tensorflow' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "m")], capture_output=True, text=True, check=True,
        cwd=Path(__file__).parents[1],
    )  # fmt: skip
    assert done.stdout.split() == ["b", "s", "w", "False", "False"]


def test_a_missing_shard_is_named_when_its_value_is_asked_for(tmp_path: Path) -> None:
    entries = write_bundle(tmp_path / "m", PLAIN, num_shards=2)
    shard = entries[b"w"].shard_id
    (tmp_path / f"m.data-{shard:05d}-of-00002").unlink()
    found = checkpoint.read(tmp_path / "m")
    assert len(found.variables) == 3
    with pytest.raises(IncompleteCheckpointError, match=f"m.data-{shard:05d}-of-00002 is missing.*`w`") as raised:
        found.read("w")
    assert f"beside it: m.data-{1 - shard:05d}-of-00002" in raised.value.details
    others = [n for n in PLAIN if entries[n.encode()].shard_id != shard]
    assert others
    assert all(same(found.read(n), PLAIN[n]) for n in others)


def test_shards_numbered_by_another_total_are_found(tmp_path: Path) -> None:
    write_bundle(tmp_path / "m", PLAIN, num_shards=2, edit=lambda e: setattr(e[b""], "num_shards", 5))
    found = checkpoint.read(tmp_path / "m")
    assert all(same(found.read(n), a) for n, a in PLAIN.items())
    assert found.files[-1].endswith("m.data-00004-of-00005")


def grid(cuts: list[list[int]]) -> list[Extents]:
    """Return the tiles between cuts along each axis; the cuts include 0 and the size."""
    axes = [[(a, b - a) for a, b in itertools.pairwise(axis)] for axis in cuts]
    return [tuple(tile) for tile in itertools.product(*axes)]


WHOLE = np.arange(4 * 6 * 5, dtype="f4").reshape(4, 6, 5)


@pytest.mark.parametrize(
    "tiles",
    [
        [((0, 1), (0, 6), (0, 5)), ((1, 3), (0, 6), (0, 5))],
        [((2, 2), (0, -1), (0, -1)), ((0, 2), (0, -1), (0, -1))],
        [((0, 4), (0, 2), (0, 5)), ((0, 4), (2, 4), (0, 5))],
        grid([[0, 1, 4], [0, 3, 6], [0, 5]]),
        grid([[0, 2, 4], [0, 1, 2, 6], [0, 4, 5]]),
        [((0, 1), (0, 4), (0, -1)), ((0, 3), (4, 2), (0, -1)), ((1, 3), (0, 2), (0, -1)), ((3, 1), (2, 4), (0, -1)),
         ((1, 2), (2, 2), (0, -1))],  # a pinwheel: no straight cut goes through it
        [((0, -1), (0, -1), (0, -1))],
    ],
)  # fmt: skip
def test_tiles_are_put_together(tmp_path: Path, tiles: list[Extents]) -> None:
    write_bundle(tmp_path / "m", {"a": np.zeros(2, "f4"), "p": WHOLE}, slices={"p": tiles}, num_shards=3)
    found = checkpoint.read(tmp_path / "m")
    assert list(found.variables) == ["a", "p"]
    info = found.variables["p"]
    assert (info.shape, info.slices, info.nbytes) == (WHOLE.shape, len(tiles), WHOLE.nbytes)
    assert same(found.read("p"), WHOLE)
    assert b"".join(found.tensor("p").chunks()) == WHOLE.tobytes()


def test_strings_in_tiles(tmp_path: Path) -> None:
    array = np.array([[b"a", b"bb"], [b"", b"dddd"]], object)
    write_bundle(tmp_path / "m", {"p": array}, slices={"p": grid([[0, 2], [0, 1, 2]])})
    assert same(checkpoint.read(tmp_path / "m").read("p"), array)


@pytest.mark.parametrize(
    ("tiles", "message"),
    [
        ([((0, 4), (0, 5), (0, 5))], "pieces with 100 elements for 120"),
        ([((0, 4), (0, 6), (0, 5)), ((3, 1), (0, 6), (0, 5))], "pieces with 150 elements for 120"),
        ([((0, 2), (0, 6), (0, 5)), ((1, 2), (0, 6), (0, 5))], "overlap and leave gaps"),
    ],
)
def test_tiles_that_leave_gaps_or_overlap(tmp_path: Path, tiles: list[Extents], message: str) -> None:
    write_bundle(tmp_path / "m", {"p": WHOLE}, slices={"p": tiles})
    found = checkpoint.read(tmp_path / "m")
    with pytest.raises(CorruptFileError, match=message):
        found.read("p")


def drop_tile(entries: dict[bytes, Any]) -> None:
    del entries[slice_key(b"p", ((0, 2), (0, 6), (0, 5)))]


def shrink_tile(entries: dict[bytes, Any]) -> None:
    entry = entries[slice_key(b"p", ((0, 2), (0, 6), (0, 5)))]
    entry.shape.dim[0].size = 1
    entry.size //= 2


def retype_tile(entries: dict[bytes, Any]) -> None:
    entries[slice_key(b"p", ((0, 2), (0, 6), (0, 5)))].dtype = int(DType.INT32)


def slide_tile(entries: dict[bytes, Any]) -> None:
    entries[b"p"].slices[0].extent[0].start = -1


def lengthen_tile(entries: dict[bytes, Any]) -> None:
    entries[b"p"].slices[0].extent[0].length = 2**62


def flatten_tile(entries: dict[bytes, Any]) -> None:
    del entries[b"p"].slices[0].extent[2]


@pytest.mark.parametrize("edit", [drop_tile, shrink_tile, retype_tile, slide_tile, lengthen_tile, flatten_tile])
def test_tiles_that_do_not_fit(tmp_path: Path, edit: Callable[[dict[bytes, Any]], None]) -> None:
    write_bundle(tmp_path / "m", {"p": WHOLE}, slices={"p": grid([[0, 2, 4], [0, 6], [0, 5]])}, edit=edit)
    with pytest.raises(CorruptFileError, match="entry `p`"):
        checkpoint.read(tmp_path / "m").read("p")


def setter(**fields: int) -> Callable[[dict[bytes, Any]], None]:
    def edit(entries: dict[bytes, Any]) -> None:
        for field, value in fields.items():
            setattr(entries[b"w"], field, value)

    return edit


def negative_dimensions(entries: dict[bytes, Any]) -> None:
    for dim in entries[b"w"].shape.dim:
        dim.size = -dim.size


def huge_dimensions(entries: dict[bytes, Any]) -> None:
    for dim in entries[b"w"].shape.dim:
        dim.size = 2**62


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (setter(size=20), r"expected 24 bytes for float32\[2, 3\], found 20 bytes"),
        (setter(dtype=2), "expected 48 bytes"),
        (setter(shard_id=1), "expected a shard from 0 to 0, found shard 1"),
        (setter(shard_id=-1), "found shard -1"),
        (setter(offset=-4), "found -4 and 24"),
        (setter(offset=2**40), "end of the file"),
        (setter(offset=1), "checksum"),
        (setter(crc32c=1), "checksum 00000001"),
        (negative_dimensions, r"found \[-2, -3\]"),
        (huge_dimensions, "expected 85,070,591,730,234,615,865,843,651,857,942,052,864 bytes"),
        (lambda e: setattr(e[b"w"].shape, "unknown_rank", True), "unknown rank"),
        (lambda e: e.update({b"w": b"\xff\xff"}), "BundleEntryProto"),
        (lambda e: e.update({b"": b"\xff\xff"}), "checkpoint header"),
        (lambda e: e.pop(b""), "header under the empty key"),
        (lambda e: setattr(e[b""], "num_shards", 0), "1 to 99,999 shards"),
        (lambda e: setattr(e[b""], "num_shards", 2**31 - 1), "1 to 99,999 shards"),
        (lambda e: setattr(e[b""], "endianness", 2), "byte order 2"),
    ],
)
def test_an_index_that_cannot_be_true(tmp_path: Path, edit: Callable[[dict[bytes, Any]], None], message: str) -> None:
    write_bundle(tmp_path / "m", PLAIN, edit=edit)
    with pytest.raises(CorruptFileError, match=message):
        read_all(tmp_path / "m")


def test_a_later_version_of_the_format_is_refused(tmp_path: Path) -> None:
    write_bundle(tmp_path / "m", PLAIN, edit=lambda e: setattr(e[b""].version, "min_consumer", 2))
    with pytest.raises(UnsupportedFeatureError, match="version 2"):
        checkpoint.read(tmp_path / "m")


@pytest.mark.parametrize("number", [int(DType.VARIANT), 99])
def test_types_that_cannot_be_read_are_listed(tmp_path: Path, number: int) -> None:
    write_bundle(tmp_path / "m", PLAIN, edit=lambda e: setattr(e[b"w"], "dtype", number))
    found = checkpoint.read(tmp_path / "m")
    assert found.variables["w"].shape == (2, 3)
    with pytest.raises(UnsupportedFeatureError, match="`w`"):
        found.read("w")
    assert same(found.read("b"), PLAIN["b"])


def test_names_need_not_be_utf8(tmp_path: Path) -> None:
    write_bundle(tmp_path / "m", PLAIN, edit=lambda e: e.update({b"caf\xe9": e.pop(b"w")}))
    assert same(checkpoint.read(tmp_path / "m").read(r"caf\xe9"), PLAIN["w"])


def string_payload(tmp_path: Path, change: Callable[[bytearray], None]) -> None:
    write_bundle(tmp_path / "m", {"s": np.array([b"ab", b"c" * 200], object)})
    shard = tmp_path / "m.data-00000-of-00001"
    content = bytearray(shard.read_bytes())
    change(content)
    shard.write_bytes(content)


@pytest.mark.parametrize(
    ("position", "message"), [(0, "string lengths"), (3, "string lengths"), (7, "checksum"), (20, "checksum")]
)
def test_damaged_strings(tmp_path: Path, position: int, message: str) -> None:
    string_payload(tmp_path, lambda c: c.__setitem__(position, c[position] ^ 1))
    with pytest.raises(CorruptFileError, match=message):
        checkpoint.read(tmp_path / "m").read("s")


def test_every_flipped_bit_of_an_index_is_noticed(tmp_path: Path) -> None:
    write_bundle(tmp_path / "m", {"w": np.ones(3, "f4"), "p": np.ones(4, "f4")}, slices={"p": [((0, 4),)]})
    index = tmp_path / "m.index"
    content = index.read_bytes()
    for bit in range(8 * len(content)):
        damaged = bytearray(content)
        damaged[bit // 8] ^= 1 << bit % 8
        index.write_bytes(damaged)
        assert checkpoint.is_checkpoint(index)
        with pytest.raises(InputError):
            checkpoint.read(index)


def test_every_flipped_bit_of_a_shard_is_noticed(tmp_path: Path) -> None:
    arrays = {n: a for n, a in samples().items() if n in ("f32", "i16", "bool", "string")}
    arrays["strings"] = np.array([b"", b"abc"], object)
    write_bundle(tmp_path / "m", arrays)
    shard = tmp_path / "m.data-00000-of-00001"
    content = shard.read_bytes()
    for bit in range(8 * len(content)):
        damaged = bytearray(content)
        damaged[bit // 8] ^= 1 << bit % 8
        shard.write_bytes(damaged)
        with pytest.raises(CorruptFileError, match=r"m\.data-00000-of-00001 is damaged at byte .*tensor `"):
            read_all(tmp_path / "m")


@pytest.mark.parametrize("suffix", [".index", ".data-00000-of-00001"])
def test_every_shorter_file_is_noticed(tmp_path: Path, suffix: str) -> None:
    write_bundle(tmp_path / "m", PLAIN)
    file = tmp_path / f"m{suffix}"
    content = file.read_bytes()
    for size in range(len(content)):
        file.write_bytes(content[:size])
        with pytest.raises(InputError):
            read_all(tmp_path / "m")


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=200)
@given(st.sampled_from([b"", b"w", b"b", b"p", slice_key(b"p", ((0, 2), (0, 2)))]), st.data())
def test_entries_changed_under_a_right_checksum_give_no_other_error(tmp_path: Path, key: bytes, data: Any) -> None:
    def edit(entries: dict[bytes, Any]) -> None:
        wire = bytearray(entries[key].SerializeToString())
        for _ in range(data.draw(st.integers(1, 3))):
            at = data.draw(st.integers(0, max(0, len(wire) - 1)))
            wire[at : at + data.draw(st.integers(0, 2))] = data.draw(st.binary(max_size=3))
        entries[key] = bytes(wire)

    arrays = {**PLAIN, "p": np.ones((4, 2), "f4")}
    write_bundle(tmp_path / "m", arrays, slices={"p": grid([[0, 2, 4], [0, 2]])}, edit=edit)
    try:
        found = checkpoint.read(tmp_path / "m")
    except InputError:
        return
    for name, info in found.variables.items():
        try:
            assert found.read(name).shape == info.shape
        except InputError:
            continue


def test_streaming_holds_a_few_pieces_at_most(tmp_path: Path) -> None:
    array = np.arange(8 * CHUNK_NBYTES // 4, dtype="f4").reshape(-1, 1024)
    rows = len(array) // 2
    tiles = [((0, rows), (0, 1024)), ((rows, len(array) - rows), (0, 1024))]
    write_bundle(tmp_path / "m", {"big": array, "cut": array}, slices={"cut": tiles})
    found = checkpoint.read(tmp_path / "m")
    for name in ("big", "cut"):
        position, largest = 0, 0
        flat = memoryview(array.reshape(-1).view(np.uint8))
        tracemalloc.start()
        for piece in found.tensor(name).chunks():
            largest = max(largest, len(piece))
            assert flat[position : position + len(piece)] == piece
            position += len(piece)
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert position == array.nbytes
        assert largest == CHUNK_NBYTES
        assert peak < 3 * CHUNK_NBYTES


def test_damage_shows_at_the_end_of_a_stream(tmp_path: Path) -> None:
    array = np.zeros(CHUNK_NBYTES, "f4")
    write_bundle(tmp_path / "m", {"big": array})
    shard = tmp_path / "m.data-00000-of-00001"
    content = bytearray(shard.read_bytes())
    content[5] ^= 1
    shard.write_bytes(content)
    pieces = checkpoint.read(tmp_path / "m").tensor("big").chunks()
    assert len(next(pieces)) == CHUNK_NBYTES
    with pytest.raises(CorruptFileError, match="tensor `big`"):
        for _ in pieces:
            pass


def test_an_index_of_many_variables_is_listed(tmp_path: Path) -> None:
    arrays = {f"layer_{n:05d}/weights": np.zeros((1, 2), "f4") for n in range(5_000)}
    write_bundle(tmp_path / "m", arrays)
    assert (tmp_path / "m.index").read_bytes().endswith(MAGIC)
    assert list(checkpoint.read(tmp_path / "m").variables) == sorted(arrays)


# TensorFlow as oracle


def eager_like_checkpoints(folder: Path) -> list[Path]:
    """Write checkpoints with TensorFlow: one shard, several, slices, strings, every dtype it takes."""
    import tensorflow as tf

    arrays = {n: a for n, a in samples().items() if not n.startswith(("int2", "uint2"))}
    names, values = list(arrays), [tf.constant(a.tolist() if a.dtype == object else a) for a in arrays.values()]

    def save(prefix: Path, names: list[str], slices: list[str], values: list[Any]) -> None:
        tf.raw_ops.SaveV2(prefix=str(prefix), tensor_names=names, shape_and_slices=slices, tensors=values)

    save(folder / "all", names, [""] * len(names), values)
    for shard in range(3):
        save(folder / f"part{shard}", names[shard::3], [""] * len(names[shard::3]), values[shard::3])
    parts = [str(folder / f"part{shard}") for shard in range(3)]
    tf.raw_ops.MergeV2Checkpoints(checkpoint_prefixes=parts, destination_prefix=str(folder / "merged"))
    tiles = ["4 6 5 0,1:0,6:0,5", "4 6 5 1,3:0,2:-", "4 6 5 1,3:2,4:0,5"]
    cut = [WHOLE[:1], WHOLE[1:, :2], WHOLE[1:, 2:]]
    save(folder / "cut0", ["p", "p"], tiles[:2], cut[:2])
    save(folder / "cut1", ["p", "q"], [tiles[2], ""], [cut[2], tf.constant([1, 2])])
    parts = [str(folder / "cut0"), str(folder / "cut1")]
    tf.raw_ops.MergeV2Checkpoints(checkpoint_prefixes=parts, destination_prefix=str(folder / "cut"))
    return [folder / "all", folder / "merged", folder / "cut"]


def assert_as_tensorflow_reads(prefix: str) -> int:
    import tensorflow as tf

    theirs, ours = tf.train.load_checkpoint(prefix), checkpoint.read(prefix)
    shapes, dtypes = theirs.get_variable_to_shape_map(), theirs.get_variable_to_dtype_map()
    assert {n: list(i.shape) for n, i in ours.variables.items()} == shapes
    assert {n: int(i.dtype) for n, i in ours.variables.items()} == {n: d.as_datatype_enum for n, d in dtypes.items()}
    for name in shapes:
        wanted = np.asarray(theirs.get_tensor(name), object if dtypes[name] == tf.string else None)
        assert same(ours.read(name), wanted), name
    return len(shapes)


@pytest.fixture(scope="session")
def written(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    return eager_like_checkpoints(tmp_path_factory.mktemp("tf"))


@pytest.mark.tensorflow
@pytest.mark.filterwarnings("ignore")
def test_what_tensorflow_writes_reads_as_it_reads_it(written: list[Path]) -> None:
    assert [assert_as_tensorflow_reads(str(prefix)) for prefix in written] == [len(samples()) - 2] * 2 + [2]
    merged = checkpoint.read(written[1])
    assert len(merged.files) == 4
    assert same(checkpoint.read(written[2]).read("p"), WHOLE)


@pytest.mark.tensorflow
@pytest.mark.filterwarnings("ignore")
def test_the_test_writer_writes_as_tensorflow_reads(tmp_path: Path) -> None:
    arrays = {n: a for n, a in samples().items() if not n.startswith(("int2", "uint2"))}
    write_bundle(
        tmp_path / "m", {**arrays, "p": WHOLE}, slices={"p": grid([[0, 1, 4], [0, 6], [0, 2, 5]])}, num_shards=2
    )
    assert assert_as_tensorflow_reads(str(tmp_path / "m")) == len(arrays) + 1


def zoo_prefixes() -> list[str]:
    folders = ["ckpt_tf2_object", "ckpt_v2_meta", "ckpt_v2_nometa", "session_bundle_mixed", "savedmodel_tf1"]
    found = [index for folder in folders for index in sorted((ZOO / folder).rglob("*.index"))]
    with_data = [i for i in found if list(i.parent.glob(i.stem + ".data-*"))]
    return [str(i).removesuffix(".index") for i in with_data]


@pytest.mark.tensorflow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.skipif(not ZOO.is_dir(), reason="needs the collection of real models beside the repository")
def test_real_checkpoints_read_as_tensorflow_reads_them() -> None:
    assert sum(assert_as_tensorflow_reads(prefix) for prefix in zoo_prefixes()) > 300


@pytest.mark.skipif(not ZOO.is_dir(), reason="needs the collection of real models beside the repository")
def test_a_real_checkpoint_without_its_shard_is_listed() -> None:
    found = checkpoint.read(ZOO / "ckpt_v2_missing_shard" / "lingvo_lenet" / "lenet_test_model.index")
    assert len(found.variables) == 23
    with pytest.raises(IncompleteCheckpointError, match="data-00000-of-00001 is missing"):
        found.read("global_step")
