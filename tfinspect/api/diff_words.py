"""The verdict of `diff` in one line of words."""

from __future__ import annotations

import statistics
from typing import TYPE_CHECKING, Final

from tfinspect.errors import counted

if TYPE_CHECKING:
    from tfinspect.api.compare_weights import WeightsDifference
    from tfinspect.api.diff import Difference
    from tfinspect.surgery.compare_graphs import PartsDifference

_VARIABLES: Final = frozenset({"Variable", "VariableV2", "VarHandleOp", "AutoReloadVariable"})
_CLOSE: Final = 0.5  # relative RMS change up to which a weight is a descendant and not another one
_TRAINING: Final = frozenset({"slot", "step", "bookkeeping"})
_WIDTHS: Final = frozenset({"shape", "_output_shapes", "result_shape", "filters", "units", "nIn", "nOut"})


def summary(found: Difference) -> str:
    """Say in one line how two models are related."""
    if not found.differs:
        return _no_difference(found)
    text = _related(found)
    if found.weights is not None and found.weights.unreadable:
        text += f"; {counted(len(found.weights.unreadable), 'tensor')} could not be read"
    return text


def _no_difference(found: Difference) -> str:
    if not found.complete:
        count = len(found.problems) + (len(found.weights.unreadable) if found.weights is not None else 0)
        return f"no difference in what could be read, but {counted(count, 'part')} could not be read"
    where = "" if found.match is None else f" in what matches `{found.match}`"
    if found.same_file:
        return f"identical{where}: the same file"
    if found.weights is not None and found.weights.within:
        return f"equal within the tolerances{where}: {_of(found.weights.within, found.weights)} by less"
    return f"identical{where}"


def _related(found: Difference) -> str:
    structure = found.nodes or found.operators or found.layers
    weights = found.weights
    if not (structure and structure.paired) and not (weights and weights.paired):
        part = structure or weights
        if part is not None and (part.count_a or part.count_b):
            return f"nothing in common: 0 of {max(part.count_a, part.count_b):,} names"
        return _other_differences(found)
    if weights is None or not weights.paired:
        return _structure_only(found, structure)
    if weights.reshaped and _is_resized(found, structure, weights):
        return f"the same network at other widths: {_of(len(weights.reshaped), weights, 'have another shape')}"
    values = _values(weights)
    if structure is not None and not _structure_differs(found, structure):
        return _same_structure(found, structure, weights, values)
    if structure is None and not found.only and not (weights.added or weights.removed):
        return _same_variables(found, weights, values)
    equal = weights.same + weights.within
    if not values and equal and equal >= min(weights.model_a, weights.model_b) / 2:
        return _same_weights(found, structure, weights)
    common = (
        []
        if structure is None
        else [f"{structure.paired:,} of {max(structure.count_a, structure.count_b):,} {_word(found)}"]
    )
    common.append(f"{weights.paired:,} of {max(weights.count_a, weights.count_b):,} tensors")
    told = values or ("with the same values" if equal else "their values unread")
    return f"related: {' and '.join(common)} in common; {told}"


def _word(found: Difference) -> str:
    return next((name for name in ("nodes", "operators", "layers") if getattr(found, name) is not None), "names")


def _of(count: int, weights: WeightsDifference, verb: str = "") -> str:
    single = count == 1 and weights.paired == 1
    words = {"": "differs" if count == 1 else "differ"}.get(verb, verb)
    if count == 1:
        words = words.replace("have ", "has ")
    return f"{count:,} of {weights.paired:,} {'tensor' if single else 'tensors'} {words}"


def _values(weights: WeightsDifference) -> str:
    """Say how the weights that both have differ; empty where none does."""
    parts = []
    if weights.changed:
        parts.append(f"{_of(len(weights.changed), weights)}")
    if weights.retyped:
        kinds = {(str(change.a.dtype), str(change.b.dtype)) for change in weights.retyped}
        how = "" if len(kinds) > 1 else " ({} to {})".format(*next(iter(kinds)))
        parts.append(_of(len(weights.retyped), weights, "have another dtype") + how)
    if weights.reshaped:
        parts.append(_of(len(weights.reshaped), weights, "have another shape"))
    return ", ".join(parts)


def _judged(weights: WeightsDifference) -> str:
    """Say what the changes look like, where that can be told."""
    if weights.reshaped or weights.retyped or not weights.changed:
        return ""
    model = [change for change in weights.changed if change.a.role not in _TRAINING]
    if not model:
        return ": only what the trainer keeps (steps, slots)"
    model = [change for change in model if change.a.dtype.is_floating]
    if not model:
        return ""
    rels = [change.measures.rel_rms for change in model if change.measures is not None]
    apart = statistics.median(float("inf") if rel is None else rel for rel in rels)
    if weights.paired > 1 and (apart < _CLOSE or len(weights.changed) < weights.paired / 2):
        return ": a fine-tuned copy"
    return ": trained apart, or on other data" if weights.paired > 1 else ""


def _structure_differs(found: Difference, structure: PartsDifference) -> bool:
    functions = found.functions
    inside = functions is not None and bool(functions.added or functions.removed or functions.changed)
    return bool(structure.added or structure.removed or structure.changed or inside or found.only)


def _other_names(found: Difference, structure: PartsDifference | None) -> str:
    scope = found.scope
    if scope is None and found.weights is not None and found.weights.scope is not None:
        scope = (found.weights.scope.a, found.weights.scope.b)
    if scope is not None:
        return f" under another scope ({_scope_words(*scope)})"
    renamed = len(structure.renamed) if structure is not None else 0
    if not renamed and found.weights is not None and structure is None:
        renamed = len(found.weights.renamed)
    return f" under other names ({renamed:,} renamed)" if renamed else ""


def _scope_words(a: str, b: str) -> str:
    if not a:
        return f"`{b}` put before every name of A"
    return f"`{a}` of A taken away in B" if not b else f"`{a}` of A is `{b}` in B"


def _same_structure(found: Difference, structure: PartsDifference, weights: WeightsDifference, values: str) -> str:
    names = _other_names(found, structure)
    if values:
        return f"same {_single(found)}{names}, {values}{_judged(weights)}"
    if weights.added or weights.removed:
        return f"same {_single(found)}{names}, other weights: {_counts(weights)}"
    if names:
        return f"same {_single(found)} and weights{names}"
    return _other_differences(found)


def _another(found: Difference) -> str:
    return "other layers" if _word(found) == "layers" else "another graph"


def _single(found: Difference) -> str:
    return {"nodes": "graph", "operators": "graph", "layers": "layers"}.get(_word(found), "graph")


def _same_variables(found: Difference, weights: WeightsDifference, values: str) -> str:
    names = ""
    if weights.scope is not None:
        names = f" under another scope ({_scope_words(weights.scope.a, weights.scope.b)})"
    elif weights.renamed:
        names = f" under other names ({len(weights.renamed):,} renamed)"
    if not values:
        return f"the same weights{names}" if names else _other_differences(found)
    return f"same variables{names}, {values}{_judged(weights)}"


def _same_weights(found: Difference, structure: PartsDifference | None, weights: WeightsDifference) -> str:
    if structure is None and not found.only:
        return (
            f"the same weights in what both have ({weights.same + weights.within:,} tensors)"
            f"{_other_names(found, None)}: {_counts(weights)}"
        )
    reasons = _reasons(found, structure)
    share = (
        f"{weights.same + weights.within:,} tensors bit by bit" if not weights.within else f"{weights.paired:,} tensors"
    )
    return f"the same weights ({share}), {_another(found)}{': ' if reasons else ''}{', '.join(reasons)}"


def _reasons(found: Difference, structure: PartsDifference | None) -> list[str]:
    reasons = []
    if structure is not None:
        ops = {(change.a, change.b) for change in structure.changed if change.field == "op"}
        if any(a in _VARIABLES and b == "Const" for a, b in ops):
            reasons.append("B is frozen")
        if any(b in _VARIABLES and a == "Const" for a, b in ops):
            reasons.append("A is frozen")
        word = _word(found)
        added, removed = len(structure.added), len(structure.removed)
        if added and not removed:
            reasons.append(
                f"B adds {counted(added, word[:-1])}" if not reasons else f"{counted(added, word[:-1])} more in B"
            )
        elif removed and not added:
            reasons.append(f"B is cut to {structure.paired:,} of {structure.count_a:,} {word}")
        elif added:
            reasons.append(f"{counted(removed, word[:-1])} only in A, {added:,} only in B")
        changed = len({change.name for change in structure.changed})
        if changed and not reasons:
            reasons.append(f"{changed:,} of {structure.paired:,} {word} changed")
    reasons += [f"only {side.upper()} has {'a graph' if part == 'graph' else part}" for part, side in found.only]
    scoped = found.scope is not None or (found.weights is not None and found.weights.scope is not None)
    if scoped:
        reasons.append(_other_names(found, structure).strip())
    elif structure is not None and structure.renamed:
        reasons.append(f"{len(structure.renamed):,} renamed")
    return reasons


def _counts(weights: WeightsDifference) -> str:
    parts = []
    for count, side in ((weights.removed, "A"), (weights.added, "B")):
        if count:
            trained = sum(weight.role in _TRAINING for weight in count)
            what = f" ({trained:,} of them the trainer's)" if trained else ""
            parts.append(f"{counted(len(count), 'tensor')} only in {side}{what}")
    return ", ".join(parts)


def _is_resized(found: Difference, structure: PartsDifference | None, weights: WeightsDifference) -> bool:
    """Whether most weights with more than one element have another shape, of as many dimensions, in the same graph."""
    if any(len(change.a.shape) != len(change.b.shape) for change in weights.reshaped):
        return False
    kept = [change for change in (*weights.changed, *weights.retyped) if change.a.shape not in {(), (1,)}]
    if len(weights.reshaped) < max(2, len(kept)):
        return False
    if structure is None:
        return True
    if structure.added or structure.removed or found.only:
        return False
    return all(change.field in _WIDTHS for change in structure.changed)


def _structure_only(found: Difference, structure: PartsDifference | None) -> str:
    if structure is None:
        return _other_differences(found)
    names = _other_names(found, structure)
    if not _structure_differs(found, structure) and names:
        return f"same {_single(found)}{names}"
    reasons = []
    if structure.changed:
        reasons.append(f"{len({change.name for change in structure.changed}):,} changed")
    if structure.added:
        reasons.append(f"{len(structure.added):,} added")
    if structure.removed:
        reasons.append(f"{len(structure.removed):,} removed")
    if not reasons:
        return _other_differences(found)
    return f"{_another(found)}: of {structure.count_a:,} {_word(found)}, {', '.join(reasons)}{names}"


def _other_differences(found: Difference) -> str:
    parts = [
        name for name in ("functions", "signatures") if (part := getattr(found, name)) is not None and part.differs
    ]
    parts += list(dict.fromkeys(change.name for change in found.versions))
    if found.only:
        parts += [f"{part} of {side.upper()} alone" for part, side in found.only]
    weights = found.weights
    if weights is not None and weights.differs:
        parts.append(_counts(weights) or "weights")
    if len(parts) == 1 and parts[0] == "versions":
        return "the same but for versions"
    return f"the same but for {', '.join(parts)}"
