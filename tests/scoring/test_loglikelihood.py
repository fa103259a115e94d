"""Options by log-probability: ties, failures and one option first, then the three normalisations and the positions."""

from __future__ import annotations

from dataclasses import replace

import pytest

from evalkit.cli.config import load_option
from evalkit.cli.factories import build_protocols
from evalkit.core.types import CHOICE, CLOSED, OPEN, MetricKey, OptionScore, Prediction, Sample
from evalkit.scoring.aggregate import RunProvenance, score_all
from evalkit.scoring.base import ScoringProtocol
from evalkit.scoring.positions import DEPENDENCE, UNREAD, dependence, with_dependence
from evalkit.scoring.score_table import ScoreTable
from evalkit.tasks.base import LoadedTask
from evalkit.tasks.choice_orders import in_orders

NAMES = ("loglikelihood-sum", "loglikelihood-token", "loglikelihood-byte")
SAMPLE = Sample(
    id="q", image_id="i", question="Which?", references=("left lung",), choices=("CT", "left lung", "heart"),
    tags={"answer_type": CHOICE},
)  # fmt: skip


def protocols(*names: str) -> list[ScoringProtocol]:
    return build_protocols({name: load_option("protocol", name) for name in names})


def answer(*options: tuple[str, float, int], sample: Sample = SAMPLE) -> Prediction:
    made = tuple(OptionScore(text=t, logprob=p, n_tokens=n) for t, p, n in options)
    return Prediction(sample_id=sample.id, text=made[0].text, options=made)


def result(prediction: Prediction, sample: Sample = SAMPLE) -> dict[str, tuple[float | None, str, str]]:
    found = score_all([sample], [prediction], protocols(*NAMES))
    return {s.protocol.removeprefix("loglikelihood-"): (s.value, s.extracted, s.reason) for s in found}


@pytest.mark.parametrize("gap", [0.0, 9e-6])
def test_a_tie_is_unscored_and_names_its_options(gap: float) -> None:
    found = result(answer(("A", -1.0, 1), ("B", -1.0 - gap, 1), ("C", -2.0, 1)))
    assert set(found.values()) == {(None, "A,B", "tie at the highest score")}


def test_scores_that_differ_by_more_are_no_tie_and_a_tie_below_the_top_does_not_matter() -> None:
    assert set(result(answer(("A", -1.0, 1), ("B", -0.9999, 1), ("C", -1.0, 1))).values()) == {(1.0, "B", "")}


def test_a_failure_and_an_answer_without_log_probabilities_are_unscored() -> None:
    failed = result(Prediction(sample_id="q", error="out of memory"))
    assert all(value is None and "out of memory" in reason for value, _, reason in failed.values())
    text = result(Prediction(sample_id="q", text="B"))
    assert all(value is None and "no log-probabilities" in reason for value, _, reason in text.values())


def test_the_three_normalisations_choose_by_sum_by_token_and_by_byte() -> None:
    # Sums -2, -3 and -2.5; means of a token -2, -1.5 and -1.25; of a byte -1, -0.33 and -0.5.
    found = result(answer(("CT", -2.0, 1), ("left lung", -3.0, 2), ("heart", -2.5, 2)))
    assert found == {"sum": (0.0, "A", ""), "token": (0.0, "C", ""), "byte": (1.0, "B", "")}


def test_bytes_are_those_of_utf8() -> None:
    sample = replace(SAMPLE, choices=("肺", "lung"), references=("肺",))
    found = result(answer(("肺", -3.0, 1), ("lung", -4.4, 1), sample=sample), sample)
    assert found["byte"] == (1.0, "A", "")  # -1.0 a byte against -1.1; by characters it would be -3.0


def test_a_yes_no_row_is_scored_by_its_options_and_an_open_row_is_not() -> None:
    row = Sample(id="q", image_id="i", question="?", references=("No.",), tags={"answer_type": CLOSED})
    found = score_all([row], [answer(("Yes", -2.0, 1), ("No", -1.0, 1))], protocols(*NAMES))
    assert [(s.metric, s.value, s.extracted) for s in found] == [("closed_accuracy", 1.0, "No")] * 3
    assert score_all([replace(row, tags={"answer_type": OPEN})], [answer(("Yes", -2.0, 1))], protocols(*NAMES)) == []


@pytest.mark.parametrize("name", NAMES)
def test_each_normalisation_is_a_protocol_with_a_card_and_its_name_in_the_signature(name: str) -> None:
    (made,) = protocols(name)
    assert made.version == 1 and made.settings()["norm"] == name.rpartition("-")[2]
    assert load_option("protocol", name)["card"]["closed_rule"]


# --- positions


def ordered(texts: list[str], *, sample: Sample = SAMPLE, n: int = 3) -> list[tuple[Sample, Prediction]]:
    """The orders of a question, each answered by the letter of a text; an empty text is no answer."""
    pairs = []
    for row, text in zip(in_orders(sample, n, 0), texts, strict=True):
        letter = "ABC"[row.choices.index(text)] if text else "none of them"
        pairs.append((row, Prediction(sample_id=row.id, text=letter)))
    return pairs


@pytest.mark.parametrize(
    ("texts", "value", "reason"),
    [
        (["CT", "CT", "CT"], 0.0, ""),  # another letter in each order, the same option
        (["CT", "CT", "heart"], 1.0, ""),
        (["CT", "", "CT"], None, UNREAD),
        (["CT", "", "heart"], None, UNREAD),
        (["", "", ""], None, UNREAD),
    ],
)
def test_an_answer_hangs_on_the_position_where_the_option_changes(
    texts: list[str], value: float | None, reason: str
) -> None:
    samples, predictions = (list(x) for x in zip(*ordered(texts), strict=True))
    chosen = protocols("choice-strict")
    table = ScoreTable.of(score_all(samples, predictions, chosen), samples)
    (score,) = dependence(samples, table, chosen)
    assert (score.sample_id, score.metric, score.value, score.reason) == ("q", DEPENDENCE.name, value, reason)


def test_one_letter_in_every_order_is_another_option_in_each() -> None:
    samples = list(in_orders(SAMPLE, 3, 0))
    predictions = [Prediction(sample_id=s.id, text="A") for s in samples]
    assert len({s.choices[0] for s in samples}) > 1
    chosen = protocols("choice-strict")
    table = ScoreTable.of(score_all(samples, predictions, chosen), samples)
    assert next(dependence(samples, table, chosen)).value == 1.0


def test_the_share_has_an_interval_by_cluster_and_stands_after_its_protocol() -> None:
    pairs = []
    for k in range(12):
        sample = replace(SAMPLE, id=f"q{k}", image_id=f"i{k // 2}")
        pairs += ordered(["CT", "CT", "heart" if k < 3 else "CT"], sample=sample)
    samples, predictions = (list(x) for x in zip(*pairs, strict=True))
    chosen = protocols("choice-strict", "choice-mmmu")
    table = ScoreTable.of(score_all(samples, predictions, chosen), samples)
    assert len(list(dependence(samples, table, chosen))) == 24
    loaded = LoadedTask(
        name="quiz[orders=3]", split="test", form="quiz", samples=tuple(samples), closed_rule="label", prompt="letters"
    )
    values = with_dependence([], samples, table, chosen, RunProvenance(model="m", task=loaded))
    assert [(v.protocol, v.metric, v.slice) for v in values] == [(p.name, DEPENDENCE.name, "all") for p in chosen]
    share = values[0]
    assert (share.value, share.n, share.n_clusters, share.higher_is_better) == (0.25, 12, 6, False)
    assert share.low is not None and share.high is not None and 0.0 <= share.low < 0.25 < share.high
    assert str(share.signature).startswith("position_dependence|task:quiz[orders=3].test|n:12|")
    assert MetricKey("choice-mmmu", DEPENDENCE.name) in table.metrics


def test_questions_in_one_order_have_no_such_share() -> None:
    scores = score_all([SAMPLE], [Prediction(sample_id="q", text="A")], protocols("choice-strict"))
    table = ScoreTable.of(scores, [SAMPLE])
    assert list(dependence([SAMPLE], table, protocols("choice-strict"))) == []
