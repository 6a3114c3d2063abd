"""Comparing two models that exist already."""

from __future__ import annotations

import contextlib
import os
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from tfinspect import formats, runtimes
from tfinspect.api import proof
from tfinspect.api.load import PathLike, open_for_images, open_graph
from tfinspect.api.prepare import prepare
from tfinspect.api.rebuild import is_rebuilt
from tfinspect.errors import NameNotFoundError, UsageError, WrongKindError
from tfinspect.ir.refs import TensorRef
from tfinspect.ir.shapes import compatible, merge
from tfinspect.verify import run as verify_run
from tfinspect.verify.bisect import Tap, first_divergence
from tfinspect.verify.verdict import Verdict

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from contextlib import AbstractContextManager

    import numpy.typing as npt

    from tfinspect.api.prepare import Prepared
    from tfinspect.formats.onnx import OnnxFile
    from tfinspect.ir.runner import Runner
    from tfinspect.ir.signature import TensorSpec
    from tfinspect.verify.report import Report
    from tfinspect.verify.tolerance import Override

_SOFTMAXES = {"Softmax", "Sigmoid", "LogSoftmax"}


@dataclass(frozen=True, slots=True)
class _Side:
    """One model, ready to run.

    Attributes:
        inputs: as the model names them.
        outputs: as the model names them.
        prepared: the graph, of a TensorFlow graph; None of others.
        onnx: the file, of ONNX; None of others.
        always: values the model is fed in any case (phase flags).
    """

    path: str
    sha256: str
    runner: Callable[[], Runner]
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    prepared: Prepared | None = None
    onnx: OnnxFile | None = None

    def fetch(self, spec: TensorSpec) -> str:
        """Return what this side's runtime calls a tensor: a graph's go by their names, whatever a signature says."""
        return _word(spec) if self.prepared is None else spec.name


def verify(
    a: PathLike,
    b: PathLike,
    *,
    match: Sequence[str] = (),
    inputs: Sequence[str] = (),
    outputs: Sequence[str] = (),
    settings: Sequence[str] = (),
    bisect: bool = False,
    seed: int = 0,
    rtol: float | None = None,
    atol: float | None = None,
    inputs_from: PathLike | None = None,
    phase: Callable[[str], AbstractContextManager[None]] = proof.silent,
) -> Report:
    """Run two models on the same inputs and compare their outputs.

    Args:
        a: the reference: a graph, a checkpoint with its graph, a SavedModel, an ONNX file, or a network that becomes a
            graph (Deeplearning4j).
        b: the candidate, any of the same.
        match: `A=B`, tensors that belong together though their names differ.
        inputs: of a graph, tensors to start at, optionally with shapes.
        outputs: tensors to compare, in the reference's names.
        settings: `NAME=VALUE`, placeholders of a graph to fix.
        bisect: on a mismatch, find the first tensor that differs.
        seed: of the test inputs.
        rtol: relative tolerance, instead of the measured one.
        atol: absolute tolerance, instead of the measured one.
        inputs_from: `.npy` or `.npz` with test inputs.
        phase: called with what is being done; gives a context manager.

    Raises:
        InputError: a model cannot be read.
        UsageError: inputs or outputs of the two do not belong together.
        RuntimeUnavailableError: a runtime is not installed.
        RuntimeFailedError: a runtime refused.
    """
    with contextlib.ExitStack() as kept:
        renames = dict(_split_match(text) for text in match)
        candidate = _open(b, (), (), settings, kept)
        start = inputs or _beginning(a, candidate.inputs, renames)
        reference = _open(a, start, outputs, settings, kept, size=_image_size(candidate.inputs))
        return _compare(
            reference,
            candidate,
            renames,
            outputs,
            bisect=bisect,
            seed=seed,
            override=proof.override_of(rtol, atol),
            inputs_from=inputs_from,
            phase=phase,
        )


def _compare(
    reference: _Side,
    candidate: _Side,
    renames: Mapping[str, str],
    outputs: Sequence[str],
    *,
    bisect: bool,
    seed: int,
    override: Override | None,
    inputs_from: PathLike | None,
    phase: Callable[[str], AbstractContextManager[None]],
) -> Report:
    pairs_in = _pair_up(reference.inputs, candidate.inputs, renames, "input")
    ends = [s for s in reference.outputs if not outputs or s.name in {str(TensorRef.parse(o)) for o in outputs}]
    pairs_out = _pair_up(ends, candidate.outputs, renames, "output")
    specs = [_fed_spec(want, got) for want, got in pairs_in]
    with phase("choosing test inputs"):
        feeds, _ = proof.choose_feeds(specs, reference.prepared, seed=seed, inputs_from=inputs_from)
    asked = _settings_of(reference, feeds)
    given = _settings_of(
        candidate, [{candidate.fetch(got): feed[want.name] for want, got in pairs_in} for feed in feeds]
    )
    pairs = [_pair(reference, candidate, want, got) for want, got in pairs_out]
    wanted, fetches = verify_run.fetches_of(pairs)
    with proof.recording(
        lambda: proof.SampleBySample(reference.runner()),
        wanted,
        asked,
        path=reference.path,
        sha256=reference.sha256,
        longest_sum=0 if reference.prepared is None else proof.longest_sum(reference.prepared.graph),
    ) as truth:
        with phase("running both models"), candidate.runner() as runner:
            answers = verify_run.record(
                runner, fetches, given, path=candidate.path, sha256=candidate.sha256, may_refuse=True
            )
        report = verify_run.judge(truth(), answers, pairs, override=override, seed=None if inputs_from else seed)
    if bisect and report.verdict is Verdict.FAIL:
        with phase("looking for the first tensor that differs"):
            report = report.with_divergence(_bisect(reference, candidate, asked, given))
    return report


def _image_size(inputs: Sequence[TensorSpec]) -> tuple[int, int] | None:
    """Return the size of the images that a model takes, None where it takes anything else or images of any size."""
    match [spec.shape for spec in inputs]:
        case [(_, int(height), int(width), 3)]:
            return height, width
    return None


def _open(
    path: PathLike,
    inputs: Sequence[str],
    outputs: Sequence[str],
    settings: Sequence[str],
    kept: contextlib.ExitStack,
    *,
    size: tuple[int, int] | None = None,
) -> _Side:
    """Open one side; `kept` removes the file that a graph made in memory is written to.

    A network that is rebuilt from its variables takes images of `size`.
    """
    kind = formats.identify(path).name
    name = os.fspath(path)
    if kind == "onnx":
        from tfinspect.formats import onnx

        written = onnx.read(path)
        return _Side(
            name, written.sha256(), lambda: runtimes.onnx_model(path), written.inputs, written.outputs, onnx=written
        )
    if kind == "saved_model":
        with runtimes.tensorflow_saved_model(path) as runner:
            return _Side(
                name, "", lambda: runtimes.tensorflow_saved_model(path), tuple(runner.inputs), tuple(runner.outputs)
            )
    model = open_for_images(path, size)
    made = bool(model.layers) or is_rebuilt(model)
    if model.graph is None or (model.graph.source is None and not made):
        raise WrongKindError(f"{name} holds nothing that can be run", hint=f"tfinspect info {name}")
    ready = prepare(model, inputs=inputs, outputs=outputs, settings=settings)
    reference = kept.enter_context(proof.reference_of(model))
    return _Side(name, reference.sha256, reference.runner, ready.inputs, ready.outputs, prepared=ready)


def _beginning(a: PathLike, inputs: Sequence[TensorSpec], renames: Mapping[str, str]) -> list[str]:
    """Return where the reference begins: at the candidate's inputs where it has those tensors, else at its own."""
    if formats.identify(a).name in {"onnx", "saved_model"}:
        return []
    graph = open_graph(a).graph
    back = {b: a for a, b in renames.items()}
    names = [back.get(spec.name, back.get(spec.ref.name, spec.name)) for spec in inputs]
    return names if graph is not None and all(TensorRef.parse(name).name in graph for name in names) else []


def _split_match(text: str) -> tuple[str, str]:
    a, equals, b = text.partition("=")
    if not equals or not a or not b:
        raise UsageError(f"`{text}` does not say which tensors belong together", hint="--match softmax:0=probabilities")
    return a, b


def _word(spec: TensorSpec) -> str:
    """Return what a model calls an input or output: its signature's key, else `name:index`."""
    return spec.key or spec.name


def _pair_up(
    wants: Sequence[TensorSpec], gots: Sequence[TensorSpec], renames: Mapping[str, str], what: str
) -> list[tuple[TensorSpec, TensorSpec]]:
    by_word = {word: spec for spec in gots for word in (spec.name, spec.ref.name, spec.key) if word}
    pairs = []
    for want in wants:
        words = [renames.get(want.name), renames.get(want.ref.name), want.key, want.name, want.ref.name]
        leaf = want.ref.name.rsplit("/", 1)[-1]
        found = next((by_word[w] for w in [*words, leaf] if w in by_word), None)
        if found is None and len(wants) == len(gots) == 1:
            found = gots[0]
        if found is None:
            raise NameNotFoundError(
                f"the candidate has no {what} that belongs to `{want.name}`",
                name=want.name,
                known=[_word(spec) for spec in gots],
                hint=f"say which: --match {want.name}={_word(gots[0]) if gots else 'NAME'}",
            )
        pairs.append((want, found))
    return pairs


def _fed_spec(want: TensorSpec, got: TensorSpec) -> TensorSpec:
    """Return what both sides take; where their batch sizes differ, the candidate's."""
    shape = merge(want.shape, got.shape) if compatible(want.shape, got.shape) else got.shape
    return replace(want, dtype=want.dtype or got.dtype, shape=shape)


def _settings_of(side: _Side, feeds: Sequence[Mapping[str, npt.NDArray[Any]]]) -> list[Mapping[str, npt.NDArray[Any]]]:
    if side.prepared is None:
        return list(feeds)
    return proof.reference_feeds(feeds, side.prepared)


def _pair(reference: _Side, candidate: _Side, want: TensorSpec, got: TensorSpec) -> verify_run.Pair:
    logits = None
    op = ""
    if reference.prepared is not None:
        graph = reference.prepared.graph
        op = proof.producing_op(graph, want.ref)
        source = proof.logits_of(reference.prepared, want.ref)
        target = _candidate_logits(candidate, got)
        if source is not None and target is not None:
            logits = (str(source), target)
    return verify_run.Pair(reference.fetch(want), candidate.fetch(got), logits, op)


def _candidate_logits(candidate: _Side, got: TensorSpec) -> str | None:
    if candidate.onnx is not None:
        return candidate.onnx.behind(_word(got), _SOFTMAXES)
    if candidate.prepared is not None:
        source = proof.logits_of(candidate.prepared, got.ref)
        return None if source is None else str(source)
    return None


def _bisect(
    reference: _Side,
    candidate: _Side,
    asked: Sequence[Mapping[str, npt.NDArray[Any]]],
    given: Sequence[Mapping[str, npt.NDArray[Any]]],
) -> Any:  # noqa: ANN401 - a Divergence or None
    if reference.prepared is None:
        raise UsageError("only a graph can be searched for the first tensor that differs", hint="leave out --bisect")
    names = _tensor_names(candidate)
    order = [
        Tap(f"{node.name}:0", f"{node.name}:0", node.name, node.op)
        for node in reference.prepared.graph.topological()
        if f"{node.name}:0" in names and node.op not in {"Const", "Placeholder", "NoOp"}
    ]
    with reference.runner() as left, candidate.runner() as right:
        return first_divergence(left, right, order, asked, candidate_feeds=given)


def _tensor_names(side: _Side) -> frozenset[str]:
    if side.onnx is not None:
        return side.onnx.tensor_names
    if side.prepared is not None:
        return frozenset(f"{node.name}:0" for node in side.prepared.graph.nodes)
    return frozenset(spec.name for spec in side.outputs)
