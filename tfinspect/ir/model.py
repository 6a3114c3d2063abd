"""Whatever was found under one path."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tfinspect.errors import TfinspectError
    from tfinspect.ir.checkpoint import Checkpoint
    from tfinspect.ir.graph import Graph
    from tfinspect.ir.layers import Layer
    from tfinspect.ir.operators import Operator
    from tfinspect.ir.risks import Risk
    from tfinspect.ir.signature import Signature

_SERVE: Final = "serve"


def for_serving(tag_sets: Sequence[tuple[str, ...]]) -> int:
    """Return which MetaGraph of a SavedModel is meant where nobody says so, by their tags.

    The one for serving; else the one without tags, which Hub modules have for inference; else the first.
    """
    for wanted in (lambda tags: tags == (_SERVE,), lambda tags: _SERVE in tags, lambda tags: not tags):
        for number, tags in enumerate(tag_sets):
            if wanted(tags):
                return number
    return 0


@dataclass(frozen=True, slots=True)
class Saver:
    """The part of a graph that saves and restores its variables (SaverDef).

    Attributes:
        restore_op: name of the node that restores everything.
        filename_tensor: tensor the checkpoint's path is fed to.
        save_tensor: tensor that saves when fetched.
    """

    restore_op: str
    filename_tensor: str = ""
    save_tensor: str = ""


@dataclass(frozen=True, slots=True)
class Model:
    """A model as found; each part may be absent.

    Attributes:
        path: as the caller wrote it.
        format: name of a row of `formats.FORMATS`.
        graph: the graph.
        checkpoint: the variables' values; of a Keras, ONNX, TensorFlow Lite or Deeplearning4j file, its weights.
        signatures: by name.
        collections: node and tensor names by collection name (MetaGraphDef's node_list collections only).
        saver: how the graph restores itself.
        tags: tags of a SavedModel's MetaGraph.
        tag_sets: tags of every MetaGraph of the SavedModel; `graph` is that of `tags`.
        tensorflow_version: version that wrote the graph, empty where unknown.
        assets: files beside the model, by name.
        layers: of a Keras or Deeplearning4j model.
        operators: of an ONNX or TensorFlow Lite model.
        training: how it was trained (optimizer, loss, metrics), as plain JSON values.
        facts: what else the format says of itself, in words: `keras_version`, `backend`, `opset`, `producer`.
        risks: what reading met that could harm whoever loads the model.
        problems: parts that could not be read, where the rest was wanted all the same.
    """

    path: str
    format: str
    graph: Graph | None = None
    checkpoint: Checkpoint | None = None
    signatures: Mapping[str, Signature] = field(default_factory=dict)
    collections: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    saver: Saver | None = None
    tags: tuple[str, ...] = ()
    tag_sets: tuple[tuple[str, ...], ...] = ()
    tensorflow_version: str = ""
    assets: Mapping[str, str] = field(default_factory=dict)
    layers: tuple[Layer, ...] = ()
    operators: tuple[Operator, ...] = ()
    training: Mapping[str, object] = field(default_factory=dict)
    facts: Mapping[str, str] = field(default_factory=dict)
    risks: tuple[Risk, ...] = ()
    problems: tuple[TfinspectError, ...] = ()
