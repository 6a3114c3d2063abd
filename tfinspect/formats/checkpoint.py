"""Checkpoints by whatever name people give them: prefix, index, shard, graph beside it, or the folder they are in.

A V2 checkpoint `P` is no file at all but `P.index` and `P.data-00000-of-00001`; a V1 checkpoint is the file `P`, or
shards `P-00000-of-00003`. A folder that TensorFlow saves to has a text file `checkpoint` that names the latest one.
"""

from __future__ import annotations

import os
import re
import shlex
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal

from tfinspect.errors import (
    CorruptFileError,
    FileMissingError,
    IncompleteCheckpointError,
    InputError,
    UsageError,
    WrongKindError,
)
from tfinspect.formats import _checkpoint_names as _names
from tfinspect.formats._file import head_and_tail, open_regular
from tfinspect.formats._pread import PreadFile

if TYPE_CHECKING:
    from tfinspect.ir.checkpoint import Checkpoint

STATE_NAME: Final = "checkpoint"
_MAX_STATE_NBYTES = 1 << 20
_STATE_WORDS: Final = (b"model_checkpoint_path", b"all_model_checkpoint_paths")
_STATE_HEAD_NBYTES = 64
_MAX_LISTED = 20


@dataclass(frozen=True, slots=True)
class Located:
    """Where a checkpoint is.

    Attributes:
        prefix: what names it: the prefix (V2), the file (V1), or the pattern of its shards (V1, with `?????`).
        version: of the format, 1 or 2.
        index: the `.index` file; None for V1.
        data: the files with the values, those missing included.
        meta: the `.meta` graph beside it, or None.
        state: the `checkpoint` file that named it, or None.
        stale: the path written in that file, where it was not followed because it leads out of the folder or to
            nothing; what has the same name in the folder itself was taken instead.
    """

    prefix: str
    version: Literal[1, 2]
    index: str | None
    data: tuple[str, ...]
    meta: str | None = None
    state: str | None = None
    stale: str | None = None

    @property
    def missing(self) -> tuple[str, ...]:
        """The files of `data` that are not there."""
        return tuple(path for path in self.data if not Path(path).is_file())


def read(path: str | os.PathLike[str]) -> Checkpoint:
    """Read the variables of a checkpoint, named in any way `resolve` knows; values are read when asked for.

    Raises:
        UsageError: the folder holds several checkpoints and does not say which is meant.
        FileMissingError: there is nothing under that name.
        WrongKindError: there is something else under it.
        IncompleteCheckpointError: the index, or a shard of a V1 checkpoint, is missing.
        CorruptFileError: a file is damaged.
    """
    located = resolve(path)
    if located.index is not None:
        from tfinspect.formats import checkpoint_v2

        return checkpoint_v2.read(located.prefix, located.index)
    from tfinspect.formats import checkpoint_v1

    if located.missing:  # each shard has its own list of variables, so not even their names are known
        raise _incomplete(located.missing[0], located.prefix, "and with it the names of the variables in it")
    return checkpoint_v1.read(located.prefix, located.data)


def is_checkpoint(path: str | os.PathLike[str]) -> bool:
    """Whether `read` is the way to open this path; only names, and a few bytes of files, are looked at.

    True as well for what is left of a broken checkpoint (shards without an index, a table cut short), because `read`
    says what is wrong with it. False for a `.meta` file, which holds a graph, though `resolve` takes one.
    """
    try:
        name = os.fspath(path)
        if Path(name).is_dir():
            inside = _is_state(Path(name) / STATE_NAME) or _names.in_folder(Path(name))
            return bool(inside) or _names.named(str(Path(name))) is not None
        if name.endswith(".meta"):
            return False
        return _is_state(Path(name)) or _names.named(name) is not None or _names.without_index(name) is not None
    except (OSError, ValueError, InputError):
        return False


def resolve(path: str | os.PathLike[str]) -> Located:
    """Find the files of a checkpoint.

    Args:
        path: its prefix; its `.index`, `.data-*` or `.meta` file; a V1 file, one of its shards, or their pattern with
            `?????`; a folder, with a `checkpoint` file or with one checkpoint in it; or that `checkpoint` file.

    Raises:
        UsageError: the folder holds several checkpoints and does not say which is meant.
        FileMissingError: there is nothing under that name.
        WrongKindError: there is something else under it.
        IncompleteCheckpointError: there is a part of a checkpoint, but not the one that says what is in it.
        CorruptFileError: the index or the `checkpoint` file is damaged.
    """
    name = os.fspath(path)
    if "\0" in name:
        raise FileMissingError(f"{name!r} is no path: it has a zero byte in it", evidence={"path": name})
    if Path(name).is_dir():
        return _in_folder(name)
    located = _by_state(Path(name).parent, Path(name)) if _is_state(Path(name)) else _by_name(name)
    if located is not None:
        return located
    os.close(open_regular(name))  # says what keeps it from being opened, and what is beside it
    head, tail, size = head_and_tail(name)
    raise WrongKindError(
        f"{name} is not a checkpoint",
        details=[f"{size:,} bytes, the first {head.hex(' ')}, the last {tail.hex(' ')}"],
        hint=f"tfinspect info {shlex.quote(name)}",
        evidence={"path": name, "size": size, "head": head.hex(), "tail": tail.hex()},
    )


def _by_name(name: str) -> Located | None:
    found = _names.named(name)
    if found is not None:
        meta = found.base + ".meta" if Path(found.base + ".meta").is_file() else None
        data = found.files
        if found.index is not None:
            from tfinspect.formats import checkpoint_v2

            data = checkpoint_v2.shards(found.prefix, found.index)
        return Located(found.prefix, found.version, found.index, data, meta)
    prefix = _names.without_index(name)
    if prefix is not None:
        raise _incomplete(
            prefix + ".index",
            prefix,
            "which says what is in the checkpoint"
            if _names.data_shards(prefix)
            else "and so are the shards with the values: a `.meta` file holds the graph alone",
        )
    return None


def _incomplete(missing: str, prefix: str, why: str) -> IncompleteCheckpointError:
    place = Path(prefix)
    stem = place.name.partition("?")[0]
    beside = sorted(n for n in _names.names(place.parent) if n.startswith(stem))[:_MAX_LISTED]
    return IncompleteCheckpointError(
        f"{missing} is missing, {why}",
        details=[f"beside it: {name}" for name in beside],
        hint="copy it from where the checkpoint was saved",
        evidence={"missing": missing, "beside": beside},
    )


def _in_folder(folder: str) -> Located:
    place = Path(folder)
    state = place / STATE_NAME
    if state.is_file() and _names.table_version(str(state)) is None:
        return _by_state(place, state)
    found = _names.in_folder(place)
    if not found and (located := _by_name(str(place))):  # a folder and a checkpoint may have one name
        return located
    if len(found) == 1 and (located := _by_name(str(place / found[0]))):
        return located
    if found:
        rest = len(found) - _MAX_LISTED
        raise UsageError(
            f"{folder} holds {len(found):,} checkpoints, and no `{STATE_NAME}` file that says which is meant",
            details=[*found[:_MAX_LISTED], *([f"and {rest:,} more"] if rest > 0 else [])],
            hint=f"tfinspect vars {shlex.quote(str(place / found[-1]))}",
            evidence={"folder": folder, "checkpoints": found},
        )
    raise WrongKindError(
        f"{folder} holds no checkpoint", hint=f"tfinspect info {shlex.quote(folder)}", evidence={"folder": folder}
    )


def _is_state(path: Path) -> bool:
    if not path.is_file():
        return False
    head, _, _ = head_and_tail(str(path), _STATE_HEAD_NBYTES)
    return head.lstrip().startswith(_STATE_WORDS)


def _by_state(folder: Path, state: Path) -> Located:
    """Find the checkpoint a state file names.

    The path in it was written on another machine as often as not. It is followed only where it stays in the folder;
    else what has the same name in the folder is taken.
    """
    written = _latest(state)
    inside = _inside(folder, written)
    base = re.split(r"[/\\]", written)[-1]
    for place in filter(None, (inside, folder / base if base not in ("", ".", "..") else None)):
        located = None if place.is_dir() else _by_name(str(place))
        if located is not None:
            return replace(located, state=str(state), stale=None if place is inside else written)
    others = _names.in_folder(folder)
    raise IncompleteCheckpointError(
        f"{state} names the checkpoint `{written}`, which is not in {folder}",
        details=[f"in it: {name}" for name in others[:_MAX_LISTED]],
        hint=f"tfinspect vars {shlex.quote(str(folder / others[-1]))}"
        if others
        else "copy it from where the checkpoint was saved",
        evidence={"state": str(state), "missing": written, "beside": others[:_MAX_LISTED]},
    )


def _inside(folder: Path, written: str) -> Path | None:
    """Return the path that a state file's words lead to, or None where that is not in the folder."""
    place = folder / written
    if ".." in Path(written).parts or not place.name:
        return None
    return place if place.parent.resolve().is_relative_to(folder.resolve()) else None


def _latest(state: Path) -> str:
    from google.protobuf import text_format

    from tfinspect.formats._schema import message_class

    file = PreadFile(str(state))
    if file.size > _MAX_STATE_NBYTES:
        raise CorruptFileError(
            str(state), _MAX_STATE_NBYTES, "the end of a list of checkpoints", f"{file.size:,} bytes in all"
        )
    content = file.read(0, file.size)
    message = message_class("CheckpointState")()
    try:
        text = content.decode()
        text_format.Parse(text, message, allow_unknown_field=True)
    except UnicodeDecodeError as error:
        raise CorruptFileError(str(state), error.start, "text", f"byte {content[error.start]:#04x}") from None
    except text_format.ParseError as error:
        lines = text.splitlines(keepends=True)
        line = max(1, error.GetLine() or 1)
        offset = len("".join(lines[: line - 1]).encode()) + max(0, (error.GetColumn() or 1) - 1)
        found = lines[line - 1].strip()[:80] if line <= len(lines) else "the end of the file"
        raise CorruptFileError(
            str(state), offset, "the text form of a CheckpointState", f"`{found}`", structure=f"line {line}"
        ) from None
    written: str = message.model_checkpoint_path
    if not written or "\0" in written:
        raise CorruptFileError(str(state), 0, "a model_checkpoint_path", f"`{written}`" if written else "none")
    return written
