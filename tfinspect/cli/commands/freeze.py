"""`tfinspect freeze`."""

from __future__ import annotations

import shlex
from typing import Annotated

import typer

from tfinspect.cli.options import DryRun, Force, Inputs, Json, Outputs, Quiet, RequiredOutput, Verbose
from tfinspect.cli.photo_options import parse_size
from tfinspect.cli.render import plural, print_change
from tfinspect.cli.terminal import Terminal
from tfinspect.errors import UsageError


def command(
    checkpoint: Annotated[
        str,
        typer.Argument(
            metavar="CKPT", help="Prefix, .index, .meta, V1 file, folder, or Keras file", show_default=False
        ),
    ],
    *,
    output: RequiredOutput,
    graph: Annotated[
        str | None,
        typer.Option("--graph", metavar="GRAPH", help="The graph, where no .meta stands beside the checkpoint"),
    ] = None,
    outputs: Outputs = None,
    inputs: Inputs = None,
    mapping: Annotated[
        list[str] | None,
        typer.Option(
            "--map",
            metavar="OLD=NEW",
            help="Name or scope in the graph, and what the checkpoint calls it; repeat",
            show_default=False,
        ),
    ] = None,
    averages: Annotated[
        bool, typer.Option("--ema", help="Take moving averages where the checkpoint has them", show_default=False)
    ] = False,
    size: Annotated[
        str | None,
        typer.Option("--size", metavar="N|HxW", help="Of images, where the graph is rebuilt", show_default=False),
    ] = None,
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
      A checkpoint that lost its graph, of a network of TensorFlow-Slim: the graph is rebuilt
        $ tfinspect freeze inception_v3.ckpt -o frozen.pb
      A Keras model: each layer's output is called as the layer
        $ tfinspect freeze model.h5 -o frozen.pb
      A graph whose scopes were renamed since, with the averaged weights
        $ tfinspect freeze model.ckpt-7 --graph eval.pb --map net=model/net --ema -o frozen.pb
    """  # noqa: D301 - \b is click's mark
    from tfinspect.api.freeze import freeze_file

    terminal = Terminal(json_mode=json, quiet=quiet, verbose=verbose)
    done = freeze_file(
        checkpoint,
        output,
        graph=graph,
        outputs=outputs or (),
        inputs=inputs or (),
        rename=dict(map(_split_mapping, mapping or ())),
        averages=averages,
        size=parse_size(size),
        force=force,
        dry_run=dry_run,
    )
    report = done.report
    extra: dict[str, object] = {"variables": dict(report.restored), "unused": list(report.unused)}
    for node, update in report.updates:
        terminal.detail(f"dropped the update {update} that ran before {node}")
    for note in done.notes:
        terminal.note(note)
    unused = f"{plural(len(report.unused), 'weight')} of the checkpoint not needed"
    terminal.note(f"restored {plural(len(report.restored), 'variable')}; {unused}")
    print_change(terminal, "freeze", output, done.graph, done.inputs, done.outputs, dry_run=dry_run, extra=extra)
    terminal.next_step(f"tfinspect export {shlex.quote(output)} --onnx")


def _split_mapping(text: str) -> tuple[str, str]:
    old, equals, new = text.partition("=")
    if not equals or not old or not new:
        raise UsageError(f"`{text}` does not say what is called what", hint="--map OLD=NEW, as in --map net=model/net")
    return old, new
