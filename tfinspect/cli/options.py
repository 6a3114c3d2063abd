"""Options that mean the same everywhere."""

from __future__ import annotations

from typing import Annotated

import typer

from tfinspect.cli import complete

GraphArgument = Annotated[
    str, typer.Argument(metavar="GRAPH", help=".pb, .pbtxt, .meta, or a checkpoint with its .meta", show_default=False)
]
OptionalGraph = Annotated[
    str | None,
    typer.Argument(metavar="[GRAPH]", help="Left out: the newest model in this folder", show_default=False),
]
Inputs = Annotated[
    list[str] | None,
    typer.Option(
        "--inputs",
        metavar="T[SHAPE]",
        help="An input tensor, optionally with its shape, as X:0[1,28,28,1]; repeat",
        autocompletion=complete.tensors,
    ),
]
Outputs = Annotated[
    list[str] | None,
    typer.Option("--outputs", metavar="T", help="An output tensor; repeat", autocompletion=complete.tensors),
]
Settings = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="NAME=VALUE", help="Fix a placeholder to a value; repeat", show_default=False),
]
Bottleneck = Annotated[
    str,
    typer.Option(
        "--bottleneck",
        metavar="T",
        help="Tensor, as name or name:index (default index 0)",
        autocompletion=complete.tensors,
    ),
]
Output = Annotated[str | None, typer.Option("-o", "--output", metavar="FILE", help="Write it here", show_default=False)]
RequiredOutput = Annotated[
    str, typer.Option("-o", "--output", metavar="FILE", help="Write it here", show_default=False)
]
Force = Annotated[bool, typer.Option("-f", "--force", help="Replace the output if it exists", show_default=False)]
DryRun = Annotated[
    bool, typer.Option("-n", "--dry-run", help="Say what would be written, write nothing", show_default=False)
]
Json = Annotated[bool, typer.Option("--json", help="Print the result as one JSON object", show_default=False)]
Quiet = Annotated[bool, typer.Option("-q", "--quiet", help="Print only the answer and errors", show_default=False)]
Verbose = Annotated[bool, typer.Option("-v", "--verbose", help="Tell more", show_default=False)]
Seed = Annotated[int, typer.Option("--seed", metavar="N", help="Seed of the test inputs")]
InputsFrom = Annotated[
    str | None,
    typer.Option("--inputs-from", metavar="DATA", help="Compare on these inputs (.npy or .npz)", show_default=False),
]
Rtol = Annotated[
    float | None, typer.Option("--rtol", metavar="X", help="Relative tolerance, instead of the measured one")
]
Atol = Annotated[
    float | None, typer.Option("--atol", metavar="X", help="Absolute tolerance, instead of the measured one")
]
