"""Graph to SavedModel, with proof: written without TensorFlow, loaded back by it, and compared."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from tfinspect import runtimes
from tfinspect.api import proof
from tfinspect.api.export import Candidate, ExportReport, Require, Terms, publish_proved
from tfinspect.api.labels import ASSET_NAME as LABELS_ASSET
from tfinspect.api.labels import labels_beside
from tfinspect.api.load import PathLike, open_graph
from tfinspect.api.prepare import prepare
from tfinspect.api.recipe import ASSET_NAME as RECIPE_ASSET
from tfinspect.api.recipe import carried, format_recipe
from tfinspect.errors import counted
from tfinspect.formats import _atomic, graphdef, saved_model
from tfinspect.ir.signature import Signature
from tfinspect.surgery.hold_apart import hold_apart
from tfinspect.surgery.modernize import modernize
from tfinspect.verify.run import Pair

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from contextlib import AbstractContextManager

    from tfinspect.api.prepare import Prepared
    from tfinspect.api.proof import Reference
    from tfinspect.ir.graph import Graph
    from tfinspect.ir.model import Model, Saver
    from tfinspect.ir.signature import TensorSpec
    from tfinspect.ir.tensors import Tensor

SIGNATURE = "serving_default"
_LARGE_NBYTES = (65_536, 1024)  # of a weight that becomes a variable
_METHOD = "tensorflow/serving/predict"


def export_saved_model(
    model: PathLike | Graph | Model,
    output: PathLike | None = None,
    *,
    inputs: Sequence[str] = (),
    outputs: Sequence[str] = (),
    settings: Sequence[str] = (),
    seed: int = 0,
    rtol: float | None = None,
    atol: float | None = None,
    inputs_from: PathLike | None = None,
    require: Require = "pass",
    force: bool = False,
    graph_limit: int = graphdef.MAX_NBYTES,
    phase: Callable[[str], AbstractContextManager[None]] = proof.silent,
) -> ExportReport:
    """Write a model as a SavedModel with a `serving_default` signature, and prove that it computes the same.

    An input of encoded images stays one. The folder appears whole or not at all; without PASS it stands under
    `NAME.rejected` instead.

    Args:
        model: a graph, or anything `open_graph` opens.
        output: the folder to write; default `STEM.saved_model` beside the model.
        inputs: tensors to start at, optionally with shapes.
        outputs: tensors to end at.
        settings: `NAME=VALUE`, placeholders to fix.
        seed: of the test inputs.
        rtol: relative tolerance, instead of the measured one.
        atol: absolute tolerance, instead of the measured one.
        inputs_from: `.npy` or `.npz` with test inputs.
        require: "pass" or "written".
        force: replace `output` if it exists.
        graph_limit: bytes that one graph file may take; where the weights take more, they become variables.
        phase: called with what is being done; gives a context manager.

    Raises:
        RuntimeUnavailableError: TensorFlow, which checks the result, is not installed.
        RuntimeFailedError: it refused.
        OutputExistsError: the folder exists and `force` is not set.
        LimitError: the graph is 2 GiB or more without its large weights.
        UsageError, InputError, SurgeryError: as `prepare`.
    """
    found = open_graph(model)
    target = Path(output) if output is not None else Path(found.path or "model").with_suffix(".saved_model")
    _atomic.ensure_absent(target, force=force)
    runtimes.warm("tensorflow")
    terms = Terms(seed=seed, rtol=rtol, atol=atol, inputs_from=inputs_from, require=require, force=force, phase=phase)
    with phase("reading the graph"):
        ready = prepare(found, inputs=inputs, outputs=outputs, settings=settings)
        graph, notes = modernize(ready.graph)
        variables: dict[str, Tensor] = {}
        saver = None
        if not graphdef.fits(graph, graph_limit):
            graph, variables, saver = _held_apart(graph, graph_limit)
            notes.append(
                f"made {counted(len(variables), 'weight')} variables: a graph file ends at {graph_limit:,} bytes"
            )
    taken = [replace(spec, ref=ready.held[spec.ref]) for spec in ready.inputs]
    signature = Signature(SIGNATURE, keyed(taken), keyed(ready.outputs), _METHOD)
    labels = labels_beside(found.path) if found.path else ()
    recipe = carried(found, [spec.ref for spec in ready.outputs], [spec.ref for spec in ready.inputs])
    assets = {LABELS_ASSET: "\n".join([*labels, ""]).encode()} if labels else {}
    if recipe is not None:
        assets[RECIPE_ASSET] = format_recipe(recipe).encode()
    with phase("choosing test inputs"), proof.hint_at_shapes(ready.inputs):
        feeds, fed = proof.choose_feeds(signature.inputs, ready, seed=seed, inputs_from=inputs_from)
    keys = {spec.name: spec.key or spec.name for spec in signature.inputs}

    def write(staged: Path, _: Reference) -> Candidate:
        with phase("writing the SavedModel"):
            saved_model.write(graph, staged, signature=signature, assets=assets, variables=variables, saver=saver)
        return Candidate(
            lambda: runtimes.tensorflow_saved_model(staged),
            [{keys[name]: value for name, value in feed.items()} for feed in feeds],
            [_pair(ready, spec) for spec in signature.outputs],
        )

    done = publish_proved(ready, target, feeds, write, terms)
    return ExportReport(
        str(done.place),
        done.accepted,
        done.report,
        signature.inputs,
        signature.outputs,
        ready.settings,
        (*notes, *ready.notes, *(f"fixed {setting}" for setting in ready.settings), *fed),
        {"signature": SIGNATURE, "nbytes": sum(p.stat().st_size for p in done.place.rglob("*") if p.is_file())},
    )


def _held_apart(graph: Graph, limit: int) -> tuple[Graph, dict[str, Tensor], Saver | None]:
    """Make variables of large constants, of smaller ones too where that is not enough."""
    for least in _LARGE_NBYTES:
        found = hold_apart(graph, least)
        if graphdef.fits(found[0], limit):
            break
    return found


def _pair(ready: Prepared, spec: TensorSpec) -> Pair:
    """Say which tensors belong together; the logits keep their name."""
    logits = proof.logits_of(ready, spec.ref)
    feeding = None if logits is None else (str(logits), str(logits))
    return Pair(spec.name, spec.key or spec.name, feeding, proof.producing_op(ready.graph, spec.ref))


def keyed(specs: Sequence[TensorSpec]) -> tuple[TensorSpec, ...]:
    """Give every input or output a key: the signature's own, else the last part of its name, else the whole name."""
    leaves = [spec.ref.name.rsplit("/", 1)[-1] for spec in specs]
    taken: set[str] = set()
    keyed = []
    for spec, leaf in zip(specs, leaves, strict=True):
        key = spec.key or (leaf if leaves.count(leaf) == 1 else spec.ref.name.replace("/", "_"))
        if key in taken:
            key = f"{key}_{spec.ref.index}"
        taken.add(key)
        keyed.append(replace(spec, key=key))
    return tuple(keyed)
