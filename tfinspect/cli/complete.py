"""Shell completion of names from the file that is on the line already. Never raises, never imports a runtime."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import typer

if TYPE_CHECKING:
    from collections.abc import Iterable


def tensors(ctx: typer.Context, incomplete: str) -> list[str]:
    """Complete a tensor name, one scope at a time."""
    return _one_scope(_names(ctx, "graph"), incomplete)


def nodes(ctx: typer.Context, incomplete: str) -> list[str]:
    """Complete a node name, one scope at a time."""
    return _one_scope(_names(ctx, "graph"), incomplete)


def ops(ctx: typer.Context, incomplete: str) -> list[str]:
    """Complete an op type that occurs in the graph."""
    graph = _graph(ctx)
    return sorted({n.op for n in graph.nodes if n.op.startswith(incomplete)}) if graph is not None else []


def variables(ctx: typer.Context, incomplete: str) -> list[str]:
    """Complete a variable name, one scope at a time."""
    return _one_scope(_names(ctx, "checkpoint"), incomplete)


def _graph(ctx: typer.Context) -> Any:  # noqa: ANN401 - a Graph or None
    from tfinspect import formats
    from tfinspect.errors import TfinspectError

    path = ctx.params.get("graph")
    if not path:
        return None
    try:
        return formats.open_model(path).graph
    except TfinspectError:
        return None  # a completer has nowhere to say what is wrong with the file


def _names(ctx: typer.Context, kind: str) -> Iterable[str]:
    if kind == "graph":
        graph = _graph(ctx)
        return [] if graph is None else [n.name for n in graph.nodes]
    from tfinspect import formats
    from tfinspect.errors import TfinspectError

    path = ctx.params.get("checkpoint")
    if not path:
        return []
    try:
        return list(formats.read_checkpoint(path).variables)
    except TfinspectError:
        return []  # as above


def _one_scope(names: Iterable[str], incomplete: str) -> list[str]:
    start = incomplete.rfind("/") + 1
    found = set()
    for name in names:
        if name.startswith(incomplete):
            end = name.find("/", start)
            found.add(name if end < 0 else name[: end + 1])
    return sorted(found)
