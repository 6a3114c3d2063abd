"""Look inside TensorFlow models of 2015-2024; freeze, cut, graft and export them, with proof that the numbers match.

    import tfinspect as ti

    graph = ti.read_graph("classify_image_graph_def.pb")
    trunk, rest = ti.cut(graph, bottleneck="pool_3/_reshape:0")
    flowers = ti.graft(trunk, ti.read_head("head.npz"), bottleneck="pool_3/_reshape:0", name="flowers")
    report = ti.export_onnx(flowers, "flowers.onnx")

Every failure is a `TfinspectError`; nothing prints. Names are resolved when first used (PEP 562), so that importing the
package costs nothing.
"""

from __future__ import annotations

import importlib
import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tfinspect.api.cut import cut
    from tfinspect.api.diff import Difference, diff
    from tfinspect.api.export import ExportReport
    from tfinspect.api.export_onnx import export_onnx
    from tfinspect.api.export_saved_model import export_saved_model
    from tfinspect.api.features import FeaturesReport, features
    from tfinspect.api.freeze import freeze
    from tfinspect.api.graft import graft, read_head
    from tfinspect.api.info import info
    from tfinspect.api.predict import predict
    from tfinspect.api.verify import verify
    from tfinspect.errors import TfinspectError
    from tfinspect.formats import open_model as open  # noqa: A004 - `tfinspect.open` reads well
    from tfinspect.formats import read_checkpoint, read_graph, write_graph
    from tfinspect.ir.graph import Graph, Node
    from tfinspect.ir.model import Model
    from tfinspect.ir.refs import TensorRef
    from tfinspect.verify.report import Report
    from tfinspect.verify.verdict import Verdict

__version__ = "0.1.0"

_HOMES = {
    "Difference": "tfinspect.api.diff",
    "ExportReport": "tfinspect.api.export",
    "FeaturesReport": "tfinspect.api.features",
    "Graph": "tfinspect.ir.graph",
    "Model": "tfinspect.ir.model",
    "Node": "tfinspect.ir.graph",
    "Report": "tfinspect.verify.report",
    "TensorRef": "tfinspect.ir.refs",
    "TfinspectError": "tfinspect.errors",
    "Verdict": "tfinspect.verify.verdict",
    "cut": "tfinspect.api.cut",
    "diff": "tfinspect.api.diff",
    "export_onnx": "tfinspect.api.export_onnx",
    "export_saved_model": "tfinspect.api.export_saved_model",
    "features": "tfinspect.api.features",
    "freeze": "tfinspect.api.freeze",
    "graft": "tfinspect.api.graft",
    "info": "tfinspect.api.info",
    "open": "tfinspect.formats",
    "predict": "tfinspect.api.predict",
    "read_checkpoint": "tfinspect.formats",
    "read_graph": "tfinspect.formats",
    "read_head": "tfinspect.api.graft",
    "verify": "tfinspect.api.verify",
    "write_graph": "tfinspect.formats",
}

__all__ = [
    "Difference",
    "ExportReport",
    "FeaturesReport",
    "Graph",
    "Model",
    "Node",
    "Report",
    "TensorRef",
    "TfinspectError",
    "Verdict",
    "cut",
    "diff",
    "export_onnx",
    "export_saved_model",
    "features",
    "freeze",
    "graft",
    "info",
    "open",
    "predict",
    "read_checkpoint",
    "read_graph",
    "read_head",
    "verify",
    "write_graph",
]


def __getattr__(name: str) -> Any:  # noqa: ANN401 - PEP 562
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module 'tfinspect' has no attribute {name!r}")
    return getattr(importlib.import_module(home), "open_model" if name == "open" else name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOMES])


class _Package(ModuleType):
    """This package, in which `verify` is the verb, though a subpackage has the same name."""

    @property
    def verify(self) -> Any:  # noqa: ANN401 - as `__getattr__`
        return __getattr__("verify")

    @verify.setter
    def verify(self, subpackage: ModuleType) -> None:
        """Leave the subpackage, which the import system puts here, to `sys.modules`."""


sys.modules[__name__].__class__ = _Package
