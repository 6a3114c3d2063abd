"""A name decides for good which part an image belongs to."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tfinspect.errors import UsageError
from tfinspect.learn.split import split_of, splits


def test_shares_are_met_and_parts_never_change() -> None:
    names = [f"roses/{i}.jpg" for i in range(10_000)]
    found = splits(names, validation=0.1, test=0.2)
    counts = Counter(found)
    assert abs(counts["test"] - 2000) < 150
    assert abs(counts["validation"] - 1000) < 120
    assert splits(names[::-1], validation=0.1, test=0.2) == found[::-1]


def test_the_parts_are_those_of_earlier_versions() -> None:
    found = [split_of(f"roses/{i}.jpg") for i in range(10)]
    assert "".join(part[1] for part in found) == "rrererrrea"


def test_another_salt_is_another_split() -> None:
    names = [f"roses/{i}.jpg" for i in range(1000)]
    assert splits(names) != splits(names, salt="2")


@given(st.text(max_size=20), st.text(max_size=8, alphabet=st.characters(exclude_characters="./")))
def test_variants_of_one_photo_stay_together(stem: str, variant: str) -> None:
    stem = stem.replace(".", "")
    assert split_of(f"{stem}_nohash_{variant}.jpg") == split_of(f"{stem}.jpg")


@pytest.mark.parametrize(("validation", "test"), [(0.5, 0.5), (-0.1, 0.1), (1.0, 0.0)])
def test_shares_that_leave_nothing_are_refused(validation: float, test: float) -> None:
    with pytest.raises(UsageError, match="leave nothing to train on"):
        split_of("x", validation=validation, test=test)
