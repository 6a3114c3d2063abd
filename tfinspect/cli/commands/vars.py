"""`tfinspect vars`."""

from __future__ import annotations

from collections import Counter
from enum import StrEnum
from typing import Annotated

import typer

from tfinspect.cli import complete
from tfinspect.cli.options import Json, Quiet
from tfinspect.cli.render import format_nbytes
from tfinspect.cli.terminal import Terminal
from tfinspect.ir.shapes import format_shape


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
    json: Json = False,
    quiet: Quiet = False,
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

    terminal = Terminal(json_mode=json, quiet=quiet)
    opened = formats.read_checkpoint(checkpoint)
    if read is not None:
        info = opened.variable(read)
        value = opened.read(read)
        if json:
            listed = (
                [v.decode("utf-8", "replace") for v in value.reshape(-1)] if value.dtype.hasobject else value.tolist()
            )
            terminal.json(
                "value/1", {"name": info.name, "dtype": str(info.dtype), "shape": list(info.shape), "value": listed}
            )
        else:
            terminal.line(str(value))
        return
    found = listing.variables(opened, match=match, role=None if role is None else role.value)
    if json:
        rows = [
            {"name": v.name, "dtype": str(v.dtype), "shape": list(v.shape), "nbytes": v.nbytes, "role": v.role}
            for v in found
        ]
        terminal.json("vars/1", {"checkpoint": opened.path, "format": opened.format, "variables": rows})
        return
    sizes = format_nbytes if terminal.is_tty else str
    terminal.table(
        ("NAME", "DTYPE", "SHAPE", "SIZE", "ROLE"),
        ((v.name, str(v.dtype), format_shape(v.shape), sizes(v.nbytes), v.role) for v in found),
        right=(3,),
    )
    counts = ", ".join(f"{n:,} {kind}" for kind, n in Counter(v.role for v in found).items())
    if terminal.is_tty or not found:
        total = format_nbytes(sum(v.nbytes for v in found))
        terminal.note(f"{len(found):,} variables, {total}" + (f" ({counts})" if counts else ""))
