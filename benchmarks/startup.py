#!/usr/bin/env python3
"""How soon the command line answers, measured against `python -c "import typer"` in the same run.

usage: python benchmarks/startup.py [--repeat N] [--graph GRAPH]

Prints one line a task: seconds, and how many times `import typer` that is. Help and completion must stay below 3; exits
1 where one does not. The others are told for comparison. Without --graph, the graph of the fixtures is looked at.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

PYTHON = sys.executable
ROOT = Path(__file__).parent.parent
LIMIT = 3.0


def main() -> int:
    """Run the tasks in turns, so that a busy moment of the machine meets them all."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeat", type=int, default=7)
    parser.add_argument("--graph", type=Path, default=ROOT / "fixtures" / "inception_tiny.pb")
    options = parser.parse_args()
    graph = str(options.graph.resolve())
    program = [PYTHON, "-m", "tfinspect"]
    tasks: dict[str, tuple[list[str], dict[str, str], bool]] = {
        "import typer": ([PYTHON, "-c", "import typer"], {}, False),
        "python": ([PYTHON, "-c", "pass"], {}, False),
        "--help": ([*program, "--help"], {}, True),
        "--version": ([*program, "--version"], {}, True),
        "complete a command": (program, asking("tfinspect", "n"), True),
        "complete an option": (program, asking("tfinspect", "nodes", graph, "--o"), True),
        "complete a node": (program, asking("tfinspect", "show", graph, "p"), True),
        "complete a tensor": (program, asking("tfinspect", "cut", graph, "--bottleneck", "p"), True),
        "nodes --help": ([*program, "nodes", "--help"], {}, False),
        "nodes": ([*program, "nodes", graph], {}, False),
        "show": ([*program, "show", graph, first_node(graph)], {}, False),
        "info": ([*program, "info", graph], {}, False),
    }
    taken: dict[str, list[float]] = {name: [] for name in tasks}
    for _ in range(options.repeat):
        for name, (command, environment, _) in tasks.items():
            start = time.perf_counter()
            subprocess.run(
                command,
                check=True,
                stdout=subprocess.DEVNULL,
                env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
            )
            taken[name].append(time.perf_counter() - start)
    seconds = {name: statistics.median(runs) for name, runs in taken.items()}
    slow = False
    for name, (_, _, limited) in tasks.items():
        ratio = seconds[name] / seconds["import typer"]
        slow |= limited and ratio > LIMIT
        print(f"{name:<20} {seconds[name]:6.3f} s   {ratio:5.2f} times import typer{'  (limit 3)' if limited else ''}")
    return int(slow)


def asking(*words: str) -> dict[str, str]:
    """Return what the script of a shell sets."""
    return {
        "_TFINSPECT_COMPLETE": "complete_bash",
        "COMP_WORDS": "\n".join(words),
        "COMP_CWORD": str(len(words) - 1),
    }


def first_node(graph: str) -> str:
    """Return the name of a node to show."""
    sys.path.insert(0, str(ROOT))
    from tfinspect import formats

    return next(iter(formats.read_graph(graph))).name


if __name__ == "__main__":
    sys.exit(main())
