"""Writing values of a checkpoint as `.npy`, `.npz` or `.safetensors`."""

from __future__ import annotations

import os
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Final

from tfinspect.errors import LimitError, UsageError, counted
from tfinspect.formats import npy, safetensors

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tfinspect.ir.checkpoint import Checkpoint, VariableInfo

_NAMED = 8
_LISTED = 200
_HOLDS: Final = {".npy": npy.holds, ".npz": npy.holds, ".safetensors": safetensors.DTYPES.__contains__}


def check_name(output: str | os.PathLike[str]) -> str:
    """Return the suffix of an output, which says what is written.

    Raises:
        UsageError: it is none of those known.
    """
    suffix = Path(output).suffix
    if suffix not in _HOLDS:
        raise UsageError(
            f"{os.fspath(output)}: values are written as .npy, .npz or .safetensors",
            evidence={"output": os.fspath(output)},
        )
    return suffix


def without_records(
    variables: Sequence[VariableInfo], output: str | os.PathLike[str]
) -> tuple[list[VariableInfo], list[VariableInfo]]:
    """Part what a whole checkpoint is written as from the trainer's records that the output has no type for.

    Those are texts about the objects that were saved, such as the object graph; no value of the model is among them.
    """
    holds = _HOLDS[check_name(output)]
    left = [v for v in variables if v.role == "bookkeeping" and not holds(v.dtype)]
    return [v for v in variables if v not in left], left


def write(
    checkpoint: Checkpoint,
    variables: Sequence[VariableInfo],
    output: str | os.PathLike[str],
    *,
    force: bool = False,
) -> int:
    """Write the values of variables, a few MiB of them in memory at a time, and return the bytes written.

    Args:
        checkpoint: where they are.
        variables: those that are wanted, in the order given.
        output: `.npy` for one of them, `.npz` or `.safetensors` for any number.
        force: replace what stands there.

    Raises:
        UsageError: the output has another suffix, or not just one variable should go into an `.npy`.
        LimitError: that kind of file cannot hold some of them; they are named.
        InputError: a value cannot be read, or fails its checksum; nothing is written.
        OutputExistsError: the output exists and `force` is not set.
        OutputError: it cannot be written; nothing is left behind.
    """
    suffix = check_name(output)
    if suffix == ".npy" and len(variables) != 1:
        raise UsageError(
            f"an .npy file holds one array, and {counted(len(variables), 'variable')} would go into it",
            hint="name one with --read, or write an .npz",
            evidence={"variables": len(variables)},
        )
    if not variables:
        raise UsageError(f"no variable is chosen, so there is nothing to write to {os.fspath(output)}")
    _check_types(checkpoint, variables, os.fspath(output), suffix)
    tensors = [(variable.name, checkpoint.tensor(variable.name)) for variable in variables]
    if suffix == ".npy":
        return npy.write_npy(output, *tensors[0], force=force)
    if suffix == ".npz":
        return npy.write_npz(output, tensors, force=force)
    metadata = {"source": Path(checkpoint.path).name, "format": checkpoint.format}
    return safetensors.write(output, tensors, metadata, force=force)


def _check_types(checkpoint: Checkpoint, variables: Sequence[VariableInfo], output: str, suffix: str) -> None:
    holds = _HOLDS[suffix]
    refused = [v for v in variables if not holds(v.dtype)]
    if not refused:
        return
    named = [f"`{v.name}` ({v.dtype})" for v in refused[:_NAMED]]
    if len(refused) > len(named):
        named.append(f"and {len(refused) - len(named):,} more")
    raise LimitError(
        f"{suffix} has no type for {len(refused):,} of {counted(len(variables), 'variable')}: {', '.join(named)}",
        hint=_way_out(checkpoint, variables, output, suffix),
        evidence={"variables": [v.name for v in refused[:_LISTED]]},
    )


def _way_out(checkpoint: Checkpoint, variables: Sequence[VariableInfo], output: str, suffix: str) -> str:
    """Say how the same can be written after all: the weights alone, else as another kind of file."""
    weights = [v for v in variables if v.role == "weight"]
    source, target = shlex.quote(checkpoint.path), shlex.quote(output)
    if weights and all(_HOLDS[suffix](v.dtype) for v in weights):
        return f"leave them out: tfinspect vars {source} --role weight -o {target}"
    other = ".npz" if suffix == ".safetensors" else ".safetensors"
    if all(_HOLDS[other](v.dtype) for v in variables):
        return f"write them as {other}: -o {shlex.quote(str(Path(output).with_suffix(other)))}"
    return "leave them out: choose with --match GLOB, or name with --read the ones you want"
