"""Files that people hand over in place of a model: what they are, and what to do about it."""

from __future__ import annotations

import os
import shlex
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from tfinspect.errors import TfinspectError, UnknownFormatError
from tfinspect.formats._file import MappedFile, head_and_tail

if TYPE_CHECKING:
    from collections.abc import Collection

_HEAD_NBYTES = 1024
_TAR_MAGIC = slice(257, 262)


@dataclass(frozen=True, slots=True)
class _Kind:
    """What a file is.

    Attributes:
        title: with its article, as in "... is a JPEG image".
        hint: what to do; `{path}` and `{stem}` are filled in, quoted for a shell.
    """

    title: str
    hint: str = ""


_EXPORT_AGAIN = "where the model was made, write it as a SavedModel: model.export('FOLDER')"
_UNZIP = "tfinspect reads what is inside: unzip {path} -d {stem}"
_UNTAR = "tfinspect reads what is inside: tar -xf {path}"
_DOWNLOAD_AGAIN = "a page was saved in place of the file: download it again, with curl -fL from the file's own address"
_NAME_THE_MODEL = "name the model, not what it is fed with"

_MAGIC: Final = (
    (0, b"version https://git-lfs.github.com/spec/", _Kind("a Git LFS pointer, not the file itself", "git lfs pull")),
    (0, b"version https://hawser.github.com/spec/", _Kind("a Git LFS pointer, not the file itself", "git lfs pull")),
    (0, b"\xff\xd8\xff", _Kind("a JPEG image", _NAME_THE_MODEL)),
    (0, b"\x89PNG\r\n\x1a\n", _Kind("a PNG image", _NAME_THE_MODEL)),
    (0, b"GIF8", _Kind("a GIF image", _NAME_THE_MODEL)),
    (0, b"BZh", _Kind("compressed with bzip2", "bunzip2 -k {path}")),
    (0, b"\xfd7zXZ\x00", _Kind("compressed with xz", "unxz -k {path}")),
    (0, b"\x28\xb5\x2f\xfd", _Kind("compressed with Zstandard", "unzstd {path}")),
    (0, b"7z\xbc\xaf\x27\x1c", _Kind("a 7-Zip archive", "7z x {path}")),
    (0, b"Rar!", _Kind("a RAR archive", "unrar x {path}")),
    (0, b"\x93NUMPY", _Kind("a NumPy array (.npy)", "a head is an .npz file with the arrays `weights` and `biases`")),
    (0, b"\x7fELF", _Kind("a program, not a model")),
    (0, b"%PDF", _Kind("a PDF document")),
    (4, b"TFL3", _Kind("a TensorFlow Lite model", "use the model it was converted from: a .pb or a SavedModel")),
    (257, b"ustar", _Kind("a tar archive", _UNTAR)),
)
_PYTORCH_MAGIC = b"l\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19"  # first thing in files of torch.save before 1.6
_PICKLE = _Kind("a Python pickle", "loading it would run code from it; export the model to ONNX where it was made")
_PYTORCH = _Kind("a PyTorch file", "loading it would run code from it; export the model to ONNX where it was made")


def unknown(path: str) -> UnknownFormatError:
    """Return the error that says what a file is that is no model, with its size and first and last bytes."""
    head, _, size = head_and_tail(path, _HEAD_NBYTES)
    first, last, _ = head_and_tail(path)
    kind = _kind(path, head, size)
    name = Path(path).name
    stem = str(Path(path).with_suffix("")) if Path(path).suffix else path + ".d"
    return UnknownFormatError(
        f"{path} is {kind.title}",
        details=(f"{size:,} bytes", f"first bytes {first.hex(' ')}", f"last bytes  {last.hex(' ')}"),
        hint=kind.hint.format(path=shlex.quote(path), stem=shlex.quote(stem)) or None,
        evidence={
            "path": path,
            "name": name,
            "size": size,
            "kind": kind.title,
            "first_bytes": first.hex(),
            "last_bytes": last.hex(),
        },
    )


def _kind(path: str, head: bytes, size: int) -> _Kind:
    for offset, magic, kind in _MAGIC:
        if head.startswith(magic, offset):
            return kind
    if head.startswith(b"\x1f\x8b"):
        return _gzip(head)
    if head.startswith((b"PK\x03\x04", b"PK\x05\x06")):
        return _zip(path)
    if (names := _hdf5_names(path)) is not None:
        inside = ", ".join(names).replace("{", "(").replace("}", ")")
        return _Kind("an HDF5 file, but not one of Keras", f"in it: {inside}" if inside else "")
    if _PYTORCH_MAGIC in head[:32]:
        return _PYTORCH
    if head[:1] == b"\x80" and head[1:2] in {b"\x02", b"\x03", b"\x04", b"\x05"}:
        return _PICKLE
    if not head.strip(b"\0"):
        return _Kind(
            f"not a model: its first {len(head):,} bytes are all zero", "the download broke off; download it again"
        )
    return _text(head, size) or _Kind("of no format that tfinspect knows")


def _text(head: bytes, size: int) -> _Kind | None:
    start = head.removeprefix(b"\xef\xbb\xbf").lstrip()[:64].lower()
    if start.startswith((b"<!doctype html", b"<html", b"<head", b"<body")):
        return _Kind("an HTML page", _DOWNLOAD_AGAIN)
    if start.startswith((b"<?xml", b"<error")):
        return _Kind("XML text", _DOWNLOAD_AGAIN)
    try:
        text = head.decode("utf-8", "strict" if size <= len(head) else "ignore")
    except UnicodeDecodeError:
        return None
    if any(ord(c) < ord(" ") and c not in "\t\n\r\f" for c in text):
        return None
    if start.startswith((b"{", b"[")):
        return _Kind("JSON text")
    return _Kind("text, but not the text of a graph")


def _gzip(head: bytes) -> _Kind:
    try:
        inside = zlib.decompressobj(wbits=31).decompress(head, 512)
    except zlib.error:
        inside = b""
    if inside[_TAR_MAGIC] == b"ustar":
        return _Kind("a gzip-compressed tar archive", "tfinspect reads what is inside: tar -xzf {path}")
    return _Kind("compressed with gzip", "gunzip -c {path} > {stem}")


def _zip(path: str) -> _Kind:
    names = zip_names(path)
    if names is None:
        return _Kind("a damaged zip archive", "copy or download it again")
    leaves = {name.rsplit("/", 1)[-1] for name in names}
    if {"metadata.json", "config.json"} <= leaves:
        return _Kind("a Keras 3 archive (.keras)", _EXPORT_AGAIN)
    if "data.pkl" in leaves:
        return _PYTORCH
    if {"configuration.json", "coefficients.bin"} <= leaves:
        return _Kind("a Deeplearning4j model")
    if names and all(name.endswith(".npy") for name in names):
        if "features.npy" in names:
            return _Kind("a NumPy archive of features", "a head is an .npz file with the arrays `weights` and `biases`")
        return _Kind(
            "a NumPy archive, but not a head: it has no array named `weights` or `0/weights`",
            "arrays in it: "
            + ", ".join(sorted(n.removesuffix(".npy") for n in names)[:6]).replace("{", "(").replace("}", ")"),
        )
    return _Kind("a zip archive", _UNZIP)


def _hdf5_names(path: str) -> list[str] | None:
    """Return the first names in an HDF5 file, or None where it is none."""
    from tfinspect.formats import _hdf5

    view = MappedFile(path).view if os.path.getsize(path) else memoryview(b"")  # noqa: PTH202 - the path is text
    if _hdf5.find_superblock(view) is None:
        return None
    root = _hdf5.Hdf5(path, view).root
    return [f"`{name[:40]}`" for name in list(dict.fromkeys([*root.links, *root.attributes]))[:8]]


def zip_names(path: str) -> Collection[str] | None:
    """Return the names in a zip archive, or None where it is damaged."""
    from tfinspect.formats._zip import Archive

    try:
        return Archive(path).names
    except TfinspectError:
        return None
