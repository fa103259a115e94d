"""Judges of other authors: their replies, how a reply becomes a score, their counting; no number from a failure."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import fields
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from evalkit.cli.commands.judge import rule_of_another_task, without_facts_of_another_model
from evalkit.cli.config import load_option, options
from evalkit.core.errors import ConfigError
from evalkit.core.types import Prediction, Sample
from evalkit.judge.api import judge_run, recompute
from evalkit.judge.config import JudgeConfig
from evalkit.judge.metrics import signed_metrics
from evalkit.judge.parse_response import read_verdict
from evalkit.judge.results import judged_scores
from tests.support.fake_server import Act, FakeServer
from tests.support.judge_samples import IDENTITY, config

# Judges that name a form of replies, with a right and a wrong reply in that form.
REPLIES = {
    "lingshu": ("<think>Same.</think>\n<judge>0</judge>", "<think>Other.</think><judge> 1 </judge>"),
    "vlmevalkit-shortqa": (
        "[Begin Correctness]yes[End Correctness]\n[Begin Reason]no difference[End Reason]",
        '[Begin Correctness] "No" [End Correctness]',
    ),
    "score-object": ('```json\n{"score": 1}\n```', '{"score": 0}'),
    "inspect-evals": ('{"grade": "CORRECT"}', '{"explanation": "CORRECT?", "grade": "NOT_ATTEMPTED"}'),
    "lave": ("It names the same organ. So rating=3", "1 or 3? It is another organ.\nrating=1"),
    "medix-r1": (json.dumps(['{"score": 1}', '{"score": 0}', '{"score": 1}']), json.dumps(['{"score": 0}'] * 3)),
}
# Replies of which no label can be taken, by form; in each, something looks like one.
UNREADABLE = {
    "lingshu": ["<judge>0", "<judge>2</judge>", "<judge>0/1</judge>", "<judge>0</judge><judge>1</judge>", "judge: 0",
                "<think><judge>0</judge>", "", "It is correct.", "<judge>'0'</judge>", "judge 0.",
                # each is another label for MedEvalKit, which joins all tags of the whole reply
                "<JUDGE>0</JUDGE>", "<judge>0</judge> so <judge>0</judge>", "<think>Same.</think>0", "</think>0",
                "<think>not <judge>1</judge></think><judge>0</judge>", "<think>I write <judge></think>0",
                "<think>I write <judge></think><judge>0</judge>", "0\n"],
    "vlmevalkit-shortqa": ["[Begin Correctness]yes", "[Begin Correctness]yes or no[End Correctness]", "yes",
                           "[Begin Correctness]not yes[End Correctness]",
                           "[Begin Correctness]yes, but not so[End Correctness]", '{"verdict": "correct"}'],
    "score-object": ['{"score": 1', '{"score": 0.5}', '{"score": 1} {"score": 0}', '{"score": null}', '{"score": [1]}',
                     '{"score": NaN}', "1",
                     # of a key that occurs twice it is not known which value holds, whatever stands between or around
                     '{"score": 1, "score": 0}', '{"score": 0, "reason": "", "score": 1}', '[{"score": 1, "score": 0}]',
                     '{"score": 1, "score": 0, "score": 1}', '{"score": 1, "score": 0} {"score": 0}',
                     # half a reply: the object inside of it is not its label
                     '{"first": {"score": 1}, "score": 0', '{"rounds": [{"score": 1}], "score": 0',
                     '{"reason": "no end, "x": {"score": 1}', '```json\n{"was": {"score": 0}, "score":\n```',
                     '{"reason": "he said "left"", "was": {"score": 0}, "score": 1}',
                     # numbers beside the labels
                     '{"score": ".1"}', '{"score": ",1"}', '{"score": "!1"}', '{"score": 0.9999999}',
                     '{"score": 1.0000001}', '{"score": 2}', '{"score": -1}', '{"score": Infinity}',
                     '{"score": 1e400}', '{"score": "1/1"}', '{"Score": 1}', '{"score": "１"}'],
    "inspect-evals": ['{"grade": "CORRECT", "grade": "INCORRECT"}', '{"was": {"grade": "CORRECT"}, "grade": "INCO',
                      "CORRECT", '{"grade": "C"}', '{"grade": "NOT CORRECT"}', '{"grades": "CORRECT"}'],
    "lave": ["3", "rating=4", "rating=2.5", "rating=", "rating=3 of 3", "rating=.3", "rating=,3", "rating=:2",
             "rating=!3", "rating=-3", "rating=3/3", "rating=3\nrating=1?"],
    "medix-r1": [json.dumps(['{"score": 1}'] * 2), json.dumps(['{"score": 1}', "", '{"score": 1}']), '{"score": 1}',
                 json.dumps(['{"score": 1}', '{"score": 0', '{"score": 1}']), json.dumps([1, 1, 1])],
}  # fmt: skip


@cache
def shipped(name: str) -> dict[str, Any]:
    """The settings of a shipped judge."""
    known = {f.name for f in fields(JudgeConfig)}
    return {key: value for key, value in load_option("judge", name).items() if key in known}


def judge(name: str, url: str = "http://localhost:1/v1", **changes: Any) -> JudgeConfig:
    """A shipped judge on another server."""
    more = {
        "api_key_env": None,
        "model": "judge-2026-01-01",
        "base_url": url,
        "cache": None,
        "retries": 0,
        "shutdown": None,
    }
    return JudgeConfig(**{**shipped(name), **more, **changes})


def read(name: str, text: str | None, **reply: Any) -> tuple[str, float | None]:
    """Status of a reply and the credit of its label."""
    made = judge(name)
    assert made.form is not None
    found = read_verdict("correctness", text, form=made.form, rounds=made.rounds, **reply)
    return found.status, None if found.label is None else made.form.credit[found.label]


@pytest.mark.parametrize("name", REPLIES)
def test_a_reply_in_the_authors_form_is_read(name: str) -> None:
    right, wrong = REPLIES[name]
    assert read(name, right) == ("judged", 1.0)
    assert read(name, wrong) == ("judged", 0.0)


@pytest.mark.parametrize(("name", "text"), [(name, text) for name, texts in UNREADABLE.items() for text in texts])
def test_a_reply_without_one_label_has_no_score(name: str, text: str) -> None:
    assert read(name, text) == ("unreadable", None)


@pytest.mark.parametrize("name", REPLIES)
@pytest.mark.parametrize("reply", [{"finish": "length"}, {"finish": "content_filter"}, {"refusal": "I will not."}])
def test_a_cut_withheld_or_refused_reply_has_no_score(name: str, reply: dict[str, str]) -> None:
    status, credit = read(name, REPLIES[name][0], **reply)
    assert status in ("unreadable", "refused") and credit is None
    assert read(name, "I'm sorry, but I can't help with that.")[1] is None


@pytest.mark.parametrize(
    ("name", "text", "credit"),
    [
        ("lingshu", "0", 1.0),  # MedEvalKit takes a reply without tags whole
        ("vlmevalkit-shortqa", "[Begin Correctness]yes, it is[End Correctness]", 1.0),
        ("vlmevalkit-shortqa", "[Begin Correctness]**Yes**.[End Correctness]", 1.0),
        ("score-object", '{"score": "1"}', 1.0),
        ("score-object", '{"score": 1.0}', 1.0),
        ("score-object", '{"score": true}', 1.0),
        ("inspect-evals", '{"grade": "incorrect"}', 0.0),
        ("score-object", '{"score": 1, "score": 1}', 1.0),  # twice the same
        ("score-object", '{"reason": "he said "left"", "score": 0}\nIn JSON: {"score": 1}', 1.0),
        ("score-object", 'The set {a, b} and \\frac{1}{2} {"score": 1}', 1.0),
        ("score-object", '{{"score": 1}}', 1.0),
        ("score-object", '{"score": "1."}', 1.0),
        ("vlmevalkit-shortqa", "[Begin Correctness]: yes[End Correctness]", 1.0),
        ("lave", "rating=2", 0.5),
        ("lave", "**Rating: 3**", 1.0),
        ("lave", "rating=1\nrating=3.", 1.0),  # the last line decides
        ("medix-r1", json.dumps(['{"score": 0}', '<think>{"score": 1}</think>{"score": 0}', '{"score": 1}']), 0.0),
    ],
)
def test_neighbours_of_the_plain_replies(name: str, text: str, credit: float) -> None:
    assert read(name, text) == ("judged", credit)


def test_a_reply_of_opening_marks_alone_is_read_in_time_proportional_to_it() -> None:
    for text in ("<judge>" * 20_000, "[Begin Correctness]" * 10_000, "rating " * 20_000):
        for name in ("lingshu", "vlmevalkit-shortqa", "lave"):
            assert read(name, text)[1] is None


# --- end to end, against a server


def sample(k: int, gold: str, answer_type: str = "OPEN") -> Sample:
    return Sample(id=f"q{k}", image_id=f"im{k // 2}", question=f"Question {k}?", references=(gold,), tags={
        "answer_type": answer_type})  # fmt: skip


def answered(samples: list[Sample], texts: list[str]) -> list[Prediction]:
    return [Prediction(sample_id=s.id, text=t) for s, t in zip(samples, texts, strict=True)]


ROWS = [sample(0, "lung"), sample(1, "Yes", "CLOSED"), sample(2, "liver"), sample(3, "No", "CLOSED")]
TEXTS = ["The Lung", "yes", "spleen", "Yes"]


def by_lung(right: str, wrong: str) -> Callable[[int, dict[str, Any]], Act]:
    """A judge that calls answers right that name the lung."""
    return lambda n, body: Act(text=right if "lung" in candidate(body["messages"]).lower() else wrong)


@pytest.mark.parametrize("name", ["lingshu", "vlmevalkit-shortqa", "score-object", "inspect-evals", "lave", "medix-r1"])
def test_each_judge_end_to_end_asks_for_no_schema_and_gives_the_same_value_from_stored_replies(
    tmp_path: Path, name: str
) -> None:
    right, wrong = ('{"score": 1}', '{"score": 0}') if name == "medix-r1" else REPLIES[name]
    with FakeServer(by_lung(right, wrong)) as server:
        made = judge(name, server.url, rows="all" if name == "score-object" else shipped(name)["rows"])
        outcome = judge_run(tmp_path, made, ROWS, answered(ROWS, TEXTS))
        calls = list(server.calls)
    outcome.check()
    assert all("response_format" not in body for body in calls), "a schema was forced on a judge"
    assert all(body["messages"][0]["role"] == "user" for body in calls)
    # lingshu scores the closed rows by MedEvalKit's rule (q1 right), inspect-evals by its ANSWER line (none has one)
    n_calls, right_ids = {
        "lingshu": (2, {"q0", "q1"}),
        "inspect-evals": (2, {"q0"}),
        "medix-r1": (12, {"q0"}),
    }.get(name, (4, {"q0"}))
    assert len(calls) == n_calls
    found = {s.sample_id: s.value for s in judged_scores(tmp_path, name)}
    assert {key for key, value in found.items() if value} == right_ids and len(found) == 4
    value = outcome.scores.find("judged_accuracy")
    assert value is not None and value.value == len(right_ids) / 4
    assert recompute(tmp_path).metrics == outcome.scores.metrics
    signature = signed_metrics(outcome.scores, IDENTITY)[0].signature
    assert signature is not None and signature["judge_reply"].startswith(str(shipped(name)["reply"]["form"]))


# The first characters of a right reply, which a server or a token limit may end there.
HALVES = {
    "lingshu": "<judge>0", "vlmevalkit-shortqa": "[Begin Correctness]yes", "score-object": '{"score": 1',
    "inspect-evals": '{"grade": "CORR', "lave": "It names the same organ. rating=", "medix-r1": '{"score": 1',
}  # fmt: skip


@pytest.mark.few(9)
@pytest.mark.parametrize("name", HALVES)
@pytest.mark.parametrize("kind", ["outage", "half", "cut", "refusal", "withheld", "prose refusal"])
def test_an_outage_a_half_reply_and_a_refusal_give_no_number(tmp_path: Path, name: str, kind: str) -> None:
    whole = '{"score": 1}' if name == "medix-r1" else REPLIES[name][0]
    act = {
        "outage": Act(status=500),
        "half": Act(text=HALVES[name]),
        "cut": Act(text=whole, finish="length"),
        "refusal": Act(text=None, message={"refusal": "no"}),
        "withheld": Act(text=whole, finish="content_filter"),
        "prose refusal": Act(text="I'm sorry, but I can't judge medical answers."),
    }[kind]
    with FakeServer(lambda n, body: act) as server:
        made = judge(name, server.url, rows="all" if name == "score-object" else shipped(name)["rows"])
        outcome = judge_run(tmp_path, made, ROWS, answered(ROWS, TEXTS))
    assert outcome.scores.problem
    assert all(metric.value is None for metric in outcome.scores.metrics), "a failed judge gave a number"


def test_the_judge_of_lingshu_sees_what_medevalkit_shows(tmp_path: Path) -> None:
    rows = [sample(0, " Left LUNG "), sample(1, "Liver")]
    texts = [r"I think \boxed{The Lung}", "<answer>Spleen</answer> or so"]
    with FakeServer(lambda n, body: Act(text="<judge>0</judge>")) as server:
        judge_run(tmp_path / "a", judge("lingshu", server.url), rows, answered(rows, texts))
        judge_run(tmp_path / "b", judge("lingshu-slake", server.url), rows, answered(rows, texts))
        prompts = [body["messages"][0]["content"] for body in server.calls]
    assert "<answer>\nthe lung\n</answer>" in prompts[0] and "left lung" in prompts[0]
    assert "<answer>\nspleen\n</answer>" in prompts[1]
    assert "<answer>\nThe Lung\n</answer>" in prompts[2] and "Left LUNG" in prompts[2]


def test_medix_r1_shows_the_judge_its_replies_and_two_of_three_decide(tmp_path: Path) -> None:
    rounds = iter(['{"score": 0}', '{"score": 1}', '{"score": 1}'])
    with FakeServer(lambda n, body: Act(text=next(rounds))) as server:
        made = judge("medix-r1", server.url, again="Sure?", budget_tokens=10**6)
        outcome = judge_run(tmp_path, made, ROWS[:1], answered(ROWS[:1], ["lung"]))
        roles = [[m["role"] for m in body["messages"]] for body in server.calls]
        last = server.calls[-1]["messages"]
    assert roles == [["user"], ["user", "assistant", "user"], ["user", "assistant", "user", "assistant", "user"]]
    assert [m["content"] for m in last[1:]] == ['{"score": 0}', "Sure?", '{"score": 1}', "Sure?"]
    assert outcome.scores.find("judged_accuracy").value == 1.0  # type: ignore[union-attr]
    assert (outcome.tokens_in, outcome.tokens_out) == (900, 60), "the rounds of a call are paid together"


def test_a_round_that_is_refused_ends_the_call_without_a_number(tmp_path: Path) -> None:
    acts = iter([Act(text='{"score": 1}'), Act(text=None, message={"refusal": "I will not."})])
    with FakeServer(lambda n, body: next(acts)) as server:
        outcome = judge_run(tmp_path, judge("medix-r1", server.url), ROWS[:1], answered(ROWS[:1], ["lung"]))
        assert len(server.calls) == 2
    assert outcome.scores.outcomes == {"refused": 1}
    assert outcome.scores.find("judged_accuracy").value is None  # type: ignore[union-attr]


# --- counting


def published_example() -> tuple[list[Sample], list[Prediction]]:
    """VQA-RAD as Lingshu's table has MedGemma-4B: 251 closed rows, 79.3 % right, and 200 open ones, 64 % right."""
    rows = [sample(k, "yes", "CLOSED") for k in range(251)] + [sample(k, f"organ {k}") for k in range(251, 451)]
    texts = ["Yes" if k < 199 else "No" for k in range(251)]
    texts += ["right" if k < 128 else "wrong" for k in range(200)]
    return rows, answered(rows, texts)


def candidate(messages: list[dict[str, Any]]) -> str:
    """The answer that a prompt shows the judge."""
    return str(messages[0]["content"]).split("<answer>")[1].split("</answer>")[0].strip()


def reply_of(messages: list[dict[str, Any]]) -> str:
    return f"<judge>{0 if 'right' in candidate(messages) else 1}</judge>"


def test_a_figure_of_lingshus_table_comes_out_of_its_two_parts(tmp_path: Path) -> None:
    rows, texts = published_example()
    outcome = judge_run(tmp_path, judge("lingshu", transport="local"), rows, texts, complete=reply_of)
    outcome.check()
    found = outcome.scores.find("judged_accuracy")
    assert found is not None and found.value is not None
    assert (found.n, round(found.value * 451), f"{100 * found.value:.1f}") == (451, 327, "72.5")
    assert outcome.n_calls == 200
    closed = outcome.scores.find("judged_accuracy", "answer_type=CLOSED")
    assert closed is not None and closed.value == 199 / 251


def test_the_released_count_of_pathvqa_gives_no_closed_row_a_point(tmp_path: Path) -> None:
    rows, texts = published_example()
    made = judge("lingshu-pathvqa-as-released", transport="local")
    outcome = judge_run(tmp_path, made, rows, texts, complete=reply_of)
    assert outcome.scores.find("judged_accuracy").value == 128 / 451  # type: ignore[union-attr]


def test_the_released_count_of_slake_counts_closed_rows_twice_under_a_name_of_its_own(tmp_path: Path) -> None:
    rows = [sample(0, "Yes", "CLOSED"), sample(1, "Left", "CLOSED"), sample(2, "lung"), sample(3, "MRI", "CLOSED")]
    # Yes: rule and judge right; Left: judge alone; lung: open, right; MRI: both wrong
    texts = ["Yes", "The right one", "right", "CT"]
    made = judge("lingshu-slake-as-released", transport="local")

    def complete(messages: list[dict[str, Any]]) -> str:
        return f"<judge>{0 if candidate(messages) in ('Yes', 'right', 'The right one') else 1}</judge>"

    outcome = judge_run(tmp_path, made, rows, answered(rows, texts), complete=complete)
    (value,) = (m for m in outcome.scores.metrics if m.slice == "all")
    assert (value.metric, value.value) == ("accuracy_counted_twice", 1.0)
    assert outcome.scores.find("accuracy_counted_twice", "answer_type=CLOSED").value == 1.0  # type: ignore[union-attr]
    assert {s.sample_id: s.value for s in judged_scores(tmp_path, made.name)} == {"q0": 2, "q1": 1, "q2": 1, "q3": 0}
    once = judge_run(
        tmp_path / "b", judge("lingshu-slake", transport="local"), rows, answered(rows, texts), complete=complete
    )
    assert once.scores.find("judged_accuracy").value == 0.5  # type: ignore[union-attr]


def test_a_failed_answer_and_a_row_without_a_label_are_no_closed_points(tmp_path: Path) -> None:
    rows = [
        sample(0, "Yes", "CLOSED"),
        Sample(id="q1", image_id="i", question="?", references=("CT",)),  # MedEvalKit on SLAKE: closed
        sample(2, "lung"),
    ]
    texts = [Prediction(sample_id="q0", error="timeout"), *answered(rows[1:], ["CT.", "right"])]
    outcome = judge_run(tmp_path, judge("lingshu-slake", transport="local"), rows, texts, complete=reply_of)
    value = outcome.scores.find("judged_accuracy")
    assert value is not None and (value.value, value.n, value.n_unscored) == (1.0, 3, 1)
    assert outcome.n_calls == 1 and outcome.scores.n_no_answer == 1


# --- settings


def test_plans_of_judges_without_these_settings_keep_their_ids() -> None:
    made = config("http://127.0.0.1:1/v1", api_key_env=None)
    assert not {"reply", "rounds", "again", "closed", "counting", "prompt"} & set(made.record())
    assert made.digest() == "84413564"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"reply": "tag"}, "expected a mapping"),
        ({"reply": {"form": "tags", "name": "j", "credit": {"0": 1, "1": 0}}}, "judge.reply.form=tags"),
        ({"reply": {"form": "tag", "credit": {"0": 1, "1": 0}}}, "needs the name"),
        ({"reply": {"form": "word", "name": "x", "credit": {"0": 1, "1": 0}}}, "has no name"),
        ({"reply": {"form": "tag", "name": "j", "credit": {"0": 1}}}, "two labels or more"),
        ({"reply": {"form": "tag", "name": "j", "credit": {"0": 2, "1": 0}}}, "from 0 to 1"),
        ({"reply": {"form": "tag", "name": "j", "credit": {"0": True, "1": 0}}}, "from 0 to 1"),
        ({"reply": {"form": "tag", "name": "j", "credit": {"a": 1, "A": 0}}}, "differ in letters alone"),
        ({"reply": {"form": "tag", "name": "j", "credits": {}}}, "judge.reply.credits is not a setting"),
        ({"reply": {"form": "option", "name": "x", "credit": {"right": 1, "wrong": 0}}}, "has no name"),
        ({"reply": {"form": "option", "credit": {"a": 1, "b": 0}}}, "labels are right and wrong"),
        ({"rounds": 2}, "judge.rounds=2 is not possible: expected an odd number"),
        ({"rounds": 3}, "judge.rounds=3 needs"),
        ({"judged": "relative"}, "belong to judge.judged=correctness"),
        ({"closed": "medevalkit", "rows": "open"}, "judge.rows=open leaves out"),
        ({"closed": "judge", "counting": "zero"}, "set judge.closed"),
        ({"prompt": "../secret"}, "not the name of a shipped prompt"),
    ],
)
def test_a_setting_that_cannot_be_meant_is_refused_in_one_paragraph(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        judge("lingshu", **changes)
    assert "\n" not in str(caught.value)


def test_an_unknown_prompt_names_the_shipped_ones(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"no shipped prompt judge\.prompt=zero-right.*zero-is-right"):
        judge_run(tmp_path, judge("lingshu", prompt="zero-right"), ROWS, answered(ROWS, TEXTS))


def test_every_judge_of_others_says_where_its_form_is_from() -> None:
    others = [name for name in options("judge") if (load_option("judge", name).get("reply"))]
    assert len(others) >= 12
    for name in others:
        assert len(str(load_option("judge", name).get("source"))) > 40, name


@pytest.mark.slow
def test_each_judge_with_a_rule_for_closed_rows_names_its_tasks_and_warns_on_any_other() -> None:
    with_rule = {name: load_option("judge", name) for name in options("judge")}
    with_rule = {name: judge for name, judge in with_rule.items() if judge.get("closed", "judge") != "judge"}
    assert {"lingshu", "lingshu-slake", "hulu-med", "medmo-slake", "inspect-evals", "coloneval"} <= set(with_rule)
    for name, found in with_rule.items():
        assert found["tasks"] and set(found["tasks"]) <= set(options("task")), name
        assert not any(rule_of_another_task(found, task) for task in found["tasks"])
        assert f"judge={name} scores closed rows" in rule_of_another_task(found, "gmai-mmbench")
    assert "Judges for slake: " in rule_of_another_task(with_rule["lingshu"], "slake")
    assert rule_of_another_task(load_option("judge", "score-object"), "slake") == ""


def test_another_model_has_neither_the_price_nor_the_shutdown_of_the_shipped_one() -> None:
    ours = load_option("judge", "lingshu")
    assert ours["price"] and ours["shutdown"]
    assert without_facts_of_another_model(ours, ours) == (dict(ours), "")
    found, note = without_facts_of_another_model({**ours, "model": "my-judge"}, ours)
    assert (found["price"], found["shutdown"], found["model"]) == (None, None, "my-judge")
    assert "judge.price and judge.shutdown of lingshu" in note and "my-judge" in note
    own = {"input": 1.0, "output": 1.0, "date": "2026-11-01"}
    found, note = without_facts_of_another_model({**ours, "model": "my-judge", "price": own}, ours)
    assert found["price"] == own and found["shutdown"] is None
    plain = load_option("judge", "score-object")  # it has no model of its own
    assert without_facts_of_another_model({**plain, "model": "m", "price": own}, plain)[1] == ""
