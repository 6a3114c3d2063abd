"""`fingerprint.pb` of a SavedModel: hashes of its parts, taken when it was written.

TensorFlow takes the hash of the checkpoint over the bytes of `variables.index`, so it can be taken again. The others
are taken over messages that were changed or written anew in memory first: they can be recognised, never refuted.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from google.protobuf.message import DecodeError

from tfinspect.errors import InputError
from tfinspect.formats._farmhash import fingerprint64
from tfinspect.formats._file import MappedFile
from tfinspect.formats._schema import message_class
from tfinspect.ir.checks import Check

if TYPE_CHECKING:
    import os

NAME: Final = "fingerprint.pb"
_INDEX: Final = "variables/variables.index"
_MODEL: Final = "saved_model.pb"
_MODELS: Final = (_MODEL, "saved_model.pbtxt")
_MAX_NBYTES: Final = 1 << 16
_MAX_HASHED_NBYTES: Final = 64 << 20  # about ten seconds
_NOT_AGAIN: Final = "it is taken over a message in memory that the file does not hold"


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """What the file says.

    Attributes:
        saved_model: of the whole message, as TensorFlow would write it again.
        program: of the graph, without what changes from one writing to the next.
        signatures: of the signatures.
        objects: of the functions of the object graph.
        checkpoint: of the bytes of `variables.index`; 0 where there was none.
        version: of the code that took them.
        uuid: made up at random for this writing; empty before version 2.
    """

    saved_model: int
    program: int
    signatures: int
    objects: int
    checkpoint: int
    version: int
    uuid: str = ""

    def __str__(self) -> str:
        """Return it on one line."""
        own = f"uuid {self.uuid}, " if self.uuid else ""
        return f"{own}checkpoint {self.checkpoint:016x}, version {self.version}"


def read(folder: Path) -> Fingerprint | None:
    """Return the fingerprint of a SavedModel folder; None where it has none.

    Raises:
        InputError: the file cannot be read, or is reached through a link.
    """
    if not (folder / NAME).exists() and not (folder / NAME).is_symlink():
        return None
    file = MappedFile(NAME, within=str(folder))
    message = None
    if file.size <= _MAX_NBYTES:
        try:
            message = message_class("FingerprintDef").FromString(bytes(file.view))
        except DecodeError:
            message = None
    if message is None:
        raise InputError(
            f"{file.path} is not a fingerprint: expected a FingerprintDef, found {file.size:,} bytes that are not one",
            evidence={"path": file.path, "size": file.size},
        )
    return Fingerprint(
        message.saved_model_checksum,
        message.graph_def_program_hash,
        message.signature_def_hash,
        message.saved_object_graph_hash,
        message.checkpoint_hash,
        message.version.producer,
        message.uuid,
    )


def check_fingerprint(path: str | os.PathLike[str]) -> list[Check]:
    """Compare a SavedModel, given by its folder or its `saved_model.pb`, with its fingerprint; nothing without one.

    Raises:
        InputError: the fingerprint, or a file it speaks of, cannot be read.
    """
    folder = Path(path)
    if not folder.is_dir():
        if folder.name not in _MODELS:  # it was moved, and what stands beside it may be another's
            return []
        folder = folder.parent
    fingerprint = read(folder)
    if fingerprint is None:
        return []
    checks = [_checkpoint(folder, fingerprint.checkpoint), _saved_model(folder, fingerprint.saved_model)]
    others = ("graph_def_program_hash", "signature_def_hash", "saved_object_graph_hash")
    return [*checks, *(Check(f"{NAME}: {field}", "not checked", _NOT_AGAIN) for field in others)]


def _checkpoint(folder: Path, wanted: int) -> Check:
    what = f"{NAME}: checkpoint_hash"
    if not (folder / _INDEX).exists():
        if wanted:
            return Check(what, "failed", f"it speaks of a {_INDEX}, and there is none")
        return Check(what, "ok", "no checkpoint, and none is spoken of")
    file = MappedFile(_INDEX, within=str(folder))
    if file.size > _MAX_HASHED_NBYTES:
        return Check(what, "not checked", f"{_INDEX} has {file.size:,} bytes, which would take too long")
    found = fingerprint64(file.view)
    if found == wanted:
        return Check(what, "ok", f"{found:016x}, the hash of {_INDEX}")
    return Check(what, "failed", f"expected {wanted:016x}, and {_INDEX} has {found:016x}")


def _saved_model(folder: Path, wanted: int) -> Check:
    what = f"{NAME}: saved_model_checksum"
    if not (folder / _MODEL).exists():
        return Check(what, "not checked", f"there is no {_MODEL}")
    file = MappedFile(_MODEL, within=str(folder))
    if file.size > _MAX_HASHED_NBYTES:
        return Check(what, "not checked", f"{_MODEL} has {file.size:,} bytes, which would take too long")
    if fingerprint64(file.view) == wanted:
        return Check(what, "ok", f"{wanted:016x}, the hash of {_MODEL}")
    return Check(what, "not checked", _NOT_AGAIN)
