#!/usr/bin/env python3
"""Bottleneck features: images a second against the tutorials' loop, and memory over a hundred thousand images.

usage: python benchmarks/features.py speed GRAPH.pb FOLDER --bottleneck T [--copies N] [--loop-images N]
       python benchmarks/features.py memory GRAPH.pb --bottleneck T [--images 400 100000]

`speed`: the tutorials compute features one image at a time: the bytes of a JPEG into Session.run, and where the graph
has no decoder, one more Session.run that decodes and resizes, as retrain.py had it. Both sides are timed from the first
image to the last, imports and loading left out, and run one after the other, twice. To run long enough each photo is
taken several times, with other bytes behind its end, so that no copy comes from the cache. Features of both are
compared.

`memory`: small JPEGs drawn by this script, each with content of its own; the highest sum of resident memory over the
whole process tree. A hundred thousand images take about 400 MB of disk while it runs.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from measure import run
from PIL import Image

from tfinspect.api.check_features import RTOL

PYTHON = sys.executable
TFINSPECT = (PYTHON, "-m", "tfinspect")

LOOP = """
import json, os, sys, time
os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
import numpy as np, tensorflow as tf
v1 = tf.compat.v1
path, bottleneck, recipe, files, target = sys.argv[1], sys.argv[2], json.loads(sys.argv[3]), sys.argv[4], sys.argv[5]
graph_def = v1.GraphDef.FromString(open(path, "rb").read())
names = {n.name for n in graph_def.node}
with tf.Graph().as_default() as graph, v1.Session() as session:
    tf.import_graph_def(graph_def, name="")
    tensor = graph.get_tensor_by_name(bottleneck)
    if "DecodeJpeg/contents" in names:
        def features(data):
            return session.run(tensor, {"DecodeJpeg/contents:0": data})
    else:
        jpeg = v1.placeholder(tf.string)
        pixels = tf.cast(tf.image.decode_jpeg(jpeg, channels=3), tf.float32)
        resized = v1.image.resize_bilinear(tf.expand_dims(pixels, 0), recipe["size"])
        ready = tf.multiply(tf.subtract(resized, recipe["mean"]), recipe["scale"])
        image = next(op for op in graph.get_operations() if op.type == "Placeholder").outputs[0]
        def features(data):
            return session.run(tensor, {image: session.run(ready, {jpeg: data})})
    names = open(files).read().split("\\n")
    features(open(names[0], "rb").read())
    rows = []
    start, used = time.perf_counter(), time.process_time()
    for name in names:
        with open(name, "rb") as file:
            rows.append(np.squeeze(features(file.read())))
    seconds, used = time.perf_counter() - start, time.process_time() - used
    np.save(target, np.stack(rows))
print(json.dumps({"rate": len(rows) / seconds, "cpu": used / len(rows) * 1000}))
"""


def main() -> None:
    """Run what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    modes = parser.add_subparsers(dest="mode", required=True)
    speed = modes.add_parser("speed")
    speed.add_argument("graph", type=Path)
    speed.add_argument("folder", type=Path)
    speed.add_argument("--copies", type=int, default=4)
    speed.add_argument("--loop-images", type=int, default=400)
    speed.add_argument("--repeat", type=int, default=2)
    memory = modes.add_parser("memory")
    memory.add_argument("graph", type=Path)
    memory.add_argument("--images", type=int, nargs="+", default=[400, 100_000])
    for each in (speed, memory):
        each.add_argument("--bottleneck", required=True)
        each.add_argument("--more", default="", help="further options of `tfinspect features`")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        (measure_speed if options.mode == "speed" else measure_memory)(options, Path(scratch))


def measure_speed(options: argparse.Namespace, scratch: Path) -> None:
    """Time both, and compare their features."""
    photos = sorted(p for p in options.folder.glob("*/*") if p.suffix in {".jpg", ".jpeg"})
    many = scratch / "many"
    for photo in photos:
        (many / photo.parent.name).mkdir(parents=True, exist_ok=True)
        for copy in range(options.copies):
            (many / photo.parent.name / f"{photo.stem}-{copy}.jpg").write_bytes(photo.read_bytes() + b"\0" * copy)
    step = max(1, len(photos) // options.loop_images)
    chosen = photos[::step]
    (scratch / "files").write_text("\n".join(map(str, chosen)))
    first = extract(options, many, scratch, "--limit", "10")  # converts the trunk and compares it with TensorFlow
    ratios = []
    for _ in range(options.repeat):
        done = subprocess.run(
            [
                *(PYTHON, "-c", LOOP, str(options.graph), first["bottleneck"], json.dumps(first["recipe"])),
                *(str(scratch / "files"), str(scratch / "loop.npy")),
            ],
            check=True,
            capture_output=True,
            text=True,
        )
        loop = json.loads(done.stdout)
        forget(scratch)
        used = processor_seconds()
        ours = extract(options, many, scratch)
        used = processor_seconds() - used
        again = processor_seconds()
        extract(options, many, scratch)  # from the cache: what is not decoding and computing
        used -= processor_seconds() - again
        rate = ours["images_per_second"]
        ratios.append(rate / loop["rate"])
        print(
            f"loop {loop['rate']:7.1f} images/s, {loop['cpu']:6.2f} ms of processor an image   "
            f"tfinspect {rate:7.1f} images/s, {used / ours['computed'] * 1000:6.2f} ms   {ratios[-1]:.2f} times",
            flush=True,
        )
    wanted = np.load(scratch / "loop.npy")
    with np.load(scratch / "features.npz") as archive:
        rows = dict(zip(archive["files"].tolist(), archive["features"], strict=True))
    found = np.stack([rows[f"{photo.parent.name}/{photo.stem}-0.jpg"] for photo in chosen])
    deviation, largest = np.abs(found - wanted).max(), np.abs(wanted).max()
    accepted = RTOL * largest
    print(f"features of {len(chosen):,} images: largest deviation {deviation:.3g}, accepted {accepted:.3g}")
    print(f"best ratio {max(ratios):.2f}, worst {min(ratios):.2f}")
    if deviation > accepted:
        sys.exit("the features differ")


def processor_seconds() -> float:
    """Return what all child processes so far have used."""
    times = os.times()
    return times.children_user + times.children_system


def extract(options: argparse.Namespace, folder: Path, scratch: Path, *more: str) -> dict[str, Any]:
    """Run `tfinspect features` and return its answer."""
    done = subprocess.run(features_command(options, folder, scratch, *more), check=True, capture_output=True, text=True)
    return dict(json.loads(done.stdout))


def features_command(options: argparse.Namespace, folder: Path, scratch: Path, *more: str) -> list[str]:
    """Return the command that is measured."""
    return [
        *(*TFINSPECT, "features", str(options.graph), str(folder), "--bottleneck", options.bottleneck),
        *("-o", str(scratch / "features.npz"), "-f", "--json", "--cache", str(scratch / "cache")),
        *(*options.more.split(), *more),
    ]


def forget(scratch: Path) -> None:
    """Forget the features, not the converted trunk."""
    for rows in scratch.glob("cache/features/*/*.rows"):
        rows.unlink()


def measure_memory(options: argparse.Namespace, scratch: Path) -> None:
    """Print the peak memory for each number of images, computed and then from the cache."""
    folder = scratch / "images"
    draw(folder, min(options.images))
    extract(options, folder, scratch, "--limit", "10")
    for count in options.images:
        draw(folder, count)
        forget(scratch)
        for what in ("computed", "from the cache"):
            found = run(features_command(options, folder, scratch))
            if found.status:
                sys.exit(f"exit status {found.status}")
            size = (scratch / "features.npz").stat().st_size
            print(
                f"{count:8,} images {what:14} {found.seconds:7.1f} s   peak {found.peak_nbytes / 2**20:7.1f} MiB   "
                f"file {size / 2**20:.1f} MiB",
                flush=True,
            )
    shutil.rmtree(folder)


def draw(folder: Path, count: int) -> None:
    """Draw small JPEGs of two classes, up to a number of them; each has a content of its own."""
    drawn = []
    for shade in range(64):
        file = io.BytesIO()
        values = np.random.default_rng(shade).integers(0, 255, (8, 8, 3), np.uint8)
        Image.fromarray(values).resize((64, 64)).save(file, "JPEG")
        drawn.append(file.getvalue())
    for number in range(count):
        place = folder / f"class{number % 2}" / f"{number // 1000:03d}" / f"{number}.jpg"
        if not place.exists():
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(drawn[number % len(drawn)] + number.to_bytes(4, "little"))


if __name__ == "__main__":
    main()
