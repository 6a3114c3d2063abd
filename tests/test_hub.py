"""Modules of TensorFlow Hub, of both generations."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.graph_models import ZOO, needs_zoo
from tfinspect import formats
from tfinspect.errors import InputError, UnsupportedFeatureError
from tfinspect.formats import hub
from tfinspect.formats._schema import message_class
from tfinspect.ir.dtypes import DType

MODULE = Path(__file__).parent.parent / "fixtures" / "hub_module"
RUN = """
import json, sys
import tensorflow as tf
v1 = tf.compat.v1
with v1.Session(graph=tf.Graph()) as session:
    meta = v1.saved_model.load(session, [], sys.argv[1])
    v1.train.Saver().restore(session, sys.argv[1] + "/variables/variables")  # this and the asset's path: as Hub's own loader did
    signature = meta.signature_def["default"]
    fed = {signature.inputs["default"].name: ["rose", "oak"], "words:0": sys.argv[1] + "/assets/words.txt"}
    out = session.run(signature.outputs["default"].name, fed)
print(json.dumps(out.tolist()))
"""


def test_a_module_of_tensorflow_1() -> None:
    problems: list[object] = []
    model = formats.open_model(MODULE, problems=problems)
    assert problems == []
    assert model.format == "saved_model"
    assert model.facts == {"hub": "TF1 Hub module, format 3", "hub_attachments": "languages (4 bytes)"}
    assert (model.tags, model.tag_sets) == ((), (("train",), ()))
    assert model.graph is not None
    assert not any("dropout" in node.name for node in model.graph)  # not the graph for training
    (signature,) = model.signatures.values()
    assert [(s.key, s.name, s.dtype, s.shape) for s in signature.inputs] == [
        ("default", "text:0", DType.STRING, (None,))
    ]
    assert [(s.key, s.name, s.dtype, s.shape) for s in signature.outputs] == [
        ("default", "out:0", DType.FLOAT, (None, 4))
    ]
    assert model.assets == {"words.txt": "words:0"}
    assert model.checkpoint is not None
    assert model.checkpoint.read("embeddings").tolist() == [[0.5] * 4] * 3


@pytest.mark.tensorflow
def test_tensorflow_runs_the_module() -> None:
    done = subprocess.run([sys.executable, "-c", RUN, str(MODULE)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    assert json.loads(done.stdout.splitlines()[-1]) == [[0.5] * 4, [0.0] * 4]


@pytest.fixture
def module(tmp_path: Path) -> Path:
    shutil.copytree(MODULE, tmp_path / "m")
    return tmp_path / "m"


def test_a_module_of_the_future(module: Path) -> None:
    definition = message_class("ModuleDef")(format=4, required_features=["x"])
    (module / hub.NAME).write_bytes(definition.SerializeToString())
    with pytest.raises(UnsupportedFeatureError) as caught:
        formats.open_model(module)
    assert (
        str(caught.value)
        == f"{module}/tfhub_module.pb describes a Hub module of format 4 with `x`; format 3 is the one known"
    )
    problems: list[object] = []
    model = formats.open_model(module, problems=problems)
    assert [type(p) for p in model.problems] == [UnsupportedFeatureError]
    assert model.checkpoint is not None


@pytest.mark.parametrize("content", [b"\xff\xff", bytes(2 << 20)])
def test_a_definition_that_is_none(content: bytes, module: Path) -> None:
    (module / hub.NAME).write_bytes(content)
    with pytest.raises(InputError, match=r"tfhub_module\.pb is not the definition of a Hub module$"):
        formats.open_model(module)


def test_an_attachment_that_is_none(module: Path) -> None:
    message = message_class("SavedModel").FromString((module / "saved_model.pb").read_bytes())
    message.meta_graphs[1].collection_def[hub.ATTACHMENTS].bytes_list.value.append(b"\xff")
    (module / "saved_model.pb").write_bytes(message.SerializeToString())
    with pytest.raises(InputError, match="the collection `hub_module_attachments` holds bytes that are no attachment"):
        formats.open_model(module)


def test_many_attachments_are_counted() -> None:
    attachment = message_class("ModuleAttachment")(key="k", value=b"1").SerializeToString()
    assert hub.attachments([attachment] * 25, "m")["hub_attachments"].endswith("k (1 bytes), and 5 more")
    assert hub.attachments([], "m") == {}


@needs_zoo
def test_a_module_of_tensorflow_2_is_a_reusable_saved_model() -> None:
    model = formats.open_model(ZOO / "savedmodel_tf2/tfnet_keras_assets/lstm_from_sequential")
    assert model.facts["hub"].startswith("reusable SavedModel, as TF2 Hub modules are: __call__, ")
    assert "hub" not in formats.open_model(ZOO / "savedmodel_tf2/rust_regression").facts
