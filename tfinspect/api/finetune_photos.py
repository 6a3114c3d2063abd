"""The photos of a fine-tuning: decoded once, their features computed on the way, kept for the epochs."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from tfinspect.errors import TfinspectError, UsageError, counted
from tfinspect.ir.features import SPLITS, Features
from tfinspect.learn.augment import Augmentation
from tfinspect.learn.finetune import Photos
from tfinspect.learn.photo_store import Entry, Store, load

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence

    import numpy.typing as npt

    from tfinspect.api.finetune import Listeners
    from tfinspect.ir.features import Split
    from tfinspect.learn.finetune import Settings
    from tfinspect.learn.images import ImageFile, ImageFolder

    Array = npt.NDArray[Any]

# how much larger than the trunk takes them photos are kept: a crop is then made smaller by about as much as a whole
# photo is, between two pixels as TensorFlow's resize does it, and so is as sharp as what the trunk will see later
_SPARE: Final = 2.0
_BATCH: Final = 32
_NAMED: Final = 5


@dataclass(frozen=True, slots=True)
class Album:
    """All photos, ready.

    Attributes:
        features: what the trunk as it was says of each.
        train: training photos, seen anew in each epoch.
        plain: photos of each part as they are.
        digest: of names, sizes, classes and parts.
        skipped: photos that could not be read, and why.
    """

    features: Features
    train: Photos
    plain: Mapping[str, Photos]
    digest: str
    skipped: tuple[tuple[str, str], ...]

    @property
    def validation(self) -> Photos:
        """Photos that the training is watched on."""
        return self.plain["validation"]


def gather(
    folder: ImageFolder,
    classes: Sequence[str],
    entry: Entry,
    features: Callable[[Array], Array],
    settings: Settings,
    *,
    parts: Sequence[Split],
    listeners: Listeners,
) -> Album:
    """Decode all photos and compute their features.

    Args:
        folder: the photos.
        classes: in the order of the outputs.
        entry: how they reach the trunk.
        features: what computes the features of a batch.
        settings: whether the training photos are augmented, and the seed.
        parts: to which each photo belongs.
        listeners: whom to tell.

    Raises:
        UsageError: nothing is left to train on, or a class has no training photo.
        OutputError: the disk that holds temporary files is full.
    """
    import numpy as np

    number = {name: classes.index(name) for name in folder.classes}
    shape = (*entry.size, entry.recipe.channels)
    spare = (round(entry.size[0] * _SPARE), round(entry.size[1] * _SPARE))
    counts = {part: parts.count(part) for part in SPLITS}
    kept = {part: Store(counts[part], shape, entry.dtype) for part in SPLITS}
    larger = Store(counts["train"] if settings.augment else 0, (*spare, shape[-1]), np.uint8)
    labels: dict[str, list[int]] = {part: [] for part in SPLITS}
    files: list[tuple[ImageFile, Split]] = []
    skipped: list[tuple[str, str]] = []
    rows: list[Array] = []
    waiting: list[Array] = []
    part_of = dict(zip(folder.files, parts, strict=True))
    for file, found in zip(folder.files, load(folder.files, entry, spare), strict=True):
        listeners.step(f"reading photos, {len(files) + 1:,} of {len(folder.files):,}")
        if isinstance(found, TfinspectError):
            skipped.append((file.name, found.message))
            listeners.note(f"skipped: {found.message}")
            continue
        part = part_of[file]
        place = len(labels[part])
        kept[part].put(place, found.ready)
        if part == "train" and settings.augment:
            larger.put(place, found.spare)
        labels[part].append(number[folder.classes[file.label]])
        files.append((file, part))
        waiting.append(found.ready)
        if len(waiting) == _BATCH:
            rows.append(features(np.stack(waiting)))
            waiting.clear()
    if waiting:
        rows.append(features(np.stack(waiting)))
    check_classes(folder, {classes[number] for number in labels["train"]}, classes, skipped=len(skipped))
    digest = hashlib.sha256()
    for file, part in files:
        digest.update(f"{file.name}\0{part}\n".encode())
    for row in rows:  # what the trunk says of the photos tells whether they have changed
        digest.update(np.round(row, 2).tobytes())
    plain = {part: _plain(kept[part], labels[part]) for part in SPLITS}
    train = plain["train"]
    if settings.augment:
        train = _augmented(larger, labels["train"], entry, settings.seed)
    of_class = [number[folder.classes[file.label]] for file, _ in files]
    made = Features(
        np.concatenate(rows).astype(np.float32),
        np.array(of_class, np.int64),
        tuple(classes),
        tuple(file.name for file, _ in files),
        tuple(part for _, part in files),
    )
    return Album(made, train, plain, digest.hexdigest(), tuple(skipped))


def _plain(store: Store, labels: Sequence[int]) -> Photos:
    return Photos(lambda number, _: store.array[number], labels)


def _augmented(store: Store, labels: Sequence[int], entry: Entry, seed: int) -> Photos:
    changes = Augmentation()

    def view(number: int, epoch: int) -> Array:
        return entry.finish(changes.apply(store.array[number], entry.size, seed=seed, epoch=epoch, number=number))

    return Photos(view, labels)


def check_classes(folder: ImageFolder, trained: Collection[str], classes: Sequence[str], *, skipped: int = 0) -> None:
    """Refuse a split that leaves a class without a training photo.

    Args:
        folder: the photos.
        trained: classes that have one.
        classes: all of them.
        skipped: photos that could not be read.

    Raises:
        UsageError: one has none.
    """
    missing = [name for name in classes if name not in trained]
    if not missing:
        return
    why = f" ({counted(skipped, 'photo')} could not be read)" if skipped else ""
    raise UsageError(
        f"{folder.path} has no training photo of `{missing[0]}`{why}",
        details=[f"nor of `{name}`" for name in missing[1:_NAMED]],
        hint="add photos, or choose another split: --split-seed TEXT, --validation X, --test X",
        evidence={"path": folder.path, "classes": missing},
    )
