from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tfinspect.errors import UsageError
from tfinspect.ir.tensors import Tensor
from tfinspect.verify.folds import Fold, Recomputed, batch_norm_scale, batch_norm_shift, merged_kernel
from tfinspect.verify.recurrent import Layer
from tfinspect.verify.weights import WeightsReport, account

RNG = np.random.default_rng(7)
KERNEL = RNG.standard_normal((3, 3, 8, 16)).astype("f4")
GAMMA, BETA, MEAN = (RNG.standard_normal(16).astype("f4") for _ in range(3))
VARIANCE = (RNG.random(16) + 0.1).astype("f4")


def tensors(**arrays: np.ndarray) -> dict[str, Tensor]:
    return {name: Tensor.of(array) for name, array in arrays.items()}


def weigh(source: dict[str, np.ndarray], target: dict[str, np.ndarray], **options: object) -> WeightsReport:
    return account(tensors(**source), tensors(**target), **options)


def folded_kernel() -> np.ndarray:
    # as a converter does it, in float32 throughout
    return (KERNEL * (GAMMA / np.sqrt(VARIANCE + np.float32(1e-3)))).transpose(3, 2, 0, 1)


def folded_bias() -> np.ndarray:
    return (0 - MEAN) * (GAMMA / np.sqrt(VARIANCE + np.float32(1e-3))) + BETA


SOURCE = {"k": KERNEL, "gamma": GAMMA, "beta": BETA, "mean": MEAN, "var": VARIANCE}


def test_identical_reshaped_and_permuted() -> None:
    found = weigh({"k": KERNEL}, {"a": KERNEL, "b": KERNEL.reshape(9, 128), "c": KERNEL.transpose(3, 2, 0, 1)})
    assert [a.name for a in found.identical] == ["a", "b"]
    assert found.permuted[0].permutation == (3, 2, 0, 1)
    assert found.permuted[0].sources == ("k",)
    assert found.complete
    assert found.elements == 3 * KERNEL.size
    assert not found.unused


def test_a_depthwise_kernel_is_permuted_and_reshaped() -> None:
    kernel = RNG.standard_normal((3, 3, 16, 2)).astype("f4")
    found = weigh({"k": kernel}, {"w": kernel.transpose(2, 3, 0, 1).reshape(32, 1, 3, 3)})
    assert found.permuted[0].permutation == (2, 3, 0, 1)


@settings(deadline=None, max_examples=60)
@given(st.lists(st.integers(1, 5), min_size=1, max_size=5), st.randoms(use_true_random=False), st.integers(0, 2**31))
def test_every_permutation_is_found_and_every_flipped_bit_is_seen(shape: list[int], chance: object, seed: int) -> None:
    array = np.random.default_rng(seed).standard_normal(shape).astype("f4")
    order = list(range(len(shape)))
    chance.shuffle(order)  # type: ignore[attr-defined]
    turned = array.transpose(order).copy()
    found = weigh({"k": array}, {"w": turned})
    assert len(found.identical) + len(found.permuted) == 1
    bits = turned.reshape(-1).view("u4")
    bits[seed % bits.size] ^= np.uint32(1 << (seed % 31))
    changed = weigh({"k": array}, {"w": turned})
    assert not changed.identical
    assert not changed.permuted


def test_one_weight_off_by_a_percent_is_wrong_and_named() -> None:
    other = KERNEL.transpose(3, 2, 0, 1).copy()
    other[5, 2, 1, 0] *= np.float32(1.01)
    found = weigh({"z": np.ones_like(KERNEL) * RNG.random(16, dtype="f4"), "k": KERNEL}, {"w": other})
    assert "`w` differs from `k` in 1 of 1,152 elements, first at [5, 2, 1, 0]" in found.wrong[0]
    assert not found.complete


def test_the_same_values_in_another_order_are_not_accounted_for() -> None:
    rows = KERNEL[:, :, ::-1]
    found = weigh({"k": KERNEL}, {"w": rows})
    assert found.unaccounted == ("w",)
    assert not found.complete


def test_small_and_trivial_arrays_do_not_spoil_completeness() -> None:
    target = {
        "shape": np.array([1, -1]), "eps": np.array(1e-3, "f4"), "zeros": np.zeros(1000, "f4"), "range": np.arange(5000),
        "few": RNG.random(63).astype("f4"), "none": np.zeros((0, 4), "f4"), "text": np.array([b"a"] * 80, dtype=object),
    }  # fmt: skip
    found = weigh(SOURCE, target)
    assert found.complete
    assert set(found.trivial) == {"eps", "zeros", "range"}
    assert set(found.small) == {"shape", "few", "none", "text"}


@pytest.mark.parametrize("array", [RNG.random(64).astype("f4"), RNG.integers(0, 9, 100), RNG.random(64) > 0.5])
def test_large_arrays_from_nowhere_do(array: np.ndarray) -> None:
    found = weigh(SOURCE, {"new": array})
    assert found.unaccounted == ("new",)
    assert not found.complete


def test_negative_zero_is_not_zero_and_nan_is_itself() -> None:
    array = np.array([0.0, np.nan, 1.0, 2.0], "f4")
    assert weigh({"k": array}, {"w": array}).identical
    assert not weigh({"k": array}, {"w": np.array([-0.0, np.nan, 1.0, 2.0], "f4")}).identical


def test_a_batch_normalisation_folded_into_a_kernel_is_found_without_being_declared() -> None:
    found = weigh(SOURCE, {"conv_weights_fused_bn": folded_kernel(), "conv_bias_fused_bn": folded_bias()})
    assert found.complete
    assert not found.small
    sources = {a.name: set(a.sources) for a in found.folded}
    assert sources == {
        "conv_weights_fused_bn": {"k", "gamma", "var"}, "conv_bias_fused_bn": {"beta", "mean", "gamma", "var"},
    }  # fmt: skip


def test_a_folded_depthwise_kernel_with_a_dead_channel_is_found() -> None:
    kernel = RNG.standard_normal((3, 3, 16, 1)).astype("f4")
    kernel[:, :, 3] = 0
    scale = 1 / np.sqrt(VARIANCE + np.float32(0.0123))  # no gamma; an epsilon nobody would guess, given as scalar
    target = {"w": (kernel * scale[:, None]).transpose(2, 3, 0, 1)}
    source = {"k": kernel, "var": VARIANCE, "eps": np.array(0.0123, "f4")}
    assert weigh(source, target).folded[0].sources == ("k", "var")
    assert not weigh({"k": kernel, "var": VARIANCE}, target).complete
    assert weigh({"k": kernel, "var": VARIANCE}, target, epsilons=[0.0123]).complete


def test_a_fault_in_a_folded_kernel_is_not_folded() -> None:
    faulty = folded_kernel().copy()
    faulty[3, 1, 2, 2] *= np.float32(1.0001)
    assert not weigh(SOURCE, {"w": faulty, "b": folded_bias()}).complete
    channel = folded_kernel().copy()
    channel[3] *= np.float32(1.01)
    assert not weigh(SOURCE, {"w": channel, "b": folded_bias()}).complete
    assert not weigh(SOURCE, {"w": (KERNEL * GAMMA).transpose(3, 2, 0, 1)}).complete


def test_declared_folds_are_recomputed() -> None:
    scale = batch_norm_scale(GAMMA.astype("f8"), VARIANCE, 1e-3)
    kernel = (KERNEL.astype("f8") * scale.value).transpose(3, 2, 0, 1)
    folds = {
        "w": Fold(lambda: Recomputed(kernel, np.abs(kernel)), ("k", "gamma", "var")),
        "b": Fold(lambda: batch_norm_shift(BETA.astype("f8"), MEAN, scale.value), ("beta", "mean", "gamma", "var")),
    }
    assert weigh(SOURCE, {"w": folded_kernel(), "b": folded_bias()}, folds=folds).complete
    bias = folded_bias()
    bias[2] += np.float32(1e-5)
    found = weigh(SOURCE, {"w": folded_kernel(), "b": bias}, folds=folds)
    assert "`b`: 1 of 16 elements" in found.wrong[0]
    assert "has 8 elements" in weigh(SOURCE, {"b": bias[:8]}, folds={"b": folds["b"]}).wrong[0]


def test_declared_provenance_is_checked() -> None:
    assert weigh(SOURCE, {"w": KERNEL.transpose(3, 2, 0, 1)}, provenance={"w": "k"}).permuted[0].sources == ("k",)
    assert weigh(SOURCE, {"w": BETA}, provenance={"w": "gamma"}).wrong == ("`w` is not `gamma`",)
    with pytest.raises(UsageError, match="`gone` is declared as a source"):
        weigh(SOURCE, {"w": BETA}, provenance={"w": "gone"})
    with pytest.raises(UsageError, match="no weight of the candidate"):
        weigh(SOURCE, {"w": BETA}, provenance={"v": "beta"})


def test_what_was_dropped_is_listed() -> None:
    extra = RNG.random(100).astype("f4")
    assert weigh({**SOURCE, "aux": extra}, {"w": KERNEL}).unused == ("aux",)


def test_many_large_weights() -> None:
    source = {f"k{i}": RNG.random((1, 1, 1024, 1024), dtype="f4") for i in range(12)}
    target = {f"w{i}": array.transpose(3, 2, 0, 1) for i, array in enumerate(source.values())}
    found = weigh(source, target)
    assert len(found.permuted) == 12


def gates(array: np.ndarray, order: tuple[int, ...]) -> np.ndarray:
    parts = np.split(array, len(order), axis=-1)
    return np.concatenate([parts[gate] for gate in order], axis=-1)


def lstm(seed: int, size: int = 6, units: int = 10) -> dict[str, np.ndarray]:
    random = np.random.default_rng(seed)
    shapes = {"kernel": (size, 4 * units), "state": (units, 4 * units), "bias": (4 * units,)}
    return {f"{name}_{seed}": random.standard_normal(shape).astype("f4") for name, shape in shapes.items()}


def as_onnx(*layers: dict[str, np.ndarray], order: tuple[int, ...] = (0, 3, 1, 2)) -> dict[str, np.ndarray]:
    parts: dict[str, list[np.ndarray]] = {"W": [], "R": [], "B": []}
    for layer in layers:
        kernel, state, bias = layer.values()
        parts["W"].append(gates(kernel, order).T)
        parts["R"].append(gates(state, order).T)
        parts["B"].append(np.concatenate((gates(bias, order), np.zeros_like(bias))))
    return {name: np.ascontiguousarray(np.stack(blocks)) for name, blocks in parts.items()}


LSTM = [Layer("LSTM", "W", "R", "B")]


@pytest.mark.parametrize("count", [1, 2])
@pytest.mark.parametrize("order", [(0, 3, 1, 2), (0, 3, 2, 1)])
def test_gates_of_an_lstm_in_another_order(count: int, order: tuple[int, ...]) -> None:
    layers = [lstm(seed) for seed in range(count)]
    source = {name: array for layer in layers for name, array in layer.items()}
    target = as_onnx(*layers, order=order)
    found = weigh(source, target, recurrent=LSTM)
    assert {a.name: a.sources for a in found.joined} == {
        name: tuple(f"{kind}_{seed}" for seed in range(count))
        for name, kind in (("W", "kernel"), ("R", "state"), ("B", "bias"))
    }
    assert found.complete
    assert not found.unused
    assert found.elements == sum(array.size for array in target.values())
    assert not weigh(source, target).complete, "without the layer being declared"


def test_one_kernel_for_input_and_state_and_a_number_for_the_forget_gate() -> None:
    whole = RNG.standard_normal((16, 40)).astype("f4")
    bias = RNG.standard_normal(40).astype("f4")
    target = as_onnx({"k": whole[:6], "r": whole[6:], "b": bias}, order=(0, 3, 2, 1))
    target["B"][0, 20:30] += np.float32(1.5)
    found = weigh({"whole": whole, "bias": bias, "forget": np.float32(1.5)}, target, recurrent=LSTM)
    assert {a.name: a.sources for a in found.joined} == {
        "W": ("whole",), "R": ("whole",), "B": ("bias", "forget")
    }  # fmt: skip
    assert not weigh({"whole": whole, "bias": bias, "forget": np.float32(1.25)}, target, recurrent=LSTM).complete


def test_both_directions_of_a_gru() -> None:
    random = np.random.default_rng(4)
    kernels = {f"k{d}": random.standard_normal((6, 27)).astype("f4") for d in range(2)}
    biases = {f"b{d}": random.standard_normal((2, 27)).astype("f4") for d in range(2)}
    target = {
        "W": np.stack([k.T for k in kernels.values()]), "B": np.stack([b.reshape(-1) for b in biases.values()])
    }  # fmt: skip
    found = weigh({**kernels, **biases}, target, recurrent=[Layer("GRU", "W", "R", "B")])
    assert [a.sources for a in found.joined] == [("k0", "k1"), ("b0", "b1")]
    assert found.complete


@settings(deadline=None, max_examples=40)
@given(st.sampled_from("WRB"), st.integers(0, 10**6), st.integers(0, 31))
def test_every_flipped_bit_of_a_recurrent_layer_is_wrong(name: str, place: int, bit: int) -> None:
    layers = [lstm(0), lstm(1)]
    source = {key: array for layer in layers for key, array in layer.items()}
    target = as_onnx(*layers)
    bits = target[name].reshape(-1).view("u4")
    at = place % bits.size
    bits[at] ^= np.uint32(1 << bit)
    found = weigh(source, target, recurrent=LSTM)
    assert not found.complete
    (said,) = found.wrong
    index = [int(i) for i in np.unravel_index(at, target[name].shape)]
    assert said.startswith(f"`{name}` differs from `")
    assert said.endswith(f"in 1 of {bits.size:,} elements, first at {index}")


@pytest.mark.parametrize("fault", ["gates", "directions", "units", "halves"])
def test_a_recurrent_layer_put_together_wrongly_is_not_accounted_for(fault: str) -> None:
    layers = [lstm(0), lstm(1)]
    source = {key: array for layer in layers for key, array in layer.items()}
    target = as_onnx(*layers)
    if fault == "gates":
        target = as_onnx(*layers, order=(0, 1, 2, 3))
    elif fault == "directions":  # of one kernel half of the rows
        target["W"] = np.concatenate((target["W"][1:, :20], target["W"][:1, 20:]), axis=1).repeat(2, axis=0)
    elif fault == "units":
        target["W"] = target["W"][:, ::-1].copy()
    else:
        target["B"] = np.roll(target["B"], 40, axis=1)
    found = weigh(source, target, recurrent=LSTM)
    assert not found.complete


@pytest.mark.parametrize("shape", [(3, 3, 4, 16), (2, 3, 3, 4, 16)])
@pytest.mark.parametrize("factor", [np.float32(1 / 127.5), RNG.random((1, 16)).astype("f4")])
def test_a_factor_behind_a_convolution_goes_into_its_kernel(shape: tuple[int, ...], factor: np.ndarray) -> None:
    kernel = RNG.standard_normal(shape).astype("f4")
    order = (len(shape) - 1, len(shape) - 2, *range(len(shape) - 2))
    merged = np.ascontiguousarray((kernel * factor).transpose(order))
    fold = merged_kernel(Tensor.of(kernel), Tensor.of(factor), ("k", "f"))
    source = {"k": kernel, "f": factor}
    found = weigh(source, {"w": merged}, folds={"w": fold})
    assert [a.sources for a in found.folded] == [("k", "f")]
    assert found.complete
    for place, bit in ((0, 2), (merged.size // 2, 22), (merged.size - 1, 31)):
        other = merged.copy()
        other.reshape(-1).view("u4")[place] ^= np.uint32(1 << bit)
        wrong = weigh(source, {"w": other}, folds={"w": fold}).wrong
        assert len(wrong) == 1
        assert wrong[0].startswith("`w`: 1 of ")


def test_a_factor_of_another_size_is_no_such_fold() -> None:
    assert merged_kernel(Tensor.of(KERNEL), Tensor.of(np.ones(8, "f4")), ("k", "f")) is None
    assert merged_kernel(Tensor.of(np.ones((4, 16), "f4")), Tensor.of(np.ones(16, "f4")), ("k", "f")) is None
