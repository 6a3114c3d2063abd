"""Features of images that many machines share, through Ray; the rows arrive here, in the same cache as ever.

This module is also what the workers import: `reader` and `computer` are theirs (see `runtimes.ray_engine.Work`).
"""

from __future__ import annotations

import contextlib
import importlib.util
import tempfile
from bisect import bisect_left
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from tfinspect.errors import EnvironmentFailure, RuntimeUnavailableError, TfinspectError, UsageError
from tfinspect.learn.cache import KEY_NBYTES, content_key
from tfinspect.learn.extract import Extraction, Progress
from tfinspect.learn.job import Job
from tfinspect.learn.preprocess import Recipe
from tfinspect.learn.remote import Place
from tfinspect.learn.worker import Failure, Prepared, Worker
from tfinspect.runtimes import ray_engine

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    import numpy.typing as npt

    from tfinspect.learn.cache import FeatureCache
    from tfinspect.learn.images import ImageFile
    from tfinspect.runtimes.ray_engine import Items, Part, RunModel

    Array = npt.NDArray[Any]

_MANY_BATCHES: Final = 256
_BATCHES_A_BLOCK: Final = 4
_DECODERS: Final = {"simplejpeg": "simplejpeg", "PIL": "pillow"}


@dataclass(frozen=True, slots=True)
class RayWorker:
    """A process that shared the work, and how many images it did."""

    host: str
    pid: int
    images: int


@dataclass(slots=True)
class RayProgress(Progress):
    """How far it has come, and who did it: images by host and process."""

    workers: Counter[tuple[str, int]] = field(default_factory=Counter)


@dataclass(frozen=True, slots=True)
class RayExtraction(Extraction):
    """What came of it.

    Attributes:
        ray: version of Ray.
        nodes: machines of the cluster.
        address: of the cluster; empty where Ray was started here.
        workers: processes that shared the images; one that died and was started again counts as two.
    """

    ray: str
    nodes: int
    address: str
    workers: tuple[RayWorker, ...]


def extract(
    images: Sequence[ImageFile],
    place: Place,
    cache: FeatureCache,
    job: Job,
    *,
    workers: int | None = None,
    progress: Callable[[Progress], None] = lambda _: None,
) -> RayExtraction:
    """Do what `learn.extract.extract` does, to the same result, on a Ray cluster or on all processors of this machine.

    Workers read, decode and compute; what the cache has, they only read. A worker that dies is started again and its
    images are computed again. Here rows only pass through, on their way into the cache.

    Args:
        images: as `place.folder` lists them.
        place: where they are.
        cache: of this trunk; rows go there as they come.
        job: its model is ONNX.
        workers: how many processes share the images; None: one a processor of the cluster.
        progress: told after each block of images; a `RayProgress`.

    Raises:
        UsageError: the files are this machine's, and the cluster is only reached through a Ray client.
        RuntimeUnavailableError: Ray is not installed.
        RuntimeFailedError: Ray, a worker or the place of the images gave up.
        OutputError: the cache cannot be written.
    """
    _refuse_client(place)
    state = RayProgress(len(images))
    keys: list[bytes | None] = [None] * len(images)
    failures: dict[int, Failure] = {}
    with contextlib.ExitStack() as stack:
        numbers, paths, folder = list(range(len(images))), [image.path for image in images], place.path
        if place.private:
            folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="tfinspect-"))
            numbers, paths = _spool(images, place, Path(folder), failures)
            state.done = len(failures)
        block = job.batch * (_BATCHES_A_BLOCK if len(numbers) > _MANY_BATCHES * job.batch else 1)
        spread = ray_engine.Spread(
            [(images[number].name, path) for number, path in zip(numbers, paths, strict=True)],
            work=__name__,
            params={"folder": folder, "job": _job_json(job)},
            arrays=[_sorted_keys(cache)],
            files=_model_files(job),
            workers=workers,
            block=block,
            near=place.local or place.private,
        )
        cluster = stack.enter_context(spread)
        for part in spread.parts():
            _take(part, [numbers[i] for i in part.numbers], images, cache, keys, failures, state)
            progress(state)
    return RayExtraction(
        tuple(keys),
        tuple(failures[number] for number in sorted(failures)),
        state.computed,
        state.cached,
        cluster.ray,
        cluster.nodes,
        cluster.address,
        tuple(RayWorker(host, pid, count) for (host, pid), count in sorted(state.workers.items())),
    )


def _refuse_client(place: Place) -> None:
    address = ray_engine.address()
    if address.startswith(ray_engine.CLIENT_SCHEME) and (place.local or place.private):
        raise UsageError(
            f"the files of {place.path} are on this machine, and a cluster behind {address} does not see it",
            hint="put them where the cluster reads, such as s3://bucket/photos, or start on a machine of the cluster",
            evidence={"path": place.path, "address": address},
        )


def _take(
    part: Part,
    numbers: Sequence[int],
    images: Sequence[ImageFile],
    cache: FeatureCache,
    keys: list[bytes | None],
    failures: dict[int, Failure],
    state: RayProgress,
) -> None:
    """Take in the answer for a block of images."""
    found, rows = part.arrays
    refused = {numbers[i]: reason for i, reason in part.result["failures"]}
    for number, key in zip(numbers, found, strict=True):
        if number in refused:
            failures[number] = Failure(images[number].name, refused[number])
        else:
            keys[number] = key.tobytes()
    # another worker may have met the same image under another name
    fresh = {found[i].tobytes(): j for j, i in enumerate(part.result["fresh"])}
    fresh = {key: j for key, j in fresh.items() if key not in cache}
    if fresh:
        cache.add(list(fresh), rows[list(fresh.values())])
    state.computed += len(fresh)
    state.cached += len(numbers) - len(refused) - len(fresh)
    state.done += len(numbers)
    state.workers[part.host, part.pid] += len(numbers)


def _spool(
    images: Sequence[ImageFile], place: Place, folder: Path, failures: dict[int, Failure]
) -> tuple[list[int], list[str]]:
    """Copy what only this process sees to files; those that cannot be read are failures already."""
    numbers, paths = [], []
    for number, image in enumerate(images):
        try:
            data = place.read(image.path)
        except EnvironmentFailure:
            raise
        except TfinspectError as error:
            failures[number] = Failure(image.name, error.message)
            continue
        path = folder / str(number)
        path.write_bytes(data)
        numbers.append(number)
        paths.append(str(path))
    return numbers, paths


def _model_files(job: Job) -> list[str]:
    """The ONNX file, and what weights stand beside it."""
    path = Path(job.model)
    return [str(path), *(str(p) for p in sorted(path.parent.glob("*")) if p.name.startswith(f"{path.name}."))]


def _sorted_keys(cache: FeatureCache) -> Array:
    import numpy as np

    return np.frombuffer(b"".join(sorted(cache.keys())), np.uint8).reshape(-1, KEY_NBYTES)


class _Known(Sequence[bytes]):
    """Sorted keys, where they lie; a hundred million of them would take ten times the memory as a set."""

    def __init__(self, keys: Array) -> None:
        self._keys = keys

    def __len__(self) -> int:
        return len(self._keys)

    def __getitem__(self, i: Any) -> Any:  # noqa: ANN401 - an index only
        return self._keys[i].tobytes()

    def __contains__(self, key: object) -> bool:
        if not isinstance(key, bytes):
            return False
        place = bisect_left(self, key)
        return place < len(self) and bool(self[place] == key)


def _job_json(job: Job) -> dict[str, Any]:
    return {**asdict(job), "model": Path(job.model).name, "recipe": job.recipe.to_json()}


def _job_of(found: Mapping[str, Any]) -> Job:
    recipe = Recipe.from_json(found["recipe"], "the job")
    return replace(Job(**{**found, "recipe": recipe}), recipe=recipe)


def reader(params: Mapping[str, Any]) -> Callable[[str], bytes]:
    """Return what reads an image, on a worker."""
    return Place(params["folder"]).read


def computer(
    params: Mapping[str, Any], arrays: Sequence[Array], run: RunModel
) -> Callable[[Items], tuple[Any, list[Array]]]:
    """Return what computes the features of a block of images, on a worker.

    Its answer: `failures`, places and reasons; `fresh`, places of the rows; arrays of content keys and of rows.

    Raises:
        RuntimeUnavailableError: what decodes images is not installed there.
    """
    for module, package in _DECODERS.items():
        if importlib.util.find_spec(module) is None:
            raise RuntimeUnavailableError(
                f"decoding images needs {package}, which a Ray worker does not have",
                hint="on every machine: pip install 'tfinspect[ray]'",
                evidence={"package": package},
            )
    job = _job_of(params["job"])
    worker = Worker(job, lambda values: run(job.model, job.output, {job.input: values}))
    known = _Known(arrays[0])
    return lambda items: _block(items, worker, known)


def _block(items: Items, worker: Worker, known: _Known) -> tuple[Any, list[Array]]:
    import numpy as np

    keys = np.zeros((len(items), KEY_NBYTES), np.uint8)
    failures: list[tuple[int, str]] = []
    fresh: dict[bytes, tuple[int, Prepared]] = {}
    for i, (name, read) in enumerate(items):
        try:
            data = read()
        except EnvironmentFailure:
            raise  # the place cannot be reached: that is no image's fault
        except TfinspectError as error:
            failures.append((i, error.message))
            continue
        key = content_key(data)
        keys[i] = np.frombuffer(key, np.uint8)
        if key in fresh or key in known:
            continue
        found = worker.prepare(name, data)
        if isinstance(found, Failure):
            failures.append((i, found.reason))
        else:
            fresh[key] = i, found
    rows = worker.compute([image for _, image in fresh.values()])
    features = np.stack([row.features for row in rows]) if rows else np.empty((0, 0), np.float32)
    return {"failures": failures, "fresh": [i for i, _ in fresh.values()]}, [keys, features]
