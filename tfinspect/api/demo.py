"""The whole story on drawn flowers: what `tfinspect demo` draws, which commands it runs, and how the end is judged."""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from tfinspect import demo, runtimes
from tfinspect.api.predict import predict
from tfinspect.demo import flowers
from tfinspect.errors import OutputError, OutputExistsError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tfinspect.api.load import PathLike
    from tfinspect.api.predict import Prediction

PHOTOS: Final = 80
"""Photos of each flower to learn from; by the default split a tenth each is for validation and for the test."""
NEW: Final = 4
"""Further photos of each flower, which no command but `predict` sees."""
LEAST_ACCURACY: Final = 0.8
"""Share of the test photos that must be named rightly; guessing among five flowers is right once in five times."""
LEAST_NEW: Final = 0.6
"""The same for the new photos, which are fewer and say less."""
MOST_DEVIATION: Final = 1e-3
"""By how much a probability may differ between the frozen graph and the ONNX file."""

_TRUNK, _PHOTOS, _NEW, _SHEET = "patterns.pb", "photos", "new", "sheet.png"
_MODEL, _ONNX, _METRICS, _TUNED = "flowers.pb", "flowers.onnx", "head.metrics.json", "finetuned.pb"
_SHOWN: Final = 1  # classes that a prediction of a new photo needs to be judged


@dataclass(frozen=True, slots=True)
class Step:
    """One command of the story.

    Attributes:
        words: what is typed after `tfinspect`, in the folder of the story.
        about: what it is for, in a few words.
    """

    words: tuple[str, ...]
    about: str


@dataclass(frozen=True, slots=True)
class Outcome:
    """How the story ended.

    Attributes:
        test_accuracy: share of the test photos that the head names rightly.
        new_accuracy: share of the new photos that the joined model names rightly.
        deviation: largest difference of a probability between the frozen graph and the ONNX file.
        same_labels: whether both name every new photo alike.
        test_photos: how many test photos there are.
        new_photos: how many new photos there are.
        finetuned_accuracy: share of the new photos that the fine-tuned model names rightly; None where there is none.
    """

    test_accuracy: float
    new_accuracy: float
    deviation: float
    same_labels: bool
    test_photos: int
    new_photos: int
    finetuned_accuracy: float | None = None

    @property
    def failures(self) -> tuple[str, ...]:
        """What is not as it must be, in words; nothing where the story ended well."""
        found = []
        for share, least, whose in (
            (self.test_accuracy, LEAST_ACCURACY, "test photos"),
            (self.new_accuracy, LEAST_NEW, "new photos"),
            (self.finetuned_accuracy, LEAST_NEW, "new photos by the fine-tuned model"),
        ):
            if share is not None and share < least:
                found.append(f"only {share:.1%} of the {whose} were named rightly, not {least:.0%}")
        if not self.same_labels:
            found.append(f"{_MODEL} and {_ONNX} name a photo differently")
        if not self.deviation <= MOST_DEVIATION:
            found.append(f"{_MODEL} and {_ONNX} differ by {self.deviation:.2g} in a probability")
        return tuple(found)


def empty_folder(path: PathLike) -> tuple[Path, bool]:
    """Make the folder that the story is told in, or take one that is empty.

    Returns:
        The folder, and whether it was made.

    Raises:
        OutputExistsError: something is in it, or it is a file.
        OutputError: it cannot be made.
    """
    folder = Path(path)
    evidence = {"path": str(folder)}
    try:
        if os.path.lexists(folder):
            if folder.is_dir() and not any(folder.iterdir()):
                return folder, False
            what = "is not empty" if folder.is_dir() else "is not a folder"
            raise OutputExistsError(f"{folder} {what}", hint="give another name after -o", evidence=evidence)
        folder.mkdir()
    except OSError as error:
        raise OutputError(f"{folder} cannot be made: {error.strerror}", evidence=evidence) from None
    return folder, True


def clear(folder: Path, *, made: bool) -> None:
    """Take away what the story has written, when nobody wants it any more.

    Args:
        folder: where it was told.
        made: whether the folder was made for it, and goes too.
    """
    runtimes.shutdown()  # nothing is to write there any more
    for path in [folder] if made else list(folder.iterdir()):
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)


def lay_out(folder: PathLike, *, photos: int = PHOTOS, new: int = NEW) -> int:
    """Write the trunk and all photos into a folder.

    Args:
        folder: where to.
        photos: how many of each flower to learn from.
        new: how many more of each flower.

    Returns:
        Number of photos.

    Raises:
        RuntimeUnavailableError: TensorFlow, onnxruntime, tf2onnx, onnx or Pillow is not installed.
        OutputError: something cannot be written.
    """
    runtimes.warm("tensorflow", "tf2onnx", "onnxruntime")  # they load while the flowers are drawn
    place = Path(folder)
    count = 0
    try:
        shutil.copyfile(demo.TRUNK, place / _TRUNK)
        for name, data in _drawn(photos, new):
            (place / name).parent.mkdir(parents=True, exist_ok=True)
            (place / name).write_bytes(data)
            count += 1
    except OSError as error:
        raise OutputError(f"{place} cannot be written: {error.strerror}", evidence={"path": str(place)}) from None
    return count


def _drawn(photos: int, new: int) -> Iterator[tuple[str, bytes]]:
    for flower in flowers.FLOWERS:
        for seed in range(photos + new):
            part = _PHOTOS if seed < photos else _NEW
            yield f"{part}/{flower}/{flower}_{seed + 1:03}.jpg", flowers.photo(flower, seed)


def steps(*, finetune: bool = False) -> tuple[Step, ...]:
    """Return the commands of the story in order.

    Args:
        finetune: also adjust the trunk itself.
    """
    at = ("--bottleneck", demo.BOTTLENECK)
    told = [
        Step(("info", _TRUNK), "a trained network; it knows patterns, and no flower"),
        Step(("nodes", _TRUNK, "--only", "bottlenecks"), "where its knowledge can be tapped"),
        Step(
            ("features", _TRUNK, _PHOTOS, *at, "--cache", "cache", "-o", "features.npz"),
            "what it sees on each photo, computed once",
        ),
        Step(("train-head", "features.npz", "-o", "head.npz"), "a classifier for five flowers on these features"),
        Step(("graft", _TRUNK, *at, "--head", "head.npz", "-o", _MODEL), "both as one model"),
        Step(("predict", _MODEL, _NEW, "--top", "2", "--sheet", _SHEET), "photos that it has never seen"),
        Step(("export", _MODEL, "--onnx"), "ready to ship, with proof that the numbers match"),
        Step(("predict", _ONNX, f"{_NEW}/tulip", "--top", "1"), "some of the same photos, without TensorFlow"),
    ]
    if finetune:
        gently = ("--epochs", "8", "--learning-rate", "0.0003", "--label-smoothing", "0")  # the photos are few
        words = ("finetune", _TRUNK, _PHOTOS, *at, "--head", "head.npz", *gently, "-o", _TUNED)
        told.append(Step(words, "the second version: adjust more than the last layer"))
        told.append(Step(("predict", _TUNED, f"{_NEW}/tulip", "--top", "1"), "the same photos again"))
    return tuple(told)


def judge(folder: PathLike) -> Outcome:
    """Look at what the commands left behind: measure, do not believe.

    Raises:
        TfinspectError: a model that the commands made cannot be run.
    """
    place = Path(folder)
    test: dict[str, Any] = json.loads((place / _METRICS).read_text(encoding="utf-8"))["metrics"]["test"]
    classes = len(flowers.FLOWERS)
    graph, onnx = (predict(place / name, [place / _NEW], top=classes).predictions for name in (_MODEL, _ONNX))
    tuned = None
    if (place / _TUNED).exists():
        tuned = _accuracy(predict(place / _TUNED, [place / _NEW], top=_SHOWN).predictions)
    pairs = list(zip(graph, onnx, strict=True))
    return Outcome(
        test_accuracy=float(test["accuracy"]),
        new_accuracy=_accuracy(graph),
        deviation=max(_deviation(ours, theirs) for ours, theirs in pairs),
        same_labels=all(ours.top[0].label == theirs.top[0].label for ours, theirs in pairs),
        test_photos=int(test["images"]),
        new_photos=len(graph),
        finetuned_accuracy=tuned,
    )


def _accuracy(predictions: tuple[Prediction, ...]) -> float:
    right = sum(each.top[0].label == Path(each.image).parent.name for each in predictions)
    return right / len(predictions)


def _deviation(ours: Prediction, theirs: Prediction) -> float:
    there = {score.index: score.probability for score in theirs.top}
    return max(abs(score.probability - there[score.index]) for score in ours.top)
