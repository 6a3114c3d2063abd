"""Labels and preprocessing go where the model goes, and every form of it says the same of a photo."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from tests.cli_calls import FIXTURES, ZOO, Caller
from tfinspect import formats
from tfinspect.api.cut import cut_file
from tfinspect.api.export_onnx import export_onnx
from tfinspect.api.export_saved_model import export_saved_model
from tfinspect.api.graft import graft_file
from tfinspect.api.labels import labels_beside
from tfinspect.api.predict import predict
from tfinspect.api.recipe import carried, recipe_beside
from tfinspect.api.trunk import open_trunk
from tfinspect.errors import InputError, OutputExistsError
from tfinspect.formats import onnx as onnx_format
from tfinspect.ir.refs import TensorRef
from tfinspect.learn.images import image_folder
from tfinspect.learn.preprocess import Recipe
from tfinspect.verify.verdict import Verdict

if TYPE_CHECKING:
    from pathlib import Path

    import numpy.typing as npt

TINY = FIXTURES / "inception_tiny.pb"
NECK = "pool_3/_reshape"
LABELS = ("daisy", "dandelion", "roses", "sunflowers", "tulips")
RECIPE = Recipe((75, 75), mean=(100.0, 110.0, 120.0), scale=(0.01,), bgr=True)
FLOWERS = ZOO / "flower_photos"
MOBILENET = ZOO / "frozen_pb" / "mobilenet_v1_025_128" / "frozen_graph.pb"
AVERAGE = "MobilenetV1/Logits/AvgPool_1a/AvgPool"


@pytest.fixture
def call(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Caller:
    caller = Caller(monkeypatch)
    monkeypatch.chdir(tmp_path)
    return caller


def head(path: Path, features: int = 32, made: object = None) -> Path:
    """Write a head that remembers what it was trained on."""
    random = np.random.default_rng(5)
    arrays: dict[str, Any] = {
        "weights": random.normal(size=(features, 5)).astype("f4"),
        "biases": random.normal(size=5).astype("f4"),
        "labels": np.array(LABELS),
    }
    if made is not None:
        arrays["made"] = np.array(json.dumps(made))
    np.savez(path, **arrays)
    return path


def made(**changes: object) -> dict[str, object]:
    return {"bottleneck": f"{NECK}:0", "preprocessing": RECIPE.to_json(), **changes}


def same(found: Recipe | None, wanted: Recipe) -> bool:
    """Whether two recipes do the same, wherever they are known from."""
    return found is not None and {**found.to_json(), "origin": ""} == {**wanted.to_json(), "origin": ""}


def test_graft_writes_what_the_head_remembers(call: Caller, tmp_path: Path) -> None:
    head(tmp_path / "head.npz", made=made())
    done = call("graft", TINY, "--bottleneck", NECK, "--head", "head.npz", "-o", "f.pb")
    assert done.status == 0
    assert "warning" not in done.err
    assert "wrote f.preprocess.json, how photos are prepared" in done.err
    assert labels_beside("f.pb") == LABELS
    assert same(recipe_beside("f.pb"), RECIPE)
    answer = call("graft", TINY, "--bottleneck", NECK, "--head", "head.npz", "-o", "f.pb", "-f", "--json").answer
    assert answer["preprocessing"] == {**RECIPE.to_json(), "origin": "model"}
    assert answer["warnings"] == []


def test_graft_doubts_a_head_of_another_tensor(call: Caller, tmp_path: Path) -> None:
    head(tmp_path / "head.npz", made=made(bottleneck="mixed/join:0"))
    done = call("graft", TINY, "--bottleneck", NECK, "--head", "head.npz", "-o", "f.pb")
    assert done.status == 0
    assert f"warning: the head was trained on features of `mixed/join:0`, not of `{NECK}:0`\n" in done.err
    head(tmp_path / "wide.npz", 33, made=made())
    done = call("graft", TINY, "--bottleneck", NECK, "--head", "wide.npz", "-o", "w.pb")
    assert (done.status, done.out) == (4, "")
    assert not (tmp_path / "w.pb").exists()


def test_graft_doubts_a_head_of_another_trunk(call: Caller, tmp_path: Path) -> None:
    sha256 = open_trunk(TINY, bottleneck=NECK).sha256
    head(tmp_path / "own.npz", made=made(trunk_sha256=sha256, trunk="old/tiny.pb"))
    cut_file(TINY, tmp_path / "trunk.pb", bottleneck=NECK)
    for trunk in (TINY, "trunk.pb"):  # a part that has it all is the same trunk
        done = call("graft", trunk, "--bottleneck", NECK, "--head", "own.npz", "-o", "f.pb", "-f")
        assert (done.status, "warning" in done.err) == (0, False)
    scaled = FIXTURES / "inception_scaled.pb"
    done = call("graft", scaled, "--bottleneck", NECK, "--head", "own.npz", "-o", "s.pb")
    assert done.status == 0
    assert "warning: the head was trained on features of another trunk (old/tiny.pb)\n" in done.err
    cut_file(TINY, tmp_path / "inner.pb", bottleneck=NECK, inputs=["conv[?,37,37,8]"])
    done = call("graft", "inner.pb", "--bottleneck", NECK, "--head", "own.npz", "-o", "i.pb")
    assert done.status == 0
    assert "warning: whether the head was trained on features of this trunk cannot be told" in done.err


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (made(preprocessing={"size": [1]}), "the head has no preprocessing as it is written here"),
        (made(preprocessing={**RECIPE.to_json(), "method": "magic"}), "the head has a preprocessing that is not known"),
        ([1], "`made` is not the JSON object that it should be"),
    ],
)
def test_a_head_that_remembers_nonsense_is_one_line(call: Caller, tmp_path: Path, content: object, words: str) -> None:
    head(tmp_path / "head.npz", made=content)
    done = call("graft", TINY, "--bottleneck", NECK, "--head", "head.npz", "-o", "f.pb")
    assert done.status == 3
    assert words in done.err.splitlines()[0]
    assert not (tmp_path / "f.pb").exists()


def test_what_stands_there_is_neither_overwritten_nor_taken_for_the_models_own(tmp_path: Path) -> None:
    output = tmp_path / "f.pb"
    place = tmp_path / "f.preprocess.json"
    place.write_text("mine")
    for found in (made(), {"bottleneck": NECK}):
        with pytest.raises(OutputExistsError, match=r"f\.preprocess\.json exists"):
            graft_file(TINY, output, bottleneck=NECK, head=head(tmp_path / "head.npz", made=found))
        assert (output.exists(), place.read_text()) == (False, "mine")
    graft_file(TINY, output, bottleneck=NECK, head=head(tmp_path / "head.npz", made=made()), force=True)
    assert same(recipe_beside(output), RECIPE)
    graft_file(TINY, output, bottleneck=NECK, head=head(tmp_path / "head.npz"), force=True)
    assert recipe_beside(output) is None  # that of the model it replaced is gone


def test_a_trunk_keeps_how_photos_reach_it(tmp_path: Path) -> None:
    graft_file(TINY, tmp_path / "f.pb", bottleneck=NECK, head=head(tmp_path / "head.npz", made=made()))
    done = cut_file(tmp_path / "f.pb", tmp_path / "trunk.pb", bottleneck=NECK)
    assert same(done.recipe, RECIPE)
    assert same(recipe_beside(tmp_path / "trunk.pb"), RECIPE)
    assert labels_beside(tmp_path / "trunk.pb") == ()
    cut_file(TINY, tmp_path / "plain.pb", bottleneck=NECK)
    assert recipe_beside(tmp_path / "plain.pb") is None  # its graph says it


def test_what_a_cut_takes_away_is_written_down(call: Caller, tmp_path: Path) -> None:
    done = call("cut", TINY, "--bottleneck", NECK, "--inputs", "Mul", "-o", "behind.pb")
    assert "wrote behind.preprocess.json" in done.err
    found = recipe_beside("behind.pb")
    assert found is not None
    assert (found.size, found.mean, found.scale) == ((75, 75), (128.0,), (pytest.approx(1 / 128),))
    cut_file(TINY, tmp_path / "inner.pb", bottleneck=NECK, inputs=["conv"])
    assert recipe_beside(tmp_path / "inner.pb") is None  # no photo goes in there


def test_a_recipe_is_kept_for_the_tensor_it_is_for() -> None:
    model = formats.open_model(TINY)
    neck = [TensorRef("pool_3/_reshape")]
    assert carried(model, neck, [TensorRef("DecodeJpeg/contents")]) is None
    at_pixels = carried(model, neck, [TensorRef("DecodeJpeg")])
    assert at_pixels is not None
    assert (at_pixels.size, at_pixels.method, at_pixels.mean, at_pixels.scale) == (None, "", (0.0,), (1.0,))
    behind = carried(model, neck, [TensorRef("Mul")])
    assert behind is not None
    assert behind.size == (75, 75)
    assert carried(model, neck, [TensorRef("conv")]) is None


def test_assets_are_not_read_through_links(tmp_path: Path) -> None:
    folder = tmp_path / "m"
    (folder / "assets").mkdir(parents=True)
    (tmp_path / "secret").write_text("root\n")
    (folder / "assets" / "labels.txt").symlink_to(tmp_path / "secret")
    (folder / "assets" / "preprocess.json").write_text(json.dumps(RECIPE.to_json()))
    with pytest.raises(InputError, match="symbolic link"):
        labels_beside(folder)
    assert same(recipe_beside(folder), RECIPE)
    assert same(recipe_beside(folder / "saved_model.pb"), RECIPE)


@pytest.mark.tensorflow
def test_exports_carry_both(tmp_path: Path) -> None:
    model = tmp_path / "f.pb"
    graft_file(TINY, model, bottleneck=NECK, head=head(tmp_path / "head.npz", made=made()))
    assert export_onnx(model, tmp_path / "pixels.onnx").verdict is Verdict.PASS
    assert export_onnx(model, tmp_path / "behind.onnx", inputs=["Mul:0"]).verdict is Verdict.PASS
    assert export_saved_model(model, tmp_path / "saved").verdict is Verdict.PASS
    for name, size in (("pixels", None), ("behind", [75, 75])):
        metadata = onnx_format.read(tmp_path / f"{name}.onnx").metadata
        assert tuple(json.loads(metadata["labels"])) == LABELS
        assert json.loads(metadata["preprocess"])["size"] == size
    assert labels_beside(tmp_path / "saved") == LABELS
    assert same(recipe_beside(tmp_path / "saved"), RECIPE)
    photo = FIXTURES / "photo.jpg"
    whole = predict(model, [photo]).predictions[0].top
    assert [s.label for s in whole] != [None] * 5
    for other in ("pixels.onnx", "behind.onnx", "saved"):
        found = predict(tmp_path / other, [photo]).predictions[0].top
        assert [s.label for s in found] == [s.label for s in whole]
        assert [s.probability for s in found] == pytest.approx([s.probability for s in whole], abs=1e-5)


# -- the flower model, on photos ---------------------------------------------------------------------------------------

FEATURES = """
import sys
import numpy as np, tensorflow as tf
graph, tensor, out, *photos = sys.argv[1:]
definition = tf.compat.v1.GraphDef.FromString(open(graph, "rb").read())
rows = []
with tf.Graph().as_default(), tf.compat.v1.Session() as session:
    (features,) = tf.import_graph_def(definition, return_elements=[tensor], name="")
    contents = tf.compat.v1.placeholder(tf.string)
    pixels = tf.cast(tf.io.decode_jpeg(contents, channels=3), tf.float32)
    resized = tf.compat.v1.image.resize_bilinear(pixels[None], [128, 128])
    ready = (resized - 127.5) / 127.5
    for photo in photos:
        values = session.run(ready, {contents: open(photo, "rb").read()})
        rows.append(session.run(features, {"input:0": values}).reshape(-1))
np.save(out, np.stack(rows))
"""


def train(features: npt.NDArray[Any], labels: npt.NDArray[Any]) -> dict[str, npt.NDArray[Any]]:
    """Fit a softmax by plain gradient descent."""
    weights, biases = np.zeros((features.shape[1], 5)), np.zeros(5)
    truth = np.eye(5)[labels]
    for _ in range(300):
        error = (numpy_head(features, weights, biases) - truth) / len(labels)
        weights -= 0.3 * features.T @ error
        biases -= 0.3 * error.sum(0)
    return {"weights": weights.astype("f4"), "biases": biases.astype("f4")}


def numpy_head(features: npt.NDArray[Any], weights: npt.NDArray[Any], biases: npt.NDArray[Any]) -> npt.NDArray[Any]:
    logits = features.astype("f8") @ weights + biases
    powers = np.exp(logits - logits.max(1, keepdims=True))
    return np.asarray(powers / powers.sum(1, keepdims=True))


@pytest.mark.tensorflow
@pytest.mark.skipif(not FLOWERS.exists(), reason="the collection of real models is not beside the repository")
def test_every_form_of_the_flower_model_says_what_trunk_and_head_say(tmp_path: Path) -> None:
    photos = image_folder(FLOWERS).files[::10]
    names = [photo.path for photo in photos]
    assert len(photos) >= 40
    assert {photo.label for photo in photos} == set(range(5))
    out = tmp_path / "features.npy"
    command = [sys.executable, "-c", FEATURES, str(MOBILENET), f"{AVERAGE}:0", str(out), *names]
    subprocess.run(command, check=True, capture_output=True)
    features = np.load(out)
    layer = train(features, np.array([photo.label for photo in photos]))
    wanted = numpy_head(features, **layer)
    recipe = Recipe((128, 128), mean=(127.5,), scale=(1 / 127.5,))
    remembered = {"bottleneck": f"{AVERAGE}:0", "preprocessing": recipe.to_json()}
    np.savez(tmp_path / "head.npz", **layer, labels=np.array(LABELS), made=np.array(json.dumps(remembered)))
    model = tmp_path / "flowers.pb"
    graft_file(MOBILENET, model, bottleneck=AVERAGE, head=tmp_path / "head.npz", name="flowers")
    assert export_onnx(model, tmp_path / "flowers.onnx", batch="dynamic").verdict is Verdict.PASS
    assert export_saved_model(model, tmp_path / "saved").verdict is Verdict.PASS
    for form in ("flowers.pb", "flowers.onnx", "saved"):
        done = predict(tmp_path / form, names, top=5)
        assert done.notes == ()
        assert [p.image for p in done.predictions] == names
        found = np.zeros((len(photos), 5))
        for row, prediction in enumerate(done.predictions):
            for score in prediction.top:
                assert score.label == LABELS[score.index]
                found[row, score.index] = score.probability
        assert np.array_equal(found.argmax(1), wanted.argmax(1)), form
        assert np.abs(found - wanted).max() < 2e-4, form
