"""Bottleneck features of a folder of images: what a head is trained on."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Literal

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy as np
    import numpy.typing as npt

Split = Literal["train", "validation", "test"]
SPLITS: Final = ("train", "validation", "test")


@dataclass(frozen=True, slots=True)
class Features:
    """Features of n images.

    Attributes:
        features: [n, width] of float32, in the order of `files`.
        labels: [n] of int64, numbers of classes; [n, classes] of 0 and 1 where an image may have several labels; [n] or
            [n, targets] of float32 where the target is a quantity.
        classes: names of the classes, or of the targets.
        files: path of each image from the folder, `/` between parts.
        split: part each image belongs to, one of `SPLITS`.
        made: what made them: `trunk` (path), `trunk_sha256`, `bottleneck` (`name:index`), `preprocessing` (as
            `learn.preprocess.Recipe.to_json`), `runtime`, `skipped` (files that could not be read).
    """

    features: npt.NDArray[np.float32]
    labels: npt.NDArray[Any]
    classes: tuple[str, ...]
    files: tuple[str, ...]
    split: tuple[Split, ...]
    made: Mapping[str, Any] = field(default_factory=dict)

    @property
    def width(self) -> int:
        """Number of features of an image."""
        return int(self.features.shape[1])

    def part(self, split: Split) -> npt.NDArray[np.bool_]:
        """Return which images belong to a part, as a mask of [n]."""
        import numpy as np

        return np.array([s == split for s in self.split], bool)
