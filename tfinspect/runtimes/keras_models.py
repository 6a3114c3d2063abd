"""A Keras model, built layer by layer from a checked description, as a frozen TensorFlow graph.

Keras never sees the user's file: it gets a configuration that was checked before and weights that we read.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from tfinspect.runtimes import _process

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

Library = Literal["keras", "tf-keras"]


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildRequest:
    """What to build.

    Attributes:
        library: Keras 3, or tf_keras for models of Keras 2.
        config: the model as JSON values; every class in it was checked.
        layers: layer, `outer/inner` of a nested model -> its weights, as (what the layer calls it, name in `weights`).
        by_place: whether `layers` are places of objects in the model, `layers/lstm/cell`, whose weights are in order.
        weights: folder of `write_weights`.
        output: where the graph goes; written over.
        subject: the user's file, for messages.
        time_limit: seconds.
    """

    library: Library
    config: Mapping[str, Any]
    layers: Sequence[tuple[str, Sequence[tuple[str, str]]]]
    by_place: bool = False
    weights: str | os.PathLike[str]
    output: str | os.PathLike[str]
    subject: str = ""
    time_limit: float = _process.TIME_LIMIT


@dataclass(frozen=True, slots=True)
class Built:
    """What came of it.

    Attributes:
        inputs: (name Keras gives it, tensor).
        outputs: (layer that gives it, tensor).
        layers: tensor of each layer's output, by the layer's name.
        difference: largest difference between graph and Keras model on seeded inputs, relative to the largest value;
            None where they were not run, and `unchecked` says why.
        unchecked: empty where they were compared.
        channels_first: whether the model wants channels first; the graph takes its images with channels last.
        versions: of what built it, `keras 3.15.1, tensorflow 2.21.0`.
    """

    inputs: tuple[tuple[str, str], ...]
    outputs: tuple[tuple[str, str], ...]
    layers: Mapping[str, str]
    difference: float | None
    unchecked: str
    channels_first: bool
    versions: str


def build(request: BuildRequest) -> Built:
    """Build the model and write it as a frozen graph.

    Raises:
        InputError: the weights do not fit the layers.
        LimitError: the graph has no room in one file.
        RuntimeFailedError: Keras refused it, or the graph does not compute what the model does.
        RuntimeUnavailableError: Keras or TensorFlow is not installed.
        UnsupportedFeatureError: it is a kind of model that has no graph.
    """
    params = {
        "config": dict(request.config),
        "layers": [[name, [list(pair) for pair in pairs]] for name, pairs in request.layers],
        "by_place": request.by_place,
        "weights": os.path.abspath(request.weights),  # noqa: PTH100 - links stay links
        "output": os.path.abspath(request.output),  # noqa: PTH100
        "subject": request.subject,
    }
    child = _process.child(request.library)
    found, _ = child.call("build", params, subject=request.subject, timeout=request.time_limit)
    return Built(
        tuple((key, name) for key, name in found["inputs"]),
        tuple((key, name) for key, name in found["outputs"]),
        found["layers"],
        found["difference"],
        found["unchecked"],
        found["channels_first"],
        found["versions"],
    )
