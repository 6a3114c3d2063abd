"""Reading what can be read: a broken part is noted where the rest is wanted all the same."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from tfinspect.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Callable

    from tfinspect.errors import TfinspectError

T = TypeVar("T")


def noted(problems: list[TfinspectError] | None, read: Callable[[], T]) -> T | None:
    """Return what `read` returns; where it cannot read its part, None, and `problems` has one more.

    Raises:
        InputError: the part cannot be read, and there is no list to note it in.
    """
    try:
        return read()
    except InputError as error:
        if problems is None:
            raise
        problems.append(error)
        return None
