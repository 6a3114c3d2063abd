"""What `verify` and `api` need of a runtime; `runtimes` implements it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol, Self

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from types import TracebackType

    import numpy.typing as npt

    from tfinspect.ir.signature import TensorSpec


class Runner(Protocol):
    """A model loaded in a process of its own. Use it as a context manager."""

    @property
    def runtime(self) -> str:
        """Name and version, e.g. `tensorflow 2.21.0`."""

    @property
    def inputs(self) -> Sequence[TensorSpec]:
        """What the loaded model says it takes."""

    @property
    def outputs(self) -> Sequence[TensorSpec]:
        """What the loaded model says it gives."""

    def run(
        self, fetches: Sequence[str], feeds: Mapping[str, npt.NDArray[Any]], *, variant: str = "default"
    ) -> list[npt.NDArray[Any]]:
        """Run once.

        Args:
            fetches: tensors as `name:index`, in the runtime's own names.
            feeds: values by tensor name.
            variant: "default"; "plain": graph optimisation off and one thread, to measure the runtime's own noise; or
                "shared": a batch of things that do not depend on each other, which may be run in pieces, the processors
                left to others while it waits.

        Raises:
            RuntimeFailedError: the runtime refused or died.
        """

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...
