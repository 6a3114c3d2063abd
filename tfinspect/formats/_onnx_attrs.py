"""Attributes of ONNX's nodes."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from tfinspect.formats._onnx_tensors import DTYPES
from tfinspect.ir.attrs import Attr, AttrList, FuncRef
from tfinspect.ir.dtypes import DType

if TYPE_CHECKING:
    from tfinspect.formats._onnx_bodies import Deep, NodePart
    from tfinspect.formats._onnx_external import ExternalFiles
    from tfinspect.formats._onnx_tensors import SparsePart, TensorPart

_FLOAT, _INT, _STRING, _FLOATS, _INTS, _STRINGS, _TENSORS, _GRAPHS = 1, 2, 3, 6, 7, 8, 9, 10


class OnnxAttrs(Mapping[str, Attr]):
    """The attributes of a node, made when the first is asked for; graphs in them are the names of their bodies."""

    __slots__ = ("_files", "_made", "_node")

    def __init__(self, node: NodePart, files: ExternalFiles) -> None:
        self._node = node
        self._files = files
        self._made: dict[str, Attr] | None = None

    def _all(self) -> dict[str, Attr]:
        if self._made is None:
            deep = self._node.deep
            self._made = {
                attribute.name: _deep(attribute, deep[position], self._files)
                if position in deep
                else _plain(attribute)
                for position, attribute in enumerate(self._node.message.attribute)
            }  # fmt: skip
        return self._made

    def __getitem__(self, name: str) -> Attr:
        """Return one attribute."""
        return self._all()[name]

    def __iter__(self) -> Iterator[str]:
        """Iterate over names, in the order of the file."""
        return iter(self._all())

    def __len__(self) -> int:
        """Number of attributes."""
        return len(self._all())

    def __repr__(self) -> str:
        """Show names and values."""
        return repr(self._all())


def _deep(attribute: Any, deep: Deep, files: ExternalFiles) -> Attr:  # noqa: ANN401 - made at run time
    """Return an attribute that holds tensors or graphs."""
    graphs = tuple(FuncRef(name, {}) for name in deep.graphs)
    if graphs:
        return (
            Attr("list", AttrList("func", graphs)) if _is_list(attribute, _GRAPHS, graphs) else Attr("func", graphs[0])
        )
    parts: tuple[TensorPart | SparsePart, ...] = (*deep.tensors, *deep.sparse)
    tensors = tuple(part.tensor(files) for part in parts)
    if _is_list(attribute, _TENSORS, tensors):
        return Attr("list", AttrList("tensor", tensors))
    return Attr("tensor", tensors[0])


def _is_list(attribute: Any, kind: int, values: tuple[object, ...]) -> bool:  # noqa: ANN401 - made at run time
    return attribute.type == kind or len(values) > 1


def _plain(attribute: Any) -> Attr:  # noqa: ANN401 - made at run time
    """Return an attribute that is a number, a text, or a list of these."""
    kind = attribute.type
    if attribute.ref_attr_name:
        return Attr("placeholder", attribute.ref_attr_name)
    if kind == _INT:
        return Attr("i", attribute.i)
    if kind == _FLOAT:
        return Attr("f", attribute.f)
    if kind == _STRING:
        return Attr("s", attribute.s)
    if kind in {_INTS, _FLOATS, _STRINGS}:
        return Attr("list", decode=functools.partial(_list, attribute))
    return _untyped(attribute)


def _untyped(attribute: Any) -> Attr:  # noqa: ANN401 - made at run time
    """Return an attribute that does not say what it is, as in files of 2017, or is a type or empty."""
    if attribute.ints or attribute.floats or attribute.strings:
        return Attr("list", _list(attribute))
    if attribute.HasField("tp"):
        return Attr("type", DTYPES.get(attribute.tp.tensor_type.elem_type, DType.INVALID))
    if attribute.type_protos:
        types = tuple(DTYPES.get(tp.tensor_type.elem_type, DType.INVALID) for tp in attribute.type_protos)
        return Attr("list", AttrList("type", types))
    if attribute.s:
        return Attr("s", attribute.s)
    if attribute.f:
        return Attr("f", attribute.f)
    return Attr("i", attribute.i) if attribute.i else Attr("none")


def _list(attribute: Any) -> AttrList:  # noqa: ANN401 - made at run time
    if attribute.ints:
        return AttrList("i", tuple(attribute.ints))
    if attribute.floats:
        return AttrList("f", tuple(attribute.floats))
    return AttrList("s", tuple(attribute.strings)) if attribute.strings else AttrList("none", ())
