"""Training graphs that TensorFlow makes or restores, frozen by us, run by TensorFlow: one line of JSON a case.

Run as a program, so that TensorFlow starts once. Each case computes its own reference from the same session: what the
outputs are in inference, written by hand from the variables' values.
"""

from __future__ import annotations

import json
import os
import sys
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, Any

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"

import numpy as np
import tensorflow as tf
from tensorflow.python.training import moving_averages

from tfinspect.api.freeze import Options, freeze_model
from tfinspect.formats import graphdef, write_graph
from tfinspect.ir.attrs import Attr
from tfinspect.ir.checkpoint import Checkpoint, VariableInfo
from tfinspect.ir.dtypes import DType
from tfinspect.ir.graph import Graph, Node, Versions, const, placeholder
from tfinspect.ir.tensors import Tensor
from tfinspect.surgery.modernize.vocabulary import current_vocabulary

if TYPE_CHECKING:
    from collections.abc import Callable

v1 = tf.compat.v1
ZOO = Path(__file__).parents[2] / "shared" / "zoo"
RANDOM = np.random.default_rng(5)
CASES: dict[str, Callable[[Path], dict[str, Any]]] = {}
CHANNELS = 4


def case(function: Callable[[Path], dict[str, Any]]) -> Callable[[Path], dict[str, Any]]:
    CASES[function.__name__] = function
    return function


def session(graph: Any) -> Any:
    config = v1.ConfigProto(intra_op_parallelism_threads=1, inter_op_parallelism_threads=1, allow_soft_placement=True)
    config.graph_options.rewrite_options.disable_meta_optimizer = True
    config.graph_options.optimizer_options.opt_level = -1
    return v1.Session(graph=graph, config=config)


def run(graph: Graph, fetches: list[str], feeds: dict[str, Any]) -> list[Any]:
    definition = v1.GraphDef.FromString(b"".join(map(bytes, graphdef.encode(graph))))
    with tf.Graph().as_default() as imported:
        tf.import_graph_def(definition, name="")
    with session(imported) as opened:
        return opened.run(fetches, feeds)


def compared(found: list[Any], wanted: list[Any]) -> dict[str, Any]:
    same = all(a.dtype == b.dtype and a.tobytes() == b.tobytes() for a, b in zip(found, wanted, strict=True))
    error = max(
        float(np.abs(a.astype("f8") - b.astype("f8")).max()) if a.size and a.dtype.kind == "f" else 0.0
        for a, b in zip(found, wanted, strict=True)
    )
    spread = max(float(np.std(b)) for b in wanted if b.dtype.kind in "fiu")
    return {"same_bits": same, "max_abs": error, "spread": spread}


def trained(
    folder: Path,
    build: Callable[[], tuple[str, Any, Any, dict[str, Any]]],
    options: Options,
    feeds: Callable[[Any], dict[str, Any]] | None = None,
) -> dict[str, Any]:
    """Build a graph, give its variables random values, save it, freeze it, and compare with its own reference.

    `build` returns the name of the output, the input, the reference of it in inference, and feeds for the reference.
    """
    with tf.Graph().as_default() as graph:
        output, source, reference, more = build()
        variables = v1.global_variables()
        saver = v1.train.Saver()
        with session(graph) as opened:
            for variable in variables:  # one may start from another
                opened.run(variable.initializer)
            for variable in variables:
                if variable.dtype.base_dtype.is_floating:
                    variable.load(RANDOM.uniform(0.5, 1.5, variable.shape.as_list()).astype("f4"), opened)
            prefix = saver.save(opened, str(folder / "model.ckpt"))
            x = RANDOM.standard_normal([d or 3 for d in source.shape.as_list()]).astype(source.dtype.as_numpy_dtype)
            wanted = opened.run(reference, {source: x, **more})
    done = freeze_model(f"{prefix}.meta", prefix, options)
    taken = [str(spec.ref) for spec in done.inputs]
    found = run(done.graph, [str(spec.ref) for spec in done.outputs], dict.fromkeys(taken, x))
    return {
        **compared(found, [wanted]),
        "inputs": taken,
        "repairs": sorted({r.what for r in done.repairs}),
        "ops": sorted({node.op for node in done.graph}),
        "devices": sorted({node.device for node in done.graph}),
        "output": output,
    }


def variable(name: str, shape: list[int], *, resource: bool, trainable: bool = True) -> Any:
    return v1.get_variable(name, shape, tf.float32, use_resource=resource, trainable=trainable)


def layer(x: Any, *, resource: bool) -> Any:
    return tf.nn.conv2d(x, variable("w", [3, 3, 2, CHANNELS], resource=resource), 1, "SAME")


def images() -> Any:
    return v1.placeholder(tf.float32, [None, 6, 6, 2], "x")


def norm_variables(*, resource: bool) -> list[Any]:
    names = ("gamma", "beta", "moving_mean", "moving_variance")
    return [variable(name, [CHANNELS], resource=resource, trainable=not name.startswith("moving")) for name in names]


def plain_norm(y: Any, mean: Any, variance: Any, beta: Any, gamma: Any) -> Any:
    return tf.nn.batch_normalization(y, mean, variance, beta, gamma, 1e-3)


def fused(*, resource: bool) -> tuple[str, Any, Any, dict[str, Any]]:
    x = images()
    y = layer(x, resource=resource)
    gamma, beta, mean, variance = norm_variables(resource=resource)
    z, batch_mean, batch_variance = v1.nn.fused_batch_norm(y, gamma, beta, epsilon=1e-3, is_training=True)
    moving_averages.assign_moving_average(mean, batch_mean, 0.9, zero_debias=False)
    moving_averages.assign_moving_average(variance, batch_variance, 0.9, zero_debias=False)
    tf.nn.relu(z, "out")
    reference, _, _ = v1.nn.fused_batch_norm(
        y, gamma, beta, mean=mean, variance=variance, epsilon=1e-3, is_training=False
    )
    return "out", x, tf.nn.relu(reference), {}


@case
def fused_batch_norm_of_reference_variables(folder: Path) -> dict[str, Any]:
    return trained(folder, lambda: fused(resource=False), Options(["out"]))


@case
def fused_batch_norm_of_resource_variables(folder: Path) -> dict[str, Any]:
    return trained(folder, lambda: fused(resource=True), Options(["out"]))


def moments(*, resource: bool, keep: bool) -> tuple[str, Any, Any, dict[str, Any]]:
    x = images()
    y = layer(x, resource=resource)
    gamma, beta, mean, variance = norm_variables(resource=resource)
    batch_mean, batch_variance = tf.nn.moments(y, [0, 1, 2], keepdims=keep)
    flat = (tf.squeeze(batch_mean), tf.squeeze(batch_variance)) if keep else (batch_mean, batch_variance)
    updates = [
        moving_averages.assign_moving_average(moving, batch, 0.9, zero_debias=False)
        for moving, batch in zip((mean, variance), flat, strict=True)
    ]
    with tf.control_dependencies([u.op if hasattr(u, "op") else u for u in updates]):
        z = plain_norm(y, batch_mean, batch_variance, beta, gamma)
    tf.nn.relu(z, "out")
    return "out", x, tf.nn.relu(plain_norm(y, mean, variance, beta, gamma)), {}


@case
def moments_with_updates_before_the_output(folder: Path) -> dict[str, Any]:
    return trained(folder, lambda: moments(resource=False, keep=False), Options(["out"]))


@case
def moments_that_keep_their_dimensions(folder: Path) -> dict[str, Any]:
    return trained(folder, lambda: moments(resource=True, keep=True), Options(["out"]))


@case
def averages_assigned_by_hand(folder: Path) -> dict[str, Any]:
    def build() -> tuple[str, Any, Any, dict[str, Any]]:
        x = images()
        y = layer(x, resource=False)
        gamma, beta, mean, variance = norm_variables(resource=False)
        batch_mean, batch_variance = tf.nn.moments(y, [0, 1, 2])
        decay = 0.999
        train_mean = v1.assign(mean, mean * decay + batch_mean * (1 - decay))
        train_variance = v1.assign(variance, variance * decay + batch_variance * (1 - decay))
        with tf.control_dependencies([train_mean, train_variance]):
            z = plain_norm(y, batch_mean, batch_variance, beta, gamma)
        tf.identity(z, "out")
        return "out", x, plain_norm(y, mean, variance, beta, gamma), {}

    return trained(folder, build, Options(["out"]))


def by_average(*, flag: bool, debias: bool = False) -> tuple[str, Any, Any, dict[str, Any]]:
    """The batch norm that was copied from question to question: an ExponentialMovingAverage of the moments."""
    x = images()
    y = layer(x, resource=False)
    gamma, beta = norm_variables(resource=False)[:2]
    phase = v1.placeholder(tf.bool, [], "phase_train") if flag else None
    batch_mean, batch_variance = tf.nn.moments(y, [0, 1, 2], name="moments")
    ema = v1.train.ExponentialMovingAverage(0.5, zero_debias=debias)

    def with_update() -> tuple[Any, Any]:
        with tf.control_dependencies([apply]):
            return tf.identity(batch_mean), tf.identity(batch_variance)

    apply = ema.apply([batch_mean, batch_variance])
    averages = ema.average(batch_mean), ema.average(batch_variance)
    mean, variance = with_update() if phase is None else v1.cond(phase, with_update, lambda: averages)
    tf.identity(plain_norm(y, mean, variance, beta, gamma), "out")
    return "out", x, plain_norm(y, *averages, beta, gamma), {}


@case
def an_average_object_without_a_flag(folder: Path) -> dict[str, Any]:
    return trained(folder, lambda: by_average(flag=False), Options(["out"]))


@case
def an_average_object_that_takes_out_its_bias(folder: Path) -> dict[str, Any]:
    return trained(folder, lambda: by_average(flag=False, debias=True), Options(["out"]))


@case
def a_conditional_between_batch_and_average(folder: Path) -> dict[str, Any]:
    v1.disable_control_flow_v2()
    try:
        return trained(folder, lambda: by_average(flag=True), Options(["out"]))
    finally:
        v1.enable_control_flow_v2()


@case
def a_functional_conditional_between_batch_and_average(folder: Path) -> dict[str, Any]:
    v1.enable_control_flow_v2()
    return trained(folder, lambda: by_average(flag=True), Options(["out"]))


def dropped(drop: Callable[[Any], Any]) -> Callable[[], tuple[str, Any, Any, dict[str, Any]]]:
    def build() -> tuple[str, Any, Any, dict[str, Any]]:
        x = images()
        y = layer(x, resource=True)
        tf.nn.relu(drop(y), "out")
        return "out", x, tf.nn.relu(y), {}

    return build


def by_floor(y: Any, keep: float = 0.6) -> Any:
    return y * tf.floor(keep + tf.random.uniform(tf.shape(y))) / keep


@case
def dropout_of_a_constant_rate(folder: Path) -> dict[str, Any]:
    return trained(folder, dropped(lambda y: tf.nn.dropout(y, 0.4)), Options(["out"]))


@case
def dropout_by_floor(folder: Path) -> dict[str, Any]:
    return trained(folder, dropped(by_floor), Options(["out"]))


@case
def dropout_by_a_cast_mask(folder: Path) -> dict[str, Any]:
    def drop(y: Any) -> Any:
        return y * (1 / (1 - 0.4)) * tf.cast(tf.random.uniform(tf.shape(y)) >= 0.4, tf.float32)

    return trained(folder, dropped(drop), Options(["out"]))


@case
def dropout_by_select(folder: Path) -> dict[str, Any]:
    def drop(y: Any) -> Any:
        return v1.where(tf.random.uniform(tf.shape(y)) < 0.8, y / 0.8, tf.zeros_like(y))

    return trained(folder, dropped(drop), Options(["out"]))


@case
def dropout_of_a_placeholder(folder: Path) -> dict[str, Any]:
    def drop(y: Any) -> Any:
        return v1.nn.dropout(y, keep_prob=v1.placeholder(tf.float32, [], "keep_prob"))

    return trained(folder, dropped(drop), Options(["out"]))


@case
def a_conditional_around_dropout(folder: Path) -> dict[str, Any]:
    def drop(y: Any) -> Any:
        flag = v1.placeholder_with_default(np.array(0, bool), [], "keras_learning_phase")
        return v1.cond(flag, lambda: tf.nn.dropout(y, 0.4), lambda: tf.identity(y))

    return trained(folder, dropped(drop), Options(["out"]))


@case
def checks_prints_summaries_and_pins(folder: Path) -> dict[str, Any]:
    def build() -> tuple[str, Any, Any, dict[str, Any]]:
        x = images()
        with tf.device("/device:GPU:0"):
            y = layer(x, resource=False)
        y = v1.Print(tf.debugging.check_numerics(y, "bad"), [y], "y")
        checks = [tf.debugging.assert_rank(y, 4), v1.assert_less(tf.reduce_mean(y), 1e9), tf.print("y", y)]
        with tf.control_dependencies([*(c for c in checks if c is not None), v1.summary.histogram("y", y).op]):
            z = tf.identity(y)
        tf.nn.relu(z, "out")
        with tf.device("/device:CPU:0"):
            reference = tf.nn.relu(tf.nn.conv2d(x, v1.global_variables()[0], 1, "SAME"))
        return "out", x, reference, {}

    return trained(folder, build, Options(["out"]))


def piped(deliver: Callable[[], Any]) -> Callable[[], tuple[str, Any, Any, dict[str, Any]]]:
    def build() -> tuple[str, Any, Any, dict[str, Any]]:
        x = deliver()
        y = layer(x, resource=False)
        tf.nn.relu(y, "out")
        return "out", x, tf.nn.relu(y), {}

    return build


@case
def a_queue(folder: Path) -> dict[str, Any]:
    def deliver() -> Any:
        queue = v1.FIFOQueue(8, [tf.float32, tf.int32], [[6, 6, 2], []])
        v1.train.add_queue_runner(v1.train.QueueRunner(queue, [queue.enqueue([tf.zeros([6, 6, 2]), 1])]))
        return queue.dequeue_many(3)[0]

    return trained(folder, piped(deliver), Options(["out"]))


@case
def an_iterator(folder: Path) -> dict[str, Any]:
    def deliver() -> Any:
        data = v1.data.Dataset.from_tensors((tf.zeros([6, 6, 2]), 1)).batch(3, drop_remainder=True)
        return v1.data.make_initializable_iterator(data).get_next()[0]

    return trained(folder, piped(deliver), Options(["out"]))


@case
def averages_of_the_weights(folder: Path) -> dict[str, Any]:
    def build() -> tuple[str, Any, Any, dict[str, Any]]:
        x = images()
        y = layer(x, resource=False)
        tf.nn.relu(y, "out")
        ema = v1.train.ExponentialMovingAverage(0.9, name="polyak")  # not the name that is looked for
        weights = v1.trainable_variables()[0]
        ema.apply([weights])
        return "out", x, tf.nn.relu(tf.nn.conv2d(x, ema.average(weights), 1, "SAME")), {}

    return trained(folder, build, Options(["out"], averages=True))


# --- real models -----------------------------------------------------------------------------------------------------


def restored(
    folder: Path, meta: Path, prefix: Path, fetch: str, feeds: dict[str, Any], options: Options
) -> dict[str, Any]:
    with tf.Graph().as_default() as graph:
        definition = v1.MetaGraphDef.FromString(meta.read_bytes())
        definition.meta_info_def.tensorflow_version = ""  # "0.12.head" is no version to TensorFlow 2
        saver = v1.train.import_meta_graph(definition, clear_devices=True)
        with session(graph) as opened:
            saver.restore(opened, str(prefix))
            wanted = opened.run([fetch], feeds)
    done = freeze_model(meta, prefix, options)
    write_graph(done.graph, folder / "frozen.pb")
    taken = {str(spec.ref): value for spec, value in zip(done.inputs, feeds.values(), strict=True)}
    return {**compared(run(done.graph, [fetch], taken), wanted), "repairs": sorted({r.what for r in done.repairs})}


@case
def zoo_cifar(folder: Path) -> dict[str, Any]:
    prefix = ZOO / "ckpt_v2_meta/mlnet_cifar/model.ckpt"
    x = RANDOM.standard_normal((2, 32, 32, 3)).astype("f4")
    return restored(folder, prefix.with_name("model.ckpt.meta"), prefix, "add_1:0", {"Input:0": x}, Options())


@case
def zoo_steering(folder: Path) -> dict[str, Any]:
    prefix = ZOO / "ckpt_v1/steering_angle_matched/model.ckpt"
    x = RANDOM.random((1, 480, 640, 3)).astype("f4")
    options = Options(["linear_regression/add"])
    return restored(
        folder, prefix.with_name("model.ckpt.meta"), prefix, "linear_regression/add:0", {"batch:0": x}, options
    )


@case
def zoo_half_plus_two(folder: Path) -> dict[str, Any]:
    home = ZOO / "ckpt_v1/session_bundle_half_plus_two_serving/00000123"
    x = np.arange(5, dtype="f4").reshape(5, 1)
    options = Options(["y"], ["x"])
    prefix = home / "export-00000-of-00001"
    return restored(folder, home / "export.meta", prefix, "y:0", {"x:0": x}, options)


@case
def zoo_tfprof(folder: Path) -> dict[str, Any]:
    prefix = ZOO / "ckpt_v2_meta/tf_tfprof_2017/ckpt"
    return restored(folder, Path(f"{prefix}.meta"), prefix, "conv2d_2/BiasAdd:0", {}, Options())


@case
def zoo_profiler(folder: Path) -> dict[str, Any]:
    prefix = ZOO / "ckpt_v2_meta/tf_profiler/ckpt"
    return restored(folder, Path(f"{prefix}.meta"), prefix, "Conv2D_1:0", {}, Options())


def refrozen(path: Path, feeds: dict[str, Any], phases: dict[str, Any], fetch: str) -> dict[str, Any]:
    from tfinspect.api.freeze import plan_file

    original = v1.GraphDef.FromString(path.read_bytes())
    with tf.Graph().as_default() as graph:
        tf.import_graph_def(original, name="")
        with session(graph) as opened:
            wanted = opened.run([fetch], {**feeds, **phases})
    done = plan_file(path, None, Options()).done()
    found = run(done.graph, [fetch], feeds)
    names = {node.name for node in done.graph}
    return {
        **compared(found, wanted),
        "repairs": sorted({r.what for r in done.repairs}),
        "ops": sorted({node.op for node in done.graph}),
        "phases_left": [
            name for name in phases if name.partition(":")[0] in names and name in {str(s.ref) for s in done.inputs}
        ],
    }


@case
def zoo_sentiment(folder: Path) -> dict[str, Any]:
    del folder
    path = ZOO / "frozen_pb/chen0040_sentiment_bilstm/bidirectional_lstm_softmax.pb"
    x = RANDOM.integers(0, 1000, (3, 42)).astype("f4")
    phases = {"spatial_dropout1d_1/keras_learning_phase:0": False}
    return refrozen(path, {"embedding_1_input:0": x}, phases, "output_node0:0")


@case
def zoo_segmenter(folder: Path) -> dict[str, Any]:
    del folder
    x = RANDOM.integers(0, 500, (2, 9)).astype("i4")
    feeds = {"char_inputs:0": x, "lengths:0": np.array([9, 6], "i4")}
    phases = {"dropout:0": 1.0, "input_dropout_keep_prob:0": 1.0}
    return refrozen(ZOO / "frozen_pb/foolnltk/seg.pb", feeds, phases, "project/logits:0")


def drawn(name: str, shape: tuple[int, ...]) -> Any:
    """Values that keep activations near one: scaled by what goes into a filter, variances above zero."""
    if "variance" in name or "gamma" in name:
        return RANDOM.uniform(0.5, 1.5, shape)
    return RANDOM.standard_normal(shape) / np.sqrt(max(1, int(np.prod(shape[:-1]))))


def synthetic(graph: Graph, shapes: dict[str, tuple[int, ...]]) -> Checkpoint:
    """A checkpoint of random values for the variables of a graph."""
    kinds = {n.name: n.dtype("dtype") or DType.FLOAT for n in graph if n.op in ("VarHandleOp", "VariableV2")}
    values = {name: drawn(name, shapes[name]).astype(kind.numpy) for name, kind in kinds.items()}
    infos = {name: VariableInfo(name, kinds[name], v.shape, v.nbytes) for name, v in values.items()}
    return Checkpoint("synthetic", "checkpoint_v2", infos, lambda name: Tensor.of(values[name], kinds[name]))


@case
def zoo_resnet_training(folder: Path) -> dict[str, Any]:
    """ResNet-50 as Keras trains it on a GPU: channels come first, which no CPU kernel takes, so it is imported only."""
    from tfinspect.api.load import open_graph

    del folder
    model = open_graph(ZOO / "pbtxt/tf_jit_tests/keras_imagenet_main_graph_mode.pbtxt")
    assert model.graph is not None
    shapes = {n.name: tuple(d or 1 for d in n.shape() or ()) for n in model.graph if n.op == "VarHandleOp"}
    values = synthetic(model.graph, shapes)
    done = freeze_model(model, values, Options(["activation_49_1/Softmax"], ["_identity_input_1_1_0"]))
    definition = v1.GraphDef.FromString(b"".join(map(bytes, graphdef.encode(done.graph))))
    with tf.Graph().as_default() as imported:
        tf.import_graph_def(definition, name="")
        shape = imported.get_tensor_by_name("activation_49_1/Softmax:0").shape.as_list()
    norms = [n for n in done.graph if n.op == "FusedBatchNorm"]
    paired = [
        n.name
        for n in norms
        if [r.name.rpartition("/moving/read")[0] for r in n.data_inputs[3:5]]
        != [f"{n.name.rpartition('_1/')[0]}/{leaf}" for leaf in ("moving_mean", "moving_variance")]
    ]
    return {
        "shape": shape,
        "norms": len(norms),
        "training": [n.name for n in norms if n.value("is_training")],
        "wrongly_paired": paired,
        "variables": len(done.report.restored),
        "repairs": sorted({r.what for r in done.repairs}),
    }


@case
def zoo_resnet_partition(folder: Path) -> dict[str, Any]:
    """The same net as the runtime holds it: arguments for inputs, half precision, names of arguments for variables."""
    from tfinspect.api.load import open_graph
    from tfinspect.surgery.partition_ends import plain_ends

    del folder
    model = open_graph(ZOO / "pbtxt/tf_jit_tests/keras_imagenet_main.pbtxt")
    assert model.graph is not None
    plain, _ = plain_ends(model.graph)
    values = synthetic(plain, {n.name: (1,) for n in plain if n.op == "VarHandleOp"})
    done = freeze_model(model, values, Options(["activation_49_1/Softmax"]))
    definition = v1.GraphDef.FromString(b"".join(map(bytes, graphdef.encode(done.graph))))
    for node in definition.node:  # the shapes of this graph's variables are nowhere to be had
        if node.op == "Const" and node.name in done.report.restored:
            node.op = "Placeholder"
            del node.attr["value"]
    with tf.Graph().as_default():
        tf.import_graph_def(definition, name="")
    norms = [n for n in done.graph if n.op == "FusedBatchNormV2"]
    return {
        "norms": len(norms),
        "training": [n.name for n in norms if n.value("is_training")],
        "variables": len(done.report.restored),
        "inputs": [str(spec.ref) for spec in done.inputs],
        "repairs": sorted({r.what for r in done.repairs}),
    }


@case
def zoo_inception_training(folder: Path) -> dict[str, Any]:
    """Inception v3 as a Hub retraining left it, with random values under the names its restore nodes ask for."""
    from tests.checkpoint_writers import write_bundle

    meta = ZOO / "meta_only/tfnet_graphs/InceptionV3.meta"
    fetch = "module_apply_default/hub_output/feature_vector/SpatialSqueeze:0"
    x = RANDOM.random((1, 299, 299, 3)).astype("f4")
    definition = v1.MetaGraphDef.FromString(meta.read_bytes())
    nodes = {node.name: node for node in definition.graph_def.node}
    variables = [node for node in nodes.values() if node.op == "VarHandleOp"]
    arrays = {
        n.attr["shared_name"].s.decode(): drawn(n.name, tuple(d.size for d in n.attr["shape"].shape.dim)).astype("f4")
        for n in variables
    }
    prefix = folder / "model.ckpt"
    write_bundle(prefix, arrays)
    with tf.Graph().as_default() as graph:
        tf.import_graph_def(definition.graph_def, name="")
        with session(graph) as opened:
            opened.run("save/restore_all", {"save/Const:0": str(prefix)})
            wanted = opened.run([fetch], {"Placeholder:0": x})
    done = freeze_model(meta, prefix, Options([fetch]))
    found = run(done.graph, [fetch], {str(done.inputs[0].ref): x})
    return {
        **compared(found, wanted),
        "variables": len(done.report.restored),
        "repairs": sorted({r.what for r in done.repairs}),
    }


# --- old ops ---------------------------------------------------------------------------------------------------------

F = Attr.of(DType.FLOAT)
SQUARE = (RANDOM.standard_normal((2, 3, 3)) + 4 * np.eye(3)).astype("f4")
SYMMETRIC = (SQUARE @ SQUARE.transpose(0, 2, 1)).astype("f4")
PICTURE = RANDOM.uniform(0, 255, (2, 4, 5, 3)).astype("f4")


def array(name: str, value: Any) -> Node:
    return const(name, Tensor.of(np.asarray(value)))


def old(op: str, value: Any, *more: Any, outputs: int = 1, typed: bool = True, **attrs: Attr) -> dict[str, Any]:
    """Run an op where it is accepted, and what becomes of it where it is not; both by TensorFlow."""
    value = np.asarray(value)
    feed = placeholder("x", DType.from_numpy(value.dtype), value.shape)
    rest = [array(f"c{k}", v) for k, v in enumerate(more)]
    kinds = {"T": Attr.of(DType.from_numpy(value.dtype))} if typed else {}
    node = Node("y", op, ("x", *(n.name for n in rest)), {**kinds, **attrs})
    graphs = [Graph([feed, *rest, node], versions=Versions(producer)) for producer in (1, 1087)]
    fetches = [f"y:{k}" for k in range(outputs)]
    new, repairs, notes = current_vocabulary(graphs[1])
    found = run(new, fetches, {"x:0": value})
    wanted = run(graphs[0], fetches, {"x:0": value})
    return {**compared(found, wanted), "repairs": [str(r) for r in repairs], "notes": notes}


@case
def old_linear_algebra(folder: Path) -> dict[str, Any]:
    del folder
    rows = {
        "BatchCholesky": old("BatchCholesky", SYMMETRIC),
        "BatchMatrixDeterminant": old("BatchMatrixDeterminant", SQUARE),
        "BatchMatrixInverse": old("BatchMatrixInverse", SQUARE),
        "BatchMatrixSolve": old("BatchMatrixSolve", SQUARE, SQUARE, adjoint=Attr.of(value=True)),
        "BatchMatrixTriangularSolve": old("BatchMatrixTriangularSolve", SQUARE, SQUARE),
        "BatchMatrixSolveLs": old("BatchMatrixSolveLs", SQUARE, SQUARE, np.float64(0.1)),
        "BatchSelfAdjointEigV2": old("BatchSelfAdjointEigV2", SYMMETRIC, outputs=2),
        "BatchSelfAdjointEig": old("BatchSelfAdjointEig", SYMMETRIC),
        "SelfAdjointEig": old("SelfAdjointEig", SYMMETRIC[0]),
        "BatchSvd": old("BatchSvd", SQUARE, outputs=3),
        "BatchMatrixDiag": old("BatchMatrixDiag", SQUARE[0]),
        "BatchMatrixDiagPart": old("BatchMatrixDiagPart", SQUARE),
        "BatchMatrixSetDiag": old("BatchMatrixSetDiag", SQUARE, SQUARE[:, 0]),
        "BatchMatrixBandPart": old("BatchMatrixBandPart", SQUARE, np.int64(1), np.int64(0)),
    }
    return {"rows": rows}


@case
def old_arrays_and_pictures(folder: Path) -> dict[str, Any]:
    del folder
    volume = RANDOM.standard_normal((1, 3, 4, 4, 2)).astype("f4")
    kernel = RANDOM.standard_normal((2, 2, 2, 2, 3)).astype("f4")
    gradient = RANDOM.standard_normal((1, 3, 4, 4, 3)).astype("f4")
    strides = {"strides": Attr.ints([1, 1, 1, 1, 1]), "padding": Attr.of("SAME")}
    spread = {"input_min": Attr.of(-3.0), "input_max": Attr.of(3.0), "range_given": Attr.of(value=True)}
    rows = {
        "QuantizeAndDequantize": old("QuantizeAndDequantize", SQUARE, **spread),
        "AdjustContrast": old("AdjustContrast", PICTURE, np.float32(1.7), np.float32(10), np.float32(240)),
        "AdjustContrast of bytes": old(
            "AdjustContrast", PICTURE.astype("u1"), np.float32(0.6), np.float32(0), np.float32(255)
        ),
        "Conv3DBackpropInput": old("Conv3DBackpropInput", volume, kernel, gradient, **strides),
        "Conv3DBackpropFilter": old("Conv3DBackpropFilter", volume, kernel, gradient, **strides),
    }
    return {"rows": rows}


@case
def old_transforms(folder: Path) -> dict[str, Any]:
    """`Batch*FFT*` has lost its kernels: NumPy knows what it computed."""
    del folder
    value = (RANDOM.standard_normal((2, 4, 4)) + 1j * RANDOM.standard_normal((2, 4, 4))).astype("c8")
    graph = Graph(
        [placeholder("x", DType.COMPLEX64, (2, 4, 4)), Node("y", "BatchIFFT2D", ("x",))], versions=Versions(10)
    )
    new, _, _ = current_vocabulary(graph)
    (found,) = run(new, ["y:0"], {"x:0": value})
    top, _, _ = current_vocabulary(
        Graph([placeholder("x", DType.FLOAT, (2, 5)), Node("y", "TopK", ("x",), {"T": F, "k": Attr.of(2)})])
    )
    row = RANDOM.standard_normal((2, 5)).astype("f4")
    values, places = run(top, ["y:0", "y:1"], {"x:0": row})
    order = np.argsort(-row, axis=1)[:, :2]
    return {
        "error": float(np.abs(found - np.fft.ifft2(value)).max()),
        "top": bool((places == order).all() and (values == np.take_along_axis(row, order, 1)).all()),
    }


@case
def old_tensor_arrays(folder: Path) -> dict[str, Any]:
    """A loop over an array of the second version, as TensorFlow 0.12 to 1.0 wrote it, and a pack of the first."""
    del folder
    index, one = Attr.of(DType.INT32), {"dtype": F}
    sizes = [array("n", np.int32(3)), placeholder("x", DType.FLOAT, (3, 2)), array("flow", np.float32(0))]
    rows: dict[str, Any] = {}
    nodes = [
        *sizes,
        Node("a", "TensorArray", ("n",), one),
        Node("unpack", "TensorArrayUnpack", ("a", "x", "flow"), {"T": F}),
        Node("size", "TensorArraySize", ("a", "unpack")),
        array("last", np.int32(2)),
        Node("read", "TensorArrayRead", ("a", "last", "unpack"), one),
        Node("double", "Add", ("read", "read"), {"T": F}),
        Node("b", "TensorArray", ("n",), one),
        Node("write0", "TensorArrayWrite", ("b", "zero", "double", "flow"), {"T": F}),
        Node("write1", "TensorArrayWrite", ("b", "one", "read", "write0"), {"T": F}),
        Node("write2", "TensorArrayWrite", ("b", "last", "read", "write1"), {"T": F}),
        array("zero", np.int32(0)),
        array("one", np.int32(1)),
        Node("pack", "TensorArrayPack", ("b", "write2"), one),
        Node("y", "Identity", ("pack",), {"T": F}),
        Node("count", "Identity", ("size",), {"T": index}),
    ]
    x = RANDOM.standard_normal((3, 2)).astype("f4")
    new, repairs, _ = current_vocabulary(Graph(nodes, versions=Versions(1087)))
    y, count = run(new, ["y:0", "count:0"], {"x:0": x})
    rows["first"] = {
        "same_bits": bool((y == np.stack([2 * x[2], x[2], x[2]])).all() and count == 3),
        "repairs": len(repairs),
        "old": [n.op for n in new if n.op.startswith("TensorArray") and not n.op.endswith("V3")],
    }
    return {"rows": rows}


def main(folder: Path, wanted: list[str]) -> None:
    for name, function in CASES.items():
        if wanted and name not in wanted:
            continue
        home = folder / name
        home.mkdir(parents=True, exist_ok=True)
        try:
            answer = function(home)
        except Exception:  # noqa: BLE001 - told to the test of this case, which fails
            answer = {"failed": traceback.format_exc()}
        print(json.dumps({"case": name, **answer}), flush=True)  # noqa: T201 - read by the tests


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
