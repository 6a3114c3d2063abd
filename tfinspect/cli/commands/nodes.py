"""`tfinspect nodes`."""

from __future__ import annotations

from collections.abc import Iterator
from enum import StrEnum
from typing import Annotated

import typer

from tfinspect.cli import complete
from tfinspect.cli.options import GraphArgument, Inputs, Json, Quiet, Verbose
from tfinspect.cli.render import plural
from tfinspect.cli.terminal import Terminal
from tfinspect.ir.shapes import format_shape


class Only(StrEnum):
    """What `--only` takes."""

    inputs = "inputs"
    outputs = "outputs"
    bottlenecks = "bottlenecks"


def command(
    graph: GraphArgument,
    *,
    op: Annotated[
        str | None, typer.Option("--op", metavar="OP", help="Only this operation type", autocompletion=complete.ops)
    ] = None,
    match: Annotated[
        str | None,
        typer.Option("--match", metavar="GLOB", help="Only names that match", autocompletion=complete.nodes),
    ] = None,
    scope: Annotated[
        str | None,
        typer.Option("--scope", metavar="SCOPE", help="Only below this scope", autocompletion=complete.nodes),
    ] = None,
    only: Annotated[Only | None, typer.Option("--only", help="Only these, best first", show_default=False)] = None,
    inputs: Inputs = None,
    json: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """List the nodes of a graph.

    Columns: name, op, dtype and shape of the first output, inputs.

    \b
    Examples:
      All nodes
        $ tfinspect nodes model.pb
      Where could this graph be cut?
        $ tfinspect nodes model.pb --only bottlenecks
      Convolutions of one scope, names only
        $ tfinspect nodes model.pb --op Conv2D --scope mixed_1 | cut -f1
    """  # noqa: D301 - \b is click's mark
    from tfinspect.api import listing

    terminal = Terminal(json_mode=json, quiet=quiet, verbose=verbose)
    rows = listing.nodes(
        graph, op=op, match=match, scope=scope, only=None if only is None else only.value, inputs=inputs or ()
    )
    if json:
        terminal.json("nodes/1", {"nodes": [row.to_json() for row in rows]})
        return
    count = 0

    def cells() -> Iterator[tuple[str, ...]]:
        nonlocal count
        for row in rows:
            count += 1
            dtype = "?" if row.dtype is None else str(row.dtype)
            yield (row.node.name, row.node.op, dtype, format_shape(row.shape), ", ".join(row.node.inputs))

    terminal.table(("NAME", "OP", "DTYPE", "SHAPE", "INPUTS"), cells())
    if terminal.is_tty or terminal.verbose or not count:
        terminal.note(plural(count, "node"))
