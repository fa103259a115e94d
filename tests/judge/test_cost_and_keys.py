"""Cost and keys: estimates, budgets, lifetimes of models, and no API key in any file or message."""

from __future__ import annotations

import logging
from datetime import date
from pathlib import Path

import pytest

from evalkit.core.errors import ConfigError, JudgeError, Partial
from evalkit.judge.api import judge_run
from evalkit.judge.config import JudgeConfig
from tests.support.fake_server import Act, FakeServer, scores
from tests.support.judge_samples import KEY, answers, chat, config

PRICE = {"input": 2.0, "output": 8.0, "date": "2026-03-18"}


def test_a_missing_key_is_one_clear_paragraph_before_any_request(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("JUDGE_TEST_KEY")
    monkeypatch.setenv("OPENAI_API_KEY", "sk-another-servers-key")
    samples = chat(2)
    with FakeServer(lambda n, b: scores(8, 4)) as server:
        with pytest.raises(JudgeError, match=r"JUDGE_TEST_KEY is not set\. No request was sent") as caught:
            judge_run(tmp_path, config(server.url), samples, answers(samples))
        assert "\n" not in str(caught.value) and caught.value.exit_code == 2
        assert not server.headers


def test_a_server_without_keys_is_not_sent_the_key_of_another_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-another-servers-key")
    samples = chat(2)
    with FakeServer(lambda n, b: scores(8, 4)) as server:
        judge_run(tmp_path, config(server.url, api_key_env=None), samples, answers(samples))
        assert server.headers and not any("another" in str(h) for h in server.headers)


@pytest.mark.parametrize("status", [401, 403])
def test_a_wrong_key_is_one_clear_paragraph_before_anything_is_spent(tmp_path: Path, status: int) -> None:
    samples = chat(2)
    echo = Act(status=status, error={"error": {"message": f"Incorrect API key provided: {KEY}"}})
    with FakeServer(lambda n, b: scores(8, 4), models=lambda path: echo) as server:
        with pytest.raises(JudgeError, match="refuses the key") as caught:
            judge_run(tmp_path, config(server.url), samples, answers(samples))
        assert not server.calls
    assert "JUDGE_TEST_KEY" in str(caught.value) and KEY not in str(caught.value)


def test_an_unknown_model_is_one_clear_paragraph_with_the_near_names(tmp_path: Path) -> None:
    samples = chat(2)
    with FakeServer(lambda n, b: scores(8, 4)) as server:
        with pytest.raises(JudgeError, match="Did you mean 'judge-2026-01-01'"):
            judge_run(tmp_path, config(server.url, model="judge-2026-01-10"), samples, answers(samples))
        assert not server.calls


@pytest.mark.parametrize("status", [404, 405, 500, 501])
def test_a_server_without_a_list_of_models_is_used(tmp_path: Path, status: int) -> None:
    samples = chat(2)
    with FakeServer(lambda n, b: scores(8, 4), models=lambda path: Act(status=status)) as server:
        judge_run(tmp_path, config(server.url), samples, answers(samples)).check()
        assert len(server.calls) == 2


def test_an_unknown_model_that_only_the_first_call_reveals_is_an_error(tmp_path: Path) -> None:
    samples = chat(30)
    act = Act(status=404, error={"message": "The model `x` does not exist", "code": "model_not_found"})
    with FakeServer(lambda n, b: act, models=lambda path: Act(status=500)) as server:
        with pytest.raises(JudgeError, match="has no model"):
            judge_run(tmp_path, config(server.url), samples, answers(samples))
        assert len(server.calls) <= 4


def test_a_model_that_was_shut_down_is_refused_before_any_request(tmp_path: Path) -> None:
    samples = chat(2)
    with FakeServer(lambda n, b: scores(8, 4)) as server:
        settings = config(server.url, shutdown="2026-10-23")
        with pytest.raises(JudgeError, match="shut down on 2026-10-23"):
            judge_run(tmp_path, settings, samples, answers(samples), today=date(2026, 11, 23))
        assert not server.headers


def test_an_announced_shutdown_in_the_yaml_or_from_the_server_gives_a_warning(tmp_path: Path) -> None:
    samples = chat(2)
    entry = {"id": "judge-2026-01-01", "shutdown_date": "2027-02-01"}
    messages: list[str] = []
    with FakeServer(lambda n, b: scores(8, 4), models=lambda path: Act(message=entry)) as server:
        settings = config(server.url, shutdown="2027-01-14")
        judge_run(tmp_path, settings, samples, answers(samples), say=messages.append, today=date(2026, 11, 23))
        warned = [s for s in messages if s.startswith("warning")]
        assert "2027-01-14, in 52 days" in warned[0] and "2027-02-01, in 70 days" in warned[1]
        gone = date(2027, 3, 1)
        with pytest.raises(JudgeError, match="2027-02-01"):
            judge_run(tmp_path / "b", config(server.url, cache=None), samples, answers(samples), today=gone)


def test_judgments_of_a_judge_that_was_shut_down_still_come_from_the_cache(tmp_path: Path) -> None:
    samples = chat(2)
    with FakeServer(lambda n, b: scores(8, 4)) as server:
        judge_run(tmp_path / "a", config(server.url), samples, answers(samples))
        settings = config(server.url, shutdown="2026-10-23")
        judge_run(tmp_path / "b", settings, samples, answers(samples), today=date(2026, 11, 23)).check()


def test_a_model_name_without_a_date_gives_a_warning() -> None:
    from evalkit.judge.config import check_lifetime

    def warnings(model: str) -> list[str]:
        return check_lifetime(config("https://api.openai.com/v1", model=model), date(2026, 11, 23))

    assert "alias" in warnings("gpt-4.1")[0]
    assert not warnings("gpt-4.1-2025-04-14") and not warnings("gpt-4-0613")


def test_the_key_is_in_no_file_log_or_message_even_when_the_server_echoes_it(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    samples = chat(20)
    caplog.set_level(logging.DEBUG)

    def behave(n: int, body: dict) -> Act:
        if n % 3 == 0:
            return Act(text=f"your key is {KEY}")
        if n % 3 == 1:
            return Act(status=400, error={"message": f"bad request by {KEY}"})
        return scores(8, 4)

    messages: list[str] = []
    with FakeServer(behave) as server:
        settings = config(server.url, transport="server", replicates=2)
        outcome = judge_run(tmp_path / "run", settings, samples, answers(samples), say=messages.append)
        assert any(KEY in str(h) for h in server.headers), "the key was sent"
    batch = config(server.url, transport="batch", name="batch", cache=None)
    judge_run(tmp_path / "run", batch, samples, answers(samples), say=messages.append)
    with pytest.raises(Partial) as caught:
        outcome.check()
    captured = capfd.readouterr()
    for text in (
        caplog.text,
        captured.out,
        captured.err,
        str(caught.value),
        str(outcome),
        repr(messages),
        repr(settings),
    ):
        assert KEY not in text
    files = [p for p in tmp_path.rglob("*") if p.is_file()]
    assert {"judgments.jsonl", "judge.sqlite", "judged-server.json", "requests-001.jsonl"} <= {p.name for p in files}
    for path in files:
        assert KEY.encode() not in path.read_bytes(), path


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"api_key_env": KEY}, "must be the name of an environment variable"),
        ({"base_url": f"http://user:{KEY}@127.0.0.1/v1"}, "no user, password or query"),
        ({"base_url": f"http://127.0.0.1/v1?key={KEY}"}, "no user, password or query"),
        ({"base_url": None}, "base_url"),
        ({"base_url": "localhost:8000"}, "base_url"),
        ({"model": None}, r"judge\.model"),
        ({"order": "swop"}, "Did you mean 'swap'"),
        ({"max_failed": 1.0}, "expected a share"),
        ({"replicates": 0}, "from 1"),
        ({"shutdown": "soon"}, "not a date"),
        ({"budget_usd": 1.0}, "the price of judge"),
        ({"price": {"input": 1.0}}, "output"),
        ({"price": {"input": 1.0, "output": 1.0}}, "date"),
        ({"price": {**PRICE, "outptu": 3}}, "Did you mean 'output'"),
        ({"prompt_version": 0}, "a version from 1"),
        ({"transport": "submit"}, "judge.transport=batch writes the request files"),
        ({"transport": "collect"}, "not submitted by evalkit"),
    ],
)
def test_a_wrong_setting_is_refused_without_repeating_a_key(change: dict, message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        config("http://127.0.0.1:1/v1", **change)
    assert KEY not in str(caught.value)


def test_a_budget_in_tokens_is_never_exceeded_and_judging_continues_with_a_higher_one(tmp_path: Path) -> None:
    samples = chat(40)
    act = scores(8, 4)
    act.usage = {"prompt_tokens": 400, "completion_tokens": 100}
    with FakeServer(lambda n, b: act) as server:
        first = judge_run(tmp_path, config(server.url, budget_tokens=10_000), samples, answers(samples))
        made = len(server.calls)
        assert 15 <= made <= 20
        assert first.tokens_in + first.tokens_out == made * 500 <= 10_000
        with pytest.raises(Partial, match="budget of 10000 tokens is used up"):
            first.check()
        again = judge_run(tmp_path, config(server.url, budget_tokens=10_000), samples, answers(samples))
        assert (again.n_calls, len(server.calls)) == (0, made), "the tokens of earlier sessions count"
        last = judge_run(tmp_path, config(server.url, budget_tokens=40_000), samples, answers(samples))
        assert len(server.calls) == 40
    last.check()
    assert last.scores.find("relative_score").value == 0.5


def test_a_budget_in_dollars_uses_the_token_counts_of_the_server(tmp_path: Path) -> None:
    samples = chat(40)
    act = scores(8, 4)
    act.usage = {"prompt_tokens": 1000, "completion_tokens": 100}
    with FakeServer(lambda n, b: act) as server:
        settings = config(server.url, budget_usd=0.05, price=PRICE)
        outcome = judge_run(tmp_path, settings, samples, answers(samples))
        spent = len(server.calls) * (1000 * 2 + 100 * 8) / 1e6
        assert 0.04 <= spent <= 0.05
    with pytest.raises(Partial, match=r"budget of 0\.05 USD"):
        outcome.check()


def test_without_token_counts_a_call_costs_everything_that_was_reserved(tmp_path: Path) -> None:
    samples = chat(40)
    act = scores(8, 4)
    act.usage = None
    with FakeServer(lambda n, b: act) as server:
        judge_run(tmp_path, config(server.url, budget_tokens=10_000), samples, answers(samples))
        assert 5 < len(server.calls) < 20


def test_the_shipped_judges_are_valid_and_named_after_their_files() -> None:
    from evalkit.cli.config import build, load_option, options

    for name in options("judge"):
        content = load_option("judge", name)
        assert content["name"] == name and options("judge")[name]
        if name == "none":
            continue
        if content["model"] is None:  # these need a model from the user
            content = {**content, "model": "m", "base_url": content["base_url"] or "http://localhost:1/v1"}
        made = build(content, f"judge {name}")
        assert isinstance(made, JudgeConfig)
        assert made.api_key_env in (None, "OPENAI_API_KEY")
