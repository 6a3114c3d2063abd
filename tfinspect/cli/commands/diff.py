"""`tfinspect diff`."""

from __future__ import annotations

from typing import Annotated

import typer

from tfinspect.cli.options import Json, Quiet, Verbose
from tfinspect.cli.terminal import Terminal
from tfinspect.errors import ExitStatus, UsageError


def command(
    a: Annotated[
        str, typer.Argument(metavar="A", help="Graph, checkpoint, SavedModel, ONNX, Keras...", show_default=False)
    ],
    b: Annotated[str, typer.Argument(metavar="B", help="What it is compared with", show_default=False)],
    *,
    match: Annotated[
        str | None, typer.Option("--match", metavar="GLOB", help="Only names that match", show_default=False)
    ] = None,
    graph_only: Annotated[bool, typer.Option("--graph-only", help="Leave weights out", show_default=False)] = False,
    weights_only: Annotated[
        bool, typer.Option("--weights-only", help="Compare nothing but weights", show_default=False)
    ] = False,
    rtol: Annotated[
        float | None, typer.Option("--rtol", metavar="X", help="Values this close, relatively, count as equal")
    ] = None,
    atol: Annotated[
        float | None, typer.Option("--atol", metavar="X", help="Values this close, absolutely, count as equal")
    ] = None,
    json: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Compare two graphs or two checkpoints, name by name, without running them.

    Nodes, functions, signatures and weights; the largest weight change first.
    Names that only moved to another scope, and weights that only changed
    their name, are recognised.

    Exit 0: identical, bit by bit. Exit 1: they differ. Exit 3: a part of one
    of them cannot be read; the rest was compared.

    \b
    Examples:
      What did fine-tuning change?
        $ tfinspect diff model.ckpt-7 model.ckpt-9
      Does the frozen graph hold the checkpoint's weights?
        $ tfinspect diff frozen.pb model.ckpt-7 --weights-only
    """  # noqa: D301 - \b is click's mark
    from tfinspect.api.diff import diff
    from tfinspect.cli.differences import differences_json, show_differences

    if graph_only and weights_only:
        raise UsageError("--graph-only and --weights-only leave nothing to compare")
    terminal = Terminal(json_mode=json, quiet=quiet, verbose=verbose)
    with terminal.phase("comparing"):
        found = diff(
            a,
            b,
            match=match,
            rtol=rtol or 0.0,
            atol=atol or 0.0,
            graph=not weights_only,
            weights=not graph_only,
        )
    if json:
        terminal.json("diff/1", differences_json(found))
    else:
        show_differences(terminal, found)
    if not found.complete:
        raise typer.Exit(int(ExitStatus.UNREADABLE))
    if found.differs:
        raise typer.Exit(int(ExitStatus.DIFFERENT))
