"""The JSON in Keras files, read under limits: what follows may walk it without counting."""

from __future__ import annotations

import json
from typing import Any, Final

from tfinspect.errors import InputError, LimitError

MAX_NBYTES: Final = 64 << 20
_MAX_DEPTH: Final = 200  # a model in a model takes six or seven
_MAX_VALUES: Final = 4_000_000

Json = dict[str, Any]


def load(path: str, what: str, text: str | bytes) -> Json:
    """Read a JSON object.

    Args:
        path: the file it stands in.
        what: what it is, for messages: `model_config`, `config.json`.
        text: the JSON.

    Raises:
        InputError: it is no JSON object.
        LimitError: it is larger or nested deeper than any model's.
    """
    evidence: dict[str, object] = {"path": path, "part": what}
    if len(text) > MAX_NBYTES:
        raise LimitError(
            f"{path}: `{what}` has {len(text):,} bytes of JSON, at most {MAX_NBYTES:,} are read", evidence=evidence
        )
    deep = f"{path}: `{what}` is JSON nested more than {_MAX_DEPTH} deep"
    try:
        found = json.loads(text)
    except RecursionError:
        raise LimitError(deep, evidence=evidence) from None
    except json.JSONDecodeError as error:
        raise InputError(
            f"{path}: `{what}` is not JSON: {error.msg.lower()} at character {error.pos:,}", evidence=evidence
        ) from None
    except ValueError as error:  # not UTF-8, or a number of thousands of digits
        reason = "not UTF-8" if isinstance(error, UnicodeDecodeError) else "a number is too long"
        raise InputError(f"{path}: `{what}` is not JSON: {reason}", evidence=evidence) from None
    if not isinstance(found, dict):
        raise InputError(
            f"{path}: `{what}` holds a JSON {_NAMES.get(type(found), 'value')}, an object was expected",
            evidence=evidence,
        )
    _measure(path, what, found, deep)
    return found


_NAMES: Final = {list: "list", str: "string", int: "number", float: "number", bool: "boolean", type(None): "null"}


def _measure(path: str, what: str, found: Json, deep: str) -> None:
    evidence: dict[str, object] = {"path": path, "part": what}
    level: list[Any] = [found]
    count = 0
    for _ in range(_MAX_DEPTH):
        below: list[Any] = []
        for item in level:
            below.extend(item.values() if isinstance(item, dict) else item)
        count += len(below)
        if count > _MAX_VALUES:
            raise LimitError(f"{path}: `{what}` has more than {_MAX_VALUES:,} values", evidence=evidence)
        level = [item for item in below if isinstance(item, (dict, list))]
        if not level:
            return
    raise LimitError(deep, evidence=evidence)


def plain(value: object, limit: int = 64) -> object:
    """Return a value as far as it is plain: a string, number, boolean, null, or a short list of these; else None."""
    if value is None or isinstance(value, (str, int, float)):
        return value
    if isinstance(value, list) and len(value) <= limit:
        inner = [plain(item, 0) for item in value]
        return inner if all(i is not None or v is None for i, v in zip(inner, value, strict=True)) else None
    return None
