"""Graphs in protobuf's text form: `.pbtxt`, and text files that are named `.pb` all the same."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from google.protobuf import text_format

from tfinspect.errors import CorruptFileError, LimitError, UnsupportedFeatureError
from tfinspect.formats import graphdef
from tfinspect.formats._file import MappedFile
from tfinspect.formats._schema import message_class
from tfinspect.formats._wire import Cursor
from tfinspect.ir.graph import Graph, Source

if TYPE_CHECKING:
    import os

_MAX_NBYTES = 512 << 20  # protobuf parses text at under 4 MB a second
_MAX_DEPTH = 100  # as protobuf's binary reader
_PLACE = re.compile(r"^(\d+):(\d+) : (.*)", re.DOTALL)


def read(path: str | os.PathLike[str]) -> Graph:
    """Read a GraphDef in text form.

    Raises:
        CorruptFileError: the text is not well formed; line and column are named.
        UnsupportedFeatureError: a field is not one of a GraphDef.
        LimitError: the text is larger than 512 MiB.
    """
    file = MappedFile(path)
    message = parse(file, "GraphDef")
    binary = memoryview(message.SerializeToString())
    graph = graphdef.decode(Cursor(binary, file.path), 0, len(binary))
    graph.source = Source(file.path, file.size, file.sha256)
    return graph


def parse(file: MappedFile, name: str) -> Any:  # noqa: ANN401 - made at run time
    """Parse a text file as one message.

    Raises:
        As `read`.
    """
    if file.size > _MAX_NBYTES:
        raise LimitError(
            f"{file.path} has {file.size:,} bytes of text, and more than {_MAX_NBYTES:,} would take minutes",
            hint="write it in binary form where it was made",
            evidence={"path": file.path, "nbytes": file.size},
        )
    data = bytes(file.view)
    _check_depth(file.path, data)
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise CorruptFileError(file.path, error.start, "UTF-8 text", f"byte {data[error.start]:#04x}") from None
    message = message_class(name)()
    try:
        text_format.Parse(text, message)
    except text_format.ParseError as error:
        _refuse(file.path, text, name, str(error))
    return message


def _check_depth(path: str, data: bytes) -> None:
    depth = 0
    for match in re.finditer(rb'"(?:[^"\\\n]|\\.)*"|#[^\n]*|[{}<>]', data):
        token = match[0]
        if token in b"{<":
            depth += 1
            if depth > _MAX_DEPTH:
                raise CorruptFileError(
                    path, match.start(), f"messages nested at most {_MAX_DEPTH} deep", "deeper ones", structure="text"
                )
        elif token in b"}>":
            depth -= 1


def _refuse(path: str, text: str, name: str, words: str) -> None:
    match = _PLACE.match(words)
    if match is None:
        raise CorruptFileError(path, 0, f"a {name} in text form", words.splitlines()[0], structure="text")
    line, column, reason = int(match[1]), int(match[2]), match[3].strip().rstrip(".")
    lines = text.split("\n")
    offset = len("\n".join(lines[: line - 1]).encode()) + (line > 1) + len(lines[line - 1][: column - 1].encode())
    if "has no field named" in reason:
        raise UnsupportedFeatureError(
            f"{path}, line {line}, column {column} (byte {offset:,}): {reason[:1].lower()}{reason[1:]}",
            evidence={"path": path, "offset": offset, "line": line, "column": column},
        )
    raise CorruptFileError(path, offset, f"a {name} in text form", reason, structure=f"line {line}, column {column}")
