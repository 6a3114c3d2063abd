"""`tfinspect show`."""

from __future__ import annotations

from typing import Annotated

import typer

from tfinspect.cli import complete
from tfinspect.cli.options import GraphArgument, Json, Quiet, Verbose
from tfinspect.cli.render import attr_json, attr_text, kind_cells
from tfinspect.cli.terminal import Terminal, escape, shorten

_SHOWN = 20


def command(
    graph: GraphArgument,
    node: Annotated[
        str, typer.Argument(metavar="NODE", help="Node name", show_default=False, autocompletion=complete.nodes)
    ],
    *,
    function: Annotated[
        str | None,
        typer.Option(
            "--function",
            metavar="NAME",
            help="Look in this function or subgraph",
            show_default=False,
            autocompletion=complete.functions,
        ),
    ] = None,
    json: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Show one node: attributes, inputs, consumers, and the first values of a constant.

    \b
    Examples:
      What is the bottleneck?
        $ tfinspect show model.pb pool_3/_reshape
      A node of a function's body
        $ tfinspect show saved_model dense/MatMul --function __inference_call_42
    """  # noqa: D301 - \b is click's mark
    from tfinspect.api import listing

    terminal = Terminal(json_mode=json, quiet=quiet, verbose=verbose)
    found = listing.show(graph, node, function=function)
    device = found.row.node.device if found.row.node is not None else ""
    if json:
        terminal.json(
            "show/1",
            {
                **found.row.to_json(),
                "device": device,
                "attrs": {name: attr_json(attr) for name, attr in found.attrs.items()},
                "consumers": [{"node": user, "input": text} for user, text in found.consumers],
            },
        )
        return
    row = found.row
    # read before anything is printed: a value that cannot be read is an error, and that is then all there is
    texts = {name: shorten(attr_text(attr)) for name, attr in found.attrs.items()}
    kind = kind_cells(terminal, row.dtype, row.shape)
    if terminal.is_tty:
        terminal.line(f"{escape(row.name)}  {escape(row.op)}  {kind[0]}")
    else:
        terminal.entry("node", row.name, row.op, *kind)
    if device:
        terminal.entry("device", device)
    for text, dtype, shape in found.inputs:
        terminal.entry("input", text, *kind_cells(terminal, dtype, shape))
    for name in row.control_inputs:
        terminal.entry("after", name)
    for name, value in texts.items():
        terminal.entry("attr", *((f"{name} = {value}",) if terminal.is_tty else (name, value)))
    shown = found.consumers if terminal.verbose or not terminal.is_tty else found.consumers[:_SHOWN]
    for user, text in shown:
        terminal.entry("consumer", user, f"takes {text}" if terminal.is_tty else text)
    if len(shown) < len(found.consumers):
        terminal.entry("", f"and {len(found.consumers) - len(shown):,} more, with --verbose")
