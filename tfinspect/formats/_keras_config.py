"""The configuration of a Keras model, of any generation, as layers, inputs and training."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from tfinspect.errors import LimitError
from tfinspect.formats import _keras_risks
from tfinspect.formats._keras_json import Json, plain
from tfinspect.ir.dtypes import DType
from tfinspect.ir.refs import TensorRef
from tfinspect.ir.signature import Signature, TensorSpec

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tfinspect.ir.risks import Risk
    from tfinspect.ir.shapes import Shape

_MAX_LAYERS: Final = 20_000
_MAX_NESTING: Final = 32
_MAX_RANK = 32
_MAX_DIM: Final = 1 << 63
_DTYPES: Final = {str(dtype): dtype for dtype in DType if dtype is not DType.INVALID}
_SHAPE_KEYS: Final = ("batch_shape", "batch_input_shape")
_HISTORY_LENGTH = 3
_WORDS: Final = re.compile(r"\W+")
_BEFORE_CAPITAL: Final = re.compile(r"(.)([A-Z][a-z0-9]+)")
_AFTER_SMALL: Final = re.compile(r"([a-z])([A-Z])")


@dataclass(slots=True)
class LayerConfig:
    """A layer as its configuration has it.

    Attributes:
        name: with the names of the models it is nested in: `outer/inner`.
        kind: its class.
        settings: its configuration.
        inputs: names of the layers it takes.
        shape: of its output, where it says.
        group: name Keras 3 gives its group of weights, inside that of its model.
        parent: name of the model it is nested in, empty at the top.
        item: its JSON.
        is_model: whether it holds layers itself.
    """

    name: str
    kind: str
    settings: Json
    inputs: tuple[str, ...] = ()
    shape: Shape = None
    group: str = ""
    parent: str = ""
    item: Json = field(default_factory=dict)
    is_model: bool = False


@dataclass(frozen=True, slots=True)
class ModelConfig:
    """A model as its configuration has it.

    Attributes:
        kind: its class.
        name: its name, empty where it has none.
        layers: those of nested models after the model they are in.
        signature: what goes in and out, where it says.
        risks: what loading it would run or need.
    """

    kind: str
    name: str
    layers: tuple[LayerConfig, ...]
    signature: Signature | None
    risks: tuple[Risk, ...] = field(default=())


def read_config(path: str, config: Json) -> ModelConfig:
    """Read the configuration of a model.

    Raises:
        LimitError: it has more layers, or models nested deeper, than any network.
    """
    kind = _text(config.get("class_name"))
    inner = config.get("config")
    settings: Json = inner if isinstance(inner, dict) else {}
    name = _text(settings.get("name")) or _text(config.get("name"))
    layers: list[LayerConfig] = []
    risks: dict[Risk, None] = {}
    risks.update(dict.fromkeys(_keras_risks.of_layer(name or kind or "model", _without_layers(config))))
    waiting: list[Iterator[LayerConfig]] = [_level(kind, inner, "")]
    while waiting:
        layer = next(waiting[-1], None)
        if layer is None:
            waiting.pop()
            continue
        layers.append(layer)
        if len(layers) > _MAX_LAYERS or len(waiting) > _MAX_NESTING:
            what = f"{_MAX_LAYERS:,} layers" if len(layers) > _MAX_LAYERS else f"{_MAX_NESTING} models in each other"
            raise LimitError(f"{path} has more than {what}", evidence={"path": path})
        risks.update(dict.fromkeys(_keras_risks.of_layer(layer.name, _without_layers(layer.item))))
        if layer.is_model:
            waiting.append(_level(layer.kind, layer.item.get("config"), layer.name))
    signature = _signature(kind, settings, layers)
    return ModelConfig(kind, name, tuple(layers), signature, tuple(risks))


def _without_layers(item: Json) -> Json:
    """Return the JSON of a layer or model without what has layers of its own, and without training."""
    inner = item.get("config")
    if isinstance(inner, dict) and isinstance(inner.get("layers"), list):
        inner = {key: value for key, value in inner.items() if key != "layers"}
    elif isinstance(inner, list):
        inner = None
    return {**item, "config": inner, "inbound_nodes": None}


def _level(kind: str, config: object, parent: str) -> Iterator[LayerConfig]:
    """Yield the layers of one model, those of models inside it left out."""
    items = config if isinstance(config, list) else config.get("layers") if isinstance(config, dict) else None
    items = [item for item in items if isinstance(item, dict)] if isinstance(items, list) else []
    known = {_layer_name(item, number) for number, item in enumerate(items)}
    is_chain = isinstance(config, list) or kind == "Sequential"
    taken: dict[str, int] = {}
    shapes = _shapes_told(items, is_chain=is_chain)
    last = ""
    for number, item in enumerate(items):
        inner = item.get("config")
        settings: Json = inner if isinstance(inner, dict) else {}
        is_model = isinstance(inner, list) or isinstance(settings.get("layers"), list)
        short = _layer_name(item, number)
        word = _text(item.get("class_name"))
        group = snake_case(word)
        taken[group] = count = taken.get(group, -1) + 1
        names = _inbound(item.get("inbound_nodes"), known) if not is_chain else ([last] if last else [])
        shape = next((s for key in _SHAPE_KEYS if word == "InputLayer" and (s := read_shape(settings.get(key)))), None)
        yield LayerConfig(
            _join(parent, short),
            word,
            settings,
            tuple(_join(parent, name) for name in names),
            shape or shapes.get(short),
            f"{group}_{count}" if count else group,
            parent,
            item,
            is_model,
        )
        last = short


def _layer_name(item: Json, number: int) -> str:
    inner = item.get("config")
    name = _text(inner.get("name")) if isinstance(inner, dict) else ""
    return _text(item.get("name")) or name or f"{snake_case(_text(item.get('class_name'))) or 'layer'}_{number + 1}"


def _join(parent: str, name: str) -> str:
    return f"{parent}/{name}" if parent else name


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


def snake_case(name: str) -> str:
    """Return `global_average_pooling2d` for `GlobalAveragePooling2D`, as Keras names groups and layers."""
    name = _WORDS.sub("", name)
    return _AFTER_SMALL.sub(r"\1_\2", _BEFORE_CAPITAL.sub(r"\1_\2", name)).lower()


def read_shape(value: object) -> Shape:
    """Return a shape as JSON has it; None where it is none."""
    if isinstance(value, dict):  # Keras 2 and 3 may wrap a tuple
        value = value.get("items", (value.get("config") or {}) if isinstance(value.get("config"), list) else None)
    if not isinstance(value, list) or len(value) > _MAX_RANK:
        return None
    if any(not (d is None or (isinstance(d, int) and not isinstance(d, bool) and 0 <= d < _MAX_DIM)) for d in value):
        return None
    return tuple(value)


def read_dtype(value: object) -> DType | None:
    """Return a dtype as JSON has it: a name, or a policy with one."""
    if isinstance(value, dict):
        inner = value.get("config")
        value = inner.get("name") if isinstance(inner, dict) else None
    return _DTYPES.get(value.removeprefix("mixed_")) if isinstance(value, str) else None


def _histories(nodes: object) -> Iterator[tuple[str, Shape]]:
    """Yield (layer, shape) for every tensor that inbound nodes name, of Keras 2 (lists) and of Keras 3 (objects)."""
    waiting = [nodes]
    while waiting:
        item = waiting.pop()
        if isinstance(item, dict):
            inner = item.get("config")
            if item.get("class_name") == "__keras_tensor__" and isinstance(inner, dict):
                history = inner.get("keras_history")
                if isinstance(history, list) and history and isinstance(history[0], str):
                    is_first = history[1:] == [0, 0]
                    yield history[0], read_shape(inner.get("shape")) if is_first else None
            else:
                waiting.extend(reversed(list(item.values())))
        elif isinstance(item, list):
            if len(item) >= _HISTORY_LENGTH and isinstance(item[0], str) and all(isinstance(i, int) for i in item[1:3]):
                yield item[0], None
                waiting.extend(reversed(item[3:]))
            else:
                waiting.extend(reversed(item))


def _inbound(nodes: object, known: set[str]) -> list[str]:
    return list(dict.fromkeys(name for name, _ in _histories(nodes) if name in known))


def _shapes_told(items: list[Json], *, is_chain: bool) -> dict[str, Shape]:
    """Return the shapes of outputs, as the layers that take them say; Keras 3 alone does."""
    found: dict[str, Shape] = {}
    if not is_chain:
        for item in items:
            for name, shape in _histories(item.get("inbound_nodes")):
                if shape is not None:
                    found.setdefault(name, shape)
        return found
    for number, item in enumerate(items[1:]):
        built = item.get("build_config")
        shape = read_shape(built.get("input_shape")) if isinstance(built, dict) else None
        if shape is not None:
            found[_layer_name(items[number], number)] = shape
    return found


def _signature(kind: str, settings: Json, layers: list[LayerConfig]) -> Signature | None:
    """Return what goes in and out, where the configuration gives the shape of an input."""
    top = [layer for layer in layers if not layer.parent]
    by_name = {layer.name: layer for layer in top}
    if not top:
        return None
    starts = [by_name[n] for n, _ in _ends(settings.get("input_layers")) if n in by_name]
    ends = [by_name[n] for n, _ in _ends(settings.get("output_layers")) if n in by_name]
    if not starts and (kind == "Sequential" or not settings):
        starts, ends = top[:1], top[-1:]
    inputs = []
    for layer in starts:
        shape = next((s for key in _SHAPE_KEYS if (s := read_shape(layer.settings.get(key))) is not None), None)
        if shape is None and len(starts) == 1:
            shape = read_shape(settings.get("build_input_shape"))
        if shape is None:
            continue
        dtype = read_dtype(layer.settings.get("input_dtype")) or read_dtype(layer.settings.get("dtype"))
        name = layer.name if layer.kind == "InputLayer" else f"{layer.name}_input"
        inputs.append(TensorSpec(TensorRef(name), dtype or DType.FLOAT, shape, name))
    if not inputs:
        return None
    outputs = [TensorSpec(TensorRef(layer.name), None, layer.shape, layer.name) for layer in ends]
    return Signature("main", tuple(inputs), tuple(outputs))


def _ends(value: object) -> Iterator[tuple[str, Any]]:
    """Yield what `input_layers` or `output_layers` names: one triple, a list of them, or a mapping to them."""
    yield from _histories(value)


def read_training(config: Json) -> dict[str, object]:
    """Return how a model was trained: `optimizer` and `loss` in words, then whatever else the file has."""
    found: dict[str, object] = {}
    optimizer = config.get("optimizer_config", config.get("optimizer"))
    if isinstance(optimizer, dict):
        found["optimizer"] = _text(optimizer.get("class_name")) or "?"
        inner = optimizer.get("config")
        if isinstance(inner, dict):
            found["optimizer_config"] = {k: v for k, v in inner.items() if v is not None}
    elif isinstance(optimizer, str):
        found["optimizer"] = optimizer
    known = {"optimizer", "optimizer_config"}
    return found | {k: v for k, v in config.items() if k not in known and v not in (None, [], {})}


def plain_settings(layer: LayerConfig) -> dict[str, object]:
    """Return a layer's configuration as far as it is plain; of serialized objects the class is given."""
    found: dict[str, object] = {}
    for key, value in layer.settings.items():
        if key in {"name", "layers"} or (layer.kind == "Lambda" and key in {"function", "mask"}):
            continue
        if isinstance(value, dict):
            shown: object = str(read_dtype(value) or "") if key == "dtype" else _text(value.get("class_name"))
        else:
            shown = plain(value)
        if shown is not None and shown != "":
            found[key] = shown
    return found
