"""Modules of TensorFlow Hub.

One of TensorFlow 1 is a SavedModel with `tfhub_module.pb` beside it. Its graph for inference has no tags, its signature
is called `default`, and messages can be attached to each of its graphs. One of TensorFlow 2 is a SavedModel whose first
object can be called and lists its variables; nothing else marks it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from google.protobuf.message import DecodeError

from tfinspect.errors import InputError, UnsupportedFeatureError
from tfinspect.formats._file import MappedFile
from tfinspect.formats._schema import message_class

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

NAME: Final = "tfhub_module.pb"
ATTACHMENTS: Final = "hub_module_attachments"
_FORMAT: Final = 3
_MAX_NBYTES: Final = 1 << 20
_REUSABLE: Final = ("__call__", "variables", "trainable_variables", "regularization_losses")
_MAX_LISTED = 20


def read(folder: Path) -> Mapping[str, str]:
    """Return what `tfhub_module.pb` says of a folder, in words; nothing where the folder has none.

    Raises:
        UnsupportedFeatureError: it asks for more than is known of the format.
        InputError: it cannot be read.
    """
    if not (folder / NAME).exists() and not (folder / NAME).is_symlink():
        return {}
    file = MappedFile(NAME, within=str(folder))
    message = None
    if file.size <= _MAX_NBYTES:
        try:
            message = message_class("ModuleDef").FromString(bytes(file.view))
        except DecodeError:
            message = None
    if message is None:
        raise InputError(f"{file.path} is not the definition of a Hub module", evidence={"path": file.path})
    if message.format != _FORMAT or message.required_features:
        asks = f"format {message.format}"
        if message.required_features:
            asks += " with " + ", ".join(f"`{name}`" for name in list(message.required_features)[:_MAX_LISTED])
        raise UnsupportedFeatureError(
            f"{file.path} describes a Hub module of {asks}; format {_FORMAT} is the one known",
            evidence={"path": file.path, "format": message.format, "features": list(message.required_features)},
        )
    return {"hub": f"TF1 Hub module, format {message.format}"}


def attachments(values: Iterable[bytes], path: str) -> Mapping[str, str]:
    """Return the messages attached to a graph, in words.

    Raises:
        InputError: what stands there is no attachment.
    """
    found = []
    for value in values:
        try:
            message = message_class("ModuleAttachment").FromString(value)
        except DecodeError:
            raise InputError(
                f"{path}: the collection `{ATTACHMENTS}` holds bytes that are no attachment", evidence={"path": path}
            ) from None
        found.append(f"{message.key} ({len(message.value):,} bytes)")
    if not found:
        return {}
    more = [f"and {len(found) - _MAX_LISTED:,} more"] if len(found) > _MAX_LISTED else []
    return {"hub_attachments": ", ".join(found[:_MAX_LISTED] + more)}


def reusable(root: Any) -> Mapping[str, str]:  # noqa: ANN401 - made at run time
    """Tell whether the first SavedObject of a SavedModel has what Hub asks of modules of TensorFlow 2."""
    names = {child.local_name for child in root.children}
    if not names.issuperset(_REUSABLE):
        return {}
    return {"hub": f"reusable SavedModel, as TF2 Hub modules are: {', '.join(_REUSABLE)}"}
