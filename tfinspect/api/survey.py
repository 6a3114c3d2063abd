"""What `info` answers for a folder that is no model itself: each model in it and below it, and each that is broken."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from tfinspect import formats
from tfinspect.api import rebuild
from tfinspect.architectures.recognize import recognize
from tfinspect.errors import FileMissingError, TfinspectError, UnknownFormatError, UsageError, counted

if TYPE_CHECKING:
    from tfinspect.api.load import PathLike
    from tfinspect.ir.model import Model

_MAX_DEPTH: Final = 6
_MAX_ENTRIES: Final = 10_000
_MODEL_NAME: Final = re.compile(
    r"(?i).*\.(pb|pbtxt|meta|index|ckpt|h5|hdf5|keras|onnx|tflite|npz|safetensors)|checkpoint|.*\.ckpt-\d+"
)
_SHARD: Final = re.compile(r".+\.data-\d{5}-of-\d{5}")
_V1_SHARD: Final = re.compile(r"(.+)-(\d{5})-of-\d{5}")
_COMPANIONS: Final = frozenset({"fingerprint.pb", "keras_metadata.pb", "saved_model_config.pb"})


@dataclass(frozen=True, slots=True)
class Member:
    """One model in a folder.

    Attributes:
        name: path from the folder.
        format: name of the format; empty where it could not be told.
        title: the format in words, likewise.
        nbytes: size of the file; of a folder or checkpoint, of all its files.
        summary: what is in it, in a few words.
        problem: why it, or a part of it, cannot be read; None where all is well.
    """

    name: str
    format: str
    title: str
    nbytes: int
    summary: str
    problem: TfinspectError | None = None


@dataclass(frozen=True, slots=True)
class Survey:
    """Models of a folder.

    Attributes:
        path: the folder.
        members: in the order of their names.
        other_files: number of files that are no models.
        complete: whether every entry was looked at; a folder of more than 10,000 entries is not.
    """

    path: str
    members: tuple[Member, ...]
    other_files: int
    complete: bool

    @property
    def problems(self) -> tuple[TfinspectError, ...]:
        """Why some members cannot be read."""
        return tuple(member.problem for member in self.members if member.problem is not None)


def survey(path: PathLike) -> Survey | None:
    """Look for models in a folder and the folders below it; links to folders are not followed.

    Returns:
        What was found; None where the folder is a model itself, or there is no model in it.

    Raises:
        InputError: the folder is a model that is broken.
    """
    top = os.fspath(path)
    if not os.path.isdir(top):  # noqa: PTH112 - as in `formats.identify`
        return None
    if _holds_model(Path(top)):  # whole or broken, it is a model
        return None
    row = _row(top)
    if row is not None and row.kinds != ("checkpoint",):
        return None
    if row is not None and os.path.exists(os.path.join(top, "checkpoint")):  # noqa: PTH110, PTH118 - what TensorFlow keeps
        return None
    members: list[Member] = []
    others = seen = 0
    waiting = [("", 0)]
    while waiting:
        folder, depth = waiting.pop()
        files, folders = _entries(Path(top, folder))
        seen += len(files) + len(folders)
        if seen > _MAX_ENTRIES:
            break
        for name in _without_companions(files):
            found = _member(top, os.path.join(folder, name))  # noqa: PTH118 - shown as typed
            if found is None:
                others += 1
            else:
                members.append(found)
        for name in folders:
            inside = os.path.join(folder, name)  # noqa: PTH118
            if _holds_model(Path(top, inside)):
                found = _member(top, inside)
                members += [found] if found is not None else []
            elif depth < _MAX_DEPTH:
                waiting.append((inside, depth + 1))
    if not members or (row is not None and len(members) == 1):
        return None
    return Survey(top, tuple(sorted(members, key=lambda m: m.name)), others, not waiting)


def _row(folder: str) -> formats.Format | None:
    """Return what a folder is as a whole, None where it is only a place to keep things in."""
    try:
        return formats.identify(folder)
    except (UnknownFormatError, UsageError):
        return None


def _holds_model(folder: Path) -> bool:
    """Whether a folder is one model, whole or broken, and not a place where several are kept."""
    names = ("saved_model.pb", "saved_model.pbtxt", "saved_model.cpb", "tfhub_module.pb")
    return any((folder / name).is_file() for name in names)


def _entries(folder: Path) -> tuple[list[str], list[str]]:
    try:
        found = sorted(os.scandir(folder), key=lambda entry: entry.name)
    except OSError:
        return [], []
    folders = [e.name for e in found if e.is_dir(follow_symlinks=False)]
    return [e.name for e in found if e.is_file()], folders


def _without_companions(names: list[str]) -> list[str]:
    """Leave out what belongs to a checkpoint that is listed anyway: its shards, its graph, and the state file."""
    old_shards = {name: match for name in names if (match := _V1_SHARD.fullmatch(name)) and ".data" not in match[1]}
    prefixes = {name.removesuffix(".index") for name in names if name.endswith(".index")}
    graphs = prefixes | set(names) | {match[1] for match in old_shards.values()}
    kept = []
    for name in names:
        is_shard = _SHARD.fullmatch(name) is not None and name.rsplit(".data-", 1)[0] in prefixes
        is_later_shard = name in old_shards and int(old_shards[name][2]) > 0
        is_graph = name.endswith(".meta") and name.removesuffix(".meta") in graphs
        is_state = name == "checkpoint" and len(names) > 1
        if not (is_shard or is_later_shard or is_graph or is_state):
            kept.append(name)
    return kept


def _member(top: str, name: str) -> Member | None:
    path = os.path.join(top, name)  # noqa: PTH118
    try:
        row = formats.identify(path)
    except TfinspectError as error:
        leaf = os.path.basename(name)  # noqa: PTH119
        expected = os.path.isdir(path) or (_MODEL_NAME.fullmatch(leaf) and leaf not in _COMPANIONS)  # noqa: PTH112
        return Member(name, "", "", _nbytes(path, None), "", error) if expected else None
    try:
        model = formats.open_model(path, problems=[])
        summary = _summary(model)
    except TfinspectError as error:
        return Member(name, row.name, row.title, _nbytes(path, None), "", error)
    return Member(name, row.name, row.title, _nbytes(path, model), summary, _first(model))


def _first(model: Model) -> TfinspectError | None:
    return next((p for p in model.problems if not isinstance(p, FileMissingError)), None)


def _summary(model: Model) -> str:
    parts = []
    network = recognize(model.checkpoint) if rebuild.is_bare(model) and model.checkpoint is not None else None
    if network is not None:
        parts.append(f"{network.family.title} (slim){'' if network.is_whole else ' in part'}")
    if model.graph is not None:
        parts.append(counted(len(model.graph), "node"))
    if model.operators:
        parts.append(counted(len(model.operators), "operator"))
    if model.layers:
        parts.append(counted(len(model.layers), "layer"))
    if model.checkpoint is not None:
        parts.append(counted(len(model.checkpoint.variables), "variable"))
        missing = sum(not Path(file).exists() for file in model.checkpoint.files)
        parts += [f"{counted(missing, 'file')} missing"] if missing else []
    return ", ".join(parts)


def _nbytes(path: str, model: Model | None) -> int:
    place = Path(path)
    if place.is_dir():
        files = [file for file in place.rglob("*") if file.is_file()]
    elif model is not None and model.checkpoint is not None and place.suffix == ".index":
        files = [Path(name) for name in model.checkpoint.files]
    else:
        files = [place]
    return sum(file.stat().st_size for file in files if file.is_file())
