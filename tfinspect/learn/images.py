"""Photos in folders, and their pixels.

JPEG is decoded as TensorFlow's DecodeJpeg decodes it, bit for bit: by libjpeg-turbo with its fast DCT and smooth
upsampling. What DecodeJpeg cannot take (PNG, GIF, BMP, WebP, CMYK of rarer kinds) goes through Pillow.
"""

from __future__ import annotations

import io
import os
import re
import stat
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from tfinspect.errors import FileMissingError, InputError, LimitError, RuntimeUnavailableError, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    import numpy as np
    import numpy.typing as npt

    Pixels = npt.NDArray[np.uint8]

SUFFIXES: Final = frozenset({".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".gif", ".bmp", ".webp"})
"""Names that are taken for images; what a file really is, its first bytes say."""
MAX_PIXELS: Final = 100_000_000
"""Width times height; what is larger is refused before memory is taken for it."""
MAX_NBYTES: Final = 1 << 28
"""Bytes of an image file."""

_MAGIC: Final = (
    (b"\xff\xd8\xff", "JPEG"), (b"\x89PNG\r\n\x1a\n", "PNG"), (b"GIF87a", "GIF"), (b"GIF89a", "GIF"), (b"BM", "BMP")
)  # fmt: skip
_GRAY, _COLOUR = 1, 3
_MARKER, _APP14, _SCAN = 0xFF, 0xEE, 0xDA
_HARMLESS = re.compile(r"(?i)corrupt jpeg data")  # what libjpeg, and so TensorFlow, warns of and goes on


@dataclass(frozen=True, slots=True)
class ImageFile:
    """One photo; there may be a hundred thousand of them, so what they share is kept once.

    Attributes:
        before: what stands before its name in its path; the same text for all of a folder.
        name: path from the folder, with `/` between parts; the same on every machine.
        label: number of its class.
    """

    before: str
    name: str
    label: int

    @property
    def path(self) -> str:
        """The file, or what its driver opens it by."""
        return self.before + self.name


@dataclass(frozen=True, slots=True)
class ImageFolder:
    """A folder with one sub-folder a class.

    Attributes:
        path: the folder.
        classes: names of the sub-folders, sorted.
        files: the images, by class and name.
        ignored: names of files that are no images by their suffix.
    """

    path: str
    classes: tuple[str, ...]
    files: tuple[ImageFile, ...]
    ignored: tuple[str, ...]


def image_folder(path: str | os.PathLike[str]) -> ImageFolder:
    """List the photos of a folder with one sub-folder a class.

    Raises:
        FileMissingError: there is no such folder.
        UsageError: it has no sub-folder with images, or just one.
    """
    top = os.fspath(path)
    if not Path(top).is_dir():
        words = "is not a folder" if Path(top).exists() else "does not exist"
        raise FileMissingError(f"{top} {words}", evidence={"path": top})
    before = before_names(top)
    names = [entry.name for entry in os.scandir(top) if not entry.is_dir()]
    for sub in sorted(entry.name for entry in os.scandir(top) if entry.is_dir()):
        for folder, folders, files in os.walk(before + sub):
            folders.sort()
            inside = folder[len(before) :].replace(os.sep, "/")
            names += [f"{inside}/{name}" for name in sorted(files)]
    return grouped(top, names, lambda _: before)


def before_names(folder: str | os.PathLike[str]) -> str:
    """Return what the path of a file in a folder starts with, up to its name."""
    return str(Path(folder, "x"))[:-1]


def grouped(top: str, names: Iterable[str], before: Callable[[str], str]) -> ImageFolder:
    """Sort the files of a folder by class.

    Args:
        top: the folder.
        names: paths of all files in it, `/` between parts, those of one class after each other.
        before: gives what stands before a name in what opens the file; the same object wherever it can.

    Raises:
        UsageError: it has no sub-folder with images, or just one.
    """
    found: dict[str, list[str]] = {}
    ignored: list[str] = []
    loose = 0
    for name in names:
        sub, inside, _ = name.partition("/")
        base = name[name.rfind("/") + 1 :]  # pathlib would keep every name for ever
        stem, _, suffix = base.rpartition(".")
        image = bool(stem) and f".{suffix.lower()}" in SUFFIXES
        if not inside:
            loose += image
        elif sub.startswith("."):
            continue
        elif image and not base.startswith("."):
            found.setdefault(sub, []).append(name)
        else:
            ignored.append(name)
    classes = tuple(found)
    if not classes:
        raise UsageError(
            f"{top} has no images in sub-folders",
            details=[f"{loose:,} images stand in {top} itself"] if loose else [],
            hint="make one sub-folder a class: daisy/, roses/, ...",
            evidence={"path": top, "loose": loose},
        )
    if len(classes) == 1:
        raise UsageError(
            f"{top} has images of one class only, `{classes[0]}`; there is nothing to tell apart",
            hint="make one sub-folder a class: daisy/, roses/, ...",
            evidence={"path": top, "classes": list(classes)},
        )
    files = tuple(ImageFile(before(name), name, label) for label, held in enumerate(found.values()) for name in held)
    return ImageFolder(top, classes, files, tuple(ignored))


def read_image(path: str | os.PathLike[str]) -> bytes:
    """Return the bytes of an image file.

    Raises:
        FileMissingError: it is not there, is no regular file, or may not be read.
        InputError: it is empty.
        LimitError: it is larger than any photo.
    """
    name = os.fspath(path)
    try:
        descriptor = os.open(name, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        with os.fdopen(descriptor, "rb") as file:
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode):
                raise FileMissingError(f"{name} is not a regular file", evidence={"path": name})
            if status.st_size > MAX_NBYTES:
                raise LimitError(
                    f"{name} has {status.st_size:,} bytes; an image of more than {MAX_NBYTES:,} is not read",
                    evidence={"path": name, "nbytes": status.st_size},
                )
            data = file.read()
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise FileMissingError(f"{name} cannot be read: {reason}", evidence={"path": name}) from None
    if not data:
        raise InputError(f"{name} is empty (0 bytes)", evidence={"path": name})
    return data


def kind(data: bytes) -> str:
    """Return `JPEG`, `PNG`, `GIF`, `BMP` or `WebP` by the first bytes of a file; empty where it is none of them."""
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "WebP"
    return next((name for magic, name in _MAGIC if data.startswith(magic)), "")


def decode(data: bytes, name: str, *, channels: int = _COLOUR, fast_dct: bool = True) -> Pixels:
    """Return the pixels of an image file, [height, width, channels]; of an animation its first frame.

    Args:
        data: bytes of the file.
        name: of the file, for messages.
        channels: 1 or 3.
        fast_dct: as DecodeJpeg has it unless its attribute `dct_method` is INTEGER_ACCURATE.

    Raises:
        InputError: it is no image, or damaged.
        LimitError: it has more than `MAX_PIXELS`.
        RuntimeUnavailableError: the image libraries are not installed.
    """
    found = kind(data)
    if not found:
        raise InputError(f"{name} is no JPEG, PNG, GIF, BMP or WebP image", evidence={"path": name})
    pixels = _jpeg(data, name, channels, fast_dct=fast_dct) if found == "JPEG" else None
    return _pillow(data, name, found, channels) if pixels is None else pixels


def _jpeg(data: bytes, name: str, channels: int, *, fast_dct: bool) -> Pixels | None:
    """Decode as DecodeJpeg does; None where it takes a colour space that only Pillow reads."""
    try:
        import simplejpeg
    except ImportError:
        raise _missing("simplejpeg") from None
    try:
        height, width, space, _ = simplejpeg.decode_jpeg_header(data)
    except ValueError as error:
        if "subsampling" in str(error):  # CMYK
            return None
        raise _damaged(name, "JPEG", error) from None
    _check_size(name, width, height)
    inks = space in {"CMYK", "YCCK"}
    if inks and channels == _GRAY:
        return None
    colours = "CMYK" if inks else "GRAY" if channels == _GRAY else "RGB"
    options = {"colorspace": colours, "fastdct": fast_dct, "fastupsample": False}
    try:
        pixels = simplejpeg.decode_jpeg(data, strict=True, **options)
    except ValueError as error:
        if not _HARMLESS.search(str(error)):
            raise _damaged(name, "JPEG", error) from None
        pixels = simplejpeg.decode_jpeg(data, strict=False, **options)
    found: Pixels = _of_inks(pixels, inverted=_has_adobe_marker(data)) if inks else pixels
    return found


def is_plain_jpeg(data: bytes) -> bool:
    """Whether a file is JPEG of a kind that is decoded bit for bit as TensorFlow does it."""
    import simplejpeg

    if kind(data) != "JPEG":
        return False
    try:
        simplejpeg.decode_jpeg_header(data)
    except ValueError:
        return False
    return True


def _of_inks(inks: Pixels, *, inverted: bool) -> Pixels:
    """Turn cyan, magenta, yellow and black into colours in whole numbers, as DecodeJpeg does."""
    import numpy as np

    values = inks.astype(np.uint16)
    if not inverted:
        values = 255 - values
    return (values[..., :_COLOUR] * values[..., _COLOUR:] // 255).astype(np.uint8)


def _has_adobe_marker(data: bytes) -> bool:
    """Whether the program was Adobe's, or writes as it does: the inks are inverted then."""
    place = 2
    while place + 9 <= len(data) and data[place] == _MARKER and data[place + 1] != _SCAN:
        if data[place + 1] == _APP14 and data[place + 4 : place + 9] == b"Adobe":
            return True
        place += 2 + int.from_bytes(data[place + 2 : place + 4], "big")
    return False


def _pillow(data: bytes, name: str, found: str, channels: int) -> Pixels:
    import numpy as np

    try:
        from PIL import Image, UnidentifiedImageError
    except ImportError:
        raise _missing("pillow") from None
    try:
        with warnings.catch_warnings(action="ignore"), Image.open(io.BytesIO(data), formats=[found]) as image:
            _check_size(name, *image.size)
            image.seek(0)
            opened: Any = image
            if image.mode.startswith("I;16") or image.mode == "I":  # 16 bits a pixel: the upper eight
                values = np.asarray(image).astype(np.uint32)
                opened = Image.fromarray((values >> 8).clip(0, 255).astype(np.uint8))
            array = np.asarray(opened.convert("L" if channels == _GRAY else "RGB"))
    except UnidentifiedImageError:  # its text is about an object of ours
        raise _damaged(name, found, ValueError("its header cannot be read")) from None
    except (OSError, SyntaxError, ValueError, EOFError) as error:
        raise _damaged(name, found, error) from None
    except Image.DecompressionBombError:
        raise LimitError(
            f"{name} has more than {MAX_PIXELS:,} pixels, and is not decoded", evidence={"path": name}
        ) from None
    pixels: Pixels = array[..., None] if channels == _GRAY else array
    return pixels


def _check_size(name: str, width: int, height: int) -> None:
    if width * height > MAX_PIXELS:
        raise LimitError(
            f"{name} has {width:,} x {height:,} pixels; more than {MAX_PIXELS:,} are not decoded",
            evidence={"path": name, "width": width, "height": height},
        )


def _damaged(name: str, found: str, error: Exception) -> InputError:
    words = (str(error).splitlines() or [""])[0].rstrip(".")
    words = words[:1].lower() + words[1:] if words[1:2].islower() else words
    return InputError(f"{name} is a damaged {found} image: {words}", evidence={"path": name, "format": found})


def _missing(package: str) -> RuntimeUnavailableError:
    return RuntimeUnavailableError(
        f"decoding images needs {package}, which is not installed",
        hint="pip install 'tfinspect[learn]'",
        evidence={"package": package},
    )


def encode_png(pixels: Pixels) -> bytes:
    """Return pixels as a PNG file, without loss.

    Raises:
        RuntimeUnavailableError: the image libraries are not installed.
    """
    try:
        from PIL import Image
    except ImportError:
        raise _missing("pillow") from None
    file = io.BytesIO()
    Image.fromarray(pixels[..., 0] if pixels.shape[-1] == _GRAY else pixels).save(file, "PNG", compress_level=1)
    return file.getvalue()
