"""What `info` prints for a person or a pipe."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tfinspect.cli.render import format_nbytes, kind_cells, plural
from tfinspect.cli.terminal import escape, shorten
from tfinspect.ir.shapes import format_shape

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tfinspect.api.describe import CheckpointInfo, GraphInfo, HeadInfo, LayerInfo
    from tfinspect.api.info import Info
    from tfinspect.api.survey import Survey
    from tfinspect.cli.terminal import Terminal
    from tfinspect.ir.checks import Check

_SHOWN = 5
_LAYERS_SHOWN = 25
_FUNCTIONS_SHOWN = 6


def show_info(terminal: Terminal, found: Info) -> None:
    """Print the description of a model; the parts that could not be read are left to the caller."""
    _title(terminal, found)
    _facts(terminal, found)
    if found.graph:
        _graph(terminal, found.graph, ends=not found.signatures)
    if found.operators:
        _operators(terminal, found.operators)
    if found.checkpoint:
        _checkpoint(terminal, found.checkpoint)
    if found.head:
        _head(terminal, found.head)
    if found.layers:
        _layers(terminal, found.layers)
    for key, value in found.training.items():
        terminal.entry("training", key, shorten(_words(value)))
    for risk in found.risks:
        terminal.entry("risk", risk.kind, risk.where, note=risk.what, style="warn")
    _signatures(terminal, found)
    if found.labels:
        terminal.entry("labels", shorten(", ".join(found.labels)), note=f"{len(found.labels):,} classes")
    for asset in found.assets:
        terminal.entry("asset", asset)
    for name in found.missing:
        terminal.entry("missing", name, style="warn")
    if found.next and not terminal.quiet:
        if terminal.is_tty:
            terminal.line(f"\nnext: {escape(found.next)}")
        else:
            terminal.entry("next", found.next)


def _facts(terminal: Terminal, found: Info) -> None:
    for label, fact in found.facts.items():
        terminal.entry(label.replace("_", " ") if terminal.is_tty else label, fact)
    if found.tags:
        terminal.entry("tags", ", ".join(found.tags))
    for tags in found.tag_sets:
        if tags != found.tags:
            terminal.entry("other tags", ", ".join(tags) or "(none)", note="another graph with the same variables")


def show_survey(terminal: Terminal, found: Survey) -> None:
    """Print the models of a folder; why some cannot be read is left to the caller."""
    size = format_nbytes if terminal.is_tty else str
    terminal.table(
        ("NAME", "FORMAT", "SIZE", "CONTENT"),
        (
            (m.name, m.format or "?", size(m.nbytes), m.summary or ("cannot be read" if m.problem else ""))
            for m in found.members
        ),
        right=(2,),
    )
    rest = "" if found.complete else "; the folder is too large to be looked through whole"
    terminal.note(f"{plural(len(found.members), 'model')}, {plural(found.other_files, 'other file')}{rest}")


def show_checks(terminal: Terminal, checks: Sequence[Check]) -> None:
    """Print what comparing checksums gave."""
    styles = {"ok": "good", "failed": "error", "not checked": "warn"}
    for check in checks:
        terminal.entry(check.status, check.what, check.detail, style=styles[check.status])


def _signatures(terminal: Terminal, found: Info) -> None:
    for signature in found.signatures.values():
        terminal.entry("signature", signature.name, note=signature.method)
        for word, specs in (("takes", signature.inputs), ("gives", signature.outputs)):
            for spec in specs:
                key = [f"{spec.key}:"] if spec.key else []
                terminal.entry(f"  {word}", *key, spec.name, *kind_cells(terminal, spec.dtype, spec.shape))
        names = found.functions.get(signature.name, ())
        shown = names if terminal.verbose or not terminal.is_tty else names[:_FUNCTIONS_SHOWN]
        for name in shown:
            terminal.entry("  runs", name)
        if len(shown) < len(names):
            terminal.entry("", f"and {len(names) - len(shown):,} more functions, with --verbose")


def _operators(terminal: Terminal, operators: Mapping[str, int]) -> None:
    total = sum(operators.values())
    if terminal.is_tty:
        terminal.line(f"  {plural(total, 'operator')}, {plural(len(operators), 'op')}")
    else:
        terminal.entry("operators", str(total))
        terminal.entry("ops", str(len(operators)))


def _layers(terminal: Terminal, layers: tuple[LayerInfo, ...]) -> None:
    shown = layers if terminal.verbose or not terminal.is_tty else layers[:_LAYERS_SHOWN]
    wide = max(len(layer.name) for layer in shown), max(len(layer.kind) for layer in shown)
    for layer in shown:
        count = plural(layer.parameters, "parameter") if terminal.is_tty else str(layer.parameters)
        shape = "" if layer.shape is None else format_shape(layer.shape)
        if terminal.is_tty:
            terminal.entry("layer", f"{layer.name:<{wide[0]}}", f"{layer.kind:<{wide[1]}}", count, shape)
        else:
            terminal.entry("layer", layer.name, layer.kind, shape or "?", count, ", ".join(layer.inputs))
    if len(shown) < len(layers):
        terminal.entry("", f"and {len(layers) - len(shown):,} more, with --verbose")


def _words(value: object) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, (list, tuple)):
        return ", ".join(map(_words, value))
    if isinstance(value, dict):
        return ", ".join(f"{key} {_words(item)}" for key, item in value.items())
    return str(value)


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


def _graph(terminal: Terminal, graph: GraphInfo, *, ends: bool) -> None:
    _counts(terminal, graph)
    for end in graph.inputs if ends else ():
        terminal.entry("input", str(end.ref), *kind_cells(terminal, end.dtype, end.shape), note=end.note)
    for flag in graph.flags:
        terminal.entry("flag", str(flag.ref), f"{flag.value} for inference", note=flag.why)
    word = "output" if graph.outputs_certain else "output?"
    for end in graph.outputs if ends else ():
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
