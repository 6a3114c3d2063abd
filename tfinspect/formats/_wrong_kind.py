"""A readable file in the wrong place: what it is, and the command that works on it as typed."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING

from tfinspect.errors import TfinspectError, WrongKindError

if TYPE_CHECKING:
    from tfinspect.formats._identify import Format


def no_graph(path: str, row: Format, noun: str = "a graph") -> WrongKindError:
    """Return the error for a file that was given as a graph and holds none.

    Args:
        path: the file, as the caller wrote it.
        row: its format.
        noun: what was wanted.
    """
    command = "vars" if "checkpoint" in row.kinds and "graph" not in row.kinds else "info"
    return WrongKindError(
        f"{path} is {row.a_title}, not {noun}",
        hint=f"tfinspect {command} {shlex.quote(path)}",
        evidence={"path": path, "format": row.name},
    )


def no_checkpoint(path: str, row: Format) -> WrongKindError:
    """Return the error for a file that was given as a checkpoint and holds none.

    Of a graph, the hint is the checkpoint that stands beside it, or else where its weights are.
    """
    name = shlex.quote(path)
    hint = f"tfinspect info {name}"
    if "graph" in row.kinds:
        beside = checkpoint_beside(path)
        hint = f"tfinspect vars {shlex.quote(beside)}" if beside is not None else f"tfinspect nodes {name}"
        if beside is None and _has_constants(path):
            hint += " --op Const"
    return WrongKindError(
        f"{path} is a SavedModel without variables"
        if row.name == "saved_model"
        else f"{path} is {row.a_title}, not a checkpoint",
        hint=hint,
        evidence={"path": path, "format": row.name},
    )


def checkpoint_beside(path: str) -> str | None:
    """Return the checkpoint that stands beside a graph: of the same name, or the one of its folder."""
    from tfinspect.formats import checkpoint

    place = Path(path)
    if place.is_dir():
        return None
    for candidate in (str(place.with_suffix("")) if place.suffix else "", str(place.parent)):
        try:
            if candidate and checkpoint.is_checkpoint(candidate):
                checkpoint.resolve(candidate)
                return candidate
        except TfinspectError:
            continue  # several, or broken: no help to anybody
    return None


def _has_constants(path: str) -> bool:
    from tfinspect import formats

    try:
        graph = formats.open_model(path).graph
    except TfinspectError:
        return False  # what is wrong with it, `nodes` says
    return graph is not None and any(node.op == "Const" for node in graph)
