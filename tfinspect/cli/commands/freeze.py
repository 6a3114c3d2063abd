"""`tfinspect freeze`."""

from __future__ import annotations

from typing import Annotated

import typer

from tfinspect.cli.options import DryRun, Force, Json, Outputs, Quiet, RequiredOutput, Verbose
from tfinspect.cli.render import print_change
from tfinspect.cli.terminal import Terminal


def command(
    checkpoint: Annotated[
        str,
        typer.Argument(metavar="CKPT", help="Prefix, .index, .meta, V1 file, or folder", show_default=False),
    ],
    *,
    output: RequiredOutput,
    graph: Annotated[
        str | None,
        typer.Option("--graph", metavar="GRAPH", help="The graph, where no .meta stands beside the checkpoint"),
    ] = None,
    outputs: Outputs = None,
    force: Force = False,
    dry_run: DryRun = False,
    json: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Turn a graph and its checkpoint into one self-contained graph.

    Prunes to the outputs first, so an input pipeline or an optimizer that they
    do not need never matters. Variables that are missing or do not fit are all
    listed at once.

    \b
    Examples:
      A checkpoint with its .meta beside it
        $ tfinspect freeze model.ckpt-7 -o frozen.pb
      Graph and checkpoint from different places
        $ tfinspect freeze model.ckpt-7 --graph graph.pbtxt --outputs softmax -o frozen.pb
    """  # noqa: D301 - \b is click's mark
    from tfinspect.api.freeze import freeze_file

    terminal = Terminal(json_mode=json, quiet=quiet, verbose=verbose)
    done = freeze_file(checkpoint, output, graph=graph, outputs=outputs or (), force=force, dry_run=dry_run)
    report = done.report
    extra: dict[str, object] = {"variables": dict(report.restored), "unused": list(report.unused)}
    for node, update in report.updates:
        terminal.detail(f"dropped the update {update} that ran before {node}")
    terminal.note(
        f"restored {len(report.restored)} variables; {len(report.unused)} weights of the checkpoint not needed"
    )
    print_change(terminal, "freeze", output, done.graph, done.inputs, done.outputs, dry_run=dry_run, extra=extra)
    terminal.next_step(f"tfinspect export {output} --onnx")
