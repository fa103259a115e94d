"""The page of a run: its content, and its behaviour in headless Chromium."""

from __future__ import annotations

import base64
import io
import json
import re
from collections.abc import Sequence
from dataclasses import replace
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest

from evalkit.analysis.paired import Paired
from evalkit.core.errors import ConfigError
from evalkit.core.format import shown_metric
from evalkit.core.reasoning import separate
from evalkit.core.types import ImageRef, MetricKey, Prediction, Sample
from evalkit.reports.run_page import Differences, page_data, paired_differences, write_page
from evalkit.reports.run_page import page as page_module
from evalkit.reports.run_page.data import Picture, picture_key, pooled
from evalkit.reports.run_page.page import pictures
from evalkit.stats import Interval
from tests.support.browser import Browser
from tests.support.made_runs import ErrorRates, answered, failed, made_run, made_run_under, made_samples, mixed

SCRIPT = "<script>window.hacked = 1</script><img src=x onerror='window.hacked = 1'></script>"


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def png(width: int, height: int, shade: int = 90) -> bytes:
    from PIL import Image

    buffer = io.BytesIO()
    Image.new("RGB", (width, height), (shade, 120, 160)).save(buffer, format="PNG")
    return buffer.getvalue()


def written(runs: Sequence[Path], samples: Sequence[Sample], file: Path, **more: Any) -> Path:
    images = more.pop("images", {})
    write_page(file, page_data(list(runs), {s.id: s for s in samples}, images, **more))
    return file


# Data.


@pytest.mark.parametrize(
    ("values", "of", "at"),
    [
        ([], [], []),
        (["a"], ["a"], [0]),
        ([None, "a", None], [None, "a"], [0, 1, 0]),
        ([(1, 2), (1, 2)], [(1, 2)], [0, 0]),
    ],
)
def test_a_column_holds_each_value_once(values: list[Any], of: list[Any], at: list[int]) -> None:
    assert pooled(values) == {"of": of, "at": at}


def test_columns_hold_the_content_of_the_runs_files(tmp_path: Path) -> None:
    samples = made_samples(30)
    run = made_run(tmp_path / "run", samples, mixed(samples, 2))
    data = page_data([run], {s.id: s for s in samples}, {})
    place = {i: k for k, i in enumerate(data["ids"])}
    texts = data["answers"][0]["text"]
    for record in lines(run / "predictions.jsonl"):
        assert texts["of"][texts["at"][place[record["sample_id"]]]] == record["text"]
    seen = 0
    for score in lines(run / "scores.jsonl"):
        column = data["scores"][0][f"{score['protocol']} {score['metric']}"]
        entry = column["of"][column["at"][place[score["sample_id"]]]]
        value = entry if isinstance(entry, float) else None if len(entry) == 1 else entry[0]
        assert value == score["value"]
        if value is None:
            assert entry[0] == score["reason"]
        elif isinstance(entry, tuple):
            assert [data["texts"][k] for k in entry[1:]] == [score.get("extracted", ""), score.get("note", "")]
        seen += 1
    assert seen == sum(sum(k > 0 for k in c["at"]) for c in data["scores"][0].values())


def test_thoughts_are_in_the_page_where_there_are_any(tmp_path: Path) -> None:
    samples = made_samples(4)
    texts = ["<think>MRI?</think>yes", "<think>MRI", "no", "left"]
    given = [separate(answered(s, t)) for s, t in zip(samples, texts, strict=True)]
    found = page_data([made_run(tmp_path / "run", samples, given)], {}, {})
    column = found["answers"][0]["reasoning"]
    assert [column["of"][k] for k in column["at"]] == ["MRI?", "MRI", "", ""]
    cut = found["answers"][0]["cut"]
    assert [cut["of"][k] for k in cut["at"]] == [False, True, False, False]
    assert (found["runs"][0]["n_failed"], found["runs"][0]["n_truncated"]) == (0, 1)
    plain = page_data([made_run(tmp_path / "plain", samples, [answered(s, "no") for s in samples])], {}, {})
    assert set(plain["answers"][0]) == {"text", "error", "finish_reason", "seconds"}


@pytest.mark.parametrize(
    ("text", "is_said"), [("The picture shows a mass in it", True), ("yes", False), ("a b c d", False), ("", False)]
)
def test_a_model_that_answers_in_sentences_is_told_why_its_exact_match_is_low(
    tmp_path: Path, text: str, is_said: bool
) -> None:
    samples = made_samples(6)
    run = made_run(tmp_path / "run", samples, [answered(s, text) for s in samples], protocols=("strict",))
    said = page_data([run], {}, {})["wordy"][0]
    assert bool(said) is is_said and ("7 words in the median, references 1" in said) is is_said


def test_directions_and_worst_cases_are_in_the_page(tmp_path: Path) -> None:
    samples = made_samples(6)
    run = made_run_under(tmp_path / "run", samples, [answered(s, "yes") for s in samples], [ErrorRates()])
    metrics = {m["metric"]: m for m in page_data([run], {}, {})["runs"][0]["metrics"]}
    assert [metrics[m]["higher_is_better"] for m in ("error_rate", "exact_match")] == [False, True]
    assert all("value_worst_case" in m for m in metrics.values())


def test_a_run_in_which_all_failed_has_a_page(tmp_path: Path) -> None:
    samples = made_samples(4)
    data = page_data([made_run(tmp_path / "run", samples, [failed(s) for s in samples])], {}, {})
    assert data["answers"][0]["text"] == {"of": [None], "at": [0, 0, 0, 0]}
    assert data["runs"][0]["n_failed"] == 4


def test_runs_that_cannot_be_shown_side_by_side_are_refused(tmp_path: Path) -> None:
    samples = made_samples(4)
    one = made_run(tmp_path / "one", samples, mixed(samples, 1))
    other = [replace(s, id=f"x{s.id}") for s in samples]
    changed = [replace(s, question=s.question + "?") for s in samples]
    with pytest.raises(ConfigError, match="no sample in common"):
        page_data([one, made_run(tmp_path / "two", other, mixed(other, 1))], {}, {})
    with pytest.raises(ConfigError, match="sample q0 has another question or reference"):
        page_data([one, made_run(tmp_path / "three", changed, mixed(changed, 1))], {}, {})
    with pytest.raises(ConfigError, match="not 3"):
        page_data([one, one, one], {}, {})


def test_samples_of_one_run_alone_are_counted(tmp_path: Path) -> None:
    samples = made_samples(6)
    one = made_run(tmp_path / "one", samples, mixed(samples, 1))
    two = made_run(tmp_path / "two", samples[:4], mixed(samples[:4], 1))
    assert page_data([one, two], {}, {})["left_out"] == [2, 0]
    found = paired_differences([one, two])
    assert found.pairs == () and "not comparable" in found.incomparable


def test_no_path_of_this_machine_is_in_the_page(tmp_path: Path) -> None:
    (tmp_path / "secret-folder").mkdir()
    ref = ImageRef(kind="file", path=str(tmp_path / "secret-folder" / "a.png"))
    Path(ref.path).write_bytes(png(8, 8))
    samples = [replace(s, images=(ref,)) for s in made_samples(4)]
    run = made_run(tmp_path / "run", samples, mixed(samples, 1))
    found = pictures(samples, tmp_path / "pictures")
    text = written([run], samples, tmp_path / "page.html", images=found).read_text(encoding="utf-8")
    assert "data:image/jpeg" in text and "secret-folder" not in text


def test_judged_numbers_and_judgments_are_shown(tmp_path: Path) -> None:
    from evalkit.judge.api import judge_run
    from evalkit.judge.config import JudgeConfig

    samples = made_samples(8)
    predictions = [failed(samples[0]), *(answered(s, "yes") for s in samples[1:])]
    run = made_run(tmp_path / "run", samples, predictions, protocols=("strict",))
    config = JudgeConfig(name="tiny", model="m", transport="local", rows="all", cache=None)
    judge_run(run, config, samples, predictions, complete=lambda m: '{"verdict": "wrong", "why": "another organ"}')
    data = page_data([run], {}, {})
    column = data["scores"][0]["judge:tiny judged_accuracy"]
    value, extracted, note = column["of"][column["at"][1]]
    assert (value, data["texts"][extracted]) == (0.0, "")
    assert data["texts"][note] == '{"verdict": "wrong", "why": "another organ"}'
    assert column["of"][column["at"][0]] == ("no answer: the model failed: CUDA out of memory",)
    assert any(m["protocol"] == "judge:tiny" and m["value"] == 0 for m in data["runs"][0]["metrics"])


def test_the_scripts_of_the_page_declare_no_name_twice() -> None:
    parts = files("evalkit.reports.run_page")
    names = ("helpers.js", *page_module.NUMBERS, *page_module.SAMPLES)
    script = "".join(parts.joinpath(name).read_text(encoding="utf-8") for name in names)
    names = re.findall(r"^(?:const|let|function) (\w+)", script, flags=re.M)
    assert len(names) > 30 and len(set(names)) == len(names)


# In the browser.


@pytest.fixture(scope="module")
def samples() -> list[Sample]:
    return made_samples(200)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, samples: list[Sample]) -> Path:
    return made_run(tmp_path_factory.mktemp("runs") / "one", samples, mixed(samples, 1), model="one")


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory, samples: list[Sample]) -> Path:
    return made_run(tmp_path_factory.mktemp("runs") / "two", samples, mixed(samples, 2), model="two")


@pytest.fixture(scope="module")
def file(run: Path, samples: list[Sample]) -> Path:
    return written([run], samples, run / "report.html")


@pytest.fixture(scope="module")
def both(run: Path, other: Path, samples: list[Sample]) -> Path:
    return written([run, other], samples, run / "both.html", differences=paired_differences([run, other]))


def column(run: Path, protocol: str, metric: str) -> dict[str, float | None]:
    found = (s for s in lines(run / "scores.jsonl") if (s["protocol"], s["metric"]) == (protocol, metric))
    return {s["sample_id"]: s["value"] for s in found}


def count(page: Browser) -> int:
    shown, _, _ = page.text("#count").partition(" of ")
    return int(shown)


def test_the_page_opens_from_disk_and_shows_every_number(page: Browser, run: Path, file: Path) -> None:
    page.open(file)
    assert page.text("h1") == "one on toy"
    assert page.requests == [file.as_uri()]
    metrics = [m for m in json.loads((run / "summary.json").read_text())["metrics"] if m["slice"] == "all"]
    rows = page.run(
        "[...document.querySelectorAll('#numbers tbody tr')].map((r) => [...r.cells].map((c) => c.innerText))"
    )
    assert len(rows) == len(metrics)
    for row, m in zip(rows, metrics, strict=True):
        assert row[:3] == [m["protocol"], shown_metric(m["metric"]), f"{100 * m['value']:.2f}"]
        assert row[3] == f"[{100 * m['low']:.2f}, {100 * m['high']:.2f}]"
        assert row[5:7] == [str(m["n"]), str(m["n_unscored"])]
    assert "failed" in page.text("#about") and "CUDA out of memory" in page.run(
        "document.getElementById('why').textContent"
    )
    assert page.run("document.querySelectorAll('#slices svg circle').length") > 5


def test_filters_show_the_samples_with_such_scores(page: Browser, run: Path, samples: list[Sample], file: Path) -> None:
    page.open(file)
    strict, lenient = column(run, "strict", "closed_accuracy"), column(run, "llava-med", "closed_accuracy")
    page.choose("metric", "strict closed_accuracy")
    for outcome, wanted in (
        ("wrong", sum(v == 0 for v in strict.values())),
        ("right", sum(v == 1 for v in strict.values())),
        ("unscored", sum(v is None for v in strict.values())),
        ("failed", sum(r["error"] is not None for r in lines(run / "predictions.jsonl"))),
        ("all", 200),
    ):
        page.choose("outcome", outcome)
        assert count(page) == wanted > 0
    page.choose("slice", "organ=lung")
    assert count(page) == sum(s.tags["organ"] == "lung" for s in samples)
    page.choose("metric", "llava-med closed_accuracy")
    page.choose("outcome", "wrong")
    lung = {s.id for s in samples if s.tags["organ"] == "lung"}
    assert count(page) == sum(v == 0 for i, v in lenient.items() if i in lung) > 0
    page.choose("outcome", "all")
    page.choose("slice", "")
    page.choose("text", "CANNOT TELL")
    assert count(page) == sum("cannot tell" in (r["text"] or "") for r in lines(run / "predictions.jsonl")) > 0
    page.choose("text", "no such words")
    assert count(page) == 0
    page.choose("text", "")
    assert count(page) == 200


def test_a_search_finds_what_is_in_any_text_of_a_sample(page: Browser, run: Path, file: Path) -> None:
    """Also at the first and the last of the texts, and where nearly every text has the words."""
    page.open(file)
    records = lines(run / "predictions.jsonl")
    texts = [[r["sample_id"], r["question"], *r["references"], r["text"] or "", r["error"] or ""] for r in records]
    words = (
        "q0",
        "q1",
        "q199",
        "i",
        "?",
        "liver, kidney",
        "CUDA",
        "of memory",
        "no",
        "nothing of it",
        " the ",
        "q",
        "99",
    )
    for word in (*words, records[0]["question"], records[-1]["references"][-1]):
        page.choose("text", word)
        wanted = sum(any(word.lower().strip() in t.lower() for t in of) for of in texts)
        assert count(page) == wanted, word


@pytest.mark.slow
def test_disagreement_is_one_protocol_right_and_another_wrong(page: Browser, run: Path, file: Path) -> None:
    verdicts: dict[str, set[float | None]] = {}
    for s in lines(run / "scores.jsonl"):
        if "accuracy" in s["metric"] or "exact_match" in s["metric"]:
            verdicts.setdefault(s["sample_id"], set()).add(s["value"])
    page.open(file)
    page.choose("outcome", "disagree")
    assert count(page) == sum({0.0, 1.0} <= v for v in verdicts.values()) > 0


@pytest.mark.slow
def test_the_list_is_sorted_by_score_and_by_length(page: Browser, run: Path, file: Path) -> None:
    page.open(file)
    page.choose("metric", "llava-med open_f1")
    order = [r["sample_id"] for r in lines(run / "predictions.jsonl")]
    f1 = column(run, "llava-med", "open_f1")
    worst = sorted(order, key=lambda i: 2 if f1.get(i) is None else f1[i])
    texts = {r["sample_id"]: r["text"] or "" for r in lines(run / "predictions.jsonl")}
    longest = sorted(order, key=lambda i: -len(texts[i]))
    opened = "[...document.querySelectorAll('#detail dt')].find((t) => t.innerText === 'sample').nextSibling.innerText"
    for name, wanted in (("worst", worst), ("long", longest), ("data", order)):
        page.choose("order", name)
        page.run("document.getElementById('list').focus()")
        found = []
        for key in ("Home", "j", "j", "End"):
            page.press(key)
            found.append(page.run(opened))
        assert found == [*wanted[:3], wanted[-1]]


@pytest.mark.slow
def test_a_table_is_sorted_by_a_click_on_its_heading(page: Browser, file: Path) -> None:
    page.open(file)
    values = "[...document.querySelectorAll('#numbers tbody tr')].map((r) => parseFloat(r.cells[2].innerText))"
    click = "document.querySelectorAll('#numbers th button')[2].click()"
    page.run(click)
    found = page.run(values)
    assert found == sorted(found, reverse=True)
    page.run(click)
    assert page.run(values) == found[::-1]
    assert page.run("document.querySelectorAll('#numbers th')[2].getAttribute('aria-sort')") == "ascending"


def test_a_sample_shows_question_reference_answer_scores_reasons_and_latency(
    page: Browser, run: Path, file: Path
) -> None:
    page.open(file)
    page.choose("text", "I cannot tell")
    page.run("document.querySelector('.row').click()")
    shown = page.text("#detail")
    record = next(r for r in lines(run / "predictions.jsonl") if r["text"] == "I cannot tell")
    for text in (
        record["question"],
        record["references"][0],
        "I cannot tell",
        "0.25 s",
        record["image_id"],
        "modality",
    ):
        assert text in shown
    for protocol in ("llava-med", "strict", "exact-match"):
        assert protocol in shown
    reasons = {
        s["reason"] for s in lines(run / "scores.jsonl") if s["sample_id"] == record["sample_id"] and "reason" in s
    }
    assert all(f"unscored: {r}" in shown for r in reasons)
    page.choose("text", "")
    page.choose("outcome", "failed")
    page.run("document.querySelector('.row').click()")
    assert "CUDA out of memory" in page.text("#detail")


@pytest.mark.slow
def test_a_sample_shows_its_thought_apart_from_its_answer(page: Browser, tmp_path: Path) -> None:
    samples = made_samples(4)
    texts = ["<think>MRI or CT?</think>yes", "<think>Perhaps left", "no", "left"]
    given = [separate(answered(s, t)) for s, t in zip(samples, texts, strict=True)]
    page.open(written([made_run(tmp_path / "run", samples, given)], samples, tmp_path / "page.html"))
    page.run("document.querySelectorAll('.row')[0].click()")
    page.run("document.querySelector('#detail details').open = true")
    assert "MRI or CT?" in page.text("#detail")
    page.choose("outcome", "truncated")
    page.run("document.querySelector('.row').click()")
    assert "cut inside its reasoning" in page.text("#detail")
    assert "Perhaps left" in page.text("#detail")
    page.choose("outcome", "failed")
    assert page.text("#count") == "0 of 4"


def test_the_keyboard_is_enough(page: Browser, file: Path) -> None:
    page.open(file)
    page.press("/")
    assert page.run("document.activeElement.id") == "text"
    for letter in "lung":
        page.press(letter)
    found = count(page)
    assert 0 < found < 200
    page.press("Enter")
    assert page.run("document.activeElement.id") == "list"
    assert page.text("#detail .steps .keys") == f"1 of {found}"
    page.press("j")
    page.press("ArrowDown")
    page.press("k")
    assert page.text("#detail .steps .keys") == f"2 of {found}"
    assert page.run("document.getElementById('list').getAttribute('aria-activedescendant')") == "row-1"
    page.press("End")
    assert page.text("#detail .steps .keys") == f"{found} of {found}"
    assert page.run("document.querySelector('.row.on').getBoundingClientRect().bottom") <= page.run(
        "document.getElementById('list').getBoundingClientRect().bottom + 1"
    )
    page.press("Escape")
    assert page.run("document.getElementById('detail').hidden") is True


def test_an_answer_that_is_a_script_does_nothing_anywhere(page: Browser, tmp_path: Path) -> None:
    tags = {"answer_type": "OPEN", "organ": SCRIPT}
    hostile = [
        Sample(id=f"{SCRIPT}{i}", image_id=SCRIPT, question=f"{SCRIPT}?", references=(SCRIPT,), tags=tags)
        for i in range(2)
    ]
    plain = [replace(s, id=f"plain{s.id}") for s in made_samples(2)]
    predictions = [
        answered(hostile[0], SCRIPT),
        failed(hostile[1], SCRIPT),
        *(answered(s, "\u2028--><!--") for s in plain),
    ]
    run = made_run(tmp_path / "run", [*hostile, *plain], predictions, model=SCRIPT)
    page.open(written([run], [*hostile, *plain], tmp_path / "page.html"))
    page.choose("text", "hacked")
    assert count(page) == 2
    for k in (0, 1):
        page.run(f"document.querySelectorAll('.row')[{k}].click()")
        assert SCRIPT in page.text("#detail")
    assert page.run("typeof window.hacked") == "undefined"
    assert page.run("[document.scripts.length, document.images.length]") == [2, 0]
    assert page.run("document.title").startswith(SCRIPT)


def test_two_runs_are_shown_side_by_side_with_their_differences(
    page: Browser, run: Path, other: Path, both: Path
) -> None:
    page.open(both)
    one, two = column(run, "exact-match", "exact_match"), column(other, "exact-match", "exact_match")
    page.choose("metric", "exact-match exact_match")
    page.choose("outcome", "worse")
    assert count(page) == sum((two[i] is not None and v is not None and two[i] < v) for i, v in one.items()) > 0
    page.choose("outcome", "flipped")
    assert count(page) == sum(two[i] != v for i, v in one.items())
    page.run("document.querySelector('.row').click()")
    assert page.run("[...document.querySelectorAll('#detail h4')].map((h) => h.innerText)") == ["one", "two"]
    rows = page.run(
        "[...document.querySelectorAll('#paired tbody tr')].map((r) => [...r.cells].map((c) => c.innerText))"
    )
    found = next(r for r in rows if r[:2] == ["exact-match", "exact_match"])
    delta = sum((two[i] or 0) - (v or 0) for i, v in one.items()) / 200
    assert float(found[4]) == pytest.approx(100 * delta, abs=0.006)


@pytest.mark.slow
def test_the_reason_why_two_runs_have_no_differences_is_shown(
    page: Browser, run: Path, other: Path, samples: list[Sample], tmp_path: Path
) -> None:
    none = Differences(incomparable="prompt: a against b")
    page.open(written([run, other], samples, tmp_path / "page.html", differences=none))
    assert "prompt: a against b" in page.text("#differences")


def test_images_are_shown_from_inside_the_page_and_from_a_folder_next_to_it(
    page: Browser, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    refs = [ImageRef(kind="file", path=str(tmp_path / f"{k}.png")) for k in range(3)]
    for k, ref in enumerate(refs):
        Path(ref.path).write_bytes(png(40 + k, 30))
    samples = [replace(s, images=(refs[k % 3],)) for k, s in enumerate(made_samples(6))]
    run = made_run(tmp_path / "run", samples, mixed(samples, 1))
    shown = "[...document.querySelectorAll('#detail img')].map((i) => [i.naturalWidth, i.src.slice(0, 5)])[0]"
    for most, kind in ((120, "data:"), (1, "file:")):
        monkeypatch.setattr(page_module, "MAX_INLINE", most)
        found = pictures(samples, tmp_path / f"images #{most}")
        page.open(written([run], samples, tmp_path / f"page-{most}.html", images=found))
        page.run("document.querySelectorAll('.row')[1].click()")
        page.wait("document.querySelector('#detail img').complete")
        assert page.run(shown) == [41, kind]
    assert len(list((tmp_path / "images #1").iterdir())) == 3 and not (tmp_path / "images #120").exists()


def test_boxes_are_drawn_where_the_scorer_reads_them(page: Browser, tmp_path: Path) -> None:
    ref = ImageRef(kind="file", path="a.png")
    one = Sample(id="a", image_id="i", question="Where is it?", references=("{<100><50><299><149>}",), images=(ref,))
    samples = [replace(one, id=name) for name in ("right", "five", "inverted")]
    texts = ("{<120><60><319><159>}", "<1><2><3><4><5>", "<300><200><100><100>")
    predictions = [Prediction(sample_id=s.id, text=t) for s, t in zip(samples, texts, strict=True)]
    run = made_run(tmp_path / "run", samples, predictions, protocols=("exact-match",))
    inside = f"data:image/png;base64,{base64.b64encode(png(200, 100)).decode()}"
    images = {picture_key(one): Picture(addresses=(inside,), size=(400, 200))}
    page.open(written([run], samples, tmp_path / "page.html", images=images))

    def drawn(k: int) -> Any:
        page.run(f"document.querySelectorAll('.row')[{k}].click()")
        page.wait("document.querySelector('#detail img').complete")
        return page.run("""(() => {
            const image = document.querySelector("#detail img").getBoundingClientRect();
            return [...document.querySelectorAll("#detail .picture rect")].map((r) => {
                const b = r.getBoundingClientRect();
                return [(b.left - image.left) / image.width, (b.top - image.top) / image.height, b.width / image.width];
            });
        })()""")

    gold, answer = drawn(0)
    assert gold == pytest.approx([100 / 400, 50 / 200, 200 / 400], abs=0.01)
    assert answer == pytest.approx([120 / 400, 60 / 200, 200 / 400], abs=0.01)
    assert len(drawn(1)) == 1 and "answer: no box" in page.text("#detail")
    assert len(drawn(2)) == 1 and "answer: inverted, counts as nothing" in page.text("#detail")


@pytest.mark.few(1)
@pytest.mark.parametrize("dark", [False, True])
def test_text_has_contrast_in_light_and_in_dark(page: Browser, file: Path, dark: bool) -> None:
    page.screen(1300, 900, dark=dark)
    page.open(file)
    paper, ink = page.run(
        "['backgroundColor', 'color'].map((k) => getComputedStyle(document.querySelector('section'))[k])"
    )

    def light(colour: str) -> float:
        return sum(map(float, colour.removeprefix("rgb(").removesuffix(")").split(","))) / 765

    assert (light(paper) < 0.2 and light(ink) > 0.8) if dark else (light(paper) > 0.9 and light(ink) < 0.2)


def test_on_a_telephone_nothing_is_wider_than_the_screen(page: Browser, both: Path) -> None:
    page.screen(390, 844, mobile=True)
    page.open(both)
    page.run("document.querySelector('.row').click()")
    assert page.run("document.documentElement.scrollWidth") <= 390
    assert page.run("document.getElementById('detail').getBoundingClientRect().top") < 400


def test_an_example_of_the_protocol_lens_leads_to_its_sample(page: Browser, tmp_path: Path) -> None:
    samples = made_samples(40)
    answers = [answered(s, "It is not normal" if s.answer_type == "CLOSED" else s.references[0]) for s in samples]
    protocols = ("llava-med", "strict", "exact-match", "medevalkit", "cares")
    run = made_run(tmp_path / "run", samples, answers, protocols=protocols)
    page.open(written([run], samples, tmp_path / "page.html"))
    assert page.run("document.querySelectorAll('#matrix tbody tr').length") == 5
    page.choose("outcome", "right")
    name = page.run("document.querySelector('#causes button').textContent")
    page.run("document.querySelector('#causes button').click()")
    assert name in page.text("#detail") and count(page) == 40


def test_a_page_without_any_score_opens(page: Browser, tmp_path: Path) -> None:
    samples = made_samples(4)
    run = made_run(tmp_path / "run", samples, [failed(s) for s in samples])
    page.open(written([run], samples, tmp_path / "page.html"))
    page.choose("outcome", "failed")
    assert count(page) == 4
    assert "–" in page.text("#numbers")


def paired(**changes: Any) -> Paired:
    """A paired difference over two samples."""
    plain: dict[str, Any] = {
        "key": MetricKey("strict", "f1"), "n": 2, "n_clusters": 1, "first": 0.0, "second": 1.0, "standard_error": 0.1,
        "p_worse": 1.0, "n_worse": 0, "n_better": 2, "first_unscored": 0, "second_unscored": 0, "flipped": (0, 1),
    }  # fmt: skip
    return Paired(**{**plain, **changes})


@pytest.mark.few(1)
@pytest.mark.parametrize(("higher_is_better", "colour"), [(True, "good"), (False, "bad")])
def test_a_rise_is_coloured_by_the_metrics_direction(
    page: Browser, run: Path, other: Path, tmp_path: Path, higher_is_better: bool, colour: str
) -> None:
    rise = paired(
        higher_is_better=higher_is_better, difference=0.5, interval=Interval(low=0.4, high=0.6, method="made")
    )
    page.open(written([run, other], [], tmp_path / "page.html", differences=Differences(pairs=(rise,))))
    assert page.run("document.querySelector('#paired tbody tr').cells[4].className") == colour


def test_a_lower_is_better_metric_is_right_where_its_score_is_zero(page: Browser, tmp_path: Path) -> None:
    samples = made_samples(6)
    predictions = [answered(s, s.references[0] if k < 4 else "nothing") for k, s in enumerate(samples)]
    run = made_run_under(tmp_path / "run", samples, predictions, [ErrorRates()])
    page.open(written([run], samples, tmp_path / "page.html"))
    page.choose("metric", "error-rates error_rate")
    page.choose("outcome", "right")
    assert count(page) == 4
    page.choose("outcome", "wrong")
    assert count(page) == 2


@pytest.mark.slow
def test_differences_are_shown_even_where_there_is_no_interval(
    page: Browser, run: Path, other: Path, tmp_path: Path
) -> None:
    alone = paired(higher_is_better=True, difference=1.0, interval=Interval(low=None, high=None, method="made"))
    page.open(written([run, other], [], tmp_path / "page.html", differences=Differences(pairs=(alone,))))
    assert page.run("document.querySelector('#paired tbody tr').cells[5].innerText") == "–"


@pytest.mark.slow
def test_45000_samples_are_one_page_that_filters(page: Browser, tmp_path: Path) -> None:
    samples = made_samples(45_000, per_image=5)
    run = made_run(tmp_path / "run", samples, mixed(samples, 1), protocols=("exact-match",))
    page.open(written([run], samples, tmp_path / "page.html"))
    page.choose("text", "kidney")
    assert 10_000 < count(page) < 40_000
    assert page.run("document.querySelectorAll('.row').length") < 60
