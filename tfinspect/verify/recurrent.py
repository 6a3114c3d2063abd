"""Weights of recurrent layers, which ONNX keeps in another order: gates change places, and directions are put together.

TensorFlow has one kernel for the input and one for the state, [size, gates * units], or both in one, [input + units,
gates * units]. An ONNX LSTM or GRU takes W [directions, gates * units, input], R [directions, gates * units, units] and
B [directions, 2 * gates * units], the biases of both. Nothing is computed on the way but, where a cell says so, one
number that is added to the biases of the forget gate; so every bit is told from the source.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    import numpy.typing as npt

    from tfinspect.ir.tensors import Tensor

    Array = npt.NDArray[Any]

# where each of ONNX's gates stands in the source: those of Keras, then those of TensorFlow's own cells
_ORDERS: Mapping[str, tuple[tuple[int, ...], ...]] = {
    "LSTM": ((0, 3, 1, 2), (0, 3, 2, 1)),  # ONNX: input, output, forget, cell
    "GRU": ((0, 1, 2), (1, 0, 2)),  # update, reset, hidden
}
_FORGET = 2
_ALMOST = 0.5  # share of elements that agree from which an array counts as an altered copy
_RANK = 3  # of W and R


class Layer(NamedTuple):
    """A recurrent layer of the target.

    Attributes:
        op: LSTM or GRU.
        kernel: name of W.
        recurrent: name of R.
        biases: name of B, empty where it has none.
    """

    op: str
    kernel: str
    recurrent: str
    biases: str


class Joined(NamedTuple):
    """Where an array comes from: its sources, one a direction, or in words how it differs from them."""

    sources: tuple[str, ...]
    problem: str = ""


class _Match(NamedTuple):
    sources: tuple[str, ...]
    odd: int  # elements that differ
    first: int  # the first of them


def joined(layers: Iterable[Layer], target: Mapping[str, Tensor], source: Mapping[str, Tensor]) -> dict[str, Joined]:
    """Say of the weights of recurrent layers what they are made of; those that are made of nothing known are left out.

    Args:
        layers: of the file that was written.
        target: its arrays that are found nowhere as they are.
        source: the reference's constants.

    Raises:
        InputError: values cannot be read.
    """
    found: dict[str, Joined] = {}
    for layer in layers:
        orders = _ORDERS.get(layer.op, ())
        for name, is_state in ((layer.kernel, False), (layer.recurrent, True)):
            if name in target and name not in found and len(target[name].shape) == _RANK:
                _note(found, name, target[name], [*_kernels(target[name], source, orders, is_state=is_state)])
        name = layer.biases
        if name in target and name not in found and len(target[name].shape) == _RANK - 1:
            _note(found, name, target[name], [*_biases(target[name], source, layer.op, orders)])
    return found


def _note(found: dict[str, Joined], name: str, tensor: Tensor, candidates: list[tuple[tuple[str, ...], Array]]) -> None:
    """Look for each direction among the candidates for one; all directions must be found."""
    matches = [_best(block, candidates) for block in tensor.numpy()]
    if not matches or any(match is None for match in matches):
        return
    certain = [match for match in matches if match is not None]
    sources = tuple(dict.fromkeys(s for match in certain for s in match.sources))
    odd = sum(match.odd for match in certain)
    if not odd:
        found[name] = Joined(sources)
        return
    direction, match = next((d, m) for d, m in enumerate(certain) if m.odd)
    at = [direction, *(int(i) for i in np.unravel_index(match.first, tensor.shape[1:]))]
    share = f"{odd:,} of {tensor.size:,} elements"
    found[name] = Joined(
        sources, f"`{name}` differs from {', '.join(f'`{s}`' for s in match.sources)} in {share}, first at {at}"
    )


def _best(block: Array, candidates: Iterable[tuple[tuple[str, ...], Array]]) -> _Match | None:
    wanted = _bits(block)
    best: _Match | None = None
    for sources, array in candidates:
        odd = np.flatnonzero(_bits(array) != wanted)
        if not odd.size:
            return _Match(sources, 0, 0)
        if odd.size < _ALMOST * wanted.size and (best is None or odd.size < best.odd):
            best = _Match(sources, int(odd.size), int(odd[0]))
    return best


def _bits(array: Array) -> Array:
    """View the elements as unsigned integers, so that NaN equals itself and -0 is not 0."""
    flat = np.ascontiguousarray(array).reshape(-1)
    return flat.view(f"u{flat.dtype.itemsize}")


def _kernels(
    tensor: Tensor, source: Mapping[str, Tensor], orders: Iterable[tuple[int, ...]], *, is_state: bool
) -> Iterator[tuple[tuple[str, ...], Array]]:
    """Yield what one direction of W or R would be, for every source that has its size."""
    _, rows, size = tensor.shape
    for name, candidate in source.items():
        if candidate.dtype != tensor.dtype or len(candidate.shape) != _RANK - 1 or candidate.shape[1] != rows:
            continue
        if candidate.shape[0] < size:
            continue
        kernel = candidate.numpy()
        kernel = kernel[-size:] if is_state else kernel[:size]  # of input and state in one, the input comes first
        for order in orders:
            yield (name,), _by_gate(kernel, order).T


def _biases(
    tensor: Tensor, source: Mapping[str, Tensor], op: str, orders: Iterable[tuple[int, ...]]
) -> Iterator[tuple[tuple[str, ...], Array]]:
    """Yield what one direction of B would be: the source's biases are all the input's, or those of both."""
    half = tensor.shape[1] // 2
    added = _scalars(tensor, source) if op == "LSTM" else []
    for name, candidate in source.items():
        if candidate.dtype != tensor.dtype or candidate.size not in {half, 2 * half}:
            continue
        halves = candidate.numpy().reshape(-1, half)
        for order in orders:
            turned = _by_gate(halves, order)
            if len(turned) > 1:
                yield (name,), turned
                continue
            nothing = np.zeros_like(turned)
            yield (name,), np.concatenate((turned, nothing))
            units = half // len(order)
            for scalar_name, scalar in added:
                more = turned.copy()
                more[:, _FORGET * units : (_FORGET + 1) * units] += scalar
                yield (name, scalar_name), np.concatenate((more, nothing))


def _scalars(tensor: Tensor, source: Mapping[str, Tensor]) -> list[tuple[str, Any]]:
    """Return the numbers that a cell may add to the biases of its forget gate."""
    found: dict[float, tuple[str, Any]] = {}
    for name, candidate in source.items():
        if candidate.dtype == tensor.dtype and candidate.size == 1:
            value = candidate.numpy().reshape(())
            if value:
                found.setdefault(float(value), (name, value))
    return list(found.values())


def _by_gate(array: Array, order: tuple[int, ...]) -> Array:
    """Return an array [..., gates * units] with its gates in another order."""
    if array.shape[-1] % len(order):
        return array
    parts = np.split(array, len(order), axis=-1)
    return np.concatenate([parts[gate] for gate in order], axis=-1)
