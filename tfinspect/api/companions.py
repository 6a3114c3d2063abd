"""Small files that stand beside a graph and belong to it: labels, and how photos are prepared."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from tfinspect.api.labels import labels_path, write_labels
from tfinspect.api.recipe import recipe_path, write_recipe
from tfinspect.errors import OutputExistsError
from tfinspect.formats import _atomic

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from tfinspect.api.load import PathLike
    from tfinspect.learn.preprocess import Recipe


def check(model: PathLike, labels: Sequence[str], recipe: Recipe | None, *, force: bool) -> None:
    """Refuse early what could not be written later, and what stands there and would be taken for the new model's own.

    Args:
        model: the file that is going to be written.
        labels: that will be written beside it; none where there are none.
        recipe: likewise.
        force: replace what exists.

    Raises:
        OutputExistsError: something stands there and `force` is not set.
        OutputError: it cannot be written.
    """
    for place, wanted in ((labels_path(model), bool(labels)), (recipe_path(model), recipe is not None)):
        if wanted:
            _atomic.ensure_absent(place, force=force)
        elif not force and os.path.lexists(place):
            raise OutputExistsError(
                f"{place} exists and would be taken to belong to {model}",
                hint="add --force to remove it, or -o for another name",
                evidence={"path": str(place)},
            )


def write(model: PathLike, labels: Sequence[str], recipe: Recipe | None, *, force: bool) -> None:
    """Write what there is; what stands there of a model that was replaced goes.

    Raises:
        OutputExistsError: something stands there and `force` is not set.
        OutputError: it cannot be written.
    """
    check(model, labels, recipe, force=force)
    if labels:
        write_labels(model, labels, force=force)
    else:
        _remove(labels_path(model))
    if recipe is not None:
        write_recipe(model, recipe, force=force)
    else:
        _remove(recipe_path(model))


def _remove(place: Path) -> None:
    if os.path.lexists(place):
        with _atomic.output_errors(place):
            place.unlink()
