"""What is handed to Keras to build a model from: the configuration of a file, checked, cleaned and brought up to date.

Nothing that the file names is imported: every class is looked up in a list of Keras's own, and the module it says it is
in is replaced by the one that we know.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal

from tfinspect.errors import InputError, UnsupportedFeatureError
from tfinspect.formats import _keras_classes as classes
from tfinspect.formats import keras_upgrade

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tfinspect.formats._keras_json import Json
    from tfinspect.formats.keras_source import Source
    from tfinspect.ir.tensors import Tensor

_TRAINING_ONLY: Final = ("_initializer", "_regularizer", "_constraint")
_DROPPED: Final = frozenset(
    {"build_config", "compile_config", "registered_name", "quantization_config", "keras_version"}
)
_POLICIES: Final = frozenset({"DTypePolicy", "Policy", "FloatDTypePolicy"})
_SHAPES: Final = ("batch_input_shape", "batch_shape", "build_input_shape")
_KERAS_3: Final = 3
_ALIASES: Final = {"BatchNormalizationV1": "BatchNormalization", "BatchNormalizationV2": "BatchNormalization"}


@dataclass(frozen=True, slots=True)
class Blueprint:
    """What to build.

    Attributes:
        library: which Keras builds it.
        config: the model; only classes and functions of Keras's own are in it.
        layers: the weights of each layer, as (what the layer calls it, values).
        by_place: whether `layers` are places of objects in the model (see `Source`).
        notes: what was changed, in words.
    """

    library: Literal["keras", "tf-keras"]
    config: Json
    layers: dict[str, list[tuple[str, Tensor]]]
    by_place: bool
    notes: tuple[str, ...]


def blueprint(source: Source) -> Blueprint:
    """Check a configuration and bring it up to date.

    Raises:
        InputError: it is not laid out as Keras lays it out.
        UnsupportedFeatureError: something in it is not Keras's own, or is not built here; the layer is named.
    """
    config = copy.deepcopy(source.config)
    notes: list[str] = []
    kinds = _bring_up_to_date(source, config, notes)
    _check(source, config)
    layers = {}
    for name, weights in source.layers.items():
        kind, settings = kinds.get(name, ("", {}))
        found = weights
        if source.generation == 1:
            found = keras_upgrade.weights_of_keras_1(kind, settings, found)
        if source.backend == "theano":
            found = keras_upgrade.turned(kind, found)
        layers[name] = found
    if source.generation == 1:
        notes.append("Keras 1: configuration and weights brought up to date")
    if source.backend == "theano":
        notes.append("Theano: convolution kernels turned round")
    library: Literal["keras", "tf-keras"] = "keras" if source.generation >= _KERAS_3 else "tf-keras"
    return Blueprint(library, config, layers, source.by_place, tuple(notes))


def _bring_up_to_date(source: Source, config: Json, notes: list[str]) -> dict[str, tuple[str, Json]]:
    """Bring every layer up to date in place; return (class, settings) by the layer's name."""
    found: dict[str, tuple[str, Json]] = {}
    stateful = False
    if isinstance(config.get("config"), list):  # Sequential until Keras 2.2
        config["config"] = {"name": "sequential", "layers": config["config"]}
    for prefix, item in _layers(source, config):
        settings = item["config"]
        if source.generation == 1:
            keras_upgrade.layer_of_keras_1(source.path, item)
            settings = item["config"]
        kind = str(item["class_name"])
        kind = item["class_name"] = _ALIASES.get(kind, kind)
        if kind == "Activation" and settings.get("activation") == "relu6":
            item["class_name"] = kind = "ReLU"
            item["config"] = settings = {
                **{key: value for key, value in settings.items() if key != "activation"}, "max_value": 6.0
            }  # fmt: skip
        if kind in {"GRU", "GRUCell"} and source.generation < _KERAS_3 and not source.is_tensorflow:
            settings.setdefault("reset_after", False)
        stateful |= settings.get("stateful") is True
        if "stateful" in settings:
            settings["stateful"] = False
        for key in _SHAPES:  # how many samples are taken at a time is no part of the model
            shape = settings.get(key)
            if isinstance(shape, list) and shape:
                settings[key] = [None, *shape[1:]]
        name = str(settings.get("name") or item.get("name") or "")
        found[prefix + name] = (kind, settings)
    if stateful:
        notes.append("stateful layers start afresh in each run")
    return found


def _layers(source: Source, config: Json) -> Iterator[tuple[str, Json]]:
    """Yield (prefix of the names, layer) of a model and of the models in it, which are brought into one form."""
    waiting: list[tuple[str, Any]] = [("", config)]
    while waiting:
        prefix, model = waiting.pop()
        items = model["config"].get("layers") if isinstance(model.get("config"), dict) else None
        if not isinstance(items, list):
            raise InputError(
                f"{source.path}: the configuration of the model lists no layers", evidence={"path": source.path}
            )
        for item in items:
            inner = item.get("config") if isinstance(item, dict) else None
            if not isinstance(inner, (dict, list)) or not isinstance(item.get("class_name"), str):
                raise InputError(
                    f"{source.path}: the configuration lists something that is no layer", evidence={"path": source.path}
                )
            if isinstance(inner, list):
                item["config"] = {"name": item.get("name") or "sequential", "layers": inner}
            if item["class_name"] in classes.MODELS:
                name = str(item["config"].get("name") or item.get("name") or "")
                waiting.append((f"{prefix}{name}/", item))
            else:
                yield prefix, item


def _check(source: Source, config: Json) -> None:
    """Drop what only training needs, and refuse whatever is not on the list; in place.

    Raises:
        UnsupportedFeatureError: something is not.
    """
    is_new = source.generation >= _KERAS_3
    waiting: list[tuple[str, Any]] = [(str(config.get("class_name")), config)]
    while waiting:
        where, item = waiting.pop()
        if isinstance(item, list):
            for number, inner in enumerate(item):
                item[number] = _plain(source, where, inner)
                waiting.append((where, item[number]))
            continue
        if not isinstance(item, dict):
            continue
        for key in [k for k in item if k in _DROPPED or k.endswith(_TRAINING_ONLY)]:
            del item[key]
        if "class_name" in item:
            where = _name(item) or where
            _class(source, where, item, is_new=is_new)
        elif "module" in item:
            raise _refusal(source, where, f"names the module `{_short(item['module'])}`")
        for key, inner in item.items():
            item[key] = _plain(source, where, inner)
            waiting.append((where, item[key]))


def _name(item: Json) -> str:
    inner = item.get("config")
    name = inner.get("name") if isinstance(inner, dict) else None
    return str(name or item.get("name") or "")


def _plain(source: Source, where: str, value: Any) -> Any:  # noqa: ANN401 - JSON
    """Return dtype policies and named functions as the word that stands for them."""
    if not isinstance(value, dict):
        return value
    kind, inner = value.get("class_name"), value.get("config")
    if kind in _POLICIES and isinstance(inner, dict) and isinstance(inner.get("name"), str):
        return inner["name"]
    if kind == "function":
        if isinstance(inner, str) and inner in classes.ACTIVATIONS:
            return inner
        raise _refusal(source, where, f"calls the function `{_short(inner)}`, which is not one of Keras's own")
    return value


def _class(source: Source, where: str, item: Json, *, is_new: bool) -> None:
    kind, module = item["class_name"], item.pop("module", None)
    if kind in classes.PLAIN:
        return
    if isinstance(module, str) and is_new and kind in classes.OPERATIONS.get(module, ()):
        item["module"] = module
        item["registered_name"] = kind
        return
    if kind in classes.CALLS and not is_new:
        function = item["config"].get("function") if isinstance(item.get("config"), dict) else None
        if function not in classes.TENSORFLOW_FUNCTIONS:
            raise _refusal(source, where, f"calls the TensorFlow function `{_short(function)}`, which is not run here")
        return
    if kind not in classes.LAYERS and kind not in classes.MODELS:
        raise _refusal(source, where, f"is of the class `{_short(kind)}`, which is not built here")
    if is_new:
        if kind in classes.MODELS:
            item["class_name"] = "Functional" if kind == "Model" else kind
            item["module"] = "keras" if kind == "Sequential" else "keras.src.models.functional"
        else:
            item["module"] = "keras.layers"
        item["registered_name"] = None


def _refusal(source: Source, where: str, what: str) -> UnsupportedFeatureError:
    return UnsupportedFeatureError(
        f"{source.path}: the layer `{where}` {what}", evidence={"path": source.path, "layer": where}
    )


def _short(value: object) -> str:
    text = value if isinstance(value, str) else "?"
    return text if len(text) <= 80 else text[:80] + "..."  # noqa: PLR2004
