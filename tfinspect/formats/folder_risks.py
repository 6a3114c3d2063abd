"""What stands in a model's folder besides the model: links that lead out, programs, pickles, foreign paths."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from tfinspect.errors import TfinspectError
from tfinspect.formats import checkpoint
from tfinspect.formats._file import MappedFile, head_and_tail
from tfinspect.formats._wire import LEN, Cursor
from tfinspect.ir.risks import Risk

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

_MOST_ENTRIES = 20_000
_STATE = "checkpoint"
_STATE_NBYTES = 1 << 20
_STATE_PATH = re.compile(rb'^\s*(?:all_)?model_checkpoint_paths?\s*:\s*"((?:[^"\\\n]|\\.)*)"', re.MULTILINE)
_KERAS_METADATA = "keras_metadata.pb"
_NODES, _NODE_PATH, _METADATA = 1, 3, 5  # fields of SavedMetadata and SavedObject
_MOST_JSON_NBYTES = 64 << 20
_HEAD_NBYTES = 8
_BY_SUFFIX: Final = {
    suffix: (kind, what)
    for kind, what, suffixes in (
        ("custom-code", "a native library, whose code runs in whoever loads it", ".so .dll .dylib .pyd"),
        ("python-code", "a Python program", ".py .pyw .pth .ipynb"),
        ("bytecode", "Python bytecode", ".pyc .pyo"),
        ("process", "a program or script", ".sh .bash .bat .cmd .ps1 .exe .com .msi .jar .js .vbs .run"),
        ("serialized-object", "a pickle, which runs code when loaded", ".pkl .pickle .joblib .dill .pt"),
    )
    for suffix in suffixes.split()
}
_BY_MAGIC: Final = (
    (b"\x7fELF", "custom-code", "a native program or library (ELF)"),
    (b"MZ\x90\x00", "custom-code", "a native program or library (Windows)"),
    (b"\xcf\xfa\xed\xfe", "custom-code", "a native program or library (macOS)"),
    (b"#!/", "process", "a script (it begins with #!)"),
    (b"\x80\x02", "serialized-object", "a pickle, which runs code when loaded"),
    (b"\x80\x03", "serialized-object", "a pickle, which runs code when loaded"),
    (b"\x80\x04\x95", "serialized-object", "a pickle, which runs code when loaded"),
    (b"\x80\x05\x95", "serialized-object", "a pickle, which runs code when loaded"),
)


def in_folder(folder: str | os.PathLike[str], parts: Collection[str] = ()) -> list[Risk]:
    """Return what stands in the folder of a model and could harm whoever loads it; nothing is followed out of it.

    Args:
        folder: the folder.
        parts: names in it to look at; all where none are given.
    """
    place = Path(folder)
    whole = place.resolve()
    found: list[Risk] = []
    for count, entry in enumerate(_entries(place, parts)):
        if count >= _MOST_ENTRIES:
            found.append(
                Risk("hidden-file", str(place), f"more than {_MOST_ENTRIES:,} files; the rest was not looked at")
            )
            break
        path = Path(entry.path)
        where = str(path.relative_to(place))
        if entry.is_symlink():
            found += _link(path, whole, where)
        elif entry.is_file(follow_symlinks=False):
            found += _file(path, where)
    return found


def beside_checkpoint(path: str | os.PathLike[str]) -> list[Risk]:
    """Return what the files of a checkpoint, and the `checkpoint` file beside them, point to.

    Raises:
        InputError: there is no such checkpoint.
    """
    located = checkpoint.resolve(path)
    folder = Path(located.prefix).parent
    whole = folder.resolve()
    found: list[Risk] = []
    names = [located.index, *located.data, located.meta]
    for name in filter(None, names if located.index or located.data else [located.prefix]):
        if Path(name).is_symlink():
            found += _link(Path(name), whole, os.path.relpath(name, folder))
    state = folder / _STATE
    if state.is_file() and not state.is_symlink():
        found += _state(state, _STATE)
    return found


def _entries(folder: Path, parts: Collection[str]) -> Iterator[os.DirEntry[str]]:
    waiting = [str(folder)]
    while waiting:
        current = waiting.pop()
        try:
            entries = sorted(os.scandir(current), key=lambda e: e.name)
        except OSError:
            continue  # it may not be listed, and so not loaded either
        if parts and current == str(folder):
            entries = [entry for entry in entries if entry.name in parts]
        yield from entries
        waiting += [entry.path for entry in reversed(entries) if entry.is_dir(follow_symlinks=False)]


def _link(path: Path, whole: Path, where: str) -> list[Risk]:
    target = path.readlink()
    try:
        inside = path.resolve().is_relative_to(whole)
    except (OSError, RuntimeError):  # links in a circle
        inside = True
    if inside:
        return []
    return [Risk("outside-path", where, f"a symbolic link that leads out of the folder, to `{target}`")]


def _file(path: Path, where: str) -> list[Risk]:
    try:
        head, _, size = head_and_tail(str(path), _HEAD_NBYTES)
    except (TfinspectError, OSError):
        return []  # no regular file, or one that nobody may read
    found = []
    named = _BY_SUFFIX.get(path.suffix.lower())
    known = next(((kind, what) for magic, kind, what in _BY_MAGIC if head.startswith(magic)), None) or named
    if known is not None and size:
        found.append(Risk(known[0], where, known[1]))
    if path.name.startswith(".") and size:
        found.append(Risk("hidden-file", where, f"a hidden file of {size:,} bytes, which no part of the model needs"))
    if path.name == _STATE:
        found += _state(path, where)
    if path.name == _KERAS_METADATA:
        found += keras_metadata(path, where)
    return found


def _state(path: Path, where: str) -> list[Risk]:
    """Return the paths of a `checkpoint` file that lead out of its folder."""
    try:
        view = MappedFile(path).view
    except TfinspectError:
        return []
    found: dict[str, None] = {}
    for match in _STATE_PATH.finditer(bytes(view[:_STATE_NBYTES])):
        name = match[1].decode("utf-8", "backslashreplace")
        if name.startswith("/") or ".." in name.split("/") or "://" in name:
            found[name] = None
    return [
        Risk("outside-path", where, f"names `{name}`, which other programs would open; tfinspect stays in the folder")
        for name in found
    ]


def keras_metadata(path: str | os.PathLike[str], where: str) -> list[Risk]:
    """Return the Lambda layers, and the classes that are not Keras' own, that a SavedModel's `keras_metadata.pb` names.

    A file that is not well formed is a risk of its own kind: nobody can say what a loader makes of it.
    """
    try:
        cursor = Cursor(MappedFile(path).view, os.fspath(path))
        return [
            risk
            for number, kind, _, first, last in cursor.fields(0, len(cursor.view), "SavedMetadata")
            if number == _NODES and kind == LEN
            for risk in _saved_object(cursor, first, last, where)
        ]
    except TfinspectError as error:
        return [Risk("python-code", where, f"cannot be read, so that its layers are unknown: {error.message}")]


def _saved_object(cursor: Cursor, start: int, end: int, where: str) -> list[Risk]:
    place, text = "", b""
    for number, kind, _, first, last in cursor.fields(start, end, "SavedObject"):
        if kind == LEN and number == _NODE_PATH:
            place = bytes(cursor.view[first:last]).decode("utf-8", "backslashreplace")
        elif kind == LEN and number == _METADATA:
            text = bytes(cursor.view[first : min(last, first + _MOST_JSON_NBYTES)])
    if not text:
        return []
    try:
        content = json.loads(text)
    except (ValueError, RecursionError):
        return [Risk("python-code", f"{where}: {place}", "its description is not JSON, so that its class is unknown")]
    if not isinstance(content, dict):
        return []
    named = content.get("class_name")
    class_name = named.rpartition(">")[2] if isinstance(named, str) else ""
    # a model repeats its layers, each of which has an entry of its own: only what stands at the top is told
    if class_name == "Lambda":
        return [Risk("bytecode", f"{where}: {place}", _lambda(content))]
    registered = content.get("registered_name")
    owner = next((n for n in (named, registered) if isinstance(n, str) and _is_foreign(n)), None)
    if owner is None:
        return []
    return [Risk("python-code", f"{where}: {place}", f"needs the class `{owner}`, which is not part of Keras")]


def _is_foreign(name: str) -> bool:
    package, mark, _ = name.rpartition(">")
    return bool(mark) and package not in {"keras", "Keras"} and not package.startswith("keras.")


def _lambda(content: dict[str, Any]) -> str:
    config = content.get("config")
    config = config if isinstance(config, dict) else {}
    function = config.get("function")
    code = function[0] if isinstance(function, list) and function else None
    name = config.get("name")
    layer = f"the Lambda layer `{name}`" if isinstance(name, str) else "a Lambda layer"
    if isinstance(code, str):
        return f"{layer} carries {len(code) * 3 // 4:,} bytes of Python bytecode, which loading it would run"
    return f"{layer} calls the Python function `{function}`"[:300]
