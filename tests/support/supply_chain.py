"""The program `.ci/supply_chain.py` as a module, and the imports of the package."""

from __future__ import annotations

import ast
import importlib.util
import sys
from functools import cache
from pathlib import Path
from types import ModuleType

from tests.support.paths import PACKAGE, ROOT


@cache
def checks() -> ModuleType:
    """The module; its folder is no package, so that it cannot be imported by name."""
    name = "evalkit_supply_chain"
    spec = importlib.util.spec_from_file_location(name, ROOT / ".ci" / "supply_chain.py")
    assert spec is not None and spec.loader is not None
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def imported(folder: Path = PACKAGE) -> set[str]:
    """The top-level names that the files of a folder import, wherever in the file, without the standard library."""
    names: set[str] = set()
    for path in folder.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                names |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                names.add(node.module.partition(".")[0])
    return names - sys.stdlib_module_names - {"evalkit"}
