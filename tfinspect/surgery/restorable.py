"""Whether a checkpoint can give every variable its value; if not, an account of all that are in the way."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tfinspect.errors import UnrestoredVariablesError, near_names
from tfinspect.ir.shapes import Shape, compatible, format_shape, is_static
from tfinspect.surgery.reconcile import declared_shape

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tfinspect.ir.checkpoint import Checkpoint, VariableInfo
    from tfinspect.ir.graph import Node
    from tfinspect.surgery.reconcile import Key

_SHOWN = 20  # variables listed in an error message; its evidence has all
_COMPARED = 200  # variables for which near names are looked for


def check_restorable(variables: Sequence[Node], keys: Mapping[str, Key], checkpoint: Checkpoint) -> None:
    """Check that the checkpoint has the value of each variable, in its dtype and shape.

    Raises:
        UnrestoredVariablesError: it lacks some; all are listed, with near names.
    """
    missing = [node for node in variables if keys[node.name].name not in checkpoint.variables]
    differing = {
        node.name: reason
        for node in variables
        if keys[node.name].name in checkpoint.variables
        and (reason := _difference(node, keys[node.name], checkpoint.variables[keys[node.name].name]))
    }
    if not missing and not differing:
        return
    near = {node.name: _near(node, keys[node.name].name, checkpoint) for node in missing[:_COMPARED]}
    rows = [
        (node.name, _suggestion(node, keys[node.name].name, near.get(node.name, []), checkpoint)) for node in missing
    ]
    rows += list(differing.items())
    width = max(len(name) for name, _ in rows[:_SHOWN])
    details = [f"{name:<{width}}  ({reason})" for name, reason in rows[:_SHOWN]]
    if len(rows) > _SHOWN:
        details.append(f"... and {len(rows) - _SHOWN:,} more")
    raise UnrestoredVariablesError(
        _sentence(len(variables), len(missing), len(differing), checkpoint.path),
        details=details,
        hint=_hint(missing, keys, near),
        evidence={
            "missing": [node.name for node in missing],
            "differing": differing,
            "near": near,
            "keys": {name: keys[name].name for name, _ in rows},
        },
    )


def _sentence(variables: int, missing: int, differing: int, path: str) -> str:
    if missing == variables > 1:
        return (
            f"none of the {variables:,} variables the graph needs is in {path}, "
            "which seems to be the checkpoint of another graph"
        )
    if not differing:
        return f"the graph needs {missing:,} variable{_s(missing)} that {path} does not have"
    if not missing:
        return f"{path} holds {differing:,} variable{_s(differing)} in another shape or dtype than the graph needs"
    count = missing + differing
    return f"the graph needs {count:,} variables that {path} does not have, or holds in another shape or dtype"


def _s(count: int) -> str:
    return "" if count == 1 else "s"


def _difference(node: Node, key: Key, info: VariableInfo) -> str | None:
    dtype, shape = node.dtype("dtype"), declared_shape(node)
    held = info.shape if key.size is None else key.size
    if key.begin is not None and key.size is not None:
        ends = [b + s for b, s in zip(key.begin, key.size, strict=True)]
        if len(ends) != len(info.shape) or any(e > d for e, d in zip(ends, info.shape, strict=True)):
            return f"checkpoint has `{info.name}` as {info.dtype} {format_shape(info.shape)}, too small for the slice"
    fits = compatible(shape, held)
    if key.reshaped and shape is not None and is_static(shape):
        fits = restored_size(shape) == restored_size(held)
    if fits and (dtype is None or dtype == info.dtype):
        return None
    return (
        f"checkpoint has `{info.name}` as {info.dtype} {format_shape(held)}, "
        f"the graph wants {dtype} {format_shape(shape)}"
    )


def restored_size(shape: Shape) -> int:
    """Return how many elements a shape has, 0 where that is open."""
    total = 1
    for dim in shape or ():
        total *= dim or 0
    return total


def _near(node: Node, key: str, checkpoint: Checkpoint) -> list[str]:
    """Return keys that may be meant: of the right shape first."""
    names = near_names(key, checkpoint.variables, limit=5)
    shape = declared_shape(node)
    return sorted(names, key=lambda name: checkpoint.variables[name].shape != shape)[:3]


def _suggestion(node: Node, key: str, near: list[str], checkpoint: Checkpoint) -> str:
    wanted = "" if key == node.name else f"wanted as `{key}`; "
    if not near:
        return f"{wanted}nothing similar"
    shape = checkpoint.variables[near[0]].shape
    same = "same shape" if shape == declared_shape(node) else f"but {format_shape(shape)}"
    return f"{wanted}checkpoint has `{near[0]}`, {same}"


def _hint(missing: Sequence[Node], keys: Mapping[str, Key], near: Mapping[str, list[str]]) -> str | None:
    """Name the one change of a leading scope that would mend most, if there is one."""
    votes: dict[str, int] = {}
    for node in missing:
        for name in near.get(node.name, [])[:1]:
            ours, theirs = keys[node.name].name.split("/"), name.split("/")
            while len(ours) > 1 and len(theirs) > 1 and ours[-1] == theirs[-1]:
                ours.pop()
                theirs.pop()
            change = f"--map {'/'.join(ours)}={'/'.join(theirs)}"
            votes[change] = votes.get(change, 0) + 1
    if votes:
        return (
            f"rename with {max(votes, key=lambda change: votes[change])}, or name outputs that need less with --outputs"
        )
    return "list what the checkpoint has: tfinspect vars CHECKPOINT" if missing else None
