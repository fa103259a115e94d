"""A thought in front of, behind or around an answer changes no score of a protocol that reads the answer."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evalkit.core.reasoning import separate
from evalkit.core.types import CUT_IN_REASONING, Prediction
from tests.core.test_reasoning import FORMS
from tests.scoring.test_properties import GOLDS, ROW_PROTOCOLS, TEXTS
from tests.support.protocols import protocol, row

RAW = (
    "medevalkit", "medevalkit-slake", "medevalkit-text", "medevalkit-text-slake", "medvlthinker",
    "medvlthinker-regraded",
)  # fmt: skip
# A thought with nothing after it is a failure, not an empty answer: see the golden tables of tests/core.
ANSWERS = TEXTS.filter(lambda text: text.strip())
THOUGHTS = TEXTS | st.sampled_from(["Yes or no? No, yes.", "CT, MRI, lung, left", "the answer is no", r"\boxed{yes}"])
ANSWER_TYPES = st.sampled_from(["OPEN", "CLOSED", None])


def test_the_protocols_that_read_the_raw_text_are_those_whose_authors_do():
    assert {name for name in ROW_PROTOCOLS if protocol(name).reads == "raw"} == set(RAW)


@pytest.mark.parametrize("name", sorted(set(ROW_PROTOCOLS) - set(RAW)))
@settings(max_examples=40)
@given(gold=GOLDS, answer=ANSWERS, thought=THOUGHTS, form=st.sampled_from(sorted(FORMS)), kind=ANSWER_TYPES)
@pytest.mark.few(8)
def test_any_thought_before_any_answer_gives_the_same_scores(name, gold, answer, thought, form, kind):
    answer, sample, chosen = answer.strip(), row(gold, kind), protocol(name)
    plain = separate(Prediction(sample_id="1", text=answer))
    behind = separate(Prediction(sample_id="1", text=FORMS[form].format(thought, answer)))
    assert chosen.score(sample, behind) == chosen.score(sample, plain)


@pytest.mark.parametrize("name", ["strict", "llava-med", "helm"])
@settings(max_examples=40)
@given(gold=GOLDS, answer=ANSWERS, thought=THOUGHTS, kind=ANSWER_TYPES)
def test_any_thought_behind_or_around_any_answer_gives_the_same_scores(name, gold, answer, thought, kind):
    answer, sample = answer.strip(), row(gold, kind)
    chosen = protocol(name)
    plain = chosen.score(sample, separate(Prediction(sample_id="1", text=answer)))
    for text in (f"{answer}\n<think>{thought}</think>", f"<think>{thought}</think> {answer} [THINK]{thought}[/THINK]"):
        assert chosen.score(sample, separate(Prediction(sample_id="1", text=text))) == plain


@pytest.mark.parametrize("name", ROW_PROTOCOLS)
@pytest.mark.parametrize("text", ["<think>yes", "yes</think><think>", "[THINK]lung, yes"])
def test_a_cut_thought_is_never_scored(name, text):
    cut = separate(Prediction(sample_id="1", text=text))
    for kind in ("OPEN", "CLOSED"):
        for score in protocol(name).score(row("yes", kind), cut):
            assert (score.value, score.reason) == (None, CUT_IN_REASONING)


def test_medevalkit_reads_the_whole_response_as_its_authors_do():
    thought = separate(Prediction(sample_id="1", text="<think>Yes or no?</think> Yes"))
    tagged = separate(Prediction(sample_id="1", text="<think>Yes or no?</think> <answer>Yes</answer>"))
    sample = row("yes", "CLOSED")

    def accuracy(name, prediction):
        return next(s.value for s in protocol(name).score(sample, prediction) if s.metric == "closed_accuracy")

    assert accuracy("medevalkit", thought) == 0
    assert accuracy("medevalkit-fixed", thought) == 1
    assert accuracy("medevalkit", tagged) == accuracy("medevalkit-fixed", tagged) == 1
    assert accuracy("medevalkit", separate(Prediction(sample_id="1", text="Yes"))) == 1
