"""What `nodes` and `vars` print; no Typer here, so that `quick` can print it without."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

from tfinspect.cli.render import format_nbytes, plural
from tfinspect.ir.shapes import format_shape

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tfinspect.api.listing import NodeRow
    from tfinspect.cli.terminal import Terminal
    from tfinspect.ir.checkpoint import Checkpoint, VariableInfo


def show_nodes(terminal: Terminal, rows: Sequence[NodeRow]) -> None:
    """Print a list of nodes."""
    if terminal.json_mode:
        terminal.json("nodes/1", {"nodes": [row.to_json() for row in rows]})
        return
    cells = (
        (
            row.node.name,
            row.node.op,
            "?" if row.dtype is None else str(row.dtype),
            format_shape(row.shape),
            ", ".join(row.node.inputs),
        )
        for row in rows
    )
    terminal.table(("NAME", "OP", "DTYPE", "SHAPE", "INPUTS"), cells)
    if terminal.is_tty or terminal.verbose or not rows:
        terminal.note(plural(len(rows), "node"))


def show_variables(terminal: Terminal, checkpoint: Checkpoint, found: Sequence[VariableInfo]) -> None:
    """Print a list of variables of a checkpoint."""
    missing = [path for path in checkpoint.files if not Path(path).is_file()]
    if terminal.json_mode:
        rows = [
            {"name": v.name, "dtype": str(v.dtype), "shape": list(v.shape), "nbytes": v.nbytes, "role": v.role}
            for v in found
        ]
        content = {"checkpoint": checkpoint.path, "format": checkpoint.format, "missing_files": missing}
        terminal.json("vars/1", {**content, "variables": rows})
        return
    sizes = format_nbytes if terminal.is_tty else str
    terminal.table(
        ("NAME", "DTYPE", "SHAPE", "SIZE", "ROLE"),
        ((v.name, str(v.dtype), format_shape(v.shape), sizes(v.nbytes), v.role) for v in found),
        right=(3,),
    )
    for path in missing:
        terminal.warn(f"{path} is missing, and the values in it cannot be read")
    counts = ", ".join(f"{n:,} {kind}" for kind, n in Counter(v.role for v in found).items())
    if terminal.is_tty or terminal.verbose or not found:
        total = format_nbytes(sum(v.nbytes for v in found))
        terminal.note(f"{plural(len(found), 'variable')}, {total}" + (f" ({counts})" if counts else ""))
