"""Pruning, feeds, functions; nothing dangling is left behind."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tfinspect.errors import InvalidGraphError, NodeNotFoundError, OutputIndexError
from tfinspect.formats import graphdef
from tfinspect.ir.attrs import Attr, AttrList, FuncRef
from tfinspect.ir.dtypes import DType
from tfinspect.ir.functions import Function, FunctionBody
from tfinspect.ir.graph import Graph, Node, Versions, const, placeholder
from tfinspect.ir.refs import TensorRef
from tfinspect.ir.tensors import Tensor
from tfinspect.surgery._edges import colocations
from tfinspect.surgery.prune import placeholder_refs, prune, replace_with_placeholders
from tfinspect.surgery.rename import rename

ZOO = Path(__file__).parents[2] / "shared" / "zoo"
F = Attr.of(DType.FLOAT)


def op(name: str, kind: str, *inputs: str, **attrs: Attr) -> Node:
    return Node(name, kind, inputs, {"T": F, **attrs})


def loc(*names: str) -> Attr:
    return Attr.of(AttrList("s", tuple(f"loc:@{n}".encode() for n in names)))


def chain() -> Graph:
    return Graph(
        [
            op("y", "Relu", "h"),
            op("h", "AddV2", "x", "c", "^check"),
            placeholder("x", DType.FLOAT, (None, 2)),
            const("c", Tensor.of([1.0, 2.0], DType.FLOAT)),
            op("side", "Neg", "h"),
            op("check", "CheckNumerics", "x", message=Attr.of("bad")),
            op("after", "Neg", "y", "^side", _class=loc("side", "y")),
        ],
        versions=Versions(8),
    )


def names(graph: Graph) -> list[str]:
    return [node.name for node in graph.nodes]


def dangling(graph: Graph) -> set[str]:
    """Everything a node refers to that is not in the graph."""
    table = set(names(graph))
    inputs = {name for node in graph.nodes for name in node.input_names}
    located = {entry[5:].decode() for node in graph.nodes for entry in colocations(node)}
    return (inputs | located) - table


def test_keeps_what_the_output_needs_in_file_order_and_the_very_nodes() -> None:
    graph = chain()
    pruned = prune(graph, [TensorRef("y")])
    assert names(pruned) == ["y", "h", "x", "c", "check"]
    assert all(node is graph.node(node.name) for node in pruned.nodes)
    assert pruned.versions.producer == 8


def test_nothing_to_prune_gives_the_graph_itself() -> None:
    graph = prune(chain(), [TensorRef("after")])
    assert prune(graph, [TensorRef("after")]) is graph


def test_no_colocation_with_removed_nodes_is_left() -> None:
    graph = Graph(
        [op("a", "Neg", "x", _class=loc("gone", "x")), placeholder("x", DType.FLOAT, ()), op("gone", "Neg", "x")]
    )
    pruned = prune(graph, [TensorRef("a")])
    assert colocations(pruned.node("a")) == [b"loc:@x"]
    only = Graph([op("a", "Neg", "x", _class=loc("gone")), placeholder("x", DType.FLOAT, ()), op("gone", "Neg", "x")])
    assert "_class" not in prune(only, [TensorRef("a")]).node("a").attrs


def test_does_not_look_past_feeds() -> None:
    graph = chain()
    pruned = prune(graph, [TensorRef("y")], [TensorRef("h")])
    assert names(pruned) == ["h", "y"]
    assert pruned.node("h").op == "Placeholder"
    assert pruned.node("h").dtype("dtype") == DType.FLOAT
    assert dangling(pruned) == set()


def test_a_fed_placeholder_stays_as_it_is() -> None:
    graph = chain()
    assert prune(graph, [TensorRef("y")], [TensorRef("x")]).node("x") is graph.node("x")


def test_feeding_one_output_of_several_keeps_the_node_for_the_others() -> None:
    graph = Graph(
        [
            placeholder("x", DType.FLOAT, (4, 2)),
            const("axis", Tensor.of(0, DType.INT32)),
            op("split", "Split", "axis", "x", num_split=Attr.of(2)),
            op("sum", "AddV2", "split", "split:1"),
        ]
    )
    feeds = {TensorRef("split", 1): (DType.FLOAT, (2, 2))}
    assert placeholder_refs(graph, feeds) == {TensorRef("split", 1): TensorRef("split_1")}
    fed = prune(replace_with_placeholders(graph, feeds), [TensorRef("sum")])
    assert fed.node("sum").inputs == ("split", "split_1")
    assert fed.node("split").op == "Split"
    both = {TensorRef("split", 0): (DType.FLOAT, (2, 2)), **feeds}
    fed = prune(replace_with_placeholders(graph, both), [TensorRef("sum")])
    assert sorted(names(fed)) == ["split", "split_1", "sum"]
    assert dangling(fed) == set()


def test_a_placeholder_that_fits_already_is_left_alone() -> None:
    graph = chain()
    same = replace_with_placeholders(graph, {TensorRef("x"): (DType.FLOAT, (None, 2))})
    assert same.node("x") is graph.node("x")
    other = replace_with_placeholders(graph, {TensorRef("x"): (DType.FLOAT, (1, 2))})
    assert other.node("x").attrs["shape"].value == (1, 2)


def test_unknown_names_are_refused_with_near_ones() -> None:
    with pytest.raises(NodeNotFoundError) as caught:
        prune(chain(), [TensorRef("sidee")])
    assert "side" in caught.value.near
    with pytest.raises(OutputIndexError):
        prune(chain(), [TensorRef("x", 3)])
    with pytest.raises(InvalidGraphError, match="takes `nothing`"):
        prune(Graph([op("y", "Neg", "nothing")]), [TensorRef("y")])


def function(name: str, *nodes: Node) -> Function:
    return Function(name, lambda: FunctionBody((), (), tuple(nodes), {}))


def test_unreachable_functions_go_and_reachable_ones_stay() -> None:
    calls = Attr.of(AttrList("func", (FuncRef("listed", {"inner": Attr.of(FuncRef("nested", {}))}),)))
    library = {
        "direct": function("direct", Node("n", "by_op")),
        "by_op": function("by_op"),
        "listed": function("listed"),
        "nested": function("nested"),
        "unused": function("unused"),
    }
    graph = Graph(
        [
            Node("a", "PartitionedCall", (), {"f": Attr.of(FuncRef("direct", {}))}),
            Node("b", "Case", ("a",), {"branches": calls}),
            Node("c", "PartitionedCall", (), {"f": Attr.of(FuncRef("unused", {}))}),
        ],
        functions=library,
    )
    assert set(prune(graph, [TensorRef("b")]).functions) == {"direct", "by_op", "listed", "nested"}
    whole = prune(graph, [TensorRef("b"), TensorRef("c")])
    assert whole.functions is library


def test_a_deep_graph_needs_no_recursion() -> None:
    nodes = [placeholder("n0", DType.FLOAT, ())]
    nodes += [op(f"n{k}", "Neg", f"n{k - 1}") for k in range(1, 50_000)]
    assert len(prune(Graph(nodes), [TensorRef("n40000")])) == 40_001


def test_rename_changes_inputs_controls_and_colocations() -> None:
    graph = rename(chain(), {"side": "s", "y": "z"})
    after = graph.node("after")
    assert after.inputs == ("z", "^s")
    assert colocations(after) == [b"loc:@s", b"loc:@z"]
    assert graph.node("c") is not None
    assert dangling(graph) == set()


@st.composite
def graphs(draw: st.DrawFn) -> Graph:
    """Random acyclic graphs of binary ops with control edges and colocations."""
    count = draw(st.integers(1, 14))
    nodes = [placeholder("n0", DType.FLOAT, (2,))]
    for k in range(1, count):
        pick = st.integers(0, k - 1)
        kind = draw(st.sampled_from(["Const", "Neg", "AddV2", "Mul"]))
        if kind == "Const":
            nodes.append(const(f"n{k}", Tensor.of([float(k), 0.5], DType.FLOAT)))
            continue
        data = [f"n{draw(pick)}" for _ in range(1 if kind == "Neg" else 2)]
        controls = [f"^n{c}" for c in sorted(draw(st.sets(pick, max_size=2)))]
        attrs = {"_class": loc(f"n{draw(pick)}")} if draw(st.booleans()) else {}
        nodes.append(op(f"n{k}", kind, *data, *controls, **attrs))
    return Graph(draw(st.permutations(nodes)))


def evaluate(graph: Graph, ref: TensorRef, x: tuple[float, ...]) -> tuple[float, ...]:
    """The value of a tensor, by a second and much simpler executor."""
    values = {}
    for node in graph.topological():
        args = [values[r.name] for r in node.data_inputs]
        if node.op == "Placeholder":
            values[node.name] = x
        elif node.op == "Const":
            values[node.name] = tuple(node.tensor().numpy().tolist())
        elif node.op == "Neg":
            values[node.name] = tuple(-v for v in args[0])
        else:
            pairs = zip(*args, strict=True)
            values[node.name] = tuple(a + b if node.op == "AddV2" else a * b for a, b in pairs)
    return values[ref.name]


@given(graphs(), st.data())
@settings(max_examples=150, deadline=None)
def test_prune_is_idempotent_preserves_outputs_and_leaves_nothing_dangling(graph: Graph, data: st.DataObject) -> None:
    output = TensorRef(data.draw(st.sampled_from(names(graph))))
    once = prune(graph, [output])
    assert prune(once, [output]) is once
    assert dangling(once) == set()
    assert evaluate(once, output, (3.0, -2.0)) == evaluate(graph, output, (3.0, -2.0))
    assert all(node.inputs == graph.node(node.name).inputs for node in once.nodes)


@pytest.mark.skipif(not ZOO.exists(), reason="the collection of real models is not beside the repository")
@pytest.mark.parametrize("path", sorted((ZOO / "frozen_pb").rglob("*.pb")), ids=lambda p: p.stem)
def test_real_graphs_prune_to_nodes_that_are_written_byte_for_byte(path: Path) -> None:
    graph = graphdef.read(path)
    output = TensorRef(graph.topological()[-1].name)
    pruned = prune(graph, [output])
    assert dangling(pruned) == set()
    encoded = b"".join(bytes(piece) for piece in graphdef.encode(pruned))
    raw = path.read_bytes()
    for node in pruned.nodes:
        if not node.changed:
            assert bytes(node.wire.span) in raw
            assert bytes(node.wire.span) in encoded
