"""Corpus BLEU against values of sacreBLEU 2.6.0, its interval, and BLEU's names in tables."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evalkit.core.format import shown_metric
from evalkit.core.types import Prediction, Sample
from evalkit.scoring.aggregate import RunProvenance, score_all, tabulate
from evalkit.stats.corpus_bleu import bleu_counts, bleu_of_counts, bleu_tokens, corpus_bleu
from evalkit.tasks.base import LoadedTask
from tests.support.protocols import protocol

ANSWERS = ["There is a mass in the left lung.", "x-ray", "MRI, T1-weighted (axial) 2.5 cm", "No"]
REFERENCES = ["a mass in the left lower lung", "X-ray", "MRI; T2-weighted (axial), 2.5 cm", "yes"]
PAIRS = list(zip(REFERENCES, ANSWERS, strict=True))
# BLEU(lowercase=True).corpus_score, and .sentence_score with effective_order=True.
CORPUS, SENTENCES = 0.4720279624819445, [0.46713797772819994, 1.0, 0.4353152270198898, 0.0]


def test_the_values_are_sacrebleus() -> None:
    found = corpus_bleu([0.0] * 4, PAIRS, "abcd")
    assert found.value == pytest.approx(CORPUS, abs=1e-12)
    sentences = [bleu_of_counts(bleu_counts(a, r), effective_order=True) for r, a in PAIRS]
    assert sentences == pytest.approx(SENTENCES, abs=1e-12)


TEXTS = st.one_of(
    st.text("ab .,-1\n'", max_size=12),
    st.lists(st.sampled_from([*"abc", "2.5", "x-ray", "&lt;", "T1,", "µm", "<skipped>"]), max_size=9).map(" ".join),
)


@given(st.lists(st.tuples(TEXTS, TEXTS), min_size=1, max_size=8))
def test_corpus_sentences_and_tokens_are_sacrebleus(pairs: list[tuple[str, str]]) -> None:
    """sacrebleu is installed with the extra `dev`."""
    metrics = pytest.importorskip("sacrebleu.metrics")
    from sacrebleu.tokenizers.tokenizer_13a import Tokenizer13a

    theirs = metrics.BLEU(lowercase=True).corpus_score([a for _, a in pairs], [[r for r, _ in pairs]]).score
    assert corpus_bleu([0.0] * len(pairs), pairs, range(len(pairs))).value == pytest.approx(theirs / 100, abs=1e-9)
    sentence, tokens = metrics.BLEU(lowercase=True, effective_order=True), Tokenizer13a()
    for reference, answer in pairs:
        found = bleu_of_counts(bleu_counts(answer, reference), effective_order=True)
        assert found == pytest.approx(sentence.sentence_score(answer, [reference]).score / 100, abs=1e-9)
        assert bleu_tokens(answer) == tokens(answer.rstrip().lower()).split()


@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        ("", []),
        ("Yes.", ["yes", "."]),
        ("1,000 cm", ["1,000", "cm"]),
        ("a,b", ["a", ",", "b"]),
        ("10-20", ["10", "-", "20"]),
        ("left-sided", ["left-sided"]),
        ("patient's &lt;5", ["patient's", "<", "5"]),
        ("chest-\nwall", ["chestwall"]),
        ("肺 OK", ["肺", "ok"]),
    ],
)
def test_tokens_are_those_of_mteval_13a(text: str, tokens: list[str]) -> None:
    assert bleu_tokens(text) == tokens


def test_bleu_is_between_0_and_1_for_empty_and_equal_texts() -> None:
    assert corpus_bleu([0.0], [("a", "")], "a").value == 0.0
    assert corpus_bleu([0.0], [("a b c d e", "a b c d e")], "a").value == 1.0
    assert corpus_bleu([0.0], [("a", "a")], "a").value == 0.0, "no 4-gram anywhere"
    assert corpus_bleu([], [], "").value is None


def test_the_interval_resamples_clusters_and_holds_the_value() -> None:
    pairs = PAIRS * 10
    wide = corpus_bleu([0.0] * 40, pairs, [k % 8 for k in range(40)])
    narrow = corpus_bleu([0.0] * 40, pairs, range(40))
    for found in (wide, narrow):
        assert 0 <= found.interval.low < found.value < found.interval.high <= 1
    assert wide.interval.high - wide.interval.low > 1.5 * (narrow.interval.high - narrow.interval.low)
    assert corpus_bleu([0.0] * 4, PAIRS, "aaaa").interval.low is None
    assert corpus_bleu([0.0] * 40, pairs, range(40)) == narrow


@pytest.mark.parametrize(("answer", "value"), [("no", 0.0), ("a b c d e", 1.0), ("x y z v w", 0.0)])
def test_without_any_spread_there_is_no_interval_of_zero_width(answer: str, value: float) -> None:
    found = corpus_bleu([0.0] * 9, [("a b c d e", answer)] * 9, [k // 3 for k in range(9)])
    assert (found.value, found.interval.low, found.interval.high) == (value, None, None)


def test_both_meanings_stand_beside_each_other_and_a_failed_answer_is_an_empty_text() -> None:
    samples = [
        Sample(id=str(k), image_id=str(k), question="?", references=(r,), tags={"answer_type": "OPEN"})
        for k, r in enumerate(REFERENCES)
    ]
    predictions = [Prediction(sample_id=str(k), text=a) for k, a in enumerate(ANSWERS)]
    task = LoadedTask(name="t", split="test", form="x", samples=tuple(samples), closed_rule="label", prompt="p@0")
    chosen = [protocol("corpus-bleu")]
    provenance = RunProvenance(model="m", task=task)
    found = {v.metric: v for v in tabulate(samples, score_all(samples, predictions, chosen), chosen, provenance)}
    assert found["corpus_bleu"].value == pytest.approx(CORPUS)
    assert found["sentence_bleu"].value == pytest.approx(sum(SENTENCES) / 4)
    predictions[0] = Prediction(sample_id="0", error="boom")
    failed = {v.metric: v for v in tabulate(samples, score_all(samples, predictions, chosen), chosen, provenance)}
    assert failed["corpus_bleu"].n_unscored == 1
    expected = corpus_bleu([0.0] * 4, [*zip(REFERENCES, ["", *ANSWERS[1:]], strict=True)], "abcd").value
    assert failed["corpus_bleu"].value_worst_case == pytest.approx(expected)


def test_a_table_says_of_bleu_that_it_is_a_mean_of_sentences() -> None:
    shown = [shown_metric(name) for name in ("bleu", "bleu_4", "corpus_bleu", "sentence_bleu", "open_f1")]
    assert shown == [
        "bleu (mean of sentences)",
        "bleu_4 (mean of sentences)",
        "corpus_bleu",
        "sentence_bleu",
        "open_f1",
    ]
