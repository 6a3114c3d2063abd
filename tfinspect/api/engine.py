"""A trunk on the runtime that computes its features, and where those are kept."""

from __future__ import annotations

import contextlib
import functools
import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from tfinspect import runtimes
from tfinspect.api import check_features, proof
from tfinspect.api.check_features import Agreement, PhotoReference
from tfinspect.api.trunk import DYNAMIC, Runtime, Trunk, job_of, onnx_trunk, tensorflow_trunk
from tfinspect.errors import RuntimeFailedError, UnsupportedOpsError
from tfinspect.learn.worker import GraphWorker, Worker

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager

    import numpy.typing as npt

    from tfinspect.api.load import PathLike
    from tfinspect.ir.runner import Runner
    from tfinspect.learn.extract import Computer
    from tfinspect.learn.job import Job

DEFAULT_BATCH: Final = 32
_VARIANT: Final = "shared"


def cache_folder(given: PathLike | None = None) -> Path:
    """Return where features and converted trunks are kept."""
    if given is not None:
        return Path(given)
    home = os.environ.get("XDG_CACHE_HOME", "")
    return Path(home if Path(home).is_absolute() else Path.home() / ".cache", "tfinspect")


@dataclass(frozen=True, slots=True)
class Engine:
    """A trunk on a runtime.

    Attributes:
        worker: prepares images and computes their features.
        runtime: which runtime it came to be.
        folder: where its features are kept.
        agreement: what was found out before about how it compares with TensorFlow.
        checked: whether there is something to compare: TensorFlow on the model as it was found is the reference itself.
        notes: what was concluded, in words.
    """

    worker: Computer
    runtime: Runtime
    folder: Path
    agreement: Agreement | None
    checked: bool
    notes: tuple[str, ...] = ()


@contextlib.contextmanager
def open_engine(
    trunk: Trunk,
    root: Path,
    *,
    runtime: Runtime = "onnxruntime",
    batch: int = DEFAULT_BATCH,
    phase: Callable[[str], AbstractContextManager[None]] = proof.silent,
) -> Iterator[Engine]:
    """Put a trunk onto a runtime.

    Args:
        trunk: what to compute.
        root: folder of caches; the converted trunk is kept there.
        runtime: what is to compute; where it cannot, TensorFlow does, and that is noted.
        batch: images computed together.
        phase: called with what is being done.

    Raises:
        RuntimeUnavailableError, RuntimeFailedError: it is not installed, or refused.
        OutputError: the folder cannot be written.
    """
    if trunk.recipe is None:
        with proof.reference_of(trunk.model) as reference, reference.runner() as runner:
            photos = PhotoReference(trunk, runner)
            job = job_of(trunk, reference.path)
            folder = root / "features" / trunk.key("tensorflow")
            yield Engine(GraphWorker(job, photos.on_file), "tensorflow", folder, None, checked=False)
        return
    notes: list[str] = []
    found: Job | None = None
    if runtime == "onnxruntime":
        try:
            found = onnx_trunk(trunk, root / "trunks", phase=phase)
        except (UnsupportedOpsError, RuntimeFailedError) as error:
            runtime = "tensorflow"
            notes.append(f"TensorFlow computes the features, because {error.message}")
    job = tensorflow_trunk(trunk, root / "trunks") if found is None else found
    job = replace(job, batch=1 if trunk.batch != DYNAMIC else batch)
    make = runtimes.onnx_model if runtime == "onnxruntime" else runtimes.tensorflow_graph
    folder = root / "features" / trunk.key(runtime)
    runner = make(job.model)
    worker = Worker(job, _run(runner, job), functools.partial(runner.load, variant=_VARIANT))
    yield Engine(worker, runtime, folder, check_features.remembered(folder), checked=True, notes=tuple(notes))


def _run(runner: Runner, job: Job) -> Callable[[npt.NDArray[Any]], npt.NDArray[Any]]:
    return lambda values: runner.run([job.output], {job.input: values}, variant=_VARIANT)[0]
