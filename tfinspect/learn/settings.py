"""How a head is to be trained."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

from tfinspect.errors import UsageError
from tfinspect.learn import dense

if TYPE_CHECKING:
    from tfinspect.learn.dense import Kind
    from tfinspect.learn.optimizers import OptimizerName


@dataclass(frozen=True, slots=True)
class Settings:
    """How a head is trained; None: chosen by what the others say.

    Attributes:
        kind: what the head gives.
        hidden: units of each hidden layer.
        activation: of the hidden layers.
        optimizer: `lbfgs`, or a key of `optimizers.METHODS`; None: `lbfgs`, or `adam` where hidden layers, dropout,
            batches, a learning rate, epochs or patience are wanted.
        learning_rate: of an optimizer over batches.
        batch: images a step.
        epochs: most passes over the training images; of `lbfgs` most steps.
        patience: passes without a better validation loss before the training stops.
        l2: penalty, times the sum of the squares of the weights (of scaled features), added to the mean loss; None:
            chosen on images the head was not trained on.
        label_smoothing: share of the truth that is spread over all classes.
        class_weights: `balanced`: every class counts the same, however many images it has.
        dropout: share of what enters the last layer that is left out in training.
        seed: of weights, order and dropout.
    """

    kind: Kind | None = None
    hidden: tuple[int, ...] = ()
    activation: str = "relu"
    optimizer: OptimizerName | Literal["lbfgs"] | None = None
    learning_rate: float | None = None
    batch: int | None = None
    epochs: int | None = None
    patience: int | None = None
    l2: float | None = None
    label_smoothing: float = 0.0
    class_weights: Literal["balanced", "none"] = "none"
    dropout: float = 0.0
    seed: int = 0


def check_settings(settings: Settings) -> Settings:
    """Return the settings with the optimizer chosen.

    Raises:
        UsageError: values outside their range, or that do not go together.
    """
    shares = {"--label-smoothing": settings.label_smoothing, "--dropout": settings.dropout}
    for flag, share in shares.items():
        if not 0 <= share < 1:
            raise UsageError(f"`{flag}` takes a share from 0 up to, not including, 1, not {share:g}")
    whole = {"--batch": settings.batch, "--epochs": settings.epochs, "--patience": settings.patience}
    for flag, count in [*whole.items(), *(("--hidden", units) for units in settings.hidden)]:
        if count is not None and count < 1:
            raise UsageError(f"`{flag}` takes a whole number from 1, not {count}")
    if settings.learning_rate is not None and not 0 < settings.learning_rate < float("inf"):
        raise UsageError(f"`--learning-rate` takes a number above 0, not {settings.learning_rate:g}")
    if settings.l2 is not None and not 0 <= settings.l2 < float("inf"):
        raise UsageError(f"`--l2` takes `auto` or a number from 0, not {settings.l2:g}")
    if settings.seed < 0:
        raise UsageError(f"`--seed` takes a whole number from 0, not {settings.seed}")
    if settings.activation not in dense.HIDDEN_ACTIVATIONS:
        raise UsageError(
            f"a hidden layer has no activation `{settings.activation}`",
            hint=f"one of {', '.join(dense.HIDDEN_ACTIVATIONS)}",
        )
    of_steps = {
        "--hidden": settings.hidden, "--dropout": settings.dropout, "--batch": settings.batch,
        "--learning-rate": settings.learning_rate, "--patience": settings.patience,
    }  # fmt: skip
    given = [flag for flag, value in of_steps.items() if value]
    if settings.optimizer == "lbfgs" and given:
        raise UsageError(f"`--optimizer lbfgs` has no use for `{given[0]}`", hint=f"--optimizer adam {given[0]} ...")
    optimizer = settings.optimizer or ("adam" if given or settings.epochs else "lbfgs")
    return replace(settings, optimizer=optimizer)
