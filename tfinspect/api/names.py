"""The names in a model file, whatever its format; for completion, which reads nothing else of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tfinspect import formats
from tfinspect.formats import node_names

if TYPE_CHECKING:
    from tfinspect.api.load import PathLike
    from tfinspect.ir.model import Model

_PLACEHOLDERS = frozenset({"Placeholder", "PlaceholderV2", "PlaceholderWithDefault"})
_VARIABLES = frozenset({"Variable", "VariableV2", "VarHandleOp"})


def nodes(path: PathLike) -> list[str]:
    """Return the names of nodes, operators and layers; of a file that has only weights, theirs.

    Raises:
        InputError: it cannot be read.
    """
    quick = node_names.read(path)
    if quick is not None:
        return [name for name, _ in quick]
    model = formats.open_model(path)
    if model.graph is not None:
        return [node.name for node in model.graph.nodes]
    found = [operator.name for operator in model.operators] + [layer.name for layer in model.layers]
    return found or _weights(model)


def tensors(path: PathLike) -> list[str]:
    """Return the names of tensors: those of nodes, as which output 0 is meant, and the outputs of operators.

    Raises:
        InputError: it cannot be read.
    """
    quick = node_names.read(path)
    if quick is not None:
        return [name for name, _ in quick]
    model = formats.open_model(path)
    if model.graph is not None:
        return [node.name for node in model.graph.nodes]
    outputs = [name for operator in model.operators for name in operator.outputs if name]
    ends = [
        spec.ref.name
        for signature in model.signatures.values()
        for spec in (*signature.inputs, *signature.outputs)
        if not model.operators
    ]
    return outputs or [layer.name for layer in model.layers] or ends


def outputs_of(path: PathLike, node: str) -> int:
    """Return how many outputs a node has; 0 where there is no such node.

    Raises:
        InputError: it cannot be read.
    """
    from tfinspect.surgery.ops import output_count

    graph = formats.open_model(path).graph
    found = None if graph is None else next((n for n in graph.nodes if n.name == node), None)
    return 0 if found is None else output_count(found)


def ops(path: PathLike) -> set[str]:
    """Return the operation types, and the kinds of layers.

    Raises:
        InputError: it cannot be read.
    """
    quick = node_names.read(path)
    if quick is not None:
        return {op for _, op in quick}
    model = formats.open_model(path)
    if model.graph is not None:
        return {node.op for node in model.graph.nodes}
    return {operator.op for operator in model.operators} | {layer.kind for layer in model.layers}


def functions(path: PathLike) -> list[str]:
    """Return the names of library functions, subgraphs and branches.

    Raises:
        InputError: it cannot be read.
    """
    model = formats.open_model(path)
    bodies = [] if model.graph is None else list(model.graph.functions)
    return bodies + list(dict.fromkeys(operator.body for operator in model.operators if operator.body))


def placeholders(path: PathLike) -> list[str]:
    """Return the names of the nodes that are fed.

    Raises:
        InputError: it cannot be read.
    """
    return _of_ops(path, _PLACEHOLDERS)


def variable_nodes(path: PathLike) -> list[str]:
    """Return the names of the nodes that hold variables.

    Raises:
        InputError: it cannot be read.
    """
    return _of_ops(path, _VARIABLES)


def variables(path: PathLike) -> list[str]:
    """Return the names of the variables that a file holds the values of.

    Raises:
        InputError: it cannot be read, or holds none.
    """
    return list(formats.read_checkpoint(path).variables)


def _of_ops(path: PathLike, wanted: frozenset[str]) -> list[str]:
    quick = node_names.read(path)
    if quick is None:
        graph = formats.open_model(path).graph
        quick = [] if graph is None else [(node.name, node.op) for node in graph.nodes]
    return [name for name, op in quick if op in wanted]


def _weights(model: Model) -> list[str]:
    return [] if model.checkpoint is None else list(model.checkpoint.variables)
