"""`tfinspect cut`."""

from __future__ import annotations

from typing import Annotated

import typer

from tfinspect.cli.options import (
    Bottleneck,
    DryRun,
    Force,
    GraphArgument,
    Inputs,
    Json,
    Outputs,
    Quiet,
    RequiredOutput,
    Verbose,
)
from tfinspect.cli.render import plural, print_change
from tfinspect.cli.terminal import Terminal


def command(
    graph: GraphArgument,
    *,
    bottleneck: Bottleneck,
    output: RequiredOutput,
    head_output: Annotated[
        str | None, typer.Option("--head-output", metavar="FILE", help="Also write the rest", show_default=False)
    ] = None,
    inputs: Inputs = None,
    outputs: Outputs = None,
    force: Force = False,
    dry_run: DryRun = False,
    json: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Split a graph at a bottleneck tensor.

    The trunk computes the tensor from the graph's inputs; the rest takes it as
    its only input. Every path from the inputs to the outputs must run through
    it, or the cut is refused and the path that leaks is shown.

    \b
    Examples:
      Keep Inception up to its 2048-wide bottleneck
        $ tfinspect cut classify_image_graph_def.pb --bottleneck pool_3/_reshape -o trunk.pb
      Look for a place to cut
        $ tfinspect nodes classify_image_graph_def.pb --only bottlenecks
    """  # noqa: D301 - \b is click's mark
    from tfinspect.api.cut import cut_file
    from tfinspect.api.recipe import recipe_path

    terminal = Terminal(json_mode=json, quiet=quiet, verbose=verbose)
    done = cut_file(
        graph,
        output,
        bottleneck=bottleneck,
        head_output=head_output,
        inputs=inputs or (),
        outputs=outputs or (),
        force=force,
        dry_run=dry_run,
    )
    extra: dict[str, object] = {
        "head_output": head_output,
        "head_node_count": len(done.rest),
        "preprocessing": None if done.recipe is None else done.recipe.to_json(),
    }
    print_change(terminal, "cut", output, done.trunk, done.inputs, done.outputs, dry_run=dry_run, extra=extra)
    if done.recipe is not None and not dry_run:
        terminal.note(f"wrote {recipe_path(output)}, how photos are prepared")
    if head_output is not None:
        terminal.note(f"{'would write' if dry_run else 'wrote'} {head_output} ({plural(len(done.rest), 'node')})")
