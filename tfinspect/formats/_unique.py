"""Names made unique, where a format does not ask for that."""

from __future__ import annotations


class UniqueNames:
    """Gives every caller a name that nobody else has."""

    def __init__(self) -> None:
        self._taken: set[str] = set()
        self._next: dict[str, int] = {}

    def take(self, name: str, scope: str = "") -> str:
        """Return the name; where it is taken, the name in its scope; where that is too, one with a number behind it."""
        if name in self._taken and scope:
            name = f"{scope}/{name}"
        found = name
        while found in self._taken:
            number = self._next.get(name, 2)
            self._next[name] = number + 1
            found = f"{name}#{number}"
        self._taken.add(found)
        return found
