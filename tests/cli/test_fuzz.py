"""Every verb over files of runs that were damaged or edited: a stated exit code, never "a bug in evalkit"."""

from __future__ import annotations

import contextlib
import io
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from evalkit.__main__ import main
from tests.support.fuzzing import EDITS, GRAFTS, LONGEST_ERROR, edited, grafted_file
from tests.support.paths import ROOT

SAVED = ROOT / "tests" / "saved_runs"
EXPECTED = json.loads((SAVED / "expected.json").read_text(encoding="utf-8"))
COMMANDS: dict[str, list[str]] = {
    name: entry["command"] for name, entry in EXPECTED.items() if isinstance(entry, dict) and "command" in entry
}
COMMANDS |= {f"export {form}": entry["command"] for form, entry in EXPECTED["export"].items()}
COMMANDS |= {"board": ["board", "leaderboard=leaderboards"]}
# The folders whose files a command reads, where it is not all of them.
READS = {"merge": "parts", "board": "leaderboards", "gate_leaderboard": "leaderboards", "gate_saved": "gate"}
DONE = (0, 1, 2, 3, 4)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A place for copies of the saved runs, which is the working directory."""
    path = tmp_path_factory.mktemp("verbs")
    with contextlib.chdir(path):
        yield path


def files_of(name: str) -> list[str]:
    folder = SAVED / READS.get(name, "")
    found = (p for p in folder.rglob("*.json*") if p.name not in ("expected.json", "lens.json"))
    return sorted(str(p.relative_to(SAVED)) for p in found if "data" not in p.parts and "manifests" not in p.parts)


def outcome(name: str, path: str, content: bytes) -> tuple[int, str]:
    """The exit code and the messages of a command where this file of the saved runs has this content."""
    for old in Path().iterdir():
        shutil.rmtree(old) if old.is_dir() else old.unlink()
    shutil.copytree(SAVED, Path(), dirs_exist_ok=True)
    Path(path).write_bytes(content)
    errors = io.StringIO()
    with contextlib.redirect_stderr(errors), contextlib.redirect_stdout(io.StringIO()):
        return main(COMMANDS[name]), errors.getvalue()


def check(name: str, path: str, content: bytes) -> None:
    code, errors = outcome(name, path, content)
    assert code in DONE and "bug in evalkit" not in errors, (path, errors)
    said = [line for line in errors.splitlines() if line.startswith("evalkit: ")]
    assert all(len(line) < LONGEST_ERROR for line in said)
    assert code != 2 or said, errors


def changed(path: str, edits: Any, grafts: Any) -> bytes:
    content = (SAVED / path).read_bytes()
    return edited(content, edits) if grafts is None else grafted_file(content, grafts, lines=path.endswith("l"))


def fuzz(name: str, path: str, edits: Any, grafts: Any) -> None:
    check(name, path, changed(path, edits, grafts))


CHANGES = {"edits": EDITS, "grafts": st.none() | GRAFTS}


@pytest.mark.parametrize("name", COMMANDS)
@settings(max_examples=1, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data(), **CHANGES)
@pytest.mark.few(3)
def test_a_verb_over_a_damaged_file(name: str, folder: Path, data: st.DataObject, edits: Any, grafts: Any) -> None:
    fuzz(name, data.draw(st.sampled_from(files_of(name))), edits, grafts)


@pytest.mark.slow
@pytest.mark.parametrize("name", COMMANDS)
@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data(), **CHANGES)
def test_a_verb_over_many_damaged_files(name: str, folder: Path, data: st.DataObject, edits: Any, grafts: Any) -> None:
    fuzz(name, data.draw(st.sampled_from(files_of(name))), edits, grafts)
