"""`tfinspect features`."""

from __future__ import annotations

import shlex
import time
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tfinspect.cli.options import (
    Bottleneck,
    DryRun,
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
from tfinspect.cli.render import plural
from tfinspect.cli.terminal import Terminal
from tfinspect.errors import ExitStatus, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable

    from tfinspect.api.features import FeaturesReport, Progress

_SECONDS_BETWEEN = 0.1
_MINUTE = 60


class RuntimeChoice(StrEnum):
    """What `--runtime` takes."""

    onnxruntime = "onnxruntime"
    tensorflow = "tensorflow"


class EngineChoice(StrEnum):
    """What `--engine` takes."""

    local = "local"
    ray = "ray"


def command(
    graph: GraphArgument,
    folder: Annotated[
        str, typer.Argument(metavar="FOLDER", help="Photos, one sub-folder a class; with --engine ray also s3://...")
    ],
    *,
    bottleneck: Bottleneck,
    output: RequiredOutput,
    inputs: Inputs = None,
    size: Size = None,
    mean: Mean = None,
    scale: Scale = None,
    bgr: Bgr = False,
    setting: Settings = None,
    runtime: Annotated[RuntimeChoice, typer.Option("--runtime", help="What computes")] = RuntimeChoice.onnxruntime,
    engine: Annotated[
        EngineChoice, typer.Option("--engine", help="This machine, or a Ray cluster (RAY_ADDRESS)")
    ] = EngineChoice.local,
    batch: Annotated[int, typer.Option("--batch", metavar="N", help="Images computed together")] = 32,
    workers: Annotated[
        int | None,
        typer.Option("--workers", metavar="N", help="Threads that decode, or Ray workers", show_default=False),
    ] = None,
    validation: Validation = 0.1,
    test: Test = 0.1,
    split_seed: SplitSeed = "",
    labels: Annotated[
        str | None,
        typer.Option("--labels", metavar="FILE.csv", help="Labels by file, instead of sub-folders", show_default=False),
    ] = None,
    limit: Annotated[
        int | None, typer.Option("--limit", metavar="N", help="Only N images, of all classes", show_default=False)
    ] = None,
    cache: Annotated[
        str | None, typer.Option("--cache", metavar="DIR", help="Keep features here", show_default=False)
    ] = None,
    no_cache: Annotated[bool, typer.Option("--no-cache", help="Keep no features", show_default=False)] = False,
    force: Force = False,
    dry_run: DryRun = False,
    json: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Compute the bottleneck features of a folder of photos.

    Photos are decoded and resized as the model itself does it, or as you say.
    What was computed before is not computed again, and a broken photo is left
    out and named. A few photos are compared with what TensorFlow computes from
    the model as it is: exit 1, and nothing written, if the numbers differ.

    \b
    Examples:
      Five kinds of flowers through MobileNet
        $ tfinspect features mobilenet.pb flower_photos --bottleneck MobilenetV1/Logits/AvgPool_1a/AvgPool -o f.npz
      Look for a bottleneck first
        $ tfinspect nodes mobilenet.pb --only bottlenecks
      Photos in a bucket, over the machines of a Ray cluster
        $ RAY_ADDRESS=head:6379 tfinspect features mobilenet.pb s3://bucket/photos --bottleneck T -o f.npz --engine ray
    """  # noqa: D301 - \b is click's mark
    from tfinspect.api.features import features

    terminal = Terminal(json_mode=json, quiet=quiet, verbose=verbose)
    if cache is not None and no_cache:
        raise UsageError("--cache and --no-cache contradict each other")
    with terminal.progress("reading the photos") as say:
        done = features(
            graph,
            folder,
            output,
            bottleneck=bottleneck,
            inputs=inputs or (),
            size=parse_size(size),
            mean=mean or None,
            scale=scale or None,
            bgr=bgr or None,
            settings=setting or (),
            runtime=runtime.value,
            engine=engine.value,
            batch=batch,
            workers=workers,
            validation=validation,
            test=test,
            split_seed=split_seed,
            labels=labels,
            limit=limit,
            cache=cache,
            keep=not no_cache,
            force=force,
            dry_run=dry_run,
            phase=_Phase(say),
            progress=_shown(say),
        )
    if json:
        terminal.json("features/1", _answer(done))
    else:
        _show(terminal, done, output, dry_run=dry_run)
    if not done.accepted:
        raise typer.Exit(ExitStatus.DIFFERENT)
    if not dry_run:
        terminal.next_step(f"tfinspect train-head {shlex.quote(output)} -o head.npz")


class _Phase:
    """Shows what is being done in the one line that is there already."""

    def __init__(self, say: Callable[[str], None]) -> None:
        self._say = say

    def __call__(self, text: str) -> _Phase:
        self._say(text)
        return self

    def __enter__(self) -> None:
        """Nothing is to be set up."""

    def __exit__(self, *_: object) -> None:
        """Nothing is to be taken down."""


def _shown(say: Callable[[str], None]) -> Callable[[Progress], None]:
    """Return what shows images, images a second and the time left, a few times a second."""
    start: float | None = None
    first, last = 0, 0.0

    def show(state: Progress) -> None:
        nonlocal first, last, start
        now = time.monotonic()
        if start is None:  # the time before is that of loading and comparing
            start, first = now, state.done
        if now - last < _SECONDS_BETWEEN:
            return
        last = now
        cached = f", {state.cached:,} from the cache" if state.cached else ""
        words = f"{state.done:,} of {state.total:,} images{cached}"
        if state.done > first and now > start:
            rate = (state.done - first) / (now - start)
            left = (state.total - state.done) / rate
            words += f", {rate:,.0f} images/s, {int(left // _MINUTE)}:{int(left % _MINUTE):02d} left"
        say(words)

    return show


def _answer(done: FeaturesReport) -> dict[str, Any]:
    return {
        "output": done.output or None,
        "images": done.images,
        "computed": done.computed,
        "cached": done.cached,
        "skipped": [{"file": failure.name, "reason": failure.reason} for failure in done.skipped],
        "classes": list(done.classes),
        "width": done.width,
        "bottleneck": done.made["bottleneck"],
        "recipe": done.made["preprocessing"],
        "runtime": done.made["runtime"],
        "engine": done.engine,
        "workers": [{"host": one.host, "pid": one.pid, "images": one.images} for one in done.workers],
        "trunk_sha256": done.made["trunk_sha256"],
        "images_per_second": round(done.images / done.seconds, 1) if done.seconds else None,
        "splits": dict(done.splits),
        "agreement": done.made["agreement"],
        "warnings": list(done.warnings),
        "notes": list(done.notes),
    }


def _show(terminal: Terminal, done: FeaturesReport, output: str, *, dry_run: bool) -> None:
    for text in done.notes:
        terminal.note(text)
    for failure in done.skipped:
        terminal.warn(f"skipped {failure.name}: {failure.reason}")
    for text in done.warnings:
        terminal.warn(text)
    agreement = done.agreement
    if agreement is not None:
        verdict = "match" if agreement.passed else "differ from"
        compared = (
            f"{verdict} TensorFlow's on {plural(agreement.images, 'image')}: "
            f"largest deviation {agreement.max_abs:.3g}, accepted {agreement.tolerance:.3g}"
        )
        if not agreement.passed:
            terminal.entry("features", compared, note=f"worst: {agreement.worst}", style="error")
            terminal.note("nothing was written; let TensorFlow compute them: --runtime tensorflow")
            return
        terminal.entry("features", compared)
    if dry_run:
        terminal.entry("images", f"{done.cached:,} from the cache, {done.computed:,} to compute")
        terminal.note(f"would write {output}")
        return
    rate = f", {done.images / done.seconds:,.0f} images/s" if done.seconds else ""
    terminal.entry("images", f"{done.cached:,} from the cache, {done.computed:,} computed{rate}")
    if done.workers:
        terminal.entry("workers", *(f"{one.host} {one.pid}: {plural(one.images, 'image')}" for one in done.workers))
    terminal.entry("width", f"{done.width:,}")
    terminal.entry("classes", *done.classes)
    terminal.entry("splits", *(f"{count:,} {name}" for name, count in done.splits.items()))
    terminal.note(f"wrote {output} ({plural(done.images, 'image')}, {plural(done.width, 'feature')} each)")
