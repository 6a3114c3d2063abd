"""The Typer application: a table of commands, each imported when it is used, and the one error boundary."""

from __future__ import annotations

import importlib
import os
import re
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer
from typer.core import TyperCommand, TyperGroup

from tfinspect.cli import overview
from tfinspect.cli.overview import COMMANDS
from tfinspect.errors import ExitStatus, LimitError, TfinspectError, UsageError, near_names

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


_HELP = {"help_option_names": ["-h", "--help"]}
_PLACES: Final = {"GRAPH": "graph", "MODEL": "graph", "HEAD": "head", "CKPT": "checkpoint"}
_PLACE = re.compile(rf"(?<![\w/.`-])({'|'.join(_PLACES)})(?![\w/.`-])")


class ReaderGoneError(Exception):
    """Whoever read our output has had enough, as in `tfinspect nodes g.pb | head -1`.

    Typer ends with status 1 on a BrokenPipeError before anybody else sees it; this one it lets through.
    """


class Verb(TyperCommand):
    """One command; puts the file that was typed into hints that say GRAPH."""

    def invoke(self, ctx: Any) -> Any:  # noqa: ANN401 - Typer keeps its click classes private
        """Run the command."""
        try:
            return super().invoke(ctx)
        except TfinspectError as error:
            error.hint = _filled(error.hint, ctx.params)
            raise
        except BrokenPipeError:
            raise ReaderGoneError from None


def _filled(hint: str | None, params: Mapping[str, Any]) -> str | None:
    def typed(match: re.Match[str]) -> str:
        value = params.get(_PLACES[match[1]])
        return shlex.quote(value) if isinstance(value, str) else match[0]

    return None if hint is None else _PLACE.sub(typed, hint)


def _load(name: str) -> Any:  # noqa: ANN401 - Typer keeps its click classes private
    module = importlib.import_module(f"tfinspect.cli.commands.{name.replace('-', '_')}")
    single = typer.Typer(add_completion=False, rich_markup_mode=None)
    single.command(name, cls=Verb, context_settings=_HELP)(module.command)
    return typer.main.get_command(single)


class LazyGroup(TyperGroup):
    """Knows its commands by table and imports one when it is called."""

    def list_commands(self, ctx: Any) -> list[str]:  # noqa: ANN401, ARG002
        """Return the names in the order of the table."""
        return list(COMMANDS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:  # noqa: ANN401, ARG002
        """Import and return one command, or None."""
        return _load(cmd_name) if cmd_name in COMMANDS else None

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:  # noqa: ANN401
        """Find the command that was typed.

        Raises:
            UsageError: there is none of that name; hints at near ones, or at `info` where it is a file.
        """
        word = args[0]
        if word in COMMANDS or word.startswith("-") or ctx.resilient_parsing:
            return super().resolve_command(ctx, args)
        near = near_names(word, COMMANDS)
        if near:
            rest = args[1:]
            hint = "did you mean " + " or ".join(f"`{shlex.join(['tfinspect', name, *rest])}`" for name in near) + "?"
        elif os.path.lexists(word):
            hint = f"tfinspect info {shlex.quote(word)}"
        else:
            hint = "tfinspect --help"
        raise UsageError(f"no such command `{word}`", hint=hint, evidence={"command": word, "near": near})

    def format_help(self, ctx: Any, formatter: Any) -> None:  # noqa: ANN401, ARG002
        """Write the overview without importing any command."""
        formatter.write(overview.text())


app = typer.Typer(
    cls=LazyGroup,
    name="tfinspect",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    add_completion=False,  # see `completion_scripts`
    context_settings=_HELP,
)


def _print_version(wanted: bool) -> None:  # noqa: FBT001 - Typer's callback form
    if wanted:
        sys.stdout.write(overview.version())
        raise typer.Exit


@app.callback()
def _root(
    *,
    version: Annotated[bool, typer.Option("--version", callback=_print_version, is_eager=True)] = False,
) -> None:
    """Options of the program itself."""


def run(arguments: Sequence[str]) -> int:
    """Run one command line and return its exit status; the only place where errors become output."""
    from tfinspect.cli.terminal import forget_output

    words, debug = _without_debug(arguments)
    try:
        status = _dispatch(words, debug=debug or bool(os.environ.get("TFINSPECT_DEBUG")))
        sys.stdout.flush()
    except (BrokenPipeError, ReaderGoneError):
        forget_output()
        return int(ExitStatus.OK)
    return int(status)


def _without_debug(arguments: Sequence[str]) -> tuple[list[str], bool]:
    """Take `--debug` out, which goes anywhere before `--`."""
    end = list(arguments).index("--") if "--" in arguments else len(arguments)
    options = [word for word in arguments[:end] if word != "--debug"]
    return [*options, *arguments[end:]], len(options) < end


def _dispatch(words: list[str], *, debug: bool) -> int:
    from tfinspect.cli import completion_scripts
    from tfinspect.cli.terminal import Terminal

    terminal = Terminal(json_mode="--json" in words)
    failure: TfinspectError
    cause: BaseException
    try:
        if completion_scripts.run(words):
            return ExitStatus.OK
        status = typer.main.get_command(app).main(
            args=words or ["--help"], prog_name="tfinspect", standalone_mode=False
        )
    except TfinspectError as error:
        failure, cause = error, error
    except typer.TyperException as error:
        failure, cause = _usage_error(error, words), error
    except (KeyboardInterrupt, typer.Abort):
        sys.stderr.write("\n")
        return ExitStatus.INTERRUPTED
    except (BrokenPipeError, ReaderGoneError):
        raise
    except Exception as error:  # noqa: BLE001 - the boundary: whatever comes here is a bug of ours
        failure, cause = _bug(error), error
    else:
        return status if isinstance(status, int) else ExitStatus.OK
    if debug:
        import traceback

        traceback.print_exception(cause)
    terminal.error(failure)
    return failure.exit_status


def _usage_error(error: Any, words: list[str]) -> UsageError:  # noqa: ANN401 - Typer keeps its click classes private
    """Say in our own words what Typer found wrong with a command line."""
    context = getattr(error, "ctx", None)
    path = f"tfinspect {words[0]}" if words[0] in COMMANDS else "tfinspect"
    hint = f"{path} --help"
    option = getattr(error, "option_name", None)
    if option is not None and hasattr(error, "possibilities"):
        known = [name for param in context.command.params for name in param.opts] if context is not None else []
        near = near_names(option, error.possibilities or known)
        if near:
            hint = "did you mean " + " or ".join(f"`{name}`" for name in near) + f"? all: {path} --help"
        return UsageError(f"no such option `{option}`", hint=hint, evidence={"option": option, "near": near})
    wrong = getattr(error.__cause__, "errors", None)
    if wrong is not None:  # pydantic's
        return UsageError(_wrong_value(error.param, wrong()[0]), hint=hint)
    message = error.format_message().rstrip(".").replace("'", "`")
    return UsageError(message[:1].lower() + message[1:], hint=hint)


def _wrong_value(param: Any, found: Mapping[str, Any]) -> str:  # noqa: ANN401 - Typer's parameter
    name = max(param.opts, key=len) if param.opts[0].startswith("-") else param.opts[0].upper()
    choices = param.type_descriptor.choices
    if choices:
        wanted = [str(choice.value) for choice in choices]
        words = f"{', '.join(wanted[:-1])} or {wanted[-1]}"
    else:
        words = {"int_parsing": "a whole number", "float_parsing": "a number"}.get(found["type"], "another value")
    return f"`{name}` takes {words}, not `{found['input']}`"


def _bug(error: Exception) -> TfinspectError:
    if isinstance(error, MemoryError):
        return LimitError("out of memory")
    place = error.__traceback__
    while place is not None and place.tb_next is not None:
        place = place.tb_next
    where = "" if place is None else f" ({Path(place.tb_frame.f_code.co_filename).name}:{place.tb_lineno})"
    text = str(error).splitlines()[0] if str(error) else ""
    return TfinspectError(
        f"a bug in tfinspect: {type(error).__name__}: {text}{where}",
        hint="add --debug for the traceback, and report it",
    )
