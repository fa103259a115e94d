"""The interval, the effective number of images and the worst case's interval travel with a metric's value."""

from __future__ import annotations

from dataclasses import replace

import pytest

from evalkit.core.console import metric_table
from evalkit.core.types import Prediction
from evalkit.scoring.aggregate import RunProvenance, score_all, tabulate
from evalkit.stats import mean_interval
from evalkit.tasks.base import LoadedTask
from tests.support.protocols import protocol, row


def values(sizes: list[int], failed: int = 0):
    """The values of a run that answers every other row right, over images of these sizes; the last ones failed."""
    images = [f"i{k}" for k, n in enumerate(sizes) for _ in range(n)]
    samples = [replace(row("lung"), id=str(k), image_id=image) for k, image in enumerate(images)]
    texts = ["lung" if k % 2 else "heart" for k in range(len(samples))]
    answers = [
        Prediction(sample_id=s.id, error="no reply")
        if k >= len(samples) - failed
        else Prediction(sample_id=s.id, text=text)
        for k, (s, text) in enumerate(zip(samples, texts, strict=True))
    ]
    task = LoadedTask(name="toy", split="test", form="made", samples=tuple(samples), closed_rule="label", prompt="p@0")
    chosen = [protocol("strict")]
    found = tabulate(samples, score_all(samples, answers, chosen), chosen, RunProvenance(model="m", task=task))
    return next(v for v in found if v.metric == "exact_match" and v.slice == "all"), images, texts


def shown(value) -> list[str]:
    return [str(cell) for column in metric_table([value], "").columns for cell in column.cells]


def test_few_images_are_told_by_their_effective_number() -> None:
    found, images, texts = values([20, 4, 4, 4, 4, 4])
    assert found.n_effective == pytest.approx(40 * 40 / (400 + 5 * 16))
    expected = mean_interval([float(t == "lung") for t in texts], images)
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high))
    assert any(cell.endswith("eff 3.3") for cell in shown(found))
    many, *_ = values([2] * 40)
    assert many.n_effective == 40
    assert not any("eff" in cell for cell in shown(many))


def test_the_worst_case_has_an_interval() -> None:
    found, images, texts = values([3] * 20, failed=10)
    hits = [float(t == "lung") * (k < 50) for k, t in enumerate(texts)]
    expected = mean_interval(hits, images)
    assert (found.n_unscored, found.value_worst_case) == (10, pytest.approx(25 / 60))
    assert (found.low_worst_case, found.high_worst_case) == pytest.approx((expected.low, expected.high))
    bounds = f"41.67 [{100 * expected.low:.2f}, {100 * expected.high:.2f}]"
    assert bounds in shown(found)
