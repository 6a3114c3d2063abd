"""What loading a model does besides restoring its variables: files are found, variables are set to what they name."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from tfinspect.ir.refs import TensorRef, split_input
from tfinspect.surgery._edges import behind_identities
from tfinspect.surgery.inline_functions import inline_functions
from tfinspect.surgery.prune import needed
from tfinspect.surgery.reconcile import VARIABLES

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping

    from tfinspect.ir.graph import Graph, Node

_ASSIGNS: Final = frozenset({"Assign", "AssignVariableOp"})


@dataclass(frozen=True, slots=True)
class Asset:
    """A file that is part of a model.

    Attributes:
        name: as the model calls it.
        read: returns its bytes; raises an InputError where it is not there or lies elsewhere.
    """

    name: str
    read: Callable[[], bytes]


@dataclass(frozen=True, slots=True)
class AtLoad:
    """What a loader does with a model.

    Attributes:
        initializers: nodes it runs once the variables are restored.
        assets: by the name of the node that gives the asset's path.
    """

    initializers: tuple[str, ...] = ()
    assets: Mapping[str, Asset] = field(default_factory=dict)


def initial_values(graph: Graph, load: AtLoad, variables: Collection[str]) -> tuple[Graph, dict[str, TensorRef]]:
    """Find what the initialisers set variables to that no checkpoint holds: metrics to zero, strings to paths.

    Args:
        graph: the whole graph.
        load: what loading does.
        variables: names of the variables that are missing.

    Returns:
        A graph in which each value is computed, functions replaced by their bodies; and the values found, by variable.
        Those that other variables are needed for are not among them.
    """
    roots = [TensorRef(name) for name in load.initializers if name in graph]
    if not roots or not variables:
        return graph, {}
    names = needed(graph, roots)
    found: dict[str, TensorRef] = {}
    for node in graph.nodes:
        inputs = node.data_inputs
        if node.op not in _ASSIGNS or node.name not in names or len(inputs) < 2:  # noqa: PLR2004
            continue
        variable = behind_identities(graph, inputs[0]).name
        if variable in variables and not _variables(graph, inputs[1]):
            found.setdefault(variable, inputs[1])
    if not found:
        return graph, {}
    return inline_functions(graph, list(found.values())), found


def _variables(graph: Graph, ref: TensorRef) -> bool:
    return any(graph.by_name[name].op in VARIABLES for name in needed(graph, [ref]))


def initial_value(variable: Node, ref: TensorRef) -> Node:
    """Return an Identity of a variable's name that gives the value it is set to at load."""
    from tfinspect.ir.attrs import Attr
    from tfinspect.ir.dtypes import DType
    from tfinspect.ir.graph import Node
    from tfinspect.surgery._edges import as_input

    dtype = variable.dtype("dtype") or DType.INVALID
    controls = [text for text in variable.inputs if text.startswith("^")]
    return Node(variable.name, "Identity", (as_input(ref), *controls), {"T": Attr.of(dtype)}, device=variable.device)


def node_of(tensor: str) -> str:
    """Return the node that gives a tensor, by its name in a model's list of assets."""
    return split_input(tensor)[0]
