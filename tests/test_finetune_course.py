"""The course of a fine-tuning with a trainer of NumPy: schedule, order, checkpoints, what is kept, when it stops."""

from __future__ import annotations

import itertools
import math
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import pytest

from tfinspect.api.finetune_checkpoints import Checkpoints
from tfinspect.errors import InputError, OutputError, UsageError
from tfinspect.learn.finetune import (
    Epoch,
    Photos,
    Progress,
    Schedule,
    Settings,
    batches,
    log_loss,
    run,
    targets,
)

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

WEIGHTS = ":head/0/weights"


class Linear:
    """A softmax of one layer, trained by plain steps."""

    def __init__(self) -> None:
        self.values = {
            WEIGHTS: np.zeros((4, 3)),
            ":step": np.zeros(()),
            "trunk": np.ones(2),
            f"{WEIGHTS}:m": np.zeros((4, 3)),
        }
        self.runtime = "numpy"
        self.rates: list[float] = []

    def features(self, images: Any) -> Any:
        return images

    def logits(self, images: Any) -> Any:
        return images @ self.values[WEIGHTS]

    def step(self, images: Any, wanted: Any, rate: float) -> tuple[float, int]:
        powers = np.exp(self.logits(images))
        found = powers / powers.sum(1, keepdims=True)
        self.values[WEIGHTS] = self.values[WEIGHTS] - rate * images.T @ (found - wanted) / len(images)
        self.values["trunk"] = self.values["trunk"] + 1
        self.rates.append(rate)
        loss = float(-(wanted * np.log(found)).sum(1).mean())
        return loss, int((found.argmax(1) == wanted.argmax(1)).sum())

    def state(self) -> dict[str, Any]:
        return dict(self.values)

    def restore(self, state: Mapping[str, Any]) -> None:
        self.values.update(state)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass


def data(count: int, seed: int = 0) -> Photos:
    random = np.random.default_rng(seed)
    labels = [number % 3 for number in range(count)]
    images = random.normal(size=(count, 4)) + 3 * np.eye(3, 4)[labels]
    return Photos(lambda number, epoch: images[number] * (1 + 0.01 * epoch), labels)


def test_rates_go_up_straight_and_down_by_a_cosine() -> None:
    schedule = Schedule(2.0, 100, 10)
    found = [schedule.at(step) for step in range(100)]
    assert found[0] == pytest.approx(0.2)
    assert max(found) == found[9]
    assert found[50] == pytest.approx(1.0)
    assert 0 < found[99] < 0.001
    assert all(a > b for a, b in itertools.pairwise(found[9:]))


def test_each_photo_is_seen_once_an_epoch_in_another_order() -> None:
    first, second = (batches(10, 4, seed=1, epoch=epoch) for epoch in (1, 2))
    assert [len(part) for part in first] == [4, 4, 2]
    assert sorted(itertools.chain(*first)) == sorted(itertools.chain(*second)) == list(range(10))
    assert first != second
    assert first == batches(10, 4, seed=1, epoch=1)


def test_targets_are_smoothed() -> None:
    np.testing.assert_allclose(targets([1], 4, 0.2), [[0.05, 0.85, 0.05, 0.05]], rtol=1e-6)


def test_loss_and_accuracy() -> None:
    loss, accuracy = log_loss(np.array([[0.0, 0.0], [1000.0, 0.0]], np.float32), [0, 0])
    assert loss == pytest.approx(math.log(2) / 2)
    assert accuracy == 1


def test_the_last_epochs_are_averaged_at_a_rate_that_stays() -> None:
    trainer = Linear()
    after: list[Any] = []
    settings = Settings(epochs=6, batch=8, learning_rate=0.5, average=0.5)

    def save(progress: Progress) -> None:
        assert np.array_equal(trainer.values[WEIGHTS], progress.state[WEIGHTS])  # it goes on from where it was
        after.append(progress.state[WEIGHTS])

    done = run(trainer, data(60), data(30, 1), 3, settings, save=save)
    np.testing.assert_allclose(done.best[WEIGHTS], np.mean(after[3:], 0), rtol=1e-9)
    assert np.array_equal(trainer.values[WEIGHTS], done.best[WEIGHTS])
    assert not np.array_equal(done.best[WEIGHTS], after[-1])
    assert set(trainer.rates[8:]) == {0.5}
    assert done.best_epoch == 6
    found, _ = log_loss(np.stack([data(30, 1).view(n, 0) for n in range(30)]) @ done.best[WEIGHTS], data(30, 1).labels)
    assert done.epochs[-1].validation_loss == pytest.approx(found)


def test_where_it_may_stop_early_nothing_is_averaged_and_the_rate_falls() -> None:
    assert Settings(patience=3).averaged == 0
    trainer = Linear()
    run(trainer, data(60), data(30, 1), 3, Settings(epochs=6, batch=8, learning_rate=0.5, patience=6))
    assert trainer.rates[-1] < 0.01


def test_it_learns_and_keeps_the_last_epoch() -> None:
    done = run(Linear(), data(60), data(30, 1), 3, Settings(epochs=6, batch=8, learning_rate=0.5, average=0.0))
    assert done.best_epoch == 6
    assert np.array_equal(done.best[WEIGHTS], done.state[WEIGHTS])


def test_where_it_may_stop_early_it_keeps_the_epoch_with_the_lowest_validation_loss() -> None:
    trainer = Linear()
    told: list[Epoch] = []
    settings = Settings(epochs=6, batch=8, learning_rate=0.5, patience=6)
    done = run(trainer, data(60), data(30, 1), 3, settings, tell=told.append)
    losses = [epoch.validation_loss for epoch in done.epochs]
    assert told == done.epochs
    assert [epoch.number for epoch in told] == [1, 2, 3, 4, 5, 6]
    assert done.best_loss == min(v for v in losses if v is not None)
    assert done.best_epoch == losses.index(done.best_loss) + 1
    assert (told[-1].validation_accuracy or 0) > 0.8
    assert np.array_equal(trainer.values[WEIGHTS], done.best[WEIGHTS])
    assert set(done.best) == {WEIGHTS, "trunk"}  # not what the optimizer remembers


def test_the_start_is_kept_where_every_epoch_is_worse() -> None:
    trainer = Linear()
    photos = data(30)
    wrong = Photos(photos.view, [(label + 1) % 3 for label in photos.labels])
    done = run(trainer, photos, wrong, 3, Settings(epochs=2, batch=8, learning_rate=0.5, patience=2))
    assert done.best_epoch == 0
    assert not trainer.values[WEIGHTS].any()


def test_without_validation_the_last_epoch_is_kept() -> None:
    done = run(Linear(), data(30), Photos(lambda _, __: np.zeros(4), []), 3, Settings(epochs=3, batch=8))
    assert done.best_epoch == 3
    assert done.epochs[-1].validation_loss is None


def test_patience_ends_it() -> None:
    photos = data(30)
    wrong = Photos(photos.view, [(label + 1) % 3 for label in photos.labels])
    done = run(Linear(), photos, wrong, 3, Settings(epochs=9, batch=8, learning_rate=0.5, patience=2))
    assert len(done.epochs) == 2


def test_a_loss_that_is_no_number_stops_it_in_one_line() -> None:
    trainer = Linear()
    trainer.step = lambda *_: (math.nan, 0)  # type: ignore[method-assign]
    with pytest.raises(UsageError) as caught:
        run(trainer, data(30), data(3), 3, Settings(learning_rate=0.5))
    assert caught.value.message == "the loss is nan in epoch 1: the steps are too long"
    assert caught.value.hint == "--learning-rate 0.05"


class KilledError(Exception):
    pass


def test_a_killed_training_goes_on_to_the_very_same_end(tmp_path: Path) -> None:
    settings = Settings(epochs=5, batch=8, learning_rate=0.3)
    made = {"the trunk": "x"}
    whole = run(Linear(), data(60), data(30, 1), 3, settings)
    kept = Checkpoints.of(None, tmp_path / "out.pb", force=False, made=made)

    def save(progress: Progress) -> None:
        kept.write(progress)
        if len(progress.epochs) == 2:
            raise KilledError

    with pytest.raises(KilledError):
        run(Linear(), data(60), data(30, 1), 3, settings, save=save)
    progress = kept.read()
    assert progress is not None
    assert len(progress.epochs) == 2
    trainer = Linear()
    done = run(trainer, data(60), data(30, 1), 3, settings, progress=progress, save=kept.write)
    assert done.epochs == whole.epochs
    assert done.best_epoch == whole.best_epoch
    assert np.array_equal(done.best[WEIGHTS], whole.best[WEIGHTS])
    assert len(trainer.rates) == 3 * 8  # three epochs of eight steps
    kept.remove()
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("other", "message"),
    [
        ({"the trunk": "y"}, "the checkpoint in DIR is of another training: the trunk differs"),
        ({"--epochs": 9}, "the checkpoint in DIR is of another training: --epochs differs (5, not 9)"),
    ],
)
def test_a_checkpoint_of_another_training_is_refused(tmp_path: Path, other: dict[str, Any], message: str) -> None:
    made = {"the trunk": "x", "--epochs": 5}
    Checkpoints.of(tmp_path, tmp_path / "out.pb", force=False, made=made).write(Progress())
    with pytest.raises(UsageError) as caught:
        Checkpoints.of(tmp_path, tmp_path / "out.pb", force=False, made={**made, **other}).read()
    assert caught.value.message == message.replace("DIR", str(tmp_path))
    assert caught.value.hint == f"to begin anew: rm -r {tmp_path}"


def test_force_begins_anew_where_the_hidden_checkpoint_is_of_another_training(tmp_path: Path) -> None:
    output = tmp_path / "out.pb"
    Checkpoints.of(None, output, force=False, made={"a": 1}).write(Progress())
    assert Checkpoints.of(None, output, force=True, made={"a": 1}).read() is not None
    assert Checkpoints.of(None, output, force=True, made={"a": 2}).read() is None


def test_broken_checkpoints_are_refused_in_one_line(tmp_path: Path) -> None:
    kept = Checkpoints.of(tmp_path, tmp_path / "out.pb", force=False, made={"a": 1})
    kept.write(Progress(state={WEIGHTS: np.ones(3)}))
    whole = kept.file.read_bytes()
    for end in range(0, len(whole), 37):
        kept.file.write_bytes(whole[:end])
        with pytest.raises(InputError):
            kept.read()
    np.savez(kept.file, other=np.ones(3))
    with pytest.raises(InputError, match="is no checkpoint of a fine-tuning"):
        kept.read()


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="file/here cannot be made: not a directory"):
        Checkpoints.of(tmp_path / "file" / "here", tmp_path / "out.pb", force=False, made={})


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (Settings(learning_rate=0.0), "`--learning-rate` takes a number above 0, not 0"),
        (Settings(learning_rate=math.inf), "`--learning-rate` takes a number above 0, not inf"),
        (Settings(decay=1.5), "`--decay` takes a number above 0, at most 1, not 1.5"),
        (Settings(epochs=0), "`--epochs` takes a whole number from 1, not 0"),
        (Settings(batch=0), "`--batch` takes a whole number from 1, not 0"),
        (Settings(label_smoothing=1.0), "`--label-smoothing` takes a number from 0, below 1, not 1"),
        (Settings(l2=-1.0), "`--l2` takes a number from 0, not -1"),
        (Settings(average=1.5), "`--average` takes a number from 0 to 1, not 1.5"),
        (Settings(patience=-1), "`--patience` takes a whole number from 0, not -1"),
    ],
)
def test_settings_out_of_range(settings: Settings, message: str) -> None:
    with pytest.raises(UsageError) as caught:
        settings.check()
    assert caught.value.message == message
