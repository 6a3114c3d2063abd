"""Deeplearning4j networks as TensorFlow graphs: images channels last, weights as constants, for inference.

An input becomes a Placeholder, called `input` in a MultiLayerNetwork and after itself in a ComputationGraph. It takes
images as [batch, height, width, channels], those too that Deeplearning4j wants as rows of numbers. Each layer is a
node of its name, and what its softmax or sigmoid takes is `LAYER/logits`. Weights of another type become float32.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final

from tfinspect.architectures._dl4j_layers import LAYERS, ON_IMAGES, ON_ROWS, Call
from tfinspect.architectures._dl4j_nodes import Nodes, Settings, Trail, Value
from tfinspect.architectures._dl4j_vertices import KEEPING_CHANNELS, TO_IMAGES, TO_ROWS, VERTICES, preprocess, size_of
from tfinspect.errors import WrongKindError
from tfinspect.ir.dtypes import DType
from tfinspect.ir.graph import Graph, Versions, placeholder
from tfinspect.ir.layers import Layer
from tfinspect.ir.refs import TensorRef
from tfinspect.ir.shapes import format_shape
from tfinspect.ir.signature import Signature, TensorSpec

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tfinspect.ir.checkpoint import Checkpoint
    from tfinspect.ir.model import Model

INPUT: Final = "input"
SIGNATURE: Final = "serving_default"
_PRODUCER = 134  # of TensorFlow 1.15: every op here is known to it and to all since
_FROZEN: Final = frozenset({"FrozenLayer", "FrozenLayerWithBackprop"})
_KEEPING: Final = frozenset(
    {
        "ActivationLayer", "BatchNormalization", "Cropping2D", "DropoutLayer", "LocalResponseNormalization",
        "SubsamplingLayer", "Upsampling2D", "ZeroPaddingLayer",
    }
) | KEEPING_CHANNELS  # fmt: skip


def convert(model: Model) -> Model:
    """Return a Deeplearning4j model with a graph and a signature.

    Where the file does not say how large the images are, but how large they are when they become rows, a size is taken
    that leads there, if possible one of which no layer leaves out a row or column; `facts` has it as `image_size`, and
    what else would do. Where no layer asks for a size, it stays open.

    Raises:
        UnsupportedOpsError: a layer has no TensorFlow form here; it is named.
        InvalidGraphError: the layers do not fit each other.
        UnsupportedFeatureError: the parameters cannot be told apart.
    """
    if model.problems:
        raise model.problems[0]
    if model.checkpoint is None or not model.layers:
        raise WrongKindError(f"{model.path} has no layers")
    layers = _with_inputs(model.layers)
    for layer in layers:
        if layer.kind not in LAYERS and layer.kind not in VERTICES and layer.kind != "Input":
            raise Settings(model.path, layer).refused(f"is a {layer.kind[:60]}")
    starts = {layer.name: _input_of(model.path, layer, layers) for layer in layers if layer.kind == "Input"}
    nodes, values = _build(model.path, model.checkpoint, layers, starts)
    facts = dict(model.facts)
    if nodes.wanted:
        for name, (trail, wanted) in nodes.wanted.items():
            height, width = (_side_before(trail, axis, side) for axis, side in enumerate(wanted))
            if height is None or width is None:
                start = next(layer for layer in layers if layer.name == name)
                raise Settings(model.path, start).wrong(f"no image becomes one of {wanted[0]}x{wanted[1]} later")
            starts[name] = replace(starts[name], shape=(height[0], width[0], starts[name].shape[-1]))
            facts["image_size"] = f"{height[0]}x{width[0]}{_others(height, width)}"
        nodes, values = _build(model.path, model.checkpoint, layers, starts)
    outputs = [name for name in model.facts.get("outputs", "").split(", ") if name in values]
    taken = {name for layer in layers for name in layer.inputs}
    outputs = outputs or [layer.name for layer in layers if layer.name not in taken]
    graph = Graph(nodes.nodes, versions=Versions(_PRODUCER, 12))
    signature = Signature(
        SIGNATURE,
        tuple(_spec(name, values[name]) for name in starts),
        tuple(_spec(name, values[name]) for name in outputs),
    )
    return replace(model, graph=graph, signatures={SIGNATURE: signature}, facts=facts)


def _spec(name: str, value: Value) -> TensorSpec:
    return TensorSpec(TensorRef(value.ref), value.dtype, (None, *value.shape), name)


def _build(
    path: str, checkpoint: Checkpoint, layers: Sequence[Layer], starts: Mapping[str, Value]
) -> tuple[Nodes, dict[str, Value]]:
    nodes = Nodes(checkpoint, layers)
    values: dict[str, Value] = {}
    for layer in layers:
        settings, out = Settings(path, layer), nodes.names[layer.name]
        if layer.kind == "Input":
            start = starts[layer.name]
            nodes.nodes.append(placeholder(out, start.dtype, (None, *start.shape)))
            values[layer.name] = replace(start, ref=out)
            continue
        if missing := [name for name in layer.inputs if name not in values]:
            raise settings.wrong(f"it stands before `{missing[0][:60]}`, which it takes")
        xs = [values[name] for name in layer.inputs]
        call = Call(nodes, layer, settings, out)
        if layer.kind in VERTICES:
            values[layer.name] = VERTICES[layer.kind](call, xs)
            continue
        if len(xs) != 1:
            raise settings.wrong(f"it takes one input, and is given {len(xs)}")
        x = preprocess(call, xs[0])
        if layer.kind in ON_IMAGES and not x.is_image:
            raise settings.wrong(f"it takes images, and is given rows of {format_shape(x.shape)} numbers")
        values[layer.name] = LAYERS[layer.kind](call, x)
    return nodes, values


def _with_inputs(layers: Sequence[Layer]) -> list[Layer]:
    """Give the first layer of a chain an input to take; unwrap layers that are only kept from training."""
    plain = []
    for layer in layers:
        inner = layer.settings.get("layer")
        if layer.kind in _FROZEN and isinstance(inner, str):
            kinds = inner.split("/")
            while kinds[0] in _FROZEN and len(kinds) > 1:
                kinds.pop(0)
            plain.append(replace(layer, kind=kinds[0] if len(kinds) == 1 else inner))
        else:
            plain.append(layer)
    if any(layer.kind == "Input" for layer in plain):
        return plain
    name = INPUT
    while any(layer.name == name for layer in plain):
        name += "_"
    return [Layer(name, "Input"), *(layer if layer.inputs else replace(layer, inputs=(name,)) for layer in plain)]


# ----------------------------------------------------------------------------------------------------- what goes in


def _input_of(path: str, start: Layer, layers: Sequence[Layer]) -> Value:
    """Say what an input takes, from the layers that take it."""
    takers: dict[str, list[Layer]] = {}
    for layer in layers:
        for name in layer.inputs:
            takers.setdefault(name, []).append(layer)
    waiting, seen = list(takers.get(start.name, ())), {start.name}
    is_image = False
    while waiting:
        layer = waiting.pop(0)
        if layer.name in seen:
            continue
        seen.add(layer.name)
        settings = Settings(path, layer)
        before = settings.word("preprocessor")
        n_in = settings.count("nIn")
        if before == TO_IMAGES or before in TO_ROWS:
            told = size_of(settings, "preprocessor")
            if before == TO_IMAGES or layer.name in {t.name for t in takers.get(start.name, ())}:
                return Value(start.name, told, trail=start.name)
            return Value(start.name, (None, None, told[-1]), trail=start.name)
        if layer.kind in ON_ROWS and not is_image and n_in:
            if layer.kind == "EmbeddingLayer":
                return Value(start.name, (1,), trail=start.name, dtype=DType.INT32)
            return Value(start.name, (n_in,), trail=start.name)
        if layer.kind in ON_IMAGES:
            is_image = True
            if n_in:
                return Value(start.name, (None, None, n_in), trail=start.name)
        if layer.kind == "BatchNormalization" and n_in:
            image = is_image or _meets_image(layer, takers)
            return Value(start.name, (None, None, n_in) if image else (n_in,), trail=start.name)
        if layer.kind in _KEEPING:
            waiting += takers.get(layer.name, ())
    if is_image:
        return Value(start.name, (None, None, None), trail=start.name)
    raise Settings(path, start).wrong("no layer says what it takes")


def _meets_image(layer: Layer, takers: Mapping[str, Sequence[Layer]]) -> bool:
    waiting, seen = [layer], set()
    while waiting:
        one = waiting.pop()
        if one.name in seen:
            continue
        seen.add(one.name)
        if one.kind in ON_IMAGES or one.settings.get("preprocessor") in TO_ROWS:
            return True
        if one.kind in _KEEPING:
            waiting += takers.get(one.name, ())
    return False


def _side_before(trail: Trail, axis: int, wanted: int) -> tuple[int, int, int] | None:
    """Return the size of an input that becomes the wanted one, the smallest such size, and the largest.

    The first is one of which no layer leaves out a row or column, where there is one.
    """
    size: int | None = wanted
    least = most = wanted
    at: Trail | str = trail
    while isinstance(at, Trail):
        step = at.width if axis else at.height
        least, most = -(-least // step.times), most // step.times
        size = None if size is None or size % step.times else size // step.times
        if step.same:
            least, most = (least - 1) * step.stride + 1, most * step.stride
            size = None if size is None else size * step.stride
        else:
            reach = step.window - step.added
            least, most = (least - 1) * step.stride + reach, most * step.stride + reach - 1
            size = None if size is None else (size - 1) * step.stride + reach
        least = max(least, 1)
        if least > most:
            return None
        at = at.before
    return (size if size is not None and least <= size <= most else least), least, most


def _others(height: tuple[int, int, int], width: tuple[int, int, int]) -> str:
    if height[1] == height[2] and width[1] == width[2]:
        return ""
    return f" ({height[1]}x{width[1]} to {height[2]}x{width[2]} would fit)"
