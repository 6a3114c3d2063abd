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
    from tfinspect.api.stats import StatsRow
    from tfinspect.cli.terminal import Terminal
    from tfinspect.errors import TfinspectError
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
    """Print a list of variables of a checkpoint, and which network they are where that is known."""
    from tfinspect.api import rebuild

    network = rebuild.known_network(checkpoint)
    missing = [path for path in checkpoint.files if not Path(path).is_file()]
    if terminal.json_mode:
        known = None if network is None else rebuild.to_json(network)
        _variables_json(terminal, checkpoint, [_variable_json(v) for v in found], missing, network=known)
        return
    sizes = format_nbytes if terminal.is_tty else str
    shapes = {shape: format_shape(shape) for shape in {v.shape for v in found}}  # a model has few different ones
    dtypes = {dtype: str(dtype) for dtype in {v.dtype for v in found}}
    rows: Iterable[tuple[str, ...]]
    names, titles, columns = _said_of(terminal, found)
    rows = (
        (name, dtypes[v.dtype], shapes[v.shape], sizes(v.nbytes), v.role) for name, v in zip(names, found, strict=True)
    )
    if columns:
        rows = ((*row, *said) for row, said in zip(rows, columns, strict=True))
    terminal.table(("NAME", "DTYPE", "SHAPE", "SIZE", "ROLE", *titles), rows, right=(3,))
    _warn_of(terminal, missing)
    counts = ", ".join(f"{n:,} {kind}" for kind, n in Counter(v.role for v in found).items())
    if terminal.is_tty or terminal.verbose or not found:
        total = format_nbytes(sum(v.nbytes for v in found))
        terminal.note(f"{plural(len(found), 'variable')}, {total}" + (f" ({counts})" if counts else ""))
    if network is not None:
        terminal.note(rebuild.sentence(checkpoint.path, network))


def read_stats(
    terminal: Terminal, checkpoint: Checkpoint, found: Sequence[VariableInfo]
) -> tuple[list[StatsRow], TfinspectError | None]:
    """Read the values of variables; return their figures, and one error for those that could not be read."""
    from tfinspect.api import stats

    rows = []
    text = f"reading {plural(len(found), 'variable')}, {format_nbytes(sum(v.nbytes for v in found))}"
    with terminal.progress(text) as say:
        for row in stats.each(checkpoint, found):
            rows.append(row)
            say(f"{text}: {len(rows):,} done")
    return rows, stats.failure(checkpoint.path, rows)


def show_stats(terminal: Terminal, checkpoint: Checkpoint, rows: Sequence[StatsRow]) -> None:
    """Print variables with the figures of their values; of those that could not be read, why."""
    missing = [path for path in checkpoint.files if not Path(path).is_file()]
    if terminal.json_mode:
        found = []
        for row in rows:
            figures = None if row.stats is None else row.stats.to_json()
            error = None if row.error is None else {"slug": row.error.slug, "message": row.error.message}
            found.append({**_variable_json(row.variable), "stats": figures, "error": error})
        _variables_json(terminal, checkpoint, found, missing)
        return
    names, titles, columns = _said_of(terminal, [row.variable for row in rows])
    cells = [
        (name, str(row.variable.dtype), format_shape(row.variable.shape), *_figures(terminal, row), *said)
        for name, row, said in zip(names, rows, columns or itertools.repeat(()), strict=False)
    ]
    terminal.table(
        ("NAME", "DTYPE", "SHAPE", "MIN", "MAX", "MEAN", "STD", "ZEROS", "NAN", "INF", *titles),
        cells,
        right=range(3, 10),
    )
    _warn_of(terminal, missing)
    if terminal.is_tty or terminal.verbose or not rows:
        total = format_nbytes(sum(row.variable.nbytes for row in rows if row.stats is not None))
        terminal.note(f"{plural(len(rows), 'variable')}, {total} read and checked")


def _figures(terminal: Terminal, row: StatsRow) -> tuple[str, ...]:
    if row.stats is None:
        unread = {"incomplete-checkpoint": "missing", "file-missing": "missing", "corrupt-file": "damaged"}
        return (unread.get(row.error.slug if row.error else "", "unreadable"), *["-"] * 6)
    stats = row.stats
    figures = (stats.min, stats.max, stats.mean, stats.std, stats.zeros, stats.nan, stats.inf)
    return tuple(
        "-" if n is None else f"{n:.6g}" if terminal.is_tty and isinstance(n, float) else str(n) for n in figures
    )


def _said_of(terminal: Terminal, found: Sequence[VariableInfo]) -> tuple[list[str], list[str], list[tuple[str, ...]]]:
    """Return the names, and titles and cells of the columns for labels and what slots serve.

    A terminal calls variables what people call them, and keys come last. A pipe has the keys first; label, and what a
    slot serves, come last and are left off where a row ends without them.
    """
    names = [v.name for v in found]
    labels, serves = any(v.label for v in found), any(v.serves for v in found)
    if not (labels or serves):
        return names, [], []
    if not terminal.is_tty:
        return names, [], [(v.label, v.serves) if v.serves else (v.label,) if v.label else () for v in found]
    label_of = {v.name: v.label for v in found if v.label}
    called = [label_of.get(name, name) for name in names]
    # what is named after the variable it serves need not say so once more
    served = [
        "" if not v.serves or name.startswith(f"{one}/") else one
        for v, name in zip(found, called, strict=True)
        for one in (label_of.get(v.serves, v.serves),)
    ]
    if not labels:
        return (names, ["OF"], [(one,) for one in served]) if any(served) else (names, [], [])
    if not any(served):
        return called, ["KEY"], [(name,) for name in names]
    return called, ["OF", "KEY"], list(zip(served, names, strict=True))


def _variable_json(variable: VariableInfo) -> dict[str, object]:
    return {
        "name": variable.name,
        "dtype": str(variable.dtype),
        "shape": list(variable.shape),
        "nbytes": variable.nbytes,
        "role": variable.role,
        "label": variable.label or None,
        "serves": variable.serves or None,
    }


def _variables_json(
    terminal: Terminal,
    checkpoint: Checkpoint,
    variables: list[dict[str, object]],
    missing: list[str],
    **more: object,
) -> None:
    content = {"checkpoint": checkpoint.path, "format": checkpoint.format, "missing_files": missing, **more}
    terminal.json("vars/1", {**content, "variables": variables})


def _warn_of(terminal: Terminal, missing: list[str]) -> None:
    for path in missing:
        terminal.warn(f"{path} is missing, and the values in it cannot be read")
