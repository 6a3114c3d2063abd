"""Writing files and folders whole or not at all."""

from __future__ import annotations

import contextlib
import ctypes
import os
import secrets
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from tfinspect.errors import OutputError, OutputExistsError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator


def ensure_absent(path: str | os.PathLike[str], *, force: bool) -> None:
    """Refuse early, before hours of work, an output that exists.

    Raises:
        OutputExistsError: it exists and `force` is not set.
        OutputError: its folder does not exist or cannot be written.
    """
    target = Path(path)
    if os.path.lexists(target) and not force:
        raise OutputExistsError(
            f"{target} exists", hint="add --force to replace it, or -o for another name", evidence={"path": str(target)}
        )
    folder = target.parent
    if not folder.is_dir():
        raise OutputError(f"{folder} is not a folder", hint=f"mkdir -p {folder}", evidence={"path": str(target)})
    if not os.access(folder, os.W_OK | os.X_OK):
        raise OutputError(f"{folder} is not writable", evidence={"path": str(target)})


def write_file(path: str | os.PathLike[str], pieces: Iterable[bytes | memoryview], *, force: bool = False) -> int:
    """Write a file beside its place, flush it to disk, and rename it there.

    Returns:
        Bytes written.

    Raises:
        OutputExistsError: the file exists and `force` is not set.
        OutputError: it cannot be written; nothing is left behind.
    """
    ensure_absent(path, force=force)
    target = Path(path)
    size = 0
    with staged(target) as temporary, output_errors(target):
        with temporary.open("xb") as file:
            for piece in pieces:
                size += file.write(piece)
            file.flush()
            os.fsync(file.fileno())
        publish(temporary, target, force=force)
    return size


@contextlib.contextmanager
def staged(target: str | os.PathLike[str]) -> Iterator[Path]:
    """Give a name beside `target` to build the output under; whatever still stands there at the end is removed."""
    place = Path(target)
    temporary = place.with_name(f".{place.name}.{os.getpid()}-{secrets.token_hex(4)}.tmp")
    try:
        yield temporary
    finally:
        if temporary.is_dir() and not temporary.is_symlink():
            shutil.rmtree(temporary, ignore_errors=True)
        else:
            with contextlib.suppress(FileNotFoundError):
                temporary.unlink()


def publish(temporary: Path, target: str | os.PathLike[str], *, force: bool) -> None:
    """Move a finished file or folder to its place in one step and make the move durable.

    Raises:
        OutputExistsError: something appeared there meanwhile and `force` is not set.
        OutputError: the move failed; what stood there stands there still.
    """
    place = Path(target)
    with output_errors(place):
        if temporary.is_dir():
            _publish_folder(temporary, place, force=force)
        elif force:
            temporary.replace(place)
        else:
            try:
                os.link(temporary, place)  # fails where the name is taken, which rename would not
            except FileExistsError:
                raise OutputExistsError(f"{place} exists", hint="add --force to replace it") from None
            except OSError:  # a file system without hard links
                temporary.rename(place)
            else:
                temporary.unlink()
        descriptor = os.open(place.parent, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _publish_folder(temporary: Path, place: Path, *, force: bool) -> None:
    for root, _, names in os.walk(temporary):
        for name in names:
            descriptor = os.open(Path(root, name), os.O_RDONLY)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
    if not os.path.lexists(place):
        temporary.rename(place)
        return
    if not force:
        raise OutputExistsError(f"{place} exists", hint="add --force to replace it")
    # RENAME_EXCHANGE swaps old and new in one step; the old one then stands under the temporary name and is removed
    libc = ctypes.CDLL(None, use_errno=True)
    exchange = getattr(libc, "renameat2", None)
    at_cwd, rename_exchange = -100, 2
    if exchange is not None and (
        exchange(at_cwd, os.fsencode(temporary), at_cwd, os.fsencode(place), rename_exchange) == 0
    ):
        return
    old = temporary.with_name(temporary.name + ".old")
    place.rename(old)
    temporary.rename(place)
    if old.is_dir():
        shutil.rmtree(old)
    else:
        old.unlink()


@contextlib.contextmanager
def output_errors(target: Path) -> Iterator[None]:
    """Turn an OSError of writing into an OutputError that names the output."""
    try:
        yield
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise OutputError(f"{target} cannot be written: {reason}", evidence={"path": str(target)}) from error
