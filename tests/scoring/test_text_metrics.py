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


def test_data_of_nltks_that_is_missing_leaves_a_row_unscored_with_the_command_that_brings_it(monkeypatch):
    import nltk

    monkeypatch.setattr(nltk.data, "path", [])
    for name, metric, needed in (("medvlmbench-text", "meteor", "wordnet"), ("helm-text", "bleu_1", "punkt_tab")):
        score = scores(name, "left lung", "spleen of the liver")[metric]
        # where the data is installed and was read before, there is a value
        assert score.value is not None or f"python -m nltk.downloader {needed}; without a network" in score.reason


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


@pytest.mark.slow
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


class Lemma:
    """A word of a synset, as nltk's WordNet has it."""

    def __init__(self, name: str) -> None:
        self._name = name

    def name(self) -> str:
        return self._name


class Synset:
    def __init__(self, *names: str) -> None:
        self._names = names

    def lemmas(self) -> list[Lemma]:
        return [Lemma(name) for name in self._names]


def stand_in_wordnet(monkeypatch):
    """Three synsets in the place of WordNet's: of words with other stems, of stems with a phrase, of another word."""
    from nltk.corpus import wordnet

    known = (Synset("kidney", "nephros"), Synset("tumor", "growth", "new_growth"), Synset("liver"))
    found = lambda word: [s for s in known if word in {lemma.name() for lemma in s.lemmas()}]  # noqa: E731
    monkeypatch.setitem(vars(wordnet), "synsets", found)
    return wordnet


# gold, answer, METEOR of the two texts as one word each: one match of one word is 0.5
METEOR = [
    ("lung", "Lung", 0.5), ("lungs", "lung", 0.5), ("Left lung", "the left lung.", 0.5), ("lung", "lungs", 0.5),
    ("tumor", "growth", 0.5),
    ("growth", "The tumors", 0.5), ("tumor", "new growth", 0.0), ("tumor", "liver", 0.0),
    ("kidney", "nephros", 0.0),  # nltk looks for synonyms of the stem, and kidnei has none
    ("left tumor", "left growth", 0.0), ("lung", "", 0.0), ("lung", "...", 0.0), ("2", "two", 0.5),
    ("left lung", "lung left", 0.0), ("lung", "lung lung", 0.0),
]  # fmt: skip


@pytest.mark.parametrize(("gold", "answer", "expected"), METEOR)
def test_meteor_is_nltks_over_whole_texts(monkeypatch, gold, answer, expected):
    from nltk.translate.meteor_score import single_meteor_score

    from evalkit.scoring.text.normalise import vqa2

    wordnet = stand_in_wordnet(monkeypatch)
    assert value("medvlmbench-text", "meteor", gold, answer) == expected
    texts = ([vqa2(gold.lower())], [vqa2(answer.lower())])
    assert single_meteor_score(*texts, wordnet=wordnet, alpha=0.9, beta=3.0, gamma=0.5) == expected


@pytest.mark.parametrize(
    ("gold", "answer"), [("kidney", "liver"), ("lung", "Lung"), ("lungs", "lung"), ("lung", ""), ("left lung", "lung")]
)
def test_without_wordnet_meteor_alone_is_unscored_for_every_answer_and_says_what_to_do(monkeypatch, gold, answer):
    from nltk.corpus import wordnet

    def missing(word):
        raise LookupError("Resource wordnet not found.")

    monkeypatch.setitem(vars(wordnet), "synsets", missing)
    found = scores("medvlmbench-text", gold, answer)
    unscored = {name for name, score in found.items() if score.value is None}
    assert unscored == {"meteor"}
    assert "nltk.downloader wordnet" in found["meteor"].reason and "corpora/wordnet.zip" in found["meteor"].reason


def test_bertscore_without_its_weights_says_how_to_bring_them(monkeypatch):
    import sys
    from types import SimpleNamespace

    from evalkit.scoring.protocols import text_metrics

    def no_weights(**settings):
        raise OSError("We couldn't connect to the hub to load the files, and couldn't find them in the cache.")

    monkeypatch.setitem(sys.modules, "bert_score", SimpleNamespace(BERTScorer=no_weights))
    text_metrics._scorer.cache_clear()
    with pytest.raises(ConfigError, match=r"Bio_ClinicalBERT, which cannot be loaded .*hf download") as caught:
        scores("medvlmbench-text", "lung", "lung", settings={"bertscore": True})
    assert "\n" not in str(caught.value)


def test_bertscore_without_its_library_says_how_to_get_it():
    rule = protocol("medvlmbench-text", bertscore=True)
    assert "bertscore" in {metric.name for metric in rule.metrics}
    try:
        import bert_score  # noqa: F401
    except ImportError:
        with pytest.raises(ConfigError, match=r"evalkit-medvqa\[bertscore\]"):
            scores("medvlmbench-text", "lung", "lung", settings={"bertscore": True})
