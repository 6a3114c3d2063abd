"""Single outputs of every kind: what passes, what fails, what proves nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tfinspect.errors import UsageError
from tfinspect.verify.compare import items_of as cut
from tfinspect.verify.compare import plain_array, scales_of
from tfinspect.verify.report import Subject
from tfinspect.verify.run import Pair, Recording, Run, fetches_of, judge
from tfinspect.verify.tolerance import Override, precision_of, tolerance_for
from tfinspect.verify.verdict import Verdict, combine
from tfinspect.verify.weights import WeightsReport

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tfinspect.verify.report import Report

PASS, FAIL, INCONCLUSIVE = Verdict.PASS, Verdict.FAIL, Verdict.INCONCLUSIVE
ORDER = {PASS: 0, INCONCLUSIVE: 1, FAIL: 2}


def recording(arrays: Sequence[Any], again: Sequence[Any] = (), **more: Sequence[Any]) -> Recording:
    columns = {"y": arrays, **more}
    runs = tuple(
        Run({k: plain_array(v[i]) for k, v in columns.items()}, "", str(i), ((1 + i % 3, 7),))
        for i in range(len(arrays))
    )
    return Recording(Subject(), runs, {"plain": {i: {"y": plain_array(a)} for i, a in enumerate(again)}})


def verdict_of(a: Sequence[Any], b: Sequence[Any], op: str = "Add", **options: Any) -> Report:
    return judge(recording(a), recording(b), [Pair("y", "y", op=op)], **options)


def random(shape: tuple[int, ...], seed: int = 0, runs: int = 8, dtype: Any = np.float32) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    return [np.asarray(rng.standard_normal(shape)).astype(dtype) for _ in range(runs)]


@settings(deadline=None, max_examples=40)
@given(
    st.lists(st.integers(1, 5), max_size=4).map(tuple), st.integers(0, 1000),
    st.sampled_from([np.float16, np.float32, np.float64, np.complex64]),
)  # fmt: skip
def test_a_tensor_agrees_with_itself_where_it_varies(shape: tuple[int, ...], seed: int, dtype: Any) -> None:
    arrays = random(shape, seed, dtype=dtype)
    assert verdict_of(arrays, arrays).verdict is PASS


@settings(deadline=None, max_examples=40)
@given(
    st.lists(st.integers(0, 5), max_size=3).map(tuple),
    st.floats(-1e6, 1e6),
    st.sampled_from(["f4", "f8", "i4", "?", "S1"]),
)
def test_a_constant_never_passes(shape: tuple[int, ...], value: float, dtype: str) -> None:
    arrays = [np.full(shape, value).astype(dtype)] * 8
    assert verdict_of(arrays, arrays).verdict is INCONCLUSIVE


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 1000), st.lists(st.floats(1e-9, 10.0), min_size=2, max_size=6))
def test_the_verdict_is_monotone_in_the_error(seed: int, sizes: list[float]) -> None:
    arrays = random((5,), seed, dtype=np.float64)
    errors = random((5,), seed + 1, dtype=np.float64)
    found = [
        ORDER[verdict_of(arrays, [a + s * e for a, e in zip(arrays, errors, strict=True)]).verdict]
        for s in sorted(sizes)
    ]
    assert found == sorted(found)


def test_rounding_passes_and_a_thousandth_does_not() -> None:
    arrays = random((10,))
    rounded = [np.nextafter(a, np.float32(9)) for a in arrays]
    assert verdict_of(arrays, rounded).verdict is PASS
    report = verdict_of(arrays, [a * np.float32(1.001) for a in arrays])
    assert report.verdict is FAIL
    assert "constant factor of 1.001" in " ".join(report.outputs[0].reasons)


def test_one_element_of_many_that_is_off_fails() -> None:
    arrays = random((100_000,), runs=4)
    others = [a.copy() for a in arrays]
    others[2][4321] += 2e-4
    report = verdict_of(arrays, others)
    assert report.verdict is FAIL
    assert report.outputs[0].worst == (2, 4321)


def test_scalars_and_batches() -> None:
    scalars = random((), runs=16)
    assert verdict_of(scalars, scalars).verdict is PASS
    rng = np.random.default_rng(0)
    batches = [rng.standard_normal((1 + i % 3, 4)).astype("f4") for i in range(8)]
    report = verdict_of(batches, batches)
    assert report.verdict is PASS
    turned = [b[::-1] for b in batches]
    assert verdict_of(batches, turned).verdict is FAIL


def test_rows_of_a_batch_that_are_the_same_for_every_input_are_seen_through() -> None:
    arrays = [np.arange(12, dtype="f4").reshape(3, 4) * 1.5] * 8
    assert verdict_of(arrays, arrays).verdict is INCONCLUSIVE


@pytest.mark.parametrize("dtype", ["i4", "i8", "u1", "?"])
def test_integers_and_truths_are_equal_or_not(dtype: str) -> None:
    rng = np.random.default_rng(1)
    arrays = [rng.integers(0, 2, 6).astype(dtype) for _ in range(8)]
    assert verdict_of(arrays, arrays).verdict is PASS
    others = [a.copy() for a in arrays]
    others[3][2] = not others[3][2]
    report = verdict_of(arrays, others)
    assert report.verdict is FAIL
    assert report.outputs[0].worst == (3, 2)


def test_strings_are_compared_as_bytes() -> None:
    arrays = [np.array([b"caf\xc3\xa9", b"%d" % i], dtype=object) for i in range(8)]
    texts = [np.array(["caf\u00e9", str(i)], dtype=object) for i in range(8)]
    assert verdict_of(arrays, texts).verdict is PASS
    texts[5] = np.array(["cafe", "5"], dtype=object)
    assert verdict_of(arrays, texts).verdict is FAIL


def test_scalar_truths_repeat_by_nature() -> None:
    arrays = [np.asarray(i % 2 == 0) for i in range(8)]
    assert verdict_of(arrays, arrays).verdict is PASS


def test_a_mask_in_floats_is_no_saturated_softmax_where_the_op_is_known() -> None:
    rng = np.random.default_rng(2)
    arrays = [rng.integers(0, 2, 6).astype("f4") for _ in range(8)]
    assert verdict_of(arrays, arrays, op="Cast").verdict is PASS
    for op in ("", "Softmax"):
        report = verdict_of(arrays, arrays, op=op)
        assert report.verdict is INCONCLUSIVE
        assert "saturated" in report.outputs[0].reasons[0]


def test_dtype_and_shape_come_first() -> None:
    arrays = random((4,))
    report = verdict_of(arrays, [a.astype("f8") for a in arrays])
    assert report.outputs[0].reasons == ("dtype is float64, the reference's float32",)
    report = verdict_of(arrays, [a[:, None] for a in arrays])
    assert report.verdict is FAIL
    assert report.outputs[0].reasons[0] == "shape is [4, 1] in run 0, the reference's [4]"


def test_empty_tensors_prove_nothing() -> None:
    arrays = [np.zeros((0, 3), "f4")] * 8
    assert verdict_of(arrays, arrays).outputs[0].reasons == ("it has no elements",)


def test_no_output_is_no_pass() -> None:
    assert judge(recording(random((2,))), recording(random((2,))), []).verdict is INCONCLUSIVE


def test_nan_for_some_inputs_is_set_aside_and_must_agree() -> None:
    arrays = random((5,))
    with np.errstate(invalid="ignore"):
        logs = [np.log(a if i % 2 else np.abs(a) + 0.1) for i, a in enumerate(arrays)]
    report = verdict_of(logs, logs)
    assert report.verdict is PASS
    assert "prove nothing" in report.outputs[0].reasons[0]
    filled = [np.nan_to_num(a) for a in logs]
    assert verdict_of(logs, filled).verdict is FAIL
    assert verdict_of(filled, logs).verdict is FAIL
    nothing = [np.full(3, np.nan, "f4")] * 8
    assert verdict_of(nothing, nothing).verdict is INCONCLUSIVE


def test_infinities_need_the_same_sign() -> None:
    arrays = random((5,))
    arrays[2][0] = np.inf
    others = [a.copy() for a in arrays]
    assert verdict_of(arrays, others).verdict is PASS
    others[2][0] = -np.inf
    report = verdict_of(arrays, others)
    assert report.verdict is FAIL
    assert "[2, 0]" in report.outputs[0].reasons[0]


def test_a_tiny_variation_on_a_large_level_is_ill_conditioned() -> None:
    arrays = [np.float32(0.001) + a * np.float32(1e-9) for a in random((1000,))]
    report = verdict_of(arrays, arrays)
    assert report.verdict is INCONCLUSIVE
    assert "ill-conditioned" in report.outputs[0].reasons[0]


def test_numbers_whose_squares_overflow_raise_no_warning() -> None:
    arrays = [a * 1e200 for a in random((5,), dtype=np.float64)]
    assert verdict_of(arrays, arrays).verdict is not FAIL
    assert verdict_of(arrays, [a * 3 for a in arrays]).verdict is not PASS


def test_what_does_not_repeat_itself_proves_nothing() -> None:
    arrays = random((20,))
    again = random((20,), seed=9, runs=3)
    report = judge(recording(arrays, again), recording(arrays), [Pair("y", "y", op="Add")])
    assert report.verdict is INCONCLUSIVE
    assert "does not repeat itself" in report.outputs[0].reasons[0]


def test_measured_noise_widens_the_tolerance_up_to_its_limit() -> None:
    arrays = random((50,))
    again = [a + np.float32(1e-5) * e for a, e in zip(arrays, random((50,), seed=4), strict=True)][:3]
    others = [a + np.float32(1e-5) * e for a, e in zip(arrays, random((50,), seed=5), strict=True)]
    assert verdict_of(arrays, others).verdict is FAIL
    report = judge(recording(arrays, again), recording(others), [Pair("y", "y", op="Add")])
    assert report.verdict is PASS
    assert 5e-6 < (report.outputs[0].tolerance or 0) <= 1e-4


def test_an_output_that_moves_for_few_inputs_only_proves_nothing() -> None:
    arrays = [np.zeros(30, "f4") + 0.5 for _ in range(8)]
    arrays[4] = random((30,))[0]
    report = verdict_of(arrays, arrays)
    assert report.verdict is INCONCLUSIVE
    assert report.outputs[0].reasons == ("it does not change with the input for most inputs",)
    arrays[5], arrays[6] = random((30,), seed=3)[:2]
    assert "blind" in verdict_of(arrays, arrays).outputs[0].reasons[0]


def test_a_constant_that_differs_fails() -> None:
    arrays = [np.ones(4, "f4")] * 8
    assert verdict_of(arrays, [a * 2 for a in arrays]).verdict is FAIL


def test_rounded_values_may_be_one_step_off_only_where_what_is_rounded_agrees() -> None:
    rng = np.random.default_rng(0)
    before = [rng.uniform(0, 255, (40, 50)).astype("f4") for _ in range(8)]
    after = [b.astype("u1") for b in before]
    others = [a.copy() for a in after]
    others[1][3, 4] ^= 1
    pair = Pair("y", "y", ("x", "x"), "Cast")
    assert judge(recording(after, x=before), recording(others, x=before), [pair]).verdict is PASS
    assert verdict_of(after, others).verdict is FAIL
    others[1][3, 4] = after[1][3, 4] ^ 8
    assert judge(recording(after, x=before), recording(others, x=before), [pair]).verdict is FAIL


def softmax(x: np.ndarray) -> np.ndarray:
    e = np.exp(x - x.max())
    return np.asarray(e / e.sum())


def test_a_softmax_passes_only_with_its_logits() -> None:
    logits = random((100,))
    probs = [softmax(x) for x in logits]
    pair = Pair("y", "y", ("x", "x"), "Softmax")
    assert judge(recording(probs, x=logits), recording(probs, x=logits), [pair]).verdict is PASS
    moved = [x + np.float32(1) for x in logits]  # a softmax does not see an offset
    assert judge(recording(probs, x=logits), recording(probs, x=moved), [pair]).verdict is FAIL
    steady = [logits[0]] * 8
    assert judge(recording(probs, x=steady), recording(probs, x=steady), [pair]).verdict is INCONCLUSIVE


def test_logits_do_not_excuse_a_softmax_that_does_not_follow_from_them() -> None:
    logits = [1e-6 * x for x in random((100,))]
    probs = [softmax(x) for x in logits]
    pair = Pair("y", "y", ("x", "x"), "Softmax")
    flat = judge(recording(probs, x=logits), recording(probs, x=logits), [pair])
    assert flat.verdict is PASS
    assert flat.outputs[0].via_logits
    other = [softmax(x * 100) for x in logits]
    assert judge(recording(probs, x=logits), recording(other, x=logits), [pair]).verdict is not PASS


def test_weights_take_part() -> None:
    arrays = random((4,))
    assert verdict_of(arrays, arrays, weights=WeightsReport()).verdict is PASS
    lost = WeightsReport(unaccounted=("w",))
    assert verdict_of(arrays, arrays, weights=lost).verdict is INCONCLUSIVE
    assert verdict_of(arrays, arrays, weights=lost, partial_weights=True).verdict is PASS
    wrong = verdict_of(arrays, arrays, weights=WeightsReport(wrong=("`w` differs",)))
    assert wrong.verdict is FAIL
    assert wrong.to_json()["weights"]["complete"] is False  # type: ignore[index,call-overload]


def test_recordings_must_match() -> None:
    arrays = random((4,))
    with pytest.raises(UsageError, match="over 8 feeds"):
        judge(recording(arrays), recording(arrays[:3]), [Pair("y", "y")])
    with pytest.raises(UsageError, match="`z` was not recorded"):
        judge(recording(arrays), recording(arrays), [Pair("y", "z")])
    assert fetches_of([Pair("a", "b", ("c", "d")), Pair("a", "e")]) == (["a", "c"], ["b", "d", "e"])


def test_tolerances() -> None:
    single = precision_of(plain_dtype("f4"))
    assert tolerance_for(0.0, single).value == 5e-6
    assert tolerance_for(1e-5, single).value == pytest.approx(5e-5)
    assert tolerance_for(1.0, single).value == 1e-4
    assert precision_of(plain_dtype("f8")).most < single.least < precision_of(plain_dtype("f2")).least
    bounds = tolerance_for(0, single, Override(rtol=0.1, atol=1.0)).element_bounds(np.array([10.0]), 5.0)
    assert bounds.tolist() == [2.0]


def plain_dtype(name: str) -> Any:
    from tfinspect.ir.dtypes import DType

    return DType.from_numpy(np.dtype(name))


def test_a_few_inputs_of_high_amplitude_do_not_widen_the_scale() -> None:
    arrays = random((100,))
    plain = scales_of(cut(list(enumerate(arrays)), rows=False)).typical
    arrays[3] = arrays[3] * 1000
    assert scales_of(cut(list(enumerate(arrays)), rows=False)).typical < 1.3 * plain


def test_verdicts_combine() -> None:
    assert combine([PASS, PASS]) is PASS
    assert combine([PASS, INCONCLUSIVE]) is INCONCLUSIVE
    assert combine([INCONCLUSIVE, FAIL, PASS]) is FAIL
    assert combine([]) is INCONCLUSIVE
    assert [int(v.exit_status) for v in (PASS, FAIL, INCONCLUSIVE)] == [0, 1, 6]
