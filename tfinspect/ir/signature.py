"""What goes in and what comes out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tfinspect.ir.dtypes import DType
    from tfinspect.ir.refs import TensorRef
    from tfinspect.ir.shapes import Shape


@dataclass(frozen=True, slots=True)
class TensorSpec:
    """One input or output.

    Attributes:
        ref: the tensor.
        dtype: element type, None where it cannot be told without running the graph.
        shape: as far as it is known.
        key: the signature's word for it, None where there is no signature.
    """

    ref: TensorRef
    dtype: DType | None
    shape: Shape
    key: str | None = None

    @property
    def name(self) -> str:
        """`name:index`."""
        return str(self.ref)


@dataclass(frozen=True, slots=True)
class Signature:
    """A named function of a model.

    Attributes:
        name: e.g. `serving_default`.
        inputs: what it takes.
        outputs: what it gives.
        method: TensorFlow Serving's word for the kind of call.
    """

    name: str
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    method: str = ""
