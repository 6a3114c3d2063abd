"""Outputs appear whole or not at all, whatever fails while they are written."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tfinspect import formats
from tfinspect.errors import OutputError, OutputExistsError
from tfinspect.formats import _atomic

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

CODES = [errno.ENOSPC, errno.EACCES, errno.EIO]


def listed(folder: Path) -> dict[str, str]:
    """Everything below a folder: content of files, targets of links."""
    return {
        str(p.relative_to(folder)): f"-> {p.readlink()}" if p.is_symlink() else p.read_text() if p.is_file() else "/"
        for p in sorted(folder.rglob("*"))
    }


def write_file(target: Path, *, force: bool) -> None:
    _atomic.write_file(target, [b"ne", memoryview(b"w")], force=force)


def write_folder(target: Path, *, force: bool) -> None:
    _atomic.ensure_absent(target, force=force)
    with _atomic.staged(target) as temporary, _atomic.output_errors(target):
        (temporary / "inner").mkdir(parents=True)
        (temporary / "inner" / "file").write_text("new")
        _atomic.publish(temporary, target, force=force)


WRITERS = {"file": write_file, "folder": write_folder}
NEW = {"file": {"out": "new"}, "folder": {"out": "/", "out/inner": "/", "out/inner/file": "new"}}
Writer = Any


@pytest.fixture(params=WRITERS)
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(params=["renameat2", "without renameat2"])
def system(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    if request.param != "renameat2":
        monkeypatch.setattr(_atomic, "_rename", lambda *_: False)
    return str(request.param)


def make_old(target: Path, kind: str) -> None:
    if kind == "file":
        target.write_text("old")
    else:
        target.mkdir()
        (target / "old").write_text("old")


@pytest.mark.usefixtures("system")
def test_new_outputs(kind: str, tmp_path: Path) -> None:
    WRITERS[kind](tmp_path / "out", force=False)
    assert listed(tmp_path) == NEW[kind]


@pytest.mark.usefixtures("system")
def test_what_exists_is_kept_and_replaced_only_by_force(kind: str, tmp_path: Path) -> None:
    make_old(tmp_path / "out", kind)
    before = listed(tmp_path)
    with pytest.raises(OutputExistsError) as caught:
        WRITERS[kind](tmp_path / "out", force=False)
    assert caught.value.message == f"{tmp_path / 'out'} exists"
    assert caught.value.hint == "add --force to replace it, or -o for another name"
    assert listed(tmp_path) == before
    WRITERS[kind](tmp_path / "out", force=True)
    assert listed(tmp_path) == NEW[kind]


@pytest.mark.usefixtures("system")
def test_force_where_nothing_stands(kind: str, tmp_path: Path) -> None:
    WRITERS[kind](tmp_path / "out", force=True)
    assert listed(tmp_path) == NEW[kind]


@pytest.mark.usefixtures("system")
def test_a_folder_takes_the_place_of_a_file_but_not_the_other_way_round(tmp_path: Path) -> None:
    make_old(tmp_path / "out", "file")
    write_folder(tmp_path / "out", force=True)
    assert listed(tmp_path) == NEW["folder"]
    with pytest.raises(OutputError, match="out cannot be written: is a directory"):
        write_file(tmp_path / "out", force=True)
    assert listed(tmp_path) == NEW["folder"]


@pytest.mark.usefixtures("system")
@pytest.mark.parametrize("target", ["elsewhere", "nowhere"])
def test_a_symbolic_link_is_replaced_and_what_it_points_to_is_left_alone(
    kind: str, target: str, tmp_path: Path
) -> None:
    make_old(tmp_path / "elsewhere", kind)
    (tmp_path / "out").symlink_to(target)
    kept = {name: text for name, text in listed(tmp_path).items() if name != "out"}
    with pytest.raises(OutputExistsError):
        WRITERS[kind](tmp_path / "out", force=False)
    WRITERS[kind](tmp_path / "out", force=True)
    assert not (tmp_path / "out").is_symlink()
    assert listed(tmp_path) == {**kept, **NEW[kind]}


@pytest.mark.usefixtures("system")
@pytest.mark.parametrize("appears", ["file", "folder"])
def test_what_appears_meanwhile_is_not_overwritten(
    kind: str, appears: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = os.fsync

    def appear_first(descriptor: int) -> None:
        original(descriptor)
        if not (tmp_path / "out").exists():
            make_old(tmp_path / "out", appears)

    monkeypatch.setattr(os, "fsync", appear_first)
    with pytest.raises(OutputExistsError):
        WRITERS[kind](tmp_path / "out", force=False)
    assert listed(tmp_path) == ({"out": "old"} if appears == "file" else {"out": "/", "out/old": "old"})


FAILING: dict[str, tuple[Any, str]] = {
    "fsync": (os, "fsync"),
    "open": (os, "open"),
    "rename": (_atomic, "_rename"),
    "replace": (Path, "replace"),
    "plain rename": (Path, "rename"),
    "link": (os, "link"),
    "mkdir": (Path, "mkdir"),
    "write_text": (Path, "write_text"),
}


def fail_at(monkeypatch: pytest.MonkeyPatch, place: str, code: int, after: int) -> Callable[[], int]:
    """Make the (after+1)-th call fail."""
    owner, name = FAILING[place]
    original = getattr(owner, name)
    calls = 0

    def failing(*args: Any, **kwargs: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == after + 1:
            raise OSError(code, os.strerror(code))
        return original(*args, **kwargs)

    monkeypatch.setattr(owner, name, failing)
    return lambda: calls


@pytest.mark.usefixtures("system")
@pytest.mark.parametrize("code", CODES, ids=errno.errorcode.get)
@pytest.mark.parametrize("place", FAILING)
@pytest.mark.parametrize("exists", [False, True], ids=["new", "replacing"])
def test_every_call_may_fail(
    kind: str, *, exists: bool, place: str, code: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for after in range(6):
        folder = tmp_path / str(after)
        folder.mkdir()
        if exists:
            make_old(folder / "out", kind)
        old = listed(folder)
        with monkeypatch.context() as patch:
            calls = fail_at(patch, place, code, after)
            try:
                WRITERS[kind](folder / "out", force=exists)
            except OutputError as error:
                assert str(folder / "out") in error.message  # noqa: PT017 - what is not called cannot fail
                assert os.strerror(code).lower() in error.message  # noqa: PT017
                complete = "is written, but" in error.message
                assert listed(folder) == (NEW[kind] if complete else old)
            else:
                # removing what was replaced may fail without harm to the output; and a folder that one may not read is
                # no reason to fail, nor is a file system without hard links
                found = {name: text for name, text in listed(folder).items() if not name.startswith(".out.")}
                assert found == NEW[kind]
                assert calls() <= after or place in {"open", "link", "fsync"}


@pytest.mark.parametrize("code", CODES, ids=errno.errorcode.get)
def test_a_full_disk_in_the_middle_of_a_write(code: int, tmp_path: Path) -> None:
    full = Path("/dev/full")

    def pieces() -> Iterator[bytes]:
        yield b"x" * 100_000
        if code == errno.ENOSPC and full.exists():  # the real thing
            with full.open("wb") as file:
                file.write(b"x" * 100_000)
        raise OSError(code, os.strerror(code))

    with pytest.raises(OutputError, match=f"out cannot be written: {os.strerror(code).lower()}$"):
        _atomic.write_file(tmp_path / "out", pieces())
    assert listed(tmp_path) == {}


@pytest.mark.parametrize("cls", [KeyboardInterrupt, RuntimeError, SystemExit])
def test_nothing_is_left_by_an_interruption(cls: type[BaseException], tmp_path: Path) -> None:
    def pieces() -> Iterator[bytes]:
        yield b"x" * 100_000
        raise cls

    (tmp_path / "out").write_text("old")
    with pytest.raises(cls):
        _atomic.write_file(tmp_path / "out", pieces(), force=True)
    assert listed(tmp_path) == {"out": "old"}


def test_a_missing_folder_and_names_that_are_none(tmp_path: Path) -> None:
    with pytest.raises(OutputError) as caught:
        _atomic.write_file(tmp_path / "a b" / "out", [b"x"])
    assert caught.value.message == f"{tmp_path / 'a b'} is not a folder"
    assert caught.value.hint == f"mkdir -p '{tmp_path / 'a b'}'"
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="file is not a folder"):
        _atomic.write_file(tmp_path / "file" / "out", [b"x"])
    for name in ("", ".", "..", "/", f"{tmp_path}/a\0b"):
        for force in (False, True):
            with pytest.raises(OutputError, match="does not name a file to write"):
                _atomic.write_file(name, [b"x"], force=force)
    with pytest.raises(OutputError, match="cannot be written: file name too long"):
        _atomic.write_file(tmp_path / ("x" * 256), [b"x"])
    assert listed(tmp_path) == {"file": ""}


def test_a_read_only_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "access", lambda *_: False)  # the tests may run as root
    with pytest.raises(OutputError, match=f"{tmp_path} is not writable$"):
        formats.write_text(tmp_path / "out", "x")


@pytest.mark.parametrize("name", ["x" * 255, "\N{GREEK SMALL LETTER ALPHA}" * 127, "a b'c\n"])
def test_long_and_odd_names(name: str, tmp_path: Path) -> None:
    formats.write_text(tmp_path / name, "text")
    assert listed(tmp_path) == {name: "text"}


def test_permissions_are_those_of_any_new_file(tmp_path: Path) -> None:
    (tmp_path / "plain").touch()
    formats.write_text(tmp_path / "out", "text")
    assert stat.S_IMODE((tmp_path / "out").stat().st_mode) == stat.S_IMODE((tmp_path / "plain").stat().st_mode)


def test_the_size_is_returned(tmp_path: Path) -> None:
    assert _atomic.write_file(tmp_path / "out", [b"abc", memoryview(b"de"), b""]) == 5


def test_a_reader_sees_old_or_new_while_a_folder_is_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_old(tmp_path / "out", "folder")
    original = _atomic._rename
    seen = []

    def watched(source: Path, target: Path, flag: int) -> bool:
        seen.append(sorted(p.name for p in (tmp_path / "out").iterdir()))
        done = original(source, target, flag)
        seen.append(sorted(p.name for p in (tmp_path / "out").iterdir()))
        return done

    monkeypatch.setattr(_atomic, "_rename", watched)
    write_folder(tmp_path / "out", force=True)
    if seen[1:] == [["old"]]:
        pytest.skip("no renameat2 here")
    assert seen == [["old"], ["inner"]]
