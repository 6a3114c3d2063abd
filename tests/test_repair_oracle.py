"""Training graphs that TensorFlow restores, frozen by us: the same outputs, bit for bit, as TensorFlow's inference."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]
ZOO = ROOT.parent / "shared" / "zoo"
pytestmark = pytest.mark.tensorflow
needs_zoo = pytest.mark.skipif(not ZOO.is_dir(), reason=f"no real models at {ZOO}")

MADE = {
    "fused_batch_norm_of_reference_variables": {"batch-norm"},
    "fused_batch_norm_of_resource_variables": {"batch-norm"},
    "moments_with_updates_before_the_output": {"batch-norm", "update"},
    "moments_that_keep_their_dimensions": {"batch-norm", "update"},
    "averages_assigned_by_hand": {"batch-norm", "update"},
    "an_average_object_without_a_flag": {"batch-norm", "update"},
    "an_average_object_that_takes_out_its_bias": {"batch-norm", "update"},
    "a_conditional_between_batch_and_average": {"dead-branch", "phase-flag"},
    "a_functional_conditional_between_batch_and_average": {"dead-branch", "phase-flag"},
    "dropout_of_a_constant_rate": {"dropout"},
    "dropout_by_floor": {"dropout"},
    "dropout_by_a_cast_mask": {"dropout"},
    "dropout_by_select": {"dropout"},
    "dropout_of_a_placeholder": {"dropout", "phase-flag"},
    "a_conditional_around_dropout": {"dead-branch", "phase-flag"},
    "checks_prints_summaries_and_pins": {"check", "device"},
    "a_queue": {"pipeline"},
    "an_iterator": {"pipeline"},
    "averages_of_the_weights": set(),
}
REAL = {
    "zoo_cifar": set(),
    "zoo_steering": {"pipeline"},
    "zoo_half_plus_two": set(),
    "zoo_tfprof": set(),
    "zoo_profiler": set(),
    "zoo_sentiment": {"dead-branch", "phase-flag"},
    "zoo_segmenter": {"check", "dropout", "phase-flag"},
    "zoo_inception_training": set(),
}
TRAINING = {
    "RandomUniform",
    "Assert",
    "If",
    "StatelessIf",
    "Switch",
    "HistogramSummary",
    "Print",
    "PrintV2",
    "FIFOQueueV2",
}


@pytest.fixture(scope="module")
def answers(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    """What the oracle says of every case; it starts once."""
    wanted = [] if ZOO.is_dir() else [*MADE, *OLD, "old_transforms", "old_tensor_arrays"]
    command = [
        sys.executable,
        str(ROOT / "tests" / "repair_oracle.py"),
        str(tmp_path_factory.mktemp("oracle")),
        *wanted,
    ]
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, env={**os.environ, "PYTHONPATH": str(ROOT)}
    )
    found = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    assert found, done.stderr[-3000:]
    return {answer.pop("case"): answer for answer in found}


@pytest.mark.parametrize("name", MADE)
def test_what_tensorflow_trains_computes_the_same_in_inference(name: str, answers: dict[str, dict[str, Any]]) -> None:
    answer = answers[name]
    assert "failed" not in answer, answer["failed"]
    assert answer["same_bits"], answer
    assert answer["spread"] > 0.1
    assert MADE[name] <= set(answer["repairs"])
    assert len(answer["inputs"]) == 1
    assert answer["devices"] == [""]
    assert TRAINING.isdisjoint(answer["ops"])


@needs_zoo
@pytest.mark.parametrize("name", REAL)
def test_real_models_compute_the_same(name: str, answers: dict[str, dict[str, Any]]) -> None:
    answer = answers[name]
    assert "failed" not in answer, answer["failed"]
    assert answer["same_bits"], answer
    assert REAL[name] <= set(answer["repairs"])
    assert not answer.get("phases_left")


@needs_zoo
def test_a_resnet_in_training_normalises_by_its_averages(answers: dict[str, dict[str, Any]]) -> None:
    answer = answers["zoo_resnet_training"]
    assert "failed" not in answer, answer["failed"]
    assert (answer["norms"], answer["training"], answer["wrongly_paired"]) == (53, [], [])
    assert answer["shape"] == [117, 1001]
    assert answer["variables"] == 267
    assert answer["repairs"] == ["argument", "batch-norm", "device"]


@needs_zoo
def test_a_partition_of_the_runtime_becomes_a_graph(answers: dict[str, dict[str, Any]]) -> None:
    answer = answers["zoo_resnet_partition"]
    assert "failed" not in answer, answer["failed"]
    assert (answer["norms"], answer["training"]) == (53, [])
    assert answer["inputs"] == ["input_1_1:0"]
    assert answer["variables"] == 267


OLD = {"old_linear_algebra": 14, "old_arrays_and_pictures": 5}
NOT_TO_THE_BIT = {"AdjustContrast", "AdjustContrast of bytes"}  # the old kernel summed in another order


@pytest.mark.parametrize("name", OLD)
def test_old_ops_in_ops_of_today(name: str, answers: dict[str, dict[str, Any]]) -> None:
    answer = answers[name]
    assert "failed" not in answer, answer["failed"]
    assert len(answer["rows"]) == OLD[name]
    for op, row in answer["rows"].items():
        assert row["spread"] > 0.05, op
        assert row["same_bits"] or (op in NOT_TO_THE_BIT and row["max_abs"] < 1e-4), (op, row)
        assert len(row["repairs"]) == 1
        assert row["notes"] == []


def test_old_ops_without_a_kernel(answers: dict[str, dict[str, Any]]) -> None:
    answer = answers["old_transforms"]
    assert "failed" not in answer, answer["failed"]
    assert answer["error"] < 1e-6
    assert answer["top"]


def test_tensor_arrays_of_2016(answers: dict[str, dict[str, Any]]) -> None:
    answer = answers["old_tensor_arrays"]
    assert "failed" not in answer, answer["failed"]
    assert answer["rows"]["first"] == {"same_bits": True, "repairs": 9, "old": []}
