"""Which network a checkpoint holds: told from names and shapes, and from nothing else."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.slim_checkpoints import Shapes, shapes_of
from tfinspect import formats
from tfinspect.architectures import inception_v1, inception_v3
from tfinspect.architectures._width import best_width, scaled
from tfinspect.architectures.recognize import FAMILIES, check_whole, family_of, recognize
from tfinspect.errors import TfinspectError, UnrestoredVariablesError, UsageError
from tfinspect.ir.checkpoint import Checkpoint, VariableInfo, describe
from tfinspect.ir.dtypes import DType
from tfinspect.ir.graph import Graph, Node
from tfinspect.ir.tensors import Tensor
from tfinspect.surgery.shapes import TensorTypes

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tfinspect.architectures.family import Family
    from tfinspect.architectures.recognize import Recognized

ZOO = Path(__file__).parents[2] / "shared" / "zoo"
needs_zoo = pytest.mark.skipif(not ZOO.exists(), reason="the collection of real models is not beside the repository")
V1, V3 = inception_v1.FAMILY, inception_v3.FAMILY
V1_TOLD = {"Logits/Conv2d_0c_1x1/weights": (1, 1, 1024, 1001)}
V3_TOLD = {"Logits/Conv2d_1c_1x1/weights": (1, 1, 2048, 1001)}
SHAPES_V1, SHAPES_V3 = shapes_of(V1, V1_TOLD), shapes_of(V3, V3_TOLD)
CONV = "InceptionV3/Mixed_6b/Branch_1/Conv2d_0b_1x7"


def checkpoint(
    shapes: Mapping[str, tuple[int, ...]], dtypes: Mapping[str, DType] | None = None, path: str = "x.ckpt"
) -> Checkpoint:
    kinds = {name: (dtypes or {}).get(name, DType.FLOAT) for name in shapes}
    roles = describe((name, kinds[name], shape) for name, shape in shapes.items())
    found = {
        name: VariableInfo(name, kinds[name], shape, 0, role=roles[name][0], serves=roles[name][1])
        for name, shape in shapes.items()
    }
    return Checkpoint(path, "checkpoint_v2", found, lambda _: Tensor.of(0.0))


def known(shapes: Mapping[str, tuple[int, ...]]) -> Recognized:
    found = recognize(checkpoint(shapes))
    assert found is not None
    return found


def without(shapes: Shapes, *parts: str) -> Shapes:
    return {name: shape for name, shape in shapes.items() if not any(part in name for part in parts)}


def moved(shapes: Shapes, prefix: str) -> Shapes:
    return {f"{prefix}{name}": shape for name, shape in shapes.items()}


@pytest.mark.parametrize(
    ("shapes", "count", "text"),
    [
        (SHAPES_V1, 230, "Inception v1 (slim), 1001 classes, input 224x224 assumed"),
        (SHAPES_V3, 378, "Inception v3 (slim), 1001 classes, input 299x299 assumed"),
    ],
)
def test_a_whole_network_is_told_and_so_are_its_classes(shapes: Shapes, count: int, text: str) -> None:
    found = known(shapes)
    assert str(found) == text
    assert (found.wanted, found.is_whole, found.spare) == (count, True, ())
    check_whole(checkpoint(shapes), found)


@pytest.mark.parametrize("shapes", [SHAPES_V1, SHAPES_V3])
def test_shapes_go_through_to_the_classes(shapes: Shapes) -> None:
    graph = known(shapes).graph
    types = TensorTypes(graph)
    end = graph.nodes[-1]
    assert end.name.endswith("/Predictions/Reshape_1")
    softmax = next(node for node in graph.nodes if node.op == "Softmax")
    assert types.type_of(softmax.data_inputs[0]).shape == (None, 1001)
    assert [node.name for node in graph.topological()]  # every input is there, and no cycle


@pytest.mark.parametrize("prefix", ["module/", "model/", "tower_0/net/", "a-b.c/"])
def test_a_network_may_stand_in_a_scope(prefix: str) -> None:
    found = known({**moved(SHAPES_V1, prefix), "step": ()})
    assert (found.scope, found.is_whole) == (f"{prefix}InceptionV1", True)
    assert f"{prefix}InceptionV1/InceptionV1/Conv2d_1a_7x7/Conv2D" in found.graph
    assert f"{prefix}InceptionV1/Predictions/Reshape_1" in found.graph


def test_of_several_copies_the_whole_one_is_taken() -> None:
    broken = moved(without(SHAPES_V1, "Mixed_4"), "broken/")
    found = known({**broken, **moved(SHAPES_V1, "whole/")})
    assert (found.scope, found.is_whole) == ("whole/InceptionV1", True)
    assert len(found.spare) == len(broken)


def test_what_trainers_leave_does_not_matter() -> None:
    extra: Shapes = {"global_step": (), "InceptionV3/AuxLogits/Conv2d_2b_1x1/weights": (1, 1, 768, 1001)}
    for name, shape in SHAPES_V3.items():
        for slot in ("Momentum", "RMSProp", "ExponentialMovingAverage"):
            extra[f"{name}/{slot}"] = shape
    found = known({**SHAPES_V3, **extra})
    assert found.is_whole
    assert "InceptionV3/AuxLogits/Conv2d_2b_1x1/weights" in found.spare
    assert not [name for name in found.spare if "Momentum" in name]


def test_without_a_classifier_the_network_ends_with_the_features() -> None:
    found = known(without(SHAPES_V3, "/Logits/"))
    assert str(found) == "Inception v3 (slim), no classifier, input 299x299 assumed"
    assert found.is_whole
    assert found.graph.nodes[-1].name == "InceptionV3/Logits/AvgPool_1a_8x8/AvgPool"


def test_a_classifier_of_another_name_is_pointed_at() -> None:
    told = {"final/weights": (2048, 5), "final/biases": (5,), "hidden/weights": (128, 5)}
    found = known({**without(SHAPES_V3, "/Logits/"), **told})
    assert str(found).startswith("Inception v3 (slim), no classifier at its place, `final/weights` may be one, input")
    assert found.spare == ("final/weights", "final/biases", "hidden/weights")


def test_a_batch_norm_with_gamma_is_taken_as_it_is() -> None:
    shapes = dict(SHAPES_V1)
    shapes["InceptionV1/Conv2d_1a_7x7/BatchNorm/gamma"] = (64,)
    found = known(shapes)
    assert found.wanted == len(SHAPES_V1) + 1
    norm = found.graph.node("InceptionV1/InceptionV1/Conv2d_1a_7x7/BatchNorm/FusedBatchNormV3")
    assert norm.inputs[1] == "InceptionV1/Conv2d_1a_7x7/BatchNorm/gamma/read"


@pytest.mark.parametrize(
    ("family", "at", "size", "pool", "op"),
    [
        (V1, (224, 224), (7, 7), "AvgPool_0a_7x7/AvgPool", "AvgPool"),
        (V1, (192, 192), (6, 6), "global_pool", "Mean"),
        (V1, (256, 320), (8, 10), "global_pool", "Mean"),
        (V3, (299, 299), (8, 8), "AvgPool_1a_8x8/AvgPool", "AvgPool"),
        (V3, (139, 160), (3, 3), "AvgPool_1a_3x3/AvgPool", "AvgPool"),
        (V3, (400, 300), (11, 8), "global_pool", "Mean"),
        (V3, (75, 75), (1, 1), "AvgPool_1a_1x1/AvgPool", "AvgPool"),
    ],
)
def test_images_of_another_size(family: Family, at: tuple[int, int], size: tuple[int, int], pool: str, op: str) -> None:
    found = recognize(checkpoint(SHAPES_V1 if family is V1 else SHAPES_V3), at)
    assert found is not None
    assert (found.size, found.assumed) == (at, False)
    node = found.graph.node(f"{family.scope}/Logits/{pool}")
    assert node.op == op
    assert TensorTypes(found.graph).type_of(node.data_inputs[0]).shape == (None, *size, 1024 if family is V1 else 2048)


def test_images_may_be_too_small() -> None:
    with pytest.raises(UsageError, match=r"^images of 40x300 are too small: nothing is left of them at `InceptionV3/"):
        recognize(checkpoint(SHAPES_V3), (40, 300))


@pytest.mark.parametrize("width", [0.1, 0.25, 0.5, 0.75, 1.4, 2.0])
def test_the_width_is_told_from_the_layers(width: float) -> None:
    narrow = {"Mixed_7c/Branch_2/Conv2d_0a_1x1/weights": (1, 1, 1, scaled(448, width, 16)), **V3_TOLD}
    shapes = {name: shape for name, shape in shapes_of(V3, narrow).items() if "/Logits/" not in name}
    found = known(shapes)
    assert (found.width, found.is_whole) == (width, True)
    damaged = {**shapes, f"{CONV}/weights": (1, 7, 3, 5)}
    assert known(damaged).wrong.keys() == {f"{CONV}/weights"}


@given(st.floats(0.05, 4), st.integers(1, 16))
def test_any_width_is_explained(width: float, least: int) -> None:
    told = (32, 64, 80, 96, 192, 320, 384, 448)
    pairs = [(n, scaled(n, width, least)) for n in told]
    found = best_width(pairs, lambda n, w: scaled(n, w, least))
    right = sum(scaled(n, found, least) == units for n, units in pairs)
    assert right >= len(pairs) - 3  # a multiplier of many digits is not always found out, and then not claimed


# ----------------------------------------------------------------------------------------------------- what is refused


def test_a_part_of_a_network_is_refused_with_what_is_missing() -> None:
    part = without(SHAPES_V3, "Mixed_7c/")
    found = known(part)
    with pytest.raises(UnrestoredVariablesError) as caught:
        check_whole(checkpoint(part), found)
    assert caught.value.message == "x.ckpt looks like Inception v3 (slim), but lacks 36 of its 378 variables"
    assert caught.value.details[0] == "InceptionV3/Mixed_7c/Branch_0/Conv2d_0a_1x1/weights  (missing)"
    assert caught.value.details[-1] == "... and 28 more"
    assert caught.value.hint == "list what it holds: tfinspect vars x.ckpt"
    assert caught.value.evidence["missing"] == [name for name in SHAPES_V3 if "Mixed_7c/" in name]


def test_less_than_half_of_a_network_is_none() -> None:
    names = list(SHAPES_V3)
    assert recognize(checkpoint({name: SHAPES_V3[name] for name in names[:187]})) is None
    assert recognize(checkpoint({name: SHAPES_V3[name] for name in names[:188]})) is not None


@pytest.mark.parametrize(
    ("name", "shape", "dtype", "text"),
    [
        (f"{CONV}/weights", (7, 1, 128, 128), DType.FLOAT, "1x7x128x128 expected, found float32 7x1x128x128"),
        (f"{CONV}/BatchNorm/beta", (127,), DType.FLOAT, "128 expected, found float32 127"),
        (f"{CONV}/BatchNorm/beta", (), DType.FLOAT, "128 expected, found float32 scalar"),
        (f"{CONV}/weights", (1, 7, 128, 128), DType.HALF, "1x7x128x128 expected, found float16 1x7x128x128"),
        ("InceptionV3/Logits/Conv2d_1c_1x1/biases", (1000,), DType.FLOAT, "1001 expected, found float32 1000"),
        ("InceptionV3/Conv2d_1a_3x3/weights", (3, 3, 4, 32), DType.FLOAT, "3x3x3x32 expected, found float32 3x3x4x32"),
    ],
)
def test_one_wrong_variable_is_named(name: str, shape: tuple[int, ...], dtype: DType, text: str) -> None:
    wrong = checkpoint({**SHAPES_V3, name: shape}, {name: dtype})
    found = recognize(wrong)
    assert found is not None
    with pytest.raises(UnrestoredVariablesError) as caught:
        check_whole(wrong, found)
    assert caught.value.message == (
        "x.ckpt looks like Inception v3 (slim), but holds 1 of its 378 variables in another shape or type"
    )
    assert caught.value.details == (f"{name}  ({text})",)


@needs_zoo
def test_networks_of_others_are_not_taken_for_slims() -> None:
    folders = ("ckpt_v2_nometa", "ckpt_v1", "ckpt_v2_meta", "ckpt_tf2_object", "session_bundle_mixed")
    seen = 0
    for folder in folders:
        for place in sorted((ZOO / folder).rglob("*")):
            try:
                found = formats.read_checkpoint(place)
            except TfinspectError:
                continue
            seen += 1
            assert recognize(found) is None, place
    assert seen > 10


@pytest.mark.parametrize(
    "names",
    [
        ["conv1/weights", "bn1/gamma", "layer1.0.conv1/kernel", "fc/weights"],
        ["res2a_branch2a/kernel", "bn2a_branch2a/gamma", "fc1000/kernel"],
        ["scale1/weights", "scale2/block1/a/weights", "scale5/block3/c/weights"],  # a ResNet-50 of 2016
        ["MyInceptionV3/Conv2d_1a_3x3/weights", "InceptionV3_1/Conv2d_1a_3x3/weights", "InceptionV3"],
        [],
    ],
)
def test_other_names_are_no_network(names: list[str]) -> None:
    assert recognize(checkpoint(dict.fromkeys(names, (3, 3, 64, 64)))) is None


@given(st.data())
@settings(deadline=None, max_examples=25)
def test_no_shape_gives_another_error_or_takes_long(data: st.DataObject) -> None:
    shapes = dict(data.draw(st.sampled_from([SHAPES_V1, SHAPES_V3])))
    for name in data.draw(st.lists(st.sampled_from(list(shapes)), max_size=5)):
        dims = st.one_of(st.integers(0, 5), st.integers(0, (1 << 63) - 1))
        shapes[name] = tuple(data.draw(st.lists(dims, max_size=5)))
    for name in data.draw(st.lists(st.sampled_from(list(shapes)), max_size=5)):
        shapes.pop(name, None)
    begin = time.monotonic()
    found = known(shapes)
    assert found.missing == tuple(name for name in found.missing if name not in shapes)
    assert str(found).startswith("Inception v")
    if not found.is_whole:
        with pytest.raises(UnrestoredVariablesError):
            check_whole(checkpoint(shapes), found)
    assert time.monotonic() - begin < 5


def test_a_graph_is_told_by_its_convolutions() -> None:
    assert family_of(known(SHAPES_V3).graph) is V3
    assert family_of(Graph([])) is None


def test_every_scope_leads_to_a_family() -> None:
    for scope in FAMILIES:
        found = family_of(Graph([Node(f"a/{scope}/conv/Conv2D", "Conv2D", ())]))
        assert found is not None
        assert (found.scope, found.pixels in ("half range", "less mean")) == (scope, True)
