"""Static types: single ops against NumPy and TensorFlow, shape arithmetic, broken graphs, real models."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.graph_models import (
    INCEPTION_TOOL,
    ZOO,
    attr,
    const,
    feed,
    graph,
    needs_zoo,
    op,
    read_any,
    ref,
    small_inception,
    zoo_graph,
)
from tfinspect.errors import NodeNotFoundError
from tfinspect.formats import graphdef
from tfinspect.ir.dtypes import DType
from tfinspect.ir.graph import Graph, Node
from tfinspect.ir.refs import TensorRef
from tfinspect.ir.shapes import Shape, compatible
from tfinspect.surgery import ops
from tfinspect.surgery._shape_arithmetic import broadcast
from tfinspect.surgery._shape_rules import RULES
from tfinspect.surgery.shapes import TensorType, TensorTypes

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

F, I = DType.FLOAT, DType.INT32  # noqa: E741 - as short as the type it stands for


def shape_of(source: Graph, name: str, given_shapes: dict[str, Shape] | None = None) -> Shape:
    types = TensorTypes(source, {ref(k): v for k, v in (given_shapes or {}).items()})
    return types.type_of(ref(name)).shape


def value_of(source: Graph, name: str) -> object:
    return TensorTypes(source).value_of(ref(name))


@pytest.mark.parametrize(
    ("producer", "shape", "expected"), [(21, (), None), (22, (), ()), (8, (1, 2), (1, 2)), (27, (None, 3), (None, 3))]
)
def test_old_placeholders_cannot_say_scalar(producer: int, shape: Shape, expected: Shape) -> None:
    assert shape_of(graph(feed("x", shape), producer=producer), "x") == expected


def test_old_variables_cannot_either() -> None:
    source = graph(op("Variable", "v", dtype=F, shape=()), op("VariableV2", "v2", dtype=F, shape=()))
    assert (shape_of(source, "v"), shape_of(source, "v2")) == (None, ())


def test_resource_variables() -> None:
    source = graph(
        op("VarHandleOp", "v", dtype=F, shape=(8, 4)),
        op("Identity", "handle", "v", T=DType.RESOURCE),
        op("ReadVariableOp", "read", "handle", dtype=F),
        op("VariableShape", "shape", "handle"),
        feed("ids", (None, 2), I),
        op("ResourceGather", "rows", "v", "ids", dtype=F),
    )
    types = TensorTypes(source)
    assert types.type_of(ref("read")) == TensorType(F, (8, 4))
    assert types.type_of(ref("rows")) == TensorType(F, (None, 2, 4))
    assert types.type_of(ref("v")) == TensorType(DType.RESOURCE, ())
    assert types.value_of(ref("shape")) == (8, 4)


def test_small_inception() -> None:
    types = TensorTypes(small_inception())
    expected = {
        "decode": (None, None, 3),
        "ExpandDims": (1, None, None, 3),
        "Resize": (1, 99, 99, 3),
        "stem": (1, 50, 50, 8),
        "join": (1, 50, 50, 40),
        "pool": (1, 1, 1, 40),
        "pool/_reshape": (1, 40),
        "softmax": (1, 10),
    }
    assert {name: types.type_of(ref(name)).shape for name in expected} == expected
    assert types.type_of(ref("decode")).dtype is DType.UINT8
    assert types.type_of(ref("Resize")).dtype is F


def test_given_shapes_replace_what_the_graph_says() -> None:
    source = graph(feed("x", (None, None, 3)), op("Relu", "y", "x", T=F))
    assert shape_of(source, "y", {"x:0": (5, 6, 3)}) == (5, 6, 3)
    assert shape_of(source, "y", {"y:0": (7,)}) == (7,)
    assert shape_of(source, "x", {"y:0": (7,)}) == (None, None, 3)


def test_keras_flatten() -> None:
    source = graph(
        feed("x", (None, 7, 7, 64)),
        op("Shape", "shape", "x", T=F),
        const("b0", [0]), const("b1", [1]), const("one", [1]), const("zero", [0]),
        op("StridedSlice", "batch", "shape", "zero", "b1", "one", T=I, shrink_axis_mask=1),
        op("StridedSlice", "rest", "shape", "b1", "b0", "one", T=I, end_mask=1),
        op("Prod", "size", "rest", "zero", T=I),
        const("minus", -1),
        op("Pack", "target", "minus", "size", T=I, N=2),
        op("Pack", "with_batch", "batch", "size", T=I, N=2),
        op("Reshape", "y", "x", "target", T=F),
        op("Reshape", "z", "x", "with_batch", T=F),
    )  # fmt: skip
    types = TensorTypes(source)
    assert types.type_of(ref("y")).shape == (None, 3136)
    assert types.type_of(ref("z")).shape == (None, 3136)
    assert types.value_of(ref("rest")) == (7, 7, 64)
    assert types.value_of(ref("batch")) == (None,)


def test_integer_arithmetic() -> None:
    source = graph(
        const("a", [7, -7]), const("b", [2, 2]), const("s", 3), const("zero", [0]), const("delta", -2), const("ten", 10),
        op("FloorDiv", "floor", "a", "b", T=I),
        op("Div", "div", "a", "b", T=I),
        op("FloorMod", "mod", "a", "b", T=I),
        op("Mul", "mul", "a", "s", T=I),
        op("ConcatV2", "concat", "a", "b", "s0", T=I, N=2), const("s0", 0),
        op("Range", "range", "ten", "s", "delta", Tidx=I),
        op("ReverseV2", "reverse", "concat", "zero", T=I),
        op("Sum", "sum", "concat", "zero", T=I),
        op("Maximum", "max", "a", "s", T=I),
        op("GatherV2", "gather", "concat", "b", "s0", Tparams=I, Tindices=I),
    )  # fmt: skip
    expected = {
        "floor": (3, -4), "div": (3, -3), "mod": (1, 1), "mul": (21, -21), "concat": (7, -7, 2, 2), "range": (10, 8, 6, 4),
        "reverse": (2, 2, -7, 7), "sum": (4,), "max": (7, 3), "gather": (2, 2),
    }  # fmt: skip
    assert {name: value_of(source, name) for name in expected} == expected
    assert shape_of(source, "range") == (4,)


def test_queue_shapes_and_functions() -> None:
    source = graph(
        op("FIFOQueue", "q", component_types=[F, I], shapes=[(3,), ()]),
        const("n", 4),
        op("QueueDequeueMany", "many", "q", "n", component_types=[F, I]),
        op("QueueDequeueUpTo", "some", "q", "n", component_types=[F, I]),
        op("QueueDequeue", "one", "q", component_types=[F, I]),
        op("StatefulPartitionedCall", "call", "one", Tin=[F], Tout=[I, F]),
    )
    types = TensorTypes(source)
    assert types.outputs_of("many") == (TensorType(F, (4, 3)), TensorType(I, (4,)))
    assert types.outputs_of("some")[0].shape == (None, 3)
    assert types.outputs_of("one")[1] == TensorType(I, ())
    assert types.outputs_of("call") == (TensorType(I, None), TensorType(F, None))


def test_output_shapes_are_taken_as_a_hint_and_only_while_nothing_is_given() -> None:
    source = graph(feed("x", (None, 4)), op("MyOp", "y", "x", Tout=F, _output_shapes=[(None, 9)]))
    assert TensorTypes(source).type_of(ref("y")) == TensorType(F, (None, 9))
    assert shape_of(source, "y", {"x:0": (2, 4)}) is None


def test_unknown_ops_and_names() -> None:
    source = graph(op("MyOp", "y"), op("Other", "z", dtype=DType.HALF))
    types = TensorTypes(source)
    assert types.type_of(ref("y")) == TensorType(None, None)
    assert types.type_of(ref("z")) == TensorType(DType.HALF, None)
    assert types.type_of(ref("z:5")) == TensorType(None, None)
    with pytest.raises(NodeNotFoundError):
        types.type_of(ref("nothing"))


def test_loops_end_and_stay_unknown() -> None:
    source = graph(
        feed("x", (2, None)),
        op("Enter", "enter", "x", T=F, frame_name="f"),
        op("Merge", "merge", "enter", "next", T=F, N=2),
        op("Tanh", "body", "merge", T=F),
        op("NextIteration", "next", "body", T=F),
        op("Add", "a", "b", "x", T=F),
        op("Add", "b", "a", "x", T=F),  # no legal graph
        op("Neg", "self", "self", T=F),
    )
    types = TensorTypes(source)
    assert types.type_of(ref("body")) == TensorType(F, None)
    assert types.type_of(ref("enter")).shape == (2, None)
    assert types.type_of(ref("b")).dtype is F
    assert types.type_of(ref("self")).dtype is F


def test_broken_graphs_are_unknown_not_errors() -> None:
    source = Graph([
        op("Conv2D", "c", "missing", "^gone", T=F),
        op("Relu", "r", T=F),
        op("Relu", "r", T=F),
        op("Reshape", "s", "c", "r", T=F),
        Node("k", "Const", (), {"value": attr(3)}),
    ])  # fmt: skip
    types = TensorTypes(source)
    assert [types.type_of(TensorRef(n.name)).shape for n in source] == [None] * 5


_ATTRS = st.one_of(
    st.integers(-3, 5), st.booleans(), st.floats(allow_nan=False), st.text("ACHNSE", max_size=4).map(str.encode),
    st.lists(st.integers(-2, 4), max_size=5), st.sampled_from(list(DType)), st.none(),
    st.lists(st.one_of(st.none(), st.integers(0, 3)), max_size=4).map(tuple), st.lists(st.sampled_from(list(DType)), max_size=3),
)  # fmt: skip
_NAMES = st.sampled_from([
    "T", "strides", "padding", "ksize", "axis", "num_split", "num", "N", "shape", "dtype", "squeeze_dims", "keep_dims",
    "begin_mask", "end_mask", "ellipsis_mask", "shrink_axis_mask", "new_axis_mask", "block_size", "k", "component_types",
    "output_types", "output_shapes", "Tout", "shapes", "element_shape", "dense_shapes", "Tdense", "sparse_types", "equation", "dilations", "window_size",
    "stride", "data_format", "explicit_paddings", "batch_dims", "num_outs", "_output_shapes", "channels", "value",
])  # fmt: skip


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_no_graph_is_too_strange(data: st.DataObject) -> None:
    nodes = [feed("x", (2, None, 3)), feed("u", None), const("i", [1, -1]), const("z", 0), const("p", [[0, 1], [2, 2]])]
    for i in range(data.draw(st.integers(1, 6))):
        names = [n.name for n in nodes]
        inputs = data.draw(
            st.lists(st.sampled_from([*names, "x:1", f"n{i}", f"n{i + 1}", "gone", "^x", "", ":", "^"]), max_size=6)
        )
        attrs = data.draw(st.dictionaries(_NAMES, _ATTRS.map(attr), max_size=6))
        nodes.append(Node(f"n{i}", data.draw(st.sampled_from(sorted(RULES))), tuple(inputs), attrs))
    types = TensorTypes(Graph(nodes))
    for node in nodes:
        for kind in types.outputs_of(node.name):
            assert kind.dtype is None or isinstance(kind.dtype, DType)
            assert kind.shape is None or all(d is None or isinstance(d, int) for d in kind.shape)


DIMS = st.lists(st.sampled_from([1, 2, 3, 5]), max_size=4).map(tuple)


@given(DIMS, DIMS, st.data())
def test_broadcasting_as_numpy(a: tuple[int, ...], b: tuple[int, ...], data: st.DataObject) -> None:
    try:
        expected: Shape = np.broadcast_shapes(a, b)
    except ValueError:
        assert broadcast(a, b) is not None  # unknown dimensions, not a wrong one
        return
    assert broadcast(a, b) == expected
    vague = tuple(None if data.draw(st.booleans()) else d for d in a)
    assert compatible(broadcast(vague, b), expected)


@settings(deadline=None)
@given(DIMS.filter(len), st.data())
def test_strided_slice_as_numpy(shape: tuple[int, ...], data: st.DataObject) -> None:
    count = data.draw(st.integers(1, len(shape)))
    begin, end = ([data.draw(st.integers(-6, 6)) for _ in range(count)] for _ in range(2))
    step = [data.draw(st.sampled_from([1, 2, -1])) for _ in range(count)]
    masks = {m: data.draw(st.integers(0, 2**count - 1)) for m in ("begin_mask", "end_mask")}
    spec = tuple(
        slice(
            None if masks["begin_mask"] >> i & 1 else begin[i], None if masks["end_mask"] >> i & 1 else end[i], step[i]
        )
        for i in range(count)
    )
    values = np.arange(int(np.prod(shape)), dtype=np.int32).reshape(shape)
    source = graph(const("x", values), const("b", begin), const("e", end), const("s", step),
                   op("StridedSlice", "y", "x", "b", "e", "s", T=I, **masks))  # fmt: skip
    assert shape_of(source, "y") == values[spec].shape
    if len(shape) == 1:
        assert value_of(source, "y") == tuple(values[spec].tolist())


@given(DIMS, st.lists(st.integers(-4, 3), max_size=3), st.booleans())
def test_reductions_as_numpy(shape: tuple[int, ...], axes: list[int], keep: bool) -> None:  # noqa: FBT001
    source = graph(feed("x", shape), const("axes", axes), op("Mean", "y", "x", "axes", T=F, keep_dims=keep))
    wanted = tuple({a % len(shape) for a in axes if -len(shape) <= a < len(shape)}) if shape else ()
    if any(not -len(shape) <= a < len(shape) for a in axes):
        assert shape_of(source, "y") in (None, (None,) * len(shape))
    else:
        assert shape_of(source, "y") == np.mean(np.zeros(shape), axis=wanted, keepdims=keep).shape


def test_long_chains_take_no_recursion() -> None:
    nodes = [feed("n0", (None, 4)), *(op("Relu", f"n{i}", f"n{i - 1}", T=F) for i in range(1, 50_000))]
    types = TensorTypes(Graph(reversed(nodes)))
    assert types.type_of(ref("n49999")).shape == (None, 4)


def test_listing_does_not_import_numpy_for_graphs_without_shape_arithmetic() -> None:
    code = (
        "import sys\n"
        "from tfinspect.ir.dtypes import DType\n"
        "from tfinspect.ir.graph import Graph, Node, placeholder\n"
        "from tfinspect.ir.refs import TensorRef\n"
        "from tfinspect.surgery.shapes import TensorTypes\n"
        "g = Graph([placeholder('x', DType.FLOAT, (1, 2)), Node('y', 'Relu', ('x',))])\n"
        "assert TensorTypes(g).type_of(TensorRef('y')).shape == (1, 2)\n"
        "print('numpy' in sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


@needs_zoo
@pytest.mark.parametrize(
    ("name", "tensor", "dtype", "shape"),
    [
        ("frozen_pb/mobilenet_v1_025_128/frozen_graph.pb", "MobilenetV1/Logits/AvgPool_1a/AvgPool", F, (1, 1, 1, 256)),
        ("frozen_pb/chen0040_image_cnn/cnn_cifar10.pb", "flatten_1/Reshape", F, (None, 256)),
        ("frozen_pb/kws/DS_CNN_S.pb", "Mfcc", F, (1, 49, 10)),
        ("ckpt_v1/steering_angle_matched/model.ckpt.meta", "batch_1", F, (50, 480, 640, 3)),
        (
            "meta_only/tfnet_graphs/InceptionV3.meta",
            "module_apply_default/hub_output/feature_vector/SpatialSqueeze",
            F,
            (None, 2048),
        ),
    ],
)
def test_real_graphs(name: str, tensor: str, dtype: DType, shape: Shape) -> None:
    assert TensorTypes(zoo_graph(name)).type_of(ref(tensor)) == TensorType(dtype, shape)


# --- TensorFlow as the oracle -----------------------------------------------------------------------------------------


def contradictions(source: Graph, tf_graph: Any) -> tuple[list[str], int, int]:
    """Compare with a graph TensorFlow imported: what differs, dimensions it knows, how many of them we know."""
    types = TensorTypes(source)
    wrong, known, told = [], 0, 0
    for operation in tf_graph.get_operations():
        for tensor in operation.outputs:
            mine = types.type_of(TensorRef(operation.name, tensor.value_index))
            dtype = DType.from_number(tensor.dtype.as_datatype_enum)
            if mine.dtype not in (None, dtype):
                wrong.append(f"{tensor.name} ({operation.type}): {mine.dtype}, TensorFlow says {dtype}")
            theirs: Shape = None if tensor.shape.rank is None else tuple(tensor.shape.as_list())
            if not compatible(mine.shape, theirs):
                wrong.append(f"{tensor.name} ({operation.type}): {mine.shape}, TensorFlow says {theirs}")
            elif theirs is not None:
                pairs = [] if mine.shape is None else zip(mine.shape, theirs, strict=True)
                known += sum(d is not None for d in theirs)
                told += sum(a is not None and b is not None for a, b in pairs)
    return wrong, known, told


def imported(source: Graph) -> Any:
    import tensorflow as tf

    message = tf.compat.v1.GraphDef.FromString(b"".join(bytes(piece) for piece in graphdef.encode(source)))
    with tf.Graph().as_default() as tf_graph:
        tf.import_graph_def(message, name="")
    return tf_graph


@needs_zoo
@pytest.mark.tensorflow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    "path",
    [*sorted(ZOO.glob("frozen_pb/*/*.pb")), ZOO / "pbtxt/mobilenet_v1_1.0_224_eval/mobilenet_v1_1.0_224_eval.pbtxt"],
    ids=lambda p: p.stem,
)
def test_tensorflow_agrees_on_real_graphs(path: Path) -> None:
    source = read_any(path)
    wrong, known, told = contradictions(source, imported(source))
    assert wrong == []
    assert told >= 0.98 * known


@needs_zoo
@pytest.mark.tensorflow
@pytest.mark.filterwarnings("ignore")
def test_tensorflow_agrees_on_small_graphs() -> None:
    paths = sorted(ZOO.glob("golden_tf_graphs/**/*.pb"))
    known = told = 0
    for path in paths[:: max(1, len(paths) // 80)]:
        source = read_any(path)
        wrong, k, t = contradictions(source, imported(source))
        assert wrong == [], path
        known, told = known + k, told + t
    assert told >= 0.9 * known


@pytest.mark.tensorflow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.skipif(
    not INCEPTION_TOOL.exists(), reason="the tool that makes the 2015 graph is not beside the repository"
)
def test_tensorflow_agrees_on_the_2015_inception(tmp_path: Path) -> None:
    path = tmp_path / "inception.pb"
    subprocess.run([sys.executable, str(INCEPTION_TOOL), str(path), "0.05"], check=True, capture_output=True)
    source = graphdef.read(path)
    wrong, known, told = contradictions(source, imported(source))
    assert wrong == []
    assert told == known


def _layers(tf: Any) -> Iterator[Any]:
    raw, ph = tf.raw_ops, tf.compat.v1.placeholder
    image = ph(tf.float32, (None, 17, 23, 4))
    nchw = ph(tf.float32, (2, 4, 17, 23))
    kernel = tf.constant(np.zeros((3, 2, 4, 6), np.float32))
    deep = tf.constant(np.zeros((3, 2, 4, 2), np.float32))
    for padding in ("SAME", "VALID"):
        for stride in (1, 2, 3):
            for dilation in (1, 2):
                if stride > 1 and dilation > 1:
                    continue
                common = {
                    "padding": padding,
                    "strides": [1, stride, stride, 1],
                    "dilations": [1, dilation, dilation, 1],
                }
                yield raw.Conv2D(input=image, filter=kernel, **common)
                yield raw.DepthwiseConv2dNative(input=image, filter=deep, **common)
            yield raw.Conv2D(input=nchw, filter=kernel, padding=padding, strides=[1, 1, stride, 2], data_format="NCHW")
            for pool in (raw.MaxPool, raw.AvgPool):
                value = {"input" if pool is raw.MaxPool else "value": image}
                yield pool(**value, ksize=[1, 3, 2, 1], strides=[1, stride, 2, 1], padding=padding)
            volume = ph(tf.float32, (1, 9, None, 8, 2))
            yield raw.Conv3D(
                input=volume, filter=tf.zeros((3, 3, 2, 2, 5)), strides=[1, stride, 1, 2, 1], padding=padding
            )
            yield raw.MaxPool3D(input=volume, ksize=[1, 2, 2, 3, 1], strides=[1, 2, stride, 1, 1], padding=padding)
    yield raw.Conv2D(input=image, filter=kernel, padding="EXPLICIT", strides=[1, 2, 1, 1],
                     explicit_paddings=[0, 0, 1, 2, 3, 0, 0, 0])  # fmt: skip
    grad = ph(tf.float32, (None, 9, 12, 6))
    yield raw.Conv2DBackpropInput(
        input_sizes=[5, 17, 23, 4], filter=kernel, out_backprop=grad, strides=[1, 2, 2, 1], padding="SAME"
    )
    batch = tf.shape(grad)[0]
    sizes = tf.stack([batch, 17, 23, 4])
    yield raw.Conv2DBackpropInput(
        input_sizes=sizes, filter=kernel, out_backprop=grad, strides=[1, 2, 2, 1], padding="SAME"
    )
    per = tf.zeros((4,))
    yield from raw.FusedBatchNormV3(x=image, scale=per, offset=per, mean=per, variance=per, is_training=False)
    yield raw.BiasAdd(value=nchw, bias=per, data_format="NCHW")
    block = tf.constant([2, 3])
    moved = raw.SpaceToBatchND(input=image, block_shape=block, paddings=[[0, 1], [1, 0]])
    yield moved
    yield raw.BatchToSpaceND(input=ph(tf.float32, (12, 9, 8, 4)), block_shape=block, crops=[[0, 1], [1, 0]])
    yield raw.SpaceToDepth(input=ph(tf.float32, (1, 8, 6, 4)), block_size=2)
    yield raw.DepthToSpace(input=ph(tf.float32, (1, 8, 6, 4)), block_size=2)
    for resize in (raw.ResizeBilinear, raw.ResizeNearestNeighbor, raw.ResizeBicubic):
        yield resize(images=image, size=[5, 7])
    yield raw.ResizeBilinear(images=image, size=tf.shape(image)[1:3] * 2)
    yield raw.MirrorPad(input=image, paddings=[[0, 0], [1, 2], [0, 3], [0, 0]], mode="REFLECT")
    yield raw.CropAndResize(image=image, boxes=ph(tf.float32, (7, 4)), box_ind=ph(tf.int32, (7,)), crop_size=[3, 4])
    wav, _ = raw.DecodeWav(contents=ph(tf.string, ()), desired_channels=1, desired_samples=16000)
    spectrum = raw.AudioSpectrogram(input=wav, window_size=480, stride=160)
    yield spectrum
    yield raw.Mfcc(spectrogram=spectrum, sample_rate=16000, dct_coefficient_count=10)


def _arrays(tf: Any) -> Iterator[Any]:
    raw, ph = tf.raw_ops, tf.compat.v1.placeholder
    x = ph(tf.float32, (None, 6, 8))
    y = ph(tf.float32, (4, 6, 8))
    ids = ph(tf.int32, (4, None))
    for axis in (0, 1, 2, -1):
        yield raw.GatherV2(params=y, indices=ids, axis=axis)
        yield raw.ExpandDims(input=x, axis=axis)
        yield raw.Pack(values=[x, y], axis=axis)
        yield raw.ConcatV2(values=[x, y], axis=axis) if axis == 0 else raw.ConcatV2(values=[y, y], axis=axis)
        yield raw.ArgMax(input=y, dimension=axis)
        yield from raw.Split(axis=axis, value=y, num_split=2)
    yield raw.GatherV2(params=y, indices=ids, axis=2, batch_dims=1)
    yield raw.GatherNd(params=y, indices=ph(tf.int32, (3, None, 2)))
    yield from raw.SplitV(value=y, size_splits=[1, -1, 3], axis=2, num_split=3)
    yield from raw.Unpack(value=x, num=6, axis=1)
    yield from (raw.OneHot(indices=ids, depth=9, on_value=1.0, off_value=0.0, axis=a) for a in (-1, 0, 1))
    yield from raw.TopKV2(input=x, k=3)
    yield raw.Tile(input=y, multiples=[1, 2, 3])
    yield raw.Transpose(x=x, perm=[2, 0, 1])
    yield raw.Slice(input=y, begin=[1, 0, 2], size=[2, -1, 3])
    yield raw.Reshape(tensor=y, shape=[-1, 16])
    yield raw.Reshape(tensor=x, shape=tf.concat([tf.shape(x)[:1], [-1]], 0))
    yield x[:, 1:4, ::2]
    yield y[..., tf.newaxis, 0]
    yield y[1, ::-1, -3:]
    yield raw.Squeeze(input=ph(tf.float32, (1, None, 1)), axis=[0])
    yield raw.Squeeze(input=ph(tf.float32, (1, 4, 1)))
    for adj in (False, True):
        yield raw.BatchMatMulV2(x=ph(tf.float32, (None, 1, 5, 3)), y=ph(tf.float32, (7, 3, 3)), adj_y=adj)
        yield raw.MatMul(a=ph(tf.float32, (None, 3)), b=ph(tf.float32, (3, 3)), transpose_b=adj)
    yield raw.Fill(dims=tf.shape(x)[1:], value=1.0)
    yield raw.Range(start=0, limit=tf.shape(x)[1], delta=4)
    yield raw.Where(condition=ph(tf.bool, (None, 3)))
    yield raw.SelectV2(condition=ph(tf.bool, (6, 1)), t=x, e=y)
    yield raw.Einsum(inputs=[x, ph(tf.float32, (8, 5))], equation="abc,cd->abd")
    yield raw.Cast(x=y, DstT=tf.int64)
    yield from raw.SoftmaxCrossEntropyWithLogits(features=ph(tf.float32, (None, 5)), labels=ph(tf.float32, (3, 5)))
    yield from raw.Unique(x=ph(tf.int32, (None,)))
    yield raw.BroadcastTo(input=ph(tf.float32, (1, 8)), shape=[6, 8])
    yield raw.UnsortedSegmentSum(data=y, segment_ids=ph(tf.int32, (4,)), num_segments=9)
    yield from raw.ParseExample(serialized=ph(tf.string, (None,)), names=[], sparse_keys=["a"], dense_keys=["b"],
                                dense_defaults=[tf.zeros((2, 3))], sparse_types=[tf.int64], dense_shapes=[(2, 3)])  # fmt: skip


@pytest.mark.tensorflow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("family", [_layers, _arrays])
def test_tensorflow_agrees_on_single_ops(family: Any, tmp_path: Path) -> None:
    import tensorflow as tf

    with tf.Graph().as_default() as tf_graph:
        made = list(family(tf))
    path = tmp_path / "ops.pb"
    path.write_bytes(tf_graph.as_graph_def().SerializeToString())
    wrong, known, told = contradictions(graphdef.read(path), tf_graph)
    assert wrong == []
    assert told == known
    assert known > len(made)


@pytest.mark.tensorflow
@pytest.mark.filterwarnings("ignore")
def test_facts_about_ops_are_those_of_the_registry() -> None:
    from tensorflow.core.framework import op_def_pb2
    from tensorflow.python.client import pywrap_tf_session

    registry = {
        o.name: o
        for o in op_def_pb2.OpList.FromString(pywrap_tf_session.TF_GetBuffer(pywrap_tf_session.TF_GetAllOpList())).op
    }
    deprecated = {o.name: o.deprecation.version for o in registry.values() if o.deprecation.version and o.name != "Old"}
    assert deprecated == ops.DEPRECATED
    for name in (
        RULES.keys() | ops.VARIABLES | ops.QUEUES | ops.DEQUEUES | ops.RANDOM | ops.LAYERS | ops.FILE_OPS | ops.DECODERS
    ):
        assert name in registry, name
    for name, count in ops._OUTPUT_COUNTS.items():
        assert len(registry[name].output_arg) == count, name
    types = [t for t in DType if t not in (DType.INVALID, DType.RESOURCE, DType.VARIANT)]
    for definition in registry.values():
        # every type attribute gets a type of its own, so that taking the wrong one shows
        chosen = dict(zip((a.name for a in definition.attr if a.type == "type"), types, strict=False))
        node = Node("n", definition.name, ("gone",) * 6, {name: attr(dtype) for name, dtype in chosen.items()})
        told = TensorTypes(Graph([node])).outputs_of("n")
        for kind, argument in zip(told, definition.output_arg, strict=False):
            if kind.dtype is not None and not argument.number_attr and not argument.type_list_attr:
                actual = chosen.get(argument.type_attr) or DType.from_number(argument.type)
                assert kind.dtype is actual, (definition.name, argument.name)
    refs = {o.name for o in registry.values() if any(a.is_ref for a in (*o.input_arg, *o.output_arg))}
    assert refs >= ops.REFERENCE_OPS
