"""Does fine-tuning beat the head alone? Accuracy on photos that neither was trained on, over folds and seeds.

    python benchmarks/finetune.py MOBILENET.pb FLOWER_PHOTOS --bottleneck MobilenetV1/Logits/AvgPool_1a/AvgPool

Each fold is the test part once. Of the other photos a tenth of each class is for validation; on the rest the default
head of `train-head` is trained, and then the trunk and that head by `finetune` with its defaults. Both are judged on
the same test photos. One line a run, then the means.
"""

from __future__ import annotations

import argparse
import dataclasses
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np

from tfinspect.api.finetune import finetune
from tfinspect.api.trunk_parameters import Layers
from tfinspect.learn.finetune import Settings
from tfinspect.learn.images import image_folder


def parts(folder: str, folds: int, fold: int, seed: int) -> dict[str, str]:
    """Return the part of each photo, the share of each class the same in all of them."""
    found = {}
    photos = image_folder(folder)
    random = np.random.default_rng(seed)
    for label in range(len(photos.classes)):
        names = [file.name for file in photos.files if file.label == label]
        order = [names[number] for number in random.permutation(len(names))]
        rest = [name for place, name in enumerate(order) if place % folds != fold]
        found.update(dict.fromkeys(order, "test"))
        found.update(dict.fromkeys(rest, "train"))
        found.update(dict.fromkeys(rest[: max(1, round(len(rest) / 10))], "validation"))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("graph")
    parser.add_argument("photos")
    parser.add_argument("--bottleneck", required=True)
    parser.add_argument("--folds", type=int, default=5)
    parser.add_argument("--only", type=int, help="run so many folds only")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--first", type=int, default=0, help="the first seed; settings were searched on those from 100")
    parser.add_argument("--scope", action="append", default=[])
    parser.add_argument("--from", dest="start")
    for field in dataclasses.fields(Settings):
        if field.name not in {"seed", "augment"}:
            kind = float if field.name == "learning_rate" else type(field.default)
            parser.add_argument(f"--{field.name.replace('_', '-')}", type=kind, default=field.default)
    words = parser.parse_args()
    chosen = {f.name: getattr(words, f.name) for f in dataclasses.fields(Settings) if hasattr(words, f.name)}
    head, tuned, seconds = [], [], []
    with tempfile.TemporaryDirectory() as scratch:
        for seed in range(words.first, words.first + words.seeds):
            for fold in range(words.folds)[: words.only]:
                split = parts(words.photos, words.folds, fold, seed)
                start = time.perf_counter()
                done = finetune(
                    words.graph,
                    words.photos,
                    Path(scratch, "tuned.pb"),
                    bottleneck=words.bottleneck,
                    layers=Layers(words.start, tuple(words.scope)),
                    settings=Settings(**{**chosen, "seed": seed}),
                    split=split.__getitem__,
                    force=True,
                )
                seconds.append(time.perf_counter() - start)
                head.append(done.before["test"]["accuracy"])
                tuned.append(done.metrics["test"]["accuracy"])
                print(
                    f"seed {seed} fold {fold}: head alone {100 * head[-1]:.1f} %, fine-tuned {100 * tuned[-1]:.1f} % "
                    f"(epoch {done.best_epoch} of {len(done.epochs)}), {seconds[-1]:.0f} s",
                    flush=True,
                )
    gains = [b - a for a, b in zip(head, tuned, strict=True)]
    error = statistics.stdev(gains) / len(gains) ** 0.5 if len(gains) > 1 else float("nan")
    print(
        f"mean of {len(gains)} runs: head alone {100 * statistics.mean(head):.2f} %, "
        f"fine-tuned {100 * statistics.mean(tuned):.2f} %, "
        f"gain {100 * statistics.mean(gains):+.2f} points (standard error {100 * error:.2f}), "
        f"{statistics.mean(seconds):.0f} s a run"
    )


if __name__ == "__main__":
    main()
