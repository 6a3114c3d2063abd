"""`tfinspect info`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from tfinspect.cli.options import Inputs, Json, Quiet, Verbose
from tfinspect.cli.render import format_nbytes, kind_cells, plural, spec_json
from tfinspect.cli.terminal import Terminal, escape
from tfinspect.ir.signature import TensorSpec

if TYPE_CHECKING:
    from tfinspect.api.info import CheckpointInfo, GraphInfo, HeadInfo, Info

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
    _title(terminal, found)
    if found.tags:
        terminal.entry("tags", ", ".join(found.tags))
    if found.graph:
        _graph(terminal, found.graph)
    if found.checkpoint:
        _checkpoint(terminal, found.checkpoint)
    if found.head:
        _head(terminal, found.head)
    for signature in found.signatures.values():
        terminal.entry("signature", signature.name, note=signature.method)
        for word, specs in (("takes", signature.inputs), ("gives", signature.outputs)):
            for spec in specs:
                key = [f"{spec.key}:"] if spec.key else []
                terminal.entry(f"  {word}", *key, spec.name, *kind_cells(terminal, spec.dtype, spec.shape))
    for asset in found.assets:
        terminal.entry("asset", asset)
    if found.next and not quiet:
        if terminal.is_tty:
            terminal.line(f"\nnext: {escape(found.next)}")
        else:
            terminal.entry("next", found.next)


def _title(terminal: Terminal, found: Info) -> None:
    if not terminal.is_tty:
        facts = (("format", found.format), ("nbytes", found.nbytes), ("tensorflow_version", found.tensorflow_version))
        for label, fact in facts:
            if fact != "":
                terminal.entry(label, str(fact))
        return
    words = [found.title, format_nbytes(found.nbytes)]
    if found.tensorflow_version:
        words.append(f"TensorFlow {escape(found.tensorflow_version)}")
    if found.graph:
        words.append(f"producer {found.graph.producer}")
    terminal.line(", ".join(words))


def _graph(terminal: Terminal, graph: GraphInfo) -> None:
    _counts(terminal, graph)
    for end in graph.inputs:
        terminal.entry("input", str(end.ref), *kind_cells(terminal, end.dtype, end.shape), note=end.note)
    for flag in graph.flags:
        terminal.entry("flag", str(flag.ref), f"{flag.value} for inference", note=flag.why)
    word = "output" if graph.outputs_certain else "output?"
    for end in graph.outputs:
        terminal.entry(word, str(end.ref), *kind_cells(terminal, end.dtype, end.shape), note=end.note)
    shown = graph.bottlenecks if terminal.verbose or not terminal.is_tty else graph.bottlenecks[:_SHOWN]
    for cut in shown:
        terminal.entry("bottleneck", str(cut.ref), *kind_cells(terminal, cut.dtype, cut.shape), note=cut.reason)
    if len(shown) < len(graph.bottlenecks):
        terminal.entry("", f"and {len(graph.bottlenecks) - len(shown)} more, with --verbose")
    for old in graph.old_ops:
        terminal.entry("old op", f"{old.op} x{old.count}", note=f"refused in graphs of version {old.version} and later")
    for blocker in graph.blockers:
        terminal.entry("blocker", f"{blocker.op} x{blocker.count}", note=blocker.reason, style="warn")


def _counts(terminal: Terminal, graph: GraphInfo) -> None:
    constants = graph.ops.get("Const", 0)
    if terminal.is_tty:
        terminal.line(
            f"  {plural(graph.node_count, 'node')}, {plural(len(graph.ops), 'op')}, "
            f"{plural(graph.variable_count, 'variable')}, {plural(constants, 'constant')} "
            f"({format_nbytes(graph.constant_nbytes)}, {plural(graph.parameters, 'parameter')})"
            + (f", {plural(graph.functions, 'function')}" if graph.functions else "")
        )
        return
    for label, count in (
        ("producer", graph.producer),
        ("nodes", graph.node_count),
        ("ops", len(graph.ops)),
        ("variables", graph.variable_count),
        ("constants", constants),
        ("constant_nbytes", graph.constant_nbytes),
        ("parameters", graph.parameters),
        ("functions", graph.functions),
    ):
        terminal.entry(label, str(count))


def _checkpoint(terminal: Terminal, checkpoint: CheckpointInfo) -> None:
    roles = ", ".join(f"{count:,} {role}" for role, count in checkpoint.roles.items())
    terminal.entry(
        "checkpoint",
        f"{checkpoint.path}: {plural(sum(checkpoint.roles.values()), 'variable')}" + (f" ({roles})" if roles else ""),
        note=f"{format_nbytes(checkpoint.nbytes)}, {plural(checkpoint.parameters, 'parameter')}",
    )
    for name in checkpoint.missing_files:
        terminal.entry("missing", name, style="warn")


def _head(terminal: Terminal, head: HeadInfo) -> None:
    for features, units, activation in head.layers:
        terminal.entry("layer", f"{features} features", f"{units} units", activation)
    if head.labels:
        terminal.entry("labels", ", ".join(head.labels))


def _to_json(found: Info) -> dict[str, object]:
    content: dict[str, object] = {
        "path": found.path,
        "format": found.format,
        "title": found.title,
        "nbytes": found.nbytes,
        "tensorflow_version": found.tensorflow_version or None,
        "inputs": [spec_json(s) for s in found.inputs],
        "outputs": [spec_json(s) for s in found.outputs],
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
            "outputs_certain": graph.outputs_certain,
            "bottlenecks": [
                {
                    **spec_json(TensorSpec(b.ref, b.dtype, b.shape)),
                    "width": b.width,
                    "reason": b.reason,
                    "follows": b.follows,
                }
                for b in graph.bottlenecks
            ],
            "flags": [{"name": str(f.ref), "value": f.value, "why": f.why} for f in graph.flags],
            "blockers": [{"op": b.op, "count": b.count, "reason": b.reason} for b in graph.blockers],
            "old_ops": [{"op": o.op, "count": o.count, "refused_since": o.version} for o in graph.old_ops],
        }
        for key, ends in (("inputs", graph.inputs), ("outputs", graph.outputs)):
            known = {str(end.ref): end for end in ends}
            content[key] = [
                {
                    **spec_json(s),
                    "kind": known[s.name].kind if s.name in known else None,
                    "note": (known[s.name].note or None) if s.name in known else None,
                }
                for s in getattr(found, key)
            ]
    if found.checkpoint is not None:
        content["checkpoint"] = {
            "path": found.checkpoint.path,
            "format": found.checkpoint.format,
            "roles": found.checkpoint.roles,
            "nbytes": found.checkpoint.nbytes,
            "parameters": found.checkpoint.parameters,
            "missing_files": list(found.checkpoint.missing_files),
        }
    if found.head is not None:
        content["head"] = {
            "features": found.head.features,
            "classes": found.head.classes,
            "layers": [{"features": f, "units": u, "activation": a} for f, u, a in found.head.layers],
            "labels": list(found.head.labels),
        }
    return content
