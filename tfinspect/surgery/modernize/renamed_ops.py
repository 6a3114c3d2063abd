"""Ops of TensorFlow 0.x and 1.x that importers refuse now, in ops of today that compute the same.

Only what is refused is touched: an op is, from the graph version in which it was deprecated on (`ops.DEPRECATED`), and
the `Batch*` transforms and `TopK` have lost their kernels altogether. The node that gives the result keeps the name.

* `BatchFFT`, `BatchCholesky`, `BatchMatrixDiag`... are the names of what the ops without `Batch` do since 2016-17.
* `TopK`, `QuantizeAndDequantize`, `Conv3DBackpropInput` and -`Filter` took as attribute or shape what is an input now.
* `SelfAdjointEig` put eigenvalues and vectors in one tensor; `AdjustContrast` clipped its result to a range.
* `ImageProjectiveTransform` of tf.contrib gave images of the size it was given.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from tfinspect.errors import counted
from tfinspect.ir.attrs import Attr
from tfinspect.ir.dtypes import DType
from tfinspect.ir.graph import Graph, Node, const
from tfinspect.ir.tensors import Tensor
from tfinspect.surgery._edges import fresh_name
from tfinspect.surgery.ops import DEPRECATED

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

_FOURIER = {f"Batch{op}": op for op in ("FFT", "FFT2D", "FFT3D", "IFFT", "IFFT2D", "IFFT3D")}
RENAMED: Final = {
    **_FOURIER,
    **{
        f"Batch{op}": op
        for op in (
            "Cholesky", "CholeskyGrad", "MatrixDeterminant", "MatrixInverse", "MatrixSolve", "MatrixSolveLs",
            "MatrixTriangularSolve", "SelfAdjointEigV2", "Svd", "MatrixDiag", "MatrixDiagPart", "MatrixBandPart",
            "MatrixSetDiag",
        )
    },
    "BatchSelfAdjointEig": "SelfAdjointEig",
    "PlaceholderV2": "Placeholder",
}  # fmt: skip
"""Ops that only changed their name."""

_NO_KERNEL = frozenset({*_FOURIER, "TopK"})
_CONTRIB = frozenset({"ImageProjectiveTransform"})


def modernize_renamed_ops(graph: Graph) -> tuple[Graph, list[str]]:
    """Rewrite old ops that importers refuse; the graph itself comes back where there is none."""
    graph, changed = rewrite_old_ops(graph)
    if not changed:
        return graph, []
    ops = ", ".join(sorted({old for _, old, _ in changed}))
    return graph, [f"rewrote {counted(len(changed), 'node')} of ops that are refused now: {ops}"]


def rewrite_old_ops(graph: Graph) -> tuple[Graph, list[tuple[str, str, str]]]:
    """Rewrite old ops that importers refuse.

    Returns:
        The graph, and (node, old op, new op) of each change.
    """
    if not any(_is_refused(node.op, graph) for node in graph.nodes):
        return graph, []
    taken = set(graph.by_name)
    nodes: list[Node] = []
    changed: list[tuple[str, str, str]] = []
    for node in graph.nodes:
        made = _made(node, taken) if _is_refused(node.op, graph) else None
        if made is None:
            nodes.append(node)
        else:
            nodes += made
            changed.append((node.name, node.op, made[-1].op))
    return (graph.replace(nodes=nodes), changed) if changed else (graph, [])


def _is_refused(op: str, graph: Graph) -> bool:
    if op in graph.functions:
        return False
    return op in _NO_KERNEL or op in _CONTRIB or graph.versions.producer >= DEPRECATED.get(op, 1 << 40)


def _made(node: Node, taken: set[str]) -> list[Node] | None:
    name = RENAMED.get(node.op, node.op)
    if name in _REWRITTEN:
        return _REWRITTEN[name](_Writer(node, taken))
    if name == node.op:
        return None
    attrs = dict(node.attrs)
    if node.op in _FOURIER:
        attrs["Tcomplex"] = Attr.of(DType.COMPLEX64)
    if name == "MatrixBandPart":
        attrs["Tindex"] = Attr.of(DType.INT64)
    return [node.replace(op=name, attrs=attrs)]


class _Writer:
    """Makes the nodes that take the place of one."""

    def __init__(self, node: Node, taken: set[str]) -> None:
        self.node = node
        self.data = [text for text in node.inputs if not text.startswith("^")]
        self.controls = [text for text in node.inputs if text.startswith("^")]
        self.dtype = node.dtype("T") or DType.FLOAT
        self.made: list[Node] = []
        self._taken = taken

    def add(self, leaf: str, op: str, *inputs: str, **attrs: Attr) -> str:
        """Add a node under the old one's scope, and return its name."""
        name = fresh_name(f"{self.node.name}/{leaf}", self._taken)
        self._taken.add(name)
        self.made.append(Node(name, op, inputs, attrs, device=self.node.device))
        return name

    def const(self, leaf: str, value: object, dtype: DType) -> str:
        """Add a constant, in the frame of whatever the node is in."""
        name = fresh_name(f"{self.node.name}/{leaf}", self._taken)
        self._taken.add(name)
        waits = [f"^{text.partition(':')[0]}" for text in self.data[:1]]
        made = const(name, Tensor.of(value, dtype))  # type: ignore[arg-type]
        self.made.append(made.replace(inputs=waits, device=self.node.device))
        return name

    def end(self, op: str, *inputs: str, **attrs: Attr) -> list[Node]:
        """Add the node that gives the result, and return all."""
        node = self.node
        self.made.append(Node(node.name, op, (*inputs, *self.controls), attrs, device=node.device))
        return self.made


def _top_k(w: _Writer) -> list[Node]:
    k = w.const("k", w.node.value("k", 1), DType.INT32)
    return w.end("TopKV2", w.data[0], k, T=Attr.of(w.dtype), sorted=Attr.of(w.node.value("sorted", default=True)))


def _quantize(w: _Writer) -> list[Node]:
    low = w.const("input_min", w.node.value("input_min", 0.0), w.dtype)
    high = w.const("input_max", w.node.value("input_max", 0.0), w.dtype)
    attrs = {key: w.node.attrs[key] for key in ("signed_input", "num_bits", "range_given") if key in w.node.attrs}
    return w.end("QuantizeAndDequantizeV2", w.data[0], low, high, T=Attr.of(w.dtype), **attrs)


def _conv_gradient(position: int) -> Callable[[_Writer], list[Node]]:
    """Write the gradient of a convolution whose input at `position` was there for its shape alone."""

    def write(w: _Writer) -> list[Node]:
        attrs = {key: w.node.attrs[key] for key in ("strides", "padding", "dilations") if key in w.node.attrs}
        shape = w.add(
            "sizes", "Shape", w.data[position], T=Attr.of(w.dtype), out_type=Attr.of(DType.INT32)
        )  # fmt: skip
        inputs = [shape if index == position else text for index, text in enumerate(w.data)]
        return w.end(f"{w.node.op}V2", *inputs, T=Attr.of(w.dtype), **attrs)

    return write


def _eigen(w: _Writer) -> list[Node]:
    kind = Attr.of(w.dtype)
    both = w.add("eig", "SelfAdjointEigV2", w.data[0], T=kind, compute_v=Attr.of(value=True))
    axis = w.const("axis", -2, DType.INT32)
    index = Attr.of(DType.INT32)
    row = w.add("values", "ExpandDims", both, axis, T=kind, Tdim=index)
    return w.end("ConcatV2", row, f"{both}:1", axis, T=kind, N=Attr.of(2), Tidx=index)


def _contrast(w: _Writer) -> list[Node]:
    images, factor, low, high = w.data
    kind = Attr.of(DType.FLOAT)
    if w.dtype != DType.FLOAT:
        images = w.add("images", "Cast", images, SrcT=Attr.of(w.dtype), DstT=kind)
    adjusted = w.add("adjusted", "AdjustContrastv2", images, factor, T=kind)
    return w.end("Maximum", w.add("below", "Minimum", adjusted, high, T=kind), low, T=kind)


def _transform(w: _Writer) -> list[Node]:
    dtype = Attr.of(w.node.dtype("dtype") or DType.FLOAT)
    index = Attr.of(DType.INT32)
    shape = w.add("shape", "Shape", w.data[0], T=dtype, out_type=index)
    begin, end, step = (w.const(leaf, [v], DType.INT32) for leaf, v in (("begin", 1), ("end", 3), ("step", 1)))
    size = w.add("size", "StridedSlice", shape, begin, end, step, T=index, Index=index)
    interpolation = w.node.attrs.get("interpolation", Attr.of("NEAREST"))
    return w.end("ImageProjectiveTransformV2", *w.data[:2], size, dtype=dtype, interpolation=interpolation)


_REWRITTEN: Mapping[str, Callable[[_Writer], list[Node]]] = {
    "TopK": _top_k,
    "QuantizeAndDequantize": _quantize,
    "Conv3DBackpropInput": _conv_gradient(0),
    "Conv3DBackpropFilter": _conv_gradient(1),
    "SelfAdjointEig": _eigen,
    "AdjustContrast": _contrast,
    "ImageProjectiveTransform": _transform,
}
