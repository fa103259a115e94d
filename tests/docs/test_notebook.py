"""docs/notebooks/evalkit.ipynb runs from beginning to end."""

from __future__ import annotations

import ast
import importlib.util
import json
import os
from pathlib import Path
from typing import Any

import pytest

from tests.support.command_line import environment
from tests.support.paths import ROOT

NOTEBOOK = ROOT / "docs" / "notebooks" / "evalkit.ipynb"
KERNEL = ("nbclient", "ipykernel", "matplotlib")


def in_a_kernel(folder: Path) -> list[dict[str, Any]]:
    """The outputs of a kernel, as a user of Jupyter has them."""
    import nbformat
    from nbclient import NotebookClient

    notebook = nbformat.read(NOTEBOOK, as_version=4)
    NotebookClient(
        notebook, timeout=170, kernel_name="python3", resources={"metadata": {"path": str(folder)}}
    ).execute()
    return [dict(output) for cell in notebook.cells for output in cell.get("outputs", ())]


def in_plain_python(cells: list[dict[str, Any]]) -> list[str]:
    """What the cells show without a kernel, whose start takes seconds; cells with the tag `matplotlib` are left out."""
    names: dict[str, Any] = {}
    shown = []
    for cell in cells:
        if cell["cell_type"] != "code" or "matplotlib" in cell["metadata"].get("tags", ()):
            continue
        body = ast.parse("".join(cell["source"])).body
        last = body.pop() if isinstance(body[-1], ast.Expr) else None
        exec(compile(ast.Module(body, []), "cell", "exec"), names)
        if last is not None and (found := eval(compile(ast.Expression(last.value), "cell", "eval"), names)) is not None:
            shown.append(found._repr_html_() if hasattr(found, "_repr_html_") else repr(found))
    return shown


def cells_of_the_notebook() -> list[dict[str, Any]]:
    cells: list[dict[str, Any]] = json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"]
    return cells


def test_the_notebook_is_committed_without_outputs() -> None:
    assert not any(cell.get("outputs") or cell.get("execution_count") for cell in cells_of_the_notebook())


def check(shown: str, folder: Path) -> None:
    """Check what the notebook showed, and the files that it wrote."""
    assert "<table>" in shown and "always no" in shown and "phantom-llava" in shown
    assert (folder / "llava.html").stat().st_size > 50_000
    assert len(list((folder / "runs").glob("*/summary.json"))) == 3


def test_the_cells_run_one_after_the_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    check("".join(in_plain_python(cells_of_the_notebook())), tmp_path)


@pytest.mark.slow
def test_the_notebook_runs_in_a_kernel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    if missing := [name for name in KERNEL if importlib.util.find_spec(name) is None]:
        assert "CI" not in os.environ, f"the extra dev is to be installed here: {missing}"
        pytest.skip(f"not installed: {missing}")
    for name, value in (environment() | {"PYTHONPATH": os.environ.get("PYTHONPATH", "") or str(ROOT)}).items():
        monkeypatch.setenv(name, value)
    outputs = in_a_kernel(tmp_path)
    assert not [o for o in outputs if o["output_type"] == "error"]
    data = [o["data"] for o in outputs if "data" in o]
    texts = [d["text/plain"] for d in data if "run always-no-phantom" in d.get("text/plain", "")]
    assert len(texts) == 1 and "closed_accuracy" in texts[0], "a result is shown once, its text with the table"
    assert sum("image/png" in d for d in data) == 2  # a picture of the set, and the plot
    check("".join(d.get("text/html", "") or d.get("text/plain", "") for d in data), tmp_path)
