"""Keras files of every generation: weights as h5py reads them, layers in order, risks named and nothing executed."""

from __future__ import annotations

import base64
import copy
import hashlib
import io
import json
import marshal
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import h5py
import numpy as np
import pytest

from tfinspect import formats
from tfinspect.errors import CorruptFileError, InputError, LimitError, TfinspectError, UnknownFormatError
from tfinspect.formats import _keras_config, _keras_json, keras_h5
from tfinspect.ir.dtypes import DType

if TYPE_CHECKING:
    from collections.abc import Callable

    from tfinspect.ir.model import Model

ROOT = Path(__file__).parent.parent
FIXTURES = ROOT / "fixtures" / "keras"
ZOO = ROOT.parent / "shared" / "zoo"
H5 = sorted(p for p in ZOO.glob("keras_h5/**/*") if p.suffix in (".h5", ".hdf5") and "inputs_and_outputs" not in p.name)
H5 += sorted(ZOO.glob("bad/modelaudit_keras/*.h5"))
ARCHIVES = sorted(ZOO.glob("keras/**/*.keras"))
needs_zoo = pytest.mark.skipif(not ZOO.is_dir(), reason="the folder of real models is not here")


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)


def _expected_h5(path: Path) -> dict[str, np.ndarray]:
    """Return the weights of a legacy file in order, by layer and name, as h5py reads them."""
    found = {}
    with h5py.File(path, "r") as file:
        group = file.get("model_weights", file)
        layers = [_text(name) for name in group.attrs.get("layer_names", [])]
        for layer in layers:
            for name in map(_text, group[layer].attrs["weight_names"]):
                found[name] = group[layer][name][()]
        if "optimizer_weights" in file:
            for name in map(_text, file["optimizer_weights"].attrs["weight_names"]):
                found[name] = file["optimizer_weights"][name][()]
    return found


def _assert_values(model: Model, expected: dict[str, np.ndarray]) -> None:
    assert model.checkpoint is not None
    assert set(model.checkpoint.variables) == set(expected)
    for name, value in expected.items():
        info = model.checkpoint.variables[name]
        assert (info.shape, str(info.dtype), info.nbytes) == (value.shape, str(value.dtype), value.nbytes)
        assert model.checkpoint.read(name).tobytes() == value.tobytes()


@needs_zoo
@pytest.mark.parametrize("path", H5, ids=lambda p: p.name)
def test_real_h5_files_are_read_as_h5py_reads_them(path: Path) -> None:
    model = formats.open_model(path)
    assert model.format == "keras_h5"
    expected = _expected_h5(path)
    _assert_values(model, expected)
    assert model.checkpoint is not None
    assert list(model.checkpoint.variables) == list(expected)
    owned = [name for layer in model.layers for name in layer.weights]
    assert sorted(owned) == sorted(v.name for v in model.checkpoint.variables.values() if v.role == "weight")
    with h5py.File(path, "r") as file:
        if "model_config" in file.attrs:
            config = json.loads(_text(file.attrs["model_config"]))["config"]
            layers = config if isinstance(config, list) else config["layers"]
            assert [layer.kind for layer in model.layers] == [layer["class_name"] for layer in layers]
            names = [layer["config"].get("name") for layer in layers]
            assert [layer.name for layer in model.layers if None not in names] == [n for n in names if n]


@needs_zoo
@pytest.mark.parametrize("path", ARCHIVES, ids=lambda p: p.name)
def test_real_archives_are_read_as_h5py_reads_them(path: Path) -> None:
    with zipfile.ZipFile(path) as archive, h5py.File(io.BytesIO(archive.read("model.weights.h5")), "r") as file:
        expected: dict[str, np.ndarray] = {}
        file.visititems(lambda name, item: expected.update({name: item[()]} if isinstance(item, h5py.Dataset) else {}))
    model = formats.open_model(path)
    assert model.format == "keras_archive"
    _assert_values(model, expected)
    assert model.facts["keras_version"] == "3.13.2"
    assert [(r.kind, r.where) for r in model.risks] == [("custom-code", "test_model")]
    assert "KerasTest>TestModel" in model.risks[0].what


@needs_zoo
def test_layers_of_a_keras_2_functional_model() -> None:
    model = formats.open_model(ZOO / "keras_h5/oarriaga/fer2013_mini_XCEPTION.119-0.65.hdf5")
    by_name = {layer.name: layer for layer in model.layers}
    assert len(model.layers) == 45
    assert by_name["conv2d_1"].inputs == ("input_1",)
    assert by_name["conv2d_1"].weights == ("conv2d_1/kernel:0",)
    assert by_name["conv2d_1"].settings["filters"] == 5
    assert len(by_name["add_1"].inputs) == 2
    assert model.facts == {
        "keras_version": "2.0.5", "generation": "Keras 2", "backend": "tensorflow", "model": "Model `model_1`",
        "optimizer": "Adam, learning rate 1e-05", "loss": "categorical_crossentropy",
    }  # fmt: skip
    (given,) = model.signatures["main"].inputs
    assert (given.name, given.dtype, given.shape) == ("input_1:0", DType.FLOAT, (None, 48, 48, 1))
    (result,) = model.signatures["main"].outputs
    assert result.name == "predictions:0"


@needs_zoo
def test_lambdas_of_real_files_are_named_and_not_run() -> None:
    model = formats.open_model(ZOO / "keras_h5/golden/model_lambda.h5")
    what = "holds 125 bytes of marshalled Python code, sha256"
    assert [(r.kind, r.where, r.what) for r in model.risks] == [
        (
            "bytecode",
            "lambda_3",
            f"{what} 0ed2dcc214da30e45f0fff0e3bb1bc164b27ecf16b2507f6a38a04d792e643bb",
        ),
        (
            "bytecode",
            "lambda_4",
            f"{what} 66699a97be57d093ae4056b9d246e18cdcb1c61cfa641ba2d90a7011f478dde1",
        ),
    ]
    model = formats.open_model(ZOO / "bad/modelaudit_keras/malicious_lambda.h5")
    assert [(r.kind, r.where, r.what) for r in model.risks] == [
        ("python-code", "lambda_1", "calls the Python function `lambda x: eval('print(\"security test\")')`")
    ]
    assert formats.open_model(ZOO / "bad/modelaudit_keras/safe_model.h5").risks == ()


def test_the_three_fixtures_hold_the_same_weights() -> None:
    old, archive, weights = (formats.open_model(FIXTURES / f"model.{end}") for end in ("h5", "keras", "weights.h5"))
    assert [m.format for m in (old, archive, weights)] == ["keras_h5", "keras_archive", "keras_weights_h5"]
    assert old.checkpoint is not None
    for other in (archive, weights):
        assert other.checkpoint is not None
        labelled = {v.label: v.name for v in other.checkpoint.variables.values() if v.role == "weight"}
        assert set(labelled) == {v.name for v in old.checkpoint.variables.values() if v.role == "weight"}
        for name, key in labelled.items():
            assert other.checkpoint.read(key).tobytes() == old.checkpoint.read(name).tobytes()
    names = [layer.name for layer in old.layers]
    assert names == [layer.name for layer in archive.layers]
    assert names == [
        "image", "see", "norm", "pool", "words", "inner", "inner/input_layer", "inner/first", "inner/dense", "read",
        "join", "out",
    ]  # fmt: skip
    by_name = {layer.name: layer for layer in archive.layers}
    assert by_name["join"].inputs == ("inner", "read")
    assert by_name["inner/dense"].inputs == ("inner/first",)
    assert by_name["inner/dense"].weights == ("layers/sequential/layers/dense_1/vars/0",)
    assert by_name["see"].shape == (None, 6, 6, 2)
    assert [s.shape for s in archive.signatures["main"].inputs] == [(None, 8, 8, 1), (None, 3, 2)]
    assert archive.training["optimizer"] == "Adam"
    assert archive.training["metrics"] == ["accuracy"]
    assert archive.facts["optimizer"] == "Adam, learning rate 0.01"


def test_state_of_an_optimizer_is_told_apart() -> None:
    model = formats.open_model(FIXTURES / "model.h5")
    assert model.checkpoint is not None
    found = {v.name: (v.role, v.serves) for v in model.checkpoint.variables.values()}
    assert found["adam/iteration"] == ("step", "")
    assert found["adam/learning_rate"] == ("bookkeeping", "")
    assert found["adam/inner_first_kernel_momentum"] == ("slot", "inner/first/kernel")
    assert found["adam/read_gru_cell_recurrent_kernel_velocity"] == ("slot", "read/gru_cell/recurrent_kernel")
    archive = formats.open_model(FIXTURES / "model.keras").checkpoint
    assert archive is not None
    assert archive.variables["optimizer/vars/0"].role == "step"
    assert archive.variables["optimizer/vars/1"].label == "adam/learning_rate"
    assert archive.variables["optimizer/vars/2"].role == "slot"


def test_weights_of_an_archive_are_views_of_it() -> None:
    model = formats.open_model(FIXTURES / "model.keras")
    assert model.checkpoint is not None
    value = model.checkpoint.read("layers/dense/vars/0")
    assert not value.flags.owndata
    assert not value.flags.writeable


# Files made by hand


def _h5(path: Path, layers: dict[str, dict[str, Any]], config: object = None, **attrs: Any) -> Path:
    with h5py.File(path, "w") as file:
        group = file.create_group("model_weights")
        group.attrs["layer_names"] = np.array([name.encode() for name in layers])
        for layer, weights in layers.items():
            place = group.require_group(layer)
            place.attrs["weight_names"] = np.array([name.encode() for name in weights] or [], dtype="S64")
            for name, value in weights.items():
                place[name] = value
        if config is not None:
            file.attrs["model_config"] = config if isinstance(config, (str, bytes)) else json.dumps(config)
        for key, value in attrs.items():
            file.attrs[key] = value
    return path


def _archive(path: Path, config: object, weights: Callable[[h5py.File], None] | None = None, method: int = 0) -> Path:
    place = io.BytesIO()
    with h5py.File(place, "w") as file:
        if weights is not None:
            weights(file)
    with zipfile.ZipFile(path, "w", method) as archive:
        archive.writestr("metadata.json", json.dumps({"keras_version": "3.0.0", "date_saved": "x"}))
        archive.writestr("config.json", config if isinstance(config, str) else json.dumps(config))
        archive.writestr("model.weights.h5", place.getvalue())
    return path


def _refused(path: Path, kind: type[TfinspectError] = InputError) -> str:
    with pytest.raises(kind) as caught:
        formats.open_model(path)
    assert type(caught.value) is kind
    return caught.value.message.replace(str(path), "FILE")


def _sequential(*layers: dict[str, Any]) -> dict[str, Any]:
    return {"class_name": "Sequential", "config": {"name": "net", "layers": list(layers)}}


def test_names_split_over_several_attributes_are_put_together(tmp_path: Path) -> None:
    path = tmp_path / "x.h5"
    with h5py.File(path, "w") as file:
        for i in range(4):
            file.attrs[f"layer_names{i}"] = np.array([f"l{i}a".encode(), f"l{i}b".encode()])
            for half in "ab":
                group = file.create_group(f"l{i}{half}")
                group.attrs["weight_names0"] = np.array([b"kernel:0"])
                group.attrs["weight_names1"] = np.array([b"bias:0"])
                group["kernel:0"], group["bias:0"] = np.float32([i]), np.float32([-i])
    model = formats.open_model(path)
    assert model.facts["content"] == "weights only"
    assert [layer.name for layer in model.layers] == [f"l{i}{half}" for i in range(4) for half in "ab"]
    assert model.layers[0].weights == ("l0a/kernel:0", "l0a/bias:0")  # every layer has a `kernel:0`
    assert model.checkpoint is not None
    assert model.checkpoint.read("l3b/bias:0").tolist() == [-3]


def test_slots_of_tf_keras_serve_their_weights(tmp_path: Path) -> None:
    path = _h5(tmp_path / "x.h5", {"d": {"d/kernel:0": np.zeros((2, 3)), "d/bias:0": np.zeros(3)}})
    with h5py.File(path, "a") as file:
        group = file.create_group("optimizer_weights")
        names = ["Adam/iter:0", "Adam/d/kernel/m:0", "training/Adam/d/bias/v:0", "Adam/m/d/kernel:0", "Variable_3:0"]
        group.attrs["weight_names"] = np.array([n.encode() for n in names])
        for name in names:
            group[name] = np.int64(3) if "iter" in name else np.zeros(3) if "bias" in name else np.zeros((2, 3))
    model = formats.open_model(path)
    assert model.checkpoint is not None
    found = {n: (model.checkpoint.variables[n].role, model.checkpoint.variables[n].serves) for n in names}
    assert found == {
        "Adam/iter:0": ("step", ""), "Adam/d/kernel/m:0": ("slot", "d/kernel:0"),
        "training/Adam/d/bias/v:0": ("slot", "d/bias:0"), "Adam/m/d/kernel:0": ("slot", "d/kernel:0"),
        "Variable_3:0": ("slot", ""),
    }  # fmt: skip


def test_weights_of_a_nested_model_go_to_its_layers(tmp_path: Path) -> None:
    inner = {
        "class_name": "Model",
        "name": "inner",
        "config": {
            "name": "inner",
            "layers": [
                {
                    "class_name": "InputLayer",
                    "name": "i",
                    "config": {"name": "i", "batch_input_shape": [None, 2]},
                    "inbound_nodes": [],
                },
                {"class_name": "Dense", "name": "a", "config": {"name": "a"}, "inbound_nodes": [[["i", 0, 0, {}]]]},
                {
                    "class_name": "Add",
                    "name": "s",
                    "config": {"name": "s"},
                    "inbound_nodes": [[["a", 0, 0, {"other": ["i", 0, 0]}]]],
                },
            ],
            "input_layers": [["i", 0, 0]],
            "output_layers": [["s", 0, 0]],
        },
    }
    config = _sequential(inner, {"class_name": "Dense", "config": {"name": "b"}})
    weights = {"inner": {"a/kernel:0": np.zeros((2, 2)), "odd:0": np.zeros(1)}, "b": {"b/kernel:0": np.zeros((2, 1))}}
    model = formats.open_model(_h5(tmp_path / "x.h5", weights, config, keras_version="2.2.4-tf"))
    assert [(layer.name, layer.inputs, layer.weights) for layer in model.layers] == [
        ("inner", (), ("odd:0",)),
        ("inner/i", (), ()),
        ("inner/a", ("inner/i",), ("a/kernel:0",)),
        ("inner/s", ("inner/a", "inner/i"), ()),
        ("b", ("inner",), ("b/kernel:0",)),
    ]
    assert model.facts["generation"] == "Keras 2 (tf.keras)"


def test_groups_without_names_are_told_by_the_order_of_layers(tmp_path: Path) -> None:
    def fill(file: h5py.File) -> None:
        for i, group in enumerate(("dense", "dense_1", "dense_10", "dense_2")):
            file[f"_layer_checkpoint_dependencies/{group}/vars/0"] = np.full((2, 2), i, np.float32)

    config = _sequential(*({"class_name": "Dense", "config": {"name": f"d{i}", "use_bias": False}} for i in range(11)))
    model = formats.open_model(_archive(tmp_path / "x.keras", config, fill))
    assert model.checkpoint is not None
    assert [v.label for v in model.checkpoint.variables.values()] == [
        "d0/kernel",
        "d1/kernel",
        "d2/kernel",
        "d10/kernel",
    ]
    assert model.layers[2].weights == ("_layer_checkpoint_dependencies/dense_2/vars/0",)


def test_bfloat16_by_attribute_or_by_policy(tmp_path: Path) -> None:
    import ml_dtypes

    values = np.array([1.5, -2], ml_dtypes.bfloat16)
    layer = {
        "class_name": "Dense",
        "config": {"name": "d", "dtype": {"class_name": "DTypePolicy", "config": {"name": "bfloat16"}}},
    }
    path = _h5(tmp_path / "x.h5", {"d": {}}, _sequential(layer))
    with h5py.File(path, "a") as file:
        group = file["model_weights/d"]
        group.attrs["weight_names"] = np.array([b"d/kernel"])
        group.create_dataset("d/kernel", data=values)
    old = formats.open_model(path).checkpoint

    def fill(file: h5py.File) -> None:
        file.create_dataset("layers/dense/vars/0", data=values).attrs["dtype"] = "bfloat16"

    new = formats.open_model(_archive(tmp_path / "x.keras", _sequential(layer), fill)).checkpoint
    assert old is not None
    assert new is not None
    for checkpoint in (old, new):
        (name,) = checkpoint.variables
        assert checkpoint.variables[name].dtype is DType.BFLOAT16
        assert checkpoint.read(name).tolist() == [1.5, -2]


def test_compressed_weights_of_an_archive(tmp_path: Path) -> None:
    def fill(file: h5py.File) -> None:
        file["layers/dense/vars/0"] = np.arange(6.0).reshape(2, 3)

    path = _archive(tmp_path / "x.keras", _sequential(), fill, zipfile.ZIP_DEFLATED)
    model = formats.open_model(path)
    assert model.checkpoint is not None
    assert model.checkpoint.read("layers/dense/vars/0").tolist() == [[0, 1, 2], [3, 4, 5]]


def test_weights_of_an_archive_are_checked_before_they_are_listed(tmp_path: Path) -> None:
    data = bytearray((FIXTURES / "model.keras").read_bytes())
    at = data.find(b"\x89HDF")
    data[at + 20_000] ^= 1
    path = tmp_path / "x.keras"
    path.write_bytes(data)
    with pytest.raises(
        CorruptFileError, match=r"\(zip member `model\.weights\.h5`\): expected bytes with the checksum"
    ):
        formats.open_model(path)


# What loading would run


def _risks(tmp_path: Path, *layers: dict[str, Any]) -> list[tuple[str, str, str]]:
    model = formats.open_model(_archive(tmp_path / "x.keras", _sequential(*layers)))
    return [(risk.kind, risk.where, risk.what) for risk in model.risks]


def test_lambda_code_is_measured_and_hashed(tmp_path: Path) -> None:
    code = marshal.dumps(compile("__import__('os').system('false')", "x", "eval"))
    text = base64.encodebytes(code).decode()
    what = f"holds {len(code)} bytes of marshalled Python code, sha256 {hashlib.sha256(code).hexdigest()}"
    new = {"class_name": "__lambda__", "config": {"code": text, "defaults": None, "closure": None}}
    assert _risks(
        tmp_path,
        {"module": "keras.layers", "class_name": "Lambda", "config": {"name": "a", "function": new}, "registered_name": None},
        {"class_name": "Lambda", "config": {"name": "b", "function": [text, None, None], "function_type": "lambda"}},
        {"class_name": "Lambda", "config": {"name": "c", "function": [code.decode("raw_unicode_escape"), None, None]}},
        {"class_name": "Lambda", "config": {"name": "d", "function": "my_function", "function_type": "function"}},
        {"class_name": "TimeDistributed", "config": {"name": "e", "layer": {"class_name": "Lambda", "config": {"name": "f", "function": [text]}}}},
        {"class_name": "Lambda", "config": {"name": "g", "function": "f", "function_type": "function", "output_shape": [text], "output_shape_type": "lambda"}},
    ) == [
        ("bytecode", "a", what),
        ("bytecode", "b", what),
        ("bytecode", "c", what),
        ("python-code", "d", "calls the Python function `my_function`"),
        ("bytecode", "e", what),
        ("python-code", "g", "calls the Python function `f`"),
        ("bytecode", "g", what),
    ]  # fmt: skip


def test_foreign_classes_modules_and_files_are_named(tmp_path: Path) -> None:
    initializer = {"module": "os", "class_name": "system", "config": {}, "registered_name": "system"}
    function = {
        "module": "builtins",
        "class_name": "function",
        "config": "my_activation",
        "registered_name": "function",
    }
    assert _risks(
        tmp_path,
        {"module": "keras.layers", "class_name": "Dense", "config": {"name": "a"}, "registered_name": None},
        {"module": "evil.layers", "class_name": "Dense", "config": {"name": "b"}, "registered_name": "Dense"},
        {"module": None, "class_name": "My", "config": {"name": "c"}, "registered_name": "pkg>My"},
        {"class_name": "MyOld", "config": {"name": "d"}},
        {"class_name": "Dense", "config": {"name": "e", "kernel_initializer": initializer}},
        {"class_name": "Dense", "config": {"name": "f", "activation": function}},
        {"class_name": "TFSMLayer", "config": {"name": "g", "filepath": "/tmp/evil"}},  # noqa: S108 - never opened
        {"class_name": "StringLookup", "config": {"name": "h", "vocabulary": "/etc/passwd"}},
        {"class_name": "TorchModuleWrapper", "config": {"name": "i"}},
        {
            "class_name": "Dense",
            "config": {"name": "j", "kernel_initializer": {"class_name": "GlorotUniform", "config": {}}},
        },
        {
            "class_name": "Dense",
            "config": {"name": "k", "bias_initializer": {"module": "builtins", "class_name": "exec", "config": "x"}},
        },
        {"class_name": "RNN", "config": {"name": "l", "cell": {"class_name": "MyCell", "config": {}}}},
    ) == [
        ("python-code", "b", "names `Dense` of the Python module `evil.layers`"),
        ("custom-code", "c", "is of the class `pkg>My`, which is not Keras's own: its code is needed"),
        ("custom-code", "d", "is of the class `MyOld`, which is not Keras's own: its code is needed"),
        ("python-code", "e", "names `system` of the Python module `os`"),
        ("custom-code", "f", "calls the function `my_activation`: its code is needed"),
        ("file-read", "g", "loads the SavedModel at `/tmp/evil` and runs it"),
        ("file-read", "h", "reads its vocabulary from the file `/etc/passwd`"),
        ("serialized-object", "i", "holds a pickled PyTorch module, which loading it would run"),
        ("python-code", "k", "names `exec` of the Python module `builtins`"),
        ("custom-code", "l", "is of the class `MyCell`, which is not Keras's own: its code is needed"),
    ]


def test_names_that_lead_out_of_an_archive_are_named(tmp_path: Path) -> None:
    path = _archive(tmp_path / "x.keras", _sequential())
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("../../evil.py", "x")
        archive.writestr("assets/words.txt", "x")
    model = formats.open_model(path)
    assert [(r.kind, r.where) for r in model.risks] == [("outside-path", "../../evil.py")]
    assert model.assets == {"words.txt": "assets/words.txt"}


# Hostile files


def test_weights_behind_links_are_refused(tmp_path: Path) -> None:
    path = _h5(tmp_path / "x.h5", {"d": {}})
    for link, said in (
        (h5py.ExternalLink("/etc/passwd", "/w"), "`/etc/passwd:/w` (external)"),
        (h5py.SoftLink("/elsewhere"), "`/elsewhere` (soft)"),
    ):
        with h5py.File(path, "a") as file:
            file["model_weights/d"].attrs["weight_names"] = np.array([b"kernel:0"])
            if "kernel:0" in list(file["model_weights/d"]):
                del file["model_weights/d"]["kernel:0"]
            file["model_weights/d"]["kernel:0"] = link
        assert _refused(path) == (
            f"FILE: the weight `model_weights/d/kernel:0` is behind a link to {said}, which is not followed"
        )
    path = tmp_path / "x.weights.h5"
    with h5py.File(path, "w") as file:
        file.create_group("layers/dense/vars")["0"] = h5py.ExternalLink("other.h5", "/w")
    assert _refused(path) == (
        "FILE: the weight `layers/dense/vars/0` is behind a link to `other.h5:/w` (external), which is not followed"
    )


def test_all_weights_behind_a_link_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.h5"
    with h5py.File(path, "w") as file:
        file.attrs["model_config"] = json.dumps(_sequential())
        file["model_weights"] = h5py.ExternalLink("weights.h5", "/model_weights")
    assert _refused(path) == (
        "FILE: the group `model_weights` is behind a link to `weights.h5:/model_weights` (external), "
        "which is not followed"
    )


def test_a_configuration_that_is_no_text_is_refused(tmp_path: Path) -> None:
    path = _h5(tmp_path / "x.h5", {}, model_config=5)
    assert _refused(path) == "FILE: `model_config` of `/` is no text but 1 integers of 8 bytes"


def test_links_that_no_weight_needs_are_told(tmp_path: Path) -> None:
    path = _h5(tmp_path / "x.h5", {"d": {"kernel:0": np.zeros(2)}})
    with h5py.File(path, "a") as file:
        file["notes"] = h5py.ExternalLink("/etc/passwd", "/x")
        file["again"] = h5py.SoftLink("/model_weights")
    assert [(r.kind, r.where, r.what) for r in formats.open_model(path).risks] == [
        ("outside-path", "notes", "is a link to another file, `/etc/passwd:/x`, and was not followed"),
        ("outside-path", "again", "is a link to another place of the file, `/model_weights`, and was not followed"),
    ]


def test_weights_kept_in_other_files_are_listed_and_refused(tmp_path: Path) -> None:
    path = _h5(tmp_path / "x.h5", {"d": {}})
    with h5py.File(path, "a", libver="latest") as file:
        group = file["model_weights/d"]
        group.attrs["weight_names"] = np.array([b"a", b"b"])
        group.create_dataset("a", (4,), "f4", external=[("/etc/passwd", 0, 16)])
        layout = h5py.VirtualLayout((4,), "f4")
        layout[:] = h5py.VirtualSource("other.h5", "x", (4,))
        group.create_virtual_dataset("b", layout)
    model = formats.open_model(path)
    assert [(r.kind, r.where) for r in model.risks] == [
        ("outside-path", "model_weights/d/a"),
        ("outside-path", "model_weights/d/b"),
    ]
    assert model.checkpoint is not None
    with pytest.raises(InputError) as caught:
        model.checkpoint.read("a")
    assert caught.value.message == (
        f"{path}: `model_weights/d/a` is a dataset whose values are in the file `/etc/passwd`, which is not followed"
    )
    with pytest.raises(
        InputError, match="is a virtual dataset, whose values are in other files, which is not followed"
    ):
        model.checkpoint.read("b")


def test_shape_bombs_are_refused_when_listed(tmp_path: Path) -> None:
    path = _h5(tmp_path / "x.h5", {"d": {}})
    with h5py.File(path, "a") as file:
        group = file["model_weights/d"]
        group.attrs["weight_names"] = np.array([b"w"])
        group.create_dataset("w", (1 << 40,), "f4", chunks=(1 << 10,), compression="gzip")
    size = path.stat().st_size
    assert _refused(path, LimitError) == (
        f"FILE: `model_weights/d/w` of shape [1099511627776] takes 4,398,046,511,104 bytes, but the file has {size:,}"
    )


def test_a_group_that_holds_itself_ends_nothing(tmp_path: Path) -> None:
    path = tmp_path / "x.weights.h5"
    with h5py.File(path, "w") as file:
        file["layers/dense/vars/0"] = np.zeros(2)
        file["layers/dense/again"] = file["layers"]
    model = formats.open_model(path)
    assert model.checkpoint is not None
    assert list(model.checkpoint.variables) == ["layers/dense/vars/0"]


@pytest.mark.parametrize(
    ("config", "kind", "message"),
    [
        ("[" * 100_000, LimitError, "FILE: `model_config` is JSON nested more than 200 deep"),
        ("[" * 300 + "]" * 300, InputError, "FILE: `model_config` holds a JSON list, an object was expected"),
        ('{"a":' * 300 + "1" + "}" * 300, LimitError, "FILE: `model_config` is JSON nested more than 200 deep"),
        ("{", InputError, "FILE: `model_config` is not JSON: expecting property name enclosed in double quotes at character 1"),
        ('{"a": ' + "9" * 5000 + "}", InputError, "FILE: `model_config` is not JSON: a number is too long"),
        ("null", InputError, "FILE: `model_config` holds a JSON null, an object was expected"),
        (json.dumps({"class_name": "Sequential", "config": [{}] * 20_001}), LimitError, "FILE has more than 20,000 layers"),
    ],
    ids=["endless", "list", "deep", "cut", "number", "null", "many"],
)  # fmt: skip
def test_hostile_json_gives_one_line(tmp_path: Path, config: str, kind: type, message: str) -> None:
    path = _h5(tmp_path / "x.h5", {})
    with h5py.File(path, "a") as file:
        file.attrs["model_config"] = config
    assert _refused(path, kind) == message
    archive = _archive(tmp_path / "x.keras", config)
    assert _refused(archive, kind) == message.replace("model_config", "config.json")


def test_models_nested_without_end_are_refused(tmp_path: Path) -> None:
    config: dict[str, Any] = {"class_name": "Dense", "config": {"name": "x"}}
    for _ in range(40):
        config = {"class_name": "Sequential", "config": {"name": "s", "layers": [config]}}
    assert _refused(_h5(tmp_path / "x.h5", {}, config), LimitError) == "FILE has more than 32 models in each other"


def test_odd_configurations_are_taken_as_they_are() -> None:
    for config in (
        {},
        {"class_name": 3, "config": 4},
        {
            "class_name": "Model",
            "config": {"layers": [1, None, {"config": None}, {"class_name": [], "config": {"name": 2}}]},
        },
        {"class_name": "Model", "config": {"layers": {"a": 1}, "input_layers": 7}},
        {
            "class_name": "Functional",
            "config": {
                "layers": [{"class_name": "InputLayer", "config": {"name": "i", "batch_shape": ["x", -1]}}],
                "input_layers": ["i", 0, 0],
            },
        },
    ):
        read = _keras_config.read_config("x", config)
        assert read.signature is None
        assert all(layer.name for layer in read.layers)


ODD: tuple[Any, ...] = (
    None, 1, -1, 1.5, True, "x", [], {}, [1], ["a", 0, 0], [[]], {"class_name": 1}, {"config": []}, 10**400,
    {"class_name": "__lambda__", "config": 3}, {"class_name": "Lambda", "config": {"function": [1]}},
    {"class_name": "__keras_tensor__", "config": {"keras_history": [[], 0]}},
)  # fmt: skip


def _places(value: Any) -> list[tuple[Any, Any]]:
    found, waiting = [], [value]
    while waiting:
        item = waiting.pop()
        keys = list(item) if isinstance(item, dict) else range(len(item)) if isinstance(item, list) else ()
        found += [(item, key) for key in keys]
        waiting += [item[key] for key in keys]
    return found


@pytest.mark.parametrize("seed", range(150))
def test_any_value_anywhere_in_a_configuration_is_survived(seed: int) -> None:
    rng = np.random.default_rng(seed)
    with zipfile.ZipFile(FIXTURES / "model.keras") as archive:
        config = json.loads(archive.read("config.json"))
    for _ in range(3):
        places = _places(config)
        item, key = places[int(rng.integers(len(places)))]
        item[key] = copy.deepcopy(ODD[int(rng.integers(len(ODD)))])
    read = _keras_config.read_config("x", config)
    for layer in read.layers:
        assert isinstance(layer.name, str)
        assert json.dumps(_keras_config.plain_settings(layer))
    compiled = config.get("compile_config")
    training = _keras_config.read_training(compiled if isinstance(compiled, dict) else config)
    assert all(isinstance(word, str) for word in keras_h5.training_words(training).values())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda f: f["model_weights"].__delitem__("d"), "FILE: the layer `d` is listed, but is not there"),
        (lambda f: f["model_weights/d"].__delitem__("w"), "FILE: the weight `model_weights/d/w` is listed, but is not there"),
        (
            lambda f: f["model_weights/d"].attrs.__setitem__("weight_names", np.array([b"w", b"w"])),
            "FILE: `model_weights/d` lists the weight `w` twice",
        ),
        (
            lambda f: f["model_weights"].attrs.__setitem__("layer_names", [1, 2]),
            "FILE: `layer_names` of `model_weights` holds integers of 8 bytes, names were expected",
        ),
        (
            lambda f: (f["model_weights/d"].__delitem__("w"), f["model_weights/d"].create_group("w")),
            "FILE: `model_weights/d/w` is a group, a weight was expected",
        ),
    ],
    ids=["layer", "weight", "twice", "names", "group"],
)  # fmt: skip
def test_files_that_contradict_themselves_are_refused(tmp_path: Path, change: Callable, message: str) -> None:
    path = _h5(tmp_path / "x.h5", {"d": {"w": np.zeros(2)}})
    with h5py.File(path, "a") as file:
        change(file)
    assert _refused(path) == message


def test_other_hdf5_files_are_told_from_keras_files(tmp_path: Path) -> None:
    path = tmp_path / "x.h5"
    with h5py.File(path, "w") as file:
        file["temperature"], file["wind"] = [1.0], [2.0]
        file.attrs["station"] = "north"
    assert _refused(path, UnknownFormatError).splitlines()[0] == "FILE is an HDF5 file, but not one of Keras"
    with pytest.raises(UnknownFormatError) as caught:
        formats.open_model(path)
    assert caught.value.hint == "in it: `temperature`, `wind`, `station`"
    for name in ("layers", "vars"):
        with h5py.File(path, "w") as file:
            file[name] = [1.0]
        with pytest.raises(UnknownFormatError, match="is an HDF5 file, but not one of Keras"):
            formats.open_model(path)


def test_truncated_fixtures_give_one_error(tmp_path: Path) -> None:
    for name in ("model.h5", "model.keras", "model.weights.h5"):
        data = (FIXTURES / name).read_bytes()
        path = tmp_path / name
        for size in [1, 8, 40, 100, 700, len(data) // 2, len(data) - 1]:
            path.write_bytes(data[:size])
            with pytest.raises(TfinspectError) as caught:
                formats.open_model(path)
            assert "\n" not in caught.value.message


def test_flipped_bits_raise_only_errors_of_ours(tmp_path: Path) -> None:
    rng = np.random.default_rng(5)
    for name in ("model.h5", "model.weights.h5"):
        data = (FIXTURES / name).read_bytes()
        path = tmp_path / name
        for at in rng.integers(0, len(data), 40).tolist():
            damaged = bytearray(data)
            damaged[at] ^= 1 << int(rng.integers(8))
            path.write_bytes(damaged)
            try:
                checkpoint = formats.open_model(path).checkpoint
                for key in checkpoint.variables if checkpoint is not None else ():
                    assert checkpoint.read(key) is not None  # type: ignore[union-attr]
            except TfinspectError as error:
                assert error.exit_status in (3, 4)  # noqa: PT017 - most bits are of no consequence


def test_listing_loads_no_array_library_and_no_loader() -> None:
    script = (
        "import sys\nfrom tfinspect.cli.app import run\nstatus = run(sys.argv[1:])\n"
        "heavy = {'numpy', 'h5py', 'keras', 'tensorflow', 'pickle'} & set(sys.modules)\n"
        "sys.exit(f'{status} {heavy}' if status or heavy else 0)\n"
    )
    for name in ("model.h5", "model.keras", "model.weights.h5"):
        done = subprocess.run(
            [sys.executable, "-c", script, "vars", str(FIXTURES / name)], check=False, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr
        assert "float32" in done.stdout


def test_json_is_measured_before_it_is_read() -> None:
    with pytest.raises(LimitError, match=r"`x` has 67,108,866 bytes of JSON, at most 67,108,864 are read"):
        _keras_json.load("f", "x", " " * ((64 << 20) + 2))
    with pytest.raises(InputError, match="`x` is not JSON: not UTF-8"):
        _keras_json.load("f", "x", b'{"a": "\xff"}')


@pytest.mark.tensorflow
def test_fixtures_are_what_their_script_writes(tmp_path: Path) -> None:
    subprocess.run(
        [sys.executable, str(ROOT / "fixtures" / "make_keras.py"), str(tmp_path)], check=True, capture_output=True
    )
    for name in ("model.h5", "model.keras", "model.weights.h5"):
        made, kept = (formats.open_model(p / name) for p in (tmp_path / "keras", FIXTURES))
        assert made.layers == kept.layers
        assert made.checkpoint is not None
        assert kept.checkpoint is not None
        assert made.checkpoint.variables == kept.checkpoint.variables
        for key in kept.checkpoint.variables:
            assert made.checkpoint.read(key).tobytes() == kept.checkpoint.read(key).tobytes()
