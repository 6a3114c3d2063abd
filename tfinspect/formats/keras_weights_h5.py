"""Weights as Keras 3 writes them, for `.weights.h5` and inside `.keras`: one group `vars` an object, numbers for names.

Groups are named after classes, or after attributes of a model, and not after layers: what an object is called stands in
the attribute `name` of its `vars`. Files of the first Keras 3 have none; there the order of the layers tells.
"""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING, Final, NamedTuple

from tfinspect.errors import InputError
from tfinspect.formats import _keras_config, keras_h5
from tfinspect.formats._hdf5 import Hdf5, Link, Object
from tfinspect.ir.checkpoint import Checkpoint, Role, VariableInfo
from tfinspect.ir.layers import Layer
from tfinspect.ir.model import Model

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from tfinspect.formats._hdf5_data import Dataset
    from tfinspect.formats._keras_config import LayerConfig, ModelConfig
    from tfinspect.ir.tensors import Tensor

FORMAT: Final = "keras_weights_h5"
_VARS = "vars"
_LOOKED_AT = 64
_CONTAINERS: Final = ("layers", "_layer_checkpoint_dependencies")
_OPTIMIZER = "optimizer"
_METRICS: Final = frozenset({"metrics", "_compile_metrics", "_metrics"})
_RANDOM: Final = frozenset({"seed_generator", "_random_generator"})
_KERNEL: Final = ("kernel", "bias")
_CELL: Final = ("kernel", "recurrent_kernel", "bias")
_SCALED: Final = ("gamma", "beta")
_WORDS: Final[dict[str, tuple[str, ...]]] = {
    "BatchNormalization": (*_SCALED, "moving_mean", "moving_variance"), "LayerNormalization": _SCALED,
    "GroupNormalization": _SCALED, "Embedding": ("embeddings",), "PReLU": ("alpha",),
    "Normalization": ("mean", "variance", "count"), "RMSNormalization": ("scale",),
    **dict.fromkeys(("SeparableConv1D", "SeparableConv2D"), ("depthwise_kernel", "pointwise_kernel", "bias")),
    **dict.fromkeys(("LSTM", "GRU", "SimpleRNN", "LSTMCell", "GRUCell", "SimpleRNNCell"), _CELL),
    **dict.fromkeys(
        (
            "Dense", "EinsumDense", "Conv1D", "Conv2D", "Conv3D", "Conv1DTranspose", "Conv2DTranspose",
            "Conv3DTranspose", "DepthwiseConv1D", "DepthwiseConv2D",
        ),
        _KERNEL,
    ),
}  # fmt: skip
"""What layers call their variables, in the order in which they make them."""
_BY_GROUP: Final = {_keras_config.snake_case(name): name for name in _WORDS}
_NUMBER: Final = re.compile(r"_\d+$")
_STATE: Final = ("iteration", "learning_rate")
_SWITCHES: Final = {"bias": "use_bias", "gamma": "scale", "beta": "center"}


class Found(NamedTuple):
    """A variable of the file.

    Attributes:
        key: path of its dataset.
        owner: names of the objects that hold it, outermost first; the model itself left out.
        groups: path of the group of the object it belongs to.
        number: its place among the variables of that object.
        dataset: its values.
    """

    key: str
    owner: tuple[str, ...]
    groups: tuple[str, ...]
    number: str
    dataset: Dataset


def is_vars(root: Object) -> bool:
    """Whether a file is laid out as Keras 3 lays out weights, told from the root alone."""
    own = root.find(_VARS)
    if isinstance(own, Object):
        return own.is_group
    for name in _CONTAINERS:
        container = root.find(name)
        names = list(container.links)[:_LOOKED_AT] if isinstance(container, Object) else []
        if isinstance(container, Object) and any(container.find(f"{n}/{_VARS}") is not None for n in names):
            return True
    return False


def read(path: str | os.PathLike[str]) -> Model:
    """Read weights; values are read when asked for.

    Raises:
        CorruptFileError: the file is damaged.
        InputError: a weight is in another file.
        LimitError: a weight would unpack to far more than is stored.
    """
    name = os.fspath(path)
    return model(name, FORMAT, Hdf5(path), None)


def model(
    path: str,
    format: str,  # noqa: A002 - the word every command prints
    file: Hdf5,
    config: ModelConfig | None,
    load: Callable[[Dataset], Tensor] | None = None,
) -> Model:
    """Return the weights and layers of a file, named with the help of a configuration where there is one.

    Args:
        path: the file, as the caller wrote it.
        format: name of the row.
        file: its weights.
        config: its configuration.
        load: makes a tensor of a dataset; `keras_h5.as_tensor` where it is left out.

    Raises:
        CorruptFileError: the file is damaged.
        InputError: a weight is in another file.
        LimitError: a weight would unpack to far more than is stored.
    """
    known = {} if config is None else {layer.name: layer for layer in config.layers}
    groups = {} if config is None else _groups(config)
    order = {name: number for number, name in enumerate(known)}
    found = sorted(
        _variables(file),
        key=lambda item: (
            item.groups[:1] == (_OPTIMIZER,),
            order.get(_nearest(_owner(item, groups), known), len(order)),
            "backward_layer" in item.groups,
        ),
    )
    as_tensor = keras_h5.as_tensor if load is None else load
    variables: dict[str, VariableInfo] = {}
    datasets: dict[str, Dataset] = {}
    owned: dict[str, list[str]] = {}
    counts: dict[tuple[str, ...], int] = {}
    for item in found:
        counts[item.groups] = counts.get(item.groups, 0) + 1
    for item in found:
        role = _role(item)
        owner = _owner(item, groups)
        words = _words(item, owner, known, counts[item.groups])
        word = words[int(item.number)] if item.number.isdigit() and int(item.number) < len(words) else item.number
        label = f"{owner}/{word}" if owner else ""
        variables[item.key] = keras_h5.variable(item.key, item.dataset, role, label=label)
        datasets[item.key] = item.dataset
        if role == "weight":
            owned.setdefault(_nearest(owner, known) if known else owner, []).append(item.key)

    def tensor(name: str) -> Tensor:
        return as_tensor(datasets[name])

    return Model(
        path,
        format,
        checkpoint=Checkpoint(path, format, variables, tensor, (path,)),
        layers=layers(config, owned),
        facts={"generation": "Keras 3", **({"content": "weights only"} if config is None else {})},
        risks=tuple(keras_h5.outside_risks(file)),
    )


def _variables(file: Hdf5) -> list[Found]:
    """Return every dataset of a `vars` group; objects in the order of the file, their variables by number."""
    names: dict[tuple[str, ...], str] = {}
    rows: list[tuple[tuple[str, ...], Dataset]] = []
    for path, item in file.walk():
        parts = tuple(path.split("/"))
        if isinstance(item, Link):
            if _VARS in parts[:-1]:
                raise InputError(
                    f"{file.path}: the weight `{path}` is behind a link to `{item.target[:200]}` ({item.kind}), "
                    "which is not followed",
                    evidence={"path": file.path, "name": path, "link": item.kind, "target": item.target[:200]},
                )
            continue
        if item.is_dataset:
            item.dataset.check(len(file.view))
            rows.append((parts, item.dataset))
        elif parts[-1] == _VARS:
            attribute = item.attributes.get("name")
            text = None if attribute is None else attribute.text()
            if text:
                names[parts[:-1]] = text
    found = []
    for parts, dataset in rows:
        groups = parts[:-2] if parts[-2:-1] == (_VARS,) else parts[:-1]
        owner = tuple(names[groups[:end]] for end in range(1, len(groups) + 1) if groups[:end] in names)
        found.append(Found("/".join(parts), owner, groups, parts[-1], dataset))
    place = {groups: number for number, groups in enumerate(dict.fromkeys(item.groups for item in found))}
    return sorted(found, key=lambda item: (place[item.groups], len(item.number), item.number))


def _role(item: Found) -> Role:
    if item.groups[:1] == (_OPTIMIZER,):
        return keras_h5.state_role(item.key, item.dataset)
    if _METRICS & set(item.groups) or _RANDOM & set(item.groups):
        return "bookkeeping"
    return "weight"


def _owner(item: Found, groups: Mapping[tuple[str, ...], str]) -> str:
    return "/".join(item.owner) or groups.get(item.groups, "")


def _words(item: Found, owner: str, known: Mapping[str, LayerConfig], count: int) -> tuple[str, ...]:
    """Return what the variables of an object are called; nothing where its class does not tell."""
    if item.groups[:1] == (_OPTIMIZER,):
        return _STATE
    kind, settings = _class(item, owner, known)
    words = tuple(w for w in _WORDS.get(kind, ()) if settings.get(_SWITCHES.get(w, "")) is not False)
    if not settings and words == _KERNEL and count == 1:
        return words[:1]  # built without a bias
    return words if len(words) == count else ()


def _class(item: Found, owner: str, known: Mapping[str, LayerConfig]) -> tuple[str, Mapping[str, object]]:
    """Return class and settings of an object: a layer, what a layer wraps, or what its group is named after."""
    layer = known.get(owner)
    if layer is not None:
        return layer.kind, layer.settings
    wrapper = known.get(_nearest(owner, known))
    for key in ("layer", "backward_layer", "forward_layer"):
        inner = None if wrapper is None else wrapper.settings.get(key)
        settings = inner.get("config") if isinstance(inner, dict) else None
        if isinstance(settings, dict) and settings.get("name") in item.owner[-2:]:
            return str(inner["class_name"]) if isinstance(inner, dict) else "", settings
    if item.groups[-1:] == ("cell",):
        return "LSTMCell", {}
    return _BY_GROUP.get(_NUMBER.sub("", item.groups[-1]) if item.groups else "", ""), {}


def _nearest(owner: str, known: Mapping[str, LayerConfig]) -> str:
    """Return the layer of the configuration that an object is, or is a part of; the object itself where none is."""
    name = owner
    while name:
        if name in known:
            return name
        name = name.rpartition("/")[0]
    return owner


def _groups(config: ModelConfig) -> dict[tuple[str, ...], str]:
    """Return the layer by the path of its group, for files that do not name it."""
    paths: dict[str, tuple[str, ...]] = {"": ()}
    found: dict[tuple[str, ...], str] = {}
    for layer in config.layers:
        below = paths.get(layer.parent, ())
        paths[layer.name] = (*below, _CONTAINERS[0], layer.group)
        for container in _CONTAINERS:
            place = tuple(container if part == _CONTAINERS[0] else part for part in paths[layer.name])
            found[place] = layer.name
            found[(*place, "cell")] = layer.name
    return found


def layers(config: ModelConfig | None, owned: Mapping[str, list[str]]) -> tuple[Layer, ...]:
    """Return the layers of a configuration with their weights, and then whatever else has weights.

    Args:
        config: the configuration, or None.
        owned: names of variables by the layer they belong to.
    """
    known = () if config is None else config.layers
    found = [
        Layer(
            layer.name,
            layer.kind,
            tuple(owned.get(layer.name, ())),
            layer.inputs,
            layer.shape,
            _keras_config.plain_settings(layer),
        )
        for layer in known
    ]
    names = {layer.name for layer in known}
    return (*found, *(Layer(name, "", tuple(keys)) for name, keys in owned.items() if name and name not in names))
