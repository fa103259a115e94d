"""engine=server: tokens, price, budget, waiting for rate limits, and images at a stated size."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from evalkit.clients.rate_limits import RateWaits
from evalkit.core.errors import ConfigError, Partial, StoreError
from evalkit.core.types import Prediction
from evalkit.engines.chat_format import within
from tests.support import command_line
from tests.support.command_line import folder_of
from tests.support.engine_answers import answers
from tests.support.fake_server import Act, Body
from tests.support.server_engine import MODEL, echo, engine, make_requests, pictures, serving

# Each answer of the stand-in has 300 tokens in and 20 out: 0.32 USD at 1,000 USD per million tokens.
DEAR = [1000.0, 1000.0]
EACH = 0.32


def taken(made: Any, requests: Any) -> tuple[list[Prediction], str]:
    found: list[Prediction] = []
    try:
        for batch in made.generate(requests):
            found += batch
    except Partial as problem:
        return found, str(problem)
    return found, ""


@pytest.mark.parametrize("concurrency", [1, 8])
def test_asking_stops_before_the_budget_is_passed_and_the_answers_are_kept(tmp_path: Path, concurrency: int) -> None:
    requests = make_requests(tmp_path, [1] * 20)
    with serving(lambda n, body: Act(text="x", delay=0.01)) as server:
        made = engine(server, concurrency=concurrency, price_per_million=DEAR, budget_usd=4.0)
        found, why = taken(made, requests)
        n_calls = len(server.calls)
    assert 0 < len(found) == n_calls < 20 and not any(p.failed for p in found)
    assert made.metadata()["cost"]["usd"] == pytest.approx(EACH * n_calls) and EACH * n_calls <= 4.0
    assert "the budget of 4 USD is used up" in why and "engine.budget_usd" in why


def test_a_budget_counts_what_earlier_starts_of_the_run_have_spent(tmp_path: Path) -> None:
    requests = make_requests(tmp_path, [1] * 20)
    run = tmp_path / "run"
    run.mkdir()
    with serving() as server:
        for _ in range(3):
            made = engine(server, price_per_million=DEAR, budget_usd=4.0)
            made.use_folder(run)
            taken(made, requests)
        assert EACH * len(server.calls) <= 4.0, "three starts together"
        assert made.metadata()["cost"]["usd"] == pytest.approx(EACH * len(server.calls))
    (run / "server.json").write_text('{"refused": []}', encoding="utf-8")
    with serving() as server, pytest.raises(StoreError, match=r"server.json is damaged"):
        engine(server).use_folder(run)


def test_a_budget_without_a_price_or_with_a_bad_one_is_refused_before_anything_is_asked() -> None:
    with serving() as server:
        for settings, words in (
            ({"budget_usd": 1.0}, "the price of lab/tiny-vlm is unknown"),
            ({"price_per_million": [1.0]}, "expected two prices"),
            ({"price_per_million": [1.0, -2.0]}, "expected two prices"),
            (
                {"budget_usd": 0.0, "price_per_million": DEAR},
                "engine.budget_usd=0.0 is not possible: expected an amount above 0",
            ),
            ({"max_pixels": 0}, "engine.max_pixels=0 is not possible: expected a number of pixels"),
        ):
            with pytest.raises(ConfigError, match=words):
                engine(server, **settings)
        assert not server.headers


def test_replies_without_counts_are_taken_for_the_most_that_they_can_be(tmp_path: Path) -> None:
    with serving(lambda n, body: Act(text="x", usage=None)) as server:
        made = engine(server, price_per_million=DEAR, budget_usd=4.0)
        found, why = taken(made, make_requests(tmp_path, [1] * 20))
    assert 0 < len(found) < 20 and "is used up" in why


def run(cwd: Path, url: str, *words: str) -> Any:
    at = ("task=phantom", "limit=12", "model=phantom-llava", "leaderboard=null", "engine=server")
    return command_line.in_this_process(*at, f"engine.url={url}", f"engine.served_model={MODEL}", *words, cwd=cwd)


@pytest.mark.slow
def test_the_command_line_shows_cost_at_the_end_and_stops_at_the_budget(tmp_path: Path) -> None:
    with serving() as server:
        words = ("engine.price_per_million=[1000,1000]", "engine.budget_usd=4")
        stopped = run(tmp_path, server.url, *words)
        assert stopped.returncode == 3 and "is used up" in stopped.stderr and "Traceback" not in stopped.stderr
        more = run(tmp_path, server.url, "engine.price_per_million=[1000,1000]", "engine.budget_usd=400")
        assert more.returncode == 0, more.stderr
        assert len(server.calls) == 12, "finished answers were kept"
    assert f"3,600 tokens in, 240 out, {12 * EACH:.4f} USD" in more.stderr
    facts = json.loads((folder_of(more, tmp_path) / "manifest.json").read_text(encoding="utf-8"))["facts"]
    assert facts["cost"]["prompt_tokens"] == 3600 and facts["cost"]["prices_of"] == "the user"


@pytest.mark.slow
def test_without_a_price_the_tokens_are_shown_and_the_price_is_unknown(tmp_path: Path) -> None:
    with serving() as server:
        result = run(tmp_path, server.url)
    assert "server: 3,600 tokens in, 240 out, price unknown" in result.stderr


def test_waiting_for_a_rate_limit_is_said_and_counted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def behave(n: int, body: Body) -> Act:
        return Act(status=429, headers={"retry-after-ms": "60"}) if n < 3 else echo(n, body)

    with serving(behave) as server:
        made = engine(server, retries=4, concurrency=2)
        answers(made, make_requests(tmp_path, [1] * 6))
    cost = made.metadata()["cost"]
    assert cost["rate_limited"] == 3 and cost["seconds_waited_for_rate"] >= 0.1
    assert re.search(r"3 refused for their rate \(HTTP 429\), \d+ s waited", made.status())
    said = capsys.readouterr().err
    assert said.count("refused for their rate (HTTP 429)") == 1 and "waiting as the server asks" in said


def test_the_waits_of_calls_are_added_and_a_call_that_ends_waits_no_longer() -> None:
    now = [0.0]
    said: list[str] = []
    waits = RateWaits(clock=lambda: now[0], say=said.append)
    one, two = ["429"], ["429"]
    waits.attempt_ends(one)
    waits.attempt_ends(two)
    assert (waits.n, waits.waiting, len(said)) == (2, 2, 1)
    now[0] = 40.0
    waits.attempt_begins(one)
    waits.call_ends(two)
    assert (waits.seconds, waits.waiting) == (40.0, 0)
    waits.attempt_ends([*one, "200"])
    waits.attempt_ends(one)
    assert waits.n == 3 and len(said) == 2, "said again after a while"


def test_images_are_sent_within_the_stated_size_and_the_signature_says_so(tmp_path: Path) -> None:
    requests = make_requests(tmp_path, [2, 1, 1])
    with serving() as server:
        full, small = engine(server), engine(server, max_pixels=600)
        answers(full, requests)
        sizes = {p.size for body in server.calls for p in pictures(body)}
        del server.calls[:]
        answers(small, requests)
        shrunk = {p.size for body in server.calls for p in pictures(body)}
    assert all(w * h > 600 for w, h in sizes) and all(w * h <= 600 for w, h in shrunk)
    assert small.identity != full.identity and small.generation_suffix == ".px600"
    assert small.metadata()["max_pixels"] == 600 and full.metadata()["max_pixels"] is None


@pytest.mark.slow
def test_a_run_with_a_stated_size_is_another_run_with_another_signature(tmp_path: Path) -> None:
    with serving() as server:
        plain = run(tmp_path, server.url)
        small = run(tmp_path, server.url, "engine.max_pixels=400")
    one, two = folder_of(plain, tmp_path), folder_of(small, tmp_path)
    assert one.name != two.name
    summary = json.loads((two / "summary.json").read_text(encoding="utf-8"))
    assert all(".px400|" in m["signature"] for m in summary["metrics"])
    assert "px400" not in (one / "summary.json").read_text(encoding="utf-8")


@given(st.integers(1, 300), st.integers(1, 300), st.integers(1, 20_000))
def test_an_image_within_the_limit_is_untouched_and_others_keep_their_proportions(w: int, h: int, most: int) -> None:
    image = Image.new("RGB", (w, h))
    found = within(image, most)
    assert found.width * found.height <= most
    if w * h <= most:
        assert found is image
    elif min(found.size) > 1:
        # Each side is rounded down by less than one pixel.
        factor = (most / (w * h)) ** 0.5
        assert abs(found.width - w * factor) <= 1 and abs(found.height - h * factor) <= 1
    assert within(image, None) is image
