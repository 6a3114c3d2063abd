"""Look inside TensorFlow models of 2015-2024; freeze, cut, graft and export them, with proof that the numbers match.

>>> import tfinspect as ti
>>> graph = ti.read_graph("model.pb")  # doctest: +SKIP
"""

from __future__ import annotations

from typing import TYPE_CHECKING

__version__ = "0.1.0"

if TYPE_CHECKING:
    pass
