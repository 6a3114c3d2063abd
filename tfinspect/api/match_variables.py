"""Variables of a graph and what a checkpoint calls them; an account of everything that keeps the two apart."""

from __future__ import annotations

import shlex
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from tfinspect.api.repair import refuse, unfit_for_inference
from tfinspect.errors import (
    IncompleteCheckpointError,
    InputError,
    LimitError,
    SurgeryError,
    TfinspectError,
    UnrestoredVariablesError,
    UsageError,
    counted,
)
from tfinspect.surgery.average_pairs import average_pairs
from tfinspect.surgery.drop_updates import drop_updates, refuse_updates
from tfinspect.surgery.fold_variables import read_nodes
from tfinspect.surgery.given_values import fitted, with_values
from tfinspect.surgery.moving_averages import moving_averages
from tfinspect.surgery.object_paths import found_elsewhere
from tfinspect.surgery.prune import prune
from tfinspect.surgery.reconcile import VARIABLES, saver_keys, variable_keys
from tfinspect.surgery.reconciliation import BAD, Row, reconciled, suggested
from tfinspect.surgery.rename_patterns import expanded
from tfinspect.surgery.restorable import check_restorable

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence

    from tfinspect.ir.checkpoint import Checkpoint
    from tfinspect.ir.graph import Graph, Node
    from tfinspect.ir.model import Saver
    from tfinspect.ir.refs import TensorRef
    from tfinspect.surgery.moving_averages import Average
    from tfinspect.surgery.reconcile import Key

__all__ = ["Ledger", "Matched", "Row", "match_variables"]
_SHOWN = 20
_FLAGS = 12


@dataclass(frozen=True, slots=True)
class Matched:
    """Which key each variable of a graph has.

    Attributes:
        checkpoint: where the values stand.
        keys: by variable node.
        plain: the same without renamings and averages.
        kept: the moving averages the graph keeps.
        pairs: of each variable whose average is taken, the average's key, and how it was found.
        named: variables that the caller renamed one by one.
        averages: whether averages were asked for.
    """

    checkpoint: Checkpoint
    keys: Mapping[str, Key]
    plain: Mapping[str, Key]
    kept: tuple[Average, ...]
    pairs: Mapping[str, tuple[str, str]]
    named: frozenset[str]
    averages: bool

    def ledger(self, graph: Graph, outputs: Sequence[TensorRef], values: Mapping[str, Any]) -> Ledger:
        """Return the account for the outputs of a graph, with values that the caller gave."""
        needed, _ = drop_updates(prune(graph, outputs), outputs)
        needed = prune(needed, outputs)
        read = read_nodes(needed, outputs)
        variables = [node for node in graph.nodes if node.op in VARIABLES and node.name in self.keys]
        mattering = [node for node in variables if node.name in read]
        keys = {**self.keys, **found_elsewhere(self.keys, mattering, self.checkpoint.variables)}
        checkpoint = with_values(self.checkpoint, variables, keys, values)
        checkpoint, changed = fitted(checkpoint, variables, keys, self.named)
        return Ledger(replace(self, keys=keys), checkpoint, mattering, set(values), set(changed))


def match_variables(
    graph: Graph, checkpoint: Checkpoint, *, saver: Saver | None, rename: Mapping[str, str], averages: bool
) -> Matched:
    """Find the checkpoint key of each variable.

    Args:
        graph: the whole graph.
        checkpoint: where the values stand.
        saver: how the graph restores itself.
        rename: names, scopes and patterns in the graph -> what the checkpoint calls them.
        averages: whether moving averages are wanted.

    Raises:
        UsageError: a renaming is ambiguous; averages are wanted and there is none.
    """
    names = _names(graph, saver)
    plain = variable_keys(graph, checkpoint, saver=saver)
    keys: Mapping[str, Key] = plain
    if rename:
        entries = expanded(rename, [name for own in names.values() for name in own])
        keys = variable_keys(graph, checkpoint, saver=saver, rename=entries)
    kept = tuple(moving_averages(graph))
    pairs: Mapping[str, tuple[str, str]] = {}
    if averages:
        pairs = average_pairs(graph, kept, keys, checkpoint)
        if not pairs:
            raise UsageError(
                f"{checkpoint.path} has no moving average of a variable of the graph",
                hint="leave out --ema, or look for what they are called: tfinspect vars CHECKPOINT",
            )
    named = frozenset(variable for variable, own in names.items() if any(name in rename for name in own))
    keys = {name: replace(key, name=pairs[name][0]) if name in pairs else key for name, key in keys.items()}
    return Matched(checkpoint, keys, plain, kept, pairs, named, averages)


def _names(graph: Graph, saver: Saver | None) -> dict[str, list[str]]:
    """Return all names that a variable may go by in a renaming."""
    restored = saver_keys(graph, saver)
    names: dict[str, list[str]] = {}
    for node in graph.nodes:
        if node.op in VARIABLES:
            own = [node.name, node.text("shared_name"), node.name.rpartition("/part_")[0]]
            if node.name in restored:
                own.append(restored[node.name].name)
            names[node.name] = [name for name in dict.fromkeys(own) if name]
    return names


class Ledger:
    """The variables that some outputs need, and what the checkpoint gives them."""

    def __init__(
        self,
        matched: Matched,
        checkpoint: Checkpoint,
        needed: list[Node],
        given: Collection[str],
        changed: Collection[str],
    ) -> None:
        self.checkpoint = checkpoint
        self._matched = matched
        self._needed = needed
        self._given = given
        self._changed = changed
        self._unreadable: dict[str, InputError] = {}

    @property
    def keys(self) -> Mapping[str, Key]:
        """The checkpoint key of each variable of the graph."""
        return self._matched.keys

    def rows(self, restored: Mapping[str, str] | None = None) -> tuple[Row, ...]:
        """Return the table; only of the variables that were restored, where that is known."""
        nodes = [n for n in self._needed if restored is None or n.name in restored]
        matched = self._matched
        stored = matched.checkpoint
        rows = reconciled(
            nodes,
            matched.keys,
            stored,
            averaged=matched.pairs,
            raw={matched.plain[name].name for name in matched.pairs},
            given=self._given,
            unreadable=self._unreadable,
        )
        return tuple(
            replace(row, fitted=True) if row.variable in self._changed and row.status in BAD else row for row in rows
        )

    def averages(self, restored: Mapping[str, str]) -> dict[str, tuple[str, str]]:
        """Return the averages that were taken."""
        return {name: pair for name, pair in self._matched.pairs.items() if name in restored}

    def notes(self, restored: Mapping[str, str]) -> list[str]:
        """Say in words what was paired and what was changed."""
        notes: list[str] = []
        taken = self.averages(restored)
        if self._matched.averages:
            shown = [f"{name} from {key}" for name, (key, _) in list(taken.items())[:3]]
            more = f" and {len(taken) - 3:,} more" if len(taken) > 3 else ""  # noqa: PLR2004 - as many as shown
            notes.append(f"took {counted(len(taken), 'moving average')}: {', '.join(shown)}{more}")
            of_averages = {average.variable for average in self._matched.kept}
            raw = [name for name in restored if name not in taken and name not in of_averages]
            if raw:
                rest = f" and {len(raw) - 3:,} more" if len(raw) > 3 else ""  # noqa: PLR2004 - as many as shown
                notes.append(f"no moving average of {', '.join(raw[:3])}{rest}: the raw value was taken")
        changed = [row for row in self.rows(restored) if row.fitted]
        return notes + [f"`{row.variable}`: `{row.key}` was {row.status} to fit, as --map names it" for row in changed]

    def check_readable(self, restored: Mapping[str, str]) -> None:
        """See that the files hold every value that is needed.

        Raises:
            IncompleteCheckpointError: a shard is missing; names all variables that stand in it.
            InputError: a file is too short.
        """
        if not any(True for _ in self.checkpoint.faults()):
            return
        for key in dict.fromkeys(restored.values()):
            try:
                tensor = self.checkpoint.tensor(key)
                if tensor.dtype.itemsize:
                    next(iter(tensor.chunks()), None)
                else:
                    tensor.numpy()
            except InputError as error:
                self._unreadable[key] = error
        if not self._unreadable:
            return
        first = next(iter(self._unreadable.values()))
        if len(self._unreadable) == 1 or not isinstance(first, IncompleteCheckpointError):
            raise first
        missing = sorted({str(e.evidence.get("missing", "")) for e in self._unreadable.values()})
        raise IncompleteCheckpointError(
            f"{', '.join(missing)} {'is' if len(missing) == 1 else 'are'} missing, "
            f"and {len(self._unreadable):,} of the {len(restored):,} values that are needed stand there",
            details=[*list(self._unreadable)[:_SHOWN], *_more(len(self._unreadable))],
            hint=first.hint,
            evidence={"missing": missing, "variables": list(self._unreadable)},
        )

    def account(self, error: TfinspectError, graph: Graph, outputs: Sequence[TensorRef]) -> TfinspectError:
        """Return one error for all that is in the way, given the first thing that was met."""
        errors = [error]
        for check in (self._check_variables, self._check_updates, self._check_nodes):
            try:
                check(graph, outputs)
            except (SurgeryError, LimitError) as other:
                if all(other.message != known.message and not _same_update(known, other) for known in errors):
                    errors.append(other)
        errors = [self._with_flags(e) if isinstance(e, UnrestoredVariablesError) else e for e in errors]
        return errors[0] if len(errors) == 1 else _together(errors)

    def _check_variables(self, graph: Graph, outputs: Sequence[TensorRef]) -> None:
        del graph, outputs
        check_restorable(self._needed, self._matched.keys, self.checkpoint)

    def _check_updates(self, graph: Graph, outputs: Sequence[TensorRef]) -> None:
        kept, _ = drop_updates(prune(graph, outputs), outputs)
        refuse_updates(prune(kept, outputs), outputs)

    def _check_nodes(self, graph: Graph, outputs: Sequence[TensorRef]) -> None:
        needed = prune(graph, outputs)
        refuse(unfit_for_inference(needed))

    def _with_flags(self, error: UnrestoredVariablesError) -> UnrestoredVariablesError:
        """Return the error with the flags that would mend it, and a word on a checkpoint of another model."""
        rows = self.rows()
        bad = {row.variable for row in rows if row.is_bad}
        weights = [name for name, info in self.checkpoint.variables.items() if info.role == "weight"]
        known = {name for row in rows if row.variable for name in (row.variable, row.key)}
        details = list(error.details)
        if weights and known.isdisjoint(weights) and len(bad) > 1:
            details.insert(0, f"none of its {len(weights):,} names is in the graph")
        flags, mended = self._flags(rows)
        hint = error.hint
        if flags:
            command = " ".join(flags)
            part = f"{len(mended & bad):,} of the {len(bad):,} would be found with"
            hint = f"mend it with {command}" if bad <= mended else f"{part} {command}"
        elif len(bad) == len([row for row in rows if row.variable]):
            hint = f"list what it holds: tfinspect vars {shlex.quote(self.checkpoint.path)}"
        return UnrestoredVariablesError(
            error.message, details=details, hint=hint, evidence={**error.evidence, "flags": flags}
        )

    def _flags(self, rows: Sequence[Row]) -> tuple[list[str], set[str]]:
        """Return the flags that would mend what is missing, and which variables that is."""
        plain = self._matched.plain
        asked = [replace(row, key=plain[row.variable].name) if row.status == "missing" else row for row in rows]
        found = {row.variable for row in asked if row.status == "missing" and row.key in self.checkpoint.variables}
        if found:  # under the names the graph has of itself
            free = {row.key for row in asked if row.status == "missing" and row.variable in found}
            texts = [f"{name}={name}" for name in sorted(free)]
            return [f"--map {shlex.quote(text)}" for text in texts[:_FLAGS]], found
        texts, mended = suggested(asked, self.checkpoint)
        return [f"--map {shlex.quote(text)}" for text in texts], mended


def _same_update(known: TfinspectError, other: TfinspectError) -> bool:
    """Whether both are about one update of a variable: that it runs, and that what it changed is read behind it."""
    update = known.evidence.get("update")
    return update is not None and update == other.evidence.get("node")


def _more(count: int) -> list[str]:
    return [f"... and {count - _SHOWN:,} more"] if count > _SHOWN else []


def _together(errors: Sequence[TfinspectError]) -> TfinspectError:
    """Return one error that tells of several."""
    details = [line for error in errors for line in (error.message, *(f"  {detail}" for detail in error.details))]
    hints = list(dict.fromkeys(error.hint for error in errors if error.hint))
    kind: Callable[..., TfinspectError] = SurgeryError
    if any(isinstance(error, UnrestoredVariablesError) for error in errors):
        kind = UnrestoredVariablesError
    return kind(
        f"{len(errors)} things keep the graph from being frozen",
        details=details,
        hint="; ".join(hints) or None,
        evidence={
            "causes": [{"slug": e.slug, "message": e.message, "hint": e.hint, "evidence": e.evidence} for e in errors]
        },
    )
