"""The course of a fine-tuning, without a word of the runtime that takes the steps."""

from __future__ import annotations

import collections
import json
import math
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, Final, Literal

from tfinspect.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    import numpy.typing as npt

    from tfinspect.ir.trainer import Optimizer, Trainer

    Array = npt.NDArray[Any]

RATES: Final = {"adam": 2e-3, "momentum": 1e-2, "sgd": 5e-2}
"""Learning rate of the head by optimizer, where none is given."""
LEAST_FACTOR: Final = 0.04
"""Layers whose learning rate would be a smaller part of the head's stay as they are, unless they are asked for."""
_AHEAD: Final = 4  # batches that are made while one is computed


@dataclass(frozen=True, slots=True)
class Settings:
    """How a trunk is trained.

    Attributes:
        batch_norm: whether moving means and variances stay, or follow the new images.
        optimizer: how steps are taken.
        learning_rate: of the head, after the warm-up; None for `RATES`.
        decay: factor of the learning rate from each layer to the one before it.
        epochs: times that every training image is seen.
        batch: images a step.
        augment: whether images are mirrored, cropped and their colours shifted.
        label_smoothing: share of each target that is spread over all classes.
        l2: factor of half the sum of squares of the weights in the loss.
        patience: epochs without a lower validation loss after which training stops; 0 to go on to the end.
        seed: of everything random.
        warm_up: epochs in which the learning rate grows from nothing.
    """

    batch_norm: Literal["frozen", "updated"] = "frozen"
    optimizer: Optimizer = "adam"
    learning_rate: float | None = None
    decay: float = 0.85
    epochs: int = 30
    batch: int = 16
    augment: bool = True
    label_smoothing: float = 0.1
    l2: float = 0.0
    patience: int = 0
    seed: int = 0
    warm_up: float = 1.0

    @property
    def rate(self) -> float:
        """Learning rate of the head."""
        return RATES[self.optimizer] if self.learning_rate is None else self.learning_rate

    def check(self) -> None:
        """Refuse what cannot be meant.

        Raises:
            UsageError: a number is out of its range; its option is named.
        """
        ranges = (
            ("--learning-rate", self.rate, self.rate > 0, "a number above 0"),
            ("--decay", self.decay, 0 < self.decay <= 1, "a number above 0, at most 1"),
            ("--epochs", self.epochs, self.epochs >= 1, "a whole number from 1"),
            ("--batch", self.batch, self.batch >= 1, "a whole number from 1"),
            ("--label-smoothing", self.label_smoothing, 0 <= self.label_smoothing < 1, "a number from 0, below 1"),
            ("--l2", self.l2, self.l2 >= 0, "a number from 0"),
            ("--patience", self.patience, self.patience >= 0, "a whole number from 0"),
            ("--seed", self.seed, self.seed >= 0, "a whole number from 0"),
        )
        for option, value, fits, wanted in ranges:
            if not (fits and math.isfinite(value)):
                raise UsageError(f"`{option}` takes {wanted}, not {value:g}", evidence={"option": option})


@dataclass(frozen=True, slots=True)
class Schedule:
    """Learning rates: a straight line up from nothing, then half a cosine down to it.

    Attributes:
        rate: the highest.
        steps: number of all steps.
        warm_up: steps of the way up.
    """

    rate: float
    steps: int
    warm_up: int

    def at(self, step: int) -> float:
        """Return the rate of a step, counted from 0."""
        up = min(1.0, (step + 1) / self.warm_up) if self.warm_up else 1.0
        return self.rate * up * 0.5 * (1 + math.cos(math.pi * step / self.steps))


@dataclass(frozen=True, slots=True)
class Epoch:
    """What one epoch came to.

    Attributes:
        number: from 1.
        loss: mean over the training images as they were seen, augmented, before each step.
        accuracy: likewise.
        validation_loss: of the validation images; None where there are none.
        validation_accuracy: likewise.
        rate: learning rate of the head at its end.
    """

    number: int
    loss: float
    accuracy: float
    validation_loss: float | None
    validation_accuracy: float | None
    rate: float


@dataclass(slots=True)
class Progress:
    """Where a training stands between two epochs; all that is needed to go on.

    Attributes:
        epochs: what has been done.
        state: variables, statistics and the optimizer's memory now.
        best: variables and statistics of the epoch that is kept: the last, or where training may stop early the one
            with the lowest validation loss.
        best_epoch: its number; 0 for the start.
        best_loss: its validation loss.
    """

    epochs: list[Epoch] = field(default_factory=list)
    state: dict[str, Array] = field(default_factory=dict)
    best: dict[str, Array] = field(default_factory=dict)
    best_epoch: int = 0
    best_loss: float = math.inf

    def to_arrays(self, made: dict[str, Any]) -> dict[str, Array]:
        """Return it as arrays, with what it was made from as `made`."""
        import numpy as np

        facts = {
            "made": made,
            "epochs": [asdict(epoch) for epoch in self.epochs],
            "best_epoch": self.best_epoch,
            "best_loss": self.best_loss if math.isfinite(self.best_loss) else None,
        }
        arrays = {"made": np.frombuffer(json.dumps(facts).encode(), np.uint8)}
        arrays.update({f"state/{name}": value for name, value in self.state.items()})
        arrays.update({f"best/{name}": value for name, value in self.best.items()})
        return arrays

    @classmethod
    def from_arrays(cls, arrays: dict[str, Array]) -> tuple[Progress, dict[str, Any]]:
        """Read what `to_arrays` wrote, and what it was made from.

        Raises:
            KeyError, TypeError, ValueError: it is something else.
        """
        facts = json.loads(arrays["made"].tobytes())
        loss = facts["best_loss"]

        def part(scope: str) -> dict[str, Array]:
            return {name.removeprefix(scope): value for name, value in arrays.items() if name.startswith(scope)}

        epochs = [Epoch(**epoch) for epoch in facts["epochs"]]
        found = cls(epochs, part("state/"), part("best/"), int(facts["best_epoch"]), math.inf if loss is None else loss)
        return found, dict(facts["made"])


@dataclass(frozen=True, slots=True)
class Photos:
    """Images of one part of the data, ready for the trunk when asked for.

    Attributes:
        view: (number of an image in this part, epoch) -> what the trunk takes of it.
        labels: class of each image.
    """

    view: Callable[[int, int], Array]
    labels: Sequence[int]

    def __len__(self) -> int:
        """Number of images."""
        return len(self.labels)


def batches(count: int, size: int, *, seed: int, epoch: int) -> list[list[int]]:
    """Return the numbers of the images of each step of an epoch, in an order that seed and epoch decide."""
    import numpy as np

    order = np.random.default_rng((seed, epoch)).permutation(count).tolist()
    return [order[start : start + size] for start in range(0, count, size)]


def targets(labels: Sequence[int], classes: int, smoothing: float) -> Array:
    """Return what the head should give for each image: one class, or with smoothing a little of all."""
    import numpy as np

    wanted = np.full((len(labels), classes), smoothing / classes, np.float32)
    wanted[np.arange(len(labels)), list(labels)] += np.float32(1 - smoothing)
    return wanted


def logits_of(trainer: Trainer, photos: Photos, batch: int, pool: ThreadPoolExecutor) -> Array:
    """Return the logits of all images of a part."""
    import numpy as np

    parts = [list(range(start, min(start + batch, len(photos)))) for start in range(0, len(photos), batch)]
    found = [trainer.logits(images) for images, _ in _made(photos, parts, 0, pool)]
    return np.concatenate(found)


def log_loss(logits: Array, labels: Sequence[int]) -> tuple[float, float]:
    """Return the mean cross-entropy and the accuracy."""
    import numpy as np

    values = logits.astype(np.float64)
    top = values.max(1)
    total = top + np.log(np.exp(values - top[:, None]).sum(1))
    of_class = values[np.arange(len(labels)), list(labels)]
    return float((total - of_class).mean()), float((values.argmax(1) == np.asarray(labels)).mean())


def _made(photos: Photos, parts: Sequence[Sequence[int]], epoch: int, pool: ThreadPoolExecutor) -> Iterator[Any]:
    """Make batches in other threads, a few ahead of what is taken."""
    import numpy as np

    def stack(part: Sequence[int]) -> tuple[Array, list[int]]:
        return np.stack([photos.view(number, epoch) for number in part]), [photos.labels[n] for n in part]

    waiting = collections.deque(pool.submit(stack, part) for part in parts[:_AHEAD])
    for part in parts[_AHEAD:]:
        yield waiting.popleft().result()
        waiting.append(pool.submit(stack, part))
    while waiting:
        yield waiting.popleft().result()


def run(
    trainer: Trainer,
    train: Photos,
    validation: Photos,
    classes: int,
    settings: Settings,
    *,
    progress: Progress | None = None,
    save: Callable[[Progress], None] = lambda _: None,
    tell: Callable[[Epoch], None] = lambda _: None,
    step: Callable[[str], None] = lambda _: None,
) -> Progress:
    """Train to the end, from the start or from where a checkpoint stands.

    Kept are the variables of the last epoch, or where training may stop early those of the epoch with the lowest
    validation loss, the start included. All that is random comes from the seed, the epoch and the number of an image,
    so training goes on after a kill as it would have without.

    Args:
        trainer: with the start's variables set.
        train: training images.
        validation: images that the training is watched on; may be none.
        classes: number of classes.
        settings: how.
        progress: where it stands.
        save: called after each epoch.
        tell: called after each epoch, with what it came to.
        step: called after each step, with a few words.

    Returns:
        Where it ended; `best` holds the result.
    """
    with ThreadPoolExecutor(2) as pool:
        if progress is None or not progress.state:
            progress = Progress(state=trainer.state())
            progress.best = _variables(progress.state)
            if len(validation):
                logits = logits_of(trainer, validation, settings.batch, pool)
                progress.best_loss, _ = log_loss(logits, validation.labels)
        else:
            trainer.restore(progress.state)
        per_epoch = math.ceil(len(train) / settings.batch)
        schedule = Schedule(settings.rate, settings.epochs * per_epoch, round(settings.warm_up * per_epoch))
        for number in range(len(progress.epochs) + 1, settings.epochs + 1):
            if _is_enough(progress, settings.patience):
                break
            loss, right = _epoch(trainer, train, classes, settings, schedule, number, pool, step)
            watched: tuple[float | None, float | None] = (None, None)
            if len(validation):
                step(f"epoch {number}/{settings.epochs}, validation")
                logits = logits_of(trainer, validation, settings.batch, pool)
                watched = log_loss(logits, validation.labels)
            last = schedule.at(number * per_epoch - 1)
            progress.epochs.append(Epoch(number, loss, right / len(train), *watched, last))
            progress.state = trainer.state()
            # the step size has come down to nothing at the end, which a few validation photos tell less surely
            if not settings.patience or watched[0] is None or watched[0] < progress.best_loss:
                progress.best, progress.best_epoch = _variables(progress.state), number
                progress.best_loss = math.inf if watched[0] is None else watched[0]
            save(progress)
            tell(progress.epochs[-1])
    trainer.restore(progress.best)
    return progress


def _epoch(
    trainer: Trainer,
    train: Photos,
    classes: int,
    settings: Settings,
    schedule: Schedule,
    number: int,
    pool: ThreadPoolExecutor,
    step: Callable[[str], None],
) -> tuple[float, int]:
    parts = batches(len(train), settings.batch, seed=settings.seed, epoch=number)
    done = (number - 1) * len(parts)
    losses = 0.0
    right = seen = 0
    for place, (images, labels) in enumerate(_made(train, parts, number, pool)):
        wanted = targets(labels, classes, settings.label_smoothing)
        loss, hits = trainer.step(images, wanted, schedule.at(done + place))
        if not math.isfinite(loss):
            raise UsageError(
                f"the loss is {loss} in epoch {number}: the steps are too long",
                hint=f"--learning-rate {settings.rate / 10:g}",
                evidence={"epoch": number, "learning_rate": settings.rate},
            )
        losses += loss * len(labels)
        right += hits
        seen += len(labels)
        step(f"epoch {number}/{settings.epochs}, step {place + 1}/{len(parts)}, loss {losses / seen:.3f}")
    return losses / len(train), right


def _is_enough(progress: Progress, patience: int) -> bool:
    return bool(patience) and len(progress.epochs) - progress.best_epoch >= patience


def _variables(state: dict[str, Array]) -> dict[str, Array]:
    """Return the values of a state that belong to the model: not those of the optimizer."""
    return {name: value for name, value in state.items() if ":" not in name.removeprefix(":head/")}
