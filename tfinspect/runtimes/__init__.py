"""TensorFlow, onnxruntime and tf2onnx, each in a child process that dies with us. Nothing else imports them.

    with runtimes.tensorflow_graph("frozen.pb") as reference:
        logits, = reference.run(["softmax:0"], {"Mul:0": images})

`warm("tensorflow", "tf2onnx")` starts processes early, so that their imports overlap with other work.
"""

from __future__ import annotations

import os
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from tfinspect.runtimes._conversion import Conversion, ConversionRequest, InitializerSource, convert
from tfinspect.runtimes._process import KINDS, TIME_LIMIT, child, require, shutdown, warm
from tfinspect.runtimes._runners import ChildRunner
from tfinspect.runtimes._weights import write_weights
from tfinspect.runtimes.keras_models import BuildRequest, Built, build

__all__ = [
    "TIME_LIMIT",
    "BuildRequest",
    "Built",
    "ChildRunner",
    "Conversion",
    "ConversionRequest",
    "InitializerSource",
    "build",
    "check_onnx",
    "convert",
    "converter",
    "gradients",
    "onnx_limits",
    "onnx_model",
    "require_ray",
    "shutdown",
    "tensorflow_graph",
    "tensorflow_saved_model",
    "trainer",
    "warm",
    "write_unfrozen",
    "write_weights",
]

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy.typing as npt

    from tfinspect.ir.shapes import Shape
    from tfinspect.ir.trainer import Task
    from tfinspect.runtimes.training import ChildTrainer


def tensorflow_graph(path: str | os.PathLike[str], *, checkpoint: str | os.PathLike[str] | None = None) -> ChildRunner:
    """Return a runner of a GraphDef or MetaGraphDef (`.pb`, `.pbtxt`, `.meta`), read by TensorFlow itself.

    Where TensorFlow refuses the whole graph (an op it does not know), only the part that leads to the fetches is
    imported, and `notes` of the runner says so.

    Args:
        path: the graph.
        checkpoint: prefix (or V1 file) whose values are restored before the first run, by the graph's own Saver.

    Raises:
        RuntimeUnavailableError: TensorFlow is not installed.
    """
    prefix = None if checkpoint is None else os.path.abspath(checkpoint)  # noqa: PTH100 - a prefix is no path
    return ChildRunner("tensorflow", path, checkpoint=prefix, signature=None)


def tensorflow_saved_model(path: str | os.PathLike[str], signature: str = "serving_default") -> ChildRunner:
    """Return a runner of one signature of a SavedModel; its tensors are named by the signature's keys.

    Raises:
        RuntimeUnavailableError: TensorFlow is not installed.
    """
    return ChildRunner("tensorflow", path, checkpoint=None, signature=signature)


def trainer(task: Task, subject: str) -> ChildTrainer:
    """Return a trainer of a trunk and a head; `subject` is the file it is about, for messages.

    Raises:
        RuntimeUnavailableError: TensorFlow is not installed.
    """
    from tfinspect.runtimes.training import ChildTrainer

    return ChildTrainer(task, subject)


def onnx_model(path: str | os.PathLike[str]) -> ChildRunner:
    """Return a runner of an ONNX file on the CPU; onnxruntime reads the file itself.

    Raises:
        RuntimeUnavailableError: onnxruntime or onnx is not installed.
    """
    return ChildRunner("onnxruntime", path)


def check_onnx(path: str | os.PathLike[str]) -> Mapping[str, Any]:
    """Hold an ONNX file against the standard (`onnx.checker`, full check) and load it with onnxruntime.

    Returns:
        `ir_version`, `opsets` (version by domain) and `ops` (count by op).

    Raises:
        UnsupportedOpsError: nodes whose op no imported opset defines.
        RuntimeFailedError: it is not valid, or does not load.
        RuntimeUnavailableError: onnxruntime or onnx is not installed.
    """
    text = os.fspath(path)
    found, _ = child("onnxruntime").call("check", {"path": os.path.abspath(path)}, subject=text)  # noqa: PTH100
    return dict(found)


def converter() -> str:
    """Return name and version of what `convert` runs, `tf2onnx 1.17.0`.

    Raises:
        RuntimeUnavailableError: tf2onnx, TensorFlow or onnx is not installed.
    """
    require(KINDS["tf2onnx"])
    return f"tf2onnx {version('tf2onnx')}"


def require_ray() -> None:
    """Look whether Ray is installed, without importing it.

    Raises:
        RuntimeUnavailableError: it is not.
    """
    require(KINDS["ray"])


def onnx_limits() -> tuple[int, int]:
    """Return the highest IR version and opset that the installed onnxruntime loads.

    Raises:
        RuntimeUnavailableError: onnxruntime or onnx is not installed.
    """
    found, _ = child("onnxruntime").call("limits", {})
    return int(found["ir"]), int(found["opset"])


def write_unfrozen(
    graph: str | os.PathLike[str],
    folder: str | os.PathLike[str],
    *,
    inputs: Sequence[tuple[str, str, int, Shape]],
    outputs: Sequence[tuple[str, str]],
    trainable: Sequence[str],
    statistics: Sequence[str],
    assets: Sequence[str],
) -> None:
    """Let TensorFlow write a frozen graph as a SavedModel with variables.

    Args:
        graph: file of the graph.
        folder: to write.
        inputs: key, tensor, number of the element type, shape.
        outputs: key, tensor.
        trainable: names of the Const nodes that become trainable variables.
        statistics: names of those that become variables that are not trainable.
        assets: files that go along.

    Raises:
        RuntimeFailedError: TensorFlow refused.
        RuntimeUnavailableError: it is not installed.
    """
    params = {
        "graph": os.path.abspath(graph),  # noqa: PTH100 - links stay links
        "folder": os.path.abspath(folder),  # noqa: PTH100
        "inputs": [list(entry) for entry in inputs],
        "outputs": [list(entry) for entry in outputs],
        "trainable": list(trainable),
        "statistics": list(statistics),
        "assets": list(assets),
    }
    child("unfreeze").call("write", params, subject=os.fspath(graph))


def gradients(
    folder: str | os.PathLike[str], inputs: Sequence[npt.NDArray[Any]], count: int
) -> Mapping[str, list[str]]:
    """Load a SavedModel with variables and look which of them gradients reach; see `_unfreeze_child.check`.

    Raises:
        RuntimeFailedError: TensorFlow refused, or there are other than `count` trainable variables.
    """
    params = {"folder": os.path.abspath(folder), "count": count}  # noqa: PTH100 - links stay links
    found, _ = child("unfreeze").call("check", params, list(inputs), subject=os.fspath(folder))
    return dict(found)
