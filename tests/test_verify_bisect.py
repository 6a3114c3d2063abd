from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import pytest

from tfinspect.verify.bisect import Tap, first_divergence
from tfinspect.verify.causes import likely_cause

RNG = np.random.default_rng(3)


def image() -> np.ndarray:
    return RNG.standard_normal((2, 12, 12, 5))


def repeat(change: Any) -> str:
    a = [image() for _ in range(3)]
    return likely_cause(a, [change(x) for x in a])


def border(x: np.ndarray) -> np.ndarray:
    out = x.copy()
    out[:, 0] += 0.3
    out[:, :, -1] -= 0.2
    return out


def one_channel(x: np.ndarray) -> np.ndarray:
    out = x.copy()
    out[..., 2] *= 1.01
    return out


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda x: x * 1.01, "constant factor of 1.01"),
        (lambda x: x + 0.5, "constant offset of 0.5"),
        (lambda x: x.transpose(0, 2, 1, 3), "axes 1 and 2 are swapped"),
        (lambda x: x[:, :, ::-1], "axis 2 is reversed"),
        (lambda x: x[..., [0, 3, 2, 1, 4]], "channels 1, 3 of axis 3 are swapped"),
        (lambda x: x[..., [1, 2, 0, 3, 4]], "in another order"),
        (one_channel, "only channel 2 of axis 3 differs: a weight of that filter (a constant factor of 1.01)"),
        (lambda x: np.minimum(x, 1.0), "the candidate is clipped"),
        (border, "only the border differs: padding"),
        (lambda x: np.roll(x, 1, axis=1), "shifted by one along axis 1"),
        (lambda x: x * np.linspace(0.9, 1.1, 5) + np.arange(5) * 0.1, "normalisation or its epsilon"),
        (lambda x: x.astype(np.float16), "float16 rounding"),
        (lambda x: x * 0, "zero everywhere"),
        (lambda x: np.concatenate((x[:1], x[:1])), "only the first row of a batch agrees"),
        (lambda x: np.where(np.arange(5) == 2, np.nan, x), "NaN or infinity"),
        (lambda x: x + 1e-4 * RNG.standard_normal(x.shape), "small everywhere"),
        (np.ones_like, "does not depend on the input"),
        (lambda x: RNG.standard_normal(x.shape), ""),
        (lambda x: x, ""),
    ],
)  # fmt: skip
def test_causes_are_told_from_their_traces(change: Any, words: str) -> None:
    found = repeat(change)
    assert words in found
    assert bool(found) == bool(words)


def test_a_dropped_clip_is_told_from_an_added_one() -> None:
    a = [image() for _ in range(3)]
    assert "a clip was dropped" in likely_cause([np.clip(x, -1, 1) for x in a], a)


@dataclass
class Taps:
    """A chain of three tensors; the candidate speaks channels first."""

    first: bool = False
    fault_at: int = 9
    wide: bool = False
    runtime: str = "numpy"
    inputs: tuple[Any, ...] = ()
    outputs: tuple[Any, ...] = ()
    calls: int = 0

    def run(self, fetches: Any, feeds: Any, *, variant: str = "default") -> list[np.ndarray]:
        self.calls += 1
        value = next(iter(feeds.values()))
        found = []
        for at in range(3):
            value = np.tanh(value * 1.5 + 0.1)
            if at == self.fault_at:
                value = value * np.float32(1.01)
            found.append(value)
        found.append((value > 0).astype(np.int32))
        if self.first:
            found = [x.transpose(0, 3, 1, 2) for x in found]
        if self.wide:
            found[1] = np.concatenate((found[1], found[1]))
        return [found[int(name[1])] for name in fetches]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None: ...


ORDER = [Tap(f"t{i}:0", f"t{i}", f"node{i}", "Tanh") for i in range(4)]


def feeds() -> list[dict[str, np.ndarray]]:
    rng = np.random.default_rng(0)
    return [{"x": rng.standard_normal((1, 6, 6, 4)).astype("f4")} for _ in range(3)]


def test_two_layouts_agree() -> None:
    reference, candidate = Taps(), Taps(first=True)
    assert first_divergence(reference, candidate, ORDER, feeds()) is None
    assert (reference.calls, candidate.calls) == (4, 3)  # the first feed twice, to see what is drawn at random
    assert first_divergence(reference, candidate, [], feeds()) is None


@pytest.mark.parametrize("at", [0, 1, 2])
def test_the_first_tensor_that_differs_is_named(at: int) -> None:
    found = first_divergence(Taps(), Taps(first=True, fault_at=at), ORDER, feeds())
    assert found is not None
    assert (found.reference, found.node, found.op) == (f"t{at}:0", f"node{at}", "Tanh")
    assert "constant factor of 1.01" in found.cause
    assert found.agreeing == (f"t{at - 1}:0" if at else None)
    assert found.compared == 4


def test_a_shape_that_cannot_be_aligned_is_a_divergence() -> None:
    found = first_divergence(Taps(), Taps(wide=True), ORDER, feeds())
    assert found is not None
    assert found.reference == "t1:0"
    assert found.cause == "shape is [2, 6, 6, 4], the reference's [1, 6, 6, 4]"
