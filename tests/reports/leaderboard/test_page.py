"""The leaderboards' page in a real browser: from disk, without network or complaint, by mouse and keyboard."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from evalkit.published import PublishedTable
from evalkit.reports.leaderboard import render
from evalkit.reports.leaderboard.history import succeeded
from evalkit.runs.schema import LeaderboardResult
from tests.support.browser import Browser, chromium
from tests.support.leaderboard import metric, paper, result, with_metrics
from tests.support.paths import ROOT

EVIL = "<script>document.title='taken'</script><img src=x onerror=\"document.title='taken'\">"
NAMES = "Array.from(document.querySelectorAll('tbody tr:not([hidden]) .model'), (e) => e.textContent).join(' ')"

# Elements with a text of their own whose contrast to what is behind them is below 4.5.
LOW_CONTRAST = """(() => {
    const rgb = (text) => text.match(/[\\d.]+/g).map(Number);
    const light = (c) => { const [r, g, b] = c.slice(0, 3).map((v) => v / 255)
        .map((v) => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
        return 0.2126 * r + 0.7152 * g + 0.0722 * b; };
    const behind = (e) => { for (; e; e = e.parentElement) { const c = rgb(getComputedStyle(e).backgroundColor);
        if (c.length < 4 || c[3] > 0) return c; } return [255, 255, 255]; };
    const own = (e) => [...e.childNodes].some((n) => n.nodeType === 3 && n.textContent.trim());
    return [...document.body.querySelectorAll("*")].filter((e) => own(e) && e.checkVisibility()).map((e) => {
        const [x, y] = [light(rgb(getComputedStyle(e).color)), light(behind(e))].sort((a, b) => b - a);
        return [e.tagName + "." + e.className, e.textContent.slice(0, 30), (x + 0.05) / (y + 0.05)];
    }).filter(([, , ratio]) => ratio < 4.5);
})()"""


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as found:
        yield found


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pages with runs, papers, a row without a number, and names that would like to be markup."""
    runs = [
        with_metrics(result("a-1", [1.0, 0.0, 0.0, 0.0]), metric("bleu_1", [0.5])),
        result("b-1", [1.0, 1.0, 1.0, 1.0]),
        result("c-1", metrics=(metric("closed_accuracy", [None] * 4, value_worst_case=None),), n=4),
    ]
    earlier = replace(result("d-1", [0.0, 0.0], task="other", model=EVIL), added=EVIL, answers="f" * 64)
    evil = succeeded(result("d-1", [1.0, 0.0], task="other", model=EVIL), earlier)
    table = paper([{"value": "60.0", "n": 4, "faults": ["f"]}], faults={"f": EVIL}, notes=[EVIL])
    return written(tmp_path_factory.mktemp("page"), [*runs, evil], [table])


def written(folder: Path, results: Sequence[LeaderboardResult], tables: Sequence[PublishedTable] = ()) -> Path:
    for name, text in render(results, {}, tables).items():
        (folder / name).write_text(text, encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def page(folder: Path) -> Path:
    """The page of the task of most rows."""
    return folder / "toy.html"


def click(browser: Browser, selector: str) -> None:
    browser.run(f"document.querySelector({selector!r}).click()")


def address(browser: Browser) -> str:
    """The file that is open, and what follows #."""
    return str(browser.run("location.pathname.split('/').pop() + location.hash"))


@pytest.mark.parametrize("name", ["index.html", "vqa-rad.html"])
def test_a_committed_page_loads_from_disk_without_a_complaint_or_a_request(browser: Browser, name: str) -> None:
    browser.open(ROOT / "leaderboards" / name)
    assert browser.run("document.querySelectorAll('.value').length") > 100
    assert browser.complaints() == []


def test_the_overview_is_small_and_every_task_has_a_page_of_its_own_rows() -> None:
    folder = ROOT / "leaderboards"
    tasks = {p.stem for p in folder.glob("*.csv")}
    assert {p.stem for p in folder.glob("*.html")} == tasks | {"index"}
    assert (folder / "index.html").stat().st_size < 300_000
    for task in tasks:
        assert set(re.findall(r'data-task="([^"]*)"', (folder / f"{task}.html").read_text("utf-8"))) == {task}


def test_every_number_leads_to_a_row_a_file_that_exists_or_the_web() -> None:
    folder = ROOT / "leaderboards"
    texts = {p.name: p.read_text("utf-8") for p in folder.glob("*.html")}
    anchors = {name: set(re.findall(r'\bid="([^"]*)"', text)) for name, text in texts.items()}
    n_links = 0
    for name, text in texts.items():
        assert '<span class="value' not in text, "a number without a source"
        for link in set(re.findall(r'<a [^>]*\bhref="([^"]*)"', text)):
            file, _, anchor = link.partition("#")
            assert link.startswith("https://") or (folder / (file or name)).is_file(), link
            assert not anchor or link.startswith("https://") or anchor in anchors[file or name], link
            n_links += 1
    assert n_links > 500


def test_what_is_searched_leads_to_rows_and_tables_that_exist() -> None:
    folder = ROOT / "leaderboards"
    text = (folder / "index.html").read_text("utf-8")
    found = json.loads(text.partition('id="rows">')[2].partition("</script>")[0])
    anchors = {
        file: re.findall(r'\bid="([rt][0-9a-f]{10})"', (folder / file).read_text("utf-8")) for file, _ in found["tasks"]
    }
    assert all(len(set(ids)) == len(ids) for ids in anchors.values()), "each anchor once"
    assert len(found["rows"]) == sum(i.startswith("r") for ids in anchors.values() for i in ids) > 1000
    for table, *_, anchor in found["rows"]:
        task, _, place = found["tables"][table]
        assert {anchor, place} <= set(anchors[found["tasks"][task][0]])


def test_one_overview_is_shown_and_a_number_of_it_opens_its_row(browser: Browser) -> None:
    browser.open(ROOT / "leaderboards" / "index.html")
    shown = "Array.from(document.querySelectorAll('.overview')).filter((e) => !e.hidden).map((e) => e.dataset.title)"
    first = browser.run(shown)
    assert len(first) == 1
    browser.choose("overview-choice", "1")
    second = browser.run(shown)
    assert len(second) == 1 and second != first
    click(browser, ".overview:not([hidden]) a[href^='slake.html']")
    browser.wait("location.pathname.endsWith('slake.html') && document.querySelector('tr:target')?.checkVisibility()")


@pytest.mark.few(1)
@pytest.mark.parametrize("start", ["toy", "other"])
def test_an_address_of_a_task_in_the_one_page_that_there_was_leads_to_its_page(
    browser: Browser, folder: Path, start: str
) -> None:
    browser.open(folder / "index.html", f"#{start}")
    browser.wait(f"location.pathname.endsWith('/{start}.html')")
    browser.open(folder / "index.html", "#nothing%")
    assert address(browser) == "index.html#nothing%" and browser.complaints() == []
    browser.run("location.hash = 'toy'")
    browser.wait("location.pathname.endsWith('/toy.html')")
    assert f'<li id="{start}">' in (folder / "index.html").read_text("utf-8"), "the place without script"


def test_a_task_with_the_name_of_an_element_of_the_page_has_a_page_and_no_second_id(tmp_path: Path) -> None:
    written(tmp_path, [result(f"m-{task}", task=task, parts={"task": f"{task}.test"}) for task in ("rows", "text")])
    text = (tmp_path / "index.html").read_text("utf-8")
    ids = re.findall(r'\bid="([^"]*)"', text)
    assert len(ids) == len(set(ids)) and 'href="rows.html"' in text and (tmp_path / "text.html").is_file()


def test_the_search_finds_rows_of_every_task_and_leads_to_them(browser: Browser, folder: Path) -> None:
    browser.open(folder / "index.html")
    assert browser.run("document.getElementById('count').textContent") == "5 of 5 rows"
    browser.press("/", "/")
    for letter in "llava-med SYSTEM":
        browser.press(letter, letter)
    found = (
        "Array.from(document.querySelectorAll('#found tbody tr'), (r) => [...r.cells].map((c) => c.innerText.trim()))"
    )
    assert browser.run(found) == [["System 0 paper", "toy", "llava-med, zero-shot"]]
    assert browser.run("document.getElementById('count').textContent") == "1 of 5 rows"
    assert not browser.run("document.querySelector('.contents').checkVisibility()")
    browser.run("document.getElementById('runs').click()")
    assert browser.run(found) == []
    browser.press("Escape")
    assert len(browser.run(found)) == 4, "every row of a run"
    browser.run("document.getElementById('runs').click()")
    assert browser.run(
        "document.getElementById('found').hidden && document.querySelector('.contents').checkVisibility()"
    )
    browser.choose("text", "other")
    click(browser, "#found tbody a")
    browser.wait("location.pathname.endsWith('/other.html') && document.querySelector('tr:target')")
    assert browser.run("document.querySelector('tr:target .model').textContent") == EVIL


@pytest.mark.slow
def test_many_rows_that_are_found_are_counted_and_the_first_are_shown(browser: Browser, tmp_path: Path) -> None:
    written(tmp_path, [result(f"m{k:03d}-1") for k in range(205)])
    browser.open(tmp_path / "index.html")
    browser.choose("text", "m")
    assert browser.run("document.querySelectorAll('#found tbody tr').length") == 200
    assert browser.text("#rest") == "The first 200 of 205 rows are shown."


def test_earlier_results_are_folded_under_their_row(browser: Browser, folder: Path) -> None:
    browser.open(folder / "other.html")
    assert "0.00" not in browser.text("tbody th")
    click(browser, ".history summary")
    text = browser.text(".history")
    assert text.startswith("1 earlier result") and "closed_accuracy 0.00 [25.0, 75.0] n=2" in text
    assert "answers ffffffffffff" in text and EVIL in text and browser.complaints() == []


def test_a_heading_sorts_best_first_then_worst_first_then_as_it_was(browser: Browser, page: Path) -> None:
    browser.open(page)
    before = browser.run(NAMES)
    assert before == "b System 0 a c"
    heading = "[data-task=toy] th.number:not(.extra) button"
    click(browser, heading)
    assert browser.run(NAMES) == "b System 0 a c"
    click(browser, heading)
    assert browser.run(NAMES) == "a System 0 b c"  # a row without the number stays last
    assert browser.run("document.querySelector('[data-task=toy] th.number').getAttribute('aria-sort')") == "ascending"
    click(browser, heading)
    assert browser.run(NAMES) == before
    click(browser, "[data-task=toy] th.name button")
    assert browser.run(NAMES) == "a b c System 0"


def test_the_keyboard_sorts_and_finds(browser: Browser, page: Path) -> None:
    browser.open(page)
    browser.run("document.querySelector('[data-task=toy] th.name button').focus()")
    browser.press("Enter", "\r")
    assert browser.run("document.querySelector('[data-task=toy] th.name').getAttribute('aria-sort')") == "ascending"
    browser.run("document.activeElement.blur()")
    browser.press("/", "/")
    assert browser.run("document.activeElement.id") == "text"
    for letter in "System 0":
        browser.press(letter, letter)
    assert browser.run(NAMES) == "System 0"
    assert browser.run("document.getElementById('count').textContent") == "1 of 4 rows"
    browser.press("Escape")
    assert browser.run(NAMES).startswith("a b c")


def test_filters_by_kind_and_shows_every_metric_on_request(browser: Browser, page: Path) -> None:
    browser.open(page)
    assert browser.run("document.getElementById('count').textContent") == "4 of 4 rows"
    browser.run("document.getElementById('runs').click()")
    assert browser.run(NAMES) == "b a c"
    assert not browser.run("document.querySelector('[data-task=toy] .extra').checkVisibility()")
    browser.run("document.getElementById('extra').click()")
    assert browser.run("document.querySelector('[data-task=toy] .extra').checkVisibility()")
    assert browser.complaints() == []


@pytest.mark.slow
def test_a_row_that_a_filter_hides_is_shown_when_the_address_names_it(browser: Browser, page: Path) -> None:
    browser.open(page)
    browser.choose("text", "System")
    row = "Array.from(document.querySelectorAll('tbody tr')).find((r) => r.querySelector('.model').textContent === 'a')"
    assert browser.run(f"{row}.hidden")
    browser.run(f"location.hash = {row}.id")
    browser.wait(f"!{row}.hidden && document.getElementById('text').value === ''")


@pytest.mark.few(2)
@pytest.mark.parametrize("name", ["index.html", "toy.html", "other.html"])
def test_names_and_texts_that_are_markup_do_nothing(browser: Browser, folder: Path, name: str) -> None:
    browser.open(folder / name)
    if name == "index.html":
        browser.choose("text", "script")
    assert browser.complaints() == []
    assert browser.run("document.title.toLowerCase()").endswith(("leaderboards", "leaderboard"))
    assert browser.run("document.querySelectorAll('img').length") == 0
    assert EVIL in browser.run("document.body.textContent")


@pytest.mark.few(1)
@pytest.mark.parametrize(("width", "dark"), [(360, True), (420, False), (2560, True)])
@pytest.mark.parametrize("name", ["index.html", "slake.html"])
def test_a_page_fits_its_window_and_can_be_read(browser: Browser, name: str, width: int, dark: bool) -> None:
    browser.screen(width, 800, dark=dark)
    browser.open(ROOT / "leaderboards" / name)
    assert browser.run("document.documentElement.scrollWidth") <= width
    colours = "getComputedStyle(document.body)"
    light = [sum(map(int, browser.run(f"{colours}.{c}")[4:-1].split(","))) for c in ("color", "backgroundColor")]
    assert light[0] - light[1] > 400 if dark else light[1] - light[0] > 400


@pytest.mark.few(2)
@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("name", ["index.html", "toy.html", "other.html"])
def test_every_text_has_the_contrast_of_wcag_aa(browser: Browser, folder: Path, name: str, dark: bool) -> None:
    """4.5:1 for text of ordinary size, with rows that are marked, found or folded shown."""
    browser.screen(1280, 900, dark=dark)
    browser.open(folder / name)
    browser.run("document.querySelectorAll('details').forEach((e) => { e.open = true; })")
    if name == "index.html":
        browser.choose("text", "toy")
    else:
        browser.run("location.hash = document.querySelector('tbody tr').id")
    assert browser.run(LOW_CONTRAST) == []


def test_every_control_has_a_name(browser: Browser, folder: Path) -> None:
    unnamed = """[...document.querySelectorAll("input, select, button, a, summary, [tabindex='0']")]
        .filter((e) => !(e.labels && e.labels.length) && !e.getAttribute("aria-label") && !e.textContent.trim())
        .map((e) => e.outerHTML.slice(0, 80))"""
    for name in ("index.html", "toy.html"):
        browser.open(folder / name)
        assert browser.run(unnamed) == []


def test_without_script_every_number_is_there(page: Path) -> None:
    text = page.read_text("utf-8")
    assert text.count('class="value') == 4 and 'id="filters" hidden' in text


@pytest.mark.slow
def test_a_lower_is_better_column_sorts_lowest_first(browser: Browser, tmp_path: Path) -> None:
    runs = [
        result(f"{name}-1", values, metrics=(metric("accuracy", values, higher_is_better=False),))
        for name, values in (("a", [1.0, 1.0]), ("b", [0.0, 1.0]), ("c", [0.0, 0.0]))
    ]
    browser.open(written(tmp_path, runs) / "toy.html")
    assert browser.run(NAMES) == "c b a"
    click(browser, "th.number button")
    assert browser.run(NAMES) == "c b a"
    click(browser, "th.number button")
    assert browser.run(NAMES) == "a b c"
