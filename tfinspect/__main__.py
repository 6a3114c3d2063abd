"""`python -m tfinspect`, and the `tfinspect` script."""

from __future__ import annotations

import gc
import io
import os
import signal
import sys


def main() -> None:
    """Run the command line and leave with its exit status."""
    try:
        status = _run(sys.argv[1:])
    except KeyboardInterrupt:  # while modules are still being loaded
        sys.stderr.write("\n")
        status = 130
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the answer is given: leaving must not turn it into a death
    sys.exit(status)


def _run(words: list[str]) -> int:
    if sys.stdout is None or sys.stderr is None:  # closed by the caller, as in `tfinspect ... >&-`
        nowhere = open(os.devnull, "w", encoding="utf-8")  # noqa: PTH123, SIM115 - for the life of the process
        sys.stdout, sys.stderr = sys.stdout or nowhere, sys.stderr or nowhere
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # a name that the terminal's encoding has no letters for
    # a listing makes hundreds of thousands of nodes and drops none: looking for garbage among them is lost time
    gc.set_threshold(500_000, 50, 50)
    if "_TFINSPECT_COMPLETE" in os.environ:  # a shell asks how the line may go on
        from tfinspect.cli import completion

        return completion.answer()
    from tfinspect.cli import quick

    status = quick.run(words)
    if status is None:
        from tfinspect.cli.app import run

        return run(words)
    return int(status)


if __name__ == "__main__":
    main()
