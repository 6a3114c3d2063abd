"""`tfinspect train-head`."""

from __future__ import annotations

from enum import Enum
from typing import Annotated

import typer

from tfinspect.cli.options import Force, Json, Quiet, RequiredOutput, Verbose
from tfinspect.cli.terminal import Terminal
from tfinspect.errors import UsageError


class Kind(Enum):
    """What a head gives."""

    SOFTMAX = "softmax"
    SIGMOID = "sigmoid"
    LINEAR = "linear"


class Optimizer(Enum):
    """How weights are found."""

    LBFGS = "lbfgs"
    ADAM = "adam"
    SGD = "sgd"
    MOMENTUM = "momentum"
    NESTEROV = "nesterov"
    RMSPROP = "rmsprop"
    ADAGRAD = "adagrad"
    ADADELTA = "adadelta"
    FTRL = "ftrl"


class Activation(Enum):
    """Of hidden layers."""

    RELU = "relu"
    RELU6 = "relu6"
    ELU = "elu"
    SELU = "selu"
    SIGMOID = "sigmoid"
    SOFTPLUS = "softplus"
    SOFTSIGN = "softsign"
    TANH = "tanh"
    LINEAR = "linear"


class ClassWeights(Enum):
    """Whether classes count the same."""

    NONE = "none"
    BALANCED = "balanced"


def command(
    features: Annotated[
        str, typer.Argument(metavar="FEATURES", help="What `tfinspect features` wrote", show_default=False)
    ],
    *,
    output: RequiredOutput,
    kind: Annotated[
        Kind | None, typer.Option("--kind", help="What the head gives; left out: what the labels are like")
    ] = None,
    hidden: Annotated[
        list[int] | None,
        typer.Option("--hidden", metavar="N", help="Units of a hidden layer; repeat", show_default=False),
    ] = None,
    activation: Annotated[Activation, typer.Option("--activation", help="Of hidden layers")] = Activation.RELU,
    optimizer: Annotated[
        Optimizer | None,
        typer.Option("--optimizer", help="Left out: lbfgs; adam with --hidden or other options of steps"),
    ] = None,
    learning_rate: Annotated[
        float | None, typer.Option("--learning-rate", metavar="X", help="Left out: one that suits the optimizer")
    ] = None,
    batch: Annotated[int | None, typer.Option("--batch", metavar="N", help="Images a step; left out: 32")] = None,
    epochs: Annotated[
        int | None, typer.Option("--epochs", metavar="N", help="Most passes over the images; left out: 200")
    ] = None,
    patience: Annotated[
        int | None,
        typer.Option("--patience", metavar="N", help="Stop after N passes without a better validation; left out: 20"),
    ] = None,
    l2: Annotated[
        str, typer.Option("--l2", metavar="X|auto", help="Penalty on large weights; auto: chosen on held-out images")
    ] = "auto",
    label_smoothing: Annotated[
        float, typer.Option("--label-smoothing", metavar="X", help="Share of the truth spread over all classes")
    ] = 0.0,
    class_weights: Annotated[
        ClassWeights, typer.Option("--class-weights", help="balanced: small classes count as much as large ones")
    ] = ClassWeights.NONE,
    dropout: Annotated[
        float, typer.Option("--dropout", metavar="X", help="Share of the last layer's inputs left out in training")
    ] = 0.0,
    seed: Annotated[int, typer.Option("--seed", metavar="N", help="Seed of weights, order and dropout")] = 0,
    report: Annotated[
        str | None,
        typer.Option("--report", metavar="DIR", help="Folder for metrics, mistakes and pictures", show_default=False),
    ] = None,
    force: Force = False,
    json: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Train a classifier on features, and measure it.

    The head takes the features as they are; `graft` puts it on the trunk.
    Beside HEAD.npz come HEAD.metrics.json, HEAD.mistakes.tsv (the worst first),
    HEAD.curves.png, HEAD.confusion.png and HEAD.roc.png. Left to itself it is
    a softmax whose penalty is chosen on images it was not trained on; the
    same command gives the same head, bit for bit on one machine.

    \b
    Examples:
      A classifier, as good as a well-tuned logistic regression
        $ tfinspect train-head flowers.npz -o head.npz
      Two hidden layers, trained by hand
        $ tfinspect train-head flowers.npz -o head.npz --hidden 256 --hidden 64 --dropout 0.5 --learning-rate 3e-4
    """  # noqa: D301 - \b is click's mark
    from tfinspect.api.train_head import Settings, train_head_file
    from tfinspect.cli.training import show_trained, tell_trained, trained_json

    terminal = Terminal(json_mode=json, quiet=quiet, verbose=verbose)
    settings = Settings(
        kind=None if kind is None else kind.value,
        hidden=tuple(hidden or ()),
        activation=activation.value,
        optimizer=None if optimizer is None else optimizer.value,
        learning_rate=learning_rate,
        batch=batch,
        epochs=epochs,
        patience=patience,
        l2=_l2(l2),
        label_smoothing=label_smoothing,
        class_weights=class_weights.value,
        dropout=dropout,
        seed=seed,
    )
    with terminal.progress("reading features") as progress:
        done = train_head_file(features, output, settings, report=report, force=force, progress=progress)
    for warning in done.warnings:
        terminal.warn(warning)
    if json:
        terminal.json("train-head/1", trained_json(done, features, output))
        return
    show_trained(terminal, done)
    tell_trained(terminal, done, output)


def _l2(text: str) -> float | None:
    if text == "auto":
        return None
    try:
        return float(text)
    except ValueError:
        raise UsageError(f"`--l2` takes `auto` or a number, not `{text}`") from None
