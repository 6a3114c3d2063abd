"""Object graphs of TensorFlow 2 checkpoints: what variables are called, what slots serve, and graphs that lie."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.checkpoint_writers import write_bundle
from tests.graph_models import ZOO, needs_zoo
from tfinspect import formats
from tfinspect.formats import object_graph
from tfinspect.formats._schema import message_class
from tfinspect.ir.checkpoint import OBJECT_GRAPH, VALUE, describe
from tfinspect.ir.dtypes import DType

FIXTURES = Path(__file__).parent.parent / "fixtures"
KEY = "w" + VALUE


def rows(path: Path) -> dict[str, tuple[str, str, str]]:
    """Label, role and what is served, by key without its suffix."""
    return {
        key.removesuffix(VALUE): (info.label, info.role, info.serves.removesuffix(VALUE))
        for key, info in formats.read_checkpoint(path).variables.items()
        if key != OBJECT_GRAPH
    }


def test_a_module_and_an_optimizer_with_slots() -> None:
    assert rows(FIXTURES / "objects") == {
        "model/b": ("dense/bias", "weight", ""),
        "model/b/.OPTIMIZER_SLOT/optimizer/momentum": ("dense/bias/Momentum", "slot", "model/b"),
        "model/pair/0": ("model/pair/0", "weight", ""),  # both were called `Variable`
        "model/pair/1": ("model/pair/1", "weight", ""),
        "model/w": ("dense/kernel", "weight", ""),
        "model/w/.OPTIMIZER_SLOT/optimizer/momentum": ("dense/kernel/Momentum", "slot", "model/w"),
        "save_counter": ("save_counter", "step", ""),
        "step": ("step", "step", ""),
    }


def test_keras_3_keeps_weights_below_the_optimizer() -> None:
    found = rows(FIXTURES / "keras3_training")
    weights = {label: key for key, (label, role, _) in found.items() if role == "weight"}
    assert weights == {
        "net/hidden/kernel": "model/optimizer/_trainable_variables/0",
        "net/hidden/bias": "model/optimizer/_trainable_variables/1",
        "net/bn/gamma": "model/optimizer/_trainable_variables/2",
        "net/bn/beta": "model/optimizer/_trainable_variables/3",
        "net/scores/kernel": "model/optimizer/_trainable_variables/4",
        "net/scores/bias": "model/optimizer/_trainable_variables/5",
        "net/bn/moving_mean": "model/_functional/_operations/2/moving_mean",
        "net/bn/moving_variance": "model/_functional/_operations/2/moving_variance",
    }
    slots = {label: serves for label, role, serves in found.values() if role == "slot"}
    assert len(slots) == 12
    assert slots["adam/net_scores_kernel_velocity"] == weights["net/scores/kernel"]
    assert slots["adam/net_hidden_bias_momentum"] == weights["net/hidden/bias"]
    assert found["model/optimizer/_iterations"] == ("adam/iteration", "step", "")
    assert found["model/optimizer/_learning_rate"] == ("adam/learning_rate", "bookkeeping", "")
    assert found["save_counter"][1] == "step"


def test_without_its_shard_the_variables_are_listed_by_key(tmp_path: Path) -> None:
    for name in ("ckpt-1.index",):
        (tmp_path / name).write_bytes((FIXTURES / "keras3_training" / name).read_bytes())
    checkpoint = formats.read_checkpoint(tmp_path / "ckpt-1")
    roles = [info.role for info in checkpoint.variables.values()]
    assert {role: roles.count(role) for role in set(roles)} == {"weight": 8, "slot": 12, "step": 2, "bookkeeping": 2}
    assert not any(info.label for info in checkpoint.variables.values())
    (fault,) = checkpoint.faults()
    assert "ckpt-1.data-00000-of-00001 is missing" in str(fault)


def graph(*nodes: dict[str, Any]) -> bytes:
    """Serialise objects given as {children: [(id, name)], values: [(name, full name, key)], slots: [(of, slot)]}."""
    message = message_class("TrackableObjectGraph")()
    for node in nodes:
        made = message.nodes.add()
        for number, name in node.get("children", ()):
            made.children.add(node_id=number, local_name=name)
        for name, full_name, key in node.get("values", ()):
            made.attributes.add(name=name, full_name=full_name, checkpoint_key=key)
        for of, slot in node.get("slots", ()):
            made.slot_variables.add(original_variable_node_id=of, slot_name="m", slot_variable_node_id=slot)
    return message.SerializeToString()


def variable(key: str, full_name: str = "") -> dict[str, Any]:
    return {"values": [("VARIABLE_VALUE", full_name, key + VALUE)]}


def test_cycles_and_shared_objects() -> None:
    payload = graph(
        {"children": [(0, "self"), (1, "a"), (2, "optimizer")]},
        {"children": [(0, "parent"), (3, "kernel")]},
        {"children": [(3, "x"), (1, "a"), (2, "optimizer")]},
        variable("optimizer/x"),
    )
    found = object_graph.describe(payload, {"optimizer/x" + VALUE}, "c.index")
    assert found.labels == {"optimizer/x" + VALUE: "a/kernel"}  # not the shorter way, through the optimizer
    assert not found.problems


def test_the_path_for_people_avoids_lists() -> None:
    payload = graph(
        {"children": [(1, "variables"), (1, "_all"), (2, "layer_with_weights-0"), (2, "layer-0")]},
        {"children": [(3, "0")]},
        {"children": [(3, "kernel")]},
        variable("variables/0"),
    )
    assert list(object_graph.describe(payload, {"variables/0" + VALUE}, "c").labels.values()) == ["layer-0/kernel"]


def test_one_scoped_name_of_two_copies_goes_to_the_one_that_is_easier_to_reach() -> None:
    payload = graph(
        {"children": [(1, "variables"), (2, "_all_variables")]},
        {"children": [(3, "0")]},
        {"children": [(4, "0")]},
        variable("variables/0", "net/kernel"),
        variable("_all_variables/0", "net/kernel"),
    )
    keys = {"variables/0" + VALUE, "_all_variables/0" + VALUE}
    assert object_graph.describe(payload, keys, "c").labels == {
        "variables/0" + VALUE: "net/kernel",
        "_all_variables/0" + VALUE: "_all_variables/0",
    }


@pytest.mark.parametrize(
    ("payload", "expected"),
    [
        (b"\xff", "c.index: `_CHECKPOINTABLE_OBJECT_GRAPH` is not a graph of objects (1 bytes)"),
        (
            graph({"children": [(2**31 - 1, "a"), (-5, "b"), (1, "w")]}, variable("w")),
            "c.index: the graph of objects points outside of its 2 objects: object 0 has object 2,147,483,647 below it and 1 more",
        ),
        (
            graph({"children": [(1, "w")], "slots": [(1, 99)]}, variable("w")),
            "c.index: the graph of objects points outside of its 2 objects: object 0 has object 99 below it",
        ),
        (
            graph({"children": [(1, "w")]}, variable("w"), variable("gone")),
            f"c.index: the graph of objects names keys that are not in the checkpoint: `gone{VALUE}`",
        ),
    ],
)
def test_a_graph_that_lies_is_one_line(payload: bytes, expected: str) -> None:
    found = object_graph.describe(payload, {KEY}, "c.index")
    assert [str(problem) for problem in found.problems] == [expected]


def test_a_broken_graph_does_not_hide_the_variables(tmp_path: Path) -> None:
    arrays = {KEY: np.arange(3, dtype="f4"), OBJECT_GRAPH: np.array(b"\xff\xff", object)}
    write_bundle(tmp_path / "c", arrays)
    problems: list[Any] = []
    model = formats.open_model(tmp_path / "c", problems=problems)
    assert model.checkpoint is not None
    assert model.checkpoint.read(KEY).tolist() == [0, 1, 2]
    assert [str(p) for p in model.problems] == [
        f"{tmp_path / 'c'}.index: `_CHECKPOINTABLE_OBJECT_GRAPH` is not a graph of objects (2 bytes)"
    ]


def test_a_graph_that_is_no_string(tmp_path: Path) -> None:
    write_bundle(tmp_path / "c", {KEY: np.zeros(1, "f4"), OBJECT_GRAPH: np.zeros(2, "f4")})
    checkpoint = formats.read_checkpoint(tmp_path / "c")
    assert list(checkpoint.variables) == [OBJECT_GRAPH, KEY]
    (fault,) = checkpoint.faults()
    assert "expected one string, found float32[2]" in str(fault)


def test_a_graph_of_a_terabyte_is_not_read(tmp_path: Path) -> None:
    def edit(entries: dict[bytes, Any]) -> None:
        entries[OBJECT_GRAPH.encode()].size = 1 << 40

    write_bundle(tmp_path / "c", {KEY: np.zeros(1, "f4"), OBJECT_GRAPH: np.array(b"", object)}, edit=edit)
    with (tmp_path / "c.data-00000-of-00001").open("r+b") as file:
        file.truncate((1 << 40) + 100)  # a hole
    checkpoint = formats.read_checkpoint(tmp_path / "c")
    (fault,) = checkpoint.faults()
    assert "expected a graph of objects of at most 268,435,456 bytes, found 1,099,511,627,776 bytes" in str(fault)


def test_a_chain_of_many_objects_is_walked() -> None:
    count = 50_000
    nodes = [{"children": [(n + 1, "_n")], **variable(f"k{n}")} for n in range(count)]
    found = object_graph.describe(graph(*nodes, variable("end")), {f"k{n}{VALUE}" for n in range(count)}, "c")
    assert found.labels[f"k{count - 1}{VALUE}"] == f"k{count - 1}"  # too far down for a path


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=200))
def test_any_bytes_are_described(payload: bytes) -> None:
    found = object_graph.describe(payload, {KEY}, "c")
    assert set(found.labels) <= {KEY}


@settings(max_examples=200, deadline=None)
@given(
    st.lists(
        st.fixed_dictionaries(
            {
                "children": st.lists(
                    st.tuples(
                        st.integers(-2, 8),
                        st.sampled_from(
                            ["a", "_variables", "_iterations", "_trainable_variables", "_m", "0", "1", "²", "9" * 5000]
                        ),
                    ),
                    max_size=6,
                ),
                "values": st.lists(
                    st.tuples(
                        st.sampled_from(["VARIABLE_VALUE", "x"]),
                        st.sampled_from(["", "n", "a/n"]),
                        st.sampled_from([KEY, "b" + VALUE, "no"]),
                    ),
                    max_size=2,
                ),
                "slots": st.lists(st.tuples(st.integers(-1, 8), st.integers(-1, 8)), max_size=2),
            }
        ),
        max_size=8,
    )
)
def test_any_graph_is_described(nodes: list[dict[str, Any]]) -> None:
    keys = {KEY, "b" + VALUE}
    found = object_graph.describe(graph(*nodes), keys, "c")
    assert set(found.labels) <= keys
    assert all(found.labels.values())
    assert len(set(found.labels.values())) == len(found.labels)
    assert all(served in {"", *keys} for _, served in found.slots.values())
    assert len(found.problems) <= 2


def test_names_from_a_saved_model() -> None:
    message = message_class("SavedObjectGraph")()
    root, inner, kernel = (message.nodes.add() for _ in range(3))
    root.children.add(node_id=1, local_name="a/b.c")
    root.children.add(node_id=99, local_name="far")
    inner.children.add(node_id=2, local_name="w")
    inner.children.add(node_id=0, local_name="up")
    kernel.variable.name = "kernel"
    keys = [f"{path}{VALUE}" for path in ("a.Sb..c/w", "a.Sb..c/up", "far", "far/x", "none", "a.Sb..c/w/more")]
    assert object_graph.names_in_model(message.SerializeToString(), [*keys, "other"]) == {keys[0]: "kernel"}
    twice = f"a.Sb..c/up/a.Sb..c/w{VALUE}"
    assert object_graph.names_in_model(message.SerializeToString(), [*keys, twice]) == {}
    assert object_graph.names_in_model(b"\xff", keys) == object_graph.names_in_model(b"", keys) == {}


# ------------------------------------------------------------------------------------- checkpoints of named variables


def said(*names: str, shape: tuple[int, ...] = (2,)) -> dict[str, tuple[str, str]]:
    return dict(describe((name, DType.FLOAT, shape) for name in names))


@pytest.mark.parametrize(
    ("slot", "served"),
    [
        ("conv/w/Momentum", "conv/w"),
        ("conv/w/Adam_3", "conv/w"),
        ("train/conv/w/RMSProp_1", "conv/w"),
        ("conv/w/ExponentialMovingAverage", "conv/w"),
        ("average/tower/conv/w/ExponentialMovingAverage", "conv/w"),
        ("conv/w/adam_m", "conv/w"),
        ("conv/w/conv/w/biased", "conv/w"),
        ("training/Adafactor/conv/w/Adafactor", "conv/w"),
    ],
)
def test_slots_and_averages_serve_a_variable(slot: str, served: str) -> None:
    assert said("conv/w", slot)[slot] == ("slot", served)


def test_a_name_like_a_slot_without_its_variable_is_a_weight() -> None:
    assert said("conv/w/Momentum")["conv/w/Momentum"] == ("weight", "")
    assert said("attention/v", "attention/m")["attention/v"] == ("weight", "")


def test_counters_and_hyperparameters() -> None:
    infos = [("global_step", DType.INT64, ()), ("beta1_power", DType.FLOAT, ()), ("opt/iter" + VALUE, DType.INT64, ()),
             ("opt/momentum" + VALUE, DType.FLOAT, ()), ("net/keras_api/metrics/0/total" + VALUE, DType.FLOAT, ())]  # fmt: skip
    assert [role for role, _ in describe(infos).values()] == [
        "step",
        "bookkeeping",
        "step",
        "bookkeeping",
        "bookkeeping",
    ]


@needs_zoo
def test_slots_of_tf_keras() -> None:
    found = rows(ZOO / "ckpt_tf2_object/tfkeras_lso/lso_ckpt_tf2.2/ckpt")
    slot = "layer_with_weights-0/bias/.OPTIMIZER_SLOT/optimizer/base_optimizer/momentum"
    assert found[slot] == ("SGD/sequential/dense/bias/momentum", "slot", "layer_with_weights-0/bias")
    assert found["optimizer/base_optimizer/iter"] == ("SGD/iter", "step", "")
    assert found["optimizer/base_optimizer/momentum"] == ("SGD/momentum", "bookkeeping", "")
