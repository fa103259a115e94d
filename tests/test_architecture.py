"""Who may import whom: the layers of docs and design, read from the imports themselves."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.paths import PACKAGE

MODULES = sorted(PACKAGE.rglob("*.py"))
HEAVY = {
    "torch", "transformers", "datasets", "pandas", "nltk", "PIL", "numpy", "scipy", "sklearn", "pyarrow", "openai",
    "huggingface_hub", "safetensors", "accelerate", "peft", "rich", "jinja2", "hydra", "omegaconf",
}  # fmt: skip
SIBLINGS = ("tasks", "models", "stats", "clients")
HYDRA_EDGE = {"cli/config.py", "cli/config_source.py", "cli/config_errors.py", "cli/hydra_app.py"}


def name_of(path: Path) -> str:
    return path.relative_to(PACKAGE.parent).with_suffix("").as_posix().replace("/", ".")


def imports(path: Path, top_level_only: bool) -> set[str]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    typing_only = {
        id(child)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test)
        for child in ast.walk(node)
    }
    inside = {
        id(child)
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        for child in ast.walk(node)
    }
    found: set[str] = set()
    for node in ast.walk(tree):
        if id(node) in typing_only or (top_level_only and id(node) in inside):
            continue
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return found


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_heavy_libraries_are_imported_where_they_are_used(path: Path) -> None:
    tops = {name.split(".")[0] for name in imports(path, top_level_only=True)}
    assert not tops & HEAVY, f"{name_of(path)} imports {tops & HEAVY} at module level"


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_only_the_edge_knows_hydra(path: Path) -> None:
    if path.relative_to(PACKAGE).as_posix() in HYDRA_EDGE:
        return
    tops = {name.split(".")[0] for name in imports(path, top_level_only=False)}
    assert not tops & {"hydra", "omegaconf"}


def layer(module: str) -> int:
    part = module.split(".")[1] if "." in module else ""
    order = [
        ("core",),
        ("tasks", "models", "stats", "clients", "published"),
        ("scoring", "engines", "importers", "runs"),
        ("judge",),
        ("analysis",),
        ("pipeline", "reports", "tools"),
        ("cli", "__main__"),
    ]
    for depth, names in enumerate(order):
        if part in names:
            return depth
    return -1


def test_every_module_has_a_layer() -> None:
    unplaced = [name_of(p) for p in MODULES if p.name != "__init__.py" and layer(name_of(p)) < 0]
    assert not unplaced, f"say in which layer these belong: {unplaced}"


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_imports_point_down_the_layers(path: Path) -> None:
    mine = layer(name_of(path))
    ours = {name for name in imports(path, top_level_only=False) if name.startswith("evalkit.")}
    upwards = {name for name in ours if layer(name) > mine >= 0}
    assert not upwards, f"{name_of(path)} reaches up to {upwards}"


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_siblings_never_meet(path: Path) -> None:
    mine = name_of(path).split(".")[1] if "." in name_of(path) else ""
    if mine not in SIBLINGS:
        return
    others = {f"evalkit.{s}" for s in SIBLINGS if s != mine}
    met = {n for n in imports(path, top_level_only=False) if any(n == o or n.startswith(f"{o}.") for o in others)}
    assert not met, f"{name_of(path)} knows its sibling {met}"


def test_the_command_line_starts_without_heavy_libraries() -> None:
    code = (
        "import sys; from evalkit.__main__ import main; main(['--help']); "
        f"loaded = {sorted(HEAVY)!r}; print([m for m in loaded if m in sys.modules], file=sys.stderr)"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=PACKAGE.parent)
    assert result.returncode == 0
    assert result.stderr.strip() == "[]"
