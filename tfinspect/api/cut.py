"""Cutting: trunk and rest."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from tfinspect import formats
from tfinspect.api import companions
from tfinspect.api.freeze import ends_of
from tfinspect.api.load import PathLike, open_graph
from tfinspect.api.prepare import choose_outputs, fold, inputs_of, model_graph
from tfinspect.api.recipe import carried
from tfinspect.ir.refs import TensorRef, parse_shaped
from tfinspect.surgery import cut as surgery_cut
from tfinspect.surgery.prune import placeholder_refs, prune
from tfinspect.surgery.shapes import TensorTypes

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tfinspect.ir.graph import Graph
    from tfinspect.ir.model import Model
    from tfinspect.ir.signature import TensorSpec
    from tfinspect.learn.preprocess import Recipe


@dataclass(frozen=True, slots=True)
class Cut:
    """Both halves of a graph, what the trunk takes and gives, and how photos are prepared for it where that is kept."""

    trunk: Graph
    rest: Graph
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    recipe: Recipe | None = None


def cut(
    model: PathLike | Graph | Model,
    *,
    bottleneck: str,
    inputs: Sequence[str] = (),
    outputs: Sequence[str] = (),
) -> tuple[Graph, Graph]:
    """Split a graph at a tensor; variables of a checkpoint are folded in.

    Args:
        model: a graph, or anything `open_graph` opens.
        bottleneck: the tensor, `name` or `name:index`.
        inputs: where the trunk begins, optionally with shapes; none: at the graph's own inputs.
        outputs: where paths end; none: the graph's own outputs.

    Returns:
        The trunk, which computes the bottleneck, and the rest, which takes it as a Placeholder of the same name.

    Raises:
        NodeNotFoundError: the tensor is not in the graph.
        LeakyCutError: a path from inputs to outputs goes round the tensor.
    """
    halves = cut_model(model, bottleneck=bottleneck, inputs=inputs, outputs=outputs)
    return halves.trunk, halves.rest


def cut_model(
    path: PathLike | Graph | Model, *, bottleneck: str, inputs: Sequence[str] = (), outputs: Sequence[str] = ()
) -> Cut:
    """Cut as `cut` does, and say what the trunk takes and gives."""
    model = open_graph(path)
    ref = TensorRef.parse(bottleneck)
    model_graph(model).node(ref.name)
    ends = choose_outputs(model, outputs)
    shaped = dict(parse_shaped(text) for text in inputs)
    held = placeholder_refs(model_graph(model), list(shaped))
    graph = fold(model, ends, list(shaped))
    graph.node(ref.name)
    if shaped:  # the trunk begins there, whatever stands before it
        graph = prune(graph, [*ends, ref], [start for start in shaped if start.name in graph])
        starts = list(held.values())
    else:
        starts = [e.ref for e in inputs_of(graph, TensorTypes(graph))]
    given = {held[start]: shape for start, shape in shaped.items() if shape is not None}
    trunk, rest = surgery_cut.cut(graph, ref, starts, ends, given=given)
    takes, gives = ends_of(trunk, [ref])
    names = {new: old for old, new in held.items()}
    begins = [names.get(spec.ref, spec.ref) for spec in takes]
    return Cut(trunk, rest, takes, gives, carried(model, [ref], begins, as_graph=True))


def cut_file(
    path: PathLike,
    output: PathLike,
    *,
    bottleneck: str,
    head_output: PathLike | None = None,
    inputs: Sequence[str] = (),
    outputs: Sequence[str] = (),
    force: bool = False,
    dry_run: bool = False,
) -> Cut:
    """Cut a model and write the trunk, how photos are prepared for it, and the rest where `head_output` is given.

    Raises:
        OutputExistsError: an output exists and `force` is not set; nothing is written then.
    """
    from tfinspect.formats import _atomic

    targets = [output] if head_output is None else [output, head_output]
    if not dry_run:
        for target in targets:
            _atomic.ensure_absent(target, force=force)
    halves = cut_model(path, bottleneck=bottleneck, inputs=inputs, outputs=outputs)
    if not dry_run:
        companions.check(output, (), halves.recipe, force=force)
        for target, graph in zip(targets, (halves.trunk, halves.rest), strict=False):
            formats.write_graph(graph, target, force=force)
        companions.write(output, (), halves.recipe, force=force)
    return halves
