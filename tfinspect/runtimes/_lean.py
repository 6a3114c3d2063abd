"""TensorFlow without the parts we never use.

`import tensorflow` takes 2.5 s on a warm disk, of which running a graph needs 1: the rest is Keras, TF Lite, dtensor,
feature columns and every name of the public API, bound one by one. `lean()` puts a package of that name in place whose
submodules (`tensorflow.python.client.session`) import as ever, and whose public names are looked up when asked for.

Only ever called in a child process.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import importlib.util
import sys
import types
from typing import Any

# where a public name that tf2onnx or we use is defined, as tensorflow/_api says
_V2 = {
    "DType": ("framework.dtypes", "DType"),
    "Graph": ("framework.ops", "Graph"),
    "Operation": ("framework.ops", "Operation"),
    "Tensor": ("framework.tensor", "Tensor"),
    "TensorSpec": ("framework.tensor", "TensorSpec"),
    "device": ("framework.ops", "device_v2"),
    "executing_eagerly": ("eager.context", "executing_eagerly"),
    "import_graph_def": ("framework.importer", "import_graph_def"),
    "make_ndarray": ("framework.tensor_util", "MakeNdarray"),
    "resource": ("framework.dtypes", "resource"),
}
_PUBLIC_DUNDERS = frozenset({"__internal__", "__operators__"})  # parts of the API that Keras asks for
_V1 = {
    "Session": ("client.session", "Session"),
    "placeholder": ("ops.array_ops", "placeholder"),
    "placeholder_with_default": ("ops.array_ops", "placeholder_with_default"),
    "reset_default_graph": ("framework.ops", "reset_default_graph"),
}
_V1_TRAIN = {"export_meta_graph": ("training.saver", "export_meta_graph")}


def lean() -> None:
    """Make `tensorflow` importable without its public API; does nothing where it has been imported already.

    A name that is not in the tables above, from a later tf2onnx perhaps, brings in the whole API: slower, not wrong.
    """
    if "tensorflow" in sys.modules:
        return
    spec = importlib.util.find_spec("tensorflow")
    if spec is None or spec.submodule_search_locations is None:
        raise ImportError("tensorflow is not installed")
    package = types.ModuleType("tensorflow", "TensorFlow, its public names resolved when asked for.")
    package.__path__ = list(spec.submodule_search_locations)
    package.__spec__ = spec
    package.__file__ = spec.origin
    vars(package)["__version__"] = importlib.metadata.version("tensorflow")
    sys.modules["tensorflow"] = package
    try:
        importlib.import_module("tensorflow.python.pywrap_tensorflow")
        importlib.import_module("tensorflow.python.tf2").enable()
        compat = _lazy("tensorflow.compat", {}, "tensorflow._api.v2.compat")
        v1 = _lazy("tensorflow.compat.v1", _V1, "tensorflow._api.v2.compat.v1")
        vars(v1)["train"] = _lazy("tensorflow.compat.v1.train", _V1_TRAIN, "tensorflow._api.v2.compat.v1.train")
        vars(compat)["v1"] = v1
        vars(package)["compat"] = compat
        vars(package)["__getattr__"] = _resolver("tensorflow", _V2, "tensorflow._api.v2.v2", package)
    except (ImportError, AttributeError):  # laid out otherwise than in 2.16 to 2.21: take all of it
        for name in [n for n in sys.modules if n == "tensorflow" or n.startswith("tensorflow.")]:
            del sys.modules[name]
        importlib.import_module("tensorflow")


def _lazy(name: str, table: dict[str, tuple[str, str]], whole: str) -> types.ModuleType:
    module = types.ModuleType(name)
    vars(module)["__getattr__"] = _resolver(name, table, whole, module)
    return module


def _resolver(name: str, table: dict[str, tuple[str, str]], whole: str, module: types.ModuleType) -> Any:  # noqa: ANN401
    def resolve(attribute: str) -> Any:  # noqa: ANN401 - any name of TensorFlow's
        if attribute.startswith("__") and attribute not in _PUBLIC_DUNDERS:
            raise AttributeError(f"module {name!r} has no attribute {attribute!r}")
        try:
            if attribute in table:
                place, original = table[attribute]
                value = getattr(importlib.import_module(f"tensorflow.python.{place}"), original)
            else:
                value = getattr(importlib.import_module(whole), attribute)
        except ImportError as error:
            raise AttributeError(f"module {name!r} has no attribute {attribute!r}") from error
        setattr(module, attribute, value)
        return value

    return resolve
