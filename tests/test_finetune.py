"""`finetune`, from photos to a graph that computes what training measured; and what it refuses."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from tests.cli_calls import ROOT, Caller
from tests.small_trunk import STATISTICS, WEIGHTS, photos, trunk
from tfinspect import formats
from tfinspect.api.finetune import Listeners, finetune
from tfinspect.api.finetune_task import chosen_layers
from tfinspect.api.recipe import recipe_beside
from tfinspect.api.trunk_parameters import Layers, open_trainable
from tfinspect.learn.finetune import Settings

if TYPE_CHECKING:
    from pathlib import Path

    from tfinspect.ir.graph import Graph

QUICK = Settings(epochs=3, batch=16, learning_rate=5e-3)
SHARES: dict[str, Any] = {"validation": 0.2, "test": 0.2}


@pytest.fixture
def cli(monkeypatch: pytest.MonkeyPatch) -> Caller:
    return Caller(monkeypatch)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("finetune")
    formats.write_graph(trunk(), folder / "trunk.pb")
    photos(folder / "photos")
    return folder


def changed(graph: Graph) -> set[str]:
    """Names of the constants of the trunk that are not what they were."""
    old = trunk()
    names = set()
    for node in graph.nodes:
        if node.name in old:
            before, after = old.node(node.name), node
            assert (before.op, before.inputs) == (after.op, after.inputs)
            a, b = before.tensor(), after.tensor()
            if a is not None and b is not None and not np.array_equal(a.numpy(), b.numpy()):
                names.add(node.name)
    return names


@pytest.mark.tensorflow
def test_all_layers_are_trained_and_the_written_graph_gives_what_was_measured(place: Path, tmp_path: Path) -> None:
    (place / "photos" / "bars" / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\nnothing")
    told: list[str] = []
    try:
        done = finetune(
            place / "trunk.pb", place / "photos", tmp_path / "out.pb", bottleneck="pool", settings=QUICK, **SHARES,
            listeners=Listeners(note=told.append),
        )  # fmt: skip
    finally:
        (place / "photos" / "bars" / "broken.png").unlink()
    assert [name for name, _ in done.skipped] == ["bars/broken.png"]
    assert any("broken.png is a damaged PNG image" in line for line in told)
    assert done.difference < 1e-4
    assert set(done.variables) == set(WEIGHTS)
    assert done.epochs[-1].loss < done.epochs[0].loss
    graph = formats.read_graph(tmp_path / "out.pb")
    assert changed(graph) == (set(WEIGHTS) if done.best_epoch else set())
    assert {"head/logits", "head/softmax"} <= set(graph.by_name)
    assert (tmp_path / "out.labels.txt").read_text() == "bars\ndots\nplain\n"
    recipe = recipe_beside(tmp_path / "out.pb")
    assert recipe is not None
    assert (recipe.size, recipe.mean) == ((16, 16), (127.5,))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out.labels.txt", "out.pb", "out.preprocess.json"]
    images = sum(done.metrics[part]["images"] for part in ("train", "validation", "test"))
    assert images == 60


@pytest.mark.tensorflow
def test_layers_after_a_tensor_with_statistics_that_follow(place: Path, tmp_path: Path) -> None:
    labels = tmp_path / "labels.txt"
    labels.write_text("plain\nbars\ndots\n")
    settings = Settings(
        epochs=2, batch=16, learning_rate=1e-2, optimizer="momentum", batch_norm="updated", l2=1e-3, augment=False
    )
    done = finetune(
        place / "trunk.pb", place / "photos", tmp_path / "out.pb", bottleneck="pool", labels=labels, settings=settings,
        layers=Layers(start="first/relu"), validation=0.0, test=0.2,
    )  # fmt: skip
    assert done.classes == ("plain", "bars", "dots")
    assert changed(done.graph) == {*WEIGHTS[3:], "second/mean", "second/variance"}
    assert set(STATISTICS) - changed(done.graph) == {"first/mean", "first/variance"}
    assert done.best_epoch == 2


@pytest.mark.tensorflow
def test_a_killed_run_goes_on_where_it_stood(place: Path, tmp_path: Path) -> None:
    words = [
        "finetune", str(place / "trunk.pb"), str(place / "photos"), "--bottleneck", "pool", "-o", "out.pb", "--epochs",
        "60", "--batch", "8", "--checkpoints", "kept", "--head-only",
    ]  # fmt: skip
    command = [sys.executable, "-m", "tfinspect", *words]
    environment = {"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin"}
    first = subprocess.Popen(command, cwd=tmp_path, env=environment, stderr=subprocess.PIPE, stdout=subprocess.PIPE)
    deadline = time.monotonic() + 120
    while not (tmp_path / "kept" / "progress.npz").exists() and time.monotonic() < deadline and first.poll() is None:
        time.sleep(0.02)
    first.send_signal(signal.SIGKILL)
    first.communicate()
    assert (tmp_path / "kept" / "progress.npz").exists()
    assert not (tmp_path / "out.pb").exists()
    again = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert again.returncode == 0, again.stderr
    assert "going on after epoch " in again.stderr
    assert "epoch 60/60" in again.stderr
    assert "epoch 1/60" not in again.stderr
    assert changed(formats.read_graph(tmp_path / "out.pb")) == set()
    other = subprocess.run(
        [*command, "-f", "--seed", "9"], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert other.returncode == 2
    assert other.stderr.splitlines()[-3] == (
        "error: the checkpoint in kept is of another training: --seed differs (0, not 9)"
    )


@pytest.mark.parametrize(
    ("layers", "decay", "trained", "notes"),
    [
        (Layers(), 0.85, WEIGHTS, []),
        (Layers(), 0.1, WEIGHTS[3:], ["the last 1 layer of 2 are trained"]),
        (Layers(), 0.001, WEIGHTS[3:], ["the last 1 layer of 2 are trained"]),
        (Layers(everything=True), 0.1, WEIGHTS, []),
        (Layers(scopes=("first",)), 0.1, WEIGHTS[:3], []),
        (Layers(head_only=True), 0.85, [], []),
    ],
)
def test_layers_that_would_hardly_move_stay_unless_they_are_asked_for(
    place: Path, layers: Layers, decay: float, trained: list[str], notes: list[str]
) -> None:
    told: list[str] = []
    found = chosen_layers(layers, open_trainable(place / "trunk.pb", "pool"), Settings(decay=decay), told.append)
    assert found == trained
    assert [line.split(";")[0] for line in told] == notes


REFUSED = [
    (["--bottleneck", "poll"], "no node named `poll` in trunk.pb (33 nodes)", 2),
    (["--bottleneck", "first/relu"], "`first/relu:0` is float32 ?x8x8x6; a head takes float32, one row of features an image", 4),
    (["--bottleneck", "photos"], "no float32 weights stand between `photos:0` and `photos:0`, so there is nothing to train", 2),
    (["--bottleneck", "pool", "--from", "secnd"], "no node named `secnd` (28 nodes)", 2),
    (["--bottleneck", "pool", "--from", "second/relu"], "no weights stand between `second/relu:0` and the bottleneck", 2),
    (["--bottleneck", "pool", "--scope", "thrid"], "no weights on the way to the bottleneck are in the scope `thrid`", 2),
    (["--bottleneck", "pool", "--all", "--head-only"], "`--all` and `--head-only` both say which layers are trained; give one", 2),
    (["--bottleneck", "pool", "--epochs", "0"], "`--epochs` takes a whole number from 1, not 0", 2),
    (["--bottleneck", "pool", "--head", "wide.npz"], "cannot start from wide.npz: `pool:0` gives 8 features, the head takes 9", 4),
    (["--bottleneck", "pool", "--head", "four.npz"], "the head has 4 classes, the photos 3", 4),
    (["--bottleneck", "pool", "--labels", "labels.txt"], "labels and folders do not fit: there are no photos of `roses`", 2),
    (["--bottleneck", "pool", "--size", "8"], "`photos:0` takes 1x16x16x3, not images of 8 x 8", 2),
    (["--bottleneck", "pool", "-o", "out.onnx"], "finetune writes a GraphDef, not .onnx", 3),
    (["--bottleneck", "pool", "-o", "trunk.pb"], "trunk.pb exists", 5),
    (["--bottleneck", "pool", "--validation", "0.6", "--test", "0.5"], "shares of 0.6 for validation and 0.5 for test leave nothing to train on", 2),
]  # fmt: skip


@pytest.mark.parametrize(("words", "message", "status"), REFUSED, ids=[" ".join(w) for w, _, _ in REFUSED])
def test_what_does_not_go_is_refused_in_one_line_before_tensorflow_starts(
    cli: Caller, place: Path, tmp_path: Path, words: list[str], message: str, status: int
) -> None:
    shutil.copy(place / "trunk.pb", tmp_path)
    for name, width, classes in (("wide", 9, 3), ("four", 8, 4)):
        np.savez(tmp_path / f"{name}.npz", weights=np.zeros((width, classes), "f4"), biases=np.zeros(classes, "f4"))
    (tmp_path / "labels.txt").write_text("bars\ndots\nroses\n")
    cli.monkeypatch.chdir(tmp_path)
    cli.monkeypatch.setitem(sys.modules, "tensorflow", None)
    output = [] if "-o" in words else ["-o", "out.pb"]
    done = cli("finetune", "trunk.pb", place / "photos", *words, *output, "--json")
    assert (done.error["message"], done.status) == (message, status)


def test_without_tensorflow_one_line_says_so(cli: Caller, place: Path, tmp_path: Path) -> None:
    cli.monkeypatch.setitem(sys.modules, "tensorflow", None)
    done = cli(
        "finetune", place / "trunk.pb", place / "photos", "--bottleneck", "pool", "-o", tmp_path / "out.pb", "-q"
    )
    assert done.status == 5
    assert done.err.splitlines()[0] == "error: fine-tuning needs tensorflow, which is not installed"


@pytest.mark.parametrize(
    ("folders", "message"),
    [
        ({}, "FOLDER has no images in sub-folders"),
        ({"only": 3}, "FOLDER has images of one class only, `only`; there is nothing to tell apart"),
    ],
)
def test_folders_that_nothing_can_be_learned_from(
    cli: Caller, place: Path, tmp_path: Path, folders: dict[str, int], message: str
) -> None:
    for name, count in folders.items():
        photos(tmp_path, count, (name,))
    done = cli("finetune", place / "trunk.pb", tmp_path, "--bottleneck", "pool", "-o", tmp_path / "o.pb", "--json")
    assert done.error["message"] == message.replace("FOLDER", str(tmp_path))
    assert done.status == 2
