"""Deeplearning4j's network configuration: JSON as Jackson wrote it in three styles, to layers in order.

A typed object is `{"dense": {...}}` (up to 0.9), `{"@class": "org.deeplearning4j...DenseLayer", ...}` (since
1.0.0-beta), or one within the other. Class names are read as words; nothing is looked up or loaded.
"""

from __future__ import annotations

import re
from collections import Counter, deque
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

from tfinspect.errors import UnsupportedFeatureError
from tfinspect.formats._dl4j_parameters import WITHOUT, Parameter, SizeUnknownError, has_bias_switch, parameters
from tfinspect.ir.layers import Layer
from tfinspect.ir.risks import Risk

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from tfinspect.ir.shapes import Shape

_CLASSES: Final = {
    "activation": "ActivationLayer", "autoEncoder": "AutoEncoder", "batchNormalization": "BatchNormalization",
    "convolution": "ConvolutionLayer", "convolution1d": "Convolution1DLayer", "dense": "DenseLayer",
    "dropout": "DropoutLayer", "ElementWiseMult": "ElementWiseMultiplicationLayer", "embedding": "EmbeddingLayer",
    "GlobalPooling": "GlobalPoolingLayer", "gravesBidirectionalLSTM": "GravesBidirectionalLSTM",
    "gravesLSTM": "GravesLSTM", "gru": "GRU", "localResponseNormalization": "LocalResponseNormalization",
    "loss": "LossLayer", "output": "OutputLayer", "rnnoutput": "RnnOutputLayer", "subsampling": "SubsamplingLayer",
    "subsampling1d": "Subsampling1DLayer", "zeroPadding": "ZeroPaddingLayer", "zeroPadding1d": "ZeroPadding1DLayer",
}  # fmt: skip
"""The classes behind the short names of the older style; names that are not here are those of the class."""
_PREPROCESSORS: Final = {
    "cnnToFeedForward": "CnnToFeedForwardPreProcessor", "cnnToRnn": "CnnToRnnPreProcessor",
    "composableInput": "ComposableInputPreProcessor", "feedForwardToCnn": "FeedForwardToCnnPreProcessor",
    "feedForwardToRnn": "FeedForwardToRnnPreProcessor", "rnnToCnn": "RnnToCnnPreProcessor",
    "rnnToFeedForward": "RnnToFeedForwardPreProcessor",
}  # fmt: skip
_WRAPPED: Final = ("fwd", "underlying", "layer")
_WRAPPERS: Final = frozenset(
    {
        "Bidirectional", "FrozenLayer", "FrozenLayerWithBackprop", "LastTimeStep", "LastTimeStepLayer",
        "MaskZeroLayer", "TimeDistributed",
    }
)  # fmt: skip
_TRAINING: Final = frozenset(
    {
        "adamMeanDecay", "adamVarDecay", "biasInit", "biasL1", "biasL2", "biasLearningRate", "biasUpdater", "bwd",
        "constraints", "corruptionLevel", "cudnnAlgoMode", "cudnnAllowFallback", "cudnnBwdDataAlgo",
        "cudnnBwdFilterAlgo", "cudnnFwdAlgo", "customLossFunction", "dist", "distRecurrent", "epsilon",
        "forgetGateBiasInit", "gainInit", "gradientNormalization", "gradientNormalizationThreshold", "initializer",
        "iupdater", "l1", "l1Bias", "l2", "l2Bias", "layerName", "learningRate", "learningRateSchedule", "momentum",
        "momentumSchedule", "regularization", "regularizationBias", "rho", "rmsDecay", "updater", "weightInit",
        "weightInitFn", "weightInitFnRecurrent", "weightInitRecurrent", "weightNoise",
    }
)  # fmt: skip
"""What a layer says of how it is trained; the optimizer of the whole model is told once."""
_RENAMED: Final = {"nin": "nIn", "nout": "nOut", "activationFn": "activation", "activationFunction": "activation",
                   "gateActivationFn": "gateActivation", "lossFn": "loss", "lossFunction": "loss",
                   "dropOut": "dropOut", "idropout": "dropOut"}  # fmt: skip
_ACTIVATIONS: Final = {"lrelu": "leakyrelu", "hardtanh": "hardtanh", "rationaltanh": "rationaltanh"}
_STRIDED: Final = frozenset({"ConvolutionLayer", "SubsamplingLayer", "Convolution1DLayer", "Subsampling1DLayer"})
_FLAT: Final = frozenset({"DenseLayer", "OutputLayer", "EmbeddingLayer", "CenterLossOutputLayer"})
_MAX_DEPTH = 4
_MAX_WRAPPERS = 8
_OWN_PACKAGES: Final = ("org.deeplearning4j.", "org.nd4j.")
_OPTIMIZERS: Final = {
    "adadelta": "AdaDelta", "adagrad": "AdaGrad", "adam": "Adam", "adamax": "AdaMax", "amsgrad": "AMSGrad",
    "nadam": "Nadam", "nesterovs": "Nesterovs", "none": "NoOp", "noop": "NoOp", "rmsprop": "RmsProp", "sgd": "Sgd",
}  # fmt: skip
_OLD_RATES: Final = {
    "learningRate": "learning_rate", "momentum": "momentum", "rmsDecay": "rms_decay", "adamMeanDecay": "beta1",
    "adamVarDecay": "beta2", "rho": "rho", "epsilon": "epsilon",
}  # fmt: skip


class MalformedError(ValueError):
    """The JSON is not what a network is written as; the words say where."""


@dataclass(frozen=True, slots=True)
class Unit:
    """A layer and what it takes of the row of parameters.

    Attributes:
        layer: the layer, without the names of its weights.
        parameters: in the order they are stored; None where that is not known here.
    """

    layer: Layer
    parameters: tuple[Parameter, ...] | None = ()


@dataclass(frozen=True, slots=True)
class Network:
    """A network as its configuration tells.

    Attributes:
        kind: "MultiLayerNetwork" or "ComputationGraph".
        units: in the order their parameters are stored, inputs before what takes them.
        training: how it was trained.
        facts: what else it says.
        risks: classes that are not Deeplearning4j's own.
        problems: layers that are not known here.
    """

    kind: str
    units: tuple[Unit, ...]
    training: Mapping[str, object]
    facts: Mapping[str, str]
    risks: tuple[Risk, ...]
    problems: tuple[UnsupportedFeatureError, ...]


def typed(value: object) -> tuple[str, dict[str, Any]]:
    """Return the class of a typed object and what is in it; both are empty where it is none."""
    if not isinstance(value, dict):
        return "", {}
    if isinstance(name := value.get("@class"), str):
        return name.rpartition(".")[2].rpartition("$")[2], {k: v for k, v in value.items() if k != "@class"}
    if len(value) == 1:
        ((name, body),) = value.items()
        if isinstance(body, dict):
            inner, fields = typed(body) if "@class" in body else ("", {})
            return (inner, fields) if inner else (name, body)
    return "", {}


def read_network(config: object, path: str) -> Network:
    """Read a configuration.

    Raises:
        MalformedError: it is no network's configuration.
    """
    if not isinstance(config, dict):
        raise MalformedError("an object was expected")
    if isinstance(config.get("confs"), list):
        kind, units = "MultiLayerNetwork", _chain(config)
        confs = [conf for conf in config["confs"] if isinstance(conf, dict)]
    elif isinstance(config.get("vertices"), dict):
        kind, units = "ComputationGraph", _graph(config)
        vertices = (typed(vertex)[1] for vertex in config["vertices"].values())
        confs = [body["layerConf"] for body in vertices if isinstance(body.get("layerConf"), dict)]
    else:
        raise MalformedError("neither `confs` nor `vertices` is there")
    names = [unit.layer.name for unit in units]
    if len(set(names)) != len(names):
        twice = Counter(names).most_common(1)[0][0]
        raise MalformedError(f"two layers are named `{twice[:60]}`")
    problems = tuple(
        UnsupportedFeatureError(
            f"{path}: `{unit.layer.name}` is a {unit.layer.kind}, whose parameters tfinspect cannot tell apart",
            evidence={"path": path, "layer": unit.layer.name, "kind": unit.layer.kind},
        )
        for unit in units
        if unit.parameters is None
    )
    facts = {"network": kind, **_facts(config, units)}
    return Network(kind, units, _training(config, confs, units), facts, tuple(_foreign_classes(config)), problems)


def _chain(config: dict[str, Any]) -> tuple[Unit, ...]:
    before = config.get("inputPreProcessors")
    preprocessors = before if isinstance(before, dict) else {}
    units: list[Unit] = []
    for i, conf in enumerate(config["confs"]):
        if not isinstance(conf, dict):
            raise MalformedError(f"`confs` has no object at {i}")
        inputs = (units[-1].layer.name,) if units else ()
        units.append(_unit(f"layer{i}", conf, preprocessors.get(str(i)), inputs, named=False))
    return tuple(units)


def _graph(config: dict[str, Any]) -> tuple[Unit, ...]:
    vertices = config["vertices"]
    inputs = _words(config.get("networkInputs"), "networkInputs")
    given = config.get("vertexInputs")
    wires = {name: _words(value, f"vertexInputs.{name[:40]}") for name, value in given.items()} if isinstance(
        given, dict
    ) else {}  # fmt: skip
    known = {*inputs, *vertices}
    for name, sources in wires.items():
        if missing := [source for source in sources if source not in known]:
            raise MalformedError(f"`{name[:60]}` takes `{missing[0][:60]}`, which is not there")
    units = []
    for name in _order(config, inputs, list(vertices), wires):
        if name in inputs and name not in vertices:
            units.append(Unit(Layer(name, "Input")))
            continue
        kind, body = typed(vertices[name])
        if isinstance(conf := body.get("layerConf"), dict):
            units.append(_unit(name, conf, body.get("preProcessor"), wires.get(name, ()), named=True))
        else:
            if not kind:
                raise MalformedError(f"`vertices.{name[:60]}` has no class")
            settings = dict(_settings(body))
            units.append(Unit(Layer(name, kind, inputs=wires.get(name, ()), settings=settings)))
    return tuple(units)


def _words(value: object, where: str) -> tuple[str, ...]:
    if value is None:
        return ()
    if not isinstance(value, list) or not all(isinstance(word, str) for word in value):
        raise MalformedError(f"`{where}` is no list of names")
    return tuple(value)


def _order(
    config: dict[str, Any], inputs: tuple[str, ...], vertices: list[str], wires: Mapping[str, tuple[str, ...]]
) -> list[str]:
    """Return the order in which parameters are stored: the one the file gives, or that Deeplearning4j would find."""
    names = [*dict.fromkeys([*inputs, *vertices])]
    told = config.get("topologicalOrderStr")
    if isinstance(told, list) and len(told) == len(names) and set(map(str, told)) == set(names):
        return [str(name) for name in told]
    number = {name: i for i, name in enumerate(names)}
    waiting = {name: set(wires.get(name, ())) for name in names}
    takers: dict[str, list[str]] = {name: [] for name in names}
    for name in names:
        for source in dict.fromkeys(wires.get(name, ())):
            takers[source].append(name)
    ready = deque(name for name in names if not waiting[name])
    order = []
    while ready:
        name = ready.popleft()
        order.append(name)
        for taker in _as_java_iterates(takers[name], number):
            waiting[taker].discard(name)
            if not waiting[taker]:
                ready.append(taker)
    if len(order) != len(names):
        raise MalformedError(f"`{next(name for name in names if waiting[name])[:60]}` is part of a cycle")
    return order


def _as_java_iterates(names: list[str], number: Mapping[str, int]) -> list[str]:
    """Sort names as a Java HashSet of their numbers would give them: by slot of a table three quarters full."""
    slots = 16
    while len(names) > slots * 3 // 4:
        slots *= 2
    return sorted(names, key=lambda name: number[name] % slots)


def _unit(name: str, conf: dict[str, Any], preprocessor: object, inputs: tuple[str, ...], *, named: bool) -> Unit:
    outer, body = typed(conf.get("layer"))
    if not outer:
        raise MalformedError(f"`{name[:60]}` has no layer")
    kinds, bodies = [_CLASSES.get(outer, outer)], [body]
    while kinds[-1] in _WRAPPERS and len(kinds) < _MAX_WRAPPERS:
        inside = (typed(bodies[-1].get(key)) for key in _WRAPPED)
        inner, body = next((pair for pair in inside if pair[0]), ("", {}))
        if not inner:
            raise MalformedError(f"`{name[:60]}` is a {kinds[-1]} around nothing")
        kinds.append(_CLASSES.get(inner, inner))
        bodies.append(body)
    told = next((b["layerName"] for b in bodies if isinstance(b.get("layerName"), str) and b["layerName"]), None)
    kind, body = kinds[-1], bodies[-1]
    try:
        found = parameters(kind, body)
    except SizeUnknownError as error:
        raise MalformedError(f"`{name[:60]}` ({kind[:60]}): {error}") from None
    settings: dict[str, object] = {"layer": "/".join(kinds[1:])} if len(kinds) > 1 else {}
    for outer_body in bodies[:-1]:
        settings.update(_settings({k: v for k, v in outer_body.items() if k not in _WRAPPED}))
    settings.update(_layer_settings(kind, body))
    before, fields = typed(preprocessor)
    if before:
        settings["preprocessor"] = _PREPROCESSORS.get(before, before)
        settings.update((f"preprocessor.{key}", value) for key, value in _settings(fields))
    shape: Shape = (None, body["nout"]) if kinds == [kind] and kind in _FLAT and type(body.get("nout")) is int else None
    layer = Layer(name if named or told is None else told, kinds[0], (), inputs, shape, settings)
    return Unit(layer, None if found is None else tuple(_both_directions(kinds, found)))


def _both_directions(kinds: list[str], found: list[Parameter]) -> Iterator[Parameter]:
    ways = [""]
    for kind in kinds:
        if kind == "Bidirectional":
            ways = [way + letter for way in ways for letter in "fb"]
    for way in ways:
        for one in found:
            yield replace(one, name=way + one.name)


def _layer_settings(kind: str, body: dict[str, Any]) -> dict[str, object]:
    """Return what the layer computes with; what the older files leave out is what reading them has always assumed."""
    settings = dict(_settings(body))
    if kind in WITHOUT and not kind.endswith(("LossLayer", "ActivationLayer", "Yolo2OutputLayer")):
        settings.pop("activation", None)  # written by older versions, never applied
    if has_bias_switch(kind):
        settings.setdefault("hasBias", True)
    if kind in _STRIDED:
        settings.setdefault("convolutionMode", "Truncate")
        settings.setdefault("dilation", [1] * (1 if kind.endswith("1DLayer") else 2))
    if "LSTM" in kind:
        settings.setdefault("gateActivation", "sigmoid")
    if kind == "Upsampling2D" and type(size := settings.get("size")) is int:
        settings["size"] = [size, size]
    return settings


def _settings(body: Mapping[str, Any]) -> Iterator[tuple[str, object]]:
    """Yield what is plain; typed objects become their class and, behind a dot, their own settings."""
    waiting: deque[tuple[str, object, int]] = deque(
        (_RENAMED.get(key, key), value, 0) for key, value in body.items() if key not in _TRAINING
    )
    while waiting:
        key, value, depth = waiting.popleft()
        if isinstance(value, dict):
            kind, fields = typed(value)
            if kind:
                yield key, _word(key, kind)
            if depth < _MAX_DEPTH:
                inner = fields if kind else value
                waiting.extend((f"{key}.{name}", item, depth + 1) for name, item in inner.items())
        elif isinstance(value, list):
            if all(isinstance(item, str | int | float | bool) for item in value):
                yield key, value
        elif value is not None and value != "NaN":
            yield key, _word(key, value) if isinstance(value, str) else value


def _word(key: str, word: str) -> str:
    if key in {"activation", "gateActivation"}:
        plain = word.removeprefix("Activation").lower()
        return _ACTIVATIONS.get(plain, plain)
    if key == "loss":
        return word.removeprefix("Loss").lower().replace("_", "")
    return word


def _facts(config: dict[str, Any], units: tuple[Unit, ...]) -> dict[str, str]:
    facts = {}
    if inputs := config.get("networkInputs"):
        facts["inputs"] = ", ".join(_words(inputs, "networkInputs"))
        facts["outputs"] = ", ".join(_words(config.get("networkOutputs"), "networkOutputs"))
    elif units:
        settings = units[0].layer.settings
        size = [settings.get(f"preprocessor.{key}") for key in ("numChannels", "inputHeight", "inputWidth")]
        if settings.get("preprocessor") == "FeedForwardToCnnPreProcessor" and None not in size:
            facts["input_type"] = f"rows of {'x'.join(map(str, size))} numbers (channels, height, width)"
        elif "nIn" in settings:
            what = "channels" if "kernelSize" in settings else "features"
            facts["input_type"] = f"{settings['nIn']} {what}"
    if isinstance(dtype := config.get("dataType"), str):
        facts["data_type"] = dtype.lower()
    return facts


def _training(config: dict[str, Any], confs: list[dict[str, Any]], units: tuple[Unit, ...]) -> dict[str, object]:
    training: dict[str, object] = {}
    for conf in confs:
        _, body = typed(conf.get("layer"))
        name, rates = typed(body.get("iupdater"))
        old = body.get("updater")
        if name:
            training["optimizer"] = name
            training.update(("learning_rate" if k == "learningRate" else k, v) for k, v in _settings_all(rates))
            break
        if isinstance(old, str):
            training["optimizer"] = _OPTIMIZERS.get(old.lower(), old)
            training.update((new, body[key]) for key, new in _OLD_RATES.items() if type(body.get(key)) in {int, float})
            break
    losses = [unit.layer.settings["loss"] for unit in units if "loss" in unit.layer.settings]
    if losses:
        training["loss"] = losses[0] if len(losses) == 1 else losses
    for conf in [*confs[:1], config]:
        for key, word in (("seed", "seed"), ("iterationCount", "iterations"), ("epochCount", "epochs"),
                          ("optimizationAlgo", "algorithm"), ("backpropType", "backprop")):  # fmt: skip
            if isinstance(value := conf.get(key), int | str):
                training[word] = value
    return training


def _settings_all(rates: dict[str, Any]) -> Iterator[tuple[str, object]]:
    for key, value in rates.items():
        kind, fields = typed(value)
        if type(value) in {int, float}:
            yield key, value
        elif kind:
            yield key, kind
            yield from ((f"{key}.{k}", v) for k, v in _settings(fields))


def updaters(config: object) -> set[str]:
    """Return the names of all optimizers that a configuration mentions."""
    found = set()
    for item in _objects(config):
        name = typed(item.get("iupdater"))[0] or typed(item.get("biasUpdater"))[0]
        old = item.get("updater")
        if name or isinstance(old, str):
            found.add(_OPTIMIZERS.get((name or str(old)).lower(), name or str(old)))
    return found


def _objects(config: object) -> Iterator[dict[str, Any]]:
    waiting = [config]
    while waiting:
        item = waiting.pop()
        if isinstance(item, dict):
            yield item
            waiting.extend(item.values())
        elif isinstance(item, list):
            waiting.extend(item)


def _foreign_classes(config: object) -> Iterator[Risk]:
    seen = set()
    for item in _objects(config):
        name = item.get("@class")
        if isinstance(name, str) and not name.startswith(_OWN_PACKAGES) and not re.match(r"java\.util\.", name):
            if name not in seen:
                yield Risk("custom-code", name, "is a class of the model's author, which Deeplearning4j would load")
            seen.add(name)
