"""A worker turns files into rows, in order; what is no image becomes a failure and nothing else."""

from __future__ import annotations

import io
import pickle
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.cli_calls import FIXTURES
from tfinspect.errors import RuntimeFailedError
from tfinspect.learn.job import Job
from tfinspect.learn.preprocess import Recipe
from tfinspect.learn.worker import Failure, Row, Worker

JOB = Job("trunk.onnx", "input:0", "pool:0", Recipe((4, 4)), batch=2)


def png(colour: tuple[int, int, int], size: tuple[int, int] = (4, 4)) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", size, colour).save(file, "PNG")
    return file.getvalue()


def mean(batch: Any) -> Any:
    """[n, 1, 1, 3], as a trunk's average pool."""
    return batch.mean(axis=(1, 2), keepdims=True)


def test_rows_and_failures_keep_the_order() -> None:
    images = [("a/red.png", png((255, 0, 0))), ("a/bad.png", b"\x89PNG\r\n\x1a\nxx"), ("b/none.txt", b"text"),
              ("b/blue.png", png((0, 0, 255))), ("b/gray.png", png((7, 7, 7), (9, 5)))]  # fmt: skip
    found = Worker(JOB, mean)(images)
    assert [one.name for one in found] == [name for name, _ in images]
    assert [type(one) for one in found] == [Row, Failure, Failure, Row, Row]
    assert [one.features.tolist() for one in found if isinstance(one, Row)] == [[255, 0, 0], [0, 0, 255], [7, 7, 7]]
    reasons = [one.reason for one in found if isinstance(one, Failure)]
    assert reasons[0].startswith("a/bad.png is a damaged PNG image")
    assert reasons[1] == "b/none.txt is no JPEG, PNG, GIF, BMP or WebP image"


def test_batches_are_always_full() -> None:
    seen = []

    def run(batch: Any) -> Any:
        seen.append(len(batch))
        return mean(batch)

    rows = Worker(JOB, run)([(str(i), png((i, i, i))) for i in range(3)])
    assert seen == [2, 2]
    assert [int(row.features[0]) for row in rows if isinstance(row, Row)] == [0, 1, 2]


def test_images_of_any_size_go_one_by_one() -> None:
    job = replace(JOB, recipe=Recipe(None, ""))
    rows = Worker(job, mean)([("a", png((1, 2, 3), (5, 6))), ("b", png((4, 5, 6), (7, 2)))])
    assert [row.features.tolist() for row in rows if isinstance(row, Row)] == [[1, 2, 3], [4, 5, 6]]


def test_whole_numbers_are_rounded() -> None:
    worker = Worker(replace(JOB, dtype="uint8"), mean)
    found = worker.prepare("photo.jpg", (FIXTURES / "photo.jpg").read_bytes())
    plain = Worker(JOB, mean).prepare("photo.jpg", (FIXTURES / "photo.jpg").read_bytes())
    assert not isinstance(found, Failure)
    assert not isinstance(plain, Failure)
    assert found.values.dtype == np.uint8
    assert np.abs(found.values - plain.values).max() <= 0.5


def test_a_trunk_that_pins_its_batch_is_named() -> None:
    with pytest.raises(RuntimeFailedError, match=r"^`pool:0` is of shape \[1, 6\] for a batch of 2 images$"):
        Worker(JOB, lambda batch: mean(batch).reshape(1, -1))([("a", png((1, 2, 3)))])


def test_a_job_travels() -> None:
    assert pickle.loads(pickle.dumps(JOB)) == JOB  # noqa: S301 - our own bytes
