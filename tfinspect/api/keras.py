"""Keras files as graphs: read and checked by us, built by Keras in a child process, and frozen."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Final

from tfinspect import formats
from tfinspect.errors import UnsupportedFeatureError
from tfinspect.ir.checkpoint import Checkpoint
from tfinspect.ir.graph import Graph
from tfinspect.ir.model import Model
from tfinspect.ir.refs import TensorRef
from tfinspect.ir.signature import Signature, TensorSpec

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tfinspect.ir.risks import Risk
    from tfinspect.ir.tensors import Tensor
    from tfinspect.surgery.shapes import TensorTypes

FORMATS: Final = frozenset({"keras_h5", "keras_archive"})
"""Formats that hold a model as Keras describes it."""
_CODE: Final = frozenset({"bytecode", "python-code", "custom-code", "serialized-object", "file-read"})
_built: dict[tuple[str, int, int], tuple[Model, dict[str, str]]] = {}


def is_keras(model: Model) -> bool:
    """Whether a model has to be built by Keras to have a graph; a file of weights alone has none."""
    return model.graph is None and model.format in FORMATS and model.facts.get("content") != "weights only"


def graph_model(model: Model) -> Model:
    """Return a Keras model with its graph, frozen, in which each layer's output is called what the layer is called.

    Built once in the life of this process.

    Raises:
        InputError: a part of the file cannot be read, or its weights do not fit its layers.
        RuntimeFailedError: Keras refused it, or the graph does not compute what the model does.
        RuntimeUnavailableError: Keras or TensorFlow is not installed.
        UnsupportedFeatureError: a layer needs code that is not Keras's own; it is named.
    """
    path = os.fspath(model.path)
    stat = Path(path).stat()
    key = (os.path.realpath(path), stat.st_mtime_ns, stat.st_size)
    if key not in _built:
        _built.clear()
        _built[key] = _build(model)
    return _built[key][0]


def restored_by(model: Model) -> dict[str, str]:
    """Return the weights given to the layers of a model of `graph_model`: what they are called, by layer and number."""
    return next((weights for built, weights in _built.values() if built is model), {})


def changes(model: Model) -> tuple[str, ...]:
    """Return in words what was changed to make a graph of a Keras model, and whether Keras's numbers were compared."""
    if model.format not in FORMATS:
        return ()
    found = [model.facts[key] for key in ("changes",) if key in model.facts]
    if "not_compared" in model.facts:
        found.append(f"not compared with the model in Keras: {model.facts['not_compared']}")
    return tuple(found)


def no_variables(model: Model) -> Checkpoint:
    """Return the checkpoint of a model of `graph_model`, whose variables are constants already."""
    return Checkpoint(model.path, model.format, {}, _no_variable)


def _no_variable(name: str) -> Tensor:
    raise KeyError(name)


def _build(model: Model) -> tuple[Model, dict[str, str]]:
    from tfinspect import runtimes
    from tfinspect.formats import keras_blueprint, keras_source
    from tfinspect.surgery.shapes import TensorTypes

    refuse_code(model)
    plan = keras_blueprint.blueprint(keras_source.read(model))
    with tempfile.TemporaryDirectory(prefix="tfinspect-") as folder:
        tensors: dict[str, Tensor] = {}
        layers = []
        for name, weights in plan.layers.items():
            pairs = []
            for number, (word, tensor) in enumerate(weights):
                key = f"{name}/{number}"
                tensors[key] = tensor
                pairs.append((word, key))
            layers.append((name, pairs))
        runtimes.write_weights(folder, tensors)
        output = Path(folder, "graph.pb")
        built = runtimes.build(
            runtimes.BuildRequest(
                library=plan.library,
                config=plan.config,
                layers=layers,
                by_place=plan.by_place,
                weights=folder,
                output=output,
                subject=model.path,
            )
        )
        # the file goes, what was mapped of it stays
        read = formats.read_graph(output)
    graph = Graph(read.nodes, functions=read.functions, versions=read.versions, wire=read.wire)
    types = TensorTypes(graph)
    signature = Signature("serving_default", _specs(types, built.inputs), _specs(types, built.outputs))
    facts = {**model.facts, "built_by": built.versions}
    notes = [*plan.notes, *["channels first: the graph takes images with channels last"] * built.channels_first]
    if notes:
        facts["changes"] = "; ".join(notes)
    if built.unchecked:
        facts["not_compared"] = built.unchecked
    restored = {f"{name}/{n}": f"{name}/{word}" for name, pairs in layers for n, (word, _) in enumerate(pairs)}
    found = Model(
        model.path,
        model.format,
        graph=graph,
        signatures={"serving_default": signature},
        assets=model.assets,
        layers=model.layers,
        training=model.training,
        facts=facts,
        risks=model.risks,
    )
    return found, restored


def _specs(types: TensorTypes, ends: Iterable[tuple[str, str]]) -> tuple[TensorSpec, ...]:
    found = []
    for key, name in ends:
        ref = TensorRef.parse(name)
        known = types.type_of(ref)
        found.append(TensorSpec(ref, known.dtype, known.shape, key))
    return tuple(found)


def code_risk(model: Model) -> Risk | None:
    """Return the first thing in a Keras model that is code, or needs some; None where it is of Keras's own layers."""
    return next((risk for risk in model.risks if risk.kind in _CODE), None)


def refuse_code(model: Model) -> None:
    """Refuse a model that needs code: no loader sees it.

    Raises:
        UnsupportedFeatureError: the first layer that does, by name.
    """
    risk = code_risk(model)
    if risk is not None:
        raise UnsupportedFeatureError(
            f"{model.path}: `{risk.where}` {risk.what}",
            hint="only layers of Keras's own are built; what the file holds: tfinspect info --risks",
            evidence={"path": model.path, "layer": risk.where, "risk": risk.kind},
        )
