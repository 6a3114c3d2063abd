"""`tfinspect export`."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any

import typer

from tfinspect.cli.options import (
    Atol,
    Force,
    Inputs,
    InputsFrom,
    Json,
    OptionalGraph,
    Output,
    Outputs,
    Quiet,
    Rtol,
    Seed,
    Settings,
    Verbose,
)
from tfinspect.cli.report import exit_with, export_json, show_export
from tfinspect.cli.terminal import Terminal
from tfinspect.errors import UsageError


class RequireChoice(StrEnum):
    """What `--require` takes."""

    passed = "pass"
    written = "written"


def command(
    graph: OptionalGraph = None,
    *,
    onnx: Annotated[bool, typer.Option("--onnx", help="Write an ONNX file", show_default=False)] = False,
    saved_model: Annotated[
        bool, typer.Option("--saved-model", help="Write a SavedModel folder", show_default=False)
    ] = False,
    output: Output = None,
    inputs: Inputs = None,
    outputs: Outputs = None,
    setting: Settings = None,
    batch: Annotated[
        str | None,
        typer.Option("--batch", metavar="dynamic|N", help="First dimension of the inputs", show_default=False),
    ] = None,
    opset: Annotated[int | None, typer.Option("--opset", metavar="N", help="ONNX opset", show_default=False)] = None,
    require: Annotated[
        RequireChoice, typer.Option("--require", help="pass: keep the file only if the numbers match")
    ] = RequireChoice.passed,
    inputs_from: InputsFrom = None,
    seed: Seed = 0,
    rtol: Rtol = None,
    atol: Atol = None,
    force: Force = False,
    json: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Write ONNX or a SavedModel, and prove that the numbers match.

    The file is read back and compared with what TensorFlow computes from the
    file that was given. Without a pass it is kept as NAME.rejected: exit 1 if
    the numbers differ, 6 if the check proves nothing.

    \b
    Examples:
      ONNX beside the model
        $ tfinspect export flowers.pb --onnx
      Start behind the preprocessing
        $ tfinspect export flowers.pb --onnx --inputs Mul:0
      A SavedModel that still takes JPEG bytes
        $ tfinspect export flowers.pb --saved-model -o flowers
    """  # noqa: D301 - \b is click's mark
    from tfinspect.api.load import newest_model

    terminal = Terminal(json_mode=json, quiet=quiet, verbose=verbose)
    if onnx == saved_model:
        raise UsageError("say what to write: --onnx or --saved-model", hint="tfinspect export GRAPH --onnx")
    if saved_model and (batch is not None or opset is not None):
        raise UsageError("--batch and --opset go with --onnx")
    if graph is None:
        graph = newest_model()
        terminal.note(f"using {graph}, the newest model here")
    terms: dict[str, Any] = {
        "inputs": inputs or (),
        "outputs": outputs or (),
        "settings": setting or (),
        "seed": seed,
        "rtol": rtol,
        "atol": atol,
        "inputs_from": inputs_from,
        "require": require.value,
        "force": force,
        "phase": terminal.phase,
    }
    if onnx:
        from tfinspect.api.export_onnx import export_onnx

        done = export_onnx(graph, output, batch=batch, opset=opset, **terms)
    else:
        from tfinspect.api.export_saved_model import export_saved_model

        done = export_saved_model(graph, output, **terms)
    if json:
        terminal.json("export/1", export_json(done, graph))
    else:
        show_export(terminal, done, graph)
    exit_with(done.report, accepted=done.accepted)
