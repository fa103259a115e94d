"""ColonEval's referee: asked about answers that name several options alone; no number from what it does not say."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from evalkit.core.types import CHOICE, Prediction, Sample
from evalkit.judge.api import judge_run, recompute
from evalkit.judge.results import judged_scores
from evalkit.scoring.protocols.coloneval import named_option
from tests.judge.test_judges_of_others import judge
from tests.support.fake_server import Act, FakeServer

IMAGING = ("Linked Color Imaging (LCI)", "Narrow Band Imaging (NBI)", "White Light Imaging (WLI)")
SIZES = ("0mm < polyp < 6mm", "6mm ≤ polyp < 20mm", "polyp ≥ 30mm")


def row(k: int, gold: str, choices: tuple[str, ...] = ()) -> Sample:
    tags = {"answer_type": CHOICE} if choices else {}
    return Sample(id=f"q{k}", image_id=f"i{k}", question="Which?", references=(gold,), choices=choices, tags=tags)


ROWS = [
    row(0, IMAGING[1], IMAGING), row(1, IMAGING[1], IMAGING), row(2, "Yes"), row(3, "no"), row(4, SIZES[0], SIZES),
    row(5, "low grade adenoma"), row(6, IMAGING[0], IMAGING),
]  # fmt: skip
TEXTS = ["NBI", "NBI or LCI", "Yes, and no bleeding", "Yes and no", "A or B", "a grade adenoma", "WLI, then LCI"]
# The option of the rows that are asked about: q1 right, q2 right, q3 wrong, q4 undecided, q6 wrong
REPLIES = {"NBI or LCI": "B", "no bleeding": "A", "Yes and no": "A", "A or B": "none", "then LCI": "C"}


def predictions() -> list[Prediction]:
    return [Prediction(sample_id=s.id, text=t) for s, t in zip(ROWS, TEXTS, strict=True)]


def replying(form: str) -> Any:
    def behave(n: int, body: dict[str, Any]) -> Act:
        text = body["messages"][-1]["content"]
        letter = next(letter for said, letter in REPLIES.items() if said in text)
        options = ("yes", "no") if "A. yes" in text else SIZES if "polyp" in text else IMAGING
        if form == "json":
            return Act(text=f'{{"reason": "x", "option": "{letter}"}}')
        place = "ABC".find(letter)
        whole = "undecidable" if place < 0 else options[place] if len(options) == 2 else f"<{letter}> {options[place]}"
        return Act(text=whole)

    return behave


@pytest.mark.parametrize("form", ["json", "as the authors ask"])
def test_only_answers_that_name_several_are_asked_about_and_the_rest_is_the_rules(tmp_path: Path, form: str) -> None:
    with FakeServer(replying(form)) as server:
        outcome = judge_run(tmp_path, judge("coloneval", server.url), ROWS, predictions())
        assert len(server.calls) == 5 and all("response_format" not in body for body in server.calls)
        assert all("Narrow" not in b["messages"][-1]["content"] for b in server.calls if "A. yes" in str(b))
    outcome.check()
    found = {s.sample_id: s.value for s in judged_scores(tmp_path, "coloneval")}
    assert found == {"q0": 1, "q1": 1, "q2": 1, "q3": 0, "q4": 0, "q5": pytest.approx(2 / 3), "q6": 0}
    value = outcome.scores.find("judged_accuracy")
    assert value is not None and value.value == pytest.approx((3 + 2 / 3) / 7) and value.n_unscored == 0
    assert recompute(tmp_path).metrics == outcome.scores.metrics


@pytest.mark.parametrize(
    "act",
    [
        Act(status=500), Act(text=None, message={"refusal": "no"}), Act(text="analysisWe need to decide between"),
        Act(text='{"reason": "x", "option": "'), Act(text="I'm sorry, I can't say. No."), Act(text="A or B"),
        Act(text=""),
        Act(text="B", finish="length"), Act(text="It is not the NBI.\nSo A"), Act(text="There is no answer"),
    ],
)  # fmt: skip
def test_what_is_no_option_gives_no_number(tmp_path: Path, act: Act) -> None:
    with FakeServer(lambda n, body: act) as server:
        outcome = judge_run(tmp_path, judge("coloneval", server.url), ROWS, predictions())
    assert outcome.scores.problem and all(m.value is None for m in outcome.scores.metrics)
    assert {s.sample_id for s in judged_scores(tmp_path, "coloneval") if s.value is None} >= {"q2", "q3"}


@pytest.mark.parametrize(
    ("reply", "options", "letter"),
    [
        ("<B> Narrow Band Imaging (NBI)", IMAGING, "B"), ("NBI", IMAGING, "B"), ("B.", IMAGING, "B"),
        ("(C)", IMAGING, "C"),
        ("Undecidable.", IMAGING, "Z"), ("NBI and WLI", IMAGING, ""), ("", IMAGING, ""),
        ("<D> Ultrasound", IMAGING, ""),
        ("6mm ≤ polyp < 20mm", SIZES, "B"), ("Yes.", ("yes", "no"), "A"), ("No", ("yes", "no"), "B"),
        ("yes or no", ("yes", "no"), ""), ("There is no mass", ("yes", "no"), ""), ("not undecidable", IMAGING, ""),
        ("(B) or undecidable", IMAGING, ""),
    ],
)  # fmt: skip
def test_options_named_by_a_reply(reply: str, options: tuple[str, ...], letter: str) -> None:
    assert named_option(reply, options) == letter
