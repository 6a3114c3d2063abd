"""Completion: the answers to the shells, the scripts in the shells themselves, and files of every kind behind it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from types import SimpleNamespace
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.cli_calls import FIXTURES, ROOT, ZOO, Caller
from tests.graph_models import graph, op, read_any
from tfinspect.api import names as api_names
from tfinspect.cli import complete, completion
from tfinspect.cli.completion_scripts import SCRIPTS
from tfinspect.cli.overview import COMMANDS, OPTIONS
from tfinspect.errors import TfinspectError
from tfinspect.formats import graphdef, node_names
from tfinspect.ir.checkpoint import Checkpoint, VariableInfo
from tfinspect.ir.dtypes import DType
from tfinspect.ir.functions import Function, FunctionBody
from tfinspect.ir.graph import Graph
from tfinspect.ir.layers import Layer
from tfinspect.ir.model import Model
from tfinspect.ir.operators import Operator
from tfinspect.ir.tensors import Tensor

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(autouse=True)
def here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(FIXTURES)


def offered(line: str) -> list[str]:
    """Complete the last word of a line; `|` marks the place where words follow."""
    before, _, after = line.partition("|")
    words = completion._raw_words(before) + ([""] if before.endswith(" ") else [])
    plain = [completion._unquoted(word) for word in words]
    offers = completion.complete(plain[1:-1], plain[-1], completion._split(after))
    return [offer.value for offer in offers]


# -- what is offered ----------------------------------------------------------------------------------------------------


def test_commands_and_options_come_from_their_tables() -> None:
    assert offered("tfinspect ") == list(COMMANDS)
    assert offered("tfinspect f") == [name for name in COMMANDS if name.startswith("f")]
    assert offered("tfinspect --") == list(OPTIONS)
    assert offered("tfinspect --debug sh") == ["show"]
    assert offered("tfinspect --install-completion ") == ["bash", "zsh", "fish"]
    assert offered("tfinspect nothing ") == []


@pytest.mark.parametrize("command", COMMANDS)
def test_every_option_of_every_command_is_offered(command: str, monkeypatch: pytest.MonkeyPatch) -> None:
    page = Caller(monkeypatch)(command, "--help").out
    shown = {word.strip(",") for row in page.splitlines() if row.startswith("  -") for word in row.split()}
    wanted = {word for word in shown if word.startswith("--")}
    assert {"--help"} < wanted | {"--json"}
    assert set(offered(f"tfinspect {command} --")) == wanted
    assert set(offered(f"tfinspect {command} -")) > wanted  # and the short ones


@pytest.mark.parametrize(
    ("line", "wanted"),
    [
        ("tfinspect show inception_tiny.pb pool_3/_", ["pool_3/_reshape", "pool_3/_reshape/"]),
        ("tfinspect cut inception_tiny.pb --bottleneck pool_3/_reshape:", ["pool_3/_reshape:0"]),
        ("tfinspect cut inception_tiny.pb --bottleneck pool_3/_reshape:1", []),
        ("tfinspect cut --bottleneck=mixed/t|inception_tiny.pb", ["--bottleneck=mixed/tower/", "--bottleneck=mixed/tower_1/"]),
        ("tfinspect cut --bottleneck mixed/t|inception_tiny.pb", ["mixed/tower/", "mixed/tower_1/"]),
        ("tfinspect nodes inception_tiny.pb --scope mixed/t", ["mixed/tower", "mixed/tower_1"]),
        ("tfinspect nodes inception_tiny.pb --scope poo", ["pool_3"]),
        ("tfinspect nodes --scope poo|inception_tiny.pb", ["pool_3"]),
        ("tfinspect nodes --json --scope poo|-q -- inception_tiny.pb", ["pool_3"]),
        ("tfinspect nodes graph.pbtxt --op ", ["BiasAdd", "Const", "MatMul", "Placeholder", "Softmax"]),
        ("tfinspect nodes graph.pbtxt --only ", ["inputs", "outputs", "bottlenecks"]),
        ("tfinspect nodes graph.pbtxt --only=b", ["--only=bottlenecks"]),
        ("tfinspect vars training --role s", ["slot", "step"]),
        ("tfinspect vars training/model.ckpt-3 --read logits/w", ["logits/weights", "logits/weights/"]),
        ("tfinspect vars training_v1 --read global", ["global_step"]),
        ("tfinspect vars --read global|training_v1", ["global_step"]),
        ("tfinspect freeze training --outputs sof", ["softmax"]),
        ("tfinspect freeze training --map logits/w", ["logits/weights=", "logits/weights/"]),
        ("tfinspect freeze training --map logits/weights=logits/b", [
            "logits/weights=logits/biases", "logits/weights=logits/biases/",
        ]),
        ("tfinspect verify inception_tiny.pb graph.pbtxt --match softm", ["softmax=", "softmax/"]),
        ("tfinspect verify inception_tiny.pb graph.pbtxt --match softmax=lo", ["softmax=logits"]),
        ("tfinspect export --require ", ["pass", "written"]),
        ("tfinspect show saved_model ", None),
        ("tfinspect info ", []),  # the shell's own file names
        ("tfinspect nodes inc", []),
        ("tfinspect cut inception_tiny.pb -o ", []),
        ("tfinspect show inception_tiny.pb pool_3 ", []),
        ("tfinspect nodes graph.pbtxt --no-such=", []),
        ("tfinspect cut nowhere.pb --bottleneck m", []),
        ("tfinspect cut photo.jpg --bottleneck m", []),
        ("tfinspect vars nowhere --read m", []),
    ],
)  # fmt: skip
def test_what_is_offered(line: str, wanted: list[str] | None) -> None:
    found = offered(line)
    if wanted is None:
        assert found
    else:
        assert found == wanted


@pytest.mark.parametrize("quoting", ["'{}'", '"{}"', "{escaped}"])
def test_paths_with_spaces_and_quotes(tmp_path: Path, quoting: str) -> None:
    path = tmp_path / "my models" / "it's $new.pb"
    path.parent.mkdir()
    shutil.copy(FIXTURES / "inception_tiny.pb", path)
    if quoting == "'{}'":
        typed = "'" + str(path).replace("'", "'\\''") + "'"
    elif quoting == '"{}"':
        typed = '"' + str(path).replace("$", "\\$") + '"'
    else:
        typed = str(path).replace(" ", "\\ ").replace("'", "\\'").replace("$", "\\$")
    assert offered(f"tfinspect show {typed} softm") == ["softmax", "softmax/"]


def test_home_and_variables_are_expanded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copy(FIXTURES / "graph.pbtxt", tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert offered("tfinspect show ~/graph.pbtxt lo") == ["logits"]
    assert offered("tfinspect show $HOME/graph.pbtxt lo") == ["logits"]


def test_the_newest_model_where_none_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert offered("tfinspect export --outputs lo") == []
    shutil.copy(FIXTURES / "graph.pbtxt", tmp_path)
    assert offered("tfinspect export --outputs lo") == ["logits"]


def test_functions_and_placeholders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    body = FunctionBody((), (), (), {})
    made = graph(op("Placeholder", "x", dtype=DType.FLOAT), op("Placeholder", "is_training", dtype=DType.BOOL))
    made = made.replace(functions={name: Function(name, lambda: body) for name in ("f_1", "f_2", "g", "<lambda>")})
    monkeypatch.setattr("tfinspect.formats.open_model", lambda path: Model(str(path), "graphdef", graph=made))
    monkeypatch.setattr(node_names, "read", lambda path: None)
    context = SimpleNamespace(params={"graph": "model.pb"})
    assert complete.functions(context, "f") == ["f_1", "f_2"]
    assert complete.functions(context, "") == ["f_1", "f_2", "g"]
    assert complete.settings(context, "is") == ["is_training="]
    assert complete.settings(context, "is_training=") == []


def test_files_that_have_no_graph(monkeypatch: pytest.MonkeyPatch) -> None:
    """Operators, layers and weights, as ONNX, TensorFlow Lite and Keras files have them."""
    variables = {"dense/kernel:0": VariableInfo("dense/kernel:0", DType.FLOAT, (1,), 4)}
    weights = Checkpoint("m", "keras_h5", variables, lambda _: Tensor.of([0.0]))
    made = {
        "m.onnx": Model(
            "m.onnx", "onnx", operators=(Operator("conv1", "Conv", ("x",), ("net/conv1:0",), body="then"),)
        ),
        "m.h5": Model("m.h5", "keras_h5", layers=(Layer("dense", "Dense"),), checkpoint=weights),
        "w.h5": Model("w.h5", "keras_h5", checkpoint=weights),
    }
    monkeypatch.setattr("tfinspect.formats.open_model", lambda path: made[str(path)])
    monkeypatch.setattr("tfinspect.formats.read_checkpoint", lambda path: made[str(path)].checkpoint)
    monkeypatch.setattr(node_names, "read", lambda path: None)
    assert offered("tfinspect show m.onnx c") == ["conv1"]
    assert offered("tfinspect export m.onnx --outputs net/") == ["net/conv1:0"]
    assert offered("tfinspect nodes m.onnx --op ") == ["Conv"]
    assert api_names.functions("m.onnx") == ["then"]
    assert offered("tfinspect show m.h5 d") == ["dense"]
    assert offered("tfinspect nodes m.h5 --op ") == ["Dense"]
    assert offered("tfinspect vars m.h5 --read d") == ["dense/"]
    assert offered("tfinspect vars m.h5 --read dense/k") == ["dense/kernel:0"]
    assert offered("tfinspect show w.h5 dense/") == ["dense/kernel:0"]


def test_a_scope_alone_is_a_scope() -> None:
    found = complete._scopes(["a", "b/c", "b/d/e", "bb/x", "b/$(id)/x"], "b")
    assert found == ["b", "b/d", "bb"]
    assert complete._scopes(["a", "b/c", "b/d/e"], "b/") == ["b/d"]


# -- names without the rest of the graph --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "path", ["inception_tiny.pb", "training/model.ckpt-3", "training/model.ckpt-3.meta", "training_v1", "saved_model"]
)
def test_names_alone_are_those_of_the_graph(path: str) -> None:
    from tfinspect import formats

    model = formats.open_model(path)
    found = node_names.read(path)
    assert model.graph is None or found == [(node.name, node.op) for node in model.graph.nodes]
    assert found or model.graph is None


@pytest.mark.parametrize("path", ["graph.pbtxt", "dense.onnx", "head.npz"])
def test_other_files_are_read_as_a_whole(path: str) -> None:
    assert node_names.read(path) is None


@pytest.mark.skipif(not ZOO.exists(), reason="the collection of real models is not beside the repository")
def test_names_of_real_graphs() -> None:
    seen = 0
    for path in sorted((ZOO / "frozen_pb").rglob("*.pb"))[:30]:
        try:
            known = read_any(path).nodes
            found = node_names.read(path)
        except TfinspectError:
            continue
        assert found is None or found == [(node.name, node.op) for node in known]
        seen += found is not None
    assert seen > 5


@settings(max_examples=150, deadline=None)
@given(cut=st.integers(0, 4000), flip=st.integers(0, 4000), bit=st.integers(0, 7))
def test_damage_is_never_more_than_an_error(
    tmp_path_factory: pytest.TempPathFactory, cut: int, flip: int, bit: int
) -> None:
    data = bytearray((FIXTURES / "inception_tiny.pb").read_bytes()[: 4000 - cut])
    if data:
        data[flip % len(data)] ^= 1 << bit
    path = tmp_path_factory.getbasetemp() / "damaged.pb"
    path.write_bytes(data)
    try:
        found = node_names.read(path)
    except TfinspectError:
        return
    assert found is None or all(isinstance(name, str) and isinstance(kind, str) for name, kind in found)


def test_many_nodes_complete(tmp_path: Path) -> None:
    count = 40_000
    graphdef.write(graph(*(op("NoOp", f"scope_{i % 7}/node_{i}") for i in range(count))), tmp_path / "big.pb")
    found = offered(f"tfinspect nodes {tmp_path / 'big.pb'} --scope scope_")
    assert found == [f"scope_{i}" for i in range(7)]


# -- what a shell is told -----------------------------------------------------------------------------------------------


def asked(shell: str, words: list[str], current: int | None = None, **more: str) -> subprocess.CompletedProcess[str]:
    """Ask as the script of a shell does."""
    environment = {
        **os.environ, "PYTHONPATH": str(ROOT), "_TFINSPECT_COMPLETE": f"complete_{shell}",
        "COMP_WORDS": "\n".join(words), "COMP_CWORD": str(len(words) - 1 if current is None else current), **more,
    }  # fmt: skip
    return subprocess.run(
        [sys.executable, "-m", "tfinspect"], check=False, capture_output=True, text=True, cwd=FIXTURES, env=environment
    )


@pytest.mark.parametrize("shell", SCRIPTS)
def test_the_answer_is_one_offer_a_line(shell: str) -> None:
    done = asked(shell, ["tfinspect", "cut", "inception_tiny.pb", "--bottleneck", "mixed/t"])
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "mixed/tower/\nmixed/tower_1/\n"
    done = asked(shell, ["tfinspect", "nodes", "inception_tiny.pb", "--on"])
    assert done.stdout == ("--only\n" if shell == "bash" else "--only\tOnly these, best first\n")
    done = asked(shell, ["tfinspect", "nodes", "inc"])
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_what_bash_took_apart_is_put_together() -> None:
    for words, wanted in (
        (["cut", "inception_tiny.pb", "--bottleneck", "pool_3/_reshape", ":"], "0\n"),
        (["cut", "inception_tiny.pb", "--bottleneck", "pool_3/_reshape", ":", "0"], "0\n"),
        (["cut", "inception_tiny.pb", "--bottleneck", "=", "mixed/t"], "mixed/tower/\nmixed/tower_1/\n"),
        (["nodes", "inception_tiny.pb", "--only", "="], "inputs\noutputs\nbottlenecks\n"),
        (["verify", "inception_tiny.pb", "graph.pbtxt", "--match", "softmax", "=", "lo"], "logits\n"),
    ):
        done = asked("bash", ["tfinspect", *words])
        assert (done.stdout, done.stderr) == (wanted, ""), words
    # a shell whose COMP_WORDBREAKS has no colon replaces the whole word
    done = asked("bash", ["tfinspect", "cut", "inception_tiny.pb", "--bottleneck", "pool_3/_reshape:"])
    assert done.stdout == "pool_3/_reshape:0\n"
    # a new word after one that ends in a colon is a word of its own
    done = asked("bash", ["tfinspect", "cut", "inception_tiny.pb", "--inputs", "Mul", ":", "0", "--on"])
    assert done.stdout == ""


@pytest.mark.parametrize(
    "broken",
    [
        {"COMP_WORDS": ""},
        {"COMP_CWORD": "many"},
        {"COMP_CWORD": "-7"},
        {"COMP_CWORD": "900"},
        {"_TFINSPECT_COMPLETE": "complete_tcsh"},
        {"_TFINSPECT_COMPLETE": ""},
        {"COMP_WORDS": "tfinspect\nshow\n'unclosed\n\\"},
    ],
)
def test_nonsense_gets_silence(broken: dict[str, str]) -> None:
    done = asked("bash", ["tfinspect", "show", "inception_tiny.pb", "poo"], **broken)
    assert done.returncode == 0
    assert done.stderr == ""
    assert "Traceback" not in done.stdout


def test_completion_loads_neither_typer_for_commands_nor_a_runtime() -> None:
    script = (
        "import sys\nfrom tfinspect.cli import completion\n"
        "assert completion.complete([], 'no')\nassert 'typer' not in sys.modules\n"
        "assert completion.complete(['show', 'inception_tiny.pb'], 'poo')\n"
        "heavy = {'tensorflow', 'keras', 'onnx', 'onnxruntime', 'numpy', 'rich', 'pydantic'} & set(sys.modules)\n"
        "sys.exit(str(heavy) if heavy else 0)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], check=False, capture_output=True, text=True, cwd=FIXTURES,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


HOSTILE = (
    "x$(touch pwned)",
    "x`touch pwned`",
    "x;touch pwned",
    "x y",
    "x'",
    "x\ttab",
    "x\nline",
    "x*",
    "x~",
    "-x",
    "x{a,b}",
)


@pytest.fixture
def hostile(tmp_path: Path) -> Path:
    """A graph whose author wants to run something in the shell of whoever looks at it."""
    nodes = [op("NoOp", name) for name in ("x_good", *HOSTILE)]
    graphdef.write(Graph(nodes), tmp_path / "hostile.pb")
    return tmp_path / "hostile.pb"


# -- in the shells themselves -------------------------------------------------------------------------------------------


@pytest.fixture
def told(tmp_path: Path) -> dict[str, str]:
    """An environment with a home of its own and a `tfinspect` on the path."""
    folder = tmp_path / "bin"
    folder.mkdir()
    program = folder / "tfinspect"
    program.write_text(f"#!/bin/sh\nPYTHONPATH='{ROOT}' exec '{sys.executable}' -m tfinspect \"$@\"\n")
    program.chmod(0o755)
    home = tmp_path / "home"
    home.mkdir()
    return {**os.environ, "HOME": str(home), "PATH": f"{folder}{os.pathsep}{os.environ['PATH']}", "SHELL": "/bin/none"}


def in_bash(environment: dict[str, str], *words: str, current: int | None = None) -> list[str]:
    """Source the generated script in bash and return COMPREPLY."""
    quoted = " ".join("'" + word.replace("'", "'\\''") + "'" for word in words)
    script = (
        "source <(tfinspect --show-completion bash)\n"
        f"COMP_WORDS=({quoted})\nCOMP_CWORD={len(words) - 1 if current is None else current}\n"
        '_tfinspect_completion tfinspect\nprintf "%s\\n" "${COMPREPLY[@]}"\n'
    )
    done = subprocess.run(
        ["bash", "-c", script], check=True, capture_output=True, text=True, cwd=FIXTURES, env=environment, timeout=60
    )
    assert done.stderr == ""
    return [line for line in done.stdout.split("\n") if line]


def test_bash_completes(told: dict[str, str], hostile: Path) -> None:
    assert in_bash(told, "tfinspect", "g") == ["graft"]
    assert in_bash(told, "tfinspect", "show", "inception_tiny.pb", "pool_3/_") == [
        "pool_3/_reshape",
        "pool_3/_reshape/",
    ]
    assert in_bash(told, "tfinspect", "cut", "inception_tiny.pb", "--bottleneck", "pool_3/_reshape", ":") == ["0"]
    assert in_bash(told, "tfinspect", "nodes", "inc") == []
    shutil.copy(FIXTURES / "graph.pbtxt", hostile.parent / "my graph.pbtxt")
    assert in_bash(told, "tfinspect", "show", f"'{hostile.parent}/my graph.pbtxt'", "lo") == ["logits"]
    assert in_bash(told, "tfinspect", "show", f"{hostile.parent}/my\\ graph.pbtxt", "lo") == ["logits"]
    assert in_bash(told, "tfinspect", "nodes", "--scope", "poo", "inception_tiny.pb", current=3) == ["pool_3"]
    assert in_bash(told, "tfinspect", "show", str(hostile), "x") == ["x_good"]
    assert not (FIXTURES / "pwned").exists()


@pytest.mark.skipif(shutil.which("zsh") is None, reason="zsh is not installed")
def test_zsh_completes(told: dict[str, str], hostile: Path) -> None:
    """The script's function with the builtins that only a line editor has replaced by ones that print."""
    script = (
        "compdef() {}\n_files() { print -r -- FILES }\n"
        'compadd() { shift 3; print -rl -- "OPEN $@" }\n_describe() { print -rl -- ${(P)2} }\n'
        "source <(tfinspect --show-completion zsh)\n"
        'words=("$@")\nCURRENT=$#\n_tfinspect_completion\n'
    )

    def completed(*words: str) -> list[str]:
        done = subprocess.run(
            ["zsh", "-f", "-c", script, "zsh", *words], check=True, capture_output=True, text=True, cwd=FIXTURES,
            env=told, timeout=60,
        )  # fmt: skip
        assert done.stderr == ""
        return done.stdout.splitlines()

    assert completed("tfinspect", "g") == ["graft:Put a trained head onto a trunk"]
    assert completed("tfinspect", "show", "inception_tiny.pb", "pool_3/_") == [
        "OPEN pool_3/_reshape/",
        "pool_3/_reshape",
    ]
    assert completed("tfinspect", "cut", "inception_tiny.pb", "--bottleneck", "pool_3/_reshape:") == [
        "pool_3/_reshape\\:0"
    ]
    assert completed("tfinspect", "nodes", "inc") == ["FILES"]
    shutil.copy(FIXTURES / "graph.pbtxt", hostile.parent / "my graph.pbtxt")
    assert completed("tfinspect", "show", f"'{hostile.parent}/my graph.pbtxt'", "lo") == ["logits"]
    assert completed("tfinspect", "show", str(hostile), "x") == ["x_good"]
    assert not (FIXTURES / "pwned").exists()


@pytest.mark.skipif(shutil.which("fish") is None, reason="fish is not installed")
def test_fish_completes(told: dict[str, str], hostile: Path) -> None:
    subprocess.run(["tfinspect", "--install-completion", "fish"], check=True, capture_output=True, env=told)

    def completed(line: str) -> list[str]:
        done = subprocess.run(
            ["fish", "-c", "complete -C $argv[1]", line], check=True, capture_output=True, text=True, cwd=FIXTURES,
            env=told, timeout=60,
        )  # fmt: skip
        return done.stdout.splitlines()

    assert completed("tfinspect g") == ["graft\tPut a trained head onto a trunk"]
    assert completed("tfinspect show inception_tiny.pb pool_3/_") == ["pool_3/_reshape", "pool_3/_reshape/"]
    assert completed("tfinspect cut inception_tiny.pb --bottleneck pool_3/_reshape:") == ["pool_3/_reshape:0"]
    assert completed("tfinspect nodes inc") == ["inception_scaled.pb", "inception_tiny.pb"]
    shutil.copy(FIXTURES / "graph.pbtxt", hostile.parent / "my graph.pbtxt")
    assert completed(f"tfinspect show '{hostile.parent}/my graph.pbtxt' lo") == ["logits"]
    assert completed(f"tfinspect show {hostile} x") == ["x_good"]
    assert not (FIXTURES / "pwned").exists()


# -- putting it in place ------------------------------------------------------------------------------------------------


def test_installing_twice_adds_one_line_and_keeps_the_rest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    call = Caller(monkeypatch)
    (tmp_path / ".bashrc").write_bytes(b"alias l='ls \xff'")
    for _ in range(2):
        done = call("--install-completion", "bash")
        assert (done.status, done.err) == (0, "")
    path = tmp_path / ".bash_completions" / "tfinspect.sh"
    assert done.out == f"bash completion installed in {path}\nIt takes effect in a new shell\n"
    assert (tmp_path / ".bashrc").read_bytes() == b"alias l='ls \xff'\n" + f"source '{path}'\n".encode()
    assert call("--install-completion", "zsh").status == 0
    assert (tmp_path / ".zfunc" / "_tfinspect").read_text().startswith("#compdef tfinspect\n")


def test_shells_that_are_unknown_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    call = Caller(monkeypatch)
    done = call("--show-completion", "tcsh")
    assert done.status == 2
    assert done.err == (
        "error: no completion for the shell `tcsh`\n\nhint: tfinspect --show-completion bash (or zsh, fish)\n"
    )
    assert call("--show-completion", "bash", "zsh").status == 2
    monkeypatch.setattr("tfinspect.cli.completion_scripts._shell", lambda: "")
    done = call("--install-completion")
    assert done.err.startswith("error: the shell that this runs in cannot be told\n")


def test_a_home_that_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / ".bash_completions").write_text("in the way")
    monkeypatch.setenv("HOME", str(tmp_path))
    done = Caller(monkeypatch)("--install-completion", "bash")
    assert done.status == 5
    assert done.err.startswith(f"error: {tmp_path}/.bash_completions")
