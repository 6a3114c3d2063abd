"""`nodes` and `show` on models without a TensorFlow graph: operators and layers."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.cli_calls import Caller
from tfinspect.api import listing
from tfinspect.errors import NameNotFoundError, NodeNotFoundError, UsageError
from tfinspect.ir.attrs import Attr
from tfinspect.ir.checkpoint import Checkpoint, VariableInfo
from tfinspect.ir.dtypes import DType
from tfinspect.ir.layers import Layer
from tfinspect.ir.model import Model
from tfinspect.ir.operators import Operator
from tfinspect.ir.refs import TensorRef
from tfinspect.ir.signature import Signature, TensorSpec
from tfinspect.ir.tensors import Tensor


def operators_model() -> Model:
    """A classifier with an `If`, as ONNX has it."""
    floats = DType.FLOAT
    operators = (
        Operator("conv_1", "Conv", ("image", "weights", ""), ("conv_out",), floats, (1, 8, None, None), {
            "strides": Attr.ints([2, 2]),
            "auto_pad": Attr.of("SAME_UPPER"),
        }),
        Operator("net/relu", "Relu", ("conv_out",), ("relu_out",), floats, (1, 8, None, None)),
        Operator("net/if", "If", ("flag:0",), ("choice", "rest"), floats, None),
        Operator("fused", "com.microsoft::FusedMatMul", ("^relu", "choice"), ("logits:0",)),
        Operator("then/neg", "Neg", ("relu_out",), ("negated",), floats, (1, 8, None, None), {}, "net/if.then_branch"),
        Operator("else/add", "Add", ("a", "a"), ("sum",), None, None, {}, "net/if.else_branch"),
    )  # fmt: skip
    weights = VariableInfo("weights", floats, (8, 3, 3, 3), 864)
    checkpoint = Checkpoint("m.onnx", "onnx", {"weights": weights}, lambda _: Tensor.of(np.zeros((8, 3, 3, 3), "f4")))
    signature = Signature(
        "main",
        (
            TensorSpec(TensorRef("image"), floats, (1, 3, None, None), "image"),
            TensorSpec(TensorRef("flag"), DType.BOOL, ()),
        ),
        (TensorSpec(TensorRef("logits", 0), floats, (1, 10)), TensorSpec(TensorRef("relu_out"), floats, None)),
    )
    return Model("m.onnx", "onnx", checkpoint=checkpoint, signatures={"main": signature}, operators=operators)


def layers_model() -> Model:
    settings: dict[str, Any] = {
        "units": 10,
        "use_bias": True,
        "rate": 0.5,
        "activation": "softmax",
        "kernel_size": [3, 3],
        "kernel_initializer": {"class_name": "Zeros", "seed": None},
        "name": None,
        "mixed": [1, "a"],
    }
    layers = (
        Layer("input_1", "InputLayer", shape=(None, 28, 28, 1)),
        Layer("block/flatten", "Flatten", inputs=("input_1",), shape=(None, 784)),
        Layer("block/dense", "Dense", ("dense/kernel:0", "dense/bias:0"), ("block/flatten",), (None, 10), settings),
        Layer("add", "Add", inputs=("block/dense", "block/dense")),
    )
    return Model("m.h5", "keras_h5", layers=layers)


@pytest.fixture
def call(monkeypatch: pytest.MonkeyPatch) -> Caller:
    caller = Caller(monkeypatch)
    models = {"m.onnx": operators_model(), "m.h5": layers_model()}
    monkeypatch.setattr("tfinspect.formats.open_model", lambda path: models[path])
    return caller


ROWS = [
    ["conv_1", "Conv", "float32", "1x8x?x?", "image, weights, "],
    ["net/relu", "Relu", "float32", "1x8x?x?", "conv_out"],
    ["net/if", "If", "float32", "?", "flag:0"],
    ["fused", "com.microsoft::FusedMatMul", "?", "?", "^relu, choice"],
]


def test_operators_are_listed_like_nodes(call: Caller) -> None:
    assert call("nodes", "m.onnx").rows == ROWS
    assert call("nodes", "m.onnx", "--op", "Relu").rows == [ROWS[1]]
    assert call("nodes", "m.onnx", "--scope", "net").rows == ROWS[1:3]
    assert call("nodes", "m.onnx", "--match", "*f*").rows == ROWS[2:]
    answer = call("nodes", "m.onnx", "--json").answer
    assert answer["schema"] == "tfinspect/nodes/1"
    assert answer["nodes"][0] == {
        "name": "conv_1",
        "op": "Conv",
        "inputs": ["image", "weights", ""],
        "control_inputs": [],
        "dtype": "float32",
        "shape": [1, 8, None, None],
    }
    assert (answer["nodes"][3]["inputs"], answer["nodes"][3]["control_inputs"]) == (["^relu", "choice"], [])
    shown = call("nodes", "m.onnx", tty=True, columns=120)
    assert shown.out.splitlines()[0].split() == ["NAME", "OP", "DTYPE", "SHAPE", "INPUTS"]
    assert shown.err == "4 nodes\n"


def test_bodies_of_operators(call: Caller) -> None:
    then = ["then/neg", "Neg", "float32", "1x8x?x?", "relu_out"]
    assert call("nodes", "m.onnx", "--function", "net/if.then_branch").rows == [then]
    every = call("nodes", "m.onnx", "--all").rows
    assert every[:4] == [[*row, ""] for row in ROWS]
    assert every[4] == [*then, "net/if.then_branch"]
    assert every[5] == ["else/add", "Add", "?", "?", "a, a", "net/if.else_branch"]
    assert call("nodes", "m.onnx", "--function", "net/if.else_branch", "--json").answer["nodes"][0]["function"] == (
        "net/if.else_branch"
    )
    refused = call("nodes", "m.onnx", "--function", "net/if.then")
    assert refused.status == 2
    assert "no function named `net/if.then` in m.onnx (2 functions)" in refused.err
    assert "did you mean `net/if.then_branch`" in refused.err
    assert listing.function_names(operators_model()) == ["net/if.then_branch", "net/if.else_branch"]


def test_ends_come_from_the_signature(call: Caller) -> None:
    assert call("nodes", "m.onnx", "--only", "inputs").rows == [
        ["image", "Input", "float32", "1x3x?x?", ""],
        ["flag:0", "Input", "bool", "scalar", ""],
    ]
    # in the order of the signature; `logits:0` is how the file itself calls that tensor
    assert call("nodes", "m.onnx", "--only", "outputs").rows == [ROWS[3], ROWS[1]]
    assert call("nodes", "m.h5", "--only", "inputs").rows == [["input_1", "InputLayer", "?", "?x28x28x1", ""]]
    assert [row[0] for row in call("nodes", "m.h5", "--only", "outputs").rows] == ["add"]


@pytest.mark.parametrize("path", ["m.onnx", "m.h5"])
def test_what_only_tensorflow_graphs_have_is_refused(call: Caller, path: str) -> None:
    for words, text in (
        (("--only", "bottlenecks"), "bottlenecks are looked for in TensorFlow graphs"),
        (("--inputs", "image:0[1,3,8,8]"), "`--inputs` gives shapes to TensorFlow graphs"),
        (("--all", "--only", "inputs"), "`--only` looks for the ends of one graph"),
        (("--function", "f"), "no function named `f`"),
    )[path == "m.h5" :]:  # of layers a graph can be made, which tests of Keras models do
        done = call("nodes", path, *words)
        assert (done.status, done.out) == (2, "")
        assert text in done.err
    with pytest.raises(UsageError, match="`--only` looks for what the signatures name"):
        listing.nodes(operators_model(), function="net/if.then_branch", only="inputs")


def test_show_an_operator(call: Caller) -> None:
    assert call("show", "m.onnx", "conv_1").rows == [
        ["node", "conv_1", "Conv", "float32", "1x8x?x?"],
        ["input", "image", "float32", "1x3x?x?"],
        ["input", "weights", "float32", "8x3x3x3"],
        ["attr", "strides", "[2, 2]"],
        ["attr", "auto_pad", "'SAME_UPPER'"],
        ["consumer", "net/relu", "conv_out"],
    ]
    assert call("show", "m.onnx", "conv_out").rows[0][1] == "conv_1"  # a tensor stands for what gives it
    assert call("show", "m.onnx", "net/if").rows == [
        ["node", "net/if", "If", "float32", "?"],
        ["input", "flag:0", "bool", "scalar"],
        ["consumer", "fused", "choice"],
    ]
    inside = call("show", "m.onnx", "then/neg", "--function", "net/if.then_branch", "--json").answer
    assert (inside["op"], inside["function"], inside["consumers"]) == ("Neg", "net/if.then_branch", [])
    error = call("show", "m.onnx", "conv", "--json").error
    assert (error["slug"], error["evidence"]["near"]) == ("node-not-found", ["conv_1"])
    with pytest.raises(NameNotFoundError, match="no function named `f`"):
        listing.show(operators_model(), "then/neg", function="f")
    with pytest.raises(NodeNotFoundError, match=r"no node named `then/neg` in m\.onnx"):
        listing.show(operators_model(), "then/neg")


def test_layers_are_listed_like_nodes(call: Caller) -> None:
    rows = [
        ["input_1", "InputLayer", "?", "?x28x28x1", ""],
        ["block/flatten", "Flatten", "?", "?x784", "input_1"],
        ["block/dense", "Dense", "?", "?x10", "block/flatten"],
        ["add", "Add", "?", "?", "block/dense, block/dense"],
    ]
    assert call("nodes", "m.h5").rows == rows
    assert call("nodes", "m.h5", "--all").rows == [[*row, ""] for row in rows]
    assert {n["function"] for n in call("nodes", "m.h5", "--all", "--json").answer["nodes"]} == {None}
    assert call("nodes", "m.h5", "--scope", "block", "--op", "Dense").rows == [rows[2]]
    assert call("nodes", "m.h5", "--json").answer["nodes"][2]["inputs"] == ["block/flatten"]


def test_show_a_layer(call: Caller) -> None:
    assert call("show", "m.h5", "block/dense").rows == [
        ["node", "block/dense", "Dense", "?", "?x10"],
        ["input", "block/flatten", "?", "?x784"],
        ["attr", "units", "10"],
        ["attr", "use_bias", "True"],
        ["attr", "rate", "0.5"],
        ["attr", "activation", "'softmax'"],
        ["attr", "kernel_size", "[3, 3]"],
        ["attr", "kernel_initializer", """'{"class_name": "Zeros", "seed": null}'"""],
        ["attr", "name", "'null'"],
        ["attr", "mixed", """'[1, "a"]'"""],
        ["attr", "weights", "['dense/kernel:0', 'dense/bias:0']"],
        ["consumer", "add", "block/dense"],
        ["consumer", "add", "block/dense"],
    ]
    assert call("show", "m.h5", "block/dense", "--json").answer["attrs"]["units"] == {"kind": "i", "value": 10}
    error = call("show", "m.h5", "dense", "--json").error
    assert error["message"] == "no layer named `dense` in m.h5 (4 layers)"
    assert error["evidence"]["near"] == ["block/dense"]
    assert call("show", "m.h5", "dense", "--function", "f").status == 2
