"""`tfinspect finetune`."""

from __future__ import annotations

import shlex
from enum import Enum
from typing import Annotated

import typer

from tfinspect.cli import complete
from tfinspect.cli.options import (
    Bottleneck,
    Force,
    GraphArgument,
    Inputs,
    Json,
    Quiet,
    RequiredOutput,
    Settings,
    Verbose,
)
from tfinspect.cli.photo_options import Bgr, Mean, Scale, Size, SplitSeed, Test, Validation, parse_size
from tfinspect.cli.terminal import Terminal


class BatchNorm(Enum):
    """What becomes of moving means and variances."""

    FROZEN = "frozen"
    UPDATED = "updated"


class Optimizer(Enum):
    """How steps are taken."""

    ADAM = "adam"
    SGD = "sgd"
    MOMENTUM = "momentum"


def command(
    graph: GraphArgument,
    folder: Annotated[str, typer.Argument(metavar="FOLDER", help="Photos, one sub-folder a class", show_default=False)],
    *,
    bottleneck: Bottleneck,
    output: RequiredOutput,
    head: Annotated[
        str | None,
        typer.Option("--head", metavar="HEAD", help=".npz to start from; left out: one is trained", show_default=False),
    ] = None,
    start: Annotated[
        str | None,
        typer.Option(
            "--from",
            metavar="T",
            help="Train what comes after this tensor",
            autocompletion=complete.tensors,
            show_default=False,
        ),
    ] = None,
    scope: Annotated[
        list[str] | None,
        typer.Option("--scope", metavar="PATTERN", help="Train weights of this scope or pattern; repeat"),
    ] = None,
    everything: Annotated[
        bool, typer.Option("--all", help="Train all layers, also those that --decay all but stops", show_default=False)
    ] = False,
    head_only: Annotated[bool, typer.Option("--head-only", help="Train the head alone", show_default=False)] = False,
    batch_norm: Annotated[
        BatchNorm, typer.Option("--batch-norm", help="updated: moving statistics follow the photos")
    ] = BatchNorm.FROZEN,
    optimizer: Annotated[Optimizer, typer.Option("--optimizer", help="How steps are taken")] = Optimizer.ADAM,
    learning_rate: Annotated[
        float | None,
        typer.Option("--learning-rate", metavar="X", help="Of the head; left out: one that suits the optimizer"),
    ] = None,
    decay: Annotated[
        float, typer.Option("--decay", metavar="X", help="Factor of the rate from each layer to the one before it")
    ] = 0.85,
    epochs: Annotated[int, typer.Option("--epochs", metavar="N", help="Passes over the photos")] = 30,
    batch: Annotated[int, typer.Option("--batch", metavar="N", help="Photos a step")] = 16,
    no_augment: Annotated[
        bool, typer.Option("--no-augment", help="No flips, crops and changes of colour", show_default=False)
    ] = False,
    label_smoothing: Annotated[
        float, typer.Option("--label-smoothing", metavar="X", help="Share of the truth spread over all classes")
    ] = 0.1,
    l2: Annotated[float, typer.Option("--l2", metavar="X", help="Penalty on large weights of layers")] = 0.0,
    patience: Annotated[
        int, typer.Option("--patience", metavar="N", help="Stop after N epochs without a better validation; 0: never")
    ] = 0,
    average: Annotated[
        float,
        typer.Option("--average", metavar="X", help="Share of the epochs, the last ones, whose weights are averaged"),
    ] = 0.5,
    seed: Annotated[int, typer.Option("--seed", metavar="N", help="Seed of order and augmentation")] = 0,
    checkpoints: Annotated[
        str | None,
        typer.Option(
            "--checkpoints", metavar="DIR", help="Left out: a hidden folder, removed at the end", show_default=False
        ),
    ] = None,
    validation: Validation = 0.1,
    test: Test = 0.1,
    split_seed: SplitSeed = "",
    inputs: Inputs = None,
    size: Size = None,
    mean: Mean = None,
    scale: Scale = None,
    bgr: Bgr = False,
    setting: Settings = None,
    labels: Annotated[
        str | None,
        typer.Option("--labels", metavar="FILE", help="Classes in the order of the outputs", show_default=False),
    ] = None,
    name: Annotated[str, typer.Option("--name", metavar="PREFIX", help="Scope of the head")] = "head",
    force: Force = False,
    json: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Train a trunk and its head together on photos.

    Constants of the graph become variables, a head is trained on the trunk's
    features and then both on augmented photos; the result is frozen again and
    checked: run as written, it must give what training measured. Layers far
    from the head learn more slowly (--decay); where their steps would be less
    than a 25th of the head's they stay as they are, which takes half the time
    (--all trains them too). The photos' names decide which of them are for
    validation and test. The same seed gives the same order and
    augmentation; results differ by rounding, for TensorFlow adds in threads.
    The same command goes on after a kill where the last epoch ended.

    \b
    Examples:
      Flowers on MobileNet
        $ tfinspect finetune mobilenet.pb flowers/ --bottleneck MobilenetV1/Logits/AvgPool_1a/AvgPool -o flowers.pb
      Only what comes after a tensor
        $ tfinspect finetune inception.pb flowers/ --bottleneck pool_3/_reshape --from mixed_8/join -o flowers.pb
    """  # noqa: D301 - \b is click's mark
    from tfinspect.api.finetune import Listeners, finetune
    from tfinspect.api.finetune import Settings as Course
    from tfinspect.api.trunk_parameters import Layers
    from tfinspect.cli.tuning import show_tuned, tell_epoch, tuned_json

    terminal = Terminal(json_mode=json, quiet=quiet, verbose=verbose)
    settings = Course(
        batch_norm=batch_norm.value,
        optimizer=optimizer.value,
        learning_rate=learning_rate,
        decay=decay,
        epochs=epochs,
        batch=batch,
        augment=not no_augment,
        label_smoothing=label_smoothing,
        l2=l2,
        patience=patience,
        seed=seed,
        average=average,
    )
    with terminal.progress("reading the graph") as progress:
        done = finetune(
            graph,
            folder,
            output,
            bottleneck=bottleneck,
            head=head,
            layers=Layers(start, tuple(scope or ()), everything, head_only),
            settings=settings,
            checkpoints=checkpoints,
            validation=validation,
            test=test,
            split_seed=split_seed,
            inputs=inputs or (),
            size=parse_size(size),
            model_settings=setting or (),
            mean=mean or None,
            scale=scale or None,
            bgr=bgr or None,
            labels=labels,
            name=name,
            force=force,
            listeners=Listeners(
                step=progress, note=terminal.note, epoch=lambda epoch: tell_epoch(terminal, epoch, epochs)
            ),
        )
    if json:
        terminal.json("finetune/1", tuned_json(done, graph, folder))
        return
    show_tuned(terminal, done)
    terminal.next_step(f"tfinspect export {shlex.quote(output)} --onnx")
