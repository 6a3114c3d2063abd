"""Which of the four regimes of transfer learning the data is in: few or many images, near to the trunk's own or far.

Many: at least `IMAGES_A_FEATURE` training images for each feature, and `IMAGES_A_CLASS` in the smallest class. Ten
observations for each coefficient is the customary bound from which a linear model is about as good as its features
allow; from there on only better features help, and there is enough to train them on. With 100 images of a class, the
share of them that is recognised is known to within 5 points (one standard error), so that progress can be seen at all.

Near: a linear probe, judged on images it was not trained on, gets at least half of what chance would get wrong right.
What the trunk was trained on is rarely known, and what counts is whether its features tell these classes apart: digits
are far from photos, yet where features separate them the features will do. Half is where the features do at least as
much of the work as what they leave to be learned.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final, Literal

from tfinspect.errors import counted
from tfinspect.learn.metrics import roc_auc
from tfinspect.learn.prepared import prepare
from tfinspect.learn.problem import Problem
from tfinspect.learn.settings import Settings
from tfinspect.learn.straight import held_out

if TYPE_CHECKING:
    import numpy.typing as npt

    from tfinspect.ir.features import Features
    from tfinspect.learn.prepared import Prepared

    Array = npt.NDArray[Any]

IMAGES_A_FEATURE: Final = 10
IMAGES_A_CLASS: Final = 100
NEAR: Final = 0.5

Suggestion = Literal["head", "finetune-top", "earlier-features", "finetune-all"]

_PROBE_L2: Final = 0.05
_PROBE_IMAGES: Final = 2000  # more tell nothing new
_LEAST: Final = 2  # images of the smallest class without which nothing can be held out

_WORDS: Final[dict[Suggestion, str]] = {
    "head": "train the head alone; fine-tune only the last layers, gently and with augmentation, if some points matter",
    "finetune-top": "start from the trained head and fine-tune the top of the trunk, then more of it",
    "earlier-features": "train the head on an earlier tensor, whose features are less made for the trunk's own classes",
    "finetune-all": "fine-tune the whole trunk, starting from its weights",
}


@dataclass(frozen=True, slots=True)
class Regime:
    """Where the data stands.

    Attributes:
        images: for training.
        smallest_class: training images of the class that has fewest; None for quantities.
        width: number of features.
        many: whether the images are many; see the module.
        separation: what the probe gets right of what chance gets wrong, from 0 to 1; for several labels an image twice
            the area under the ROC curve above one half, for quantities the explained variance; None: not measurable.
        near: whether the features tell the classes apart; None: not measurable.
        suggestion: what to do: a key.
        advice: what to do: a sentence.
    """

    images: int
    smallest_class: int | None
    width: int
    many: bool
    separation: float | None
    near: bool | None
    suggestion: Suggestion
    advice: str

    @property
    def name(self) -> str:
        """As `few images, near`."""
        distance = {True: "near", False: "far", None: "distance unknown"}[self.near]
        return f"{'many' if self.many else 'few'} images, {distance}"

    @property
    def why(self) -> str:
        """What that is concluded from, in words."""
        words = [f"{counted(self.images, 'training image')} for {counted(self.width, 'feature')}"]
        if self.smallest_class is not None:
            words.append(f"{self.smallest_class:,} of the smallest class")
        if self.separation is not None:
            words.append(f"a linear probe gets {self.separation:.0%} of the way from chance to perfect")
        return ", ".join(words)

    def to_json(self) -> dict[str, object]:
        """Return it as plain values."""
        return {
            "name": self.name,
            "images": self.images,
            "smallest_class": self.smallest_class,
            "width": self.width,
            "many": self.many,
            "separation": self.separation,
            "near": self.near,
            "suggestion": self.suggestion,
            "advice": self.advice,
        }


def regime(data: Features, *, where: str = "the features", seed: int = 0) -> Regime:
    """Measure which regime the training part of the data is in; the test part is not looked at.

    Args:
        data: features of the images.
        where: what they are called in messages.
        seed: of the folds of the probe.

    Raises:
        InputError: there is nothing to train on, or numbers that no head can be trained on.
    """
    ready = prepare(data, where)
    images = len(ready.train)
    smallest = None if ready.kind == "linear" else _smallest(ready)
    many = images >= IMAGES_A_FEATURE * data.width and (smallest is None or smallest >= IMAGES_A_CLASS)
    separation = _separation(data, ready, seed) if images > _LEAST and smallest not in {0, 1} else None
    near = None if separation is None else separation >= NEAR
    suggestion: Suggestion
    if near is False:
        suggestion = "finetune-all" if many else "earlier-features"
    else:
        suggestion = "finetune-top" if many else "head"
    return Regime(images, smallest, data.width, many, separation, near, suggestion, _WORDS[suggestion])


def _smallest(ready: Prepared) -> int:
    """Return the training images of the smallest class that has any."""
    counts = ready.targets[ready.train].sum(0).astype(int)
    return int(counts[counts > 0].min(initial=len(ready.train)))


def _separation(data: Features, ready: Prepared, seed: int) -> float | None:
    import numpy as np

    rows = ready.train
    if len(rows) > _PROBE_IMAGES:
        rows = np.sort(np.random.default_rng([seed, 2]).choice(rows, _PROBE_IMAGES, replace=False))
    problem = Problem.of(data, replace(ready, train=rows, watch=rows), Settings(optimizer="lbfgs", seed=seed))
    found, truth = held_out(problem, _PROBE_L2), problem.truth
    if ready.kind == "softmax":
        chance = float(truth.mean(0).max())
        right = float((found.argmax(1) == truth.argmax(1)).mean())
        return max(0.0, (right - chance) / (1 - chance)) if chance < 1 else None
    if ready.kind == "sigmoid":
        areas = [roc_auc(found[:, i], truth[:, i] > 0) for i in range(truth.shape[1])]
        known = [max(0.0, 2 * area - 1) for area in areas if area is not None]
        return sum(known) / len(known) if known else None
    spread = ((truth - truth.mean(0)) ** 2).sum()
    return max(0.0, 1 - float(((found - truth) ** 2).sum() / spread)) if spread > 0 else None
