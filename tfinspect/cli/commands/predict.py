"""`tfinspect predict`."""

from __future__ import annotations

import contextlib
import sys
from time import monotonic
from typing import TYPE_CHECKING, Annotated

import typer

from tfinspect.cli.options import Force, Inputs, Json, Outputs, Quiet, Settings, Verbose
from tfinspect.cli.photo_options import Bgr, Mean, Scale, Size, parse_size
from tfinspect.cli.render import plural
from tfinspect.cli.terminal import Terminal, escape, shorten
from tfinspect.errors import ExitStatus

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager

    from tfinspect.api.predict import Predictions

_BAR = 24
_EIGHTHS = " ▏▎▍▌▋▊▉█"
_LEAST_LABEL, _MOST_LABEL = 10, 32


def command(
    model: Annotated[
        str,
        typer.Argument(
            metavar="MODEL", help=".pb, .pbtxt, .meta, checkpoint, SavedModel folder or .onnx", show_default=False
        ),
    ],
    images: Annotated[
        list[str],
        typer.Argument(metavar="IMAGE", help="Photos, or folders with photos below them", show_default=False),
    ],
    *,
    top: Annotated[int, typer.Option("--top", metavar="K", help="Classes of each photo, best first")] = 5,
    inputs: Inputs = None,
    outputs: Outputs = None,
    setting: Settings = None,
    size: Size = None,
    mean: Mean = None,
    scale: Scale = None,
    bgr: Bgr = False,
    labels: Annotated[
        str | None,
        typer.Option("--labels", metavar="FILE", help="Names of the classes, one a line", show_default=False),
    ] = None,
    sheet: Annotated[
        str | None,
        typer.Option("--sheet", metavar="OUT.png", help="Also draw all photos with labels", show_default=False),
    ] = None,
    force: Force = False,
    json: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Say what is on photos: labels and probabilities, best first.

    JPEG, PNG, GIF, BMP and WebP. Photos are prepared as the model does it
    itself, else as was recorded with it or is said here. Labels are those kept
    with the model: MODEL.labels.txt, assets, or ONNX metadata. A broken photo
    is named and left out, with exit status 3 at the end.

    \b
    Examples:
      What is on a photo
        $ tfinspect predict flowers.pb photo.jpg
      The best class of each photo in a folder, as a picture too
        $ tfinspect predict flowers.onnx photos --top 1 --sheet sheet.png
    """  # noqa: D301 - \b is click's mark
    from tfinspect.api.predict import predict

    terminal = Terminal(json_mode=json, quiet=quiet, verbose=verbose)
    started = monotonic()
    with terminal.progress("reading the model") as show:
        done = predict(
            model,
            images,
            top=top,
            inputs=inputs or (),
            outputs=outputs or (),
            settings=setting or (),
            size=parse_size(size),
            mean=mean or None,
            scale=scale or None,
            bgr=True if bgr else None,
            labels=labels,
            sheet=sheet,
            force=force,
            phase=_phases(show),
            progress=lambda count, total: show(_pace(count, total, monotonic() - started)),
        )
    for note in done.notes:
        terminal.note(note)
    for entry in done.skipped:
        terminal.warn(entry.reason)
    if json:
        terminal.json("predict/1", _json(done, sheet))
    else:
        _show(terminal, done)
    if sheet is not None:
        terminal.note(f"wrote {sheet}")
    if done.skipped:
        terminal.note(f"{plural(len(done.skipped), 'photo')} of {len(done.skipped) + len(done.predictions):,} left out")
        raise typer.Exit(int(ExitStatus.UNREADABLE))


def _phases(show: Callable[[str], None]) -> Callable[[str], AbstractContextManager[None]]:
    @contextlib.contextmanager
    def phase(text: str) -> Iterator[None]:
        show(text)
        yield

    return phase


def _pace(count: int, total: int, seconds: float) -> str:
    return f"{count:,} of {total:,} photos, {count / max(seconds, 1e-9):,.0f} a second"


def _json(done: Predictions, sheet: str | None) -> dict[str, object]:
    return {
        "model": done.model,
        "predictions": [
            {
                "image": p.image,
                "top": [{"label": s.label, "index": s.index, done.measure: s.probability} for s in p.top],
            }
            for p in done.predictions
        ],
        "skipped": [{"image": entry.image, "reason": entry.reason} for entry in done.skipped],
        "output": done.output,
        "classes": done.classes,
        "runtime": done.runtime,
        "preprocessing": None if done.preprocessing is None else done.preprocessing.to_json(),
        "notes": list(done.notes),
        "sheet": sheet,
    }


def _show(terminal: Terminal, done: Predictions) -> None:
    if not terminal.is_tty:
        rows = (
            (p.image, str(rank), score.name, repr(score.probability))
            for p in done.predictions
            for rank, score in enumerate(p.top, 1)
        )
        terminal.table(("IMAGE", "RANK", "LABEL", done.measure.upper()), rows)
        return
    names = [escape(score.name) for p in done.predictions for score in p.top]
    width = min(_MOST_LABEL, max(map(len, names), default=0))
    width = max(_LEAST_LABEL, min(width, terminal.columns - _BAR // 2))
    room = max(0, min(_BAR, terminal.columns - width - 14))
    for p in done.predictions:
        terminal.line(escape(p.image), "name")
        for rank, score in enumerate(p.top):
            label = shorten(escape(score.name), width).ljust(width)
            if done.measure == "value":
                terminal.line(f"  {label}  {score.probability:g}")
            else:
                line = f"  {label}  {100 * score.probability:5.1f} %  {_bar(score.probability, room)}"
                terminal.line(line.rstrip(), "good" if rank == 0 else None)


def _bar(share: float, room: int) -> str:
    """Return a bar of up to `room` characters, an eighth of one the least."""
    eighths = round(min(1.0, max(0.0, share)) * room * 8)
    whole, part = divmod(eighths, 8)
    try:
        bar = _EIGHTHS[8] * whole + (_EIGHTHS[part] if part else "")
        bar.encode(sys.stdout.encoding or "utf-8")
    except UnicodeEncodeError:
        return "#" * round(eighths / 8)
    return bar
