"""What the `ray` child serves: work spread over a Ray cluster, its answers handed on as they come.

The child is the cluster's driver. A row that goes to Ray is a block of items; a row that comes back is one message of
`_messages`, so that nothing but plain bytes travels. Each worker is an actor that was given the files of the model
through Ray's object store and loads them once.
"""

from __future__ import annotations

import functools
import importlib
import os
import queue
import socket
import tempfile
import threading
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from tfinspect.errors import InputError, RuntimeFailedError, TfinspectError
from tfinspect.runtimes._messages import decode, encode
from tfinspect.runtimes._pieces import run_in_pieces
from tfinspect.runtimes._reports import message_lines, report

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    import numpy.typing as npt

    Array = npt.NDArray[Any]

_PARTS_AHEAD: Final = 4
_WAIT_SECONDS: Final = 1.0
_STORE_NBYTES: Final = 128 << 20  # of a Ray of our own: what is under way, a few blocks a worker
_FATAL: Final = 4  # log level: errors come as exceptions
_MODEL_SUFFIX: Final = ".onnx"
_HINT: Final = "RAY_ADDRESS names the cluster; unset it to use this machine alone"
_KNOCK_SECONDS: Final = 10.0
_DEATHS: Final = frozenset({"ActorDiedError", "ActorUnavailableError", "RayActorError", "WorkerCrashedError"})
_RESTARTS: Final = 16
_ATTEMPTS: Final = 3
_ITEM_COLUMNS: Final = ("number", "name", "path")


def load() -> None:
    """Import Ray."""
    import ray.data  # noqa: F401 - so that the first call need not


class _Run:
    """One spread of work; there is one at a time."""

    def __init__(self) -> None:
        self.parts: queue.Queue[bytes | BaseException | None] = queue.Queue(_PARTS_AHEAD)
        self.held: list[Any] = []  # references that must live as long as a worker may be started again


_runs: list[_Run] = []


def start(params: Mapping[str, Any], arrays: list[Array]) -> tuple[Any, list[Array]]:
    """Join or start a cluster and begin; what it is made of."""
    import ray

    _join(params["address"], params["cpus"], params["temporary"])
    nodes = [node for node in ray.nodes() if node["Alive"]]
    cpus = sum(int(node["Resources"].get("CPU", 0)) for node in nodes)
    if cpus < 1:
        raise RuntimeFailedError("the Ray cluster has no processor to give", evidence={"nodes": len(nodes)})
    blocks = -(-len(params["names"]) // params["block"])
    workers = max(1, min(params["workers"] or cpus, cpus, blocks))
    run = _Run()
    _runs[:] = [run]
    dataset = _dataset(run, params, arrays, workers, several=len(nodes) > 1)
    threading.Thread(target=_consume, args=(dataset, run.parts), daemon=True).start()
    return {"ray": ray.__version__, "nodes": len(nodes), "cpus": cpus, "workers": workers}, []


def _join(address: str | None, cpus: int, temporary: str) -> None:
    import ray

    if address:
        _knock(address)
    quiet = {"log_to_driver": False, "logging_level": 50}
    try:
        if address:
            ray.init(address=address, **quiet)
        else:
            ray.init(
                address="local", num_cpus=cpus, num_gpus=0, include_dashboard=False, object_store_memory=_STORE_NBYTES,
                _node_ip_address="127.0.0.1", _temp_dir=temporary, **quiet,
            )  # fmt: skip
    except Exception as error:  # noqa: BLE001 - Ray's own have no base of their own
        what = f"no Ray cluster can be joined at {address}" if address else "Ray cannot be started"
        lines = message_lines(error)
        raise RuntimeFailedError(
            f"{what}: {lines[0]}",
            details=lines[1:4],
            hint=_HINT if address else None,
            evidence={"address": address},
        ) from None


def _knock(address: str) -> None:
    """Look whether anybody is there at all; Ray itself would try for a quarter of an hour."""
    host, colon, port = address.rpartition("://")[2].rpartition(":")
    if not (colon and port.isascii() and port.isdigit()):
        return  # `auto`
    try:
        socket.create_connection((host.strip("[]"), int(port)), _KNOCK_SECONDS).close()
    except (OSError, OverflowError) as error:
        reason = str(getattr(error, "strerror", "") or error).lower()
        raise RuntimeFailedError(
            f"no Ray cluster answers at {address}: {reason}", hint=_HINT, evidence={"address": address}
        ) from None


def _dataset(run: _Run, params: Mapping[str, Any], arrays: list[Array], workers: int, *, several: bool) -> Any:  # noqa: ANN401 - Ray's
    import pyarrow as pa
    import ray

    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = context.print_on_execution_start = False
    context.execution_options.preserve_order = False  # items carry their numbers
    columns = (range(len(params["names"])), params["names"], params["paths"])
    size = params["block"]
    tables = [
        pa.table({name: column[at : at + size] for name, column in zip(_ITEM_COLUMNS, columns, strict=True)})
        for at in range(0, len(params["names"]), size)
    ]
    dataset = ray.data.from_arrow(tables)
    if params["near"] and several:
        # only this machine may have the files: read here, compute anywhere
        here = {"ray.io/node-id": ray.get_runtime_context().get_node_id()}
        dataset = dataset.map_batches(
            _read_block,
            fn_kwargs={"work": params["work"], "params": params["params"]},
            batch_size=None,
            num_cpus=0,
            label_selector=here,
            compute=ray.data.TaskPoolStrategy(size=2),
        )
    files = ray.put({Path(path).name: Path(path).read_bytes() for path in params["files"]})
    given = ray.put(arrays)
    run.held += [files, given]
    return dataset.map_batches(
        _Actor,
        fn_constructor_kwargs={"work": params["work"], "params": params["params"], "files": [files], "arrays": [given]},
        batch_size=None,
        num_cpus=1,
        compute=ray.data.ActorPoolStrategy(size=workers),
        ray_remote_args_fn=_restarts,
    )


def _restarts() -> dict[str, Any]:
    return {"max_restarts": _RESTARTS, "max_task_retries": _ATTEMPTS}


def _consume(dataset: Any, parts: queue.Queue[bytes | BaseException | None]) -> None:  # noqa: ANN401 - Ray's
    try:
        for row in dataset.iter_rows():
            parts.put(row["part"])
        parts.put(None)
    except BaseException as error:  # noqa: BLE001 - handed over, raised in the call that asks
        parts.put(error)


def following(_: Mapping[str, Any], __: list[Array]) -> tuple[Any, list[Array]]:
    """The next answer of a worker, none if there is none yet; `done` after the last."""
    try:
        part = _runs[0].parts.get(timeout=_WAIT_SECONDS)
    except queue.Empty:
        return {"done": False, "part": None}, []
    if part is None:
        return {"done": True, "part": None}, []
    if isinstance(part, BaseException):
        raise _refusal(part)
    header, arrays = decode(_reader_of(part))
    return {"done": False, "part": header}, arrays


def _refusal(error: BaseException) -> TfinspectError:
    """What Ray raised, without its traces of our own lines and of Ray's."""
    lines = [line for line in str(error).splitlines() if line.strip() and not line.startswith((" ", "\t", "\x1b"))]
    first = lines[0].strip() if lines else type(error).__name__
    last = lines[-1].strip() if lines else ""
    evidence = {"runtime": "ray", "type": type(error).__name__, "words": first[:300]}
    if type(error).__name__ in _DEATHS:
        return RuntimeFailedError(
            "a Ray worker died, and so did those that were started in its place", evidence=evidence
        )
    return RuntimeFailedError(
        f"Ray gave up: {type(error).__name__}: {first[:300]}",
        details=[last[:300]] if last and last != first else [],
        evidence=evidence,
    )


def _reader_of(data: bytes) -> Callable[[memoryview], None]:
    rest = memoryview(data)

    def read_into(buffer: memoryview) -> None:
        nonlocal rest
        buffer[:] = rest[: len(buffer)]
        rest = rest[len(buffer) :]

    return read_into


def stop(_: Mapping[str, Any], __: list[Array]) -> tuple[Any, list[Array]]:
    """Leave the cluster; one that was started here ends."""
    import ray

    _runs.clear()
    ray.shutdown()
    return {}, []


def _work(name: str) -> Any:  # noqa: ANN401 - a module with `reader` and `computer`; see `ray_engine.Work`
    return importlib.import_module(name)


def _read_block(batch: Mapping[str, Array], work: str, params: Mapping[str, Any]) -> dict[str, Array]:
    """Add to each item the bytes of its file, or why they cannot be read."""
    read: Callable[[str], bytes] = _work(work).reader(params)
    data, reasons = [], []
    for path in batch["path"].tolist():
        try:
            data.append(read(path))
            reasons.append("")
        except TfinspectError as error:
            data.append(b"")
            reasons.append(error.message)
    return {**batch, "data": _objects(data), "reason": _objects(reasons)}


class _Actor:
    """A worker: the model's files and the work, from the moment it starts until the last block."""

    def __init__(self, work: str, params: Mapping[str, Any], files: Sequence[Any], arrays: Sequence[Any]) -> None:
        import ray

        module = _work(work)
        self._refusal: dict[str, Any] | None = None
        self._sessions: dict[str, Any] = {}
        try:
            with tempfile.TemporaryDirectory(prefix="tfinspect-ray-") as folder:
                self._load(Path(folder), ray.get(files[0]))
            self._read: Callable[[str], bytes] = module.reader(params)
            self._compute = module.computer(params, ray.get(arrays[0]), self._run_model)
        except Exception as error:  # noqa: BLE001 - the answer to every block: an actor that cannot start would be tried for ever
            self._refusal = report(error)
        self._about = {
            "host": socket.gethostname(),
            "pid": os.getpid(),
            "versions": {name: version(name) for name in ("tfinspect", "onnxruntime")},
        }

    def _load(self, folder: Path, files: Mapping[str, bytes]) -> None:
        """Load the models; what stands beside them are their weights."""
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.log_severity_level = _FATAL
        # one of several workers on a machine has one processor for itself
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        for name, data in files.items():
            (folder / name).write_bytes(data)
        for name in files:
            if name.endswith(_MODEL_SUFFIX):
                self._sessions[name] = onnxruntime.InferenceSession(
                    str(folder / name), options, providers=["CPUExecutionProvider"]
                )

    def _run_model(self, name: str, output: str, feeds: Mapping[str, Array]) -> Array:
        run = functools.partial(self._sessions[name].run, [output])
        found: Array = run_in_pieces(run, dict(feeds), at_once=1)[0]
        return found

    def __call__(self, batch: Mapping[str, Array]) -> dict[str, Array]:
        """Do a block; whatever fails becomes an answer, and ends it all over there."""
        numbers = batch["number"].tolist()
        header: dict[str, Any] = {"worker": self._about, "numbers": numbers}
        if self._refusal is not None:
            return _row(encode({**header, "error": self._refusal}))
        try:
            result, arrays = self._compute(list(self._items(batch)))
            pieces = encode({**header, "result": result}, arrays)
        except Exception as error:  # noqa: BLE001 - a report of it is the answer
            pieces = encode({**header, "error": report(error)})
        return _row(pieces)

    def _items(self, batch: Mapping[str, Array]) -> Iterator[tuple[str, Callable[[], bytes]]]:
        for i, (name, path) in enumerate(zip(batch["name"].tolist(), batch["path"].tolist(), strict=True)):
            if "data" in batch:
                yield name, _held(batch["data"][i], batch["reason"][i], path)
            else:
                yield name, _from(self._read, path)


def _row(pieces: Sequence[memoryview]) -> dict[str, Array]:
    return {"part": _objects([b"".join(pieces)])}


def _objects(values: Sequence[object]) -> Array:
    """An array of Python objects; NumPy would make one of bytes, and cut zeros off."""
    found = np.empty(len(values), object)
    found[:] = values
    return found


def _from(read: Callable[[str], bytes], path: str) -> Callable[[], bytes]:
    return lambda: read(path)


def _held(data: bytes, reason: str, path: str) -> Callable[[], bytes]:
    def give() -> bytes:
        if reason:
            raise InputError(reason, evidence={"path": path})
        return data

    return give


METHODS = {"start": start, "following": following, "stop": stop}
