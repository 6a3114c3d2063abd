"""Says what TensorFlow makes of SavedModels and of what freezing made of them; runs in a process of its own.

usage: python freeze_oracle.py FOLDER < JOBS > JSON

One job a line: {"case": NAME} saves the module NAME of this file in FOLDER first, {"path": PATH} takes a model as it is,
{"nest": SEED} makes a random graph (`nests.py`).
The answer maps each to what became of each of its signatures: "same", "differs by ...", or the refusal.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
os.environ["CUDA_VISIBLE_DEVICES"] = "-1"

import numpy as np
import tensorflow as tf
from tensorflow.core.framework.tensor_shape_pb2 import TensorShapeProto
from tensorflow.core.protobuf import saved_model_pb2

from tests import nests
from tfinspect.api import freeze as freezing
from tfinspect.errors import TfinspectError
from tfinspect.formats import graphdef
from tfinspect.ir.refs import TensorRef
from tfinspect.surgery.fold_variables import fold_variables
from tfinspect.surgery.prune import needed, reachable_functions

if TYPE_CHECKING:
    from collections.abc import Callable

v1 = tf.compat.v1
GONE = {"BoostedTreesBucketize"}  # ops without a kernel in today's TensorFlow
SCALARS_SINCE = 24  # version of graphs; before it an empty shape was an unknown one
X = tf.TensorSpec([None, 3], tf.float32, "x")
IDS = tf.TensorSpec([4], tf.int32, "ids")
WORDS = tf.TensorSpec([4], tf.string, "words")
_CASES: dict[str, Callable[[Path], tuple[tf.Module, Any]]] = {}


def case(make: Callable[[Path], tuple[tf.Module, Any]]) -> Callable[[Path], tuple[tf.Module, Any]]:
    _CASES[make.__name__] = make
    return make


class Weights(tf.Module):
    """Variables of several shapes and types, all different."""

    def __init__(self) -> None:
        super().__init__()
        random = np.random.default_rng(3)
        self.square = tf.Variable(random.normal(size=(3, 3)).astype("f"), name="square")
        self.other = tf.Variable(random.normal(size=(3, 3)).astype("f"), name="square")
        self.bias = tf.Variable(random.normal(size=3).astype("f"), name="bias")
        self.rows = tf.Variable(random.normal(size=(7, 3)).astype("f"), name="rows")
        self.batched = tf.Variable(random.normal(size=(4, 7)).astype("f"), name="batched")
        self.double = tf.Variable(random.normal(size=(3, 3)), name="double")
        self.step = tf.Variable(5, name="step", dtype=tf.int64)
        self.text = tf.Variable(["left", "right"], name="text")
        self.calls = tf.Variable(1.0, name="calls")


@case
def loop(_: Path) -> tuple[tf.Module, Any]:
    w = Weights()

    @tf.function(input_signature=[X])
    def run(x: Any) -> Any:
        for _ in tf.range(4):
            x = tf.tanh(x @ w.square + w.bias)
        return {"y": x, "again": x * w.calls}

    return w, run


@case
def branches(_: Path) -> tuple[tf.Module, Any]:
    w = Weights()

    @tf.function(input_signature=[X])
    def run(x: Any) -> Any:
        y = x @ w.square if tf.reduce_sum(x) > 0 else x - w.bias
        return {"y": y}

    return w, run


@case
def cases(_: Path) -> tuple[tf.Module, Any]:
    w = Weights()

    @tf.function(input_signature=[X, tf.TensorSpec([], tf.int32, "which")])
    def run(x: Any, which: Any) -> Any:
        chosen = tf.switch_case(
            which % 3,
            [lambda: x @ w.square, lambda: x @ w.other, lambda: tf.cast(tf.cast(x, tf.float64) @ w.double, tf.float32)],
        )
        return {"y": chosen}

    return w, run


@case
def two_call_sites(_: Path) -> tuple[tf.Module, Any]:
    """One function in a loop, called with variables of one type and of another."""
    w = Weights()

    @tf.function
    def times(x: Any, v: Any) -> Any:
        return tf.cast(tf.cast(x, v.dtype) @ v, tf.float32)

    @tf.function(input_signature=[X])
    def run(x: Any) -> Any:
        for _ in tf.range(2):
            x = tf.sin(times(x, w.square) + times(x, w.other) + times(x, w.double))
        return {"y": x}

    return w, run


@case
def nested(_: Path) -> tuple[tf.Module, Any]:
    w = Weights()

    @tf.function
    def inner(x: Any) -> Any:
        i = 0
        while tf.reduce_sum(tf.abs(x)) < 50.0 and i < 5:
            x = x @ w.square + w.bias
            if tf.reduce_max(x) > 3.0:
                x = x * w.calls - tf.gather(w.rows, [1])
            i += 1
        return x

    @tf.function(input_signature=[X])
    def run(x: Any) -> Any:
        for _ in tf.range(3):
            x = inner(x) if tf.reduce_min(x) < 0 else tf.tanh(inner(x) @ w.other)
        return {"y": x}

    return w, run


@case
def gathers(_: Path) -> tuple[tf.Module, Any]:
    """Every op that reads through a handle, in a loop and outside."""
    w = Weights()

    def read(ids: Any) -> Any:
        rows = tf.raw_ops.ResourceGather(resource=w.rows.handle, indices=ids, dtype=tf.float32)
        nd = tf.raw_ops.ResourceGatherNd(resource=w.rows.handle, indices=ids[:, tf.newaxis], dtype=tf.float32)
        batched = tf.raw_ops.ResourceGather(
            resource=w.batched.handle, indices=tf.stack([ids, ids], 1), dtype=tf.float32, batch_dims=1
        )
        shape = tf.cast(tf.raw_ops.VariableShape(input=w.rows.handle), tf.float32)
        known = tf.cast(tf.raw_ops.VarIsInitializedOp(resource=w.rows.handle), tf.float32)
        return rows + nd * shape[0] + tf.reduce_sum(batched, 1, keepdims=True) + known

    @tf.function(input_signature=[IDS])
    def run(ids: Any) -> Any:
        total = read(ids % 7)
        for _ in tf.range(2):
            total += read((ids + 1) % 7)
        return {"y": total}

    return w, run


@case
def other_types(_: Path) -> tuple[tf.Module, Any]:
    w = Weights()

    @tf.function(input_signature=[IDS])
    def run(ids: Any) -> Any:
        words = tf.gather(w.text, ids % 2)
        step = w.step if tf.reduce_sum(ids) > 0 else w.step * 2
        return {"words": words, "step": step + tf.cast(ids, tf.int64)}

    return w, run


@case
def parsing(_: Path) -> tuple[tf.Module, Any]:
    w = Weights()

    @tf.function(input_signature=[WORDS])
    def run(words: Any) -> Any:
        found = tf.io.parse_example(
            tf.where(words == "", words, b""),
            {
                "a": tf.io.FixedLenFeature([3], tf.float32, [1.0, 2.0, 3.0]),
                "b": tf.io.VarLenFeature(tf.int64),
                "c": tf.io.FixedLenFeature([], tf.int64, 7),
                "d": tf.io.RaggedFeature(tf.float32),
            },
        )
        return {
            "y": found["a"] @ w.square + tf.cast(found["c"], tf.float32)[:, tf.newaxis],
            "b": found["b"].dense_shape,
            "d": found["d"].row_splits,
        }

    return w, run


@case
def moving_average(_: Path) -> tuple[tf.Module, Any]:
    """Batch norm in training: the update is nobody's input."""
    w = Weights()

    @tf.function(input_signature=[X])
    def run(x: Any) -> Any:
        mean = tf.reduce_mean(x, 0)
        w.bias.assign_sub((w.bias - mean) * 0.1)
        return {"y": (x - mean) @ w.square}

    return w, run


@case
def update_in_a_branch(_: Path) -> tuple[tf.Module, Any]:
    w = Weights()

    @tf.function(input_signature=[X])
    def run(x: Any) -> Any:
        if tf.reduce_sum(x) > 0:
            w.bias.assign_add(tf.ones([3]))
            y = x @ w.square
        else:
            y = x
        return {"y": y}

    return w, run


@case
def loop_that_assigns(_: Path) -> tuple[tf.Module, Any]:
    w = Weights()

    @tf.function(input_signature=[X])
    def run(x: Any) -> Any:
        for _ in tf.range(3):
            w.bias.assign(w.bias * 2.0)
            x = x + w.bias
        return {"y": x}

    return w, run


@case
def read_after_update(_: Path) -> tuple[tf.Module, Any]:
    w = Weights()

    @tf.function(input_signature=[X])
    def run(x: Any) -> Any:
        w.calls.assign_add(1.0)
        return {"y": x * w.calls}

    return w, run


@case
def read_after_update_in_a_call(_: Path) -> tuple[tf.Module, Any]:
    w = Weights()

    @tf.function
    def count() -> None:
        w.calls.assign_add(1.0)

    @tf.function
    def scaled(x: Any) -> Any:
        return x * w.calls

    @tf.function(input_signature=[X])
    def run(x: Any) -> Any:
        count()
        return {"y": scaled(x)}

    return w, run


@case
def read_before_update(_: Path) -> tuple[tf.Module, Any]:
    w = Weights()

    @tf.function(input_signature=[X])
    def run(x: Any) -> Any:
        y = x * w.calls
        w.calls.assign_add(1.0)
        return {"y": y}

    return w, run


@case
def table_of_constants(_: Path) -> tuple[tf.Module, Any]:
    w = Weights()
    keys = tf.constant(["one", "two", "three"])
    w.table = tf.lookup.StaticHashTable(tf.lookup.KeyValueTensorInitializer(keys, tf.constant([1, 2, 3])), -1)

    @tf.function(input_signature=[WORDS])
    def run(words: Any) -> Any:
        found = w.table.lookup(tf.where(words == "", words, "two"))
        total = tf.gather(w.rows, found)
        for _ in tf.range(2):
            total += tf.gather(w.rows, w.table.lookup(tf.fill([4], "three")))
        return {"y": total, "size": w.table.size()}

    return w, run


@case
def table_of_a_file(folder: Path) -> tuple[tf.Module, Any]:
    w = Weights()
    file = folder / "words.txt"
    file.write_text("zero\none\ntwo words\nthree\n")
    w.table = tf.lookup.StaticVocabularyTable(
        tf.lookup.TextFileInitializer(
            str(file),
            tf.string,
            tf.lookup.TextFileIndex.WHOLE_LINE,
            tf.int64,
            tf.lookup.TextFileIndex.LINE_NUMBER,
        ),
        num_oov_buckets=2,
    )

    @tf.function(input_signature=[IDS])
    def run(ids: Any) -> Any:
        words = tf.gather(tf.constant(["zero", "two words", "three", "unknown"]), ids % 4)
        return {"y": w.table.lookup(words)}

    return w, run


@case
def table_of_columns(folder: Path) -> tuple[tf.Module, Any]:
    w = Weights()
    file = folder / "columns.csv"
    file.write_text("a,1.5,10\nb,-2e3,20\nc,.25,30\n")
    w.table = tf.lookup.StaticHashTable(
        tf.lookup.TextFileInitializer(str(file), tf.int64, 2, tf.float32, 1, delimiter=","), 0.0
    )

    @tf.function(input_signature=[IDS])
    def run(ids: Any) -> Any:
        return {"y": w.table.lookup(tf.cast(ids % 5, tf.int64) * 10)}

    return w, run


@case
def table_that_changes(_: Path) -> tuple[tf.Module, Any]:
    w = Weights()
    w.table = tf.lookup.experimental.MutableHashTable(tf.string, tf.float32, -1.0)
    w.table.insert(tf.constant(["one", "two"]), tf.constant([1.0, 2.0]))

    @tf.function(input_signature=[IDS])
    def run(ids: Any) -> Any:
        return {"y": w.table.lookup(tf.gather(tf.constant(["one", "two", "three"]), ids % 3))}

    return w, run


def save(name: str, folder: Path) -> Path:
    path = folder / name
    path.mkdir()
    module, run = _CASES[name](path)
    tf.saved_model.save(module, str(path / "model"), signatures={"serving_default": run})
    for file in path.glob("*.*"):  # files that became assets
        file.unlink()
    return path / "model"


# --- comparing -----------------------------------------------------------------------------------------------------


def session(graph: Any) -> Any:
    config = v1.ConfigProto(intra_op_parallelism_threads=1, inter_op_parallelism_threads=1)
    config.allow_soft_placement = True  # some are for a GPU
    config.graph_options.place_pruned_graph = True  # what is not run may need kernels that are no more
    config.graph_options.rewrite_options.disable_meta_optimizer = True
    config.graph_options.optimizer_options.opt_level = -1
    return v1.Session(graph=graph, config=config)


def value(info: Any, seed: int) -> Any:
    random = np.random.default_rng(seed)
    shape = [4 if d.size < 0 else d.size for d in info.tensor_shape.dim]
    dtype = tf.as_dtype(info.dtype)
    if dtype == tf.string:
        one = tf.train.Feature(float_list=tf.train.FloatList(value=[1.5]))
        example = tf.train.Example(features=tf.train.Features(feature={"x": one, "x2": one}))
        return np.full(shape, example.SerializeToString(), object)
    if dtype.is_floating:
        return random.normal(size=shape).astype(dtype.as_numpy_dtype)
    return random.integers(0, 2 if dtype == tf.bool else 9, size=shape).astype(dtype.as_numpy_dtype)


def sparse(info: Any) -> dict[str, Any]:
    """A sparse matrix of four rows, the first of which has a value."""
    names, dtype = info.coo_sparse, tf.as_dtype(info.dtype)
    one = b"7" if dtype == tf.string else 7
    return {
        names.values_tensor_name: np.full([1], one, dtype.as_numpy_dtype),
        names.indices_tensor_name: np.zeros([1, 2], np.int64),
        names.dense_shape_tensor_name: np.array([4, 1], np.int64),
    }


def difference(found: list[Any], expected: list[Any]) -> str:
    for a, b in zip(map(np.asarray, found), map(np.asarray, expected), strict=True):
        if a.dtype != b.dtype or a.shape != b.shape:
            return f"differs: {a.dtype} {a.shape}, not {b.dtype} {b.shape}"
        if a.dtype.kind in "OS":
            if a.tolist() != b.tolist():
                return "differs: other strings"
        elif a.tobytes() != b.tobytes():
            return f"differs by {np.max(np.abs(a.astype(float) - b.astype(float)))}"
    return "same"


def compare(path: Path) -> dict[str, str]:
    name = next(n for n in ("saved_model.pb", "saved_model.pbtxt") if (path / n).exists())
    model = saved_model_pb2.SavedModel()
    if name.endswith(".pb"):
        model.ParseFromString((path / name).read_bytes())
    else:
        from google.protobuf import text_format

        text_format.Parse((path / name).read_text(), model)
    meta = next((m for m in model.meta_graphs if "serve" in m.meta_info_def.tags), model.meta_graphs[0])
    answers: dict[str, str] = {}
    original = Restored(path, list(meta.meta_info_def.tags))
    for key, signature in sorted(meta.signature_def.items()):
        if key == "__saved_model_init_op" or not signature.outputs:
            continue
        fetches = sorted({full(info.name) for info in signature.outputs.values() if info.name})
        placeholders = {n.name: n.attr["dtype"].type for n in meta.graph_def.node if n.op.startswith("Placeholder")}
        scalars = {
            n.name
            for n in meta.graph_def.node
            if n.name in placeholders and meta.graph_def.versions.producer >= SCALARS_SINCE
            if "shape" in n.attr and not n.attr["shape"].shape.unknown_rank and not n.attr["shape"].shape.dim
        }
        feeds: dict[str, Any] = {}
        for seed, (_, info) in enumerate(sorted(signature.inputs.items())):
            first = info.coo_sparse.values_tensor_name or info.name
            if signature.method_name.endswith("eval") and first.split(":")[0] not in placeholders:
                continue  # the features inside a model that is to be evaluated, for looking at them
            if not info.dtype:  # 2016 did not say
                info.dtype = placeholders[first.split(":")[0]]
            if not info.tensor_shape.dim and first.split(":")[0] not in scalars:
                dims = [-1] if first.split(":")[0] in placeholders else [-1, 1]
                info.tensor_shape.dim.extend(TensorShapeProto.Dim(size=d) for d in dims)
            feeds |= (
                sparse(info) if info.WhichOneof("encoding") == "coo_sparse" else {full(info.name): value(info, seed)}
            )
        answers[key] = judge(path, original, fetches, feeds)
    return answers


def full(name: str) -> str:
    return name if ":" in name else f"{name}:0"


def ref_of(name: str) -> TensorRef:
    return TensorRef.parse(name)


class Restored:
    """A SavedModel as TensorFlow restores it, if it can."""

    def __init__(self, path: Path, tags: list[str]) -> None:
        graph = tf.Graph()
        self.why = ""
        self._prefix = path / "variables" / "variables"
        with graph.as_default():
            self._session = session(graph)
            try:
                self._saver = v1.saved_model.load(self._session, tags, str(path)).saver_def
            except Exception as error:  # noqa: BLE001 - whatever it is that TensorFlow has against a model
                self.why = told(error)

    def run(self, fetches: list[str], feeds: dict[str, Any]) -> list[Any] | str:
        if self.why:
            return self.why
        if self._saver.restore_op_name and self._prefix.parent.exists():  # what ran before may have changed something
            self._session.run(self._saver.restore_op_name, {self._saver.filename_tensor_name: str(self._prefix)})
        return attempt(self._session, fetches, feeds)


def told(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"


def attempt(running: Any, fetches: list[str], feeds: dict[str, Any]) -> list[Any] | str:
    """Return what a session gives, or what it says instead."""
    try:
        given: list[Any] = running.run(fetches, feeds)
    except Exception as error:  # noqa: BLE001 - the same
        return told(error)
    return given


def judge(path: Path, original: Restored, fetches: list[str], feeds: dict[str, Any]) -> str:
    try:
        frozen = freezing.freeze(path, outputs=fetches, inputs=list(feeds))
        kept = [name for name in fetches if not needs_what_is_gone(frozen, name)]
        if kept and len(kept) < len(fetches):
            fetches = kept
            frozen = freezing.freeze(path, outputs=fetches, inputs=list(feeds))
        encoded = b"".join(map(bytes, graphdef.encode(frozen)))
    except TfinspectError as error:
        return f"{type(error).__name__}: {error.message}"
    left = {node.op for node in frozen.nodes} | {n.op for f in frozen.functions.values() for n in f.body.nodes}
    wrong = {op for op in left if "Variable" in op or op.startswith(("Ref", "Assign", "Resource"))}
    if wrong:
        return f"left: {sorted(wrong)}"
    try:
        with tf.Graph().as_default() as imported:
            tf.import_graph_def(v1.GraphDef.FromString(encoded), name="")
    except (ValueError, KeyError) as error:
        return f"does not import: {told(error)}"
    if not kept:
        return "imports; needs what is gone"
    given = {name: array for name, array in feeds.items() if name.split(":")[0] in frozen}
    given |= {f"{name.replace(':', '_')}:0": a for name, a in feeds.items() if name.replace(":", "_") in frozen}
    expected = original.run(fetches, feeds)
    with session(imported) as running:
        found = attempt(running, fetches, given)
        again = attempt(running, fetches, given)  # tables are full now
    if isinstance(expected, str):
        return f"TensorFlow: {expected}; frozen: {found if isinstance(found, str) else 'runs'}"
    if isinstance(found, str) or isinstance(again, str):
        return f"does not run: {found if isinstance(found, str) else again}"
    first, second = difference(found, expected), difference(again, expected)
    return first if first != "same" else second


def needs_what_is_gone(frozen: Any, name: str) -> bool:
    return any(frozen.node(node).op in GONE for node in needed(frozen, [ref_of(name)]))


def compare_nest(seed: int) -> str:
    graph, checkpoint = nests.nest(seed)
    frozen, _ = fold_variables(graph, checkpoint, [ref_of("y")])
    called = {node.op for node in frozen.nodes} | {n.op for f in frozen.functions.values() for n in f.body.nodes}
    if any("Variable" in op or "PartitionedCall" in op for op in called):
        return f"left: {sorted(called)}"
    if len(frozen.functions) != len(reachable_functions(frozen.nodes, frozen.functions)):
        return "functions are left that nobody calls"
    x = {"x:0": np.random.default_rng(seed).normal(size=(2, 3)).astype("f")}
    results = []
    for each, start in ((graph, ["init"]), (frozen, [])):
        with tf.Graph().as_default() as imported:
            tf.import_graph_def(v1.GraphDef.FromString(b"".join(map(bytes, graphdef.encode(each)))), name="")
        with session(imported) as running:
            for name in start:
                running.run(name)
            results.append(running.run(["y:0"], x))
    return difference(results[1], results[0])


def main() -> None:
    folder = Path(sys.argv[1])
    answers: dict[str, dict[str, str]] = {}
    for line in sys.stdin:
        job = json.loads(line)
        if "nest" in job:
            answers[f"nest {job['nest']}"] = {"y": compare_nest(job["nest"])}
        elif "case" in job:
            answers[job["case"]] = compare(save(job["case"], folder))
        else:
            answers[job["path"]] = compare(Path(job["path"]))
    json.dump(answers, sys.stdout)


if __name__ == "__main__":
    main()
