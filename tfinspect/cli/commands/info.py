"""`tfinspect info`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from tfinspect.cli.options import Inputs, Json, Quiet, Verbose
from tfinspect.cli.terminal import Terminal

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tfinspect.errors import TfinspectError


def command(
    path: Annotated[str, typer.Argument(metavar="PATH", help="Any model file or folder", show_default=False)],
    *,
    inputs: Inputs = None,
    checksums: Annotated[
        bool, typer.Option("--checksums", help="Read everything and compare every checksum", show_default=False)
    ] = False,
    risks: Annotated[
        bool, typer.Option("--risks", help="List what it could do to whoever runs it", show_default=False)
    ] = False,
    json: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Say what a file or folder is: inputs, outputs, where it can be cut, what stands in the way.

    A folder that holds several models gets a line for each.

    \b
    Examples:
      What is this?
        $ tfinspect info model.pb
      What is in this folder?
        $ tfinspect info models/
      Does it touch files, the network, or run code of its own?
        $ tfinspect info saved_model/ --risks
      Has it come over whole?
        $ tfinspect info saved_model/ --checksums
      For a script
        $ tfinspect info model.pb --json
    """  # noqa: D301 - \b is click's mark
    from tfinspect.api.info import info
    from tfinspect.api.survey import survey
    from tfinspect.cli.info_json import info_json, survey_json
    from tfinspect.cli.info_text import show_info, show_survey

    terminal = Terminal(json_mode=json, quiet=quiet, verbose=verbose)
    if checksums:
        _compare_checksums(terminal, path)
        return
    if risks:
        _list_risks(terminal, path)
        return
    members = survey(path)
    if members is not None:
        if json:
            terminal.json("info/1", survey_json(members))
        else:
            show_survey(terminal, members)
        _end(terminal, members.problems)
        return
    found = info(path, inputs=inputs or ())
    if json:
        terminal.json("info/1", info_json(found))
    else:
        show_info(terminal, found)
    _end(terminal, found.problems)


def _list_risks(terminal: Terminal, path: str) -> None:
    from tfinspect.api.risks import risks
    from tfinspect.cli.risk_lines import risks_json, show_risks

    found = risks(path)
    if terminal.json_mode:
        terminal.json("risks/1", {"path": path, **risks_json(found)})
    else:
        show_risks(terminal, found)


def _compare_checksums(terminal: Terminal, path: str) -> None:
    from tfinspect.api.checksums import checksums
    from tfinspect.cli.info_text import show_checks
    from tfinspect.errors import InputError

    with terminal.phase("reading everything"):
        checks = list(checksums(path))
    failed = [check for check in checks if check.status == "failed"]
    if terminal.json_mode:
        rows = [{"what": c.what, "status": c.status, "detail": c.detail} for c in checks]
        terminal.json("checksums/1", {"path": path, "whole": not failed, "checks": rows})
    else:
        show_checks(terminal, checks)
    if failed:
        raise InputError(
            f"{path} is damaged: {failed[0].what}: {failed[0].detail}",
            details=[f"{c.what}: {c.detail}" for c in failed[1:8]],
            hint="copy it again from where it was saved",
            evidence={"path": path, "failed": [c.what for c in failed]},
        )


def _end(terminal: Terminal, problems: Sequence[TfinspectError]) -> None:
    """Say what could not be read; with --json the answer holds it already, and stderr gets the first."""
    for problem in problems[:1] if terminal.json_mode else problems:
        terminal.error(problem)
    if problems:
        raise typer.Exit(int(problems[0].exit_status))
