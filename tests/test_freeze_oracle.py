"""Frozen SavedModels compute what TensorFlow computes from them, bit for bit; what cannot be frozen is named."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.graph_models import ZOO, needs_zoo

FIXTURES = Path(__file__).parent.parent / "fixtures"
ORACLE = Path(__file__).parent / "freeze_oracle.py"
NESTS = range(20)
SAME = {"serving_default": "same"}
_HALF = "savedmodel_serving/serving_testdata/saved_model_half_plus_"
_UPDATE = "SurgeryError: cannot freeze: `{0}` depends on `{0}` ({1}), which changes a variable at every run"

CASES = {
    "loop": SAME,
    "branches": SAME,
    "cases": SAME,
    "two_call_sites": SAME,
    "nested": SAME,
    "gathers": SAME,
    "other_types": SAME,
    "parsing": SAME,
    "moving_average": SAME,
    "update_in_a_branch": SAME,
    "read_before_update": SAME,
    "table_of_constants": SAME,
    "table_of_a_file": SAME,
    "table_of_columns": SAME,
    "table_that_changes": SAME,
}
REFUSED = {
    "loop_that_assigns": "SurgeryError: cannot freeze: the loop `StatefulPartitionedCall/StatefulPartitionedCall/while` "
    "(While) changes a variable: `while/AssignVariableOp` (AssignVariableOp) in the function `while_body_",
    "read_after_update": "SurgeryError: cannot freeze: `mul/ReadVariableOp` (ReadVariableOp) in the function "
    "`__inference_run_",
    "read_after_update_in_a_call": "SurgeryError: cannot freeze: `StatefulPartitionedCall_1` "
    "(StatefulPartitionedCall) in the function `__inference_run_",
}
MODELS = {
    "ckpt_tf2_object/tfkeras_lso/lso_savedmodel_tf2.2": SAME,
    "savedmodel_serving/serving_testdata/saved_model_counter/00000123": {
        "get_counter": "same",
        "incr_counter": _UPDATE.format("incr_counter_op/AssignAdd", "AssignAdd"),
        "incr_counter_by": _UPDATE.format("incr_counter_by_op/AssignAdd", "AssignAdd"),
        "reset_counter": _UPDATE.format("reset_counter_op/Assign", "Assign"),
    },
    f"{_HALF}two_cpu/00000123": {},
    f"{_HALF}two_gpu/00000123": {},
    f"{_HALF}two_tf2_cpu/00000123": {},
    "savedmodel_tf1/mlnet/cifar_saved_model": SAME,
    "savedmodel_tf1/mlnet/mnist_conv_model": SAME,
    "savedmodel_tf1/mlnet/mnist_lr_model": SAME,
    "savedmodel_tf1/mlnet/model_matmul": SAME,
    "savedmodel_tf1/mlnet/model_primitive_input_test": SAME,
    "savedmodel_tf1/mlnet/model_shape_test": SAME,
    "savedmodel_tf1/mlnet/model_string_test": SAME,
    "savedmodel_tf1/mlnet/model_types_test": SAME,
    "savedmodel_tf1/tf_half_plus_two_early0": {"regression": "same"},
    "savedmodel_tf1/tf_half_plus_two_early1": {"regression": "same"},
    "savedmodel_tf1/tf_half_plus_two_pbtxt/00000123": {},
    "savedmodel_tf1/tf_half_plus_two_sharded_v0": {},
    "savedmodel_tf1/tfx_chicago_taxi_models/tft_tf2_saved_model": {"serving_default": "imports; needs what is gone"},
    "savedmodel_tf1/tfx_chicago_taxi_models/trained_saved_model": {"serving_default": "imports; needs what is gone"},
    "savedmodel_tf2/rust_keras_multi": SAME,
    "savedmodel_tf2/rust_regression": {},
    "savedmodel_tf2/tfdf_adult_rf/saved_model_adult_rf": {
        "serving_default": "SurgeryError: cannot freeze: the outputs need `SimpleMLCreateModelResource` "
        "(SimpleMLCreateModelResource), and it is filled from files when the model is loaded, which a graph alone "
        "cannot do"
    },
    "savedmodel_tf2/tfjs_node/int64_multiply": SAME,
    "savedmodel_tf2/tfjs_node/model_multi_output": SAME,
    "savedmodel_tf2/tfjs_node/module_with_multiple_signatures": SAME,
    "savedmodel_tf2/tfjs_node/uint8_multiply": SAME,
    "savedmodel_tf2/tfnet_keras_assets/lstm_from_sequential": SAME,
    "savedmodel_tf2/tfnet_keras_assets/python_func_model": SAME,
    "savedmodel_tf2/tfnet_keras_assets/simple_model_from_auto_compile": SAME,
}
"""What is expected of each signature, if not that it is the same."""


@pytest.fixture(scope="module")
def answers(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, str]]:
    jobs = [json.dumps({"case": name}) for name in (*CASES, *REFUSED)]
    jobs += [json.dumps({"nest": seed}) for seed in NESTS]
    jobs += [json.dumps({"path": str(FIXTURES / name)}) for name in ("saved_model", "tf2_saved_model", "hub_module")]
    if ZOO.exists():
        jobs += [json.dumps({"path": str(ZOO / name)}) for name in MODELS]
    done = subprocess.run(
        [sys.executable, str(ORACLE), str(tmp_path_factory.mktemp("models"))],
        input="\n".join(jobs),
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": str(FIXTURES.parent)},
    )
    assert done.returncode == 0, done.stderr[-2000:]
    found: dict[str, dict[str, str]] = json.loads(done.stdout)
    return found


pytestmark = pytest.mark.tensorflow


@pytest.mark.parametrize("name", CASES)
def test_a_module(answers: dict[str, dict[str, str]], name: str) -> None:
    assert answers[name] == CASES[name]


@pytest.mark.parametrize("name", REFUSED)
def test_what_no_checkpoint_holds_is_refused_by_name(answers: dict[str, dict[str, str]], name: str) -> None:
    assert answers[name]["serving_default"].startswith(REFUSED[name])


@pytest.mark.parametrize("seed", NESTS)
def test_functions_that_call_one_another(answers: dict[str, dict[str, str]], seed: int) -> None:
    assert answers[f"nest {seed}"] == {"y": "same"}


@needs_zoo
@pytest.mark.parametrize("name", MODELS)
def test_a_real_model(answers: dict[str, dict[str, str]], name: str) -> None:
    found = answers[str(ZOO / name)]
    assert found
    for signature, said in found.items():
        expected = MODELS[name].get(signature, "imports; needs what is gone" if "trained" in name else "same")
        assert said == expected, signature


def test_assets_are_in_the_graph(answers: dict[str, dict[str, str]]) -> None:
    assert answers[str(FIXTURES / "saved_model")] == SAME
    assert answers[str(FIXTURES / "tf2_saved_model")] == {**SAME, "scale": "same"}
    hub = answers[str(FIXTURES / "hub_module")]["default"]  # TensorFlow's loader looks for the asset elsewhere
    assert hub.startswith("TensorFlow: NotFoundError")
    assert hub.endswith("frozen: runs")
