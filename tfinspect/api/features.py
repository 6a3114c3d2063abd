"""Bottleneck features of a folder of photos."""

from __future__ import annotations

import contextlib
import os
import tempfile
import time
from collections import Counter
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

from tfinspect import __version__, runtimes
from tfinspect.api import check_features, proof
from tfinspect.api.engine import DEFAULT_BATCH, cache_folder, open_engine
from tfinspect.api.image_list import list_images
from tfinspect.api.trunk import Runtime, Trunk, open_trunk
from tfinspect.errors import InputError, LimitError, TfinspectError, UsageError, counted
from tfinspect.formats import _atomic
from tfinspect.formats import features as features_format
from tfinspect.ir.features import SPLITS
from tfinspect.learn.cache import FeatureCache
from tfinspect.learn.extract import Progress, extract
from tfinspect.learn.images import decode
from tfinspect.learn.remote import Place

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from contextlib import AbstractContextManager

    import numpy.typing as npt

    from tfinspect.api.check_features import Agreement
    from tfinspect.api.engine import Engine
    from tfinspect.api.features_ray import RayExtraction, RayWorker
    from tfinspect.api.image_list import Images
    from tfinspect.api.load import PathLike
    from tfinspect.ir.features import Split
    from tfinspect.ir.graph import Graph
    from tfinspect.ir.model import Model
    from tfinspect.learn.extract import Extraction
    from tfinspect.learn.job import Job
    from tfinspect.learn.worker import Failure

__all__ = ["FeaturesReport", "Progress", "features"]

EngineName = Literal["local", "ray"]
_CHECKED_IMAGES: Final = 6
_NO_PROGRESS: Final[Callable[[Progress], None]] = lambda _: None  # noqa: E731


@dataclass(frozen=True, slots=True)
class FeaturesReport:
    """What came of it.

    Attributes:
        output: the file, empty where none was written.
        images: rows in it.
        computed: rows that were computed now.
        cached: rows that were there before.
        skipped: images that could not be used, and why.
        classes: names of the classes.
        width: features of an image.
        splits: images by part.
        made: what is written into the file about how it was made.
        agreement: how the features compare with TensorFlow's; None where TensorFlow itself computed them.
        seconds: wall time of reading, decoding and computing, once the runtime was loaded.
        warnings: what may not be as it was meant.
        notes: what was concluded, in words.
        engine: `local` or `ray`.
        workers: processes of Ray that shared the images.
    """

    output: str
    images: int
    computed: int
    cached: int
    skipped: tuple[Failure, ...]
    classes: tuple[str, ...]
    width: int
    splits: Mapping[str, int]
    made: Mapping[str, Any]
    agreement: Agreement | None
    seconds: float
    warnings: tuple[str, ...]
    notes: tuple[str, ...]
    engine: EngineName = "local"
    workers: tuple[RayWorker, ...] = ()

    @property
    def accepted(self) -> bool:
        """Whether the features are TensorFlow's."""
        return self.agreement is None or self.agreement.passed


def features(
    model: PathLike | Graph | Model,
    folder: PathLike,
    output: PathLike,
    *,
    bottleneck: str,
    inputs: Sequence[str] = (),
    size: tuple[int, int] | None = None,
    mean: Sequence[float] | None = None,
    scale: Sequence[float] | None = None,
    bgr: bool | None = None,
    settings: Sequence[str] = (),
    runtime: Runtime = "onnxruntime",
    engine: EngineName = "local",
    batch: int = DEFAULT_BATCH,
    workers: int | None = None,
    validation: float = 0.1,
    test: float = 0.1,
    split_seed: str = "",
    labels: PathLike | None = None,
    limit: int | None = None,
    cache: PathLike | None = None,
    keep: bool = True,
    force: bool = False,
    dry_run: bool = False,
    phase: Callable[[str], AbstractContextManager[None]] = proof.silent,
    progress: Callable[[Progress], None] = _NO_PROGRESS,
) -> FeaturesReport:
    """Compute what a trunk makes of each photo of a folder, and write it to one file.

    What was computed before, by this trunk for an image of the same content, is not computed again. Features of a few
    images are compared with those that TensorFlow computes from the model as it was given; where they differ nothing is
    written.

    Args:
        model: a graph, or anything `open_graph` opens.
        folder: with one sub-folder a class; for the engine `ray` also the fsspec URL of one.
        output: the `.npz` to write.
        bottleneck: the tensor, `name` or `name:index`.
        inputs: the tensor that takes images; none: what the graph itself says.
        size: (height, width) to resize to, where the graph does not say.
        mean: what is subtracted from each pixel, one number or one a channel.
        scale: what the difference is multiplied by, likewise.
        bgr: whether blue comes first.
        settings: `NAME=VALUE`, placeholders to fix.
        runtime: what computes.
        engine: `local`, or `ray`: a cluster (`RAY_ADDRESS`), or all processors of this machine.
        batch: images computed together.
        workers: threads that read and decode, or Ray's processes; default: one a processor.
        validation: share of images that the training is watched on.
        test: share of images that the result is judged on.
        split_seed: another text gives another split.
        labels: a table with the labels of images.
        limit: take this many images, spread over the classes.
        cache: folder that features are kept in; default: the user's cache folder.
        keep: whether features are kept at all.
        force: replace `output` if it exists.
        dry_run: say what would be done, compute and write nothing.
        phase: called with what is being done; gives a context manager.
        progress: told how far it has come.

    Returns:
        What came of it. Where `accepted` is False nothing was written.

    Raises:
        UsageError: flags or names that do not fit, no images, one class only.
        InputError: the model or folder cannot be read, or no image can be used.
        SurgeryError: the graph cannot be cut there.
        OutputExistsError: the file exists and `force` is not set.
        OutputError: file or cache cannot be written.
        RuntimeUnavailableError, RuntimeFailedError: the runtime is not installed, or refused.
    """
    if batch < 1 or (workers is not None and workers < 1):
        raise UsageError("--batch and --workers take numbers from 1 up")
    if not dry_run:
        _atomic.ensure_absent(output, force=force)
    _check_engine(engine, runtime, folder)
    images = list_images(folder, labels=labels, limit=limit, validation=validation, test=test, split_seed=split_seed)
    with phase("reading the graph"):
        trunk = open_trunk(
            model, bottleneck=bottleneck, inputs=inputs, size=size, mean=mean, scale=scale, bgr=bgr, settings=settings
        )
    with contextlib.ExitStack() as stack:
        root = cache_folder(cache) if keep else Path(stack.enter_context(_scratch()))
        if dry_run:
            return _planned(images, trunk, runtime, root)
        _refuse_by_itself(trunk, engine)
        opened = stack.enter_context(open_engine(trunk, root, runtime=runtime, batch=batch, phase=phase))
        if engine == "ray" and opened.runtime != "onnxruntime":
            raise UsageError("--engine ray runs onnxruntime only", details=opened.notes, hint="--engine local")
        kept = stack.enter_context(FeatureCache(opened.folder))
        agreement = opened.agreement
        if agreement is None and opened.checked:
            with phase("comparing with TensorFlow"):
                agreement = _compare(images, trunk, opened)
            if agreement is not None and agreement.passed:
                check_features.remember(opened.folder, agreement)
        start = time.perf_counter()
        if agreement is not None and not agreement.passed:
            return _report(images, trunk, opened, None, agreement, 0.0, kept.width)
        done: Extraction | RayExtraction
        if engine == "ray":
            with phase("starting Ray"):
                done = _over_ray(images, kept, opened.worker.job, workers, progress)
        else:
            done = extract(images.files, kept, opened.worker, workers=workers or os.cpu_count() or 1, progress=progress)
        seconds = time.perf_counter() - start - done.loading
        _refuse_nothing(images, done)
        report = _report(images, trunk, opened, done, agreement, seconds, kept.width)
        write(images, done, kept, report.made, output, force=force)
        shared = getattr(done, "workers", ())
        return replace(report, output=os.fspath(output), engine=engine, workers=shared)


def _over_ray(
    images: Images, kept: FeatureCache, job: Job, workers: int | None, progress: Callable[[Progress], None]
) -> RayExtraction:
    from tfinspect.api import features_ray

    return features_ray.extract(images.files, images.place, kept, job, workers=workers, progress=progress)


def _check_engine(engine: EngineName, runtime: Runtime, folder: PathLike) -> None:
    """Refuse early what does not go together, and a Ray that is not installed."""
    if engine == "ray":
        if runtime != "onnxruntime":
            raise UsageError(f"--engine ray runs onnxruntime only, not {runtime}")
        runtimes.require_ray()
    elif Place(folder).remote:
        raise UsageError(
            f"{os.fspath(folder)} is not on this machine", hint="--engine ray reads it", evidence={"path": str(folder)}
        )


def _refuse_by_itself(trunk: Trunk, engine: EngineName) -> None:
    if engine == "ray" and trunk.recipe is None:
        raise UsageError(
            "--engine ray runs onnxruntime only, and this graph prepares images in a way of its own",
            hint="--engine local, or start behind it: --inputs T",
        )


def _scratch() -> AbstractContextManager[str]:
    return tempfile.TemporaryDirectory(prefix="tfinspect-")


def _compare(images: Images, trunk: Trunk, engine: Engine) -> Agreement | None:
    """Compare the features of a few images, taken from all over the folder, with TensorFlow's."""
    files = images.files
    step = max(1, len(files) // _CHECKED_IMAGES)
    sample: list[tuple[str, bytes]] = []
    job = engine.worker.job

    def pixels_of(name: str, data: bytes) -> npt.NDArray[Any]:
        return decode(data, name, channels=job.recipe.channels, fast_dct=job.fast_dct)

    for file in (*files[step // 2 :: step], *files):
        if len(sample) == min(_CHECKED_IMAGES, len(files)):
            break
        with contextlib.suppress(InputError, LimitError):  # reported where all images are read
            data = images.place.read(file.path)
            pixels_of(file.name, data)
            if (file.name, data) not in sample:
                sample.append((file.name, data))
    return check_features.check(trunk, engine.worker, sample, pixels_of)


def _refuse_nothing(images: Images, done: Extraction) -> None:
    if len(done.failures) < len(images.files):
        return
    raise InputError(
        f"none of the {counted(len(images.files), 'image')} of {images.place.path} can be used",
        details=[failure.reason for failure in done.failures[:5]],
        evidence={"path": images.place.path, "skipped": [failure.name for failure in done.failures]},
    )


def _planned(images: Images, trunk: Trunk, runtime: Runtime, root: Path) -> FeaturesReport:
    """Say what would be computed."""
    from tfinspect.learn.cache import content_key

    kind: Runtime = "tensorflow" if trunk.recipe is None else runtime
    folder = root / "features" / trunk.key(kind)
    cached, width = 0, 0
    if folder.is_dir():
        with FeatureCache(folder) as kept:
            width = kept.width
            for file in images.files:
                with contextlib.suppress(TfinspectError):
                    cached += content_key(images.place.read(file.path)) in kept
    return FeaturesReport(
        "", len(images.files), len(images.files) - cached, cached, (), images.classes, width,
        _count(images.split), _made(trunk, kind, (), None), None, 0.0, images.warnings, trunk.notes,
    )  # fmt: skip


def _count(split: Sequence[Split]) -> dict[str, int]:
    count = Counter(split)
    return {name: count[name] for name in SPLITS}


def _made(trunk: Trunk, runtime: Runtime, skipped: Sequence[Failure], agreement: Agreement | None) -> dict[str, Any]:
    return {
        "trunk": trunk.model.path,
        "trunk_sha256": trunk.sha256,
        "bottleneck": str(trunk.bottleneck),
        "preprocessing": None if trunk.recipe is None else trunk.recipe.to_json(),
        "runtime": runtime,
        "tfinspect": __version__,
        "skipped": [failure.name for failure in skipped],
        "agreement": None if agreement is None else asdict(agreement),
    }


def _report(
    images: Images,
    trunk: Trunk,
    engine: Engine,
    done: Extraction | None,
    agreement: Agreement | None,
    seconds: float,
    width: int,
) -> FeaturesReport:
    failures = () if done is None else done.failures
    warnings = list(images.warnings)
    if agreement is not None and not agreement.varies:
        warnings.append(
            "the features of different images are the same, so comparing them with TensorFlow proves little"
        )
    keys = () if done is None else done.keys
    used = [part for part, key in zip(images.split, keys, strict=False) if key is not None]
    return FeaturesReport(
        "", len(used), 0 if done is None else done.computed, 0 if done is None else done.cached, failures,
        images.classes, width, _count(used), _made(trunk, engine.runtime, failures, agreement), agreement, seconds,
        tuple(warnings), (*trunk.notes, *engine.notes),
    )  # fmt: skip


def write(
    images: Images,
    done: Extraction,
    kept: FeatureCache,
    made: Mapping[str, Any],
    output: PathLike,
    *,
    force: bool = False,
) -> int:
    """Write the features file, its rows straight from the cache, and return its size in bytes.

    Raises:
        OutputExistsError: the file exists and `force` is not set.
        OutputError: it cannot be written; nothing is left behind.
    """
    import numpy as np

    places = [i for i, key in enumerate(done.keys) if key is not None]
    keys = [key for key in done.keys if key is not None]
    return features_format.write_rows(
        kept.rows(keys),
        (len(keys), kept.width),
        output,
        labels=images.labels[np.array(places, np.int64)],
        classes=images.classes,
        files=[images.files[i].name for i in places],
        split=[images.split[i] for i in places],
        made=made,
        force=force,
    )
