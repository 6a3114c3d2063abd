"""Repairs of training graphs, one by one, on small graphs; what cannot be repaired is refused by name."""

from __future__ import annotations

import contextlib
import random
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.cli_calls import FIXTURES
from tests.graph_models import const, feed, graph, op, ref
from tfinspect.api.freeze import Options, freeze, freeze_model, plan_model
from tfinspect.api.load import open_graph
from tfinspect.errors import InvalidGraphError, SurgeryError, TfinspectError, UsageError
from tfinspect.ir.attrs import Attr, AttrList, FuncRef
from tfinspect.ir.checkpoint import Checkpoint, VariableInfo
from tfinspect.ir.dtypes import DType
from tfinspect.ir.functions import Function, FunctionBody
from tfinspect.ir.graph import Graph, Node
from tfinspect.ir.tensors import Tensor
from tfinspect.surgery.batch_statistics import batch_dependent
from tfinspect.surgery.fold_switches import fold_switches
from tfinspect.surgery.modernize.vocabulary import current_vocabulary
from tfinspect.surgery.moving_averages import moving_averages
from tfinspect.surgery.partition_ends import plain_ends, plain_names
from tfinspect.surgery.pipelines import pipeline_ends
from tfinspect.surgery.repairs import KINDS, Repair, summary
from tfinspect.surgery.scalars import scalar
from tfinspect.surgery.shapes import TensorTypes
from tfinspect.surgery.strip_checks import take_out_checks
from tfinspect.surgery.strip_dropout import take_out_dropout

if TYPE_CHECKING:
    from collections.abc import Sequence

F, B, I32 = DType.FLOAT, DType.BOOL, DType.INT32


def number(name: str, value: object) -> Node:
    return const(name, value, F)


def held(name: str, *shape: int) -> Node:
    return op("VariableV2", name, dtype=F, shape=shape)


def checkpoint(**arrays: Any) -> Checkpoint:
    values = {name.replace("__", "/"): np.asarray(value, "f4") for name, value in arrays.items()}
    infos = {n: VariableInfo(n, F, v.shape, v.nbytes) for n, v in values.items()}
    return Checkpoint("model.ckpt", "checkpoint_v2", infos, lambda name: Tensor.of(values[name]))


def repaired(source: Graph, values: Checkpoint, *outputs: str, **options: Any) -> Any:
    return freeze_model(source, values, Options(outputs, **options))


def kinds(done: Any) -> list[tuple[str, str]]:
    return [(r.what, r.node) for r in done.repairs]


# --- moving averages -------------------------------------------------------------------------------------------------


def moment(name: str, source: str, axes: Sequence[int] = (0,)) -> list[Node]:
    return [const(f"{name}/axes", list(axes), I32), op("Mean", name, source, f"{name}/axes", T=F, Tidx=I32)]


def average_by_sub(variable: str, value: str) -> list[Node]:
    return [
        op("Sub", f"{variable}/difference", variable, value, T=F),
        number(f"{variable}/rate", 0.1),
        op("Mul", f"{variable}/delta", f"{variable}/difference", f"{variable}/rate", T=F),
        op("AssignSub", f"{variable}/update", variable, f"{variable}/delta", T=F),
    ]


def average_by_sum(variable: str, value: str, decay: float = 0.9, weight: float = 0.1) -> list[Node]:
    return [
        number(f"{variable}/decay", decay),
        number(f"{variable}/weight", weight),
        op("Mul", f"{variable}/old", variable, f"{variable}/decay", T=F),
        op("Mul", f"{variable}/new", f"{variable}/weight", value, T=F),
        op("Add", f"{variable}/sum", f"{variable}/new", f"{variable}/old", T=F),
        op("Assign", f"{variable}/update", variable, f"{variable}/sum", T=F),
    ]


@pytest.mark.parametrize("form", [average_by_sub, average_by_sum])
def test_an_average_is_told_from_its_update(form: Any) -> None:
    source = graph(feed("x", (None, 3)), moment("m", "x"), held("v", 3), form("v", "m"))
    (found,) = moving_averages(source)
    assert (found.variable, found.value, found.update) == ("v", ref("m:0"), "v/update")


def test_weights_that_do_not_add_up_to_one_are_no_average() -> None:
    source = graph(feed("x", (None, 3)), moment("m", "x"), held("v", 3), average_by_sum("v", "m", 0.9, 0.5))
    assert moving_averages(source) == []


def test_an_update_by_a_gradient_is_no_average() -> None:
    source = graph(held("v", 3), feed("x", (3,)), number("r", 0.1), op("Mul", "d", "x", "r", T=F),
                   op("AssignSub", "u", "v", "d", T=F))  # fmt: skip
    assert moving_averages(source) == []


# --- batch norms in training -----------------------------------------------------------------------------------------


def fused(**attrs: object) -> list[Node]:
    return [
        feed("x", (None, 2, 2, 3)),
        number("gamma", [1, 2, 3]),
        number("beta", [0, 1, 0]),
        number("none", []),
        op("FusedBatchNorm", "bn", "x", "gamma", "beta", "none", "none", T=F, is_training=True, epsilon=0.001, **attrs),
    ]


def test_a_fused_norm_takes_the_variables_that_average_it() -> None:
    source = graph(
        fused(), held("mean", 3), held("var", 3), average_by_sub("mean", "bn:1"), average_by_sum("var", "bn:2")
    )
    done = repaired(source, checkpoint(mean=[1, 2, 3], var=[4, 5, 6]), "bn")
    assert done.graph.node("bn").inputs == ("x", "gamma", "beta", "mean", "var")
    assert done.graph.node("bn").value("is_training") is False
    assert kinds(done) == [("batch-norm", "bn")]
    assert done.repairs[0].detail == "FusedBatchNorm, by mean and var"
    kept = repaired(source, checkpoint(mean=[1, 2, 3], var=[4, 5, 6]), "bn", keep_training=True)
    assert kept.graph.node("bn").value("is_training") is True
    assert kinds(kept) == []


def test_a_fused_norm_that_updates_its_averages_itself_has_them_at_hand() -> None:
    nodes = [n for n in fused(exponential_avg_factor=0.1) if n.name != "none"]
    source = graph([n.replace(inputs=["x", "gamma", "beta", "mean", "var"]) if n.name == "bn" else n for n in nodes],
                   held("mean", 3), held("var", 3))  # fmt: skip
    done = repaired(source, checkpoint(mean=[1, 2, 3], var=[4, 5, 6]), "bn")
    assert done.graph.node("bn").value("is_training") is False
    assert "exponential_avg_factor" not in done.graph.node("bn").attrs


def test_a_norm_without_averages_is_refused_by_name() -> None:
    with pytest.raises(SurgeryError) as caught:
        freeze(graph(fused(), held("w", 3), op("Add", "y", "bn", "w", T=F)), checkpoint(w=[1, 2, 3]), outputs=["y"])
    assert caught.value.message == (
        "`bn` (FusedBatchNorm) normalises by the statistics of its batch, and no moving average of them is kept in the graph"
    )
    assert "--keep-training" in str(caught.value.hint)
    assert caught.value.evidence["refused"][0]["node"] == "bn"  # type: ignore[index]


def written_out(axes: Sequence[int]) -> list[Node]:
    return [
        feed("x", (None, 3)),
        *moment("mean", "x", axes),
        op("SquaredDifference", "sd", "x", "mean", T=F),
        *moment("variance", "sd", axes),
        number("eps", 0.001),
        op("Add", "sum", "variance", "eps", T=F),
        op("Rsqrt", "inverse", "sum", T=F),
        op("Sub", "centred", "x", "mean", T=F),
        op("Mul", "y", "centred", "inverse", T=F),
    ]


def test_what_is_written_out_and_not_averaged_is_refused() -> None:
    with pytest.raises(
        SurgeryError, match=r"`inverse` \(Rsqrt\) normalises by the statistics of its batch \(variance\)"
    ):
        freeze(graph(written_out([0]), held("w", 3), op("Add", "z", "y", "w", T=F)), checkpoint(w=[0, 0, 0]),
               outputs=["z"])  # fmt: skip


@pytest.mark.parametrize("axes", [[1], [-1]])
def test_a_norm_over_features_is_none_of_the_batch(axes: list[int]) -> None:
    source = graph(written_out(axes))
    assert batch_dependent(source, TensorTypes(source)) == []


def test_the_mean_alone_does_not_do() -> None:
    source = graph(written_out([0]), held("m", 3), average_by_sub("m", "mean"))
    with pytest.raises(SurgeryError, match="`inverse`"):
        freeze(source, checkpoint(m=[0, 0, 0]), outputs=["y"])


def test_averages_of_something_else_change_nothing() -> None:
    source = graph(feed("x", (None, 3)), held("w", 3), op("Mul", "y", "x", "w", T=F), held("ema", 3),
                   average_by_sub("ema", "w"))  # fmt: skip
    done = repaired(source, checkpoint(w=[1, 2, 3], ema=[4, 5, 6]), "y")
    assert done.report.restored == {"w": "w"}
    assert kinds(done) == []
    averaged = repaired(source, checkpoint(w=[1, 2, 3], ema=[4, 5, 6]), "y", averages=True)
    assert averaged.report.restored == {"w": "ema"}
    assert averaged.averages == {"w": ("ema", "graph")}


# --- dropout ---------------------------------------------------------------------------------------------------------


def uniform() -> list[Node]:
    return [feed("x", (None, 4)), op("Shape", "shape", "x", T=F, out_type=I32),
            op("RandomUniform", "u", "shape", T=I32, dtype=F)]  # fmt: skip


def floor_mask(keep: float) -> list[Node]:
    return [*uniform(), number("keep", keep), op("Add", "sum", "u", "keep", T=F), op("Floor", "mask", "sum", T=F)]


@pytest.mark.parametrize("keep", [0.5, 0.9, 1.0])
@pytest.mark.parametrize("late", [False, True])
def test_dropout_goes_whatever_it_keeps(keep: float, *, late: bool) -> None:
    first = op("Mul", "a", "mask", "x", T=F) if late else op("RealDiv", "a", "x", "keep", T=F)
    last = op("RealDiv", "y", "a", "keep", T=F) if late else op("Mul", "y", "a", "mask", T=F)
    done, names = take_out_dropout(graph(floor_mask(keep), first, last), [ref("y")])
    assert names == ["y"]
    assert (done.node("y").op, done.node("y").inputs) == ("Identity", ("x",))
    assert {n.name for n in done} == {"x", "y"}


@pytest.mark.parametrize(("test", "bound", "swapped"), [
    ("GreaterEqual", 0.3, False), ("Less", 0.7, False), ("LessEqual", 0.3, True), ("Greater", 0.7, True),
])  # fmt: skip
def test_dropout_by_comparison_and_select(test: str, bound: float, *, swapped: bool) -> None:
    operands = ("bound", "u") if swapped else ("u", "bound")
    nodes = [*uniform(), number("bound", bound), op(test, "kept", *operands, T=F), number("scale", 1 / 0.7)]
    nodes += [op("Mul", "scaled", "scale", "x", T=F), op("ZerosLike", "zeros", "x", T=F)]
    for last in (
        op("Select", "y", "kept", "scaled", "zeros", T=F),
        op("SelectV2", "y", "kept", "scaled", "zeros", T=F),
    ):
        done, names = take_out_dropout(graph(nodes, last), [ref("y")])
        assert names == ["y"]
        assert done.node("y").inputs == ("x",)


def test_a_mask_without_the_scale_stays() -> None:
    source = graph(floor_mask(0.5), op("Mul", "y", "x", "mask", T=F))
    assert take_out_dropout(source, [ref("y")]) == (source, [])


def test_another_scale_is_no_dropout() -> None:
    source = graph(
        floor_mask(0.5), number("k", 0.7), op("RealDiv", "a", "x", "k", T=F), op("Mul", "y", "a", "mask", T=F)
    )
    assert take_out_dropout(source, [ref("y")]) == (source, [])


def test_random_numbers_that_stay_are_told() -> None:
    source = graph(floor_mask(0.5), held("w", 4), op("Mul", "y", "w", "mask", T=F))
    done = repaired(source, checkpoint(w=[1, 2, 3, 4]), "y")
    assert done.notes == ("the outputs still depend on random numbers, drawn by `u`",)


@settings(deadline=None)
@given(st.lists(st.sampled_from(["Add", "Sub", "Mul", "RealDiv", "Neg", "Identity", "Cast"]), max_size=30), st.data())
def test_scalars_are_worked_out_as_python_does(ops: list[str], data: Any) -> None:
    values = [2.0, 0.5]
    nodes = [number("n0", 2.0), number("n1", 0.5)]
    for k, kind in enumerate(ops, 2):
        a, b = (data.draw(st.integers(0, k - 1)) for _ in range(2))
        x, y = values[a], values[b]
        whole = kind in ("Add", "Sub", "Mul") or (kind == "RealDiv" and y != 0)
        inputs = [f"n{a}", f"n{b}"] if whole else [f"n{a}"]
        nodes.append(op(kind if whole or kind != "RealDiv" else "Neg", f"n{k}", *inputs, T=F))
        made = {"Add": x + y, "Sub": x - y, "Mul": x * y, "Identity": x, "Cast": x}.get(kind, -x)
        values.append(x / y if kind == "RealDiv" and y else made)
    source = graph(nodes)
    for node in nodes:
        found = scalar(source, ref(node.name))
        wanted = values[int(node.name[1:])]
        assert found == wanted or (np.isnan(found) and np.isnan(wanted))


def test_a_loop_is_no_scalar() -> None:
    source = graph(number("one", 1), op("Add", "a", "one", "b", T=F), op("Neg", "b", "a", T=F))
    assert scalar(source, ref("a")) is None


# --- checks ----------------------------------------------------------------------------------------------------------


def test_checks_prints_and_summaries_go() -> None:
    source = graph(
        feed("x", (2,)), const("yes", value=True, dtype=B),
        op("Assert", "assert", "yes", "x"), op("HistogramSummary", "summary", "x", "x", T=F),
        Node("all", "NoOp", ("^assert", "^summary")), op("Print", "print", "x", "x", T=F),
        op("StopGradient", "stop", "print", T=F), op("Relu", "y", "stop", "^all", T=F),
    )  # fmt: skip
    done, found = take_out_checks(source)
    assert [n.name for n in found] == ["assert", "summary", "print"]
    assert {n.name: (n.op, n.inputs) for n in done if n.name != "x"} == {
        "yes": ("Const", ()), "print": ("Identity", ("x",)), "stop": ("StopGradient", ("print",)), "y": ("Relu", ("stop",)),
    }  # fmt: skip


def test_the_conditional_around_an_assertion_goes() -> None:
    inner = FunctionBody((("c", B),), (("r", B),), (Node("a", "Assert", ("c", "c")), op("Identity", "i", "c", "^a", T=B)),
                         {"r": "i:output:0"})  # fmt: skip
    function = Function("guarded", lambda: inner)
    nodes = [
        feed("x", (2,)), const("yes", value=True, dtype=B),
        Node("guard", "StatelessIf", ("yes", "yes"), {"then_branch": Attr.of(FuncRef("guarded", {})), "Tout": Attr.of(B)}),
        op("Identity", "guard/id", "guard", T=B), op("Relu", "y", "x", "^guard/id", T=F),
    ]  # fmt: skip
    done, found = take_out_checks(Graph(nodes, functions={"guarded": function}))
    assert [n.name for n in found] == ["guard", "guard/id"]
    assert done.node("y").inputs == ("x",)
    read = Graph([*nodes, op("LogicalNot", "z", "guard")], functions={"guarded": function})
    assert take_out_checks(read)[1] == []


# --- input pipelines -------------------------------------------------------------------------------------------------


def pictures(*source: Node) -> Graph:
    return graph(
        list(source),
        op("DecodeJpeg", "jpeg", source[-1].name, channels=3),
        op("Cast", "y", "jpeg", SrcT=DType.UINT8, DstT=F),
    )


def test_pixels_take_the_place_of_a_file() -> None:
    source = pictures(const("name", b"a.jpg", DType.STRING), op("ReadFile", "read", "name"))
    assert pipeline_ends(source, [ref("y")]) == [ref("jpeg:0")]
    done = repaired(
        graph(list(source.nodes), held("w", 3), op("Mul", "z", "y", "w", T=F)), checkpoint(w=[1, 2, 3]), "z"
    )
    assert [(str(s.ref), s.dtype, s.shape) for s in done.inputs] == [("jpeg:0", DType.UINT8, (None, None, 3))]
    assert kinds(done) == [("pipeline", "jpeg")]


def test_bytes_that_are_fed_stay() -> None:
    assert pipeline_ends(pictures(feed("bytes", (), DType.STRING)), [ref("y")]) == []


def test_a_vocabulary_that_is_read_stays() -> None:
    source = graph(
        const("name", b"words", DType.STRING),
        op("ReadFile", "read", "name"),
        op("Identity", "y", "read", T=DType.STRING),
    )
    assert pipeline_ends(source, [ref("y")]) == []


# --- ends and names of a partition -----------------------------------------------------------------------------------


def test_arguments_and_results_become_plain() -> None:
    source = graph(
        op("_Arg", "_arg_x", T=F, index=0, _output_shapes=[(2, 3)]),
        op("_Arg", "w", T=DType.RESOURCE, index=1),
        op("_Arg", "unread", T=DType.RESOURCE, index=2),
        op("ReadVariableOp", "read", "w", dtype=F),
        op("Mul", "y", "_arg_x", "read", T=F),
        op("_Retval", "_ret", "y", T=F, index=0),
    )
    plain, done = plain_ends(source)
    assert [(n.name, n.op) for n in plain if n.op in ("Placeholder", "VarHandleOp", "Identity", "_Arg")] == [
        ("_arg_x", "Placeholder"), ("w", "VarHandleOp"), ("unread", "_Arg"), ("_ret", "Identity"),
    ]  # fmt: skip
    assert plain.node("_arg_x").shape() == (2, 3)
    assert [r.node for r in done] == ["_arg_x", "w", "_ret"]
    frozen = repaired(source, checkpoint(w=[1, 2, 3]), "_ret")
    assert [str(s.ref) for s in (*frozen.inputs, *frozen.outputs)] == ["arg_x:0", "ret:0"]
    assert frozen.notes == ("`_arg_x` is now `arg_x`", "`_ret` is now `ret`")


def test_a_plain_name_that_is_taken_gets_a_number() -> None:
    plain, renamed = plain_names(graph(feed("x", ()), feed("_x", ()), op("Neg", "y", "_x", "^_x", T=F)))
    assert renamed == {"_x": "x_1"}
    assert plain.node("y").inputs == ("x_1", "^x_1")


# --- words of other versions -----------------------------------------------------------------------------------------


def test_only_what_is_refused_is_rewritten() -> None:
    nodes = [feed("x", (2, 2)), op("BatchCholesky", "y", "x", T=F)]
    old = graph(nodes, producer=12)
    assert current_vocabulary(old) == (old, [], [])
    new, repairs, notes = current_vocabulary(graph(nodes, producer=13))
    assert new.node("y").op == "Cholesky"
    assert [str(r) for r in repairs] == ["op of another version rewritten: y (BatchCholesky, now Cholesky)"]
    assert notes == []


def test_ops_that_are_gone_are_named_with_who_knew_them() -> None:
    source = graph(feed("x", (2, 2)), op("GatherTree", "y", "x"), op("MatrixExponential", "z", "x", T=F))
    _, _, notes = current_vocabulary(source)
    assert notes == [
        "GatherTree stays in 1 node, as `y`: not an op of TensorFlow itself but of tf.contrib.seq2seq, which TensorFlow 2 dropped",
        "MatrixExponential stays in 1 node, as `z`: TensorFlow refuses it in graphs of version 27 and later (this one is 27)",
    ]


def test_attributes_the_op_does_not_have() -> None:
    source = graph(feed("x", (2, 2)), op("Relu", "y", "x", T=F, later=False, louder=3, _hint=1))
    new, repairs, notes = current_vocabulary(source)
    assert sorted(new.node("y").attrs) == ["T", "_hint", "louder"]
    assert [(r.what, r.node, r.detail) for r in repairs] == [("attribute", "y", "later of Relu")]
    assert notes == ["`y` (Relu) has the attribute `louder`, which TensorFlow 2.21 does not know and ignores"]


def test_a_contrib_op_with_an_equivalent() -> None:
    source = graph(feed("x", (1, 4, 4, 3)), number("t", [[1, 0, 0, 0, 1, 0, 0, 0]]),
                   op("ImageProjectiveTransform", "y", "x", "t", dtype=F, interpolation="BILINEAR"))  # fmt: skip
    new, _, notes = current_vocabulary(source)
    assert new.node("y").op == "ImageProjectiveTransformV2"
    assert new.node("y").text("interpolation") == "BILINEAR"
    assert notes == []


# --- conditionals ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("test", "value", "chosen"), [
    ("cast", 0, "b"), ("cast", 2, "a"), ("Equal", 1, "a"), ("Equal", 0, "b"), ("Less", 0, "a"),
])  # fmt: skip
def test_a_number_steers_a_conditional_and_a_select(test: str, value: int, chosen: str) -> None:
    number_of = const("mode", value)
    flag = (op("Cast", "flag", "mode", SrcT=I32, DstT=B) if test == "cast"
            else op(test, "flag", "mode", "one", T=I32))  # fmt: skip
    source = graph(
        feed("a", (None, 3)), feed("b", (None, 3)), number_of, const("one", 1), flag,
        op("Select", "y", "flag", "a", "b", T=F), op("Switch", "s", "a", "flag", T=F), op("Neg", "n", "s:1", T=F),
        op("Switch", "t", "b", "flag", T=F), op("Merge", "z", "n", "t", T=F, N=2),
    )  # fmt: skip
    done = fold_switches(source)
    assert (done.node("y").op, done.node("y").inputs) == ("Identity", (chosen,))
    assert done.node("z").inputs == ("n" if chosen == "a" else "t",)


@pytest.mark.parametrize(("shape", "folds"), [((None, 3), False), ((2, 3), True), ((), False)])
def test_a_select_that_broadcasts_stays(shape: tuple[int | None, ...], *, folds: bool) -> None:
    source = graph(feed("a", (2, 3)), feed("b", shape), const("yes", value=True, dtype=B),
                   op("SelectV2", "y", "yes", "a", "b", T=F))  # fmt: skip
    assert (fold_switches(source).node("y").op == "Identity") == folds


def test_code_that_is_not_in_the_file_is_refused() -> None:
    source = graph(
        feed("x", (None, 3)), held("w", 3), op("PyFunc", "py", "x", Tout=[F]), op("Mul", "y", "py", "w", T=F)
    )
    with pytest.raises(SurgeryError, match=r"`py` \(PyFunc\) runs code that is not in the file") as caught:
        freeze(source, checkpoint(w=[1, 2, 3]), outputs=["y"])
    assert caught.value.hint == "feed what it gives with --inputs py, or keep it as it is with --keep-training"
    assert freeze(source, checkpoint(w=[1, 2, 3]), outputs=["y"], inputs=["py"]).node("py").op == "Placeholder"


# --- the whole -------------------------------------------------------------------------------------------------------


COLOCATED = Attr.of(AttrList("s", (b"loc:@gone", b"loc:@x")))


def test_pins_and_dangling_colocations_go() -> None:
    source = graph(
        feed("x", (None, 3)), held("w", 3).replace(device="/gpu:0"),
        Node("y", "Mul", ("x", "w"), {"T": Attr.of(F), "_class": COLOCATED}, device="/job:ps"),
        op("NoOp", "gone"),
    )  # fmt: skip
    done = repaired(source, checkpoint(w=[1, 2, 3]), "y")
    assert {n.device for n in done.graph} == {""}
    assert done.graph.node("y").value("_class") == (b"loc:@x",)
    assert kinds(done) == [("device", "w"), ("device", "y"), ("colocation", "y")]
    kept = repaired(source, checkpoint(w=[1, 2, 3]), "y", keep_training=True)
    assert kept.graph.node("y").device == "/job:ps"


def test_settings_fill_variables_and_placeholders() -> None:
    source = graph(feed("x", (None, 3)), held("w", 3), feed("k", ()), op("Mul", "xw", "x", "w", T=F),
                   op("Mul", "y", "xw", "k", T=F))  # fmt: skip
    done = repaired(source, checkpoint(other=[1]), "y", settings=["w=2", "k=3"])
    tensor = done.graph.node("w").tensor()
    assert tensor is not None
    assert tensor.numpy().tolist() == [2, 2, 2]
    assert [(r.status, r.variable) for r in done.table] == [("set", "w"), ("extra", "")]
    listed = repaired(source, checkpoint(other=[1]), "y", settings=["w=[1, 2, 3]", "k=3"]).graph.node("w").tensor()
    assert listed is not None
    assert listed.numpy().tolist() == [1, 2, 3]
    with pytest.raises(UsageError, match="`w` has the shape 3, the value given has 2 elements"):
        repaired(source, checkpoint(other=[1]), "y", settings=["w=[1, 2]", "k=3"])
    with pytest.raises(UsageError, match="both as an input and as a setting"):
        repaired(source, checkpoint(w=[1, 2, 3]), "y", settings=["k=3"], inputs=["k", "x"])


def test_a_summary_names_the_first_and_counts_the_rest() -> None:
    assert summary([Repair("dropout", f"d{k}") for k in range(5)]) == ["5 dropouts removed: d0, d1, d2 and 2 more"]
    assert summary([Repair("device", "a", "/gpu:0")]) == ["1 node no longer pinned to a device (/gpu:0): a"]
    assert summary([]) == []
    assert all(len(KINDS[what]) == 2 for what in KINDS)


def test_a_long_chain_is_no_recursion() -> None:
    nodes = [feed("x", (None, 3)), held("w", 3), op("Mul", "n0", "x", "w", T=F)]
    nodes += [op("Identity", f"n{k}", f"n{k - 1}", T=F) for k in range(1, 5_000)]
    done = repaired(graph(nodes), checkpoint(w=[1, 2, 3]), "n4999")
    assert "n4999" in done.graph


MUTATED = (
    "FusedBatchNorm",
    "Select",
    "AssignSub",
    "TopK",
    "TensorArrayPack",
    "_Arg",
    "Print",
    "Assert",
    "DecodeJpeg",
    "Rsqrt",
    "Floor",
)


@given(st.integers(0, 1 << 30))
@settings(max_examples=60, deadline=None)
def test_a_graph_that_is_not_well_formed_gives_one_error(seed: int) -> None:
    draw = random.Random(seed)  # noqa: S311 - nothing secret
    model = open_graph(FIXTURES / "training" / "model.ckpt-3.meta")
    assert model.graph is not None
    nodes = list(model.graph.nodes)
    for _ in range(draw.randint(1, 6)):
        at = draw.randrange(len(nodes))
        node, other = nodes[at], draw.choice(nodes)
        match draw.randrange(6):
            case 0:
                nodes.pop(at)
            case 1:
                nodes[at] = node.replace(inputs=node.inputs[:-1])
            case 2:
                nodes[at] = node.replace(inputs=[other.name, *node.inputs[1:]])
            case 3:
                nodes[at] = node.replace(op=draw.choice([other.op, *MUTATED]))
            case 4:
                nodes[at] = node.replace(attrs={})
            case _:
                nodes[at] = node.replace(op=draw.choice([other.op, *MUTATED]), attrs=other.attrs)
    changed = replace(model, graph=Graph(nodes, versions=model.graph.versions))
    with contextlib.suppress(TfinspectError):  # any other error fails the test
        plan = plan_model(changed, options=Options(["softmax"]))
        assert (plan.error is None) == (plan.frozen is not None)


@pytest.mark.parametrize(("node", "words"), [
    (op("Mul", "y", "x", T=F), r"node `y` \(Mul\) has 1 input where the operation takes 2"),
    (op("Switch", "y", "x", "x"), r"node `y` \(Switch\) lacks the attribute `T`"),
    (op("FusedBatchNorm", "y", T=F), r"node `y` \(FusedBatchNorm\) has 0 inputs where the operation takes 5"),
])  # fmt: skip
def test_a_node_that_lacks_something_is_named(node: Node, words: str) -> None:
    with pytest.raises(InvalidGraphError, match=words):
        freeze(graph(feed("x", (None, 3)), node), checkpoint(w=[1]), outputs=["y"])
