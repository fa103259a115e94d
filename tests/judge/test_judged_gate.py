"""The gate on judged metrics: from stored judgments alone, which must be complete and of the present answers."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from evalkit.__main__ import main
from evalkit.analysis.run_scores import read_run_scores
from evalkit.core.types import MetricKey
from tests.support.fake_server import FakeServer, verdict
from tests.support.old_runs import as_of_an_earlier_version

METRIC = "judge:server judged_accuracy"


def make_run(place: Path, rule: str) -> Path:
    made = ("model=scripted", f"model.rule={rule}", "task=phantom", "task.n_test=14", "leaderboard=null")
    assert main([*made, f"out={place}"]) == 0
    (folder,) = [p for p in place.iterdir() if p.is_dir()]
    return folder


def judge_with_server(run: Path, model: str = "tiny", every: int = 2) -> None:
    """Judge the run with a server, stopped afterwards, that rates one of `every` answers correct."""
    with FakeServer(lambda n, body: verdict("correct" if n % every == 0 else "wrong")) as server:
        where = (f"judge.base_url={server.url}/v1", f"judge.model={model}", "judge.concurrency=1")
        assert main(["judge", f"run={run}", "judge=server", *where]) == 0


def gate(baseline: Path, candidate: Path, out: Path, *more: str) -> tuple[int, dict]:
    arguments = (f"baseline={baseline}", f"candidate={candidate}", f"metrics=['{METRIC}']", f"out={out}", *more)
    code = main(["gate", *arguments])
    return code, json.loads((out / "gate.json").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def judged(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A judged run, which tests copy before they change it."""
    run = make_run(tmp_path_factory.mktemp("judged") / "first", "digest")
    judge_with_server(run)
    return run


@pytest.fixture(scope="module")
def _other(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_run(tmp_path_factory.mktemp("other") / "second", "question")


@pytest.fixture
def other(_other: Path, tmp_path: Path) -> Path:
    """A copy of another run, not judged."""
    return Path(shutil.copytree(_other, tmp_path / "second" / _other.name))


def test_stored_judgments_are_gated_without_a_judge(judged: Path, other: Path, tmp_path: Path) -> None:
    judge_with_server(other, every=1)
    code, content = gate(judged, other, tmp_path, "margin=0.05")
    (metric,) = content["comparisons"][0]["metrics"]
    summary = json.loads((other / "judged-server.json").read_text(encoding="utf-8"))
    (printed,) = [m for m in summary["metrics"] if m["metric"] == "judged_accuracy" and m["slice"] == "all"]
    assert (code, metric["verdict"], metric["candidate"]) == (0, "improved", printed["value"])
    assert (metric["n"], metric["baseline"]) == (printed["n"], pytest.approx(0.5, abs=0.03))
    back, refused = gate(other, judged, tmp_path, "margin=0.05")
    assert (back, refused["verdict"]) == (1, "fail")


def test_a_baseline_file_keeps_judged_scores(judged: Path, tmp_path: Path) -> None:
    file = tmp_path / "base.json"
    assert main(["gate", f"candidate={judged}", f"save={file}", f"metrics=['{METRIC}']"]) == 0
    assert gate(file, judged, tmp_path)[0] == 0
    key = MetricKey.parse(METRIC)
    assert read_run_scores(file).columns[key] == read_run_scores(judged).columns[key]


def test_a_candidate_without_judgments_is_refused_and_no_judge_is_called(
    judged: Path, other: Path, tmp_path: Path
) -> None:
    code, content = gate(judged, other, tmp_path)
    assert (code, content["verdict"]) == (2, "refused")
    assert f"{METRIC}: not scored in {other}" in content["reason"]
    assert not (other / "judgments.jsonl").exists()


@pytest.mark.slow
def test_another_judge_model_is_refused_with_the_difference(judged: Path, other: Path, tmp_path: Path) -> None:
    judge_with_server(other, model="bigger")
    code, content = gate(judged, other, tmp_path)
    assert code == 2
    assert "judge: server.tiny against server.bigger" in content["reason"]


def test_judgments_of_other_answers_are_refused(judged: Path, tmp_path: Path) -> None:
    moved = tmp_path / "moved"
    shutil.copytree(judged, moved)
    lines = (moved / "predictions.jsonl").read_text(encoding="utf-8").splitlines()
    text = "\n".join([json.dumps({**json.loads(line), "text": "something else"}) for line in lines])
    (moved / "predictions.jsonl").write_text(text + "\n", encoding="utf-8")
    code, content = gate(judged, moved, tmp_path)
    assert code == 2
    assert "predictions.jsonl is not the file that the numbers" in content["reason"]
    as_of_an_earlier_version(moved)  # whose summary lists no digests
    code, content = gate(judged, moved, tmp_path)
    assert code == 2
    assert "judged other answers than those that the run has now" in content["reason"]


@pytest.mark.slow
def test_a_missing_judgment_is_refused(judged: Path, tmp_path: Path) -> None:
    partial = tmp_path / "partial"
    shutil.copytree(judged, partial)
    lines = (partial / "judgments.jsonl").read_text(encoding="utf-8").splitlines(keepends=True)
    (partial / "judgments.jsonl").write_text("".join(lines[:-1]), encoding="utf-8")
    code, content = gate(judged, partial, tmp_path)
    assert code == 2
    assert "judgments.jsonl is not the file" in content["reason"]
    as_of_an_earlier_version(partial)
    for sides in ((judged, partial), (partial, judged)):
        code, content = gate(*sides, tmp_path)
        assert code == 2
        assert "gave no judgment for 1 of" in content["reason"]
    assert main(["gate", f"candidate={partial}", f"save={tmp_path / 'b.json'}", f"metrics=['{METRIC}']"]) == 2
