"""Random graphs whose functions call one another, with handles of variables as arguments at every level."""

from __future__ import annotations

import random
from typing import Any

import numpy as np

from tfinspect.ir.attrs import Attr, AttrList, FuncRef
from tfinspect.ir.checkpoint import Checkpoint, VariableInfo
from tfinspect.ir.dtypes import DType
from tfinspect.ir.functions import Function, FunctionBody
from tfinspect.ir.graph import Graph, Node, Versions, const, placeholder
from tfinspect.ir.tensors import Tensor

F, INT, B, R = (Attr.of(dtype) for dtype in (DType.FLOAT, DType.INT32, DType.BOOL, DType.RESOURCE))
_PRODUCER = 1_000
_DEPTH = 3
_ROUNDS = 2


def _values(seed: int) -> dict[str, np.ndarray[Any, Any]]:
    numbers = np.random.default_rng(seed)
    return {
        "a": numbers.normal(size=(3, 3)).astype("f4"),
        "b": numbers.normal(size=(3, 3)).astype("f4"),
        "c": numbers.normal(size=(3, 3)),
        "d": numbers.normal(size=(3, 3)),
    }


def nest(seed: int) -> tuple[Graph, Checkpoint]:
    """Return a graph from `x` to `y`, whose node `init` sets its variables, and a checkpoint of the same values."""
    values = _values(seed)
    maker = _Maker(random.Random(seed))  # noqa: S311 - the same graph each time is the point
    types = {name: DType.from_numpy(value.dtype) for name, value in values.items()}
    nodes = [placeholder("x", DType.FLOAT, (None, 3))]
    for name, value in values.items():
        attrs = {"dtype": Attr.of(types[name]), "shape": Attr.of_shape(value.shape), "shared_name": Attr.of(name)}
        nodes += [
            Node(name, "VarHandleOp", (), attrs),
            const(f"{name}/value", Tensor.of(value)),
            Node(f"{name}/assign", "AssignVariableOp", (name, f"{name}/value"), {"dtype": Attr.of(types[name])}),
        ]
    nodes.append(Node("init", "NoOp", tuple(f"^{name}/assign" for name in values)))
    body, result = maker.body("x", [(name, types[name]) for name in values], _DEPTH, in_function=False)
    nodes += [*body, Node("y", "Identity", (result,), {"T": F})]
    infos = {n: VariableInfo(n, types[n], v.shape, v.nbytes) for n, v in values.items()}
    graph = Graph(nodes, functions=maker.library, versions=Versions(_PRODUCER))
    return graph, Checkpoint(f"nest-{seed}", "checkpoint_v2", infos, lambda name: Tensor.of(values[name]))


class _Maker:
    def __init__(self, chance: random.Random) -> None:
        self._chance = chance
        self.library: dict[str, Function] = {}
        self._count = 0

    def body(
        self, x: str, handles: list[tuple[str, DType]], depth: int, *, in_function: bool = True
    ) -> tuple[list[Node], str]:
        """Make nodes that compute something from a tensor and the variables behind some handles."""
        nodes: list[Node] = []
        for _ in range(self._chance.randint(1, 3)):
            kinds = ["read", "read"] if not depth else ["read", "call", "if", "case", "while", "call"]
            made, x = getattr(self, f"_{self._chance.choice(kinds)}")(x, handles, depth, in_function)
            nodes += made
        return nodes, x

    def _name(self, kind: str) -> str:
        self._count += 1
        return f"{kind}_{self._count}"

    def _some(self, handles: list[tuple[str, DType]]) -> list[tuple[str, DType]]:
        """Choose handles to pass on, in any order and some of them twice."""
        return [self._chance.choice(handles) for _ in range(self._chance.randint(1, 4))]

    def _read(self, x: str, handles: list[tuple[str, DType]], _: int, in_function: bool) -> tuple[list[Node], str]:  # noqa: FBT001
        handle, dtype = self._chance.choice(handles)
        name = self._name("read")
        at = _Outputs(in_function)
        kind = Attr.of(dtype)
        nodes = [
            Node(f"{name}/same", "Identity", (handle,), {"T": R}),
            Node(f"{name}/value", "ReadVariableOp", (at(f"{name}/same", "output"),), {"dtype": kind}),
            Node(f"{name}/cast", "Cast", (x,), {"SrcT": F, "DstT": kind}),
            Node(f"{name}/mul", "MatMul", (at(f"{name}/cast", "y"), at(f"{name}/value", "value")), {"T": kind}),
            Node(f"{name}/back", "Cast", (at(f"{name}/mul", "product"),), {"SrcT": kind, "DstT": F}),
            Node(f"{name}/tanh", "Tanh", (at(f"{name}/back", "y"),), {"T": F}),
        ]
        return nodes, at(f"{name}/tanh", "y")

    def _function(self, passed: list[tuple[str, DType]], depth: int) -> FuncRef:
        name = self._name("f")
        handles = [(f"h{k}", dtype) for k, (_, dtype) in enumerate(passed)]
        nodes, result = self.body("x", handles, depth - 1)
        args = (("x", DType.FLOAT), *((handle, DType.RESOURCE) for handle, _ in handles))
        body = FunctionBody(args, (("y", DType.FLOAT),), tuple(nodes), {"y": result})
        self.library[name] = Function(name, lambda: body)
        return FuncRef(name, {})

    def _call(self, x: str, handles: list[tuple[str, DType]], depth: int, in_function: bool) -> tuple[list[Node], str]:  # noqa: FBT001
        passed = self._some(handles)
        name = self._name("call")
        attrs = {"Tin": _types(DType.FLOAT, passed), "Tout": _types(DType.FLOAT, ())}
        attrs["f"] = Attr.of(self._function(passed, depth))
        inputs = (x, *(handle for handle, _ in passed))
        return [Node(name, "StatefulPartitionedCall", inputs, attrs)], _Outputs(in_function)(name, "output")

    def _choice(self, x: str, at: _Outputs) -> tuple[list[Node], str]:
        name = self._name("choice")
        return [
            const(f"{name}/axes", Tensor.of([0, 1], DType.INT32)),
            Node(f"{name}/sum", "Sum", (x, at(f"{name}/axes", "output")), {"T": F, "Tidx": INT}),
            const(f"{name}/zero", Tensor.of(0.1, DType.FLOAT)),
            Node(f"{name}/more", "Greater", (at(f"{name}/sum", "output"), at(f"{name}/zero", "output")), {"T": F}),
        ], at(f"{name}/more", "z")

    def _if(self, x: str, handles: list[tuple[str, DType]], depth: int, in_function: bool) -> tuple[list[Node], str]:  # noqa: FBT001
        at = _Outputs(in_function)
        passed = self._some(handles)
        nodes, choice = self._choice(x, at)
        name = self._name("if")
        attrs = {
            "Tcond": B,
            "Tin": _types(DType.FLOAT, passed),
            "Tout": _types(DType.FLOAT, ()),
            "then_branch": Attr.of(self._function(passed, depth)),
            "else_branch": Attr.of(self._function(passed, depth)),
        }
        inputs = (choice, x, *(handle for handle, _ in passed))
        return [*nodes, Node(name, "If", inputs, attrs)], at(name, "output")

    def _case(self, x: str, handles: list[tuple[str, DType]], depth: int, in_function: bool) -> tuple[list[Node], str]:  # noqa: FBT001
        at = _Outputs(in_function)
        passed = self._some(handles)
        nodes, choice = self._choice(x, at)
        name = self._name("case")
        branches = tuple(self._function(passed, depth) for _ in range(2))
        attrs = {
            "Tin": _types(DType.FLOAT, passed),
            "Tout": _types(DType.FLOAT, ()),
            "branches": Attr.of(AttrList("func", branches)),
        }
        nodes.append(Node(f"{name}/index", "Cast", (choice,), {"SrcT": B, "DstT": INT}))
        inputs = (at(f"{name}/index", "y"), x, *(handle for handle, _ in passed))
        return [*nodes, Node(name, "Case", inputs, attrs)], at(name, "output")

    def _while(self, x: str, handles: list[tuple[str, DType]], depth: int, in_function: bool) -> tuple[list[Node], str]:  # noqa: FBT001
        at = _Outputs(in_function)
        passed = self._some(handles)
        name = self._name("while")
        args = (
            ("i", DType.INT32),
            ("x", DType.FLOAT),
            *((f"h{k}", DType.RESOURCE) for k in range(len(passed))),
        )
        inside, result = self.body("x", [(f"h{k}", dtype) for k, (_, dtype) in enumerate(passed)], depth - 1)
        step = [
            const("one", Tensor.of(1, DType.INT32)),
            Node("next", "AddV2", ("i", "one:output:0"), {"T": INT}),
            *(Node(f"same_{k}", "Identity", (f"h{k}",), {"T": R}) for k in range(len(passed))),
        ]
        results = {
            "out_i": "next:z:0",
            "out_x": result,
            **{f"out_{k}": f"same_{k}:output:0" for k in range(len(passed))},
        }
        outputs = tuple(zip(results, (dtype for _, dtype in args), strict=True))
        body = FunctionBody(args, outputs, (*inside, *step), results)
        test = [
            const("limit", Tensor.of(_ROUNDS, DType.INT32)),
            Node("less", "Less", ("i", "limit:output:0"), {"T": INT}),
        ]
        cond = FunctionBody(args, (("go", DType.BOOL),), tuple(test), {"go": "less:z:0"})
        self.library[f"{name}_body"] = Function(f"{name}_body", lambda: body)
        self.library[f"{name}_cond"] = Function(f"{name}_cond", lambda: cond)
        attrs = {
            "T": Attr.of(AttrList("type", tuple(dtype for _, dtype in args))),
            "body": Attr.of(FuncRef(f"{name}_body", {})),
            "cond": Attr.of(FuncRef(f"{name}_cond", {})),
        }
        shapes = ((), (None, 3), *(() for _ in passed))
        if self._chance.random() < 0.5:  # whether the shapes are said
            attrs["output_shapes"] = Attr.of(AttrList("shape", shapes))
        start = const(f"{name}/start", Tensor.of(0, DType.INT32))
        inputs = (at(f"{name}/start", "output"), x, *(handle for handle, _ in passed))
        return [start, Node(name, "While", inputs, attrs)], at(name, "output", 1)


class _Outputs:
    """Writes an output of a node as the main graph does it, or as a body does."""

    def __init__(self, in_function: bool) -> None:  # noqa: FBT001
        self._in_function = in_function

    def __call__(self, node: str, output: str, index: int = 0) -> str:
        if self._in_function:
            return f"{node}:{output}:{index}"
        return f"{node}:{index}" if index else node


def _types(first: DType, passed: Any) -> Attr:
    return Attr.of(AttrList("type", (first, *(DType.RESOURCE for _ in passed))))
