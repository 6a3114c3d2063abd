"""What a file or folder is, told by its bytes; its name is never asked.

The exceptions are the ones the formats make themselves: a checkpoint is named by a prefix that no file has, and its data
shards hold nothing but tensor bytes.
"""

from __future__ import annotations

import os
import re
import shlex
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal

from tfinspect.errors import UnknownFormatError, UnsupportedFeatureError
from tfinspect.formats import _tags
from tfinspect.formats._file import MappedFile

if TYPE_CHECKING:
    from collections.abc import Callable

Kind = Literal["graph", "checkpoint", "signatures", "assets", "head"]

_TABLE_MAGIC: Final = 0xDB4775248B80FB57.to_bytes(8, "little")
_TEXT_NBYTES = 1 << 20  # how much comment may stand before the first field of a text file
_FIRST_WORD: Final = re.compile(rb"(?:\xef\xbb\xbf)?(?:\s+|#[^\n]*(?:\n|$))*+([A-Za-z_]\w*)\s*[:{<]")
_GRAPH_WORDS: Final = {b"node", b"library", b"version", b"versions", b"debug_info"}
_META_GRAPH_WORDS: Final = {
    b"meta_info_def", b"graph_def", b"saver_def", b"collection_def", b"signature_def", b"asset_file_def",
    b"object_graph_def",
}  # fmt: skip
_SAVED_MODEL_WORDS: Final = {b"saved_model_schema_version", b"meta_graphs"}
_STATE_WORDS: Final = {b"model_checkpoint_path", b"all_model_checkpoint_paths"}
_NAMES_SHOWN = 8


class Sample:
    """What the rows of `FORMATS` look at.

    Attributes:
        path: the file.
        view: its bytes, mapped.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        self.view = MappedFile(path).view
        match = _FIRST_WORD.match(self.view[:_TEXT_NBYTES])
        self.word = match[1] if match is not None else b""
        """First field name, where the file is protobuf text."""


@dataclass(frozen=True, slots=True)
class Format:
    """One format.

    Attributes:
        name: how `--json` calls it.
        title: how a person calls it.
        module: module of this package that reads it: its `read(path)` returns a Graph where `kinds` is ("graph",), a
            Checkpoint where it is ("checkpoint",), a DenseHead where it is ("head",), and else a Model.
        kinds: what such a file can hold.
        matches: whether a file is of this format.
    """

    name: str
    title: str
    module: str
    kinds: tuple[Kind, ...]
    matches: Callable[[Sample], bool] = field(repr=False, compare=False)


def is_text(sample: Sample) -> bool:
    """Whether a file of one of the formats here is in protobuf's text form."""
    return sample.word in _GRAPH_WORDS | _META_GRAPH_WORDS | _SAVED_MODEL_WORDS


def _is_head(sample: Sample) -> bool:
    if bytes(sample.view[:4]) != b"PK\x03\x04":
        return False
    from tfinspect.formats._foreign import zip_names

    names = zip_names(sample.path) or ()
    return ("weights.npy" in names or "0/weights.npy" in names) and all(name.endswith(".npy") for name in names)


def _is_table(sample: Sample, first_tags: frozenset[int]) -> bool:
    """Whether it is a sorted table whose first entry, under the empty key, begins with one of these tags.

    The file begins with that entry: shared and own key length 0, the value's length, the value. V1 stores a
    SavedTensorSlices there, whose first field is a message, V2 a BundleHeaderProto, whose first fields are numbers.
    A block compressed with Snappy begins with its length and a literal's tag instead, and only V1 was ever compressed.
    """
    view = sample.view
    if bytes(view[-8:]) != _TABLE_MAGIC:
        return False
    if bytes(view[:2]) != b"\0\0":
        return 0x0A in first_tags
    position = 2
    while position < len(view) - 1 and view[position] & 0x80:
        position += 1
    return view[position + 1] in first_tags


FORMATS: Final = (
    Format(
        "graphdef", "frozen graph or graph definition (GraphDef)", "graphdef", ("graph",),
        lambda s: not s.word and _tags.looks_like(s.view, _tags.GRAPH),
    ),
    Format("graphdef_text", "graph as text (GraphDef)", "pbtxt", ("graph",), lambda s: s.word in _GRAPH_WORDS),
    Format(
        "metagraph", "graph of a checkpoint (MetaGraphDef)", "metagraph", ("graph", "signatures"),
        lambda s: s.word in _META_GRAPH_WORDS or _tags.looks_like(s.view, _tags.META_GRAPH),
    ),
    Format(
        "checkpoint_v1", "checkpoint, V1 (2015-2016)", "checkpoint", ("checkpoint",),
        lambda s: _is_table(s, frozenset({0x0A})),
    ),
    Format(
        "checkpoint_v2", "checkpoint, V2", "checkpoint", ("checkpoint",),
        lambda s: _is_table(s, frozenset(range(256)) - {0x0A}),
    ),
    Format("onnx", "ONNX model", "onnx", ("signatures",), lambda s: _tags.looks_like(s.view, _tags.ONNX)),
    Format(
        "saved_model", "SavedModel", "saved_model", ("graph", "checkpoint", "signatures", "assets"),
        lambda s: s.word in _SAVED_MODEL_WORDS or _tags.looks_like(s.view, _tags.SAVED_MODEL),
    ),
    Format("head_npz", "classifier head (.npz)", "heads", ("head",), _is_head),
)  # fmt: skip
"""Every format, one row each; the first row that matches wins."""

BY_NAME: Final = {row.name: row for row in FORMATS}


def identify(path: str | os.PathLike[str]) -> Format:
    """Tell the format of a file, a folder, or a checkpoint's prefix.

    Raises:
        FileMissingError: nothing stands there, or it may not be read.
        UnknownFormatError: it is something else; the message says what, where that can be told.
        UnsupportedFeatureError: it is a SavedModel split into chunks.
        InputError: it is a checkpoint that cannot be read.
    """
    name = os.fspath(path)
    if Path(name).is_dir():
        return _identify_folder(name)
    if not os.path.lexists(name) and is_checkpoint(name):
        return _checkpoint_row(name)
    sample = Sample(name)
    for row in FORMATS:
        if row.matches(sample):
            return row
    if sample.word in _STATE_WORDS or is_checkpoint(name):
        return _checkpoint_row(name)
    from tfinspect.formats import _foreign

    raise _foreign.unknown(name)


def is_checkpoint(path: str) -> bool:
    """Whether a path names a checkpoint by its prefix, or by one of its files."""
    from tfinspect.formats import checkpoint

    return checkpoint.is_checkpoint(path)


def _checkpoint_row(path: str) -> Format:
    from tfinspect.formats import checkpoint

    return BY_NAME[f"checkpoint_v{checkpoint.resolve(path).version}"]


def _identify_folder(path: str) -> Format:
    folder = Path(path)
    if (folder / "saved_model.pb").is_file() or (folder / "saved_model.pbtxt").is_file():
        return BY_NAME["saved_model"]
    if (folder / "saved_model.cpb").is_file():
        raise UnsupportedFeatureError(
            f"{path} is a SavedModel split into chunks (saved_model.cpb), which tfinspect does not read",
            hint="write it again with less than 2 GB of constants in its graph",
            evidence={"path": path},
        )
    if is_checkpoint(path):
        return _checkpoint_row(path)
    names = sorted(entry.name + "/" * entry.is_dir() for entry in folder.iterdir())
    shown = names[:_NAMES_SHOWN] + ([f"and {len(names) - _NAMES_SHOWN:,} more"] if len(names) > _NAMES_SHOWN else [])
    inside = next((name for name in names if _may_be_model(folder / name)), None)
    raise UnknownFormatError(
        f"{path} is a folder without a model" if names else f"{path} is an empty folder",
        details=shown,
        hint=f"tfinspect info {shlex.quote(str(folder / inside))}" if inside is not None else None,
        evidence={"path": path, "entries": names[:200]},
    )


def _may_be_model(path: Path) -> bool:
    if path.is_dir():
        return (path / "saved_model.pb").is_file() or (path / "checkpoint").is_file()
    return path.suffix in {".pb", ".pbtxt", ".meta", ".onnx", ".index", ".ckpt"}
