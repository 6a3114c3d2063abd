"""The Python interface, as a notebook would use it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import tfinspect as ti
from tfinspect.errors import UnrestoredVariablesError, UsageError, WrongKindError

ROOT = Path(__file__).parent.parent
FIXTURES = ROOT / "fixtures"


def test_every_public_name_is_there() -> None:
    for name in ti.__all__:
        assert getattr(ti, name) is not None
    assert set(ti.__all__) <= set(dir(ti))
    with pytest.raises(AttributeError, match="nonsense"):
        ti.nonsense  # noqa: B018


def test_verify_stays_the_verb_when_the_subpackage_is_loaded() -> None:
    script = (
        "import tfinspect as ti\n"
        "import tfinspect.verify.verdict\n"
        "from tfinspect.verify import report\n"
        "from tfinspect import verify\n"
        "assert verify is ti.verify and verify.__module__ == 'tfinspect.api.verify', verify\n"
        "assert report.Report is ti.Report\n"
    )
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", script], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_surgery_loads_no_framework(tmp_path: Path) -> None:
    script = (
        "import sys, tfinspect as ti\n"
        "graph = ti.read_graph('fixtures/training/model.ckpt-3.meta')\n"
        "frozen = ti.freeze(graph, ti.read_checkpoint('fixtures/training/model.ckpt-3'), outputs=['softmax'])\n"
        "trunk, rest = ti.cut(frozen, bottleneck='bottleneck')\n"
        "ti.write_graph(trunk, sys.argv[1])\n"
        "loaded = {name.partition('.')[0] for name in sys.modules}\n"
        "assert loaded.isdisjoint({'tensorflow', 'tf2onnx', 'onnx', 'onnxruntime', 'keras'}), loaded\n"
    )
    command = [sys.executable, "-c", script, tmp_path / "trunk.pb"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert ti.read_graph(tmp_path / "trunk.pb").node("bottleneck").op == "Mean"


def test_checkpoints_are_read_when_asked() -> None:
    checkpoint = ti.read_checkpoint(FIXTURES / "training" / "model.ckpt-3")
    info = checkpoint.variables["conv/weights"]
    assert (str(info.dtype), info.shape, info.nbytes, info.role) == ("float32", (3, 3, 3, 6), 648, "weight")
    weights = checkpoint.read("conv/weights")
    assert np.asarray(weights.numpy() if hasattr(weights, "numpy") else weights).shape == (3, 3, 3, 6)


def test_freezing_takes_averages_and_other_names() -> None:
    meta, prefix = FIXTURES / "training" / "model.ckpt-3.meta", FIXTURES / "training" / "model.ckpt-3"
    checkpoint = ti.read_checkpoint(prefix)

    def weights(**options: object) -> np.ndarray:
        tensor = ti.freeze(meta, checkpoint, outputs=["softmax"], **options).node("conv/weights").tensor()  # type: ignore[arg-type]
        assert tensor is not None
        return tensor.numpy()

    def stored(name: str) -> np.ndarray:
        value = checkpoint.read(name)
        return np.asarray(value.numpy() if hasattr(value, "numpy") else value)

    assert (weights() == stored("conv/weights")).all()
    average = stored("conv/weights/ExponentialMovingAverage")
    assert (weights(averages=True) == average).all()
    assert (weights() != average).any()
    with pytest.raises(UnrestoredVariablesError, match="conv") as caught:
        ti.freeze(meta, checkpoint, outputs=["softmax"], rename={"conv": "elsewhere"})
    assert caught.value.exit_status == 4


def test_failures_are_of_one_family(tmp_path: Path) -> None:
    tiny = FIXTURES / "inception_tiny.pb"
    calls = [
        lambda: ti.open(tmp_path / "absent"),
        lambda: ti.read_graph(FIXTURES / "photo.jpg"),
        lambda: ti.read_checkpoint(tiny),
        lambda: ti.cut(tiny, bottleneck="nowhere"),
        lambda: ti.cut(tiny, bottleneck="mixed/conv"),
        lambda: ti.graft(tiny, FIXTURES / "labels.txt", bottleneck="pool_3/_reshape"),
        lambda: ti.freeze(tiny),
        lambda: ti.export_onnx(FIXTURES / "partitioned" / "model.ckpt.data-00000-of-00002", inputs=["nowhere"]),
        lambda: ti.verify(tiny, FIXTURES / "head.npz"),
    ]
    for call in calls:
        with pytest.raises(ti.TfinspectError) as caught:
            call()
        assert caught.value.message[0].islower() or caught.value.message[0] in "/`", caught.value.message


def test_an_input_the_outputs_do_not_need_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError):
        ti.export_onnx(FIXTURES / "inception_tiny.pb", tmp_path / "x.onnx", inputs=["softmax"], outputs=["pool"])
    with pytest.raises(WrongKindError):
        ti.export_onnx(FIXTURES / "dense.onnx", tmp_path / "x.onnx")


@pytest.mark.tensorflow
@pytest.mark.filterwarnings("ignore")
def test_the_whole_story(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    model = ti.open(FIXTURES / "inception_tiny.pb")
    assert model.graph is not None
    graph = ti.read_graph(FIXTURES / "inception_tiny.pb")
    trunk, rest = ti.cut(graph, bottleneck="pool_3/_reshape:0")
    assert rest.node("pool_3/_reshape").op == "Placeholder"
    flowers = ti.graft(trunk, ti.read_head(FIXTURES / "head.npz"), bottleneck="pool_3/_reshape:0", name="flowers")
    assert flowers.source is None  # no longer what a file holds
    report = ti.export_onnx(flowers, "flowers.onnx", inputs=["Mul:0"], outputs=["flowers/softmax:0"])
    assert report.verdict is ti.Verdict.PASS
    assert report.accepted
    assert [spec.name for spec in report.inputs] == ["Mul:0"]
    ti.write_graph(flowers, "flowers.pb")
    again = ti.verify("flowers.pb", "flowers.onnx")
    assert again.verdict is ti.Verdict.PASS
    assert again.reference.sha256 == ti.read_graph("flowers.pb").source.sha256  # type: ignore[union-attr]
    assert report.report.reference.sha256 == again.reference.sha256  # the temporary file held the same bytes
    with pytest.raises(ti.TfinspectError, match="exists"):
        ti.export_onnx(flowers, "flowers.onnx", inputs=["Mul:0"])


@pytest.mark.tensorflow
@pytest.mark.filterwarnings("ignore")
def test_a_changed_graph_of_a_checkpoint_is_its_own_reference(tmp_path: Path) -> None:
    frozen = ti.freeze(
        FIXTURES / "training_v1" / "model.ckpt-3.meta", FIXTURES / "training_v1" / "model.ckpt-3", outputs=["softmax"]
    )
    report = ti.export_onnx(frozen, tmp_path / "f.onnx", inputs=["input/image[3,12,12,3]"])
    assert report.verdict is ti.Verdict.PASS
    assert report.inputs[0].shape == (3, 12, 12, 3)
    assert ti.export_saved_model(frozen, tmp_path / "f", inputs=["input/image"]).verdict is ti.Verdict.PASS


def test_cut_begins_where_it_is_told() -> None:
    trunk, rest = ti.cut(FIXTURES / "inception_tiny.pb", bottleneck="pool_3/_reshape:0", inputs=["Mul:0"])
    assert trunk.node("Mul").op == "Placeholder"
    assert "DecodeJpeg" not in trunk
    assert rest.node("pool_3/_reshape").op == "Placeholder"
    whole, _ = ti.cut(FIXTURES / "inception_tiny.pb", bottleneck="pool_3/_reshape:0")
    assert "DecodeJpeg" in whole
