"""Properties of every protocol on any answer."""

import re
import time

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from evalkit.core.types import Prediction
from evalkit.scoring.protocols.coloneval import _tagged
from evalkit.scoring.text.normalise import without_enclosed
from tests.support.protocols import CONF, protocol, row

CONFIGS = {path.stem: yaml.safe_load(path.read_text(encoding="utf-8")) for path in CONF.glob("*.yaml")}
# The protocols for any question: coloninst scores other things (boxes), depending on its task, and has its own tests.
ROW_PROTOCOLS = sorted(name for name, config in CONFIGS.items() if "target" in config and "task" not in config)
WORDS = [
    "yes",
    "no",
    "not",
    "left",
    "right",
    "lung",
    "two",
    "2",
    "a",
    "the",
    "normal",
    "x-ray",
    "是的",
    "不",
    ".",
    ",",
    "?",
    "B",
]
TEXTS = st.lists(st.sampled_from(WORDS), max_size=8).map(" ".join) | st.text(max_size=12)
GOLDS = TEXTS.filter(str.strip)


def test_every_protocol_but_coloninst_is_tested_here():
    assert len(ROW_PROTOCOLS) >= 18
    assert set(CONFIGS) - set(ROW_PROTOCOLS) == {"all", "coloninst"}


@pytest.mark.few(12)
@pytest.mark.parametrize("name", ROW_PROTOCOLS)
@given(gold=GOLDS, answer=TEXTS, answer_type=st.sampled_from(["OPEN", "CLOSED", None]))
def test_each_metric_of_the_row_has_one_score_in_0_to_1_or_a_reason(name, gold, answer, answer_type):
    chosen = protocol(name)
    sample = row(gold, answer_type)
    found = chosen.score(sample, Prediction(sample_id="1", text=answer))
    assert [s.metric for s in found] == [
        m.name for m in chosen.metrics if not m.of and chosen.covers(m, chosen.row_kind(sample))
    ]
    assert all(s.protocol == name and (s.value is None or 0 <= s.value <= 1) for s in found)


@pytest.mark.parametrize("name", ROW_PROTOCOLS)
def test_an_error_is_never_a_value(name):
    for answer_type in ("OPEN", "CLOSED"):
        for score in protocol(name).score(row("yes", answer_type), Prediction(sample_id="1", error="boom")):
            assert score.value is None
            assert "boom" in score.reason


@pytest.mark.parametrize("name", ROW_PROTOCOLS)
def test_a_yaml_states_the_settings_that_determine_its_number(name):
    chosen = protocol(name)
    assert chosen.name == name
    assert chosen.version >= 1
    assert chosen.source
    rules = {"choice_rule"} if all(m.rows == "choice" for m in chosen.metrics) else {"closed_rule", "open_rule"}
    assert set(chosen.card) - {"reads"} == {"rows", "normaliser", "aggregation", "prompt", "bugs"} | rules
    assert ("reads" in chosen.card) == (chosen.reads == "raw")
    assert all(set(bug) == {"bug", "effect"} for bug in chosen.card["bugs"])
    assert all(isinstance(v, str) for v in chosen.settings().values())


@pytest.mark.parametrize("name", ROW_PROTOCOLS)
def test_a_score_depends_only_on_its_row(name):
    cases = [("yes", "CLOSED", "Yes."), ("lung", "OPEN", "left lung"), ("no", "CLOSED", "")]
    rows = [(row(gold, kind), Prediction(sample_id="1", text=answer)) for gold, kind, answer in cases]
    forward = [protocol(name).score(*pair) for pair in rows]
    assert [protocol(name).score(*pair) for pair in reversed(rows)] == forward[::-1]


# Answers of a model that repeats itself up to its token limit: 64 kB of one word, clause, sign or tag.
LOOPS = [
    "yes ",
    "no ",
    "there is no mass, and ",
    "(",
    "（",
    "<answer>",
    "answer: ",
    "\\boxed{",
    "left or right ",
    "A ",
    "是",
]


@pytest.mark.parametrize(
    "name", ["strict", "evalscope", "lmms-eval", "coloneval", "medvlthinker-regraded", "medevalkit"]
)
def test_an_answer_that_repeats_itself_is_read_in_time_proportional_to_it(name):
    chosen, samples = protocol(name), [row("yes", "CLOSED"), row("left lung", "OPEN")]
    started = time.process_time()
    for loop in LOOPS:
        for sample in samples:
            chosen.score(sample, Prediction(sample_id="1", text=loop * (64_000 // len(loop.encode()))))
    assert time.process_time() - started < 6  # minutes where a search begins again at each repetition


@given(st.text(alphabet="()（）ab", max_size=12))
def test_enclosed_text_is_what_a_regular_expression_finds(text):
    assert without_enclosed(text, {"(": ")"}) == re.sub(r"\([^)]*\)", " ", text)
    assert without_enclosed(text, {"(": ")", "（": "）"}) == re.sub(r"\([^)]*\)|（[^）]*）", " ", text)


@given(st.lists(st.sampled_from(["<answer>", "</answer>", "<ANSWER>", "</Answer>", " ", "\n", "a", "<"]), max_size=9))
def test_coloneval_s_tag_is_what_the_authors_expression_finds(parts):
    text = "".join(parts)
    found = re.search(r"<answer>\s*(.*?)\s*</answer>", text, re.DOTALL | re.IGNORECASE)
    assert _tagged(text).strip() == (found[1] if found else text).strip()
