"""Which names stand for which checkpoint files; only names, and a few bytes of files, are looked at here."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal

from tfinspect.errors import InputError
from tfinspect.formats._file import head_and_tail

if TYPE_CHECKING:
    from collections.abc import Iterator

V1: Final = 1
V2: Final = 2
_MAGIC: Final = bytes.fromhex("57fb808b247547db")  # the last 8 bytes of a table
_HEAD_NBYTES: Final = 16
_V1_TAG, _V2_TAG = 0x0A, 0x08  # first byte of the first value: SavedTensorSlices.meta, BundleHeaderProto.num_shards
_MORE = 0x80  # the continuation bit of a varint
_SUFFIX = re.compile(r"(?s)(.+?)(?:\.index|\.meta|\.data-\d{5}-of-\d{5}|-(?:\d{5}|\?{5})-of-\d{5})")
_DATA = re.compile(r"(?s)(.+)\.data-\d{5}-of-\d{5}")
_SHARD = re.compile(r"(?s)(.+)-(\d{5}|\?{5})-of-(\d{5})")
_MAX_EXAMINED = 5_000  # files of a folder that are opened to find V1 checkpoints among them


@dataclass(frozen=True, slots=True)
class Named:
    """What a name stands for.

    Attributes:
        prefix: what names the checkpoint; for V1 shards a pattern with `?????` for the number.
        version: of the format.
        index: the `.index` file, for V2.
        files: the file or shards with variables and values, those missing included, for V1.
        base: the prefix without the pattern.
    """

    prefix: str
    version: Literal[1, 2]
    index: str | None
    files: tuple[str, ...]
    base: str


def named(name: str) -> Named | None:
    """Return the checkpoint that `name` names or is a part of, or None."""
    shard = _SHARD.fullmatch(name)
    if shard and not shard[1].endswith(".data") and (found := _v1_shards(shard[1], shard[3])):
        return found
    for prefix in _prefixes(name):
        index = prefix + ".index"
        if Path(index).is_file() and table_version(index) != V1:
            return Named(prefix, V2, index, (), prefix)
        version = table_version(prefix)
        if version == V1:
            return Named(prefix, V1, None, (prefix,), prefix)
        if version == V2:  # an index that lost its suffix
            return Named(prefix, V2, prefix, (), prefix)
        if found := _v1_shards(prefix):
            return found
    return None


def without_index(name: str) -> str | None:
    """Return the prefix of a checkpoint that has data shards, or a `.meta` graph, but no values that can be read."""
    for prefix in _prefixes(name):
        if data_shards(prefix) or (Path(prefix + ".meta").is_file() and (prefix != name or not Path(name).exists())):
            return prefix
    return None


def _prefixes(name: str) -> tuple[str, ...]:
    suffix = _SUFFIX.fullmatch(name)
    return (suffix[1], name) if suffix else (name,)


def table_version(path: str) -> Literal[1, 2] | None:
    """Return the version of checkpoint a file looks like a table of; None where it looks like neither."""
    if not Path(path).is_file():
        return None
    head, tail, _ = head_and_tail(path, _HEAD_NBYTES)
    position = 2
    while position < len(head) and head[position] >= _MORE:
        position += 1
    tag = head[position + 1 : position + 2]  # the first entry: shared 0, unshared 0, size, value
    if head[:2] == b"\0\0" and tag in (bytes([_V1_TAG]), bytes([_V2_TAG])):
        return V1 if tag[0] == _V1_TAG else V2
    if not tail.endswith(_MAGIC):
        return None
    from tfinspect.formats._table import Table

    try:
        value = Table(path).find(b"")  # compressed, so it does not show
        first = b"" if value is None else value.read()[:1]
    except InputError:  # what is wrong with it is said when it is read
        first = b""
    if first in (bytes([_V1_TAG]), bytes([_V2_TAG])):
        return V1 if first[0] == _V1_TAG else V2
    return V2 if path.endswith(".index") else V1


def data_shards(prefix: str) -> list[str]:
    """Return the names of the data shards of a V2 checkpoint that are there."""
    base = Path(prefix).name
    return sorted(n for n in names(Path(prefix).parent) if (m := _DATA.fullmatch(n)) and m[1] == base)


def names(folder: Path) -> list[str]:
    """Return the names in a folder; none where it is no folder or may not be read."""
    try:
        return os.listdir(folder)  # noqa: PTH208 - names are all that is needed
    except OSError:
        return []


def in_folder(folder: Path) -> list[str]:
    """Return the checkpoints of a folder by the names that stand for them, in order, numbers as numbers."""
    found: set[str] = set()
    present = names(folder)
    examined = 0
    for name in sorted(present):
        shard = _SHARD.fullmatch(name)
        if name.endswith(".index"):
            found.add(name.removesuffix(".index"))
        elif data := _DATA.fullmatch(name):
            found.add(data[1])
        elif examined < _MAX_EXAMINED and not name.endswith((".meta", ".pbtxt", ".pb")):
            examined += 1
            if _looks_like_table(str(folder / name)):
                found.add(f"{shard[1]}-?????-of-{shard[3]}" if shard else name)
    return sorted(found, key=_natural)


def _looks_like_table(path: str) -> bool:
    try:
        return table_version(path) is not None
    except InputError:  # it vanished, or may not be read
        return False


def _natural(name: str) -> list[tuple[int, str]]:
    return [(int(part), "") if part.isdecimal() else (0, part) for part in re.split(r"(\d+)", name)]


def _v1_shards(base: str, total: str | None = None) -> Named | None:
    """Return the V1 checkpoint whose shards are `base-00000-of-TOTAL` and so on; the highest total if none is given."""
    place = Path(base)
    for found in sorted(_totals(place), reverse=True) if total is None else [total]:
        files = tuple(f"{base}-{number:05d}-of-{found}" for number in range(int(found)))
        present = [file for file in files if Path(file).is_file()]
        if present and table_version(present[0]) == V1:  # other things are sharded under such names, too
            return Named(f"{base}-?????-of-{found}", V1, None, files, base)
    return None


def _totals(place: Path) -> Iterator[str]:
    seen = set()
    for name in names(place.parent):
        shard = _SHARD.fullmatch(name)
        if shard and shard[1] == place.name and shard[2].isdecimal() and shard[3] not in seen:
            seen.add(shard[3])
            yield shard[3]
