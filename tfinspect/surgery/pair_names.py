"""Which name of one model is which of another: the same, the same under another scope, or by what it computes."""

from __future__ import annotations

import hashlib
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from tfinspect.errors import InvalidGraphError
from tfinspect.ir.attrs import Attr, AttrList, FuncRef
from tfinspect.ir.refs import split_input
from tfinspect.ir.tensors import Tensor

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping

    from tfinspect.ir.graph import Graph, Node

_LEAST_NAMES = 2
_MOST_HEADS = 8  # scopes remembered for one ending; a name like `weights` ends thousands
_MOST_DEPTH = 32


@dataclass(frozen=True, slots=True)
class ScopeChange:
    """A prefix of every name of the first model, and what stands in its place in the second; one may be empty."""

    a: str
    b: str

    def applied(self, name: str) -> str | None:
        """Return the name as the second model has it, or None where the prefix does not fit."""
        return self.b + name[len(self.a) :] if name.startswith(self.a) else None


@dataclass(frozen=True, slots=True)
class Pairing:
    """Names of the first model and their counterparts in the second.

    Attributes:
        names: counterpart by name; those not in it have none.
        scope: the prefix that was taken for another one, None where names match as they are.
        renamed: names of the first that were recognised by what they compute alone.
    """

    names: Mapping[str, str]
    scope: ScopeChange | None = None
    renamed: frozenset[str] = field(default_factory=frozenset)


def pair_names(a: Collection[str], b: Collection[str]) -> Pairing:
    """Pair names that are equal, and of the others those that are equal but for a common prefix."""
    in_b = set(b)
    pairs = {name: name for name in a if name in in_b}
    rest_a = [name for name in a if name not in pairs]
    rest_b = [name for name in b if name not in pairs]
    scope = scope_change(rest_a, rest_b)
    if scope is None:
        return Pairing(pairs)
    free = set(rest_b)
    for name in rest_a:
        other = scope.applied(name)
        if other in free:
            free.discard(other)
            pairs[name] = other
    return Pairing(pairs, scope)


def scope_change(a: Collection[str], b: Collection[str]) -> ScopeChange | None:
    """Find the prefix that most names of one side have and those of the other lack or have otherwise.

    Returns:
        None where no prefix serves two names, and half of the shorter list.
    """
    if min(len(a), len(b)) < _LEAST_NAMES:
        return None
    heads: dict[str, list[str]] = {}
    for name in a:
        for at in _endings(name):
            known = heads.setdefault(name[at:], [])
            if len(known) < _MOST_HEADS:
                known.append(name[:at])
    votes: Counter[tuple[str, str]] = Counter()
    for name in b:
        for at in _endings(name):  # the longest ending first
            found = heads.get(name[at:])
            if found:
                votes.update((head, name[:at]) for head in found)
                break
    if not votes:
        return None
    (head_a, head_b), count = max(votes.items(), key=lambda item: (item[1], -len(item[0][0]) - len(item[0][1])))
    if count < max(_LEAST_NAMES, min(len(a), len(b)) / 2):
        return None
    return ScopeChange(head_a, head_b)


def _endings(name: str) -> list[int]:
    starts, at = [0], name.find("/") + 1
    while at and len(starts) < _MOST_DEPTH:
        starts.append(at)
        at = name.find("/", at) + 1
    return starts


def pair_nodes(a: Graph, b: Graph, digest: Callable[[Tensor], bytes]) -> Pairing:
    """Pair the nodes of two graphs: by name, by name under another scope, and else by what they compute.

    Args:
        a: the first graph.
        b: the second.
        digest: hash of a constant's dtype, shape and values.

    Raises:
        InvalidGraphError: two nodes of one graph have the same name.
    """
    by_name = pair_names(a.by_name, b.by_name)
    rest = min(len(a), len(b)) - len(by_name.names)
    if not rest:
        return by_name
    pairs = dict(by_name.names)
    try:
        for content in (digest, None):
            _pair_by_structure(a, b, pairs, content)
    except InvalidGraphError:  # a cycle or a dangling input: what a node computes cannot be told
        return by_name
    renamed = frozenset(pairs).difference(by_name.names)
    if len(renamed) < rest / 2:  # some placeholder or zero is in any two graphs
        return by_name
    return Pairing(pairs, by_name.scope, renamed)


def _pair_by_structure(a: Graph, b: Graph, pairs: dict[str, str], digest: Callable[[Tensor], bytes] | None) -> None:
    mine = _Keys(a, {name: name for name in pairs}, digest)
    theirs = _Keys(b, {other: name for name, other in pairs.items()}, digest)
    whole, upstream = (mine.both, theirs.both, True), (mine.forward, theirs.forward, False)
    for keys_a, keys_b, ties in (whole,) if digest is None else (whole, upstream):
        taken = set(pairs.values())
        groups_a = _grouped(keys_a, (node.name for node in a if node.name not in pairs))
        groups_b = _grouped(keys_b, (node.name for node in b if node.name not in taken))
        for key, names in groups_a.items():
            others = groups_b.get(key, [])
            if len(names) == len(others) and (ties or (len(names) == 1 and not _is_number(a.by_name[names[0]]))):
                pairs.update(zip(names, others, strict=True))


def _is_number(node: Node) -> bool:
    """Whether it is a constant of one element, which is much the same in any graph."""
    value = node.tensor() if node.op == "Const" else None
    return value is not None and value.size <= 1


def _grouped(keys: Mapping[str, bytes], names: Iterable[str]) -> dict[bytes, list[str]]:
    groups: dict[bytes, list[str]] = {}
    for name in names:
        groups.setdefault(keys[name], []).append(name)
    return groups


class _Keys:
    """For each node a hash of everything before it, and one of everything after it as well; names play no part.

    A node that has its counterpart already stands for itself.
    """

    def __init__(self, graph: Graph, known: Mapping[str, str], digest: Callable[[Tensor], bytes] | None) -> None:
        order = graph.topological()
        self.forward: dict[str, bytes] = {}
        self.both: dict[str, bytes] = {}
        for node in order:
            if node.name in known:
                self.forward[node.name] = _hash("=", known[node.name])
                continue
            inputs = [(self.forward.get(name, b"loop"), index) for name, index, _ in map(split_input, node.inputs)]
            self.forward[node.name] = _hash(node.op, inputs, _attrs_key(node, digest))
        after: dict[str, list[bytes]] = {node.name: [] for node in order}
        for node in reversed(order):
            if node.name in known:
                self.both[node.name] = self.forward[node.name]
            else:
                self.both[node.name] = _hash(self.forward[node.name], sorted(after[node.name]))
            for place, (name, index, _) in enumerate(map(split_input, node.inputs)):
                after[name].append(_hash(self.both[node.name], place, index))


def _hash(*parts: object) -> bytes:
    return hashlib.blake2b(repr(parts).encode(), digest_size=16).digest()


def _attrs_key(node: Node, digest: Callable[[Tensor], bytes] | None) -> list[tuple[str, object]]:
    return [(name, _attr_key(attr, digest)) for name, attr in sorted(node.attrs.items()) if not name.startswith("_")]


def _attr_key(attr: Attr, digest: Callable[[Tensor], bytes] | None) -> object:
    return _value_key(attr.value, digest)


def _value_key(value: Any, digest: Callable[[Tensor], bytes] | None) -> object:  # noqa: ANN401 - any attribute value
    if isinstance(value, Tensor):
        return (int(value.dtype), len(value.shape)) if digest is None else digest(value)
    if isinstance(value, FuncRef):
        return "function"  # whose name the writer numbers anew each time
    if isinstance(value, AttrList):
        return [_value_key(item, digest) for item in value.values]
    return value
