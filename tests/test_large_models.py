"""Models larger than one file may be, with the limit lowered: said before anything is read, or kept in several files."""

from __future__ import annotations

import functools
import json
import os
import resource
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tfinspect import formats
from tfinspect.api.export_onnx import export_onnx
from tfinspect.api.export_saved_model import export_saved_model
from tfinspect.api.freeze import Options, freeze, freeze_file, freeze_model, plan_file
from tfinspect.errors import LimitError, OutputError
from tfinspect.formats import graphdef, saved_model
from tfinspect.formats._bundle_writer import write_bundle
from tfinspect.ir.attrs import Attr
from tfinspect.ir.dtypes import DType
from tfinspect.ir.graph import Graph, Node, Versions, const, placeholder
from tfinspect.ir.refs import TensorRef
from tfinspect.ir.signature import Signature, TensorSpec
from tfinspect.ir.tensors import Tensor
from tfinspect.surgery.hold_apart import hold_apart
from tfinspect.verify.verdict import Verdict

if TYPE_CHECKING:
    from collections.abc import Mapping

FIXTURES = Path(__file__).parents[1] / "fixtures"

F = Attr.of(DType.FLOAT)
SIZE = 160  # of a layer: its weights take 102,400 bytes
LAYERS = 3


def values(seed: int = 0) -> dict[str, np.ndarray]:
    random = np.random.default_rng(seed)
    found: dict[str, np.ndarray] = {}
    for layer in range(LAYERS):
        found[f"layer_{layer}/weights"] = (random.standard_normal((SIZE, SIZE)) / 8).astype("f4")
        found[f"layer_{layer}/biases"] = random.standard_normal(SIZE).astype("f4")
    return found


def network(weights: Mapping[str, np.ndarray] | None) -> Graph:
    """A chain of dense layers; with variables where no weights are given."""
    nodes = [placeholder("x", DType.FLOAT, (None, SIZE))]
    for name, value in values().items():
        if weights is None:
            nodes.append(Node(name, "VariableV2", (), {"dtype": F, "shape": Attr.of_shape(value.shape)}))
        else:
            nodes.append(const(name, Tensor.of(weights[name])))
    flow = "x"
    for layer in range(LAYERS):
        scope = f"layer_{layer}"
        nodes.append(Node(f"{scope}/MatMul", "MatMul", (flow, f"{scope}/weights"), {"T": F}))
        nodes.append(Node(f"{scope}/add", "BiasAdd", (f"{scope}/MatMul", f"{scope}/biases"), {"T": F}))
        nodes.append(Node(f"{scope}/relu", "Relu", (f"{scope}/add",), {"T": F}))
        flow = f"{scope}/relu" if layer < LAYERS - 1 else f"{scope}/add"
    nodes.append(Node("out", "Identity", (flow,), {"T": F}))
    return Graph(nodes, versions=Versions(27))


def save_checkpoint(folder: Path) -> Path:
    write_bundle(folder / "model.ckpt", {name: Tensor.of(value) for name, value in values().items()})
    formats.write_graph(network(None), folder / "graph.pb")
    return folder / "model.ckpt"


SHAPES = st.lists(st.integers(0, 4), max_size=3)
BUNDLES = st.dictionaries(
    st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=20),
    st.tuples(st.sampled_from(["f4", "f8", "i8", "u1", "bool", "c8", "f2"]), SHAPES),
    max_size=40,
)


@settings(deadline=None, max_examples=60)
@given(BUNDLES)
def test_a_bundle_is_read_back_as_it_was_written(
    tmp_path_factory: pytest.TempPathFactory, chosen: dict[str, tuple[str, list[int]]]
) -> None:
    prefix = tmp_path_factory.mktemp("bundle") / "m"
    random = np.random.default_rng(len(chosen))
    arrays = {name: (random.random(shape) * 9).astype(dtype) for name, (dtype, shape) in chosen.items()}
    nbytes = write_bundle(prefix, {name: Tensor.of(array) for name, array in arrays.items()})
    assert nbytes == sum(array.nbytes for array in arrays.values())
    found = formats.read_checkpoint(prefix)
    assert set(found.variables) == set(arrays)
    assert not found.faults()
    for name, array in arrays.items():
        assert found.read(name).dtype == array.dtype
        assert found.read(name).shape == array.shape
        assert found.read(name).tobytes() == array.tobytes()


def test_an_index_of_many_blocks_is_read_back(tmp_path: Path) -> None:
    names = [f"scope_{number % 7}/layer_{number:06d}/{'long' * 10}" for number in range(9000)]
    write_bundle(tmp_path / "m", {name: Tensor.of(np.float32(number)) for number, name in enumerate(names)})
    assert (tmp_path / "m.index").stat().st_size > 2 << 18
    found = formats.read_checkpoint(tmp_path / "m")
    assert [float(found.read(name)) for name in names[::977]] == [float(n) for n in range(0, 9000, 977)]
    assert len(found.variables) == len(names)


def test_a_text_is_no_value_of_a_bundle(tmp_path: Path) -> None:
    with pytest.raises(LimitError, match=r"^`words` is of type string, which is not written to checkpoints$"):
        write_bundle(tmp_path / "m", {"words": Tensor.of(np.array([b"a"], object))})


def unreadable() -> np.ndarray:
    raise AssertionError("a weight was read")


def test_a_graph_that_is_too_large_is_refused_before_a_weight_is_read(tmp_path: Path) -> None:
    whole = network(values())
    nodes = [
        const(node.name, Tensor(tensor.dtype, tensor.shape, unreadable))
        if (tensor := node.tensor()) is not None
        else node
        for node in whole.nodes
    ]
    with pytest.raises(LimitError) as raised:
        graphdef.write(Graph(nodes), tmp_path / "out.pb", limit=300_000)
    assert raised.value.message == "the graph takes 309,120 bytes, and a GraphDef file cannot exceed 300,000"
    assert raised.value.hint == (
        "keep the weights in files of their own: tfinspect export MODEL --onnx, or --saved-model"
    )
    assert raised.value.evidence == {"nbytes": 309_120, "limit": 300_000}
    assert not list(tmp_path.iterdir())
    assert graphdef.write(whole, tmp_path / "out.pb", limit=320_000) < 320_000


def test_the_limit_counts_every_byte_of_the_file(tmp_path: Path) -> None:
    graph = network(values())
    size = graphdef.encoded_size(graph)
    assert graphdef.write(graph, tmp_path / "fits.pb", limit=size) == size
    with pytest.raises(LimitError, match=f"takes {size:,} bytes"):
        graphdef.write(graph, tmp_path / "not.pb", limit=size - 1)
    again = graphdef.read(tmp_path / "fits.pb")
    with pytest.raises(LimitError, match=f"takes {size:,} bytes"):
        graphdef.write(again, tmp_path / "not.pb", limit=size - 1)


def test_large_constants_become_variables_and_come_back(tmp_path: Path) -> None:
    graph = network(values())
    held, apart, saver = hold_apart(graph)
    assert list(apart) == [f"layer_{n}/weights" for n in range(LAYERS)]
    assert saver is not None
    assert graphdef.encoded_size(held) < 10_000
    assert held.node("layer_1/weights").op == "ReadVariableOp"
    assert held.node("layer_1/biases").op == "Const"
    signature = Signature("serving_default", (_spec("x"),), (_spec("out"),), "tensorflow/serving/predict")
    saved_model.write(held, tmp_path / "m", signature=signature, variables=apart, saver=saver)
    back = freeze_model(tmp_path / "m")
    assert back.report.restored == {f"{name}/variable": name for name in apart}
    for name, array in values().items():
        node = back.graph.by_name.get(f"{name}/variable") or back.graph.node(name)
        tensor = node.tensor()
        assert tensor is not None
        assert tensor.numpy().tobytes() == array.tobytes()


def _spec(name: str) -> TensorSpec:
    return TensorSpec(TensorRef(name), DType.FLOAT, (None, SIZE), key=name)


def test_names_that_are_taken_get_a_number() -> None:
    graph = network(values())
    extra = [Node("layer_0/weights/variable", "NoOp"), Node("save/other", "NoOp")]
    held, _, saver = hold_apart(graph.replace(nodes=[*graph.nodes, *extra]))
    assert held.node("layer_0/weights").inputs == ("layer_0/weights/variable_1",)
    assert saver is not None
    assert saver.restore_op == "save_1/restore_all"


def test_a_graph_of_small_constants_stays() -> None:
    graph = network(values())
    assert hold_apart(graph, 1 << 20) == (graph, {}, None)


@pytest.mark.tensorflow
def test_a_saved_model_beyond_the_limit_has_variables_and_passes(tmp_path: Path) -> None:
    save_checkpoint(tmp_path)
    graph = freeze(tmp_path / "graph.pb", tmp_path / "model.ckpt", outputs=["out"])
    formats.write_graph(graph, tmp_path / "model.pb")
    done = export_saved_model(tmp_path / "model.pb", tmp_path / "model.saved_model", graph_limit=100_000)
    assert done.verdict is Verdict.PASS
    assert "made 3 weights variables: a graph file ends at 100,000 bytes" in done.notes
    assert (tmp_path / "model.saved_model/saved_model.pb").stat().st_size < 20_000
    variables = formats.read_checkpoint(tmp_path / "model.saved_model/variables/variables")
    assert list(variables.variables) == [f"layer_{n}/weights" for n in range(LAYERS)]
    assert _tensorflow_says(tmp_path / "model.saved_model") == {"variables": 3, "same": True}


LOAD = """
import json, sys, numpy as np, tensorflow as tf
reader = tf.train.load_checkpoint(sys.argv[1] + "/variables/variables")
model = tf.saved_model.load(sys.argv[1])
x = np.random.default_rng(0).random((3, 160), dtype="f4")
graph = tf.compat.v1.GraphDef.FromString(open(sys.argv[2], "rb").read())
with tf.Graph().as_default(), tf.compat.v1.Session() as session:
    tf.import_graph_def(graph, name="")
    want = session.run("out:0", {"x:0": x})
got = model.signatures["serving_default"](x=tf.constant(x))["out"].numpy()
same = bool(np.allclose(want, got, rtol=1e-5))
print(json.dumps({"variables": len(reader.get_variable_to_shape_map()), "same": same}))
"""


def _tensorflow_says(folder: Path) -> object:
    command = [sys.executable, "-c", LOAD, str(folder), str(folder.with_name("model.pb"))]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.tensorflow
def test_an_onnx_file_and_its_weights_appear_together(tmp_path: Path) -> None:
    formats.write_graph(network(values()), tmp_path / "model.pb")
    done = export_onnx(tmp_path / "model.pb", tmp_path / "m.onnx", outputs=["out"], external_data=True)
    assert done.verdict is Verdict.PASS
    assert done.report.weights is not None
    assert {a.name for a in done.report.weights.identical} >= {f"layer_{n}/weights:0" for n in range(LAYERS)}
    data = tmp_path / "m.onnx.data"
    assert f"its weights are in {data}" in done.notes
    assert done.details["external_data"] == str(data)
    assert done.details["nbytes"] == data.stat().st_size + (tmp_path / "m.onnx").stat().st_size
    assert sorted(p.name for p in tmp_path.iterdir()) == ["m.onnx", "m.onnx.data", "model.pb"]
    # one that replaces it has weights of its own: the older model is whole until the new one stands in its place
    again = export_onnx(tmp_path / "model.pb", tmp_path / "m.onnx", outputs=["out"], external_data=True, force=True)
    assert again.verdict is Verdict.PASS
    assert Path(str(again.details["external_data"])).is_file()
    assert again.details["external_data"] != str(data)
    # one that does not pass goes aside, with its weights
    other = export_onnx(
        tmp_path / "model.pb", tmp_path / "n.onnx", outputs=["out"], external_data=True, rtol=0, atol=1e-30
    )
    assert other.verdict is not Verdict.PASS
    assert not (tmp_path / "n.onnx").exists()
    assert (tmp_path / "n.onnx.rejected").is_file()
    assert Path(str(other.details["external_data"])).is_file()


def _limited(nbytes: int) -> None:
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (nbytes, nbytes))


@pytest.mark.parametrize("limit", [0, 1, 4096, 102_400, 200_000, 309_000])
def test_a_full_disk_leaves_nothing_under_the_name(tmp_path: Path, limit: int) -> None:
    save_checkpoint(tmp_path)
    before = sorted(p.name for p in tmp_path.iterdir())
    command = [sys.executable, "-m", "tfinspect", "freeze", str(tmp_path / "model.ckpt"), "--graph"]
    command += [str(tmp_path / "graph.pb"), "--outputs", "out", "-o", str(tmp_path / "out.pb")]
    done = subprocess.run(command, capture_output=True, text=True, check=False, preexec_fn=lambda: _limited(limit))
    assert done.returncode == 5, done.stderr
    assert f"{tmp_path / 'out.pb'} cannot be written: file too large" in done.stderr
    assert len(done.stderr.strip().splitlines()) <= 2
    assert sorted(p.name for p in tmp_path.iterdir()) == before


def test_a_full_disk_leaves_the_older_file(tmp_path: Path) -> None:
    save_checkpoint(tmp_path)
    (tmp_path / "out.pb").write_bytes(b"old")
    command = [sys.executable, "-m", "tfinspect", "freeze", str(tmp_path / "model.ckpt"), "--graph"]
    command += [str(tmp_path / "graph.pb"), "--outputs", "out", "-o", str(tmp_path / "out.pb"), "--force"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, preexec_fn=lambda: _limited(150_000))
    assert done.returncode == 5
    assert (tmp_path / "out.pb").read_bytes() == b"old"
    assert not [p for p in tmp_path.iterdir() if p.name.startswith(".")]


@pytest.mark.parametrize("after", [1, 3, 5])
def test_a_weight_that_fails_half_way_leaves_no_saved_model(tmp_path: Path, after: int) -> None:
    held, apart, saver = hold_apart(network(values()))
    pieces = 0

    def failing(tensor: Tensor) -> Tensor:
        def chunks() -> object:
            nonlocal pieces
            for piece in tensor.chunks():
                for at in range(0, len(piece), 50_000):
                    pieces += 1
                    if pieces > after:
                        raise OSError(28, os.strerror(28))
                    yield piece[at : at + 50_000]

        return Tensor(tensor.dtype, tensor.shape, tensor.numpy, chunks)  # type: ignore[arg-type]

    broken = {name: failing(tensor) for name, tensor in apart.items()}
    signature = Signature("serving_default", (_spec("x"),), (_spec("out"),), "tensorflow/serving/predict")
    with pytest.raises(OutputError, match="cannot be written: no space left on device"):
        saved_model.write(held, tmp_path / "m", signature=signature, variables=broken, saver=saver)
    assert not list(tmp_path.iterdir())


def test_the_command_names_what_to_type_instead(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save_checkpoint(tmp_path)
    monkeypatch.setattr(graphdef, "check_size", functools.partial(graphdef.check_size, limit=1000))
    with pytest.raises(LimitError) as raised:
        freeze_file(tmp_path / "model.ckpt", tmp_path / "out.pb", graph=tmp_path / "graph.pb", options=Options(["out"]))
    assert raised.value.hint == (
        "keep the weights in files of their own: tfinspect export MODEL --onnx, or --saved-model"
    )
    fixture = FIXTURES / "training" / "model.ckpt-3"
    with pytest.raises(LimitError) as raised:
        freeze_file(fixture, tmp_path / "out.pb", options=Options(["logits/add"]))
    assert raised.value.hint == (
        f"keep the weights in files of their own: tfinspect export {fixture} --onnx, or --saved-model"
    )
    assert not (tmp_path / "out.pb").exists()
    plan = plan_file(fixture, None, Options(["logits/add"]))  # what --dry-run asks
    assert isinstance(plan.error, LimitError)
    assert plan.table
