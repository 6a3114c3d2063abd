"""A Keras file as what a model can be built from: its configuration as JSON, and the weights of each layer."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from tfinspect.errors import WrongKindError
from tfinspect.formats import _keras_json, keras_archive
from tfinspect.formats._hdf5 import Hdf5
from tfinspect.formats._zip import Archive

if TYPE_CHECKING:
    from tfinspect.formats._keras_json import Json
    from tfinspect.ir.model import Model
    from tfinspect.ir.tensors import Tensor

_KERAS_1_WORDS: Final = frozenset({"nb_filter", "output_dim", "border_mode", "dim_ordering", "inner_activation"})
_NEW: Final = 3


@dataclass(frozen=True, slots=True)
class Source:
    """What a file says.

    Attributes:
        path: the file.
        config: the model's configuration.
        generation: of Keras: 1, 2 or 3.
        is_tensorflow: whether tf.keras wrote it, whose defaults were sometimes others.
        backend: what ran it, where the file says: `theano`, `tensorflow`, `cntk`.
        layers: the weights of each layer, as (what the layer calls it, values); a nested model that cannot be told
            apart has those of all its layers in the order of the file.
        by_place: whether `layers` are not layers but places of objects in the model, `layers/lstm/cell`, as Keras 3
            names groups of weights.
    """

    path: str
    config: Json
    generation: int
    is_tensorflow: bool
    backend: str
    layers: dict[str, list[tuple[str, Tensor]]]
    by_place: bool = False


def read(model: Model) -> Source:
    """Return what a file says, of which the model was read.

    Raises:
        InputError: it cannot be read.
        WrongKindError: it holds weights and no configuration.
    """
    path = os.fspath(model.path)
    if model.format == keras_archive.FORMAT:
        archive = Archive(path)
        text: str | bytes | None = archive.read(keras_archive.CONFIG, limit=_keras_json.MAX_NBYTES)
        what = keras_archive.CONFIG
    else:
        attribute = Hdf5(path).root.attributes.get("model_config")
        text, what = None if attribute is None else attribute.text(), "model_config"
    if text is None:
        raise WrongKindError(
            f"{path} holds weights of layers, and not how the layers are connected",
            evidence={"path": path, "format": model.format},
        )
    config = _keras_json.load(path, what, text)
    version = model.facts.get("keras_version", "")
    generation = _generation(version, text if isinstance(text, str) else text.decode("utf-8", "replace"))
    backend = model.facts.get("backend", "")
    names = [] if model.checkpoint is None else list(model.checkpoint.variables)
    if generation == 1 and not backend and names and not any(":" in name for name in names):
        backend = "theano"  # the files do not say, and TensorFlow's variables are called `NAME:0`
    by_place = model.format == keras_archive.FORMAT
    layers = _places(model) if by_place else _layers(model)
    return Source(path, config, generation, version.endswith("-tf"), backend, layers, by_place)


def _generation(version: str, text: str) -> int:
    number = version.partition(".")[0]
    if number.isdigit() and len(number) == 1:
        return max(1, min(int(number), _NEW))
    if any(f'"{word}"' in text for word in _KERAS_1_WORDS):
        return 1  # the first of them did not say
    return _NEW if '"batch_shape"' in text and '"registered_name"' in text else 2


def _places(model: Model) -> dict[str, list[tuple[str, Tensor]]]:
    """Return the weights by the place of the object that has them, in its order."""
    checkpoint = model.checkpoint
    found: dict[str, list[tuple[str, Tensor]]] = {}
    if checkpoint is None:
        return found
    rows = []
    for key, info in checkpoint.variables.items():
        place, _, number = key.rpartition("/")
        if info.role == "weight" and place.endswith("/vars"):
            rows.append((place.removesuffix("/vars"), int(number) if number.isdigit() else 0, key))
    for place, _, key in sorted(rows):
        found.setdefault(place, []).append((key.rpartition("/")[2], checkpoint.tensor(key)))
    return found


def _layers(model: Model) -> dict[str, list[tuple[str, Tensor]]]:
    checkpoint = model.checkpoint
    if checkpoint is None:
        return {}
    owner = {key: layer.name for layer in model.layers for key in layer.weights}
    by_layer: dict[str, list[str]] = {}
    for key in checkpoint.variables:
        if key in owner:
            by_layer.setdefault(owner[key], []).append(key)
    whole = {name for name in by_layer if any(other.startswith(f"{name}/") for other in by_layer)}
    found: dict[str, list[str]] = {}
    for key in checkpoint.variables:  # in the order of the file
        if key in owner:
            name = owner[key]
            above = [top for top in whole if name.startswith(f"{top}/")]
            found.setdefault(min(above, key=len) if above else name, []).append(key)
    order = {layer.name: layer.weights for layer in model.layers}
    result = {}
    for name, keys in found.items():
        listed = keys if name in whole else [key for key in order[name] if key in set(keys)]
        result[name] = [(_word(checkpoint.variables[key].label or key), checkpoint.tensor(key)) for key in listed]
    return result


def _word(name: str) -> str:
    return name.rpartition("/")[2].partition(":")[0]
