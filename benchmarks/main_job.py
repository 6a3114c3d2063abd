#!/usr/bin/env python3
"""Listing, freezing and exporting against the TensorFlow and tf2onnx ways, side by side in one run.

usage: python benchmarks/main_job.py GRAPH.pb [--repeat N] [--only nodes,vars,freeze,export]

GRAPH.pb is a frozen graph with the op set of the 2015 Inception-v3 (JPEG bytes in, batch norm in the old form), best at
its size of 95 MB. A checkpoint of the same network is made from it first. Prints one line a task: seconds and peak
memory of both, and the ratio.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

from measure import Measured, best

PYTHON = sys.executable
TFINSPECT = (PYTHON, "-m", "tfinspect")

LIST_NODES = """
import sys, tensorflow as tf
graph_def = tf.compat.v1.GraphDef()
with open(sys.argv[1], "rb") as file:
    graph_def.ParseFromString(file.read())
with tf.Graph().as_default() as graph:
    tf.import_graph_def(graph_def, name="")
    for op in graph.get_operations():
        print(op.name, op.type, [t.name for t in op.inputs])
"""
LIST_VARIABLES = """
import sys, tensorflow as tf
reader = tf.compat.v1.train.NewCheckpointReader(sys.argv[1])
for name, shape in sorted(reader.get_variable_to_shape_map().items()):
    print(name, shape, reader.get_variable_to_dtype_map()[name])
"""
FREEZE = """
import sys
from tensorflow.python.tools import freeze_graph
meta, checkpoint, outputs, target = sys.argv[1:]
freeze_graph.freeze_graph("", "", True, checkpoint, outputs, "", "", target, True, "", input_meta_graph=meta)
"""
MAKE_CHECKPOINT = """
import sys, tensorflow as tf
graph_def = tf.compat.v1.GraphDef.FromString(open(sys.argv[1], "rb").read())
v1 = tf.compat.v1
used = {name.split(":")[0] for n in graph_def.node for name in n.input}
floats = [n for n in graph_def.node if n.op == "Const" and n.name in used and n.attr["dtype"].type == 1]
weights = {n.name: tf.make_ndarray(n.attr["value"].tensor) for n in floats if n.attr["value"].tensor.tensor_shape.dim}
rest = v1.GraphDef()
rest.versions.CopyFrom(graph_def.versions)
rest.node.extend(n for n in graph_def.node if n.name not in weights)
with tf.Graph().as_default(), v1.Session() as session:
    variables = {k: v1.get_variable("v/" + k, initializer=v, use_resource=False) for k, v in weights.items()}
    tf.import_graph_def(rest, name="net", input_map={k: tf.identity(v) for k, v in variables.items()})
    session.run(v1.global_variables_initializer())
    v1.train.Saver().save(session, sys.argv[2])
"""


def main() -> None:
    """Run the tasks that were asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("graph", type=Path)
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--only", default="nodes,vars,freeze,export")
    options = parser.parse_args()
    tasks = options.only.split(",")
    graph = options.graph.resolve()
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        modern = folder / "modern.pb"
        _modernise(graph, modern)
        if "nodes" in tasks:
            ours = best([*TFINSPECT, "nodes", str(graph)], repeat=options.repeat)
            report("nodes", ours, best([PYTHON, "-c", LIST_NODES, str(graph)], repeat=options.repeat))
        prefix = folder / "model.ckpt"
        if {"vars", "freeze"} & set(tasks):
            best([PYTHON, "-c", MAKE_CHECKPOINT, str(modern), str(prefix)], repeat=1)
        if "vars" in tasks:
            ours = best([*TFINSPECT, "vars", str(prefix)], repeat=options.repeat)
            report("vars", ours, best([PYTHON, "-c", LIST_VARIABLES, str(prefix)], repeat=options.repeat))
        if "freeze" in tasks:
            target = str(folder / "frozen.pb")
            arguments = ["freeze", str(prefix), "--outputs", "net/softmax", "-o", target, "--force"]
            ours = best([*TFINSPECT, *arguments], repeat=options.repeat)
            theirs = [PYTHON, "-c", FREEZE, f"{prefix}.meta", str(prefix), "net/softmax", str(folder / "theirs.pb")]
            report("freeze", ours, best(theirs, repeat=options.repeat))
        if "export" in tasks:
            # without a check, on the graph whose old op was replaced already: what tf2onnx can do at best
            theirs = [
                PYTHON, "-m", "tf2onnx.convert", "--graphdef", str(modern), "--inputs", "Mul:0[1,299,299,3]",
                "--outputs", "softmax:0", "--output", str(folder / "theirs.onnx"),
            ]  # fmt: skip
            arguments = ["export", str(graph), "--onnx", "-o", str(folder / "ours.onnx"), "--force"]
            ours = best([*TFINSPECT, *arguments], repeat=options.repeat)
            report("export, checked", ours, best(theirs, repeat=options.repeat))


def _modernise(graph: Path, target: Path) -> None:
    from tfinspect import formats
    from tfinspect.surgery.modernize import modernize

    formats.write_graph(modernize(formats.read_graph(graph))[0], target)


def report(task: str, ours: Measured, theirs: Measured) -> None:
    """Print one line."""
    mib = 1 << 20
    print(
        f"{task:<16} ours {ours.seconds:6.2f} s {ours.peak_nbytes / mib:6.0f} MiB   theirs {theirs.seconds:6.2f} s "
        f"{theirs.peak_nbytes / mib:6.0f} MiB   {theirs.seconds / ours.seconds:5.1f} times faster, "
        f"time ratio {ours.seconds / theirs.seconds:.2f}, memory ratio {ours.peak_nbytes / theirs.peak_nbytes:.2f}"
    )


if __name__ == "__main__":
    main()
