"""Published tables and papers, damaged or made up: a checked table, or one paragraph."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings

from evalkit.published import PublishedTable
from evalkit.published.read import published_dir, read_published
from evalkit.reports.reproduction.config import parse_paper
from tests.support.fuzzing import EDITS, GRAFTS, edited, examples, grafted, grafted_file, read_file, value_or_error
from tests.support.paths import CONF

TABLES = sorted(published_dir().glob("*.json"), key=lambda path: path.stat().st_size)[:3]
PAPERS = {path.stem: yaml.safe_load(path.read_text(encoding="utf-8")) for path in (CONF / "paper").glob("*.yaml")}
FUZZED = settings(max_examples=examples(60), suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.mark.parametrize("table", TABLES, ids=lambda path: path.stem)
@FUZZED
@given(edits=EDITS, grafts=GRAFTS)
def test_a_table(table: Path, tmp_path: Path, edits: Any, grafts: Any) -> None:
    content = table.read_bytes()
    for changed in (edited(content, edits), grafted_file(content, grafts, lines=False)):
        found = read_file(tmp_path / table.name, changed, read_published)
        assert found is None or isinstance(found, PublishedTable)


@pytest.mark.few(2)
@pytest.mark.parametrize("name", PAPERS)
@FUZZED
@given(grafts=GRAFTS)
def test_a_paper(name: str, grafts: Any) -> None:
    content = {key: value for key, value in grafted(PAPERS[name], grafts).items() if isinstance(key, str)}
    value_or_error(lambda: parse_paper(content, name), name)
