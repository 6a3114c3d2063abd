"""The main job on the small models of `fixtures/`: graft, export, prove; and everything that must not pass."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import tfinspect as ti
from tfinspect import runtimes
from tfinspect.api import export_onnx as onnx_export
from tfinspect.api.graft import graft_file
from tfinspect.errors import (
    AlreadyConnectedError,
    IncompatibleGraftError,
    RuntimeFailedError,
    UnsupportedOpsError,
    UsageError,
)
from tfinspect.formats import heads, onnx
from tfinspect.ir.attrs import Attr
from tfinspect.ir.dtypes import DType
from tfinspect.ir.graph import Graph, Node, const, placeholder
from tfinspect.ir.tensors import Tensor

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = [pytest.mark.tensorflow, pytest.mark.filterwarnings("ignore")]

ROOT = Path(__file__).parent.parent
FIXTURES = ROOT / "fixtures"
JUDGE = ROOT.parent / "shared" / "tools" / "judge_onnx.py"
TINY = FIXTURES / "inception_tiny.pb"
BOTTLENECK = "pool_3/_reshape:0"
LABELS = ["daisy", "dandelion", "roses", "sunflowers", "tulips"]


@pytest.fixture(scope="module")
def flowers(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The small Inception with its new head, written."""
    path = tmp_path_factory.mktemp("flowers") / "flowers.pb"
    graft_file(TINY, path, bottleneck=BOTTLENECK, head=FIXTURES / "head.npz", labels=FIXTURES / "labels.txt")
    return path


@pytest.fixture(scope="module")
def flowers_onnx(flowers: Path) -> Path:
    """Its ONNX file, proved."""
    report = ti.export_onnx(flowers)
    assert report.verdict is ti.Verdict.PASS
    return Path(report.output)


@pytest.fixture(autouse=True)
def _nothing_left_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No temporary file may outlive a test, wherever it goes wrong."""
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(scratch))
    yield
    assert [p for p in scratch.iterdir() if p.name != ".ses"] == []
    assert [p.name for p in tmp_path.rglob(".*.tmp")] == []


def judged(graph: Path, model: Path, *options: str) -> None:
    """Ask the outside judge, where it is at hand."""
    if JUDGE.is_file():
        done = subprocess.run(
            [sys.executable, JUDGE, graph, model, *options], capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr[-2000:]


def features(n: int = 6, size: int = 75) -> list[np.ndarray]:
    rng = np.random.default_rng(1)
    return [rng.uniform(-1, 1, (1, size, size, 3)).astype("f4") for _ in range(n)]


# the story ----------------------------------------------------------------------------------------------------------


def test_a_grafted_graph_computes_head_of_trunk(flowers: Path, tmp_path: Path) -> None:
    trunk, _ = ti.cut(TINY, bottleneck=BOTTLENECK)
    ti.write_graph(trunk, tmp_path / "trunk.pb")
    head = np.load(FIXTURES / "head.npz")
    with runtimes.tensorflow_graph(tmp_path / "trunk.pb") as a, runtimes.tensorflow_graph(flowers) as b:
        for x in features():
            (values,) = a.run([BOTTLENECK], {"Mul:0": x})
            logits, softmax = b.run(["head/logits:0", "head/softmax:0"], {"Mul:0": x})
            want = values.astype("f8") @ head["weights"] + head["biases"]
            np.testing.assert_allclose(logits, want, rtol=1e-5, atol=1e-5)
            power = np.exp(want - want.max())
            np.testing.assert_allclose(softmax, power / power.sum(), rtol=1e-5, atol=1e-6)


def test_the_onnx_file_passes_and_the_judge_agrees(flowers: Path, flowers_onnx: Path) -> None:
    judged(flowers, flowers_onnx)
    assert ti.verify(flowers, flowers_onnx).verdict is ti.Verdict.PASS


def test_the_onnx_file_says_what_was_proved(flowers: Path, flowers_onnx: Path) -> None:
    found = onnx.read(flowers_onnx).metadata
    assert found["tfinspect.source_sha256"] == ti.read_graph(flowers).source.sha256
    assert found["tfinspect.version"] == ti.__version__
    assert found["tfinspect.converter"].startswith("tf2onnx ")
    assert found["tfinspect.reference"].startswith("tensorflow ")
    assert found["tfinspect.candidate"].startswith("onnxruntime ")
    assert found["tfinspect.verdict"] == "PASS"
    assert found["tfinspect.seed"] == "0"
    assert 0 < float(found["tfinspect.max_abs"]) < 1e-4
    assert 0 < float(found["tfinspect.tolerance"]) <= 1e-4
    assert json.loads(found["labels"]) == LABELS


def test_the_saved_model_keeps_jpeg_and_labels(flowers: Path, tmp_path: Path) -> None:
    target = tmp_path / "flowers"
    assert ti.export_saved_model(flowers, target).verdict is ti.Verdict.PASS
    assert (target / "assets" / "labels.txt").read_text().split() == LABELS
    script = (
        "import sys, tensorflow as tf\n"
        "serve = tf.saved_model.load(sys.argv[1]).signatures['serving_default']\n"
        "(key,) = serve.structured_input_signature[1]\n"
        "assert serve.structured_input_signature[1][key].dtype == tf.string\n"
        "(answer,) = serve(**{key: tf.constant(open(sys.argv[2], 'rb').read())}).values()\n"
        "print(*answer.numpy().ravel().tolist())\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, target, FIXTURES / "photo.jpg"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    with runtimes.tensorflow_graph(flowers) as runner:
        photo = np.array((FIXTURES / "photo.jpg").read_bytes(), object)
        (want,) = runner.run(["head/softmax:0"], {"DecodeJpeg/contents:0": photo})
    np.testing.assert_allclose(np.array(done.stdout.split(), "f8"), want.ravel(), rtol=1e-6)


# options ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("start", ["Mul:0", "DecodeJpeg:0", "ResizeBilinear", "conv/Conv2D:0"])
def test_it_starts_where_it_is_told(flowers: Path, tmp_path: Path, start: str) -> None:
    report = ti.export_onnx(flowers, tmp_path / "m.onnx", inputs=[start], outputs=["head/softmax", "head/logits"])
    assert report.verdict is ti.Verdict.PASS
    written = onnx.read(report.output)
    assert [spec.name for spec in written.inputs] == [start if ":" in start else f"{start}:0"]
    assert [spec.name for spec in written.outputs] == ["head/softmax:0", "head/logits:0"]
    assert [o.name for o in report.report.outputs] == ["head/softmax:0", "head/logits:0"]


@pytest.mark.parametrize(("batch", "size"), [("dynamic", None), ("4", 4), ("1", 1)])
def test_batches_of_a_graph_for_one_image(flowers: Path, tmp_path: Path, batch: str, size: int | None) -> None:
    report = ti.export_onnx(flowers, tmp_path / "m.onnx", inputs=["Mul:0"], batch=batch)
    assert report.verdict is ti.Verdict.PASS
    assert onnx.read(report.output).inputs[0].shape == (size, 75, 75, 3)
    with runtimes.onnx_model(report.output) as got, runtimes.tensorflow_graph(flowers) as want:
        for n in (1, 2, 3) if size is None else (size,):
            images = np.concatenate(features(n))
            (answer,) = got.run(["head/softmax:0"], {"Mul:0": images})
            one_by_one = [want.run(["head/softmax:0"], {"Mul:0": image[None]})[0] for image in images]
            np.testing.assert_allclose(answer, np.concatenate(one_by_one), rtol=1e-4, atol=1e-6)
    assert ti.verify(flowers, report.output).verdict is ti.Verdict.PASS


def test_pixels_have_no_batch(flowers: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no input has a batch dimension"):
        ti.export_onnx(flowers, tmp_path / "m.onnx", batch="dynamic")


@pytest.mark.parametrize("opset", [13, 17])
def test_opsets(flowers: Path, tmp_path: Path, opset: int) -> None:
    report = ti.export_onnx(flowers, tmp_path / "m.onnx", inputs=["Mul:0"], opset=opset)
    assert report.verdict is ti.Verdict.PASS
    assert onnx.read(report.output).opsets[""] == opset


def test_inputs_from_a_file(flowers: Path, tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.concatenate(features(5)))
    report = ti.export_onnx(flowers, tmp_path / "m.onnx", inputs=["Mul:0"], inputs_from=tmp_path / "x.npy")
    assert report.verdict is ti.Verdict.PASS
    assert (report.report.samples, report.report.seed) == (5, None)
    assert onnx.read(report.output).metadata["tfinspect.seed"] == ""
    np.savez(tmp_path / "x.npz", Mul=np.concatenate(features(1)))
    single = ti.export_onnx(flowers, tmp_path / "n.onnx", inputs=["Mul:0"], inputs_from=tmp_path / "x.npz")
    assert single.verdict is ti.Verdict.INCONCLUSIVE
    assert "only 1 input could be compared" in " ".join(single.report.outputs[0].reasons)


def test_the_seed_makes_other_inputs_and_the_same_verdict(flowers: Path, tmp_path: Path) -> None:
    reports = [
        ti.export_onnx(flowers, tmp_path / f"{at}.onnx", inputs=["Mul:0"], seed=seed).report
        for at, seed in enumerate((1, 2, 1))
    ]
    differences = [(report.outputs[0].max_abs, report.outputs[0].rms) for report in reports]
    assert differences[0] == differences[2] != differences[1]
    assert {report.verdict for report in reports} == {ti.Verdict.PASS}


def test_a_tighter_tolerance_of_the_callers_fails(flowers: Path, tmp_path: Path) -> None:
    report = ti.export_onnx(flowers, tmp_path / "m.onnx", inputs=["Mul:0"], outputs=["head/logits"], atol=1e-12)
    assert report.verdict is ti.Verdict.FAIL
    assert not (tmp_path / "m.onnx").exists()


def test_settings(tmp_path: Path) -> None:
    source = FIXTURES / "training" / "model.ckpt-3.meta"
    values = [
        ti.export_onnx(source, tmp_path / f"{keep}.onnx", inputs=["input/image"], outputs=["logits/add"], **settings)
        for keep, settings in (("one", {}), ("same", {"settings": ["keep_prob=1.0"]}))
    ]
    assert [v.verdict for v in values] == [ti.Verdict.PASS] * 2
    assert {str(setting.ref): setting.value for setting in values[0].settings} == {
        "is_training:0": False,
        "keep_prob:0": 1,
    }
    with pytest.raises(UsageError, match="both as an input and as a setting"):
        ti.export_onnx(source, tmp_path / "x.onnx", inputs=["keep_prob"], settings=["keep_prob=1"], outputs=["softmax"])


def test_weights_in_a_file_of_their_own(flowers: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    report = ti.export_onnx(flowers, tmp_path / "m.onnx", inputs=["Mul:0"], external_data=True)
    assert report.verdict is ti.Verdict.PASS
    assert sorted(p.name for p in tmp_path.glob("m*")) == ["m.onnx", "m.onnx.data"]
    assert ti.verify(flowers, tmp_path / "m.onnx").verdict is ti.Verdict.PASS
    monkeypatch.setattr(runtimes, "check_onnx", lambda _: (_ for _ in ()).throw(RuntimeFailedError("no")))
    with pytest.raises(RuntimeFailedError):
        ti.export_onnx(flowers, tmp_path / "n.onnx", inputs=["Mul:0"], external_data=True)
    assert list(tmp_path.glob("n*")) == []


# freezing -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("kind", "keep"), [("training", False), ("training", True), ("training_v1", False)])
def test_a_frozen_graph_gives_the_same_bits(kind: str, tmp_path: Path, *, keep: bool) -> None:
    prefix = FIXTURES / kind / "model.ckpt-3"
    frozen = ti.freeze(f"{prefix}.meta", prefix, outputs=["softmax"], keep_training=keep)
    ti.write_graph(frozen, tmp_path / "frozen.pb")
    x = np.random.default_rng(2).standard_normal((3, 12, 12, 3)).astype("f4")
    flags = {"is_training:0": np.zeros((), bool), "keep_prob:0": np.array(1, "f4")}
    assert ({"is_training", "keep_prob"} <= {node.name for node in frozen if node.op.startswith("Placeholder")}) == keep
    feeds = {"input/image:0": x}
    with (
        runtimes.tensorflow_graph(tmp_path / "frozen.pb") as got,
        runtimes.tensorflow_graph(f"{prefix}.meta", checkpoint=prefix) as want,
    ):
        (a,) = got.run(["softmax:0"], {**feeds, **flags} if keep else feeds, variant="plain")
        (b,) = want.run(["softmax:0"], {**feeds, **flags}, variant="plain")
    assert a.tobytes() == b.tobytes()
    assert a.std() > 0
    queue = {node.op for node in frozen.nodes} & {"FIFOQueueV2", "QueueDequeueV2"}
    assert queue == set()  # what the queue delivers is fed now


def test_outputs_are_inferred() -> None:
    frozen = ti.freeze(FIXTURES / "training" / "model.ckpt-3.meta")
    assert "softmax" in frozen
    assert "loss" not in frozen


# grafting -----------------------------------------------------------------------------------------------------------


def test_the_unconnected_classifier_of_a_checkpoint(tmp_path: Path) -> None:
    source = FIXTURES / "retrained" / "retrained.ckpt.meta"
    done = graft_file(source, tmp_path / "joined.pb", bottleneck=BOTTLENECK)
    assert {n.op for n in done.graph.nodes}.isdisjoint({"VariableV2", "Placeholder", "SaveV2"})
    report = ti.export_onnx(tmp_path / "joined.pb")
    assert report.verdict is ti.Verdict.PASS
    judged(tmp_path / "joined.pb", Path(report.output))
    with pytest.raises(AlreadyConnectedError, match="final"):
        ti.graft(tmp_path / "joined.pb", bottleneck=BOTTLENECK)


def test_a_head_from_a_checkpoint_beside_its_graph(tmp_path: Path) -> None:
    source = FIXTURES / "retrained" / "retrained.ckpt"
    head = ti.read_head(source, scope="final")
    grafted = ti.graft(f"{source}.meta", head, bottleneck=BOTTLENECK, name="mine")
    own = ti.graft(f"{source}.meta", bottleneck=BOTTLENECK)
    ti.write_graph(grafted, tmp_path / "a.pb")
    ti.write_graph(own, tmp_path / "b.pb")
    logits = next(n.name for n in grafted.nodes if n.name.startswith("mine/") and n.name.endswith("logits"))
    with runtimes.tensorflow_graph(tmp_path / "a.pb") as a, runtimes.tensorflow_graph(tmp_path / "b.pb") as b:
        for x in features(3):
            (got,) = a.run([f"{logits}:0"], {"Mul:0": x})
            (want,) = b.run(["final/logits:0"], {"Mul:0": x})
            np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-5)


def test_a_head_that_is_a_frozen_graph(tmp_path: Path) -> None:
    _, rest = ti.cut(TINY, bottleneck=BOTTLENECK)
    ti.write_graph(rest, tmp_path / "head.pb")
    ti.write_graph(ti.graft(TINY, tmp_path / "head.pb", bottleneck=BOTTLENECK, name="again"), tmp_path / "whole.pb")
    report = ti.verify(TINY, tmp_path / "whole.pb", match=["softmax:0=again/softmax:0"])
    assert report.verdict is ti.Verdict.PASS
    assert report.outputs[0].max_abs == 0


def test_the_old_head_stays_on_request(tmp_path: Path) -> None:
    done = graft_file(TINY, tmp_path / "both.pb", bottleneck=BOTTLENECK, head=FIXTURES / "head.npz", keep=True)
    assert {"softmax", "head/softmax"} <= set(done.graph.by_name)
    assert "softmax:0" in [spec.name for spec in done.outputs]
    report = ti.export_onnx(tmp_path / "both.pb", inputs=["Mul:0"], outputs=["softmax", "head/softmax"])
    assert report.verdict is ti.Verdict.PASS


def test_what_does_not_fit_is_not_written(tmp_path: Path) -> None:
    np.savez(tmp_path / "narrow.npz", weights=np.zeros((31, 5), "f4"), biases=np.zeros(5, "f4"))
    with pytest.raises(IncompatibleGraftError, match="31"):
        graft_file(TINY, tmp_path / "x.pb", bottleneck=BOTTLENECK, head=tmp_path / "narrow.npz")
    (tmp_path / "four.txt").write_text("a\nb\nc\nd\n")
    with pytest.raises(UsageError, match="4 labels do not fit 5 classes"):
        graft_file(
            TINY, tmp_path / "x.pb", bottleneck=BOTTLENECK, head=FIXTURES / "head.npz", labels=tmp_path / "four.txt"
        )
    assert not (tmp_path / "x.pb").exists()
    assert heads.read(FIXTURES / "head.npz").layers[0].weights.shape == (32, 5)


# verdicts -----------------------------------------------------------------------------------------------------------


def tampered(source: Path, target: Path, how: str) -> None:
    """Write an ONNX file with one thing wrong."""
    import onnx as onnx_package
    from onnx import numpy_helper

    model = onnx_package.load(source)
    weight = next(t for t in model.graph.initializer if len(t.dims) == 4 and t.dims[0] == t.dims[1])
    values = numpy_helper.to_array(weight).copy()
    if how == "one weight":
        values.reshape(-1)[7] *= 1.01
    elif how == "whole kernel":
        values *= 1.01
    elif how == "transposed":
        values = values.transpose(1, 0, 2, 3).copy()
    elif how == "no activation":
        relu = next(n for n in model.graph.node if n.op_type == "Relu")
        relu.op_type = "Identity"
    elif how == "classes":
        last = next(t for t in model.graph.initializer if list(t.dims)[-1] == 5 and len(t.dims) == 2)
        swapped = numpy_helper.to_array(last)[:, [1, 0, 2, 3, 4]].copy()
        last.CopyFrom(numpy_helper.from_array(swapped, last.name))
    weight.CopyFrom(numpy_helper.from_array(values, weight.name))
    onnx_package.save(model, target)


@pytest.mark.parametrize("how", ["one weight", "whole kernel", "transposed", "no activation", "classes"])
def test_a_tampered_file_fails_and_the_node_is_named(
    flowers: Path, flowers_onnx: Path, tmp_path: Path, how: str
) -> None:
    tampered(flowers_onnx, tmp_path / "bad.onnx", how)
    report = ti.verify(flowers, tmp_path / "bad.onnx", bisect=True)
    assert report.verdict is ti.Verdict.FAIL
    assert report.exit_status == 1
    assert report.divergence is not None
    assert report.divergence.node in ti.read_graph(flowers)


def test_another_model_fails(flowers: Path, tmp_path: Path) -> None:
    other = ti.export_onnx(TINY, tmp_path / "other.onnx", inputs=["Mul:0"], outputs=["softmax/logits"])
    report = ti.verify(flowers, other.output, outputs=["head/logits"])
    assert report.verdict is ti.Verdict.FAIL
    assert "shape" in " ".join(report.outputs[0].reasons)


def dense(tmp_path: Path, weights: np.ndarray, biases: np.ndarray, *tail: str) -> Path:
    """x [N, 4] times weights, and then some."""
    kind = {"T": Attr.of(DType.FLOAT)}
    nodes = [
        placeholder("x", DType.FLOAT, (None, 4)),
        const("w", Tensor.of(weights.astype("f4"))),
        const("b", Tensor.of(biases.astype("f4"))),
        Node("product", "MatMul", ("x", "w"), kind),
        Node("logits", "BiasAdd", ("product", "b"), kind),
    ]
    nodes += [Node(op.lower(), op, (nodes[-1].name,), kind) for op in tail]
    for at in range(5, len(nodes)):
        nodes[at] = nodes[at].replace(inputs=[nodes[at - 1].name])
    path = tmp_path / "dense.pb"
    ti.write_graph(Graph(nodes), path)
    return path


@pytest.mark.parametrize(
    ("case", "reason"),
    [
        ("constant", "does not change with the input"),
        ("dead", "does not change with the input"),
        ("saturated", "proves nothing"),
        ("nan", "NaN"),
    ],
)
def test_what_proves_nothing_is_inconclusive(tmp_path: Path, case: str, reason: str) -> None:
    rng = np.random.default_rng(3)
    weights = rng.standard_normal((4, 3))
    path = {
        "constant": lambda: dense(tmp_path, weights * 0, np.ones(3)),
        "dead": lambda: dense(tmp_path, weights, np.full(3, -1e6), "Relu"),
        "saturated": lambda: dense(tmp_path, weights * 0, np.array([1e4, 0, 0]), "Softmax"),
        "nan": lambda: dense(tmp_path, weights, np.full(3, -1e6), "Log"),
    }[case]()
    report = ti.export_onnx(path)
    assert report.verdict is ti.Verdict.INCONCLUSIVE
    assert report.report.exit_status == 6
    assert reason in " ".join(report.report.outputs[0].reasons)
    assert report.output == str(tmp_path / "dense.onnx.rejected")
    assert sorted(p.name for p in tmp_path.iterdir() if p.is_file()) == ["dense.onnx.rejected", "dense.pb"]


def wrong_conversion(monkeypatch: pytest.MonkeyPatch, how: str) -> None:
    """Let the exporter hand the converter a graph that is not the model's."""
    right = onnx_export.convert_graph

    def wrong(convertible: Any, *rest: Any, **options: Any) -> Any:
        from dataclasses import replace

        graph, weights = convertible.graph, dict(convertible.weights)
        nodes = []
        for node in graph.nodes:
            tensor = node.tensor() if node.op == "Const" else None
            if tensor is not None and tensor.dtype is DType.FLOAT and len(tensor.shape) == 2 and how == "classes":
                nodes.append(const(node.name, Tensor.of(tensor.numpy()[:, ::-1].copy())))
            elif tensor is not None and tensor.dtype is DType.FLOAT and len(tensor.shape) == 4 and how == "one weight":
                values = tensor.numpy().copy()
                values.reshape(-1)[0] *= 1.01
                nodes.append(const(node.name, Tensor.of(values)))
                how_done.append(node.name)
            else:
                nodes.append(node)
        return right(replace(convertible, graph=graph.replace(nodes=nodes), weights=weights), *rest, **options)

    how_done: list[str] = []
    monkeypatch.setattr(onnx_export, "convert_graph", wrong)


@pytest.mark.parametrize("how", ["classes", "one weight"])
def test_a_wrong_exporter_is_found_out(
    flowers: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    wrong_conversion(monkeypatch, how)
    (tmp_path / "old.onnx").write_bytes(b"older and good")
    report = ti.export_onnx(flowers, tmp_path / "old.onnx", inputs=["Mul:0"], force=True)
    assert report.verdict is ti.Verdict.FAIL
    assert not report.accepted
    assert (tmp_path / "old.onnx").read_bytes() == b"older and good"
    assert report.output == str(tmp_path / "old.onnx.rejected")
    assert onnx.read(report.output).metadata["tfinspect.verdict"] == "FAIL"
    kept = ti.export_onnx(flowers, tmp_path / "kept.onnx", inputs=["Mul:0"], require="written")
    assert kept.verdict is ti.Verdict.FAIL
    assert (tmp_path / "kept.onnx").exists()


def test_a_wrong_epsilon_is_found_out(flowers: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    right = onnx_export.modernize

    def wrong(graph: Graph) -> tuple[Graph, list[str]]:
        newer, notes = right(graph)
        nodes = [
            n.replace(attrs={**n.attrs, "epsilon": Attr.of(0.1)}) if n.op.startswith("FusedBatchNorm") else n
            for n in newer.nodes
        ]
        return newer.replace(nodes=nodes), notes

    monkeypatch.setattr(onnx_export, "modernize", wrong)
    report = ti.export_onnx(flowers, tmp_path / "m.onnx", inputs=["Mul:0"])
    assert report.verdict is ti.Verdict.FAIL
    assert sorted(p.name for p in tmp_path.iterdir() if p.is_file()) == ["m.onnx.rejected"]


# failures -----------------------------------------------------------------------------------------------------------


def test_a_conversion_that_fails_does_not_wait_for_the_reference(
    flowers: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise UnsupportedOpsError("no")

    endless = runtimes.ChildRunner.run

    def slow(self: Any, *args: Any, **kwargs: Any) -> Any:
        for _ in range(600):
            endless(self, *args, **kwargs)
        return endless(self, *args, **kwargs)

    monkeypatch.setattr(onnx_export, "convert_graph", refuse)
    monkeypatch.setattr(runtimes.ChildRunner, "run", slow)
    started = time.monotonic()
    with pytest.raises(UnsupportedOpsError):
        ti.export_onnx(flowers, tmp_path / "m.onnx")
    assert time.monotonic() - started < 15  # 600 times 16 runs would take longer
    assert list(tmp_path.glob("m*")) == []


def test_what_tensorflow_refuses_is_said(tmp_path: Path) -> None:
    kind = {"T": Attr.of(DType.FLOAT)}
    nodes = [
        placeholder("x", DType.FLOAT, (None, 4)),
        const("shape", Tensor.of(np.array([7, 11], "i4"))),
        Node("y", "Reshape", ("x", "shape"), {**kind, "Tshape": Attr.of(DType.INT32)}),
    ]
    ti.write_graph(Graph(nodes), tmp_path / "bad.pb")
    with pytest.raises(RuntimeFailedError, match=r"bad\.pb"):
        ti.export_onnx(tmp_path / "bad.pb")
    assert sorted(p.name for p in tmp_path.iterdir() if p.is_file()) == ["bad.pb"]


def test_a_graph_that_touches_files_is_not_run(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    nodes = [
        placeholder("x", DType.STRING, ()),
        const("name", Tensor.of(np.array(str(secret).encode(), object))),
        Node("write", "WriteFile", ("name", "x")),
        Node("y", "Identity", ("x", "^write"), {"T": Attr.of(DType.STRING)}),
    ]
    ti.write_graph(Graph(nodes), tmp_path / "bad.pb")
    with pytest.raises(ti.TfinspectError, match="WriteFile"):
        ti.export_saved_model(tmp_path / "bad.pb")
    assert not secret.exists()


def command(*words: str | Path) -> list[str]:
    return [sys.executable, "-m", "tfinspect", *map(str, words)]


def environment(scratch: Path) -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT), "TMPDIR": str(scratch)}


def children(of: int) -> list[int]:
    path = Path(f"/proc/{of}/task")
    return [int(c) for t in path.iterdir() for c in (t / "children").read_text().split()] if path.exists() else []


@pytest.mark.parametrize("after", [0.6, 2.5, 4.0])
def test_ctrl_c_leaves_nothing(flowers: Path, tmp_path: Path, after: float) -> None:
    scratch = tmp_path / "tmp"
    scratch.mkdir()
    process = subprocess.Popen(
        command("export", flowers, "--onnx", "-o", tmp_path / "m.onnx"),
        env=environment(scratch),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    time.sleep(after)
    started = children(process.pid)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=20)
    if process.returncode == 0:
        pytest.skip("it was faster than the signal")
    assert process.returncode == 130, errors
    assert b"Traceback" not in errors
    deadline = time.monotonic() + 5  # a child that was only just starting notices a moment later
    while any(Path(f"/proc/{pid}").exists() for pid in started) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert [pid for pid in started if Path(f"/proc/{pid}").exists()] == []
    assert [p for p in scratch.iterdir() if p.name != ".ses"] == []  # onnxruntime's own
    assert list(tmp_path.glob("*.onnx*")) + list(tmp_path.glob(".m*")) == []


@pytest.mark.skipif(shutil.which("prlimit") is None, reason="needs prlimit")
@pytest.mark.parametrize("kind", ["--onnx", "--saved-model"])
def test_a_full_disk_leaves_nothing(flowers: Path, tmp_path: Path, kind: str) -> None:
    scratch = tmp_path / "tmp"
    scratch.mkdir()
    done = subprocess.run(
        ["prlimit", "--fsize=4096", *command("export", flowers, kind, "--inputs", "Mul:0", "-o", tmp_path / "m")],
        env=environment(scratch),
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 5, done.stderr
    assert "Traceback" not in done.stderr
    assert "cannot be written" in done.stderr
    assert [p for p in scratch.iterdir() if p.name != ".ses"] == []
    assert [p.name for p in tmp_path.iterdir()].count("m") == 0
    assert list(tmp_path.glob(".m*")) == []
