"""Every model file of the collection opens, and holds what TensorFlow, h5py and zipfile say it holds."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from tests.cli_calls import ZOO, Caller
from tfinspect import formats
from tfinspect.errors import TfinspectError
from tfinspect.ir.refs import split_input

ORACLE = Path(__file__).with_name("zoo_oracle.py")
MODEL_SUFFIXES = {".pb", ".pbtxt", ".meta", ".index", ".h5", ".hdf5", ".keras", ".onnx", ".tflite", ".zip"}
NOT_MODELS = {"fingerprint.pb", "keras_metadata.pb", "saved_model_config.pb"}
DL4J_MODELS = {"net.bin", "SyntheticCNN_100b4.bin"}
V1 = ("ckpt_v1/steering_angle_matched/model.ckpt", "ckpt_v1/tf_tfprof_2016/ckpt")
MAX_SECONDS = 60.0

pytestmark = pytest.mark.skipif(not ZOO.is_dir(), reason=f"no real models at {ZOO}")


def _files() -> list[str]:
    if not ZOO.is_dir():
        return []
    found = [
        path.relative_to(ZOO).as_posix()
        for path in sorted(ZOO.rglob("*"))
        if path.is_file()
        and path.name not in NOT_MODELS
        and path.parent.name != "assets"
        and (path.suffix in MODEL_SUFFIXES or path.name in DL4J_MODELS)
        and "images" not in path.relative_to(ZOO).parts
    ]
    return [name for name in found if not name.startswith("bad/")] + list(V1)


FILES = _files()
# what the reference reads: it knows no Deeplearning4j, and TensorFlow Lite has tests of its own
REFERENCED = [name for name in FILES if not name.startswith("dl4j/") and not name.endswith(".tflite")]
REFUSED = {
    "pbtxt/tf_graphdef2mlir/graph-malformed.pbtxt": "text, but not the text of a graph",
    "keras_h5/golden/simple_flatten_rnn_tf_keras_2_inputs_and_outputs.h5": "not one of Keras",
    "keras_h5/golden/simple_lstm_tf_keras_1_inputs_and_outputs.h5": "not one of Keras",
    "keras_h5/golden/simple_lstm_tf_keras_2_inputs_and_outputs.h5": "not one of Keras",
}


REFERENCE_REFUSES = {"pbtxt/tf_graphdef2mlir/graph-malformed.pbtxt"}


@pytest.fixture
def call(monkeypatch: pytest.MonkeyPatch) -> Caller:
    return Caller(monkeypatch)


@cache
def _oracle() -> dict[str, Any]:
    asked = [str(ZOO / name) for name in FILES if not name.startswith("dl4j") and not name.endswith(".tflite")]
    done = subprocess.run([sys.executable, ORACLE], input="\n".join(asked), capture_output=True, text=True, check=True)
    return dict(json.loads(done.stdout))


@pytest.mark.parametrize("name", FILES)
def test_info_opens_it_at_once(name: str, call: Caller) -> None:
    start = time.perf_counter()
    done = call("info", ZOO / name, "--json")
    seconds = time.perf_counter() - start
    assert seconds < MAX_SECONDS  # a hang, not a benchmark
    if name in REFUSED:
        assert (done.status, done.error["slug"]) == (3, done.error["slug"])
        assert REFUSED[name] in done.error["message"]
        return
    assert done.status == 0, done.err
    answer = done.answer
    assert answer["format"] in formats.BY_NAME
    assert answer["title"]
    text = call("info", ZOO / name, tty=True, columns=100)
    assert text.status == 0
    assert text.out.splitlines()[0].startswith(formats.BY_NAME[answer["format"]].title)
    model = formats.open_model(ZOO / name)
    if model.graph is not None or model.operators or model.layers:
        listed = call("nodes", ZOO / name, "--json")
        assert listed.status == 0, listed.err
        assert listed.answer["nodes"]
    if model.checkpoint is not None:
        listed = call("vars", ZOO / name, "--json")
        assert listed.status == 0, listed.err
        assert [v["name"] for v in listed.answer["variables"]] == list(model.checkpoint.variables)


@pytest.mark.tensorflow
@pytest.mark.parametrize("name", REFERENCED)
def test_it_holds_what_the_reference_reads(name: str) -> None:
    expected = _oracle()[str(ZOO / name)]
    if "refused" in expected:
        assert name in REFERENCE_REFUSES, expected["refused"]
        return
    assert name not in REFERENCE_REFUSES
    if name in REFUSED:
        with pytest.raises(TfinspectError, match=REFUSED[name]):
            formats.open_model(ZOO / name)
        return
    model = formats.open_model(ZOO / name)
    if "nodes" in expected:
        assert model.graph is not None
        assert [[n.name, n.op, list(n.inputs)] for n in model.graph.nodes] == expected["nodes"]
        assert sorted(model.graph.functions) == expected["functions"]
        assert all(split_input(text)[0] for node in model.graph.nodes for text in node.inputs)
    if "signatures" in expected:
        found = {
            key: [sorted(str(s.key) for s in sig.inputs), sorted(str(s.key) for s in sig.outputs), sig.method]
            for key, sig in model.signatures.items()
        }
        assert found == expected["signatures"]
        assert sorted(model.tags) == expected["tags"]
        assert sorted(map(sorted, model.tag_sets)) == sorted(expected["tag_sets"])
        assert sorted(model.assets) == sorted(set(expected["assets"]))
    if "variables" in expected:
        assert model.checkpoint is not None
        found_variables = {v.name: [str(v.dtype), list(v.shape)] for v in model.checkpoint.variables.values()}
        assert found_variables == expected["variables"]
    if "datasets" in expected:
        assert model.checkpoint is not None
        ours = sorted(list(v.shape) for v in model.checkpoint.variables.values() if v.dtype.itemsize)
        assert ours == sorted(expected["datasets"].values())
