"""`tfinspect verify`."""

from __future__ import annotations

from typing import Annotated

import typer

from tfinspect.cli.options import Atol, Inputs, InputsFrom, Json, Outputs, Quiet, Rtol, Seed, Settings, Verbose
from tfinspect.cli.report import exit_with, show_comparison, write_report
from tfinspect.cli.terminal import Terminal


def command(
    a: Annotated[str, typer.Argument(metavar="A", help="The reference: graph, SavedModel or ONNX", show_default=False)],
    b: Annotated[str, typer.Argument(metavar="B", help="What is judged", show_default=False)],
    *,
    match: Annotated[
        list[str] | None,
        typer.Option("--match", metavar="A=B", help="Tensors that belong together; repeat", show_default=False),
    ] = None,
    bisect: Annotated[
        bool, typer.Option("--bisect", help="On a mismatch, find the first tensor that differs", show_default=False)
    ] = False,
    report: Annotated[
        str | None,
        typer.Option("--report", metavar="FILE", help="Also write the report, as .json or .html", show_default=False),
    ] = None,
    inputs: Inputs = None,
    outputs: Outputs = None,
    setting: Settings = None,
    inputs_from: InputsFrom = None,
    seed: Seed = 0,
    rtol: Rtol = None,
    atol: Atol = None,
    json: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Run two models on the same inputs and compare the outputs.

    Exit 0: the same. Exit 1: they differ. Exit 6: the check proves nothing,
    and why.

    \b
    Examples:
      Does the ONNX file compute what the graph computes?
        $ tfinspect verify flowers.pb flowers.onnx
      Where do they part?
        $ tfinspect verify flowers.pb flowers.onnx.rejected --bisect
    """  # noqa: D301 - \b is click's mark
    from tfinspect.api.verify import verify

    terminal = Terminal(json_mode=json, quiet=quiet, verbose=verbose)
    done = verify(
        a,
        b,
        match=match or (),
        inputs=inputs or (),
        outputs=outputs or (),
        settings=setting or (),
        bisect=bisect,
        seed=seed,
        rtol=rtol,
        atol=atol,
        inputs_from=inputs_from,
        phase=terminal.phase,
    )
    if report is not None:
        write_report(done, report)
        terminal.note(f"wrote {report}")
    if json:
        terminal.json("verify/1", done.to_json())
    else:
        show_comparison(terminal, done)
    exit_with(done, accepted=False)
