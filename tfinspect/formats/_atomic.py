"""Writing files and folders whole or not at all.

What is written stands beside its place under a name of its own until it is complete and on disk; then it is renamed. A
symbolic link in its place is replaced, and what it points to is left alone.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import secrets
import shlex
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Final

from tfinspect.errors import OutputError, OutputExistsError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping


_STEM_CHARS = 40
_AT_FDCWD: Final = -100  # fcntl.h
_RENAME_NOREPLACE, _RENAME_EXCHANGE = 1, 2  # linux/fs.h
_NO_FLUSH: Final = frozenset({errno.EINVAL, errno.ENOTSUP, errno.ENOSYS})  # file systems that cannot flush a folder


def ensure_absent(path: str | os.PathLike[str], *, force: bool) -> None:
    """Refuse early, before hours of work, an output that exists.

    Raises:
        OutputExistsError: it exists and `force` is not set.
        OutputError: the path names no file, or its folder does not exist or cannot be written.
    """
    name = os.fspath(path)
    target = Path(path)
    if not target.name or target.name == ".." or "\0" in name:
        raise OutputError(f"`{name}` does not name a file to write", evidence={"path": name})
    if os.path.lexists(target) and not force:
        raise _exists(target)
    folder = target.parent
    if not os.path.isdir(folder):  # noqa: PTH112 - Path.is_dir raises where a parent may not be searched
        raise OutputError(
            f"{folder} is not a folder", hint=f"mkdir -p {shlex.quote(str(folder))}", evidence={"path": str(target)}
        )
    if not os.access(folder, os.W_OK | os.X_OK):
        raise OutputError(f"{folder} is not writable", evidence={"path": str(target)})


def _exists(target: Path) -> OutputExistsError:
    return OutputExistsError(
        f"{target} exists", hint="add --force to replace it, or -o for another name", evidence={"path": str(target)}
    )


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


def write_together(files: Mapping[str | os.PathLike[str], bytes], *, force: bool = False) -> None:
    """Write several files: all are on disk beside their places before the first is moved to its own.

    Raises:
        OutputExistsError: one of them exists and `force` is not set.
        OutputError: one cannot be written; nothing is left behind that was not there before.
    """
    for path in files:
        ensure_absent(path, force=force)
    with contextlib.ExitStack() as stack:
        ready = []
        for path, data in files.items():
            target = Path(path)
            temporary = stack.enter_context(staged(target))
            with output_errors(target), temporary.open("xb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            ready.append((temporary, target, os.path.lexists(target)))
        moved: list[Path] = []
        try:
            for temporary, target, was_there in ready:
                publish(temporary, target, force=force)
                if not was_there:
                    moved.append(target)
        except BaseException:
            for target in moved:
                target.unlink(missing_ok=True)
            raise


@contextlib.contextmanager
def staged(target: str | os.PathLike[str]) -> Iterator[Path]:
    """Give a name beside `target` to build the output under; whatever still stands there at the end is removed."""
    place = Path(target)
    stem = place.name[:_STEM_CHARS]  # a name may have 255 bytes, and the output's may take them all
    temporary = place.with_name(f".{stem}.{os.getpid()}-{secrets.token_hex(4)}.tmp")
    try:
        yield temporary
    finally:
        if temporary.is_dir() and not temporary.is_symlink():
            shutil.rmtree(temporary, ignore_errors=True)
        else:
            with contextlib.suppress(OSError):  # nothing is there, or what failed before is what counts
                temporary.unlink()


def publish(temporary: Path, target: str | os.PathLike[str], *, force: bool) -> None:
    """Move a finished file or folder to its place in one step and make the move durable.

    Raises:
        OutputExistsError: something appeared there meanwhile and `force` is not set.
        OutputError: the move failed; what stood there stands there still.
    """
    place = Path(target)
    with output_errors(place):
        if temporary.is_dir() and not temporary.is_symlink():
            for root, _, names in os.walk(temporary):
                for name in (*names, ""):
                    _flush(Path(root, name))
        if force:
            _replace(temporary, place)
        else:
            _move_to_free_name(temporary, place)
    try:
        _flush(place.parent)
    except PermissionError:
        pass  # one may write to a folder that one may not read; the move is done all the same
    except OSError as error:
        if error.errno not in _NO_FLUSH:
            raise OutputError(
                f"{place} is written, but its folder cannot be flushed to disk: {_reason(error)}",
                hint="after a power failure it may be gone: check the disk",
                evidence={"path": str(place)},
            ) from error


def _flush(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _move_to_free_name(temporary: Path, place: Path) -> None:
    """Rename where nothing stands under the new name; a plain rename would replace what appears there meanwhile."""
    try:
        if _rename(temporary, place, _RENAME_NOREPLACE):
            return
        if not temporary.is_dir() and _link(temporary, place):
            temporary.unlink()
            return
    except FileExistsError:
        raise _exists(place) from None
    if os.path.lexists(place):
        raise _exists(place)
    temporary.rename(place)


def _link(source: Path, target: Path) -> bool:
    """Give a file a second name, which must be free; False where the file system knows no such thing."""
    try:
        os.link(source, target)
    except OSError as error:
        if error.errno in {errno.EPERM, errno.ENOTSUP, errno.ENOSYS, errno.EMLINK}:
            return False
        raise
    return True


def _replace(temporary: Path, place: Path) -> None:
    if not temporary.is_dir():
        temporary.replace(place)
        return
    if not os.path.lexists(place):
        temporary.rename(place)
        return
    # old and new are swapped in one step; the old one then stands under the temporary name, and goes with it
    if _rename(temporary, place, _RENAME_EXCHANGE):
        return
    old = temporary.with_name(temporary.name + ".old")
    place.rename(old)
    try:
        temporary.rename(place)
    except OSError:
        old.rename(place)
        raise
    if old.is_dir() and not old.is_symlink():
        shutil.rmtree(old, ignore_errors=True)
    else:
        old.unlink()


def _rename(source: Path, target: Path, flag: int) -> bool:
    """Rename with a flag of renameat2(2); False where the system or the file system has no such thing.

    Raises:
        OSError: it failed for another reason.
    """
    function = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    if function is None:
        return False
    if function(_AT_FDCWD, os.fsencode(source), _AT_FDCWD, os.fsencode(target), flag) == 0:
        return True
    number = ctypes.get_errno()
    if number in {errno.ENOSYS, errno.EINVAL, errno.ENOTSUP}:
        return False
    raise OSError(number, os.strerror(number), str(target))


@contextlib.contextmanager
def output_errors(target: Path) -> Iterator[None]:
    """Turn an OSError of writing into an OutputError that names the output."""
    try:
        yield
    except OSError as error:
        raise OutputError(
            f"{target} cannot be written: {_reason(error)}", evidence={"path": str(target), "errno": error.errno}
        ) from error


def _reason(error: OSError) -> str:
    return (error.strerror or str(error)).lower()
