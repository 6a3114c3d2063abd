"""`tfinspect demo`: the drawn flowers, the trunk that is shipped, and the story told on them."""

from __future__ import annotations

import contextlib
import io
import os
import re
import runpy
import signal
import subprocess
import sys
import tempfile
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

import numpy as np
import pytest
from PIL import Image

from tests.cli_calls import FIXTURES, ROOT, Caller
from tfinspect import demo as package
from tfinspect.api import demo
from tfinspect.api.demo import Outcome, Step
from tfinspect.api.info import info
from tfinspect.demo.flowers import FLOWERS, photo
from tfinspect.learn.split import split_of

if TYPE_CHECKING:
    from collections.abc import Iterator

WELL = Outcome(
    test_accuracy=0.9, new_accuracy=0.95, deviation=1e-7, same_labels=True, test_photos=30, new_photos=20
)  # fmt: skip


@pytest.fixture
def call(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Caller:
    caller = Caller(monkeypatch)
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    monkeypatch.chdir(tmp_path)
    return caller


def tell(monkeypatch: pytest.MonkeyPatch, *steps: Step, outcome: Outcome = WELL) -> None:
    """Make the story a short one, of commands that cost nothing."""
    monkeypatch.setattr(demo.runtimes, "warm", lambda *_: None)
    monkeypatch.setattr(demo, "lay_out", partial(demo.lay_out, photos=1, new=0))
    monkeypatch.setattr(demo, "steps", lambda *, finetune: steps)
    monkeypatch.setattr(demo, "judge", lambda folder: outcome)


INFO = Step(("nodes", "patterns.pb", "--only", "inputs"), "what goes in")


# -- the flowers --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("flower", FLOWERS)
def test_a_photo_is_the_same_for_the_same_seed_and_another_for_another(flower: str) -> None:
    first = photo(flower, 7)
    assert first == photo(flower, 7)
    assert len({photo(flower, seed) for seed in range(3)}) == 3
    with Image.open(io.BytesIO(first)) as image:
        assert image.format == "JPEG"
        assert image.mode == "RGB"
        assert 88 <= min(image.size) <= max(image.size) <= 120


def test_photos_of_one_flower_differ_in_size_and_light() -> None:
    images = [Image.open(io.BytesIO(photo("daisy", seed))) for seed in range(10)]
    assert len({image.size for image in images}) > 2
    assert np.std([np.asarray(image).mean() for image in images]) > 10


def test_every_flower_has_photos_in_every_part(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    parts: dict[str, set[str]] = {flower: set() for flower in FLOWERS}
    for flower in FLOWERS:
        for seed in range(demo.PHOTOS):
            parts[flower].add(split_of(f"{flower}/{flower}_{seed + 1:03}.jpg"))
    assert all(found == {"train", "validation", "test"} for found in parts.values())


# -- the trunk ----------------------------------------------------------------------------------------------------------


def test_the_trunk_is_small_and_cut_where_the_story_says() -> None:
    assert package.TRUNK.stat().st_size < 400_000
    found = info(package.TRUNK).graph
    assert found is not None
    assert str(found.bottlenecks[0].ref) == f"{package.BOTTLENECK}:0"
    assert [str(each.ref) for each in found.inputs] == ["DecodeJpeg/contents:0"]
    assert [str(each.ref) for each in found.outputs] == ["softmax:0"]


@pytest.mark.tensorflow
def test_the_trunk_knows_the_patterns_it_was_trained_on() -> None:
    """Its weights are trained: of patterns it has not seen it names most; a random network would one in twenty."""
    from tfinspect import runtimes

    script: dict[str, Any] = runpy.run_path(str(FIXTURES / "make_demo_trunk.py"))
    images, labels = script["patterns"](200, 99)
    right = 0
    with runtimes.tensorflow_graph(package.TRUNK) as runner:
        for pixels, label in zip(images, labels, strict=True):
            (probabilities,) = runner.run(["softmax:0"], {"DecodeJpeg:0": pixels})
            right += int(np.argmax(probabilities) == label)
    assert right > 130


# -- the folder ---------------------------------------------------------------------------------------------------------


def test_the_folder_must_be_new_or_empty(call: Caller, tmp_path: Path) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.txt").write_text("mine")
    done = call("demo", "-o", "full")
    assert (done.status, done.out) == (5, "")
    assert done.err == "error: full is not empty\n\nhint: give another name after -o\n"
    assert (tmp_path / "full" / "mine.txt").read_text() == "mine"
    (tmp_path / "file").write_text("")
    assert call("demo", "-o", "file").err.splitlines()[0] == "error: file is not a folder"
    done = call("demo", "-o", "no/where")
    assert done.status == 5
    assert done.err == "error: no/where cannot be made: No such file or directory\n"


def test_an_empty_folder_is_taken(call: Caller, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tell(monkeypatch, INFO)
    (tmp_path / "mine").mkdir()
    assert call("demo", "-o", "mine").status == 0
    assert {path.name for path in (tmp_path / "mine").iterdir()} == {"patterns.pb", "photos"}
    assert len(list((tmp_path / "mine" / "photos").rglob("*.jpg"))) == len(FLOWERS)
    assert list((tmp_path / "temporary").iterdir()) == []


def test_without_a_name_a_temporary_folder_is_made_and_kept(
    call: Caller, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tell(monkeypatch, INFO)
    done = call("demo")
    assert done.status == 0
    (folder,) = (tmp_path / "temporary").iterdir()
    assert (folder / "patterns.pb").read_bytes() == package.TRUNK.read_bytes()
    assert done.rows[-1][:2] == ["folder", str(folder)]


def test_a_full_disk(call: Caller, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tell(monkeypatch, INFO)

    def full(self: Path, data: bytes) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    done = call("demo", "-o", "mine")
    assert done.status == 5
    assert done.err == "error: mine cannot be written: No space left on device\n"
    assert not (tmp_path / "mine").exists()


# -- how it is told -----------------------------------------------------------------------------------------------------


def test_each_command_is_shown_before_its_answer(call: Caller, monkeypatch: pytest.MonkeyPatch) -> None:
    tell(monkeypatch, INFO)
    done = call("demo", tty=True)
    assert done.out.startswith("\n# what goes in\n$ tfinspect nodes patterns.pb --only inputs\nNAME ")
    assert "DecodeJpeg/contents" in done.out
    assert "  test        90.0%   of 30 test photos named rightly\n" in done.out
    assert "  ONNX        1.0e-07   most a probability differs; the labels are the same\n" in done.out


def test_quiet_leaves_the_commands_out(call: Caller, monkeypatch: pytest.MonkeyPatch) -> None:
    tell(monkeypatch, INFO)
    done = call("demo", "-q")
    assert done.err == ""
    assert [row[0] for row in done.rows] == ["test", "new", "ONNX", "seconds", "folder"]


def test_json_holds_the_answer_of_each_command(call: Caller, monkeypatch: pytest.MonkeyPatch) -> None:
    tell(monkeypatch, INFO)
    answer = call("demo", "--json").answer
    assert answer["schema"] == "tfinspect/demo/1"
    assert answer["metrics"]["test"] == {"accuracy": 0.9, "count": 30}
    assert answer["failures"] == []
    (step,) = answer["steps"]
    assert step["command"] == "tfinspect nodes patterns.pb --only inputs"
    assert step["answer"]["schema"] == "tfinspect/nodes/1"
    assert step["answer"]["nodes"][0]["name"] == "DecodeJpeg/contents"


def test_a_command_that_fails_ends_the_story(call: Caller, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tell(monkeypatch, Step(("info", "nothing.pb"), "a mistake"), INFO)
    done = call("demo", "-o", "mine")
    assert done.status == 3
    assert "nodes" not in done.out
    assert done.err.splitlines()[1].startswith("error: nothing.pb ")
    last = "the story ends at `tfinspect info nothing.pb`; what there is until now is in mine"
    assert done.err.splitlines()[-1] == last
    assert (tmp_path / "mine" / "patterns.pb").exists()
    failed = call("demo", "--json", "-o", "other")
    assert failed.status == 3
    assert failed.error["slug"] == "file-missing"
    assert call("demo", "--json").status == call("demo", "-q").status == 3
    assert list((tmp_path / "temporary").iterdir()) == []  # nobody was told where they are


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"test_accuracy": 0.5}, "only 50.0% of the test photos were named rightly, not 80%"),
        ({"new_accuracy": 0.25}, "only 25.0% of the new photos were named rightly, not 60%"),
        (
            {"finetuned_accuracy": 0.2},
            "only 20.0% of the new photos by the fine-tuned model were named rightly, not 60%",
        ),
        ({"same_labels": False}, "flowers.pb and flowers.onnx name a photo differently"),
        ({"deviation": 0.02}, "flowers.pb and flowers.onnx differ by 0.02 in a probability"),
        ({"deviation": float("nan")}, "flowers.pb and flowers.onnx differ by nan in a probability"),
    ],
)
def test_a_bad_end_is_told_and_is_no_success(
    call: Caller, monkeypatch: pytest.MonkeyPatch, change: dict[str, Any], words: str
) -> None:
    tell(monkeypatch, INFO, outcome=replace(WELL, **change))
    done = call("demo")
    assert done.status == 1
    assert done.err.splitlines()[-1] == f"warning: {words}"


@pytest.mark.parametrize("step", demo.steps(finetune=True), ids=lambda step: " ".join(step.words[:2]))
def test_each_command_of_the_story_knows_its_options(call: Caller, step: Step) -> None:
    verb, *rest = step.words
    page = call(verb, "--help").out
    assert f"Usage: tfinspect {verb}" in page
    for word in rest:
        assert not word.startswith("-") or re.search(rf"(?<![\w-]){word}(?![\w-])", page), word


# -- breaking it off ----------------------------------------------------------------------------------------------------


def test_without_tensorflow_it_says_so_in_one_line(
    call: Caller, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "tensorflow", None)
    demo.runtimes.shutdown()
    done = call("demo")
    assert (done.status, done.out) == (5, "")
    assert done.err.splitlines()[0] == "error: running TensorFlow models needs tensorflow, which is not installed"
    assert list((tmp_path / "temporary").iterdir()) == []


def test_without_pillow_it_says_so_in_one_line(call: Caller, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tell(monkeypatch, INFO)
    monkeypatch.setitem(sys.modules, "PIL", None)
    done = call("demo", "-o", "mine")
    assert done.status == 5
    assert done.err == (
        "error: drawing photos needs pillow, which is not installed\n\nhint: pip install 'tfinspect[learn]'\n"
    )
    assert not (tmp_path / "mine").exists()


@contextlib.contextmanager
def started(temporary: Path) -> Iterator[tuple[subprocess.Popen[str], TextIO]]:
    """Start it as a shell would; gives the process and what it prints."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "TMPDIR": str(temporary), "NO_COLOR": "1"}
    with subprocess.Popen(
        [sys.executable, "-m", "tfinspect", "demo"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment, cwd=temporary, process_group=0,
    ) as process:  # fmt: skip
        assert process.stdout is not None
        try:
            yield process, process.stdout
        finally:
            if process.poll() is None:
                process.kill()


def folders(temporary: Path) -> int:
    """Count the folders of stories; runtimes leave files of their own in the place for temporary files."""
    return len(list(temporary.glob("tfinspect-demo-*")))


@pytest.mark.tensorflow
def test_ctrl_c_leaves_nothing_behind(tmp_path: Path) -> None:
    with started(tmp_path) as (process, out):
        assert any("$ tfinspect features" in line for line in out)
        assert folders(tmp_path) == 1
        os.killpg(process.pid, signal.SIGINT)
        _, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert "Traceback" not in err
    assert folders(tmp_path) == 0


@pytest.mark.tensorflow
def test_a_reader_that_has_had_enough_ends_it(tmp_path: Path) -> None:
    with started(tmp_path) as (process, out):
        assert any("$ tfinspect info" in line for line in out)
        out.close()
        assert process.stderr is not None
        err = process.stderr.read()
        assert process.wait(timeout=60) == 0
    assert "Traceback" not in err
    assert "features.npz" not in err
    assert folders(tmp_path) == 0


# -- the whole story ----------------------------------------------------------------------------------------------------


@pytest.mark.tensorflow
def test_the_whole_story(call: Caller, tmp_path: Path) -> None:
    """It ends well, in time; what it made is there; and its numbers are those of the files."""
    done = call("demo", "--json", "-o", "story")
    assert done.status == 0, done.err
    answer = done.answer
    assert answer["seconds"] < 120
    assert answer["failures"] == []
    assert answer["metrics"]["test"]["accuracy"] > 0.8
    assert answer["metrics"]["test"]["count"] >= 20
    assert answer["metrics"]["new"] == {"accuracy": pytest.approx(answer["metrics"]["new"]["accuracy"]), "count": 20}
    assert answer["metrics"]["new"]["accuracy"] > 0.8
    assert answer["onnx"]["same_labels"] is True
    assert answer["onnx"]["max_abs"] < 1e-4
    folder = tmp_path / "story"
    for name in ("features.npz", "head.npz", "flowers.pb", "flowers.onnx", "sheet.png"):
        assert (folder / name).stat().st_size > 1000, name
    steps = {step["command"].split()[1]: step["answer"] for step in answer["steps"]}
    assert steps["features"]["images"] == demo.PHOTOS * len(FLOWERS)
    assert steps["train-head"]["metrics"]["test"]["accuracy"] == answer["metrics"]["test"]["accuracy"]
    with np.load(folder / "features.npz") as features, np.load(folder / "head.npz") as head:
        test = features["split"] == "test"
        logits = features["features"][test] @ head["weights"] + head["biases"]
        right = (logits.argmax(1) == features["labels"][test]).mean()
    assert right == pytest.approx(answer["metrics"]["test"]["accuracy"])
