"""What `export` and `verify` share: what is fed, what is compared, and who is the reference."""

from __future__ import annotations

import contextlib
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from tfinspect import formats, runtimes
from tfinspect.api.prepare import model_graph
from tfinspect.errors import RuntimeFailedError, TfinspectError, UsageError
from tfinspect.ir.dtypes import DType
from tfinspect.surgery.endpoints import softmax_logits
from tfinspect.surgery.shapes import TensorTypes
from tfinspect.verify.data import feeds_from
from tfinspect.verify.feeds import FeedSpec, likely_kind, make_feeds
from tfinspect.verify.tolerance import Override

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from contextlib import AbstractContextManager
    from types import TracebackType

    import numpy.typing as npt

    from tfinspect.api.load import PathLike
    from tfinspect.api.prepare import Prepared
    from tfinspect.ir.graph import Graph
    from tfinspect.ir.model import Model
    from tfinspect.ir.refs import TensorRef
    from tfinspect.ir.runner import Runner
    from tfinspect.ir.signature import TensorSpec

_CHECKPOINT_FORMATS = frozenset({"checkpoint_v1", "checkpoint_v2", "metagraph", "metagraph_text"})


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
    """Give the reference for a model; a graph that was changed in memory is written to a temporary file."""
    graph = model_graph(model)
    if graph.source is not None:
        checkpoint = model.checkpoint.path if model.checkpoint and model.format in _CHECKPOINT_FORMATS else None
        yield Reference(graph.source.path, checkpoint, graph.source.sha256)
        return
    with tempfile.TemporaryDirectory(prefix="tfinspect-") as folder:
        path = Path(folder, "reference.pb")
        formats.write_graph(graph, path)
        source = formats.read_graph(path).source
        yield Reference(str(path), None, source.sha256 if source else "")


@contextlib.contextmanager
def named(staged: Path, target: Path) -> Iterator[None]:
    """Call a file that is not in its place yet by its final name in whatever goes wrong."""
    try:
        yield
    except TfinspectError as error:
        before, after = str(staged), str(target)
        error.message = error.message.replace(before, after)
        error.details = tuple(line.replace(before, after) for line in error.details)
        raise


def feed_spec(spec: TensorSpec, kind: str | None = None) -> FeedSpec:
    """Say how an input is fed, by its type and, where it is known, its place in the graph."""
    if spec.dtype is None:
        raise UsageError(f"the type of `{spec.name}` is not known, so nothing can be fed to it")
    if spec.dtype is DType.STRING and kind == "bytes":
        return FeedSpec(spec.name, spec.dtype, spec.shape, "jpeg")
    if kind == "pixels":
        return FeedSpec(spec.name, spec.dtype, spec.shape, "pixels")
    return FeedSpec(spec.name, spec.dtype, spec.shape, likely_kind(spec.dtype, spec.shape))


def build_feeds(
    specs: Sequence[FeedSpec], *, seed: int, inputs_from: PathLike | None, samples: int | None = None
) -> list[Mapping[str, npt.NDArray[Any]]]:
    """Make the test inputs, or read the caller's.

    Raises:
        InputError: the caller's file cannot be read.
        UsageError: it does not fit the inputs.
    """
    if inputs_from is not None:
        return feeds_from(inputs_from, specs)
    return make_feeds(specs, seed=seed, samples=samples)


def reference_feeds(
    feeds: Sequence[Mapping[str, npt.NDArray[Any]]], ready: Prepared
) -> list[Mapping[str, npt.NDArray[Any]]]:
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


def logits_of(graph: Graph, output: TensorRef) -> TensorRef | None:
    """Return the tensor that feeds the softmax or sigmoid behind an output, or None."""
    return softmax_logits(graph, output)


def producing_op(graph: Graph, output: TensorRef) -> str:
    """Return the op that computes a tensor, seen through Identity, Reshape and Squeeze."""
    node = graph.node(output.name)
    while node.op in {"Identity", "Reshape", "Squeeze", "StopGradient", "CheckNumerics"} and node.data_inputs:
        node = graph.node(node.data_inputs[0].name)
    return node.op


class SampleBySample:
    """A reference whose graph takes one sample at a time, asked for a batch.

    A batch that the runtime refuses is run sample by sample and its answers are joined again.
    """

    def __init__(self, runner: Runner) -> None:
        self._runner = runner

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
        try:
            return self._runner.run(fetches, feeds, variant=variant)
        except RuntimeFailedError:
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
