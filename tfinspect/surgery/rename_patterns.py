"""Renamings as people write them: `old=new` for a name or a scope, `old/*=new/*` for a pattern."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tfinspect.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence


def expanded(rename: Mapping[str, str], names: Iterable[str]) -> dict[str, str]:
    """Return renamings in which every name that a pattern matches stands for itself.

    Each `*` of a pattern matches any characters, `/` too, and what it matched stands in the place of the same `*` of
    the other side. Of the entries that match a name the one with the most characters of its own is taken.

    Args:
        rename: names, scopes and patterns in the graph -> what the checkpoint calls them.
        names: the names in question.

    Raises:
        UsageError: a pattern has another number of `*` than its other side, matches a name in several ways, or two
            entries fit a name equally well and say different things.
    """
    plain = {old: new for old, new in rename.items() if "*" not in old}
    for old, new in plain.items():
        if "*" in new:
            raise UsageError(f"`{old}={new}` has a `*` on one side only", hint="write it on both: --map 'old/*=new/*'")
    patterns = [(old, new) for old, new in rename.items() if "*" in old]
    for old, new in patterns:
        _check(old, new)
    found = dict(plain)
    for name in names if patterns else ():
        if name in plain:
            continue
        fitting = [(_length(old), _filled(old, new, name), old) for old, new in patterns]
        fits: list[tuple[int, str, str]] = [(n, text, old) for n, text, old in fitting if text is not None]
        fits += [
            (len(old), _under(old, new, name), old)
            for old, new in plain.items()
            if old == "" or name.startswith(old.rstrip("/") + "/")
        ]
        if not fits:
            continue
        most = max(length for length, _, _ in fits)
        best = {text: old for length, text, old in fits if length == most}
        if len(best) > 1:
            (one, first), (other, second), *_ = best.items()
            raise UsageError(
                f"`{first}` and `{second}` fit `{name}` equally well, and make it `{one}` and `{other}`",
                hint=f"say which: --map {name}={one}",
            )
        found[name] = next(iter(best))
    return found


def _check(old: str, new: str) -> None:
    stars, others = old.count("*"), new.count("*")
    if stars != others:
        raise UsageError(
            f"`{old}={new}` has {stars} `*` on the left and {others} on the right",
            hint="what each `*` matches stands in the place of the same `*` on the other side",
        )


def _length(pattern: str) -> int:
    return len(pattern) - pattern.count("*")


def _filled(old: str, new: str, name: str) -> str | None:
    """Return what a pattern makes of a name, or None where it does not match."""
    first = _captured(old, name)
    if first is None:
        return None
    # the same from the other end: every `*` but the first as short as can be
    last = _captured(old[::-1], name[::-1]) or first
    made = _joined(new, first), _joined(new, [text[::-1] for text in reversed(last)])
    if made[0] != made[1]:
        raise UsageError(
            f"`{old}` matches `{name}` in several ways, which make it `{made[0]}` or `{made[1]}`",
            hint="write more of the name around each `*`",
        )
    return made[0]


def _captured(pattern: str, name: str) -> list[str] | None:
    """Return what each `*` stands for, every one but the last as short as can be; linear in the name."""
    head, *middle, tail = pattern.split("*")
    end = len(name) - len(tail)
    if not name.startswith(head) or not name.endswith(tail) or end < len(head):
        return None
    found, at = [], len(head)
    for part in middle:
        place = name.find(part, at, end)
        if place < 0:
            return None
        found.append(name[at:place])
        at = place + len(part)
    return [*found, name[at:end]]


def _joined(new: str, captured: Sequence[str]) -> str:
    first, *rest = new.split("*")
    return first + "".join(text + part for text, part in zip(captured, rest, strict=True))


def _under(old: str, new: str, name: str) -> str:
    rest = name if not old else name[len(old.rstrip("/")) :].lstrip("/")
    return "/".join(part for part in (new.rstrip("/"), rest) if part)
