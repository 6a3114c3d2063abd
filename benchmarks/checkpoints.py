#!/usr/bin/env python3
"""Listing checkpoints and counting their values, against TensorFlow's own reader and `cat`, side by side in one run.

usage: python benchmarks/checkpoints.py [--repeat N] [--variables N] [--mib N] [--only list,stats,write]

The inputs are generated in a temporary folder first: an index of 100,000 variables, and a checkpoint of 1 GiB in 32
variables. Each task is run in turn by both, so that what else the machine does meets both alike. Prints one line a
task: seconds and peak memory of both, and the ratio.

What took the time of the index, 100,000 entries, before and after (CPU seconds of one run): decoding 0.83, now 0.42;
roles and VariableInfo 0.71, now 0.64; printing 0.4, now 0.15. Decoding protobuf was thought to be most of it, and was a
fifth of the decoding; the rest was asking the message for one field after another. So an entry in TensorFlow's own form
is now matched by one regular expression, and dtype, shape, size and shard are decoded once for each set of them.

What counting takes for each float32 element, in blocks that stay in the cache (nanoseconds): min and max 0.11 each,
zeros 0.18, widening to float64 0.28, sum 0.23, subtracting the mean 0.19, squaring and adding 0.4; crc32c 0.18. The
blocks share one buffer, since asking for memory anew for each cost as much as all of that; and no BLAS is called, whose
threads and ours waited for each other for up to half a minute.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

from main_job import report
from measure import Measured, best

PYTHON = sys.executable
TFINSPECT = (PYTHON, "-m", "tfinspect")

MAKE = """
import sys, numpy as np, tensorflow as tf
prefix, kind, count = sys.argv[1], sys.argv[2], int(sys.argv[3])
random = np.random.default_rng(0)
if kind == "large":
    arrays = {f"block_{i}/kernel": random.standard_normal((2048, count // 2), dtype="f4") for i in range(32)}
else:
    arrays = {}
    for i in range(count // 4):
        scope = f"tower_{i % 7}/block_{i // 70}/layer_{i % 70}"
        arrays[f"{scope}/weights"] = arrays[f"{scope}/weights/Momentum"] = np.ones((3, i % 50), "f4")
        arrays[f"{scope}/biases"] = arrays[f"{scope}/biases/Momentum"] = np.ones(i % 50, "f4")
names = list(arrays)
tf.raw_ops.SaveV2(
    prefix=prefix, tensor_names=names, shape_and_slices=[""] * len(names), tensors=[arrays[name] for name in names]
)
"""
LIST = """
import sys, tensorflow as tf
reader = tf.train.load_checkpoint(sys.argv[1])
dtypes = reader.get_variable_to_dtype_map()
for name, shape in sorted(reader.get_variable_to_shape_map().items()):
    print(name, dtypes[name].name, shape)
"""
STATS = """
import sys, numpy as np, tensorflow as tf
reader = tf.train.load_checkpoint(sys.argv[1])
for name, shape in sorted(reader.get_variable_to_shape_map().items()):
    value = reader.get_tensor(name)
    finite = value if np.isfinite(value).all() else value[np.isfinite(value)]
    print(
        name, value.dtype, shape, finite.min(), finite.max(), finite.mean(dtype=np.float64),
        finite.std(dtype=np.float64), (value == 0).sum(), np.isnan(value).sum(), np.isinf(value).sum(),
    )
"""
WRITE = """
import sys, numpy as np, tensorflow as tf
reader = tf.train.load_checkpoint(sys.argv[1])
np.savez(sys.argv[2], **{name: reader.get_tensor(name) for name in reader.get_variable_to_shape_map()})
"""


def main() -> None:
    """Run the tasks that were asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--variables", type=int, default=100_000)
    parser.add_argument("--mib", type=int, default=1024)
    parser.add_argument("--only", default="list,stats,write")
    options = parser.parse_args()
    tasks = options.only.split(",")
    with tempfile.TemporaryDirectory() as scratch:
        many, large = Path(scratch, "many"), Path(scratch, "large")
        if "list" in tasks:
            best([PYTHON, "-c", MAKE, str(many), "many", str(options.variables)], repeat=1)
            compare("list", [*TFINSPECT, "vars", str(many)], [PYTHON, "-c", LIST, str(many)], options.repeat)
        if {"stats", "write"} & set(tasks):
            best([PYTHON, "-c", MAKE, str(large), "large", str(options.mib * 8)], repeat=1)
        if "stats" in tasks:
            ours = [*TFINSPECT, "vars", str(large), "--stats"]
            compare("stats", ours, [PYTHON, "-c", STATS, str(large)], options.repeat)
            compare("stats and cat", ours, ["cat", f"{large}.data-00000-of-00001"], options.repeat)
        if "write" in tasks:
            ours = [*TFINSPECT, "vars", str(large), "-f", "-o", str(Path(scratch, "ours.npz"))]
            theirs = [PYTHON, "-c", WRITE, str(large), str(Path(scratch, "theirs.npz"))]
            compare("write .npz", ours, theirs, options.repeat)


def compare(task: str, ours: list[str], theirs: list[str], repeat: int) -> None:
    """Run both in turn and print one line."""
    pairs = [(best(ours, repeat=1), best(theirs, repeat=1)) for _ in range(repeat)]
    report(task, _best_of([pair[0] for pair in pairs]), _best_of([pair[1] for pair in pairs]))


def _best_of(runs: list[Measured]) -> Measured:
    return Measured(min(run.seconds for run in runs), max(run.peak_nbytes for run in runs), 0)


if __name__ == "__main__":
    main()
