"""Telling protobuf messages apart by their tags, or in text by their first word, without decoding them.

`.pb` is the name of GraphDef, MetaGraphDef and SavedModel files alike, and nothing in them says which. But the first
field of each is a message that cannot be the first field of the others: a NodeDef has a name and an op, which are
text; a MetaInfoDef has a list of OpDefs where the op would stand; a SavedModel begins with a number.

Only a sample of the fields is looked at, and a field cut short by the end of the file counts as far as it goes: a
truncated model is still recognised, so that its reader can say where it breaks off.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Final

from tfinspect.formats._wire import FIXED32, FIXED64, LEN, VARINT

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping


class Payload(Enum):
    """What a field holds that is not a message."""

    NUMBER = "varint"
    TEXT = "UTF-8 text"
    WORD = "printable ASCII, not empty"
    BYTES = "anything length-delimited"


@dataclass(frozen=True, slots=True)
class Shape:
    """What a message looks like on the wire.

    Attributes:
        fields: what each known field holds; others say nothing for or against.
        needs: sets of fields, of which at least one set must be there.
    """

    fields: Mapping[int, Payload | Shape]
    needs: tuple[frozenset[int], ...] = ()


_NUMBER, _TEXT, _WORD, _BYTES = Payload.NUMBER, Payload.TEXT, Payload.WORD, Payload.BYTES


def _any_of(*needs: set[int]) -> tuple[frozenset[int], ...]:
    return tuple(map(frozenset, needs))


_NODE = Shape({1: _TEXT, 2: _WORD, 3: _TEXT, 4: _TEXT, 5: _BYTES}, _any_of({1, 2}))
_OP_DEF = Shape({1: _TEXT, 2: _BYTES, 3: _BYTES, 4: _BYTES, 16: _NUMBER, 17: _NUMBER}, _any_of({1}))
_LIBRARY = Shape({1: Shape({1: _OP_DEF, 3: _NODE}, _any_of({1})), 2: _BYTES}, _any_of({1}))
_VERSIONS = Shape({1: _NUMBER, 2: _NUMBER}, _any_of({1}))
GRAPH: Final = Shape({1: _NODE, 2: _LIBRARY, 3: _NUMBER, 4: _VERSIONS, 5: _BYTES}, _any_of({1}, {2}, {4}))
_ANY = Shape({1: _TEXT, 2: _BYTES})
_OP_LIST = Shape({1: _OP_DEF}, _any_of({1}))
_META_INFO = Shape(
    {1: _TEXT, 2: _OP_LIST, 3: _ANY, 4: _TEXT, 5: _TEXT, 6: _TEXT, 7: _NUMBER, 8: _BYTES}, _any_of({2}, {4}, {5})
)
_SAVER = Shape({1: _TEXT, 2: _TEXT, 3: _TEXT, 4: _NUMBER, 5: _NUMBER, 7: _NUMBER})
_ENTRY = Shape({1: _TEXT, 2: _BYTES}, _any_of({1}, {2}))
META_GRAPH: Final = Shape(
    {1: _META_INFO, 2: GRAPH, 3: _SAVER, 4: _ENTRY, 5: _ENTRY, 6: _BYTES, 7: _BYTES}, _any_of({1}, {2})
)
SAVED_MODEL: Final = Shape({1: _NUMBER, 2: META_GRAPH}, _any_of({2}))
_ONNX_NODE = Shape({1: _TEXT, 2: _TEXT, 3: _TEXT, 4: _WORD, 5: _BYTES}, _any_of({4}))
_ONNX_GRAPH = Shape({1: _ONNX_NODE, 2: _TEXT, 5: _BYTES, 10: _TEXT, 11: _BYTES, 12: _BYTES}, _any_of({1}, {12}))
_OPSET = Shape({1: _TEXT, 2: _NUMBER})
ONNX: Final = Shape(
    {1: _NUMBER, 2: _TEXT, 3: _TEXT, 4: _TEXT, 5: _NUMBER, 7: _ONNX_GRAPH, 8: _OPSET, 14: _BYTES},
    _any_of({7, 1}, {7, 8}),
)

GRAPH_WORDS: Final = frozenset({b"node", b"library", b"version", b"versions", b"debug_info"})
META_GRAPH_WORDS: Final = frozenset(
    {
        b"meta_info_def", b"graph_def", b"saver_def", b"collection_def", b"signature_def", b"asset_file_def",
        b"object_graph_def",
    }
)  # fmt: skip
SAVED_MODEL_WORDS: Final = frozenset({b"saved_model_schema_version", b"meta_graphs"})
_TEXT_NBYTES = 1 << 20  # how much comment may stand before the first field of a text file
_FIRST_WORD: Final = re.compile(rb"(?:\xef\xbb\xbf)?(?:\s+|#[^\n]*(?:\n|$))*+([A-Za-z_]\w*)\s*[:{<]")
_FIELDS_SEEN = 64  # of one message
_MESSAGES_SEEN = 4  # of one field of it
_TEXT_NBYTES_SEEN = 4096


def first_word(view: memoryview) -> bytes:
    """Return the name of the first field of a file of protobuf text; empty where it is none."""
    match = _FIRST_WORD.match(view[:_TEXT_NBYTES])
    return match[1] if match is not None else b""


def is_text(view: memoryview) -> bool:
    """Whether a model is in protobuf's text form."""
    return first_word(view) in GRAPH_WORDS | META_GRAPH_WORDS | SAVED_MODEL_WORDS


def looks_like(view: memoryview, shape: Shape) -> bool:
    """Whether a file can be a message of that shape: it begins with a field we know, and nothing seen contradicts."""
    # plain text, such as numbers in lines, is a sequence of fields nobody knows, and a newline the tag of one we do
    first = next(_fields(view, 0, len(view)), None)
    is_blank = not bytes(view[:_TEXT_NBYTES_SEEN]).strip()
    return first is not None and first[0] in shape.fields and not is_blank and _can_be(view, shape, 0, len(view))


def _can_be(view: memoryview, shape: Shape, start: int, end: int) -> bool:
    """Whether the bytes in [start, end) can be a message of that shape."""
    seen: dict[int, int] = {}
    for number, kind, first, last, is_whole in _fields(view, start, end):
        if number == 0 or not (is_whole or end == len(view)):
            return False
        rule = shape.fields.get(number)
        if rule is None:
            continue
        wanted = VARINT if rule is Payload.NUMBER else LEN
        # a packed list of numbers is length-delimited, but none of the numbers above is a list
        if kind != wanted:
            return False
        seen[number] = seen.get(number, 0) + 1
        if isinstance(rule, Shape):
            if seen[number] <= _MESSAGES_SEEN and first != last and not _can_be(view, rule, first, last):
                return False
        elif rule in (Payload.TEXT, Payload.WORD) and not _is_text(view[first:last], rule, is_whole=is_whole):
            return False
    return not shape.needs or any(need <= seen.keys() for need in shape.needs)


def _is_text(content: memoryview, rule: Payload, *, is_whole: bool) -> bool:
    sample = bytes(content[:_TEXT_NBYTES_SEEN])
    if rule is Payload.WORD:
        return sample.isascii() and sample.decode("ascii").isprintable() and (bool(sample) or not is_whole)
    try:
        sample.decode("utf-8")
    except UnicodeDecodeError as error:
        # the end of the sample may lie within a character
        return error.reason == "unexpected end of data" and (len(sample) < len(content) or not is_whole)
    return True


def _fields(view: memoryview, start: int, end: int) -> Iterator[tuple[int, int, int, int, bool]]:
    """Yield (number, wire type, payload start, payload end, is whole); number 0 stands for what is no field."""
    position = start
    for _ in range(_FIELDS_SEEN):
        if position >= end:
            return
        tag, position = _varint(view, position, end)
        number, kind = tag >> 3, tag & 7
        if position > end:
            return
        if number == 0 or kind not in (VARINT, FIXED64, LEN, FIXED32):
            yield 0, kind, position, position, True
            return
        if kind == VARINT:
            _, stop = _varint(view, position, end)
        else:
            size = {FIXED64: 8, FIXED32: 4}.get(kind, 0)
            if kind == LEN:
                size, position = _varint(view, position, end)
            stop = position + size
        yield number, kind, min(position, end), min(stop, end), stop <= end
        position = stop


def _varint(view: memoryview, position: int, end: int) -> tuple[int, int]:
    """Return the varint and the position after it, which lies after `end` where the data end within the varint."""
    result = 0
    for count in range(10):
        if position >= end:
            return 0, end + 1
        byte = view[position]
        position += 1
        result |= (byte & 0x7F) << 7 * count
        if byte < 0x80:  # noqa: PLR2004 - the continuation bit
            return result, position
    return 0, position  # longer than any varint: a tag of 0 is no field
