"""Two sets of weights, name by name; values are read piece by piece, and only where both sides have them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from tfinspect.errors import TfinspectError
from tfinspect.surgery.pair_names import ScopeChange, pair_names

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from tfinspect.ir.dtypes import DType
    from tfinspect.ir.model import Model
    from tfinspect.ir.tensors import Tensor
    from tfinspect.verify.tensor_difference import TensorDifference

_VALUE_KEY = "/.ATTRIBUTES/VARIABLE_VALUE"


@dataclass(frozen=True, slots=True)
class Weight:
    """A variable or a constant, its value unread.

    Attributes:
        name: variable of the checkpoint, or node of the constant.
        dtype: element type.
        shape: dimensions.
        tensor: gives the tensor whose value is read when asked for.
        role: as `vars` says it; "constant" for one of the graph.
        label: what a person calls it, where that is not the name.
    """

    name: str
    dtype: DType
    shape: tuple[int, ...]
    tensor: Callable[[], Tensor]
    role: str
    label: str = ""

    @property
    def kind(self) -> tuple[DType, tuple[int, ...]]:
        """Element type and dimensions: what two weights of the same values have in common."""
        return self.dtype, self.shape


@dataclass(frozen=True, slots=True)
class WeightChange:
    """A weight that both have, with other values, another dtype or another shape.

    Attributes:
        a: in the first model.
        b: in the second.
        measures: how the values differ; None where the shapes do.
    """

    a: Weight
    b: Weight
    measures: TensorDifference | None

    @property
    def order(self) -> tuple[float, ...]:
        """What sorts the largest change first: not-finite values, relative RMS, absolute change, count."""
        found = self.measures
        if found is None:
            return (0.0,)
        odd = found.not_finite_a != found.not_finite_b
        rel = float("inf") if found.rel_rms is None and found.max_abs else found.rel_rms or 0.0
        return (-float(odd), -rel, -(found.max_abs or 0.0), -found.differing)


@dataclass(frozen=True, slots=True)
class Unreadable:
    """A weight whose value could not be read on one side.

    Attributes:
        name: of the weight there.
        side: "a" or "b".
        error: why.
    """

    name: str
    side: str
    error: TfinspectError


@dataclass(slots=True)
class WeightsDifference:
    """How two sets of weights differ.

    Attributes:
        count_a: how many the first has.
        count_b: how many the second has.
        model_a: how many of the first a model computes with: no slots and steps; constants only where there is no more.
        model_b: likewise of the second.
        paired: how many have a counterpart, renamed ones included.
        same: how many have the same bits.
        within: how many differ, but by no more than the tolerances.
        added: those only the second has.
        removed: those only the first has.
        changed: same dtype and shape, other values; the largest change first.
        retyped: another dtype.
        reshaped: another shape.
        renamed: the same bits under another name.
        unreadable: those whose value could not be read.
        scope: prefix that was taken for another one.
    """

    count_a: int = 0
    count_b: int = 0
    model_a: int = 0
    model_b: int = 0
    paired: int = 0
    same: int = 0
    within: int = 0
    added: list[Weight] = field(default_factory=list)
    removed: list[Weight] = field(default_factory=list)
    changed: list[WeightChange] = field(default_factory=list)
    retyped: list[WeightChange] = field(default_factory=list)
    reshaped: list[WeightChange] = field(default_factory=list)
    renamed: list[tuple[Weight, Weight]] = field(default_factory=list)
    unreadable: list[Unreadable] = field(default_factory=list)
    scope: ScopeChange | None = None

    @property
    def differs(self) -> bool:
        """Whether there is any difference."""
        return bool(self.added or self.removed or self.changed or self.retyped or self.reshaped or self.renamed)


def weights_of(model: Model, *, constants: bool = True) -> dict[str, Weight]:
    """Return the variables of a model and, unless they are not wanted, the constants of its graph, by name."""
    found: dict[str, Weight] = {}
    for node in () if model.graph is None or not constants else model.graph:
        value = node.tensor() if node.op == "Const" else None
        if value is not None:
            found[node.name] = Weight(node.name, value.dtype, value.shape, _given(value), "constant")
    checkpoint = model.checkpoint
    for info in () if checkpoint is None else checkpoint.variables.values():
        read = _asked(checkpoint.tensor, info.name) if checkpoint is not None else None
        if read is not None:
            found[info.name] = Weight(info.name, info.dtype, info.shape, read, info.role, info.label)
    return found


def _given(value: Tensor) -> Callable[[], Tensor]:
    return lambda: value


def _asked(tensor: Callable[[str], Tensor], name: str) -> Callable[[], Tensor]:
    return lambda: tensor(name)


def compare_weights(
    a: Mapping[str, Weight],
    b: Mapping[str, Weight],
    nodes: Mapping[str, str],
    renamed_nodes: Iterable[str] = (),
    *,
    keep: Callable[[str], bool] = lambda _: True,
    rtol: float = 0.0,
    atol: float = 0.0,
) -> WeightsDifference:
    """Compare two sets of weights.

    Args:
        a: those of the first model.
        b: those of the second.
        nodes: counterpart of each node of the first graph in the second.
        renamed_nodes: nodes of the first graph whose counterpart was found by what it computes.
        keep: whether a name is asked for; a pair is where either name is.
        rtol: relative tolerance.
        atol: absolute tolerance.
    """
    found = WeightsDifference()
    pairs, found.scope = _pairs(a, b, nodes)
    taken = set(pairs.values())
    found.removed = [weight for name, weight in a.items() if name not in pairs and keep(name)]
    found.added = [weight for name, weight in b.items() if name not in taken and keep(name)]
    found.count_a, found.count_b = sum(map(keep, a)), sum(map(keep, b))
    found.model_a, found.model_b = (
        _count_of_model(weight for name, weight in weights.items() if keep(name)) for weights in (a, b)
    )
    renamed = frozenset(renamed_nodes)
    for name, other in pairs.items():
        if keep(name) or keep(other):
            found.paired += 1
            _compare_pair(found, a[name], b[other], rtol, atol, renamed=name in renamed)
    _find_renamed(found)
    for changes in (found.changed, found.retyped, found.reshaped):
        changes.sort(key=lambda change: change.order)
    return found


def _count_of_model(weights: Iterable[Weight]) -> int:
    roles = [weight.role for weight in weights]
    return roles.count("weight") or roles.count("constant")


def _pairs(
    a: Mapping[str, Weight], b: Mapping[str, Weight], nodes: Mapping[str, str]
) -> tuple[dict[str, str], ScopeChange | None]:
    """Pair by name, as the nodes are paired, by what a person calls them, and by name under another scope."""
    pairs = {name: name for name in a if name in b}
    taken = set(pairs.values())
    for name, other in nodes.items():
        if name in a and other in b and name not in pairs and other not in taken:
            pairs[name] = other
            taken.add(other)
    free_a = _by_plain_name(weight for name, weight in a.items() if name not in pairs)
    free_b = _by_plain_name(weight for name, weight in b.items() if name not in taken)
    pairing = pair_names(free_a, free_b)
    pairs.update((free_a[name], free_b[other]) for name, other in pairing.names.items())
    return pairs, pairing.scope


def _by_plain_name(weights: Iterable[Weight]) -> dict[str, str]:
    """Return names by the name without what one format or another adds to it; as they are where that is not unique."""
    found: dict[str, str] = {}
    for weight in weights:
        plain = (weight.label or weight.name).removesuffix(_VALUE_KEY).removesuffix(":0")
        found[weight.name if plain in found else plain] = weight.name
    return found


def _compare_pair(found: WeightsDifference, a: Weight, b: Weight, rtol: float, atol: float, *, renamed: bool) -> None:
    if a.shape != b.shape:
        found.reshaped.append(WeightChange(a, b, None))
        return
    from tfinspect.verify.tensor_difference import difference, same_values

    tensors: list[Tensor] = []
    for side, weight in (("a", a), ("b", b)):
        try:
            tensors.append(weight.tensor())
        except TfinspectError as error:
            found.unreadable.append(Unreadable(weight.name, side, error))
    if len(tensors) < 2:  # noqa: PLR2004 - both sides
        return
    try:
        if a.dtype == b.dtype and same_values(*tensors):
            found.same += 1
            if renamed:
                found.renamed.append((a, b))
            return
        measures = difference(*tensors, rtol=rtol, atol=atol)
    except TfinspectError as error:
        found.unreadable += _blame(a, b, error)
        return
    if a.dtype != b.dtype:
        found.retyped.append(WeightChange(a, b, measures))
    elif measures.differing:
        found.changed.append(WeightChange(a, b, measures))
    else:
        found.within += 1
        if renamed:
            found.renamed.append((a, b))


def _blame(a: Weight, b: Weight, error: TfinspectError) -> list[Unreadable]:
    """Read each side by itself to tell which cannot be read."""
    from tfinspect.verify.tensor_difference import digest

    blamed = []
    for side, weight in (("a", a), ("b", b)):
        try:
            digest(weight.tensor())
        except TfinspectError as found:
            blamed.append(Unreadable(weight.name, side, found))
    return blamed or [Unreadable(a.name, "a", error)]


def _find_renamed(found: WeightsDifference) -> None:
    """Recognise weights of one side alone that are bit by bit those of the other under another name."""
    kinds = {weight.kind for weight in found.removed} & {weight.kind for weight in found.added}
    if not kinds:
        return
    groups: dict[bytes, tuple[list[Weight], list[Weight]]] = {}
    for side, weights in enumerate((found.removed, found.added)):
        for weight in weights:
            if weight.kind in kinds:
                key = _digest(found, weight, "ab"[side])
                if key is not None:
                    groups.setdefault(key, ([], []))[side].append(weight)
    done: set[int] = set()
    for mine, theirs in groups.values():
        for a, b in _matched(mine, theirs):
            found.renamed.append((a, b))
            done.update((id(a), id(b)))
            found.paired += 1
            found.same += 1
    found.removed = [weight for weight in found.removed if id(weight) not in done]
    found.added = [weight for weight in found.added if id(weight) not in done]


def _digest(found: WeightsDifference, weight: Weight, side: str) -> bytes | None:
    from tfinspect.verify.tensor_difference import digest

    try:
        return digest(weight.tensor())
    except TfinspectError as error:
        found.unreadable.append(Unreadable(weight.name, side, error))
        return None


def _matched(mine: list[Weight], theirs: list[Weight]) -> list[tuple[Weight, Weight]]:
    """Pair weights of the same values: those whose names end alike first; a lone number is too little to go by."""
    by_leaf: dict[str, list[Weight]] = {}
    for weight in reversed(theirs):
        by_leaf.setdefault(_leaf(weight), []).append(weight)
    pairs, left = [], []
    for weight in mine:
        if by_leaf.get(_leaf(weight)):
            pairs.append((weight, by_leaf[_leaf(weight)].pop()))
        else:
            left.append(weight)
    rest = [weight for weights in by_leaf.values() for weight in weights]
    if len(left) == len(rest) == 1 and left[0].shape not in {(), (1,)}:
        pairs.append((left[0], rest[0]))
    return pairs


def _leaf(weight: Weight) -> str:
    return (weight.label or weight.name).removesuffix(_VALUE_KEY).removesuffix(":0").rsplit("/", 1)[-1]
