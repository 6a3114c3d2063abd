"""From a Keras model to a frozen graph in which the output of each layer is called what the layer is called."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from tfinspect.ir.refs import split_input
from tfinspect.runtimes import _keras_layout

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    import numpy.typing as npt

    Array = npt.NDArray[Any]

_NODE_NAME = re.compile(r"[A-Za-z0-9.][A-Za-z0-9_.\\/>-]*")
_IMAGE_RANK = 4
_PLACEHOLDERS = frozenset({"Placeholder", "PlaceholderWithDefault"})


@dataclass(slots=True)
class Traced:
    """A model as a frozen function.

    Attributes:
        inputs: names.
        specs: TensorSpecs of the inputs.
        calls: (layer, how many tensors it gave), in the order of the function's first outputs.
        ends: names of the layers that give the model's outputs, which follow in the function's outputs.
        frozen: the ConcreteFunction without variables.
        model: the model.
        indices: how many values an input may take, where it is looked up in a table.
        orders: how each input's dimensions are moved to where the model wants them; empty where they are there.
    """

    inputs: list[str]
    specs: list[Any]
    calls: list[str]
    ends: list[str]
    frozen: Any
    model: Any
    indices: int | None
    orders: list[list[int]]

    def run_model(self, feeds: Sequence[Array]) -> list[Array]:
        """Return what the model gives, run by Keras."""
        import tensorflow as tf

        given = [
            tf.transpose(tf.constant(feed), order) if order else tf.constant(feed)
            for feed, order in zip(feeds, self.orders, strict=True)
        ]
        found = self.model(given if len(given) > 1 else given[0], training=False)
        return [np.asarray(value) for value in tf.nest.flatten(found)]

    def run_graph(self, feeds: Sequence[Array]) -> list[Array]:
        """Return what the frozen function gives."""
        import tensorflow as tf

        found = self.frozen(*[tf.constant(feed) for feed in feeds])
        return [np.asarray(value) for value in found[len(self.calls) :]]


def walk(model: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:  # noqa: ANN401 - Keras's
    """Yield (name, layer) of a model, those of nested models as `outer/inner` after the model they are in."""
    waiting = [(prefix, iter(model.layers))]
    while waiting:
        before, layers = waiting[-1]
        layer = next(layers, None)
        if layer is None:
            waiting.pop()
            continue
        name = f"{before}{layer.name}"
        yield name, layer
        if _is_model(layer):
            waiting.append((f"{name}/", iter(layer.layers)))


def _is_model(layer: Any) -> bool:  # noqa: ANN401 - Keras's
    return isinstance(getattr(layer, "layers", None), list) and hasattr(layer, "inputs")


def outputs_of(layer: Any) -> list[Any]:  # noqa: ANN401 - Keras's
    """Return what a layer gives, as symbolic tensors; none where Keras does not say."""
    import tensorflow as tf

    try:
        return [tensor for tensor in tf.nest.flatten(layer.output) if tensor.shape.rank is not None]
    except (AttributeError, ValueError, RuntimeError):  # never called, or called on several tensors
        return []


def trace(model: Any, keras: Any) -> Traced:  # noqa: ANN401 - Keras's
    """Trace a model for inference and fold its variables in."""
    import tensorflow as tf
    from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

    turned = _keras_layout.turn_layers(model)
    names = [tensor.name.partition(":")[0] for tensor in model.inputs]
    specs, orders = [], []
    for tensor, name in zip(model.inputs, names, strict=True):
        shape = list(tensor.shape)
        is_image = turned and len(shape) == _IMAGE_RANK
        orders.append(_keras_layout.to_first(len(shape)) if is_image else [])
        shape = [shape[axis] for axis in _keras_layout.to_last(len(shape))] if is_image else shape
        specs.append(tf.TensorSpec(shape, tensor.dtype, name))
    known = {id(layer): name for name, layer in walk(model)}
    ends: list[str] = []
    calls: list[str] = []

    @tf.function(autograph=False)  # type: ignore[untyped-decorator]
    def forward(*tensors: Any) -> list[Any]:  # noqa: ANN401 - TensorFlow's
        graph = tf.compat.v1.get_default_graph()
        recorded: list[tuple[str, Any]] = []
        taken = [tf.transpose(t, order) if order else t for t, order in zip(tensors, orders, strict=True)]
        with _recording(keras, known, graph, recorded):
            results = tf.nest.flatten(model(taken if len(taken) > 1 else taken[0], training=False))
        calls[:] = [name for name, _ in recorded]
        givers = {id(tensor): name for name, tensor in recorded}
        ends[:] = [givers.get(id(tensor), "") for tensor in results]
        return [*(tensor for _, tensor in recorded), *results]

    concrete = forward.get_concrete_function(*specs)
    frozen = convert_variables_to_constants_v2(concrete, lower_control_flow=False, aggressive_inlining=True)
    embeddings = [layer.input_dim for _, layer in walk(model) if type(layer).__name__ == "Embedding"]
    return Traced(names, specs, calls, ends, frozen, model, min(embeddings, default=None), orders)


class _recording:  # noqa: N801 - used as a statement
    """Note what each layer of the model gives while it is traced."""

    def __init__(self, keras: Any, known: Mapping[int, str], graph: Any, found: list[tuple[str, Any]]) -> None:  # noqa: ANN401
        self._class = keras.layers.Layer
        self._known, self._graph, self._found = known, graph, found
        self._original = self._class.__call__

    def __enter__(self) -> None:
        import tensorflow as tf

        original, known, graph, found = self._original, self._known, self._graph, self._found

        def call(layer: Any, *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401 - Keras's
            result = original(layer, *args, **kwargs)
            name = known.get(id(layer))
            tensors = tf.nest.flatten(result)
            if name is not None and len(tensors) == 1 and getattr(tensors[0], "graph", None) is graph:
                found.append((name, tensors[0]))
            return result

        self._class.__call__ = call

    def __exit__(self, *_: object) -> None:
        self._class.__call__ = self._original


@dataclass(frozen=True, slots=True)
class Named:
    """A graph whose tensors are named after layers.

    Attributes:
        proto: the GraphDef.
        outputs: (layer, tensor) of the model's outputs.
        layers: tensor by layer.
    """

    proto: Any
    outputs: list[tuple[str, str]]
    layers: dict[str, str]


def name_layers(traced: Traced) -> Named:
    """Return the graph of a traced model, with a node of each layer's name that gives the layer's output.

    Where one node computes it and nothing else needs its name, that node is renamed; else an Identity stands in.
    """
    from tensorflow.core.framework.graph_pb2 import GraphDef

    proto = GraphDef()
    proto.CopyFrom(traced.frozen.graph.as_graph_def())
    nodes = {node.name: node for node in proto.node}
    ends = [split_input(tensor.name) for tensor in traced.frozen.outputs]
    wrappers = {name for name, *_ in ends}
    sources = []
    for name, *_ in ends:  # TensorFlow returns each through an Identity of its own
        source, index, _ = split_input(nodes[name].input[0])
        sources.append((source, index))
    kept = [node for node in proto.node if node.name not in wrappers]
    renames, extra, layers = _new_names(traced, sources, {node.name: node for node in kept})
    taken_after: dict[tuple[str, int], str] = {}
    for name, source, index in extra:
        taken_after[source, index] = name
    del proto.node[:]
    for node in kept:
        new = proto.node.add()
        new.CopyFrom(node)
        new.name = renames.get(node.name, node.name)
        new.attr.pop("_class", None)
        del new.input[:]
        for text in node.input:
            source, index, is_control = split_input(text)
            name = renames.get(source, source)
            if is_control:
                new.input.append(f"^{name}")
            elif (source, index) in taken_after:
                new.input.append(taken_after[source, index])
            else:
                new.input.append(name if index == 0 else f"{name}:{index}")
    _add_identities(proto, extra, renames, traced, sources)
    outputs = []
    for end, (source, index) in zip(traced.ends, sources[len(traced.calls) :], strict=True):
        after = taken_after.get((source, index))
        name = f"{after}:0" if after else f"{renames.get(source, source)}:{index}"
        outputs.append((end or name, name))
    return Named(proto, outputs, layers)


def _new_names(
    traced: Traced, sources: Sequence[tuple[str, int]], nodes: Mapping[str, Any]
) -> tuple[dict[str, str], list[tuple[str, str, int]], dict[str, str]]:
    """Return new names of nodes, (name, node, output) of Identities to add in order, and the tensor of each layer."""
    wanted: dict[tuple[str, int], list[str]] = {}
    given: set[str] = set()
    count: dict[str, int] = {}
    for layer, source in zip(traced.calls, sources, strict=False):
        number = count.get(layer, 0)
        count[layer] = number + 1
        name = f"{layer}_{number}" if number else layer  # a layer that is called several times
        if not _NODE_NAME.fullmatch(name) or name in given:
            continue
        given.add(name)
        if name != source[0]:
            wanted.setdefault(source, []).append(name)
    renames: dict[str, str] = {}
    extra: list[tuple[str, str, int]] = []
    layers: dict[str, str] = {name: f"{name}:0" for name in given}
    for (node, index), names in wanted.items():
        is_free = nodes[node].op not in _PLACEHOLDERS and index == 0 and node not in renames and node not in given
        if is_free:
            renames[node] = names[0]
        extra += [(name, node, index) for name in names[1 if is_free else 0 :]]
    taken = {*given, *(name for name in nodes if name not in renames)}
    for name in given & nodes.keys():
        if name not in renames and name in {n for names in wanted.values() for n in names}:
            number = 1
            while f"{name}_{number}" in taken:
                number += 1
            renames[name] = f"{name}_{number}"
            taken.add(renames[name])
    return renames, extra, layers


def _add_identities(
    proto: Any,  # noqa: ANN401 - a GraphDef
    extra: Sequence[tuple[str, str, int]],
    renames: Mapping[str, str],
    traced: Traced,
    sources: Sequence[tuple[str, int]],
) -> None:
    """Add the Identities, each of which takes the one before where several layers give the same tensor."""
    types = {source: tensor.dtype for source, tensor in zip(sources, traced.frozen.outputs, strict=True)}
    last: dict[tuple[str, int], str] = {}
    for name, source, index in extra:
        node = proto.node.add(name=name, op="Identity")
        before = renames.get(source, source)
        node.input.append(last.get((source, index)) or (before if index == 0 else f"{before}:{index}"))
        node.attr["T"].type = types[source, index].as_datatype_enum
        last[source, index] = name
