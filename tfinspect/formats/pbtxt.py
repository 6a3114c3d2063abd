"""Graphs in protobuf's text form: `.pbtxt`, and text files that are named `.pb` all the same."""

from __future__ import annotations

import re
import warnings
from typing import TYPE_CHECKING, Any

from google.protobuf import text_format

from tfinspect.errors import CorruptFileError, InputError, LimitError, UnsupportedFeatureError
from tfinspect.formats import graphdef
from tfinspect.formats._file import MappedFile
from tfinspect.formats._schema import message_class
from tfinspect.formats._wire import Cursor
from tfinspect.ir.graph import Graph, Source

if TYPE_CHECKING:
    import os

_MAX_NBYTES = 512 << 20  # protobuf parses text at under 4 MB a second
_MAX_DEPTH = 100  # as protobuf's binary reader
_TOKEN = re.compile(rb"\"(?:[^\"\\\n]|\\.)*\"|'(?:[^'\\\n]|\\.)*'|#[^\n]*|[{}<>]")
_UNREAD = re.compile(rb"(?<!\w)(?:debug_info|object_graph_def)\s*:?\s*\Z")  # as in binary form, where they are kept
_MAX_GAP = 64  # between a field's name and its brace
_MAX_REASON = 200
_BYTE_ORDER_MARK = "\ufeff"
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
    data = _readable_part(file.path, bytes(file.view))
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise CorruptFileError(file.path, error.start, "UTF-8 text", f"byte {data[error.start]:#04x}") from None
    message = message_class(name)()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # of escapes such as "\\:", which Python lets through
            text_format.Parse(text.removeprefix(_BYTE_ORDER_MARK), message)
    except text_format.ParseError as error:
        _refuse(file.path, text, name, str(error))
    graphs = {"GraphDef": lambda: [message], "MetaGraphDef": lambda: [message.graph_def]}
    for graph in graphs.get(name, lambda: [meta.graph_def for meta in message.meta_graphs])():
        _check_names(file.path, graph)
    return message


def _check_names(path: str, graph: Any) -> None:  # noqa: ANN401 - made at run time
    for number, node in enumerate(graph.node, 1):
        if not node.name:
            raise InputError(
                f"{path}: node {number:,} (`{node.op}`) has no name", evidence={"path": path, "node": number}
            )


def _readable_part(path: str, data: bytes) -> bytes:
    """Return the text with spaces in place of the fields that are not read here, so that places stay as they are.

    Raises:
        CorruptFileError: messages are nested so deep that parsing them would exhaust the stack.
    """
    starts: list[int | None] = []  # of each open message, where its field began if it is not read
    kept = bytearray(data)
    for match in _TOKEN.finditer(data):
        token = match[0]
        if token in b"{<":
            if len(starts) == _MAX_DEPTH:
                raise CorruptFileError(
                    path, match.start(), f"messages nested at most {_MAX_DEPTH} deep", "deeper ones", structure="text"
                )
            unread = _UNREAD.search(data, max(0, match.start() - _MAX_GAP), match.start())
            starts.append(None if unread is None else unread.start())
        elif token in b"}>" and starts:
            start = starts.pop()
            if start is not None:
                kept[start : match.end()] = re.sub(rb"[^\n]", b" ", data[start : match.end()])
    return bytes(kept)


def _refuse(path: str, text: str, name: str, words: str) -> None:
    match = _PLACE.match(words)
    if match is None:
        raise CorruptFileError(path, 0, f"a {name} in text form", words.splitlines()[0][:_MAX_REASON], structure="text")
    line, column, reason = int(match[1]), int(match[2]), match[3].strip().rstrip(".")
    if reason.startswith("'"):  # the whole line, which may be as long as the file
        reason = reason[reason.rfind("': ") + 3 :]
    reason = f"{reason[:1].lower()}{reason[1:_MAX_REASON]}"
    lines = text.split("\n")
    offset = len("\n".join(lines[: line - 1]).encode()) + (line > 1) + len(lines[line - 1][: column - 1].encode())
    if "has no field named" in reason:
        raise UnsupportedFeatureError(
            f"{path}, line {line}, column {column} (byte {offset:,}): {reason}",
            evidence={"path": path, "offset": offset, "line": line, "column": column},
        )
    raise CorruptFileError(path, offset, f"a {name} in text form", reason, structure=f"line {line}, column {column}")
