"""Features kept by content survive kills, torn writes, flipped bits and other runs; what is not whole is not there."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tfinspect.errors import OutputError
from tfinspect.learn.cache import KEY_NBYTES, FeatureCache, content_key

WIDTH = 5


def key(number: int) -> bytes:
    return content_key(str(number).encode())


def row(number: int) -> list[float]:
    return [number + i / 8 for i in range(WIDTH)]


def fill(folder: Path, numbers: range) -> None:
    with FeatureCache(folder) as cache:
        for start in range(numbers.start, numbers.stop, 4):
            part = range(start, min(start + 4, numbers.stop))
            cache.add([key(n) for n in part], np.array([row(n) for n in part], "f4"))


def found(folder: Path, numbers: range) -> dict[int, list[float]]:
    """What a new run finds; every row must be what was written."""
    with FeatureCache(folder) as cache:
        there = [n for n in numbers if key(n) in cache]
        assert len(cache) == len(there)
        parts = list(cache.rows([key(n) for n in there]))
        rows = np.concatenate(parts) if parts else np.empty((0, WIDTH))
    assert rows.tolist() == [row(n) for n in there]
    return dict(zip(there, rows.tolist(), strict=True))


def test_rows_come_back_in_the_order_asked_for(tmp_path: Path) -> None:
    fill(tmp_path / "a/b", range(10))
    with FeatureCache(tmp_path / "a/b") as cache:
        assert cache.width == WIDTH
        assert np.concatenate(list(cache.rows([key(7), key(2), key(7)]))).tolist() == [row(7), row(2), row(7)]
        with pytest.raises(KeyError):
            list(cache.rows([key(99)]))
    assert (tmp_path / "a/b").stat().st_mode & 0o777 == 0o700


def test_runs_add_to_each_other(tmp_path: Path) -> None:
    fill(tmp_path, range(3))
    fill(tmp_path, range(3, 9))
    assert len(found(tmp_path, range(20))) == 9
    with FeatureCache(tmp_path) as first, FeatureCache(tmp_path) as second:
        for cache in (first, second):
            cache.add([key(11)], np.array([row(11)], "f4"))
    assert len(found(tmp_path, range(20))) == 10


def test_many_rows_are_read_in_pieces(tmp_path: Path) -> None:
    with FeatureCache(tmp_path) as cache:
        cache.add([key(n) for n in range(1200)], np.arange(1200 * 1024, dtype="f4").reshape(1200, 1024))
        parts = list(cache.rows([key(n) for n in range(1200)]))
    assert len(parts) > 1
    assert (np.concatenate(parts) == np.arange(1200 * 1024, dtype="f4").reshape(1200, 1024)).all()


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(length=st.integers(0, 16 + 12 * (KEY_NBYTES + 4 + 4 * WIDTH)))
def test_what_was_cut_off_is_not_there_and_the_rest_is(tmp_path: Path, length: int) -> None:
    folder = Path(tempfile.mkdtemp(dir=tmp_path))
    fill(folder, range(12))
    (path,) = folder.iterdir()
    os.truncate(path, length)
    assert list(found(folder, range(12))) == list(range(max(0, length - 16) // (KEY_NBYTES + 4 + 4 * WIDTH)))
    fill(folder, range(12))
    assert len(found(folder, range(12))) == 12


def test_a_flipped_bit_loses_at_most_its_own_row(tmp_path: Path) -> None:
    fill(tmp_path, range(12))
    (path,) = tmp_path.iterdir()
    whole = path.read_bytes()
    for offset in range(len(whole)):
        damaged = bytearray(whole)
        damaged[offset] ^= 1 << offset % 8
        path.write_bytes(damaged)
        with FeatureCache(tmp_path) as cache:
            there = [n for n in range(12) if key(n) in cache]
            rows = np.concatenate(list(cache.rows([key(n) for n in there]))) if there else np.empty((0, WIDTH))
        assert rows.tolist() == [row(n) for n in there]
        assert len(there) >= 11 or offset < 12, offset


def test_strange_files_are_passed_over(tmp_path: Path) -> None:
    fill(tmp_path, range(2))
    (tmp_path / "1-1-0.rows").write_bytes(b"no rows")
    (tmp_path / "1-2-0.rows").mkdir()
    (tmp_path / "1-3-0.rows").symlink_to("/etc/passwd")
    os.mkfifo(tmp_path / "1-4-0.rows")
    assert len(found(tmp_path, range(2))) == 2


def test_many_runs_leave_few_files_open(tmp_path: Path) -> None:
    for n in range(40):
        fill(tmp_path, range(n, n + 1))
    with FeatureCache(tmp_path) as cache:
        before = len(list(Path("/proc/self/fd").iterdir()))
        for _ in range(2):
            rows = np.concatenate(list(cache.rows([key(n) for n in range(40)])))
        assert len(list(Path("/proc/self/fd").iterdir())) <= before + 16
    assert rows.tolist() == [row(n) for n in range(40)]


def test_a_damaged_header_does_not_shut_out_the_others(tmp_path: Path) -> None:
    fill(tmp_path, range(4))
    (path,) = tmp_path.iterdir()
    data = bytearray(path.read_bytes())
    data[8] ^= 2
    (tmp_path / "1-1-0.rows").write_bytes(data)
    assert len(found(tmp_path, range(4))) == 4


def test_rows_of_another_width_are_refused(tmp_path: Path) -> None:
    fill(tmp_path, range(2))
    with FeatureCache(tmp_path) as cache, pytest.raises(OutputError, match=r"holds rows of 5 features, not of 6$"):
        cache.add([key(5)], np.zeros((1, 6), "f4"))


WRITER = """
import sys
import numpy as np
from tfinspect.learn.cache import FeatureCache, content_key
with FeatureCache(sys.argv[1]) as cache:
    for n in range(1000000):
        cache.add([content_key(str(n).encode())], np.array([[n + i / 8 for i in range(5)]], "f4"))
        print(n, flush=True)
"""


def test_a_kill_loses_nothing_that_was_added(tmp_path: Path) -> None:
    process = subprocess.Popen([sys.executable, "-c", WRITER, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    with process.stdout:
        for line in process.stdout:
            if int(line) >= 300:
                break
        process.send_signal(signal.SIGKILL)
        said = int(([line, *process.stdout.read().split("\n")[:-1]])[-1])
    assert process.wait() == -signal.SIGKILL
    there = found(tmp_path, range(said + 2))
    assert set(range(said + 1)) <= set(there)


def test_a_full_disk_is_said_and_what_is_there_stays(tmp_path: Path) -> None:
    fill(tmp_path, range(4))
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    old = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (4096, limits[1]))
        with pytest.raises(OutputError, match=r"cannot be written: file too large$"):
            fill(tmp_path, range(4, 2000))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, old)
    assert len(found(tmp_path, range(2000))) == 4 + (4096 - 16) // (KEY_NBYTES + 4 + 4 * WIDTH)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_that_may_not_be_written(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(OutputError, match=r"cannot be written: permission denied$"):
        FeatureCache(tmp_path / "a")
