"""The photos that a command is about: those of a folder with one sub-folder a class, or of a table of labels."""

from __future__ import annotations

import os
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from tfinspect.errors import UsageError, counted
from tfinspect.learn.label_table import read_label_table
from tfinspect.learn.remote import Place
from tfinspect.learn.split import splits

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    from tfinspect.api.load import PathLike
    from tfinspect.ir.features import Split
    from tfinspect.learn.images import ImageFile

_FEW_IMAGES: Final = 2


@dataclass(frozen=True, slots=True)
class Images:
    """The photos that features are wanted of.

    Attributes:
        place: where they stand.
        files: the images.
        classes: names of the classes, or of the quantities.
        labels: one row an image, as `ir.features.Features.labels`.
        split: part each image belongs to.
        warnings: what may not be as it was meant.
    """

    place: Place
    files: tuple[ImageFile, ...]
    classes: tuple[str, ...]
    labels: npt.NDArray[Any]
    split: tuple[Split, ...]
    warnings: tuple[str, ...]


def list_images(
    folder: PathLike,
    *,
    labels: PathLike | None = None,
    limit: int | None = None,
    validation: float = 0.1,
    test: float = 0.1,
    split_seed: str = "",
) -> Images:
    """List the photos of a folder with one sub-folder a class, or those that a table of labels names.

    Args:
        folder: the folder, or the fsspec URL of one.
        labels: a table; see `learn.label_table`.
        limit: take this many, spread over the classes.
        validation: share of images that the training is watched on.
        test: share of images that the result is judged on.
        split_seed: another text gives another split.

    Raises:
        FileMissingError: folder or table is not there.
        InputError: the table is damaged.
        UsageError: there are no images, or of one class only; shares or limit make no sense.
    """
    import numpy as np

    warnings: list[str] = []
    if limit is not None and limit < 1:
        raise UsageError(f"--limit {limit} leaves no images")
    place = Place(folder)
    if labels is not None:
        if place.remote:
            raise UsageError(f"a table of labels goes with a folder on this machine, not with {place.path}")
        table = read_label_table(labels, place.path)
        files, classes, values = table.files, table.classes, table.labels
        chosen = list(range(len(files)))[:limit]
    else:
        found = place.folder()
        files, classes = found.files, found.classes
        values = np.array([file.label for file in files], np.int64)
        warnings += [] if place.remote else _empty_classes(found.path, classes)
        if found.ignored:
            warnings.append(f"{counted(len(found.ignored), 'file')} left out, no images by name: {found.ignored[0]}")
        chosen = _spread(files, limit)
        count = Counter(files[i].label for i in chosen)
        warnings += [
            f"class `{name}` has {counted(count[label], 'image')}; that is too few to learn from and to test on"
            for label, name in enumerate(classes)
            if 0 < count[label] <= _FEW_IMAGES
        ]
    taken = tuple(files[i] for i in chosen)
    split = splits([file.name for file in taken], validation=validation, test=test, salt=split_seed)
    return Images(place, taken, classes, values[chosen], split, tuple(warnings))


def _empty_classes(folder: str, classes: Sequence[str]) -> list[str]:
    subs = sorted(entry.name for entry in os.scandir(folder) if entry.is_dir() and not entry.name.startswith("."))
    return [f"class folder `{name}` has no images" for name in subs if name not in classes]


def _spread(files: Sequence[ImageFile], limit: int | None) -> list[int]:
    """Return which images to take: all, or `limit` of them, of each class the same number where there are enough."""
    if limit is None or limit >= len(files):
        return list(range(len(files)))
    seen: Counter[int] = Counter()
    ranks = []
    for i, file in enumerate(files):
        ranks.append((seen[file.label], i))
        seen[file.label] += 1
    return sorted(i for _, i in sorted(ranks)[:limit])
