"""What a graph does to photos is read off it; what it does not say is given, recorded, or assumed and said to be."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from tests.cli_calls import FIXTURES, ZOO
from tfinspect import formats
from tfinspect.api.recipe import format_recipe, image_entry, parse_recipe, recipe_beside, recipe_path
from tfinspect.api.usual_pixels import assumption
from tfinspect.errors import InputError, UsageError
from tfinspect.ir.attrs import Attr
from tfinspect.ir.dtypes import DType
from tfinspect.ir.graph import Graph, Node, const, placeholder
from tfinspect.ir.refs import TensorRef
from tfinspect.ir.tensors import Tensor
from tfinspect.learn.preprocess import Recipe

if TYPE_CHECKING:
    from pathlib import Path

    from tfinspect.ir.shapes import Shape

OUT = [TensorRef("features")]
_T = {"T": Attr.of(DType.FLOAT)}


def network(shape: Shape, *, scaled: bool = False, dtype: DType = DType.FLOAT) -> Graph:
    """A convolution behind an image input, with or without scaling of its own."""
    nodes = [placeholder("x", dtype, shape)]
    last = "x"
    if dtype is not DType.FLOAT:
        nodes.append(Node("cast", "Cast", ("x",), {"SrcT": Attr.of(dtype), "DstT": Attr.of(DType.FLOAT)}))
        last = "cast"
    if scaled:
        nodes += [const("m", Tensor.of(np.float32(128))), Node("sub", "Sub", (last, "m"), _T)]
        last = "sub"
    channels = shape[-1] if shape and shape[-1] else 3
    nodes += [
        const("k", Tensor.of(np.ones((1, 1, channels, 4), "f4"))),
        Node("features", "Conv2D", (last, "k"), {**_T, "strides": Attr.ints([1, 1, 1, 1]), "padding": Attr.of("SAME")}),
    ]
    return Graph(nodes)


def arithmetic(sub: object, mul: object) -> Graph:
    """A network that subtracts and multiplies first."""
    graph = network((None, 8, 6, 3))
    (features,) = (node for node in graph.nodes if node.name == "features")
    return Graph(
        [
            *(node for node in graph.nodes if node is not features),
            const("m", Tensor.of(np.array(sub, "f4"))),
            Node("sub", "Sub", ("x", "m"), _T),
            const("s", Tensor.of(np.array(mul, "f4"))),
            Node("mul", "Mul", ("sub", "s"), _T),
            Node("features", "Conv2D", ("mul", "k"), features.attrs),
        ]
    )


def test_the_2015_graph_says_everything() -> None:
    graph = formats.read_graph(FIXTURES / "inception_tiny.pb")
    found = image_entry(graph, [TensorRef("pool_3/_reshape")])
    assert found.decoder is not None
    assert str(found.decoder.contents) == "DecodeJpeg/contents:0"
    assert str(found.ready) == "Mul:0"
    recipe = found.recipe
    assert (recipe.size, recipe.method, recipe.mean, recipe.channels, recipe.origin) == (
        (75, 75), "bilinear", (128.0,), 3, "graph",
    )  # fmt: skip
    assert recipe.scale == pytest.approx((1 / 128,))


@pytest.mark.skipif(not ZOO.is_dir(), reason=f"no real models at {ZOO}")
def test_mobilenet_does_not_say_how_pixels_are_scaled() -> None:
    graph = formats.read_graph(ZOO / "frozen_pb/mobilenet_v1_025_128/frozen_graph.pb")
    found = image_entry(graph, [TensorRef("MobilenetV1/Predictions/Reshape_1")])
    assert (str(found.ready), found.decoder, found.recipe.origin) == ("input:0", None, "assumed")
    assert found.recipe.size == (128, 128)
    white = np.full((128, 128, 3), 255, np.uint8)
    assert found.recipe.apply(white).max() == pytest.approx(1)
    assert found.recipe.apply(white * 0).min() == pytest.approx(-1)


def test_a_graph_that_scales_by_itself_gets_plain_pixels() -> None:
    for graph in (network((None, 8, 6, 3), scaled=True), network((None, 8, 6, 3), dtype=DType.UINT8)):
        found = image_entry(graph, OUT)
        assert (found.recipe.mean, found.recipe.scale, found.recipe.origin) == ((0.0,), (1.0,), "graph")
        assert found.recipe.size == (8, 6)


@pytest.mark.parametrize(
    ("sub", "mul", "shares"),
    [
        (0.5, 2.0, True),  # x * 2 - 1, as slim's networks in modules of Hub
        ([0.485, 0.456, 0.406], [1 / 0.229, 1 / 0.224, 1 / 0.225], True),
        (0.0, 255.0, True),
        (0.5, 1.0, True),
        (127.5, 1 / 127.5, False),
        (0.0, 1 / 255, False),
        ([103.939, 116.779, 123.68], 1.0, False),
        (0.4, 0.5, False),
    ],
)
def test_a_graph_that_takes_pixels_from_0_to_1_shows_it(sub: object, mul: object, shares: object) -> None:
    found = image_entry(arithmetic(sub, mul), OUT)
    assert (found.recipe.mean, found.recipe.origin) == ((0.0,), "graph")
    assert found.recipe.scale == ((1 / 255,) if shares else (1.0,))


def test_modules_of_hub_take_pixels_from_0_to_1() -> None:
    found = image_entry(network((None, 8, 6, 3)), OUT, from_hub=True)
    assert found.recipe.apply(np.full((8, 6, 3), 255, np.uint8)).max() == pytest.approx(1)
    assert found.recipe.apply(np.zeros((8, 6, 3), np.uint8)).max() == 0
    assert assumption(found.recipe, found.network) == (
        "the graph does not say how pixels are scaled: pixel / 255 is assumed, as is usual for modules of TensorFlow "
        "Hub; see --mean"
    )
    other = image_entry(network((None, 8, 6, 3), scaled=True), OUT, from_hub=True)
    assert (other.recipe.scale, other.recipe.origin, other.network) == ((1.0,), "graph", "")


def test_what_is_given_comes_first() -> None:
    recorded = Recipe((8, 6), mean=(1.0,), scale=(2.0,))
    found = image_entry(network((None, 8, 6, 3)), OUT, recorded=recorded)
    assert (found.recipe.mean, found.recipe.scale) == ((1.0,), (2.0,))
    found = image_entry(network((None, 8, 6, 3)), OUT, recorded=recorded, mean=[103.9, 116.8, 123.7], bgr=True)
    assert (found.recipe.mean, found.recipe.scale, found.recipe.bgr) == ((103.9, 116.8, 123.7), (1.0,), True)
    assert found.recipe.origin == "given"


def test_an_open_size_must_be_given() -> None:
    graph = network((None, None, None, 3))
    with pytest.raises(UsageError, match=r"^the graph does not say what size of images `x:0` takes \(\?x\?x\?x3\)$"):
        image_entry(graph, OUT)
    assert image_entry(graph, OUT, size=(32, 40)).recipe.size == (32, 40)
    with pytest.raises(UsageError, match=r"^`x:0` takes \?x8x8x3, not images of 9 x 8$"):
        image_entry(network((None, 8, 8, 3)), OUT, size=(9, 8))


@pytest.mark.parametrize(
    ("graph", "words"),
    [
        (network((None, 3, 8, 8)), "images have 1 or 3 channels in the last place"),
        (network((4, 10)), "no input takes images"),
    ],
)
def test_what_takes_no_images_is_refused(graph: Graph, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        image_entry(graph, OUT)


def test_means_must_fit_the_channels() -> None:
    with pytest.raises(UsageError, match=r"^--mean takes one number, or 3, not 2$"):
        image_entry(network((None, 8, 8, 3)), OUT, mean=[1, 2])


def test_a_recipe_stands_beside_its_model(tmp_path: Path) -> None:
    model = tmp_path / "flowers.pb"
    assert recipe_beside(model) is None
    recipe = Recipe((8, 6), mean=(1.0, 2.0, 3.0))
    recipe_path(model).write_text(format_recipe(recipe))
    found = recipe_beside(model)
    assert found is not None
    assert (found.mean, found.size, found.origin) == (recipe.mean, recipe.size, "model")
    recipe_path(model).write_text("{")
    with pytest.raises(InputError, match=r"flowers.preprocess.json is not JSON"):
        recipe_beside(model)
    with pytest.raises(InputError, match=r"^x holds no preprocessing$"):
        parse_recipe("[]", "x")
