"""docs/papers.md: its list matches the tables, and its example is a valid paper."""

from __future__ import annotations

import importlib.util
import re

import yaml

from evalkit.reports.reproduction import VERDICTS, compare_paper, parse_paper
from tests.support.paths import ROOT

DOCS = ROOT / "docs"
PAGE = (DOCS / "papers.md").read_text(encoding="utf-8")


def test_the_list_of_papers_matches_the_tables() -> None:
    spec = importlib.util.spec_from_file_location("make_papers", DOCS / "make_papers.py")
    assert spec is not None
    assert spec.loader is not None
    maker = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(maker)
    assert maker.page() == PAGE, "run: python docs/make_papers.py"


def test_the_example_is_a_valid_paper() -> None:
    found = re.search(r"<!-- example -->\n```yaml\n(.+?)```", PAGE, flags=re.S)
    assert found
    paper = parse_paper(yaml.safe_load(found[1]), "my-paper")
    assert [c.verdict for c in compare_paper(paper.published, [], paper.models)] == ["not run"] * 3


def test_every_verdict_is_explained() -> None:
    for verdict in VERDICTS:
        assert f"| {verdict} |" in PAGE
