"""`tfinspect show`."""

from __future__ import annotations

from typing import Annotated

import typer

from tfinspect.cli import complete
from tfinspect.cli.options import GraphArgument, Json, Quiet
from tfinspect.cli.render import attr_json, attr_text
from tfinspect.cli.terminal import Terminal, escape, shorten
from tfinspect.ir.shapes import format_shape


def command(
    graph: GraphArgument,
    node: Annotated[
        str, typer.Argument(metavar="NODE", help="Node name", show_default=False, autocompletion=complete.nodes)
    ],
    *,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Show one node: attributes, inputs, consumers, and the first values of a constant.

    \b
    Examples:
      What is the bottleneck?
        $ tfinspect show model.pb pool_3/_reshape
    """  # noqa: D301 - \b is click's mark
    from tfinspect.api import listing

    terminal = Terminal(json_mode=json, quiet=quiet)
    found = listing.show(graph, node)
    if json:
        terminal.json(
            "show/1",
            {
                **found.row.to_json(),
                "device": found.row.node.device,
                "attrs": {name: attr_json(attr) for name, attr in found.attrs.items()},
                "consumers": [{"node": user, "input": text} for user, text in found.consumers],
            },
        )
        return
    row = found.row
    dtype = "?" if row.dtype is None else str(row.dtype)
    terminal.line(f"{escape(row.node.name)}  {escape(row.node.op)}  {dtype} {format_shape(row.shape)}")
    if row.node.device:
        terminal.line(f"  device    {escape(row.node.device)}")
    for text, kind, shape in found.inputs:
        terminal.line(f"  input     {escape(text)}  {'?' if kind is None else kind} {format_shape(shape)}")
    for name in row.node.control_inputs:
        terminal.line(f"  after     {escape(name)}")
    for name, attr in found.attrs.items():
        terminal.line(f"  attr      {escape(name)} = {shorten(escape(attr_text(attr)))}")
    for user, text in found.consumers:
        terminal.line(f"  consumer  {escape(user)}  takes {escape(text)}")
