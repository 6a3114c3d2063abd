"""Checking every checksum a model's files have, on request: it reads all of them."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from tfinspect import formats
from tfinspect.errors import InputError, UnsupportedFeatureError, WrongKindError, counted
from tfinspect.ir.checks import Check
from tfinspect.ir.dtypes import DType

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tfinspect.ir.checkpoint import Checkpoint

PathLike = str | os.PathLike[str]


def checksums(path: PathLike) -> Iterator[Check]:
    """Check a SavedModel against its fingerprint, and every block and tensor of a checkpoint against its checksum.

    Values are read in pieces and dropped. A tensor that is damaged, or whose shard is missing, is a line of its own,
    which names the byte; the tensors that are well are counted on the line of the checkpoint.

    Args:
        path: SavedModel folder, or a checkpoint named in any way.

    Raises:
        WrongKindError: the file is of a format without checksums.
        InputError: it cannot be read at all.
    """
    row = formats.identify(path)
    if row.name == "saved_model":
        yield from _saved_model(Path(path))
    elif row.kinds == ("checkpoint",):
        yield from _checkpoint(formats.read_checkpoint(path))
    else:
        name = os.fspath(path)
        raise WrongKindError(
            f"{name} is {row.a_title}, which has no checksums in it", evidence={"path": name, "format": row.name}
        )


def _saved_model(path: Path) -> Iterator[Check]:
    from tfinspect.formats import saved_model

    try:
        found = saved_model.check_fingerprint(path)
    except InputError as error:
        yield Check("fingerprint.pb", "failed", error.message)
    else:
        yield from found or [Check("fingerprint.pb", "not checked", "there is none")]
    try:
        checkpoint = saved_model.read_variables(path)
    except InputError as error:
        yield Check("variables", "failed", error.message)
        return
    if checkpoint is None:
        yield Check("variables", "not checked", "there are none")
    else:
        yield from _checkpoint(checkpoint)


def _checkpoint(checkpoint: Checkpoint) -> Iterator[Check]:
    variables = counted(len(checkpoint.variables), "variable")
    if checkpoint.format == "checkpoint_v2":  # its blocks were compared when the index was read
        yield Check(Path(checkpoint.files[0]).name, "ok", f"every block of the list of {variables}")
    well, nbytes = 0, 0
    for name, info in checkpoint.variables.items():
        try:
            tensor = checkpoint.tensor(name)
            if info.dtype is DType.STRING or not info.dtype.itemsize:
                tensor.numpy()
            else:
                for _ in tensor.chunks():
                    pass
        except UnsupportedFeatureError as error:
            yield Check(name, "not checked", error.message)
        except InputError as error:
            yield Check(name, "failed", error.message)
        else:
            well += 1
            nbytes += info.nbytes
    if well:
        yield Check(Path(checkpoint.path).name, "ok", f"{well:,} of {variables} well, {nbytes:,} bytes")
