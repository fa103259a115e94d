"""A kill, a full disk and an error at any moment never leave new answers beside old scores that read as finished."""

from __future__ import annotations

import json
import os
import resource
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from evalkit.__main__ import main
from evalkit.analysis.run_scores import read_run_scores
from evalkit.core.errors import EvalkitError, StoreError
from evalkit.core.types import digest_json
from evalkit.engines.scripted import ScriptedEngine
from evalkit.pipeline.evaluate import evaluate
from evalkit.pipeline.settings import Settings
from evalkit.reports.export import read_run
from evalkit.reports.run_page import page_data
from evalkit.runs.read import manifest_at
from evalkit.runs.verify import open_run
from tests.pipeline.test_evaluate import LOADED, Toy, protocols
from tests.support.interruptions import How, interrupted, moments_of
from tests.support.paths import ROOT

GOOD = {s.id: s.references[0] for s in LOADED.samples}
FAILING = tuple(GOOD)[:6]


class Fixed(ScriptedEngine):
    """A model of one identity whose answers differ from time to time."""

    def __init__(self, wrong: int = 0, fail: tuple[str, ...] = ()) -> None:
        super().__init__(answers=GOOD | dict.fromkeys(list(GOOD)[:wrong], "nothing"), fail=fail)
        self.identity = digest_json("one model")


def start(out: Path, engine: ScriptedEngine, *names: str, **settings: Any) -> Path:
    chosen = protocols(*(names or ("llava-med", "strict")))
    toy: Any = Toy()
    done = evaluate(toy, LOADED, {}, engine, chosen, Settings(model="m", out=out, **settings), {})
    assert done is not None
    return done.folder


# What comes first, and what is interrupted: other answers, or the same answers under other protocols.
SCENARIOS: dict[str, tuple[Callable[[Path], Path], Callable[[Path], Path]]] = {
    "a first run": (lambda out: out, lambda out: start(out, Fixed())),
    "failed samples are asked again": (
        lambda out: start(out, Fixed(fail=FAILING)),
        lambda out: start(out, Fixed(wrong=20)),
    ),
    "a run starts over": (lambda out: start(out, Fixed()), lambda out: start(out, Fixed(wrong=15), resume=False)),
    "nothing is asked": (lambda out: start(out, Fixed()), lambda out: start(out, Fixed())),
    "other protocols": (
        lambda out: start(out, Fixed(wrong=5), "strict"),
        lambda out: start(out, Fixed(wrong=5), "strict", "exact-match", "llava-med", "cares"),
    ),
    "fewer protocols": (
        lambda out: start(out, Fixed(wrong=5), "strict", "exact-match", "llava-med", "cares"),
        lambda out: start(out, Fixed(wrong=5), "strict"),
    ),
}


def run_in(out: Path) -> Path | None:
    return next((p for p in sorted(out.iterdir()) if p.is_dir()), None) if out.is_dir() else None


def view(folder: Path | None) -> Any:
    """Everything that a reader takes from a run; the message where it is refused."""
    if folder is None:
        return "nothing there"
    try:
        scores = read_run_scores(folder)
    except EvalkitError as problem:
        return str(problem)
    return scores.columns, scores.answers, open_run(folder).summary.metrics


def refused_by_all(folder: Path) -> bool:
    """Whether export and page refuse a run as the gate does."""
    for reader in (read_run, lambda run: page_data([run], {}, {})):
        try:
            reader(folder)
        except EvalkitError:
            continue
        return False
    return True


def contents(folder: Path) -> dict[str, Any]:
    """The files of a run without what a clock or a repeated start determines."""
    kept = {p.name: p.read_bytes() for p in folder.iterdir() if p.name != "run.lock"}
    manifest, summary = (json.loads(kept.pop(name)) for name in ("manifest.json", "summary.json"))
    for record in (manifest, summary):
        record.pop("timing")
    for key in ("facts", "digest"):  # how many were asked by this start; and with them the checksum
        manifest.pop(key)
    return {**kept, "manifest.json": manifest, "summary.json": summary}


QUICK = {("failed samples are asked again", "kill"), ("other protocols", "kill"), ("a run starts over", "full disk")}
# The default suite takes every eighth moment of some.
CASES = [
    *((name, how, 8) for name, how in sorted(QUICK)),
    *(pytest.param(name, how, 1, marks=pytest.mark.slow) for name in SCENARIOS for how in ("kill", "full disk")),
]


@pytest.mark.parametrize(("name", "how", "step"), CASES)
@pytest.mark.slow
def test_an_interruption_at_any_moment_leaves_a_run_that_is_old_new_or_refused(
    name: str, how: How, step: int, tmp_path: Path
) -> None:
    before, then = SCENARIOS[name]
    old_folder = run_in(before(tmp_path / "old").parent) if name != "a first run" else None
    whole = tmp_path / "whole"
    if old_folder is not None:
        shutil.copytree(tmp_path / "old", whole)
    n = moments_of(lambda: then(whole), whole)
    new_folder = run_in(whole)
    assert new_folder is not None
    old, new = view(old_folder), view(new_folder)
    assert n > 20 and not isinstance(new, str)
    seen: Counter[str] = Counter()
    for at in range(1, n + 1, step):
        out = tmp_path / f"{how}-{at}"
        if old_folder is not None:
            shutil.copytree(tmp_path / "old", out)
        outcome = interrupted(lambda out=out: then(out), out, at, how)  # type: ignore[misc]
        folder = run_in(out)
        found = view(folder)
        # A full disk does not hinder the last removals.
        assert outcome.code in ((-9,) if how == "kill" else (0, 1)), (at, outcome)
        assert outcome.code != 0 or found == new
        kind = "new" if found == new else "old" if found == old else "refused"
        seen[kind] += 1
        if kind == "refused":
            assert isinstance(found, str), (at, found)
            assert folder is None or refused_by_all(folder), at
        elif folder is not None and kind == "old" != "new" and old_folder is not None:
            same = (folder / "predictions.jsonl").read_bytes() == (old_folder / "predictions.jsonl").read_bytes()
            assert same, "old scores beside new answers"
        folder = then(out)
        assert view(folder) == new, "the same command ends as if nothing had happened"
        if name != "a run starts over":  # every start of it keeps the answers that it found
            assert contents(folder) == contents(new_folder), at
        assert not list(folder.glob(".*.tmp")), "temporary files of killed processes are swept"
        shutil.rmtree(out)
    assert seen["refused"] > 0
    print(f"{name}, {how}: {n} moments, {dict(seen)}")


@pytest.mark.parametrize("name", ["failed samples are asked again", "a run starts over", "other protocols"])
def test_an_error_in_scoring_leaves_no_earlier_scores_that_read_as_finished(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before, then = SCENARIOS[name]
    folder = before(tmp_path)
    assert manifest_at(folder / "manifest.json").status == "done"

    def fails(*_: object) -> None:
        raise RuntimeError("a bug in a protocol")

    with monkeypatch.context() as patch:
        patch.setattr("evalkit.pipeline.conclude.score_table", fails)
        with pytest.raises(RuntimeError):
            then(tmp_path)
    assert manifest_at(folder / "manifest.json").status == "running"
    assert "not finished" in str(view(folder)) and refused_by_all(folder)
    assert main(["gate", f"baseline={folder}", f"candidate={folder}", f"out={tmp_path / 'gate'}"]) == 2
    then(tmp_path)
    assert not isinstance(view(folder), str)


def test_a_summary_alone_does_not_vouch_for_answers_that_came_after_it(tmp_path: Path) -> None:
    """Also where the manifest says `done` or is gone."""
    folder = start(tmp_path / "a", Fixed())
    worse = start(tmp_path / "b", Fixed(wrong=15), resume=False)
    shutil.copy(worse / "predictions.jsonl", folder / "predictions.jsonl")
    assert "predictions.jsonl is not the file that the numbers" in str(view(folder))
    (folder / "manifest.json").unlink()
    assert "manifest.json is missing" in str(view(folder))


def test_answers_that_were_edited_after_the_end_are_not_taken_up_again(tmp_path: Path) -> None:
    folder = start(tmp_path, Fixed(wrong=10))
    path = folder / "predictions.jsonl"
    whole = path.read_text(encoding="utf-8")
    path.write_text(whole.replace('"nothing"', '"lung"', 1), encoding="utf-8")
    with pytest.raises(StoreError, match=r"changed after the run ended.*resume=false"):
        start(tmp_path, Fixed(wrong=10))
    # Lines may be removed: their samples are asked again.
    path.write_text("".join(whole.splitlines(keepends=True)[3:]), encoding="utf-8")
    engine = Fixed(wrong=10)
    start(tmp_path, engine)
    assert engine.metadata()["asked"] == 3
    assert not isinstance(view(folder), str)


MADE = ("model=scripted", "model.rule=digest", "task=phantom", "task.n_test=4", "leaderboard=null")


@pytest.fixture
def finished(tmp_path: Path) -> Path:
    """A run from the command line."""
    assert main([*MADE, f"out={tmp_path / 'runs'}", "protocol=[strict,llava-med]"]) == 0
    (folder,) = (tmp_path / "runs").iterdir()
    return folder


@pytest.mark.parametrize(
    ("how", "step"),
    [
        ("kill", 12),
        pytest.param("kill", 1, marks=pytest.mark.slow),
        pytest.param("full disk", 1, marks=pytest.mark.slow),
    ],
)
@pytest.mark.slow
def test_a_scoring_that_is_interrupted_keeps_no_earlier_scoring_of_the_folder(
    finished: Path, how: How, step: int, tmp_path: Path
) -> None:
    def score(out: Path, *chosen: str) -> int:
        task = ("task=phantom", "task.n_test=4", "leaderboard=null", f"out={out}", f"protocol=[{','.join(chosen)}]")
        return main(["score", f"predictions={finished}", *task])

    old, whole = tmp_path / "old", tmp_path / "whole"
    assert score(old, "strict") == 0
    shutil.copytree(old, whole)
    again = ("llava-med", "strict", "exact-match", "cares")
    n = moments_of(lambda: score(whole, *again), whole)
    views = {"old": view(run_in(old)), "new": view(run_in(whole))}
    seen: Counter[str] = Counter()
    for at in range(1, n + 1, step):
        out = tmp_path / str(at)
        shutil.copytree(old, out)
        interrupted(lambda out=out: score(out, *again), out, at, how)  # type: ignore[misc]
        found = view(run_in(out))
        seen[next((k for k, v in views.items() if v == found), "refused")] += 1
        assert found in views.values() or isinstance(found, str)
        assert score(out, *again) == 0
        assert view(run_in(out)) == views["new"]
        shutil.rmtree(out)
    assert seen["refused"] > 0 and n > 10
    print(f"score, {how}: {n} moments, {dict(seen)}")


@pytest.mark.slow
def test_a_merge_that_is_killed_keeps_no_earlier_merge(tmp_path: Path) -> None:
    made = [*MADE, "protocol=strict", f"out={tmp_path / 'parts'}"]

    def part(index: int, *more: str) -> None:
        main([*made, f"engine.shard={index}/2", *more])

    def merge(out: Path) -> int:
        return main(["merge", f"runs={tmp_path / 'parts'}", f"out={out}", "leaderboard=null"])

    for index in (1, 2):
        part(index, "+model.fail=['0/test/0/0','0/test/0/1']")
    assert merge(tmp_path / "old") == 3
    part(1), part(2)
    shutil.copytree(tmp_path / "old", tmp_path / "whole")
    n = moments_of(lambda: merge(tmp_path / "whole"), tmp_path / "whole")
    new, old = view(run_in(tmp_path / "whole")), view(run_in(tmp_path / "old"))
    assert new != old and not isinstance(new, str)
    refused = 0
    for at in range(1, n + 1):
        out = tmp_path / str(at)
        shutil.copytree(tmp_path / "old", out)
        assert interrupted(lambda out=out: merge(out), out, at, "kill").code == -9  # type: ignore[misc]
        found = view(run_in(out))
        assert found in (old, new) or isinstance(found, str)
        refused += isinstance(found, str)
        assert merge(out) == 0
        assert view(run_in(out)) == new
    assert refused
    print(f"merge, kill: {n} moments, {refused} refused")


def test_a_part_whose_answers_were_edited_is_not_merged(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for index in (1, 2):
        assert main([*MADE, f"out={tmp_path}", f"engine.shard={index}/2"]) == 0
    path = sorted(tmp_path.glob("*/predictions.jsonl"))[0]
    lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    lines[0]["text"] = "another answer"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    assert main(["merge", f"runs={tmp_path}", f"out={tmp_path / 'whole'}", "leaderboard=null"]) == 2
    assert "was changed after the part ended" in capsys.readouterr().err


@pytest.mark.slow
def test_scoring_refuses_a_run_whose_answers_were_edited(finished: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = finished / "predictions.jsonl"
    path.write_bytes(path.read_bytes().replace(b'"text": "', b'"text": "x', 1))
    for named in (finished, path):
        command = ["score", f"predictions={named}", "task=phantom", "task.n_test=4", f"out={finished.parent / 'again'}"]
        assert main(command) == 2
        assert "predictions.jsonl is not the file" in capsys.readouterr().err


def limited_to(n_bytes: int) -> Callable[[], None]:
    """A process that can write no file larger than this: the write fails as on a full disk."""
    return lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (n_bytes, n_bytes))


@pytest.mark.slow
@pytest.mark.parametrize(("size", "name"), [(1_000, "manifest.json"), (9_000, "predictions.jsonl")])
def test_a_file_that_cannot_be_written_is_named(size: int, name: str, tmp_path: Path) -> None:
    environment = {k: v for k, v in os.environ.items() if not k.startswith("EVALKIT_")} | {"PYTHONPATH": str(ROOT)}
    result = subprocess.run(
        [sys.executable, "-m", "evalkit", *MADE, "out=runs"],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        preexec_fn=limited_to(size),
    )
    assert result.returncode == 2, result.stderr
    assert name in result.stderr.splitlines()[-1] and "File too large" in result.stderr
    assert "Traceback" not in result.stderr
