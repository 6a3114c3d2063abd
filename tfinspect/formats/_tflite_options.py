"""Options of TensorFlow Lite's operators as attributes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from tfinspect.formats import _tflite_schema as schema
from tfinspect.ir.attrs import Attr, AttrKind, AttrList, FuncRef
from tfinspect.ir.dtypes import DType

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tfinspect.formats._flatbuffers import Table

_CODES: Final = {"P": "b", "A": "b", "T": "b", "G": "i"}
_KINDS: Final[dict[str, AttrKind]] = {"P": "s", "A": "s", "T": "type", "G": "func", "f": "f", "?": "b"}


class Options:
    """Reads the options of operators.

    Args:
        subgraphs: names of the model's subgraphs, which some options call by their number.
    """

    def __init__(self, subgraphs: Sequence[str]) -> None:
        self._subgraphs = subgraphs

    def of(self, operator: Table) -> dict[str, Attr]:
        """Return the options of an operator by name, those that are left out with their default.

        Raises:
            CorruptFileError: they lie outside the file.
        """
        found: dict[str, Attr] = {}
        for names, kind, field in ((schema.OPTIONS, 3, 4), (schema.OPTIONS_2, 11, 12)):
            number = operator.number(kind, "B")
            fields = schema.option_fields().get(names[number], ()) if number < len(names) else ()
            table = operator.table(field, names[number]) if fields else None
            if table is not None:
                found |= {option.name: self._attr(table, option) for option in fields}
        custom = operator.octets(5)
        if custom is not None:
            found["custom_options"] = Attr("s", decode=lambda: bytes(custom))
        return found

    def _attr(self, table: Table, option: schema.OptionField) -> Attr:
        if option.kind == "s":
            return Attr("s", table.text(option.number).encode())
        code = _CODES.get(option.kind, option.kind)
        if option.is_list:
            values = tuple(self._plain(option.kind, value) for value in table.numbers(option.number, code))
            return Attr.of(AttrList(_KINDS.get(option.kind, "i") if values else "none", values))
        value = self._plain(option.kind, table.number(option.number, code, option.default))
        return Attr(_KINDS.get(option.kind, "i"), value)

    def _plain(self, kind: str, value: Any) -> Any:  # noqa: ANN401 - what an Attr of that kind holds
        if kind == "P":
            return _named(schema.PADDINGS, value)
        if kind == "A":
            return _named(schema.ACTIVATIONS, value)
        if kind == "T":
            return schema.DTYPES[value] if 0 <= value < len(schema.DTYPES) else DType.INVALID
        if kind == "G":
            known = 0 <= value < len(self._subgraphs)
            return FuncRef(self._subgraphs[value] if known else f"subgraph {value}", {})
        return bool(value) if kind == "?" else value


def _named(names: tuple[str, ...], number: int) -> bytes:
    return (names[number] if 0 <= number < len(names) else str(number)).encode()
