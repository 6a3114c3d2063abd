"""Files that people hand over in place of a model: what they are, and what to do about it."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Final

from tfinspect.errors import UnknownFormatError
from tfinspect.formats._file import MappedFile, head_and_tail
from tfinspect.formats._foreign_archives import BY_MAGIC
from tfinspect.formats._foreign_binary import binary_kind
from tfinspect.formats._foreign_kind import NAME_THE_MODEL, Kind
from tfinspect.formats._foreign_text import text_kind

_HEAD_NBYTES = 1 << 13
_ZERO_NBYTES = 1 << 10

_EXPORT_AGAIN = "where the model was made, write it as a SavedModel: model.export('FOLDER')"

_MAGIC: Final = (
    (0, b"version https://git-lfs.github.com/spec/", Kind("a Git LFS pointer, not the file itself", "git lfs pull")),
    (0, b"version https://hawser.github.com/spec/", Kind("a Git LFS pointer, not the file itself", "git lfs pull")),
    (0, b"\xff\xd8\xff", Kind("a JPEG image", NAME_THE_MODEL)),
    (0, b"\x89PNG\r\n\x1a\n", Kind("a PNG image", NAME_THE_MODEL)),
    (0, b"GIF8", Kind("a GIF image", NAME_THE_MODEL)),
    (0, b"BZh", Kind("compressed with bzip2", "bunzip2 -k {path}")),
    (0, b"\xfd7zXZ\x00", Kind("compressed with xz", "unxz -k {path}")),
    (0, b"\x28\xb5\x2f\xfd", Kind("compressed with Zstandard", "unzstd {path}")),
    (0, b"7z\xbc\xaf\x27\x1c", Kind("a 7-Zip archive", "7z x {path}")),
    (0, b"Rar!", Kind("a RAR archive", "unrar x {path}")),
    (0, b"\x93NUMPY", Kind("a NumPy array (.npy)", "a head is an .npz file with the arrays `weights` and `biases`")),
    (0, b"\x7fELF", Kind("a program, not a model")),
    (0, b"%PDF", Kind("a PDF document")),
    (0, b"\xac\xed\x00\x05", Kind("a serialized Java object", "loading it could run code; save the model anew")),
    (
        0, b"\x83\xaf\x70\xd1\x0d\x88\x4a\x3f",
        Kind("a graph split into chunks (saved_model.cpb)", "write it again with less than 2 GB of constants"),
    ),
    (0, b"GGUF", Kind("a GGUF file (llama.cpp)")),
)  # fmt: skip


def unknown(path: str) -> UnknownFormatError:
    """Return the error that says what a file is that is no model, with its size and first and last bytes."""
    head, _, size = head_and_tail(path, _HEAD_NBYTES)
    first, last, _ = head_and_tail(path)
    kind = _kind(path, head, size)
    place = Path(path)
    stem = str(place.with_suffix("")) if place.suffix else path + ".d"
    if stem.endswith(".tar"):
        stem = stem.removesuffix(".tar")
    places = {"path": path, "stem": stem, "folder": str(place.parent), "inside": str(Path(stem, kind.inside))}
    hint = kind.hint
    if not hint and (place.parent / "saved_model.pb").is_file():
        hint = "tfinspect info {folder}"
    return UnknownFormatError(
        f"{path} is {kind.title}",
        details=(f"{size:,} bytes", f"first bytes {first.hex(' ')}", f"last bytes  {last.hex(' ')}", *kind.details),
        hint=hint.format(**{word: shlex.quote(value) for word, value in places.items()}) or None,
        evidence={
            "path": path,
            "name": place.name,
            "size": size,
            "kind": kind.title,
            "first_bytes": first.hex(),
            "last_bytes": last.hex(),
        },
    )


def _kind(path: str, head: bytes, size: int) -> Kind:
    for offset, magic, kind in _MAGIC:
        if head.startswith(magic, offset):
            return kind
    for offset, magic, tell in BY_MAGIC:
        if head.startswith(magic, offset):
            return tell(path)
    if (names := _hdf5_names(path)) is not None:
        inside = ", ".join(names).replace("{", "(").replace("}", ")")
        return Kind("an HDF5 file, but not one of Keras", f"in it: {inside}" if inside else "")
    zeros = head[:_ZERO_NBYTES]
    if not zeros.strip(b"\0"):
        return Kind(
            f"not a model: its first {len(zeros):,} bytes are all zero", "the download broke off; download it again"
        )
    return (
        binary_kind(head, size, MappedFile(path).view)
        or text_kind(head, size)
        or Kind("of no format that tfinspect knows")
    )


def _hdf5_names(path: str) -> list[str] | None:
    """Return the first names in an HDF5 file, or None where it is none."""
    from tfinspect.formats import _hdf5

    view = MappedFile(path).view
    if _hdf5.find_superblock(view) is None:
        return None
    root = _hdf5.Hdf5(path, view).root
    return [f"`{name[:40]}`" for name in list(dict.fromkeys([*root.links, *root.attributes]))[:8]]
