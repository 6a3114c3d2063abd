"""Every wrong file at every command: what it is, and a command that works; nothing is written."""

from __future__ import annotations

import gzip
import io
import json
import os
import pickle
import shlex
import shutil
import struct
import subprocess
import sys
import tarfile
import zipfile
from typing import TYPE_CHECKING

import crc32c
import pytest

from tests.cli_calls import FIXTURES, ZOO, Caller
from tfinspect import formats
from tfinspect.errors import TfinspectError, UnknownFormatError

if TYPE_CHECKING:
    from pathlib import Path

GRAPH = (FIXTURES / "inception_tiny.pb").read_bytes()


@pytest.fixture
def call(monkeypatch: pytest.MonkeyPatch) -> Caller:
    return Caller(monkeypatch)


# ------------------------------------------------------------------------------------------------- files of others


def zipped(**members: bytes) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return out.getvalue()


def tarred(members: dict[str, bytes], how: str = "w") -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode=how) as archive:  # type: ignore[call-overload]
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return out.getvalue()


def record(data: bytes) -> bytes:
    def masked(piece: bytes) -> bytes:
        crc = crc32c.crc32c(piece)
        return struct.pack("<L", ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF)

    length = struct.pack("<Q", len(data))
    return length + masked(length) + data + masked(data)


def field(number: int, data: bytes) -> bytes:
    key = number << 3 | 2
    tag = bytes([key]) if key < 128 else bytes([key & 127 | 128, key >> 7])
    return tag + bytes([len(data)]) + data


def torch_zip() -> bytes:
    return zipped(**{"archive/data.pkl": b"\x80\2}.", "archive/version": b"3\n"})


ONNX_HINT = "loading it would run code from it; export the model to ONNX where it was made"
CONVERT = "convert it to ONNX with a tool of its own framework"
NAME = "name the model, not what it is fed with"
AGAIN = "a page was saved in place of the file: download it again, with curl -fL from the file's own address"
TENSORFLOW_JS = {"format": "graph-model", "generatedBy": "2.0.0", "weightsManifest": []}
KERAS = {"class_name": "Sequential", "config": [], "keras_version": "2.1.3", "backend": "tensorflow"}
CORE_ML = b"\x08\1" + field(2, field(1, field(1, b"image") + field(3, b"\x2a\0"))) + bytes([0xA2, 0x1F, 0])

FOREIGN: dict[str, tuple[bytes, str, str | None]] = {
    "model.ckpt": (torch_zip(), "a PyTorch file", ONNX_HINT),
    "old.ckpt": (pickle.dumps(0x1950A86A20F9469CFC6C, 2), "a PyTorch file", ONNX_HINT),
    "pickled.ckpt": (b"\x80\2ccollections\nOrderedDict\nctorch._utils\n_rebuild_tensor_v2\n.", "a PyTorch file", ONNX_HINT),
    "script.pt": (
        zipped(**{"m/data.pkl": b"", "m/constants.pkl": b"", "m/code/a.py": b""}), "a TorchScript model", ONNX_HINT
    ),
    "serve.mar": (zipped(**{"MAR-INF/MANIFEST.json": b"{}"}), "a TorchServe archive (.mar)", ONNX_HINT),
    "forest.joblib": (
        b"\x80\3cjoblib.numpy_pickle\nNumpyArrayWrapper\n.", "a Python pickle that joblib wrote", ONNX_HINT
    ),
    "any.pkl": (pickle.dumps([1]), "a Python pickle", ONNX_HINT),
    "events.out.tfevents.1": (
        record(b"\x09" + bytes(8) + b"\x1a\x0dbrain.Event:2") + record(b"x"), "a TensorBoard event file",
        "tensorboard --logdir {folder}",
    ),
    "train.tfrecord": (record(b"\x0a\3abc") * 3, "TFRecord data, what a model is trained on", NAME),
    "darknet.weights": (
        struct.pack("<3iQ", 0, 2, 5, 32013312) + bytes(400), "weights of a Darknet network (.weights)", CONVERT
    ),
    "yolo.cfg": (b"# testing\n[net]\nbatch=1\n", "a Darknet network (.cfg), without its weights", CONVERT),
    "net.caffemodel": (
        field(1, b"AlexNet") + field(100, field(1, b"data") + field(2, b"Data")) + bytes(30),
        "a Caffe model (.caffemodel)", CONVERT,
    ),
    "deploy.prototxt": (
        b'name: "AlexNet"\ninput: "data"\ninput_dim: 10\nlayer {\n name: "conv1"\n}\n',
        "a Caffe network as text (.prototxt)", CONVERT,
    ),
    "net.params": (struct.pack("<3Q", 0x112, 0, 1) + bytes(40), "MXNet parameters (.params)", CONVERT),
    "symbol.json": (
        json.dumps({"nodes": [], "arg_nodes": [0], "heads": []}).encode(), "an MXNet network as JSON (symbol.json)",
        CONVERT,
    ),
    "net.mlmodel": (CORE_ML, "a Core ML model (.mlmodel)", CONVERT),
    "tree.pmml": (b'<?xml version="1.0"?>\n<PMML version="4.2"/>', "a PMML model", CONVERT),
    "net.xml": (b'<?xml version="1.0"?>\n<net name="x" version="10">', "an OpenVINO network (.xml)",
                "use the model it was converted from"),
    "answer.xml": (b"<?xml version='1.0'?><Error/>", "XML text", AGAIN),
    "page.pb": (b"<!DOCTYPE html>\n<html>", "an HTML page", AGAIN),
    "missing.pb": (b"404: Not Found", "a server's answer, not a file: `404: Not Found`", AGAIN),
    "model.json": (
        json.dumps(TENSORFLOW_JS).encode(), "a TensorFlow.js model (model.json)",
        "use the model it was converted from: a SavedModel or an .h5 file",
    ),
    "keras.json": (
        json.dumps(KERAS).encode(), "a Keras model's architecture as JSON, without weights",
        "name the .h5 or .keras file that has them as well",
    ),
    "metadata.json": (
        b'{"keras_version": "3.0.0"}', "a part of an unpacked Keras archive (JSON)", "name the .keras file it was in"
    ),
    "tokenizer.json": (b'{"class_name": "Tokenizer", "config": {"word_index": {}}}', "a tokenizer as JSON", NAME),
    "config.json": (
        b'{"architectures": ["BertModel"]}', "a Hugging Face configuration, without weights",
        "name the file that holds the weights: tf_model.h5",
    ),
    "configuration.json": (
        b'{"backprop" : true, "confs" : [ ]}', "a Deeplearning4j network's configuration, without its parameters",
        "name the .zip file it was in",
    ),
    "other.json": (b'{"a": 1}', "JSON text", None),
    "notes.ipynb": (b'{"cells": [], "nbformat": 4}', "a Jupyter notebook", None),
    "iris.csv": (b"a,b,c\n1,2,3\n4,5,6\n", "a table of comma-separated values", NAME),
    "iris.tsv": (b"a\tb\n1\t2\n", "a table of tab-separated values", NAME),
    "labels.txt": (b"cat\ndog\n", "text, but not the text of a graph", None),
    "train.py": (b"# Copyright\nimport tensorflow as tf\n", "Python source", "name the model that it writes"),
    "models.config": (
        b'model_config_list {\n config {\n base_path: "/models/a"\n }\n}\n',
        "a TensorFlow Serving configuration (model_config_list)", "name the folder that its base_path tells",
    ),
    "map.pbtxt": (b"item {\n id: 1\n name: 'cat'\n}\n", "a label map", NAME),
    "pipeline.config": (
        b"model {\n ssd {\n num_classes: 90\n }\n}\n", "a pipeline configuration of the Object Detection API",
        "name the graph: frozen_inference_graph.pb",
    ),
    "in.bin": (b"\0\7JAVACPP\0\0\0\x0c\0\3INT" + bytes(90), "an array as Deeplearning4j writes it, not a model", NAME),
    "net.ser": (b"\xac\xed\0\5sr\0\x10org.example", "a serialized Java object",
                "loading it could run code; save the model anew"),
    "saved_model.cpb": (
        b"\x83\xaf\x70\xd1\x0d\x88\x4a\x3f" + bytes(60), "a graph split into chunks (saved_model.cpb)",
        "write it again with less than 2 GB of constants",
    ),
    "keras_metadata.pb": (
        field(1, b"\x10\0\x1a\4root\x22\x0f_tf_keras_model"), "the Keras part of a SavedModel (keras_metadata.pb)",
        "tfinspect info {folder}",
    ),
    "x.npy": (b"\x93NUMPY\1\0" + bytes(40), "a NumPy array (.npy)",
              "a head is an .npz file with the arrays `weights` and `biases`"),
}  # fmt: skip


@pytest.mark.parametrize("name", FOREIGN)
def test_files_of_others_are_called_by_their_name_everywhere(name: str, call: Caller, tmp_path: Path) -> None:
    data, title, hint = FOREIGN[name]
    path = tmp_path / "some where" / name
    path.parent.mkdir()
    path.write_bytes(data)
    expected = None if hint is None else hint.replace("{folder}", shlex.quote(str(path.parent)))
    for words in (
        ["info", path], ["nodes", path], ["vars", path], ["show", path, "x"], ["freeze", path, "-o", tmp_path / "o.pb"],
        ["cut", path, "--bottleneck", "x", "-o", tmp_path / "o.pb"],
        ["graft", path, "--bottleneck", "x", "--head", FIXTURES / "head.npz", "-o", tmp_path / "o.pb"],
    ):  # fmt: skip
        done = call(*words, "--json")
        assert (done.status, done.out) == (3, ""), (words[0], done.out)
        assert (done.error["message"], done.error["hint"]) == (f"{path} is {title}", expected), words[0]
    assert sorted(p.name for p in tmp_path.rglob("*")) == sorted(["some where", name])


def test_the_first_bytes_decide_and_not_the_name(tmp_path: Path) -> None:
    for name, (data, title, _) in FOREIGN.items():
        path = tmp_path / "model.pb"
        path.write_bytes(data)
        with pytest.raises(UnknownFormatError) as caught:
            formats.identify(path)
        assert caught.value.message == f"{path} is {title}", name


ARCHIVES: dict[str, tuple[bytes, str, str, list[str], str]] = {
    "a.zip": (
        zipped(**{"readme.txt": b"x", "net/graph.pb": GRAPH}), "a zip archive",
        "unzip {path} -d {stem} && tfinspect info {stem}/net/graph.pb", ["inside: readme.txt, net/graph.pb"], "graphdef",
    ),
    "b.zip": (
        zipped(**{f"m/{p.relative_to(FIXTURES / 'saved_model').as_posix()}": p.read_bytes()
                  for p in sorted((FIXTURES / "saved_model").rglob("*")) if p.is_file()}), "a zip archive",
        "unzip {path} -d {stem} && tfinspect info {stem}/m", [], "saved_model",
    ),
    "c.tar": (
        tarred({"./graph.pb": GRAPH}), "a tar archive",
        "mkdir -p {stem} && tar -xf {path} -C {stem} && tfinspect info {stem}/graph.pb", ["inside: graph.pb"],
        "graphdef",
    ),
    "d.tar.gz": (
        tarred({"labels.txt": b"x" * 700, "g/graph.pb": GRAPH}, "w:gz"), "a gzip-compressed tar archive",
        "mkdir -p {stem} && tar -xzf {path} -C {stem} && tfinspect info {stem}/g/graph.pb",
        ["inside: labels.txt, g/graph.pb"], "graphdef",
    ),
    "e.pb.gz": (gzip.compress(GRAPH), "compressed with gzip", "gunzip -c {path} > {stem}", [], ""),
    "f.zip": (
        zipped(**{f"{i}.txt": b"" for i in range(8)}), "a zip archive",
        "tfinspect reads what is inside: unzip {path} -d {stem}",
        ["inside: 0.txt, 1.txt, 2.txt, 3.txt, 4.txt, 5.txt and 2 more"], "",
    ),
    "g.zip": (
        zipped(**{"../x": b"", "graph.pb": GRAPH}), "a zip archive",
        "do not unpack it: `../x` would be unpacked outside its folder", ["inside: ../x, graph.pb"], "",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", ARCHIVES)
def test_archives_say_what_is_in_them_and_the_commands_work(name: str, tmp_path: Path) -> None:
    data, title, hint, listed, inside = ARCHIVES[name]
    place = tmp_path / "it's here"
    place.mkdir()
    path = place / name
    path.write_bytes(data)
    with pytest.raises(UnknownFormatError) as caught:
        formats.open_model(path)
    stem = str(place / name.removesuffix(".gz").removesuffix(".zip").removesuffix(".tar"))
    written = hint.replace("{path}", shlex.quote(str(path)))
    for tail in ("/net/graph.pb", "/m", "/graph.pb", "/g/graph.pb", ""):
        written = written.replace("{stem}" + tail, shlex.quote(stem + tail))
    assert caught.value.message == f"{path} is {title}"
    assert caught.value.hint == written
    if listed:
        assert list(caught.value.details[3:]) == listed
    if inside:
        unpack, _, info = written.rpartition(" && ")
        subprocess.run(["sh", "-c", unpack], check=True, capture_output=True, cwd=place)
        assert formats.identify(shlex.split(info)[2]).name == inside


def test_a_damaged_zip_says_where(tmp_path: Path) -> None:
    path = tmp_path / "m.zip"
    path.write_bytes(zipped(a=b"x" * 50)[:-22])
    with pytest.raises(UnknownFormatError) as caught:
        formats.identify(path)
    assert caught.value.message == f"{path} is a damaged zip archive"
    assert caught.value.details[3].startswith("is damaged at byte 128 (zip directory): expected the end record")


def test_whatever_the_first_bytes_are_there_is_one_answer(tmp_path: Path) -> None:
    """Cut short, or with a bit flipped, nothing here may fail but by one of our errors."""
    path = tmp_path / "x"
    refused = 0
    for data, *_ in [*FOREIGN.values(), *ARCHIVES.values()]:
        for at in range(0, min(len(data), 120), 11):
            for broken in (data[: at + 1], data[:at] + bytes([data[at] ^ 1 << at % 8]) + data[at + 1 :]):
                path.write_bytes(broken)
                try:
                    formats.open_model(path)
                except TfinspectError:
                    refused += 1
                else:
                    assert broken[:1] in {b"\n", b"\x08", b"P"}  # nothing but protobuf and zip can be anything at all
    assert refused > 300


@pytest.mark.parametrize(
    ("names", "title"),
    [
        (["Manifest.json", "Data/m"], "a Core ML package (.mlpackage), not a model of TensorFlow"),
        (["model.json", "group1-shard1of1.bin"], "a TensorFlow.js model, not the model it was converted from"),
        (["config.json", "model.safetensors"], "a Hugging Face model whose weights are safetensors"),
        (["a.txt"], "a folder without a model"),
    ],
)
def test_folders_of_others(names: list[str], title: str, tmp_path: Path) -> None:
    for name in names:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    with pytest.raises(UnknownFormatError) as caught:
        formats.identify(tmp_path)
    assert caught.value.message == f"{tmp_path} is {title}"


def test_of_numbered_versions_the_newest_is_the_hint(tmp_path: Path) -> None:
    for version in ("2", "10", "00000009"):
        shutil.copytree(FIXTURES / "saved_model", tmp_path / version)
    with pytest.raises(UnknownFormatError) as caught:
        formats.identify(tmp_path)
    assert caught.value.hint == f"tfinspect info {tmp_path / '10'}"


# ------------------------------------------------------------------------------------------- ours, in the wrong place


WRONG = [
    ("vars inception_tiny.pb", "inception_tiny.pb is a frozen graph or graph definition (GraphDef), not a checkpoint",
     "tfinspect nodes inception_tiny.pb --op Const"),
    ("vars graph.pbtxt", "graph.pbtxt is a graph as text (GraphDef), not a checkpoint",
     "tfinspect nodes graph.pbtxt --op Const"),
    ("vars head.npz", "head.npz is a classifier head (.npz), not a checkpoint", "tfinspect info head.npz"),
    ("nodes head.npz", "head.npz is a classifier head (.npz), not a TensorFlow graph", "tfinspect info head.npz"),
    ("cut dense.onnx --bottleneck x -o {out}", "dense.onnx is an ONNX model, not a TensorFlow graph", None),
    ("graft dense.onnx --bottleneck x --head head.npz -o {out}", "dense.onnx is an ONNX model, not a TensorFlow graph",
     None),
    ("freeze dense.onnx -o {out}", "dense.onnx is an ONNX model, not a TensorFlow graph", None),
    ("freeze inception_tiny.pb -o {out}", "inception_tiny.pb is frozen already: it has no variables",
     "tfinspect info inception_tiny.pb"),
]  # fmt: skip


@pytest.mark.parametrize(("line", "message", "hint"), WRONG, ids=[line.split(" -")[0] for line, *_ in WRONG])
def test_our_own_files_in_the_wrong_place(
    line: str, message: str, hint: str | None, call: Caller, tmp_path: Path
) -> None:
    out = tmp_path / "out.pb"
    done = call(*line.format(out=out).split(), "--json")
    assert (done.status, done.error["message"]) == (3, message)
    assert not any(tmp_path.iterdir())
    given = done.error["hint"]
    assert hint is None or given == hint
    _, _, command = given.partition("tfinspect ")
    followed = call(*shlex.split(command))
    assert followed.status == 0, followed.err
    assert followed.out


def test_a_checkpoint_without_its_graph(call: Caller, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    shutil.copytree(FIXTURES / "training", folder, ignore=shutil.ignore_patterns("*.meta"))
    for words in (["nodes"], ["show", "x"], ["cut", "--bottleneck", "x", "-o", tmp_path / "o.pb"],
                  ["freeze", "-o", tmp_path / "o.pb"]):  # fmt: skip
        done = call(words[0], folder, *words[1:], "--json")
        assert (done.status, done.error["message"]) == (
            3, f"{folder} is a checkpoint without a graph: no {folder / 'model.ckpt-3'}.meta stands beside it"
        )  # fmt: skip
        assert done.error["hint"] == f"list its variables: tfinspect vars {folder}"
    assert call("vars", folder).status == 0
    assert not (tmp_path / "o.pb").exists()


def test_the_checkpoint_beside_a_graph_is_the_hint(call: Caller, tmp_path: Path) -> None:
    shutil.copytree(FIXTURES / "training", tmp_path / "run")
    shutil.copy(FIXTURES / "graph.pbtxt", tmp_path / "run" / "graph.pbtxt")
    shutil.copy(FIXTURES / "graph.pbtxt", tmp_path / "run" / "model.ckpt-3.pbtxt")
    for name, beside in (("graph.pbtxt", tmp_path / "run"), ("model.ckpt-3.pbtxt", tmp_path / "run" / "model.ckpt-3")):
        done = call("vars", tmp_path / "run" / name, "--json")
        assert (done.status, done.error["hint"]) == (3, f"tfinspect vars {beside}")
        assert call("vars", beside).status == 0


def test_a_graph_with_variables_and_no_checkpoint(call: Caller, tmp_path: Path) -> None:
    path = tmp_path / "train.pbtxt"
    path.write_text('node { name: "v" op: "VariableV2" attr { key: "dtype" value { type: DT_FLOAT } } }\n')
    done = call("freeze", path, "-o", tmp_path / "o.pb", "--json")
    assert (done.status, done.error["message"]) == (3, f"{path} is a graph and no checkpoint stands beside it")
    assert done.error["hint"] == (
        f"name its checkpoint: tfinspect freeze CHECKPOINT --graph {path} -o {tmp_path / 'o.pb'}"
    )
    assert call("vars", path, "--json").error["hint"] == f"tfinspect nodes {path}"


# ------------------------------------------------------------------------------------------------- hostile, or broken


LFS = "is a Git LFS pointer, not the file itself"
LFS_INDEX = "{root}/lfs_pointer_savedmodel/variables/variables.index is a Git LFS pointer (130 bytes) in place of the file itself"
NO_VARIABLES = "{path} is a SavedModel without variables"
NO_CHECKPOINT = "{path} is a frozen graph or graph definition (GraphDef), not a checkpoint"
NO_MODEL = "{path} is a folder without a model"
HDF5 = "{path} is an HDF5 file, as Keras writes for .h5"
SAFE = ["Const\tConst\t?\t?\t"]
BAD: dict[str, tuple[str | list[str] | int, str | list[str] | int, str | int]] = {
    "": (11, NO_MODEL, NO_MODEL),
    "lfs_pointer_savedmodel": (f"{{path}}/saved_model.pb {LFS}",) * 3,
    "lfs_pointer_savedmodel/saved_model.pb": (f"{{path}} {LFS}",) * 3,
    "lfs_pointer_savedmodel/keras_metadata.pb": (f"{{path}} {LFS}",) * 3,
    "lfs_pointer_savedmodel/variables": (LFS_INDEX,) * 3,
    "lfs_pointer_savedmodel/variables/variables.index": (LFS_INDEX,) * 3,
    "lfs_pointer_savedmodel/variables/variables.data-00000-of-00001": (LFS_INDEX,) * 3,
    "modelaudit_tf": (
        ["malicious_pyfunc\tsaved_model\t35\t2 nodes", "safe_savedmodel\tsaved_model\t20\t1 node"],
        NO_MODEL,
        NO_MODEL,
    ),
    "modelaudit_tf/malicious_pyfunc": (0, ["Const\tConst\t?\t?\t", "bad\tPyFunc\t?\t?\t"], NO_VARIABLES),
    "modelaudit_tf/malicious_pyfunc/saved_model.pb": (0, ["Const\tConst\t?\t?\t", "bad\tPyFunc\t?\t?\t"], NO_VARIABLES),
    "modelaudit_tf/safe_savedmodel": (0, SAFE, NO_VARIABLES),
    "modelaudit_tf/safe_savedmodel/saved_model.pb": (0, SAFE, NO_VARIABLES),
    "modelaudit_tf_old": (4, NO_MODEL, NO_MODEL),
    "modelaudit_tf_old/malicious_pyfunc": (0, ["pyfunc\tPyFunc\t?\t?\t"], NO_VARIABLES),
    "modelaudit_tf_old/malicious_pyfunc/saved_model.pb": (0, ["pyfunc\tPyFunc\t?\t?\t"], NO_VARIABLES),
    "modelaudit_tf_old/malicious_readfile": (0, ["readfile\tReadFile\tstring\tscalar\t"], NO_VARIABLES),
    "modelaudit_tf_old/malicious_readfile/saved_model.pb": (0, ["readfile\tReadFile\tstring\tscalar\t"], NO_VARIABLES),
    "modelaudit_tf_old/malicious_writefile": (0, ["writefile\tWriteFile\t?\t?\t"], NO_VARIABLES),
    "modelaudit_tf_old/malicious_writefile/saved_model.pb": (0, ["writefile\tWriteFile\t?\t?\t"], NO_VARIABLES),
    "modelaudit_tf_old/safe_model": (0, ["const\tConst\t?\t?\t"], NO_VARIABLES),
    "modelaudit_tf_old/safe_model/saved_model.pb": (0, ["const\tConst\t?\t?\t"], NO_VARIABLES),
    "text_graphdef_named_pb": (["train_iris.pb\tgraphdef_text\t165366\t480 nodes"], NO_MODEL, NO_MODEL),
    "text_graphdef_named_pb/train_iris.pb": (0, 480, "{path} is a graph as text (GraphDef), not a checkpoint"),
    "utensor_buggy": (["buggy.pb\tgraphdef\t243447\t80 nodes"], NO_MODEL, NO_MODEL),
    "utensor_buggy/buggy.pb": (0, 80, NO_CHECKPOINT),
    "modelaudit_keras": (
        [
            "malicious_lambda.h5\tkeras_h5\t6144\t1 layer, 0 variables",
            "safe_model.h5\tkeras_h5\t6144\t1 layer, 0 variables",
        ],
        NO_MODEL,
        NO_MODEL,
    ),
    "modelaudit_keras/malicious_lambda.h5": (0, 1, 0),
    "modelaudit_keras/safe_model.h5": (0, 1, 0),
}
"""Path in the collection's `bad/`: what `info`, `nodes` and `vars` say: a message, 0, lines, or a number of lines."""
needs_zoo = pytest.mark.skipif(not ZOO.is_dir(), reason="the collection of real models is not beside the repository")


@needs_zoo
def test_every_bad_file_is_in_the_table() -> None:
    root = ZOO / "bad"
    found = {str(p.relative_to(root)) for p in root.rglob("*")}
    assert found == set(BAD) - {""}


@needs_zoo
@pytest.mark.parametrize("name", BAD)
def test_bad_files(name: str, call: Caller, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = ZOO / "bad"
    path = root / name
    monkeypatch.chdir(tmp_path)
    for command, wanted in zip(("info", "nodes", "vars"), BAD[name], strict=True):
        done = call(command, path)
        if isinstance(wanted, str):
            message = wanted.format(path=path, root=root)
            assert (done.status, done.out) == (3, "")
            assert done.err.splitlines()[0] == f"error: {message}"
            continue
        assert done.status == (3 if name == "" else 0), done.err  # one of them is a pointer
        if isinstance(wanted, list):
            assert done.out.splitlines() == wanted
        elif command == "nodes" or wanted:
            assert len(done.rows) == wanted
    assert not any(tmp_path.iterdir())


def test_nothing_heavy_is_loaded_to_say_no(tmp_path: Path) -> None:
    (tmp_path / "model.ckpt").write_bytes(torch_zip())
    script = "import sys; from tfinspect.cli.app import run; run(sys.argv[1:]); print(*sys.modules)"
    for words in (["vars", "model.ckpt"], ["vars", str(FIXTURES / "dl4j.zip")]):
        done = subprocess.run(
            [sys.executable, "-c", script, *words], cwd=tmp_path, capture_output=True, text=True, check=True,
            env={**os.environ, "PYTHONPATH": str(FIXTURES.parent)},
        )  # fmt: skip
        loaded = set(done.stdout.splitlines()[-1].split())
        assert not loaded & {"tensorflow", "keras", "onnx", "onnxruntime", "torch", "pickle5", "numpy"}, words
