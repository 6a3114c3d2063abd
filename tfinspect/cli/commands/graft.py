"""`tfinspect graft`."""

from __future__ import annotations

import shlex
from typing import Annotated

import typer

from tfinspect.cli.options import Bottleneck, DryRun, Force, Json, OptionalGraph, Quiet, RequiredOutput, Verbose
from tfinspect.cli.render import plural, print_change
from tfinspect.cli.terminal import Terminal


def command(
    graph: OptionalGraph = None,
    *,
    bottleneck: Bottleneck,
    output: RequiredOutput,
    head: Annotated[
        str | None,
        typer.Option(
            "--head", metavar="HEAD", help=".npz, frozen .pb, or a checkpoint with its .meta", show_default=False
        ),
    ] = None,
    head_scope: Annotated[
        str | None,
        typer.Option("--head-scope", metavar="SCOPE", help="Scope of the head in HEAD", show_default=False),
    ] = None,
    labels: Annotated[
        str | None,
        typer.Option("--labels", metavar="FILE", help="Names of the classes, one a line", show_default=False),
    ] = None,
    name: Annotated[str, typer.Option("--name", metavar="PREFIX", help="Scope of what is added")] = "head",
    keep: Annotated[bool, typer.Option("--keep", help="Keep the old head as well", show_default=False)] = False,
    force: Force = False,
    dry_run: DryRun = False,
    json: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Put a trained head onto a trunk.

    Without --head the model itself is searched for a classifier that was
    trained beside the trunk but never connected to it, and the two are joined.
    Every node and weight of both sides is proved to be there, byte for byte.

    \b
    Examples:
      A five-class softmax on Inception's bottleneck
        $ tfinspect graft inception.pb --bottleneck pool_3/_reshape --head head.npz --labels labels.txt -o flowers.pb
      Connect the classifier that a retraining checkpoint left unconnected
        $ tfinspect graft retrained.meta --bottleneck pool_3/_reshape -o flowers.pb
    """  # noqa: D301 - \b is click's mark
    from tfinspect.api.graft import graft_file
    from tfinspect.api.labels import labels_path
    from tfinspect.api.load import newest_model
    from tfinspect.api.recipe import recipe_path
    from tfinspect.ir.refs import TensorRef

    terminal = Terminal(json_mode=json, quiet=quiet, verbose=verbose)
    if graph is None:
        ref = TensorRef.parse(bottleneck)
        graph = newest_model(containing=ref, excluding=[output] if head is None else [output, head])
        terminal.note(f"using {graph}, the newest model here that computes `{ref}`")
    done = graft_file(
        graph,
        output,
        bottleneck=bottleneck,
        head=head,
        head_scope=head_scope,
        labels=labels,
        name=name,
        keep=keep,
        force=force,
        dry_run=dry_run,
    )
    terminal.note(f"joined {done.joined[0]} to {done.joined[1]}")
    for warning in done.warnings:
        terminal.warn(warning)
    extra: dict[str, object] = {
        "graph": graph,
        "joined": list(done.joined),
        "labels": list(done.labels),
        "preprocessing": None if done.recipe is None else done.recipe.to_json(),
        "warnings": list(done.warnings),
    }
    print_change(terminal, "graft", output, done.graph, done.inputs, done.outputs, dry_run=dry_run, extra=extra)
    if done.labels and not dry_run:
        terminal.note(f"wrote {labels_path(output)} ({plural(len(done.labels), 'label')})")
    if done.recipe is not None and not dry_run:
        terminal.note(f"wrote {recipe_path(output)}, how photos are prepared")
    terminal.next_step(f"tfinspect export {shlex.quote(output)} --onnx")
