"""Golden vectors: scores of the same answers under each published protocol, all produced by the authors' code."""

import pytest

from tests.support.protocols import scores, value

CLOSED_BY = {
    "llava-med-run-eval": {},
    "llava-med": {},
    "medevalkit": {},
    "medevalkit-slake": {},
    "multimedeval": {},
    "cares": {"rule": "label"},
    "lmms-eval": {},
    "vqa-official": {},
}
# gold, answer, then one column a protocol in that order; None: not a closed row there
CLOSED = [
    ("yes", "Yes, the diagnosis is pneumonia.", 1, 1, 0, 0, 1, 1, 0, 0),
    ("yes", "Yes, the heart is normal.", 1, 1, 0, 0, 1, 1, 0, 0),
    ("no", "There is no evidence of a mass.", 1, 1, 1, 0, 1, 1, 0, 0),
    ("no", "Normal cardiac silhouette.", 1, 1, 1, 0, 0, 0, 0, 0),
    ("no", "I cannot determine this.", 1, 1, 1, 0, 0, 0, 0, 0),
    ("no", "Unknown", 1, 1, 1, 0, 0, 0, 0, 0),
    ("no", "The image does not show a fracture.", 1, 1, 1, 0, 1, 1, 0, 0),
    ("yes", "There is a fracture.", 0, 0, 0, 0, 0, 1, 0, 0),
    ("yes", "No, not yes.", 1, 1, 0, 0, 1, 0, 0, 0),
    ("no", "Yes and no.", 1, 1, 0, 0, 1, 1, 0, 0),
    ("yes", "", 0, 0, 0, 0, 0, 1, 0, 0),
    ("t2", "The image is a T2-weighted MRI.", 0, 1, None, 0, None, 1, 0, 0),
    ("left", "Left lung", 0, 1, None, 0, None, 1, 0, 0),
]


@pytest.mark.parametrize("case", CLOSED, ids=lambda case: f"{case[0]}|{case[1]}")
def test_a_closed_answer_is_scored_as_by_each_authors_code(case):
    gold, answer, *expected = case
    found = []
    for name, settings in CLOSED_BY.items():
        # the released rule of SLAKE reaches "yes" only in capitals, as SLAKE writes it
        written = gold.capitalize() if name == "medevalkit-slake" else gold
        score = scores(name, written, answer, "CLOSED", settings=settings).get("closed_accuracy")
        found.append(score.value if score else None)
    assert dict(zip(CLOSED_BY, found, strict=True)) == dict(zip(CLOSED_BY, expected, strict=True))
    assert value("helm", "quasi_exact_match", gold, answer, "CLOSED") == 0


# gold, answer | MedEvalKit true P R F1 | its EM | MultiMedEval R, R>=.75 | official | lmms | HELM F1
OPEN = [
    ("left lower lobe", "left", (1.00, 0.33, 0.50), 0, 0.33, 0, 0, 0, 0.50),
    ("left lower lobe", "left left left left", (1.00, 0.33, 0.50), 0, 0.33, 0, 0, 0, 0.50),
    ("left lower lobe", "right upper lobe, not left lower lobe", (0.43, 1.00, 0.60), 0, 1.00, 1, 0, 0, 0.67),
    ("left lower lobe", "Left lower lobe.", (0.67, 0.67, 0.67), 0, 1.00, 1, 1, 1, 1.00),
    ("lung, spinal cord", "Spinal cord, lung", (0.33, 0.33, 0.33), 0, 1.00, 1, 0, 0, 1.00),
    ("mri", "magnetic resonance imaging", (0, 0, 0), 0, 0, 0, 0, 0, 0),
    ("none", "0", (0, 0, 0), 0, 1.00, 1, 1, 0, 0),
    ("x-ray", "X ray", (0, 0, 0), 0, 1.00, 1, 1, 1, 0),
    ("2", "two", (0, 0, 0), 0, 1.00, 1, 1, 0, 0),
    ("ct", "The image is a CT scan.", (0.17, 1.00, 0.29), 0, 1.00, 1, 0, 0, 0.40),
]


@pytest.mark.parametrize(("gold", "answer", "mek", "mek_em", "recall", "right", "official", "lmms", "helm"), OPEN)
def test_an_open_answer_is_scored_as_by_each_authors_code(
    gold, answer, mek, mek_em, recall, right, official, lmms, helm
):
    found = scores("medevalkit", gold, answer)
    overlap = [found[f"open_{name}"].value for name in ("precision", "recall", "f1")]
    assert overlap == pytest.approx(mek, abs=0.0051)
    assert found["open_exact_match"].value == mek_em
    printed = [found[f"open_printed_{name}"].value for name in ("recall", "f1", "precision")]
    assert printed == overlap  # its three names are each shifted by one
    assert value("multimedeval", "open_recall", gold, answer) == pytest.approx(recall, abs=0.0051)
    assert value("multimedeval", "open_accuracy", gold, answer) == right
    assert value("medvlmbench", "open_accuracy", gold, answer) == right
    assert value("vqa-official", "open_accuracy", gold, answer) == official
    assert value("lmms-eval", "open_accuracy", gold, answer) == lmms
    assert value("helm", "f1", gold, answer) == pytest.approx(helm, abs=0.0051)


MEK_CLOSED = [
    ("yes", "the eyes", 1),
    ("no", "I do not know", 1),
    ("yes", r"I think \boxed{yes}", 1),
    ("yes", r"\boxed{{yes}}", 1),
    ("yes", "<answer>yes</answer> but no", 1),
    ("yes", "Not sure. The answer is yes", 1),
    ("yes", "a boxed area, yes", 0),
    ("no", "a boxed area", 0),  # the word None is there, but "None".lower() is not taken: it holds No with a capital
    ("yes", "yes\nyes", 1),
    ("yes", "y.e.s", 1),
]


@pytest.mark.parametrize(("gold", "answer", "expected"), MEK_CLOSED)
def test_medevalkit_reads_boxes_tags_and_answer_marks_as_released(gold, answer, expected):
    assert value("medevalkit", "closed_accuracy", gold, answer, "CLOSED") == expected


@pytest.mark.parametrize(("answer", "expected"), [("Yes", 1), ("Yes, it is", 0), (" Yes", 0), ("yes ", 0), ("Yes.", 1)])
def test_medevalkit_on_slake_needs_equality_of_the_whole_text(answer, expected):
    assert value("medevalkit-slake", "closed_accuracy", "Yes", answer, "CLOSED") == expected
    assert value("medevalkit-fixed-slake", "closed_accuracy", "Yes", answer, "CLOSED") == 1


def test_medevalkit_does_not_remove_the_chinese_full_stop():
    assert value("medevalkit-slake", "closed_accuracy", "是", "是。", "CLOSED") == 0


@pytest.mark.parametrize("answer", ["", " ", "...", "\n"])
def test_an_answer_on_which_medevalkit_raises_is_wrong_with_a_note(answer):
    found = scores("medevalkit", "lung", answer)
    assert {score.value for score in found.values()} == {0.0}
    assert all("raises" in score.note for score in found.values())


@pytest.mark.parametrize(
    ("answer", "value_or_none"),
    [("B", 1), ("The answer is B.", 1), ("I think B", 0), ("b", 0), ("(B) MRI", 1), ("MRI", None), ("", None),
     ("a B", 1), ("答案是B", 1), ("A", 0)],
)  # fmt: skip
def test_huatuogpt_vision_takes_the_first_isolated_letter(answer, value_or_none):
    score = scores("huatuogpt-vision", "MRI", answer, "CLOSED", choices=("CT", "MRI"))["closed_accuracy"]
    assert score.value == value_or_none


def test_huatuogpt_vision_has_no_rows_without_choices():
    assert scores("huatuogpt-vision", "yes", "A", "CLOSED") == {}


def test_nocandi_leaves_the_outer_normalisation_out():
    assert value("nocandi", "closed_accuracy", "2", "two", "CLOSED") == 0
    assert value("llava-med", "closed_accuracy", "2", "two", "CLOSED") == 1
    assert value("nocandi", "open_recall", "2", "two") == 1
    assert value("nocandi", "open_recall", "left", "left", answer_type=None) == 1  # no label is open
    assert scores("nocandi", "left", "left", answer_type="other") == {}


@pytest.mark.parametrize(
    ("answer", "expected"),
    [("", 0), ("NO", 0), ("No!", 0), ("No, it is", 1), ("It is not", 1), ("Unclear. No.", 0), ("nothing", 0)],
)
def test_cares_reads_everything_else_as_yes(answer, expected):
    assert value("cares", "closed_accuracy", "no", answer, "CLOSED") == expected


def test_closed_by_answer_ignores_the_label():
    assert "closed_accuracy" in scores("multimedeval", "Yes.", "yes", "OPEN")
    assert "closed_accuracy" not in scores("multimedeval", "left", "left", "CLOSED")
