"""Putting weights back into a converted model: what the converter does to a weight is done to it here, once.

tf2onnx saw each weight as a graph input, so a kernel's change of layout stands in the graph as a Transpose of that
input. Such chains are read as a list of steps, removed, and applied by NumPy to views of the weights' file.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tfinspect.ir.dtypes import DType
from tfinspect.runtimes._onnx_schema import nodes, subgraphs

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy as np
    import numpy.typing as npt

    from tfinspect.runtimes._weights import Weight

Step = tuple[str, tuple[Any, ...]]
_LAYOUT_OPS = frozenset({"Transpose", "Reshape", "Squeeze", "Unsqueeze", "Flatten", "Cast", "Identity"})


@dataclass(frozen=True, slots=True)
class Derived:
    """A weight and what was done to it.

    Attributes:
        weight: name in the weights' manifest.
        steps: operations in order; empty for the weight itself.
        dtype: of the result.
        shape: of the result.
    """

    weight: str
    steps: tuple[Step, ...]
    dtype: DType
    shape: tuple[int, ...]


def values(derived: Derived, weight: Weight) -> npt.NDArray[Any]:
    """Apply the steps; a view of the file where they allow it."""
    array = weight.values
    for op, argument in derived.steps:
        if op == "Transpose":
            array = array.transpose(argument)
        elif op == "Reshape":
            array = array.reshape(argument)
        else:
            array = array.astype(_BY_NAME[argument[0]].numpy)
    return array


_BY_NAME = {str(dtype): dtype for dtype in DType}


def attach(model: Any, weights: Mapping[str, Weight]) -> dict[str, Derived]:  # noqa: ANN401 - a ModelProto
    """Turn inputs that stand for weights into initializers, changing the model in place.

    Layout operations on them are removed; what is still used is returned, the values being left to the caller to write.

    Args:
        model: as tf2onnx made it, weights being inputs `NAME:0`.
        weights: by name.

    Returns:
        Source by initializer name.
    """
    graph = model.graph
    chains = {f"{w.name}:0": Derived(w.name, (), w.dtype, w.shape) for w in weights.values()}
    inputs = [value for value in graph.input if value.name not in chains]
    del graph.input[:]
    graph.input.extend(inputs)
    kept_out = {value.name for value in graph.output}
    constants = {tensor.name: tensor for tensor in graph.initializer}
    remaining = []
    for node in graph.node:
        derived = _follow(node, chains, constants)
        if derived is not None and node.output[0] not in kept_out:
            chains[node.output[0]] = derived
        else:
            remaining.append(node)
    del graph.node[:]
    graph.node.extend(remaining)
    used = _used_names(graph)
    names = _initializer_names({name: d for name, d in chains.items() if name in used})
    rename(graph, {name: names[derived] for name, derived in chains.items() if derived in names})
    return {name: derived for derived, name in names.items()}


def _follow(node: Any, chains: Mapping[str, Derived], constants: Mapping[str, Any]) -> Derived | None:  # noqa: ANN401
    if node.op_type not in _LAYOUT_OPS or node.domain or not node.input or node.input[0] not in chains:
        return None
    base = chains[node.input[0]]
    arguments = []
    for name in node.input[1:]:
        if name not in constants:
            return None
        arguments.append([int(v) for v in _array(constants[name]).reshape(-1).tolist()])
    attributes = {a.name: a for a in node.attribute}
    if node.op_type == "Identity":
        return base
    if node.op_type == "Cast":
        return _cast(base, attributes["to"].i)
    if node.op_type == "Transpose":
        rank = len(base.shape)
        perm = tuple(attributes["perm"].ints) if "perm" in attributes else tuple(reversed(range(rank)))
        return _transposed(base, perm)
    shape = _reshaped(node.op_type, base.shape, attributes, arguments)
    return None if shape is None else _with_shape(base, shape)


def _cast(base: Derived, number: int) -> Derived | None:
    from onnx import helper

    try:
        dtype = DType.from_numpy(helper.tensor_dtype_to_np_dtype(number))
    except (KeyError, ValueError):
        return None
    if dtype is base.dtype:
        return base
    # NumPy and onnxruntime agree on floats to floats (ties to even), not on overflow to integers
    if not (dtype.is_floating and base.dtype.is_floating):
        return None
    return Derived(base.weight, (*base.steps, ("Cast", (str(dtype),))), dtype, base.shape)


def _transposed(base: Derived, perm: tuple[int, ...]) -> Derived:
    steps = base.steps
    shape = tuple(base.shape[axis] for axis in perm)
    if steps and steps[-1][0] == "Transpose":
        perm = tuple(steps[-1][1][axis] for axis in perm)
        steps = steps[:-1]
    if perm != tuple(range(len(perm))):
        steps = (*steps, ("Transpose", perm))
    return Derived(base.weight, steps, base.dtype, shape)


def _with_shape(base: Derived, shape: tuple[int, ...]) -> Derived:
    if shape == base.shape:
        return base
    steps = base.steps[:-1] if base.steps and base.steps[-1][0] == "Reshape" else base.steps
    return Derived(base.weight, (*steps, ("Reshape", shape)), base.dtype, shape)


def _reshaped(
    op: str, shape: tuple[int, ...], attributes: Mapping[str, Any], arguments: list[list[int]]
) -> tuple[int, ...] | None:
    """The shape that Reshape, Squeeze, Unsqueeze and Flatten give; None where the standard's corner cases begin."""
    if op == "Flatten":
        axis = attributes["axis"].i if "axis" in attributes else 1
        return (math.prod(shape[:axis]), math.prod(shape[axis:]))
    if op == "Reshape":
        if not arguments or ("allowzero" in attributes and attributes["allowzero"].i):
            return None
        wanted = [shape[i] if d == 0 else d for i, d in enumerate(arguments[0])]
        known = math.prod(d for d in wanted if d != -1)
        return tuple(math.prod(shape) // known if d == -1 else d for d in wanted) if known else None
    # axes were an attribute before opset 13
    axes = arguments[0] if arguments else list(attributes["axes"].ints) if "axes" in attributes else None
    if op == "Squeeze":
        gone = {i for i, d in enumerate(shape) if d == 1} if axes is None else {a % len(shape) for a in axes}
        return tuple(d for i, d in enumerate(shape) if i not in gone)
    if axes is None:
        return None
    rank = len(shape) + len(axes)
    new = {a % rank for a in axes}
    rest = iter(shape)
    return tuple(1 if i in new else next(rest) for i in range(rank))


def _initializer_names(used: Mapping[str, Derived]) -> dict[Derived, str]:
    """Name each derived weight once, one of them like the weight itself, the rest like the tensor it was."""
    names: dict[Derived, str] = {}
    taken: set[str] = set()
    for derived in used.values():
        own = f"{derived.weight}:0"
        if not derived.steps:
            names[derived] = own
            taken.add(own)
    for name, derived in used.items():
        if derived not in names:
            own = f"{derived.weight}:0"
            names[derived] = name if own in taken else own
            taken.add(names[derived])
    return names


def _used_names(graph: Any) -> set[str]:  # noqa: ANN401 - a GraphProto
    used = {value.name for value in graph.output}
    for node in nodes(graph):
        used.update(node.input)
        for body in subgraphs(node):
            used.update(value.name for value in body.output)
    return used


def rename(graph: Any, names: Mapping[str, str]) -> None:  # noqa: ANN401 - a GraphProto
    """Rename tensors where they are consumed, in bodies too."""
    for node in nodes(graph):
        for i, name in enumerate(node.input):
            if name in names:
                node.input[i] = names[name]
        for body in subgraphs(node):
            for value in body.output:
                if value.name in names:
                    value.name = names[value.name]


def tidy(model: Any) -> None:  # noqa: ANN401 - a ModelProto
    """Remove Identity nodes that only rename, initializers nobody uses, and opset imports nobody needs; in place."""
    graph = model.graph
    outputs = {value.name for value in graph.output}
    names: dict[str, str] = {}
    remaining = []
    for node in graph.node:
        if node.op_type == "Identity" and not node.domain and node.output[0] not in outputs:
            names[node.output[0]] = names.get(node.input[0], node.input[0])
        else:
            remaining.append(node)
    if names:
        del graph.node[:]
        graph.node.extend(remaining)
        rename(graph, names)
    used = _used_names(graph)
    kept = [tensor for tensor in graph.initializer if tensor.name in used]
    if len(kept) != len(graph.initializer):
        del graph.initializer[:]
        graph.initializer.extend(kept)
    domains = {node.domain for node in nodes(graph)} | {""}
    imports = [entry for entry in model.opset_import if entry.domain in domains]
    del model.opset_import[:]
    model.opset_import.extend(imports)


def _array(tensor: Any) -> np.ndarray[Any, Any]:  # noqa: ANN401 - a TensorProto
    from onnx import numpy_helper

    return numpy_helper.to_array(tensor)
