"""Several runs that are read at a time give what one after the other gives: order, notes, and the first error."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest

from evalkit.analysis import run_scores
from evalkit.core import console
from evalkit.core.errors import StoreError


def read(path: Path) -> Any:
    """A reader whose first run takes longest."""
    time.sleep(0.05 if path.name == "a" else 0)
    console.note(f"note: read {path}")
    console.warn(f"old {path}")
    if path.name.startswith("bad"):
        raise StoreError(f"{path} is damaged")
    return path.name


@pytest.mark.parametrize("names", ["", "a", "a b", "a b c d e"])
def test_runs_and_notes_are_in_the_order_of_the_paths(
    names: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(run_scores, "read_run_scores", read)
    assert run_scores.read_all([Path(n) for n in names.split()]) == names.split()
    assert capsys.readouterr().err == "".join(f"note: read {n}\nwarning: old {n}\n" for n in names.split())


def test_the_error_is_that_of_the_first_path(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(run_scores, "read_run_scores", read)
    with pytest.raises(StoreError, match="bad-1 is damaged"):
        run_scores.read_all([Path(n) for n in ("a", "bad-1", "bad-2", "b")])
    assert capsys.readouterr().err == "".join(f"note: read {n}\nwarning: old {n}\n" for n in ("a", "bad-1"))


def test_notes_are_kept_for_the_caller_that_captures_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_scores, "read_run_scores", read)
    with console.captured(is_shown=False) as said:
        run_scores.read_all([Path("a"), Path("b")])
    assert (said.notes, said.warnings) == (["read a", "read b"], ["old a", "old b"])
