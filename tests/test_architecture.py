"""The layers import in one direction only, and looking never loads a runtime."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from pathlib import Path

import pytest

import tfinspect
from tfinspect.cli.app import COMMANDS
from tfinspect.errors import error_classes

ROOT = Path(tfinspect.__file__).parent
FIXTURES = ROOT.parent / "fixtures"
LAYERS = {
    "errors": set(),
    "ir": {"errors"},
    "formats": {"ir", "errors"},
    "surgery": {"ir", "errors"},
    "verify": {"ir", "errors"},
    "runtimes": {"ir", "errors"},
    "api": {"formats", "surgery", "verify", "runtimes", "learn", "demo", "ir", "errors"},
    "demo": {"errors"},
    "learn": {"ir", "errors"},
    "cli": {"api", "formats", "ir", "errors", "verify"},
}
RUNTIMES = {"tensorflow", "tf2onnx", "keras", "tf_keras", "onnxruntime", "onnx"}


def _modules() -> list[Path]:
    return sorted(ROOT.rglob("*.py"))


def _imports(tree: ast.AST) -> list[tuple[str, ast.stmt]]:
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found += [(alias.name, node) for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            found += [(f"{node.module}.{alias.name}", node) for alias in node.names]
    return found


def _layer(path: Path) -> str | None:
    part = path.relative_to(ROOT).parts[0].removesuffix(".py")
    return part if part in LAYERS else None


@pytest.mark.parametrize("path", _modules(), ids=lambda p: str(p.relative_to(ROOT)))
def test_imports_point_one_way(path: Path) -> None:
    layer = _layer(path)
    if layer is None:
        assert path.name in {"__init__.py", "__main__.py"}
        return
    allowed = LAYERS[layer] | {layer}
    for name, _ in _imports(ast.parse(path.read_text())):
        parts = name.split(".")
        if parts[0] == "tfinspect" and len(parts) > 1 and parts[1] in LAYERS:
            assert parts[1] in allowed, f"{layer} imports {name}"


@pytest.mark.parametrize("path", _modules(), ids=lambda p: str(p.relative_to(ROOT)))
def test_runtimes_are_imported_in_runtimes_only_and_never_at_module_level(path: Path) -> None:
    tree = ast.parse(path.read_text())
    top = set(tree.body)
    for name, statement in _imports(tree):
        if name.split(".")[0] in RUNTIMES:
            assert _layer(path) == "runtimes", f"{path} imports {name}"
            assert statement not in top, f"{path} imports {name} at module level"


def test_public_names_are_sorted_complete_and_resolve() -> None:
    assert tfinspect.__all__ == sorted(tfinspect.__all__)
    assert set(tfinspect.__all__) == set(tfinspect._HOMES)
    for name in tfinspect.__all__:
        assert getattr(tfinspect, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        _ = tfinspect.nonsense


LIGHT = [
    ["--help"],
    ["info", "inception_tiny.pb"],
    ["nodes", "inception_tiny.pb"],
    ["nodes", "inception_tiny.pb", "--only", "bottlenecks"],
    ["show", "inception_tiny.pb", "pool_3/_reshape"],
    ["vars", "training"],
    ["vars", "training_v1", "--read", "conv/beta"],
    ["diff", "training", "training_v1", "--weights-only"],
    ["freeze", "training/model.ckpt-3", "--outputs", "softmax", "-o", "{tmp}/frozen.pb"],
    ["cut", "inception_tiny.pb", "--bottleneck", "pool_3/_reshape", "-o", "{tmp}/trunk.pb"],
    ["graft", "inception_tiny.pb", "--bottleneck", "pool_3/_reshape", "--head", "head.npz", "-o", "{tmp}/g.pb"],
    ["train-head", "features.npz", "-o", "{tmp}/h.npz"],
]


@pytest.mark.parametrize("arguments", LIGHT, ids=lambda a: " ".join(a[:2]))
def test_looking_and_surgery_load_no_runtime(arguments: list[str], tmp_path: Path) -> None:
    script = (
        "import json, sys\n"
        "from tfinspect.cli.app import run\n"
        "status = run(sys.argv[1:])\n"
        "print(json.dumps({'status': status, 'modules': sorted(m.split('.')[0] for m in sys.modules)}), file=sys.stderr)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, *(a.format(tmp=tmp_path) for a in arguments)],
        cwd=FIXTURES, capture_output=True, text=True, check=True,
    )  # fmt: skip
    last = json.loads(done.stderr.splitlines()[-1])
    assert last["status"] == 0, done.stderr
    assert not RUNTIMES & set(last["modules"])


def test_listing_does_not_load_numpy_or_rich() -> None:
    script = (
        "import sys\nfrom tfinspect.cli.app import run\nstatus = run(sys.argv[1:])\n"
        "heavy = {'numpy', 'rich'} & set(sys.modules)\nsys.exit(f'{status} {heavy}' if status or heavy else 0)\n"
    )
    lines = "vars training, vars training_v1, vars --help, nodes inception_tiny.pb, nodes --help, --help, --version"
    for arguments in (line.split() for line in lines.split(", ")):
        done = subprocess.run(
            [sys.executable, "-c", script, *arguments], check=False, cwd=FIXTURES, capture_output=True, text=True
        )
        assert done.returncode == 0, (arguments, done.stderr)


def test_listing_nodes_looks_for_no_endpoints() -> None:
    script = (
        "import sys\nfrom tfinspect.cli.app import run\nstatus = run(sys.argv[1:])\n"
        "extra = {'tfinspect.surgery.endpoints', 'tfinspect.surgery.bottlenecks', 'rich'} & set(sys.modules)\n"
        "sys.exit(f'{status} {extra}' if status or extra else 0)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, "nodes", "inception_tiny.pb"],
        cwd=FIXTURES, check=False, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


def test_every_error_is_raised_somewhere() -> None:
    """Each class that has no children is raised in the program, or made by a function that returns it."""
    made = set()
    for path in _modules():
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call):
                called = node.func
                made.add(called.id if isinstance(called, ast.Name) else getattr(called, "attr", ""))
    leaves = [cls for cls in error_classes() if not cls.__subclasses__()]
    assert len(leaves) > 15
    assert [cls.__name__ for cls in leaves if cls.__name__ not in made] == []


def test_every_error_is_met_by_a_test() -> None:
    """Each slug or class that the program raises stands in a test."""
    tests = "\n".join(path.read_text() for path in Path(__file__).parent.glob("test_*.py") if path != Path(__file__))
    leaves = [cls for cls in error_classes() if not cls.__subclasses__()]
    assert [cls.__name__ for cls in leaves if cls.__name__ not in tests and f'"{cls.slug}"' not in tests] == []


def test_every_slug_is_documented() -> None:
    page = (ROOT.parent / "docs" / "errors.md").read_text()
    rows = {line.split("`")[1]: line for line in page.splitlines() if line.startswith("| `")}
    assert set(rows) == {cls.slug for cls in error_classes()[1:]}
    for cls in error_classes()[1:]:
        assert f"| {int(cls.exit_status)} | `{cls.__name__}` |" in rows[cls.slug]


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help_with_examples(name: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tfinspect", name, "--help"], capture_output=True, text=True, check=True
    )
    assert "Examples:" in done.stdout
    assert f"$ tfinspect {name}" in done.stdout
    assert max(map(len, done.stdout.splitlines())) <= 120
