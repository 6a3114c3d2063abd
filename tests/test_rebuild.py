"""Checkpoints that lost their graph, on the command line: what they are called, and every verb that wants a graph."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import tfinspect as ti
from tests.checkpoint_writers import table, v1_rows, write_bundle
from tests.cli_calls import Caller, Done
from tests.slim_checkpoints import shapes_of, values_of
from tfinspect import formats
from tfinspect.api import proof
from tfinspect.api.freeze import freeze_model
from tfinspect.api.load import open_graph
from tfinspect.api.recipe import carried, image_entry
from tfinspect.api.usual_pixels import assumption, formula, usual
from tfinspect.architectures import inception_v1
from tfinspect.architectures.recognize import FAMILIES, family_of
from tfinspect.errors import UnrestoredVariablesError, UsageError, WrongKindError
from tfinspect.ir.dtypes import DType
from tfinspect.ir.graph import Graph, Node, placeholder
from tfinspect.ir.refs import TensorRef
from tfinspect.learn.preprocess import Recipe
from tfinspect.surgery.add_saver import add_saver

if TYPE_CHECKING:
    from pathlib import Path

Values = dict[str, np.ndarray[Any, Any]]
TOLD = {
    "Mixed_5c/Branch_1/Conv2d_0b_3x3/weights": (1, 1, 1, 38),  # a tenth of 384
    "Logits/Conv2d_0c_1x1/weights": (1, 1, 100, 4),
}
POOL = "InceptionV1/Logits/AvgPool_0a_7x7/AvgPool"
END = "InceptionV1/Predictions/Reshape_1:0"
WORDS = "Inception v1 0.1 (slim), 4 classes, input 224x224 assumed"


@pytest.fixture(scope="module")
def values() -> Values:
    """Every variable of an Inception v1 a tenth as wide."""
    return values_of(shapes_of(inception_v1.FAMILY, TOLD))


@pytest.fixture
def bare(values: Values, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with `net.ckpt`, which is also the current one."""
    write_bundle(tmp_path / "net.ckpt", {**values, "global_step": np.array(7, np.int64)})
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def call(monkeypatch: pytest.MonkeyPatch, bare: Path) -> Caller:
    caller = Caller(monkeypatch)
    monkeypatch.chdir(bare)
    return caller


def lines(done: Done, key: str) -> list[list[str]]:
    assert done.status == 0, done.err
    return [row[1:] for row in done.rows if row[0] == key]


def test_vars_says_what_it_is(call: Caller, values: Values) -> None:
    done = call("vars", "net.ckpt")
    assert len(done.rows) == len(values) + 1
    assert done.err == f"{WORDS}; tfinspect freeze net.ckpt -o net.pb rebuilds its graph\n"
    assert call("vars", "net.ckpt", "--quiet").err == ""
    assert call("vars", "net.ckpt", "--match", "*Logits*").err == done.err
    told = call("vars", "net.ckpt", "--json").answer["network"]
    assert {key: told[key] for key in ("name", "scope", "classes", "width", "size", "size_assumed", "missing")} == {
        "name": "inception_v1", "scope": "InceptionV1", "classes": 4, "width": 0.1, "size": [224, 224],
        "size_assumed": True, "missing": [],
    }  # fmt: skip


def test_a_checkpoint_with_its_graph_is_not_told_twice(call: Caller, bare: Path) -> None:
    (bare / "net.ckpt.meta").write_bytes(b"")
    assert call("vars", "net.ckpt").err == ""
    assert call("vars", "net.ckpt", "--json").answer["network"] is None


def test_info_describes_the_network(call: Caller) -> None:
    done = call("info", "net.ckpt")
    assert lines(done, "architecture") == [[WORDS]]
    assert lines(done, "preprocessing") == [["pixels from -1 to 1, assumed for Inception v1"]]
    assert lines(done, "input") == [["input:0", "float32", "?x224x224x3"]]
    assert lines(done, "output")[0][:3] == [END, "float32", "?x4"]
    assert lines(done, "bottleneck")[0][0] == f"{POOL}:0"
    assert lines(done, "next") == [["tfinspect freeze net.ckpt -o net.pb"]]
    answer = call("info", "net.ckpt", "--json").answer
    assert answer["facts"]["architecture"] == WORDS
    assert [one["name"] for one in answer["outputs"]] == [END]


def test_the_next_step_works_as_typed(call: Caller, values: Values) -> None:
    ((command,),) = lines(call("info", "net.ckpt"), "next")
    done = call(*command.split()[1:])
    assert done.status == 0
    assert f"rebuilt the graph from the names of its variables: {WORDS}" in done.err
    assert f"restored {len(values)} variables; 0 weights of the checkpoint not needed" in done.err
    kept = ti.read_graph("net.pb")
    for name, value in values.items():
        tensor = kept.node(name).tensor()
        assert tensor is not None
        np.testing.assert_array_equal(tensor.numpy(), value)


def test_a_folder_names_the_networks_in_it(call: Caller, bare: Path, values: Values) -> None:
    part = {name: value for name, value in values.items() if "Mixed_3" not in name}
    write_bundle(bare / "part.ckpt", part)
    rows = {row[0]: row[3] for row in call("info", ".").rows}
    assert rows["net.ckpt.index"] == f"Inception v1 (slim), {len(values) + 1} variables"
    assert rows["part.ckpt.index"].startswith("Inception v1 (slim) in part, ")


def test_a_part_is_said_to_be_one_and_not_rebuilt(call: Caller, bare: Path, values: Values) -> None:
    part = {name: value for name, value in values.items() if "Mixed_3b/Branch_1" not in name}
    write_bundle(bare / "part.ckpt", part)
    first = "InceptionV1/Mixed_3b/Branch_1/Conv2d_0a_1x1/weights"
    words = f"Inception v1 (slim) in part: 8 of {len(values)} variables missing or wrong, first {first}"
    assert call("vars", "part.ckpt").err == f"{words}; its graph is not rebuilt\n"
    assert lines(call("info", "part.ckpt"), "architecture") == [[words]]
    for verb in (("nodes", "part.ckpt"), ("freeze", "part.ckpt", "-o", "x.pb"), ("show", "part.ckpt", "input")):
        done = call(*verb)
        assert (done.status, done.out) == (4, "")
        assert done.err.startswith(
            f"error: part.ckpt looks like Inception v1 (slim), but lacks 8 of its {len(values)} variables\n"
        )
        assert first in done.err
    assert not (bare / "x.pb").exists()


def test_what_is_no_known_network_is_refused_as_before(call: Caller, bare: Path) -> None:
    write_bundle(bare / "other.ckpt", {"conv1/weights": np.zeros((3, 3, 3, 8), np.float32)})
    assert "rebuil" not in call("vars", "other.ckpt").err
    done = call("freeze", "other.ckpt", "-o", "x.pb")
    assert done.status == 3
    assert "is a checkpoint without a graph" in done.err
    with pytest.raises(WrongKindError):
        open_graph("other.ckpt", size=(32, 32))


def test_size(call: Caller) -> None:
    done = call("freeze", "net.ckpt", "--size", "128x160", "-o", "small.pb")
    assert "input 128x160\n" in done.err
    (start,) = (node for node in ti.read_graph("small.pb").nodes if node.op == "Placeholder")
    assert start.shape() == (None, 128, 160, 3)
    done = call("freeze", "small.pb", "--size", "64", "-o", "x.pb")
    assert (done.status, done.err.splitlines()[0]) == (
        2, "error: small.pb has a graph of its own, which says how large its images are",
    )  # fmt: skip
    assert call("freeze", "net.ckpt", "--graph", "small.pb", "--size", "64", "-o", "x.pb").status == 2
    assert "`--size` takes 224 or" in call("freeze", "net.ckpt", "--size", "0", "-o", "x.pb").err


def test_verbs_that_want_a_graph(call: Caller, bare: Path) -> None:
    assert [row[0] for row in call("nodes", "net.ckpt", "--only", "outputs").rows] == [END.removesuffix(":0")]
    assert call("show", "net.ckpt", POOL).rows[0][:3] == ["node", POOL, "AvgPool"]
    assert call("cut", "net.ckpt", "--bottleneck", POOL, "-o", "trunk.pb").status == 0
    head = {"weights": np.ones((100, 3), np.float32), "biases": np.zeros(3, np.float32)}
    np.savez(bare / "head.npz", **head)
    done = call("graft", "net.ckpt", "--bottleneck", POOL, "--head", "head.npz", "-o", "new.pb")
    assert done.status == 0, done.err
    grafted = ti.read_graph("new.pb")
    assert "head/softmax" in grafted
    assert not [node.name for node in grafted.nodes if "Predictions" in node.name or node.op == "VariableV2"]


def test_a_model_opened_before_is_rebuilt_as_well(bare: Path) -> None:
    opened = ti.open(bare / "net.ckpt")
    assert opened.graph is None
    (start,) = (node for node in ti.freeze(opened, size=(96, 64)).nodes if node.op == "Placeholder")
    assert start.shape() == (None, 96, 64, 3)
    assert len(freeze_model(opened).graph) == len(freeze_model(bare / "net.ckpt").graph)


def test_averages_are_taken_where_there_are_some(call: Caller, bare: Path, values: Values) -> None:
    kernel = "InceptionV1/Conv2d_1a_7x7/weights"
    average = {f"{kernel}/ExponentialMovingAverage": values[kernel] + 1}
    write_bundle(bare / "ema.ckpt", {**values, **average})
    assert call("freeze", "ema.ckpt", "--ema", "-o", "ema.pb").status == 0
    assert call("freeze", "ema.ckpt", "-o", "raw.pb").status == 0
    for name, added in (("ema.pb", 1), ("raw.pb", 0)):
        tensor = ti.read_graph(name).node(kernel).tensor()
        assert tensor is not None
        np.testing.assert_array_equal(tensor.numpy(), values[kernel] + np.float32(added))


def test_a_checkpoint_of_one_file_as_slim_published_them(call: Caller, bare: Path, values: Values) -> None:
    (bare / "old.ckpt").write_bytes(table(v1_rows({name: (value, []) for name, value in values.items()})))
    assert call("vars", "old.ckpt").err == f"{WORDS}; tfinspect freeze old.ckpt -o old.pb rebuilds its graph\n"
    assert call("freeze", "old.ckpt", "-o", "old.pb").status == 0
    assert call("freeze", "net.ckpt", "-o", "net.pb").status == 0
    assert call("diff", "old.pb", "net.pb").status == 0


def test_the_values_are_not_read_to_tell_the_network(call: Caller, bare: Path) -> None:
    (bare / "net.ckpt.data-00000-of-00001").unlink()
    assert lines(call("info", "net.ckpt"), "architecture") == [[WORDS]]
    done = call("freeze", "net.ckpt", "-o", "x.pb")
    assert (done.status, (bare / "x.pb").exists()) == (3, False)


# ------------------------------------------------------------------------------------------------------------- pixels


def only_convolution(name: str) -> Graph:
    return Graph([placeholder("input", DType.FLOAT, (None, 32, 32, 3)), Node(name, "Conv2D", ("input", "input"))])


@pytest.mark.parametrize("scope", FAMILIES)
def test_pixels_are_scaled_as_the_family_was_trained(scope: str) -> None:
    graph = only_convolution(f"module/{scope}/conv/Conv2D")
    family = family_of(graph)
    assert family is not None
    entry = image_entry(graph, [TensorRef("input")], inputs=[TensorRef("input")])
    expected = {"half range": ((127.5,), (1 / 127.5,)), "less mean": ((123.68, 116.78, 103.94), (1.0,))}
    assert (entry.recipe.mean, entry.recipe.scale) == expected[family.pixels]
    assert (entry.recipe.bgr, entry.recipe.origin, entry.network) == (False, "assumed", f"{family.title} (slim)")
    assert entry.network in assumption(entry.recipe, entry.network)


def test_other_graphs_are_scaled_as_before() -> None:
    entry = image_entry(only_convolution("conv/Conv2D"), [], inputs=[TensorRef("input")])
    assert (entry.recipe.mean, entry.network, usual(only_convolution("conv/Conv2D")).network) == ((127.5,), "", "")
    given = image_entry(only_convolution("InceptionV3/c/Conv2D"), [], inputs=[TensorRef("input")], mean=[1.0])
    assert (given.recipe.mean, given.network) == ((1.0,), "")


def test_what_is_usual_goes_along_and_what_is_a_guess_does_not(bare: Path) -> None:
    model = open_graph(bare / "net.ckpt")
    recipe = carried(model, [TensorRef.parse(END)], [TensorRef("input")])
    assert recipe is not None
    assert (recipe.mean, recipe.size) == ((127.5,), (224, 224))


@pytest.mark.parametrize(
    ("recipe", "text"),
    [
        (Recipe(None, mean=(127.5,), scale=(1 / 127.5,)), "(pixel - 127.5) / 127.5"),
        (Recipe(None, mean=(123.68, 116.78, 103.94)), "pixel - (123.68, 116.78, 103.94)"),
        (Recipe(None, mean=(103.939, 116.779, 123.68), bgr=True), "pixel - (103.939, 116.779, 123.68), blue first,"),
        (Recipe(None, mean=(1.0,), scale=(0.5, 0.25, 2.0)), "(pixel - 1) * (0.5, 0.25, 2)"),
    ],
)
def test_formulas(recipe: Recipe, text: str) -> None:
    assert formula(recipe) == text


# ------------------------------------------------------------------------------------------------------------- running


def test_a_saver_names_each_variable_once(bare: Path) -> None:
    graph = open_graph(bare / "net.ckpt").graph
    assert graph is not None
    saved = add_saver(graph)
    names = saved.node("save/RestoreV2/tensor_names").tensor()
    assert names is not None
    variables = [node.name.encode() for node in graph.nodes if node.op == "VariableV2"]
    assert names.numpy().tolist() == variables
    last = len(variables) - 1
    assert saved.node(f"save/Assign_{last}").inputs == (variables[-1].decode(), f"save/RestoreV2:{last}")
    assert len(saved.node("save/restore_all").control_inputs) == len(variables)
    assert saved.topological()


@pytest.mark.tensorflow
@pytest.mark.parametrize("version", [1, 2])
def test_tensorflow_restores_the_checkpoint_into_the_rebuilt_graph(version: int, bare: Path, values: Values) -> None:
    path = bare / "net.ckpt"
    if version == 1:
        path = bare / "old.ckpt"
        path.write_bytes(table(v1_rows({name: (value, []) for name, value in values.items()})))
    model = open_graph(path, size=(64, 64))
    frozen = bare / "frozen.pb"
    formats.write_graph(freeze_model(model).graph, frozen)
    feed = {"input:0": np.random.default_rng(2).uniform(-1, 1, (3, 64, 64, 3)).astype(np.float32)}
    with proof.reference_of(model) as reference, reference.runner() as runner:
        (expected,) = runner.run([END], feed)
        assert not [note for note in runner.notes if "one by one" in note]
    with proof.reference_of(open_graph(frozen)) as reference, reference.runner() as runner:
        (found,) = runner.run([END], feed)
    assert expected.shape == (3, 4)
    assert np.ptp(expected, axis=0).max() > 1e-3
    np.testing.assert_array_equal(found, expected)


@pytest.mark.tensorflow
def test_export_is_proved_against_the_checkpoint(call: Caller) -> None:
    done = call("export", "net.ckpt", "--onnx", "-o", "net.onnx")
    assert done.status == 0, done.err
    assert done.rows[0][:2] == [END, "PASS"]
    assert WORDS in done.err
    assert call("verify", "net.ckpt", "net.onnx").status == 0


def test_what_cannot_be_is_refused(bare: Path) -> None:
    with pytest.raises(UsageError, match=r"^no image is of the size 0x8$"):
        open_graph(bare / "net.ckpt", size=(0, 8))
    with pytest.raises(UnrestoredVariablesError, match=r"`InceptionV1/|variables"):
        ti.freeze(bare / "net.ckpt", rename={"InceptionV1": "other"})
