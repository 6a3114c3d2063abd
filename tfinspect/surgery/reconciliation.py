"""What a checkpoint gives a graph, variable by variable, and what would mend what it does not give."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from tfinspect.errors import near_names
from tfinspect.ir.shapes import compatible
from tfinspect.surgery.pair_names import scope_change
from tfinspect.surgery.reconcile import declared_shape
from tfinspect.surgery.restorable import restored_size

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence

    from tfinspect.ir.checkpoint import Checkpoint, VariableInfo
    from tfinspect.ir.dtypes import DType
    from tfinspect.ir.graph import Node
    from tfinspect.ir.shapes import Shape
    from tfinspect.surgery.reconcile import Key

STATUSES: Final = ("restored", "averaged", "set", "missing", "reshaped", "retyped", "unreadable", "extra")
BAD: Final = frozenset({"missing", "reshaped", "retyped", "unreadable"})
_COMPARED = 200  # variables for which near names are looked for
_ROUNDS = 4  # renamings of whole scopes that are suggested
_MOST = 12  # renamings suggested


@dataclass(frozen=True, slots=True)
class Row:
    """One variable of the graph, or one weight of the checkpoint that no variable takes.

    Attributes:
        variable: name of the node; empty for what only the checkpoint has.
        dtype: what the graph declares.
        shape: what the graph declares.
        key: what the variable is, or would be, restored from.
        key_dtype: what the checkpoint holds; None where it lacks the key.
        key_shape: what the checkpoint holds, of a slice that alone.
        status: one of `STATUSES`; those in `BAD` keep the graph from being frozen, unless `fitted`.
        near: keys that may be meant, best first.
        fitted: whether the value was given another shape or dtype, as the caller asked.
    """

    variable: str
    dtype: DType | None
    shape: Shape
    key: str
    key_dtype: DType | None
    key_shape: Shape
    status: str
    near: tuple[str, ...] = ()
    fitted: bool = False

    @property
    def is_bad(self) -> bool:
        """Whether the graph cannot be frozen because of it."""
        return self.status in BAD and not self.fitted


def reconciled(
    variables: Sequence[Node],
    keys: Mapping[str, Key],
    checkpoint: Checkpoint,
    *,
    averaged: Collection[str] = (),
    raw: Collection[str] = (),
    given: Collection[str] = (),
    unreadable: Collection[str] = (),
) -> list[Row]:
    """Return a row for each variable, in order, then one for each weight of the checkpoint that none of them takes.

    Args:
        variables: the variable nodes in question.
        keys: of each, the key.
        checkpoint: the values.
        averaged: variables whose key is that of an average.
        raw: keys of the raw values for which averages were taken; they are not left over.
        given: variables whose value the caller gave.
        unreadable: keys whose value cannot be read.
    """
    known = checkpoint.variables
    missing = [node.name for node in variables if keys[node.name].name not in known and node.name not in given]
    taken = {keys[node.name].name for node in variables}.union(raw)
    free = [name for name, info in known.items() if name not in taken and info.role == "weight"]
    near = {name: _near(keys[name].name, free or list(known)) for name in missing[:_COMPARED]}
    rows = []
    for node in variables:
        key = keys[node.name]
        info = known.get(key.name)
        status = "set" if node.name in given else _status(node, key, info)
        if status == "restored" and key.name in unreadable:
            status = "unreadable"
        elif status == "restored" and node.name in averaged:
            status = "averaged"
        shape = None if info is None else info.shape if key.size is None else key.size
        dtype = None if info is None else info.dtype
        near_ones = _by_shape(near.get(node.name, []), declared_shape(node), known)
        rows.append(
            Row(node.name, node.dtype("dtype"), declared_shape(node), key.name, dtype, shape, status, near_ones)
        )
    rows += [Row("", None, None, name, known[name].dtype, known[name].shape, "extra") for name in free]
    return rows


def _status(node: Node, key: Key, info: VariableInfo | None) -> str:
    if info is None:
        return "missing"
    dtype, shape = node.dtype("dtype"), declared_shape(node)
    held = info.shape if key.size is None else key.size
    if not (compatible(shape, held) or (key.reshaped and restored_size(shape) == restored_size(held))):
        return "reshaped"
    return "restored" if dtype is None or dtype == info.dtype else "retyped"


def _near(key: str, names: Sequence[str]) -> list[str]:
    return near_names(key, names, limit=5)


def _by_shape(names: Iterable[str], shape: Shape, known: Mapping[str, VariableInfo]) -> tuple[str, ...]:
    return tuple(sorted(names, key=lambda name: known[name].shape != shape)[:3])


def suggested(rows: Sequence[Row], checkpoint: Checkpoint) -> tuple[list[str], set[str]]:
    """Return the renamings, as `--map` takes them, that would find most of what is missing; few, the widest first.

    Returns:
        The renamings, and the variables they would mend.
    """
    missing = {row.variable: row for row in rows if row.status == "missing"}
    free = {row.key: row for row in rows if row.status == "extra"}
    held = {name: info for name, info in checkpoint.variables.items() if info.role in ("weight", "slot")}
    others = [row.key for row in rows if row.variable and row.status != "missing"]
    found: list[str] = []
    mended: set[str] = set()
    for _ in range(_ROUNDS):
        best = _widest(list(missing.values()), free or held, others)
        if best is None:
            break
        text, pairs = best
        found.append(text)
        mended.update(pairs)
        for name, key in pairs.items():
            del missing[name]
            free.pop(key, None)
    single: list[tuple[str, str]] = []
    for row in missing.values():
        pool = [name for name in row.near if name in free and _fits(row, free[name].key_shape, free[name].key_dtype)]
        if len(pool) == 1 or (pool and pool[0].rpartition("/")[2] == row.key.rpartition("/")[2]):
            single.append((row.variable, f"{row.key}={free.pop(pool[0]).key}"))
    single += [(row.variable, f"{row.variable}={row.key}") for row in rows if _convertible(row)]
    single = single[: max(0, _MOST - len(found))]
    return found + [text for _, text in single], mended.union(name for name, _ in single)


def _convertible(row: Row) -> bool:
    if row.status not in ("reshaped", "retyped") or row.fitted:
        return False
    if row.dtype is None or row.key_dtype is None or restored_size(row.shape) != restored_size(row.key_shape):
        return False
    return can_become(row.key_dtype, row.dtype)


def can_become(held: DType, wanted: DType) -> bool:
    """Whether values of one dtype may be given as another: floating-point ones, or integers, among themselves."""
    return held == wanted or (held.is_floating and wanted.is_floating) or (held.is_integer and wanted.is_integer)


def _fits(row: Row, shape: Shape, dtype: DType | None) -> bool:
    return compatible(row.shape, shape) and (row.dtype is None or dtype == row.dtype)


def _widest(
    missing: Sequence[Row], held: Mapping[str, Row | VariableInfo], others: Sequence[str]
) -> tuple[str, dict[str, str]] | None:
    """Return the renaming of a scope or an ending that finds the most, and what it finds, or None."""
    names = [row.key for row in missing]
    change = scope_change(names, list(held))
    tails: Counter[tuple[str, str]] = Counter()
    for name in names[:_COMPARED]:
        for key in held:
            if key.startswith(name):
                tails["", key[len(name) :]] += 1
            elif name.startswith(key):
                tails[name[len(key) :], ""] += 1
    results: list[tuple[int, str, dict[str, str]]] = []
    if change is not None:
        a, b = change.a, change.b
        pairs = {row.variable: b + row.key[len(a) :] for row in missing if row.key.startswith(a)}
        harmed = any(name.startswith(a) for name in others)
        results.append(_judged(_scope_text(a, b), pairs, missing, held, harmed=harmed))
    for (a, b), _ in tails.most_common(3):
        pairs = {row.variable: row.key.removesuffix(a) + b for row in missing if row.key.endswith(a)}
        harmed = any(name.endswith(a) for name in others)
        results.append(_judged(f"*{a}=*{b}", pairs, missing, held, harmed=harmed))
    results = [result for result in results if result[0] > 1 or (result[0] and result[0] == len(missing))]
    if not results:
        return None
    count, text, pairs = max(results, key=lambda result: result[0])
    return (text, pairs) if count else None


def _judged(
    text: str,
    pairs: Mapping[str, str],
    missing: Sequence[Row],
    held: Mapping[str, Row | VariableInfo],
    *,
    harmed: bool,
) -> tuple[int, str, dict[str, str]]:
    rows = {row.variable: row for row in missing}
    good = {}
    for name, key in pairs.items():
        found = held.get(key)
        if found is None:
            continue
        shape, dtype = (found.key_shape, found.key_dtype) if isinstance(found, Row) else (found.shape, found.dtype)
        if _fits(rows[name], shape, dtype):
            good[name] = key
    return (0 if harmed else len(good)), text, good


def _scope_text(a: str, b: str) -> str:
    if a.endswith("/") and b.endswith("/"):
        return f"{a.rstrip('/')}={b.rstrip('/')}"
    return f"{a}*={b}*"
