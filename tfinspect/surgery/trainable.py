"""Which constants of a frozen graph were variables once and may become variables again, and how deep they lie.

A constant counts where it reaches, through nothing but arithmetic of constants, an op that has parameters and that
works on the data: the filter of a convolution, a bias, gamma and beta of a batch norm. What stands before the first
layer is preprocessing and stays; so do moving means and variances, which are measured and not learned.
"""

from __future__ import annotations

from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Final

from tfinspect.errors import NameNotFoundError, UsageError
from tfinspect.ir.attrs import Attr
from tfinspect.ir.dtypes import DType
from tfinspect.ir.tensors import Tensor
from tfinspect.ir.trainer import Norm, Trainable
from tfinspect.surgery._edges import constant_behind
from tfinspect.surgery.match_batch_norm import match_batch_norm
from tfinspect.surgery.ops import EMBEDDINGS, LAYERS

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any, Literal

    import numpy.typing as npt

    from tfinspect.ir.graph import Graph, Node
    from tfinspect.ir.refs import TensorRef

    Role = Literal["weights", "bias", "gamma", "beta", "parameter"]

_BIASES: Final = frozenset({"BiasAdd", "BiasAddV1", "Add", "AddV2", "Sub"})
_FACTORS: Final = frozenset({"Mul", "RealDiv", "Div"})
_NORMS: Final = frozenset({"FusedBatchNorm", "FusedBatchNormV2", "FusedBatchNormV3"})
_TAKERS: Final = LAYERS | EMBEDDINGS | _BIASES | _FACTORS | _NORMS | {"BatchNormWithGlobalNormalization"}


@dataclass(frozen=True, slots=True)
class Parameters:
    """What can be learned in a trunk.

    Attributes:
        trainable: the constants, those nearest to the input first.
        norms: its batch norms.
        after: for each constant, the names of the nodes that take it and work on the data.
    """

    trainable: tuple[Trainable, ...]
    norms: tuple[Norm, ...]
    after: Mapping[str, tuple[str, ...]]

    @property
    def layers(self) -> int:
        """Number of layers with weights, one behind another."""
        return 1 + max((t.depth for t in self.trainable), default=-1)


def find_parameters(graph: Graph, starts: Sequence[TensorRef], ends: Sequence[TensorRef]) -> Parameters:
    """Return what can be learned between what is fed and what is wanted.

    Args:
        graph: frozen, with batch norms at inference.
        starts: what takes the data.
        ends: the bottleneck, or the outputs.

    Raises:
        NodeNotFoundError: the graph has no such tensor.
        UsageError: no weights stand between them.
    """
    for ref in (*starts, *ends):
        graph.node(ref.name)
    order = graph.topological()
    live = _downstream(order, {ref.name for ref in starts})
    weighted = {n.name for n in order if n.name in live and n.op in LAYERS and _constants(graph, n, live)}
    behind = _behind_layers(order, live, weighted)
    depths = _depths(order, live, weighted, [ref.name for ref in ends if ref.name in live])
    statistics, roles, norms = _batch_norms(graph, [n for n in order if n.name in live], depths)
    found: dict[str, Trainable] = {}
    after: dict[str, list[str]] = {}
    for node in order:
        if node.name not in depths or node.name not in behind or node.op not in _TAKERS:
            continue
        for constant in _constants(graph, node, live):
            if constant in statistics:
                continue
            role = roles.get(constant) or _role(node)
            after.setdefault(constant, []).append(node.name)
            depth = min(depths[node.name], found[constant].depth if constant in found else depths[node.name])
            if constant not in found or role == "weights":
                found[constant] = Trainable(constant, role, depth, decays=role == "weights")
    if not found:
        raise UsageError(
            f"no float32 weights stand between {_listed(starts)} and {_listed(ends)}, so there is nothing to train",
            hint="choose a tensor behind the layers: tfinspect nodes GRAPH --only bottlenecks",
            evidence={"starts": [str(ref) for ref in starts], "ends": [str(ref) for ref in ends]},
        )
    ordered = sorted(found.values(), key=lambda t: -t.depth)
    return Parameters(tuple(ordered), tuple(norms), {name: tuple(users) for name, users in after.items()})


def _listed(refs: Sequence[TensorRef]) -> str:
    return ", ".join(f"`{ref}`" for ref in refs)


def _downstream(order: Sequence[Node], starts: set[str]) -> set[str]:
    live = set(starts)
    for node in order:
        if any(ref.name in live for ref in node.data_inputs):
            live.add(node.name)
    return live


def _constants(graph: Graph, node: Node, live: set[str]) -> list[str]:
    """Return the float constants of more than one element that reach a node without passing through the data."""
    found: dict[str, None] = {}
    waiting = [ref.name for ref in reversed(node.data_inputs) if ref.name not in live]
    seen: set[str] = set()
    while waiting:
        name = waiting.pop()
        if name in seen:
            continue
        seen.add(name)
        source = graph.by_name[name]
        if source.op == "Const":
            tensor = source.tensor()
            if tensor is not None and tensor.dtype is DType.FLOAT and tensor.shape and tensor.size > 0:
                found[name] = None
            continue
        waiting += [ref.name for ref in reversed(source.data_inputs)]
    return list(found)


def _behind_layers(order: Sequence[Node], live: set[str], weighted: set[str]) -> set[str]:
    """Return the layers and what comes after one."""
    behind: set[str] = set()
    for node in order:
        if node.name in weighted or (node.name in live and any(ref.name in behind for ref in node.data_inputs)):
            behind.add(node.name)
    return behind


def _depths(order: Sequence[Node], live: set[str], weighted: set[str], ends: Sequence[str]) -> dict[str, int]:
    """Return for each node on the way to an end how many layers come after it."""
    depths = dict.fromkeys(ends, 0)
    for node in reversed(order):
        if node.name not in depths:
            continue
        below = depths[node.name] + (node.name in weighted)
        for ref in node.data_inputs:
            if ref.name in live:
                depths[ref.name] = max(depths.get(ref.name, 0), below)
    return depths


def _batch_norms(
    graph: Graph, nodes: Sequence[Node], depths: Mapping[str, int]
) -> tuple[set[str], dict[str, Role], list[Norm]]:
    """Return the constants that are statistics, the roles of the other parameters, and the norms themselves."""
    statistics: set[str] = set()
    roles: dict[str, Role] = {}
    norms = []
    for node in nodes:
        match = match_batch_norm(graph, node) if node.name in depths and len(node.data_inputs) > 1 else None
        if match is None:
            continue
        constants = {role: constant_behind(graph, ref) for role, ref in match.parameters.items()}
        mean, variance = constants["mean"], constants["variance"]
        statistics.update(c.name for c in (mean, variance) if c is not None)
        for role in ("gamma", "beta"):
            constant = constants.get(role)
            if constant is not None:
                roles[constant.name] = "gamma" if role == "gamma" else "beta"
        if mean is not None and variance is not None:
            axis = 1 if match.layout == "NCHW" else -1
            norms.append(Norm(str(match.input), mean.name, variance.name, axis, depths[node.name]))
    return statistics, roles, norms


def _role(node: Node) -> Role:
    if node.op in LAYERS or node.op in EMBEDDINGS:
        return "weights"
    return "bias" if node.op in _BIASES else "parameter"


def behind(graph: Graph, parameters: Parameters, ref: TensorRef) -> list[str]:
    """Return the names of the trainable constants that come after a tensor.

    Raises:
        NodeNotFoundError: the graph has no such tensor.
        UsageError: nothing that can be learned comes after it on the way to the bottleneck.
    """
    graph.node(ref.name)
    later = _downstream(graph.topological(), {ref.name}) - {ref.name}
    names = [t.name for t in parameters.trainable if later.intersection(parameters.after[t.name])]
    if not names:
        raise UsageError(
            f"no weights stand between `{ref}` and the bottleneck",
            hint="choose an earlier tensor, or train the head alone: --head-only",
            evidence={"from": str(ref)},
        )
    return names


def matching(parameters: Parameters, patterns: Sequence[str]) -> list[str]:
    """Return the names of the trainable constants in a scope, or that fit a pattern as a shell's.

    Raises:
        NameNotFoundError: a pattern fits none; has near names.
    """
    known = [t.name for t in parameters.trainable]
    found: dict[str, None] = {}
    for pattern in patterns:
        base = pattern.rstrip("/")
        fits = [n for n in known if n == base or n.startswith(base + "/") or fnmatchcase(n, pattern)]
        if not fits:
            scopes = {name.rsplit("/", depth)[0] for name in known for depth in range(1, name.count("/") + 1)}
            raise NameNotFoundError(
                f"no weights on the way to the bottleneck are in the scope `{pattern}`",
                name=base,
                known=[*sorted(scopes), *known],
            )
        found.update(dict.fromkeys(fits))
    return [name for name in known if name in found]


def rates(parameters: Parameters, names: Sequence[str], decay: float) -> dict[str, float]:
    """Return the factor of the learning rate of each constant: `decay` to the power of the layers behind it.

    The head comes after all of them and has the factor 1, so the last layer has `decay`.
    """
    depths = {t.name: t.depth for t in parameters.trainable}
    return {name: float(decay ** (depths[name] + 1)) for name in names}


def with_values(graph: Graph, values: Mapping[str, npt.NDArray[Any]]) -> Graph:
    """Return a graph in which constants have other values of the same type and shape; all else stays.

    Raises:
        NodeNotFoundError: a name is not in the graph.
        UsageError: a value does not fit its constant.
    """
    changed: dict[str, Node] = {}
    for name, value in values.items():
        node = graph.node(name)
        old = node.tensor()
        if old is None or old.shape != value.shape or old.dtype.numpy != value.dtype:
            raise UsageError(f"`{name}` is no constant of type {value.dtype} and shape {list(value.shape)}")
        changed[name] = node.replace(attrs={**node.attrs, "value": Attr.of(Tensor.of(value, old.dtype))})
    return graph.replace(nodes=[changed.get(node.name, node) for node in graph.nodes])
