"""Properties of every protocol on any answer."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evalkit.core.types import Prediction
from evalkit.scoring.row_protocol import covers
from tests.support.protocols import CONF, protocol, row

# the protocols for any question: one whose task decides what it is scores other things (boxes) and has tests of its own
NAMES = sorted(
    path.stem
    for path in CONF.glob("*.yaml")
    if "evalkit.scorers." in (text := path.read_text(encoding="utf-8")) and "\ntask: null" not in text
)
ROW_PROTOCOLS = [name for name in NAMES if hasattr(protocol(name), "marks")]
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


@pytest.mark.parametrize("name", ROW_PROTOCOLS)
@given(gold=GOLDS, answer=TEXTS, answer_type=st.sampled_from(["OPEN", "CLOSED", None]))
def test_each_metric_of_the_row_has_one_score_in_0_to_1_or_a_reason(name, gold, answer, answer_type):
    chosen = protocol(name)
    sample = row(gold, answer_type)
    found = chosen.score(sample, Prediction(sample_id="1", text=answer))
    assert [s.metric for s in found] == [m.name for m in chosen.metrics if covers(m, chosen.is_closed(sample))]
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
    assert set(chosen.card) == {"rows", "closed_rule", "open_rule", "normaliser", "aggregation", "prompt", "bugs"}
    assert all(set(bug) == {"bug", "effect"} for bug in chosen.card["bugs"])
    assert all(isinstance(v, str) for v in chosen.settings().values())


@pytest.mark.parametrize("name", ROW_PROTOCOLS)
def test_a_score_depends_only_on_its_row(name):
    cases = [("yes", "CLOSED", "Yes."), ("lung", "OPEN", "left lung"), ("no", "CLOSED", "")]
    rows = [(row(gold, kind), Prediction(sample_id="1", text=answer)) for gold, kind, answer in cases]
    forward = [protocol(name).score(*pair) for pair in rows]
    assert [protocol(name).score(*pair) for pair in reversed(rows)] == forward[::-1]
