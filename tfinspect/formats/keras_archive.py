"""Keras 3 archives (`.keras`): a zip of metadata.json, config.json and model.weights.h5, read in place."""

from __future__ import annotations

import functools
import os
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from tfinspect.errors import UnsupportedFeatureError
from tfinspect.formats import _keras_config, _keras_json, keras_h5, keras_weights_h5
from tfinspect.formats._hdf5 import Hdf5
from tfinspect.formats._zip import Archive
from tfinspect.ir.model import Model
from tfinspect.ir.tensors import Tensor

if TYPE_CHECKING:
    import numpy.typing as npt

    from tfinspect.formats._hdf5_data import Dataset

FORMAT: Final = "keras_archive"
METADATA, CONFIG, WEIGHTS = "metadata.json", "config.json", "model.weights.h5"
_ASSETS = "assets/"
_CHECKED_AT_ONCE: Final = 16 << 20
"""Weights of no more than this are compared with their checksum before they are listed, others when a value is read."""


def read(path: str | os.PathLike[str]) -> Model:
    """Read a model; values are read when asked for, in place where the weights are not compressed.

    Raises:
        CorruptFileError: the archive or the weights in it are damaged.
        InputError: a part is missing, encrypted, or no JSON.
        LimitError: a part unpacks to far more than is stored.
        UnsupportedFeatureError: the weights are of a kind not read here.
    """
    name = os.fspath(path)
    archive = Archive(path)
    metadata = _json(archive, METADATA)
    written = _json(archive, CONFIG)
    config = _keras_config.read_config(name, written)
    file, load = _weights(archive)
    if file is None:
        found = Model(name, FORMAT, layers=keras_weights_h5.layers(config, {}))
    else:
        found = keras_weights_h5.model(name, FORMAT, file, config, load)
    compiled = written.get("compile_config")
    training = _keras_config.read_training(compiled) if isinstance(compiled, dict) else {}
    version = metadata.get("keras_version")
    text = version if isinstance(version, str) else ""
    saved = metadata.get("date_saved")
    facts = {
        "keras_version": text,
        "generation": keras_h5.generation(text),
        "saved": saved if isinstance(saved, str) else "",
        "model": " ".join(filter(None, (config.kind, f"`{config.name}`" * bool(config.name)))),
        **keras_h5.training_words(training),
    }
    return replace(
        found,
        signatures={} if config.signature is None else {"main": config.signature},
        assets={n.removeprefix(_ASSETS): n for n in archive.names if n.startswith(_ASSETS)},
        training=training,
        facts={key: value for key, value in facts.items() if value},
        risks=(*archive.risks, *config.risks, *found.risks),
    )


def _json(archive: Archive, name: str) -> _keras_json.Json:
    return _keras_json.load(archive.path, name, archive.read(name, limit=_keras_json.MAX_NBYTES))


def _weights(archive: Archive) -> tuple[Hdf5 | None, functools.partial[Tensor] | None]:
    """Return the weights, and what makes a tensor of one of them; None where the archive has none."""
    if WEIGHTS not in archive:
        other = next((n for n in archive.names if n.startswith("model.weights")), None)
        if other is None:
            return None, None
        raise UnsupportedFeatureError(
            f"{archive.path} keeps its weights in `{other}`, which is not read here",
            evidence={"path": archive.path, "member": other},
        )
    where = f"{archive.path}/{WEIGHTS}"
    view = archive.stored(WEIGHTS)
    if view is None:
        inflated = archive.read(WEIGHTS, limit=archive.member(WEIGHTS).size)
        return Hdf5(where, memoryview(inflated)), None
    if len(view) <= _CHECKED_AT_ONCE:
        archive.check(WEIGHTS)
    return Hdf5(where, view), functools.partial(_checked, archive)


def _checked(archive: Archive, dataset: Dataset) -> Tensor:
    def values() -> npt.NDArray[Any]:
        archive.check(WEIGHTS)
        return dataset.numpy()

    return Tensor(dataset.dtype, dataset.shape, values)
