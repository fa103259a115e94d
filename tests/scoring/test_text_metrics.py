"""ROUGE, BLEU, METEOR and CIDEr of whole tables: golden values of the libraries that the authors call."""

import pytest

from evalkit.cli.config import load_option, options, protocols_for
from evalkit.core.errors import ConfigError
from evalkit.scoring.protocols.text_overlap import rouge_l
from evalkit.scoring.text.rouge import rouge_n, rouge_of_sets, rouge_words
from tests.support.protocols import protocol, scores, value

# gold, answer, then ROUGE-1, -2 and -L of the library rouge 1.0.1; None: it raises
PACKAGE = [
    ("lung", "", None),
    ("lung", "...", None),
    ("lung", " ", (0, 0, 0)),
    ("lung", "lung", (1, 0, 1)),
    ("left lung", "left lung.", (1, 1, 1)),
    ("left lung", "left left lung", (1, 0.6667, 1)),
    ("left lower lobe", "lobe lower left", (1, 0, 0.3333)),
    ("5.5 cm", "5 cm", (1, 0.6667, 1)),
    ("a. b a", "b. a", (1, 0.6667, 1)),
    ("left lower lobe", "the left lower lung lobe", (0.75, 0.3333, 0.75)),
]
# gold, answer, then ROUGE-L of rouge-score 0.1.2 with stemming, and ROUGE-1, -2, -L of torchmetrics 1.9.0
GOOGLE = [
    ("lung", "", 0, 0, 0, 0),
    ("...", "...", 0, 0, 0, 0),
    ("肺", "肺", 0, 0, 0, 0),
    ("lungs", "lung", 1, 0, 0, 0),
    ("the masses", "a mass", 0.5, 0, 0, 0),
    ("left lung", "left left lung", 0.8, 0.8, 0.6667, 0.8),
    ("T2-weighted", "T2 weighting", 1, 0.5, 0, 0.5),
    ("left lower lobe", "lobe lower left", 0.3333, 1, 0, 0.3333),
]


@pytest.mark.parametrize(("gold", "answer", "expected"), PACKAGE)
def test_medevalkits_rouge_is_that_of_the_library(gold, answer, expected):
    found = rouge_of_sets(answer, gold)
    assert (found is None) == (expected is None)
    if expected:
        assert list(found.values()) == pytest.approx(expected, abs=5.1e-5)
    values = {metric: score.value for metric, score in scores("medevalkit-text", gold, answer).items()}
    assert values == (pytest.approx(found) if answer.strip() and found else dict.fromkeys(values, 0.0))


@pytest.mark.parametrize("case", GOOGLE, ids=lambda case: f"{case[0]}|{case[1]}")
def test_googles_rouge_and_that_of_torchmetrics(case):
    gold, answer, stemmed, *plain = case
    assert value("helm-text", "rouge_l", gold, answer) == pytest.approx(stemmed, abs=5.1e-5)
    words, gold_words = rouge_words(answer), rouge_words(gold)
    found = [rouge_n(words, gold_words, 1), rouge_n(words, gold_words, 2), rouge_l(words, gold_words)]
    assert found == pytest.approx(plain, abs=5.1e-5)


def test_medvlmbench_scores_texts_after_its_cleaning():
    found = scores("medvlmbench-text", "the left lung", "Left lung, two")
    plain = {name: score.value for name, score in found.items() if name != "meteor"}
    assert plain == {
        "bleu_1": pytest.approx(2 / 3), "bleu_2": pytest.approx((2 / 3 / 2) ** 0.5), "bleu_3": 0, "bleu_4": 0,
        "rouge_1": pytest.approx(0.8), "rouge_2": pytest.approx(2 / 3), "rouge_l": pytest.approx(0.8),
    }  # fmt: skip


@pytest.mark.parametrize(("gold", "answer", "expected"), [("lung", "Lung", 0.5), ("lungs", "lung", 0.5)])
def test_meteor_takes_each_text_for_one_word(gold, answer, expected):
    assert value("medvlmbench-text", "meteor", gold, answer) == expected


def test_data_of_nltks_that_is_missing_leaves_a_row_unscored_with_the_command_that_brings_it(monkeypatch):
    import nltk

    monkeypatch.setattr(nltk.data, "path", [])
    for name, metric, needed in (("medvlmbench-text", "meteor", "wordnet"), ("helm-text", "bleu_1", "punkt_tab")):
        score = scores(name, "left lung", "spleen of the liver")[metric]
        # where the data is installed and was read before, there is a value
        assert score.value is not None or score.reason == f"needs data of nltk's: python -m nltk.downloader {needed}"


def test_helms_cider_is_0_for_every_answer_and_says_why():
    for answer in ("left lung", "", "a left lung of the left lung"):
        score = scores("helm-text", "left lung", answer)["cider"]
        assert score.value == 0 and "corpus of one row" in score.note


@pytest.mark.parametrize(
    ("gold", "answer", "expected"),
    [("the lung", "The lung.", 1), ("the lung", "lung", 0), ("the", " ", 0), ("x-ray", "xray", 1), ("...", ".", 1)],
)
def test_helms_quasi_exact_match_that_leaves_articles(gold, answer, expected):
    assert value("helm-text", "quasi_leave_articles_exact_match", gold, answer) == expected


def test_these_protocols_are_chosen_by_name_and_not_part_of_all():
    task = load_option("task", "vqa-rad")
    by_name = {name for name in options("protocol") if load_option("protocol", name).get("by_name")}
    assert by_name == {
        "helm-text", "medevalkit-text", "medevalkit-text-slake", "medvlmbench-text", "medvlmbench-text-slake",
        "pmc-vqa", "vqa-official-list",
    }  # fmt: skip
    everything = protocols_for({"all": load_option("protocol", "all")}, task)
    assert not by_name & set(everything) and {"helm", "medevalkit", "karma"} <= set(everything)
    chosen = protocols_for({"helm-text": load_option("protocol", "helm-text")}, load_option("task", "slake"))
    assert set(chosen) == {"helm-text"}


def test_bertscore_without_its_library_says_how_to_get_it():
    rule = protocol("medvlmbench-text", bertscore=True)
    assert "bertscore" in {metric.name for metric in rule.metrics}
    try:
        import bert_score  # noqa: F401
    except ImportError:
        with pytest.raises(ConfigError, match=r"evalkit-medvqa\[bertscore\]"):
            scores("medvlmbench-text", "lung", "lung", settings={"bertscore": True})
