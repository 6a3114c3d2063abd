"""Classifier heads as `.npz`: `weights` and `biases`, or `0/weights`, `0/biases`, `0/activation`, `1/weights`, ..."""

from __future__ import annotations

import itertools
import os
import re
import zipfile
import zlib
from typing import TYPE_CHECKING, Any, Final

from tfinspect.errors import CorruptFileError, InputError, LimitError
from tfinspect.formats._file import open_regular
from tfinspect.ir.head import DenseHead, DenseLayer
from tfinspect.ir.tensors import Tensor

if TYPE_CHECKING:
    import numpy.typing as npt

ACTIVATIONS: Final = ("softmax", "sigmoid", "relu", "relu6", "tanh", "elu", "none")
_MAX_NBYTES = 1 << 30  # of all arrays; a head of 100,000 classes on 2,048 features takes 0.8 GB
_MAX_RATIO = 1000
_MATRIX_RANK = 2
_LAYER = re.compile(r"^(\d+)/weights$")


def read(path: str | os.PathLike[str]) -> DenseHead:
    """Read a head.

    Raises:
        CorruptFileError: the archive is damaged.
        InputError: arrays are missing, pickled, or do not fit each other; file and array are named.
        LimitError: the archive unpacks to far more than any head takes.
    """
    name = os.fspath(path)
    arrays = _arrays(name)
    numbers = sorted(int(match[1]) for key in arrays if (match := _LAYER.match(key)))
    if "weights" in arrays:
        layers = [_layer(name, arrays, "", "softmax")]
    elif numbers:
        if numbers != list(range(len(numbers))):
            raise InputError(f"{name} has the layers {numbers}, which do not count up from 0", evidence={"path": name})
        layers = [_layer(name, arrays, f"{i}/", "softmax" if i == numbers[-1] else "relu") for i in numbers]
    else:
        raise InputError(
            f"{name} has neither `weights` nor `0/weights`",
            details=[f"it has {key} {list(arrays[key].shape)}" for key in sorted(arrays)[:8]],
            evidence={"path": name, "arrays": sorted(arrays)},
        )
    for i, (before, after) in enumerate(itertools.pairwise(layers)):
        if before.units != after.features:
            raise InputError(
                f"{name}: layer {i} gives {before.units} features, layer {i + 1} takes {after.features}",
                evidence={"path": name, "layer": i},
            )
    return DenseHead(tuple(layers), _labels(name, arrays, layers[-1].units))


def _layer(path: str, arrays: dict[str, npt.NDArray[Any]], prefix: str, activation: str) -> DenseLayer:
    weights, biases = arrays[f"{prefix}weights"], arrays.get(f"{prefix}biases")
    for key, array, rank in (("weights", weights, _MATRIX_RANK), ("biases", biases, 1)):
        if array is None:
            continue
        if array.dtype.kind != "f":
            raise InputError(f"{path}: `{prefix}{key}` is {array.dtype}, a float type was expected")
        if array.ndim != rank:
            raise InputError(
                f"{path}: `{prefix}{key}` has the shape {list(array.shape)}, {rank} dimensions were expected",
                evidence={"path": path, "array": prefix + key, "shape": list(array.shape)},
            )
    if biases is not None and biases.shape[0] != weights.shape[1]:
        raise InputError(
            f"{path}: `{prefix}weights` gives {weights.shape[1]} classes, `{prefix}biases` has {biases.shape[0]}",
            evidence={"path": path, "weights": list(weights.shape), "biases": list(biases.shape)},
        )
    given = arrays.get(f"{prefix}activation")
    word = activation if given is None else str(given.reshape(-1)[0] if given.size else "")
    if word not in ACTIVATIONS:
        raise InputError(f"{path}: `{prefix}activation` is `{word}`", hint=f"one of {', '.join(ACTIVATIONS)}")
    return DenseLayer(Tensor.of(weights), None if biases is None else Tensor.of(biases.astype(weights.dtype)), word)


def _labels(path: str, arrays: dict[str, npt.NDArray[Any]], classes: int) -> tuple[str, ...]:
    given = arrays.get("labels", arrays.get("classes"))
    if given is None:
        return ()
    labels = tuple(v.decode("utf-8", "replace") if isinstance(v, bytes) else str(v) for v in given.reshape(-1).tolist())
    if len(labels) != classes:
        raise InputError(f"{path} has {len(labels)} labels for {classes} classes", evidence={"path": path})
    return labels


def _arrays(path: str) -> dict[str, npt.NDArray[Any]]:
    import numpy as np

    with os.fdopen(open_regular(path), "rb") as file:
        size = os.fstat(file.fileno()).st_size
        try:
            with zipfile.ZipFile(file) as archive:
                total = sum(info.file_size for info in archive.infolist())
                if total > _MAX_NBYTES or total > max(_MAX_RATIO * size, 1 << 20):
                    raise LimitError(
                        f"{path} has {size:,} bytes and would unpack to {total:,}",
                        evidence={"path": path, "nbytes": size, "unpacked": total},
                    )
                arrays = {}
                for info in archive.infolist():
                    if info.filename.endswith(".npy"):
                        with archive.open(info) as member:
                            arrays[info.filename.removesuffix(".npy")] = np.lib.format.read_array(
                                member, allow_pickle=False
                            )
        except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError) as error:
            raise CorruptFileError(path, 0, "a zip archive of arrays", str(error).lower() or "damage") from None
        except ValueError as error:
            raise InputError(
                f"{path} has an array that cannot be read: {str(error).splitlines()[0].lower()}",
                evidence={"path": path},
            ) from None
    return arrays
