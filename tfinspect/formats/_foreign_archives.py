"""Archives that people hand over in place of the model in them: what is inside, and the commands that get it out."""

from __future__ import annotations

import os
import zlib
from typing import TYPE_CHECKING, Final

from tfinspect.errors import TfinspectError
from tfinspect.formats._file import open_regular
from tfinspect.formats._foreign_kind import EXPORT_TO_ONNX, Kind

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator

_SHOWN = 6
_BLOCK = 512
_TAR_MAGIC: Final = slice(257, 262)
_MAX_HEADERS = 1000
_MAX_INFLATED = 4 << 20
_PYTORCH: Final = Kind("a PyTorch file", EXPORT_TO_ONNX)
_HEAD_HINT: Final = "a head is an .npz file with the arrays `weights` and `biases`"
_EXPORT_AGAIN: Final = "where the model was made, write it as a SavedModel: model.export('FOLDER')"
_MODEL_SUFFIXES: Final = (
    ".pb", ".pbtxt", ".meta", ".index", ".ckpt", ".h5", ".hdf5", ".keras", ".onnx", ".tflite", ".lite",
)  # fmt: skip
_NO_MODELS: Final = ("keras_metadata.pb", "fingerprint.pb", "variables/variables.index")


def zip_names(path: str) -> Collection[str] | None:
    """Return the names in a zip archive, or None where it is damaged."""
    from tfinspect.formats._zip import Archive

    try:
        return Archive(path).names
    except TfinspectError:
        return None


def zip_kind(path: str) -> Kind:
    """Return what a zip archive is that is no model."""
    from tfinspect.formats._zip import Archive

    try:
        archive = Archive(path)
    except TfinspectError as error:
        return Kind("a damaged zip archive", "copy or download it again", (str(error).removeprefix(f"{path} "),))
    names = archive.names
    leaves = {name.rsplit("/", 1)[-1] for name in names}
    if {"metadata.json", "config.json"} <= leaves:  # one that stands by itself is read
        return Kind("a zip archive with a Keras 3 model (.keras) unpacked in it", _EXPORT_AGAIN)
    if "constants.pkl" in leaves and "data.pkl" in leaves:
        return Kind("a TorchScript model", EXPORT_TO_ONNX)
    if "data.pkl" in leaves:
        return _PYTORCH
    if "MAR-INF/MANIFEST.json" in names:
        return Kind("a TorchServe archive (.mar)", EXPORT_TO_ONNX)
    if names and all(name.endswith(".npy") for name in names):
        if "features.npy" in names:
            return Kind("a NumPy archive of features", _HEAD_HINT)
        arrays = ", ".join(sorted(n.removesuffix(".npy") for n in names)[:_SHOWN])
        return Kind(
            "a NumPy archive, but not a head: it has no array named `weights` or `0/weights`",
            f"arrays in it: {arrays}".replace("{", "(").replace("}", ")"),
        )
    if archive.risks:
        risk = archive.risks[0]
        return Kind("a zip archive", f"do not unpack it: `{_flat(risk.where)}` {risk.what}", _listed(names))
    return _packed("a zip archive", "unzip {path} -d {stem}", names)


def gzip_kind(path: str) -> Kind:
    """Return what is in a file compressed with gzip, as far as four megabytes of it tell."""
    inside = _inflated(path)
    if inside[_TAR_MAGIC] == b"ustar":
        at = 0

        def block() -> bytes:
            return inside[at : at + _BLOCK]

        names: list[str] = []
        while len(names) < _MAX_HEADERS and (entry := _entry(block())):
            name, nbytes = entry
            if name:
                names.append(name)
            at += _BLOCK + -(-nbytes // _BLOCK) * _BLOCK
        return _packed("a gzip-compressed tar archive", "mkdir -p {stem} && tar -xzf {path} -C {stem}", names)
    return Kind("compressed with gzip", "gunzip -c {path} > {stem}")


def tar_kind(path: str) -> Kind:
    """Return what is in a tar archive."""
    return _packed("a tar archive", "mkdir -p {stem} && tar -xf {path} -C {stem}", list(_tar_names(path)))


def _packed(title: str, unpack: str, names: Collection[str]) -> Kind:
    inside = _model_in(names)
    if inside is None:
        return Kind(title, f"tfinspect reads what is inside: {unpack}", _listed(names))
    return Kind(title, f"{unpack} && tfinspect info {{inside}}", _listed(names), inside)


def _listed(names: Collection[str]) -> tuple[str, ...]:
    shown = ", ".join(list(names)[:_SHOWN])
    rest = len(names) - _SHOWN
    return (f"inside: {shown}{f' and {rest:,} more' if rest > 0 else ''}",) if names else ()


def _model_in(names: Iterable[str]) -> str | None:
    """Return the model among the names of an archive: the folder of a SavedModel, or the first file of a known kind."""
    safe = [name for name in names if not name.startswith("/") and ".." not in name.split("/")]
    saved = [name for name in safe if name.rsplit("/", 1)[-1] in {"saved_model.pb", "saved_model.pbtxt"}]
    if saved:
        return min(saved, key=lambda name: name.count("/")).rpartition("/")[0] or "."
    found = [name for name in safe if name.lower().endswith(_MODEL_SUFFIXES) and not name.endswith(_NO_MODELS)]
    return min(found, key=lambda name: name.count("/")) if found else None


def _flat(text: str) -> str:
    return text.replace("{", "(").replace("}", ")")


def _inflated(path: str) -> bytes:
    engine = zlib.decompressobj(wbits=31)
    pieces, total = [], 0
    with os.fdopen(open_regular(path), "rb") as file:
        while total < _MAX_INFLATED and not engine.eof and (packed := file.read(1 << 16)):
            try:
                pieces.append(engine.decompress(packed, _MAX_INFLATED - total))
            except zlib.error:
                break
            total += len(pieces[-1])
    return b"".join(pieces)


def _entry(header: bytes) -> tuple[str, int] | None:
    """Return name and size of a member of a tar archive; no name for folders, links and notes of tar itself."""
    if len(header) < _BLOCK or header[_TAR_MAGIC] != b"ustar":
        return None
    digits = header[124:136].rstrip(b"\0 ")
    try:
        nbytes = int(digits, 8) if digits else 0
    except ValueError:
        return None
    name = header[:100].split(b"\0", 1)[0].decode("utf-8", "replace")
    prefix = header[345:500].split(b"\0", 1)[0].decode("utf-8", "replace")
    is_file = header[156:157] in {b"0", b"\0"}
    whole = f"{prefix}/{name}" if prefix and header[262:263] == b"\0" and header[263:265] == b"00" else name
    return (whole.removeprefix("./") if is_file else ""), nbytes


def _tar_names(path: str) -> Iterator[str]:
    descriptor = open_regular(path)
    try:
        at = 0
        for _ in range(_MAX_HEADERS):
            entry = _entry(os.pread(descriptor, _BLOCK, at))
            if entry is None:
                return
            if entry[0]:
                yield entry[0]
            at += _BLOCK + -(-entry[1] // _BLOCK) * _BLOCK
    finally:
        os.close(descriptor)


BY_MAGIC: Final[tuple[tuple[int, bytes, Callable[[str], Kind]], ...]] = (
    (0, b"\x1f\x8b", gzip_kind),
    (0, b"PK\x03\x04", zip_kind),
    (0, b"PK\x05\x06", zip_kind),
    (257, b"ustar", tar_kind),
)
"""Offset and bytes that an archive begins with, and what tells more of it."""
