"""The viewer's pages in headless Chromium: list, comparison, address, gallery, progress, static files."""

from __future__ import annotations

import csv
import functools
import io
import os
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest

from evalkit.core.types import ImageRef, Sample
from evalkit.reports.run_page import page_data, paired_differences, write_page
from evalkit.reports.viewer import RunList, Site, write_site
from tests.support.browser import Browser
from tests.support.made_runs import answered, failed, made_run, made_samples, mixed
from tests.support.viewer import picture_file, running_run, served, source_of

SCRIPT = "<script>window.hacked = 1</script><img src=x onerror='window.hacked = 1'></script>"
PROTOCOLS = ("strict", "exact-match")
CELLS = "[...r.cells].map((c) => c.innerText)"
READY = "document.documentElement?.dataset.ready === '1'"  # null between two pages
ROWS = "[...document.querySelectorAll('#runs tbody tr')].map((r) => r.cells[1].innerText.split('\\n')[0])"
COPY = "navigator.clipboard.writeText = async (text) => { window.taken = text; }"


@pytest.fixture(scope="module")
def samples(tmp_path_factory: pytest.TempPathFactory) -> list[Sample]:
    folder = tmp_path_factory.mktemp("pictures")
    refs = [ImageRef(kind="file", path=str(picture_file(folder / f"{k}.png", 40 + k))) for k in range(5)]
    return [replace(s, images=(refs[k % 5],)) for k, s in enumerate(made_samples(80))]


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory, samples: list[Sample]) -> Path:
    folder = tmp_path_factory.mktemp("viewer") / "runs"
    for k, name in enumerate(("one", "two", "three")):
        made_run(
            folder / f"{name}-toy", samples, mixed(samples, k + 1), model=name, protocols=("strict", "exact-match")
        )
    running_run(folder / "one-toy", folder / "going-toy", n_answered=20)
    return folder


@pytest.fixture(scope="module")
def address(runs: Path, samples: list[Sample]) -> Iterator[str]:
    with served(Site(RunList(runs), source_of(samples), is_live=True)) as found:
        yield found


def run_page(address: str, *names: str, fragment: str = "") -> str:
    return f"{address}run.html?{urlencode([('run', n) for n in names])}{fragment}"


def opened(page: Browser, address: str) -> None:
    page.visit(address)
    page.wait(READY)


def count(page: Browser) -> str:
    return page.text("#count")


def answers(data: dict[str, Any]) -> dict[str, float | None]:
    """The exact-match score of each sample; None for an unscored one."""
    column = data["scores"][0]["exact-match exact_match"]
    values = [column["of"][k] for k in column["at"]]
    return {
        i: v if isinstance(v, float) else None if len(v) == 1 else v[0]
        for i, v in zip(data["ids"], values, strict=True)
    }


def test_the_list_is_filtered_sorted_and_kept_in_the_address(page: Browser, address: str) -> None:
    opened(page, address)
    assert set(page.run(ROWS)) == {"one", "two", "three"} and page.text("#count") == "4 of 4 runs"
    page.choose("state", "done")
    page.choose("text", "tESt -toy")
    assert set(page.run(ROWS)) == {"one", "two", "three"} and page.text("#count") == "3 of 4 runs"
    page.run("document.querySelectorAll('#runs th button')[1].click()")
    assert page.run(ROWS) == ["one", "three", "two"]
    page.wait("location.hash.includes('sort=1up') && location.hash.includes('state=done')")
    opened(page, page.run("location.href"))
    assert page.run(ROWS) == ["one", "three", "two"]
    assert page.run("document.getElementById('text').value") == "tESt -toy"
    page.choose("text", "two")
    assert page.run(ROWS) == ["two"]


def test_protocols_stand_side_by_side_under_a_metric(page: Browser, address: str) -> None:
    opened(page, address)
    page.choose("metric", "exact_match")
    heads = page.run("[...document.querySelectorAll('#runs th')].map((h) => h.innerText)")
    assert {"strict", "exact-match"} < set(heads)


def test_two_to_six_runs_of_one_task_are_chosen_by_keyboard_and_compared(page: Browser, address: str) -> None:
    opened(page, address)
    assert page.run("document.getElementById('compare').disabled") is True
    page.choose("state", "done")
    page.run("document.activeElement.blur()")
    for key in "jxjx":
        page.press(key)
    assert page.text("#chosen") == "2 chosen" and page.run("document.getElementById('compare').disabled") is False
    first = page.run(ROWS)[0]
    page.press("c")
    page.wait(f"location.pathname.endsWith('run.html') && {READY}")
    assert page.text("h1").startswith(f"{first} on toy against ")


@pytest.mark.slow
def test_three_runs_are_compared_with_differences_flips_and_overlaid_slices(
    page: Browser, address: str, runs: Path
) -> None:
    names = ("two-toy", "one-toy", "three-toy")  # not in the order in which pairs are stored
    opened(page, run_page(address, *names))
    heads = page.run("[...document.querySelectorAll('#differences h3')].map((h) => h.innerText)")
    assert heads == ["one minus two", "three minus two"]
    for k, name in enumerate(names[1:]):
        wanted = {str(p.key): p.difference for p in paired_differences([runs / names[0], runs / name]).pairs}
        rows = page.run(f"[...document.querySelectorAll('table.paired')[{k}].tBodies[0].rows].map((r) => {CELLS})")
        found = {f"{r[0]} {r[1]}": float(r[4].replace("–", "nan")) for r in rows}
        assert found == {key: pytest.approx(100 * v, abs=0.006) for key, v in wanted.items()}
    page.choose("metric", "exact-match exact_match")
    scores = [answers(page_data([runs / n], {}, {})) for n in names]
    page.choose("outcome", "flipped")
    assert count(page) == f"{sum(len({s[i] for s in scores}) > 1 for i in scores[0])} of 80"
    page.choose("outcome", "worse-3")
    worse = sum(None not in (scores[0][i], scores[2][i]) and scores[2][i] < scores[0][i] for i in scores[0])  # type: ignore[operator]
    assert count(page) == f"{worse} of 80" and worse > 0
    page.run("document.querySelector('.row').click()")
    assert page.run("[...document.querySelectorAll('#detail h4')].map((h) => h.innerText)") == ["two", "one", "three"]
    marks = page.run("[...document.querySelectorAll('#slices svg.forest g.run')].map((g) => g.getAttribute('class'))")
    assert {"run r0", "run r1", "run r2"} == set(marks)
    colours = page.run(
        "[0, 1, 2].map((k) => getComputedStyle(document.querySelector(`#slices .forest .r${k} .range`)).stroke)"
    )
    assert len(set(colours)) == 3


@pytest.mark.slow
def test_runs_that_cannot_be_compared_are_refused_in_words(
    page: Browser, samples: list[Sample], tmp_path: Path
) -> None:
    other = [replace(s, question=s.question + "?") for s in samples]
    made_run(tmp_path / "a", samples, mixed(samples, 1), protocols=("strict",))
    made_run(tmp_path / "b", other, mixed(other, 1), protocols=("strict",))
    with served(Site(RunList(tmp_path), source_of(samples), is_live=True)) as address:
        for names, reason in (
            (("a", "b"), "sample q0 has another question or reference"), ((), "names 0 runs"),
            (tuple("abcdefg"), "names 7 runs"), (("../runs",), "../runs is no name"), (("a", "..\\b"), "is no name"),
        ):  # fmt: skip
            page.visit(run_page(address, *names))
            page.wait("document.getElementById('loading').textContent.startsWith('Nothing to show')")
            assert reason in page.text("#loading")


@pytest.mark.slow
def test_numbers_are_shown_before_the_answers_and_a_link_to_one_waits(
    page: Browser, tmp_path: Path, samples: list[Sample]
) -> None:
    answers = [answered(s, "It is not normal" if s.answer_type == "CLOSED" else s.references[0]) for s in samples]
    made_run(
        tmp_path / "runs" / "one-toy",
        samples,
        answers,
        protocols=("llava-med", "strict", "exact-match", "medevalkit", "cares"),
    )
    site, wait = Site(RunList(tmp_path / "runs"), source_of(samples), is_live=True), threading.Event()

    class Slow(Site):
        def find(self, address: str) -> Any:
            if address.startswith("data/"):
                wait.wait(60)
            return site.find(address)

    with served(Slow(site.runs, source_of(samples), is_live=True)) as slow:
        page.visit(run_page(slow, "one-toy"))
        page.wait("document.documentElement?.dataset.numbers === '1'")
        assert page.run("document.querySelectorAll('#numbers tbody tr').length") > 2
        assert "loading" in page.text("#loading") and page.run("document.getElementById('samples').hidden")
        page.run("document.querySelector('#causes button.link').click()")
        name = page.run("document.querySelector('#causes button.link').textContent")
        wait.set()
        page.wait(READY)
        assert name in page.text("#detail") and page.run("document.getElementById('loading').hidden")


def test_numbers_whose_answers_cannot_be_read_do_not_stay(
    new_page: Callable[[], Browser], tmp_path: Path, samples: list[Sample]
) -> None:
    page = new_page()  # that the browser logs the failed request is right here
    run = made_run(tmp_path / "runs" / "changed", samples, mixed(samples, 1), protocols=PROTOCOLS)
    (run / "scores.jsonl").write_text((run / "scores.jsonl").read_text().replace("1.0", "0.0", 1))
    with served(Site(RunList(tmp_path / "runs"), source_of(samples), is_live=True)) as changed:
        page.visit(run_page(changed, "changed"))
        page.wait("document.getElementById('loading')?.textContent.startsWith('Nothing')")
        assert "is not the file that the numbers" in page.text("#loading")
        assert page.run("[...document.querySelectorAll('main > section')].every((s) => s.hidden)")
        assert page.text("#about") == ""


@pytest.mark.slow
def test_filters_order_and_open_sample_are_in_the_address_and_come_back(page: Browser, address: str) -> None:
    opened(page, run_page(address, "one-toy"))
    page.choose("metric", "exact-match exact_match")
    page.choose("outcome", "wrong")
    page.choose("slice", "organ=lung")
    page.choose("slice-2", "modality=CT")
    page.choose("order", "long")
    shown = count(page)
    assert 0 < int(shown.split()[0]) < 40
    page.run("document.querySelectorAll('.row')[0].click()")
    terms = "[...document.querySelectorAll('#detail dt')]"
    sample = page.run(f"{terms}.find((t) => t.innerText === 'sample').nextSibling.innerText")
    page.wait(f"new URLSearchParams(location.hash.slice(1)).get('sample') === '{sample}'")
    opened(page, page.run("location.href"))
    assert count(page) == shown and sample in page.text("#detail")
    assert page.run("document.getElementById('order').value") == "long"


def test_a_link_to_a_sample_opens_it_whatever_the_filters_hide(
    page: Browser, runs: Path, samples: list[Sample]
) -> None:
    file = runs.parent / "report.html"
    write_page(file, page_data([runs / "one-toy"], {s.id: s for s in samples}, {}))
    for fragment in ("#sample=q7", "#sample=q7&find=no+such+words"):
        page.open(file, fragment)
        assert "q7" in page.text("#detail") and count(page) == "80 of 80"
    page.open(file, "#sample=none&show=none&slice=x%3Dy")
    assert count(page) == "80 of 80" and page.run("document.getElementById('detail').hidden") is True


@pytest.mark.slow
def test_the_gallery_shows_the_pictures_of_the_filtered_samples(page: Browser, address: str) -> None:
    opened(page, run_page(address, "one-toy", fragment="#metric=exact-match+exact_match&show=wrong&view=gallery"))
    tiles = page.run("document.querySelectorAll('.tile').length")
    assert f"{tiles} of 80" == count(page) and tiles > 3
    page.wait("document.querySelector('.tile img').complete")
    assert page.run("document.querySelector('.tile img').naturalWidth") >= 40
    page.run("document.querySelectorAll('.tile')[1].click()")
    assert page.text("#detail .steps .keys") == f"2 of {tiles}"
    page.choose("outcome", "all")
    assert page.run("document.querySelectorAll('.tile').length") == 60
    page.run("document.querySelector('#gallery > button:last-child').click()")
    assert page.run("document.querySelectorAll('.tile').length") == 80


def test_a_copy_as_csv_has_the_filtered_rows_and_no_formulas(page: Browser, tmp_path: Path) -> None:
    samples = [replace(s, question='=HYPERLINK("x"), "a"\nb') for s in made_samples(4)]
    run = made_run(tmp_path / "run", samples, [answered(s, "-1") for s in samples], protocols=("exact-match",))
    write_page(tmp_path / "page.html", page_data([run], {s.id: s for s in samples}, {}))
    page.open(tmp_path / "page.html")
    page.run(COPY)
    page.choose("outcome", "wrong")
    page.run("document.getElementById('copy-samples').click()")
    page.wait("window.taken")
    rows = list(csv.reader(io.StringIO(page.run("window.taken"))))
    n = int(count(page).split()[0])
    assert len(rows) == n + 1 and rows[0][:4] == ["sample", "image", "question", "reference"]
    assert all(row[2] == '\'=HYPERLINK("x"), "a"\nb' and row[-2:] == ["-1", "0"] for row in rows[1:])
    page.wait(f"document.getElementById('copied').textContent === '{n} rows copied'")


@pytest.mark.slow
def test_progress_of_a_running_run_is_seen_without_a_reload(page: Browser, runs: Path, samples: list[Sample]) -> None:
    with served(Site(RunList(runs), source_of(samples), is_live=True)) as address:
        opened(page, address)
        page.choose("text", "going")
        assert "20 of 80 (25 %)" in page.text("#runs tbody")
        whole = (runs / "one-toy" / "predictions.jsonl").read_text(encoding="utf-8").splitlines(keepends=True)
        with (runs / "going-toy" / "predictions.jsonl").open("a", encoding="utf-8") as file:
            file.writelines(whole[20:60])
        page.wait("document.querySelector('#runs tbody').innerText.includes('60 of 80 (75 %)')")
        assert page.run("document.getElementById('text').value") == "going"


@pytest.mark.slow
def test_a_run_without_a_change_for_a_quarter_of_an_hour_is_not_called_running(
    page: Browser, runs: Path, tmp_path: Path
) -> None:
    for name in ("going", "stopped"):
        running_run(runs / "one-toy", tmp_path / name, n_answered=3)
    for file in (tmp_path / "stopped").iterdir():
        os.utime(file, (time.time() - 1000, time.time() - 1000))
    with served(Site(RunList(tmp_path), source_of([]), is_live=True)) as address:
        opened(page, address)
        states = page.run("[...document.querySelectorAll('#runs tbody tr')].map((r) => r.cells[3].innerText)")
        assert ["running" in states[0], "not finished" in states[1]] == [True, True]
        assert page.text("#live") == "1 running" and "last change 17 min ago" in states[1]


def test_an_answer_that_is_a_script_does_nothing_on_any_page(page: Browser, tmp_path: Path) -> None:
    tags = {"answer_type": "OPEN", "organ": SCRIPT}
    hostile = [
        Sample(id=f"{SCRIPT}{i}", image_id=SCRIPT, question=f"{SCRIPT}?", references=(SCRIPT,), tags=tags)
        for i in range(2)
    ]
    given = [answered(hostile[0], SCRIPT), failed(hostile[1], SCRIPT)]
    for name in ("a&b=c #1", "b%20'é"):
        made_run(tmp_path / name, hostile, given, model=SCRIPT + name, protocols=("exact-match",))
    boards = ("board.html", "board-toy.html")
    with served(Site(RunList(tmp_path), source_of(hostile), is_live=True)) as address:
        for place in ("", run_page(address, "a&b=c #1"), run_page(address, "a&b=c #1", "b%20'é"), *boards):
            page.visit(place if place.startswith("http") else address + place)
            if place not in boards:
                page.wait(READY)
            if "run.html" in place:
                page.run("document.querySelector('.row').click()")
                page.run("document.getElementById('pictures').click()")
                assert SCRIPT in page.text("#detail")
            assert page.run("typeof window.hacked") == "undefined"
            assert page.run("document.images.length") == 0


@pytest.mark.slow
def test_judged_scores_are_folded(page: Browser, tmp_path: Path) -> None:
    from evalkit.judge.api import judge_run
    from evalkit.judge.config import JudgeConfig

    samples = made_samples(4)
    predictions = [answered(s, "yes") for s in samples]
    run = made_run(tmp_path / "run", samples, predictions, protocols=("strict",))
    config = JudgeConfig(name="tiny", model="m", transport="local", rows="all", cache=None)
    judge_run(run, config, samples, predictions, complete=lambda m: '{"verdict": "wrong", "why": "another organ"}')
    write_page(tmp_path / "page.html", page_data([run], {}, {}))
    page.open(tmp_path / "page.html")
    page.run("document.querySelector('.row').click()")
    assert "judge:tiny" in page.text("#detail") and "another organ" not in page.text("#detail")
    page.run("document.querySelector('#detail details.judged').open = true")
    assert "another organ" in page.text("#detail")


@pytest.mark.slow
def test_static_files_are_pages_under_any_path(
    page: Browser, runs: Path, samples: list[Sample], tmp_path: Path
) -> None:
    write_site(Site(RunList(runs), source_of(samples), is_live=False), tmp_path / "some" / "site")
    handler = functools.partial(Quiet, directory=str(tmp_path))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{server.server_address[1]}/some/site/"
        opened(page, f"{address}index.html")
        assert set(page.run(ROWS)) == {"one", "two", "three"}
        opened(page, run_page(address, "two-toy", "one-toy", fragment="#sample=q3"))
        assert "q3" in page.text("#detail") and page.run("document.querySelectorAll('.paired tbody tr').length") > 3
        page.wait("document.querySelector('#detail img').naturalWidth > 30")
        server.shutdown()


class Quiet(SimpleHTTPRequestHandler):
    """A server of files that logs nothing."""

    def log_message(self, format: str, *args: object) -> None:
        """Log nothing."""


@pytest.mark.few(1)
@pytest.mark.parametrize(("width", "dark"), [(420, True), (2560, False)])
def test_no_page_is_wider_than_the_screen(page: Browser, address: str, width: int, dark: bool) -> None:
    page.screen(width, 900, dark=dark)
    for place in (address, run_page(address, "one-toy", "two-toy"), f"{address}board.html", f"{address}board-toy.html"):
        page.visit(place)
        if "board" not in place:
            page.wait(READY)
        assert page.run("document.documentElement.scrollWidth") <= width


@pytest.mark.slow
def test_every_control_has_a_name(page: Browser, address: str) -> None:
    unnamed = """[...document.querySelectorAll("input, select, button, a, progress, [tabindex='0'], img")]
        .filter((e) => !(e.labels && e.labels.length) && !e.getAttribute("aria-label") && !e.innerText.trim())
        .filter((e) => e.getAttribute("alt") === null).map((e) => e.outerHTML.slice(0, 80))"""
    for place in (address, run_page(address, "one-toy", fragment="#view=gallery&sample=q3")):
        opened(page, place)
        assert page.run(unnamed) == []
