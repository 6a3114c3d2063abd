"""HDF5 as h5py writes it, old and new: read back equal; damaged: one error."""

from __future__ import annotations

import io
import math
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import h5py
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tfinspect.errors import CorruptFileError, InputError, LimitError, TfinspectError, UnsupportedFeatureError
from tfinspect.formats._hdf5 import Hdf5, Link, Object
from tfinspect.formats._hdf5_bytes import lookup3, width
from tfinspect.formats._hdf5_data import fletcher32
from tfinspect.ir.dtypes import DType

if TYPE_CHECKING:
    from collections.abc import Callable

LIBVERS = [("earliest", "v108"), ("v110", "v110"), "latest"]
DTYPES = ["f2", "f4", "f8", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", ">f4", ">i2", "?", "S5"]


def written(fill: Callable[[h5py.File], None], libver: Any = "latest", **options: Any) -> memoryview:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "x.h5")
        with h5py.File(path, "w", libver=libver, **options) as file:
            fill(file)
        return memoryview(path.read_bytes())


def read_all(view: memoryview) -> dict[str, Object | Link]:
    """Read everything there is in a file."""
    file = Hdf5("x.h5", view)
    found = {"": file.root, **dict(file.walk())}
    for item in found.values():
        if isinstance(item, Object):
            for attribute in item.attributes.values():
                attribute.values()
            if item.is_dataset and not item.dataset.outside:
                item.dataset.numpy()
    return found


def assert_same(view: memoryview) -> None:
    """Compare every group, attribute and dataset with what h5py reads."""
    found = read_all(view)
    with h5py.File(io.BytesIO(view), "r") as file:
        expected: dict[str, Any] = {"": file}
        file.visititems(expected.__setitem__)
        assert set(expected) == set(found)
        for name, item in expected.items():
            mine = found[name]
            assert isinstance(mine, Object)
            assert list(mine.attributes) == list(item.attrs) or set(mine.attributes) == set(item.attrs)
            for key, value in item.attrs.items():
                values = [] if isinstance(value, h5py.Empty) else np.asarray(value).reshape(-1).tolist()
                values = [v.decode() if isinstance(v, bytes) else v for v in values]
                assert mine.attributes[key].values() == values
            if isinstance(item, h5py.Dataset):
                value, want = mine.dataset.numpy(), np.asarray(item[()])
                assert value.shape == want.shape
                if want.dtype.kind not in "OS":
                    assert value.dtype.newbyteorder("=") == want.dtype.newbyteorder("=")
                    value, want = value.astype(want.dtype).tobytes(), want.tobytes()
                assert value == want if isinstance(value, bytes) else value.tolist() == want.tolist()


@st.composite
def datasets(draw: st.DrawFn) -> dict[str, Any]:
    shape = tuple(draw(st.lists(st.integers(0, 9), max_size=3)))
    dtype = draw(st.sampled_from(DTYPES))
    options: dict[str, Any] = {"shape": shape, "dtype": dtype, "seed": draw(st.integers(0, 99))}
    if shape and draw(st.booleans()):
        options["chunks"] = tuple(draw(st.integers(1, 5)) for _ in shape)
        grown = [draw(st.sampled_from([None, d, d + 4])) for d in shape]
        options["maxshape"] = tuple(
            m if m is None else max(m, c) for m, c in zip(grown, options["chunks"], strict=True)
        )
        options["compression"] = draw(st.sampled_from([None, "gzip"]))
        options["shuffle"] = draw(st.booleans())
        options["fletcher32"] = draw(st.booleans())
        if draw(st.booleans()) and dtype not in ("?", "S5"):
            options["fillvalue"] = 7
            options["partly"] = True
    return options


def _put(group: h5py.Group, name: str, options: dict[str, Any]) -> None:
    options = dict(options)
    rng = np.random.default_rng(options.pop("seed"))
    partly = options.pop("partly", False)
    shape, dtype = options["shape"], options["dtype"]
    if "maxshape" in options:
        options["maxshape"] = tuple(
            m if m is None else max(m, d) for m, d in zip(options["maxshape"], shape, strict=True)
        )
    dataset = group.create_dataset(name, **options)
    values = rng.integers(0, 100, shape)
    if dtype == "?":
        values = values % 2
    elif dtype == "S5":
        values = np.vectorize(lambda v: b"%d" % v, otypes=["S5"])(values) if math.prod(shape) else np.zeros(shape, "S5")
    if partly and math.prod(shape):
        corner = tuple(slice(0, 2) for _ in shape)
        dataset[corner] = values.astype(dtype)[corner]
    elif math.prod(shape):
        dataset[...] = values.astype(dtype)


texts = st.text(st.characters(exclude_characters="\0", exclude_categories=("Cs",)), max_size=12)
attributes = st.one_of(
    texts,
    st.integers(-(2**63), 2**63 - 1),
    st.floats(allow_nan=False),
    st.booleans(),
    st.lists(texts, min_size=1, max_size=4),
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    libver=st.sampled_from(LIBVERS),
    tree=st.dictionaries(st.sampled_from(["a", "b", "a/c", "d/e/f", "d/e/g", "h/i"]), datasets(), max_size=5),
    attrs=st.dictionaries(st.text("abcdefgh", min_size=1, max_size=3), attributes, max_size=12),
    track=st.booleans(),
)
def test_what_h5py_writes_is_read_back(libver: Any, tree: dict, attrs: dict, track: bool) -> None:  # noqa: FBT001
    def fill(file: h5py.File) -> None:
        for name, options in tree.items():
            if name == "a" and "a/c" in tree:
                continue
            _put(file, name, options)
        place = file.require_group("h")
        for key, value in attrs.items():
            place.attrs[key] = np.array(value, dtype=h5py.string_dtype()) if isinstance(value, list) else value

    assert_same(written(fill, libver, track_order=track))


@pytest.mark.parametrize("libver", LIBVERS, ids=str)
@pytest.mark.parametrize("count", [3, 60, 400])
def test_groups_and_attributes_of_any_number(libver: Any, count: int) -> None:
    def fill(file: h5py.File) -> None:
        group = file.create_group("many")
        for i in range(count):
            group[f"member_{i:04d}_with_a_name_of_some_length"] = np.float32(i)
            group.attrs[f"attribute_{i:04d}"] = f"value {i}" if i % 2 else i

    assert_same(written(fill, libver))


@pytest.mark.parametrize("libver", LIBVERS, ids=str)
@pytest.mark.parametrize(
    ("shape", "chunks", "maxshape"),
    [
        ((7, 5), (7, 5), (7, 5)),  # single chunk
        ((30, 20), (3, 4), None),  # fixed array
        ((1500,), (1,), (4000,)),  # fixed array in pages
        ((9, 30), (2, 3), (9, None)),  # extensible array along the second dimension
        ((1500,), (1,), (None,)),  # extensible array with super blocks
        ((12, 12), (1, 2), (None, None)),  # B-tree v2
        ((40, 50), (1, 1), (None, None)),  # of some depth
        ((4, 6), (3, 5), (8, 9)),  # room to grow
    ],
)
@pytest.mark.parametrize("compression", [None, "gzip"])
def test_every_index_of_chunks(libver: Any, shape: tuple, chunks: tuple, maxshape: tuple, compression: str) -> None:
    values = np.arange(math.prod(shape), dtype=np.int32).reshape(shape)

    def fill(file: h5py.File) -> None:
        file.create_dataset(
            "x", data=values, chunks=chunks, maxshape=maxshape, compression=compression, shuffle=bool(compression)
        )
        sparse = file.create_dataset("sparse", shape, "i2", chunks=chunks, maxshape=maxshape, fillvalue=-3)
        sparse[tuple(s - 1 for s in shape)] = 5

    view = written(fill, libver)
    found = read_all(view)
    assert found["x"].dataset.numpy().tolist() == values.tolist()  # type: ignore[union-attr]
    assert_same(view)


@pytest.mark.parametrize("compression", [None, "gzip"])
def test_extensible_array_of_many_pages(compression: str | None) -> None:
    at = [0, 3, 5, 239, 240, 1023, 131_055, 131_056, 140_000, 150_000, 299_999]

    def fill(file: h5py.File) -> None:
        made = file.create_dataset("x", (300_000,), "i4", chunks=(1,), maxshape=(None,), compression=compression)
        for number in at:
            made[number] = number + 1

    values = Hdf5("x.h5", written(fill)).root.find("x").dataset.numpy()  # type: ignore[union-attr]
    assert np.flatnonzero(values).tolist() == at
    assert values[at].tolist() == [number + 1 for number in at]


def test_early_allocation_makes_an_implicit_index() -> None:
    def fill(file: h5py.File) -> None:
        made = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        made.set_chunk((2, 3))
        made.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)
        space = h5py.h5s.create_simple((5, 7), (8, 9))
        dataset = h5py.Dataset(h5py.h5d.create(file.id, b"x", h5py.h5t.NATIVE_INT32, space, made))
        dataset[...] = np.arange(35).reshape(5, 7)

    view = written(fill)
    layout = Hdf5("x.h5", view).root.find("x").dataset._layout  # type: ignore[union-attr]
    assert layout.chunks.kind == 2
    assert_same(view)


def test_compact_null_committed_and_array_types() -> None:
    def fill(file: h5py.File) -> None:
        made = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        made.set_layout(h5py.h5d.COMPACT)
        space = h5py.h5s.create_simple((3,))
        h5py.Dataset(h5py.h5d.create(file.id, b"compact", h5py.h5t.NATIVE_INT16, space, made))[...] = [1, 2, 3]
        file["null"] = h5py.Empty("f4")
        file["committed"] = np.dtype("f4")
        file.create_dataset("typed", data=[1.5, 2.5], dtype=file["committed"])
        file["typed"].attrs.create("a", 3.5, dtype=file["committed"])
        pairs = np.dtype(("i4", (2,)))
        made = file.create_dataset("pairs", (3,), pairs)
        made.id.write(h5py.h5s.ALL, h5py.h5s.ALL, np.arange(6, dtype="i4"), h5py.h5t.py_create(pairs))
        file["texts"] = np.array(["a", "über", ""], dtype=h5py.string_dtype())
        file["scalar"] = "one"

    for libver in LIBVERS:
        found = read_all(written(fill, libver))
        values = {
            name: item.dataset.numpy().tolist()
            for name, item in found.items()
            if isinstance(item, Object) and item.is_dataset
        }
        assert values["compact"] == [1, 2, 3]
        assert values["null"] == []
        assert values["typed"] == [1.5, 2.5]
        assert values["pairs"] == [[0, 1], [2, 3], [4, 5]]
        assert values["texts"] == [b"a", "über".encode(), b""]
        assert values["scalar"] == b"one"
        assert found["typed"].attributes["a"].values() == [3.5]  # type: ignore[union-attr]


def test_large_attribute_is_a_large_object_of_its_heap() -> None:
    values = np.arange(30_000, dtype=np.int64)

    def fill(file: h5py.File) -> None:
        file.attrs["large"] = values
        file.attrs["small"] = 1

    assert read_all(written(fill))[""].attributes["large"].values() == values.tolist()  # type: ignore[union-attr]


def test_user_block_is_allowed(tmp_path: Path) -> None:
    path = tmp_path / "x.h5"
    for libver in LIBVERS:
        with h5py.File(path, "w", userblock_size=1024, libver=libver) as file:
            file["x"] = np.arange(5)
        block = b"notes".ljust(1024, b"\0")
        path.write_bytes(block + path.read_bytes()[1024:])
        found = Hdf5(path)
        assert found.root.find("x").dataset.numpy().tolist() == [0, 1, 2, 3, 4]  # type: ignore[union-attr]


def test_contiguous_values_are_views_of_the_file(tmp_path: Path) -> None:
    path = tmp_path / "x.h5"
    with h5py.File(path, "w") as file:
        file["x"] = np.arange(1000, dtype=np.float32)
    found = Hdf5(path).root.find("x").dataset.numpy()  # type: ignore[union-attr]
    assert not found.flags.owndata
    assert not found.flags.writeable


def test_bfloat16_is_told_by_its_attribute() -> None:
    import ml_dtypes

    values = np.array([1.5, -2], ml_dtypes.bfloat16)

    def fill(file: h5py.File) -> None:
        file.create_dataset("x", data=values).attrs["dtype"] = "bfloat16"

    dataset = Hdf5("x.h5", written(fill)).root.find("x").dataset  # type: ignore[union-attr]
    assert dataset.dtype is DType.BFLOAT16
    assert dataset.numpy().tolist() == [1.5, -2]


def test_checksums_against_known_values() -> None:
    assert lookup3(b"") == 0xDEADBEEF
    assert lookup3(b"Four score and seven years ago") == 0x17770551  # the value in Jenkins' own driver
    assert (
        fletcher32(b"abcde") == 0xF04FC729 or fletcher32(b"") == 0
    )  # HDF5 takes words big-endian; see the files above
    assert [width(n) for n in (0, 1, 255, 256, 65535, 65536)] == [1, 1, 1, 2, 2, 3]


def test_links_are_listed_and_never_followed(tmp_path: Path) -> None:
    path = tmp_path / "x.h5"
    for libver in LIBVERS:
        with h5py.File(path, "w", libver=libver) as file:
            file["soft"] = h5py.SoftLink("/nowhere")
            file["outside"] = h5py.ExternalLink("/etc/passwd", "/x")
        links = {name: (item.kind, item.target) for name, item in Hdf5(path).walk() if isinstance(item, Link)}
        assert links == {"soft": ("soft", "/nowhere"), "outside": ("external", "/etc/passwd:/x")}


def test_external_storage_and_virtual_datasets_are_refused(tmp_path: Path) -> None:
    def fill(file: h5py.File) -> None:
        file.create_dataset("stored", (4,), "f4", external=[("/etc/passwd", 0, 16)])
        layout = h5py.VirtualLayout((4,), "f4")
        layout[:] = h5py.VirtualSource("other.h5", "x", (4,))
        file.create_virtual_dataset("virtual", layout)

    root = Hdf5("x.h5", written(fill)).root
    with pytest.raises(InputError) as caught:
        root.find("stored").dataset.numpy()  # type: ignore[union-attr]
    assert caught.value.message == (
        "x.h5: `stored` is a dataset whose values are in the file `/etc/passwd`, which is not followed"
    )
    with pytest.raises(InputError) as caught:
        root.find("virtual").dataset.numpy()  # type: ignore[union-attr]
    assert caught.value.message == (
        "x.h5: `virtual` is a virtual dataset, whose values are in other files, which is not followed"
    )


@pytest.mark.parametrize("libver", LIBVERS, ids=str)
def test_shape_bombs_are_refused_before_memory_is_taken(libver: Any) -> None:
    def fill(file: h5py.File) -> None:
        file.create_dataset(
            "chunked", (1 << 20, 1 << 20), "f8", chunks=(16, 16), maxshape=(None, None), compression="gzip"
        )[0, 0] = 1
        file.create_dataset("never", (1 << 40,), "f4")

    root = Hdf5("x.h5", written(fill, libver)).root
    start = time.monotonic()
    with pytest.raises(
        LimitError,
        match=r"x\.h5: `chunked` of shape \[1048576, 1048576\] takes 8,796,093,022,208 bytes, but the file has",
    ):
        root.find("chunked").dataset.numpy()  # type: ignore[union-attr]
    with pytest.raises(
        LimitError, match=r"`never` of shape \[1099511627776\] takes 4,398,046,511,104 bytes, but the file has"
    ):
        root.find("never").dataset.numpy()  # type: ignore[union-attr]
    assert time.monotonic() - start < 1


def test_a_chunk_that_unpacks_to_more_than_it_says_is_refused() -> None:
    values = np.zeros(1 << 16, np.uint8)

    def fill(file: h5py.File) -> None:
        file.create_dataset("x", data=values, chunks=(1 << 16,), compression="gzip")

    view = bytearray(written(fill, ("earliest", "v108")))
    layout = view.find((1 << 16).to_bytes(4, "little") + (1).to_bytes(4, "little"))
    assert layout > 0
    view[layout : layout + 4] = (1 << 15).to_bytes(4, "little")
    with pytest.raises(CorruptFileError, match="dataset `x`"):
        Hdf5("x.h5", memoryview(view)).root.find("x").dataset.numpy()  # type: ignore[union-attr]


def test_a_group_that_holds_itself_is_entered_once() -> None:
    def fill(file: h5py.File) -> None:
        group = file.create_group("a/b")
        group["back"] = file["a"]
        group["root"] = file["/"]
        group["x"] = 1

    for libver in LIBVERS:
        names = [name for name, _ in Hdf5("x.h5", written(fill, libver)).walk()]
        assert names == ["a", "a/b", "a/b/x"]


def test_groups_too_deep_are_refused() -> None:
    view = written(lambda file: file.create_group("/".join("x" * 80)))
    with pytest.raises(LimitError, match=r"x\.h5 nests groups more than 64 deep, at `x/x/"):
        list(Hdf5("x.h5", view).walk())


def test_filters_and_types_not_read_here_are_named() -> None:
    def fill(file: h5py.File) -> None:
        file.create_dataset("lzf", data=np.arange(1000), compression="lzf")
        file["pairs"] = np.zeros(2, [("a", "i4"), ("b", "f4")])

    root = Hdf5("x.h5", written(fill)).root
    with pytest.raises(UnsupportedFeatureError) as caught:
        root.find("lzf").dataset.numpy()  # type: ignore[union-attr]
    assert caught.value.message == "x.h5 uses the filter LZF, in `lzf`, which is not read here"
    with pytest.raises(UnsupportedFeatureError) as caught:
        root.find("pairs").dataset.numpy()  # type: ignore[union-attr]
    assert caught.value.message == "x.h5 uses compounds of 8 bytes, in `pairs`, which is not read here"


def _rich(file: h5py.File) -> None:
    file.attrs["config"] = "x" * 300
    group = file.create_group("layers")
    group.attrs["names"] = np.array([b"conv", b"dense"])
    for i in range(12):
        group.attrs[f"a{i}"] = i
        group[f"w{i}"] = np.full(3, i, np.float32)
    file.create_dataset("z", data=np.arange(400).reshape(20, 20), chunks=(5, 7), compression="gzip", shuffle=True)
    file.create_dataset("g", data=np.arange(40), chunks=(3,), maxshape=(None,), fletcher32=True)


@pytest.mark.parametrize("libver", LIBVERS, ids=str)
def test_files_cut_short_give_one_error(libver: Any) -> None:
    view = written(_rich, libver)
    for size in [*range(1, 200, 7), *range(200, len(view) - 1, 997), len(view) - 1]:
        with pytest.raises(CorruptFileError, match=r"^x\.h5 is damaged at byte [\d,]+ \(superblock\)"):
            read_all(view[:size])


@pytest.mark.parametrize("libver", LIBVERS, ids=str)
def test_flipped_bits_give_errors_of_ours_quickly(libver: Any) -> None:
    view = written(_rich, libver)
    rng = np.random.default_rng(7)
    start = time.monotonic()
    raised = 0
    for at in rng.integers(0, len(view), 120).tolist():
        damaged = bytearray(view)
        damaged[at] ^= 1 << int(rng.integers(8))
        try:
            read_all(memoryview(damaged))
        except TfinspectError:
            raised += 1
    assert raised
    assert time.monotonic() - start < 30


@settings(max_examples=100, deadline=None)
@given(at=st.integers(0, 10_000), patch=st.binary(min_size=1, max_size=16), libver=st.sampled_from([0, 2]))
def test_overwritten_bytes_raise_nothing_else(at: int, patch: bytes, libver: int) -> None:
    damaged = bytearray(RICH[libver])
    at %= len(damaged)
    damaged[at : at + len(patch)] = patch
    try:
        read_all(memoryview(damaged)[: len(RICH[libver])])
    except TfinspectError as error:
        assert "\n" not in error.message  # noqa: PT017 - most patches change nothing that matters


RICH = [written(_rich, libver) for libver in LIBVERS]
