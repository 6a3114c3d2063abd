"""Commands on a checkpoint that lost its graph and holds a network of slim's."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import numpy as np
import pytest

from tests import slim_reference as reference
from tests.checkpoint_writers import write_bundle
from tests.cli_calls import Caller
from tfinspect.api.trunk import open_trunk

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def cli(monkeypatch: pytest.MonkeyPatch) -> Caller:
    return Caller(monkeypatch)


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A MobileNet v1 of width 0.25 and three classes that lost its graph."""
    prefix = tmp_path_factory.mktemp("bare") / "mobile.ckpt"
    net = reference.Network("MobilenetV1", seed=1)
    reference.mobilenet_v1(net, np.zeros((0, 64, 64, 3)), width=0.25, classes=3)
    write_bundle(prefix, {**net.variables, "global_step": np.array(5)})
    return prefix


def test_a_bare_checkpoint_on_the_command_line(bare: Path, tmp_path: Path, cli: Caller) -> None:
    listed = cli("vars", bare, "--json").answer
    assert listed["network"] == {
        "name": "mobilenet_v1", "title": "MobileNet v1", "scope": "MobilenetV1", "classes": 3, "width": 0.25,
        "size": [224, 224], "size_assumed": True, "preprocessing": "half range", "missing": [], "differing": {}, "strange": [],
        "unused": [],
    }  # fmt: skip
    told = cli("info", bare, "--json").answer
    assert told["facts"]["architecture"] == "MobileNet v1 0.25 (slim), 3 classes, input 224x224 assumed"
    assert told["bottlenecks"][0]["name"] == "MobilenetV1/Logits/AvgPool_1a/AvgPool:0"
    done = cli("freeze", bare, "--size", "96", "-o", tmp_path / "mobile.pb", "--json").answer
    assert done["inputs"] == [{"key": None, "name": "input:0", "dtype": "float32", "shape": [None, 96, 96, 3]}]
    assert [row["name"] for row in done["outputs"]] == ["MobilenetV1/Predictions/Reshape_1:0"]
    listing = cli("nodes", tmp_path / "mobile.pb", "--op", "AvgPool").rows
    assert listing[0][:4] == ["MobilenetV1/Logits/AvgPool_1a/AvgPool", "AvgPool", "float32", "?x1x1x256"]


def test_a_head_is_put_on_a_trunk_for_photos_of_the_size_it_was_trained_on(
    bare: Path, tmp_path: Path, cli: Caller
) -> None:
    made = {"preprocessing": {
        "size": [64, 96], "method": "bilinear", "align_corners": False, "half_pixel_centers": True,
        "mean": [127.5] * 3, "scale": [1 / 127.5] * 3, "channels": 3, "bgr": False,
    }}  # fmt: skip
    for case, text, size in (("size", json.dumps(made), [64, 96]), ("none", "{}", [224, 224])):
        head = tmp_path / f"{case}.npz"
        np.savez(head, weights=np.ones((256, 2), "f4"), biases=np.zeros(2, "f4"), made=np.array(text))
        done = cli(
            "graft", bare, "--bottleneck", "MobilenetV1/Logits/AvgPool_1a/AvgPool", "--head", head,
            "-o", tmp_path / f"{case}.pb", "--json",
        )  # fmt: skip
        assert done.status == 0, done.err
        assert [row["shape"] for row in done.answer["inputs"]] == [[None, *size, 3]]


def test_photos_decide_the_size_of_a_rebuilt_trunk(bare: Path) -> None:
    trunk = open_trunk(bare, bottleneck="MobilenetV1/Logits/AvgPool_1a/AvgPool", size=(96, 64))
    assert trunk.recipe is not None
    assert trunk.recipe.size == (96, 64)
    usual = open_trunk(bare, bottleneck="MobilenetV1/Logits/AvgPool_1a/AvgPool")
    assert usual.recipe is not None
    assert usual.recipe.size == (224, 224)


@pytest.mark.tensorflow
def test_a_frozen_graph_is_verified_against_its_bare_checkpoint_at_its_own_size(
    bare: Path, tmp_path: Path, cli: Caller
) -> None:
    assert cli("freeze", bare, "--size", "64", "-o", tmp_path / "small.pb").status == 0
    done = cli("verify", bare, tmp_path / "small.pb", "--json")
    assert done.status in (0, 6), done.err  # with random weights the classes may not vary enough to prove anything
    (row,) = done.answer["outputs"]
    assert (row["name"], row["max_abs"]) == ("MobilenetV1/Predictions/Reshape_1:0", 0)


def test_a_checkpoint_that_lacks_layers_is_one_clear_error(tmp_path: Path, cli: Caller) -> None:
    prefix = tmp_path / "part.ckpt"
    net = reference.Network("MobilenetV1", seed=1)
    reference.mobilenet_v1(net, np.zeros((0, 64, 64, 3)), width=0.25, classes=3)
    write_bundle(prefix, {name: value for name, value in net.variables.items() if "Conv2d_0" not in name})
    done = cli("freeze", prefix, "-o", tmp_path / "part.pb")
    assert (done.status, done.out) == (4, "")
    assert done.err.splitlines()[0].endswith("looks like MobileNet v1 (slim), but lacks 5 of its 137 variables")
    assert done.err.splitlines()[1].strip() == "MobilenetV1/Conv2d_0/weights  (missing)"
    assert not (tmp_path / "part.pb").exists()
