"""Wall time and peak memory of a command and all its children."""

from __future__ import annotations

import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_PAGE_NBYTES = 4096
_INTERVAL = 0.01  # seconds between looks at the process tree


@dataclass(frozen=True, slots=True)
class Measured:
    """What one run took.

    Attributes:
        seconds: wall time.
        peak_nbytes: highest sum of resident sizes over the process tree, mapped pages included.
        status: exit status.
    """

    seconds: float
    peak_nbytes: int
    status: int


def run(command: Sequence[str], *, cwd: Path | None = None, env: Mapping[str, str] | None = None) -> Measured:
    """Run a command, its output discarded, and measure it."""
    start = time.perf_counter()
    process = subprocess.Popen(command, cwd=cwd, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    peak = 0
    while process.poll() is None:
        peak = max(peak, _resident(process.pid))
        time.sleep(_INTERVAL)
    return Measured(time.perf_counter() - start, peak, process.returncode)


def best(
    command: Sequence[str], *, repeat: int, cwd: Path | None = None, env: Mapping[str, str] | None = None
) -> Measured:
    """Run a command several times and return the fastest run, with the highest peak of all.

    Raises:
        RuntimeError: one run failed.
    """
    runs = [run(command, cwd=cwd, env=env) for _ in range(repeat)]
    failed = [r.status for r in runs if r.status]
    if failed:
        raise RuntimeError(f"{' '.join(map(str, command))} exited {failed[0]}")
    return Measured(min(r.seconds for r in runs), max(r.peak_nbytes for r in runs), 0)


def _resident(pid: int) -> int:
    total, waiting = 0, [pid]
    while waiting:
        current = waiting.pop()
        try:
            total += int(Path(f"/proc/{current}/statm").read_text().split()[1]) * _PAGE_NBYTES
            for task in Path(f"/proc/{current}/task").iterdir():
                waiting += [int(child) for child in (task / "children").read_text().split()]
        except (FileNotFoundError, ProcessLookupError):
            continue  # it ended while we looked
    return total
