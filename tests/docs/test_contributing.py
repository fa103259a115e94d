"""The recipes of CONTRIBUTING.md, followed to the letter in a copy of the package."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.paths import ROOT

TEXT = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
BLOCK = re.compile(r"(?P<before>[^\n]*)\n\n```(?P<language>\w+)\n(?P<body>.*?)```", re.DOTALL)
PLACE = re.compile(r"`(?P<path>[^`]+)`(?:, a line before `(?P<line>[^`]+)`)?:$")


def recipes() -> dict[str, str]:
    parts = TEXT.split("\n### ")[1:]
    found = {part.partition("\n")[0]: part.partition("\n## ")[0] for part in parts}
    return {title: part for title, part in found.items() if "```" in part}


def paste(root: Path, before: str, body: str) -> str:
    """Write a block where the line before it says; returns the path."""
    place = PLACE.search(before)
    assert place, f"the line before a block names no file: {before!r}"
    path = root / place["path"]
    if line := place["line"]:
        text = path.read_text(encoding="utf-8")
        assert text.count(f"\n{line}") == 1, f"{path} has not exactly one line that starts with {line!r}"
        body = text.replace(f"\n{line}", f"\n{body}{line}")
    else:
        assert not path.exists(), f"{path} exists already"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(body, encoding="utf-8")
    return place["path"]


def run(command: str, root: Path, last: str) -> str:
    """Run one command of a recipe; returns the last line of its output."""
    words = [last if word == "RUN" else word.replace("=RUN", f"={last}") for word in shlex.split(command)]
    environment = {k: v for k, v in os.environ.items() if not k.startswith("EVALKIT_")}
    result = subprocess.run(
        [sys.executable, *words[1:]],
        cwd=root,
        env=environment | {"PYTHONPATH": str(root), "HF_HUB_OFFLINE": "1"},
        capture_output=True,
        text=True,
        timeout=170,
    )
    assert result.returncode == 0, f"{command}\n{result.stdout}\n{result.stderr}"
    return (result.stdout.strip().splitlines() or [""])[-1]


def test_there_is_a_recipe_for_each_kind_of_addition() -> None:
    kinds = ("a task", "a model", "a protocol", "an importer", "an export", "a judge", "a verb")
    assert list(recipes()) == [f"Add {kind}" for kind in kinds]


@pytest.mark.slow
@pytest.mark.parametrize("title", recipes())
def test_a_recipe_works_as_it_is_written(title: str, tmp_path: Path) -> None:
    for folder in ("evalkit", "conf", "leaderboards"):
        shutil.copytree(ROOT / folder, tmp_path / folder, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    written, last = [], ""
    for block in BLOCK.finditer(recipes()[title]):
        if block["language"] != "console":
            written.append(paste(tmp_path, block["before"], block["body"]))
            continue
        for command in block["body"].splitlines():
            last = run(command, tmp_path, last)
    if sources := [path for path in written if path.endswith(".py")]:
        for tool in (("ruff", "check"), ("ruff", "format", "--check"), ("mypy",)):
            command = [sys.executable, "-m", *tool, *sources]
            result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
            assert result.returncode == 0, result.stdout
