"""Differences as text and JSON."""

from __future__ import annotations

import json
import textwrap
from typing import TYPE_CHECKING, Any, Final

from tfinspect import formats
from tfinspect.cli.render import attr_json, attr_text, plural
from tfinspect.cli.terminal import escape, shorten
from tfinspect.ir.attrs import Attr
from tfinspect.ir.shapes import format_shape

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from tfinspect.api.compare_weights import Weight, WeightChange
    from tfinspect.api.diff import Change, Difference, PartsDifference
    from tfinspect.cli.terminal import Terminal

_SHOWN: Final = 20
_WARNED: Final = 5
_STYLES: Final = {"+": "good", "-": "error", "~": "warn", "=": "name", "!": "error"}
_INDENT: Final = "  "
_NOUNS: Final = {
    "nodes": "node", "operators": "operator", "layers": "layer", "functions": "function", "signatures": "signature",
}  # fmt: skip

Row = tuple[str, str, tuple[str, ...]]
"""Name, kind of change, details."""


def show_differences(terminal: Terminal, found: Difference) -> None:
    """Print the verdict and the differences: on a terminal the first of each kind, in a pipe all, one a line."""
    if terminal.is_tty:
        _show(terminal, found)
    else:
        for name, kind, details in _rows(found):
            terminal.entry(name, kind, *details)
        terminal.note(found.summary)
    for side, error in found.problems:
        terminal.warn(f"{found.a if side == 'a' else found.b}: {error.message}")
    lost = [] if found.weights is None else found.weights.unreadable
    for one in lost if terminal.verbose else lost[:_WARNED]:
        path = found.a if one.side == "a" else found.b
        terminal.warn(f"`{one.name}` of {path} was not compared: {one.error.message}")
    if len(lost) > _WARNED and not terminal.verbose:
        terminal.warn(f"{len(lost) - _WARNED:,} more were not compared either")
    for note in found.notes:
        terminal.note(note)


def _rows(found: Difference) -> Iterable[Row]:
    """Yield every fact: what is in a pipe one line each."""
    for change in found.versions:
        yield change.name, "header-changed", (change.field, _text(change.a), _text(change.b))
    for part, side in found.only:
        yield part, f"only-{side}", ()
    if found.scope is not None:
        yield found.scope[0], "scope-changed", (found.scope[1],)
    for part, difference in found.structures.items():
        noun = _NOUNS[part]
        for name in difference.removed:
            yield name, f"{noun}-removed", _op(difference, name)
        for name in difference.added:
            yield name, f"{noun}-added", _op(difference, name)
        for name, other in difference.renamed:
            yield name, f"{noun}-renamed", (other,)
        for change in difference.changed:
            yield change.name, f"{noun}-changed", (change.field, _text(change.a), _text(change.b))
    yield from _weight_rows(found)


def _op(difference: PartsDifference, name: str) -> tuple[str, ...]:
    op = difference.ops.get(name, "")
    return (op,) if op else ()


def _weight_rows(found: Difference) -> Iterable[Row]:
    weights = found.weights
    if weights is None:
        return
    if weights.scope is not None and found.scope is None:
        yield weights.scope.a, "scope-changed", (weights.scope.b,)
    for change in weights.changed:
        yield change.a.name, "weight-changed", (*_kind(change.a), *_measures(change))
    for change in weights.retyped:
        yield change.a.name, "weight-retyped", (str(change.a.dtype), str(change.b.dtype), *_measures(change))
    for change in weights.reshaped:
        shapes = format_shape(change.a.shape), format_shape(change.b.shape)
        yield change.a.name, "weight-reshaped", (str(change.a.dtype), *shapes)
    for a, b in weights.renamed:
        yield a.name, "weight-renamed", (b.name, *_kind(a))
    for word, side in (("removed", weights.removed), ("added", weights.added)):
        for weight in side:
            yield weight.name, f"weight-{word}", (*_kind(weight), weight.role)
    for lost in weights.unreadable:
        yield lost.name, "weight-unreadable", (lost.side, lost.error.message)


def _kind(weight: Weight) -> tuple[str, str]:
    return str(weight.dtype), format_shape(weight.shape)


def _measures(change: WeightChange) -> tuple[str, ...]:
    found = change.measures
    if found is None:
        return ()
    odd = found.not_finite_a or found.not_finite_b
    return (
        _number(found.max_abs),
        _number(found.rel_rms),
        str(found.differing),
        str(found.size),
        *((f"not finite: {found.not_finite_a} in A, {found.not_finite_b} in B",) if odd else ()),
    )


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.6g}"


def _text(value: Any) -> str:  # noqa: ANN401 - any field of a node
    if value is None:
        return "-"
    if isinstance(value, Attr):
        return attr_text(value)
    if isinstance(value, (tuple, list)):
        return "[" + ", ".join("?" if item is None else str(item) for item in value) + "]"
    return str(value)


def _show(terminal: Terminal, found: Difference) -> None:
    same_format = found.format_a == found.format_b
    for letter, path, name in (("A", found.a, found.format_a), ("B", found.b, found.format_b)):
        title = "" if same_format and letter == "B" else formats.BY_NAME[name].title
        terminal.entry(letter, path, note=title)
    for line in textwrap.wrap(escape(found.summary[:1].upper() + found.summary[1:]), terminal.columns):
        terminal.line(line, "good" if found.identical else "warn")
    if found.scope is not None:
        terminal.line(
            escape(f"{_INDENT}names of A begin with `{found.scope[0]}` where those of B begin with `{found.scope[1]}`")
        )
    if found.versions:
        terminal.line()
        terminal.line("header", "name")
        _show_changes(terminal, found.versions, named=len({change.name for change in found.versions}) > 1)
    for part, difference in found.structures.items():
        if difference.differs:
            _show_part(terminal, part, difference)
    if found.weights is not None and (found.weights.differs or found.weights.unreadable):
        _show_weights(terminal, found)


def _show_part(terminal: Terminal, part: str, difference: PartsDifference) -> None:
    changed = len({change.name for change in difference.changed})
    counts = (
        (len(difference.removed), "only in A"),
        (len(difference.added), "only in B"),
        (changed, "changed"),
        (len(difference.renamed), "renamed"),
    )
    _title(terminal, part, counts, difference.count_a, difference.count_b)
    for mark, names in (("-", difference.removed), ("+", difference.added)):
        _show_names(terminal, mark, [(name, difference.ops.get(name, "")) for name in names])
    _show_changes(terminal, difference.changed)
    _show_names(terminal, "=", [(name, f"is {other}") for name, other in difference.renamed])


def _title(terminal: Terminal, part: str, counts: Sequence[tuple[int, str]], count_a: int, count_b: int) -> None:
    said = ", ".join(f"{count:,} {word}" for count, word in counts if count)
    totals = f"{count_a:,}" if count_a == count_b else f"{count_a:,} in A, {count_b:,} in B"
    terminal.line()
    terminal.line(f"{part}: {said} ({totals})", "name")


def _show_names(terminal: Terminal, mark: str, rows: Sequence[tuple[str, str]]) -> None:
    shown = _first(terminal, rows)
    room = terminal.columns - len(_INDENT) - 2
    width = min(max((len(escape(name)) for name, _ in shown), default=0), room * 3 // 5)
    for name, note in shown:
        left = shorten(escape(name), max(width, room - len(note) - 2) if note else room)
        right = shorten(escape(note), max(room - max(len(left), width) - 2, 8)) if note else ""
        terminal.line(f"{_INDENT}{mark} {left:<{width}}  {right}".rstrip(), _STYLES[mark])
    _more(terminal, len(rows) - len(shown))


def _show_changes(terminal: Terminal, changes: Sequence[Change], *, named: bool = True) -> None:
    shown = _first(terminal, changes)
    last = None
    for change in shown:
        if named and change.name != last:
            terminal.line(f"{_INDENT}~ {shorten(escape(change.name), terminal.columns - 4)}", _STYLES["~"])
            last = change.name
        room = terminal.columns - 2 * len(_INDENT) - len(change.field) - 2
        before, after = escape(_text(change.a)), escape(_text(change.b))
        lead = f"{_INDENT * 2}{escape(change.field)}"
        if len(before) + len(after) + 4 <= room:
            terminal.line(f"{lead}  {before} -> {after}")
        else:
            terminal.line(lead)
            for letter, text in (("A", before), ("B", after)):
                terminal.line(f"{_INDENT * 3}{letter} {shorten(text, terminal.columns - 8)}")
    _more(terminal, len(changes) - len(shown))


def _show_weights(terminal: Terminal, found: Difference) -> None:
    weights = found.weights
    if weights is None:
        return
    counts = (
        (len(weights.removed), "only in A"),
        (len(weights.added), "only in B"),
        (len(weights.changed), "changed"),
        (len(weights.retyped), "retyped"),
        (len(weights.reshaped), "reshaped"),
        (len(weights.renamed), "renamed"),
        (len(weights.unreadable), "unreadable"),
    )
    _title(terminal, "weights", counts, weights.count_a, weights.count_b)
    if weights.changed:
        _show_measures(terminal, weights.changed)
    for change in _first(terminal, weights.retyped):
        figures = "" if change.measures is None else f", max abs {_short(change.measures.max_abs)}"
        _show_names(terminal, "~", [(change.a.name, f"{change.a.dtype} -> {change.b.dtype}{figures}")])
    _more(terminal, len(weights.retyped) - _SHOWN)
    rows = [(c.a.name, f"{format_shape(c.a.shape)} -> {format_shape(c.b.shape)}") for c in weights.reshaped]
    _show_names(terminal, "~", rows)
    for mark, side in (("-", weights.removed), ("+", weights.added)):
        _show_names(terminal, mark, [(w.name, " ".join(_kind(w))) for w in side])
    _show_names(terminal, "=", [(a.name, f"is {b.name}") for a, b in weights.renamed])
    _show_names(terminal, "!", [(lost.name, f"unreadable in {lost.side.upper()}") for lost in weights.unreadable])


def _show_measures(terminal: Terminal, changes: Sequence[WeightChange]) -> None:
    shown = _first(terminal, changes)
    rows = []
    for change in shown:
        found = change.measures
        if found is None:
            continue
        odd = (
            ""
            if not (found.not_finite_a or found.not_finite_b)
            else f"{found.not_finite_a:,} -> {found.not_finite_b:,}"
        )
        share = f"{found.differing:,} of {found.size:,}"
        rows.append(
            (change.a.name, _short(found.max_abs), _short(found.rel_rms), share, format_shape(change.a.shape), odd)
        )
    header = ("NAME", "MAX ABS", "REL RMS", "DIFFERING", "SHAPE", "NOT FINITE")
    width = len(header) if any(row[-1] for row in rows) else len(header) - 1
    natural = [max(len(escape(row[place])) for row in [header, *rows]) for place in range(width)]
    if sum(natural) + 2 * (width - 1) <= terminal.columns:
        terminal.table(header[:width], [row[:width] for row in rows], right=(1, 2, 3))
    else:  # names are worth more than columns
        for name, max_abs, rel_rms, share, shape, odd in rows:
            terminal.line(f"{_INDENT}~ {shorten(escape(name), terminal.columns - 4)}", _STYLES["~"])
            figures = f"max abs {max_abs}, rel rms {rel_rms}, {share} differ, {shape}"
            for line in textwrap.wrap(f"{figures}, not finite {odd}" if odd else figures, terminal.columns - 4):
                terminal.line(f"{_INDENT * 2}{line}", "dim")
    _more(terminal, len(changes) - len(shown))


def _short(value: float | None) -> str:
    return "-" if value is None else f"{value:.3g}"


def _first(terminal: Terminal, rows: Sequence[Any]) -> Sequence[Any]:
    return rows if terminal.verbose else rows[:_SHOWN]


def _more(terminal: Terminal, count: int) -> None:
    if count > 0 and not terminal.verbose:
        terminal.line(f"{_INDENT}  and {plural(count, 'more').removesuffix('s')}, with --verbose", "dim")


def differences_json(found: Difference) -> dict[str, object]:
    """Return the answer as the contract writes it."""
    weights = found.weights
    return {
        "a": found.a,
        "b": found.b,
        "format_a": found.format_a,
        "format_b": found.format_b,
        "identical": found.identical,
        "complete": found.complete,
        "summary": found.summary,
        "rtol": found.tolerances[0],
        "atol": found.tolerances[1],
        "compared": [*found.structures, *(["weights"] if weights is not None else [])],
        "only": [{"part": part, "side": side} for part, side in found.only],
        "scope": None if found.scope is None else {"a": found.scope[0], "b": found.scope[1]},
        "versions": [_change_json(change) for change in found.versions],
        "nodes": _part_json(found.nodes),
        "weights": _weights_json(found),
        "signatures": _part_json(found.signatures),
        "functions": _part_json(found.functions),
        "operators": _part_json(found.operators),
        "layers": _part_json(found.layers),
        "problems": [{"side": side, "slug": error.slug, "message": error.message} for side, error in found.problems],
        "notes": found.notes,
    }


def _change_json(change: Change) -> dict[str, object]:
    return {"name": change.name, "field": change.field, "a": _json(change.a), "b": _json(change.b)}


def _json(value: Any) -> object:  # noqa: ANN401 - any field of a node
    if isinstance(value, Attr):
        return attr_json(value)["value"]
    if isinstance(value, (tuple, list)):
        return [_json(item) for item in value]
    if isinstance(value, dict):
        return json.loads(json.dumps(value, default=str))
    return value if value is None or isinstance(value, (str, int, float)) else str(value)


def _part_json(part: PartsDifference | None) -> dict[str, object]:
    if part is None:
        return {"count_a": None, "count_b": None, "added": [], "removed": [], "changed": [], "renamed": []}
    return {
        "count_a": part.count_a,
        "count_b": part.count_b,
        "added": list(part.added),
        "removed": list(part.removed),
        "changed": [_change_json(change) for change in part.changed],
        "renamed": [{"a": a, "b": b} for a, b in part.renamed],
    }


def _weights_json(found: Difference) -> dict[str, object]:
    weights = found.weights
    if weights is None:
        empty: dict[str, object] = {
            "count_a": None,
            "count_b": None,
            "paired": 0,
            "same": 0,
            "within": 0,
            "scope": None,
        }
        kinds = ("added", "removed", "changed", "retyped", "reshaped", "renamed", "unreadable")
        return empty | {kind: [] for kind in kinds}
    return {
        "count_a": weights.count_a,
        "count_b": weights.count_b,
        "paired": weights.paired,
        "same": weights.same,
        "within": weights.within,
        "scope": None if weights.scope is None else {"a": weights.scope.a, "b": weights.scope.b},
        "added": [weight.name for weight in weights.added],
        "removed": [weight.name for weight in weights.removed],
        "changed": [_weight_json(change) | _measures_json(change) for change in weights.changed],
        "retyped": [
            _weight_json(change) | {"a": str(change.a.dtype), "b": str(change.b.dtype)} | _measures_json(change)
            for change in weights.retyped
        ],
        "reshaped": [
            _weight_json(change) | {"a": list(change.a.shape), "b": list(change.b.shape)} for change in weights.reshaped
        ],
        "renamed": [{"a": a.name, "b": b.name} for a, b in weights.renamed],
        "unreadable": [
            {"name": lost.name, "side": lost.side, "slug": lost.error.slug, "message": lost.error.message}
            for lost in weights.unreadable
        ],
    }


def _weight_json(change: WeightChange) -> dict[str, object]:
    return {
        "name": change.a.name,
        "name_b": change.b.name,
        "dtype": str(change.a.dtype),
        "shape": list(change.a.shape),
        "role": change.a.role,
    }


def _measures_json(change: WeightChange) -> dict[str, object]:
    found = change.measures
    if found is None:
        return {}
    return {
        "max_abs": found.max_abs,
        "rel_rms": found.rel_rms,
        "differing": found.differing,
        "size": found.size,
        "not_finite_a": found.not_finite_a,
        "not_finite_b": found.not_finite_b,
    }
