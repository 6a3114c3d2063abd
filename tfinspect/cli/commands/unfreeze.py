"""`tfinspect unfreeze`."""

from __future__ import annotations

from typing import Annotated

import typer

from tfinspect.cli import complete
from tfinspect.cli.options import (
    Atol,
    Force,
    GraphArgument,
    Inputs,
    Json,
    Outputs,
    Quiet,
    RequiredOutput,
    Rtol,
    Seed,
    Settings,
    Verbose,
)
from tfinspect.cli.render import plural, spec_json
from tfinspect.cli.report import exit_with, show_comparison
from tfinspect.cli.terminal import Terminal


def command(
    graph: GraphArgument,
    *,
    output: RequiredOutput,
    start: Annotated[
        str | None,
        typer.Option(
            "--from",
            metavar="T",
            help="Only what comes after this tensor",
            autocompletion=complete.tensors,
            show_default=False,
        ),
    ] = None,
    scope: Annotated[
        list[str] | None,
        typer.Option("--scope", metavar="PATTERN", help="Only weights of this scope or pattern; repeat"),
    ] = None,
    everything: Annotated[bool, typer.Option("--all", help="All weights (the default)", show_default=False)] = False,
    inputs: Inputs = None,
    outputs: Outputs = None,
    setting: Settings = None,
    seed: Seed = 0,
    rtol: Rtol = None,
    atol: Atol = None,
    force: Force = False,
    json: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Turn constants back into trainable variables of a SavedModel.

    For a training loop of your own. Loaded with tf.saved_model.load the model
    is called like a function and gives its outputs, and the logits before a
    softmax, by name; it has `trainable_variables` and `variables` (moving
    means and variances too, which stay as they are). The SavedModel is loaded
    and compared with the graph, and a gradient must reach every variable.

    \b
    Examples:
      All weights
        $ tfinspect unfreeze flowers.pb -o flowers.trainable
      Only those behind a tensor
        $ tfinspect unfreeze flowers.pb --from mixed_8/join -o flowers.trainable
    """  # noqa: D301 - \b is click's mark
    from tfinspect.api.trunk_parameters import Layers
    from tfinspect.api.unfreeze import as_json, unfreeze

    terminal = Terminal(json_mode=json, quiet=quiet, verbose=verbose)
    done = unfreeze(
        graph,
        output,
        layers=Layers(start, tuple(scope or ()), everything),
        inputs=inputs or (),
        outputs=outputs or (),
        settings=setting or (),
        seed=seed,
        rtol=rtol,
        atol=atol,
        force=force,
        phase=terminal.phase,
    )
    if json:
        ends = {"inputs": [spec_json(s) for s in done.inputs], "gives": [spec_json(s) for s in done.outputs]}
        answer = {**done.report.to_json(), "output": done.output, "accepted": done.accepted, "graph": graph, **ends}
        terminal.json("unfreeze/1", {**answer, **as_json(done), "notes": list(done.notes)})
    else:
        for note in done.notes:
            terminal.note(note)
        show_comparison(terminal, done.report)
        terminal.note(f"a gradient reaches each of {plural(len(done.variables), 'trainable variable')}")
        if done.zero:
            terminal.note(f"{plural(len(done.zero), 'of these gradients is')} zero on the test inputs: {done.zero[0]}")
        terminal.note(f"wrote {done.output}")
    exit_with(done.report, accepted=done.accepted)
