"""The authors' figures for five real runs come out of their answers."""

import pytest

from .support import RUNS, mean_of, needs_answers, read_answers

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
def test_exact_match_is_the_authors_to_its_last_digit(run):
    pairs = read_answers(run)
    found = mean_of("exact-match", "closed_exact_match", pairs), mean_of("exact-match", "exact_match", pairs)
    assert (round(found[0], 4), round(found[1], 4)) == PRINTED[run]


def test_strict_finds_the_row_whose_question_is_not_the_one_its_gold_answers():
    from .support import protocol

    unread = [
        (pair[0].question, score.reason)
        for pair in read_answers("lora_rank4")
        for score in protocol("strict").score(*pair)
        if score.reason
    ]
    assert unread == [("what do the two small hyperintensities indicate?", "no yes or no in it")]
