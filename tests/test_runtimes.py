"""Child processes: what passes through the pipes, how they end, and the runners on top of them."""

from __future__ import annotations

import importlib.util
import io
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from tfinspect import runtimes
from tfinspect.errors import (
    FileMissingError,
    NameNotFoundError,
    NodeNotFoundError,
    RuntimeFailedError,
    RuntimeUnavailableError,
    UnknownFormatError,
    UnrestoredVariablesError,
    UnsupportedFeatureError,
    UnsupportedOpsError,
)
from tfinspect.formats import graphdef
from tfinspect.ir.attrs import Attr, AttrList
from tfinspect.ir.dtypes import DType
from tfinspect.ir.graph import Graph, Node, const, placeholder
from tfinspect.ir.tensors import Tensor
from tfinspect.runtimes import _process
from tfinspect.runtimes._messages import ProtocolError, decode, encode

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ZOO = Path(__file__).parents[2] / "shared" / "zoo"
needs_zoo = pytest.mark.skipif(not ZOO.is_dir(), reason="the folder of real models is not here")

PROBE = """
    import os, sys, time

    def load():
        if os.path.exists(os.environ.get("PROBE_BROKEN", "/nonexistent")):
            raise ImportError("libprobe.so: cannot open shared object file")

    def echo(params, arrays):
        return {"params": params, "pid": os.getpid(), "cwd": os.getcwd()}, arrays

    def abort(params, arrays):
        print("2026-01-01 00:00:00.000000: I tensorflow/core/x.cc:1] noise", flush=True)
        print("probe: the last words", file=sys.stderr, flush=True)
        os.abort()

    def hang(params, arrays):
        print("still thinking", flush=True)
        time.sleep(3600)

    def refuse(params, arrays):
        from tfinspect.errors import NodeNotFoundError
        raise NodeNotFoundError("no node named `a`", name="relu", known=["relu6"])

    def fail(params, arrays):
        raise ValueError("bad strides\\n\\nNode: 'x'\\nstride must be positive")

    METHODS = {"echo": echo, "abort": abort, "hang": hang, "refuse": refuse, "fail": fail}
"""


def gone(pid: int, seconds: float = 5.0) -> bool:
    """Whether a process ends within a time; one that nobody has reaped counts as ended."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        except (FileNotFoundError, ProcessLookupError):
            return True
        if state == "Z":
            return True
        time.sleep(0.02)
    return False


@pytest.fixture
def probe_folder(tmp_path: Path) -> Path:
    folder = tmp_path / "modules"
    folder.mkdir()
    (folder / "probe_child.py").write_text(textwrap.dedent(PROBE))
    return folder


@pytest.fixture
def probe(probe_folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[_process.Child]:
    monkeypatch.syspath_prepend(str(probe_folder))
    child = _process.Child(_process.Kind("probe", "probe_child", (), "probing"))
    yield child
    child.stop()


@pytest.fixture(scope="module", autouse=True)
def _no_children_left() -> Iterator[None]:
    yield
    runtimes.shutdown()


# messages


def through(header: dict[str, Any], arrays: list[Any]) -> tuple[dict[str, Any], list[Any]]:
    stream = io.BytesIO(b"".join(encode(header, arrays)))

    def read_into(buffer: memoryview) -> None:
        if stream.readinto(buffer) != len(buffer):
            raise EOFError

    found = decode(read_into)
    assert stream.read() == b""
    return found


NUMERIC = [d for d in DType if d.itemsize and not d.name.startswith("Q")]


@pytest.mark.parametrize("dtype", NUMERIC, ids=str)
@pytest.mark.parametrize("shape", [(), (0,), (3,), (2, 0, 3), (2, 3)], ids=str)
def test_every_dtype_and_shape_survives(dtype: DType, shape: tuple[int, ...]) -> None:
    count = int(np.prod(shape))
    raw = np.arange(count * dtype.itemsize, dtype=np.uint8)
    if dtype in (DType.BOOL, DType.INT4, DType.UINT4, DType.INT2, DType.UINT2, DType.FLOAT4_E2M1FN):
        raw %= 2
    array = raw.view(dtype.numpy).reshape(shape)
    header, (found,) = through({"x": 1}, [array])
    assert header == {"x": 1}
    assert found.dtype == array.dtype
    assert found.shape == shape
    assert found.tobytes() == array.tobytes()


@given(
    st.lists(
        hnp.arrays(
            hnp.scalar_dtypes().filter(
                lambda d: d.kind not in "mM" and d.name not in ("float128", "longdouble", "complex256")
            ),
            hnp.array_shapes(min_dims=0, min_side=0),
        ),
        max_size=3,
    )
)
@settings(deadline=None)
def test_any_byte_order_and_layout_survives(arrays: list[Any]) -> None:
    views = [a.T for a in arrays]
    _, found = through({}, views)
    for got, sent in zip(found, views, strict=True):
        np.testing.assert_array_equal(got, sent)
        assert got.dtype == sent.dtype.newbyteorder("=")


@given(st.lists(st.binary(max_size=20)), st.booleans())
@settings(deadline=None)
def test_strings_survive(values: list[bytes], as_column: bool) -> None:  # noqa: FBT001 - hypothesis gives it
    array = np.empty(len(values), object)
    array[:] = values
    if as_column:
        array = array.reshape(-1, 1)
    _, (found,) = through({}, [array])
    assert found.dtype == object
    assert found.tolist() == array.tolist()
    assert found.shape == array.shape


def test_text_becomes_bytes_and_a_scalar_stays_one() -> None:
    _, (text, scalar) = through({}, [np.array(["é", "b"], object), np.array(b"x\0y", object)])
    assert text.tolist() == ["é".encode(), b"b"]
    assert scalar.shape == ()
    assert scalar.item() == b"x\0y"


@pytest.mark.parametrize("data", [b"\xff" * 8, b"\x02\0\0\0\0\0\0\0[]", b"\x01\0\0\0\0\0\0\0{"])
def test_what_is_no_message_is_refused(data: bytes) -> None:
    stream = io.BytesIO(data)
    with pytest.raises(ProtocolError):
        decode(stream.readinto)  # type: ignore[arg-type]


def test_large_arrays_are_not_copied_to_be_sent() -> None:
    array = np.zeros(1000, np.float32)
    _, payload = encode({}, [array])
    array[0] = 1
    assert np.frombuffer(payload, np.float32)[0] == 1


# processes


def test_arrays_go_there_and_back(probe: _process.Child) -> None:
    sent = [np.random.default_rng(0).random((50, 40_000)), np.array([b"a", b""], object), np.float32(3)]
    result, got = probe.call("echo", {"a": [1, None]}, [np.asarray(a) for a in sent])
    assert result["params"] == {"a": [1, None]}
    assert result["cwd"] == "/"
    np.testing.assert_array_equal(got[0], sent[0])
    assert got[1].tolist() == [b"a", b""]
    assert got[2].shape == ()
    assert probe.call("echo", {})[0]["pid"] == result["pid"]


def test_a_crash_is_one_error_with_the_last_words(probe: _process.Child, capfd: pytest.CaptureFixture[str]) -> None:
    pid = probe.call("echo", {})[0]["pid"]
    with pytest.raises(
        RuntimeFailedError, match=r"^probe died on m\.pb: killed by SIGABRT\nprobe: the last words$"
    ) as caught:
        probe.call("abort", {}, subject="m.pb")
    assert caught.value.details == ("probe: the last words",)
    assert caught.value.evidence == {"runtime": "probe", "exit": -signal.SIGABRT}
    assert capfd.readouterr() == ("", "")
    with pytest.raises(ChildProcessError):  # reaped, so no zombie
        os.waitpid(pid, os.WNOHANG)
    assert probe.call("echo", {})[0]["pid"] != pid


def test_a_hang_ends_at_the_time_limit(probe: _process.Child) -> None:
    pid = probe.call("echo", {})[0]["pid"]
    started = time.monotonic()
    with pytest.raises(RuntimeFailedError, match=r"did not answer within 0\.3 s and was stopped") as caught:
        probe.call("hang", {}, timeout=0.3)
    assert time.monotonic() - started < 3
    assert caught.value.details == ("still thinking",)
    assert not Path(f"/proc/{pid}").exists()
    assert probe.call("echo", {})[0]["pid"] != pid


def test_errors_of_ours_come_back_as_they_were(probe: _process.Child) -> None:
    with pytest.raises(NodeNotFoundError) as caught:
        probe.call("refuse", {})
    assert caught.value.message == "no node named `a`"
    assert caught.value.hint == "did you mean `relu6`?"


def test_errors_of_the_runtime_keep_their_first_line_and_details(probe: _process.Child) -> None:
    with pytest.raises(
        RuntimeFailedError, match=r"^probe failed on m\.pb: bad strides\nstride must be positive$"
    ) as caught:
        probe.call("fail", {}, subject="m.pb")
    assert caught.value.evidence["type"] == "ValueError"


def test_a_failing_import_is_told_to_the_first_call(
    probe: _process.Child, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "broken").touch()
    monkeypatch.setenv("PROBE_BROKEN", str(tmp_path / "broken"))
    with pytest.raises(RuntimeFailedError, match="cannot open shared object file"):
        probe.call("echo", {})


def test_threads_take_turns(probe: _process.Child) -> None:
    answers = {}

    def ask(i: int) -> None:
        for j in range(10):
            result, (array,) = probe.call("echo", {"i": i, "j": j}, [np.full(70_000, i)])
            answers[i, j] = (result["params"], int(array.min()), int(array.max()))

    threads = [threading.Thread(target=ask, args=(i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == {(i, j): ({"i": i, "j": j}, i, i) for i in range(4) for j in range(10)}


def test_a_child_outlives_the_thread_that_started_it(probe: _process.Child) -> None:
    pids = []
    thread = threading.Thread(target=lambda: pids.append(probe.call("echo", {})[0]["pid"]))
    thread.start()
    thread.join()
    time.sleep(0.1)
    assert probe.call("echo", {})[0]["pid"] == pids[0]


PARENT = """
    import sys
    from tfinspect.runtimes import _process
    child = _process.Child(_process.Kind("probe", "probe_child", (), "probing"))
    print(child.call("echo", {})[0]["pid"], flush=True)
    try:
        child.call("hang", {})
    except KeyboardInterrupt:
        print("interrupted", child.pid, flush=True)
"""


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_a_child_dies_with_its_parent(probe_folder: Path, how: int) -> None:
    root = str(Path(__file__).parents[1])
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([root, str(probe_folder)])}
    command = [sys.executable, "-c", textwrap.dedent(PARENT)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as parent:
        pid = int(parent.stdout.readline())
        time.sleep(0.2)
        parent.send_signal(how)
        said = parent.stdout.read()
    assert gone(pid)
    assert said == ("interrupted None\n" if how == signal.SIGINT else "")


def test_children_end_with_the_interpreter(probe_folder: Path) -> None:
    root = str(Path(__file__).parents[1])
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([root, str(probe_folder)])}
    script = """
        from tfinspect.runtimes import _process
        _process.KINDS["probe"] = _process.Kind("probe", "probe_child", (), "probing")
        _process.warm("probe")
        print(_process.child("probe").call("echo", {})[0]["pid"])
    """
    ran = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)], env=environment, capture_output=True, text=True, check=True
    )
    assert gone(int(ran.stdout), 1.0)
    assert ran.stderr == ""


def test_nothing_is_imported_from_the_current_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", ["", str(tmp_path), *sys.path])
    paths = _process._environment()["PYTHONPATH"].split(os.pathsep)
    assert str(tmp_path) not in paths
    assert "" not in paths
    assert str(Path(_process.__file__).parents[2]) in paths


@pytest.mark.parametrize(
    ("missing", "start", "purpose"),
    [
        ("tf2onnx", lambda: runtimes.warm("tf2onnx"), "ONNX export"),
        ("tensorflow", lambda: runtimes.tensorflow_graph("x.pb"), "running TensorFlow models"),
        ("onnxruntime", lambda: runtimes.onnx_model("x.onnx"), "running ONNX models"),
    ],
)
def test_a_missing_package_is_named_with_the_command_that_installs_it(
    monkeypatch: pytest.MonkeyPatch, missing: str, start: Callable[[], object], purpose: str
) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == missing else find(name))
    monkeypatch.setattr(_process, "_pool", {})
    monkeypatch.delitem(sys.modules, missing, raising=False)  # other tests use it as their oracle
    with pytest.raises(RuntimeUnavailableError) as caught:
        start()
    assert caught.value.message == f"{purpose} needs {missing}, which is not installed"
    assert caught.value.hint == "pip install 'tfinspect[export]'"
    assert missing not in sys.modules


# ONNX


def save_onnx(path: Path, nodes: list[Any], inputs: list[Any], outputs: list[Any], initializers: Any = ()) -> None:
    onnx = pytest.importorskip("onnx")
    from onnx import TensorProto, helper, numpy_helper

    kinds = {"f": TensorProto.FLOAT, "s": TensorProto.STRING, "d": TensorProto.DOUBLE}

    def info(values: list[Any]) -> list[Any]:
        return [helper.make_tensor_value_info(name, kinds[kind], shape) for name, kind, shape in values]

    graph = helper.make_graph(
        [helper.make_node(op, i, o, name=f"n_{o[0]}", **attrs) for op, i, o, attrs in nodes],
        "g", info(inputs), info(outputs), [numpy_helper.from_array(v, k) for k, v in initializers],
    )  # fmt: skip
    onnx.save(helper.make_model(graph, ir_version=8, opset_imports=[helper.make_opsetid("", 15)]), path)


@pytest.fixture
def small_onnx(tmp_path: Path) -> tuple[Path, Any]:
    path = tmp_path / "small.onnx"
    w = np.arange(6, dtype=np.float32).reshape(2, 3)
    nodes = [("MatMul", ["x:0", "w"], ["inner"], {}), ("Relu", ["inner"], ["y:0"], {})]
    save_onnx(path, nodes, [("x:0", "f", ["batch", 2])], [("y:0", "f", ["batch", 3])], [("w", w)])
    return path, w


@pytest.mark.parametrize("variant", ["default", "plain"])
def test_an_onnx_file_runs_and_gives_inner_tensors(small_onnx: tuple[Path, Any], variant: str) -> None:
    path, w = small_onnx
    x = np.array([[1, -2], [3, 4]], np.float32)
    with runtimes.onnx_model(path) as runner:
        assert runner.runtime.startswith("onnxruntime ")
        (given,) = runner.inputs
        assert (given.name, given.dtype, given.shape) == ("x:0", DType.FLOAT, (None, 2))
        y, inner, again = runner.run(["y:0", "inner", "y:0"], {"x:0": x}, variant=variant)
    np.testing.assert_array_equal(inner, x @ w)
    np.testing.assert_array_equal(y, np.maximum(x @ w, 0))
    np.testing.assert_array_equal(again, y)


def test_types_of_an_onnx_file(small_onnx: tuple[Path, Any]) -> None:
    found = runtimes.onnx_model(small_onnx[0]).types(["inner", "x:0"])
    assert (found["inner"].dtype, found["inner"].shape) == (DType.FLOAT, (None, 3))


def test_a_changed_onnx_file_is_read_again(small_onnx: tuple[Path, Any]) -> None:
    path, _ = small_onnx
    runner = runtimes.onnx_model(path)
    x = np.ones((1, 2), np.float32)
    before = runner.run(["y:0"], {"x:0": x})[0]
    save_onnx(path, [("Neg", ["x:0"], ["y:0"], {})], [("x:0", "f", [1, 2])], [("y:0", "f", [1, 2])])
    assert not np.array_equal(runner.run(["y:0"], {"x:0": x})[0], before)


def test_strings_through_onnxruntime(tmp_path: Path) -> None:
    path = tmp_path / "s.onnx"
    save_onnx(path, [("Identity", ["x"], ["y"], {})], [("x", "s", [2])], [("y", "s", [2])])
    (got,) = runtimes.onnx_model(path).run(["y"], {"x": np.array(["é".encode(), b""], object)})
    assert got.tolist() == ["é".encode(), b""]


def test_names_an_onnx_file_lacks_are_refused(small_onnx: tuple[Path, Any]) -> None:
    runner = runtimes.onnx_model(small_onnx[0])
    with pytest.raises(NodeNotFoundError, match="no tensor named `iner`"):
        runner.run(["iner"], {"x:0": np.ones((1, 2), np.float32)})
    with pytest.raises(NodeNotFoundError, match="takes no input `x`"):
        runner.run(["y:0"], {"x": np.ones((1, 2), np.float32)})


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(FileMissingError, match=r"nope\.onnx does not exist"):
        runtimes.onnx_model(tmp_path / "nope.onnx").run(["y"], {})


def test_checking_a_valid_file(small_onnx: tuple[Path, Any]) -> None:
    found = runtimes.check_onnx(small_onnx[0])
    assert found == {"ir_version": 8, "opsets": {"": 15}, "ops": {"MatMul": 1, "Relu": 1}}


def test_checking_finds_ops_that_are_not_onnx(tmp_path: Path) -> None:
    path = tmp_path / "bad.onnx"
    nodes = [("BatchNormWithGlobalNormalization", ["x"], ["y"], {})]
    save_onnx(path, nodes, [("x", "f", [1])], [("y", "f", [1])])
    with pytest.raises(UnsupportedOpsError) as caught:
        runtimes.check_onnx(path)
    assert caught.value.evidence == {"ops": {"BatchNormWithGlobalNormalization": ["n_y"]}}


def test_checking_finds_kernels_that_onnxruntime_lacks(tmp_path: Path) -> None:
    path = tmp_path / "double.onnx"
    save_onnx(path, [("Softsign", ["x"], ["y"], {})], [("x", "d", [1])], [("y", "d", [1])])
    with pytest.raises(UnsupportedOpsError, match="no kernel for `Softsign`") as caught:
        runtimes.check_onnx(path)
    assert caught.value.evidence == {"ops": {"Softsign": ["n_y"]}}


def test_checking_finds_wrong_shapes(tmp_path: Path) -> None:
    path = tmp_path / "shape.onnx"
    save_onnx(path, [("MatMul", ["x", "x"], ["y"], {})], [("x", "f", [2, 3])], [("y", "f", [2, 3])])
    with pytest.raises(RuntimeFailedError, match="is not valid ONNX"):
        runtimes.check_onnx(path)


def test_limits_are_those_of_the_installed_onnxruntime() -> None:
    ir, opset = runtimes.onnx_limits()
    assert ir >= 8
    assert opset >= 18


# TensorFlow


def small_graph(*more: Node) -> Graph:
    kernel = Tensor.of(np.arange(6, dtype=np.float32).reshape(2, 3))
    real = {"T": Attr.of(DType.FLOAT)}
    product = {**real, "transpose_a": Attr.of(False), "transpose_b": Attr.of(False)}  # noqa: FBT003 - a value
    return Graph(
        [
            placeholder("x", DType.FLOAT, (None, 2)),
            const("w", kernel),
            Node("logits", "MatMul", ("x", "w"), product, device="/job:ps/task:3/gpu:1"),
            Node("softmax", "Softmax", ("logits",), real),
            *more,
        ]
    )


@pytest.fixture
def small_pb(tmp_path: Path) -> Path:
    path = tmp_path / "small.pb"
    graphdef.write(small_graph(), path)
    return path


@pytest.mark.tensorflow
@pytest.mark.parametrize("variant", ["default", "plain"])
def test_a_graph_runs_and_any_tensor_may_be_fed(small_pb: Path, variant: str) -> None:
    x = np.array([[1.0, 2.0]], np.float32)
    with runtimes.tensorflow_graph(small_pb) as runner:
        assert runner.runtime.startswith("tensorflow 2.")
        assert [(s.name, s.dtype, s.shape) for s in runner.inputs] == [("x:0", DType.FLOAT, (None, 2))]
        assert [s.name for s in runner.outputs] == ["softmax:0"]
        assert runner.notes == ()
        (logits,) = runner.run(["logits:0"], {"x:0": x}, variant=variant)
        (fed,) = runner.run(["logits:0"], {"x:0": x, "w:0": np.ones((2, 3), np.float32)}, variant=variant)
    np.testing.assert_allclose(logits, [[6, 9, 12]])
    np.testing.assert_allclose(fed, [[3, 3, 3]])


@pytest.mark.tensorflow
def test_types_and_names_of_a_graph(small_pb: Path) -> None:
    runner = runtimes.tensorflow_graph(small_pb)
    assert runner.types(["logits:0"])["logits:0"].shape == (None, 3)
    with pytest.raises(NodeNotFoundError) as caught:
        runner.run(["logit:0"], {})
    assert caught.value.evidence["near"] == ["logits"]
    with pytest.raises(RuntimeFailedError, match="Cannot feed value of shape") as failed:
        runner.run(["logits:0"], {"x:0": np.ones(5, np.float32)})
    assert not any("File" in line for line in failed.value.details)


@pytest.mark.tensorflow
def test_an_unknown_op_elsewhere_does_not_matter(tmp_path: Path) -> None:
    path = tmp_path / "contrib.pb"
    graphdef.write(
        small_graph(
            Node("odd", "ContribThing", ("logits",)), Node("after", "Identity", ("odd",), {"T": Attr.of(DType.FLOAT)})
        ),
        path,
    )
    runner = runtimes.tensorflow_graph(path)
    x = np.ones((1, 2), np.float32)
    (logits,) = runner.run(["logits:0"], {"x:0": x})
    np.testing.assert_allclose(logits, [[3, 5, 7]])
    assert len(runner.notes) == 1
    assert "ContribThing" in runner.notes[0]
    # what comes after it can be run when it is fed
    (after,) = runner.run(["after:0"], {"odd:0": x})
    np.testing.assert_array_equal(after, x)
    with pytest.raises(RuntimeFailedError, match="ContribThing"):
        runner.run(["after:0"], {"x:0": x})


@pytest.mark.tensorflow
def test_a_graph_that_writes_files_is_not_run(tmp_path: Path) -> None:
    path, loot = tmp_path / "evil.pb", tmp_path / "loot"
    nodes = [
        const("name", Tensor.of(np.array(str(loot).encode(), object))),
        const("text", Tensor.of(np.array(b"x", object))),
        Node("write", "WriteFile", ("name", "text")),
        Node("y", "Identity", ("x", "^write"), {"T": Attr.of(DType.FLOAT)}),
    ]
    graphdef.write(small_graph(*nodes), path)
    runner = runtimes.tensorflow_graph(path)
    with pytest.raises(UnsupportedFeatureError, match="node `write` is a WriteFile"):
        runner.run(["y:0"], {"x:0": np.ones((1, 2), np.float32)})
    assert not loot.exists()
    assert runner.run(["softmax:0"], {"x:0": np.ones((1, 2), np.float32)})[0].shape == (1, 3)


@pytest.mark.tensorflow
def test_strings_and_quantised_numbers_come_back_plain(tmp_path: Path) -> None:
    path = tmp_path / "kinds.pb"
    nodes = [
        const("text", Tensor.of(np.array([b"a", b"\xff"], object))),
        const("q", Tensor.of(np.array([1, 2], np.uint8), DType.QUINT8)),
        const("scalar", Tensor.of(np.array(b"s", object))),
    ]
    graphdef.write(Graph(nodes), path)
    text, q, scalar = runtimes.tensorflow_graph(path).run(["text:0", "q:0", "scalar:0"], {})
    assert text.tolist() == [b"a", b"\xff"]
    assert (q.dtype, q.tolist()) == (np.dtype(np.uint8), [1, 2])
    assert scalar.item() == b"s"


@pytest.mark.tensorflow
def test_lean_tensorflow_still_has_every_public_name() -> None:
    script = """
        import sys
        from tfinspect.runtimes import _lean
        _lean.lean()
        import tensorflow as tf
        import tensorflow.python.client.session
        assert "tensorflow._api.v2.v2" not in sys.modules and "keras" not in sys.modules
        print(float(tf.nn.relu(tf.constant(2.0))), tf.compat.v1.Session.__name__, hasattr(tf, "no_such_name"))
    """
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1]), "TF_CPP_MIN_LOG_LEVEL": "3"}
    ran = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)], env=environment, capture_output=True, text=True, check=False
    )
    assert ran.stdout == "2.0 Session False\n", ran.stderr


@pytest.mark.tensorflow
def test_what_is_no_graph_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.pb"
    path.write_bytes(b"\xff" * 100)
    with pytest.raises(UnknownFormatError, match="reads no graph"):
        runtimes.tensorflow_graph(path).run(["x:0"], {})


HALF = "session_bundle_mixed/tf_contrib_session_bundle/half_plus_two_ckpt_v2/00000123"
HALF_V1 = "ckpt_v1/session_bundle_half_plus_two_serving/00000123"


@needs_zoo
@pytest.mark.tensorflow
@pytest.mark.parametrize(("folder", "prefix"), [(HALF, "export"), (HALF_V1, "export-00000-of-00001")])
def test_a_checkpoint_is_restored_by_the_graphs_own_saver(folder: str, prefix: str) -> None:
    runner = runtimes.tensorflow_graph(ZOO / folder / "export.meta", checkpoint=ZOO / folder / prefix)
    a, b = runner.run(["a:0", "b:0"], {})
    assert (float(a), float(b)) == (0.5, 2.0)
    assert runner.notes == ()


def variable(name: str) -> list[Node]:
    real = Attr.of(DType.FLOAT)
    return [
        Node(name, "VariableV2", (), {"dtype": real, "shape": Attr.of_shape(())}),
        const(f"{name}/initial", Tensor.of(np.array(7, np.float32))),
        Node(f"{name}/Assign", "Assign", (name, f"{name}/initial"), {"T": real}),
    ]


def graph_with_saver(*names: str) -> Graph:
    """Variables of those names, a Saver that restores them all, and `sum` of the first two."""
    real = Attr.of(DType.FLOAT)
    nodes = [node for name in names for node in variable(name)]
    text = Tensor.of(np.array(b"model", object))
    keys = Tensor.of(np.array([n.encode() for n in names], object))
    slices = Tensor.of(np.array([b""] * len(names), object))
    nodes += [const("save/Const", text), const("save/names", keys), const("save/slices", slices)]
    dtypes = {"dtypes": Attr("list", AttrList("type", (DType.FLOAT,) * len(names)))}
    nodes.append(Node("save/RestoreV2", "RestoreV2", ("save/Const", "save/names", "save/slices"), dtypes))
    for i, name in enumerate(names):
        nodes.append(Node(f"save/Assign_{i}", "Assign", (name, f"save/RestoreV2:{i}"), {"T": real}))
    nodes.append(Node("save/restore_all", "NoOp", tuple(f"^save/Assign_{i}" for i in range(len(names)))))
    nodes.append(Node("sum", "Add", (names[0], names[1]), {"T": real}))
    return Graph(nodes)


@needs_zoo
@pytest.mark.tensorflow
def test_variables_that_are_not_needed_may_be_missing(tmp_path: Path) -> None:
    path = tmp_path / "slots.pb"
    graphdef.write(graph_with_saver("a", "b", "a/Adam"), path)
    runner = runtimes.tensorflow_graph(path, checkpoint=ZOO / HALF / "export")
    assert float(runner.run(["sum:0"], {})[0]) == 2.5
    assert "assigned one by one" in runner.notes[0]
    assert "a/Adam" in runner.notes[0]
    with pytest.raises(UnrestoredVariablesError) as caught:
        runtimes.tensorflow_graph(path, checkpoint=ZOO / HALF / "export").run(["a/Adam:0"], {}, variant="plain")
    assert caught.value.evidence["missing"] == ["a/Adam"]


@needs_zoo
@pytest.mark.tensorflow
@pytest.mark.parametrize("variant", ["default", "plain"])
@pytest.mark.parametrize(
    "folder",
    [
        "savedmodel_serving/serving_testdata/saved_model_half_plus_two_cpu/00000123",
        "savedmodel_serving/serving_testdata/saved_model_half_plus_two_tf2_cpu/00000123",
    ],
)
def test_saved_models_of_both_generations(folder: str, variant: str) -> None:
    with runtimes.tensorflow_saved_model(ZOO / folder) as runner:
        assert [s.key for s in runner.inputs] == ["x"]
        (y,) = runner.run(["y"], {"x": np.array([[1.0], [3.0]], np.float32)}, variant=variant)
    assert y.reshape(-1).tolist() == [2.5, 3.5]
    with pytest.raises(NameNotFoundError, match="no signature named `nope`") as caught:
        runtimes.tensorflow_saved_model(ZOO / folder, "nope").run(["y"], {})
    assert "`serving_default`" in caught.value.hint
