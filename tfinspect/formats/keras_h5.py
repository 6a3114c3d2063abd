"""Keras models and weights in HDF5, as Keras 1 to 3 and tf.keras write for `.h5`.

`layer_names` lists the layers in order, `weight_names` of each layer its weights; the root has the configuration of the
model and of its training as JSON, where more than weights was saved.
"""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING, Final, NamedTuple

from tfinspect.errors import InputError
from tfinspect.formats import _keras_config, _keras_json
from tfinspect.formats._hdf5 import Hdf5, Link, Object
from tfinspect.ir.checkpoint import Checkpoint, Role, VariableInfo
from tfinspect.ir.dtypes import DType
from tfinspect.ir.layers import Layer
from tfinspect.ir.model import Model
from tfinspect.ir.risks import Risk
from tfinspect.ir.tensors import Tensor

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from tfinspect.formats._hdf5_data import Dataset

FORMAT: Final = "keras_h5"
_MAX_PIECES = 10_000  # of one list of names
_MAX_RATE: Final = 1e6  # what is larger is no rate
_TOP = "top_level_model_weights"
_OPTIMIZER = "optimizer_weights"
_SLOT: Final = re.compile(
    r"[/_](?:m|v|vhat|momentum|velocity|rms|accumulator|accumulator_\d|momentums?|velocities|mean_square|average|"
    r"velocity_hat|average_gradient|accumulated_grad|accumulated_delta_var|u|linear|squared_linear)$"
)
_STEP: Final = re.compile(r"(?:^|/)iterations?$|(?:^|/)iter$")
_TAIL: Final = re.compile(r":\d+$")


class Stored(NamedTuple):
    """A weight as it is stored.

    Attributes:
        layer: the group it was listed in; empty for the optimizer's.
        name: as listed.
        dataset: its values.
    """

    layer: str
    name: str
    dataset: Dataset


def is_layered(root: Object) -> bool:
    """Whether a file is laid out as Keras lays out `.h5`, told from the root alone."""
    names = root.attributes
    if "model_config" in names or "layer_names" in names or "layer_names0" in names:
        return True
    group = root.find("model_weights")
    return isinstance(group, Object) and ("layer_names" in group.attributes or "layer_names0" in group.attributes)


def read(path: str | os.PathLike[str]) -> Model:
    """Read a model or weights; values are read when asked for.

    Raises:
        CorruptFileError: the file is damaged.
        InputError: a weight that is listed is not there, or is in another file; the configuration is no JSON.
        LimitError: a weight would unpack to far more than is stored, or the configuration is larger than any model's.
    """
    name = os.fspath(path)
    file = Hdf5(path)
    root = file.root
    place = _group(file, "model_weights") or root
    weights = [w for layer in [*_names(place, "layer_names"), _TOP] for w in _weights(file, place, layer)]
    layer_names = _names(place, "layer_names")
    trained = _group(file, _OPTIMIZER)
    state = [] if trained is None else _listed(file, trained, "")
    text = _text(root, "model_config")
    config = None if text is None else _keras_config.read_config(name, _keras_json.load(name, "model_config", text))
    keys = unique(weights)
    layers = _layers(config, layer_names, weights, keys)
    if config is not None:
        _declare(config, weights)
    words = _text(root, "training_config")
    training = {} if words is None else _keras_config.read_training(_keras_json.load(name, "training_config", words))
    version = _text(root, "keras_version") or _text(place, "keras_version") or ""
    facts = {
        "keras_version": version,
        "generation": generation(version),
        "backend": _text(root, "backend") or _text(place, "backend") or "",
        "model": ""
        if config is None
        else " ".join(filter(None, (config.kind, f"`{config.name}`" * bool(config.name)))),
        "content": "weights only" if config is None else "",
        **training_words(training),
    }
    return Model(
        name,
        FORMAT,
        checkpoint=_checkpoint(name, weights, keys, state),
        signatures={"main": config.signature} if config is not None and config.signature is not None else {},
        layers=layers,
        training=training,
        facts={key: value for key, value in facts.items() if value},
        risks=(*(config.risks if config is not None else ()), *outside_risks(file)),
    )


def generation(version: str) -> str:
    """Return `Keras 2` for `2.1.3`, `Keras 2 (tf.keras)` for `2.2.4-tf`; empty where the version does not say."""
    number = version.partition(".")[0]
    if not number.isdigit() or len(number) > 2:  # noqa: PLR2004
        return ""
    return f"Keras {int(number)}" + (" (tf.keras)" if version.endswith("-tf") else "")


def training_words(training: Mapping[str, object]) -> dict[str, str]:
    """Return optimizer and loss in words."""
    found = {}
    optimizer = training.get("optimizer")
    if isinstance(optimizer, str):
        settings = training.get("optimizer_config")
        rate = None
        if isinstance(settings, dict):
            rate = settings.get("learning_rate", settings.get("lr"))
        is_number = isinstance(rate, (int, float)) and not isinstance(rate, bool) and abs(rate) < _MAX_RATE
        found["optimizer"] = f"{optimizer}, learning rate {rate:.6g}" if is_number else optimizer
    loss = training.get("loss")
    if isinstance(loss, dict):
        loss = loss.get("class_name") or ", ".join(f"{key}: {value}" for key, value in loss.items())
    elif isinstance(loss, list):
        loss = ", ".join(map(str, loss))
    if isinstance(loss, str) and loss:
        found["loss"] = loss
    return found


def outside_risks(file: Hdf5) -> list[Risk]:
    """Return a risk for every link and dataset that leads elsewhere; none of them is followed.

    Raises:
        CorruptFileError: the file is damaged.
    """
    found = []
    for name, item in file.walk():
        if isinstance(item, Link):
            what = {"soft": "another place of the file", "external": "another file"}.get(item.kind, "an unknown place")
            found.append(
                Risk("outside-path", name, f"is a link to {what}, `{item.target[:200]}`, and was not followed")
            )
        elif item.is_dataset and item.dataset.outside:
            found.append(Risk("outside-path", name, f"is {item.dataset.outside}, and was not followed"))
    return found


def _group(file: Hdf5, name: str) -> Object | None:
    """Return a group of the root, or None where there is none of that name."""
    found = file.root.find(name)
    if isinstance(found, Link):
        return _object(file, found, name, "group")
    return found if found is not None and found.is_group else None


def _text(place: Object, name: str) -> str | None:
    attribute = place.attributes.get(name)
    text = None if attribute is None else attribute.text()
    if attribute is not None and text is None:
        raise InputError(
            f"{place.file.path}: `{name}` of `{place.name}` is no text but {attribute.dataspace.count:,} "
            f"{attribute.datatype.title}",
            evidence={"path": place.file.path, "name": name},
        )
    return text


def _names(place: Object, name: str) -> list[str]:
    """Return a list of names, which Keras splits over `name0`, `name1`, ... where it is long."""
    found = place.attributes.get(name)
    pieces = [] if found is None else [found]
    while found is None and len(pieces) < _MAX_PIECES:
        piece = place.attributes.get(f"{name}{len(pieces)}")
        if piece is None:
            break
        pieces.append(piece)
    texts = []
    for piece in pieces:
        if piece.datatype.dtype is not DType.STRING and piece.dataspace.count:
            raise InputError(
                f"{place.file.path}: `{name}` of `{place.name}` holds {piece.datatype.title}, names were expected",
                evidence={"path": place.file.path, "name": name},
            )
        texts += [str(value) for value in (piece.values() if piece.dataspace.count else [])]
    return texts


def _weights(file: Hdf5, place: Object, layer: str) -> list[Stored]:
    found = place.find(layer)
    if found is None and layer == _TOP:
        return []
    return _listed(file, _object(file, found, layer, "layer"), layer)


def _listed(file: Hdf5, group: Object, layer: str) -> list[Stored]:
    names = _names(group, "weight_names")
    twice = next((n for i, n in enumerate(names) if n in names[:i]), None) if len(set(names)) < len(names) else None
    if twice is not None:
        raise InputError(
            f"{file.path}: `{group.name}` lists the weight `{twice}` twice",
            evidence={"path": file.path, "group": group.name, "weight": twice},
        )
    return [
        Stored(layer, name, _dataset(file, _object(file, group.find(name), f"{group.name}/{name}", "weight")))
        for name in names
    ]


def _object(file: Hdf5, found: Object | Link | None, name: str, word: str) -> Object:
    if isinstance(found, Object):
        return found
    evidence = {"path": file.path, "name": name}
    if found is None:
        raise InputError(f"{file.path}: the {word} `{name}` is listed, but is not there", evidence=evidence)
    raise InputError(
        f"{file.path}: the {word} `{name}` is behind a link to `{found.target[:200]}` ({found.kind}), "
        "which is not followed",
        evidence={**evidence, "link": found.kind, "target": found.target[:200]},
    )


def _dataset(file: Hdf5, found: Object) -> Dataset:
    if not found.is_dataset:
        raise InputError(
            f"{file.path}: `{found.name}` is a group, a weight was expected",
            evidence={"path": file.path, "name": found.name},
        )
    found.dataset.check(len(file.view))
    return found.dataset


def unique(weights: Iterable[Stored]) -> list[str]:
    """Return the name of each weight: as stored, with the layer's before it where two layers have one of that name."""
    listed = list(weights)
    count: dict[str, int] = {}
    for weight in listed:
        count[weight.name] = count.get(weight.name, 0) + 1
    names, seen = [], set()
    for weight in listed:
        name = f"{weight.layer}/{weight.name}" if count[weight.name] > 1 else weight.name
        number = 1
        base = name
        while name in seen:
            number += 1
            name = f"{base}#{number}"
        seen.add(name)
        names.append(name)
    return names


def variable(name: str, dataset: Dataset, role: Role = "weight", *, label: str = "", serves: str = "") -> VariableInfo:
    """Return what is known of a weight."""
    nbytes = dataset.nbytes
    return VariableInfo(name, dataset.dtype, dataset.shape, nbytes, role, label=label, serves=serves)


def state_role(name: str, dataset: Dataset) -> Role:
    """Return the role of a variable of an optimizer."""
    plain = _TAIL.sub("", name)
    if dataset.shape == () and (dataset.dtype.is_integer or _STEP.search(plain)):
        return "step"
    return "bookkeeping" if dataset.shape == () else "slot"


def _checkpoint(path: str, weights: list[Stored], keys: list[str], state: list[Stored]) -> Checkpoint:
    variables: dict[str, VariableInfo] = {}
    datasets: dict[str, Dataset] = {}
    by_word: dict[str, list[str]] = {}
    for key, weight in zip(keys, weights, strict=True):
        variables[key] = variable(key, weight.dataset)
        datasets[key] = weight.dataset
        by_word.setdefault(_TAIL.sub("", weight.name).replace("/", "_"), []).append(key)
    for item in state:
        key = item.name if item.name not in variables else f"{_OPTIMIZER}/{item.name}"
        role = state_role(item.name, item.dataset)
        serves = _served(item, by_word, variables) if role == "slot" else ""
        variables[key] = variable(key, item.dataset, role, serves=serves)
        datasets[key] = item.dataset

    def tensor(name: str) -> Tensor:
        return as_tensor(datasets[name])

    return Checkpoint(path, FORMAT, variables, tensor, (path,))


def as_tensor(dataset: Dataset) -> Tensor:
    """Return values that are read when asked for."""
    return Tensor(dataset.dtype, dataset.shape, dataset.numpy)


def _served(item: Stored, by_word: Mapping[str, list[str]], variables: Mapping[str, VariableInfo]) -> str:
    """Return the weight that a slot is named after: `Adam/dense/kernel/m:0`, `adam/dense_kernel_momentum`."""
    base = _SLOT.sub("", _TAIL.sub("", item.name))
    rest = base.replace("/", "_")
    while rest:
        fitting = [key for key in by_word.get(rest, ()) if variables[key].shape == item.dataset.shape]
        if len(fitting) == 1:
            return fitting[0]
        _, _, rest = rest.partition("_")
    return ""


def _declare(config: _keras_config.ModelConfig, weights: list[Stored]) -> None:
    """Tell the dtype of weights whose bytes HDF5 has no type for: bfloat16, by the policy of their layer."""
    policies = {
        layer.name: policy
        for layer in config.layers
        if (policy := _keras_config.read_dtype(layer.settings.get("dtype"))) is not None
    }
    for weight in weights:
        policy = policies.get(weight.layer)
        if policy is not None:
            weight.dataset.declare(policy)


def _layers(
    config: _keras_config.ModelConfig | None, names: list[str], weights: list[Stored], keys: list[str]
) -> tuple[Layer, ...]:
    owned: dict[str, list[tuple[str, str]]] = {name: [] for name in names}
    for key, weight in zip(keys, weights, strict=True):
        owned.setdefault(weight.layer, []).append((key, weight.name))
    if config is None:
        return tuple(Layer(name, "", tuple(key for key, _ in found)) for name, found in owned.items())
    found: dict[str, list[str]] = {}
    for top, listed in owned.items():
        inside = [layer.name for layer in config.layers if layer.name.startswith(f"{top}/")]
        for key, stored in listed:
            found.setdefault(_owner(top, stored, inside), []).append(key)
    layers = [
        Layer(
            layer.name, layer.kind, tuple(found.pop(layer.name, ())), layer.inputs, layer.shape,
            _keras_config.plain_settings(layer),
        )
        for layer in config.layers
    ]  # fmt: skip
    return (*layers, *(Layer(name or config.name, "", tuple(listed)) for name, listed in found.items()))


def _owner(top: str, stored: str, inside: list[str]) -> str:
    """Return which layer of a nested model a weight of it belongs to, told by its name; else the model."""
    parts = _TAIL.sub("", stored).split("/")
    best = top
    for name in inside:
        leaf = name.rsplit("/", 1)[-1]
        if (leaf in parts[:-1] or parts[-1].startswith(f"{leaf}_")) and len(name) > len(best):
            best = name
    return best
