"""Networks of slim that are rebuilt from a checkpoint without a graph."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from tests.slim_checkpoints import shapes_of, write_checkpoint
from tfinspect import formats
from tfinspect.api.freeze import freeze_model
from tfinspect.api.load import open_graph
from tfinspect.architectures import inception_v1, inception_v3
from tfinspect.architectures.recognize import recognize
from tfinspect.ir.checkpoint import Checkpoint, VariableInfo
from tfinspect.ir.dtypes import DType
from tfinspect.ir.tensors import Tensor

if TYPE_CHECKING:
    from tfinspect.ir.graph import Graph

ZOO = Path(__file__).parents[2] / "shared" / "zoo"
needs_zoo = pytest.mark.skipif(not ZOO.exists(), reason="the collection of real models is not beside the repository")
NARROW_V3 = {"Mixed_7c/Branch_2/Conv2d_0a_1x1/weights": (1, 1, 1, 44), "Logits/Conv2d_1c_1x1/weights": (1, 1, 1, 11)}


def test_inception_v3_is_frozen_from_a_bare_checkpoint(tmp_path: Path) -> None:
    prefix = tmp_path / "inception_v3.ckpt"
    values = write_checkpoint(prefix, shapes_of(inception_v3.FAMILY, NARROW_V3))
    found = recognize(formats.read_checkpoint(prefix))
    assert str(found) == "Inception v3 0.1 (slim), 11 classes, input 299x299 assumed"
    done = freeze_model(prefix)
    assert [spec.name for spec in done.inputs] == ["input:0"]
    assert [spec.name for spec in done.outputs] == ["InceptionV3/Predictions/Reshape_1:0"]
    assert dict(done.report.restored) == {name: name for name in values}
    kept = done.graph.node("InceptionV3/Mixed_5b/Branch_0/Conv2d_0a_1x1/weights").tensor()
    assert kept is not None
    assert (kept.numpy() == values["InceptionV3/Mixed_5b/Branch_0/Conv2d_0a_1x1/weights"]).all()


# ------------------------------------------------------------------------------------------------------- real graphs


def bare(graph: Graph, path: str = "x.ckpt") -> Checkpoint:
    """Return the checkpoint that a graph's variables would be saved to: names and shapes."""
    found = {}
    for node in graph.nodes:
        if node.op in ("VariableV2", "VarHandleOp"):
            shape = tuple(d for d in node.shape() or () if d is not None)
            found[node.name] = VariableInfo(node.name, DType.FLOAT, shape, 0)
    return Checkpoint(path, "checkpoint_v2", found, lambda name: Tensor.of(0.0))


def behind(graph: Graph, text: str) -> str:
    """Return the variable that an input reads, or the input."""
    node = graph.node(text.partition(":")[0])
    while node.op in ("Identity", "ReadVariableOp"):
        node = graph.node(node.inputs[0])
    return node.name


def forward(graph: Graph, end: str, start: str) -> dict[str, tuple[str, tuple[object, ...], dict[str, object]]]:
    """Return the ops between two nodes: op, what goes in with variables instead of their reading, and attributes."""
    found, waiting = {}, [end]
    while waiting:
        node = graph.node(waiting.pop())
        name = node.name.replace("FusedBatchNormV3", "FusedBatchNorm")
        if node.op in ("VariableV2", "VarHandleOp") or name in found:
            continue
        if node.op == "Const":
            value = node.tensor()
            assert value is not None
            found[name] = ("Const", tuple(value.numpy().reshape(-1).tolist()), {})
            continue
        given = [] if node.name == start else [behind(graph, text) for text in node.inputs if text[0] != "^"]
        attrs = {key: node.value(key) for key in ("strides", "ksize", "padding", "dilations", "data_format")}
        if node.op.startswith("Fused"):
            attrs |= {"is_training": node.value("is_training"), "epsilon": np.float32(node.value("epsilon"))}
        inputs = tuple("START" if text == start else text.replace("NormV3", "Norm") for text in given)
        found[name] = (node.op.replace("NormV3", "Norm"), inputs, attrs)
        waiting += [text for text in given if text != start]
    return found


@needs_zoo
def test_inception_v3_is_the_real_one_op_by_op() -> None:
    model = formats.open_model(ZOO / "meta_only" / "tfnet_graphs" / "InceptionV3.meta")
    assert model.graph is not None
    checkpoint = bare(model.graph)
    found = recognize(checkpoint)
    assert str(found) == "Inception v3 (slim), no classifier, input 299x299 assumed"
    assert found is not None
    assert (found.scope, found.is_whole, found.spare) == ("module/InceptionV3", True, ())
    end = "module/InceptionV3/InceptionV3/Mixed_7c/concat"  # the pool behind it was called in another way there
    real = forward(model.graph, end, "module/hub_input/Sub")
    assert forward(found.graph, end, "input") == real
    counts = Counter(op for op, *_ in real.values())
    assert (counts["Conv2D"], counts["FusedBatchNorm"], counts["ConcatV2"]) == (94, 94, 15)
    variables = {node.name: node.shape() for node in found.graph.nodes if node.op == "VariableV2"}
    assert variables == {name: info.shape for name, info in checkpoint.variables.items()}


# ------------------------------------------------------------------------------------------------------ their numbers


@pytest.mark.tensorflow
def test_numbers_are_those_of_the_published_networks(tmp_path: Path) -> None:
    told = {"inception_v1": {"Logits/Conv2d_0c_1x1/weights": (1, 1, 1024, 7)}}
    told["inception_v3"] = {"Logits/Conv2d_1c_1x1/weights": (1, 1, 2048, 5)}
    for family, size in ((inception_v1.FAMILY, (224, 224)), (inception_v3.FAMILY, (139, 139))):
        prefix = tmp_path / f"{family.name}.ckpt"
        values = write_checkpoint(prefix, shapes_of(family, told[family.name]))
        frozen = freeze_model(open_graph(prefix, size=size)).graph
        formats.write_graph(frozen, tmp_path / f"{family.name}.pb")
        images = np.random.default_rng(1).uniform(-1, 1, (2, *size, 3)) * [[[[1.0]]], [[[0.2]]]] - [[[[0]]], [[[0.5]]]]
        np.savez(tmp_path / f"{family.name}.npz", images=images.astype(np.float32), **values)
    script = Path(__file__).with_name("slim_oracle.py")
    done = subprocess.run([sys.executable, script, tmp_path], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    for name in told:
        found = np.load(tmp_path / f"{name}.out.npz")
        for ours, theirs in (("logits", "expected"), ("pooled", "features")):
            varies = found[theirs].std(axis=0).max()  # from one image to the other
            assert varies > 0.02 * found[theirs].std(), (name, ours)
            assert np.abs(found[ours] - found[theirs]).max() < 1e-3 * varies, (name, ours)
