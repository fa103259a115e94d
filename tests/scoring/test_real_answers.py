"""The authors' figures for five real runs are reproduced from their answers."""

import json
from dataclasses import replace

import pytest

from evalkit.core.types import Prediction
from tests.support.protocols import RUNS, SHARED, mean_of, needs_answers, protocol, read_answers, row

pytestmark = needs_answers

# closed (yes or no, n 251) and overall (n 451), as printed by the authors
PRINTED = {
    "baseline": (0.5657, 0.3792),
    "lora_quick": (0.5339, 0.3814),
    "lora_rank4": (0.7570, 0.5432),
    "lora_rank8": (0.7371, 0.5211),
    "lora_rank16": (0.7371, 0.5344),
}


@pytest.mark.parametrize("run", RUNS)
def test_exact_match_equals_the_authors_figures_to_the_last_digit(run):
    pairs = read_answers(run)
    found = mean_of("exact-match", "closed_exact_match", pairs), mean_of("exact-match", "exact_match", pairs)
    assert (round(found[0], 4), round(found[1], 4)) == PRINTED[run]


def test_strict_reveals_the_row_whose_gold_answers_another_question():

    unread = [
        (pair[0].question, score.reason)
        for pair in read_answers("lora_rank4")
        for score in protocol("strict").score(*pair)
        if score.reason
    ]
    assert unread == [("what do the two small hyperintensities indicate?", "no yes or no in it")]


ROWS = SHARED / "data/vqa-rad/hf/test_hf_order_with_osf_qid.json"

# protocol, metric, rows ("label": closed and open as VQA-RAD's own label says), zero-shot and rank-8 LoRA, per cent
TABLE = [
    ("llava-med-run-eval", "closed_accuracy", "label", 52.2, 68.4),
    ("llava-med", "closed_accuracy", "label", 54.4, 73.5),
    ("llava-med", "open_recall", "label", 18.9, 29.3),
    ("medevalkit", "closed_accuracy", "label", 56.6, 73.7),
    ("medevalkit", "open_exact_match", "label", 14.0, 24.5),
    ("medevalkit", "accuracy", "label", 37.7, 51.9),
    ("medevalkit", "open_printed_recall", "label", 22.0, 32.9),
    ("medevalkit", "open_recall", "label", 18.8, 32.0),
    ("multimedeval", "closed_accuracy", "label", 56.6, 73.7),
    ("multimedeval", "open_recall", "label", 20.2, 33.7),
    ("multimedeval", "open_accuracy", "label", 16.0, 29.0),
    ("multimedeval", "f1", "label", 40.8, 55.7),
    ("vqa-official", "accuracy", "label", 38.1, 51.9),
    ("vqa-official", "accuracy", "freeform", 39.9, 55.5),
    ("lmms-eval", "accuracy", "label", 37.9, 52.3),
    ("helm", "quasi_exact_match", "label", 37.9, 52.1),
    ("helm", "f1", "label", 40.4, 55.3),
    ("cares", "closed_accuracy", "label", 56.6, 74.5),
]


def labelled(run, only_freeform):
    """The run's rows with the labels of the original release, which the hub's copy lacks."""
    facts = json.loads(ROWS.read_text(encoding="utf-8"))
    pairs = zip(read_answers(run), facts, strict=True)
    return [
        (replace(sample, tags={"answer_type": fact["answer_type"].strip()}), prediction)
        for (sample, prediction), fact in pairs
        if not only_freeform or fact["phrase_type"] == "test_freeform"
    ]


@pytest.mark.parametrize(("name", "metric", "rows", "zero_shot", "rank8"), TABLE)
def test_two_runs_under_every_protocol_give_the_printed_digits(name, metric, rows, zero_shot, rank8):
    found = [100 * mean_of(name, metric, labelled(run, rows == "freeform")) for run in ("baseline", "lora_rank8")]
    assert [round(value, 1) for value in found] == [zero_shot, rank8]


def gold_rows():
    """(question, gold, label) of every row of the released data sets that are at hand."""
    for item in json.loads((SHARED / "data/slake/test.json").read_text(encoding="utf-8")):
        yield item["question"], item["answer"], item["answer_type"].strip()
    for item in json.loads((SHARED / "data/vqa-rad/osf/VQA_RAD Dataset Public.json").read_text(encoding="utf-8")):
        yield item["question"], str(item["answer"]), item["answer_type"].strip()
    for item in json.loads((SHARED / "data/pathvqa/hf/test.json").read_text(encoding="utf-8")):
        yield item["question"], item["answer"], "CLOSED" if item["answer"] in ("yes", "no") else "OPEN"


def test_the_gold_answer_is_correct_under_strict_on_every_row_of_three_datasets():
    chosen, wrong, n = protocol("strict"), [], 0
    for question, gold, label in gold_rows():
        n += 1
        sample = row(gold, label, question)
        wrong += [
            (question, gold, score.metric, score.value, score.reason)
            for score in chosen.score(sample, Prediction(sample_id="1", text=gold))
            if score.value != 1
        ]
    assert n == 2094 + 2248 + 6719
    assert not wrong
