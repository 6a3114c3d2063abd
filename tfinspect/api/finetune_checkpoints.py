"""What a fine-tuning that was killed goes on from: one file, written whole after each epoch."""

from __future__ import annotations

import os
import shlex
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from tfinspect.errors import InputError, OutputError, UsageError
from tfinspect.formats import _npz
from tfinspect.learn.finetune import Progress

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tfinspect.api.load import PathLike

FILE: Final = "progress.npz"
_MAX_NBYTES: Final = 64 << 30


@dataclass(frozen=True, slots=True)
class Checkpoints:
    """The folder of one training.

    Attributes:
        folder: where it stands.
        own: whether it is ours to remove at the end.
        made: facts that a checkpoint must agree with.
    """

    folder: Path
    own: bool
    made: Mapping[str, Any]

    @classmethod
    def of(cls, folder: PathLike | None, output: Path, *, force: bool, made: Mapping[str, Any]) -> Checkpoints:
        """Choose the folder, and make it.

        Raises:
            OutputError: it cannot be made.
        """
        place = output.with_name(f".{output.name}.checkpoints") if folder is None else Path(folder)
        found = cls(place, folder is None, made)
        if force and folder is None and not found.fits():
            shutil.rmtree(place, ignore_errors=True)
        try:
            place.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            reason = (error.strerror or str(error)).lower()
            raise OutputError(f"{place} cannot be made: {reason}", evidence={"path": str(place)}) from None
        return found

    @property
    def file(self) -> Path:
        """The checkpoint."""
        return self.folder / FILE

    def fits(self) -> bool:
        """Whether there is no checkpoint, or one of this very training."""
        try:
            self.read()
        except (InputError, UsageError):
            return False
        return True

    def read(self) -> Progress | None:
        """Return where the training stands, or None where none has begun.

        Raises:
            InputError: the checkpoint cannot be read.
            UsageError: it is of another training; the first difference is named.
        """
        if not os.path.lexists(self.file):
            return None
        arrays = _npz.read_arrays(str(self.file), max_nbytes=_MAX_NBYTES)
        try:
            progress, made = Progress.from_arrays(arrays)
        except (KeyError, TypeError, ValueError) as error:
            raise InputError(
                f"{self.file} is no checkpoint of a fine-tuning: {error!r}", evidence={"path": str(self.file)}
            ) from None
        different = [key for key in {**self.made, **made} if self.made.get(key) != made.get(key)]
        if different:
            key = different[0]
            values = f" ({made.get(key)}, not {self.made.get(key)})" if key.startswith("--") else ""
            raise UsageError(
                f"the checkpoint in {self.folder} is of another training: {key} differs{values}",
                hint=f"to begin anew: rm -r {shlex.quote(str(self.folder))}",
                evidence={"path": str(self.file), "different": different},
            )
        return progress

    def write(self, progress: Progress) -> None:
        """Write where the training stands, whole or not at all.

        Raises:
            OutputError: it cannot be written.
        """
        _npz.write_arrays(self.file, progress.to_arrays(dict(self.made)), force=True)

    def remove(self) -> None:
        """Remove the folder where it is ours."""
        if self.own:
            shutil.rmtree(self.folder, ignore_errors=True)
