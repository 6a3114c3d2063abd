"""The nodes of a head made of fully connected layers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tfinspect.errors import UsageError
from tfinspect.ir.attrs import Attr
from tfinspect.ir.dtypes import DType
from tfinspect.ir.graph import Node, const
from tfinspect.ir.refs import TensorRef
from tfinspect.ir.tensors import Tensor
from tfinspect.surgery._edges import as_input

if TYPE_CHECKING:
    from tfinspect.ir.head import DenseHead, DenseLayer

_ACTIVATIONS = {
    "relu": "Relu", "relu6": "Relu6", "elu": "Elu", "selu": "Selu", "sigmoid": "Sigmoid", "tanh": "Tanh",
    "softplus": "Softplus", "softsign": "Softsign", "softmax": "Softmax", "log_softmax": "LogSoftmax",
}  # fmt: skip
_NOTHING = frozenset({"", "linear", "none", "identity"})


def dense_nodes(
    head: DenseHead, bottleneck: TensorRef, prefix: str, *, flatten: bool
) -> tuple[list[Node], tuple[TensorRef, ...]]:
    """Return a head's nodes and its outputs.

    Args:
        head: at least one layer.
        bottleneck: float tensor [batch, features], or [batch, 1, 1, features] with `flatten`.
        prefix: scope of every node.
        flatten: whether to reshape the bottleneck to two dimensions first.

    Returns:
        The nodes, and the outputs: `prefix/logits`, and `prefix/softmax` or whatever the last activation is called.

    Raises:
        UsageError: the head has no layers, or an activation this program has no op for.
    """
    if not head.layers:
        raise UsageError("the head has no layers")
    nodes: list[Node] = []
    source = bottleneck
    if flatten:
        features = head.layers[0].weights.shape[0]
        shape = const(f"{prefix}/reshape/shape", Tensor.of([-1, features], DType.INT32))
        attrs = {"T": Attr.of(head.layers[0].weights.dtype), "Tshape": Attr.of(DType.INT32)}
        nodes += [shape, Node(f"{prefix}/reshape", "Reshape", (as_input(source), shape.name), attrs)]
        source = TensorRef(f"{prefix}/reshape")
    for number, layer in enumerate(head.layers[:-1]):
        scope = f"{prefix}/layer_{number}"
        source = _linear(nodes, layer, source, scope, f"{scope}/BiasAdd")
        source = _activate(nodes, layer, source, scope) or source
    logits = _linear(nodes, head.layers[-1], source, prefix, f"{prefix}/logits")
    activated = _activate(nodes, head.layers[-1], logits, prefix)
    return nodes, (logits,) if activated is None else (logits, activated)


def _linear(nodes: list[Node], layer: DenseLayer, source: TensorRef, scope: str, result: str) -> TensorRef:
    dtype = Attr.of(layer.weights.dtype)
    weights = const(f"{scope}/weights", layer.weights)
    product = result if layer.biases is None else f"{scope}/MatMul"
    attrs = {"T": dtype, "transpose_a": Attr.of(value=False), "transpose_b": Attr.of(value=False)}
    nodes += [weights, Node(product, "MatMul", (as_input(source), weights.name), attrs)]
    if layer.biases is not None:
        biases = const(f"{scope}/biases", layer.biases)
        nodes += [biases, Node(result, "BiasAdd", (product, biases.name), {"T": dtype, "data_format": Attr.of("NHWC")})]
    return TensorRef(result)


def _activate(nodes: list[Node], layer: DenseLayer, source: TensorRef, scope: str) -> TensorRef | None:
    name = layer.activation.lower()
    if name in _NOTHING:
        return None
    if name not in _ACTIVATIONS:
        raise UsageError(
            f"the head's activation `{layer.activation}` is not known",
            hint=f"use one of {', '.join([*_ACTIVATIONS, 'linear'])}",
            evidence={"activation": layer.activation},
        )
    nodes.append(Node(f"{scope}/{name}", _ACTIVATIONS[name], (source.name,), {"T": Attr.of(layer.weights.dtype)}))
    return TensorRef(f"{scope}/{name}")
