"""engine=server and parameters that a server refuses: asked once with them, then without, said and recorded."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from evalkit.clients.parameters import refused_parameters
from evalkit.core.errors import ConfigError, EngineError
from tests.support.command_line import in_this_process as evalkit
from tests.support.engine_answers import answers
from tests.support.fake_server import Act, Body, FakeServer
from tests.support.server_engine import MODEL, echo, engine, make_requests, serving, spec

SAMPLED = {"temperature": 0.7, "top_p": 0.9, "seed": 3, "stop": ("###",)}


def openai_error(message: str, param: str | None = None, code: str | None = None) -> Act:
    return Act(status=400, error={"message": message, "type": "invalid_request_error", "param": param, "code": code})


# How servers refuse a parameter: name of the parameter -> error.  {} is the parameter.
FORMS = {
    "openai": lambda p: openai_error(f"Unsupported parameter: '{p}' is not supported with this model.", p, "x"),
    "openai's value": lambda p: openai_error(
        f"Unsupported value: '{p}' does not support 0.7 with this model. Only the default (1) value is supported.", p
    ),
    "without param": lambda p: openai_error(f"Unrecognized request argument supplied: {p}"),
    "deprecated": lambda p: openai_error(f"`{p}` is deprecated for this model."),
    "google": lambda p: Act(
        status=400,
        raw=json.dumps(
            [
                {
                    "error": {
                        "code": 400,
                        "message": f'Invalid JSON payload received. Unknown name "{p}": Cannot find field.',
                    }
                }
            ]
        ).encode(),
    ),
    "pydantic": lambda p: Act(
        status=422,
        raw=json.dumps(
            {"detail": [{"type": "extra_forbidden", "loc": ["body", p], "msg": "Extra inputs are not permitted"}]}
        ).encode(),
    ),
    "a text": lambda p: Act(
        status=400, raw=json.dumps({"error": f"Argument not supported on this model: {p}"}).encode()
    ),
    "no JSON": lambda p: Act(status=400, raw=f"parameter '{p}' is not supported".encode()),
}


def refusing(refused: dict[str, Act]) -> Any:
    """A server that refuses parameters, one error at a time, and answers the rest slowly enough to be overlapped."""

    def behave(n: int, body: Body) -> Act:
        for name, act in refused.items():
            if name in body:
                return act
        return Act(text=echo(n, body).text, delay=0.01)

    return behave


@pytest.mark.parametrize("parameter", ["temperature", "top_p", "seed", "stop"])
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.few(4)
def test_a_refused_parameter_costs_one_call_in_all_and_is_left_out(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], form: str, parameter: str
) -> None:
    generation = spec(**SAMPLED).generation
    requests = make_requests(tmp_path, [1] * 24, generation)
    with serving(refusing({parameter: FORMS[form](parameter)})) as server:
        made = engine(server, spec=spec(**SAMPLED), concurrency=12)
        answers(made, requests)
        assert len(server.calls) == 25, "refused once, whatever is in flight"
        assert sum(parameter in body for body in server.calls) == 1
        others = {"temperature", "top_p", "seed", "stop", "max_tokens"} - {parameter}
        assert all(others <= set(body) for body in server.calls)
    record = made.metadata()
    assert record["refused_by_server"] == [parameter]
    assert capsys.readouterr().err.count(f"the server refuses {parameter}; it is left out") == 1
    assert made.generation_suffix == ("" if parameter == "stop" else f".without-{parameter}")


@pytest.mark.parametrize("advice", [" Use 'max_completion_tokens' instead.", ""])
def test_max_tokens_is_renamed_and_never_left_out(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], advice: str
) -> None:
    message = f"Unsupported parameter: 'max_tokens' is not supported with this model.{advice}"
    with serving(refusing({"max_tokens": openai_error(message, "max_tokens", "unsupported_parameter")})) as server:
        made = engine(server, concurrency=8)
        answers(made, make_requests(tmp_path, [2] * 10))
        assert len(server.calls) == 21
        assert all(body["max_completion_tokens"] == 12 for body in server.calls[1:])
    assert "max_tokens is refused" not in capsys.readouterr().err
    record = made.metadata()
    assert (record["refused_by_server"], record["sent_as"]) == ([], {"max_tokens": "max_completion_tokens"})
    assert made.generation_suffix == "", "the same limit under another name is the same request"


def test_several_refusals_cost_one_call_each(tmp_path: Path) -> None:
    refused = {name: FORMS["openai"](name) for name in ("max_tokens", "temperature", "seed")}
    generation = spec(**SAMPLED).generation
    with serving(refusing(refused)) as server:
        made = engine(server, spec=spec(**SAMPLED), concurrency=8)
        answers(made, make_requests(tmp_path, [1] * 10, generation))
        assert len(server.calls) == 13
    assert made.generation_suffix == ".without-seed+temperature"


def test_of_two_that_exclude_each_other_one_stays(tmp_path: Path) -> None:
    def behave(n: int, body: Body) -> Act:
        if {"temperature", "top_p"} <= set(body):
            return openai_error("`temperature` and `top_p` cannot both be specified for this model.")
        return echo(n, body)

    with serving(behave) as server:
        made = engine(server, spec=spec(**SAMPLED))
        answers(made, make_requests(tmp_path, [1] * 4, spec(**SAMPLED).generation))
        assert all("temperature" in body for body in server.calls)
    assert made.metadata()["refused_by_server"] == ["top_p"]


# Errors after which nothing may be left out: they are about a value, or about something else.
OTHERS = {
    "a value": openai_error(
        "Invalid 'temperature': decimal above maximum value. Expected a value <= 1.", "temperature"
    ),
    "a range": openai_error("temperature must be between 0 and 2", "temperature"),
    "the context": openai_error(
        "'max_tokens' or 'max_completion_tokens' is too large: 900. This model's maximum context length is 512 tokens."
    ),
    "too many": openai_error("max_tokens is too large: 64000. This model supports at most 16384 completion tokens"),
    "an image": openai_error("You uploaded an unsupported image. Please make sure your image is valid.", None),
    "a word": openai_error("The model cannot stop here; this operation is not supported."),
    "the question": openai_error("Unsupported content: 'is the parameter temperature normal? stop. seed'"),
}


@pytest.mark.parametrize("name", OTHERS)
def test_other_errors_leave_the_request_as_it_is(tmp_path: Path, name: str) -> None:
    from dataclasses import replace

    generation = spec(**SAMPLED).generation
    asked = "is the parameter temperature normal? stop. seed"
    requests = make_requests(tmp_path, [1] * 9, generation)
    worded = [
        replace(r, messages=(replace(r.messages[0], content=(*r.messages[0].content[:1], asked)),)) for r in requests
    ]
    with serving(lambda n, body: OTHERS[name]) as server:
        made = engine(server, spec=spec(**SAMPLED), concurrency=1)
        with pytest.raises(EngineError, match="refuses every request"):
            list(made.generate(worded))
        assert all(set(body) == set(server.calls[0]) for body in server.calls)
    assert made.metadata()["refused_by_server"] == []


def test_a_setting_of_open_models_that_was_chosen_is_not_left_out_by_itself() -> None:
    sent = {"top_k": 3, "repetition_penalty": 1.2, "messages": []}
    error = b'{"error": {"message": "Unsupported parameter: top_k, repetition_penalty", "param": null}}'
    assert refused_parameters(error, None, sent, ("temperature", "seed")) == []
    assert refused_parameters(error, None, sent, ("top_k",)) == ["top_k"]


@pytest.mark.slow
def test_a_slow_first_answer_does_not_hold_up_the_others(tmp_path: Path) -> None:
    with serving(lambda n, body: Act(text="x", delay=1.5 if n == 0 else 0.0)) as server:
        made = engine(server, concurrency=4)
        made.state.parameters.seconds = 0.1
        answers(made, make_requests(tmp_path, [1] * 8))
        ended = [number for what, number in server.events if what == "ends"]
    assert ended[-1] == 0, "the seven others were answered meanwhile"


def test_a_first_call_that_fails_lets_the_others_go(tmp_path: Path) -> None:
    with serving(lambda n, body: Act(cut=True) if n == 0 else echo(n, body)) as server:
        made = engine(server, concurrency=4, retries=0)
        batches = list(made.generate(make_requests(tmp_path, [1] * 8)))
    errors = [p.error for batch in batches for p in batch if p.error]
    assert len(errors) == 1 and "no reply" in str(errors[0])


def test_what_is_dropped_from_the_start_is_never_sent_and_names_the_run(tmp_path: Path) -> None:
    with serving() as server:
        made = engine(server, drop=["temperature", "max_tokens"])
        plain = engine(server)
        answers(made, make_requests(tmp_path, [1] * 3))
        assert all({"temperature", "max_tokens"}.isdisjoint(body) for body in server.calls)
        assert all(body["max_completion_tokens"] == 12 for body in server.calls)
        assert engine(server, drop=["repetition_penalty"]).identity == plain.identity, "it was neutral"
        with pytest.raises(ConfigError, match=r"engine.drop=temprature.*temperature"):
            engine(server, drop=["temprature"])
    assert made.identity != plain.identity and made.generation_suffix == ".without-temperature"
    assert made.metadata()["not_sent"] == ["temperature"]


def run(server: FakeServer, out: Path, *words: str) -> Any:
    at = ["task=phantom", "limit=6", "model=phantom-llava", f"out={out}", "leaderboard=null", "engine=server"]
    return evalkit(*at, f"engine.url={server.url}", f"engine.served_model={MODEL}", *words, cwd=out)


@pytest.mark.slow
def test_a_later_start_of_the_run_asks_without_what_was_refused(tmp_path: Path) -> None:
    refusal = FORMS["openai"]("temperature")

    def behave(n: int, body: Body) -> Act:
        return refusal if "temperature" in body else Act(status=400) if n in (3, 4) else echo(n, body)

    with serving(behave) as server:
        first = run(server, tmp_path)
        assert first.returncode == 3, first.stderr
        before = len(server.calls)
        second = run(server, tmp_path)
        assert second.returncode == 0, second.stderr
        assert all("temperature" not in body for body in server.calls[before:])
        third = run(server, tmp_path)
    assert len(server.calls) == before + 2
    folder = Path(third.stdout.splitlines()[-1])
    for result in (second, third):
        assert "the server refuses" not in result.stderr
    manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    assert manifest["facts"]["refused_by_server"] == ["temperature"]
    assert manifest["generation"].endswith(".without-temperature")
    summary = json.loads((folder / "summary.json").read_text(encoding="utf-8"))
    assert all("|gen:greedy.max16.without-temperature|" in m["signature"] for m in summary["metrics"])
    words = ("score", f"predictions={folder}", "task=phantom", "max_unmatched=1", f"out={tmp_path / 'again'}")
    scored = evalkit(*words, cwd=tmp_path)
    again = json.loads((Path(scored.stdout.splitlines()[-1]) / "summary.json").read_text(encoding="utf-8"))
    assert all("|gen:greedy.max16.without-temperature|" in m["signature"] for m in again["metrics"])
