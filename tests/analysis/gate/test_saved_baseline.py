"""A run passes the gate against the baseline that was saved of it, whatever its scores are."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evalkit.analysis.gate.verdicts import overall
from evalkit.analysis.run_scores import RunScores, baseline_file, read_run_scores
from tests.support.gate_runs import as_content, as_text, gate_runs, run

SCORES = st.one_of(
    st.none(),
    st.integers(0, 40).flatmap(lambda of: st.integers(0, of).map(lambda hits: hits / of if of else 0.0)),
    st.floats(0, 1, allow_nan=False),
)


def saved(scores: RunScores, folder: Path, **changes: object) -> RunScores:
    """The run as `gate save=` writes it and `gate baseline=` reads it, with changes of the file."""
    file = folder / "baseline.json"
    file.write_text(
        as_text({**as_content(scores), **changes}) if changes else baseline_file(scores, list(scores.columns), True)
    )
    return read_run_scores(file)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("baselines")


@settings(max_examples=60, deadline=None)
@given(values=st.lists(SCORES, min_size=1, max_size=12))
def test_a_run_passes_against_its_own_baseline(folder: Path, values: list[float | None]) -> None:
    candidate = run(values)
    baseline = saved(candidate, folder)
    assert baseline.columns == candidate.columns
    (comparison,) = found = gate_runs((baseline, candidate), margin=0.01)
    assert overall(found, exact=True) == "pass"
    assert overall(found) == "pass"
    assert not comparison.changed_answers


def rounded(values: list[float | None]) -> list[float | None]:
    return [None if v is None else round(v, 6) for v in values]


@settings(max_examples=60, deadline=None)
@given(values=st.lists(SCORES, min_size=1, max_size=12))
def test_a_run_passes_against_its_baseline_of_an_earlier_version(folder: Path, values: list[float | None]) -> None:
    """That version kept six decimals, and its file does not say so."""
    candidate = run(values)
    content = as_content(candidate)
    content = {k: v for k, v in content.items() if k != "decimals"}
    content["scores"] = {key: rounded(column) for key, column in content["scores"].items()}
    file = folder / "old.json"
    file.write_text(as_text(content))
    found = gate_runs((read_run_scores(file), candidate), margin=0.01)
    assert (overall(found, exact=True), overall(found)) == ("pass", "pass")
    again = saved(read_run_scores(file), folder)
    assert again.decimals == 6
    assert overall(gate_runs((again, candidate)), exact=True) == "pass"


def test_a_change_beyond_the_kept_decimals_fails_a_gate_of_full_precision(folder: Path) -> None:
    baseline = saved(run([1 / 3, 0.5, 1.0]), folder)
    candidate = run([1 / 3 + 1e-9, 0.5, 1.0])
    assert overall(gate_runs((baseline, candidate)), exact=True) == "fail"
