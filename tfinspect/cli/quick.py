"""`--help`, `--version`, `nodes FILE` and `vars FILE [--stats]` without Typer, which loads longer than they answer.

Only the plain form is known here. Anything else, and anything that goes wrong, is left to `app`, which reads the line
again: it alone knows the options, and how errors are shown.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from tfinspect.errors import ExitStatus

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tfinspect.cli.terminal import Terminal

_PAGES = ("--help", "-h", "--version")
_JSON, _QUIET, _STATS = "--json", ("-q", "--quiet"), "--stats"


def run(words: Sequence[str]) -> ExitStatus | None:
    """Answer a command line of the plain form, or return None."""
    from tfinspect.cli.terminal import Terminal, forget_output

    verb, *rest = words or ["--help"]
    if verb in _PAGES and not rest:
        return _page(verb)
    paths = [word for word in rest if not word.startswith("-")]
    flags = {word for word in rest if word.startswith("-")}
    known = {_JSON, *_QUIET, _STATS} if verb == "vars" else {_JSON, *_QUIET}
    if verb not in {"nodes", "vars"} or len(paths) != 1 or not flags <= known:
        return None
    terminal = Terminal(json_mode=_JSON in flags, quiet=not flags.isdisjoint(_QUIET))
    try:
        _answer(terminal, verb, paths[0], stats=_STATS in flags)
        sys.stdout.flush()
    except BrokenPipeError:
        forget_output()
    except KeyboardInterrupt:
        sys.stderr.write("\n")
        return ExitStatus.INTERRUPTED
    except Exception:  # noqa: BLE001 - met again at the error boundary of `app`; nothing was printed yet
        return None
    return ExitStatus.OK


def _page(flag: str) -> ExitStatus:
    from tfinspect.cli import overview
    from tfinspect.cli.terminal import forget_output

    try:
        sys.stdout.write(overview.version() if flag == "--version" else overview.text())
        sys.stdout.flush()
    except BrokenPipeError:
        forget_output()
    return ExitStatus.OK


def _answer(terminal: Terminal, verb: str, path: str, *, stats: bool) -> None:
    from tfinspect.cli import listings

    if verb == "nodes":
        from tfinspect.api import listing

        listings.show_nodes(terminal, list(listing.nodes(path)))
        return
    from tfinspect import formats

    checkpoint = formats.read_checkpoint(path)
    found = list(checkpoint.variables.values())
    if stats:
        rows, failure = listings.read_stats(terminal, checkpoint, found)
        if failure is not None:
            raise failure
        listings.show_stats(terminal, checkpoint, rows)
    else:
        listings.show_variables(terminal, checkpoint, found)
