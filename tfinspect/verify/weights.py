"""Weights accounted for one by one: numbers alone cannot show that one weight of a middle layer is off by a percent.

Every array of the target is the same bytes as one of the source, a permutation of its axes, a fold that is recomputed
in float64, several that a recurrent layer puts together, trivial (all elements equal), small, or *unaccounted*. One
that is almost another is *wrong*.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from tfinspect.ir.dtypes import DType
from tfinspect.verify import folds as _folds
from tfinspect.verify import recurrent as _recurrent

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    import numpy.typing as npt

    from tfinspect.ir.tensors import Tensor
    from tfinspect.verify.folds import Fold
    from tfinspect.verify.recurrent import Joined, Layer

SMALL_SIZE = 64  # elements below which an array may be anything a converter folds: shapes, axes, epsilons
_MOST_RANK = 6
_PROBES = 257
_ALMOST = 0.5  # share of probes that agree from which an array counts as an altered copy
_BITS = {1: np.uint8, 2: np.uint16, 4: np.uint32, 8: np.uint64}


@dataclass(frozen=True, slots=True)
class Account:
    """Where one array of the target comes from.

    Attributes:
        name: of the target's array.
        sources: names in the source.
        permutation: of the first source's axes, empty where the bytes are the same.
    """

    name: str
    sources: tuple[str, ...] = ()
    permutation: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class WeightsReport:
    """How every array of the target is accounted for.

    Attributes:
        identical: the same bytes as in the source, perhaps in another shape.
        permuted: the same after a permutation of axes.
        folded: recomputed from the source in float64, declared or found.
        trivial: all elements equal.
        small: under 64 elements and found nowhere.
        unaccounted: 64 elements or more and found nowhere.
        wrong: what is not what it was declared to be, or differs from a source in a few elements, in words.
        unused: large arrays of the source that nothing in the target comes from.
        elements: number of elements of the target that are accounted for exactly.
        joined: several arrays of the source in one, the gates of a recurrent layer in another order; the same bits.
    """

    json_properties: ClassVar[tuple[str, ...]] = ("complete",)

    identical: tuple[Account, ...] = ()
    permuted: tuple[Account, ...] = ()
    folded: tuple[Account, ...] = ()
    trivial: tuple[str, ...] = ()
    small: tuple[str, ...] = ()
    unaccounted: tuple[str, ...] = ()
    wrong: tuple[str, ...] = ()
    unused: tuple[str, ...] = ()
    elements: int = 0
    joined: tuple[Account, ...] = ()

    @property
    def complete(self) -> bool:
        """Whether nothing is wrong and nothing large is left over."""
        return not self.wrong and not self.unaccounted


@dataclass(slots=True)
class _Tally:
    identical: list[Account] = field(default_factory=list)
    permuted: list[Account] = field(default_factory=list)
    folded: list[Account] = field(default_factory=list)
    trivial: list[str] = field(default_factory=list)
    small: list[str] = field(default_factory=list)
    unaccounted: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    elements: int = 0
    joined: list[Account] = field(default_factory=list)


_Key = tuple[DType, int, int, int]


def account(
    source: Mapping[str, Tensor],
    target: Mapping[str, Tensor],
    *,
    folds: Mapping[str, Fold] | None = None,
    provenance: Mapping[str, str] | None = None,
    epsilons: Iterable[float] = (),
    recurrent: Iterable[Layer] = (),
) -> WeightsReport:
    """Say where every array of the target comes from.

    Args:
        source: the reference's constants; what a converter computes from them beforehand may be added, computed.
        target: initialisers and constants of the file that was written, read back.
        folds: by name of the target's array, what it must be.
        provenance: by name of the target's array, the source it must be, up to a permutation.
        epsilons: of the source's batch normalisations, for folds that are not declared; its scalars are tried as well.
        recurrent: layers of the target whose weights may be several of the source's, in another order.

    Raises:
        UsageError: a fold or a provenance names an array that is not there.
        InputError: values cannot be read.
    """
    declared, named = dict(folds or {}), dict(provenance or {})
    _folds.check_names(source, target, declared, named)
    index = _index(source)
    tally = _Tally()
    left: list[str] = []
    for name, tensor in target.items():
        if name in declared:
            _check_fold(name, tensor, declared[name], tally)
        elif name in named:
            _check_provenance(name, tensor, named[name], source, tally)
        elif not _find(name, tensor, source, index, tally):
            left.append(name)
    together = _recurrent.joined(recurrent, {name: target[name] for name in left}, source)
    left = [name for name in left if not _join(name, target[name], together, tally)]
    found = _folds.discover({name: target[name] for name in left}, source, epsilons)
    for name in left:
        if name in found:
            tally.folded.append(Account(name, found[name]))
            tally.elements += target[name].size
        else:
            _classify(name, target[name], source, tally)
    used = {s for a in (*tally.identical, *tally.permuted, *tally.folded, *tally.joined) for s in a.sources}
    unused = tuple(n for n, t in source.items() if n not in used and t.size >= SMALL_SIZE and t.dtype.is_floating)
    return WeightsReport(
        tuple(tally.identical),
        tuple(tally.permuted),
        tuple(tally.folded),
        tuple(tally.trivial),
        tuple(tally.small),
        tuple(tally.unaccounted),
        tuple(tally.wrong),
        unused,
        tally.elements,
        tuple(tally.joined),
    )


def _join(name: str, tensor: Tensor, together: Mapping[str, Joined], tally: _Tally) -> bool:
    if name not in together:
        return False
    sources, problem = together[name]
    if problem:
        tally.wrong.append(problem)
    else:
        tally.joined.append(Account(name, sources))
        tally.elements += tensor.size
    return True


def _bits(array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """View the elements as unsigned integers, so that NaN equals itself and -0 is not 0."""
    contiguous: npt.NDArray[Any] = np.ascontiguousarray(array).reshape(array.shape)
    if contiguous.dtype.itemsize == 16:  # noqa: PLR2004 - complex128 as pairs
        return contiguous.reshape(*contiguous.shape, 1).view(np.uint64)
    return contiguous.view(_BITS[contiguous.dtype.itemsize])


def _key(tensor: Tensor) -> _Key:
    """Return what stays the same when elements change places: two sums over their bits, modulo 2**64."""
    bits = _bits(tensor.numpy()).reshape(-1)
    total = int(np.add.reduce(bits, dtype=np.uint64))
    mixed = 0
    for start in range(0, bits.size, 1 << 20):
        wide = bits[start : start + (1 << 20)].astype(np.uint64)
        wide ^= wide >> np.uint64(13)
        wide *= np.uint64(0x9E3779B97F4A7C15)  # 2**64 / golden ratio: spreads low bits
        wide ^= wide >> np.uint64(29)
        mixed = (mixed + int(np.add.reduce(wide, dtype=np.uint64))) % 2**64
    return tensor.dtype, tensor.size, total, mixed


def _numeric(tensor: Tensor) -> bool:
    return tensor.dtype.itemsize > 0


def _index(source: Mapping[str, Tensor]) -> dict[_Key, list[str]]:
    index: dict[_Key, list[str]] = {}
    for name, tensor in source.items():
        if tensor.size and _numeric(tensor):
            index.setdefault(_key(tensor), []).append(name)
    return index


def _find(
    name: str, tensor: Tensor, source: Mapping[str, Tensor], index: Mapping[_Key, list[str]], tally: _Tally
) -> bool:
    """Account for an array that is trivial, identical or permuted."""
    if not tensor.size or not _numeric(tensor):
        tally.small.append(name)
        return True
    array = tensor.numpy()
    permuted: Account | None = None
    for candidate in index.get(_key(tensor), ()):
        order = _permutation(source[candidate].numpy(), array)
        if order == ():
            tally.identical.append(Account(name, (candidate,)))
            tally.elements += tensor.size
            return True
        if order is not None and permuted is None:
            permuted = Account(name, (candidate,), order)
    if permuted is not None:
        tally.permuted.append(permuted)
        tally.elements += tensor.size
        return True
    if _is_splat(array):
        tally.trivial.append(name)
        return True
    return False


def _is_splat(array: npt.NDArray[Any]) -> bool:
    bits = _bits(array).reshape(-1)
    return bool((bits == bits[0]).all())


def _orders(array: npt.NDArray[Any]) -> Iterator[tuple[int, ...]]:
    """Yield the permutations of axes that move elements; axes of length 1 stay where they are."""
    axes = [axis for axis, size in enumerate(array.shape) if size != 1]
    if len(axes) > _MOST_RANK:
        return
    for order in itertools.permutations(axes):
        if list(order) != axes:
            moved = list(range(array.ndim))
            for place, axis in zip(axes, order, strict=True):
                moved[place] = axis
            yield tuple(moved)


def _permutation(source: npt.NDArray[Any], target: npt.NDArray[Any]) -> tuple[int, ...] | None:
    """Return the permutation that turns the source into the target: () for none, None where there is none."""
    a, b = _bits(source), _bits(target).reshape(-1)
    if np.array_equal(a.reshape(-1), b):
        return ()
    for order in _orders(source):
        if (_probe(a, order) == b[_places(b.size)]).all() and np.array_equal(a.transpose(order).reshape(-1), b):
            return order
    return None


def _places(size: int) -> npt.NDArray[np.int64]:
    return np.unique(np.linspace(0, size - 1, min(size, _PROBES)).astype(np.int64))


def _probe(a: npt.NDArray[Any], order: tuple[int, ...]) -> npt.NDArray[Any]:
    """Return a few hundred elements of the permuted array without permuting it."""
    turned = a.transpose(order)
    return np.asarray(turned[np.unravel_index(_places(turned.size), turned.shape)])


def _check_fold(name: str, tensor: Tensor, fold: Fold, tally: _Tally) -> None:
    problem = _folds.problem(fold, tensor.numpy(), tensor.dtype)
    if problem is None:
        tally.folded.append(Account(name, fold.sources))
        tally.elements += tensor.size
    else:
        tally.wrong.append(f"`{name}`: {problem}")


def _check_provenance(name: str, tensor: Tensor, origin: str, source: Mapping[str, Tensor], tally: _Tally) -> None:
    want, got = source[origin].numpy(), tensor.numpy()
    order = None
    if source[origin].dtype == tensor.dtype and want.size == got.size:
        order = _permutation(want, got)
    if order is None:
        tally.wrong.append(_altered(name, tensor, origin, source[origin]) or f"`{name}` is not `{origin}`")
        return
    (tally.permuted if order else tally.identical).append(Account(name, (origin,), order))
    tally.elements += tensor.size


def _classify(name: str, tensor: Tensor, source: Mapping[str, Tensor], tally: _Tally) -> None:
    """Place what was found nowhere: an altered copy, small, or unaccounted."""
    if tensor.size < SMALL_SIZE:
        tally.small.append(name)
        return
    for origin, candidate in source.items():
        if candidate.dtype == tensor.dtype and candidate.size == tensor.size:
            altered = _altered(name, tensor, origin, candidate)
            if altered is not None:
                tally.wrong.append(altered)
                return
    if tensor.dtype.is_floating or not _is_counted(tensor.numpy()):
        tally.unaccounted.append(name)
    else:
        tally.trivial.append(name)


def _is_counted(array: npt.NDArray[Any]) -> bool:
    """Whether integers rise in equal steps, as a folded Range does."""
    if array.dtype.kind not in "iu":
        return False
    steps = np.diff(array.reshape(-1).astype(np.int64))
    return bool((steps == steps[0]).all())


def _altered(name: str, tensor: Tensor, origin: str, source: Tensor) -> str | None:
    """Return in words how an array differs from a source it is almost the same as, or None where it is another one."""
    if source.dtype != tensor.dtype or source.size != tensor.size or not tensor.size:
        return None
    a, b = _bits(source.numpy()), _bits(tensor.numpy()).reshape(-1)
    probes = b[_places(b.size)]
    for order in (tuple(range(source.numpy().ndim)), *_orders(source.numpy())):
        agree = _probe(a, order) == probes
        if agree.mean() <= _ALMOST or (b == b[0]).mean() > _ALMOST:
            continue
        odd = np.flatnonzero(a.transpose(order).reshape(-1) != b)
        if 0 < odd.size < (1 - _ALMOST) * b.size:
            first = int(odd[0])
            want = source.numpy().transpose(order).reshape(-1)[first]
            got = tensor.numpy().reshape(-1)[first]
            at = [int(i) for i in np.unravel_index(first, tensor.shape)]
            share = f"{odd.size:,} of {b.size:,} elements"
            return f"`{name}` differs from `{origin}` in {share}, first at {at}: {got} for {want}"
    return None
