"""`python -m tfinspect`, and the `tfinspect` script."""

from __future__ import annotations

import gc
import sys


def main() -> None:
    """Run the command line and leave with its exit status."""
    from tfinspect.cli.app import run

    # a listing makes hundreds of thousands of nodes and drops none: looking for garbage among them is lost time
    gc.set_threshold(500_000, 50, 50)
    sys.exit(run(sys.argv[1:]))


if __name__ == "__main__":
    main()
