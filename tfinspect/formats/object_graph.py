"""The graph of objects that TensorFlow 2 saves beside the variables of a checkpoint.

Its variables stand in the table under the shortest path that leads to them, which is seldom what a person calls them:
Keras 3 puts a kernel under `optimizer/_trainable_variables/0`. The graph tells the name each variable had, every path
to it, and which of them belong to an optimizer. It may have cycles, and objects that are reached in several ways.
"""

from __future__ import annotations

import re
from collections import Counter
from typing import TYPE_CHECKING, Any, NamedTuple

from google.protobuf.message import DecodeError

from tfinspect.errors import InputError
from tfinspect.formats._schema import message_class
from tfinspect.ir.checkpoint import OBJECT_GRAPH, VALUE, Role

if TYPE_CHECKING:
    from collections.abc import Container, Iterable, Mapping, Sequence

_ESCAPED = re.compile(r"(\.S|\.\.)")
_MAX_DEPTH = 64  # of a path that is shown to a person
_MAX_DIGITS = 9  # of a position in a list
_LISTS = frozenset(
    {
        "variables", "trainable_variables", "non_trainable_variables", "trainable_weights", "non_trainable_weights",
        "weights", "layers",
    }
)  # fmt: skip
_INNER = ("_", "optimizer", "keras_api", "layer_with_weights-")
_COSTS = 3  # of an edge: 0 for a name, 1 for a list of everything, 2 for what is no part of the model proper
_OPTIMIZER_OWN = frozenset({"_iterations", "_learning_rate", "_trainable_variables"})


class Described(NamedTuple):
    """What the graph says of the keys of its checkpoint.

    Attributes:
        labels: what a person calls the variable, by key.
        slots: role and the key of the variable served, of those that belong to an optimizer.
        problems: where the graph contradicts itself or the checkpoint.
    """

    labels: Mapping[str, str]
    slots: Mapping[str, tuple[Role, str]]
    problems: Sequence[InputError]


NOTHING = Described({}, {}, ())


class _Value(NamedTuple):
    """One saved value: the object it belongs to, its name there, the name its variable had, and its key."""

    node: int
    attribute: str
    full_name: str
    key: str


def describe(payload: bytes, keys: Container[str], path: str) -> Described:
    """Read a serialised TrackableObjectGraph.

    Args:
        payload: its bytes.
        keys: the names in the checkpoint.
        path: the file to name in a complaint.
    """
    try:
        nodes = message_class("TrackableObjectGraph").FromString(payload).nodes
    except DecodeError:
        message = f"{path}: `{OBJECT_GRAPH}` is not a graph of objects ({len(payload):,} bytes)"
        return Described({}, {}, (InputError(message, evidence={"path": path}),))
    reader = _Reader(nodes, keys, path)
    labels = _labels(reader.values, reader.places())
    slots = reader.slots(labels)
    return Described(labels, slots, reader.problems())


def names_in_model(payload: bytes, keys: Iterable[str]) -> dict[str, str]:
    """Name variables by the SavedObjectGraph of a SavedModel, which has the names where the checkpoint's graph is lost.

    Args:
        payload: the graph's bytes.
        keys: the keys of the checkpoint: each is the path to its variable.

    Returns:
        Names by key, of the variables the paths lead to; a name that two of them have is left out.
    """
    try:
        nodes = message_class("SavedObjectGraph").FromString(payload).nodes
    except DecodeError:
        return {}
    children: dict[int, dict[str, int]] = {}
    found = {}
    for key in keys:
        number = 0 if key.endswith(VALUE) and nodes else -1
        for part in key.removesuffix(VALUE).split("/"):
            if not 0 <= number < len(nodes):
                break
            if number not in children:
                children[number] = {child.local_name: child.node_id for child in nodes[number].children}
            number = children[number].get(_unescaped(part), -1)
        if 0 <= number < len(nodes) and nodes[number].variable.name:
            found[key] = nodes[number].variable.name
    counts = Counter(found.values())
    return {key: name for key, name in found.items() if counts[name] == 1}


def _unescaped(part: str) -> str:
    """Undo what keeps a name apart from the path it is in: `.S` is a slash, `..` a full stop."""
    return "".join({".S": "/", "..": "."}.get(piece, piece) for piece in _ESCAPED.split(part))


class _Place(NamedTuple):
    """How an object is reached: over which edge from which other, and at what cost in all."""

    parent: int
    name: str
    cost: int
    depth: int


class _Reader:
    """Walks the nodes; what is out of range is counted and left out.

    Attributes:
        values: what was saved, of those keys the checkpoint has.
    """

    def __init__(self, nodes: Any, keys: Container[str], path: str) -> None:  # noqa: ANN401 - made at run time
        self._size = len(nodes)
        self._keys = keys
        self._path = path
        self._outside: list[str] = []
        self._unknown: list[str] = []
        self._children: list[list[tuple[int, str]]] = []
        self.values: list[_Value] = []
        self._optimizers: list[int] = []
        self._slots: list[tuple[int, int]] = []  # slot, and the variable it serves
        for number, node in enumerate(nodes):
            self._take(number, node)

    def _take(self, number: int, node: Any) -> None:  # noqa: ANN401 - made at run time
        """Keep what is wanted of a node: each look at a message costs."""
        children = []
        for child in node.children:
            place, name = child.node_id, child.local_name
            if self._within(place, number):
                children.append((place, name))
                if name == "_iterations":
                    self._optimizers.append(number)
        self._children.append(children)
        for value in node.attributes:
            key = value.checkpoint_key
            if key in self._keys:
                self.values.append(_Value(number, value.name, value.full_name, key))
            else:
                self._unknown.append(key)
        for slot in node.slot_variables:
            own, served = slot.slot_variable_node_id, slot.original_variable_node_id
            if self._within(own, number) and self._within(served, number):
                self._slots.append((own, served))

    def _within(self, number: int, owner: int) -> bool:
        if 0 <= number < self._size:
            return True
        self._outside.append(f"object {owner:,} has object {number:,} below it")
        return False

    def places(self) -> list[_Place | None]:
        """Return the cheapest, and then shortest, way to each object from the first."""
        found: list[_Place | None] = [None] * self._size
        if not self._size:
            return found
        waiting: dict[int, list[tuple[int, _Place]]] = {0: [(0, _Place(-1, "", 0, 0))]}
        cost = 0
        while waiting:
            queue = waiting.get(cost, [])
            for number, place in queue:  # grows while it is walked
                if found[number] is not None:
                    continue
                found[number] = place
                for child, name in self._children[number]:
                    if found[child] is None:
                        total = cost + _cost(name)
                        waiting.setdefault(total, []).append((child, _Place(number, name, total, place.depth + 1)))
            waiting.pop(cost, None)
            cost += 1
        return found

    def slots(self, labels: Mapping[str, str]) -> dict[str, tuple[Role, str]]:
        """Return role and served key of every value that an optimizer keeps for itself."""
        key_of = {value.node: value.key for value in self.values if value.attribute == "VARIABLE_VALUE"}
        found: dict[str, tuple[Role, str]] = {}
        for own, served in self._slots:
            if own in key_of:
                found[key_of[own]] = ("slot", key_of.get(served, ""))
        for number in self._optimizers:
            names = {name: child for child, name in self._children[number]}
            if "_variables" in names or "_trainable_variables" in names:
                self._add_lists(names, key_of, found)
        by_name = {labels[key]: key for key in key_of.values() if key not in found and key in labels}
        for key, (role, known) in found.items():
            if not known:
                found[key] = (role, _served(labels.get(key, ""), by_name))
        return found

    def _add_lists(self, names: dict[str, int], key_of: dict[int, str], found: dict[str, tuple[Role, str]]) -> None:
        """Take the lists of an optimizer of Keras 3, or of late tf.keras: its variables, and what each serves."""
        trained = self._items(names["_trainable_variables"]) if "_trainable_variables" in names else []
        own = {names[name] for name in ("_iterations", "_learning_rate") if name in names} | set(trained)
        if "_variables" in names:
            for item in self._items(names["_variables"]):
                if item in key_of and item not in own:
                    found.setdefault(key_of[item], ("slot", ""))
        for name, child in names.items():  # `_momentums`: one slot for each trained variable, in their order
            items = self._items(child) if name not in _OPTIMIZER_OWN else []
            if trained and len(items) == len(trained) and name != "_variables":
                for item, served in zip(items, trained, strict=True):
                    if key_of.get(item) in found:
                        found[key_of[item]] = ("slot", key_of.get(served, ""))
        for served in trained:
            if served in key_of:
                found[key_of[served]] = ("weight", "")

    def _items(self, number: int) -> list[int]:
        items = [
            (int(name), child)
            for child, name in self._children[number]
            if name.isascii() and name.isdigit() and len(name) <= _MAX_DIGITS
        ]
        return [child for _, child in sorted(items)]

    def problems(self) -> list[InputError]:
        """Return at most one complaint of each kind."""
        found = []
        for count, what, first in (
            (len(self._outside), f"points outside of its {self._size:,} objects", self._outside),
            (len(self._unknown), "names keys that are not in the checkpoint", self._unknown),
        ):
            if count:
                times = "" if count == 1 else f" and {count - 1:,} more"
                shown = first[0] if first is self._outside else f"`{first[0]}`"
                message = f"{self._path}: the graph of objects {what}: {shown}{times}"
                found.append(InputError(message, evidence={"path": self._path, "count": count}))
        return found


def _cost(name: str) -> int:
    if name.startswith(_INNER):
        return _COSTS - 1
    return 1 if name in _LISTS else 0


def _labels(values: list[_Value], places: list[_Place | None]) -> dict[str, str]:
    """Name each key: as its variable was called where no other was called so, else by the best path to it."""
    uses: dict[str, list[_Value]] = {}
    for value in values:
        uses.setdefault(value.full_name, []).append(value)
    labels = {}
    for full_name, same in uses.items():
        named = _only(full_name, same, places)
        for value in same:
            labels[value.key] = full_name if value is named else _path(value, places)
    counts = Counter(labels.values())
    return {key: label if label and counts[label] == 1 else key.removesuffix(VALUE) for key, label in labels.items()}


def _only(full_name: str, same: list[_Value], places: list[_Place | None]) -> _Value | None:
    """Return the value a name means: the only one, or, of a name with scopes, the one that is easiest to reach."""
    if not full_name:
        return None
    if len(same) == 1:
        return same[0]
    if "/" not in full_name:
        return None
    ranked = sorted((place.cost, number) for number, v in enumerate(same) if (place := places[v.node]) is not None)
    if ranked and (len(ranked) == 1 or ranked[0][0] < ranked[1][0]):
        return same[ranked[0][1]]
    return None


def _path(value: _Value, places: list[_Place | None]) -> str:
    """Write the path to a value; empty where nothing leads to it, or too long a way."""
    place = places[value.node]
    if place is None or place.depth > _MAX_DEPTH:
        return ""
    names = [] if value.attribute == "VARIABLE_VALUE" else [value.attribute]
    while place is not None and place.parent >= 0:
        names.append(place.name)
        place = places[place.parent]
    return "/".join(reversed(names))


def _served(label: str, by_name: Mapping[str, str]) -> str:
    """Find the variable an optimizer's own is named after: `Adam/m/dense/kernel` serves `dense/kernel`."""
    rest = label
    while rest:
        _, _, rest = rest.partition("/")
        for name in (rest, rest.rpartition("/")[0]):
            if name in by_name:
                return by_name[name]
    return ""
