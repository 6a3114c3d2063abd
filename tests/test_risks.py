"""What a model could do to whoever runs or loads it: every kind, in every place it can hide."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.cli_calls import FIXTURES, ROOT, ZOO, Stream
from tests.graph_models import const, feed, graph, needs_zoo, op
from tfinspect.api.risks import of_model, risks
from tfinspect.cli.risk_lines import show_risks
from tfinspect.cli.terminal import Terminal
from tfinspect.errors import TfinspectError
from tfinspect.formats import folder_risks, graphdef, meta_graphs
from tfinspect.formats._schema import message_class
from tfinspect.formats._wire import len_header
from tfinspect.ir.attrs import Attr, AttrList, FuncRef
from tfinspect.ir.dtypes import DType
from tfinspect.ir.functions import Function, FunctionBody
from tfinspect.ir.graph import Graph, Node
from tfinspect.ir.model import Model, Saver
from tfinspect.ir.refs import TensorRef
from tfinspect.ir.risks import KINDS, Risk
from tfinspect.ir.signature import Signature, TensorSpec
from tfinspect.surgery.risky_ops import ACTING, SOMETIMES, risky_ops
from tfinspect.surgery.tensorflow_ops import KNOWN_OPS, REGISTERED

if TYPE_CHECKING:
    from pathlib import Path

STRING = DType.STRING


def name(text: str | list[str], node: str = "name") -> Node:
    value = text.encode() if isinstance(text, str) else [t.encode() for t in text]
    return const(node, value, STRING)


def texts(*values: str) -> Attr:
    return Attr.of(AttrList("s", tuple(v.encode() for v in values)))


def calls(function: str) -> Attr:
    return Attr.of(FuncRef(function, {}))


def body(*nodes: Node, args: tuple[str, ...] = ()) -> FunctionBody:
    return FunctionBody(tuple((arg, STRING) for arg in args), (), nodes, {})


def with_functions(made: Graph, **functions: FunctionBody) -> Graph:
    return made.replace(functions={n: Function(n, lambda b=b: b) for n, b in functions.items()})


def told(made: Graph, *roots: str, **more: object) -> list[tuple[str, str, str]]:
    return [(r.kind, r.where, r.what) for r in risky_ops(made, roots, **more)]  # type: ignore[arg-type]


# -- the table of ops ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "nodes", "what"),
    [
        ("file-read", [name("/etc/passwd"), op("ReadFile", "x", "name")], "ReadFile reads the file `/etc/passwd`"),
        ("file-read", [feed("p", (), STRING), op("ReadFile", "x", "p")], "ReadFile reads a file that is fed to it"),
        ("file-read", [op("AsString", "a"), op("ReadFile", "x", "a")], "ReadFile reads a file whose name the graph computes"),
        ("file-read", [op("ReadFile", "x")], "ReadFile reads a file"),
        ("file-read", [name("/etc/*"), op("MatchingFiles", "x", "name")], "MatchingFiles lists the file `/etc/*`"),
        ("file-read", [op("WholeFileReaderV2", "x")], "WholeFileReaderV2 reads the files that a queue names"),
        ("file-read", [name(["a", "b"]), op("TFRecordDataset", "x", "name")], "TFRecordDataset reads the file `a`, `b`"),
        ("file-read", [const("d", b"sqlite", STRING), name("db"), op("SqlDataset", "x", "d", "name")],
         "SqlDataset reads the database `db`"),
        ("file-read", [op("HashTableV2", "t"), name("v.txt"), op("InitializeTableFromTextFileV2", "x", "t", "name")],
         "InitializeTableFromTextFileV2 reads the file `v.txt`"),
        ("file-read", [op("RecordInput", "x", file_pattern="/data/*")], "RecordInput reads the file `/data/*`"),
        ("file-read", [op("FixedUnigramCandidateSampler", "x", vocab_file="/v")],
         "FixedUnigramCandidateSampler reads the file `/v`"),
        ("file-read", [op("DecodeProtoV2", "x", descriptor_source="/d.pb")], "DecodeProtoV2 reads the file `/d.pb`"),
        ("file-read", [name("/c"), op("RestoreV2", "x", "name")], "RestoreV2 reads the checkpoint `/c`"),
        ("file-write", [name("~/.bashrc"), op("WriteFile", "x", "name")], "WriteFile writes the file `~/.bashrc`"),
        ("file-write", [name("/c"), op("SaveV2", "x", "name")], "SaveV2 writes the checkpoint `/c`"),
        ("file-write", [op("TensorDataset", "d"), name("/c"), op("CacheDatasetV2", "x", "d", "name")],
         "CacheDatasetV2 writes the file `/c`"),
        ("file-write", [op("SummaryWriter", "w"), name("/logs"), op("CreateSummaryFileWriter", "x", "w", "name")],
         "CreateSummaryFileWriter writes logs into the folder `/logs`"),
        ("file-write", [op("PrintV2", "x", output_stream="file:///tmp/x")], "PrintV2 writes to `file:///tmp/x`"),
        ("file-write", [Node("x", "DebugIdentityV2", (), {"debug_urls": texts("file:///tmp")})],
         "DebugIdentityV2 writes every value of a tensor to `file:///tmp`"),
        ("network", [Node("x", "DebugIdentity", (), {"debug_urls": texts("grpc://evil:80")})],
         "DebugIdentity sends every value of a tensor to `grpc://evil:80`"),
        ("network", [name("evil:80"), op("RpcClient", "x", "name")], "RpcClient connects to the address `evil:80`"),
        ("network", [name("/job:worker/task:1/cpu:0"), op("RemoteCall", "x", "name")],
         "RemoteCall runs a function on the device `/job:worker/task:1/cpu:0`"),
        ("network", [op("Send", "x", send_device="/job:a/task:0/cpu:0", recv_device="/job:a/task:1/cpu:0")],
         "Send moves a value from `/job:a/task:0/cpu:0` to `/job:a/task:1/cpu:0`"),
        ("network", [op("GcsConfigureCredentials", "x")], "GcsConfigureCredentials sets how a remote file system is reached"),
        ("network", [op("ConfigureDistributedTPU", "x")], "ConfigureDistributedTPU takes hold of the TPUs of other machines"),
        ("python-code", [op("PyFunc", "x", token="pyfunc_0")],  # noqa: S106
         "PyFunc calls a Python function that is not in the file (`pyfunc_0`)"),
        ("python-code", [op("EagerPyFunc", "x")], "EagerPyFunc calls a Python function that is not in the file"),
        ("python-code", [Node("x", "GeneratorDataset", (), {"next_func": calls("gone")})],
         "GeneratorDataset calls `gone`, which is not in the file"),
        ("process", [op("Abort", "x")], "Abort ends the process that runs it"),
        ("custom-code", [op("XlaCustomCall", "x", target_name="boom")], "XlaCustomCall calls native code by name: `boom`"),
        ("custom-code", [op("XlaCallModule", "x")],
         "XlaCallModule runs a compiled program that stands in the node, which was not looked into"),
        ("custom-code", [op("Evil>Op", "x")],
         "the op `Evil>Op` needs a library of its own, whose code would run: TensorFlow does not know it"),
        ("custom-code", [op("SentencepieceOp", "x")],
         ("the op `SentencepieceOp` needs a library of its own, whose code would run: not an op of TensorFlow itself but "
          "of tensorflow_text")),
    ],
    ids=lambda value: value if isinstance(value, str) and "-" in value and " " not in value else "",
)  # fmt: skip
def test_every_kind_of_op(kind: str, nodes: list[Node], what: str) -> None:
    assert told(graph(nodes)) == [(kind, "x", what)]


@pytest.mark.parametrize(
    "nodes",
    [
        [op("PrintV2", "x", output_stream="stderr")],
        [op("PrintV2", "x")],
        [op("TensorDataset", "d"), name(""), op("CacheDataset", "x", "d", "name")],
        [Node("x", "DebugIdentityV2", (), {"debug_urls": texts()})],
        [op("Send", "x", send_device="/job:a/task:0/cpu:0", recv_device="/job:a/task:0/gpu:0")],
        [name("/device:GPU:0"), op("RemoteCall", "x", "name")],
        [op("DecodeProtoV2", "x", descriptor_source="local://")],
        [op("FixedUnigramCandidateSampler", "x")],
        [op("ShardedFilename", "x"), op("MatMul", "y"), op("Assert", "z"), op("DecodeJpeg", "j")],
        [Node("x", "GeneratorDataset", (), {"next_func": calls("f")})],
        [op("f", "x")],
    ],
)
def test_what_does_nothing_outside_is_not_listed(nodes: list[Node]) -> None:
    assert told(with_functions(graph(nodes), f=body())) == []


def test_names_put_together_from_constants() -> None:
    made = graph(
        name("/etc/", "a"), name("passwd", "b"), op("StringJoin", "join", "a", "b"), op("Identity", "i", "join"),
        op("ReadFile", "read", "i"), op("Pack", "pack", "a", "b"), op("TFRecordDataset", "set", "pack"),
        name("default", "d"), op("PlaceholderWithDefault", "fed", "d"), op("ReadFile", "either", "fed"),
        const("many", [b"x"] * 2000, STRING), op("TFRecordDataset", "lots", "many"),
        name(["a", "b", "c", "d", "e", "f"], "six"), op("TFRecordDataset", "few", "six"),
    )  # fmt: skip
    assert {where: what for _, where, what in told(made)} == {
        "read": "ReadFile reads the file `/etc/passwd`",
        "set": "TFRecordDataset reads the file `/etc/`, `passwd`",
        "either": "ReadFile reads the file `default` unless another is fed",
        "lots": "TFRecordDataset reads a file whose name the graph computes",
        "few": "TFRecordDataset reads the file `a`, `b`, `c`, `d` and 2 more",
    }


def test_ops_nobody_knows_are_counted() -> None:
    made = graph([op("Mine", f"n{i}") for i in range(3)])
    ((kind, where, what),) = told(made)
    assert (kind, where) == ("custom-code", "n0")
    assert what.startswith("the op `Mine` (3 nodes) needs a library")


def test_graphs_that_are_not_well_formed() -> None:
    """Two nodes of one name, inputs from nowhere, a cycle: everything is still looked at."""
    made = graph(
        op("ReadFile", "a", "nowhere"), op("WriteFile", "a", "b"), op("Identity", "b", "c"), op("Identity", "c", "b")
    )
    assert [kind for kind, _, _ in told(made, "a", "no such root")] == ["file-read", "file-write"]
    assert [r.kind for r in of_model(Model("m", "graphdef", graph=made))] == ["file-read", "file-write"]


# -- functions ----------------------------------------------------------------------------------------------------------

HIDDEN = body(op("WriteFile", "w", "path"), args=("path",))


@pytest.mark.parametrize(
    "caller",
    [
        Node("call", "StatefulPartitionedCall", ("name",), {"f": calls("hidden")}),
        Node("call", "PartitionedCall", ("name",), {"f": calls("hidden")}),
        Node("call", "If", ("cond", "name"), {"then_branch": calls("empty"), "else_branch": calls("hidden")}),
        Node("call", "While", ("name",), {"cond": calls("empty"), "body": calls("hidden")}),
        Node("call", "Case", ("cond", "name"), {"branches": Attr.of(AttrList("func", (FuncRef("hidden", {}),)))}),
        Node("call", "hidden", ("name",), {}),
    ],
    ids=lambda node: node.op,
)
def test_functions_are_looked_into_and_their_arguments_followed(caller: Node) -> None:
    made = with_functions(graph(name("/etc/motd"), const("cond", 1), caller), hidden=HIDDEN, empty=body())
    assert told(made, "call") == [("file-write", "function hidden: w", "WriteFile writes the file `/etc/motd`")]


@pytest.mark.parametrize("kind", ["MapDataset", "FlatMapDataset", "OneShotIterator", "GeneratorDataset"])
def test_functions_of_datasets(kind: str) -> None:
    caller = Node("data", kind, (), {"f": calls("hidden")})
    made = with_functions(graph(caller), hidden=HIDDEN)
    assert told(made, "data") == [("file-write", "function hidden: w", "WriteFile writes a file that its caller names")]


def test_functions_within_functions_and_in_a_circle() -> None:
    inner = body(Node("again", "PartitionedCall", ("p",), {"f": calls("outer")}), op("ReadFile", "r", "p"), args=("p",))
    outer = body(Node("call", "PartitionedCall", ("p",), {"f": calls("inner")}), args=("p",))
    made = with_functions(
        graph(name("/x"), Node("start", "PartitionedCall", ("name",), {"f": calls("outer")})), inner=inner, outer=outer
    )
    assert told(made, "start") == [("file-read", "function inner: r", "ReadFile reads the file `/x`")]


def test_long_chains_need_no_recursion() -> None:
    count = 3000
    bodies = {
        f"f{i}": body(Node("call", "PartitionedCall", ("p",), {"f": calls(f"f{i + 1}")}), args=("p",))
        for i in range(count)
    }
    bodies[f"f{count}"] = body(op("ReadFile", "r", "p"), args=("p",))
    made = with_functions(graph(name("/deep"), Node("s", "PartitionedCall", ("name",), {"f": calls("f0")})), **bodies)
    assert told(made, "s") == [("file-read", f"function f{count}: r", "ReadFile reads the file `/deep`")]


def test_hostile_chains_end() -> None:
    """Every op asks for a name at the end of a longer chain, and in a function with very many callers."""
    count = 6000
    chain = [op("Identity", f"i{i}", f"i{i - 1}" if i else "name") for i in range(count)]
    made = graph(name("/x"), chain, [op("ReadFile", f"r{i}", f"i{i}") for i in range(count)])
    callers = [Node(f"c{i}", "PartitionedCall", (f"i{i}",), {"f": calls("f")}) for i in range(count)]
    inner = body(*(op("ReadFile", f"q{i}", "p") for i in range(300)), args=("p",))
    assert len(told(with_functions(made.replace(nodes=[*made.nodes, *callers]), f=inner))) == count + 300


def test_a_function_that_only_python_calls_counts_as_needed() -> None:
    made = with_functions(graph(feed("x", ()), op("Relu", "y", "x")), init=HIDDEN)
    assert told(made, "y") == [("file-write", "function init: w", "WriteFile writes a file that its caller names")]
    assert told(made, "y", captured={"init": ("path:0",)})[0][2].endswith("that its caller names")
    bound = made.replace(nodes=[*made.nodes, name("/bound", "path")])
    assert told(bound, "y", captured={"init": ("path:0",)})[0][2] == "WriteFile writes the file `/bound`"


# -- what is normal -----------------------------------------------------------------------------------------------------


def trained(prefix: Node | None = None, *extra: Node) -> Graph:
    """A graph with the Saver that TensorFlow 1 adds."""
    return graph(
        feed("x", ()), op("Relu", "y", "x"), prefix or name("model", "save/Const"),
        op("SaveV2", "save/SaveV2", "save/Const"), op("RestoreV2", "save/RestoreV2", "save/Const"),
        op("Assign", "save/Assign", "y", "save/RestoreV2"), op("NoOp", "save/restore_all", "^save/Assign"), *extra,
    )  # fmt: skip


SAVER = Saver("save/restore_all", "save/Const:0", "save/control_dependency:0")


def test_an_ordinary_saver_is_not_listed() -> None:
    assert told(trained(), "y", saver=SAVER) == []


def test_a_saver_on_the_way_to_an_output_is() -> None:
    found = told(trained(), "save/restore_all")
    assert found == [("file-read", "save/RestoreV2", "RestoreV2 reads the checkpoint `model`")]


def test_saving_while_it_is_loaded_is_listed() -> None:
    made = trained(None, op("NoOp", "load", "^save/SaveV2"))
    nodes = [n.replace(inputs=[*n.inputs, "^load"]) if n.name == "save/restore_all" else n for n in made.nodes]
    found = told(made.replace(nodes=nodes), "y", saver=SAVER)
    assert found == [("file-write", "save/SaveV2", "SaveV2 writes the checkpoint `model`; no output needs it")]


@pytest.mark.parametrize("path", ["/etc/cron.d/x", "../../x", "~/.ssh/x", "gs://bucket/x"])
def test_a_saver_with_a_fixed_path_elsewhere_is_listed(path: str) -> None:
    found = told(trained(name(path, "save/Const")), "y", saver=SAVER)
    assert [where for _, where, _ in found] == ["save/SaveV2", "save/RestoreV2"]


def test_what_no_output_needs_is_said() -> None:
    made = graph(feed("x", ()), op("Relu", "y", "x"), name("/etc/motd"), op("WriteFile", "w", "name"))
    assert told(made, "y")[0][2] == "WriteFile writes the file `/etc/motd`; no output needs it"


def test_control_inputs_count() -> None:
    made = graph(feed("x", ()), name("f"), op("WriteFile", "w", "name"), op("Relu", "y", "x", "^w"))
    assert told(made, "y") == [("file-write", "w", "WriteFile writes the file `f`")]


def test_a_models_own_assets_are_not_listed() -> None:
    made = graph(
        name("vocab.txt", "asset"), op("Identity", "i", "asset"), op("HashTableV2", "t"),
        op("InitializeTableFromTextFileV2", "init", "t", "i"),
    )  # fmt: skip
    assert told(made, assets={"asset:0": "vocab.txt"}) == []
    assert len(told(made)) == 1
    spec = TensorSpec(TensorRef("init"), None, None, "out")
    model = Model(
        "m", "saved_model", graph=made, signatures={"s": Signature("s", (), (spec,))},
        assets={"../../etc/passwd": "asset:0", "/abs": "x:0", "ok.txt": "y:0"},
    )  # fmt: skip
    assert [(r.kind, r.where) for r in of_model(model)] == [
        ("outside-path", "asset ../../etc/passwd"),
        ("outside-path", "asset /abs"),
    ]


def test_a_variable_that_holds_a_path() -> None:
    made = graph(
        op("VarHandleOp", "v"), name("/etc/x"), op("AssignVariableOp", "assign", "v", "name"),
        op("ReadVariableOp", "r", "v"), op("ReadFile", "read", "r"),
    )  # fmt: skip
    assert told(made) == [("file-read", "read", "ReadFile reads the file `/etc/x`")]


# -- SavedModels --------------------------------------------------------------------------------------------------------


def saved_model(folder: Path, *graphs: Graph, tags: tuple[str, ...] = ("serve",)) -> Path:
    folder.mkdir(exist_ok=True)
    message = message_class("SavedModel")(saved_model_schema_version=1)
    for index, made in enumerate(graphs):
        meta = message.meta_graphs.add()
        meta.meta_info_def.tags.append(tags[index])
        meta.graph_def.ParseFromString(b"".join(bytes(piece) for piece in graphdef.encode(made)))
    (folder / "saved_model.pb").write_bytes(message.SerializeToString())
    return folder


def test_every_graph_of_a_saved_model_is_looked_at(tmp_path: Path) -> None:
    clean, evil = graph(feed("x", ()), op("Relu", "y", "x")), graph(name("/etc/motd"), op("WriteFile", "w", "name"))
    folder = saved_model(tmp_path / "m", clean, evil, tags=("serve", "train"))
    assert risks(folder) == [Risk("file-write", "tags train: w", "WriteFile writes the file `/etc/motd`")]
    assert risks(folder / "saved_model.pb") == risks(folder)
    assert len(meta_graphs.read_all(folder)) == 2


def test_the_fixtures_have_nothing_but_that_is_not_called_safe() -> None:
    for path in (
        "saved_model",
        "inception_tiny.pb",
        "graph.pbtxt",
        "training/model.ckpt-3.meta",
        "dense.onnx",
    ):
        assert risks(FIXTURES / path) == [], path
    (found,) = risks(FIXTURES / "training")
    assert (found.kind, found.where) == ("outside-path", "checkpoint")


def test_links_programs_and_pickles_in_the_folder(tmp_path: Path) -> None:
    folder = saved_model(tmp_path / "m", graph(feed("x", ()), op("Relu", "y", "x")))
    (tmp_path / "secret").write_text("x")
    assets = folder / "assets"
    assets.mkdir()
    (assets / "out").symlink_to(tmp_path / "secret")
    (assets / "in").symlink_to(folder / "saved_model.pb")
    (assets / "gone").symlink_to("/nonexistent/file")
    (assets / "loop").symlink_to(assets / "loop")
    (folder / "variables").symlink_to("/etc")
    (folder / "ops.so").write_bytes(b"\x7fELF\x02\x01\x01\x00")
    (folder / "innocent.txt").write_bytes(b"\x7fELF\x02\x01\x01\x00")
    (folder / "model.py").write_text("import os")
    (folder / "run").write_text("#!/bin/sh\n")
    (folder / "weights.pkl").write_bytes(b"cos\nsystem\n")
    (folder / "data.bin").write_bytes(b"\x80\x04\x95\x00\x00\x00\x00\x00")
    (folder / ".hidden").write_text("hello")
    (folder / ".gitkeep").write_text("")
    os.mkfifo(folder / "pipe.py")
    found = [(risk.kind, risk.where) for risk in risks(folder)]
    assert found == [
        ("hidden-file", ".hidden"),
        ("serialized-object", "data.bin"),
        ("custom-code", "innocent.txt"),
        ("python-code", "model.py"),
        ("custom-code", "ops.so"),
        ("process", "run"),
        ("outside-path", "variables"),
        ("serialized-object", "weights.pkl"),
        ("outside-path", "assets/gone"),
        ("outside-path", "assets/out"),
    ]
    assert risks(folder)[-1].what == f"a symbolic link that leads out of the folder, to `{tmp_path / 'secret'}`"


def test_of_a_saved_model_named_by_its_file_only_its_parts_are_looked_at(tmp_path: Path) -> None:
    folder = saved_model(tmp_path / "m", graph(feed("x", ()), op("Relu", "y", "x")))
    (folder / "homework.py").write_text("print()")
    (folder / "assets").mkdir()
    (folder / "assets" / "evil.py").write_text("print()")
    assert [risk.where for risk in risks(folder / "saved_model.pb")] == ["assets/evil.py"]
    assert [risk.where for risk in risks(folder)] == ["homework.py", "assets/evil.py"]


def test_paths_in_a_checkpoint_file(tmp_path: Path) -> None:
    import shutil

    folder = tmp_path / "training"
    shutil.copytree(FIXTURES / "training", folder)
    (folder / "checkpoint").write_text(
        'model_checkpoint_path: "/home/me/model.ckpt-3"\nall_model_checkpoint_paths: "../other"\n'
        'all_model_checkpoint_paths: "model.ckpt-3"\n'
    )
    wanted = [
        Risk(
            "outside-path",
            "checkpoint",
            f"names `{name}`, which other programs would open; tfinspect stays in the folder",
        )
        for name in ("/home/me/model.ckpt-3", "../other")
    ]
    assert risks(folder) == wanted
    assert risks(folder / "model.ckpt-3") == wanted
    data = next(folder.glob("model.ckpt-3.data-*"))
    data.rename(tmp_path / "elsewhere")
    data.symlink_to(tmp_path / "elsewhere")
    assert ("outside-path", data.name) in [(r.kind, r.where) for r in risks(folder / "model.ckpt-3")]


def keras_metadata(*layers: dict[str, object] | bytes) -> bytes:
    out = b""
    for number, layer in enumerate(layers):
        text = layer if isinstance(layer, bytes) else json.dumps(layer).encode()
        path = f"root.layer-{number}".encode()
        inside = len_header(3, len(path)) + path + len_header(5, len(text)) + text
        out += len_header(1, len(inside)) + inside
    return out


def test_lambda_layers_and_classes_of_ones_own(tmp_path: Path) -> None:
    path = tmp_path / "keras_metadata.pb"
    path.write_bytes(
        keras_metadata(
            {"class_name": "Dense", "config": {"name": "d"}},
            {"class_name": "Lambda", "config": {"name": "l", "function": ["4wEAAAAA", None, None]}},
            {"class_name": "Lambda", "config": {"function": "my_function"}},
            {"class_name": "Mine>Layer"},
            {"class_name": "Other", "registered_name": "Custom>Other"},
            b"not json",
            b"[1]",
        )
    )
    assert [(r.kind, r.where, r.what) for r in folder_risks.keras_metadata(path, "k")] == [
        ("bytecode", "k: root.layer-1",
         "the Lambda layer `l` carries 6 bytes of Python bytecode, which loading it would run"),
        ("bytecode", "k: root.layer-2", "a Lambda layer calls the Python function `my_function`"),
        ("python-code", "k: root.layer-3", "needs the class `Mine>Layer`, which is not part of Keras"),
        ("python-code", "k: root.layer-4", "needs the class `Custom>Other`, which is not part of Keras"),
        ("python-code", "k: root.layer-5", "its description is not JSON, so that its class is unknown"),
    ]  # fmt: skip
    path.write_bytes(path.read_bytes()[:50])
    ((kind, _, what),) = [(r.kind, r.where, r.what) for r in folder_risks.keras_metadata(path, "k")]
    assert kind == "python-code"
    assert what.startswith("cannot be read, so that its layers are unknown: ")


@settings(max_examples=120, deadline=None)
@given(cut=st.integers(0, 2000), flips=st.lists(st.tuples(st.integers(0, 2000), st.integers(0, 7)), max_size=3))
def test_damage_is_never_more_than_an_error(
    tmp_path_factory: pytest.TempPathFactory, cut: int, flips: list[tuple[int, int]]
) -> None:
    folder = tmp_path_factory.getbasetemp() / "damaged"
    nodes = [name("/etc/passwd"), op("ReadFile", "r", "name"), Node("c", "PartitionedCall", (), {"f": calls("g")})]
    saved_model(folder, graph(nodes))
    data = bytearray((folder / "saved_model.pb").read_bytes())
    data = data[: max(1, len(data) - cut % len(data))] if cut % 3 else data
    for at, bit in flips:
        data[at % len(data)] ^= 1 << bit
    (folder / "saved_model.pb").write_bytes(data)
    try:
        found = risks(folder)
    except TfinspectError:
        return
    assert all(risk.kind in KINDS for risk in found)


# -- real files ---------------------------------------------------------------------------------------------------------


@needs_zoo
@pytest.mark.parametrize(
    ("path", "wanted"),
    [
        ("bad/modelaudit_tf/malicious_pyfunc", [("python-code", "bad")]),
        ("bad/modelaudit_tf/safe_savedmodel", []),
        ("bad/modelaudit_tf_old/malicious_pyfunc", [("python-code", "pyfunc")]),
        ("bad/modelaudit_tf_old/malicious_readfile", [("file-read", "readfile")]),
        ("bad/modelaudit_tf_old/malicious_writefile", [("file-write", "writefile")]),
        ("bad/modelaudit_tf_old/safe_model", []),
        ("savedmodel_tf1/tf_half_plus_two/00000123", []),
        ("savedmodel_tf1/tfx_chicago_taxi_models/tfma_saved_model", []),
        ("savedmodel_tf1/tf_half_plus_two_early0", [("outside-path", "variables/checkpoint")]),
        ("savedmodel_tf2/rust_keras_multi", []),
    ],
)
def test_real_models(path: str, wanted: list[tuple[str, str]]) -> None:
    assert [(risk.kind, risk.where) for risk in risks(ZOO / path)] == wanted


@needs_zoo
def test_a_real_model_with_ops_of_another_library() -> None:
    found = risks(ZOO / "savedmodel_tf2/tfdf_adult_rf/saved_model_adult_rf")
    assert {risk.kind for risk in found} == {"custom-code"}
    assert any(
        "SimpleMLLoadModelFromPathWithHandle" in risk.what and risk.where.startswith("function ") for risk in found
    )


# -- the whole of TensorFlow --------------------------------------------------------------------------------------------

LIST_OPS = """
import os, sys
os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
from tensorflow.core.framework import op_def_pb2
from tensorflow.python.client import pywrap_tf_session as session
ops = op_def_pb2.OpList.FromString(session.TF_GetBuffer(session.TF_GetAllOpList()))
for op in ops.op:
    strings = [a.name for a in op.input_arg if a.type == 7] + [a.name for a in op.attr if a.type in ("string", "list(string)")]
    print("\\t".join([op.name, *strings]))
"""
# of a name that sounds like a path or an address, and is none
HARMLESS = {
    "SetStatsAggregatorDataset", "OptionsDataset",
    "ParseSequenceExample", "ParseSequenceExampleV2", "ShardedFilename", "ShardedFilespec", "TPUReplicateMetadata",
    "_TPUReplicate", "TensorSummaryV2", "RegexFullMatch", "RegexReplace",
    "StaticRegexFullMatch", "StaticRegexReplace", "RetrieveAllTPUEmbeddingParameters",
}  # fmt: skip
SOUNDS = (
    "file",
    "path",
    "dir",
    "address",
    "url",
    "host",
    "server",
    "prefix",
    "pattern",
    "db_uri",
    "target",
    "data_source",
)


@pytest.mark.tensorflow
def test_every_op_of_tensorflow_is_known_and_was_looked_at() -> None:
    done = subprocess.run([sys.executable, "-c", LIST_OPS], check=True, capture_output=True, text=True)
    rows = [line.split("\t") for line in done.stdout.splitlines()]
    registered = {row[0] for row in rows}
    assert len(registered) > 1800
    assert registered == REGISTERED
    assert ACTING - registered - KNOWN_OPS <= {
        "Rpc", "TryRpc", "TRTEngineOp", "TRTEngineOpV2", *(op for op in ACTING if "Big" in op),
    }  # fmt: skip
    unlisted = {
        row[0]
        for row in rows
        if any(sound in text.lower() for text in row[1:] for sound in SOUNDS)
        and row[0].removeprefix("Experimental") not in ACTING | HARMLESS
        and not any("direction" in text for text in row[1:])
    }
    assert unlisted == set()


def test_tables_agree() -> None:
    assert SOMETIMES <= ACTING
    assert len(KNOWN_OPS) > len(REGISTERED)
    assert {"MatMul", "ReadFile", "_FusedConv2D"} <= REGISTERED


# -- what is printed ----------------------------------------------------------------------------------------------------

FOUND = [Risk("network", "n", "calls"), Risk("file-read", "a\x1b[31m", "reads")]


def printed(found: list[Risk], *, tty: bool = False, json_mode: bool = False) -> tuple[str, str]:
    out, err = Stream(tty=tty), io.StringIO()
    show_risks(Terminal(stdout=out, stderr=err, json_mode=json_mode), found)
    return out.getvalue(), err.getvalue()


def test_in_a_pipe() -> None:
    out, err = printed(FOUND)
    assert out == "risk\tnetwork\tn\tcalls\nrisk\tfile-read\ta\\x1b[31m\treads\n"
    assert err.startswith("2 risks found; looked for: file-read, file-write, ")


def test_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "80")
    out, _ = printed([*FOUND, *(Risk("network", f"m{i}", "calls") for i in range(30))], tty=True)
    rows = out.splitlines()
    assert "\x1b" not in out
    assert rows[0].split() == ["risk", "file-read", "a\\x1b[31m", "reads"]
    assert rows[-1].split(maxsplit=1) == ["and", "11 more of network, with --verbose"]


def test_as_json() -> None:
    out, err = printed(FOUND, json_mode=True)
    answer = json.loads(out)
    assert answer["schema"] == "tfinspect/risks/1"
    assert answer["risks"][1] == {"kind": "file-read", "where": "a\x1b[31m", "what": "reads"}
    assert answer["risk_kinds"] == list(KINDS)
    assert err == ""


def test_nothing_found_is_never_called_safe() -> None:
    out, err = printed([])
    assert out == ""
    assert err.startswith(f"nothing found of {len(KINDS)} kinds of risk looked for: ")
    assert "safe" not in err


def test_looking_for_risks_loads_no_runtime() -> None:
    script = (
        "import sys\nfrom tfinspect.api.risks import risks\nassert risks('saved_model') == []\n"
        "heavy = {'tensorflow', 'keras', 'onnx', 'onnxruntime', 'h5py', 'pickle5'} & set(sys.modules)\n"
        "sys.exit(str(heavy) if heavy else 0)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], check=False, capture_output=True, text=True, cwd=FIXTURES,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


def length_delimited(number: int, content: bytes) -> bytes:
    return len_header(number, len(content)) + content


def test_what_python_calls_a_function_with_is_followed_through_the_object_graph(tmp_path: Path) -> None:
    """A table that is filled from an asset, and one that is filled from a file elsewhere, as TensorFlow 2 saves them."""
    init = FunctionBody(
        (("table", DType.RESOURCE), ("path", STRING)),
        (),
        (op("InitializeTableFromTextFileV2", "i", "table", "path"),),
        {},
    )
    made = with_functions(graph(name("/gone/v.txt", "asset"), name("/etc/passwd", "other")), good=init, bad=init)
    folder = saved_model(tmp_path / "m", made)
    objects = (
        length_delimited(1, length_delimited(9, length_delimited(1, b"other")))
        + length_delimited(1, length_delimited(5, b""))  # asset number 0
        + length_delimited(1, length_delimited(10, b""))
    )
    functions = b"".join(
        length_delimited(2, length_delimited(1, key) + length_delimited(2, length_delimited(2, bound)))
        for key, bound in ((b"good", b"\x02\x01"), (b"bad", b"\x02\x00"), (b"odd", b"\x63"))
    )
    message = message_class("SavedModel").FromString((folder / "saved_model.pb").read_bytes())
    assert risks(folder)[0].what.endswith("reads a file that its caller names")
    message.meta_graphs[0].asset_file_def.add(filename="v.txt").tensor_info.name = "asset:0"
    meta = message.meta_graphs[0].SerializeToString() + length_delimited(7, objects + functions)
    (folder / "saved_model.pb").write_bytes(b"\x08\x01" + length_delimited(2, meta))
    assert meta_graphs.read_all(folder)[0].captured == {"good": ("", "asset:0"), "bad": ("", "other"), "odd": ("",)}
    assert [(risk.where, risk.what) for risk in risks(folder)] == [
        ("function bad: i", "InitializeTableFromTextFileV2 reads the file `/etc/passwd`")
    ]
