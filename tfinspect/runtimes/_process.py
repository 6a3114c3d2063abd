"""Child processes: one of a kind, started when first needed or warmed up before, reused, and never outliving us."""

from __future__ import annotations

import atexit
import contextlib
import dataclasses
import fcntl
import importlib.util
import os
import queue
import re
import select
import signal
import subprocess
import sys
import tempfile
import threading
import time
from concurrent.futures import Future
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tfinspect.errors import RuntimeFailedError, RuntimeUnavailableError
from tfinspect.runtimes._messages import ProtocolError, decode, encode
from tfinspect.runtimes._reports import revive

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    import numpy.typing as npt

TIME_LIMIT = 600.0
"""Seconds a call may take unless its caller says otherwise; the start of the child counts."""

_LAST_LINES = 8
_LOG_TAIL_NBYTES = 64 << 10
_PIPE_NBYTES = 1 << 20  # the most an unprivileged process may ask for by default
# absl's and TensorFlow's progress and warning lines, Python warnings, and what follows a fatal signal
_NOISE = re.compile(
    rb"^(\s*$|\[?\d{4}-\d\d-\d\d [\d:,.]+(\t(INFO|WARNING)| [IW]) |WARNING: All log messages before absl|"
    rb"[IW]0000 |E0000 .*cuda|\d{4}-\d\d-\d\d [\d:.]+: [IW] |"
    rb".*[a-zA-Z]+Warning: |\s+warnings\.warn|To enable the following instructions|Skipping registering GPU)"
)


@dataclasses.dataclass(frozen=True, slots=True)
class Kind:
    """What a child process is for.

    Attributes:
        name: the runtime's name.
        module: what the child imports and serves (see `_child`).
        packages: what must be installed, by the name it is imported under.
        purpose: what a person wanted who finds a package missing.
        environment: variables set in the child beside the usual ones.
        extra: what pip installs it with.
    """

    name: str
    module: str
    packages: tuple[str, ...]
    purpose: str
    environment: tuple[tuple[str, str], ...] = ()
    extra: str = "export"


# TensorFlow reads these when it is loaded, so what lacks oneDNN and threads is a process of its own
_PLAIN = (("TF_ENABLE_ONEDNN_OPTS", "0"), ("TF_NUM_INTRAOP_THREADS", "1"))
_QUIET_RAY = (
    ("RAY_USAGE_STATS_ENABLED", "0"),
    ("RAY_DATA_DISABLE_PROGRESS_BARS", "1"),
    ("RAY_DISABLE_IMPORT_WARNING", "1"),
    ("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0"),
)
# a keras.json in the home folder may turn the order of dimensions round
_KERAS = (("KERAS_BACKEND", "tensorflow"), ("KERAS_HOME", "/dev/null/keras"), ("TF_USE_LEGACY_KERAS", "0"))
_TENSORFLOW = Kind("tensorflow", "tfinspect.runtimes._tensorflow_child", ("tensorflow",), "running TensorFlow models")
KINDS = {
    "tensorflow": _TENSORFLOW,
    "tensorflow-plain": dataclasses.replace(_TENSORFLOW, environment=_PLAIN),
    "onnxruntime": Kind(
        "onnxruntime", "tfinspect.runtimes._onnx_child", ("onnxruntime", "onnx"), "running ONNX models"
    ),
    "tf2onnx": Kind(
        "tf2onnx", "tfinspect.runtimes._tf2onnx_child", ("tf2onnx", "tensorflow", "onnx"), "ONNX export", _PLAIN
    ),
    "ray": Kind(
        "ray", "tfinspect.runtimes._ray_child", ("ray", "pyarrow", "onnxruntime"), "--engine ray", _QUIET_RAY, "ray"
    ),
    "keras": Kind("keras", "tfinspect.runtimes._keras_child", ("tensorflow", "keras"), "building Keras models", _KERAS),
    "tf-keras": Kind(
        "tf-keras",
        "tfinspect.runtimes._keras_child",
        ("tensorflow", "tf_keras"),
        "building models of Keras 2",
        (*_KERAS, ("TFINSPECT_KERAS", "tf_keras")),
    ),
    "trainer": Kind("trainer", "tfinspect.runtimes._train_child", ("tensorflow",), "fine-tuning"),
    "unfreeze": Kind("unfreeze", "tfinspect.runtimes._unfreeze_child", ("tensorflow",), "unfreezing"),
}


def require(kind: Kind) -> None:
    """Look whether the packages of a kind are installed, without importing them.

    Raises:
        RuntimeUnavailableError: one is missing.
    """
    for package in kind.packages:
        if not _is_installed(package):
            raise RuntimeUnavailableError(
                f"{kind.purpose} needs {package}, which is not installed",
                hint=f"pip install 'tfinspect[{kind.extra}]'",
                evidence={"package": package},
            )


def _is_installed(package: str) -> bool:
    try:
        return importlib.util.find_spec(package) is not None
    except (ImportError, ValueError):  # an import hook forbids it, or None stands in sys.modules in its place
        return False


class Child:
    """A process that answers calls, one at a time. Calls from several threads wait for each other."""

    def __init__(self, kind: Kind) -> None:
        require(kind)
        self.kind = kind
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._log = -1
        self._tail: list[str] = []
        self._requests = self._replies = -1

    def start(self) -> None:
        """Start the process and its imports without waiting for them."""
        with self._lock:
            self._start()

    def call(
        self,
        method: str,
        params: Mapping[str, object],
        arrays: Sequence[npt.NDArray[Any]] = (),
        *,
        subject: str = "",
        timeout: float = TIME_LIMIT,
    ) -> tuple[Any, list[npt.NDArray[Any]]]:
        """Call a method of the child and wait for its answer.

        Args:
            method: a key of the child's METHODS.
            params: JSON-serialisable arguments.
            arrays: array arguments.
            subject: the file this is about, for messages.
            timeout: seconds after which the child is killed.

        Returns:
            What the method returned: a JSON value and arrays.

        Raises:
            RuntimeFailedError: the runtime refused, died or took too long.
            TfinspectError: whatever the child raised of this program's own errors.
        """
        with self._lock:
            self._start()
            deadline = time.monotonic() + timeout
            about = f" on {subject}" if subject else ""
            try:
                self._write(encode({"method": method, "params": dict(params)}, arrays), deadline)
                header, results = decode(lambda buffer: self._read_into(buffer, deadline))
            except TimeoutError:
                self._kill()
                raise RuntimeFailedError(
                    f"{self.kind.name} did not answer within {timeout:g} s{about} and was stopped",
                    details=self._tail,
                    evidence={"runtime": self.kind.name, "seconds": timeout},
                ) from None
            except (EOFError, BrokenPipeError, ProtocolError):
                status = self._kill()
                raise RuntimeFailedError(
                    f"{self.kind.name} died{about}: {_describe_exit(status)}",
                    details=self._tail,
                    evidence={"runtime": self.kind.name, "exit": status},
                ) from None
            except BaseException:  # Ctrl-C above all: a reply that nobody reads would answer the next call
                self._kill()
                raise
        error = header.get("error")
        if error is not None:
            raise revive(error, self.kind.name, about)
        return header["result"], results

    def stop(self) -> None:
        """Kill the process, if there is one. The next call starts another."""
        process = self._process
        if process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)  # without the lock: a call in another thread sees its pipe break
        with self._lock:
            self._kill()

    @property
    def pid(self) -> int | None:
        """Process id, None while it is not running."""
        process = self._process
        return process.pid if process is not None and process.poll() is None else None

    def _start(self) -> None:
        if self._process is not None:
            if self._process.poll() is None:
                # only what this call says may end up in its error
                os.ftruncate(self._log, 0)
                return
            self._kill()
        request_end, self._requests = os.pipe()
        self._replies, reply_end = os.pipe()
        for end in (self._requests, self._replies):
            os.set_blocking(end, False)
            with contextlib.suppress(OSError):  # the user's pipe quota is used up: slower, not wrong
                fcntl.fcntl(end, fcntl.F_SETPIPE_SZ, _PIPE_NBYTES)
        command = [sys.executable, "-P", "-m", "tfinspect.runtimes._child", self.kind.module]
        command += [str(request_end), str(reply_end), str(os.getpid())]
        with tempfile.TemporaryFile() as file:
            self._log = os.dup(file.fileno())
        fcntl.fcntl(self._log, fcntl.F_SETFL, os.O_APPEND)  # so that emptying it between calls works
        try:
            self._process = _on_spawner(
                lambda: subprocess.Popen(  # noqa: S603 - our own interpreter and our own module
                    command,
                    stdin=subprocess.DEVNULL,
                    stdout=self._log,
                    stderr=self._log,
                    pass_fds=(request_end, reply_end),
                    env={**_environment(), **dict(self.kind.environment)},
                    cwd="/",
                    start_new_session=True,  # Ctrl-C reaches us alone; we then kill it
                )
            )
        except OSError as error:
            self._close()
            raise RuntimeFailedError(f"{self.kind.name} cannot be started: {error.strerror}") from error
        finally:
            os.close(request_end)
            os.close(reply_end)

    def _kill(self) -> int:
        process = self._process
        if process is None:
            return 0
        self._process = None
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        status = process.wait()
        self._tail = self._last_lines()
        self._close()
        return status

    def _close(self) -> None:
        for descriptor in (self._requests, self._replies, self._log):
            os.close(descriptor)

    def _write(self, buffers: Sequence[memoryview], deadline: float) -> None:
        poll = select.poll()
        poll.register(self._requests, select.POLLOUT)
        for buffer in buffers:
            rest = buffer.cast("B")
            while rest:
                _wait(poll, deadline)
                rest = rest[os.write(self._requests, rest) :]

    def _read_into(self, buffer: memoryview, deadline: float) -> None:
        poll = select.poll()
        poll.register(self._replies, select.POLLIN)
        rest = buffer.cast("B")
        while rest:
            _wait(poll, deadline)
            count = os.readv(self._replies, [rest])
            if count == 0:
                raise EOFError
            rest = rest[count:]

    def _last_lines(self) -> list[str]:
        size = os.fstat(self._log).st_size
        data = os.pread(self._log, _LOG_TAIL_NBYTES, max(0, size - _LOG_TAIL_NBYTES))
        lines = [line for line in data.splitlines() if not _NOISE.match(line)]
        return [line.decode("utf-8", "replace").rstrip() for line in lines[-_LAST_LINES:]]


def _wait(poll: select.poll, deadline: float) -> None:
    # a pipe that was hung up reports it here too, and then read or write says so
    if not poll.poll(max(0.0, deadline - time.monotonic()) * 1000):
        raise TimeoutError


def _environment() -> dict[str, str]:
    """The child's environment: our module search path without the current folder, quiet runtimes, no GPU."""
    home = str(Path(__file__).resolve().parents[2])
    here = os.path.realpath(".")
    paths = [os.path.realpath(p or ".") for p in sys.path]
    # a model's folder may hold a tensorflow.py of its own: never import from the current folder unless we live there
    paths = [p for p in paths if p != here or p == home]
    if home not in paths:
        paths.insert(0, home)
    return {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(paths),
        "PYTHONUNBUFFERED": "1",
        "TF_CPP_MIN_LOG_LEVEL": "1",  # errors and warnings stay in the log, of which only last lines are shown
        "CUDA_VISIBLE_DEVICES": "-1",
        "TF2_BEHAVIOR": "1",
    }


def _describe_exit(status: int) -> str:
    if status >= 0:
        return f"exit status {status}"
    name = signal.Signals(-status).name
    if -status == signal.SIGKILL:
        return f"killed by {name}, which is what the kernel sends where memory runs out"
    return f"killed by {name}"


class _Spawner:
    """A thread that starts all children.

    Linux sends the parent-death signal when the *thread* that started the child ends, so it must be one that lives as
    long as the process does.
    """

    def __init__(self) -> None:
        self.pid = os.getpid()
        self._queue: queue.SimpleQueue[tuple[Callable[[], Any], Future[Any]]] = queue.SimpleQueue()
        threading.Thread(target=self._serve, name="tfinspect-spawner", daemon=True).start()

    def submit(self, start: Callable[[], Any]) -> Future[Any]:
        future: Future[Any] = Future()
        self._queue.put((start, future))
        return future

    def _serve(self) -> None:
        while True:
            start, future = self._queue.get()
            try:
                future.set_result(start())
            except BaseException as error:  # noqa: BLE001 - handed over, raised in the thread that asked
                future.set_exception(error)


_pool_lock = threading.Lock()
_pool: dict[str, Child] = {}
_spawner: _Spawner | None = None
_owner = os.getpid()


def _on_spawner(start: Callable[[], Any]) -> Any:  # noqa: ANN401 - whatever `start` returns
    global _spawner  # noqa: PLW0603 - one a process
    with _pool_lock:
        if _spawner is None or _spawner.pid != os.getpid():
            _spawner = _Spawner()
        spawner = _spawner
    return spawner.submit(start).result()


def child(name: str) -> Child:
    """Return the child of that kind, which need not be running yet.

    Raises:
        RuntimeUnavailableError: a package it needs is not installed.
    """
    global _owner  # noqa: PLW0603 - one a process
    with _pool_lock:
        if _owner != os.getpid():  # after a fork the children are still those of our parent
            _pool.clear()
            _owner = os.getpid()
        if name not in _pool:
            _pool[name] = Child(KINDS[name])
        return _pool[name]


def plain_tensorflow() -> str:
    """Return the kind of child that runs TensorFlow without oneDNN and threads.

    A converter that runs already has loaded TensorFlow that way; a second one would cost seconds and memory.
    """
    with _pool_lock:
        converter = _pool.get("tf2onnx")
    return "tf2onnx" if converter is not None and converter.pid is not None else "tensorflow-plain"


def warm(*names: str) -> None:
    """Start children and their imports without waiting, so that slow imports overlap.

    Args:
        names: keys of KINDS: "tensorflow", "tensorflow-plain" (its "plain" variant), "onnxruntime", "tf2onnx".

    Raises:
        RuntimeUnavailableError: a package one of them needs is not installed.
    """
    for name in names:
        child(name).start()


def shutdown() -> None:
    """Kill all children. Called at exit; later calls start new ones."""
    with _pool_lock:
        if _owner != os.getpid():
            return
        children = list(_pool.values())
        _pool.clear()
    for each in children:
        each.stop()


atexit.register(shutdown)
