"""VGG, ResNet and MobileNet of slim, told from names and shapes: variables, nodes, widths, and what is refused."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tfinspect as ti
from tests import slim_reference as reference
from tests.checkpoint_writers import write_bundle
from tests.cli_calls import ZOO
from tfinspect.api.freeze import Options, freeze_model
from tfinspect.api.load import open_graph
from tfinspect.architectures.recognize import Recognized, check_whole, recognize
from tfinspect.errors import UnrestoredVariablesError, UsageError
from tfinspect.ir.checkpoint import Checkpoint, VariableInfo
from tfinspect.ir.dtypes import DType
from tfinspect.ir.tensors import Tensor
from tfinspect.surgery.shapes import TensorTypes

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from tfinspect.ir.graph import Graph, Node
    from tfinspect.ir.shapes import Shape

Variables = dict[str, np.ndarray[Any, Any]]
EVAL = ZOO / "pbtxt" / "mobilenet_v1_1.0_224_eval" / "mobilenet_v1_1.0_224_eval.pbtxt"


class Case(NamedTuple):
    """A published network, what decides it, the size of its images, and what it is called."""

    make: Callable[..., Any]
    scope: str
    options: dict[str, Any]
    size: int
    title: str

    @property
    def assumed(self) -> str:
        return "" if self.scope.startswith("vgg") else " assumed"


def cases() -> list[Case]:
    found = [Case(reference.vgg, f"vgg_{n}", {"depth": n}, 224, f"VGG {n}") for n in (16, 19)]
    for depth in (50, 101, 152):
        for version, size in ((1, 224), (2, 299)):
            make = (reference.resnet_v1, reference.resnet_v2)[version - 1]
            name = f"resnet_v{version}_{depth}"
            found.append(Case(make, name, {"depth": depth}, size, f"ResNet v{version} {depth}"))
    for width in (0.25, 0.35, 0.5, 0.75, 1.0, 1.3, 1.4):
        options, word = {"width": width}, f" {width:g}" if width != 1 else ""
        found.append(Case(reference.mobilenet_v1, "MobilenetV1", options, 224, f"MobileNet v1{word}"))
        found.append(Case(reference.mobilenet_v2, "MobilenetV2", options, 224, f"MobileNet v2{word}"))
    return found


CASES = cases()
BY_NAME = {case.title: case for case in CASES}
every_case = pytest.mark.parametrize("case", CASES, ids=lambda case: case.title)


def shapes_of(case: Case, classes: int = 1001, scope: str | None = None, **options: Any) -> Variables:
    """Return the variables of a network as arrays that take no memory."""
    net = reference.Network(scope or case.scope)
    case.make(net, np.empty((0, case.size, case.size, 3)), classes=classes, **case.options, **options)
    return net.variables


def zeros(*shape: int) -> np.ndarray[Any, Any]:
    return np.broadcast_to(np.float32(0), shape)


def told(variables: Mapping[str, np.ndarray[Any, Any]], size: tuple[int, int] | None = None) -> Recognized:
    found = recognize(reference.checkpoint(dict(variables)), size)
    assert found is not None
    return found


def ops(graph: Graph) -> dict[str, str]:
    return {node.name: node.op for node in graph.nodes}


def shape_at(graph: Graph, name: str) -> Shape:
    return TensorTypes(graph).type_of(ti.TensorRef(name)).shape


# ------------------------------------------------------------------------------------------------------- recognised


@every_case
def test_a_network_needs_exactly_the_published_variables(case: Case) -> None:
    variables = shapes_of(case)
    found = told(variables)
    assert str(found) == f"{case.title} (slim), 1001 classes, input {case.size}x{case.size}{case.assumed}"
    assert (found.missing, found.wrong, found.spare) == ((), {}, ())
    assert found.wanted == len(variables)
    built = {node.name: node.shape() for node in found.graph.nodes if node.op == "VariableV2"}
    assert built == {name: array.shape for name, array in variables.items()}


@every_case
def test_shapes_go_through_to_the_classes(case: Case) -> None:
    graph = told(shapes_of(case, classes=11)).graph
    last = graph.nodes[-1].name
    assert last in {f"{case.scope}/{end}" for end in ("Predictions/Reshape_1", "predictions/Reshape_1", "fc8/squeezed")}
    assert shape_at(graph, last) == (None, 11)
    assert graph.topological()[-1].name == last


@pytest.mark.parametrize("title", ["VGG 16", "ResNet v1 50", "ResNet v2 101", "MobileNet v1 0.25", "MobileNet v2 1.4"])
@pytest.mark.parametrize("prefix", ["module", "tower_0/model"])
def test_a_prefix_slots_averages_and_counters_change_nothing(title: str, prefix: str) -> None:
    case = BY_NAME[title]
    variables = shapes_of(case, classes=5, scope=f"{prefix}/{case.scope}")
    plain = dict(variables)
    for name, value in plain.items():
        variables[f"{name}/ExponentialMovingAverage"] = value
        if not name.endswith(("moving_mean", "moving_variance")):
            variables |= {f"{name}/{slot}": value for slot in ("RMSProp", "RMSProp_1", "Momentum", "Adam", "Adam_1")}
    variables |= {"global_step": np.array(7), "beta1_power": np.array(0.9, "f4")}
    variables["mean_rgb"] = zeros(3)  # of slim's first VGG and ResNet files: the mean that trainers took off
    found = told(variables)
    assert str(found).startswith(f"{title} (slim), 5 classes, ")
    assert (found.missing, found.wrong, found.spare) == ((), {}, ("mean_rgb",))
    assert found.scope == f"{prefix}/{case.scope}"
    assert all(node.name.startswith(f"{prefix}/") or node.name == "input" for node in found.graph.nodes)


@pytest.mark.parametrize(
    ("title", "classifier", "last", "shape"),
    [
        ("VGG 19", "vgg_19/fc8", "vgg_19/fc7/Relu", (None, 1, 1, 4096)),
        ("ResNet v1 101", "resnet_v1_101/logits", "resnet_v1_101/pool5", (None, 1, 1, 2048)),
        ("ResNet v2 50", "resnet_v2_50/logits", "resnet_v2_50/pool5", (None, 1, 1, 2048)),
        ("MobileNet v1 0.5", "MobilenetV1/Logits", "MobilenetV1/Logits/AvgPool_1a/AvgPool", (None, 1, 1, 512)),
        ("MobileNet v2 0.35", "MobilenetV2/Logits", "MobilenetV2/Logits/AvgPool", (None, 1, 1, 1280)),
    ],
)
def test_a_network_without_a_classifier_ends_with_its_features(
    title: str, classifier: str, last: str, shape: tuple[int | None, ...]
) -> None:
    # of a width that is told by many layers, 1280 is what slim's narrow MobileNets v2 kept
    options = {"last": 1280} if title.startswith("MobileNet v2") else {}
    variables = shapes_of(BY_NAME[title], **options)
    rest = {name: value for name, value in variables.items() if not name.startswith(f"{classifier}/")}
    renamed = {"flowers/weights": zeros(9, 5), "flowers/biases": zeros(5)}
    found = told(rest | renamed)
    assert f"{title} (slim), no classifier, " in str(found)
    assert (found.missing, found.wrong, found.spare) == ((), {}, tuple(renamed))
    assert found.graph.nodes[-1].name == last
    assert shape_at(found.graph, last) == shape


def test_vgg_without_its_wide_layers_is_a_trunk() -> None:
    variables = {name: value for name, value in shapes_of(BY_NAME["VGG 16"]).items() if "/fc" not in name}
    found = told(variables)
    assert str(found) == "VGG 16 (slim), no classifier, input 224x224 assumed"
    assert found.graph.nodes[-1].name == "vgg_16/pool5/MaxPool"
    assert shape_at(told(variables, (64, 96)).graph, "vgg_16/pool5/MaxPool") == (None, 2, 3, 512)


def test_the_first_wide_layer_of_vgg_decides_the_size() -> None:
    variables = shapes_of(BY_NAME["VGG 16"]._replace(size=96), fc=64)
    found = told(variables)
    assert str(found) == "VGG 16 (slim), 1001 classes, input 96x96"
    assert shape_at(found.graph, "vgg_16/fc7/Relu") == (None, 1, 1, 64)
    assert str(told(variables, (96, 96))) == str(found)
    with pytest.raises(UsageError, match="takes images of 96x96: its weights allow no other size"):
        told(variables, (224, 224))


@pytest.mark.parametrize("kernel", [(0, 0), (65, 65), (1 << 20, 7), (7,), ()])
def test_a_window_that_cannot_be_decides_no_size(kernel: tuple[int, ...]) -> None:
    variables = shapes_of(BY_NAME["VGG 16"])
    variables["vgg_16/fc6/weights"] = zeros(*kernel, 512, 4096) if len(kernel) > 1 else zeros(*kernel)
    found = told(variables)
    assert found.size == (224, 224)
    assert next(iter(found.wrong)) == "vgg_16/fc6/weights"


@pytest.mark.parametrize(
    ("size", "node"), [(128, "AvgPool_1a/AvgPool"), (224, "AvgPool_1a/AvgPool"), (256, "global_pool")]
)
def test_the_last_pooling_of_mobilenet_v1_is_as_large_as_the_image(size: int, node: str) -> None:
    graph = told(shapes_of(BY_NAME["MobileNet v1 0.25"]), (size, size)).graph
    assert shape_at(graph, f"MobilenetV1/Logits/{node}") == (None, 1, 1, 256)
    assert [n.name for n in graph.nodes if "AvgPool_1a" in n.name or n.op == "Mean"] == [f"MobilenetV1/Logits/{node}"]


@pytest.mark.parametrize("title", ["ResNet v1 50", "ResNet v2 152", "MobileNet v2"])
def test_images_need_not_be_square(title: str) -> None:
    case = BY_NAME[title]
    found = told(shapes_of(case), (97, 160))
    assert str(found).endswith("input 97x160")
    assert shape_at(found.graph, "input") == (None, 97, 160, 3)
    assert shape_at(found.graph, found.graph.nodes[-1].name) == (None, 1001)


# ------------------------------------------------------------------------------------------------------------ nodes


def read_directly(graph: Graph, end: str) -> dict[str, tuple[Any, ...]]:
    """Return what each node on the way to `end` is: op, inputs and attributes, without the reading of variables.

    Batch norms of all generations count as one: they differ in outputs that only training uses.
    """
    table = graph.by_name

    def plain(name: str) -> str:
        node = table[name]
        is_read = node.op == "Identity" and name.endswith("/read")
        return node.inputs[0] if is_read else name.replace("FusedBatchNormV3", "FusedBatchNorm")

    found, waiting = {}, [end]
    while waiting:
        node = table[waiting.pop()]
        name = plain(node.name)
        if name in found:
            continue
        waiting += node.input_names
        if name == node.name.replace("V3", ""):
            found[name] = (node.op.removesuffix("V3"), *map(plain, node.input_names), *facts(node))
    return found


def facts(node: Node) -> list[tuple[str, object]]:
    kept = ("strides", "ksize", "padding", "data_format", "is_training", "squeeze_dims", "T", "dtype")
    rows: list[tuple[str, object]] = [(key, node.value(key)) for key in kept if key in node.attrs]
    if "epsilon" in node.attrs:
        rows.append(("epsilon", np.float32(node.value("epsilon"))))
    if node.op == "VariableV2":
        rows.append(("shape", node.shape()))
    if node.op == "Const":
        tensor = node.tensor()
        assert tensor is not None
        rows.append(("value", tensor.numpy().tolist()))
    return rows


@pytest.mark.skipif(not EVAL.is_file(), reason="the folder of real models is not here")
def test_mobilenet_v1_is_node_by_node_what_slim_wrote() -> None:
    end = "MobilenetV1/Predictions/Reshape_1"
    original = read_directly(ti.read_graph(EVAL), end)
    rebuilt = read_directly(told(shapes_of(BY_NAME["MobileNet v1"])).graph, end)
    assert len(original) == 229
    assert {op for op, *_ in original.values()} == {
        "AvgPool", "BiasAdd", "Const", "Conv2D", "DepthwiseConv2dNative", "FusedBatchNorm", "Identity", "Placeholder",
        "Relu6", "Reshape", "Shape", "Softmax", "Squeeze", "VariableV2",
    }  # fmt: skip
    assert rebuilt == original


@pytest.mark.parametrize("depth", [50, 101, 152])
@pytest.mark.parametrize("version", [1, 2])
def test_strides_of_resnets_are_in_the_last_unit_of_a_block(version: int, depth: int) -> None:
    case = BY_NAME[f"ResNet v{version} {depth}"]
    graph = told(shapes_of(case), (225, 225)).graph
    word = f"bottleneck_v{version}"
    strided = {n.name for n in graph.nodes if n.op in ("Conv2D", "MaxPool") and n.value("strides")[1] == 2}
    last = [f"{case.scope}/block{b}/unit_{n}/{word}" for b, n in enumerate(reference.RESNET_UNITS[depth][:3], 1)]
    assert strided == {
        f"{case.scope}/conv1/Conv2D",
        f"{case.scope}/pool1/MaxPool",
        *(f"{unit}/conv2/Conv2D" for unit in last),
        *(f"{unit}/shortcut/MaxPool" for unit in last),
    }
    padded = {n.name: n.inputs[1] for n in graph.nodes if n.op == "Pad"}
    assert set(padded) == {f"{case.scope}/Pad", *(f"{unit}/Pad" for unit in last)}
    for name, paddings in padded.items():
        tensor = graph.node(paddings).tensor()
        assert tensor is not None
        side = 3 if name == f"{case.scope}/Pad" else 1
        assert tensor.numpy().tolist() == [[0, 0], [side, side], [side, side], [0, 0]]
        (user,) = graph.consumers[name]
        assert (user.value("padding"), user.value("strides")) == (b"VALID", (1, 2, 2, 1))
    norms = [n for n in graph.nodes if n.op == "FusedBatchNormV3"]
    assert {np.float32(n.value("epsilon")) for n in norms} == {np.float32(1e-5)}
    assert not any(n.value("is_training") for n in norms)
    # 225 comes to 113, 57, 29, 15 and 8
    assert shape_at(graph, f"{case.scope}/pool1/MaxPool") == (None, 57, 57, 64)
    assert [shape_at(graph, f"{unit}/{'Relu' if version == 1 else 'add'}") for unit in last] == [
        (None, 29, 29, 256),
        (None, 15, 15, 512),
        (None, 8, 8, 1024),
    ]


NAMES = {
    "VGG 16": {
        "conv1/conv1_1/Conv2D": "Conv2D", "conv5/conv5_3/BiasAdd": "BiasAdd", "conv3/conv3_2/Relu": "Relu",
        "pool5/MaxPool": "MaxPool", "fc6/Relu": "Relu", "dropout6/Identity": "Identity", "fc7/Relu": "Relu",
        "dropout7/Identity": "Identity", "fc8/BiasAdd": "BiasAdd", "fc8/squeezed": "Squeeze",
    },
    "ResNet v1 50": {
        "conv1/Relu": "Relu", "block1/unit_1/bottleneck_v1/shortcut/Conv2D": "Conv2D",
        "block1/unit_1/bottleneck_v1/shortcut/BatchNorm/FusedBatchNormV3": "FusedBatchNormV3",
        "block1/unit_2/bottleneck_v1/conv3/BatchNorm/FusedBatchNormV3": "FusedBatchNormV3",
        "block1/unit_2/bottleneck_v1/add": "AddV2", "block4/unit_3/bottleneck_v1/Relu": "Relu", "pool5": "Mean",
        "logits/BiasAdd": "BiasAdd", "SpatialSqueeze": "Squeeze", "predictions/Reshape_1": "Reshape",
    },
    "ResNet v2 50": {
        "conv1/BiasAdd": "BiasAdd", "block1/unit_1/bottleneck_v2/preact/FusedBatchNormV3": "FusedBatchNormV3",
        "block1/unit_1/bottleneck_v2/preact/Relu": "Relu", "block1/unit_1/bottleneck_v2/shortcut/BiasAdd": "BiasAdd",
        "block4/unit_3/bottleneck_v2/add": "AddV2", "postnorm/Relu": "Relu", "pool5": "Mean",
        "predictions/Softmax": "Softmax",
    },
    "MobileNet v2": {
        "input": "Identity", "Conv/Relu6": "Relu6", "expanded_conv/depthwise/depthwise": "DepthwiseConv2dNative",
        "expanded_conv/depthwise/Relu6": "Relu6", "expanded_conv_1/expand/Relu6": "Relu6",
        "expanded_conv_1/expansion_output": "Identity", "expanded_conv_1/depthwise_output": "Identity",
        "expanded_conv_2/project/BatchNorm/FusedBatchNormV3": "FusedBatchNormV3", "expanded_conv_2/add": "AddV2",
        "expanded_conv_16/output": "Identity", "Conv_1/Relu6": "Relu6", "Logits/AvgPool": "AvgPool",
        "Logits/Conv2d_1c_1x1/BiasAdd": "BiasAdd", "Logits/Squeeze": "Squeeze", "Logits/output": "Identity",
        "Predictions/Reshape_1": "Reshape",
    },
}  # fmt: skip


@pytest.mark.parametrize("title", NAMES)
def test_nodes_have_the_names_that_people_know(title: str) -> None:
    case = BY_NAME[title]
    found = ops(told(shapes_of(case)).graph)
    assert {name: found.get(f"{case.scope}/{name}") for name in NAMES[title]} == NAMES[title]


@pytest.mark.parametrize(
    ("title", "absent"),
    [
        ("ResNet v1 50", ["conv1/biases", "block1/unit_1/bottleneck_v1/conv3/Relu", "postnorm/Relu"]),
        ("ResNet v2 50", ["conv1/Relu", "block1/unit_1/bottleneck_v2/conv3/Relu", "block1/unit_1/bottleneck_v2/Relu"]),
        ("MobileNet v2", ["expanded_conv/expand/Conv2D", "expanded_conv/add", "expanded_conv_2/project/Relu6"]),
        ("VGG 16", ["fc8/Relu", "predictions/Softmax", "conv1/conv1_1/BatchNorm/FusedBatchNormV3"]),
    ],
)
def test_nodes_that_other_variants_have_are_not_there(title: str, absent: list[str]) -> None:
    case = BY_NAME[title]
    found = ops(told(shapes_of(case)).graph)
    assert not [name for name in absent if f"{case.scope}/{name}" in found]


def test_mobilenet_v2_adds_what_a_unit_takes_where_size_and_width_stay() -> None:
    def adding(width: float) -> list[int]:
        found = ops(told(shapes_of(BY_NAME["MobileNet v2"]._replace(options={"width": width}))).graph)
        return [n for n in range(1, 17) if f"MobilenetV2/expanded_conv_{n}/add" in found]

    assert adding(1.0) == adding(0.35) == [2, 4, 5, 7, 8, 9, 11, 12, 14, 15]
    narrow = ops(told(shapes_of(BY_NAME["MobileNet v2"]._replace(options={"width": 0.25}))).graph)
    assert "MobilenetV2/expanded_conv/add" in narrow  # 8 channels before and after


# ----------------------------------------------------------------------------------------------- widths of other rules


def changed_rule(make: Callable[..., Any], rule: Callable[[float], int], monkeypatch: pytest.MonkeyPatch) -> Variables:
    """Return the variables of a MobileNet v2 whose trainer rounded widths by another rule."""
    monkeypatch.setattr(reference, "divisible", rule)
    net = reference.Network("MobilenetV2")
    make(net, np.empty((0, 224, 224, 3)), width=0.3, classes=3, last=200)
    return net.variables


@pytest.mark.parametrize("rule", [lambda wanted: int(wanted) + 5, lambda wanted: max(3, int(wanted) // 3)])
def test_widths_that_no_multiplier_explains_are_read_off_the_weights(
    rule: Callable[[float], int], monkeypatch: pytest.MonkeyPatch
) -> None:
    variables = changed_rule(reference.mobilenet_v2, rule, monkeypatch)
    found = told(variables)
    assert (found.missing, found.wrong, found.spare) == ((), {}, ())
    assert str(found) == "MobileNet v2 (slim), 3 classes, input 224x224 assumed"
    assert shape_at(found.graph, "MobilenetV2/Conv_1/Relu6") == (None, 7, 7, 200)


def test_layers_of_free_widths_must_fit_each_other(monkeypatch: pytest.MonkeyPatch) -> None:
    variables = changed_rule(reference.mobilenet_v2, lambda wanted: int(wanted) + 5, monkeypatch)
    name = "MobilenetV2/expanded_conv_5/depthwise/depthwise_weights"
    variables[name] = zeros(3, 3, 2, 1)
    assert list(told(variables).wrong) == [name]


# ---------------------------------------------------------------------------------------------------------- refused


def code_of_others(variables: Variables) -> dict[str, Variables]:
    """Return the weights of a ResNet as other code bases call them."""
    return {
        "tensorpack": {n.replace("resnet_v1_50/", "").replace("/weights", "/W"): v for n, v in variables.items()},
        "keras": {n.replace("weights", "kernel").replace("block", "res"): v for n, v in variables.items()},
        "insightface": {n.replace("/weights", "/W_conv2d").replace("BatchNorm", "bn"): v for n, v in variables.items()},
        "official": {f"resnet_model/conv2d_{k}/kernel": v for k, v in enumerate(variables.values())},
        "renamed root": {n.replace("resnet_v1_50", "resnet_v1_50a"): v for n, v in variables.items()},
        "torch": {n.replace("/", "."): v for n, v in variables.items()},
    }


@pytest.mark.parametrize("base", code_of_others({}))
def test_a_network_of_another_code_base_is_not_taken_for_slims(base: str) -> None:
    variables = code_of_others(shapes_of(BY_NAME["ResNet v1 50"]))[base]
    assert len(variables) == 267
    assert recognize(reference.checkpoint(variables)) is None


def test_less_than_half_a_network_is_none() -> None:
    variables = shapes_of(BY_NAME["ResNet v2 50"])
    some = dict(list(variables.items())[: len(variables) // 2 - 10])
    assert recognize(reference.checkpoint(some)) is None


@pytest.mark.parametrize(
    ("title", "name", "shape", "expected"),
    [
        ("VGG 16", "vgg_16/conv2/conv2_1/weights", (3, 3, 64, 64), "3x3x64x128 expected, found float32 3x3x64x64"),
        ("ResNet v1 50", "resnet_v1_50/block2/unit_1/bottleneck_v1/conv2/weights", (1, 1, 128, 128),
         "3x3x128x128 expected, found float32 1x1x128x128"),
        ("ResNet v2 152", "resnet_v2_152/postnorm/gamma", (2049,), "2048 expected, found float32 2049"),
        ("MobileNet v1 0.75", "MobilenetV1/Conv2d_6_pointwise/weights", (1, 1, 192, 999),
         "1x1x192x384 expected, found float32 1x1x192x999"),
        ("MobileNet v2 1.4", "MobilenetV2/expanded_conv_3/project/weights", (1, 1, 192, 40),
         "1x1x192x48 expected, found float32 1x1x192x40"),
    ],
)  # fmt: skip
def test_one_wrong_shape_is_named(title: str, name: str, shape: tuple[int, ...], expected: str) -> None:
    variables = shapes_of(BY_NAME[title])
    assert name in variables
    variables[name] = zeros(*shape)
    found = told(variables)
    assert dict(found.wrong) == {name: expected}
    with pytest.raises(UnrestoredVariablesError) as caught:
        check_whole(reference.checkpoint(variables), found)
    family = title if "Mobile" not in title else title.rpartition(" ")[0]
    assert caught.value.message == (
        f"bare.ckpt looks like {family} (slim), but holds 1 of its {len(variables):,} variables in another shape or type"
    )
    assert caught.value.details == (f"{name}  ({expected})",)


SMALL = {
    title: {name: value.shape for name, value in shapes_of(BY_NAME[title], classes=3).items()}
    for title in ("VGG 16", "ResNet v1 50", "ResNet v2 50", "MobileNet v1 0.25", "MobileNet v2 0.35")
}
DAMAGES = st.lists(
    st.tuples(
        st.floats(0, 1, exclude_max=True),
        st.one_of(st.none(), st.lists(st.one_of(st.integers(0, 9), st.just(1 << 40)), max_size=5).map(tuple)),
    ),
    min_size=1,
    max_size=6,
)


@given(st.sampled_from(list(SMALL)), DAMAGES, st.one_of(st.none(), st.tuples(*[st.integers(1, 400)] * 2)))
@settings(max_examples=60, deadline=None)
def test_whatever_is_damaged_is_what_is_told(
    title: str, damages: list[tuple[float, tuple[int, ...] | None]], size: tuple[int, int] | None
) -> None:
    """Each variable that is gone is missing; nothing else is, and a network of which any is wrong is not whole."""
    whole = SMALL[title]
    names, shapes = list(whole), dict(whole)
    for place, shape in damages:
        name = names[int(place * len(names))]
        if shape is None:
            shapes.pop(name, None)
        elif name in shapes:
            shapes[name] = shape
    known = {name: VariableInfo(name, DType.FLOAT, shape, 0, "weight", "") for name, shape in shapes.items()}
    try:
        found = recognize(
            Checkpoint("bare.ckpt", "checkpoint_v2", known, lambda name: Tensor.of(known[name].shape)), size
        )
    except UsageError:
        assert size is not None or title == "VGG 16"  # a smaller fc6 asks for smaller images
        return
    assert found is not None
    gone = set(whole) - set(shapes)
    classifier = {
        name for name in gone if name.endswith("weights") and ("c_1x1" in name or "logits" in name or "fc" in name)
    }
    if not classifier:
        assert set(found.missing) == gone
    assert set(found.missing) <= gone
    if shapes == whole:
        assert found.is_whole
    elif any(shapes[name] != whole[name] for name in shapes) and not classifier:
        assert not found.is_whole
    assert len(found.graph.topological()) == len(found.graph.nodes)


def test_half_precision_is_another_type() -> None:
    variables = shapes_of(BY_NAME["MobileNet v1"])
    name = "MobilenetV1/Conv2d_0/weights"
    variables[name] = np.broadcast_to(np.float16(0), (3, 3, 3, 32))
    assert dict(told(variables).wrong) == {name: "3x3x3x32 expected, found float16 3x3x3x32"}


def test_missing_weights_are_named_as_freezing_names_them(tmp_path: Path) -> None:
    net = reference.Network("MobilenetV1", seed=1)
    reference.mobilenet_v1(net, np.zeros((1, 32, 32, 3)), width=0.25, classes=3)
    gone = [name for name in net.variables if "Conv2d_13_" in name]
    assert len(gone) == 10
    prefix = tmp_path / "model.ckpt-5"
    write_bundle(prefix, {name: value for name, value in net.variables.items() if name not in gone})
    with pytest.raises(UnrestoredVariablesError) as caught:
        open_graph(prefix)
    assert caught.value.message.endswith("looks like MobileNet v1 (slim), but lacks 10 of its 137 variables")
    assert caught.value.details[0] == "MobilenetV1/Conv2d_13_depthwise/depthwise_weights  (missing)"
    assert caught.value.evidence["missing"] == gone


# --------------------------------------------------------------------------------------------- from files, end to end


def test_a_bare_checkpoint_is_a_graph_and_is_frozen(tmp_path: Path) -> None:
    prefix = tmp_path / "model.ckpt-5"
    net = reference.Network("model/MobilenetV2", seed=1)
    reference.mobilenet_v2(net, np.zeros((0, 96, 96, 3)), width=0.35, classes=3)
    averages = {f"{name}/ExponentialMovingAverage": value + 1 for name, value in net.variables.items()}
    write_bundle(prefix, {**net.variables, **averages, "global_step": np.array(5)})
    model = open_graph(prefix, size=(96, 96))
    assert model.facts["architecture"] == "MobileNet v2 0.35 (slim), 3 classes, input 96x96"
    for wanted, use in ((net.variables, False), (averages, True)):
        done = freeze_model(model, options=Options(averages=use))
        assert [str(spec.ref) for spec in done.outputs] == ["model/MobilenetV2/Predictions/Reshape_1:0"]
        assert not any(node.op == "VariableV2" for node in done.graph.nodes)
        assert set(done.report.restored.values()) == set(wanted)
        tensor = done.graph.node("model/MobilenetV2/Conv/weights").tensor()
        assert tensor is not None
        key = "model/MobilenetV2/Conv/weights" + ("/ExponentialMovingAverage" if use else "")
        np.testing.assert_array_equal(tensor.numpy(), wanted[key])


def test_images_that_nothing_is_left_of_are_refused() -> None:
    variables = {name: value for name, value in shapes_of(BY_NAME["VGG 16"]).items() if "/fc" not in name}
    with pytest.raises(UsageError, match="images of 16x16 are too small: nothing is left of them at `vgg_16/pool5`"):
        told(variables, (16, 16))
