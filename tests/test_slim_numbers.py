"""Rebuilt networks of slim compute what Keras's do with the same weights, the published ones, and a trained original."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import tfinspect as ti
from tests import slim_reference as reference
from tests.checkpoint_writers import write_bundle
from tests.cli_calls import ZOO
from tests.slim_nets_oracle import KERAS, PUBLISHED
from tfinspect.api.freeze import freeze_model
from tfinspect.api.load import open_graph

TRAINED = ZOO / "frozen_pb" / "mobilenet_v1_025_128" / "frozen_graph.pb"
ORACLE = Path(__file__).parent / "slim_nets_oracle.py"
QUICK = [
    "keras:vgg_16", "keras:mobilenet_v1_0.25", "keras:mobilenet_v2_0.35", "keras:resnet_v2_50",
    "reference:resnet_v1_50",
]  # fmt: skip
REST = [task for task in [*(f"keras:{n}" for n in KERAS), *(f"reference:{n}" for n in PUBLISHED)] if task not in QUICK]
NOISE = 2e-5  # against the largest number; half a unit in the last place of every weight comes to 4e-6


def asked(*tasks: str) -> dict[str, dict[str, float]]:
    done = subprocess.run(
        [sys.executable, str(ORACLE), *tasks], check=False, capture_output=True, text=True, cwd=ORACLE.parent.parent
    )
    assert done.returncode == 0, done.stderr[-3000:]
    found = json.loads(done.stdout)
    assert isinstance(found, dict)
    return found


def check(found: dict[str, dict[str, float]]) -> None:
    """Errors are noise, and far below what tells one image from another."""
    for task, row in found.items():
        assert row["error"] < NOISE, (task, row)
        assert row["spread"] > 1000 * row["error"], (task, row)
        assert row["spread"] > 0.005, (task, row)


def trained_checkpoint(prefix: Path) -> dict[str, np.ndarray]:
    """Write the constants of a trained, frozen MobileNet v1 as the checkpoint they came from."""
    graph = ti.read_graph(TRAINED)
    values = {}
    for node in graph.nodes:
        tensor = node.tensor()
        if node.op == "Const" and f"{node.name}/read" in graph and tensor is not None:
            values[node.name] = tensor.numpy()
    assert len(values) == 137
    write_bundle(prefix, {**values, "global_step": np.array(10, np.int64)})
    return values


@pytest.mark.tensorflow
def test_rebuilt_networks_compute_what_they_should(tmp_path: Path) -> None:
    tasks = list(QUICK)
    if TRAINED.is_file():
        values = trained_checkpoint(tmp_path / "model.ckpt-10")
        model = open_graph(tmp_path / "model.ckpt-10", size=(128, 128))
        assert model.facts["architecture"] == "MobileNet v1 0.25 (slim), 1001 classes, input 128x128"
        done = freeze_model(model)
        assert set(done.report.restored) == set(values)
        ti.write_graph(done.graph, tmp_path / "rebuilt.pb")
        tasks.append(f"frozen:{TRAINED}:{tmp_path / 'rebuilt.pb'}:128")
    found = asked(*tasks)
    assert len(found) == len(tasks)
    if "frozen" in found:
        trained = found.pop("frozen")
        assert trained["error"] < NOISE
        assert trained["predictions"] < 1e-5
    check(found)


@pytest.mark.slow
@pytest.mark.tensorflow
@pytest.mark.parametrize("task", REST)
def test_every_depth_computes_what_it_should(task: str) -> None:
    check(asked(task))


def test_the_numpy_reference_strides_where_the_paper_does() -> None:
    """Slim's ResNet v1 is the published one: the stride at the start of the next block gives the same numbers."""
    net = reference.Network("r", seed=3)
    images = np.random.default_rng(1).standard_normal((2, 32, 40, 3))
    scope, shared = "block1/unit_3/bottleneck_v1", net.conv(images, "start", 256, 3, epsilon=1e-5, act=reference.relu)

    def unit(x: np.ndarray, stride: int) -> np.ndarray:
        y = net.conv(x, f"{scope}/conv1", 64, 1, epsilon=1e-5, act=reference.relu)
        y = net.conv(y, f"{scope}/conv2", 64, 3, stride, 1, 1e-5, reference.relu)
        return reference.relu(x[:, ::stride, ::stride] + net.conv(y, f"{scope}/conv3", 256, 1, epsilon=1e-5))

    late = net.conv(unit(shared, 2), "next", 8, 1, epsilon=1e-5)
    early = net.conv(unit(shared, 1), "next", 8, 1, 2, epsilon=1e-5)
    assert late.shape == (2, 16, 20, 8)
    np.testing.assert_allclose(late, early, rtol=1e-9, atol=1e-9)
