"""What the `keras` and `tf-keras` children serve: a model built from a checked configuration, as a frozen graph."""

from __future__ import annotations

import importlib
import math
import os
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tfinspect.errors import InputError, LimitError, RuntimeFailedError, UnsupportedFeatureError
from tfinspect.runtimes import _keras_graph, _keras_weights
from tfinspect.runtimes._weights import open_weights

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    import numpy.typing as npt

    from tfinspect.runtimes._weights import Weight

    Array = npt.NDArray[Any]

_ROOM_FOR_STATE = 4096  # elements of what is no weight: seeds, counters
_MOST_VALUES = 1 << 27  # of the widest layer on the test inputs; a model larger than that is not run here
_OPEN_SIZES = (32, 64, 96, 128, 224, 8, 1)  # tried in turn for dimensions that the model leaves open
_SAMPLES = 2
_TOLERANCE = 1e-4  # relative to the largest value: TensorFlow fuses what Keras runs op by op
_LIBRARY = os.environ.get("TFINSPECT_KERAS", "keras")


def load() -> None:
    """Import TensorFlow and Keras."""
    importlib.import_module("tensorflow")
    importlib.import_module(_LIBRARY)


def build(params: Mapping[str, Any], _arrays: list[Array]) -> tuple[Any, list[Array]]:
    """Build the model of `config`, give it its weights, and write it as a frozen graph."""
    keras: Any = importlib.import_module(_LIBRARY)
    subject = params["subject"]
    weights = open_weights(params["weights"])
    keras.backend.clear_session()
    with _limited(keras, subject, weights):
        model = _model(keras, params["config"], subject)
        give = _keras_weights.assign_by_place if params["by_place"] else _keras_weights.assign
        give(model, params["layers"], weights, subject)
        for _, layer in _keras_graph.walk(model):
            if hasattr(layer, "finalize_state"):  # Normalization works its scale out of its weights
                layer.finalize_state()
    traced = _keras_graph.trace(model, keras)
    graph = _keras_graph.name_layers(traced)
    difference, unchecked = _difference(model, traced)
    try:
        data = graph.proto.SerializeToString()
    except Exception as error:  # noqa: BLE001 - protobuf raises EncodeError or ValueError, by version
        raise LimitError(f"{subject} does not fit in one graph: {error}", evidence={"path": subject}) from None
    Path(params["output"]).write_bytes(data)
    found = {
        "inputs": [[key, f"{key}:0"] for key in traced.inputs],
        "outputs": [list(pair) for pair in graph.outputs],
        "layers": graph.layers,
        "difference": difference,
        "unchecked": unchecked,
        "channels_first": any(traced.orders),
        "versions": _versions(keras),
    }
    return found, []


def _versions(keras: Any) -> str:  # noqa: ANN401 - a module
    import tensorflow as tf

    return f"{_LIBRARY} {keras.__version__}, tensorflow {tf.version.VERSION}"


@contextmanager
def _limited(keras: Any, subject: str, weights: Mapping[str, Weight]) -> Iterator[None]:  # noqa: ANN401 - a module
    """Let no layer make a weight larger than any in the file, and waste no time on random values for it.

    A few bytes of configuration can ask for any amount of memory.
    """
    largest = max((math.prod(w.shape) for w in weights.values()), default=0)
    layer_class = keras.layers.Layer
    original = layer_class.add_weight

    def add_weight(self: Any, *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401 - Keras's own signature, by version
        shape = kwargs.get("shape", next((a for a in args if isinstance(a, (tuple, list))), None))
        size = math.prod(int(d) for d in shape if d is not None) if isinstance(shape, (tuple, list)) else 0
        if size > max(largest, _ROOM_FOR_STATE):
            raise InputError(
                f"{subject}: the layer `{self.name}` wants a weight of shape {list(shape or ())}, "
                "and the file has none that large",
                evidence={"path": subject, "layer": self.name},
            )
        if size > _ROOM_FOR_STATE:
            kwargs["initializer"] = "zeros"
        return original(self, *args, **kwargs)

    layer_class.add_weight = add_weight
    try:
        yield
    finally:
        layer_class.add_weight = original


def _model(keras: Any, config: Mapping[str, Any], subject: str) -> Any:  # noqa: ANN401 - Keras's
    import json

    model = keras.models.model_from_json(json.dumps(config))
    inputs = getattr(model, "inputs", None)
    if not model.built or not inputs:
        raise UnsupportedFeatureError(
            f"{subject} does not say what shape its input has, so it has no graph", evidence={"path": subject}
        )
    return model


def _difference(model: Any, traced: _keras_graph.Traced) -> tuple[float | None, str]:  # noqa: ANN401 - Keras's
    """Run graph and model on the same seeded inputs; the graph must give what the model gives.

    Raises:
        RuntimeFailedError: it does not.
    """
    reason = "it refuses images and sequences of the usual sizes"
    for size in _OPEN_SIZES:
        shapes = [_filled(spec.shape.as_list(), size) for spec in traced.specs]
        if _widest(model, shapes) > _MOST_VALUES:
            reason = "it is too large to be run twice here"
            continue
        feeds = [_values(shape, spec, traced.indices) for shape, spec in zip(shapes, traced.specs, strict=True)]
        try:
            expected = traced.run_model(feeds)
            found = traced.run_graph(feeds)
        except Exception as error:  # a size it does not take; TensorFlow and Keras raise what they like
            reason = f"it could not be run: {str(error).splitlines()[0][:200]}"
            if all(None not in spec.shape.as_list()[1:] for spec in traced.specs):
                raise RuntimeFailedError(f"the model cannot be run: {str(error).splitlines()[0][:200]}") from error
            continue
        return _compared(expected, found), ""
    return None, reason


def _compared(expected: Sequence[Array], found: Sequence[Array]) -> float:
    worst = 0.0
    for a, b in zip(expected, found, strict=True):
        wide = a.astype(np.float64), b.astype(np.float64)
        if a.shape != b.shape or not np.array_equal(np.isfinite(wide[0]), np.isfinite(wide[1])):
            raise RuntimeFailedError("the frozen graph does not give what the Keras model gives")
        ok = np.isfinite(wide[0])
        if ok.any():
            scale = max(float(np.abs(wide[0][ok]).max()), 1e-30)
            worst = max(worst, float(np.abs(wide[0] - wide[1])[ok].max()) / scale)
    if worst > _TOLERANCE:
        raise RuntimeFailedError(
            f"the frozen graph does not give what the Keras model gives: off by {worst:.2g} of the largest value"
        )
    return worst


def _filled(shape: Sequence[int | None], size: int) -> list[int]:
    return [_SAMPLES if axis == 0 else d if d is not None else size for axis, d in enumerate(shape)]


def _widest(model: Any, shapes: Sequence[Sequence[int]]) -> int:  # noqa: ANN401 - Keras's
    """Return about how many values the widest layer gives."""
    factor = _SAMPLES
    open_size = max((d for shape in shapes for d in shape[1:]), default=1)
    widest = max((math.prod(shape) for shape in shapes), default=0)
    for _, layer in _keras_graph.walk(model):
        for tensor in _keras_graph.outputs_of(layer):
            widest = max(widest, factor * math.prod(d if d is not None else open_size for d in tensor.shape[1:]))
    return widest


def _values(shape: Sequence[int], spec: Any, indices: int | None) -> Array:  # noqa: ANN401 - a TensorSpec
    random = np.random.default_rng(20)
    dtype = spec.dtype.as_numpy_dtype
    if indices is not None:
        return random.integers(0, indices, shape).astype(dtype)
    if np.issubdtype(dtype, np.integer):
        return random.integers(0, 2, shape).astype(dtype)
    if dtype is np.bool_:
        return random.random(shape) < 0.5  # noqa: PLR2004
    return random.standard_normal(shape).astype(dtype)


METHODS = {"build": build}
