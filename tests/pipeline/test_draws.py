"""Several answers of each sample through a whole run: metrics, resume, parts, re-scoring."""

from __future__ import annotations

import itertools
import json
from collections import defaultdict
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

import pytest

from evalkit.core.types import UnscoredCount
from evalkit.judge.draws import run_metrics
from evalkit.pipeline.conclude import _unscored_texts
from tests.support.command_line import folder_of, lines
from tests.support.command_line import in_this_process as evalkit

N = 4
MODEL = ("model=phantom-llava", "task=phantom", "generation.temperature=0.9", f"generation.n={N}")
ASKED = (*MODEL, "task.n_test=2", "leaderboard=null")


def run(cwd: Path, *more: str, asked: tuple[str, ...] = ASKED) -> Path:
    result = evalkit(*asked, *more, cwd=cwd)
    assert result.returncode == 0, result.stderr
    return folder_of(result, cwd)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return run(tmp_path_factory.mktemp("whole"))


def summary(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "summary.json").read_text(encoding="utf-8"))
    return found


def answers_of(folder: Path) -> list[tuple[Any, ...]]:
    keys = ("sample_id", "text", "error", "finish_reason", "n_tokens", "fingerprint")
    return sorted(tuple(line[key] for key in keys) for line in lines(folder / "predictions.jsonl"))


def assert_same(found: Path, whole: Path) -> None:
    """The same answers and the same bytes of scores and metrics."""
    assert answers_of(found) == answers_of(whole)
    assert (found / "scores.jsonl").read_bytes() == (whole / "scores.jsonl").read_bytes()
    one, other = summary(found), summary(whole)
    assert json.dumps(one["metrics"]) == json.dumps(other["metrics"])
    assert one["sanity_checks"]["draws"] == other["sanity_checks"]["draws"]


def value(folder: Path, protocol: str, metric: str, part: str = "all") -> float:
    wanted = (protocol, metric, part)
    found = [m for m in summary(folder)["metrics"] if (m["protocol"], m["metric"], m["slice"]) == wanted]
    assert len(found) == 1
    return float(found[0]["value"])


@pytest.mark.parametrize(
    ("protocol", "metric"), [("strict", "exact_match"), ("llava-med", "closed_accuracy"), ("llava-med", "open_recall")]
)
def test_metrics_are_those_of_an_independent_computation(whole: Path, protocol: str, metric: str) -> None:
    texts = {line["sample_id"]: line["text"].lower() for line in lines(whole / "predictions.jsonl")}
    of: dict[str, list[tuple[float, str]]] = defaultdict(list)
    by_draw: dict[str, list[float]] = defaultdict(list)
    for line in lines(whole / "scores.jsonl"):
        if (line["protocol"], line["metric"]) == (protocol, metric):
            name, _, draw = line["sample_id"].partition("#draw=")
            of[name].append((line["value"], line.get("extracted") or texts[line["sample_id"]]))
            by_draw[draw or "0"].append(line["value"])
    assert of and all(len(found) == N for found in of.values())
    values = [[v for v, _ in found] for found in of.values()]
    for k in (2, N):
        best = fmean(fmean(map(max, itertools.combinations(v, k))) for v in values)
        worst = fmean(fmean(map(min, itertools.combinations(v, k))) for v in values)
        assert value(whole, protocol, f"{metric}.pass@{k}") == pytest.approx(best, abs=1e-12)
        assert value(whole, protocol, f"{metric}.pass^{k}") == pytest.approx(worst, abs=1e-12)
    votes, same, flips = [], [], []
    for found in of.values():
        counts = {a: [b for _, b in found].count(a) for _, a in found}
        most = [a for a in counts if counts[a] == max(counts.values())]
        votes.append(fmean(fmean(v for v, b in found if b == a) for a in most))
        pairs = list(itertools.combinations(found, 2))
        same.append(fmean(x[1] == y[1] for x, y in pairs))
        flips.append(fmean(x[0] != y[0] for x, y in pairs))
    assert value(whole, protocol, f"{metric}.vote@{N}") == pytest.approx(fmean(votes), abs=1e-12)
    assert value(whole, protocol, f"{metric}.agreement") == pytest.approx(fmean(same), abs=1e-12)
    assert value(whole, protocol, f"{metric}.flip_rate") == pytest.approx(fmean(flips), abs=1e-12)
    assert value(whole, protocol, metric) == pytest.approx(fmean(itertools.chain(*values)), abs=1e-12)
    entry = next(
        e for e in summary(whole)["sanity_checks"]["draws"]["metrics"]
        if (e["protocol"], e["metric"]) == (protocol, metric)
    )  # fmt: skip
    draws = [fmean(by_draw[str(k)]) for k in range(N)]
    assert entry["draws"] == pytest.approx(draws, abs=1e-12)
    assert entry["sd"] == pytest.approx(stdev(draws), abs=1e-12)
    for k in range(N):
        assert value(whole, protocol, metric, f"answer_draw={k}") == pytest.approx(draws[k], abs=1e-12)


def test_the_run_states_draws_in_its_signature_and_clusters_by_image(whole: Path) -> None:
    metrics = {(m["protocol"], m["metric"]): m for m in summary(whole)["metrics"] if m["slice"] == "all"}
    passed, mean = metrics["strict", "exact_match.pass@4"], metrics["strict", "exact_match"]
    assert (passed["n"], mean["n"], passed["n_clusters"], mean["n_clusters"]) == (20, 80, 2, 2)
    assert ".n4" in passed["signature"] and "phantom[n=4]" in passed["signature"]


def test_a_judge_has_the_scores_of_every_metric_that_is_averaged_over_draws(whole: Path) -> None:
    found = run_metrics(whole)
    voted = {(m["protocol"], m["metric"]) for m in summary(whole)["metrics"] if m["metric"].endswith(f".vote@{N}")}
    assert {(m.key.protocol, f"{m.key.metric}.vote@{N}") for m in found} == voted and found
    for metric in found:
        lines_of = (x for x in lines(whole / "scores.jsonl") if (x["protocol"], x["metric"]) == tuple(metric.key))
        assert metric.scores == {x["sample_id"]: x["value"] for x in lines_of} and metric.bounded


@pytest.mark.slow
def test_a_run_that_was_cut_off_goes_on_with_the_single_answers_that_are_missing(whole: Path, tmp_path: Path) -> None:
    found = run(tmp_path)
    file = found / "predictions.jsonl"
    content = file.read_bytes().splitlines(keepends=True)
    file.write_bytes(b"".join(content[:33]) + content[33][:20])  # in the middle of a sample, and of a line
    for name in ("summary.json", "scores.jsonl"):
        (found / name).unlink()
    result = evalkit(*ASKED, cwd=tmp_path)
    assert "33 of 80 answers are already in" in result.stderr
    assert_same(found, whole)


@pytest.mark.slow
def test_two_parts_merged_are_the_run(whole: Path, tmp_path: Path) -> None:
    for index in (1, 2):
        run(tmp_path, f"engine.shard={index}/2")
    merged = evalkit("merge", "runs=runs", cwd=tmp_path)  # with the default leaderboard, which reads the task
    assert merged.returncode == 0, merged.stderr
    assert_same(folder_of(merged, tmp_path), whole)


@pytest.mark.slow
def test_a_limit_counts_samples_and_not_answers(tmp_path: Path) -> None:
    found = run(tmp_path, "limit=3")
    assert len(lines(found / "predictions.jsonl")) == 3 * N


@pytest.mark.slow
def test_the_run_is_scored_again_with_its_draws(whole: Path, tmp_path: Path) -> None:
    again = evalkit(
        "score", f"predictions={whole}", "task=phantom", "task.n_test=2", "protocol=strict", cwd=tmp_path
    )  # fmt: skip
    assert again.returncode == 0, again.stderr
    found = folder_of(again, tmp_path)
    for metric in ("exact_match", "exact_match.pass@4", "exact_match.vote@4"):
        assert value(found, "strict", metric) == value(whole, "strict", metric)


@pytest.mark.few(1)
@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (("generation.n=8",), "temperature above 0"),
        (("generation.n=0",), "generation.n=0 is not possible: expected a number of answers of each sample, from 1"),
        (("generation.n=2", "generation.temperature=0.5", "generation.num_beams=2"), "no beams"),
        (("generation.n=2", "generation.temperature=0.5", "scoring=loglikelihood"), "scoring=loglikelihood"),
    ],
)
def test_draws_that_are_not_possible_are_refused(settings: tuple[str, ...], said: str, tmp_path: Path) -> None:
    result = evalkit("model=phantom-llava", "task=phantom", *settings, cwd=tmp_path)
    assert result.returncode == 2
    assert said in result.stderr and "Traceback" not in result.stderr


def test_metrics_over_draws_have_one_warning_about_unscored_samples() -> None:
    def count(metric: str, needed: int, n: int) -> UnscoredCount:
        reason = f"fewer than {needed} of 4 draws are scored"
        return UnscoredCount(protocol="strict", metric=f"exact_match.{metric}", reason=reason, count=n)

    other = UnscoredCount(protocol="strict", metric="exact_match", reason="HTTP 500", count=9)
    found = _unscored_texts(
        [other, count("pass@4", 4, 6), count("vote@4", 1, 2), count("pass@2", 2, 3), count("agreement", 2, 3)]
    )
    assert found == [
        "strict exact_match: 9 unscored: HTTP 500",
        "2 to 6 unscored under 4 metrics (strict exact_match.pass@4 6, strict exact_match.vote@4 2, strict "
        "exact_match.pass@2 3 and 1 more): too few of 4 draws are scored",
    ]
