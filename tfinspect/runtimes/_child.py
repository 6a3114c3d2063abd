"""The other side of `_process`: `python -m tfinspect.runtimes._child MODULE REQUESTS REPLIES PARENT`.

MODULE has a function `load()`, called at once so that slow imports run before anyone asks, and a table METHODS of
functions `(params, arrays) -> (result, arrays)`. Runtimes print whatever they like: standard output and error are the
log, requests and replies have descriptors of their own.
"""

from __future__ import annotations

import ctypes
import gc
import importlib
import os
import resource
import signal
import sys
from typing import TYPE_CHECKING, Any, Protocol, cast

from tfinspect.runtimes._messages import ProtocolError, decode, encode
from tfinspect.runtimes._reports import report

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    import numpy.typing as npt

    Arrays = list[npt.NDArray[Any]]
    Method = Callable[[Mapping[str, Any], Arrays], tuple[Any, Arrays]]

_PR_SET_PDEATHSIG, _PR_SET_NO_NEW_PRIVS = 1, 38  # linux/prctl.h


class Served(Protocol):
    """What a served module has."""

    METHODS: Mapping[str, Method]

    def load(self) -> None:
        """Import the runtime."""


def main(module: str, requests: int, replies: int, parent: int) -> None:
    """Serve until the parent closes its end or dies."""
    _confine(parent)
    served = cast("Served", importlib.import_module(module))
    broken: Exception | None = None
    gc.disable()  # an import makes hundreds of thousands of objects that all stay
    try:
        served.load()
    except Exception as error:  # noqa: BLE001 - reported to the first call
        broken = error
    gc.freeze()
    gc.enable()
    while True:
        try:
            header, arrays = decode(lambda buffer: _read_into(requests, buffer))
        except (EOFError, ProtocolError):
            return
        if broken is not None:
            buffers = encode({"error": report(broken)})
        else:
            buffers = _answer(served.METHODS[header["method"]], header["params"], arrays)
        try:
            for buffer in buffers:
                _write(replies, buffer)
        except BrokenPipeError:
            return


def _answer(method: Method, params: Mapping[str, Any], arrays: Arrays) -> list[memoryview]:
    try:
        result, results = method(params, arrays)
        return encode({"result": result}, results)
    except Exception as error:  # noqa: BLE001 - every failure becomes an answer
        return encode({"error": report(error)})


def _confine(parent: int) -> None:
    """Die with the parent, leave no core dump of gigabytes, and never gain a privilege."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if sys.platform == "linux":
        libc = ctypes.CDLL(None, use_errno=True)
        libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    if os.getppid() != parent:  # it died before the signal was arranged
        sys.exit(1)


def _read_into(descriptor: int, buffer: memoryview) -> None:
    rest = buffer.cast("B")
    while rest:
        count = os.readv(descriptor, [rest])
        if count == 0:
            raise EOFError
        rest = rest[count:]


def _write(descriptor: int, buffer: memoryview) -> None:
    rest = buffer.cast("B")
    while rest:
        rest = rest[os.write(descriptor, rest) :]


if __name__ == "__main__":
    main(sys.argv[1], *map(int, sys.argv[2:5]))
