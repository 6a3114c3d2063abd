"""Training of a head on bottleneck features, and what is written about it."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from tfinspect import formats
from tfinspect.errors import OutputError, RuntimeUnavailableError, WrongKindError, counted
from tfinspect.formats import _atomic
from tfinspect.ir.features import SPLITS, Features
from tfinspect.ir.head import DenseHead, DenseLayer
from tfinspect.ir.tensors import Tensor
from tfinspect.learn.metrics import evaluate, mistakes
from tfinspect.learn.regime import regime
from tfinspect.learn.settings import Settings, check_settings
from tfinspect.learn.train import train

if TYPE_CHECKING:
    from collections.abc import Callable

    from tfinspect.api.load import PathLike
    from tfinspect.ir.features import Split
    from tfinspect.learn.regime import Regime
    from tfinspect.learn.train import Trained

__all__ = ["Settings", "TrainedHead", "train_head", "train_head_file"]

_KEPT: Final = ("trunk", "trunk_sha256", "bottleneck", "preprocessing")
_SUFFIX: Final = ".npz"
_BESIDE: Final = ("metrics.json", "mistakes.tsv", "curves.png", "confusion.png", "roc.png")


@dataclass(frozen=True, slots=True)
class TrainedHead:
    """A head and what is known about it.

    Attributes:
        head: takes raw features.
        trained: how the training went.
        metrics: by part of the data: train, validation, test.
        regime: which regime the data is in.
        files: what was written, the head first; empty where nothing was.
        skipped: pictures that could not be drawn, and why.
    """

    head: DenseHead
    trained: Trained
    metrics: dict[str, dict[str, Any]]
    regime: Regime
    files: tuple[str, ...] = ()
    skipped: str = ""

    @property
    def warnings(self) -> tuple[str, ...]:
        """What a person must know before trusting the result."""
        return self.trained.warnings


def train_head(
    features: PathLike | Features,
    settings: Settings | None = None,
    *,
    where: str = "the features",
    progress: Callable[[str], None] = lambda _: None,
) -> TrainedHead:
    """Train a head on features.

    Args:
        features: what `features` wrote, or the file of it.
        settings: how to train; what is left open is chosen.
        where: what the features are called in messages, where they are no file.
        progress: is told what is going on.

    Raises:
        InputError: the file cannot be read, or no head can be trained on it.
        UsageError: the settings do not go together or do not fit the labels.
    """
    settings = check_settings(settings or Settings())
    if isinstance(features, Features):
        data = features
    else:
        data, where = _read(features), os.fspath(features)
    trained = train(data, settings, where=where, progress=progress)
    progress("measuring")
    found = regime(data, where=where, seed=settings.seed)
    return TrainedHead(_head(data, trained), trained, _metrics(data, trained), found)


def _read(path: PathLike) -> Features:
    from tfinspect.formats import features

    row = formats.identify(path)
    if row.name != "features_npz":
        raise WrongKindError(
            f"{os.fspath(path)} is {row.a_title}, not a file of features",
            hint="make one: tfinspect features GRAPH FOLDER --bottleneck T -o F.npz",
            evidence={"path": os.fspath(path), "format": row.name},
        )
    return features.read(path)


def _head(data: Features, trained: Trained) -> DenseHead:
    layers = tuple(
        DenseLayer(Tensor.of(layer.weights), Tensor.of(layer.biases), layer.activation) for layer in trained.layers
    )
    made = {key: data.made[key] for key in _KEPT if key in data.made}
    return DenseHead(layers, trained.classes, {**made, "training": _training(trained)})


def _training(trained: Trained) -> dict[str, object]:
    return {**asdict(trained.settings), "epochs_run": len(trained.curve), "best_epoch": trained.best_epoch}


def _metrics(data: Features, trained: Trained) -> dict[str, dict[str, Any]]:
    found = {}
    for part in SPLITS:
        rows = data.part(part)
        outputs = trained.outputs(data.features[rows])
        found[part] = evaluate(trained.kind, outputs, data.labels[rows], trained.classes)
    return found


def train_head_file(
    features: PathLike,
    output: PathLike,
    settings: Settings | None = None,
    *,
    report: PathLike | None = None,
    force: bool = False,
    progress: Callable[[str], None] = lambda _: None,
) -> TrainedHead:
    """Train a head and write it, with metrics, mistakes and pictures beside it: all of them or none.

    Args:
        features: file of the features.
        output: where the head goes, a `.npz`.
        settings: how to train.
        report: folder for what is written beside the head, made where it is not there; None: the head's own.
        force: replace what is there.
        progress: is told what is going on.

    Raises:
        OutputExistsError: one of the files exists and `force` is not set; nothing is written then.
        OutputError: one cannot be written; none is left behind.
        WrongKindError: the output is to be something else than a `.npz`, or the input is no file of features.
    """
    from tfinspect.formats import heads

    settings = check_settings(settings or Settings())
    target = Path(output)
    if target.suffix != _SUFFIX:
        raise WrongKindError(
            f"train-head writes a {_SUFFIX}, not `{target.name}`", hint="tfinspect train-head F.npz -o HEAD.npz"
        )
    folder = target.parent if report is None else Path(report)
    stem = target.name.removesuffix(_SUFFIX)
    beside = {end: folder / f"{stem}.{end}" for end in _BESIDE}
    _atomic.ensure_absent(target, force=force)
    new_folder = not folder.is_dir()
    if new_folder:
        _atomic.ensure_absent(folder, force=False)
    else:
        for place in beside.values():
            _atomic.ensure_absent(place, force=force)
    data = _read(features)
    if target.exists() and target.samefile(features):
        raise OutputError(f"{target} is the file of features itself", hint="-o another name")
    done = train_head(data, settings, where=os.fspath(features), progress=progress)
    progress("drawing")
    contents, skipped = _contents(data, done)
    if new_folder:
        with _atomic.output_errors(folder):
            folder.mkdir()
    try:
        files: dict[str | os.PathLike[str], bytes] = {target: heads.encode(done.head)}
        files.update({beside[end]: content for end, content in contents.items()})
        _atomic.write_together(files, force=force)
    except BaseException:
        if new_folder:
            folder.rmdir()
        raise
    return replace(done, files=tuple(map(str, files)), skipped=skipped)


def _contents(data: Features, done: TrainedHead) -> tuple[dict[str, bytes], str]:
    """Return what is written beside the head by the end of its name, and why pictures are left out."""
    summary = {
        "schema": "tfinspect/metrics/1",
        "kind": done.trained.kind,
        "classes": list(done.trained.classes),
        "training": _training(done.trained),
        "metrics": done.metrics,
        "curve": [asdict(epoch) for epoch in done.trained.curve],
        "regime": done.regime.to_json(),
        "warnings": list(done.warnings),
    }
    contents = {
        "metrics.json": (json.dumps(summary, indent=1) + "\n").encode(),
        "mistakes.tsv": _mistakes(data, done.trained).encode(),
    }
    try:
        contents.update(_pictures(data, done))
    except RuntimeUnavailableError as error:
        return contents, f"no pictures: {error.message}; {error.hint}"
    return contents, ""


def _mistakes(data: Features, trained: Trained) -> str:
    outputs = trained.outputs(data.features)
    names = trained.classes
    rows = mistakes(trained.kind, outputs, data.labels, names, data.files)
    part = dict(zip(data.files, data.split, strict=True))
    value = "error" if trained.kind == "linear" else "probability"
    lines = [f"file\ttrue\tpredicted\t{value}\tsplit"]
    for file, true, predicted, number in rows:
        lines.append("\t".join((*map(_plain, (file, true, predicted)), f"{number:.6f}", part[file])))
    return "\n".join(lines) + "\n"


def _plain(text: str) -> str:
    """Return text that takes one cell of one line."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def _pictures(data: Features, done: TrainedHead) -> dict[str, bytes]:
    from tfinspect.learn import plots

    trained = done.trained
    what = "step" if trained.settings.optimizer == "lbfgs" else "epoch"
    found = {"curves.png": plots.curves(trained.curve, trained.best_epoch, what)}
    parts: tuple[Split, ...] = ("test", "validation", "train")
    part = next(part for part in parts if done.metrics[part]["images"])
    shown = done.metrics[part]
    if trained.kind == "linear":
        return found
    title = f"{part}: {counted(shown['images'], 'image')}, {shown['accuracy']:.1%} right"
    if trained.kind == "softmax":
        found["confusion.png"] = plots.confusion(shown["confusion"], trained.classes, title)
    rows = data.part(part)
    labels = data.labels[rows]
    positive = labels > 0 if trained.kind == "sigmoid" else labels[:, None] == range(len(trained.classes))
    areas = [row["roc_auc"] for row in shown["per_class"]]
    found["roc.png"] = plots.roc(trained.outputs(data.features[rows]), positive, trained.classes, areas, title)
    return found
