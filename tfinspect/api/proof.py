"""What `export` and `verify` share: what is fed, what is compared, and who is the reference."""

from __future__ import annotations

import contextlib
import math
import tempfile
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from tfinspect import formats, runtimes
from tfinspect.api.prepare import choose_outputs, fold, model_graph
from tfinspect.api.rebuild import is_rebuilt
from tfinspect.errors import RuntimeFailedError, TfinspectError, UsageError
from tfinspect.ir.dtypes import DType
from tfinspect.ir.refs import TensorRef
from tfinspect.surgery.add_saver import add_saver
from tfinspect.surgery.endpoints import softmax_logits
from tfinspect.surgery.images import preprocessing
from tfinspect.surgery.shapes import TensorTypes
from tfinspect.verify import run as verify_run
from tfinspect.verify.data import feeds_from
from tfinspect.verify.feeds import FeedSpec, likely_kind, make_feeds
from tfinspect.verify.tolerance import Override

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from contextlib import AbstractContextManager
    from types import TracebackType

    import numpy.typing as npt

    from tfinspect.api.load import PathLike
    from tfinspect.api.prepare import Prepared
    from tfinspect.ir.graph import Graph
    from tfinspect.ir.model import Model
    from tfinspect.ir.runner import Runner
    from tfinspect.ir.signature import TensorSpec

    Feeds = Sequence[Mapping[str, npt.NDArray[Any]]]

_IMAGE_SIZES = (224, 299, 32, 28, 128, 160, 192, 96, 300, 256, 64, 227, 331, 416, 48, 512)
_PROBES = 3  # runs after which every default size was fed once
_CHECKPOINT_FORMATS = frozenset({"checkpoint_v1", "checkpoint_v2", "metagraph", "saved_model"})


def silent(_text: str) -> AbstractContextManager[None]:
    """Show nothing while a phase runs."""
    return contextlib.nullcontext()


@dataclass(frozen=True, slots=True)
class Reference:
    """The file that is right: the one the caller gave, never one that we changed.

    Attributes:
        path: the file that TensorFlow runs.
        checkpoint: what is restored into it, or None.
        sha256: of `path`.
    """

    path: str
    checkpoint: str | None
    sha256: str

    def runner(self) -> Runner:
        """Return TensorFlow running it, in a child process."""
        return runtimes.tensorflow_graph(self.path, checkpoint=self.checkpoint)


@contextlib.contextmanager
def reference_of(model: Model) -> Iterator[Reference]:
    """Give the reference for a model; a graph that was changed in memory is written to a temporary file.

    Into one that was rebuilt for a checkpoint TensorFlow restores that checkpoint, as it would have restored it once.
    """
    graph = model_graph(model)
    if graph.source is not None:
        checkpoint = model.checkpoint.path if model.checkpoint and model.format in _CHECKPOINT_FORMATS else None
        yield Reference(graph.source.path, checkpoint, graph.source.sha256)
        return
    checkpoint = None
    if is_rebuilt(model) and model.checkpoint is not None:
        if model.format in _CHECKPOINT_FORMATS:
            graph, checkpoint = add_saver(graph), model.checkpoint.path
        else:
            graph = fold(model, choose_outputs(model, ()))
    with tempfile.TemporaryDirectory(prefix="tfinspect-") as folder:
        path = Path(folder, "reference.pb")
        formats.write_graph(graph, path)
        source = formats.read_graph(path).source
        yield Reference(str(path), checkpoint, source.sha256 if source else "")


def longest_sum(graph: Graph) -> int:
    """Return how many products the longest sum in a graph adds up, told from the shapes of its weights."""
    lengths = [1]
    for node in graph.nodes:
        tensor = node.tensor() if node.op == "Const" else None
        if tensor is not None and tensor.dtype.is_floating and len(tensor.shape) > 1:
            lengths.append(math.prod(tensor.shape[:-1]))
    return max(lengths)


class _BrokenOff(Exception):  # noqa: N818 - no error, nobody sees it
    """Nobody waits for the recording any more."""


@contextlib.contextmanager
def recording(
    make: Callable[[], Runner], fetches: Sequence[str], feeds: Feeds, *, path: str, sha256: str, longest_sum: int = 0
) -> Iterator[Callable[[], verify_run.Recording]]:
    """Record one side in a thread of its own while the block does something else.

    Where the block fails, Ctrl-C included, the recording is broken off: its runtime is killed rather than waited for.

    Yields:
        A function that waits for the recording and returns it, or raises what went wrong.
    """
    unwanted = threading.Event()

    def go_on(_done: int, _total: int) -> None:
        if unwanted.is_set():
            raise _BrokenOff

    def record() -> verify_run.Recording:
        with make() as runner:
            return verify_run.record(
                runner, fetches, feeds, longest_sum=longest_sum, path=path, sha256=sha256, progress=go_on
            )

    with ThreadPoolExecutor(1, thread_name_prefix="tfinspect-reference") as pool:
        future = pool.submit(record)
        try:
            yield future.result
        finally:
            if not future.done():
                unwanted.set()
                runtimes.shutdown()


@contextlib.contextmanager
def named(names: Mapping[Path, Path | str]) -> Iterator[None]:
    """Call temporary files by the names the caller knows in whatever goes wrong."""
    try:
        yield
    except TfinspectError as error:
        for temporary, known in names.items():
            before, after = str(temporary), str(known)
            error.message = error.message.replace(before, after)
            error.details = tuple(line.replace(before, after) for line in error.details)
            error.evidence = {
                key: value.replace(before, after) if isinstance(value, str) else value
                for key, value in error.evidence.items()
            }
        raise


@contextlib.contextmanager
def hint_at_shapes(inputs: Sequence[TensorSpec]) -> Iterator[None]:
    """Where a runtime refuses a model whose inputs have no full shape, say how to give one."""
    try:
        yield
    except RuntimeFailedError as error:
        open_ones = [spec for spec in inputs if spec.shape is None or None in spec.shape[1:]]
        vague = next((spec for spec in open_ones if spec.dtype is not DType.STRING), None)
        if vague is not None and error.hint is None:
            example = "1,224,224,3" if vague.shape is None else ",".join(_example_sizes(vague.shape))
            error.hint = f"if the shape of `{vague.name}` is at fault, say it: --inputs '{vague.name}[{example}]'"
        raise


def _example_sizes(shape: Sequence[int | None]) -> list[str]:
    sizes = (1 if axis == 0 else 224 if size is None else size for axis, size in enumerate(shape))
    return [str(given or size) for given, size in zip(shape, sizes, strict=True)]


def choose_feeds(
    specs: Sequence[TensorSpec],
    ready: Prepared | None,
    *,
    seed: int,
    inputs_from: PathLike | None,
    samples: int | None = None,
) -> tuple[Feeds, tuple[str, ...]]:
    """Make the test inputs, or read the caller's.

    Where the graph leaves height and width of an image open, the first sizes that TensorFlow takes are used: a dense
    layer behind a flattened image takes one size only.

    Args:
        specs: how the inputs are called and shaped.
        ready: the model they are of, its inputs in the same order; None of a model whose graph is not known.
        seed: of what is made.
        inputs_from: the caller's file.
        samples: number of runs; None for as many as the inputs' size suggests.

    Returns:
        One mapping a run, from the names of `specs`; and what was chosen for them, in words.

    Raises:
        InputError: the caller's file cannot be read.
        UsageError: it does not fit the inputs.
    """
    olds = specs if ready is None else ready.inputs
    plain = [_feed_spec(ready, old, spec) for old, spec in zip(olds, specs, strict=True)]
    if inputs_from is not None:
        return feeds_from(inputs_from, plain), ()
    open_images = [
        spec
        for spec in plain
        if spec.kind in {"image", "pixels"}
        and spec.shape
        and None in spec.shape[-3:-1]
        and not _is_resized(ready, spec.name)
    ]
    size = _fitting_size(ready, plain, open_images, seed) if ready is not None and open_images else None
    notes = () if size is None else (f"fed images of {size} by {size}: of the usual sizes the first it takes",)
    return make_feeds(_sized(plain, open_images, size), seed=seed, samples=samples), notes


def _feed_spec(ready: Prepared | None, of_model: TensorSpec, spec: TensorSpec) -> FeedSpec:
    """Say how an input is fed, by its type and its place in the graph."""
    if spec.dtype is None:
        raise UsageError(f"the type of `{spec.name}` is not known, so nothing can be fed to it")
    place = None if ready is None else ready.kinds.get(of_model.ref)
    rows = None if ready is None else ready.vocabularies.get(of_model.ref)
    if spec.dtype is DType.STRING and place == "bytes":
        return FeedSpec(spec.name, spec.dtype, spec.shape, "jpeg")
    if place in {"pixels", "intensities"}:
        return FeedSpec(spec.name, spec.dtype, spec.shape, "pixels")
    if place == "lengths":
        return FeedSpec(spec.name, spec.dtype, spec.shape, "ids", low=1)  # an empty sequence tells nothing
    if rows is not None:
        return FeedSpec(spec.name, spec.dtype, spec.shape, "ids", low=0, high=rows - 1)
    return FeedSpec(spec.name, spec.dtype, spec.shape, likely_kind(spec.dtype, spec.shape))


def _sized(specs: Sequence[FeedSpec], images: Sequence[FeedSpec], size: int | None) -> list[FeedSpec]:
    if size is None:
        return list(specs)
    return [
        replace(spec, sizes=(*(None,) * (len(spec.shape or ()) - 3), size, size)) if spec in images else spec
        for spec in specs
    ]


def _is_resized(ready: Prepared | None, name: str) -> bool:
    """Whether the graph itself brings an image to the size it wants, so that it takes any."""
    if ready is None:
        return False
    ref = TensorRef.parse(name)
    steps = preprocessing(ready.graph, TensorTypes(ready.graph), ref) if ref.name in ready.graph else None
    return steps is not None and steps.size is not None


def reference_fetches(ready: Prepared) -> list[str]:
    """Return what is asked of the reference: the outputs, and what feeds a softmax; always the same tensors.

    TensorFlow keeps the whole graph once more for each set of tensors it is asked for.
    """
    refs = [spec.ref for spec in ready.outputs]
    return list(dict.fromkeys(str(r) for ref in refs for r in (ref, logits_of(ready, ref)) if r is not None))


def _fitting_size(ready: Prepared, specs: Sequence[FeedSpec], images: Sequence[FeedSpec], seed: int) -> int | None:
    """Return the first usual image size that the model takes; None where it takes any, or none of them."""
    fetches = reference_fetches(ready)
    with reference_of(ready.model) as reference, reference.runner() as runner:
        for size in (None, *_IMAGE_SIZES):
            feeds = make_feeds(_sized(specs, images, size), seed=seed, samples=_PROBES if size is None else 1)
            try:
                for feed in reference_feeds(feeds, ready):
                    runner.run(fetches, feed)
            except RuntimeFailedError:
                continue
            return size
    return None


def reference_feeds(feeds: Feeds, ready: Prepared) -> list[Mapping[str, npt.NDArray[Any]]]:
    """Return feeds in the names of the model as it was found, with the values of the placeholders that were fixed."""
    import numpy as np

    types = TensorTypes(model_graph(ready.model))
    names = {str(held): str(ref) for ref, held in ready.held.items()}
    fixed = {}
    for setting in ready.settings:
        dtype = types.type_of(setting.ref).dtype
        fixed[str(setting.ref)] = np.asarray(setting.value, None if dtype is None else dtype.numpy)
    return [{**{names.get(name, name): value for name, value in feed.items()}, **fixed} for feed in feeds]


def override_of(rtol: float | None, atol: float | None) -> Override | None:
    """Return the caller's own tolerance, or None for the measured one."""
    if rtol is None and atol is None:
        return None
    return Override(rtol=rtol or 0.0, atol=atol or 0.0)


def logits_of(ready: Prepared, output: TensorRef) -> TensorRef | None:
    """Return the tensor that feeds the softmax or sigmoid behind an output, None where the model itself has no such."""
    found = softmax_logits(ready.graph, output)
    return found if found is not None and found.name in model_graph(ready.model) else None


def producing_op(graph: Graph, output: TensorRef) -> str:
    """Return the op that computes a tensor, seen through Identity, Reshape and Squeeze."""
    node = graph.node(output.name)
    while node.op in {"Identity", "Reshape", "Squeeze", "StopGradient", "CheckNumerics"} and node.data_inputs:
        node = graph.node(node.data_inputs[0].name)
    return node.op


class SampleBySample:
    """A reference whose graph takes one sample at a time, asked for a batch.

    A batch that the runtime refuses is run sample by sample and its answers are joined again; so are all after it.
    """

    def __init__(self, runner: Runner) -> None:
        self._runner = runner
        self._whole = True

    @property
    def runtime(self) -> str:
        """As the runtime says."""
        return self._runner.runtime

    @property
    def inputs(self) -> Sequence[TensorSpec]:
        """As the model says."""
        return self._runner.inputs

    @property
    def outputs(self) -> Sequence[TensorSpec]:
        """As the model says."""
        return self._runner.outputs

    def run(
        self, fetches: Sequence[str], feeds: Mapping[str, npt.NDArray[Any]], *, variant: str = "default"
    ) -> list[npt.NDArray[Any]]:
        """Run a batch, in one piece where the graph takes it."""
        import numpy as np

        sizes = {value.shape[0] for value in feeds.values() if value.ndim > 1}
        if sizes == {1} or len(sizes) != 1:
            return self._runner.run(fetches, feeds, variant=variant)
        if self._whole:
            try:
                return self._runner.run(fetches, feeds, variant=variant)
            except RuntimeFailedError:
                self._whole = False
        (size,) = sizes
        parts = [
            self._runner.run(
                fetches,
                {name: value[i : i + 1] if value.ndim > 1 else value for name, value in feeds.items()},
                variant=variant,
            )
            for i in range(size)
        ]
        return [np.concatenate(arrays) for arrays in zip(*parts, strict=True)]

    def __enter__(self) -> Self:
        """Load the model."""
        self._runner.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Let go of the model."""
        self._runner.__exit__(kind, error, trace)
