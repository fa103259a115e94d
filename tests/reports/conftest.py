"""The browser of the tests of pages: one Chromium a test file, a new page a test."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from tests.support.browser import Browser, browsers


@pytest.fixture(scope="module")
def new_page() -> Iterator[Callable[[], Browser]]:
    with browsers() as new:
        yield new


@pytest.fixture
def page(new_page: Callable[[], Browser]) -> Iterator[Browser]:
    """A new page; at the end nothing was logged and nothing was requested from another server."""
    opened = new_page()
    opened.screen(1300, 900)
    yield opened
    assert opened.complaints() == []
