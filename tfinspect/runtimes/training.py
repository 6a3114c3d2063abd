"""A `Trainer` in a child process: TensorFlow computes the gradients, and nothing of it is imported here."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from tfinspect.runtimes import _process

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from types import TracebackType

    import numpy.typing as npt

    from tfinspect.ir.trainer import Task

    Array = npt.NDArray[Any]

_KIND = "trainer"


class ChildTrainer:
    """A `Trainer` whose variables live in a child process; see `ir.trainer`."""

    def __init__(self, task: Task, subject: str) -> None:
        self.task = task
        self.subject = subject
        self.runtime = "tensorflow"
        _process.require(_process.KINDS[_KIND])

    def features(self, images: Array) -> Array:
        """Return [batch, features] at the bottleneck."""
        _, (found,) = self._call("features", {}, [images])
        return found

    def logits(self, images: Array) -> Array:
        """Return [batch, classes] before the softmax."""
        _, (found,) = self._call("logits", {}, [images])
        return found

    def step(self, images: Array, targets: Array, rate: float) -> tuple[float, int]:
        """Take one step, and return the loss before it and how many images were right."""
        found, _ = self._call("step", {"rate": rate}, [images, targets.astype(np.float32, copy=False)])
        return float(found["loss"]), int(found["right"])

    def state(self) -> dict[str, Array]:
        """Return variables, moving statistics and what the optimizer remembers, by name."""
        names, values = self._call("state", {})
        return dict(zip(names, values, strict=True))

    def restore(self, state: Mapping[str, Array]) -> None:
        """Set what `state` returned; names that are left out stay as they are."""
        self._call("restore", {"names": list(state)}, list(state.values()))

    def __enter__(self) -> Self:
        """Build the graph."""
        found, _ = self._call("open", asdict(self.task))
        self.runtime = str(found["runtime"])
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End the process: what it holds is of no use to anyone else."""
        _process.child(_KIND).stop()

    def _call(self, method: str, params: Mapping[str, object], arrays: Sequence[Array] = ()) -> tuple[Any, list[Array]]:
        return _process.child(_KIND).call(method, params, arrays, subject=self.subject)
