"""`export format=inspect`: a log that inspect's reader accepts, with every number, and that evalkit reads back."""

from __future__ import annotations

import json
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from evalkit.core.types import Prediction
from evalkit.importers import read_answers
from evalkit.reports.export import FinishedRun, name_of, read_run
from evalkit.reports.export.inspect_log import write_inspect_log
from tests.support.made_runs import answered, failed, made_run, made_samples, mixed


@pytest.fixture
def run(tmp_path: Path) -> FinishedRun:
    """40 samples: some failed, one cut inside the answer, one with a thought, one empty, one with odd characters."""
    samples = made_samples(40)
    answers = mixed(samples, 1)
    answers[0] = replace(
        answered(samples[0], "yes"), reasoning="A mass is seen.", raw="<think>A mass is seen.</think>yes"
    )
    answers[1] = Prediction(sample_id="q1", text="left lo", finish_reason="length", n_tokens=3)
    answers[2] = answered(samples[2], "")
    answers[3] = answered(samples[3], 'Œ 存在 \u2028 \x07 "' + "x" * 3000)
    answers[4] = failed(samples[4])
    return read_run(made_run(tmp_path / "made-toy-00000000", samples, answers))


def members(path: Path) -> dict[str, Any]:
    def refuse(word: str) -> Any:
        raise AssertionError(f"{word} is not JSON")

    with zipfile.ZipFile(path) as archive:
        return {n: json.loads(archive.read(n), parse_constant=refuse) for n in archive.namelist()}


def test_the_log_is_read_back_as_the_same_answers(run: FinishedRun, tmp_path: Path) -> None:
    (path,) = write_inspect_log(run, tmp_path / "out")
    assert path.suffix == ".eval"
    file = read_answers(path)
    assert file.format == "inspect" and not file.notes
    for answer, line in zip(file.answers, run.answers, strict=True):
        assert (answer.id, answer.question) == (line.sample_id, line.question)
        assert (answer.text, answer.error, answer.reasoning) == (line.text, line.error, line.reasoning)
        assert (answer.finish_reason, answer.n_tokens) == (line.finish_reason, line.n_tokens)
        assert answer.reference == line.references[0]


def test_every_number_is_a_score_with_interval_counts_and_signature(run: FinishedRun, tmp_path: Path) -> None:
    content = members(*write_inspect_log(run, tmp_path / "out"))
    scores = {s["name"]: s for s in content["header.json"]["results"]["scores"]}
    assert list(scores) == [name_of(n) for n in run.numbers]
    for number in run.numbers:
        found = scores[name_of(number)]
        values = {k: m["value"] for k, m in found["metrics"].items()}
        assert (values.get("mean"), values.get("low"), values.get("high")) == (number.value, number.low, number.high)
        assert (found["scored_samples"], found["unscored_samples"]) == (number.n - number.n_unscored, number.n_unscored)
        assert found["metadata"]["signature"] == str(number.signature)
    results = content["header.json"]["results"]
    assert (results["total_samples"], results["completed_samples"]) == (40, 40 - run.summary.n_failed)


def test_an_unscored_row_has_no_score_and_its_reason(run: FinishedRun, tmp_path: Path) -> None:
    content = members(*write_inspect_log(run, tmp_path / "out"))
    stored = {(s.sample_id, f"{s.protocol}/{s.metric}"): s for s in run.scores()}
    assert any(s.value is None for s in stored.values())
    for (sample, name), score in stored.items():
        written = content[f"samples/{sample}_epoch_1.json"]
        if score.value is None:
            assert name not in written["scores"] and written["metadata"]["unscored"][name] == score.reason
        else:
            assert written["scores"][name]["value"] == score.value


def test_a_number_without_a_value_has_no_metrics_and_says_why(tmp_path: Path) -> None:
    samples = made_samples(6)
    run = read_run(made_run(tmp_path / "dead-toy-00000000", samples, [failed(s) for s in samples]))
    content = members(*write_inspect_log(run, tmp_path / "out"))
    scores = content["header.json"]["results"]["scores"]
    assert scores and all(not s["metrics"] and "unscored" in s["metadata"]["problem"] for s in scores)
    assert all(s["error"] == "CUDA out of memory" for s in content["summaries.json"])


def test_the_viewer_s_table_has_a_short_entry_for_each_sample(run: FinishedRun, tmp_path: Path) -> None:
    content = members(*write_inspect_log(run, tmp_path / "out"))
    assert [s["id"] for s in content["summaries.json"]] == [a.sample_id for a in run.answers]
    texts = [s["input"] for s in content["summaries.json"]]
    texts += [score["answer"] for s in content["summaries.json"] for score in s["scores"].values()]
    assert max(map(len, texts)) == 1000


def test_an_export_that_fails_leaves_the_former_log(
    run: FinishedRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (path,) = write_inspect_log(run, tmp_path / "out")
    before = path.read_bytes()
    monkeypatch.setattr("evalkit.reports.export.inspect_log._header", lambda run: {"value": float("nan")})
    with pytest.raises(ValueError, match="JSON"):
        write_inspect_log(run, tmp_path / "out")
    assert path.read_bytes() == before and [p.name for p in path.parent.iterdir()] == [path.name]


def test_inspect_s_own_reader_opens_the_log(run: FinishedRun, tmp_path: Path) -> None:
    log = pytest.importorskip("inspect_ai.log")
    (path,) = write_inspect_log(run, tmp_path / "out")
    read = log.read_eval_log(str(path))
    assert read.status == "success" and len(read.samples) == 40
    assert len(log.read_eval_log_sample_summaries(str(path))) == 40
    assert log.read_eval_log(str(path), header_only=True).results.total_samples == 40
