"""SavedModel folders: read with their variables, and written so that TensorFlow runs them."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from tests.graph_models import ZOO, needs_zoo, op
from tests.graph_models import graph as graph_of
from tfinspect import formats
from tfinspect.errors import (
    CorruptFileError,
    FileMissingError,
    IncompleteCheckpointError,
    InputError,
    LimitError,
    OutputError,
    OutputExistsError,
    UsageError,
)
from tfinspect.formats import graphdef, saved_model
from tfinspect.formats._schema import message_class
from tfinspect.ir.dtypes import DType
from tfinspect.ir.graph import Graph, Node, const
from tfinspect.ir.refs import TensorRef
from tfinspect.ir.signature import Signature, TensorSpec
from tfinspect.ir.tensors import Tensor

if TYPE_CHECKING:
    from collections.abc import Callable

    from tfinspect.ir.checkpoint import Checkpoint

FIXTURES = Path(__file__).parent.parent / "fixtures"
WEIGHTS = np.arange(12, dtype=np.float32).reshape(4, 3)
LARGE = np.arange(40_000, dtype=np.float32).reshape(4, 10_000)


def dense() -> Graph:
    """y = x @ w, and a large constant beside it; a scalar string goes in and its bytes come out."""
    return graph_of(
        op("Placeholder", "x", dtype=DType.FLOAT, shape=(None, 4)),
        const("w", Tensor.of(WEIGHTS)),
        const("large", Tensor.of(LARGE)),
        op("MatMul", "y", "x", "w", T=DType.FLOAT, transpose_a=False, transpose_b=False),
        op("MatMul", "z", "x", "large", T=DType.FLOAT, transpose_a=False, transpose_b=False),
        producer=21,
    )


def spec(
    name: str, key: str | None, dtype: DType = DType.FLOAT, shape: tuple[int | None, ...] | None = (None, 4)
) -> TensorSpec:
    return TensorSpec(TensorRef(name), dtype, shape, key)


SIGNATURE = Signature(
    "serving_default",
    (spec("x", "features"),),
    (spec("y", "scores", shape=(None, 3)), spec("z", "wide", shape=(None, 10_000))),
    "tensorflow/serving/predict",
)


def files(folder: Path) -> set[str]:
    return {str(p.relative_to(folder)) for p in folder.rglob("*")}


# ------------------------------------------------------------------------------------------------------- reading


@pytest.mark.parametrize("name", ["saved_model", "saved_model/saved_model.pb"])
def test_the_folder_and_the_file_in_it_are_the_same_model(name: str) -> None:
    model = saved_model.read(FIXTURES / name)
    assert model.path == str(FIXTURES / name)
    assert model.tags == ("serve",)
    assert model.checkpoint is not None
    assert model.checkpoint.read("w").shape == (4, 3)
    (signature,) = model.signatures.values()
    assert [(s.key, str(s.ref), s.dtype, s.shape) for s in signature.inputs] == [("x", "x:0", DType.FLOAT, (None, 4))]
    assert model.graph is not None
    assert model.graph.source is not None
    assert model.graph.source.path == str(FIXTURES / "saved_model/saved_model.pb")


def several(folder: Path, *tag_sets: tuple[str, ...]) -> Path:
    """Write a SavedModel with a graph for each tag set, its one node named after the tags."""
    message = message_class("SavedModel")(saved_model_schema_version=1)
    for tags in tag_sets:
        meta = message.meta_graphs.add()
        meta.meta_info_def.tags.extend(tags)
        meta.graph_def.node.add(name="_".join(tags) or "none", op="NoOp")
    (folder / "saved_model.pb").write_bytes(message.SerializeToString())
    return folder


@pytest.mark.parametrize(
    ("tag_sets", "chosen"),
    [
        ((("train",), ("serve",)), "serve"),
        ((("serve", "gpu"), ("serve",)), "serve"),
        ((("train",), ("serve", "tpu"), ()), "serve_tpu"),
        ((("train",), ()), "none"),
        ((("train",), ("eval",)), "train"),
    ],
)
def test_which_of_several_meta_graphs(tag_sets: tuple[tuple[str, ...], ...], chosen: str, tmp_path: Path) -> None:
    model = saved_model.read(several(tmp_path, *tag_sets))
    assert model.tag_sets == tag_sets
    assert model.graph is not None
    assert [n.name for n in model.graph] == [chosen]
    assert "_".join(model.tags) or chosen == "none"


def test_a_tag_that_is_no_text(tmp_path: Path) -> None:
    (tmp_path / "saved_model.pb").write_bytes(b"\x08\x01\x12\x06\x0a\x04\x22\x02\xff\xff")
    with pytest.raises(
        CorruptFileError, match=r"at byte 6 \(MetaInfoDef\): expected a tag, found bytes that are not UTF-8"
    ):
        saved_model.read(tmp_path)


def test_folders_without_one(tmp_path: Path) -> None:
    with pytest.raises(FileMissingError, match=r"holds no saved_model\.pb$"):
        saved_model.read(tmp_path)
    (tmp_path / "saved_model.pb").write_bytes(b"\x08\x01")
    with pytest.raises(CorruptFileError, match="expected a MetaGraphDef, found the end of the file"):
        saved_model.read(tmp_path)


def test_a_file_that_was_renamed_has_no_variables_beside_it(tmp_path: Path) -> None:
    shutil.copytree(FIXTURES / "saved_model", tmp_path / "m")
    (tmp_path / "m/saved_model.pb").rename(tmp_path / "m/other.pb")
    assert formats.open_model(tmp_path / "m/other.pb").checkpoint is None


def test_variables_with_a_missing_index_are_said_to_be_incomplete(tmp_path: Path) -> None:
    shutil.copytree(FIXTURES / "saved_model", tmp_path / "m")
    (tmp_path / "m/variables/variables.index").unlink()
    with pytest.raises(IncompleteCheckpointError, match=r"variables\.index is missing"):
        formats.open_model(tmp_path / "m")


@pytest.mark.parametrize("part", ["variables", "variables/variables.index", "variables/variables.data-00000-of-00001"])
def test_variables_that_a_link_leads_to_outside_are_not_read(part: str, tmp_path: Path) -> None:
    shutil.copytree(FIXTURES / "saved_model", tmp_path / "other")
    shutil.copytree(FIXTURES / "saved_model", tmp_path / "m")
    place = tmp_path / "m" / part
    shutil.rmtree(place) if place.is_dir() else place.unlink()
    place.symlink_to(tmp_path / "other" / part)
    with pytest.raises(InputError, match=r"lies outside of .*: a symbolic link leads there") as caught:
        formats.open_model(tmp_path / "m")
    assert caught.value.hint == f"copy the folder with what the links point to: cp -rL {tmp_path / 'm'} COPY"
    (tmp_path / "link").symlink_to(tmp_path / "other")  # the path itself may be a link: the user typed it
    assert formats.open_model(tmp_path / "link").checkpoint is not None


# ------------------------------------------------------------------------------------------ one part of it is broken


@pytest.fixture
def model_folder(tmp_path: Path) -> Path:
    shutil.copytree(FIXTURES / "tf2_saved_model", tmp_path / "m")
    return tmp_path / "m"


def opened(folder: Path) -> tuple[Any, list[str]]:
    problems: list[Any] = []
    model = formats.open_model(folder, problems=problems)
    assert list(model.problems) == problems
    assert model.graph is not None
    assert "serving_default" in model.signatures
    return model, [str(problem) for problem in problems]


def test_nothing_is_wrong_with_a_model_that_is_well(model_folder: Path) -> None:
    model, problems = opened(model_folder)
    assert (problems, model.risks) == ([], ())
    assert model.facts["saved_by"] == "TensorFlow 2: objects and functions"
    assert {info.label for info in model.checkpoint.variables.values()} == {
        "", "kernel", "bias", "steps/0", "steps/1", "named/a.b/c",
    }  # fmt: skip


def test_a_damaged_index_is_noted(model_folder: Path) -> None:
    index = model_folder / "variables/variables.index"
    index.write_bytes(index.read_bytes()[:-1] + b"\0")
    model, problems = opened(model_folder)
    assert model.checkpoint is None
    assert len(problems) == 1
    assert problems[0].startswith(f"{index} is damaged at byte ")
    with pytest.raises(CorruptFileError):
        formats.open_model(model_folder)


def test_a_missing_shard_is_noted_and_the_variables_are_listed(model_folder: Path) -> None:
    (model_folder / "variables/variables.data-00000-of-00001").unlink()
    model, problems = opened(model_folder)
    assert len(problems) == 1
    assert "variables.data-00000-of-00001 is missing" in problems[0]
    labels = {info.name: info.label for info in model.checkpoint.variables.values()}
    suffix = "/.ATTRIBUTES/VARIABLE_VALUE"  # the names now come from the model, which calls three of them `Variable`
    assert labels == {
        "_CHECKPOINTABLE_OBJECT_GRAPH": "", f"w{suffix}": "kernel", f"b{suffix}": "bias",
        f"steps/0{suffix}": "", f"steps/1{suffix}": "", f"named/a..b.Sc{suffix}": "",
    }  # fmt: skip


def test_a_pointer_in_place_of_a_shard_is_noted(model_folder: Path) -> None:
    (model_folder / "variables/variables.data-00000-of-00001").write_text(
        "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 664\n"
    )
    _, problems = opened(model_folder)
    assert [p for p in problems if "is a Git LFS pointer" in p] == problems
    assert len(problems) == 1


def test_a_shard_cut_short_is_noted(model_folder: Path) -> None:
    shard = model_folder / "variables/variables.data-00000-of-00001"
    shard.write_bytes(shard.read_bytes()[:100])
    _, problems = opened(model_folder)
    assert len(problems) == 1
    assert problems[0].startswith(f"{shard} is damaged at byte 100 ")


def test_a_missing_asset_is_noted(model_folder: Path) -> None:
    (model_folder / "assets/words.txt").unlink()
    model, problems = opened(model_folder)
    assert problems == [f"{model_folder}/assets/words.txt does not exist"]
    assert model.checkpoint is not None
    assert formats.open_model(model_folder).checkpoint is not None  # the graph and its values are whole


@pytest.mark.parametrize("name", ["../../etc/passwd", "/etc/passwd", "a/../../b", "..\\b", "", "a\0b"])
def test_an_asset_that_leads_out_is_a_risk_and_never_opened(name: str, model_folder: Path) -> None:
    file = model_folder / "saved_model.pb"
    message = message_class("SavedModel").FromString(file.read_bytes())
    message.meta_graphs[0].asset_file_def[0].filename = name
    file.write_bytes(message.SerializeToString())
    model, problems = opened(model_folder)
    assert problems == []
    assert [(risk.kind, risk.where) for risk in model.risks] == [("outside-path", name)]
    assert model.risks[0].what == f"the asset `{name}` does not name a file in the folder of assets"
    assert formats.open_model(model_folder).risks == model.risks


@pytest.mark.parametrize("part", ["assets", "assets/words.txt"])
def test_an_asset_behind_a_link_that_leads_out(part: str, model_folder: Path, tmp_path: Path) -> None:
    (model_folder / part).rename(tmp_path / "elsewhere")
    (model_folder / part).symlink_to(tmp_path / "elsewhere")
    model, problems = opened(model_folder)
    assert problems == []
    assert [risk.what for risk in model.risks] == [
        "the asset `words.txt` is reached through a symbolic link that leads out of the folder"
    ]


def test_variables_behind_a_link_are_noted(model_folder: Path, tmp_path: Path) -> None:
    (model_folder / "variables").rename(tmp_path / "elsewhere")
    (model_folder / "variables").symlink_to(tmp_path / "elsewhere")
    model, problems = opened(model_folder)
    assert model.checkpoint is None
    assert len(problems) == 1
    assert "lies outside of" in problems[0]


@pytest.mark.parametrize("name", ["tf2_saved_model/saved_model.pb", "hub_module/saved_model.pb"])
def test_any_cut_or_flipped_bit_is_read_or_refused(name: str, tmp_path: Path) -> None:
    data = (FIXTURES / name).read_bytes()
    rng = np.random.default_rng(7)
    refused = []
    for at in rng.integers(0, len(data), 60):
        for changed in (data[:at], data[:at] + bytes([data[at] ^ 1 << int(at) % 8]) + data[at + 1 :]):
            (tmp_path / "saved_model.pb").write_bytes(changed)
            try:
                formats.open_model(tmp_path, problems=[])
            except InputError as error:
                refused.append(error.message)
    assert len(refused) >= 50
    assert not any("\n" in message for message in refused)


def test_a_broken_checkpoint_beside_a_graph_is_noted(tmp_path: Path) -> None:
    shutil.copytree(FIXTURES / "training", tmp_path / "t")
    (tmp_path / "t/model.ckpt-3.meta").write_bytes(b"\x12\xff")
    problems: list[Any] = []
    model = formats.open_model(tmp_path / "t", problems=problems)
    assert model.checkpoint is not None
    assert model.graph is None
    assert len(problems) == 1
    with pytest.raises(InputError):
        formats.open_model(tmp_path / "t")


# ---------------------------------------------------------------------------------------- exports before SavedModel

BUNDLES = ("ckpt_v1/session_bundle_half_plus_two_serving", "session_bundle_mixed/tf_contrib_session_bundle/half_plus_two",
           "session_bundle_mixed/tf_contrib_session_bundle/half_plus_two_ckpt_v2")  # fmt: skip


@needs_zoo
@pytest.mark.parametrize("name", BUNDLES)
def test_a_session_bundle_has_signatures_and_assets(name: str) -> None:
    problems: list[Any] = []
    model = formats.open_model(ZOO / name / "00000123", problems=problems)
    told = {
        key: ([(s.key, s.name) for s in one.inputs], [(s.key, s.name) for s in one.outputs], one.method)
        for key, one in model.signatures.items()
    }
    assert told == {
        "default": ([("input", "tf_example:0")], [("output", "Identity:0")], "tensorflow/serving/regress"),
        "predict": ([("x", "x:0")], [("y", "y:0")], "tensorflow/serving/predict"),
    }
    assert model.facts == {"session_bundle": "export of TensorFlow Serving from before SavedModel"}
    assert model.assets == {"hello1.txt": "Const_1:0", "hello2.txt": "Const_2:0"}
    assert [str(p).rpartition("/")[2] for p in problems] == ["hello1.txt does not exist", "hello2.txt does not exist"]
    assert model.checkpoint is not None
    assert sorted(model.checkpoint.variables) == ["a", "b"]


def session_bundle_meta(**signatures: Any) -> Any:
    message = message_class("Signatures")()
    for name, fill in signatures.items():
        fill(message.default_signature if name == "default" else message.named_signatures[name])
    meta = message_class("MetaGraphDef")()
    for name, kind in (("x", "Placeholder"), ("y", "Identity"), ("z", "Identity")):
        meta.graph_def.node.add(name=name, op=kind, input=[] if name == "x" else ["x"])
    meta.collection_def["serving_signatures"].any_list.value.add(value=message.SerializeToString())
    return meta


def test_classification_and_generic_signatures(tmp_path: Path) -> None:
    def classify(one: Any) -> None:
        one.classification_signature.input.tensor_name = "x:0"
        one.classification_signature.scores.tensor_name = "y:0"

    def generic(one: Any) -> None:
        for key in ("x", "z"):
            one.generic_signature.map[key].tensor_name = f"{key}:0"

    meta = session_bundle_meta(default=classify, names=generic)
    (tmp_path / "export.meta").write_bytes(meta.SerializeToString())
    told = {
        key: ([s.name for s in one.inputs], [(s.key, s.name) for s in one.outputs], one.method)
        for key, one in formats.open_model(tmp_path / "export.meta").signatures.items()
    }
    assert told == {
        "default": (["x:0"], [("scores", "y:0")], "tensorflow/serving/classify"),
        "names": (["x:0"], [("z", "z:0")], ""),
    }


def test_signatures_that_are_none(tmp_path: Path) -> None:
    meta = session_bundle_meta()
    meta.collection_def["serving_signatures"].any_list.value[0].value = b"\xff"
    (tmp_path / "export.meta").write_bytes(meta.SerializeToString())
    with pytest.raises(InputError, match="the collection `serving_signatures` holds bytes that are no Signatures"):
        formats.open_model(tmp_path / "export.meta")


# --------------------------------------------------------------------------------------------- as TensorFlow reads it

TOLD = """
import glob, json, os, sys
import tensorflow as tf
from google.protobuf import text_format
from tensorflow.core.protobuf import saved_model_pb2, trackable_object_graph_pb2
given = json.load(sys.stdin)
out = {"folders": {}, "checkpoints": {}}
def read(prefix):
    reader = tf.train.load_checkpoint(prefix)
    dtypes = reader.get_variable_to_dtype_map()
    variables = {key: [dtypes[key].as_datatype_enum, shape] for key, shape in tf.train.list_variables(prefix)}
    names = {}
    if "_CHECKPOINTABLE_OBJECT_GRAPH" in variables and glob.glob(prefix + ".data-00000-of-*"):
        graph = trackable_object_graph_pb2.TrackableObjectGraph.FromString(reader.get_tensor("_CHECKPOINTABLE_OBJECT_GRAPH"))
        keys = {n: value.checkpoint_key for n, node in enumerate(graph.nodes) for value in node.attributes}
        slots = {keys[s.slot_variable_node_id]: keys[s.original_variable_node_id] for node in graph.nodes for s in node.slot_variables}
        names = {value.checkpoint_key: [value.full_name, slots.get(value.checkpoint_key, "")] for node in graph.nodes for value in node.attributes}
    return [variables, names]
for prefix in given["checkpoints"]:
    out["checkpoints"][prefix] = read(prefix)
for folder in given["folders"]:
    message = saved_model_pb2.SavedModel()
    if os.path.exists(folder + "/saved_model.pb"):
        message.ParseFromString(open(folder + "/saved_model.pb", "rb").read())
    else:
        text_format.Parse(open(folder + "/saved_model.pbtxt").read(), message)
    def specs(entries):
        return sorted(
            (key, info.name, info.dtype, None if info.tensor_shape.unknown_rank else [d.size for d in info.tensor_shape.dim])
            for key, info in entries.items() if info.WhichOneof("encoding") == "name" and info.HasField("tensor_shape")
        )
    graphs = [
        [list(meta.meta_info_def.tags), len(meta.graph_def.node), sorted(f.signature.name for f in meta.graph_def.library.function),
         {key: [specs(one.inputs), specs(one.outputs), one.method_name] for key, one in meta.signature_def.items()},
         sorted(asset.filename for asset in meta.asset_file_def)]
        for meta in message.meta_graphs
    ]
    prefix = folder + "/variables/variables"
    there = os.path.exists(prefix + ".index") or os.path.exists(prefix)
    out["folders"][folder] = [graphs, *(read(prefix) if there else [None, {}])]
print(json.dumps(out))
"""
NAMES_OF_OBJECTS = 40  # at the least, in all the models together


def same_variables(checkpoint: Checkpoint, variables: dict[str, Any], names: dict[str, Any]) -> int:
    """Compare with TensorFlow's words, and return how many variables have a name in both."""
    infos = checkpoint.variables
    assert {key: [int(info.dtype), list(info.shape)] for key, info in infos.items()} == variables, checkpoint.path
    counts = Counter(full_name for full_name, _ in names.values())
    named = 0
    for key, (full_name, serves) in names.items():
        assert infos[key].label == full_name or counts[full_name] > 1 or not full_name, checkpoint.path
        if serves:
            assert (infos[key].role, infos[key].serves) == ("slot", serves), checkpoint.path
        named += infos[key].label != ""
    return named


@needs_zoo
@pytest.mark.tensorflow
def test_every_real_model_is_what_tensorflow_says_it_is() -> None:
    places = [ZOO / name for name in ("savedmodel_tf1", "savedmodel_tf2", "savedmodel_serving", "ckpt_tf2_object")]
    found = {file.parent for place in places for file in place.rglob("saved_model.pb*")}
    folders = sorted(
        str(f) for f in [*found, FIXTURES / "saved_model", FIXTURES / "tf2_saved_model", FIXTURES / "hub_module"]
    )
    assert len(folders) > 35
    checkpoints = [
        str(place)
        for place in (
            FIXTURES / "objects/ckpt-1",
            FIXTURES / "keras3_training/ckpt-1",
            ZOO / "ckpt_tf2_object/tfkeras_lso/lso_ckpt_tf2.2/ckpt",
            ZOO / BUNDLES[0] / "00000123/export-?????-of-00001",
            ZOO / BUNDLES[2] / "00000123/export",
        )
    ]
    command = [sys.executable, "-c", TOLD]
    given = json.dumps({"folders": folders, "checkpoints": checkpoints})
    done = subprocess.run(command, input=given, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    told_of = json.loads(done.stdout.splitlines()[-1])
    for prefix, (variables, names) in told_of["checkpoints"].items():
        assert same_variables(formats.read_checkpoint(prefix), variables, names) == len(names), prefix
    named = 0
    for folder, (graphs, variables, names) in told_of["folders"].items():
        model = formats.open_model(folder, problems=[])
        assert [list(tags) for tags in model.tag_sets] == [graph[0] for graph in graphs], folder
        number = model.tag_sets.index(model.tags)
        assert "serve" in model.tags or not any("serve" in tags for tags in model.tag_sets)
        _, nodes, functions, signatures, assets = graphs[number]
        assert model.graph is not None
        assert (len(model.graph), sorted(model.graph.functions)) == (nodes, functions), folder
        assert sorted(model.signatures) == sorted(signatures), folder
        for key, (inputs, outputs, method) in signatures.items():
            one = model.signatures[key]
            assert one.method == method
            for ours, theirs in ((one.inputs, inputs), (one.outputs, outputs)):
                told = {
                    s.key: [
                        s.name,
                        int(s.dtype or 0),
                        s.shape if s.shape is None else [-1 if d is None else d for d in s.shape],
                    ]
                    for s in ours
                }
                for name, *rest in theirs:
                    rest[1] %= 100  # the type of a reference is 100 more than that of what it refers to
                    rest[0] = rest[0] if ":" in rest[0] else f"{rest[0]}:0"
                    assert told[name] == rest, (folder, key)
        assert set(assets) <= set(model.assets)
        if variables is None:
            assert model.checkpoint is None, folder
            continue
        assert model.checkpoint is not None
        named += same_variables(model.checkpoint, variables, names)
    assert named >= NAMES_OF_OBJECTS


# ------------------------------------------------------------------------------------------------------- writing


def test_what_is_written_reads_back(tmp_path: Path) -> None:
    graph = dense()
    saved_model.write(
        graph, tmp_path / "m", signature=SIGNATURE, assets={"labels.txt": b"a\nb\nc\n"}, tags=("serve", "gpu")
    )
    assert files(tmp_path / "m") == {"saved_model.pb", "variables", "assets", "assets/labels.txt"}
    assert [p.name for p in tmp_path.iterdir()] == ["m"]
    model = formats.open_model(tmp_path / "m")
    assert model.signatures == {"serving_default": SIGNATURE}
    assert (model.tags, model.checkpoint) == (("gpu", "serve") if model.tags[0] == "gpu" else ("serve", "gpu"), None)
    assert model.graph is not None
    assert [n.name for n in model.graph] == [n.name for n in graph]
    assert b"".join(graphdef.encode(model.graph)) == b"".join(graphdef.encode(graph))
    assert (tmp_path / "m/assets/labels.txt").read_bytes() == b"a\nb\nc\n"
    message = message_class("SavedModel").FromString((tmp_path / "m/saved_model.pb").read_bytes())
    assert message.saved_model_schema_version == 1


def test_assets_stay_in_their_folder(tmp_path: Path) -> None:
    saved_model.write(dense(), tmp_path / "m", signature=SIGNATURE, assets={"../../up.txt": b"x"})
    assert files(tmp_path) == {"m", "m/saved_model.pb", "m/variables", "m/assets", "m/assets/up.txt"}
    with pytest.raises(OutputError):
        saved_model.write(dense(), tmp_path / "n", signature=SIGNATURE, assets={"..": b"x"})
    assert not (tmp_path / "n").exists()


def test_an_existing_folder_is_refused_or_swapped(tmp_path: Path) -> None:
    (tmp_path / "m").mkdir()
    (tmp_path / "m/mine.txt").write_text("mine")
    with pytest.raises(OutputExistsError):
        saved_model.write(dense(), tmp_path / "m", signature=SIGNATURE)
    assert files(tmp_path) == {"m", "m/mine.txt"}
    saved_model.write(dense(), tmp_path / "m", signature=SIGNATURE, force=True)
    assert files(tmp_path) == {"m", "m/saved_model.pb", "m/variables"}


class Killed(BaseException):
    """As SIGINT would be."""


def _raise(error: BaseException) -> Callable[[], Any]:
    def load() -> Any:
        raise error

    return load


@pytest.mark.parametrize(
    ("error", "expected"),
    [(Killed(), Killed), (InputError("shard gone"), InputError), (OSError(28, "No space left"), OutputError)],
)
@pytest.mark.parametrize("exists", [False, True])
def test_a_failure_in_the_middle_leaves_nothing(
    *, error: BaseException, expected: type[BaseException], exists: bool, tmp_path: Path
) -> None:
    bad = Tensor(DType.FLOAT, (1000, 1000), _raise(error), _raise(error))
    graph = Graph([*dense().nodes, const("bad", bad)])
    before = set()
    if exists:
        (tmp_path / "m").mkdir()
        (tmp_path / "m/mine.txt").write_text("mine")
        before = {"m", "m/mine.txt"}
    with pytest.raises(expected):
        saved_model.write(graph, tmp_path / "m", signature=SIGNATURE, assets={"a": b"b"}, force=exists)
    assert files(tmp_path) == before


def test_2_gib_is_refused_up_front(tmp_path: Path) -> None:
    never = _raise(AssertionError("the values were asked for"))
    half = Tensor(DType.FLOAT, (1 << 28,), never, never)
    graph = Graph([const("a", half), const("b", half)])
    with pytest.raises(LimitError, match=r"a saved_model\.pb cannot exceed 2,147,483,647"):
        saved_model.write(graph, tmp_path / "m", signature=SIGNATURE)
    assert files(tmp_path) == set()


def test_two_outputs_under_one_key_are_refused(tmp_path: Path) -> None:
    twice = Signature("s", (spec("x", "x"),), (spec("y", "out"), spec("z", "out")))
    with pytest.raises(UsageError, match="two tensors of the signature `s` have the key `out`"):
        saved_model.write(dense(), tmp_path / "m", signature=twice)
    assert files(tmp_path) == set()


# ------------------------------------------------------------------------------------------- run by TensorFlow


@pytest.mark.tensorflow
@pytest.mark.filterwarnings("ignore")
def test_tensorflow_runs_what_is_written(tmp_path: Path) -> None:
    import tensorflow as tf

    jpeg = (FIXTURES / "photo.jpg").read_bytes()
    nodes: list[Node] = [
        *dense().nodes,
        op("Placeholder", "bytes", dtype=DType.STRING, shape=()),
        op("DecodeJpeg", "pixels", "bytes", channels=3),
    ]
    graph = Graph(nodes, versions=dense().versions)
    signature = Signature(
        SIGNATURE.name,
        (*SIGNATURE.inputs, spec("bytes", "image", DType.STRING, ())),
        (*SIGNATURE.outputs, spec("pixels", "pixels", DType.UINT8, (None, None, 3))),
        SIGNATURE.method,
    )
    folder = tmp_path / "m"
    saved_model.write(graph, folder, signature=signature, assets={"labels.txt": b"a\nb\nc\n"})
    x = np.array([[1, 2, 3, 4], [0, 1, 0, -1]], np.float32)
    pixels = tf.io.decode_jpeg(jpeg, channels=3).numpy()

    def check(scores: Any, wide: Any, seen: Any) -> None:
        np.testing.assert_allclose(scores, x @ WEIGHTS, rtol=1e-6)
        np.testing.assert_allclose(wide, x @ LARGE, rtol=1e-5)
        assert seen.shape == pixels.shape
        assert abs(seen.astype(int) - pixels.astype(int)).mean() < 1

    loaded = tf.saved_model.load(str(folder)).signatures["serving_default"]
    out = loaded(features=tf.constant(x), image=tf.constant(jpeg))
    check(out["scores"].numpy(), out["wide"].numpy(), out["pixels"].numpy())
    with tf.compat.v1.Session(graph=tf.Graph()) as session:
        meta = tf.compat.v1.saved_model.load(session, ["serve"], str(folder))
        found = meta.signature_def["serving_default"]
        fetches = [found.outputs[key].name for key in ("scores", "wide", "pixels")]
        feeds = {found.inputs["features"].name: x, found.inputs["image"].name: jpeg}
        check(*session.run(fetches, feeds))
    assert (folder / "assets/labels.txt").read_text() == "a\nb\nc\n"
