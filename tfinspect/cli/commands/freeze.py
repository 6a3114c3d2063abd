"""`tfinspect freeze`."""

from __future__ import annotations

from typing import Annotated

import typer

from tfinspect.cli.freezing import show, show_plan
from tfinspect.cli.options import DryRun, Force, Inputs, Json, Outputs, Quiet, RequiredOutput, Settings, Verbose
from tfinspect.cli.photo_options import parse_size
from tfinspect.cli.terminal import Terminal
from tfinspect.errors import UsageError


def command(
    checkpoint: Annotated[
        str,
        typer.Argument(
            metavar="CKPT", help="Prefix, .index, .meta, V1 file, SavedModel, or Keras file", show_default=False
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
    settings: Settings = None,
    mapping: Annotated[
        list[str] | None,
        typer.Option(
            "--map",
            metavar="OLD=NEW",
            help="Name, scope or pattern (old/*=new/*) in the graph, and what the checkpoint calls it; repeat",
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
    keep_training: Annotated[
        bool,
        typer.Option(
            "--keep-training", help="Leave flags, dropout and batch statistics as they are", show_default=False
        ),
    ] = False,
    force: Force = False,
    dry_run: DryRun = False,
    json: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Turn a graph and its checkpoint into one self-contained inference graph.

    Prunes to the outputs first, so an input pipeline or an optimizer that they
    do not need never matters. Flags such as is_training are set, dropout and
    checks go, batch norms use their moving statistics. All that is in the way
    is listed at once.

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
      What each variable would get, and what is in the way
        $ tfinspect freeze model.ckpt-7 --graph train.pbtxt -o frozen.pb --dry-run
      A graph whose scopes were renamed since, with the averaged weights
        $ tfinspect freeze model.ckpt-7 --graph eval.pb --map net=model/net --ema -o frozen.pb
    """  # noqa: D301 - \b is click's mark
    from tfinspect.api.freeze import Options, freeze_file, plan_file

    terminal = Terminal(json_mode=json, quiet=quiet, verbose=verbose)
    rename = dict(map(_split_mapping, mapping or ()))
    chosen = Options(outputs or (), inputs or (), settings or (), rename, averages, keep_training, parse_size(size))
    if dry_run:
        plan = plan_file(checkpoint, graph, chosen, output)
        show_plan(terminal, plan, output)
        plan.done()
        return
    show(terminal, freeze_file(checkpoint, output, graph=graph, options=chosen, force=force), output)


def _split_mapping(text: str) -> tuple[str, str]:
    old, equals, new = text.partition("=")
    if not equals or not old or not new:
        raise UsageError(f"`{text}` does not say what is called what", hint="--map OLD=NEW, as in --map net=model/net")
    return old, new
