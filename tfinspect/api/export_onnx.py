"""Graph to ONNX, with proof: converted apart, checked, loaded, and compared with the file it was made from."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import shutil
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from tfinspect import __version__, formats, runtimes
from tfinspect.api import proof
from tfinspect.api.export import Candidate, ExportReport, Require, Terms, publish_proved
from tfinspect.api.labels import METADATA_KEY as LABELS_KEY
from tfinspect.api.labels import labels_beside
from tfinspect.api.load import PathLike, open_graph
from tfinspect.api.prepare import Prepared, prepare
from tfinspect.api.recipe import METADATA_KEY as RECIPE_KEY
from tfinspect.api.recipe import carried, format_recipe
from tfinspect.errors import LimitError, NameNotFoundError, RuntimeFailedError, UnsupportedOpsError
from tfinspect.formats import _atomic
from tfinspect.formats import onnx as onnx_format
from tfinspect.ir.dtypes import DType
from tfinspect.ir.tensors import Tensor
from tfinspect.surgery.batch import set_batch
from tfinspect.surgery.constant_tensors import constant_tensors
from tfinspect.surgery.cut import tensors_behind
from tfinspect.surgery.externalize import externalize
from tfinspect.surgery.fold_batch_norm import fold_batch_norm
from tfinspect.surgery.fold_dequantize import fold_dequantize
from tfinspect.surgery.modernize import modernize
from tfinspect.surgery.prune import prune
from tfinspect.surgery.scaled_products import scaled_products
from tfinspect.surgery.shapes import TensorTypes
from tfinspect.surgery.strip_checks import strip_checks
from tfinspect.surgery.strip_dropout import strip_dropout
from tfinspect.verify import run as verify_run
from tfinspect.verify.folds import Fold, batch_norm_scale, batch_norm_shift, merged_kernel, problem
from tfinspect.verify.recurrent import Layer
from tfinspect.verify.weights import account

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
    from contextlib import AbstractContextManager

    from tfinspect.api.proof import Reference
    from tfinspect.ir.graph import Graph
    from tfinspect.ir.model import Model
    from tfinspect.ir.refs import TensorRef
    from tfinspect.ir.signature import TensorSpec
    from tfinspect.runtimes import Conversion
    from tfinspect.surgery.fold_batch_norm import Fold as BatchNormFold
    from tfinspect.verify.report import Report
    from tfinspect.verify.run import Pair
    from tfinspect.verify.weights import WeightsReport

_LARGE_PARAMETERS = 5_000_000  # above, a run costs too much for sixteen of them
_LARGE_SAMPLES = 8
_FEW_STARTS = 3
_HANDLES = (None, DType.RESOURCE, DType.VARIANT)


@dataclass(frozen=True, slots=True)
class Convertible:
    """A graph ready for the converter.

    Attributes:
        graph: as the converter takes it.
        weights: the large ones, which stay apart.
        inputs: what it takes.
        notes: what was done to it, in words.
        plain: the graph before its weights were touched, those in 8 bits made floats.
        folds: the batch normalisations that went into weights.
    """

    graph: Graph
    weights: Mapping[str, Tensor]
    inputs: tuple[TensorSpec, ...]
    notes: tuple[str, ...]
    plain: Graph
    folds: tuple[BatchNormFold, ...]


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
    external_data: bool = False,
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
        external_data: keep large weights in a file beside `output` even where one file could hold everything.
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
    terms = Terms(seed=seed, rtol=rtol, atol=atol, inputs_from=inputs_from, require=require, force=force, phase=phase)
    with phase("reading the graph"):
        ready = prepare(found, inputs=inputs, outputs=outputs, settings=settings, at_pixels=True)
        convertible = convertible_graph(ready, batch)
    large = sum(t.size for t in _constants(ready.graph).values()) > _LARGE_PARAMETERS
    with phase("choosing test inputs"), proof.hint_at_shapes(ready.inputs):
        feeds, fed = proof.choose_feeds(
            convertible.inputs,
            ready,
            seed=seed,
            inputs_from=inputs_from,
            samples=_LARGE_SAMPLES if large else None,
        )
    conversions: list[Conversion] = []

    def write(staged: Path, reference: Reference) -> Candidate:
        staged.mkdir()  # of its own: weights may need a file beside the model, under the name that the model knows
        file = staged / target.name
        with phase("converting (TensorFlow and tf2onnx are loading)"):
            metadata = _metadata(found, ready, reference)
            made = convert_graph(
                convertible, ready.outputs, file, target, opset, metadata, found.path, external_data=external_data
            )
            conversions.append(made)
        with phase("checking the ONNX file"):
            runtimes.check_onnx(file)
            written = onnx_format.read(file)
        return Candidate(
            lambda: runtimes.onnx_model(file),
            feeds,
            [_pair(ready, spec.ref, written) for spec in ready.outputs],
            lambda: _weights(convertible, written, reference),
            lambda report: _stamp(report, file, terms),
            path=file,
            beside=[] if made.external_data is None else [Path(made.external_data).name],
        )

    done = publish_proved(ready, target, feeds, write, terms, one_by_one=batch is not None)
    (conversion,) = conversions
    data = None if conversion.external_data is None else done.place.with_name(Path(conversion.external_data).name)
    return ExportReport(
        str(done.place),
        done.accepted,
        done.report,
        convertible.inputs,
        ready.outputs,
        ready.settings,
        (*convertible.notes, *_notes(ready), *fed, *([] if data is None else [f"its weights are in {data}"])),
        {
            "opset": conversion.opset,
            "ir_version": conversion.ir_version,
            "node_count": conversion.node_count,
            "nbytes": sum(place.stat().st_size for place in (done.place, data) if place is not None),
            "external_data": None if data is None else str(data),
            "convert_seconds": round(conversion.seconds, 2),
        },
    )


def convertible_graph(ready: Prepared, batch: str | None) -> Convertible:
    """Bring a graph to what the converter knows, with the large weights apart.

    Args:
        ready: the graph.
        batch: "dynamic" or a number, for the first dimension of every input; None keeps the graph's own.

    Raises:
        UsageError: `batch` is neither, or no input has a batch dimension.
        UnsupportedOpsError: an op that no converter knows.
    """
    ends = [spec.ref for spec in ready.outputs]
    plain, in_bytes = fold_dequantize(ready.graph)
    graph, notes = modernize(plain)
    if in_bytes:
        notes.append(f"{in_bytes} weights kept in 8 bits made floats again")
    graph, dropouts = strip_dropout(graph, ends)
    if dropouts:
        notes.append(f"took out {dropouts} dropout(s), which keep everything in inference")
    graph, folds = fold_batch_norm(strip_checks(graph), keep=ends)
    if folds:
        notes.append(f"folded {len(folds)} batch normalisations into the weights before them, in float64")
    # an image as its file holds it has no batch dimension
    held = [(spec, replace(spec, ref=ready.held[spec.ref])) for spec in ready.inputs]
    graph, sized = set_batch(graph, [new for old, new in held if ready.kinds.get(old.ref) != "pixels"], batch)
    resized = {spec.ref: spec for spec in sized}
    inputs = tuple(resized.get(new.ref, new) for _, new in held)
    graph, weights = externalize(prune(graph, ends), keep=ends)
    return Convertible(graph, weights, inputs, tuple(notes), plain, tuple(folds))


def _notes(ready: Prepared) -> list[str]:
    notes = [*ready.notes, *(f"fixed {setting}" for setting in ready.settings)]
    notes += [
        f"starts at the decoded pixels {spec.ref}: ONNX has no image decoder"
        for spec in ready.inputs
        if ready.kinds.get(spec.ref) == "pixels"
    ]
    return notes


def _metadata(model: Model, ready: Prepared, reference: Reference) -> dict[str, str]:
    """Return what the file says about where it comes from."""
    labels = labels_beside(model.path) if model.path else ()
    recipe = carried(model, [spec.ref for spec in ready.outputs], [spec.ref for spec in ready.inputs])
    return {
        "tfinspect.source_sha256": reference.sha256,
        "tfinspect.version": __version__,
        "tfinspect.converter": runtimes.converter(),
        **({LABELS_KEY: json.dumps(labels)} if labels else {}),
        **({RECIPE_KEY: format_recipe(recipe)} if recipe is not None else {}),
    }


def convert_graph(
    convertible: Convertible,
    outputs: Sequence[TensorSpec],
    staged: Path,
    target: Path,
    opset: int | None,
    metadata: Mapping[str, str],
    source: str,
    *,
    external_data: bool = False,
) -> Conversion:
    """Convert a graph to ONNX.

    Args:
        convertible: the graph.
        outputs: what it gives.
        staged: the file to write.
        target: the name it will have.
        opset: of the file; None for what the converter knows best.
        metadata: goes into the file.
        source: what the graph is called in messages.
        external_data: put the weights into a file beside `staged` even where one file could hold everything.

    Raises:
        LimitError: what is left without the large weights is 2 GiB or more.
        UnsupportedOpsError: ONNX has no word for an op, which is named.
        RuntimeUnavailableError: the converter is not installed.
        RuntimeFailedError: it refused.
    """
    scratch = _scratch(sum(tensor.nbytes for tensor in convertible.weights.values()), staged.parent)
    with tempfile.TemporaryDirectory(prefix="tfinspect-", dir=scratch) as folder:
        graph, weights = Path(folder, "candidate.pb"), Path(folder, "weights")
        try:
            formats.write_graph(convertible.graph, graph)
        except LimitError as error:  # weights that the converter must see: those of loops, tables that are looked up
            error.hint = "write a SavedModel, which keeps all large weights apart: --saved-model"
            raise
        if convertible.weights:
            weights.mkdir()
            runtimes.write_weights(weights, convertible.weights)
        request = runtimes.ConversionRequest(
            graph=graph,
            inputs={spec.name: spec.shape for spec in convertible.inputs},
            outputs=[spec.name for spec in outputs],
            output=staged,
            weights=weights if convertible.weights else None,
            metadata=metadata,
            producer_version=__version__,
            external_data=_data_name(target),
            force_external_data=external_data,
        )
        with proof.named({graph: source or "the graph"}), _hint_behind(convertible.graph):
            return runtimes.convert(request if opset is None else replace(request, opset=opset))


def _scratch(nbytes: int, folder: Path) -> Path | None:
    """Return where weights wait for the converter: with the output where the usual place is too small."""
    try:
        return None if shutil.disk_usage(tempfile.gettempdir()).free > 2 * nbytes else folder
    except OSError:
        return folder


def _data_name(target: Path) -> str:
    """Name the file for weights that one ONNX file cannot hold; an older model keeps its own until it is replaced."""
    name = f"{target.name}.data"
    return f"{target.name}.{secrets.token_hex(4)}.data" if os.path.lexists(target.with_name(name)) else name


@contextlib.contextmanager
def _hint_behind(graph: Graph) -> Iterator[None]:
    """Where ops do not convert, say where to start so that they are not needed."""
    try:
        yield
    except UnsupportedOpsError as error:
        ops = error.evidence.get("ops")
        names = [name for found in ops.values() for name in found] if isinstance(ops, dict) else []
        types = TensorTypes(graph)
        starts = tensors_behind(graph, names)
        if any(types.type_of(ref).dtype in _HANDLES for ref in starts):
            starts = []  # what cannot be fed is no place to start at
        if error.hint is None and 0 < len(starts) <= _FEW_STARTS:
            error.hint = "start behind them: " + " ".join(f"--inputs '{ref}'" for ref in starts)
        raise


def _constants(graph: Graph) -> dict[str, Tensor]:
    return {node.name: t for node in graph.nodes if node.op == "Const" and (t := node.tensor()) is not None}


def _pair(ready: Prepared, ref: TensorRef, written: onnx_format.OnnxFile) -> Pair:
    """Say which tensors of both sides belong together; the logits are found by structure, as names may change."""
    feeding = None
    logits = proof.logits_of(ready, ref)
    if logits is not None:
        source = written.behind(str(ref), {"Softmax", "Sigmoid", "LogSoftmax"})
        feeding = None if source is None else (str(logits), source)
    return verify_run.Pair(str(ref), str(ref), feeding, proof.producing_op(ready.graph, ref))


def _weights(convertible: Convertible, written: onnx_format.OnnxFile, reference: Reference) -> WeightsReport:
    """Account for every weight of the file, by value: what was folded keeps its name, so names prove nothing.

    Where that is not enough, TensorFlow computes what depends on constants alone, and folds are recomputed.
    """
    graph = convertible.plain
    epsilons = sorted(
        {
            value
            for node in graph.nodes
            for name in ("epsilon", "variance_epsilon")
            if isinstance(value := node.value(name), float)
        }
    )
    source = _constants(graph)
    recurrent = [
        Layer(node.op, *(*node.inputs, "", "", "")[1:4])
        for node in written.nodes
        if node.op in {"LSTM", "GRU"} and not node.domain
    ]
    report = account(source, written.initializers, epsilons=epsilons, recurrent=recurrent)
    if not report.unaccounted:
        return report
    declared = {
        name: biases
        for fold in convertible.folds
        if (name := f"{fold.biases}:0") in report.unaccounted and (biases := _folded_biases(fold, source)) is not None
    }
    declared |= _merged(graph, source, written.initializers, report.unaccounted)
    source.update(_computed(graph, reference))
    return account(source, written.initializers, folds=declared, epsilons=epsilons, recurrent=recurrent)


def _merged(
    graph: Graph, source: Mapping[str, Tensor], target: Mapping[str, Tensor], names: Collection[str]
) -> dict[str, Fold]:
    """Say what the kernels must be that TensorFlow's optimizer made of a kernel and a factor of what it gives.

    The converter lets it run first. The kernels carry the name it gave them; where that is lost, what they are tells.
    """
    declared: dict[str, Fold] = {}
    for product, kernel, factor in scaled_products(graph):
        fold = merged_kernel(source[kernel], source[factor], (kernel, factor))
        if fold is None:
            continue
        name = f"{product}/merged_input:0"
        if name in names:
            declared[name] = fold
            continue
        for other in names:
            if (
                target[other].size == source[kernel].size
                and problem(fold, target[other].numpy(), target[other].dtype) is None
            ):
                declared.setdefault(other, fold)
    return declared


def _folded_biases(fold: BatchNormFold, source: Mapping[str, Tensor]) -> Fold | None:
    """Say from the source alone what the biases of a folded batch normalisation must be."""
    import numpy as np

    if not all(name in source for name in fold.sources.values()):
        return None
    values = {role: np.asarray(source[name].numpy(), np.float64).reshape(-1) for role, name in fold.sources.items()}
    scale = batch_norm_scale(values.get("gamma", 1.0), values["variance"], fold.epsilon)
    shift = batch_norm_shift(values.get("beta", 0.0), values["mean"], scale.value, values.get("biases", 0.0))
    return Fold(lambda: shift, tuple(fold.sources.values()))


def _computed(graph: Graph, reference: Reference) -> dict[str, Tensor]:
    """Let TensorFlow compute from the reference what the converter may have computed beforehand."""
    types = TensorTypes(graph)
    names = [str(ref) for ref in constant_tensors(graph) if (d := types.type_of(ref).dtype) and d.is_floating]
    with reference.runner() as runner:
        try:
            return {n: Tensor.of(v) for n, v in zip(names, runner.run(names, {}), strict=True)} if names else {}
        except (NameNotFoundError, RuntimeFailedError):
            return {}  # a name of ours, or a handle: those weights stay unaccounted for


def _stamp(report: Report, staged: Path, terms: Terms) -> None:
    """Write into the file what was proved about it."""
    worst = max((o.max_abs for o in report.outputs if o.max_abs is not None), default=None)
    tolerance = max((o.tolerance for o in report.outputs if o.tolerance is not None), default=None)
    onnx_format.append_metadata(
        staged,
        {
            "tfinspect.verdict": report.verdict.value,
            "tfinspect.seed": "" if terms.seed_used is None else str(terms.seed_used),
            "tfinspect.samples": str(report.samples),
            "tfinspect.max_abs": "" if worst is None else f"{worst:.9g}",
            "tfinspect.tolerance": "" if tolerance is None else f"{tolerance:.9g}",
            "tfinspect.reference": report.reference.runtime,
            "tfinspect.candidate": report.candidate.runtime,
        },
    )
