"""engine=server with a fake server: content and order of the requests, and predictions made from replies."""

from __future__ import annotations

import asyncio
import gc
import itertools
import json
import signal
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evalkit.core.errors import ConfigError, EngineError
from evalkit.core.images import open_image
from evalkit.core.types import Generation, ImagePlace, ImageRef, Message, Prediction, Request
from evalkit.engines.request_schedule import RequestSchedule, RequestSession, ScheduledRequest
from tests.support.engine_answers import answers
from tests.support.fake_server import Act, Body
from tests.support.server_engine import (
    MODEL,
    echo,
    engine,
    listing,
    make_requests,
    picture_key,
    pictures,
    question,
    serving,
    spec,
)

QUESTIONS = [6, 1, 4, 2, 1, 1]


def test_every_request_is_answered_once_with_the_text_of_its_own_reply(tmp_path: Path) -> None:
    requests = make_requests(tmp_path, QUESTIONS)
    with serving() as server:
        got = answers(engine(server), requests)
        assert len(server.calls) == len(requests)
    assert got == {r.sample_id: (f"seen: {r.question}", "stop", 20) for r in requests}


def test_no_requests_means_no_calls(tmp_path: Path) -> None:
    with serving() as server:
        assert list(engine(server).generate([])) == []
        assert server.calls == []


def images_of_every_kind(folder: Path) -> list[ImageRef]:
    import numpy as np
    from PIL import Image

    rng = np.random.default_rng(3)
    colours = Image.fromarray(rng.integers(0, 255, (21, 33, 3), dtype=np.uint8))
    exif = Image.Exif()
    exif[0x0112] = 6  # rotated by 90 degrees
    colours.save(folder / "turned.jpg", exif=exif)
    colours.save(folder / "plain.png")
    Image.fromarray(rng.integers(0, 255, (9, 8, 4), dtype=np.uint8), "RGBA").save(folder / "alpha.png")
    Image.fromarray(rng.integers(100, 4000, (12, 10), dtype=np.uint16)).save(folder / "sixteen.png")
    colours.convert("P").save(folder / "palette.gif")
    files = [ImageRef(kind="file", path=str(path)) for path in sorted(folder.iterdir())]
    return [*files, ImageRef(kind="blank", of=files[0])]


def about(ref: ImageRef, number: int, **settings: Any) -> Request:
    return Request(
        sample_id=str(number),
        image_id=str(number),
        question=f"number {number}?",
        answer_type=None,
        messages=(
            Message(role="system", content=("Be brief.",)),
            Message(role="user", content=("Look:", ImagePlace(), f"number {number}?")),
        ),
        images=(ref,),
        image_digests=(str(ref),),
        generation=Generation(**{"max_new_tokens": 5, **settings}),
        checkpoint="c",
    )


def test_images_arrive_with_the_exact_pixels_of_other_engines(tmp_path: Path) -> None:
    refs = images_of_every_kind(tmp_path)
    assert len(refs) == 6
    with serving() as server:
        answers(engine(server), [about(ref, i) for i, ref in enumerate(refs)])
        assert len(server.calls) == len(refs)
        for body in server.calls:
            number = int("".join(c for c in question(body) if c.isdigit()))
            (seen,) = pictures(body)
            want = open_image(refs[number])
            assert (seen.mode, seen.size) == ("RGB", want.size)
            assert seen.tobytes() == want.tobytes()


def test_the_parts_of_a_message_keep_their_order_and_text(tmp_path: Path) -> None:
    (ref, *_) = images_of_every_kind(tmp_path)
    with serving() as server:
        answers(engine(server), [about(ref, 7)])
        (body,) = server.calls
    assert body["messages"][0] == {"role": "system", "content": "Be brief."}
    content = body["messages"][1]["content"]
    assert [part["type"] for part in content] == ["text", "image_url", "text"]
    assert [part.get("text") for part in content] == ["Look:", None, "number 7?"]


def test_a_question_without_an_image_is_sent_as_plain_text() -> None:
    words = (Message(role="user", content=("What is", " it?")),)
    request = Request(
        sample_id="1", image_id="1", question="", answer_type=None, messages=words, images=(), image_digests=(),
        generation=spec().generation, checkpoint="c",
    )  # fmt: skip
    with serving() as server:
        answers(engine(server), [request])
        assert server.calls[0]["messages"] == [{"role": "user", "content": "What is it?"}]


def test_an_images_first_question_is_answered_before_its_others_are_sent(tmp_path: Path) -> None:
    requests = make_requests(tmp_path, QUESTIONS)
    with serving(lambda n, body: Act(text="x", delay=0.01, until=lambda: n == 0 or server.most_busy > 1)) as server:
        made = engine(server, concurrency=3)
        answers(made, requests)
        keys = [picture_key(body) for body in server.calls]
        began = {n: at for at, (what, n) in enumerate(server.events) if what == "begins"}
        ended = {n: at for at, (what, n) in enumerate(server.events) if what == "ends"}
        assert 1 < server.most_busy <= 3
    for key in set(keys):
        first, *others = [n for n, k in enumerate(keys) if k == key]
        assert all(began[n] > ended[first] for n in others)
    assert made.metadata()["counters"]["image_encodes"] == len(set(keys)) == len(QUESTIONS)


def test_without_a_leader_requests_are_still_ordered_by_image(tmp_path: Path) -> None:
    requests = make_requests(tmp_path, QUESTIONS)
    with serving() as server:
        answers(engine(server, concurrency=1, lead=False), requests)
        keys = [picture_key(body) for body in server.calls]
    changes = sum(a != b for a, b in itertools.pairwise(keys))
    assert changes == len(QUESTIONS) - 1
    assert [keys.count(k) for k in dict.fromkeys(keys)] == sorted(QUESTIONS, reverse=True)


def test_concurrency_limits_the_requests_in_flight(tmp_path: Path) -> None:
    requests = make_requests(tmp_path, [1] * 12)
    # The first request is sent alone: its answer says what the server refuses.
    with serving(lambda n, body: Act(text="x", delay=0.02, until=lambda: n == 0 or server.most_busy >= 5)) as server:
        answers(engine(server, concurrency=5), requests)
        assert server.most_busy == 5


def test_answers_are_yielded_as_they_arrive(tmp_path: Path) -> None:
    requests = make_requests(tmp_path, [1] * 6)
    arrived = threading.Event()
    with serving(lambda n, body: Act(text="x", until=None if n < 3 else arrived.is_set)) as server:
        given_out = engine(server, concurrency=3).generate(requests)
        first = next(given_out)
        arrived.set()
        assert 1 <= len(first) <= 3
        assert len(first) + sum(len(batch) for batch in given_out) == 6


def test_closing_the_generator_stops_all_requests(tmp_path: Path) -> None:
    requests = make_requests(tmp_path, [1] * 20)
    with serving(lambda n, body: Act(text="x", delay=0.01)) as server:
        given_out = engine(server, concurrency=2).generate(requests)
        next(given_out)
        given_out.close()
        time.sleep(0.1)
        calls_so_far = len(server.calls)
        time.sleep(0.1)
        assert len(server.calls) == calls_so_far < 20


REPLIES: dict[str, tuple[Act, str, str]] = {
    "an empty text": (Act(text=""), "", "stop"),
    "white space around": (Act(text=" yes \n"), "yes", "stop"),
    "the limit": (Act(text="it is", finish="length"), "it is", "length"),
    "the end token by name": (Act(text="yes", finish="eos_token"), "yes", "stop"),
    "a reason of its own": (Act(text="yes", finish="other"), "yes", "unknown"),
    "parts": (
        Act(message={"content": [{"type": "text", "text": "it is"}, {"type": "text", "text": " so"}]}),
        "it is so",
        "stop",
    ),
    "a part of plain text": (Act(message={"content": ["yes"]}), "yes", "stop"),
    "a part after a thought": (
        Act(message={"content": [{"type": "thinking", "thinking": []}, {"type": "text", "text": "yes"}]}),
        "yes",
        "stop",
    ),
    "no error": (
        Act(raw=b'{"error": null, "choices": [{"finish_reason": "STOP", "message": {"content": "yes"}}]}'),
        "yes",
        "stop",
    ),
    "another word for the limit": (Act(text="it is", finish="MAX_TOKENS"), "it is", "length"),
    "words that refuse": (Act(text="I'm sorry, I can't."), "I'm sorry, I can't.", "stop"),
}


@pytest.mark.parametrize("name", REPLIES)
def test_a_reply_becomes_the_expected_prediction(tmp_path: Path, name: str) -> None:
    act, text, finish = REPLIES[name]
    with serving(lambda n, body: act) as server:
        ((got,),) = engine(server).generate(make_requests(tmp_path, [1]))
    assert (got.text, got.finish_reason, got.error, got.attempts) == (text, finish, None, ())


def test_a_reply_without_token_counts_has_none(tmp_path: Path) -> None:
    with serving(lambda n, body: Act(text="yes", usage=None)) as server:
        ((got,),) = engine(server).generate(make_requests(tmp_path, [1]))
    assert got.n_tokens is None and got.seconds is not None


def body_of(tmp_path: Path, **settings: Any) -> tuple[Body, Prediction, dict[str, Any]]:
    generation = Generation(**{"max_new_tokens": 9, **settings})
    with serving() as server:
        made = engine(server, spec=spec(**{"max_new_tokens": 9, **settings}))
        ((got,),) = made.generate(make_requests(tmp_path, [1], generation))
        return server.calls[-1], got, made.metadata()


def test_greedy_settings_are_sent_in_full_and_nothing_else(tmp_path: Path) -> None:
    body, _, record = body_of(tmp_path)
    del body["messages"]
    assert body == {"model": MODEL, "max_tokens": 9, "temperature": 0.0, "repetition_penalty": 1.0}
    assert record["not_standard"] == ["repetition_penalty"]


def test_sampling_settings_are_sent_with_a_seed_of_the_request(tmp_path: Path) -> None:
    settings = {"temperature": 0.7, "top_p": 0.9, "top_k": 50, "repetition_penalty": 1.1, "seed": 3}
    body, _, _ = body_of(tmp_path, **settings)
    again, _, _ = body_of(tmp_path, **settings)
    other, _, _ = body_of(tmp_path, **settings | {"seed": 4})
    want = {"max_tokens": 9, "temperature": 0.7, "top_p": 0.9, "top_k": 50, "repetition_penalty": 1.1}
    assert {k: v for k, v in body.items() if k not in ("model", "messages", "seed")} == want
    assert body["seed"] == again["seed"] != other["seed"]
    assert 0 <= body["seed"] < 2**31


def test_beams_are_refused() -> None:
    with serving() as server, pytest.raises(ConfigError, match="no beam search"):
        engine(server, spec=spec(num_beams=3))


def test_the_text_ends_at_the_first_stop_string_even_if_the_server_ignores_it(tmp_path: Path) -> None:
    generation = Generation(max_new_tokens=9, stop=("###", "END"))
    with serving(lambda n, body: Act(text="yes END no ### more", finish="length")) as server:
        ((got,),) = engine(server, spec=spec(stop=("###", "END"))).generate(make_requests(tmp_path, [1], generation))
        assert server.calls[0]["stop"] == ["###", "END"]
    assert (got.text, got.finish_reason) == ("yes", "stop")


@pytest.mark.parametrize(
    "refusal",
    [
        {"message": "Unexpected fields in the request: {'repetition_penalty'}"},
        {"message": "Unrecognized request argument supplied: repetition_penalty", "param": None},
    ],
)
def test_a_refused_neutral_setting_is_left_out(tmp_path: Path, refusal: dict) -> None:
    def behave(n: int, body: Body) -> Act:
        return Act(status=422, error=refusal) if "repetition_penalty" in body else echo(n, body)

    requests = make_requests(tmp_path, [1] * 6)
    with serving(behave) as server:
        made = engine(server, concurrency=1)
        answers(made, requests)
        assert len(server.calls) == 7, "refused once, then left out"
    assert made.metadata()["refused_by_server"] == ["repetition_penalty"]
    assert made.metadata()["not_standard"] == []


def test_a_refused_setting_that_changes_answers_is_an_error(tmp_path: Path) -> None:
    def behave(n: int, body: Body) -> Act:
        return (
            Act(status=400, error={"message": "Unsupported parameter: 'top_k'"}) if "top_k" in body else echo(n, body)
        )

    settings = {"temperature": 0.5, "top_k": 3}
    requests = make_requests(tmp_path, [1] * 20, Generation(max_new_tokens=12, **settings))
    with serving(behave) as server, pytest.raises(EngineError, match=r"refuses every request.*top_k"):
        list(engine(server, spec=spec(**settings)).generate(requests))


def test_extra_parameters_are_sent_unchanged_and_cannot_set_decoding(tmp_path: Path) -> None:
    extra = {"chat_template_kwargs": {"enable_thinking": False}}
    with serving() as server:
        made = engine(server, extra_body=extra)
        answers(made, make_requests(tmp_path, [1]))
        assert server.calls[0]["chat_template_kwargs"] == {"enable_thinking": False}
        assert made.metadata()["extra_body"] == extra
        with pytest.raises(ConfigError, match=r"extra_body may not contain temperature, top_k"):
            engine(server, extra_body={"top_k": 1, "temperature": 1.0, "x": 1})


def test_the_servers_template_is_recorded_and_the_models_can_be_sent(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    requests = make_requests(tmp_path, [1])
    with serving() as server:
        plain = engine(server, spec=spec(chat_template="{{ x }}"))
        answers(plain, requests)
        assert "has a chat template in its YAML, but the server uses its own" in capsys.readouterr().err
        sending = engine(server, spec=spec(chat_template="{{ x }}"), send_template=True)
        answers(sending, requests)
        assert capsys.readouterr().err == ""
        assert "chat_template" not in server.calls[0]
        assert server.calls[1]["chat_template"] == "{{ x }}"
        with pytest.raises(ConfigError, match="none to send"):
            engine(server, send_template=True)
    assert plain.identity != sending.identity
    assert (plain.metadata()["chat_template"], sending.metadata()["chat_template"]) == (
        "the server's own", "the model's, sent with each request",
    )  # fmt: skip


def test_the_identity_depends_on_the_model_and_not_on_the_address() -> None:
    with serving() as one, serving() as two:
        first = engine(one).identity
        assert engine(two).identity == first
        assert engine(one, concurrency=9, lead=False, timeout=9.0).identity == first
        assert engine(one, revision="abc").identity != first
        assert engine(one, extra_body={"x": 1}).identity != first
    others = [
        listing(**{"/version": {"version": "0.12.0"}}),
        listing(**{"/info": {"model_sha": "f00", "docker_label": "x"}}),
        listing(**{"/v1/models": {"data": [{"id": MODEL, "root": "/weights/other"}]}}),
        listing(**{"/v1/models": Act(status=500)}),
    ]
    seen = {first}
    for models in others:
        with serving(models=models) as server:
            seen.add(engine(server).identity)
    assert len(seen) == 5
    later = {"id": MODEL, "created": 2, "owned_by": "vllm", "root": "/weights/tiny", "permission": [{"id": "random"}]}
    with serving(models=listing(**{"/v1/models": {"data": [later]}})) as server:
        assert engine(server).identity == first, "times and permissions do not identify weights"


def test_the_metadata_marks_the_weights_as_reported_by_the_server(tmp_path: Path) -> None:
    usage = {"prompt_tokens": 600, "completion_tokens": 3, "prompt_tokens_details": {"cached_tokens": 500}}
    with serving(lambda n, body: Act(text="x", usage=usage)) as server:
        made = engine(server, revision="abc")
        answers(made, make_requests(tmp_path, [2]))
    record = json.loads(json.dumps(made.metadata()))
    assert record["weights_sha256"] is None and "reported by the server" in record["weights"]
    assert record["server_says"] == {
        "/models": {"root": "/weights/tiny", "owned_by": "vllm"}, "/version": {"version": "0.11.0"},
    }  # fmt: skip
    assert (record["listed"], record["revision"], record["served_model"]) == (True, "abc", MODEL)
    assert record["attempts"] == {"200": 2}
    assert record["models_returned"] == {MODEL: 2} and record["system_fingerprints"] == {"fp_1": 2}
    assert record["counters"] == {
        "image_encodes": 1, "replies": 2, "prompt_tokens": 1200, "cached_tokens": 1000, "answer_tokens": 6,
    }  # fmt: skip


@given(
    sizes=st.lists(st.integers(1, 5), min_size=1, max_size=8),
    concurrency=st.integers(1, 6),
    lead=st.booleans(),
    waits=st.lists(st.integers(0, 4), min_size=1, max_size=9),
    breaks=st.one_of(st.none(), st.integers(0, 20)),
)
def test_each_request_is_sent_once_whatever_the_groups_and_delays(
    sizes: list[int], concurrency: int, lead: bool, waits: list[int], breaks: int | None
) -> None:
    groups = [[about(ImageRef(kind="file", path=str(g)), 10 * g + i) for i in range(n)] for g, n in enumerate(sizes)]
    begun: list[str] = []
    done: list[str] = []

    async def ask(scheduled: ScheduledRequest) -> Prediction:
        if breaks is not None and len(begun) == breaks:
            raise EngineError("gone")
        begun.append(scheduled.request.sample_id)
        assert len(begun) - len(done) <= concurrency
        if lead and scheduled.request is not scheduled.group.requests[0]:
            assert scheduled.group.requests[0].sample_id in done
        for _ in range(waits[len(begun) % len(waits)]):
            await asyncio.sleep(0)
        done.append(scheduled.request.sample_id)
        return Prediction(sample_id=scheduled.request.sample_id, text="")

    async def run() -> list[str]:
        session = RequestSession(RequestSchedule(iter(groups), lead), ask)
        await session.start(concurrency)
        landed: list[str] = []
        try:
            while batch := await session.next_batch():
                landed += [p.sample_id for p in batch]
        except EngineError:
            landed.append("gone")
        await session.close()
        return landed

    landed = asyncio.run(run())
    every = [r.sample_id for group in groups for r in group]
    assert len(set(begun)) == len(begun)
    if breaks is None or breaks >= len(every):
        assert sorted(landed) == sorted(begun) == sorted(every)
    else:
        assert landed[-1] == "gone" and set(landed[:-1]) <= set(done)


def test_an_interrupt_during_a_request_is_raised_once_and_the_rest_is_closed() -> None:
    """Ctrl-C may arrive while any task runs: the message is one line, and no traceback follows it."""
    later: list[str] = []
    closed: list[str] = []

    async def ask(scheduled: ScheduledRequest) -> Prediction:
        await asyncio.sleep(0.001)
        if scheduled.request.sample_id == "0":
            raise KeyboardInterrupt
        try:
            await asyncio.sleep(60)
        finally:
            closed.append(scheduled.request.sample_id)
        raise AssertionError("not reached")

    with asyncio.Runner() as runner:
        runner.get_loop().set_exception_handler(lambda _, context: later.append(str(context)))
        groups = [[about(ImageRef(kind="file", path=str(i)), i)] for i in (1, 0)]
        session = RequestSession(RequestSchedule(iter(groups), False), ask)
        runner.run(session.start(2))
        with pytest.raises(KeyboardInterrupt):
            runner.run(session.next_batch())
        runner.run(session.close())
    gc.collect()
    assert closed == ["1"] and later == []


def test_ctrl_c_between_batches_ends_the_run_after_everything_is_closed(tmp_path: Path) -> None:
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    given: list[Prediction] = []
    whole = False
    try:
        with serving(echo) as server:
            requests = make_requests(tmp_path, [4] * 10)
            with pytest.raises(KeyboardInterrupt):
                for batch in engine(server, concurrency=1).generate(requests):
                    given += batch
                    if not whole:
                        signal.raise_signal(signal.SIGINT)
                        whole = True  # the processing of the batch completes
        assert whole and 0 < len(given) < len(requests)
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler, (
            "a second Ctrl-C gets Python's default handler"
        )
    finally:
        signal.signal(signal.SIGINT, before)
