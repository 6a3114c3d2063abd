"""The table of commands, and what `tfinspect --help` prints; no Typer here, so that both are at hand at once."""

from __future__ import annotations

from typing import NamedTuple


class Command(NamedTuple):
    """A row of the command table.

    Attributes:
        section: heading in the help.
        summary: one line in the help.
    """

    section: str
    summary: str


COMMANDS = {
    "info": Command("Look", "Say what a file is and what is in it"),
    "nodes": Command("Look", "List the nodes of a graph"),
    "show": Command("Look", "Show one node: attributes, inputs, consumers, value"),
    "vars": Command("Look", "List the variables of a checkpoint, or read one"),
    "diff": Command("Look", "Compare two graphs or checkpoints, name by name"),
    "freeze": Command("Change", "Turn a graph and its checkpoint into one self-contained graph"),
    "cut": Command("Change", "Split a graph at a bottleneck tensor"),
    "graft": Command("Change", "Put a trained head onto a trunk"),
    "unfreeze": Command("Change", "Turn constants back into trainable variables of a SavedModel"),
    "features": Command("Learn", "Compute the bottleneck features of a folder of photos"),
    "train-head": Command("Learn", "Train a classifier on features, and measure it"),
    "finetune": Command("Learn", "Train a trunk and its head together on photos"),
    "predict": Command("Learn", "Say what is on photos: labels and probabilities"),
    "demo": Command("Learn", "See all of this on a small model, in about a minute"),
    "export": Command("Ship", "Write ONNX or a SavedModel, and prove that the numbers match"),
    "verify": Command("Ship", "Run two models on the same inputs and compare the outputs"),
}

OPTIONS = {
    "--help": "Show this page, or that of a command",
    "--version": "Print the version",
    "--install-completion": "Complete names of nodes, tensors and variables in this shell",
    "--show-completion": "Print the completion script instead of installing it",
    "--debug": "Show the traceback of an error; goes anywhere",
}
"""Options of the program itself."""


def text() -> str:
    """Return the overview of all commands."""
    lines = ["Look inside TensorFlow models; freeze, cut, graft and export them with proof.", ""]
    lines.append("Usage: tfinspect COMMAND [ARGS]")
    for section in dict.fromkeys(row.section for row in COMMANDS.values()):
        lines += ["", section]
        lines += [f"  {name:<10} {row.summary}" for name, row in COMMANDS.items() if row.section == section]
    lines += [
        "",
        "Options",
        "  --version             Print the version",
        "  --install-completion  Complete names of nodes, tensors and variables in",
        "                        this shell",
        "  --show-completion     Print the completion script instead of installing it",
        "  --debug               Show the traceback of an error; goes anywhere",
        "",
        "Start with: tfinspect info FILE          Help: tfinspect COMMAND --help",
    ]
    return "\n".join(lines) + "\n"


def version() -> str:
    """Return what `--version` prints."""
    from tfinspect import __version__

    return f"tfinspect {__version__}\n"
