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
    "onnx_limits",
    "onnx_model",
    "require_ray",
    "shutdown",
    "tensorflow_graph",
    "tensorflow_saved_model",
    "warm",
    "write_weights",
]

if TYPE_CHECKING:
    from collections.abc import Mapping


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
