"""The command line and what is around it: no TensorFlow, no model named, the shell's completion."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
from types import SimpleNamespace
from typing import TYPE_CHECKING

import pytest

from tests.cli_calls import FIXTURES, ROOT, Caller
from tfinspect.cli import complete
from tfinspect.cli.app import COMMANDS
from tfinspect.formats import graphdef
from tfinspect.ir.dtypes import DType
from tfinspect.ir.graph import Graph, Node, placeholder

if TYPE_CHECKING:
    from pathlib import Path

TINY = FIXTURES / "inception_tiny.pb"


@pytest.fixture
def call(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Caller:
    caller = Caller(monkeypatch)
    monkeypatch.chdir(tmp_path)
    return caller


# -- without TensorFlow -------------------------------------------------------------------------------------------------

WITHOUT = """\
import sys

class Hidden:
    names = {"tensorflow", "tf2onnx", "onnx", "onnxruntime", "keras", "tf_keras"}

    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in self.names:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Hidden())
"""


@pytest.fixture(scope="module")
def hidden(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """An environment whose Python, and every one that it starts, finds no runtime."""
    folder = tmp_path_factory.mktemp("hidden")
    (folder / "sitecustomize.py").write_text(WITHOUT)
    return {**os.environ, "PYTHONPATH": f"{folder}{os.pathsep}{ROOT}", "NO_COLOR": "1"}


def start(environment: dict[str, str], cwd: Path, *words: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "tfinspect", *map(str, words)],
        check=False, capture_output=True, text=True, cwd=cwd, env=environment, timeout=120,
    )  # fmt: skip


def test_the_runtimes_are_hidden(hidden: dict[str, str]) -> None:
    done = subprocess.run(
        [sys.executable, "-c", "import tensorflow"], check=False, capture_output=True, text=True, env=hidden
    )
    assert "ModuleNotFoundError" in done.stderr


@pytest.mark.parametrize(
    "words",
    [
        ["info", TINY],
        ["nodes", TINY, "--only", "bottlenecks"],
        ["show", TINY, "softmax"],
        ["vars", FIXTURES / "training"],
        ["freeze", FIXTURES / "training", "--outputs", "softmax", "-o", "frozen.pb"],
        ["cut", TINY, "--bottleneck", "pool_3/_reshape", "-o", "trunk.pb"],
        ["graft", TINY, "--bottleneck", "pool_3/_reshape", "--head", FIXTURES / "head.npz", "-o", "flowers.pb"],
    ],
    ids=lambda words: str(words[0]),
)
def test_looking_and_surgery_work_without_tensorflow(
    hidden: dict[str, str], tmp_path: Path, words: list[str | Path]
) -> None:
    done = start(hidden, tmp_path, *words)
    assert done.returncode == 0, done.stderr
    assert done.stdout


@pytest.mark.parametrize(
    "words",
    [
        ["export", TINY, "--onnx", "-o", "m.onnx"],
        ["export", TINY, "--saved-model", "-o", "m"],
        ["verify", TINY, FIXTURES / "dense.onnx"],
        ["verify", FIXTURES / "dense.onnx", FIXTURES / "dense.onnx"],
    ],
    ids=lambda words: " ".join(map(str, words[:1] + words[2:3])),
)
def test_what_needs_tensorflow_says_what_to_install(
    hidden: dict[str, str], tmp_path: Path, words: list[str | Path]
) -> None:
    done = start(hidden, tmp_path, *words)
    assert done.returncode == 5, done.stderr
    assert done.stdout == ""
    first, _, hint = done.stderr.splitlines()
    assert first.startswith("error: ")
    assert "not installed" in first
    assert hint.startswith("hint: pip install")
    assert list(tmp_path.iterdir()) == []


# -- the newest model ---------------------------------------------------------------------------------------------------


def age(path: Path, seconds: int) -> None:
    os.utime(path, (1_700_000_000 - seconds,) * 2)


def test_graft_takes_the_newest_model_that_computes_the_tensor(call: Caller, tmp_path: Path) -> None:
    for name, source, seconds in (
        ("old.pb", TINY, 50),
        ("trunk.pb", TINY, 40),
        ("scrambled.pb", FIXTURES / "scrambled.pb", 30),
        ("head.npz", FIXTURES / "head.npz", 20),
        ("dense.onnx", FIXTURES / "dense.onnx", 10),
    ):
        shutil.copy(source, tmp_path / name)
        age(tmp_path / name, seconds)
    assert (
        call("cut", "old.pb", "--bottleneck", "pool_3/_reshape", "-o", "x.pb", "--head-output", "rest.pb").status == 0
    )
    (tmp_path / "x.pb").unlink()
    (tmp_path / "broken.pb").write_bytes(b"\x0a\xff")
    (tmp_path / "model.pb").symlink_to(FIXTURES / "saved_model" / "saved_model.pb")
    shutil.copytree(FIXTURES / "saved_model", tmp_path / "folder.pb")
    words = ("graft", "--bottleneck", "pool_3/_reshape", "--head", "head.npz", "-o", "out.pb")
    done = call(*words, "--json")
    assert done.answer["graph"] == "trunk.pb"
    done = call(*words, "--force")  # not its own result of before, though that is newer and computes the tensor
    assert done.err.startswith("using trunk.pb, the newest model here that computes `pool_3/_reshape:0`\n")
    age(tmp_path / "old.pb", 0)
    assert call(*words, "--force", "--json").answer["graph"] == "old.pb"


def test_export_takes_the_newest_model(call: Caller, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, source, seconds in (
        ("a.pb", TINY, 30),
        ("b.pbtxt", FIXTURES / "graph.pbtxt", 20),
        ("c.onnx", FIXTURES / "dense.onnx", 10),
        ("d.npz", FIXTURES / "head.npz", 5),
    ):
        shutil.copy(source, tmp_path / name)
        age(tmp_path / name, seconds)
    shutil.copytree(FIXTURES / "saved_model", tmp_path / "saved_model")
    asked = []

    def export_onnx(graph: str, *_: object, **__: object) -> None:
        asked.append(graph)
        raise KeyboardInterrupt

    monkeypatch.setattr("tfinspect.api.export_onnx.export_onnx", export_onnx)
    done = call("export", "--onnx")
    assert asked == ["b.pbtxt"]
    assert done.err.startswith("using b.pbtxt, the newest model here\n")
    age(tmp_path / "a.pb", 0)
    call("export", "--onnx")
    assert asked == ["b.pbtxt", "a.pb"]
    for path in ("a.pb", "b.pbtxt"):
        (tmp_path / path).unlink()
    done = call("export", "--onnx")
    assert done.status == 2
    assert done.err.startswith(f"error: no .pb, .pbtxt or .meta file in {tmp_path}\n")


# -- completion ---------------------------------------------------------------------------------------------------------


def completions(shell: str, line: str, environment: dict[str, str] | None = None) -> list[str]:
    """Ask as the shell's script does; the word being typed is the last."""
    words = shlex.split(line) + ([""] if line.endswith(" ") else [])
    asking = {
        "_TFINSPECT_COMPLETE": f"complete_{shell}",
        "COMP_WORDS": line,
        "COMP_CWORD": str(len(words) - 1),
        "_TYPER_COMPLETE_ARGS": line,
        "_TYPER_COMPLETE_FISH_ACTION": "get-args",
    }
    done = subprocess.run(
        [sys.executable, "-m", "tfinspect"], check=False, capture_output=True, text=True, cwd=FIXTURES,
        env={**os.environ, "PYTHONPATH": str(ROOT), **asking, **(environment or {})},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    if shell == "zsh":
        body = done.stdout.removeprefix("_arguments '*: :((").strip().removesuffix("))'")
        return [] if body == "_files" else [row.split('":"')[0].strip('"') for row in body.splitlines()]
    return done.stdout.split()


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_names_come_from_the_file_on_the_line(shell: str) -> None:
    def asked(line: str) -> list[str]:
        return completions(shell, line)

    assert asked("tfinspect cut inception_tiny.pb --bottleneck mixed/t") == ["mixed/tower/", "mixed/tower_1/"]
    assert asked("tfinspect show inception_tiny.pb pool_3/_") == ["pool_3/_reshape", "pool_3/_reshape/"]
    assert asked("tfinspect vars training --read logits/") == [
        "logits/biases",
        "logits/biases/",
        "logits/weights",
        "logits/weights/",
    ]


def test_other_things_that_are_completed() -> None:
    def asked(line: str) -> list[str]:
        return completions("bash", line)

    assert asked("tfinspect nodes graph.pbtxt --op ") == ["BiasAdd", "Const", "MatMul", "Placeholder", "Softmax"]
    assert asked("tfinspect nodes graph.pbtxt --only b") == ["bottlenecks"]
    assert asked("tfinspect freeze training --outputs sof") == ["softmax"]
    assert asked("tfinspect cut nowhere.pb --bottleneck m") == []
    assert asked("tfinspect cut photo.jpg --bottleneck m") == []
    assert asked("tfinspect vars nowhere --read m") == []
    assert sorted(asked("tfinspect ")) == sorted(COMMANDS)
    assert asked("tfinspect nodes graph.pbtxt --ma") == ["--match"]


def test_a_completer_never_raises(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise ZeroDivisionError

    context = SimpleNamespace(params={"graph": str(TINY), "checkpoint": str(FIXTURES / "training")})
    monkeypatch.setattr("tfinspect.formats.open_model", broken)
    monkeypatch.setattr("tfinspect.formats.read_checkpoint", broken)
    monkeypatch.setattr("tfinspect.formats.node_names.read", broken)
    for completer in (complete.tensors, complete.nodes, complete.ops, complete.variables):
        assert completer(context, "") == []  # type: ignore[arg-type]


def test_a_name_that_a_shell_would_run_is_not_offered(tmp_path: Path) -> None:
    names = [
        "x",
        "x$(touch pwned)",
        "x`id`",
        "x\\$(id)",
        "x;id",
        "x y",
        "x'",
        'x"',
        "x\nid",
        "x*",
        "x>y",
        "-x",
        "x|y",
        "x/ok",
    ]
    nodes = [placeholder("p", DType.FLOAT, (1,)), *(Node(name, name, ("p",)) for name in names)]
    graphdef.write(Graph(nodes), tmp_path / "g.pb")

    context = SimpleNamespace(params={"graph": str(tmp_path / "g.pb")})
    assert complete.tensors(context, "") == ["p", "x", "x/"]  # type: ignore[arg-type]
    assert complete.ops(context, "x") == ["x", "x/ok"]  # type: ignore[arg-type]


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_can_be_shown_and_installed(shell: str, tmp_path: Path) -> None:
    # the shell is told, not looked for among the parents of this process
    told = {"HOME": str(tmp_path), "PYTHONPATH": str(ROOT), "_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION": "1"}
    environment = {**os.environ, **told}
    shown = start(environment, tmp_path, "--show-completion", shell)
    assert shown.returncode == 0
    assert f"complete_{shell}" in shown.stdout
    installed = start(environment, tmp_path, "--install-completion", shell)
    assert installed.returncode == 0, installed.stderr
    assert any("complete_" + shell in path.read_text() for path in tmp_path.rglob("*") if path.is_file())


def test_the_shell_is_recognised(tmp_path: Path) -> None:
    (tmp_path / "show.sh").write_text(f"'{sys.executable}' -m tfinspect --show-completion\ntrue\n")
    done = subprocess.run(
        ["bash", tmp_path / "show.sh"], check=True, capture_output=True, text=True,
        env={**os.environ, "HOME": str(tmp_path), "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert "complete -o default -F _tfinspect_completion tfinspect" in done.stdout
