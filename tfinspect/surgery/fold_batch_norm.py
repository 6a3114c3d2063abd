"""Fold an inference batch norm into the convolution or matrix product before it.

    (x * W + b - mean) * gamma * rsqrt(variance + epsilon) + beta  =  x * W' + b'
    W' = W * gamma * rsqrt(variance + epsilon)         b' = (b - mean) * gamma * rsqrt(variance + epsilon) + beta

1. The product is a Conv2D, DepthwiseConv2dNative or MatMul with a constant second operand.
2. Between it and the batch norm stand only Identity nodes and at most one addition of a constant bias; nothing else
   reads what is between, except checks that nobody reads.
3. The batch norm is BatchNormWithGlobalNormalization, FusedBatchNorm (V2, V3) with `is_training` false, or written out
   as `tf.nn.batch_normalization` writes it or as the kernel of 2015 computed it; all its parameters are constant.
4. The batch norm's node becomes a BiasAdd, so the tensor keeps its name; everything is computed in float64 and rounded
   once.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tfinspect.ir.attrs import Attr
from tfinspect.ir.dtypes import DType
from tfinspect.ir.graph import Graph, Node, const
from tfinspect.ir.tensors import Tensor
from tfinspect.surgery._edges import constant_behind, drop_dangling, fresh_name
from tfinspect.surgery.match_batch_norm import BatchNorm, match_batch_norm

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    import numpy.typing as npt

    from tfinspect.ir.refs import TensorRef

_PRODUCTS = frozenset({"Conv2D", "DepthwiseConv2dNative", "MatMul"})
_DTYPES = frozenset({DType.FLOAT, DType.DOUBLE})
_CHECKS = frozenset({"CheckNumerics", "CheckNumericsV2"})
_BIASES = frozenset({"BiasAdd", "Add", "AddV2"})


@dataclass(frozen=True, slots=True)
class Fold:
    """One batch norm that was folded, and all that is needed to compute it again.

    Attributes:
        node: the batch norm, now a BiasAdd.
        product: the convolution or matrix product, now with scaled weights.
        weights: name of the new constant of the scaled weights.
        biases: name of the new constant of the biases.
        sources: names of the constants that went in, by role: weights, biases (those before the batch norm), mean,
            variance, beta, gamma; roles that do not occur are absent.
        epsilon: what is added to the variance.
        dtype: of the result.
    """

    node: str
    product: str
    weights: str
    biases: str
    sources: dict[str, str]
    epsilon: float
    dtype: DType


def fold_batch_norm(graph: Graph, keep: Collection[TensorRef] = ()) -> tuple[Graph, list[Fold]]:
    """Fold every batch norm that can be.

    Args:
        graph: a frozen graph.
        keep: tensors that must stay what they are, such as the outputs.

    Returns:
        The graph, and what was folded. Constants that nothing reads any more are gone.
    """
    kept = {ref.name for ref in keep}
    replaced: dict[str, Node] = {}
    added: list[Node] = []
    folds: list[Fold] = []
    taken = set(graph.by_name)
    for node in graph.nodes:
        norm = match_batch_norm(graph, node)
        if norm is None:
            continue
        chain = _chain(graph, norm, kept)
        if chain is None or chain.product.name in replaced:
            continue
        constants = _constants(graph, norm, chain)
        if constants is None:
            continue
        fold = _fold(norm, chain, constants, taken)
        folds.append(fold.record)
        replaced[chain.product.name] = fold.product
        replaced[node.name] = fold.addition
        added += [fold.weights, fold.biases]
    if not folds:
        return graph, []
    nodes = [*added, *(replaced.get(node.name, node) for node in graph.nodes)]
    left = _sweep(graph, nodes, kept)
    return graph.replace(nodes=drop_dangling(left)), folds


@dataclass(frozen=True, slots=True)
class _Chain:
    product: Node
    weights: Node
    bias: Node | None


@dataclass(frozen=True, slots=True)
class _Folded:
    record: Fold
    weights: Node
    biases: Node
    product: Node
    addition: Node


def _chain(graph: Graph, norm: BatchNorm, kept: Collection[str]) -> _Chain | None:
    """Walk from the batch norm's input back to the product."""
    ref, user = norm.input, norm.first
    bias: Node | None = None
    while True:
        node = graph.by_name.get(ref.name)
        if node is None or ref.index or node.name in kept or not _read_only_by(graph, node, user):
            return None
        if node.op in _PRODUCTS:
            weights = constant_behind(graph, node.data_inputs[1])
            return None if weights is None else _Chain(node, weights, bias)
        if node.op in _BIASES and bias is None and constant_behind(graph, node.data_inputs[1]) is not None:
            bias = node
        elif node.op != "Identity":
            return None
        user, ref = node, node.data_inputs[0]


def _read_only_by(graph: Graph, node: Node, user: Node) -> bool:
    """Whether a node has one reader, and that takes it once; checks that only make others wait do not count."""
    for reader in graph.consumers.get(node.name, ()):
        if reader.name == user.name:
            if sum(ref.name == node.name for ref in reader.data_inputs) != 1:
                return False
        elif reader.op not in _CHECKS or any(
            ref.name == reader.name for other in graph.consumers.get(reader.name, ()) for ref in other.data_inputs
        ):
            return False
    return True


def _constants(graph: Graph, norm: BatchNorm, chain: _Chain) -> dict[str, Node] | None:
    """Return the constants by role, or None where their shapes are not plainly a channel's."""
    dtype = chain.product.dtype("T")
    weights = chain.weights.tensor()
    if dtype not in _DTYPES or weights is None or weights.dtype != dtype:
        return None
    channels = _channels(chain.product, weights.shape)
    if channels is None or not _channels_agree(norm, chain):
        return None
    found = {"weights": chain.weights}
    sources = dict(norm.parameters)
    if chain.bias is not None:
        sources["biases"] = chain.bias.data_inputs[1]
    for role, ref in sources.items():
        node = constant_behind(graph, ref)
        tensor = None if node is None else node.tensor()
        if node is None or tensor is None or tensor.dtype != dtype or tensor.shape != (channels,):
            return None
        found[role] = node
    return found


def _format(node: Node) -> str:
    return node.text("data_format", "NHWC") or "NHWC"


def _channels_agree(norm: BatchNorm, chain: _Chain) -> bool:
    """Whether product, bias and batch norm mean the same dimension by the channel."""
    if chain.product.op == "MatMul":
        return norm.written_out and (chain.bias is None or chain.bias.op != "BiasAdd" or _format(chain.bias) == "NHWC")
    layout = _format(chain.product)
    if layout not in ("NHWC", "NCHW") or norm.layout != layout:
        return False
    return chain.bias is None or (_format(chain.bias) if chain.bias.op == "BiasAdd" else "NHWC") == layout


def _channels(product: Node, shape: tuple[int, ...]) -> int | None:
    match product.op, len(shape):
        case "MatMul", 2:
            return shape[0] if product.value("transpose_b") is True else shape[1]
        case "Conv2D", 4:
            return shape[3]
        case "DepthwiseConv2dNative", 4:
            return shape[2] * shape[3]
    return None


def folded_weights(product: Node, sources: Mapping[str, Tensor], epsilon: float) -> npt.NDArray[Any]:
    """Return the scaled weights in float64.

    Args:
        product: the Conv2D, DepthwiseConv2dNative or MatMul that uses them.
        sources: constants by the roles that `Fold.sources` has. Weights are [height, width, in, out], or for a
            depthwise convolution [height, width, in, multiplier], whose channel `i * multiplier + m` comes from input
            i, or a matrix; all others [channels].
        epsilon: what is added to the variance.
    """
    weights: npt.NDArray[Any] = sources["weights"].numpy().astype("float64")
    scale = _scale(sources, epsilon)
    if product.op == "DepthwiseConv2dNative":
        scale = scale.reshape(weights.shape[2:])
    elif product.op == "MatMul" and product.value("transpose_b") is True:
        scale = scale[:, None]
    weights *= scale
    return weights


def folded_biases(sources: Mapping[str, Tensor], epsilon: float) -> npt.NDArray[Any]:
    """Return the biases that go with `folded_weights`, [channels], in float64."""
    offset: npt.NDArray[Any] = -sources["mean"].numpy().astype("float64")
    if "biases" in sources:
        offset += sources["biases"].numpy()
    offset *= _scale(sources, epsilon)
    if "beta" in sources:
        offset += sources["beta"].numpy()
    return offset


def _scale(sources: Mapping[str, Tensor], epsilon: float) -> npt.NDArray[Any]:
    import numpy as np

    scale: npt.NDArray[Any] = 1.0 / np.sqrt(sources["variance"].numpy().astype("float64") + epsilon)
    if "gamma" in sources:
        scale *= sources["gamma"].numpy()
    return scale


def _fold(norm: BatchNorm, chain: _Chain, constants: Mapping[str, Node], taken: set[str]) -> _Folded:
    product, node = chain.product, norm.node
    dtype = product.dtype("T") or DType.FLOAT
    names = (fresh_name(f"{node.name}/folded_weights", taken), fresh_name(f"{node.name}/folded_biases", taken))
    taken.update(names)
    sources = {role: tensor for role, source in constants.items() if (tensor := source.tensor()) is not None}
    small, to = norm.epsilon, dtype.numpy
    weights = Tensor(dtype, sources["weights"].shape, lambda: folded_weights(product, sources, small).astype(to))
    biases = Tensor(dtype, sources["mean"].shape, lambda: folded_biases(sources, small).astype(to))
    first, _, *controls = product.inputs
    waits = [text for text in node.inputs if text.startswith("^")]
    layout = "NHWC" if product.op == "MatMul" else _format(product)
    attrs = {"T": Attr.of(dtype), "data_format": Attr.of(layout)}
    return _Folded(
        Fold(node.name, product.name, *names, {role: source.name for role, source in constants.items()}, small, dtype),
        const(names[0], weights).replace(device=product.device),
        const(names[1], biases).replace(device=product.device),
        product.replace(inputs=(first, names[0], *controls)),
        Node(node.name, "BiasAdd", (product.name, names[1], *waits), attrs, device=node.device),
    )


def _sweep(before: Graph, nodes: list[Node], kept: Collection[str]) -> list[Node]:
    """Remove nodes that had readers before and have none now, and what only they read."""
    readers: dict[str, int] = {}
    for node in nodes:
        for ref in node.data_inputs:
            readers[ref.name] = readers.get(ref.name, 0) + 1
    table = {node.name: node for node in nodes}
    had = {ref.name for node in before.nodes for ref in node.data_inputs}
    gone = [name for name in table if name in had and not readers.get(name) and name not in kept]
    removed = set(gone)
    while gone:
        for ref in table[gone.pop()].data_inputs:
            readers[ref.name] -= 1
            if not readers[ref.name] and ref.name not in removed and ref.name not in kept:
                removed.add(ref.name)
                gone.append(ref.name)
    return [node for node in nodes if node.name not in removed]
