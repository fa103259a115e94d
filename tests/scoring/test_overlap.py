"""Overlap and BLEU against second implementations that are written from the definitions."""

import math
import sys
import warnings
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evalkit.scoring.text.overlap import BLEU_WEIGHTS, counted_overlap, ngram_precision, sentence_bleu, set_overlap

TOKENS = st.lists(st.sampled_from(list("abcdef")), max_size=9)


@given(TOKENS, TOKENS)
def test_counted_overlap_equals_a_second_implementation(answer, gold):
    """Hits are answer tokens found in the gold, misses are gold tokens that the answer lacks."""
    hits = [word for word in answer if word in gold]
    missed = [word for word in gold if word not in answer]
    if not hits:
        assert counted_overlap(answer, gold) == (0, 0, 0)
        return
    precision, recall = len(hits) / len(answer), len(hits) / (len(hits) + len(missed))
    expected = (precision, recall, 2 / (1 / precision + 1 / recall))
    assert counted_overlap(answer, gold) == pytest.approx(expected)


@given(TOKENS, TOKENS)
def test_set_overlap_ignores_order_and_repetition(answer, gold):
    assert set_overlap(answer, gold) == set_overlap(sorted(answer * 2), gold[::-1])
    assert set_overlap(answer, gold).recall == set_overlap(gold, answer).precision


@pytest.mark.slow
def test_set_f1_agrees_with_scikit_learn():
    from sklearn.metrics import f1_score

    answer, gold = ["left", "upper", "lobe", "mass"], ["left", "lower", "lobe"]
    vocabulary = sorted({*answer, *gold})
    expected = f1_score([w in gold for w in vocabulary], [w in answer for w in vocabulary])
    assert set_overlap(answer, gold).f1 == pytest.approx(expected)


def plain_precision(answer, gold, n):
    grams = [Counter(tuple(text[i : i + n]) for i in range(len(text) - n + 1)) for text in (answer, gold)]
    return (grams[0] & grams[1]).total(), max(1, grams[0].total())


def plain_bleu(answer, gold, weights, epsilon):
    precisions = [plain_precision(answer, gold, n) for n in range(1, 5)]
    if not precisions[0][0]:
        return 0.0
    brevity = 1.0 if len(answer) > len(gold) else math.exp(1 - len(gold) / len(answer))
    no_hit = sys.float_info.min if epsilon is None else epsilon
    logs = [math.log(h / n if h else no_hit / (1 if epsilon is None else n)) for h, n in precisions]
    return brevity * math.exp(math.fsum(w * log for w, log in zip(weights, logs, strict=True)))


@settings(max_examples=300, deadline=None)
@given(TOKENS, TOKENS)
def test_bleu_equals_a_second_implementation_to_the_last_bit(answer, gold):
    """An nltk release with other numbers must not pass unnoticed."""
    for n in range(1, 5):
        assert ngram_precision(answer, gold, n) == plain_precision(answer, gold, n)
    for epsilon in (None, 0.1):
        found = sentence_bleu(answer, gold, tuple(BLEU_WEIGHTS), epsilon=epsilon)
        assert found == {name: plain_bleu(answer, gold, w, epsilon) for name, w in BLEU_WEIGHTS.items()}


@settings(max_examples=300, deadline=None)
@given(TOKENS, TOKENS)
def test_bleu_equals_a_plain_call_of_nltk(answer, gold):
    from nltk.translate.bleu_score import SmoothingFunction
    from nltk.translate.bleu_score import sentence_bleu as nltk_bleu

    ours = sentence_bleu(answer, gold, tuple(BLEU_WEIGHTS))
    smoothed = sentence_bleu(answer, gold, tuple(BLEU_WEIGHTS), epsilon=0.1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for name, weights in BLEU_WEIGHTS.items():
            assert ours[name] == nltk_bleu([gold], answer, weights)
            assert smoothed[name] == nltk_bleu([gold], answer, weights, SmoothingFunction().method1)
