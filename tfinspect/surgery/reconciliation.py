"""What a checkpoint gives a graph, variable by variable."""

from __future__ import annotations


class Row:
    """One variable."""
