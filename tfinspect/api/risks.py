"""What `info --risks` answers: what a model could do to whoever runs or loads it. Nothing is executed to find out."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from tfinspect import formats
from tfinspect.errors import InputError, TfinspectError
from tfinspect.ir.risks import Risk
from tfinspect.surgery.endpoints import find_outputs
from tfinspect.surgery.risky_ops import acts_at_all, risky_ops, shown_name
from tfinspect.surgery.shapes import TensorTypes

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tfinspect.api.load import PathLike
    from tfinspect.ir.model import Model

# collections whose operations are run when a SavedModel is loaded
_RUN_AT_LOADING = ("saved_model_main_op", "legacy_init_op", "init_op", "local_init_op", "table_initializer")
# what belongs to a `saved_model.pb` that was named itself; the rest of its folder may be another's
_PARTS = ("variables", "assets", "assets.extra", "keras_metadata.pb")
_CHECKPOINTS = ("checkpoint_v1", "checkpoint_v2")


def risks(path: PathLike, model: Model | None = None) -> list[Risk]:
    """Return what a model could do to whoever runs or loads it, in the order it was found.

    Every graph of a SavedModel is looked at, every function of each, and what stands in its folder. An empty list says
    that nothing of `ir.risks.KINDS` was found, which is not the same as safe.

    Args:
        path: any model file or folder.
        model: the model, where it was opened already.

    Raises:
        InputError: it cannot be read.
    """
    name = os.fspath(path)
    kind = formats.identify(name).name if model is None else model.format
    if kind == "saved_model":
        found = [*_known_to_reader(name, model), *_of_saved_model(name)]
    else:
        model = model or formats.open_model(name)
        found = [*model.risks, *of_model(model)]
        if Path(name).is_dir():
            found += _folder(name)
        elif kind in _CHECKPOINTS:
            from tfinspect.formats import folder_risks

            found += folder_risks.beside_checkpoint(name)
    return list(dict.fromkeys(found))


def of_model(model: Model, captured: Mapping[str, tuple[str, ...]] | None = None) -> list[Risk]:
    """Return what the graph of one model does outside of it, and which of its assets stand elsewhere.

    Args:
        model: the model.
        captured: by function, tensors of the main graph that its last arguments are bound to when Python calls it.
    """
    found = [
        Risk("outside-path", f"asset {asset}", f"an asset whose name leads out of the folder: `{shown_name(asset)}`")
        for asset in model.assets
        if asset.startswith("/") or ".." in asset.replace("\\", "/").split("/")
    ]
    if model.graph is None:
        return found
    inside = {tensor: asset for asset, tensor in model.assets.items()}
    roots = _roots(model) if acts_at_all(model.graph) else ()
    return found + risky_ops(model.graph, roots, saver=model.saver, assets=inside, captured=captured)


def _known_to_reader(path: str, model: Model | None) -> tuple[Risk, ...]:
    """Return what the reader of a SavedModel met; one that it refuses, for a link that leads out, is still told of."""
    try:
        return (model or formats.open_model(path)).risks
    except InputError:
        return ()


def _of_saved_model(path: str) -> list[Risk]:
    from tfinspect.formats import meta_graphs

    graphs = meta_graphs.read_all(path)
    found: list[Risk] = []
    for one in graphs:
        tags = f"tags {', '.join(one.model.tags) or '(none)'}: " if len(graphs) > 1 else ""
        found += [Risk(risk.kind, tags + risk.where, risk.what) for risk in of_model(one.model, one.captured)]
    place = Path(path)
    if place.is_dir():
        return found + _folder(path)
    return found + (_folder(str(place.parent), _PARTS) if place.name in meta_graphs.NAMES else [])


def _folder(path: str, parts: tuple[str, ...] = ()) -> list[Risk]:
    from tfinspect.formats import folder_risks

    return folder_risks.in_folder(path, parts)


def _roots(model: Model) -> list[str]:
    """Return the nodes that are run when the model is used or loaded."""
    if model.graph is None:
        return []
    roots = [spec.ref.name for signature in model.signatures.values() for spec in signature.outputs]
    if not roots:
        try:
            roots = [end.ref.name for end in find_outputs(model.graph, TensorTypes(model.graph))]
        except TfinspectError:  # not well formed: then everything counts
            return []
    if roots:
        roots += [
            entry.split(":")[0].lstrip("^") for name in _RUN_AT_LOADING for entry in model.collections.get(name, ())
        ]
    return roots
