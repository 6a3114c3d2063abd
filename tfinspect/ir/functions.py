"""Functions of a graph's library."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from tfinspect.ir.dtypes import DType
    from tfinspect.ir.graph import Node
    from tfinspect.ir.shapes import Shape


class Function:
    """One library function, its body decoded when asked for.

    Inputs of body nodes are written `argument`, `node:output_name:index` or `^node`, not as in a graph.

    Attributes:
        name: name of the function.
        wire: what the reader keeps so that its writer can put the function back unchanged.
    """

    __slots__ = ("_body", "_decode", "name", "wire")

    def __init__(self, name: str, decode: Callable[[], FunctionBody], *, wire: object = None) -> None:
        self.name = name
        self.wire = wire
        self._decode = decode
        self._body: FunctionBody | None = None

    @property
    def body(self) -> FunctionBody:
        """Arguments, nodes and results; decoded at the first call."""
        if self._body is None:
            self._body = self._decode()
        return self._body


class FunctionBody:
    """What a function computes.

    Attributes:
        args: (name, dtype) of each argument; dtype is None where it depends on an attribute.
        outputs: (name, dtype) of each result.
        nodes: the body.
        results: for each result name, the body tensor that gives it.
        arg_shapes: shape of each argument where the file says it; may be shorter than `args`.
    """

    __slots__ = ("arg_shapes", "args", "nodes", "outputs", "results")

    def __init__(
        self,
        args: tuple[tuple[str, DType | None], ...],
        outputs: tuple[tuple[str, DType | None], ...],
        nodes: tuple[Node, ...],
        results: dict[str, str],
        arg_shapes: tuple[Shape, ...] = (),
    ) -> None:
        self.args = args
        self.outputs = outputs
        self.nodes = nodes
        self.results = results
        self.arg_shapes = arg_shapes
