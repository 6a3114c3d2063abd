"""Planted faults: FAIL on every real one, INCONCLUSIVE on everything vacuous, PASS on what is right."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Self

import numpy as np
import pytest

from tfinspect.errors import RuntimeFailedError
from tfinspect.ir.dtypes import DType
from tfinspect.verify.feeds import FeedSpec, make_feeds
from tfinspect.verify.run import Pair, judge, record
from tfinspect.verify.tolerance import Override
from tfinspect.verify.verdict import Verdict

SPEC = FeedSpec("x:0", DType.FLOAT, (None, 24, 20, 3), "image")
PAIRS = [Pair("probs:0", "probs", ("logits:0", "logits"), "Softmax")]
NAMES = ("conv1", "relu1", "conv2", "relu2", "pool", "logits", "probs")


def conv(x: np.ndarray, kernel: np.ndarray, *, backwards: bool = False, shift: int = 0) -> np.ndarray:
    """3x3, SAME; `backwards` sums in another order, which is what makes two runtimes differ."""
    height, width = x.shape[1:3]
    padded = np.pad(x, ((0, 0), (1 + shift, 1), (1, 1), (0, 0)))
    taps = [(i, j) for i in range(3) for j in range(3)]
    out = np.zeros((*x.shape[:3], kernel.shape[3]), np.float32)
    for i, j in reversed(taps) if backwards else taps:
        out = out + (padded[:, i : i + height, j : j + width] @ kernel[i, j]).astype(np.float32)
    return out


@dataclass
class Net:
    """Convolution, batch norm, Relu6, pooling, convolution, ReLU, mean, dense, softmax, all in float32 NumPy."""

    seed: int = 0
    fault: str = ""
    backwards: bool = False
    weights: dict[str, np.ndarray] = field(default_factory=dict)

    def __post_init__(self) -> None:
        rng = np.random.default_rng(self.seed)

        def normal(*shape: int, scale: float) -> np.ndarray:
            return (rng.standard_normal(shape) * scale).astype(np.float32)

        self.weights = {
            "k1": normal(3, 3, 3, 8, scale=0.5), "k2": normal(3, 3, 8, 16, scale=0.2), "w": normal(16, 10, scale=1.0),
            "gamma": 2 + normal(8, scale=0.3), "beta": 1 + normal(8, scale=0.3), "mean": normal(8, scale=0.3),
            "var": 0.5 + np.abs(normal(8, scale=0.5)), "b": normal(10, scale=0.3),
        }  # fmt: skip
        plant = getattr(self, f"_plant_{self.fault}", None)
        if plant:
            plant(self.weights)

    @staticmethod
    def _plant_one_scalar(w: dict[str, np.ndarray]) -> None:
        k = w["k1"].reshape(-1)
        k[int(np.abs(k).argmax())] *= np.float32(1.01)

    @staticmethod
    def _plant_kernel_scaled(w: dict[str, np.ndarray]) -> None:
        w["k2"] = w["k2"] * np.float32(1.01)

    @staticmethod
    def _plant_transposed(w: dict[str, np.ndarray]) -> None:
        w["k1"] = w["k1"].transpose(1, 0, 2, 3).copy()

    @staticmethod
    def _plant_channels(w: dict[str, np.ndarray]) -> None:
        w["k1"] = w["k1"][:, :, ::-1].copy()

    @staticmethod
    def _plant_classes(w: dict[str, np.ndarray]) -> None:
        w["w"], w["b"] = (np.concatenate((a[..., [1, 0]], a[..., 2:]), -1) for a in (w["w"], w["b"]))

    @staticmethod
    def _plant_half(w: dict[str, np.ndarray]) -> None:
        w["k1"] = w["k1"].astype(np.float16).astype(np.float32)

    @staticmethod
    def _plant_dead(w: dict[str, np.ndarray]) -> None:
        w["beta"] = w["beta"] - np.float32(1e4)

    @staticmethod
    def _plant_saturated(w: dict[str, np.ndarray]) -> None:
        w["w"] = w["w"] * np.float32(1e4)

    @staticmethod
    def _plant_zero_weights(w: dict[str, np.ndarray]) -> None:
        for value in w.values():
            value[...] = 0
        w["var"][...] = 1

    @staticmethod
    def _plant_nan(w: dict[str, np.ndarray]) -> None:
        w["k2"][0, 0, 0, 0] = np.nan

    def tensors(self, x: np.ndarray) -> dict[str, np.ndarray]:
        w, fault, back = self.weights, self.fault, self.backwards
        epsilon = np.float32(1e-5 if fault == "epsilon" else 1e-3)
        c1 = conv(x, w["k1"], backwards=back, shift=int(fault == "pad"))
        scale = w["gamma"] / np.sqrt(w["var"] + epsilon)
        n1 = c1 * scale + (w["beta"] - w["mean"] * scale)
        r1 = np.maximum(n1, 0) if fault == "no_clip" else np.clip(n1, 0, 6)
        start = 1 if fault == "resize" else 0
        c2 = conv(r1[:, start::2, start::2], w["k2"], backwards=back)
        r2 = np.maximum(c2, 0)
        pool = r2[:, ::-1].mean(axis=(1, 2)) if back else r2.mean(axis=(1, 2))
        logits = pool @ w["w"] + w["b"]
        if fault == "constant":
            logits = np.broadcast_to(logits[:1] * 0 + w["b"], logits.shape)
        if fault == "first_row":
            logits = np.concatenate((logits[:1], np.repeat(logits[:1], len(logits) - 1, axis=0)))
        e = np.exp(logits - logits.max(axis=1, keepdims=True))
        return dict(zip(NAMES, (c1, r1, c2, r2, pool, logits, e / e.sum(axis=1, keepdims=True)), strict=True))


@dataclass
class NetRunner:
    net: Net
    batch: int | None = None
    runtime: str = "numpy"
    inputs: tuple[Any, ...] = ()
    outputs: tuple[Any, ...] = ()

    def run(self, fetches: Any, feeds: Any, *, variant: str = "default") -> list[np.ndarray]:
        (x,) = feeds.values()
        if self.batch is not None and len(x) != self.batch:
            raise RuntimeFailedError(f"got {len(x)} rows, expected {self.batch}")
        net = Net(self.net.seed, self.net.fault, not self.net.backwards) if variant == "plain" else self.net
        found = net.tensors(x)
        return [found[name.removesuffix(":0")] for name in fetches]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None: ...


def compare(reference: Net, candidate: Net, *, seed: int = 1, logits: bool = True, **options: Any) -> Any:
    feeds = make_feeds([SPEC], seed=seed, samples=8)
    pairs = PAIRS if logits else [Pair("probs:0", "probs", op="Softmax")]
    want = record(NetRunner(reference), ["probs:0", "logits:0"], feeds)
    got = record(NetRunner(candidate), ["probs", "logits"], feeds)
    return judge(want, got, pairs, seed=seed, **options)


FAULTS = (
    "one_scalar", "kernel_scaled", "transposed", "channels", "classes", "half", "epsilon", "pad", "no_clip", "resize",
    "constant", "dead", "first_row", "nan", "saturated", "zero_weights",
)  # fmt: skip


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_of_the_candidate_fails(fault: str) -> None:
    report = compare(Net(3), Net(3, fault, backwards=True))
    assert report.verdict is Verdict.FAIL
    assert report.outputs[0].reasons


@pytest.mark.parametrize("fault", ["constant", "dead", "zero_weights", "nan"])
def test_a_vacuous_reference_proves_nothing(fault: str) -> None:
    report = compare(Net(3, fault), Net(3, fault, backwards=True))
    assert report.verdict is Verdict.INCONCLUSIVE
    assert report.exit_status == 6


def test_a_saturated_softmax_alone_proves_nothing_and_with_its_logits_passes() -> None:
    alone = compare(Net(3, "saturated"), Net(3, "saturated", backwards=True), logits=False)
    assert alone.verdict is Verdict.INCONCLUSIVE
    assert "saturated" in alone.outputs[0].reasons[0]
    both = compare(Net(3, "saturated"), Net(3, "saturated", backwards=True))
    assert both.verdict is Verdict.PASS
    assert both.outputs[0].via_logits


def test_equal_inputs_prove_nothing() -> None:
    feeds = [{"x:0": np.ones((1, 24, 20, 3), np.float32)}] * 8
    want = record(NetRunner(Net(3)), ["probs:0", "logits:0"], feeds)
    got = record(NetRunner(Net(3)), ["probs", "logits"], feeds)
    assert judge(want, got, PAIRS).verdict is Verdict.INCONCLUSIVE


def test_there_is_no_false_alarm_over_fifty_networks() -> None:
    verdicts = [compare(Net(seed), Net(seed, backwards=True), seed=seed).verdict for seed in range(50)]
    assert verdicts == [Verdict.PASS] * 50


def test_a_baked_batch_is_a_failure_that_says_so() -> None:
    feeds = make_feeds([SPEC], seed=1, samples=8)
    want = record(NetRunner(Net(3)), ["logits:0"], feeds)
    got = record(NetRunner(Net(3), batch=1), ["logits"], feeds)
    report = judge(want, got, [Pair("logits:0", "logits")])
    assert report.verdict is Verdict.FAIL
    assert "refused 5 feeds" in report.reasons[0]
    assert "got 2 rows, expected 1" in report.reasons[0]


def test_what_the_reference_refuses_is_set_aside_and_said() -> None:
    feeds = make_feeds([SPEC], seed=1, samples=8)
    want = record(NetRunner(Net(3), batch=1), ["logits:0"], feeds)
    got = record(NetRunner(Net(3)), ["logits"], feeds)
    report = judge(want, got, [Pair("logits:0", "logits")])
    assert report.verdict is Verdict.PASS
    assert report.samples == 3
    assert "refused 5 of 8" in report.reasons[0]


def test_refusing_everything_is_the_runtimes_failure() -> None:
    with pytest.raises(RuntimeFailedError, match="expected 9"):
        record(NetRunner(Net(3), batch=9), ["logits"], make_feeds([SPEC], seed=1, samples=8))


def test_a_looser_tolerance_is_marked_and_still_must_tell_inputs_apart() -> None:
    half = compare(Net(3), Net(3, "half", backwards=True), override=Override(rtol=1e-2, atol=1e-2))
    assert half.verdict is Verdict.PASS
    assert half.relaxed
    blind = compare(Net(3), Net(3, "half", backwards=True), override=Override(atol=1e6))
    assert blind.verdict is Verdict.INCONCLUSIVE
    assert "blind" in " ".join(blind.outputs[0].logits.reasons)
    strict = compare(Net(3), Net(3, backwards=True), override=Override(rtol=1e-12))
    assert strict.verdict is Verdict.FAIL
    assert not strict.relaxed


def test_the_report_is_json() -> None:
    import json

    report = compare(Net(3), Net(3, backwards=True))
    shown = json.loads(json.dumps(report.to_json(), allow_nan=False))
    assert shown["verdict"] == "PASS"
    assert shown["outputs"][0]["name"] == "probs:0"
    assert {"max_abs", "max_rel", "rms", "noise", "tolerance", "worst", "candidate_name"} <= set(shown["outputs"][0])
    assert shown["outputs"][0]["logits"]["verdict"] == "PASS"
    assert shown["reference"]["runtime"] == "numpy"
    assert shown["samples"] == 8
