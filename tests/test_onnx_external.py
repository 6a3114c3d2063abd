"""Weights of ONNX models in other files, wherever in the model they are named: never outside of its folder."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from tfinspect.errors import CorruptFileError, FileMissingError, InputError
from tfinspect.formats import onnx
from tfinspect.formats._onnx_schema import message_class
from tfinspect.formats._wire import len_header
from tfinspect.ir.risks import Risk

if TYPE_CHECKING:
    from pathlib import Path


def external(name: str, dims: tuple[int, ...] = (2,), **entries: str) -> Any:
    made = message_class("TensorProto")(name=name, data_type=1, dims=dims, data_location=1)
    for key, value in entries.items():
        made.external_data.add(key=key, value=value)
    return made


def field(number: int, content: Any) -> bytes:
    data = content if isinstance(content, bytes) else content.SerializeToString()
    return len_header(number, len(data)) + data


def node(name: str, attribute: bytes) -> bytes:
    return field(3, name.encode()) + field(4, b"Op") + field(5, field(1, b"a") + attribute)


PLACES = {
    "initializer": ("w", lambda t: field(7, field(5, t))),
    "sparse values": ("w", lambda t: field(7, field(15, field(1, t)))),
    "sparse indices": ("w", lambda t: field(7, field(15, field(2, t)))),
    "attribute": ("w", lambda t: field(7, field(1, node("n", field(5, t))))),
    "attribute that claims to be a number": ("w", lambda t: field(7, field(1, node("n", field(5, t) + b"\xa0\x01\x02")))),
    "attribute list": ("w", lambda t: field(7, field(1, node("n", field(10, t))))),
    "sparse attribute": ("w", lambda t: field(7, field(1, node("n", field(22, field(1, t)))))),
    "sparse attribute list": ("w", lambda t: field(7, field(1, node("n", field(23, field(2, t)))))),
    "branch": ("n/a/w", lambda t: field(7, field(1, node("n", field(6, field(5, t)))))),
    "branches": ("n/a/0/w", lambda t: field(7, field(1, node("n", field(11, field(5, t)))))),
    "branch in a branch": (
        "n/a/m/a/w",
        lambda t: field(7, field(1, node("n", field(6, field(1, node("m", field(6, field(5, t)))))))),
    ),
    "large node": (
        "w",
        lambda t: field(7, field(1, node("n", field(5, t)) + field(6, b"d" * 100_000))),
    ),
    "function": ("f/w", lambda t: field(25, field(1, b"f") + field(7, node("n", field(5, t))))),
    "default of a function": ("f/w", lambda t: field(25, field(1, b"f") + field(11, field(1, b"a") + field(5, t)))),
    "branch in a function": (
        "f/n/a/w",
        lambda t: field(25, field(1, b"f") + field(7, node("n", field(6, field(5, t))))),
    ),
    "initialization of training": ("training/initialization/w", lambda t: field(20, field(1, field(5, t)))),
    "algorithm of training": ("training/algorithm/w", lambda t: field(20, field(2, field(5, t)))),
}  # fmt: skip
LEADING_OUT = {
    "parent": ({"location": "../w.bin"}, "`w` points out of the model's folder, at `../w.bin`"),
    "deep parent": ({"location": "a/../../w.bin"}, "`w` points out of the model's folder, at `a/../../w.bin`"),
    "absolute": ({"location": "/etc/passwd"}, "`w` points out of the model's folder, at `/etc/passwd`"),
    "nothing": ({}, "`w` points out of the model's folder, at ``"),
    "memory": (
        {"location": "*/_ORT_MEM_ADDR_/*", "offset": "140000000"},
        "`w` is said to stand in the memory of the program that loads it, at `*/_ORT_MEM_ADDR_/*`",
    ),
    "link": ({"location": "link"}, "{folder}/link is reached through a symbolic link, which could lead out of the model's folder"),
    "linked folder": (
        {"location": "linked/w.bin"},
        "{folder}/linked/w.bin is reached through a symbolic link, which could lead out of the model's folder",
    ),
    "negative": ({"location": "in.bin", "offset": "-4"}, "`w` has the external offset `-4`, which is no size"),
    "negative length": ({"location": "in.bin", "length": "-8"}, "`w` has the external length `-8`, which is no size"),
    "huge": (
        {"location": "in.bin", "offset": "18446744073709551615"},
        "`w` takes 8 bytes, but is said to be 8 at byte 18,446,744,073,709,551,615 of in.bin, which has 8",
    ),
    "long": (
        {"location": "in.bin", "length": "99999999999"},
        "`w` takes 8 bytes, but is said to be 99,999,999,999 at byte 0 of in.bin, which has 8",
    ),
}  # fmt: skip


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "model"
    made.mkdir()
    (tmp_path / "w.bin").write_bytes(bytes(8))
    (made / "in.bin").write_bytes(np.array([1, 2], "<f4").tobytes())
    (made / "link").symlink_to("../w.bin")
    (made / "linked").symlink_to("..")
    return made


def write(folder: Path, place: str, tensor: Any) -> Path:
    path = folder / "m.onnx"
    path.write_bytes(b"\x08\x08" + PLACES[place][1](tensor))
    return path


@pytest.mark.parametrize("place", PLACES)
def test_the_risk_is_seen_wherever_it_stands(place: str, folder: Path) -> None:
    found = onnx.read_model(write(folder, place, external("w", location="../w.bin")))
    where = PLACES[place][0]
    assert found.risks == (Risk("outside-path", where, "`w` points out of the model's folder, at `../w.bin`"),)
    assert found.checkpoint is not None
    assert found.checkpoint.files == (str(folder / "m.onnx"),)
    assert onnx.read_model(write(folder, place, external("w", location="in.bin"))).risks == ()


@pytest.mark.parametrize("kind", LEADING_OUT)
def test_every_way_out_is_a_risk_and_refused(kind: str, folder: Path) -> None:
    entries, words = LEADING_OUT[kind]
    words = words.format(folder=folder)
    path = write(folder, "initializer", external("w", **entries))
    found = onnx.read_model(path)
    assert found.risks == (Risk("outside-path", "w", words),)
    assert found.checkpoint is not None
    variable = found.checkpoint.variables["w"]
    assert (variable.shape, variable.nbytes) == ((2,), 8)  # it is listed all the same
    for read in (lambda t: t.numpy(), lambda t: list(t.chunks())):
        with pytest.raises(InputError) as caught:
            read(found.checkpoint.tensor("w"))
        assert caught.value.message.removeprefix(f"{path}: ") == words


def test_what_is_allowed(folder: Path) -> None:
    os.link(folder / "in.bin", folder / "hard.bin")  # leads nowhere that the folder itself does not
    for entries in (
        {"location": "in.bin"},
        {"location": "./in.bin", "offset": "0", "length": "8", "checksum": "whatever", "later": "idea"},
        {"location": "hard.bin"},
    ):
        found = onnx.read_model(write(folder, "branch", external("w", **entries)))
        assert found.risks == ()
        assert found.checkpoint is not None
        assert found.checkpoint.read("n/a/w").tolist() == [1, 2]
        assert b"".join(found.checkpoint.tensor("n/a/w").chunks()) == (folder / "in.bin").read_bytes()


def test_a_missing_file_is_named_and_listing_works(folder: Path) -> None:
    tensors = [external("w", location="gone.bin"), external("v", (3, 2), location="gone.bin"), external("u", location="in.bin")]  # fmt: skip
    path = folder / "m.onnx"
    path.write_bytes(b"\x08\x08" + field(7, b"".join(field(5, tensor) for tensor in tensors)))
    found = onnx.read_model(path)
    assert found.risks == ()
    assert found.checkpoint is not None
    assert found.checkpoint.files == (str(path), str(folder / "gone.bin"), str(folder / "in.bin"))
    assert {v.name: v.nbytes for v in found.checkpoint.variables.values()} == {"w": 8, "v": 24, "u": 8}
    for read in (lambda t: t.numpy(), lambda t: list(t.chunks())):
        with pytest.raises(FileMissingError) as caught:
            read(found.checkpoint.tensor("w"))
        assert caught.value.message == f"{folder}/gone.bin does not exist"
    assert found.checkpoint.read("u").tolist() == [1, 2]


def test_a_file_that_shrinks_while_it_is_read(folder: Path) -> None:
    (folder / "in.bin").write_bytes(bytes(8 << 20))
    path = write(folder, "initializer", external("w", (2 << 20,), location="in.bin"))
    checkpoint = onnx.read_model(path).checkpoint
    assert checkpoint is not None
    chunks = checkpoint.tensor("w").chunks()
    assert len(next(chunks)) == 4 << 20
    os.truncate(folder / "in.bin", 5 << 20)
    assert len(next(chunks)) == 1 << 20
    with pytest.raises(CorruptFileError) as caught:
        next(chunks)
    assert caught.value.message == (
        f"{folder}/in.bin is damaged at byte {5 << 20:,}: expected {3 << 20:,} more bytes, found its end"
    )


@pytest.mark.tensorflow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", [k for k in LEADING_OUT if k not in {"nothing", "memory"}])
def test_the_onnx_package_refuses_the_same(kind: str, folder: Path) -> None:
    import onnx as oracle
    from onnx import helper

    made = oracle.TensorProto.FromString(external("w", **LEADING_OUT[kind][0]).SerializeToString())
    out = helper.make_tensor_value_info("y", 1, [2])
    graph = helper.make_graph([helper.make_node("Identity", ["w"], ["y"])], "g", [], [out], initializer=[made])
    oracle.save(helper.make_model(graph, ir_version=8), folder / "m.onnx")
    (risk,) = onnx.read_model(folder / "m.onnx").risks
    assert risk.kind == "outside-path"
    with pytest.raises(Exception):  # noqa: B017, PT011 - each in a class of its own
        oracle.load(folder / "m.onnx")
