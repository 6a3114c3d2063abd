"""What `nodes` and `vars` print; no Typer here, so that `quick` can print it without."""

from __future__ import annotations

import itertools
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

from tfinspect.cli.render import format_nbytes, plural
from tfinspect.cli.terminal import escape
from tfinspect.ir.shapes import format_shape

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from tfinspect.api.node_rows import NodeRow
    from tfinspect.cli.terminal import Terminal
    from tfinspect.ir.checkpoint import Checkpoint, VariableInfo
    from tfinspect.ir.dtypes import DType
    from tfinspect.ir.shapes import Shape


_COLUMNS = ("NAME", "OP", "DTYPE", "SHAPE", "INPUTS")


def show_nodes(terminal: Terminal, rows: Sequence[NodeRow], *, everywhere: bool = False) -> None:
    """Print a list of nodes.

    Args:
        terminal: where to.
        rows: the nodes.
        everywhere: tell the function of each: in a last column, on a terminal in a heading above its nodes.
    """
    if terminal.json_mode:
        terminal.json("nodes/1", {"nodes": [row.to_json() for row in rows]})
        return
    if not everywhere:
        terminal.table(_COLUMNS, _cells(rows))
    elif not terminal.is_tty:
        cells = zip(_cells(rows), rows, strict=True)
        terminal.table((*_COLUMNS, "FUNCTION"), ((*row_cells, row.function or "") for row_cells, row in cells))
    else:
        for function, group in itertools.groupby(rows, lambda row: row.function):
            if function:
                terminal.line()
                terminal.line(f"function {escape(function)}")
            terminal.table(_COLUMNS, _cells(list(group)))
    if terminal.is_tty or terminal.verbose or not rows:
        terminal.note(plural(len(rows), "node"))


def _cells(rows: Iterable[NodeRow]) -> Iterator[tuple[str, ...]]:
    told: dict[tuple[DType | None, Shape], tuple[str, str]] = {}  # graphs have few kinds of tensors
    for name, op, inputs, dtype, shape, *_ in rows:
        kind = told.get((dtype, shape))
        if kind is None:
            kind = told[dtype, shape] = ("?" if dtype is None else str(dtype), format_shape(shape))
        yield (name, op, *kind, ", ".join(inputs))


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
