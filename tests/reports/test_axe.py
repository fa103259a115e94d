"""axe-core finds nothing in evalkit's pages, at three widths, light and dark.

axe-core is not among the dependencies: EVALKIT_AXE names an `axe.min.js` of version 4 (several packages bring one).
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from evalkit.cli.main import main
from evalkit.reports.viewer import RunList, Site
from tests.support.browser import Browser
from tests.support.made_runs import made_run, made_samples, mixed
from tests.support.paths import ROOT
from tests.support.viewer import served, source_of

pytestmark = pytest.mark.slow
SCREENS = [(width, dark) for width in (420, 1280, 2560) for dark in (False, True)]
FOUND = "axe.run(document).then((r) => r.violations.map((v) => `${v.id}: ${v.nodes[0].html.slice(0, 200)}`))"


@pytest.fixture(scope="module")
def axe() -> str:
    path = os.environ.get("EVALKIT_AXE")
    if not path:
        pytest.skip("EVALKIT_AXE names no axe.min.js")
    return Path(path).read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    samples, folder = made_samples(40), tmp_path_factory.mktemp("axe")
    for k, name in enumerate(("one", "two")):
        made_run(
            folder / f"{name}-toy", samples, mixed(samples, k + 1), model=name, protocols=("strict", "exact-match")
        )
    with served(Site(RunList(folder), source_of(samples), is_live=True)) as found:
        yield found


def check(page: Browser, axe: str) -> None:
    page.run("document.querySelectorAll('details').forEach((d) => { d.open = true; })")
    page.run(f"{axe}; 1")
    assert page.run(FOUND) == []
    page.run("document.body.insertAdjacentHTML('beforeend', '<img>')")
    assert any("image-alt" in line for line in page.run(FOUND)), "an image without a text was not found"


@pytest.mark.parametrize(("width", "dark"), SCREENS)
@pytest.mark.parametrize(
    "name", ["index.html", "run.html?run=one-toy", "run.html?run=one-toy&run=two-toy", "board.html"]
)
def test_the_viewer(name: str, width: int, dark: bool, axe: str, address: str, page: Browser) -> None:
    page.screen(width, 1000, dark=dark)
    page.visit(address + name)
    page.wait("document.querySelector('table')")
    check(page, axe)


@pytest.mark.parametrize(("width", "dark"), SCREENS)
@pytest.mark.parametrize("name", ["index.html", "slake.html"])
def test_the_board(name: str, width: int, dark: bool, axe: str, new_page: Callable[[], Browser]) -> None:
    page = new_page()
    page.screen(width, 1000, dark=dark)
    page.open(ROOT / "leaderboards" / name)
    check(page, axe)


@pytest.fixture(scope="module")
def dossier(tmp_path_factory: pytest.TempPathFactory) -> Path:
    samples, folder = made_samples(40), tmp_path_factory.mktemp("dossier")
    runs = [
        made_run(folder / f"{name}-toy", samples, mixed(samples, k), model=name, protocols=("strict",))
        for k, name in enumerate(("one", "two"))
    ]
    assert main(["dossier", f"run={runs[1]}", f"baseline={runs[0]}", f"to={folder / 'dossier'}"]) == 0
    return next((folder / "dossier").glob("*.html"))


@pytest.mark.parametrize(("width", "dark"), SCREENS)
def test_the_dossier(width: int, dark: bool, axe: str, dossier: Path, new_page: Callable[[], Browser]) -> None:
    page = new_page()
    page.screen(width, 1000, dark=dark)
    page.open(dossier)
    check(page, axe)
