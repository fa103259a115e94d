"""Scores as columns: those of scoring one answer after the other, and the file that is written meanwhile."""

from __future__ import annotations

import random
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from evalkit.cli.config import build, load_option
from evalkit.core.types import CUT_IN_REASONING, MetricKey, Prediction, Sample, Score
from evalkit.runs.codec import read_records
from evalkit.scoring.aggregate import RunProvenance, score_all, tabulate
from evalkit.scoring.base import ScoringProtocol
from evalkit.scoring.score_table import RowKinds, ScoreTable, is_by_row_content, score_table
from evalkit.tasks.phantom import Phantom

TASK = Phantom(n_test=12).load()
TEXTS = (
    "yes",
    "No.",
    "CT",
    "the left lung",
    "",
    "I cannot tell.",
    "Chest X-ray " * 40,
    '\u4e0d \U0001f600 \u2028 "q"',
)


def answers(samples: tuple[Sample, ...]) -> list[Prediction]:
    drawn = random.Random(1)
    found = [Prediction(sample_id=s.id, text=drawn.choice((*TEXTS, s.references[0]))) for s in samples]
    found[3] = Prediction(sample_id=samples[3].id, error="timeout", finish_reason="error")
    found[4] = Prediction(sample_id=samples[4].id, error=CUT_IN_REASONING, finish_reason="length")
    return found


PREDICTIONS = answers(TASK.samples)
NAMES = ("llava-med", "strict", "exact-match", "nocandi", "medevalkit-fixed", "vqa-official", "helm")
PROTOCOLS: list[ScoringProtocol] = [build(load_option("protocol", n), n) for n in NAMES]


def test_the_written_lines_are_the_scores_one_by_one(tmp_path: Path) -> None:
    assert len(PROTOCOLS) > 5 and any(map(is_by_row_content, PROTOCOLS))
    path = tmp_path / "scores.jsonl"
    kinds = RowKinds.among(TASK.samples)
    assert len(kinds.first) < len(TASK.samples)  # some rows are alike, so that results are taken over
    with path.open("w", encoding="utf-8") as file:
        table = score_table(TASK.samples, PREDICTIONS, PROTOCOLS, kinds, file.write)
    expected = score_all(TASK.samples, PREDICTIONS, PROTOCOLS)
    assert read_records(Score, path) == expected
    columns: dict[MetricKey, list[Score]] = {}
    for score in expected:
        columns.setdefault(MetricKey(score.protocol, score.metric), []).append(score)
    assert list(table.metrics) == list(columns)
    for key, scores in columns.items():
        assert [TASK.samples[k].id for k in table.metrics[key].places] == [s.sample_id for s in scores]
        values = [np.nan if s.value is None else s.value for s in scores]
        assert np.array_equal(table.metrics[key].values, values, equal_nan=True)
    reasons = Counter((s.protocol, s.metric, s.reason) for s in expected if s.value is None)
    assert reasons and table.reasons == reasons


def test_values_from_columns_are_those_from_scores() -> None:
    run = RunProvenance(model="m", task=TASK)
    table = score_table(TASK.samples, PREDICTIONS, PROTOCOLS, RowKinds.among(TASK.samples), lambda _: None)
    scores = score_all(TASK.samples, PREDICTIONS, PROTOCOLS)
    values = tabulate(TASK.samples, table, PROTOCOLS, run)
    assert values == tabulate(TASK.samples, scores, PROTOCOLS, run)
    assert {v.slice for v in values} > {"all"}


def test_a_protocol_of_another_package_sees_every_sample() -> None:
    """It may look at the id or the image, so that rows of one kind are not alike to it."""

    class ById:
        name, version, unscored = "by-id", "1", "wrong"
        metrics = PROTOCOLS[0].metrics[:1]

        def score(self, sample: Sample, prediction: Prediction) -> list[Score]:
            hit = float(sample.id.endswith("1"))
            return [Score(sample_id=sample.id, protocol="by-id", metric=self.metrics[0].name, value=hit)]

    one = PREDICTIONS[0]
    same = [Prediction(sample_id=s.id, text=one.text) for s in TASK.samples]
    protocol: ScoringProtocol = ById()  # type: ignore[assignment]
    table = score_table(TASK.samples, same, [protocol], RowKinds.among(TASK.samples), lambda _: None)
    (column,) = table.metrics.values()
    assert column.values.tolist() == [float(s.id.endswith("1")) for s in TASK.samples]


def test_few_results_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """Results that were forgotten are computed again, to the same scores."""
    monkeypatch.setattr("evalkit.scoring.score_table._KEPT_RESULTS", 2)
    kinds = RowKinds.among(TASK.samples)
    found: list[str] = []
    score_table(TASK.samples, PREDICTIONS, PROTOCOLS[:2], kinds, found.append)
    monkeypatch.setattr("evalkit.scoring.score_table._KEPT_RESULTS", 1 << 16)
    again: list[str] = []
    score_table(TASK.samples, PREDICTIONS, PROTOCOLS[:2], kinds, again.append)
    assert found == again and len(found) > len(TASK.samples)


def test_a_table_of_scores_is_itself() -> None:
    scores = score_all(TASK.samples, PREDICTIONS, PROTOCOLS[:1])
    table = ScoreTable.of(scores, TASK.samples)
    assert ScoreTable.of(table, TASK.samples) is table
