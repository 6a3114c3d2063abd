"""Weights as a file lists them, given to the layers of a model that was built. In the child only."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

from tfinspect.errors import InputError
from tfinspect.runtimes import _keras_graph

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy.typing as npt

    from tfinspect.runtimes._weights import Weight

    Array = npt.NDArray[Any]

_ATTRIBUTE: Final = re.compile(r"_?[A-Za-z]\w*")
_WORDS: Final = re.compile(r"\W+")
_BEFORE_CAPITAL: Final = re.compile(r"(.)([A-Z][a-z0-9]+)")
_AFTER_SMALL: Final = re.compile(r"([a-z])([A-Z])")


def assign_by_place(model: Any, places: Sequence[Any], weights: Mapping[str, Weight], subject: str) -> None:  # noqa: ANN401
    """Give each object of a model its weights, found as Keras 3 finds it: by attributes, and by class in a list.

    Raises:
        InputError: an object is not there, or its weights are others.
    """
    missing = {id(v): layer.name for layer in model._flatten_layers() for v in _own(layer)}  # noqa: SLF001
    for place, pairs in places:
        found = _at(model, place.split("/"))
        if found is None:
            raise InputError(
                f"{subject} has weights at `{place}`, where the model has no layer",
                evidence={"path": subject, "place": place},
            )
        variables = _own(found)
        _check(found.name, variables, [weights[key].values for _, key in pairs], subject)
        for variable, (_, key) in zip(variables, pairs, strict=True):
            variable.assign(weights[key].values)
            missing.pop(id(variable), None)
    if missing:
        layer = next(iter(missing.values()))
        raise InputError(
            f"{subject} has no weights for the layer `{layer}`, which takes some",
            evidence={"path": subject, "layer": layer},
        )


def _own(layer: Any) -> list[Any]:  # noqa: ANN401 - Keras's
    """Return the variables of a layer itself, in the order in which Keras 3 writes them."""
    for names in (
        ("_trainable_variables", "_non_trainable_variables"),
        ("_trainable_weights", "_non_trainable_weights"),
    ):
        if all(hasattr(layer, name) for name in names):
            return [variable for name in names for variable in getattr(layer, name)]
    return []


def _at(model: Any, place: Sequence[str]) -> Any | None:  # noqa: ANN401 - Keras's
    found: Any = model
    for word in place:
        if isinstance(found, dict):
            found = list(found.values())
        if isinstance(found, (list, tuple)):
            found = _by_class(found).get(word)
        elif _ATTRIBUTE.fullmatch(word) and not isinstance(found, (str, bytes, int, float)):
            found = getattr(found, word, None)
        else:
            return None
        if found is None:
            return None
    return found if hasattr(found, "add_weight") and not isinstance(found, type) else None


def _by_class(layers: Sequence[Any]) -> dict[str, Any]:
    """Return layers by what Keras calls them: their class in lower case, with a number from the second on."""
    found: dict[str, Any] = {}
    count: dict[str, int] = {}
    for layer in layers:
        word = _WORDS.sub("", type(layer).__name__)
        word = _AFTER_SMALL.sub(r"\1_\2", _BEFORE_CAPITAL.sub(r"\1_\2", word)).lower()
        number = count.get(word, 0)
        count[word] = number + 1
        found[f"{word}_{number}" if number else word] = layer
    return found


def assign(model: Any, layers: Sequence[Any], weights: Mapping[str, Weight], subject: str) -> None:  # noqa: ANN401
    """Give each layer its weights: by what it calls them where the file says, else in the layer's order."""
    found = dict(_keras_graph.walk(model))
    told = set()
    for name, pairs in layers:
        layer = found.get(name)
        if layer is None:
            raise InputError(
                f"{subject} has weights of a layer `{name}` that its configuration does not name",
                evidence={"path": subject, "layer": name},
            )
        told.add(name)
        variables = [*layer.trainable_weights, *layer.non_trainable_weights]
        values = [weights[key].values for key in _ordered(variables, pairs)]
        _check(name, variables, values, subject)
        layer.set_weights(_in_order_of_set(layer, variables, values))
    for name, layer in found.items():
        inside = any(other == name or other.startswith(f"{name}/") or name.startswith(f"{other}/") for other in told)
        if not inside and layer.weights:
            _check(name, layer.weights, (), subject)


def _in_order_of_set(layer: Any, variables: Sequence[Any], values: Sequence[Array]) -> list[Array]:  # noqa: ANN401
    """Return values in the order `set_weights` takes: that of `weights`, in which trainable ones need not be first."""
    by_variable = {id(variable): value for variable, value in zip(variables, values, strict=True)}
    return [by_variable[id(variable)] for variable in layer.weights]


def _check(name: str, variables: Sequence[Any], values: Sequence[Array], subject: str) -> None:
    """Hold weights against what a layer takes.

    Raises:
        InputError: there are more or fewer, or one has another shape.
    """
    evidence: dict[str, object] = {"path": subject, "layer": name}
    if len(variables) != len(values):
        raise InputError(
            f"{subject}: the layer `{name}` takes {len(variables)} weights, the file has {len(values)} for it",
            evidence=evidence,
        )
    for variable, value in zip(variables, values, strict=True):
        if tuple(variable.shape) != value.shape:
            raise InputError(
                f"{subject}: the layer `{name}` wants `{_word(variable)}` of shape {list(variable.shape)}, "
                f"the file has {list(value.shape)}",
                evidence=evidence,
            )


def _word(variable: Any) -> str:  # noqa: ANN401 - Keras's
    return str(variable.name).rpartition("/")[2].partition(":")[0]


def _ordered(variables: Sequence[Any], pairs: Sequence[Sequence[str]]) -> list[str]:
    """Return the keys of the weights in the order of the variables."""
    words = [_word(variable) for variable in variables]
    stored = {pair[0]: pair[1] for pair in pairs}
    if len(stored) == len(pairs) and set(stored) == set(words) and len(set(words)) == len(words):
        return [stored[word] for word in words]
    return [key for _, key in pairs]
