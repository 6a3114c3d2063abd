"""Work on many files spread over the machines of a Ray cluster, or over this one.

`RAY_ADDRESS` names a cluster; without it Ray is started here and ended again. Its processes, its words and its crashes
stay in a child process.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
import time
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Protocol

from tfinspect.errors import RuntimeFailedError, counted
from tfinspect.runtimes import _process
from tfinspect.runtimes._reports import revive

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    import numpy.typing as npt

    Array = npt.NDArray[Any]
    RunModel = Callable[[str, str, Mapping[str, Array]], Array]
    Items = Sequence[tuple[str, Callable[[], bytes]]]

ADDRESS_VARIABLE: Final = "RAY_ADDRESS"
CLIENT_SCHEME: Final = "ray://"
_START_SECONDS: Final = 300.0
_STOP_SECONDS: Final = 30.0
_MAX_FOLDER_CHARS: Final = 20
_PAUSES: Final = (0.1, 0.3, 1.0, 2.0)
_LOGS_READ, _LINES_KEPT = 4, 8


def _short_folder() -> str:
    """Return where Ray keeps its session: names of sockets are built on it, and those have 107 bytes."""
    usual = tempfile.gettempdir()
    return usual if len(usual) <= _MAX_FOLDER_CHARS else "/tmp"  # noqa: S108 - a folder of a random name is made there


def address() -> str:
    """Return where the cluster is that `RAY_ADDRESS` names; empty where Ray is to be started here."""
    found = os.environ.get(ADDRESS_VARIABLE, "")
    return "" if found == "local" else found


class Work(Protocol):
    """What the module has that the workers import by its name."""

    def reader(self, params: Mapping[str, Any]) -> Callable[[str], bytes]:
        """Return what reads a file by its path; what it raises of this program's errors belongs to that file alone."""

    def computer(
        self, params: Mapping[str, Any], arrays: Sequence[Array], run: RunModel
    ) -> Callable[[Items], tuple[Any, list[Array]]]:
        """Return what answers for a block of (name, what reads it).

        Args:
            params: as given to `spread`.
            arrays: likewise.
            run: runs a model file: its name, the output, the inputs.
        """


@dataclass(frozen=True, slots=True)
class Cluster:
    """Where the work is done.

    Attributes:
        ray: version of Ray.
        nodes: machines.
        cpus: their processors.
        workers: how many share the work.
        address: of the cluster; empty for one of our own.
    """

    ray: str
    nodes: int
    cpus: int
    workers: int
    address: str


@dataclass(frozen=True, slots=True)
class Part:
    """The answer for a block.

    Attributes:
        numbers: places of its items in what was given.
        result: JSON value.
        arrays: arrays.
        host: the machine that did it.
        pid: the process there.
    """

    numbers: tuple[int, ...]
    result: Any
    arrays: list[Array]
    host: str
    pid: int


class Spread:
    """Work under way; a context manager, left by whatever way, leaves nothing running.

    Args:
        items: (name, path) of each file.
        work: name of a module that is a `Work`; every worker imports it.
        params: JSON-serialisable, for the work.
        arrays: for the work; sent once to each machine.
        files: the model, sent likewise; a worker finds it under the same file name.
        workers: how many share the work at most; None: one a processor.
        block: files that go together.
        near: whether only this machine can read the files.
        time_limit: seconds without any answer after which it is given up.

    Raises:
        RuntimeUnavailableError: Ray is not installed.
    """

    def __init__(
        self,
        items: Sequence[tuple[str, str]],
        *,
        work: str,
        params: Mapping[str, object],
        arrays: Sequence[Array] = (),
        files: Sequence[str | os.PathLike[str]] = (),
        workers: int | None = None,
        block: int = 64,
        near: bool = True,
        time_limit: float = _process.TIME_LIMIT,
    ) -> None:
        self._child = _process.child("ray")
        self._time_limit = time_limit
        self._arrays = arrays
        self._total = len(items)
        self._params: dict[str, object] = {
            "names": [name for name, _ in items],
            "paths": [path for _, path in items],
            "work": work,
            "params": dict(params),
            "files": [os.path.abspath(path) for path in files],  # noqa: PTH100 - links stay links
            "workers": workers,
            "block": block,
            "near": near,
            "address": address() or None,
            "cpus": workers or len(os.sched_getaffinity(0)),
        }
        self._temporary = ""

    def __enter__(self) -> Cluster:
        """Join or start the cluster and begin.

        Raises:
            RuntimeFailedError: the cluster cannot be joined, or Ray not be started.
        """
        self._temporary = tempfile.mkdtemp(prefix=f"tfi-{os.getpid()}-", dir=_short_folder())
        try:
            params = {**self._params, "temporary": self._temporary}
            found, _ = self._child.call("start", params, self._arrays, timeout=_START_SECONDS)
        except BaseException:
            self._end()
            raise
        return Cluster(
            found["ray"], found["nodes"], found["cpus"], found["workers"], str(self._params["address"] or "")
        )

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        """Leave the cluster."""
        try:
            if kind is None:
                with contextlib.suppress(RuntimeFailedError):  # all answers are here; what does not end is killed
                    self._child.call("stop", {}, timeout=_STOP_SECONDS)
        finally:
            self._end()

    def _end(self) -> None:
        """Kill the child; Ray's processes, which are its children, go with it."""
        self._child.stop()
        for pause in _PAUSES:  # workers end a moment after the rest, and may write still
            shutil.rmtree(self._temporary, ignore_errors=True)
            if not Path(self._temporary).exists():
                return
            time.sleep(pause)

    def _last_words(self) -> list[str]:
        """Return the last lines that workers of a Ray of our own wrote."""
        logs = sorted(Path(self._temporary).glob("session_*/logs/worker-*.err"), key=lambda path: path.stat().st_mtime)
        lines = [line for path in logs[-_LOGS_READ:] for line in path.read_text(errors="replace").splitlines()]
        return [line for line in lines if line.strip() and not line.startswith(":")][-_LINES_KEPT:]

    def parts(self) -> Iterator[Part]:
        """Yield the answers as they come; each item is answered exactly once.

        Raises:
            RuntimeFailedError: Ray or a worker gave up, or there was no answer for too long.
            TfinspectError: whatever the work raised of this program's own errors.
        """
        wanted = {name: version(name) for name in ("tfinspect", "onnxruntime")}
        left = set(range(self._total))
        last = time.monotonic()
        while True:
            try:
                found, arrays = self._child.call("following", {})
            except RuntimeFailedError as error:
                if not error.details:
                    error.details = tuple(self._last_words())
                raise
            if found["done"]:
                break
            part = found["part"]
            if part is None:
                if time.monotonic() - last > self._time_limit:
                    raise RuntimeFailedError(
                        f"Ray has given no answer for {self._time_limit:g} s",
                        details=self._last_words(),
                        evidence={"runtime": "ray", "seconds": self._time_limit},
                    )
                continue
            last = time.monotonic()
            worker = part["worker"]
            if "error" in part:
                raise revive(part["error"], "a Ray worker", f" on {worker['host']}")
            _check_versions(worker, wanted)
            numbers = tuple(part["numbers"])
            if not left.issuperset(numbers):
                raise RuntimeFailedError("Ray answered for a file twice", evidence={"runtime": "ray"})
            left.difference_update(numbers)
            yield Part(numbers, part["result"], arrays, worker["host"], worker["pid"])
        if left:
            raise RuntimeFailedError(
                f"Ray lost {counted(len(left), 'file')} of {self._total:,}", evidence={"runtime": "ray"}
            )


def _check_versions(worker: Mapping[str, Any], wanted: Mapping[str, str]) -> None:
    for name, here in wanted.items():
        there = worker["versions"].get(name)
        if there != here:
            raise RuntimeFailedError(
                f"the Ray worker on {worker['host']} has {name} {there}, and this machine has {here}",
                hint="the same versions everywhere give the same features: pip install 'tfinspect[ray]'",
                evidence={"host": worker["host"], "package": name, "there": there, "here": here},
            )
