"""`unfreeze`: a SavedModel whose variables TensorFlow can train."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING

import numpy as np
import pytest

from tests.cli_calls import Caller
from tests.small_trunk import STATISTICS, WEIGHTS, trunk
from tfinspect import formats

if TYPE_CHECKING:
    from pathlib import Path

# another process, so that TensorFlow is loaded as any user of the model would load it
ORACLE = """
import json, sys
import numpy as np
import tensorflow as tf
model = tf.saved_model.load(sys.argv[1])
photos = tf.constant(np.random.default_rng(0).normal(size=(5, 16, 16, 3)).astype("f4"))
before = {v.name.removesuffix(":0"): v.numpy() for v in model.variables}
with tf.GradientTape() as tape:
    outputs = model(photos)
    loss = tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits([0, 1, 2, 3, 0], outputs["logits"]))
gradients = tape.gradient(loss, model.trainable_variables)
for variable, gradient in zip(model.trainable_variables, gradients):
    variable.assign_sub(0.1 * gradient)
after = tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits([0, 1, 2, 3, 0], model(photos)["logits"]))
print(json.dumps({
    "outputs": sorted(outputs),
    "trainable": [v.name.removesuffix(":0") for v in model.trainable_variables],
    "variables": sorted(before),
    "moved": sorted(v.name.removesuffix(":0") for v in model.variables if (before[v.name.removesuffix(":0")] != v.numpy()).any()),
    "loss": [float(loss), float(after)],
    "batch": int(outputs["softmax"].shape[0]),
}))
"""


@pytest.fixture
def cli(monkeypatch: pytest.MonkeyPatch) -> Caller:
    return Caller(monkeypatch)


@pytest.mark.tensorflow
def test_every_variable_can_be_trained_by_a_loop_of_ones_own(cli: Caller, tmp_path: Path) -> None:
    formats.write_graph(trunk(), tmp_path / "trunk.pb")
    (tmp_path / "trunk.labels.txt").write_text("a\nb\nc\nd\n")
    done = cli("unfreeze", tmp_path / "trunk.pb", "-o", tmp_path / "model", "--json")
    assert done.status == 0, done.err
    weights = [*WEIGHTS, "old/weights"]
    assert (done.answer["verdict"], done.answer["accepted"]) == ("PASS", True)
    assert sorted(done.answer["variables"]) == sorted(weights)
    assert sorted(done.answer["statistics"]) == sorted(STATISTICS)
    assert done.answer["gradients"] == {"reached": len(weights), "zero": []}
    ran = subprocess.run(
        [sys.executable, "-c", ORACLE, str(tmp_path / "model")], capture_output=True, text=True, check=False
    )
    assert ran.returncode == 0, ran.stderr[-2000:]
    found = json.loads(ran.stdout)
    assert found["outputs"] == ["logits", "softmax"]
    assert sorted(found["trainable"]) == sorted(found["moved"]) == sorted(weights)
    assert found["variables"] == sorted([*weights, *STATISTICS])
    assert found["loss"][1] < found["loss"][0]
    assert found["batch"] == 5
    assert (tmp_path / "model" / "assets" / "labels.txt").read_text() == "a\nb\nc\nd\n"
    # and only part of it, over what stands there already
    done = cli("unfreeze", tmp_path / "trunk.pb", "-o", tmp_path / "model", "--scope", "second/weights", "--json", "-f")
    assert done.status == 0, done.err
    assert done.answer["variables"] == ["second/weights"]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["model", "trunk.labels.txt", "trunk.pb"]


@pytest.mark.parametrize(
    ("words", "message", "status"),
    [
        (["--scope", "thrid"], "no weights on the way to the bottleneck are in the scope `thrid`", 2),
        (["--from", "old/softmax"], "no weights stand between `old/softmax:0` and the bottleneck", 2),
        (["--from", "x", "--all"], "`--from` and `--all` both say which layers are trained; give one", 2),
        (["--outputs", "photos"], "no float32 weights stand between `photos:0` and `photos:0`, so there is nothing to train", 2),
        (["--outputs", "nothing"], "no node named `nothing` in trunk.pb (33 nodes)", 2),
        (["-o", "trunk.pb"], "trunk.pb exists", 5),
    ],
)  # fmt: skip
def test_what_does_not_go_is_refused_in_one_line(
    cli: Caller, tmp_path: Path, words: list[str], message: str, status: int
) -> None:
    formats.write_graph(trunk(), tmp_path / "trunk.pb")
    cli.monkeypatch.chdir(tmp_path)
    output = [] if "-o" in words else ["-o", "model"]
    done = cli("unfreeze", "trunk.pb", *words, *output, "--json")
    assert (done.error["message"], done.status) == (message, status)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["trunk.pb"]


def test_without_tensorflow_one_line_says_so(cli: Caller, tmp_path: Path) -> None:
    formats.write_graph(trunk(), tmp_path / "trunk.pb")
    cli.monkeypatch.setitem(sys.modules, "tensorflow", None)
    done = cli("unfreeze", tmp_path / "trunk.pb", "-o", tmp_path / "model")
    assert done.status == 5
    assert done.err.splitlines()[0].endswith("needs tensorflow, which is not installed")
    assert np.array_equal(sorted(p.name for p in tmp_path.iterdir()), ["trunk.pb"])
