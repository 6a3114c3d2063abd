#!/usr/bin/env python3
"""Freezing large checkpoints to `.pb`, against `dd bs=4M conv=fsync` of the same bytes, side by side in one run.

usage: python benchmarks/freeze.py [--repeat N] [--mib N] [--folder F] [--only plain,many,...]

Checkpoint and graph are written to a temporary folder first (`--folder` says where), `--mib` of values each. Prints one
line a kind: seconds of both in turn, the ratio of the best, and the peak resident memory of our process, mapped pages
included, as the kernel counted it (`ru_maxrss`).

kind      the variables
plain     64 MiB each, float32
many      100,000 of 4 kB
half      64 MiB each, float16; bfloat16 likewise
strings   words of 12 bytes, 16 MiB each
parts     8 parts along the first axis of each, which are variables of the graph
columns   likewise along the last axis
tiles     one variable of the graph each, stored as 2 by 4 pieces
v1        64 MiB each, in the format of 2015; v1-half: in float16, which that stores as varints

What was found: of `plain`, crc32c takes 0.2 s a GiB and the rest is the disk's, at twice the time of `dd`. Parts of
variables were cut out of the whole of it, once for each part and in memory: 3 to 5 times the time, and the bound broken
by a variable of 300 MiB. Of `many`, the time goes into passes over 200,000 nodes, and so does the memory.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

PYTHON = sys.executable
MIB = 1 << 20
KINDS = ("plain", "many", "half", "bfloat16", "strings", "parts", "columns", "tiles", "v1", "v1-half")

# One list of pieces: name of the variable, shape-and-slice, value. The graph adds them all up, or joins them.
MAKE = """
import sys, numpy as np, tensorflow as tf
from tfinspect import formats
from tfinspect.ir.attrs import Attr
from tfinspect.ir.dtypes import DType
from tfinspect.ir.graph import Graph, Node, Versions

folder, kind, mib = sys.argv[1], sys.argv[2], int(sys.argv[3])
random = np.random.default_rng(0)
dtype = {"half": DType.HALF, "v1-half": DType.HALF, "bfloat16": DType.BFLOAT16, "strings": DType.STRING}.get(
    kind, DType.FLOAT
)
if kind == "many":
    shape, count = (1000,), 100_000
elif kind == "strings":
    shape, count = (16 * 2**20 // 12,), max(1, mib // 16)
else:
    shape, count = (4096, 64 * 2**20 // 4096 // dtype.itemsize), max(1, mib // 64)
grid = {"parts": (8, 1), "columns": (1, 8), "tiles": (2, 4)}.get(kind, (1, 1))

pieces, nodes, reads = [], [Node("x", "Placeholder", (), {"dtype": Attr.of(dtype)})], []

def variable(name, shape):
    nodes.append(
        Node(name, "VariableV2", (), {"dtype": Attr.of(dtype), "shape": Attr.of_shape(shape)})
    )
    nodes.append(Node(f"{name}/read", "Identity", (name,), {"T": Attr.of(dtype)}))
    reads.append(f"{name}/read")

def values(shape):
    if dtype is DType.STRING:
        return random.integers(10**11, 10**12, shape).astype("S12").astype(object)
    return random.standard_normal(shape, dtype="f4").astype(dtype.numpy)

for number in range(count):
    name = f"block_{number}/weights"
    if grid == (1, 1):
        variable(name, shape)
        pieces.append((name, "", values(shape)))
        continue
    part = tuple(size // n for size, n in zip(shape, grid))
    if kind == "tiles":
        variable(name, shape)
    for index in range(8):
        row, column = divmod(index, grid[1])
        spec = f"{shape[0]} {shape[1]} {row * part[0]},{part[0]}:{column * part[1]},{part[1]}"
        pieces.append((name, spec, values(part)))
        if kind != "tiles":
            variable(f"{name}/part_{index}", part)
attrs = {"N": Attr.of(len(reads)), "T": Attr.of(dtype)}
nodes.append(Node("joined", "IdentityN", tuple(reads), {}))
nodes.append(Node("out", "Identity", ("x", "^joined"), {"T": Attr.of(dtype)}))
formats.write_graph(Graph(nodes, versions=Versions(1000)), f"{folder}/graph.pb")
names, specs, tensors = zip(*pieces)
save = tf.raw_ops.SaveSlices if kind.startswith("v1") else tf.raw_ops.SaveV2
arguments = {"tensor_names": list(names), "tensors" if save is tf.raw_ops.SaveV2 else "data": list(tensors)}
if save is tf.raw_ops.SaveV2:
    save(prefix=f"{folder}/model.ckpt", shape_and_slices=list(specs), **arguments)
else:
    save(filename=f"{folder}/model.ckpt", shapes_and_slices=list(specs), **arguments)
"""


def main() -> None:
    """Freeze the kinds that were asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--mib", type=int, default=1536)
    parser.add_argument("--only", default=",".join(KINDS))
    parser.add_argument("--folder", type=Path, help="an existing folder on the disk to measure")
    options = parser.parse_args()
    for kind in options.only.split(","):
        with tempfile.TemporaryDirectory(dir=options.folder) as scratch:
            folder = Path(scratch)
            subprocess.run([PYTHON, "-c", MAKE, scratch, kind, str(options.mib)], check=True, stderr=subprocess.DEVNULL)
            measure(kind, folder, options.repeat)


def measure(kind: str, folder: Path, repeat: int) -> None:
    """Run both in turn and print one line."""
    target = folder / "frozen.pb"
    freeze = [PYTHON, "-m", "tfinspect", "freeze", str(folder / "model.ckpt"), "--graph", str(folder / "graph.pb")]
    ours, theirs, peak = [], [], 0
    for _ in range(repeat):
        target.unlink(missing_ok=True)
        seconds, nbytes = run([*freeze, "--outputs", "out", "-o", str(target)])
        ours.append(seconds)
        peak = max(peak, nbytes)
        copy = folder / "copy"
        theirs.append(run(["dd", f"if={target}", f"of={copy}", "bs=4M", "conv=fsync"])[0])
        copy.unlink()
    print(
        f"{kind:<9} {target.stat().st_size / MIB:6.0f} MiB   ours {min(ours):6.2f} s   dd {min(theirs):6.2f} s   "
        f"ratio {min(ours) / min(theirs):5.2f}   peak {peak / MIB:4.0f} MiB",
        flush=True,
    )


def run(command: list[str]) -> tuple[float, int]:
    """Return the seconds a command took and the most memory it had resident, in bytes.

    Raises:
        RuntimeError: it failed.
    """
    start = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    said = process.stderr.read() if process.stderr else b""
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if status:
        raise RuntimeError(f"{' '.join(command)} exited {process.returncode}: {said.decode()}")
    return time.perf_counter() - start, usage.ru_maxrss * 1024


if __name__ == "__main__":
    main()
