"""The gate's verdicts, refusals of runs that may not be compared, and what it writes."""

from __future__ import annotations

import math
import random
from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from scipy.stats import norm

from evalkit.analysis.gate.report import junit, markdown, record, refusal, sentence
from evalkit.analysis.gate.verdicts import (
    BOUND,
    FAIL,
    IMPROVED,
    INCONCLUSIVE,
    PASS,
    GateComparison,
    needed_margin,
    overall,
    smallest_margin,
)
from evalkit.analysis.paired import pair
from evalkit.analysis.run_scores import baseline_file, read_run_scores
from evalkit.core.errors import ConfigError, DataError
from evalkit.core.signature import Signature
from evalkit.core.types import MetricKey
from tests.support.gate_runs import BASE, ERROR_RATE, METRIC, both, flip, gate_runs, one, run, with_column

RECALL = MetricKey("strict", "open_recall")


@pytest.mark.parametrize(
    ("worse", "better", "margin", "expected"),
    [
        (0, 0, 0.02, PASS),
        (60, 60, 0.02, PASS),
        (30, 40, 0.02, PASS),  # better in point, not significantly
        (0, 300, 0.02, IMPROVED),
        (300, 0, 0.02, FAIL),
        (160, 60, 0.035, INCONCLUSIVE),  # 3.3 points worse, within the margin in point, not surely
        (90, 30, 0.02, INCONCLUSIVE),  # exactly the margin
    ],
)
def test_the_verdict_of_known_changes(worse: int, better: int, margin: float, expected: str) -> None:
    assert one(run(BASE), run(flip(BASE, worse, better), "b"), margin).verdict == expected


def test_the_very_same_answers_pass_at_any_size_and_margin() -> None:
    for n in (1, 2, 7, 300):
        assert one(run(BASE[:n]), run(BASE[:n], "b"), 0.0001).verdict == PASS


def test_changed_answers_with_the_same_scores_are_no_proof_on_a_small_set() -> None:
    small = run(BASE[:60], "b")
    moved = replace(small, answers=tuple(reversed(small.answers)))
    assert one(run(BASE[:60]), moved).verdict == INCONCLUSIVE
    large = run(BASE, "b")
    assert one(run(BASE), replace(large, answers=tuple(reversed(large.answers)))).verdict == PASS


def test_a_small_set_cannot_pass_a_changed_model() -> None:
    small = BASE[:60]
    assert one(run(small), run(flip(small, 3, 3), "b")).verdict == INCONCLUSIVE


def test_a_few_losses_and_no_gains_on_a_small_set_do_not_pass() -> None:
    small = BASE[:451]
    assert one(run(small), run(flip(small, 5, 0), "b")).verdict == INCONCLUSIVE


def test_changes_on_one_image_tell_nothing() -> None:
    a, b = run(BASE[:30]), run(flip(BASE[:30], 0, 5), "b")
    single = [replace(r, image_ids=("i",) * 30) for r in (a, b)]
    assert one(single[0], single[1]).verdict == INCONCLUSIVE


def test_answers_that_cannot_be_scored_never_help() -> None:
    without: list[float | None] = [None if v == 0.0 else v for v in BASE]
    assert one(run(BASE), run(without, "b")).paired.difference == 0.0
    silent: list[float | None] = [None] * len(BASE)
    assert one(run(BASE), run(silent, "b")).verdict == FAIL


def test_metrics_have_their_own_margins_and_unknown_names_are_refused() -> None:
    a, b = run(BASE), run(flip(BASE, 90, 30), "b")
    assert gate_runs((a, b), margins={str(METRIC): 0.05})[0].verdicts[0].verdict == PASS
    with pytest.raises(ConfigError, match="'strict close_accuracy'"):
        gate_runs((a, b), margins={"strict close_accuracy": 0.05})
    with pytest.raises(ConfigError, match=r"'strict close_accuracy'.*strict closed_accuracy"):
        gate_runs((a, b), metrics=[str(METRIC), "strict close_accuracy"])


@pytest.mark.parametrize("margin", [0.0, -0.1, 1.0, 2.0, float("nan"), True, "much", None])
def test_a_margin_that_is_no_fraction_is_refused(margin: Any) -> None:
    with pytest.raises(ConfigError, match="margin"):
        gate_runs((run(BASE), run(BASE)), margin=margin)


def test_several_tasks_and_metrics_share_one_holm_adjustment() -> None:
    worse = flip(BASE[:600], 20, 6)  # 2.3 points worse: p near 0.003 alone
    alone = gate_runs((run(BASE[:600]), run(worse, "b")), margin=0.02)
    assert alone[0].verdicts[0].verdict == FAIL
    same = [(run(BASE[:900], task=f"other{k}"), run(BASE[:900], "b", task=f"other{k}")) for k in range(40)]
    many = gate_runs((run(BASE[:600]), run(worse, "b")), *same, margin=0.02)
    (first,) = many[0].verdicts
    assert first.p_worse == pytest.approx(41 * alone[0].verdicts[0].p_worse)
    assert first.verdict == INCONCLUSIVE
    assert [c.verdicts[0].verdict for c in many[1:]] == [PASS] * 40
    assert overall(many) == INCONCLUSIVE


def test_two_metrics_of_one_run_have_a_margin_each() -> None:
    a = both(run(BASE), run(BASE, key=RECALL))
    b = both(run(flip(BASE, 90, 30), "b"), run(flip(BASE, 90, 30), "b", key=RECALL))
    (comparison,) = gate_runs((a, b), margins={str(RECALL): 0.05})
    assert {v.key: v.verdict for v in comparison.verdicts} == {METRIC: INCONCLUSIVE, RECALL: PASS}


def test_a_metric_that_only_the_candidate_has_is_refused() -> None:
    with pytest.raises(DataError, match="strict open_recall: not scored in a"):
        gate_runs((run(BASE), both(run(BASE, "b"), run(BASE, "b", key=RECALL))), metrics=[str(METRIC), str(RECALL)])


@pytest.mark.parametrize("key", ["task", "split", "data_sha256", "closed_rule", "prompt", "image"])
def test_different_conditions_are_refused_with_the_difference(key: str) -> None:
    with pytest.raises(DataError, match=f"{key}: .* against other"):
        gate_runs((run(BASE), run(BASE, "b", **{key: "other"})))


def test_other_prompts_under_the_same_name_are_refused() -> None:
    with pytest.raises(DataError, match=r"messages_sha256: x against y .*prompts=true"):
        gate_runs((run(BASE, messages_sha256="x"), run(BASE, "b", messages_sha256="y")))
    gate_runs((run(BASE, messages_sha256="x"), run(BASE, "b")))


def test_another_protocol_version_is_refused_and_another_decoding_is_not() -> None:
    other = run(BASE, "b")
    newer = with_column(
        other, signature=Signature.parse(str(other.columns[METRIC].signature).replace("strict.1", "strict.2"))
    )
    with pytest.raises(DataError, match=r"protocol: strict\.1 against strict\.2"):
        gate_runs((run(BASE), newer))
    gate_runs((run(BASE), other))  # gen:a against gen:b


def test_other_samples_are_refused() -> None:
    with pytest.raises(DataError, match="1 only in the first"):
        gate_runs((run(BASE), run(BASE[:-1], "b", n=len(BASE))))


@pytest.mark.parametrize("side", [0, 1])
@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"limit": 10}, "covers only the first 10 samples"),
        ({"status": "running"}, "is not finished"),
        ({"status": "unknown: it has no manifest.json"}, "is not finished"),
    ],
)
def test_an_incomplete_run_is_refused_on_either_side(side: int, change: dict[str, Any], words: str) -> None:
    runs = [run(BASE), run(BASE, "b")]
    runs[side] = replace(runs[side], header=replace(runs[side].header, **change))
    with pytest.raises(DataError, match=words):
        gate_runs((runs[0], runs[1]))


@pytest.mark.parametrize("side", [0, 1])
def test_a_run_with_failed_answers_is_refused_on_either_side(side: int) -> None:
    runs = [run(BASE), run(BASE, "b")]
    runs[side] = replace(runs[side], answers=(None, *runs[side].answers[1:]))
    with pytest.raises(DataError, match="no answer to 1 of 3000 samples, first 0"):
        gate_runs((runs[0], runs[1]))


@pytest.mark.parametrize(
    ("lost", "won", "expected"), [(0, 300, FAIL), (300, 0, IMPROVED), (60, 60, PASS), (30, 90, INCONCLUSIVE)]
)
def test_a_higher_error_rate_is_worse(lost: int, won: int, expected: str) -> None:
    errors = run(BASE, key=ERROR_RATE, higher_is_better=False)
    candidate = run(flip(BASE, lost, won), "b", key=ERROR_RATE, higher_is_better=False)
    verdict = one(errors, candidate, metrics=[str(ERROR_RATE)])
    assert verdict.verdict == expected
    assert (verdict.paired.n_worse, verdict.paired.n_better) == (won, lost)
    assert verdict.paired.difference == pytest.approx((won - lost) / len(BASE))


def test_an_error_rate_and_the_accuracy_of_the_same_answers_have_the_same_verdict() -> None:
    right = [flip(BASE, lost, won) for lost, won in ((0, 0), (160, 60))]
    wrong = [[1.0 - (v or 0.0) for v in values] for values in right]
    accuracy = one(run(right[0]), run(right[1], "b"), 0.035)
    errors = one(
        *(run(v, o, ERROR_RATE, higher_is_better=False) for v, o in zip(wrong, "ab", strict=True)),
        margin=0.035,
        metrics=[str(ERROR_RATE)],
    )
    assert errors.verdict == accuracy.verdict
    assert (errors.p_worse, errors.p_better) == pytest.approx((accuracy.p_worse, accuracy.p_better))
    assert errors.paired.gain_low == pytest.approx(accuracy.paired.gain_low)
    assert (errors.paired.n_worse, errors.paired.n_better) == (accuracy.paired.n_worse, accuracy.paired.n_better)


def test_failed_generations_do_not_improve_an_error_rate() -> None:
    half = [1.0, 0.0] * 20
    failed: list[float | None] = [None if v == 1.0 else v for v in half]
    all_failed: list[float | None] = [None] * 40
    errors = {"key": ERROR_RATE, "higher_is_better": False}
    assert pair(run(half, **errors), run(failed, "b", **errors), ERROR_RATE, 0.95).second == 0.5
    worse = pair(run(half, **errors), run(all_failed, "b", **errors), ERROR_RATE, 0.95)
    assert (worse.second, worse.n_worse, worse.n_better, worse.second_unscored) == (1.0, 20, 0, 40)


def test_runs_that_disagree_on_the_direction_of_a_metric_are_refused() -> None:
    with pytest.raises(DataError, match="strict closed_accuracy: higher is better against lower is better"):
        gate_runs((run(BASE), run(BASE, "b", higher_is_better=False)))


def test_the_reports_state_the_direction() -> None:
    runs = (run(BASE, key=ERROR_RATE, higher_is_better=False), run(BASE, "b", ERROR_RATE, higher_is_better=False))
    content = record(gate_runs(runs, metrics=[str(ERROR_RATE)]))
    (metric,) = content["comparisons"][0]["metrics"]
    assert metric["higher_is_better"] is False
    assert sentence(metric).endswith("lower is better")
    assert "plugin error_rate (lower is better)" in markdown(content)
    (metric,) = record(gate_runs((run(BASE), run(BASE, "b"))))["comparisons"][0]["metrics"]
    assert metric["higher_is_better"] is True
    assert "is better" not in sentence(metric)


def test_the_order_of_the_candidate_does_not_matter() -> None:
    straight = run(flip(BASE, 40, 20), "b")
    mixed = list(range(len(BASE)))
    random.Random(9).shuffle(mixed)
    fields = ("ids", "image_ids", "questions", "texts", "answers")
    values = straight.columns[METRIC].values
    shuffled = replace(
        with_column(straight, values=values[mixed]),
        **{f: tuple(getattr(straight, f)[k] for k in mixed) for f in fields},
    )
    assert pair(run(BASE), straight, METRIC, 0.9) == pair(run(BASE), shuffled, METRIC, 0.9)
    assert gate_runs((run(BASE), straight))[0].changed_answers == gate_runs((run(BASE), shuffled))[0].changed_answers


def test_the_smallest_margins_are_those_of_the_power_formula() -> None:
    for n in (451, 1061, 6719):
        for discordance in (0.05, 0.10, 0.20):
            expected = (norm.ppf(1 - BOUND) + norm.ppf(0.8)) * math.sqrt(discordance / n)
            assert smallest_margin(n, discordance) == pytest.approx(expected, rel=0.02)
    independent = pair(run(BASE), replace(run(flip(BASE, 60, 60), "b")), METRIC, 0.9)
    assert needed_margin(independent) == pytest.approx(smallest_margin(3000, 0.04), rel=0.1)


def verdicts(*kinds: str) -> list[GateComparison]:
    (made,) = gate_runs((run(BASE), run(BASE, "b")))
    return [replace(made, verdicts=tuple(replace(made.verdicts[0], verdict=k) for k in kinds))]


def test_one_failure_fails_the_whole_gate_and_all_must_improve() -> None:
    assert overall(verdicts(PASS, FAIL, INCONCLUSIVE)) == FAIL
    assert overall(verdicts(PASS, INCONCLUSIVE)) == INCONCLUSIVE
    assert overall(verdicts(PASS, IMPROVED)) == PASS
    assert overall(verdicts(IMPROVED, IMPROVED)) == IMPROVED
    assert overall([*verdicts(IMPROVED), *verdicts(FAIL)]) == FAIL


def test_exact_detects_one_changed_answer_and_one_changed_score() -> None:
    base, same = run(BASE), run(BASE, "b")
    assert overall(gate_runs((base, same)), exact=True) == PASS
    moved = replace(same, answers=("f" * 16, *same.answers[1:]))
    assert overall(gate_runs((base, moved)), exact=True) == FAIL
    assert overall(gate_runs((base, moved))) == PASS
    rescored = with_column(same, values=run(flip(BASE, 1, 0)).columns[METRIC].values)
    assert overall(gate_runs((base, rescored)), exact=True) == FAIL


def test_the_reports_agree() -> None:
    content = record(gate_runs((run(BASE), run(flip(BASE, 300, 0), "b"))))
    (comparison,) = content["comparisons"]
    assert (content["verdict"], len(comparison["flipped"]), comparison["n_moved"]) == (FAIL, 300, 300)
    assert {f["image_id"] for f in comparison["flipped"]} <= set(run(BASE).image_ids)
    text = markdown(content)
    assert "evalkit gate: fail" in text and "250 more in gate.json" in text
    suite = ElementTree.fromstring(junit(content))
    assert (suite.get("failures"), suite.get("tests")) == ("1", "1")
    assert suite.find("testcase/failure") is not None
    open_ = ElementTree.fromstring(junit(record(gate_runs((run(BASE), run(flip(BASE, 90, 30), "b"))))))
    assert (open_.get("failures"), open_.get("skipped")) == ("0", "1")
    exact = record(gate_runs((run(BASE), run(flip(BASE, 1, 0), "b"))), exact=True)
    assert (exact["verdict"], ElementTree.fromstring(junit(exact)).get("failures")) == (FAIL, "1")
    assert "1 sample with changed answers" in markdown(exact)


def test_a_refusal_is_an_error_in_junit_and_no_verdict() -> None:
    content = refusal("n: 3 against 4 \x00 <b>")
    suite = ElementTree.fromstring(junit(content))
    assert (suite.get("errors"), content["verdict"]) == ("1", "refused")
    assert "evalkit gate: refused" in markdown(content)
    assert "<b>" not in markdown(content)


def test_untrusted_answers_cannot_break_the_summary_or_the_xml() -> None:
    candidate = run(flip(BASE, 1, 0), "b", model="m|<b>\x01")
    nasty = replace(candidate, texts=tuple("a | b\n<script>x</script>`\x01" for _ in candidate.texts))
    content = record(gate_runs((run(BASE), nasty)))
    text = markdown(content)
    assert "<script>" not in text and "<b>" not in text
    assert all(line.count("|") == 8 for line in text.split("changed scores")[1].splitlines() if line.startswith("|"))
    ElementTree.fromstring(junit(content))


def test_a_saved_baseline_reads_back_and_gates_the_same(tmp_path: Path) -> None:
    path = tmp_path / "base.json"
    path.write_text(baseline_file(run(BASE), [METRIC], with_texts=False), encoding="utf-8")
    assert path.stat().st_size < 160_000
    candidate = run(flip(BASE, 300, 0), "b")
    stored = read_run_scores(path)
    (direct,), (kept,) = gate_runs((run(BASE), candidate)), gate_runs((stored, candidate))
    assert kept.verdicts == direct.verdicts
    assert kept.changed_answers == direct.changed_answers
