"""Figures for papers: what is drawn, in which width, and that colours are not the only difference."""

from __future__ import annotations

import json
import math
import random
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import pytest

from evalkit.cli.main import main
from evalkit.core.errors import ConfigError
from evalkit.reports.figures import SERIES, WIDTHS, FigureData, Point, protocol_data, slice_data, write_figure
from evalkit.reports.paper_table import read_table_runs
from evalkit.reports.risk_figure import MIN_COVERED, risk_data
from evalkit.reports.suite_table import SuiteRun
from tests.support.made_runs import answered, made_run, made_samples

KEY = "exact-match exact_match"


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> list[SuiteRun]:
    samples, place = made_samples(60), tmp_path_factory.mktemp("runs")
    for model, right in (("one $x$ <b>", 50), ("two", 20)):
        answers = [answered(s, s.references[0] if k < right else "?") for k, s in enumerate(samples)]
        made_run(place / f"made-toy-{right:08x}", samples, answers, model=model)
    return read_table_runs([place])


def test_slices_are_the_summarys_values_in_percent(runs: list[SuiteRun]) -> None:
    data = slice_data(runs, KEY, ["organ"])
    assert data.rows[0] == "all (n=60)" and all(row.startswith(("all", "organ=")) for row in data.rows)
    assert set(data.series) == {"one $x$ <b>", "two"}
    for point in data.points:
        summary = next(r.summary for r in runs if r.summary.model == point.series)
        m = summary.find(*KEY.split(), point.row.split(" (n=")[0])
        assert m is not None and m.value is not None and m.low is not None
        assert (point.value, point.low) == (100 * m.value, 100 * m.low)


def test_protocols_of_a_metric_are_side_by_side(runs: list[SuiteRun]) -> None:
    data = protocol_data(runs, "closed_accuracy")
    assert set(data.rows) == {"llava-med", "strict"} and data.axis == "closed_accuracy, percent"
    assert len(data.points) == 4


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda runs: slice_data(runs, "exact-match exact_mtch", []), "Did you mean 'exact-match exact_match'"),
        (lambda runs: slice_data(runs, "exact_match", []), "PROTOCOL METRIC"),
        (lambda runs: slice_data(runs, KEY, ["organs"]), "Did you mean 'organ'"),
        (lambda runs: protocol_data(runs, "open_recal"), "under 0 protocols"),
    ],
)
def test_what_is_not_there_is_refused(runs: list[SuiteRun], make: object, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        make(runs)  # type: ignore[operator]


def points(n_series: int, n_rows: int = 2) -> tuple[Point, ...]:
    return tuple(
        Point(row=f"r{k}", series=f"s{s}", value=50, low=40, high=None) for s in range(n_series) for k in range(n_rows)
    )


def test_every_series_has_a_colour_and_a_shape_of_its_own() -> None:
    assert len({colour for colour, _ in SERIES}) == len({mark for _, mark in SERIES}) == len(SERIES)


def test_without_matplotlib_the_message_names_the_extra(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(__import__("sys").modules, "matplotlib", None)
    with pytest.raises(ConfigError, match=r"evalkit-medvqa\[figures\]"):
        write_figure(FigureData(points=points(1), axis="x"), tmp_path / "f.svg", "single")


def test_another_suffix_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"\.svg, \.pdf"):
        write_figure(FigureData(points=points(1), axis="x"), tmp_path / "f.png", "single")


@pytest.mark.parametrize("width", sorted(WIDTHS))
def test_an_svg_has_the_width_of_the_column_and_names_as_text(runs: list[SuiteRun], tmp_path: Path, width: str) -> None:
    pytest.importorskip("matplotlib")
    data = slice_data(runs, KEY, ["organ"])
    for name in ("a.svg", "b.svg"):
        write_figure(data, tmp_path / name, width)
    text = (tmp_path / "a.svg").read_text(encoding="utf-8")
    assert text == (tmp_path / "b.svg").read_text(encoding="utf-8")
    root = ElementTree.fromstring(text)
    assert float(str(root.get("width")).removesuffix("pt")) == pytest.approx(72 * WIDTHS[width], abs=0.1)
    shown = [t.text for t in root.iter("{http://www.w3.org/2000/svg}text")]
    assert "one $x$ <b>" in shown and data.rows[1] in shown
    assert len(set(re.findall(r"fill: (#[0-9a-f]{6})", text)) & {c.lower() for c, _ in SERIES}) == 2


def test_the_verb_writes_a_pdf(runs: list[SuiteRun], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("matplotlib")
    target = tmp_path / "new" / "f.pdf"
    words = [f"runs={runs[0].folder.parent}", "kind=protocols", "metric=closed_accuracy", f"to={target}"]
    assert main(["figure", *words]) == 0
    assert target.read_bytes().startswith(b"%PDF") and str(target) in capsys.readouterr().out


# Risk-coverage curves.


@pytest.fixture(scope="module")
def sure(tmp_path_factory: pytest.TempPathFactory) -> list[SuiteRun]:
    """Two runs with confidence, of which some answers tie and one has none, and a run without."""
    samples, place, drawn = made_samples(60), tmp_path_factory.mktemp("sure"), random.Random(3)
    for model, right in (("careful", 0.9), ("rash", 0.6), ("mute", None)):
        answers = []
        for k, s in enumerate(samples):
            p = round(drawn.uniform(0.05, 0.99), 1 if k % 3 else 3)
            text = s.references[0] if drawn.random() < (right or 0.5) * p**0.5 else "?"
            is_known = right is not None and k != 7
            answers.append(replace(answered(s, text), logprob=math.log(p) if is_known else None))
        made_run(place / f"{model}-toy", samples, answers, model=model)
    return read_table_runs([place])


def plain_risks(run: SuiteRun) -> dict[float, float]:
    """Coverage -> risk of a run, both in percent, from the lines of its files and nothing of evalkit's statistics."""
    lines = [json.loads(line) for line in (run.folder / "predictions.jsonl").read_text().splitlines()]
    scores = [json.loads(line) for line in (run.folder / "scores.jsonl").read_text().splitlines()]
    value = {s["sample_id"]: s["value"] for s in scores if f"{s['protocol']} {s['metric']}" == KEY}
    known = [(a["logprob"], value[a["sample_id"]]) for a in lines if a.get("logprob") is not None]
    found = {}
    for threshold in {p for p, _ in known}:
        kept = [v for p, v in known if p >= threshold]
        found[100 * len(kept) / len(known)] = 100 * (1 - sum(kept) / len(kept))
    return found


@pytest.mark.slow
def test_risk_curves_are_those_of_the_answers(sure: list[SuiteRun], capsys: pytest.CaptureFixture[str]) -> None:
    data = risk_data(sure, KEY)
    assert sorted(s.name for s in data.series) == ["careful", "rash"]
    assert "left out, without a confidence for exact-match exact_match: mute" in " ".join(
        capsys.readouterr().err.split()
    )
    for series in data.series:
        run = next(r for r in sure if r.summary.model == series.name)
        wanted = {c: r for c, r in plain_risks(run).items() if c >= 100 * MIN_COVERED / 59}
        assert [c for c, _ in series.curve] == pytest.approx(sorted(wanted), abs=1e-3)
        assert [r for _, r in series.curve] == pytest.approx([wanted[c] for c in sorted(wanted)], abs=1e-3)
        for coverage, risk, low, high in series.marks:
            assert min(abs(coverage - c) + abs(risk - r) for c, r in plain_risks(run).items()) < 1e-3
            assert low is not None and high is not None and low <= risk <= high


@pytest.mark.parametrize(
    ("take", "metric", "message"),
    [
        (lambda runs: [r for r in runs if r.summary.model == "mute"], KEY, "confidence=true"),
        (lambda runs: runs, "exact-match exact_mtch", "Did you mean 'exact-match exact_match'"),
        (lambda runs: runs, "exact_match", "PROTOCOL METRIC"),
    ],
)
def test_a_curve_that_is_not_there_is_refused(
    sure: list[SuiteRun], take: Callable[[list[SuiteRun]], list[SuiteRun]], metric: str, message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        risk_data(take(sure), metric)


def test_a_few_answers_have_a_curve_too(tmp_path: Path) -> None:
    samples = made_samples(4)
    answers = [replace(answered(s, s.references[0]), logprob=-0.1 * k) for k, s in enumerate(samples)]
    made_run(tmp_path / "few-toy", samples, answers)
    (series,) = risk_data(read_table_runs([tmp_path]), KEY).series
    assert series.curve == ((100.0, 0.0),) and series.aurc == 0


def test_the_verb_draws_risk_curves(sure: list[SuiteRun], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("matplotlib")
    words = [f"runs={sure[0].folder.parent}", "kind=risk", f"metric={KEY}"]
    assert (
        main(["figure", *words, f"to={tmp_path / 'f.pdf'}"])
        == 0
        == main(["figure", *words, f"to={tmp_path / 'f.svg'}"])
    )
    assert (tmp_path / "f.pdf").read_bytes().startswith(b"%PDF") and "f.svg" in capsys.readouterr().out
    text = (tmp_path / "f.svg").read_text(encoding="utf-8")
    assert "careful (AURC" in text and "risk, percent" in text
    root = ElementTree.fromstring(text)
    assert float(str(root.get("width")).removesuffix("pt")) == pytest.approx(72 * WIDTHS["single"], abs=0.1)
