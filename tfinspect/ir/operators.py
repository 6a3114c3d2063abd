"""Operators of graphs that are not TensorFlow's: ONNX and TensorFlow Lite."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tfinspect.ir.attrs import Attr
    from tfinspect.ir.dtypes import DType
    from tfinspect.ir.shapes import Shape


@dataclass(frozen=True, slots=True)
class Operator:
    """One operator.

    Attributes:
        name: unique in its file; made from its first output where the file gives none.
        op: operator type, with its domain where that is not the default one: `Conv`, `com.microsoft::FusedConv`.
        inputs: tensor names; empty text for an optional input that is left out.
        outputs: tensor names, likewise.
        dtype: of its first output, None where the file does not say.
        shape: of its first output, None where the file does not say.
        attrs: attribute values by name.
        body: name of the function, subgraph or branch it stands in; empty in the main graph.
    """

    name: str
    op: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    dtype: DType | None = None
    shape: Shape = None
    attrs: Mapping[str, Attr] = field(default_factory=dict)
    body: str = ""
