"""Parts of the judge: parsing of replies, prompts, cache, batch files, review files, images."""

from __future__ import annotations

import base64
import io
import json
import math
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evalkit.core.errors import ConfigError, DataError, Partial
from evalkit.core.types import CUT_IN_REASONING
from evalkit.judge.api import judge_run, recompute
from evalkit.judge.cache import ReplyCache
from evalkit.judge.image_encoding import data_url, media_type
from evalkit.judge.import_reviews import append_judgments, read_reviews
from evalkit.judge.metrics import check_complete, compute, signed_metrics
from evalkit.judge.parse_response import VERDICTS, read_verdict
from evalkit.judge.plan import make_plan
from evalkit.judge.prompts import HERE, load_prompt, render
from tests.support.fake_server import FakeServer, scores, verdict
from tests.support.judge_samples import IDENTITY, answers, chat, config, vqa

# A released prompt is never edited: change it in a new file vN+1.j2 and add its digest here.
PROMPTS = {
    "correctness/v1.j2": "ce571ed19e6f7b5d7442e8d50c51be1bd3174566008c607f65fb205ac561c880",
    "relative/v1.j2": "a0ef62251227be5e7f8771d06f93c502af3f23d2e6c3f325dab3c97b4725a8bc",
    "referee/v1.j2": "f0b73081820dbc6563447b22f4a8cba0fb94f38b97fc64bb458a72d619f8be0a",
    "begin-correctness/v1.j2": "40d948727ef1a0a4b17f168b7ab8a3802a10370c10c5ccf164a8bfa5e1bfb300",
    "graded/v1.j2": "cbc36064164e4d7c0a1229b6ea893038bcd7189c12f4ffb44ca3cab4ab022288",
    "rating/v1.j2": "bacc6847fc95d025e2a4792267f27647e43d67bc7d41ca1f82d758e7bcad553b",
    "score-object/v1.j2": "72e87489b9a21b27246e2b04d23ad9d3050a5ea28e5ff171ee05f676cfb13276",
    "without-reference/v1.j2": "1cad05bb018a99020403694c5a92eac2e8846820ca1f0264d33691ad01acc977",
    "zero-is-right/v1.j2": "beac765abe19927edc4e0a7829d37ad4c0bfe4d1802bbe978fd5bd684c7ece6c",
}


def test_released_prompts_are_unchanged() -> None:
    import hashlib

    found = {p.relative_to(HERE).as_posix(): hashlib.sha256(p.read_bytes()).hexdigest() for p in HERE.rglob("*.j2")}
    assert found == PROMPTS


@pytest.mark.parametrize("finish", ["length", "stop", None])
@pytest.mark.parametrize(
    ("judged", "text"),
    [
        ("relative", '<think>Perhaps {"score_1": 5, "score_2": 5} but'),
        ("relative", "[THINK]8 9\nor rather"),
        ("relative", '<think>a</think><think>{"score_1": 5, "score_2": 5}'),
        ("relative", '<think>{"score_1": 5, "score_2": 5}</think>'),
        ("relative", '<|channel|>analysis<|message|>{"score_1": 5, "score_2": 5}<|end|>'),
        ("correctness", "<think>correct"),
        ("correctness", '<think>correct ... no wait, {"verdict": "correct"}'),
        ("correctness", '<unused94>thought\n{"verdict": "correct"} would be'),
    ],
)
def test_no_verdict_is_taken_out_of_a_thought(judged: str, text: str, finish: str | None) -> None:
    found = read_verdict(judged, text, finish=finish)
    assert found.status == "unreadable"
    assert found.first is None
    assert found.label is None


@pytest.mark.parametrize(
    ("judged", "text", "status"),
    [
        ("relative", 'Perhaps {"score_1": 5, "score_2": 5} but', "unreadable"),
        ("correctness", 'It could be {"verdict": "correct"}, no wait', "unreadable"),
        ("relative", '{"score_1": 5, "score_2": 5} because the', "judged"),
        ("relative", "8 9\nThe first {one} is", "judged"),
        ("correctness", '```json {"verdict":"correct"}``` Wait, let me re-check', "unreadable"),
        ("relative", 'analysisperhaps {"score_1": 5, "score_2": 5} maybe', "unreadable"),
        ("correctness", '```json\n{"verdict": "correct"}\n``` since', "judged"),
    ],
)
def test_a_cut_reply_is_read_only_where_it_begins_with_its_verdict(judged: str, text: str, status: str) -> None:
    for finish in ("length", "max_tokens", "MAX_TOKENS", "model_length"):
        assert read_verdict(judged, text, finish=finish).status == status


@pytest.mark.parametrize(
    ("finish", "status"),
    [("SAFETY", "refused"), ("content_filter", "refused"), ("error", "unreadable"), ("abort", "unreadable")],
)
def test_a_reply_that_was_withheld_or_broken_off_gives_no_verdict(finish: str, status: str) -> None:
    for text in ("8 7", "8 7\nThe ", '{"score_1": 8, "score_2": 7}'):
        assert read_verdict("relative", text, finish=finish).status == status


def test_the_judge_is_shown_the_answer_and_not_the_thought() -> None:
    samples = vqa(4)
    given = answers(samples, "<think>maybe organ 9</think>It is organ {}.")
    given[2] = replace(given[2], text="<think>organ 2")
    plan = make_plan(config("http://127.0.0.1:1/v1"), samples, given, lambda _: b"")
    assert [item.answer for item in plan.items] == ["It is organ q0.", None]
    assert plan.items[1].error == CUT_IN_REASONING


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('{"reason": "r", "score_1": 8, "score_2": 9}', (8, 9)),
        ('Here you are:\n```json\n{"reason": "a {brace}", "score_1": 1, "score_2": 10}\n```', (1, 10)),
        ('<think>{"score_1": 1, "score_2": 1}</think>{"reason": "", "score_1": 7, "score_2": 3}', (7, 3)),
        ("8 9\nThe first ...", (8, 9)),
        ("8, 9", (8, 9)),
        ("8,9", (8, 9)),
        (" 8.5 9 \nbecause", (8.5, 9)),
        ("**8 9**\nbecause", (8, 9)),
        ("8; 9", (8, 9)),
        ('{"score_1": 8, "score_2": 9} {"score_1": 8, "score_2": 9}', (8, 9)),
        ('{"score_1": 8, "score_2": 9} {"score_1": 9, "score_2": 8}', None),
        ('{"score_1": 8, "score_2": 9, "score_2": 1}', None),
        ('{"score_1": 8, "score_2": 9, "score_2": 9}', (8, 9)),
        ('{"draft": {"score_1": 1, "score_2": 2}, "score_1": 8, "score_2":', None),
        ('{"score_1": true, "score_2": 9}', None),
        ('{"score_1": NaN, "score_2": 9}', None),
        ('{"score_1": "8", "score_2": 9}', None),
        ('{"score_1": 8}', None),
        ("8", None),
        ("8 9 7", None),
        ("Assistant 1: 8, Assistant 2: 9", None),
        ("8/10 9/10", None),
        ("10 11", None),
        ("0 5", None),
        ("-1 -1", None),
        ("", None),
        ("[8, 9]", None),
        ("{" * 100_000, None),
    ],
)
def test_two_scores_are_read_or_the_reply_is_unreadable(text: str, expected: tuple[float, float] | None) -> None:
    found = read_verdict("relative", text)
    if expected is None:
        assert found.status == "unreadable" and found.why
    else:
        assert (found.status, found.first, found.second) == ("judged", *expected)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('{"reason": "r", "verdict": "partly"}', "partly"),
        ("correct", "correct"),
        (" Wrong. ", "wrong"),
        ("cannot tell", "cannot_tell"),
        ('{"verdict": "correct", "verdict": "wrong"}', None),
        ('{"draft": {"verdict": "correct"}, "verdict": "wr', None),
        ('{"verdict": "Correct!"}', None),
        ('{"verdict": null}', None),
        ('{"verdict": "wrong"} {"verdict": "correct"}', None),
        ("The answer is not correct", None),
        ("incorrect", None),
    ],
)
def test_a_verdict_is_read_or_the_reply_is_unreadable(text: str, expected: str | None) -> None:
    found = read_verdict("correctness", text)
    assert (found.label, found.status) == (expected, "unreadable" if expected is None else "judged")


@given(
    text=st.text(),
    judged=st.sampled_from(["relative", "correctness"]),
    finish=st.sampled_from(["stop", "length", None]),
)
def test_no_text_can_break_the_reader_or_give_a_score_out_of_range(text: str, judged: str, finish: str | None) -> None:
    found = read_verdict(judged, text, finish=finish)
    if found.status == "judged" and judged == "relative":
        assert found.first is not None and found.second is not None
        assert 1 <= found.first <= 10 and 1 <= found.second <= 10
    elif found.status == "judged":
        assert found.label in VERDICTS


@given(first=st.integers(-3, 14), second=st.integers(-3, 14), reason=st.text())
def test_every_pair_in_range_is_read_back_and_no_other(first: int, second: int, reason: str) -> None:
    found = read_verdict("relative", json.dumps({"reason": reason, "score_1": first, "score_2": second}))
    if 1 <= first <= 10 and 1 <= second <= 10:
        assert (found.first, found.second) == (first, second)
    else:
        assert found.status != "judged"


def plan_of(url: str = "http://127.0.0.1:1/v1", **changes):
    samples = chat(2)
    return make_plan(config(url, **changes), samples, answers(samples), lambda ref: b"")


def text_of(plan) -> str:
    return plan.messages(next(iter(plan.calls)), lambda ref: b"")[-1]["content"]


def test_the_prompt_has_question_context_reference_and_answer_and_no_template_marks() -> None:
    text = text_of(plan_of())
    for part in (
        "What does figure 0 show?",
        "Fig. 0: a finding",
        "Figure 0 is shown.",
        "It shows finding 0.",
        "answer 0",
    ):
        assert part in text
    assert "<image>" not in text and "{{" not in text and "cannot see the image" in text


def test_a_missing_context_leaves_no_empty_heading() -> None:
    from dataclasses import replace

    samples = [replace(s, context={**s.context, "mentions": "", "mentions_repr": "None"}) for s in chat(1)]

    def text(style: str) -> str:
        settings = config("http://127.0.0.1:1/v1", style=style)
        return text_of(make_plan(settings, samples, answers(samples), lambda ref: b""))

    assert "text_about_the_figure" not in text("evalkit")
    assert "<text_about_the_figure>\nNone\n" in text("llava-med-1.0")


def test_a_users_own_prompt_file_is_filled_in_as_by_each_published_script(tmp_path: Path) -> None:
    file = tmp_path / "custom.txt"
    file.write_text("{{ caption }}|{{ mentions }}|{{ question }}|{{ answer_1 }}|{{ answer_2 }}", encoding="utf-8")
    found = {
        style: text_of(plan_of(prompt_file=str(file), style=style))
        for style in ("evalkit", "llava-med-1.0", "llava-med-1.5")
    }
    mentions = "[{'tokens': 'Figure 0 is shown.'}]"
    tail = "It shows finding 0.|It is answer 0."
    assert found["evalkit"] == f"Fig. 0: a finding|Figure 0 is shown.|What does figure 0 show?|{tail}"
    assert found["llava-med-1.0"] == f"Fig. 0: a finding|{mentions}|What does figure 0 show?|{tail}"
    assert found["llava-med-1.5"] == f"Fig. 0: a finding|{mentions}|What does figure 0 show?\n<image>|{tail}"


def test_a_users_own_prompt_is_in_the_signature_and_requests_no_schema(tmp_path: Path) -> None:
    file = tmp_path / "custom.j2"
    file.write_text("{% block system %}S{% endblock %}{% block user %}{{ question }}{% endblock %}", encoding="utf-8")
    samples = chat(4)
    with FakeServer(lambda n, b: scores(8, 4)) as server:
        settings = config(server.url, prompt_file=str(file), style="llava-med-1.5")
        outcome = judge_run(tmp_path / "run", settings, samples, answers(samples))
        assert all(
            "response_format" not in c and c["messages"][0] == {"role": "system", "content": "S"} for c in server.calls
        )
    signature = signed_metrics(outcome.scores, IDENTITY)[0].signature
    assert signature["judge_prompt"].startswith("file:custom.j2@")
    assert signature["judge_style"] == "llava-med-1.5" and signature.get("prompt") is None


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{{ question", "not a valid template"),
        ("{{ caption.nothing }}", "cannot be filled in"),
        ("{{ unknown }}", "cannot be filled in"),
        ("{{ question.__class__.__mro__ }}", "cannot be filled in"),
    ],
)
def test_a_bad_prompt_file_is_a_clear_error(tmp_path: Path, text: str, message: str) -> None:
    file = tmp_path / "p.j2"
    file.write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError, match=message):
        plan_of(prompt_file=str(file))


def test_an_unknown_prompt_version_is_refused_with_the_known_ones() -> None:
    with pytest.raises(ConfigError, match="v1"):
        load_prompt(config("http://127.0.0.1:1/v1", prompt_version=99), "relative")


def test_text_in_an_answer_is_never_rendered_as_a_template() -> None:
    prompt = load_prompt(config("http://127.0.0.1:1/v1"), "correctness")
    variables = {"question": "{{ 7 * 7 }}", "reference": "r", "candidate": "{% raw %}", "first_is_reference": True}
    text = render(prompt, {**variables, "has_image": False})[-1][1]
    assert "{{ 7 * 7 }}" in text and "{% raw %}" in text


def test_the_cache_keeps_replies_across_connections(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "cache.sqlite"
    first = ReplyCache(path)
    assert first.mode == "WAL" and first.get("k") is None
    first.put([("k", {"text": "π"}), ("k", {"text": "later"})])
    second = ReplyCache(path)
    assert second.get("k") == {"text": "later"}
    first.close()
    second.close()


def test_the_cache_works_without_write_ahead_logging(tmp_path: Path) -> None:
    # This layer of SQLite has no shared memory, as on network file systems.
    cache = ReplyCache(tmp_path / "cache.sqlite", vfs="unix-dotfile")
    assert cache.mode == "DELETE"
    cache.put([("k", {"text": "x"})])
    assert cache.get("k") == {"text": "x"}
    cache.close()


PNG = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)


def test_images_are_sent_as_they_are_or_as_png() -> None:
    from PIL import Image

    assert data_url(PNG, "x") == f"data:image/png;base64,{base64.b64encode(PNG).decode()}"
    assert media_type(b"\xff\xd8\xff\xe0") == "image/jpeg" and media_type(b"RIFF0000WEBPxx") == "image/webp"
    out = io.BytesIO()
    Image.new("RGB", (3, 2), (1, 2, 3)).save(out, format="TIFF")
    sent = data_url(out.getvalue(), "x.tif")
    assert Image.open(io.BytesIO(base64.b64decode(sent.split(",")[1]))).size == (3, 2)


def test_a_png_of_16_bits_is_sent_as_the_model_sees_it() -> None:
    """A server would cut it to its upper 8 bits: 12-bit values would be black."""
    from PIL import Image

    out = io.BytesIO()
    grey = Image.new("I;16", (2, 1))
    grey.putpixel((1, 0), 4095)
    grey.save(out, format="PNG")
    sent = Image.open(io.BytesIO(base64.b64decode(data_url(out.getvalue(), "x.png").split(",")[1])))
    assert (sent.mode, [sent.getpixel((x, 0)) for x in (0, 1)]) == ("RGB", [(0, 0, 0), (255, 255, 255)])


def test_a_drawn_image_can_be_sent(tmp_path: Path) -> None:
    from evalkit.core.types import ImageRef
    from evalkit.judge.image_encoding import read_image
    from evalkit.tasks.phantom import Phantom

    file = tmp_path / "a.png"
    file.write_bytes(PNG)
    assert read_image(ImageRef(kind="file", path=str(file))) == PNG
    drawn = Phantom(n_train=1, n_test=1).load().samples[0].images[0]
    assert drawn.kind == "draw" and media_type(read_image(drawn)) == "image/png"
    assert media_type(read_image(ImageRef(kind="blank", of=drawn))) == "image/png"


def test_with_send_images_every_call_has_its_image(tmp_path: Path) -> None:
    from dataclasses import replace

    from evalkit.core.types import ImageRef

    (tmp_path / "a.png").write_bytes(PNG)
    samples = [replace(s, images=(ImageRef(kind="file", path=str(tmp_path / "a.png")),)) for s in vqa(4)]
    with FakeServer(lambda n, b: verdict("correct")) as server:
        settings = config(server.url, send_images=True)
        judge_run(
            tmp_path / "run", settings, samples, answers(samples), read_image=lambda ref: Path(ref.path).read_bytes()
        )
        for call in server.calls:
            picture, text = call["messages"][1]["content"]
            assert picture["image_url"]["url"].endswith(base64.b64encode(PNG).decode())
            assert "The image is attached" in text["text"]
    with pytest.raises(ConfigError, match="have no images"):
        judge_run(tmp_path / "r2", config("http://127.0.0.1:1/v1", send_images=True), vqa(4), answers(vqa(4)))


def test_batch_files_are_written_and_their_output_may_arrive_in_parts(tmp_path: Path) -> None:
    samples = chat(6)
    price = {"input": 2.0, "output": 8.0, "date": "2026-03-18", "batch_factor": 0.5}
    settings = config("https://api.openai.com/v1", transport="batch", api_key_env=None, price=price)
    first = judge_run(tmp_path, settings, samples, answers(samples))
    (file,) = first.files
    requests = [json.loads(line) for line in file.read_text().splitlines()]
    assert len(requests) == 6
    assert {(r["method"], r["url"]) for r in requests} == {("POST", "/v1/chat/completions")}
    assert requests[0]["body"]["model"] == "judge-2026-01-01" and "response_format" in requests[0]["body"]
    with pytest.raises(Partial, match="batch service"):
        first.check()
    out = file.parent / "output-1.jsonl"

    def reply(request: dict) -> dict:
        text = json.dumps({"reason": "x", "score_1": 8, "score_2": 6})
        body = {"model": "judge-2026-01-01", "choices": [{"finish_reason": "stop", "message": {"content": text}}]}
        body["usage"] = {"prompt_tokens": 100, "completion_tokens": 10}
        return {"custom_id": request["custom_id"], "response": {"status_code": 200, "body": body}, "error": None}

    stranger = {"custom_id": "another", "response": {"status_code": 200, "body": {}}}
    expired = {"custom_id": requests[5]["custom_id"], "response": None, "error": {"code": "batch_expired"}}
    lines = [reply(r) for r in reversed(requests[:3])] + [stranger, expired]
    out.write_text("".join(json.dumps(x) + "\n" for x in lines))
    messages: list[str] = []
    second = judge_run(tmp_path, settings, samples, answers(samples), say=messages.append)
    assert second.scores.outcomes == {"judged": 3, "error": 1, "not asked": 2}
    assert len(second.files[0].read_text().splitlines()) == 3
    assert any("1 lines of the output" in s for s in messages)
    (file.parent / "output-2.jsonl").write_text("".join(json.dumps(reply(r)) + "\n" for r in requests[3:]))
    third = judge_run(tmp_path, settings, samples, answers(samples))
    third.check()
    assert third.files == () and third.scores.find("relative_score").value == 0.75
    assert recompute(tmp_path) == third.scores
    records = [json.loads(line) for line in (tmp_path / "judgments.jsonl").read_text().splitlines()]
    paid = [r for r in records if r.get("status") == "judged"]
    assert len(paid) == 6 and paid[0]["usd"] == pytest.approx(0.5 * (100 * 2 + 10 * 8) / 1e6)


def test_a_broken_batch_output_is_a_clear_error(tmp_path: Path) -> None:
    samples = chat(2)
    settings = config("https://api.openai.com/v1", transport="batch", api_key_env=None)
    (file,) = judge_run(tmp_path, settings, samples, answers(samples)).files
    (file.parent / "out.jsonl").write_text('{"custom_id": "x"}\n')
    with pytest.raises(DataError, match="not a line of a batch's output"):
        judge_run(tmp_path, settings, samples, answers(samples))


def reviews(tmp_path: Path, rows: list[dict]) -> Path:
    path = tmp_path / "reviews.jsonl"
    path.write_text("".join(json.dumps(r) + "\n" for r in rows))
    return path


def test_the_review_files_of_llava_and_of_both_llava_med_versions_are_read(tmp_path: Path) -> None:
    domain = {"chest_xray": False, "mri": False, "ct_scan": True, "histology": True, "gross": False}
    head = {"type": "conversation", "domain": domain, "pair_id": "p"}
    for key in ("gpt_eval", "result"):
        rows = [{**head, "question_id": i, key: f"{s}\n\nbecause"} for i, s in enumerate(["8 4", "10 10"])]
        judged = compute(read_reviews(reviews(tmp_path, rows)))
        assert judged.find("relative_score").value == 0.75
        assert judged.find("relative_score_ratio_of_means").value == pytest.approx(14 / 18)
    llava = [
        {"question_id": i, "content": "x", "tuple": t, "category": "llava_bench_conv"}
        for i, t in enumerate([[8.0, 4.0]] * 3)
    ]
    judged = read_reviews(reviews(tmp_path, llava), judge="gpt-4-0314")
    assert judged.judgments[0].tags == {"type": "llava_bench_conv"}
    append_judgments(judged, tmp_path)
    assert recompute(tmp_path, "gpt-4-0314").find("relative_score").value == 0.5


def test_a_failed_parse_in_a_review_file_is_counted_and_not_averaged(tmp_path: Path) -> None:
    rows = [{"question_id": i, "content": "x", "tuple": [8, 4]} for i in range(99)]
    path = reviews(tmp_path, [*rows, {"question_id": 99, "content": "?", "tuple": [-1, -1]}])
    judged = compute(read_reviews(path))
    assert judged.find("relative_score").value == 0.5 and judged.n_failed == 1
    outage = reviews(tmp_path, [{"question_id": i, "content": "", "tuple": [-1, -1]} for i in range(60)])
    judged = compute(read_reviews(outage))
    assert judged.find("relative_score").value is None
    with pytest.raises(Partial):
        check_complete(judged)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([], "no reviews"),
        ([{"id": 1}], "question_id"),
        ([{"question_id": 1}], "has no review"),
        ([{"question_id": 1, "result": "8 4"}, {"question_id": 1, "result": "8 4"}], "second time"),
    ],
)
def test_an_invalid_review_file_is_refused(tmp_path: Path, rows: list[dict], message: str) -> None:
    with pytest.raises(DataError, match=message):
        read_reviews(reviews(tmp_path, rows))


@given(st.lists(st.tuples(st.integers(1, 10), st.integers(1, 10)), min_size=1, max_size=30))
def test_both_aggregations_equal_their_definitions(pairs: list[tuple[int, int]]) -> None:
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        rows = [{"question_id": i, "result": f"{a} {b}"} for i, (a, b) in enumerate(pairs)]
        judged = compute(read_reviews(reviews(Path(folder), rows)))
    assert math.isclose(judged.find("relative_score").value, sum(b / a for a, b in pairs) / len(pairs))
    assert math.isclose(
        judged.find("relative_score_ratio_of_means").value, sum(b for _, b in pairs) / sum(a for a, _ in pairs)
    )
