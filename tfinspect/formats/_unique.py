"""Names made unique, where a format does not ask for that."""

from __future__ import annotations


class UniqueNames:
    """Gives every caller a name that nobody else has."""

    def __init__(self) -> None:
        self._taken: set[str] = set()
        self._next: dict[str, int] = {}

    def take(self, name: str, scope: str = "") -> str:
        """Return the name, in its scope where it has one; where that is taken, with a number behind it."""
        found = name = f"{scope}/{name}" if scope else name
        while found in self._taken:
            number = self._next.get(name, 2)
            self._next[name] = number + 1
            found = f"{name}#{number}"
        self._taken.add(found)
        return found
