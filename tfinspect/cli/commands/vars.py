"""`tfinspect vars`."""

from __future__ import annotations

import sys
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tfinspect.cli import complete
from tfinspect.cli.listings import read_stats, show_stats, show_variables
from tfinspect.cli.options import Force, Json, Quiet, Verbose
from tfinspect.cli.render import format_nbytes, json_values, plural
from tfinspect.cli.terminal import Terminal, escape
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
        list[str] | None,
        typer.Option("--read", metavar="NAME", help="This value; repeat", autocompletion=complete.variables),
    ] = None,
    stats: Annotated[
        bool, typer.Option("--stats", help="Read all values: min, max, mean, std, zeros, NaN, Inf", show_default=False)
    ] = False,
    output: Annotated[
        str | None,
        typer.Option(
            "-o", "--output", metavar="FILE", help="Write values: .npy, .npz, .safetensors", show_default=False
        ),
    ] = None,
    force: Force = False,
    json: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """List the variables of a checkpoint, without TensorFlow; read, summarise or write their values.

    Columns: name, dtype, shape, bytes, role. With --stats: name, dtype, shape, min, max, mean, std, zeros, NaN, Inf;
    the first four over the finite values, of complex numbers over the magnitudes, and std that of a whole population.
    Where a checkpoint says so, two more: what a person calls the variable, and the variable that a slot belongs to.

    \b
    Examples:
      Everything a checkpoint holds
        $ tfinspect vars model.ckpt-7
      Only what the model computes with
        $ tfinspect vars model.ckpt-7 --role weight
      Is anything NaN, dead or far too large? Reads all values and checks their checksums
        $ tfinspect vars model.ckpt-7 --stats
      One value, its checksum checked
        $ tfinspect vars model.ckpt-7 --read conv/weights
      All weights in one file that other programs read
        $ tfinspect vars model.ckpt-7 --role weight -o weights.safetensors
    """  # noqa: D301 - \b is click's mark
    from tfinspect import formats
    from tfinspect.api import listing

    terminal = Terminal(json_mode=json, quiet=quiet, verbose=verbose)
    _check_flags(read, match, role, output, stats=stats)
    opened = formats.read_checkpoint(checkpoint)
    if read:
        found = [opened.variable(name) for name in dict.fromkeys(read)]
    else:
        found = listing.variables(opened, match=match, role=None if role is None else role.value)
    if output is not None:
        _write(terminal, opened, found, output, whole=not read and match is None, force=force)
    elif read:
        _print_values(terminal, opened, found)
    elif stats:
        rows, failure = read_stats(terminal, opened, found)
        show_stats(terminal, opened, rows)
        if failure is not None:
            raise failure
    else:
        show_variables(terminal, opened, found)


def _check_flags(
    read: list[str] | None, match: str | None, role: RoleChoice | None, output: str | None, *, stats: bool
) -> None:
    if read and (match is not None or role is not None):
        raise UsageError("--read prints one value; --match and --role choose from a list")
    if stats and (read or output is not None):
        other = "--read" if read else "-o"
        raise UsageError(f"--stats prints figures, {other} gives the values themselves: one at a time")
    if output is not None:
        from tfinspect.api import weights_out

        weights_out.check_name(output)


def _write(
    terminal: Terminal, checkpoint: Checkpoint, found: Sequence[VariableInfo], output: str, *, whole: bool, force: bool
) -> None:
    from tfinspect.api import weights_out

    found, left_out = weights_out.without_records(found, output) if whole else (found, [])
    total = format_nbytes(sum(variable.nbytes for variable in found))
    with terminal.phase(f"writing {plural(len(found), 'variable')}, {total}"):
        nbytes = weights_out.write(checkpoint, found, output, force=force)
    if terminal.json_mode:
        names = [variable.name for variable in found]
        content = {"output": output, "nbytes": nbytes, "variables": names, "left_out": [v.name for v in left_out]}
        terminal.json("vars-written/1", content)
    for record in left_out:
        terminal.note(f"left out {record.name}: a record of the trainer, which has no place there")
    terminal.note(f"wrote {output} ({plural(len(found), 'variable')}, {format_nbytes(nbytes)})")


def _print_values(terminal: Terminal, checkpoint: Checkpoint, found: Sequence[VariableInfo]) -> None:
    """Print values: one alone, several each under its name."""
    if terminal.json_mode:
        values = [
            {
                "name": info.name,
                "dtype": str(info.dtype),
                "shape": list(info.shape),
                "value": json_values(checkpoint.read(info.name)),
            }
            for info in found
        ]
        if len(values) == 1:
            terminal.json("value/1", values[0])
        else:
            terminal.json("values/1", {"values": values})
        return
    for info in found:
        text = _text(terminal, checkpoint.read(info.name))
        if len(found) > 1:
            terminal.line(escape(info.name), "name")
        terminal.line(text)


def _text(terminal: Terminal, value: Any) -> str:  # noqa: ANN401 - an array
    import numpy as np

    if terminal.is_tty:
        return str(value)
    with np.printoptions(threshold=sys.maxsize):
        return str(value)
