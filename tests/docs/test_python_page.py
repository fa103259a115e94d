"""docs/python.md: its examples run, and it names what the interface has."""

from __future__ import annotations

import doctest
from pathlib import Path

import pytest

import evalkit
from tests.support.paths import ROOT

PAGE = ROOT / "docs" / "python.md"


@pytest.mark.slow
def test_the_examples_of_the_page_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    failed, tried = doctest.testfile(str(PAGE), module_relative=False, encoding="utf-8")
    assert failed == 0 and tried >= 12


def test_the_page_names_every_function() -> None:
    text = PAGE.read_text(encoding="utf-8")
    for name in ("evaluate", "score", "load_task", "read_run", "read_runs", "errors"):
        assert name in evalkit.__all__ and f"evalkit.{name}" in text
