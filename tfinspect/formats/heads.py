"""Classifier heads as `.npz`: `weights` and `biases`, or `0/weights`, `0/biases`, `0/activation`, `1/weights`, ...

Beside them `labels`, names of the classes, and `made`, JSON text that says what made the head.
"""

from __future__ import annotations

import io
import itertools
import json
import os
import re
from typing import TYPE_CHECKING, Any, Final

from tfinspect.errors import InputError
from tfinspect.formats._npz import dump_arrays, read_arrays, read_json, write_arrays
from tfinspect.ir.head import ACTIVATIONS, DenseHead, DenseLayer
from tfinspect.ir.tensors import Tensor

if TYPE_CHECKING:
    import numpy.typing as npt

_LINEAR: Final = frozenset({"", "none", "identity", "linear"})
_MAX_NBYTES = 1 << 30  # of all arrays; a head of 100,000 classes on 2,048 features takes 0.8 GB
_MATRIX_RANK = 2
_LAYER = re.compile(r"(0|[1-9][0-9]{0,3})/weights")
_FLOAT_NBYTES: Final = frozenset({2, 4, 8})


def read(path: str | os.PathLike[str]) -> DenseHead:
    """Read a head.

    Raises:
        CorruptFileError: the archive is damaged.
        InputError: arrays are missing, pickled, or do not fit each other; file and array are named.
        LimitError: the archive unpacks to far more than any head takes.
    """
    name = os.fspath(path)
    arrays = read_arrays(name, max_nbytes=_MAX_NBYTES)
    numbers = sorted(int(match[1]) for key in arrays if (match := _LAYER.fullmatch(key)))
    if "weights" in arrays and numbers:
        raise InputError(
            f"{name} has both `weights` and `{numbers[0]}/weights`: one layer, or several?",
            evidence={"path": name, "arrays": sorted(arrays)},
        )
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
    return DenseHead(tuple(layers), _labels(name, arrays, layers[-1].units), read_json(name, arrays, "made"))


def write(head: DenseHead, path: str | os.PathLike[str], *, force: bool = False) -> int:
    """Write a head, whole or not at all, and return the size of the file in bytes; the same head gives the same bytes.

    Raises:
        OutputExistsError: the file exists and `force` is not set.
        OutputError: it cannot be written; nothing is left behind.
    """
    return write_arrays(path, _arrays(head), force=force)


def encode(head: DenseHead) -> bytes:
    """Return the bytes that `write` would write."""
    out = io.BytesIO()
    dump_arrays(out, _arrays(head))
    return out.getvalue()


def _arrays(head: DenseHead) -> dict[str, npt.NDArray[Any]]:
    import numpy as np

    arrays: dict[str, npt.NDArray[Any]] = {}
    for number, layer in enumerate(head.layers):
        prefix = f"{number}/" if len(head.layers) > 1 else ""
        arrays[f"{prefix}weights"] = layer.weights.numpy()
        if layer.biases is not None:
            arrays[f"{prefix}biases"] = layer.biases.numpy()
        arrays[f"{prefix}activation"] = np.array(layer.activation)
    if head.labels:
        arrays["labels"] = np.array(head.labels, np.str_)
    if head.made:
        arrays["made"] = np.array(json.dumps(dict(head.made)))
    return arrays


def _layer(path: str, arrays: dict[str, npt.NDArray[Any]], prefix: str, activation: str) -> DenseLayer:
    weights, biases = arrays[f"{prefix}weights"], arrays.get(f"{prefix}biases")
    for key, array, rank in (("weights", weights, _MATRIX_RANK), ("biases", biases, 1)):
        if array is None:
            continue
        if array.dtype.kind != "f" or array.dtype.itemsize not in _FLOAT_NBYTES:
            raise InputError(
                f"{path}: `{prefix}{key}` is {array.dtype}; float32, float64 or float16 was expected",
                evidence={"path": path, "array": prefix + key, "dtype": str(array.dtype)},
            )
        if array.ndim != rank:
            raise InputError(
                f"{path}: `{prefix}{key}` has the shape {list(array.shape)}, {rank} dimensions were expected",
                evidence={"path": path, "array": prefix + key, "shape": list(array.shape)},
            )
    if 0 in weights.shape:
        raise InputError(
            f"{path}: `{prefix}weights` has the shape {list(weights.shape)}: no features, or no classes",
            evidence={"path": path, "array": f"{prefix}weights", "shape": list(weights.shape)},
        )
    if biases is not None and biases.shape[0] != weights.shape[1]:
        raise InputError(
            f"{path}: `{prefix}weights` gives {weights.shape[1]} classes, `{prefix}biases` has {biases.shape[0]}",
            evidence={"path": path, "weights": list(weights.shape), "biases": list(biases.shape)},
        )
    dtype = weights.dtype.newbyteorder("=")
    return DenseLayer(
        Tensor.of(weights.astype(dtype, copy=False)),
        None if biases is None else Tensor.of(biases.astype(dtype, copy=False)),
        _activation(path, f"{prefix}activation", arrays.get(f"{prefix}activation"), activation),
    )


def _activation(path: str, key: str, given: npt.NDArray[Any] | None, default: str) -> str:
    if given is None:
        return default
    value = given.reshape(-1)[0] if given.size == 1 else ""
    word = value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
    if given.size == 1 and word in _LINEAR:
        return "linear"
    if word not in ACTIVATIONS:
        raise InputError(
            f"{path}: `{key}` is `{word[:40]}`, which is no activation known here"
            if given.size == 1
            else f"{path}: `{key}` has {given.size:,} values, one word was expected",
            hint=f"one of {', '.join(ACTIVATIONS)}",
            evidence={"path": path, "array": key, "activation": word[:200]},
        )
    return word


def _labels(path: str, arrays: dict[str, npt.NDArray[Any]], classes: int) -> tuple[str, ...]:
    given = arrays.get("labels", arrays.get("classes"))
    if given is None:
        return ()
    labels = tuple(v.decode("utf-8", "replace") if isinstance(v, bytes) else str(v) for v in given.reshape(-1).tolist())
    if len(labels) != classes:
        raise InputError(
            f"{path} has {len(labels):,} labels for {classes:,} classes",
            evidence={"path": path, "labels": len(labels), "classes": classes},
        )
    return labels
