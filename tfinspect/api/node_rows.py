"""Rows of `nodes`: from graphs, from the functions of a graph's library, from operators and from layers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from tfinspect.errors import NameNotFoundError, counted
from tfinspect.ir.attrs import Attr
from tfinspect.ir.graph import Graph, Node
from tfinspect.ir.refs import split_input

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from tfinspect.ir.dtypes import DType
    from tfinspect.ir.functions import Function, FunctionBody
    from tfinspect.ir.layers import Layer
    from tfinspect.ir.model import Model
    from tfinspect.ir.operators import Operator
    from tfinspect.ir.shapes import Shape
    from tfinspect.ir.signature import TensorSpec
    from tfinspect.surgery.shapes import TensorType, TensorTypes

# TensorFlow's own words for the nodes that stand for a function's arguments and results once it is called
ARGUMENT: Final = "_Arg"
RESULT: Final = "_Retval"
INPUT: Final = "Input"
_NO_OUTPUT = 999_999_999  # an index no node has: the type of such an input stays unknown


class NodeRow(NamedTuple):
    """One line of `nodes`.

    Attributes:
        name: of the node, argument, result, operator or layer.
        op: operation type.
        inputs: as the file writes them; `^x` is a control input.
        dtype: of its first output, None where it cannot be told.
        shape: of its first output, as far as it can be told.
        function: the function or subgraph it stands in; None where that was not asked for, empty in the main graph.
        node: the node of a TensorFlow graph or function.
    """

    name: str
    op: str
    inputs: tuple[str, ...]
    dtype: DType | None
    shape: Shape
    function: str | None = None
    node: Node | None = None

    def to_json(self) -> dict[str, object]:
        """Return the row as the command-line contract writes it."""
        inputs = list(self.inputs)
        if self.node is not None:  # elsewhere `^` has no meaning
            inputs = [text for text in inputs if not text.startswith("^")]
            if not self.function:
                inputs = [f"{name}:{index}" for name, index, _ in map(split_input, inputs)]
        row: dict[str, object] = {
            "name": self.name,
            "op": self.op,
            "inputs": inputs,
            "control_inputs": self.control_inputs,
            "dtype": None if self.dtype is None else str(self.dtype),
            "shape": None if self.shape is None else list(self.shape),
        }
        if self.function is not None:
            row["function"] = self.function or None
        return row

    @property
    def control_inputs(self) -> list[str]:
        """Names of the nodes that must run before it."""
        return [text[1:] for text in self.inputs if text.startswith("^")] if self.node is not None else []


def of_graph(nodes: Sequence[Node], types: TensorTypes, function: str | None = None) -> Iterator[NodeRow]:
    """Yield the rows of nodes of a graph."""
    for node, (dtype, shape) in zip(nodes, types.first_types(nodes), strict=True):
        yield NodeRow(node.name, node.op, node.inputs, dtype, shape, function, node)


class FunctionRows:
    """The body of one library function.

    Attributes:
        arguments: its arguments.
        nodes: its nodes.
        results: its results; each takes the tensor it gives.
    """

    def __init__(self, graph: Graph, function: Function) -> None:
        from tfinspect.surgery.shapes import TensorTypes

        body = function.body
        self._flat = _Flat(graph, body)
        self._types = TensorTypes(Graph(self._flat.nodes, functions=graph.functions, versions=graph.versions))
        shapes = (*body.arg_shapes, *[None] * len(body.args))
        self.arguments = [
            NodeRow(name, ARGUMENT, (), dtype, shapes[index], function.name)
            for index, (name, dtype) in enumerate(body.args)
        ]
        kinds = self._types.first_types(self._flat.nodes[len(body.args) :])
        self.nodes = [
            NodeRow(node.name, node.op, node.inputs, dtype, shape, function.name, node)
            for node, (dtype, shape) in zip(body.nodes, kinds, strict=True)
        ]
        self.results = []
        for name, dtype in body.outputs:
            text = body.results.get(name)
            told = None if text is None else self.type_of(text)
            inputs = () if text is None else (text,)
            if dtype is None and told is not None:
                dtype = told.dtype  # noqa: PLW2901
            self.results.append(NodeRow(name, RESULT, inputs, dtype, told.shape if told else None, function.name))

    @property
    def rows(self) -> list[NodeRow]:
        """Arguments, nodes and results."""
        return [*self.arguments, *self.nodes, *self.results]

    def type_of(self, text: str) -> TensorType:
        """Return what is known of a tensor as the body writes it: `argument`, `node:output:index`."""
        from tfinspect.surgery.shapes import UNKNOWN

        name, index, _ = split_input(self._flat.input(text))
        outs = self._types.outputs_of(name) if name in self._types.nodes else ()
        return outs[index] if index < len(outs) else UNKNOWN

    def source(self, text: str) -> str:
        """Return the name of the node or argument that an input is of."""
        return split_input(self._flat.input(text))[0]


class _Flat:
    """A function's body as the nodes of a graph, whose inputs are `node:number`; only types are asked of it."""

    def __init__(self, graph: Graph, body: FunctionBody) -> None:
        from tfinspect.surgery._op_outputs import OUTPUTS, VARIABLE

        self._known, self._lists, self._functions = OUTPUTS, VARIABLE, graph.functions
        self._ops = {node.name: node.op for node in body.nodes}
        self._args = {name for name, _ in body.args}
        self._firsts: dict[str, dict[str, int]] = {}
        shapes = (*body.arg_shapes, *[None] * len(body.args))
        self.nodes = [_placeholder(name, dtype, shapes[index]) for index, (name, dtype) in enumerate(body.args)]
        for node in body.nodes:
            inputs = tuple([self.input(text) for text in node.inputs])
            self.nodes.append(Node(node.name, node.op, inputs, node.attrs, device=node.device))

    def input(self, text: str) -> str:
        if text.startswith("^") or text in self._args:
            return text
        name, *rest = text.split(":")
        if not rest or name in self._args:
            return name
        index = int(rest[-1]) if rest[-1].isascii() and rest[-1].isdigit() and len(rest[-1]) < 10 else 0  # noqa: PLR2004
        op = self._ops.get(name, "")
        if len(rest) > 1:
            index += self._first_of(op).get(rest[0], 0)
        if op in self._lists:
            index = _NO_OUTPUT
        return f"{name}:{index}"

    def _first_of(self, op: str) -> dict[str, int]:
        """Return the number of the first tensor of each output of an op, by the output's name."""
        if op not in self._firsts:
            called = self._functions.get(op)
            names = [n for n, _ in called.body.outputs] if called is not None else self._known.get(op, "").split()
            self._firsts[op] = {name: index for index, name in enumerate(names)}
        return self._firsts[op]


def _placeholder(name: str, dtype: DType | None, shape: Shape) -> Node:
    attrs = {"shape": Attr.of_shape(shape)}
    if dtype is not None:
        attrs["dtype"] = Attr.of(dtype)
    return Node(name, "PlaceholderV2", (), attrs)


def of_functions(graph: Graph) -> Iterator[NodeRow]:
    """Yield the rows of every function of a graph's library."""
    for function in graph.functions.values():
        yield from FunctionRows(graph, function).rows


def of_operators(operators: Iterable[Operator], *, named: bool) -> list[NodeRow]:
    """Return the rows of operators; `named`: with the subgraph they stand in."""
    return [NodeRow(o.name, o.op, o.inputs, o.dtype, o.shape, o.body if named else None) for o in operators]


def of_layers(layers: Iterable[Layer], *, named: bool = False) -> list[NodeRow]:
    """Return the rows of layers; `named`: with the function they stand in, which is none."""
    function = "" if named else None
    return [NodeRow(layer.name, layer.kind, layer.inputs, None, layer.shape, function) for layer in layers]


def ends_of_operators(model: Model, *, outputs: bool) -> list[NodeRow]:
    """Return a row for each input of a model's signatures, or of the operators that give their outputs."""
    specs = [s for signature in model.signatures.values() for s in (signature.outputs if outputs else signature.inputs)]
    if not outputs:
        taken = {text for o in model.operators for text in o.inputs}
        # a file may call a tensor `x:0`, which to a signature is output 0 of `x`
        names = [spec.name if spec.name in taken else _plain(spec) for spec in specs]
        found = {name: NodeRow(name, INPUT, (), s.dtype, s.shape) for name, s in zip(names, specs, strict=True)}
        return list(found.values())
    makers = {tensor: o for o in model.operators if not o.body for tensor in o.outputs if tensor}
    found_makers: dict[str, Operator] = {}
    for spec in specs:
        maker = makers.get(spec.ref.name) or makers.get(spec.name)
        if maker is not None:
            found_makers.setdefault(maker.name, maker)
    return of_operators(found_makers.values(), named=False)


def _plain(spec: TensorSpec) -> str:
    return spec.ref.name if spec.ref.index == 0 else spec.name


def kinds_of_tensors(model: Model, operators: Iterable[Operator]) -> dict[str, tuple[DType | None, Shape]]:
    """Return what is known of the tensors of a model: its weights, what goes in and out, what operators give."""
    kinds: dict[str, tuple[DType | None, Shape]] = {}
    if model.checkpoint is not None:
        kinds |= {v.name: (v.dtype, v.shape) for v in model.checkpoint.variables.values()}
    for signature in model.signatures.values():
        for spec in (*signature.inputs, *signature.outputs):
            kinds[spec.name] = kinds[_plain(spec)] = (spec.dtype, spec.shape)
    made = {o.outputs[0]: (o.dtype, o.shape) for o in operators if o.outputs and o.outputs[0]}
    return kinds | {name: kind for name, kind in made.items() if kind != (None, None) or name not in kinds}


def ends_of_layers(layers: Sequence[Layer], *, outputs: bool) -> list[NodeRow]:
    """Return the layers that take no other, or that no other takes."""
    if not outputs:
        return of_layers(layer for layer in layers if not layer.inputs)
    taken = {name for layer in layers for name in layer.inputs}
    return of_layers(layer for layer in layers if layer.name not in taken)


def function_of(graph: Graph, name: str, where: str) -> Function:
    """Return a function of the library.

    Raises:
        NameNotFoundError: there is none of that name; carries near names.
    """
    found = graph.functions.get(name)
    if found is None:
        raise no_function(name, where, graph.functions)
    return found


def no_function(name: str, where: str, known: Iterable[str]) -> NameNotFoundError:
    """Return the error for a function that is not there."""
    names = list(known)
    return NameNotFoundError(
        f"no function named `{name}`" + (f" in {where}" if where else "") + f" ({counted(len(names), 'function')})",
        name=name,
        known=names,
    )
