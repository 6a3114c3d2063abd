"""Shell completion of names from the file that is on the line already. Never raises, never imports a runtime.

What is offered ends up in shell code: zsh evaluates it, bash pastes it unquoted. So only names of plain characters are
offered; whoever wrote the file must not get a word in.
"""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from types import ModuleType

_PLAIN = re.compile(r"[A-Za-z0-9_.][A-Za-z0-9_./:-]*=?")
_FILES = ("graph", "path", "checkpoint", "a", "model", "features")


def tensors(ctx: typer.Context, incomplete: str) -> list[str]:
    """Complete a tensor name, one scope at a time, and after a colon the number of the output."""
    node, colon, _ = incomplete.rpartition(":")
    if colon and "/" not in incomplete[len(node) :]:
        numbered = _or_nothing(lambda path: _numbered(path, node), _file(ctx))
        if numbered:
            return _starting(numbered, incomplete)
    return _one_scope(_or_nothing(_names().tensors, _file(ctx)), incomplete)


def nodes(ctx: typer.Context, incomplete: str) -> list[str]:
    """Complete a node name, one scope at a time."""
    return _one_scope(_or_nothing(_names().nodes, _file(ctx)), incomplete)


def scopes(ctx: typer.Context, incomplete: str) -> list[str]:
    """Complete a scope, one level at a time."""
    return _scopes(_or_nothing(_names().nodes, _file(ctx)), incomplete)


def head_scopes(ctx: typer.Context, incomplete: str) -> list[str]:
    """Complete a scope of the head."""
    return _scopes(_or_nothing(_names().nodes, _file(ctx, "head")), incomplete)


def ops(ctx: typer.Context, incomplete: str) -> list[str]:
    """Complete an op type that occurs in the graph."""
    return _starting(_or_nothing(_names().ops, _file(ctx)), incomplete)


def functions(ctx: typer.Context, incomplete: str) -> list[str]:
    """Complete the name of a function of the graph."""
    return _starting(_or_nothing(_names().functions, _file(ctx)), incomplete)


def variables(ctx: typer.Context, incomplete: str) -> list[str]:
    """Complete a variable name, one scope at a time."""
    return _one_scope(_or_nothing(_names().variables, _file(ctx, "checkpoint", *_FILES) or "."), incomplete)


def settings(ctx: typer.Context, incomplete: str) -> list[str]:
    """Complete the name in NAME=VALUE."""
    if "=" in incomplete:
        return []
    return _ending(_one_scope(_or_nothing(_names().placeholders, _file(ctx)), incomplete))


def renamings(ctx: typer.Context, incomplete: str) -> list[str]:
    """Complete OLD=NEW: names of the graph's variables, then those of the checkpoint."""
    old, equals, new = incomplete.partition("=")
    if equals:
        return [f"{old}={name}" for name in variables(ctx, new)]
    return _ending(_one_scope(_or_nothing(_names().variable_nodes, _file(ctx)), incomplete))


def pairs(ctx: typer.Context, incomplete: str) -> list[str]:
    """Complete A=B: a tensor of the first model, then one of the second."""
    first, equals, second = incomplete.partition("=")
    if equals:
        found = _one_scope(_or_nothing(_names().tensors, _file(ctx, "b")), second)
        return [f"{first}={name}" for name in found]
    return _ending(_one_scope(_or_nothing(_names().tensors, _file(ctx, "a")), incomplete))


def _names() -> ModuleType:
    """Return what reads names, loaded when it is needed."""
    from tfinspect.api import names

    return names


def _or_nothing(names: Callable[[str], Iterable[str]], path: str | None) -> Iterable[str]:
    if path is None:
        return []
    try:
        return names(path)
    except Exception:  # noqa: BLE001 - a message would land in the middle of the line that is being typed
        return []


def _file(ctx: typer.Context, *params: str) -> str | None:
    """Return the file that names come from; with none on the line, the newest model of this folder."""
    path = next((ctx.params[name] for name in params or _FILES if ctx.params.get(name)), None)
    if isinstance(path, str):
        return os.path.expandvars(os.path.expanduser(path))  # noqa: PTH111 - stays as typed
    if params:
        return None
    try:
        from tfinspect.api.load import newest_model

        return newest_model()
    except Exception:  # noqa: BLE001 - as `_or_nothing`
        return None


def _numbered(path: str, node: str) -> list[str]:
    return [f"{node}:{index}" for index in range(_names().outputs_of(path, node))]


def _starting(names: Iterable[str], incomplete: str) -> list[str]:
    return sorted(name for name in set(names) if name.startswith(incomplete) and _PLAIN.fullmatch(name))


def _ending(names: list[str]) -> list[str]:
    return [name if name.endswith("/") else f"{name}=" for name in names]


def _one_scope(names: Iterable[str], incomplete: str) -> list[str]:
    start = incomplete.rfind("/") + 1
    found = set()
    for name in names:
        if name.startswith(incomplete):
            end = name.find("/", start)
            found.add(name if end < 0 else name[: end + 1])
    return sorted(name for name in found if _PLAIN.fullmatch(name))


def _scopes(names: Iterable[str], incomplete: str) -> list[str]:
    """Return the scopes of one level; where one of them was typed in full, those inside it."""
    start = incomplete.rfind("/") + 1
    found = set()
    for name in names:
        if name.startswith(incomplete):
            end = name.find("/", start)
            if end >= 0:
                found.add(name[:end])
                deeper = name.find("/", end + 1)
                if deeper >= 0 and name[:end] == incomplete:
                    found.add(name[:deeper])
    return sorted(name for name in found if _PLAIN.fullmatch(name))
