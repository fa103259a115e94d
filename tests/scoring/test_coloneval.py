"""ColonEval's scorers on degenerate and ordinary answers; the values are those of the authors' own functions."""

from __future__ import annotations

from typing import Any

import pytest

from evalkit.cli.config import build, load_option
from evalkit.core.types import Prediction, Sample
from evalkit.scoring.base import ScoringProtocol

IMAGING = (
    "Linked Color Imaging (LCI)", "Narrow Band Imaging (NBI)", "Blue Light Imaging (BLI)", "White Light Imaging (WLI)",
)  # fmt: skip
PHASES = ("resection margin", "dyed resection margin", "resected polyp", "dyed lifted polyp")
SIZES = ("0mm < polyp < 6mm", "6mm ≤ polyp < 20mm", "polyp ≥ 30mm")
CECUM = "Yes. This image shows cecum."
NOTHING = "No. This image does not show any anatomical landmarks."


@pytest.fixture(scope="module")
def protocol() -> ScoringProtocol:
    return build(load_option("protocol", "coloneval"), "coloneval")


def sample(gold: str, choices: tuple[str, ...] = ()) -> Sample:
    tags: dict[str, Any] = {"answer_type": "CHOICE"} if choices else {}
    return Sample(id="q", image_id="i", question="Which?", references=(gold,), choices=choices, tags=tags)


def value(protocol: ScoringProtocol, row: Sample, answer: str) -> float | None:
    (score,) = protocol.score(row, Prediction(sample_id="q", text=answer, finish_reason="stop"))
    assert (score.value is None) == bool(score.reason)
    return score.value


@pytest.mark.parametrize(
    ("gold", "choices", "answer", "right"),
    [
        # degenerate answers
        (IMAGING[1], IMAGING, "", 0.0), ("polyp", (), "", 0.0), ("Yes", (), "", 0.0), (CECUM, (), " ", 0.0),
        (IMAGING[1], IMAGING, "undecidable", 0.0), ("Yes", (), "yes, undecidable", 0.0),
        # options
        (IMAGING[1], IMAGING, "B", 1.0), (IMAGING[1], IMAGING, "b) it is", 1.0), (IMAGING[1], IMAGING, "(B)", 1.0),
        (IMAGING[1], IMAGING, "NBI is used.", 1.0), (IMAGING[1], IMAGING, "narrow band imaging is used", 1.0),
        (IMAGING[1], IMAGING, "Blue Light Imaging", 0.0), (IMAGING[1], IMAGING, "<E>", 0.0),
        (IMAGING[1], IMAGING, "<B> Blue Light Imaging (BLI)", 0.0), (IMAGING[1], IMAGING, "<B> Ultrasound", 0.0),
        (IMAGING[1], IMAGING, "<think>A or B</think><answer> <B> </answer>", 1.0),
        (IMAGING[1], IMAGING, "NBI or LCI", None), (PHASES[3], PHASES, "This is a dyed lifted polyp", None),
        (PHASES[3], PHASES, "not dyed lifted polyp", 1.0), (PHASES[1], PHASES, "dyed resection margin", 1.0),
        # ranges
        (SIZES[0], SIZES, "The polyp is larger than 0 and smaller than 6mm.", 0.0),
        (SIZES[0], SIZES, "The polyp is larger than 0, and it is smaller than 6", 1.0),
        (SIZES[2], SIZES, "It is at least 30 mm", 1.0), (SIZES[2], SIZES, "It is at least 20 mm", 0.0),
        (SIZES[0], SIZES, "0mm < polyp", 0.0), (SIZES[2], SIZES, "C", 1.0),
        # yes or no
        ("Yes", (), "I think the answer is yes.", 1.0), ("yes", (), "No", 0.0), ("No", (), "none", 0.0),
        ("Yes", (), "Yes, and no dysplasia", None), ("No", (), "nothing", 0.0),
        # landmarks
        (CECUM, (), "yes", 0.5), (CECUM, (), "The cecum is visible", 1.0), (CECUM, (), "No cecum", 0.0),
        (NOTHING, (), "No", 0.5), (NOTHING, (), NOTHING, 1.0), (CECUM, (), "It is not visible, yes", 0.0),
        # the longest run
        ("low grade adenoma", (), "grade adenoma", 2 / 3), ("low grade adenoma", (), "low other adenoma", 1 / 3),
        ("low-grade adenoma", (), "A Low Grade Adenoma!", 1.0), ("low grade adenoma", (), "polyp", 0.0),
        ("polyp", (), "polyps", 1.0), ("?", (), "anything", 1.0),
    ],
)  # fmt: skip
def test_values_are_those_of_the_authors_code(
    protocol: ScoringProtocol, gold: str, choices: tuple[str, ...], answer: str, right: float | None
) -> None:
    assert value(protocol, sample(gold, choices), answer) == right


def test_an_answer_for_the_referee_says_so_and_a_row_with_two_right_options_is_named(protocol: ScoringProtocol) -> None:
    row = sample(IMAGING[1], IMAGING)
    (score,) = protocol.score(row, Prediction(sample_id="q", text="A and C", finish_reason="stop"))
    assert score.reason.startswith("several options are named")
    two = Sample(
        id="q", image_id="i", question="?", references=IMAGING[:2], choices=IMAGING, tags={"answer_type": "CHOICE"}
    )
    assert value(protocol, two, "A") is None
