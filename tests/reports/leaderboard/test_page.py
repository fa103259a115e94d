"""The leaderboards' page in a real browser: from disk, without network or complaint, by mouse and keyboard."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from evalkit.reports.leaderboard import render
from tests.support.browser import Browser, chromium
from tests.support.leaderboard import metric, paper, result, with_metrics
from tests.support.paths import ROOT

EVIL = "<script>document.title='taken'</script><img src=x onerror=\"document.title='taken'\">"
NAMES = "Array.from(document.querySelectorAll('tbody tr:not([hidden]) .model'), (e) => e.textContent).join(' ')"


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as found:
        yield found


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A page with runs, papers, a row without a number, and names that would like to be markup."""
    runs = [
        with_metrics(result("a-1", [1.0, 0.0, 0.0, 0.0]), metric("bleu_1", [0.5])),
        result("b-1", [1.0, 1.0, 1.0, 1.0]),
        result("c-1", metrics=(metric("closed_accuracy", [None] * 4, value_worst_case=None),), n=4),
    ]
    table = paper([{"value": "60.0", "n": 4, "faults": ["f"]}], faults={"f": EVIL}, notes=[EVIL])
    other = [result("d-1", [1.0, 0.0], task="other", model=EVIL)]
    path = tmp_path_factory.mktemp("page") / "index.html"
    path.write_text(render([*runs, *other], {}, [table])["index.html"], encoding="utf-8")
    return path


def click(browser: Browser, selector: str) -> None:
    browser.run(f"document.querySelector({selector!r}).click()")


def test_the_committed_page_loads_from_disk_without_a_complaint_or_a_request(browser: Browser) -> None:
    browser.open(ROOT / "leaderboards" / "index.html")
    assert browser.run("document.querySelectorAll('.value').length") > 100
    assert browser.complaints() == []


def test_every_number_leads_to_a_file_that_exists_or_to_the_web(browser: Browser) -> None:
    browser.open(ROOT / "leaderboards" / "index.html")
    addresses = browser.run("Array.from(document.querySelectorAll('a'), (a) => a.getAttribute('href'))")
    assert addresses
    places = set(browser.run("Array.from(document.querySelectorAll('[id]'), (e) => '#' + e.id)"))
    for address in set(addresses) - places:
        assert address.startswith("https://") or (ROOT / "leaderboards" / address).is_file(), address
    assert browser.run("document.querySelectorAll('span.value').length") == 0


def test_one_overview_is_shown_and_a_link_of_it_opens_its_task(browser: Browser) -> None:
    browser.open(ROOT / "leaderboards" / "index.html")
    shown = "Array.from(document.querySelectorAll('.overview')).filter((e) => !e.hidden).map((e) => e.dataset.title)"
    first = browser.run(shown)
    assert len(first) == 1
    browser.choose("overview-choice", "1")
    second = browser.run(shown)
    assert len(second) == 1 and second != first
    click(browser, ".overview:not([hidden]) a[href='#slake']")
    browser.wait("document.getElementById('task').value === 'slake'")
    assert browser.run("document.getElementById('overview').hidden")
    assert not browser.run("document.getElementById('slake').hidden") and browser.run(
        "document.getElementById('vqa-rad').hidden"
    )


def test_a_heading_sorts_best_first_then_worst_first_then_as_it_was(browser: Browser, page: Path) -> None:
    browser.open(page, "#toy")
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
    browser.open(page, "#toy")
    browser.run("document.querySelector('[data-task=toy] th.name button').focus()")
    browser.press("Enter", "\r")
    assert browser.run("document.querySelector('[data-task=toy] th.name').getAttribute('aria-sort')") == "ascending"
    browser.run("document.activeElement.blur()")
    browser.press("/", "/")
    assert browser.run("document.activeElement.id") == "text"
    for letter in "System 0":
        browser.press(letter, letter)
    assert browser.run(NAMES) == "System 0"
    assert browser.run("document.getElementById('count').textContent") == "1 of 5 rows"
    browser.press("Escape")
    assert browser.run(NAMES).startswith("a b c")


def test_filters_by_task_and_kind_and_shows_every_metric_on_request(browser: Browser, page: Path) -> None:
    browser.open(page)
    assert browser.run("document.getElementById('count').textContent") == "5 of 5 rows"
    browser.run("document.getElementById('runs').click()")
    assert "System 0" not in browser.run(NAMES)
    browser.run("const t = document.getElementById('task'); t.value = 'toy'; t.dispatchEvent(new Event('input'))")
    assert browser.run(NAMES) == "b a c"
    assert browser.run("document.querySelector('[data-task=other]').hidden")
    assert not browser.run("document.querySelector('[data-task=toy] .extra').checkVisibility()")
    browser.run("document.getElementById('extra').click()")
    assert browser.run("document.querySelector('[data-task=toy] .extra').checkVisibility()")
    assert browser.complaints() == []


def test_names_and_texts_that_are_markup_do_nothing(browser: Browser, page: Path) -> None:
    browser.open(page)
    assert browser.complaints() == []
    assert browser.run("document.title") == "Leaderboards"
    assert browser.run("document.querySelectorAll('img').length") == 0
    assert EVIL in browser.run("document.body.textContent")


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("width", [360, 1280])
def test_the_page_fits_its_window_and_can_be_read(browser: Browser, width: int, dark: bool) -> None:
    browser.screen(width, 800, dark=dark)
    browser.open(ROOT / "leaderboards" / "index.html")
    assert browser.run("document.documentElement.scrollWidth") <= width
    colours = "getComputedStyle(document.body)"
    light = [sum(map(int, browser.run(f"{colours}.{c}")[4:-1].split(","))) for c in ("color", "backgroundColor")]
    assert light[0] - light[1] > 400 if dark else light[1] - light[0] > 400


def test_without_script_every_number_is_there(page: Path) -> None:
    text = page.read_text("utf-8")
    assert text.count('class="value') == 5 and 'id="filters" hidden' in text


@pytest.mark.slow
def test_a_lower_is_better_column_sorts_lowest_first(browser: Browser, tmp_path: Path) -> None:
    runs = [
        result(f"{name}-1", values, metrics=(metric("accuracy", values, higher_is_better=False),))
        for name, values in (("a", [1.0, 1.0]), ("b", [0.0, 1.0]), ("c", [0.0, 0.0]))
    ]
    path = tmp_path / "index.html"
    path.write_text(render(runs, {}, [])["index.html"], encoding="utf-8")
    browser.open(path)
    assert browser.run(NAMES) == "c b a"
    click(browser, "th.number button")
    assert browser.run(NAMES) == "c b a"
    click(browser, "th.number button")
    assert browser.run(NAMES) == "a b c"
