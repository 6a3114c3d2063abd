"""What a checkpoint gives each variable: the table, the renamings that are suggested, and one account of all trouble."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.checkpoint_writers import write_bundle
from tests.cli_calls import Caller
from tests.graph_models import feed, graph, op, ref
from tfinspect.api.freeze import Options, freeze, plan_model
from tfinspect.errors import IncompleteCheckpointError, SurgeryError, UnrestoredVariablesError, UsageError
from tfinspect.formats import graphdef, write_graph
from tfinspect.ir.checkpoint import Checkpoint, VariableInfo
from tfinspect.ir.dtypes import DType
from tfinspect.ir.graph import Graph, Node, const
from tfinspect.ir.tensors import Tensor
from tfinspect.surgery.rename_patterns import expanded

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

F = DType.FLOAT
NAMES = ("conv/weights", "conv/biases", "fc/weights", "fc/biases")
SHAPES = ((3, 3, 2, 4), (4,), (8, 5), (5,))


def variables(names: Sequence[str], shapes: Sequence[tuple[int, ...]] = SHAPES) -> Graph:
    """A graph whose output `y` needs all of some variables."""
    nodes: list[Node] = [op("VariableV2", n, dtype=F, shape=s) for n, s in zip(names, shapes, strict=False)]
    sums = [op("Sum", f"sum{k}", node.name, "axes", T=F, Tidx=DType.INT32) for k, node in enumerate(nodes)]
    axes = const("axes", Tensor.of(np.array([], np.int32)))
    return graph(feed("x", ()), axes, nodes, sums, op("AddN", "y", "x", *(n.name for n in sums), T=F, N=len(nodes) + 1))


def checkpoint(names: Sequence[str], shapes: Sequence[tuple[int, ...]] = SHAPES, dtype: str = "f4") -> Checkpoint:
    values = {n: np.arange(int(np.prod(s))).astype(dtype).reshape(s) for n, s in zip(names, shapes, strict=False)}
    infos = {n: VariableInfo(n, DType.from_numpy(v.dtype), v.shape, v.nbytes) for n, v in values.items()}
    return Checkpoint("model.ckpt", "checkpoint_v2", infos, lambda name: Tensor.of(values[name]))


def refused(source: Graph, values: Checkpoint, *outputs: str, **options: Any) -> Any:
    with pytest.raises(UnrestoredVariablesError) as caught:
        freeze(source, values, outputs=outputs or ["y"], **options)
    return caught.value


def flags(error: Any) -> list[str]:
    return [flag.removeprefix("--map ").strip("'") for flag in error.evidence["flags"]]


def mended(source: Graph, values: Checkpoint, error: Any) -> None:
    """Freeze with the very flags an error gave."""
    assert error.hint.startswith("mend it with --map ")
    freeze(source, values, outputs=["y"], rename=dict(flag.split("=") for flag in flags(error)))


# --- patterns --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rename", "name", "expected"),
    [
        ({"old/*": "new/*"}, "old/a/b", "new/a/b"),
        ({"*": "model/*"}, "w", "model/w"),
        ({"model/*": "*"}, "model/w", "w"),
        ({"*/kernel": "*/weights"}, "a/b/kernel", "a/b/weights"),
        ({"block*/conv*": "b*_c*"}, "block12/conv3", "b12_c3"),
        ({"*": "x/*", "a/*": "y/*"}, "a/w", "y/w"),
        ({"a/*": "y/*", "a": "z"}, "a/w", "y/w"),
        ({"a/*": "y/*", "a/w": "exact"}, "a/w", "exact"),
        ({"b/*": "y/*"}, "a/w", None),
        ({"a": "b"}, "a/w", None),
    ],
)
def test_patterns(rename: dict[str, str], name: str, expected: str | None) -> None:
    assert expanded(rename, [name]).get(name) == expected


@pytest.mark.parametrize(
    ("rename", "words"),
    [
        ({"a/*": "b"}, r"`a/\*=b` has 1 `\*` on the left and 0 on the right"),
        ({"a": "b/*"}, r"`a=b/\*` has a `\*` on one side only"),
        ({"*/w": "x/*", "a/*": "y/*"}, r"fit `a/w` equally well, and make it `x/a` and `y/w`"),
        ({"*/*": "*_*"}, r"`\*/\*` matches `a/b/w` in several ways, which make it `a_b/w` or `a/b_w`"),
    ],
)
def test_what_can_be_read_in_two_ways_is_refused(rename: dict[str, str], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        expanded(rename, ["a/w", "a/b/w"])


@settings(deadline=None)
@given(st.lists(st.text("ab/", max_size=4), min_size=2, max_size=4), st.text("ab/", max_size=12))
def test_a_pattern_matches_what_a_regular_expression_does(parts: list[str], name: str) -> None:
    pattern = "*".join(parts)
    matches = re.fullmatch("(.*)".join(map(re.escape, parts)), name) is not None
    try:
        found = expanded({pattern: pattern}, [name])
    except UsageError:
        pytest.fail("what stands in its own place is never ambiguous")
    assert (name in found) == (matches or name == pattern)
    assert found.get(name, name) == name


# --- what is suggested mends it --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("ours", "theirs", "wanted"),
    [
        (NAMES, [f"model/{n}" for n in NAMES], ["*=model/*"]),
        ([f"model/{n}" for n in NAMES], NAMES, ["model/*=*"]),
        ([f"a/{n}" for n in NAMES], [f"b/net/{n}" for n in NAMES], ["a=b/net"]),
        (NAMES, [f"{n}/.ATTRIBUTES/VARIABLE_VALUE" for n in NAMES], ["*=*/.ATTRIBUTES/VARIABLE_VALUE"]),
        ([f"{n}_1" for n in NAMES], NAMES, ["*_1=*"]),
        (NAMES, ["conv1/weights", "conv1/biases", "fc/weights", "fc/biases"], ["conv=conv1"]),
        (NAMES, ["conv/weights", "conv/bias", "fc/weights", "fc/biases"], ["conv/biases=conv/bias"]),
    ],
)
def test_renamed_variables(ours: Sequence[str], theirs: Sequence[str], wanted: list[str]) -> None:
    source, values = variables(ours), checkpoint(theirs)
    error = refused(source, values)
    assert flags(error) == wanted
    mended(source, values, error)


def test_a_renaming_that_was_wrong_is_taken_back() -> None:
    source, values = variables(NAMES), checkpoint(NAMES)
    error = refused(source, values, rename={"conv": "wrong"})
    assert flags(error) == ["conv/biases=conv/biases", "conv/weights=conv/weights"]
    freeze(source, values, outputs=["y"], rename={"conv": "wrong", **dict(f.split("=") for f in flags(error))})


def test_only_part_can_be_mended() -> None:
    error = refused(variables([*NAMES, "lost"], [*SHAPES, (7,)]), checkpoint([f"m/{n}" for n in NAMES]))
    assert error.hint == "4 of the 5 would be found with --map '*=m/*'"


def test_another_shape_and_another_dtype_are_mended_by_naming_them() -> None:
    source = variables(["w", "v"], [(2, 6), (3,)])
    held = checkpoint(["w"], [(3, 4)])
    other = checkpoint(["v"], [(3,)], "f8")
    infos = {**held.variables, **other.variables}
    values = Checkpoint("c", "checkpoint_v2", infos, lambda n: (held if n == "w" else other).tensor(n))
    error = refused(source, values)
    assert error.hint == "mend it with --map w=w --map v=v"
    assert error.details == (
        "w  (checkpoint has `w` as float32 3x4, the graph wants float32 2x6)",
        "v  (checkpoint has `v` as float64 3, the graph wants float32 3)",
    )
    plan = plan_model(source, values, Options(["y"], rename={"w": "w", "v": "v"}))
    done = plan.done()
    tensors = [done.graph.node(n).tensor() for n in "wv"]
    assert [(t.dtype, t.numpy().tolist()) for t in tensors if t is not None] == [
        (F, np.arange(12.0).reshape(2, 6).tolist()),
        (F, [0, 1, 2]),
    ]
    assert [(row.status, row.fitted) for row in plan.table] == [("reshaped", True), ("retyped", True)]
    assert done.notes == (
        "`w`: `w` was reshaped to fit, as --map names it",
        "`v`: `v` was retyped to fit, as --map names it",
    )


def test_other_sizes_have_no_flag() -> None:
    error = refused(variables(["w"], [(2, 6)]), checkpoint(["w"], [(2, 5)]))
    assert error.evidence["flags"] == []


def test_the_checkpoint_of_another_model() -> None:
    names = [f"layer{k}/kernel" for k in range(303)]
    error = refused(variables(NAMES), checkpoint(names, [(1,)] * 303))
    assert error.message == (
        "none of the 4 variables the graph needs is in model.ckpt, which seems to be the checkpoint of another graph"
    )
    assert error.details[0] == "none of its 303 names is in the graph"
    assert error.hint == "list what it holds: tfinspect vars model.ckpt"


# --- one account of all that is in the way ---------------------------------------------------------------------------


def test_all_causes_are_told_at_once() -> None:
    nodes = [
        *variables(NAMES).nodes,
        op("AssignAdd", "count", "fc/biases", "fc/biases", T=F),
        const("none", Tensor.of(np.array([], "f4"))),
        feed("image", (None, 2, 2, 5)),
        op("FusedBatchNorm", "norm", "image", "count", "fc/biases", "none", "none", T=F, is_training=True),
    ]
    with pytest.raises(UnrestoredVariablesError) as caught:
        freeze(Graph(nodes), checkpoint(["conv/weights"]), outputs=["y", "norm"])
    error = caught.value
    assert error.message == "3 things keep the graph from being frozen"
    causes: Any = error.evidence["causes"]
    assert sorted(c["slug"] for c in causes) == ["surgery", "surgery", "unrestored-variables"]
    text = str(error)
    assert "`norm` (FusedBatchNorm) reads `fc/biases` after `count` (AssignAdd) has changed it" in text
    assert "`norm` (FusedBatchNorm) normalises by the statistics of its batch" in text
    assert "the graph needs 3 variables that model.ckpt does not have" in text


def test_a_missing_shard_names_all_that_stand_in_it(tmp_path: Path) -> None:
    arrays = {n: np.zeros(s, "f4") for n, s in zip(NAMES, SHAPES, strict=True)}
    write_bundle(tmp_path / "m.ckpt", arrays, num_shards=2)
    (tmp_path / "m.ckpt.data-00001-of-00002").unlink()
    with pytest.raises(IncompleteCheckpointError) as caught:
        freeze(variables(NAMES), tmp_path / "m.ckpt", outputs=["y"])
    error = caught.value
    assert error.exit_status == 3
    assert error.message == (
        f"{tmp_path / 'm.ckpt.data-00001-of-00002'} is missing, and 2 of the 4 values that are needed stand there"
    )
    assert list(error.details) == error.evidence["variables"]
    present = sorted(set(NAMES) - set(error.details))
    freeze(variables(present, [arrays[n].shape for n in present]), tmp_path / "m.ckpt", outputs=["y"])


def test_no_average_at_all_is_refused() -> None:
    with pytest.raises(UsageError, match=r"model\.ckpt has no moving average of a variable of the graph"):
        freeze(variables(NAMES), checkpoint(NAMES), outputs=["y"], averages=True)


def test_an_average_that_is_not_there_is_told() -> None:
    values = checkpoint([*NAMES, "conv/weights/ExponentialMovingAverage"], [*SHAPES, SHAPES[0]])
    done = plan_model(variables(NAMES), values, Options(["y"], averages=True)).done()
    assert done.averages == {"conv/weights": ("conv/weights/ExponentialMovingAverage", "name")}
    assert done.notes == (
        "took 1 moving average: conv/weights from conv/weights/ExponentialMovingAverage",
        "no moving average of conv/biases, fc/weights, fc/biases: the raw value was taken",
    )


def test_what_cannot_be_told_is_one_surgery_error() -> None:
    source = graph(feed("x", (3,)), op("VariableV2", "w", dtype=F, shape=(3,)), op("AssignAdd", "y", "w", "x", T=F))
    with pytest.raises(SurgeryError, match="`y` depends on `y`"):
        freeze(source, checkpoint(["w"], [(3,)]), outputs=["y"])
    assert ref("y").index == 0


# --- the command line ------------------------------------------------------------------------------------------------


@pytest.fixture
def call(monkeypatch: pytest.MonkeyPatch) -> Caller:
    return Caller(monkeypatch)


def test_a_dry_run_prints_the_table_and_writes_nothing(call: Caller, tmp_path: Path) -> None:
    words = ("freeze", "training", "--outputs", "softmax", "-o", tmp_path / "o.pb", "-n")
    done = call(*words)
    assert done.status == 0
    assert done.rows == [
        ["conv/weights", "float32 3x3x3x6", "conv/weights", "float32 3x3x3x6", "restored", ""],
        ["conv/moving_mean", "float32 6", "conv/moving_mean", "float32 6", "restored", ""],
        ["conv/moving_variance", "float32 6", "conv/moving_variance", "float32 6", "restored", ""],
        ["conv/beta", "float32 6", "conv/beta", "float32 6", "restored", ""],
        ["logits/weights", "float32 6x5", "logits/weights", "float32 6x5", "restored", ""],
        ["logits/biases", "float32 5", "logits/biases", "float32 5", "restored", ""],
    ]
    assert "6 restored" in done.err
    assert "2 placeholders fixed: is_training:0 (= False, steers 4 Switch nodes)" in done.err
    assert f"would write {tmp_path / 'o.pb'}" in done.err
    assert list(tmp_path.iterdir()) == []
    table = call(*words, tty=True, columns=120)
    assert table.out.splitlines()[0].split() == ["variable", "graph", "checkpoint", "holds", "status", "near"]
    answer = call(*words, "--json").answer
    assert (answer["schema"], answer["written"]) == ("tfinspect/freeze/1", False)
    assert answer["reconciliation"][1] == {
        "variable": "conv/moving_mean", "dtype": "float32", "shape": [6], "key": "conv/moving_mean",
        "key_dtype": "float32", "key_shape": [6], "status": "restored", "fitted": False, "near": [],
    }  # fmt: skip
    assert {(r["what"], r["node"]) for r in answer["repairs"]} >= {
        ("phase-flag", "is_training:0"), ("phase-flag", "keep_prob:0"), ("pipeline", "queue_Dequeue"), ("dropout", "dropout/SelectV2"),
    }  # fmt: skip


def test_a_dry_run_that_would_fail_says_why_after_the_table(call: Caller, tmp_path: Path) -> None:
    words = ("freeze", "training", "--outputs", "softmax", "-o", tmp_path / "o.pb", "-n", "--map", "conv=x")
    done = call(*words)
    assert done.status == 4
    assert [row[4] for row in done.rows] == ["missing"] * 4 + ["restored"] * 2 + ["extra"] * 4
    assert done.rows[0][5].split()[0] == "conv/weights"
    assert "error: the graph needs 4 variables that training/model.ckpt-3 does not have" in done.err
    assert "hint: mend it with --map conv/beta=conv/beta" in done.err
    failed = call(*words, "--json")
    assert failed.status == 4
    assert [row["status"] for row in failed.answer["reconciliation"]][:5] == ["missing"] * 4 + ["restored"]
    assert '"slug": "unrestored-variables"' in failed.err
    assert list(tmp_path.iterdir()) == []


def test_repairs_are_told_each_kind_in_a_line_or_all(call: Caller, tmp_path: Path) -> None:
    words = ("freeze", "training", "--outputs", "softmax", "-o", tmp_path / "o.pb", "-f")
    short, long = call(*words), call(*words, "-v")
    assert "4 conditionals folded (Switch): conv/cond/Identity/Switch, conv/cond/Identity_1/Switch" in short.err
    assert "conditional folded: conv/cond/Identity_3/Switch (Switch)" in long.err
    kept = call(*words, "--keep-training")
    assert kept.status == 0
    assert "placeholder" not in kept.err.replace("made a placeholder", "")
    assert "Switch" in {node.op for node in graphdef.read(tmp_path / "o.pb")}


def test_flags_can_be_set_by_hand(call: Caller, tmp_path: Path) -> None:
    words = ("freeze", "training", "--outputs", "softmax", "-o", tmp_path / "o.pb", "--json")
    answer = call(*words, "--set", "is_training=False", "--set", "keep_prob=0.5").answer
    details = {r["node"]: r["detail"] for r in answer["repairs"] if r["what"] == "phase-flag"}
    assert details == {"is_training:0": "= False, as told", "keep_prob:0": "= 0.5, as told"}
    error = call(*words, "-f", "--set", "is_trainin=False").error
    assert error["slug"] == "node-not-found"
    assert "is_training" in error["evidence"]["near"]


def test_a_frozen_graph_with_flags_left_is_repaired(call: Caller, tmp_path: Path) -> None:
    mask = [op("Shape", "s", "x", T=F, out_type=DType.INT32), op("RandomUniform", "u", "s", T=DType.INT32, dtype=F),
            op("Add", "a", "keep_prob", "u", T=F), op("Floor", "m", "a", T=F), op("RealDiv", "d", "x", "keep_prob", T=F)]  # fmt: skip
    path = tmp_path / "live.pb"
    write_graph(graph(feed("x", (None, 4)), feed("keep_prob", ()), mask, op("Mul", "y", "d", "m", T=F)), path)
    done = call("freeze", path, "-o", tmp_path / "still.pb", "--json").answer
    assert [i["name"] for i in done["inputs"]] == ["x:0"]
    assert [(r["what"], r["node"]) for r in done["repairs"]] == [("phase-flag", "keep_prob:0"), ("dropout", "y")]
    again = call("freeze", tmp_path / "still.pb", "-o", tmp_path / "once.pb", "--json").error
    assert again["slug"] == "wrong-kind"
    assert "is frozen already" in again["message"]
