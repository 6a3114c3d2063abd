"""Keras files as graphs: code is refused by name, old generations are brought up to date, the numbers are Keras's."""

from __future__ import annotations

import copy
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

import tfinspect as ti
from tests.cli_calls import ZOO, Caller
from tfinspect import runtimes
from tfinspect.api import keras
from tfinspect.api.load import open_graph
from tfinspect.api.recipe import image_entry
from tfinspect.errors import InputError, TfinspectError, UnsupportedFeatureError, WrongKindError
from tfinspect.formats import keras_blueprint, keras_source, keras_upgrade
from tfinspect.ir.dtypes import DType
from tfinspect.ir.graph import Graph, placeholder
from tfinspect.ir.refs import TensorRef
from tfinspect.ir.tensors import Tensor

KERAS = ZOO / "keras_h5"
GOLDEN = KERAS / "golden"
needs_zoo = pytest.mark.skipif(not KERAS.is_dir(), reason="the folder of real models is not here")
DENSE = {"class_name": "Dense", "config": {"name": "d", "units": 2, "batch_input_shape": [None, 3], "use_bias": False}}


@pytest.fixture
def cli(monkeypatch: pytest.MonkeyPatch) -> Caller:
    return Caller(monkeypatch)


def write_h5(
    path: Path, layers: list[dict[str, Any]], weights: dict[str, dict[str, Any]] | None = None, version: str = "2.2.4"
) -> Path:
    """Write a model as Keras 2 lays it out."""
    with h5py.File(path, "w") as file:
        file.attrs["model_config"] = json.dumps({"class_name": "Sequential", "config": {"name": "s", "layers": layers}})
        file.attrs["keras_version"] = version
        file.attrs["backend"] = "tensorflow"
        group = file.create_group("model_weights")
        group.attrs["layer_names"] = [layer["config"]["name"].encode() for layer in layers]
        for layer in layers:
            name = layer["config"]["name"]
            below = group.create_group(name)
            found = (weights or {}).get(name, {})
            below.attrs["weight_names"] = np.array([word.encode() for word in found], "S64")
            for word, value in found.items():
                below[word] = value
    return path


def with_(**changes: Any) -> dict[str, Any]:
    layer = copy.deepcopy(DENSE)
    layer["config"].update(changes.pop("config", {}))
    return {**layer, **changes}


HOSTILE = {
    "lambda": (
        {"class_name": "Lambda", "config": {"name": "evil", "function": ["4wEAAAA=", None, None]}},
        "`evil` holds 5 bytes of marshalled Python code, sha256 ",
    ),
    "class": (
        with_(class_name="MyDense"),
        "`d` is of the class `MyDense`, which is not Keras's own: its code is needed",
    ),
    "module": (with_(module="os", class_name="system"), "`d` names `system` of the Python module `os`"),
    "registered": (with_(registered_name="Pkg>Dense"), "is of the class `Pkg>Dense`, which is not Keras's own"),
    "function": (
        with_(config={"activation": {"module": "os", "class_name": "function", "config": "system"}}),
        "`d` names `system` of the Python module `os`",
    ),
    "activation": (
        with_(config={"activation": {"class_name": "function", "config": "not_one", "module": "keras.activations"}}),
        "the layer `d` calls the function `not_one`, which is not one of Keras's own",
    ),
    "tensorflow": (
        {"class_name": "TFOpLambda", "config": {"name": "w", "function": "io.write_file"}},
        "the layer `w` calls the TensorFlow function `io.write_file`, which is not run here",
    ),
    "saved_model": (
        {"class_name": "TFSMLayer", "config": {"name": "sm", "filepath": "/etc"}},
        "`sm` loads the SavedModel at `/etc` and runs it",
    ),
    "vocabulary": (
        {"class_name": "StringLookup", "config": {"name": "look", "vocabulary": "/etc/passwd"}},
        "`look` reads its vocabulary from the file `/etc/passwd`",
    ),
    "wrapped": (
        {"class_name": "TimeDistributed", "config": {"name": "td", "layer": {"class_name": "Evil", "config": {}}}},
        "`td` is of the class `Evil`, which is not Keras's own",
    ),
    "unlisted": (
        {"class_name": "TextVectorization", "config": {"name": "tv"}},
        "the layer `tv` is of the class `TextVectorization`, which is not built here",
    ),
}


@pytest.mark.parametrize("which", HOSTILE)
def test_what_needs_code_is_refused_by_name_before_any_loader(
    which: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    layer, message = HOSTILE[which]
    path = write_h5(tmp_path / "m.h5", [DENSE | {"config": {**DENSE["config"], "name": "start"}}, layer])
    monkeypatch.setattr(runtimes, "build", lambda _: pytest.fail("a loader saw the file"))
    with pytest.raises(UnsupportedFeatureError) as caught:
        open_graph(path)
    assert message in caught.value.message
    assert caught.value.message.startswith(f"{path}: ")
    assert "\n" not in caught.value.message


@needs_zoo
def test_the_lambda_of_a_real_file_is_refused_by_name(cli: Caller, tmp_path: Path) -> None:
    done = cli("freeze", str(GOLDEN / "model_lambda.h5"), "-o", str(tmp_path / "o.pb"))
    assert done.status == 3
    assert f"{GOLDEN / 'model_lambda.h5'}: `lambda_3` holds 125 bytes of marshalled Python code" in done.err
    assert not (tmp_path / "o.pb").exists()


@needs_zoo
def test_weights_alone_are_no_graph() -> None:
    path = GOLDEN / "simple_lstm_tf_keras_2_weights.h5"
    with pytest.raises(WrongKindError, match="not a TensorFlow graph"):
        open_graph(path)


def _blueprint(path: Path) -> keras_blueprint.Blueprint:
    return keras_blueprint.blueprint(keras_source.read(ti.open(path)))


def test_modules_of_the_file_are_never_handed_on(tmp_path: Path) -> None:
    layer = with_(module="keras.layers.evil", registered_name=None, build_config={"input_shape": [None, 3]})
    layer["config"]["kernel_initializer"] = {"class_name": "Zeros", "config": {}}
    plan = _blueprint(write_h5(tmp_path / "m.h5", [layer], {"d": {"d/kernel:0": np.ones((3, 2))}}))
    assert plan.library == "tf-keras"
    assert "module" not in json.dumps(plan.config)
    assert "evil" not in json.dumps(plan.config)
    assert "initializer" not in json.dumps(plan.config)
    assert [word for word, _ in plan.layers["d"]] == ["kernel"]
    plan = _blueprint(write_h5(tmp_path / "n.h5", [layer], {"d": {"d/kernel:0": np.ones((3, 2))}}, "3.1.0"))
    assert plan.library == "keras"
    assert plan.config["config"]["layers"][0]["module"] == "keras.layers"


def test_a_layer_of_keras_1_is_brought_up_to_date() -> None:
    item: dict[str, Any] = {
        "class_name": "Convolution2D",
        "config": {
            "name": "c", "nb_filter": 4, "nb_row": 3, "nb_col": 2, "border_mode": "same", "subsample": [2, 2], "bias": True,
            "dim_ordering": "th", "init": "uniform", "W_regularizer": None, "activation": "relu",
            "batch_input_shape": [None, 3, 8, 8], "input_dtype": "float32",
        },
    }  # fmt: skip
    keras_upgrade.layer_of_keras_1("m.h5", item)
    assert item == {
        "class_name": "Conv2D",
        "config": {
            "dtype": "float32", "name": "c", "filters": 4, "padding": "same", "strides": [2, 2], "use_bias": True,
            "data_format": "channels_first", "activation": "relu", "batch_input_shape": [None, 3, 8, 8],
            "kernel_size": [3, 2],
        },
    }  # fmt: skip


def test_batch_statistics_and_merging_code_of_keras_1_are_refused() -> None:
    item: dict[str, Any] = {"class_name": "BatchNormalization", "config": {"name": "b", "mode": 2}}
    with pytest.raises(UnsupportedFeatureError, match="`b` normalises by the statistics of each batch"):
        keras_upgrade.layer_of_keras_1("m.h5", item)
    item = {"class_name": "Merge", "config": {"name": "m", "mode": "x", "mode_type": "lambda"}}
    with pytest.raises(UnsupportedFeatureError, match="`m` merges by code"):
        keras_upgrade.layer_of_keras_1("m.h5", item)


def test_gates_of_keras_1_are_joined_in_the_order_of_keras_2() -> None:
    weights = [(f"l_{w}_{g}", Tensor.of(np.full((2, 1), ord(g), "f4"))) for g in "icfo" for w in "WUb"]
    found = keras_upgrade.weights_of_keras_1("LSTM", {}, weights)
    assert [word for word, _ in found] == ["kernel", "recurrent_kernel", "bias"]
    assert [chr(int(v)) for v in found[0][1].numpy()[0]] == ["i", "f", "c", "o"]
    assert found[0][1].shape == found[0][1].numpy().shape == (2, 4)


def test_kernels_of_theano_are_transposed_and_turned() -> None:
    values = np.arange(2 * 3 * 4 * 5, dtype="f4").reshape(2, 3, 4, 5)  # filters, channels, rows, columns
    stored = [("c_W", Tensor.of(values)), ("c_b", Tensor.of(np.zeros(2, "f4")))]
    settings = {"data_format": "channels_first", "filters": 2}
    found = keras_upgrade.turned("Conv2D", keras_upgrade.weights_of_keras_1("Conv2D", settings, stored))
    assert [word for word, _ in found] == ["kernel", "bias"]
    assert found[0][1].shape == (4, 5, 3, 2)
    np.testing.assert_array_equal(found[0][1].numpy(), values[:, :, ::-1, ::-1].transpose(2, 3, 1, 0))


def test_networks_that_came_from_caffe_are_told_by_their_layers() -> None:
    names = ["block1_conv1", "block1_conv2", "block1_pool"]
    start = placeholder("input_1", DType.FLOAT, (None, None, None, 3))
    graph = Graph([start, *(placeholder(name, DType.FLOAT, (None, 8)) for name in names)])
    entry = image_entry(graph, [TensorRef("input_1")])
    assert entry.recipe.mean == (103.939, 116.779, 123.68)
    assert (entry.recipe.bgr, entry.recipe.size, entry.recipe.origin) == (True, (224, 224), "assumed")
    other = image_entry(Graph(graph.nodes[:3]), [TensorRef("input_1")], size=(96, 96))
    assert (other.recipe.bgr, other.recipe.origin) == (False, "assumed")


# what follows builds models


def _run(model: Any, folder: Path, feeds: dict[str, Any], names: list[str]) -> list[Any]:
    path = folder / "frozen.pb"
    ti.write_graph(model.graph, path, force=True)
    with runtimes.tensorflow_graph(path) as runner:
        return runner.run(names, feeds)


@needs_zoo
@pytest.mark.tensorflow
@pytest.mark.parametrize("name", ["simple_flatten_rnn_tf_keras_2", "simple_lstm_tf_keras_1"])
def test_goldens(name: str, tmp_path: Path) -> None:
    with h5py.File(GOLDEN / f"{name}_inputs_and_outputs.h5") as file:
        (given,) = [dataset[()] for dataset in file["inputs"].values()]
        expected = {key: value[()] for group in ("activations", "predictions") for key, value in file[group].items()}
    model = open_graph(GOLDEN / f"{name}_model.h5")
    (start,) = model.signatures["serving_default"].inputs
    found = _run(model, tmp_path, {start.name: given.astype("f4")}, [f"{key}:0" for key in expected])
    assert model.signatures["serving_default"].outputs[0].name == "dense_1:0"
    assert len(expected) >= 2
    for value, truth in zip(found, expected.values(), strict=True):
        np.testing.assert_allclose(value, truth, rtol=1e-4, atol=1e-4)


@needs_zoo
@pytest.mark.tensorflow
def test_the_lstm_without_golden_outputs_gives_what_its_weights_say(tmp_path: Path) -> None:
    path = GOLDEN / "simple_lstm_tf_keras_2_model.h5"  # `outputs` beside it are what it was trained towards
    given = np.linspace(-3, 3, 5, dtype="f4").reshape(5, 1, 1)
    (found,) = _run(open_graph(path), tmp_path, {"lstm_1_input:0": given}, ["dense_1:0"])
    read = ti.read_checkpoint(path).read
    i, _, c, o = np.split(given[:, 0] @ read("lstm_1/kernel:0") + read("lstm_1/bias:0"), 4, axis=1)
    i, o = (np.clip(0.2 * gate + 0.5, 0, 1) for gate in (i, o))
    expected = (o * np.tanh(i * np.tanh(c))) @ read("dense_1/kernel:0") + read("dense_1/bias:0")
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


@needs_zoo
@pytest.mark.tensorflow
def test_a_network_of_theano_computes_what_theano_computed(tmp_path: Path) -> None:
    path = KERAS / "dl4j_theano_mnist" / "model.h5"
    read = ti.read_checkpoint(path).read
    images = np.random.default_rng(0).random((2, 1, 28, 28)).astype("f4")

    def convolved(x: Any, word: str, *, turn: bool) -> Any:
        kernel = read(f"{word}_W")[:, :, ::-1, ::-1] if turn else read(f"{word}_W")
        rows, columns = x.shape[2] - 2, x.shape[3] - 2
        parts = [
            np.einsum("nchw,oc->nohw", x[:, :, i : i + rows, j : j + columns], kernel[:, :, i, j])
            for i in range(3)
            for j in range(3)
        ]
        return np.maximum(sum(parts) + read(f"{word}_b")[None, :, None, None], 0)

    def features(*, turn: bool) -> Any:
        x = convolved(convolved(images, "convolution2d_1", turn=turn), "convolution2d_2", turn=turn)
        flat = x.reshape(2, 32, 12, 2, 12, 2).max((3, 5)).reshape(2, -1)
        return np.maximum(flat @ read("dense_1_W") + read("dense_1_b"), 0)

    model = open_graph(path)
    assert "Theano: convolution kernels turned round" in model.facts["changes"]
    feeds = {"convolution2d_1_input:0": images.transpose(0, 2, 3, 1)}
    found, _ = _run(model, tmp_path, feeds, ["activation_3:0", "activation_4:0"])
    np.testing.assert_allclose(found, features(turn=True), rtol=1e-4, atol=1e-5)
    assert np.abs(found - features(turn=False)).max() > 1e-3


@pytest.mark.tensorflow
@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ({"d": {}}, "the layer `d` takes 1 weights, the file has 0 for it"),
        ({"d": {"d/kernel:0": np.ones((4, 2))}}, "the layer `d` wants `kernel` of shape [3, 2], the file has [4, 2]"),
    ],
)
def test_weights_that_do_not_fit_are_told(weights: dict[str, Any], message: str, tmp_path: Path) -> None:
    path = write_h5(tmp_path / "m.h5", [DENSE], weights)
    with pytest.raises(InputError) as caught:
        open_graph(path)
    assert caught.value.message == f"{path}: {message}"


@pytest.mark.tensorflow
def test_a_layer_larger_than_the_file_allocates_nothing(tmp_path: Path) -> None:
    path = write_h5(tmp_path / "m.h5", [with_(config={"units": 10**11})], {"d": {"d/kernel:0": np.ones((3, 2))}})
    with pytest.raises(InputError, match=r"wants a weight of shape \[3, 100000000000\], and the file has none"):
        open_graph(path)


@pytest.mark.tensorflow
def test_what_keras_refuses_is_one_line(tmp_path: Path) -> None:
    path = write_h5(tmp_path / "m.h5", [with_(config={"units": "many"})], {"d": {"d/kernel:0": np.ones((3, 2))}})
    with pytest.raises(TfinspectError) as caught:
        open_graph(path)
    assert "\n" not in caught.value.message
    assert str(path) in caught.value.message


MADE = ("plain", "nested", "text", "two", "operations", "first")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Models as Keras 3 and tf_keras save them, with random weights, and what they give."""
    pytest.importorskip("tf_keras", reason="needs the [export] extra")
    folder = tmp_path_factory.mktemp("keras")
    script = Path(__file__).with_name("keras_trunks_oracle.py")
    for library in ("keras", "tf_keras"):
        subprocess.run(
            [sys.executable, str(script), library, str(folder)], check=True, capture_output=True, timeout=300
        )
    return folder


@pytest.mark.tensorflow
@pytest.mark.parametrize("suffix", ["h5", "keras"])
@pytest.mark.parametrize("library", ["keras", "tf_keras"])
@pytest.mark.parametrize("name", MADE)
def test_the_graph_gives_what_keras_gives(name: str, library: str, suffix: str, made: Path, tmp_path: Path) -> None:
    path = made / f"{library}_{name}.{suffix}"
    if (name, library, suffix) == ("operations", "keras", "h5"):
        with pytest.raises(UnsupportedFeatureError, match="`mean` is of the class `Mean`"):
            open_graph(path)  # Keras 3 itself does not find it again
        return
    model = open_graph(path)
    arrays = np.load(made / f"{library}_{name}.npz")
    ends = model.signatures["serving_default"]
    feeds = {spec.name: arrays[f"in{n}"] for n, spec in enumerate(ends.inputs)}
    found = _run(model, tmp_path, feeds, [spec.name for spec in ends.outputs])
    for n, value in enumerate(found):
        np.testing.assert_allclose(value, arrays[f"out{n}"], rtol=1e-4, atol=1e-5)
        assert np.std(value) > 1e-3
    assert f"out{len(found)}" not in arrays
    assert model.graph is not None
    assert not [node for node in model.graph if "Variable" in node.op or "VarHandle" in node.op]


@pytest.mark.tensorflow
def test_layers_are_bottlenecks_by_name(cli: Caller, made: Path, tmp_path: Path) -> None:
    path = made / "keras_plain.keras"
    rows = cli("nodes", str(path), "--only", "bottlenecks").rows
    assert rows[0][0] == "avg_pool"
    assert {"add", "block1_pool"} <= {row[0] for row in rows}
    cut = cli("cut", str(path), "--bottleneck", "block1_pool", "-o", str(tmp_path / "t.pb"), "--json").answer
    assert cut["outputs"][0]["name"] == "block1_pool:0"
    assert cut["outputs"][0]["shape"] == [None, 8, 8, 4]
    inner = cli(
        "cut", str(made / "tf_keras_nested.h5"), "--bottleneck", "base/d1", "-o", str(tmp_path / "i.pb"), "--json"
    )
    assert inner.answer["outputs"][0]["shape"] == [None, 12, 12, 4]


@pytest.mark.tensorflow
def test_a_head_is_grafted_onto_a_keras_file(cli: Caller, made: Path, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    head = {"weights": rng.standard_normal((5, 2)).astype("f4"), "biases": np.zeros(2, "f4")}
    np.savez(tmp_path / "head.npz", **head)
    out = tmp_path / "g.pb"
    path = str(made / "tf_keras_plain.h5")
    done = cli("graft", path, "--bottleneck", "avg_pool", "--head", str(tmp_path / "head.npz"), "-o", str(out))
    assert done.status == 0
    with runtimes.tensorflow_graph(out) as runner:
        given = np.load(made / "tf_keras_plain.npz")["in0"]
        pool, logits = runner.run(["avg_pool:0", "head/logits:0"], {"image:0": given})
    np.testing.assert_allclose(logits, pool @ head["weights"], rtol=1e-5, atol=1e-5)


@pytest.mark.tensorflow
def test_an_export_is_proved_against_the_model_keras_built(cli: Caller, made: Path, tmp_path: Path) -> None:
    path, out = str(made / "keras_nested.keras"), str(tmp_path / "o.onnx")
    report = cli("export", path, "--onnx", "-o", out, "--json").answer
    assert report["verdict"] == "PASS"
    done = cli("verify", path, out, "--json")
    assert (done.status, done.answer["verdict"]) == (0, "PASS")
    other = cli("verify", str(made / "tf_keras_nested.h5"), out, "--json")
    assert (other.status, other.answer["verdict"]) == (0, "PASS")  # the same weights, built by the other Keras


@pytest.mark.tensorflow
def test_branches_of_keras_1_are_merged(cli: Caller, tmp_path: Path) -> None:
    dense = {"output_dim": 2, "bias": False, "input_dim": 3, "init": "uniform", "W_regularizer": None}
    layers = [
        {"class_name": "InputLayer", "name": "i", "inbound_nodes": [],
         "config": {"name": "i", "batch_input_shape": [None, 3], "input_dtype": "float32", "sparse": False}},
        *({"class_name": "Dense", "name": name, "inbound_nodes": [[["i", 0, 0]]], "config": {"name": name, **dense}}
          for name in "ab"),
        {"class_name": "Merge", "name": "m", "inbound_nodes": [[["a", 0, 0], ["b", 0, 0]]],
         "config": {"name": "m", "mode": "concat", "mode_type": "raw", "concat_axis": 1, "output_shape": None}},
    ]  # fmt: skip
    a, b = (np.arange(6, dtype="f4").reshape(3, 2) * factor for factor in (1, -2))
    path = write_h5(tmp_path / "m.h5", layers, {"a": {"a_W:0": a}, "b": {"b_W:0": b}}, "1.2.2")
    with h5py.File(path, "a") as file:
        ends = {"input_layers": [["i", 0, 0]], "output_layers": [["m", 0, 0]]}
        config = {"class_name": "Model", "config": {"name": "net", "layers": layers, **ends}}
        file.attrs["model_config"] = json.dumps(config)
    done = cli("freeze", path, "-o", tmp_path / "o.pb")
    assert done.status == 0
    assert done.err.splitlines()[0] == "Keras 1: configuration and weights brought up to date"
    x = np.array([[1, 2, 3]], "f4")
    with runtimes.tensorflow_graph(tmp_path / "o.pb") as runner:
        (found,) = runner.run(["m:0"], {"i:0": x})
    np.testing.assert_allclose(found, np.concatenate([x @ a, x @ b], axis=1), rtol=1e-5)


def test_info_says_what_to_run_next(cli: Caller, tmp_path: Path) -> None:
    path = write_h5(tmp_path / "m.h5", [DENSE], {"d": {"d/kernel:0": np.ones((3, 2))}})
    assert cli("info", str(path), "--json").answer["next"] == f"tfinspect nodes {path} --only bottlenecks"
    bad = write_h5(tmp_path / "b.h5", [DENSE, HOSTILE["class"][0] | {"config": {"name": "e"}}])
    assert cli("info", str(bad), "--json").answer["next"] == f"tfinspect info --risks {bad}"
    assert keras.is_keras(ti.open(path))


@pytest.mark.slow
@pytest.mark.tensorflow
@pytest.mark.parametrize(
    ("library", "name", "suffix", "bottleneck"),
    [
        ("keras", "VGG16", "keras", "block5_pool"),
        ("tf_keras", "VGG16", "h5", "block5_pool"),
        ("keras", "ResNet50", "h5", "avg_pool"),
        ("tf_keras", "ResNet50", "keras", "avg_pool"),
    ],
)
def test_networks_of_keras_applications(
    library: str, name: str, suffix: str, bottleneck: str, cli: Caller, tmp_path: Path
) -> None:
    path, arrays = tmp_path / f"m.{suffix}", tmp_path / "y.npz"
    code = f"""
import numpy as np, {library} as keras
whole = keras.applications.{name}(weights=None, include_top={name == "ResNet50"})
whole.save({str(path)!r})
x = np.random.default_rng(0).random((2, 224, 224, 3), "f4") * 255 - 110
trunk = keras.Model(whole.input, whole.get_layer({bottleneck!r}).output)
np.savez({str(arrays)!r}, x=x, y=trunk(x, training=False))
"""
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, timeout=600)
    # without its top, VGG16 ends at the bottleneck, so that there is nothing to cut off
    done = cli("freeze", path, "--outputs", bottleneck, "-o", tmp_path / "trunk.pb", "--json").answer
    graph = ti.read_graph(tmp_path / "trunk.pb")
    (start,) = done["inputs"]
    entry = image_entry(graph, [TensorRef(bottleneck)])
    assert (entry.recipe.bgr, entry.recipe.size, entry.recipe.origin) == (True, (224, 224), "assumed")
    given = np.load(arrays)
    with runtimes.tensorflow_graph(tmp_path / "trunk.pb") as runner:
        (found,) = runner.run([f"{bottleneck}:0"], {start["name"]: given["x"]})
    np.testing.assert_allclose(found, given["y"], rtol=1e-4, atol=1e-5 * float(np.abs(given["y"]).max()))
    assert np.std(found) > 0
    report = cli("export", tmp_path / "trunk.pb", "--onnx", "--inputs", f"{start['name']}[1,224,224,3]", "--json")
    assert report.answer["verdict"] == "PASS"
