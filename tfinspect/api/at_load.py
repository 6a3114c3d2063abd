"""What a loader does with a model besides restoring its variables, for freezing."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import TYPE_CHECKING

from tfinspect.api.locate import INIT
from tfinspect.errors import VariableNotFoundError
from tfinspect.surgery.at_load import Asset, AtLoad, node_of
from tfinspect.surgery.ops import VARIABLES

if TYPE_CHECKING:
    from tfinspect.ir.checkpoint import Checkpoint
    from tfinspect.ir.model import Model
    from tfinspect.ir.tensors import Tensor

_MAIN_OPS = ("saved_model_main_op", "legacy_init_op", "serving_init_op")  # collections


def at_load(model: Model) -> AtLoad:
    """Return what loading a model runs, and its assets, which are read when asked for."""
    from tfinspect.formats import _assets

    names = [node_of(name) for collection in _MAIN_OPS for name in model.collections.get(collection, ())]
    if INIT in model.signatures:
        names += [spec.ref.name for spec in model.signatures[INIT].outputs]
    place = Path(model.path)
    folder = str(place if place.is_dir() else place.parent)
    assets = {
        node_of(tensor): Asset(name, functools.partial(_assets.read, folder, name))
        for name, tensor in model.assets.items()
    }
    return AtLoad(tuple(dict.fromkeys(names)), assets)


def is_whole(model: Model) -> bool:
    """Whether it is a SavedModel without variables; what its signature computes can be taken out all the same."""
    return model.format == "saved_model" and not any(node.op in VARIABLES for node in model.graph or ())


def no_values(model: Model) -> Checkpoint:
    """Return the checkpoint of a SavedModel without variables: an empty one."""
    from tfinspect.ir.checkpoint import Checkpoint

    def none(name: str) -> Tensor:
        raise VariableNotFoundError(f"{model.path} has no variables", name=name)

    return Checkpoint(model.path, model.format, {}, none)
