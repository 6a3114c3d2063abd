"""`tfinspect info`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from tfinspect.cli.options import Inputs, Json, Quiet, Verbose
from tfinspect.cli.render import format_nbytes
from tfinspect.cli.terminal import Terminal, escape
from tfinspect.ir.shapes import format_shape

if TYPE_CHECKING:
    from tfinspect.api.info import CheckpointInfo, GraphInfo, Info
    from tfinspect.ir.dtypes import DType
    from tfinspect.ir.shapes import Shape

_SHOWN = 5


def command(
    path: Annotated[str, typer.Argument(metavar="PATH", help="Any model file or folder", show_default=False)],
    *,
    inputs: Inputs = None,
    json: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Say what a file or folder is: inputs, outputs, where it can be cut, what stands in the way.

    \b
    Examples:
      What is this?
        $ tfinspect info model.pb
      For a script
        $ tfinspect info model.pb --json
    """  # noqa: D301 - \b is click's mark
    from tfinspect.api.info import info

    terminal = Terminal(json_mode=json, quiet=quiet, verbose=verbose)
    found = info(path, inputs=inputs or ())
    if json:
        terminal.json("info/1", _to_json(found))
        return
    head = [found.title, format_nbytes(found.nbytes)]
    if found.tensorflow_version:
        head.append(f"TensorFlow {escape(found.tensorflow_version)}")
    if found.graph:
        head.append(f"producer {found.graph.producer}")
    terminal.line(", ".join(head))
    if found.tags:
        terminal.line(f"  tags        {escape(', '.join(found.tags))}")
    if found.graph:
        _graph(terminal, found.graph)
    if found.checkpoint:
        _checkpoint(terminal, found.checkpoint)
    for signature in found.signatures.values():
        terminal.line(f"  signature   {escape(signature.name)}")
        for word, specs in (("takes", signature.inputs), ("gives", signature.outputs)):
            for spec in specs:
                terminal.line(
                    f"    {word} {escape(spec.key or '')}: {escape(spec.name)}  {_kind(spec.dtype, spec.shape)}"
                )
    for asset in found.assets:
        terminal.line(f"  asset       {escape(asset)}")
    if found.next:
        terminal.line()
        terminal.line(f"next: {escape(found.next)}")


def _kind(dtype: DType | None, shape: Shape) -> str:
    return f"{'?' if dtype is None else dtype} {format_shape(shape)}"


def _graph(terminal: Terminal, graph: GraphInfo) -> None:
    constants = graph.ops.get("Const", 0)
    terminal.line(
        f"  {graph.node_count:,} nodes, {len(graph.ops)} ops, {graph.variable_count:,} variables, "
        f"{constants:,} constants ({format_nbytes(graph.constant_nbytes)}, {graph.parameters:,} parameters)"
        + (f", {graph.functions:,} functions" if graph.functions else "")
    )
    for end in graph.inputs:
        note = f"   {end.note}" if end.note else ""
        terminal.line(f"  input       {escape(str(end.ref))}  {_kind(end.dtype, end.shape)}{escape(note)}")
    for flag in graph.flags:
        terminal.line(f"  flag        {escape(str(flag.ref))}  {flag.value} for inference   {escape(flag.why)}")
    word = "output" if graph.outputs_certain else "output?"
    for end in graph.outputs:
        note = f"   {end.note}" if end.note else ""
        terminal.line(f"  {word:<11} {escape(str(end.ref))}  {_kind(end.dtype, end.shape)}{escape(note)}")
    shown = graph.bottlenecks if terminal.verbose else graph.bottlenecks[:_SHOWN]
    for cut in shown:
        terminal.line(f"  bottleneck  {escape(str(cut.ref))}  {_kind(cut.dtype, cut.shape)}   {escape(cut.reason)}")
    if len(shown) < len(graph.bottlenecks):
        terminal.line(f"              and {len(graph.bottlenecks) - len(shown)} more, with --verbose")
    for blocker in graph.blockers:
        terminal.line(f"  blocker     {escape(blocker.op)} x{blocker.count}   {escape(blocker.reason)}")


def _checkpoint(terminal: Terminal, checkpoint: CheckpointInfo) -> None:
    counts = ", ".join(f"{n:,} {role}" for role, n in checkpoint.roles.items())
    terminal.line(
        f"  checkpoint  {escape(checkpoint.path)}: {sum(checkpoint.roles.values()):,} variables "
        f"({counts}), {format_nbytes(checkpoint.nbytes)}, {checkpoint.parameters:,} parameters"
    )
    for name in checkpoint.missing_files:
        terminal.line(f"  missing     {escape(name)}", "warn")


def _end(end: object, **more: object) -> dict[str, object]:
    dtype, shape = getattr(end, "dtype", None), getattr(end, "shape", None)
    return {
        "key": None,
        "name": str(getattr(end, "ref", "")),
        "dtype": None if dtype is None else str(dtype),
        "shape": None if shape is None else list(shape),
        **more,
    }


def _to_json(found: Info) -> dict[str, object]:
    from tfinspect.cli.render import spec_json

    content: dict[str, object] = {
        "path": found.path,
        "format": found.format,
        "title": found.title,
        "nbytes": found.nbytes,
        "tensorflow_version": found.tensorflow_version or None,
        "inputs": [],
        "outputs": [],
        "bottlenecks": [],
        "tags": list(found.tags),
        "assets": list(found.assets),
        "signatures": {
            name: {
                "inputs": [spec_json(s) for s in signature.inputs],
                "outputs": [spec_json(s) for s in signature.outputs],
                "method": signature.method,
            }
            for name, signature in found.signatures.items()
        },
        "next": found.next or None,
    }
    graph = found.graph
    if graph is not None:
        content |= {
            "node_count": graph.node_count,
            "ops": graph.ops,
            "producer": graph.producer,
            "min_consumer": graph.min_consumer,
            "function_count": graph.functions,
            "variable_count": graph.variable_count,
            "constant_nbytes": graph.constant_nbytes,
            "parameters": graph.parameters,
            "inputs": [_end(e, kind=e.kind, note=e.note or None) for e in graph.inputs],
            "outputs": [_end(e, note=e.note or None) for e in graph.outputs],
            "outputs_certain": graph.outputs_certain,
            "bottlenecks": [_end(b, width=b.width, reason=b.reason, follows=b.follows) for b in graph.bottlenecks],
            "flags": [{"name": str(f.ref), "value": f.value, "why": f.why} for f in graph.flags],
            "blockers": [{"op": b.op, "count": b.count, "reason": b.reason} for b in graph.blockers],
        }
    if found.checkpoint is not None:
        content["checkpoint"] = {
            "path": found.checkpoint.path,
            "format": found.checkpoint.format,
            "roles": found.checkpoint.roles,
            "nbytes": found.checkpoint.nbytes,
            "parameters": found.checkpoint.parameters,
            "missing_files": list(found.checkpoint.missing_files),
        }
    return content
