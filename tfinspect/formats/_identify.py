"""What a file or folder is, told by its bytes; its name is never asked.

The exceptions are the ones the formats make themselves: a checkpoint is named by a prefix that no file has, and its
data shards hold nothing but tensor bytes.
"""

from __future__ import annotations

import functools
import os
import re
import shlex
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal

from tfinspect.errors import FileMissingError, UnknownFormatError, UnsupportedFeatureError, WrongKindError
from tfinspect.formats import _tags
from tfinspect.formats._file import MappedFile

if TYPE_CHECKING:
    from collections.abc import Callable

Kind = Literal["graph", "checkpoint", "signatures", "assets", "head", "layers", "operators", "features"]

_TABLE_MAGIC: Final = 0xDB4775248B80FB57.to_bytes(8, "little")
_DATA_SHARD: Final = re.compile(r"(?s).+\.data-\d{5}-of-\d{5}")
_STATE_WORDS: Final = {b"model_checkpoint_path", b"all_model_checkpoint_paths"}
_VERSION_FOLDER: Final = re.compile(r"[0-9]{1,18}/")
_FOREIGN_FOLDERS: Final = (
    (frozenset({"Manifest.json", "Data/"}), "a Core ML package (.mlpackage), not a model of TensorFlow"),
    (frozenset({"model.json", "group1-shard1of1.bin"}), "a TensorFlow.js model, not the model it was converted from"),
    (frozenset({"model.safetensors", "config.json"}), "a Hugging Face model whose weights are safetensors"),
)
_NAMES_SHOWN = 8
_VOWELS = tuple("AEIOUaeiou")


class Sample:
    """What the rows of `FORMATS` look at.

    Attributes:
        path: the file.
        view: its bytes, mapped.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        self.view = MappedFile(path).view
        self.word = _tags.first_word(self.view)
        """First field name, where the file is protobuf text."""

    @functools.cached_property
    def table_version(self) -> int | None:
        """Version of checkpoint the file is a sorted table of; None where it is no whole table."""
        if bytes(self.view[-8:]) != _TABLE_MAGIC:
            return None
        from tfinspect.formats import _checkpoint_names

        return _checkpoint_names.table_version(self.path)

    @functools.cached_property
    def members(self) -> frozenset[str]:
        """Names in the zip archive that the file is; none where it is no whole archive."""
        if bytes(self.view[:4]) != b"PK\x03\x04":
            return frozenset()
        from tfinspect.formats._foreign_archives import zip_names

        return frozenset(zip_names(self.path) or ())

    @functools.cached_property
    def hdf5(self) -> str:
        """Which of Keras's layouts the file has, as HDF5; empty where it has none, or is something else."""
        from tfinspect.formats import _hdf5

        if _hdf5.find_superblock(self.view) is None:
            return ""
        from tfinspect.formats import keras_h5, keras_weights_h5

        root = _hdf5.Hdf5(self.path, self.view).root
        if keras_h5.is_layered(root):
            return keras_h5.FORMAT
        return keras_weights_h5.FORMAT if keras_weights_h5.is_vars(root) else ""


@dataclass(frozen=True, slots=True)
class Format:
    """One format.

    Attributes:
        name: how `--json` calls it.
        title: how a person calls it.
        module: module of this package that reads it: its `read(path)` returns a Graph where `kinds` is ("graph",), a
            Checkpoint where it is ("checkpoint",), a DenseHead where it is ("head",), and else a Model, whose weights
            are a Checkpoint where `kinds` has "checkpoint".
        kinds: what such a file can hold.
        matches: whether a file is of this format.
    """

    name: str
    title: str
    module: str
    kinds: tuple[Kind, ...]
    matches: Callable[[Sample], bool] = field(repr=False, compare=False)

    @property
    def a_title(self) -> str:
        """The title with its article."""
        return f"{'an' if self.title.startswith(_VOWELS) else 'a'} {self.title}"


def _is_head(sample: Sample) -> bool:
    names = sample.members
    return ("weights.npy" in names or "0/weights.npy" in names) and all(name.endswith(".npy") for name in names)


def _is_safetensors(sample: Sample) -> bool:
    if bytes(sample.view[8:9]) != b"{":
        return False
    from tfinspect.formats import safetensors

    return safetensors.looks_like(sample.view)


FORMATS: Final = (
    Format(
        "graphdef", "frozen graph or graph definition (GraphDef)", "graphdef", ("graph",),
        lambda s: not s.word and _tags.looks_like(s.view, _tags.GRAPH),
    ),
    Format("graphdef_text", "graph as text (GraphDef)", "pbtxt", ("graph",), lambda s: s.word in _tags.GRAPH_WORDS),
    Format(
        "metagraph", "graph of a checkpoint (MetaGraphDef)", "metagraph", ("graph", "signatures"),
        lambda s: s.word in _tags.META_GRAPH_WORDS or _tags.looks_like(s.view, _tags.META_GRAPH),
    ),
    Format(
        "checkpoint_v1", "checkpoint, V1 (2015-2016)", "checkpoint", ("checkpoint",),
        lambda s: s.table_version == 1,
    ),
    Format(
        "checkpoint_v2", "checkpoint, V2", "checkpoint", ("checkpoint",),
        lambda s: s.table_version == 2,  # noqa: PLR2004 - the number is the name
    ),
    Format(
        "onnx", "ONNX model", "onnx", ("signatures", "operators", "checkpoint"),
        lambda s: _tags.looks_like(s.view, _tags.ONNX),
    ),
    Format(
        "saved_model", "SavedModel", "saved_model", ("graph", "checkpoint", "signatures", "assets"),
        lambda s: s.word in _tags.SAVED_MODEL_WORDS or _tags.looks_like(s.view, _tags.SAVED_MODEL),
    ),
    Format(
        "dl4j", "Deeplearning4j model", "dl4j", ("layers", "checkpoint"),
        lambda s: {"configuration.json", "coefficients.bin"} <= s.members,
    ),
    Format(
        "tflite", "TensorFlow Lite model", "tflite", ("signatures", "operators", "checkpoint"),
        lambda s: bytes(s.view[4:8]) == b"TFL3",
    ),
    Format("safetensors", "file of weights (safetensors)", "safetensors", ("checkpoint",), _is_safetensors),
    Format(
        "keras_archive", "Keras 3 model (.keras)", "keras_archive", ("layers", "checkpoint", "signatures"),
        lambda s: {"metadata.json", "config.json"} <= s.members,
    ),
    Format(
        "keras_h5", "Keras model (.h5)", "keras_h5", ("layers", "checkpoint", "signatures"),
        lambda s: s.hdf5 == "keras_h5",
    ),
    Format(
        "keras_weights_h5", "weights of a Keras 3 model (.weights.h5)", "keras_weights_h5", ("layers", "checkpoint"),
        lambda s: s.hdf5 == "keras_weights_h5",
    ),
    Format("head_npz", "classifier head (.npz)", "heads", ("head",), _is_head),
    Format(
        "features_npz", "file of bottleneck features of images (.npz)", "features", ("features",),
        lambda s: {"features.npy", "labels.npy", "split.npy"} <= s.members,
    ),
)  # fmt: skip
"""Every format, one row each; the first row that matches wins."""

BY_NAME: Final = {row.name: row for row in FORMATS}


def identify(path: str | os.PathLike[str]) -> Format:
    """Tell the format of a file, a folder, or a checkpoint's prefix.

    Raises:
        FileMissingError: nothing stands there, or it may not be read.
        UnknownFormatError: it is something else; the message says what, where that can be told.
        WrongKindError: a folder's `saved_model.pb` is none.
        UnsupportedFeatureError: it is a SavedModel split into chunks.
        InputError: it is a checkpoint that cannot be read.
    """
    name = os.fspath(path)
    if os.path.isdir(name):  # noqa: PTH112 - Path.is_dir raises where a parent may not be searched
        return _identify_folder(name)
    if (not os.path.lexists(name) or _DATA_SHARD.fullmatch(name)) and is_checkpoint(name):
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
    try:
        names = sorted(entry.name + "/" * entry.is_dir() for entry in os.scandir(path))
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise FileMissingError(f"{path} cannot be listed: {reason}", evidence={"path": path}) from None
    for name in ("saved_model.pb", "saved_model.pbtxt"):
        if name in names:
            return _saved_model_row(folder / name)
    if "saved_model.cpb" in names:
        raise UnsupportedFeatureError(
            f"{path} is a SavedModel split into chunks (saved_model.cpb), which tfinspect does not read",
            hint="write it again with less than 2 GB of constants in its graph",
            evidence={"path": path},
        )
    if is_checkpoint(path):
        return _checkpoint_row(path)
    shown = names[:_NAMES_SHOWN] + ([f"and {len(names) - _NAMES_SHOWN:,} more"] if len(names) > _NAMES_SHOWN else [])
    inside = next((name for name in _latest_first(names) if _may_be_model(folder / name)), None)
    title = next((title for wanted, title in _FOREIGN_FOLDERS if wanted <= set(names)), "a folder without a model")
    raise UnknownFormatError(
        f"{path} is {title}" if names else f"{path} is an empty folder",
        details=shown,
        hint=f"tfinspect info {shlex.quote(str(folder / inside))}" if inside is not None else None,
        evidence={"path": path, "entries": names[:200]},
    )


def _latest_first(names: list[str]) -> list[str]:
    """Put the folders that TensorFlow Serving numbers by version in front, the newest first."""
    numbered = [name for name in names if _VERSION_FOLDER.fullmatch(name)]
    others = [name for name in names if not _VERSION_FOLDER.fullmatch(name)]
    return [*sorted(numbered, key=lambda name: int(name[:-1]), reverse=True), *others]


def _saved_model_row(file: Path) -> Format:
    row = identify(file)
    if row.name != "saved_model":
        raise WrongKindError(
            f"{file} is {row.a_title}, not a SavedModel",
            hint=f"tfinspect info {shlex.quote(str(file))}",
            evidence={"path": str(file), "format": row.name},
        )
    return row


def _may_be_model(path: Path) -> bool:
    if path.is_dir():
        inside = ("saved_model.pb", "saved_model.pbtxt", "checkpoint", "export.meta")
        return any((path / name).is_file() for name in inside)
    return path.suffix in {".pb", ".pbtxt", ".meta", ".onnx", ".tflite", ".index", ".ckpt", ".h5", ".hdf5", ".keras"}
