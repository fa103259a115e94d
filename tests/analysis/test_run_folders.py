"""Damaged and foreign folders beside runs stop nothing that was not asked for them by name."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from evalkit.__main__ import main
from tests.support.slow import mostly_slow

MADE = ("model=scripted", "task=phantom", "task.n_test=4", "leaderboard=null", "protocol=strict")


def made(out: Path, *more: str) -> Path:
    before = set(out.iterdir()) if out.is_dir() else set()
    assert main([*MADE, f"out={out}", *more]) == 0
    (folder,) = set(out.iterdir()) - before
    return folder


NEIGHBOURS: dict[str, Callable[[Path], Any]] = {
    "a foreign summary": lambda p: (p / "summary.json").write_text('{"loss": 0.1}', encoding="utf-8"),
    "a summary that is a list": lambda p: (p / "summary.json").write_text("[1]", encoding="utf-8"),
    "a summary that is no JSON": lambda p: (p / "summary.json").write_text('{"schema"', encoding="utf-8"),
    "an empty summary": lambda p: (p / "summary.json").write_bytes(b""),
    "a summary that is not UTF-8": lambda p: (p / "summary.json").write_bytes(b"\xff\xfe{"),
    "a summary of deep JSON": lambda p: (p / "summary.json").write_text("[" * 100_000, encoding="utf-8"),
    "a later summary": lambda p: (p / "summary.json").write_text('{"schema": 99}', encoding="utf-8"),
    "a summary that is a folder": lambda p: (p / "summary.json").mkdir(),
    "a foreign manifest": lambda p: (p / "manifest.json").write_text('{"name": "app"}', encoding="utf-8"),
    "both foreign": lambda p: [(p / n).write_text("{}", encoding="utf-8") for n in ("summary.json", "manifest.json")],
}


QUICK = ("a summary that is no JSON", "both foreign")


@pytest.fixture(params=mostly_slow(NEIGHBOURS, QUICK))
def runs(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A folder with a run and a neighbour that is none."""
    out = tmp_path / "runs"
    neighbour = out / "aaa-neighbour"
    neighbour.mkdir(parents=True)
    NEIGHBOURS[request.param](neighbour)
    return out


@pytest.mark.slow
def test_a_neighbour_that_is_no_run_stops_no_verb(runs: Path, tmp_path: Path) -> None:
    one = made(runs, "model.rule=digest")
    two = made(runs, "model.rule=yes")
    assert main(["compare", f"runs={runs}"]) == 0
    assert main(["compare", f"runs={runs}/*"]) == 0
    assert main(["report", f"run={one}", f"against={two}", "images=false", f"file={tmp_path / 'page.html'}"]) == 0
    assert main(["export", f"run={one}", "format=latex", f"out={tmp_path / 'export'}"]) == 0
    assert main(["paper", "paper=coloninst", f"runs={runs}", f"file={tmp_path / 'paper.md'}"]) == 0
    assert main(["score", f"predictions={one}", *MADE[1:], f"out={runs}"]) == 0
    assert main([*MADE, f"out={runs}", "model.rule=digest"]) == 0


@pytest.mark.few(1)
def test_a_neighbour_that_is_no_part_stops_no_merge(runs: Path, tmp_path: Path) -> None:
    for index in (1, 2):
        assert main([*MADE, f"out={runs}", "model.rule=yes", f"engine.shard={index}/2"]) == 0
    assert main(["merge", f"runs={runs}", f"out={tmp_path / 'whole'}", "leaderboard=null"]) == 0


@pytest.mark.slow
def test_a_foreign_summary_among_the_runs_of_a_gate_is_left_out(tmp_path: Path) -> None:
    for name in ("a foreign summary", "a summary that is a list", "a summary that is no JSON"):
        runs = tmp_path / name / "runs"
        (runs / "neighbour").mkdir(parents=True)
        NEIGHBOURS[name](runs / "neighbour")
        run = made(runs, "model.rule=yes")
        assert main(["gate", f"baseline={run}", f"candidate={runs}", f"out={tmp_path / name / 'out'}"]) == 0


def test_a_damaged_run_among_the_runs_of_a_gate_is_refused(tmp_path: Path) -> None:
    """A run that cannot be read may be the worse one."""
    run = made(tmp_path / "runs", "model.rule=yes")
    broken = tmp_path / "runs" / "broken"
    shutil.copytree(run, broken)
    (broken / "summary.json").write_text('{"schema"', encoding="utf-8")
    assert main(["gate", f"baseline={run}", f"candidate={tmp_path / 'runs'}", f"out={tmp_path / 'out'}"]) == 2


BLANK = ("model=phantom-llava", "engine.device=cpu", "engine.dtype=float32", "task.n_test=1", "protocol=llava-med")


@pytest.fixture(scope="module")
def blank_and_original(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A run on blank images and one on the task's own, in one folder."""
    out = tmp_path_factory.mktemp("blank")
    return made(out, *BLANK, "image=blank"), made(out, *BLANK)


@pytest.mark.parametrize(
    "damage",
    [
        lambda p: (p / "scores.jsonl").write_bytes(b'{"x"'),
        lambda p: (p / "scores.jsonl").unlink(),
        lambda p: (p / "summary.json").write_text("{}", encoding="utf-8"),
        lambda p: (p / "scores.jsonl").write_bytes((p / "scores.jsonl").read_bytes().replace(b"0.0", b"1.0")),
    ],
)
@pytest.mark.slow
def test_a_damaged_run_on_blank_images_stops_no_run_and_lends_it_no_number(
    damage: Callable[[Path], Any], blank_and_original: tuple[Path, Path], tmp_path: Path
) -> None:
    blank, run = (Path(shutil.copytree(p, tmp_path / p.name)) for p in blank_and_original)
    path = run / "summary.json"
    assert "metrics" in json.loads(path.read_text(encoding="utf-8"))["sanity_checks"]["blank"]
    damage(blank)
    assert main([*MADE, *BLANK, f"out={tmp_path}"]) == 0
    assert "unknown" in json.loads(path.read_text(encoding="utf-8"))["sanity_checks"]["blank"]
