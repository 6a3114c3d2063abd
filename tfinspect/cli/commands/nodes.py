"""`tfinspect nodes`."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer

from tfinspect.cli import complete
from tfinspect.cli.listings import show_nodes
from tfinspect.cli.options import GraphArgument, Inputs, Json, Quiet, Verbose
from tfinspect.cli.terminal import Terminal


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
        typer.Option("--scope", metavar="SCOPE", help="Only below this scope", autocompletion=complete.scopes),
    ] = None,
    only: Annotated[Only | None, typer.Option("--only", help="Only these, best first", show_default=False)] = None,
    function: Annotated[
        str | None,
        typer.Option(
            "--function",
            metavar="NAME",
            help="List the body of this function or subgraph instead",
            autocompletion=complete.functions,
        ),
    ] = None,
    everywhere: Annotated[
        bool, typer.Option("--all", help="List the bodies of all functions as well", show_default=False)
    ] = False,
    inputs: Inputs = None,
    json: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """List the nodes of a graph; of other models the operators or layers.

    Columns: name, op, dtype and shape of the first output, inputs; with --all in a pipe also the function a node stands
    in. A function's arguments are listed as _Arg, its results as _Retval, and inputs as its body writes them.

    \b
    Examples:
      All nodes
        $ tfinspect nodes model.pb
      Where could this graph be cut?
        $ tfinspect nodes model.pb --only bottlenecks
      Convolutions of one scope, names only
        $ tfinspect nodes model.pb --op Conv2D --scope mixed_1 | cut -f1
      What does a function of a SavedModel compute?
        $ tfinspect nodes saved_model --function __inference_call_42
      Every matrix product, in functions too
        $ tfinspect nodes saved_model --all --op MatMul
    """  # noqa: D301 - \b is click's mark
    from tfinspect.api import listing

    terminal = Terminal(json_mode=json, quiet=quiet, verbose=verbose)
    rows = listing.nodes(
        graph,
        op=op,
        match=match,
        scope=scope,
        only=None if only is None else only.value,
        inputs=inputs or (),
        function=function,
        everywhere=everywhere,
    )
    show_nodes(terminal, list(rows), everywhere=everywhere)
