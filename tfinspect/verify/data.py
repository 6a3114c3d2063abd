"""Feeds from the user's own `.npy` and `.npz` files. Nothing is ever unpickled."""

from __future__ import annotations

import os
import zipfile
from typing import TYPE_CHECKING, Any

import numpy as np

from tfinspect.errors import FileMissingError, InputError, LimitError, UsageError, WrongKindError, near_names
from tfinspect.ir.shapes import compatible, format_shape
from tfinspect.verify.compare import plain_array
from tfinspect.verify.feed_spec import BATCHES, FeedSpec, fixed_value

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy.typing as npt

MAX_NBYTES = 4 << 30  # of all arrays of an archive together
_RUNS_MOST = 64


def feeds_from(path: str | os.PathLike[str], specs: Sequence[FeedSpec]) -> list[Mapping[str, npt.NDArray[Any]]]:
    """Read the feeds of all runs from a file.

    An `.npz` holds one array an input, under `name:index`, `name` or the last part of the name; an `.npy` serves a
    model with one input. An array of one more dimension than its input holds a run a row. Otherwise its first dimension
    is the batch: cut into batches of 1, 2, 3, ... where the model leaves it open, else of the model's size.

    Args:
        path: the file.
        specs: the inputs; those with a fixed value need no array.

    Returns:
        One mapping from input name to array a run, at most 64.

    Raises:
        InputError: the file cannot be read or holds pickled objects.
        UsageError: arrays are missing, do not fit their inputs, or give different numbers of runs.
        LimitError: the archive unpacks to over 4 GiB.
    """
    name = os.fspath(path)
    arrays = _load(name)
    wanted = [spec for spec in specs if spec.value is None]
    chosen = {spec.name: _choose(name, spec, arrays, alone=len(wanted) == 1) for spec in wanted}
    split = {spec.name: _split(name, spec, chosen[spec.name]) for spec in wanted}
    counts = {input_name: len(runs) for input_name, runs in split.items()}
    if len(set(counts.values())) > 1:
        raise UsageError(
            f"{name} gives different numbers of runs: " + ", ".join(f"`{n}` {c}" for n, c in counts.items()),
            evidence={"path": name, "runs": counts},
        )
    total = min(next(iter(counts.values()), 0), _RUNS_MOST)
    return [
        {s.name: fixed_value(s, run) if s.value is not None else split[s.name][run] for s in specs}
        for run in range(total)
    ]


def _load(path: str) -> dict[str, npt.NDArray[Any]]:
    try:
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                size = sum(member.file_size for member in archive.infolist())
            if size > MAX_NBYTES:
                raise LimitError(
                    f"{path} unpacks to {size:,} bytes, the limit is {MAX_NBYTES:,}",
                    evidence={"path": path, "nbytes": size},
                )
            with np.load(path, allow_pickle=False) as loaded:
                arrays = {key: loaded[key] for key in loaded.files}
        else:
            arrays = {"": np.load(path, allow_pickle=False)}
    except FileNotFoundError:
        raise FileMissingError(f"{path} does not exist", evidence={"path": path}) from None
    except OSError as error:
        raise InputError(
            f"{path} cannot be read: {(error.strerror or str(error)).lower()}", evidence={"path": path}
        ) from None
    except (ValueError, EOFError, zipfile.BadZipFile, MemoryError) as error:
        raise _no_arrays(path, str(error).splitlines()[0] if str(error) else type(error).__name__) from None
    for key, array in arrays.items():
        if not isinstance(array, np.ndarray):  # what a member without NumPy's magic comes back as
            raise _no_arrays(path, f"`{key}` is no array")
    return arrays


def _no_arrays(path: str, why: str) -> WrongKindError:
    return WrongKindError(
        f"{path} is no .npy or .npz file of plain arrays",
        details=[why],
        hint="write it with numpy.savez, without object arrays",
        evidence={"path": path},
    )


def _choose(path: str, spec: FeedSpec, arrays: Mapping[str, npt.NDArray[Any]], *, alone: bool) -> npt.NDArray[Any]:
    plain = spec.name.removesuffix(":0")
    for key in (spec.name, plain, plain.rsplit("/", 1)[-1]):
        if key in arrays:
            return arrays[key]
    if alone and len(arrays) == 1:
        return next(iter(arrays.values()))
    near = near_names(plain, arrays)
    raise UsageError(
        f"{path} holds no array for the input `{spec.name}`",
        details=[
            "it holds " + (", ".join(f"`{key}`" for key in list(arrays)[:20] if key) or "one array without a name")
        ],
        hint=f"did you mean `{near[0]}`?" if near else None,
        evidence={"path": path, "name": spec.name, "arrays": list(arrays)[:20]},
    )


def _split(path: str, spec: FeedSpec, array: npt.NDArray[Any]) -> list[npt.NDArray[Any]]:
    values = _cast(path, spec, array)
    shape = spec.shape
    if shape is None or (values.ndim == len(shape) + 1 and compatible(values.shape[1:], shape)):
        return [np.asarray(row) for row in values] if values.ndim else [values]
    rest_fits = values.ndim == len(shape) and values.ndim > 0 and compatible(values.shape[1:], shape[1:])
    if rest_fits and shape[0] is None:
        runs: list[npt.NDArray[Any]] = []
        at = 0
        while at < len(values):
            size = BATCHES[len(runs) % len(BATCHES)]
            runs.append(values[at : at + size])
            at += size
        return runs
    if rest_fits and shape[0] and len(values) % shape[0] == 0:
        return [values[at : at + shape[0]] for at in range(0, len(values), shape[0])]
    if values.shape == shape:
        return [values]
    raise UsageError(
        f"the array for `{spec.name}` in {path} is {format_shape(values.shape)}, the input {format_shape(shape)}",
        evidence={"path": path, "name": spec.name, "shape": list(values.shape)},
    )


def _cast(path: str, spec: FeedSpec, array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    wanted = spec.dtype.numpy
    if wanted.hasobject and array.dtype.kind in "SU":
        return plain_array(array)
    number = "biufc"
    fits = array.dtype == wanted or (
        array.dtype.kind in number and wanted.kind in number and np.can_cast(array.dtype, wanted, "same_kind")
    )
    if not fits and array.dtype.kind in "iu" and wanted.kind in "iu" and array.size:
        limits = np.iinfo(wanted)
        fits = int(array.min()) >= limits.min and int(array.max()) <= limits.max
    if not fits:
        raise UsageError(
            f"the array for `{spec.name}` in {path} is {array.dtype}, the input {spec.dtype}",
            evidence={"path": path, "name": spec.name, "dtype": str(array.dtype)},
        )
    return np.asarray(array.astype(wanted, copy=False))
