"""`tfinspect vars`."""

from __future__ import annotations

import sys
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from tfinspect.cli import complete
from tfinspect.cli.listings import show_stats, show_variables
from tfinspect.cli.options import Json, Quiet, Verbose
from tfinspect.cli.render import json_values, plural
from tfinspect.cli.terminal import Terminal
from tfinspect.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tfinspect.ir.checkpoint import Checkpoint, VariableInfo


class RoleChoice(StrEnum):
    """What `--role` takes."""

    weight = "weight"
    slot = "slot"
    step = "step"
    bookkeeping = "bookkeeping"


def command(
    checkpoint: Annotated[
        str,
        typer.Argument(metavar="CKPT", help="Prefix, .index, .data-*, .meta, V1 file, or folder", show_default=False),
    ],
    *,
    match: Annotated[
        str | None,
        typer.Option("--match", metavar="GLOB", help="Only names that match", autocompletion=complete.variables),
    ] = None,
    role: Annotated[RoleChoice | None, typer.Option("--role", help="Only this role", show_default=False)] = None,
    read: Annotated[
        str | None,
        typer.Option("--read", metavar="NAME", help="Print one value", autocompletion=complete.variables),
    ] = None,
    stats: Annotated[
        bool, typer.Option("--stats", help="Read all values: min, max, mean, std, zeros, NaN, Inf", show_default=False)
    ] = False,
    json: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """List the variables of a checkpoint, without TensorFlow and without reading their values.

    Columns: name, dtype, shape, bytes, role.

    \b
    Examples:
      Everything a checkpoint holds
        $ tfinspect vars model.ckpt-7
      Only what the model computes with
        $ tfinspect vars model.ckpt-7 --role weight
      One value, its checksum checked
        $ tfinspect vars model.ckpt-7 --read conv/weights
    """  # noqa: D301 - \b is click's mark
    from tfinspect import formats
    from tfinspect.api import listing

    terminal = Terminal(json_mode=json, quiet=quiet, verbose=verbose)
    opened = formats.read_checkpoint(checkpoint)
    if read is not None and (match is not None or role is not None):
        raise UsageError("--read prints one value; --match and --role choose from a list")
    if read is not None:
        _print_value(terminal, opened, read)
        return
    found = listing.variables(opened, match=match, role=None if role is None else role.value)
    if stats:
        _print_stats(terminal, opened, found)
        return
    show_variables(terminal, opened, found)


def _print_stats(terminal: Terminal, checkpoint: Checkpoint, found: Sequence[VariableInfo]) -> None:
    from tfinspect.api import stats

    rows = []
    with terminal.progress(f"reading {plural(len(found), 'variable')}") as say:
        for row in stats.each(checkpoint, found):
            rows.append(row)
            say(f"reading {plural(len(found), 'variable')}: {len(rows):,} done")
    show_stats(terminal, checkpoint, rows)
    failure = stats.failure(checkpoint.path, rows)
    if failure is not None:
        raise failure


def _print_value(terminal: Terminal, checkpoint: Checkpoint, name: str) -> None:
    import numpy as np

    info = checkpoint.variable(name)
    value = checkpoint.read(name)
    if terminal.json_mode:
        content = {"name": name, "dtype": str(info.dtype), "shape": list(info.shape), "value": json_values(value)}
        terminal.json("value/1", content)
    elif terminal.is_tty:
        terminal.line(str(value))
    else:
        with np.printoptions(threshold=sys.maxsize):
            terminal.line(str(value))
