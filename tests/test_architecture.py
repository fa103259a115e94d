"""Who may import whom: the rooms and their floors (docs/adr/0005-rooms.md), read from the imports themselves."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

from tests.support.paths import PACKAGE

MODULES = sorted(PACKAGE.rglob("*.py"))
HEAVY = {
    "torch", "transformers", "datasets", "pandas", "nltk", "PIL", "numpy", "scipy", "sklearn", "pyarrow", "openai",
    "huggingface_hub", "safetensors", "accelerate", "peft", "rich", "jinja2", "hydra", "omegaconf",
}  # fmt: skip
# The floors of the package, lowest first: a room imports rooms of lower floors only.
FLOORS = (
    ("core",),
    ("records",),
    ("tasks", "models", "stats", "clients", "published"),
    ("scoring", "engines", "importers", "runs"),
    ("judge",),
    ("analysis",),
    ("pipeline", "reports", "tools"),
    ("cli",),
    ("api",),
    ("integrations",),
)
FLOOR = {room: floor for floor, rooms in enumerate(FLOORS) for room in rooms}
AT_THE_ROOT = {"__init__.py", "__main__.py", "errors.py", "py.typed"}
HYDRA_EDGE = {
    "cli/compose.py",
    "cli/config.py",
    "cli/command_words.py",
    "cli/config_source.py",
    "cli/config_errors.py",
    "cli/defaults_tree.py",
    "cli/expansion.py",
    "cli/hydra_app.py",
    "cli/hydra_mode.py",
    "cli/interpolation.py",
}


def name_of(path: Path) -> str:
    return path.relative_to(PACKAGE.parent).with_suffix("").as_posix().replace("/", ".")


class Import(NamedTuple):
    """A dotted name that a module imports, and whether the import is at the top level, outside of functions."""

    name: str
    at_top: bool


def imports(path: Path, top_level_only: bool) -> set[str]:
    return {found.name for found in all_imports(path) if found.at_top or not top_level_only}


@cache
def all_imports(path: Path) -> frozenset[Import]:
    """Every import of a module but those for type checkers alone."""
    return frozenset(imports_of(ast.parse(path.read_text(encoding="utf-8")).body, at_top=True))


def imports_of(body: Iterable[ast.AST], at_top: bool) -> Iterator[Import]:
    """The imports of statements and of those inside of them; expressions, which have none, are not walked through."""
    for node in body:
        if isinstance(node, ast.Import):
            yield from (Import(alias.name, at_top) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield Import(node.module, at_top)
            yield from (Import(f"{node.module}.{alias.name}", at_top) for alias in node.names)
        elif not (isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test)):
            is_function = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
            for part in ("body", "orelse", "finalbody", "handlers", "cases"):
                yield from imports_of(getattr(node, part, ()), at_top and not is_function)


def tops(path: Path, top_level_only: bool) -> set[str]:
    """The distributions' packages that a module imports."""
    return {name.split(".")[0] for name in imports(path, top_level_only)}


def test_heavy_libraries_are_imported_where_they_are_used() -> None:
    wrong = {name_of(path): found for path in MODULES if (found := tops(path, top_level_only=True) & HEAVY)}
    assert not wrong, f"imported at module level: {wrong}"


def test_only_the_edge_knows_hydra() -> None:
    inner = [path for path in MODULES if path.relative_to(PACKAGE).as_posix() not in HYDRA_EDGE]
    wrong = {name_of(path) for path in inner if tops(path, top_level_only=False) & {"hydra", "omegaconf"}}
    assert not wrong


def room_of(module: str) -> str:
    """The room of a dotted name; "" for modules at the root."""
    parts = module.split(".")
    return parts[1] if len(parts) > 1 and parts[1] in FLOOR else ""


def test_the_root_holds_the_package_and_its_rooms_alone() -> None:
    files = {p.name for p in PACKAGE.iterdir() if p.is_file()}
    folders = {p.name for p in PACKAGE.iterdir() if p.is_dir() and p.name != "__pycache__" and any(p.rglob("*.py"))}
    assert files <= AT_THE_ROOT, f"put these into a room: {files - AT_THE_ROOT}"
    assert folders <= set(FLOOR), f"these rooms have no floor: {folders - set(FLOOR)}"


def from_above(path: Path) -> set[str]:
    """What a module of a room imports of other rooms of its own floor or a higher one."""
    own = room_of(name_of(path))
    rooms = {(name, room_of(name)) for name in imports(path, top_level_only=False) if name.startswith("evalkit.")}
    return {name for name, room in rooms if own and room and room != own and FLOOR[room] >= FLOOR[own]}


def test_a_room_imports_rooms_of_lower_floors_only() -> None:
    wrong = {name_of(path): found for path in MODULES if (found := from_above(path))}
    assert not wrong, f"imports of the own floor or a higher one: {wrong}"


def test_no_module_imports_itself_through_others() -> None:
    """Imports at the top of modules have no cycle; a name of a package's __init__ counts as its module."""
    names = {name_of(p).removesuffix(".__init__"): p for p in MODULES}
    graph = {n: {m for m in imports(p, top_level_only=True) if m in names and m != n} for n, p in names.items()}
    finished: set[str] = set()

    def visit(name: str, path: tuple[str, ...]) -> None:
        assert name not in path, f"import cycle: {' -> '.join((*path[path.index(name) :], name))}"
        if name in finished:
            return
        for other in sorted(graph[name]):
            # A package's __init__ re-exports its own modules, which import each other by their full names.
            if not name.startswith(f"{other}."):
                visit(other, (*path, name))
        finished.add(name)

    for name in sorted(graph):
        visit(name, ())


def test_the_command_line_starts_without_heavy_libraries() -> None:
    code = (
        "import sys; from evalkit.__main__ import main; main(['--help']); "
        f"loaded = {sorted(HEAVY)!r}; print([m for m in loaded if m in sys.modules], file=sys.stderr)"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=PACKAGE.parent)
    assert result.returncode == 0
    assert result.stderr.strip() == "[]"
