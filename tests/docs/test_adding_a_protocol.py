"""docs/adding-a-protocol.md: its example works as written."""

import re

import yaml

from evalkit.core.types import Prediction, Sample
from evalkit.scoring.protocol_table import COLUMNS, protocol_row
from tests.support.paths import ROOT

PAGE = (ROOT / "docs/adding-a-protocol.md").read_text(encoding="utf-8")


def block(language: str) -> str:
    found = re.search(rf"```{language}\n(.*?)```", PAGE, re.S)
    assert found is not None
    return found[1]


def test_the_example_protocol_scores_an_answer():
    namespace: dict[str, object] = {"__name__": "first_word"}
    exec(block("python"), namespace)
    config = yaml.safe_load(block("yaml"))
    settings = {key: value for key, value in config.items() if key not in ("about", "target")}
    protocol = namespace[config["target"].partition(":")[2]](**settings)
    sample = Sample(id="1", image_id="1", question="Is it?", references=("Yes",), tags={"answer_type": "CLOSED"})
    assert [s.value for s in protocol.score(sample, Prediction(sample_id="1", text="yes, it is"))] == [1.0]
    assert [s.reason for s in protocol.score(sample, Prediction(sample_id="1", text=" "))] == ["empty answer"]


def test_a_protocol_without_a_card_is_listed_with_dashes():
    row = protocol_row(yaml.safe_load(block("yaml")))
    assert row == ("first-word.1", *["–"] * (len(COLUMNS) - 1))
