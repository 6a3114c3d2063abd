"""What `nodes`, `show` and `vars` answer."""

from __future__ import annotations

import fnmatch
import itertools
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from tfinspect import formats
from tfinspect.api import keras, node_rows
from tfinspect.api.load import PathLike, open_graph
from tfinspect.errors import NodeNotFoundError, UsageError, counted
from tfinspect.ir.attrs import Attr, AttrList
from tfinspect.ir.graph import Graph, Node
from tfinspect.ir.model import Model
from tfinspect.ir.refs import TensorRef, parse_shaped

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from tfinspect.api.node_rows import NodeRow
    from tfinspect.ir.checkpoint import Checkpoint, VariableInfo
    from tfinspect.ir.dtypes import DType
    from tfinspect.ir.shapes import Shape
    from tfinspect.surgery.endpoints import Outputs
    from tfinspect.surgery.shapes import TensorTypes

Only = Literal["inputs", "outputs", "bottlenecks"]
Keep = Callable[["Node | NodeRow"], bool]
Item = TypeVar("Item", "Node", "NodeRow")


def nodes(
    path: PathLike | Graph | Model,
    *,
    op: str | None = None,
    match: str | None = None,
    scope: str | None = None,
    only: Only | None = None,
    inputs: Sequence[str] = (),
    function: str | None = None,
    everywhere: bool = False,
) -> Iterator[NodeRow]:
    """List the nodes of a graph in file order; of other models their operators or layers.

    Args:
        path: anything with a graph, operators or layers in it.
        op: only this operation type.
        match: only names that match this glob; `*` also matches `/`.
        scope: only names below this scope, or equal to it.
        only: only inputs, outputs or bottleneck candidates, best first.
        inputs: tensors with shapes, as `X:0[1,28,28,1]`, from which other shapes follow.
        function: list the body of this function instead: arguments, nodes, results.
        everywhere: list the bodies of all functions after the main graph.

    Raises:
        InputError: the model cannot be read.
        NodeNotFoundError: an input is not in the graph.
        OutputIndexError: an input's node has no output of that number.
        NameNotFoundError: there is no such function.
        UsageError: what was asked for does not fit together, or not to such a model.
    """
    if function is not None and everywhere:
        raise UsageError("`--function` lists one function and `--all` every one", hint="leave one of them out")
    if only is not None and everywhere:
        raise UsageError("`--only` looks for the ends of one graph", hint="leave out --all, or name one --function")
    model = _model(path)
    if only == "bottlenecks" and keras.is_keras(model):  # its layers are known without Keras, where to cut is not
        model = keras.graph_model(model)
    elif model.format == "dl4j" and only == "bottlenecks":
        model = open_graph(path)
    elif only == "bottlenecks" and function is None and model.signatures:
        model = _called(model)
    keeps = tuple(_filters(op, match, scope))
    if model.graph is None:
        _refuse_graph_options(model, only, inputs)
        return iter(_kept(_other_rows(model, only, function, everywhere=everywhere), keeps))
    if function is not None:
        return iter(_kept(_function_rows(model.graph, function, only, inputs), keeps))
    return _graph_rows(model.graph, only, inputs, keeps, everywhere=everywhere)


def _called(model: Model) -> Model:
    """Look for bottlenecks where the signature's functions compute."""
    from tfinspect.api.locate import called

    graph = called(model)
    return model if graph is None else replace(model, graph=graph)


def function_names(path: PathLike | Graph | Model) -> list[str]:
    """Return the names that `nodes` and `show` take as `function`.

    Raises:
        InputError: the model cannot be read.
    """
    model = _model(path)
    return list(
        dict.fromkeys(o.body for o in model.operators if o.body) if model.graph is None else model.graph.functions
    )


def _model(path: PathLike | Graph | Model) -> Model:
    if isinstance(path, (Graph, Model)):
        return open_graph(path)
    model = formats.open_model(path)
    # what has none of these is refused with what it is instead
    return model if model.graph is not None or model.operators or model.layers else open_graph(path)


def _graph_rows(
    graph: Graph, only: Only | None, inputs: Sequence[str], keeps: Sequence[Keep], *, everywhere: bool
) -> Iterator[NodeRow]:
    from tfinspect.surgery.shapes import TensorTypes

    types = TensorTypes(graph, given_shapes(graph, inputs))
    chosen = _kept(graph.nodes if only is None else _only(graph, types, only), keeps)
    if not everywhere:
        return node_rows.of_graph(chosen, types)
    return itertools.chain(
        node_rows.of_graph(chosen, types, ""), (row for row in node_rows.of_functions(graph) if _is_kept(row, keeps))
    )


def _function_rows(graph: Graph, name: str, only: Only | None, inputs: Sequence[str]) -> list[NodeRow]:
    if inputs:
        raise UsageError("`--inputs` gives shapes to the main graph, not to a function", hint="leave it out")
    body = node_rows.FunctionRows(graph, node_rows.function_of(graph, name, _place(graph)))
    if only is None:
        return body.rows
    if only == "bottlenecks":
        raise UsageError("bottlenecks are looked for in the main graph, not in a function", hint="leave out --function")
    return body.arguments if only == "inputs" else body.results


def _place(graph: Graph) -> str:
    return graph.source.path if graph.source else ""


def _refuse_graph_options(model: Model, only: Only | None, inputs: Sequence[str]) -> None:
    title = formats.BY_NAME[model.format].title if model.format in formats.BY_NAME else model.format
    if only == "bottlenecks":
        raise UsageError(f"bottlenecks are looked for in TensorFlow graphs, and {model.path} is none ({title})")
    if inputs:
        raise UsageError(f"`--inputs` gives shapes to TensorFlow graphs, and {model.path} is none ({title})")


def _other_rows(model: Model, only: Only | None, function: str | None, *, everywhere: bool) -> list[NodeRow]:
    operators, outputs = model.operators, only == "outputs"
    if function is not None:
        bodies = dict.fromkeys(o.body for o in operators if o.body)
        if function not in bodies:
            raise node_rows.no_function(function, model.path, bodies)
        if only is not None:
            raise UsageError("`--only` looks for what the signatures name", hint="leave out --function")
        return node_rows.of_operators([o for o in operators if o.body == function], named=True)
    if operators and only is not None:
        return node_rows.ends_of_operators(model, outputs=outputs)
    if operators:
        return node_rows.of_operators([o for o in operators if everywhere or not o.body], named=everywhere)
    if only is not None:
        return node_rows.ends_of_layers(model.layers, outputs=outputs)
    return node_rows.of_layers(model.layers, named=everywhere)


def given_shapes(graph: Graph, inputs: Sequence[str]) -> dict[TensorRef, Shape]:
    """Return the shapes written into `--inputs T[SHAPE]`, each for a node that exists.

    Raises:
        NodeNotFoundError: a tensor's node is not in the graph.
        OutputIndexError: its node has no output of that number.
    """
    shapes: dict[TensorRef, Shape] = {}
    for text in inputs:
        from tfinspect.surgery.prune import check_ref

        ref, shape = parse_shaped(text)
        check_ref(graph, ref)
        if shape is not None:
            shapes[ref] = shape
    return shapes


def _filters(op: str | None, match: str | None, scope: str | None) -> Iterator[Keep]:
    if op is not None:
        yield lambda node: node.op == op
    if match is not None:
        yield lambda node: fnmatch.fnmatchcase(node.name, match)
    if scope is not None:
        base = scope.rstrip("/")
        yield lambda node: node.name == base or node.name.startswith(base + "/")


def _is_kept(item: Node | NodeRow, keeps: Sequence[Keep]) -> bool:
    return all(keep(item) for keep in keeps)


def _kept(items: Sequence[Item], keeps: Sequence[Keep]) -> Sequence[Item]:
    return [item for item in items if _is_kept(item, keeps)] if keeps else items


def fetched(outputs: Outputs) -> list[TensorRef]:
    """Return the outputs a cut must serve: all where they are certain, else the likeliest alone."""
    return [end.ref for end in (outputs if outputs.certain else outputs[:1])]


def _only(graph: Graph, types: TensorTypes, only: Only) -> tuple[Node, ...]:
    # looking for what others found by themselves costs more than the whole listing
    from tfinspect.surgery.bottlenecks import find_bottlenecks
    from tfinspect.surgery.endpoints import find_inputs, find_outputs

    outputs = find_outputs(graph, types)
    inputs = find_inputs(graph, types, [end.ref for end in outputs] or None)
    if only == "outputs":
        refs = [end.ref for end in outputs]
    elif only == "inputs":
        refs = [end.ref for end in inputs]
    else:
        data = [end.ref for end in inputs if end.kind != "phase"]
        refs = [cut.ref for cut in find_bottlenecks(graph, types, data, fetched(outputs))] if data and outputs else []
    return tuple(graph.node(name) for name in dict.fromkeys(ref.name for ref in refs))


@dataclass(frozen=True, slots=True)
class NodeDetails:
    """Everything about one node, operator or layer.

    Attributes:
        row: as in the listing.
        attrs: attribute values.
        inputs: each input tensor with dtype and shape.
        consumers: (node, input as written) of each use.
    """

    row: NodeRow
    attrs: Mapping[str, Attr]
    inputs: tuple[tuple[str, DType | None, Shape], ...]
    consumers: tuple[tuple[str, str], ...]


def show(path: PathLike | Graph | Model, name: str, *, function: str | None = None) -> NodeDetails:
    """Describe one node, operator or layer.

    Args:
        path: as for `nodes`.
        name: its name; a tensor's name stands for the node that gives it.
        function: the function or subgraph to look in, instead of the main graph.

    Raises:
        InputError: the model cannot be read.
        NodeNotFoundError: it has no such node.
        OutputIndexError: the node has no output of that number.
        NameNotFoundError: there is no such function.
    """
    model = _model(path)
    if model.graph is None:
        return _show_other(model, name, function)
    if function is not None:
        return _show_in_function(model.graph, name, function)
    return _show_in_graph(model.graph, name)


def _show_in_graph(graph: Graph, name: str) -> NodeDetails:
    from tfinspect.surgery.prune import check_ref
    from tfinspect.surgery.shapes import TensorTypes

    # a node's name may hold a colon where a file is broken; what stands there as it was typed is what is meant
    node = graph.by_name.get(name) or check_ref(graph, TensorRef.parse(name.removeprefix("^")))
    types = TensorTypes(graph)
    (row,) = node_rows.of_graph([node], types)
    inputs = []
    for source in node.data_inputs:
        given = types.type_of(source)
        inputs.append((str(source), given.dtype, given.shape))
    # one look through all inputs: a table of every node's consumers would take longer than all the rest
    consumers = tuple(
        (user.name, text)
        for user in graph.nodes
        for text in user.inputs
        if node.name in text and (text.lstrip("^").rpartition(":")[0] == node.name or text.lstrip("^") == node.name)
    )
    return NodeDetails(row, dict(node.attrs.items()), tuple(inputs), consumers)


def _show_in_function(graph: Graph, name: str, function: str) -> NodeDetails:
    body = node_rows.FunctionRows(graph, node_rows.function_of(graph, function, _place(graph)))
    # of one name: a node before a result, which may be called like the node that gives it
    by_name = {row.name: row for row in (*body.results, *body.arguments, *body.nodes)}
    asked = name.removeprefix("^")
    row = by_name.get(asked) or by_name.get(asked.partition(":")[0])
    if row is None:
        raise _no_node(name, f"function `{function}`", by_name)
    inputs = []
    for text in row.inputs:
        if not text.startswith("^"):
            given = body.type_of(text)
            inputs.append((text, given.dtype, given.shape))
    consumers = tuple(
        (user.name, text)
        for user in (*body.nodes, *body.results)
        for text in user.inputs
        if row.op != node_rows.RESULT and body.source(text).removeprefix("^") == row.name
    )
    return NodeDetails(row, {} if row.node is None else dict(row.node.attrs.items()), tuple(inputs), consumers)


def _show_other(model: Model, name: str, function: str | None) -> NodeDetails:
    if not model.operators and function is not None:
        raise node_rows.no_function(function, model.path, ())
    if not model.operators:
        return _show_layer(model, name)
    if function is not None:
        _other_rows(model, None, function, everywhere=False)  # says so where there is none
    operators = [o for o in model.operators if o.body == (function or "")]
    found = next((o for o in operators if o.name == name), None) or next(
        (o for o in operators if name in o.outputs), None
    )
    if found is None:
        place = model.path if function is None else f"`{function}` of {model.path}"
        raise _no_node(name, place, [o.name for o in operators])
    kinds = node_rows.kinds_of_tensors(model, operators)
    (row,) = node_rows.of_operators([found], named=function is not None)
    outputs = {text for text in found.outputs if text}
    return NodeDetails(
        row,
        found.attrs,
        tuple((text, *kinds.get(text, (None, None))) for text in found.inputs if text),
        tuple((user.name, text) for user in operators for text in user.inputs if text in outputs),
    )


def _show_layer(model: Model, name: str) -> NodeDetails:
    layers = {layer.name: layer for layer in model.layers}
    layer = layers.get(name)
    if layer is None:
        raise _no_node(name, model.path, layers, "layer")
    (row,) = node_rows.of_layers([layer])
    inputs = tuple((text, None, layers[text].shape if text in layers else None) for text in layer.inputs)
    consumers = tuple((user.name, text) for user in model.layers for text in user.inputs if text == name)
    attrs = {key: _setting(value) for key, value in layer.settings.items()}
    if layer.weights:
        attrs["weights"] = Attr.of(AttrList("s", tuple(text.encode() for text in layer.weights)))
    return NodeDetails(row, attrs, inputs, consumers)


def _setting(value: object) -> Attr:
    """Return a setting of a layer, a plain JSON value, as an attribute; nested ones as their JSON text."""
    import json

    if isinstance(value, (str, bool, int, float)):
        return Attr.of(value)
    if isinstance(value, (list, tuple)) and value and all(type(v) is int for v in value):
        return Attr.ints(list(value))
    return Attr.of(json.dumps(value, default=str))


def _no_node(name: str, where: str, known: Iterable[str], noun: str = "node") -> NodeNotFoundError:
    names = list(known)
    return NodeNotFoundError(
        f"no {noun} named `{name}` in {where} ({counted(len(names), noun)})", name=name, known=names
    )


def variables(checkpoint: Checkpoint, *, match: str | None = None, role: str | None = None) -> list[VariableInfo]:
    """List the variables of a checkpoint, by name pattern and role."""
    return [
        info
        for info in checkpoint.variables.values()
        if (match is None or fnmatch.fnmatchcase(info.name, match)) and (role is None or info.role == role)
    ]


def preview(value: Any, limit: int = 8) -> str:  # noqa: ANN401 - any array
    """Return the first values of an array on one line."""
    flat = value.reshape(-1)
    shown = ", ".join(_scalar(v) for v in flat[:limit].tolist())
    return f"[{shown}{', ...' if flat.size > limit else ''}]"


def _scalar(value: object) -> str:
    if isinstance(value, bytes):
        return repr(value[:40])[1:]
    return f"{value:.6g}" if isinstance(value, float) else str(value)
