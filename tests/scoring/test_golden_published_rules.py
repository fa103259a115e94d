"""Golden tables of the rules behind published tables, by the authors' own functions; degenerate answers first."""

import json

import pytest

from evalkit.scoring.row_protocol import references
from tests.support.protocols import SHARED, needs_answers, protocol, row, scores, value

CLOSED_BY = ("evalscope", "karma", "karma-slake", "medgemma-radharmony", "med-eval", "inspect-evals", "biomedgpt")
# gold, answer, then closed accuracy (1 or 0) in the order of CLOSED_BY
CLOSED = [
    ("yes", "", 0, 0, 0, 0, 0, 0, 0),
    ("yes", " ", 0, 0, 0, 0, 0, 0, 0),
    ("no", "...", 0, 0, 0, 0, 0, 0, 0),
    ("yes", "yes", 1, 1, 0, 1, 1, 0, 1),
    ("yes", "Yes.", 1, 0, 0, 1, 1, 0, 0),
    ("no", " no", 1, 0, 0, 1, 1, 0, 1),
    ("no", "Normal heart.", 0, 0, 0, 0, 1, 0, 0),
    ("no", "I do not know", 0, 0, 0, 0, 1, 0, 0),
    ("yes", "No, wait, yes", 0, 0, 0, 0, 1, 0, 0),
    ("yes", "ANSWER: yes", 1, 0, 0, 1, 1, 1, 0),
    ("yes", "ANSWER: no\nANSWER: Yes", 1, 0, 0, 0, 1, 1, 0),
    ("yes", "ANSWER: yes.\n", 1, 0, 0, 1, 1, 0, 0),
    ("yes", "ANSWER: yes\nIt is.", 1, 0, 0, 1, 1, 0, 0),
    ("yes", "answer :\nyes ", 0, 0, 0, 1, 1, 1, 0),
    ("yes", "Final Answer: yes", 1, 0, 1, 1, 1, 1, 0),
    ("yes", "final answer: yes", 1, 0, 0, 1, 1, 1, 0),
    ("yes", "Final Answer: yes. Final Answer: no", 0, 0, 0, 1, 1, 0, 0),
    ("no", "存在", 0, 0, 0, 0, 0, 0, 0),
]


@pytest.mark.parametrize("case", CLOSED, ids=lambda case: f"{case[0]}|{case[1]}")
def test_a_yes_no_answer_is_scored_as_by_each_authors_function(case):
    gold, answer, *expected = case
    assert [value(name, "closed_accuracy", gold, answer, "CLOSED") for name in CLOSED_BY] == expected
    assert value("medgemma-karma", "closed_accuracy", gold, answer, "CLOSED") == expected[1]


OPEN_BY = (
    *(("evalscope", "open_accuracy"), ("karma", "exact_match"), ("karma", "f1"), ("karma-slake", "f1")),
    *(("medgemma-radharmony", "f1"), ("medgemma-radharmony", "open_recall")),
    *(("med-eval", "open_f1"), ("med-eval", "open_recall"), ("biomedgpt", "open_accuracy")),
)
# gold, answer, then the values in the order of OPEN_BY; None: unscored, the authors' code finds no word in the gold
OPEN = [
    ("left lung", "", 0, 0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0),
    ("left lung", "...", 0, 0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0),
    ("left lung", "the", 0, 0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0),
    ("left lung", "left lung", 1, 1, 1.0, 0.0, 1.0, 1.0, 1.0, 1.0, 1),
    ("left lung", "The left lung.", 1, 0, 0.8, 0.0, 1.0, 1.0, 1.0, 1.0, 0),
    ("left lung", "left left left", 0, 0, 0.4, 0.0, 0.4, 0.5, 0.8571, 0.75, 0),
    ("5.5 cm", "55 cm", 0, 0, 1.0, 0.0, 0.4, 0.3333, 0.5, 0.5, 0),
    ("T2", "T2-weighted", 0, 0, 0.6667, 0.0, 0.6667, 1.0, 0.6667, 1.0, 0),
    ("x-ray", "X Ray", 1, 0, 1.0, 0.0, 1.0, 1.0, 1.0, 1.0, 0),
    ("lung", "left\nlung", 0, 0, 0.0, 0.0, 0.6667, 1.0, 0.6667, 1.0, 0),
    ("2", "two", 1, 0, 0.0, 0.0, 0.0, 0.0, 1.0, 1.0, 0),
    ("None", "0", 1, 0, 0.0, 0.0, 0.0, 0.0, 1.0, 1.0, 0),
    ("the lung", "lung", 1, 0, 0.6667, 0.0, 1.0, 1.0, 1.0, 1.0, 0),
    ("Lung, Liver", "Liver, Lung", 0, 0, 1.0, 0.0, 1.0, 1.0, 1.0, 1.0, 0),
    ("Left Lung", "left lung", 1, 1, 1.0, 0.0, 1.0, 1.0, 1.0, 1.0, 1),
    ("肺", "肺", 1, 1, 1.0, 0.0, None, None, 1.0, 1.0, 1),
    ("是的", "存在", 1, 0, 0.0, 0.0, None, None, 0.0, 0.0, 0),
    ("X光", "x-ray", 1, 0, 0.0, 0.0, 0.6667, 1.0, 0.0, 0.0, 0),
    ("2", "两个", 1, 0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0),
    ("lung", "Final Answer: lung", 1, 0, 0.5, 1.0, 0.5, 1.0, 0.5, 1.0, 0),
    ("lung", 'It is it.\nANSWER: "Lung"', 1, 0, 0.4, 0.0, 0.3333, 1.0, 0.3333, 1.0, 0),
]


@pytest.mark.parametrize("case", OPEN, ids=lambda case: f"{case[0]}|{case[1]}")
def test_an_open_answer_is_scored_as_by_each_authors_function(case):
    gold, answer, *expected = case
    for (name, metric), wanted in zip(OPEN_BY, expected, strict=True):
        found = scores(name, gold, answer)[metric]
        assert (found.value is None) == (wanted is None) == bool(found.reason), (name, metric)
        assert wanted is None or found.value == pytest.approx(wanted, abs=6e-5), (name, metric)
    assert value("medgemma-karma", "f1", gold, answer) == value("karma", "f1", gold, answer)


MODALITIES = ("CT", "MRI", "Ultrasound")
# answer to a question whose right option is B. MRI, then: first tag; second script; second script with --llava_med_rule
OPTIONS = [
    ("", 0, 0, 0),
    ("...", 0, 0, 0),
    ("<answer></answer>", 0, 0, 0),
    ("B", 1, 1, 1),
    ("b", 1, 1, 1),
    ("B.", 0, 0, 0),
    ("(B)", 0, 0, 0),
    ("B. MRI", 1, 1, 1),
    ("b. mri ", 1, 1, 1),
    ("MRI", 1, 1, 1),
    (" mri", 1, 1, 1),
    ("MRI scan", 0, 0, 1),
    ("<answer>B</answer>", 1, 1, 1),
    ("<answer> MRI\n</answer> or CT", 1, 1, 1),
    ("<think><answer>A</answer></think><answer>B</answer>", 0, 1, 1),
    ("<answer>A</answer> no, <answer>B</answer>", 0, 1, 1),
    ("<answer>B\nbecause</answer>", 0, 1, 1),
    ("The answer is B", 0, 1, 1),
    ("The answer is: MRI", 0, 1, 1),
    ("Answer: B\nDone", 0, 1, 1),
    ("The diagnosis is: B", 0, 1, 1),
    ("I think <answer>B", 0, 0, 0),
    ("No MRI here", 0, 0, 1),
]


@pytest.mark.parametrize(("answer", "tag", "regraded", "substring"), OPTIONS)
@pytest.mark.parametrize(("answer_type", "metric"), [("CLOSED", "closed_accuracy"), ("CHOICE", "choice_accuracy")])
def test_medvlthinker_takes_the_option_its_letter_or_both(answer, tag, regraded, substring, answer_type, metric):
    def found(name, **settings):
        return value(name, metric, "MRI", answer, answer_type, choices=MODALITIES, settings=settings)

    assert found("medvlthinker") == tag
    assert found("medvlthinker-regraded") == regraded
    assert found("medvlthinker-regraded", substring=True) == substring


@pytest.mark.parametrize(
    ("choices", "gold", "right", "wrong"),
    [
        (("Left", "left", "Right"), "left", ("B", "b. LEFT", "Left"), ("A", "A. left", "C")),  # equal but for case
        (("Left", "left", "Right"), "Left", ("A", "left"), ("B",)),
        (("Left", "LEFT", "Right"), "left", ("A", "B", "left"), ("C",)),  # which of the two is not known
        (("lung", "left lung", "lung, left"), "lung", ("A", "Lung"), ("B", "left lung", "lung, left", "lungs")),
        (("a+b", "(.*)", "1,000"), "(.*)", ("B", "b. (.*)"), ("a+b", "anything", "1,000")),
    ],
)
@pytest.mark.parametrize("name", ["medvlthinker", "medvlthinker-regraded"])
def test_medvlthinker_s_letter_is_that_of_the_option_equal_to_the_gold(name, choices, gold, right, wrong):
    for answers, credit in ((right, 1), (wrong, 0)):
        for answer in answers:
            said = f"<answer>{answer}</answer>"
            assert scores(name, gold, said, "CLOSED", choices=choices)["closed_accuracy"].value == credit, answer


def test_medvlthinker_reads_the_raw_text_and_counts_closed_rows_with_a_right_option_alone():
    rule = protocol("medvlthinker")
    assert rule.reads == "raw"
    assert scores("medvlthinker", "MRI", "B", "CLOSED") == {}
    assert scores("medvlthinker", "PET", "B", "CLOSED", choices=MODALITIES) == {}
    assert "offers no options" in rule.uncounted(row("MRI", "CLOSED"))
    assert "none of its options" in rule.uncounted(row("PET", "CLOSED", choices=MODALITIES))
    assert scores("medvlthinker", "mri", "b", "OPEN", choices=MODALITIES)["closed_accuracy"].value == 1
    assert protocol("medvlthinker").settings() != protocol("medvlthinker-regraded").settings()


def test_the_two_readings_of_medgemma_differ_by_articles():
    wordy = "The image shows a mass in the left lung"
    kept = value("medgemma-karma", "f1", "left lung", wordy)
    dropped = value("medgemma-radharmony", "f1", "left lung", wordy)
    assert (kept, dropped) == (pytest.approx(4 / 11), pytest.approx(0.5))


def test_closed_is_the_gold_that_says_yes_or_no_and_med_eval_does_not_strip_it():
    for name in ("karma", "medgemma-karma", "medgemma-radharmony", "inspect-evals"):
        assert "closed_accuracy" in scores(name, "Yes ", "yes", "OPEN"), name
        assert "closed_accuracy" not in scores(name, "left", "left", "CLOSED"), name
    assert "closed_accuracy" in scores("med-eval", "Yes", "yes", "OPEN")
    assert "open_f1" in scores("med-eval", "yes ", "yes", "CLOSED")
    assert scores("inspect-evals", "left", "ANSWER: left") == {}  # graded by judge=inspect-evals


class TestSmallDivergences:
    """Four places in which the first comparison with the authors' code had found differences on made-up rows."""

    @pytest.mark.parametrize("gold", ["<answer>yes</answer> ", " <answer>yes</answer>", "<answer>yes</answer>\n"])
    def test_multimedeval_strips_the_gold_before_cleaning(self, gold):
        assert value("multimedeval", "recall", gold, "answer yes answer", "OPEN") == 1
        assert value("multimedeval", "recall", gold.strip(), "answer yes answer", "OPEN") == 1

    @pytest.mark.parametrize("gold", [" yes", "no ", "Yes\t"])
    def test_medvlmbench_does_not_strip_the_gold_before_the_test_for_yes_or_no(self, gold):
        assert "open_accuracy" in scores("medvlmbench", gold, "yes", "CLOSED")
        assert "closed_accuracy" in scores("medvlmbench", gold.strip(), "yes", "OPEN")

    @pytest.mark.parametrize("answer", [" ", "\n\t", "\u00a0"])
    def test_helm_strips_the_answer_before_it_asks_whether_it_is_empty(self, answer):
        # both normalise to nothing, so without the test they would be equal
        assert value("helm", "quasi_exact_match", "the", answer) == 0
        assert value("helm", "exact_match", "the", answer) == 0
        assert value("helm", "quasi_exact_match", "lung", f"{answer}Lung{answer}") == 1

    @pytest.mark.parametrize(
        "name", ["medevalkit-slake", "medevalkit-fixed-slake", "medvlmbench-slake", "medevalkit", "llava-med"]
    )
    @pytest.mark.parametrize("label", [None, "other"])
    def test_a_slake_row_without_a_label_is_closed_for_medevalkit_and_medvlmbench(self, name, label):
        found = scores(name, "CT", "CT", label)
        assert ("closed_accuracy" in found) == name.endswith("-slake")
        assert not name.endswith("-slake") or found["closed_accuracy"].value == 1


class TestCards:
    @pytest.mark.parametrize(
        ("name", "commit"),
        [("lmms-eval", "0a75d6ba"), ("cares", "aea2bea"), ("nocandi", "79b1b03"), ("vqa-official", "807326d"),
         ("evalscope", "ec0f2b3f"), ("medvlthinker", "a3163b1"), ("karma", "fe15101"), ("med-eval", "b672b2c"),
         ("medgemma-karma", "fe15101"), ("medgemma-radharmony", "71682a6"), ("biomedgpt", "2c739bd")],
    )  # fmt: skip
    def test_a_card_names_the_commit_that_was_compared(self, name, commit):
        assert commit in protocol(name).source


class TestRealGolds:
    pytestmark = needs_answers

    def test_every_english_gold_of_slake_is_right_as_an_answer_line(self):
        rows = json.loads((SHARED / "data/slake/test.json").read_text(encoding="utf-8"))
        for fact in rows[::7]:
            sample = row(str(fact["answer"]), fact["answer_type"])
            assert references(sample), fact
            assert value("evalscope", "accuracy", str(fact["answer"]), f"It is so.\nANSWER: {fact['answer']}") == 1
