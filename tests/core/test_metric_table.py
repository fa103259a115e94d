"""The table of metric values: no number is cut, whatever the width."""

from __future__ import annotations

import re

import pytest

from evalkit.core import console
from evalkit.core.metric_table import metric_table, natural_width
from evalkit.core.types import MetricValue


def value(protocol: str, metric: str, *, n_unscored: int = 0) -> MetricValue:
    return MetricValue(
        protocol=protocol, metric=metric, slice="all", value=1.0, low=0.9999, high=1.0, n=45678, n_unscored=n_unscored,
        value_worst_case=0.98765, higher_is_better=True,
    )  # fmt: skip


def values(n_unscored: int) -> list[MetricValue]:
    names = ("closed_accuracy", "open_recall", "constant_answer_baseline")
    return [value(p, m, n_unscored=n_unscored) for p in ("llava-med", "medevalkit-fixed-slake") for m in names]


@pytest.mark.parametrize("width", [20, 80, 100, 120, 200])
@pytest.mark.parametrize("n_unscored", [0, 1234])
def test_every_number_is_whole_at_every_width(width: int, n_unscored: int) -> None:
    found = values(n_unscored)
    text = console.metrics_text(found, "title", "caption", width)
    assert "…" not in text
    rows = [line for line in text.splitlines() if "45678" in line]
    assert len(rows) == len(found)
    for row, expected in zip(rows, found, strict=True):
        assert expected.metric in row and "100.00" in row and "[99.99, 100.00]" in row
        assert re.search(rf"\b{n_unscored}\b", row.partition("45678")[2])
        assert ("98.77" in row) == bool(n_unscored), "the worst case stands wherever something is unscored"
    assert all(v.protocol in text for v in found)


@pytest.mark.parametrize("n_unscored", [0, 1234])
def test_a_table_fits_into_80_columns(n_unscored: int) -> None:
    text = console.metrics_text(values(n_unscored), "title", "caption", 80)
    assert max(map(len, text.splitlines())) <= 80


def test_columns_go_only_where_there_is_no_room() -> None:
    found = values(0)
    full = metric_table(found, "t")
    assert len(full.columns) == 7
    assert len(metric_table(found, "t", width=natural_width(full)).columns) == 7
    assert len(metric_table(found, "t", width=natural_width(full) - 1).columns) == 6
