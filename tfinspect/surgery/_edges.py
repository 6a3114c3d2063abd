"""Edges between nodes: redirecting them, and leaving none behind that lead nowhere."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tfinspect.ir.attrs import Attr, AttrList
from tfinspect.ir.refs import TensorRef, split_input

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping

    from tfinspect.ir.graph import Graph, Node

COLOCATION = "_class"
_LOC = b"loc:@"
IDENTITIES = frozenset({"Identity", "RefIdentity"})


def as_input(ref: TensorRef) -> str:
    """Write a tensor as a NodeDef's input does: output 0 without its index."""
    return str(ref) if ref.index else ref.name


def fresh_name(base: str, taken: Collection[str]) -> str:
    """Return `base`, or `base_1`, `base_2`... where it is taken."""
    name, count = base, 0
    while name in taken:
        count += 1
        name = f"{base}_{count}"
    return name


def drop_dangling(nodes: Iterable[Node]) -> list[Node]:
    """Remove control inputs from, and colocations with, nodes that are not among `nodes`.

    A graph with either does not import: TensorFlow reports an "Unknown input node" or a node that "expects to be
    colocated with unknown node". Nodes with neither come back as they are.
    """
    kept = list(nodes)
    names = {node.name for node in kept}
    return [cleaned(node, names) for node in kept]


def cleaned(node: Node, names: Collection[str]) -> Node:
    """Return a node without control inputs from, and colocations with, anything but `names`."""
    return _drop_colocation(_drop_controls(node, names), names)


def without_colocation(node: Node, gone: str) -> Node:
    """Return a node that is not colocated with `gone`."""
    entries = colocations(node)
    kept = [entry for entry in entries if _located(entry) != gone]
    return node if len(kept) == len(entries) else with_colocations(node, kept)


def _drop_controls(node: Node, names: Collection[str]) -> Node:
    if all(not text.startswith("^") or text[1:] in names for text in node.inputs):
        return node
    return node.replace(inputs=[text for text in node.inputs if not text.startswith("^") or text[1:] in names])


def _drop_colocation(node: Node, names: Collection[str]) -> Node:
    entries = colocations(node)
    kept = [entry for entry in entries if _located(entry) in names]
    if len(kept) == len(entries):
        return node
    return with_colocations(node, kept)


def colocations(node: Node) -> list[bytes]:
    """Return the `loc:@name` entries of a node's `_class`."""
    if COLOCATION not in node.attrs:
        return []
    return [entry for entry in node.value(COLOCATION, ()) if isinstance(entry, bytes) and entry.startswith(_LOC)]


def with_colocations(node: Node, entries: list[bytes]) -> Node:
    """Return the node with these `loc:@name` entries instead of its own, other entries of `_class` kept."""
    others = [e for e in node.value(COLOCATION, ()) if not (isinstance(e, bytes) and e.startswith(_LOC))]
    attrs = dict(node.attrs)
    if others or entries:
        attrs[COLOCATION] = Attr.of(AttrList("s", (*others, *entries)))
    else:
        attrs.pop(COLOCATION, None)
    return node.replace(attrs=attrs)


def _located(entry: bytes) -> str:
    return entry[len(_LOC) :].decode("utf-8", "replace")


def map_colocations(node: Node, rename: Callable[[str], str]) -> Node:
    """Rename the nodes a node is colocated with."""
    entries = colocations(node)
    renamed = [_LOC + rename(_located(entry)).encode() for entry in entries]
    return node if renamed == entries else with_colocations(node, renamed)


def redirect(
    nodes: Iterable[Node], tensors: Mapping[TensorRef, TensorRef], controls: Mapping[str, str | None] | None = None
) -> list[Node]:
    """Make consumers of some tensors take others instead.

    Args:
        nodes: all nodes of a graph.
        tensors: what to take instead of what; followed as long as the replacement is itself replaced.
        controls: for control inputs, the node to wait for instead, or None to wait for nothing.
    """
    waits = {} if controls is None else controls
    names = {ref.name for ref in tensors}
    names.update(waits)
    return [_redirect(node, tensors, waits) if not names.isdisjoint(node.input_names) else node for node in nodes]


def _redirect(node: Node, tensors: Mapping[TensorRef, TensorRef], waits: Mapping[str, str | None]) -> Node:
    inputs: list[str] = []
    for text in node.inputs:
        name, index, control = split_input(text)
        if control:
            target: str | None = name
            seen = set()
            while target is not None and target in waits and target not in seen:
                seen.add(target)
                target = waits[target]
            if target is not None and f"^{target}" not in inputs:
                inputs.append(f"^{target}")
        else:
            ref = TensorRef(name, index)
            end = resolve(ref, tensors)
            inputs.append(text if end == ref else as_input(end))
    return node if tuple(inputs) == node.inputs else node.replace(inputs=inputs)


def resolve(ref: TensorRef, tensors: Mapping[TensorRef, TensorRef]) -> TensorRef:
    """Follow replacements to the end."""
    seen = {ref}
    while ref in tensors and tensors[ref] not in seen:
        ref = tensors[ref]
        seen.add(ref)
    return ref


def behind_identities(graph: Graph, ref: TensorRef) -> TensorRef:
    """Return the tensor that Identity nodes pass on."""
    seen = set()
    while ref not in seen:
        seen.add(ref)
        node = graph.by_name.get(ref.name)
        if node is None or node.op not in IDENTITIES or not node.data_inputs:
            break
        ref = node.data_inputs[0]
    return ref


def constant_behind(graph: Graph, ref: TensorRef) -> Node | None:
    """Return the Const whose value a tensor has, Identity nodes between them looked through, or None."""
    node = graph.by_name.get(behind_identities(graph, ref).name)
    return node if node is not None and node.op == "Const" else None


def used_tensors(nodes: Iterable[Node]) -> set[TensorRef]:
    """Return every tensor that some node consumes."""
    return {ref for node in nodes for ref in node.data_inputs}
