"""Shell completion of names from the file that is on the line already. Never raises, never imports a runtime.

What is offered ends up in shell code: zsh evaluates it, bash pastes it unquoted. So only names of plain characters are
offered; whoever wrote the file must not get a word in.
"""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING, Any

import typer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

_PLAIN = re.compile(r"[A-Za-z0-9_.][A-Za-z0-9_./-]*")


def tensors(ctx: typer.Context, incomplete: str) -> list[str]:
    """Complete a tensor name, one scope at a time."""
    return _one_scope(_or_nothing(_node_names, ctx), incomplete)


def nodes(ctx: typer.Context, incomplete: str) -> list[str]:
    """Complete a node name, one scope at a time."""
    return _one_scope(_or_nothing(_node_names, ctx), incomplete)


def ops(ctx: typer.Context, incomplete: str) -> list[str]:
    """Complete an op type that occurs in the graph."""
    return sorted(op for op in set(_or_nothing(_op_types, ctx)) if op.startswith(incomplete) and _PLAIN.fullmatch(op))


def variables(ctx: typer.Context, incomplete: str) -> list[str]:
    """Complete a variable name, one scope at a time."""
    return _one_scope(_or_nothing(_variable_names, ctx), incomplete)


def functions(ctx: typer.Context, incomplete: str) -> list[str]:
    """Complete the name of a library function or subgraph."""
    names = set(_or_nothing(_function_names, ctx))
    return sorted(name for name in names if name.startswith(incomplete) and _PLAIN.fullmatch(name))


def _function_names(ctx: typer.Context) -> list[str]:
    from tfinspect.api.listing import function_names

    return function_names(os.path.expanduser(ctx.params["graph"]))  # noqa: PTH111 - stays as typed


def _or_nothing(names: Callable[[typer.Context], list[str]], ctx: typer.Context) -> list[str]:
    try:
        return names(ctx)
    except Exception:  # noqa: BLE001 - a message would land in the middle of the line that is being typed
        return []


def _node_names(ctx: typer.Context) -> list[str]:
    return [node.name for node in _graph(ctx).nodes]


def _op_types(ctx: typer.Context) -> list[str]:
    return [node.op for node in _graph(ctx).nodes]


def _graph(ctx: typer.Context) -> Any:  # noqa: ANN401 - a Graph
    from tfinspect.api.load import graph_of, newest_model

    path = next((ctx.params[name] for name in ("graph", "path", "checkpoint", "a") if ctx.params.get(name)), None)
    return graph_of(newest_model() if path is None else os.path.expanduser(path))  # noqa: PTH111 - stays as typed


def _variable_names(ctx: typer.Context) -> list[str]:
    from tfinspect import formats

    path = ctx.params.get("checkpoint") or "."
    return list(formats.read_checkpoint(os.path.expanduser(path)).variables)  # noqa: PTH111 - stays as typed


def _one_scope(names: Iterable[str], incomplete: str) -> list[str]:
    start = incomplete.rfind("/") + 1
    found = set()
    for name in names:
        if name.startswith(incomplete):
            end = name.find("/", start)
            found.add(name if end < 0 else name[: end + 1])
    return sorted(name for name in found if _PLAIN.fullmatch(name))
