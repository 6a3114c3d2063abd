"""`diff`: what two models have in common and where they differ, name by name."""

from __future__ import annotations

import json
import math
import shutil
import tempfile
import tracemalloc
from pathlib import Path
from typing import TYPE_CHECKING, Any

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import tfinspect as ti
from tests.checkpoint_writers import write_bundle
from tests.cli_calls import FIXTURES, ZOO, Caller, Done
from tests.graph_models import op
from tfinspect.api.diff import diff
from tfinspect.cli.differences import differences_json
from tfinspect.errors import InvalidGraphError, UsageError, WrongKindError
from tfinspect.formats._schema import message_class
from tfinspect.ir.attrs import Attr, FuncRef
from tfinspect.ir.checkpoint import Checkpoint, VariableInfo
from tfinspect.ir.dtypes import DType
from tfinspect.ir.functions import Function, FunctionBody
from tfinspect.ir.graph import Graph, Versions, const, placeholder
from tfinspect.ir.layers import Layer
from tfinspect.ir.model import Model, Saver
from tfinspect.ir.operators import Operator
from tfinspect.ir.refs import TensorRef
from tfinspect.ir.signature import Signature, TensorSpec
from tfinspect.ir.tensors import Tensor
from tfinspect.surgery.pair_names import ScopeChange, pair_names, scope_change
from tfinspect.verify.tensor_difference import difference, digest, same_values

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

RNG = np.random.default_rng(7)


@pytest.fixture
def call(monkeypatch: pytest.MonkeyPatch) -> Caller:
    return Caller(monkeypatch)


def checkpoint(arrays: Mapping[str, Any], path: str = "made", roles: Mapping[str, Any] | None = None) -> Checkpoint:
    tensors = {name: Tensor.of(array) for name, array in arrays.items()}
    infos = {
        name: VariableInfo(name, t.dtype, t.shape, t.nbytes, (roles or {}).get(name, "weight"))
        for name, t in tensors.items()
    }
    return Checkpoint(path, "checkpoint_v2", infos, tensors.__getitem__)


def network(prefix: str = "", scale: float = 1.0, *, width: int = 4, classes: int = 3, relu: str = "Relu") -> Graph:
    """Return a network of two layers whose weights depend on their position alone."""

    def values(*shape: int) -> np.ndarray:
        return (np.arange(1, math.prod(shape) + 1, dtype="f4") * np.float32(scale)).reshape(shape)

    p = prefix
    return Graph(
        [
            placeholder(f"{p}x", DType.FLOAT, (None, 5)),
            const(f"{p}fc1/weights", Tensor.of(values(5, width))),
            op("MatMul", f"{p}fc1/MatMul", f"{p}x", f"{p}fc1/weights", T=DType.FLOAT),
            const(f"{p}fc1/biases", Tensor.of(values(width))),
            op("BiasAdd", f"{p}fc1/add", f"{p}fc1/MatMul:0", f"{p}fc1/biases", T=DType.FLOAT),
            op(relu, f"{p}fc1/act", f"{p}fc1/add", f"^{p}x", T=DType.FLOAT),
            const(f"{p}fc2/weights", Tensor.of(values(width, classes))),
            op("MatMul", f"{p}fc2/MatMul", f"{p}fc1/act", f"{p}fc2/weights", T=DType.FLOAT),
            op("Softmax", f"{p}prob", f"{p}fc2/MatMul", T=DType.FLOAT),
        ],
        versions=Versions(producer=8),
    )


# values


def test_measures_of_one_changed_element() -> None:
    a = np.ones((10, 10), "f4")
    b = a.copy()
    b[3, 4] = 3
    found = difference(Tensor.of(a), Tensor.of(b))
    assert (found.size, found.differing, found.max_abs, found.rel_rms) == (100, 1, 2.0, 0.2)


@pytest.mark.parametrize(
    "dtype",
    [
        "float16",
        "float32",
        "float64",
        "int8",
        "uint8",
        "int16",
        "int32",
        "int64",
        "uint64",
        "complex64",
        "complex128",
        "bfloat16",
        "float8_e4m3fn",
        "int4",
    ],
)
def test_measures_agree_with_numpy_in_every_dtype(dtype: str) -> None:
    kind = np.dtype(getattr(ml_dtypes, dtype, dtype))
    a, b = (RNG.integers(0, 7, (40, 31)).astype("f4").astype(kind) for _ in range(2))
    wide = np.complex128 if kind.kind == "c" else np.float64
    p, q = a.astype(wide), b.astype(wide)
    found = difference(Tensor.of(a), Tensor.of(b))
    assert found.differing == np.count_nonzero(p != q)
    assert found.max_abs == np.abs(p - q).max()
    assert found.rel_rms == pytest.approx(np.sqrt(np.mean(np.abs(p - q) ** 2) / np.mean(np.abs(p) ** 2)))
    assert same_values(Tensor.of(a), Tensor.of(a.copy()))
    assert not same_values(Tensor.of(a), Tensor.of(b))


def test_large_integers_are_exact() -> None:
    low, high = np.array([-(2**63), 5], "i8"), np.array([2**63 - 1, 6], "i8")
    assert difference(Tensor.of(low), Tensor.of(high)).max_abs == 2**64 - 1
    one = difference(Tensor.of(np.array([2**60], "i8")), Tensor.of(np.array([2**60 + 1], "i8")))
    assert (one.max_abs, one.differing) == (1, 1)


def test_booleans_and_strings_are_counted() -> None:
    a, b = np.array([True, False, True]), np.array([True, True, False])
    found = difference(Tensor.of(a), Tensor.of(b))
    assert (found.differing, found.max_abs) == (2, 1)
    texts = difference(Tensor.of([b"a", b"", b"c"]), Tensor.of([b"a", b"b", b"c"]))
    assert (texts.differing, texts.size, texts.max_abs, texts.rel_rms) == (1, 3, None, None)
    assert digest(Tensor.of([b"ab", b""])) != digest(Tensor.of([b"a", b"b"]))


def test_nan_equals_itself_and_infinities_are_counted() -> None:
    a = np.array([np.nan, np.inf, 1, 2], "f4")
    assert same_values(Tensor.of(a), Tensor.of(a.copy()))
    b = np.array([np.nan, 1, np.nan, 2.5], "f4")
    found = difference(Tensor.of(a), Tensor.of(b))
    assert (found.differing, found.max_abs, found.not_finite_a, found.not_finite_b) == (3, 0.5, 2, 2)
    assert found.rel_rms == pytest.approx(math.sqrt(0.25 / 5))


def test_zero_has_a_sign_but_no_distance() -> None:
    found = difference(Tensor.of(np.array([0.0], "f4")), Tensor.of(np.array([-0.0], "f4")))
    assert (found.differing, found.max_abs, found.rel_rms) == (1, 0, 0)


def test_a_change_from_zero_has_no_relative_size() -> None:
    found = difference(Tensor.of(np.zeros(3, "f4")), Tensor.of(np.ones(3, "f4")))
    assert (found.max_abs, found.rel_rms) == (1, None)


def test_tolerances_count_as_equal_either_way() -> None:
    a, b = np.array([100.0, 1.0, np.nan, np.inf], "f4"), np.array([101.0, 1.5, np.nan, np.inf], "f4")
    for x, y in ((a, b), (b, a)):
        assert difference(Tensor.of(x), Tensor.of(y), rtol=0.01).differing == 1
        assert difference(Tensor.of(x), Tensor.of(y), atol=0.5).differing == 1
        assert difference(Tensor.of(x), Tensor.of(y), atol=1).differing == 0


def test_chunks_that_cut_elements_and_never_line_up() -> None:
    a = RNG.standard_normal(1000)
    b = a.copy()
    b[700] += 1

    def cut(array: np.ndarray, size: int) -> Tensor:
        data = array.tobytes()
        return Tensor(
            DType.DOUBLE, array.shape, lambda: array, lambda: (data[i : i + size] for i in range(0, len(data), size))
        )

    assert same_values(cut(a, 13), cut(a, 777))
    found = difference(cut(a, 13), cut(b, 777))
    assert found.differing == 1
    assert found.max_abs == pytest.approx(1)


def test_memory_does_not_grow_with_the_tensor() -> None:
    blocks, block = 48, np.ones(1 << 18, "f4").tobytes()

    def stream(last: bytes) -> Tensor:
        def chunks() -> Iterator[bytes]:
            for _ in range(blocks - 1):
                yield bytes(bytearray(block))
            yield last

        def never() -> Any:
            raise AssertionError("a whole tensor was asked for")

        return Tensor(DType.FLOAT, (blocks << 18,), never, chunks)

    tracemalloc.start()
    assert difference(stream(block), stream(np.zeros(1 << 18, "f4").tobytes())).differing == 1 << 18
    assert not same_values(stream(block), stream(bytes(len(block))))
    digest(stream(block))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 12 << 20, peak  # the tensors take 48 MiB each


def bomb(value: object, size: int = 1 << 40) -> Tensor:
    array = np.broadcast_to(np.array(value), (size,))
    return Tensor(DType.from_numpy(array.dtype), (size,), lambda: array)


def test_one_value_declared_a_trillion_times_is_looked_at_once() -> None:
    one, nan, text = np.float32(1), np.float32("nan"), np.array(b"x", object)
    assert same_values(bomb(one), bomb(one))
    assert same_values(bomb(text), bomb(text))
    assert digest(bomb(one)) == digest(bomb(one)) != digest(bomb(np.float32(2)))
    assert digest(bomb(text)) != digest(bomb(np.array(b"y", object)))
    found = difference(bomb(one), bomb(np.float32(3)))
    assert (found.differing, found.max_abs, found.rel_rms) == (1 << 40, 2, 2)
    assert difference(bomb(one), bomb(nan)).not_finite_b == 1 << 40
    assert same_values(bomb(one, 1000), Tensor.of(np.ones(1000, "f4")))
    assert digest(bomb(one, 1000)) == digest(Tensor.of(np.ones(1000, "f4")))


# names


def test_a_prefix_that_was_added_is_found() -> None:
    names = ["conv/weights", "conv/biases", "fc/weights"]
    assert scope_change(names, [f"module/{n}" for n in names]) == ScopeChange("", "module/")
    assert scope_change([f"import/{n}" for n in names], names) == ScopeChange("import/", "")
    assert scope_change([f"a/b/{n}" for n in names], [f"c/{n}" for n in names]) == ScopeChange("a/b/", "c/")
    assert scope_change(names, ["other", "thing"]) is None
    assert scope_change(["x"], ["module/x"]) is None  # one name proves no rule


def test_only_names_without_a_counterpart_are_renamed() -> None:
    found = pair_names(["a", "b/c", "b/d"], ["a", "s/b/c", "s/b/d", "s/a"])
    assert found.names == {"a": "a", "b/c": "s/b/c", "b/d": "s/b/d"}


# graphs


def test_a_graph_is_identical_to_itself_whatever_the_order_of_its_nodes() -> None:
    graph = network()
    found = diff(graph, graph.replace(nodes=graph.nodes[::-1]))
    assert found.identical
    assert found.summary == "identical"
    assert found.notes == ["they come in another order in the file, which is no difference"]


def test_default_spelling_of_inputs_is_no_difference() -> None:
    graph = network()
    nodes = [n.replace(inputs=[f"{i}:0" if i[0] != "^" and ":" not in i else i for i in n.inputs]) for n in graph]
    assert diff(graph, graph.replace(nodes=nodes)).identical


def test_a_fine_tuned_copy() -> None:
    found = diff(network(), network(scale=1.01))
    assert found.summary == "same graph, 3 of 3 tensors differ: a fine-tuned copy"
    assert found.nodes is not None
    assert not found.nodes.differs
    assert diff(network(), network(scale=9)).summary.endswith("trained apart, or on other data")


def test_a_constant_of_another_dtype_is_a_weight_that_was_retyped() -> None:
    a = network()
    half = [
        const(n.name, Tensor.of(n.tensor().numpy().astype("f2"))) if n.op == "Const" else n  # type: ignore[union-attr]
        for n in a
    ]
    found = diff(a, a.replace(nodes=half))
    assert found.nodes is not None
    assert found.weights is not None
    assert found.nodes.changed == ()
    assert [(str(c.a.dtype), str(c.b.dtype)) for c in found.weights.retyped] == [("float32", "float16")] * 3
    assert found.weights.retyped[0].measures is not None
    assert found.weights.retyped[0].measures.max_abs == 0
    assert found.summary == "same graph, 3 of 3 tensors have another dtype (float32 to float16)"


def test_other_widths() -> None:
    assert diff(network(), network(width=8)).summary == (
        "the same network at other widths: 3 of 3 tensors have another shape"
    )
    found = diff(network(), network(classes=7))
    assert found.summary == "same graph, 1 of 3 tensors have another shape".replace("have", "has")


def test_changed_fields_with_both_values() -> None:
    a = network()
    b = a.replace(
        nodes=[
            *(n for n in a if n.name not in {"prob", "fc1/act"}),
            op("Relu6", "fc1/act", "fc1/add", "^x", T=DType.FLOAT, extra=1.5),
            op("Softmax", "prob", "fc1/act", T=DType.DOUBLE).replace(device="/gpu:0"),
            op("Identity", "new", "prob", T=DType.FLOAT),
        ]
    )
    found = diff(a, b).nodes
    assert found is not None
    shown = {(c.name, c.field): (c.a, c.b) for c in found.changed}
    assert shown["fc1/act", "op"] == ("Relu", "Relu6")
    assert shown["fc1/act", "extra"] == (None, Attr.of(1.5))
    assert shown["prob", "inputs"] == (("fc2/MatMul",), ("fc1/act",))
    assert shown["prob", "device"] == ("", "/gpu:0")
    assert shown["prob", "T"] == (Attr.of(DType.FLOAT), Attr.of(DType.DOUBLE))
    assert len(shown) == 5
    assert (found.added, found.removed, found.ops) == (("new",), (), {"new": "Identity"})


def test_a_graph_under_another_scope_is_compared_modulo_the_scope() -> None:
    found = diff(network(), network("import/", relu="Relu6"))
    assert found.scope == ("", "import/")
    assert found.nodes is not None
    assert [(c.name, c.field) for c in found.nodes.changed] == [("fc1/act", "op")]
    assert (found.nodes.added, found.nodes.removed, found.nodes.renamed) == ((), (), ())
    same = diff(network(), network("import/"))
    assert not same.identical
    assert same.summary == "same graph and weights under another scope (`import/` put before every name of A)"
    assert diff(network(), network("import/"), graph=False).scope == ("", "import/")


def test_every_name_replaced() -> None:
    found = diff(FIXTURES / "inception_tiny.pb", FIXTURES / "scrambled.pb")
    assert found.nodes is not None
    assert found.weights is not None
    assert len(found.nodes.renamed) == 83
    assert (found.nodes.added, found.nodes.removed, found.nodes.changed) == ((), (), ())
    assert len(found.weights.renamed) == 39
    assert found.summary == "same graph and weights under other names (83 renamed)"


def test_a_renamed_graph_with_other_weights_is_recognised_by_its_structure() -> None:
    names = {node.name: f"n{number}" for number, node in enumerate(network())}
    other = network(scale=1.01)
    renamed = other.replace(
        nodes=[
            n.replace(
                name=names[n.name],
                inputs=[("^" if i[0] == "^" else "") + names[i.lstrip("^").removesuffix(":0")] for i in n.inputs],
            )
            for n in other
        ]
    )
    found = diff(network(), renamed)
    assert found.nodes is not None
    assert dict(found.nodes.renamed) == names
    assert found.summary == "same graph under other names (9 renamed), 3 of 3 tensors differ: a fine-tuned copy"


def test_nothing_in_common() -> None:
    other = Graph([placeholder("image", DType.UINT8, (3,)), op("Cast", "cast", "image", SrcT=DType.UINT8)])
    found = diff(network(), other)
    assert found.summary == "nothing in common: 0 of 9 names"
    assert not found.identical


def test_other_attributes_same_weights() -> None:
    found = diff(FIXTURES / "inception_tiny.pb", FIXTURES / "inception_scaled.pb")
    assert found.nodes is not None
    assert {c.field for c in found.nodes.changed} == {"scale_after_normalization"}
    assert len(found.nodes.changed) == 6
    assert found.summary == "the same weights (39 tensors bit by bit), another graph: 6 of 83 nodes changed"


def test_versions_alone() -> None:
    a = network()
    found = diff(a, Graph(a.nodes, versions=Versions(producer=24)))
    assert [(c.field, c.a, c.b) for c in found.versions] == [("producer", 8, 24)]
    assert found.summary == "the same but for versions"
    assert not found.identical


def test_two_nodes_of_one_name_are_refused() -> None:
    a = network()
    with pytest.raises(InvalidGraphError, match="two nodes are named `x`"):
        diff(a, a.replace(nodes=[*a, a.node("x")]))


def test_an_unreadable_constant_does_not_stop_the_rest(call: Caller, tmp_path: Path) -> None:
    whole = network(scale=2)
    ti.write_graph(network(), tmp_path / "a.pb")
    ti.write_graph(whole, tmp_path / "b.pb")
    data = (tmp_path / "b.pb").read_bytes()
    shape, wrong = b"\x12\x04\x12\x02\x08\x04", b"\x12\x04\x12\x02\x08\x05"  # of fc1/biases: one dimension of 4
    assert data.count(shape) == 1
    (tmp_path / "b.pb").write_bytes(data.replace(shape, wrong))
    (tmp_path / "a.pb").write_bytes((tmp_path / "a.pb").read_bytes().replace(shape, wrong))
    done = call("diff", tmp_path / "a.pb", tmp_path / "b.pb", "--json")
    assert done.status == 3
    assert [(u["name"], u["side"]) for u in done.answer["weights"]["unreadable"]] == [
        ("fc1/biases", "a"), ("fc1/biases", "b"),
    ]  # fmt: skip
    assert {c["name"] for c in done.answer["weights"]["changed"]} == {"fc1/weights", "fc2/weights"}


def test_what_files_say_of_themselves() -> None:
    def model(**training: object) -> Model:
        return Model("m", "onnx", checkpoint=checkpoint({"w": np.ones(2)}), training=training, facts={"opset": "9"})

    found = diff(model(loss="mse", optimizer={"lr": 0.1}), model(loss="mse", optimizer={"lr": 0.2}))
    assert [(c.name, c.field) for c in found.versions] == [("training", "optimizer")]
    assert found.summary == "the same but for training"
    assert differences_json(found)["versions"] == [
        {"name": "training", "field": "optimizer", "a": {"lr": 0.1}, "b": {"lr": 0.2}}
    ]


def test_a_constant_that_contradicts_itself_is_compared_by_its_attributes() -> None:
    a = Graph([const("c", Tensor.of(np.float32(1)))])
    broken = a.node("c").replace(attrs={**a.node("c").attrs, "dtype": Attr.of(DType.INT32)})
    found = diff(a, Graph([broken])).nodes
    assert found is not None
    assert [(c.name, c.field) for c in found.changed] == [("c", "dtype")]


def test_collections_and_the_saver() -> None:
    a = Model("a", "metagraph", network(), collections={"losses": ("l:0",)}, saver=Saver("save/restore_all"))
    b = Model("b", "metagraph", network(), collections={"losses": ("m:0",)}, saver=Saver("save/other"))
    assert [(c.name, c.field) for c in diff(a, b).versions] == [("collections", "losses"), ("saver", "names")]
    assert diff(a, b).summary == "the same but for collections, saver"


def as_protobuf_reads(content: bytes) -> Any:
    """Return the graph without unknown fields, and without values: the same ones can be written in several ways."""
    message = message_class("GraphDef").FromString(content)
    message.DiscardUnknownFields()
    for node in message.node:
        for field in ("tensor_content", "float_val", "string_val", "int_val", "version_number"):
            node.attr["value"].tensor.ClearField(field)
        if not node.attr["value"].tensor.tensor_shape.ByteSize():  # a scalar's, which may be left out
            node.attr["value"].tensor.ClearField("tensor_shape")
    return message


@settings(max_examples=60, deadline=None, derandomize=True)
@given(st.data())
def test_a_flipped_bit_is_a_difference_or_one_clear_error(data: st.DataObject) -> None:
    whole = (FIXTURES / "inception_tiny.pb").read_bytes()
    content = bytearray(whole)
    place = data.draw(st.integers(0, len(content) - 1))
    content[place] ^= 1 << data.draw(st.integers(0, 7))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "flipped.pb")
        path.write_bytes(content)
        try:
            found = diff(FIXTURES / "inception_tiny.pb", path)
        except ti.TfinspectError:
            return
        assert json.dumps(differences_json(found))
        if found.identical:  # then protobuf sees no difference either: 3 is as true as 1
            assert as_protobuf_reads(whole) == as_protobuf_reads(bytes(content))


def test_a_cycle_is_compared_by_name() -> None:
    loop = Graph([op("Relu", "p", "q"), op("Relu", "q", "p"), op("Relu", "r", "q")])
    found = diff(loop, Graph([op("Relu", "p", "q"), op("Relu", "q", "p"), op("Relu", "s", "q")])).nodes
    assert found is not None
    assert (found.removed, found.added) == (("r",), ("s",))


def function(name: str, value: float, inner: str = "") -> Function:
    nodes = [const("c", Tensor.of(np.float32(value))), op("Mul", "mul", "x", "c:output:0", T=DType.FLOAT)]
    if inner:
        nodes.append(op("PartitionedCall", "call", "x", f=FuncRef(inner, {})))
    args, outputs = (("x", DType.FLOAT),), (("y", DType.FLOAT),)
    return Function(name, lambda: FunctionBody(args, outputs, tuple(nodes), {"y": "mul:z:0"}))


def test_functions_are_paired_without_their_numbers() -> None:
    def library(number: int, value: float) -> Graph:
        names = [f"__inference_call_{number}", f"__inner_{number}"]
        made = {names[0]: function(names[0], 1, names[1]), names[1]: function(names[1], value)}
        return Graph([op("PartitionedCall", "go", f=FuncRef(names[0], {}))], functions=made)

    found = diff(library(12, 1), library(345, 1))
    assert found.functions is not None
    assert found.functions.renamed == (("__inference_call_12", "__inference_call_345"), ("__inner_12", "__inner_345"))
    assert found.functions.changed == ()
    assert found.nodes is not None
    assert found.nodes.changed == ()
    other = diff(library(12, 1), library(345, 2)).functions
    assert other is not None
    assert [(c.name, c.field) for c in other.changed] == [("__inner_12", "c.value")]


def test_signatures() -> None:
    def signed(shape: tuple[int | None, ...], method: str = "predict", extra: str = "") -> Model:
        x, y = (
            TensorSpec(TensorRef("x"), DType.FLOAT, shape, "x"),
            TensorSpec(TensorRef("prob"), DType.FLOAT, (3,), "y"),
        )
        names = ["serve", *([extra] if extra else [])]
        return Model("m", "saved_model", network(), signatures={n: Signature(n, (x,), (y,), method) for n in names})

    found = diff(signed((None, 5)), signed((None, 6), "classify", "more")).signatures
    assert found is not None
    assert found.added == ("more",)
    assert [(c.field, c.a, c.b) for c in found.changed] == [
        ("method", "predict", "classify"),
        ("inputs.x", "x:0 float32 ?x5", "x:0 float32 ?x6"),
    ]
    assert diff(signed((None, 5)), signed((None, 5))).identical


def test_operators_and_layers() -> None:
    def onnx(alpha: float, name: str = "conv") -> Model:
        ops = (
            Operator(name, "Conv", ("x", "w"), ("h",), attrs={"alpha": Attr.of(alpha)}),
            Operator("r", "Relu", ("h",), ("y",)),
        )
        return Model("m", "onnx", operators=ops)

    found = diff(onnx(1.0), onnx(2.0)).operators
    assert found is not None
    assert [(c.name, c.field) for c in found.changed] == [("conv", "alpha")]
    assert diff(onnx(1.0), onnx(1.0)).identical

    def keras(units: int) -> Model:
        kernel = np.ones((5, units), "f4")
        layer = Layer("dense", "Dense", ("dense/kernel:0",), (), (None, units), {"units": units, "rate": math.nan})
        return Model("m", "onnx", checkpoint=checkpoint({"dense/kernel:0": kernel, "b": kernel[0]}), layers=(layer,))

    changed = diff(keras(3), keras(4))
    assert changed.layers is not None
    assert {c.field for c in changed.layers.changed} == {"units", "result_shape"}
    assert changed.summary == "the same network at other widths: 2 of 2 tensors have another shape"
    assert diff(keras(3), keras(3)).identical


# weights


def test_the_largest_change_comes_first() -> None:
    base = {name: np.ones(4, "f4") for name in ("small", "large", "nan", "same")}
    other = {"small": base["small"] * 1.001, "large": base["large"] * 2, "nan": np.array([1, 1, 1, np.nan], "f4")}
    found = diff(checkpoint(base), checkpoint({**base, **{k: np.float32(v) for k, v in other.items()}})).weights
    assert found is not None
    assert [change.a.name for change in found.changed] == ["nan", "large", "small"]
    assert found.same == 1


def test_added_removed_and_renamed() -> None:
    a = {"one": np.arange(4.0), "two": np.arange(5.0), "gone": np.arange(4.0) + 9}
    b = {"uno": np.arange(4.0), "two": np.arange(5.0), "come": np.arange(6.0)}
    found = diff(checkpoint(a), checkpoint(b))
    assert found.weights is not None
    assert [(x.name, y.name) for x, y in found.weights.renamed] == [("one", "uno")]
    assert [w.name for w in found.weights.removed] == ["gone"]
    assert [w.name for w in found.weights.added] == ["come"]
    assert found.summary == (
        "the same weights in what both have (2 tensors) under other names (1 renamed): 1 tensor only in A, 1 tensor only in B"
    )


def test_equal_values_under_many_names_are_paired_by_how_the_names_end() -> None:
    zeros = np.zeros(8, "f4")
    a = {"p/conv/biases": zeros, "p/fc/offset": zeros, "p/step": np.int32(3)}
    b = {"q/x/biases": zeros, "q/y/offset": zeros, "q/counter": np.int32(3)}
    found = diff(checkpoint(a), checkpoint(b)).weights
    assert found is not None
    assert {x.name: y.name for x, y in found.renamed} == {"p/conv/biases": "q/x/biases", "p/fc/offset": "q/y/offset"}
    assert [w.name for w in found.removed] == ["p/step"]  # a lone number proves nothing


def test_a_checkpoint_under_another_scope() -> None:
    a = {f"conv_{i}/weights": np.arange(6.0) + i for i in range(4)}
    b = {f"module/{name}": value for name, value in a.items()}
    b["module/conv_2/weights"] = b["module/conv_2/weights"] * 1.001
    found = diff(checkpoint(a), checkpoint(b))
    assert found.weights is not None
    assert found.weights.scope == ScopeChange("", "module/")
    assert found.weights.renamed == []
    assert found.summary == (
        "same variables under another scope (`module/` put before every name of A), "
        "1 of 4 tensors differs: a fine-tuned copy"
    )


def test_names_of_formats_that_add_a_suffix() -> None:
    a, b = {"dense/kernel": np.arange(3.0)}, {"dense/kernel:0": np.arange(3.0)}
    assert diff(checkpoint(a), checkpoint(b)).identical


def test_training_state_alone() -> None:
    roles = {"global_step": "step", "w/Momentum": "slot"}
    a = {"global_step": np.int64(3), "w/Momentum": np.ones(3), "w": np.ones(3)}
    b = {**a, "global_step": np.int64(9), "w/Momentum": np.zeros(3)}
    found = diff(checkpoint(a, roles=roles), checkpoint(b, roles=roles))
    assert found.summary == "same variables, 2 of 3 tensors differ: only what the trainer keeps (steps, slots)"


def test_within_the_tolerances_is_said() -> None:
    a, b = checkpoint({"w": np.ones(3), "v": np.ones(2)}), checkpoint({"w": np.ones(3) * 1.001, "v": np.ones(2)})
    found = diff(a, b, rtol=0.01)
    assert found.identical
    assert found.summary == "equal within the tolerances: 1 of 2 tensors differs by less"
    assert found.notes == ["1 tensor differs by no more than rtol 0.01, atol 0, and counts as equal"]
    assert not diff(a, b, rtol=1e-4).identical


def test_both_generations_of_a_checkpoint_hold_the_same() -> None:
    v1, v2 = FIXTURES / "training_v1", FIXTURES / "training"
    assert diff(v2, v1, graph=False).identical
    whole = diff(v2, v1)
    assert whole.nodes is not None
    assert (whole.nodes.removed, whole.nodes.added) == (("save/SaveV2",), ("save/save",))
    assert whole.weights is not None
    assert whole.weights.changed == []


def test_a_frozen_graph_holds_the_weights_of_its_checkpoint() -> None:
    trained = ti.open(FIXTURES / "training" / "model.ckpt-3")
    assert trained.graph is not None
    assert trained.checkpoint is not None
    frozen = ti.freeze(trained.graph, trained.checkpoint, outputs=["softmax"])
    found = diff(frozen, trained)
    assert found.weights is not None
    assert (found.weights.changed, found.weights.removed) == ([], [])
    assert found.summary.startswith("the same weights (")
    assert "A is frozen" in found.summary
    bare = diff(frozen, trained.checkpoint)
    assert bare.only == (("graph", "a"),)
    assert bare.weights is not None
    assert {w.role for w in bare.weights.added} == {"slot", "step"}
    assert "only A has a graph" in bare.summary
    assert not bare.identical


def test_the_pattern_restricts_everything() -> None:
    a, b = network(), network(scale=2)
    found = diff(a, b, match="fc2/*")
    assert found.nodes is not None
    assert found.weights is not None
    assert (found.nodes.count_a, found.weights.count_a) == (2, 1)
    assert [c.a.name for c in found.weights.changed] == ["fc2/weights"]
    assert diff(a, b, match="x").summary == "identical in what matches `x`"
    with pytest.raises(UsageError, match=r"no name in .* matches `nothing`"):
        diff(a, b, match="nothing")


def test_refusals() -> None:
    with pytest.raises(UsageError, match="not negative"):
        diff(network(), network(), rtol=-1)
    with pytest.raises(UsageError, match="not negative"):
        diff(network(), network(), atol=math.nan)
    with pytest.raises(UsageError, match="nothing is left"):
        diff(network(), network(), graph=False, weights=False)
    with pytest.raises(WrongKindError, match="share nothing that could be compared"):
        diff(network(), FIXTURES / "head.npz")


# properties

ARRAYS = st.dictionaries(
    st.sampled_from(["a", "b", "s/c", "s/d", "e"]),
    st.sampled_from(["f4", "f8", "f2", "i4", "u1", "?", "c8"]).flatmap(
        lambda t: hnp.arrays(t, hnp.array_shapes(max_dims=2, max_side=3))
    ),
    min_size=1,
)


@given(ARRAYS)
@settings(max_examples=60, deadline=None)
def test_nothing_differs_from_itself(arrays: dict[str, np.ndarray]) -> None:
    found = diff(checkpoint(arrays), checkpoint({name: array.copy() for name, array in arrays.items()}))
    assert found.identical
    assert found.summary == "identical"


@given(ARRAYS, ARRAYS)
@settings(max_examples=100, deadline=None)
def test_the_other_way_round_is_the_mirror(first: dict[str, np.ndarray], second: dict[str, np.ndarray]) -> None:
    there, back = (diff(checkpoint(a), checkpoint(b)) for a, b in ((first, second), (second, first)))
    assert there.identical == back.identical
    if there.weights is None or back.weights is None:
        return
    p, q = there.weights, back.weights
    assert {w.name for w in p.added} == {w.name for w in q.removed}
    assert {w.name for w in p.removed} == {w.name for w in q.added}
    assert {(x.name, y.name) for x, y in p.renamed} == {(y.name, x.name) for x, y in q.renamed}
    for mine, theirs in ((p.changed, q.changed), (p.retyped, q.retyped)):
        found = {c.a.name: c.measures for c in mine}
        mirror = {c.b.name: c.measures for c in theirs}
        assert found.keys() == mirror.keys()
        for name, x in found.items():
            y = mirror[name]
            assert x is not None
            assert y is not None
            assert (x.differing, x.not_finite_a, x.not_finite_b) == (y.differing, y.not_finite_b, y.not_finite_a)
            assert x.max_abs == y.max_abs


@given(ARRAYS, st.data())
@settings(max_examples=80, deadline=None)
def test_one_element_moved_is_one_weight_changed(arrays: dict[str, np.ndarray], data: st.DataObject) -> None:
    floats = {name: np.nan_to_num(array.real.astype("f8"), posinf=1, neginf=1) % 1000 for name, array in arrays.items()}
    name = data.draw(st.sampled_from(sorted(floats)))
    place = data.draw(st.integers(0, floats[name].size - 1))
    moved = {key: array.copy() for key, array in floats.items()}
    moved[name].reshape(-1)[place] += 0.5
    found = diff(checkpoint(floats), checkpoint(moved)).weights
    assert found is not None
    (change,) = found.changed
    assert change.measures is not None
    assert (change.a.name, change.measures.differing) == (name, 1)
    assert change.measures.max_abs == abs(moved[name] - floats[name]).max()


# the command


def test_identical_files_end_with_0(call: Caller) -> None:
    done = call("diff", "inception_tiny.pb", "inception_tiny.pb")
    assert (done.status, done.out) == (0, "")
    assert done.err == "identical: the same file\nboth are one file; its values were not read\n"
    assert call("diff", "inception_tiny.pb", "inception_tiny.pb", "-q") == Done(0, "", "")


def test_identical_copies(call: Caller, tmp_path: Path) -> None:
    shutil.copy(FIXTURES / "inception_tiny.pb", tmp_path / "copy.pb")
    done = call("diff", "inception_tiny.pb", tmp_path / "copy.pb", "--json")
    assert done.status == 0
    assert (done.answer["identical"], done.answer["summary"]) == (True, "identical")
    assert done.answer["compared"] == ["nodes", "weights"]


def test_a_pipe_gets_one_fact_a_line(call: Caller) -> None:
    done = call("diff", "inception_tiny.pb", "inception_scaled.pb")
    assert done.status == 1
    assert done.rows[0] == ["conv/batchnorm", "node-changed", "scale_after_normalization", "False", "True"]
    assert len(done.rows) == 6
    assert done.err == "the same weights (39 tensors bit by bit), another graph: 6 of 83 nodes changed\n"


def tuned(tmp_path: Path, *, count: int = 3) -> tuple[Path, Path]:
    arrays = {f"layer_{i:02}/weights": RNG.standard_normal((8, 4)).astype("f4") for i in range(40)}
    write_bundle(tmp_path / "a", arrays)
    for i in range(count):
        arrays[f"layer_{i:02}/weights"] = arrays[f"layer_{i:02}/weights"] * np.float32(1 + 0.01 * (i + 1))
    write_bundle(tmp_path / "b", arrays)
    return tmp_path / "a", tmp_path / "b"


def test_json(call: Caller, tmp_path: Path) -> None:
    a, b = tuned(tmp_path)
    done = call("diff", a, b, "--json")
    assert done.status == 1
    answer = done.answer
    assert answer["schema"] == "tfinspect/diff/1"
    assert list(answer)[:6] == ["schema", "a", "b", "format_a", "format_b", "identical"]
    assert answer["summary"] == "same variables, 3 of 40 tensors differ: a fine-tuned copy"
    assert [c["name"] for c in answer["weights"]["changed"]] == [f"layer_{i:02}/weights" for i in (2, 1, 0)]
    first = answer["weights"]["changed"][0]
    assert (first["dtype"], first["shape"], first["size"], first["differing"]) == ("float32", [8, 4], 32, 32)
    assert first["rel_rms"] == pytest.approx(0.03, rel=1e-4)
    assert answer["nodes"]["added"] == answer["weights"]["removed"] == []


def test_not_finite_numbers_in_json(call: Caller, tmp_path: Path) -> None:
    write_bundle(tmp_path / "a", {"w": np.array([1, np.inf], "f4")})
    write_bundle(tmp_path / "b", {"w": np.array([np.nan, np.inf], "f4")})
    done = call("diff", tmp_path / "a", tmp_path / "b", "--json")
    (change,) = done.answer["weights"]["changed"]
    assert (change["not_finite_a"], change["not_finite_b"], change["max_abs"]) == (1, 2, 0)
    assert call("diff", tmp_path / "a", tmp_path / "b").rows[0][-1] == "not finite: 1 in A, 2 in B"


WIDE = """\
  A           a   checkpoint, V2
  B           b
Same variables, 3 of 40 tensors differ: a fine-tuned copy

weights: 3 changed (40)
NAME              MAX ABS  REL RMS  DIFFERING  SHAPE
"""


@pytest.mark.parametrize("columns", [60, 120])
def test_a_terminal_gets_columns_that_fit(call: Caller, tmp_path: Path, columns: int) -> None:
    tuned(tmp_path)
    call.monkeypatch.chdir(tmp_path)
    done = call("diff", "a", "b", tty=True, columns=columns)
    assert done.status == 1
    assert done.out.startswith(WIDE)
    assert max(map(len, done.out.splitlines())) <= columns
    call.monkeypatch.chdir(FIXTURES)
    done = call("diff", "training", "training_v1", tty=True, columns=columns)
    assert max(map(len, done.out.splitlines())) <= columns
    assert "another graph: 1 node only in A" in " ".join(done.out.split())


def test_narrow_terminals_keep_whole_names(call: Caller, tmp_path: Path) -> None:
    name = "InceptionV3/Mixed_5b/Branch_1/Conv2d_0b_5x5/weights"
    write_bundle(tmp_path / "a", {name: np.ones((5, 5, 48, 64), "f4")})
    write_bundle(tmp_path / "b", {name: np.full((5, 5, 48, 64), 2, "f4")})
    done = call("diff", tmp_path / "a", tmp_path / "b", tty=True, columns=60)
    assert f"  ~ {name}\n    max abs 1, rel rms 1, 76,800 of 76,800 differ, 5x5x48x64\n" in done.out


def test_the_first_twenty_of_each_kind(call: Caller, tmp_path: Path) -> None:
    a, b = tuned(tmp_path, count=30)
    short, long = call("diff", a, b, tty=True), call("diff", a, b, "-v", tty=True)
    assert short.out.endswith("    and 10 more, with --verbose\n")
    assert len(long.out.splitlines()) == len(short.out.splitlines()) + 9
    assert len(call("diff", a, b).rows) == 30


def test_a_damaged_shard_is_reported_and_the_rest_compared(call: Caller, tmp_path: Path) -> None:
    a, b = tuned(tmp_path)
    shard = tmp_path / "b.data-00000-of-00001"
    data = bytearray(shard.read_bytes())
    data[5 * 128 + 7] ^= 1  # a bit of layer_05
    shard.write_bytes(data)
    done = call("diff", a, b, "--json")
    assert done.status == 3
    answer = done.answer
    assert not answer["identical"]
    assert [(u["name"], u["side"], u["slug"]) for u in answer["weights"]["unreadable"]] == [
        ("layer_05/weights", "b", "corrupt-file")
    ]
    assert len(answer["weights"]["changed"]) == 3
    assert answer["summary"].endswith("; 1 tensor could not be read")
    plain = call("diff", a, b)
    assert plain.status == 3
    assert "warning: `layer_05/weights` of " in plain.err
    assert "is damaged at byte 640" in plain.err


def test_no_difference_but_a_missing_shard_is_not_identical(call: Caller, tmp_path: Path) -> None:
    arrays = {"u": np.ones(3, "f4"), "v": np.ones(4, "f4")}
    for name in "ab":
        write_bundle(tmp_path / name, arrays, num_shards=2)
    (tmp_path / "b.data-00001-of-00002").unlink()
    done = call("diff", tmp_path / "a", tmp_path / "b", "--json")
    assert (done.status, done.answer["identical"]) == (3, False)
    assert done.answer["summary"] == "no difference in what could be read, but 1 part could not be read"


def test_flags(call: Caller) -> None:
    graph = call("diff", "inception_tiny.pb", "inception_scaled.pb", "--weights-only")
    assert (graph.status, graph.err) == (0, "identical\n")
    alone = call("diff", "training", "training_v1", "--graph-only", "--match", "conv*")
    assert (alone.status, alone.err.splitlines()[0]) == (0, "identical in what matches `conv*`")
    both = call("diff", "training", "training_v1", "--graph-only", "--weights-only", "--json")
    assert (both.status, both.error["slug"]) == (2, "usage")
    lost = call("diff", "training", "nowhere.pb", "--json")
    assert (lost.status, lost.error["slug"]) == (3, "file-missing")
    kinds = call("diff", "head.npz", "training", "--json")
    assert (kinds.status, kinds.error["slug"]) == (3, "wrong-kind")


def test_names_of_a_hostile_file_are_escaped(call: Caller, tmp_path: Path) -> None:
    write_bundle(tmp_path / "a", {"w\x1b[31m": np.ones(2, "f4")})
    write_bundle(tmp_path / "b", {"w\x1b[31m": np.zeros(2, "f4")})
    for tty in (True, False):
        done = call("diff", tmp_path / "a", tmp_path / "b", tty=tty)
        assert "\x1b" not in done.out
        assert "w\\x1b[31m" in done.out


def test_the_answer_is_one_json_object_whatever_differs(call: Caller) -> None:
    pairs = [("inception_tiny.pb", "graph.pbtxt"), ("saved_model", "training"), ("retrained", "partitioned")]
    for a, b in pairs:
        done = call("diff", a, b, "--json")
        assert done.status == 1, (a, b)
        assert json.loads(done.out)["identical"] is False
        mirror = call("diff", b, a, "--json").answer
        assert mirror["nodes"]["added"] == done.answer["nodes"]["removed"]
        assert mirror["weights"]["added"] == done.answer["weights"]["removed"]


# real models


def real(*names: str) -> list[Path]:
    paths = [ZOO / name for name in names]
    if not ZOO.is_dir():
        pytest.skip("the collected models are not here")
    return paths


def test_a_retrained_mobilenet() -> None:
    found = diff(
        *real(
            "frozen_pb/mobilenet_v1_025_128/frozen_graph.pb", "frozen_pb/retrained_mobilenet_poets/retrained_graph.pb"
        )
    )
    assert found.weights is not None
    assert (found.weights.same, found.weights.changed) == (165, [])
    assert found.summary == "the same weights (165 tensors bit by bit), another graph: 3 nodes only in A, 8 only in B"


def test_an_optimized_graph_is_cut() -> None:
    folder = "frozen_pb/retrained_mobilenet_poets"
    found = diff(*real(f"{folder}/retrained_graph.pb", f"{folder}/optimized_graph.pb"))
    assert found.summary == "the same weights (167 tensors bit by bit), another graph: B is cut to 420 of 560 nodes"


def test_a_real_frozen_graph_and_its_checkpoint() -> None:
    folder = "ckpt_v2_meta/mlnet_cifar"
    found = diff(*real(f"{folder}/frozen_model.pb", f"{folder}/model.ckpt"))
    assert found.weights is not None
    assert (found.weights.same, found.weights.changed) == (4, [])
    assert "A is frozen" in found.summary
    apart = diff(*real(f"{folder}/model.ckpt", "savedmodel_tf1/mlnet/cifar_saved_model"), graph=False)
    assert apart.summary == "same variables, 12 of 14 tensors differ: trained apart, or on other data"


def test_an_object_checkpoint_and_its_saved_model() -> None:
    folder = "ckpt_tf2_object/tfkeras_lso"
    found = diff(*real(f"{folder}/lso_savedmodel_tf2.2", f"{folder}/lso_ckpt_tf2.2"), graph=False)
    assert found.weights is not None
    assert found.weights.same >= 10
    assert [str(c.a.dtype) for c in found.weights.changed] == ["string"]  # the object graph itself


def test_a_real_missing_shard() -> None:
    index = real("ckpt_v2_missing_shard/lingvo_lenet/lenet_test_model.index")[0]
    found = diff(index, checkpoint({"beta1_power": np.float32(0)}))
    assert not found.complete
    assert found.weights is not None
    assert {lost.side for lost in found.weights.unreadable} == {"a"}
