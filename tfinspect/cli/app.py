"""The Typer application: a table of commands, each imported when it is used, and the one error boundary."""

from __future__ import annotations

import importlib
import os
import sys
from typing import TYPE_CHECKING, Any, NamedTuple

import typer
from typer.core import TyperGroup

from tfinspect.errors import ExitStatus, TfinspectError

if TYPE_CHECKING:
    from collections.abc import Sequence


class Command(NamedTuple):
    """A row of the command table.

    Attributes:
        section: heading in the help.
        summary: one line in the help.
    """

    section: str
    summary: str


COMMANDS = {
    "info": Command("Look", "Say what a file is and what is in it"),
    "nodes": Command("Look", "List the nodes of a graph"),
    "show": Command("Look", "Show one node: attributes, inputs, consumers, value"),
    "vars": Command("Look", "List the variables of a checkpoint, or read one"),
    "freeze": Command("Change", "Turn a graph and its checkpoint into one self-contained graph"),
    "cut": Command("Change", "Split a graph at a bottleneck tensor"),
    "graft": Command("Change", "Put a trained head onto a trunk"),
    "export": Command("Ship", "Write ONNX or a SavedModel, and prove that the numbers match"),
    "verify": Command("Ship", "Run two models on the same inputs and compare the outputs"),
}


def _load(name: str) -> Any:  # noqa: ANN401 - Typer keeps its click classes private
    module = importlib.import_module(f"tfinspect.cli.commands.{name}")
    single = typer.Typer(add_completion=False, rich_markup_mode=None)
    single.command(name, context_settings={"help_option_names": ["-h", "--help"]})(module.command)
    return typer.main.get_command(single)


class LazyGroup(TyperGroup):
    """Knows its commands by table and imports one when it is called."""

    def list_commands(self, ctx: Any) -> list[str]:  # noqa: ANN401, ARG002
        """Return the names in the order of the table."""
        return list(COMMANDS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:  # noqa: ANN401, ARG002
        """Import and return one command, or None."""
        return _load(cmd_name) if cmd_name in COMMANDS else None

    def format_help(self, ctx: Any, formatter: Any) -> None:  # noqa: ANN401, ARG002
        """Write the overview without importing any command."""
        formatter.write("Look inside TensorFlow models; freeze, cut, graft and export them with proof.\n\n")
        formatter.write("Usage: tfinspect COMMAND [ARGS]\n")
        for section in dict.fromkeys(c.section for c in COMMANDS.values()):
            formatter.write(f"\n{section}\n")
            for name, row in COMMANDS.items():
                if row.section == section:
                    formatter.write(f"  {name:<8} {row.summary}\n")
        formatter.write(
            "\nOptions\n"
            "  --version             Print the version\n"
            "  --install-completion  Complete names of nodes, tensors and variables in this shell\n"
            "  --debug               Show the traceback of a bug\n"
            "\nStart with: tfinspect info FILE          Help: tfinspect COMMAND --help\n"
        )


app = typer.Typer(
    cls=LazyGroup,
    name="tfinspect",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    add_completion=True,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _print_version(wanted: bool) -> None:  # noqa: FBT001 - Typer's callback form
    if wanted:
        from tfinspect import __version__

        sys.stdout.write(f"tfinspect {__version__}\n")
        raise typer.Exit


@app.callback()
def _root(
    *,
    version: bool = typer.Option(False, "--version", callback=_print_version, is_eager=True),
) -> None:
    """Options of the program itself."""


def run(arguments: Sequence[str]) -> int:
    """Run one command line and return its exit status; the only place where errors become output."""
    from tfinspect.cli.terminal import Terminal

    debug = "--debug" in arguments or bool(os.environ.get("TFINSPECT_DEBUG"))
    terminal = Terminal(json_mode="--json" in arguments)
    try:
        status = typer.main.get_command(app).main(
            args=[a for a in arguments if a != "--debug"] or ["--help"], prog_name="tfinspect", standalone_mode=False
        )
        sys.stdout.flush()
    except TfinspectError as error:
        terminal.error(error)
        if debug:
            raise
        return int(error.exit_status)
    except typer.TyperException as error:
        _usage_error(terminal, error)
        return int(ExitStatus.USAGE)
    except BrokenPipeError:
        # the reader has enough, as in `tfinspect nodes g.pb | head -1`; keep the interpreter from flushing again
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return int(ExitStatus.OK)
    except KeyboardInterrupt:
        sys.stderr.write("\n")
        return int(ExitStatus.INTERRUPTED)
    except Exception as error:
        if debug:
            raise
        return _bug(error)
    return status if isinstance(status, int) else int(ExitStatus.OK)


def _usage_error(terminal: Any, error: Any) -> None:  # noqa: ANN401 - Typer keeps its click classes private
    from tfinspect.errors import UsageError

    context = getattr(error, "ctx", None)
    path = context.command_path if context is not None else "tfinspect"
    message = error.format_message().rstrip(".")
    terminal.error(UsageError(message[:1].lower() + message[1:], hint=f"{path} --help"))


def _bug(error: Exception) -> int:
    if isinstance(error, MemoryError):
        sys.stderr.write("error: out of memory\n")
        return int(ExitStatus.IMPOSSIBLE)
    place = error.__traceback__
    while place is not None and place.tb_next is not None:
        place = place.tb_next
    where = f" ({os.path.basename(place.tb_frame.f_code.co_filename)}:{place.tb_lineno})" if place else ""  # noqa: PTH119
    text = str(error).splitlines()[0] if str(error) else ""
    sys.stderr.write(
        f"error: a bug in tfinspect: {type(error).__name__}: {text}{where}; add --debug for the traceback\n"
    )
    return int(ExitStatus.BUG)
