"""Reading a graph with TensorFlow's own protobufs, and cutting it down to what a run needs. In the children only."""

from __future__ import annotations

from collections import deque
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tfinspect.errors import UnknownFormatError, UnsupportedFeatureError
from tfinspect.ir.dtypes import DType
from tfinspect.ir.model import for_serving
from tfinspect.ir.refs import split_input

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    import numpy.typing as npt


def read(path: str) -> tuple[Any, Any]:
    """Read a GraphDef or MetaGraphDef, binary or text, whatever its name; of a SavedModel the MetaGraphDef for serving.

    Returns:
        GraphDef and SaverDef, the latter None where the file has none.

    Raises:
        UnknownFormatError: TensorFlow's protobufs read no graph from it.
    """
    from google.protobuf import text_format
    from google.protobuf.message import DecodeError
    from tensorflow.core.framework.graph_pb2 import GraphDef
    from tensorflow.core.protobuf.meta_graph_pb2 import MetaGraphDef

    if Path(path).name in _SAVED_MODELS:
        return _read_saved_model(path)
    data = Path(path).read_bytes()
    order = (MetaGraphDef, GraphDef) if path.endswith(".meta") else (GraphDef, MetaGraphDef)
    reasons = []
    for make in order:
        try:
            message = _parse_text(make, data) if _is_text(data) else make.FromString(data)
        except (DecodeError, text_format.ParseError, UnicodeDecodeError) as error:
            reasons.append(f"as {make.__name__}: {error}")
            continue
        graph = message.graph_def if make is MetaGraphDef else message
        # the fields of one read as the other give nodes without names or ops
        if graph.node and all(n.name and n.op for n in graph.node):
            saver = message.saver_def if make is MetaGraphDef and message.HasField("saver_def") else None
            return graph, saver
    raise UnknownFormatError(f"TensorFlow reads no graph from {path}", details=reasons, evidence={"path": path})


_SAVED_MODELS = frozenset({"saved_model.pb", "saved_model.pbtxt"})


def _read_saved_model(path: str) -> tuple[Any, Any]:
    from google.protobuf import text_format
    from google.protobuf.message import DecodeError
    from tensorflow.core.protobuf.saved_model_pb2 import SavedModel

    data = Path(path).read_bytes()
    try:
        found = _parse_text(SavedModel, data) if path.endswith("txt") else SavedModel.FromString(data)
        meta = found.meta_graphs[for_serving([tuple(one.meta_info_def.tags) for one in found.meta_graphs])]
    except (DecodeError, text_format.ParseError, UnicodeDecodeError, IndexError) as error:
        raise UnknownFormatError(
            f"TensorFlow reads no SavedModel from {path}", details=[str(error)], evidence={"path": path}
        ) from None
    return meta.graph_def, meta.saver_def if meta.HasField("saver_def") else None


def _is_text(data: bytes) -> bool:
    head = data[:16384]  # licences and test instructions may stand before the first field
    return b"{" in head and all(byte >= 0x20 or byte in b"\t\r\n" for byte in head)  # noqa: PLR2004 - control codes


def _parse_text(make: Any, data: bytes) -> Any:  # noqa: ANN401 - TensorFlow's protobuf classes
    from google.protobuf import text_format

    return text_format.Parse(data.decode("utf-8"), make())


def reached(graph: Any, fetches: Iterable[str], feeds: Iterable[str]) -> set[str]:  # noqa: ANN401 - a GraphDef
    """Return names of the nodes between feeds and fetches, both included.

    Args:
        graph: a GraphDef.
        fetches: tensors `name:index`, or node names.
        feeds: names of fed tensors.
    """
    nodes = {node.name: node for node in graph.node}
    cut = replaced_by_feeds(feeds)
    found: set[str] = set()
    waiting = deque(split_input(text)[0] for text in (*fetches, *feeds))
    while waiting:
        name = waiting.popleft()
        if name not in found and name in nodes:
            found.add(name)
            if name not in cut:
                waiting.extend(split_input(text)[0] for text in nodes[name].input)
    return found


def replaced_by_feeds(feeds: Iterable[str]) -> set[str]:
    """Return the nodes that need not run, because output 0 is fed and no other output is."""
    fed = [split_input(text)[:2] for text in feeds]
    return {name for name, _ in fed} - {name for name, index in fed if index != 0}


def prune(graph: Any, fetches: Iterable[str], feeds: Mapping[str, npt.NDArray[Any]]) -> Any:  # noqa: ANN401
    """Return a GraphDef of what leads from feeds to fetches, and the functions that is built of.

    A node of which output 0 alone is fed becomes a Placeholder, so that its op need not be known.

    Args:
        graph: a GraphDef.
        fetches: tensors `name:index`, or node names.
        feeds: fed values by tensor name.
    """
    from tensorflow.core.framework.graph_pb2 import GraphDef

    kept = reached(graph, fetches, feeds)
    cut = replaced_by_feeds(feeds)
    dtypes = {split_input(text)[0]: DType.from_numpy(value.dtype) for text, value in feeds.items()}
    pruned = GraphDef(versions=graph.versions)
    for node in graph.node:
        if node.name not in kept:
            continue
        if node.name in cut:
            made = pruned.node.add(name=node.name, op="Placeholder")
            made.attr["dtype"].type = dtypes[node.name]
            made.attr["shape"].shape.unknown_rank = True
        else:
            made = pruned.node.add()
            made.CopyFrom(node)
            if "_class" in made.attr:  # colocation with nodes that may be gone
                del made.attr["_class"]
    pruned.library.function.extend(_called_functions(graph, pruned.node))
    return pruned


def _called_functions(graph: Any, nodes: Iterable[Any]) -> list[Any]:  # noqa: ANN401 - a GraphDef
    library = {f.signature.name: f for f in graph.library.function}
    found: dict[str, None] = {}
    waiting = deque(nodes if library else ())
    while waiting:
        for name in _called(waiting.popleft()):
            if name in library and name not in found:
                found[name] = None
                waiting.extend(library[name].node_def)
    return [library[name] for name in found]


def _called(node: Any) -> list[str]:  # noqa: ANN401 - a NodeDef
    names = [node.op]
    for attr in node.attr.values():
        if attr.HasField("func"):
            names.append(attr.func.name)
        names += [f.name for f in attr.list.func]
    return names


_UPDATES = ("Assign", "Scatter", "Apply", "SparseApply", "ResourceScatter", "ResourceApply", "ResourceSparseApply")


def hold_variables(graph: Any, restore_op: str) -> list[str]:  # noqa: ANN401 - a GraphDef, changed in place
    """Drop control inputs that would change variables whenever something else is run.

    Training graphs hang the updates of moving averages on the forward pass. Run as they stand, they would compute
    something else each time, and not what the checkpoint holds. What restores the variables stays.

    Args:
        graph: a GraphDef.
        restore_op: the node that restores everything.

    Returns:
        Names of the updates that no longer run.
    """
    nodes = {node.name: node for node in graph.node}
    restoring = reached(graph, [restore_op], ())
    changing = {n.name for n in graph.node if n.op.startswith(_UPDATES) and n.name not in restoring}
    grown = True
    while grown:  # groups of updates, and groups of those
        groups = {
            n.name
            for n in graph.node
            if n.op == "NoOp" and n.name not in changing and any(split_input(text)[0] in changing for text in n.input)
        }
        changing |= groups
        grown = bool(groups)
    dropped: dict[str, None] = {}
    for node in graph.node:
        if node.name in changing:
            continue
        gone = [text for text in node.input if text.startswith("^") and text[1:] in changing]
        if gone:
            kept = [text for text in node.input if text not in gone]
            del node.input[:]
            node.input.extend(kept)
            dropped.update((text[1:], None) for text in gone if nodes[text[1:]].op != "NoOp")
    return list(dropped)


# What could touch anything but its outputs; running a model must not write files, start programs or open connections.
_FORBIDDEN = frozenset(
    {
        "CollectiveInitializeCommunicator", "CreateSummaryDbWriter", "CreateSummaryFileWriter", "DebugIdentity",
        "DebugIdentityV2", "DebugIdentityV3", "EagerPyFunc", "LMDBReader", "MergeV2Checkpoints", "PyFunc",
        "PyFuncStateless", "RpcCall", "RpcServer", "RpcServerStart", "Save", "SaveDataset", "SaveDatasetV2",
        "SaveSlices", "SaveV2", "TPUPartitionedCall", "WriteFile",
    }
)  # fmt: skip


def refuse_side_effects(graph: Any, path: str, fetches: Iterable[str], feeds: Iterable[str]) -> None:  # noqa: ANN401
    """Refuse to run what would write files or call out of TensorFlow.

    Args:
        graph: a GraphDef.
        path: the file, for the message.
        fetches: tensors `name:index`.
        feeds: names of fed tensors.

    Raises:
        UnsupportedFeatureError: nodes of that kind lie between feeds and fetches.
    """
    run = reached(graph, fetches, feeds) - replaced_by_feeds(feeds)
    nodes = [node for node in graph.node if node.name in run]
    inner = [n for function in _called_functions(graph, nodes) for n in function.node_def]
    found = [node for node in (*nodes, *inner) if node.op in _FORBIDDEN]
    if found:
        raise UnsupportedFeatureError(
            f"running {path} would reach outside the model: node `{found[0].name}` is a {found[0].op}",
            details=[f"`{n.name}`: {n.op}" for n in found[:8]],
            hint="choose outputs that do not depend on it",
            evidence={"path": path, "nodes": [n.name for n in found]},
        )
