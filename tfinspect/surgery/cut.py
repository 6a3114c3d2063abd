"""Cut a graph in two at a tensor that everything runs through."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tfinspect.errors import LeakyCutError, UsageError
from tfinspect.surgery.bottlenecks import separates
from tfinspect.surgery.prune import check_ref, prune
from tfinspect.surgery.shapes import TensorTypes

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from tfinspect.ir.graph import Graph
    from tfinspect.ir.refs import TensorRef
    from tfinspect.ir.shapes import Shape


def cut(
    graph: Graph,
    bottleneck: TensorRef,
    inputs: Sequence[TensorRef],
    outputs: Sequence[TensorRef],
    *,
    given: Mapping[TensorRef, Shape] | None = None,
) -> tuple[Graph, Graph]:
    """Cut a graph at a tensor.

    Args:
        graph: the graph.
        bottleneck: where to cut.
        inputs: the data inputs; phase flags, which both halves may read, are none.
        outputs: what the second half computes.
        given: shapes to take for inputs.

    Returns:
        The trunk, from the inputs to the bottleneck, and the rest, from a Placeholder to the outputs. The placeholder
        has the bottleneck's own name where that is output 0 of its node.

    Raises:
        LeakyCutError: a path from the inputs to the outputs goes round the bottleneck; shows it.
        UsageError: the bottleneck is itself an output, or its dtype cannot be told.
        NodeNotFoundError: a tensor is not in the graph.
    """
    check_ref(graph, bottleneck)
    for ref in (*inputs, *outputs):
        check_ref(graph, ref)
    if bottleneck in outputs:
        raise UsageError(
            f"`{bottleneck}` is an output already, so nothing is left behind the cut",
            hint="to keep only what it needs, name it with --outputs instead",
        )
    refuse_leak(graph, bottleneck, inputs, outputs)
    return prune(graph, [bottleneck]), prune(graph, outputs, [bottleneck], types=TensorTypes(graph, given or {}))


def refuse_leak(graph: Graph, bottleneck: TensorRef, inputs: Sequence[TensorRef], outputs: Sequence[TensorRef]) -> None:
    """Check that a tensor separates inputs from outputs.

    Raises:
        LeakyCutError: it does not; shows a path that goes round it.
    """
    path = separates(graph, bottleneck, inputs, outputs)
    if path is None:
        return
    steps = [str(step) for step in path]
    raise LeakyCutError(
        f"cutting at `{bottleneck}` leaks: `{steps[0]}` reaches `{steps[-1]}` another way",
        details=[" -> ".join(steps)],
        hint="cut where all paths meet: tfinspect nodes GRAPH --only bottlenecks",
        evidence={"bottleneck": str(bottleneck), "path": steps},
    )


def tensors_behind(graph: Graph, names: Collection[str]) -> list[TensorRef]:
    """Return what the rest of a graph takes from some nodes and whatever leads to them, constants apart."""
    above: set[str] = set()
    waiting = [name for name in names if name in graph]
    while waiting:
        name = waiting.pop()
        if name not in above and name in graph:
            above.add(name)
            waiting.extend(graph.node(name).input_names)
    found = {
        ref: None
        for node in graph.nodes
        if node.name not in above
        for ref in node.data_inputs
        if ref.name in above and graph.node(ref.name).op != "Const"
    }
    return list(found)
