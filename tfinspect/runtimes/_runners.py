"""Models loaded in child processes, seen from here."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, Self

from tfinspect.errors import FileMissingError
from tfinspect.ir.dtypes import DType
from tfinspect.ir.refs import TensorRef
from tfinspect.ir.signature import TensorSpec
from tfinspect.runtimes import _process

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from types import TracebackType

    import numpy.typing as npt


_LARGE_NBYTES = 64 << 20


class ChildRunner:
    """A `Runner` whose model lives in a child process.

    The child keeps what it loaded, so a second runner of the same unchanged file starts at once; and it is started
    again if it has died, so a runner never goes stale.
    """

    def __init__(self, kind: str, path: str | os.PathLike[str], **model: object) -> None:
        self._kind = kind
        self.path = os.fspath(path)
        self._model: dict[str, object] = {**model, "path": os.path.abspath(path)}  # noqa: PTH100 - links stay links
        self._described: dict[str, Any] | None = None
        self.time_limit = _process.TIME_LIMIT
        """Seconds a call may take."""
        self.notes: tuple[str, ...] = ()
        """What was done otherwise than usual to get the model to run, for the user."""
        _process.require(_process.KINDS[kind])

    @property
    def runtime(self) -> str:
        """Name and version, e.g. `tensorflow 2.21.0`."""
        return str(self._describe()["runtime"])

    @property
    def inputs(self) -> tuple[TensorSpec, ...]:
        """What the loaded model says it takes; `key` is its exact name for it where it has keys of its own."""
        return tuple(_spec(entry) for entry in self._describe()["inputs"])

    @property
    def outputs(self) -> tuple[TensorSpec, ...]:
        """What the loaded model says it gives."""
        return tuple(_spec(entry) for entry in self._describe()["outputs"])

    def types(self, names: Sequence[str]) -> dict[str, TensorSpec]:
        """Return dtype and static shape of tensors, by name.

        Raises:
            NameNotFoundError: one is not in the model.
            RuntimeFailedError: the runtime refused or died.
        """
        found, _ = self._call("types", {"names": list(names)})
        return {name: _spec([name, None, number, shape]) for name, (number, shape) in zip(names, found, strict=True)}

    def run(
        self, fetches: Sequence[str], feeds: Mapping[str, npt.NDArray[Any]], *, variant: str = "default"
    ) -> list[npt.NDArray[Any]]:
        """Run once.

        Args:
            fetches: tensors, in the runtime's own names (signature keys for a SavedModel); inner tensors too.
            feeds: values by tensor name. In TensorFlow any tensor may be fed, a constant included.
            variant: "default"; "plain": graph optimisation and oneDNN off and one thread, to measure the runtime's own
                noise; or "shared": a batch of things that do not depend on each other, which may be run in pieces, the
                processors left to others while it waits.

        Returns:
            One array a fetch; strings as `object` arrays of `bytes`.

        Raises:
            FileMissingError: nothing stands under the path.
            NameNotFoundError: a tensor is not in the model.
            RuntimeFailedError: the runtime refused or died.
        """
        params = {"fetches": list(fetches), "feeds": list(feeds), "variant": variant}
        kind = self._kind
        if variant == "plain" and kind == "tensorflow":
            kind = _process.plain_tensorflow()
            if _nbytes(self.path) > _LARGE_NBYTES:  # two processes need not hold it at once
                _process.child(self._kind).stop()
        result, arrays = self._call("run", params, list(feeds.values()), kind=kind)
        self.notes = tuple(result["notes"])
        return arrays

    def load(self, *, variant: str = "default") -> None:
        """Load the model now rather than with the first run.

        Args:
            variant: as in `run`.

        Raises:
            FileMissingError: nothing stands under the path.
            RuntimeFailedError: the runtime refused or died.
        """
        self._call("describe", {"variant": variant})

    def __enter__(self) -> Self:
        """Load the model, so that what cannot be loaded fails here."""
        self._describe()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Leave the model in the child, which drops it when others come."""

    def _describe(self) -> dict[str, Any]:
        if self._described is None:
            found, _ = self._call("describe", {})
            self._described = dict(found)
            self.notes = tuple(found["notes"])
        return self._described

    def _call(
        self,
        method: str,
        params: Mapping[str, object],
        arrays: Sequence[npt.NDArray[Any]] = (),
        *,
        kind: str | None = None,
    ) -> tuple[Any, list[npt.NDArray[Any]]]:
        if not os.path.exists(str(self._model["path"])):  # noqa: PTH110 - a str, made absolute at the start
            raise FileMissingError(f"{self.path} does not exist", evidence={"path": self.path})
        child = _process.child(kind or self._kind)
        return child.call(method, {**self._model, **params}, arrays, subject=self.path, timeout=self.time_limit)


def _nbytes(path: str) -> int:
    try:
        return os.stat(path).st_size  # noqa: PTH116 - links stay links
    except OSError:
        return 0


def _spec(entry: Sequence[Any]) -> TensorSpec:
    name, key, number, shape = entry
    node, colon, index = name.rpartition(":")
    ref = TensorRef(node, int(index)) if colon and index.isascii() and index.isdigit() else TensorRef(name)
    dtype = DType.from_number(number)
    return TensorSpec(ref, None if dtype is DType.INVALID else dtype, None if shape is None else tuple(shape), key)
