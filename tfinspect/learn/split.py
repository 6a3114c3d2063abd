"""Which part of the data an image belongs to, for good: decided by its name, so that adding images moves none."""

from __future__ import annotations

import hashlib
import re
from typing import TYPE_CHECKING, Final

from tfinspect.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tfinspect.ir.features import Split

_DIGEST_NBYTES: Final = 8
_VARIANT: Final = re.compile(r"_nohash_.*(?=\.)|_nohash_.*$")


def split_of(name: str, *, validation: float = 0.1, test: float = 0.1, salt: str = "") -> Split:
    """Return the part an image belongs to.

    As retrain.py had it, what follows `_nohash_` in a name does not count, so that near copies of one photo
    (`rose_nohash_1.jpg`, `rose_nohash_2.jpg`) stay together.

    Args:
        name: path from the folder, `/` between parts.
        validation: share of images that the training is watched on, from 0 to 1.
        test: share of images that the result is judged on, from 0 to 1.
        salt: another text gives another, equally stable split.

    Raises:
        UsageError: the shares are no shares, or leave nothing to train on.
    """
    if min(validation, test) < 0 or validation + test >= 1:
        raise UsageError(f"shares of {validation:g} for validation and {test:g} for test leave nothing to train on")
    stem = _VARIANT.sub("", name)
    digest = hashlib.blake2b(f"{salt}\0{stem}".encode(), digest_size=_DIGEST_NBYTES).digest()
    place = int.from_bytes(digest, "big") / 2 ** (8 * _DIGEST_NBYTES)
    if place < test:
        return "test"
    return "validation" if place < test + validation else "train"


def splits(names: Iterable[str], *, validation: float = 0.1, test: float = 0.1, salt: str = "") -> tuple[Split, ...]:
    """Return the part of each image; see `split_of`.

    Raises:
        UsageError: the shares are no shares, or leave nothing to train on.
    """
    return tuple(split_of(name, validation=validation, test=test, salt=salt) for name in names)
