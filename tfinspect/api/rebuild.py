"""Checkpoints that lost their graph: which network they hold, in words, and that network as a graph."""

from __future__ import annotations

import re
import shlex
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

from tfinspect import formats
from tfinspect.architectures.recognize import check_whole, recognize

if TYPE_CHECKING:
    from tfinspect.architectures.recognize import Recognized
    from tfinspect.ir.checkpoint import Checkpoint
    from tfinspect.ir.model import Model

FACT: Final = "architecture"
"""Key of a rebuilt model's `facts` under which its network is named."""
_PIXELS: Final = {
    "half range": "pixels from -1 to 1",
    "less mean": "pixels less their mean (123.68, 116.78, 103.94)",
}


_SUFFIX: Final = re.compile(r"(\.ckpt.*|\.index|\.data-\d+-of-\d+)$")


def known_network(checkpoint: Checkpoint) -> Recognized | None:
    """Return the network that a checkpoint holds, whole or not; None where none is known, or a graph is beside it."""
    return None if Path(f"{checkpoint.path}.meta").is_file() else recognize(checkpoint)


def is_bare(model: Model) -> bool:
    """Whether a model is a checkpoint and has no graph."""
    row = formats.BY_NAME.get(model.format)
    return model.graph is None and row is not None and row.kinds == ("checkpoint",)


def rebuild(model: Model, size: tuple[int, int] | None = None) -> Model | None:
    """Return a checkpoint without a graph with that of the network it holds; None for other models and networks.

    Args:
        model: as it was opened.
        size: height and width of the images, instead of those usual for the network.

    Raises:
        UnrestoredVariablesError: it lacks variables of the network, or holds them in another shape; they are named.
        UsageError: the network cannot take images of that size.
    """
    if not is_bare(model) or model.checkpoint is None:
        return None
    found = recognize(model.checkpoint, size)
    if found is None:
        return None
    check_whole(model.checkpoint, found)
    return _as_graph(model, found)


def is_rebuilt(model: Model) -> bool:
    """Whether the graph of a model is one that was made here."""
    return FACT in model.facts and model.graph is not None


def changes(model: Model) -> tuple[str, ...]:
    """Return in words that a graph was rebuilt, and what is assumed of it; nothing where it was in the file."""
    if not is_rebuilt(model):
        return ()
    return (f"rebuilt the graph from the names of its variables: {model.facts[FACT]}",)


def described(model: Model) -> Model:
    """Return a bare checkpoint with the graph of the network it holds, or with what it lacks of it in `facts`."""
    found = None if model.checkpoint is None else recognize(model.checkpoint)
    if found is None:
        return model
    if found.is_whole:
        return _as_graph(model, found)
    return replace(model, facts={**model.facts, FACT: lacking(found)})


def _as_graph(model: Model, found: Recognized) -> Model:
    facts = {FACT: str(found), "preprocessing": _prepared(found)}
    return replace(model, graph=found.graph, facts={**model.facts, **facts})


def next_step(path: str) -> str:
    """Return the command that writes the graph of a network: `tfinspect freeze X.ckpt -o X.pb`."""
    stem = _SUFFIX.sub("", Path(path).name) or "frozen"
    return f"tfinspect freeze {shlex.quote(path)} -o {shlex.quote(f'{stem}.pb')}"


def sentence(path: str, found: Recognized) -> str:
    """Say in one line what a checkpoint holds, and how its graph is rebuilt or why it is not."""
    if found.is_whole:
        return f"{found}; {next_step(path)} rebuilds its graph"
    return f"{lacking(found)}; its graph is not rebuilt"


def lacking(found: Recognized) -> str:
    """Say what a network is that a checkpoint holds a part of, and what the first is that is missing or wrong."""
    first = (*found.missing, *(f"{name} ({what})" for name, what in found.wrong.items()))[0]
    count = len(found.missing) + len(found.wrong)
    return (
        f"{found.family.title} (slim) in part: {count:,} of {found.wanted:,} variables missing or wrong, first {first}"
    )


def to_json(found: Recognized) -> dict[str, object]:
    """Return what a checkpoint holds as plain values."""
    return {
        "name": found.family.name,
        "title": found.family.title,
        "scope": found.scope,
        "classes": found.classes,
        "width": found.width,
        "size": list(found.size),
        "size_assumed": found.assumed,
        "preprocessing": found.family.pixels,
        "missing": list(found.missing),
        "differing": dict(found.wrong),
        "unused": list(found.spare),
    }


def _prepared(found: Recognized) -> str:
    return f"{_PIXELS[found.family.pixels]}, assumed for {found.family.title}"
