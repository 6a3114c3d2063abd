"""Graph to ONNX, with proof: converted apart, checked, loaded, and compared with the file it was made from."""

from __future__ import annotations

import json
import tempfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from tfinspect import formats, runtimes
from tfinspect.api import proof
from tfinspect.api.export import ExportReport
from tfinspect.api.labels import METADATA_KEY, labels_beside
from tfinspect.api.load import PathLike, open_graph
from tfinspect.api.prepare import Prepared, prepare
from tfinspect.formats import _atomic
from tfinspect.formats import onnx as onnx_format
from tfinspect.surgery.batch import set_batch
from tfinspect.surgery.externalize import externalize
from tfinspect.surgery.fold_batch_norm import fold_batch_norm
from tfinspect.surgery.modernize import modernize
from tfinspect.surgery.prune import prune
from tfinspect.surgery.strip_checks import strip_checks
from tfinspect.verify import run as verify_run
from tfinspect.verify.verdict import Verdict
from tfinspect.verify.weights import account

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from contextlib import AbstractContextManager

    import numpy.typing as npt

    from tfinspect.ir.graph import Graph
    from tfinspect.ir.model import Model
    from tfinspect.ir.refs import TensorRef
    from tfinspect.ir.runner import Runner
    from tfinspect.ir.signature import TensorSpec
    from tfinspect.ir.tensors import Tensor
    from tfinspect.runtimes import Conversion
    from tfinspect.verify.report import Report
    from tfinspect.verify.run import Pair, Recording
    from tfinspect.verify.weights import WeightsReport

Require = Literal["pass", "written"]
_LARGE_PARAMETERS = 5_000_000  # above, a run costs too much for sixteen of them
_LARGE_SAMPLES = 8


@dataclass(frozen=True, slots=True)
class _Candidate:
    """A graph ready for the converter, and how its ends are called."""

    graph: Graph
    weights: Mapping[str, Tensor]
    inputs: tuple[TensorSpec, ...]
    kinds: Mapping[str, str]
    notes: tuple[str, ...]


def export_onnx(
    model: PathLike | Graph | Model,
    output: PathLike | None = None,
    *,
    inputs: Sequence[str] = (),
    outputs: Sequence[str] = (),
    settings: Sequence[str] = (),
    batch: str | None = None,
    opset: int | None = None,
    seed: int = 0,
    rtol: float | None = None,
    atol: float | None = None,
    inputs_from: PathLike | None = None,
    require: Require = "pass",
    force: bool = False,
    phase: Callable[[str], AbstractContextManager[None]] = proof.silent,
) -> ExportReport:
    """Write a model as ONNX and prove that it computes the same.

    The reference is the file the caller gave, run by TensorFlow; the candidate is the file that was written, read back
    from disk and run by onnxruntime. Where the graph decodes images, the ONNX model starts at the decoded pixels.

    Args:
        model: a graph, or anything `open_graph` opens.
        output: the file to write; default `STEM.onnx` beside the model.
        inputs: tensors to start at, optionally with shapes: `X:0[1,28,28,1]`.
        outputs: tensors to end at.
        settings: `NAME=VALUE`, placeholders to fix.
        batch: "dynamic" or a number, for the first dimension of every input; None keeps the graph's own.
        opset: of the file; default what tf2onnx knows best.
        seed: of the test inputs.
        rtol: relative tolerance, instead of the measured one.
        atol: absolute tolerance, instead of the measured one.
        inputs_from: `.npy` or `.npz` with test inputs.
        require: "pass": without PASS the file is kept as `NAME.rejected`; "written": it is kept in any case.
        force: replace `output` if it exists.
        phase: called with what is being done; gives a context manager.

    Returns:
        The report; FAIL and INCONCLUSIVE are returned, not raised.

    Raises:
        UnsupportedOpsError: ONNX has no word for an op, which is named.
        RuntimeUnavailableError: tf2onnx, onnx, onnxruntime or TensorFlow is not installed.
        RuntimeFailedError: one of them refused.
        OutputExistsError: the file exists and `force` is not set.
        UsageError, InputError, SurgeryError: as `prepare`.
    """
    found = open_graph(model)
    target = Path(output) if output is not None else Path(found.path or "model").with_suffix(".onnx")
    _atomic.ensure_absent(target, force=force)
    runtimes.warm("tensorflow", "tf2onnx", "onnxruntime")
    with phase("reading the graph"):
        ready = prepare(found, inputs=inputs, outputs=outputs, settings=settings, at_pixels=True)
        candidate = _candidate(ready, batch)
    specs = [proof.feed_spec(spec, candidate.kinds.get(spec.name)) for spec in candidate.inputs]
    parameters = sum(t.size for t in _constants(ready.graph).values())
    feeds = proof.build_feeds(
        specs, seed=seed, inputs_from=inputs_from, samples=_LARGE_SAMPLES if parameters > _LARGE_PARAMETERS else None
    )
    with (
        proof.reference_of(found) as reference,
        tempfile.TemporaryDirectory(prefix="tfinspect-") as scratch,
        _atomic.staged(target) as staged,
        ThreadPoolExecutor(1) as other,
    ):
        refs = [spec.ref for spec in ready.outputs]
        logits = {ref: proof.logits_of(ready.graph, ref) for ref in refs}
        wanted = list(dict.fromkeys(str(r) for pair in logits.items() for r in pair if r is not None))
        asked = proof.reference_feeds(feeds, ready)
        make = reference.runner if batch is None else lambda: proof.SampleBySample(reference.runner())
        recording = other.submit(_record, make, wanted, asked, reference.path, reference.sha256)
        with phase("converting (TensorFlow and tf2onnx are loading)"), proof.named(staged, target):
            done = _convert(candidate, ready, staged, Path(scratch), opset, reference.sha256, found)
        with phase("checking the ONNX file"), proof.named(staged, target):
            runtimes.check_onnx(staged)
            written = onnx_format.read(staged)
            pairs = [_pair(ready.graph, ref, logits[ref], written) for ref in refs]
            _, fetches = verify_run.fetches_of(pairs)
            answers = _record(lambda: runtimes.onnx_model(staged), fetches, feeds, str(target))
        with phase("running the reference in TensorFlow"):
            truth = recording.result()
        with phase("accounting for the weights"):
            weights = _weights(ready.graph, written)
        report = verify_run.judge(
            truth,
            answers,
            pairs,
            override=proof.override_of(rtol, atol),
            weights=weights,
            seed=None if inputs_from else seed,
        )
        _stamp(report, staged, seed, reference.sha256)
        accepted = report.verdict is Verdict.PASS or require == "written"
        place = target if accepted else target.with_name(target.name + ".rejected")
        _atomic.publish(staged, place, force=force or not accepted)
    notes = (*candidate.notes, *_notes(ready))
    return ExportReport(
        str(place),
        accepted,
        replace(report, candidate=replace(report.candidate, path=str(place))),
        candidate.inputs,
        ready.outputs,
        ready.settings,
        notes,
        {
            "opset": done.opset,
            "ir_version": done.ir_version,
            "node_count": done.node_count,
            "nbytes": place.stat().st_size,
            "convert_seconds": round(done.seconds, 2),
        },
    )


def _candidate(ready: Prepared, batch: str | None) -> _Candidate:
    """Bring a graph to what the converter knows, with the large weights apart."""
    ends = [spec.ref for spec in ready.outputs]
    graph, notes = modernize(ready.graph)
    graph, folds = fold_batch_norm(strip_checks(graph), keep=ends)
    if folds:
        notes.append(f"folded {len(folds)} batch normalisations into the weights before them, in float64")
    # an image as its file holds it has no batch dimension
    held = [(spec, replace(spec, ref=ready.held[spec.ref])) for spec in ready.inputs]
    graph, sized = set_batch(graph, [new for old, new in held if ready.kinds.get(old.ref) != "pixels"], batch)
    resized = {spec.ref: spec for spec in sized}
    inputs = tuple(resized.get(new.ref, new) for _, new in held)
    graph, weights = externalize(prune(graph, ends), keep=ends)
    kinds = {str(held): ready.kinds[ref] for ref, held in ready.held.items() if ref in ready.kinds}
    return _Candidate(graph, weights, inputs, kinds, tuple(notes))


def _notes(ready: Prepared) -> list[str]:
    notes = [f"fixed {setting}" for setting in ready.settings]
    notes += [
        f"starts at the decoded pixels {spec.ref}: ONNX has no image decoder"
        for spec in ready.inputs
        if ready.kinds.get(spec.ref) == "pixels"
    ]
    return notes


def _convert(
    candidate: _Candidate,
    ready: Prepared,
    staged: Path,
    scratch: Path,
    opset: int | None,
    sha256: str,
    model: Model,
) -> Conversion:
    graph_path = scratch / "candidate.pb"
    formats.write_graph(candidate.graph, graph_path)
    weights = None
    if candidate.weights:
        weights = scratch / "weights"
        weights.mkdir()
        runtimes.write_weights(weights, candidate.weights)
    labels = labels_beside(model.path) if model.path else ()
    request = runtimes.ConversionRequest(
        graph=graph_path,
        inputs={spec.name: spec.shape for spec in candidate.inputs},
        outputs=[spec.name for spec in ready.outputs],
        output=staged,
        weights=weights,
        metadata={"source_sha256": sha256, **({METADATA_KEY: json.dumps(labels)} if labels else {})},
    )
    return runtimes.convert(request if opset is None else replace(request, opset=opset))


def _record(
    make: Callable[[], Runner],
    fetches: Sequence[str],
    feeds: Sequence[Mapping[str, npt.NDArray[Any]]],
    path: str,
    sha256: str = "",
) -> Recording:
    with make() as runner:
        if sha256:
            return verify_run.record(runner, fetches, feeds, path=path, sha256=sha256)
        known = {spec.name for spec in runner.inputs}  # the converter drops an input that nothing depends on
        asked = [{name: value for name, value in feed.items() if name in known} for feed in feeds]
        return verify_run.record(runner, fetches, asked, path=path, may_refuse=True)


def _constants(graph: Graph) -> dict[str, Tensor]:
    return {node.name: t for node in graph.nodes if node.op == "Const" and (t := node.tensor()) is not None}


def _pair(graph: Graph, ref: TensorRef, logits: TensorRef | None, written: onnx_format.OnnxFile) -> Pair:
    """Say which tensors of both sides belong together; the logits are found by structure, as names may change."""
    feeding = None
    if logits is not None:
        source = written.behind(str(ref), {"Softmax", "Sigmoid", "LogSoftmax"})
        feeding = None if source is None else (str(logits), source)
    return verify_run.Pair(str(ref), str(ref), feeding, proof.producing_op(graph, ref))


def _weights(graph: Graph, written: onnx_format.OnnxFile) -> WeightsReport:
    epsilons = {
        value
        for node in graph.nodes
        for name in ("epsilon", "variance_epsilon")
        if isinstance(value := node.value(name), float)
    }
    # what was folded keeps its name, so names prove nothing: every array is searched for by value
    return account(_constants(graph), written.initializers, epsilons=sorted(epsilons))


def _stamp(report: Report, staged: Path, seed: int, sha256: str) -> None:
    """Write into the file what was proved about it."""
    worst = max((o.max_abs for o in report.outputs if o.max_abs is not None), default=None)
    tolerance = max((o.tolerance for o in report.outputs if o.tolerance is not None), default=None)
    onnx_format.append_metadata(
        staged,
        {
            "tfinspect.source_sha256": sha256,
            "tfinspect.verdict": report.verdict.value,
            "tfinspect.seed": str(seed),
            "tfinspect.samples": str(report.samples),
            "tfinspect.max_abs": "" if worst is None else f"{worst:.9g}",
            "tfinspect.tolerance": "" if tolerance is None else f"{tolerance:.9g}",
            "tfinspect.reference": report.reference.runtime,
            "tfinspect.candidate": report.candidate.runtime,
        },
    )
