"""The gate's verdicts, refusals of runs that may not be compared, and what it writes."""

from __future__ import annotations

import math
import random
import re
from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from scipy.stats import norm

from evalkit.analysis.gate.report import junit, markdown, record, refusal
from evalkit.analysis.gate.verdicts import (
    BOUND,
    FAIL,
    IMPROVED,
    INCONCLUSIVE,
    LOWER_IS_BETTER,
    PASS,
    Comparison,
    needed_margin,
    overall,
    smallest_margin,
)
from evalkit.analysis.paired import pair
from evalkit.analysis.run_scores import Scored, baseline_content, read_scored
from evalkit.core.errors import ConfigError, DataError
from tests.support.gate_runs import BASE, METRIC, both, flip, held, one, run
from tests.support.paths import PACKAGE

RECALL = "strict open_recall"


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
    assert held((a, b), margins={METRIC: 0.05})[0].verdicts[0].verdict == PASS
    with pytest.raises(ConfigError, match="'strict close_accuracy'"):
        held((a, b), margins={"strict close_accuracy": 0.05})
    with pytest.raises(ConfigError, match=r"'strict close_accuracy'.*strict closed_accuracy"):
        held((a, b), metrics=[METRIC, "strict close_accuracy"])


@pytest.mark.parametrize("margin", [0.0, -0.1, 1.0, 2.0, float("nan"), True, "much", None])
def test_a_margin_that_is_no_fraction_is_refused(margin: Any) -> None:
    with pytest.raises(ConfigError, match="margin"):
        held((run(BASE), run(BASE)), margin=margin)


def test_several_tasks_and_metrics_share_one_holm_adjustment() -> None:
    worse = flip(BASE[:600], 20, 6)  # 2.3 points worse: p near 0.003 alone
    alone = held((run(BASE[:600]), run(worse, "b")), margin=0.02)
    assert alone[0].verdicts[0].verdict == FAIL
    same = [(run(BASE[:900], task=f"other{k}"), run(BASE[:900], "b", task=f"other{k}")) for k in range(40)]
    many = held((run(BASE[:600]), run(worse, "b")), *same, margin=0.02)
    (first,) = many[0].verdicts
    assert first.p_worse == pytest.approx(41 * alone[0].verdicts[0].p_worse)
    assert first.verdict == INCONCLUSIVE
    assert [c.verdicts[0].verdict for c in many[1:]] == [PASS] * 40
    assert overall(many) == INCONCLUSIVE


def test_two_metrics_of_one_run_are_held_with_a_margin_each() -> None:
    a = both(run(BASE), run(BASE, metric=RECALL))
    b = both(run(flip(BASE, 90, 30), "b"), run(flip(BASE, 90, 30), "b", metric=RECALL))
    (comparison,) = held((a, b), margins={RECALL: 0.05})
    assert {v.metric: v.verdict for v in comparison.verdicts} == {METRIC: INCONCLUSIVE, RECALL: PASS}


def test_a_metric_that_only_the_candidate_has_is_refused() -> None:
    with pytest.raises(DataError, match="strict open_recall: not scored in a"):
        held((run(BASE), both(run(BASE, "b"), run(BASE, "b", metric=RECALL))), metrics=[METRIC, RECALL])


@pytest.mark.parametrize("key", ["task", "split", "data_sha256", "closed_rule", "prompt", "image"])
def test_different_conditions_are_refused_with_the_difference(key: str) -> None:
    with pytest.raises(DataError, match=f"{key}: .* against other"):
        held((run(BASE), run(BASE, "b", **{key: "other"})))


def test_other_prompts_under_the_same_name_are_refused() -> None:
    with pytest.raises(DataError, match=r"messages_sha256: x against y .*prompts=true"):
        held((run(BASE, messages_sha256="x"), run(BASE, "b", messages_sha256="y")))
    held((run(BASE, messages_sha256="x"), run(BASE, "b")))


def test_another_protocol_version_is_refused_and_another_decoding_is_not() -> None:
    other = run(BASE, "b")
    newer = replace(other, signatures={METRIC: other.signatures[METRIC].replace("strict.1", "strict.2")})
    with pytest.raises(DataError, match=r"protocol: strict\.1 against strict\.2"):
        held((run(BASE), newer))
    held((run(BASE), other))  # gen:a against gen:b


def test_other_samples_are_refused() -> None:
    with pytest.raises(DataError, match="1 only in the first"):
        held((run(BASE), run(BASE[:-1], "b", n=len(BASE))))


@pytest.mark.parametrize("side", [0, 1])
@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"limit": 10}, "first 10 samples only"),
        ({"status": "running"}, "did not come to its end"),
        ({"status": "unknown: it has no manifest.json"}, "did not come to its end"),
    ],
)
def test_a_run_that_is_not_whole_is_refused_on_either_side(side: int, change: dict[str, Any], words: str) -> None:
    runs = [run(BASE), run(BASE, "b")]
    runs[side] = replace(runs[side], header={**runs[side].header, **change})
    with pytest.raises(DataError, match=words):
        held((runs[0], runs[1]))


@pytest.mark.parametrize("side", [0, 1])
def test_a_run_with_failed_answers_is_refused_on_either_side(side: int) -> None:
    runs = [run(BASE), run(BASE, "b")]
    runs[side] = replace(runs[side], answers=(None, *runs[side].answers[1:]))
    with pytest.raises(DataError, match="no answer to 1 of 3000 samples, first 0"):
        held((runs[0], runs[1]))


def test_metrics_of_which_less_is_better_are_refused_and_all_of_them_are_known() -> None:
    text = "\n".join(p.read_text(encoding="utf-8") for p in (PACKAGE / "scoring").rglob("*.py"))
    named = re.findall(r'Metric\(name="(\w+)"[^)]*higher_is_better=False', text)
    assert set(named) == LOWER_IS_BETTER
    assert len(named) == text.count("higher_is_better=False")
    with pytest.raises(ConfigError, match="less is better"):
        held((run(BASE), run(BASE, "b")), metrics=["coloninst unparsable_rate"])


def test_the_order_of_the_candidate_does_not_matter() -> None:
    straight = run(flip(BASE, 40, 20), "b")
    mixed = list(range(len(BASE)))
    random.Random(9).shuffle(mixed)
    columns = ("ids", "image_ids", "questions", "texts", "answers")
    shuffled = replace(
        straight,
        **{f: tuple(getattr(straight, f)[k] for k in mixed) for f in columns},
        scores={METRIC: tuple(straight.scores[METRIC][k] for k in mixed)},
    )  # fmt: skip
    assert pair(run(BASE), straight, METRIC, 0.9) == pair(run(BASE), shuffled, METRIC, 0.9)
    assert held((run(BASE), straight))[0].moved == held((run(BASE), shuffled))[0].moved


def test_the_smallest_margins_are_those_of_the_power_formula() -> None:
    for n in (451, 1061, 6719):
        for discordance in (0.05, 0.10, 0.20):
            expected = (norm.ppf(1 - BOUND) + norm.ppf(0.8)) * math.sqrt(discordance / n)
            assert smallest_margin(n, discordance) == pytest.approx(expected, rel=0.02)
    independent = pair(run(BASE), replace(run(flip(BASE, 60, 60), "b")), METRIC, 0.9)
    assert needed_margin(independent) == pytest.approx(smallest_margin(3000, 0.04), rel=0.1)


def verdicts(*kinds: str) -> list[Comparison]:
    (made,) = held((run(BASE), run(BASE, "b")))
    return [replace(made, verdicts=tuple(replace(made.verdicts[0], verdict=k) for k in kinds))]


def test_one_failure_fails_the_whole_gate_and_all_must_improve() -> None:
    assert overall(verdicts(PASS, FAIL, INCONCLUSIVE)) == FAIL
    assert overall(verdicts(PASS, INCONCLUSIVE)) == INCONCLUSIVE
    assert overall(verdicts(PASS, IMPROVED)) == PASS
    assert overall(verdicts(IMPROVED, IMPROVED)) == IMPROVED
    assert overall([*verdicts(IMPROVED), *verdicts(FAIL)]) == FAIL


def test_exact_sees_one_moved_answer_and_one_moved_score() -> None:
    base, same = run(BASE), run(BASE, "b")
    assert overall(held((base, same)), exact=True) == PASS
    moved = replace(same, answers=("f" * 16, *same.answers[1:]))
    assert overall(held((base, moved)), exact=True) == FAIL
    assert overall(held((base, moved))) == PASS
    rescored = replace(same, scores={METRIC: tuple(flip(BASE, 1, 0))})
    assert overall(held((base, rescored)), exact=True) == FAIL


def test_the_reports_say_the_same() -> None:
    content = record(held((run(BASE), run(flip(BASE, 300, 0), "b"))))
    (comparison,) = content["comparisons"]
    assert (content["verdict"], len(comparison["flipped"]), comparison["n_moved"]) == (FAIL, 300, 300)
    assert {f["image_id"] for f in comparison["flipped"]} <= set(run(BASE).image_ids)
    text = markdown(content)
    assert "evalkit gate: fail" in text and "250 more in gate.json" in text
    suite = ElementTree.fromstring(junit(content))
    assert (suite.get("failures"), suite.get("tests")) == ("1", "1")
    assert suite.find("testcase/failure") is not None
    open_ = ElementTree.fromstring(junit(record(held((run(BASE), run(flip(BASE, 90, 30), "b"))))))
    assert (open_.get("failures"), open_.get("skipped")) == ("0", "1")
    exact = record(held((run(BASE), run(flip(BASE, 1, 0), "b"))), exact=True)
    assert (exact["verdict"], ElementTree.fromstring(junit(exact)).get("failures")) == (FAIL, "1")
    assert "1 changed answers" in markdown(exact)


def test_a_refusal_is_an_error_in_junit_and_no_verdict() -> None:
    content = refusal("n: 3 against 4 \x00 <b>")
    suite = ElementTree.fromstring(junit(content))
    assert (suite.get("errors"), content["verdict"]) == ("1", "refused")
    assert "evalkit gate: refused" in markdown(content)
    assert "<b>" not in markdown(content)


def test_untrusted_answers_cannot_break_the_summary_or_the_xml() -> None:
    candidate = run(flip(BASE, 1, 0), "b", model="m|<b>\x01")
    nasty = replace(candidate, texts=tuple("a | b\n<script>x</script>`\x01" for _ in candidate.texts))
    content = record(held((run(BASE), nasty)))
    text = markdown(content)
    assert "<script>" not in text and "<b>" not in text
    assert all(line.count("|") == 6 for line in text.split("changed scores")[1].splitlines() if line.startswith("|"))
    ElementTree.fromstring(junit(content))


def test_a_saved_baseline_reads_back_and_gates_the_same(tmp_path: Path) -> None:
    path = tmp_path / "base.json"
    path.write_text(baseline_content(run(BASE), [METRIC], with_texts=False), encoding="utf-8")
    assert path.stat().st_size < 160_000
    candidate = run(flip(BASE, 300, 0), "b")
    stored: Scored = read_scored(path)
    (direct,), (kept,) = held((run(BASE), candidate)), held((stored, candidate))
    assert kept.verdicts == direct.verdicts
    assert kept.moved == direct.moved
