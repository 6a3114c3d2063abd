"""tf2onnx in its child: weights kept out and put back, names, refusals. TensorFlow and onnxruntime are the oracles."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from tfinspect import runtimes
from tfinspect.errors import (
    LimitError,
    NodeNotFoundError,
    OutputError,
    RuntimeFailedError,
    UnsupportedOpsError,
    UsageError,
)
from tfinspect.formats import graphdef
from tfinspect.ir.attrs import Attr
from tfinspect.ir.dtypes import DType
from tfinspect.ir.graph import Graph, Node, const, placeholder
from tfinspect.ir.tensors import Tensor
from tfinspect.runtimes import ConversionRequest, InitializerSource
from tfinspect.runtimes._weights import open_weights

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from tfinspect.ir.shapes import Shape

ZOO = Path(__file__).parents[2] / "shared" / "zoo"
needs_zoo = pytest.mark.skipif(not ZOO.is_dir(), reason="the folder of real models is not here")
F = Attr.of(DType.FLOAT)
RNG = np.random.default_rng(7)


@pytest.fixture(scope="module", autouse=True)
def _children() -> Iterator[None]:
    runtimes.warm("tf2onnx", "onnxruntime", "tensorflow")
    yield
    runtimes.shutdown()


def op(name: str, kind: str, *inputs: str, **attrs: Attr) -> Node:
    return Node(name, kind, inputs, {"T": F, **attrs})


def tensor(*shape: int) -> Tensor:
    return Tensor.of(RNG.standard_normal(shape).astype(np.float32))


def image_net(batch: int | None = None) -> Graph:
    """A little of everything a weight meets: convolution, depthwise convolution, both orders of a matrix, a lookup."""
    window = {"strides": Attr.ints([1, 1, 1, 1]), "padding": Attr.of("SAME"), "data_format": Attr.of("NHWC")}
    plain = {"transpose_a": Attr.of(False), "transpose_b": Attr.of(False)}  # noqa: FBT003 - a value
    turned = {**plain, "transpose_b": Attr.of(True)}  # noqa: FBT003 - a value
    return Graph(
        [
            placeholder("image", DType.FLOAT, (batch, 8, 8, 3)),
            const("conv/kernel", tensor(3, 3, 3, 4)),
            const("conv/bias", tensor(4)),
            op("conv", "Conv2D", "image", "conv/kernel", **window),
            op("conv/add", "BiasAdd", "conv", "conv/bias"),
            op("relu", "Relu", "conv/add"),
            const("depthwise/kernel", tensor(3, 3, 4, 2)),
            op("depthwise", "DepthwiseConv2dNative", "relu", "depthwise/kernel", **window),
            const("flat/shape", Tensor.of(np.array([-1, 512], np.int32))),
            op("flat", "Reshape", "depthwise", "flat/shape", Tshape=Attr.of(DType.INT32)),
            const("fc/weights", tensor(512, 6)),
            op("fc", "MatMul", "flat", "fc/weights", **plain),
            const("out/weights", tensor(5, 6)),
            op("logits", "MatMul", "fc", "out/weights", **turned),
            op("softmax", "Softmax", "logits"),
        ]
    )


def externalised(graph: Graph, folder: Path, *names: str) -> Path:
    """Write the graph with those constants as placeholders, and their values beside it."""
    weights = {name: value for name in names if (value := graph.node(name).tensor()) is not None}
    assert list(weights) == list(names)
    nodes = [
        placeholder(n.name, n.tensor().dtype, n.tensor().shape) if n.name in weights else n  # type: ignore[union-attr]
        for n in graph
    ]
    folder.mkdir()
    graphdef.write(graph.replace(nodes=nodes), folder / "candidate.pb")
    assert runtimes.write_weights(folder, weights) >= sum(w.nbytes for w in weights.values())
    return folder / "candidate.pb"


def assert_same(
    reference: Path, candidate: Path, inputs: Mapping[str, np.ndarray[Any, Any]], outputs: list[str]
) -> None:
    runtimes.check_onnx(candidate)
    wanted = runtimes.tensorflow_graph(reference).run(outputs, inputs)
    got = runtimes.onnx_model(candidate).run(outputs, inputs)
    for name, a, b in zip(outputs, wanted, got, strict=True):
        assert a.std() > 1e-3, f"{name} says nothing"
        np.testing.assert_allclose(b, a, rtol=1e-4, atol=1e-5)


def test_weights_survive_the_flat_file(tmp_path: Path) -> None:
    values = {
        "a": Tensor.of(np.arange(5, dtype=np.int8)),
        "empty": Tensor.of(np.zeros((0, 3), np.float64)),
        "half": Tensor.of(np.array(1.5, np.float16)),
        "b": Tensor.of(np.arange(6, dtype=DType.BFLOAT16.numpy).reshape(2, 3)),
    }
    runtimes.write_weights(tmp_path, values)
    found = open_weights(tmp_path)
    assert list(found) == list(values)
    for name, weight in found.items():
        want = values[name].numpy()
        assert (weight.dtype, weight.shape) == (values[name].dtype, want.shape)
        assert weight.values.tobytes() == want.tobytes()
        assert weight.values.dtype == want.dtype
    with pytest.raises(OutputError, match="cannot be written: no such file or directory"):
        runtimes.write_weights(tmp_path / "absent", values)


WEIGHTS = ("conv/kernel", "depthwise/kernel", "fc/weights", "out/weights")
OUTPUTS = ["softmax:0", "logits:0"]


@pytest.mark.tensorflow
@pytest.mark.parametrize("opset", [13, 15, 18])
def test_weights_go_back_as_initializers_with_their_source(tmp_path: Path, opset: int) -> None:
    onnx = pytest.importorskip("onnx")
    graph = image_net()
    graphdef.write(graph, tmp_path / "whole.pb")
    candidate = externalised(graph, tmp_path / "parts", *WEIGHTS)
    output = tmp_path / "out.onnx"
    made = runtimes.convert(
        ConversionRequest(
            graph=candidate, weights=candidate.parent, inputs={"image:0": None}, outputs=OUTPUTS, output=output,
            opset=opset, metadata={"labels": "a\nb"}, producer_version="1.2", description="a test",
        )
    )  # fmt: skip
    assert not made.inlined
    assert made.inputs == ("image:0",)
    assert made.outputs == ("softmax:0", "logits:0")
    assert made.unused_weights == ()
    assert made.external_data is None
    assert set(made.op_counts) <= {"Conv", "Relu", "Reshape", "MatMul", "Gemm", "Softmax", "Transpose"}
    assert made.op_counts["Transpose"] <= 2, "the layout of the image and of the last features, none of a weight"
    assert 0 < made.seconds < 60

    model = onnx.load(output)
    assert (model.ir_version, model.producer_name, model.producer_version) == (made.ir_version, "tfinspect", "1.2")
    assert model.doc_string == "a test"
    assert {p.key: p.value for p in model.metadata_props} == {"labels": "a\nb"}
    assert [(i.domain, i.version) for i in model.opset_import] == [("", opset)]
    assert model.graph.input[0].type.tensor_type.shape.dim[0].dim_param == "batch"

    # every initializer is its source after the steps that are said, bit by bit
    assert made.initializers["conv/kernel:0"] == InitializerSource("conv/kernel", (("Transpose", (3, 2, 0, 1)),))
    assert {source.weight for source in made.initializers.values()} == set(WEIGHTS)
    written = {t.name: onnx.numpy_helper.to_array(t) for t in model.graph.initializer}
    for name, source in made.initializers.items():
        value = graph.node(source.weight).tensor()
        assert value is not None
        array = value.numpy()
        for step, argument in source.steps:
            assert step in ("Transpose", "Reshape")
            array = array.transpose(argument) if step == "Transpose" else array.reshape(argument)  # type: ignore[arg-type]
        assert written[name].shape == array.shape
        assert written[name].tobytes() == array.tobytes()

    for batch in (1, 3):
        assert_same(tmp_path / "whole.pb", output, {"image:0": RNG.random((batch, 8, 8, 3), np.float32)}, OUTPUTS)


@pytest.mark.tensorflow
def test_weights_kept_out_or_not_make_the_same_graph(tmp_path: Path) -> None:
    graph = image_net()
    graphdef.write(graph, tmp_path / "whole.pb")
    candidate = externalised(graph, tmp_path / "parts", *WEIGHTS)
    request = {"inputs": {"image:0": None}, "outputs": OUTPUTS}
    a = runtimes.convert(ConversionRequest(graph=tmp_path / "whole.pb", output=tmp_path / "a.onnx", **request))  # type: ignore[arg-type]
    b = runtimes.convert(
        ConversionRequest(graph=candidate, weights=candidate.parent, output=tmp_path / "b.onnx", **request)  # type: ignore[arg-type]
    )
    assert a.op_counts == b.op_counts
    assert a.initializers == {}
    assert abs((tmp_path / "a.onnx").stat().st_size - (tmp_path / "b.onnx").stat().st_size) < 1000


@pytest.mark.tensorflow
@pytest.mark.parametrize(("given", "want"), [((2, 8, 8, 3), [2, 8, 8, 3]), ((None, 8, 8, 3), ["batch", 8, 8, 3])])
def test_given_shapes_are_applied(tmp_path: Path, given: Shape, want: list[int | str]) -> None:
    onnx = pytest.importorskip("onnx")
    graphdef.write(image_net(batch=None if given and given[0] else 1), tmp_path / "whole.pb")
    made = runtimes.convert(
        ConversionRequest(
            graph=tmp_path / "whole.pb", inputs={"image:0": given}, outputs=["softmax:0"], output=tmp_path / "o.onnx"
        )
    )
    dims = onnx.load(made.path).graph.input[0].type.tensor_type.shape.dim
    assert [d.dim_param or d.dim_value for d in dims] == want


@pytest.mark.tensorflow
def test_weights_may_stand_in_a_file_of_their_own(tmp_path: Path) -> None:
    onnx = pytest.importorskip("onnx")
    graph = image_net()
    graphdef.write(graph, tmp_path / "whole.pb")
    candidate = externalised(graph, tmp_path / "parts", *WEIGHTS)
    made = runtimes.convert(
        ConversionRequest(
            graph=candidate, weights=candidate.parent, inputs={"image:0": None}, outputs=OUTPUTS,
            output=tmp_path / "out.onnx", external_data="final.onnx.data", force_external_data=True,
        )
    )  # fmt: skip
    assert made.external_data == str(tmp_path / "final.onnx.data")
    tensors = [t for t in onnx.load(made.path, load_external_data=False).graph.initializer if t.external_data]
    assert {t.name for t in tensors} == set(made.initializers)
    for entry in tensors:
        facts = {e.key: e.value for e in entry.external_data}
        assert facts["location"] == "final.onnx.data"
        assert int(facts["offset"]) % 4096 == 0
    image = {"image:0": RNG.random((2, 8, 8, 3), np.float32)}
    assert_same(tmp_path / "whole.pb", tmp_path / "out.onnx", image, OUTPUTS)
    # inner tensors too, for which the model is opened from memory
    (relu,) = runtimes.onnx_model(made.path).run(["softmax:0"], image, variant="plain")
    assert relu.shape == (2, 5)


@pytest.mark.tensorflow
def test_a_weight_used_twice_and_one_not_at_all(tmp_path: Path) -> None:
    graph = Graph(
        [
            placeholder("x", DType.FLOAT, (None, 4)),
            const("w", tensor(4, 4)),
            const("idle", tensor(9)),
            op("once", "MatMul", "x", "w", transpose_a=Attr.of(False), transpose_b=Attr.of(False)),  # noqa: FBT003
            op("twice", "MatMul", "once", "w", transpose_a=Attr.of(False), transpose_b=Attr.of(True)),  # noqa: FBT003
        ]
    )
    graphdef.write(graph, tmp_path / "whole.pb")
    candidate = externalised(graph, tmp_path / "parts", "w", "idle")
    made = runtimes.convert(
        ConversionRequest(
            graph=candidate, weights=candidate.parent, inputs={"x:0": None}, outputs=["twice:0"],
            output=tmp_path / "o.onnx",
        )
    )  # fmt: skip
    assert made.unused_weights == ("idle",)
    assert {s.weight for s in made.initializers.values()} == {"w"}
    assert_same(tmp_path / "whole.pb", tmp_path / "o.onnx", {"x:0": RNG.random((3, 4), np.float32)}, ["twice:0"])


@pytest.mark.tensorflow
def test_a_constant_that_must_be_one_is_put_back(tmp_path: Path) -> None:
    graph = Graph(
        [
            placeholder("x", DType.FLOAT, (None, 4)),
            const("axis", Tensor.of(np.array(1, np.int32))),
            Node("y", "ConcatV2", ("x", "x", "axis"), {"T": F, "Tidx": Attr.of(DType.INT32), "N": Attr.of(2)}),
        ]
    )
    graphdef.write(graph, tmp_path / "whole.pb")
    candidate = externalised(graph, tmp_path / "parts", "axis")
    made = runtimes.convert(
        ConversionRequest(
            graph=candidate, weights=candidate.parent, inputs={"x:0": None}, outputs=["y:0"], output=tmp_path / "o.onnx"
        )
    )
    assert made.inlined
    assert made.initializers == {}
    assert_same(tmp_path / "whole.pb", tmp_path / "o.onnx", {"x:0": RNG.random((3, 4), np.float32)}, ["y:0"])


@pytest.mark.tensorflow
def test_ops_that_do_not_convert_are_named_with_their_nodes(tmp_path: Path) -> None:
    graph = Graph(
        [
            placeholder("x", DType.FLOAT, (3, 3)),
            op("inverse", "MatrixInverse", "x"),
            op("inverse_again", "MatrixInverse", "inverse"),
            op("losses/l2", "L2Loss", "inverse_again"),
        ]
    )
    graphdef.write(graph, tmp_path / "g.pb")
    with pytest.raises(UnsupportedOpsError, match=r"3 nodes in ONNX: `L2Loss`, `MatrixInverse`") as caught:
        runtimes.convert(
            ConversionRequest(
                graph=tmp_path / "g.pb", inputs={"x:0": None}, outputs=["losses/l2:0"], output=tmp_path / "o.onnx"
            )
        )
    found = caught.value.evidence["ops"]
    assert isinstance(found, dict)
    assert {name: sorted(nodes) for name, nodes in found.items()} == {
        "L2Loss": ["losses/l2"],
        "MatrixInverse": ["inverse", "inverse_again"],
    }
    assert not (tmp_path / "o.onnx").exists()


@pytest.mark.tensorflow
def test_what_cannot_be_asked_for_is_refused(tmp_path: Path) -> None:
    graphdef.write(image_net(), tmp_path / "g.pb")
    request = {"graph": tmp_path / "g.pb", "inputs": {"image:0": None}, "output": tmp_path / "o.onnx"}
    with pytest.raises(NodeNotFoundError, match="no node named `sofmax`") as caught:
        runtimes.convert(ConversionRequest(outputs=["sofmax:0"], **request))  # type: ignore[arg-type]
    assert caught.value.near == ["softmax"]
    with pytest.raises(LimitError, match="writes opset 7 to 18, not 26"):
        runtimes.convert(ConversionRequest(outputs=["softmax:0"], opset=26, **request))  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="input `relu` is a Relu, not a Placeholder"):
        runtimes.convert(ConversionRequest(outputs=["softmax:0"], **request | {"inputs": {"relu:0": None}}))  # type: ignore[arg-type]
    request["output"] = tmp_path / "absent" / "o.onnx"
    with pytest.raises(OutputError, match="cannot be written: no such file or directory"):
        runtimes.convert(ConversionRequest(outputs=["softmax:0"], **request))  # type: ignore[arg-type]


DIGIT, KEEP = {"X:0": (None, 784)}, {"keep_prob:0": ()}


@needs_zoo
@pytest.mark.tensorflow
@pytest.mark.parametrize(
    ("name", "inputs"),
    [
        ("tf2onnx_fc", DIGIT | KEEP),
        ("tf2onnx_ae0", DIGIT),
        ("tf2onnx_lstm", DIGIT | KEEP),
        ("tf2onnx_gru", DIGIT | KEEP),
    ],
)
def test_real_graphs_with_their_large_constants_kept_out(tmp_path: Path, name: str, inputs: dict[str, Shape]) -> None:
    source = ZOO / "frozen_pb" / name / "frozen.pb"
    graph = graphdef.read(source)
    large = [n.name for n in graph if n.op == "Const" and (t := n.tensor()) is not None and t.nbytes > 256]
    assert large
    candidate = externalised(graph, tmp_path / "parts", *large)
    runner = runtimes.tensorflow_graph(source)
    inputs = {spec.name: inputs[spec.name] for spec in runner.inputs}
    outputs = [spec.name for spec in runner.outputs]
    made = runtimes.convert(
        ConversionRequest(
            graph=candidate, weights=candidate.parent, inputs=inputs, outputs=outputs, output=tmp_path / "o.onnx"
        )
    )
    assert made.outputs == tuple(outputs)
    feeds = {"X:0": RNG.standard_normal((2, 784)).astype(np.float32), "keep_prob:0": np.float32(1)}
    assert_same(source, tmp_path / "o.onnx", {n: np.asarray(feeds[n]) for n in inputs}, outputs)


@needs_zoo
@pytest.mark.tensorflow
def test_what_tensorflow_refuses_is_said_in_its_words(tmp_path: Path) -> None:
    request = ConversionRequest(
        graph=ZOO / "frozen_pb/tf2onnx_gru/frozen.pb", inputs={"X:0": (), "keep_prob:0": ()}, outputs=["output:0"],
        output=tmp_path / "o.onnx",
    )  # fmt: skip
    with pytest.raises(RuntimeFailedError, match="slice index 0 of dimension 0 out of bounds"):
        runtimes.convert(request)


TOOL = ZOO.parent / "tools" / "make_inception2015.py"


@pytest.mark.skipif(not TOOL.is_file(), reason="the script that writes such a graph is not here")
@pytest.mark.tensorflow
def test_a_deep_network_of_2015(tmp_path: Path) -> None:
    """94 convolutions with the batch normalisation of the time, which TensorFlow still runs and ONNX lacks."""
    source = tmp_path / "inception.pb"
    subprocess.run([sys.executable, TOOL, source, "0.1"], check=True, capture_output=True)
    graph = graphdef.read(source)
    request = {"inputs": {"Mul:0": None}, "outputs": ["softmax/logits:0", "pool_3:0"], "output": tmp_path / "o.onnx"}
    cut = [placeholder("Mul", DType.FLOAT, (1, 299, 299, 3)) if n.name == "Mul" else n for n in graph]
    graphdef.write(graph.replace(nodes=cut), tmp_path / "old.pb")
    with pytest.raises(UnsupportedOpsError) as caught:
        runtimes.convert(ConversionRequest(graph=tmp_path / "old.pb", **request))  # type: ignore[arg-type]
    found = caught.value.evidence["ops"]
    assert isinstance(found, dict)
    assert set(found) == {"BatchNormWithGlobalNormalization"}
    assert len(found["BatchNormWithGlobalNormalization"]) == 94

    large = [n.name for n in cut if n.op == "Const" and (t := n.tensor()) is not None and len(t.shape) > 1]
    candidate = externalised(modernised(graph.replace(nodes=cut)), tmp_path / "parts", *large)
    made = runtimes.convert(ConversionRequest(graph=candidate, weights=candidate.parent, **request))  # type: ignore[arg-type]
    assert made.op_counts["Conv"] == 94
    assert made.op_counts.get("Transpose", 0) <= 2
    assert {s.weight for s in made.initializers.values()} == set(large)
    image = {"Mul:0": RNG.uniform(-1, 1, (1, 299, 299, 3)).astype(np.float32)}
    assert_same(source, tmp_path / "o.onnx", image, ["softmax/logits:0", "pool_3:0"])


def modernised(graph: Graph) -> Graph:
    """Every old batch normalisation as FusedBatchNorm."""
    nodes = []
    for node in graph:
        if node.op != "BatchNormWithGlobalNormalization":
            nodes.append(node)
            continue
        x, mean, variance, beta, gamma = node.inputs
        if not node.value("scale_after_normalization"):
            shape = graph.node(beta).tensor().shape  # type: ignore[union-attr]
            gamma = f"{node.name}/ones"
            nodes.append(const(gamma, Tensor.of(np.ones(shape, np.float32))))
        attrs = {
            "epsilon": node.attrs["variance_epsilon"],
            "is_training": Attr.of(False),  # noqa: FBT003 - a value
            "data_format": Attr.of("NHWC"),
        }
        nodes.append(op(node.name, "FusedBatchNorm", x, gamma, beta, mean, variance, **attrs))
    return graph.replace(nodes=nodes)
