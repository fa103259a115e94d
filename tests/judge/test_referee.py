"""A referee for multiple choice: exact matching first, a model for the rest, no number from a failure."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from evalkit.core.errors import ConfigError
from evalkit.core.types import CHOICE, Prediction, Sample
from evalkit.judge.api import judge_run, recompute
from evalkit.judge.metrics import signed_metrics
from evalkit.judge.parse_response import read_verdict
from evalkit.judge.results import judged_scores
from tests.support.fake_server import Act, FakeServer
from tests.support.judge_samples import IDENTITY, config, vqa

OPTIONS = ("CT", "MRI", "Ultrasound")


def sample(k: int, right: str = "MRI") -> Sample:
    return Sample(
        id=f"q{k}", image_id=f"im{k}", question=f"Which modality is number {k}?", references=(right,), choices=OPTIONS,
        tags={"answer_type": CHOICE},
    )  # fmt: skip


def option(letter: str) -> Act:
    return Act(text=json.dumps({"reason": "because", "option": letter}))


def test_only_what_exact_matching_does_not_read_is_asked(tmp_path: Path) -> None:
    texts = ["B", "It is an MRI.", "Answer: A", "magnetic resonance", "sound waves", "no idea at all"]
    samples = [sample(k) for k in range(len(texts))]
    replies = {"magnetic": "B", "waves": "C", "idea": "none"}

    def behave(n: int, body: dict) -> Act:
        text = body["messages"][-1]["content"]
        assert "A. CT" in text and "C. Ultrasound" in text
        assert "reference" not in text.lower(), "a referee is not shown the right option"
        return option(next(letter for word, letter in replies.items() if word in text))

    predictions = [Prediction(sample_id=s.id, text=t) for s, t in zip(samples, texts, strict=True)]
    with FakeServer(behave) as server:
        outcome = judge_run(tmp_path, config(server.url, judged="referee"), samples, predictions)
        assert len(server.calls) == 3
    outcome.check()
    (value,) = (m for m in outcome.scores.metrics if m.slice == "all")
    assert (value.metric, value.n, value.n_unscored, value.value) == ("choice_accuracy", 6, 0, 0.5)
    assert outcome.scores.verdicts == {"B": 3, "A": 1, "C": 1, "none": 1}
    assert outcome.scores.outcomes == {"judged": 6}
    assert signed_metrics(outcome.scores, IDENTITY)[0].signature["judge_prompt"].startswith("referee.v1@")
    assert recompute(tmp_path).metrics == outcome.scores.metrics
    found = {s.sample_id: s.value for s in judged_scores(tmp_path, "server")}
    assert found == {"q0": 1, "q1": 1, "q2": 0, "q3": 1, "q4": 0, "q5": 0}


@pytest.mark.parametrize(
    "reply", ["", "A or B", "I would say something else entirely", '{"option": "Q"}', '{"option": 3}']
)
def test_a_referee_that_names_no_option_gives_no_number(tmp_path: Path, reply: str) -> None:
    samples = [sample(k) for k in range(4)]
    texts = ["B", "B", "B", "some other scan"]
    predictions = [Prediction(sample_id=s.id, text=t) for s, t in zip(samples, texts, strict=True)]
    with FakeServer(lambda n, b: Act(text=reply)) as server:
        whole = judge_run(tmp_path / "a", config(server.url, judged="referee", cache=None), samples, predictions)
        some = judge_run(
            tmp_path / "b", config(server.url, judged="referee", cache=None, max_failed=0.5), samples, predictions
        )
    assert whole.scores.find("choice_accuracy").value is None, "a failed referee gave a number"
    found = some.scores.find("choice_accuracy")
    assert (found.value, found.n, found.n_unscored, found.value_worst_case) == (1.0, 4, 1, 0.75)


def test_replicates_settle_and_ask_alike_and_a_second_session_asks_nothing(tmp_path: Path) -> None:
    samples = [sample(0), sample(1)]
    predictions = [Prediction(sample_id="q0", text="B"), Prediction(sample_id="q1", text="resonance")]
    judge = {"judged": "referee", "replicates": 3, "cache": None}
    with FakeServer(lambda n, b: option("B")) as server:
        first = judge_run(tmp_path, config(server.url, **judge), samples, predictions)
        again = judge_run(tmp_path, config(server.url, **judge), samples, predictions)
        assert len(server.calls) == 3
    assert first.scores.outcomes == again.scores.outcomes == {"judged": 6}
    assert again.scores.find("choice_accuracy").value == 1.0


def test_the_users_prompt_is_read_by_the_same_matching(tmp_path: Path) -> None:
    prompt = tmp_path / "theirs.j2"
    prompt.write_text("Q: {{ question }}\n{{ options }}\nA: {{ candidate }}\nLetter, or Z:", encoding="utf-8")
    samples = [sample(0), sample(1)]
    predictions = [Prediction(sample_id="q0", text="resonance"), Prediction(sample_id="q1", text="a photograph")]
    with FakeServer(lambda n, b: Act(text="Z" if "photograph" in b["messages"][-1]["content"] else "B.")) as server:
        judge = config(server.url, judged="referee", prompt_file=str(prompt))
        outcome = judge_run(tmp_path / "run", judge, samples, predictions)
    assert outcome.scores.verdicts == {"B": 1, "none": 1}
    assert outcome.scores.find("choice_accuracy").value == 0.5


def test_answers_of_equal_content_with_other_golds_are_scored_by_their_own(tmp_path: Path) -> None:
    one = sample(0)
    other = Sample(
        id="other", image_id="im9", question=one.question, references=("CT",), choices=OPTIONS, tags=one.tags
    )
    predictions = [Prediction(sample_id=s.id, text="resonance") for s in (one, other)]
    with FakeServer(lambda n, b: option("B")) as server:
        outcome = judge_run(tmp_path, config(server.url, judged="referee"), [one, other], predictions)
        assert len(server.calls) == 1
    assert outcome.scores.find("choice_accuracy").value == 0.5


def test_what_a_referee_cannot_do_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="order=swap"):
        config("http://localhost:1/v1", judged="referee", order="swap")
    rows = vqa(2)
    with pytest.raises(ConfigError, match="multiple choice"):
        judge_run(
            tmp_path,
            config("http://localhost:1/v1", judged="referee"),
            rows,
            [Prediction(sample_id=s.id, text="x") for s in rows],
        )


@pytest.mark.parametrize(
    ("reply", "label"),
    [
        ('{"reason": "x", "option": "b"}', "B"),
        ('{"option": "none"}', "none"),
        ('{"option": "Z"}', "none"),
        ('{"option": "A"} or {"option": "B"}', None),
        ("<think>B</think>C", "C"),
        ("C", "C"),
        ("D", None),
    ],
)
def test_replies(reply: str, label: str | None) -> None:
    found = read_verdict("referee", reply, options=OPTIONS)
    assert found.label == label and (found.status == "judged") == (label is not None)
