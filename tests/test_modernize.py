"""Old ops made new, checks stripped, batch norms folded: the same numbers, the same names."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tfinspect.errors import UnsupportedOpsError
from tfinspect.formats import graphdef
from tfinspect.ir.attrs import Attr
from tfinspect.ir.dtypes import DType
from tfinspect.ir.graph import Graph, Node, Versions, const, placeholder
from tfinspect.ir.refs import TensorRef
from tfinspect.ir.tensors import Tensor
from tfinspect.surgery.fold_batch_norm import Fold, fold_batch_norm
from tfinspect.surgery.modernize import PASSES, modernize
from tfinspect.surgery.prune import prune
from tfinspect.surgery.strip_checks import strip_checks

ZOO = Path(__file__).parents[2] / "shared" / "zoo"
needs_zoo = pytest.mark.skipif(not ZOO.exists(), reason="the collection of real models is not beside the repository")
RANDOM = np.random.default_rng(7)
F, I32 = Attr.of(DType.FLOAT), Attr.of(DType.INT32)


def op(name: str, kind: str, *inputs: str, dtype: DType = DType.FLOAT, **attrs: Attr) -> Node:
    return Node(name, kind, inputs, {"T": Attr.of(dtype), **attrs})


def array(name: str, value: Any, dtype: DType = DType.FLOAT) -> Node:
    return const(name, Tensor.of(np.asarray(value, dtype.numpy), dtype))


def parameters(prefix: str, channels: int, dtype: DType = DType.FLOAT) -> list[Node]:
    return [
        array(f"{prefix}/mean", RANDOM.normal(size=channels), dtype),
        array(f"{prefix}/variance", RANDOM.uniform(0.5, 2, channels), dtype),
        array(f"{prefix}/beta", RANDOM.normal(size=channels), dtype),
        array(f"{prefix}/gamma", RANDOM.uniform(0.5, 2, channels), dtype),
    ]


def old_norm(name: str, source: str, prefix: str, *, scale: bool, dtype: DType = DType.FLOAT) -> Node:
    inputs = [source, *(f"{prefix}/{leaf}" for leaf in ("mean", "variance", "beta", "gamma"))]
    attrs = {"variance_epsilon": Attr.of(0.001), "scale_after_normalization": Attr.of(scale)}
    return op(name, "BatchNormWithGlobalNormalization", *inputs, dtype=dtype, **attrs)


def old_graph(*, scale: bool, dtype: DType = DType.FLOAT, producer: int = 8) -> Graph:
    return Graph(
        [
            placeholder("x", dtype, (2, 3, 3, 4)),
            *parameters("p", 4, dtype),
            old_norm("norm", "x", "p", scale=scale, dtype=dtype),
            op("y", "Relu", "norm", "^norm", dtype=dtype),
        ],
        versions=Versions(producer),
    )


def ops(graph: Graph) -> set[str]:
    return {node.op for node in graph.nodes}


class Oracle:
    """TensorFlow, one thread and no graph optimisation."""

    def __init__(self) -> None:
        import tensorflow as tf

        self.tf, self.v1 = tf, tf.compat.v1

    def run(self, graph: Graph, fetches: list[str], feeds: dict[str, Any]) -> list[Any]:
        definition = self.v1.GraphDef.FromString(b"".join(map(bytes, graphdef.encode(graph))))
        with self.tf.Graph().as_default() as imported:
            self.tf.import_graph_def(definition, name="")
        config = self.v1.ConfigProto(intra_op_parallelism_threads=1, inter_op_parallelism_threads=1)
        config.graph_options.rewrite_options.disable_meta_optimizer = True
        with self.v1.Session(graph=imported, config=config) as session:
            result: list[Any] = session.run(fetches, feeds)
            return result


@pytest.fixture(scope="module")
def oracle() -> Oracle:
    return Oracle()


# --- modernize -----------------------------------------------------------------------------------------------------


def test_every_pass_leaves_a_modern_graph_alone_itself() -> None:
    graph = Graph([placeholder("x", DType.FLOAT, ()), op("y", "Relu", "x")], versions=Versions(2474))
    for _, run in PASSES:
        assert run(graph) == (graph, [])
    assert modernize(graph) == (graph, [])


def test_old_batch_norm_becomes_fused_under_its_name() -> None:
    old = old_graph(scale=True)
    graph, notes = modernize(old)
    node = graph.node("norm")
    assert node.op == "FusedBatchNorm"
    assert node.inputs == ("x", "p/gamma", "p/beta", "p/mean", "p/variance")
    assert node.value("is_training") is False
    assert node.attrs["epsilon"] is old.node("norm").attrs["variance_epsilon"]
    assert graph.versions.producer == 8
    assert graph.node("y") is old.node("y")
    assert len(notes) == 1


def test_unused_gamma_is_replaced_by_ones() -> None:
    graph, _ = modernize(old_graph(scale=False))
    tensor = graph.node(graph.node("norm").inputs[1]).tensor()
    assert tensor is not None
    assert tensor.numpy().tolist() == [1.0] * 4


def test_without_scaling_and_with_unknown_channels_it_is_written_out() -> None:
    nodes = [placeholder(n, DType.FLOAT, None) for n in ("x", "p/mean", "p/variance", "p/beta", "p/gamma")]
    graph, _ = modernize(Graph([*nodes, old_norm("norm", "x", "p", scale=False)]))
    assert graph.node("norm").op == "Add"
    assert "FusedBatchNorm" not in ops(graph)


def test_empty_placeholder_shapes_of_old_graphs_are_unknown() -> None:
    x = placeholder("x", DType.FLOAT, ())
    graph, notes = modernize(Graph([x], versions=Versions(21)))
    assert graph.node("x").attrs["shape"].value is None
    assert notes
    assert modernize(Graph([x], versions=Versions(22)))[0].node("x") is x


def test_reference_control_flow_waits_until_no_variable_is_left() -> None:
    switch = op("switch", "RefSwitch", "w", "p")
    rest = [array("p", 1, DType.BOOL), switch]
    graph, _ = modernize(Graph([Node("w", "VariableV2", (), {"dtype": F}), *rest]))
    assert graph.node("switch") is switch
    graph, _ = modernize(Graph([array("w", [1, 2]), *rest]))
    assert graph.node("switch").op == "Switch"


def test_ref_select_of_a_constant_or_of_equal_shapes() -> None:
    select = op("y", "RefSelect", "i", "a", "b", N=Attr.of(2))
    constants = [array("a", [1, 2]), array("b", [3, 4])]
    graph, _ = modernize(Graph([array("i", 1, DType.INT32), *constants, select]))
    assert (graph.node("y").op, graph.node("y").inputs) == ("Identity", ("b",))
    graph, _ = modernize(Graph([placeholder("i", DType.INT32, ()), *constants, select]))
    assert graph.node("y").op == "GatherV2"
    with pytest.raises(UnsupportedOpsError, match="RefSelect"):
        modernize(Graph([placeholder("i", DType.INT32, ()), array("a", [1]), array("b", [3, 4]), select]))


def test_checks_are_stripped_and_nothing_waits_for_them() -> None:
    graph = Graph(
        [
            placeholder("x", DType.FLOAT, (2,)),
            array("ok", 1, DType.BOOL),
            op("check", "CheckNumerics", "x", message=Attr.of("bad")),
            op("stop", "StopGradient", "x", "^check"),
            Node("assert", "Assert", ("ok", "x"), {}),
            Node("group", "NoOp", ("^assert", "^check")),
            op("y", "Relu", "stop", "^group", "^assert", "^x"),
        ]
    )
    stripped = strip_checks(graph)
    assert stripped.node("y").inputs == ("stop", "^x")
    assert (stripped.node("stop").op, stripped.node("stop").inputs) == ("Identity", ("x",))
    assert stripped.node("check").op == "Identity"
    assert "assert" not in stripped
    assert "group" not in stripped
    plain = Graph([placeholder("x", DType.FLOAT, ())])
    assert strip_checks(plain) is plain


# --- folding batch norms -------------------------------------------------------------------------------------------


def product(kind: str) -> tuple[list[Node], int]:
    """A placeholder and a product `p` of it; with the number of channels."""
    match kind:
        case "Conv2D":
            shape, weights, channels = (2, 5, 5, 3), (3, 3, 3, 4), 4
        case "DepthwiseConv2dNative":
            shape, weights, channels = (2, 5, 5, 3), (3, 3, 3, 2), 6
        case _:
            shape, weights, channels = (2, 5), (5, 4), 4
    attrs = {} if kind.startswith("MatMul") else {"strides": Attr.ints([1, 1, 1, 1]), "padding": Attr.of("SAME")}
    if kind == "MatMulTransposed":
        weights, attrs, kind = (4, 5), {"transpose_b": Attr.of(value=True)}, "MatMul"
    nodes = [
        placeholder("x", DType.FLOAT, shape),
        array("w", RANDOM.normal(size=weights)),
        op("w/read", "Identity", "w"),
        op("p", kind, "x", "w/read", **attrs),
    ]
    return nodes, channels


def norm(form: str, source: str, channels: int) -> list[Node]:
    """A batch norm `y` of a tensor, written in one of the ways there are."""
    nodes = parameters("n", channels)
    names = ("n/gamma", "n/beta", "n/mean", "n/variance")
    if form.startswith("old"):
        return [*nodes, old_norm("y", source, "n", scale=form == "old")]
    if form.startswith("Fused"):
        u = {"U": F} if form != "FusedBatchNorm" else {}
        attrs = {"epsilon": Attr.of(0.01), "is_training": Attr.of(value=False), **u}
        return [*nodes, op("y", form, source, *names, **attrs)]
    nodes += [array("eps", 0.01), op("add", "AddV2", "n/variance", "eps"), op("rsqrt", "Rsqrt", "add")]
    if form == "centred":
        centred = [op("sub", "Sub", source, "n/mean"), op("inv", "Mul", "rsqrt", "n/gamma")]
        return [*nodes, *centred, op("mul", "Mul", "sub", "inv"), op("y", "Add", "mul", "n/beta")]
    inverse = "rsqrt"
    if form != "written, no gamma":
        inverse = "inv"
        nodes.append(op("inv", "Mul", "n/gamma", "rsqrt"))
    nodes.append(op("mul_1", "Mul", source, inverse))
    if form == "written, no beta":
        return [
            *nodes,
            op("neg", "Neg", "n/mean"),
            op("mul_2", "Mul", "neg", inverse),
            op("y", "AddV2", "mul_1", "mul_2"),
        ]
    nodes += [op("mul_2", "Mul", "n/mean", inverse), op("sub", "Sub", "n/beta", "mul_2")]
    return [*nodes, op("y", "AddV2", "mul_1", "sub")]


FORMS = ["old", "old, no gamma", "FusedBatchNorm", "FusedBatchNormV2", "FusedBatchNormV3", "written", "written, no gamma", "written, no beta", "centred"]  # fmt: skip
CASES = [
    (kind, form)
    for kind in ("Conv2D", "DepthwiseConv2dNative", "MatMul", "MatMulTransposed")
    for form in FORMS
    if not kind.startswith("MatMul") or form.startswith(("written", "centred"))
]


@pytest.mark.tensorflow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("between", ["", "BiasAdd", "Identity"])
@pytest.mark.parametrize(("kind", "form"), CASES)
def test_a_folded_batch_norm_computes_the_same(oracle: Oracle, kind: str, form: str, between: str) -> None:
    nodes, channels = product(kind)
    source = "p"
    if between == "BiasAdd":
        nodes += [array("b", RANDOM.normal(size=channels)), op("biased", "BiasAdd", "p", "b")]
        source = "biased"
    elif between == "Identity":
        nodes += [op("check", "CheckNumerics", "p", message=Attr.of("bad")), op("after", "Identity", "p", "^check")]
        source = "after"
    graph = Graph([*nodes, *norm(form, source, channels), op("out", "Relu", "y")], versions=Versions(8))
    folded, folds = fold_batch_norm(graph, [TensorRef("out")])
    assert [fold.node for fold in folds] == ["y"]
    assert folded.node("y").op == "BiasAdd"
    assert ops(folded).isdisjoint({"Rsqrt", "FusedBatchNorm", "BatchNormWithGlobalNormalization", "Mul", "Sub"})
    shape = graph.node("x").attrs["shape"].value
    feeds = {"x:0": RANDOM.normal(size=shape).astype("f")}
    (expected,) = oracle.run(graph, ["y:0"], feeds)
    (found,) = oracle.run(folded, ["y:0"], feeds)
    np.testing.assert_allclose(found, expected, rtol=2e-5, atol=2e-5 * np.abs(expected).max())
    assert np.abs(expected).max() > 0.1


def conv_norm(*extra: Node, form: str = "FusedBatchNorm") -> Graph:
    nodes, channels = product("Conv2D")
    return Graph([*nodes, *norm(form, "p", channels), *extra])


def test_a_fold_names_all_that_went_into_it() -> None:
    graph = conv_norm(op("out", "Relu", "y"))
    folded, (fold,) = fold_batch_norm(graph, [TensorRef("out")])
    roles = {"weights": "w", "mean": "n/mean", "variance": "n/variance", "beta": "n/beta", "gamma": "n/gamma"}
    names = ("y/folded_weights", "y/folded_biases")
    assert fold == Fold("y", "p", *names, roles, fold.epsilon, DType.FLOAT)
    sources = {role: graph.node(name).tensor() for role, name in roles.items()}
    values = {role: tensor.numpy().astype("f8") for role, tensor in sources.items() if tensor is not None}
    scale = values["gamma"] / np.sqrt(values["variance"] + fold.epsilon)
    weights, biases = (folded.node(name).tensor() for name in names)
    assert weights is not None
    assert biases is not None
    assert np.array_equal(weights.numpy(), (values["weights"] * scale).astype("f"))
    np.testing.assert_allclose(biases.numpy(), values["beta"] - values["mean"] * scale, rtol=1e-6)
    assert "w" not in folded
    assert "n/mean" not in folded


@pytest.mark.parametrize(
    "extra",
    [
        op("other", "Relu", "p"),
        op("other", "AddV2", "y:1", "y:2"),
        op("other", "Relu", "check"),
    ],
    ids=["the product is read elsewhere", "statistics are read", "the check is read"],
)
def test_what_is_not_provably_the_same_is_left_alone(extra: Node) -> None:
    check = op("check", "CheckNumerics", "p", message=Attr.of("bad"))
    graph = conv_norm(op("out", "Relu", "y"), check, extra)
    assert fold_batch_norm(graph) == (graph, [])


def test_a_batch_norm_in_training_or_with_computed_parameters_is_left_alone() -> None:
    graph = conv_norm()
    training = [
        n.replace(attrs={**n.attrs, "is_training": Attr.of(value=True)}) if n.name == "y" else n for n in graph.nodes
    ]
    assert fold_batch_norm(graph.replace(nodes=training))[1] == []
    computed = [placeholder("n/mean", DType.FLOAT, (4,)) if n.name == "n/mean" else n for n in graph.nodes]
    assert fold_batch_norm(graph.replace(nodes=computed))[1] == []
    assert fold_batch_norm(graph, keep=[TensorRef("p")])[1] == []


def test_layouts_that_differ_are_left_alone() -> None:
    graph = conv_norm()
    nchw = [n.replace(attrs={**n.attrs, "data_format": Attr.of("NCHW")}) if n.name == "p" else n for n in graph.nodes]
    assert fold_batch_norm(graph.replace(nodes=nchw))[1] == []


# --- against TensorFlow --------------------------------------------------------------------------------------------


@pytest.mark.tensorflow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("scale", [True, False])
@pytest.mark.parametrize("dtype", [DType.FLOAT, DType.DOUBLE])
def test_old_batch_norm_computes_the_same(oracle: Oracle, dtype: DType, scale: bool) -> None:  # noqa: FBT001
    old = old_graph(scale=scale, dtype=dtype)
    new, _ = modernize(old)
    assert "BatchNormWithGlobalNormalization" not in ops(new)
    feeds = {"x:0": RANDOM.normal(size=(2, 3, 3, 4)).astype(dtype.numpy)}
    (expected,) = oracle.run(old, ["y:0"], feeds)
    (found,) = oracle.run(new, ["y:0"], feeds)
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-6)


@needs_zoo
@pytest.mark.tensorflow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    ("name", "fetch", "feed", "shape", "count"),
    [
        (
            "mobilenet_v1_025_128/frozen_graph.pb",
            "MobilenetV1/Logits/SpatialSqueeze:0",
            "input:0",
            (1, 128, 128, 3),
            27,
        ),
        ("kws/DS_CNN_S.pb", "add:0", "Reshape:0", None, 9),
    ],
)
def test_real_batch_norms_are_folded(
    oracle: Oracle, *, name: str, fetch: str, feed: str, shape: tuple[int, ...] | None, count: int
) -> None:
    graph = graphdef.read(ZOO / "frozen_pb" / name)
    if fetch == "add:0":
        fetch = str(TensorRef(next(n.data_inputs[0].name for n in graph.nodes if n.op == "Softmax")))
        feed = str(next(n.data_inputs[0] for n in graph.nodes if n.op == "Conv2D"))
    output = TensorRef.parse(fetch)
    graph = prune(graph, [output], [TensorRef.parse(feed)])
    shape = shape or tuple(d or 1 for d in graph.node(TensorRef.parse(feed).name).attrs["shape"].value)
    folded, folds = fold_batch_norm(strip_checks(graph), [output])
    assert len(folds) == count
    feeds = {feed: RANDOM.uniform(-1, 1, size=shape).astype("f")}
    (expected,) = oracle.run(graph, [fetch], feeds)
    (found,) = oracle.run(folded, [fetch], feeds)
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-4 * np.abs(expected).max())
