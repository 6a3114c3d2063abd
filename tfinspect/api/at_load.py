"""What a loader does with a model besides restoring its variables, for freezing."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import TYPE_CHECKING

from tfinspect.api.locate import INIT
from tfinspect.surgery.at_load import Asset, AtLoad, node_of

if TYPE_CHECKING:
    from tfinspect.ir.model import Model

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
