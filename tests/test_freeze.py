"""Freezing: keys, near names, updates, handles; bit for bit what TensorFlow computes after restoring."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tfinspect.api.freeze import freeze
from tfinspect.errors import LimitError, SurgeryError, UnrestoredVariablesError
from tfinspect.formats import checkpoint as checkpoints
from tfinspect.formats import graphdef
from tfinspect.ir.attrs import Attr, AttrList, FuncRef
from tfinspect.ir.checkpoint import Checkpoint, VariableInfo
from tfinspect.ir.dtypes import DType
from tfinspect.ir.functions import Function, FunctionBody
from tfinspect.ir.graph import Graph, Node, const, placeholder
from tfinspect.ir.model import Saver
from tfinspect.ir.refs import TensorRef
from tfinspect.ir.tensors import Tensor
from tfinspect.surgery.fold_variables import fold_variables
from tfinspect.surgery.inline_functions import inline_functions
from tfinspect.surgery.reconcile import Key, renamed, saver_keys, variable_keys

ZOO = Path(__file__).parents[2] / "shared" / "zoo"
F = Attr.of(DType.FLOAT)
needs_zoo = pytest.mark.skipif(not ZOO.exists(), reason="the collection of real models is not beside the repository")


def op(name: str, kind: str, *inputs: str, **attrs: Attr) -> Node:
    return Node(name, kind, inputs, {"T": F, **attrs})


def variable(name: str, shape: tuple[int, ...], kind: str = "VariableV2", **attrs: Attr) -> Node:
    return Node(name, kind, (), {"dtype": F, "shape": Attr.of_shape(shape), **attrs})


def strings(name: str, *values: str) -> Node:
    return const(name, Tensor.of(np.array([v.encode() for v in values], object), DType.STRING))


def checkpoint(**arrays: Any) -> Checkpoint:
    values = {name.replace("__", "/"): np.asarray(value) for name, value in arrays.items()}
    infos = {n: VariableInfo(n, DType.from_numpy(v.dtype), v.shape, v.nbytes) for n, v in values.items()}
    return Checkpoint("model.ckpt-7", "checkpoint_v2", infos, lambda name: Tensor.of(values[name]))


def linear(kind: str = "VariableV2") -> Graph:
    return Graph(
        [
            placeholder("x", DType.FLOAT, (None, 2)),
            variable("w", (2, 3), kind),
            op("w/read", "Identity", "w"),
            op("y", "MatMul", "x", "w/read"),
        ]
    )


def value(graph: Graph, name: str) -> np.ndarray[Any, Any]:
    tensor = graph.node(name).tensor()
    assert tensor is not None
    return tensor.numpy()


W = np.arange(6, dtype=np.float32).reshape(2, 3)


@pytest.mark.parametrize("kind", ["Variable", "VariableV2"])
def test_a_variable_becomes_a_constant_of_its_name_and_nothing_else_changes(kind: str) -> None:
    graph = linear(kind)
    frozen, report = fold_variables(graph, checkpoint(w=W, other=W), [TensorRef("y")])
    assert frozen.node("w").op == "Const"
    assert value(frozen, "w").tobytes() == W.tobytes()
    assert all(frozen.node(name) is graph.node(name) for name in ("x", "w/read", "y"))
    assert report.restored == {"w": "w"}
    assert report.unused == ("other",)


def test_no_value_is_read_before_it_is_asked_for() -> None:
    def load(name: str) -> Tensor:
        def fail() -> Any:
            raise AssertionError(name)

        return Tensor(DType.FLOAT, (2, 3), fail)

    lazy = Checkpoint("c", "checkpoint_v2", {"w": VariableInfo("w", DType.FLOAT, (2, 3), 24)}, load)
    frozen, _ = fold_variables(linear(), lazy, [TensorRef("y")])
    with pytest.raises(AssertionError, match="w"):
        value(frozen, "w")


def saved(names: list[str], slices: list[str], targets: list[str]) -> list[Node]:
    """The restore nodes of a Saver: RestoreV2, an Identity, Assign, and the group of all."""
    nodes = [strings("save/names", *names), strings("save/slices", *slices), strings("save/path", "model")]
    nodes.append(Node("save/RestoreV2", "RestoreV2", ("save/path", "save/names", "save/slices")))
    for k, target in enumerate(targets):
        nodes.append(op(f"save/Identity_{k}", "Identity", f"save/RestoreV2:{k}"))
        nodes.append(op(f"save/Assign_{k}", "Assign", target, f"save/Identity_{k}"))
    group = tuple(f"^save/Assign_{k}" for k in range(len(targets)))
    return [
        *nodes,
        Node("save/restore_shard", "NoOp", group),
        Node("save/restore_all", "NoOp", ("^save/restore_shard",)),
    ]


def test_the_saver_is_the_authority_on_keys() -> None:
    nodes = [*linear().nodes, *saved(["step", "w/ExponentialMovingAverage"], ["", ""], ["step", "w"])]
    graph = Graph([*nodes, variable("step", ())])
    saver = Saver("save/restore_all")
    assert saver_keys(graph, saver)["w"] == Key("w/ExponentialMovingAverage")
    both = checkpoint(w=W, w__ExponentialMovingAverage=W + 1, step=np.float32(1))
    frozen, report = fold_variables(graph, both, [TensorRef("y")], saver=saver)
    assert report.restored == {"w": "w/ExponentialMovingAverage"}
    assert value(frozen, "w").tobytes() == (W + 1).tobytes()
    frozen, _ = fold_variables(graph, both, [TensorRef("y")])
    assert value(frozen, "w").tobytes() == W.tobytes()


def test_averages_can_be_asked_for() -> None:
    both = checkpoint(w=W, w__ExponentialMovingAverage=W + 1)
    frozen = freeze(linear(), both, outputs=["y"], averages=True)
    assert value(frozen, "w").tobytes() == (W + 1).tobytes()


def test_restore_ops_of_2016_and_their_slices() -> None:
    graph = Graph(
        [
            variable("a", (2,), "Variable"),
            variable("b", (2, 2), "Variable"),
            strings("path", "model"),
            const("a/name", Tensor.of(b"whole", DType.STRING)),
            const("b/name", Tensor.of(b"rows", DType.STRING)),
            const("b/slice", Tensor.of(b"4 2 2,2:-", DType.STRING)),
            Node("r1", "Restore", ("path", "a/name")),
            Node("r2", "RestoreSlice", ("path", "b/name", "b/slice")),
            op("as1", "Assign", "a", "r1"),
            op("as2", "Assign", "b", "r2"),
            Node("all", "NoOp", ("^as1", "^as2")),
            op("y", "AddV2", "a", "b"),
        ]
    )
    assert saver_keys(graph, Saver("all")) == {"a": Key("whole"), "b": Key("rows", (2, 0), (2, 2))}
    rows = np.arange(8, dtype=np.float32).reshape(4, 2)
    frozen, _ = fold_variables(
        graph, checkpoint(whole=np.float32([1, 2]), rows=rows), [TensorRef("y")], saver=Saver("all")
    )
    assert value(frozen, "b").tolist() == rows[2:].tolist()


def test_parts_without_a_saver_are_cut_from_the_whole() -> None:
    graph = Graph(
        [
            variable("emb/part_0", (3, 2)),
            variable("emb/part_1", (1, 2)),
            const("axis", Tensor.of(0, DType.INT32)),
            op("y", "ConcatV2", "emb/part_0", "emb/part_1", "axis", N=Attr.of(2)),
        ]
    )
    whole = np.arange(8, dtype=np.float32).reshape(4, 2)
    frozen, report = fold_variables(graph, checkpoint(emb=whole), [TensorRef("y")])
    assert value(frozen, "emb/part_0").tolist() == whole[:3].tolist()
    assert value(frozen, "emb/part_1").tolist() == whole[3:].tolist()
    assert report.restored == {"emb/part_0": "emb", "emb/part_1": "emb"}


def test_resource_variables_go_by_their_shared_name() -> None:
    graph = Graph([variable("import/w", (2, 3), "VarHandleOp", shared_name=Attr.of("w"))])
    assert variable_keys(graph, checkpoint(w=W))["import/w"] == Key("w")


@pytest.mark.parametrize(
    ("rename", "expected"),
    [
        ({"conv_1": "conv1"}, "conv1/weights"),
        ({"conv_1/": "a/b/"}, "a/b/weights"),
        ({"conv": "x"}, "conv_1/weights"),
        ({"conv_1": "x", "conv_1/weights": "exact"}, "exact"),
        ({"": "scope"}, "scope/conv_1/weights"),
        ({"conv_1": ""}, "weights"),
    ],
)
def test_rename_takes_the_longest_leading_scope(rename: dict[str, str], expected: str) -> None:
    assert renamed("conv_1/weights", rename) == expected


def test_all_missing_and_differing_variables_are_named_at_once() -> None:
    graph = Graph(
        [
            variable("conv_1/weights", (2, 2)),
            variable("logits/biases", (3,)),
            variable("scale", (2, 5)),
            variable("good", (1,)),
            op("y", "AddN", "conv_1/weights", "logits/biases", "scale", "good", N=Attr.of(4)),
        ]
    )
    held = checkpoint(conv1__weights=np.zeros((2, 2), "f"), scale=np.zeros((5, 2), "f"), good=np.zeros(1, "f"))
    with pytest.raises(UnrestoredVariablesError) as caught:
        fold_variables(graph, held, [TensorRef("y")])
    error = caught.value
    assert (
        error.message
        == "the graph needs 3 variables that model.ckpt-7 does not have, or holds in another shape or dtype"
    )
    assert error.details == (
        "conv_1/weights  (checkpoint has `conv1/weights`, same shape)",
        "logits/biases   (nothing similar)",
        "scale           (checkpoint has `scale` as float32 5x2, the graph wants float32 2x5)",
    )
    assert error.evidence["missing"] == ["conv_1/weights", "logits/biases"]
    assert error.hint is not None
    assert "--map conv_1=conv1" in error.hint
    with pytest.raises(UnrestoredVariablesError, match="needs 1 variable that"):
        freeze(linear(), checkpoint(w=W), outputs=["w"], rename={"w": "u"})


def test_a_wrong_dtype_is_a_difference() -> None:
    with pytest.raises(UnrestoredVariablesError, match="another shape or dtype") as caught:
        fold_variables(linear(), checkpoint(w=W.astype("f8")), [TensorRef("y")])
    assert caught.value.details == ("w  (checkpoint has `w` as float64 2x3, the graph wants float32 2x3)",)


def test_the_checkpoint_of_another_graph_is_called_that() -> None:
    graph = Graph([variable("w", (2, 3)), variable("v", (2, 3)), op("y", "AddV2", "w", "v")])
    with pytest.raises(UnrestoredVariablesError, match=r"none of the 2 variables the graph needs is in model\.ckpt-7"):
        fold_variables(graph, checkpoint(elsewhere=W), [TensorRef("y")])


def test_updates_only_a_control_input_asks_for_are_dropped() -> None:
    graph = Graph(
        [
            *linear().nodes,
            variable("mean", (3,)),
            op("delta", "Neg", "mean"),
            op("update", "AssignSub", "mean", "delta"),
            op("grouped", "Identity", "update"),
            Node("updates", "NoOp", ("^grouped",)),
            op("out", "Relu", "y", "^updates", "^x"),
        ]
    )
    frozen, report = fold_variables(graph, checkpoint(w=W), [TensorRef("out")])
    assert frozen.node("out").inputs == ("y", "^x")
    assert "mean" not in frozen
    assert report.updates == (("updates", "grouped"),)


def test_an_update_on_the_way_to_an_output_is_refused_by_name() -> None:
    graph = Graph([*linear().nodes, op("update", "AssignSub", "w", "w/read"), op("out", "Relu", "update")])
    with pytest.raises(SurgeryError, match=r"`out` depends on `update` \(AssignSub\)") as caught:
        fold_variables(graph, checkpoint(w=W), [TensorRef("out")])
    assert caught.value.evidence["path"] == ["update", "out"]


def test_handles_that_enter_a_function_are_refused() -> None:
    graph = Graph([variable("w", (2, 3), "VarHandleOp"), Node("call", "StatefulPartitionedCall", ("w",))])
    with pytest.raises(SurgeryError, match=r"`w`: its handle goes into `call` \(StatefulPartitionedCall\)"):
        fold_variables(graph, checkpoint(w=W), [TensorRef("call")])


# --- TensorFlow as oracle ------------------------------------------------------------------------------------------


class Oracle:
    """TensorFlow, one thread and no graph optimisation, so that equal graphs give equal bits."""

    def __init__(self) -> None:
        import tensorflow as tf

        self.tf = tf
        self.v1 = tf.compat.v1

    def session(self, graph: Any) -> Any:
        config = self.v1.ConfigProto(intra_op_parallelism_threads=1, inter_op_parallelism_threads=1)
        config.graph_options.rewrite_options.disable_meta_optimizer = True
        config.graph_options.optimizer_options.opt_level = -1
        return self.v1.Session(graph=graph, config=config)

    def read(self, meta_graph: Any, folder: Path) -> tuple[Graph, Saver]:
        path = folder / "graph.pb"
        path.write_bytes(meta_graph.graph_def.SerializeToString())
        return graphdef.read(path), Saver(meta_graph.saver_def.restore_op_name)

    def run(self, graph: Graph, fetches: list[str], feeds: dict[str, Any]) -> list[Any]:
        definition = self.v1.GraphDef.FromString(b"".join(map(bytes, graphdef.encode(graph))))
        with self.tf.Graph().as_default() as imported:
            self.tf.import_graph_def(definition, name="")
        with self.session(imported) as session:
            result: list[Any] = session.run(fetches, feeds)
            return result


@pytest.fixture(scope="module")
def oracle() -> Oracle:
    return Oracle()


def assert_same_bits(found: list[Any], expected: list[Any]) -> None:
    for a, b in zip(found, expected, strict=True):
        assert a.dtype == b.dtype
        assert a.shape == b.shape
        assert a.tobytes() == b.tobytes()


def assert_frozen_equals_restored(
    oracle: Oracle, meta: Any, prefix: str, *, fetches: list[str], feeds: dict[str, Any], folder: Path
) -> Graph:
    v1 = oracle.v1
    with oracle.tf.Graph().as_default() as original:
        saver = v1.train.import_meta_graph(meta, clear_devices=True)
        with oracle.session(original) as session:
            saver.restore(session, prefix)
            expected = session.run(fetches, feeds)
    graph, names = oracle.read(meta, folder)
    outputs, starts = [TensorRef.parse(name) for name in fetches], [TensorRef.parse(name) for name in feeds]
    frozen, report = fold_variables(graph, checkpoints.read(prefix), outputs, saver=names, feeds=starts)
    assert report.restored
    assert not any("Variable" in node.op or node.op.startswith(("Ref", "Assign", "Resource")) for node in frozen.nodes)
    assert_same_bits(oracle.run(frozen, fetches, feeds), expected)
    return frozen


@needs_zoo
@pytest.mark.tensorflow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    ("meta", "prefix", "fetches", "feeds"),
    [
        (
            "ckpt_v2_meta/mlnet_cifar/model.ckpt.meta",
            "ckpt_v2_meta/mlnet_cifar/model.ckpt",
            ["Output:0"],
            {"Input:0": (2, 32, 32, 3)},
        ),
        (
            "ckpt_v1/steering_angle_matched/model.ckpt.meta",
            "ckpt_v1/steering_angle_matched/model.ckpt",
            ["linear_regression/add:0"],
            {"batch:0": (1, 480, 640, 3)},
        ),
        (
            "session_bundle_mixed/tf_contrib_session_bundle/half_plus_two/00000123/export.meta",
            "session_bundle_mixed/tf_contrib_session_bundle/half_plus_two/00000123/export-00000-of-00001",
            ["y:0"],
            {"x:0": (3, 1)},
        ),
        (
            "session_bundle_mixed/tf_contrib_session_bundle/half_plus_two_ckpt_v2/00000123/export.meta",
            "session_bundle_mixed/tf_contrib_session_bundle/half_plus_two_ckpt_v2/00000123/export",
            ["y:0"],
            {"x:0": (3, 1)},
        ),
    ],
    ids=["cifar-v2", "steering-v1", "half-plus-two-v1", "half-plus-two-v2"],
)
def test_real_checkpoints(
    oracle: Oracle, tmp_path: Path, *, meta: str, prefix: str, fetches: list[str], feeds: dict[str, Any]
) -> None:
    proto = oracle.v1.MetaGraphDef.FromString((ZOO / meta).read_bytes())
    proto.meta_info_def.tensorflow_version = "1.0"  # "0.12.head" is no version to today's TensorFlow
    random = np.random.default_rng(0)
    values = {name: random.normal(size=shape).astype("f") for name, shape in feeds.items()}
    assert_frozen_equals_restored(oracle, proto, str(ZOO / prefix), fetches=fetches, feeds=values, folder=tmp_path)


def build_and_compare(
    oracle: Oracle, folder: Path, build: Any, feeds: dict[str, Any], *, resource: bool, **saver_options: Any
) -> Graph:
    """Save a graph that `build` makes, freeze it, and compare with what it computes after restoring."""
    v1 = oracle.v1
    with oracle.tf.Graph().as_default() as graph:
        v1.disable_resource_variables() if not resource else v1.enable_resource_variables()
        v1.disable_control_flow_v2()
        out = build(oracle.tf, v1)
        saver = v1.train.Saver(**saver_options)
        with oracle.session(graph) as session:
            session.run(v1.global_variables_initializer())
            saver.save(session, str(folder / "model"))
    meta = v1.MetaGraphDef.FromString((folder / "model.meta").read_bytes())
    return assert_frozen_equals_restored(
        oracle, meta, str(folder / "model"), fetches=[out.name], feeds=feeds, folder=folder
    )


X = np.random.default_rng(1).normal(size=(4, 3)).astype("f")


def cond_over_references(tf: Any, v1: Any) -> Any:
    x = v1.placeholder(tf.float32, [None, 3], "x")
    training = v1.placeholder_with_default(input=False, shape=[], name="training")
    mean = v1.get_variable("mean", [3], initializer=v1.random_normal_initializer(seed=1), trainable=False)

    def train() -> Any:
        now = tf.reduce_mean(x, 0)
        with tf.control_dependencies([v1.assign(mean, mean * 0.9 + now * 0.1)]):
            return tf.identity(now)

    return tf.subtract(x, v1.cond(training, train, lambda: tf.identity(mean)), name="y")


def cond_over_bare_variables(tf: Any, v1: Any) -> Any:
    x = v1.placeholder(tf.float32, [None, 3], "x")
    flag = v1.placeholder_with_default(input=True, shape=[], name="flag")
    a = v1.get_variable("a", [3], initializer=v1.random_normal_initializer(seed=1))
    b = v1.get_variable("b", [3], initializer=v1.random_normal_initializer(seed=2))
    return tf.multiply(x, v1.cond(flag, lambda: a, lambda: b), name="y")


def reference_control_flow(tf: Any, v1: Any) -> Any:
    x = v1.placeholder(tf.float32, [None, 3], "x")
    flag = v1.placeholder_with_default(input=True, shape=[], name="flag")
    a = v1.get_variable("a", [3], initializer=v1.random_normal_initializer(seed=1))
    from tensorflow.python.ops import control_flow_ops

    off, on = control_flow_ops.ref_switch(a._ref(), flag)
    merged = (
        tf.raw_ops.RefMerge(inputs=[off, on])[0]
        if hasattr(tf.raw_ops, "RefMerge")
        else control_flow_ops.merge([off, on])[0]
    )
    return tf.multiply(x, merged, name="y")


def loop(tf: Any, v1: Any) -> Any:
    x = v1.placeholder(tf.float32, [None, 3], "x")
    w = v1.get_variable("w", [3, 3], initializer=v1.random_normal_initializer(seed=1))
    return tf.identity(
        v1.while_loop(lambda i, _: i < 4, lambda i, h: (i + 1, tf.tanh(tf.matmul(h, w))), (tf.constant(0), x))[1],
        name="y",
    )


def partitioned(tf: Any, v1: Any) -> Any:
    ids = v1.placeholder(tf.int32, [None], "ids")
    table = v1.get_variable(
        "table", [7, 4], initializer=v1.random_normal_initializer(seed=1), partitioner=v1.fixed_size_partitioner(3)
    )
    return tf.identity(v1.nn.embedding_lookup(table, ids, partition_strategy="div"), name="y")


def gather(tf: Any, v1: Any) -> Any:
    ids = v1.placeholder(tf.int32, [None], "ids")
    table = v1.get_variable("table", [7, 4], initializer=v1.random_normal_initializer(seed=1))
    rows = tf.gather(table, ids)
    size = tf.cast(tf.shape(table)[0], tf.float32)
    known = tf.cast(v1.is_variable_initialized(table), tf.float32)
    nd = tf.gather_nd(table, tf.expand_dims(ids, 1))
    return tf.identity(rows * size + known + nd, name="y")


def batch_norm(tf: Any, v1: Any) -> Any:
    x = v1.placeholder(tf.float32, [None, 3], "x")
    training = v1.placeholder_with_default(input=False, shape=[], name="training")
    mean = v1.get_variable("mean", [3], initializer=v1.random_normal_initializer(seed=1))
    scale = v1.get_variable("scale", [3], initializer=v1.random_normal_initializer(seed=2))
    average = v1.train.ExponentialMovingAverage(0.9)
    update = average.apply([mean])
    with tf.control_dependencies([update]):
        y = tf.identity((x - mean) * scale)
    return tf.identity(tf.where(tf.fill([4, 3], training), x, y), name="y")


@pytest.mark.tensorflow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("resource", [False, True], ids=["reference", "resource"])
@pytest.mark.parametrize(
    ("build", "feeds"),
    [
        (cond_over_references, {"x:0": X}),
        (cond_over_bare_variables, {"x:0": X}),
        (loop, {"x:0": X}),
        (partitioned, {"ids:0": np.array([0, 6, 3, 3], np.int32)}),
        (gather, {"ids:0": np.array([0, 6, 3, 3], np.int32)}),
        (batch_norm, {"x:0": X}),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_frozen_equals_restored(oracle: Oracle, tmp_path: Path, build: Any, feeds: Any, resource: bool) -> None:  # noqa: FBT001
    frozen = build_and_compare(oracle, tmp_path, build, feeds, resource=resource)
    assert any(node.op == "Const" for node in frozen.nodes)


@needs_zoo
@pytest.mark.tensorflow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    "name", ["rust_keras_multi", "rust_regression", "tfnet_keras_assets/simple_model_from_auto_compile"]
)
def test_functions_of_tf2_are_inlined(oracle: Oracle, tmp_path: Path, name: str) -> None:
    folder = ZOO / "savedmodel_tf2" / name
    from tensorflow.core.protobuf import saved_model_pb2

    meta = saved_model_pb2.SavedModel.FromString((folder / "saved_model.pb").read_bytes()).meta_graphs[0]
    signature = meta.signature_def["serving_default" if "serving_default" in meta.signature_def else "train"]
    random = np.random.default_rng(0)
    feeds = {
        key: random.normal(size=[max(d.size, 1) for d in info.tensor_shape.dim]).astype(
            oracle.tf.as_dtype(info.dtype).as_numpy_dtype
        )
        for key, info in signature.inputs.items()
    }
    with oracle.tf.Graph().as_default() as original, oracle.session(original) as session:
        oracle.v1.saved_model.load(session, ["serve"], str(folder))
        fetches = [info.name for info in signature.outputs.values()]
        placed = {signature.inputs[key].name: value for key, value in feeds.items()}
        expected = session.run(fetches, placed)
    graph, saver = oracle.read(meta, tmp_path)
    values = checkpoints.read(str(folder / "variables" / "variables"))
    frozen, report = fold_variables(graph, values, [TensorRef.parse(f) for f in fetches], saver=saver)
    assert report.restored
    assert all("VARIABLE_VALUE" in key for key in report.restored.values())
    assert not any("Variable" in node.op or "Call" in node.op for node in frozen.nodes)
    assert not frozen.functions
    assert_same_bits(oracle.run(frozen, fetches, placed), expected)


@pytest.mark.tensorflow
@pytest.mark.filterwarnings("ignore")
def test_reference_typed_control_flow(oracle: Oracle, tmp_path: Path) -> None:
    frozen = build_and_compare(oracle, tmp_path, reference_control_flow, {"x:0": X}, resource=False)
    assert {"Switch", "Merge"} <= {node.op for node in frozen.nodes}


def body(args: list[str], nodes: list[Node], **results: str) -> Function:
    found = FunctionBody(
        tuple((name, DType.FLOAT) for name in args),
        tuple((name, DType.FLOAT) for name in results),
        tuple(nodes),
        results,
    )
    return Function("f", lambda: found)


def test_calls_are_inlined_into_one_another_and_outputs_keep_their_names() -> None:
    inner = body(
        ["a"],
        [
            op("norm", "FusedBatchNormV3", "a"),
            op("sum", "AddV2", "norm:batch_mean:0", "norm:reserve_space_3:0", "^a"),
            op("only", "Neg", "sum:z:0", _class=Attr.of(AttrList("s", (b"loc:@sum",)))),
        ],
        r="only:y:0",
    )
    outer = body(
        ["x", "y"],
        [Node("call", "PartitionedCall", ("x",), {"f": Attr.of(FuncRef("inner", {}))})],
        first="y",
        second="call:output:0",
    )
    tout = Attr.of(AttrList("type", (DType.FLOAT, DType.FLOAT)))
    graph = Graph(
        [
            placeholder("p", DType.FLOAT, ()),
            placeholder("q", DType.FLOAT, ()),
            Node("main", "StatefulPartitionedCall", ("p", "q"), {"f": Attr.of(FuncRef("outer", {})), "Tout": tout}),
            op("after", "Relu", "main:1", "^main"),
        ],
        functions={"inner": inner, "outer": outer},
    )
    flat = inline_functions(graph, [TensorRef("main", 1), TensorRef("after")])
    assert flat.node("main").op == "IdentityN"
    assert flat.node("main").inputs == ("q", "main/call/only")
    assert flat.node("main/call/sum").inputs == ("main/call/norm:1", "main/call/norm:5", "^p")
    assert flat.node("main/call/only").value("_class") == (b"loc:@main/call/sum",)
    assert not flat.functions
    only = inline_functions(graph, [TensorRef("after")])
    assert "main" not in only
    assert only.node("after").inputs == ("main/call/only", "^q")


def test_a_function_that_calls_itself_is_refused() -> None:
    loop = body(["a"], [Node("again", "f", ("a",), {})], r="again:r:0")
    graph = Graph([placeholder("p", DType.FLOAT, ()), Node("y", "f", ("p",), {})], functions={"f": loop})
    with pytest.raises(LimitError, match="the function `f` calls itself"):
        inline_functions(graph, [TensorRef("y")])
