"""Graph to SavedModel, with proof: written without TensorFlow, loaded back by it, and compared."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from tfinspect import runtimes
from tfinspect.api import proof
from tfinspect.api.export import ExportReport
from tfinspect.api.labels import ASSET_NAME, labels_beside
from tfinspect.api.load import PathLike, open_graph
from tfinspect.api.prepare import prepare
from tfinspect.formats import _atomic, saved_model
from tfinspect.ir.signature import Signature
from tfinspect.surgery.modernize import modernize
from tfinspect.verify import run as verify_run
from tfinspect.verify.verdict import Verdict

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from contextlib import AbstractContextManager

    from tfinspect.api.export_onnx import Require
    from tfinspect.ir.graph import Graph
    from tfinspect.ir.model import Model
    from tfinspect.ir.signature import TensorSpec

SIGNATURE = "serving_default"
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
        phase: called with what is being done; gives a context manager.

    Raises:
        RuntimeUnavailableError: TensorFlow, which checks the result, is not installed.
        RuntimeFailedError: it refused.
        OutputExistsError: the folder exists and `force` is not set.
        LimitError: the graph is 2 GiB or more.
        UsageError, InputError, SurgeryError: as `prepare`.
    """
    found = open_graph(model)
    target = Path(output) if output is not None else Path(found.path or "model").with_suffix(".saved_model")
    _atomic.ensure_absent(target, force=force)
    runtimes.warm("tensorflow")
    with phase("reading the graph"):
        ready = prepare(found, inputs=inputs, outputs=outputs, settings=settings)
        graph, notes = modernize(ready.graph)
    taken = [replace(spec, ref=ready.held[spec.ref]) for spec in ready.inputs]
    signature = Signature(SIGNATURE, _keyed(taken), _keyed(ready.outputs), _METHOD)
    labels = labels_beside(found.path) if found.path else ()
    assets = {ASSET_NAME: "\n".join([*labels, ""]).encode()} if labels else {}
    specs = [
        proof.feed_spec(new, ready.kinds.get(old.ref)) for old, new in zip(ready.inputs, signature.inputs, strict=True)
    ]
    feeds = proof.build_feeds(specs, seed=seed, inputs_from=inputs_from)
    keys = {spec.name: spec.key or spec.name for spec in signature.inputs}
    with proof.reference_of(found) as reference, _atomic.staged(target) as staged, ThreadPoolExecutor(1) as other:
        saved_model.write(graph, staged, signature=signature, assets=assets)
        refs = [spec.ref for spec in ready.outputs]
        logits = {ref: proof.logits_of(ready.graph, ref) for ref in refs}
        wanted = list(dict.fromkeys(str(r) for pair in logits.items() for r in pair if r is not None))
        asked = proof.reference_feeds(feeds, ready)

        def run_reference() -> verify_run.Recording:
            with reference.runner() as runner:
                return verify_run.record(runner, wanted, asked, path=reference.path, sha256=reference.sha256)

        truth = other.submit(run_reference)
        pairs = [
            verify_run.Pair(
                str(spec.ref),
                spec.key or spec.name,
                None if (source := logits[spec.ref]) is None else (str(source), str(source)),
                proof.producing_op(ready.graph, spec.ref),
            )
            for spec in signature.outputs
        ]
        _, fetches = verify_run.fetches_of(pairs)
        with (
            phase("loading the SavedModel in TensorFlow"),
            proof.named(staged, target),
            runtimes.tensorflow_saved_model(staged) as runner,
        ):
            renamed = [{keys[name]: value for name, value in feed.items()} for feed in feeds]
            answers = verify_run.record(runner, fetches, renamed, path=str(target), may_refuse=True)
        with phase("running the reference in TensorFlow"):
            report = verify_run.judge(
                truth.result(),
                answers,
                pairs,
                override=proof.override_of(rtol, atol),
                seed=None if inputs_from else seed,
            )
        accepted = report.verdict is Verdict.PASS or require == "written"
        place = target if accepted else target.with_name(target.name + ".rejected")
        _atomic.publish(staged, place, force=force or not accepted)
    return ExportReport(
        str(place),
        accepted,
        replace(report, candidate=replace(report.candidate, path=str(place))),
        signature.inputs,
        signature.outputs,
        ready.settings,
        (*notes, *(f"fixed {setting}" for setting in ready.settings)),
        {"signature": SIGNATURE, "nbytes": sum(p.stat().st_size for p in place.rglob("*") if p.is_file())},
    )


def _keyed(specs: Sequence[TensorSpec]) -> tuple[TensorSpec, ...]:
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
