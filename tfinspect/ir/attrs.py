"""Attribute values of a node, decoded when asked for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from tfinspect.ir.dtypes import DType
from tfinspect.ir.tensors import Tensor, same_tensor

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from tfinspect.ir.shapes import Shape

AttrKind = Literal["s", "i", "f", "b", "type", "shape", "tensor", "func", "placeholder", "list", "none"]


@dataclass(frozen=True, slots=True)
class FuncRef:
    """A function given as an attribute: its name and the attributes it is called with."""

    name: str
    attrs: Mapping[str, Attr]


@dataclass(frozen=True, slots=True)
class AttrList:
    """A list attribute; `kind` is that of its elements, "none" where it is empty."""

    kind: AttrKind
    values: tuple[Any, ...]


class Attr:
    """One attribute value.

    `kind` names the field of AttrValue that is set. `value` is, by kind: s bytes, i int, f float, b bool, type DType,
    shape `Shape`, tensor `Tensor`, func `FuncRef`, placeholder str, list `AttrList`, none None.

    `wire` belongs to the reader that made the attribute: what its writer needs to put it back unchanged, fields unknown
    to us included. Attributes made here have none.
    """

    __slots__ = ("_decode", "_value", "kind", "wire")

    def __init__(
        self, kind: AttrKind, value: object = None, *, decode: Callable[[], Any] | None = None, wire: object = None
    ) -> None:
        self.kind: AttrKind = kind
        self.wire = wire
        self._decode = decode
        self._value = value

    @property
    def value(self) -> Any:  # noqa: ANN401 - a union that every caller narrows by `kind`
        """The value; decoded at the first call."""
        if self._decode is not None:
            self._value = self._decode()
            self._decode = None
        return self._value

    @classmethod
    def of(cls, value: bytes | str | bool | float | DType | Tensor | FuncRef | AttrList) -> Attr:  # noqa: FBT001
        """Make an attribute of a Python value (not of shapes: see `of_shape`)."""
        if isinstance(value, bool):
            return cls("b", value)
        if isinstance(value, DType):
            return cls("type", value)
        if isinstance(value, int):
            return cls("i", value)
        if isinstance(value, float):
            return cls("f", value)
        if isinstance(value, str):
            return cls("s", value.encode())
        if isinstance(value, bytes):
            return cls("s", value)
        if isinstance(value, Tensor):
            return cls("tensor", value)
        return cls("func" if isinstance(value, FuncRef) else "list", value)

    @classmethod
    def of_shape(cls, shape: Shape) -> Attr:
        """Make a shape attribute."""
        return cls("shape", shape)

    @classmethod
    def ints(cls, values: tuple[int, ...] | list[int]) -> Attr:
        """Make a list(int) attribute."""
        return cls("list", AttrList("i", tuple(values)))

    def __eq__(self, other: object) -> bool:
        """Whether kind and value are the same; tensors bit by bit."""
        if not isinstance(other, Attr) or other.kind != self.kind:
            return False
        if self.kind == "tensor":
            return same_tensor(self.value, other.value)
        return bool(self.value == other.value)

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        """Show kind and value."""
        return f"Attr({self.kind}={self.value!r})"
