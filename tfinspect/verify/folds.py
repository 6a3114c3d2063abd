"""Weights that a converter computed from others, recomputed in float64.

A batch normalisation after a convolution is a factor and an offset a channel,
    scale = gamma / sqrt(variance + epsilon),  shift = beta + (bias - mean) * scale,
and converters multiply the kernel by the one and use the other as bias. Where such a fold is not declared it is looked
for: among the vectors of the source that are as long as the kernel has output channels.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from tfinspect.errors import UsageError
from tfinspect.ir.dtypes import DType
from tfinspect.verify.tolerance import precision_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    import numpy.typing as npt

    from tfinspect.ir.tensors import Tensor

    Floats = npt.NDArray[np.float64]

_ULPS = 4.0  # four roundings in the target's type: an addition, a root, a division and a product
_EPSILONS = (1e-3, 1e-5, 1e-4, 1.001e-5)  # defaults of slim, of TensorFlow's fused op, and what graphs commonly say
_MOST_EPSILON = 0.1
_LOOSE = 1e-4  # relative distance within which a probed element is worth a full comparison
_LEAST_CHANNELS = 2
_MOST_VECTORS = 600  # of one length; the search is quadratic in them
_KERNEL_ORDERS: Mapping[int, tuple[tuple[int, ...], ...]] = {
    2: ((0, 1), (1, 0)),
    # of [height, width, in, out] kernels: to out-in-h-w; of depthwise ones: to in-multiplier-h-w; and unchanged
    4: ((3, 2, 0, 1), (2, 3, 0, 1), (0, 1, 2, 3)),
    5: ((4, 3, 0, 1, 2), (0, 1, 2, 3, 4)),
}

_MERGED_ORDERS: Mapping[int, tuple[int, ...]] = {4: (3, 2, 0, 1), 5: (4, 3, 0, 1, 2)}  # ONNX's places of the axes


class Recomputed(NamedTuple):
    """What a fold must give.

    Attributes:
        value: float64, of the target's size, in its order.
        magnitude: size of the largest term that entered each element; rounding is relative to it.
    """

    value: Floats
    magnitude: Floats


@dataclass(frozen=True, slots=True)
class Fold:
    """A declared fold.

    Attributes:
        recompute: gives the value from the source, in float64.
        sources: names of the source's arrays that enter.
        ulps: rounding steps allowed, relative to the magnitude.
    """

    recompute: Callable[[], Recomputed]
    sources: tuple[str, ...]
    ulps: float = _ULPS


def check_names(
    source: Mapping[str, Tensor], target: Mapping[str, Tensor], folds: Mapping[str, Fold], provenance: Mapping[str, str]
) -> None:
    """Refuse declarations about arrays that do not exist.

    Raises:
        UsageError: a name is in neither.
    """
    for name in (*folds, *provenance):
        if name not in target:
            raise UsageError(f"`{name}` is declared, but no weight of the candidate", evidence={"name": name})
    for name in (*provenance.values(), *(s for fold in folds.values() for s in fold.sources)):
        if name not in source:
            raise UsageError(
                f"`{name}` is declared as a source, but no weight of the reference", evidence={"name": name}
            )


def problem(fold: Fold, found: npt.NDArray[Any], dtype: DType) -> str | None:
    """Return in words how an array differs from what its fold gives, or None."""
    value, magnitude = (np.asarray(part, dtype=np.float64) for part in fold.recompute())
    if value.size != found.size:
        return f"has {found.size:,} elements, the fold of {', '.join(fold.sources)} gives {value.size:,}"
    got = np.asarray(found, dtype=np.float64).reshape(-1)
    bound = _bound(np.broadcast_to(magnitude, value.shape).reshape(-1), dtype, fold.ulps)
    odd = ~(np.abs(got - value.reshape(-1)) <= bound)
    if not odd.any():
        return None
    first = int(np.flatnonzero(odd)[0])
    return (
        f"{int(odd.sum()):,} of {got.size:,} elements are not what the fold of {', '.join(fold.sources)} gives, "
        f"the first {got[first]!s} for {value.reshape(-1)[first]!s}"
    )


def _bound(magnitude: Floats, dtype: DType, ulps: float) -> Floats:
    return ulps * precision_of(dtype).epsilon * np.abs(magnitude) + np.finfo(np.float32).tiny


def batch_norm_scale(gamma: Floats | float, variance: Floats, epsilon: float) -> Recomputed:
    """Return gamma / sqrt(variance + epsilon), [channels]."""
    scale = np.asarray(gamma / np.sqrt(np.asarray(variance, dtype=np.float64) + epsilon))
    return Recomputed(scale, np.abs(scale))


def batch_norm_shift(
    beta: Floats | float, mean: Floats | float, scale: Floats, bias: Floats | float = 0.0
) -> Recomputed:
    """Return beta + (bias - mean) * scale, [channels]."""
    value = beta + (bias - mean) * scale
    magnitude = np.abs(beta) + (np.abs(bias) + np.abs(mean)) * np.abs(scale)
    return Recomputed(np.asarray(value), np.asarray(magnitude))


def merged_kernel(kernel: Tensor, factor: Tensor, sources: tuple[str, ...]) -> Fold | None:
    """Return the fold of a convolution's kernel and a factor of its result into one kernel, output channels first.

    Args:
        kernel: [height, width, in, out], or with a depth before them.
        factor: one number, or one for each output channel.
        sources: names of both.

    Returns:
        None where the factor is neither.
    """
    if len(kernel.shape) not in _MERGED_ORDERS or factor.size not in {1, kernel.shape[-1]}:
        return None

    def recompute() -> Recomputed:
        scale = np.asarray(factor.numpy(), dtype=np.float64).reshape(-1)
        value = np.asarray(kernel.numpy(), dtype=np.float64) * scale
        value = value.transpose(_MERGED_ORDERS[value.ndim])
        return Recomputed(value, np.abs(value))

    return Fold(recompute, sources, ulps=1.0)


@dataclass(frozen=True, slots=True)
class _Vectors:
    """The source's vectors of one length, and all scales they give."""

    names: list[str]
    values: Floats  # [vectors, length]

    def scales(self, epsilon: float) -> Floats:
        """Return 1 / sqrt(variance + epsilon), NaN where a vector cannot be a variance."""
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.where((self.values >= 0).all(axis=1, keepdims=True), 1 / np.sqrt(self.values + epsilon), np.nan)


@np.errstate(all="ignore")  # arbitrary bits are tried as if they were variances
def discover(
    left: Mapping[str, Tensor], source: Mapping[str, Tensor], epsilons: Iterable[float]
) -> dict[str, tuple[str, ...]]:
    """Find arrays that are batch normalisations folded into kernels, scales or biases.

    Args:
        left: arrays of the target that are found nowhere.
        source: the reference's constants.
        epsilons: known ones; the source's small scalars and the usual values are tried as well.

    Returns:
        Names of the sources by name of the array, for those that fit within rounding.
    """
    tried = list(dict.fromkeys([*epsilons, *_scalars(source), *_EPSILONS]))
    by_length: dict[int, _Vectors] = {}
    found: dict[str, tuple[str, ...]] = {}
    scales: dict[int, list[tuple[Floats, tuple[str, ...]]]] = {}
    wanted = [(name, t) for name, t in left.items() if t.dtype in (DType.FLOAT, DType.DOUBLE)]

    def vectors(length: int) -> _Vectors:
        if length not in by_length:
            by_length[length] = _vectors(source, length)
        return by_length[length]

    # kernels first: they say which scales are in use, and the biases need those
    for name, tensor in sorted(wanted, key=lambda entry: -entry[1].size):
        array = np.ascontiguousarray(tensor.numpy(), dtype=np.float64)
        if array.ndim >= 2 and max(array.shape) < array.size:  # noqa: PLR2004 - anything but a vector
            hit = _find_kernel(array, tensor.dtype, source, vectors, tried)
            origin = hit[0][1:] if hit is not None else ()
        else:
            length = array.size
            hit = _find_scale(array.reshape(-1), tensor.dtype, vectors(length), tried)
            origin = hit[0] if hit is not None else ()
        if hit is not None:
            names, scale = hit
            found[name] = names
            scales.setdefault(scale.size, []).append((scale, origin))
    for name, tensor in wanted:
        if name not in found and tensor.size in scales:
            array = np.asarray(tensor.numpy(), dtype=np.float64).reshape(-1)
            shift = _find_shift(array, tensor.dtype, vectors(array.size), scales[array.size])
            if shift is not None:
                found[name] = shift
    return found


def _scalars(source: Mapping[str, Tensor]) -> list[float]:
    values = (float(t.numpy().reshape(-1)[0]) for t in source.values() if t.size == 1 and t.dtype.is_floating)
    return sorted({value for value in values if 0 < value <= _MOST_EPSILON})


def _vectors(source: Mapping[str, Tensor], length: int) -> _Vectors:
    names = [
        n for n, t in source.items() if t.size == length and t.dtype.is_floating and max(t.shape, default=1) == length
    ]
    names = names[:_MOST_VECTORS]
    rows = [np.asarray(source[n].numpy(), dtype=np.float64).reshape(-1) for n in names]
    return _Vectors(names, np.stack(rows) if rows else np.empty((0, length)))


def _close(a: Floats, b: float) -> npt.NDArray[np.bool_]:
    return np.asarray(np.abs(a - b) <= _LOOSE * abs(b))


def _find_scale(
    wanted: Floats, dtype: DType, vectors: _Vectors, epsilons: Iterable[float], ulps: float = _ULPS
) -> tuple[tuple[str, ...], Floats] | None:
    """Find gamma and variance that give a scale, NaN where unknown; gamma may be absent (all ones)."""
    known = np.flatnonzero(~np.isnan(wanted))
    if known.size < _LEAST_CHANNELS or not vectors.names:
        return None
    gammas = np.vstack((np.ones((1, wanted.size)), vectors.values))
    probes = (known[0], known[known.size // 2], known[-1])
    for epsilon in epsilons:
        roots = vectors.scales(epsilon)
        likely = np.ones((len(gammas), len(roots)), dtype=bool)
        for at in probes:
            likely &= _close(np.outer(gammas[:, at], roots[:, at]), float(wanted[at]))
        for g, v in np.argwhere(likely).tolist():
            exact = batch_norm_scale(gammas[g], vectors.values[v], epsilon)
            if (np.abs(exact.value - wanted) <= _bound(exact.magnitude, dtype, ulps))[known].all():
                return (*((vectors.names[g - 1],) if g else ()), vectors.names[v]), exact.value
    return None


def _find_kernel(
    wanted: Floats,
    dtype: DType,
    source: Mapping[str, Tensor],
    vectors: Callable[[int], _Vectors],
    epsilons: list[float],
) -> tuple[tuple[str, ...], Floats] | None:
    """Find a kernel of the source and a scale that give an array of the target, channels first or last."""
    places = _channel_places(wanted)
    for name, tensor in source.items():
        if tensor.size != wanted.size or tensor.dtype != dtype or len(tensor.shape) not in _KERNEL_ORDERS:
            continue
        kernel = tensor.numpy()
        for order in _KERNEL_ORDERS[kernel.ndim]:
            turned = kernel.transpose(order)
            for first, channels in places:
                if not _looks_scaled(turned, wanted, channels, first=first):
                    continue
                a = _by_channel(np.asarray(turned, dtype=np.float64), channels, first=first)
                b = _by_channel(wanted, channels, first=first)
                factor = _common_factor(a, b, dtype)
                hit = None if factor is None else _find_scale(factor, dtype, vectors(channels), epsilons, 2 * _ULPS)
                if hit is None:
                    continue
                exact = a * hit[1][:, None]
                if (np.abs(exact - b) <= _bound(exact, dtype, _ULPS)).all():
                    return (name, *hit[0]), hit[1]
    return None


def _channel_places(wanted: Floats) -> list[tuple[bool, int]]:
    """Return where output channels may be, as (first or last, how many)."""
    shape = wanted.shape
    places = [(True, shape[0]), (False, shape[-1])]
    if len(shape) > 3:  # noqa: PLR2004 - a depthwise kernel [h, w, in, multiplier] left as it is
        places.append((False, shape[-1] * shape[-2]))
    return [place for place in places if place[1] >= _LEAST_CHANNELS]


def _looks_scaled(turned: npt.NDArray[Any], wanted: Floats, channels: int, *, first: bool) -> bool:
    """Whether a few elements of one channel stand in one ratio; spares copying every kernel of the same size."""
    length = wanted.size // channels
    within = np.unique(np.linspace(0, length - 1, min(length, 16)).astype(np.int64))
    places = within if first else within * channels
    a = np.asarray(turned[np.unravel_index(places, turned.shape)], dtype=np.float64)
    b = wanted.reshape(-1)[places]
    top = int(np.abs(a).argmax())
    if a[top] == 0:
        return not b.any()
    return bool((np.abs(a * (b[top] / a[top]) - b) <= _LOOSE * np.abs(b)).all())


def _by_channel(array: Floats, channels: int, *, first: bool) -> Floats:
    return array.reshape(channels, -1) if first else array.reshape(-1, channels).T


def _common_factor(a: Floats, b: Floats, dtype: DType) -> Floats | None:
    """Return the one factor a row by which b is a, NaN for a row of zeros; None where rows are not multiples."""
    largest = np.abs(a).argmax(axis=1)
    rows = np.arange(len(a))
    top = a[rows, largest]
    with np.errstate(divide="ignore", invalid="ignore"):
        # a channel of zeros stays one, whatever its factor
        factor = np.where(top == 0, np.nan, b[rows, largest] / top)
    expected = a * np.where(top == 0, 0.0, factor)[:, None]
    return factor if (np.abs(expected - b) <= _bound(expected, dtype, 2 * _ULPS)).all() else None


def _find_shift(
    wanted: Floats, dtype: DType, vectors: _Vectors, scales: Iterable[tuple[Floats, tuple[str, ...]]]
) -> tuple[str, ...] | None:
    """Find beta and mean, and perhaps a bias, that give a shift with one of the scales."""
    with_none = np.vstack((np.zeros((1, wanted.size)), vectors.values))
    labels = [(), *((name,) for name in vectors.names)]
    probes = (0, wanted.size // 2, wanted.size - 1)
    for scale, origin in scales:
        # beta - mean * scale; magnitudes may cancel, so that closeness is judged against the terms
        likely = np.ones((len(with_none), len(with_none)), dtype=bool)
        for at in probes:
            beta, mean = with_none[:, at, None], with_none[None, :, at] * scale[at]
            likely &= np.abs(beta - mean - wanted[at]) <= _LOOSE * (np.abs(beta) + np.abs(mean) + abs(wanted[at]))
        for b, m in np.argwhere(likely).tolist():
            exact = batch_norm_shift(with_none[b], with_none[m], scale)
            if (np.abs(exact.value - wanted) <= _bound(exact.magnitude, dtype, _ULPS)).all():
                return (*labels[b], *labels[m], *origin)
    return None
