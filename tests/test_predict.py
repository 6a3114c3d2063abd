"""`predict`: labels and probabilities, best first, whatever form the model and the photos have."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

from tests.cli_calls import FIXTURES, ZOO, Caller
from tfinspect import runtimes
from tfinspect.api.freeze import Options, freeze_file
from tfinspect.api.predict import predict
from tfinspect.errors import NameNotFoundError, OutputExistsError, UsageError
from tfinspect.learn.preprocess import Recipe
from tfinspect.learn.sheet import Cell, draw

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

TINY = FIXTURES / "inception_tiny.pb"
PHOTO = FIXTURES / "photo.jpg"
LABELS = ("red", "green", "blue")
COLOURS = {"red": (255, 0, 0), "green": (0, 255, 0), "blue": (0, 0, 255)}
GAIN = 2.0


@pytest.fixture
def call(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Caller:
    caller = Caller(monkeypatch)
    monkeypatch.chdir(tmp_path)
    return caller


def colour_model(
    path: Path,
    *,
    end: Sequence[str] = ("Softmax",),
    shape: Sequence[int | str] = ("n", 8, 8, 3),
    outputs: Sequence[str] = ("answer",),
    metadata: dict[str, str] | None = None,
    classes: int = 3,
    dtype: int = TensorProto.FLOAT,
) -> Path:
    """Write an ONNX model that says which colour channel is strongest: GAIN times the mean of each."""
    axes = [2, 3] if list(shape[1:2]) == [3] else [-3, -2]
    gain = np.eye(3, classes, dtype="f4") * GAIN
    nodes = [
        helper.make_node("Cast", ["x"], ["floats"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMean", ["floats"], ["means"], axes=axes, keepdims=0),
        helper.make_node("MatMul", ["means", "gain"], ["logits"]),
    ]
    last = "logits"
    for op in end:
        nodes.append(helper.make_node(op, [last], [op.lower()]))
        last = op.lower()
    nodes.append(helper.make_node("Identity", [last], ["answer"]))
    graph = helper.make_graph(
        nodes,
        "colours",
        [helper.make_tensor_value_info("x", dtype, list(shape))],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs],
        [numpy_helper.from_array(gain, "gain")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    helper.set_model_props(model, {"labels": json.dumps(LABELS)} if metadata is None else metadata)
    onnx.save(model, str(path))
    return path


def photo(path: Path, colour: str = "red", size: tuple[int, int] = (8, 8)) -> Path:
    """Write a photo of one colour."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, COLOURS[colour]).save(path)
    return path


def softmax(values: npt.NDArray[Any]) -> npt.NDArray[Any]:
    powers = np.exp(values - values.max())
    return np.asarray(powers / powers.sum())


SURE = softmax(GAIN * np.array([1.0, -1.0, -1.0]))


def test_labels_and_probabilities_best_first(tmp_path: Path) -> None:
    model = colour_model(tmp_path / "m.onnx")
    photos = [photo(tmp_path / f"{name}.png", name) for name in ("blue", "red", "green")]
    done = predict(model, photos, top=2)
    assert [p.image for p in done.predictions] == [str(p) for p in photos]
    assert [p.top[0].label for p in done.predictions] == ["blue", "red", "green"]
    assert [len(p.top) for p in done.predictions] == [2, 2, 2]
    assert [(s.index, s.probability) for s in done.predictions[0].top] == [
        (2, pytest.approx(SURE[0])), (0, pytest.approx(SURE[1]))
    ]  # fmt: skip
    assert (done.classes, done.output, done.labels, done.skipped) == (3, "answer", LABELS, ())
    assert done.runtime.startswith("onnxruntime ")


def test_a_pipe_gets_full_values(call: Caller, tmp_path: Path) -> None:
    colour_model(tmp_path / "m.onnx")
    photo(tmp_path / "a\tb.png", "green")
    done = call("predict", "m.onnx", "a\tb.png")
    assert done.status == 0
    assert [row[:3] for row in done.rows] == [
        ["a\\tb.png", "1", "green"], ["a\\tb.png", "2", "red"], ["a\\tb.png", "3", "blue"]
    ]  # fmt: skip
    assert float(done.rows[0][3]) == pytest.approx(SURE[0], rel=1e-6)
    assert len(done.rows[0][3]) > 8


SCREEN = """\
blue.png
  blue         96.5 %  ███████████████████████▏
  red           1.8 %  ▍
sub/red.png
  red          96.5 %  ███████████████████████▏
  green         1.8 %  ▍
"""


def test_a_terminal_gets_bars(call: Caller, tmp_path: Path) -> None:
    colour_model(tmp_path / "m.onnx")
    photo(tmp_path / "blue.png", "blue")
    photo(tmp_path / "sub" / "red.png", "red")
    done = call("predict", "m.onnx", "blue.png", "sub", "--top", "2", tty=True)
    assert done.out == SCREEN
    assert "-1 to 1 is assumed" in done.err


def test_json(call: Caller, tmp_path: Path) -> None:
    colour_model(tmp_path / "m.onnx")
    photo(tmp_path / "blue.png", "blue")
    answer = call("predict", "m.onnx", "blue.png", "gone.png", "--top", "1", "--json").answer
    assert answer["schema"] == "tfinspect/predict/1"
    assert answer["model"] == "m.onnx"
    assert answer["predictions"] == [
        {"image": "blue.png", "top": [{"label": "blue", "index": 2, "probability": pytest.approx(SURE[0])}]}
    ]
    assert answer["skipped"] == [{"image": "gone.png", "reason": "gone.png does not exist"}]
    assert answer["preprocessing"]["origin"] == "assumed"
    assert answer["preprocessing"]["size"] == [8, 8]
    assert answer["runtime"].startswith("onnxruntime")


# -- what is done to pixels --------------------------------------------------------------------------------------------


def test_what_is_recorded_is_done_and_what_is_given_comes_first(tmp_path: Path) -> None:
    recipe = Recipe((8, 8), mean=(0.0,), scale=(1 / 255,))
    metadata = {"preprocess": json.dumps(recipe.to_json()), "labels": json.dumps(LABELS)}
    model = colour_model(tmp_path / "m.onnx", metadata=metadata)
    red = photo(tmp_path / "red.png", size=(31, 17))
    done = predict(model, [red])
    assert done.preprocessing is not None
    assert (done.preprocessing.origin, done.preprocessing.scale) == ("model", (1 / 255,))
    assert done.notes == ()
    assert done.predictions[0].top[0].probability == pytest.approx(softmax(GAIN * np.array([1, 0, 0]))[0])
    other = predict(model, [red], mean=[255.0], scale=[1 / 255], bgr=True)
    assert other.preprocessing is not None
    assert other.preprocessing.origin == "given"
    assert other.predictions[0].top[0].label == "blue"
    assert other.predictions[0].top[0].probability == pytest.approx(softmax(GAIN * np.array([-1, -1, 0]))[2])


def test_assumed_scaling_is_said_once(call: Caller, tmp_path: Path) -> None:
    colour_model(tmp_path / "m.onnx")
    for number in range(40):
        photo(tmp_path / "all" / f"{number}.png")
    done = call("predict", "m.onnx", "all", "--top", "1")
    assert done.err.count("assumed") == 1
    assert len(done.rows) == 40


def test_a_size_that_nothing_says_must_be_given(tmp_path: Path) -> None:
    model = colour_model(tmp_path / "m.onnx", shape=("n", "h", "w", 3))
    red = photo(tmp_path / "red.png")
    with pytest.raises(UsageError, match="does not say what size of images `x` takes") as caught:
        predict(model, [red])
    assert caught.value.hint == "give it: --size 224 or --size 224x224"
    assert predict(model, [red], size=(4, 6)).predictions[0].top[0].label == "red"


@pytest.mark.parametrize("size", ["0", "3x", "x3", "a", "3x4x5", "-1", "1e2"])
def test_sizes_are_checked(call: Caller, size: str) -> None:
    done = call("predict", "m.onnx", "a.png", f"--size={size}")
    assert (done.status, done.out) == (2, "")
    assert done.err.splitlines()[0] == f"error: `--size` takes 224 or HEIGHTxWIDTH as 192x256, not `{size}`"


def test_channels_first_single_images_and_bytes_of_pixels(tmp_path: Path) -> None:
    red = photo(tmp_path / "red.png", size=(9, 7))
    first = predict(colour_model(tmp_path / "first.onnx", shape=(1, 3, 8, 8)), [red, red])
    assert [p.top[0].probability for p in first.predictions] == [pytest.approx(SURE[0])] * 2
    single = predict(colour_model(tmp_path / "single.onnx", shape=(8, 8, 3)), [red])
    assert single.predictions[0].top[0].probability == pytest.approx(SURE[0])
    model = colour_model(tmp_path / "pixels.onnx", shape=("h", "w", 3), dtype=TensorProto.UINT8, end=())
    pixels = predict(model, [red])
    assert pixels.preprocessing is not None
    assert (pixels.preprocessing.size, pixels.preprocessing.mean, pixels.preprocessing.origin) == (None, (0,), "graph")
    assert pixels.predictions[0].top[0].probability == 1.0  # a softmax over 510, 0 and 0


def test_png_gif_bmp_and_webp(tmp_path: Path) -> None:
    model = colour_model(tmp_path / "m.onnx")
    names = [str(tmp_path / f"a.{kind}") for kind in ("png", "gif", "bmp", "webp", "jpg")]
    for name in names:
        image = Image.new("RGB", (8, 8), COLOURS["blue"])
        image.save(name, **({"lossless": True} if name.endswith("webp") else {}))
    done = predict(model, names, top=1)
    assert [(p.image, p.top[0].label) for p in done.predictions] == [(name, "blue") for name in names]
    assert [p.top[0].probability for p in done.predictions] == [pytest.approx(SURE[0], rel=1e-2)] * 5


# -- what comes out ----------------------------------------------------------------------------------------------------


def test_logits_become_probabilities_and_that_is_said(tmp_path: Path) -> None:
    red = photo(tmp_path / "red.png")
    done = predict(colour_model(tmp_path / "m.onnx", end=()), [red, red])
    assert done.predictions[1].top[0].probability == pytest.approx(SURE[0])
    assert "`answer` is what feeds a softmax, not its result: softmax is applied" in done.notes


@pytest.mark.parametrize(
    ("end", "wanted"),
    [(("Sigmoid",), 1 / (1 + np.exp(-GAIN))), (("LogSoftmax",), SURE[0]), (("Softmax",), SURE[0])],
)
def test_other_endings(tmp_path: Path, end: tuple[str, ...], wanted: float) -> None:
    done = predict(colour_model(tmp_path / "m.onnx", end=end), [photo(tmp_path / "red.png")])
    assert done.predictions[0].top[0].probability == pytest.approx(wanted)
    assert not any("softmax" in note for note in done.notes)


def test_one_number_is_shown_as_it_is(call: Caller, tmp_path: Path) -> None:
    colour_model(tmp_path / "m.onnx", end=(), classes=1, metadata={})
    photo(tmp_path / "red.png")
    done = call("predict", "m.onnx", "red.png", "--json")
    assert done.answer["predictions"][0]["top"] == [{"label": None, "index": 0, "value": pytest.approx(GAIN)}]
    assert call("predict", "m.onnx", "red.png", tty=True).out == "red.png\n  0           2\n"


def test_two_labels_for_one_sigmoid(tmp_path: Path) -> None:
    metadata = {"labels": json.dumps(["other", "red"])}
    model = colour_model(tmp_path / "m.onnx", end=("Sigmoid",), classes=1, metadata=metadata)
    (found,) = predict(model, [photo(tmp_path / "red.png")]).predictions
    share = 1 / (1 + np.exp(-GAIN))
    assert [(s.label, s.probability) for s in found.top] == [
        ("red", pytest.approx(share)), ("other", pytest.approx(1 - share))
    ]  # fmt: skip


def test_outputs_are_chosen_by_name(tmp_path: Path) -> None:
    model = colour_model(tmp_path / "m.onnx", outputs=("answer", "logits"))
    red = photo(tmp_path / "red.png")
    with pytest.raises(UsageError, match="has 2 outputs") as caught:
        predict(model, [red])
    assert [line.split()[0] for line in caught.value.details] == ["answer", "logits"]
    assert caught.value.hint == "choose the probabilities: --outputs answer"
    assert predict(model, [red], outputs=["logits"]).output == "logits"
    assert predict(model, [red], outputs=["softmax"]).output == "softmax"  # an inner tensor
    with pytest.raises(NameNotFoundError, match="no output `anwser`") as missing:
        predict(model, [red], outputs=["anwser"])
    assert "answer" in missing.value.near
    with pytest.raises(UsageError, match="one tensor is expected at --outputs, not 2"):
        predict(model, [red], outputs=["answer", "logits"])


def test_values_that_are_not_finite_are_no_prediction(tmp_path: Path) -> None:
    model = colour_model(tmp_path / "m.onnx", end=("Neg", "Sqrt"), metadata={})
    done = predict(model, [photo(tmp_path / "red.png")])
    assert done.predictions == ()
    assert done.skipped[0].reason.endswith("red.png values that are not finite")


def test_strings_and_nothing_are_no_classes(tmp_path: Path) -> None:
    model = colour_model(tmp_path / "m.onnx", shape=("n", 8, 8, 3), outputs=("answer", "shape"), metadata={})
    found = onnx.load(model)
    found.graph.node.append(helper.make_node("Shape", ["x"], ["shape"]))
    found.graph.output[1].CopyFrom(helper.make_tensor_value_info("shape", TensorProto.INT64, [4]))
    empty = helper.make_node("Slice", ["answer", "start", "start"], ["nothing"])
    found.graph.node.append(empty)
    found.graph.initializer.append(numpy_helper.from_array(np.zeros(2, "i8"), "start"))
    onnx.save(found, model)
    red = photo(tmp_path / "red.png")
    assert predict(model, [red]).output == "answer"  # the only one of floats
    with pytest.raises(UsageError, match="`nothing` gives nothing for a photo"):
        predict(model, [red], outputs=["nothing"])


@pytest.mark.parametrize(
    ("change", "status", "words"),
    [
        ({"size": [60000, 60000]}, 2, "takes ?x8x8x3, not images of 60000 x 60000"),
        ({"mean": [1, 2]}, 3, "has a preprocessing that is not known here"),
        ({"channels": 1}, 2, "takes 3 channels, its recorded preprocessing is for 1"),
        ({"size": [0, 4]}, 3, "has a preprocessing that is not known here"),
        ({"size": 4}, 3, "has no preprocessing as it is written here"),
    ],
)
def test_a_recorded_recipe_that_cannot_be_is_one_line(
    call: Caller, tmp_path: Path, change: dict[str, object], status: int, words: str
) -> None:
    recipe = {**Recipe((8, 8)).to_json(), **change}
    colour_model(tmp_path / "m.onnx", metadata={"preprocess": json.dumps(recipe)})
    photo(tmp_path / "red.png")
    done = call("predict", "m.onnx", "red.png")
    assert (done.status, done.out) == (status, "")
    assert words in done.err.splitlines()[0]
    assert len(done.err.splitlines()) == 1


def test_images_larger_than_any_network_takes_are_refused(call: Caller, tmp_path: Path) -> None:
    colour_model(tmp_path / "m.onnx", shape=("n", "h", "w", 3))
    photo(tmp_path / "red.png")
    done = call("predict", "m.onnx", "red.png", "--size", "60000")
    assert (done.status, done.out) == (4, "")
    assert "more than 16,777,216 pixels are not made" in done.err


# -- labels ------------------------------------------------------------------------------------------------------------


def test_labels_must_be_as_many_as_classes(call: Caller, tmp_path: Path) -> None:
    colour_model(tmp_path / "m.onnx")
    photo(tmp_path / "red.png")
    (tmp_path / "two.txt").write_text("a\nb\n")
    done = call("predict", "m.onnx", "red.png", "--labels", "two.txt")
    assert (done.status, done.out) == (2, "")
    assert done.err.splitlines()[-1] == "error: 2 labels do not fit 3 classes"


def test_labels_from_a_file_beside_and_without_any(call: Caller, tmp_path: Path) -> None:
    colour_model(tmp_path / "m.onnx", metadata={})
    photo(tmp_path / "red.png")
    assert call("predict", "m.onnx", "red.png", "--top", "1").rows[0][2] == "0"
    (tmp_path / "m.labels.txt").write_text("0:rose\n1:leaf\n2:sky\n\n")
    assert call("predict", "m.onnx", "red.png", "--top", "1").rows[0][2] == "rose"
    (tmp_path / "mine.txt").write_text("R\nG\nB\n")
    assert call("predict", "m.onnx", "red.png", "--top", "1", "--labels", "mine.txt").rows[0][2] == "R"


@pytest.mark.parametrize("text", ["[1, 2, 3]", "{", '{"a": 1}'])
def test_labels_of_another_making_are_one_line(call: Caller, tmp_path: Path, text: str) -> None:
    colour_model(tmp_path / "m.onnx", metadata={"labels": text})
    photo(tmp_path / "red.png")
    done = call("predict", "m.onnx", "red.png")
    assert (done.status, done.err) == (3, "error: m.onnx has labels that are no JSON list of texts\n")


# -- photos that are none ----------------------------------------------------------------------------------------------


def test_a_broken_photo_is_named_and_the_rest_is_done(call: Caller, tmp_path: Path) -> None:
    colour_model(tmp_path / "m.onnx")
    for number in range(3):
        photo(tmp_path / "in" / f"{number}.png")
    (tmp_path / "in" / "1.png").write_bytes((tmp_path / "in" / "1.png").read_bytes()[:40])
    (tmp_path / "in" / "2.jpg").write_bytes(b"")
    (tmp_path / "in" / "notes.txt").write_text("no photo")
    (tmp_path / "in" / ".hidden.png").write_bytes(b"")
    done = call("predict", "m.onnx", "in", "--top", "1")
    assert done.status == 3
    assert [row[0] for row in done.rows] == ["in/0.png", "in/2.png"]
    warnings = [line for line in done.err.splitlines() if line.startswith("warning:")]
    assert len(warnings) == 2
    assert warnings[0].startswith("warning: in/1.png is a damaged PNG image")
    assert warnings[1] == "warning: in/2.jpg is empty (0 bytes)"
    assert "2 photos of 4 left out" in done.err


def test_no_photos_at_all(call: Caller, tmp_path: Path) -> None:
    colour_model(tmp_path / "m.onnx")
    (tmp_path / "none").mkdir()
    done = call("predict", "m.onnx", "none")
    assert (done.status, done.out) == (2, "")
    assert done.err.splitlines()[0] == "error: none is a folder without images"
    assert call("predict", "m.onnx").status == 2
    done = call("predict", "m.onnx", "gone.png", "none")
    assert (done.status, done.out) == (3, "")
    assert done.err == "error: gone.png does not exist\n       none is a folder without images\n"


@pytest.mark.parametrize("top", ["0", "-3"])
def test_top_is_a_number_from_one(call: Caller, top: str) -> None:
    done = call("predict", "m.onnx", "a.png", f"--top={top}")
    assert (done.status, done.err) == (2, f"error: --top takes a number from 1 on, not {top}\n")


def test_models_that_take_no_photos(call: Caller, tmp_path: Path) -> None:
    photo(tmp_path / "red.png")
    done = call("predict", colour_model(tmp_path / "m.onnx", shape=(3, 3)), "red.png")
    assert done.status == 2
    assert done.err.splitlines()[0].endswith("m.onnx takes no images")
    done = call("predict", FIXTURES / "head.npz", "red.png")
    assert done.status == 3
    done = call("predict", "gone.pb", "red.png")
    assert done.status == 3


# -- the contact sheet -------------------------------------------------------------------------------------------------


def test_the_sheet_has_a_card_for_each_photo(call: Caller, tmp_path: Path) -> None:
    colour_model(tmp_path / "m.onnx")
    photo(tmp_path / "in" / "red" / "1.png", "red")
    photo(tmp_path / "in" / "green" / "1.png", "red")  # wrong
    photo(tmp_path / "in" / "else" / "1.png", "blue")  # its folder is no class
    done = call("predict", "m.onnx", "in", "--sheet", "s.png", "-q")
    assert done.status == 0
    with Image.open(tmp_path / "s.png") as sheet:
        assert sheet.format == "PNG"
        colours = {colour for _, colour in (sheet.convert("RGB").getcolors(1 << 20) or [])}
    assert {(255, 0, 0), (0, 0, 255)} <= colours  # the photos
    assert {(0x1A, 0x7F, 0x37), (0xCF, 0x22, 0x2E), (0x3B, 0x6E, 0xA8)} <= colours  # right, wrong, not known
    assert sorted(p.name for p in tmp_path.iterdir()) == ["in", "m.onnx", "s.png"]


def test_long_labels_many_cards_and_no_cards(tmp_path: Path) -> None:
    names = [str(photo(tmp_path / f"{number}.png", size=(40 * number + 1, 30))) for number in range(13)]
    cells = [Cell(name, "a label of many words, and then some" * 9, 0.5, None) for name in names]
    with Image.open(io.BytesIO(draw(cells, title="t\nt\x1b", count=400))) as sheet:
        assert sheet.size == (24 * 2 + 5 * 230 - 14, 64 + 24 + 3 * 244 - 14)
    with Image.open(io.BytesIO(draw([], title=""))) as sheet:
        assert sheet.size[0] > 400


def test_a_sheet_is_refused_before_anything_runs(call: Caller, tmp_path: Path) -> None:
    model = colour_model(tmp_path / "m.onnx")
    red = photo(tmp_path / "red.png")
    (tmp_path / "s.png").write_bytes(b"mine")
    done = call("predict", "m.onnx", "red.png", "--sheet", "s.png")
    assert (done.status, done.out) == (5, "")
    assert (tmp_path / "s.png").read_bytes() == b"mine"
    with pytest.raises(OutputExistsError):
        predict(model, [red], sheet=tmp_path / "s.png")
    assert call("predict", "m.onnx", "red.png", "--sheet", "s.jpg").status == 2
    assert call("predict", "m.onnx", "red.png", "--sheet", "no/s.png").status == 5
    assert call("predict", "m.onnx", "red.png", "--sheet", "s.png", "-f").status == 0
    assert (tmp_path / "s.png").read_bytes()[:4] == b"\x89PNG"


# -- graphs, in TensorFlow ---------------------------------------------------------------------------------------------


def tiny_says(feeds: dict[str, Any]) -> npt.NDArray[Any]:
    with runtimes.tensorflow_graph(TINY) as runner:
        return runner.run(["softmax:0"], feeds)[0][0]


@pytest.mark.tensorflow
def test_jpeg_goes_in_as_bytes_and_all_else_as_pixels(tmp_path: Path) -> None:
    image = Image.open(PHOTO)
    image.save(tmp_path / "a.png")
    animation = [Image.new("RGB", (20, 10), COLOURS[name]) for name in ("red", "blue")]
    animation[0].save(tmp_path / "a.gif", save_all=True, append_images=animation[1:])
    image.convert("CMYK").save(tmp_path / "cmyk.jpg")
    names = [PHOTO, *(tmp_path / name for name in ("a.png", "a.gif", "cmyk.jpg"))]
    done = predict(TINY, names, top=8)
    assert done.skipped == ()
    answers = {Path(p.image).name: {s.index: s.probability for s in p.top} for p in done.predictions}
    wanted = {
        "photo.jpg": {"DecodeJpeg/contents:0": np.array(PHOTO.read_bytes(), object)},
        "a.png": {"DecodeJpeg:0": np.asarray(image)},
        "a.gif": {"DecodeJpeg:0": np.asarray(animation[0])},
    }
    for name, feeds in wanted.items():
        expected = tiny_says(feeds)
        assert [answers[name][i] for i in range(8)] == pytest.approx(expected.tolist(), rel=1e-5)
    assert set(answers) == {*wanted, "cmyk.jpg"}
    assert all(s.label is None for p in done.predictions for s in p.top)


@pytest.mark.tensorflow
def test_behind_the_graphs_own_preprocessing_the_same_is_done_outside() -> None:
    whole, behind = (predict(TINY, [PHOTO], top=8, inputs=names) for names in ((), ["Mul:0"]))
    assert behind.preprocessing is not None
    assert (behind.preprocessing.origin, behind.preprocessing.mean) == ("graph", (128.0,))
    values = [{s.index: s.probability for s in done.predictions[0].top} for done in (whole, behind)]
    assert [values[0][i] for i in range(8)] == pytest.approx([values[1][i] for i in range(8)], rel=1e-4)
    with pytest.raises(UsageError, match="prepares their pixels itself: --mean cannot be used"):
        predict(TINY, [PHOTO], mean=[1.0])


CIFAR = ZOO / "ckpt_v2_meta" / "mlnet_cifar"


@pytest.mark.tensorflow
@pytest.mark.skipif(not CIFAR.exists(), reason="the collection of real models is not beside the repository")
def test_a_checkpoint_with_its_graph_says_what_the_frozen_one_says(tmp_path: Path) -> None:
    freeze_file(CIFAR, tmp_path / "frozen.pb", options=Options(["add_1"]))
    first, second = (predict(model, [PHOTO], top=10, outputs=["add_1"]) for model in (CIFAR, tmp_path / "frozen.pb"))
    assert first.classes == 10
    assert "`add_1:0` is what feeds a softmax, not its result: softmax is applied" in first.notes
    assert [s.index for s in first.predictions[0].top] == [s.index for s in second.predictions[0].top]
    assert [s.probability for s in first.predictions[0].top] == pytest.approx(
        [s.probability for s in second.predictions[0].top], rel=1e-5
    )


def test_graphs_that_take_other_things_than_photos(call: Caller) -> None:
    done = call("predict", FIXTURES / "retrained" / "retrained.ckpt.meta", PHOTO)
    assert (done.status, done.err.splitlines()[-1]) == (2, "hint: choose: --outputs final_result:0")
    done = call("predict", FIXTURES / "training" / "model.ckpt-3", PHOTO)
    assert (done.status, done.out) == (2, "")
    assert done.err.startswith("error: `queue_Dequeue:0` takes strings, and nothing behind it decodes images\n")
    done = call("predict", FIXTURES / "hub_module", PHOTO)
    assert done.err.startswith("error: `default` takes strings, and nothing behind it decodes images\n")
    assert call("predict", FIXTURES / "graph.pbtxt", PHOTO).err.startswith("error: no input takes images\n")
    done = call("predict", TINY, PHOTO, "--outputs", "sofmax")
    assert done.status == 2
    assert "softmax" in done.err


def test_pixels_survive_a_detour_over_png() -> None:
    from tfinspect.learn.images import decode, encode_png

    pixels = np.random.default_rng(0).integers(0, 256, (5, 7, 3)).astype("u1")
    assert np.array_equal(decode(encode_png(pixels), "a.png"), pixels)
    assert np.array_equal(decode(encode_png(pixels[..., :1]), "a.png", channels=1), pixels[..., :1])
    with Image.open(io.BytesIO(encode_png(pixels))) as image:
        assert image.format == "PNG"
