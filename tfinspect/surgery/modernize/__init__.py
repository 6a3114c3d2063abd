"""Old spellings of ops made new, where the result is provably the same. One pass a file, one row in `PASSES`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tfinspect.surgery.modernize.batch_norm import modernize_batch_norm
from tfinspect.surgery.modernize.placeholders import modernize_placeholders
from tfinspect.surgery.modernize.reference_ops import modernize_reference_ops
from tfinspect.surgery.modernize.renamed_ops import modernize_renamed_ops
from tfinspect.surgery.modernize.tensor_arrays import modernize_tensor_arrays

if TYPE_CHECKING:
    from collections.abc import Callable

    from tfinspect.ir.graph import Graph

PASSES: tuple[tuple[str, Callable[[Graph], tuple[Graph, list[str]]]], ...] = (
    ("placeholders", modernize_placeholders),
    ("reference-ops", modernize_reference_ops),
    ("batch-norm", modernize_batch_norm),
    ("tensor-arrays", modernize_tensor_arrays),
    ("renamed-ops", modernize_renamed_ops),
)
"""Name and function of each pass, in the order they run."""


def modernize(graph: Graph) -> tuple[Graph, list[str]]:
    """Run every pass.

    The producer version stays what it is: raising it would make TensorFlow refuse what the graph still may use.

    Returns:
        The graph, itself where nothing was old, and a line for each kind of change.

    Raises:
        UnsupportedOpsError: an op has no newer form.
    """
    notes: list[str] = []
    for _, run in PASSES:
        graph, said = run(graph)
        notes += said
    return graph, notes
