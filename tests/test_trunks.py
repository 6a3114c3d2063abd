"""SavedModels and Hub modules as trunks: bottlenecks inside functions, and outputs by the keys of signatures."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import numpy as np
import pytest

import tfinspect as ti
from tests.cli_calls import FIXTURES, ZOO, Caller
from tfinspect import formats, runtimes
from tfinspect.api.load import open_graph
from tfinspect.api.locate import locate, opened, signature_of, tensor_of
from tfinspect.api.photo_models import Wishes, open_photo_model
from tfinspect.api.prepare import prepare
from tfinspect.api.trunk_parameters import open_trainable
from tfinspect.errors import NodeNotFoundError, UsageError
from tfinspect.formats import saved_model
from tfinspect.formats._schema import message_class
from tfinspect.ir.attrs import Attr
from tfinspect.ir.dtypes import DType
from tfinspect.ir.graph import Graph, Node, const, placeholder
from tfinspect.ir.model import Model
from tfinspect.ir.refs import TensorRef
from tfinspect.ir.signature import Signature, TensorSpec
from tfinspect.ir.tensors import Tensor
from tfinspect.learn.images import encode_png

if TYPE_CHECKING:
    from pathlib import Path

HUB = FIXTURES / "hub_module"
TF2 = FIXTURES / "tf2_saved_model"
KERAS = ZOO / "savedmodel_tf2/tfnet_keras_assets/simple_model_from_auto_compile"
INNER = "StatefulPartitionedCall/StatefulPartitionedCall/model/dense/Relu"
needs_zoo = pytest.mark.skipif(not ZOO.is_dir(), reason="the collection of real models is not beside the repository")


@pytest.fixture
def call(monkeypatch: pytest.MonkeyPatch) -> Caller:
    return Caller(monkeypatch)


def head(path: Path, features: int, classes: int = 3) -> Path:
    random = np.random.default_rng(0)
    np.savez(
        path, weights=random.normal(size=(features, classes)).astype(np.float32), biases=np.zeros(classes, np.float32)
    )
    return path


def test_the_features_of_a_hub_module_go_by_their_key(call: Caller, tmp_path: Path) -> None:
    done = call("cut", HUB, "--bottleneck", "default", "-o", tmp_path / "trunk.pb", "--json")
    assert [(o["name"], o["shape"]) for o in done.answer["outputs"]] == [("out:0", [None, 4])]
    whole = call("freeze", HUB, "-o", tmp_path / "frozen.pb")
    assert whole.status == 0
    assert ti.read_graph(tmp_path / "trunk.pb").by_name.keys() == ti.read_graph(tmp_path / "frozen.pb").by_name.keys()
    done = call(
        "graft",
        HUB,
        "--bottleneck",
        "default",
        "--head",
        head(tmp_path / "h.npz", 4),
        "-o",
        tmp_path / "g.pb",
        "--json",
    )
    assert [o["name"] for o in done.answer["outputs"]] == ["head/logits:0", "head/softmax:0"]
    assert prepare(HUB, outputs=["default"]).outputs[0].name == "out:0"


def test_a_cut_at_an_output_leaves_no_head(call: Caller, tmp_path: Path) -> None:
    done = call(
        "cut", HUB, "--bottleneck", "default", "-o", tmp_path / "t.pb", "--head-output", tmp_path / "h.pb", "--json"
    )
    assert done.status == 2
    assert done.error["message"] == "`out:0` is an output already, so nothing is left behind the cut"
    assert not list(tmp_path.iterdir())


def test_keys_are_near_names_too(call: Caller, tmp_path: Path) -> None:
    done = call("cut", HUB, "--bottleneck", "defaul", "-o", tmp_path / "t.pb", "--json")
    assert (done.status, done.error["hint"]) == (2, "did you mean `default`?")
    assert done.error["message"] == f"no node named `defaul` in {HUB / 'saved_model.pb'} (58 nodes)"


def test_the_default_signature_is_asked_first() -> None:
    model = formats.open_model(TF2)
    assert str(tensor_of(model, "y")) == "StatefulPartitionedCall_1:1"
    assert str(tensor_of(model, "scaled")) == "StatefulPartitionedCall:0"
    assert str(tensor_of(model, "scale_z")) == "scale_z:0"  # a node
    assert str(tensor_of(model, "nothing:3")) == "nothing:3"


def test_a_training_graph_is_fine_tuned_from_the_tensor_that_takes_images(call: Caller, tmp_path: Path) -> None:
    training = FIXTURES / "training/model.ckpt-3"
    with pytest.raises(UsageError, match=r"^no input takes images\n") as caught:
        open_trainable(training, "bottleneck")
    assert caught.value.hint == "name the one that does: --inputs T[1,HEIGHT,WIDTH,3]"
    trunk = open_trainable(training, "bottleneck", inputs=["input/image"])
    assert (str(trunk.start), trunk.width, trunk.entry.recipe.size) == ("input/image:0", 6, (12, 12))
    assert trunk.model.graph is not None
    for graph in (trunk.model.graph, trunk.graph):
        assert not {"FIFOQueueV2", "QueueDequeueV2", "DecodeRaw", "VariableV2"} & {node.op for node in graph}
    assert [t.name for t in trunk.parameters.trainable] == ["conv/weights", "conv/beta"]
    for name in ("a/1.png", "a/2.png", "b/1.png", "b/2.png"):
        (tmp_path / "photos" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "photos" / name).write_bytes(encode_png(np.zeros((4, 4, 3), np.uint8)))
    twice = ("--inputs", "input/image", "--inputs", "conv/relu")
    shares = ("--validation", "0", "--test", "0")
    done = call(
        "finetune", training, tmp_path / "photos", "--bottleneck", "bottleneck", *twice, *shares, "-o", tmp_path / "t.pb",
        "--json",
    )  # fmt: skip
    assert (done.status, done.error["message"]) == (2, "images enter at one tensor; --inputs is given several times")


def test_a_module_is_called_by_its_signature_default() -> None:
    def gives(name: str) -> Signature:
        return Signature(name, (), (TensorSpec(TensorRef(name), DType.FLOAT, None, key="default"),))

    names = ("image_classification", "default", "image_feature_vector")
    module = Model("m", "saved_model", signatures={name: gives(name) for name in names})
    assert signature_of(module) == gives("default")
    assert str(tensor_of(module, "default")) == "default:0"
    served = Model("m", "saved_model", signatures={name: gives(name) for name in ("default", "serving_default")})
    assert signature_of(served) == gives("serving_default")
    assert signature_of(Model("m", "saved_model", signatures={name: gives(name) for name in "ab"})) is None


def test_tensors_inside_functions() -> None:
    model = formats.open_model(TF2)
    assert opened(model, ["scaled", "scale_z"]) is model
    (scaled,) = model.signatures["scale"].outputs
    found, ref = locate(model, "StatefulPartitionedCall/StatefulPartitionedCall/mul", [scaled.ref])
    assert found.graph is not None
    assert found.checkpoint is None
    assert {"scale_z", "StatefulPartitionedCall", ref.name} <= set(found.graph.by_name)
    assert not any(node.op in {"VarHandleOp", "StatefulPartitionedCall"} for node in found.graph)
    with pytest.raises(NodeNotFoundError) as caught:
        locate(model, "StatefulPartitionedCall/StatefulPartitionedCall/mull", [scaled.ref])
    assert caught.value.near[0] == "StatefulPartitionedCall/StatefulPartitionedCall/mul"


def test_the_asset_that_a_graph_reads_is_no_variable(call: Caller, tmp_path: Path) -> None:
    done = call("freeze", TF2, "-o", tmp_path / "whole.pb", "--json")
    assert "`Variable` is no weight: it has the value that loading gives it" in done.answer["notes"]
    assert not any(node.op in {"ReadFile", "VarHandleOp"} for node in ti.read_graph(tmp_path / "whole.pb"))
    done = call("freeze", TF2, "--outputs", "scaled", "-o", tmp_path / "f.pb", "--json")
    assert [o["name"] for o in done.answer["outputs"]] == ["StatefulPartitionedCall:0"]


def module_of_images(folder: Path) -> Path:
    """Write a Hub module of images whose graph for training comes first and computes something else."""
    parts = []
    for factor, tags in ((5.0, ["train"]), (2.0, ["serve"])):
        kernel = np.random.default_rng(0).normal(size=(3, 3, 3, 4)).astype(np.float32)
        kind = {"T": Attr.of(DType.FLOAT)}
        nodes = [
            placeholder("images", DType.FLOAT, (None, 8, 8, 3)),
            const("factor", Tensor.of(np.float32(factor))),
            Node("mul", "Mul", ("images", "factor"), kind),
            const("one", Tensor.of(np.float32(1))),
            Node("sub", "Sub", ("mul", "one"), kind),
            const("kernel", Tensor.of(kernel)),
            Node(
                "conv", "Conv2D", ("sub", "kernel"),
                {**kind, "strides": Attr.ints([1, 1, 1, 1]), "padding": Attr.of("SAME")},
            ),
            const("axes", Tensor.of(np.array([1, 2], np.int32))),
            Node("pool", "Mean", ("conv", "axes"), {**kind, "Tidx": Attr.of(DType.INT32)}),
        ]  # fmt: skip
        place = folder / f"part{len(parts)}"
        takes = TensorSpec(TensorRef("images"), DType.FLOAT, (None, 8, 8, 3), key="images")
        gives = TensorSpec(TensorRef("pool"), DType.FLOAT, (None, 4), key="default")
        saved_model.write(Graph(nodes), place, signature=Signature("default", (takes,), (gives,)), tags=tags)
        parts.append((place / "saved_model.pb").read_bytes())
    made = folder / "module"
    made.mkdir()
    first, second = parts  # messages of one kind after each other are one message; the version is said once
    (made / "saved_model.pb").write_bytes(first + second.removeprefix(b"\x08\x01"))
    (made / "tfhub_module.pb").write_bytes(b"\x08\x03")
    return made


@pytest.mark.tensorflow
def test_the_reference_is_the_graph_that_is_meant(call: Caller, tmp_path: Path) -> None:
    module = module_of_images(tmp_path)
    for name in ("a/1.png", "a/2.png", "b/1.png", "b/2.png"):
        (tmp_path / "photos" / name).parent.mkdir(parents=True, exist_ok=True)
        values = np.random.default_rng(len(name) + ord(name[0]) + ord(name[2])).integers(0, 255, (8, 8, 3), np.uint8)
        (tmp_path / "photos" / name).write_bytes(encode_png(values))
    made = ("features", module, tmp_path / "photos", "--bottleneck", "default", "--no-cache", "-o", tmp_path / "f.npz")
    done = call(*made, "--json")
    assert done.status == 0, done.err
    recipe = done.answer["recipe"]
    assert (recipe["size"], recipe["mean"], recipe["scale"], recipe["origin"]) == ([8, 8], [0.0], [1 / 255], "graph")
    with np.load(tmp_path / "f.npz") as found:
        assert len(found["features"]) == 4
    with runtimes.tensorflow_graph(module / "saved_model.pb") as runner:
        (pooled,) = runner.run(["pool:0"], {"images:0": np.zeros((1, 8, 8, 3), np.float32)})
        (sub,) = runner.run(["sub:0"], {"images:0": np.ones((1, 8, 8, 3), np.float32)})
    assert pooled.shape == (1, 4)
    assert (sub == 1).all()  # 2 x - 1, not 5 x - 1


def test_features_of_a_module_are_no_classes(call: Caller, tmp_path: Path) -> None:
    module = module_of_images(tmp_path)
    message = message_class("SavedModel").FromString((module / "saved_model.pb").read_bytes())
    signatures = message.meta_graphs[1].signature_def
    signatures["image_feature_vector"].CopyFrom(signatures["default"])
    (module / "saved_model.pb").write_bytes(message.SerializeToString())
    done = call("predict", module, FIXTURES / "photo.jpg")
    assert done.status == 2
    assert done.err == (
        f"error: `default` of {module} gives features of an image, not classes\n\n"
        f"hint: train a head on them: tfinspect features {module} FOLDER --bottleneck default -o F.npz\n"
    )
    signatures["image_classification"].CopyFrom(signatures["default"])
    (entry,) = signatures["image_classification"].outputs.values()
    entry.name = "conv:0"
    (module / "saved_model.pb").write_bytes(message.SerializeToString())
    with open_photo_model(module, Wishes()) as found:
        assert (found.output, found.way.name) == ("default", "images")
        assert found.way.recipe is not None
        assert found.way.recipe.scale == (1 / 255,)


@needs_zoo
def test_a_saved_model_without_variables(call: Caller, tmp_path: Path) -> None:
    done = call("freeze", ZOO / "savedmodel_tf1/mlnet/model_matmul", "-o", tmp_path / "f.pb", "--json")
    assert [o["name"] for o in done.answer["outputs"]] == ["c:0"]
    assert done.answer["variables"] == {}


@needs_zoo
def test_bottlenecks_of_the_signature(call: Caller, tmp_path: Path) -> None:
    assert next(row[0] for row in call("nodes", KERAS, "--only", "bottlenecks").rows) == INNER
    done = call(
        "cut", KERAS, "--bottleneck", INNER, "-o", tmp_path / "t.pb", "--head-output", tmp_path / "h.pb", "--json"
    )
    assert [(o["name"], o["shape"]) for o in done.answer["outputs"]] == [(f"{INNER}:0", [None, 100])]
    assert [(i["name"], i["shape"]) for i in done.answer["inputs"]] == [
        ("serving_default_input_1:0", [None, 28, 28, 1])
    ]
    done = call("graft", KERAS, "--bottleneck", INNER, "--head", head(tmp_path / "x.npz", 100), "-o", tmp_path / "g.pb")
    assert done.status == 0
    ready = prepare(KERAS, outputs=[INNER])
    assert [(s.name, s.shape) for s in ready.outputs] == [(f"{INNER}:0", (None, 100))]
    half = ZOO / "savedmodel_serving/serving_testdata/saved_model_half_plus_three/00000123"
    assert [row[0] for row in call("nodes", half, "--only", "bottlenecks").rows] == ["Mul"]  # not what others compute


@needs_zoo
def test_a_saved_model_is_a_trunk_to_fine_tune() -> None:
    trunk = open_trainable(KERAS, INNER, size=(28, 28))
    assert trunk.width == 100
    assert trunk.entry.recipe.channels == 1
    assert [t.name.rsplit("/", 2)[-2:] for t in trunk.parameters.trainable] == [["dense", "kernel"], ["dense", "bias"]]
    assert [node.op for node in trunk.graph if node.op.startswith("StatefulP")] == []
    with pytest.raises(NodeNotFoundError, match="no node named `gone`"):
        open_trainable(KERAS, "gone")


@needs_zoo
@pytest.mark.tensorflow
def test_trunk_and_head_together_are_the_saved_model(tmp_path: Path) -> None:
    halves = ti.cut(KERAS, bottleneck=INNER)
    for graph, name in zip(halves, ("trunk.pb", "head.pb"), strict=True):
        formats.write_graph(graph, tmp_path / name)
    images = np.random.default_rng(3).normal(size=(4, 28, 28, 1)).astype(np.float32)
    with runtimes.tensorflow_saved_model(KERAS) as runner:
        (wanted,) = runner.run(["softmax"], {"input_1": images})
    with runtimes.tensorflow_graph(tmp_path / "trunk.pb") as runner:
        (features,) = runner.run([f"{INNER}:0"], {"serving_default_input_1:0": images})
    with runtimes.tensorflow_graph(tmp_path / "head.pb") as runner:
        (found,) = runner.run(["StatefulPartitionedCall:0"], {f"{INNER}:0": features})
    assert np.abs(found - wanted).max() < 1e-6
    assert features.std() > 1e-3


MADE = """
import sys, tensorflow as tf
class Features(tf.Module):
    def __init__(self):
        self.kernel = tf.Variable(tf.random.stateless_normal([3, 3, 3, 6], [1, 2]), name="kernel")
        self.bias = tf.Variable(tf.range(6.0) - 2.5, name="bias")
    @tf.function(input_signature=[tf.TensorSpec([None, 16, 16, 3], name="image")])
    def __call__(self, image):
        y = tf.nn.relu(tf.nn.conv2d(image, self.kernel, 2, "SAME") + self.bias)
        return {"feature_vector": tf.reduce_mean(y, [1, 2])}
module = Features()
tf.saved_model.save(module, sys.argv[1], signatures=module.__call__)
"""


@pytest.mark.tensorflow
def test_a_module_as_hub_has_them(call: Caller, tmp_path: Path) -> None:
    place = tmp_path / "module"
    subprocess.run([sys.executable, "-c", MADE, str(place)], check=True, capture_output=True)
    model, ref = locate(open_graph(place), "feature_vector")
    assert (model.format, str(ref)) == ("saved_model", "StatefulPartitionedCall:0")
    done = call(
        "graft", place, "--bottleneck", "feature_vector", "--head", head(tmp_path / "h.npz", 6), "-o", tmp_path / "g.pb"
    )
    assert done.status == 0
    done = call("export", tmp_path / "g.pb", "--onnx", "-o", tmp_path / "g.onnx", "--batch", "dynamic", "--json")
    assert done.answer["verdict"] == "PASS"
    images = np.random.default_rng(3).normal(size=(4, 16, 16, 3)).astype(np.float32)
    with runtimes.tensorflow_saved_model(place) as runner:
        (features,) = runner.run(["feature_vector"], {"image": images})
    with runtimes.onnx_model(tmp_path / "g.onnx") as runner:
        (found,) = runner.run(["head/softmax:0"], {"serving_default_image:0": images})
    logits = features @ np.load(tmp_path / "h.npz")["weights"]
    powers = np.exp(logits - logits.max(1, keepdims=True))
    assert np.abs(found - powers / powers.sum(1, keepdims=True)).max() < 1e-5
    assert found.std() > 0.01
