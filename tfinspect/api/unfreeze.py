"""Frozen graph to a TF2 SavedModel whose constants are variables again, for people who bring their own loop."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tfinspect import formats, runtimes
from tfinspect.api import proof
from tfinspect.api.export import Candidate, Terms, publish_proved
from tfinspect.api.export_saved_model import keyed
from tfinspect.api.labels import ASSET_NAME, labels_path
from tfinspect.api.load import open_graph
from tfinspect.api.prepare import prepare
from tfinspect.api.recipe import ASSET_NAME as RECIPE_NAME
from tfinspect.api.recipe import recipe_path
from tfinspect.api.trunk_parameters import Layers
from tfinspect.errors import RuntimeFailedError, UsageError
from tfinspect.formats import _atomic
from tfinspect.ir.signature import TensorSpec
from tfinspect.surgery.batch import set_batch
from tfinspect.surgery.modernize import modernize
from tfinspect.surgery.shapes import TensorTypes
from tfinspect.surgery.trainable import find_parameters
from tfinspect.verify.run import Pair

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from contextlib import AbstractContextManager

    from tfinspect.api.load import PathLike
    from tfinspect.api.prepare import Prepared
    from tfinspect.api.proof import Reference
    from tfinspect.ir.graph import Graph
    from tfinspect.ir.model import Model
    from tfinspect.ir.refs import TensorRef
    from tfinspect.verify.report import Report


@dataclass(frozen=True, slots=True)
class Unfrozen:
    """A SavedModel with variables.

    Attributes:
        output: where it stands.
        report: its outputs held against the graph's.
        accepted: whether they are the same; else it stands under `NAME.rejected`.
        inputs: what it takes.
        outputs: what it gives.
        variables: names of the trainable variables: those of the constants.
        statistics: names of the variables that are not trainable: moving means and variances of batch norms.
        zero: trainable variables whose gradient was reached, and zero on the test inputs.
        notes: what was concluded or assumed.
    """

    output: str
    report: Report
    accepted: bool
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    variables: tuple[str, ...]
    statistics: tuple[str, ...]
    zero: tuple[str, ...]
    notes: tuple[str, ...]


def unfreeze(
    graph: PathLike | Graph | Model,
    output: PathLike,
    *,
    layers: Layers | None = None,
    inputs: Sequence[str] = (),
    outputs: Sequence[str] = (),
    settings: Sequence[str] = (),
    seed: int = 0,
    rtol: float | None = None,
    atol: float | None = None,
    force: bool = False,
    phase: Callable[[str], AbstractContextManager[None]] = proof.silent,
) -> Unfrozen:
    """Write a SavedModel with trainable variables, and prove that it computes the same and that gradients reach them.

    Loaded with `tf.saved_model.load` it is called like a function, and has `trainable_variables` and `variables`.

    Args:
        graph: a graph, or anything `open_graph` opens.
        output: the folder to write.
        layers: which constants become trainable; None: all.
        inputs: tensors to start at, optionally with shapes.
        outputs: tensors to end at.
        settings: `NAME=VALUE`, placeholders to fix.
        seed: of the test inputs.
        rtol: relative tolerance, instead of the measured one.
        atol: absolute tolerance, instead of the measured one.
        force: replace what is there.
        phase: called with what is being done; gives a context manager.

    Raises:
        OutputExistsError: the folder exists and `force` is not set.
        RuntimeUnavailableError: TensorFlow is not installed.
        RuntimeFailedError: TensorFlow refused, or a variable gets no gradient.
        UsageError: there are no weights, or the options do not fit together.
        InputError, SurgeryError: as `prepare`.
    """
    chosen = layers or Layers()
    chosen.check()
    if chosen.head_only:
        raise UsageError("a graph that is unfrozen has no head of its own; name the layers with --from or --scope")
    _atomic.ensure_absent(output, force=force)
    found = open_graph(graph)
    with phase("reading the graph"):
        ready = prepare(found, inputs=inputs, outputs=outputs, settings=settings)
        changed, notes = modernize(ready.graph)
        held = [(spec, replace(spec, ref=ready.held[spec.ref])) for spec in ready.inputs]
        starts = [new for _, new in held]
        changed, freed, said = _freed(changed, starts)
        parameters = find_parameters(changed, [spec.ref for spec in starts], [spec.ref for spec in ready.outputs])
        own = {node.name for node in ready.graph.nodes}
        names = [name for name in chosen.of(changed, parameters) if name in own]
        norms = parameters.norms
        statistics = list(dict.fromkeys(name for norm in norms for name in (norm.mean, norm.variance)))
        logits = {spec.ref: proof.logits_of(ready, spec.ref) for spec in ready.outputs}
        ends = [*ready.outputs, *_missing(ready, [ref for ref in logits.values() if ref is not None])]
    takes, gives = keyed(freed), keyed(ends)
    by_ref = {spec.ref: spec.key or spec.name for spec in gives}
    runtimes.warm("tensorflow", "unfreeze")
    with phase("choosing test inputs"), proof.hint_at_shapes(ready.inputs):
        feeds, fed = proof.choose_feeds(keyed(starts), ready, seed=seed, inputs_from=None)
    keys = {spec.name: spec.key or spec.name for spec in takes}
    checked: dict[str, Any] = {}

    def write(staged: Path, _: Reference) -> Candidate:
        with phase("writing the SavedModel"):
            _write(changed, staged, takes, gives, names, statistics, found.path)
        with phase("following gradients"):
            checked.update(runtimes.gradients(staged, [feeds[0][spec.name] for spec in takes], len(names)))
        if checked["missed"]:
            raise RuntimeFailedError(
                f"no gradient reaches `{checked['missed'][0]}`",
                details=[f"nor `{name}`" for name in checked["missed"][1:6]],
                hint="choose layers nearer to the output: --from T",
                evidence={"names": checked["missed"]},
            )
        return Candidate(
            lambda: runtimes.tensorflow_saved_model(staged),
            [{keys[name]: value for name, value in feed.items()} for feed in feeds],
            [
                Pair(
                    spec.name,
                    by_ref[spec.ref],
                    None if (inner := logits[spec.ref]) is None else (str(inner), by_ref[inner]),
                    proof.producing_op(ready.graph, spec.ref),
                )
                for spec in ready.outputs
            ],
        )

    terms = Terms(seed=seed, rtol=rtol, atol=atol, force=force, phase=phase)
    done = publish_proved(ready, Path(output), feeds, write, terms)
    said += [f"fixed {setting}" for setting in ready.settings]
    return Unfrozen(
        str(done.place), done.report, done.accepted, takes, gives, tuple(names), tuple(statistics),
        tuple(checked["zero"]), (*notes, *ready.notes, *said, *fed),
    )  # fmt: skip


def _missing(ready: Prepared, refs: Sequence[TensorRef]) -> list[TensorSpec]:
    """Return the logits that are no outputs yet: whoever trains wants them."""
    known = {spec.ref for spec in ready.outputs}
    types = TensorTypes(ready.graph)
    return [TensorSpec(ref, types.type_of(ref).dtype, types.type_of(ref).shape) for ref in refs if ref not in known]


def _freed(graph: Graph, inputs: Sequence[TensorSpec]) -> tuple[Graph, tuple[TensorSpec, ...], list[str]]:
    """Set the batch free where the graph pins it; an image as its file holds it has none."""
    try:
        changed, specs = set_batch(graph, inputs, "dynamic")
    except UsageError:
        return graph, tuple(inputs), []
    return changed, specs, ["the batch is free"] if specs != tuple(inputs) else []


def _write(
    graph: Graph,
    staged: Path,
    inputs: Sequence[TensorSpec],
    outputs: Sequence[TensorSpec],
    names: Sequence[str],
    statistics: Sequence[str],
    path: str,
) -> None:
    import tempfile

    with tempfile.TemporaryDirectory(prefix="tfinspect-") as scratch:
        file = Path(scratch, "graph.pb")
        formats.write_graph(graph, file)
        assets = []
        for place, name in ((labels_path(path), ASSET_NAME), (recipe_path(path), RECIPE_NAME)) if path else ():
            if place.is_file():
                copy = Path(scratch, name)
                copy.write_bytes(place.read_bytes())
                assets.append(str(copy))
        runtimes.write_unfrozen(
            file,
            staged,
            inputs=[(spec.key or "", spec.name, int(spec.dtype or 0), spec.shape) for spec in inputs],
            outputs=[(spec.key or "", spec.name) for spec in outputs],
            trainable=names,
            statistics=statistics,
            assets=assets,
        )


def as_json(done: Unfrozen) -> Mapping[str, object]:
    """Return the facts about the variables as plain values."""
    return {
        "variables": list(done.variables),
        "statistics": list(done.statistics),
        "gradients": {"reached": len(done.variables) - len(done.zero), "zero": list(done.zero)},
    }
