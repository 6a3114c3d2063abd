"""Values that do not stand in the checkpoint as the graph wants them: given by the caller, reshaped or cast."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from tfinspect.errors import UsageError
from tfinspect.ir.checkpoint import Checkpoint, VariableInfo
from tfinspect.ir.dtypes import DType
from tfinspect.ir.shapes import compatible, format_shape, is_static
from tfinspect.ir.tensors import Tensor
from tfinspect.surgery.reconcile import declared_shape
from tfinspect.surgery.reconciliation import can_become
from tfinspect.surgery.restorable import restored_size

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    import numpy.typing as npt

    from tfinspect.ir.graph import Node
    from tfinspect.ir.shapes import Shape
    from tfinspect.surgery.reconcile import Key


def with_values(
    checkpoint: Checkpoint, variables: Sequence[Node], keys: Mapping[str, Key], values: Mapping[str, Any]
) -> Checkpoint:
    """Return the checkpoint with the values that the caller gave; one number fills a variable.

    Args:
        checkpoint: what else there is.
        variables: the variable nodes.
        keys: of each, the key.
        values: Python values by variable node.

    Raises:
        UsageError: a value fits no shape the variable can have.
    """
    made: dict[str, Tensor] = {}
    for node in variables:
        if node.name in values:
            made[keys[node.name].name] = _filled(
                node, values[node.name], checkpoint.variables.get(keys[node.name].name)
            )
    return _overlaid(checkpoint, made)


def _filled(node: Node, value: Any, held: VariableInfo | None) -> Tensor:  # noqa: ANN401 - any value a tensor can have
    dtype = node.dtype("dtype") or (DType.FLOAT if held is None else held.dtype)
    tensor = Tensor.of(value, dtype)
    shape = declared_shape(node)
    if shape is None or not is_static(shape):
        shape = tensor.shape if held is None else held.shape
    static = tuple(d for d in shape if d is not None)
    if tensor.size not in (1, math.prod(static)):
        raise UsageError(
            f"`{node.name}` has the shape {format_shape(static)}, the value given has {tensor.size:,} elements",
            evidence={"name": node.name},
        )

    def load() -> npt.NDArray[Any]:
        import numpy as np

        flat = tensor.numpy()
        return np.broadcast_to(flat.reshape(()), static) if tensor.size == 1 else flat.reshape(static)

    return Tensor(dtype, static, load)


def fitted(
    checkpoint: Checkpoint, variables: Sequence[Node], keys: Mapping[str, Key], asked: Collection[str]
) -> tuple[Checkpoint, list[str]]:
    """Return the checkpoint with values in the shape and dtype that the graph wants, where the caller asked for it.

    Values are reshaped in row-major order, and cast between floating-point dtypes or between integers.

    Args:
        checkpoint: the values.
        variables: the variable nodes.
        keys: of each, the key.
        asked: variables that the caller named one by one, which says that they belong together.

    Returns:
        The checkpoint, and the variables whose values were changed.
    """
    made: dict[str, Tensor] = {}
    names: list[str] = []
    readers: dict[str, int] = {}
    for node in variables:
        readers[keys[node.name].name] = readers.get(keys[node.name].name, 0) + 1
    for node in variables:
        key = keys[node.name]
        info = checkpoint.variables.get(key.name)
        if node.name not in asked or info is None or key.size is not None or readers[key.name] > 1:
            continue
        tensor = _as_wanted(checkpoint, node, info)
        if tensor is not None:
            made[key.name] = tensor
            names.append(node.name)
    return _overlaid(checkpoint, made), names


def _as_wanted(checkpoint: Checkpoint, node: Node, info: VariableInfo) -> Tensor | None:
    dtype, shape = node.dtype("dtype") or info.dtype, declared_shape(node)
    if dtype == info.dtype and compatible(shape, info.shape):
        return None
    if not can_become(info.dtype, dtype) or not _same_size(shape, info.shape):
        return None
    wanted = info.shape if compatible(shape, info.shape) else tuple(d for d in shape or () if d is not None)

    def load() -> npt.NDArray[Any]:
        value = checkpoint.read(info.name).reshape(wanted)
        return value if dtype == info.dtype else value.astype(dtype.numpy)

    return Tensor(dtype, wanted, load)


def _same_size(shape: Shape, held: tuple[int, ...]) -> bool:
    return compatible(shape, held) or (is_static(shape) and restored_size(shape) == restored_size(held))


def _overlaid(checkpoint: Checkpoint, made: Mapping[str, Tensor]) -> Checkpoint:
    if not made:
        return checkpoint
    infos = dict(checkpoint.variables)
    for name, tensor in made.items():
        known = infos.get(name) or VariableInfo(name, tensor.dtype, tensor.shape, tensor.nbytes)
        infos[name] = replace(known, dtype=tensor.dtype, shape=tensor.shape, nbytes=tensor.nbytes)

    def tensor_of(name: str) -> Tensor:
        return made[name] if name in made else checkpoint.tensor(name)

    return Checkpoint(checkpoint.path, checkpoint.format, infos, tensor_of, checkpoint.files, checkpoint.faults)
