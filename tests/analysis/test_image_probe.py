"""What the images change, against a plain computation of the same figures."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from evalkit.analysis.image_probe import HEADER, image_effects, table_rows, to_json, unscored_text
from evalkit.analysis.run_scores import RunScores, read_run_scores
from evalkit.core.errors import DataError
from evalkit.core.types import MetricKey
from tests.support.made_runs import made_run, made_samples, mixed

KEY = MetricKey("exact-match", "exact_match")
SAMPLES = made_samples(60, per_image=3)


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> tuple[RunScores, RunScores]:
    out = tmp_path_factory.mktemp("runs")
    own, control = (read_run_scores(made(out / str(seed), seed)) for seed in (1, 2))
    return own, replace(control, header=replace(control.header, image="blank"))


def made(out: Path, seed: int) -> Path:
    return made_run(out, SAMPLES, mixed(SAMPLES, seed))


def right(seed: int) -> np.ndarray:
    return np.array([p.text == s.references[0] for s, p in zip(SAMPLES, mixed(SAMPLES, seed), strict=True)])


def test_shares_flips_and_changes_are_those_of_a_plain_count(runs: tuple[RunScores, RunScores]) -> None:
    own, control = runs
    (effect,) = image_effects(own, [control], [KEY])
    first, second = right(1), right(2)
    assert effect.image == "blank" and effect.n_right == first.sum()
    assert effect.kept == pytest.approx(second[first].mean())
    assert (effect.paired.n_worse, effect.paired.n_better) == ((first & ~second).sum(), (second & ~first).sum())
    assert effect.paired.difference == pytest.approx(second.mean() - first.mean())
    texts = [[p.text for p in mixed(SAMPLES, seed)] for seed in (1, 2)]
    assert effect.n_changed == sum(a != b for a, b in zip(*texts, strict=True))


def test_the_interval_of_the_kept_share_is_near_that_of_a_ratio_over_images(runs: tuple[RunScores, RunScores]) -> None:
    """Linearised ratio estimator: sum of residuals by image, factor K/(K-1), t with K-1 degrees of freedom.

    That of evalkit is exact at the effective sample size, and lies nearer to a half.
    """
    from scipy.stats import t

    own, control = runs
    (effect,) = image_effects(own, [control], [KEY])
    first, second = right(1), right(2)
    images = np.array([s.image_id for s in SAMPLES])
    share = (first & second).sum() / first.sum()
    sums = [(first & second)[images == i].sum() - share * first[images == i].sum() for i in np.unique(images[first])]
    k = len(sums)
    half = t.ppf(0.975, k - 1) * np.sqrt(k / (k - 1) * np.square(sums).sum()) / first.sum()
    assert effect.kept_interval is not None
    bounds = (effect.kept_interval.low, effect.kept_interval.high)
    assert bounds == pytest.approx((share - half, share + half), abs=0.06)
    assert bounds[0] < share - half and bounds[1] < share + half


def test_nothing_right_gives_no_share_and_no_number_is_made_up(
    runs: tuple[RunScores, RunScores], tmp_path: Path
) -> None:
    _, control = runs
    wrong = made_run(tmp_path, SAMPLES, [replace(p, text="?", error=None) for p in mixed(SAMPLES, 3)])
    (effect,) = image_effects(read_run_scores(wrong), [control], [KEY])
    assert (effect.n_right, effect.kept, effect.kept_interval) == (0, None, None)
    assert table_rows([effect])[-1][4] == "–"  # type: ignore[index]


def test_the_table_and_the_file_have_every_metric_and_control(runs: tuple[RunScores, RunScores]) -> None:
    own, control = runs
    both = [control, replace(control, header=replace(control.header, image="noisy"))]
    effects = image_effects(own, both, list(own.columns))
    keys = {k for k, c in own.columns.items() if c.n}
    assert [(e.paired.key, e.image) for e in effects] == [
        (k, i) for k in own.columns if k in keys for i in ("blank", "noisy")
    ]
    rows = table_rows(effects)
    assert all(row is None or len(row) == len(HEADER) for row in rows)
    assert sum(row is not None and row[0] == "original" for row in rows) == len(keys)
    content = to_json(own, both, effects)
    assert len(content["effects"]) == len(effects) and set(content["runs"]) == {"original", "blank", "noisy"}


def test_unscored_answers_are_counted_by_images(runs: tuple[RunScores, RunScores], tmp_path: Path) -> None:
    own, control = runs
    (effect,) = image_effects(own, [control], [KEY])
    counts = (effect.paired.first_unscored, effect.paired.second_unscored)
    scored = replace(effect, paired=replace(effect.paired, first_unscored=0, second_unscored=0))
    unscored = replace(effect, image="noisy", paired=replace(effect.paired, first_unscored=2, second_unscored=3))
    assert unscored_text([scored]) == ""
    most = max(2, counts[0])
    assert unscored_text([effect, unscored]).endswith(f"original {most}, blank {counts[1]}, noisy 3")


def test_runs_over_other_samples_are_refused(runs: tuple[RunScores, RunScores]) -> None:
    own, control = runs
    with pytest.raises(DataError, match="different samples"):
        image_effects(own, [control.subset(frozenset(own.ids[:10]))], [KEY])
