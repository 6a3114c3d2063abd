"""Operations that act outside the graph: read or write files, talk to other machines, run code the file does not hold.

Every op of TensorFlow was looked at once; `_ACTS` lists those that act, `tensorflow_ops` names all there are. What is
left is an op that only somebody's own library knows.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from tfinspect.ir.attrs import AttrList
from tfinspect.ir.risks import Risk
from tfinspect.surgery._call_paths import Names, Place, Reached, Value, bodies
from tfinspect.surgery.ops import refusal
from tfinspect.surgery.tensorflow_ops import KNOWN_OPS

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from tfinspect.ir.graph import Graph, Node
    from tfinspect.ir.model import Saver

_SHOWN = 4  # names in one sentence
_LONGEST = 200  # characters of one name


@dataclass(frozen=True, slots=True)
class Act:
    """What an op does.

    Attributes:
        kind: of the risk.
        what: phrase, with the op before it and the name after it.
        source: number of the data input that names the file or address, or attribute that does; None where none does.
        noun: what is named.
    """

    kind: str
    what: str
    source: int | str | None
    noun: str


_GROUPS: Final[tuple[tuple[str, str, int | str | None, str, str], ...]] = (
    ("file-read", "reads", 0, "file", "ReadFile LoadAndRemapMatrix GenerateVocabRemapping SnapshotChunkDataset"),
    ("file-read", "reads", 0, "file", ("TextLineDataset TFRecordDataset TFRecordDatasetV2 FixedLengthRecordDataset "
     "FixedLengthRecordDatasetV2 CSVDataset CSVDatasetV2 LMDBDataset")),
    ("file-read", "reads", 0, "folder", "LoadDataset SnapshotDatasetReader ListSnapshotChunksDataset"),
    ("file-read", "reads", 1, "database", "SqlDataset"),
    ("file-read", "reads", 1, "file", "InitializeTableFromTextFile InitializeTableFromTextFileV2"),
    ("file-read", "lists", 0, "file", "MatchingFiles MatchingFilesDataset"),
    ("file-read", "reads", "file_pattern", "file", "RecordInput"),
    ("file-read", "reads", "filename", "file", "Skipgram"),
    ("file-read", "reads the files that a queue names", None, "", ("WholeFileReader WholeFileReaderV2 TextLineReader "
     "TextLineReaderV2 TFRecordReader TFRecordReaderV2 FixedLengthRecordReader FixedLengthRecordReaderV2 LMDBReader")),
    ("file-write", "writes", 0, "file", "WriteFile"),
    ("file-write", "writes", 1, "file", "DatasetToTFRecord"),
    ("file-write", "writes", 1, "folder", ("SaveDataset SaveDatasetV2 SnapshotDataset SnapshotDatasetV2 "
     "DistributedSave")),
    ("file-write", "writes logs into", 1, "folder", "CreateSummaryFileWriter"),
    ("file-write", "writes", 1, "database", "CreateSummaryDbWriter"),
    ("file-write", "writes an event into the log of a writer", None, "", "ImportEvent"),
    ("file-write", "writes into", "log_dir_path", "folder", "DumpTensor"),
    ("file-write", "writes", "output_file_path", "file", "CalibrationStatisticsSaver"),
    ("file-write", "sets where summaries are written", None, "", "StatsAggregatorSetSummaryWriter"),
    ("process", "ends the process that runs it", None, "", "Abort"),
    ("python-code", "calls a Python function that is not in the file", "token", "function", ("PyFunc PyFuncStateless "
     "EagerPyFunc")),
    ("network", "connects to", 2, "address", ("DataServiceDataset DataServiceDatasetV2 DataServiceDatasetV3 "
     "DataServiceDatasetV4")),
    ("network", "sends a dataset to", 1, "address", "RegisterDataset RegisterDatasetV2"),
    ("network", "connects to", 0, "address", "RpcClient"),
    ("network", "listens at", 0, "address", "RpcServer"),
    ("network", "calls a remote procedure", None, "", "RpcCall RpcServerStart RpcServerRegister Rpc TryRpc"),
    ("network", "sets how a remote file system is reached", None, "", ("FileSystemSetConfiguration "
     "GcsConfigureCredentials GcsConfigureBlockCache")),
    ("network", "reads from a cloud database", None, "", ("BigQueryReader GenerateBigQueryReaderPartitions "
     "BigQueryClient BigQueryReadSession BigQueryDataset BigtableClient BigtableTable BigtableLookupDataset "
     "BigtablePrefixKeyDataset BigtableRangeKeyDataset BigtableSampleKeysDataset BigtableSampleKeyPairsDataset "
     "BigtableScanDataset BigtableTableToBigtable DatasetToBigtable")),
    ("network", "takes hold of the TPUs of other machines", None, "", ("ConfigureDistributedTPU "
     "_ConfigureDistributedTPU _WaitForDistributedTPU _InitializeHostForDistributedTPU "
     "_DisconnectHostFromDistributedTPUSystem _ShutdownDistributedTPU ShutdownDistributedTPU ShutdownTPUSystem "
     "ConfigureAndInitializeGlobalTPU ConfigureTPUEmbedding ConfigureTPUEmbeddingHost ConfigureTPUEmbeddingMemory "
     "ConnectTPUEmbeddingHosts WorkerHeartbeat")),
    ("network", "exchanges values with other workers", None, "", ("CollectiveReduce CollectiveReduceV2 "
     "CollectiveReduceV3 CollectiveGather CollectiveGatherV2 CollectiveBcastSend CollectiveBcastSendV2 "
     "CollectiveBcastRecv CollectiveBcastRecvV2 CollectiveReduceScatterV2 CollectiveAllToAllV2 CollectiveAllToAllV3 "
     "CollectiveInitializeCommunicator")),
    ("custom-code", "runs a compiled program that stands in the node, which was not looked into", None, "",
     "XlaCallModule MlirPassthroughOp TPUCompile _TPUCompileMlir _XlaHostComputeMlir TRTEngineOp TRTEngineOpV2"),
    ("custom-code", "calls native code by name:", "target_name", "function", "XlaCustomCall"),
    ("custom-code", "calls native code by name:", "call_target_name", "function", "XlaCustomCallV2"),
)  # fmt: skip
_SAVES: Final[tuple[tuple[str, str, int | str | None, str, str], ...]] = (
    ("file-write", "writes", 0, "checkpoint", "Save SaveSlices SaveV2"),
    ("file-write", "writes", 1, "checkpoint", "MergeV2Checkpoints"),
)
_RESTORES: Final[tuple[tuple[str, str, int | str | None, str, str], ...]] = (
    ("file-read", "reads", 0, "checkpoint", "Restore RestoreSlice RestoreV2 DTensorRestoreV2"),
)


def _acts(groups: tuple[tuple[str, str, int | str | None, str, str], ...]) -> dict[str, Act]:
    return {op: Act(kind, what, source, noun) for kind, what, source, noun, ops in groups for op in ops.split()}


_ACTS: Final = _acts(_GROUPS + _SAVES + _RESTORES)
_SAVE_OPS: Final = frozenset(_acts(_SAVES))
_RESTORE_OPS: Final = frozenset(_acts(_RESTORES))
# ops that act only as their attributes or inputs say: each has a function below
SOMETIMES: Final = frozenset(
    {
        "PrintV2", "CacheDataset", "CacheDatasetV2", "DebugIdentity", "DebugIdentityV2", "DebugIdentityV3",
        "DebugNanCount", "DebugNumericSummary", "Send", "Recv", "_Send", "_Recv", "_HostSend", "_HostRecv",
        "RemoteCall", "GeneratorDataset", "FixedUnigramCandidateSampler", "DecodeProtoV2", "EncodeProto",
    }
)  # fmt: skip
ACTING: Final = frozenset(_ACTS) | SOMETIMES
"""Every op that can act outside the graph."""

_LOCAL_STREAMS = ("stdout", "stderr", "log(info)", "log(warning)", "log(error)")
_DESCRIPTORS_INSIDE = ("local://", "bytes://")


def risky_ops(
    graph: Graph,
    roots: Iterable[str] = (),
    *,
    saver: Saver | None = None,
    assets: Mapping[str, str] | None = None,
    captured: Mapping[str, tuple[str, ...]] | None = None,
) -> list[Risk]:
    """Return what the nodes of a graph, and of all its functions, do outside of it, in the order of the file.

    What an ordinary Saver writes and reads is left out: where no output, and nothing that runs at loading, needs it,
    and no path stands fixed in the graph that leads elsewhere. So are a model's own assets.

    Args:
        graph: the graph.
        roots: nodes that are run when the model is used or loaded; without any, every node counts as one.
        saver: how the graph saves and restores itself.
        assets: name of the tensor that an asset's path is given to, and the asset.
        captured: by function, tensors of the main graph that its last arguments are bound to when Python calls it.
    """
    places = bodies(graph)
    names = Names(graph, places, assets or {}, captured or {})
    used = Reached(graph, roots)
    loaded = Reached(graph, [saver.restore_op], uncalled=False) if saver is not None else None
    found = []
    for place in places:
        for node in place.nodes:
            found += list(_of_node(place, node, names, used, loaded))
    return found + _unknown_ops(graph, places)


def acts_at_all(graph: Graph) -> bool:
    """Whether any node of a graph or its functions may act outside of it; only then roots are worth looking for."""
    return any(node.op.removeprefix("Experimental") in ACTING for place in bodies(graph) for node in place.nodes)


def _of_node(place: Place, node: Node, names: Names, used: Reached, loaded: Reached | None) -> Iterator[Risk]:
    op = node.op.removeprefix("Experimental")
    if node.op in names.functions:  # a function of that name stands in for it
        return
    needed = used.has(place, node)
    if op in SOMETIMES:
        found = _sometimes(place, node, op, names)
    elif op in _ACTS:
        act = _ACTS[op]
        value = _value(place, node, act, names)
        at_loading = loaded is not None and op in _SAVE_OPS and loaded.has(place, node)
        if op in _SAVE_OPS | _RESTORE_OPS and not (needed or at_loading or any(map(_leads_out, value.names))):
            return
        if value.kind == "asset":
            return
        found = [(act.kind, f"{node.op} {act.what}{_named(act, value)}")]
    else:
        return
    for kind, what in found:
        yield Risk(kind, place.where(node), what if needed else f"{what}; no output needs it")


def _value(place: Place, node: Node, act: Act, names: Names) -> Value:
    if act.source is None:
        return Value("none")
    if isinstance(act.source, str):
        return names.attribute(node, act.source)
    return names.of_input(place, node, act.source)


def _leads_out(name: str) -> bool:
    return name.startswith(("/", "~")) or ".." in name.split("/") or "://" in name


def _named(act: Act, value: Value) -> str:
    if act.source is None or (act.noun == "function" and not value.names):
        return ""
    article = f"an {act.noun}" if act.noun[0] in "aeiou" else f"a {act.noun}"
    if value.names:
        shown = ", ".join(f"`{shown_name(name)}`" for name in value.names[:_SHOWN])
        more = f" and {len(value.names) - _SHOWN:,} more" if len(value.names) > _SHOWN else ""
        by_default = " unless another is fed" if value.kind == "default" else ""
        if act.kind in {"python-code", "custom-code"}:
            return f" ({shown}{more})" if act.kind == "python-code" else f" {shown}{more}"
        return f" the {act.noun} {shown}{more}{by_default}"
    how = {
        "fed": "that is fed to it",
        "argument": "that its caller names",
        "unreadable": "whose name cannot be read",
        "none": "",
    }.get(value.kind, "whose name the graph computes")
    return f" {article} {how}".rstrip()


def shown_name(name: str) -> str:
    """Return a name as it is shown in a sentence: not endlessly."""
    return name if len(name) <= _LONGEST else f"{name[:_LONGEST]}..."


def _sometimes(place: Place, node: Node, op: str, names: Names) -> list[tuple[str, str]]:
    if op == "PrintV2":
        stream = node.text("output_stream", "stderr")
        return [] if stream in _LOCAL_STREAMS else [("file-write", f"PrintV2 writes to `{shown_name(stream)}`")]
    if op in {"CacheDataset", "CacheDatasetV2"}:
        value = names.of_input(place, node, 1)
        if value.kind == "const" and not any(value.names):
            return []  # kept in memory
        return [("file-write", f"{node.op} writes{_named(Act('file-write', '', 1, 'file'), value)}")]
    if op.startswith("Debug"):
        return [_debug_url(node, url) for url in _texts(node, "debug_urls")]
    if op.endswith(("Send", "Recv")):
        return _transfer(node)
    if op == "RemoteCall":
        return _remote_call(place, node, names)
    if op == "GeneratorDataset":
        return _generator(node, names)
    file = node.text("vocab_file" if op == "FixedUnigramCandidateSampler" else "descriptor_source")
    if not file or file.startswith(_DESCRIPTORS_INSIDE):
        return []
    return [("file-read", f"{op} reads the file `{shown_name(file)}`")]


def _debug_url(node: Node, url: str) -> tuple[str, str]:
    if url.startswith("file://"):
        return "file-write", f"{node.op} writes every value of a tensor to `{shown_name(url)}`"
    return "network", f"{node.op} sends every value of a tensor to `{shown_name(url)}`"


def _texts(node: Node, attr: str) -> list[str]:
    found = node.attrs.get(attr)
    if found is None or not isinstance(found.value, AttrList):
        return []
    return [v.decode("utf-8", "replace") for v in found.value.values if isinstance(v, bytes)]


def _transfer(node: Node) -> list[tuple[str, str]]:
    hosts = {_host(node.text(attr)) for attr in ("send_device", "recv_device")} - {""}
    if len(hosts) < 2:  # noqa: PLR2004 - between two devices of one machine
        return []
    sender, receiver = (shown_name(node.text(attr)) for attr in ("send_device", "recv_device"))
    return [("network", f"{node.op} moves a value from `{sender}` to `{receiver}`")]


def _host(device: str) -> str:
    """Return the part of a device's name that tells the machine."""
    return "/".join(part for part in device.split("/") if part.startswith(("job:", "replica:", "task:")))


def _remote_call(place: Place, node: Node, names: Names) -> list[tuple[str, str]]:
    value = names.of_input(place, node, 0)
    if value.names and all(_host(name) in {"", "job:localhost"} or "job:localhost" in name for name in value.names):
        return []
    named = _named(Act("network", "", 0, "device"), value)
    return [("network", f"RemoteCall runs a function on{named}")]


def _generator(node: Node, names: Names) -> list[tuple[str, str]]:
    """Tell of a dataset whose functions are not in the graph; those that are there speak for themselves."""
    missing = [
        value.name
        for attr in ("init_func", "next_func", "finalize_func")
        if (value := node.value(attr)) is not None and hasattr(value, "name") and value.name not in names.functions
    ]
    if not missing:
        return []
    return [("python-code", f"GeneratorDataset calls `{shown_name(missing[0])}`, which is not in the file")]


def _unknown_ops(graph: Graph, places: tuple[Place, ...]) -> list[Risk]:
    """Return the ops that TensorFlow does not know, each once, at the first node that has it."""
    counts: Counter[str] = Counter()
    first: dict[str, str] = {}
    for place in places:
        for node in place.nodes:
            if node.op in KNOWN_OPS or node.op in graph.functions or node.op.removeprefix("Experimental") in ACTING:
                continue
            counts[node.op] += 1
            first.setdefault(node.op, place.where(node))
    found = []
    for op, count in counts.items():
        known_as = refusal(op, graph.versions.producer)
        why = known_as or "TensorFlow does not know it"
        times = f" ({count:,} nodes)" if count > 1 else ""
        what = f"the op `{shown_name(op)}`{times} needs a library of its own, whose code would run: {why}"
        found.append(Risk("custom-code", first[op], what))
    return found
