"""`tfinspect demo`."""

from __future__ import annotations

import contextlib
import io
import json as json_text
import os
import shlex
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TextIO

import typer

from tfinspect.cli.options import Json, Quiet
from tfinspect.cli.terminal import Terminal
from tfinspect.errors import ExitStatus

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tfinspect.api.demo import Outcome, Step


def command(
    *,
    output: Annotated[
        str | None,
        typer.Option(
            "-o",
            "--output",
            metavar="DIR",
            help="Tell it in this new or empty folder, not in a temporary one",
            show_default=False,
        ),
    ] = None,
    finetune: Annotated[
        bool, typer.Option("--finetune", help="Also adjust the trunk itself", show_default=False)
    ] = False,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Show the whole story on drawn flowers, in about a minute.

    A small network that was trained on patterns learns to tell five flowers
    apart: features, head, graft, predict, export. Each command is shown as it
    runs. The folder with all files stays, and its name is printed last. Exit 1
    if fewer than four in five photos are named rightly.

    \b
    Examples:
      See what this program does
        $ tfinspect demo
      In a folder of your own, and fine-tune as well
        $ tfinspect demo --finetune -o flowers
    """  # noqa: D301 - \b is click's mark
    from tfinspect.api.demo import judge, lay_out, steps

    begun = time.monotonic()
    terminal = Terminal(json_mode=json, quiet=quiet)
    with _folder(output, terminal) as folder:
        with terminal.phase("drawing flowers"):
            count = lay_out(folder)
        terminal.note(f"drew {count} photos of five flowers in {folder}")
        told = [_tell(terminal, step, folder) for step in steps(finetune=finetune)]
        with terminal.phase("comparing the models"):
            outcome = judge(folder)
        seconds = time.monotonic() - begun
        if json:
            terminal.json("demo/1", _answer(folder, outcome, told, seconds))
        else:
            _show(terminal, folder, outcome, seconds)
    raise typer.Exit(int(ExitStatus.DIFFERENT if outcome.failures else ExitStatus.OK))


@dataclass(frozen=True, slots=True)
class _Told:
    """A command that has run: as typed, how long it took, and its answer where that is JSON."""

    command: str
    seconds: float
    answer: Any


@contextlib.contextmanager
def _folder(output: str | None, terminal: Terminal) -> Iterator[Path]:
    """Give the folder of the story.

    It stays when the story ends, and when a command of it fails; it goes when it is broken off, or when nobody was told
    where it is.
    """
    from tfinspect.api.demo import clear, empty_folder

    folder, made = (Path(tempfile.mkdtemp(prefix="tfinspect-demo-")), True) if output is None else empty_folder(output)
    try:
        yield folder
    except typer.Exit:
        if output is None and (terminal.json_mode or terminal.quiet):
            clear(folder, made=made)
        raise
    except BaseException:
        clear(folder, made=made)
        raise


def _tell(terminal: Terminal, step: Step, folder: Path) -> _Told:
    """Run one command in the folder, as if it had been typed there.

    Raises:
        KeyboardInterrupt: Ctrl-C was pressed meanwhile.
        ReaderGoneError: whoever read our output has had enough.
        Exit: the command did not end well; it has said why.
    """
    from tfinspect.cli.app import ReaderGoneError, run

    typed = shlex.join(["tfinspect", *step.words])
    silent = terminal.json_mode or terminal.quiet
    if not silent:
        terminal.line()
        terminal.line(f"# {step.about}", "dim")
        terminal.line(f"$ {typed}", "name")
        sys.stdout.flush()  # what a command says on stderr comes after its name
    caught = io.StringIO()
    place = _place(sys.stdout)
    begun = time.monotonic()
    with contextlib.chdir(folder), contextlib.redirect_stdout(caught) if silent else contextlib.nullcontext():
        status = run([*step.words, *(["--json"] if terminal.json_mode else ["--quiet"] if silent else [])])
    if status == ExitStatus.INTERRUPTED:
        raise KeyboardInterrupt
    if _place(sys.stdout) != place:
        raise ReaderGoneError
    if status != ExitStatus.OK:
        terminal.note(f"the story ends at `{typed}`; what there is until now is in {folder}")
        raise typer.Exit(status)
    answer = json_text.loads(caught.getvalue()) if terminal.json_mode else None
    return _Told(typed, time.monotonic() - begun, answer)


def _place(stream: TextIO) -> tuple[int, int] | None:
    """Return which file a stream writes to; None where it is no file."""
    try:
        found = os.fstat(stream.fileno())
    except (OSError, ValueError):
        return None
    return found.st_dev, found.st_ino


def _answer(folder: Path, outcome: Outcome, told: list[_Told], seconds: float) -> dict[str, object]:
    return {
        "output": str(folder),
        "metrics": {
            "test": {"accuracy": outcome.test_accuracy, "count": outcome.test_photos},
            "new": {"accuracy": outcome.new_accuracy, "count": outcome.new_photos},
            "finetuned": None if outcome.finetuned_accuracy is None else {"accuracy": outcome.finetuned_accuracy},
        },
        "onnx": {"same_labels": outcome.same_labels, "max_abs": outcome.deviation},
        "failures": list(outcome.failures),
        "seconds": round(seconds, 3),
        "steps": [{"command": step.command, "seconds": round(step.seconds, 3), "answer": step.answer} for step in told],
    }


def _show(terminal: Terminal, folder: Path, outcome: Outcome, seconds: float) -> None:
    if not terminal.quiet:
        terminal.line()
    terminal.entry("test", f"{outcome.test_accuracy:.1%}", note=f"of {outcome.test_photos} test photos named rightly")
    terminal.entry("new", f"{outcome.new_accuracy:.1%}", note=f"of {outcome.new_photos} new photos named rightly")
    if outcome.finetuned_accuracy is not None:
        terminal.entry("fine-tuned", f"{outcome.finetuned_accuracy:.1%}", note="of the same new photos named rightly")
    alike = "the labels are the same" if outcome.same_labels else "not the same labels"
    terminal.entry("ONNX", f"{outcome.deviation:.1e}", note=f"most a probability differs; {alike}")
    terminal.entry("seconds", f"{seconds:.1f}")
    terminal.entry("folder", str(folder), note="all files; delete it when you have seen enough")
    for failure in outcome.failures:
        terminal.warn(failure)
