"""Views of photos: what may happen to them, and that seed, epoch and number alone decide it."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tfinspect.learn.augment import Augmentation, crop
from tfinspect.learn.preprocess import Recipe, resize

NOTHING = Augmentation(flip=False, least_area=1.0, brightness=0, contrast=0, saturation=0)
PHOTO = np.random.default_rng(0).integers(0, 256, (40, 30, 3)).astype(np.uint8)


def test_without_any_change_the_image_is_only_resized() -> None:
    found = NOTHING.apply(PHOTO, (20, 15), seed=1, epoch=2, number=3)
    wanted = resize(PHOTO, Recipe((20, 15), half_pixel_centers=True))
    np.testing.assert_allclose(found, wanted, atol=1e-3)


def test_a_crop_of_everything_at_its_own_size_is_the_image() -> None:
    assert np.array_equal(crop(PHOTO, 0, 0, 40, 30, (40, 30)), PHOTO.astype(np.float32))


def test_a_crop_takes_the_part_that_was_asked_for() -> None:
    assert np.array_equal(crop(PHOTO, 10, 5, 20, 10, (20, 10)), PHOTO[10:30, 5:15].astype(np.float32))


@settings(max_examples=40, deadline=None)
@given(st.floats(0, 1), st.floats(0, 1), st.floats(0.05, 1), st.floats(0.05, 1), st.sampled_from([1, 3]))
def test_a_crop_lies_between_the_four_pixels_around_each_place(
    down: float, across: float, high: float, wide: float, channels: int
) -> None:
    height, width = 40 * high, 30 * wide
    top, left = (40 - height) * down, (30 - width) * across
    found = crop(PHOTO[..., :channels], top, left, height, width, (7, 9))
    pixels = PHOTO[..., :channels].astype(np.float64)
    for row, column in ((0, 0), (3, 4), (6, 8), (6, 0)):
        y = np.clip(top + (row + 0.5) * height / 7 - 0.5, 0, 39)
        x = np.clip(left + (column + 0.5) * width / 9 - 0.5, 0, 29)
        above, before = int(y), int(x)
        below, behind = min(above + 1, 39), min(before + 1, 29)
        upper = pixels[above, before] + (pixels[above, behind] - pixels[above, before]) * (x - before)
        lower = pixels[below, before] + (pixels[below, behind] - pixels[below, before]) * (x - before)
        np.testing.assert_allclose(found[row, column], upper + (lower - upper) * (y - above), atol=1e-2)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**40), st.integers(0, 500), st.integers(0, 10**7), st.sampled_from([1, 3]))
def test_a_view_is_an_image_and_depends_on_seed_epoch_and_number_alone(
    seed: int, epoch: int, number: int, channels: int
) -> None:
    pixels = PHOTO[..., :channels]
    found = Augmentation().apply(pixels, (17, 23), seed=seed, epoch=epoch, number=number)
    assert (found.shape, found.dtype) == ((17, 23, channels), np.float32)
    assert found.min() >= 0
    assert found.max() <= 255
    again = Augmentation().apply(pixels.copy(), (17, 23), seed=seed, epoch=epoch, number=number)
    assert np.array_equal(found, again)


@pytest.mark.parametrize("change", [{"seed": 1}, {"epoch": 1}, {"number": 1}])
def test_another_seed_epoch_or_number_gives_another_view(change: dict[str, int]) -> None:
    first = Augmentation().apply(PHOTO, (16, 16), seed=0, epoch=0, number=0)
    other = Augmentation().apply(PHOTO, (16, 16), **{"seed": 0, "epoch": 0, "number": 0, **change})
    assert np.abs(first - other).max() > 1


def test_half_of_the_views_are_mirrored() -> None:
    only_flips = Augmentation(least_area=1.0, brightness=0, contrast=0, saturation=0)
    plain = NOTHING.apply(PHOTO, (40, 30), seed=0, epoch=0, number=0)
    views = [only_flips.apply(PHOTO, (40, 30), seed=0, epoch=0, number=k) for k in range(200)]
    mirrored = sum(np.allclose(v, plain[:, ::-1], atol=1e-3) for v in views)
    assert mirrored + sum(np.allclose(v, plain, atol=1e-3) for v in views) == 200
    assert 70 < mirrored < 130


def test_colours_move_within_their_bounds() -> None:
    gray = np.full((8, 8, 3), 100, np.uint8)
    bright = Augmentation(flip=False, least_area=1.0, brightness=0.2, contrast=0.5, saturation=0.5)
    means = [bright.apply(gray, (8, 8), seed=0, epoch=e, number=0).mean() for e in range(100)]
    assert 79 < min(means) < 85
    assert 115 < max(means) < 121
